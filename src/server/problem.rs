//! Failures as the caller sees them: the only place that knows HTTP status codes of failures.

use std::fmt;
use std::time::Duration;

use axum::body::Body;
use axum::extract::multipart::MultipartError;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use super::creation::refused_headers;
use crate::abuse::{Duplicate, Limited, Refusal, Refused, Unfit};
use crate::access::Denied;
use crate::{api, audit, authority, link, store, units};

/// A failure on its way to the caller: `trace` gives it its request id and logs its cause, once.
#[derive(Clone, Debug)]
pub(super) struct Problem(Box<Facts>);

#[derive(Clone, Debug)]
struct Facts {
    status: StatusCode,
    code: &'static str,
    detail: String,
    hint: Option<String>,
    /// For the log, never for the caller.
    cause: Option<String>,
    /// `WWW-Authenticate` and the like.
    headers: HeaderMap,
    /// What else the body says.
    more: serde_json::Map<String, Value>,
}

/// What to do for those who are not known.
pub(super) const ENROLL_HINT: &str =
    "enrol first: ask an admin for an invite (ddrop pki invite NAME) and run: ddrop cert --configure INVITE";

/// What is said of an id that leads nowhere.
const NO_SUCH_LINK: &str = "there is no such link";

/// DeadDrop's words, which its users' scripts may look for.
const BAD_TOKEN: &str = "Invalid or missing token";

impl Problem {
    pub(super) fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        let (headers, more) = (HeaderMap::new(), serde_json::Map::new());
        Self(Box::new(Facts { status, code, detail: detail.into(), hint: None, cause: None, headers, more }))
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    fn because(mut self, cause: &dyn std::error::Error) -> Self {
        self.0.cause = Some(chain(cause));
        self
    }

    fn header(mut self, name: header::HeaderName, value: HeaderValue) -> Self {
        self.0.headers.insert(name, value);
        self
    }

    fn says(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.more.insert(name.to_owned(), value.into());
        self
    }

    /// After so long it is worth another try; in whole seconds, rounded up.
    fn retry_after(self, after: Duration) -> Self {
        let seconds = u64::try_from(after.as_millis().div_ceil(1000)).unwrap_or(u64::MAX).max(1);
        self.hint(format!("try again in {seconds} s")).header(header::RETRY_AFTER, HeaderValue::from(seconds))
    }

