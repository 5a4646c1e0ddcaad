//! A folder as one `.tar.gz`, packed by a thread while it is read, never kept whole.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, BufWriter, ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use bytes::{Buf as _, Bytes};
use flate2::Compression;
use flate2::write::GzEncoder;
use rustix::fs::OFlags;
use tar::{Builder, EntryType, Header};

use super::CHUNK;
use crate::client::Error;

/// The bytes of an archive that is being made. An error of making it comes as the error of a read.
pub(super) struct Archive {
    chunks: Receiver<Result<Bytes, Error>>,
    current: Bytes,
    over: bool,
}

impl Archive {
    /// Begins to pack a folder. Its entries stand under `name`: files, folders, and symbolic links as links. Kept are
    /// permissions and times; not owners, nor the set-user-ID bits that would be somebody else's where it is unpacked.
    pub(super) fn of(folder: PathBuf, name: &str) -> Self {
        let (sender, chunks) = sync_channel(2);
        let name = PathBuf::from(name);
        std::thread::spawn(move || {
            let end = pack(&folder, &name, Chunks(sender.clone())).map(|()| Bytes::new());
            // Without this last word the archive would look whole; if nobody listens, nobody wants it.
            let _ = sender.send(end);
        });
        Self { chunks, current: Bytes::new(), over: false }
    }
}

impl Read for Archive {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.current.is_empty() && !self.over {
            self.current = match self.chunks.recv() {
                Ok(Ok(chunk)) => chunk,
                Ok(Err(error)) => return Err(io::Error::other(error)),
                Err(_) => return Err(ErrorKind::UnexpectedEof.into()),
            };
            self.over = self.current.is_empty();
        }
        let count = self.current.len().min(into.len());
        if let Some(room) = into.get_mut(..count) {
            self.current.copy_to_slice(room);
        }
        Ok(count)
    }
}

/// Where packed bytes go.
struct Chunks(SyncSender<Result<Bytes, Error>>);

impl Write for Chunks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !bytes.is_empty() {
            // An empty chunk is the end.
            let chunk = Bytes::copy_from_slice(bytes);
            self.0.send(Ok(chunk)).map_err(|_| io::Error::from(ErrorKind::BrokenPipe))?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

type Tar = Builder<GzEncoder<BufWriter<Chunks>>>;

/// Entries in the order of their names, so that the same folder gives the same archive.
fn pack(folder: &Path, name: &Path, out: Chunks) -> Result<(), Error> {
    let mut tar = Builder::new(GzEncoder::new(BufWriter::with_capacity(CHUNK, out), Compression::default()));
    let meta = fs::metadata(folder).map_err(Error::io("read", folder))?;
    append_folder(&mut tar, folder, name, &meta)?;
    let mut waiting = children(folder, name)?;
    while let Some((path, name)) = waiting.pop() {
        let meta = fs::symlink_metadata(&path).map_err(|error| unreadable(&path, error))?;
        let kind = meta.file_type();
        if kind.is_dir() {
            append_folder(&mut tar, &path, &name, &meta)?;
            waiting.extend(children(&path, &name)?);
        } else if kind.is_symlink() {
            append_link(&mut tar, &path, &name, &meta)?;
        } else if kind.is_file() {
            append_file(&mut tar, &path, &name)?;
        } else {
            return Err(Error::Unpackable(path));
        }
    }
    let end = || tar.into_inner()?.finish()?.into_inner().map_err(io::IntoInnerError::into_error);
    end().map(|_| ()).map_err(Error::io("pack", folder))
}

/// What is in a folder, the last first.
fn children(path: &Path, name: &Path) -> Result<Vec<(PathBuf, PathBuf)>, Error> {
    let read = || -> io::Result<Vec<_>> { fs::read_dir(path)?.map(|entry| Ok(entry?.file_name())).collect() };
    let mut names = read().map_err(|error| unreadable(path, error))?;
    names.sort_unstable_by(|a, b| b.cmp(a));
    Ok(names.into_iter().map(|own| (path.join(&own), name.join(&own))).collect())
}

fn append_folder(tar: &mut Tar, path: &Path, name: &Path, meta: &Metadata) -> Result<(), Error> {
    let mut header = header(EntryType::Directory, meta, 0);
    tar.append_data(&mut header, name.join(""), io::empty()).map_err(Error::io("pack", path))
}

fn append_link(tar: &mut Tar, path: &Path, name: &Path, meta: &Metadata) -> Result<(), Error> {
    let target = fs::read_link(path).map_err(|error| unreadable(path, error))?;
    let mut header = header(EntryType::Symlink, meta, 0);
    tar.append_link(&mut header, name, target).map_err(Error::io("pack", path))
}

fn append_file(tar: &mut Tar, path: &Path, name: &Path) -> Result<(), Error> {
    let file = open(path).map_err(|error| unreadable(path, error))?;
    let meta = file.metadata().map_err(Error::io("read", path))?;
    if !meta.is_file() {
        return Err(Error::Changed(path.display().to_string()));
    }
    let mut header = header(EntryType::Regular, &meta, meta.len());
    append_exactly(tar, &mut header, name, file, meta.len(), path)
}

/// An entry says first how long it is, so a file has to stay that long.
fn append_exactly(
    tar: &mut Tar,
    header: &mut Header,
    name: &Path,
    mut file: impl Read,
    length: u64,
    path: &Path,
) -> Result<(), Error> {
    let mut within = file.by_ref().take(length);
    tar.append_data(header, name, &mut within).map_err(Error::io("pack", path))?;
    let missing = within.limit();
    let more = file.take(1).read_to_end(&mut Vec::new()).map_err(Error::io("read", path))?;
    if missing > 0 || more > 0 {
        return Err(Error::Changed(path.display().to_string()));
    }
    Ok(())
}

fn open(path: &Path) -> io::Result<File> {
    // What was a file a moment ago may be a link now, or a pipe that nobody writes to.
    let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits()).unwrap_or_default();
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

fn header(kind: EntryType, meta: &Metadata, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(meta.permissions().mode() & 0o777);
    header.set_mtime(meta.mtime().try_into().unwrap_or_default());
    header.set_uid(0);
    header.set_gid(0);
    header
}

fn unreadable(path: &Path, error: io::Error) -> Error {
    match error.kind() {
        ErrorKind::NotFound => Error::Vanished(path.to_owned()),
        _ => Error::io("read", path)(error),
    }
}

#[cfg(test)]
#[path = "archive_tests.rs"]
mod tests;
