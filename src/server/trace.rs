//! The stage around all that may refuse: the request's id, its line in the log, security headers, and problems made into answers.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use tracing::Instrument as _;

use super::App;
use super::authenticate::Known;
use super::outside::Outside;
use super::problem::Problem;
use crate::{api, link};

pub(super) async fn trace<F: Future<Output = Response>>(
    app: &App,
    request: Request,
    next: impl FnOnce(Request) -> F,
) -> Response {
    let id = request_id(request.headers());
    let method = request.method().clone();
    // The route, not the path: whoever has a path with an id in it may read what it leads to.
    let route = request.extensions().get::<MatchedPath>().map_or("-", MatchedPath::as_str).to_owned();
    let outside = request.extensions().get::<Outside>();
    let https = outside.is_some_and(|outside| outside.https);
    let from = outside.and_then(|outside| outside.address).map(tracing::field::display);
    let span = tracing::info_span!("request", id, method = method.as_str(), route, from);
    async move {
        let begun = Instant::now();
        let mut response = next(request).await;
        let known = response.extensions().get::<Known>().is_some();
        if let Some(problem) = response.extensions_mut().remove::<Problem>() {
            log(&problem);
            response = problem.render(&id);
        }
        harden(response.headers_mut(), https);
        if let Ok(value) = HeaderValue::try_from(id) {
            response.headers_mut().insert(api::header::REQUEST_ID, value);
        }
        let took = begun.elapsed();
        app.metrics().request(&method, &route, response.status().as_u16(), took);
        tell(app, response.status(), known, took);
        response
    }
    .instrument(span)
    .await
}

/// A line for each request, but what strangers are refused: that is counted, and a line for each would make a flood of
/// requests one of the disk.
fn tell(app: &App, status: StatusCode, known: bool, took: Duration) {
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    let told = match status {
        StatusCode::TOO_MANY_REQUESTS => None,
        _ if status.is_client_error() && !known => app.refusals().take(),
        _ => Some(0),
    };
    let status = status.as_u16();
    match told {
        None => tracing::debug!(status, micros, "answered"),
        Some(left_out) => {
            tracing::info!(status, micros, left_out = (left_out > 0).then_some(left_out), "answered");
        }
    }
}

fn log(problem: &Problem) {
    match problem.cause() {
        Some(cause) => tracing::error!(code = problem.code(), cause, "failed"),
        None => tracing::debug!(code = problem.code(), "refused"),
    }
}

/// The caller's id if it is a sane one (1 to 64 letters, digits, `-`, `_`, `.`), else a new one.
fn request_id(headers: &HeaderMap) -> String {
    let sane = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let given = headers.get(api::header::REQUEST_ID).and_then(|value| value.to_str().ok());
    match given {
        Some(id) if (1..=64).contains(&id.len()) && id.bytes().all(sane) => id.to_owned(),
        _ => new_id(),
    }
}

/// One that was not given before and tells nothing. It is no secret, and not worth asking the system for randomness.
fn new_id() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    /// SipHash under keys that nobody knows.
    static KEYS: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    const HALF: u64 = 62_u64.pow(8);
    let nth = COUNT.fetch_add(1, Ordering::Relaxed);
    let mut id = String::with_capacity(16);
    for half in 0..2_u8 {
        let mut rest = KEYS.hash_one((nth, half)) % HALF;
        for _ in 0..8 {
            id.extend(link::BASE62.get((rest % 62) as usize).map(|digit| char::from(*digit)));
            rest /= 62;
        }
    }
    id
}

/// What every answer carries, errors included; a handler that has said something stricter or needed keeps it.
fn harden(headers: &mut HeaderMap, https: bool) {
    const ALWAYS: [(HeaderName, &str); 7] = [
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=()"),
    ];
    for (name, value) in ALWAYS {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    if https {
        let value = HeaderValue::from_static("max-age=63072000; includeSubDomains");
        headers.insert(header::STRICT_TRANSPORT_SECURITY, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sane_request_id_is_kept_and_another_replaced() {
        let with = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(api::header::REQUEST_ID, HeaderValue::from_str(value).expect("a header"));
            request_id(&headers)
        };
        assert_eq!(with("build-42.x_y"), "build-42.x_y");
        for odd in ["", "a b", "<script>", &"a".repeat(65)] {
            let made = with(odd);
            assert!(made.len() == 16 && made != odd, "{odd}");
        }
    }

    #[test]
    fn new_ids_are_all_different() {
        let made: std::collections::HashSet<String> = (0..10_000).map(|_| new_id()).collect();
        assert_eq!(made.len(), 10_000);
        assert!(made.iter().all(|id| id.len() == 16 && id.bytes().all(|b| b.is_ascii_alphanumeric())));
    }
}
