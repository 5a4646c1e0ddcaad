//! The CAs in the folder: made on the very first start, opened and checked on every other.

use std::path::{Path, PathBuf};

use pki::ca::{Ca, Publication};
use pki::certificate::Certificate;
use pki::key::{Algorithm, Key};
use zeroize::Zeroizing;

use super::Error;
use super::folder::{Folder, Lock, New};
use crate::identity::Sha256;
use crate::units::Timestamp;

/// What the folder holds.
#[derive(Debug)]
pub(super) struct Keep {
    /// The root's certificate.
    pub(super) root: Certificate,
    /// The CA that issues.
    pub(super) issuing: Ca,
    /// CAs that issued before and still vouch for what they issued.
    pub(super) former: Vec<Ca>,
}

pub(super) const ROOT_KEY: &str = "root.key";
pub(super) const ROOT_CERTIFICATE: &str = "root.crt";
/// The root's last list, while its key is elsewhere.
pub(super) const ROOT_LIST: &str = "root.crl";
pub(super) const ISSUING_KEY: &str = "issuing.key";
pub(super) const ISSUING_CERTIFICATE: &str = "issuing.crt";

/// Keys are read and written with this, if there is one.
pub(super) type Passphrase = Option<Zeroizing<Vec<u8>>>;

impl Keep {
    /// Opens what is there, or makes it when there is nothing at all. `known`: the root that the rows belong to;
    /// `permitted`: the server names a CA made here may sign for.
    pub(super) fn open(
        folder: &Folder,
        lock: &Lock,
        passphrase: &Passphrase,
        known: Option<Sha256>,
        permitted: &[String],
        now: Timestamp,
    ) -> Result<Self, Error> {
        let there = |name: &str| folder.path(name).exists();
        let parts = [ROOT_CERTIFICATE, ISSUING_KEY, ISSUING_CERTIFICATE];
        if !parts.iter().any(|name| there(name)) && !there(ROOT_KEY) {
            if let Some(known) = known {
                let (path, found) = (folder.path(""), "holds no CA".to_owned());
                return Err(Error::OtherCa { path, known: known.to_string(), found });
            }
            make(folder, lock, passphrase, permitted, now)?;
        }
        if let Some(missing) = parts.into_iter().find(|name| !there(name)) {
            return Err(Error::Missing(folder.path(missing)));
        }
        let keep = Self::load(folder, lock, passphrase)?;
        keep.check(folder, known, now)?;
        Ok(keep)
    }

    fn load(folder: &Folder, lock: &Lock, passphrase: &Passphrase) -> Result<Self, Error> {
        let root = certificate(folder, ROOT_CERTIFICATE)?;
        if folder.path(ROOT_KEY).exists() {
            ca(folder, lock, passphrase, ROOT_KEY, ROOT_CERTIFICATE)?;
        }
        let issuing = ca(folder, lock, passphrase, ISSUING_KEY, ISSUING_CERTIFICATE)?;
        let mut all = Vec::new();
        for stem in former(folder)? {
            all.push(ca(folder, lock, passphrase, &format!("{stem}.key"), &format!("{stem}.crt"))?);
        }
        Ok(Self { root, issuing, former: all })
    }

    fn check(&self, folder: &Folder, known: Option<Sha256>, now: Timestamp) -> Result<(), Error> {
        let found = Sha256::of(self.root.der());
        if let Some(known) = known.filter(|known| *known != found) {
            let (path, found) = (folder.path(""), format!("holds {found}"));
            return Err(Error::OtherCa { path, known: known.to_string(), found });
        }
        valid(&self.root, &folder.path(ROOT_CERTIFICATE), now)?;
        valid(self.issuing.certificate(), &folder.path(ISSUING_CERTIFICATE), now)?;
        let signed = |ca: &Ca| pki::certificate::signed_by(ca.certificate(), &self.root);
        if std::iter::once(&self.issuing).chain(&self.former).all(signed) {
            return Ok(());
        }
        Err(unusable(folder.path(ISSUING_CERTIFICATE), "it was not signed by the root that is beside it"))
    }
}

