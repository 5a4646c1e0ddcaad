//! Private and public keys: made, read, written, and whether they are strong enough.

use std::fmt;

use pkcs8::{EncryptedPrivateKeyInfoRef, LineEnding, PrivateKeyInfoRef};
use ring::digest;
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
    Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject as _;
use x509_parser::prelude::FromDer as _;
use x509_parser::public_key::PublicKey as Parsed;
use x509_parser::x509::SubjectPublicKeyInfo;
use zeroize::Zeroizing;

use crate::{ecdsa521, encode};

/// What kind of key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// ECDSA on secp256r1, with SHA-256.
    P256,
    /// ECDSA on secp384r1, with SHA-384.
    P384,
    /// ECDSA on secp521r1, with SHA-512.
    P521,
    /// Ed25519 (RFC 8032).
    Ed25519,
    /// RSA with so many bits, 2048 to 4096, with PKCS#1 v1.5 and SHA-256.
    Rsa(u32),
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::P256 => f.write_str("EC secp256r1"),
            Self::P384 => f.write_str("EC secp384r1"),
            Self::P521 => f.write_str("EC secp521r1"),
            Self::Ed25519 => f.write_str("Ed25519"),
            Self::Rsa(bits) => write!(f, "RSA {bits}"),
        }
    }
}

/// A private key. Its `Debug` shows no more than what kind it is.
pub struct Key {
    pair: Pair,
    pkcs8: Zeroizing<Vec<u8>>,
    public: PublicKey,
}

enum Pair {
    Ecdsa(EcdsaKeyPair),
    Ecdsa521(ecdsa521::Key),
    Ed25519(Ed25519KeyPair),
    Rsa(RsaKeyPair),
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.algorithm())
    }
}

impl Key {
    /// A new key from the operating system's random numbers.
    ///
    /// # Errors
    /// When RSA with another size than 2048 to 4096 bits is asked for, or there are no random numbers.
    pub fn generate(algorithm: Algorithm) -> Result<Self, Error> {
        let random = SystemRandom::new();
        let pkcs8 = match algorithm {
            Algorithm::P256 => generate_ecdsa(&ECDSA_P256_SHA256_ASN1_SIGNING, &random)?,
            Algorithm::P384 => generate_ecdsa(&ECDSA_P384_SHA384_ASN1_SIGNING, &random)?,
            Algorithm::P521 => ecdsa521::Key::generate(&random).and_then(|key| key.to_pkcs8()).ok_or(Error::Random)?,
            Algorithm::Ed25519 => generate_ed25519(&random)?,
            Algorithm::Rsa(bits) => generate_rsa(bits)?,
        };
        Self::from_pkcs8(&pkcs8)
    }

