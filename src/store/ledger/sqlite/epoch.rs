//! The trust epoch: a file beside the database that tells every process on the same storage that trust has changed.

use std::fs::File;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use crate::store::Error;
use crate::units;

/// Eight bytes that can be read in a fraction of a microsecond, on every request.
///
/// They are random each time. Whoever reads asks only whether they are the same as before, so it does no harm in which
/// order several processes write them, or that they are written without need; a number that is counted up could be put
/// back by a process that had read it a moment before another one raised it.
pub(super) struct Epoch {
    file: File,
}

impl Epoch {
    pub(super) fn open(folder: &Path) -> Result<Self, Error> {
        let path = folder.join("trust-epoch");
        let file =
            std::fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        let epoch = Self { file: file.map_err(|source| Error::io("open", &path, source))? };
        // A process that crashed between its commit and its word left the others in the dark.
        epoch.tell()?;
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

    /// Trust has changed, or may have. Called after the change is durable.
    pub(super) fn tell(&self) -> Result<(), Error> {
        let bytes = units::random::<8>()?;
        self.file.write_all_at(&bytes, 0).map_err(|source| Error::io("write", "trust-epoch", source))
    }
}

/// A number that was never answered before.
fn never_before() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEVER_BEFORE: AtomicU64 = AtomicU64::new(u64::MAX);
    NEVER_BEFORE.fetch_sub(1, Ordering::Relaxed)
}
