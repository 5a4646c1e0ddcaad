//! Those who mean no good: a thread of them, from many addresses of this machine, at a rate that does not depend on how
//! they are answered.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use pki::key::{Algorithm, Key};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::rig::content::Content;
use crate::rig::http::{Answers as Answered, Connection, Load, Requests};
use crate::rig::run::quantile;
use crate::rig::target::Target;

/// What one hostile connection that never says anything more is kept for.
const HELD: Duration = Duration::from_secs(10);
/// Between two turns of those that open connections.
const TICK: Duration = Duration::from_millis(10);
/// Bytes of a body.
const BODY: usize = 64;
/// Times kept of each kind of answer.
const KEPT: usize = 50_000;

/// A request that comes again and again on connections that stay open.
struct Request {
    what: &'static str,
    a_second: u32,
    /// Taken in turn.
    heads: Vec<String>,
    body: Content,
    length: u64,
}

/// What comes on connections of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Opening {
    /// Connects, and goes.
    Plain,
    /// Says what is no TLS.
    Garbage,
    /// Begins a handshake and leaves it there.
    HalfOpen,
}

/// What comes, and how often.
pub(crate) struct Mix {
    requests: Vec<Request>,
    openings: Vec<(Opening, u32)>,
    pub(crate) addresses: u32,
}

impl Mix {
    /// 10,000 a second.
    pub(crate) fn requests(target: &Target) -> Result<Self> {
        // What comes with a wrong invite is right, so that the invite is looked at.
        let csr = pki::request::make(&Key::generate(Algorithm::P256)?, "whoever")?.into_bytes();
        let ids = || (0..500).map(|n| format!("/no{:014}", n * 7_919_u64));
        let body = format!("Content-Length: {BODY}\r\n");
        let wrong =
            format!("{body}X-PoW-Token: {}:1900000000:20:{}\r\nX-PoW-Solution: 1\r\n", "0".repeat(32), "0".repeat(64));
        let invite = format!("Content-Length: {}\r\nAuthorization: Invite {}\r\n", csr.len(), "0".repeat(32));
        let post = |path: &str, fields: &str| vec![target.head("POST", path, fields)];
        let request = |what, a_second, heads, body: Vec<u8>| {
            let length = body.len() as u64;
            Request { what, a_second, heads, body: Content::of(body), length }
        };
        let some = || vec![b'x'; BODY];
        Ok(Self {
            requests: vec![
                request("wrong id", 3500, ids().map(|path| target.get(&path, "")).collect(), Vec::new()),
                request("link without work", 2000, post("/paste/", &body), some()),
                request("link with wrong work", 1500, post("/api/upload", &wrong), some()),
                request(
                    "wrong token",
                    1500,
                    vec![target.get("/api/links", "Authorization: Bearer wrong-one\r\n")],
                    Vec::new(),
                ),
                request("wrong invite", 1000, post("/pki/enroll", &invite), csr),
            ],
            openings: vec![(Opening::Plain, 200), (Opening::Garbage, 200), (Opening::HalfOpen, 100)],
            addresses: 1000,
        })
    }

    /// 1,000 wrong passwords a second.
    pub(crate) fn passwords(target: &Target, locked: &[String]) -> Self {
        let ask = |path: &String| target.get(path, "X-Paste-Password: a wrong one\r\n");
        let heads = locked.iter().map(ask).collect();
        let request = Request { what: "wrong password", a_second: 1000, heads, body: Content::nothing(), length: 0 };
        Self { requests: vec![request], openings: Vec::new(), addresses: 1000 }
    }

    pub(crate) fn a_second(&self) -> f64 {
        let openings: u32 = self.openings.iter().map(|(_, a_second)| a_second).sum();
        f64::from(self.kept_alive() + openings)
    }

    /// On connections that stay open.
    fn kept_alive(&self) -> u32 {
        self.requests.iter().map(|request| request.a_second).sum()
    }

    /// Which request is the next of so many, so that all come as often as they should and well mixed.
    fn request(&self, nth: u64) -> Option<&Request> {
        let mut at = u32::try_from(nth.wrapping_mul(0x9e37_79b9) % u64::from(self.kept_alive().max(1))).ok()?;
        self.requests.iter().find(|request| match at.checked_sub(request.a_second) {
            Some(left) => {
                at = left;
                false
            }
            None => true,
        })
    }
}

