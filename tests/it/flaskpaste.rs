//! What FlaskPaste's users rely on, row by row, at `/paste`.

use ddrop::access::Policy;
use ddrop::api::paste::{Health, Info, Message, Paste};
use ddrop::server::Pastes;
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};

use crate::app::{Setup, TestApp, files};
use crate::caller::{Caller, Credentials, expect_problem};
use crate::planted::plant_content;

/// A server where everyone may make pastes.
pub async fn open_app() -> TestApp {
    with_rules(|_| ()).await
}

pub async fn with_rules(change: impl FnOnce(&mut Pastes)) -> TestApp {
    let mut setup = Setup::default();
    setup.settings.policy = Policy { allow_anonymous: true, allow_untrusted: true };
    change(&mut setup.settings.pastes);
    TestApp::with(setup).await
}

pub fn new(who: &Caller, body: impl Into<reqwest::Body>) -> RequestBuilder {
    let body = body.into();
    plant_content(body.as_bytes().unwrap_or_default());
    who.request(Method::POST, "/paste/").body(body)
}

pub async fn made(request: RequestBuilder) -> Paste {
    let response = request.send().await.expect("answered");
    assert_eq!(response.status(), StatusCode::CREATED, "{}", response.text().await.unwrap_or_default());
    response.json().await.expect("a paste")
}

async fn sent(request: RequestBuilder) -> Response {
    request.send().await.expect("answered")
}

async fn text(response: Response) -> String {
    response.text().await.expect("text")
}

/// Someone with a certificate nobody vouched for.
pub fn stranger(app: &TestApp) -> Caller {
    Caller::new(app, Some(Credentials::self_signed("stranger", app.app.clock.now().to_offset())))
}

