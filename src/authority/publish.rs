//! What is published about revocation: lists and OCSP responses.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pki::ca::Ca;
use pki::crl::{self, Entry, Header};
use pki::key::Key;
use pki::ocsp::{self, Failure, Status};
use tokio::task::spawn_blocking;

use super::{Authority, Error, Issuer, keep};
use crate::identity::Sha256;
use crate::store::trust::{self, Listed};
use crate::units::Timestamp;

/// A revocation list, or several, as it is handed to everyone who asks: one copy in memory, however many do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// DER of one, or PEM of all.
    pub bytes: Bytes,
    /// Tells it from every other.
    pub sha256: Sha256,
}

impl Published {
    /// With its digest.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self { sha256: Sha256::of(&bytes), bytes: bytes.into() }
    }
}

/// The lists that were made.
#[derive(Default)]
pub(super) struct Lists {
    /// By whose they are.
    by_issuer: HashMap<Sha256, List>,
    /// All of them in PEM, and which those were.
    together: Option<(Vec<Sha256>, Published)>,
}

/// A revocation list that was made.
struct List {
    /// What it was made from.
    of: Basis,
    made: Timestamp,
    published: Published,
}

/// A list says the same as long as this stays the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Basis {
    /// The number of [`trust::Trust::revocations`] before the rows were read.
    revocations: u64,
    places: Vec<String>,
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
    /// The current revocation list in DER, signed again when it is due or something was revoked.
    ///
    /// # Errors
    /// When the rows cannot be read or it cannot be signed.
    pub async fn crl(&self) -> Result<Published, Error> {
        let issuers = self.issuers().await?;
        let mut lists = self.lists.lock().await;
        self.list(&mut lists, &issuers.issuing).await
    }

    /// Every current list in PEM: the issuing CA's, those of issuing CAs before it and, while its key is here, the
    /// root's: what `openssl verify -crl_check_all` and a proxy need.
    ///
    /// # Errors
    /// As [`Authority::crl`].
    pub async fn crl_pem(&self) -> Result<Published, Error> {
        let issuers = self.issuers().await?;
        let mut lists = self.lists.lock().await;
        let mut all = Vec::new();
        for issuer in issuers.all() {
            all.push(self.list(&mut lists, issuer).await?);
        }
        all.extend(self.root_list(&mut lists).await?);
        let which: Vec<Sha256> = all.iter().map(|one| one.sha256).collect();
        if let Some((known, published)) = &lists.together
            && *known == which
        {
            return Ok(published.clone());
        }
        let text = move || all.iter().map(|one| pki::pem::encode("X509 CRL", &one.bytes)).collect::<String>();
        let published = spawn_blocking(move || Published::new(text().into_bytes())).await?;
        lists.together = Some((which, published.clone()));
        Ok(published)
    }

    async fn list(&self, lists: &mut Lists, issuer: &Arc<Issuer>) -> Result<Published, Error> {
        let now = self.clock.now();
        // Before the rows are read: what is revoked meanwhile makes this list old at once.
        let of = Basis { revocations: self.trust.revocations().await?, places: self.places().await? };
        let fresh = |list: &&List| list.of == of && list.is_fresh(now);
        if let Some(list) = lists.by_issuer.get(&issuer.sha256).filter(fresh) {
            return Ok(list.published.clone());
        }
        let number = self.trust.next_number(&format!("authority-crl-{}", issuer.sha256)).await?;
        let published = self.make_list(issuer, number, of.places.clone(), now).await?;
        lists.by_issuer.insert(issuer.sha256, List { of, made: now, published: published.clone() });
        Ok(published)
    }

    async fn make_list(
        &self,
        issuer: &Arc<Issuer>,
        number: u64,
        places: Vec<String>,
        now: Timestamp,
    ) -> Result<Published, Error> {
        let header = Header {
            number,
            this_update: now.before(BACKDATED).to_offset(),
            next_update: now.after(LIST_HOLDS).to_offset(),
            places,
        };
        // One that is over is listed once more after its end (RFC 5280 section 3.3), for which this is ample.
        let revoked = self.trust.revoked(issuer.sha256, now.before(LIST_HOLDS)).await?;
        let issuer = Arc::clone(issuer);
        let making = spawn_blocking(move || {
            let entries: Vec<Entry> = revoked.into_iter().map(entry).collect();
            Ok(Published::new(crl::build(&issuer.ca, &header, &entries)?))
        });
        making.await?
    }

    /// The root's own list, which is empty: made now, or when the root key was taken offline.
    async fn root_list(&self, lists: &mut Lists) -> Result<Option<Published>, Error> {
        if !self.folder.path(keep::ROOT_KEY).exists() {
            let Some(text) = self.folder.read(keep::ROOT_LIST)? else { return Ok(None) };
            return Ok(pki::pem::lists(&text).ok().and_then(|mut lists| lists.pop()).map(Published::new));
        }
        // Anyone may ask for it, and reading the root's key and counting the list up are not to be had for nothing.
        let (name, now) = (self.root_fingerprint(), self.clock.now());
        if let Some(list) = lists.by_issuer.get(&name).filter(|list| list.is_fresh(now)) {
            return Ok(Some(list.published.clone()));
        }
        let key = self.root_key().await?;
        let published = Published::new(self.sign_root_list(key, now.after(ROOT_LIST_HOLDS)).await?);
        let list = List { of: Basis::default(), made: now, published: published.clone() };
        lists.by_issuer.insert(name, list);
        Ok(Some(published))
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

fn entry(listed: Listed) -> Entry {
    let Listed { serial: serial_hex, revoked } = listed;
    Entry { serial_hex, revoked_at: revoked.at.to_offset(), reason: revoked.reason }
}
