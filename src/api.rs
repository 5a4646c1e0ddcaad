//! The wire: paths, header names, JSON bodies and problem codes, shared by server and client.

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::identity::Tier;
use crate::link::Kind;
use crate::units::{Timestamp, Ttl};

pub mod paste;
mod pki;
mod shape;

pub use pki::{PkiStatus, Rotate, Rotated};

/// Header names of our own.
pub mod header {
    /// Names one request in logs and answers.
    pub const REQUEST_ID: &str = "x-request-id";
    /// SHA-256 of the issued certificate's DER, in hex.
    pub const FINGERPRINT_SHA256: &str = "x-fingerprint-sha256";
    /// SHA-1 of the issued certificate's DER, in hex.
    pub const FINGERPRINT_SHA1: &str = "x-fingerprint-sha1";
    /// Serial number of the issued certificate, in hex.
    pub const CERTIFICATE_SERIAL: &str = "x-certificate-serial";
    /// When the issued certificate ends, in Unix seconds.
    pub const CERTIFICATE_EXPIRES: &str = "x-certificate-expires";
    /// `1` when the certificate's client is an admin, else `0`.
    pub const IS_ADMIN: &str = "x-is-admin";
    /// The password of a PKCS#12 file in the body.
    pub const PKCS12_PASSWORD: &str = "x-pkcs12-password";
    /// The token of a challenge, back with its solution.
    pub const POW_TOKEN: &str = "x-pow-token";
    /// The solution of a challenge.
    pub const POW_SOLUTION: &str = "x-pow-solution";
    /// How many links may be made at once.
    pub const RATE_LIMIT: &str = "x-ratelimit-limit";
    /// How many more may be made right now.
    pub const RATE_REMAINING: &str = "x-ratelimit-remaining";
    /// When none of those that were made counts any more, in Unix seconds.
    pub const RATE_RESET: &str = "x-ratelimit-reset";
    /// SHA-256 of the program that is handed out, in hex.
    pub const CLIENT_SHA256: &str = "x-client-sha256";
    /// What that program runs on, as Rust calls it: `x86_64-unknown-linux-gnu`.
    pub const CLIENT_TARGET: &str = "x-client-target";
    /// RFC 9530.
    pub const REPR_DIGEST: &str = "repr-digest";
}

/// A link, as its owner sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Link {
    /// The short id.
    pub id: String,
    /// Where it can be fetched.
    pub url: String,
    /// What it leads to.
    pub kind: Kind,
    /// The name it is offered under.
    pub name: Option<String>,
    /// The media type of the bytes.
    pub mime_type: String,
    /// Bytes.
    pub size: u64,
    /// Of the bytes, in hex.
    pub sha256: String,
    /// When it was complete.
    pub created_at: Timestamp,
    /// When it ends; null is never.
    pub expires_at: Option<Timestamp>,
    /// Whether the first reader is the last.
    pub burn: bool,
    /// Whether it takes a password to get there.
    #[serde(default)]
    pub password_protected: bool,
    /// Where a short URL leads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Whose it is, as far as the caller may know.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub owner: Option<String>,
}

/// `GET /api/links`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Links {
    /// Newest first.
    pub links: Vec<Link>,
    /// Over all of them, not only this page.
    pub stats: Stats,
    /// `after` of the next page; null on the last.
    pub next: Option<String>,
}

/// `GET /api/stats`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Stats {
    /// Live links (the caller's own; an admin's: all). Where more than 10,000 have just ended, some of those count until
    /// they are swept.
    pub links: u64,
    /// Bytes of those links.
    pub link_bytes: u64,
    /// Bytes on disk under `files/`, orphans included.
    pub bytes: u64,
    /// Bytes there may be.
    pub capacity: u64,
}

/// `PATCH /api/links/{id}`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("anyOf" = [{ "required": ["ttl"] }, { "required": ["name"] }]))]
pub struct Change {
    /// A new lifetime from now, such as `2h`.
    #[schemars(with = "Ttl")]
    #[serde(default, deserialize_with = "shape::said", skip_serializing_if = "Option::is_none")]
    pub ttl: Option<String>,
    /// A new name; what is not safe in a file name is left out.
    #[schemars(with = "String", extend("pattern" = r"[^\s./\\\u0000-\u001f\u007f-\u009f]$"))]
    #[serde(default, deserialize_with = "shape::said", skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// `POST /api/shorten`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Shorten {
    /// Where it is to lead: http or https.
    #[schemars(schema_with = "shape::web_address")]
    pub url: String,
    /// How long, such as `2h`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Ttl>")]
    pub ttl: Option<String>,
}

