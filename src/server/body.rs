//! Request bodies on their way into an upload, with a deadline on standing still and a measure for forms.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep};

/// The body stood still for too long.
#[derive(Debug, thiserror::Error)]
#[error("no byte came for {}s", .0.as_secs())]
pub(super) struct Stalled(Duration);

/// A body that fails with [`Stalled`] when no frame comes for a while.
pub(super) struct Pacing {
    body: Body,
    limit: Duration,
    waiting: Pin<Box<Sleep>>,
}

impl Pacing {
    pub(super) fn new(body: Body, limit: Duration) -> Self {
        Self { body, limit, waiting: Box::pin(tokio::time::sleep(limit)) }
    }
}

impl http_body::Body for Pacing {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) {
            this.waiting.as_mut().reset(Instant::now() + this.limit);
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        match this.waiting.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Some(Err(Box::new(Stalled(this.limit))))),
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A form has too much beside its file.
#[derive(Debug, thiserror::Error)]
#[error("the form has too much beside its file")]
pub(super) struct Wordy;

/// How many more bytes of a form may be read that are not its file's.
#[derive(Clone, Debug)]
pub(super) struct Ration(Arc<AtomicI64>);

impl Ration {
    pub(super) fn of(bytes: i64) -> Self {
        Self(Arc::new(AtomicI64::new(bytes)))
    }

    /// These were the file's.
    pub(super) fn give_back(&self, bytes: usize) {
        self.0.fetch_add(i64::try_from(bytes).unwrap_or(i64::MAX), Ordering::Relaxed);
    }
}

/// A form's body, given out one frame at a time and only as far as its ration goes.
///
/// What reads forms takes everything that is there at once, and keeps a part's header in memory until that ends.
pub(super) struct Rationed {
    body: Body,
    ration: Ration,
    gave: bool,
}

impl Rationed {
    pub(super) fn new(body: Body, ration: Ration) -> Self {
        Self { body, ration, gave: false }
    }
}

impl http_body::Body for Rationed {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
        let this = &mut *self;
        if std::mem::take(&mut this.gave) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if this.ration.0.load(Ordering::Relaxed) < 0 {
            return Poll::Ready(Some(Err(Box::new(Wordy))));
        }
        let polled = Pin::new(&mut this.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            let bytes = frame.data_ref().map_or(0, Bytes::len);
            this.ration.0.fetch_sub(i64::try_from(bytes).unwrap_or(i64::MAX), Ordering::Relaxed);
            this.gave = true;
        }
        polled.map(|frame| frame.map(|frame| frame.map_err(Into::into)))
    }
}

/// Whether an error, or what caused it, is [`Stalled`].
pub(super) fn is_stalled(error: &(dyn std::error::Error + 'static)) -> bool {
    is_from::<Stalled>(error)
}

/// Whether an error, or what caused it, is [`Wordy`].
pub(super) fn is_wordy(error: &(dyn std::error::Error + 'static)) -> bool {
    is_from::<Wordy>(error)
}

fn is_from<E: std::error::Error + 'static>(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.is::<E>() {
            return true;
        }
        next = error.source();
    }
    false
}
