//! How often something may be done by one party, in bounded memory.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::identity::{Owner, Principal};
use crate::units::Timestamp;

/// So many at once, and as many again over each span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many; 1 or more.
    pub most: u32,
    /// In what time.
    pub per: Duration,
}

/// Counts by party: a [`network`], or somebody who is known wherever the call comes from.
///
/// One instant is kept per party: the one at which all it has done is forgiven. Parties without a debt are not kept;
/// when there are too many with one, those that are nearest to being forgiven are. Whoever is forgotten is owed by
/// nobody, so a flood of parties shuts no one out; and to have a debt of one's own forgotten takes a greater one of each
/// of thousands of others.
#[derive(Debug)]
pub struct Limiter<K> {
    rate: Rate,
    parties: usize,
    forgiven_at: Mutex<HashMap<K, Timestamp>>,
}

/// Where a party stands after something was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// How many may be done at once when nothing was done before.
    pub limit: u32,
    /// How many more would do right now.
    pub remaining: u32,
    /// When all that was done is forgiven.
    pub resets_at: Timestamp,
}

/// It was too often.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Rate limit exceeded")]
pub struct Limited {
    /// How many may be done at once.
    pub limit: u32,
    /// After this the next one will do.
    pub retry_after: Duration,
    /// When all that was done is forgiven.
    pub resets_at: Timestamp,
}

impl<K: Eq + Hash + Clone> Limiter<K> {
    /// Keeps at most so many `parties`.
    pub fn new(rate: Rate, parties: usize) -> Self {
        Self { rate, parties: parties.max(1), forgiven_at: Mutex::default() }
    }

    /// Whether one more would do, without counting it.
    ///
    /// # Errors
    /// [`Limited`] when it would not.
    pub fn check(&self, party: &K, now: Timestamp) -> Result<(), Limited> {
        let table = self.forgiven_at.lock().unwrap_or_else(PoisonError::into_inner);
        self.next(table.get(party).copied(), now).map(|_| ())
    }

    /// Counts one, and answers how many more would do right after it.
    ///
    /// # Errors
    /// [`Limited`] when it was one too many; then it is not counted.
    pub fn count(&self, party: &K, now: Timestamp) -> Result<Standing, Limited> {
        let mut table = self.forgiven_at.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(forgiven_at) = table.get_mut(party) {
            *forgiven_at = self.next(Some(*forgiven_at), now)?;
            return Ok(self.standing(*forgiven_at, now));
        }
        let next = self.next(None, now)?;
        if table.len() >= self.parties {
            self.make_room(&mut table, now);
        }
        table.insert(party.clone(), next);
        Ok(self.standing(next, now))
    }

    /// Lets go of those that owe nothing any more; answers how many are left.
    pub fn sweep(&self, now: Timestamp) -> usize {
        let mut table = self.forgiven_at.lock().unwrap_or_else(PoisonError::into_inner);
        table.retain(|_, at| *at > now);
        let left = table.len();
        table.shrink_to(left.saturating_mul(2));
        left
    }

