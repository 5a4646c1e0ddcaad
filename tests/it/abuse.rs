//! Abuse prevention: FlaskPaste's rows F9 to F14, for every way links are made.

use std::net::IpAddr;
use std::time::Duration;

use ddrop::abuse::{Puzzle, Rate};
use ddrop::api;
use ddrop::identity::Tier;
use futures_util::future::join_all;
use reqwest::{Method, Response, StatusCode};
use ring::digest::{SHA256, digest};

use crate::app::{Setup, TestApp};
use crate::caller::{Caller, Credentials, client_config, expect_problem};

const MINUTE: Duration = Duration::from_secs(60);

/// Open to everyone, for 8 bits of work.
fn open() -> Setup {
    let mut setup = Setup::default();
    setup.settings.policy.allow_anonymous = true;
    setup.settings.policy.allow_untrusted = true;
    setup.settings.abuse.gate.difficulty = 8;
    setup
}

/// Open to everyone, for nothing.
fn free() -> Setup {
    let mut setup = open();
    setup.settings.abuse.gate.difficulty = 0;
    setup
}

async fn challenge(caller: &Caller) -> api::Challenge {
    caller.get("/api/challenge").await.json().await.expect("a challenge")
}

/// A challenge's token and its solution.
async fn work(caller: &Caller) -> (String, String) {
    let challenge = challenge(caller).await;
    assert!(challenge.enabled);
    let puzzle = Puzzle::new(&challenge.nonce.expect("a nonce"), challenge.difficulty);
    let solution = puzzle.search(0, 1, u64::MAX).expect("a solution");
    (challenge.token.expect("a token"), solution.to_string())
}

async fn paste(caller: &Caller, (token, solution): &(String, String), content: &str) -> Response {
    let request = caller.request(Method::POST, "/").header("x-pow-token", token).header("x-pow-solution", solution);
    request.body(content.to_owned()).send().await.expect("answered")
}

fn number(response: &Response, name: &str) -> i64 {
    let value = response.headers().get(name).unwrap_or_else(|| panic!("no {name}"));
    value.to_str().expect("text").parse().expect("a number")
}

/// Somebody without a certificate, from another address of this machine.
fn stranger_at(app: &TestApp, address: &str) -> Caller {
    let address: IpAddr = address.parse().expect("an address");
    let http = reqwest::Client::builder()
        .tls_backend_preconfigured(client_config(&app.root_pem(), None))
        .local_address(address)
        .no_proxy()
        .build()
        .expect("a client");
    Caller { http, ..app.anonymous() }
}

#[tokio::test]
async fn f9_strangers_work_for_each_link_and_clients_do_not() {
    let app = TestApp::with(open()).await;
    let nobody = app.anonymous();
    let made_up = Caller::new(&app, Some(Credentials::self_signed("mallory", time::OffsetDateTime::now_utc())));
    for stranger in [&nobody, &made_up] {
        for (method, path) in [(Method::POST, "/"), (Method::POST, "/api/upload"), (Method::PUT, "/x.txt")] {
            let response = stranger.request(method, path).body("x").send().await.expect("answered");
            let problem = expect_problem(response, 400, "pow_required").await;
            assert_eq!(problem.error, "Proof-of-work required");
        }
        let response = paste(stranger, &work(stranger).await, "x").await;
        assert_eq!(response.status(), StatusCode::CREATED, "{}", response.text().await.unwrap_or_default());
    }
    let whoami: api::Whoami = made_up.get("/api/whoami").await.json().await.expect("JSON");
    assert_eq!((whoami.tier, whoami.limits.pow_difficulty), (Tier::Untrusted, 8));
    assert_eq!(whoami.limits.creations_per_minute, Some(60));
    let alice = app.client("alice").await;
    let none = challenge(&alice).await;
    assert_eq!((none.enabled, none.difficulty, none.token), (false, 0, None));
    alice.upload("x").await;
    app.close().await;
}

