//! Proof of work: a challenge that costs its solver a number of hashes, and us one.

use std::fmt;
use std::time::Duration;

use ring::digest::{SHA256, digest};
use ring::hmac;

use crate::identity::Sha256;
use crate::units::{self, Timestamp};

/// Hands out challenges and judges solutions.
pub struct Work {
    key: hmac::Key,
    ttl: Duration,
}

/// A challenge that was solved. It counts once: whoever takes it has to see to that, by what stands for its token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a solution that is not spent can be shown again"]
pub struct Solved {
    /// What stands for the token.
    pub token: Sha256,
    /// Until when it would be taken.
    pub expires: Timestamp,
}

/// Something to solve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// 32 hex digits.
    pub nonce: String,
    /// Bits that have to be zero.
    pub difficulty: u8,
    /// Until when a solution is taken.
    pub expires: Timestamp,
    /// What has to come back with the solution: `nonce:expires:difficulty:hmac`.
    pub token: String,
}

/// Why a solution is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The token is not one of ours, or was altered.
    #[error("the token is not one of this server's: ask for a new challenge")]
    Token,
    /// It is too late.
    #[error("the challenge has expired: ask for a new one")]
    Expired,
    /// More is asked for now than this challenge asked for.
    #[error("the challenge is easier than what is asked for now: ask for a new one")]
    TooEasy,
    /// The solution is none.
    #[error("the solution is wrong")]
    Wrong,
    /// The token was used.
    #[error("the challenge was used before: ask for a new one")]
    Spent,
}

impl Work {
    /// With this secret, which others that are to take the same tokens have to have too. Challenges hold for `ttl`.
    pub fn new(secret: &[u8], ttl: Duration) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, secret), ttl }
    }

    /// A new challenge.
    ///
    /// # Errors
    /// When the operating system gives no random bytes.
    pub fn challenge(&self, difficulty: u8, now: Timestamp) -> Result<Challenge, units::Error> {
        let nonce = hex::encode(units::random::<16>()?);
        let expires = Timestamp::from_secs(now.after(self.ttl).as_secs());
        let said = format!("{nonce}:{}:{difficulty}", expires.as_secs());
        let token = format!("{said}:{}", hex::encode(hmac::sign(&self.key, said.as_bytes())));
        Ok(Challenge { nonce, difficulty, expires, token })
    }

    /// Judges a solution. `least`: the bits that are asked for now.
    ///
    /// # Errors
    /// [`Refused`], but never [`Refused::Spent`]: what was used before is for others to know.
    pub fn check(&self, token: &str, solution: &str, least: u8, now: Timestamp) -> Result<Solved, Refused> {
        let (said, mac) = token.rsplit_once(':').ok_or(Refused::Token)?;
        let mac = hex::decode(mac).map_err(|_| Refused::Token)?;
        hmac::verify(&self.key, said.as_bytes(), &mac).map_err(|_| Refused::Token)?;
        let (nonce, expires, difficulty) = parts(said).ok_or(Refused::Token)?;
        if now >= expires {
            return Err(Refused::Expired);
        }
        if difficulty < least {
            return Err(Refused::TooEasy);
        }
        let right = number(solution).is_some_and(|number| Puzzle::new(nonce, difficulty).is_solved_by(number));
        if !right {
            return Err(Refused::Wrong);
        }
        Ok(Solved { token: Sha256::of(said.as_bytes()), expires })
    }
}

impl fmt::Debug for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Work").field("ttl", &self.ttl).finish_non_exhaustive()
    }
}

/// `nonce:expires:difficulty`.
fn parts(said: &str) -> Option<(&str, Timestamp, u8)> {
    let (nonce, rest) = said.split_once(':')?;
    let (expires, difficulty) = rest.split_once(':')?;
    Some((nonce, Timestamp::from_secs(expires.parse().ok()?), difficulty.parse().ok()?))
}

