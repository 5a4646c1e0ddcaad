//! Passwords of links: hashed with a salt and many rounds, so that guessing costs, and compared in constant time.

use std::num::NonZeroU32;

use ring::pbkdf2::{self, PBKDF2_HMAC_SHA256};

use crate::link::PasswordHash;
use crate::units;

/// Bytes a password may have.
pub const LONGEST: usize = 1024;

/// Rounds of a hash that is made here: some tenths of a second of a processor.
const ROUNDS: u32 = 600_000;

/// Rounds a kept hash may ask for: what came from elsewhere is not to keep a processor busy for minutes.
const MOST_ROUNDS: u32 = 10_000_000;

/// The word that says how it was hashed.
const KIND: &str = "pbkdf2-sha256";

/// Hashes a password. Takes long: not for a thread that others wait for.
///
/// # Errors
/// When there are no random bytes.
pub fn hash(password: &[u8]) -> Result<PasswordHash, units::Error> {
    Ok(derive(password, &units::random::<32>()?, ROUNDS))
}

/// `$pbkdf2-sha256$ROUNDS$SALT$HASH`, as FlaskPaste writes it.
fn derive(password: &[u8], salt: &[u8], rounds: u32) -> PasswordHash {
    let mut hash = [0; 32];
    let count = NonZeroU32::new(rounds).unwrap_or(NonZeroU32::MIN);
    pbkdf2::derive(PBKDF2_HMAC_SHA256, count, salt, password, &mut hash);
    PasswordHash::from_kept(format!("${KIND}${rounds}${}${}", hex::encode(salt), hex::encode(hash)))
}

/// Whether this is the password. Takes as long as [`hash`]; a kept hash that is none has no password.
pub fn verify(kept: &PasswordHash, password: &[u8]) -> bool {
    let Some((rounds, salt, hash)) = parse(kept.as_str()) else { return false };
    pbkdf2::verify(PBKDF2_HMAC_SHA256, rounds, &salt, password, &hash).is_ok()
}

/// Whether [`verify`] could ever say yes to something.
pub fn is_usable(kept: &PasswordHash) -> bool {
    parse(kept.as_str()).is_some()
}

fn parse(text: &str) -> Option<(NonZeroU32, Vec<u8>, Vec<u8>)> {
    let mut parts = text.strip_prefix('$')?.split('$');
    let (kind, rounds, salt, hash) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let rounds = rounds.parse::<u32>().ok().filter(|rounds| *rounds <= MOST_ROUNDS).and_then(NonZeroU32::new)?;
    let (salt, hash) = (hex::decode(salt).ok()?, hex::decode(hash).ok()?);
    (kind == KIND && parts.next().is_none() && salt.len() >= 8 && hash.len() == 32).then_some((rounds, salt, hash))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_known_again_and_another_is_not() {
        let kept = hash("hunter2 \u{e9}".as_bytes()).expect("random bytes");
        assert!(verify(&kept, "hunter2 \u{e9}".as_bytes()));
        assert!(!verify(&kept, b"hunter2") && !verify(&kept, b""));
        assert!(is_usable(&kept));
        let parts: Vec<&str> = kept.as_str().split('$').collect();
        assert_eq!((parts.len(), parts[1], parts[2]), (5, KIND, "600000"));
        assert_eq!((parts[3].len(), parts[4].len()), (64, 64), "32 bytes of salt and of hash");
        assert!(!format!("{kept:?}").contains(parts[4]), "and nobody sees it");
    }

    #[test]
    fn it_is_the_function_others_know() {
        // Python: hashlib.pbkdf2_hmac("sha256", b"password", b"saltsalt", 1000).hex()
        let expected = "135f7a66144fcf0fb003ce048f31f024ed5cbff30525d3ba0bfb3199479362a6";
        let kept = derive(b"password", b"saltsalt", 1000);
        assert_eq!(kept.as_str(), format!("$pbkdf2-sha256$1000${}${expected}", hex::encode("saltsalt")));
        assert!(verify(&kept, b"password"));
    }

    #[test]
    fn what_is_no_hash_matches_nothing() {
        let (salt, hash) = ("00".repeat(32), "00".repeat(32));
        for text in [
            String::new(),
            "x".into(),
            format!("$pbkdf2-sha1$1000${salt}${hash}"),
            format!("$pbkdf2-sha256$0${salt}${hash}"),
            format!("$pbkdf2-sha256$99999999${salt}${hash}"),
            format!("$pbkdf2-sha256$1000$${hash}"),
            format!("$pbkdf2-sha256$1000${salt}$"),
            format!("$pbkdf2-sha256$1000${salt}${hash}$x"),
        ] {
            let kept = PasswordHash::from_kept(text);
            assert!(!is_usable(&kept) && !verify(&kept, b""), "{}", kept.as_str());
        }
    }
}
