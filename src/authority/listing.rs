//! Certificates and invites as they are listed, over the API and on the command line.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::{Bundle, Error, Issued};
use crate::store::trust::{Invite, Known};
use crate::units::Timestamp;
use crate::{api, audit};

/// RFC 5280 section 5.3.1: the reasons and their codes. 7 is not used; 6 and 8 are about certificates on hold, which
/// there are none of here.
const REASONS: [(u8, &str); 8] = [
    (0, "unspecified"),
    (1, "keyCompromise"),
    (2, "cACompromise"),
    (3, "affiliationChanged"),
    (4, "superseded"),
    (5, "cessationOfOperation"),
    (9, "privilegeWithdrawn"),
    (10, "aACompromise"),
];

/// The code of a reason by its name, letters of either case.
pub fn reason_code(name: &str) -> Option<u8> {
    REASONS.iter().find(|(_, known)| known.eq_ignore_ascii_case(name)).map(|(code, _)| *code)
}

/// The name of a reason by its code.
pub fn reason_name(code: u8) -> &'static str {
    REASONS.iter().find(|(known, _)| *known == code).map_or("unspecified", |(_, name)| name)
}

/// A certificate as it is listed at `now`.
pub fn certificate(known: &Known, now: Timestamp) -> api::Certificate {
    let certificate = &known.certificate;
    let status = if certificate.revoked.is_some() {
        "revoked"
    } else if now >= certificate.not_after {
        "expired"
    } else {
        "valid"
    };
    api::Certificate {
        serial: certificate.serial.clone(),
        name: known.client.as_ref().map(|client| client.name.clone()),
        admin: known.client.as_ref().is_some_and(|client| client.admin),
        profile: certificate.profile.clone(),
        subject: certificate.subject.clone(),
        fingerprint_sha256: certificate.fingerprint.sha256.to_string(),
        fingerprint_sha1: certificate.fingerprint.sha1.to_string(),
        not_before: certificate.not_before,
        not_after: certificate.not_after,
        status: status.to_owned(),
        revoked_at: certificate.revoked.map(|revoked| revoked.at),
        reason: certificate.revoked.map(|revoked| reason_name(revoked.reason).to_owned()),
    }
}

/// An invite as it is listed at `now`.
pub fn invite(invite: &Invite, now: Timestamp) -> api::Invite {
    let status = if invite.used_at.is_some() {
        "used"
    } else if invite.withdrawn_at.is_some() {
        "withdrawn"
    } else if now >= invite.expires_at {
        "expired"
    } else {
        "open"
    };
    api::Invite {
        id: invite.id.clone(),
        name: invite.name.clone(),
        admin: invite.admin,
        status: status.to_owned(),
        created_by: invite.created_by.clone(),
        created_at: invite.created_at,
        expires_at: invite.expires_at,
        used_at: invite.used_at,
    }
}

/// A certificate just issued: the chain for who sent a signing request, everything in one file for who did not.
pub fn issued(issued: Issued, bundle: Option<Bundle>) -> api::Issued {
    let certificate = bundle.is_none().then_some(issued.chain_pem);
    let (pkcs12, pkcs12_password) = match bundle {
        Some(bundle) => (Some(BASE64_STANDARD.encode(&bundle.pkcs12)), Some(bundle.password.reveal().to_owned())),
        None => (None, None),
    };
    api::Issued {
        certificate,
        pkcs12,
        pkcs12_password,
        serial: issued.serial,
        fingerprint_sha256: issued.fingerprint.sha256.to_string(),
        fingerprint_sha1: issued.fingerprint.sha1.to_string(),
        expires_at: issued.not_after,
    }
}

/// Lines of the audit log as they are listed. One that cannot be read is shown as the text it is.
pub fn events(lines: Vec<String>) -> api::Audit {
    let event = |line: String| serde_json::from_str(&line).unwrap_or(serde_json::Value::String(line));
    api::Audit { events: lines.into_iter().map(event).collect() }
}

/// What came of looking through the whole log.
///
/// # Errors
/// When it could not be looked through.
pub fn verified(outcome: Result<audit::Head, Error>) -> Result<api::Verified, Error> {
    match outcome {
        Ok(head) => Ok(api::Verified { intact: true, line: head.number, head: Some(head.hash.to_string()), why: None }),
        Err(Error::Audit(audit::Error::Broken { line, why })) => {
            Ok(api::Verified { intact: false, line, head: None, why: Some(why.to_owned()) })
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_known_by_name() {
        assert_eq!(reason_code("keycompromise"), Some(1));
        assert_eq!(reason_code("because"), None);
        assert_eq!(reason_name(4), "superseded");
    }
}