    pub(super) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", detail)
    }

    pub(super) fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthenticated", detail)
            .header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"ddrop\""))
    }

    pub(super) fn missing_token() -> Self {
        Self::unauthorized(BAD_TOKEN).hint(ENROLL_HINT)
    }

    pub(super) fn bad_token() -> Self {
        let mut problem = Self::unauthorized(BAD_TOKEN);
        problem.0.code = "invalid_token";
        problem
    }

    pub(super) fn not_found(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", format!("there is no {what}"))
    }

    pub(super) fn gone() -> Self {
        Self::new(StatusCode::GONE, "gone", "this link has expired").hint("its owner can upload the content again")
    }

    pub(super) fn method_not_allowed() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "this path does not know that method")
    }

    pub(super) fn stalled() -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "stalled", "the request's body stopped coming")
    }

    pub(super) fn interrupted() -> Self {
        Self::new(StatusCode::BAD_REQUEST, "interrupted", "the request's body ended before it was whole")
    }

    pub(super) fn too_large(limit: u64) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "File too large")
            .hint(format!("this server takes at most {} a file", units::Size(limit)))
    }

    /// Of what is read whole.
    pub(super) fn body_too_long(limit: usize) -> Self {
        let detail = format!("the request's body is longer than {limit} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail)
    }

    pub(super) fn unsatisfiable(size: u64) -> Self {
        let problem =
            Self::new(StatusCode::RANGE_NOT_SATISFIABLE, "range", format!("the content has only {size} bytes"));
        match HeaderValue::try_from(format!("bytes */{size}")) {
            Ok(value) => problem.header(header::CONTENT_RANGE, value),
            Err(_) => problem,
        }
    }

    pub(super) fn certificate(standing: &authority::Standing) -> Self {
        use authority::Standing;
        let (code, detail) = match standing {
            Standing::Revoked { at } => ("certificate_revoked", format!("this certificate was revoked at {at}")),
            Standing::Expired { not_after } => {
                ("certificate_expired", format!("this certificate expired at {not_after}"))
            }
            Standing::NotYet { not_before } => (
                "certificate_not_yet_valid",
                format!("this certificate is valid from {not_before} on: compare the clocks of client and server"),
            ),
            Standing::Unknown | Standing::Good { .. } => {
                ("certificate_unknown", "this server did not issue this certificate".to_owned())
            }
        };
        Self::new(StatusCode::FORBIDDEN, code, detail)
            .hint("ask an admin for a new invite (ddrop pki invite --for NAME) and run: ddrop cert --configure INVITE")
    }

    pub(super) fn internal(cause: &dyn std::error::Error) -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "the server failed; its log says why, under this request id",
        )
        .because(cause)
    }

    fn unavailable(detail: impl Into<String>, cause: &dyn std::error::Error) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail).because(cause)
    }

    pub(super) fn not_ready(error: &store::Error) -> Self {
        Self::unavailable("the server cannot work now: its database or storage does not answer", error)
    }

    /// Content was expected and none came.
    pub(super) fn no_content() -> Self {
        Self::new(StatusCode::BAD_REQUEST, "empty", "No content provided")
    }

    /// The link has a password, and none was said.
    pub(super) fn password_required() -> Self {
        let mut problem = Self::unauthorized("Password required").hint("say it as the header X-Paste-Password");
        problem.0.code = "password_required";
        problem
    }

    pub(super) fn password_wrong() -> Self {
        Self::new(StatusCode::FORBIDDEN, "password_wrong", "Invalid password")
    }

    /// Too much of a kind at once, for a moment.
    pub(super) fn busy(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", detail)
            .header(header::RETRY_AFTER, HeaderValue::from_static("1"))
    }

    fn full(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::INSUFFICIENT_STORAGE, "storage_full", detail)
            .hint("expire links that are no longer needed, or ask the operator for more room (DD_MAX_STORAGE_MB)")
    }

    /// A proven proxy says who someone is in a way that cannot be believed.
    pub(super) fn identity_header(why: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "identity_header", why).hint("the proxy's settings are wrong: see deploy/")
    }

    /// Proof of work is asked for, and there is none.
    pub(super) fn no_work(ask: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "pow_required", "Proof-of-work required")
            .hint(format!("ask GET {ask}, find a solution, send both as X-PoW-Token and X-PoW-Solution"))
    }

    pub(super) fn registration_closed() -> Self {
        Self::new(StatusCode::FORBIDDEN, "registration_closed", "this server takes no one without an invite")
            .hint(ENROLL_HINT)
    }

    pub(super) fn not_a_client() -> Self {
        Self::new(StatusCode::FORBIDDEN, "not_a_client", "only a client's certificate can be renewed").hint(ENROLL_HINT)
    }

    /// What was made here cannot be read back.
    pub(super) fn unreadable(cause: &dyn std::error::Error) -> Self {
        Self::internal(cause)
    }

    /// Whether it was an id that could be one and is none: whoever asks for many of those is guessing.
    pub(super) fn is_miss(&self) -> bool {
        self.0.status == StatusCode::NOT_FOUND && self.0.hint.is_none() && self.0.detail == NO_SUCH_LINK
    }

    /// Whether it was an invite that would not do.
    pub(super) fn is_about_an_invite(&self) -> bool {
        matches!(self.0.code, "invite_unknown" | "invite_used" | "invite_expired" | "invite_withdrawn")
    }

    /// The same failure, for programs that know HTTP Basic.
    pub(super) fn ask_basic(mut self) -> Self {
        self.0.status = StatusCode::UNAUTHORIZED;
        self.header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"ddrop\", charset=\"UTF-8\""))
    }

    /// The stable word.
    pub(super) fn code(&self) -> &'static str {
        self.0.code
    }

    /// What to log.
    pub(super) fn cause(&self) -> Option<&str> {
        self.0.cause.as_deref()
    }

    /// The answer, complete.
    pub(super) fn render(self, request_id: &str) -> Response {
        let facts = *self.0;
        let body = api::Problem {
            kind: format!("urn:ddrop:problem:{}", facts.code),
            title: facts.status.canonical_reason().unwrap_or("Error").to_owned(),
            status: facts.status.as_u16(),
            error: facts.detail.clone(),
            detail: facts.detail,
            code: facts.code.to_owned(),
            hint: facts.hint,
            request_id: request_id.to_owned(),
            more: facts.more,
        };
        let json = serde_json::to_vec(&body).unwrap_or_default();
        let mut response = Response::new(Body::from(json));
        *response.status_mut() = facts.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.extend(facts.headers);
        response
    }
}

