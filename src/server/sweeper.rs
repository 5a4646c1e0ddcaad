//! Reclaims what is over: at start, and then at every interval.

use std::time::Duration;

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::problem::chain;
use crate::store::{Store, Swept};

pub(super) async fn sweep(store: Store, interval: Duration, closing: CancellationToken) {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let sweeping = async {
            ticks.tick().await;
            store.sweep().await
        };
        tokio::select! {
            () = closing.cancelled() => return,
            swept = sweeping => match swept {
                Ok(swept) if swept == Swept::default() => {}
                Ok(swept) => tracing::info!(?swept, "swept"),
                Err(error) => tracing::error!(error = chain(&error), "sweep failed; it is tried again"),
            },
        }
    }
}
