//! `PUT /paste/{id}`: new content, another name, another password.

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::http::HeaderMap;

use super::create::Content;
use super::{show, wish};
use crate::access;
use crate::api::paste::{Paste, header as named};
use crate::identity::Principal;
use crate::link::Change;
use crate::server::App;
use crate::server::authenticate::{Asking, refusal};
use crate::server::passwords;
use crate::server::problem::Problem;
use crate::server::replace::Replacing;

/// `PUT /paste/{id}`, for its owner and admins. Readers get the old content or the new one.
pub(super) async fn update(
    State(app): State<App>,
    Asking(who): Asking,
    Path(id): Path<String>,
    request: Request,
) -> Result<Json<Paste>, Problem> {
    let policy = app.settings.policy;
    access::list(&who, policy).map_err(|denied| refusal(&app, denied))?;
    let link = show::find(&app, &id).await?;
    let permit = access::manage(&who, link.clone(), policy)?;
    if link.burn {
        return Err(Problem::bad_request("a paste that burns cannot be changed"));
    }
    let change = change(&app, &who, request.headers()).await?;
    let most = app.settings.pastes.most(&who);
    let content = Content::of_put(&app, request, most).await?;
    let (mime, declared) = (content.mime, content.declared);
    let replacing = Replacing { mime, most: Some(most), declared, body: content.body };
    let replaced = replacing.run(&app, &who, permit).await?;
    let nothing = replaced.is_none() && change.name.is_none() && change.password.is_none();
    if nothing {
        return Err(Problem::no_content());
    }
    let mut link = replaced.unwrap_or(link);
    if change.name.is_some() || change.password.is_some() {
        let permit = access::manage(&who, link, policy)?;
        link = app.store.change(permit, change).await?.ok_or_else(Problem::gone)?;
    }
    Ok(Json(show::paste(&app, &link, &who)))
}

async fn change(app: &App, who: &Principal, headers: &HeaderMap) -> Result<Change, Problem> {
    let password = if wish::yes(headers, named::REMOVE_PASSWORD)? {
        Some(None)
    } else {
        passwords::asked(app, who, headers).await?.map(Some)
    };
    Ok(Change { ttl: None, name: wish::display_name(headers, who)?, password })
}
