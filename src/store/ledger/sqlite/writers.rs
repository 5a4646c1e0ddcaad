//! Which processes write to a storage folder: each holds a lock on a file of its own for as long as it lives.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::store::Error;
use crate::store::ledger::Writer;
use crate::units;

pub(super) struct Writers {
    folder: PathBuf,
    /// The name of this process.
    pub(super) own: String,
    /// Locked until it is dropped, or the process ends in whatever way.
    _lock: File,
}

impl Writers {
    pub(super) fn open(storage: &Path) -> Result<Self, Error> {
        let folder = storage.join("writers");
        crate::store::blobs::disk::make_folder(&folder)?;
        let own = hex::encode(units::random::<12>()?);
        let path = folder.join(&own);
        // A file that is there and not locked yet looks like that of a process that is dead.
        let _still = hold_still(&folder)?;
        let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let file = file.map_err(|source| Error::io("make", &path, source))?;
        file.try_lock().map_err(|error| Error::io("lock", &path, error.into()))?;
        Ok(Self { folder, own, _lock: file })
    }

    pub(super) fn of(&self, name: &str) -> Writer {
        if name == self.own {
            return Writer::This;
        }
        match File::open(self.folder.join(name)) {
            Ok(file) if file.try_lock().is_ok() => Writer::Dead,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Writer::Dead,
            // Also one of which that cannot be found out, for want of open files, say.
            Ok(_) | Err(_) => Writer::Alive,
        }
    }

    /// Deletes the files of those that are dead.
    pub(super) fn tidy(&self) -> Result<(), Error> {
        let _still = hold_still(&self.folder)?;
        let entries = std::fs::read_dir(&self.folder).map_err(|source| Error::io("list", &self.folder, source))?;
        for entry in entries.flatten() {
            let name = entry.file_name();
            if name.to_str().is_some_and(|name| self.of(name) == Writer::Dead) {
                // Another sweeper may have been first.
                let _ = std::fs::remove_file(entry.path());
            }
        }
        Ok(())
    }
}

/// Nobody comes or is judged until it is dropped.
fn hold_still(folder: &Path) -> Result<File, Error> {
    let open = File::open(folder).map_err(|source| Error::io("open the folder", folder, source))?;
    open.lock().map_err(|source| Error::io("lock the folder", folder, source))?;
    Ok(open)
}

/// Whether any process, of those that hold their lock, has the folder open.
pub(in crate::store) fn any_alive(storage: &Path) -> Result<bool, Error> {
    let folder = storage.join("writers");
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(source) => return Err(Error::io("list", folder, source)),
    };
    let held = |path: &Path| File::open(path).is_ok_and(|file| file.try_lock().is_err());
    Ok(entries.flatten().any(|entry| held(&entry.path())))
}

impl Drop for Writers {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(self.folder.join(&self.own));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_comes_while_others_tidy_is_not_taken_for_dead() {
        let storage = tempfile::tempdir().expect("a folder");
        let first = Writers::open(storage.path()).expect("opened");
        let others: Vec<Writers> = std::thread::scope(|scope| {
            let coming: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| (0..25).map(|_| Writers::open(storage.path()).expect("opened")).collect()))
                .collect();
            for _ in 0..200 {
                first.tidy().expect("tidied");
            }
            coming.into_iter().flat_map(|coming| -> Vec<Writers> { coming.join().expect("no panic") }).collect()
        });
        assert_eq!(others.len(), 100);
        assert!(others.iter().all(|other| first.of(&other.own) == Writer::Alive));
    }

    #[test]
    fn only_who_is_known_to_be_gone_is_dead() {
        let storage = tempfile::tempdir().expect("a folder");
        let own = Writers::open(storage.path()).expect("opened");
        std::fs::write(own.folder.join("left"), "").expect("written");
        // Cannot be opened by anybody, root included.
        std::os::unix::fs::symlink("loop", own.folder.join("loop")).expect("made");
        assert_eq!([own.of("never"), own.of("left"), own.of("loop")], [Writer::Dead, Writer::Dead, Writer::Alive]);
        own.tidy().expect("tidied");
        let left: Vec<_> = std::fs::read_dir(&own.folder).expect("a folder").flatten().map(|e| e.file_name()).collect();
        assert!(left.len() == 2 && left.contains(&"loop".into()), "{left:?}");
    }

    #[test]
    fn nobody_comes_while_it_is_judged_who_is_there() {
        let storage = tempfile::tempdir().expect("a folder");
        let first = Writers::open(storage.path()).expect("opened");
        let still = hold_still(&first.folder).expect("held");
        let there = || std::fs::read_dir(&first.folder).expect("a folder").count();
        std::thread::scope(|scope| {
            let coming = scope.spawn(|| Writers::open(storage.path()));
            // It may not have begun; either way it cannot have come.
            std::thread::yield_now();
            assert_eq!(there(), 1);
            drop(still);
            let second = coming.join().expect("no panic").expect("opened");
            assert_eq!(there(), 2);
            drop(second);
        });
    }
}
