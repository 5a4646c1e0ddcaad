//! A server of a test's own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use ddrop::abuse::Rules;
use ddrop::access::Policy;
use ddrop::api;
use ddrop::authority::{self, Actor, Authority, InviteFor};
use ddrop::clock::{Clock as _, Manual};
use ddrop::link::Lifetimes;
use ddrop::server::{
    App, Deadlines, Door, Doors, Limits, Listener, Parts, Pastes, PlainDoor, Proxies, Running, Settings, Showing,
    Source,
};
use ddrop::store::{self, Store};
use ddrop::tls::{ClientCertificate, Terminator};
use ddrop::token::Secret;
use ddrop::units::{Timestamp, Ttl};
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::caller::Caller;
use crate::logs::Log;
use crate::planted::{MARK, plant, plant_storage};

/// What a test may want to be otherwise.
pub struct Setup {
    pub settings: Settings,
    pub max_storage: u64,
    pub token: Option<&'static str>,
    pub client_certificate: ClientCertificate,
    /// Proxies that begin each connection with a PROXY header.
    pub forwarders: Option<&'static str>,
    /// Proxies where TLS ends, at a listener beside the one with TLS.
    pub proxies: Option<Proxies>,
}

impl Default for Setup {
    fn default() -> Self {
        let hours = |h: u64| Ttl::For(Duration::from_secs(h * 3600));
        Self {
            settings: Settings {
                public_url: None,
                policy: Policy::default(),
                lifetimes: Lifetimes { default: hours(1), max: hours(48) },
                max_file_size: 1024 * 1024,
                max_links: 100_000,
                cleanup_interval: Duration::from_secs(3600),
                drain: Duration::from_secs(10),
                limits: Limits {
                    connections: 512,
                    connections_per_address: 256,
                    deadlines: Deadlines {
                        handshake: Duration::from_secs(10),
                        header: Duration::from_secs(10),
                        idle: Duration::from_secs(60),
                        stall: Duration::from_secs(30),
                        slowest: 512,
                    },
                },
                url_prefix: String::new(),
                web_pki: false,
                open_registration: false,
                register_difficulty: 8,
                abuse: without_work(),
                pastes: Pastes::default(),
            },
            max_storage: 16 * 1024 * 1024,
            token: None,
            client_certificate: ClientCertificate::Optional,
            forwarders: None,
            proxies: None,
        }
    }
}

/// A running server. [`TestApp::close`] it: that is where it is checked that nothing is left behind.
pub struct TestApp {
    pub clock: Manual,
    pub address: SocketAddr,
    /// Where proxies come in.
    pub plain: Option<SocketAddr>,
    pub app: App,
    pub tls: Terminator,
    pub showing: Showing,
    folder: TempDir,
    running: Option<Running>,
    log: Log,
}

impl TestApp {
    pub async fn start() -> Self {
        Self::with(Setup::default()).await
    }

    pub async fn with(setup: Setup) -> Self {
        Self::on(tempfile::tempdir().expect("a folder"), Manual::at(now()), setup).await
    }

    /// On a folder and a clock that were in use before.
    pub async fn on(folder: TempDir, clock: Manual, setup: Setup) -> Self {
        let log = Log::begin();
        assert!(setup.token.is_none_or(|token| token.contains(MARK)), "a token that nobody would find in a log");
        let shared: Arc<dyn ddrop::clock::Clock> = Arc::new(clock.clone());
        let store = Store::open(
            store::Config {
                path: folder.path().to_owned(),
                max_file_size: setup.settings.max_file_size,
                max_storage: setup.max_storage,
            },
            Arc::clone(&shared),
        )
        .await
        .expect("a store");
        let authority = Authority::open(authority_config(folder.path()), store.trust(), Arc::clone(&shared))
            .await
            .expect("an authority");
        let authority = Arc::new(authority);
        let showing = Showing::new(Source::Own, Arc::clone(&authority), Arc::clone(&shared));
        let identity = showing.load().await.expect("a certificate");
        let tls = Terminator::new(identity, setup.client_certificate).expect("a usable certificate");
        let token = setup.token.map(|text| Arc::new(Secret::from_given(text.to_owned())));
        let app = App::new(Parts {
            store,
            authority,
            clock: shared,
            settings: setup.settings,
            token: ArcSwapOption::from(token),
        })
        .await
        .expect("put together");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let forwarders = setup.forwarders.map(|networks| networks.parse().expect("networks"));
        let door = Door { listener: Some(listener), tls: tls.clone(), showing: showing.clone(), forwarders };
        let behind = match setup.proxies {
            None => None,
            Some(proxies) => Some((TcpListener::bind("127.0.0.1:0").await.expect("a port"), proxies)),
        };
        let plain = behind.as_ref().map(|(listener, _)| listener.local_addr().expect("bound"));
        let behind = behind
            .map(|(listener, proxies)| PlainDoor { listener: Listener::Tcp(listener), proxies: Arc::new(proxies) });
        let running = Running::start(app.clone(), Doors { tls: door, plain: behind });
        Self { clock, address, plain, app, tls, showing, folder, running: Some(running), log }
    }

