//! ECDSA on P-521, the one curve of ours that ring does not know: signs with SHA-512, verifies with any SHA-2.

use p521::SecretKey;
use p521::ecdsa::signature::Signer as _;
use p521::ecdsa::signature::hazmat::PrehashVerifier as _;
use p521::ecdsa::{DerSignature, SigningKey, VerifyingKey};
use pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _};
use ring::digest::{Algorithm, digest};
use ring::rand::SecureRandom;
use zeroize::Zeroizing;

/// A private key.
pub(crate) struct Key(SigningKey);

impl Key {
    /// A new one; `None` when there are no random bytes.
    pub(crate) fn generate(random: &dyn SecureRandom) -> Option<Self> {
        loop {
            let mut scalar = Zeroizing::new([0; 66]);
            random.fill(scalar.as_mut()).ok()?;
            // The order has 521 bits: of 528 the upper 7 are cleared, and what is not below the order is drawn again.
            if let Some(top) = scalar.first_mut() {
                *top &= 1;
            }
            if let Ok(key) = SigningKey::from_slice(scalar.as_ref()) {
                return Some(Self(key));
            }
        }
    }

    /// One from PKCS#8.
    pub(crate) fn from_pkcs8(der: &[u8]) -> Option<Self> {
        SecretKey::from_pkcs8_der(der).ok().map(|key| Self(SigningKey::from(key)))
    }

    /// As PKCS#8.
    pub(crate) fn to_pkcs8(&self) -> Option<Zeroizing<Vec<u8>>> {
        let key = SecretKey::from(self.0.as_nonzero_scalar());
        Some(Zeroizing::new(key.to_pkcs8_der().ok()?.as_bytes().to_vec()))
    }

    /// The public point, uncompressed.
    pub(crate) fn public(&self) -> Vec<u8> {
        self.0.verifying_key().to_sec1_point(false).as_bytes().to_vec()
    }

    /// Signs; DER.
    pub(crate) fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        let signature: DerSignature = self.0.try_sign(message).ok()?;
        Some(signature.as_bytes().to_vec())
    }
}

/// Whether `signature` (DER) is that of `message`, by this hash and the key whose point is `public`.
pub(crate) fn verify(public: &[u8], hash: &'static Algorithm, message: &[u8], signature: &[u8]) -> bool {
    let (Ok(key), Ok(signature)) = (VerifyingKey::from_sec1_bytes(public), DerSignature::from_bytes(signature)) else {
        return false;
    };
    // As a number a hash that is shorter than the order is what it is. Left to itself, p521 takes none of half its size.
    let digest = digest(hash, message);
    let mut number = [0; 66];
    let Some(place) = number.len().checked_sub(digest.as_ref().len()).and_then(|start| number.get_mut(start..)) else {
        return false;
    };
    place.copy_from_slice(digest.as_ref());
    key.verify_prehash(&number, &signature).is_ok()
}
