//! The certificate authority with a memory: clients, certificates, invites and what became of them.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use pki::certificate::Certificate;
use tokio::sync::{Mutex, OnceCell};
use tokio::task::spawn_blocking;

use self::folder::Folder;
use self::issuers::{Issuer, Issuers};
use self::keep::{Keep, Passphrase};
use self::publish::Lists;
pub use self::publish::Published;
use self::refusals::Refusals;

use crate::audit::{self, Audit};
use crate::clock::Clock;
use crate::identity::{ClientId, Fingerprint, Sha1, Sha256};
use crate::store::trust::{self, Certificates, Client, Enrolment, Known, Trust};
use crate::token::Secret;
use crate::units::Timestamp;

pub mod backup;
mod enroll;
mod error;
mod folder;
mod issue;
mod issuers;
mod keep;
pub mod listing;
mod names;
mod publish;
mod refusals;
mod register;
mod revoke;
mod server;
mod standing;

#[cfg(test)]
mod memory;
#[cfg(test)]
mod tests;

pub use self::error::Error;
pub use self::issue::{Bundle, has_sha1};
pub use self::names::{Permitted, permitted};
use self::standing::standing;
pub use self::standing::{Name, Standing};

/// How the authority is set up.
#[derive(Clone, Debug)]
pub struct Config {
    /// Its folder, `pki/` under storage: `root.key`, `root.crt`, `issuing.key`, `issuing.crt`, `server.key`, `server.crt`.
    pub path: PathBuf,
    /// Names and addresses the server certificate must have.
    pub server_names: Vec<String>,
    /// Names it has as well if the issuing CA may sign for them: a machine's name may change by the day.
    pub optional_names: Vec<String>,
    /// Which names an issuing CA made here may sign for.
    pub permitted_names: Permitted,
    /// Where revocation lists and OCSP can be asked for, without a slash at the end; `None` leaves them out.
    pub public_url: Option<String>,
    /// A file with the passphrase of the CA keys.
    pub passphrase_file: Option<PathBuf>,
    /// How long a client certificate lives.
    pub client_lifetime: Duration,
}

/// Who asked for a change of trust, for the audit log.
#[derive(Clone, Debug)]
pub struct Actor {
    /// A client's name, `operator` or `nobody`.
    pub name: String,
    /// Where from.
    pub address: Option<IpAddr>,
}

/// A certificate just issued.
#[derive(Clone, Debug)]
pub struct Issued {
    /// Leaf first, then the issuing CA, in PEM.
    pub chain_pem: String,
    /// The leaf.
    pub fingerprint: Fingerprint,
    /// Its serial number in hex.
    pub serial: String,
    /// When it ends.
    pub not_after: Timestamp,
    /// Whose it is.
    pub client: Client,
}

/// An invite just made.
#[derive(Clone, Debug)]
pub struct MadeInvite {
    /// Names it in lists.
    pub id: String,
    /// The right to enrol.
    pub secret: Secret,
    /// The name of the client to be.
    pub name: String,
    /// Whether it will be an admin.
    pub admin: bool,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// What an invite is for.
#[derive(Clone, Debug)]
pub struct InviteFor {
    /// The name of the client.
    pub name: String,
    /// Whether it will be an admin.
    pub admin: bool,
    /// One more certificate for the client that has this name already.
    pub existing: bool,
    /// How long the invite holds.
    pub ttl: Duration,
}

/// Which certificates are to be revoked.
#[derive(Clone, Debug)]
pub enum Which {
    /// One, by serial number in hex.
    Serial(String),
    /// One, by SHA-256.
    Sha256(Sha256),
    /// One, by SHA-1.
    Sha1(Sha1),
    /// Every one of the client of this name.
    Client(String),
}

/// The certificate authority. Any number of processes may open the same one.
pub struct Authority {
    config: Config,
    trust: Arc<dyn Trust>,
    clock: Arc<dyn Clock>,
    folder: Folder,
    passphrase: Passphrase,
    audit: Audit,
    root: Certificate,
    root_pem: String,
    issuers: ArcSwap<Issuers>,
    /// Whether the place of the revocation list that is written into certificates is remembered.
    place_kept: OnceCell<()>,
    /// What is published of revocation. Held while a list is made, so that it is made once.
    lists: Mutex<Lists>,
    refusals: Refusals,
    /// Held while a line is written, so that the head that is kept is that of the last line.
    recording: Mutex<()>,
}

/// A page of a list.
#[derive(Clone, Debug)]
pub struct Page<K> {
    /// After this one.
    pub after: Option<K>,
    /// At most so many.
    pub limit: u32,
}

impl<K: Clone> Page<K> {
    /// One more than the page has tells whether there is a next one.
    fn part(&self) -> trust::Part<K> {
        trust::Part { after: self.after.clone(), limit: Some(self.limit.saturating_add(1)) }
    }

