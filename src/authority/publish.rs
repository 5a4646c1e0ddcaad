//! What is published about revocation: lists and OCSP responses.

use std::sync::Arc;
use std::time::Duration;

use pki::ca::Ca;
use pki::crl::{self, Entry, Header};
use pki::key::Key;
use pki::ocsp::{self, Failure, Status};
use tokio::task::spawn_blocking;

use super::{Authority, Error, Issuer, keep};
use crate::store::trust::{self, Certificates, Known};
use crate::units::Timestamp;

/// A revocation list that was made.
pub(super) struct List {
    epoch: u64,
    made: Timestamp,
    der: Vec<u8>,
}

impl List {
    fn is_fresh(&self, now: Timestamp) -> bool {
        self.made <= now && now < self.made.after(LIST_FRESH)
    }
}

/// A list says that the next one comes within this.
const LIST_HOLDS: Duration = Duration::from_secs(7 * 86_400);
/// A list is made anew after this, long before it is due, so that those who fetch it rarely have a good one.
const LIST_FRESH: Duration = Duration::from_secs(86_400);
/// A list of the root's, which has nothing to say while the root key is here.
const ROOT_LIST_HOLDS: Duration = Duration::from_secs(90 * 86_400);
/// A response is good for so long; a revocation bites here at once, elsewhere after this.
const RESPONSE_HOLDS: Duration = Duration::from_secs(3600);
/// Clocks differ.
const BACKDATED: Duration = Duration::from_secs(300);

impl Authority {
    /// The current revocation list in DER, signed again when it is due or the epoch has changed.
    ///
    /// # Errors
    /// When the rows cannot be read or it cannot be signed.
    pub async fn crl(&self) -> Result<Vec<u8>, Error> {
        let issuers = self.issuers().await?;
        self.list(&issuers.issuing).await
    }

    /// Every current list in PEM: the issuing CA's, those of issuing CAs before it and, while its key is here, the
    /// root's: what `openssl verify -crl_check_all` and a proxy need.
    ///
    /// # Errors
    /// As [`Authority::crl`].
    pub async fn crl_pem(&self) -> Result<String, Error> {
        let mut text = String::new();
        for issuer in self.issuers().await?.all() {
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
        let fresh = |list: &&List| list.epoch == epoch && list.is_fresh(now);
        if let Some(list) = lists.get(&issuer.sha256).filter(fresh) {
            return Ok(list.der.clone());
        }
        let number = self.trust.next_number(&format!("authority-crl-{}", issuer.sha256)).await?;
        // Before the rows are read: what is revoked meanwhile makes this list old at once.
        let epoch = self.trust.epoch();
        let der = self.make_list(issuer, number, now).await?;
        lists.insert(issuer.sha256, List { epoch, made: now, der: der.clone() });
        Ok(der)
    }

    async fn make_list(&self, issuer: &Arc<Issuer>, number: u64, now: Timestamp) -> Result<Vec<u8>, Error> {
        let header = Header {
            number,
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

    /// The root's own list, which is empty: made now, or when the root key was taken offline.
    async fn root_list(&self) -> Result<Option<Vec<u8>>, Error> {
        if !self.folder.path(keep::ROOT_KEY).exists() {
            let Some(text) = self.folder.read(keep::ROOT_LIST)? else { return Ok(None) };
            return Ok(pki::pem::lists(&text).ok().and_then(|mut lists| lists.pop()));
        }
        // Anyone may ask for it, and reading the root's key and counting the list up are not to be had for nothing.
        let mut lists = self.lists.lock().await;
        let (name, now) = (self.root_fingerprint(), self.clock.now());
        if let Some(list) = lists.get(&name).filter(|list| list.is_fresh(now)) {
            return Ok(Some(list.der.clone()));
        }
        let key = self.root_key().await?;
        let der = self.sign_root_list(key, now.after(ROOT_LIST_HOLDS)).await?;
        lists.insert(name, List { epoch: self.trust.epoch(), made: now, der: der.clone() });
        Ok(Some(der))
    }

    /// An empty list of the root's that holds until `next`.
    pub(super) async fn sign_root_list(&self, key: Key, next: Timestamp) -> Result<Vec<u8>, Error> {
        let header = Header {
            number: self.trust.next_number("authority-crl-root").await?,
            this_update: self.clock.now().before(BACKDATED).to_offset(),
            next_update: next.to_offset(),
            places: Vec::new(),
        };
        let root = self.root.clone();
        spawn_blocking(move || Ok(crl::build(&Ca::load(key, root)?, &header, &[])?)).await?
    }

    /// Answers an OCSP request in DER; whatever is wrong with it is said in the answer, which is DER too.
    pub async fn ocsp(&self, request: &[u8]) -> Vec<u8> {
        let Ok(request) = ocsp::Request::from_der(request) else { return ocsp::failure(Failure::Malformed) };
        match self.try_ocsp(&request).await {
            Ok(Some(response)) => response,
            Ok(None) => ocsp::failure(Failure::Unauthorized),
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "an OCSP request could not be answered");
                ocsp::failure(Failure::Internal)
            }
        }
    }

    /// `None`: it is not about a CA of ours.
    async fn try_ocsp(&self, request: &ocsp::Request) -> Result<Option<Vec<u8>>, Error> {
        let issuers = self.issuers().await?;
        let of = |issuer: &&Arc<Issuer>| request.asked().iter().any(|asked| asked.is_of(&issuer.ca));
        let Some(issuer) = issuers.all().find(of) else { return Ok(None) };
        let mut statuses = Vec::with_capacity(request.asked().len());
        for asked in request.asked() {
            statuses.push(if asked.is_of(&issuer.ca) {
                self.status_of(issuer, asked.serial_hex()).await?
            } else {
                Status::Unknown
            });
        }
        let now = self.clock.now();
        let (from, until) = (now.before(BACKDATED).to_offset(), now.after(RESPONSE_HOLDS).to_offset());
        Ok(Some(ocsp::respond(&issuer.ca, request, &statuses, from, until, now.to_offset())?))
    }

    /// A response about one certificate of ours, and until when it can be handed on.
    pub(super) async fn ocsp_about(&self, issuer: &Issuer, serial: &str) -> Result<(Vec<u8>, Timestamp), Error> {
        let request = ocsp::Request::about(&issuer.ca, serial)?;
        let status = self.status_of(issuer, serial).await?;
        let now = self.clock.now();
        let (from, until) = (now.before(BACKDATED).to_offset(), now.after(RESPONSE_HOLDS).to_offset());
        let response = ocsp::respond(&issuer.ca, &request, &[status], from, until, now.to_offset())?;
        Ok((response, now.after(RESPONSE_HOLDS / 2)))
    }

    async fn status_of(&self, issuer: &Issuer, serial: &str) -> Result<Status, Error> {
        let known = self.trust.known(trust::Key::Serial(serial.to_owned())).await?;
        let Some(known) = known.filter(|known| known.certificate.issuer == Some(issuer.sha256)) else {
            return Ok(Status::Unknown);
        };
        let revoked = known.certificate.revoked;
        Ok(revoked.map_or(Status::Good, |how| Status::Revoked { at: how.at.to_offset(), reason: how.reason }))
    }
}

fn entry(known: &Known) -> Option<Entry> {
    let revoked = known.certificate.revoked?;
    let serial_hex = known.certificate.serial.clone();
    Some(Entry { serial_hex, revoked_at: revoked.at.to_offset(), reason: revoked.reason })
}
