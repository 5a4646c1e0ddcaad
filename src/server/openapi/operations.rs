//! Every operation of the API: one for each route and method of the router.
//!
//! Who adds a route adds a line here: the method, the path as the router has it, who may, and what it does; then what
//! it takes and answers, by the types of [`crate::api`], and the statuses of failures of its own. A new type derives
//! `JsonSchema`.

use super::operation::Who::{Admin, Anyone, Client, Est, Invited, Uploader};
use super::operation::{Operation, op};
use crate::api::{self, paste};
use crate::link::LinkId;
use crate::server::handlers::pki::{Paging, PagingByDigest};
use crate::server::handlers::{audit, links, upload};
use crate::server::paste::Wanted;

const BYTES: &str = "application/octet-stream";
const TEXT: &str = "text/plain; charset=utf-8";
const METRICS: &str = crate::server::metrics::MEDIA_TYPE;
const PEM: &str = "application/x-pem-file";
const PKCS10: &str = "application/pkcs10";
const PKCS7: &str = "application/pkcs7-mime";

/// What is said of bytes.
const CONTENT: &[&str] =
    &["ETag", "Accept-Ranges", "Content-Range", "Content-Disposition", "Repr-Digest", "Cache-Control"];
/// What is said of a new certificate.
const ISSUED: &[&str] =
    &["X-Fingerprint-SHA256", "X-Fingerprint-SHA1", "X-Certificate-Serial", "X-Certificate-Expires", "X-Is-Admin"];
/// What is said of a new certificate whose name nobody chose.
const REGISTERED: &[&str] = &[
    "X-Fingerprint-SHA256",
    "X-Fingerprint-SHA1",
    "X-Certificate-Serial",
    "X-Certificate-Expires",
    "X-Is-Admin",
    "Content-Disposition",
];
/// The same with the key.
const BUNDLED: &[&str] = &[
    "X-Fingerprint-SHA256",
    "X-Fingerprint-SHA1",
    "X-Certificate-Serial",
    "X-Certificate-Expires",
    "X-Is-Admin",
    "Content-Disposition",
    "X-PKCS12-Password",
];
/// What is said of a new link.
const CREATED: &[&str] = &["Location", "X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"];
/// What is said of the program.
const PROGRAM: &[&str] =
    &["ETag", "Content-Disposition", "Repr-Digest", "Cache-Control", "X-Client-SHA256", "X-Client-Target"];
/// What caches may keep.
const KEPT: &[&str] = &["ETag", "Cache-Control"];
/// EST's bodies.
const ENCODED: &[&str] = &["Content-Transfer-Encoding"];

pub(super) fn operations() -> Vec<Operation> {
    let mut all = Vec::new();
    all.extend(content());
    all.extend(links());
    all.extend(server());
    all.extend(pastes());
    all.extend(pki());
    all.extend(enrolment());
    all
}

/// Bytes in and out.
fn content() -> Vec<Operation> {
    vec![
        op("POST", "/api/upload", Uploader, "Make a link to a file")
            .query::<upload::Wish>()
            .reads("X-PoW-Token")
            .reads("X-PoW-Solution")
            .takes_as::<upload::Form>("multipart/form-data")
            .takes_bytes(BYTES)
            .perhaps()
            .answers::<api::Link>(201)
            .with(CREATED)
            .problems(&[413, 507]),
        op("POST", "/", Uploader, "Make a link to a paste")
            .query::<upload::Wish>()
            .reads("X-PoW-Token")
            .reads("X-PoW-Solution")
            .takes_bytes(BYTES)
            .perhaps()
            .answers_text(201, TEXT)
            .answers::<api::Link>(201)
            .with(CREATED)
            .problems(&[507]),
        op("PUT", "/{id}", Uploader, "Make a link to a file; what stands for the id is the file's name")
            .query::<upload::Wish>()
            .reads("X-PoW-Token")
            .reads("X-PoW-Solution")
            .takes_bytes(BYTES)
            .perhaps()
            .answers_text(201, TEXT)
            .answers::<api::Link>(201)
            .with(CREATED)
            .problems(&[507]),
        fetch("/{id}", "The content of a link"),
        fetch("/{id}/{name}", "The content of a link; the name is for those who save it"),
    ]
}

