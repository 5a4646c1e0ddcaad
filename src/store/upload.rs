//! Bytes on their way in.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::ready;
use tokio::sync::oneshot;
use tracing::Instrument as _;

use super::ahead::Place;
use super::blobs::Write;
use super::{Adopted, Error, Inner, Life, ledger};
use crate::identity::{Owner, Sha256};
use crate::link::{Draft, Link, LinkId};

/// An upload on its way in. Dropped unfinished, it leaves nothing.
pub struct Upload {
    inner: Arc<Inner>,
    draft: Draft,
    link: LinkId,
    /// The link whose bytes these will be, if it is there already; then `link` is the name of the reservation only.
    replaces: Option<LinkId>,
    /// Its lifetime, where that has begun elsewhere.
    life: Option<Life>,
    owner: Owner,
    blob: String,
    writer: Option<Box<dyn Write>>,
    declared: Option<u64>,
    came: u64,
    reserved: u64,
    /// Asked once the bytes are whole.
    wanted: Option<Wanted>,
    /// Whether its row may have become a link.
    sealing: Arc<AtomicBool>,
}

/// Whether content with this digest is wanted.
type Wanted = Box<dyn FnOnce(Sha256) -> bool + Send + Sync>;

fn check(wanted: Option<Wanted>, sha256: Sha256) -> Result<(), Error> {
    if wanted.is_none_or(|wanted| wanted(sha256)) { Ok(()) } else { Err(Error::Unwanted) }
}

/// Room is reserved in steps of this many bytes when the length is not known.
const STEP: u64 = 1024 * 1024;

/// Bytes an upload may have.
fn limit(inner: &Inner, draft: &Draft) -> u64 {
    draft.most.unwrap_or(u64::MAX).min(inner.max_file_size)
}

impl Upload {
    pub(super) async fn begin(
        inner: Arc<Inner>,
        owner: Owner,
        draft: Draft,
        declared: Option<u64>,
        replaces: Option<LinkId>,
    ) -> Result<Self, Error> {
        Self::reserve(inner, owner, None, draft, declared, replaces, None).await
    }

    pub(super) async fn adopt(inner: Arc<Inner>, adopted: Adopted, declared: Option<u64>) -> Result<Self, Error> {
        let Adopted { id, owner, draft, life } = adopted;
        Self::reserve(inner, owner, Some(id), draft, declared, None, Some(life)).await
    }

    async fn reserve(
        inner: Arc<Inner>,
        owner: Owner,
        link: Option<LinkId>,
        draft: Draft,
        declared: Option<u64>,
        replaces: Option<LinkId>,
        life: Option<Life>,
    ) -> Result<Self, Error> {
        let limit = limit(&inner, &draft);
        let reserved = declared.unwrap_or(0);
        if reserved > limit {
            return Err(Error::TooLarge { limit });
        }
        inner.budget.reserve(reserved)?;
        let place = inner.place(&owner, link).inspect_err(|_| inner.budget.cancel(reserved))?;
        inner.budget.begun();
        // From here on dropping it cleans up.
        let (writer, wanted) = (None, None);
        let mut upload = Self {
            inner,
            draft,
            link: place.id.clone(),
            replaces,
            life,
            owner,
            blob: place.blob.clone(),
            writer,
            declared,
            came: 0,
            reserved,
            wanted,
            sealing: Arc::default(),
        };
        if upload.replaces.is_none()
            && let Err(error) = upload.inner.one_more(&upload.owner).await
        {
            upload.leave(place);
            return Err(error);
        }
        // Waited for only by who makes the file: meanwhile the bytes come.
        let row = match place.is_reserved {
            true => ready(Ok(())).boxed(),
            false => upload.inner.links.reserve(vec![upload.row()]),
        };
        upload.writer = Some(upload.inner.blobs.create(&upload.blob, row).await?);
        Ok(upload)
    }

    fn row(&self) -> ledger::Reservation {
        ledger::Reservation {
            id: self.link.clone(),
            kind: self.draft.kind,
            owner: self.owner.clone(),
            blob: self.blob.clone(),
            now: self.inner.clock.now(),
        }
    }

    /// Ends it before anything was done under its place, which is the next one's, if it is reserved.
    fn leave(mut self, place: Place) {
        if self.inner.give_back(place) {
            self.inner.budget.cancel(self.reserved);
            // Nothing is left to clean up.
            self.blob.clear();
        }
    }

    /// The id of the link it will be.
    pub fn id(&self) -> &LinkId {
        self.replaces.as_ref().unwrap_or(&self.link)
    }

    /// What it was begun with.
    pub fn draft(&self) -> &Draft {
        &self.draft
    }

    /// Another name, lifetime or burning than it was begun with: a form may say so after its file.
    pub fn revise(&mut self, draft: Draft) {
        self.draft = draft;
    }

