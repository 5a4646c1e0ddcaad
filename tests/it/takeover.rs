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
use crate::header_mode::{SECRET, by_sha1, by_sha256, client_cert, known, proven, proxies};

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

/// Behind a proxy, and open to strangers.
async fn behind_a_proxy() -> TestApp {
    let mut setup = proxies("127.0.0.1", Some(SECRET));
    setup.settings.policy = Policy { allow_anonymous: false, allow_untrusted: true };
    TestApp::with(setup).await
}

/// Whether links still wait for the holder of this certificate.
async fn awaited(app: &TestApp, of: &Credentials) -> bool {
    app.app.store.trust().awaited(of.fingerprint().sha1).await.expect("read")
}

#[tokio::test]
async fn a_proxy_that_hands_on_the_certificate_brings_its_holder() {
    let app = behind_a_proxy().await;
    let erin = Credentials::self_signed("erin", app.clock.now().to_offset());
    import(&app, "abcdef012345", &erin.fingerprint().sha1.to_string()).await;
    // Without the secret, with another certificate, or by what a certificate is known by alone, nothing moves.
    let mallory = Credentials::self_signed("mallory", app.clock.now().to_offset());
    let both = by_sha256(&erin) + &by_sha1(&erin);
    for headers in [
        client_cert(&erin),
        proven(&client_cert(&mallory)),
        proven(&by_sha1(&erin)),
        proven(&by_sha256(&erin)),
        // Of a certificate nobody here knows, that one name belongs to the other is hearsay.
        proven(&both),
        proven(&(by_sha256(&mallory) + &by_sha1(&erin))),
    ] {
        known(&app, &headers).await;
        assert!(awaited(&app, &erin).await, "{headers}");
    }
    known(&app, &proven(&client_cert(&erin))).await;
    assert!(!awaited(&app, &erin).await, "the whole certificate was there");
    // It is the same owner on a connection of its own.
    let own: api::Links = Caller::new(&app, Some(erin)).get("/api/links").await.json().await.expect("links");
    assert_eq!((own.links.len(), own.stats.link_bytes), (1, 4));
    app.close().await;
}

#[tokio::test]
async fn a_client_who_is_known_here_has_them_by_either_name() {
    let app = behind_a_proxy().await;
    for (name, way) in [("alice", by_sha1 as fn(&Credentials) -> String), ("bob", by_sha256)] {
        let client = app.client(name).await.credentials.expect("own");
        import(&app, &format!("abcdef01234{}", name.len()), &client.fingerprint().sha1.to_string()).await;
        known(&app, &way(&client)).await;
        assert!(awaited(&app, &client).await, "without the secret nobody came");
        assert_eq!(known(&app, &proven(&way(&client))).await.name.as_deref(), Some(name));
        assert!(!awaited(&app, &client).await, "{name}");
        let own: api::Links = Caller::new(&app, Some(client)).get("/api/links").await.json().await.expect("links");
        assert_eq!(own.links.len(), 1, "{name}");
    }
    app.close().await;
}

#[tokio::test]
async fn a_certificate_that_is_trusted_by_its_sha_256_alone_has_to_come_whole() {
    let app = behind_a_proxy().await;
    let erin = Credentials::self_signed("erin", app.clock.now().to_offset());
    let by = ddrop::authority::Actor { name: "operator".to_owned(), address: None };
    app.app.authority.trust_fingerprint(&by, erin.fingerprint().sha256, "erin").await.expect("trusted");
    import(&app, "abcdef012345", &erin.fingerprint().sha1.to_string()).await;
    for headers in [by_sha256(&erin), by_sha1(&erin), by_sha256(&erin) + &by_sha1(&erin)] {
        known(&app, &proven(&headers)).await;
        assert!(awaited(&app, &erin).await, "{headers}");
    }
    let me = known(&app, &proven(&client_cert(&erin))).await;
    assert_eq!(me.name.as_deref(), Some("erin"));
    assert!(!awaited(&app, &erin).await);
    app.close().await;
}

#[tokio::test]
async fn a_revoked_certificate_gets_nothing_through_a_proxy() {
    let app = behind_a_proxy().await;
    let alice = app.client("alice").await.credentials.expect("own");
    let by = ddrop::authority::Actor { name: "operator".to_owned(), address: None };
    let which = ddrop::authority::Which::Client("alice".to_owned());
    app.app.authority.revoke(&by, which, 1, None).await.expect("revoked");
    import(&app, "abcdef012345", &alice.fingerprint().sha1.to_string()).await;
    for way in [client_cert(&alice), by_sha256(&alice), by_sha1(&alice)] {
        assert_eq!(known(&app, &proven(&way)).await.tier, Tier::Anonymous);
        assert!(awaited(&app, &alice).await, "{way}");
    }
    app.close().await;
}