    /// A key from its PKCS#8 in DER.
    ///
    /// # Errors
    /// When it is damaged, weak, or of another kind.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, Error> {
        let (pair, public) = pair(der)?;
        Ok(Self { pair, pkcs8: Zeroizing::new(der.to_vec()), public })
    }

    /// A key from a PEM text that has one `PRIVATE KEY` block.
    ///
    /// # Errors
    /// When there is none, or it is damaged, encrypted, weak, or of another kind.
    pub fn from_pem(text: &str) -> Result<Self, Error> {
        if text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----") {
            return Err(Error::Encrypted);
        }
        let der = PrivatePkcs8KeyDer::from_pem_slice(text.as_bytes()).map_err(|_| Error::NotPkcs8)?;
        Self::from_pkcs8(der.secret_pkcs8_der())
    }

    /// A key from a PEM text that has one `ENCRYPTED PRIVATE KEY` block (PKCS#8, PBES2).
    ///
    /// # Errors
    /// [`Error::Passphrase`] when the passphrase is not the right one; else as [`Key::from_pem`].
    pub fn from_encrypted_pem(text: &str, passphrase: &[u8]) -> Result<Self, Error> {
        let (label, der) = pkcs8::der::pem::decode_vec(text.trim_start().as_bytes()).map_err(|_| Error::NotPkcs8)?;
        if label != "ENCRYPTED PRIVATE KEY" {
            return Err(Error::NotEncrypted);
        }
        let encrypted = EncryptedPrivateKeyInfoRef::try_from(der.as_slice()).map_err(|_| Error::NotPkcs8)?;
        let opened = encrypted.decrypt(passphrase).map_err(|_| Error::Passphrase)?;
        Self::from_pkcs8(opened.as_bytes())
    }

    /// As a `PRIVATE KEY` block (PKCS#8, not encrypted).
    pub fn to_pem(&self) -> Zeroizing<String> {
        block("PRIVATE KEY", &self.pkcs8)
    }

    /// As an `ENCRYPTED PRIVATE KEY` block: PKCS#8 with PBES2, scrypt and AES-256-CBC, which OpenSSL reads.
    ///
    /// # Errors
    /// When there are no random numbers.
    pub fn to_encrypted_pem(&self, passphrase: &[u8]) -> Result<Zeroizing<String>, Error> {
        let plain = PrivateKeyInfoRef::try_from(self.pkcs8.as_slice()).map_err(|_| Error::Damaged)?;
        let sealed = plain.encrypt(passphrase).map_err(|_| Error::Random)?;
        Ok(block("ENCRYPTED PRIVATE KEY", sealed.as_bytes()))
    }

    /// As PKCS#8 in DER, not encrypted.
    pub fn pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }

    /// What kind it is.
    pub fn algorithm(&self) -> Algorithm {
        self.public.algorithm
    }

    /// The public half.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Signs a message, with the hash that goes with the algorithm; ECDSA in DER.
    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Ecdsa(pair) => Ok(pair.sign(&random, message).map_err(|_| Error::Random)?.as_ref().to_vec()),
            Pair::Ecdsa521(pair) => pair.sign(message).ok_or(Error::Random),
            Pair::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).map_err(|_| Error::Random)?;
                Ok(signature)
            }
        }
    }
}

/// A public key that is strong enough.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    algorithm: Algorithm,
    raw: Vec<u8>,
    spki: Vec<u8>,
}

impl PublicKey {
    /// A key from its SubjectPublicKeyInfo in DER (RFC 5280 section 4.1.2.7).
    ///
    /// # Errors
    /// [`Error::Weak`] and [`Error::Unsupported`] say what is wrong with it.
    pub fn from_spki(der: &[u8]) -> Result<Self, Error> {
        let (rest, parsed) = SubjectPublicKeyInfo::from_der(der).map_err(|_| Error::Damaged)?;
        if !rest.is_empty() {
            return Err(Error::Damaged);
        }
        let algorithm = judge(&parsed)?;
        Ok(Self { algorithm, raw: parsed.subject_public_key.data.to_vec(), spki: der.to_vec() })
    }

    /// What kind it is.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// SubjectPublicKeyInfo in DER.
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// The contents of the key's BIT STRING.
    pub(crate) fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// The key identifier of RFC 7093 section 2 method 1: the left 160 bits of the SHA-256 of the key.
    pub fn identifier(&self) -> Vec<u8> {
        let digest = digest::digest(&digest::SHA256, &self.raw);
        digest.as_ref().iter().take(20).copied().collect()
    }

    fn of(algorithm: Algorithm, raw: &[u8]) -> Self {
        Self { algorithm, raw: raw.to_vec(), spki: encode::spki(algorithm, raw) }
    }
}

/// A PEM block that leaves no copy of the key behind.
fn block(label: &str, der: &[u8]) -> Zeroizing<String> {
    // The encoder fails on labels and lengths that do not occur here only; an empty text is refused by every reader.
    Zeroizing::new(pkcs8::der::pem::encode_string(label, LineEnding::LF, der).unwrap_or_default())
}

fn generate_ecdsa(
    algorithm: &'static EcdsaSigningAlgorithm,
    random: &SystemRandom,
) -> Result<Zeroizing<Vec<u8>>, Error> {
    let document = EcdsaKeyPair::generate_pkcs8(algorithm, random).map_err(|_| Error::Random)?;
    Ok(Zeroizing::new(document.as_ref().to_vec()))
}

/// PKCS#8 version 1 around a seed: what ring writes itself is a version 2 that OpenSSL 3.0 does not read.
fn generate_ed25519(random: &SystemRandom) -> Result<Zeroizing<Vec<u8>>, Error> {
    const BEFORE_THE_SEED: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    let mut seed = Zeroizing::new([0; 32]);
    random.fill(seed.as_mut()).map_err(|_| Error::Random)?;
    let mut der = Zeroizing::new(Vec::with_capacity(48));
    der.extend_from_slice(&BEFORE_THE_SEED);
    der.extend_from_slice(seed.as_ref());
    Ok(der)
}

