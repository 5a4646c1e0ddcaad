//! The load generator's half of TLS: the enrolled certificate, one protocol version and one cipher for both servers.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use super::ddrop::Enrolled;

/// A client with the enrolled certificate that never resumes; `peer_root`: whom else it trusts.
pub(crate) fn client(enrolled: &Enrolled, peer_root: Option<CertificateDer<'static>>) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    if let Some(root) = peer_root {
        roots.add(root)?;
    }
    for certificate in certificates(&enrolled.file("ca.crt"))? {
        roots.add(certificate)?;
    }
    let key = PrivateKeyDer::from_pem_file(enrolled.file("client.key")).context("client.key could not be read")?;
    let chain = certificates(&enrolled.file("client.crt"))?;
    let mut config = ClientConfig::builder_with_provider(Arc::new(one_cipher()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// Somebody without a certificate, who never resumes.
pub(crate) fn stranger(enrolled: &Enrolled) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&enrolled.file("ca.crt"))? {
        roots.add(certificate)?;
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(one_cipher()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// The same client, with a memory of its own for tickets.
pub(crate) fn resuming(client: &ClientConfig) -> ClientConfig {
    let mut config = client.clone();
    config.resumption = Resumption::in_memory_sessions(32);
    config
}

/// Both servers would take another cipher from the same offer; AES-128-GCM is what each is fastest with.
fn one_cipher() -> CryptoProvider {
    CryptoProvider { cipher_suites: vec![ring::cipher_suite::TLS13_AES_128_GCM_SHA256], ..ring::default_provider() }
}

pub(crate) fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let all = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    all.with_context(|| format!("{} could not be read", file.display()))
}