/// An error and its sources in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.0.status.as_u16(), self.0.code, self.0.detail)
    }
}

impl IntoResponse for Problem {
    /// Carries itself to `trace`, which makes the answer of it.
    fn into_response(self) -> Response {
        let mut response = self.0.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<Denied> for Problem {
    fn from(denied: Denied) -> Self {
        let forbidden = |code| Self::new(StatusCode::FORBIDDEN, code, denied.to_string());
        match denied {
            Denied::Unknown => Self::unauthorized(denied.to_string()).hint(ENROLL_HINT),
            Denied::Untrusted => forbidden("untrusted").hint(ENROLL_HINT),
            Denied::NotOwner => forbidden("not_owner").hint("ask its owner, or an admin"),
            Denied::NotAdmin => forbidden("not_admin").hint("ask an admin to do it"),
        }
    }
}

impl From<Limited> for Problem {
    fn from(limited: Limited) -> Self {
        let mut problem = Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", limited.to_string());
        problem.0.headers.extend(refused_headers(&limited));
        problem.retry_after(limited.retry_after)
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Limited(limited) => limited.into(),
            Refusal::NoWork => Self::no_work("/api/challenge"),
            Refusal::Work(refused) => refused.into(),
        }
    }
}

impl From<Unfit> for Problem {
    fn from(unfit: Unfit) -> Self {
        let bad = |code| Self::new(StatusCode::BAD_REQUEST, code, unfit.to_string());
        match unfit {
            Unfit::TooSmall { size, min_size } => bad("too_small")
                .hint(format!("{size} bytes came; this server takes {min_size} or more"))
                .says("min_size", min_size),
            Unfit::LowEntropy { entropy, min_entropy } => bad("low_entropy")
                .hint("this server takes encrypted content only: encrypt it before it is sent")
                .says("entropy", entropy)
                .says("min_entropy", min_entropy),
        }
    }
}

impl From<Duplicate> for Problem {
    fn from(duplicate: Duplicate) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "duplicate", duplicate.to_string())
            .says("count", duplicate.count)
            .says("window_seconds", duplicate.window.as_secs())
            .retry_after(duplicate.retry_after)
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Token | Refused::Expired | Refused::TooEasy | Refused::Wrong | Refused::Spent => {
                Self::new(StatusCode::BAD_REQUEST, "pow_failed", "Proof-of-work failed").hint(refused.to_string())
            }
        }
    }
}

impl From<link::Error> for Problem {
    fn from(error: link::Error) -> Self {
        match error {
            link::Error::Id(_) => Self::not_found("such link").hint(error.to_string()),
            link::Error::Kind(_) => Self::bad_request(error.to_string()),
            link::Error::TooLong { .. } => lifetime(&error),
        }
    }
}

impl From<link::target::Error> for Problem {
    fn from(error: link::target::Error) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_url", error.to_string())
    }
}

impl From<units::Error> for Problem {
    fn from(error: units::Error) -> Self {
        match error {
            units::Error::Ttl(_) => lifetime(&error),
            units::Error::Timestamp(_) => Self::bad_request(error.to_string()),
            units::Error::Random => Self::internal(&error),
        }
    }
}

