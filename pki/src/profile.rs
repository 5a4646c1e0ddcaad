//! What each kind of certificate may do, and for how long.

use rcgen::{BasicConstraints, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose};
use time::{Duration, OffsetDateTime};

/// The kinds of certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Profile {
    /// Signs issuing CAs and nothing else.
    Root,
    /// Signs servers, clients, revocation lists and OCSP responses.
    Issuing,
    /// A TLS server.
    Server,
    /// A TLS client.
    Client,
}

/// Clocks differ: a certificate is valid from so long before it was made.
pub(crate) const BACKDATED: Duration = Duration::minutes(5);

impl Profile {
    /// RFC 5280 section 4.2.1.3.
    pub(crate) fn key_usages(self) -> Vec<KeyUsagePurpose> {
        match self {
            Self::Root => vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign],
            // digitalSignature: it signs OCSP responses itself.
            Self::Issuing => {
                vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign]
            }
            Self::Server | Self::Client => vec![KeyUsagePurpose::DigitalSignature],
        }
    }

    /// RFC 5280 section 4.2.1.12. On the issuing CA it bounds what can be issued below it.
    pub(crate) fn extended_key_usages(self) -> Vec<ExtendedKeyUsagePurpose> {
        match self {
            Self::Root => vec![],
            Self::Issuing => vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth],
            Self::Server => vec![ExtendedKeyUsagePurpose::ServerAuth],
            Self::Client => vec![ExtendedKeyUsagePurpose::ClientAuth],
        }
    }

    /// RFC 5280 section 4.2.1.9.
    pub(crate) fn basic_constraints(self) -> IsCa {
        match self.path_length() {
            Some(length) => IsCa::Ca(BasicConstraints::Constrained(length)),
            None => IsCa::ExplicitNoCa,
        }
    }

    /// How many CAs there may be below; `None`: it is no CA.
    pub(crate) fn path_length(self) -> Option<u8> {
        match self {
            Self::Root => Some(1),
            Self::Issuing => Some(0),
            Self::Server | Self::Client => None,
        }
    }

    /// The longest life.
    pub(crate) fn longest(self) -> Duration {
        match self {
            Self::Root => Duration::days(3652),
            Self::Issuing => Duration::days(1826),
            // What the CA/Browser Forum allowed last; some clients refuse more.
            Self::Server => Duration::days(398),
            Self::Client => Duration::days(3652),
        }
    }
}

/// From when until when, both included (RFC 5280 section 4.1.2.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Validity {
    pub(crate) not_before: OffsetDateTime,
    pub(crate) not_after: OffsetDateTime,
}

impl Validity {
    /// From a little before `now` for `lifetime` in all; `None` when the calendar ends before.
    pub(crate) fn starting(now: OffsetDateTime, lifetime: Duration) -> Option<Self> {
        let not_before = now.replace_nanosecond(0).ok()?.checked_sub(BACKDATED)?;
        let not_after = not_before.checked_add(lifetime)?.checked_sub(Duration::SECOND)?;
        // A certificate has four digits for the year.
        (not_after.year() <= 9999).then_some(Self { not_before, not_after })
    }

    /// The part of it that lies within `outer`.
    pub(crate) fn within(self, outer: Self) -> Self {
        Self { not_before: self.not_before.max(outer.not_before), not_after: self.not_after.min(outer.not_after) }
    }
}
