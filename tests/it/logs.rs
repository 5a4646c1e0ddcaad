//! F32: what is logged, and that nothing secret ever is: the log of every server in these tests is looked through when
//! the server has ended, for whatever [`planted`](crate::planted) knows of by then.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use ddrop::api;
use ddrop::server::Proxies;
use ddrop::token::Secret;
use reqwest::{Method, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::app::{Setup, TestApp};
use crate::caller::{Caller, expect_problem};
use crate::planted::{self, plant, plant_key};
use crate::wire;

/// Where all of it goes: one file, since what is logged in one process comes to one place.
static FILE: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let path = folder.join(format!("it-{}.log", std::process::id()));
    // Of runs that are over; whoever wants theirs has looked by now.
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let run = name.strip_prefix("it-").and_then(|name| name.strip_suffix(".log"));
        if run.is_some_and(|run| !Path::new("/proc").join(run).exists()) {
            // Another run may be at it, too.
            let _ = std::fs::remove_file(entry.path());
        }
    }
    let file = File::create(&path).expect("a file");
    // As `ddrop serve` does with DD_LOG=trace: everything of our own, and of others what they say at `debug`.
    let levels = Targets::new().with_default(LevelFilter::DEBUG).with_target("ddrop", LevelFilter::TRACE);
    let lines = tracing_subscriber::fmt::layer().json().flatten_event(true).with_current_span(true);
    tracing_subscriber::registry()
        .with(lines.with_span_list(false).with_writer(std::sync::Mutex::new(file)))
        .with(levels)
        .init();
    path
});

/// The log from some time on.
pub struct Log(u64);

impl Log {
    pub fn begin() -> Self {
        Self(std::fs::metadata(&*FILE).expect("there").len())
    }

    pub fn read(&self) -> Vec<u8> {
        let mut file = File::open(&*FILE).expect("there");
        file.seek(SeekFrom::Start(self.0)).expect("a place");
        let mut log = Vec::new();
        file.read_to_end(&mut log).expect("readable");
        log
    }

    pub fn check(&self) {
        planted::check(&self.read());
    }
}

/// A server at which everything may be tried.
async fn open_app() -> TestApp {
    let mut setup = Setup { token: Some("planted-right-token"), ..Setup::default() };
    setup.settings.policy.allow_anonymous = true;
    setup.settings.abuse.gate.difficulty = 4;
    setup.settings.open_registration = true;
    setup.settings.register_difficulty = 4;
    let secret = Secret::from_given("planted-secret of the proxy".to_owned());
    setup.proxies = Some(Proxies::new("127.0.0.0/8".parse().expect("networks"), false, Some(secret)));
    TestApp::with(setup).await
}

