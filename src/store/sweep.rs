//! Reclaims what is over, in small batches, so that no request waits.

use std::time::{Duration, Instant};

use super::ledger::{Doomed, Phase, Writer};
use super::{Error, REMEMBERED, Store};
use crate::link::LinkId;

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Links whose time was over.
    pub expired: u64,
    /// Uploads that were never finished.
    pub abandoned: u64,
    /// Files under `files/` nothing referred to.
    pub orphans: u64,
    /// Bytes given back.
    pub bytes: u64,
    /// Memories of ended links that were let go.
    pub forgotten: u64,
}

/// Rows or files per batch: some milliseconds of work for the database, for which whoever wants to write has to wait.
const BATCH: u32 = 100;

/// The longest pause after a batch.
const PAUSE: Duration = Duration::from_millis(50);

/// Pauses for as long as the batch took: in that time the disk and the database are there for everyone else.
async fn pause(begun: Instant) {
    tokio::time::sleep(begun.elapsed().min(PAUSE)).await;
}

impl Store {
    /// Reclaims what is over. Idempotent; any number of processes may do it.
    ///
    /// # Errors
    /// When the database or the folder fails; what was done until then stays done.
    pub async fn sweep(&self) -> Result<Swept, Error> {
        let mut swept = Swept::default();
        // What was read a moment ago is not overdue.
        self.write_touches().await?;
        self.sweep_overdue(&mut swept).await?;
        self.sweep_doomed(&mut swept).await?;
        self.sweep_abandoned(&mut swept).await?;
        self.sweep_orphans(&mut swept).await?;
        self.sweep_memories(&mut swept).await?;
        self.inner.links.tidy().await?;
        self.recount().await?;
        Ok(swept)
    }

    async fn sweep_overdue(&self, swept: &mut Swept) -> Result<(), Error> {
        loop {
            let begun = Instant::now();
            let overdue = self.inner.links.doom_overdue(self.inner.clock.now(), BATCH).await?;
            if overdue.is_empty() {
                return Ok(());
            }
            for doomed in &overdue {
                self.inner.cache.forget(&doomed.id);
                swept.expired += 1;
            }
            self.bury_all(overdue, swept).await?;
            pause(begun).await;
        }
    }

    /// Answers how many it could. One that cannot be deleted does not keep the others.
    ///
    /// A batch is one trip to the disk and one transaction: each by itself would wait for the disk twice per link.
    async fn bury_all(&self, doomed: Vec<Doomed>, swept: &mut Swept) -> Result<usize, Error> {
        let inner = &self.inner;
        let names = doomed.iter().map(|doomed| doomed.blob.clone()).collect();
        let mut gone = Vec::with_capacity(doomed.len());
        for (doomed, removed) in doomed.into_iter().zip(inner.blobs.remove_many(names).await) {
            match removed {
                Ok(freed) => {
                    inner.budget.release(freed);
                    swept.bytes += freed;
                    gone.push(doomed.id);
                }
                Err(error) => {
                    let cause: &dyn std::error::Error = &error;
                    tracing::error!(cause, "the bytes of a link that has ended are still there; it is tried again");
                }
            }
        }
        if gone.is_empty() {
            return Ok(0);
        }
        inner.links.bury(gone.clone(), inner.clock.now()).await?;
        for id in &gone {
            inner.cache.forget(id);
        }
        Ok(gone.len())
    }

    /// Those whose end was cut short: a crash, or bytes that could not be deleted.
    async fn sweep_doomed(&self, swept: &mut Swept) -> Result<(), Error> {
        let before = self.inner.clock.now();
        loop {
            let begun = Instant::now();
            let doomed = self.inner.links.doomed(before, BATCH).await?;
            if self.bury_all(doomed, swept).await? == 0 {
                return Ok(());
            }
            pause(begun).await;
        }
    }

    async fn sweep_abandoned(&self, swept: &mut Swept) -> Result<(), Error> {
        for pending in self.inner.links.pending().await? {
            let abandoned = match pending.writer {
                Writer::This => self.is_given_up(&pending.id).await?,
                Writer::Alive => false,
                Writer::Dead => true,
            };
            if abandoned {
                swept.bytes += self.inner.abandon(&pending.id, &pending.blob).await?;
                swept.abandoned += 1;
            }
        }
        Ok(())
    }

    /// Whether an upload of this process has ended without becoming a link. The row is read after it is known not to be
    /// running any more: only then does it say what became of it.
    async fn is_given_up(&self, id: &LinkId) -> Result<bool, Error> {
        if self.inner.with_running(|running| running.contains(id)) {
            return Ok(false);
        }
        Ok(self.inner.links.find(id).await?.is_some_and(|row| row.phase == Phase::Pending))
    }

    /// A file has its row before it has its first byte, so one without a row is nobody's.
    async fn sweep_orphans(&self, swept: &mut Swept) -> Result<(), Error> {
        for folder in self.inner.blobs.folders().await? {
            let found = self.inner.blobs.within(&folder).await?;
            for files in found.chunks(BATCH as usize) {
                let names: Vec<String> = files.iter().filter_map(|file| file.blob.clone()).collect();
                let known = self.inner.links.known_blobs(names).await?;
                for file in files.iter().filter(|file| file.blob.as_ref().is_none_or(|blob| !known.contains(blob))) {
                    let freed = self.inner.blobs.remove_stray(file).await?;
                    self.inner.budget.release(freed);
                    swept.orphans += 1;
                    swept.bytes += freed;
                }
            }
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    async fn sweep_memories(&self, swept: &mut Swept) -> Result<(), Error> {
        let before = self.forgotten_before(self.inner.clock.now().before(REMEMBERED)).await?;
        loop {
            let begun = Instant::now();
            let forgotten = self.inner.links.forget(before, BATCH).await?;
            swept.forgotten += forgotten;
            if forgotten < u64::from(BATCH) {
                return Ok(());
            }
            pause(begun).await;
        }
    }
}
