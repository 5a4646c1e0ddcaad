//! Reclaims what is over: at start, and then at every interval; and writes down now and then what was read.

use std::time::Duration;

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::App;
use super::problem::chain;
use crate::link::Kind;
use crate::store::{Store, Swept};

pub(super) async fn sweep(app: App, closing: CancellationToken) {
    let mut ticks = tokio::time::interval(app.settings.cleanup_interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let sweeping = async {
            ticks.tick().await;
            app.throttle().sweep(app.clock.now());
            app.store.sweep().await
        };
        tokio::select! {
            () = closing.cancelled() => return,
            swept = sweeping => match swept {
                Ok(swept) if swept == Swept::default() => {}
                Ok(swept) => {
                    let files = swept.expired.saturating_sub(swept.pastes + swept.urls);
                    for (kind, many) in [(Kind::File, files), (Kind::Paste, swept.pastes), (Kind::Url, swept.urls)] {
                        app.metrics().ended(kind, "expired", many);
                    }
                    let Swept { expired, abandoned, orphans, bytes, forgotten, .. } = swept;
                    tracing::info!(expired, abandoned, orphans, bytes, forgotten, "swept");
                }
                Err(error) => tracing::error!(error = chain(&error), "sweep failed; it is tried again"),
            },
        }
    }
}

/// Between two times that readings are written down, all of them in one transaction.
const READINGS: Duration = Duration::from_secs(5);

pub(super) async fn note_readings(store: Store, closing: CancellationToken) {
    let mut ticks = tokio::time::interval(READINGS);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            // What is left is written when the store is closed.
            () = closing.cancelled() => return,
            _ = ticks.tick() => {}
        }
        if let Err(error) = store.write_touches().await {
            tracing::error!(error = chain(&error), "what was read cannot be written down; it is tried again");
        }
    }
}
