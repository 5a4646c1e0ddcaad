//! New content for a link that is there: whole, or not at all.

use axum::body::Body;
use axum::http::StatusCode;
use futures_util::StreamExt as _;

use super::App;
use super::handlers::upload::broken;
use super::media;
use super::problem::Problem;
use crate::access::{Manage, Permit};
use crate::identity::Principal;
use crate::link::{Draft, Kind, Link};

/// Bytes on their way to a link that has others.
pub(super) struct Replacing {
    /// What they are said to be; else they are looked at.
    pub(super) mime: Option<String>,
    /// How many may come, if that is less than any link may have.
    pub(super) most: Option<u64>,
    /// How many will come, if that is known.
    pub(super) declared: Option<u64>,
    /// The bytes.
    pub(super) body: Body,
}

impl Replacing {
    /// Takes the bytes and gives them to the link; `None`, and no change, if none come.
    pub(super) async fn run(self, app: &App, who: &Principal, permit: Permit<Manage>) -> Result<Option<Link>, Problem> {
        if permit.link.burn {
            return Err(Problem::new(
                StatusCode::CONFLICT,
                "read_once",
                "what can be read once only cannot be changed",
            ));
        }
        if permit.link.kind == Kind::Url {
            return Err(Problem::new(StatusCode::CONFLICT, "no_content", "a short URL has no content"));
        }
        let counted = app.throttle().gate.count_replacement(who, app.clock.now());
        counted.inspect_err(|_| app.metrics().limited.one("creations"))?;
        let Self { mut mime, most, declared, body } = self;
        let mut upload = app.store.begin_replacement(permit, media::BYTES.to_owned(), most, declared).await?;
        let mut look = app.throttle().gate.look();
        let mut head = Vec::new();
        let mut pieces = body.into_data_stream();
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(|error| broken(&error))?;
            head.extend(piece.iter().take(media::HEAD - head.len()));
            look.at(&piece);
            upload.write(piece).await?;
        }
        if head.is_empty() {
            return Ok(None);
        }
        look.judge()?;
        let mime = mime.take().unwrap_or_else(|| media::detect(&head, head.len() < media::HEAD));
        upload.revise(Draft { mime, ..upload.draft().clone() });
        Ok(Some(upload.finish().await?))
    }
}
