//! What DeadDrop's users rely on, row by row (D1–D11), where no other test of these has it already.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use ddrop::api;
use ddrop::units::Ttl;
use reqwest::{Method, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::app::{Setup, TestApp};
use crate::caller::{Caller, Credentials, expect_problem};
use crate::wire;

/// A form as it would be on the wire, for names that an HTTP client would not let through.
fn form(parts: &[(&str, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (head, content) in parts {
        body.extend_from_slice(format!("--edge\r\nContent-Disposition: form-data; {head}\r\n\r\n").as_bytes());
        body.extend_from_slice(content);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"--edge--\r\n");
    body
}

async fn send_form(who: &Caller, parts: &[(&str, &[u8])]) -> reqwest::Response {
    let request = who.request(Method::POST, "/api/upload").header("content-type", "multipart/form-data; boundary=edge");
    request.body(form(parts)).send().await.expect("answered")
}

#[tokio::test]
async fn d1_an_upload_answers_id_url_and_end() {
    let app = TestApp::start().await;
    let alice = app.client("alice").await;
    let answer = send_form(&alice, &[("name=\"file\"; filename=\"a\"", b"a"), ("name=\"ttl\"", b"30m")]).await;
    assert_eq!(answer.status(), StatusCode::CREATED);
    let body: serde_json::Value = answer.json().await.expect("JSON");
    assert_eq!(body["url"], app.url(&format!("/{}", body["id"].as_str().expect("an id"))));
    let end = body["expires_at"].as_str().expect("a time");
    let parsed = time::OffsetDateTime::parse(end, &time::format_description::well_known::Rfc3339).expect("RFC 3339");
    let left = parsed.unix_timestamp() - app.app.clock.now().to_offset().unix_timestamp();
    assert!((1799..=1800).contains(&left), "{left}");
    app.close().await;
}

#[tokio::test]
async fn d1_a_file_part_needs_no_name_and_an_empty_one_is_none() {
    let app = TestApp::start().await;
    let alice = app.client("alice").await;
    for head in ["name=\"file\"", "name=\"file\"; filename=\"\"", "name=\"file\"; filename=\"..\""] {
        let link: api::Link = send_form(&alice, &[(head, b"x")]).await.json().await.expect("a link");
        assert_eq!(link.name, None, "{head}");
        let answer = app.anonymous().get(&link.url).await;
        assert_eq!(answer.headers()["content-disposition"], "attachment", "{head}");
        assert_eq!(answer.text().await.expect("text"), "x");
    }
    let named = send_form(&alice, &[("name=\"file\"", b"x"), ("name=\"name\"", b"later.txt")]).await;
    assert_eq!(named.json::<api::Link>().await.expect("a link").name.as_deref(), Some("later.txt"));
    app.close().await;
}

#[tokio::test]
async fn d2_names_are_stored_safe_and_offered_right() {
    let app = TestApp::start().await;
    let alice = app.client("alice").await;
    let long = format!("{}.tar", "n".repeat(296));
    let wide = "\u{e9}".repeat(300);
    let cut_wide = "\u{e9}".repeat(127);
    let cut_long = format!("{}.tar", "n".repeat(251));
    for (given, kept) in [
        ("plain.txt", Some("plain.txt")),
        ("na\u{ef}ve \u{1f680}.pdf", Some("na\u{ef}ve \u{1f680}.pdf")),
        ("say \"hi\".txt", Some("say \"hi\".txt")),
        ("it's; a=b, 50%.txt", Some("it's; a=b, 50%.txt")),
        ("../../etc/passwd", Some("passwd")),
        ("/etc/shadow", Some("shadow")),
        ("..\\..\\boot.ini", Some("boot.ini")),
        (".bashrc", Some(".bashrc")),
        ("a\u{7}b\u{1b}[2J.txt", Some("ab[2J.txt")),
        ("x\r\nSet-Cookie: a=b", Some("xSet-Cookie: a=b")),
        ("exe.\u{202e}gpj", Some("exe.gpj")),
        ("..", None),
        ("...", None),
        ("a/", None),
        (" ", None),
        (&long, Some(&*cut_long)),
        (&wide, Some(&*cut_wide)),
    ] {
        let raw = alice.request(Method::POST, "/api/upload").query(&[("name", given)]).body("x").send().await;
        let link: api::Link = raw.expect("answered").json().await.expect("a link");
        assert_eq!(link.name.as_deref(), kept, "{given:?}");
        let answer = app.anonymous().get(&link.url).await;
        let said = answer.headers()["content-disposition"].to_str().expect("plain text").to_owned();
        let read = ddrop::client::transfer::headers::file_name(&said).map(|name| name.to_string());
        assert_eq!(read.as_deref(), kept, "{said}");
        assert!(!answer.headers().contains_key("set-cookie"));
    }
    let stray = app.files().iter().filter(|path| path.to_string_lossy().contains("passwd")).count();
    assert_eq!(stray, 0, "a name is never a path");
    app.close().await;
}

#[tokio::test]
async fn d2_a_forms_names_are_read_as_each_program_writes_them() {
    let app = TestApp::start().await;
    let alice = app.client("alice").await;
    let long = format!("name=\"file\"; filename=\"{}.tar\"", "n".repeat(296));
    let cut_long = format!("{}.tar", "n".repeat(251));
    for (head, kept) in [
        ("name=\"file\"; filename=\"na\u{ef}ve \u{1f680}.pdf\"", "na\u{ef}ve \u{1f680}.pdf"),
        ("name=\"file\"; filename=\"say %22hi%22.txt\"", "say \"hi\".txt"),
        ("name=\"file\"; filename=\"say \\\"hi\\\".txt\"", "say \"hi\".txt"),
        ("name=\"file\"; filename=\"C:\\Users\\me\\a.txt\"", "a.txt"),
        ("name=\"file\"; filename=\"../../etc/passwd\"", "passwd"),
        ("name=\"file\"; filename*=UTF-8''..%2F..%2Fetc%2Fna%C3%AFve%0d%0a.txt", "na\u{ef}ve.txt"),
        ("name=\"file\"; filename=\"=?UTF-8?B?bmHDr3ZlLnR4dA==?=\"", "na\u{ef}ve.txt"),
        (&long, &cut_long),
    ] {
        // Beside it the empty field of a page's form, which says nothing.
        let answer = send_form(&alice, &[("name=\"name\"", b""), ("name=\"ttl\"", b""), (head, b"x")]).await;
        assert_eq!(answer.status(), StatusCode::CREATED, "{head}");
        let link: api::Link = answer.json().await.expect("a link");
        assert_eq!(link.name.as_deref(), Some(kept), "{head}");
    }
    app.close().await;
}

#[tokio::test]
async fn d3_everybodys_links_are_an_admins_or_nothing() {
    let app = TestApp::with(Setup { token: Some("planted-right"), ..Setup::default() }).await;
    let (admin, alice) = (app.admin().await, app.client("alice").await);
    alice.upload("hers").await;
    let count = async |who: &Caller, query: &str| {
        let answer = who.get(&format!("/api/links{query}")).await;
        assert_eq!(answer.status(), StatusCode::OK, "{query}");
        answer.json::<api::Links>().await.expect("links").links.len()
    };
    expect_problem(alice.get("/api/links?all=true").await, 403, "not_admin").await;
    expect_problem(alice.get("/api/links?all=true&own=true").await, 403, "not_admin").await;
    assert_eq!(
        (count(&alice, "").await, count(&alice, "?all=false").await, count(&alice, "?own=true").await),
        (1, 1, 1)
    );
    for all in [&admin, &app.anonymous().with_token("planted-right")] {
        assert_eq!((count(all, "?all=true").await, count(all, "").await, count(all, "?own=true").await), (1, 1, 0));
    }
    app.close().await;
}

#[tokio::test]
async fn d2_head_answers_as_get_does_without_a_body() {
    let app = TestApp::start().await;
    let link = app.client("alice").await.upload_with("?name=a.txt", "0123456789").await;
    let anyone = app.anonymous();
    let etag = format!("\"{}\"", link.sha256);
    for (name, value) in [("accept", "*/*"), ("if-none-match", etag.as_str()), ("if-none-match", "\"other\"")] {
        let ask = async |method| anyone.request(method, &link.url).header(name, value).send().await.expect("answered");
        let (head, get) = (ask(Method::HEAD).await, ask(Method::GET).await);
        assert_eq!(head.status(), get.status(), "{name}: {value}");
        for same in ["content-length", "content-type", "etag", "content-disposition", "repr-digest", "accept-ranges"] {
            assert_eq!(head.headers().get(same), get.headers().get(same), "{name}: {value}: {same}");
        }
        assert_eq!(head.bytes().await.expect("read").len(), 0);
    }
    let ranged = anyone.request(Method::HEAD, &link.url).header("range", "bytes=2-3").send().await.expect("answered");
    assert_eq!((ranged.status(), &ranged.headers()["content-length"]), (StatusCode::OK, &"10".parse().expect("ten")));
    for ended in ["/nosuchlink123456", "/xy"] {
        assert_eq!(anyone.status(Method::HEAD, ended).await, StatusCode::NOT_FOUND);
    }
    app.close().await;
}

#[tokio::test]
async fn d4_expiring_answers_the_link_each_time() {
    let app = TestApp::start().await;
    let alice = app.client("alice").await;
    let link = alice.upload_with("?name=a.txt", "x").await;
    let path = format!("/api/links/{}/expire", link.id);
    let mut ends = Vec::new();
    for _ in 0..2 {
        let answer = alice.post(&path).await;
        assert_eq!(answer.status(), StatusCode::OK);
        assert!(app.files().is_empty(), "the file is gone when it answers");
        let ended: api::Link = answer.json().await.expect("a link");
        assert_eq!((&ended.id, ended.name.as_deref()), (&link.id, Some("a.txt")));
        assert!(ended.expires_at.is_some_and(|end| end <= app.app.clock.now()));
        ends.push(ended.expires_at);
    }
    assert_eq!(ends.first(), ends.last(), "it ended once");
    let racing = alice.upload("y").await;
    let path = format!("/api/links/{}/expire", racing.id);
    let answers = futures_util::future::join_all((0..8).map(|_| alice.post(&path))).await;
    assert!(answers.iter().all(|answer| answer.status() == StatusCode::OK));
    app.close().await;
}

#[tokio::test]
async fn d6_whoever_shows_no_token_is_told_in_deaddrops_words() {
    let app = TestApp::with(Setup { token: Some("planted-right"), ..Setup::default() }).await;
    let closed = [
        (Method::POST, "/api/upload"),
        (Method::PUT, "/x.txt"),
        (Method::GET, "/api/links"),
        (Method::GET, "/api/stats"),
        (Method::GET, "/api/links/abcdefgh"),
        (Method::POST, "/api/links/abcdefgh/expire"),
    ];
    let wrong =
        ["Bearer planted-wrong", "Bearer ", "bearer planted-Right", "Basic cGxhbnRlZC1yaWdodA==", "planted-right"];
    for (method, path) in closed {
        let none = app.anonymous().request(method.clone(), path).body("x").send().await.expect("answered");
        assert!(none.headers()["www-authenticate"].to_str().expect("text").starts_with("Bearer"));
        let problem = expect_problem(none, 401, "unauthenticated").await;
        assert_eq!(problem.error, "Invalid or missing token", "{path}");
        for value in wrong {
            let answer = app.anonymous().request(method.clone(), path).header("authorization", value).body("x").send();
            let problem = expect_problem(answer.await.expect("answered"), 401, "invalid_token").await;
            assert_eq!(problem.error, "Invalid or missing token", "{path}: {value}");
        }
        // So many wrong ones a minute are heard.
        app.clock.advance(Duration::from_secs(60));
    }
    let right = app.anonymous().with_token("planted-right");
    assert_eq!(right.try_upload("", "x").await.status(), StatusCode::CREATED);
    app.close().await;
}

#[tokio::test]
async fn d8_for_ever_is_only_where_the_maximum_is() {
    let mut setup = Setup { token: Some("planted-right"), ..Setup::default() };
    setup.settings.lifetimes.max = Ttl::Forever;
    let app = TestApp::with(setup).await;
    let alice = app.client("alice").await;
    let link = alice.upload_with("?ttl=inf", "x").await;
    assert_eq!(link.expires_at, None);
    app.clock.advance(Duration::from_secs(10 * 365 * 24 * 3600));
    assert_eq!(app.anonymous().status(Method::GET, &link.url).await, StatusCode::OK);
    let operator = app.anonymous().with_token("planted-right");
    assert_eq!(operator.status(Method::DELETE, &format!("/api/links/{}", link.id)).await, StatusCode::OK);
    app.close().await;
}

/// The status line of the answer to a request that asked before sending its body.
async fn asked_first(app: &TestApp, who: Option<&Credentials>, head: &str) -> String {
    let mut tls = wire::tls(app, who, b"http/1.1").await;
    let head = format!("POST /api/upload HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\n{head}\r\n\r\n");
    tls.write_all(head.as_bytes()).await.expect("written");
    let mut answer = [0; 12];
    tls.read_exact(&mut answer).await.expect("answered");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn d9_d10_who_asks_first_is_told_before_sending_also_with_a_form() {
    let app = TestApp::with(Setup { max_storage: 400_000, ..Setup::default() }).await;
    let alice = app.client("alice").await;
    let credentials = alice.credentials.clone().expect("a certificate");
    let form = "content-type: multipart/form-data; boundary=edge";
    let stranger = Credentials::self_signed("mallory", app.app.clock.now().to_offset());
    for kind in ["content-type: text/plain", form] {
        for (who, length, status) in [
            (None, 10, "401"),
            (Some(&stranger), 10, "403"),
            (Some(&credentials), 99_000_000, "413"),
            (Some(&credentials), 900_000, "507"),
            (Some(&credentials), 10, "100"),
        ] {
            let answer = asked_first(&app, who, &format!("{kind}\r\ncontent-length: {length}")).await;
            assert_eq!(answer, format!("HTTP/1.1 {status}"), "{kind}");
        }
    }
    app.close().await;
}

/// What reads forms may run ahead of what is written: that must never be taken for too much beside the file.
#[tokio::test]
async fn d1_a_large_form_comes_in_pieces_of_any_size() {
    let mut setup = Setup::default();
    setup.settings.max_file_size = 8 * 1024 * 1024;
    let app = TestApp::with(setup).await;
    let alice = app.client("alice").await;
    let whole = form(&[("name=\"file\"; filename=\"a\"", &vec![7; 6 * 1024 * 1024])]);
    for size in [1000, 64 * 1024, 300_000, 2 * 1024 * 1024] {
        let pieces: Vec<Result<Vec<u8>, std::io::Error>> = whole.chunks(size).map(|c| Ok(c.to_vec())).collect();
        let request = alice.request(Method::POST, "/api/upload");
        let request = request.header("content-type", "multipart/form-data; boundary=edge");
        let body = reqwest::Body::wrap_stream(futures_util::stream::iter(pieces));
        let answer = request.body(body).send().await.expect("answered");
        assert_eq!(answer.status(), StatusCode::CREATED, "in pieces of {size}");
        let link: api::Link = answer.json().await.expect("a link");
        assert_eq!(alice.status(Method::DELETE, &format!("/api/links/{}", link.id)).await, StatusCode::OK);
    }
    app.close().await;
}

#[tokio::test]
async fn d9_a_form_of_unknown_length_is_cut_off_at_the_limit() {
    let app = TestApp::start().await;
    let alice = app.client("alice").await;
    for (size, status) in [(1024 * 1024, 201), (1024 * 1024 + 1, 413)] {
        let whole = form(&[("name=\"file\"; filename=\"a\"", &vec![7; size])]);
        let pieces: Vec<Result<Vec<u8>, std::io::Error>> = whole.chunks(100_000).map(|c| Ok(c.to_vec())).collect();
        let request = alice.request(Method::POST, "/api/upload");
        let request = request.header("content-type", "multipart/form-data; boundary=edge");
        let body = reqwest::Body::wrap_stream(futures_util::stream::iter(pieces));
        let answer = request.body(body).send().await.expect("answered");
        assert_eq!(answer.status().as_u16(), status, "{size} {}", answer.text().await.unwrap_or_default());
    }
    app.close().await;
}

#[tokio::test]
async fn d10_the_quota_counts_what_lies_around() {
    let app = TestApp::with(Setup { max_storage: 1000, ..Setup::default() }).await;
    let alice = app.client("alice").await;
    std::fs::write(app.folder().join("files/stray"), [0; 600]).expect("written");
    let stats = app.counted(&alice, 600).await;
    assert_eq!((stats.links, stats.bytes, stats.capacity), (0, 600, 1000));
    let problem = expect_problem(alice.try_upload("", vec![1; 401]).await, 507, "storage_full").await;
    assert_eq!(problem.error, "Storage limit exceeded");
    assert_eq!(alice.try_upload("", vec![1; 400]).await.status(), StatusCode::CREATED);
    app.close().await;
}

#[tokio::test]
async fn d11_a_sweep_is_made_at_the_start() {
    let app = TestApp::start().await;
    app.client("alice").await.upload_with("?ttl=1h", "over by then").await;
    let (folder, clock) = app.stop().await;
    std::fs::write(folder.path().join("files/stray"), "nobody's").expect("written");
    clock.advance(Duration::from_secs(3601));
    let app = TestApp::on(folder, clock, Setup::default()).await;
    for _ in 0..1000 {
        if app.files().is_empty() {
            break;
        }
        assert_eq!(app.anonymous().status(Method::GET, "/health").await, StatusCode::OK);
    }
    assert_eq!(app.files(), Vec::<PathBuf>::new());
    app.close().await;
}

/// Bytes that no two places have alike.
fn content(size: u32) -> Vec<u8> {
    (0..size / 4).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect()
}

/// Has a downloader finish a file whose beginning is there already, and answers what came of it. The beginning is
/// marked, so that it can be told from one that was fetched again.
async fn finish(app: &TestApp, url: &str, program: &'static str, arguments: &[&str]) -> (bool, Vec<u8>) {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("ca.crt"), app.root_pem()).expect("written");
    std::fs::write(folder.path().join("half"), vec![b'#'; 1 << 20]).expect("written");
    let mut command = Command::new(program);
    command.args(arguments).arg(url).current_dir(folder.path()).env("HOME", folder.path());
    let path = folder.path().join("half");
    let output = tokio::task::spawn_blocking(move || command.output()).await.expect("joined");
    let output = output.expect("curl, wget and aria2c are needed here: apt-get install curl wget aria2");
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    let bytes = std::fs::read(path).expect("there");
    let kept = bytes.starts_with(&[b'#'; 1 << 20]);
    (kept, bytes)
}

#[tokio::test]
async fn d2_broken_downloads_are_finished_by_curl_wget_and_aria2c() {
    let mut setup = Setup { max_storage: 64 << 20, ..Setup::default() };
    setup.settings.max_file_size = 16 << 20;
    let app = TestApp::with(setup).await;
    let whole = content(8 << 20);
    let url = app.client("alice").await.upload_with("?name=half", whole.clone()).await.url;
    let runs: [(&'static str, &[&str]); 3] = [
        ("curl", &["-sS", "--fail", "--cacert", "ca.crt", "-C", "-", "-o", "half"]),
        ("wget", &["-q", "--ca-certificate=ca.crt", "-c", "-O", "half"]),
        (
            "aria2c",
            &[
                "-q",
                "--no-conf",
                "--ca-certificate=ca.crt",
                "-c",
                "-x4",
                "-s4",
                "-k1M",
                "--file-allocation=none",
                "-o",
                "half",
            ],
        ),
    ];
    for (program, arguments) in runs {
        let (kept, bytes) = finish(&app, &url, program, arguments).await;
        assert!(kept, "{program} began anew");
        assert_eq!(bytes.len(), whole.len(), "{program}");
        assert!(bytes[1 << 20..] == whole[1 << 20..], "{program} has other bytes");
    }
    app.close().await;
}
