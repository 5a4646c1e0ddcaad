//! How much there is.

use axum::Json;
use axum::extract::State;

use super::links::stats_body;
use crate::server::App;
use crate::server::authenticate::Asking;
use crate::server::problem::Problem;
use crate::{access, api};

/// `GET /api/stats`: counts of the caller's own links (an admin's: of all), and what the quota says.
pub(in crate::server) async fn stats(State(app): State<App>, Asking(who): Asking) -> Result<Json<api::Stats>, Problem> {
    let permit = access::list(&who, app.settings.policy)?;
    Ok(Json(stats_body(app.store.stats(&permit).await?)))
}
