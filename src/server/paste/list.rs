//! `GET /paste/pastes`: what is one's own.

use axum::Json;
use axum::extract::State;
use schemars::JsonSchema;
use serde::Deserialize;

use super::show;
use crate::access;
use crate::api::paste::{Listed, Pastes};
use crate::identity::{Principal, Tier};
use crate::link::{FileName, Kind, Link};
use crate::server::App;
use crate::server::authenticate::{Asking, refusal};
use crate::server::handlers::Query;
use crate::server::problem::Problem;
use crate::store::Filter;
use crate::units::Timestamp;

/// Links on a page when no number is asked for, and at most.
const PAGE: (u32, u32) = (50, 200);

/// What a list may be asked for.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(in crate::server) struct Wanted {
    /// How many; more than 200 are 200.
    #[schemars(range(max = 4_294_967_295_u32))]
    limit: Option<u32>,
    /// How many to leave out first.
    #[schemars(range(max = 4_294_967_295_u32))]
    offset: Option<u32>,
    /// A media type, or what comes before its slash.
    #[serde(rename = "type")]
    mime: Option<String>,
    /// Made at this time or later: Unix seconds or RFC 3339.
    #[schemars(schema_with = "crate::api::paste::moment")]
    after: Option<String>,
    /// Made at this time or before.
    #[schemars(schema_with = "crate::api::paste::moment")]
    before: Option<String>,
    /// Only those with this in their name.
    search: Option<String>,
}

impl Wanted {
    pub(super) fn filter(self, kind: Kind) -> Result<Filter, Problem> {
        let time = |text: Option<String>, name: &str| {
            let text = text.filter(|text| !text.is_empty());
            let read = |text: String| text.parse().map(Timestamp::from_secs).or_else(|_| text.parse());
            text.map(read).transpose().map_err(|_| {
                Problem::bad_request(format!("'{name}' is a time in Unix seconds, or as 2026-01-31T12:00:00Z"))
            })
        };
        let short = |text: Option<String>| text.filter(|text| !text.is_empty() && text.len() <= FileName::LONGEST);
        Ok(Filter {
            kind,
            limit: self.limit.unwrap_or(PAGE.0).clamp(1, PAGE.1),
            offset: self.offset.unwrap_or_default(),
            mime: short(self.mime).map(|text| text.trim_end_matches(['*', '/']).to_owned()),
            since: time(self.after, "after")?,
            until: time(self.before, "before")?,
            search: short(self.search),
        })
    }
}

/// `GET /paste/pastes`: own ones, newest first; an admin's: all.
pub(super) async fn list(
    State(app): State<App>,
    Asking(who): Asking,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Pastes>, Problem> {
    let permit = access::list(&who, app.settings.policy).map_err(|denied| refusal(&app, denied))?;
    let filter = wanted.filter(Kind::Paste)?;
    let (limit, offset) = (filter.limit, filter.offset);
    let (links, total) = app.store.search(&permit, filter).await?;
    let pastes: Vec<Listed> = links.iter().map(|link| listed(&app, link, &who)).collect();
    Ok(Json(Pastes { count: pastes.len() as u64, pastes, total, limit, offset }))
}

fn listed(app: &App, link: &Link, who: &Principal) -> Listed {
    let paste = show::paste(app, link, who);
    Listed {
        id: paste.id,
        url: paste.url,
        raw: paste.raw,
        mime_type: paste.mime_type,
        size: paste.size,
        created_at: link.created_at,
        last_accessed: link.accessed_at,
        expires_at: link.expires_at,
        burn_after_read: link.burn,
        password_protected: link.password.is_some(),
        display_name: paste.display_name,
        owner: paste.owner.filter(|_| who.tier == Tier::Admin),
    }
}
