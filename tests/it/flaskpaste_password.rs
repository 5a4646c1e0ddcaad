//! Passwords (F19): at `/paste`, at the root, and under attack.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use ddrop::api;
use ddrop::api::paste::Paste;
use reqwest::{Method, Response, StatusCode};

use crate::app::TestApp;
use crate::caller::{Caller, client_config, expect_problem};
use crate::flaskpaste::{made, new, open_app};
use crate::planted::MARK;

const HEADER: &str = "x-paste-password";

async fn ask(who: &Caller, method: Method, path: &str, password: &[u8]) -> Response {
    who.request(method, path).header(HEADER, password).send().await.expect("answered")
}

/// Nobody in particular, from another address of this machine.
fn from(app: &TestApp, last: u8) -> Caller {
    let http = reqwest::Client::builder()
        .tls_backend_preconfigured(client_config(&app.root_pem(), None))
        .local_address(IpAddr::V4(Ipv4Addr::new(127, 0, 7, last)))
        .no_proxy()
        .build()
        .expect("a client");
    Caller { http, ..app.anonymous() }
}

#[tokio::test]
async fn f19_without_the_password_there_is_no_content() {
    let app = open_app().await;
    let alice = app.client("alice").await;
    let password = "planted-p\u{e4}ss word".as_bytes();
    let paste = made(new(&alice, "behind it").header(HEADER, password).header("x-burn-after-read", "true")).await;
    assert_eq!(paste.password_protected, Some(true));
    let nobody = app.anonymous();
    let seen: Paste = nobody.get(&paste.url).await.json().await.expect("metadata");
    assert_eq!((seen.password_protected, seen.sha256), (Some(true), None), "a digest is as good as a guess");
    let native = format!("/{}", paste.id);
    let etag = format!("\"{}\"", paste.sha256.expect("for its owner"));
    for path in [&paste.raw, &native] {
        for method in [Method::GET, Method::HEAD] {
            let none = nobody.request(method.clone(), path).header("if-none-match", &etag).send().await;
            let none = none.expect("answered");
            assert_eq!((none.status(), none.headers().get("etag")), (StatusCode::UNAUTHORIZED, None));
            let wrong = ask(&nobody, method.clone(), path, b"planted-pass word").await;
            assert_eq!((wrong.status(), wrong.headers().get("etag")), (StatusCode::FORBIDDEN, None));
        }
        expect_problem(nobody.get(path).await, 401, "password_required").await;
        expect_problem(alice.get(path).await, 401, "password_required").await;
        expect_problem(ask(&nobody, Method::GET, path, b"").await, 401, "password_required").await;
    }
    let wrong = ask(&nobody, Method::GET, &native, b"planted-wrong").await;
    expect_problem(wrong, 403, "password_wrong").await;
    let right = ask(&nobody, Method::GET, &paste.raw, password).await;
    assert_eq!(right.status(), StatusCode::OK, "and none of those was the one reading");
    assert_eq!(right.text().await.expect("text"), "behind it");
    app.close().await;
}

#[tokio::test]
async fn f19_every_way_in_takes_a_password() {
    let app = open_app().await;
    let alice = app.client("alice").await;
    let form = |parts: &[(&str, &str)]| {
        let parts = parts
            .iter()
            .map(|(head, body)| format!("--edge\r\nContent-Disposition: form-data; name=\"{head}\"\r\n\r\n{body}\r\n"));
        let body = parts.collect::<String>() + "--edge--\r\n";
        let request = alice.request(Method::POST, "/api/upload");
        request.header("content-type", "multipart/form-data; boundary=edge").body(body)
    };
    let json = |request: reqwest::RequestBuilder| request.header("accept", "application/json");
    for (n, request) in [
        form(&[("file", "1"), ("password", "planted-secret")]),
        form(&[("password", "planted-secret"), ("file", "2")]),
        alice.request(Method::POST, "/api/upload").header(HEADER, "planted-secret").body("3"),
        json(alice.request(Method::PUT, "/a.txt").header(HEADER, "planted-secret").body("4")),
        json(alice.request(Method::POST, "/").header(HEADER, "planted-secret").body("5")),
    ]
    .into_iter()
    .enumerate()
    {
        let link: api::Link = request.send().await.expect("answered").json().await.expect("a link");
        assert!(link.password_protected, "{n}");
        expect_problem(app.anonymous().get(&link.url).await, 401, "password_required").await;
        let right = ask(&app.anonymous(), Method::GET, &link.url, b"planted-secret").await;
        assert_eq!(right.text().await.expect("text"), (n + 1).to_string());
    }
    let open: api::Link =
        form(&[("file", "x"), ("password", "")]).send().await.expect("answered").json().await.expect("a link");
    assert!(!open.password_protected);
    app.close().await;
}

#[tokio::test]
async fn f19_passwords_are_bounded_and_kept_as_hashes() {
    let app = open_app().await;
    let alice = app.client("alice").await;
    let longest = MARK.repeat(1024 / MARK.len());
    let paste = made(new(&alice, "x").header(HEADER, &longest)).await;
    assert_eq!(ask(&alice, Method::GET, &paste.raw, longest.as_bytes()).await.status(), StatusCode::OK);
    let over = new(&alice, "x").header(HEADER, format!("{longest}x")).send().await.expect("answered");
    expect_problem(over, 400, "bad_request").await;
    let twice =
        new(&alice, "x").header(HEADER, "planted-a").header(HEADER, "planted-b").send().await.expect("answered");
    expect_problem(twice, 400, "bad_request").await;
    let rows = rusqlite::Connection::open(app.folder().join("links.db")).expect("opened");
    let kept: String =
        rows.query_row("SELECT password FROM links WHERE id = ?1", [&paste.id], |row| row.get(0)).expect("a row");
    let parts: Vec<&str> = kept.split('$').collect();
    assert_eq!((parts[1], parts[2], parts[3].len(), parts[4].len()), ("pbkdf2-sha256", "600000", 64, 64));
    app.close().await;
}

#[tokio::test]
async fn f19_wrong_passwords_are_counted_by_address_and_by_link() {
    let app = open_app().await;
    let alice = app.client("alice").await;
    let paste = made(new(&alice, "x").header(HEADER, "planted-right")).await;
    let other = made(new(&alice, "y").header(HEADER, "planted-right")).await;
    let guess = async |last: u8, paste: &Paste, password: &str| {
        ask(&from(&app, last), Method::GET, &paste.raw, password.as_bytes()).await
    };
    for _ in 0..10 {
        expect_problem(guess(1, &paste, "planted-wrong").await, 403, "password_wrong").await;
    }
    for (paste, password) in [(&paste, "planted-wrong"), (&paste, "planted-right"), (&other, "planted-right")] {
        let limited = guess(1, paste, password).await;
        assert!(limited.headers().contains_key("retry-after"));
        expect_problem(limited, 429, "rate_limited").await;
    }
    assert_eq!(guess(2, &paste, "planted-right").await.status(), StatusCode::OK, "others are not held up");
    for last in [2, 3] {
        for _ in 0..10 {
            expect_problem(guess(last, &paste, "planted-wrong").await, 403, "password_wrong").await;
        }
    }
    expect_problem(guess(4, &paste, "planted-right").await, 429, "rate_limited").await;
    assert_eq!(guess(4, &other, "planted-right").await.status(), StatusCode::OK, "another link is another link");
    app.clock.advance(Duration::from_secs(60));
    assert_eq!(guess(1, &paste, "planted-right").await.status(), StatusCode::OK);
    app.close().await;
}
