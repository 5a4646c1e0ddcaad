//! Links of an older program, which knew their owner by the SHA-1 of a certificate, and that owner.

use std::collections::HashMap;

use ddrop::access::{self, Policy};
use ddrop::api;
use ddrop::clock::Clock as _;
use ddrop::identity::Tier;
use ddrop::import::flaskpaste::FlaskPaste;
use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::app::{Setup, TestApp};
use crate::caller::{Caller, Credentials, expect_problem};

/// Takes over one paste of this owner.
async fn import(app: &TestApp, id: &str, sha1: &str) {
    let path = app.folder().join("pastes.db");
    let now = app.clock.now().as_secs();
    let database = rusqlite::Connection::open(&path).expect("opened");
    let sql = format!(
        "CREATE TABLE IF NOT EXISTS pastes (id TEXT, content BLOB, mime_type TEXT, owner TEXT, created_at INTEGER,
             last_accessed INTEGER);
         INSERT INTO pastes VALUES ('{id}', 'mine', 'text/plain', '{sha1}', {now}, {now})"
    );
    database.execute_batch(&sql).expect("made");
    let source = FlaskPaste::open(&path, HashMap::new()).expect("opened");
    let permit = access::adopt();
    let into = Some((&app.app.store, Some(&permit)));
    let outcome = ddrop::import::import(&source, into, app.clock.now()).await.expect("imported");
    assert_eq!(outcome.failed, []);
    assert!(outcome.imported == 1);
}

fn stranger(app: &TestApp, name: &str) -> Caller {
    Caller::new(app, Some(Credentials::self_signed(name, app.clock.now().to_offset())))
}

fn sha1(caller: &Caller) -> String {
    caller.credentials.as_ref().expect("a certificate").fingerprint().sha1.to_string()
}

async fn open_to_strangers() -> TestApp {
    let mut setup = Setup::default();
    setup.settings.policy = Policy { allow_anonymous: false, allow_untrusted: true };
    TestApp::with(setup).await
}

#[tokio::test]
async fn whoever_comes_with_the_certificate_has_its_links() {
    let app = open_to_strangers().await;
    let (erin, mallory) = (stranger(&app, "erin"), stranger(&app, "mallory"));
    import(&app, "abcdef012345", &sha1(&erin)).await;
    let path = "/api/links/abcdef012345";
    assert_eq!(app.anonymous().get("/abcdef012345").await.text().await.expect("text"), "mine", "as every link");
    expect_problem(mallory.get(path).await, 403, "not_owner").await;
    let own: api::Links = erin.get("/api/links").await.json().await.expect("links");
    assert_eq!((own.links.len(), own.stats.links, own.stats.link_bytes), (1, 1, 4));
    assert_eq!(erin.status(Method::GET, path).await, StatusCode::OK);
    // From then on they go where the certificate's links go.
    let admin = app.admin().await;
    let fingerprint = erin.credentials.as_ref().expect("a certificate").fingerprint().sha256.to_string();
    let body = json!({"fingerprint": fingerprint, "name": "erin"});
    let trusted = admin.request(Method::POST, "/pki/trust").json(&body).send().await.expect("answered");
    assert_eq!(trusted.status(), StatusCode::OK);
    let who: api::Whoami = erin.get("/api/whoami").await.json().await.expect("an answer");
    assert_eq!(who.tier, Tier::Trusted);
    assert_eq!(erin.status(Method::DELETE, path).await, StatusCode::OK);
    app.close().await;
}

#[tokio::test]
async fn whoever_was_trusted_before_has_them_too() {
    let app = TestApp::start().await;
    let (admin, erin) = (app.admin().await, stranger(&app, "erin"));
    let fingerprint = erin.credentials.as_ref().expect("a certificate").fingerprint().sha256.to_string();
    let body = json!({"fingerprint": fingerprint, "name": "erin"});
    let trusted = admin.request(Method::POST, "/pki/trust").json(&body).send().await.expect("answered");
    assert_eq!(trusted.status(), StatusCode::OK);
    import(&app, "abcdef012345", &sha1(&erin)).await;
    let own: api::Links = erin.get("/api/links").await.json().await.expect("links");
    assert_eq!(own.links.len(), 1);
    assert_eq!(erin.status(Method::DELETE, "/api/links/abcdef012345").await, StatusCode::OK);
    app.close().await;
}

#[tokio::test]
async fn a_revoked_certificate_gets_nothing() {
    let app = TestApp::start().await;
    let (admin, alice) = (app.admin().await, app.client("alice").await);
    let revoked = admin.request(Method::POST, "/pki/revoke").json(&json!({"name": "alice"})).send().await;
    assert_eq!(revoked.expect("answered").status(), StatusCode::OK);
    import(&app, "abcdef012345", &sha1(&alice)).await;
    expect_problem(alice.get("/api/links/abcdef012345").await, 403, "certificate_revoked").await;
    let all: api::Links = admin.get("/api/links").await.json().await.expect("links");
    let owner = all.links.first().and_then(|link| link.owner.clone());
    assert!(owner.is_some_and(|owner| owner.starts_with("sha1:")), "still nobody's");
    let awaited = app.app.store.trust().awaited(sha1(&alice).parse().expect("a fingerprint")).await;
    assert!(awaited.expect("read"));
    app.close().await;
}
