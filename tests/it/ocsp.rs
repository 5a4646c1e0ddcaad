//! OCSP and revocation lists, judged by openssl and curl.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ddrop::authority::{Actor, Which};
use reqwest::{Method, StatusCode};

use crate::app::TestApp;
use crate::caller::Caller;

/// Files for openssl: what it asks about, and whom it trusts.
struct Judge {
    folder: tempfile::TempDir,
}

impl Judge {
    fn new(app: &TestApp, caller: &Caller) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let chain = &caller.credentials.as_ref().expect("a certificate").chain;
        let issuer = pki::pem::certificates(chain).expect("certificates").remove(1);
        for (name, text) in
            [("root", app.root_pem()), ("leaf", chain.clone()), ("issuer", pki::pem::encode("CERTIFICATE", &issuer))]
        {
            std::fs::write(folder.path().join(name), text).expect("written");
        }
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn openssl(&self, arguments: &[&str]) -> String {
        let output = Command::new("openssl").args(arguments).current_dir(self.folder.path()).output();
        let output = output.expect("openssl runs");
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{arguments:?}: {said}");
        said
    }

    /// A request about the certificate.
    fn request(&self, more: &[&str]) -> Vec<u8> {
        let arguments = [&["ocsp"], more, &["-issuer", "issuer", "-cert", "leaf", "-reqout", "request"]].concat();
        self.openssl(&arguments);
        std::fs::read(self.path("request")).expect("a request")
    }

    /// What openssl makes of a response.
    fn verdict(&self, response: &[u8], more: &[&str]) -> String {
        std::fs::write(self.path("response"), response).expect("written");
        let files = ["-issuer", "issuer", "-cert", "leaf", "-CAfile", "root", "-VAfile", "issuer"];
        self.openssl(&[&["ocsp", "-no_nonce", "-respin", "response"], more, &files].concat())
    }
}

async fn revoke(app: &TestApp, name: &str) {
    let by = Actor { name: "operator".to_owned(), address: None };
    app.app.authority.revoke(&by, Which::Client(name.to_owned()), 1, None).await.expect("revoked");
}

async fn ask(app: &TestApp, request: Vec<u8>) -> Vec<u8> {
    let send = app.anonymous().request(Method::POST, "/pki/ocsp").header("content-type", "application/ocsp-request");
    let answer = send.body(request).send().await.expect("answered");
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()["content-type"], "application/ocsp-response");
    assert_eq!(answer.headers()["cache-control"], "no-store");
    answer.bytes().await.expect("a body").to_vec()
}

#[tokio::test]
async fn openssl_hears_good_and_then_revoked() {
    let app = TestApp::start().await;
    let judge = Judge::new(&app, &app.client("alice").await);
    let response = ask(&app, judge.request(&["-nonce"])).await;
    let verdict = judge.verdict(&response, &[]);
    assert!(verdict.contains("Response verify OK") && verdict.contains("leaf: good"), "{verdict}");
    // It fails when the nonce is not that of the request.
    judge.openssl(&[
        "ocsp",
        "-reqin",
        "request",
        "-respin",
        "response",
        "-no_nonce",
        "-CAfile",
        "root",
        "-VAfile",
        "issuer",
    ]);
    revoke(&app, "alice").await;
    let verdict = judge.verdict(&ask(&app, judge.request(&["-sha256", "-no_nonce"])).await, &["-sha256"]);
    assert!(verdict.contains("leaf: revoked") && verdict.contains("keyCompromise"), "{verdict}");
    app.close().await;
}

#[tokio::test]
async fn caches_may_keep_what_was_asked_by_get() {
    let app = TestApp::start().await;
    let alice = app.client("alice").await;
    let judge = Judge::new(&app, &alice);
    let whole = BASE64_STANDARD.encode(judge.request(&["-no_nonce"]));
    let escaped = whole.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
    for path in [&escaped, &whole, whole.trim_end_matches('=')] {
        let answer = app.anonymous().get(&format!("/pki/ocsp/{path}")).await;
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        assert!(answer.headers()["cache-control"].to_str().expect("text").contains("max-age=300"));
        assert_eq!(answer.headers()["content-type"], "application/ocsp-response");
        let verdict = judge.verdict(&answer.bytes().await.expect("a body"), &[]);
        assert!(verdict.contains("leaf: good"), "{path}: {verdict}");
    }
    app.close().await;
}

