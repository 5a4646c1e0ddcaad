//! Bytes on their way out.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream::BoxStream;

use super::{Inner, ledger};
use crate::link::Link;

/// Bytes on their way out, in pieces of at most 256 KiB.
pub struct Content {
    bytes: BoxStream<'static, io::Result<Bytes>>,
    length: u64,
    _burning: Option<Burning>,
}

impl Content {
    pub(super) fn new(bytes: BoxStream<'static, io::Result<Bytes>>, length: u64, burning: Option<Burning>) -> Self {
        Self { bytes, length, _burning: burning }
    }

    /// How many bytes there are.
    pub fn length(&self) -> u64 {
        self.length
    }
}

impl Stream for Content {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.bytes.as_mut().poll_next(cx)
    }
}

/// The one reading of a link: when it is over, whole or cut off, the bytes go. After a crash the sweeper sees to it.
pub(super) struct Burning {
    inner: Arc<Inner>,
    doomed: Option<ledger::Doomed>,
}

impl Burning {
    pub(super) fn new(inner: Arc<Inner>, link: &Link) -> Self {
        let doomed = ledger::Doomed { id: link.id.clone(), kind: link.kind, blob: link.blob.clone() };
        Self { inner, doomed: Some(doomed) }
    }
}

impl Drop for Burning {
    fn drop(&mut self) {
        let (Some(doomed), Ok(runtime)) = (self.doomed.take(), tokio::runtime::Handle::try_current()) else { return };
        let inner = Arc::clone(&self.inner);
        let clean = async move {
            if let Err(error) = inner.bury(doomed).await {
                tracing::warn!(%error, "the bytes of a link that was read are still there; the sweeper tries again");
            }
        };
        self.inner.cleaning.spawn_on(clean, &runtime);
    }
}