fn generate_rsa(bits: u32) -> Result<Zeroizing<Vec<u8>>, Error> {
    use rsa::pkcs8::EncodePrivateKey as _;

    if !(2048..=4096).contains(&bits) || !bits.is_multiple_of(256) {
        return Err(Error::Unsupported(format!("RSA with {bits} bits")));
    }
    let bits = usize::try_from(bits).map_err(|_| Error::Damaged)?;
    let key = rsa::RsaPrivateKey::new(&mut rsa::rand_core::OsRng, bits).map_err(|_| Error::Random)?;
    let document = key.to_pkcs8_der().map_err(|_| Error::Damaged)?;
    Ok(Zeroizing::new(document.as_bytes().to_vec()))
}

/// Tries one kind after the other: each reader refuses what is not its own.
fn pair(der: &[u8]) -> Result<(Pair, PublicKey), Error> {
    let random = SystemRandom::new();
    for (algorithm, ring) in
        [(Algorithm::P256, &ECDSA_P256_SHA256_ASN1_SIGNING), (Algorithm::P384, &ECDSA_P384_SHA384_ASN1_SIGNING)]
    {
        if let Ok(pair) = EcdsaKeyPair::from_pkcs8(ring, der, &random) {
            let public = PublicKey::of(algorithm, pair.public_key().as_ref());
            return Ok((Pair::Ecdsa(pair), public));
        }
    }
    if let Ok(pair) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der) {
        let public = PublicKey::of(Algorithm::Ed25519, pair.public_key().as_ref());
        return Ok((Pair::Ed25519(pair), public));
    }
    if let Ok(pair) = RsaKeyPair::from_pkcs8(der) {
        let bits = u32::try_from(pair.public().modulus_len().saturating_mul(8)).unwrap_or(u32::MAX);
        let public = PublicKey::of(Algorithm::Rsa(bits), pair.public_key().as_ref());
        return Ok((Pair::Rsa(pair), public));
    }
    if let Some(pair) = ecdsa521::Key::from_pkcs8(der) {
        let public = PublicKey::of(Algorithm::P521, &pair.public());
        return Ok((Pair::Ecdsa521(pair), public));
    }
    Err(Error::Unsupported("this private key".into()))
}

const EC: &str = "1.2.840.10045.2.1";
const ED25519: &str = "1.3.101.112";
const RSA: &str = "1.2.840.113549.1.1.1";

fn judge(spki: &SubjectPublicKeyInfo<'_>) -> Result<Algorithm, Error> {
    match spki.algorithm.algorithm.to_id_string().as_str() {
        EC => judge_ec(spki),
        ED25519 if spki.subject_public_key.data.len() == 32 && spki.algorithm.parameters.is_none() => {
            Ok(Algorithm::Ed25519)
        }
        RSA => judge_rsa(spki),
        other => Err(Error::Unsupported(format!("the key algorithm {other}"))),
    }
}

fn judge_ec(spki: &SubjectPublicKeyInfo<'_>) -> Result<Algorithm, Error> {
    let curve = spki.algorithm.parameters.as_ref().and_then(|any| any.as_oid().ok()).ok_or(Error::Damaged)?;
    let (algorithm, length) = match curve.to_id_string().as_str() {
        "1.2.840.10045.3.1.7" => (Algorithm::P256, 65),
        "1.3.132.0.34" => (Algorithm::P384, 97),
        "1.3.132.0.35" => (Algorithm::P521, 133),
        other => return Err(Error::Unsupported(format!("the curve {other}"))),
    };
    let point = &spki.subject_public_key.data;
    if point.len() != length || point.first() != Some(&4) {
        return Err(Error::Unsupported("an EC point that is not written uncompressed".into()));
    }
    Ok(algorithm)
}

