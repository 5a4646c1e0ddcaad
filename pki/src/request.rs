//! Signing requests (PKCS#10, RFC 2986): made for ourselves, judged when they come from others.

use rcgen::CertificateParams;
use ring::digest::{SHA256, SHA384, SHA512};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::cri_attributes::ParsedCriAttribute;
use x509_parser::extensions::{ParsedExtension, X509Extension};
use x509_parser::prelude::FromDer as _;

use crate::key::{self, Algorithm, Key, PublicKey};
use crate::{certificate, ecdsa521, encode, sign};

/// The longest request that is looked at, in bytes of DER. One with an RSA key of 4096 bits has about 1200.
pub const LONGEST: usize = 16 * 1024;

/// A signing request in PEM.
///
/// # Errors
/// When the name will not do.
pub fn make(key: &Key, common_name: &str) -> Result<String, Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name = certificate::distinguished_name(common_name)?;
    Ok(crate::pem::encode("CERTIFICATE REQUEST", &sign::request(&params, key)?))
}

/// A signing request that was found good: its sender holds the key, and the key is strong.
///
/// Nothing else of it counts. Its subject and the names it wishes for are ignored, since the CA decides them; a wish
/// the CA would have to act against is an error rather than silently ignored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    key: PublicKey,
    common_name: Option<String>,
}

impl Request {
    /// Judges the one request of a PEM text.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn from_pem(text: &str) -> Result<Self, Error> {
        // Base64 and line ends make three bytes to a little more than four characters; the rest may be comments.
        if text.len() > 2 * LONGEST {
            return Err(Error::TooLong);
        }
        let found = crate::pem::blocks(text, &["CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"])?;
        let [der] = found.as_slice() else { return Err(Error::Several(found.len())) };
        Self::from_der(der)
    }

    /// Judges a request in DER.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn from_der(der: &[u8]) -> Result<Self, Error> {
        if der.len() > LONGEST {
            return Err(Error::TooLong);
        }
        let (rest, parsed) = X509CertificationRequest::from_der(der).map_err(|_| Error::Damaged)?;
        if !rest.is_empty() || encode::tbs_elements(der).is_err() {
            return Err(Error::Damaged);
        }
        let info = &parsed.certification_request_info;
        let key = PublicKey::from_spki(info.subject_pki.raw)?;
        signature(&parsed, &key)?;
        for attribute in info.iter_attributes() {
            if let ParsedCriAttribute::ExtensionRequest(requested) = attribute.parsed_attribute() {
                requested.extensions.iter().try_for_each(wish)?;
            }
        }
        let common_name = info.subject.iter_common_name().find_map(|name| name.as_str().ok()).map(str::to_owned);
        Ok(Self { key, common_name })
    }

    /// The key to be certified, exactly as the request has it.
    pub fn key(&self) -> &PublicKey {
        &self.key
    }

    /// The common name the sender would like.
    pub fn common_name(&self) -> Option<&str> {
        self.common_name.as_deref()
    }
}

/// Proof of possession: the request is signed with its own key, by an algorithm that is not broken.
fn signature(request: &X509CertificationRequest<'_>, key: &PublicKey) -> Result<(), Error> {
    const SHA1: [&str; 3] = ["1.2.840.113549.1.1.5", "1.3.14.3.2.29", "1.2.840.10045.4.1"];

    let algorithm = request.signature_algorithm.algorithm.to_id_string();
    if SHA1.contains(&algorithm.as_str()) {
        return Err(Error::Sha1);
    }
    if key.algorithm() != Algorithm::P521 {
        return request.verify_signature().map_err(|_| Error::Signature);
    }
    // openssl signs with SHA-256 whatever the curve, unless it is told otherwise.
    let hash = match algorithm.as_str() {
        "1.2.840.10045.4.3.2" => &SHA256,
        "1.2.840.10045.4.3.3" => &SHA384,
        "1.2.840.10045.4.3.4" => &SHA512,
        _ => return Err(Error::Signature),
    };
    let signed = request.certification_request_info.raw;
    let holds = ecdsa521::verify(key.raw(), hash, signed, &request.signature_value.data);
    if holds { Ok(()) } else { Err(Error::Signature) }
}

/// What a request may wish for: what any client certificate has, or what can be ignored without surprising anyone.
fn wish(extension: &X509Extension<'_>) -> Result<(), Error> {
    match extension.parsed_extension() {
        ParsedExtension::BasicConstraints(constraints) if constraints.ca => Err(Error::WantsCa),
        ParsedExtension::KeyUsage(usage) if usage.key_cert_sign() || usage.crl_sign() => Err(Error::WantsCa),
        ParsedExtension::BasicConstraints(_)
        | ParsedExtension::KeyUsage(_)
        | ParsedExtension::ExtendedKeyUsage(_)
        | ParsedExtension::SubjectAlternativeName(_)
        | ParsedExtension::SubjectKeyIdentifier(_) => Ok(()),
        _ => Err(Error::Extension(extension.oid.to_id_string())),
    }
}

