//! What texts of the wire look like, where their type does not say it.

use schemars::{Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};

/// A field that may be left out, and is not null: null would say to take something away, which is not to be had.
pub(super) fn said<'de, D, T>(from: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(from).map(Some)
}

/// A client's name: what [`crate::authority`] takes as one.
pub(super) fn client_name(_: &mut SchemaGenerator) -> Schema {
    const NEVER: &str = r"\u0000-\u001f\u007f-\u009f\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff/,:";
    let pattern = format!(r"^[^\s{NEVER}]([^{NEVER}]{{0,62}}[^\s{NEVER}])?$");
    json_schema!({
        "type": "string",
        "pattern": pattern,
        "not": { "enum": ["operator", "nobody", "server", "invite", "token"] },
    })
}

/// A client's name, or none.
pub(super) fn perhaps_client_name(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({ "anyOf": [client_name(generator), { "type": "null" }] })
}

/// A SHA-256 in hex, with or without colons.
pub(super) fn sha256(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "pattern": "^([0-9A-Fa-f]{64}|[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){31})$" })
}

/// A SHA-256 or SHA-1 in hex, with or without colons.
pub(super) fn fingerprint(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "pattern":
            "^([0-9A-Fa-f]{64}|[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){31}|[0-9A-Fa-f]{40}|[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){19})$",
    })
}

/// A signing request (PKCS#10) in PEM.
pub(super) fn signing_request(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": ["string", "null"], "format": "pem-signing-request" })
}

/// How long an invite holds: digits enough for 30 days, and none that would be more.
pub(super) fn invite_ttl(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": ["string", "null"],
        "pattern":
            "^([1-9][0-9]{0,5}s|[1-9][0-9]{0,3}m|([1-9][0-9]?|[1-6][0-9]{2}|7[01][0-9]|720)h|([1-9]|[12][0-9]|30)d|[1-4]w)$",
    })
}

/// Domains and networks.
pub(super) fn permitted_names(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 100,
        "items": { "type": "string", "format": "server-name" },
        "examples": [["example.org", "10.0.0.0/8"]],
    })
}

/// Where a server is.
pub(super) fn server_url(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": ["string", "null"], "format": "server-url", "examples": ["https://drop.example.org"] })
}

/// Why a certificate is revoked.
pub(super) fn reason(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": ["string", "null"],
        "enum": [
            null, "unspecified", "keyCompromise", "cACompromise", "affiliationChanged", "superseded",
            "cessationOfOperation", "privilegeWithdrawn", "aACompromise",
        ],
    })
}

/// Where a short URL may lead.
pub(super) fn web_address(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "format": "web-address", "examples": ["https://example.org/a?b=c"] })
}
