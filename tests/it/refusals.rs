//! What the authority says no to: to whom, with which word, and that nothing has changed.

use std::sync::Arc;

use ddrop::access::Policy;
use pki::key::{Algorithm, Key};
use reqwest::{Method, Response, StatusCode};
use rustls::client::ResolvesClientCert;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;

use crate::app::{Setup, TestApp};
use crate::caller::{Caller, Credentials, client_config_of, expect_problem};
use crate::wire;

fn csr() -> String {
    pki::request::make(&Key::generate(Algorithm::P256).expect("a key"), "whoever").expect("a request")
}

async fn post(by: &Caller, path: &str, body: &Value) -> Response {
    by.request(Method::POST, path).json(body).send().await.expect("answered")
}

async fn send(by: &Caller, path: &str, body: impl Into<reqwest::Body>) -> Response {
    by.request(Method::POST, path).body(body).send().await.expect("answered")
}

/// All that the authority remembers of certificates and invites.
async fn remembered(admin: &Caller) -> (String, String) {
    let text = async |path| {
        let answer = admin.get(path).await;
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        answer.text().await.expect("text")
    };
    (text("/pki/certs").await, text("/pki/invites").await)
}

#[tokio::test]
async fn there_is_one_authority_and_no_second() {
    let app = TestApp::start().await;
    let (admin, alice) = (app.admin().await, app.client("alice").await);
    let before = (app.root_pem(), app.app.authority.chain_pem());
    let problem = expect_problem(admin.post("/pki/ca").await, 409, "ca_exists").await;
    assert!(problem.detail.contains("there is a certificate authority already"), "{problem:?}");
    expect_problem(alice.post("/pki/ca").await, 403, "not_admin").await;
    expect_problem(app.anonymous().post("/pki/ca").await, 401, "unauthenticated").await;
    assert_eq!((app.root_pem(), app.app.authority.chain_pem()), before);
    app.close().await;
}

#[tokio::test]
async fn what_cannot_be_issued_is_refused_and_leaves_nothing() {
    let app = TestApp::start().await;
    let (admin, alice) = (app.admin().await, app.client("alice").await);
    let before = remembered(&admin).await;
    let wish = json!({"common_name": "bob"});
    expect_problem(post(&alice, "/pki/issue", &wish).await, 403, "not_admin").await;
    expect_problem(post(&app.anonymous(), "/pki/issue", &wish).await, 401, "unauthenticated").await;
    expect_problem(post(&admin, "/pki/issue", &json!({"common_name": "alice"})).await, 409, "name_taken").await;
    for days in [0, 3651, u32::MAX] {
        let wish = json!({"common_name": "bob", "days": days});
        let problem = expect_problem(post(&admin, "/pki/issue", &wish).await, 400, "bad_request").await;
        assert_eq!(problem.detail, "a client certificate lives for 1 to 3650 days");
    }
    for name in ["", "a/b", "operator", "new\nline", &"x".repeat(65)] {
        expect_problem(post(&admin, "/pki/issue", &json!({"common_name": name})).await, 400, "bad_request").await;
    }
    let wish = json!({"common_name": "bob", "csr": "nonsense"});
    expect_problem(post(&admin, "/pki/issue", &wish).await, 400, "bad_signing_request").await;
    assert_eq!(remembered(&admin).await, before);
    app.close().await;
}

#[tokio::test]
async fn only_a_client_renews_and_only_what_can_be_read() {
    let app = TestApp::with(Setup { token: Some("the planted-token of this test"), ..Setup::default() }).await;
    let (admin, alice) = (app.admin().await, app.client("alice").await);
    let before = remembered(&admin).await;
    let token = app.anonymous().with_token("the planted-token of this test");
    for path in ["/pki/renew", "/.well-known/est/simplereenroll"] {
        let problem = expect_problem(send(&token, path, csr()).await, 403, "not_a_client").await;
        assert!(problem.hint.expect("a hint").contains("ddrop pki invite"), "{path}");
    }
    expect_problem(send(&app.anonymous(), "/pki/renew", csr()).await, 401, "unauthenticated").await;
    let problem = expect_problem(send(&alice, "/pki/renew", vec![0xff; 10]).await, 400, "bad_request").await;
    assert_eq!(problem.detail, "the signing request is not PEM");
    assert_eq!(problem.hint.as_deref(), Some("openssl req -new ... -outform PEM"));
    let problem = send(&alice, "/.well-known/est/simplereenroll", "%%%").await;
    let problem = expect_problem(problem, 400, "bad_request").await;
    assert_eq!(problem.detail, "the signing request is not in base64");
    assert_eq!(problem.hint.as_deref(), Some("openssl req -new ... -outform DER | openssl base64"));
    expect_problem(send(&alice, "/pki/renew", "nonsense").await, 400, "bad_signing_request").await;
    expect_problem(send(&alice, "/pki/renew", "x".repeat(20_000)).await, 413, "too_large").await;
    assert_eq!(remembered(&admin).await, before);
    app.close().await;
}

