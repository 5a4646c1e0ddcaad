//! How certificates come to clients that are known, to those an admin makes known, and what all of them have in common.

use std::sync::Arc;
use std::time::Duration;

use pki::ca::Publication;
use pki::certificate::Certificate;
use pki::key::{Algorithm, Key, PublicKey};
use pki::request::Request;

use super::enroll::{check_name, new_client};
use super::issuers::Issuer;
use super::{Actor, Authority, Error, Issued, Standing, row, standing};
use crate::identity::{ClientId, Fingerprint, Sha1, Sha256};
use crate::store::trust::{self, Client, Enrolled, Enrolment, Revoked};
use crate::token::Secret;
use crate::units::Timestamp;

/// Key and certificates in one file, for those who do not make their own key.
#[derive(Clone, Debug)]
pub struct Bundle {
    /// PKCS#12 (RFC 7292).
    pub pkcs12: Vec<u8>,
    /// What opens it.
    pub password: Secret,
}

/// The longest a client certificate lives.
const LONGEST_DAYS: u32 = 3650;
/// The end of time for a certificate of which only the fingerprint is known: 9999-12-31T23:59:59Z.
const NO_END: Timestamp = Timestamp::from_secs(253_402_300_799);
/// Where lists of revoked certificates were said to be found.
const PLACES: &str = "authority-crl-places";

impl Authority {
    /// A new certificate for a client that has one. The old one stays good until it ends.
    ///
    /// # Errors
    /// When there is no such client, none of its certificates is good any more, or the request will not do.
    pub async fn renew(&self, by: &Actor, client: &ClientId, csr_pem: &str) -> Result<Issued, Error> {
        let result = self.try_renew(by, client, csr_pem).await;
        self.refused(by, "renew", result).await
    }

    async fn try_renew(&self, by: &Actor, id: &ClientId, csr_pem: &str) -> Result<Issued, Error> {
        let client = self.trust.client(id).await?;
        let client = client.ok_or_else(|| Error::NoSuchClient(by.name.clone()))?;
        if !self.is_vouched_for(id, None).await? {
            return Err(Error::ClientOver(client.name));
        }
        let request = Request::from_pem(csr_pem)?;
        let deed = Deed { what: "renew", invite: None, new: New::No, lifetime: self.config.client_lifetime };
        let issued = self.certify(by, deed, client, request.key()).await?;
        self.unless_revoked(by, issued).await
    }

    /// The client may have been revoked while its renewal was under way: then what was made is taken back.
    async fn unless_revoked(&self, by: &Actor, issued: Issued) -> Result<Issued, Error> {
        let new = issued.fingerprint.sha256;
        if self.is_vouched_for(&issued.client.id, Some(new)).await? {
            return Ok(issued);
        }
        const CESSATION_OF_OPERATION: u8 = 5;
        let how = Revoked { at: self.clock.now(), reason: CESSATION_OF_OPERATION };
        self.trust.revoke(vec![new], how).await?;
        self.record(by, "revoke", vec![("serial", issued.serial), ("fingerprint", new.to_string())]).await?;
        Err(Error::ClientOver(issued.client.name))
    }

    /// Whether a client has a good certificate, other than this one.
    async fn is_vouched_for(&self, client: &ClientId, besides: Option<Sha256>) -> Result<bool, Error> {
        let now = self.clock.now();
        let own = self.certificates(Some(client)).await?;
        Ok(own.into_iter().any(|known| {
            Some(known.certificate.fingerprint.sha256) != besides
                && matches!(standing(known, now), Standing::Good { .. })
        }))
    }

    /// Makes a client and its certificate at once. Without a signing request a key is made too, and comes back with
    /// the certificates in a [`Bundle`]; it is kept nowhere here.
    ///
    /// # Errors
    /// When the name, the days or the request will not do.
    pub async fn issue(
        &self,
        by: &Actor,
        name: &str,
        days: Option<u32>,
        admin: bool,
        csr: Option<&str>,
    ) -> Result<(Issued, Option<Bundle>), Error> {
        let result = self.try_issue(by, name, days, admin, csr).await;
        self.refused(by, "issue", result).await
    }

