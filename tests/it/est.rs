//! RFC 7030, as a client sees it that knows nothing else of us.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ddrop::api;
use ddrop::identity::{Sha256, Tier};
use pki::key::{Algorithm, Key};
use reqwest::{Method, Response, StatusCode};

use crate::app::TestApp;
use crate::caller::{Caller, Credentials, expect_problem};

const ENROLL: &str = "/.well-known/est/simpleenroll";
const REENROLL: &str = "/.well-known/est/simplereenroll";

/// A key and its request, in base64 of DER with line ends.
fn request() -> (Key, String) {
    let key = Key::generate(Algorithm::P256).expect("a key");
    let pem = pki::request::make(&key, "a name that does not count").expect("a request");
    let body: Vec<&str> = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    (key, body.join("\r\n"))
}

/// The certificates of a PKCS#7 answer, as openssl reads it.
async fn certificates(answer: Response, kind: &str) -> String {
    assert_eq!(answer.status(), StatusCode::OK, "{}", answer.text().await.unwrap_or_default());
    assert_eq!(answer.headers()["content-type"], kind);
    assert_eq!(answer.headers()["content-transfer-encoding"], "base64");
    let text = answer.text().await.expect("text");
    assert!(text.lines().all(|line| line.len() <= 76), "RFC 2045 section 6.8");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("answer");
    std::fs::write(&file, format!("-----BEGIN PKCS7-----\n{text}-----END PKCS7-----\n")).expect("written");
    let output = std::process::Command::new("openssl").args(["pkcs7", "-print_certs", "-in"]).arg(&file).output();
    let output = output.expect("openssl runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("PEM")
}

const CERTS_ONLY: &str = "application/pkcs7-mime; smime-type=certs-only";

#[tokio::test]
async fn the_ca_is_told_to_anyone() {
    let app = TestApp::start().await;
    let pem = certificates(app.anonymous().get("/.well-known/est/cacerts").await, "application/pkcs7-mime").await;
    let all = pki::pem::certificates(&pem).expect("certificates");
    assert_eq!(all.len(), 2);
    assert!(all.iter().any(|der| Sha256::of(der) == app.app.authority.root_fingerprint()));
    app.close().await;
}

#[tokio::test]
async fn the_attributes_are_what_openssl_reads() {
    let app = TestApp::start().await;
    let answer = app.anonymous().get("/.well-known/est/csrattrs").await;
    assert_eq!(answer.headers()["content-type"], "application/csrattrs");
    let der = BASE64_STANDARD.decode(answer.text().await.expect("text").replace('\n', "")).expect("base64");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("attributes");
    std::fs::write(&file, der).expect("written");
    let output = std::process::Command::new("openssl").args(["asn1parse", "-inform", "DER", "-in"]).arg(&file).output();
    let said = String::from_utf8(output.expect("openssl runs").stdout).expect("text");
    // RFC 7030 section 4.5.2: CsrAttrs is a sequence of identifiers and of attributes, each a type and a set of values.
    let shape: Vec<String> = said
        .lines()
        .filter_map(|line| {
            let depth = line.split("d=").nth(1)?.split_whitespace().next()?;
            let kind = line.split(':').skip(1).map(str::trim).collect::<Vec<_>>();
            let kind = kind.last().filter(|_| line.contains("prim")).copied().or(line.split_whitespace().last())?;
            Some(format!("{depth} {kind}"))
        })
        .collect();
    let meant = ["0 SEQUENCE", "1 SEQUENCE", "2 id-ecPublicKey", "2 SET", "3 prime256v1", "1 ecdsa-with-SHA256"];
    assert_eq!(shape, meant, "{said}");
    app.close().await;
}

#[tokio::test]
async fn an_invite_is_the_password_and_the_certificate_renews_itself() {
    let app = TestApp::start().await;
    let secret = app.invite("alice", false).await;
    let (key, body) = request();
    let send = app.anonymous().request(Method::POST, ENROLL).header("content-type", "application/pkcs10");
    let answer = send.basic_auth("alice", Some(secret.reveal())).body(body).send().await.expect("answered");
    let chain = certificates(answer, CERTS_ONLY).await;
    assert_eq!(pki::pem::certificates(&chain).expect("certificates").len(), 1, "only the one that was issued");
    let alice = Caller::new(&app, Some(Credentials { chain, key: key.to_pem().to_string() }));
    let link = alice.upload("mine").await;
    for path in [REENROLL, ENROLL] {
        let (key, body) = request();
        let answer = alice.request(Method::POST, path).body(body).send().await.expect("answered");
        let chain = certificates(answer, CERTS_ONLY).await;
        let renewed = Caller::new(&app, Some(Credentials { chain, key: key.to_pem().to_string() }));
        let who: api::Whoami = renewed.get("/api/whoami").await.json().await.expect("an answer");
        assert_eq!((who.tier, who.name.as_deref()), (Tier::Trusted, Some("alice")), "{path}");
        assert_eq!(renewed.status(Method::GET, &format!("/api/links/{}", link.id)).await, StatusCode::OK, "{path}");
    }
    app.close().await;
}

#[tokio::test]
async fn who_has_neither_is_asked_for_a_password() {
    let app = TestApp::start().await;
    let stranger = Credentials::self_signed("stranger", app.app.clock.now().to_offset());
    for caller in [app.anonymous(), Caller::new(&app, Some(stranger))] {
        let answer = caller.request(Method::POST, ENROLL).body(request().1).send().await.expect("answered");
        assert!(answer.headers()["www-authenticate"].to_str().expect("text").starts_with("Basic realm="));
        let problem = expect_problem(answer, 401, "unauthenticated").await;
        let whole = "enrolling needs an invite: its secret is the password, the user name can be any";
        assert_eq!(problem.detail, whole);
    }
    let answer = app.anonymous().request(Method::POST, REENROLL).body(request().1).send().await.expect("answered");
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    let wrong = app.anonymous().request(Method::POST, ENROLL).basic_auth("x", Some("a planted-wrong password"));
    let answer = wrong.body(request().1).send().await.expect("answered");
    assert!(answer.headers()["www-authenticate"].to_str().expect("text").starts_with("Basic "));
    expect_problem(answer, 401, "invite_unknown").await;
    app.close().await;
}

#[tokio::test]
async fn what_is_no_request_is_refused_and_uses_no_invite_up() {
    let app = TestApp::start().await;
    let secret = app.invite("alice", false).await;
    let send = async |body: String| {
        let request = app.anonymous().request(Method::POST, ENROLL).basic_auth("", Some(secret.reveal()));
        request.body(body).send().await.expect("answered")
    };
    for body in ["", "%%%", "aGVsbG8="] {
        assert_eq!(send(body.to_owned()).await.status(), StatusCode::BAD_REQUEST);
    }
    assert_eq!(send("A".repeat(50_000)).await.status(), StatusCode::PAYLOAD_TOO_LARGE);
    let der = BASE64_STANDARD.decode(request().1.replace("\r\n", "")).expect("base64");
    let pem = pki::pem::encode("CERTIFICATE REQUEST", &der);
    assert_eq!(send(pem).await.status(), StatusCode::OK, "PEM is understood too");
    assert_eq!(send(request().1).await.status(), StatusCode::UNAUTHORIZED, "one use");
    app.close().await;
}

#[tokio::test]
async fn a_revoked_certificate_enrolls_nobody() {
    let app = TestApp::start().await;
    let alice = app.client("alice").await;
    let answer = alice.request(Method::POST, "/pki/revoke").json(&serde_json::json!({"name": "alice"})).send().await;
    assert_eq!(answer.expect("answered").status(), StatusCode::OK);
    for path in [ENROLL, REENROLL] {
        let answer = alice.request(Method::POST, path).body(request().1).send().await.expect("answered");
        expect_problem(answer, 403, "certificate_revoked").await;
    }
    app.close().await;
}
