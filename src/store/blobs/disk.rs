//! Bytes on the local disk: `files/ab/cd/abcd…`, with `.part` at the end while they come.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;

use super::{Blobs, Found, Reserved, Write};
use crate::store::{Error, Span};
use crate::units;

mod reader;
mod writer;

/// The ending of a file that is not whole yet.
const PART: &str = ".part";

/// A folder of files.
pub(in crate::store) struct Disk {
    root: PathBuf,
}

impl Disk {
    pub(in crate::store) fn open(root: &Path) -> Result<Self, Error> {
        make_folder(root)?;
        // Those directly in it, so that a new file finds its own folder missing at most.
        let mut missing =
            (0..=u8::MAX).map(|n| root.join(format!("{n:02x}"))).filter(|folder| !folder.is_dir()).peekable();
        if missing.peek().is_some() {
            missing.try_for_each(|folder| make_unsynced(&folder))?;
            sync_folder(root)?;
        }
        Ok(Self { root: root.to_owned() })
    }

    fn path(&self, name: &str) -> Result<PathBuf, Error> {
        Ok(self.root.join(place(name)?))
    }

    /// A row whose bytes are gone has no name for them.
    fn path_if_any(&self, name: &str) -> Result<Option<PathBuf>, Error> {
        if name.is_empty() { Ok(None) } else { self.path(name).map(Some) }
    }
}

/// Where the bytes of this name are, below the folder of files.
pub(in crate::store) fn place(name: &str) -> Result<PathBuf, Error> {
    if !is_name(name) {
        return Err(Error::Damaged(format!("'{name}' is not the name of a file of ours")));
    }
    let (first, second) = (name.get(..2).unwrap_or_default(), name.get(2..4).unwrap_or_default());
    Ok(Path::new(first).join(second).join(name))
}

/// Names are 32 lower-case hex digits, so they can never be a way out of the folder.
fn is_name(name: &str) -> bool {
    name.len() == 32 && name.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// Makes a folder that only we can look into, with its parents; one that is there stays as it is.
pub(in crate::store) fn make_folder(path: &Path) -> Result<(), Error> {
    if path.is_dir() {
        return Ok(());
    }
    make_unsynced(path)?;
    sync_folder(path.parent().unwrap_or(Path::new("/")))
}

fn make_unsynced(path: &Path) -> Result<(), Error> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|source| Error::io("make the folder", path, source))
}

/// Makes a file that is not there yet, and its folder if it is the first in it.
fn make_file(path: &Path) -> Result<File, Error> {
    let make = || std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let made = match (make(), path.parent()) {
        (Err(error), Some(folder)) if error.kind() == io::ErrorKind::NotFound => {
            make_folder(folder)?;
            make()
        }
        (made, _) => made,
    };
    made.map_err(|source| Error::io("make", path, source))
}

/// Makes what happened in a folder durable.
fn sync_folder(path: &Path) -> Result<(), Error> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let synced = File::open(path).and_then(|folder| folder.sync_all());
    synced.map_err(|source| Error::io("sync the folder", path, source))
}

fn part(path: &Path) -> PathBuf {
    path.with_extension(PART.trim_start_matches('.'))
}

fn remove(path: &Path) -> Result<u64, Error> {
    let size = match std::fs::symlink_metadata(path) {
        Ok(facts) => facts.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(source) => return Err(Error::io("look at", path, source)),
    };
    match std::fs::remove_file(path) {
        Ok(()) => Ok(size),
        // Another sweeper was first.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(source) => Err(Error::io("delete", path, source)),
    }
}

/// The file under a path, whole or not yet.
fn remove_both(path: &Path) -> Result<u64, Error> {
    Ok(remove(path)? + remove(&part(path))?)
}

fn folders(path: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut found = vec![path.to_owned()];
    let mut next = 0;
    while let Some(folder) = found.get(next).cloned() {
        next += 1;
        for entry in entries(&folder)? {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                found.push(entry.path());
            }
        }
    }
    Ok(found)
}

