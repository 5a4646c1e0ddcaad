//! Rows and bytes, and the order of effects between them, which is here and nowhere else.
//!
//! A row goes from *pending* over *ready* and *doomed* to *buried*. In: reserve the row, stream the bytes to a name
//! nobody can guess, sync, seal the row. Out: doom the row, delete the bytes, bury the row, which is forgotten after a
//! while. A crash anywhere leaves something the sweeper understands. Expiry is enforced on read; the sweeper only
//! reclaims.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use crate::access::{List, Manage, Permit};
use crate::clock::Clock;
use crate::identity::Owner;
use crate::link::{Change, Link, LinkId};
use crate::units::{self, Timestamp};

mod adopt;
mod ahead;
mod blobs;
mod budget;
mod cache;
mod content;
#[cfg(test)]
mod contract;
mod count;
mod create;
#[cfg(test)]
mod cut_off;
pub mod folder;
mod ledger;
mod number;
mod once;
mod read;
mod search;
mod sweep;
#[cfg(test)]
mod tests;
mod touch;
pub mod trust;
mod upload;

pub use adopt::{Adopted, Life};
pub use content::Content;
pub use count::Stats;
pub(crate) use ledger::sqlite::APPLICATION;
pub use once::Challenges;
pub use search::Filter;
pub use sweep::Swept;
pub use upload::Upload;

use ahead::Ahead;
use blobs::Blobs;
use budget::Budget;
use cache::Cache;
use ledger::{Links, Phase, Row, Spent};
use touch::Touches;

/// How long the end of a link is remembered, to answer that it is gone rather than that it never was.
pub const REMEMBERED: Duration = Duration::from_secs(7 * 24 * 3600);

/// How long a database that is ready takes to say so, at most.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where things are kept and how much of them.
#[derive(Clone, Debug)]
pub struct Config {
    /// The storage folder: `links.db` and `files/` are made in it.
    pub path: PathBuf,
    /// Bytes one link may have.
    pub max_file_size: u64,
    /// Bytes `files/` may have in all.
    pub max_storage: u64,
}

/// Links and their bytes. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    links: Arc<dyn Links>,
    trust: Arc<dyn trust::Trust>,
    spent: Arc<dyn Spent>,
    blobs: Arc<dyn Blobs>,
    cache: Cache,
    touches: Touches,
    budget: Budget,
    /// Uploads of this process that are under way, and whose they are.
    running: Mutex<HashMap<LinkId, Owner>>,
    /// Rows for uploads that are still to come.
    ahead: Ahead,
    /// What cleans up after uploads and readings that were broken off, and what goes on without its caller.
    cleaning: TaskTracker,
    max_file_size: u64,
    most_links: u64,
    /// The same of one owner.
    most_each: AtomicU64,
    clock: Arc<dyn Clock>,
}

impl Inner {
    fn with_running<T>(&self, f: impl FnOnce(&mut HashMap<LinkId, Owner>) -> T) -> T {
        f(&mut self.running.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Does all of it even if the caller goes away, whose future is dropped then: what has been committed is followed
    /// by what belongs to it.
    async fn to_its_end<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        self.cleaning.spawn(work.in_current_span()).await.map_err(|_| Error::Closed)?
    }

    /// Ends a link and deletes its bytes.
    async fn end(&self, id: &LinkId) -> Result<(), Error> {
        let doomed = self.links.doom(id, self.clock.now()).await;
        self.cache.forget(id);
        match doomed? {
            Some(doomed) => self.bury(doomed).await.map(drop),
            None => Ok(()),
        }
    }

    /// Deletes the bytes of a doomed row and buries it. Repeating it does no harm.
    async fn bury(&self, doomed: ledger::Doomed) -> Result<u64, Error> {
        let freed = self.blobs.remove(&doomed.blob).await?;
        self.budget.release(freed);
        self.links.bury(vec![doomed.id.clone()], self.clock.now()).await?;
        self.cache.forget(&doomed.id);
        Ok(freed)
    }

    /// Deletes what a reservation left behind, bytes first: on a full disk no row can be deleted before they are.
    async fn abandon(&self, id: &LinkId, blob: &str) -> Result<u64, Error> {
        let freed = self.blobs.remove(blob).await?;
        self.links.release(id).await?;
        Ok(freed)
    }

    /// The same when it may have been sealed, although whoever sealed it was told that this failed: `None` if it was.
    /// The row goes first, since one that turns out to be sealed must keep its bytes.
    async fn abandon_unless_sealed(&self, id: &LinkId, blob: &str) -> Result<Option<u64>, Error> {
        if !self.links.release(id).await? {
            return Ok(None);
        }
        self.blobs.remove(blob).await.map(Some)
    }
}

/// What is known of an id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// It leads somewhere.
    Live(Box<Link>),
    /// It did, until it expired, was used up or was expired by its owner.
    Gone,
    /// It never was, or that was too long ago.
    Unknown,
}

