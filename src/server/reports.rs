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

/// Lines that strangers' refused requests may have in the log in a second.
const LINES: u32 = 20;

/// A share of what strangers are refused, so many a second: enough to see what they try, and no flood of the disk.
#[derive(Debug, Default)]
pub(super) struct Share(Mutex<Second>);

#[derive(Debug, Default)]
struct Second {
    began: Option<Instant>,
    told: u32,
    left_out: u64,
}

impl Share {
    /// Whether one more may be told, and then how many were not since the last that was.
    pub(super) fn take(&self) -> Option<u64> {
        let now = Instant::now();
        let mut second = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if second.began.is_none_or(|began| now.duration_since(began) >= Duration::from_secs(1)) {
            second.began = Some(now);
            second.told = 0;
        }
        if second.told >= LINES {
            second.left_out += 1;
            return None;
        }
        second.told += 1;
        Some(std::mem::take(&mut second.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_share_is_told_and_the_rest_counted() {
        let share = Share::default();
        let told = |times: u32| (0..times).filter_map(|_| share.take()).collect::<Vec<_>>();
        assert_eq!(told(LINES + 100), vec![0; LINES as usize]);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(told(2), [100, 0]);
    }

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
