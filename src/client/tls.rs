//! TLS as a client: whom to trust, what to show, and what a failed handshake means in words.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

/// Whose signature on a server's certificate counts.
#[derive(Clone, Debug)]
pub enum Anchors {
    /// Only these roots'.
    Pinned(Vec<CertificateDer<'static>>),
    /// The operating system's roots'.
    System,
    /// These roots' and the operating system's.
    Either(Vec<CertificateDer<'static>>),
    /// Nobody's: the server may be anyone. Only for what is public and checked by other means.
    Anyone,
}

/// What this client shows of itself.
#[derive(Debug)]
pub struct Identity {
    /// Leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    /// The leaf's key.
    pub key: PrivateKeyDer<'static>,
    /// The key's file, if others may read it too.
    pub exposed: Option<PathBuf>,
}

/// The settings of one kind of connection: TLS 1.3 or 1.2 by ring, names always checked.
///
/// # Errors
/// When a root, the certificate or the key cannot be used.
pub fn config(anchors: &Anchors, identity: Option<&Identity>) -> Result<ClientConfig, Error> {
    let provider = Arc::new(super::p521::provider());
    let verifier = verifier(anchors, &provider)?;
    let wants = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(Error::Setup)?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match identity {
        Some(one) => wants.with_client_auth_cert(one.chain.clone(), one.key.clone_key()).map_err(Error::Identity)?,
        None => wants.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn verifier(anchors: &Anchors, provider: &Arc<CryptoProvider>) -> Result<Arc<dyn ServerCertVerifier>, Error> {
    let provider = Arc::clone(provider);
    match anchors {
        Anchors::Pinned(roots) => {
            let mut store = RootCertStore::empty();
            for root in roots {
                store.add(root.clone()).map_err(Error::Root)?;
            }
            let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider).build();
            Ok(verifier.map_err(|_| Error::NoRoot)?)
        }
        Anchors::System => Ok(Arc::new(rustls_platform_verifier::Verifier::new(provider).map_err(Error::Setup)?)),
        Anchors::Either(roots) => {
            let verifier = rustls_platform_verifier::Verifier::new_with_extra_roots(roots.iter().cloned(), provider);
            Ok(Arc::new(verifier.map_err(Error::Setup)?))
        }
        Anchors::Anyone => Ok(Arc::new(Anyone(provider))),
    }
}

/// Takes any certificate whose key the server holds.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// What a failed handshake means, and what to do about it.
pub(super) fn explain(error: &rustls::Error, anchors: &Anchors) -> (String, String) {
    let (why, hint) = match error {
        rustls::Error::InvalidCertificate(error) => return explain_certificate(error, anchors),
        rustls::Error::AlertReceived(alert) => return explain_alert(*alert),
        rustls::Error::InvalidMessage(_) => {
            ("this server does not speak TLS", "is it an http address, or the port of something else?")
        }
        rustls::Error::PeerIncompatible(_) => {
            ("this server has no version of TLS or no cipher in common with us", "it needs TLS 1.2 or 1.3")
        }
        _ => return (format!("the TLS handshake failed: {error}"), "ddrop info shows what is in use".to_owned()),
    };
    (why.to_owned(), hint.to_owned())
}

const CLOCK: &str = "compare the clock of this machine with the right time; if it is right, tell the server's operator";

fn explain_certificate(error: &CertificateError, anchors: &Anchors) -> (String, String) {
    use CertificateError as E;
    match error {
        E::UnknownIssuer | E::BadSignature => match anchors {
            Anchors::System => (
                "this server's certificate is not signed by a CA that this system trusts".to_owned(),
                "enrol with an invite (ddrop cert --configure INVITE), or name its CA with --ca-cert FILE".to_owned(),
            ),
            _ => (
                "this server's certificate is not signed by the CA you enrolled with".to_owned(),
                "if the server was set up anew, ask for an invite and enrol again; if not, someone may be in between"
                    .to_owned(),
            ),
        },
        E::Expired => ("this server's certificate has expired".to_owned(), CLOCK.to_owned()),
        E::ExpiredContext { time, not_after } => (
            format!(
                "this server's certificate expired at {}, and it is {} here",
                shown(not_after.as_secs()),
                shown(time.as_secs())
            ),
            CLOCK.to_owned(),
        ),
        E::NotValidYet => ("this server's certificate is not valid yet".to_owned(), CLOCK.to_owned()),
        E::NotValidYetContext { time, not_before } => (
            format!(
                "this server's certificate is valid from {} on, and it is {} here",
                shown(not_before.as_secs()),
                shown(time.as_secs())
            ),
            CLOCK.to_owned(),
        ),
        E::NotValidForName => (
            "this server's certificate is for another name".to_owned(),
            "use a name that is in it, or have the operator add this one to DD_SERVER_NAMES".to_owned(),
        ),
        E::NotValidForNameContext { expected, presented } => (
            format!("this server's certificate is not for {} but for {}", expected.to_str(), presented.join(", ")),
            "use one of those names, or have the operator add this one to DD_SERVER_NAMES".to_owned(),
        ),
        E::Revoked => ("this server's certificate is revoked".to_owned(), "tell the server's operator".to_owned()),
        _ => (format!("this server's certificate is not acceptable: {error}"), "tell the server's operator".to_owned()),
    }
}

fn explain_alert(alert: AlertDescription) -> (String, String) {
    use AlertDescription as A;
    const INVITE: &str = "ask an admin for an invite (ddrop pki invite NAME) and run: ddrop cert --configure INVITE";
    let why = match alert {
        A::CertificateRequired => "this server takes no connection without a client certificate",
        A::CertificateExpired => "the server refused our certificate: it has expired",
        A::CertificateRevoked => "the server refused our certificate: it is revoked",
        A::BadCertificate | A::UnknownCA | A::UnsupportedCertificate | A::CertificateUnknown | A::AccessDenied => {
            "the server refused our certificate"
        }
        A::UnrecognisedName => {
            return (
                "there is no server of this name at that address".to_owned(),
                "check the address; ddrop info shows what is in use".to_owned(),
            );
        }
        _ => {
            return (
                format!("the server ended the TLS handshake ({alert:?})"),
                "ddrop info shows what is in use".to_owned(),
            );
        }
    };
    (why.to_owned(), INVITE.to_owned())
}

fn shown(secs: u64) -> crate::units::Timestamp {
    crate::units::Timestamp::from_secs(i64::try_from(secs).unwrap_or(i64::MAX))
}

/// Why TLS could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A root cannot be used.
    #[error("the CA certificate cannot be used: {0}")]
    Root(#[source] rustls::Error),
    /// There is no root.
    #[error("the file of CA certificates has none")]
    NoRoot,
    /// Certificate or key cannot be used.
    #[error("the client certificate and its key cannot be used: {0}")]
    Identity(#[source] rustls::Error),
    /// Something else.
    #[error("TLS cannot be set up: {0}")]
    Setup(#[source] rustls::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_ca_is_explained_by_whom_we_trust() {
        let error = rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let (pinned, _) = explain(&error, &Anchors::Pinned(Vec::new()));
        let (system, hint) = explain(&error, &Anchors::System);
        assert!(pinned.contains("the CA you enrolled with"), "{pinned}");
        assert!(system.contains("this system trusts") && hint.contains("--configure"), "{system} {hint}");
    }

    #[test]
    fn a_refusal_of_our_certificate_is_not_blamed_on_the_server() {
        let (why, hint) = explain_alert(AlertDescription::CertificateRevoked);
        assert!(why.contains("our certificate") && why.contains("revoked"), "{why}");
        assert!(hint.contains("invite"), "{hint}");
    }

    #[test]
    fn no_roots_are_an_error_and_not_everybody() {
        assert!(matches!(config(&Anchors::Pinned(Vec::new()), None), Err(Error::NoRoot)));
    }
}
