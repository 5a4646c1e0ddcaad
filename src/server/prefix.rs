//! The path under which a proxy shows the server (`DD_URL_PREFIX`): taken off, unless the proxy has done so.

use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::http::uri::PathAndQuery;
use axum::http::{Request, Uri};
use tower::Service;

/// What answers requests without the prefix, and requests with it.
#[derive(Clone)]
pub(super) struct Unprefixed<S> {
    prefix: Arc<str>,
    inner: S,
}

impl<S> Unprefixed<S> {
    /// `prefix`: with a slash before and none after; empty is none.
    pub(super) fn new(prefix: &str, inner: S) -> Self {
        Self { prefix: prefix.into(), inner }
    }
}

impl<S: Service<Request<Body>>> Service<Request<Body>> for Unprefixed<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> S::Future {
        if let Some(uri) = without(&self.prefix, request.uri()) {
            *request.uri_mut() = uri;
        }
        self.inner.call(request)
    }
}

/// The same address without the prefix; `None` if it does not begin with it.
fn without(prefix: &str, uri: &Uri) -> Option<Uri> {
    if prefix.is_empty() {
        return None;
    }
    let rest = uri.path().strip_prefix(prefix)?;
    if !rest.is_empty() && !rest.starts_with('/') {
        return None;
    }
    let path = if rest.is_empty() { "/" } else { rest };
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(format!("{path}{query}")).ok()?);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f36_only_whole_segments_are_taken_off() {
        let without = |uri: &'static str| without("/drop", &Uri::from_static(uri)).map(|uri| uri.to_string());
        assert_eq!(without("/drop").as_deref(), Some("/"));
        assert_eq!(without("/drop/").as_deref(), Some("/"));
        assert_eq!(without("/drop/api/links?limit=1").as_deref(), Some("/api/links?limit=1"));
        assert_eq!(without("https://host/drop/x").as_deref(), Some("https://host/x"));
        assert_eq!(without("/drop//evil").as_deref(), Some("//evil"));
        for other in ["/", "/dropped", "/api/drop/", "/Drop/x"] {
            assert_eq!(without(other), None, "{other}");
        }
    }
}
