//! Bytes out.

use std::time::Duration;

use ddrop::api;
use reqwest::{Method, StatusCode};

use crate::app::TestApp;
use crate::caller::expect_problem;

#[tokio::test]
async fn the_answer_describes_the_content() {
    let app = TestApp::start().await;
    let link = app.client("alice").await.upload_with("?name=a.txt", "0123456789").await;
    let whole = app.anonymous().get(&link.url).await;
    let etag = whole.headers()["etag"].clone();
    for (name, value) in [
        ("accept-ranges", "bytes"),
        ("content-length", "10"),
        ("x-content-type-options", "nosniff"),
        ("content-security-policy", "default-src 'none'; frame-ancestors 'none'; sandbox"),
        ("repr-digest", ""),
        ("strict-transport-security", "max-age=63072000; includeSubDomains"),
    ] {
        if name == "repr-digest" {
            assert!(whole.headers()[name].to_str().expect("text").starts_with("sha-256=:"));
        } else {
            assert_eq!(whole.headers()[name], value, "{name}");
        }
    }
    let head = app.anonymous().request(Method::HEAD, &link.url).send().await.expect("answered");
    assert_eq!((head.status(), &head.headers()["content-length"]), (StatusCode::OK, &"10".parse().expect("a value")));
    let same = app.anonymous().request(Method::GET, &link.url).header("if-none-match", &etag).send().await;
    assert_eq!(same.expect("answered").status(), StatusCode::NOT_MODIFIED);
    app.close().await;
}

#[tokio::test]
async fn ranges_are_served_and_resumed_only_from_the_same_content() {
    let app = TestApp::start().await;
    let link = app.client("alice").await.upload("0123456789").await;
    let anyone = app.anonymous();
    let range = async |range: &str, if_range: Option<&str>| {
        let mut request = anyone.request(Method::GET, &link.url).header("range", range);
        if let Some(tag) = if_range {
            request = request.header("if-range", tag);
        }
        let answer = request.send().await.expect("answered");
        let said = answer.headers().get("content-range").map(|v| v.to_str().expect("text").to_owned());
        (answer.status().as_u16(), said, answer.text().await.expect("text"))
    };
    assert_eq!(range("bytes=2-4", None).await, (206, Some("bytes 2-4/10".into()), "234".into()));
    assert_eq!(range("bytes=-3", None).await, (206, Some("bytes 7-9/10".into()), "789".into()));
    assert_eq!(range("bytes=8-", None).await, (206, Some("bytes 8-9/10".into()), "89".into()));
    assert_eq!(range("bytes=0-1,3-4", None).await, (200, None, "0123456789".into()));
    let etag = format!("\"{}\"", link.sha256);
    assert_eq!(range("bytes=8-", Some(&etag)).await.0, 206);
    assert_eq!(range("bytes=8-", Some("\"other\"")).await.0, 200);
    let (status, said, _) = range("bytes=10-", None).await;
    assert_eq!((status, said.as_deref()), (416, Some("bytes */10")));
    app.close().await;
}

#[tokio::test]
async fn a_range_is_only_for_get() {
    let app = TestApp::start().await;
    let link = app.client("alice").await.upload("0123456789").await;
    for range in ["bytes=2-4", "bytes=10-"] {
        let head = app.anonymous().request(Method::HEAD, &link.url).header("range", range).send().await;
        let head = head.expect("answered");
        assert_eq!(
            (head.status(), &head.headers()["content-length"]),
            (StatusCode::OK, &"10".parse().expect("a value"))
        );
    }
    app.close().await;
}

#[tokio::test]
async fn a_method_that_is_not_known_is_told_which_are() {
    let app = TestApp::start().await;
    let alice = app.client("alice").await;
    for (path, known) in [("/api/stats", "GET,HEAD"), ("/pki/revoke", "POST")] {
        let answer = alice.request(Method::PATCH, path).send().await.expect("answered");
        let allow = answer.headers().get("allow").and_then(|value| value.to_str().ok()).map(str::to_owned);
        expect_problem(answer, 405, "method_not_allowed").await;
        assert_eq!(allow.as_deref(), Some(known), "RFC 9110 section 15.5.6");
    }
    app.close().await;
}

#[tokio::test]
async fn an_empty_file_is_a_file() {
    let app = TestApp::start().await;
    let link = app.client("alice").await.upload("").await;
    let answer = app.anonymous().get(&link.url).await;
    assert_eq!((answer.status(), answer.content_length()), (StatusCode::OK, Some(0)));
    app.close().await;
}

#[tokio::test]
async fn what_has_expired_is_gone_for_a_week_and_then_unknown() {
    let app = TestApp::start().await;
    let alice = app.client("alice").await;
    let link = alice.upload_with("?ttl=30m", "x").await;
    let anyone = app.anonymous();
    app.clock.advance(Duration::from_secs(30 * 60 - 1));
    assert_eq!(anyone.status(Method::GET, &link.url).await, StatusCode::OK);
    app.clock.advance(Duration::from_secs(1));
    expect_problem(anyone.get(&link.url).await, 410, "gone").await;
    app.app.store.sweep().await.expect("swept");
    assert!(app.files().is_empty());
    expect_problem(anyone.get(&link.url).await, 410, "gone").await;
    app.clock.advance(Duration::from_secs(7 * 24 * 3600 + 1));
    expect_problem(anyone.get(&link.url).await, 404, "not_found").await;
    app.close().await;
}

#[tokio::test]
async fn what_is_no_id_is_not_found() {
    let app = TestApp::start().await;
    for path in ["/abcdefgh12345678", "/a%20b", "/%2e%2e%2fetc", "/xy", "/favicon.ico", "/a/b/c"] {
        expect_problem(app.anonymous().get(path).await, 404, "not_found").await;
    }
    expect_problem(
        app.anonymous().request(Method::DELETE, "/abcd").send().await.expect("answered"),
        405,
        "method_not_allowed",
    )
    .await;
    app.close().await;
}

#[tokio::test]
async fn a_one_time_link_has_one_reader() {
    let app = TestApp::start().await;
    let alice = app.client("alice").await;
    let link = alice.upload_with("?burn=true", "once").await;
    let anyone = app.anonymous();
    assert_eq!(anyone.status(Method::HEAD, &link.url).await, StatusCode::OK, "asking about it is not reading it");
    let metadata: api::Link = alice.get(&format!("/api/links/{}", link.id)).await.json().await.expect("a link");
    assert!(metadata.burn);
    let readers = futures_util::future::join_all((0..8).map(|_| {
        let reader = app.anonymous();
        let url = link.url.clone();
        async move { reader.get(&url).await.status().as_u16() }
    }));
    let mut answers = readers.await;
    answers.sort_unstable();
    assert_eq!(answers, [200, 410, 410, 410, 410, 410, 410, 410]);
    app.close().await;
}