/// Asks, and takes whatever comes.
async fn ask(who: &Caller, method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> StatusCode {
    let request =
        headers.iter().fold(who.request(method, path), |request, (name, value)| request.header(*name, *value));
    request.body(body.to_owned()).send().await.expect("answered").status()
}

#[tokio::test]
async fn f32_what_is_logged_has_the_requests_id_and_no_secret_that_came_with_it() {
    let app = open_app().await;
    let (admin, alice, nobody) = (app.admin().await, app.client("alice").await, app.anonymous());
    let link = alice.upload("the planted-content of a file").await;
    let (id, path) = (link.id.as_str(), format!("/{}", link.id));
    plant("the id of a link", id);
    let named = [("x-request-id", "known-by-this")];
    assert_eq!(ask(&nobody, Method::GET, &path, &named, "").await, StatusCode::OK);
    let basic = "Basic YW55OnBsYW50ZWQtcGFzc3dvcmQ=";
    for authorization in ["Bearer planted-wrong-token", "Invite planted-invite", "planted-scheme x", "Planted", basic] {
        for (method, path) in [(Method::GET, "/api/links"), (Method::POST, "/pki/enroll"), (Method::GET, &*path)] {
            ask(&nobody, method, path, &[("authorization", authorization)], "").await;
        }
    }
    let locked = [("x-paste-password", "planted-password")];
    assert_eq!(ask(&alice, Method::POST, "/paste/", &locked, "behind a planted-password").await, StatusCode::CREATED);
    let odd = [("x-paste-password", "planted-password"), ("x-paste-password", "planted-other")];
    ask(&alice, Method::POST, "/paste/", &odd, "planted-content").await;
    let work = [("x-pow-token", "planted-token:1:2:3"), ("x-pow-solution", "planted-solution")];
    for path in ["/api/upload", "/register", "/csr", "/paste/", "/paste/s", "/api/shorten"] {
        ask(&nobody, Method::POST, path, &work, "{\"common_name\": \"planted-body").await;
    }
    // What cannot be read is a temptation to say what it was.
    for (method, path) in [
        (Method::POST, "/pki/enroll"),
        (Method::POST, "/pki/issue"),
        (Method::POST, "/pki/revoke"),
        (Method::POST, "/pki/invites"),
        (Method::POST, "/pki/trust"),
        (Method::POST, "/pki/renew"),
        (Method::POST, "/pki/ocsp"),
        (Method::POST, "/api/shorten"),
        (Method::POST, "/paste/"),
        (Method::POST, "/paste/s"),
        (Method::PATCH, &*format!("/api/links/{id}")),
        (Method::POST, "/.well-known/est/simplereenroll"),
    ] {
        for kind in ["application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"] {
            for body in
                ["{\"content\": \"planted-body\", planted-body", "\"planted-body\"", "--x\r\nplanted-head: 1\r\n"]
            {
                ask(&admin, method.clone(), path, &[("content-type", kind)], body).await;
            }
        }
    }
    for path in [
        "/planted-id-of-no-link",
        "/api/links?after=planted-place&limit=planted-number&search=planted-words",
        "/api/upload?ttl=planted-ttl&name=planted-name",
        "/paste/pastes?search=planted-words&after=planted-time",
        &*format!("/{id}/planted-name?planted-query=1"),
        "/pki/ocsp/planted-request",
    ] {
        ask(&admin, Method::GET, path, &[("referer", "https://x/#planted-fragment"), ("cookie", "planted=1")], "")
            .await;
    }
    let many = [("client-cert", ":planted-cert:"), ("x-proxy-secret", "planted-wrong"), ("forwarded", "for=planted-a")];
    ask(&nobody, Method::GET, "/api/whoami", &many, "").await;
    let logged = app.log();
    let of_it: Vec<&str> = logged.lines().filter(|line| line.contains("known-by-this")).collect();
    assert!(
        of_it.iter().any(|line| line.contains("\"message\":\"answered\"") && line.contains("\"/{id}\"")),
        "{of_it:?}"
    );
    assert!(logged.contains("\"level\":\"DEBUG\"") && logged.contains("rustls"), "it is not all that there is");
    app.close().await;
}

#[tokio::test]
async fn f32_refused_strangers_do_not_fill_the_log_and_clients_have_a_line_each() {
    const TIMES: usize = 60;
    let app = open_app().await;
    let (alice, nobody) = (app.client("alice").await, app.anonymous());
    let begun = std::time::Instant::now();
    for _ in 0..TIMES {
        let id = [("x-request-id", "of-a-refused-stranger")];
        assert_eq!(ask(&nobody, Method::GET, "/api/links", &id, "").await, StatusCode::UNAUTHORIZED);
        let id = [("x-request-id", "of-a-refused-client")];
        assert_eq!(ask(&alice, Method::GET, "/pki/audit", &id, "").await, StatusCode::FORBIDDEN);
    }
    let seconds = usize::try_from(begun.elapsed().as_secs()).expect("few") + 2;
    let logged = app.log();
    let told = |id: &str, level: &str| {
        let words = [format!("\"{id}\""), format!("\"level\":\"{level}\""), "\"message\":\"answered\"".to_owned()];
        logged.lines().filter(|line| words.iter().all(|word| line.contains(word))).count()
    };
    assert_eq!(told("of-a-refused-client", "INFO"), TIMES);
    let strangers = told("of-a-refused-stranger", "INFO");
    assert!((1..=20 * seconds).contains(&strangers), "{strangers} in {seconds} s");
    assert_eq!(strangers + told("of-a-refused-stranger", "DEBUG"), TIMES);
    app.close().await;
}

#[tokio::test]
async fn f32_what_comes_in_no_request_is_not_logged_either() {
    let app = open_app().await;
    app.client("alice").await;
    let request = |line: &str| format!("GET {line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let fragment = request("/abcdefghijklmnop#planted-fragment");
    let garbage = "planted-garbage before any request\r\n\r\n".to_owned();
    let header = format!("{}planted header: 1\r\n\r\n", request("/").trim_end());
    let forged = "GET /api/whoami HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Proxy-Secret: planted-secret of the proxy\r\n\
         Client-Cert: :planted-certificate:\r\nX-Forwarded-For: planted-address\r\n\r\n";
    for sent in [&*fragment, &*garbage, &*header, forged] {
        let mut tls = wire::tls(&app, None, b"http/1.1").await;
        tls.write_all(sent.as_bytes()).await.expect("written");
        tls.shutdown().await.expect("ended");
        let mut answer = Vec::new();
        // How it ends is for others to test.
        let _ = tls.read_to_end(&mut answer).await;
        for address in [app.address, app.plain.expect("a plain listener")] {
            let mut plain = TcpStream::connect(address).await.expect("connected");
            plain.write_all(sent.as_bytes()).await.expect("written");
            plain.shutdown().await.expect("ended");
            let _ = plain.read_to_end(&mut answer).await;
        }
    }
    app.close().await;
}

#[tokio::test]
async fn f32_what_the_server_gives_away_once_it_does_not_log() {
    let app = open_app().await;
    let admin = app.admin().await;
    let invite = admin.request(Method::POST, "/pki/invites").json(&serde_json::json!({ "name": "bob" }));
    let invite: api::MadeInvite = invite.send().await.expect("answered").json().await.expect("an invite");
    plant("an invite", &invite.secret);
    let wish = serde_json::json!({ "common_name": "carol" });
    let issued = admin.request(Method::POST, "/pki/issue").json(&wish).send().await.expect("answered");
    let issued: serde_json::Value = issued.json().await.expect("a bundle");
    plant("the password of a bundle", issued["pkcs12_password"].as_str().expect("a password"));
    plant("a bundle", issued["pkcs12"].as_str().expect("a bundle"));
    let challenge: api::Challenge = app.anonymous().get("/register/challenge").await.json().await.expect("a challenge");
    let puzzle = ddrop::abuse::Puzzle::new(&challenge.nonce.expect("a nonce"), challenge.difficulty);
    let (token, solution) = (challenge.token.expect("a token"), puzzle.search(0, 1, u64::MAX).expect("a solution"));
    plant("a challenge", &token);
    let request = app.anonymous().request(Method::POST, "/register").header("x-pow-token", token);
    let answer = request.header("x-pow-solution", solution).json(&serde_json::json!({ "common_name": "dan" })).send();
    let answer = answer.await.expect("answered");
    assert_eq!(answer.status(), StatusCode::OK);
    plant("the password of a bundle", answer.headers()["x-pkcs12-password"].as_bytes());
    let paste = app.anonymous().try_upload("", "planted-content, without work").await;
    expect_problem(paste, 400, "pow_required").await;
    app.close().await;
}

#[test]
fn f32_a_secret_in_the_log_is_noticed() {
    let log = Log::begin();
    let id = "Qz7Lk0pW3nVx9TbY";
    plant("an id", id);
    let key = pki::key::Key::generate(pki::key::Algorithm::P256).expect("a key");
    plant_key(&key.to_pem());
    tracing::info!(target: "elsewhere", unknown = 17, "17");
    log.check();
    // Written past the log that others look through.
    let line = |text: &str| format!("{{\"target\":\"ddrop::server\",\"message\":\"{text}\"}}\n");
    for leak in
        [line(&format!("GET /{id}")), line(&hex::encode(id)), line(&key.to_pem()), line(&hex::encode(key.pkcs8()))]
    {
        let caught = std::panic::catch_unwind(|| planted::check(leak.as_bytes()));
        assert!(caught.is_err(), "{leak}");
    }
    let unknown = b"{\"target\":\"ddrop::server\",\"message\":\"x\",\"nobody_knows\":1}";
    assert!(std::panic::catch_unwind(|| planted::check(unknown)).is_err());
}
