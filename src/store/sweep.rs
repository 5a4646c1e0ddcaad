//! Reclaims what is over, in small batches, so that no request waits.

use std::time::{Duration, Instant};

use super::ledger::{Doomed, Phase, Writer};
use super::{Error, REMEMBERED, Store};
use crate::link::{Kind, LinkId};

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Links whose time was over.
    pub expired: u64,
    /// Pastes among them.
    pub pastes: u64,
    /// Short URLs among them.
    pub urls: u64,
    /// Uploads that were never finished and had left bytes.
    pub abandoned: u64,
    /// Files under `files/` nothing referred to.
    pub orphans: u64,
    /// Bytes given back.
    pub bytes: u64,
    /// Memories of ended links that were let go.
    pub forgotten: u64,
}

/// How much is done at a time: as many rows or files as take a few milliseconds on this disk, for which whoever wants to
/// write has to wait; then nothing for as long as that took, when the disk and the database are there for everyone else.
struct Pace {
    batch: u32,
    begun: Instant,
}

impl Pace {
    const FIRST: u32 = 32;
    /// Fewer take as long: what is waited for is the disk, once for all of them.
    const FEWEST: u32 = 16;
    const MOST: u32 = 64;
    /// A batch that took less could have been larger, and one that took more than twice as long smaller.
    const AIM: Duration = Duration::from_millis(8);
    const LONGEST_PAUSE: Duration = Duration::from_millis(50);

    fn new() -> Self {
        Self { batch: Self::FIRST, begun: Instant::now() }
    }

    /// How many are to be done next; from now on it counts how long they take.
    fn begin(&mut self) -> u32 {
        self.begun = Instant::now();
        self.batch
    }

    async fn pause(&mut self) {
        let took = self.begun.elapsed();
        self.batch = Self::after(self.batch, took);
        tokio::time::sleep(took.min(Self::LONGEST_PAUSE)).await;
    }

    fn after(batch: u32, took: Duration) -> u32 {
        if took < Self::AIM {
            (batch * 2).min(Self::MOST)
        } else if took > Self::AIM * 2 {
            (batch / 2).max(Self::FEWEST)
        } else {
            batch
        }
    }
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

    /// Only says that they are over, which is quick: their rows are then out of the way of lists and totals, however long
    /// their bytes take.
    async fn sweep_overdue(&self, swept: &mut Swept) -> Result<(), Error> {
        let mut pace = Pace::new();
        loop {
            let overdue = self.inner.links.doom_overdue(self.inner.clock.now(), pace.begin()).await?;
            if overdue.is_empty() {
                return Ok(());
            }
            for doomed in &overdue {
                self.inner.cache.forget(&doomed.id);
                swept.expired += 1;
                match doomed.kind {
                    Kind::File => {}
                    Kind::Paste => swept.pastes += 1,
                    Kind::Url => swept.urls += 1,
                }
            }
            pace.pause().await;
        }
    }

    /// One that cannot be deleted does not keep the others.
    ///
    /// A batch is one trip to the disk and one transaction: each by itself would wait for the disk twice per link.
    async fn bury_all(&self, doomed: Vec<Doomed>, swept: &mut Swept) -> Result<(), Error> {
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
            return Ok(());
        }
        inner.links.bury(gone.clone(), inner.clock.now()).await?;
        for id in &gone {
            inner.cache.forget(id);
        }
        Ok(())
    }

    /// The bytes of all that are over: also of those whose end was cut short by a crash, or that could not be deleted.
    async fn sweep_doomed(&self, swept: &mut Swept) -> Result<(), Error> {
        let before = self.inner.clock.now();
        let (mut pace, mut last) = (Pace::new(), None);
        loop {
            let doomed = self.inner.links.doomed(before, last.take(), pace.begin()).await?;
            // Those that cannot be deleted stay, and are not asked for again.
            last = doomed.last().map(|doomed| doomed.id.clone());
            if last.is_none() {
                return Ok(());
            }
            self.bury_all(doomed, swept).await?;
            pace.pause().await;
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
                let freed = self.inner.abandon(&pending.id, &pending.blob).await?;
                swept.bytes += freed;
                // Rows are reserved ahead, too.
                swept.abandoned += u64::from(freed > 0);
            }
        }
        Ok(())
    }

    /// Whether an upload of this process has ended without becoming a link. The row is read after it is known not to be
    /// running any more: only then does it say what became of it.
    async fn is_given_up(&self, id: &LinkId) -> Result<bool, Error> {
        if self.inner.is_in_use(id) {
            return Ok(false);
        }
        Ok(self.inner.links.find(id).await?.is_some_and(|row| row.phase == Phase::Pending))
    }

    /// A file has its row before it has its first byte, so one without a row is nobody's.
    async fn sweep_orphans(&self, swept: &mut Swept) -> Result<(), Error> {
        let mut pace = Pace::new();
        for folder in self.inner.blobs.folders().await? {
            let mut found = self.inner.blobs.within(&folder).await?;
            while !found.is_empty() {
                let rest = found.split_off(found.len().min(pace.begin() as usize));
                let (files, before) = (std::mem::replace(&mut found, rest), swept.orphans);
                let names: Vec<String> = files.iter().filter_map(|file| file.blob.clone()).collect();
                let known = self.inner.links.known_blobs(names).await?;
                for file in files.iter().filter(|file| file.blob.as_ref().is_none_or(|blob| !known.contains(blob))) {
                    let freed = self.inner.blobs.remove_stray(file).await?;
                    self.inner.budget.release(freed);
                    swept.orphans += 1;
                    swept.bytes += freed;
                }
                if swept.orphans > before {
                    pace.pause().await;
                }
            }
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    async fn sweep_memories(&self, swept: &mut Swept) -> Result<(), Error> {
        let before = self.forgotten_before(self.inner.clock.now().before(REMEMBERED)).await?;
        let mut pace = Pace::new();
        loop {
            let wanted = pace.begin();
            let forgotten = self.inner.links.forget(before, wanted).await?;
            swept.forgotten += forgotten;
            if forgotten < u64::from(wanted) {
                return Ok(());
            }
            pace.pause().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_becomes_what_the_disk_can_do_in_a_few_milliseconds() {
        let after = |batch, millis| Pace::after(batch, Duration::from_millis(millis));
        assert_eq!(after(Pace::FIRST, 1), Pace::FIRST * 2);
        assert_eq!(after(Pace::FIRST, 10), Pace::FIRST);
        assert_eq!(after(Pace::FIRST, 30), Pace::FIRST / 2);
        assert_eq!((after(Pace::MOST, 0), after(Pace::FEWEST, 1000)), (Pace::MOST, Pace::FEWEST));
    }
}
