//! A client who means well, on a thread of its own: uploads and fetches one after another, and how long each took.

use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustls::ClientConfig;
use tokio::sync::oneshot;

use crate::rig::content::Content;
use crate::rig::http::{Connection, Load};
use crate::rig::target::Target;

/// Bytes of an upload.
const SIZE: u64 = 1024;
/// Links with a password.
const LOCKED: usize = 40;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// 1 KiB, on disk when it is answered, on a connection that is open.
    Upload,
    /// 1 KiB back, likewise.
    Fetch,
    /// A connection with its handshake, and an upload on it.
    Connect,
}

impl Ask {
    pub(crate) const ALL: [Self; 3] = [Self::Upload, Self::Fetch, Self::Connect];
}

impl fmt::Display for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Upload => "upload 1 KiB",
            Self::Fetch => "fetch 1 KiB",
            Self::Connect => "connect and upload 1 KiB",
        })
    }
}

/// Milliseconds that each took.
#[derive(Default)]
pub(crate) struct Times(Vec<(Ask, f64)>);

impl Times {
    pub(crate) fn of(&self, ask: Ask) -> Vec<f64> {
        self.0.iter().filter(|(asked, _)| *asked == ask).map(|(_, millis)| *millis).collect()
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }
}

type Order = (Duration, oneshot::Sender<Result<Times>>);

/// Takes orders to ask for a while.
pub(crate) struct Client(Sender<Order>);

impl Client {
    pub(crate) async fn start(target: &Target, tls: &Arc<ClientConfig>, content: &Arc<Content>) -> Result<Self> {
        let path = target.upload(tls, content, SIZE).await?;
        let head = target.head("POST", "/api/upload?name=a&ttl=1h", &format!("Content-Length: {SIZE}\r\n"));
        let asker = Asker {
            address: target.address,
            tls: Arc::clone(tls),
            content: Arc::clone(content),
            upload: head,
            fetch: target.get(&path, ""),
        };
        let (orders, taken) = channel();
        std::thread::Builder::new().name("trusted".to_owned()).spawn(move || asker.run(&taken))?;
        Ok(Self(orders))
    }

    /// Asks for so long.
    pub(crate) async fn ask(&self, span: Duration) -> Result<Times> {
        let (answer, answered) = oneshot::channel();
        self.0.send((span, answer)).context("the client has gone")?;
        answered.await.context("the client has gone")?
    }
}

struct Asker {
    address: std::net::SocketAddr,
    tls: Arc<ClientConfig>,
    content: Arc<Content>,
    upload: String,
    fetch: String,
}

impl Asker {
    fn run(&self, orders: &Receiver<Order>) {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
        for (span, answer) in orders {
            // Whoever asked may have been interrupted.
            let _ = answer.send(runtime.block_on(self.ask(span)));
        }
    }

    async fn ask(&self, span: Duration) -> Result<Times> {
        let (begun, mut times) = (Instant::now(), Times::default());
        let mut open = Connection::open(self.address, &self.tls, Load::Small).await?;
        self.send(&mut open).await?;
        while begun.elapsed() < span {
            for ask in [Ask::Upload, Ask::Fetch, Ask::Upload, Ask::Fetch, Ask::Connect] {
                let since = Instant::now();
                match ask {
                    Ask::Upload => self.send(&mut open).await?,
                    Ask::Fetch => open.fetch(&self.fetch, self.content.first(SIZE)).await?,
                    Ask::Connect => {
                        let mut new = Connection::open(self.address, &self.tls, Load::Small).await?;
                        self.send(&mut new).await?;
                    }
                }
                times.0.push((ask, since.elapsed().as_secs_f64() * 1e3));
            }
        }
        Ok(times)
    }

    async fn send(&self, connection: &mut Connection) -> Result<()> {
        let (answer, _) = connection.send(&self.upload, self.content.first(SIZE)).await?;
        ensure!(answer.status == 201, "an upload was answered {}", answer.status);
        Ok(())
    }
}

/// Uploads links with passwords; answers their paths.
pub(crate) async fn lock(target: &Target, tls: &Arc<ClientConfig>, content: &Content) -> Result<Vec<String>> {
    let fields = format!("Content-Length: {SIZE}\r\nX-Paste-Password: the right one\r\n");
    let head = target.head("POST", "/api/upload?name=a&ttl=1h", &fields);
    let (mut connection, mut paths) = (Connection::open(target.address, tls, Load::Small).await?, Vec::new());
    for _ in 0..LOCKED {
        let (answer, body) = connection.send(&head, content.first(SIZE)).await?;
        ensure!(answer.status == 201, "an upload with a password was answered {}", answer.status);
        let link: serde_json::Value = serde_json::from_slice(&body)?;
        paths.push(format!("/{}", link.get("id").and_then(serde_json::Value::as_str).context("no id")?));
    }
    Ok(paths)
}
