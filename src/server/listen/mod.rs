//! From a TCP connection to HTTP requests: slots, deadlines, TLS, and an end that lets running transfers finish.

use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, ready};
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service;

use super::connection::Connection;
use super::networks::Networks;
use super::problem::chain;
use crate::tls::{Peer, PeerCertificate, Terminator};

mod pace;
mod proxied;
mod pulse;
mod room;
mod slots;
mod turns;

pub(super) use pace::Pace;
pub use pulse::Deadlines;

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
    pub(super) tls: Terminator,
    /// Proxies that forward TCP to us and begin each connection with a header that says whose it is; nobody else is
    /// listened to then. `None`: connections come from clients themselves.
    pub(super) forwarders: Option<Arc<Networks>>,
    pub(super) limits: Limits,
    /// What answers requests.
    pub(super) service: S,
    /// Cancelled: no new connections, and open ones end after the request they are in.
    pub(super) closing: CancellationToken,
    /// Open connections.
    pub(super) open: TaskTracker,
    /// What strangers make us say.
    pub(super) reports: Arc<Reports>,
}

impl<S> Listen<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send,
{
    /// Accepts until closing. A handshake never holds up the next `accept`.
    pub(super) async fn accept(self, listener: TcpListener) {
        let slots = slots::Slots::new(self.limits.connections, self.limits.connections_per_address);
        let turns = turns::Turns::new();
        loop {
            let next = async {
                let room = slots.room().await;
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
            // Whom a connection counts for is known now or, from a proxy, once it has said so.
            let slot = match &self.forwarders {
                Some(proxies) if proxies.contain(address.ip()) => Err(room),
                Some(_) => {
                    self.reports.tell(|| tracing::warn!(%address, "refused: not one of DD_TRUSTED_PROXIES"));
                    continue;
                }
                None => match slots.take(address.ip(), room) {
                    Some(slot) => Ok(slot),
                    None => {
                        tracing::debug!(%address, "refused: too many connections from this address");
                        continue;
                    }
                },
            };
            let (listen, slots, turns) = (self.clone(), slots.clone(), turns.clone());
            self.open.spawn(async move {
                listen.serve(stream, address.ip(), slot, &slots, &turns).await;
            });
        }
    }

    async fn serve(
        self,
        stream: TcpStream,
        address: IpAddr,
        slot: Result<slots::Slot, OwnedSemaphorePermit>,
        slots: &slots::Slots,
        turns: &turns::Turns,
    ) {
        // Without it small answers may wait 40 ms for the peer's acknowledgement. An error means it is gone already.
        let _ = stream.set_nodelay(true);
        let pulse = pulse::Pulse::new(Instant::now(), self.limits.deadlines.slowest);
        let mut stream = pulse::Pulsing::new(stream, pulse.clone());
        let opening = async {
            let (address, slot) = match slot {
                Ok(slot) => (address, slot),
                Err(room) => match proxied::read(&mut stream).await? {
                    proxied::Origin::Proxy => (address, slots.take_uncounted(room)),
                    proxied::Origin::Client(client) => (client, slots.take(client, room).ok_or(Refused::TooMany)?),
                },
            };
            let accepting =
                TlsAcceptor::from(self.tls.current()).accept_with(stream, |tls| tls.set_buffer_limit(Some(TLS_BUFFER)));
            Ok::<_, Refused>((turns.take(accepting).await.map_err(Refused::Tls)?, address, slot))
        };
        let (tls, address, _slot) = match tokio::time::timeout(self.limits.deadlines.handshake, opening).await {
            Ok(Ok(opened)) => opened,
            Ok(Err(error)) => return tracing::debug!(%address, error = chain(&error), "connection refused"),
            Err(_) => return tracing::debug!(%address, "TLS handshake took too long"),
        };
        let (_, session) = tls.get_ref();
        let certificate = session.peer_certificates().and_then(|chain| chain.first());
        let peer =
            Peer { address: Some(address.to_canonical()), certificate: certificate.and_then(PeerCertificate::read) };
        let h2 = session.alpn_protocol() == Some(b"h2");
        pulse.expect_requests(!h2);
        self.converse(TokioIo::new(tls), peer, h2, pulse).await;
    }

    async fn converse<I>(self, io: I, peer: Peer, h2: bool, pulse: pulse::Pulse)
    where
        I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    {
        let address = peer.address;
        let connection = Arc::new(Connection::new(peer));
        let service = self.service;
        let (requests, room) = (pulse.clone(), h2.then(room::Room::new));
        let answer = service_fn(move |request: Request<Incoming>| {
            let active = requests.request();
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(Arc::clone(&connection));
            let (mut service, room) = (service.clone(), room.clone());
            async move {
                let response = service.call(request).await;
                response.map(|response| response.map(|body| Body::new(Held { body, active, room })))
            }
        });
        let builder = protocol(h2);
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
    }
}

fn protocol(h2: bool) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
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

/// What is told at most once a minute: anyone can be the cause of it, and an operator has to see it all the same.
#[derive(Debug, Default)]
pub(super) struct Reports(Mutex<Option<Instant>>);

impl Reports {
    pub(super) fn tell(&self, say: impl FnOnce()) {
        let now = Instant::now();
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_none_or(|last| now.duration_since(last) >= Duration::from_secs(60)) {
            *last = Some(now);
            drop(last);
            say();
        }
    }
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
