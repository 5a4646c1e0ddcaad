//! Whose links are whose.

use ddrop::api;
use reqwest::{Method, StatusCode};

use crate::app::{Setup, TestApp};
use crate::caller::{Caller, Credentials, expect_problem};

#[tokio::test]
async fn another_client_reads_by_link_and_nothing_else() {
    let app = TestApp::start().await;
    let (alice, bob, admin) = (app.client("alice").await, app.client("bob").await, app.admin().await);
    let link = alice.upload("mine").await;
    let path = format!("/api/links/{}", link.id);
    assert_eq!(bob.get(&link.url).await.text().await.expect("text"), "mine");
    expect_problem(bob.get(&path).await, 403, "not_owner").await;
    expect_problem(bob.post(&format!("{path}/expire")).await, 403, "not_owner").await;
    expect_problem(bob.request(Method::DELETE, &path).send().await.expect("answered"), 403, "not_owner").await;
    let change = bob.request(Method::PATCH, &path).json(&serde_json::json!({"ttl": "1h"})).send().await;
    expect_problem(change.expect("answered"), 403, "not_owner").await;
    let own: api::Links = bob.get("/api/links").await.json().await.expect("links");
    assert_eq!((own.links.len(), own.stats.links), (0, 0));
    let all: api::Links = admin.get("/api/links").await.json().await.expect("links");
    assert_eq!(all.links.len(), 1);
    assert_eq!(admin.status(Method::GET, &path).await, StatusCode::OK);
    assert_eq!(admin.status(Method::POST, &format!("{path}/expire")).await, StatusCode::OK);
    expect_problem(alice.get(&link.url).await, 410, "gone").await;
    app.close().await;
}

#[tokio::test]
async fn expiring_takes_the_bytes_and_can_be_repeated() {
    let app = TestApp::start().await;
    let alice = app.client("alice").await;
    let link = alice.upload("short-lived").await;
    let path = format!("/api/links/{}", link.id);
    assert_eq!(app.files().len(), 1);
    assert_eq!(alice.status(Method::POST, &format!("{path}/expire")).await, StatusCode::OK);
    assert!(app.files().is_empty(), "the file is gone when it answers");
    expect_problem(app.anonymous().get(&link.url).await, 410, "gone").await;
    assert_eq!(alice.status(Method::POST, &format!("{path}/expire")).await, StatusCode::OK);
    assert_eq!(alice.status(Method::DELETE, &path).await, StatusCode::OK);
    expect_problem(app.client("bob").await.post(&format!("{path}/expire")).await, 403, "not_owner").await;
    expect_problem(alice.post("/api/links/nosuchlink123/expire").await, 404, "not_found").await;
    app.close().await;
}

#[tokio::test]
async fn a_link_can_be_renamed_and_prolonged() {
    let app = TestApp::start().await;
    let alice = app.client("alice").await;
    let link = alice.upload_with("?name=old.txt&ttl=1h", "x").await;
    let path = format!("/api/links/{}", link.id);
    let patch =
        async |body: serde_json::Value| alice.request(Method::PATCH, &path).json(&body).send().await.expect("answered");
    let changed: api::Link =
        patch(serde_json::json!({"name": "new.txt", "ttl": "3h"})).await.json().await.expect("a link");
    assert_eq!(changed.name.as_deref(), Some("new.txt"));
    assert!(changed.expires_at > link.expires_at);
    let fetched = app.anonymous().get(&link.url).await;
    assert_eq!(fetched.headers()["content-disposition"], "attachment; filename=\"new.txt\"");
    expect_problem(patch(serde_json::json!({})).await, 400, "bad_request").await;
    expect_problem(patch(serde_json::json!({"ttl": "9999h"})).await, 400, "invalid_ttl").await;
    expect_problem(patch(serde_json::json!({"name": ".."})).await, 400, "bad_request").await;
    expect_problem(patch(serde_json::json!({"owner": "me"})).await, 422, "bad_request").await;
    app.close().await;
}

#[tokio::test]
async fn lists_come_in_pages() {
    let app = TestApp::start().await;
    let alice = app.client("alice").await;
    let mut ids = Vec::new();
    for n in 0..5 {
        app.clock.advance(std::time::Duration::from_secs(1));
        ids.insert(0, alice.upload_with(&format!("?name=file{n}.txt"), "x").await.id);
    }
    let mut seen = Vec::new();
    let mut path = "/api/links?limit=2".to_owned();
    loop {
        let page: api::Links = alice.get(&path).await.json().await.expect("links");
        assert_eq!(page.stats.links, 5);
        seen.extend(page.links.into_iter().map(|link| link.id));
        let Some(next) = page.next else { break };
        path = format!("/api/links?limit=2&after={next}");
    }
    assert_eq!(seen, ids);
    let long = format!("/api/links?search={}", "_".repeat(28_000));
    expect_problem(alice.get(&long).await, 400, "bad_request").await;
    let found: api::Links = alice.get("/api/links?search=FILE3").await.json().await.expect("links");
    assert_eq!(found.links.len(), 1);
    expect_problem(alice.get("/api/links?limit=0").await, 400, "bad_request").await;
    expect_problem(alice.get("/api/links?after=%21").await, 400, "bad_request").await;
    app.close().await;
}

#[tokio::test]
async fn every_closed_route_is_closed() {
    let app = TestApp::start().await;
    let stranger = Caller::new(&app, Some(Credentials::self_signed("mallory", app.app.clock.now().to_offset())));
    for (method, path) in [
        (Method::GET, "/api/links"),
        (Method::GET, "/api/links/abcdefgh"),
        (Method::PATCH, "/api/links/abcdefgh"),
        (Method::DELETE, "/api/links/abcdefgh"),
        (Method::POST, "/api/links/abcdefgh/expire"),
        (Method::GET, "/api/stats"),
        (Method::POST, "/pki/ca"),
        (Method::POST, "/pki/renew"),
        (Method::POST, "/pki/issue"),
        (Method::GET, "/pki/certs"),
        (Method::POST, "/pki/revoke"),
        (Method::GET, "/pki/invites"),
        (Method::POST, "/pki/invites"),
        (Method::DELETE, "/pki/invites/x"),
    ] {
        assert_eq!(app.anonymous().status(method.clone(), path).await, StatusCode::UNAUTHORIZED, "{method} {path}");
        assert_eq!(stranger.status(method.clone(), path).await, StatusCode::FORBIDDEN, "{method} {path}");
    }
    let alice = app.client("alice").await;
    for (method, path) in [(Method::POST, "/pki/ca"), (Method::GET, "/pki/invites"), (Method::DELETE, "/pki/invites/x")]
    {
        expect_problem(alice.request(method, path).send().await.expect("answered"), 403, "not_admin").await;
    }
    app.close().await;
}

#[tokio::test]
async fn untrusted_certificates_own_links_where_that_is_allowed() {
    let mut setup = Setup::default();
    setup.settings.policy.allow_untrusted = true;
    let app = TestApp::with(setup).await;
    let now = app.app.clock.now().to_offset();
    let one = Caller::new(&app, Some(Credentials::self_signed("one", now)));
    let two = Caller::new(&app, Some(Credentials::self_signed("two", now)));
    let link = one.upload("x").await;
    let path = format!("/api/links/{}", link.id);
    assert_eq!(one.status(Method::GET, &path).await, StatusCode::OK);
    expect_problem(two.get(&path).await, 403, "not_owner").await;
    app.close().await;
}