#[tokio::test]
async fn nonsense_is_answered_in_ocsps_own_way_and_not_kept() {
    let app = TestApp::start().await;
    assert_eq!(ask(&app, b"nonsense".to_vec()).await, [0x30, 3, 0x0a, 1, 1], "malformedRequest");
    assert_eq!(ask(&app, Vec::new()).await, [0x30, 3, 0x0a, 1, 1]);
    for path in ["/pki/ocsp/AAAA", "/pki/ocsp/%25%25"] {
        let answer = app.anonymous().get(path).await;
        assert_eq!(answer.headers()["cache-control"], "no-store", "{path}");
        assert_eq!(answer.bytes().await.expect("a body").as_ref(), [0x30, 3, 0x0a, 1, 1], "{path}");
    }
    let huge = app.anonymous().request(Method::POST, "/pki/ocsp").body(vec![0; 100_000]).send().await;
    assert!(huge.expect("answered").status().is_client_error());
    let other = TestApp::start().await;
    let judge = Judge::new(&other, &other.client("alice").await);
    assert_eq!(ask(&app, judge.request(&[])).await, [0x30, 3, 0x0a, 1, 6], "unauthorized: of another CA");
    other.close().await;
    app.close().await;
}

#[tokio::test]
async fn a_list_is_kept_until_it_changes() {
    let app = TestApp::start().await;
    app.client("alice").await;
    for path in ["/pki/crl", "/pki/crl.pem"] {
        let first = app.anonymous().get(path).await;
        assert!(first.headers()["cache-control"].to_str().expect("text").starts_with("public"), "{path}");
    }
    let first = app.anonymous().get("/pki/crl").await;
    assert_eq!(first.headers()["content-type"], "application/pkix-crl");
    let tag = first.headers()["etag"].clone();
    let again = async || {
        let request = app.anonymous().request(Method::GET, "/pki/crl").header("if-none-match", tag.clone());
        request.send().await.expect("answered")
    };
    assert_eq!(again().await.status(), StatusCode::NOT_MODIFIED);
    revoke(&app, "alice").await;
    assert_eq!(again().await.status(), StatusCode::OK, "at once");
    app.close().await;
}

/// What openssl sees stapled.
fn stapled(app: &TestApp, root: &Path) -> String {
    let connect = format!("localhost:{}", app.address.port());
    let output = Command::new("openssl")
        .args([
            "s_client",
            "-status",
            "-verify_return_error",
            "-servername",
            "localhost",
            "-connect",
            &connect,
            "-CAfile",
        ])
        .arg(root)
        .stdin(std::process::Stdio::null())
        .output()
        .expect("openssl runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

/// The line of an instant of a response.
fn line(said: &str, name: &str) -> String {
    said.lines().find(|line| line.contains(name)).unwrap_or_else(|| panic!("no {name}: {said}")).to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_servers_own_standing_is_stapled_and_renewed() {
    let app = TestApp::start().await;
    let judge = Judge::new(&app, &app.client("alice").await);
    let first = stapled(&app, &judge.path("root"));
    assert!(first.contains("OCSP Response Status: successful") && first.contains("Cert Status: good"), "{first}");
    let curl = Command::new("curl")
        .args(["--silent", "--show-error", "--fail", "--cert-status", "--cacert"])
        .arg(judge.path("root"))
        .arg(app.url("/health"))
        .output()
        .expect("curl runs");
    assert!(curl.status.success(), "{}", String::from_utf8_lossy(&curl.stderr));
    app.clock.advance(Duration::from_secs(1800));
    app.showing.reload(&app.tls).await;
    let second = stapled(&app, &judge.path("root"));
    assert_ne!(line(&first, "This Update"), line(&second, "This Update"));
    app.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_issuing_ca_is_shown_without_a_restart() {
    let app = TestApp::start().await;
    let judge = Judge::new(&app, &app.client("alice").await);
    let first = stapled(&app, &judge.path("root"));
    let by = Actor { name: "operator".to_owned(), address: None };
    app.app.authority.rotate(&by, None).await.expect("rotated");
    app.showing.reload(&app.tls).await;
    let second = stapled(&app, &judge.path("root"));
    assert!(second.contains("Cert Status: good"), "{second}");
    assert_ne!(line(&first, "Issuer Key Hash"), line(&second, "Issuer Key Hash"));
    app.close().await;
}