/// By what was asked and how that was answered: how often, and milliseconds of some.
type Answers = BTreeMap<(&'static str, String), (u64, Vec<f64>)>;

/// A flood that can be let loose and held back.
pub(crate) struct Flood {
    pub(crate) mix: Arc<Mix>,
    gate: watch::Sender<bool>,
    sent: Arc<AtomicU64>,
    answered: Arc<AtomicU64>,
    answers: Arc<Mutex<Answers>>,
}

impl Flood {
    pub(crate) fn start(target: SocketAddr, tls: Arc<ClientConfig>, mix: Mix) -> Result<Self> {
        let flood = Self {
            mix: Arc::new(mix),
            gate: watch::Sender::new(false),
            sent: Arc::default(),
            answered: Arc::default(),
            answers: Arc::default(),
        };
        let hostile = Hostile {
            target,
            hello: hello(&tls, target)?.into(),
            tls,
            mix: Arc::clone(&flood.mix),
            gate: flood.gate.subscribe(),
            sent: Arc::clone(&flood.sent),
            answered: Arc::clone(&flood.answered),
            answers: Arc::clone(&flood.answers),
        };
        std::thread::Builder::new().name("hostile".to_owned()).spawn(move || hostile.run())?;
        Ok(flood)
    }

    pub(crate) fn run(&self) {
        self.gate.send_replace(true);
    }

    pub(crate) fn pause(&self) {
        self.gate.send_replace(false);
    }

    /// How many were sent.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// How many requests were answered.
    pub(crate) fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// What was answered, for people.
    pub(crate) fn answers(&self) -> String {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        for ((what, how), (times, millis)) in answers.iter() {
            let _ = writeln!(text, "  {what:22} {how:12} {times:>9}  {:8.2}", quantile(millis, 0.99));
        }
        text
    }
}

/// What all of them know.
#[derive(Clone)]
struct Hostile {
    target: SocketAddr,
    tls: Arc<ClientConfig>,
    hello: Arc<[u8]>,
    mix: Arc<Mix>,
    gate: watch::Receiver<bool>,
    sent: Arc<AtomicU64>,
    answered: Arc<AtomicU64>,
    answers: Arc<Mutex<Answers>>,
}

/// What was asked on a connection and is not answered yet, each with when that was.
type Open = Mutex<VecDeque<(&'static str, Instant)>>;

fn with<T>(open: &Open, f: impl FnOnce(&mut VecDeque<(&'static str, Instant)>) -> T) -> T {
    f(&mut open.lock().unwrap_or_else(PoisonError::into_inner))
}

impl Hostile {
    fn run(self) {
        give_way();
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
        runtime.block_on(async {
            for n in 0..self.mix.addresses {
                tokio::spawn(self.clone().keep_asking(n));
            }
            for (opening, a_second) in self.mix.openings.clone() {
                tokio::spawn(self.clone().keep_opening(opening, a_second));
            }
            // Until the program ends.
            std::future::pending::<()>().await;
        });
    }

    /// An address of loopback's own for each: 127.1.0.1 and on.
    async fn connect(&self, nth: u32) -> std::io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        let address = Ipv4Addr::from_bits(Ipv4Addr::new(127, 1, 0, 1).to_bits() + nth % self.mix.addresses);
        socket.bind((address, 0).into())?;
        socket.connect(self.target).await
    }

    fn answered(&self, what: &'static str, how: String, since: Instant) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let (times, millis) = answers.entry((what, how)).or_default();
        *times += 1;
        if millis.len() < KEPT {
            millis.push(since.elapsed().as_secs_f64() * 1e3);
        }
    }

    /// Waits until it may go on; since when.
    async fn gate(&mut self, due: Instant, between: Duration) -> Option<Instant> {
        if *self.gate.borrow() {
            return Some(due);
        }
        self.gate.wait_for(|open| *open).await.ok()?;
        // Not all at the same moment.
        Some(Instant::now() + between.mul_f64(f64::from(due.elapsed().subsec_micros() % 1000) / 1000.0))
    }

    /// Requests on a connection that stays open, each when it is due, whether or not those before were answered.
    async fn keep_asking(mut self, nth: u32) {
        let between = Duration::from_secs(1) * self.mix.addresses / self.mix.kept_alive();
        let (mut due, mut count) = (Instant::now() + between * nth / self.mix.addresses, u64::from(nth));
        // Not before there is a flood.
        while let Some(at) = self.gate(due, between).await {
            due = at;
            sleep_until(due).await;
            let since = Instant::now();
            let connected = match self.connect(nth).await {
                Ok(tcp) => Connection::over(tcp, &self.tls, Load::Small).await.ok(),
                Err(_) => None,
            };
            let Some(connection) = connected else {
                self.answered("reconnect", "failed".to_owned(), since);
                due += between;
                continue;
            };
            let (mut requests, mut answers) = connection.split();
            let (open, hostile) = (Open::default(), self.clone());
            tokio::select! {
                () = self.ask(&mut requests, &open, &mut due, &mut count) => {}
                () = hostile.hear(&mut answers, &open) => {}
            }
            for (what, since) in with(&open, std::mem::take) {
                self.answered(what, "cut off".to_owned(), since);
            }
        }
    }

    async fn ask(&mut self, requests: &mut Requests, open: &Open, due: &mut Instant, count: &mut u64) {
        let between = Duration::from_secs(1) * self.mix.addresses / self.mix.kept_alive();
        while let Some(at) = self.gate(*due, between).await {
            sleep_until(at).await;
            // Who is far behind does not catch up all at once.
            *due = (at + between).max(Instant::now().checked_sub(between * 20).unwrap_or(at));
            *count += u64::from(self.mix.addresses);
            let Some(request) = self.mix.request(*count) else { return };
            let heads = &request.heads;
            let nth = usize::try_from(*count).unwrap_or(0) / 7 % heads.len().max(1);
            let Some(head) = heads.get(nth) else { return };
            with(open, |open| open.push_back((request.what, Instant::now())));
            if requests.send(head, request.body.first(request.length)).await.is_err() {
                return;
            }
            self.sent.fetch_add(1, Ordering::Relaxed);
        }
    }

    async fn hear(&self, answers: &mut Answered, open: &Open) {
        while let Ok(answer) = answers.next().await {
            let Some((what, since)) = with(open, VecDeque::pop_front) else { return };
            self.answered.fetch_add(1, Ordering::Relaxed);
            self.answered(what, answer.status.to_string(), since);
        }
    }

    /// Connections of their own, so many a second, whatever becomes of them.
    async fn keep_opening(mut self, opening: Opening, a_second: u32) {
        let (mut due, mut owed, mut nth) = (Instant::now(), 0.0, 0);
        while let Some(at) = self.gate(due, TICK).await {
            sleep_until(at).await;
            due = (at + TICK).max(Instant::now().checked_sub(TICK * 20).unwrap_or(at));
            owed += f64::from(a_second) * TICK.as_secs_f64();
            while owed >= 1.0 {
                owed -= 1.0;
                nth += 1;
                tokio::spawn(self.clone().open(opening, nth * 13));
            }
        }
    }

    async fn open(self, opening: Opening, nth: u32) {
        let since = Instant::now();
        let what = match opening {
            Opening::Plain => "connect and go",
            Opening::Garbage => "garbage",
            Opening::HalfOpen => "half a handshake",
        };
        let Ok(mut tcp) = self.connect(nth).await else { return self.answered(what, "refused".to_owned(), since) };
        self.sent.fetch_add(1, Ordering::Relaxed);
        let said: &[u8] = match opening {
            Opening::Plain => return self.answered(what, "accepted".to_owned(), since),
            Opening::Garbage => b"EHLO mail.example.org\r\nMAIL FROM:<a@example.org>\r\n",
            Opening::HalfOpen => &self.hello,
        };
        let sent = tcp.write_all(said).await;
        let mut answer = [0; 4096];
        let got = timeout(HELD, tcp.read(&mut answer)).await;
        let how = match (sent, got) {
            (Err(_), _) | (_, Ok(Ok(0) | Err(_))) => "cut off",
            (_, Ok(Ok(_))) => "answered",
            (_, Err(_)) => "left waiting",
        };
        self.answered(what, how.to_owned(), since);
        if opening == Opening::HalfOpen {
            sleep(HELD).await;
        }
    }
}

/// How a handshake begins.
fn hello(tls: &Arc<ClientConfig>, target: SocketAddr) -> Result<Vec<u8>> {
    let mut connection = ClientConnection::new(Arc::clone(tls), ServerName::from(target.ip()))?;
    let mut bytes = Vec::new();
    connection.write_tls(&mut bytes).context("no handshake begins")?;
    Ok(bytes)
}

/// Lets this thread run only while no other wants to, and end at once when one does: it shares a core with the trusted
/// client, and what is to be measured is how long the server takes, not how busy this side is.
fn give_way() {
    let thread = rustix::thread::gettid().as_raw_nonzero().to_string();
    let told = std::process::Command::new("chrt").args(["--idle", "--pid", "0", &thread]).status();
    if !told.is_ok_and(|status| status.success()) {
        eprintln!("without chrt (util-linux) the flood is in the trusted client's way on its own side, too");
    }
}

/// Thousands of connections are thousands of descriptors.
pub(crate) fn raise_file_limit() -> Result<()> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).context("could not allow itself more open files")
}
