//! FlaskPaste's JSON, to the key, for the programs that know it.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::shape;
use crate::units::Timestamp;

/// Header names of FlaskPaste's.
pub mod header {
    /// Seconds after which a paste ends, whether it is read or not.
    pub const EXPIRY: &str = "x-expiry";
    /// `true`: the first reader is the last.
    pub const BURN: &str = "x-burn-after-read";
    /// Without it the content is not shown.
    pub const PASSWORD: &str = "x-paste-password";
    /// A name for people.
    pub const DISPLAY_NAME: &str = "x-display-name";
    /// `true`: takes the name away.
    pub const REMOVE_DISPLAY_NAME: &str = "x-remove-display-name";
    /// `true`: takes the password away.
    pub const REMOVE_PASSWORD: &str = "x-remove-password";
}

/// What a header that says yes or no may be.
pub fn yes_or_no(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "enum": ["true", "1", "yes", "false", "0", "no", ""] })
}

/// What a lifetime in a header may be.
pub fn seconds(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "integer", "minimum": 1 })
}

/// What a display name may be, of the ASCII ones: a header has others in UTF-8.
pub fn display_name(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "maxLength": 128, "pattern": r"^([ -.0-\[\]-~]*[!-\-0-\[\]-~][ -.0-\[\]-~]*)?$" })
}

/// What a time in a query may be.
pub fn moment(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "anyOf": [{ "type": "integer", "minimum": i64::MIN, "maximum": i64::MAX }, { "type": "string", "format": "date-time" }, { "const": "" }] })
}

/// What a password may be.
pub fn password(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "maxLength": 1024 })
}

/// Content as a field.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct NewPaste {
    /// The content.
    #[schemars(length(min = 1))]
    pub content: String,
}

/// A paste without its content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Paste {
    /// The short id.
    pub id: String,
    /// The path of this.
    pub url: String,
    /// The path of its content.
    pub raw: String,
    /// The media type of the content.
    pub mime_type: String,
    /// Bytes.
    pub size: u64,
    /// Of the bytes, in hex; of a paste with a password for its owner only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// When it was complete, in Unix seconds.
    pub created_at: i64,
    /// When it ends, in Unix seconds; null is never.
    pub expires_at: Option<i64>,
    /// Whose it is, for its owner and for admins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// There if the first reader is the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burn_after_read: Option<bool>,
    /// There if its content is shown to those who have the password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_protected: Option<bool>,
    /// Its name, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// There if more seconds were asked for than a paste may live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiry_clamped: Option<bool>,
}

/// A paste in a list; here, and only here, times are as RFC 3339 has them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Listed {
    /// The short id.
    pub id: String,
    /// The path of its metadata.
    pub url: String,
    /// The path of its content.
    pub raw: String,
    /// The media type of the content.
    pub mime_type: String,
    /// Bytes.
    pub size: u64,
    /// When it was complete.
    pub created_at: Timestamp,
    /// When it was last looked at, as far as that was noted.
    pub last_accessed: Option<Timestamp>,
    /// When it ends; null is never.
    pub expires_at: Option<Timestamp>,
    /// Whether the first reader is the last.
    pub burn_after_read: bool,
    /// Whether its content is shown to those who have the password only.
    pub password_protected: bool,
    /// Its name, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// Whose it is, for admins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
}

/// Part of a list of pastes, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Pastes {
    /// Those of this part.
    pub pastes: Vec<Listed>,
    /// How many those are.
    pub count: u64,
    /// How many there are in all.
    pub total: u64,
    /// How many there could be in this part.
    pub limit: u32,
    /// How many were left out first.
    pub offset: u32,
}

/// An address to shorten.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct NewUrl {
    /// The address.
    #[schemars(schema_with = "shape::web_address")]
    pub url: String,
}

/// A short URL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ShortUrl {
    /// The short id.
    pub id: String,
    /// The path that leads there.
    pub url: String,
    /// Where it leads, with the host in punycode.
    pub target_url: String,
    /// When it was made, in Unix seconds.
    pub created_at: i64,
    /// When it ends, in Unix seconds; null is never.
    pub expires_at: Option<i64>,
    /// Whose it is, for its owner and for admins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
}

/// Part of a list of short URLs, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ShortUrls {
    /// Those of this part.
    pub urls: Vec<ShortUrl>,
    /// How many those are.
    pub count: u64,
    /// How many there are in all.
    pub total: u64,
    /// How many there could be in this part.
    pub limit: u32,
    /// How many were left out first.
    pub offset: u32,
}

/// What was done, in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Message {
    /// The words.
    pub message: String,
}

/// Whether the server works.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Health {
    /// `healthy` or `unhealthy`.
    pub status: String,
    /// `ok` or `error`.
    pub database: String,
}

/// What this is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Info {
    /// The program.
    pub name: String,
    /// Its version.
    pub version: String,
    /// What each path does.
    pub endpoints: std::collections::BTreeMap<String, String>,
    /// Examples for a shell.
    pub usage: std::collections::BTreeMap<String, String>,
    /// What else to know.
    pub note: String,
}