fn fetch(path: &'static str, summary: &'static str) -> Operation {
    op("GET", path, Anyone, summary)
        .part::<LinkId>("id")
        .reads("Range")
        .reads("If-Range")
        .reads("If-None-Match")
        .reads("X-Paste-Password")
        .answers_bytes(200, "*/*")
        .answers_bytes(206, "*/*")
        .answers_nothing(302)
        .answers_nothing(304)
        .with(CONTENT)
        .problems(&[403, 404, 410, 416])
}

/// Metadata of links.
fn links() -> Vec<Operation> {
    vec![
        op("GET", "/api/links", Client, "Own links, newest first; an admin's: all")
            .query::<links::ListQuery>()
            .answers::<api::Links>(200),
        op("GET", "/api/links/{id}", Client, "A link")
            .part::<LinkId>("id")
            .answers::<api::Link>(200)
            .problems(&[404, 410]),
        op("PATCH", "/api/links/{id}", Client, "Change a link's lifetime or name")
            .part::<LinkId>("id")
            .takes::<api::Change>()
            .answers::<api::Link>(200)
            .problems(&[404, 410]),
        op("PUT", "/api/links/{id}/content", Client, "Give a link new content")
            .part::<LinkId>("id")
            .query::<links::Renamed>()
            .takes_bytes(BYTES)
            .answers::<api::Link>(200)
            .problems(&[404, 409, 410, 413, 507]),
        op("POST", "/api/shorten", Uploader, "Make a short URL")
            .takes::<api::Shorten>()
            .answers::<api::Link>(201)
            .with(&["Location"]),
        op("DELETE", "/api/links/{id}", Client, "End a link")
            .part::<LinkId>("id")
            .answers::<api::Link>(200)
            .problems(&[404]),
        op("POST", "/api/links/{id}/expire", Client, "End a link")
            .part::<LinkId>("id")
            .answers::<api::Link>(200)
            .problems(&[404]),
    ]
}

/// FlaskPaste's dialect.
fn pastes() -> Vec<Operation> {
    vec![
        op("GET", "/paste/", Anyone, "What this is").answers::<paste::Info>(200),
        op("POST", "/paste/", Uploader, "Make a paste")
            .reads_as("X-Burn-After-Read", paste::yes_or_no)
            .reads_as("X-Expiry", paste::seconds)
            .reads_as("X-Display-Name", paste::display_name)
            .reads_as("X-Paste-Password", paste::password)
            .takes_bytes(BYTES)
            .takes::<paste::NewPaste>()
            .answers::<paste::Paste>(201)
            .with(&["Location"])
            .problems(&[413, 507]),
        op("GET", "/paste/challenge", Anyone, "What there is to solve before a link is made")
            .answers::<api::Challenge>(200),
        op("GET", "/paste/health", Anyone, "Whether the server works").answers::<paste::Health>(200),
        op("GET", "/paste/client", Anyone, "The program itself")
            .answers_bytes(200, BYTES)
            .answers_nothing(304)
            .with(PROGRAM),
        op("GET", "/paste/pastes", Client, "Own pastes, newest first; an admin's: all")
            .query::<Wanted>()
            .answers::<paste::Pastes>(200),
        op("GET", "/paste/s", Client, "Own short URLs, newest first; an admin's: all")
            .query::<Wanted>()
            .answers::<paste::ShortUrls>(200),
        op("POST", "/paste/s", Uploader, "Make a short URL of an address, as text or as JSON")
            .reads_as("X-Expiry", paste::seconds)
            .takes::<paste::NewUrl>()
            .answers::<paste::ShortUrl>(201)
            .with(&["Location"]),
        op("GET", "/paste/s/{id}", Anyone, "Go where a short URL leads")
            .part::<LinkId>("id")
            .answers_nothing(302)
            .with(&["Location", "Cache-Control"])
            .problems(&[403, 404, 410]),
        op("DELETE", "/paste/s/{id}", Client, "Delete a short URL")
            .part::<LinkId>("id")
            .answers::<paste::Message>(200)
            .problems(&[404, 410]),
        op("GET", "/paste/s/{id}/info", Anyone, "Where a short URL leads")
            .part::<LinkId>("id")
            .answers::<paste::ShortUrl>(200)
            .problems(&[404, 410]),
        op("PUT", "/paste/{id}", Client, "Give a paste new content, another name or another password")
            .part::<LinkId>("id")
            .reads_as("X-Display-Name", paste::display_name)
            .reads_as("X-Remove-Display-Name", paste::yes_or_no)
            .reads("X-Paste-Password")
            .reads_as("X-Remove-Password", paste::yes_or_no)
            .takes_bytes(BYTES)
            .perhaps()
            .answers::<paste::Paste>(200)
            .problems(&[404, 410, 413, 507]),
        op("GET", "/paste/{id}", Anyone, "A paste without its content")
            .part::<LinkId>("id")
            .answers::<paste::Paste>(200)
            .problems(&[404, 410]),
        op("DELETE", "/paste/{id}", Client, "Delete a paste")
            .part::<LinkId>("id")
            .answers::<paste::Message>(200)
            .problems(&[404, 410]),
        fetch("/paste/{id}/raw", "The content of a paste; of one that burns this is the one reading"),
    ]
}

