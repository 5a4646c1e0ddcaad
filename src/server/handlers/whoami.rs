//! Who the server takes the caller for.

use axum::Json;
use axum::extract::State;

use crate::identity::{Proof, Tier};
use crate::server::App;
use crate::server::authenticate::Anyone;
use crate::{access, api};

/// `GET /api/whoami`: answers everyone, also those whose certificate is worth nothing.
pub(in crate::server) async fn whoami(State(app): State<App>, Anyone(who): Anyone) -> Json<api::Whoami> {
    let (sha256, sha1, expires) = match &who.proof {
        Proof::Certificate { fingerprint, not_after, .. } => {
            (Some(fingerprint.sha256), Some(fingerprint.sha1), *not_after)
        }
        Proof::Named { sha256, sha1 } => (*sha256, *sha1, None),
        Proof::Token | Proof::Nothing => (None, None, None),
    };
    let role = match who.tier {
        Tier::Admin => Some("admin"),
        Tier::Trusted => Some("client"),
        Tier::Untrusted | Tier::Anonymous => None,
    };
    let settings = &app.settings;
    let gate = &app.throttle().gate;
    Json(api::Whoami {
        tier: who.tier,
        role: role.map(str::to_owned),
        fingerprint_sha256: sha256.map(|sha256| sha256.to_string()),
        fingerprint_sha1: sha1.map(|sha1| sha1.to_string()),
        certificate_expires_at: expires,
        proof: who.proof.word().to_owned(),
        address: who.address,
        limits: api::Limits {
            may_upload: access::may_create(&who, settings.policy).is_ok(),
            max_file_size: settings.max_file_size,
            default_ttl: settings.lifetimes.default.to_string(),
            max_ttl: settings.lifetimes.max.to_string(),
            creations_per_minute: gate.per_minute(&who),
            pow_difficulty: gate.difficulty(&who, app.clock.now()),
        },
        name: who.name,
    })
}
