//! From an invite to a certificate, and what becomes of both.

use std::time::Duration;

use ddrop::api;
use ddrop::token::Secret;
use pki::key::{Algorithm, Key};
use reqwest::{Method, Response, StatusCode};

use crate::app::TestApp;
use crate::caller::{Caller, expect_problem};

fn csr() -> String {
    pki::request::make(&Key::generate(Algorithm::P256).expect("a key"), "whoever").expect("a request")
}

async fn enroll(app: &TestApp, secret: &Secret, csr: &str) -> Response {
    let request = app.anonymous().request(Method::POST, "/pki/enroll");
    let authorization = format!("Invite {}", secret.reveal());
    request.header("authorization", authorization).body(csr.to_owned()).send().await.expect("answered")
}

#[tokio::test]
async fn an_invite_makes_one_client() {
    let app = TestApp::start().await;
    let secret = app.invite("alice", false).await;
    let answer = enroll(&app, &secret, &csr()).await;
    assert_eq!(answer.status(), StatusCode::OK);
    let headers = answer.headers().clone();
    assert_eq!(headers["content-type"], "application/x-pem-file");
    assert_eq!(headers["x-is-admin"], "0");
    let chain = answer.text().await.expect("a chain");
    let leaf = pki::pem::certificates(&chain).expect("certificates").remove(0);
    let facts = pki::certificate::inspect(&leaf).expect("a certificate");
    assert_eq!(headers["x-certificate-serial"], facts.serial_hex.as_str());
    assert_eq!(headers["x-certificate-expires"], facts.not_after.unix_timestamp().to_string().as_str());
    assert_eq!(headers["x-fingerprint-sha256"], ddrop::identity::Sha256::of(&leaf).to_string().as_str());
    assert_eq!(facts.common_name.as_deref(), Some("alice"), "the invite says who it is, not the request");
    expect_problem(enroll(&app, &secret, &csr()).await, 403, "invite_used").await;
    app.close().await;
}

#[tokio::test]
async fn racing_uses_of_an_invite_have_one_winner() {
    let app = TestApp::start().await;
    let secret = app.invite("alice", false).await;
    let racers = (0..6).map(|_| async { enroll(&app, &secret, &csr()).await.status().as_u16() });
    let mut answers = futures_util::future::join_all(racers).await;
    answers.sort_unstable();
    assert_eq!(answers, [200, 403, 403, 403, 403, 403]);
    app.close().await;
}

#[tokio::test]
async fn bad_invites_are_refused_with_the_reason() {
    let app = TestApp::start().await;
    let secret = app.invite("alice", false).await;
    app.clock.advance(Duration::from_secs(3600));
    expect_problem(enroll(&app, &secret, &csr()).await, 403, "invite_expired").await;
    let never = Secret::random().expect("random bytes");
    expect_problem(enroll(&app, &never, &csr()).await, 403, "invite_unknown").await;
    let without = app.anonymous().request(Method::POST, "/pki/enroll").body(csr()).send().await.expect("answered");
    let problem = expect_problem(without, 401, "unauthenticated").await;
    assert_eq!(problem.detail, "enrolling needs an invite: Authorization: Invite SECRET");
    app.close().await;
}

#[tokio::test]
async fn a_bad_request_does_not_use_the_invite_up() {
    let app = TestApp::start().await;
    let secret = app.invite("alice", false).await;
    let good = csr();
    let damaged = good.replacen("M", "N", 3);
    for bad in
        ["", "nonsense", "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n", &damaged]
    {
        let status = enroll(&app, &secret, bad).await.status();
        assert_eq!(status, StatusCode::BAD_REQUEST, "{bad}");
    }
    let huge = enroll(&app, &secret, &"x".repeat(100_000)).await.status();
    assert!(huge == StatusCode::BAD_REQUEST || huge == StatusCode::PAYLOAD_TOO_LARGE, "{huge}");
    assert_eq!(enroll(&app, &secret, &good).await.status(), StatusCode::OK);
    app.close().await;
}

