//! Certificates for those nobody invited: for work, where the operator allows that.

use std::process::Command;

use ddrop::abuse::Puzzle;
use ddrop::api;
use ddrop::identity::Tier;
use pki::key::{Algorithm, Key};
use reqwest::{Method, RequestBuilder, Response, StatusCode};

use crate::app::{Setup, TestApp};
use crate::caller::{Caller, Credentials, expect_problem};

async fn open() -> TestApp {
    with_difficulty(8).await
}

async fn with_difficulty(bits: u8) -> TestApp {
    let mut setup = Setup::default();
    setup.settings.open_registration = true;
    setup.settings.register_difficulty = bits;
    TestApp::with(setup).await
}

async fn challenge(app: &TestApp) -> api::Challenge {
    app.anonymous().get("/register/challenge").await.json().await.expect("a challenge")
}

/// A challenge and its solution, as headers have them.
async fn work(app: &TestApp) -> (String, String) {
    let challenge = challenge(app).await;
    let puzzle = Puzzle::new(&challenge.nonce.expect("a nonce"), challenge.difficulty);
    (challenge.token.expect("a token"), puzzle.search(0, 1, u64::MAX).expect("a solution").to_string())
}

fn post(app: &TestApp, path: &str, work: &(String, String)) -> RequestBuilder {
    let request = app.anonymous().request(Method::POST, path);
    request.header("x-pow-token", &work.0).header("x-pow-solution", &work.1)
}

async fn register(app: &TestApp, name: &str) -> Response {
    let request = post(app, "/register", &work(app).await);
    request.json(&serde_json::json!({ "common_name": name })).send().await.expect("answered")
}

fn csr(name: &str) -> (Key, String) {
    let key = Key::generate(Algorithm::P256).expect("a key");
    let csr = pki::request::make(&key, name).expect("a request");
    (key, csr)
}

