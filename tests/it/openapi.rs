//! The API's description, from outside.

use base64::Engine as _;
use reqwest::{Method, StatusCode};
use serde_json::Value;

use crate::app::TestApp;
use crate::caller::expect_problem;
use crate::register::opened;

#[tokio::test]
async fn anyone_is_told_what_the_api_is() {
    let app = TestApp::start().await;
    let answer = app.anonymous().get("/api/openapi.json").await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()["content-type"], "application/json");
    let document: Value = answer.json().await.expect("JSON");
    assert_eq!(document["openapi"], "3.1.0");
    assert!(document["paths"]["/api/links"]["get"]["responses"]["200"].is_object());
    app.close().await;
}

#[tokio::test]
async fn every_operation_that_is_described_is_there() {
    let app = TestApp::start().await;
    let nobody = app.anonymous();
    let document: Value = nobody.get("/api/openapi.json").await.json().await.expect("JSON");
    let mut asked = 0;
    for (path, methods) in document["paths"].as_object().expect("paths") {
        let filled: Vec<&str> = path.split('/').map(|part| if part.contains('{') { "none" } else { part }).collect();
        let filled = filled.join("/");
        for (method, described) in methods.as_object().expect("methods") {
            let method: Method = method.to_uppercase().parse().expect("a method");
            let answer = nobody.request(method.clone(), &filled).send().await.expect("answered");
            let status = answer.status();
            let said = &described["responses"];
            let documented = !said[status.as_str()].is_null() || (status.is_server_error() && !said["5XX"].is_null());
            let text = answer.text().await.expect("a body");
            assert!(documented, "{method} {path} answers {status}, which is not described: {text}");
            // The program itself has these words in it.
            assert!(path.ends_with("/client") || !text.contains("no such path"), "{method} {path} is not there");
            assert_ne!(status, StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
            let ways = described["security"].as_array().expect("a list");
            // No way at all is for anyone; an empty one stands for what the operator may allow.
            let is_closed = !ways.is_empty();
            let refused = status == StatusCode::UNAUTHORIZED;
            assert_eq!(refused, is_closed, "{method} {path} answers nobody with {status}: {text}");
            asked += 1;
        }
    }
    assert!(asked > 35, "only {asked}");
    app.close().await;
}

#[tokio::test]
async fn what_makes_no_sense_is_a_problem_too() {
    let app = TestApp::start().await;
    let admin = app.admin().await;
    for path in ["/%FF%FE", "/%FF%FE/name", "/api/links/%FF%FE", "/api/links?limit=many", "/api/links?limit=1&limit=2"]
    {
        expect_problem(admin.get(path).await, 400, "bad_request").await;
    }
    // An array is no object, though its items could be taken for the fields.
    for (path, body) in [("/pki/invites", r#"["mallory",true]"#), ("/pki/trust", r#"["aa","mallory"]"#)] {
        let json = admin.request(Method::POST, path).header("content-type", "application/json").body(body);
        expect_problem(json.send().await.expect("answered"), 422, "bad_request").await;
    }
    // Null would say that the name is to be taken away.
    let link = admin.upload("content").await;
    let wish =
        admin.request(Method::PATCH, &format!("/api/links/{}", link.id)).json(&serde_json::json!({"name": null}));
    expect_problem(wish.send().await.expect("answered"), 422, "bad_request").await;
    app.close().await;
}

#[tokio::test]
async fn an_invite_leads_to_a_server() {
    let app = TestApp::start().await;
    let admin = app.admin().await;
    for url in ["mailto:x", "javascript:alert(1)", "https://", "https://u:p@host", "https://host/?q", "host", ""] {
        let wish = serde_json::json!({"name": "bob", "url": url});
        let answer = admin.request(Method::POST, "/pki/invites").json(&wish).send().await.expect("answered");
        expect_problem(answer, 400, "bad_request").await;
    }
    app.close().await;
}

#[tokio::test]
async fn a_name_of_any_script_gets_a_bundle() {
    let app = TestApp::start().await;
    let admin = app.admin().await;
    // Characters beyond U+FFFF have no place in the label inside a PKCS#12 file.
    let wish = serde_json::json!({"common_name": "\u{1d49c}\u{1f600} Zo\u{eb}"});
    let answer = admin.request(Method::POST, "/pki/issue").json(&wish).send().await.expect("answered");
    assert_eq!(answer.status(), StatusCode::CREATED, "{}", answer.text().await.unwrap_or_default());
    let issued: ddrop::api::Issued = answer.json().await.expect("an answer");
    let bundle = base64::prelude::BASE64_STANDARD.decode(issued.pkcs12.expect("a bundle")).expect("base64");
    let credentials = opened(app.folder(), &bundle, &issued.pkcs12_password.expect("a password"));
    assert_eq!(credentials.fingerprint().sha256.to_string(), issued.fingerprint_sha256);
    app.close().await;
}