fn lifetime(error: &dyn std::error::Error) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "invalid_ttl", "Invalid expiration window").hint(error.to_string())
}

impl From<MultipartError> for Problem {
    fn from(error: MultipartError) -> Self {
        Self::bad_request(format!("the multipart form cannot be read: {}", error.body_text()))
    }
}

impl From<store::Error> for Problem {
    fn from(error: store::Error) -> Self {
        use store::Error as E;
        match error {
            E::TooLarge { limit } => Self::too_large(limit),
            E::Full { .. } => Self::full("Storage limit exceeded"),
            E::TooMany { most } => Self::new(
                StatusCode::INSUFFICIENT_STORAGE,
                "too_many_links",
                format!("you have {most} links, as many as one may have"),
            )
            .hint("expire links that are no longer needed, or ask the operator for more (DD_MAX_LINKS)"),
            E::NoSpace(_) => Self::full(DISK_FULL).because(&error),
            E::Length { .. } => Self::new(StatusCode::BAD_REQUEST, "interrupted", error.to_string()),
            E::Ended => Self::gone(),
            E::Replaced => Self::new(StatusCode::CONFLICT, "replaced", error.to_string()).hint("ask again"),
            E::NotWritten | E::Closed | E::NoId => Self::unavailable("the server cannot write now; try again", &error),
            E::Unwanted => Self::bad_request(error.to_string()),
            E::Storage { .. }
            | E::NotOurs { .. }
            | E::Newer { .. }
            | E::Database(_)
            | E::Damaged(_)
            | E::Refused(_)
            | E::Random(_) => Self::internal(&error),
        }
    }
}

/// As uploads have it.
const DISK_FULL: &str = "The server's disk is full";

fn is_full(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
}