/// The server itself.
fn server() -> Vec<Operation> {
    vec![
        op("GET", "/", Anyone, "What this is").answers_text(200, TEXT),
        op("GET", "/api/openapi.json", Anyone, "This document").answers::<serde_json::Value>(200),
        op("GET", "/client", Anyone, "The program itself").answers_bytes(200, BYTES).answers_nothing(304).with(PROGRAM),
        op("GET", "/api/stats", Client, "Links, bytes, room").answers::<api::Stats>(200),
        op("GET", "/metrics", Admin, "What was counted, as OpenMetrics has it").answers_text(200, METRICS),
        op("GET", "/api/challenge", Anyone, "A proof of work to solve before a link is made")
            .answers::<api::Challenge>(200),
        op("GET", "/api/whoami", Anyone, "Who the server takes the caller for").answers::<api::Whoami>(200),
        op("GET", "/health", Anyone, "Whether the server lives").answers::<api::Health>(200),
        op("GET", "/health/ready", Anyone, "Whether it can work").answers::<api::Health>(200),
    ]
}

/// The authority.
fn pki() -> Vec<Operation> {
    vec![
        op("GET", "/pki/status", Anyone, "The authority").answers::<api::PkiStatus>(200),
        op("GET", "/pki/ca.crt", Anyone, "The root").answers_text(200, PEM),
        op("GET", "/pki/chain.crt", Anyone, "The issuing CA and the root").answers_text(200, PEM),
        op("GET", "/pki/crl", Anyone, "The revocation list (RFC 5280)")
            .reads("If-None-Match")
            .answers_bytes(200, "application/pkix-crl")
            .answers_nothing(304)
            .with(KEPT),
        op("GET", "/pki/crl.pem", Anyone, "The revocation lists of every CA of this server")
            .reads("If-None-Match")
            .answers_text(200, PEM)
            .answers_nothing(304)
            .with(KEPT),
        op("POST", "/pki/ocsp", Anyone, "What became of a certificate (RFC 6960)")
            .takes_bytes("application/ocsp-request")
            .perhaps()
            .answers_bytes(200, "application/ocsp-response"),
        op("GET", "/pki/ocsp/{*request}", Anyone, "What became of a certificate; the request is in base64 (RFC 5019)")
            .reads("If-None-Match")
            .answers_bytes(200, "application/ocsp-response")
            .answers_nothing(304)
            .with(KEPT),
        op("POST", "/pki/ca", Admin, "Make the authority: there is one from the first start on").problems(&[409]),
        op("POST", "/pki/ca/rotate", Admin, "Make a new issuing CA; what those before it signed stays good")
            .takes::<api::Rotate>()
            .perhaps()
            .answers::<api::Rotated>(201)
            .problems(&[409]),
        op("POST", "/pki/issue", Admin, "A certificate for a client")
            .takes::<api::Issue>()
            .answers::<api::Issued>(201)
            .problems(&[409]),
        op("POST", "/pki/trust", Admin, "A certificate from elsewhere becomes a client's")
            .takes::<api::Trust>()
            .answers::<api::Trust>(200)
            .problems(&[409]),
        op("GET", "/pki/audit", Admin, "The last changes of trust").query::<audit::Part>().answers::<api::Audit>(200),
        op("GET", "/pki/audit/verify", Admin, "Whether the record is as it was written").answers::<api::Verified>(200),
        op("GET", "/pki/certs", Client, "Own certificates; an admin's: all")
            .query::<PagingByDigest>()
            .answers::<api::Certificates>(200),
        op("POST", "/pki/revoke", Client, "Revoke own certificates; an admin: any")
            .takes::<api::Revoke>()
            .answers::<api::Revoked>(200)
            .problems(&[404]),
        op("GET", "/pki/invites", Admin, "All invites").query::<Paging>().answers::<api::Invites>(200),
        op("POST", "/pki/invites", Admin, "Make an invite")
            .takes::<api::NewInvite>()
            .answers::<api::MadeInvite>(201)
            .problems(&[404, 409]),
        op("DELETE", "/pki/invites/{id}", Admin, "Withdraw an invite").answers::<api::Done>(200).problems(&[404]),
    ]
}

