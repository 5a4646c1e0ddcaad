//! Request bodies on their way into an upload, with a deadline on standing still and a measure for forms.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures_util::StreamExt as _;
use http_body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use super::listen::{Deadlines, Pace};

/// Bytes of a body nobody wants that are read all the same, and for how long at most.
///
/// A connection that is closed on bytes still under way is reset, and whoever sent them may never see the answer that
/// says why they were not wanted.
const LINGERING: (usize, Duration) = (8 * 1024 * 1024, Duration::from_secs(5));

/// The body came to a standstill, or nearly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Stalled {
    #[error("no byte came for {}s", .0.as_secs())]
    Still(Duration),
    #[error("it came too slowly")]
    Slow,
}

/// A body that fails with [`Stalled`] when no frame comes for a while, or hardly any. Only time in which it is waited for
/// counts: a handler that has other things to do first is not the sender's fault. It is read on for a little when whom it
/// was for has answered without it.
pub(super) struct Pacing {
    body: Body,
    limit: Duration,
    pace: Pace,
    /// Rings when it has been waited for too long; made when it is first waited for.
    alarm: Option<Pin<Box<Sleep>>>,
    waiting: bool,
    /// Whether anything was asked of it.
    asked: bool,
    lingers: Lingers,
}

/// When a body is read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lingers {
    Always,
    /// Who waits to be told to send is not told to for nothing.
    OnceAsked,
    /// It has ended, one way or the other.
    Never,
}

impl Pacing {
    pub(super) fn new(body: Body, deadlines: &Deadlines, lingers: Lingers) -> Self {
        let pace = Pace::at_least(deadlines.slowest);
        Self { body, limit: deadlines.stall, pace, alarm: None, waiting: false, asked: false, lingers }
    }

    /// The alarm, set when the waiting begins.
    fn alarm(&mut self) -> Pin<&mut Sleep> {
        let now = Instant::now();
        let still = now + self.limit;
        if !self.waiting {
            self.waiting = true;
            self.pace.wait(now);
            let at = self.pace.deadline().map_or(still, |slow| slow.min(still));
            match &mut self.alarm {
                Some(alarm) => alarm.as_mut().reset(at),
                None => self.alarm = Some(Box::pin(tokio::time::sleep_until(at))),
            }
        }
        self.alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(still))).as_mut()
    }

    fn why(&self) -> Stalled {
        match self.pace.deadline() {
            Some(slow) if slow <= Instant::now() => Stalled::Slow,
            _ => Stalled::Still(self.limit),
        }
    }
}

impl Drop for Pacing {
    fn drop(&mut self) {
        let lingers = self.lingers == Lingers::Always || self.lingers == Lingers::OnceAsked && self.asked;
        if lingers
            && !http_body::Body::is_end_stream(&self.body)
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let body = std::mem::take(&mut self.body);
            runtime.spawn(async { tokio::time::timeout(LINGERING.1, read_on(body)).await });
        }
    }
}

