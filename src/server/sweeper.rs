//! Reclaims what is over: at start, and then at every interval.

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::App;
use super::problem::chain;
use crate::store::Swept;

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
                Ok(swept) => tracing::info!(?swept, "swept"),
                Err(error) => tracing::error!(error = chain(&error), "sweep failed; it is tried again"),
            },
        }
    }
}
