//! F22: who someone is by the headers of a proxy where TLS ends, and all the ways in which nobody else may say so.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ddrop::api;
use ddrop::identity::Tier;
use ddrop::server::Proxies;
use ddrop::token::Secret;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::app::{Setup, TestApp};
use crate::caller::{Caller, Credentials};
use crate::wire;

pub const SECRET: &str = "a planted-secret of the proxy and ours";

pub fn proxies(networks: &str, secret: Option<&str>) -> Setup {
    let secret = secret.map(|text| Secret::from_given(text.to_owned()));
    Setup { proxies: Some(Proxies::new(networks.parse().expect("networks"), false, secret)), ..Setup::default() }
}

fn der(credentials: &Credentials) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(credentials.chain.as_bytes()).expect("a certificate")
}

/// `Client-Cert` as RFC 9440 has it.
pub fn client_cert(credentials: &Credentials) -> String {
    format!("Client-Cert: :{}:\r\n", BASE64_STANDARD.encode(der(credentials)))
}

/// `X-SSL-Client-Cert` as nginx has it.
fn escaped(credentials: &Credentials) -> String {
    let (leaf, _) = credentials.chain.split_once("-----END CERTIFICATE-----").expect("PEM");
    let pem = format!("{leaf}-----END CERTIFICATE-----\n");
    format!(
        "X-SSL-Client-Cert: {}\r\n",
        percent_encoding::utf8_percent_encode(&pem, percent_encoding::NON_ALPHANUMERIC)
    )
}

pub fn by_sha256(credentials: &Credentials) -> String {
    format!("X-SSL-Client-SHA256: {}\r\n", credentials.fingerprint().sha256)
}

pub fn by_sha1(credentials: &Credentials) -> String {
    format!("X-SSL-Client-SHA1: {}\r\n", credentials.fingerprint().sha1)
}

pub fn proven(headers: &str) -> String {
    format!("X-Proxy-Secret: {SECRET}\r\n{headers}")
}

/// An answer on a connection of its own: its status and its body.
async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &str) -> (u16, String) {
    stream.write_all(request.as_bytes()).await.expect("written");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    let status = answer.get(9..12).and_then(|digits| digits.parse().ok()).expect("a status");
    let body = answer.split_once("\r\n\r\n").expect("a body").1.to_owned();
    (status, body)
}

async fn plain(app: &TestApp) -> TcpStream {
    TcpStream::connect(app.plain.expect("a plain listener")).await.expect("connected")
}

async fn whoami(app: &TestApp, headers: &str) -> (u16, String) {
    let request = format!("GET /api/whoami HTTP/1.1\r\nHost: drop.example\r\nConnection: close\r\n{headers}\r\n");
    answer(plain(app).await, &request).await
}

pub async fn known(app: &TestApp, headers: &str) -> api::Whoami {
    let (status, body) = whoami(app, headers).await;
    assert_eq!(status, 200, "{headers}: {body}");
    serde_json::from_str(&body).expect("an answer")
}

/// Nobody: either told so, or refused.
async fn is_nobody(app: &TestApp, headers: &str) {
    let (status, body) = whoami(app, headers).await;
    if status == 200 {
        let me: api::Whoami = serde_json::from_str(&body).expect("an answer");
        assert_eq!((me.tier, me.name.as_deref(), me.proof.as_str()), (Tier::Anonymous, None, "none"), "{headers}");
    } else {
        assert!(matches!(status, 400 | 431), "{headers}: {status} {body}");
        // What is no HTTP at all is refused before anybody reads who it is from.
        assert!(body.is_empty() || body.contains("\"code\":\"identity_header\""), "{headers}: {body}");
    }
}

