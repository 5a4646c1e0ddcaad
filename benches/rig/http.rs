//! The load generator's half of HTTP/1.1 over TLS: one request at a time, as little work a byte as can be.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, HandshakeKind};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader, ReadHalf, WriteHalf, split as halves};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::content::Cursor;

/// The longest that one exchange may take.
const PATIENCE: Duration = Duration::from_secs(300);
/// The longest answer that is kept.
const LONGEST: usize = 1024 * 1024;
/// Room for the head of an answer, and for what a bulk transfer reads at once.
const SMALL: usize = 16 * 1024;
const BULK: usize = 256 * 1024;

/// How much a connection will carry.
#[derive(Clone, Copy)]
pub(crate) enum Load {
    Small,
    Bulk,
}

/// What an answer says of itself.
pub(crate) struct Head {
    pub(crate) status: u16,
    length: u64,
}

// Without the reader in between, rustls would ask the kernel for 4 KiB at a time.
type Stream = TlsStream<BufReader<TcpStream>>;

/// An open connection on which the handshake is done.
pub(crate) struct Connection {
    stream: Stream,
    buffer: Vec<u8>,
}

/// Its half on which requests go out, whether or not those before were answered.
pub(crate) struct Requests(WriteHalf<Stream>);

/// Its half on which answers come in, in the order of their requests.
pub(crate) struct Answers {
    stream: ReadHalf<Stream>,
    got: Vec<u8>,
}

impl Connection {
    /// Connects and shakes hands. In TLS 1.3 the server has not yet judged the client's certificate when this returns.
    pub(crate) async fn open(address: SocketAddr, tls: &Arc<ClientConfig>, load: Load) -> Result<Self> {
        Self::over(TcpStream::connect(address).await.context("could not connect")?, tls, load).await
    }

    /// Shakes hands on a connection that is there already.
    pub(crate) async fn over(tcp: TcpStream, tls: &Arc<ClientConfig>, load: Load) -> Result<Self> {
        let room = match load {
            Load::Small => SMALL,
            Load::Bulk => BULK,
        };
        tcp.set_nodelay(true)?;
        let address = tcp.peer_addr()?;
        let connector = TlsConnector::from(Arc::clone(tls));
        let name = ServerName::from(address.ip());
        let mut stream = timeout(PATIENCE, connector.connect(name, BufReader::with_capacity(room, tcp)))
            .await
            .context("the handshake took too long")?
            .context("the handshake failed")?;
        stream.get_mut().1.set_buffer_limit(Some(room));
        Ok(Self { stream, buffer: vec![0; room] })
    }