#[tokio::test]
async fn the_reason_a_signing_request_will_not_do_is_told() {
    let app = TestApp::start().await;
    let alice = app.client("alice").await;
    let folder = tempfile::tempdir().expect("a folder");
    let p256 = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
    for (kind, more, why) in [
        (&["-newkey", "rsa:1024"][..], &[][..], "an RSA key of 1024 bits"),
        (&["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-224"], &[], "the curve 1.3.132.0.33"),
        (&["-newkey", "rsa:2048"], &["-sha1"], "signed with SHA-1"),
        (&p256, &["-addext", "basicConstraints=CA:TRUE"], "asks to be a certificate authority"),
        (&p256, &["-addext", "1.2.3.4=ASN1:NULL"], "asks for an extension that is not given: 1.2.3.4"),
    ] {
        let base = ["req", "-new", "-nodes", "-keyout", "key.pem", "-out", "csr.pem", "-subj", "/CN=x"];
        let mut openssl = tokio::process::Command::new("openssl");
        let made = openssl.args([&base[..], kind, more].concat()).current_dir(folder.path()).output().await;
        let made = made.expect("openssl runs (apt-get install openssl)");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let request = std::fs::read_to_string(folder.path().join("csr.pem")).expect("a request");
        let problem = expect_problem(send(&alice, "/pki/renew", request).await, 400, "bad_signing_request").await;
        assert!(problem.detail.contains(why), "{}", problem.detail);
    }
    let forged = csr().replacen("A", "B", 1);
    expect_problem(send(&alice, "/pki/renew", forged).await, 400, "bad_signing_request").await;
    app.close().await;
}

#[tokio::test]
async fn a_wish_to_register_that_cannot_be_read_makes_nobody() {
    let mut setup = Setup::default();
    setup.settings.open_registration = true;
    setup.settings.register_difficulty = 0;
    let app = TestApp::with(setup).await;
    for body in ["[\"bob\"]", "{", "{\"common_name\": 5}", "\"bob\""] {
        let problem = expect_problem(send(&app.anonymous(), "/register", body).await, 400, "bad_request").await;
        assert!(problem.detail.starts_with("the JSON cannot be read: "), "{}", problem.detail);
    }
    expect_problem(send(&app.anonymous(), "/register", "x".repeat(5000)).await, 413, "too_large").await;
    expect_problem(send(&app.anonymous(), "/csr", vec![0xff; 10]).await, 400, "bad_request").await;
    assert!(!app.app.authority.has_clients().await.expect("read"));
    app.close().await;
}

#[tokio::test]
async fn certificates_are_for_clients_to_see() {
    let mut setup = Setup::default();
    setup.settings.policy = Policy { allow_anonymous: true, allow_untrusted: true };
    let app = TestApp::with(setup).await;
    let stranger = Caller::new(&app, Some(Credentials::self_signed("stranger", app.app.clock.now().to_offset())));
    for caller in [&stranger, &app.anonymous()] {
        let listed = caller.get("/pki/certs").await;
        assert!(matches!(listed.status(), StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED), "{}", listed.status());
        let revoked = post(caller, "/pki/revoke", &json!({"name": "alice"})).await;
        assert!(matches!(revoked.status(), StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED), "{}", revoked.status());
    }
    app.close().await;
}