/// Ways to a certificate.
fn enrolment() -> Vec<Operation> {
    vec![
        op("POST", "/pki/enroll", Invited, "A certificate for a signing request")
            .takes_bytes(PEM)
            .answers_text(200, PEM)
            .with(ISSUED)
            .problems(&[404, 409]),
        op("POST", "/pki/renew", Client, "A new certificate for the same client")
            .takes_bytes(PEM)
            .answers_text(200, PEM)
            .with(ISSUED),
        op("GET", "/.well-known/est/cacerts", Anyone, "The CAs (RFC 7030)").answers_bytes(200, PKCS7).with(ENCODED),
        op("GET", "/.well-known/est/csrattrs", Anyone, "The key that would be best (RFC 7030)")
            .answers_bytes(200, "application/csrattrs")
            .with(ENCODED),
        op("POST", "/.well-known/est/simpleenroll", Est, "A certificate for a signing request (RFC 7030)")
            .takes_bytes(PKCS10)
            .answers_bytes(200, PKCS7)
            .with(ENCODED)
            .problems(&[404, 409]),
        op("POST", "/.well-known/est/simplereenroll", Client, "A new certificate for the same client (RFC 7030)")
            .takes_bytes(PKCS10)
            .answers_bytes(200, PKCS7)
            .with(ENCODED),
        op("GET", "/register/challenge", Anyone, "A proof of work to solve, if registration is open")
            .answers::<api::Challenge>(200)
            .problems(&[403]),
        op("POST", "/register", Anyone, "A key and its certificate for proof of work, if registration is open")
            .reads("X-PoW-Token")
            .reads("X-PoW-Solution")
            .takes::<api::Register>()
            .perhaps()
            .answers_bytes(200, "application/x-pkcs12")
            .with(BUNDLED)
            .problems(&[409]),
        op("POST", "/csr", Anyone, "A certificate for proof of work, if registration is open")
            .reads("X-PoW-Token")
            .reads("X-PoW-Solution")
            .takes_bytes(PEM)
            .answers_text(200, PEM)
            .with(REGISTERED)
            .problems(&[409]),
    ]
}
