//! The one way links are made: who may, how often, for how much work, and with what content.

use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

use axum::body::Bytes;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::{IntoResponseParts, ResponseParts};

use super::App;
use super::authenticate::{Asking, refusal};
use super::problem::Problem;
use crate::abuse::{Limited, Look, Refusal, Refused, Shown, Standing, Unfit};
use crate::access::{self, Create, Permit};
use crate::api::header::{POW_SOLUTION, POW_TOKEN, RATE_LIMIT, RATE_REMAINING, RATE_RESET};
use crate::identity::Principal;
use crate::link::{Draft, Kind, Link};
use crate::store::{self, Upload};

/// Somebody who may make a link now. To ask for one is to be counted, and to have worked for it where that is asked:
/// it comes after everything else a handler takes from the request, and before the body.
#[derive(Debug)]
pub(super) struct Creator {
    /// Who.
    pub(super) who: Principal,
    /// What the store asks for.
    pub(super) permit: Permit<Create>,
    /// For the answer.
    pub(super) counted: Counted,
}

impl FromRequestParts<App> for Creator {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let Asking(who) = Asking::from_request_parts(parts, app).await?;
        let policy = app.settings.policy;
        access::may_create(&who, policy).map_err(|denied| refusal(app, denied))?;
        let gate = &app.throttle().gate;
        let now = app.clock.now();
        let examined = gate.examine(&who, shown(&parts.headers), now).map_err(|refusal| refuse(app, refusal))?;
        if let Some(solved) = examined.solved() {
            if !app.store.spend(solved.token, solved.expires).await? {
                return Err(refuse(app, Refused::Spent.into()));
            }
            app.metrics().work.one("accepted");
        }
        let admitted = gate.admit(examined, now);
        let counted = Counted(admitted.standing());
        let permit = access::create(&who, policy, admitted).map_err(|denied| refusal(app, denied))?;
        Ok(Self { who, permit, counted })
    }
}

/// Counts why somebody was not let in.
fn refuse(app: &App, refusal: Refusal) -> Problem {
    match refusal {
        Refusal::Limited(_) => app.metrics().limited.one("creations"),
        Refusal::NoWork => app.metrics().work.one("missing"),
        Refusal::Work(Refused::Token) => app.metrics().work.one("forged"),
        Refusal::Work(Refused::Expired) => app.metrics().work.one("expired"),
        Refusal::Work(Refused::TooEasy) => app.metrics().work.one("too_easy"),
        Refusal::Work(Refused::Wrong) => app.metrics().work.one("wrong"),
        Refusal::Work(Refused::Spent) => app.metrics().work.one("spent"),
    }
    refusal.into()
}

fn shown(headers: &HeaderMap) -> Option<Shown<'_>> {
    let said = |name| headers.get(name).and_then(|value| value.to_str().ok());
    Some(Shown { token: said(POW_TOKEN)?, solution: said(POW_SOLUTION)? })
}

/// Where a caller stands, for the headers of the answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counted(Option<Standing>);

impl IntoResponseParts for Counted {
    type Error = std::convert::Infallible;

    fn into_response_parts(self, mut response: ResponseParts) -> Result<ResponseParts, Self::Error> {
        if let Some(Standing { limit, remaining, resets_at }) = self.0 {
            response.headers_mut().extend(headers(limit, remaining, resets_at.as_millis()));
        }
        Ok(response)
    }
}

/// The same for one who is refused.
pub(super) fn refused_headers(limited: &Limited) -> [(HeaderName, HeaderValue); 3] {
    headers(limited.limit, 0, limited.resets_at.as_millis())
}

/// In Unix seconds, rounded up: by then it is so.
fn headers(limit: u32, remaining: u32, resets_at_millis: i64) -> [(HeaderName, HeaderValue); 3] {
    let reset = resets_at_millis.saturating_add(999).div_euclid(1000);
    [
        (HeaderName::from_static(RATE_LIMIT), HeaderValue::from(limit)),
        (HeaderName::from_static(RATE_REMAINING), HeaderValue::from(remaining)),
        (HeaderName::from_static(RATE_RESET), HeaderValue::from(reset)),
    ]
}

/// Bytes on their way in, looked at as they pass.
pub(super) struct Incoming {
    app: App,
    who: Principal,
    upload: Upload,
    look: Look,
}

impl Incoming {
    /// Reserves room; see [`store::Store::begin`].
    pub(super) async fn begin(
        app: &App,
        who: &Principal,
        permit: Permit<Create>,
        draft: Draft,
        declared: Option<u64>,
    ) -> Result<Self, Problem> {
        let upload = app.store.begin(permit, draft, declared).await?;
        Ok(Self { app: app.clone(), who: who.clone(), upload, look: app.throttle().gate.look() })
    }

    /// What it was begun with.
    pub(super) fn draft(&self) -> &Draft {
        self.upload.draft()
    }

    /// See [`Upload::revise`].
    pub(super) fn revise(&mut self, draft: Draft) {
        self.upload.revise(draft);
    }

    /// Takes the next bytes.
    pub(super) async fn write(&mut self, bytes: Bytes) -> Result<(), Problem> {
        self.look.at(&bytes);
        self.app.metrics().received.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(self.upload.write(bytes).await?)
    }

    /// Makes it a link, unless the content is not wanted; then nothing is left.
    pub(super) async fn finish(self) -> Result<Link, Problem> {
        let Self { app, who, mut upload, look } = self;
        let metrics = Arc::clone(app.metrics());
        look.judge().inspect_err(|unfit| {
            metrics.unwanted.one(match unfit {
                Unfit::TooSmall { .. } => "too_small",
                Unfit::LowEntropy { .. } => "low_entropy",
            });
        })?;
        let refused = Arc::new(OnceLock::new());
        // DeadDrop's users may upload a build as often as they like; everybody's pastes are counted.
        if upload.draft().kind == Kind::Paste || !who.is_known() {
            let told = Arc::clone(&refused);
            upload.only_if(move |sha256| {
                let now = app.clock.now();
                let taken = app.throttle().gate.take_content(&who, sha256, now);
                taken.map_err(|duplicate| told.set(duplicate)).is_ok()
            });
        }
        match upload.finish().await {
            Err(store::Error::Unwanted) => match refused.get() {
                Some(duplicate) => {
                    metrics.unwanted.one("duplicate");
                    Err((*duplicate).into())
                }
                None => Err(store::Error::Unwanted.into()),
            },
            other => {
                let link = other?;
                metrics.created(&link);
                Ok(link)
            }
        }
    }
}
