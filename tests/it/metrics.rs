//! F34: what is counted, and who may read it.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use ddrop::abuse::Rate;
use reqwest::{Method, StatusCode};
use tokio::net::TcpListener;

use crate::app::{Setup, TestApp};
use crate::caller::{Caller, expect_problem};

async fn scrape(caller: &Caller) -> String {
    let response = caller.get("/metrics").await;
    assert_eq!(response.status(), StatusCode::OK);
    let kind = response.headers()["content-type"].to_str().expect("text").to_owned();
    assert_eq!(kind, "application/openmetrics-text; version=1.0.0; charset=utf-8");
    response.text().await.expect("a text")
}

/// The value of one sample.
fn value(text: &str, sample: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {sample} in\n{text}")).parse().expect("a number")
}

#[tokio::test]
async fn f34_only_admins_read_them() {
    let app = TestApp::with(Setup { token: Some("planted-right"), ..Setup::default() }).await;
    let (admin, alice) = (app.admin().await, app.client("alice").await);
    expect_problem(app.anonymous().get("/metrics").await, 401, "unauthenticated").await;
    expect_problem(alice.get("/metrics").await, 403, "not_admin").await;
    assert!(scrape(&admin).await.ends_with("# EOF\n"));
    assert!(scrape(&app.anonymous().with_token("planted-right")).await.ends_with("# EOF\n"));
    app.close().await;
}

#[tokio::test]
async fn f34_what_happens_is_counted() {
    let mut setup = Setup::default();
    setup.settings.policy.allow_anonymous = true;
    setup.settings.abuse.gate.difficulty = 8;
    setup.settings.abuse.gate.content.min_size = 2;
    setup.settings.abuse.misses = Some(Rate { most: 1, per: std::time::Duration::from_secs(60) });
    let app = TestApp::with(setup).await;
    let (admin, alice) = (app.admin().await, app.client("alice").await);
    let before = scrape(&admin).await;
    let link = alice.upload("12345").await;
    let paste = alice.request(Method::POST, "/").body("a paste").send().await.expect("answered");
    assert_eq!(paste.status(), StatusCode::CREATED);
    expect_problem(alice.try_upload("", "1").await, 400, "too_small").await;
    let nobody = app.anonymous();
    assert_eq!(nobody.get(&format!("/{}", link.id)).await.text().await.expect("content"), "12345");
    nobody.get("/api/challenge").await;
    expect_problem(nobody.try_upload("", "x").await, 400, "pow_required").await;
    for _ in 0..3 {
        nobody.get("/no-such-link").await;
    }
    alice.post(&format!("/api/links/{}/expire", link.id)).await;
    let burning = alice.upload_with("?burn=true", "12").await;
    assert_eq!(nobody.get("/health").await.status(), StatusCode::OK);
    let after = scrape(&admin).await;
    let grew = |sample: &str| value(&after, sample) - value(&before, sample);
    assert_eq!(grew("ddrop_links_created_total{kind=\"file\"}"), 2.0);
    assert_eq!(grew("ddrop_links_created_total{kind=\"paste\"}"), 1.0);
    assert_eq!(grew("ddrop_links_accessed_total{kind=\"file\"}"), 1.0);
    assert_eq!(grew("ddrop_links_deleted_total{kind=\"file\",why=\"by_owner\"}"), 1.0);
    assert_eq!(grew("ddrop_content_refused_total{why=\"too_small\"}"), 1.0);
    assert_eq!(grew("ddrop_pow_total{result=\"missing\"}"), 1.0);
    assert_eq!(grew("ddrop_pow_total{result=\"challenge\"}"), 1.0);
    assert_eq!(grew("ddrop_rate_limited_total{limit=\"misses\"}"), 2.0);
    assert_eq!(grew("ddrop_received_bytes_total"), 5.0 + 7.0 + 1.0 + 2.0);
    assert_eq!(grew("ddrop_sent_bytes_total"), 5.0);
    assert_eq!(value(&after, "ddrop_links"), 2.0);
    assert!(grew("ddrop_tls_handshakes_total{result=\"full\"}") >= 2.0);
    assert!(value(&after, "ddrop_connections_open") >= 1.0);
    assert_eq!(value(&after, "ddrop_pow_difficulty_bits"), 8.0);
    let route = "method=\"GET\",route=\"/{id}\"";
    assert_eq!(value(&after, &format!("ddrop_http_requests_total{{{route},status=\"200\"}}")), 1.0);
    assert_eq!(value(&after, &format!("ddrop_http_requests_total{{{route},status=\"429\"}}")), 2.0);
    assert_eq!(value(&after, &format!("ddrop_http_request_duration_seconds_count{{{route}}}")), 4.0);
    for secret in [link.id.as_str(), burning.id.as_str(), "alice", "127.0.0.1", "no-such-link"] {
        assert!(!after.contains(secret), "a label has {secret}");
    }
    app.close().await;
}