/// Part of a list, newest first.
#[derive(Clone, Debug)]
pub struct Page {
    /// The links of this page.
    pub links: Vec<Link>,
    /// Where the next page begins; `None` on the last.
    pub next: Option<LinkId>,
}

/// Which part of a list.
#[derive(Clone, Debug)]
pub struct Paging {
    /// At most so many.
    pub limit: u32,
    /// After this one (the last of the page before).
    pub after: Option<LinkId>,
    /// Only those with this in their name, ASCII letters of either case.
    pub search: Option<String>,
}

/// Which bytes of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first byte.
    pub start: u64,
    /// How many.
    pub length: u64,
}

impl Store {
    /// Opens the storage folder, making what is missing. Another process may have it open too.
    ///
    /// # Errors
    /// When the folder cannot be made or written, or its database is not ours or newer than this program.
    pub async fn open(config: Config, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        let path = config.path.clone();
        let opened = tokio::task::spawn_blocking(move || {
            blobs::disk::make_folder(&path)?;
            let ledger = Arc::new(ledger::sqlite::Sqlite::open(&path)?);
            let blobs = Arc::new(blobs::disk::Disk::open(&path.join("files"))?);
            Ok::<_, Error>((ledger, blobs))
        });
        let (ledger, blobs) = opened.await.map_err(|_| Error::Closed)??;
        let budget = Budget::new(config.max_storage);
        let inner = Inner {
            links: ledger.clone(),
            trust: ledger.clone(),
            spent: ledger,
            blobs,
            cache: Cache::new(),
            touches: Touches::default(),
            budget,
            running: Mutex::default(),
            ahead: Ahead::default(),
            cleaning: TaskTracker::new(),
            max_file_size: config.max_file_size,
            most_links: number::most(config.max_storage),
            most_each: AtomicU64::new(u64::MAX),
            clock,
        };
        let store = Self { inner: Arc::new(inner) };
        store.recount().await?;
        Ok(store)
    }

    /// Whether so many bytes could be uploaded now: for a caller who wants to be told before the first one is sent.
    ///
    /// # Errors
    /// [`Error::TooLarge`] or [`Error::Full`].
    pub fn could_take(&self, bytes: u64) -> Result<(), Error> {
        let limit = self.inner.max_file_size;
        if bytes > limit {
            return Err(Error::TooLarge { limit });
        }
        self.inner.budget.check(bytes)
    }

    async fn row(&self, id: &LinkId) -> Result<Option<Arc<Row>>, Error> {
        let inner = &self.inner;
        inner.cache.get_or_read(id, || inner.links.find(id)).await
    }

