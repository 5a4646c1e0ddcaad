//! Which CAs issue and issued: a new one now and then, while those before it still vouch for what they signed.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;

use pki::ca::{Ca, Publication};
use pki::certificate::Certificate;
use pki::key::{Algorithm, Key};
use tokio::task::spawn_blocking;

use super::folder::{Folder, Lock, New};
use super::keep::{self, Keep, Passphrase};
use super::{Actor, Authority, Error};
use crate::identity::Sha256;
use crate::units::Timestamp;

/// A CA and what it is known by.
pub(super) struct Issuer {
    pub(super) ca: Ca,
    pub(super) sha256: Sha256,
}

/// The CA that issues, those before it, and what goes with them.
pub(super) struct Issuers {
    pub(super) issuing: Arc<Issuer>,
    former: Vec<Arc<Issuer>>,
    pub(super) chain_pem: String,
    /// Up to this epoch it is known that there is no newer one.
    epoch: u64,
}

/// Issuing CAs that may be alive at once. They live for five years, so this is one every two months.
const MOST: usize = 32;

/// The name under which the issuing CA is kept.
pub(super) const ISSUING: &str = "authority-issuing";

impl Issuer {
    fn new(ca: Ca) -> Arc<Self> {
        let sha256 = Sha256::of(ca.certificate().der());
        Arc::new(Self { ca, sha256 })
    }
}

impl Issuers {
    pub(super) fn new(issuing: Ca, former: Vec<Ca>, root_pem: &str, epoch: u64) -> Arc<Self> {
        Arc::new(Self {
            chain_pem: format!("{}{root_pem}", issuing.certificate().to_pem()),
            issuing: Issuer::new(issuing),
            former: former.into_iter().map(Issuer::new).collect(),
            epoch,
        })
    }

    /// All of them, the one that issues first.
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Issuer>> {
        std::iter::once(&self.issuing).chain(&self.former)
    }

    fn until(&self, epoch: u64) -> Arc<Self> {
        let (issuing, former) = (Arc::clone(&self.issuing), self.former.clone());
        Arc::new(Self { issuing, former, chain_pem: self.chain_pem.clone(), epoch })
    }
}

impl Authority {
    /// Notices when another process has made a new issuing CA, before the chain or the status is read. Costs next to
    /// nothing when trust has not changed.
    ///
    /// # Errors
    /// When the rows or the new CA's files cannot be read.
    pub async fn notice(&self) -> Result<(), Error> {
        self.issuers().await.map(|_| ())
    }

    /// The CAs as they are now: another process may have made a new one.
    pub(super) async fn issuers(&self) -> Result<Arc<Issuers>, Error> {
        let issuers = self.issuers.load_full();
        let epoch = self.trust.epoch();
        if issuers.epoch == epoch {
            return Ok(issuers);
        }
        let newest = self.trust.value(ISSUING).await?;
        if newest.is_none_or(|newest| newest == issuers.issuing.sha256.to_string()) {
            let issuers = issuers.until(epoch);
            self.issuers.store(Arc::clone(&issuers));
            return Ok(issuers);
        }
        self.reload(epoch).await
    }

    async fn reload(&self, epoch: u64) -> Result<Arc<Issuers>, Error> {
        // There is a CA: none is made here.
        let (folder, passphrase, now) = (self.folder.clone(), self.passphrase.clone(), self.clock.now());
        let known = Some(self.root_fingerprint());
        let keep = spawn_blocking(move || Keep::open(&folder, &folder.lock()?, &passphrase, known, &[], now)).await??;
        let issuers = Issuers::new(keep.issuing, keep.former, &self.root_pem, epoch);
        self.issuers.store(Arc::clone(&issuers));
        Ok(issuers)
    }

    /// Makes a new issuing CA; what the one before it signed stays good. `permitted`: the server names it may issue
    /// for, as domains and networks; empty: any; `None`: those the one before it may.
    /// Running servers notice with the next request. Of two at once one waits for the other, and there are two new ones.
    ///
    /// # Errors
    /// When the root key is not here, a permitted name is none, this server's own names are not among them, there are
    /// too many issuing CAs already, or it cannot be signed or written.
    pub async fn rotate(&self, by: &Actor, permitted: Option<&[String]>) -> Result<Sha256, Error> {
        let result = self.try_rotate(by, permitted).await;
        self.refused(by, "rotate", result).await
    }

