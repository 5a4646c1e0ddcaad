//! FlaskPaste's rows on changing, listing, ending and shortening, and its way to hand out the client.

use std::time::Duration;

use ddrop::api;
use ddrop::api::paste::{Paste, Pastes, ShortUrl, ShortUrls};
use ddrop::identity::Sha256;
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};

use crate::app::TestApp;
use crate::caller::{Caller, expect_problem};
use crate::flaskpaste::{made, new, open_app, stranger, with_rules};

const DAY: Duration = Duration::from_secs(24 * 3600);

async fn send(who: &Caller, method: Method, path: &str, body: &'static str) -> Response {
    who.request(method, path).body(body).send().await.expect("answered")
}

async fn text(who: &Caller, path: &str) -> String {
    who.get(path).await.text().await.expect("text")
}

#[tokio::test]
async fn f4_content_is_replaced_by_its_owner_or_an_admin() {
    let app = open_app().await;
    let (alice, bob, admin) = (app.client("alice").await, app.client("bob").await, app.admin().await);
    let old = made(new(&alice, "old").header("x-display-name", "name")).await;
    for (who, status, code) in [(&app.anonymous(), 401, "unauthenticated"), (&bob, 403, "not_owner")] {
        expect_problem(send(who, Method::PUT, &old.url, "new").await, status, code).await;
    }
    expect_problem(send(&alice, Method::PUT, "/paste/nosuchpaste", "new").await, 404, "not_found").await;
    expect_problem(send(&alice, Method::PUT, &old.url, "").await, 400, "empty").await;
    assert_eq!(text(&alice, &old.raw).await, "old");
    let new_one: Paste = send(&alice, Method::PUT, &old.url, "<!DOCTYPE html>").await.json().await.expect("a paste");
    assert_eq!((new_one.id, new_one.size, new_one.mime_type.as_str()), (old.id.clone(), 15, "text/html"));
    assert_eq!((new_one.created_at, new_one.display_name.as_deref()), (old.created_at, Some("name")));
    assert_eq!(text(&bob, &old.raw).await, "<!DOCTYPE html>");
    let put = |name: &'static str, value: &'static str| alice.request(Method::PUT, &old.url).header(name, value);
    let renamed: Paste = put("x-display-name", "other").send().await.expect("answered").json().await.expect("a paste");
    assert_eq!((renamed.display_name.as_deref(), renamed.size), (Some("other"), 15), "headers alone are a change too");
    let bare: Paste = put("x-remove-display-name", "true")
        .header("content-type", "application/json")
        .body(r#"{"content": "again"}"#)
        .send()
        .await
        .expect("answered")
        .json()
        .await
        .expect("a paste");
    assert_eq!((bare.display_name, bare.size), (None, 5));
    let locked = put("x-paste-password", "planted-secret").send().await.expect("answered");
    assert_eq!(locked.status(), StatusCode::OK);
    expect_problem(bob.get(&old.raw).await, 401, "password_required").await;
    assert_eq!(put("x-remove-password", "true").send().await.expect("answered").status(), StatusCode::OK);
    assert_eq!(send(&admin, Method::PUT, &old.url, "by an admin").await.status(), StatusCode::OK);
    assert_eq!(text(&bob, &old.raw).await, "by an admin");
    let burning = made(new(&alice, "once").header("x-burn-after-read", "true")).await;
    expect_problem(send(&alice, Method::PUT, &burning.url, "twice").await, 400, "bad_request").await;
    assert_eq!(text(&alice, &burning.raw).await, "once");
    app.close().await;
}

#[tokio::test]
async fn f4_readers_get_the_old_content_or_the_new_one_whole() {
    let app = with_rules(|_| ()).await;
    let alice = app.client("alice").await;
    let content = |n: u8| vec![b'a' + n % 26; 100_000 + usize::from(n) * 1000];
    let paste = made(new(&alice, content(0))).await;
    let reading = {
        let (reader, raw) = (app.anonymous(), paste.raw.clone());
        tokio::spawn(async move {
            let mut seen = 0;
            for _ in 0..60 {
                let answer = reader.get(&raw).await;
                assert_eq!(answer.status(), StatusCode::OK);
                let etag = answer.headers()["etag"].to_str().expect("text").to_owned();
                let bytes = answer.bytes().await.expect("whole");
                assert_eq!(etag, format!("\"{}\"", Sha256::of(&bytes)), "what is said is what comes");
                assert!(bytes.iter().all(|byte| *byte == bytes[0]), "one content, not parts of two");
                seen += 1;
            }
            seen
        })
    };
    for n in 1..20 {
        let answer = alice.request(Method::PUT, &paste.url).body(content(n)).send().await.expect("answered");
        assert_eq!(answer.status(), StatusCode::OK);
    }
    assert_eq!(reading.await.expect("no panic"), 60);
    while app.files().len() > 1 {
        tokio::task::yield_now().await;
    }
    app.close().await;
}

#[tokio::test]
async fn f4_files_take_new_content_too() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.client("alice").await, app.client("bob").await);
    let link = alice.upload_with("?name=a.txt", "old").await;
    let path = format!("/api/links/{}/content", link.id);
    expect_problem(send(&bob, Method::PUT, &path, "new").await, 403, "not_owner").await;
    expect_problem(send(&app.anonymous(), Method::PUT, &path, "new").await, 401, "unauthenticated").await;
    expect_problem(send(&alice, Method::PUT, "/api/links/nosuchlink/content", "new").await, 404, "not_found").await;
    expect_problem(send(&alice, Method::PUT, &path, "").await, 400, "empty").await;
    let new: api::Link = send(&alice, Method::PUT, &path, "newer").await.json().await.expect("a link");
    assert_eq!((new.id.as_str(), new.size, new.name.as_deref()), (link.id.as_str(), 5, Some("a.txt")));
    assert_eq!((new.created_at, new.expires_at), (link.created_at, link.expires_at));
    let named = send(&alice, Method::PUT, &format!("{path}?name=b.txt"), "newest").await;
    assert_eq!(named.json::<api::Link>().await.expect("a link").name.as_deref(), Some("b.txt"));
    assert_eq!(text(&bob, &link.url).await, "newest");
    let once = alice.upload_with("?burn=true", "once").await;
    let answer = send(&alice, Method::PUT, &format!("/api/links/{}/content", once.id), "twice").await;
    expect_problem(answer, 409, "read_once").await;
    let stats: api::Stats = alice.get("/api/stats").await.json().await.expect("stats");
    assert_eq!((stats.links, stats.link_bytes), (2, 10));
    let wish = serde_json::json!({"url": "https://elsewhere.example/"});
    let short = alice.request(Method::POST, "/api/shorten").json(&wish).send().await.expect("answered");
    let short: api::Link = short.json().await.expect("a link");
    let answer = send(&alice, Method::PUT, &format!("/api/links/{}/content", short.id), "bytes").await;
    expect_problem(answer, 409, "no_content").await;
    app.close().await;
}

