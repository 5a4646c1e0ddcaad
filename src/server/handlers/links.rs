//! Links' metadata: list, show, change, expire.

use axum::Json as JsonBody;
use axum::extract::{Request, State};
use http_body::Body as _;
use schemars::JsonSchema;
use serde::Deserialize;

use super::fetch::find;
use super::render::{self, Base};
use super::{Json, Path, Query};
use crate::access::{self, Manage, Permit};
use crate::api;
use crate::identity::Principal;
use crate::link::{Change, FileName, Kind, LinkId};
use crate::server::App;
use crate::server::authenticate::{Asking, refusal};
use crate::server::media;
use crate::server::problem::Problem;
use crate::server::replace::Replacing;
use crate::store::{Lookup, Paging, Stats};

/// Links on a page when no number is asked for, and at most.
const PAGE: (u32, u32) = (100, 1000);

#[derive(Debug, Deserialize, JsonSchema)]
pub(in crate::server) struct ListQuery {
    /// Links on a page; 100 when absent.
    #[schemars(range(min = 1, max = 1000))]
    limit: Option<u32>,
    /// `next` of the page before.
    #[schemars(with = "Option<LinkId>")]
    after: Option<String>,
    /// What the name has in it.
    #[schemars(length(max = 255))]
    search: Option<String>,
    /// Also for an admin: only own links.
    #[serde(default)]
    own: bool,
    /// Everybody's links, or nothing: who is no admin is refused, and not given own links instead.
    #[serde(default)]
    all: bool,
}

/// `GET /api/links`: own links, newest first; an admin's: all, unless `own=true`; nobody else's with `all=true`.
pub(in crate::server) async fn list(
    State(app): State<App>,
    Asking(who): Asking,
    base: Base,
    Query(query): Query<ListQuery>,
) -> Result<JsonBody<api::Links>, Problem> {
    let policy = app.settings.policy;
    if query.all {
        access::administer(&who)?;
    }
    let permit = if query.own { access::list_own(&who, policy)? } else { access::list(&who, policy)? };
    let limit = query.limit.unwrap_or(PAGE.0);
    if limit == 0 || limit > PAGE.1 {
        return Err(Problem::bad_request(format!("'limit' is a number from 1 to {}", PAGE.1)));
    }
    let after = query.after.map(|id| id.parse::<LinkId>()).transpose();
    let after = after.map_err(|error| Problem::bad_request(format!("'after': {error}")))?;
    let search = query.search.filter(|text| !text.is_empty());
    if search.as_ref().is_some_and(|text| text.len() > FileName::LONGEST) {
        return Err(Problem::bad_request(format!(
            "no name is longer than the {} bytes of 'search'",
            FileName::LONGEST
        )));
    }
    let page = app.store.list(&permit, Paging { limit, after, search }).await?;
    let totals = app.store.sums(&permit).await?;
    Ok(JsonBody(api::Links {
        links: page.links.iter().map(|link| render::link(&base, link, &who)).collect(),
        stats: stats_body(totals),
        next: page.next.map(|id| id.to_string()),
    }))
}

pub(super) fn stats_body(stats: Stats) -> api::Stats {
    api::Stats { links: stats.links, link_bytes: stats.link_bytes, bytes: stats.bytes, capacity: stats.capacity }
}

async fn managed(app: &App, who: &Principal, id: &str) -> Result<Permit<Manage>, Problem> {
    let link = find(app, id).await?;
    Ok(access::manage(who, link, app.settings.policy)?)
}

/// `GET /api/links/{id}`.
pub(in crate::server) async fn show(
    State(app): State<App>,
    Asking(who): Asking,
    base: Base,
    Path(id): Path<String>,
) -> Result<JsonBody<api::Link>, Problem> {
    let permit = managed(&app, &who, &id).await?;
    Ok(JsonBody(render::link(&base, &permit.link, &who)))
}

/// `PATCH /api/links/{id}`.
pub(in crate::server) async fn change(
    State(app): State<App>,
    Asking(who): Asking,
    base: Base,
    Path(id): Path<String>,
    Json(wish): Json<api::Change>,
) -> Result<JsonBody<api::Link>, Problem> {
    let permit = managed(&app, &who, &id).await?;
    let asked = wish.ttl.as_deref().map(str::parse).transpose()?;
    let ttl = asked.map(|asked| app.settings.lifetimes.resolve(Some(asked))).transpose()?;
    let name = match wish.name.as_deref() {
        None => None,
        Some(text) => Some(FileName::clean(text).ok_or_else(|| Problem::bad_request("'name' is not a file name"))?),
    };
    if ttl.is_none() && name.is_none() {
        return Err(Problem::bad_request("nothing to change: give 'ttl', 'name' or both"));
    }
    match app.store.change(permit, Change { ttl, name: name.map(Some), password: None }).await? {
        Some(link) => Ok(JsonBody(render::link(&base, &link, &who))),
        None => Err(Problem::gone()),
    }
}

/// What may be said beside new content.
#[derive(Debug, Deserialize, JsonSchema)]
pub(in crate::server) struct Renamed {
    /// A new name.
    #[schemars(extend("pattern" = r"[^\s./\\\u0000-\u001f\u007f-\u009f][^/\\]*$"))]
    name: Option<String>,
}

/// `PUT /api/links/{id}/content`: other bytes for the same link. Readers get the old ones or the new ones, whole.
pub(in crate::server) async fn replace(
    State(app): State<App>,
    Asking(who): Asking,
    base: Base,
    Path(id): Path<String>,
    Query(wish): Query<Renamed>,
    request: Request,
) -> Result<JsonBody<api::Link>, Problem> {
    // Not behind the gate of closed routes, since its body may be large: nobody in particular is told so here.
    access::list(&who, app.settings.policy).map_err(|denied| refusal(&app, denied))?;
    let permit = managed(&app, &who, &id).await?;
    let name = wish
        .name
        .as_deref()
        .map(|text| FileName::clean(text).ok_or_else(|| Problem::bad_request("'name' is not a file name")));
    let name = name.transpose()?;
    let most = (permit.link.kind == Kind::Paste).then(|| app.settings.pastes.most(&who));
    let mime = media::specific(request.headers());
    let body = request.into_body();
    let replacing = Replacing { mime, most, declared: body.size_hint().exact(), body };
    let mut link = replacing.run(&app, &who, permit).await?.ok_or_else(Problem::no_content)?;
    if name.is_some() {
        let permit = access::manage(&who, link, app.settings.policy)?;
        let change = Change { name: name.map(Some), ..Change::default() };
        link = app.store.change(permit, change).await?.ok_or_else(Problem::gone)?;
    }
    Ok(JsonBody(render::link(&base, &link, &who)))
}

/// `POST /api/links/{id}/expire` and `DELETE /api/links/{id}`: ended when it answers, and ending it twice is no error.
pub(in crate::server) async fn expire(
    State(app): State<App>,
    Asking(who): Asking,
    base: Base,
    Path(id): Path<String>,
) -> Result<JsonBody<api::Link>, Problem> {
    let id: LinkId = id.parse()?;
    let Some(link) = app.store.remembered(&id).await? else { return Err(Problem::not_found("such link")) };
    let lives = matches!(app.store.find(&id).await?, Lookup::Live(_));
    let permit = access::manage(&who, link, app.settings.policy)?;
    let link = app.store.expire(permit).await?;
    if lives {
        app.metrics().ended(link.kind, "by_owner", 1);
    }
    Ok(JsonBody(render::link(&base, &link, &who)))
}
