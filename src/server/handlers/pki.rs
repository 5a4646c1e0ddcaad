//! The authority over HTTP.

use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json as JsonBody};
use schemars::JsonSchema;
use serde::Deserialize;
use url::Url;

use super::render::Base;
use super::upload::small;
use super::{Json, Path, Query, object};
use crate::authority::{self, Actor, InviteFor, Issued, Page, Which, listing};
use crate::identity::{Owner, Principal, Sha1, Sha256};
use crate::server::App;
use crate::server::admission;
use crate::server::authenticate::{Anyone, Asking, InviteSecret};
use crate::server::problem::{ENROLL_HINT, Problem};
use crate::token;
use crate::units::Ttl;
use crate::{access, api};

/// Bytes a signing request may have: RSA-4096 with every attribute in use stays under 4 KiB.
const LARGEST_REQUEST: usize = 16 * 1024;

/// The media type of PEM.
pub(super) const PEM_FILE: &str = "application/x-pem-file";

pub(super) fn actor(who: &Principal) -> Actor {
    Actor { name: who.name.clone().unwrap_or_else(|| "nobody".to_owned()), address: who.address }
}

pub(super) fn pem(text: String) -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static(PEM_FILE))], text).into_response()
}

/// `GET /pki/status`.
pub(in crate::server) async fn status(State(app): State<App>) -> Result<JsonBody<api::PkiStatus>, Problem> {
    app.authority.notice().await?;
    let status = app.authority.status()?;
    Ok(JsonBody(api::PkiStatus {
        enabled: true,
        common_name: status.common_name,
        root_fingerprint: status.root_fingerprint.to_string(),
        issuing_fingerprint: status.issuing_fingerprint.to_string(),
        root_expires_at: status.root_expires_at,
        issuing_expires_at: status.issuing_expires_at,
        open_registration: app.settings.open_registration,
    }))
}

/// `GET /pki/ca.crt`.
pub(in crate::server) async fn root(State(app): State<App>) -> Response {
    pem(app.authority.root_pem().to_owned())
}

/// `GET /pki/chain.crt`.
pub(in crate::server) async fn chain(State(app): State<App>) -> Result<Response, Problem> {
    app.authority.notice().await?;
    Ok(pem(app.authority.chain_pem()))
}

/// `POST /pki/ca`: there is one from the first start on.
pub(in crate::server) async fn make_ca(Asking(who): Asking) -> Result<Response, Problem> {
    access::administer(&who)?;
    Err(Problem::new(StatusCode::CONFLICT, "ca_exists", "there is a certificate authority already"))
}

/// `POST /pki/ca/rotate`: a new issuing CA; what those before it signed stays good.
pub(in crate::server) async fn rotate(
    State(app): State<App>,
    Asking(who): Asking,
    body: Body,
) -> Result<Response, Problem> {
    access::administer(&who)?;
    let wish: api::Rotate = object(&small(body, LARGEST_REQUEST).await?)?;
    if wish.permit.len() > MOST_NAMES {
        return Err(Problem::bad_request(format!("'permit' has at most {MOST_NAMES} names")));
    }
    let made = app.authority.rotate(&actor(&who), authority::permitted(&wish.permit)?).await?;
    let status = app.authority.status()?;
    let body = api::Rotated { issuing_fingerprint: made.to_string(), issuing_expires_at: status.issuing_expires_at };
    Ok((StatusCode::CREATED, JsonBody(body)).into_response())
}

/// Domains and networks a CA may be constrained to: all of them are in its certificate, which every handshake carries.
const MOST_NAMES: usize = 100;

/// `POST /pki/enroll`: an invite and a signing request in, a certificate out.
pub(in crate::server) async fn enroll(
    State(app): State<App>,
    Anyone(who): Anyone,
    invite: Option<Extension<InviteSecret>>,
    body: Body,
) -> Result<Response, Problem> {
    let Some(Extension(InviteSecret(secret))) = invite else {
        return Err(Problem::unauthorized("enrolling needs an invite: Authorization: Invite SECRET").hint(ENROLL_HINT));
    };
    let csr = signing_request(body).await?;
    Ok(issued(&admission::enroll(&app, &who, &secret, &csr).await?))
}

/// `POST /pki/renew`.
pub(in crate::server) async fn renew(
    State(app): State<App>,
    Asking(who): Asking,
    body: Body,
) -> Result<Response, Problem> {
    let Owner::Client(client) = &who.owner else {
        return Err(Problem::not_a_client());
    };
    let csr = signing_request(body).await?;
    Ok(issued(&app.authority.renew(&actor(&who), client, &csr).await?))
}

