use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Mutex;

use hyper::Response;

use super::*;
use crate::client::Outcome;
use crate::client::profile::Flags;
use crate::client::test::{self, Asked, Body, Ca};
use crate::clock::{Manual, System};
use crate::token::Secret;

const SECRET: &str = "a-secret-of-some-length";

fn clock() -> Arc<dyn Clock> {
    Arc::new(System)
}

fn invite(server: &Url, root: &CertificateDer<'_>) -> Invite {
    let secret = Secret::from_given(SECRET.to_owned());
    Invite { server: server.clone(), root: Sha256::of(root), web: false, secret }
}

/// What a server of this CA answers, and how often it was asked to enrol.
fn answers(ca: &Arc<Ca>, used: &Arc<Mutex<u32>>) -> impl Fn(Asked) -> Response<Body> + Send + Sync + 'static {
    let (ca, used) = (Arc::clone(ca), Arc::clone(used));
    move |request| match request.uri().path() {
        "/pki/ca.crt" => test::answer(200, ca.root_pem()),
        "/pki/enroll" | "/pki/renew" => {
            if request.uri().path() == "/pki/enroll" {
                assert_eq!(request.headers()["authorization"], format!("Invite {SECRET}"));
            }
            *used.lock().expect("no panic") += 1;
            let csr = String::from_utf8(request.body().to_vec()).expect("PEM");
            test::answer(200, ca.issue(&csr))
        }
        _ => test::answer(404, ""),
    }
}

fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    entries
        .map(|path| (path.file_name().expect("a name").to_string_lossy().into_owned(), fs::read(&path).expect("read")))
        .collect()
}

#[tokio::test]
async fn an_invite_makes_a_client() {
    let (ca, used) = (Arc::new(Ca::new("root")), Arc::default());
    let url = test::https(&ca, &["localhost"], answers(&ca, &used)).await;
    let dir = tempfile::tempdir().expect("a folder");
    let folder = dir.path().join("new/ddrop");
    enroll(&invite(&url, &ca.root()), Algorithm::P256, &folder, clock()).await.expect("enrolled");
    let files = contents(&folder);
    assert_eq!(files.keys().collect::<Vec<_>>(), ["ca.crt", "client.crt", "client.key", "config.toml"]);
    for (name, expected) in [("client.key", 0o600), ("config.toml", 0o600), ("client.crt", 0o644)] {
        let mode = fs::metadata(folder.join(name)).expect("metadata").permissions().mode();
        assert_eq!(mode & 0o777, expected, "{name}");
    }
    let profile = Profile::load(Flags::default(), |_| None, folder.clone()).expect("usable");
    assert_eq!(profile.server().expect("a server"), &url);
    assert!(profile.identity().expect("a pair").is_some());
    Client::new(&profile, clock()).expect("a client").ca().await.expect("the server is trusted");

    let renewed = renew(&profile, None, clock()).await.expect("renewed");
    assert_eq!(renewed.folder, folder.canonicalize().expect("there"));
    let after = contents(&folder);
    assert_ne!(after["client.key"], files["client.key"]);
    assert_eq!((&after["ca.crt"], &after["config.toml"]), (&files["ca.crt"], &files["config.toml"]));
    assert!(profile.identity().expect("a pair").is_some());
}

#[tokio::test]
async fn someone_in_between_gets_no_secret_and_changes_nothing() {
    let (ca, evil, used) = (Ca::new("root"), Arc::new(Ca::new("evil")), Arc::default());
    let url = test::https(&evil, &["localhost"], answers(&evil, &used)).await;
    let dir = tempfile::tempdir().expect("a folder");
    fs::write(dir.path().join("client.key"), "old").expect("written");
    let before = contents(dir.path());
    let error = enroll(&invite(&url, &ca.root()), Algorithm::P256, dir.path(), clock()).await.expect_err("refused");
    assert!(matches!(error, Error::WrongRoot { .. }), "{error}");
    assert_eq!(error.outcome(), Outcome::Unreachable);
    assert_eq!((*used.lock().expect("no panic"), contents(dir.path())), (0, before));
}

#[tokio::test]
async fn someone_in_between_who_passes_on_the_right_root_gets_no_secret_either() {
    let (ca, evil, used) = (Arc::new(Ca::new("root")), Ca::new("evil"), Arc::default());
    let url = test::https(&evil, &["localhost"], answers(&ca, &used)).await;
    let dir = tempfile::tempdir().expect("a folder");
    let error = enroll(&invite(&url, &ca.root()), Algorithm::P256, dir.path(), clock()).await.expect_err("refused");
    assert!(error.to_string().contains("not signed by the CA you enrolled with"), "{error}");
    assert_eq!(error.outcome(), Outcome::Unreachable);
    assert_eq!((*used.lock().expect("no panic"), contents(dir.path()).len()), (0, 0));
}