#[tokio::test]
async fn the_same_person_is_the_same_client_whichever_way_they_come() {
    let app = TestApp::with(proxies("127.0.0.1", Some(SECRET))).await;
    let (alice, admin) = (app.client("alice").await, app.admin().await);
    let link = alice.upload("of alice").await;
    let stranger = Credentials::self_signed("alice", app.app.clock.now().to_offset());
    for caller in [alice.credentials.as_ref().expect("own"), admin.credentials.as_ref().expect("own"), &stranger] {
        let direct = Caller::new(&app, Some(caller.clone()));
        let direct: api::Whoami = direct.get("/api/whoami").await.json().await.expect("an answer");
        let ways = [
            (client_cert(caller), "proxy-certificate"),
            (escaped(caller), "proxy-certificate"),
            (by_sha256(caller), "proxy-fingerprint"),
            (client_cert(caller) + &escaped(caller) + &by_sha256(caller) + &by_sha1(caller), "proxy-certificate"),
        ];
        for (headers, proof) in ways {
            let me = known(&app, &proven(&headers)).await;
            assert_eq!((me.tier, &me.name, me.proof.as_str()), (direct.tier, &direct.name, proof), "{headers}");
            assert_eq!(me.fingerprint_sha256, direct.fingerprint_sha256);
        }
        let me = known(&app, &proven(&by_sha1(caller))).await;
        // By SHA-1 only those are known who are in the records here.
        let tier = if direct.tier == Tier::Untrusted { Tier::Anonymous } else { direct.tier };
        assert_eq!((me.tier, &me.name), (tier, &direct.name));
    }
    let own = format!(
        "GET /api/links HTTP/1.1\r\nHost: drop.example\r\nConnection: close\r\nX-Forwarded-Proto: https\r\n{}\r\n",
        proven(&by_sha1(alice.credentials.as_ref().expect("own")))
    );
    let (status, body) = answer(plain(&app).await, &own).await;
    assert!(status == 200 && body.contains(&format!("https://drop.example/{}", link.id)), "the same links: {body}");
    app.close().await;
}

#[tokio::test]
async fn what_a_certificate_is_worth_is_found_out_here_for_each_request() {
    use ddrop::authority::{Actor, Which};
    let app = TestApp::with(proxies("127.0.0.1", None)).await;
    let alice = app.client("alice").await.credentials.expect("own");
    let ways = [client_cert(&alice), escaped(&alice), by_sha256(&alice), by_sha1(&alice)];
    let now = app.app.clock.now();
    for (moved, code) in [(366, "certificate_expired"), (0, "")] {
        app.clock.set(now.after(std::time::Duration::from_secs(moved * 24 * 3600)));
        for headers in &ways {
            let request = format!("GET /api/links HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n");
            let (status, body) = answer(plain(&app).await, &request).await;
            assert!(if code.is_empty() { status == 200 } else { status == 403 && body.contains(code) }, "{body}");
        }
    }
    // Connections of proxies stay open for everyone who comes by them.
    let mut open = plain(&app).await;
    for (headers, revoke, expected) in [(&ways[0], true, "200"), (&ways[0], false, "403"), (&ways[3], false, "403")] {
        let request = format!("GET /api/links HTTP/1.1\r\nHost: x\r\n{headers}\r\n");
        open.write_all(request.as_bytes()).await.expect("written");
        let mut start = vec![0; 64 * 1024];
        let length = open.read(&mut start).await.expect("answered");
        assert!(String::from_utf8_lossy(&start[..length]).starts_with(&format!("HTTP/1.1 {expected}")));
        if revoke {
            let by = Actor { name: "operator".to_owned(), address: None };
            app.app.authority.revoke(&by, Which::Client("alice".to_owned()), 1, None).await.expect("revoked");
        }
    }
    drop(open);
    app.close().await;
}

/// Status of a request for links with these headers, on a connection of its own.
async fn links(app: &TestApp, headers: &str) -> (u16, String) {
    let request = format!("GET /api/links HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n");
    answer(plain(app).await, &request).await
}

