//! A new issuing CA over the API: for admins, seen at once, and what was issued before it stays good.

use std::path::Path;

use ddrop::api;
use ddrop::authority::{Actor, Which};
use futures_util::future::join_all;
use pki::key::{Algorithm, Key};
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};

use crate::app::{Setup, TestApp};
use crate::caller::{Caller, Credentials, expect_problem};
use crate::wire::{self, Conversation};

async fn rotate(by: &Caller, wish: &Value) -> Response {
    by.request(Method::POST, "/pki/ca/rotate").json(wish).send().await.expect("answered")
}

async fn rotated(by: &Caller) -> String {
    let answer = rotate(by, &json!({})).await;
    assert_eq!(answer.status(), StatusCode::CREATED, "{}", answer.text().await.unwrap_or_default());
    answer.json::<api::Rotated>().await.expect("an answer").issuing_fingerprint
}

async fn issuing(app: &TestApp) -> String {
    let status: api::PkiStatus = app.anonymous().get("/pki/status").await.json().await.expect("a status");
    status.issuing_fingerprint
}

/// Names of the files of the authority, of which none may be forgotten or left over.
fn files(app: &TestApp) -> Vec<String> {
    let entries = std::fs::read_dir(app.folder().join("pki")).expect("a folder");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn verified(app: &TestApp, folder: &Path, chain: &str) -> bool {
    std::fs::write(folder.join("root.pem"), app.root_pem()).expect("written");
    std::fs::write(folder.join("chain.pem"), chain).expect("written");
    let verify = ["verify", "-x509_strict", "-purpose", "sslclient", "-CAfile", "root.pem", "-untrusted", "chain.pem"];
    let mut openssl = std::process::Command::new("openssl");
    let done = openssl.args(verify).arg("chain.pem").current_dir(folder).output().expect("openssl runs");
    done.status.success()
}

#[tokio::test]
async fn only_an_admin_makes_a_new_ca() {
    let app = TestApp::with(Setup { token: Some("planted-the-token"), ..Setup::default() }).await;
    let (admin, alice) = (app.admin().await, app.client("alice").await);
    let former = Caller::enroll(&app, &app.invite("former", true).await, "former").await;
    let by = Actor { name: "operator".to_owned(), address: None };
    app.app.authority.revoke(&by, Which::Client("former".to_owned()), 1, None).await.expect("revoked");
    let stranger = Caller::new(&app, Some(Credentials::self_signed("admin", app.app.clock.now().to_offset())));
    let (before, there) = (issuing(&app).await, files(&app));
    expect_problem(rotate(&app.anonymous(), &json!({})).await, 401, "unauthenticated").await;
    expect_problem(rotate(&app.anonymous().with_token("planted-another"), &json!({})).await, 401, "invalid_token")
        .await;
    expect_problem(rotate(&stranger, &json!({})).await, 403, "untrusted").await;
    expect_problem(rotate(&alice, &json!({})).await, 403, "not_admin").await;
    expect_problem(rotate(&former, &json!({})).await, 403, "certificate_revoked").await;
    let page = admin.request(Method::POST, "/pki/ca/rotate").header("origin", "https://evil.example");
    expect_problem(page.send().await.expect("answered"), 403, "cross_site").await;
    let read = admin.get("/pki/ca/rotate").await;
    expect_problem(read, 405, "method_not_allowed").await;
    for wish in [
        json!([]),
        json!({"permit": "any"}),
        json!({"names": ["any"]}),
        json!({"permit": ["any", "example.org"]}),
        json!({"permit": ["no name"]}),
        json!({"permit": ["10.0.0.0/33"]}),
    ] {
        expect_problem(rotate(&admin, &wish).await, 400, "bad_request").await;
    }
    let many = json!({"permit": vec!["localhost"; 101]});
    let problem = expect_problem(rotate(&admin, &many).await, 400, "bad_request").await;
    assert_eq!(problem.detail, "'permit' has at most 100 names");
    let problem =
        expect_problem(rotate(&admin, &json!({"permit": ["elsewhere.org"]})).await, 409, "not_permitted").await;
    assert!(problem.detail.contains("'localhost'"), "{}", problem.detail);
    assert_eq!((issuing(&app).await, files(&app)), (before, there));
    let token = app.anonymous().with_token("planted-the-token");
    assert_eq!(rotate(&token, &json!({"permit": ["any"]})).await.status(), StatusCode::CREATED);
    app.close().await;
}

#[tokio::test]
async fn a_new_ca_is_seen_at_once_and_old_certificates_stay_good() {
    let app = TestApp::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let (admin, alice, bad) = (app.admin().await, app.client("alice").await, app.client("bad").await);
    let mut open = Conversation::begin(wire::tls(&app, alice.credentials.as_ref(), b"h2").await).await;
    assert_eq!(open.status("GET", "/api/links").await, 200);
    let before = issuing(&app).await;
    let made = rotated(&admin).await;
    assert_ne!(made, before);
    assert_eq!(issuing(&app).await, made);
    let chain = app.anonymous().get("/pki/chain.crt").await.text().await.expect("a chain");
    let first = pki::pem::certificates(&chain).expect("certificates").remove(0);
    assert_eq!(ddrop::identity::Sha256::of(&first).to_string(), made);
    let again = rotated(&admin).await;
    assert_ne!(again, made, "repeated, it is one more");
    let made = again;

    assert_eq!(open.status("GET", "/api/links").await, 200);
    assert_eq!(alice.again(&app).status(Method::GET, "/api/links").await, StatusCode::OK);
    let key = Key::generate(Algorithm::P256).expect("a key");
    let request = pki::request::make(&key, "alice").expect("a request");
    let renewed = alice.request(Method::POST, "/pki/renew").body(request).send().await.expect("answered");
    let renewed = Credentials { chain: renewed.text().await.expect("a chain"), key: key.to_pem().to_string() };
    let new = app.client("new").await;
    let old = alice.credentials.as_ref().expect("a certificate");
    for credentials in [old, &renewed, new.credentials.as_ref().expect("a certificate")] {
        let caller = Caller::new(&app, Some(credentials.clone()));
        assert_eq!(caller.status(Method::GET, "/api/links").await, StatusCode::OK);
        assert!(verified(&app, folder.path(), &credentials.chain));
    }
    let by = pki::pem::certificates(&renewed.chain).expect("certificates").remove(1);
    assert_eq!(ddrop::identity::Sha256::of(&by).to_string(), made, "the new one signs");

    let revoked = admin.request(Method::POST, "/pki/revoke").json(&json!({"name": "bad"})).send().await;
    assert_eq!(revoked.expect("answered").status(), StatusCode::OK);
    expect_problem(bad.get("/api/links").await, 403, "certificate_revoked").await;
    let lists = app.anonymous().get("/pki/crl.pem").await.text().await.expect("lists");
    assert_eq!(lists.matches("BEGIN X509 CRL").count(), 4, "of three issuing CAs and the root");

    let audit: api::Audit = admin.get("/pki/audit").await.json().await.expect("the record");
    let lines: Vec<&Value> = audit.events.iter().filter(|event| event["what"] == "rotate").collect();
    assert_eq!(lines.len(), 2);
    assert_eq!((&lines[1]["who"], &lines[1]["details"]["fingerprint"]), (&json!("admin"), &json!(made)));
    assert!(lines[1]["from"].is_string(), "{:?}", lines[1]);
    drop(open);
    app.close().await;
}

#[tokio::test]
async fn new_cas_and_certificates_race_and_none_is_lost() {
    let app = TestApp::start().await;
    let admin = app.admin().await;
    let mut invites = Vec::new();
    for name in ["a", "b", "c", "d", "e"] {
        invites.push((name, app.invite(name, false).await));
    }
    let enrolling = invites.iter().map(|(name, secret)| Caller::enroll(&app, secret, name));
    let rotating = (0..4).map(|_| async { rotated(&admin.again(&app)).await });
    let (clients, mut made) = tokio::join!(join_all(enrolling), join_all(rotating));
    for client in &clients {
        assert_eq!(client.again(&app).status(Method::GET, "/api/links").await, StatusCode::OK);
    }
    let last = issuing(&app).await;
    assert!(made.contains(&last), "the one that issues is the last that was made");
    made.sort();
    made.dedup();
    assert_eq!(made.len(), 4);
    let former = files(&app).into_iter().filter(|name| name.starts_with("issuing-") && name.ends_with(".crt")).count();
    assert_eq!(former, 4);
    let kept = app.app.store.trust().value("authority-issuing").await.expect("read");
    assert_eq!(kept.as_deref(), Some(last.as_str()), "what is remembered is what is in the folder");
    let record: api::Verified = admin.get("/pki/audit/verify").await.json().await.expect("an answer");
    assert!(record.intact, "{record:?}");
    let (folder, clock) = app.stop().await;
    let app = TestApp::on(folder, clock, Setup::default()).await;
    assert_eq!(issuing(&app).await, last);
    for client in &clients {
        assert_eq!(client.again(&app).status(Method::GET, "/api/links").await, StatusCode::OK, "after a restart");
    }
    app.close().await;
}

#[tokio::test]
async fn without_the_root_key_there_is_no_new_ca() {
    let app = TestApp::start().await;
    let admin = app.admin().await;
    let before = issuing(&app).await;
    let away = tempfile::tempdir().expect("a folder");
    let by = Actor { name: "operator".to_owned(), address: None };
    app.app.authority.export_root(&by, &away.path().join("root.key")).await.expect("taken offline");
    let there = files(&app);
    let problem = expect_problem(rotate(&admin, &json!({})).await, 409, "root_offline").await;
    let whole = format!("{} {:?}", problem.detail, problem.hint);
    assert!(whole.contains("pki/root.key") && !whole.contains(&app.folder().display().to_string()), "{whole}");
    assert_eq!((issuing(&app).await, files(&app)), (before.clone(), there));
    assert_eq!(app.client("alice").await.status(Method::GET, "/api/links").await, StatusCode::OK);
    std::fs::copy(away.path().join("root.key"), app.folder().join("pki/root.key")).expect("put back");
    assert_ne!(rotated(&admin).await, before);
    let audit: api::Audit = admin.get("/pki/audit").await.json().await.expect("the record");
    assert!(audit.events.iter().any(|event| event["what"] == "refuse" && event["details"]["of"] == "rotate"));
    app.close().await;
}
