//! Work that becomes dearer while many make links at once.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::units::Timestamp;

/// When it becomes dearer, and by how much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FloodRule {
    /// So many in one window are nothing unusual; each further so many are one step more.
    pub threshold: u32,
    /// The window.
    pub window: Duration,
    /// Bits one step adds.
    pub step: u8,
    /// Bits there are at most, those that are always asked for included.
    pub most: u8,
    /// One step is taken back for each such span without cause for it.
    pub decay: Duration,
}

/// Counts what is made by those who have to work for it, and says how much work that is.
#[derive(Debug)]
pub struct Flood {
    rule: FloodRule,
    state: Mutex<State>,
}

/// Pieces of a window that are counted apart: the count forgets in steps of a thirtieth of it.
const PIECES: u32 = 30;

#[derive(Debug, Default)]
struct State {
    /// When a piece began and how many were made in it, oldest first; never more than [`PIECES`] and one.
    made: VecDeque<(Timestamp, u32)>,
    steps: u32,
    /// Since when there has been no cause for so many steps.
    calm_since: Timestamp,
}

impl Flood {
    /// Nothing made yet.
    pub fn new(rule: FloodRule) -> Self {
        Self { rule, state: Mutex::default() }
    }

    /// One was made.
    pub fn count(&self, now: Timestamp) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.forget(self.rule.window, now);
        let piece = self.rule.window / PIECES;
        match state.made.back_mut() {
            Some((began, made)) if now < began.after(piece) => *made = made.saturating_add(1),
            _ => state.made.push_back((now, 1)),
        }
        state.settle(&self.rule, now);
    }

    /// What is asked for now where `base` bits are when nothing unusual goes on; 0 stays 0.
    pub fn difficulty(&self, base: u8, now: Timestamp) -> u8 {
        if base == 0 {
            return 0;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.forget(self.rule.window, now);
        state.settle(&self.rule, now);
        let more = u32::from(self.rule.step).saturating_mul(state.steps);
        let dearer = u32::from(base).saturating_add(more).min(u32::from(self.rule.most));
        u8::try_from(dearer).unwrap_or(u8::MAX).max(base)
    }
}

impl State {
    fn forget(&mut self, window: Duration, now: Timestamp) {
        // A piece from the future is one from before the clock was put back.
        let over = |began: Timestamp| now >= began.after(window) || now < began;
        while self.made.front().is_some_and(|(began, _)| over(*began)) {
            self.made.pop_front();
        }
        while self.made.back().is_some_and(|(began, _)| over(*began)) {
            self.made.pop_back();
        }
    }

    fn settle(&mut self, rule: &FloodRule, now: Timestamp) {
        let made: u32 = self.made.iter().fold(0, |sum, (_, made)| sum.saturating_add(*made));
        let cause = match rule.threshold {
            0 => 0,
            threshold => made.saturating_sub(1) / threshold,
        };
        if cause >= self.steps || now < self.calm_since {
            // No more than are good for something: what is not felt need not be waited for either.
            self.steps = cause.min(u32::from(rule.most));
            self.calm_since = now;
            return;
        }
        let spans = now.since(self.calm_since).as_millis() / rule.decay.as_millis().max(1);
        let spans = u32::try_from(spans).unwrap_or(u32::MAX);
        if spans > 0 {
            self.steps = self.steps.saturating_sub(spans).max(cause);
            self.calm_since = self.calm_since.after(rule.decay.saturating_mul(spans));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);
    const RULE: FloodRule =
        FloodRule { threshold: 30, window: Duration::from_secs(60), step: 2, most: 28, decay: Duration::from_secs(30) };

    fn at(seconds: u64) -> Timestamp {
        NOW.after(Duration::from_secs(seconds))
    }

    #[test]
    fn f10_thirty_a_minute_are_usual_and_each_further_thirty_two_bits_more() {
        let flood = Flood::new(RULE);
        for (made, bits) in [(30, 20), (1, 22), (29, 22), (1, 24), (30, 26), (30, 28), (300, 28)] {
            (0..made).for_each(|_| flood.count(NOW));
            assert_eq!(flood.difficulty(20, NOW), bits, "after {made} more");
        }
        assert_eq!(flood.difficulty(0, NOW), 0, "off is off");
        assert_eq!(flood.difficulty(30, NOW), 30, "never less than what is always asked for");
    }

    #[test]
    fn f10_what_is_spread_over_time_is_no_flood() {
        let flood = Flood::new(RULE);
        for n in 0..600 {
            flood.count(at(n * 3));
            assert_eq!(flood.difficulty(20, at(n * 3)), 20);
        }
    }

    #[test]
    fn f10_it_decays_step_by_step_once_it_is_over() {
        let flood = Flood::new(RULE);
        (0..100).for_each(|_| flood.count(NOW));
        assert_eq!(flood.difficulty(20, at(59)), 26, "they are still in the window");
        assert_eq!(flood.difficulty(20, at(60)), 26);
        assert_eq!(flood.difficulty(20, at(60 + 28)), 26);
        assert_eq!(flood.difficulty(20, at(60 + 30)), 24);
        assert_eq!(flood.difficulty(20, at(60 + 60)), 22);
        assert_eq!(flood.difficulty(20, at(60 + 90)), 20);
        (0..61).for_each(|_| flood.count(at(200)));
        assert_eq!(flood.difficulty(20, at(200)), 24, "and rises again at once");
        assert_eq!(flood.difficulty(20, at(100_000)), 20, "long after nobody has asked");
    }

    #[test]
    fn memory_is_bounded_however_many_come_and_whatever_the_clock_does() {
        let flood = Flood::new(RULE);
        for n in 0..200_000_u64 {
            flood.count(NOW.after(Duration::from_millis(n)));
            assert!(flood.state.lock().expect("whole").made.len() <= PIECES as usize + 1);
        }
        assert_eq!(flood.difficulty(20, at(200)), 28);
        for n in (0..200_000_u64).rev().step_by(1000) {
            flood.count(NOW.after(Duration::from_millis(n)));
            assert!(flood.state.lock().expect("whole").made.len() <= PIECES as usize + 1);
        }
    }
}
