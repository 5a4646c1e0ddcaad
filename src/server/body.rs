//! Request bodies on their way into an upload, with a deadline on standing still.

use std::pin::Pin;
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

/// Whether an error, or what caused it, is [`Stalled`].
pub(super) fn is_stalled(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.is::<Stalled>() {
            return true;
        }
        next = error.source();
    }
    false
}
