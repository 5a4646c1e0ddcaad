//! TLS as the server speaks it: its certificate on disk and its reload, the optional client certificate, and the
//! [`Peer`] read once per connection.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
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
    /// An OCSP response about the leaf, for clients that ask for one (RFC 6066 section 8).
    pub ocsp: Option<Vec<u8>>,
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
        Ok(Self { chain, key, ocsp: None })
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
    current: Arc<ArcSwap<Current>>,
    client: ClientCertificate,
}

struct Current {
    config: Arc<ServerConfig>,
    shown: Arc<Shown>,
}

/// What is shown: the certificate, its key, and an OCSP response, which is replaced more often than they are.
#[derive(Debug)]
struct Shown(ArcSwap<CertifiedKey>);

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

impl Terminator {
    /// Starts with this identity.
    ///
    /// # Errors
    /// When the key does not belong to the certificate or is of a kind ring cannot use.
    pub fn new(identity: Identity, client: ClientCertificate) -> Result<Self, Error> {
        let current = Current::new(certified(identity)?, client)?;
        Ok(Self { current: Arc::new(ArcSwap::from_pointee(current)), client })
    }

    /// Shows another identity to connections accepted from now on. If its certificate is another one, so are its
    /// tickets: no session begun under the old certificate can be resumed.
    ///
    /// # Errors
    /// As [`Terminator::new`]; the old identity then stays in use.
    pub fn replace(&self, identity: Identity) -> Result<(), Error> {
        let key = certified(identity)?;
        let current = self.current.load();
        if current.shown.0.load().cert == key.cert {
            current.shown.0.store(Arc::new(key));
        } else {
            self.current.store(Arc::new(Current::new(key, self.client)?));
        }
        Ok(())
    }

    /// What the next connection is to use.
    pub fn current(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.load().config)
    }
}

fn certified(identity: Identity) -> Result<CertifiedKey, Error> {
    let mut key = CertifiedKey::from_der(identity.chain, identity.key, &provider()).map_err(Error::Tls)?;
    key.ocsp = identity.ocsp;
    Ok(key)
}

impl Current {
    fn new(key: CertifiedKey, client: ClientCertificate) -> Result<Self, Error> {
        let shown = Arc::new(Shown(ArcSwap::from_pointee(key)));
        let provider = Arc::new(provider());
        let verifier = possession::Verifier::new(&provider, client);
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(Error::Tls)?
            .with_client_cert_verifier(Arc::new(verifier))
            .with_cert_resolver(Arc::<Shown>::clone(&shown));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.ignore_client_order = true;
        // Tickets carry the session, so the server keeps nothing per session.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = rustls::crypto::ring::Ticketer::new().map_err(Error::Tls)?;
        config.send_tls13_tickets = 1;
        config.max_early_data_size = 0;
        Ok(Self { config: Arc::new(config), shown })
    }
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
        assert!(matches!(error, Error::Pem { .. }));
        assert!(error.to_string().contains("missing.crt"), "{error}");
        std::fs::write(&path, "not pem").expect("written");
        let error = Identity::from_files(&path, &path).expect_err("no certificate");
        assert!(matches!(error, Error::NoCertificate { .. }), "{error}");
    }

    #[test]
    fn a_key_of_another_certificate_is_refused_and_the_old_ones_stay() {
        use pki::key::{Algorithm, Key};
        let now = time::OffsetDateTime::from_unix_timestamp(1_800_000_000).expect("a time");
        let [key, other] = [(); 2].map(|()| Key::generate(Algorithm::P256).expect("a key"));
        let certificate = pki::certificate::self_signed_client(&key, "me", now, 30).expect("a certificate");
        let identity = |key: &Key| Identity {
            chain: vec![CertificateDer::from(certificate.der().to_vec())],
            key: PrivateKeyDer::from_pem_slice(key.to_pem().as_bytes()).expect("a key"),
            ocsp: None,
        };
        let refused = Terminator::new(identity(&other), ClientCertificate::Optional).err();
        assert!(matches!(refused, Some(Error::Tls(_))), "{refused:?}");
        let terminator = Terminator::new(identity(&key), ClientCertificate::Optional).expect("its own key");
        let before = terminator.current();
        assert!(matches!(terminator.replace(identity(&other)), Err(Error::Tls(_))));
        assert!(Arc::ptr_eq(&before, &terminator.current()));
    }
}