async fn read_on(body: Body) {
    let (mut pieces, mut left) = (body.into_data_stream(), LINGERING.0);
    while let Some(Ok(piece)) = pieces.next().await {
        match left.checked_sub(piece.len()) {
            Some(rest) => left = rest,
            None => return,
        }
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
        this.asked = true;
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) {
            if frame.as_ref().is_none_or(Result::is_err) {
                this.lingers = Lingers::Never;
            }
            if std::mem::take(&mut this.waiting) {
                this.pace.go_on(Instant::now());
            }
            if let Some(Ok(frame)) = &frame {
                this.pace.moved(Instant::now(), frame.data_ref().map_or(0, Bytes::len));
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        ready!(this.alarm().poll(cx));
        this.lingers = Lingers::Never;
        Poll::Ready(Some(Err(Box::new(this.why()))))
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
pub(super) struct Ration(Arc<Left>);

#[derive(Debug)]
struct Left {
    bytes: AtomicI64,
    /// Whether the reader asked for more and was told to hand out first what it has.
    asked: AtomicBool,
}

impl Ration {
    pub(super) fn of(bytes: i64) -> Self {
        Self(Arc::new(Left { bytes: AtomicI64::new(bytes), asked: AtomicBool::new(false) }))
    }

    /// The reader handed something out, so many bytes of it the file's.
    pub(super) fn handed_out(&self, of_the_file: usize) {
        self.0.bytes.fetch_add(i64::try_from(of_the_file).unwrap_or(i64::MAX), Ordering::Relaxed);
        self.0.asked.store(false, Ordering::Relaxed);
    }

    fn is_spent(&self) -> bool {
        self.0.bytes.load(Ordering::Relaxed) < 0
    }

    fn take(&self, bytes: usize) {
        self.0.bytes.fetch_sub(i64::try_from(bytes).unwrap_or(i64::MAX), Ordering::Relaxed);
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
        let spent = this.ration.is_spent();
        if std::mem::take(&mut this.gave) || (spent && !this.ration.0.asked.swap(true, Ordering::Relaxed)) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if spent {
            return Poll::Ready(Some(Err(Box::new(Wordy))));
        }
        let polled = Pin::new(&mut this.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            this.ration.take(frame.data_ref().map_or(0, Bytes::len));
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

/// Whether an error, or what caused it, is that a body is longer than it may be.
pub(super) fn is_too_long(error: &(dyn std::error::Error + 'static)) -> bool {
    is_from::<http_body_util::LengthLimitError>(error)
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

#[cfg(test)]
mod tests {
    use axum::extract::{FromRequest as _, Multipart, Request};
    use http_body::Body as _;
    use http_body_util::BodyExt as _;

    use super::*;

    const DEADLINES: Deadlines = Deadlines {
        handshake: Duration::from_secs(10),
        header: Duration::from_secs(10),
        idle: Duration::from_secs(60),
        stall: Duration::from_secs(30),
        slowest: 512,
    };

    /// A body of which so many bytes come at every interval, and how long and why not any longer.
    async fn paced(bytes: usize, every: Duration) -> (Duration, Option<Stalled>) {
        let pieces = futures_util::stream::unfold(0, move |n| async move {
            tokio::time::sleep(every).await;
            (n < 1000).then(|| (Ok::<_, std::io::Error>(vec![7; bytes]), n + 1))
        });
        let (mut body, begun) = (Pacing::new(Body::from_stream(pieces), &DEADLINES, Lingers::Never), Instant::now());
        while let Some(frame) = body.frame().await {
            if let Err(error) = frame {
                return (begun.elapsed(), error.downcast_ref::<Stalled>().copied());
            }
        }
        (begun.elapsed(), None)
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_stands_still_or_drips_is_given_up_and_a_slow_one_is_not() {
        let still = Stalled::Still(DEADLINES.stall);
        assert_eq!(paced(1000, Duration::from_secs(31)).await, (DEADLINES.stall, Some(still)));
        assert_eq!(paced(1, Duration::from_secs(1)).await, (Duration::from_secs(60), Some(Stalled::Slow)));
        assert_eq!(paced(600, Duration::from_secs(1)).await.1, None);
        assert_eq!(paced(20_000, Duration::from_secs(29)).await.1, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_nobody_reads_yet_is_not_late() {
        let pieces = futures_util::stream::once(async {
            tokio::time::sleep(Duration::from_secs(20)).await;
            Ok::<_, std::io::Error>("here")
        });
        let mut body = Pacing::new(Body::from_stream(pieces), &DEADLINES, Lingers::Never);
        tokio::time::sleep(Duration::from_secs(3600)).await;
        let frame = body.frame().await.expect("a frame").expect("in time");
        assert_eq!(frame.into_data().expect("data"), "here");
    }

    const EDGE: &str = "--b\r\nContent-Disposition: form-data; name=";

    /// Reads a form whose body comes in these frames; answers the bytes of its parts.
    async fn read(frames: Vec<String>, ration: i64) -> Result<Vec<usize>, axum::extract::multipart::MultipartError> {
        let ration = Ration::of(ration);
        let frames = futures_util::stream::iter(frames.into_iter().map(Ok::<_, std::io::Error>));
        let body = Body::new(Rationed::new(Body::from_stream(frames), ration.clone()));
        let request = Request::post("/").header("content-type", "multipart/form-data; boundary=b").body(body);
        let mut form = Multipart::from_request(request.expect("a request"), &()).await.expect("a form");
        let mut parts = Vec::new();
        while let Some(mut part) = form.next_field().await? {
            ration.handed_out(0);
            let is_file = part.name() == Some("file");
            let mut size = 0;
            while let Some(piece) = part.chunk().await? {
                ration.handed_out(if is_file { piece.len() } else { 0 });
                size += piece.len();
            }
            parts.push(size);
        }
        Ok(parts)
    }

    /// A body without end, and what tells how many bytes of it were read and that it is held no more.
    fn endless(piece: usize) -> (Body, Arc<AtomicI64>) {
        let read = Arc::new(AtomicI64::new(0));
        let count = Arc::clone(&read);
        let pieces = futures_util::stream::repeat_with(move || {
            count.fetch_add(i64::try_from(piece).expect("small"), Ordering::Relaxed);
            Ok::<_, std::io::Error>(vec![0; piece])
        });
        (Body::from_stream(pieces), read)
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_nobody_wants_is_read_on_but_not_for_ever() {
        let most = i64::try_from(LINGERING.0).expect("fits");
        for (lingers, asked, read_on) in [
            (Lingers::Always, false, most),
            (Lingers::OnceAsked, false, 0),
            (Lingers::OnceAsked, true, most),
            (Lingers::Never, true, 0),
        ] {
            let (body, read) = endless(1 << 20);
            let mut pacing = Pacing::new(body, &DEADLINES, lingers);
            if asked {
                std::future::poll_fn(|cx| Pin::new(&mut pacing).poll_frame(cx)).await.expect("a frame").expect("bytes");
                read.store(0, Ordering::Relaxed);
            }
            drop(pacing);
            tokio::time::sleep(Duration::from_secs(1)).await;
            let read = read.load(Ordering::Relaxed);
            assert!(read == read_on || read == read_on + (1 << 20) && read_on > 0, "{lingers:?} {asked}: {read}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_is_silent_is_let_go() {
        let (sender, held) = tokio::sync::oneshot::channel::<Result<Frame<Bytes>, std::io::Error>>();
        let silent = futures_util::stream::once(async { held.await.unwrap_or_else(|_| Ok(Frame::data(Bytes::new()))) });
        let body = Body::new(http_body_util::StreamBody::new(Box::pin(silent)));
        drop(Pacing::new(body, &DEADLINES, Lingers::Always));
        tokio::time::sleep(LINGERING.1 / 2).await;
        assert!(!sender.is_closed(), "it is read on");
        tokio::time::sleep(LINGERING.1).await;
        assert!(sender.is_closed(), "it was let go");
    }

    fn whole(file: usize) -> String {
        let file = "7".repeat(file);
        format!("{EDGE}ttl\r\n\r\n30m\r\n{EDGE}file\r\n\r\n{file}\r\n{EDGE}name\r\n\r\nx\r\n--b--\r\n")
    }

    #[tokio::test]
    async fn what_is_the_files_does_not_count_however_it_comes() {
        for size in [1, 3, 50, 299, 300, 301, 5000, 100_000] {
            let text = whole(20_000);
            let frames = text.as_bytes().chunks(size).map(|c| String::from_utf8_lossy(c).into_owned()).collect();
            assert_eq!(read(frames, 300).await.expect("a form"), [3, 20_000, 1], "in frames of {size}");
        }
    }

    #[tokio::test]
    async fn more_than_the_ration_beside_the_file_is_too_much() {
        for size in [1, 50, 299, 100_000] {
            let text = format!("{EDGE}ttl\r\nX: {}", "x".repeat(20_000));
            let frames = text.as_bytes().chunks(size).map(|c| String::from_utf8_lossy(c).into_owned()).collect();
            let error = read(frames, 300).await.expect_err("too much");
            assert!(is_wordy(&error), "in frames of {size}: {error:?}");
        }
    }
}
