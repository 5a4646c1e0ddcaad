//! How wrong guesses are counted, and right ones are not.

use std::time::Duration;

use ddrop::authority::Actor;
use ddrop::token::Secret;
use pki::key::{Algorithm, Key};
use reqwest::{Method, Response, StatusCode};

use crate::app::TestApp;
use crate::caller::expect_problem;
use crate::planted::plant;

fn csr() -> String {
    pki::request::make(&Key::generate(Algorithm::P256).expect("a key"), "whoever").expect("a request")
}

async fn enroll(app: &TestApp, secret: &str) -> Response {
    let request = app.anonymous().request(Method::POST, "/pki/enroll").body(csr());
    request.header("authorization", format!("Invite {secret}")).send().await.expect("answered")
}

async fn est(app: &TestApp, secret: &str) -> Response {
    let request = app.anonymous().request(Method::POST, "/.well-known/est/simpleenroll").body(csr());
    request.basic_auth("anyone", Some(secret)).send().await.expect("answered")
}

fn guess() -> String {
    let guess = Secret::random().expect("random bytes").reveal().to_owned();
    plant("a wrong invite", &guess);
    guess
}

#[tokio::test]
async fn wrong_guesses_are_limited_and_both_doors_count_as_one() {
    let app = TestApp::start().await;
    for _ in 0..3 {
        expect_problem(enroll(&app, &guess()).await, 403, "invite_unknown").await;
    }
    for _ in 0..2 {
        expect_problem(est(&app, &guess()).await, 401, "invite_unknown").await;
    }
    for answer in [enroll(&app, &guess()).await, est(&app, &guess()).await] {
        let wait: u64 = answer.headers()["retry-after"].to_str().expect("text").parse().expect("seconds");
        assert!((1..=12).contains(&wait), "{wait}");
        expect_problem(answer, 429, "rate_limited").await;
    }
    app.clock.advance(Duration::from_secs(12));
    expect_problem(enroll(&app, &guess()).await, 403, "invite_unknown").await;
    expect_problem(enroll(&app, &guess()).await, 429, "rate_limited").await;
    app.close().await;
}

#[tokio::test]
async fn a_right_invite_is_taken_also_from_where_others_guess() {
    let app = TestApp::start().await;
    for _ in 0..5 {
        expect_problem(enroll(&app, &guess()).await, 403, "invite_unknown").await;
    }
    let (used, late, taken_back) =
        (app.invite("alice", false).await, app.invite("bob", false).await, app.invite("carol", false).await);
    let all = app.app.authority.invites().await.expect("invites");
    let id = all.into_iter().find(|invite| invite.name == "carol").expect("an invite").id;
    let by = Actor { name: "operator".to_owned(), address: None };
    assert!(app.app.authority.withdraw_invite(&by, &id).await.expect("withdrawn"));
    let lines = async || app.app.authority.audit(1000).await.expect("the record").len();
    for open in [enroll(&app, used.reveal()).await, est(&app, app.invite("dora", false).await.reveal()).await] {
        assert_eq!(open.status(), StatusCode::OK);
    }
    let before = lines().await;
    for _ in 0..3 {
        expect_problem(enroll(&app, &guess()).await, 429, "rate_limited").await;
        expect_problem(enroll(&app, used.reveal()).await, 429, "rate_limited").await;
        expect_problem(est(&app, taken_back.reveal()).await, 429, "rate_limited").await;
    }
    assert_eq!(lines().await, before, "what is over the limit is not even a line");
    // A right one does not open the door for wrong ones, nor does one that cannot be used.
    let bad = app.anonymous().request(Method::POST, "/pki/enroll").body("nonsense");
    let bad = bad.header("authorization", format!("Invite {}", late.reveal())).send().await.expect("answered");
    expect_problem(bad, 400, "bad_signing_request").await;
    expect_problem(enroll(&app, &guess()).await, 429, "rate_limited").await;
    app.clock.advance(Duration::from_secs(3600));
    expect_problem(enroll(&app, late.reveal()).await, 403, "invite_expired").await;
    app.close().await;
}

#[tokio::test]
async fn guesses_that_race_are_counted_one_by_one() {
    let app = TestApp::start().await;
    let caller = app.anonymous();
    let guesses = (0..40).map(|_| {
        let request = caller.request(Method::POST, "/pki/enroll").body(csr());
        request.header("authorization", format!("Invite {}", guess())).send()
    });
    let answers = futures_util::future::join_all(guesses).await;
    let looked_at = answers.into_iter().filter(|a| a.as_ref().expect("answered").status() == 403).count();
    assert!((5..=8).contains(&looked_at), "{looked_at} guesses were looked at");
    app.close().await;
}

#[tokio::test]
async fn right_ones_are_never_counted() {
    let app = TestApp::start().await;
    for n in 0..20 {
        let secret = app.invite(&format!("client{n}"), false).await;
        let answer = if n % 2 == 0 { enroll(&app, secret.reveal()).await } else { est(&app, secret.reveal()).await };
        assert_eq!(answer.status(), StatusCode::OK, "{n}");
    }
    app.close().await;
}

#[tokio::test]
async fn a_used_invite_tried_again_and_again_counts_too() {
    let app = TestApp::start().await;
    let secret = app.invite("alice", false).await;
    assert_eq!(enroll(&app, secret.reveal()).await.status(), StatusCode::OK);
    for _ in 0..5 {
        expect_problem(enroll(&app, secret.reveal()).await, 403, "invite_used").await;
    }
    expect_problem(enroll(&app, secret.reveal()).await, 429, "rate_limited").await;
    app.close().await;
}
