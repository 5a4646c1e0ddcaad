//! Rows: what every database behind the store must do.
//!
//! A method that changes something has made it durable when its future is ready. Absence is `Ok(None)`, failure `Err`.

use std::collections::HashSet;

use futures_util::future::BoxFuture;

use super::{Error, Filter, Paging};
use crate::identity::{Owner, Sha256};
use crate::link::{Change, Kind, Link, LinkId};
use crate::units::Timestamp;

pub(super) mod sqlite;

/// How far a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Reserved; its bytes are coming.
    Pending,
    /// Its bytes are whole and on disk.
    Ready,
    /// Ended; its bytes are to be deleted.
    Doomed,
    /// Ended, and its bytes are gone.
    Buried,
}

/// A link's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// The link; of a pending row only its id and the name of its bytes are sure.
    pub(super) link: Link,
    pub(super) phase: Phase,
    /// When it ended, for a doomed or buried row.
    pub(super) ended_at: Option<Timestamp>,
}

/// What a row is made of for bytes that come, or are still to come.
#[derive(Clone, Debug)]
pub(super) struct Reservation {
    pub(super) id: LinkId,
    pub(super) kind: Kind,
    pub(super) owner: Owner,
    pub(super) blob: String,
    pub(super) now: Timestamp,
}

/// New bytes for a link, written under a reservation of their own.
#[derive(Clone, Debug)]
pub(super) struct Replacement {
    /// The link.
    pub(super) id: LinkId,
    /// The pending row under which the bytes came; what becomes of it is the doomed row of the old bytes.
    pub(super) pending: LinkId,
    pub(super) blob: String,
    pub(super) mime: String,
    pub(super) size: u64,
    pub(super) sha256: Sha256,
}

/// A row whose bytes must go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Doomed {
    pub(super) id: LinkId,
    pub(super) kind: Kind,
    pub(super) blob: String,
}

/// A row whose bytes are coming, or will never come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pending {
    pub(super) id: LinkId,
    pub(super) blob: String,
    pub(super) writer: Writer,
}

/// Who reserved a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Writer {
    /// This process.
    This,
    /// Another one that still runs.
    Alive,
    /// One that runs no more.
    Dead,
}

/// Which links a list is of.
#[derive(Clone, Debug)]
pub(super) struct Query {
    pub(super) owner: Option<Owner>,
    /// One more than its limit is answered, if there are so many.
    pub(super) paging: Paging,
    pub(super) now: Timestamp,
}

/// Live links and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) links: u64,
    pub(super) bytes: u64,
}

/// Tokens that work once.
pub(super) trait Spent: Send + Sync {
    /// Uses up a token that would work until `expires`; false if it was used before, by whichever process.
    ///
    /// At most `most` are remembered. When there are more, those that expire first are forgotten, and from then on
    /// every token that expires no later than one of them counts as used: none ever works twice.
    fn spend(&self, token: Sha256, expires: Timestamp, most: u32, now: Timestamp)
    -> BoxFuture<'_, Result<bool, Error>>;
}

/// The rows of links.
pub(super) trait Links: Send + Sync {
    /// Makes pending rows, all or none; they are on their way when this returns. They may be lost with the power until the
    /// next write that is not: then they have a file at most, which nobody knows.
    fn reserve(&self, rows: Vec<Reservation>) -> BoxFuture<'static, Result<(), Error>>;

    /// Pending → ready, as the link says; it is on its way when this returns. Whose it is says the link only of a row that
    /// was reserved as nobody's: those of others may have become someone else's meanwhile. An error if the row is not
    /// pending any more.
    fn seal(&self, link: &Link) -> BoxFuture<'static, Result<(), Error>>;

    /// Makes a ready row of a link without bytes; false if there is a row with its id.
    fn insert(&self, link: &Link) -> BoxFuture<'_, Result<bool, Error>>;

