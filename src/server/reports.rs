//! What strangers make the server say: seldom enough that they cannot fill the log with it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Between two reports of the same.
const PAUSE: Duration = Duration::from_secs(60);

/// What is told at most once a minute: anyone can be the cause of it, and an operator has to see it all the same.
#[derive(Debug, Default)]
pub(super) struct Reports(Mutex<Option<Instant>>);

impl Reports {
    pub(super) fn tell(&self, say: impl FnOnce()) {
        let now = Instant::now();
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_none_or(|last| now.duration_since(last) >= PAUSE) {
            *last = Some(now);
            drop(last);
            say();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn once_a_minute() {
        let (reports, mut said) = (Reports::default(), 0);
        for _ in 0..100 {
            reports.tell(|| said += 1);
        }
        assert_eq!(said, 1);
        tokio::time::advance(PAUSE).await;
        reports.tell(|| said += 1);
        assert_eq!(said, 2);
    }
}
