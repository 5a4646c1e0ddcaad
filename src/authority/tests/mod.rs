use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use pki::key::{Algorithm, Key};

use super::memory::Memory;
use super::*;
use crate::clock::{Manual, System};

mod audit_log;
mod certificates;
mod invites;
mod refusals;
mod responder;
mod revocation;
mod rotation;
mod start;

const DAY: Duration = Duration::from_secs(86_400);

/// An authority on a folder of its own, its rows in memory.
struct World {
    folder: tempfile::TempDir,
    trust: Arc<Memory>,
    clock: Manual,
    config: Config,
    authority: Authority,
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let trust = Arc::new(Memory::default());
        let clock = Manual::at(System.now());
        let config = config(folder.path());
        let authority = open(&config, &trust, &clock).await.expect("opened");
        Self { folder, trust, clock, config, authority }
    }

    async fn reopened(&self) -> Result<Authority, Error> {
        open(&self.config, &self.trust, &self.clock).await
    }

    async fn invite(&self, name: &str) -> MadeInvite {
        self.authority.invite(&operator(), invitation(name)).await.expect("an invite")
    }

    async fn enrolled(&self, name: &str) -> Issued {
        let invite = self.invite(name).await;
        self.authority.enroll(&nobody(), &invite.secret, &request()).await.expect("enrolled")
    }

    async fn standing(&self, issued: &Issued) -> Standing {
        self.authority.standing(Name::Sha256(issued.fingerprint.sha256)).await.expect("a standing")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.config.path.join(name)
    }

    fn audit(&self) -> String {
        std::fs::read_to_string(self.path("audit.log")).expect("an audit log")
    }
}

fn config(folder: &Path) -> Config {
    Config {
        path: folder.join("pki"),
        server_names: vec!["Drop.example".into(), "127.0.0.1".into(), "::1".into()],
        optional_names: Vec::new(),
        permitted_names: Permitted::Any,
        public_url: Some("http://drop.example".into()),
        passphrase_file: None,
        client_lifetime: 365 * DAY,
    }
}

/// As the server does at its start: it needs its own certificate, too.
async fn open(config: &Config, trust: &Arc<Memory>, clock: &Manual) -> Result<Authority, Error> {
    let trust: Arc<dyn Trust> = Arc::<Memory>::clone(trust);
    let authority = Authority::open(config.clone(), trust, Arc::new(clock.clone())).await?;
    authority.server_identity().await?;
    Ok(authority)
}

fn operator() -> Actor {
    Actor { name: "operator".into(), address: None }
}

fn nobody() -> Actor {
    Actor { name: "nobody".into(), address: Some([192, 0, 2, 7].into()) }
}

fn invitation(name: &str) -> InviteFor {
    InviteFor { name: name.into(), admin: false, existing: false, ttl: DAY }
}

fn request() -> String {
    let key = Key::generate(Algorithm::P256).expect("a key");
    pki::request::make(&key, "whatever").expect("a request")
}

fn openssl(arguments: &[&str], folder: &Path) -> (bool, String) {
    let output = Command::new("openssl").args(arguments).current_dir(folder).output();
    let output = output.expect("the openssl command is installed (apt install openssl)");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.success(), said)
}