fn entries(folder: &Path) -> Result<Vec<std::fs::DirEntry>, Error> {
    match std::fs::read_dir(folder) {
        Ok(entries) => entries.collect::<Result<_, _>>().map_err(|source| Error::io("list", folder, source)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(source) => Err(Error::io("list", folder, source)),
    }
}

fn name_of(path: &Path) -> Option<&str> {
    let name = path.file_name()?.to_str()?;
    Some(name.strip_suffix(PART).unwrap_or(name)).filter(|name| is_name(name))
}

fn total(root: &Path, skip: &HashSet<String>) -> Result<u64, Error> {
    let mut sum = 0;
    for folder in folders(root)? {
        for entry in entries(&folder)? {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            // One that went away in between counts nothing.
            let size = entry.metadata().map_or(0, |facts| facts.len());
            if name_of(&entry.path()).is_none_or(|name| !skip.contains(name)) {
                sum += size;
            }
        }
    }
    Ok(sum)
}

/// Does what may wait for the disk where that holds nobody up.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Error::Closed)?
}

impl Blobs for Disk {
    fn create(&self, name: &str, reserved: Reserved) -> BoxFuture<'_, Result<Box<dyn Write>, Error>> {
        let path = self.path(name);
        async move {
            let path = path?;
            let writer: Box<dyn Write> = Box::new(writer::Writer::new(part(&path), path, reserved));
            Ok(writer)
        }
        .boxed()
    }

    fn prepare(&self, names: Vec<String>) -> BoxFuture<'_, Result<(), Error>> {
        let paths: Result<Vec<_>, _> = names.iter().map(|name| self.path(name)).collect();
        blocking(move || paths?.iter().filter_map(|path| path.parent()).try_for_each(make_folder)).boxed()
    }

    fn open(
        &self,
        name: &str,
        size: u64,
        span: Span,
    ) -> BoxFuture<'_, Result<BoxStream<'static, io::Result<Bytes>>, Error>> {
        let path = self.path(name);
        async move { reader::open(&path?, size, span) }.boxed()
    }

    fn remove(&self, name: &str) -> BoxFuture<'_, Result<u64, Error>> {
        let path = self.path_if_any(name);
        blocking(move || {
            let Some(path) = path? else { return Ok(0) };
            let freed = remove_both(&path)?;
            if freed > 0
                && let Some(folder) = path.parent()
            {
                sync_folder(folder)?;
            }
            Ok(freed)
        })
        .boxed()
    }

    fn remove_many(&self, names: Vec<String>) -> BoxFuture<'_, Vec<Result<u64, Error>>> {
        let count = names.len();
        let paths: Vec<_> = names.iter().map(|name| self.path_if_any(name)).collect();
        let removing = tokio::task::spawn_blocking(move || {
            paths.into_iter().map(|path| path?.map_or(Ok(0), |path| remove_both(&path))).collect()
        });
        async move { removing.await.unwrap_or_else(|_| (0..count).map(|_| Err(Error::Closed)).collect()) }.boxed()
    }

    fn total(&self, skip: HashSet<String>) -> BoxFuture<'_, Result<u64, Error>> {
        let root = self.root.clone();
        blocking(move || total(&root, &skip)).boxed()
    }

    fn folders(&self) -> BoxFuture<'_, Result<Vec<PathBuf>, Error>> {
        let root = self.root.clone();
        blocking(move || folders(&root)).boxed()
    }

    fn within(&self, folder: &Path) -> BoxFuture<'_, Result<Vec<Found>, Error>> {
        let folder = folder.to_owned();
        blocking(move || {
            let files =
                entries(&folder)?.into_iter().filter(|entry| !entry.file_type().is_ok_and(|kind| kind.is_dir()));
            Ok(files
                .map(|entry| Found { blob: name_of(&entry.path()).map(str::to_owned), path: entry.path() })
                .collect())
        })
        .boxed()
    }

    fn remove_stray(&self, file: &Found) -> BoxFuture<'_, Result<u64, Error>> {
        let path = file.path.clone();
        blocking(move || remove(&path)).boxed()
    }

    fn probe(&self) -> BoxFuture<'_, Result<(), Error>> {
        let root = self.root.clone();
        blocking(move || {
            // A name of its own: others may ask at the same time.
            let path = root.join(format!(".probe-{}", hex::encode(units::random::<8>()?)));
            let written = std::fs::write(&path, b"probe").map_err(|source| Error::io("write", &path, source));
            // On a full disk there is a file all the same; a sweep may have found it first.
            let removed = remove(&path);
            written.and(removed).map(drop)
        })
        .boxed()
    }
}
