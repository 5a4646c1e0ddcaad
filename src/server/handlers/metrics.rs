//! What was counted, for Prometheus and its like.

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};

use crate::access;
use crate::server::App;
use crate::server::authenticate::Asking;
use crate::server::metrics::{Gauges, MEDIA_TYPE};
use crate::server::problem::Problem;

/// `GET /metrics`.
pub(in crate::server) async fn metrics(State(app): State<App>, Asking(who): Asking) -> Result<Response, Problem> {
    access::administer(&who)?;
    text(&app).await
}

/// The same for whoever reaches the address that is set aside for it.
pub(in crate::server) async fn scrape(app: &App) -> Response {
    match text(app).await {
        Ok(response) => response,
        Err(problem) => problem.render("scrape"),
    }
}

async fn text(app: &App) -> Result<Response, Problem> {
    let sizes = app.store.sizes().await?;
    let now = Gauges {
        links: sizes.links,
        link_bytes: sizes.link_bytes,
        stored: sizes.bytes,
        capacity: sizes.capacity,
        difficulty: app.throttle().gate.difficulty_of_strangers(app.clock.now()),
    };
    Ok(([(header::CONTENT_TYPE, MEDIA_TYPE)], app.metrics().text(now)).into_response())
}
