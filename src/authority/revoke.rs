//! How trust ends, and the lists that say so.

use std::sync::Arc;
use std::time::Duration;

use pki::ca::Ca;
use pki::crl::{self, Entry, Header};
use pki::key::Key;
use tokio::task::spawn_blocking;

use super::{Actor, Authority, Error, Issuer, Which, keep};
use crate::identity::{ClientId, Sha256};
use crate::store::trust::{self, Certificates, Known, Revoked};
use crate::units::Timestamp;

/// A revocation list that was made.
pub(super) struct List {
    epoch: u64,
    made: Timestamp,
    der: Vec<u8>,
}

/// A list says that the next one comes within this.
const LIST_HOLDS: Duration = Duration::from_secs(7 * 86_400);
/// A list is made anew after this, long before it is due, so that those who fetch it rarely have a good one.
const LIST_FRESH: Duration = Duration::from_secs(86_400);
/// A list of the root's, which has nothing to say while the root key is here.
const ROOT_LIST_HOLDS: Duration = Duration::from_secs(90 * 86_400);
/// Clocks differ.
const BACKDATED: Duration = Duration::from_secs(300);

impl Authority {
    /// Revokes; answers the certificates meant as they stand afterwards and how many of them this call revoked. `only`:
    /// refuse if one of them is not this client's.
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
        let meant = self.meant(which).await?;
        if only.is_some_and(|only| meant.iter().any(|known| known.certificate.client.as_ref() != Some(only))) {
            return Err(Error::NotYours);
        }
        if meant.iter().any(|known| known.certificate.profile == "issuing") {
            return Err(Error::IsCa);
        }
        let all: Vec<Sha256> = meant.iter().map(|known| known.certificate.fingerprint.sha256).collect();
        let how = Revoked { at: self.clock.now(), reason };
        // First the deed, then the record: a full disk must not keep a stolen key in use.
        let changed = self.trust.revoke(all.clone(), how).await?;
        for known in meant.iter().filter(|known| changed.contains(&known.certificate.fingerprint.sha256)) {
            self.record(by, "revoke", details(known, reason)).await?;
        }
        Ok((self.known(&all).await?, changed.len()))
    }

    async fn meant(&self, which: Which) -> Result<Vec<Known>, Error> {
        let key = match which {
            Which::Client(name) => {
                let client = self.trust.client_named(&name).await?.ok_or(Error::NoSuchClient(name))?;
                return self.certificates(Some(&client.id)).await;
            }
            Which::Serial(serial) => trust::Key::Serial(serial.replace(':', "").to_ascii_lowercase()),
            Which::Sha256(sha256) => trust::Key::Sha256(sha256),
            Which::Sha1(sha1) => trust::Key::Sha1(sha1),
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

    /// The current revocation list in DER, signed again when it is due or the epoch has changed.
    ///
    /// # Errors
    /// When the rows cannot be read or it cannot be signed.
    pub async fn crl(&self) -> Result<Vec<u8>, Error> {
        self.list(&self.issuing).await
    }

    /// Every current list in PEM: the issuing CA's, those of issuing CAs before it and, while its key is here, the
    /// root's: what `openssl verify -crl_check_all` and a proxy need.
    ///
    /// # Errors
    /// As [`Authority::crl`].
    pub async fn crl_pem(&self) -> Result<String, Error> {
        let mut text = String::new();
        for issuer in std::iter::once(&self.issuing).chain(&self.former) {
            text += &pki::pem::encode("X509 CRL", &self.list(issuer).await?);
        }
        if let Some(root) = self.root_list().await? {
            text += &pki::pem::encode("X509 CRL", &root);
        }
        Ok(text)
    }

    async fn list(&self, issuer: &Arc<Issuer>) -> Result<Vec<u8>, Error> {
        let mut lists = self.lists.lock().await;
        let (epoch, now) = (self.trust.epoch(), self.clock.now());
        let fresh = |list: &&List| list.epoch == epoch && list.made <= now && now < list.made.after(LIST_FRESH);
        if let Some(list) = lists.get(&issuer.sha256).filter(fresh) {
            return Ok(list.der.clone());
        }
        let der = self.make_list(issuer, now).await?;
        lists.insert(issuer.sha256, List { epoch, made: now, der: der.clone() });
        Ok(der)
    }

    async fn make_list(&self, issuer: &Arc<Issuer>, now: Timestamp) -> Result<Vec<u8>, Error> {
        let header = Header {
            number: self.trust.next_number(&format!("authority-crl-{}", issuer.sha256)).await?,
            this_update: now.before(BACKDATED).to_offset(),
            next_update: now.after(LIST_HOLDS).to_offset(),
            places: self.places().await?,
        };
        let which = Certificates {
            revoked: true,
            issuer: Some(issuer.sha256),
            // One that is over is listed once more after its end (RFC 5280 section 3.3), for which this is ample.
            not_after: Some(now.before(LIST_HOLDS)),
            client: None,
        };
        let entries: Vec<Entry> = self.trust.certificates(which).await?.iter().filter_map(entry).collect();
        let issuer = Arc::clone(issuer);
        Ok(spawn_blocking(move || crl::build(&issuer.ca, &header, &entries)).await??)
    }

    /// The root's own list, which is empty; `None` when its key was taken offline.
    async fn root_list(&self) -> Result<Option<Vec<u8>>, Error> {
        if !self.folder.path(keep::ROOT_KEY).exists() {
            return Ok(None);
        }
        let now = self.clock.now();
        let header = Header {
            number: self.trust.next_number("authority-crl-root").await?,
            this_update: now.before(BACKDATED).to_offset(),
            next_update: now.after(ROOT_LIST_HOLDS).to_offset(),
            places: Vec::new(),
        };
        let (key, root) = (self.root_key().await?, self.root.clone());
        Ok(Some(spawn_blocking(move || Ok::<_, Error>(crl::build(&Ca::load(key, root)?, &header, &[])?)).await??))
    }

    /// The root's key, read when it is needed and not kept in memory.
    pub(super) async fn root_key(&self) -> Result<Key, Error> {
        let (folder, passphrase) = (self.folder.clone(), self.passphrase.clone());
        spawn_blocking(move || {
            let lock = folder.lock()?;
            if !folder.path(keep::ROOT_KEY).exists() {
                return Err(Error::RootOffline(folder.path("")));
            }
            keep::key(&folder, &lock, &passphrase, keep::ROOT_KEY)
        })
        .await?
    }
}

fn entry(known: &Known) -> Option<Entry> {
    let revoked = known.certificate.revoked?;
    let serial_hex = known.certificate.serial.clone();
    Some(Entry { serial_hex, revoked_at: revoked.at.to_offset(), reason: revoked.reason })
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
