//! How often the same bytes may be brought.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::identity::{Owner, Sha256};
use crate::units::Timestamp;

/// How often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DuplicateRule {
    /// So many of the same in one window; 0 is any number.
    pub most: u32,
    /// The window.
    pub window: Duration,
}

/// The same was brought too often.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Duplicate content rate limit exceeded")]
pub struct Duplicate {
    /// How often it was taken.
    pub count: u32,
    /// In what time.
    pub window: Duration,
    /// When it would be taken again.
    pub retry_after: Duration,
}

/// What was brought lately, by digest. All strangers count together; someone who is known counts alone, so that no
/// stranger can use up what a known one may.
#[derive(Debug)]
pub struct Duplicates {
    rule: DuplicateRule,
    contents: usize,
    taken: Mutex<Times>,
}

/// When each content was taken, by whom that is counted and its digest; the oldest first.
type Times = HashMap<(Option<Owner>, Sha256), VecDeque<Timestamp>>;

impl Duplicates {
    /// Remembers at most so many `contents`: when there are more, those that were brought longest ago are forgotten.
    pub fn new(rule: DuplicateRule, contents: usize) -> Self {
        Self { rule, contents: contents.max(1), taken: Mutex::default() }
    }

    /// Counts one more of this content; `by`: who, if that is known.
    ///
    /// # Errors
    /// [`Duplicate`] when it was one too many; then it is not counted.
    pub fn take(&self, by: Option<&Owner>, content: Sha256, now: Timestamp) -> Result<(), Duplicate> {
        let most = self.rule.most as usize;
        if most == 0 {
            return Ok(());
        }
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (by.cloned(), content);
        if taken.len() >= self.contents && !taken.contains_key(&key) {
            self.make_room(&mut taken, now);
        }
        let times = taken.entry(key).or_default();
        times.retain(|at| self.counts(*at, now));
        if times.len() >= most {
            // The oldest of the last `most`: once it is forgotten there is room for one.
            let oldest = times.front().copied().unwrap_or(now);
            let retry_after = oldest.after(self.rule.window).since(now);
            return Err(Duplicate { count: self.rule.most, window: self.rule.window, retry_after });
        }
        times.push_back(now);
        Ok(())
    }

    /// Lets go of what is over; answers how many contents are left.
    pub fn sweep(&self, now: Timestamp) -> usize {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.retain(|_, times| times.back().is_some_and(|at| self.counts(*at, now)));
        let left = taken.len();
        taken.shrink_to(left.saturating_mul(2));
        left
    }

    /// What lies in the future is from before the clock was put back.
    fn counts(&self, at: Timestamp, now: Timestamp) -> bool {
        at <= now && now < at.after(self.rule.window)
    }

    fn make_room(&self, taken: &mut Times, now: Timestamp) {
        taken.retain(|_, times| times.back().is_some_and(|at| self.counts(*at, now)));
        let keep = self.contents - self.contents.div_ceil(8);
        let Some(surplus) = taken.len().checked_sub(keep).filter(|surplus| *surplus > 0) else { return };
        let last = |times: &VecDeque<Timestamp>| times.back().copied().unwrap_or_default();
        let mut all: Vec<Timestamp> = taken.values().map(last).collect();
        let (_, limit, _) = all.select_nth_unstable(surplus - 1);
        let limit = *limit;
        // Of those that are equally old only as many as have to go.
        let mut surplus = surplus;
        taken.retain(|_, times| {
            let goes = surplus > 0 && last(times) <= limit;
            surplus -= usize::from(goes);
            !goes
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::ClientId;

    const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);
    const RULE: DuplicateRule = DuplicateRule { most: 3, window: Duration::from_secs(3600) };

    fn at(seconds: u64) -> Timestamp {
        NOW.after(Duration::from_secs(seconds))
    }

    fn content(n: u32) -> Sha256 {
        Sha256::of(&n.to_be_bytes())
    }

    #[test]
    fn f12_the_same_three_times_an_hour() {
        let duplicates = Duplicates::new(RULE, 100);
        for second in [0, 100, 200] {
            duplicates.take(None, content(1), at(second)).expect("taken");
        }
        let refused = duplicates.take(None, content(1), at(300)).expect_err("the fourth");
        assert_eq!((refused.count, refused.window.as_secs()), (3, 3600));
        assert_eq!(refused.retry_after.as_secs(), 3300);
        duplicates.take(None, content(2), at(300)).expect("other content");
        assert!(duplicates.take(None, content(1), at(3599)).is_err());
        duplicates.take(None, content(1), at(3600)).expect("when it was said");
        assert!(duplicates.take(None, content(1), at(3600)).is_err(), "the window slides");
    }

    #[test]
    fn f12_strangers_count_together_and_leave_those_who_are_known_alone() {
        let duplicates = Duplicates::new(RULE, 100);
        let alice = Owner::Client(ClientId::from_kept("a".to_owned()));
        while duplicates.take(None, content(1), NOW).is_ok() {}
        for _ in 0..3 {
            duplicates.take(Some(&alice), content(1), NOW).expect("taken");
        }
        assert!(duplicates.take(Some(&alice), content(1), NOW).is_err());
        duplicates.take(Some(&Owner::Token), content(1), NOW).expect("someone else");
    }

    #[test]
    fn f12_zero_is_any_number() {
        let duplicates = Duplicates::new(DuplicateRule { most: 0, ..RULE }, 100);
        for _ in 0..100 {
            duplicates.take(None, content(1), NOW).expect("taken");
        }
        assert_eq!(duplicates.sweep(NOW), 0);
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_are_forgotten() {
        let duplicates = Duplicates::new(RULE, 64);
        for n in 0..10_000 {
            duplicates.take(None, content(n), at(u64::from(n) / 100)).expect("taken");
            assert!(duplicates.taken.lock().expect("whole").len() <= 64);
        }
        let taken = duplicates.taken.lock().expect("whole");
        assert!(taken.contains_key(&(None, content(9_999))) && !taken.contains_key(&(None, content(1))));
        drop(taken);
        assert_eq!(duplicates.sweep(at(100_000)), 0, "what is over is let go");
    }
}
