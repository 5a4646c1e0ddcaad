//! Bytes: what every place behind the store must do. A name is never used twice, and what it names never changes.

use std::collections::HashSet;
use std::io;
use std::path::PathBuf;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;

use super::{Error, Span};
use crate::identity::Sha256;

pub(super) mod disk;

/// Bytes moved at a time, in either direction.
pub(super) const PIECE: usize = 256 * 1024;

/// A file found under `files/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) path: PathBuf,
    /// The name it would be asked for by; `None` if it cannot be one of ours.
    pub(super) blob: Option<String>,
}

/// A place for bytes.
pub(super) trait Blobs: Send + Sync {
    /// Begins to write under a name. Nothing is there under that name until it is finished, and nothing at all until
    /// `reserved`; when that fails, so does the writing.
    fn create(&self, name: &str, reserved: Reserved) -> BoxFuture<'_, Result<Box<dyn Write>, Error>>;

    /// Makes what these names will need, so that [`Blobs::create`] need not; without it nothing fails.
    fn prepare(&self, names: Vec<String>) -> BoxFuture<'_, Result<(), Error>>;

    /// Reads a span of `size` bytes; an error if there are not exactly `size`.
    fn open(
        &self,
        name: &str,
        size: u64,
        span: Span,
    ) -> BoxFuture<'_, Result<BoxStream<'static, io::Result<Bytes>>, Error>>;

    /// Deletes what there is under a name, finished or not; answers how many bytes that were. None is no error.
    fn remove(&self, name: &str) -> BoxFuture<'_, Result<u64, Error>>;

    /// Deletes what there is under each of these names; one answer for each. Unlike [`Blobs::remove`] it does not wait
    /// until that is durable: what comes back after a power failure has no row, and a later sweep takes it away.
    fn remove_many(&self, names: Vec<String>) -> BoxFuture<'_, Vec<Result<u64, Error>>>;

    /// Bytes of all files, less those of the names in `skip`.
    fn total(&self, skip: HashSet<String>) -> BoxFuture<'_, Result<u64, Error>>;

    /// The folders files can be in.
    fn folders(&self) -> BoxFuture<'_, Result<Vec<PathBuf>, Error>>;

    /// The files directly in a folder.
    fn within(&self, folder: &std::path::Path) -> BoxFuture<'_, Result<Vec<Found>, Error>>;

    /// Deletes a file nothing refers to; answers how many bytes that were.
    fn remove_stray(&self, file: &Found) -> BoxFuture<'_, Result<u64, Error>>;

    /// Whether a file can be written.
    fn probe(&self) -> BoxFuture<'_, Result<(), Error>>;
}

/// Done when a row says that there may be a file.
pub(super) type Reserved = BoxFuture<'static, Result<(), Error>>;

/// What follows when the bytes of this digest are durable; it must not wait in the call itself.
pub(super) type Then = Box<dyn FnOnce(Sha256) -> BoxFuture<'static, Result<(), Error>> + Send>;

/// Bytes on their way to a name.
pub(super) trait Write: Send + Sync {
    /// Takes the next bytes.
    fn write(&mut self, bytes: Bytes) -> BoxFuture<'_, Result<(), Error>>;

    /// Makes them durable under their name; then, on the thread that waited for that, so that nobody has to be told
    /// before it goes on, begins what follows. Answers their digest when that is done, too.
    fn finish(self: Box<Self>, then: Then) -> BoxFuture<'static, Result<Sha256, Error>>;

    /// Waits for what is being written, and writes no more.
    fn abort(self: Box<Self>) -> BoxFuture<'static, ()>;
}
