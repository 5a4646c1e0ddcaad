//! Handshakes take turns: each step of one is a good part of a millisecond, and a flood of them must not stand between an
//! open connection and its next byte.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::ready;

use tokio::sync::Semaphore;
use tokio::task::yield_now;
use tokio_util::sync::PollSemaphore;

/// Steps that may be due at once. A handshake that waits for the network holds none.
const AT_ONCE: usize = 2;

/// Whose turn it is.
#[derive(Clone, Debug)]
pub(in crate::server) struct Turns(Arc<Semaphore>);

impl Turns {
    pub(in crate::server) fn new() -> Self {
        Self(Arc::new(Semaphore::new(AT_ONCE)))
    }

    /// Does `work`, waiting for a turn before each step of it. Whoever has the turn lets the runtime look first for what
    /// has come in on open connections.
    pub(super) async fn take<F: Future>(&self, work: F) -> F::Output {
        let mut work = pin!(work);
        let mut others_first = pin!(yield_now());
        let mut turns = PollSemaphore::new(Arc::clone(&self.0));
        let mut turn = None;
        poll_fn(|cx| {
            if turn.is_none() {
                turn = Some(ready!(turns.poll_acquire(cx)));
                others_first.set(yield_now());
            }
            ready!(others_first.as_mut().poll(cx));
            let step = work.as_mut().poll(cx);
            turn = None;
            step
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio_util::task::TaskTracker;

    use super::*;

    #[tokio::test]
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
}
