//! Writing: gathered into large pieces, hashed and written on a thread that may wait, one piece under way at a time.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use ring::digest;
use tokio::task::JoinHandle;

use super::{blocking, make_file, sync_folder};
use crate::identity::Sha256;
use crate::store::Error;
use crate::store::blobs::{PIECE, Write};

/// The file and the digest of what is in it: one owner at a time.
struct Sink {
    /// Made with the first piece, so that what is small needs that thread only once.
    file: Option<File>,
    digest: digest::Context,
    path: PathBuf,
}

impl Sink {
    fn take(&mut self, pieces: &[Bytes]) -> Result<(), Error> {
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
    pub(super) fn new(path: PathBuf, target: PathBuf) -> Self {
        let sink = Sink { file: None, digest: digest::Context::new(&digest::SHA256), path };
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

    fn finish(mut self: Box<Self>) -> BoxFuture<'static, Result<Sha256, Error>> {
        async move {
            let mut sink = self.sink().await?;
            let pieces = std::mem::take(&mut self.gathered);
            let target = self.target.clone();
            blocking(move || {
                sink.take(&pieces)?;
                let Sink { file: Some(file), digest, path } = *sink else { return Err(Error::Closed) };
                // Renamed first, so that the file system writes all of it down at once: until the row says that it is
                // whole, a file is not, whatever its name.
                std::fs::rename(&path, &target).map_err(|source| Error::io("rename", &path, source))?;
                file.sync_data().map_err(|source| Error::io("sync", &target, source))?;
                sync_folder(target.parent().unwrap_or(Path::new(".")))?;
                let mut sha256 = [0; 32];
                sha256.copy_from_slice(digest.finish().as_ref());
                Ok(Sha256(sha256))
            })
            .await
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
