//! The server: from an open socket to an answered request.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use url::Url;

use crate::abuse::Rules;
use crate::access::Policy;
use crate::authority::Authority;
use crate::clock::Clock;
use crate::link::Lifetimes;
use crate::store::{self, Store};
use crate::tls::Terminator;
use crate::token::Secret;

use admission::Admission;
use metrics::Metrics;
use throttle::Throttle;

mod admission;
mod authenticate;
mod body;
mod connection;
mod creation;
mod handlers;
mod listen;
mod media;
mod metrics;
mod networks;
mod openapi;
mod outside;
mod passwords;
mod paste;
mod prefix;
mod problem;
mod replace;
mod reports;
mod router;
mod same_site;
mod showing;
mod socket;
mod sweeper;
mod throttle;
mod trace;
mod vouched;

pub use listen::{Deadlines, Limits};
pub use networks::Networks;
pub use outside::Proxies;
pub use paste::Rules as Pastes;
pub use showing::{Showing, Source};
pub use socket::{Listener, UnixSocket};

/// What an operator decides about the server's behaviour.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What links begin with; `None`: what the request was addressed to.
    pub public_url: Option<Url>,
    /// What those nobody knows may do.
    pub policy: Policy,
    /// How long links may live.
    pub lifetimes: Lifetimes,
    /// Bytes one upload may have.
    pub max_file_size: u64,
    /// Links one owner may have.
    pub max_links: u64,
    /// Between two sweeps.
    pub cleanup_interval: Duration,
    /// How long running transfers may take to finish once the server is told to stop.
    pub drain: Duration,
    /// Slots and deadlines.
    pub limits: Limits,
    /// The path under which a proxy shows the server: a slash before and none after, or empty.
    pub url_prefix: String,
    /// Whether the server shows a certificate from elsewhere, so that invites must allow for that.
    pub web_pki: bool,
    /// Whether anyone may register without an invite.
    pub open_registration: bool,
    /// Zero bits the proof of work of a registration has; 0 asks for none.
    pub register_difficulty: u8,
    /// What is done against abuse.
    pub abuse: Rules,
    /// What holds for pastes.
    pub pastes: Pastes,
}

/// What requests are answered from. Cheap to clone, which is done for every request.
#[derive(Clone)]
pub struct App(Arc<Whole>);

struct Whole {
    parts: Parts,
    admission: Admission,
    throttle: Throttle,
    desk: paste::Desk,
    passwords: passwords::Passwords,
    vouched: vouched::Vouched,
    metrics: Arc<Metrics>,
    refusals: reports::Share,
}

/// What an [`App`] is made of.
pub struct Parts {
    /// Links and bytes.
    pub store: Store,
    /// Certificates and invites.
    pub authority: Arc<Authority>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// What the operator decided.
    pub settings: Settings,
    /// The operator's bearer token, which can be replaced while the server runs.
    pub token: ArcSwapOption<Secret>,
}

impl Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0.parts
    }
}

impl App {
    /// Puts it together.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub async fn new(parts: Parts) -> Result<Self, store::Error> {
        parts.store.limit_links(parts.settings.max_links);
        let admission = Admission::new(&parts.store).await?;
        let throttle = Throttle::new(&parts.settings.abuse, &parts.store).await?;
        let (desk, passwords) = (paste::Desk::new(), passwords::Passwords::new());
        let (vouched, metrics) = (vouched::Vouched::new(), Arc::new(Metrics::new()));
        let refusals = reports::Share::default();
        Ok(Self(Arc::new(Whole { parts, admission, throttle, desk, passwords, vouched, metrics, refusals })))
    }

    fn admission(&self) -> &Admission {
        &self.0.admission
    }

    fn throttle(&self) -> &Throttle {
        &self.0.throttle
    }

    fn passwords(&self) -> &passwords::Passwords {
        &self.0.passwords
    }

    fn vouched(&self) -> &vouched::Vouched {
        &self.0.vouched
    }

    fn desk(&self) -> &paste::Desk {
        &self.0.desk
    }

    fn metrics(&self) -> &Arc<Metrics> {
        &self.0.metrics
    }

    /// How much of what strangers are refused goes into the log.
    fn refusals(&self) -> &reports::Share {
        &self.0.refusals
    }

    fn token(&self) -> Option<Arc<Secret>> {
        self.token.load_full()
    }
}

