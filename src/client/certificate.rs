//! What a client has to know of a certificate: whose key it holds, who signed it, and when it should be renewed.

use pki::key::{Algorithm, Key};
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::der_parser::oid::Oid;
use x509_parser::oid_registry;
use x509_parser::prelude::{FromDer as _, X509Certificate};
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use crate::identity::Fingerprint;
use crate::units::Timestamp;

/// A certificate as its holder sees it.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Both of its names.
    pub fingerprint: Fingerprint,
    /// Serial number in hex.
    pub serial: String,
    /// The common name, or the whole subject if it has none.
    pub subject: String,
    /// Valid from.
    pub not_before: Timestamp,
    /// Valid until.
    pub not_after: Timestamp,
    /// Whether it is signed with its own key, so that nobody can renew it but its holder.
    pub self_signed: bool,
}

impl Facts {
    /// Reads a certificate in DER.
    ///
    /// # Errors
    /// When it is not one.
    pub fn of(der: &[u8]) -> Result<Self, Error> {
        let (_, certificate) = X509Certificate::from_der(der).map_err(|_| Error::Unreadable)?;
        let subject = certificate.subject();
        let name = subject.iter_common_name().next().and_then(|name| name.as_str().ok()).map(str::to_owned);
        let validity = certificate.validity();
        Ok(Self {
            fingerprint: Fingerprint::of(der),
            serial: hex::encode(certificate.raw_serial()),
            subject: name.unwrap_or_else(|| subject.to_string()),
            not_before: Timestamp::from_secs(validity.not_before.timestamp()),
            not_after: Timestamp::from_secs(validity.not_after.timestamp()),
            self_signed: certificate.issuer() == subject,
        })
    }

    /// Whether two thirds of its lifetime are gone and it can still be used to ask for a new one.
    pub fn is_due(&self, now: Timestamp) -> bool {
        let lifetime = self.not_after.since(self.not_before);
        let due = self.not_before.after(lifetime / 3 * 2);
        due <= now && now < self.not_after
    }
}

/// Whether certificate and key belong together.
///
/// # Errors
/// When one of them cannot be read.
pub fn holds(der: &[u8], key: &Key) -> Result<bool, Error> {
    let request = pki::request::make(key, "check").map_err(|_| Error::Key)?;
    Ok(public_key(der)? == requested_key(&request)?)
}

/// The chain of a PEM text, leaf first, if its leaf holds the public key of `request` and leads to `root` now.
///
/// # Errors
/// With the reason why it cannot be used.
pub fn check_issued(
    chain_pem: &str,
    request: &str,
    root: Option<&CertificateDer<'_>>,
    now: Timestamp,
) -> Result<Vec<CertificateDer<'static>>, Error> {
    let chain: Vec<_> = pki::pem::certificates(chain_pem)
        .map_err(|_| Error::Unreadable)?
        .into_iter()
        .map(CertificateDer::from)
        .collect();
    let Some((leaf, rest)) = chain.split_first() else { return Err(Error::Unreadable) };
    if public_key(leaf)? != requested_key(request)? {
        return Err(Error::OtherKey);
    }
    if let Some(root) = root {
        leads_to(leaf, rest, root, now)?;
    }
    Ok(chain)
}

fn leads_to(
    leaf: &CertificateDer<'_>,
    rest: &[CertificateDer<'_>],
    root: &CertificateDer<'_>,
    now: Timestamp,
) -> Result<(), Error> {
    let anchor: TrustAnchor<'_> = webpki::anchor_from_trusted_cert(root).map_err(Error::OtherRoot)?;
    let leaf = EndEntityCert::try_from(leaf).map_err(Error::OtherRoot)?;
    let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(u64::try_from(now.as_secs()).unwrap_or(0)));
    leaf.verify_for_usage(webpki::ALL_VERIFICATION_ALGS, &[anchor], rest, now, KeyUsage::client_auth(), None, None)
        .map(|_| ())
        .map_err(Error::OtherRoot)
}

