//! How trust ends.

use super::enroll::shown;
use super::{Actor, Authority, Error, Which};
use crate::identity::{ClientId, Sha256};
use crate::store::trust::{self, Known, Revoked};

impl Authority {
    /// Revokes; answers the certificates meant as they stand afterwards and how many of them this call revoked. `only`:
    /// refuse if one of them is not this client's. Of a whole client, open invites are withdrawn too.
    ///
    /// # Errors
    /// When there is no such certificate or client, it is another's, or the reason is none. [`Error::Audit`] means that
    /// it was revoked, but not recorded.
    pub async fn revoke(
        &self,
        by: &Actor,
        which: Which,
        reason: u8,
        only: Option<&ClientId>,
    ) -> Result<(Vec<Known>, usize), Error> {
        let result = self.try_revoke(by, which, reason, only).await;
        self.refused(by, "revoke", result).await
    }

    async fn try_revoke(
        &self,
        by: &Actor,
        which: Which,
        reason: u8,
        only: Option<&ClientId>,
    ) -> Result<(Vec<Known>, usize), Error> {
        // Neither hold (6) nor removeFromCRL (8): what is revoked here stays revoked. 7 is not assigned.
        if !matches!(reason, 0..=5 | 9 | 10) {
            return Err(Error::Reason(reason));
        }
        // First the deeds, then the record: a full disk must not keep a stolen key in use.
        let (mut meant, mut changed) = self.revoke_once(&which, reason, only).await?;
        if let Which::Client(name) = &which {
            // A renewal may have been under way. What it adds after this last look, it takes back itself.
            loop {
                let (again, more) = self.revoke_once(&which, reason, only).await?;
                meant = again;
                if more.is_empty() {
                    break;
                }
                changed.extend(more);
            }
            self.withdraw_all(by, name).await?;
        }
        for known in meant.iter().filter(|known| changed.contains(&known.certificate.fingerprint.sha256)) {
            self.record(by, "revoke", details(known, reason)).await?;
        }
        Ok((meant, changed.len()))
    }

    /// The certificates meant as they stand afterwards, and which of them this revoked.
    async fn revoke_once(
        &self,
        which: &Which,
        reason: u8,
        only: Option<&ClientId>,
    ) -> Result<(Vec<Known>, Vec<Sha256>), Error> {
        let meant = match self.meant(which).await {
            // Which names there are is not for everyone to find out.
            Err(Error::NoSuchClient(_)) if only.is_some() => return Err(Error::NotYours),
            other => other?,
        };
        let anothers = |only: &ClientId| meant.iter().any(|known| known.certificate.client.as_ref() != Some(only));
        if only.is_some_and(|only| meant.is_empty() || anothers(only)) {
            return Err(Error::NotYours);
        }
        if meant.iter().any(|known| known.certificate.profile == "issuing") {
            return Err(Error::IsCa);
        }
        let all: Vec<Sha256> = meant.iter().map(|known| known.certificate.fingerprint.sha256).collect();
        let changed = self.trust.revoke(all.clone(), Revoked { at: self.clock.now(), reason }).await?;
        Ok((self.known(&all).await?, changed))
    }

    /// An invite for a client that is revoked would be a way around that.
    async fn withdraw_all(&self, by: &Actor, name: &str) -> Result<(), Error> {
        for invite in self.trust.invites(trust::Part::default()).await? {
            let open = invite.used_at.is_none() && invite.withdrawn_at.is_none();
            if open && invite.client.is_some() && invite.name == name {
                self.withdraw_invite(by, &invite.id).await?;
            }
        }
        Ok(())
    }

    async fn meant(&self, which: &Which) -> Result<Vec<Known>, Error> {
        let key = match which {
            Which::Client(name) => {
                let client = self.trust.client_named(name).await?;
                let client = client.ok_or_else(|| Error::NoSuchClient(shown(name)))?;
                return self.certificates(Some(&client.id)).await;
            }
            Which::Serial(serial) => trust::Key::Serial(serial.replace(':', "").to_ascii_lowercase()),
            Which::Sha256(sha256) => trust::Key::Sha256(*sha256),
            Which::Sha1(sha1) => trust::Key::Sha1(*sha1),
        };
        // Certificates of which only the fingerprint is known have no serial number.
        if matches!(&key, trust::Key::Serial(serial) if serial.is_empty()) {
            return Err(Error::NoSuchCertificate);
        }
        Ok(vec![self.trust.known(key).await?.ok_or(Error::NoSuchCertificate)?])
    }

    async fn known(&self, all: &[Sha256]) -> Result<Vec<Known>, Error> {
        let mut found = Vec::with_capacity(all.len());
        for sha256 in all {
            found.extend(self.trust.known(trust::Key::Sha256(*sha256)).await?);
        }
        Ok(found)
    }
}

fn details(known: &Known, reason: u8) -> super::Details {
    let name = known.client.as_ref().map(|client| client.name.clone()).unwrap_or_default();
    vec![
        ("name", name),
        ("serial", known.certificate.serial.clone()),
        ("fingerprint", known.certificate.fingerprint.sha256.to_string()),
        ("reason", reason.to_string()),
    ]
}