#[tokio::test]
async fn what_cannot_be_revoked_is_refused_and_stays_good() {
    let app = TestApp::start().await;
    let (admin, alice, bob) = (app.admin().await, app.client("alice").await, app.client("bob").await);
    let before = remembered(&admin).await;
    let of_bob = bob.credentials.as_ref().expect("a certificate").fingerprint();
    let issuing = app.app.authority.status().expect("a status").issuing_fingerprint.to_string();
    let wish = async |by: &Caller, body: Value| post(by, "/pki/revoke", &body).await;
    for body in [json!({}), json!({"serial": "00", "name": "bob"}), json!({"name": "bob", "fingerprint": "00"})] {
        let problem = expect_problem(wish(&admin, body).await, 400, "bad_request").await;
        assert_eq!(problem.detail, "give exactly one of 'serial', 'fingerprint' and 'name'");
    }
    for reason in ["boredom", "certificateHold", "removeFromCRL", "1"] {
        let body = json!({"name": "bob", "reason": reason});
        let problem = expect_problem(wish(&admin, body).await, 400, "bad_request").await;
        assert!(problem.detail.ends_with("is not a reason of RFC 5280 section 5.3.1"), "{}", problem.detail);
    }
    expect_problem(wish(&admin, json!({"fingerprint": "12ab"})).await, 400, "bad_request").await;
    let problem = expect_problem(wish(&admin, json!({"fingerprint": issuing})).await, 400, "bad_request").await;
    assert!(problem.detail.contains("make a new issuing CA instead"), "{}", problem.detail);
    expect_problem(wish(&admin, json!({"name": "nobody here"})).await, 404, "no_such_client").await;
    for body in [json!({"serial": ""}), json!({"serial": "00"}), json!({"fingerprint": "ab".repeat(32)})] {
        expect_problem(wish(&admin, body).await, 404, "no_such_certificate").await;
    }
    for body in [
        json!({"fingerprint": of_bob.sha256.to_string()}),
        json!({"fingerprint": of_bob.sha1.to_string()}),
        json!({"name": "bob"}),
        json!({"name": "nobody here"}),
    ] {
        let problem = expect_problem(wish(&alice, body).await, 403, "not_owner").await;
        assert_eq!(problem.detail, "that certificate is not yours", "which names there are is not told");
    }
    expect_problem(wish(&app.anonymous(), json!({"name": "bob"})).await, 401, "unauthenticated").await;
    assert_eq!(remembered(&admin).await, before);
    assert_eq!(bob.status(Method::GET, "/api/links").await, StatusCode::OK);
    app.close().await;
}

#[tokio::test]
async fn what_is_no_invite_is_not_made_and_what_is_over_is_not_withdrawn() {
    let app = TestApp::start().await;
    let (admin, bob) = (app.admin().await, app.client("bob").await);
    let used = app.app.authority.invites().await.expect("invites").remove(0).id;
    let before = remembered(&admin).await;
    let wish = async |by: &Caller, body: Value| post(by, "/pki/invites", &body).await;
    for ttl in ["31d", "inf"] {
        let problem = expect_problem(wish(&admin, json!({"name": "x", "ttl": ttl})).await, 400, "bad_request").await;
        assert_eq!(problem.detail, "an invite holds for 30 days at most");
    }
    expect_problem(wish(&admin, json!({"name": "x", "ttl": "soon"})).await, 400, "invalid_ttl").await;
    expect_problem(wish(&admin, json!({"name": "x", "ttl": "0s"})).await, 400, "invalid_ttl").await;
    for url in ["nowhere", "ftp://host", "https://me@host", "https://host/?q", "https://host/#f", "https://:x@host"] {
        let problem = expect_problem(wish(&admin, json!({"name": "x", "url": url})).await, 400, "bad_request").await;
        assert!(problem.detail.starts_with("'url' is not a server's address"), "{url}: {}", problem.detail);
    }
    let problem = expect_problem(wish(&admin, json!({"name": "bob"})).await, 409, "name_taken").await;
    assert!(problem.detail.contains("--for"), "{}", problem.detail);
    expect_problem(wish(&admin, json!({"name": "nobody here", "existing": true})).await, 404, "no_such_client").await;
    expect_problem(wish(&admin, json!({"name": "a,b"})).await, 400, "bad_request").await;
    expect_problem(wish(&bob, json!({"name": "x"})).await, 403, "not_admin").await;
    expect_problem(bob.get("/pki/invites").await, 403, "not_admin").await;
    for id in [&used, "nosuchinvite"] {
        let path = format!("/pki/invites/{id}");
        let withdraw = async |by: &Caller| by.request(Method::DELETE, &path).send().await.expect("answered");
        expect_problem(withdraw(&bob).await, 403, "not_admin").await;
        let problem = expect_problem(withdraw(&admin).await, 404, "not_found").await;
        assert_eq!(problem.detail, "there is no open invite with that id");
    }
    assert_eq!(remembered(&admin).await, before);
    app.close().await;
}

