//! Who is who: by certificate, by token, and what a revocation does to those who are already there.

use std::sync::Arc;
use std::time::Duration;

use ddrop::api;
use ddrop::authority::{Actor, Which};
use ddrop::identity::Tier;
use pki::key::{Algorithm, Key};
use reqwest::{Method, StatusCode};

use crate::app::{Setup, TestApp, authority_config};
use crate::caller::{Caller, Credentials, client_config_of, expect_problem};
use crate::wire::{self, Conversation};

async fn whoami(caller: &Caller) -> api::Whoami {
    caller.get("/api/whoami").await.json().await.expect("an answer")
}

#[tokio::test]
async fn each_kind_of_caller_is_known_for_what_it_is() {
    let app = TestApp::with(Setup { token: Some("planted-s3cret"), ..Setup::default() }).await;
    let (alice, admin) = (app.client("alice").await, app.admin().await);
    let own = whoami(&alice).await;
    let fingerprint = alice.credentials.as_ref().expect("a certificate").fingerprint();
    assert_eq!((own.tier, own.name.as_deref(), own.role.as_deref()), (Tier::Trusted, Some("alice"), Some("client")));
    assert_eq!(own.fingerprint_sha256, Some(fingerprint.sha256.to_string()));
    assert_eq!(own.fingerprint_sha1, Some(fingerprint.sha1.to_string()));
    assert!(own.limits.may_upload && own.certificate_expires_at.is_some());
    assert_eq!(whoami(&admin).await.tier, Tier::Admin);
    let nobody = whoami(&app.anonymous()).await;
    assert_eq!((nobody.tier, nobody.limits.may_upload), (Tier::Anonymous, false));
    let stranger = Caller::new(&app, Some(Credentials::self_signed("alice", app.app.clock.now().to_offset())));
    let strange = whoami(&stranger).await;
    assert_eq!((strange.tier, strange.name), (Tier::Untrusted, None), "a name in a certificate says nothing");
    expect_problem(stranger.try_upload("", "x").await, 403, "untrusted").await;
    assert_eq!(whoami(&app.anonymous().with_token("planted-s3cret")).await.tier, Tier::Admin);
    app.close().await;
}

#[tokio::test]
async fn a_wrong_token_is_refused_and_never_falls_through() {
    let app = TestApp::with(Setup { token: Some("planted-right"), ..Setup::default() }).await;
    let alice = app.client("alice").await;
    let link = alice.upload("x").await;
    for path in ["/api/links", "/api/whoami", &format!("/{}", link.id), "/health"] {
        let wrong = alice.clone().with_token("planted-wrong");
        let problem = expect_problem(wrong.get(path).await, 401, "invalid_token").await;
        assert_eq!(problem.error, "Invalid or missing token");
    }
    let odd = alice.request(Method::GET, "/api/links").header("authorization", "Digest x").send().await;
    expect_problem(odd.expect("answered"), 401, "invalid_token").await;
    let without = TestApp::start().await;
    expect_problem(without.anonymous().with_token("").get("/api/links").await, 401, "invalid_token").await;
    without.close().await;
    app.close().await;
}

#[tokio::test]
async fn headers_do_not_make_an_identity() {
    let app = TestApp::start().await;
    let alice = app.client("alice").await;
    let fingerprint = alice.credentials.as_ref().expect("a certificate").fingerprint();
    for (name, value) in [
        ("x-ssl-client-sha1", fingerprint.sha1.to_string()),
        ("x-ssl-client-sha256", fingerprint.sha256.to_string()),
        ("x-forwarded-for", "127.0.0.1".to_owned()),
        ("x-proxy-secret", String::new()),
    ] {
        let answer = app.anonymous().request(Method::GET, "/api/links").header(name, value).send().await;
        assert_eq!(answer.expect("answered").status(), StatusCode::UNAUTHORIZED, "{name}");
    }
    app.close().await;
}

#[tokio::test]
async fn of_two_tokens_neither_counts() {
    let app = TestApp::with(Setup { token: Some("the planted-right token"), ..Setup::default() }).await;
    for (first, second) in
        [("the planted-right token", "a planted-wrong one"), ("a planted-wrong one", "the planted-right token")]
    {
        let request = app.anonymous().request(Method::GET, "/api/stats").bearer_auth(first).bearer_auth(second);
        expect_problem(request.send().await.expect("answered"), 401, "invalid_token").await;
    }
    app.close().await;
}