fn judge_rsa(spki: &SubjectPublicKeyInfo<'_>) -> Result<Algorithm, Error> {
    let Ok(Parsed::RSA(key)) = spki.parsed() else { return Err(Error::Damaged) };
    let modulus: Vec<u8> = key.modulus.iter().copied().skip_while(|byte| *byte == 0).collect();
    let top = modulus.first().ok_or(Error::Damaged)?.leading_zeros();
    let bits = u32::try_from(modulus.len()).ok().and_then(|n| n.checked_mul(8)).ok_or(Error::Damaged)? - top;
    let exponent = key.try_exponent().map_err(|_| Error::Weak("an RSA exponent that is too large".into()))?;
    if !(2048..=4096).contains(&bits) {
        return Err(Error::Weak(format!("an RSA key of {bits} bits; it must have 2048 to 4096")));
    }
    if exponent < 65_537 || exponent % 2 == 0 {
        return Err(Error::Weak(format!("the RSA exponent {exponent}; it must be odd and at least 65537")));
    }
    Ok(Algorithm::Rsa(bits))
}

/// What is wrong with a key. Never shows the key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A kind, size or form that is not taken.
    #[error(
        "{0} is not supported; use EC secp256r1, secp384r1 or secp521r1, Ed25519, or RSA with 2048, 3072 or 4096 bits"
    )]
    Unsupported(String),
    /// Not strong enough.
    #[error("{0} is not safe to use")]
    Weak(String),
    /// Not a key at all.
    #[error("damaged key")]
    Damaged,
    /// No PKCS#8 in it.
    #[error("no 'PRIVATE KEY' block (PKCS#8); 'openssl pkcs8 -topk8 -nodes' makes one of older forms")]
    NotPkcs8,
    /// A passphrase is needed.
    #[error("the private key is encrypted and no passphrase was given")]
    Encrypted,
    /// A passphrase was given for a key that needs none.
    #[error("the private key is not encrypted although a passphrase was given")]
    NotEncrypted,
    /// The passphrase does not open it.
    #[error("the passphrase does not open the private key")]
    Passphrase,
    /// The operating system's generator or a signature failed.
    #[error("the random number generator failed")]
    Random,
}

