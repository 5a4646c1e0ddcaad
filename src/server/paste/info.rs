//! What this is, and whether it works, as FlaskPaste said it.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};

use crate::api::paste::{Health, Info};
use crate::server::App;
use crate::server::handlers::render::Base;
use crate::server::problem::chain;

/// `GET /paste`.
pub(super) async fn info(State(app): State<App>, base: Base) -> Json<Info> {
    let prefix = &app.settings.pastes.prefix;
    let here = format!("{}{prefix}", base.url().as_str().trim_end_matches('/'));
    let endpoints = ENDPOINTS.map(|(method, path, does)| (format!("{method} {prefix}{path}"), does.to_owned()));
    let usage = [
        ("raw", format!("curl --data-binary @file.txt {here}/")),
        ("pipe", format!("cat file.txt | curl --data-binary @- {here}/")),
        ("json", format!("curl -H 'Content-Type: application/json' -d '{{\"content\": \"hello\"}}' {here}/")),
        ("burn", format!("curl -H 'X-Burn-After-Read: true' --data-binary @file.txt {here}/")),
    ];
    Json(Info {
        name: "ddrop".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        endpoints: BTreeMap::from(endpoints),
        usage: usage.map(|(name, line)| (name.to_owned(), line)).into(),
        note: "FlaskPaste's API. Add --cert client.crt --key client.key --cacert ca.crt: who you are is known by a \
               client certificate. What a paste is also has a link of its own at the root of this server."
            .to_owned(),
    })
}

/// What there is, for people.
const ENDPOINTS: [(&str, &str, &str); 7] = [
    ("POST", "/", "Make a paste: the content as it is, or {\"content\": …} as JSON"),
    ("GET", "/{id}", "A paste's metadata"),
    ("GET", "/{id}/raw", "Its content"),
    ("DELETE", "/{id}", "Delete it"),
    ("GET", "/challenge", "The proof of work a new paste costs those nobody knows"),
    ("GET", "/health", "Whether the server works"),
    ("GET", "/", "This"),
];

/// `GET /paste/health`.
pub(super) async fn health(State(app): State<App>) -> Response {
    let answer = |status: &str, database: &str| Health { status: status.to_owned(), database: database.to_owned() };
    match app.store.ready().await {
        Ok(()) => Json(answer("healthy", "ok")).into_response(),
        Err(error) => {
            tracing::error!(cause = chain(&error), "the server cannot work");
            (StatusCode::SERVICE_UNAVAILABLE, Json(answer("unhealthy", "error"))).into_response()
        }
    }
}
