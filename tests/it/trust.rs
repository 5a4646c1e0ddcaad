//! A certificate from elsewhere becomes a client's, and the record of it all.

use ddrop::access::Policy;
use ddrop::api;
use ddrop::identity::Tier;
use reqwest::{Method, Response, StatusCode};
use serde_json::json;

use crate::app::{Setup, TestApp};
use crate::caller::{Caller, Credentials, expect_problem};

fn stranger(app: &TestApp) -> (Caller, String) {
    let credentials = Credentials::self_signed("whoever", app.app.clock.now().to_offset());
    let fingerprint = credentials.fingerprint().sha256.to_string();
    (Caller::new(app, Some(credentials)), fingerprint)
}

async fn trust(by: &Caller, fingerprint: &str, name: &str) -> Response {
    let body = json!({"fingerprint": fingerprint, "name": name});
    by.request(Method::POST, "/pki/trust").json(&body).send().await.expect("answered")
}

#[tokio::test]
async fn a_trusted_fingerprint_is_a_client_and_brings_its_links() {
    let mut setup = Setup::default();
    setup.settings.policy = Policy { allow_anonymous: false, allow_untrusted: true };
    let app = TestApp::with(setup).await;
    let admin = app.admin().await;
    let (erin, fingerprint) = stranger(&app);
    let link = erin.upload("mine").await;
    let path = format!("/api/links/{}", link.id);
    assert_eq!(erin.status(Method::GET, &path).await, StatusCode::OK);
    for _ in 0..2 {
        let answer: api::Trust = trust(&admin, &fingerprint, "erin").await.json().await.expect("an answer");
        assert_eq!((answer.fingerprint.as_str(), answer.name.as_str()), (fingerprint.as_str(), "erin"));
    }
    let who: api::Whoami = erin.get("/api/whoami").await.json().await.expect("an answer");
    assert_eq!((who.tier, who.name.as_deref()), (Tier::Trusted, Some("erin")), "on the open connection");
    assert_eq!(erin.status(Method::GET, &path).await, StatusCode::OK);
    let links: api::Links = erin.get("/api/links").await.json().await.expect("links");
    assert_eq!((links.links.len(), links.stats.links, links.stats.link_bytes), (1, 1, 4));
    assert_eq!(erin.status(Method::DELETE, &path).await, StatusCode::OK);
    app.close().await;
}

#[tokio::test]
async fn who_may_trust_and_whom() {
    let app = TestApp::start().await;
    let (admin, alice) = (app.admin().await, app.client("alice").await);
    let (erin, fingerprint) = stranger(&app);
    expect_problem(trust(&alice, &fingerprint, "erin").await, 403, "not_admin").await;
    expect_problem(trust(&erin, &fingerprint, "erin").await, 403, "untrusted").await;
    expect_problem(trust(&app.anonymous(), &fingerprint, "erin").await, 401, "unauthenticated").await;
    expect_problem(trust(&admin, "12ab", "erin").await, 400, "bad_request").await;
    expect_problem(trust(&admin, &fingerprint, "a/b").await, 400, "bad_request").await;
    let own = alice.credentials.as_ref().expect("a certificate").fingerprint().sha256.to_string();
    expect_problem(trust(&admin, &own, "erin").await, 409, "certificate_known").await;
    assert_eq!(trust(&admin, &fingerprint, "erin").await.status(), StatusCode::OK);
    let body = json!({"fingerprint": fingerprint});
    let revoked = admin.request(Method::POST, "/pki/revoke").json(&body).send().await.expect("answered");
    assert_eq!(revoked.status(), StatusCode::OK);
    expect_problem(trust(&admin, &fingerprint, "erin").await, 409, "certificate_revoked").await;
    assert_eq!(erin.status(Method::GET, "/api/links").await, StatusCode::FORBIDDEN);
    app.close().await;
}

#[tokio::test]
async fn admins_read_the_record_and_see_when_it_was_altered() {
    let app = TestApp::start().await;
    let (admin, alice) = (app.admin().await, app.client("alice").await);
    for path in ["/pki/audit", "/pki/audit/verify"] {
        expect_problem(alice.get(path).await, 403, "not_admin").await;
    }
    let all: api::Audit = admin.get("/pki/audit").await.json().await.expect("the record");
    let last: api::Audit = admin.get("/pki/audit?last=1").await.json().await.expect("the record");
    assert_eq!(last.events, all.events[all.events.len() - 1..]);
    assert_eq!((&last.events[0]["what"], &last.events[0]["details"]["name"]), (&json!("enroll"), &json!("alice")));
    let verified: api::Verified = admin.get("/pki/audit/verify").await.json().await.expect("an answer");
    assert!(verified.intact && verified.head.is_some());
    assert_eq!(verified.line, all.events.len() as u64);
    let file = app.folder().join("pki/audit.log");
    let text = std::fs::read_to_string(&file).expect("read");
    std::fs::write(&file, text.replacen("alice", "mallo", 1)).expect("altered");
    let verified: api::Verified = admin.get("/pki/audit/verify").await.json().await.expect("an answer");
    assert!(!verified.intact && verified.why.is_some());
    app.close().await;
}
