//! From a TCP connection to HTTP requests: slots, deadlines, TLS, and an end that lets running transfers finish.

use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service;

use super::connection::Connection;
use super::metrics::Metrics;
use super::networks::Networks;
use super::outside::Proxies;
use super::problem::chain;
use super::reports::Reports;
use super::socket::{Listener, Stream};
use crate::tls::{Peer, PeerCertificate, Terminator};

mod begun;
mod courtesy;
mod pace;
mod proxied;
mod pulse;
mod room;
mod slots;
mod turns;

pub(super) use pace::Pace;
pub use pulse::Deadlines;
pub(super) use slots::Slots;
pub(super) use turns::Turns;

/// How much of the machine connections may have.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections open at once; more wait to be accepted.
    pub connections: usize,
    /// Connections open at once from one address (IPv6: one /64); more are closed.
    pub connections_per_address: usize,
    /// How long each step may take.
    pub deadlines: Deadlines,
}

/// Bytes buffered per TLS connection before its writer waits.
const TLS_BUFFER: usize = 256 * 1024;

/// Bytes of request header an HTTP/2 peer may send.
const LARGEST_HEADER: u32 = 32 * 1024;

/// After a failed `accept` for want of file descriptors or memory: time for some to come back.
const BREATH: Duration = Duration::from_millis(50);

/// How a server listens. Cheap to clone.
#[derive(Clone)]
pub(super) struct Listen<S> {
    pub(super) way: Way,
    pub(super) limits: Limits,
    /// Room for connections, whatever way they come.
    pub(super) slots: Slots,
    /// Handshakes take turns.
    pub(super) handshakes: Turns,
    /// So do requests of those who are not known.
    pub(super) strangers: Turns,
    /// What is counted.
    pub(super) metrics: Arc<Metrics>,
    /// What answers requests.
    pub(super) service: S,
    /// Cancelled: no new connections, and open ones end after the request they are in.
    pub(super) closing: CancellationToken,
    /// Open connections.
    pub(super) open: TaskTracker,
    /// What strangers make us say.
    pub(super) reports: Arc<Reports>,
}

/// For handshakes, and for requests of strangers, on so many threads. A step is a signature or two, or one small request;
/// of either there are as many before a thread looks for what else has come in as take some tenths of a millisecond.
pub(super) fn turns(threads: usize) -> (Turns, Turns) {
    let courtesy = Arc::new(courtesy::Courtesy::default());
    let handshakes = Turns::new(threads, 2, Duration::from_micros(500), Arc::clone(&courtesy));
    (handshakes, Turns::new(threads, 2, Duration::from_micros(100), courtesy))
}

/// How connections come.
#[derive(Clone)]
pub(super) enum Way {
    /// With TLS, which ends here.
    Tls {
        tls: Terminator,
        /// Proxies that forward TCP to us and begin each connection with a header that says whose it is; nobody else is
        /// listened to then. `None`: connections come from clients themselves.
        forwarders: Option<Arc<Networks>>,
    },
    /// In plain HTTP, from a proxy where TLS ends.
    Plain(Arc<Proxies>),
}