    async fn try_issue(
        &self,
        by: &Actor,
        name: &str,
        days: Option<u32>,
        admin: bool,
        csr: Option<&str>,
    ) -> Result<(Issued, Option<Bundle>), Error> {
        let lifetime = lifetime(days, self.config.client_lifetime)?;
        let maker = Deed { what: "issue", invite: None, new: New::Client, lifetime };
        self.make_client(by, maker, name, admin, csr).await
    }

    /// A new client and its certificate, for the key of a signing request or for one that is made here.
    pub(super) async fn make_client(
        &self,
        by: &Actor,
        deed: Deed,
        name: &str,
        admin: bool,
        csr: Option<&str>,
    ) -> Result<(Issued, Option<Bundle>), Error> {
        check_name(name)?;
        if self.trust.client_named(name).await?.is_some() {
            return Err(Error::NameTaken(name.to_owned()));
        }
        let client = new_client(name, admin, self.clock.now())?;
        if let Some(csr) = csr {
            let request = Request::from_pem(csr)?;
            return Ok((self.certify(by, deed, client, request.key()).await?, None));
        }
        let key = Key::generate(Algorithm::P256)?;
        let issued = self.certify(by, deed, client, key.public()).await?;
        let bundle = self.bundle(&key, &issued)?;
        Ok((issued, Some(bundle)))
    }

    fn bundle(&self, key: &Key, issued: &Issued) -> Result<Bundle, Error> {
        let chain = format!("{}{}", issued.chain_pem, self.root_pem);
        let chain = pki::pem::certificates(&chain).map_err(pki::certificate::Error::from)?;
        let password = Secret::random()?;
        let pkcs12 = pki::pkcs12::bundle(key, &chain, &issued.client.name, password.reveal())?;
        Ok(Bundle { pkcs12, password })
    }

    /// Makes the holder of a certificate that was not issued here a known client, as a line of `authorized_keys`
    /// would: of the client of this name, or of a new one. Repeated, it changes nothing.
    ///
    /// # Errors
    /// When the name will not do, or the certificate is known as something else or was revoked.
    pub async fn trust_fingerprint(&self, by: &Actor, sha256: Sha256, name: &str) -> Result<Client, Error> {
        let result = self.try_trust(by, sha256, name).await;
        self.refused(by, "trust", result).await
    }

    async fn try_trust(&self, by: &Actor, sha256: Sha256, name: &str) -> Result<Client, Error> {
        check_name(name)?;
        if let Some(known) = self.trust.known(trust::Key::Sha256(sha256)).await? {
            return match known.client {
                _ if known.certificate.revoked.is_some() => Err(Error::WasRevoked),
                Some(client) if client.name == name => Ok(client),
                _ => Err(Error::Known),
            };
        }
        let now = self.clock.now();
        let (client, new) = match self.trust.client_named(name).await? {
            Some(client) => (client, false),
            None => (new_client(name, false, now)?, true),
        };
        let certificate = trust::Certificate {
            fingerprint: Fingerprint { sha256, sha1: no_sha1(sha256) },
            serial: String::new(),
            client: Some(client.id.clone()),
            profile: "trusted".into(),
            subject: format!("CN={name}"),
            issuer: None,
            not_before: Timestamp::default(),
            not_after: NO_END,
            created_at: now,
            revoked: None,
            der: None,
        };
        self.record(by, "trust", vec![("fingerprint", sha256.to_string()), ("name", name.to_owned())]).await?;
        let enrolment = Enrolment { invite: None, client: new.then(|| client.clone()), first: false, certificate };
        match self.trust.enroll(enrolment).await? {
            Enrolled::Done => Ok(client),
            Enrolled::NameTaken => Err(Error::NameTaken(client.name)),
            Enrolled::InviteSpent => Err(Error::InviteUsed),
            Enrolled::NotFirst => Err(Error::NotFirst),
        }
    }