fn public_key(der: &[u8]) -> Result<Vec<u8>, Error> {
    let (_, certificate) = X509Certificate::from_der(der).map_err(|_| Error::Unreadable)?;
    Ok(certificate.public_key().raw.to_vec())
}

fn requested_key(pem: &str) -> Result<Vec<u8>, Error> {
    let (_, block) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).map_err(|_| Error::Key)?;
    let (_, request) = X509CertificationRequest::from_der(&block.contents).map_err(|_| Error::Key)?;
    Ok(request.certification_request_info.subject_pki.raw.to_vec())
}

/// The kind of key a certificate holds, so that the next one can have the same; `None` when it is a kind not made here.
pub fn algorithm(der: &[u8]) -> Option<Algorithm> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let spki = certificate.public_key();
    let kind = &spki.algorithm.algorithm;
    if *kind == oid_registry::OID_SIG_ED25519 {
        return Some(Algorithm::Ed25519);
    }
    if *kind == oid_registry::OID_KEY_TYPE_EC_PUBLIC_KEY {
        return curve(spki);
    }
    match spki.parsed().ok()? {
        PublicKey::RSA(key) => Some(Algorithm::Rsa(u32::try_from(key.key_size()).ok()?)),
        _ => None,
    }
}

fn curve(spki: &SubjectPublicKeyInfo<'_>) -> Option<Algorithm> {
    let curve: Oid<'_> = spki.algorithm.parameters.as_ref()?.as_oid().ok()?;
    if curve == oid_registry::OID_EC_P256 {
        return Some(Algorithm::P256);
    }
    if curve == oid_registry::OID_NIST_EC_P384 {
        return Some(Algorithm::P384);
    }
    (curve == oid_registry::OID_NIST_EC_P521).then_some(Algorithm::P521)
}

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not a certificate.
    #[error("it is not a certificate in PEM")]
    Unreadable,
    /// It holds another key.
    #[error("it is for another key than the one made here")]
    OtherKey,
    /// It does not lead to the root.
    #[error("it does not lead to the CA of the invite, or is not valid now: {0}")]
    OtherRoot(#[source] webpki::Error),
    /// The key that was just made cannot be read.
    #[error("the key cannot be read")]
    Key,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::test::{self, NOW};

    #[test]
    fn an_issued_chain_is_taken() {
        let ca = test::Ca::new("root");
        let key = Key::generate(Algorithm::P256).expect("a key");
        let request = pki::request::make(&key, "x").expect("a request");
        let chain = check_issued(&ca.issue(&request), &request, Some(&ca.root()), NOW).expect("taken");
        assert!(holds(&chain[0], &key).expect("readable"));
        assert_eq!(algorithm(&chain[0]), Some(Algorithm::P256));
    }

    #[test]
    fn a_chain_for_another_key_or_from_another_ca_is_refused() {
        let (ca, other) = (test::Ca::new("root"), test::Ca::new("other"));
        let request = |_| pki::request::make(&Key::generate(Algorithm::P256).expect("a key"), "x").expect("a request");
        let (mine, theirs) = (request(1), request(2));
        let wrong_key = check_issued(&ca.issue(&theirs), &mine, Some(&ca.root()), NOW);
        assert!(matches!(wrong_key, Err(Error::OtherKey)), "{wrong_key:?}");
        let wrong_root = check_issued(&other.issue(&mine), &mine, Some(&ca.root()), NOW);
        assert!(matches!(wrong_root, Err(Error::OtherRoot(_))), "{wrong_root:?}");
        assert!(matches!(check_issued("hello", &mine, None, NOW), Err(Error::Unreadable)));
    }

    #[test]
    fn it_is_due_after_two_thirds_and_until_its_end() {
        let secs = Timestamp::from_secs;
        let one = Facts {
            fingerprint: Fingerprint::of(b""),
            serial: String::new(),
            subject: String::new(),
            not_before: secs(0),
            not_after: secs(300),
            self_signed: false,
        };
        let due: Vec<bool> = [0, 199, 200, 299, 300, 400].iter().map(|at| one.is_due(secs(*at))).collect();
        assert_eq!(due, [false, false, true, true, false, false]);
    }
}
