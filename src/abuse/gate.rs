//! The one gate everybody who makes a link goes through: how often, and for how much work.

use std::time::Duration;

use super::duplicates::{Duplicate, DuplicateRule, Duplicates};
use super::flood::{Flood, FloodRule};
use super::rate::{ByCaller, Limited, Rate, Standing};
use super::work::{Challenge, Refused, Solved, Work};
use super::{ContentRule, Look, Unfit};
use crate::identity::{Principal, Sha256};
use crate::units::{self, Timestamp};

/// Callers of each kind, and contents, that are remembered.
const PARTIES: usize = 10_000;

/// What is asked of those who make links.
#[derive(Clone, Debug)]
pub struct GateRule {
    /// How many a stranger may make; `None` is any number.
    pub rate: Option<Rate>,
    /// How many times as many somebody known may.
    pub times_known: u32,
    /// Bits of work a stranger does for each; 0 is none.
    pub difficulty: u8,
    /// How long a challenge holds.
    pub challenge_ttl: Duration,
    /// When that becomes more.
    pub flood: FloodRule,
    /// How often the same content is taken.
    pub duplicates: DuplicateRule,
    /// What content has to be.
    pub content: ContentRule,
}

/// Counts what is made, and lets in.
#[derive(Debug)]
pub struct Gate {
    rule: GateRule,
    rate: Option<ByCaller>,
    work: Work,
    flood: Flood,
    duplicates: Duplicates,
}

/// What came with a request to show that the work was done.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    /// The challenge's token.
    pub token: &'a str,
    /// The number that solves it.
    pub solution: &'a str,
}

/// Somebody who may come in once the solution that was shown, if one was asked for, is used up.
#[derive(Debug)]
#[must_use = "whoever is not admitted has not come in"]
pub struct Examined {
    /// Where the caller stands, if that is counted.
    standing: Option<Standing>,
    /// What has to be used up, where other processes and a restart do not forget it.
    solved: Option<Solved>,
}

/// Evidence that somebody was let in; only a [`Gate`] makes it, and each makes one link.
#[derive(Debug)]
pub struct Admitted {
    standing: Option<Standing>,
}

/// What is asked for now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Demand {
    /// Something to solve.
    pub challenge: Challenge,
    /// What is asked for when nothing unusual goes on.
    pub base: u8,
}

