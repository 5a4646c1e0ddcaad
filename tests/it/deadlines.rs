//! Those who dawdle, and those who come in crowds.

use std::time::Duration;

use ddrop::server::Deadlines;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::app::{Setup, TestApp};
use crate::wire;

/// With one deadline that is short enough to wait for; what is waited for is the server's closing, not the time. The
/// others are as ever: what has to be done before may take its time.
fn impatient(which: fn(&mut Deadlines) -> &mut Duration) -> Setup {
    let mut setup = Setup::default();
    *which(&mut setup.settings.limits.deadlines) = Duration::from_secs(1);
    setup
}

async fn closed(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> Vec<u8> {
    let mut got = Vec::new();
    // A reset is as closed as an end.
    let _ = stream.read_to_end(&mut got).await;
    got
}

#[tokio::test]
async fn a_handshake_that_never_comes_is_not_waited_for() {
    let app = TestApp::with(impatient(|deadlines| &mut deadlines.handshake)).await;
    let mut silent = TcpStream::connect(app.address).await.expect("connected");
    assert!(closed(&mut silent).await.is_empty());
    app.close().await;
}

#[tokio::test]
async fn a_header_that_trickles_is_not_waited_for() {
    let app = TestApp::with(impatient(|deadlines| &mut deadlines.header)).await;
    let mut tls = wire::tls(&app, None, b"http/1.1").await;
    tls.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\nx-slow: ").await.expect("written");
    assert!(closed(&mut tls).await.is_empty());
    app.close().await;
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let app = TestApp::with(impatient(|deadlines| &mut deadlines.idle)).await;
    let mut tls = wire::tls(&app, None, b"http/1.1").await;
    tls.write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n").await.expect("written");
    let answer = closed(&mut tls).await;
    assert!(answer.starts_with(b"HTTP/1.1 200"));
    app.close().await;
}

#[tokio::test]
async fn a_body_that_stops_coming_leaves_nothing() {
    let app = TestApp::with(impatient(|deadlines| &mut deadlines.stall)).await;
    let alice = app.client("alice").await;
    let mut tls = wire::tls(&app, alice.credentials.as_ref(), b"http/1.1").await;
    let head = b"POST /api/upload HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000\r\n\r\nhalf of it";
    tls.write_all(head).await.expect("written");
    let answer = String::from_utf8_lossy(&closed(&mut tls).await).into_owned();
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("\"code\":\"stalled\""), "{answer}");
    app.close().await;
}

#[tokio::test]
async fn who_sends_all_before_reading_is_told_why_it_was_not_wanted() {
    let app = TestApp::start().await;
    let alice = app.client("alice").await;
    let body = vec![7; 900_000];
    let head =
        format!("POST /api/upload?ttl=bad HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n", body.len());
    let next = "GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    for _ in 0..10 {
        let mut stream = wire::tls(&app, alice.credentials.as_ref(), b"http/1.1").await;
        stream.write_all(head.as_bytes()).await.expect("sent");
        // The answer is there before any of the body is.
        let mut first = [0; 12];
        stream.read_exact(&mut first).await.expect("answered");
        assert_eq!(&first, b"HTTP/1.1 400");
        stream.write_all(&body).await.expect("sent to the end");
        // And the connection is as good as before.
        stream.write_all(next.as_bytes()).await.expect("sent");
        let rest = String::from_utf8(closed(&mut stream).await).expect("text");
        assert!(rest.contains("invalid_ttl") && rest.contains("HTTP/1.1 200 OK"), "{rest}");
    }
    app.close().await;
}

#[tokio::test]
async fn a_slow_handshake_holds_nobody_up() {
    let app = TestApp::start().await;
    let mut silent = Vec::new();
    for _ in 0..50 {
        silent.push(TcpStream::connect(app.address).await.expect("connected"));
    }
    assert_eq!(app.anonymous().get("/health").await.status(), 200);
    drop(silent);
    app.close().await;
}