    async fn try_rotate(&self, by: &Actor, permitted: Option<&[String]>) -> Result<Sha256, Error> {
        let (folder, passphrase, root) = (self.folder.clone(), self.passphrase.clone(), self.root.clone());
        let (permitted, now) = (permitted.map(<[String]>::to_vec), self.clock.now());
        let next = spawn_blocking(move || Next::make(&folder, &passphrase, root, permitted, now)).await??;
        let own = self.config.server_names.iter().filter(|name| pki::ca::is_server_name(name));
        if let Some(outside) = own.into_iter().find(|name| !next.made.permits(name)) {
            return Err(Error::NotPermitted(outside.clone()));
        }
        let made = next.made.certificate().clone();
        let sha256 = Sha256::of(made.der());
        self.record(by, "rotate", vec![("fingerprint", sha256.to_string())]).await?;
        self.keep_row(&made, "issuing", self.root_fingerprint()).await?;
        let (folder, passphrase) = (self.folder.clone(), self.passphrase.clone());
        let next = spawn_blocking(move || next.install(&folder, &passphrase).map(|()| next)).await??;
        self.trust.set_value(ISSUING, &sha256.to_string()).await?;
        // The lock was held until here: else the one that came after would be written over.
        drop(next);
        // After it can be found: a server that looked while it was being made must look again.
        self.trust.tell().await?;
        self.reload(self.trust.epoch()).await?;
        Ok(sha256)
    }

    /// Takes the root key offline: writes it to `to`, which must not exist, sealed if there is a passphrase, and then
    /// removes it here. Without it no new issuing CA can be made; to make one, put the file back as `root.key`.
    ///
    /// # Errors
    /// When the root key is not here, or it cannot be written; then it stays here.
    pub async fn export_root(&self, by: &Actor, to: &Path) -> Result<(), Error> {
        let until = Timestamp::from(self.root.facts()?.not_after);
        let key = self.root_key().await?;
        let list = pki::pem::encode("X509 CRL", &self.sign_root_list(key, until).await?);
        let details = vec![("fingerprint", self.root_fingerprint().to_string()), ("to", to.display().to_string())];
        self.record(by, "export-root", details).await?;
        let (folder, to) = (self.folder.clone(), to.to_owned());
        spawn_blocking(move || {
            let lock = folder.lock()?;
            let key = folder.read(keep::ROOT_KEY)?.ok_or_else(|| Error::RootOffline(folder.path("")))?;
            write_new(&to, key.as_bytes()).map_err(|source| Error::Io { what: "write", path: to.clone(), source })?;
            folder.install(&lock, &[New { name: keep::ROOT_LIST, content: list.as_bytes(), secret: false }])?;
            folder.remove(&lock, keep::ROOT_KEY)
        })
        .await?
    }

    /// The root's key, read when it is needed and not kept in memory.
    pub(super) async fn root_key(&self) -> Result<Key, Error> {
        let (folder, passphrase) = (self.folder.clone(), self.passphrase.clone());
        spawn_blocking(move || {
            let lock = folder.lock()?;
            if !folder.path(keep::ROOT_KEY).exists() {
                return Err(Error::RootOffline(folder.path("")));
            }
            keep::key(&folder, &lock, &passphrase, keep::ROOT_KEY)
        })
        .await?
    }
}

/// An issuing CA that is to take the place of another, which stays under another name.
struct Next {
    lock: Lock,
    old: Ca,
    made: Ca,
}

impl Next {
    fn make(
        folder: &Folder,
        passphrase: &Passphrase,
        root: Certificate,
        permitted: Option<Vec<String>>,
        now: Timestamp,
    ) -> Result<Self, Error> {
        let lock = folder.lock()?;
        if !folder.path(keep::ROOT_KEY).exists() {
            return Err(Error::RootOffline(folder.path("")));
        }
        let root = Ca::load(keep::key(folder, &lock, passphrase, keep::ROOT_KEY)?, root)?;
        let old = keep::ca(folder, &lock, passphrase, keep::ISSUING_KEY, keep::ISSUING_CERTIFICATE)?;
        // Each of them is in memory, and has a list of its own.
        let alive = keep::alive(folder, now)?;
        if alive >= MOST {
            return Err(Error::ManyCas(alive));
        }
        let permitted = permitted.unwrap_or_else(|| old.permitted());
        let key = Key::generate(Algorithm::P256)?;
        let made = root.issuing(key, "ddrop issuing", &permitted, &Publication::default(), now.to_offset())?;
        Ok(Self { lock, old, made })
    }

    /// All of it or nothing.
    fn install(&self, folder: &Folder, passphrase: &Passphrase) -> Result<(), Error> {
        let former: String = Sha256::of(self.old.certificate().der()).to_string().chars().take(16).collect();
        let (old_key, new_key) =
            (keep::sealed(self.old.key(), passphrase)?, keep::sealed(self.made.key(), passphrase)?);
        let (old, new) = (self.old.certificate().to_pem(), self.made.certificate().to_pem());
        let file = |name, content, secret| New { name, content, secret };
        folder.install(
            &self.lock,
            &[
                file(&format!("issuing-{former}.key"), old_key.as_bytes(), true),
                file(&format!("issuing-{former}.crt"), old.as_bytes(), false),
                file(keep::ISSUING_KEY, new_key.as_bytes(), true),
                file(keep::ISSUING_CERTIFICATE, new.as_bytes(), false),
            ],
        )
    }
}

/// A file that only its owner may read; on disk when this returns. Never replaces one.
fn write_new(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(content)?;
    file.sync_all()?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}