#[tokio::test]
async fn f6_lists_are_of_ones_own_and_can_be_narrowed() {
    let app = open_app().await;
    let (alice, bob, admin) = (app.client("alice").await, app.client("bob").await, app.admin().await);
    let begun = app.app.clock.now().as_secs();
    for n in 0..5 {
        let kind = if n % 2 == 0 { "text/plain" } else { "image/png" };
        let name = format!("note 50% {n}");
        made(new(&alice, format!("{n}")).header("content-type", kind).header("x-display-name", name)).await;
        app.clock.advance(Duration::from_secs(10));
    }
    alice.upload("a file is no paste").await;
    made(new(&bob, "of bob")).await;
    let list = async |who: &Caller, query: &str| -> Pastes {
        who.get(&format!("/paste/pastes{query}")).await.json().await.expect("a list")
    };
    let all = list(&alice, "").await;
    assert_eq!((all.count, all.total, all.limit, all.offset), (5, 5, 50, 0));
    let names: Vec<_> = all.pastes.iter().map(|paste| paste.display_name.clone().expect("a name")).collect();
    assert_eq!(names, [4, 3, 2, 1, 0].map(|n| format!("note 50% {n}")));
    let raw: Value = alice.get("/paste/pastes?limit=1").await.json().await.expect("JSON");
    let time = raw["pastes"][0]["created_at"].as_str().expect("a time in words");
    assert!(time.contains('T') && time.ends_with('Z'), "{time}");
    assert!(raw["pastes"][0].get("owner").is_none());
    let second = list(&alice, "?limit=2&offset=3").await;
    assert_eq!((second.count, second.total, &second.pastes[..]), (2, 5, &all.pastes[3..]));
    assert_eq!(list(&alice, "?limit=1000").await.limit, 200);
    assert_eq!(list(&alice, "?offset=100").await.count, 0);
    for (query, total) in [
        ("type=image", 2),
        ("type=image/png", 2),
        ("type=image/*", 2),
        ("type=imag", 0),
        ("type=text/plain", 3),
        ("search=50%25+3", 1),
        ("search=NOTE", 5),
        ("search=_ote", 0),
        (&*format!("after={}", begun + 20), 3),
        (&*format!("before={}", begun + 20), 3),
        (&*format!("after={}&before={}", begun + 10, begun + 20), 2),
        ("after=2000-01-01T00:00:00Z", 5),
        ("before=2000-01-01T00:00:00Z", 0),
    ] {
        assert_eq!(list(&alice, &format!("?{query}")).await.total, total, "{query}");
    }
    expect_problem(alice.get("/paste/pastes?after=yesterday").await, 400, "bad_request").await;
    expect_problem(app.anonymous().get("/paste/pastes").await, 401, "unauthenticated").await;
    assert_eq!(list(&stranger(&app), "").await.total, 0);
    let everything = list(&admin, "").await;
    assert_eq!(everything.total, 6);
    assert!(everything.pastes.iter().all(|paste| paste.owner.is_some()));
    app.close().await;
}