/// Why somebody is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Too often.
    #[error(transparent)]
    Limited(#[from] Limited),
    /// Work is asked for, and none came.
    #[error("work is asked for")]
    NoWork,
    /// The work is not right.
    #[error(transparent)]
    Work(#[from] Refused),
}

impl Gate {
    /// With this secret, by which challenges are known again.
    pub fn new(rule: GateRule, secret: &[u8]) -> Self {
        Self {
            rate: rule.rate.map(|rate| ByCaller::new(rate, rule.times_known, PARTIES)),
            work: Work::new(secret, rule.challenge_ttl),
            flood: Flood::new(rule.flood),
            duplicates: Duplicates::new(rule.duplicates, PARTIES),
            rule,
        }
    }

    /// What this caller has to solve; `None` is nothing.
    ///
    /// # Errors
    /// When the operating system gives no random bytes.
    pub fn demand(&self, who: &Principal, now: Timestamp) -> Result<Option<Demand>, units::Error> {
        let difficulty = self.difficulty(who, now);
        if difficulty == 0 {
            return Ok(None);
        }
        let challenge = self.work.challenge(difficulty, now)?;
        Ok(Some(Demand { challenge, base: self.rule.difficulty }))
    }

    /// Bits this caller has to work for now.
    pub fn difficulty(&self, who: &Principal, now: Timestamp) -> u8 {
        if who.is_known() { 0 } else { self.difficulty_of_strangers(now) }
    }

    /// Bits those who are not known have to work for now.
    pub fn difficulty_of_strangers(&self, now: Timestamp) -> u8 {
        self.flood.difficulty(self.rule.difficulty, now)
    }

    /// How many links this caller may make in a minute; `None` is any number.
    pub fn per_minute(&self, who: &Principal) -> Option<u32> {
        let Rate { most, per } = self.rule.rate?;
        let most = if who.is_known() { most.saturating_mul(self.rule.times_known) } else { most };
        let per_minute = u128::from(most) * 60_000 / per.as_millis().max(1);
        Some(u32::try_from(per_minute).unwrap_or(u32::MAX))
    }

    /// Whether somebody may come in, and counts that. What is refused for want of work is not counted, since to be told
    /// how much is asked for is how a client begins.
    ///
    /// # Errors
    /// [`Refusal`], with the reason.
    pub fn examine(&self, who: &Principal, shown: Option<Shown<'_>>, now: Timestamp) -> Result<Examined, Refusal> {
        if let Some(rate) = &self.rate {
            rate.check(who, now)?;
        }
        let solved = match (self.difficulty(who, now), shown) {
            (0, _) => None,
            (_, None) => return Err(Refusal::NoWork),
            (least, Some(Shown { token, solution })) => Some(self.work.check(token, solution, least, now)?),
        };
        // Of requests that race each is counted before its token is used up.
        let standing = self.rate.as_ref().map(|rate| rate.count(who, now)).transpose()?;
        Ok(Examined { standing, solved })
    }

    /// Counts other content for a link that is there: as one more link, since it costs as much to keep. Whoever made the
    /// link has worked for it.
    ///
    /// # Errors
    /// [`Limited`] when it was one too many.
    pub fn count_replacement(&self, who: &Principal, now: Timestamp) -> Result<(), Limited> {
        self.rate.as_ref().map_or(Ok(()), |rate| rate.count(who, now).map(drop))
    }

    /// Lets in, once [`Examined::solved`] was used up. Only now is it counted towards a flood: a solution that is shown
    /// again and again makes nothing dearer.
    #[expect(clippy::needless_pass_by_value, reason = "whoever was examined comes in once")]
    pub fn admit(&self, examined: Examined, now: Timestamp) -> Admitted {
        let Examined { standing, solved } = examined;
        if solved.is_some() {
            self.flood.count(now);
        }
        Admitted { standing }
    }

    /// For looking at the content while it comes.
    pub fn look(&self) -> Look {
        Look::new(self.rule.content)
    }

    /// Counts the content, unless it has come too often.
    ///
    /// # Errors
    /// [`Duplicate`] when it was one too many.
    pub fn take_content(&self, who: &Principal, content: Sha256, now: Timestamp) -> Result<(), Duplicate> {
        self.duplicates.take(who.is_known().then_some(&who.owner), content, now)
    }

    /// Forgets what is over; answers how many parties and contents are remembered.
    pub fn sweep(&self, now: Timestamp) -> usize {
        self.rate.as_ref().map_or(0, |rate| rate.sweep(now)) + self.duplicates.sweep(now)
    }
}

impl Examined {
    /// What has to be used up before [`Gate::admit`].
    pub fn solved(&self) -> Option<Solved> {
        self.solved
    }
}

impl Admitted {
    /// Where the caller stands, if that is counted.
    pub fn standing(&self) -> Option<Standing> {
        self.standing
    }
}

impl Admitted {
    /// For tests of what is behind the gate.
    #[cfg(test)]
    pub(crate) fn untested() -> Self {
        Self { standing: None }
    }
}

/// Why content is not taken.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum Unwanted {
    /// It is not what it has to be.
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// It came too often.
    #[error(transparent)]
    Duplicate(#[from] Duplicate),
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::abuse::Puzzle;
    use crate::identity::{ClientId, Owner, Proof, Tier};

    const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

    fn gate(most: u32, difficulty: u8) -> Gate {
        let minute = Duration::from_secs(60);
        let rule = GateRule {
            rate: Some(Rate { most, per: minute }),
            times_known: 5,
            difficulty,
            challenge_ttl: Duration::from_secs(300),
            flood: FloodRule { threshold: 2, window: minute, step: 2, most: 12, decay: Duration::from_secs(30) },
            duplicates: DuplicateRule { most: 3, window: Duration::from_secs(3600) },
            content: ContentRule::default(),
        };
        Gate::new(rule, b"secret")
    }

    fn caller(tier: Tier, owner: Owner, address: &str) -> Principal {
        let address: IpAddr = address.parse().expect("an address");
        Principal { tier, owner, name: None, proof: Proof::Nothing, address: Some(address) }
    }

    fn stranger(address: &str) -> Principal {
        caller(Tier::Anonymous, Owner::Anonymous, address)
    }

    fn alice(address: &str) -> Principal {
        caller(Tier::Trusted, Owner::Client(ClientId::from_kept("alice".to_owned())), address)
    }

    fn solve(gate: &Gate, who: &Principal) -> (String, String) {
        let challenge = gate.demand(who, NOW).expect("random bytes").expect("something to solve").challenge;
        let puzzle = Puzzle::new(&challenge.nonce, challenge.difficulty);
        (challenge.token, puzzle.search(0, 1, u64::MAX).expect("a solution").to_string())
    }

    #[test]
    fn f11_strangers_count_by_address_and_those_who_are_known_by_who_they_are() {
        let gate = gate(2, 0);
        let enter = |who: &Principal| gate.examine(who, None, NOW).map(|e| e.standing.expect("counted").remaining);
        assert_eq!(enter(&stranger("192.0.2.1")), Ok(1));
        assert_eq!(enter(&stranger("192.0.2.1")), Ok(0));
        assert!(matches!(enter(&stranger("192.0.2.1")), Err(Refusal::Limited(_))));
        let made_up = caller(Tier::Untrusted, Owner::Certificate(Sha256([7; 32])), "192.0.2.1");
        assert!(matches!(enter(&made_up), Err(Refusal::Limited(_))), "a certificate anyone can make is no one new");
        assert_eq!(enter(&alice("192.0.2.1")), Ok(9), "the address of others does not count against her");
        for left in (0..9).rev() {
            assert_eq!(enter(&alice("198.51.100.7")), Ok(left), "five times as much, wherever she calls from");
        }
        let Err(Refusal::Limited(limited)) = enter(&alice("203.0.113.9")) else { panic!("she was let in") };
        assert_eq!((limited.limit, limited.retry_after), (10, Duration::from_secs(6)));
    }

    #[test]
    fn f9_strangers_work_each_time_and_those_who_are_known_do_not() {
        let gate = gate(100, 4);
        let who = stranger("192.0.2.1");
        assert!(matches!(gate.examine(&who, None, NOW), Err(Refusal::NoWork)));
        let (token, solution) = solve(&gate, &who);
        let examined = gate.examine(&who, Some(Shown { token: &token, solution: &solution }), NOW).expect("let in");
        assert!(examined.solved().is_some());
        let admitted = gate.admit(examined, NOW);
        assert_eq!(admitted.standing().map(|s| s.remaining), Some(99), "only what was let in counts");
        let alice = alice("192.0.2.1");
        assert_eq!(gate.demand(&alice, NOW).expect("random bytes"), None);
        assert!(gate.examine(&alice, None, NOW).expect("let in").solved().is_none());
    }

    #[test]
    fn f10_a_flood_makes_it_dearer_for_strangers() {
        let gate = gate(100, 4);
        let who = stranger("192.0.2.1");
        let early = solve(&gate, &who);
        let shown = || Some(Shown { token: &early.0, solution: &early.1 });
        for _ in 0..10 {
            gate.examine(&who, shown(), NOW).map(drop).expect("shown again, and never used up");
        }
        assert_eq!(gate.difficulty(&who, NOW), 4, "what is not let in is no flood");
        for _ in 0..3 {
            gate.admit(gate.examine(&who, shown(), NOW).expect("right"), NOW);
        }
        assert_eq!(gate.examine(&who, shown(), NOW).map(drop), Err(Refusal::Work(Refused::TooEasy)));
        let demand = gate.demand(&who, NOW).expect("random bytes").expect("something to solve");
        assert_eq!((demand.challenge.difficulty, demand.base), (6, 4));
        let dearer = solve(&gate, &who);
        gate.examine(&who, Some(Shown { token: &dearer.0, solution: &dearer.1 }), NOW).map(drop).expect("let in");
    }

    #[test]
    fn f11_what_is_told_to_those_who_are_refused_is_true() {
        let gate = gate(1, 4);
        let who = stranger("192.0.2.1");
        let solution = solve(&gate, &who);
        let shown = Shown { token: &solution.0, solution: &solution.1 };
        gate.examine(&who, Some(shown), NOW).map(drop).expect("let in");
        let Err(Refusal::Limited(limited)) = gate.examine(&who, Some(shown), NOW) else { panic!("let in") };
        gate.examine(&who, Some(shown), NOW.after(limited.retry_after)).map(drop).expect("let in when it was said");
    }
}
