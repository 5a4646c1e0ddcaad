//! What became of a certificate: OCSP over HTTP (RFC 6960 appendix A, RFC 5019), and revocation lists.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::Path;
use super::pki::PEM_FILE;
use super::upload::small;
use crate::authority::Published;
use crate::server::App;
use crate::server::problem::Problem;

/// How long others may keep an answer: a response is good for an hour, and a list for days, but a revocation should
/// be known soon.
const KEEP: &str = "public, max-age=300, no-transform, must-revalidate";

/// Base64 as RFC 5019 section 5 has it, with or without its padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// `POST /pki/ocsp`. Whatever is wrong with a request is said in OCSP's own way.
pub(in crate::server) async fn post(State(app): State<App>, body: Body) -> Result<Response, Problem> {
    let request = small(body, ::pki::ocsp::LONGEST).await?;
    Ok(answered(app.authority.ocsp(&request).await))
}

/// `GET /pki/ocsp/{request}`, the request in base64: an answer that caches may keep.
pub(in crate::server) async fn get(
    State(app): State<App>,
    Path(request): Path<String>,
    headers: HeaderMap,
) -> Response {
    let der = BASE64.decode(request.trim_start_matches('/')).unwrap_or_default();
    let response = app.authority.ocsp(&der).await;
    let mut answer =
        if is_successful(&response) { kept(&headers, Published::new(response)) } else { answered(response) };
    set_kind(&mut answer);
    answer
}

fn answered(response: Vec<u8>) -> Response {
    let mut answer = response.into_response();
    set_kind(&mut answer);
    answer
}

fn set_kind(answer: &mut Response) {
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/ocsp-response"));
}

/// Whether a response has an answer in it: `responseStatus` is 0, and what follows is more than one short header away.
fn is_successful(response: &[u8]) -> bool {
    response.windows(3).take(5).any(|status| status == [0x0a, 0x01, 0x00])
}

/// `GET /pki/crl`, in DER (RFC 5280 section 5).
pub(in crate::server) async fn crl(State(app): State<App>, headers: HeaderMap) -> Result<Response, Problem> {
    let mut answer = kept(&headers, app.authority.crl().await?);
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/pkix-crl"));
    Ok(answer)
}

/// `GET /pki/crl.pem`: the lists of every CA of ours, for programs that want them all in one file.
pub(in crate::server) async fn crl_pem(State(app): State<App>, headers: HeaderMap) -> Result<Response, Problem> {
    let mut answer = kept(&headers, app.authority.crl_pem().await?);
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(PEM_FILE));
    Ok(answer)
}

/// An answer that caches may keep, or that it has not changed.
fn kept(asked: &HeaderMap, body: Published) -> Response {
    let tag = format!("\"{}\"", body.sha256);
    let known = asked.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let unchanged = known.flat_map(|list| list.split(',')).any(|one| one.trim().trim_start_matches("W/") == tag);
    let mut answer = if unchanged { StatusCode::NOT_MODIFIED.into_response() } else { body.bytes.into_response() };
    let headers = answer.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(KEEP));
    if let Ok(tag) = HeaderValue::try_from(tag) {
        headers.insert(header::ETAG, tag);
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use pki::ocsp::{Failure, failure};

    #[test]
    fn failures_are_told_from_answers() {
        for what in [Failure::Malformed, Failure::Internal, Failure::Unauthorized] {
            assert!(!is_successful(&failure(what)));
        }
        assert!(is_successful(&[0x30, 0x82, 0x01, 0x00, 0x0a, 0x01, 0x00, 0xa0]));
        assert!(!is_successful(b""));
    }
}
