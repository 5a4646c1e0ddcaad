//! How wrong guesses are counted, and right ones are not.

use std::time::Duration;

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
    let right = app.invite("alice", false).await;
    let answer = enroll(&app, right.reveal()).await;
    assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS, "an answer would tell that this one is right");
    app.clock.advance(Duration::from_secs(12));
    assert_eq!(enroll(&app, right.reveal()).await.status(), StatusCode::OK);
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
