//! F22: behind a proxy that forwards TCP and says by the PROXY protocol where a connection comes from.

use std::net::SocketAddr;
use std::time::Duration;

use ddrop::api;
use ddrop::identity::Tier;
use proxy_header::{ProxiedAddress, ProxyHeader};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::app::{Setup, TestApp};
use crate::caller::Credentials;
use crate::wire;

fn behind(proxies: &'static str) -> Setup {
    Setup { forwarders: Some(proxies), ..Setup::default() }
}

fn version_2(header: &ProxyHeader<'_>) -> Vec<u8> {
    let mut bytes = vec![0; 1024];
    let length = header.encode_to_slice_v2(&mut bytes).expect("room");
    bytes.truncate(length);
    bytes
}

/// What a proxy sends for a client at this address.
fn from(address: &str) -> Vec<u8> {
    let source: SocketAddr = SocketAddr::new(address.parse().expect("an address"), 50_000);
    let destination = if source.is_ipv6() { "[2001:db8::1]:443" } else { "192.0.2.1:443" };
    let destination = destination.parse().expect("an address");
    version_2(&ProxyHeader::with_address(ProxiedAddress::stream(source, destination)))
}

/// One request on a connection of its own, behind these bytes; `None` when no handshake came of it.
async fn ask(app: &TestApp, header: &[u8], credentials: Option<&Credentials>, request: &str) -> Option<String> {
    let mut tls = wire::tls_after(app, header, credentials).await.ok()?;
    let request = format!("{request}\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    tls.write_all(request.as_bytes()).await.expect("written");
    let mut answer = String::new();
    tls.read_to_string(&mut answer).await.expect("an answer");
    Some(answer)
}

async fn whoami(app: &TestApp, header: &[u8], credentials: Option<&Credentials>) -> Option<api::Whoami> {
    let answer = ask(app, header, credentials, "GET /api/whoami HTTP/1.1").await?;
    let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
    Some(serde_json::from_str(body).expect("an answer"))
}

#[tokio::test]
async fn the_clients_address_is_the_one_the_proxy_names() {
    let app = TestApp::start().await;
    let alice = app.client("alice").await.credentials;
    let (folder, clock) = app.stop().await;
    let app = TestApp::on(folder, clock, behind("127.0.0.0/8")).await;
    for (header, address) in [
        (b"PROXY TCP4 192.0.2.7 192.0.2.1 5 443\r\n".to_vec(), "192.0.2.7"),
        (from("2001:db8::7"), "2001:db8::7"),
        (from("::ffff:192.0.2.7"), "192.0.2.7"),
        (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1"),
        (version_2(&ProxyHeader::with_local()), "127.0.0.1"),
    ] {
        let me = whoami(&app, &header, alice.as_ref()).await.expect("an answer");
        assert_eq!((me.tier, me.name.as_deref()), (Tier::Trusted, Some("alice")), "who it is, TLS says");
        assert_eq!(me.address.expect("an address").to_string(), address);
    }
    app.close().await;
}

#[tokio::test]
async fn wrong_invites_and_the_audit_log_are_of_the_client_not_of_the_proxy() {
    let app = TestApp::with(behind("127.0.0.0/8")).await;
    let guess = "POST /pki/enroll HTTP/1.1\r\nauthorization: Invite wrongwrongwrongwrong\r\ncontent-length: 0";
    let status = async |address: &str| {
        let answer = ask(&app, &from(address), None, guess).await.expect("an answer");
        answer[..12].to_owned()
    };
    for _ in 0..5 {
        assert_eq!(status("192.0.2.7").await, "HTTP/1.1 403");
    }
    assert_eq!(status("192.0.2.7").await, "HTTP/1.1 429");
    assert_eq!(status("192.0.2.8").await, "HTTP/1.1 403", "another client of the same proxy");
    let log = app.app.authority.audit(100).await.expect("the log").join("\n");
    assert!(log.contains("192.0.2.7") && log.contains("192.0.2.8") && !log.contains("\"from\":\"127"), "{log}");
    app.close().await;
}

#[tokio::test]
async fn nobody_else_may_say_where_a_connection_comes_from() {
    let app = TestApp::with(behind("192.0.2.0/24,2001:db8::/32")).await;
    assert!(whoami(&app, &from("192.0.2.7"), None).await.is_none(), "not a proxy of ours");
    assert!(whoami(&app, b"", None).await.is_none(), "nor does anyone come by themselves");
    app.close().await;
    let app = TestApp::start().await;
    assert!(whoami(&app, &from("192.0.2.7"), None).await.is_none(), "not in use");
    assert!(whoami(&app, b"PROXY TCP4 192.0.2.7 192.0.2.1 5 443\r\n", None).await.is_none());
    app.close().await;
}

#[tokio::test]
async fn a_header_that_is_none_is_cut_off() {
    let app = TestApp::with(behind("127.0.0.1")).await;
    let twice = [from("192.0.2.7"), from("192.0.2.8")].concat();
    let too_long = [b"PROXY UNKNOWN ".to_vec(), vec![b'x'; 200]].concat();
    for header in [&b""[..], b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", b"PROXY TCP4 x y 1 2\r\n", &twice, &too_long] {
        assert!(whoami(&app, header, None).await.is_none(), "{}", String::from_utf8_lossy(header));
    }
    assert!(whoami(&app, &from("192.0.2.7"), None).await.is_some());
    app.close().await;
}

#[tokio::test]
async fn a_header_that_trickles_is_not_waited_for() {
    let mut setup = behind("127.0.0.1");
    setup.settings.limits.deadlines.handshake = Duration::from_millis(100);
    let app = TestApp::with(setup).await;
    for begin in [&b""[..], b"PROXY ", &from("192.0.2.7")[..14], &from("192.0.2.7")[..20]] {
        let mut slow = TcpStream::connect(app.address).await.expect("connected");
        slow.write_all(begin).await.expect("written");
        let mut got = Vec::new();
        // A reset is as closed as an end.
        let _ = slow.read_to_end(&mut got).await;
        assert!(got.is_empty());
    }
    app.close().await;
}

#[tokio::test]
async fn connections_count_for_the_client_and_the_proxys_own_for_nobody() {
    let mut setup = behind("127.0.0.1");
    setup.settings.limits.connections_per_address = 2;
    let app = TestApp::with(setup).await;
    let crowd = from("192.0.2.7");
    let first = wire::tls_after(&app, &crowd, None).await.expect("one");
    let second = wire::tls_after(&app, &crowd, None).await.expect("two");
    assert!(wire::tls_after(&app, &crowd, None).await.is_err(), "that is one too many");
    let other = wire::tls_after(&app, &from("192.0.2.8"), None).await.expect("somebody else");
    let local = version_2(&ProxyHeader::with_local());
    let mut checks = Vec::new();
    for _ in 0..5 {
        checks.push(wire::tls_after(&app, &local, None).await.expect("a health check"));
    }
    drop((first, second, other, checks));
    app.close().await;
}