    fn cut<T>(&self, mut found: Vec<T>, key: impl Fn(&T) -> K) -> (Vec<T>, Option<K>) {
        let most = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let more = found.len() > most;
        found.truncate(most);
        let next = found.last().filter(|_| more).map(key);
        (found, next)
    }
}

/// What anyone may know of the authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The common name of the root.
    pub common_name: String,
    /// SHA-256 of the root's DER.
    pub root_fingerprint: Sha256,
    /// SHA-256 of the issuing CA's DER.
    pub issuing_fingerprint: Sha256,
    /// When the root ends.
    pub root_expires_at: Timestamp,
    /// When the issuing CA ends.
    pub issuing_expires_at: Timestamp,
    /// Whether the root's key is in the folder.
    pub root_online: bool,
}

/// The name under which the root the rows belong to is kept.
const ROOT: &str = "authority-root";
/// The name under which the last line of the audit log is kept.
const AUDIT_HEAD: &str = "authority-audit-head";

/// The server's certificate and key, as rustls takes them.
#[derive(Debug)]
pub struct ServerIdentity {
    /// Leaf first, then the issuing CA.
    pub chain: Vec<rustls_pki_types::CertificateDer<'static>>,
    /// PKCS#8.
    pub key: rustls_pki_types::PrivateKeyDer<'static>,
    /// An OCSP response about the leaf, to be stapled (RFC 6066 section 8).
    pub ocsp: Vec<u8>,
    /// When it should be asked for again: the certificate is due then, or the OCSP response.
    pub renew_at: Timestamp,
}

impl Authority {
    /// Opens the authority's folder; on the very first start makes root and issuing CA. The server certificate is made
    /// by whoever asks for it.
    ///
    /// # Errors
    /// When the folder is incomplete, does not go with the rows, holds a key that is not that of its certificate or a
    /// CA that is over; never makes a second CA then.
    pub async fn open(config: Config, trust: Arc<dyn Trust>, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        let now = clock.now();
        let passphrase = keep::passphrase(config.passphrase_file.as_deref())?;
        let path = config.path.clone();
        let (folder, lock) = spawn_blocking(move || {
            let folder = Folder::open(&path)?;
            let lock = folder.lock()?;
            Ok::<_, Error>((folder, lock))
        })
        .await??;
        // Read after the lock is held: another process may just have made the CA.
        let known = trust.value(ROOT).await?.and_then(|text| text.parse().ok());
        let (at, secret) = (folder.clone(), passphrase.clone());
        let given = config.server_names.iter().chain(&config.optional_names).cloned();
        let permitted = config.permitted_names.subtrees(given);
        let (keep, lock) =
            spawn_blocking(move || Keep::open(&at, &lock, &secret, known, &permitted, now).map(|keep| (keep, lock)))
                .await??;
        if known.is_none() {
            trust.set_value(ROOT, &Sha256::of(keep.root.der()).to_string()).await?;
        }
        let issuing = Sha256::of(keep.issuing.certificate().der()).to_string();
        if trust.value(issuers::ISSUING).await?.as_ref() != Some(&issuing) {
            trust.set_value(issuers::ISSUING, &issuing).await?;
        }
        drop(lock);
        let authority = Self::assemble(config, trust, clock, folder, passphrase, keep);
        let issuing = Arc::clone(&authority.issuers.load().issuing);
        authority.keep_row(issuing.ca.certificate(), "issuing", authority.root_fingerprint()).await?;
        Ok(authority)
    }

    fn assemble(
        config: Config,
        trust: Arc<dyn Trust>,
        clock: Arc<dyn Clock>,
        folder: Folder,
        passphrase: Passphrase,
        keep: Keep,
    ) -> Self {
        let root_pem = keep.root.to_pem();
        Self {
            audit: Audit::at(folder.path(backup::RECORD)),
            issuers: ArcSwap::new(Issuers::new(keep.issuing, keep.former, &root_pem, trust.epoch())),
            root_pem,
            root: keep.root,
            place_kept: OnceCell::new(),
            lists: Mutex::default(),
            refusals: Refusals::default(),
            recording: Mutex::default(),
            config,
            trust,
            clock,
            folder,
            passphrase,
        }
    }

    /// A number that changes whenever a standing may have changed. Costs next to nothing.
    pub fn epoch(&self) -> u64 {
        self.trust.epoch()
    }

    /// SHA-256 of the root's DER: what an invite pins.
    pub fn root_fingerprint(&self) -> Sha256 {
        Sha256::of(self.root.der())
    }

    /// The root in PEM.
    pub fn root_pem(&self) -> &str {
        &self.root_pem
    }

    /// Issuing CA and root in PEM.
    pub fn chain_pem(&self) -> String {
        self.issuers.load().chain_pem.clone()
    }

    /// What anyone may know of the authority.
    ///
    /// # Errors
    /// When the root's certificate cannot be read.
    pub fn status(&self) -> Result<Status, Error> {
        let root = self.root.facts()?;
        let issuing = Arc::clone(&self.issuers.load().issuing);
        Ok(Status {
            common_name: root.common_name.unwrap_or(root.subject),
            root_fingerprint: self.root_fingerprint(),
            issuing_fingerprint: issuing.sha256,
            root_expires_at: root.not_after.into(),
            issuing_expires_at: issuing.ca.facts().not_after.into(),
            root_online: self.folder.path(keep::ROOT_KEY).exists(),
        })
    }

