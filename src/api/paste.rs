//! FlaskPaste's JSON, to the key, for the programs that know it.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

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
