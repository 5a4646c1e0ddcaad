//! Client certificates with keys of every kind, made and used by openssl and curl, over both versions of TLS.

use std::path::Path;

use ddrop::api;
use tokio::process::Command;

use crate::app::TestApp;

/// What `openssl genpkey` is told, and whether TLS 1.2 can be spoken with such a key too.
const KEYS: [(&str, &[&str], bool); 8] = [
    ("P-256", &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"], true),
    ("P-384", &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"], true),
    ("P-521", &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521"], true),
    ("Ed25519", &["-algorithm", "ED25519"], true),
    ("RSA-2048", &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"], true),
    ("RSA-3072", &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:3072"], true),
    ("RSA-4096", &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:4096"], true),
    // As a certificate for RSASSA-PSS alone would have it, which is no key for us: refused when it asks.
    ("RSA-PSS", &["-algorithm", "RSA-PSS", "-pkeyopt", "rsa_keygen_bits:2048"], false),
];

async fn run(program: &str, arguments: &[&str], folder: &Path) -> Result<String, String> {
    let output = Command::new(program).args(arguments).current_dir(folder).output().await;
    let output = output.expect("openssl and curl are installed (apt-get install openssl curl)");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() { Ok(said) } else { Err(said + &String::from_utf8_lossy(&output.stderr)) }
}

#[tokio::test]
async fn openssl_and_curl_use_keys_of_every_kind_over_tls_1_2_and_1_3() {
    let app = TestApp::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let here = folder.path();
    std::fs::write(here.join("ca.crt"), app.root_pem()).expect("written");
    for (name, key, good) in KEYS {
        let made = run("openssl", &[&["genpkey", "-out", "client.key"], key].concat(), here).await;
        made.expect("a key");
        let request = ["req", "-new", "-key", "client.key", "-subj", "/CN=any", "-out", "client.csr"];
        run("openssl", &request, here).await.expect("a request");
        let invite = format!("Authorization: Invite {}", app.invite(name, false).await.reveal());
        let enroll = ["-sS", "--fail-with-body", "--cacert", "ca.crt", "-H", &invite, "--data-binary", "@client.csr"];
        let enrolled = run("curl", &[&enroll[..], &["-o", "client.crt", &app.url("/pki/enroll")]].concat(), here).await;
        assert_eq!(enrolled.is_ok(), good, "{name}: {enrolled:?}");
        if !good {
            let said = std::fs::read_to_string(here.join("client.crt")).expect("an answer");
            assert!(said.contains("bad_signing_request"), "{name}: {said}");
            continue;
        }
        for version in [["--tlsv1.2", "--tls-max", "1.2"], ["--tlsv1.3", "--tls-max", "1.3"]] {
            let with = ["-sS", "--cacert", "ca.crt", "--cert", "client.crt", "--key", "client.key"];
            let said = run("curl", &[&with[..], &version, &[&app.url("/api/whoami")]].concat(), here).await;
            let said = said.unwrap_or_else(|error| panic!("{name} {version:?}: {error}"));
            let who: api::Whoami = serde_json::from_str(&said).expect("JSON");
            assert_eq!(who.name.as_deref(), Some(name), "{version:?}");
        }
    }
    app.close().await;
}
