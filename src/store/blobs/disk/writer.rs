//! Writing: gathered into large pieces, hashed and written on a thread that may wait, one piece under way at a time.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use ring::digest;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::{blocking, make_file, sync_folder};
use crate::identity::Sha256;
use crate::store::Error;
use crate::store::blobs::{PIECE, Reserved, Then, Write};

/// The file and the digest of what is in it: one owner at a time.
struct Sink {
    /// Made with the first piece, so that what is small needs that thread only once.
    file: Option<File>,
    /// Waited for before the file is made. In a lock, which nobody else ever takes, since it cannot be shared otherwise.
    reserved: Mutex<Option<Reserved>>,
    digest: digest::Context,
    path: PathBuf,
}

impl Sink {
    /// Only where it may block.
    fn take(&mut self, pieces: &[Bytes]) -> Result<(), Error> {
        let reserved = self.reserved.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(reserved) = reserved {
            Handle::current().block_on(reserved)?;
        }
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(make_file(&self.path)?),
        };
        for piece in pieces {
            self.digest.update(piece);
            file.write_all(piece).map_err(|source| Error::io("write", &self.path, source))?;
        }
        Ok(())
    }
}

enum State {
    Here(Box<Sink>),
    /// On a thread of its own, writing.
    Away(JoinHandle<Result<Box<Sink>, Error>>),
    Failed,
}

pub(super) struct Writer {
    state: State,
    gathered: Vec<Bytes>,
    length: usize,
    target: PathBuf,
}

impl Writer {
    /// Of what goes into `path` until it is whole, and then to `target`.
    pub(super) fn new(path: PathBuf, target: PathBuf, reserved: Reserved) -> Self {
        let sink = Sink {
            file: None,
            reserved: Mutex::new(Some(reserved)),
            digest: digest::Context::new(&digest::SHA256),
            path,
        };
        Self { state: State::Here(Box::new(sink)), gathered: Vec::new(), length: 0, target }
    }

    /// Waits for the piece under way.
    async fn sink(&mut self) -> Result<Box<Sink>, Error> {
        match &mut self.state {
            // Left in place while waiting, so that a caller that gives up does not lose sight of the thread.
            State::Away(writing) => {
                let back = writing.await;
                self.state = State::Failed;
                back.map_err(|_| Error::Closed)?
            }
            State::Here(_) | State::Failed => match std::mem::replace(&mut self.state, State::Failed) {
                State::Here(sink) => Ok(sink),
                _ => Err(Error::Closed),
            },
        }
    }

    async fn pass_on(&mut self) -> Result<(), Error> {
        let mut sink = self.sink().await?;
        let pieces = std::mem::take(&mut self.gathered);
        self.length = 0;
        self.state = State::Away(tokio::task::spawn_blocking(move || sink.take(&pieces).map(|()| sink)));
        Ok(())
    }
}

impl Write for Writer {
    fn write(&mut self, bytes: Bytes) -> BoxFuture<'_, Result<(), Error>> {
        async move {
            self.length += bytes.len();
            self.gathered.push(bytes);
            if self.length >= PIECE { self.pass_on().await } else { Ok(()) }
        }
        .boxed()
    }

    fn finish(mut self: Box<Self>, then: Then) -> BoxFuture<'static, Result<Sha256, Error>> {
        async move {
            let mut sink = self.sink().await?;
            let pieces = std::mem::take(&mut self.gathered);
            let target = self.target.clone();
            let (sha256, following) = blocking(move || {
                sink.take(&pieces)?;
                let Sink { file: Some(file), digest, path, .. } = *sink else { return Err(Error::Closed) };
                // Renamed first, so that the file system writes all of it down at once: until the row says that it is
                // whole, a file is not, whatever its name.
                std::fs::rename(&path, &target).map_err(|source| Error::io("rename", &path, source))?;
                file.sync_data().map_err(|source| Error::io("sync", &target, source))?;
                sync_folder(target.parent().unwrap_or(Path::new(".")))?;
                let mut sha256 = [0; 32];
                sha256.copy_from_slice(digest.finish().as_ref());
                let sha256 = Sha256(sha256);
                Ok((sha256, then(sha256)))
            })
            .await?;
            following.await?;
            Ok(sha256)
        }
        .boxed()
    }

    fn abort(mut self: Box<Self>) -> BoxFuture<'static, ()> {
        async move {
            // Whatever became of the piece under way, no more comes after it.
            let _ = self.sink().await;
        }
        .boxed()
    }
}