pub(super) async fn signing_request(body: Body) -> Result<String, Problem> {
    let bytes = small(body, LARGEST_REQUEST).await?;
    String::from_utf8(bytes.to_vec())
        .map_err(|_| Problem::bad_request("the signing request is not PEM").hint("openssl req -new ... -outform PEM"))
}

fn issued(issued: &Issued) -> Response {
    let mut response = pem(issued.chain_pem.clone());
    describe(response.headers_mut(), issued);
    response
}

/// What is said of a certificate beside the certificate itself.
pub(super) fn describe(headers: &mut HeaderMap, issued: &Issued) {
    let admin = if issued.client.admin { "1" } else { "0" };
    for (name, value) in [
        (api::header::FINGERPRINT_SHA256, issued.fingerprint.sha256.to_string()),
        (api::header::FINGERPRINT_SHA1, issued.fingerprint.sha1.to_string()),
        (api::header::CERTIFICATE_SERIAL, issued.serial.clone()),
        (api::header::CERTIFICATE_EXPIRES, issued.not_after.as_secs().to_string()),
        (api::header::IS_ADMIN, admin.to_owned()),
    ] {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    }
}

/// `POST /pki/issue`.
pub(in crate::server) async fn issue(
    State(app): State<App>,
    Asking(who): Asking,
    Json(wish): Json<api::Issue>,
) -> Result<Response, Problem> {
    access::administer(&who)?;
    let csr = wish.csr.as_deref();
    let (issued, bundle) = app.authority.issue(&actor(&who), &wish.common_name, wish.days, wish.admin, csr).await?;
    Ok((StatusCode::CREATED, JsonBody(listing::issued(issued, bundle))).into_response())
}

/// Entries on a page, at most and when no number is asked for: programs that know of no pages see all there is on most
/// servers.
const PAGE: u32 = 1000;

/// Which page of a list.
#[derive(Debug, Deserialize, JsonSchema)]
pub(in crate::server) struct Paging {
    /// Entries on a page; 1000 when absent.
    #[schemars(range(min = 1, max = 1000))]
    limit: Option<u32>,
    /// `next` of the page before.
    after: Option<String>,
}

/// The same where entries are known by a SHA-256.
#[derive(Debug, Deserialize, JsonSchema)]
pub(in crate::server) struct PagingByDigest {
    /// Entries on a page; 1000 when absent.
    #[schemars(range(min = 1, max = 1000))]
    limit: Option<u32>,
    /// `next` of the page before.
    #[schemars(extend("pattern" = "^[0-9a-f]{64}$"))]
    after: Option<String>,
}

impl Paging {
    fn page<K>(self, key: impl Fn(String) -> Result<K, Problem>) -> Result<Page<K>, Problem> {
        let limit = self.limit.unwrap_or(PAGE);
        if limit == 0 || limit > PAGE {
            return Err(Problem::bad_request(format!("'limit' is a number from 1 to {PAGE}")));
        }
        Ok(Page { after: self.after.map(key).transpose()?, limit })
    }
}

/// `GET /pki/certs`: own; an admin's: all.
pub(in crate::server) async fn certificates(
    State(app): State<App>,
    Asking(who): Asking,
    Query(PagingByDigest { limit, after }): Query<PagingByDigest>,
) -> Result<JsonBody<api::Certificates>, Problem> {
    let of = match (&who.owner, access::administer(&who)) {
        (_, Ok(_)) => None,
        (Owner::Client(id), _) => Some(id),
        (_, Err(denied)) => return Err(denied.into()),
    };
    let now = app.clock.now();
    let key =
        |text: String| text.parse::<Sha256>().map_err(|_| Problem::bad_request("'after' is the 'next' of a page"));
    let (certs, next) = app.authority.certificates_page(of, Paging { limit, after }.page(key)?).await?;
    let certs = certs.iter().map(|known| listing::certificate(known, now)).collect();
    Ok(JsonBody(api::Certificates { certs, next: next.map(|sha256| sha256.to_string()) }))
}

