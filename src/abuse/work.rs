//! Proof of work: a challenge that costs its solver a number of hashes, and us one.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ring::digest::{SHA256, digest};
use ring::hmac;

use crate::units::{self, Timestamp};

/// Spent tokens that are remembered; one is some 50 bytes.
const SPENT: usize = 64 * 1024;

/// Hands out challenges and takes solutions, each once.
pub struct Work {
    key: hmac::Key,
    ttl: Duration,
    spent: Mutex<Spent>,
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
    /// With this secret, which others that are to take the same tokens have to have too; what one of them has taken
    /// the others do not know of. Challenges hold for `ttl`.
    pub fn new(secret: &[u8], ttl: Duration) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, secret), ttl, spent: Mutex::default() }
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

    /// Takes a solution, once. `least`: the bits that are asked for now.
    ///
    /// # Errors
    /// [`Refused`]; what is refused uses up no token.
    pub fn take(&self, token: &str, solution: &str, least: u8, now: Timestamp) -> Result<(), Refused> {
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
        self.spent.lock().unwrap_or_else(PoisonError::into_inner).spend(expires, nonce, now)
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

/// Tokens that were used and have not expired, the first to expire first.
#[derive(Debug, Default)]
struct Spent {
    nonces: BTreeSet<(Timestamp, String)>,
    /// When there is no room for all of them: what expires up to here counts as used, so that none works twice.
    up_to: Timestamp,
}

impl Spent {
    fn spend(&mut self, expires: Timestamp, nonce: &str, now: Timestamp) -> Result<(), Refused> {
        while self.nonces.first().is_some_and(|(expires, _)| *expires <= now) {
            self.nonces.pop_first();
        }
        if expires <= self.up_to || !self.nonces.insert((expires, nonce.to_owned())) {
            return Err(Refused::Spent);
        }
        if self.nonces.len() > SPENT
            && let Some((expires, _)) = self.nonces.pop_first()
        {
            self.up_to = expires;
        }
        Ok(())
    }
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
    fn a_solution_is_taken_once() {
        let work = work();
        let challenge = work.challenge(8, NOW).expect("a challenge");
        let solution = solve(&challenge);
        assert_eq!(work.take(&challenge.token, &solution, 8, NOW), Ok(()));
        assert_eq!(work.take(&challenge.token, &solution, 8, NOW), Err(Refused::Spent));
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
            assert_eq!(work.take(token, &solution, 0, NOW), Err(Refused::Token), "{token}");
        }
        let other = Work::new(b"other", TTL);
        assert_eq!(other.take(&challenge.token, &solution, 4, NOW), Err(Refused::Token));
        assert_eq!(work.take(&challenge.token, &solution, 5, NOW), Err(Refused::TooEasy));
        assert_eq!(work.take(&challenge.token, &solution, 4, NOW.after(TTL)), Err(Refused::Expired));
        for wrong in ["", "-1", "x", &format!("0{solution}"), &format!("+{solution}"), "99999999999999999999"] {
            assert_eq!(work.take(&challenge.token, wrong, 4, NOW), Err(Refused::Wrong), "{wrong}");
        }
        assert_eq!(work.take(&challenge.token, &solution, 4, NOW), Ok(()), "no refusal used it up");
    }

    #[test]
    fn of_many_that_race_one_is_taken() {
        let work = work();
        let challenge = work.challenge(4, NOW).expect("a challenge");
        let solution = solve(&challenge);
        let taken = std::thread::scope(|scope| {
            let take = || work.take(&challenge.token, &solution, 4, NOW).is_ok();
            let racers: Vec<_> = (0..8).map(|_| scope.spawn(take)).collect();
            racers.into_iter().filter_map(|racer| racer.join().ok()).filter(|taken| *taken).count()
        });
        assert_eq!(taken, 1);
    }

    #[test]
    fn memory_is_bounded_and_what_does_not_fit_never_works_again() {
        let mut spent = Spent::default();
        let later = |n: u64| NOW.after(Duration::from_secs(n));
        for n in 0..SPENT as u64 + 10 {
            spent.spend(later(n + 1), "n", NOW).expect("new");
            assert!(spent.nonces.len() <= SPENT);
        }
        assert_eq!(spent.spend(later(1), "n", NOW), Err(Refused::Spent), "one that was dropped");
        assert_eq!(spent.spend(later(SPENT as u64 + 10), "m", NOW), Ok(()), "newer ones still work");
        let end = later(SPENT as u64 + 100);
        spent.spend(end.after(TTL), "o", end).expect("new");
        assert_eq!(spent.nonces.len(), 1, "what has expired is forgotten");
    }

    #[test]
    fn its_debug_shows_no_secret() {
        assert_eq!(format!("{:?}", work()), "Work { ttl: 300s, .. }");
    }
}
