//! Bytes up and down: streamed, resumed, checked, and in place whole or not at all.

mod archive;
pub mod fetch;
pub mod headers;
pub mod part;
pub mod reference;
pub mod upload;

/// Bytes read, hashed and sent at once.
pub(super) const CHUNK: usize = 256 * 1024;

/// Who is told how far a transfer is.
pub trait Progress: Send + Sync {
    /// It begins, with so many of its bytes done already.
    fn begin(&self, total: Option<u64>, done: u64);
    /// So many more are done.
    fn advance(&self, bytes: u64);
    /// It was interrupted and goes on after a pause.
    fn retry(&self, why: &str);
    /// It is over; what comes next is something else.
    fn finish(&self) {}
}

/// Nobody is told.
#[derive(Clone, Copy, Debug)]
pub struct Silent;

impl Progress for Silent {
    fn begin(&self, _: Option<u64>, _: u64) {}
    fn advance(&self, _: u64) {}
    fn retry(&self, _: &str) {}
}