/// Whether `signature` (DER) is ECDSA with this hash over `message` by a key on P-521, which ring cannot tell.
pub fn verify_p521(key: &PublicKey, hash: &'static digest::Algorithm, message: &[u8], signature: &[u8]) -> bool {
    key.algorithm() == Algorithm::P521 && ecdsa521::verify(key.raw(), hash, message, signature)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_key_is_written_and_read_again() {
        for algorithm in [Algorithm::P256, Algorithm::P384, Algorithm::P521, Algorithm::Ed25519, Algorithm::Rsa(2048)] {
            let key = Key::generate(algorithm).expect("a key");
            let again = Key::from_pem(&key.to_pem()).expect("the same key");
            assert_eq!((again.algorithm(), again.public()), (algorithm, key.public()));
            assert_eq!(&PublicKey::from_spki(key.public().spki()).expect("judged good"), key.public());
        }
    }

    #[test]
    fn an_encrypted_key_opens_with_its_passphrase_only() {
        let key = Key::generate(Algorithm::P256).expect("a key");
        let sealed = key.to_encrypted_pem(b"correct horse").expect("sealed");
        let again = Key::from_encrypted_pem(&sealed, b"correct horse").expect("opened");
        assert_eq!(again.public(), key.public());
        assert_eq!(Key::from_encrypted_pem(&sealed, b"battery").expect_err("wrong"), Error::Passphrase);
        assert_eq!(Key::from_pem(&sealed).expect_err("sealed"), Error::Encrypted);
        assert_eq!(Key::from_encrypted_pem(&key.to_pem(), b"x").expect_err("plain"), Error::NotEncrypted);
    }

    #[test]
    fn what_is_no_key_is_refused() {
        assert_eq!(Key::from_pem("hello").expect_err("no key"), Error::NotPkcs8);
        let older = "-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n";
        assert_eq!(Key::from_pem(older).expect_err("an older form"), Error::NotPkcs8);
        let good = Key::generate(Algorithm::P256).expect("a key");
        for damaged in [&b""[..], &[0x30, 0], &good.public().spki()[..40]] {
            assert_eq!(PublicKey::from_spki(damaged).expect_err("no key"), Error::Damaged, "{damaged:02x?}");
        }
        let mut elsewhere = good.public().spki().to_vec();
        elsewhere.push(0);
        assert_eq!(PublicKey::from_spki(&elsewhere).expect_err("something follows"), Error::Damaged);
    }

    /// An RSA key as others may have it.
    fn rsa(modulus: &[u8], exponent: &[u8]) -> Result<PublicKey, Error> {
        let raw = yasna::construct_der(|writer| {
            writer.write_sequence(|writer| {
                writer.next().write_bigint_bytes(modulus, true);
                writer.next().write_bigint_bytes(exponent, true);
            });
        });
        PublicKey::from_spki(&encode::spki(Algorithm::Rsa(0), &raw))
    }

    #[test]
    fn weak_keys_are_refused_with_the_reason() {
        let why = |refused: Result<PublicKey, Error>| match refused {
            Err(Error::Weak(why)) => why,
            other => panic!("{other:?}"),
        };
        let (usual, modulus) = ([1, 0, 1], vec![0xff; 256]);
        assert_eq!(rsa(&modulus, &usual).expect("strong enough").algorithm(), Algorithm::Rsa(2048));
        for (bytes, bits) in [(64, 512), (128, 1024), (255, 2040), (513, 4104)] {
            assert!(why(rsa(&vec![0xff; bytes], &usual)).starts_with(&format!("an RSA key of {bits} bits")));
        }
        for exponent in [&[1][..], &[3], &[1, 0, 0], &[1, 0, 2]] {
            assert!(why(rsa(&modulus, exponent)).starts_with("the RSA exponent "), "{exponent:?}");
        }
        assert_eq!(why(rsa(&modulus, &[0xff; 40])), "an RSA exponent that is too large");
        assert!(matches!(rsa(&[0], &usual), Err(Error::Damaged)));
    }

    #[test]
    fn keys_of_other_kinds_are_refused_by_name() {
        let why = |refused: Result<PublicKey, Error>| match refused {
            Err(Error::Unsupported(why)) => why,
            other => panic!("{other:?}"),
        };
        let key = Key::generate(Algorithm::P256).expect("a key");
        let spki = key.public().spki();
        let swapped = |from: &[u8], to: &[u8]| {
            let at = spki.windows(from.len()).position(|part| part == from).expect("it is there");
            let mut other = spki.to_vec();
            other.splice(at..at + from.len(), to.iter().copied());
            PublicKey::from_spki(&other)
        };
        let curve = [0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
        assert!(why(swapped(&curve, &[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 6])).starts_with("the curve 1.2.840.10045"));
        let kind = [0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
        assert!(why(swapped(&kind, &[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 9])).starts_with("the key algorithm 1.2.840"));
        let uncompressed = [0x42, 0, 4];
        let point = "an EC point that is not written uncompressed";
        assert_eq!(why(swapped(&uncompressed, &[0x42, 0, 2])), point);
        assert_eq!(Key::from_pkcs8(b"hello").expect_err("no key"), Error::Unsupported("this private key".into()));
    }

    #[test]
    fn sizes_of_rsa_that_are_not_safe_are_refused() {
        for bits in [512, 1024, 2047, 8192] {
            let why = format!("RSA with {bits} bits");
            assert_eq!(Key::generate(Algorithm::Rsa(bits)).expect_err("refused"), Error::Unsupported(why));
        }
    }

    #[test]
    fn a_key_is_not_shown() {
        let key = Key::generate(Algorithm::P256).expect("a key");
        assert_eq!(format!("{key:?}"), "Key(EC secp256r1)");
    }

    #[test]
    fn a_signature_on_p521_is_that_of_its_message_key_and_hash() {
        let [key, other] = [(); 2].map(|()| Key::generate(Algorithm::P521).expect("a key"));
        let signature = key.sign(b"message").expect("signed");
        let holds = |key: &Key, hash, message, signature: &[u8]| verify_p521(key.public(), hash, message, signature);
        assert!(holds(&key, &digest::SHA512, b"message", &signature));
        assert!(!holds(&key, &digest::SHA512, b"massage", &signature));
        assert!(!holds(&other, &digest::SHA512, b"message", &signature));
        assert!(
            !holds(&key, &digest::SHA384, b"message", &signature)
                && !holds(&key, &digest::SHA256, b"message", &signature)
        );
        for end in [0, 1, signature.len() - 1] {
            assert!(!holds(&key, &digest::SHA512, b"message", signature.get(..end).unwrap_or_default()));
        }
        let p256 = Key::generate(Algorithm::P256).expect("a key");
        assert!(!holds(&p256, &digest::SHA256, b"message", &p256.sign(b"message").expect("signed")), "another curve");
    }
}
