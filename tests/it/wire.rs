//! A connection of a test's own, for what an HTTP client would hide.

use std::sync::Arc;

use rustls_pki_types::ServerName;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::app::TestApp;
use crate::caller::{Credentials, client_config};

pub async fn try_tls(
    app: &TestApp,
    credentials: Option<&Credentials>,
    alpn: &[u8],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut config = client_config(&app.root_pem(), credentials);
    config.alpn_protocols = vec![alpn.to_vec()];
    with_config(app, Arc::new(config)).await
}

/// TLS on a connection that begins with something else.
pub async fn tls_after(
    app: &TestApp,
    first: &[u8],
    credentials: Option<&Credentials>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let config = client_config(&app.root_pem(), credentials);
    let mut stream = TcpStream::connect(app.address).await?;
    stream.write_all(first).await?;
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").expect("a name"), stream).await
}

pub async fn with_config(app: &TestApp, config: Arc<rustls::ClientConfig>) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(app.address).await?;
    let name = ServerName::try_from("localhost").expect("a name");
    TlsConnector::from(config).connect(name, stream).await
}

pub async fn tls(app: &TestApp, credentials: Option<&Credentials>, alpn: &[u8]) -> TlsStream<TcpStream> {
    try_tls(app, credentials, alpn).await.expect("a handshake")
}

/// One connection over which requests go one after another.
pub enum Conversation {
    One(hyper::client::conn::http1::SendRequest<String>),
    Two(hyper::client::conn::http2::SendRequest<String>),
}

impl Conversation {
    pub async fn begin(tls: TlsStream<TcpStream>) -> Self {
        let h2 = tls.get_ref().1.alpn_protocol() == Some(b"h2");
        let io = hyper_util::rt::TokioIo::new(tls);
        if h2 {
            let executor = hyper_util::rt::TokioExecutor::new();
            let (sender, running) = hyper::client::conn::http2::handshake(executor, io).await.expect("HTTP/2");
            tokio::spawn(running);
            Self::Two(sender)
        } else {
            let (sender, running) = hyper::client::conn::http1::handshake(io).await.expect("HTTP/1.1");
            tokio::spawn(running);
            Self::One(sender)
        }
    }

    /// The status of one more request on this same connection.
    pub async fn status(&mut self, method: &str, path: &str) -> u16 {
        let request = hyper::Request::builder().method(method);
        match self {
            Self::One(sender) => {
                let request = request.uri(path).header("host", "localhost").body(String::new()).expect("a request");
                sender.ready().await.expect("still open");
                let answer = sender.send_request(request).await.expect("answered");
                let status = answer.status().as_u16();
                // The next request can only begin when this answer has been read.
                http_body_util::BodyExt::collect(answer.into_body()).await.expect("a body");
                status
            }
            Self::Two(sender) => {
                let uri = format!("https://localhost{path}");
                let request = request.uri(uri).body(String::new()).expect("a request");
                sender.ready().await.expect("still open");
                sender.send_request(request).await.expect("answered").status().as_u16()
            }
        }
    }
}