#[tokio::test]
async fn f34_short_urls_are_counted_by_how_they_are_made_followed_and_ended() {
    let app = TestApp::start().await;
    let (admin, alice) = (app.admin().await, app.client("alice").await);
    let wish = serde_json::json!({ "url": "https://example.org/" });
    let native = alice.request(Method::POST, "/api/shorten").json(&wish).send().await.expect("answered");
    let native: ddrop::api::Link = native.json().await.expect("a link");
    let mut short = Vec::new();
    for _ in 0..2 {
        let made = alice.request(Method::POST, "/paste/s").body("https://example.org/").send().await.expect("answered");
        short.push(made.json::<ddrop::api::paste::ShortUrl>().await.expect("a short URL"));
    }
    for path in [format!("/{}", native.id), short[0].url.clone(), short[1].url.clone()] {
        assert_eq!(app.anonymous().get(&path).await.status(), StatusCode::FOUND);
        assert_eq!(app.anonymous().status(Method::HEAD, &path).await, StatusCode::FOUND, "which leads nobody there");
    }
    assert_eq!(app.anonymous().get(&format!("{}/info", short[0].url)).await.status(), StatusCode::OK);
    assert_eq!(alice.status(Method::DELETE, &short[0].url).await, StatusCode::OK);
    assert_eq!(alice.status(Method::DELETE, &short[0].url).await, StatusCode::GONE);
    for _ in 0..2 {
        let ended = alice.status(Method::DELETE, &format!("/api/links/{}", short[1].id)).await;
        assert_eq!(ended, StatusCode::OK, "twice is no error, and one end");
    }
    let text = scrape(&admin).await;
    let count = |sample: &str| value(&text, &format!("ddrop_links_{sample}"));
    assert_eq!(count("created_total{kind=\"url\"}"), 3.0);
    assert_eq!(count("accessed_total{kind=\"url\"}"), 3.0);
    assert_eq!(count("deleted_total{kind=\"url\",why=\"by_owner\"}"), 2.0);
    for other in [
        "created_total{kind=\"file\"}",
        "accessed_total{kind=\"paste\"}",
        "deleted_total{kind=\"file\",why=\"by_owner\"}",
    ] {
        assert_eq!(count(other), 0.0, "{other}");
    }
    app.close().await;
}

#[tokio::test]
async fn f34_what_expires_is_counted_by_its_kind() {
    let mut setup = Setup::default();
    setup.settings.cleanup_interval = std::time::Duration::from_millis(1);
    let app = TestApp::with(setup).await;
    let (admin, alice) = (app.admin().await, app.client("alice").await);
    let wish = serde_json::json!({ "url": "https://example.org/", "ttl": "60s" });
    for _ in 0..3 {
        let made = alice.request(Method::POST, "/api/shorten").json(&wish).send().await.expect("answered");
        assert_eq!(made.status(), StatusCode::CREATED);
    }
    for path in ["/?ttl=60s", "/api/upload?ttl=60s", "/?ttl=60s"] {
        let made = alice.request(Method::POST, path).body(path).send().await.expect("answered");
        assert_eq!(made.status(), StatusCode::CREATED);
    }
    app.clock.advance(std::time::Duration::from_secs(61));
    let counts = async || {
        let text = scrape(&admin).await;
        ["file", "paste", "url"]
            .map(|kind| value(&text, &format!("ddrop_links_deleted_total{{kind=\"{kind}\",why=\"expired\"}}")))
    };
    // The sweeper comes by the true time.
    let mut now = counts().await;
    for _ in 0..10_000 {
        if now.iter().sum::<f64>() < 6.0 {
            now = counts().await;
        }
    }
    assert_eq!(now, [1.0, 2.0, 3.0]);
    app.close().await;
}