#[tokio::test]
async fn a_revocation_bites_on_the_next_request_of_an_open_connection() {
    for alpn in [&b"http/1.1"[..], b"h2"] {
        let app = TestApp::start().await;
        let alice = app.client("alice").await;
        let mut open = Conversation::begin(wire::tls(&app, alice.credentials.as_ref(), alpn).await).await;
        assert_eq!(open.status("GET", "/api/links").await, 200);
        let by = Actor { name: "operator".to_owned(), address: None };
        let (_, changed) =
            app.app.authority.revoke(&by, Which::Client("alice".to_owned()), 1, None).await.expect("revoked");
        assert_eq!(changed, 1);
        assert_eq!(open.status("GET", "/api/links").await, 403);
        assert_eq!(open.status("POST", "/api/upload").await, 403);
        assert_eq!(open.status("GET", "/health").await, 200, "what is open to everyone stays open");
        expect_problem(alice.get("/api/links").await, 403, "certificate_revoked").await;
        drop(open);
        app.close().await;
    }
}

#[tokio::test]
async fn a_revocation_bites_on_a_resumed_session() {
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let app = TestApp::start().await;
        let alice = app.client("alice").await;
        let credentials = alice.credentials.as_ref();
        let mut config = client_config_of(&app.root_pem(), credentials, &[version]);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let config = Arc::new(config);
        let first = wire::with_config(&app, Arc::clone(&config)).await.expect("a handshake");
        let mut first = Conversation::begin(first).await;
        assert_eq!(first.status("GET", "/api/links").await, 200);
        let by = Actor { name: "operator".to_owned(), address: None };
        app.app.authority.revoke(&by, Which::Client("alice".to_owned()), 0, None).await.expect("revoked");
        let second = wire::with_config(&app, config).await.expect("a handshake");
        assert_eq!(second.get_ref().1.handshake_kind(), Some(rustls::HandshakeKind::Resumed), "{version:?}");
        let mut second = Conversation::begin(second).await;
        assert_eq!(second.status("GET", "/api/links").await, 403, "{version:?}");
        drop((first, second));
        app.close().await;
    }
}

#[tokio::test]
async fn the_operator_revokes_on_the_folder_and_the_server_knows_at_once() {
    let app = TestApp::start().await;
    let alice = app.client("alice").await;
    let mut open = Conversation::begin(wire::tls(&app, alice.credentials.as_ref(), b"h2").await).await;
    assert_eq!(open.status("GET", "/api/links").await, 200);
    let config = ddrop::store::Config { path: app.folder().to_owned(), max_file_size: 1, max_storage: 1 };
    let clock: Arc<dyn ddrop::clock::Clock> = Arc::new(app.clock.clone());
    let store = ddrop::store::Store::open(config, Arc::clone(&clock)).await.expect("opened");
    let operator = ddrop::authority::Authority::open(authority_config(app.folder()), store.trust(), clock).await;
    let by = Actor { name: "operator".to_owned(), address: None };
    let which = Which::Client("alice".to_owned());
    operator.expect("opened").revoke(&by, which, 0, None).await.expect("revoked");
    assert_eq!(open.status("GET", "/api/links").await, 403);
    drop(open);
    app.close().await;
}

#[tokio::test]
async fn a_certificate_ends_in_the_middle_of_a_connection() {
    let app = TestApp::start().await;
    let alice = app.client("alice").await;
    let mut open = Conversation::begin(wire::tls(&app, alice.credentials.as_ref(), b"http/1.1").await).await;
    assert_eq!(open.status("GET", "/api/links").await, 200);
    let now = app.app.clock.now();
    app.clock.advance(Duration::from_secs(366 * 24 * 3600));
    assert_eq!(open.status("GET", "/api/links").await, 403);
    expect_problem(alice.get("/api/links").await, 403, "certificate_expired").await;
    app.clock.set(now.before(Duration::from_secs(24 * 3600)));
    expect_problem(alice.get("/api/links").await, 403, "certificate_not_yet_valid").await;
    app.clock.set(now);
    assert_eq!(open.status("GET", "/api/links").await, 200);
    drop(open);
    app.close().await;
}

