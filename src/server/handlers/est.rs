//! Enrolment over Secure Transport (RFC 7030), for clients that were not written for us.

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::pki::{actor, signing_request};
use crate::authority::Issued;
use crate::identity::{Owner, Principal};
use crate::server::App;
use crate::server::admission;
use crate::server::authenticate::{Anyone, Asking, InviteSecret};
use crate::server::problem::{ENROLL_HINT, Problem};

/// Characters of base64 a line has: RFC 2045 section 6.8 allows 76, PEM has 64.
const LINE: usize = 64;

/// What a key should be, as RFC 8951 section 3.3 has it (`CsrAttrs`): on P-256, the request signed with SHA-256.
const ATTRIBUTES: [u8; 35] = [
    0x30, 0x21, // SEQUENCE
    0x30, 0x15, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, // id-ecPublicKey
    0x31, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, // { prime256v1 }
    0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02, // ecdsa-with-SHA256
];

/// `GET /.well-known/est/cacerts` (section 4.1).
pub(in crate::server) async fn cacerts(State(app): State<App>) -> Result<Response, Problem> {
    certificates(&app.authority.chain_pem(), usize::MAX, "application/pkcs7-mime")
}

/// `GET /.well-known/est/csrattrs` (section 4.5): what would be best; other keys that are strong enough will do.
pub(in crate::server) async fn csrattrs() -> Response {
    encoded(&ATTRIBUTES, "application/csrattrs")
}

/// `POST /.well-known/est/simpleenroll` (section 4.2.1): an invite's secret as the password of HTTP Basic, or, as
/// section 3.3.2 allows, the certificate one has.
pub(in crate::server) async fn enroll(
    State(app): State<App>,
    Anyone(who): Anyone,
    asking: Result<Asking, Problem>,
    invite: Option<Extension<InviteSecret>>,
    body: Body,
) -> Result<Response, Problem> {
    let Some(Extension(InviteSecret(secret))) = invite else {
        let Asking(who) = asking?;
        if matches!(who.owner, Owner::Client(_)) {
            return renew(&app, &who, body).await;
        }
        let detail = "enrolling needs an invite: its secret is the password, the user name can be any";
        return Err(Problem::unauthorized(detail).hint(ENROLL_HINT).ask_basic());
    };
    let csr = request(body).await?;
    match admission::enroll(&app, &who, &secret, &csr).await {
        Ok(issued) => leaf(&issued),
        Err(problem) if problem.is_about_an_invite() => Err(problem.ask_basic()),
        Err(problem) => Err(problem),
    }
}

/// `POST /.well-known/est/simplereenroll` (section 4.2.2): the client stays the same, whatever name the request has.
pub(in crate::server) async fn reenroll(
    State(app): State<App>,
    Asking(who): Asking,
    body: Body,
) -> Result<Response, Problem> {
    renew(&app, &who, body).await
}

async fn renew(app: &App, who: &Principal, body: Body) -> Result<Response, Problem> {
    let Owner::Client(client) = &who.owner else { return Err(Problem::not_a_client()) };
    let csr = request(body).await?;
    leaf(&app.authority.renew(&actor(who), client, &csr).await?)
}

/// A signing request in base64 of DER; PEM is understood too.
async fn request(body: Body) -> Result<String, Problem> {
    let text = signing_request(body).await?;
    if text.trim_start().starts_with("-----BEGIN") {
        return Ok(text);
    }
    let compact: String = text.split_ascii_whitespace().collect();
    let der = BASE64_STANDARD.decode(compact).map_err(|_| {
        Problem::bad_request("the signing request is not in base64")
            .hint("openssl req -new ... -outform DER | openssl base64")
    })?;
    Ok(::pki::pem::encode("CERTIFICATE REQUEST", &der))
}

/// The certificate that was issued, and nothing else (section 4.2.3).
fn leaf(issued: &Issued) -> Result<Response, Problem> {
    certificates(&issued.chain_pem, 1, "application/pkcs7-mime; smime-type=certs-only")
}

fn certificates(pem: &str, most: usize, kind: &'static str) -> Result<Response, Problem> {
    let mut all = ::pki::pem::certificates(pem).map_err(|error| Problem::unreadable(&error))?;
    all.truncate(most);
    Ok(encoded(&::pki::pkcs7::certificates(&all), kind))
}

fn encoded(der: &[u8], kind: &'static str) -> Response {
    const TRANSFER_ENCODING: HeaderName = HeaderName::from_static("content-transfer-encoding");
    let text = BASE64_STANDARD.encode(der);
    let lines = text.as_bytes().chunks(LINE).map(|line| [line, b"\n"].concat());
    let body: Vec<u8> = lines.flatten().collect();
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (TRANSFER_ENCODING, HeaderValue::from_static("base64")),
    ];
    (headers, body).into_response()
}
