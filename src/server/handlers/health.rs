//! Whether the server lives, whether it can work, and what it is.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};

use crate::api;
use crate::server::App;
use crate::server::problem::Problem;

/// `GET /health`: it answers, so it lives.
pub(in crate::server) async fn live() -> Json<api::Health> {
    Json(api::Health { status: "healthy".to_owned(), database: None, storage: None })
}

/// `GET /health/ready`: rows can be read and bytes written.
pub(in crate::server) async fn ready(State(app): State<App>) -> Result<Json<api::Health>, Problem> {
    app.store.ready().await.map_err(|error| Problem::not_ready(&error))?;
    let ok = || Some("ok".to_owned());
    Ok(Json(api::Health { status: "ready".to_owned(), database: ok(), storage: ok() }))
}

/// `GET /`: for those who come by.
pub(in crate::server) async fn index() -> Response {
    let text = concat!(
        "ddrop ",
        env!("CARGO_PKG_VERSION"),
        ": files, pastes and links that expire, among clients known by their certificates.\n\n",
        "enrol      ddrop cert --configure INVITE\n",
        "upload     ddrop upload FILE\n",
        "           curl --cert client.crt --key client.key --cacert ca.crt -T FILE https://THIS-HOST/\n",
        "who am I   GET /api/whoami\n",
    );
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    ([(header::CONTENT_TYPE, plain)], text).into_response()
}
