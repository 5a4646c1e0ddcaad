//! The state of the authority, and its change.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::shape;
use crate::units::Timestamp;

/// `GET /pki/status`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct PkiStatus {
    /// Whether there is a CA.
    pub enabled: bool,
    /// The subject of the root.
    pub common_name: String,
    /// SHA-256 of the root's DER: what an invite pins.
    pub root_fingerprint: String,
    /// SHA-256 of the issuing CA's DER.
    pub issuing_fingerprint: String,
    /// When the root ends.
    pub root_expires_at: Timestamp,
    /// When the issuing CA ends.
    pub issuing_expires_at: Timestamp,
    /// Whether anyone may register without an invite.
    pub open_registration: bool,
}

/// `POST /pki/ca/rotate`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rotate {
    /// Domains and networks (`10.0.0.0/8`) the new issuing CA may sign server certificates for; `any` alone: all;
    /// absent or empty: those the CA before it may.
    #[schemars(schema_with = "shape::permitted_names")]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub permit: Vec<String>,
}

/// What `POST /pki/ca/rotate` answers.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Rotated {
    /// SHA-256 of the new issuing CA's DER.
    pub issuing_fingerprint: String,
    /// When it ends.
    pub issuing_expires_at: Timestamp,
}
