//! Reading: at once what the kernel has in memory, on a thread that may wait what it has not.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{BoxStream, StreamExt as _, unfold};
use rustix::fs::OFlags;
use rustix::io::{Errno, ReadWriteFlags, preadv2};

use crate::store::blobs::PIECE;
use crate::store::{Error, Span};

/// Where a reading stands.
struct Reading {
    file: Arc<File>,
    at: u64,
    left: u64,
    /// Whether the file system can say that it would have to wait.
    nowait: bool,
}

pub(super) fn open(path: &Path, size: u64, span: Span) -> Result<BoxStream<'static, io::Result<Bytes>>, Error> {
    let file = open_quietly(path).map_err(|source| Error::io("open", path, source))?;
    let found = file.metadata().map_err(|source| Error::io("look at", path, source))?.len();
    if found != size {
        return Err(Error::Damaged(format!("{} has {found} bytes, and its row says {size}", path.display())));
    }
    if span.start.checked_add(span.length).is_none_or(|end| end > size) {
        return Err(Error::Damaged(format!("{} was asked for bytes it does not have", path.display())));
    }
    let reading = Reading { file: Arc::new(file), at: span.start, left: span.length, nowait: true };
    Ok(unfold(reading, next).boxed())
}

/// Without a note in the file system of when it was last read: that would be a write for a read, and wait for the disk.
fn open_quietly(path: &Path) -> io::Result<File> {
    let flags = i32::try_from(OFlags::NOATIME.bits()).unwrap_or_default();
    match File::options().read(true).custom_flags(flags).open(path) {
        // Only the owner of a file may ask for that.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => File::open(path),
        opened => opened,
    }
}

async fn next(mut reading: Reading) -> Option<(io::Result<Bytes>, Reading)> {
    if reading.left == 0 {
        return None;
    }
    let wanted = usize::try_from(reading.left).unwrap_or(PIECE).min(PIECE);
    let read = match reading.at_once(wanted) {
        Some(read) => read,
        None => reading.in_time(wanted).await,
    };
    match &read {
        Ok(bytes) => {
            reading.at += bytes.len() as u64;
            reading.left -= bytes.len() as u64;
        }
        // An error is the last thing a reading says.
        Err(_) => reading.left = 0,
    }
    Some((read, reading))
}

impl Reading {
    /// What needs no waiting; `None` if the disk would have to be waited for.
    fn at_once(&mut self, wanted: usize) -> Option<io::Result<Bytes>> {
        if !self.nowait {
            return None;
        }
        let mut buffer = vec![0; wanted];
        let read = preadv2(&*self.file, &mut [IoSliceMut::new(&mut buffer)], self.at, ReadWriteFlags::NOWAIT);
        match read {
            Ok(0) => Some(Err(cut_short())),
            Ok(count) => {
                buffer.truncate(count);
                Some(Ok(buffer.into()))
            }
            Err(Errno::AGAIN | Errno::INTR) => None,
            Err(_) => {
                self.nowait = false;
                None
            }
        }
    }

    async fn in_time(&self, wanted: usize) -> io::Result<Bytes> {
        let (file, at) = (Arc::clone(&self.file), self.at);
        let read = tokio::task::spawn_blocking(move || {
            let mut buffer = vec![0; wanted];
            file.read_exact_at(&mut buffer, at)?;
            Ok(buffer.into())
        });
        read.await.map_err(io::Error::other)?
    }
}

fn cut_short() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the file became shorter while it was read")
}