#[tokio::test]
async fn what_is_remembered_of_a_certificate_ends_with_a_change_of_trust() {
    use ddrop::authority::{Actor, Authority, Which};
    let app = TestApp::with(proxies("127.0.0.1", Some(SECRET))).await;
    let by = Actor { name: "operator".to_owned(), address: None };
    let stranger = Credentials::self_signed("erin", app.app.clock.now().to_offset());
    let [alice, bob] = [app.client("alice").await, app.client("bob").await].map(|one| one.credentials.expect("own"));
    let ways = |of: &Credentials| [client_cert(of), escaped(of), by_sha256(of), by_sha1(of)].map(|way| proven(&way));
    // Asked twice, so that what the second answer came from is remembered.
    for _ in 0..2 {
        for headers in ways(&alice).iter().chain(&ways(&bob)) {
            assert_eq!(links(&app, headers).await.0, 200, "{headers}");
        }
        for headers in &ways(&stranger)[..3] {
            assert_eq!(known(&app, headers).await.tier, Tier::Untrusted, "{headers}");
        }
    }
    app.app.authority.revoke(&by, Which::Client("alice".to_owned()), 1, None).await.expect("revoked");
    for headers in ways(&alice) {
        let (status, body) = links(&app, &headers).await;
        assert!(status == 403 && body.contains("certificate_revoked"), "{headers}: {body}");
    }
    assert_eq!(links(&app, &ways(&bob)[0]).await.0, 200, "nobody else's");
    // Another process on the same storage, as `ddrop pki revoke -s` and `ddrop pki trust -s` are.
    let folder = crate::app::authority_config(app.folder());
    let clock: std::sync::Arc<dyn ddrop::clock::Clock> = std::sync::Arc::new(app.clock.clone());
    let config =
        ddrop::store::Config { path: app.folder().to_owned(), max_file_size: 1024, max_storage: 16 * 1024 * 1024 };
    let beside = ddrop::store::Store::open(config, std::sync::Arc::clone(&clock)).await.expect("opened");
    let other = Authority::open(folder, beside.trust(), clock).await.expect("opened");
    other.revoke(&by, Which::Client("bob".to_owned()), 1, None).await.expect("revoked");
    other.trust_fingerprint(&by, stranger.fingerprint().sha256, "erin").await.expect("trusted");
    for headers in ways(&bob) {
        assert_eq!(links(&app, &headers).await.0, 403, "{headers}");
    }
    for headers in &ways(&stranger)[..3] {
        let me = known(&app, headers).await;
        assert_eq!((me.tier, me.name.as_deref()), (Tier::Trusted, Some("erin")), "{headers}");
    }
    drop((other, beside));
    app.close().await;
}

#[tokio::test]
async fn without_the_right_secret_the_headers_of_a_proxy_are_as_if_they_were_not_there() {
    let app = TestApp::with(proxies("127.0.0.1", Some(SECRET))).await;
    let alice = app.client("alice").await.credentials.expect("own");
    let identity = client_cert(&alice) + &by_sha1(&alice) + "X-Forwarded-For: 192.0.2.9\r\n";
    for secret in [
        String::new(),
        "X-Proxy-Secret: planted-wrong\r\n".to_owned(),
        "X-Proxy-Secret: \r\n".to_owned(),
        format!("X-Proxy-Secret: {SECRET}x\r\n"),
        format!("X-Proxy-Secret: {}\r\n", SECRET.to_uppercase()),
        format!("X-Proxy-Secret: {SECRET}, {SECRET}\r\n"),
        format!("X-Proxy-Secret: {SECRET}\r\nX-Proxy-Secret: {SECRET}\r\n"),
        format!("X-Proxy-Secret: planted-wrong\r\nx-proxy-secret: {SECRET}\r\n"),
        format!("X_Proxy_Secret: {SECRET}\r\n"),
        format!("X-Proxy-Secret: {SECRET}{}\r\n", "x".repeat(20_000)),
        format!("Proxy-Secret: {SECRET}\r\n"),
    ] {
        let me = known(&app, &(secret + &identity)).await;
        assert_eq!((me.tier, me.proof.as_str()), (Tier::Anonymous, "none"));
        assert_eq!(me.address.expect("an address").to_string(), "127.0.0.1", "nor does it say where it comes from");
    }
    let me = known(&app, &proven(&identity)).await;
    assert_eq!((me.name.as_deref(), me.address.expect("an address").to_string()), (Some("alice"), "192.0.2.9".into()));
    app.close().await;
}

