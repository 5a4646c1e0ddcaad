//! The client certificate verifier: the peer must hold the key of the certificate it shows, and nothing else.
//!
//! What the certificate is worth is decided per request, by its fingerprint: a session that is resumed never comes by
//! here, and a certificate that nobody signed for us may be trusted by its fingerprint.

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
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    /// Over the bare key: webpki would refuse X.509 v1 and unusual extensions, which are not our business here.
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        if dss.scheme == P521 {
            return verify_p521(message, cert, dss);
        }
        verify_tls13_signature_with_raw_key(message, &public_key(cert)?, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let mut schemes = self.algorithms.supported_schemes();
        schemes.push(P521);
        schemes
    }
}

/// ring verifies no signature of this kind. Only TLS 1.3 ties the curve to it: over TLS 1.2 a client with such a key
/// signs with SHA-256, which a curve of this size does not take.
const P521: SignatureScheme = SignatureScheme::ECDSA_NISTP521_SHA512;

fn verify_p521(
    message: &[u8],
    certificate: &CertificateDer<'_>,
    dss: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, rustls::Error> {
    let bad = || rustls::Error::InvalidCertificate(CertificateError::BadSignature);
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| bad())?;
    let point = &parsed.public_key().subject_public_key.data;
    if pki::key::verify_p521(point, message, dss.signature()) {
        Ok(HandshakeSignatureValid::assertion())
    } else {
        Err(bad())
    }
}