#[tokio::test]
async fn f16_a_paste_that_is_read_lives_on_by_the_tier_of_its_maker() {
    let app = open_app().await;
    let (alice, stranger, nobody) = (app.client("alice").await, stranger(&app), app.anonymous());
    for (who, days, n) in [(&nobody, 1, 0), (&stranger, 7, 1), (&alice, 30, 2)] {
        let paste = made(new(who, format!("{n}"))).await;
        let now = app.app.clock.now().as_secs();
        assert_eq!(paste.expires_at, Some(now + days * 24 * 3600));
    }
    let (raw, meta, unread) =
        (made(new(&nobody, "raw")).await, made(new(&nobody, "meta")).await, made(new(&nobody, "x")).await);
    for _ in 0..3 {
        app.clock.advance(DAY * 2 / 3);
        assert_eq!(nobody.get(&raw.raw).await.status(), StatusCode::OK);
        let seen: Paste = nobody.get(&meta.url).await.json().await.expect("a paste");
        assert!(seen.expires_at.is_some_and(|end| end > app.app.clock.now().as_secs()));
        app.app.store.sweep().await.expect("swept");
    }
    expect_problem(nobody.get(&unread.url).await, 410, "gone").await;
    app.clock.advance(DAY);
    for paste in [&raw, &meta] {
        expect_problem(nobody.get(&paste.url).await, 410, "gone").await;
    }
    app.close().await;
}

#[tokio::test]
async fn f16_a_read_costs_no_write_most_of_the_time() {
    let app = open_app().await;
    let alice = app.client("alice").await;
    let paste = made(new(&alice, "popular")).await;
    let rows = rusqlite::Connection::open(app.folder().join("links.db")).expect("opened");
    // Changes whenever another connection has written.
    let version = || rows.query_row("PRAGMA data_version", [], |row| row.get::<_, i64>(0)).expect("read");
    // After the first upload rows are reserved ahead for others, once.
    let ahead = || rows.query_row("SELECT count(*) FROM links WHERE phase = 0", [], |row| row.get::<_, i64>(0));
    let begun = std::time::Instant::now();
    while ahead().expect("read") == 0 {
        assert!(begun.elapsed() < Duration::from_secs(60), "no rows are reserved");
        tokio::task::yield_now().await;
    }
    let before = version();
    for _ in 0..50 {
        app.clock.advance(Duration::from_secs(5));
        assert_eq!(alice.get(&paste.raw).await.status(), StatusCode::OK);
    }
    assert_eq!(app.app.store.write_touches().await.expect("written"), 0, "250 s are not worth noting in 30 days");
    assert_eq!(version(), before, "fifty readings were not one write");
    app.clock.advance(Duration::from_secs(100));
    for _ in 0..50 {
        assert_eq!(alice.get(&paste.raw).await.status(), StatusCode::OK);
    }
    // The server itself writes them down every few seconds: then there is nothing left to write here.
    assert!(app.app.store.write_touches().await.expect("written") <= 1, "fifty more are one");
    let seen: Paste = alice.get(&paste.url).await.json().await.expect("a paste");
    assert_eq!(seen.expires_at, paste.expires_at.map(|end| end + 350));
    app.close().await;
}

