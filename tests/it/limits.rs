//! How much.

use ddrop::api;
use reqwest::Method;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::app::{Setup, TestApp};
use crate::caller::expect_problem;
use crate::wire;

#[tokio::test]
async fn a_file_that_is_too_large_is_refused_before_and_while_it_comes() {
    let app = TestApp::start().await;
    let alice = app.client("alice").await;
    let large = vec![0_u8; 1024 * 1024 + 1];
    alice.upload(large[1..].to_vec()).await;
    let problem = expect_problem(alice.try_upload("", large.clone()).await, 413, "too_large").await;
    assert_eq!(problem.error, "File too large");
    let chunks: Vec<Result<Vec<u8>, std::io::Error>> = large.chunks(100_000).map(|c| Ok(c.to_vec())).collect();
    let body = reqwest::Body::wrap_stream(futures_util::stream::iter(chunks));
    let response = alice.request(Method::POST, "/api/upload").body(body).send().await.expect("answered");
    expect_problem(response, 413, "too_large").await;
    app.close().await;
}

#[tokio::test]
async fn one_client_has_so_many_links_and_not_the_room_of_others() {
    let mut setup = Setup { token: Some("planted-token"), ..Setup::default() };
    setup.settings.max_links = 3;
    let app = TestApp::with(setup).await;
    let (alice, bob) = (app.client("alice").await, app.client("bob").await);
    let made: Vec<api::Link> = futures_util::future::join_all((0..3).map(|_| alice.upload(""))).await;
    let racing = (0..6).map(|_| alice.try_upload("", ""));
    for refused in futures_util::future::join_all(racing).await {
        let problem = expect_problem(refused, 507, "too_many_links").await;
        assert!(problem.detail.contains('3') && problem.hint.expect("a hint").contains("DD_MAX_LINKS"));
    }
    let url = serde_json::json!({ "url": "https://example.org/" });
    let shortened = alice.request(Method::POST, "/api/shorten").json(&url).send().await.expect("answered");
    expect_problem(shortened, 507, "too_many_links").await;
    let changed = alice.request(Method::PUT, &format!("/api/links/{}/content", made[0].id)).body("other").send().await;
    assert!(changed.expect("answered").status().is_success(), "other content is no other link");
    bob.upload("").await;
    for _ in 0..5 {
        app.anonymous().with_token("planted-token").upload("").await;
    }
    alice.request(Method::DELETE, &format!("/api/links/{}", made[0].id)).send().await.expect("answered");
    alice.upload("").await;
    app.close().await;
}

#[tokio::test]
async fn who_asks_before_sending_is_told_before_sending() {
    let app = TestApp::start().await;
    let alice = app.client("alice").await;
    for (credentials, length, status) in [(alice.credentials.as_ref(), 99_000_000, "413"), (None, 10, "401")] {
        let mut tls = wire::tls(&app, credentials, b"http/1.1").await;
        let head = format!(
            "POST /api/upload HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\nexpect: 100-continue\r\n\r\n"
        );
        tls.write_all(head.as_bytes()).await.expect("written");
        let mut answer = [0; 12];
        tls.read_exact(&mut answer).await.expect("answered");
        assert_eq!(&answer, format!("HTTP/1.1 {status}").as_bytes());
    }
    app.close().await;
}

#[tokio::test]
async fn the_store_is_never_fuller_than_it_may_be() {
    let app = TestApp::with(Setup { max_storage: 1_000_000, ..Setup::default() }).await;
    let alice = app.client("alice").await;
    let uploads = (0..10).map(|_| async { alice.try_upload("", vec![1_u8; 300_000]).await.status().as_u16() });
    let mut answers = futures_util::future::join_all(uploads).await;
    answers.sort_unstable();
    assert_eq!(answers, [201, 201, 201, 507, 507, 507, 507, 507, 507, 507]);
    let problem = expect_problem(alice.try_upload("", vec![1_u8; 300_000]).await, 507, "storage_full").await;
    assert_eq!(problem.error, "Storage limit exceeded");
    let stats: api::Stats = alice.get("/api/stats").await.json().await.expect("stats");
    assert_eq!((stats.links, stats.link_bytes, stats.bytes, stats.capacity), (3, 900_000, 900_000, 1_000_000));
    app.close().await;
}

#[tokio::test]
async fn what_is_read_whole_says_how_long_it_may_be() {
    let mut setup = Setup::default();
    setup.settings.open_registration = true;
    setup.settings.register_difficulty = 0;
    let app = TestApp::with(setup).await;
    let alice = app.client("alice").await;
    for (path, kind) in [
        ("/pki/renew", "application/x-pem-file"),
        ("/register", "application/json"),
        ("/pki/ocsp", "application/ocsp-request"),
        ("/paste/s", "text/plain"),
        ("/api/shorten", "application/json"),
    ] {
        let request = alice.request(Method::POST, path).header("content-type", kind).body(vec![b'x'; 100_000]);
        expect_problem(request.send().await.expect("answered"), 413, "too_large").await;
    }
    app.close().await;
}

#[tokio::test]
async fn stats_count_what_lies_around() {
    let app = TestApp::start().await;
    let alice = app.client("alice").await;
    alice.upload("12345").await;
    std::fs::write(app.folder().join("files/stray"), [0; 100]).expect("written");
    let stats = app.counted(&alice, 105).await;
    assert_eq!((stats.link_bytes, stats.bytes), (5, 105));
    app.close().await;
}