#[tokio::test]
async fn f34_a_scraper_has_an_address_of_its_own_where_nothing_else_is() {
    let app = TestApp::start().await;
    app.client("alice").await.upload("12345").await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    app.answer_scrapes(listener);
    let http = app.anonymous().http;
    let get = async |path: &str| http.get(format!("http://{address}{path}")).send().await.expect("answered");
    let response = get("/metrics").await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(value(&response.text().await.expect("text"), "ddrop_links_created_total{kind=\"file\"}"), 1.0);
    for path in ["/", "/api/links", "/pki/audit", "/health", "/metrics/x"] {
        assert_eq!(get(path).await.status(), StatusCode::NOT_FOUND, "{path}");
    }
    drop(http);
    app.close().await;
}

#[tokio::test]
async fn f34_prometheus_own_parser_reads_them() {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/openmetrics/bin/python");
    assert!(
        python.exists(),
        "the parser is missing: python3 -m venv target/openmetrics && \
         target/openmetrics/bin/pip install -r .ci/openmetrics.txt"
    );
    let app = TestApp::start().await;
    let alice = app.client("alice").await;
    for _ in 0..3 {
        alice.upload("12345").await;
    }
    let text = scrape(&app.admin().await).await;
    let script = "import sys\n\
                  from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse\n\
                  for family in parse(sys.stdin.read()):\n    \
                      print(family.name, family.type, len(family.samples))\n";
    let mut parser = Command::new(python)
        .args(["-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("python runs");
    parser.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("written");
    let output = parser.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{}\n{text}", String::from_utf8_lossy(&output.stderr));
    let families = String::from_utf8(output.stdout).expect("UTF-8");
    for family in [
        "ddrop_links_created counter 3",
        "ddrop_store_bytes gauge 1",
        "ddrop_received_bytes counter 1",
        "ddrop_http_request_duration_seconds histogram",
    ] {
        assert!(families.lines().any(|line| line.starts_with(family)), "no {family} in\n{families}");
    }
    assert!(families.lines().count() > 15, "{families}");
    app.close().await;
}

/// Every metric that is made is in the README, every one that the alerts and the board ask for is made.
#[tokio::test]
async fn f34_what_is_documented_and_asked_for_is_there() {
    let app = TestApp::start().await;
    let text = scrape(&app.admin().await).await;
    let made: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .filter_map(|line| line.split(' ').next())
        .collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    let readme = read("README.md");
    for name in &made {
        assert!(readme.contains(&format!("`{name}")), "README.md does not tell of {name}");
    }
    for path in ["deploy/prometheus/alerts.yml", "deploy/grafana/ddrop.json"] {
        let asked = read(path);
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let names: Vec<&str> = asked.split(|c| !word(c)).filter(|name| name.starts_with("ddrop_")).collect();
        assert!(names.len() > 5, "{path} asks for nothing");
        for name in names {
            let ends = ["", "_total", "_bucket", "_count", "_sum", "_info"];
            let known = made.iter().any(|made| ends.iter().any(|end| name == format!("{made}{end}")));
            assert!(known, "{path} asks for {name}");
        }
    }
    app.close().await;
}

#[test]
fn f34_the_alerts_are_what_prometheus_takes() {
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/prometheus/alerts.yml");
    let checked = Command::new("promtool").args(["check", "rules"]).arg(&rules).output();
    let checked = checked.expect("promtool runs: apt-get install prometheus");
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    let tested = Command::new("promtool").args(["test", "rules"]).arg(rules.with_file_name("alerts.test.yml")).output();
    let tested = tested.expect("promtool runs");
    assert!(tested.status.success(), "{}", String::from_utf8_lossy(&tested.stderr));
}
