//! How a client gets, replaces and renews its certificate: everything is checked before any file changes, and all files
//! change together.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use pki::key::{Algorithm, Key};
use rustls_pki_types::CertificateDer;
use url::Url;

use super::certificate::{self, Facts};
use super::folder::{Readable, Staged};
use super::profile::{CA, CERTIFICATE, FILE, KEY, Source};
use super::tls::Anchors;
use super::{Client, Error, Profile, error};
use crate::clock::Clock;
use crate::identity::Sha256;
use crate::token::Invite;

/// A certificate that is in place.
#[derive(Clone, Debug)]
pub struct Enrolled {
    /// What it says.
    pub facts: Facts,
    /// The folder it is in.
    pub folder: PathBuf,
}

/// Uses an invite: makes a key in `folder`, proves the server by the root in the invite, has the key certified, and
/// writes `client.key`, `client.crt`, `ca.crt` and `config.toml`. On failure the old files stay.
///
/// # Errors
/// When the folder cannot be written, the server cannot be reached or is not the invite's, refuses the invite, or
/// answers a certificate that cannot be used.
pub async fn enroll(
    invite: &Invite,
    algorithm: Algorithm,
    folder: &Path,
    clock: Arc<dyn Clock>,
) -> Result<Enrolled, Error> {
    if invite.server.scheme() == "http" && !super::profile::is_loopback(&invite.server) {
        let why = "this invite leads to another machine without TLS, so its secret would be readable on the way";
        return Err(Error::Usage(why.to_owned()));
    }
    let root = find_root(&invite.server, invite.root, Arc::clone(&clock)).await?;
    // The invite is spent by the next request, so everything that may fail here has to have been done before.
    let staged = Staged::begin(folder)?;
    let (key, request) = new_key(algorithm)?;
    staged.add(KEY, key.to_pem().as_bytes(), Readable::Owner)?;
    staged.add(CA, pem(&root).as_bytes(), Readable::All)?;
    let pinned = !invite.web || shows_own(&invite.server, &root, Arc::clone(&clock)).await;
    staged.add(FILE, settings(&invite.server, pinned).as_bytes(), Readable::Owner)?;

    let anchors = if pinned { Anchors::Pinned(vec![root.clone()]) } else { Anchors::Either(vec![root.clone()]) };
    let client = Client::anonymous(invite.server.clone(), anchors, Arc::clone(&clock))?;
    let chain_pem = client.enroll(&invite.secret, &request).await?;
    let chain = certificate::check_issued(&chain_pem, &request, Some(&root), clock.now())?;
    staged.add(CERTIFICATE, chain_pem.as_bytes(), Readable::All)?;
    staged.commit()?;
    enrolled(&chain, folder)
}

/// The root with this fingerprint, as the server shows it to anyone. Who that is does not matter: a certificate with
/// the right SHA-256 is the right one, whoever sent it.
async fn find_root(server: &Url, fingerprint: Sha256, clock: Arc<dyn Clock>) -> Result<CertificateDer<'static>, Error> {
    let anyone = Client::anonymous(server.clone(), Anchors::Anyone, clock)?;
    for text in [anyone.ca().await, anyone.ca_chain().await] {
        let text = match text {
            Err(Error::Answer(answer)) if answer.status.is_client_error() => continue,
            other => other?,
        };
        let Ok(certificates) = pki::pem::certificates(&text) else { continue };
        if let Some(root) = certificates.into_iter().find(|der| Sha256::of(der) == fingerprint) {
            return Ok(CertificateDer::from(root));
        }
    }
    Err(Error::WrongRoot { url: error::origin(server) })
}

/// Whether the server shows a certificate of its own CA, where the invite allows for one from elsewhere, as it does when
/// a proxy stands in front: then that CA alone need be trusted from now on.
async fn shows_own(server: &Url, root: &CertificateDer<'static>, clock: Arc<dyn Clock>) -> bool {
    match Client::anonymous(server.clone(), Anchors::Pinned(vec![root.clone()]), clock) {
        Ok(client) => client.ca().await.is_ok(),
        Err(_) => false,
    }
}

/// Renews the certificate of a profile with a new key, in the files it names.
///
/// # Errors
/// When there is none to renew, its files are in two folders, or the server cannot be reached or refuses.
pub async fn renew(profile: &Profile, algorithm: Option<Algorithm>, clock: Arc<dyn Clock>) -> Result<Enrolled, Error> {
    let (Some(cert), Some(key)) = (&profile.client_cert, &profile.client_key) else {
        return Err(Error::Usage(
            "there is no client certificate to renew: enrol first (ddrop cert --configure INVITE)".to_owned(),
        ));
    };
    let (folder, cert_name) = place(&cert.value)?;
    let (key_folder, key_name) = place(&key.value)?;
    if folder != key_folder {
        return Err(Error::Failed(format!(
            "certificate and key are in two folders ({} and {}), so they cannot be replaced together: move them into one",
            folder.display(),
            key_folder.display()
        )));
    }
    let old = profile.identity()?;
    let old = old.as_ref().and_then(|identity| identity.chain.first());
    if old.and_then(|leaf| Facts::of(leaf).ok()).is_some_and(|facts| facts.self_signed) {
        return Err(Error::Failed(
            "this certificate is self-signed, so no server can renew it: make a new one with ddrop cert --force, or enrol"
                .to_owned(),
        ));
    }
    let client = Client::new(profile, Arc::clone(&clock))?;
    let root = match profile.anchors()? {
        Anchors::Pinned(roots) => roots.into_iter().next(),
        _ => None,
    };
    let algorithm = algorithm.or_else(|| certificate::algorithm(old?)).unwrap_or(Algorithm::P256);
    let staged = Staged::begin(&folder)?;
    let (new_key, request) = new_key(algorithm)?;
    staged.add(&key_name, new_key.to_pem().as_bytes(), Readable::Owner)?;
    let chain_pem = client.renew(&request).await?;
    let chain = certificate::check_issued(&chain_pem, &request, root.as_ref(), clock.now())?;
    staged.add(&cert_name, chain_pem.as_bytes(), Readable::All)?;
    staged.commit()?;
    enrolled(&chain, &folder)
}

