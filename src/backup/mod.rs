//! A whole storage folder in one file, taken while the server runs, and the way back.
//!
//! The file is a plain `tar` archive. It begins with [`HEAD`], which says what it is, and ends with [`END`], which has the
//! digest of everything before it: a file that was cut off or altered is not restored. Between them are the
//! authority's files, the bytes of every link and, last, the rows that name them. Anyone who can read the file has the
//! keys of the CA.

use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::units::Timestamp;
use crate::{authority, store};

mod read;
mod write;

pub use read::{Restored, read};
pub use write::{Made, write};

/// The first entry: what this is, and how it is laid out.
const HEAD: &str = "ddrop-backup.json";
/// The last entry: what everything before it must be.
const END: &str = "ddrop-backup.end";
/// The entry with the rows.
const ROWS: &str = "links.db";
/// How the file is laid out.
const FORMAT: u32 = 1;
/// Bytes in a block of an archive.
const BLOCK: usize = 512;
/// Bytes moved at a time.
const PIECE: usize = 256 * 1024;

#[derive(Serialize, Deserialize)]
struct Head {
    format: u32,
    version: String,
    made_at: Timestamp,
}

#[derive(Serialize, Deserialize)]
struct End {
    sha256: String,
}

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The archive cannot be written.
    #[error("cannot write the backup")]
    Write(#[source] io::Error),
    /// The archive cannot be read.
    #[error("cannot read the backup")]
    Read(#[source] io::Error),
    /// A file or folder cannot be used.
    #[error("cannot {deed} {}", path.display())]
    Storage {
        /// What was attempted.
        deed: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The storage folder is not one.
    #[error("{} is not the storage folder of a server: it needs links.db and pki/ in it", .0.display())]
    NoStorage(PathBuf),
    /// Bytes of a link are not what its row says.
    #[error(
        "the storage is damaged: the bytes of link {0} are not what its row says. End it with 'ddrop expire {0}' and \
         make the backup again; one from before may have it whole"
    )]
    Content(String),
    /// A link changes faster than it can be read.
    #[error("link {0} changed again and again while its bytes were to be read; make the backup again")]
    Restless(String),
    /// Not a backup at all.
    #[error(
        "this is not a backup that 'ddrop backup' made (one that was compressed or encrypted has to be unpacked first)"
    )]
    NotABackup,
    /// A backup of a later version.
    #[error("this backup has format {0}, and this program knows formats up to {FORMAT}: use the ddrop that made it")]
    Newer(u32),
    /// It ends too early.
    #[error("the backup is cut off: it ends before its last entry")]
    CutOff,
    /// It is not as it was written.
    #[error("the backup is damaged: {0}")]
    Damaged(String),
    /// There is something where it would be restored to.
    #[error(
        "{} is not empty: restore into a new folder, or say --force to move what is there aside first", .0.display()
    )]
    NotEmpty(PathBuf),
    /// A server, or another command, has the folder open.
    #[error("a server or another ddrop has {} open: stop it first", .0.display())]
    InUse(PathBuf),
    /// The rows or the bytes.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The authority's files.
    #[error(transparent)]
    Authority(#[from] authority::Error),
}

impl Error {
    fn storage(deed: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::Storage { deed, path: path.into(), source }
    }
}
