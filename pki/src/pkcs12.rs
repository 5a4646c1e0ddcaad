//! PKCS#12 (RFC 7292): a key and its certificates in one file, under a password.

use p12_keystore::{Certificate, KeyStore, KeyStoreEntry, PrivateKey, PrivateKeyChain};

use crate::key::Key;

/// As many rounds as OpenSSL would use by now; the passwords made here are random and need none of it.
const ITERATIONS: u32 = 10_000;

/// A file with the key and its certificates in DER, leaf first. Encrypted with PBES2 (PBKDF2 with SHA-256 and
/// AES-256-CBC) and authenticated with HMAC-SHA-256, which OpenSSL 3 and browsers take.
///
/// # Errors
/// When a certificate cannot be read or it cannot be encrypted.
pub fn bundle(key: &Key, chain: &[Vec<u8>], name: &str, password: &str) -> Result<Vec<u8>, Error> {
    let certificates = chain.iter().map(|der| Certificate::from_der(der)).collect::<Result<Vec<_>, _>>()?;
    let private = PrivateKey::from_der(key.pkcs8())?;
    let chain = PrivateKeyChain::new(key.public().identifier(), private, certificates);
    let mut store = KeyStore::new();
    store.add_entry(&label(name), KeyStoreEntry::PrivateKeyChain(chain));
    Ok(store.writer(password).encryption_iterations(ITERATIONS).mac_iterations(ITERATIONS).write()?)
}

/// The label is a BMPString (RFC 2985 section 5.5.1), which has no characters beyond U+FFFF.
fn label(name: &str) -> String {
    name.chars().map(|c| if u32::from(c) > 0xffff { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// Why there is no file.
#[derive(Debug, thiserror::Error)]
#[error("could not make the PKCS#12 file")]
pub struct Error(#[from] p12_keystore::error::Error);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Algorithm;

    #[test]
    fn what_is_no_certificate_is_not_bundled() {
        let key = Key::generate(Algorithm::P256).expect("a key");
        let refused: Error = bundle(&key, &[b"no certificate".to_vec()], "alice", "secret").expect_err("refused");
        assert!(!format!("{refused:?}").contains("secret"));
    }

    #[test]
    fn a_label_has_only_characters_it_can_have() {
        assert_eq!(label("al\u{1f600}ice \u{674e}"), "al\u{fffd}ice \u{674e}");
    }
}
