//! How many refusals are recorded: anyone can cause them, as often as they like, and each is a line on disk for good.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::units::Timestamp;

/// Lines for one kind of refusal in one [`SPAN`]: at the most some 10 MB a day.
const LINES: u32 = 20;

/// How long lines are counted together.
const SPAN: Duration = Duration::from_secs(60);

/// Counts refusals by what was refused.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<HashMap<&'static str, Counted>>);

#[derive(Debug, Default)]
struct Counted {
    since: Timestamp,
    lines: u32,
    left_out: u64,
}

impl Refusals {
    /// Whether one more is to be recorded, and then how many were left out before it.
    pub(super) fn next(&self, of: &'static str, now: Timestamp) -> Option<u64> {
        let mut kinds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let counted = kinds.entry(of).or_default();
        // A clock that was set back begins a new span as well.
        if now < counted.since || now >= counted.since.after(SPAN) {
            (counted.since, counted.lines) = (now, 0);
        }
        if counted.lines >= LINES {
            counted.left_out = counted.left_out.saturating_add(1);
            return None;
        }
        counted.lines += 1;
        Some(std::mem::take(&mut counted.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_counted_and_hides_nothing_of_another_kind() {
        let refusals = Refusals::default();
        let at = Timestamp::from_secs(1_000_000);
        for _ in 0..LINES {
            assert_eq!(refusals.next("enroll", at), Some(0));
        }
        assert_eq!(refusals.next("enroll", at), None);
        assert_eq!(refusals.next("enroll", at), None);
        assert_eq!(refusals.next("revoke", at), Some(0));
        assert_eq!(refusals.next("enroll", at.after(SPAN)), Some(2));
        assert_eq!(refusals.next("enroll", at.after(SPAN)), Some(0));
    }
}