/// A root and an issuing CA; all their files or none.
fn make(
    folder: &Folder,
    lock: &Lock,
    passphrase: &Passphrase,
    permitted: &[String],
    now: Timestamp,
) -> Result<(), Error> {
    let root = Ca::root(Key::generate(Algorithm::P256)?, "ddrop root", now.to_offset())?;
    let key = Key::generate(Algorithm::P256)?;
    // It names no places: its own revocation would have to be published by the root, which may be offline.
    let issuing = root.issuing(key, "ddrop issuing", permitted, &Publication::default(), now.to_offset())?;
    let (root_key, issuing_key) = (sealed(root.key(), passphrase)?, sealed(issuing.key(), passphrase)?);
    let (root, issuing) = (root.certificate().to_pem(), issuing.certificate().to_pem());
    let file = |name, content, secret| New { name, content, secret };
    folder.install(
        lock,
        &[
            file(ROOT_KEY, root_key.as_bytes(), true),
            file(ROOT_CERTIFICATE, root.as_bytes(), false),
            file(ISSUING_KEY, issuing_key.as_bytes(), true),
            file(ISSUING_CERTIFICATE, issuing.as_bytes(), false),
        ],
    )
}

/// How many issuing CAs have not ended, the one that issues among them.
pub(super) fn alive(folder: &Folder, now: Timestamp) -> Result<usize, Error> {
    let mut alive = 1;
    for stem in former(folder)? {
        let ends = certificate(folder, &format!("{stem}.crt"))?.facts()?.not_after;
        alive += usize::from(Timestamp::from(ends) > now);
    }
    Ok(alive)
}

/// The names of those that issued before, without the endings of their files.
fn former(folder: &Folder) -> Result<Vec<String>, Error> {
    let names = folder.names()?.into_iter().filter_map(|name| name.strip_suffix(".crt").map(str::to_owned));
    Ok(names.filter(|stem| stem.starts_with("issuing-")).collect())
}

/// A CA from two files.
pub(super) fn ca(
    folder: &Folder,
    lock: &Lock,
    passphrase: &Passphrase,
    key: &str,
    certificate_name: &str,
) -> Result<Ca, Error> {
    let certificate = certificate(folder, certificate_name)?;
    let found = self::key(folder, lock, passphrase, key)?;
    Ca::load(found, certificate).map_err(|source| Error::File { path: folder.path(key), source: source.into() })
}

/// A key from a file. One that is not sealed although there is a passphrase is sealed from now on.
pub(super) fn key(folder: &Folder, lock: &Lock, passphrase: &Passphrase, name: &str) -> Result<Key, Error> {
    let cannot = |source: pki::key::Error| Error::File { path: folder.path(name), source: source.into() };
    let text = folder.read(name)?.ok_or_else(|| Error::Missing(folder.path(name)))?;
    let Some(secret) = passphrase else { return Key::from_pem(&text).map_err(cannot) };
    match Key::from_encrypted_pem(&text, secret) {
        Err(pki::key::Error::NotEncrypted) => {
            let key = Key::from_pem(&text).map_err(cannot)?;
            let sealed = sealed(&key, passphrase)?;
            folder.install(lock, &[New { name, content: sealed.as_bytes(), secret: true }])?;
            Ok(key)
        }
        other => other.map_err(cannot),
    }
}

/// A key as it is kept.
pub(super) fn sealed(key: &Key, passphrase: &Passphrase) -> Result<Zeroizing<String>, Error> {
    match passphrase {
        Some(secret) => Ok(key.to_encrypted_pem(secret)?),
        None => Ok(key.to_pem()),
    }
}

/// A certificate from a file.
pub(super) fn certificate(folder: &Folder, name: &str) -> Result<Certificate, Error> {
    let path = folder.path(name);
    let text = folder.read(name)?.ok_or_else(|| Error::Missing(path.clone()))?;
    Certificate::from_pem(&text).map_err(|source| Error::File { path, source: source.into() })
}

/// The passphrase in a file, without the end of its line.
pub(super) fn passphrase(path: Option<&Path>) -> Result<Passphrase, Error> {
    let Some(path) = path else { return Ok(None) };
    let read = std::fs::read(path).map_err(|source| Error::Io { what: "read", path: path.to_owned(), source });
    let mut bytes = Zeroizing::new(read?);
    while bytes.last().is_some_and(|byte| *byte == b'\n' || *byte == b'\r') {
        bytes.pop();
    }
    if bytes.is_empty() { Err(Error::NoPassphrase(path.to_owned())) } else { Ok(Some(bytes)) }
}

fn valid(certificate: &Certificate, path: &Path, now: Timestamp) -> Result<(), Error> {
    let facts = certificate.facts()?;
    let (from, until) = (Timestamp::from(facts.not_before), Timestamp::from(facts.not_after));
    if now > until {
        return Err(Error::Over { path: path.to_owned(), at: until });
    }
    if now < from {
        return Err(Error::NotYet { path: path.to_owned(), at: from });
    }
    Ok(())
}

fn unusable(path: PathBuf, why: &'static str) -> Error {
    Error::File { path, source: why.into() }
}
