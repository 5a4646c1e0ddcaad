//! The authority on its storage folder: the operator's way in, also while the server runs.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use url::Url;

use crate::api;
use crate::authority::{self, Actor, Authority, InviteFor, Which, listing};
use crate::cli::{connect, exit};
use crate::client::certificate::Facts;
use crate::client::profile::{Source, parse_server};
use crate::identity::{Sha1, Sha256};
use crate::store::{self, Store};
use crate::token;
use crate::units::{MIB, Ttl};

/// An authority that was opened here.
pub(super) struct Local {
    authority: Authority,
    storage: PathBuf,
}

impl Local {
    pub(super) async fn open(storage: PathBuf) -> Result<Self> {
        if !storage.join("pki").is_dir() {
            // A wrong path must not become a second CA that nobody wanted.
            bail!("{} is not the storage folder of a server: there is no pki folder in it", storage.display());
        }
        let clock = connect::clock();
        // No link is made on this way, so its limits mean nothing.
        let config = store::Config { path: storage.clone(), max_file_size: MIB, max_storage: MIB };
        let store = Store::open(config, std::sync::Arc::clone(&clock))
            .await
            .with_context(|| format!("cannot open the storage folder {}", storage.display()))?;
        let config = authority::Config {
            path: storage.join("pki"),
            server_names: Vec::new(),
            optional_names: Vec::new(),
            permitted_names: authority::Permitted::default(),
            public_url: variable("DD_PUBLIC_URL"),
            passphrase_file: variable("DD_CA_PASSPHRASE_FILE").map(PathBuf::from),
            client_lifetime: lifetime()?,
        };
        let authority = Authority::open(config, store.trust(), clock).await.context("cannot open the authority")?;
        Ok(Self { authority, storage })
    }

    pub(super) fn root(&self) -> String {
        self.authority.root_pem().to_owned()
    }

    pub(super) fn chain(&self) -> String {
        self.authority.chain_pem()
    }

    pub(super) fn status(&self) -> Result<api::PkiStatus> {
        let facts = |pem: &str| -> Result<Facts> {
            let first = ::pki::pem::certificates(pem)?.into_iter().next().context("the CA has no certificate")?;
            Ok(Facts::of(&first)?)
        };
        let (root, issuing) = (facts(self.authority.root_pem())?, facts(&self.authority.chain_pem())?);
        Ok(api::PkiStatus {
            enabled: true,
            common_name: root.subject,
            root_fingerprint: root.fingerprint.sha256.to_string(),
            issuing_fingerprint: issuing.fingerprint.sha256.to_string(),
            root_expires_at: root.not_after,
            issuing_expires_at: issuing.not_after,
            open_registration: variable("DD_OPEN_REGISTRATION").as_deref() == Some("true"),
        })
    }

    pub(super) async fn issue(&self, wish: api::Issue) -> Result<api::Issued> {
        let csr = wish.csr.as_deref();
        let (issued, bundle) = self.authority.issue(&operator(), &wish.common_name, wish.days, wish.admin, csr).await?;
        Ok(listing::issued(issued, bundle))
    }

    pub(super) async fn certificates(&self) -> Result<api::Certificates> {
        let now = connect::clock().now();
        let certs = self.authority.certificates(None).await?;
        let certs = certs.iter().map(|known| listing::certificate(known, now)).collect();
        Ok(api::Certificates { certs, next: None })
    }

    pub(super) async fn revoke(&self, wish: api::Revoke) -> Result<api::Revoked> {
        let reason = match wish.reason.as_deref() {
            None => 0,
            Some(text) => listing::reason_code(text)
                .ok_or_else(|| exit::Usage(format!("'{text}' is not a reason of RFC 5280 section 5.3.1")))?,
        };
        let (certs, changed) = self.authority.revoke(&operator(), which(wish)?, reason, None).await?;
        let now = connect::clock().now();
        Ok(api::Revoked { certs: certs.iter().map(|known| listing::certificate(known, now)).collect(), changed })
    }

    pub(super) async fn lists(&self) -> Result<String> {
        Ok(String::from_utf8(self.authority.crl_pem().await?.bytes.into())?)
    }

    pub(super) async fn invite(&self, wish: api::NewInvite) -> Result<api::MadeInvite> {
        let server = address(wish.url.as_deref(), variable("DD_PUBLIC_URL").as_deref(), &self.storage)?;
        let ttl = hold(wish.ttl.as_deref())?;
        let what = InviteFor { name: wish.name, admin: wish.admin, existing: wish.existing, ttl };
        let made = self.authority.invite(&operator(), what).await?;
        let web = variable("DD_TLS_CERT").is_some() || variable("DD_BEHIND_PROXY").as_deref() == Some("true");
        let invite =
            token::Invite { server, root: self.authority.root_fingerprint(), web, secret: made.secret.clone() };
        Ok(api::MadeInvite {
            id: made.id,
            invite: invite.to_string(),
            secret: made.secret.reveal().to_owned(),
            name: made.name,
            admin: made.admin,
            expires_at: made.expires_at,
        })
    }

