//! The client certificate verifier: the peer must hold the key of the certificate it shows, and nothing else.
//!
//! What the certificate is worth is decided per request, by its fingerprint: a session that is resumed never comes by
//! here, and a certificate that nobody signed for us may be trusted by its fingerprint.

use ring::digest::{Algorithm, SHA256, SHA384, SHA512};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature_with_raw_key,
};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, SignatureScheme};
use rustls_pki_types::{CertificateDer, SubjectPublicKeyInfoDer, UnixTime};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::ClientCertificate;

/// A certificate larger than this is not looked at: RSA-4096 with every extension in use stays under 4 KiB.
const LARGEST_CERTIFICATE: usize = 16 * 1024;

/// Checks the handshake's signature over the certificate's public key.
#[derive(Debug)]
pub(super) struct Verifier {
    algorithms: WebPkiSupportedAlgorithms,
    mandatory: bool,
}

impl Verifier {
    pub(super) fn new(provider: &CryptoProvider, client: ClientCertificate) -> Self {
        Self {
            algorithms: provider.signature_verification_algorithms,
            mandatory: client == ClientCertificate::Required,
        }
    }
}

fn public_key(certificate: &CertificateDer<'_>) -> Result<SubjectPublicKeyInfoDer<'static>, rustls::Error> {
    let bad = || rustls::Error::InvalidCertificate(CertificateError::BadEncoding);
    if certificate.len() > LARGEST_CERTIFICATE {
        return Err(bad());
    }
    let (rest, parsed) = X509Certificate::from_der(certificate).map_err(|_| bad())?;
    if !rest.is_empty() {
        return Err(bad());
    }
    Ok(SubjectPublicKeyInfoDer::from(parsed.public_key().raw.to_vec()))
}

impl ClientCertVerifier for Verifier {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    /// No hints: with them a browser or curl would not offer a self-signed certificate.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        public_key(end_entity)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        match (hash_of(dss.scheme), public_key(cert)?) {
            (Some(hash), key) if is_p521(&key) => verify_p521(hash, message, &key, dss),
            _ => verify_tls12_signature(message, cert, dss, &self.algorithms),
        }
    }

    /// Over the bare key: webpki would refuse X.509 v1 and unusual extensions, which are not our business here.
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let key = public_key(cert)?;
        if dss.scheme == P521 {
            return verify_p521(&SHA512, message, &key, dss);
        }
        verify_tls13_signature_with_raw_key(message, &key, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let mut schemes = self.algorithms.supported_schemes();
        schemes.push(P521);
        schemes
    }
}

/// ring verifies no signature by a key on this curve. TLS 1.3 ties the curve to the scheme.
const P521: SignatureScheme = SignatureScheme::ECDSA_NISTP521_SHA512;

/// In TLS 1.2 these say no more than the hash (RFC 8422 section 5.4), and most
/// clients sign with SHA-256 whatever their curve is.
fn hash_of(scheme: SignatureScheme) -> Option<&'static Algorithm> {
    match scheme {
        SignatureScheme::ECDSA_NISTP256_SHA256 => Some(&SHA256),
        SignatureScheme::ECDSA_NISTP384_SHA384 => Some(&SHA384),
        SignatureScheme::ECDSA_NISTP521_SHA512 => Some(&SHA512),
        _ => None,
    }
}

fn is_p521(key: &SubjectPublicKeyInfoDer<'_>) -> bool {
    pki::key::PublicKey::from_spki(key).is_ok_and(|key| key.algorithm() == pki::key::Algorithm::P521)
}

fn verify_p521(
    hash: &'static Algorithm,
    message: &[u8],
    key: &SubjectPublicKeyInfoDer<'_>,
    dss: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, rustls::Error> {
    let bad = || rustls::Error::InvalidCertificate(CertificateError::BadSignature);
    let key = pki::key::PublicKey::from_spki(key).map_err(|_| bad())?;
    let holds = pki::key::verify_p521(&key, hash, message, dss.signature());
    if holds { Ok(HandshakeSignatureValid::assertion()) } else { Err(bad()) }
}
