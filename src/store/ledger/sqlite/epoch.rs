//! The trust epoch: a number in the database, and a file beside it that tells other processes of it at once.

use std::fs::File;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use rusqlite::Connection;

use crate::store::Error;

/// Eight bytes that can be read in a fraction of a microsecond, on every request.
///
/// Two processes that change trust at once may write their numbers in either order. That does no harm: whoever reads
/// asks only whether the number is another one than before, and both changes were durable before either was written.
pub(super) struct Epoch {
    file: File,
}

impl Epoch {
    pub(super) fn open(folder: &Path, connection: &Connection) -> Result<Self, Error> {
        let path = folder.join("trust-epoch");
        let file =
            std::fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        let epoch = Self { file: file.map_err(|source| Error::io("open", &path, source))? };
        // After a crash between commit and here the file may lag behind.
        epoch.tell(durable(connection)?)?;
        Ok(epoch)
    }

    pub(super) fn current(&self) -> u64 {
        let mut bytes = [0; 8];
        match self.file.read_exact_at(&mut bytes, 0) {
            Ok(()) => u64::from_le_bytes(bytes),
            // Unreadable is as good as changed: whoever asks goes to the database, every time.
            Err(_) => never_before(),
        }
    }

    pub(super) fn tell(&self, epoch: u64) -> Result<(), Error> {
        self.file.write_all_at(&epoch.to_le_bytes(), 0).map_err(|source| Error::io("write", "trust-epoch", source))
    }
}

/// A number that was never answered before.
fn never_before() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEVER_BEFORE: AtomicU64 = AtomicU64::new(u64::MAX);
    NEVER_BEFORE.fetch_sub(1, Ordering::Relaxed)
}

/// Raises the durable number, within the transaction that changes trust.
pub(super) fn raise(connection: &Connection) -> Result<u64, Error> {
    let sql = "UPDATE kept SET value = CAST(value AS INTEGER) + 1 WHERE name = 'trust_epoch' RETURNING CAST(value AS INTEGER)";
    let raised: i64 = connection.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
    Ok(raised.unsigned_abs())
}

pub(super) fn durable(connection: &Connection) -> Result<u64, Error> {
    let sql = "SELECT CAST(value AS INTEGER) FROM kept WHERE name = 'trust_epoch'";
    let number: i64 = connection.query_row(sql, [], |row| row.get(0))?;
    Ok(number.unsigned_abs())
}
