//! What the authority tells the world, judged by openssl.

use std::path::Path;
use std::process::Command;

use ddrop::authority::{Actor, Which};
use tempfile::TempDir;

use crate::app::TestApp;

fn run(folder: &Path, program: &str, arguments: &[&str]) -> String {
    let done = Command::new(program).args(arguments).current_dir(folder).output();
    let done = done.expect("curl and openssl are installed (apt-get install curl openssl)");
    String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr)
}

/// A folder with the CA's files and a client's certificate.
async fn files(app: &TestApp, name: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let client = app.client(name).await.credentials.expect("a certificate");
    let authority = &app.app.authority;
    let (root, chain) = (authority.root_pem().to_owned(), authority.chain_pem());
    let issuing = chain.split_inclusive("-----END CERTIFICATE-----\n").next().expect("a certificate").to_owned();
    for (file, text) in [("root.pem", &root), ("issuing.pem", &issuing), ("client.pem", &client.chain)] {
        std::fs::write(folder.path().join(file), text).expect("written");
    }
    folder
}

#[tokio::test(flavor = "multi_thread")]
async fn ocsp_tells_good_revoked_and_unknown() {
    let app = TestApp::start().await;
    let folder = files(&app, "alice").await;
    let url = format!("https://127.0.0.1:{}/pki/ocsp", app.address.port());
    let ask = |which: [&str; 2], nonce: &str| {
        let about = ["ocsp", "-issuer", "issuing.pem", which[0], which[1], nonce];
        run(folder.path(), "openssl", &[&about[..], &["-url", &url, "-CAfile", "root.pem"]].concat())
    };
    for nonce in ["-nonce", "-no_nonce"] {
        let said = ask(["-cert", "client.pem"], nonce);
        assert!(said.contains("Response verify OK") && said.contains("client.pem: good"), "{said}");
    }
    let by = Actor { name: "operator".to_owned(), address: None };
    app.app.authority.revoke(&by, Which::Client("alice".to_owned()), 1, None).await.expect("revoked");
    let said = ask(["-cert", "client.pem"], "-nonce");
    assert!(said.contains("client.pem: revoked") && said.contains("keyCompromise"), "{said}");
    let said = ask(["-serial", "0x123456789abcdef0"], "-nonce");
    assert!(said.contains("Response verify OK") && said.contains(": unknown"), "{said}");
    app.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ocsp_can_be_asked_by_get_and_nonsense_is_answered() {
    use base64::Engine as _;
    let app = TestApp::start().await;
    let folder = files(&app, "alice").await;
    let request = ["ocsp", "-issuer", "issuing.pem", "-cert", "client.pem", "-no_nonce", "-reqout", "request.der"];
    run(folder.path(), "openssl", &request);
    let der = std::fs::read(folder.path().join("request.der")).expect("read");
    let text = base64::prelude::BASE64_STANDARD.encode(der);
    let path = format!("/pki/ocsp/{}", text.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D"));
    let answer = app.anonymous().get(&path).await;
    assert_eq!(answer.headers()["content-type"], "application/ocsp-response");
    assert_eq!(answer.headers()["cache-control"], "public, max-age=300, no-transform, must-revalidate");
    std::fs::write(folder.path().join("response.der"), answer.bytes().await.expect("bytes")).expect("written");
    let read =
        ["ocsp", "-respin", "response.der", "-CAfile", "root.pem", "-issuer", "issuing.pem", "-cert", "client.pem"];
    let said = run(folder.path(), "openssl", &read);
    assert!(said.contains("client.pem: good"), "{said}");
    for path in ["/pki/ocsp/!!!", "/pki/ocsp/aGVsbG8="] {
        let answer = app.anonymous().get(path).await;
        assert_eq!(answer.status(), 200);
        // OCSPResponse { responseStatus malformedRequest (1) }
        assert_eq!(&answer.bytes().await.expect("bytes")[..], [0x30, 3, 0x0a, 1, 1], "{path}");
    }
    app.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_staples_a_response_about_itself() {
    let app = TestApp::start().await;
    let folder = files(&app, "alice").await;
    let script = format!(
        "openssl s_client -connect 127.0.0.1:{} -CAfile root.pem -status -verify_return_error </dev/null",
        app.address.port()
    );
    let said = run(folder.path(), "sh", &["-c", &script]);
    assert!(said.contains("OCSP Response Status: successful") && said.contains("Cert Status: good"), "{said}");
    assert!(said.contains("Verify return code: 0 (ok)"), "{said}");
    app.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_is_checked_against_the_lists_that_are_published() {
    let app = TestApp::start().await;
    let folder = files(&app, "alice").await;
    let check = async || {
        let lists = app.anonymous().get("/pki/crl.pem").await.text().await.expect("lists");
        std::fs::write(folder.path().join("lists.pem"), lists).expect("written");
        let verify = ["verify", "-crl_check_all", "-CAfile", "root.pem", "-CRLfile", "lists.pem"];
        run(folder.path(), "openssl", &[&verify[..], &["-untrusted", "client.pem", "client.pem"]].concat())
    };
    let said = check().await;
    assert!(said.contains("client.pem: OK"), "{said}");
    let by = Actor { name: "operator".to_owned(), address: None };
    app.app.authority.revoke(&by, Which::Client("alice".to_owned()), 1, None).await.expect("revoked");
    let said = check().await;
    assert!(said.contains("certificate revoked"), "{said}");
    app.close().await;
}
