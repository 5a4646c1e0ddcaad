//! `/paste/s`: short URLs.

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};

use super::list::Wanted;
use super::{create, wish};
use crate::access;
use crate::api::paste::{Message, NewUrl, ShortUrl, ShortUrls};
use crate::identity::{Owner, Principal, Tier};
use crate::link::{Kind, Link, target};
use crate::server::App;
use crate::server::authenticate::{Anyone, Asking, refusal};
use crate::server::creation::Creator;
use crate::server::handlers::Query;
use crate::server::handlers::fetch;
use crate::server::handlers::render::Base;
use crate::server::handlers::shorten::{own_hosts, redirect};
use crate::server::handlers::upload::small;
use crate::server::problem::Problem;

/// Bytes a request for one may have: an address, as JSON with everything escaped.
const LONGEST: usize = 16 * 1024;

fn short(app: &App, link: &Link, who: &Principal) -> ShortUrl {
    let own = link.owner != Owner::Anonymous && (link.owner == who.owner || who.tier == Tier::Admin);
    ShortUrl {
        id: link.id.to_string(),
        url: format!("{}/s/{}", app.settings.pastes.prefix, link.id),
        target_url: link.target.clone().unwrap_or_default(),
        created_at: link.created_at.as_secs(),
        expires_at: link.expires_at.map(|end| end.as_secs()),
        owner: own.then(|| link.owner.to_string()),
    }
}

/// A live short URL, by the text of its id.
async fn find(app: &App, id: &str) -> Result<Link, Problem> {
    let link = fetch::find(app, id).await?;
    if link.kind == Kind::Url { Ok(link) } else { Err(Problem::not_found("such short URL")) }
}

/// `POST /paste/s`: the address as it is, or `{"url": …}`.
pub(super) async fn shorten(
    State(app): State<App>,
    base: Base,
    Creator { who, permit, counted }: Creator,
    request: Request,
) -> Result<Response, Problem> {
    let (ttl, idle) = app.settings.pastes.lifetime(&who, wish::expiry(request.headers())?);
    let json = create::is_json(request.headers());
    let body = small(request.into_body(), LONGEST).await?;
    let text = if json {
        let given: NewUrl = serde_json::from_slice(&body)
            .map_err(|error| Problem::bad_request(format!("JSON has to be {{\"url\": \"…\"}}: {error}")))?;
        given.url
    } else {
        let text = std::str::from_utf8(&body).map_err(|_| Problem::bad_request("the URL is not UTF-8"))?;
        text.trim_end_matches(['\r', '\n']).to_owned()
    };
    let target = target::parse(&text, &own_hosts(&app, &base))?;
    let link = app.store.shorten(permit, target, ttl, idle).await?;
    app.metrics().created(&link);
    let url = short(&app, &link, &who);
    Ok((StatusCode::CREATED, counted, [(header::LOCATION, url.url.clone())], Json(url)).into_response())
}

/// `GET /paste/s`: own ones, newest first; an admin's: all.
pub(super) async fn list(
    State(app): State<App>,
    Asking(who): Asking,
    Query(wanted): Query<Wanted>,
) -> Result<Json<ShortUrls>, Problem> {
    let permit = access::list(&who, app.settings.policy).map_err(|denied| refusal(&app, denied))?;
    let filter = wanted.filter(Kind::Url)?;
    let (limit, offset) = (filter.limit, filter.offset);
    let (links, total) = app.store.search(&permit, filter).await?;
    let urls: Vec<ShortUrl> = links.iter().map(|link| short(&app, link, &who)).collect();
    Ok(Json(ShortUrls { count: urls.len() as u64, urls, total, limit, offset }))
}

/// `GET, HEAD /paste/s/{id}`: there.
pub(super) async fn follow(
    State(app): State<App>,
    Anyone(who): Anyone,
    Path(id): Path<String>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let link = find(&app, &id).await?;
    redirect(&app, &who, &link, &method, &headers).await
}

/// `GET /paste/s/{id}/info`: where it leads, without going there.
pub(super) async fn info(
    State(app): State<App>,
    Anyone(who): Anyone,
    Path(id): Path<String>,
) -> Result<Json<ShortUrl>, Problem> {
    let link = find(&app, &id).await?;
    Ok(Json(short(&app, &link, &who)))
}

/// `DELETE /paste/s/{id}`.
pub(super) async fn delete(
    State(app): State<App>,
    Asking(who): Asking,
    Path(id): Path<String>,
) -> Result<Json<Message>, Problem> {
    access::list(&who, app.settings.policy).map_err(|denied| refusal(&app, denied))?;
    let link = find(&app, &id).await?;
    let permit = access::manage(&who, link, app.settings.policy)?;
    let link = app.store.expire(permit).await?;
    app.metrics().ended(link.kind, "by_owner", 1);
    Ok(Json(Message { message: "Short URL deleted".to_owned() }))
}
