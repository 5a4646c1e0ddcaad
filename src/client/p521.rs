//! Client keys on P-521, with which ring does not sign: as `ddrop cert -c secp521r1` makes them. TLS 1.3 only.

use std::fmt;
use std::sync::Arc;

use p521::SecretKey;
use p521::ecdsa::signature::Signer as _;
use p521::ecdsa::{DerSignature, SigningKey};
use p521::pkcs8::DecodePrivateKey as _;
use rustls::crypto::{CryptoProvider, KeyProvider};
use rustls::sign::{Signer, SigningKey as TlsKey};
use rustls::{Error, SignatureAlgorithm, SignatureScheme};
use rustls_pki_types::PrivateKeyDer;

const SCHEME: SignatureScheme = SignatureScheme::ECDSA_NISTP521_SHA512;

/// ring, and keys on P-521.
pub(super) fn provider() -> CryptoProvider {
    CryptoProvider { key_provider: &Keys, ..rustls::crypto::ring::default_provider() }
}

#[derive(Debug)]
struct Keys;

impl KeyProvider for Keys {
    fn load_private_key(&self, der: PrivateKeyDer<'static>) -> Result<Arc<dyn TlsKey>, Error> {
        if let PrivateKeyDer::Pkcs8(pkcs8) = &der
            && let Ok(secret) = SecretKey::from_pkcs8_der(pkcs8.secret_pkcs8_der())
        {
            return Ok(Arc::new(Key(SigningKey::from(secret))));
        }
        rustls::crypto::ring::sign::any_supported_type(&der)
    }
}

#[derive(Clone)]
struct Key(SigningKey);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

impl TlsKey for Key {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        offered.contains(&SCHEME).then(|| Box::new(self.clone()) as Box<dyn Signer>)
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }
}

impl Signer for Key {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let signed: Result<DerSignature, _> = self.0.try_sign(message);
        signed.map(|signature| signature.as_bytes().to_vec()).map_err(|_| Error::General("signing failed".to_owned()))
    }

    fn scheme(&self) -> SignatureScheme {
        SCHEME
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pki::key::Algorithm;

    fn load(algorithm: Algorithm) -> Arc<dyn TlsKey> {
        let key = pki::key::Key::generate(algorithm).expect("a key");
        let der = PrivateKeyDer::Pkcs8(key.pkcs8().to_vec().into());
        provider().key_provider.load_private_key(der).expect("loaded")
    }

    #[test]
    fn keys_on_p521_sign_with_sha512_and_others_as_before() {
        let key = load(Algorithm::P521);
        assert!(key.choose_scheme(&[SignatureScheme::ECDSA_NISTP256_SHA256]).is_none());
        assert_eq!(key.choose_scheme(&[SCHEME]).expect("a signer").scheme(), SCHEME);
        assert_eq!(format!("{key:?}"), "Key");
        let other = load(Algorithm::P256);
        assert!(other.choose_scheme(&[SCHEME]).is_none());
        assert!(other.choose_scheme(&[SignatureScheme::ECDSA_NISTP256_SHA256]).is_some());
    }
}