impl<S> Listen<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send,
{
    /// Accepts until closing. A handshake never holds up the next `accept`.
    pub(super) async fn accept(self, listener: Listener) {
        loop {
            let next = async {
                let room = self.slots.room().await;
                (listener.accept().await, room)
            };
            let (accepted, room) = tokio::select! {
                biased;
                () = self.closing.cancelled() => return,
                next = next => next,
            };
            let (stream, address) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    if !concerns_one_connection(&error) {
                        tracing::error!(%error, "cannot accept connections");
                        tokio::time::sleep(BREATH).await;
                    }
                    continue;
                }
            };
            let Some(room) = room else { return };
            let slot = self.slot(address, room);
            self.metrics.connections.one(if slot.is_some() { "served" } else { "refused" });
            let Some(slot) = slot else { continue };
            let listen = self.clone();
            self.open.spawn(async move {
                match stream {
                    Stream::Tcp(stream) => listen.serve(stream, address, slot).await,
                    Stream::Unix(stream) => listen.serve(stream, address, slot).await,
                }
            });
        }
    }

    /// A place for a connection that was just accepted; `None` if it has to go.
    fn slot(&self, address: Option<IpAddr>, room: OwnedSemaphorePermit) -> Option<Place> {
        let Some(ip) = address else { return Some(Place::Taken(self.slots.take_uncounted(room))) };
        match &self.way {
            Way::Tls { forwarders: Some(proxies), .. } if proxies.contain(ip) => Some(Place::Unclear(room)),
            Way::Tls { forwarders: Some(_), .. } => {
                self.reports.tell(|| tracing::warn!(address = %ip, "refused: not one of DD_TRUSTED_PROXIES"));
                None
            }
            Way::Plain(proxies) if proxies.may_be_at(address) && !proxies.anywhere => {
                Some(Place::Taken(self.slots.take_uncounted(room)))
            }
            Way::Plain(_) | Way::Tls { forwarders: None, .. } => {
                let slot = self.slots.take(ip, room);
                if slot.is_none() {
                    tracing::debug!(address = %ip, "refused: too many connections from this address");
                }
                slot.map(Place::Taken)
            }
        }
    }

    async fn serve<T>(self, stream: T, address: Option<IpAddr>, place: Place)
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let _open = self.metrics.connection();
        let pulse = pulse::Pulse::new(Instant::now(), self.limits.deadlines.slowest);
        let stream = pulse::Pulsing::new(stream, pulse.clone());
        match self.way.clone() {
            Way::Plain(proxies) => self.serve_plain(stream, address, pulse, proxies, place).await,
            Way::Tls { tls, .. } => self.serve_tls(stream, address, pulse, tls, place).await,
        }
    }

    async fn serve_tls<T>(
        self,
        mut stream: pulse::Pulsing<T>,
        address: Option<IpAddr>,
        pulse: pulse::Pulse,
        tls: Terminator,
        place: Place,
    ) where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let opening = async {
            let (address, slot) = match place {
                Place::Taken(slot) => (address, slot),
                Place::Unclear(room) => match proxied::read(&mut stream).await? {
                    proxied::Origin::Proxy => (address, self.slots.take_uncounted(room)),
                    proxied::Origin::Client(client) => {
                        (Some(client), self.slots.take(client, room).ok_or(Refused::TooMany)?)
                    }
                },
            };
            let accepting =
                TlsAcceptor::from(tls.current()).accept_with(stream, |tls| tls.set_buffer_limit(Some(TLS_BUFFER)));
            Ok::<_, Refused>((self.handshakes.take(accepting, || true).await.map_err(Refused::Tls)?, address, slot))
        };
        let (tls, address, _slot) = match tokio::time::timeout(self.limits.deadlines.handshake, opening).await {
            Ok(Ok(opened)) => opened,
            Ok(Err(error)) => {
                self.metrics.handshakes.one("failed");
                return tracing::debug!(?address, error = chain(&error), "connection refused");
            }
            Err(_) => {
                self.metrics.handshakes.one("timeout");
                return tracing::debug!(?address, "TLS handshake took too long");
            }
        };
        let (_, session) = tls.get_ref();
        let resumed = session.handshake_kind() == Some(rustls::HandshakeKind::Resumed);
        self.metrics.handshakes.one(if resumed { "resumed" } else { "full" });
        let certificate = session.peer_certificates().and_then(|chain| chain.first());
        let peer = Peer {
            address: address.map(|address| address.to_canonical()),
            certificate: certificate.and_then(PeerCertificate::read),
        };
        let h2 = session.alpn_protocol() == Some(b"h2");
        pulse.expect_requests(!h2);
        self.converse(TokioIo::new(tls), Connection::new(peer, None), h2, pulse).await;
    }

    /// There is no ALPN to say which HTTP it is: its first bytes do.
    async fn serve_plain<T>(
        self,
        stream: pulse::Pulsing<T>,
        address: Option<IpAddr>,
        pulse: pulse::Pulse,
        proxies: Arc<Proxies>,
        _place: Place,
    ) where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (stream, h2) = match tokio::time::timeout(self.limits.deadlines.idle, begun::begin(stream)).await {
            Ok(Ok(begun)) => begun,
            Ok(Err(error)) => return tracing::debug!(?address, %error, "connection ended before its first request"),
            Err(_) => return tracing::debug!(?address, "connection closed: it never began"),
        };
        pulse.expect_requests(!h2);
        let peer = Peer { address: address.map(|address| address.to_canonical()), certificate: None };
        self.converse(TokioIo::new(stream), Connection::new(peer, Some(proxies)), h2, pulse).await;
    }

    async fn converse<I>(self, io: I, connection: Connection, h2: bool, pulse: pulse::Pulse)
    where
        I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    {
        let address = connection.peer.address;
        let connection = Arc::new(connection);
        let (service, strangers) = (self.service, self.strangers);
        let (requests, room) = (pulse.clone(), h2.then(room::Room::new));
        let asked = Arc::clone(&connection);
        let answer = service_fn(move |request: Request<Incoming>| {
            let can_wait = asked.request();
            let active = requests.request();
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(Arc::clone(&asked));
            let (mut service, room) = (service.clone(), room.clone());
            let waiting = can_wait.then(|| Arc::clone(&asked));
            async move {
                if let Some(connection) = waiting {
                    tokio::task::yield_now().await;
                    connection.go_on();
                }
                let response = service.call(request).await;
                response.map(|response| response.map(|body| Body::new(Held { body, active, room })))
            }
        });
        let builder = protocol(h2, InTurn { strangers: strangers.clone(), connection: Arc::clone(&connection) });
        let conversing = async {
            let mut serving = pin!(builder.serve_connection(io, answer));
            let mut closing = pin!(self.closing.cancelled());
            let mut stopped = pin!(pulse.stopped(&self.limits.deadlines));
            let mut asked_to_end = false;
            loop {
                tokio::select! {
                    ended = serving.as_mut() => {
                        if let Err(error) = ended {
                            tracing::debug!(?address, error = %error, "connection ended");
                        }
                        return;
                    }
                    () = closing.as_mut(), if !asked_to_end => {
                        asked_to_end = true;
                        serving.as_mut().graceful_shutdown();
                    }
                    why = stopped.as_mut() => {
                        return tracing::debug!(?address, ?why, "connection closed: it stood still");
                    }
                }
            }
        };
        strangers.take(conversing, || connection.has_to_wait()).await;
    }
}