#[tokio::test]
async fn nobody_but_a_proxy_speaks_for_others() {
    // We are not in these networks, and know the secret all the same.
    let app = TestApp::with(proxies("192.0.2.0/24", Some(SECRET))).await;
    let alice = app.client("alice").await.credentials.expect("own");
    for headers in [client_cert(&alice), escaped(&alice), by_sha256(&alice), by_sha1(&alice)] {
        is_nobody(&app, &proven(&headers)).await;
        is_nobody(&app, &headers).await;
    }
    let me = known(&app, &proven("X-Forwarded-For: 192.0.2.9\r\nForwarded: for=192.0.2.9\r\n")).await;
    assert_eq!(me.address.expect("an address").to_string(), "127.0.0.1");
    app.close().await;
}

#[tokio::test]
async fn look_alikes_are_nobody() {
    let app = TestApp::with(proxies("127.0.0.1", Some(SECRET))).await;
    let (alice, bob) = (app.client("alice").await, app.client("bob").await);
    let (alice, bob) = (alice.credentials.expect("own"), bob.credentials.expect("own"));
    let sha1 = alice.fingerprint().sha1.to_string();
    let cert = client_cert(&alice);
    let value = cert.trim_start_matches("Client-Cert: ").trim_end();
    for headers in [
        // Twice, joined, at odds with another.
        by_sha1(&alice).repeat(2),
        cert.repeat(2),
        format!("Client-Cert: {value}, {value}\r\n"),
        format!("X-SSL-Client-SHA1: {sha1}, {sha1}\r\n"),
        client_cert(&alice) + &by_sha1(&bob),
        client_cert(&alice) + &escaped(&bob),
        by_sha256(&alice) + &by_sha1(&bob),
        // Odd case of the value, odd characters in it, odd length.
        format!("X-SSL-Client-SHA1: {}\r\n", sha1.to_uppercase()),
        format!("X-SSL-Client-SHA1: {} {}\r\n", &sha1[..20], &sha1[20..]),
        format!("X-SSL-Client-SHA1: {}\r\n", &sha1[..39]),
        format!("X-SSL-Client-SHA1: {sha1}{}\r\n", "0".repeat(60_000)),
        format!("X-SSL-Client-SHA1: %{}\r\n", &sha1),
        format!("Client-Cert: {}\r\n", value.trim_matches(':')),
        format!("Client-Cert: \"{}\"\r\n", value.trim_matches(':')),
        // Names that look alike.
        format!("X_SSL_Client_SHA1: {sha1}\r\n"),
        format!("X-SSL-Client_SHA1: {sha1}\r\n"),
        format!("X-SSL-Client-SHA1 : {sha1}\r\n"),
        format!(" X-SSL-Client-SHA1: {sha1}\r\n"),
        format!("X-SSL-Client-SHA1\t: {sha1}\r\n"),
        format!("X-SSL-Client-SHA1\0: {sha1}\r\n"),
        format!("X-Other: a\r\n X-SSL-Client-SHA1: {sha1}\r\n"),
        format!("X-Other: a\rX-SSL-Client-SHA1: {sha1}\r\n"),
        format!("SSL-Client-SHA1: {sha1}\r\n"),
        format!("X-Client-SHA1: {sha1}\r\n"),
    ] {
        is_nobody(&app, &proven(&headers)).await;
    }
    // Odd case of the name is the same name, once.
    let me = known(&app, &proven(&format!("x-SSL-cLIENT-sha1: {sha1}\r\n"))).await;
    assert_eq!(me.name.as_deref(), Some("alice"));
    is_nobody(&app, &proven(&format!("x-SSL-cLIENT-sha1: {sha1}\r\n{}", by_sha1(&alice)))).await;
    app.close().await;
}

#[tokio::test]
async fn trailers_and_what_connection_names_change_nothing() {
    let app = TestApp::with(proxies("127.0.0.1", Some(SECRET))).await;
    let alice = app.client("alice").await.credentials.expect("own");
    let upload = format!(
        "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\
         Trailer: X-SSL-Client-SHA1, X-Proxy-Secret\r\n\r\n1\r\nx\r\n0\r\n{}\r\n",
        proven(&by_sha1(&alice))
    );
    let (status, body) = answer(plain(&app).await, &upload).await;
    assert_eq!(status, 401, "{body}");
    for connection in ["X-Proxy-Secret", "close, x-ssl-client-sha1", "X-SSL-Client-SHA1, Client-Cert, keep-alive"] {
        let header = format!("Connection: {connection}\r\n");
        is_nobody(&app, &(header.clone() + &by_sha1(&alice))).await;
        let request = format!("GET /api/whoami HTTP/1.1\r\nHost: x\r\n{header}{}\r\n", proven(&by_sha1(&alice)));
        let mut stream = plain(&app).await;
        stream.write_all(request.as_bytes()).await.expect("written");
        stream.shutdown().await.expect("half closed");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer");
        assert!(answer.contains("\"alice\"") || answer.is_empty(), "the proxy's own word stays the proxy's: {answer}");
    }
    app.close().await;
}