/// A number in decimal, written in the one way there is.
fn number(text: &str) -> Option<u64> {
    let number: u64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

/// What has to be solved: a number that, after the nonce and a colon, gives a SHA-256 that begins with enough zero
/// bits.
#[derive(Clone, Debug)]
pub struct Puzzle {
    prefix: Vec<u8>,
    difficulty: u8,
}

impl Puzzle {
    /// For this nonce, with so many zero bits.
    pub fn new(nonce: &str, difficulty: u8) -> Self {
        Self { prefix: format!("{nonce}:").into_bytes(), difficulty }
    }

    /// Whether it is solved.
    pub fn is_solved_by(&self, number: u64) -> bool {
        self.is_solved(number, &mut Vec::with_capacity(self.prefix.len() + 20))
    }

    /// Tries every `step`th of `count` numbers from `first` on.
    pub fn search(&self, first: u64, step: u64, count: u64) -> Option<u64> {
        let mut text = Vec::with_capacity(self.prefix.len() + 20);
        let numbers = (0..count).map_while(|n| first.checked_add(n.checked_mul(step)?));
        numbers.into_iter().find(|number| self.is_solved(*number, &mut text))
    }

    fn is_solved(&self, number: u64, text: &mut Vec<u8>) -> bool {
        text.clear();
        text.extend_from_slice(&self.prefix);
        text.extend_from_slice(number.to_string().as_bytes());
        zero_bits(digest(&SHA256, text).as_ref()) >= u32::from(self.difficulty)
    }
}

fn zero_bits(bytes: &[u8]) -> u32 {
    let whole = bytes.iter().take_while(|byte| **byte == 0).count();
    let rest = bytes.get(whole).map_or(0, |byte| byte.leading_zeros());
    u32::try_from(whole).unwrap_or(u32::MAX).saturating_mul(8).saturating_add(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);
    const TTL: Duration = Duration::from_secs(300);

    fn work() -> Work {
        Work::new(b"secret", TTL)
    }

    fn solve(challenge: &Challenge) -> String {
        let puzzle = Puzzle::new(&challenge.nonce, challenge.difficulty);
        puzzle.search(0, 1, u64::MAX).expect("a solution").to_string()
    }

    #[test]
    fn a_solution_is_taken_and_always_stands_for_the_same() {
        let work = work();
        let challenge = work.challenge(8, NOW).expect("a challenge");
        let puzzle = Puzzle::new(&challenge.nonce, challenge.difficulty);
        let first = puzzle.search(0, 1, u64::MAX).expect("a solution");
        let second = puzzle.search(first + 1, 1, u64::MAX).expect("another solution");
        let check = |token: &str, solution: u64| work.check(token, &solution.to_string(), 8, NOW);
        let solved = check(&challenge.token, first).expect("taken");
        assert_eq!(solved.expires, challenge.expires);
        assert_eq!(check(&challenge.token, second), Ok(solved), "one token, whichever way it is solved");
        assert_eq!(check(&challenge.token.to_ascii_uppercase(), first), Err(Refused::Token));
        let (said, mac) = challenge.token.rsplit_once(':').expect("parts");
        assert_eq!(check(&format!("{said}:{}", mac.to_ascii_uppercase()), first), Ok(solved), "however it is written");
        let other = work.challenge(8, NOW).expect("a challenge");
        let solution = Puzzle::new(&other.nonce, 8).search(0, 1, u64::MAX).expect("a solution");
        assert_ne!(check(&other.token, solution).expect("taken").token, solved.token);
    }

    #[test]
    fn the_token_is_what_other_programs_expect() {
        let challenge = work().challenge(20, NOW).expect("a challenge");
        assert_eq!((challenge.nonce.len(), challenge.expires), (32, NOW.after(TTL)));
        let (said, mac) = challenge.token.rsplit_once(':').expect("parts");
        assert_eq!(said, format!("{}:1700000300:20", challenge.nonce));
        let expected = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, b"secret"), said.as_bytes());
        assert_eq!(mac, hex::encode(expected));
    }

    #[test]
    fn zero_bits_are_counted_as_sha256sum_shows_them() {
        let solved = Puzzle::new("abc", 8).search(0, 1, 100_000).expect("a solution");
        let hash = hex::encode(digest(&SHA256, format!("abc:{solved}").as_bytes()));
        assert!(hash.starts_with("00"), "{hash}");
        for (bytes, bits) in [(&[0xff_u8][..], 0), (&[0x01], 7), (&[0, 0x80], 8), (&[0, 0, 0x20], 18), (&[0, 0], 16)] {
            assert_eq!(zero_bits(bytes), bits, "{bytes:?}");
        }
    }

    #[test]
    fn what_is_altered_late_or_too_easy_is_refused() {
        let work = work();
        let challenge = work.challenge(4, NOW).expect("a challenge");
        let solution = solve(&challenge);
        let easier = challenge.token.replacen(":4:", ":0:", 1);
        for token in [&easier, "", ":::", "a:b:c:d", challenge.token.trim_end_matches(|c| c != ':')] {
            assert_eq!(work.check(token, &solution, 0, NOW), Err(Refused::Token), "{token}");
        }
        let other = Work::new(b"other", TTL);
        assert_eq!(other.check(&challenge.token, &solution, 4, NOW), Err(Refused::Token));
        assert_eq!(work.check(&challenge.token, &solution, 5, NOW), Err(Refused::TooEasy));
        assert_eq!(work.check(&challenge.token, &solution, 4, NOW.after(TTL)), Err(Refused::Expired));
        for wrong in ["", "-1", "x", &format!("0{solution}"), &format!("+{solution}"), "99999999999999999999"] {
            assert_eq!(work.check(&challenge.token, wrong, 4, NOW), Err(Refused::Wrong), "{wrong}");
        }
        assert!(work.check(&challenge.token, &solution, 4, NOW).is_ok(), "no refusal used it up");
    }

    #[test]
    fn its_debug_shows_no_secret() {
        assert_eq!(format!("{:?}", work()), "Work { ttl: 300s, .. }");
    }
}
