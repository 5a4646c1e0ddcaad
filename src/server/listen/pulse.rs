//! Whether a connection is alive: what moved last, and when it has stood still for too long.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::pace::Pace;

/// How long a connection may take for what it does.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    /// From the first byte of the connection to the end of the TLS handshake.
    pub handshake: Duration,
    /// From the first byte of an HTTP/1.1 request to the end of its header.
    pub header: Duration,
    /// Without a request.
    pub idle: Duration,
    /// For the next piece of a request's body. A connection on which nothing moves in either direction while a request
    /// runs is closed after twice as long: time enough to say why the body was given up.
    pub stall: Duration,
    /// Bytes a second that have to move while we wait for the other side of a transfer, a minute of it at a time; 0:
    /// any.
    pub slowest: u64,
}

/// What a connection is doing; shared by its socket, its requests and the one who watches over it.
#[derive(Clone, Debug)]
pub(super) struct Pulse(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    /// Requests that have begun and not ended.
    active: usize,
    /// When the last byte moved.
    moved: Instant,
    /// When the last request ended, or the connection began.
    idle_since: Instant,
    /// When the first byte came after that.
    header_since: Option<Instant>,
    /// How answers are taken.
    pace: Pace,
    /// Whether the header deadline applies: an HTTP/2 peer sends frames that are no request.
    headers_are_requests: bool,
}

/// Why a connection has to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Still {
    Idle,
    Header,
    Stalled,
    Slow,
}

impl Pulse {
    pub(super) fn new(now: Instant, slowest: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            active: 0,
            moved: now,
            idle_since: now,
            header_since: None,
            pace: Pace::at_least(slowest),
            headers_are_requests: false,
        })))
    }

    fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The handshake is over; from now on requests are expected.
    pub(super) fn expect_requests(&self, headers_are_requests: bool) {
        let now = Instant::now();
        self.with(|s| {
            s.idle_since = now;
            s.header_since = None;
            s.headers_are_requests = headers_are_requests;
        });
    }

    /// A request has begun; it ends when the guard is dropped.
    pub(super) fn request(&self) -> Active {
        self.with(|s| s.active += 1);
        Active(self.clone())
    }

    /// When it has to go if nothing moves until then, and why.
    pub(super) fn deadline(&self, limits: &Deadlines) -> (Instant, Still) {
        self.with(|s| match s.header_since {
            _ if s.active > 0 => {
                let stalled = s.moved + limits.stall * 2;
                match s.pace.deadline() {
                    Some(slow) if slow < stalled => (slow, Still::Slow),
                    _ => (stalled, Still::Stalled),
                }
            }
            Some(since) if s.headers_are_requests => (since + limits.header, Still::Header),
            _ => (s.idle_since + limits.idle, Still::Idle),
        })
    }

    /// Waits until it has to go.
    pub(super) async fn stopped(&self, limits: &Deadlines) -> Still {
        loop {
            let (at, why) = self.deadline(limits);
            if at <= Instant::now() {
                return why;
            }
            tokio::time::sleep_until(at).await;
        }
    }

    fn read(&self) {
        let now = Instant::now();
        self.with(|s| {
            s.moved = now;
            if s.active == 0 && s.header_since.is_none() {
                s.header_since = Some(now);
            }
        });
    }

    fn wrote(&self, bytes: usize) {
        let now = Instant::now();
        self.with(|s| {
            s.moved = now;
            s.pace.moved(now, bytes);
        });
    }
}

/// A request under way.
#[derive(Debug)]
pub(super) struct Active(Pulse);

impl Active {
    /// A piece of the answer is wanted: those before it are on their way.
    pub(super) fn asked(&self) {
        let now = Instant::now();
        self.0.with(|s| s.pace.go_on(now));
    }

    /// A piece of the answer was given: it is for the other side to take it.
    pub(super) fn gave(&self) {
        let now = Instant::now();
        self.0.with(|s| s.pace.wait(now));
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        let now = Instant::now();
        self.0.with(|s| {
            s.active = s.active.saturating_sub(1);
            if s.active == 0 {
                s.idle_since = now;
                s.header_since = None;
                s.pace.go_on(now);
            }
        });
    }
}

/// A socket that tells its [`Pulse`] of every byte.
#[derive(Debug)]
pub(super) struct Pulsing<S> {
    inner: S,
    pulse: Pulse,
    parting: Option<Parting>,
}

/// When a connection on which all is said is closed at the latest.
#[derive(Debug)]
struct Parting {
    silent: Pin<Box<Sleep>>,
    end: Instant,
}

/// How long the other side may say nothing more, and how long it may go on, before a connection is closed on which all
/// is said.
const PARTING: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

impl Parting {
    fn begin() -> Self {
        let now = Instant::now();
        Self { silent: Box::pin(tokio::time::sleep_until(now + PARTING.0)), end: now + PARTING.1 }
    }

    fn heard(&mut self) {
        self.silent.as_mut().reset(self.end.min(Instant::now() + PARTING.0));
    }
}