#[tokio::test]
async fn a_listener_with_tls_never_reads_them() {
    let app = TestApp::with(proxies("0.0.0.0/0", Some(SECRET))).await;
    let (alice, bob) = (app.client("alice").await, app.client("bob").await);
    let alice = alice.credentials.expect("own");
    let headers = proven(&(client_cert(&alice) + &by_sha1(&alice) + "X-Forwarded-For: 192.0.2.9\r\n"));
    for credentials in [None, bob.credentials.as_ref()] {
        let request = format!("GET /api/whoami HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n");
        let (status, body) = answer(wire::tls(&app, credentials, b"http/1.1").await, &request).await;
        let me: api::Whoami = serde_json::from_str(&body).expect("an answer");
        let expected = credentials.map(|_| "bob");
        assert_eq!((status, me.name.as_deref()), (200, expected));
        assert_eq!(me.address.expect("an address").to_string(), "127.0.0.1");
    }
    app.close().await;
}

#[tokio::test]
async fn http_2_without_tls_is_spoken_too_and_pseudo_headers_are_no_headers() {
    use hyper_util::rt::{TokioExecutor, TokioIo};
    let app = TestApp::with(proxies("127.0.0.1", Some(SECRET))).await;
    let alice = app.client("alice").await.credentials.expect("own");
    let io = TokioIo::new(plain(&app).await);
    let (mut sender, running) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.expect("HTTP/2 from its first byte");
    let running = tokio::spawn(running);
    let sha1 = alice.fingerprint().sha1.to_string();
    for (headers, expected) in [
        (vec![("x-proxy-secret", SECRET), ("x-ssl-client-sha1", sha1.as_str())], Some("alice")),
        (vec![("x-ssl-client-sha1", sha1.as_str())], None),
        (vec![("x-proxy-secret", SECRET), ("x-proxy-secret", SECRET), ("x-ssl-client-sha1", sha1.as_str())], None),
        (vec![], None),
    ] {
        let mut request = hyper::Request::get("http://drop.example/api/whoami");
        for (name, value) in headers {
            request = request.header(name, value);
        }
        sender.ready().await.expect("open");
        let answer = sender.send_request(request.body(String::new()).expect("a request")).await.expect("answered");
        let body = http_body_util::BodyExt::collect(answer.into_body()).await.expect("a body").to_bytes();
        let me: api::Whoami = serde_json::from_slice(&body).expect("an answer");
        assert_eq!(me.name.as_deref(), expected, "each request of a connection speaks for itself");
    }
    drop(sender);
    let _ = running.await;
    // A pseudo-header that is none, and one where a header should be: by hand, since no library sends them.
    for (name, value) in [(":x-ssl-client-sha1", sha1.as_str()), (":authority\0x-ssl-client-sha1", &sha1)] {
        let mut stream = plain(&app).await;
        let mut block = vec![0x82, 0x86, 0x84];
        for (name, value) in [("x-proxy-secret", SECRET), (name, value)] {
            block.push(0);
            for text in [name, value] {
                block.push(u8::try_from(text.len()).expect("short"));
                block.extend(text.as_bytes());
            }
        }
        let mut sent = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
        sent.extend([0, 0, u8::try_from(block.len()).expect("short"), 1, 5, 0, 0, 0, 1]);
        sent.extend(&block);
        stream.write_all(&sent).await.expect("written");
        stream.shutdown().await.expect("half closed");
        let mut got = Vec::new();
        // A reset is as good an answer.
        let _ = stream.read_to_end(&mut got).await;
        assert!(!String::from_utf8_lossy(&got).contains("alice"), "{name:?}");
    }
    app.close().await;
}

