//! The API's description, from outside.

use reqwest::{Method, StatusCode};
use serde_json::Value;

use crate::app::TestApp;

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
            assert!(!text.contains("no such path"), "{method} {path} is not there");
            assert_ne!(status, StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
            asked += 1;
        }
    }
    assert!(asked > 35, "only {asked}");
    app.close().await;
}
