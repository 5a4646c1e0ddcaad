//! What a certificate is worth right now.

use super::{Authority, Error, has_sha1};
use crate::identity::{Fingerprint, Owner, Sha1, Sha256};
use crate::store::trust::{self, Client, Known};
use crate::tls::PeerCertificate;
use crate::units::Timestamp;

/// What a certificate is worth right now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Issued here or trusted by fingerprint, valid, not revoked.
    Good {
        /// Whose it is.
        client: Client,
        /// When it ends.
        not_after: Timestamp,
    },
    /// Issued here and over.
    Expired {
        /// Since when.
        not_after: Timestamp,
    },
    /// Issued here, not valid yet: somebody's clock is wrong.
    NotYet {
        /// From when on.
        not_before: Timestamp,
    },
    /// Revoked.
    Revoked {
        /// When.
        at: Timestamp,
    },
    /// Neither issued here nor trusted (or not a client certificate).
    Unknown,
}

impl Standing {
    /// Whether only a change of trust makes it another one, once the certificate's dates are looked at apart from it.
    pub fn is_lasting(&self) -> bool {
        matches!(self, Self::Good { .. } | Self::Revoked { .. } | Self::Unknown)
    }
}

/// How the caller's certificate is named in a question about its standing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Name {
    /// By SHA-256.
    Sha256(Sha256),
    /// By SHA-1.
    Sha1(Sha1),
}

impl From<Name> for trust::Key {
    fn from(name: Name) -> Self {
        match name {
            Name::Sha256(sha256) => Self::Sha256(sha256),
            Name::Sha1(sha1) => Self::Sha1(sha1),
        }
    }
}

impl Authority {
    /// What a certificate is worth right now.
    ///
    /// # Errors
    /// When the rows cannot be read.
    pub async fn standing(&self, name: Name) -> Result<Standing, Error> {
        let known = self.trust.known(name.into()).await?;
        Ok(known.map_or(Standing::Unknown, |known| standing(known, self.clock.now())))
    }

    /// Hands the links of an older program, which knew their owner by SHA-1 alone, to the holder of that certificate, who
    /// has come with the whole of it.
    ///
    /// # Errors
    /// When the rows cannot be read or written.
    pub async fn hand_over(&self, fingerprint: Fingerprint, standing: &Standing) -> Result<(), Error> {
        let to = match standing {
            Standing::Good { client, .. } => Owner::Client(client.id.clone()),
            Standing::Unknown => Owner::Certificate(fingerprint.sha256),
            // Whoever holds it now may not be who it was made for.
            Standing::Revoked { .. } | Standing::Expired { .. } | Standing::NotYet { .. } => return Ok(()),
        };
        if self.trust.awaited(fingerprint.sha1).await? {
            tracing::info!(sha1 = %fingerprint.sha1, %to, "the links of an older program have found their owner");
            self.trust.hand_over(fingerprint.sha1, to).await?;
        }
        Ok(())
    }

    /// What a certificate is worth right now, and the certificate itself, for those who know only its name; `None` when
    /// it is not known here.
    ///
    /// # Errors
    /// When the rows cannot be read.
    pub async fn named(&self, name: Name) -> Result<Option<(PeerCertificate, Standing)>, Error> {
        let Some(known) = self.trust.known(name.into()).await? else { return Ok(None) };
        let trust::Certificate { fingerprint, not_before, not_after, .. } = known.certificate;
        if matches!(name, Name::Sha1(_)) && !has_sha1(&fingerprint) {
            return Ok(None);
        }
        let certificate = PeerCertificate { fingerprint, not_before, not_after };
        Ok(Some((certificate, standing(known, self.clock.now()))))
    }
}

pub(super) fn standing(known: Known, now: Timestamp) -> Standing {
    let Known { certificate, client: Some(client) } = known else { return Standing::Unknown };
    if !matches!(certificate.profile.as_str(), "client" | "trusted") {
        return Standing::Unknown;
    }
    if let Some(revoked) = certificate.revoked {
        return Standing::Revoked { at: revoked.at };
    }
    let (not_before, not_after) = (certificate.not_before, certificate.not_after);
    if now < not_before {
        return Standing::NotYet { not_before };
    }
    if now > not_after {
        return Standing::Expired { not_after };
    }
    Standing::Good { client, not_after }
}