    /// How many are remembered.
    pub fn parties(&self) -> usize {
        self.forgiven_at.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// What one costs.
    fn step(&self) -> Duration {
        (self.rate.per / self.rate.most.max(1)).max(Duration::from_millis(1))
    }

    fn standing(&self, forgiven_at: Timestamp, now: Timestamp) -> Standing {
        let left = self.rate.per.saturating_sub(forgiven_at.since(now)).as_millis() / self.step().as_millis().max(1);
        let remaining = u32::try_from(left).unwrap_or(u32::MAX).min(self.rate.most);
        Standing { limit: self.rate.most, remaining, resets_at: forgiven_at }
    }

    /// When everything would be forgiven after one more.
    fn next(&self, forgiven_at: Option<Timestamp>, now: Timestamp) -> Result<Timestamp, Limited> {
        // More than that nobody can owe: the clock was put back, which must not shut anyone out.
        let debt = forgiven_at.map(|at| at.since(now)).filter(|debt| *debt <= self.rate.per).unwrap_or_default();
        let after = debt + self.step();
        if after > self.rate.per {
            let retry_after = after - self.rate.per;
            return Err(Limited { limit: self.rate.most, retry_after, resets_at: now.after(debt) });
        }
        Ok(now.after(after))
    }

    /// Down to seven eighths, so that this is not done for every one of a flood of parties.
    fn make_room(&self, table: &mut HashMap<K, Timestamp>, now: Timestamp) {
        table.retain(|_, at| *at > now);
        let keep = self.parties - self.parties.div_ceil(8);
        let Some(surplus) = table.len().checked_sub(keep).filter(|surplus| *surplus > 0) else { return };
        let mut all: Vec<Timestamp> = table.values().copied().collect();
        let (_, limit, _) = all.select_nth_unstable(surplus - 1);
        let limit = *limit;
        table.retain(|_, at| *at > limit);
    }
}

/// Counts strangers by address, and those who are known by who they are, who may do a number of times as much.
///
/// Anyone can make certificates nobody vouched for, so the holder of one is a stranger.
#[derive(Debug)]
pub struct ByCaller {
    strangers: Limiter<IpAddr>,
    known: Limiter<Owner>,
}

impl ByCaller {
    /// `times`: how many times as much those who are known may do. Keeps at most so many `parties` of each kind.
    pub fn new(rate: Rate, times: u32, parties: usize) -> Self {
        let known = Rate { most: rate.most.saturating_mul(times.max(1)), per: rate.per };
        Self { strangers: Limiter::new(rate, parties), known: Limiter::new(known, parties) }
    }

    /// Whether one more would do, without counting it.
    ///
    /// # Errors
    /// [`Limited`] when it would not.
    pub fn check(&self, who: &Principal, now: Timestamp) -> Result<(), Limited> {
        match who.is_known() {
            true => self.known.check(&who.owner, now),
            false => self.strangers.check(&from(who), now),
        }
    }

    /// Counts one.
    ///
    /// # Errors
    /// [`Limited`] when it was one too many; then it is not counted.
    pub fn count(&self, who: &Principal, now: Timestamp) -> Result<Standing, Limited> {
        match who.is_known() {
            true => self.known.count(&who.owner, now),
            false => self.strangers.count(&from(who), now),
        }
    }

    /// Lets go of those that owe nothing any more; answers how many are left.
    pub fn sweep(&self, now: Timestamp) -> usize {
        self.strangers.sweep(now) + self.known.sweep(now)
    }
}

/// The network somebody calls from; callers without an address, which there are behind a proxy only, share one.
pub fn from(who: &Principal) -> IpAddr {
    network(who.address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)))
}

