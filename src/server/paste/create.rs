//! `POST /paste`: content in, metadata out.

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use futures_util::StreamExt as _;
use http_body::Body as _;
use tokio::sync::OwnedSemaphorePermit;

use super::{show, wish};
use crate::api::paste::{NewPaste, Paste, header as named};
use crate::identity::Principal;
use crate::link::{Draft, Kind};
use crate::server::App;
use crate::server::creation::{Creator, Incoming};
use crate::server::handlers::upload::{broken, small};
use crate::server::media;
use crate::server::passwords;
use crate::server::problem::Problem;
use crate::units::MIB;

/// Bytes content may have that comes as JSON, which is taken whole into memory; what is more comes as it is.
const MOST_JSON: u64 = 8 * MIB;

/// Content on its way in: what it is said to be, and its bytes.
pub(super) struct Content {
    pub(super) mime: Option<String>,
    pub(super) declared: Option<u64>,
    pub(super) body: Body,
    _room: Option<OwnedSemaphorePermit>,
}

impl Content {
    /// The same where no body at all is an answer: a request that is about headers alone.
    pub(super) async fn of_put(app: &App, request: Request, most: u64) -> Result<Self, Problem> {
        if request.body().size_hint().exact() == Some(0) {
            return Ok(Self { mime: None, declared: Some(0), body: Body::empty(), _room: None });
        }
        Self::of(app, request, most).await
    }

    /// The body as it is, or the field `content` of a JSON one.
    pub(super) async fn of(app: &App, request: Request, most: u64) -> Result<Self, Problem> {
        if !is_json(request.headers()) {
            let (mime, body) = (media::specific(request.headers()), request.into_body());
            return Ok(Self { mime, declared: body.size_hint().exact(), body, _room: None });
        }
        let most = most.min(MOST_JSON);
        // Each byte may be written as six, and something stands around them.
        let longest = most * 6 + 1024;
        let room = request.body().size_hint().exact().unwrap_or(longest).min(longest);
        let held = app.desk().json_room(room)?;
        let body = small(request.into_body(), usize::try_from(room).unwrap_or(usize::MAX)).await?;
        let given: NewPaste = serde_json::from_slice(&body)
            .map_err(|error| Problem::no_content().hint(format!("JSON has to be {{\"content\": \"…\"}}: {error}")))?;
        let content = Bytes::from(given.content);
        if content.len() as u64 > most {
            return Err(Problem::too_large(most).hint("more than that comes as the body itself, not as JSON"));
        }
        Ok(Self {
            mime: Some(media::TEXT.to_owned()),
            declared: Some(content.len() as u64),
            body: Body::from(content),
            _room: Some(held),
        })
    }
}

pub(super) fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = value.unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json"
}

/// `POST /paste`.
pub(super) async fn create(
    State(app): State<App>,
    Creator { who, permit, counted }: Creator,
    request: Request,
) -> Result<Response, Problem> {
    let password = passwords::asked(&app, &who, request.headers()).await?;
    let draft = Draft { password, ..draft(&app, &who, request.headers())? };
    let clamped = wish::expiry(request.headers())?.is_some_and(|asked| asked > app.settings.pastes.max_expiry);
    let most = app.settings.pastes.most(&who);
    let content = Content::of(&app, request, most).await?;
    let mut incoming = Incoming::begin(&app, &who, permit, draft, content.declared).await?;
    let mut told = content.mime;
    let mut head = Vec::new();
    let mut pieces = content.body.into_data_stream();
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|error| broken(&error))?;
        if head.len() < media::HEAD {
            head.extend(piece.iter().take(media::HEAD - head.len()));
        }
        incoming.write(piece).await?;
    }
    if head.is_empty() {
        return Err(Problem::no_content());
    }
    let mime = told.take().unwrap_or_else(|| media::detect(&head, head.len() < media::HEAD));
    incoming.revise(Draft { mime, ..incoming.draft().clone() });
    let link = incoming.finish().await?;
    let paste = show::paste(&app, &link, &who);
    let paste = Paste { expiry_clamped: clamped.then_some(true), ..paste };
    Ok((StatusCode::CREATED, counted, [(header::LOCATION, paste.url.clone())], Json(paste)).into_response())
}

fn draft(app: &App, who: &Principal, headers: &HeaderMap) -> Result<Draft, Problem> {
    let burn = wish::yes(headers, named::BURN)?;
    let name = wish::display_name(headers, who)?.flatten();
    let rules = &app.settings.pastes;
    let (ttl, idle) = rules.lifetime(who, wish::expiry(headers)?);
    Ok(Draft {
        kind: Kind::Paste,
        name,
        mime: media::BYTES.to_owned(),
        ttl,
        idle,
        burn,
        password: None,
        most: Some(rules.most(who)),
    })
}