/// `GET /api/whoami`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Whoami {
    /// How far the server trusts the caller.
    pub tier: Tier,
    /// The client's name, if it has one.
    pub name: Option<String>,
    /// `admin`, `client` or null.
    pub role: Option<String>,
    /// Of the certificate the caller showed.
    pub fingerprint_sha256: Option<String>,
    /// Of the certificate the caller showed.
    pub fingerprint_sha1: Option<String>,
    /// When that certificate ends.
    pub certificate_expires_at: Option<Timestamp>,
    /// How the server knows: `none`, `token`, `certificate` (of this connection), `proxy-certificate` or
    /// `proxy-fingerprint` (in a header of a proxy).
    #[serde(default)]
    pub proof: String,
    /// Where the caller is, as far as the server can tell.
    #[serde(default)]
    pub address: Option<IpAddr>,
    /// What applies to the caller.
    pub limits: Limits,
}

/// What applies to a caller.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Limits {
    /// Whether it may create links.
    pub may_upload: bool,
    /// Bytes one upload may have.
    pub max_file_size: u64,
    /// The lifetime of a link when none is asked for.
    #[schemars(with = "Ttl")]
    pub default_ttl: String,
    /// The longest lifetime.
    #[schemars(with = "Ttl")]
    pub max_ttl: String,
    /// Links it may create in a minute; null is any number.
    #[serde(default)]
    pub creations_per_minute: Option<u32>,
    /// Bits of work each costs now; 0 is none.
    #[serde(default)]
    pub pow_difficulty: u8,
}

/// RFC 9457, with the older programs' `error` and `hint`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// A URI that names the kind of problem.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened this time.
    pub detail: String,
    /// The same as `detail`.
    pub error: String,
    /// A stable word for programs.
    pub code: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub hint: Option<String>,
    /// Names the request in the server's log.
    #[serde(default)]
    pub request_id: String,
    /// What else this kind of problem says.
    #[serde(flatten, default)]
    pub more: serde_json::Map<String, serde_json::Value>,
}

/// `POST /pki/invites`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewInvite {
    /// The name of the client to be.
    #[schemars(schema_with = "shape::client_name")]
    pub name: String,
    /// Whether it will be an admin.
    #[serde(default)]
    pub admin: bool,
    /// How long the invite holds, such as `24h`; 30 days at most.
    #[schemars(schema_with = "shape::invite_ttl")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<String>,
    /// An existing client's name is meant: the new certificate is one more of that client.
    #[serde(default)]
    pub existing: bool,
    /// The address to put into the invite; else the server's own.
    #[schemars(schema_with = "shape::server_url")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

/// An invite just made: the only time its secret is seen.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct MadeInvite {
    /// Names it in lists.
    pub id: String,
    /// What `ddrop cert --configure` takes.
    pub invite: String,
    /// What `Authorization: Invite` and EST's password take.
    pub secret: String,
    /// The name of the client to be.
    pub name: String,
    /// Whether it will be an admin.
    pub admin: bool,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// An invite in a list.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Invite {
    /// Names it.
    pub id: String,
    /// The name of the client to be.
    pub name: String,
    /// Whether it will be an admin.
    pub admin: bool,
    /// `open`, `used`, `withdrawn` or `expired`.
    pub status: String,
    /// Who made it.
    pub created_by: String,
    /// When.
    pub created_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
    /// When it was used.
    pub used_at: Option<Timestamp>,
}

/// A certificate in a list.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Certificate {
    /// Serial number in hex.
    pub serial: String,
    /// The client's name.
    pub name: Option<String>,
    /// Whether that client is an admin.
    pub admin: bool,
    /// `client`, `server`, `trusted`, `issuing` or `ocsp`.
    pub profile: String,
    /// The subject.
    pub subject: String,
    /// Of the DER.
    pub fingerprint_sha256: String,
    /// Of the DER.
    pub fingerprint_sha1: String,
    /// Valid from.
    pub not_before: Timestamp,
    /// Valid until.
    pub not_after: Timestamp,
    /// `valid`, `expired` or `revoked`.
    pub status: String,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// Why, as RFC 5280 names it (`keyCompromise`).
    pub reason: Option<String>,
}

