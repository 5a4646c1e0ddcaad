//! TLS as the server speaks it: its certificate on disk and its reload, the optional client certificate, and the
//! [`Peer`] read once per connection.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::server::NoServerSessionStorage;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

mod peer;
mod possession;

pub use peer::{Peer, PeerCertificate};

/// The certificate a server shows and the key that goes with it.
#[derive(Debug)]
pub struct Identity {
    /// Leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    /// Its key.
    pub key: PrivateKeyDer<'static>,
}

impl Identity {
    /// Reads a certificate chain and a key, both PEM.
    ///
    /// # Errors
    /// When a file cannot be read, holds no certificate or no key. That they belong together is checked by
    /// [`Terminator`].
    pub fn from_files(certificate: &Path, key: &Path) -> Result<Self, Error> {
        let unreadable = |path: &Path, source| Error::Pem { path: path.to_owned(), source };
        let chain: Vec<_> = CertificateDer::pem_file_iter(certificate)
            .and_then(Iterator::collect)
            .map_err(|source| unreadable(certificate, source))?;
        if chain.is_empty() {
            return Err(Error::NoCertificate { path: certificate.to_owned() });
        }
        let key = PrivateKeyDer::from_pem_file(key).map_err(|source| unreadable(key, source))?;
        Ok(Self { chain, key })
    }
}

/// Whether a handshake needs a client certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCertificate {
    /// Asked for, not needed.
    Optional,
    /// No handshake without one.
    Required,
}

/// The server's half of TLS, with a configuration that can be replaced while connections are open. Cheap to clone.
#[derive(Clone)]
pub struct Terminator {
    current: Arc<ArcSwap<ServerConfig>>,
    client: ClientCertificate,
}

/// How long a session ticket can be used: ring's ticketer makes new keys twice as often.
pub const TICKET_LIFETIME: Duration = Duration::from_secs(12 * 3600);

impl Terminator {
    /// Starts with this identity.
    ///
    /// # Errors
    /// When the key does not belong to the certificate or is of a kind ring cannot use.
    pub fn new(identity: Identity, client: ClientCertificate) -> Result<Self, Error> {
        let config = configuration(identity, client)?;
        Ok(Self { current: Arc::new(ArcSwap::from_pointee(config)), client })
    }

    /// Uses another identity for connections accepted from now on. Its tickets are its own: no session begun under
    /// the old identity can be resumed.
    ///
    /// # Errors
    /// As [`Terminator::new`]; the old identity then stays in use.
    pub fn replace(&self, identity: Identity) -> Result<(), Error> {
        self.current.store(Arc::new(configuration(identity, self.client)?));
        Ok(())
    }

    /// What the next connection is to use.
    pub fn current(&self) -> Arc<ServerConfig> {
        self.current.load_full()
    }
}

fn configuration(identity: Identity, client: ClientCertificate) -> Result<ServerConfig, Error> {
    let provider = Arc::new(provider());
    let verifier = possession::Verifier::new(&provider, client);
    let mut config = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(Error::Tls)?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_single_cert(identity.chain, identity.key)
        .map_err(Error::Tls)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.ignore_client_order = true;
    // Tickets carry the session, so the server keeps nothing per session.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = rustls::crypto::ring::Ticketer::new().map_err(Error::Tls)?;
    config.send_tls13_tickets = 1;
    config.max_early_data_size = 0;
    Ok(config)
}

/// ring, with the cipher that is quickest on hardware that has AES first.
pub fn provider() -> CryptoProvider {
    use rustls::crypto::ring::cipher_suite as suite;
    CryptoProvider {
        cipher_suites: vec![
            suite::TLS13_AES_128_GCM_SHA256,
            suite::TLS13_AES_256_GCM_SHA384,
            suite::TLS13_CHACHA20_POLY1305_SHA256,
            suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
            suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
            suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
            suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
            suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
            suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        ],
        ..rustls::crypto::ring::default_provider()
    }
}

/// What is wrong with a server's certificate or key.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read as PEM.
    #[error("cannot read {path} as PEM")]
    Pem {
        /// Which.
        path: PathBuf,
        /// Why.
        source: rustls_pki_types::pem::Error,
    },
    /// A file has no certificate in it.
    #[error("there is no certificate in {path}")]
    NoCertificate {
        /// Which.
        path: PathBuf,
    },
    /// rustls does not take them.
    #[error("the certificate and key cannot be used for TLS")]
    Tls(#[source] rustls::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unreadable_files_are_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("missing.crt");
        let error = Identity::from_files(&path, &path).expect_err("no such file");
        assert!(error.to_string().contains("missing.crt"), "{error}");
        std::fs::write(&path, "not pem").expect("written");
        let error = Identity::from_files(&path, &path).expect_err("no certificate");
        assert!(matches!(error, Error::NoCertificate { .. }), "{error}");
    }
}