    /// Gives a row that is ready, does not burn and is not over at `now` other bytes, all at once with dooming the old
    /// ones; `None`, and no change, if there is no such row.
    fn replace(&self, with: Replacement, now: Timestamp) -> BoxFuture<'_, Result<Option<(Link, Doomed)>, Error>>;

    /// Notes when links were read, all at once: those that end by idleness end that much later.
    fn touch(&self, readings: Vec<(LinkId, Timestamp)>) -> BoxFuture<'_, Result<(), Error>>;

    /// Deletes a pending row; false, and no change, if the row is not pending. True also if there is none.
    fn release(&self, id: &LinkId) -> BoxFuture<'_, Result<bool, Error>>;

    fn find(&self, id: &LinkId) -> BoxFuture<'_, Result<Option<Row>, Error>>;

    /// Ready → doomed, for exactly one of those who ask.
    fn claim(&self, id: &LinkId, now: Timestamp) -> BoxFuture<'_, Result<bool, Error>>;

    /// Ready or doomed → doomed; what there is to delete, if anything.
    fn doom(&self, id: &LinkId, now: Timestamp) -> BoxFuture<'_, Result<Option<Doomed>, Error>>;

    /// Ready and over at `now` → doomed, oldest first.
    fn doom_overdue(&self, now: Timestamp, limit: u32) -> BoxFuture<'_, Result<Vec<Doomed>, Error>>;

    /// Doomed rows that ended at `before` or earlier, by their ids, from the one after `after` on.
    fn doomed(&self, before: Timestamp, after: Option<LinkId>, limit: u32)
    -> BoxFuture<'_, Result<Vec<Doomed>, Error>>;

    /// Doomed → buried, all of them at once; no error if some are buried already.
    fn bury(&self, ids: Vec<LinkId>, now: Timestamp) -> BoxFuture<'_, Result<(), Error>>;

    /// Deletes buried rows that ended before `before`; answers how many.
    fn forget(&self, before: Timestamp, limit: u32) -> BoxFuture<'_, Result<u64, Error>>;

    /// All pending rows.
    fn pending(&self) -> BoxFuture<'_, Result<Vec<Pending>, Error>>;

    /// Which of these names a row that is not buried refers to.
    fn known_blobs(&self, names: Vec<String>) -> BoxFuture<'_, Result<HashSet<String>, Error>>;

    /// Changes a row that is ready and not over at `now`.
    fn change(&self, id: &LinkId, change: Change, now: Timestamp) -> BoxFuture<'_, Result<Option<Link>, Error>>;

    /// Live links, newest first.
    fn list(&self, query: Query) -> BoxFuture<'_, Result<Vec<Link>, Error>>;

    /// Live links of an owner, or of all, that are as asked for, newest first; and how many there are in all.
    fn search(
        &self,
        owner: Option<Owner>,
        filter: Filter,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<(Vec<Link>, u64), Error>>;

    /// Live links of an owner, or of all; costs the same however many there are. Where very many are over and not doomed yet,
    /// some of those may count as if they lived.
    fn totals(&self, owner: Option<Owner>, now: Timestamp) -> BoxFuture<'_, Result<Totals, Error>>;

    /// Ready rows, those that are over and not yet doomed too, in all and of an owner; costs the same however many there
    /// are. Not those in `but`.
    fn ready(&self, owner: &Owner, but: Vec<LinkId>) -> BoxFuture<'_, Result<(u64, u64), Error>>;

    /// When the newest of those buried rows ended that are more than `most`; `None` if there are no more.
    fn buried_beyond(&self, most: u64) -> BoxFuture<'_, Result<Option<Timestamp>, Error>>;

    /// Changes nothing, the way a change would be made: whether one could be.
    fn writable(&self) -> BoxFuture<'_, Result<(), Error>>;

    /// Housekeeping of the database's own, now and then.
    fn tidy(&self) -> BoxFuture<'_, Result<(), Error>>;

    /// Waits for what is still to be written; afterwards every call is [`Error::Closed`].
    fn close(&self) -> BoxFuture<'_, ()>;
}
