//! How much one connection may have on its way out: over HTTP/2 each of its requests would have a piece of its own.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::PollSemaphore;

/// Bytes of one unit.
const UNIT: usize = 1024;
/// Units of the largest piece a body is read in.
const PIECE: u32 = 256;
/// Pieces that may be on their way: enough for one fast transfer, however many requests there are.
const PIECES: usize = 8;

/// The room of one connection, shared by its requests.
#[derive(Clone, Debug)]
pub(super) struct Room(PollSemaphore);

impl Room {
    pub(super) fn new() -> Self {
        Self(PollSemaphore::new(Arc::new(Semaphore::new(PIECES * PIECE as usize))))
    }

    /// Waits until there is room for a piece. Let go, it is free again: nothing is held while a piece is not there yet.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Place> {
        Poll::Ready(Place(ready!(self.0.poll_acquire_many(cx, PIECE))))
    }
}

/// Room for one piece; none when there is no bound any more.
#[derive(Debug)]
pub(super) struct Place(Option<OwnedSemaphorePermit>);

impl Place {
    /// These bytes, which take their room with them until the last of them has been sent.
    pub(super) fn take(self, bytes: Bytes) -> Bytes {
        let Some(mut whole) = self.0 else { return bytes };
        let place = whole.split(bytes.len().div_ceil(UNIT).min(PIECE as usize));
        Bytes::from_owner(Placed { bytes, _place: place })
    }
}

struct Placed {
    bytes: Bytes,
    _place: Option<OwnedSemaphorePermit>,
}

impl AsRef<[u8]> for Placed {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn however_many_requests_wait_to_be_read_only_so_much_is_in_memory() {
        let mut room = Room::new();
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let mut sent = Vec::new();
        // A hundred requests, of which nobody reads the answers.
        for _ in 0..100 {
            let mut request = room.clone();
            if let Poll::Ready(place) = request.poll(&mut cx) {
                sent.push(place.take(Bytes::from(vec![7; 256 * 1024])));
            }
        }
        assert_eq!(sent.len(), PIECES);
        sent.pop();
        let mut next = room.clone();
        let Poll::Ready(place) = next.poll(&mut cx) else { panic!("what was sent has given its room back") };
        let little = place.take(Bytes::from_static(b"little"));
        assert!(room.poll(&mut cx).is_pending(), "a little takes a little room, and no whole piece is left");
        drop(little);
        assert!(room.poll(&mut cx).is_ready());
    }
}
