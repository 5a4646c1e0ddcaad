//! How often something may be done from one address, in bounded memory.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::units::Timestamp;

/// So many at once, and as many again over each span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many; 1 or more.
    pub most: u32,
    /// In what time.
    pub per: Duration,
}

/// Counts by address; an IPv6 host has a whole /64 to call from, which counts as one.
///
/// One instant is kept per address: the one at which all it has done is forgiven. Addresses without a debt are not
/// kept; when there are too many with one, those that are nearest to being forgiven are.
#[derive(Debug)]
pub struct Limiter {
    rate: Rate,
    addresses: usize,
    forgiven_at: Mutex<HashMap<IpAddr, Timestamp>>,
}

/// It was too often.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many attempts from this address")]
pub struct Limited {
    /// After this the next one will do.
    pub retry_after: Duration,
}

impl Limiter {
    /// Keeps at most so many `addresses`.
    pub fn new(rate: Rate, addresses: usize) -> Self {
        Self { rate, addresses: addresses.max(1), forgiven_at: Mutex::default() }
    }

    /// Whether one more would do, without counting it.
    ///
    /// # Errors
    /// [`Limited`] when it would not.
    pub fn check(&self, address: IpAddr, now: Timestamp) -> Result<(), Limited> {
        let table = self.forgiven_at.lock().unwrap_or_else(PoisonError::into_inner);
        self.next(table.get(&network(address)).copied(), now).map(|_| ())
    }

    /// Counts one, and answers how many more would do right after it.
    ///
    /// # Errors
    /// [`Limited`] when it was one too many; then it is not counted.
    pub fn count(&self, address: IpAddr, now: Timestamp) -> Result<u32, Limited> {
        let address = network(address);
        let mut table = self.forgiven_at.lock().unwrap_or_else(PoisonError::into_inner);
        let next = self.next(table.get(&address).copied(), now)?;
        if table.len() >= self.addresses && !table.contains_key(&address) {
            self.make_room(&mut table, now);
        }
        table.insert(address, next);
        let left = self.rate.per.saturating_sub(next.since(now)).as_millis() / self.step().as_millis();
        Ok(u32::try_from(left).unwrap_or(u32::MAX))
    }

    /// What one costs.
    fn step(&self) -> Duration {
        (self.rate.per / self.rate.most.max(1)).max(Duration::from_millis(1))
    }

    /// When everything would be forgiven after one more.
    fn next(&self, forgiven_at: Option<Timestamp>, now: Timestamp) -> Result<Timestamp, Limited> {
        // A clock that was put back must not shut anyone out for longer than the rate says.
        let debt = forgiven_at.map_or(Duration::ZERO, |at| at.since(now)).min(self.rate.per);
        let after = debt + self.step();
        if after > self.rate.per {
            return Err(Limited { retry_after: after - self.rate.per });
        }
        Ok(now.after(after))
    }

    fn make_room(&self, table: &mut HashMap<IpAddr, Timestamp>, now: Timestamp) {
        table.retain(|_, at| *at > now);
        if table.len() < self.addresses {
            return;
        }
        // An eighth at once, so that this is not done for every one of a flood of addresses.
        let mut all: Vec<Timestamp> = table.values().copied().collect();
        let (_, limit, _) = all.select_nth_unstable(self.addresses / 8);
        let limit = *limit;
        table.retain(|_, at| *at > limit);
    }
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

    fn limiter(addresses: usize) -> Limiter {
        Limiter::new(Rate { most: 5, per: Duration::from_secs(60) }, addresses)
    }

    fn at(seconds: u64) -> Timestamp {
        NOW.after(Duration::from_secs(seconds))
    }

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn so_many_at_once_and_as_many_again_over_the_span() {
        let limiter = limiter(10);
        let one = address("192.0.2.1");
        for left in [4, 3, 2, 1, 0] {
            assert_eq!(limiter.count(one, NOW), Ok(left));
        }
        let limited = limiter.count(one, NOW).expect_err("the sixth");
        assert_eq!(limited.retry_after, Duration::from_secs(12));
        assert_eq!(limiter.check(one, NOW), Err(limited));
        assert_eq!(limiter.check(address("192.0.2.2"), NOW), Ok(()), "another address");
        assert!(limiter.check(one, at(11)).is_err());
        assert_eq!(limiter.count(one, at(12)), Ok(0), "when it was said");
        assert!(limiter.count(one, at(12)).is_err());
        assert_eq!(limiter.count(one, at(12 + 60)), Ok(4), "all is forgiven");
    }

    #[test]
    fn an_attempt_that_is_refused_costs_nothing() {
        let limiter = limiter(10);
        let one = address("192.0.2.1");
        while limiter.count(one, NOW).is_ok() {}
        for _ in 0..100 {
            assert!(limiter.count(one, NOW).is_err());
        }
        assert!(limiter.count(one, at(12)).is_ok());
    }

    #[test]
    fn a_network_of_ipv6_is_one_address_and_mapped_ipv4_is_ipv4() {
        let limiter = limiter(10);
        for host in 1..=5 {
            limiter.count(address(&format!("2001:db8::{host}")), NOW).expect("counted");
        }
        assert!(limiter.check(address("2001:db8::ffff:1:2:3"), NOW).is_err());
        assert!(limiter.check(address("2001:db8:0:1::1"), NOW).is_ok());
        assert_eq!(network(address("::ffff:192.0.2.1")), address("192.0.2.1"));
    }

    #[test]
    fn a_flood_of_addresses_takes_no_more_room_and_forgets_the_least_guilty() {
        let limiter = limiter(64);
        let guilty = address("192.0.2.1");
        while limiter.count(guilty, NOW).is_ok() {}
        for n in 0..10_000_u32 {
            let other = IpAddr::from((0x0a00_0000 + n).to_be_bytes());
            limiter.count(other, NOW).expect("its first");
            assert!(limiter.forgiven_at.lock().expect("whole").len() <= 64);
        }
        assert!(limiter.check(guilty, NOW).is_err(), "others cannot wash it away");
    }

    #[test]
    fn addresses_without_a_debt_are_forgotten_first() {
        let limiter = limiter(2);
        limiter.count(address("192.0.2.1"), NOW).expect("counted");
        limiter.count(address("192.0.2.2"), at(30)).expect("counted");
        limiter.count(address("192.0.2.3"), at(31)).expect("counted");
        let table = limiter.forgiven_at.lock().expect("whole");
        assert!(table.contains_key(&address("192.0.2.2")) && !table.contains_key(&address("192.0.2.1")));
    }

    #[test]
    fn a_clock_that_is_put_back_shuts_nobody_out() {
        let limiter = limiter(10);
        let one = address("192.0.2.1");
        while limiter.count(one, at(86_400)).is_ok() {}
        let limited = limiter.check(one, NOW).expect_err("still");
        assert!(limited.retry_after <= Duration::from_secs(60));
    }
}
