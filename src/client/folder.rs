//! Sets of files in a folder that change together or not at all, whenever the program or the machine stops.
//!
//! New files are gathered in a folder `.ddrop-staging-…` of their own. Renaming that to `.ddrop-pending` is the moment at
//! which they count; then each moves to its own name. Whoever next opens a folder with `.ddrop-pending` in it moves the
//! rest. Readers wait only for that, not for the gathering, which may take as long as a server does.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::Error;
use crate::link::random_base62;

const STAGING: &str = ".ddrop-staging-";
const PENDING: &str = ".ddrop-pending";

/// Who may read a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readable {
    /// Only its owner.
    Owner,
    /// Whoever the umask lets.
    All,
}

/// Files that will replace those of the same names in a folder. Dropped uncommitted, it leaves nothing.
#[derive(Debug)]
pub struct Staged {
    folder: PathBuf,
    staging: PathBuf,
    committed: bool,
    /// Tells others that this staging folder was not left behind by a crash.
    _alive: File,
}

impl Staged {
    /// Makes the folder if need be, and clears up after changes that were interrupted.
    ///
    /// # Errors
    /// When the folder cannot be made or written.
    pub fn begin(folder: &Path) -> Result<Self, Error> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(Error::io("make the folder", folder))?;
        let _lock = lock(folder)?;
        finish(folder).map_err(Error::io("finish an interrupted change of", folder))?;
        sweep(folder).map_err(Error::io("write in", folder))?;
        let staging =
            folder.join(format!("{STAGING}{}", random_base62(12).map_err(|error| Error::Failed(error.to_string()))?));
        let make = || -> io::Result<File> {
            DirBuilder::new().mode(0o700).create(&staging)?;
            let alive = File::open(&staging)?;
            alive.lock()?;
            Ok(alive)
        };
        let alive = make().map_err(Error::io("write in", folder))?;
        Ok(Self { folder: folder.to_owned(), staging, committed: false, _alive: alive })
    }

    /// Adds a file and puts it on disk, under its final permissions from the first byte on.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn add(&self, name: &str, contents: &[u8], readable: Readable) -> Result<(), Error> {
        let path = self.staging.join(name);
        let mode = if readable == Readable::Owner { 0o600 } else { 0o644 };
        let write = || -> io::Result<()> {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&path)?;
            file.write_all(contents)?;
            file.sync_all()
        };
        write().map_err(Error::io("write", &self.folder.join(name)))
    }

    /// Puts all of them in place.
    ///
    /// # Errors
    /// When the disk fails; the folder then has all of the old files or will have all of the new ones.
    pub fn commit(mut self) -> Result<(), Error> {
        let failed = || Error::io("replace the files in", &self.folder);
        let _lock = lock(&self.folder)?;
        finish(&self.folder).and_then(|()| seal(&self.folder, &self.staging)).map_err(failed())?;
        self.committed = true;
        finish(&self.folder).map_err(failed())
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.committed {
            let _ = fs::remove_dir_all(&self.staging);
        }
    }
}

fn lock(folder: &Path) -> Result<File, Error> {
    let lock = File::open(folder).map_err(Error::io("open the folder", folder))?;
    lock.lock().map_err(Error::io("lock the folder", folder))?;
    Ok(lock)
}

