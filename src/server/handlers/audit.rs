//! What the authority did, for admins: trust by fingerprint, and the record of every change of trust.

use axum::Json as JsonBody;
use axum::extract::State;
use schemars::JsonSchema;
use serde::Deserialize;

use super::pki::actor;
use super::{Json, Query};
use crate::authority::listing;
use crate::identity::Sha256;
use crate::server::App;
use crate::server::authenticate::Asking;
use crate::server::problem::Problem;
use crate::{access, api};

/// Lines that are answered when no number is asked for, and at most.
const LINES: (usize, usize) = (100, 10_000);

/// How much of the log.
#[derive(Debug, Deserialize, JsonSchema)]
pub(in crate::server) struct Part {
    /// The last so many lines; 100 when absent, 10,000 at most.
    last: Option<usize>,
}

/// `GET /pki/audit`.
pub(in crate::server) async fn events(
    State(app): State<App>,
    Asking(who): Asking,
    Query(part): Query<Part>,
) -> Result<JsonBody<api::Audit>, Problem> {
    access::administer(&who)?;
    let lines = app.authority.audit(part.last.unwrap_or(LINES.0).min(LINES.1)).await?;
    Ok(JsonBody(listing::events(lines)))
}

/// `GET /pki/audit/verify`.
pub(in crate::server) async fn verify(
    State(app): State<App>,
    Asking(who): Asking,
) -> Result<JsonBody<api::Verified>, Problem> {
    access::administer(&who)?;
    Ok(JsonBody(listing::verified(app.authority.verify_audit().await)?))
}

/// `POST /pki/trust`: repeated, the same answer and no change.
pub(in crate::server) async fn trust(
    State(app): State<App>,
    Asking(who): Asking,
    Json(wish): Json<api::Trust>,
) -> Result<JsonBody<api::Trust>, Problem> {
    access::administer(&who)?;
    let sha256: Sha256 = wish
        .fingerprint
        .parse()
        .map_err(|_| Problem::bad_request("'fingerprint' is not a SHA-256: 64 hex digits, with or without colons"))?;
    let client = app.authority.trust_fingerprint(&actor(&who), sha256, &wish.name).await?;
    Ok(JsonBody(api::Trust { fingerprint: sha256.to_string(), name: client.name }))
}