/// `GET /pki/certs`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Certificates {
    /// Newest first.
    pub certs: Vec<Certificate>,
    /// What to ask for as `after` to get the next page, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// `POST /pki/revoke`: exactly one of the first three.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = [{ "required": ["serial"] }, { "required": ["fingerprint"] }, { "required": ["name"] }]))]
pub struct Revoke {
    /// One certificate.
    #[schemars(with = "String")]
    #[serde(default, deserialize_with = "shape::said", skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// One certificate, by SHA-256 or SHA-1.
    #[schemars(schema_with = "shape::fingerprint")]
    #[serde(default, deserialize_with = "shape::said", skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// Every certificate of one client.
    #[schemars(with = "String")]
    #[serde(default, deserialize_with = "shape::said", skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// RFC 5280's name for the reason, such as `keyCompromise`; `unspecified` when absent.
    #[schemars(schema_with = "shape::reason")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What `POST /pki/revoke` did.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Revoked {
    /// The certificates meant, as they stand now.
    pub certs: Vec<Certificate>,
    /// How many of them this request revoked; the others had been.
    pub changed: usize,
}

/// `POST /pki/issue`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Issue {
    /// The name of the client.
    #[schemars(schema_with = "shape::client_name")]
    pub common_name: String,
    /// How long the certificate lives.
    #[schemars(range(min = 1, max = 3650))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub days: Option<u32>,
    /// Whether the client is an admin.
    #[serde(default)]
    pub admin: bool,
    /// A signing request in PEM; without it a key is made and a PKCS#12 file answered.
    #[schemars(schema_with = "shape::signing_request")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub csr: Option<String>,
}

/// What `POST /pki/issue` answers.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Issued {
    /// The chain in PEM, leaf first, when a request was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// A PKCS#12 file in base64, when none was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pkcs12: Option<String>,
    /// Its password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pkcs12_password: Option<String>,
    /// Serial number in hex.
    pub serial: String,
    /// Of the DER.
    pub fingerprint_sha256: String,
    /// Of the DER.
    pub fingerprint_sha1: String,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// A proof of work that is asked for. Without one only `enabled` and `difficulty` are there.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Challenge {
    /// Whether one is asked for.
    pub enabled: bool,
    /// Zero bits the SHA-256 of `nonce`, a colon and the solution in decimal has to begin with.
    pub difficulty: u8,
    /// 32 hex digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nonce: Option<String>,
    /// What is asked for when nothing unusual goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_difficulty: Option<u8>,
    /// Whether more than that is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elevated: Option<bool>,
    /// Until when a solution is taken, in Unix seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<i64>,
    /// What has to come back as `X-PoW-Token`, beside `X-PoW-Solution`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

/// `POST /register`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Register {
    /// The name of the client to be; made up when absent.
    #[schemars(schema_with = "shape::perhaps_client_name")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub common_name: Option<String>,
}

/// `GET /pki/audit`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Audit {
    /// Oldest first; each as it stands in the log.
    pub events: Vec<serde_json::Value>,
}

/// `GET /pki/audit/verify`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Verified {
    /// Whether every line is as it was written, and none is missing.
    pub intact: bool,
    /// How many lines there are, if so; else the first that is not as it was written.
    pub line: u64,
    /// SHA-256 of the last line, to be kept elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<String>,
    /// What is wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// `POST /pki/trust`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Trust {
    /// SHA-256 of the certificate.
    #[schemars(schema_with = "shape::sha256")]
    pub fingerprint: String,
    /// The name of the client it is to be of.
    #[schemars(schema_with = "shape::client_name")]
    pub name: String,
}

/// `GET /pki/invites`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Invites {
    /// Newest first.
    pub invites: Vec<Invite>,
    /// What to ask for as `after` to get the next page, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// That something was done, where there is nothing else to say.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Done {
    /// What was done.
    pub message: String,
}

/// `GET /health` and `GET /health/ready`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Health {
    /// `healthy` or `ready`.
    pub status: String,
    /// `ok` where it was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// `ok` where it was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<String>,
}
