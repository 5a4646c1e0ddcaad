//! How much is kept.

use std::collections::HashSet;

use super::budget::Recount;
use super::{Error, Store};
use crate::access::{List, Permit};

/// How much there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stats {
    /// Live links (of the owner asked for). Where more than 10,000 have ended since the last sweep, whosever they are, some
    /// of those count too.
    pub links: u64,
    /// Their bytes.
    pub link_bytes: u64,
    /// Bytes under `files/`, whoever owns them and whether or not anything refers to them: what the quota counts.
    pub bytes: u64,
    /// Bytes `files/` may have in all.
    pub capacity: u64,
}

impl Store {
    /// How much there is, also of what came or went behind our back: at once while few files are kept, else as of the
    /// last count.
    ///
    /// # Errors
    /// When the database or the folder cannot be read.
    pub async fn stats(&self, permit: &Permit<List>) -> Result<Stats, Error> {
        match self.inner.budget.recount_due(self.inner.clock.now()) {
            Recount::No => {}
            Recount::Quick => self.recount().await?,
            Recount::Long => {
                let store = self.clone();
                self.inner.cleaning.spawn(async move {
                    if let Err(error) = store.recount().await {
                        tracing::warn!(%error, "cannot count what is kept");
                    }
                });
            }
        }
        self.sums(permit).await
    }

    /// How much there is, as far as that is known without counting files: what comes beside a page.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn sums(&self, permit: &Permit<List>) -> Result<Stats, Error> {
        let totals = self.inner.links.totals(permit.owner.clone(), self.inner.clock.now()).await?;
        Ok(Stats {
            links: totals.links,
            link_bytes: totals.bytes,
            bytes: self.inner.budget.used(),
            capacity: self.inner.budget.capacity(),
        })
    }

    /// Counts the bytes under `files/`, for what came or went behind our back.
    pub(super) async fn recount(&self) -> Result<(), Error> {
        let inner = &self.inner;
        let counting = inner.budget.begin_recount();
        let begun = std::time::Instant::now();
        // What is being written is in the budget by what was reserved for it.
        let running = inner.with_running(|running| running.clone());
        let mut skip = HashSet::new();
        for id in running.into_keys() {
            if let Some(row) = inner.links.find(&id).await? {
                skip.insert(row.link.blob);
            }
        }
        let settled = inner.blobs.total(skip).await?;
        inner.budget.end_recount(counting, settled, begun.elapsed(), inner.clock.now());
        Ok(())
    }
}