    pub(super) async fn invites(&self) -> Result<Vec<api::Invite>> {
        let now = connect::clock().now();
        Ok(self.authority.invites().await?.iter().map(|invite| listing::invite(invite, now)).collect())
    }

    pub(super) async fn withdraw(&self, id: &str) -> Result<()> {
        if !self.authority.withdraw_invite(&operator(), id).await? {
            bail!("there is no open invite with that id");
        }
        Ok(())
    }

    pub(super) async fn trust(&self, fingerprint: Sha256, name: &str) -> Result<()> {
        self.authority.trust_fingerprint(&operator(), fingerprint, name).await?;
        Ok(())
    }

    pub(super) async fn audit(&self, last: usize) -> Result<api::Audit> {
        Ok(listing::events(self.authority.audit(last).await?))
    }

    pub(super) async fn verify_audit(&self) -> Result<api::Verified> {
        Ok(listing::verified(self.authority.verify_audit().await)?)
    }

    pub(super) async fn rotate(&self, permit: &[String]) -> Result<String> {
        Ok(self.authority.rotate(&operator(), authority::permitted(permit)?).await?.to_string())
    }

    pub(super) async fn export_root(&self, to: &Path) -> Result<()> {
        Ok(self.authority.export_root(&operator(), to).await?)
    }
}

fn operator() -> Actor {
    Actor { name: "operator".to_owned(), address: None }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn lifetime() -> Result<Duration> {
    let days = variable("DD_CLIENT_CERT_DAYS").map(|text| text.parse::<u64>()).transpose();
    let days = days.context("DD_CLIENT_CERT_DAYS has to be a number of days")?.unwrap_or(365);
    Ok(Duration::from_secs(days.saturating_mul(24 * 3600)))
}

fn which(wish: api::Revoke) -> Result<Which> {
    match (wish.serial, wish.fingerprint, wish.name) {
        (Some(serial), None, None) => Ok(Which::Serial(serial)),
        (None, Some(text), None) => match text.parse::<Sha256>() {
            Ok(sha256) => Ok(Which::Sha256(sha256)),
            Err(_) => Ok(Which::Sha1(text.parse::<Sha1>()?)),
        },
        (None, None, Some(name)) => Ok(Which::Client(name)),
        _ => bail!("exactly one of serial, fingerprint and name can be meant"),
    }
}

/// How long an invite holds.
fn hold(text: Option<&str>) -> Result<Duration> {
    const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);
    match text.unwrap_or("24h").parse::<Ttl>()? {
        Ttl::For(span) if span <= LONGEST => Ok(span),
        _ => Err(exit::Usage("an invite holds for 30 days at most".to_owned()).into()),
    }
}

/// Where the one who is invited will find the server: as said, else its public address, else where it last listened.
fn address(said: Option<&str>, public: Option<&str>, storage: &Path) -> Result<Url> {
    if let Some(text) = said {
        return Ok(parse_server(text, Source::Flag("--url"))?.value);
    }
    if let Some(text) = public {
        return Ok(parse_server(text, Source::Variable("DD_PUBLIC_URL"))?.value);
    }
    let path = storage.join("listening");
    let kept = std::fs::read_to_string(&path).ok();
    let Some(line) = kept.as_deref().and_then(|text| text.lines().next()).filter(|line| !line.trim().is_empty()) else {
        return Err(exit::Usage(format!(
            "nobody knows where the server of {} is: it has not run there yet. Say it with --url https://HOST:PORT",
            storage.display()
        ))
        .into());
    };
    Ok(parse_server(line, Source::File(path))?.value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_said_or_public_or_where_it_listened() {
        let dir = tempfile::tempdir().expect("a folder");
        let of = |said, public| address(said, public, dir.path()).map(|url| url.to_string());
        assert_eq!(exit::code(&of(None, None).expect_err("unknown")), 2);
        std::fs::write(dir.path().join("listening"), "https://localhost:8443\n").expect("written");
        assert_eq!(of(None, None).expect("known"), "https://localhost:8443/");
        assert_eq!(of(None, Some("https://public")).expect("known"), "https://public/");
        assert_eq!(of(Some("https://said:1"), Some("https://public")).expect("known"), "https://said:1/");
        assert!(of(Some("said"), None).is_err());
    }

    #[test]
    fn an_invite_does_not_hold_for_ever() {
        assert_eq!(hold(None).expect("a day"), Duration::from_secs(24 * 3600));
        assert!(hold(Some("31d")).is_err() && hold(Some("inf")).is_err() && hold(Some("soon")).is_err());
    }

    #[tokio::test]
    async fn a_folder_that_is_no_storage_does_not_become_one() {
        let dir = tempfile::tempdir().expect("a folder");
        assert!(Local::open(dir.path().to_owned()).await.is_err());
        assert_eq!(std::fs::read_dir(dir.path()).expect("a folder").count(), 0);
    }
}