impl From<authority::Error> for Problem {
    fn from(error: authority::Error) -> Self {
        use authority::Error as E;
        let refused = |status, code| Self::new(status, code, error.to_string());
        let invite =
            |code| refused(StatusCode::FORBIDDEN, code).hint("an admin makes a new one with: ddrop pki invite NAME");
        match error {
            E::InviteUnknown => invite("invite_unknown"),
            E::InviteUsed => invite("invite_used"),
            E::InviteExpired(_) => invite("invite_expired"),
            E::InviteWithdrawn => invite("invite_withdrawn"),
            E::NameTaken(_) | E::NotFirst => refused(StatusCode::CONFLICT, "name_taken"),
            E::Known => refused(StatusCode::CONFLICT, "certificate_known"),
            E::WasRevoked => refused(StatusCode::CONFLICT, "certificate_revoked"),
            E::NoSuchClient(_) => refused(StatusCode::NOT_FOUND, "no_such_client"),
            E::NoSuchCertificate => refused(StatusCode::NOT_FOUND, "no_such_certificate"),
            E::ClientOver(_) => refused(StatusCode::FORBIDDEN, "client_revoked"),
            E::NotYours => refused(StatusCode::FORBIDDEN, "not_owner"),
            E::IsCa | E::Name(_) | E::Reason(_) | E::Lifetime(_) | E::AnyAndMore => {
                refused(StatusCode::BAD_REQUEST, "bad_request")
            }
            E::Sign(pki::ca::Error::ServerName(_)) => refused(StatusCode::BAD_REQUEST, "bad_request"),
            E::NotPermitted(ref name) => Self::new(
                StatusCode::CONFLICT,
                "not_permitted",
                format!("this server is called '{name}', which is not among the names the new CA could sign for"),
            ),
            E::ManyCas(_) => refused(StatusCode::CONFLICT, "many_cas"),
            // Where it was is for the operator to know.
            E::RootOffline(_) => {
                Self::new(StatusCode::CONFLICT, "root_offline", "the root key was taken offline, and only it makes CAs")
                    .hint("the operator puts it back as pki/root.key, makes the new CA, and takes it offline again")
            }
            E::Request(ref cause) => Self::new(StatusCode::BAD_REQUEST, "bad_signing_request", chain(cause)),
            E::Store(store) => store.into(),
            E::Io { ref source, .. } | E::Audit(audit::Error::Write { ref source, .. }) if is_full(source) => {
                Self::full(DISK_FULL).because(&error)
            }
            E::Sign(_)
            | E::Certificate(_)
            | E::RevocationList(_)
            | E::Ocsp(_)
            | E::Bundle(_)
            | E::Key(_)
            | E::Missing(_)
            | E::File { .. }
            | E::Io { .. }
            | E::OtherCa { .. }
            | E::Over { .. }
            | E::NotYet { .. }
            | E::NoPassphrase(_)
            | E::Audit(_)
            | E::Random(_)
            | E::BrokenOff(_) => Self::internal(&error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use pki::key::{Algorithm, Key};

    use crate::authority::Standing;
    use crate::units::Timestamp;

    use super::*;

    /// Something nobody outside is to hear of.
    const SECRET: &str = "/where/the/keys/are";

    fn path() -> PathBuf {
        PathBuf::from(SECRET)
    }

    fn io(kind: std::io::ErrorKind) -> std::io::Error {
        std::io::Error::new(kind, SECRET)
    }

    /// Status and word, and that nothing of the inside is in what is said.
    fn said(problem: &Problem) -> (u16, &'static str) {
        let found = (problem.0.status.as_u16(), problem.code());
        let text = format!("{} {:?} {:?}", problem.0.detail, problem.0.hint, problem.0.more);
        assert!(!text.contains(SECRET), "{text}");
        found
    }

    #[test]
    fn what_the_authority_refuses_has_a_word() {
        let at = Timestamp::from_secs(1);
        let name = || "alice".to_owned();
        for (error, expected) in [
            (authority::Error::InviteUnknown, (403, "invite_unknown")),
            (authority::Error::InviteUsed, (403, "invite_used")),
            (authority::Error::InviteExpired(at), (403, "invite_expired")),
            (authority::Error::InviteWithdrawn, (403, "invite_withdrawn")),
            (authority::Error::NameTaken(name()), (409, "name_taken")),
            (authority::Error::NotFirst, (409, "name_taken")),
            (authority::Error::Known, (409, "certificate_known")),
            (authority::Error::WasRevoked, (409, "certificate_revoked")),
            (authority::Error::NoSuchClient(name()), (404, "no_such_client")),
            (authority::Error::NoSuchCertificate, (404, "no_such_certificate")),
            (authority::Error::ClientOver(name()), (403, "client_revoked")),
            (authority::Error::NotYours, (403, "not_owner")),
            (authority::Error::IsCa, (400, "bad_request")),
            (authority::Error::Name(name()), (400, "bad_request")),
            (authority::Error::Reason(6), (400, "bad_request")),
            (authority::Error::Lifetime("too long"), (400, "bad_request")),
            (authority::Error::Request(pki::request::Error::Sha1), (400, "bad_signing_request")),
            (authority::Error::AnyAndMore, (400, "bad_request")),
            (authority::Error::Sign(pki::ca::Error::ServerName(name())), (400, "bad_request")),
            (authority::Error::ManyCas(32), (409, "many_cas")),
        ] {
            let detail = error.to_string();
            let problem = Problem::from(error);
            assert!(problem.0.detail.contains(&detail) && problem.cause().is_none(), "{problem}");
            assert_eq!(said(&problem), expected, "{detail}");
        }
    }

    #[tokio::test]
    async fn what_fails_inside_is_for_the_log_alone() {
        let task = tokio::spawn(std::future::pending::<()>());
        task.abort();
        let ended = task.await.expect_err("broken off");
        let key = Key::generate(Algorithm::P256).expect("a key");
        let bundle = pki::pkcs12::bundle(&key, &[b"none".to_vec()], "alice", "secret").expect_err("no certificate");
        let at = Timestamp::from_secs(1);
        for error in [
            authority::Error::Sign(pki::ca::Error::Ended),
            authority::Error::Certificate(pki::certificate::Error::Damaged),
            authority::Error::RevocationList(pki::crl::Error::Serial(SECRET.to_owned())),
            authority::Error::Ocsp(pki::ocsp::Error::Malformed),
            authority::Error::Bundle(bundle),
            authority::Error::Key(pki::key::Error::Damaged),
            authority::Error::Missing(path()),
            authority::Error::File { path: path(), source: SECRET.into() },
            authority::Error::Io { what: "write", path: path(), source: io(std::io::ErrorKind::PermissionDenied) },
            authority::Error::OtherCa { path: path(), known: "a".to_owned(), found: "b".to_owned() },
            authority::Error::Over { path: path(), at },
            authority::Error::NotYet { path: path(), at },
            authority::Error::NoPassphrase(path()),
            authority::Error::Store(store::Error::Damaged(SECRET.to_owned())),
            authority::Error::Audit(audit::Error::Write { path: path(), source: io(std::io::ErrorKind::Other) }),
            authority::Error::Random(units::Error::Random),
            authority::Error::BrokenOff(ended),
        ] {
            let problem = Problem::from(error);
            assert!(problem.cause().is_some_and(|cause| !cause.is_empty()), "{problem}: the log says why");
            assert_eq!(said(&problem), (500, "internal"));
        }
    }

    #[test]
    fn work_that_will_not_do_is_told_why() {
        for refused in [Refused::Token, Refused::Expired, Refused::TooEasy, Refused::Wrong, Refused::Spent] {
            let problem = Problem::from(refused);
            assert_eq!(problem.0.hint, Some(refused.to_string()));
            assert_eq!(said(&problem), (400, "pow_failed"));
        }
    }

    #[test]
    fn what_the_store_refuses_has_a_word() {
        use store::Error as S;
        for (error, expected) in [
            (S::TooLarge { limit: 1 }, (413, "too_large")),
            (S::Full { capacity: 1 }, (507, "storage_full")),
            (S::NoSpace(SECRET.into()), (507, "storage_full")),
            (S::Length { declared: 2, came: 1 }, (400, "interrupted")),
            (S::Ended, (410, "gone")),
            (S::Replaced, (409, "replaced")),
            (S::Unwanted, (400, "bad_request")),
            (S::NotWritten, (503, "unavailable")),
            (S::Closed, (503, "unavailable")),
            (S::NoId, (503, "unavailable")),
            (S::Damaged(SECRET.to_owned()), (500, "internal")),
        ] {
            let what = error.to_string();
            assert_eq!(said(&Problem::from(error)), expected, "{what}");
        }
        assert_eq!(said(&Problem::not_ready(&S::Closed)), (503, "unavailable"));
    }

    #[test]
    fn a_full_disk_is_one_whatever_found_it() {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        for error in [
            authority::Error::Audit(audit::Error::Write { path: path(), source: io(StorageFull) }),
            authority::Error::Audit(audit::Error::Write { path: path(), source: io(QuotaExceeded) }),
            authority::Error::Io { what: "write", path: path(), source: io(StorageFull) },
            authority::Error::Store(store::Error::NoSpace(SECRET.into())),
        ] {
            assert_eq!(said(&Problem::from(error)), (507, "storage_full"));
        }
    }

    #[test]
    fn where_the_root_key_was_is_not_told() {
        assert_eq!(said(&Problem::from(authority::Error::RootOffline(path()))), (409, "root_offline"));
        let problem = Problem::from(authority::Error::NotPermitted("drop.example".to_owned()));
        assert!(problem.0.detail.contains("drop.example"), "{problem}");
        assert_eq!(said(&problem), (409, "not_permitted"));
    }

    #[test]
    fn a_certificate_that_does_not_count_is_told_why() {
        let at = Timestamp::from_secs(1);
        for (standing, expected) in [
            (Standing::Revoked { at }, (403, "certificate_revoked")),
            (Standing::Expired { not_after: at }, (403, "certificate_expired")),
            (Standing::NotYet { not_before: at }, (403, "certificate_not_yet_valid")),
            (Standing::Unknown, (403, "certificate_unknown")),
        ] {
            assert_eq!(said(&Problem::certificate(&standing)), expected);
        }
    }
}