#[tokio::test]
async fn f9_a_challenge_is_what_flaskpastes_clients_expect() {
    let app = TestApp::with(open()).await;
    let json: serde_json::Value = app.anonymous().get("/api/challenge").await.json().await.expect("JSON");
    let mut keys: Vec<_> = json.as_object().expect("an object").keys().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["base_difficulty", "difficulty", "elevated", "enabled", "expires", "nonce", "token"]);
    let nonce = json["nonce"].as_str().expect("text");
    assert!(nonce.len() == 32 && nonce.bytes().all(|b| b.is_ascii_hexdigit()));
    let token: Vec<&str> = json["token"].as_str().expect("text").split(':').collect();
    let [in_token, expires, difficulty, mac] = token.as_slice() else { panic!("{token:?}") };
    assert_eq!((*in_token, *expires, *difficulty), (nonce, json["expires"].to_string().as_str(), "8"));
    assert_eq!(mac.len(), 64);
    assert_eq!((&json["elevated"], &json["base_difficulty"]), (&false.into(), &8.into()));
    app.close().await;
    let closed = TestApp::start().await;
    let json: serde_json::Value = closed.anonymous().get("/api/challenge").await.json().await.expect("JSON");
    assert_eq!(json, serde_json::json!({"enabled": false, "difficulty": 0}), "nothing to work for");
    closed.close().await;
}

#[tokio::test]
async fn f9_each_token_works_once_also_when_raced_and_across_a_restart() {
    let app = TestApp::with(open()).await;
    let nobody = app.anonymous();
    let solved = work(&nobody).await;
    let answers = join_all((0..20).map(|n| {
        let (nobody, solved) = (nobody.clone(), solved.clone());
        async move { paste(&nobody, &solved, &format!("racer {n}")).await.status().as_u16() }
    }))
    .await;
    assert_eq!(answers.iter().filter(|status| **status == 201).count(), 1, "{answers:?}");
    assert_eq!(answers.iter().filter(|status| **status == 400).count(), 19, "{answers:?}");
    let unused = work(&nobody).await;
    let (folder, clock) = app.stop().await;
    let again = TestApp::on(folder, clock, open()).await;
    let nobody = again.anonymous();
    let problem = expect_problem(paste(&nobody, &solved, "x").await, 400, "pow_failed").await;
    assert_eq!(problem.error, "Proof-of-work failed");
    assert_eq!(paste(&nobody, &unused, "y").await.status(), StatusCode::CREATED, "what was worked for still counts");
    let late = work(&nobody).await;
    again.clock.advance(Duration::from_secs(300));
    expect_problem(paste(&nobody, &late, "z").await, 400, "pow_failed").await;
    again.close().await;
}

#[tokio::test]
async fn f9_what_is_refused_for_another_reason_uses_up_no_work() {
    let mut setup = open();
    setup.settings.policy.allow_untrusted = false;
    let app = TestApp::with(setup).await;
    let solved = work(&app.anonymous()).await;
    let made_up = Caller::new(&app, Some(Credentials::self_signed("mallory", time::OffsetDateTime::now_utc())));
    expect_problem(paste(&made_up, &solved, "x").await, 403, "untrusted").await;
    let nonce = solved.0.split(':').next().expect("a nonce");
    let no_zeros = |n: &u64| digest(&SHA256, format!("{nonce}:{n}").as_bytes()).as_ref()[0] != 0;
    let wrong = (solved.0.clone(), (0..).find(no_zeros).expect("most are wrong").to_string());
    expect_problem(paste(&app.anonymous(), &wrong, "x").await, 400, "pow_failed").await;
    assert_eq!(paste(&app.anonymous(), &solved, "x").await.status(), StatusCode::CREATED);
    app.close().await;
}

#[tokio::test]
async fn f10_a_flood_makes_it_dearer_and_calm_cheaper_again() {
    let mut setup = open();
    setup.settings.abuse.gate.flood.most = 12;
    setup.settings.abuse.gate.duplicates.most = 0;
    let app = TestApp::with(setup).await;
    let nobody = app.anonymous();
    let early = work(&nobody).await;
    for n in 0..31 {
        let response = paste(&nobody, &work(&nobody).await, &format!("paste {n}")).await;
        assert_eq!(response.status(), StatusCode::CREATED);
    }
    let dearer = challenge(&nobody).await;
    assert_eq!((dearer.difficulty, dearer.base_difficulty, dearer.elevated), (10, Some(8), Some(true)));
    let problem = expect_problem(paste(&nobody, &early, "x").await, 400, "pow_failed").await;
    assert!(problem.hint.is_some_and(|hint| hint.contains("easier")));
    assert_eq!(paste(&nobody, &work(&nobody).await, "x").await.status(), StatusCode::CREATED);
    app.clock.advance(MINUTE + Duration::from_secs(30));
    let calm = challenge(&nobody).await;
    assert_eq!((calm.difficulty, calm.elevated), (8, Some(false)));
    app.close().await;
}

