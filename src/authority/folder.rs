//! The authority's folder: files that belong together appear together, whatever happens in between.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use zeroize::Zeroizing;

use super::Error;

/// The folder. All of it blocks.
#[derive(Clone, Debug)]
pub(super) struct Folder {
    path: PathBuf,
}

/// Held while files are looked at and changed, so that of two processes one waits. The system lets go of it when the
/// process ends, however it does.
#[derive(Debug)]
pub(super) struct Lock(#[expect(dead_code, reason = "the open file is the lock")] File);

/// A file to be.
pub(super) struct New<'a> {
    /// Its name in the folder.
    pub(super) name: &'a str,
    /// What is in it.
    pub(super) content: &'a [u8],
    /// Whether it holds a secret: then only its owner may read it.
    pub(super) secret: bool,
}

/// Files being written: whatever is in it is worth nothing.
const MAKING: &str = ".making";
/// Files written and synced, of which some may be in their places already: all of them are to be.
const READY: &str = ".ready";
const LOCK: &str = ".lock";

impl Folder {
    /// Opens the folder, making it (0700) if it is missing.
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let cannot = |source| Error::Io { what: "make the folder", path: path.to_owned(), source };
        if !path.is_dir() {
            DirBuilder::new().mode(0o700).recursive(true).create(path).map_err(cannot)?;
            if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
                sync(parent)?;
            }
        }
        Ok(Self { path: path.to_owned() })
    }

    /// The path of a file in it.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Waits for its turn, and finishes or clears away what a process that ended in the middle left.
    pub(super) fn lock(&self) -> Result<Lock, Error> {
        let path = self.path(LOCK);
        let cannot = |source| Error::Io { what: "lock", path: path.clone(), source };
        let file =
            OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(cannot)?;
        flock(&file, FlockOperation::LockExclusive).map_err(|error| cannot(error.into()))?;
        self.recover()?;
        Ok(Lock(file))
    }

    fn recover(&self) -> Result<(), Error> {
        self.clear(MAKING)?;
        if self.path(READY).is_dir() { self.put_in_place() } else { Ok(()) }
    }

    /// Puts files in their places, replacing those of the same name: all of them or, if it fails, none.
    pub(super) fn install(&self, _lock: &Lock, files: &[New<'_>]) -> Result<(), Error> {
        self.clear(MAKING)?;
        let written = self.prepare(files);
        if written.is_err() {
            self.clear(MAKING)?;
        }
        written?;
        self.put_in_place()
    }

    fn prepare(&self, files: &[New<'_>]) -> Result<(), Error> {
        let making = self.path(MAKING);
        let cannot = |source| Error::Io { what: "make the folder", path: making.clone(), source };
        DirBuilder::new().mode(0o700).create(&making).map_err(cannot)?;
        for file in files {
            write(&making.join(file.name), file)?;
        }
        sync(&making)?;
        rename(&making, &self.path(READY))?;
        sync(&self.path)
    }

    fn put_in_place(&self) -> Result<(), Error> {
        let ready = self.path(READY);
        for name in names(&ready)? {
            rename(&ready.join(&name), &self.path.join(&name))?;
        }
        sync(&self.path)?;
        std::fs::remove_dir(&ready).map_err(|source| Error::Io { what: "remove", path: ready, source })?;
        sync(&self.path)
    }

    fn clear(&self, name: &str) -> Result<(), Error> {
        let path = self.path(name);
        match std::fs::remove_dir_all(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(Error::Io { what: "remove", path, source }),
            _ => Ok(()),
        }
    }

    /// The text of a file; `None` if there is no such file.
    pub(super) fn read(&self, name: &str) -> Result<Option<Zeroizing<String>>, Error> {
        let path = self.path(name);
        match std::fs::read_to_string(&path) {
            Ok(text) => Ok(Some(Zeroizing::new(text))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error::Io { what: "read", path, source }),
        }
    }

    /// The names of the files in it.
    pub(super) fn names(&self) -> Result<Vec<String>, Error> {
        Ok(names(&self.path)?.into_iter().filter_map(|name| name.into_string().ok()).collect())
    }

    /// Removes a file.
    pub(super) fn remove(&self, _lock: &Lock, name: &str) -> Result<(), Error> {
        let path = self.path(name);
        std::fs::remove_file(&path).map_err(|source| Error::Io { what: "remove", path, source })?;
        sync(&self.path)
    }
}

fn names(folder: &Path) -> Result<Vec<std::ffi::OsString>, Error> {
    let cannot = |source| Error::Io { what: "list", path: folder.to_owned(), source };
    let entries = std::fs::read_dir(folder).map_err(cannot)?;
    entries.map(|entry| entry.map(|entry| entry.file_name())).collect::<io::Result<_>>().map_err(cannot)
}

fn write(path: &Path, file: &New<'_>) -> Result<(), Error> {
    let mode = if file.secret { 0o600 } else { 0o644 };
    let mut options = OpenOptions::new();
    let opened = options.write(true).create_new(true).mode(mode).open(path);
    opened.and_then(|mut to| to.write_all(file.content).and_then(|()| to.sync_all())).map_err(|source| Error::Io {
        what: "write",
        path: path.to_owned(),
        source,
    })
}

fn rename(from: &Path, to: &Path) -> Result<(), Error> {
    std::fs::rename(from, to).map_err(|source| Error::Io { what: "put in place", path: to.to_owned(), source })
}

fn sync(folder: &Path) -> Result<(), Error> {
    let synced = File::open(folder).and_then(|file| file.sync_all());
    synced.map_err(|source| Error::Io { what: "sync", path: folder.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn new<'a>(name: &'a str, content: &'a str) -> New<'a> {
        New { name, content: content.as_bytes(), secret: name.ends_with("key") }
    }

    fn folder() -> (tempfile::TempDir, Folder) {
        let outer = tempfile::tempdir().expect("a folder");
        let folder = Folder::open(&outer.path().join("storage/pki")).expect("opened");
        (outer, folder)
    }

    #[test]
    fn secrets_are_for_their_owner_from_the_start() {
        let (_outer, folder) = folder();
        let lock = folder.lock().expect("locked");
        folder.install(&lock, &[new("a.key", "secret"), new("a.crt", "public")]).expect("installed");
        let mode = |path: PathBuf| std::fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!(mode(folder.path("a.key")), 0o600);
        assert_eq!(mode(folder.path(".")), 0o700);
        assert_eq!(folder.names().expect("names").len(), 3, "two files and the lock");
    }

    #[test]
    fn what_was_not_finished_is_cleared_away() {
        let (_outer, folder) = folder();
        std::fs::create_dir(folder.path(MAKING)).expect("made");
        std::fs::write(folder.path(MAKING).join("a.key"), "half").expect("written");
        let _lock = folder.lock().expect("locked");
        assert!(!folder.path(MAKING).exists() && folder.read("a.key").expect("read").is_none());
    }

    #[test]
    fn what_was_finished_is_put_in_place_after_a_crash_at_any_file() {
        let (_outer, folder) = folder();
        std::fs::write(folder.path("a.key"), "new").expect("in its place already");
        std::fs::write(folder.path("b.key"), "old").expect("not yet replaced");
        std::fs::create_dir(folder.path(READY)).expect("made");
        std::fs::write(folder.path(READY).join("b.key"), "new").expect("written");
        let _lock = folder.lock().expect("locked");
        for name in ["a.key", "b.key"] {
            assert_eq!(folder.read(name).expect("read").expect("there").as_str(), "new");
        }
        assert!(!folder.path(READY).exists());
    }

    #[test]
    fn a_failure_leaves_the_old_files() {
        let (_outer, folder) = folder();
        let lock = folder.lock().expect("locked");
        folder.install(&lock, &[new("a.key", "old")]).expect("installed");
        let failed = folder.install(&lock, &[new("a.key", "new"), new("no/such/folder.key", "new")]);
        assert!(matches!(failed, Err(Error::Io { what: "write", .. })));
        assert_eq!(folder.read("a.key").expect("read").expect("there").as_str(), "old");
        assert!(!folder.path(MAKING).exists());
    }
}
