//! Handshakes take turns: each step of one is a good part of a millisecond, and a flood of them must not stand between an
//! open connection and its next byte.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::ready;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::yield_now;
use tokio::time::Instant;
use tokio_util::sync::PollSemaphore;

/// Steps that may be due at once. A handshake that waits for the network holds none.
const AT_ONCE: usize = 2;

/// What a step costs, about.
const STEP: Duration = Duration::from_micros(500);

/// Of the time that open connections have taken, handshakes may have this part: where many large transfers run, each
/// round of them is long, and a step or two between two rounds would not bring a handshake to its end in time.
const PART: u32 = 4;

/// Steps that may be owed to handshakes at most.
const MOST_OWED: usize = 64;

/// Whose turn it is.
#[derive(Clone, Debug)]
pub(in crate::server) struct Turns(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// A permit for each step that may be due, and for each that is owed.
    permits: Arc<Semaphore>,
    owed: AtomicUsize,
}

impl Shared {
    /// Open connections had so long for themselves.
    fn others_had(&self, time: Duration) {
        let steps = usize::try_from(time.as_micros() / u128::from(PART) / STEP.as_micros()).unwrap_or(MOST_OWED);
        let more = steps.min(MOST_OWED.saturating_sub(self.owed.load(Ordering::Relaxed)));
        self.owed.fetch_add(more, Ordering::Relaxed);
        self.permits.add_permits(more);
    }

    /// Whether the step that comes is one that was owed.
    fn take_owed(&self) -> bool {
        self.owed.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |owed| owed.checked_sub(1)).is_ok()
    }
}

impl Turns {
    pub(in crate::server) fn new() -> Self {
        Self(Arc::new(Shared { permits: Arc::new(Semaphore::new(AT_ONCE)), owed: AtomicUsize::new(0) }))
    }

    /// Does `work`, waiting for a turn before each step of it. Whoever has the turn lets the runtime look first for what
    /// has come in on open connections, unless those have had their time.
    pub(super) async fn take<F: Future>(&self, work: F) -> F::Output {
        let mut work = pin!(work);
        let mut others_first = pin!(yield_now());
        let mut permits = PollSemaphore::new(Arc::clone(&self.0.permits));
        let (mut permit, mut waiting) = (None, None);
        poll_fn(|cx| {
            if permit.is_none() {
                let taken = ready!(permits.poll_acquire(cx));
                if self.0.take_owed() {
                    if let Some(owed) = taken {
                        owed.forget();
                    }
                    return work.as_mut().poll(cx);
                }
                permit = Some(taken);
                waiting = Some(Instant::now());
                others_first.set(yield_now());
            }
            if let Some(since) = waiting {
                ready!(others_first.as_mut().poll(cx));
                waiting = None;
                self.0.others_had(since.elapsed());
            }
            let step = work.as_mut().poll(cx);
            permit = None;
            step
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use tokio_util::task::TaskTracker;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_handshakes_stands_in_nobodys_way() {
        let (turns, steps, tasks) = (Turns::new(), Arc::new(AtomicUsize::new(0)), TaskTracker::new());
        for _ in 0..1000 {
            let (turns, steps) = (turns.clone(), Arc::clone(&steps));
            tasks.spawn(async move {
                let handshake = async {
                    for _ in 0..3 {
                        steps.fetch_add(1, Ordering::Relaxed);
                        yield_now().await;
                    }
                };
                turns.take(handshake).await;
            });
        }
        // They have all come, and each has taken its first step or waits for its turn.
        yield_now().await;
        for _ in 0..100 {
            let before = steps.load(Ordering::Relaxed);
            // An open connection whose next byte has come.
            yield_now().await;
            let between = steps.load(Ordering::Relaxed) - before;
            assert!(between <= 2 * AT_ONCE, "{between} steps of handshakes came first");
        }
        tasks.close();
        tasks.wait().await;
        assert_eq!(steps.load(Ordering::Relaxed), 3000, "and all of them come to their end");
    }

    #[tokio::test(start_paused = true)]
    async fn where_open_connections_take_long_handshakes_have_their_part_of_the_time() {
        const ROUND: Duration = Duration::from_millis(50);
        let (turns, steps, tasks) = (Turns::new(), Arc::new(AtomicUsize::new(0)), TaskTracker::new());
        for _ in 0..1000 {
            let (turns, steps) = (turns.clone(), Arc::clone(&steps));
            tasks.spawn(async move {
                turns.take(async { steps.fetch_add(1, Ordering::Relaxed) }).await;
            });
        }
        tasks.close();
        let mut rounds = 0;
        while !tasks.is_empty() {
            // What the transfers of one round take.
            tokio::time::advance(ROUND).await;
            yield_now().await;
            rounds += 1;
            assert!(rounds < 1000, "{} steps", steps.load(Ordering::Relaxed));
        }
        let each = steps.load(Ordering::Relaxed) as u128 / rounds;
        let part = ROUND.as_micros() / STEP.as_micros() / u128::from(PART);
        assert!((part / 2..=part * 4).contains(&each), "{each} steps a round");
    }
}
