//! A browser sends its client certificate with every request to us, also with those a page from elsewhere makes: those
//! that change something are refused.

use axum::extract::Request;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};

use super::outside::Outside;
use super::problem::Problem;

pub(super) async fn same_site<F: Future<Output = Response>>(
    request: Request,
    next: impl FnOnce(Request) -> F,
) -> Response {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    let told = request.extensions().get::<Outside>().and_then(|outside| outside.host.as_deref());
    if !reads && is_foreign(told, request.uri(), request.headers()) {
        return Problem::new(StatusCode::FORBIDDEN, "cross_site", "a page from elsewhere cannot do this")
            .into_response();
    }
    next(request).await
}

/// What a browser says of where a request was made (Fetch Metadata; RFC 6454 for `Origin`). Programs say nothing.
/// `told`: the host that a proxy says the request was addressed to.
fn is_foreign(told: Option<&str>, uri: &Uri, headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    if let Some(site) = text("sec-fetch-site") {
        return !matches!(site, "same-origin" | "none");
    }
    let Some(origin) = text(header::ORIGIN.as_str()) else { return false };
    let host =
        told.or_else(|| uri.authority().map(|authority| authority.as_str())).or_else(|| text(header::HOST.as_str()));
    let own = origin.split_once("://").map(|(_, own)| own);
    own.is_none() || own != host
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_page_of_ours_is_ours() {
        let foreign = |said: &[(&'static str, &'static str)]| {
            let headers = said
                .iter()
                .map(|(name, value)| (header::HeaderName::from_static(name), header::HeaderValue::from_static(value)));
            is_foreign(None, &Uri::from_static("/"), &headers.collect())
        };
        assert!(!foreign(&[("host", "drop:8443")]));
        assert!(!foreign(&[("host", "drop:8443"), ("origin", "https://drop:8443")]));
        assert!(!foreign(&[("sec-fetch-site", "same-origin"), ("origin", "null")]));
        for said in [
            &[("host", "drop:8443"), ("origin", "https://evil")][..],
            &[("host", "drop:8443"), ("origin", "null")],
            &[("host", "drop:8443"), ("origin", "https://drop")],
            &[("sec-fetch-site", "cross-site")],
            &[("sec-fetch-site", "same-site")],
        ] {
            assert!(foreign(said), "{said:?}");
        }
    }
}