/// Where connections come in.
pub struct Doors {
    /// Where clients speak TLS with us.
    pub tls: Door,
    /// Where proxies speak plain HTTP with us, for clients whose TLS ends there.
    pub plain: Option<PlainDoor>,
}

/// Where connections come in that speak TLS with us. No header on them says who anyone is.
pub struct Door {
    /// The socket; `None`: the certificate is kept fresh only, for a proxy that may want to show it.
    pub listener: Option<TcpListener>,
    /// The certificate that is shown.
    pub tls: Terminator,
    /// Keeps it fresh.
    pub showing: Showing,
    /// Proxies that forward TCP to us and say, by the PROXY protocol, from where: then only they may connect. `None`:
    /// clients connect themselves.
    pub forwarders: Option<Networks>,
}

/// Where connections come in without TLS.
pub struct PlainDoor {
    /// The socket.
    pub listener: Listener,
    /// Who is believed there.
    pub proxies: Arc<Proxies>,
}

/// A server that accepts connections.
pub struct Running {
    closing: CancellationToken,
    open: TaskTracker,
    drain: Duration,
    store: Store,
}

impl Running {
    /// Starts to answer, to sweep, and to keep the certificate fresh.
    pub fn start(app: App, doors: Doors) -> Self {
        let closing = CancellationToken::new();
        let open = TaskTracker::new();
        let drain = app.settings.drain;
        let store = app.store.clone();
        let limits = app.settings.limits;
        let slots = listen::Slots::new(limits.connections, limits.connections_per_address);
        let (handshakes, strangers) = listen::turns(tokio::runtime::Handle::current().metrics().num_workers());
        open.spawn(sweeper::sweep(app.clone(), closing.clone()));
        open.spawn(sweeper::note_readings(store.clone(), closing.clone()));
        let metrics = Arc::clone(app.metrics());
        let prefix = app.settings.url_prefix.clone();
        let service = prefix::Unprefixed::new(&prefix, router::router(app));
        let listen = |way| listen::Listen {
            way,
            limits,
            metrics: Arc::clone(&metrics),
            slots: slots.clone(),
            handshakes: handshakes.clone(),
            strangers: strangers.clone(),
            service: service.clone(),
            closing: closing.clone(),
            open: open.clone(),
            reports: Arc::default(),
        };
        let Door { listener, tls, showing, forwarders } = doors.tls;
        open.spawn(showing.keep(tls.clone(), closing.clone()));
        if let Some(listener) = listener {
            let way = listen::Way::Tls { tls, forwarders: forwarders.map(Arc::new) };
            open.spawn(listen(way).accept(Listener::Tcp(listener)));
        }
        if let Some(PlainDoor { listener, proxies }) = doors.plain {
            open.spawn(listen(listen::Way::Plain(proxies)).accept(listener));
        }
        Self { closing, open, drain, store }
    }

    /// Tells whoever connects to `listener`, which speaks plain HTTP and asks nobody who it is, what was counted.
    pub fn answer_scrapes(&self, app: App, listener: TcpListener) {
        self.open.spawn(metrics::scrape::answer(app, listener, self.closing.clone()));
    }

    /// Stops: no new connections, running requests finish, for as long as [`Settings::drain`] allows. Answers whether
    /// all of them did.
    pub async fn stop(self) -> bool {
        self.closing.cancel();
        self.open.close();
        let finished = tokio::time::timeout(self.drain, self.open.wait()).await.is_ok();
        self.store.close().await;
        finished
    }
}
