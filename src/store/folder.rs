//! The storage folder as files, for those who copy it or look after it.

use std::path::{Path, PathBuf};

use super::{Error, blobs, ledger};

pub use ledger::sqlite::snapshot::{Kept, Snapshot};

/// Where the bytes of this name are, below the storage folder.
///
/// # Errors
/// When it is not a name of ours.
pub fn place(blob: &str) -> Result<PathBuf, Error> {
    Ok(Path::new("files").join(blobs::disk::place(blob)?))
}

/// Whether a process has this storage folder open.
///
/// # Errors
/// When the folder cannot be read.
pub fn is_in_use(storage: &Path) -> Result<bool, Error> {
    ledger::sqlite::writers::any_alive(storage)
}