#[tokio::test]
async fn one_address_has_its_share_of_connections() {
    let mut setup = Setup::default();
    setup.settings.limits.connections_per_address = 2;
    let app = TestApp::with(setup).await;
    let first = wire::tls(&app, None, b"http/1.1").await;
    let _second = wire::tls(&app, None, b"http/1.1").await;
    let mut third = TcpStream::connect(app.address).await.expect("connected");
    assert!(closed(&mut third).await.is_empty(), "closed at once");
    drop(first);
    while wire::try_tls(&app, None, b"http/1.1").await.is_err() {
        tokio::task::yield_now().await;
    }
    drop(_second);
    app.close().await;
}

#[tokio::test]
async fn one_address_cannot_take_the_share_of_others() {
    let mut setup = Setup::default();
    setup.settings.limits.connections = 6;
    setup.settings.limits.connections_per_address = 4;
    let app = TestApp::with(setup).await;
    let mut crowd = Vec::new();
    for _ in 0..4 {
        crowd.push(wire::tls(&app, None, b"http/1.1").await);
    }
    for _ in 0..20 {
        let mut one_more = TcpStream::connect(app.address).await.expect("connected");
        assert!(closed(&mut one_more).await.is_empty(), "closed at once");
    }
    // Another address of this machine.
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.2:0".parse().expect("an address")).expect("bound");
    let other = socket.connect(app.address).await.expect("connected");
    let config = std::sync::Arc::new(crate::caller::client_config(&app.root_pem(), None));
    let name = rustls_pki_types::ServerName::try_from("localhost").expect("a name");
    let mut tls = tokio_rustls::TlsConnector::from(config).connect(name, other).await.expect("a handshake");
    tls.write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.expect("written");
    assert!(closed(&mut tls).await.starts_with(b"HTTP/1.1 200"));
    drop((crowd, tls));
    app.close().await;
}

#[tokio::test]
async fn a_flood_of_handshakes_does_not_stop_an_open_connection() {
    let mut setup = Setup::default();
    setup.settings.limits.connections_per_address = 512;
    let app = TestApp::with(setup).await;
    let mut open = wire::Conversation::begin(wire::tls(&app, None, b"http/1.1").await).await;
    let address = app.address;
    let flood: Vec<_> = (0..300).map(|_| tokio::spawn(TcpStream::connect(address))).collect();
    let mut halfway = Vec::new();
    for connecting in flood {
        let mut stream = connecting.await.expect("no panic").expect("connected");
        // The head of a record that never comes whole: the handshake waits, and holds nobody's turn.
        stream.write_all(&[22, 3, 1, 1, 0, 1]).await.expect("written");
        halfway.push(stream);
    }
    assert_eq!(open.status("GET", "/health").await, 200);
    assert_eq!(wire::Conversation::begin(wire::tls(&app, None, b"h2").await).await.status("GET", "/health").await, 200);
    drop((halfway, open));
    app.close().await;
}

#[tokio::test]
async fn a_running_download_finishes_when_the_server_stops() {
    let app = TestApp::start().await;
    let bytes = vec![42; 1024 * 1024];
    let link = app.client("alice").await.upload(bytes.clone()).await;
    let mut tls = wire::tls(&app, None, b"http/1.1").await;
    let request = format!("GET /{} HTTP/1.1\r\nhost: localhost\r\n\r\n", link.id);
    tls.write_all(request.as_bytes()).await.expect("written");
    let mut start = [0; 100];
    tls.read_exact(&mut start).await.expect("begun");
    let address = app.address;
    let stopping = tokio::spawn(app.stop());
    let rest = closed(&mut tls).await;
    let body = [&start[..], &rest].concat();
    assert!(body.ends_with(&bytes), "the whole of it came");
    let (_folder, _) = stopping.await.expect("stopped");
    assert!(TcpStream::connect(address).await.is_err(), "no new connections");
}