#[tokio::test]
async fn a_handshake_can_be_made_to_need_a_certificate() {
    use ddrop::tls::ClientCertificate::Required;
    let app = TestApp::start().await;
    let alice = app.client("alice").await;
    let (folder, clock) = app.stop().await;
    let app = TestApp::on(folder, clock, Setup { client_certificate: Required, ..Setup::default() }).await;
    assert!(app.anonymous().request(Method::GET, "/health").send().await.is_err());
    assert_eq!(alice.again(&app).status(Method::GET, "/api/links").await, StatusCode::OK);
    app.close().await;
}

#[tokio::test]
async fn every_answer_is_hardened() {
    let app = TestApp::start().await;
    for path in ["/", "/health", "/api/links", "/nosuchlinkatall", "/pki/ca.crt"] {
        let answer = app.anonymous().request(Method::GET, path).header("x-request-id", "mine-1").send().await;
        let answer = answer.expect("answered");
        let headers = answer.headers();
        assert_eq!(headers["x-request-id"], "mine-1", "{path}");
        assert_eq!(headers["strict-transport-security"], "max-age=63072000; includeSubDomains", "{path}");
        assert_eq!(headers["x-frame-options"], "DENY", "{path}");
        assert_eq!(headers["cross-origin-resource-policy"], "same-origin", "{path}");
        assert!(headers["content-security-policy"].to_str().expect("text").contains("default-src 'none'"), "{path}");
    }
    app.close().await;
}

#[tokio::test]
async fn a_page_from_elsewhere_cannot_use_the_certificate_of_its_visitor() {
    let app = TestApp::start().await;
    let alice = app.client("alice").await;
    let link = alice.upload("x").await;
    let path = format!("/api/links/{}/expire", link.id);
    for (name, value) in [("origin", "https://evil.example"), ("sec-fetch-site", "cross-site")] {
        let forged = alice.request(Method::POST, &path).header(name, value).send().await.expect("answered");
        expect_problem(forged, 403, "cross_site").await;
    }
    assert_eq!(alice.status(Method::GET, &link.url).await, StatusCode::OK);
    app.close().await;
}

#[tokio::test]
async fn a_client_may_have_any_kind_of_key_that_is_strong_enough() {
    // By curl. P-521 needs TLS 1.3; the others do with 1.2.
    let app = TestApp::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("ca.crt"), app.root_pem()).expect("written");
    for algorithm in [Algorithm::P256, Algorithm::P384, Algorithm::P521, Algorithm::Ed25519, Algorithm::Rsa(2048)] {
        let key = Key::generate(algorithm).expect("a key");
        let name = format!("{algorithm:?}").replace(['(', ')'], "-");
        let secret = app.invite(&name, false).await;
        let request = app.anonymous().request(Method::POST, "/pki/enroll");
        let csr = pki::request::make(&key, "whoever").expect("a request");
        let authorization = format!("Invite {}", secret.reveal());
        let answer = request.header("authorization", authorization).body(csr).send().await.expect("answered");
        assert_eq!(answer.status(), StatusCode::OK, "{name}");
        std::fs::write(at("client.crt"), answer.text().await.expect("a chain")).expect("written");
        std::fs::write(at("client.key"), key.to_pem().as_bytes()).expect("written");
        let versions = [&["--tlsv1.3"][..], &["--tls-max", "1.2"]];
        let taken = if algorithm == Algorithm::P521 { 1 } else { 2 };
        for version in versions.into_iter().take(taken) {
            let mut curl = tokio::process::Command::new("curl");
            curl.args(["-sS", "--cacert", "ca.crt", "--cert", "client.crt", "--key", "client.key"]).args(version);
            let done = curl.arg(app.url("/api/whoami")).current_dir(folder.path()).output().await.expect("curl runs");
            let said = String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
            assert!(said.contains("\"tier\":\"trusted\""), "{name} {version:?}: {said}");
        }
    }
    app.close().await;
}