#[tokio::test]
async fn f17_a_lifetime_that_was_asked_for_is_fixed() {
    let app = open_app().await;
    let (alice, nobody) = (app.client("alice").await, app.anonymous());
    let asked = async |seconds: &str| {
        new(&alice, seconds.to_owned()).header("x-expiry", seconds).send().await.expect("answered")
    };
    let paste: Paste = asked("3600").await.json().await.expect("a paste");
    assert_eq!((paste.expires_at, paste.expiry_clamped), (Some(paste.created_at + 3600), None));
    app.clock.advance(Duration::from_secs(3599));
    assert_eq!(nobody.get(&paste.raw).await.status(), StatusCode::OK);
    app.clock.advance(Duration::from_secs(1));
    expect_problem(nobody.get(&paste.raw).await, 410, "gone").await;
    for over in ["2592001", "99999999999999999999999999"] {
        let paste: Paste = asked(over).await.json().await.expect("a paste");
        assert_eq!((paste.expires_at, paste.expiry_clamped), (Some(paste.created_at + 2_592_000), Some(true)));
    }
    let longest: Paste = asked("2592000").await.json().await.expect("a paste");
    assert_eq!(longest.expiry_clamped, None);
    for nonsense in ["0", "00", "-5", "+5", "1.5", "1e3", "1h", "soon", " ", "0x10"] {
        expect_problem(asked(nonsense).await, 400, "bad_request").await;
    }
    app.close().await;
}

#[tokio::test]
async fn f30_short_urls() {
    let app = open_app().await;
    let (alice, bob, admin) = (app.client("alice").await, app.client("bob").await, app.admin().await);
    let target = "https://b\u{fc}cher.example/a?b=c#d";
    let answer = send(&alice, Method::POST, "/paste/s", "https://b\u{fc}cher.example/a?b=c#d").await;
    assert_eq!(answer.status(), StatusCode::CREATED);
    let url: ShortUrl = answer.json().await.expect("a short URL");
    assert_eq!((url.id.len(), url.url.as_str()), (8, format!("/paste/s/{}", url.id).as_str()));
    assert!(url.id.bytes().all(|b| b.is_ascii_alphanumeric()));
    assert_eq!(url.target_url, "https://xn--bcher-kva.example/a?b=c#d", "{target}");
    for path in [url.url.clone(), format!("/{}", url.id)] {
        for method in [Method::GET, Method::HEAD] {
            let answer = send(&app.anonymous(), method, &path, "").await;
            assert_eq!(answer.status(), StatusCode::FOUND);
            assert_eq!(answer.headers()["location"], url.target_url.as_str());
            assert_eq!(answer.headers()["cache-control"], "no-store");
        }
    }
    let info: ShortUrl = bob.get(&format!("{}/info", url.url)).await.json().await.expect("info");
    assert_eq!((info.target_url, info.owner), (url.target_url.clone(), None));
    // Which of two made at once is the newer, nobody can say.
    app.clock.advance(Duration::from_secs(1));
    let json = alice.request(Method::POST, "/paste/s").json(&json!({"url": "http://example.org"})).send().await;
    assert_eq!(json.expect("answered").json::<ShortUrl>().await.expect("one").target_url, "http://example.org/");
    let own = async |who: &Caller, query: &str| -> ShortUrls {
        who.get(&format!("/paste/s{query}")).await.json().await.expect("a list")
    };
    assert_eq!((own(&alice, "").await.total, own(&bob, "").await.total, own(&admin, "").await.total), (2, 0, 2));
    let page = own(&alice, "?limit=1&offset=1").await;
    assert_eq!((page.count, page.urls[0].id.as_str()), (1, url.id.as_str()));
    // It is no paste, and a paste is no short URL.
    for path in [format!("/paste/{}", url.id), format!("/paste/{}/raw", url.id)] {
        expect_problem(alice.get(&path).await, 404, "not_found").await;
    }
    let paste = made(new(&alice, "x")).await;
    expect_problem(alice.get(&format!("/paste/s/{}", paste.id)).await, 404, "not_found").await;
    expect_problem(app.anonymous().get("/paste/s").await, 401, "unauthenticated").await;
    expect_problem(send(&app.anonymous(), Method::DELETE, &url.url, "").await, 401, "unauthenticated").await;
    expect_problem(send(&bob, Method::DELETE, &url.url, "").await, 403, "not_owner").await;
    assert_eq!(send(&alice, Method::DELETE, &url.url, "").await.status(), StatusCode::OK);
    expect_problem(alice.get(&url.url).await, 410, "gone").await;
    app.close().await;
}