/// Spawns what HTTP/2 does beside its connection: requests, each of them a task, take turns as their connection does.
#[derive(Clone)]
struct InTurn {
    strangers: Turns,
    connection: Arc<Connection>,
}

impl<F> hyper::rt::Executor<F> for InTurn
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, work: F) {
        let Self { strangers, connection } = self.clone();
        tokio::spawn(async move { strangers.take(work, || connection.has_to_wait()).await });
    }
}

fn protocol(h2: bool, executor: InTurn) -> auto::Builder<InTurn> {
    let mut builder = auto::Builder::new(executor);
    builder.http1().timer(TokioTimer::new()).max_buf_size(256 * 1024).half_close(false).keep_alive(true);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(64)
        .max_header_list_size(LARGEST_HEADER)
        .initial_stream_window_size(512 * 1024)
        .initial_connection_window_size(1024 * 1024)
        .max_send_buf_size(256 * 1024)
        .max_frame_size(64 * 1024);
    if h2 { builder.http2_only() } else { builder.http1_only() }
}

/// A connection's place among the others.
enum Place {
    /// It has one.
    Taken(slots::Slot),
    /// Whom it counts for, its first bytes say.
    Unclear(OwnedSemaphorePermit),
}

/// Why a connection came to nothing before its first request.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error(transparent)]
    Proxied(#[from] proxied::Error),
    #[error("too many connections from this address")]
    TooMany,
    #[error("TLS handshake failed")]
    Tls(#[source] io::Error),
}

/// Whether a failed `accept` is only about the connection that was to be accepted.
fn concerns_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// A response body that counts as a running request until it has been sent, and gives out a piece when there is room.
struct Held {
    body: Body,
    active: pulse::Active,
    /// HTTP/1.1 takes the next piece when the last one is on its way, and needs no other bound.
    room: Option<room::Room>,
}

impl http_body::Body for Held {
    type Data = bytes::Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Self::Data>, Self::Error>>> {
        let this = &mut *self;
        let place = match &mut this.room {
            Some(room) => Some(ready!(room.poll(cx))),
            None => None,
        };
        this.active.asked();
        let frame = ready!(std::pin::Pin::new(&mut this.body).poll_frame(cx));
        this.active.gave();
        let Some(place) = place else { return Poll::Ready(frame) };
        Poll::Ready(frame.map(|frame| frame.map(|frame| frame.map_data(|bytes| place.take(bytes)))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::task::yield_now;

    use super::*;

    const DEADLINES: Deadlines = Deadlines {
        handshake: Duration::from_secs(10),
        header: Duration::from_secs(10),
        idle: Duration::from_secs(60),
        stall: Duration::from_secs(30),
        slowest: 0,
    };

    /// Answers requests, and counts them; those who ask are known if `known` says so.
    async fn serve(known: bool, from: tokio::io::DuplexStream) -> (Arc<AtomicUsize>, Turns) {
        let answered = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&answered);
        let service = tower::service_fn(move |request: Request<Body>| {
            let connection = request.extensions().get::<Arc<Connection>>();
            if let Some(connection) = connection {
                connection.found(known);
            }
            count.fetch_add(1, Ordering::Relaxed);
            std::future::ready(Ok::<_, Infallible>(Response::new(Body::empty())))
        });
        let (handshakes, strangers) = turns(1);
        let proxies = Proxies::new("192.0.2.1".parse().expect("a network"), false, None);
        let limits = Limits { connections: 10, connections_per_address: 10, deadlines: DEADLINES };
        let slots = Slots::new(limits.connections, limits.connections_per_address);
        let place = Place::Taken(slots.take_uncounted(slots.room().await.expect("room")));
        let listen = Listen {
            way: Way::Plain(Arc::new(proxies)),
            limits,
            slots,
            handshakes,
            strangers: strangers.clone(),
            metrics: Arc::new(Metrics::new()),
            service,
            closing: CancellationToken::new(),
            open: TaskTracker::new(),
            reports: Arc::default(),
        };
        tokio::spawn(listen.serve(from, None, place));
        (answered, strangers)
    }

    /// The most requests that were answered between two looks at what else there is to do.
    async fn at_one_go(known: bool, count: usize) -> usize {
        let (mut ours, theirs) = tokio::io::duplex(1024 * 1024);
        let (answered, strangers) = serve(known, theirs).await;
        ours.write_all("GET /health HTTP/1.1\r\nHost: drop\r\n\r\n".repeat(count).as_bytes()).await.expect("sent");
        let (mut most, mut before) = (0, 0);
        for _ in 0..100_000 {
            yield_now().await;
            let now = answered.load(Ordering::Relaxed);
            most = most.max(now - before);
            before = now;
            if now == count {
                break;
            }
        }
        assert_eq!(before, count, "all of them");
        assert!(ours.read(&mut [0; 64]).await.is_ok_and(|read| read > 0));
        settled(&strangers).await;
        most
    }

    /// Nobody keeps a turn.
    async fn settled(strangers: &Turns) {
        for _ in 0..1000 {
            yield_now().await;
        }
        assert_eq!(strangers.free(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stranger_who_sends_many_requests_at_once_takes_a_turn_for_each() {
        assert_eq!(at_one_go(false, 100).await, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn somebody_known_does_not() {
        assert!(at_one_go(true, 100).await > 2);
    }
    #[tokio::test(start_paused = true)]
    async fn by_http_2_all_are_answered_and_nobody_keeps_a_turn() {
        for known in [false, true] {
            let (ours, theirs) = tokio::io::duplex(1024 * 1024);
            let (answered, strangers) = serve(known, theirs).await;
            let executor = hyper_util::rt::TokioExecutor::new();
            let shaken = hyper::client::conn::http2::handshake::<_, _, Body>(executor, TokioIo::new(ours)).await;
            let (client, connection) = shaken.expect("HTTP/2");
            tokio::spawn(connection);
            for count in 1..=5 {
                let ask = |_| {
                    let mut client = client.clone();
                    let request = Request::get("http://drop/health").body(Body::empty()).expect("a request");
                    async move { client.send_request(request).await.expect("an answer").status() }
                };
                let all = futures_util::future::join_all((0..40).map(ask)).await;
                assert!(all.iter().all(|status| status.is_success()));
                assert_eq!(answered.load(Ordering::Relaxed), count * 40);
                settled(&strangers).await;
            }
        }
    }
}