/// What is wrong with a signing request.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be read.
    #[error("damaged signing request")]
    Damaged,
    /// More than [`LONGEST`].
    #[error("the signing request is longer than any that is needed")]
    TooLong,
    /// The PEM around it cannot be read.
    #[error("the signing request is {0}")]
    Pem(#[from] crate::pem::Error),
    /// One was expected.
    #[error("{0} signing requests where one was expected ('-----BEGIN CERTIFICATE REQUEST-----')")]
    Several(usize),
    /// The key is not taken.
    #[error("the key of the signing request: {0}")]
    Key(#[from] key::Error),
    /// Its signature is not by its own key.
    #[error("the signature of the signing request is not by its own key, or by an algorithm that is not supported")]
    Signature,
    /// Signed with a broken hash.
    #[error("the signing request is signed with SHA-1; use SHA-256 or better")]
    Sha1,
    /// It wishes to be a CA.
    #[error("the signing request asks to be a certificate authority")]
    WantsCa,
    /// It wishes for something that is not given.
    #[error("the signing request asks for an extension that is not given: {0}")]
    Extension(String),
    /// The name will not do, or it could not be made.
    #[error(transparent)]
    Certificate(#[from] certificate::Error),
    /// It could not be signed.
    #[error("could not sign the request")]
    Sign(#[from] sign::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_requests_are_good_for_every_kind_of_key() {
        for algorithm in [Algorithm::P256, Algorithm::P384, Algorithm::P521, Algorithm::Ed25519, Algorithm::Rsa(2048)] {
            let key = Key::generate(algorithm).expect("a key");
            let request = Request::from_pem(&make(&key, "alice").expect("a request")).expect("good");
            assert_eq!((request.key(), request.common_name()), (key.public(), Some("alice")));
        }
    }

    #[test]
    fn a_request_signed_by_another_key_is_refused() {
        for algorithm in [Algorithm::P256, Algorithm::P521] {
            let [key, other] = [(); 2].map(|()| Key::generate(algorithm).expect("a key"));
            let der = sign::request(&CertificateParams::default(), &key).expect("a request");
            let elements = encode::tbs_elements(&der).expect("elements");
            let forged = encode::signed(&encode::sequence(&elements), &other).expect("signed");
            assert!(matches!(Request::from_der(&forged), Err(Error::Signature)), "{algorithm}");
        }
    }

    #[test]
    fn a_changed_or_cut_request_is_refused() {
        let key = Key::generate(Algorithm::P256).expect("a key");
        let der = sign::request(&CertificateParams::default(), &key).expect("a request");
        for at in 0..der.len() {
            assert!(Request::from_der(&der[..at]).is_err(), "cut at {at}");
            let mut changed = der.clone();
            changed[at] ^= 1;
            assert!(Request::from_der(&changed).is_err(), "changed at {at}: {:02x?}", &changed[at - 2..]);
        }
        let mut longer = der;
        longer.push(0);
        assert!(matches!(Request::from_der(&longer), Err(Error::Damaged)));
    }

    #[test]
    fn wishes_to_be_more_than_a_client_are_refused() {
        let key = Key::generate(Algorithm::P256).expect("a key");
        let judge = |change: fn(&mut CertificateParams)| {
            let mut params = CertificateParams::default();
            change(&mut params);
            Request::from_der(&sign::request(&params, &key).expect("a request"))
        };
        let ca = judge(|params| params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained));
        assert!(matches!(ca, Err(Error::WantsCa)));
        let signs = judge(|params| params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign]);
        assert!(matches!(signs, Err(Error::WantsCa)));
        let foreign = judge(|params| {
            params.custom_extensions = vec![rcgen::CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0])];
        });
        assert!(matches!(foreign, Err(Error::Extension(id)) if id == "1.2.3.4"));
        let ordinary = judge(|params| {
            params.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature];
            params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        });
        assert!(ordinary.is_ok());
    }

    #[test]
    fn weak_and_missing_requests_are_refused() {
        assert!(matches!(Request::from_pem(""), Err(Error::Several(0))));
        let key = Key::generate(Algorithm::P256).expect("a key");
        let good = make(&key, "alice").expect("a request");
        assert!(matches!(Request::from_pem(&good.repeat(2)), Err(Error::Several(2))));
        let torn = good.replacen('\n', "\n!", 1);
        assert!(matches!(Request::from_pem(&torn), Err(Error::Pem(crate::pem::Error::Damaged(_)))));
        assert!(matches!(make(&key, " alice"), Err(Error::Certificate(certificate::Error::Name))));
        assert!(matches!(Request::from_pem(&"x".repeat(3 * LONGEST)), Err(Error::TooLong)));
        assert!(matches!(Request::from_der(&[0x30; LONGEST + 1]), Err(Error::TooLong)));
    }
}