#[tokio::test]
async fn f1_a_paste_is_made_of_a_body_or_of_json() {
    let app = open_app().await;
    let alice = app.client("alice").await;
    let answer = sent(new(&alice, "hello")).await;
    assert_eq!(answer.status(), StatusCode::CREATED);
    let location = answer.headers()["location"].to_str().expect("text").to_owned();
    let raw: Value = answer.json().await.expect("JSON");
    let id = raw["id"].as_str().expect("an id");
    let now = app.app.clock.now().as_secs();
    let expected = json!({
        "id": id,
        "url": format!("/paste/{id}"),
        "raw": format!("/paste/{id}/raw"),
        "mime_type": "text/plain; charset=utf-8",
        "size": 5,
        "sha256": "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
        "created_at": now,
        "expires_at": now + 30 * 24 * 3600,
        "owner": raw["owner"],
    });
    assert_eq!((&raw, location.as_str()), (&expected, format!("/paste/{id}").as_str()));
    assert!(raw["owner"].as_str().is_some_and(|owner| owner.starts_with("client:")));
    let json = new(&alice, r#"{"content": "h\u00e9llo"}"#).header("content-type", "application/json; charset=utf-8");
    let paste = made(json).await;
    assert_eq!((paste.size, paste.mime_type.as_str()), (6, "text/plain; charset=utf-8"));
    assert_eq!(text(alice.get(&paste.raw).await).await, "h\u{e9}llo");
    let nobody = made(app.anonymous().request(Method::POST, "/paste").body("without a slash")).await;
    assert_eq!(nobody.owner, None);
    // It is a link like all others.
    let own: ddrop::api::Links = alice.get("/api/links").await.json().await.expect("links");
    assert_eq!(own.links.len(), 2);
    assert_eq!(text(alice.get(&format!("/{}", paste.id)).await).await, "h\u{e9}llo");
    app.close().await;
}

#[tokio::test]
async fn f1_no_content_is_no_paste() {
    let app = open_app().await;
    let alice = app.client("alice").await;
    let problem = expect_problem(sent(new(&alice, "")).await, 400, "empty").await;
    assert_eq!(problem.error, "No content provided");
    for body in ["{}", "[]", "{\"content\": 5}", "{\"content\"", "", "null"] {
        let request = new(&alice, body).header("content-type", "application/json");
        expect_problem(sent(request).await, 400, "empty").await;
    }
    let empty = new(&alice, "{\"content\": \"\"}").header("content-type", "application/json");
    expect_problem(sent(empty).await, 400, "empty").await;
    // A refused upload is answered before its bytes are deleted; no sweeper has to do that.
    let (folder, _) = app.stop().await;
    assert!(files(folder.path()).is_empty(), "{:?}", files(folder.path()));
}

#[tokio::test]
async fn f1_who_may_not_upload_makes_no_pastes() {
    let app = TestApp::start().await;
    expect_problem(sent(new(&app.anonymous(), "x")).await, 401, "unauthenticated").await;
    expect_problem(sent(new(&stranger(&app), "x")).await, 403, "untrusted").await;
    expect_problem(sent(new(&app.anonymous().with_token("planted-wrong"), "x")).await, 401, "invalid_token").await;
    app.close().await;
}

#[tokio::test]
async fn f2_metadata_is_for_whoever_has_the_id_and_never_burns() {
    let app = open_app().await;
    let (alice, bob) = (app.client("alice").await, app.client("bob").await);
    let paste = made(new(&alice, "once").header("x-burn-after-read", "true")).await;
    assert_eq!(paste.burn_after_read, Some(true));
    for _ in 0..3 {
        for who in [&bob, &app.anonymous()] {
            let seen: Value = who.get(&paste.url).await.json().await.expect("JSON");
            assert_eq!(seen["burn_after_read"], true);
            assert!(seen.get("owner").is_none() && seen.get("password_protected").is_none(), "{seen}");
            let head = sent(who.request(Method::HEAD, &paste.url)).await;
            assert_eq!(head.status(), StatusCode::OK);
            assert_eq!(head.headers()["content-type"], "application/json");
            assert_eq!(text(head).await, "");
        }
    }
    let own: Paste = alice.get(&paste.url).await.json().await.expect("a paste");
    assert_eq!(own, paste);
    assert_eq!(text(bob.get(&paste.raw).await).await, "once", "it is still there");
    expect_problem(bob.get(&paste.url).await, 410, "gone").await;
    expect_problem(bob.get("/paste/0123456789abcdef").await, 404, "not_found").await;
    expect_problem(bob.get("/paste/..%2f..%2fetc").await, 404, "not_found").await;
    app.close().await;
}

#[tokio::test]
async fn f3_content_comes_as_it_went_in() {
    let app = open_app().await;
    let alice = app.client("alice").await;
    let bytes: Vec<u8> = (0..300_000_u32).map(|n| n.to_le_bytes()[1]).collect();
    let paste = made(new(&alice, bytes.clone()).header("content-type", "application/x-thing")).await;
    let head = sent(app.anonymous().request(Method::HEAD, &paste.raw)).await;
    let get = app.anonymous().get(&paste.raw).await;
    for answer in [&head, &get] {
        let header = |name: &str| answer.headers()[name].to_str().expect("text");
        assert_eq!(header("content-type"), "application/x-thing");
        assert_eq!(header("content-disposition"), "inline");
        assert_eq!(header("content-length"), "300000");
        assert_eq!(header("x-content-type-options"), "nosniff");
        assert!(header("content-security-policy").contains("sandbox"));
    }
    assert_eq!(get.bytes().await.expect("read"), bytes);
    let part = sent(alice.request(Method::GET, &paste.raw).header("range", "bytes=10-19")).await;
    assert_eq!(part.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(part.bytes().await.expect("read"), bytes[10..20]);
    app.close().await;
}

#[tokio::test]
async fn f5_a_paste_is_deleted_by_its_owner_or_an_admin() {
    let app = open_app().await;
    let (alice, bob, admin) = (app.client("alice").await, app.client("bob").await, app.admin().await);
    let paste = made(new(&alice, "x")).await;
    let delete = async |who: &Caller, path: &str| sent(who.request(Method::DELETE, path)).await;
    expect_problem(delete(&app.anonymous(), &paste.url).await, 401, "unauthenticated").await;
    expect_problem(delete(&app.anonymous(), "/paste/nosuchpaste").await, 401, "unauthenticated").await;
    expect_problem(delete(&bob, &paste.url).await, 403, "not_owner").await;
    expect_problem(delete(&bob, "/paste/nosuchpaste").await, 404, "not_found").await;
    let answer: Message = delete(&alice, &paste.url).await.json().await.expect("a message");
    assert_eq!(answer.message, "Paste deleted");
    assert!(app.files().is_empty());
    expect_problem(delete(&alice, &paste.url).await, 410, "gone").await;
    let nobodys = made(new(&app.anonymous(), "x")).await;
    expect_problem(delete(&alice, &nobodys.url).await, 403, "not_owner").await;
    assert_eq!(delete(&admin, &nobodys.url).await.status(), StatusCode::OK);
    app.close().await;
}

#[tokio::test]
async fn f7_it_says_what_it_is_and_how_it_is() {
    let app = open_app().await;
    for path in ["/paste", "/paste/"] {
        let info: Value = app.anonymous().get(path).await.json().await.expect("JSON");
        for key in ["name", "version", "endpoints", "usage", "note"] {
            assert!(info.get(key).is_some(), "no {key}");
        }
        let info: Info = serde_json::from_value(info).expect("as described");
        assert!(info.endpoints.contains_key("POST /paste/"), "{:?}", info.endpoints);
        assert!(info.usage["raw"].contains(&app.url("/paste/")), "{:?}", info.usage);
    }
    let health: Value = app.anonymous().get("/paste/health").await.json().await.expect("JSON");
    assert_eq!(health, json!({"status": "healthy", "database": "ok"}));
    let files = app.folder().join("files");
    let elsewhere = app.folder().join("elsewhere");
    std::fs::rename(&files, &elsewhere).expect("moved");
    std::fs::write(&files, "").expect("in the way");
    let answer = app.anonymous().get("/paste/health").await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    let health: Health = answer.json().await.expect("JSON");
    assert_eq!((health.status.as_str(), health.database.as_str()), ("unhealthy", "error"));
    std::fs::remove_file(&files).expect("removed");
    std::fs::rename(&elsewhere, &files).expect("moved back");
    app.close().await;
}

#[tokio::test]
async fn f15_pastes_have_limits_of_their_own() {
    let app = with_rules(|rules| (rules.max_anonymous, rules.max_known) = (1000, 2000)).await;
    let (alice, nobody) = (app.client("alice").await, app.anonymous());
    let stream = |size: usize| {
        let pieces = (0..size.div_ceil(100)).map(|_| Ok::<_, std::io::Error>("x".repeat(100)));
        reqwest::Body::wrap_stream(futures_util::stream::iter(pieces))
    };
    let json = |size: usize| json!({"content": "\u{1}".repeat(size)}).to_string();
    for (who, limit) in [(&nobody, 1000), (&stranger(&app), 2000), (&alice, 2000)] {
        made(new(who, "x".repeat(limit))).await;
        made(new(who, stream(limit))).await;
        made(new(who, json(limit)).header("content-type", "application/json")).await;
        for over in [
            new(who, "x".repeat(limit + 1)),
            new(who, stream(limit + 100)),
            new(who, json(limit + 1)).header("content-type", "application/json"),
        ] {
            let answer = sent(over).await;
            let status = answer.status();
            // What is far too long for JSON of this size is not read to its end.
            assert!(status == StatusCode::PAYLOAD_TOO_LARGE || status == StatusCode::BAD_REQUEST, "{status}");
        }
        expect_problem(sent(new(who, "x".repeat(limit + 1))).await, 413, "too_large").await;
    }
    // A refused upload is answered before its bytes are deleted.
    let (folder, _) = app.stop().await;
    assert_eq!(files(folder.path()).len(), 9, "and of those that were too large nothing is left");
}

#[tokio::test]
async fn f18_exactly_one_of_many_readers_gets_what_burns() {
    let app = open_app().await;
    let alice = app.client("alice").await;
    for raw in [true, false] {
        let paste = made(new(&alice, "secret").header("x-burn-after-read", "true")).await;
        let path = if raw { paste.raw.clone() } else { format!("/{}", paste.id) };
        let mut readers = tokio::task::JoinSet::new();
        for n in 0..16 {
            let (who, path) = (app.anonymous(), path.clone());
            readers.spawn(async move {
                let request = who.request(Method::GET, &path);
                let request = if n % 2 == 0 { request.header("range", "bytes=0-") } else { request };
                let answer = sent(request).await;
                (answer.status().is_success(), text(answer).await)
            });
        }
        let answers = readers.join_all().await;
        let winners: Vec<_> = answers.iter().filter(|(won, _)| *won).collect();
        assert_eq!(winners, [&(true, "secret".to_owned())]);
        expect_problem(alice.get(&path).await, 410, "gone").await;
    }
    app.close().await;
}

#[tokio::test]
async fn f18_head_and_a_range_are_the_one_reading_and_so_is_one_that_was_cut_off() {
    let app = open_app().await;
    let alice = app.client("alice").await;
    let burning = async |bytes: Vec<u8>| made(new(&alice, bytes).header("x-burn-after-read", "TRUE")).await;
    let paste = burning(b"secret".to_vec()).await;
    let head = sent(app.anonymous().request(Method::HEAD, &paste.raw)).await;
    assert_eq!((head.status(), head.headers()["content-length"].as_bytes()), (StatusCode::OK, &b"6"[..]));
    expect_problem(alice.get(&paste.raw).await, 410, "gone").await;

    let paste = burning(b"secret".to_vec()).await;
    let head = sent(app.anonymous().request(Method::HEAD, &format!("/{}", paste.id))).await;
    assert_eq!(head.status(), StatusCode::OK, "at our own path that is no reading");
    let part = sent(app.anonymous().request(Method::GET, &paste.raw).header("range", "bytes=0-1")).await;
    assert_eq!((part.status(), text(part).await.as_str()), (StatusCode::PARTIAL_CONTENT, "se"));
    expect_problem(alice.get(&paste.raw).await, 410, "gone").await;
    let paste = burning(b"secret".to_vec()).await;
    expect_problem(sent(alice.request(Method::GET, &paste.raw).header("range", "bytes=6-")).await, 416, "range").await;
    assert_eq!(text(alice.get(&paste.raw).await).await, "secret", "a range there is not is no reading");

    let paste = burning(vec![7; 1_000_000]).await;
    let cut = app.anonymous();
    let mut answer = cut.get(&paste.raw).await;
    assert!(answer.chunk().await.expect("a piece").is_some_and(|piece| piece.len() < 1_000_000));
    drop((answer, cut));
    expect_problem(alice.get(&paste.raw).await, 410, "gone").await;
    app.close().await;
}

#[tokio::test]
async fn f18_nonsense_is_not_taken_for_no() {
    let app = open_app().await;
    let alice = app.client("alice").await;
    for (value, burns) in [("false", None), ("0", None), (" ", None), ("1", Some(true)), ("yes", Some(true))] {
        let paste = made(new(&alice, value).header("x-burn-after-read", value)).await;
        assert_eq!(paste.burn_after_read, burns, "{value:?}");
    }
    expect_problem(sent(new(&alice, "x").header("x-burn-after-read", "maybe")).await, 400, "bad_request").await;
    let twice = new(&alice, "x").header("x-burn-after-read", "true").header("x-burn-after-read", "false");
    expect_problem(sent(twice).await, 400, "bad_request").await;
    app.close().await;
}

#[tokio::test]
async fn f20_a_name_for_people() {
    let app = open_app().await;
    let alice = app.client("alice").await;
    let longest = "\u{e9}".repeat(127) + "x";
    for name in ["Notes of Monday", longest.as_str(), "na\u{ef}ve.txt"] {
        let paste = made(new(&alice, "x").header("x-display-name", name.as_bytes())).await;
        assert_eq!(paste.display_name.as_deref(), Some(name));
        let raw = alice.get(&paste.raw).await;
        assert!(raw.headers()["content-disposition"].to_str().expect("text").starts_with("inline; filename="));
        let native: ddrop::api::Link =
            alice.get(&format!("/api/links/{}", paste.id)).await.json().await.expect("a link");
        assert_eq!(native.name.as_deref(), Some(name));
    }
    for bad in ["x".repeat(129).as_bytes(), b"tab\there", "turned\u{202e}".as_bytes(), b"\xff\xfe", b"a/b"] {
        expect_problem(sent(new(&alice, "x").header("x-display-name", bad)).await, 400, "bad_request").await;
    }
    let named = new(&app.anonymous(), "x").header("x-display-name", "mine");
    expect_problem(sent(named).await, 401, "unauthenticated").await;
    app.close().await;
}

#[tokio::test]
async fn f36_the_prefix_is_a_setting_and_may_be_said_twice() {
    let app = with_rules(|rules| "/tools/bin".clone_into(&mut rules.prefix)).await;
    let alice = app.client("alice").await;
    let paste = made(alice.request(Method::POST, "/tools/bin").body("x")).await;
    assert_eq!(paste.raw, format!("/tools/bin/{}/raw", paste.id));
    assert_eq!(text(alice.get(&paste.raw).await).await, "x");
    // What a client makes of the server https://host/tools/bin and the path it was answered.
    let twice = alice.get(&format!("/tools/bin{}", paste.raw)).await;
    assert_eq!(
        (twice.status(), twice.headers()["location"].as_bytes()),
        (StatusCode::PERMANENT_REDIRECT, paste.raw.as_bytes())
    );
    expect_problem(
        alice.request(Method::POST, "/paste").body("x").send().await.expect("answered"),
        405,
        "method_not_allowed",
    )
    .await;
    app.close().await;
}