#[tokio::test]
async fn f10_what_clients_make_is_no_flood() {
    let app = TestApp::with(open()).await;
    let alice = app.client("alice").await;
    for n in 0..40 {
        alice.upload(format!("{n}")).await;
    }
    assert_eq!(challenge(&app.anonymous()).await.difficulty, 8);
    app.close().await;
}

#[tokio::test]
async fn f11_an_address_makes_sixty_a_minute_and_is_told_the_truth() {
    let app = TestApp::with(free()).await;
    let nobody = app.anonymous();
    let begun = app.clock_seconds();
    for n in 0..60 {
        let response = nobody.try_upload("", format!("{n}")).await;
        assert_eq!(response.status(), StatusCode::CREATED);
        assert_eq!(number(&response, "x-ratelimit-limit"), 60);
        assert_eq!(number(&response, "x-ratelimit-remaining"), 59 - n);
        let reset = number(&response, "x-ratelimit-reset");
        assert!((begun + n + 1..=begun + n + 2).contains(&reset), "{reset} after {n}, begun at {begun}");
    }
    for (method, path) in [(Method::POST, "/"), (Method::POST, "/api/upload"), (Method::PUT, "/x.txt")] {
        let response = nobody.request(method, path).body("x").send().await.expect("answered");
        assert_eq!(number(&response, "x-ratelimit-remaining"), 0);
        assert_eq!(number(&response, "retry-after"), 1);
        expect_problem(response, 429, "rate_limited").await;
    }
    let elsewhere = stranger_at(&app, "127.0.0.2");
    assert_eq!(elsewhere.try_upload("", "elsewhere").await.status(), StatusCode::CREATED);
    app.clock.advance(Duration::from_secs(1));
    assert_eq!(nobody.try_upload("", "again").await.status(), StatusCode::CREATED);
    assert_eq!(nobody.try_upload("", "and again").await.status(), StatusCode::TOO_MANY_REQUESTS);
    app.close().await;
}

#[tokio::test]
async fn f11_a_client_makes_five_times_as_many_whatever_others_at_its_address_do() {
    let mut setup = free();
    setup.settings.abuse.gate.rate = Some(Rate { most: 4, per: MINUTE });
    let app = TestApp::with(setup).await;
    let nobody = app.anonymous();
    while nobody.try_upload("", "x").await.status() == StatusCode::CREATED {}
    let (alice, bob) = (app.client("alice").await, app.client("bob").await);
    let racing = join_all((0..30).map(|_| async { alice.try_upload("", "x").await.status().as_u16() })).await;
    assert_eq!(racing.iter().filter(|status| **status == 201).count(), 20, "also when they race: {racing:?}");
    let again = alice.again(&app);
    expect_problem(again.try_upload("", "x").await, 429, "rate_limited").await;
    bob.upload("x").await;
    assert_eq!(alice.get("/api/links").await.status(), StatusCode::OK, "nothing else is refused");
    app.close().await;
}

#[tokio::test]
async fn f11_other_content_counts_like_another_link() {
    let mut setup = free();
    setup.settings.abuse.gate.rate = Some(Rate { most: 3, per: MINUTE });
    let app = TestApp::with(setup).await;
    let own = Caller::new(&app, Some(Credentials::self_signed("mallory", time::OffsetDateTime::now_utc())));
    let link = own.upload("first").await;
    let put = async |path: &str, content: &'static str| {
        own.request(Method::PUT, path).body(content).send().await.expect("answered")
    };
    let (native, dialect) = (format!("/api/links/{}/content", link.id), format!("/paste/{}", link.id));
    assert_eq!(put(&native, "second").await.status(), StatusCode::OK);
    assert_eq!(put(&dialect, "third").await.status(), StatusCode::OK);
    for path in [&native, &dialect] {
        expect_problem(put(path, "fourth").await, 429, "rate_limited").await;
    }
    assert_eq!(own.get(&format!("/{}", link.id)).await.text().await.expect("text"), "third");
    app.clock.advance(MINUTE / 3);
    assert_eq!(put(&native, "fourth").await.status(), StatusCode::OK);
    app.close().await;
}