    /// What is known of an id now.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn find(&self, id: &LinkId) -> Result<Lookup, Error> {
        let Some(row) = self.row(id).await? else { return Ok(Lookup::Unknown) };
        let now = self.inner.clock.now();
        let ended = match row.phase {
            Phase::Pending => return Ok(Lookup::Unknown),
            Phase::Ready => {
                let link = self.inner.touches.apply(row.link.clone());
                if !link.has_expired(now) {
                    return Ok(Lookup::Live(Box::new(link)));
                }
                link.expires_at
            }
            Phase::Doomed | Phase::Buried => row.ended_at,
        };
        let remembered = ended.is_some_and(|ended| now < ended.after(REMEMBERED));
        Ok(if remembered { Lookup::Gone } else { Lookup::Unknown })
    }

    /// A link that is live, or was so little ago that its end is remembered.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn remembered(&self, id: &LinkId) -> Result<Option<Link>, Error> {
        match self.find(id).await? {
            Lookup::Live(link) => Ok(Some(*link)),
            Lookup::Gone => Ok(self.row(id).await?.map(|row| row.link.clone())),
            Lookup::Unknown => Ok(None),
        }
    }

    /// Ends a link: when this returns its bytes are gone. Ending it twice is no error.
    ///
    /// # Errors
    /// When the bytes cannot be deleted now; the link has ended all the same, and the sweeper tries again.
    pub async fn expire(&self, permit: Permit<Manage>) -> Result<Link, Error> {
        let link = permit.into_inner().link;
        let now = self.inner.clock.now();
        let (inner, id) = (Arc::clone(&self.inner), link.id.clone());
        self.inner.to_its_end(async move { inner.end(&id).await }).await?;
        let ended = link.expires_at.map_or(now, |end| end.min(now));
        Ok(Link { expires_at: Some(ended), ..link })
    }

    /// Changes a link; `None` if it ended meanwhile.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn change(&self, permit: Permit<Manage>, change: Change) -> Result<Option<Link>, Error> {
        let id = permit.into_inner().link.id;
        self.settle_touches(&id).await?;
        let inner = Arc::clone(&self.inner);
        let changing = async move {
            let changed = inner.links.change(&id, change, inner.clock.now()).await;
            inner.cache.forget(&id);
            changed
        };
        self.inner.to_its_end(changing).await
    }

    /// A page of links.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn list(&self, permit: &Permit<List>, paging: Paging) -> Result<Page, Error> {
        let now = self.inner.clock.now();
        // One more than asked for tells whether there is a next page.
        let wanted = paging.limit as usize;
        let query = ledger::Query { owner: permit.owner.clone(), paging, now };
        let mut links = self.inner.links.list(query).await?;
        let more = links.len() > wanted;
        links.truncate(wanted);
        let next = if more { links.last().map(|link| link.id.clone()) } else { None };
        Ok(Page { links, next })
    }

    /// Whether rows can be read and written, and bytes written.
    ///
    /// # Errors
    /// What stands in the way.
    pub async fn ready(&self) -> Result<(), Error> {
        let writable = tokio::time::timeout(PATIENCE, self.inner.links.writable());
        writable.await.map_err(|_| Error::NotWritten)??;
        self.inner.trust.value("ready").await?;
        self.inner.blobs.probe().await
    }

    /// How much there is, whoever it belongs to; for those who watch over the server, whom no link is shown.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn sizes(&self) -> Result<Stats, Error> {
        let totals = self.inner.links.totals(None, self.inner.clock.now()).await?;
        let (bytes, capacity) = (self.inner.budget.used(), self.inner.budget.capacity());
        Ok(Stats { links: totals.links, link_bytes: totals.bytes, bytes, capacity })
    }

    /// The rows the authority keeps.
    pub fn trust(&self) -> Arc<dyn trust::Trust> {
        Arc::clone(&self.inner.trust)
    }

    /// Waits for what is still to be written or cleaned up and closes the database; afterwards every call is
    /// [`Error::Closed`].
    pub async fn close(&self) {
        if let Err(error) = self.write_touches().await {
            tracing::warn!(%error, "the last readings of some links are not noted");
        }
        self.inner.cleaning.close();
        self.inner.cleaning.wait().await;
        self.inner.reserve_no_more().await;
        self.inner.links.close().await;
    }
}

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bytes are more than one link may have.
    #[error("more than the {limit} bytes one file may have")]
    TooLarge {
        /// What is allowed.
        limit: u64,
    },
    /// The bytes are more than there is room for.
    #[error("no room: {capacity} bytes may be kept in all")]
    Full {
        /// What is allowed in all.
        capacity: u64,
    },
    /// Whoever makes it has as many links as one may have.
    #[error("{most} links are as many as one may have")]
    TooMany {
        /// What is allowed.
        most: u64,
    },
    /// The disk is full.
    #[error("the disk is full")]
    NoSpace(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Fewer or more bytes came than were announced.
    #[error("{declared} bytes were announced and {came} came")]
    Length {
        /// Announced.
        declared: u64,
        /// Came.
        came: u64,
    },
    /// A file or folder cannot be used.
    #[error("cannot {deed} {path}")]
    Storage {
        /// What was attempted.
        deed: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The database belongs to another program.
    #[error("{path} is not a ddrop database: choose another storage folder with -s, or move that file away")]
    NotOurs {
        /// Which.
        path: PathBuf,
    },
    /// The database was written by a later version of this program.
    #[error(
        "{path} has schema {found}, and this program knows schemas up to {known}: use the newer ddrop that wrote it"
    )]
    Newer {
        /// Which.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// The newest known.
        known: i64,
    },
    /// The database failed.
    #[error("the database failed")]
    Database(#[source] rusqlite::Error),
    /// A row or its bytes are not what they must be.
    #[error("the storage is damaged: {0}")]
    Damaged(String),
    /// An enrolment was refused; told apart only to undo what it wrote.
    #[error("the enrolment was refused")]
    Refused(trust::Enrolled),
    /// The link ended before its new bytes were whole.
    #[error("the link has ended")]
    Ended,
    /// The bytes of the link were replaced since it was looked up.
    #[error("the content was replaced meanwhile")]
    Replaced,
    /// No short id could be found that is free.
    #[error("no free id was found")]
    NoId,
    /// The content turned out not to be wanted.
    #[error("this content is not wanted")]
    Unwanted,
    /// The transaction never began: another process held the database for too long.
    #[error("the database did not take the change")]
    NotWritten,
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
    /// No random bytes.
    #[error(transparent)]
    Random(#[from] units::Error),
}

impl Error {
    /// An input or output error, on what it came from; a full disk is told apart.
    pub(crate) fn io(deed: &'static str, path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        match source.kind() {
            StorageFull | QuotaExceeded => Self::NoSpace(Box::new(source)),
            _ => Self::Storage { deed, path: path.into(), source },
        }
    }
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DiskFull) => Self::NoSpace(Box::new(error)),
            _ => Self::Database(error),
        }
    }
}

/// An instant as it is kept.
fn millis(at: Timestamp) -> i64 {
    at.as_millis()
}