/// What counts as one address: an IPv4 address, however it is written, or the /64 of an IPv6 one.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

    fn limiter(addresses: usize) -> Limiter<IpAddr> {
        Limiter::new(Rate { most: 5, per: Duration::from_secs(60) }, addresses)
    }

    fn remaining(counted: Result<Standing, Limited>) -> Result<u32, Limited> {
        counted.map(|standing| standing.remaining)
    }

    fn at(seconds: u64) -> Timestamp {
        NOW.after(Duration::from_secs(seconds))
    }

    fn address(text: &str) -> IpAddr {
        network(text.parse().expect("an address"))
    }

    #[test]
    fn so_many_at_once_and_as_many_again_over_the_span() {
        let limiter = limiter(10);
        let one = address("192.0.2.1");
        for left in [4, 3, 2, 1, 0] {
            assert_eq!(remaining(limiter.count(&one, NOW)), Ok(left));
        }
        let limited = limiter.count(&one, NOW).expect_err("the sixth");
        assert_eq!(limited.retry_after, Duration::from_secs(12));
        assert_eq!(limiter.check(&one, NOW), Err(limited));
        assert_eq!(limiter.check(&address("192.0.2.2"), NOW), Ok(()), "another address");
        assert!(limiter.check(&one, at(11)).is_err());
        assert_eq!(remaining(limiter.count(&one, at(12))), Ok(0), "when it was said");
        assert!(limiter.count(&one, at(12)).is_err());
        assert_eq!(remaining(limiter.count(&one, at(12 + 60))), Ok(4), "all is forgiven");
    }

    #[test]
    fn an_attempt_that_is_refused_costs_nothing() {
        let limiter = limiter(10);
        let one = address("192.0.2.1");
        while limiter.count(&one, NOW).is_ok() {}
        for _ in 0..100 {
            assert!(limiter.count(&one, NOW).is_err());
        }
        assert!(limiter.count(&one, at(12)).is_ok());
    }

    #[test]
    fn a_network_of_ipv6_is_one_address_and_mapped_ipv4_is_ipv4() {
        let limiter = limiter(10);
        for host in 1..=5 {
            limiter.count(&address(&format!("2001:db8::{host}")), NOW).expect("counted");
        }
        assert!(limiter.check(&address("2001:db8::ffff:1:2:3"), NOW).is_err());
        assert!(limiter.check(&address("2001:db8:0:1::1"), NOW).is_ok());
        assert_eq!(network(address("::ffff:192.0.2.1")), address("192.0.2.1"));
    }

    #[test]
    fn a_flood_of_addresses_takes_no_more_room_and_forgets_the_least_guilty() {
        let limiter = limiter(64);
        let guilty = address("192.0.2.1");
        while limiter.count(&guilty, NOW).is_ok() {}
        for n in 0..10_000_u32 {
            let other = IpAddr::from((0x0a00_0000 + n).to_be_bytes());
            limiter.count(&other, NOW).expect("its first");
            assert!(limiter.forgiven_at.lock().expect("whole").len() <= 64);
        }
        assert!(limiter.check(&guilty, NOW).is_err(), "others cannot wash it away");
    }

    #[test]
    fn addresses_without_a_debt_are_forgotten_first() {
        let limiter = limiter(2);
        limiter.count(&address("192.0.2.1"), NOW).expect("counted");
        limiter.count(&address("192.0.2.2"), at(30)).expect("counted");
        limiter.count(&address("192.0.2.3"), at(31)).expect("counted");
        let table = limiter.forgiven_at.lock().expect("whole");
        assert!(table.contains_key(&address("192.0.2.2")) && !table.contains_key(&address("192.0.2.1")));
    }

    #[test]
    fn a_clock_that_is_put_back_shuts_nobody_out() {
        let limiter = limiter(10);
        let one = address("192.0.2.1");
        while limiter.count(&one, at(86_400)).is_ok() {}
        assert_eq!(limiter.check(&one, NOW), Ok(()));
        assert_eq!(remaining(limiter.count(&one, NOW)), Ok(4));
    }

    #[test]
    fn what_is_said_of_a_limit_is_true() {
        let limiter = limiter(10);
        let one = address("192.0.2.1");
        let first = limiter.count(&one, NOW).expect("the first");
        assert_eq!((first.limit, first.remaining, first.resets_at), (5, 4, at(12)));
        let mut last = first;
        while let Ok(standing) = limiter.count(&one, NOW) {
            last = standing;
        }
        assert_eq!((last.remaining, last.resets_at), (0, at(60)));
        let limited = limiter.count(&one, NOW).expect_err("over");
        assert_eq!((limited.limit, limited.resets_at), (5, at(60)));
        let early = NOW.after(limited.retry_after - Duration::from_millis(1));
        assert!(limiter.check(&one, early).is_err() && limiter.check(&one, NOW.after(limited.retry_after)).is_ok());
        let afresh = limiter.count(&one, last.resets_at).expect("all is forgiven");
        assert_eq!(afresh.remaining, 4);
    }

    #[test]
    fn room_is_made_for_many_at_once_even_if_few_owe_nothing() {
        let limiter = limiter(64);
        for n in 0..64_u8 {
            limiter.count(&address(&format!("10.0.0.{n}")), at(u64::from(n) / 8)).expect("its first");
        }
        // One of them is forgiven by now: that alone would make the next newcomer look through all of them again.
        limiter.count(&address("10.0.1.1"), at(12)).expect("its first");
        assert_eq!(limiter.parties(), 64 - 8 + 1);
        assert_eq!(limiter.sweep(at(1000)), 0);
    }
}