#[tokio::test]
async fn f11_ids_cannot_be_guessed() {
    let app = TestApp::start().await;
    let alice = app.client("alice").await;
    let link = alice.upload("x").await;
    let nobody = app.anonymous();
    for _ in 0..100 {
        assert_eq!(nobody.status(Method::GET, "/favicon.ico").await, StatusCode::NOT_FOUND, "no id looks like that");
    }
    let guesses = join_all((0..200).map(|n| {
        let nobody = nobody.clone();
        async move { nobody.status(Method::GET, &format!("/guess{n:011}")).await.as_u16() }
    }))
    .await;
    let told = guesses.iter().filter(|status| **status == 404).count();
    assert!((30..=34).contains(&told), "{told} were told that there is no such link");
    assert_eq!(guesses.len() - told, guesses.iter().filter(|status| **status == 429).count());
    let limited = nobody.get(&format!("/{}", link.id)).await;
    assert_eq!(number(&limited, "retry-after"), 2);
    expect_problem(limited, 429, "rate_limited").await;
    assert_eq!(nobody.get("/health").await.status(), StatusCode::OK, "what looks up no id goes on");
    assert_eq!(alice.get(&format!("/{}", link.id)).await.status(), StatusCode::OK, "clients are not held liable");
    assert_eq!(stranger_at(&app, "127.0.0.3").get(&format!("/{}", link.id)).await.status(), StatusCode::OK);
    app.clock.advance(Duration::from_secs(2));
    assert_eq!(nobody.get(&format!("/{}", link.id)).await.status(), StatusCode::OK, "when it was said");
    app.close().await;
}

#[tokio::test]
async fn f11_a_client_guesses_no_ids_either() {
    let app = TestApp::start().await;
    let alice = app.client("alice").await;
    for n in 0..150 {
        let paths = [format!("/api/links/guess{n:05}"), format!("/guess{n:05}"), format!("/guess{n:05}/name")];
        assert_eq!(alice.get(&paths[n % 3]).await.status(), StatusCode::NOT_FOUND);
    }
    expect_problem(alice.get("/api/links/guess").await, 429, "rate_limited").await;
    expect_problem(alice.post("/api/links/guess/expire").await, 429, "rate_limited").await;
    alice.upload("x").await;
    app.close().await;
}

#[tokio::test]
async fn f11_what_has_ended_is_no_guess() {
    let app = TestApp::start().await;
    let alice = app.client("alice").await;
    let link = alice.upload("x").await;
    alice.post(&format!("/api/links/{}/expire", link.id)).await;
    let nobody = app.anonymous();
    for _ in 0..100 {
        assert_eq!(nobody.status(Method::GET, &format!("/{}", link.id)).await, StatusCode::GONE);
    }
    app.close().await;
}

#[tokio::test]
async fn tokens_cannot_be_guessed() {
    let app = TestApp::with(Setup { token: Some("planted-right"), ..Setup::default() }).await;
    let (right, wrong) = (app.anonymous().with_token("planted-right"), app.anonymous().with_token("planted-wrong"));
    for _ in 0..10 {
        right.upload("a right one never counts").await;
        expect_problem(wrong.get("/api/links").await, 401, "invalid_token").await;
    }
    expect_problem(wrong.get("/api/links").await, 429, "rate_limited").await;
    let limited = right.get("/api/links").await;
    assert_eq!(number(&limited, "retry-after"), 6);
    expect_problem(limited, 429, "rate_limited").await;
    let alice = app.client("alice").await;
    assert_eq!(alice.get("/api/links").await.status(), StatusCode::OK, "certificates go on");
    let elsewhere = stranger_at(&app, "127.0.0.2").with_token("planted-right");
    assert_eq!(elsewhere.get("/api/links").await.status(), StatusCode::OK);
    app.clock.advance(Duration::from_secs(6));
    assert_eq!(right.get("/api/links").await.status(), StatusCode::OK);
    app.close().await;
}

#[tokio::test]
async fn one_address_has_its_share_of_requests_and_clients_have_any_number() {
    let mut setup = Setup::default();
    setup.settings.abuse.requests = Some(Rate { most: 5, per: MINUTE });
    let app = TestApp::with(setup).await;
    let alice = app.client("alice").await;
    let link = alice.upload("x").await;
    let nobody = stranger_at(&app, "127.0.0.4");
    let mut statuses = Vec::new();
    for _ in 0..7 {
        statuses.push(nobody.get(&format!("/{}", link.id)).await.status().as_u16());
    }
    assert_eq!(statuses, [200, 200, 200, 200, 200, 429, 429]);
    for _ in 0..50 {
        assert_eq!(nobody.get("/health").await.status(), StatusCode::OK, "a probe goes on");
        assert_eq!(alice.get(&format!("/{}", link.id)).await.status(), StatusCode::OK);
    }
    app.close().await;
}

