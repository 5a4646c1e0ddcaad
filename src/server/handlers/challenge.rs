//! What there is to solve before a link can be made.

use axum::Json;
use axum::extract::State;

use crate::access;
use crate::api;
use crate::server::App;
use crate::server::authenticate::Anyone;
use crate::server::problem::Problem;

/// `GET /api/challenge`: nothing for those who are known, and for those who may make no links at all.
pub(in crate::server) async fn challenge(
    State(app): State<App>,
    Anyone(who): Anyone,
) -> Result<Json<api::Challenge>, Problem> {
    if access::may_create(&who, app.settings.policy).is_err() {
        return Ok(Json(api::Challenge::default()));
    }
    let Some(demand) = app.throttle().gate.demand(&who, app.clock.now())? else {
        return Ok(Json(api::Challenge::default()));
    };
    app.metrics().work.one("challenge");
    let challenge = demand.challenge;
    Ok(Json(api::Challenge {
        enabled: true,
        difficulty: challenge.difficulty,
        nonce: Some(challenge.nonce),
        base_difficulty: Some(demand.base),
        elevated: Some(challenge.difficulty > demand.base),
        expires: Some(challenge.expires.as_secs()),
        token: Some(challenge.token),
    }))
}
