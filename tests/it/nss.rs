//! What comes as PKCS#12 is what Firefox and Chromium import: judged by NSS, which both have on Linux.

use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ddrop::api;
use reqwest::{Method, StatusCode};
use serde_json::json;
use tokio::process::Command;

use crate::app::{Setup, TestApp};
use crate::planted::plant;

/// What a program of NSS says, and whether it was content.
async fn nss(folder: &Path, program: &str, arguments: &[&str]) -> (bool, String) {
    let output = Command::new(program).args(arguments).current_dir(folder).output().await;
    let output = output.expect("certutil, pk12util and tstclnt are installed (apt-get install libnss3-tools)");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), said)
}

/// A certificate store as a browser makes one, that trusts the CA.
async fn browser(app: &TestApp) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("root.pem"), app.root_pem()).expect("written");
    for arguments in [
        &["-N", "-d", "sql:.", "--empty-password"][..],
        &["-A", "-d", "sql:.", "-n", "the root", "-t", "CT,,", "-i", "root.pem"],
    ] {
        let (done, said) = nss(folder.path(), "certutil", arguments).await;
        assert!(done, "{said}");
    }
    folder
}

async fn import(folder: &Path, bundle: &[u8], password: &str) -> (bool, String) {
    std::fs::write(folder.join("bundle.p12"), bundle).expect("written");
    std::fs::write(folder.join("password"), password).expect("written");
    nss(folder, "pk12util", &["-i", "bundle.p12", "-d", "sql:.", "-w", "password", "-K", ""]).await
}

/// The store has the certificate with its key, believes it, and uses it on a connection.
async fn assert_usable(app: &TestApp, folder: &Path, name: &str) {
    // By its subject, as the file has it.
    let nickname = &format!("CN={name}");
    let (done, keys) = nss(folder, "certutil", &["-K", "-d", "sql:."]).await;
    assert!(done && keys.contains(nickname), "its key is there: {keys}");
    let (valid, said) = nss(folder, "certutil", &["-V", "-d", "sql:.", "-n", nickname, "-u", "C"]).await;
    assert!(valid && said.contains("certificate is valid"), "{said}");
    let port = app.address.port().to_string();
    std::fs::write(folder.join("request"), "GET /api/whoami HTTP/1.0\r\nHost: localhost\r\n\r\n").expect("written");
    let connect =
        ["-h", "localhost", "-a", "localhost", "-p", &port, "-d", "sql:.", "-n", nickname, "-A", "request", "-4"];
    let (_, said) = nss(folder, "tstclnt", &connect).await;
    assert!(said.contains("\"tier\":\"trusted\"") && said.contains(&format!("\"name\":\"{name}\"")), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_admin_issues_a_browser_imports() {
    let app = TestApp::start().await;
    let admin = app.admin().await;
    for name in ["bob", "\u{e4}lice"] {
        let folder = browser(&app).await;
        let wish = json!({"common_name": name});
        let issued = admin.request(Method::POST, "/pki/issue").json(&wish).send().await.expect("answered");
        assert_eq!(issued.status(), StatusCode::CREATED);
        let issued: api::Issued = issued.json().await.expect("a certificate");
        let bundle = BASE64_STANDARD.decode(issued.pkcs12.expect("a bundle")).expect("base64");
        let password = issued.pkcs12_password.expect("a password");
        plant("the password of a bundle", &password);
        let (done, said) = import(folder.path(), &bundle, "planted-another").await;
        assert!(!done, "{said}");
        let (_, keys) = nss(folder.path(), "certutil", &["-K", "-d", "sql:."]).await;
        assert!(!keys.contains(name), "a wrong password brings nothing: {keys}");
        let (done, said) = import(folder.path(), &bundle, &password).await;
        assert!(done, "{said}");
        assert_usable(&app, folder.path(), name).await;
    }
    app.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f27_what_registering_gets_a_browser_imports() {
    let mut setup = Setup::default();
    setup.settings.open_registration = true;
    setup.settings.register_difficulty = 0;
    let app = TestApp::with(setup).await;
    app.admin().await;
    let folder = browser(&app).await;
    let wish = json!({"common_name": "carol"});
    let made = app.anonymous().request(Method::POST, "/register").json(&wish).send().await.expect("answered");
    assert_eq!(made.status(), StatusCode::OK);
    let password = made.headers()["x-pkcs12-password"].to_str().expect("text").to_owned();
    plant("the password of a bundle", &password);
    let bundle = made.bytes().await.expect("a body");
    let (done, said) = import(folder.path(), &bundle, &password).await;
    assert!(done, "{said}");
    assert_usable(&app, folder.path(), "carol").await;
    app.close().await;
}
