//! rcgen with keys of every kind of ours.
//!
//! rcgen over ring has no P-521. Where one is involved it is told of P-384 instead, and what it made is put together
//! and signed again with the true key and algorithm in their places.

use rcgen::{CertificateParams, Issuer, PublicKeyData, SignatureAlgorithm, SigningKey};
use rustls_pki_types::CertificateDer;

use crate::encode;
use crate::key::{self, Algorithm, Key, PublicKey};

/// A certificate for `subject`, in DER, by a CA that has a certificate.
pub(crate) fn certificate(
    params: &CertificateParams,
    subject: &PublicKey,
    issuer: &[u8],
    key: &Key,
) -> Result<Vec<u8>, Error> {
    let issuer = Issuer::from_ca_cert_der(&CertificateDer::from(issuer), Signer(key))?;
    let made = params.signed_by(&Subject(subject), &issuer)?;
    true_keys(made.der(), subject, key)
}

/// A certificate for the key that signs it, in DER.
pub(crate) fn self_signed(params: &CertificateParams, key: &Key) -> Result<Vec<u8>, Error> {
    let made = params.self_signed(&Signer(key))?;
    true_keys(made.der(), key.public(), key)
}

/// A signing request in DER (RFC 2986).
pub(crate) fn request(params: &CertificateParams, key: &Key) -> Result<Vec<u8>, Error> {
    let made = params.serialize_request(&Signer(key))?;
    if key.algorithm() != Algorithm::P521 {
        return Ok(made.der().to_vec());
    }
    let mut elements = encode::tbs_elements(made.der()).map_err(|_| Error::Shape)?;
    put(&mut elements, 2, key.public().spki())?;
    Ok(encode::signed(&encode::sequence(&elements), key)?)
}

fn true_keys(made: &[u8], subject: &PublicKey, key: &Key) -> Result<Vec<u8>, Error> {
    if subject.algorithm() != Algorithm::P521 && key.algorithm() != Algorithm::P521 {
        return Ok(made.to_vec());
    }
    let mut elements = encode::tbs_elements(made).map_err(|_| Error::Shape)?;
    put(&mut elements, 2, &encode::signature_algorithm(key.algorithm()))?;
    put(&mut elements, 6, subject.spki())?;
    Ok(encode::signed(&encode::sequence(&elements), key)?)
}

fn put(elements: &mut [Vec<u8>], at: usize, der: &[u8]) -> Result<(), Error> {
    *elements.get_mut(at).ok_or(Error::Shape)? = der.to_vec();
    Ok(())
}

struct Signer<'a>(&'a Key);

impl PublicKeyData for Signer<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.0.public().raw()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        algorithm(self.0.algorithm())
    }
}

impl SigningKey for Signer<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.0.sign(message).map_err(|_| rcgen::Error::RemoteKeyError)
    }
}

struct Subject<'a>(&'a PublicKey);

impl PublicKeyData for Subject<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.0.raw()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        algorithm(self.0.algorithm())
    }
}

fn algorithm(ours: Algorithm) -> &'static SignatureAlgorithm {
    match ours {
        Algorithm::P256 => &rcgen::PKCS_ECDSA_P256_SHA256,
        Algorithm::P384 | Algorithm::P521 => &rcgen::PKCS_ECDSA_P384_SHA384,
        Algorithm::Ed25519 => &rcgen::PKCS_ED25519,
        Algorithm::Rsa(_) => &rcgen::PKCS_RSA_SHA256,
    }
}

/// Why nothing could be signed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The encoder refused.
    #[error("could not encode what is to be signed")]
    Encode(#[from] rcgen::Error),
    /// The key failed.
    #[error(transparent)]
    Key(#[from] key::Error),
    /// What the encoder made is not what it should be.
    #[error("what was encoded has an unexpected shape")]
    Shape,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_ca_signs_nothing() {
        let key = Key::generate(Algorithm::P256).expect("a key");
        let refused = certificate(&CertificateParams::default(), key.public(), b"no certificate", &key);
        assert!(matches!(refused, Err(Error::Encode(_))), "{refused:?}");
    }

    #[test]
    fn what_has_another_shape_is_not_put_together() {
        let mut elements = [vec![2, 1, 0]];
        assert!(matches!(put(&mut elements, 1, &[5, 0]), Err(Error::Shape)));
        assert_eq!(elements, [[2, 1, 0]]);
        let key = Key::generate(Algorithm::P521).expect("a key");
        assert!(matches!(true_keys(b"no certificate", key.public(), &key), Err(Error::Shape)));
    }
}
