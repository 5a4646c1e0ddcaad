//! Bytes out: whole, or the range that was asked for.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use futures_util::TryStreamExt as _;

use super::Path;
use super::render::disposition;
use super::shorten;
use crate::access;
use crate::api;
use crate::identity::Principal;
use crate::link::{Kind, Link, LinkId};
use crate::server::App;
use crate::server::authenticate::Anyone;
use crate::server::passwords;
use crate::server::problem::Problem;
use crate::store::{self, Lookup, Span};

/// `GET, HEAD /{id}`.
pub(in crate::server) async fn fetch(
    State(app): State<App>,
    Anyone(who): Anyone,
    Path(id): Path<String>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    answer(&app, &who, &id, &method, &headers, Manner::Own).await
}

/// `GET, HEAD /{id}/{name}`: the name is for people and for programs that save under it.
pub(in crate::server) async fn fetch_named(
    State(app): State<App>,
    Anyone(who): Anyone,
    Path((id, _name)): Path<(String, String)>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    answer(&app, &who, &id, &method, &headers, Manner::Own).await
}

/// How content is handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) enum Manner {
    /// Files to be saved, pastes shown where that is safe; asking with `HEAD` is no reading.
    Own,
    /// Everything shown, in a sandbox; asking with `HEAD` is a reading.
    FlaskPaste,
}

/// How often content may be replaced between looking and reading before the caller is told to come back.
const REPLACED: usize = 5;

/// A live link by the text of its id.
pub(in crate::server) async fn find(app: &App, id: &str) -> Result<Link, Problem> {
    let id: LinkId = id.parse()?;
    match app.store.find(&id).await? {
        Lookup::Live(link) => Ok(*link),
        Lookup::Gone => Err(Problem::gone()),
        Lookup::Unknown => Err(Problem::not_found("such link")),
    }
}

/// The content of a link, whole or in part, or what stands in the way.
pub(in crate::server) async fn answer(
    app: &App,
    who: &Principal,
    id: &str,
    method: &Method,
    headers: &HeaderMap,
    manner: Manner,
) -> Result<Response, Problem> {
    let mut unlocked = None;
    for _ in 0..REPLACED {
        let link = find(app, id).await?;
        // Once for each password: a link may be given another one meanwhile.
        if link.password.is_some() && unlocked != link.password {
            passwords::unlock(app, who, &link, headers).await?;
            unlocked.clone_from(&link.password);
        }
        if link.kind == Kind::Url {
            return shorten::redirect(app, who, &link, method, headers).await;
        }
        match content(app, link, method, headers, manner).await {
            Err(store::Error::Replaced) => {}
            Err(error) => return Err(error.into()),
            Ok(answer) => return answer,
        }
    }
    Err(store::Error::Replaced.into())
}

/// The content of a link as it was found: an error when that was too long ago.
async fn content(
    app: &App,
    link: Link,
    method: &Method,
    headers: &HeaderMap,
    manner: Manner,
) -> Result<Result<Response, Problem>, store::Error> {
    let etag = format!("\"{}\"", link.sha256);
    if says(headers, header::IF_NONE_MATCH).is_some_and(|tags| matches(tags, &etag)) {
        // An empty body would be given the length 0, which is not the content's (RFC 9110 section 8.6).
        let unsaid = futures_util::stream::empty::<Result<Bytes, Infallible>>();
        let mut response = (StatusCode::NOT_MODIFIED, Body::from_stream(unsaid)).into_response();
        describe(response.headers_mut(), &link, &etag, manner);
        app.store.touch(&link);
        return Ok(Ok(response));
    }
    let range = match says(headers, header::RANGE) {
        // Ranges are defined for GET only (RFC 9110 section 14.2).
        Some(range) if method == Method::GET && may_range(headers, &etag) => parse_range(range, link.size),
        _ => Range::Whole,
    };
    let span = match range {
        Range::Whole => None,
        Range::Part(span) => Some(span),
        Range::Unsatisfiable => return Ok(Err(Problem::unsatisfiable(link.size))),
    };
    let length = span.map_or(link.size, |span| span.length);
    let head = method == Method::HEAD;
    let mut response = if head && !(link.burn && manner == Manner::FlaskPaste) {
        Response::new(Body::empty())
    } else {
        match app.store.read(access::read(link.clone()), span).await? {
            Some(content) if !head => {
                app.metrics().reading(&link);
                let metrics = Arc::clone(app.metrics());
                let count = move |piece: &Bytes| {
                    metrics.sent.fetch_add(piece.len() as u64, Ordering::Relaxed);
                };
                Response::new(Body::from_stream(content.inspect_ok(count)))
            }
            Some(_) => {
                app.metrics().reading(&link);
                Response::new(Body::empty())
            }
            None => return Ok(Err(Problem::gone())),
        }
    };
    app.store.touch(&link);
    describe(response.headers_mut(), &link, &etag, manner);
    response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
    if let Some(span) = span {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        let last = span.start + span.length - 1;
        set(response.headers_mut(), header::CONTENT_RANGE, &format!("bytes {}-{last}/{}", span.start, link.size));
    }
    Ok(Ok(response))
}