/// Opens a PKCS#12 file the way anyone would.
pub fn opened(folder: &std::path::Path, bundle: &[u8], password: &str) -> Credentials {
    let file = folder.join("bundle.p12");
    std::fs::write(&file, bundle).expect("written");
    let openssl = |arguments: &[&str]| {
        let mut command = Command::new("openssl");
        command.args(["pkcs12", "-passin", "env:PASSWORD", "-nodes", "-in"]).arg(&file).args(arguments);
        let output = command.env("PASSWORD", password).output().expect("openssl runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        // Beside the PEM stands the label, which OpenSSL does not print in UTF-8.
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    Credentials { chain: openssl(&["-nokeys", "-clcerts"]), key: openssl(&["-nocerts"]) }
}

#[tokio::test]
async fn closed_it_takes_nobody() {
    let app = TestApp::start().await;
    for (method, path) in [(Method::GET, "/register/challenge"), (Method::POST, "/register"), (Method::POST, "/csr")] {
        let answer = app.anonymous().request(method, path).send().await.expect("answered");
        let problem = expect_problem(answer, 403, "registration_closed").await;
        assert!(problem.hint.expect("a hint").contains("invite"), "{path}");
    }
    assert!(!app.app.authority.has_clients().await.expect("read"));
    app.close().await;
}

#[tokio::test]
async fn work_gets_a_bundle_that_openssl_opens_and_the_first_is_the_admin() {
    let app = open().await;
    for (name, tier, is_admin) in [("first", Tier::Admin, "1"), ("second", Tier::Trusted, "0")] {
        let answer = register(&app, name).await;
        assert_eq!(answer.status(), StatusCode::OK, "{}", answer.text().await.unwrap_or_default());
        let headers = answer.headers().clone();
        assert_eq!(headers["content-type"], "application/x-pkcs12");
        assert_eq!(headers["content-disposition"], format!("attachment; filename=\"{name}.p12\"").as_str());
        assert_eq!(headers["x-is-admin"], is_admin);
        assert_eq!(headers["cache-control"], "no-store");
        let password = headers["x-pkcs12-password"].to_str().expect("text").to_owned();
        let bundle = answer.bytes().await.expect("a body");
        let credentials = opened(app.folder(), &bundle, &password);
        let fingerprint = credentials.fingerprint();
        assert_eq!(headers["x-fingerprint-sha1"], fingerprint.sha1.to_string().as_str());
        let caller = Caller::new(&app, Some(credentials));
        let who: api::Whoami = caller.get("/api/whoami").await.json().await.expect("an answer");
        assert_eq!((who.tier, who.name.as_deref()), (tier, Some(name)));
    }
    app.close().await;
}

#[tokio::test]
async fn a_signing_request_is_signed_as_flaskpaste_did() {
    let app = open().await;
    app.client("someone").await;
    let (key, csr) = csr("carol");
    let answer = post(&app, "/csr", &work(&app).await).body(csr).send().await.expect("answered");
    assert_eq!(answer.status(), StatusCode::OK, "{}", answer.text().await.unwrap_or_default());
    let headers = answer.headers().clone();
    assert_eq!(headers["content-type"], "application/x-pem-file");
    assert_eq!(headers["content-disposition"], "attachment; filename=\"carol.crt\"");
    assert_eq!((headers["x-is-admin"].as_bytes(), headers["x-certificate-serial"].len()), (&b"0"[..], 32));
    assert!(headers["x-certificate-expires"].to_str().expect("text").parse::<i64>().is_ok());
    let chain = answer.text().await.expect("a chain");
    let caller = Caller::new(&app, Some(Credentials { chain, key: key.to_pem().to_string() }));
    let who: api::Whoami = caller.get("/api/whoami").await.json().await.expect("an answer");
    assert_eq!((who.tier, who.name.as_deref()), (Tier::Trusted, Some("carol")));
    app.close().await;
}

#[tokio::test]
async fn of_those_who_race_to_be_first_one_is_the_admin() {
    let app = open().await;
    let mut racing = Vec::new();
    for _ in 0..6 {
        racing.push(post(&app, "/register", &work(&app).await).send());
    }
    let answers = futures_util::future::join_all(racing).await;
    let admins = answers.into_iter().filter(|a| a.as_ref().expect("answered").headers()["x-is-admin"] == "1").count();
    assert_eq!(admins, 1);
    app.close().await;
}

#[tokio::test]
async fn a_signing_request_whose_answer_was_lost_can_be_sent_again_by_the_holder_of_its_key() {
    let app = open().await;
    let (key, csr) = csr("carol");
    let send = async |csr: String| post(&app, "/csr", &work(&app).await).body(csr).send().await.expect("answered");
    let lost = send(csr.clone()).await;
    let (serial, admin) = (lost.headers()["x-certificate-serial"].clone(), lost.headers()["x-is-admin"].clone());
    let chain = lost.text().await.expect("a chain");
    let again = send(csr.clone()).await;
    assert_eq!((&again.headers()["x-certificate-serial"], &again.headers()["x-is-admin"]), (&serial, &admin));
    assert_eq!(again.text().await.expect("a chain"), chain, "the same, not one more");
    let same_key = pki::request::make(&key, "mallory").expect("a request");
    assert_eq!(send(same_key).await.status(), StatusCode::OK, "another name is another client");
    expect_problem(send(self::csr("carol").1).await, 409, "name_taken").await;
    // With a bundle went its key, which nobody has now: the name stays taken until an admin sees to it.
    assert_eq!(register(&app, "dan").await.status(), StatusCode::OK);
    expect_problem(register(&app, "dan").await, 409, "name_taken").await;
    let carol = Caller::new(&app, Some(Credentials { chain, key: key.to_pem().to_string() }));
    let body = serde_json::json!({ "name": "carol" });
    let revoked = carol.request(Method::POST, "/pki/revoke").json(&body).send().await.expect("answered");
    assert_eq!(revoked.status(), StatusCode::OK);
    expect_problem(send(csr).await, 409, "name_taken").await;
    app.close().await;
}

#[tokio::test]
async fn without_work_or_with_used_work_there_is_nothing() {
    let app = open().await;
    let bare = app.anonymous().post("/register").await;
    assert_eq!(expect_problem(bare, 400, "pow_required").await.error, "Proof-of-work required");
    let (token, solution) = work(&app).await;
    let wrong = (token.clone(), "0x1".to_owned());
    let answer = post(&app, "/register", &wrong).send().await.expect("answered");
    assert_eq!(expect_problem(answer, 400, "pow_failed").await.error, "Proof-of-work failed");
    let forged = (token.replace(":8:", ":1:"), solution.clone());
    expect_problem(post(&app, "/register", &forged).send().await.expect("answered"), 400, "pow_failed").await;
    let right = (token, solution);
    let first = post(&app, "/register", &right).send().await.expect("answered");
    assert_eq!(first.status(), StatusCode::OK);
    for path in ["/register", "/csr"] {
        let replayed = post(&app, path, &right).body(csr("eve").1).send().await.expect("answered");
        assert!(replayed.status() == StatusCode::BAD_REQUEST, "{path}");
    }
    let late = work(&app).await;
    app.clock.advance(std::time::Duration::from_secs(901));
    expect_problem(post(&app, "/register", &late).send().await.expect("answered"), 400, "pow_failed").await;
    app.close().await;
}

#[tokio::test]
async fn work_holds_over_a_restart_and_is_not_taken_again_after_one() {
    let app = open().await;
    let settings = app.app.settings.clone();
    let (used, unused) = (work(&app).await, work(&app).await);
    assert_eq!(post(&app, "/register", &used).send().await.expect("answered").status(), StatusCode::OK);
    let (folder, clock) = app.stop().await;
    let again = TestApp::on(folder, clock, Setup { settings, ..Setup::default() }).await;
    let replayed = post(&again, "/register", &used).send().await.expect("answered");
    let problem = expect_problem(replayed, 400, "pow_failed").await;
    assert!(problem.hint.expect("a hint").contains("used before"));
    assert_eq!(post(&again, "/register", &unused).send().await.expect("answered").status(), StatusCode::OK);
    again.close().await;
}

#[tokio::test]
async fn names_and_requests_that_will_not_do_are_refused_with_the_reason() {
    let app = open().await;
    assert_eq!(register(&app, "alice").await.status(), StatusCode::OK);
    expect_problem(register(&app, "alice").await, 409, "name_taken").await;
    for name in ["", "operator", "a/b", "new\nline"] {
        expect_problem(register(&app, name).await, 400, "bad_request").await;
    }
    let answer = post(&app, "/csr", &work(&app).await).body("not PEM").send().await.expect("answered");
    expect_problem(answer, 400, "bad_signing_request").await;
    let answer = post(&app, "/register", &work(&app).await).body("{").send().await.expect("answered");
    expect_problem(answer, 400, "bad_request").await;
    let huge = post(&app, "/register", &work(&app).await).body("x".repeat(100_000)).send().await.expect("answered");
    assert!(huge.status().is_client_error());
    app.close().await;
}

#[tokio::test]
async fn no_work_can_be_asked_for() {
    let app = with_difficulty(0).await;
    let said = app.anonymous().get("/register/challenge").await.text().await.expect("text");
    assert_eq!(said, r#"{"enabled":false,"difficulty":0}"#);
    let answer = app.anonymous().post("/register").await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert!(answer.headers()["content-disposition"].to_str().expect("text").contains("client-"));
    app.close().await;
}