    /// What was logged since it was started, by it and whatever ran beside it.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&self.log.read()).into_owned()
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Tells the metrics to whoever connects.
    pub fn answer_scrapes(&self, listener: TcpListener) {
        self.running.as_ref().expect("running").answer_scrapes(self.app.clone(), listener);
    }

    /// What the manual clock says, in Unix seconds.
    pub fn clock_seconds(&self) -> i64 {
        self.clock.now().as_secs()
    }

    pub fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.address.port())
    }

    pub fn root_pem(&self) -> String {
        self.app.authority.root_pem().to_owned()
    }

    /// What this caller is told once so many bytes are counted, of which some came behind the server's back: a count that
    /// took long is not made again at once, nor waited for.
    pub async fn counted(&self, caller: &Caller, bytes: u64) -> api::Stats {
        self.clock.advance(Duration::from_secs(600));
        let begun = std::time::Instant::now();
        loop {
            let stats: api::Stats = caller.get("/api/stats").await.json().await.expect("stats");
            if stats.bytes == bytes || begun.elapsed() > Duration::from_secs(60) {
                return stats;
            }
        }
    }

    pub async fn invite(&self, name: &str, admin: bool) -> Secret {
        let by = Actor { name: "operator".to_owned(), address: None };
        let what = InviteFor { name: name.to_owned(), admin, existing: false, ttl: Duration::from_secs(3600) };
        let secret = self.app.authority.invite(&by, what).await.expect("an invite").secret;
        plant("an invite", secret.reveal());
        secret
    }

    /// A client of this name, enrolled over the API.
    pub async fn client(&self, name: &str) -> Caller {
        Caller::enroll(self, &self.invite(name, false).await, name).await
    }

    pub async fn admin(&self) -> Caller {
        Caller::enroll(self, &self.invite("admin", true).await, "admin").await
    }

    pub fn anonymous(&self) -> Caller {
        Caller::new(self, None)
    }

    /// Files under `files/`, temporary ones included. What is deleted after an answer may still be there.
    pub fn files(&self) -> Vec<PathBuf> {
        files(self.folder.path())
    }

    /// Stops the server, which waits for what it deletes after it has answered, and hands back what it stood on.
    pub async fn stop(mut self) -> (TempDir, Manual) {
        assert!(self.running.take().expect("running").stop().await, "connections were cut off");
        plant_storage(self.folder.path());
        let folder = std::mem::replace(&mut self.folder, tempfile::tempdir().expect("a folder"));
        (folder, self.clock.clone())
    }

    /// Stops the server; then, far in the future, nothing may be left.
    pub async fn close(mut self) {
        assert!(self.running.take().expect("running").stop().await, "connections were cut off");
        plant_storage(self.folder.path());
        self.clock.advance(Duration::from_secs(100 * 24 * 3600));
        let config = store::Config { path: self.folder.path().to_owned(), max_file_size: 1, max_storage: 1 };
        let next = Store::open(config, Arc::new(self.clock.clone())).await.expect("opened again");
        next.sweep().await.expect("swept");
        assert_eq!(self.files(), Vec::<PathBuf>::new(), "bytes are left");
        self.clock.advance(Duration::from_secs(100 * 24 * 3600));
        next.sweep().await.expect("swept");
        let rows = rusqlite::Connection::open(self.folder.path().join("links.db")).expect("opened");
        let count: i64 = rows.query_row("SELECT count(*) FROM links", [], |row| row.get(0)).expect("counted");
        assert_eq!(count, 0, "rows are left");
    }
}

impl Drop for TestApp {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert!(self.running.is_none(), "a test forgot to close its server");
            self.log.check();
        }
    }
}

/// Files under `files/` of a storage folder, temporary ones included.
pub fn files(storage: &Path) -> Vec<PathBuf> {
    fn walk(folder: &Path, into: &mut Vec<PathBuf>) {
        let Ok(entries) = std::fs::read_dir(folder) else { return };
        for entry in entries.flatten() {
            if entry.path().is_dir() { walk(&entry.path(), into) } else { into.push(entry.path()) }
        }
    }
    let mut all = Vec::new();
    walk(&storage.join("files"), &mut all);
    all
}

/// What an operator gets who says nothing, but without work; what is told to have some has little.
pub fn without_work() -> Rules {
    let mut rules = Rules::default();
    rules.gate.difficulty = 0;
    rules
}

pub fn authority_config(folder: &Path) -> authority::Config {
    authority::Config {
        path: folder.join("pki"),
        server_names: vec!["localhost".to_owned(), "127.0.0.1".to_owned()],
        optional_names: Vec::new(),
        permitted_names: authority::Permitted::default(),
        public_url: None,
        passphrase_file: None,
        client_lifetime: Duration::from_secs(365 * 24 * 3600),
    }
}

/// The true time, once: TLS clients look at their own clock.
fn now() -> Timestamp {
    ddrop::clock::System.now()
}
