//! What the CA signs, judged by others: the `openssl` command and webpki. A missing `openssl` is a failure.

#![allow(clippy::expect_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use pki::ca::{Ca, Publication};
use pki::certificate::Certificate;
use pki::key::{Algorithm, Key};
use time::OffsetDateTime;

mod by_openssl;
mod by_webpki;
mod lint;
mod publication;
mod samples;

/// A year.
const YEAR: Duration = Duration::from_secs(365 * 86_400);

/// A root, an issuing CA and the kinds of certificates below it, and a folder for those who want files.
struct World {
    root: Ca,
    issuing: Ca,
    now: OffsetDateTime,
    folder: tempfile::TempDir,
}

impl World {
    fn new(algorithm: Algorithm, permitted: &[&str]) -> Self {
        let now = OffsetDateTime::now_utc();
        let key = || Key::generate(algorithm).expect("a key");
        let root = Ca::root(key(), "ddrop root", now).expect("a root");
        let permitted: Vec<String> = permitted.iter().map(ToString::to_string).collect();
        let issuing =
            root.issuing(key(), "ddrop issuing", &permitted, &Publication::default(), now).expect("an issuing CA");
        let world = Self { root, issuing, now, folder: tempfile::tempdir().expect("a folder") };
        world.write("root.pem", world.root.certificate().to_pem());
        world.write("issuing.pem", world.issuing.certificate().to_pem());
        world
    }

    fn client(&self, key: &Key, name: &str) -> Certificate {
        self.issuing.client(key.public(), name, YEAR, &publication(), self.now).expect("a client certificate")
    }

    fn server(&self, key: &Key, names: &[&str]) -> Certificate {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        self.issuing.server(key.public(), &names, YEAR, &publication(), self.now).expect("a server certificate")
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, content).expect("written");
        path
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

fn publication() -> Publication {
    Publication {
        crl: Some("http://drop.example.org/pki/crl".into()),
        ocsp: Some("http://drop.example.org/pki/ocsp".into()),
    }
}

/// Runs openssl; panics if there is none.
fn openssl(arguments: &[&str], folder: &Path) -> Output {
    let mut command = Command::new("openssl");
    command
        .args(arguments)
        .current_dir(folder)
        .output()
        .expect("the openssl command is installed (apt install openssl)")
}

/// What openssl said, if it was content.
fn assert_content(arguments: &[&str], folder: &Path) -> String {
    let output = openssl(arguments, folder);
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "openssl {arguments:?}: {said}");
    said
}

/// What openssl said, if it was not content.
fn assert_refused(arguments: &[&str], folder: &Path) -> String {
    let output = openssl(arguments, folder);
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(!output.status.success(), "openssl {arguments:?} was content: {said}");
    said
}