/// Renews the certificate of a profile if two thirds of its lifetime are gone; `None` when there is nothing to do. Only
/// one that the configuration file names: other files are somebody else's to replace.
///
/// # Errors
/// As [`renew`]; a renewal whose answer is lost is tried again the next time.
pub async fn renew_if_due(profile: &Profile, clock: Arc<dyn Clock>) -> Result<Option<Enrolled>, Error> {
    let ours = profile.client_cert.as_ref().is_some_and(|cert| matches!(cert.source, Source::File(_)));
    let Ok(Some(identity)) = profile.identity() else { return Ok(None) };
    let facts = identity.chain.first().and_then(|leaf| Facts::of(leaf).ok());
    if !facts.is_some_and(|facts| ours && !facts.self_signed && facts.is_due(clock.now())) {
        return Ok(None);
    }
    renew(profile, None, clock).await.map(Some)
}

/// A self-signed certificate and its key, in PEM.
///
/// # Errors
/// When this kind of key cannot be made.
pub fn self_signed(
    algorithm: Algorithm,
    name: &str,
    days: u32,
    clock: &dyn Clock,
) -> Result<(Key, pki::certificate::Certificate), Error> {
    let key = Key::generate(algorithm)?;
    let certificate = pki::certificate::self_signed_client(&key, name, clock.now().to_offset(), days)?;
    Ok((key, certificate))
}

/// Writes a self-signed certificate and its key into a folder; with `server`, also a configuration that uses them.
///
/// # Errors
/// When a file cannot be written, or is there already and `replace` is not said.
pub fn keep_self_signed(
    key: &Key,
    certificate: &pki::certificate::Certificate,
    folder: &Path,
    configure: Option<&Configure<'_>>,
    replace: bool,
) -> Result<Enrolled, Error> {
    let staged = Staged::begin(folder)?;
    vacant(folder, replace)?;
    staged.add(KEY, key.to_pem().as_bytes(), Readable::Owner)?;
    staged.add(CERTIFICATE, certificate.to_pem().as_bytes(), Readable::All)?;
    if let Some(configure) = configure {
        if let Some(pem) = configure.ca_pem {
            staged.add(CA, pem, Readable::All)?;
        }
        let text = settings(configure.server, configure.ca_pem.is_some());
        staged.add(FILE, text.as_bytes(), Readable::Owner)?;
    }
    staged.commit()?;
    Ok(Enrolled { facts: Facts::of(certificate.der())?, folder: folder.to_owned() })
}

/// What a configuration is made of.
#[derive(Debug)]
pub struct Configure<'a> {
    /// Where the server is.
    pub server: &'a Url,
    /// The only CA to trust for it; the system's when there is none.
    pub ca_pem: Option<&'a [u8]>,
}

fn new_key(algorithm: Algorithm) -> Result<(Key, String), Error> {
    // The server decides the name; what a request wishes does not count.
    key_and_request(algorithm, "ddrop client")
}

/// A new key and a signing request for it in PEM.
pub(super) fn key_and_request(algorithm: Algorithm, name: &str) -> Result<(Key, String), Error> {
    let key = Key::generate(algorithm)?;
    let request = pki::request::make(&key, name)?;
    Ok((key, request))
}

/// Whether key and certificate may be written, which they may not over others unless that is said.
pub(super) fn vacant(folder: &Path, replace: bool) -> Result<(), Error> {
    let taken =
        [KEY, CERTIFICATE].map(|name| folder.join(name)).into_iter().find(|path| path.symlink_metadata().is_ok());
    match taken {
        Some(path) if !replace => Err(Error::Exists(path)),
        _ => Ok(()),
    }
}

pub(super) fn enrolled(chain: &[CertificateDer<'_>], folder: &Path) -> Result<Enrolled, Error> {
    let leaf = chain.first().ok_or(certificate::Error::Unreadable)?;
    Ok(Enrolled { facts: Facts::of(leaf)?, folder: folder.to_owned() })
}

fn place(path: &Path) -> Result<(PathBuf, String), Error> {
    let whole = path.canonicalize().map_err(Error::io("find", path))?;
    match (whole.parent(), whole.file_name().and_then(|name| name.to_str())) {
        (Some(folder), Some(name)) => Ok((folder.to_owned(), name.to_owned())),
        _ => Err(Error::Failed(format!("{} is not a file that can be replaced", path.display()))),
    }
}

fn pem(der: &CertificateDer<'_>) -> String {
    pki::pem::encode("CERTIFICATE", der)
}

/// The text of `config.toml`. Names are relative to its folder, so that the folder can be moved.
pub(super) fn settings(server: &Url, own_ca: bool) -> String {
    let mut table = toml::Table::new();
    let mut say = |key: &str, value: &str| table.insert(key.to_owned(), toml::Value::String(value.to_owned()));
    say("server", server.as_str().trim_end_matches('/'));
    say("client_cert", CERTIFICATE);
    say("client_key", KEY);
    if own_ca {
        say("ca_cert", CA);
    }
    format!("# Relative paths are relative to this file.\n{table}")
}

#[cfg(test)]
#[path = "enroll_tests.rs"]
mod tests;
