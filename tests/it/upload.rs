//! Bytes in.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ddrop::api;
use reqwest::{Method, StatusCode, multipart};

use crate::app::TestApp;
use crate::caller::expect_problem;

#[tokio::test]
async fn a_raw_body_comes_back_as_it_went() {
    let app = TestApp::start().await;
    let alice = app.client("alice").await;
    let bytes: Vec<u8> = (0..700_000_u32).map(|n| n.to_le_bytes()[n as usize % 4]).collect();
    let link = alice.upload_with("?name=build.tar.gz&ttl=2h", bytes.clone()).await;
    assert_eq!(link.name.as_deref(), Some("build.tar.gz"));
    assert_eq!(link.size, 700_000);
    assert_eq!(link.expires_at, Some(whole(app.app.clock.now().after(std::time::Duration::from_secs(7200)))));
    assert_eq!(link.url, app.url(&format!("/{}", link.id)));
    let answer = app.anonymous().get(&link.url).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()["content-disposition"], "attachment; filename=\"build.tar.gz\"");
    assert_eq!(answer.bytes().await.expect("bytes"), bytes);
    app.close().await;
}

fn whole(at: ddrop::units::Timestamp) -> ddrop::units::Timestamp {
    ddrop::units::Timestamp::from_secs(at.as_secs())
}

#[tokio::test]
async fn a_form_works_with_its_parts_in_any_order() {
    let app = TestApp::start().await;
    let alice = app.client("alice").await;
    let file = || multipart::Part::bytes(b"hello".to_vec()).file_name("../greeting \"1\".txt");
    let before = multipart::Form::new().text("ttl", "30m").part("file", file());
    let after = multipart::Form::new().part("file", file()).text("ttl", "30m");
    for form in [before, after] {
        let answer = alice.request(Method::POST, "/api/upload").multipart(form).send().await.expect("answered");
        assert_eq!(answer.status(), StatusCode::CREATED);
        let location = answer.headers()["location"].to_str().expect("text").to_owned();
        let link: api::Link = answer.json().await.expect("a link");
        assert_eq!(location, link.url);
        assert_eq!(link.name.as_deref(), Some("greeting \"1\".txt"));
        let end = app.app.clock.now().after(std::time::Duration::from_secs(1800));
        assert_eq!(link.expires_at, Some(whole(end)));
    }
    app.close().await;
}

#[tokio::test]
async fn forms_that_are_not_right_leave_nothing() {
    let app = TestApp::start().await;
    let alice = app.client("alice").await;
    let file = || multipart::Part::bytes(b"hello".to_vec()).file_name("a");
    let forms = [
        multipart::Form::new().text("ttl", "30m"),
        multipart::Form::new().part("file", file()).part("file", file()),
        multipart::Form::new().part("file", file()).text("ttl", "nonsense"),
        multipart::Form::new().part("file", file()).text("ttl", "50h"),
        multipart::Form::new().part("file", file()).text("burn", "perhaps"),
        multipart::Form::new().part("file", file()).text("surprise", "x"),
    ];
    for form in forms {
        let answer = alice.request(Method::POST, "/api/upload").multipart(form).send().await.expect("answered");
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    }
    app.app.store.sweep().await.expect("swept");
    assert!(app.files().is_empty());
    app.close().await;
}

#[tokio::test]
async fn a_form_without_end_beside_its_file_is_given_up_early() {
    let app = TestApp::start().await;
    let alice = app.client("alice").await;
    let begin = "--b\r\nContent-Disposition: form-data; name=\"ttl\"\r\n";
    let floods = [
        (String::new(), "before the first part. "),
        (format!("{begin}X-Long: "), "a part's header that does not end. "),
        (String::new(), "--b\r\nContent-Disposition: form-data; name=\"ttl\"\r\n\r\n30m\r\n"),
    ];
    for (first, then) in floods {
        let sent = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&sent);
        let pieces = std::iter::once(first).chain(std::iter::repeat_n(then.repeat(200), 8 * 1024)).map(move |piece| {
            count.fetch_add(piece.len(), Ordering::Relaxed);
            Ok::<_, std::io::Error>(piece)
        });
        let request = alice
            .request(Method::POST, "/api/upload")
            .header("content-type", "multipart/form-data; boundary=b")
            .body(reqwest::Body::wrap_stream(futures_util::stream::iter(pieces)));
        let problem = expect_problem(request.send().await.expect("answered"), 400, "bad_request").await;
        assert!(problem.detail.contains("beside its file"), "{}", problem.detail);
        assert!(sent.load(Ordering::Relaxed) < 24 * 1024 * 1024, "{sent:?}");
    }
    app.close().await;
}

#[tokio::test]
async fn put_and_pipe_answer_the_url_as_text() {
    let app = TestApp::start().await;
    let alice = app.client("alice").await;
    let put = alice.request(Method::PUT, "/notes%20%C3%A4.txt").body("put").send().await.expect("answered");
    assert_eq!(put.status(), StatusCode::CREATED);
    let url = put.text().await.expect("text");
    let answer = app.anonymous().get(url.trim_end()).await;
    assert!(url.ends_with('\n'));
    assert_eq!(
        answer.headers()["content-disposition"],
        "attachment; filename=\"notes _.txt\"; filename*=UTF-8''notes%20%C3%A4.txt"
    );
    let pipe = alice.request(Method::POST, "/").body("piped").send().await.expect("answered");
    let answer = app.anonymous().get(pipe.text().await.expect("text").trim_end()).await;
    assert_eq!(answer.headers()["content-type"], "text/plain; charset=utf-8");
    assert_eq!(answer.headers()["content-disposition"], "inline");
    assert_eq!(answer.text().await.expect("text"), "piped");
    app.close().await;
}

#[tokio::test]
async fn an_upload_that_is_cut_off_leaves_nothing() {
    let app = TestApp::start().await;
    let alice = app.client("alice").await;
    let (sender, receiver) = tokio::sync::mpsc::unbounded_channel::<Result<Vec<u8>, std::io::Error>>();
    let body = futures_util::stream::unfold(receiver, async |mut receiver| {
        receiver.recv().await.map(|piece| (piece, receiver))
    });
    let request = alice.request(Method::POST, "/api/upload?name=half").body(reqwest::Body::wrap_stream(body)).send();
    sender.send(Ok(vec![7; 600_000])).expect("taken");
    sender.send(Err(std::io::Error::other("the cable was pulled"))).expect("taken");
    assert!(request.await.is_err(), "the client saw its own failure");
    let links: api::Links = alice.get("/api/links").await.json().await.expect("links");
    assert!(links.links.is_empty());
    app.close().await;
}

#[tokio::test]
async fn a_bad_lifetime_is_refused_before_the_bytes() {
    let app = TestApp::start().await;
    let alice = app.client("alice").await;
    for ttl in ["0h", "2y", "49h", "inf", "-1h"] {
        let problem = expect_problem(alice.try_upload(&format!("?ttl={ttl}"), "x").await, 400, "invalid_ttl").await;
        assert_eq!(problem.error, "Invalid expiration window");
    }
    app.close().await;
}

#[tokio::test]
async fn nobody_uploads_without_a_certificate_and_is_told_how() {
    let app = TestApp::start().await;
    for (method, path) in [(Method::POST, "/api/upload"), (Method::PUT, "/x.txt"), (Method::POST, "/")] {
        let answer = app.anonymous().request(method, path).body("x").send().await.expect("answered");
        let problem = expect_problem(answer, 401, "unauthenticated").await;
        assert!(problem.hint.expect("a hint").contains("ddrop cert --configure"));
    }
    assert!(app.files().is_empty());
    app.close().await;
}
