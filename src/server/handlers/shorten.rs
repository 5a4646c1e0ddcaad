//! Short URLs: made, and followed.

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};

use super::Json;
use super::render::{self, Base};
use crate::api;
use crate::identity::Principal;
use crate::link::{Link, target};
use crate::server::App;
use crate::server::creation::Creator;
use crate::server::passwords;
use crate::server::problem::Problem;
use crate::units::Ttl;

/// `POST /api/shorten`.
pub(in crate::server) async fn shorten(
    State(app): State<App>,
    base: Base,
    Creator { who, permit, counted }: Creator,
    Json(wish): Json<api::Shorten>,
) -> Result<Response, Problem> {
    let asked = wish.ttl.as_deref().map(str::parse::<Ttl>).transpose()?;
    let ttl = app.settings.lifetimes.resolve(asked)?;
    let target = target::parse(&wish.url, &own_hosts(&app, &base))?;
    let link = app.store.shorten(permit, target, ttl, false).await?;
    app.metrics().created(&link);
    let body = axum::Json(render::link(&base, &link, &who));
    Ok((StatusCode::CREATED, counted, [(header::LOCATION, base.link(&link))], body).into_response())
}

/// Hosts a short URL must not lead to: what this server is called, in its settings, its certificate and this request.
pub(in crate::server) fn own_hosts(app: &App, base: &Base) -> Vec<String> {
    let mut own = app.settings.pastes.own_names.clone();
    own.extend(base.url().host_str().map(str::to_owned));
    own
}

/// There; every time anew, so that its end is one.
pub(in crate::server) async fn redirect(
    app: &App,
    who: &Principal,
    link: &Link,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    passwords::unlock(app, who, link, headers).await?;
    let target = link.target.as_deref().unwrap_or_default();
    let location = HeaderValue::try_from(target).map_err(|error| Problem::unreadable(&error))?;
    app.store.touch(link);
    // Whoever asks with `HEAD` does not go there.
    if method == Method::GET {
        app.metrics().reading(link);
    }
    let kept = HeaderValue::from_static("no-store");
    Ok((StatusCode::FOUND, [(header::LOCATION, location), (header::CACHE_CONTROL, kept)]).into_response())
}