    /// Whether any client was ever made.
    ///
    /// # Errors
    /// When the rows cannot be read.
    pub async fn has_clients(&self) -> Result<bool, Error> {
        Ok(self.trust.has_clients().await?)
    }

    /// Certificates, newest first; of one client, or all.
    ///
    /// # Errors
    /// When the rows cannot be read.
    pub async fn certificates(&self, of: Option<&ClientId>) -> Result<Vec<Known>, Error> {
        Ok(self.trust.certificates(Certificates { client: of.cloned(), ..Certificates::default() }).await?)
    }

    /// A page of those, and after which one the next begins.
    ///
    /// # Errors
    /// When the rows cannot be read.
    pub async fn certificates_page(
        &self,
        of: Option<&ClientId>,
        page: Page<Sha256>,
    ) -> Result<(Vec<Known>, Option<Sha256>), Error> {
        let which = Certificates { client: of.cloned(), part: page.part() };
        Ok(page.cut(self.trust.certificates(which).await?, |known| known.certificate.fingerprint.sha256))
    }

    /// Reads the whole audit log and answers its last line; finds what was removed, altered or moved.
    ///
    /// # Errors
    /// When the log cannot be read or is not as it was written.
    pub async fn verify_audit(&self) -> Result<audit::Head, Error> {
        let anchor = self.trust.value(AUDIT_HEAD).await?.as_deref().and_then(head_from_kept);
        let path = self.audit.path().to_owned();
        Ok(spawn_blocking(move || audit::verify(&path, anchor.as_ref())).await??)
    }

    /// The last lines of the audit log, at most so many, oldest first, each a JSON object.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub async fn audit(&self, most: usize) -> Result<Vec<String>, Error> {
        let path = self.audit.path().to_owned();
        Ok(spawn_blocking(move || audit::last(&path, most)).await??)
    }

    /// One line in the audit log, on disk when this returns.
    async fn record(&self, by: &Actor, what: &'static str, details: Details) -> Result<(), Error> {
        let event = audit::Event { what, who: by.name.clone(), from: by.address, details };
        let (audit, now) = (self.audit.clone(), self.clock.now());
        let _turn = self.recording.lock().await;
        let head = spawn_blocking(move || audit.append(now, &event)).await??;
        self.trust.set_value(AUDIT_HEAD, &format!("{} {}", head.number, head.hash)).await?;
        Ok(())
    }

    /// A refusal is recorded too, or counted when there are too many; that it could not be does not change the answer.
    async fn refused<T>(&self, by: &Actor, of: &'static str, result: Result<T, Error>) -> Result<T, Error> {
        if let Err(error) = &result
            && error.is_refusal()
            && let Some(left_out) = self.refusals.next(of, self.clock.now())
        {
            let mut details = vec![("of", of.to_owned()), ("why", error.to_string())];
            details.extend((left_out > 0).then(|| ("left-out", left_out.to_string())));
            if let Err(failure) = self.record(by, "refuse", details).await {
                tracing::error!(error = %failure, "a refusal could not be recorded");
            }
        }
        result
    }

    /// Keeps the row of a certificate of the authority itself, unless it is there.
    async fn keep_row(&self, certificate: &Certificate, profile: &str, issuer: Sha256) -> Result<(), Error> {
        let sha256 = Sha256::of(certificate.der());
        if self.trust.known(trust::Key::Sha256(sha256)).await?.is_some() {
            return Ok(());
        }
        let certificate = row(certificate, profile, None, Some(issuer), self.clock.now())?;
        let kept = self.trust.enroll(Enrolment { invite: None, client: None, first: false, certificate }).await;
        // Another process that was started at the same moment may have kept it first.
        if kept.is_err() && self.trust.known(trust::Key::Sha256(sha256)).await?.is_some() {
            return Ok(());
        }
        kept?;
        Ok(())
    }
}

/// What is said of an event, by name.
type Details = Vec<(&'static str, String)>;

/// A certificate as it is kept.
fn row(
    certificate: &Certificate,
    profile: &str,
    client: Option<ClientId>,
    issuer: Option<Sha256>,
    now: Timestamp,
) -> Result<trust::Certificate, Error> {
    let facts = certificate.facts()?;
    Ok(trust::Certificate {
        fingerprint: Fingerprint::of(certificate.der()),
        serial: facts.serial_hex,
        client,
        profile: profile.to_owned(),
        subject: facts.subject,
        issuer,
        not_before: facts.not_before.into(),
        not_after: facts.not_after.into(),
        created_at: now,
        revoked: None,
        der: Some(certificate.der().to_vec()),
    })
}

fn head_from_kept(text: &str) -> Option<audit::Head> {
    let (number, hash) = text.split_once(' ')?;
    Some(audit::Head { number: number.parse().ok()?, hash: hash.parse().ok()? })
}
