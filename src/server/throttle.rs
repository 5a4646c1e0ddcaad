//! How often who may ask for what: the stage every request passes once it is known who asks, and the limits behind it.

use std::net::IpAddr;

use axum::extract::{MatchedPath, Request};
use axum::http::Method;
use axum::response::{IntoResponse as _, Response};

use super::App;
use super::authenticate::asking;
use super::problem::Problem;
use crate::abuse::{ByCaller, Gate, Limited, Limiter, Rules, from, network};
use crate::identity::Principal;
use crate::store::{self, Challenges, Store};
use crate::units::Timestamp;

/// Callers of each kind that are remembered by each limit.
const PARTIES: usize = 10_000;

/// Counts what callers do.
#[derive(Debug)]
pub(super) struct Throttle {
    /// What those who make links go through.
    pub(super) gate: Gate,
    requests: Option<Limiter<IpAddr>>,
    misses: Option<ByCaller>,
    tokens: Limiter<IpAddr>,
}

impl Throttle {
    pub(super) async fn new(rules: &Rules, store: &Store) -> Result<Self, store::Error> {
        let times_known = rules.gate.times_known;
        let gate = match &rules.secret {
            Some(secret) => Gate::new(rules.gate.clone(), secret.reveal().as_bytes()),
            None => Gate::new(rules.gate.clone(), &store.secret(Challenges::Creating).await?),
        };
        Ok(Self {
            gate,
            requests: rules.requests.map(|rate| Limiter::new(rate, PARTIES)),
            misses: rules.misses.map(|rate| ByCaller::new(rate, times_known, PARTIES)),
            tokens: Limiter::new(rules.tokens, PARTIES),
        })
    }

    /// Whether `is_right` says that a bearer token is; asked only if not too many were wrong, also of a right one: else
    /// guessing would go on, and only the answers be late.
    pub(super) fn try_token(
        &self,
        address: Option<IpAddr>,
        now: Timestamp,
        is_right: impl FnOnce() -> bool,
    ) -> Result<bool, Limited> {
        let address = network(address.unwrap_or(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED)));
        self.tokens.check(&address, now)?;
        let right = is_right();
        if !right {
            // That it is one too many is for the next one to hear.
            let _ = self.tokens.count(&address, now);
        }
        Ok(right)
    }

    /// Else which limit it was, and what it says.
    fn let_by(&self, who: &Principal, what: Kind, now: Timestamp) -> Result<(), (&'static str, Limited)> {
        if let Some(requests) = self.requests.as_ref().filter(|_| what != Kind::Health && !who.is_known()) {
            requests.count(&from(who), now).map_err(|limited| ("requests", limited))?;
        }
        match &self.misses {
            Some(misses) if what == Kind::LookUp => misses.check(who, now).map_err(|limited| ("misses", limited)),
            _ => Ok(()),
        }
    }

    /// Forgets who owes nothing any more; answers how many parties and contents are remembered.
    pub(super) fn sweep(&self, now: Timestamp) -> usize {
        let requests = self.requests.as_ref().map_or(0, |requests| requests.sweep(now));
        let misses = self.misses.as_ref().map_or(0, |misses| misses.sweep(now));
        self.gate.sweep(now) + requests + misses + self.tokens.sweep(now)
    }
}

/// What a request is for, as far as that matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A probe asks as often as it likes.
    Health,
    /// For a link by its id: whoever asks for many that are none is guessing.
    LookUp,
    Other,
}

fn kind(method: &Method, route: &str) -> Kind {
    match route {
        _ if route.starts_with("/health") => Kind::Health,
        // `PUT /{name}` makes a link.
        "/{id}" if *method == Method::PUT => Kind::Other,
        _ if route.contains("{id}") => Kind::LookUp,
        _ => Kind::Other,
    }
}

/// Refuses what comes too often, before anything is done for it. A miss is counted when it is known to be one; an id is
/// looked up without a pause between the question here and that, so that requests at once gain next to nothing.
pub(super) async fn throttle<F: Future<Output = Response>>(
    app: &App,
    request: Request,
    next: impl FnOnce(Request) -> F,
) -> Response {
    let who = asking(&request);
    let route = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    let kind = kind(request.method(), route);
    let now = app.clock.now();
    if let Err((limit, limited)) = app.throttle().let_by(&who, kind, now) {
        app.metrics().limited.one(limit);
        return Problem::from(limited).into_response();
    }
    let response = next(request).await;
    if kind == Kind::LookUp
        && response.extensions().get::<Problem>().is_some_and(Problem::is_miss)
        && let Some(misses) = &app.throttle().misses
    {
        let _ = misses.count(&who, now);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_up_an_id_is_known_by_its_route() {
        for (method, route, expected) in [
            (Method::GET, "/{id}", Kind::LookUp),
            (Method::HEAD, "/{id}/{name}", Kind::LookUp),
            (Method::PUT, "/{id}", Kind::Other),
            (Method::PUT, "/paste/{id}", Kind::LookUp),
            (Method::PATCH, "/api/links/{id}", Kind::LookUp),
            (Method::POST, "/api/upload", Kind::Other),
            (Method::GET, "/health/ready", Kind::Health),
            (Method::GET, "", Kind::Other),
        ] {
            assert_eq!(kind(&method, route), expected, "{method} {route}");
        }
    }
}