#[tokio::test]
async fn f30_short_urls_lead_to_the_web_and_not_back() {
    let app = with_rules(|rules| rules.own_names = vec!["drop.example.org".to_owned()]).await;
    let alice = app.client("alice").await;
    let here = app.url("/x");
    for bad in [
        "javascript:alert(1)",
        "ftp://example.org/",
        "https://",
        "",
        "https://a@b.example/",
        "https://DROP.example.org./",
        "http://127.0.0.1:1/",
        here.as_str(),
    ] {
        let answer = alice.request(Method::POST, "/paste/s").body(bad.to_owned()).send().await.expect("answered");
        expect_problem(answer, 400, "bad_url").await;
        let native = alice.request(Method::POST, "/api/shorten").json(&json!({"url": bad})).send().await;
        expect_problem(native.expect("answered"), 400, "bad_url").await;
    }
    let native = alice.request(Method::POST, "/api/shorten").json(&json!({"url": "https://example.org", "ttl": "2h"}));
    let answer = native.send().await.expect("answered");
    assert_eq!(answer.status(), StatusCode::CREATED);
    let link: api::Link = answer.json().await.expect("a link");
    assert_eq!((link.target.as_deref(), link.url), (Some("https://example.org/"), app.url(&format!("/{}", link.id))));
    let listed: api::Links = alice.get("/api/links").await.json().await.expect("links");
    assert_eq!(listed.links[0].target.as_deref(), Some("https://example.org/"));
    expect_problem(
        send(&app.anonymous(), Method::GET, &format!("/api/links/{}", link.id), "").await,
        401,
        "unauthenticated",
    )
    .await;
    app.clock.advance(Duration::from_secs(2 * 3600));
    expect_problem(alice.get(&format!("/{}", link.id)).await, 410, "gone").await;
    let strict = TestApp::start().await;
    expect_problem(
        send(&strict.anonymous(), Method::POST, "/paste/s", "https://example.org/").await,
        401,
        "unauthenticated",
    )
    .await;
    strict.close().await;
    app.close().await;
}

#[tokio::test]
async fn f8_the_running_program_is_handed_out() {
    let app = TestApp::start().await;
    let own = std::fs::read("/proc/self/exe").expect("this test");
    let sha256 = Sha256::of(&own).to_string();
    for path in ["/client", "/paste/client"] {
        let answer = app.anonymous().get(path).await;
        let header = |name: &str| answer.headers()[name].to_str().expect("text").to_owned();
        assert_eq!((header("x-client-sha256"), header("content-length")), (sha256.clone(), own.len().to_string()));
        assert!(header("x-client-target").starts_with(std::env::consts::ARCH), "{}", header("x-client-target"));
        assert_eq!(header("content-disposition"), "attachment; filename=\"ddrop\"");
        assert!(answer.bytes().await.expect("read") == own);
        let head = send(&app.anonymous(), Method::HEAD, path, "").await;
        assert_eq!(head.headers()["content-length"], own.len().to_string().as_str());
        let tag = format!("\"{sha256}\"");
        let known = app.anonymous().request(Method::GET, path).header("if-none-match", tag).send().await;
        assert_eq!(known.expect("answered").status(), StatusCode::NOT_MODIFIED);
    }
    app.close().await;
}

#[tokio::test]
async fn f31_security_headers_are_on_every_answer() {
    let app = open_app().await;
    let alice = app.client("alice").await;
    let page = made(new(&alice, "<script>1</script>").header("content-type", "text/html")).await;
    let url: ShortUrl = send(&alice, Method::POST, "/paste/s", "https://example.org/").await.json().await.expect("one");
    let paths =
        ["/paste", "/paste/", "/paste/health", "/paste/pastes", "/paste/nosuchpaste", "/paste/a/b/c", "/client"];
    for path in paths.into_iter().chain([page.url.as_str(), &page.raw, &url.url]) {
        for method in [Method::GET, Method::HEAD, Method::PATCH] {
            let answer = send(&app.anonymous(), method.clone(), path, "").await;
            let header =
                |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
            let csp = header("content-security-policy");
            assert!(
                csp.contains("default-src 'none'") && csp.contains("frame-ancestors 'none'"),
                "{method} {path}: {csp}"
            );
            assert_eq!(header("x-content-type-options"), "nosniff", "{method} {path}");
            assert_eq!(header("x-frame-options"), "DENY");
            assert_eq!(header("referrer-policy"), "no-referrer");
            assert_eq!(header("cross-origin-resource-policy"), "same-origin");
            assert_eq!(header("strict-transport-security"), "max-age=63072000; includeSubDomains");
            assert!(!header("permissions-policy").is_empty() && !header("cache-control").is_empty());
        }
    }
    app.close().await;
}