#[tokio::test]
async fn f12_the_same_paste_is_taken_three_times_an_hour() {
    let app = TestApp::with(free()).await;
    let nobody = app.anonymous();
    let post = async |caller: &Caller| caller.request(Method::POST, "/").body("spam").send().await.expect("answered");
    for _ in 0..3 {
        assert_eq!(post(&nobody).await.status(), StatusCode::CREATED);
    }
    let refused = post(&stranger_at(&app, "127.0.0.2")).await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS, "from wherever it comes");
    assert_eq!(number(&refused, "retry-after"), 3600);
    let json: serde_json::Value = refused.json().await.expect("JSON");
    assert_eq!(json["code"], "duplicate");
    assert_eq!(json["error"], "Duplicate content rate limit exceeded");
    assert_eq!((&json["count"], &json["window_seconds"]), (&3.into(), &3600.into()));
    assert_eq!(nobody.try_upload("", "spam").await.status(), StatusCode::TOO_MANY_REQUESTS, "also as a file");
    let alice = app.client("alice").await;
    for _ in 0..3 {
        assert_eq!(post(&alice).await.status(), StatusCode::CREATED, "strangers use up nothing of hers");
    }
    assert_eq!(post(&alice).await.status(), StatusCode::TOO_MANY_REQUESTS);
    for _ in 0..10 {
        alice.upload("spam").await;
    }
    app.clock.advance(Duration::from_secs(3600));
    assert_eq!(post(&nobody).await.status(), StatusCode::CREATED);
    app.close().await;
}

#[tokio::test]
async fn f12_of_many_that_race_three_are_taken() {
    let app = TestApp::with(free()).await;
    let nobody = app.anonymous();
    let answers = join_all((0..20).map(|_| async {
        nobody.request(Method::POST, "/").body("spam").send().await.expect("answered").status().as_u16()
    }))
    .await;
    assert_eq!(answers.iter().filter(|status| **status == 201).count(), 3, "{answers:?}");
    app.close().await;
}

#[tokio::test]
async fn f13_what_is_too_regular_is_refused_whoever_brings_it() {
    let mut setup = free();
    setup.settings.abuse.gate.content.min_entropy = 7.0;
    let app = TestApp::with(setup).await;
    let alice = app.client("alice").await;
    let text = "it was the best of times, it was the worst of times. ".repeat(20);
    for (method, path) in [(Method::POST, "/"), (Method::POST, "/api/upload"), (Method::PUT, "/x.txt")] {
        let response = alice.request(method, path).body(text.clone()).send().await.expect("answered");
        assert_eq!(response.status(), StatusCode::BAD_REQUEST);
        let json: serde_json::Value = response.json().await.expect("JSON");
        assert_eq!((&json["error"], &json["min_entropy"]), (&"Content entropy too low".into(), &7.0.into()));
        assert_eq!(json["code"], "low_entropy");
        let entropy = json["entropy"].as_f64().expect("a number");
        assert!((3.0..4.5).contains(&entropy) && json["hint"].is_string(), "{json}");
    }
    alice.upload(text[..255].to_owned()).await;
    alice.upload((0..4096_u32).map(|n| (n % 256) as u8).collect::<Vec<_>>()).await;
    app.close().await;
}

#[tokio::test]
async fn f14_what_is_too_small_is_refused() {
    let mut setup = free();
    setup.settings.abuse.gate.content.min_size = 10;
    let app = TestApp::with(setup).await;
    let alice = app.client("alice").await;
    let problem = expect_problem(alice.try_upload("", "123456789").await, 400, "too_small").await;
    assert_eq!(problem.error, "Paste too small");
    let form = reqwest::multipart::Form::new().part("file", reqwest::multipart::Part::text("123456789"));
    let response = alice.request(Method::POST, "/api/upload").multipart(form).send().await.expect("answered");
    expect_problem(response, 400, "too_small").await;
    alice.upload("1234567890").await;
    app.close().await;
}