impl<S> Pulsing<S> {
    pub(super) fn new(inner: S, pulse: Pulse) -> Self {
        Self { inner, pulse, parting: None }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Pulsing<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.pulse.read();
        }
        polled
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Pulsing<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write(cx, buf);
        if let Poll::Ready(Ok(bytes @ 1..)) = polled {
            self.pulse.wrote(bytes);
        }
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        if let Poll::Ready(Ok(bytes @ 1..)) = polled {
            self.pulse.wrote(bytes);
        }
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    /// Says that nothing more will come, and reads on until the other side says so too, or nothing. A socket that is
    /// closed on bytes nobody read is reset, and with it goes what it has still to send: the end of an answer to somebody
    /// slow, who tells us all the while how much more may come.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.parting.is_none() {
            ready!(Pin::new(&mut this.inner).poll_shutdown(cx))?;
        }
        let parting = this.parting.get_or_insert_with(Parting::begin);
        let mut unwanted = [0; 4096];
        loop {
            let mut read = ReadBuf::new(&mut unwanted);
            match Pin::new(&mut this.inner).poll_read(cx, &mut read) {
                Poll::Ready(Ok(())) if !read.filled().is_empty() && Instant::now() < parting.end => parting.heard(),
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => break,
            }
        }
        ready!(parting.silent.as_mut().poll(cx));
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_connection_on_which_all_is_said_is_closed_when_the_other_side_is_done_or_silent() {
        let parted = async |other: tokio::io::DuplexStream, ours: tokio::io::DuplexStream, every: Option<Duration>| {
            let mut ours = Pulsing::new(ours, Pulse::new(Instant::now(), 0));
            let talking = tokio::spawn(async move {
                let mut other = other;
                assert_eq!(other.read(&mut [0; 8]).await.expect("the end is read"), 0);
                while let Some(pause) = every {
                    if other.write_all(b"more").await.is_err() {
                        break;
                    }
                    tokio::time::sleep(pause).await;
                }
                if every.is_none() { drop(other) } else { std::future::pending::<()>().await }
            });
            let begun = Instant::now();
            ours.shutdown().await.expect("shut down");
            talking.abort();
            begun.elapsed()
        };
        let pair = || tokio::io::duplex(64);
        let (other, ours) = pair();
        assert_eq!(parted(other, ours, None).await, Duration::ZERO);
        let (other, ours) = pair();
        assert_eq!(parted(other, ours, Some(Duration::from_secs(3600))).await, PARTING.0, "silent");
        let (other, ours) = pair();
        assert_eq!(parted(other, ours, Some(PARTING.0 / 2)).await, PARTING.1, "talks on and on");
    }

    const LIMITS: Deadlines = Deadlines {
        handshake: Duration::from_secs(10),
        header: Duration::from_secs(10),
        idle: Duration::from_secs(60),
        stall: Duration::from_secs(30),
        slowest: 512,
    };

    #[tokio::test(start_paused = true)]
    async fn each_kind_of_standstill_has_its_deadline() {
        let begun = Instant::now();
        let pulse = Pulse::new(begun, 512);
        pulse.expect_requests(true);
        assert_eq!(pulse.deadline(&LIMITS), (begun + LIMITS.idle, Still::Idle));
        pulse.read();
        tokio::time::advance(Duration::from_secs(5)).await;
        pulse.read();
        assert_eq!(pulse.deadline(&LIMITS), (begun + LIMITS.header, Still::Header), "a trickle does not extend it");
        let request = pulse.request();
        pulse.wrote(1);
        assert_eq!(pulse.deadline(&LIMITS), (Instant::now() + LIMITS.stall * 2, Still::Stalled));
        drop(request);
        assert_eq!(pulse.deadline(&LIMITS), (Instant::now() + LIMITS.idle, Still::Idle));
    }

    #[tokio::test(start_paused = true)]
    async fn frames_that_are_no_request_do_not_count_as_headers() {
        let pulse = Pulse::new(Instant::now(), 512);
        pulse.expect_requests(false);
        pulse.read();
        assert_eq!(pulse.deadline(&LIMITS).1, Still::Idle);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_moves_is_left_alone_and_then_stopped() {
        let pulse = Pulse::new(Instant::now(), 512);
        pulse.expect_requests(true);
        let _request = pulse.request();
        let begun = Instant::now();
        let mover = pulse.clone();
        tokio::spawn(async move {
            for _ in 0..3 {
                tokio::time::sleep(Duration::from_secs(20)).await;
                mover.wrote(1);
            }
        });
        assert_eq!(pulse.stopped(&LIMITS).await, Still::Stalled);
        assert_eq!(begun.elapsed(), Duration::from_secs(60) + LIMITS.stall * 2);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_taken_in_drops_is_given_up() {
        let begun = Instant::now();
        let pulse = Pulse::new(begun, 512);
        let request = pulse.request();
        request.asked();
        request.gave();
        let taker = pulse.clone();
        let dripping = tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_secs(5)).await;
                taker.wrote(100);
            }
        });
        // What moves keeps it from standing still, and is too little.
        let why = tokio::time::timeout(Duration::from_secs(3600), pulse.stopped(&LIMITS)).await;
        assert_eq!(why, Ok(Still::Slow));
        assert!(begun.elapsed() <= Duration::from_secs(120), "{:?}", begun.elapsed());
        dripping.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_taken_slowly_but_steadily_is_not() {
        let pulse = Pulse::new(Instant::now(), 512);
        let request = pulse.request();
        request.asked();
        request.gave();
        let taker = pulse.clone();
        let taking = tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_secs(5)).await;
                taker.wrote(5 * 600);
            }
        });
        assert!(tokio::time::timeout(Duration::from_secs(3600), pulse.stopped(&LIMITS)).await.is_err());
        taking.abort();
    }
}