/// Removes what crashes left behind: staging folders that nobody holds.
fn sweep(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(STAGING)
            && File::open(entry.path()).is_ok_and(|left| left.try_lock().is_ok())
        {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

/// Holds still while a set of files is read, after finishing a change that was interrupted. `None` when the folder
/// is not there or cannot be locked, so that there is nothing to hold.
pub fn hold_still(folder: &Path) -> Option<File> {
    let lock = File::open(folder).ok()?;
    if folder.join(PENDING).exists() {
        lock.lock().ok()?;
        // What cannot be finished now is found out by the reader: key and certificate will not match.
        let _ = finish(folder);
    }
    lock.lock_shared().ok()?;
    Some(lock)
}

/// The moment from which on the new files count.
fn seal(folder: &Path, staging: &Path) -> io::Result<()> {
    File::open(staging)?.sync_all()?;
    fs::rename(staging, folder.join(PENDING))?;
    File::open(folder)?.sync_all()
}

/// Moves what counts to its place; nothing to do when nothing is pending.
fn finish(folder: &Path) -> io::Result<()> {
    finish_for(folder, rustix::process::geteuid().as_raw())
}

/// What someone else has left there is not ours to put in place: where others may write, it would be their key and CA.
fn finish_for(folder: &Path, user: u32) -> io::Result<()> {
    let pending = folder.join(PENDING);
    let facts = match fs::symlink_metadata(&pending) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    if !facts.is_dir() || facts.uid() != user || facts.mode() & 0o022 != 0 {
        let refused = format!("{} is not a folder of ours alone: remove it", pending.display());
        return Err(io::Error::new(ErrorKind::PermissionDenied, refused));
    }
    for entry in fs::read_dir(&pending)? {
        let entry = entry?;
        fs::rename(entry.path(), folder.join(entry.file_name()))?;
    }
    File::open(folder)?.sync_all()?;
    fs::remove_dir(&pending)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn old_set() -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a folder");
        fs::write(dir.path().join("key"), "old").expect("written");
        fs::write(dir.path().join("crt"), "old").expect("written");
        dir
    }

    fn stage(folder: &Path) -> Staged {
        let staged = Staged::begin(folder).expect("begun");
        staged.add("key", b"new", Readable::Owner).expect("added");
        staged.add("crt", b"new", Readable::All).expect("added");
        staged
    }

    fn read(folder: &Path) -> (String, String) {
        let _still = hold_still(folder);
        let text = |name| fs::read_to_string(folder.join(name)).expect("a file");
        (text("key"), text("crt"))
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).expect("a folder");
        let mut names: Vec<_> =
            entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_committed_set_replaces_the_old_one_and_leaves_nothing_else() {
        let dir = old_set();
        stage(dir.path()).commit().expect("committed");
        assert_eq!(read(dir.path()), ("new".into(), "new".into()));
        assert_eq!(names(dir.path()), ["crt", "key"]);
        let mode = fs::metadata(dir.path().join("key")).expect("metadata").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn what_is_not_committed_leaves_the_old_files() {
        let dir = old_set();
        drop(stage(dir.path()));
        assert_eq!(read(dir.path()), ("old".into(), "old".into()));
        assert_eq!(names(dir.path()), ["crt", "key"]);
    }

    #[test]
    fn a_stop_before_the_moment_that_counts_leaves_the_old_files() {
        let dir = old_set();
        let staged = stage(dir.path());
        // As if the process had been killed: no destructor runs, and the lock goes with the process.
        let mut staged = std::mem::ManuallyDrop::new(staged);
        staged._alive = File::open(dir.path()).expect("a folder");
        assert_eq!(read(dir.path()), ("old".into(), "old".into()));
        stage(dir.path()).commit().expect("committed");
        assert_eq!(names(dir.path()), ["crt", "key"]);
    }

    #[test]
    fn a_stop_after_it_leads_to_the_new_files() {
        for moved in [None, Some("key"), Some("crt")] {
            let dir = old_set();
            let mut staged = stage(dir.path());
            seal(dir.path(), &staged.staging).expect("sealed");
            staged.committed = true;
            drop(staged);
            if let Some(name) = moved {
                fs::rename(dir.path().join(PENDING).join(name), dir.path().join(name)).expect("moved");
            }
            assert_eq!(read(dir.path()), ("new".into(), "new".into()), "{moved:?}");
            assert_eq!(names(dir.path()), ["crt", "key"]);
        }
    }

    #[test]
    fn two_at_once_do_not_mix_and_the_last_wins() {
        let dir = old_set();
        let (one, other) = (stage(dir.path()), Staged::begin(dir.path()).expect("begun"));
        other.add("key", b"newer", Readable::Owner).expect("added");
        other.add("crt", b"newer", Readable::All).expect("added");
        one.commit().expect("committed");
        assert_eq!(read(dir.path()), ("new".into(), "new".into()));
        other.commit().expect("committed");
        assert_eq!(read(dir.path()), ("newer".into(), "newer".into()));
        assert_eq!(names(dir.path()), ["crt", "key"]);
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_an_error_before_anything_is_sent() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("file");
        fs::write(&file, "").expect("written");
        assert!(matches!(Staged::begin(&file.join("below")), Err(Error::Io { .. })));
    }

    #[test]
    fn what_others_left_pending_is_not_put_in_place() {
        let left = || {
            let dir = old_set();
            let mut staged = stage(dir.path());
            seal(dir.path(), &staged.staging).expect("sealed");
            staged.committed = true;
            dir
        };
        let refused = |dir: &Path, user| {
            assert_eq!(finish_for(dir, user).map_err(|error| error.kind()), Err(ErrorKind::PermissionDenied));
            assert_eq!(fs::read_to_string(dir.join("key")).expect("a file"), "old");
        };
        let own = rustix::process::geteuid().as_raw();
        refused(left().path(), own + 1);
        let open = left();
        fs::set_permissions(open.path().join(PENDING), fs::Permissions::from_mode(0o777)).expect("set");
        refused(open.path(), own);
        let linked = left();
        fs::rename(linked.path().join(PENDING), linked.path().join("elsewhere")).expect("moved");
        std::os::unix::fs::symlink("elsewhere", linked.path().join(PENDING)).expect("linked");
        refused(linked.path(), own);
        finish_for(left().path(), own).expect("one's own is");
    }
}
