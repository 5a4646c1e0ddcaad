//! A file on its way in: kept beside its place until it is whole, with a note of what it is a part of.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use ring::digest::{Context, SHA256};
use rustix::fs::{CWD, OFlags, RenameFlags, renameat_with};
use serde::{Deserialize, Serialize};

use super::CHUNK;
use crate::client::Error;
use crate::identity::Sha256;

/// The notes: from which version of which link the bytes are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notes {
    /// Where they are from.
    pub url: String,
    /// The strong tag of the version.
    pub etag: Option<String>,
    /// Bytes of the whole.
    pub size: Option<u64>,
    /// SHA-256 of the whole, in hex.
    pub sha256: Option<String>,
    /// The name it is offered under.
    pub name: Option<String>,
}

/// The part of a file that is there. Only one process has it at a time.
#[derive(Debug)]
pub struct Part {
    path: PathBuf,
    notes_path: PathBuf,
    file: File,
    /// What it is a part of, if that is known.
    pub notes: Option<Notes>,
}

impl Part {
    /// Opens `FOLDER/NAME.part`, keeping what is there if it is of the same link.
    ///
    /// # Errors
    /// When it cannot be written, is a symbolic link, or another process has it.
    pub fn open(folder: &Path, name: &str, url: &str) -> Result<Self, Error> {
        let name = if name.len() > 200 { Sha256::of(name.as_bytes()).to_string() } else { name.to_owned() };
        let path = folder.join(format!("{name}.part"));
        let notes_path = folder.join(format!("{name}.part.json"));
        let file = lock(&path)?;
        let notes = read_notes(&notes_path).filter(|notes| notes.url == url);
        let mut part = Self { path, notes_path, file, notes };
        if part.notes.is_none() {
            part.clear()?;
        }
        Ok(part)
    }

    /// Takes the bytes that are there into a hash, and stands at their end.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn rehash(&mut self) -> Result<(u64, Context), Error> {
        let mut hash = Context::new(&SHA256);
        let mut total = 0;
        let mut chunk = vec![0; CHUNK];
        let mut read = || -> io::Result<()> {
            self.file.rewind()?;
            loop {
                let count = self.file.read(&mut chunk)?;
                let Some(bytes) = chunk.get(..count).filter(|bytes| !bytes.is_empty()) else { return Ok(()) };
                hash.update(bytes);
                total += count as u64;
            }
        };
        read().map_err(Error::io("read", &self.path))?;
        Ok((total, hash))
    }

    /// Begins from nothing with other notes.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn restart(&mut self, notes: Notes) -> Result<(), Error> {
        self.clear()?;
        let text = serde_json::to_vec(&notes).unwrap_or_default();
        let write = || -> io::Result<()> {
            let mut file = open_plain(OpenOptions::new().write(true).create(true).truncate(true), &self.notes_path)?;
            file.write_all(&text)
        };
        write().map_err(Error::io("write", &self.notes_path))?;
        self.notes = Some(notes);
        Ok(())
    }

    /// Adds bytes.
    ///
    /// # Errors
    /// When the disk fails; what was written before stays for a later attempt.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.file.write_all(bytes).map_err(Error::io("write", &self.path))
    }

    /// Puts the whole file in its place, on disk and under its own name in one step. Without `replace` a file that is
    /// there already stays.
    ///
    /// # Errors
    /// [`Error::Exists`], or when the disk fails.
    pub fn finish(self, place: &Path, replace: bool) -> Result<(), Error> {
        self.file.sync_all().map_err(Error::io("write", &self.path))?;
        if replace {
            fs::rename(&self.path, place).map_err(Error::io("write", place))?;
        } else {
            rename_to_new(&self.path, place).map_err(|error| match error.kind() {
                ErrorKind::AlreadyExists => Error::Exists(place.to_owned()),
                _ => Error::io("write", place)(error),
            })?;
        }
        let _ = fs::remove_file(&self.notes_path);
        let folder = place.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(Error::io("write", place))
    }

    /// Leaves nothing.
    pub fn discard(self) {
        let _ = fs::remove_file(&self.notes_path);
        let _ = fs::remove_file(&self.path);
    }

    /// Begins from nothing, without notes.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn clear(&mut self) -> Result<(), Error> {
        self.notes = None;
        // The notes first: bytes without notes are thrown away, notes without their bytes would be believed.
        match fs::remove_file(&self.notes_path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(Error::io("remove", &self.notes_path)(error));
            }
            _ => {}
        }
        let mut clear = || -> io::Result<()> {
            self.file.set_len(0)?;
            self.file.seek(SeekFrom::Start(0)).map(|_| ())
        };
        clear().map_err(Error::io("write", &self.path))
    }
}

