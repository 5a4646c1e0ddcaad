//! Letting other threads go first, as far as those are quick about it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// A thread that writes what was uploaded works for a fraction of this before it waits for the disk again. Who takes
/// longer is a program that uses all of a processor, or a thread that hashes a password; now and then it is chance.
const QUICK: Duration = Duration::from_millis(2);

/// Between two offers: to make one costs a call to the system.
const BETWEEN: Duration = Duration::from_micros(50);

/// So many who were not quick are chance, and one of them is forgotten in each of such spans.
const CHANCE: (u32, Duration) = (4, Duration::from_millis(250));

/// When it is not chance nobody is let go first for so long; each time that happens again soon, for twice as long.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_millis(6400));

/// Whether and when others go first.
///
/// A thread that is ready to go on may have to wait for milliseconds until one that never waits has used up its slice of
/// the processor: an upload goes through several threads, and waits so each time. So the busy one offers its place. To
/// whoever uses all of a processor that would be to give away nearly everything, and is stopped when it is noticed.
#[derive(Debug, Default)]
pub(in crate::server) struct Courtesy(Mutex<State>);

#[derive(Clone, Copy, Debug, Default)]
struct State {
    /// Who were not quick, those forgotten left out.
    slow: u32,
    /// When the last of them came, or since when they are forgotten again.
    counted: Option<Instant>,
    pause: Duration,
    /// When the last pause ended, or ends.
    ends: Option<Instant>,
    /// When others may go first again.
    next: Option<Instant>,
}

impl State {
    fn is_due(&self, now: Instant) -> bool {
        self.next.is_none_or(|next| now >= next)
    }

    /// Others went first from `begun` until `now`.
    fn gave(&mut self, begun: Instant, now: Instant) {
        // Another thread may have begun a pause meanwhile, which stays as it is.
        self.next = self.next.max(Some(now + BETWEEN));
        if now - begun < QUICK || self.ends.is_some_and(|ends| now < ends) {
            return;
        }
        let since = self.counted.replace(now).map_or(Duration::ZERO, |counted| now - counted);
        let forgotten = u32::try_from(since.as_millis() / CHANCE.1.as_millis()).unwrap_or(u32::MAX);
        self.slow = self.slow.saturating_sub(forgotten) + 1;
        if self.slow <= CHANCE.0 {
            return;
        }
        let soon = self.ends.is_some_and(|ends| now < ends + self.pause);
        self.pause = if soon { (self.pause * 2).min(PAUSE.1) } else { PAUSE.0 };
        self.ends = Some(now + self.pause);
        self.next = self.ends;
        // Right after it one who is not quick is enough.
        self.slow = CHANCE.0;
        self.counted = self.ends;
    }
}

impl Courtesy {
    /// Lets threads that are ready go first.
    pub(super) fn give_way(&self) {
        let begun = Instant::now();
        if !self.with(|state| state.is_due(begun)) {
            return;
        }
        std::thread::yield_now();
        let now = Instant::now();
        self.with(|state| state.gave(begun, now));
    }

    fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine on which one of so many that go first takes the processor for long.
    struct Machine {
        state: State,
        now: Instant,
    }

    impl Machine {
        fn new() -> Self {
            Self { state: State::default(), now: Instant::now() }
        }

        /// Others go first for so long at a time, with as much between.
        fn goes_on(&mut self, span: Duration, took: Duration) {
            let end = self.now + span;
            while self.now < end {
                self.gives(took);
                self.now += took;
            }
        }

        fn gives(&mut self, took: Duration) {
            self.now += BETWEEN;
            if self.state.is_due(self.now) {
                let begun = self.now;
                self.now += took;
                self.state.gave(begun, self.now);
            }
        }

        /// How long nobody goes first.
        fn waits(&mut self) -> u128 {
            let begun = self.now;
            while !self.state.is_due(self.now) {
                self.now += BETWEEN;
            }
            (self.now - begun).as_millis()
        }
    }

    #[test]
    fn who_is_quick_goes_first_every_time() {
        let mut machine = Machine::new();
        machine.goes_on(Duration::from_secs(10), QUICK / 8);
        assert_eq!(machine.waits(), 0);
    }

    #[test]
    fn who_uses_all_of_a_processor_does_so_less_and_less_often() {
        let mut machine = Machine::new();
        let mut pauses = Vec::new();
        while pauses.len() < 8 {
            machine.gives(QUICK * 2);
            pauses.extend(Some(machine.waits()).filter(|pause| *pause > 0));
        }
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 6400, 6400]);
        // It has gone, and comes back.
        machine.goes_on(PAUSE.1, QUICK / 8);
        for _ in 0..=CHANCE.0 {
            machine.gives(QUICK * 2);
        }
        assert_eq!(machine.waits(), PAUSE.0.as_millis());
        machine.gives(QUICK * 2);
        assert_eq!(machine.waits(), 2 * PAUSE.0.as_millis(), "the first that takes long");
    }

    #[test]
    fn what_is_chance_changes_nothing() {
        let mut machine = Machine::new();
        for _ in 0..100 {
            machine.gives(QUICK * 2);
            assert_eq!(machine.waits(), 0);
            machine.goes_on(CHANCE.1, QUICK / 8);
        }
    }

    #[test]
    fn who_began_before_a_pause_neither_ends_it_nor_makes_it_longer() {
        let mut machine = Machine::new();
        for _ in 0..=CHANCE.0 {
            machine.gives(QUICK * 2);
        }
        let (before, begun) = (machine.state.ends, machine.now);
        machine.state.gave(begun, begun + QUICK / 8);
        machine.state.gave(begun, begun + QUICK * 2);
        assert!(before.is_some() && machine.state.ends == before && machine.state.next == before);
        assert_eq!(machine.waits(), PAUSE.0.as_millis());
    }
}