#[tokio::test]
async fn what_fails_inside_is_not_told_and_changes_nothing() {
    let app = TestApp::start().await;
    let (admin, alice) = (app.admin().await, app.client("alice").await);
    let before = remembered(&admin).await;
    let log = app.folder().join("pki/audit.log");
    let aside = app.folder().join("pki/aside.log");
    std::fs::rename(&log, &aside).expect("out of the way");
    std::fs::create_dir(&log).expect("in the way");
    let wish = json!({"common_name": "bob"});
    for answer in [
        post(&admin, "/pki/issue", &wish).await,
        post(&admin, "/pki/invites", &json!({"name": "bob"})).await,
        send(&alice, "/pki/renew", csr()).await,
        admin.get("/pki/audit").await,
        admin.get("/pki/audit/verify").await,
    ] {
        let problem = expect_problem(answer, 500, "internal").await;
        assert!(!problem.detail.contains("audit.log") && problem.hint.is_none(), "{problem:?}");
    }
    std::fs::remove_dir(&log).expect("out of the way");
    std::fs::rename(&aside, &log).expect("back");
    assert_eq!(remembered(&admin).await, before);

    let rows = rusqlite::Connection::open(app.folder().join("links.db")).expect("opened");
    rows.execute_batch("ALTER TABLE invites RENAME TO elsewhere").expect("renamed");
    let problem = expect_problem(admin.get("/pki/invites").await, 500, "internal").await;
    assert!(!problem.detail.contains("invites"), "{problem:?}");
    rows.execute_batch("ALTER TABLE elsewhere RENAME TO invites").expect("renamed back");
    assert_eq!(remembered(&admin).await, before);
    drop(rows);
    app.close().await;
}

/// Shows a certificate and signs with a key that is not its own.
#[derive(Debug)]
struct Impostor(Arc<CertifiedKey>);

impl ResolvesClientCert for Impostor {
    fn resolve(&self, _: &[&[u8]], _: &[rustls::SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

fn impostor(chain: &str, key: &Key) -> Arc<dyn ResolvesClientCert> {
    let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).collect::<Result<_, _>>().expect("a chain");
    let key = PrivateKeyDer::from_pem_slice(key.to_pem().as_bytes()).expect("a key");
    let key = rustls::crypto::ring::sign::any_supported_type(&key).expect("a key rustls has");
    Arc::new(Impostor(Arc::new(CertifiedKey::new(chain, key))))
}

#[tokio::test]
async fn who_has_a_certificate_without_its_key_is_nobody() {
    let app = TestApp::start().await;
    let now = app.app.clock.now().to_offset();
    let own = |algorithm| {
        let key = Key::generate(algorithm).expect("a key");
        let certificate = pki::certificate::self_signed_client(&key, "me", now, 30).expect("a certificate");
        (key, certificate.to_pem())
    };
    let alice = app.client("alice").await.credentials.expect("a certificate").chain;
    let (right, mine) = own(Algorithm::P256);
    let other = |algorithm| Key::generate(algorithm).expect("a key");
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let handshake = async |chain: &str, key: &Key| {
            let mut config = client_config_of(&app.root_pem(), None, &[version]);
            config.client_auth_cert_resolver = impostor(chain, key);
            let mut tls = wire::with_config(&app, Arc::new(config)).await?;
            // In TLS 1.3 the client is done before the server has looked.
            let request = b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
            tokio::io::AsyncWriteExt::write_all(&mut tls, request).await?;
            let mut answer = Vec::new();
            tls.read_to_end(&mut answer).await?;
            Ok::<_, std::io::Error>(String::from_utf8_lossy(&answer).into_owned())
        };
        let answer = handshake(&mine, &right).await.expect("its own key is right");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        for (chain, key) in [
            (&alice, other(Algorithm::P256)),
            (&alice, other(Algorithm::P384)),
            (&mine, other(Algorithm::Ed25519)),
            (&own(Algorithm::Ed25519).1, other(Algorithm::Ed25519)),
            (&own(Algorithm::Rsa(2048)).1, other(Algorithm::Rsa(2048))),
            (&own(Algorithm::P521).1, other(Algorithm::P256)),
        ] {
            let refused = handshake(chain, &key).await;
            assert!(refused.is_err(), "{version:?} {}: {refused:?}", key.algorithm());
        }
    }
    app.close().await;
}