fn open_plain(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    // In a folder that others may write to, a symbolic link could lead our bytes anywhere.
    let flags = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or_default();
    options.custom_flags(flags).open(path)
}

fn lock(path: &Path) -> Result<File, Error> {
    let failed = || Error::io("write", path);
    loop {
        let file = open_plain(OpenOptions::new().read(true).write(true).create(true).truncate(false), path)
            .map_err(failed())?;
        if file.try_lock().is_err() {
            return Err(Error::Busy(path.to_owned()));
        }
        // The one who had it before may have moved it to its place meanwhile: then this is no part any more.
        let (ours, there) = (file.metadata().map_err(failed())?, fs::symlink_metadata(path));
        if there.is_ok_and(|there| (there.dev(), there.ino()) == (ours.dev(), ours.ino())) {
            return Ok(file);
        }
    }
}

fn read_notes(path: &Path) -> Option<Notes> {
    let mut text = String::new();
    open_plain(OpenOptions::new().read(true), path).ok()?.take(64 * 1024).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

/// Renames, unless there is something of that name.
fn rename_to_new(from: &Path, to: &Path) -> io::Result<()> {
    use rustix::io::Errno;
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // Not every file system knows that; a hard link to what exists fails just as well.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            fs::hard_link(from, to)?;
            fs::remove_file(from)
        }
        other => Ok(other?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notes(url: &str) -> Notes {
        Notes { url: url.into(), etag: Some("\"1\"".into()), size: Some(4), sha256: None, name: None }
    }

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().expect("a folder")
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).expect("a folder");
        let mut names: Vec<_> =
            entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// Once it is free: a program that a test beside this one starts has all locks of this process for a moment.
    fn open(folder: &Path, name: &str, url: &str) -> Result<Part, Error> {
        let begun = std::time::Instant::now();
        loop {
            match Part::open(folder, name, url) {
                Err(Error::Busy(_)) if begun.elapsed().as_secs() < 10 => std::thread::yield_now(),
                opened => return opened,
            }
        }
    }

    #[test]
    fn a_part_is_kept_and_continued() {
        let dir = folder();
        let mut part = open(dir.path(), "x", "u").expect("opened");
        part.restart(notes("u")).expect("begun");
        part.write(b"ab").expect("written");
        drop(part);
        let mut part = open(dir.path(), "x", "u").expect("opened");
        assert_eq!(part.notes, Some(notes("u")));
        assert_eq!(part.rehash().expect("read").0, 2);
        part.write(b"cd").expect("written");
        part.finish(&dir.path().join("x"), false).expect("finished");
        assert_eq!(fs::read(dir.path().join("x")).expect("there"), b"abcd");
        assert_eq!(names(dir.path()), ["x"]);
    }

    #[test]
    fn a_part_of_another_link_or_without_notes_is_not_continued() {
        let dir = folder();
        let mut part = open(dir.path(), "x", "u").expect("opened");
        part.restart(notes("u")).expect("begun");
        part.write(b"ab").expect("written");
        drop(part);
        assert_eq!(open(dir.path(), "x", "other").expect("opened").rehash().expect("read").0, 0);
        fs::write(dir.path().join("y.part"), "junk").expect("written");
        fs::write(dir.path().join("y.part.json"), "junk").expect("written");
        assert_eq!(open(dir.path(), "y", "u").expect("opened").rehash().expect("read").0, 0);
    }

    #[test]
    fn only_one_has_it() {
        let dir = folder();
        let one = open(dir.path(), "x", "u").expect("opened");
        assert!(matches!(Part::open(dir.path(), "x", "u"), Err(Error::Busy(_))));
        drop(one);
        assert!(open(dir.path(), "x", "u").is_ok());
    }

    #[test]
    fn what_exists_is_only_replaced_when_that_is_said() {
        let dir = folder();
        let place = dir.path().join("x");
        fs::write(&place, "old").expect("written");
        let part = || {
            let mut part = open(dir.path(), "x", "u").expect("opened");
            part.restart(notes("u")).expect("begun");
            part.write(b"new").expect("written");
            part
        };
        assert!(matches!(part().finish(&place, false), Err(Error::Exists(_))));
        assert_eq!(fs::read(&place).expect("there"), b"old");
        part().finish(&place, true).expect("replaced");
        assert_eq!(fs::read(&place).expect("there"), b"new");
    }

    #[test]
    fn a_symbolic_link_in_its_place_is_not_followed() {
        let dir = folder();
        let victim = dir.path().join("victim");
        fs::write(&victim, "precious").expect("written");
        std::os::unix::fs::symlink(&victim, dir.path().join("x.part")).expect("linked");
        assert!(matches!(open(dir.path(), "x", "u"), Err(Error::Io { .. })));
        assert_eq!(fs::read(&victim).expect("there"), b"precious");
    }
}
