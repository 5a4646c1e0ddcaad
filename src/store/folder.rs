//! The storage folder as files, for those who copy it or look after it.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use ring::digest::{Context, SHA256};

use super::{Error, blobs, ledger};
use crate::identity::Sha256;

pub use ledger::sqlite::snapshot::{Facts, Kept, Snapshot};

/// Where the bytes of this name are, below the storage folder.
///
/// # Errors
/// When it is not a name of ours.
pub fn place(blob: &str) -> Result<PathBuf, Error> {
    Ok(Path::new("files").join(blobs::disk::place(blob)?))
}

/// How many bytes a file has, and their digest.
///
/// # Errors
/// When it cannot be read.
pub fn digest(path: &Path) -> io::Result<(u64, Sha256)> {
    let mut file = File::open(path)?;
    let mut digest = Context::new(&SHA256);
    let mut piece = vec![0; blobs::PIECE];
    let mut size: u64 = 0;
    loop {
        let read = file.read(&mut piece)?;
        if read == 0 {
            break;
        }
        digest.update(piece.get(..read).unwrap_or_default());
        size = size.saturating_add(read as u64);
    }
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest.finish().as_ref());
    Ok((size, Sha256(bytes)))
}

/// Whether a process has this storage folder open.
///
/// # Errors
/// When the folder cannot be read.
pub fn is_in_use(storage: &Path) -> Result<bool, Error> {
    ledger::sqlite::writers::any_alive(storage)
}