/// `POST /pki/revoke`: own; an admin's: all. Repeated: the same answer, no change.
pub(in crate::server) async fn revoke(
    State(app): State<App>,
    Asking(who): Asking,
    Json(wish): Json<api::Revoke>,
) -> Result<JsonBody<api::Revoked>, Problem> {
    let which = match (wish.serial, wish.fingerprint, wish.name) {
        (Some(serial), None, None) => Which::Serial(serial),
        (None, Some(fingerprint), None) => by_fingerprint(&fingerprint)?,
        (None, None, Some(name)) => Which::Client(name),
        _ => return Err(Problem::bad_request("give exactly one of 'serial', 'fingerprint' and 'name'")),
    };
    let reason = match wish.reason.as_deref() {
        None => 0,
        Some(text) => listing::reason_code(text)
            .ok_or_else(|| Problem::bad_request(format!("'{text}' is not a reason of RFC 5280 section 5.3.1")))?,
    };
    let only = match (&who.owner, access::administer(&who)) {
        (_, Ok(_)) => None,
        (Owner::Client(id), _) => Some(id),
        (_, Err(denied)) => return Err(denied.into()),
    };
    let (certs, changed) = app.authority.revoke(&actor(&who), which, reason, only).await?;
    let now = app.clock.now();
    Ok(JsonBody(api::Revoked { certs: certs.iter().map(|known| listing::certificate(known, now)).collect(), changed }))
}

fn by_fingerprint(text: &str) -> Result<Which, Problem> {
    if let Ok(sha256) = text.parse::<Sha256>() {
        return Ok(Which::Sha256(sha256));
    }
    text.parse::<Sha1>().map(Which::Sha1).map_err(|error| Problem::bad_request(error.to_string()))
}

/// `POST /pki/invites`.
pub(in crate::server) async fn invite(
    State(app): State<App>,
    Asking(who): Asking,
    base: Base,
    Json(wish): Json<api::NewInvite>,
) -> Result<Response, Problem> {
    access::administer(&who)?;
    let ttl = match wish.ttl.as_deref().unwrap_or("24h").parse::<Ttl>()? {
        Ttl::For(span) if span <= LONGEST_INVITE => span,
        _ => return Err(Problem::bad_request("an invite holds for 30 days at most")),
    };
    let server = match wish.url.as_deref() {
        Some(text) => server_url(text)?,
        None => base.url().clone(),
    };
    let what = InviteFor { name: wish.name, admin: wish.admin, existing: wish.existing, ttl };
    let made = app.authority.invite(&actor(&who), what).await?;
    let invite = token::Invite {
        server,
        root: app.authority.root_fingerprint(),
        web: app.settings.web_pki,
        secret: made.secret.clone(),
    };
    let body = api::MadeInvite {
        id: made.id,
        invite: invite.to_string(),
        secret: made.secret.reveal().to_owned(),
        name: made.name,
        admin: made.admin,
        expires_at: made.expires_at,
    };
    Ok((StatusCode::CREATED, JsonBody(body)).into_response())
}

/// Where a client can be sent to.
fn server_url(text: &str) -> Result<Url, Problem> {
    let url = Url::parse(text).ok().filter(|url| {
        let more = url.query().is_some() || url.fragment().is_some() || !url.username().is_empty();
        matches!(url.scheme(), "https" | "http") && url.has_host() && !more && url.password().is_none()
    });
    url.ok_or_else(|| Problem::bad_request("'url' is not a server's address such as https://drop.example.org"))
}

/// The longest an invite may hold.
const LONGEST_INVITE: Duration = Duration::from_secs(30 * 24 * 3600);

/// `GET /pki/invites`.
pub(in crate::server) async fn invites(
    State(app): State<App>,
    Asking(who): Asking,
    Query(paging): Query<Paging>,
) -> Result<JsonBody<api::Invites>, Problem> {
    access::administer(&who)?;
    let now = app.clock.now();
    let (invites, next) = app.authority.invites_page(paging.page(Ok)?).await?;
    Ok(JsonBody(api::Invites { invites: invites.iter().map(|invite| listing::invite(invite, now)).collect(), next }))
}

/// `DELETE /pki/invites/{id}`.
pub(in crate::server) async fn withdraw_invite(
    State(app): State<App>,
    Asking(who): Asking,
    Path(id): Path<String>,
) -> Result<JsonBody<api::Done>, Problem> {
    access::administer(&who)?;
    if app.authority.withdraw_invite(&actor(&who), &id).await? {
        Ok(JsonBody(api::Done { message: "the invite was withdrawn".to_owned() }))
    } else {
        Err(Problem::not_found("open invite with that id"))
    }
}