fn says(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn set(headers: &mut HeaderMap, name: header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.insert(name, value);
    }
}

fn describe(headers: &mut HeaderMap, link: &Link, etag: &str, manner: Manner) {
    let inline = manner == Manner::FlaskPaste || link.kind == Kind::Paste && is_safe_inline(&link.mime);
    let name = link.name.as_ref().map(crate::link::FileName::as_str);
    set(headers, header::CONTENT_TYPE, &link.mime);
    set(headers, header::CONTENT_DISPOSITION, &disposition(if inline { "inline" } else { "attachment" }, name));
    set(headers, header::ETAG, etag);
    set(headers, header::CACHE_CONTROL, if link.burn { "no-store" } else { "private, no-cache" });
    set(headers, header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'; sandbox");
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    let digest = format!("sha-256=:{}:", BASE64_STANDARD.encode(link.sha256.0));
    set(headers, header::HeaderName::from_static(api::header::REPR_DIGEST), &digest);
}

/// Types that no browser runs.
fn is_safe_inline(mime: &str) -> bool {
    let essence = mime.split(';').next().unwrap_or_default().trim();
    matches!(essence, "text/plain" | "image/png" | "image/jpeg" | "image/gif" | "image/webp" | "image/avif")
}

/// `If-None-Match` (RFC 9110 section 13.1.2): compared weakly.
fn matches(tags: &str, etag: &str) -> bool {
    tags.trim() == "*" || tags.split(',').any(|tag| tag.trim().trim_start_matches("W/") == etag)
}

/// `If-Range` (RFC 9110 section 13.1.5): a tag is compared strongly; a date never matches, since we send none.
fn may_range(headers: &HeaderMap, etag: &str) -> bool {
    says(headers, header::IF_RANGE).is_none_or(|tag| tag.trim() == etag)
}

#[derive(Debug, PartialEq, Eq)]
enum Range {
    Whole,
    Part(Span),
    Unsatisfiable,
}

/// `Range` (RFC 9110 section 14.2). One range is served; several, and what is no range, are answered with the whole,
/// as the RFC allows.
fn parse_range(text: &str, size: u64) -> Range {
    let Some(spec) = text.trim().strip_prefix("bytes=") else { return Range::Whole };
    let Some((first, last)) = spec.trim().split_once('-') else { return Range::Whole };
    let number = |text: &str| -> Option<u64> {
        (!text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().unwrap_or(u64::MAX))
    };
    let (start, end) = match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => (first, last.saturating_add(1).min(size)),
        (Some(first), None) if last.is_empty() => (first, size),
        (None, Some(suffix)) if first.is_empty() => (size.saturating_sub(suffix), size),
        _ => return Range::Whole,
    };
    if start >= end { Range::Unsatisfiable } else { Range::Part(Span { start, length: end - start }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read() {
        let part = |start, length| Range::Part(Span { start, length });
        for (text, range) in [
            ("bytes=0-0", part(0, 1)),
            ("bytes=2-", part(2, 8)),
            ("bytes=2-3", part(2, 2)),
            ("bytes=2-99999999999999999999999", part(2, 8)),
            ("bytes=-3", part(7, 3)),
            ("bytes=-99", part(0, 10)),
            ("bytes=10-", Range::Unsatisfiable),
            ("bytes=-0", Range::Unsatisfiable),
            ("bytes=3-2", Range::Whole),
            ("bytes=0-1,4-5", Range::Whole),
            ("bytes=+1-2", Range::Whole),
            ("bytes=a-b", Range::Whole),
            ("bytes=-", Range::Whole),
            ("lines=1-2", Range::Whole),
        ] {
            assert_eq!(parse_range(text, 10), range, "{text}");
        }
        assert_eq!(parse_range("bytes=0-", 0), Range::Unsatisfiable);
    }

    #[test]
    fn tags_are_compared() {
        assert!(matches("\"a\", W/\"b\"", "\"b\"") && matches("*", "\"b\"") && !matches("\"a\"", "\"b\""));
    }
}