#[tokio::test]
async fn admins_invite_list_and_withdraw_over_the_api() {
    let app = TestApp::start().await;
    let admin = app.admin().await;
    let make = async |body: serde_json::Value| {
        admin.request(Method::POST, "/pki/invites").json(&body).send().await.expect("answered")
    };
    let made = make(serde_json::json!({"name": "bob", "ttl": "1h"})).await;
    assert_eq!(made.status(), StatusCode::CREATED);
    let made: api::MadeInvite = made.json().await.expect("an invite");
    let invite: ddrop::token::Invite = made.invite.parse().expect("an invite");
    assert_eq!(invite.secret.reveal(), made.secret);
    assert_eq!(invite.root, app.app.authority.root_fingerprint());
    assert_eq!(invite.server.as_str(), app.url("/"));
    let bob = Caller::enroll(&app, &invite.secret, "bob").await;
    assert_eq!(bob.status(Method::GET, "/api/links").await, StatusCode::OK);
    let second: api::MadeInvite = make(serde_json::json!({"name": "carol"})).await.json().await.expect("an invite");
    let path = format!("/pki/invites/{}", second.id);
    let withdrawn = admin.request(Method::DELETE, &path).send().await.expect("answered");
    assert_eq!(withdrawn.status(), StatusCode::OK);
    assert!(withdrawn.text().await.expect("text").contains("the invite was withdrawn"));
    let late = enroll(&app, &Secret::from_given(second.secret), &csr()).await;
    expect_problem(late, 403, "invite_withdrawn").await;
    let text = admin.get("/pki/invites").await.text().await.expect("text");
    assert!(text.contains("\"used\"") && text.contains("\"withdrawn\"") && !text.contains(&made.secret));
    for body in [serde_json::json!({"name": "x", "ttl": "inf"}), serde_json::json!({"name": "x", "ttl": "31d"})] {
        assert_eq!(make(body).await.status(), StatusCode::BAD_REQUEST);
    }
    assert_eq!(make(serde_json::json!({"name": "bob"})).await.status(), StatusCode::CONFLICT, "there is a bob");
    app.close().await;
}

#[tokio::test]
async fn renewal_keeps_the_client_and_its_links() {
    let app = TestApp::start().await;
    let alice = app.client("alice").await;
    let link = alice.upload("mine").await;
    let key = Key::generate(Algorithm::P256).expect("a key");
    let request = pki::request::make(&key, "someone else").expect("a request");
    let answer = alice.request(Method::POST, "/pki/renew").body(request).send().await.expect("answered");
    assert_eq!(answer.status(), StatusCode::OK);
    let credentials =
        crate::caller::Credentials { chain: answer.text().await.expect("a chain"), key: key.to_pem().to_string() };
    let renewed = Caller::new(&app, Some(credentials));
    let path = format!("/api/links/{}", link.id);
    assert_eq!(renewed.status(Method::GET, &path).await, StatusCode::OK);
    assert_eq!(alice.status(Method::GET, &path).await, StatusCode::OK, "the old one works until it ends");
    app.close().await;
}

#[tokio::test]
async fn clients_see_and_revoke_their_own_certificates_only() {
    let app = TestApp::start().await;
    let (alice, bob, admin) = (app.client("alice").await, app.client("bob").await, app.admin().await);
    let list = async |who: &Caller| {
        let answer: api::Certificates = who.get("/pki/certs").await.json().await.expect("certificates");
        answer.certs
    };
    let own = list(&alice).await;
    assert_eq!(own.len(), 1);
    assert!(list(&admin).await.len() >= 3);
    let revoke = async |who: &Caller, body: serde_json::Value| {
        who.request(Method::POST, "/pki/revoke").json(&body).send().await.expect("answered")
    };
    let serial = serde_json::json!({"serial": own[0].serial});
    assert_eq!(revoke(&bob, serial.clone()).await.status(), StatusCode::FORBIDDEN);
    let body = serde_json::json!({"fingerprint": own[0].fingerprint_sha256, "reason": "keyCompromise"});
    let done: api::Revoked = revoke(&admin, body.clone()).await.json().await.expect("an answer");
    assert_eq!((done.changed, done.certs[0].reason.as_deref()), (1, Some("keyCompromise")));
    let again: api::Revoked = revoke(&admin, body).await.json().await.expect("an answer");
    assert_eq!((again.changed, again.certs[0].reason.as_deref()), (0, Some("keyCompromise")));
    assert_eq!(revoke(&admin, serde_json::json!({"name": "nobody"})).await.status(), StatusCode::NOT_FOUND);
    assert_eq!(revoke(&admin, serde_json::json!({})).await.status(), StatusCode::BAD_REQUEST);
    let reason = serde_json::json!({"name": "bob", "reason": "boredom"});
    assert_eq!(revoke(&admin, reason).await.status(), StatusCode::BAD_REQUEST);
    assert_eq!(alice.status(Method::GET, "/api/links").await, StatusCode::FORBIDDEN);
    app.close().await;
}
