//! How many bytes are kept, and that they are never more than there may be.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::Error;
use crate::units::Timestamp;

/// Bytes kept and bytes reserved, counted so that racing uploads never exceed the capacity.
pub(super) struct Budget {
    capacity: u64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Bytes of files nobody writes to.
    settled: u64,
    /// Bytes reserved for files being written.
    reserved: u64,
    /// Raised whenever `settled` changes or a file begins, so that a count of the files knows whether it was overtaken.
    changes: u64,
    last_count: Option<(Timestamp, Duration)>,
}

/// Whether the files are to be counted again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Recount {
    /// Not yet.
    No,
    /// It is quick: whoever asks can wait for it.
    Quick,
    /// It takes long: nobody waits for it. Said to one who asks, and not again for a while.
    Long,
}

/// A folder that is counted quicker than this is counted on every question.
const QUICK: Duration = Duration::from_millis(20);

impl Budget {
    pub(super) fn new(capacity: u64) -> Self {
        Self { capacity, state: Mutex::default() }
    }

    fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn capacity(&self) -> u64 {
        self.capacity
    }

    pub(super) fn used(&self) -> u64 {
        self.with(|s| s.settled.saturating_add(s.reserved))
    }

    /// Reserves room for more bytes, or refuses.
    pub(super) fn reserve(&self, bytes: u64) -> Result<(), Error> {
        self.with(|s| {
            let used = s.settled.saturating_add(s.reserved).saturating_add(bytes);
            if used > self.capacity {
                return Err(Error::Full { capacity: self.capacity });
            }
            s.reserved += bytes;
            Ok(())
        })
    }

    /// Refuses what could not be reserved now, and reserves nothing.
    pub(super) fn check(&self, bytes: u64) -> Result<(), Error> {
        match self.used().saturating_add(bytes) > self.capacity {
            true => Err(Error::Full { capacity: self.capacity }),
            false => Ok(()),
        }
    }

    /// A file begins to be written: a count that is under way may see it and must not add it to what is reserved for it.
    pub(super) fn begun(&self) {
        self.with(|s| s.changes += 1);
    }

    /// What was reserved is not needed, or not any more.
    pub(super) fn cancel(&self, bytes: u64) {
        self.with(|s| s.reserved = s.reserved.saturating_sub(bytes));
    }

    /// What was reserved has become a file of `size` bytes.
    pub(super) fn settle(&self, reserved: u64, size: u64) {
        self.with(|s| {
            s.reserved = s.reserved.saturating_sub(reserved);
            s.settled = s.settled.saturating_add(size);
            s.changes += 1;
        });
    }

    /// A file of this size was deleted.
    pub(super) fn release(&self, bytes: u64) {
        self.with(|s| {
            s.settled = s.settled.saturating_sub(bytes);
            s.changes += 1;
        });
    }

    /// Whether a count is due: always if it is quick, else as seldom as keeps it to a hundredth of the time.
    pub(super) fn recount_due(&self, now: Timestamp) -> Recount {
        self.with(|s| match s.last_count {
            Some((at, took)) if took > QUICK => {
                if now.since(at) <= took.saturating_mul(100) {
                    return Recount::No;
                }
                s.last_count = Some((now, took));
                Recount::Long
            }
            _ => Recount::Quick,
        })
    }

    pub(super) fn begin_recount(&self) -> u64 {
        self.with(|s| s.changes)
    }

    /// Takes over a count, unless files came or went while it was made.
    pub(super) fn end_recount(&self, begun_at: u64, settled: u64, took: Duration, now: Timestamp) {
        self.with(|s| {
            if s.changes == begun_at {
                s.settled = settled;
            }
            s.last_count = Some((now, took));
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_never_given_twice() {
        let budget = Budget::new(10);
        assert!(budget.reserve(6).is_ok());
        assert!(budget.reserve(5).is_err());
        assert!(budget.reserve(u64::MAX).is_err());
        budget.settle(6, 4);
        assert_eq!(budget.used(), 4);
        assert!(budget.reserve(6).is_ok());
        budget.cancel(6);
        budget.release(4);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn racing_reservations_never_exceed_the_capacity() {
        let budget = Budget::new(1000);
        let given: u64 = std::thread::scope(|scope| {
            let racers: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| (0..1000).filter(|_| budget.reserve(3).is_ok()).count() as u64))
                .collect();
            racers.into_iter().map(|racer| racer.join().expect("no panic")).sum()
        });
        assert_eq!(given, 333);
    }

    #[test]
    fn a_count_that_was_overtaken_is_dropped() {
        let budget = Budget::new(100);
        let counting = budget.begin_recount();
        budget.reserve(5).expect("room");
        budget.settle(5, 5);
        budget.end_recount(counting, 0, Duration::ZERO, Timestamp::default());
        assert_eq!(budget.used(), 5);
        budget.end_recount(budget.begin_recount(), 42, Duration::ZERO, Timestamp::default());
        assert_eq!(budget.used(), 42);
    }

    #[test]
    fn a_long_count_is_made_seldom_and_by_one() {
        let budget = Budget::new(100);
        let at = |secs| Timestamp::default().after(Duration::from_secs(secs));
        assert_eq!(budget.recount_due(at(0)), Recount::Quick);
        budget.end_recount(budget.begin_recount(), 42, Duration::from_secs(1), at(0));
        assert_eq!(budget.recount_due(at(100)), Recount::No);
        assert_eq!(budget.recount_due(at(101)), Recount::Long);
        assert_eq!(budget.recount_due(at(101)), Recount::No, "while it is made, nobody else makes it");
    }
}
