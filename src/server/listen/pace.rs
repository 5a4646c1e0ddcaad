//! How slow the other side of a transfer may be: what moves while we wait for it has to be enough.

use std::time::Duration;

use tokio::time::Instant;

/// For so long in all may be waited until enough has moved. A pause is nobody's fault, a minute of drops is.
const WINDOW: Duration = Duration::from_secs(60);

/// Waiting for the other side, and what moved meanwhile. Time in which it waits for us does not count.
#[derive(Clone, Debug)]
pub(in crate::server) struct Pace {
    /// Bytes that are enough; 0: any are.
    enough: u64,
    moved: u64,
    waited: Duration,
    waiting_since: Option<Instant>,
}

impl Pace {
    /// At least so many bytes a second; 0: however slow.
    pub(in crate::server) fn at_least(bytes_per_second: u64) -> Self {
        let enough = bytes_per_second.saturating_mul(WINDOW.as_secs());
        Self { enough, moved: 0, waited: Duration::ZERO, waiting_since: None }
    }

    /// It is the other side's turn, if it is not already.
    pub(in crate::server) fn wait(&mut self, now: Instant) {
        self.waiting_since.get_or_insert(now);
    }

    /// It is our turn.
    pub(in crate::server) fn go_on(&mut self, now: Instant) {
        if let Some(since) = self.waiting_since.take() {
            self.waited += now.duration_since(since);
        }
    }

    /// So many bytes moved. Once they are enough, the waiting begins anew.
    pub(in crate::server) fn moved(&mut self, now: Instant, bytes: usize) {
        self.moved = self.moved.saturating_add(bytes as u64);
        if self.moved >= self.enough {
            self.moved = 0;
            self.waited = Duration::ZERO;
            self.waiting_since = self.waiting_since.map(|_| now);
        }
    }

    /// When the other side has been too slow, if no more moves until then.
    pub(in crate::server) fn deadline(&self) -> Option<Instant> {
        let since = self.waiting_since.filter(|_| self.enough > 0)?;
        Some(since + WINDOW.saturating_sub(self.waited))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Moves so many bytes a second for an hour; how long that was borne.
    fn borne(rate: u64, bytes: usize) -> Option<Duration> {
        let begun = Instant::now();
        let (mut now, mut pace) = (begun, Pace::at_least(rate));
        for _ in 0..3600 {
            pace.wait(now);
            if pace.deadline().is_some_and(|deadline| deadline <= now) {
                return Some(now - begun);
            }
            now += SECOND;
            pace.moved(now, bytes);
            pace.go_on(now);
        }
        None
    }

    #[test]
    fn drops_are_borne_for_a_minute_and_a_stream_for_ever() {
        assert_eq!(borne(512, 100), Some(WINDOW));
        assert_eq!(borne(512, 0), Some(WINDOW));
        assert_eq!(borne(512, 520), None);
        assert_eq!(borne(0, 0), None);
    }

    #[test]
    fn time_in_which_we_are_waited_for_does_not_count() {
        let begun = Instant::now();
        let mut pace = Pace::at_least(512);
        pace.wait(begun);
        pace.go_on(begun + SECOND);
        assert_eq!(pace.deadline(), None);
        pace.wait(begun + 500 * SECOND);
        assert_eq!(pace.deadline(), Some(begun + 500 * SECOND + WINDOW - SECOND));
    }
}
