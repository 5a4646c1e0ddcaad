//! Work for strangers takes turns: a flood of it must not stand between somebody who is known and the next byte.
//!
//! Each step of such work waits until it is one of few, and then lets go first whoever else is ready: tasks of this
//! runtime, and threads that write what somebody known has sent.

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

use super::courtesy::Courtesy;

/// Of the time that others have taken, work that takes turns may have this part: where many large transfers run, each
/// round of them is long, and a step or two between two rounds would not bring a handshake to its end in time.
const PART: u32 = 4;

/// Steps that may be owed at most.
const MOST_OWED: usize = 64;

/// Whose turn it is.
#[derive(Clone, Debug)]
pub(in crate::server) struct Turns(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// A permit for each step that may be due, and for each that is owed.
    permits: Arc<Semaphore>,
    owed: AtomicUsize,
    /// For so long one who has the turn lets others go first until a step more is owed.
    per_step: Duration,
    courtesy: Arc<Courtesy>,
}

impl Shared {
    /// Others had so long for themselves.
    fn others_had(&self, time: Duration) {
        let steps = time.as_micros() / self.per_step.as_micros().max(1);
        let steps = usize::try_from(steps).unwrap_or(MOST_OWED);
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
    /// On each of so many threads `at_once` steps may be due; work that waits for the network has none of them. `step`:
    /// what one costs, about.
    pub(in crate::server) fn new(threads: usize, at_once: u32, step: Duration, courtesy: Arc<Courtesy>) -> Self {
        let permits = Arc::new(Semaphore::new(threads.saturating_mul(at_once as usize)));
        // All who have a turn on a thread see the same time go by.
        let per_step = step * PART * at_once;
        Self(Arc::new(Shared { permits, owed: AtomicUsize::new(0), per_step, courtesy }))
    }

    /// Turns that are nobody's, those that are owed left out.
    #[cfg(test)]
    pub(super) fn free(&self) -> usize {
        self.0.permits.available_permits() - self.0.owed.load(Ordering::Relaxed)
    }

    /// Does `work`, waiting for a turn before each step of it that begins when `has_to` says so. Whoever has the turn lets
    /// others go first, unless those have had their time.
    pub(super) async fn take<F: Future>(&self, work: F, has_to: impl Fn() -> bool) -> F::Output {
        let mut work = pin!(work);
        let mut others_first = pin!(yield_now());
        let mut permits = PollSemaphore::new(Arc::clone(&self.0.permits));
        let (mut permit, mut waiting, mut queued) = (None, None, false);
        poll_fn(|cx| {
            if permit.is_none() {
                if !has_to() {
                    // A turn that comes to one who has gone ahead would be nobody's.
                    if std::mem::take(&mut queued) {
                        permits = PollSemaphore::new(Arc::clone(&self.0.permits));
                    }
                    return work.as_mut().poll(cx);
                }
                queued = true;
                let taken = ready!(permits.poll_acquire(cx));
                queued = false;
                if self.0.take_owed() {
                    if let Some(owed) = taken {
                        owed.forget();
                    }
                    return work.as_mut().poll(cx);
                }
                permit = Some(taken);
                waiting = Some(Instant::now());
                others_first.set(yield_now());
                // Threads first: what one of them has done is then among what the runtime looks for.
                self.0.courtesy.give_way();
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
    use std::sync::atomic::AtomicBool;

    use tokio_util::task::TaskTracker;

    use super::*;

    const AT_ONCE: usize = 2;
    const STEP: Duration = Duration::from_micros(500);

    fn turns() -> Turns {
        Turns::new(1, AT_ONCE as u32, STEP, Arc::default())
    }

    /// A thousand who have three things to do each; how many of them were done.
    fn flood(turns: &Turns, tasks: &TaskTracker) -> Arc<AtomicUsize> {
        let steps = Arc::new(AtomicUsize::new(0));
        for _ in 0..1000 {
            let (turns, steps) = (turns.clone(), Arc::clone(&steps));
            tasks.spawn(async move {
                let work = async {
                    for _ in 0..3 {
                        steps.fetch_add(1, Ordering::Relaxed);
                        yield_now().await;
                    }
                };
                turns.take(work, || true).await;
            });
        }
        steps
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_stands_in_nobodys_way() {
        let (turns, tasks) = (turns(), TaskTracker::new());
        let steps = flood(&turns, &tasks);
        // They have all come, and each has taken its first step or waits for its turn.
        yield_now().await;
        for _ in 0..100 {
            let before = steps.load(Ordering::Relaxed);
            // An open connection whose next byte has come.
            yield_now().await;
            let between = steps.load(Ordering::Relaxed) - before;
            assert!(between <= 2 * AT_ONCE, "{between} steps came first");
        }
        tasks.close();
        tasks.wait().await;
        assert_eq!(steps.load(Ordering::Relaxed), 3000, "and all of them come to their end");
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_have_to_wait_does_not_nor_who_no_longer_has_to() {
        let (turns, tasks) = (turns(), TaskTracker::new());
        let steps = flood(&turns, &tasks);
        yield_now().await;
        let before = steps.load(Ordering::Relaxed);
        turns.take(async { yield_now().await }, || false).await;
        assert!(steps.load(Ordering::Relaxed) - before <= 2 * AT_ONCE);
        let known = AtomicBool::new(false);
        let work = async {
            known.store(true, Ordering::Relaxed);
            let before = steps.load(Ordering::Relaxed);
            for _ in 0..10 {
                yield_now().await;
            }
            steps.load(Ordering::Relaxed) - before
        };
        let between = turns.take(work, || !known.load(Ordering::Relaxed)).await;
        assert!(between <= 10 * 2 * AT_ONCE, "{between} steps came first");
        tasks.close();
        tasks.wait().await;
    }

    #[tokio::test(start_paused = true)]
    async fn who_goes_away_while_it_is_its_turn_leaves_it_to_the_next() {
        let (turns, tasks) = (turns(), TaskTracker::new());
        let gone: Vec<_> = (0..10 * AT_ONCE)
            .map(|_| {
                let turns = turns.clone();
                tasks.spawn(async move { turns.take(std::future::pending::<()>(), || true).await })
            })
            .collect();
        for task in &gone {
            // Some wait for a turn, some have one and let others go first, some have had it.
            yield_now().await;
            task.abort();
        }
        tasks.close();
        tasks.wait().await;
        turns.take(async {}, || true).await;
        assert_eq!(turns.free(), AT_ONCE);
    }

    #[tokio::test(start_paused = true)]
    async fn who_goes_ahead_after_all_takes_no_turn_from_others() {
        let (turns, tasks) = (turns(), TaskTracker::new());
        let known = Arc::new(AtomicBool::new(false));
        let started = Arc::new(AtomicUsize::new(0));
        for _ in 0..10 * AT_ONCE {
            let (turns, known, started) = (turns.clone(), Arc::clone(&known), Arc::clone(&started));
            tasks.spawn(async move {
                let work = async {
                    started.fetch_add(1, Ordering::Relaxed);
                    // The first that has its turn is known, and with it all the others of its connection.
                    known.store(true, Ordering::Relaxed);
                    std::future::pending::<()>().await;
                };
                turns.take(work, || !known.load(Ordering::Relaxed)).await;
            });
        }
        for _ in 0..100 {
            yield_now().await;
        }
        assert_eq!(started.load(Ordering::Relaxed), 10 * AT_ONCE);
        assert_eq!(turns.free(), AT_ONCE, "while they all go on");
    }

    #[tokio::test(start_paused = true)]
    async fn where_others_take_long_it_has_its_part_of_the_time() {
        const ROUND: Duration = Duration::from_millis(50);
        let (turns, steps, tasks) = (turns(), Arc::new(AtomicUsize::new(0)), TaskTracker::new());
        for _ in 0..1000 {
            let (turns, steps) = (turns.clone(), Arc::clone(&steps));
            tasks.spawn(async move {
                turns.take(async { steps.fetch_add(1, Ordering::Relaxed) }, || true).await;
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