    /// Signs, records, keeps; then answers. A certificate without a line in the log or a row never leaves.
    pub(super) async fn certify(
        &self,
        by: &Actor,
        deed: Deed,
        client: Client,
        key: &PublicKey,
    ) -> Result<Issued, Error> {
        let now = self.clock.now();
        let publication = self.publication().await?;
        let issuing = Arc::clone(&self.issuers().await?.issuing);
        let certificate = issuing.ca.client(key, &client.name, deed.lifetime, &publication, now.to_offset())?;
        let row = row(&certificate, "client", Some(client.id.clone()), Some(issuing.sha256), now)?;
        let issued = issued(&certificate, &row, &issuing, client);
        self.record(by, deed.what, deed.details(&issued)).await?;
        let enrolment = Enrolment {
            invite: deed.invite.map(|id| (id, now)),
            client: (deed.new != New::No).then(|| issued.client.clone()),
            first: deed.new == New::First,
            certificate: row,
        };
        match self.trust.enroll(enrolment).await? {
            Enrolled::Done => Ok(issued),
            Enrolled::InviteSpent => Err(Error::InviteUsed),
            Enrolled::NameTaken => Err(Error::NameTaken(issued.client.name)),
            Enrolled::NotFirst => Err(Error::NotFirst),
        }
    }

    /// What is written into certificates about revocation, once it is kept for the lists themselves.
    pub(super) async fn publication(&self) -> Result<Publication, Error> {
        let of = |path: &str| self.config.public_url.as_ref().map(|url| format!("{url}{path}"));
        let publication = Publication { crl: of("/pki/crl"), ocsp: of("/pki/ocsp") };
        let place = publication.crl.clone().unwrap_or_default();
        self.place_kept.get_or_try_init(|| self.keep_place(&place)).await?;
        Ok(publication)
    }

    async fn keep_place(&self, place: &str) -> Result<(), Error> {
        let kept = self.trust.value(PLACES).await?;
        if kept.as_deref().is_some_and(|kept| kept.split('\n').any(|known| known == place)) {
            return Ok(());
        }
        let all = kept.map_or_else(|| place.to_owned(), |kept| format!("{kept}\n{place}"));
        Ok(self.trust.set_value(PLACES, &all).await?)
    }

    /// The places a list can say it is found at: verifiers refuse a list that names places when a certificate names
    /// none, so then there are none.
    pub(super) async fn places(&self) -> Result<Vec<String>, Error> {
        let kept = self.trust.value(PLACES).await?.unwrap_or_default();
        let places: Vec<String> = kept.split('\n').map(str::to_owned).collect();
        Ok(if places.iter().any(String::is_empty) { Vec::new() } else { places })
    }
}

/// What a certificate is made for.
pub(super) struct Deed {
    /// As the audit log has it.
    pub(super) what: &'static str,
    /// The invite it uses up.
    pub(super) invite: Option<String>,
    /// Whether the client is new.
    pub(super) new: New,
    /// How long the certificate is to live.
    pub(super) lifetime: Duration,
}

/// Whether a client is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum New {
    /// There is one.
    No,
    /// It is new.
    Client,
    /// It is new, and the first of all; else there is none.
    First,
}

impl Deed {
    fn details(&self, issued: &Issued) -> super::Details {
        let mut details = vec![
            ("name", issued.client.name.clone()),
            ("admin", issued.client.admin.to_string()),
            ("serial", issued.serial.clone()),
            ("fingerprint", issued.fingerprint.sha256.to_string()),
            ("until", issued.not_after.to_string()),
        ];
        details.extend(self.invite.clone().map(|id| ("invite", id)));
        details
    }
}

pub(super) fn issued(certificate: &Certificate, row: &trust::Certificate, issuer: &Issuer, client: Client) -> Issued {
    Issued {
        chain_pem: format!("{}{}", certificate.to_pem(), issuer.ca.certificate().to_pem()),
        fingerprint: row.fingerprint,
        serial: row.serial.clone(),
        not_after: row.not_after,
        client,
    }
}

fn lifetime(days: Option<u32>, default: Duration) -> Result<Duration, Error> {
    match days {
        None => Ok(default),
        Some(days) if (1..=LONGEST_DAYS).contains(&days) => Ok(Duration::from_secs(u64::from(days) * 86_400)),
        Some(_) => Err(Error::Lifetime("a client certificate lives for 1 to 3650 days")),
    }
}

/// Whether the SHA-1 of a certificate is known here, or stands in for one that is not.
pub fn has_sha1(fingerprint: &Fingerprint) -> bool {
    fingerprint.sha1 != no_sha1(fingerprint.sha256)
}

/// A SHA-1 that no certificate has, for one of which only the SHA-256 is known; each has its own.
fn no_sha1(sha256: Sha256) -> Sha1 {
    Sha1::of(format!("no certificate: {sha256}").as_bytes())
}
