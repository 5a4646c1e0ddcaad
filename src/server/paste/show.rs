//! `GET /paste/{id}` and its content, and its end.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method};
use axum::response::Response;

use crate::access;
use crate::api::paste::{Message, Paste};
use crate::identity::{Owner, Principal, Tier};
use crate::link::{FileName, Kind, Link};
use crate::server::App;
use crate::server::authenticate::{Anyone, Asking, refusal};
use crate::server::handlers::fetch::{self, Manner};
use crate::server::problem::Problem;

/// A paste for `who`. Whose it is, is told to its owner and to admins.
pub(super) fn paste(app: &App, link: &Link, who: &Principal) -> Paste {
    let prefix = &app.settings.pastes.prefix;
    let own = link.owner != Owner::Anonymous && (link.owner == who.owner || who.tier == Tier::Admin);
    Paste {
        id: link.id.to_string(),
        url: format!("{prefix}/{}", link.id),
        raw: format!("{prefix}/{}/raw", link.id),
        mime_type: link.mime.clone(),
        size: link.size,
        // It would tell whether a guess of the content is right, without the password.
        sha256: (own || link.password.is_none()).then(|| link.sha256.to_string()),
        created_at: link.created_at.as_secs(),
        expires_at: link.expires_at.map(|end| end.as_secs()),
        owner: own.then(|| link.owner.to_string()),
        burn_after_read: link.burn.then_some(true),
        password_protected: link.password.is_some().then_some(true),
        display_name: link.name.as_ref().map(FileName::as_str).map(str::to_owned),
        expiry_clamped: None,
    }
}

/// A live link with content, by the text of its id.
pub(super) async fn find(app: &App, id: &str) -> Result<Link, Problem> {
    let link = fetch::find(app, id).await?;
    if link.kind == Kind::Url { Err(Problem::not_found("such paste")) } else { Ok(link) }
}

/// `GET, HEAD /paste/{id}`: never its content, and never its end if it burns; but whoever looks at it keeps it from
/// ending by idleness.
pub(super) async fn metadata(
    State(app): State<App>,
    Anyone(who): Anyone,
    Path(id): Path<String>,
) -> Result<Json<Paste>, Problem> {
    let link = find(&app, &id).await?;
    app.store.touch(&link);
    Ok(Json(paste(&app, &link, &who)))
}

/// `GET, HEAD /paste/{id}/raw`. Of a paste that burns either is its one reading.
pub(super) async fn raw(
    State(app): State<App>,
    Anyone(who): Anyone,
    Path(id): Path<String>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    find(&app, &id).await?;
    fetch::answer(&app, &who, &id, &method, &headers, Manner::FlaskPaste).await
}

/// `DELETE /paste/{id}`.
pub(super) async fn delete(
    State(app): State<App>,
    Asking(who): Asking,
    Path(id): Path<String>,
) -> Result<Json<Message>, Problem> {
    // Nobody in particular is told so, whatever the id.
    access::list(&who, app.settings.policy).map_err(|denied| refusal(&app, denied))?;
    let link = find(&app, &id).await?;
    let permit = access::manage(&who, link, app.settings.policy)?;
    let link = app.store.expire(permit).await?;
    app.metrics().ended(link.kind, "by_owner", 1);
    Ok(Json(Message { message: "Paste deleted".to_owned() }))
}