#[tokio::test]
async fn two_ways_to_say_where_a_request_ends_are_no_way_in() {
    // CL.TE and TE.CL: what one program takes for a body another may take for the next request. Nothing here carries
    // the secret but the first request.
    let app = TestApp::with(proxies("127.0.0.1", Some(SECRET))).await;
    let alice = app.client("alice").await.credentials.expect("own");
    let smuggled = format!("GET /api/links HTTP/1.1\r\nHost: x\r\n{}\r\n", by_sha1(&alice));
    let chunk = format!("{:x}\r\n{smuggled}\r\n0\r\n\r\n", smuggled.len());
    for (lengths, body) in [
        (
            format!("Content-Length: {}\r\nTransfer-Encoding: chunked", smuggled.len() + 5),
            format!("0\r\n\r\n{smuggled}"),
        ),
        ("Content-Length: 4\r\nTransfer-Encoding: chunked".to_owned(), chunk.clone()),
        ("Transfer-Encoding: chunked\r\nContent-Length: 4".to_owned(), chunk.clone()),
        ("Transfer-Encoding: xchunked\r\nContent-Length: 4".to_owned(), chunk.clone()),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\nContent-Length: 4".to_owned(), chunk.clone()),
        ("Content-Length: 0\r\nContent-Length: 4".to_owned(), smuggled.clone()),
        ("Content-Length: +0".to_owned(), smuggled.clone()),
        ("Transfer-Encoding : chunked\r\nContent-Length: 4".to_owned(), chunk.clone()),
    ] {
        let request = format!("POST /nowhere/at/all HTTP/1.1\r\nHost: x\r\n{lengths}\r\n\r\n{body}");
        let mut stream = plain(&app).await;
        stream.write_all(request.as_bytes()).await.expect("written");
        stream.shutdown().await.expect("half closed");
        let mut got = String::new();
        // A reset is as good an answer.
        let _ = stream.read_to_string(&mut got).await;
        assert!(!got.contains("HTTP/1.1 200") && !got.contains("\"links\""), "{lengths}: {got}");
    }
    app.close().await;
}

#[tokio::test]
async fn connections_of_proxies_do_not_count_for_an_address() {
    let mut setup = proxies("127.0.0.1", None);
    setup.settings.limits.connections_per_address = 1;
    let app = TestApp::with(setup).await;
    let mut open = Vec::new();
    for _ in 0..5 {
        open.push(plain(&app).await);
    }
    assert_eq!(known(&app, "").await.tier, Tier::Anonymous);
    drop(open);
    app.close().await;
}

#[tokio::test]
async fn links_and_headers_are_as_they_are_outside() {
    let mut setup = proxies("127.0.0.1", None);
    setup.settings.url_prefix = "/drop".to_owned();
    let app = TestApp::with(setup).await;
    let alice = app.client("alice").await.credentials.expect("own");
    for (path, headers, url) in [
        (
            "/drop/api/upload",
            "X-Forwarded-Proto: https\r\nX-Forwarded-Host: drop.example\r\n",
            "https://drop.example/drop/",
        ),
        ("/api/upload", "X-Forwarded-Proto: https\r\n", "https://inner/drop/"),
        ("/api/upload", "Forwarded: for=192.0.2.7;proto=https;host=a.example\r\n", "https://a.example/drop/"),
        ("/api/upload", "", "http://inner/drop/"),
        ("/api/upload", "X-Forwarded-Host: evil.example/path\r\n", ""),
    ] {
        let identity = by_sha1(&alice);
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: inner\r\nConnection: close\r\nContent-Length: 1\r\n{headers}{identity}\r\nx"
        );
        let mut stream = plain(&app).await;
        stream.write_all(request.as_bytes()).await.expect("written");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer");
        assert_eq!(answer.contains("strict-transport-security"), headers.contains("https"), "{headers}: {answer}");
        if url.is_empty() {
            assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
        } else {
            assert!(answer.contains(&format!("\"url\":\"{url}")), "{headers}: {answer}");
        }
    }
    app.close().await;
}