    /// It becomes a link only if `wanted` says so of its digest; else it ends as [`Error::Unwanted`].
    pub fn only_if(&mut self, wanted: impl FnOnce(Sha256) -> bool + Send + Sync + 'static) {
        self.wanted = Some(Box::new(wanted));
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::Full`], [`Error::Length`] as soon as the bytes are too many; [`Error::NoSpace`]
    /// when the disk is full. The upload is of no use after an error.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), Error> {
        let came = self.came.saturating_add(bytes.len() as u64);
        if let Some(declared) = self.declared.filter(|declared| came > *declared) {
            return Err(Error::Length { declared, came });
        }
        let limit = limit(&self.inner, &self.draft);
        if came > limit {
            return Err(Error::TooLarge { limit });
        }
        if came > self.reserved {
            self.reserve_up_to(came, limit)?;
        }
        self.came = came;
        match &mut self.writer {
            Some(writer) => writer.write(bytes).await,
            None => Err(Error::Closed),
        }
    }

    /// In steps, so that small pieces do not each ask; near the end of the room exactly.
    fn reserve_up_to(&mut self, came: u64, limit: u64) -> Result<(), Error> {
        let exact = came - self.reserved;
        let step = exact.max(STEP).min(limit - self.reserved);
        let taken = match self.inner.budget.reserve(step) {
            Ok(()) => step,
            Err(_) => {
                self.inner.budget.reserve(exact)?;
                exact
            }
        };
        self.reserved += taken;
        Ok(())
    }

    /// Makes bytes, then row, last; only then is there a link. Its lifetime begins now.
    ///
    /// # Errors
    /// [`Error::Length`] when fewer bytes came than were announced; then, as after any error, nothing is left. Neither
    /// is when the caller goes away before it has its answer.
    pub async fn finish(self) -> Result<Link, Error> {
        let (inner, cleaning) = (Arc::clone(&self.inner), self.inner.cleaning.clone());
        let (answer, answered) = oneshot::channel();
        let replaces = self.replaces.is_some();
        let sealing = async move {
            let Err(Ok(unwanted)) = answer.send(self.seal().await) else { return };
            // Other bytes for a link that was there before are there to stay.
            if replaces {
                return;
            }
            if let Err(error) = inner.end(&unwanted.id).await {
                tracing::warn!(%error, "an upload nobody waits for any more is still there");
            }
        };
        cleaning.spawn(sealing.in_current_span());
        answered.await.map_err(|_| Error::Closed)?
    }

    async fn seal(mut self) -> Result<Link, Error> {
        if let Some(declared) = self.declared.filter(|declared| *declared != self.came) {
            return Err(Error::Length { declared, came: self.came });
        }
        let Some(writer) = self.writer.take() else { return Err(Error::Closed) };
        if let Some(id) = self.replaces.clone() {
            return self.replace(id, writer).await;
        }
        let now = self.inner.clock.now();
        let life = self.life.unwrap_or_else(|| Life {
            created_at: now,
            expires_at: self.draft.ttl.from(now),
            idle: self.draft.idle_time(),
            accessed_at: None,
        });
        let mut link = Link {
            id: self.link.clone(),
            kind: self.draft.kind,
            owner: self.owner.clone(),
            name: self.draft.name.clone(),
            mime: self.draft.mime.clone(),
            size: self.came,
            // Known when all of it is written.
            sha256: Sha256([0; 32]),
            blob: self.blob.clone(),
            created_at: life.created_at,
            expires_at: life.expires_at,
            burn: self.draft.burn,
            idle: life.idle,
            accessed_at: life.accessed_at,
            password: self.draft.password.clone(),
            target: None,
        };
        let (links, wanted, whole) = (Arc::clone(&self.inner.links), self.wanted.take(), link.clone());
        let sealing = Arc::clone(&self.sealing);
        let seal = move |sha256| {
            let checked = check(wanted, sha256);
            if checked.is_err() {
                return ready(checked).boxed();
            }
            sealing.store(true, Ordering::Release);
            links.seal(&Link { sha256, ..whole })
        };
        link.sha256 = writer.finish(Box::new(seal)).await?;
        self.sealed();
        Ok(link)
    }

    /// Its bytes are a link's from here on, and nothing is left to clean up.
    fn sealed(&mut self) {
        self.inner.cache.forget(self.id());
        self.inner.budget.settle(self.reserved, self.came);
        self.inner.with_running(|running| running.remove(&self.link));
        self.blob.clear();
    }

    /// The new bytes for the old ones, in one step; who reads the old ones reads on.
    async fn replace(mut self, id: LinkId, writer: Box<dyn Write>) -> Result<Link, Error> {
        let wanted = self.wanted.take();
        let sha256 = writer.finish(Box::new(|sha256| ready(check(wanted, sha256)).boxed())).await?;
        // Meanwhile the link may have come to its end.
        let now = self.inner.clock.now();
        let with = ledger::Replacement {
            id,
            pending: self.link.clone(),
            blob: self.blob.clone(),
            mime: self.draft.mime.clone(),
            size: self.came,
            sha256,
        };
        self.sealing.store(true, Ordering::Release);
        let Some((link, old)) = self.inner.links.replace(with, now).await? else { return Err(Error::Ended) };
        self.sealed();
        if let Err(error) = self.inner.bury(old).await {
            tracing::warn!(%error, "replaced content is still there; the sweeper tries again");
        }
        Ok(link)
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if self.blob.is_empty() {
            return;
        }
        let (inner, id, blob) = (Arc::clone(&self.inner), self.link.clone(), std::mem::take(&mut self.blob));
        let (reserved, came, sealing, writer) =
            (self.reserved, self.came, Arc::clone(&self.sealing), self.writer.take());
        let clean = async move {
            if let Some(writer) = writer {
                writer.abort().await;
            }
            let cleaned = match sealing.load(Ordering::Acquire) {
                true => inner.abandon_unless_sealed(&id, &blob).await,
                false => inner.abandon(&id, &blob).await.map(Some),
            };
            match cleaned {
                Ok(None) => inner.budget.settle(reserved, came),
                // Only after the bytes are gone is the room free again; what could not be deleted the sweeper counts.
                Ok(Some(_)) | Err(_) => inner.budget.cancel(reserved),
            }
            inner.with_running(|running| running.remove(&id));
            if let Err(error) = cleaned {
                tracing::warn!(%error, "an unfinished upload is still there; the sweeper tries again");
            }
        };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            self.inner.cleaning.spawn_on(clean, &runtime);
        }
    }
}