    /// Whether the handshake was a resumption.
    pub(crate) fn resumed(&self) -> bool {
        self.stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// Fetches, and holds every byte against what it must be.
    pub(crate) async fn fetch(&mut self, head: &str, mut wanted: Cursor<'_>) -> Result<()> {
        let exchange = async {
            self.stream.write_all(head.as_bytes()).await?;
            self.stream.flush().await?;
            self.answer(|piece| wanted.check(piece)).await
        };
        let head = timeout(PATIENCE, exchange).await.context("the fetch took too long")??;
        ensure!(head.status == 200, "a fetch was answered {}", head.status);
        wanted.finish()
    }

    /// Sends a request with a body and keeps the answer, which must be short.
    pub(crate) async fn send(&mut self, head: &str, mut body: Cursor<'_>) -> Result<(Head, Vec<u8>)> {
        let mut kept = Vec::new();
        let exchange = async {
            self.stream.write_all(head.as_bytes()).await?;
            while let Some(piece) = body.piece() {
                self.stream.write_all(piece).await?;
            }
            self.stream.flush().await?;
            self.answer(|piece| {
                kept.extend_from_slice(piece);
                ensure!(kept.len() <= LONGEST, "the answer is too long");
                Ok(())
            })
            .await
        };
        let head = timeout(PATIENCE, exchange).await.context("the answer took too long")??;
        Ok((head, kept))
    }

    /// In two, for requests that do not wait for answers.
    pub(crate) fn split(self) -> (Requests, Answers) {
        let (reading, writing) = halves(self.stream);
        (Requests(writing), Answers { stream: reading, got: Vec::new() })
    }

    /// Waits until the server has closed the connection, so that it is the server's port that lingers.
    pub(crate) async fn closed(mut self) -> Result<()> {
        // A server that leaves out the closing alert is not this program's business.
        let _end = timeout(PATIENCE, self.stream.read(&mut self.buffer)).await.context("the server did not close")?;
        Ok(())
    }

    async fn answer(&mut self, mut each: impl FnMut(&[u8]) -> Result<()>) -> Result<Head> {
        let mut filled = 0;
        let (head, body) = loop {
            let room = self.buffer.get_mut(filled..).unwrap_or_default();
            ensure!(!room.is_empty(), "the head of the answer is too long");
            let read = self.stream.read(room).await.context("could not read the answer")?;
            ensure!(read > 0, "the server closed the connection instead of answering");
            filled += read;
            let got = self.buffer.get(..filled).unwrap_or_default();
            if let Some(parts) = split(got) {
                break parts;
            }
        };
        let head = Head::parse(head)?;
        let mut left = head.length.checked_sub(body.len() as u64).context("more came than was announced")?;
        each(body)?;
        while left > 0 {
            let read = self.stream.read(&mut self.buffer).await.context("could not read the body")?;
            ensure!(read > 0, "the server closed the connection with {left} bytes to come");
            left = left.checked_sub(read as u64).context("more came than was announced")?;
            each(self.buffer.get(..read).unwrap_or_default())?;
        }
        Ok(head)
    }
}

impl Requests {
    pub(crate) async fn send(&mut self, head: &str, mut body: Cursor<'_>) -> Result<()> {
        let mut request = head.as_bytes().to_vec();
        while let Some(piece) = body.piece() {
            request.extend_from_slice(piece);
        }
        self.0.write_all(&request).await?;
        Ok(self.0.flush().await?)
    }
}

impl Answers {
    /// The head of the next one; its body, which must be short, is read and dropped.
    pub(crate) async fn next(&mut self) -> Result<Head> {
        loop {
            if let Some((head, body)) = split(&self.got) {
                let (head, begins) = (Head::parse(head)?, self.got.len() - body.len());
                ensure!(head.length <= LONGEST as u64, "the answer is too long");
                if body.len() as u64 >= head.length {
                    self.got.drain(..begins + usize::try_from(head.length)?);
                    return Ok(head);
                }
            }
            let read = self.stream.read_buf(&mut self.got).await.context("could not read the answer")?;
            ensure!(read > 0, "the server closed the connection instead of answering");
        }
    }
}

fn split(got: &[u8]) -> Option<(&[u8], &[u8])> {
    const END: &[u8] = b"\r\n\r\n";
    let at = got.windows(END.len()).position(|bytes| bytes == END)?;
    got.split_at_checked(at + END.len())
}

impl Head {
    fn parse(bytes: &[u8]) -> Result<Self> {
        let text = std::str::from_utf8(bytes).context("the head of the answer is not text")?;
        let mut lines = text.split("\r\n");
        let first = lines.next().unwrap_or_default();
        let status = first.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status = status.with_context(|| format!("no HTTP answer: {first}"))?;
        let length = lines.filter_map(|line| line.split_once(':')).find(|(name, _)| is_length(name));
        let length = match length {
            Some((_, value)) => value.trim().parse().context("the length of the answer is no number")?,
            None if status == 204 => 0,
            None => bail!("an answer ({status}) came without Content-Length"),
        };
        Ok(Self { status, length })
    }
}

fn is_length(name: &str) -> bool {
    name.eq_ignore_ascii_case("content-length")
}
