//! `GET /api/openapi.json`: what the API is, for programs, made from the code.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::api;
use operation::reason;
use operations::operations;
use schemas::{Schemas, reference};

mod operation;
mod operations;
mod schemas;

/// The document never changes while the program runs.
static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| document().to_string().into());

/// `GET /api/openapi.json`.
pub(super) async fn openapi() -> Response {
    let json = HeaderValue::from_static("application/json");
    ([(header::CONTENT_TYPE, json)], DOCUMENT.clone()).into_response()
}

/// Headers of answers, by name.
const HEADERS: [(&str, &str); 22] = [
    ("X-Request-ID", "Names the request in the server's log; the caller's own if that is a sane one."),
    ("Location", "Where the new link can be fetched."),
    ("ETag", "The content's SHA-256."),
    ("Accept-Ranges", "bytes"),
    ("Content-Range", "Which bytes these are (RFC 9110 section 14.4)."),
    ("Content-Disposition", "The name to save it under (RFC 6266)."),
    ("Content-Transfer-Encoding", "base64 (RFC 7030 section 4.1.3)."),
    ("X-Client-SHA256", "SHA-256 of the program, in hex."),
    ("X-Client-Target", "What the program runs on, as Rust calls it."),
    ("Repr-Digest", "SHA-256 of the whole content (RFC 9530)."),
    ("Cache-Control", "Whether and how long it may be kept."),
    ("Retry-After", "Seconds to wait."),
    ("WWW-Authenticate", "How to say who one is."),
    ("X-Fingerprint-SHA256", "Of the certificate's DER, in hex."),
    ("X-Fingerprint-SHA1", "Of the certificate's DER, in hex."),
    ("X-Certificate-Serial", "In hex."),
    ("X-Certificate-Expires", "In Unix seconds."),
    ("X-Is-Admin", "1 when the certificate's client is an admin, else 0."),
    ("X-PKCS12-Password", "Of the PKCS#12 file in the body."),
    ("X-RateLimit-Limit", "How many links the caller may make at once."),
    ("X-RateLimit-Remaining", "How many more right now."),
    ("X-RateLimit-Reset", "When none of those that were made counts any more, in Unix seconds."),
];

fn document() -> Value {
    let mut schemas = Schemas::new();
    let operations = operations();
    let mut paths: Map<String, Value> = Map::new();
    for operation in &operations {
        let described = operation.document(&mut schemas);
        let path = paths.entry(operation.template()).or_insert_with(|| json!({}));
        if let Some(path) = path.as_object_mut() {
            path.insert(operation.method.to_ascii_lowercase(), described);
        }
    }
    let statuses: BTreeSet<u16> = operations.iter().flat_map(operation::Operation::failures).collect();
    let responses = responses(&statuses, &mut schemas);
    let headers: Map<String, Value> = HEADERS.iter().map(|(name, words)| header_of(name, words)).collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "ddrop",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": env!("CARGO_PKG_DESCRIPTION"),
            "description": "Every GET of a link's content is there as HEAD too. Times are RFC 3339 in UTC, sizes in bytes.",
            "license": { "name": env!("CARGO_PKG_LICENSE"), "identifier": env!("CARGO_PKG_LICENSE") },
        },
        "paths": paths,
        "components": {
            "schemas": schemas.all(),
            "responses": responses,
            "headers": headers,
            "securitySchemes": {
                "mutualTLS": {
                    "type": "mutualTLS",
                    "description": "A client certificate issued here (POST /pki/enroll), or trusted by its fingerprint.",
                },
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The operator's token (DD_API_TOKEN), where there is one.",
                },
                "invite": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "Authorization",
                    "description": "The word Invite, a space, and the secret of an invite.",
                },
                "inviteAsPassword": {
                    "type": "http",
                    "scheme": "basic",
                    "description": "The secret of an invite is the password; the user name can be any.",
                },
            },
        },
    })
}

fn header_of(name: &str, words: &str) -> (String, Value) {
    (name.to_owned(), json!({ "description": words, "schema": { "type": "string" } }))
}

/// Every failure looks the same.
fn responses(statuses: &BTreeSet<u16>, schemas: &mut Schemas) -> Map<String, Value> {
    let problem = schemas.answered.subschema_for::<api::Problem>().to_value();
    let of = |name: String, words: &str, header: Option<&str>| {
        let mut headers = json!({ "X-Request-ID": reference("headers", "X-Request-ID") });
        if let (Some(headers), Some(name)) = (headers.as_object_mut(), header) {
            headers.insert(name.to_owned(), reference("headers", name));
        }
        let content = json!({ "application/problem+json": { "schema": problem.clone() } });
        (name, json!({ "description": words, "headers": headers, "content": content }))
    };
    let header = |status| match status {
        401 => Some("WWW-Authenticate"),
        416 => Some("Content-Range"),
        429 => Some("Retry-After"),
        _ => None,
    };
    let mut all: Map<String, Value> =
        statuses.iter().map(|status| of(status.to_string(), reason(*status), header(*status))).collect();
    all.extend([of("5XX".to_owned(), "The server could not do it.", None)]);
    all
}

#[cfg(test)]
mod tests;