#[tokio::test]
async fn a_certificate_for_another_key_is_not_kept() {
    let (ca, other) = (Arc::new(Ca::new("root")), Key::generate(Algorithm::P256).expect("a key"));
    let foreign = ca.issue(&pki::request::make(&other, "x").expect("a request"));
    let root = ca.root_pem();
    let url = test::https(&ca, &["localhost"], move |request| match request.uri().path() {
        "/pki/enroll" => test::answer(200, foreign.clone()),
        _ => test::answer(200, root.clone()),
    })
    .await;
    let dir = tempfile::tempdir().expect("a folder");
    let error = enroll(&invite(&url, &ca.root()), Algorithm::P256, dir.path(), clock()).await.expect_err("refused");
    assert!(matches!(error, Error::Certificate(certificate::Error::OtherKey)), "{error}");
    assert_eq!(contents(dir.path()).len(), 0);
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_spends_no_invite() {
    let (ca, used) = (Arc::new(Ca::new("root")), Arc::default());
    let url = test::https(&ca, &["localhost"], answers(&ca, &used)).await;
    let dir = tempfile::tempdir().expect("a folder");
    fs::write(dir.path().join("file"), "").expect("written");
    let folder = dir.path().join("file/below");
    assert!(enroll(&invite(&url, &ca.root()), Algorithm::P256, &folder, clock()).await.is_err());
    assert_eq!(*used.lock().expect("no panic"), 0);
}

#[tokio::test]
async fn a_spent_invite_leaves_the_old_files() {
    let ca = Ca::new("root");
    let root = ca.root_pem();
    let url = test::https(&ca, &["localhost"], move |request| match request.uri().path() {
        "/pki/enroll" => test::answer(403, r#"{"type":"x","title":"x","status":403,"detail":"this invite was used before","error":"x","code":"invite_used"}"#),
        _ => test::answer(200, root.clone()),
    })
    .await;
    let dir = tempfile::tempdir().expect("a folder");
    fs::write(dir.path().join("config.toml"), "server = \"https://old\"").expect("written");
    let before = contents(dir.path());
    let error = enroll(&invite(&url, &ca.root()), Algorithm::P256, dir.path(), clock()).await.expect_err("refused");
    assert_eq!((error.outcome(), error.to_string().as_str()), (Outcome::Refused, "this invite was used before"));
    assert_eq!(contents(dir.path()), before);
}

#[tokio::test]
async fn an_invite_without_tls_is_for_this_machine_only() {
    let url = "http://192.0.2.1:8080".parse().expect("a URL");
    let dir = tempfile::tempdir().expect("a folder");
    let error = enroll(&invite(&url, &Ca::new("root").root()), Algorithm::P256, dir.path(), clock()).await;
    assert!(matches!(error, Err(Error::Usage(_))));
}

#[tokio::test]
async fn failures_of_tls_are_told_in_words() {
    let ca = Ca::new("root");
    let ask = async |url: Url, anchors: Anchors| {
        Client::anonymous(url, anchors, clock()).expect("a client").ca().await.expect_err("no trust").to_string()
    };
    let pinned = || Anchors::Pinned(vec![ca.root()]);
    let other_name = test::https(&ca, &["elsewhere"], |_| test::answer(200, "")).await;
    let words = ask(other_name, pinned()).await;
    assert!(words.contains("not for localhost but for") && words.contains("elsewhere"), "{words}");

    let plain = test::http(|_| test::answer(200, "")).await;
    let mut as_tls = plain.clone();
    as_tls.set_scheme("https").expect("a scheme");
    let words = ask(as_tls, pinned()).await;
    assert!(words.contains("does not speak TLS"), "{words}");

    // Bound, so that nobody else gets it, and not listening.
    let nobody = tokio::net::TcpSocket::new_v4().expect("a socket");
    nobody.bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
    let url: Url = format!("https://{}", nobody.local_addr().expect("an address")).parse().expect("a URL");
    let error = Client::anonymous(url, pinned(), clock()).expect("a client").ca().await.expect_err("refused");
    assert!(error.to_string().to_lowercase().contains("connection refused"), "{error}");
    assert_eq!(error.outcome(), Outcome::Unreachable);
}

#[test]
fn a_self_signed_pair_is_usable_and_replaces_nothing_unasked() {
    let dir = tempfile::tempdir().expect("a folder");
    let clock = Manual::at(test::NOW);
    let (key, certificate) = self_signed(Algorithm::P384, "me", 30, &clock).expect("made");
    let server = "https://host:8443".parse().expect("a URL");
    let configure = Configure { server: &server, ca_pem: None };
    let made = keep_self_signed(&key, &certificate, dir.path(), Some(&configure), false).expect("kept");
    assert!(made.facts.self_signed);
    assert_eq!(made.facts.fingerprint.sha256, Sha256::of(certificate.der()));
    let profile = Profile::load(Flags::default(), |_| None, dir.path().into()).expect("usable");
    assert!(profile.identity().expect("a pair").is_some());
    assert!(profile.ca_cert.is_none());

    let before = contents(dir.path());
    let again = keep_self_signed(&key, &certificate, dir.path(), None, false);
    assert!(matches!(again, Err(Error::Exists(path)) if path.ends_with(KEY)));
    assert_eq!(contents(dir.path()), before);
}
