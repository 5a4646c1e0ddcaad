//! How certificates come to clients: by invite, by renewal, from an admin's hand, by trust in a fingerprint.

use std::time::Duration;

use pki::ca::Publication;
use pki::certificate::Certificate;
use pki::key::{Algorithm, Key, PublicKey};
use pki::request::Request;

use super::{Actor, Authority, Error, InviteFor, Issued, MadeInvite, row};
use crate::identity::{ClientId, Fingerprint, Sha1, Sha256};
use crate::store::trust::{self, Client, Enrolled, Enrolment, Invite};
use crate::token::Secret;
use crate::units::{self, Timestamp};

/// Key and certificates in one file, for those who do not make their own key.
#[derive(Clone, Debug)]
pub struct Bundle {
    /// PKCS#12 (RFC 7292).
    pub pkcs12: Vec<u8>,
    /// What opens it.
    pub password: Secret,
}

/// The longest an invite holds.
const LONGEST_INVITE: Duration = Duration::from_secs(90 * 86_400);
/// The longest a client certificate lives.
const LONGEST_DAYS: u32 = 3650;
/// The end of time for a certificate of which only the fingerprint is known: 9999-12-31T23:59:59Z.
const NO_END: Timestamp = Timestamp::from_secs(253_402_300_799);
/// Where lists of revoked certificates were said to be found.
const PLACES: &str = "authority-crl-places";

impl Authority {
    /// Makes an invite.
    ///
    /// # Errors
    /// When the name will not do, is taken, or, for an existing client, is nobody's.
    pub async fn invite(&self, by: &Actor, what: InviteFor) -> Result<MadeInvite, Error> {
        let result = self.try_invite(by, what).await;
        self.refused(by, "invite", result).await
    }

    async fn try_invite(&self, by: &Actor, what: InviteFor) -> Result<MadeInvite, Error> {
        let InviteFor { name, admin, existing, ttl } = what;
        if ttl.is_zero() || ttl > LONGEST_INVITE {
            return Err(Error::Lifetime("an invite holds for at least a moment and at most 90 days"));
        }
        check_name(&name)?;
        let client = self.trust.client_named(&name).await?;
        let client = match (client, existing) {
            (Some(_), false) => return Err(Error::NameTaken(name)),
            (None, true) => return Err(Error::NoSuchClient(name)),
            (client, _) => client,
        };
        // What an existing client may do is not changed by one more certificate.
        let admin = client.as_ref().map_or(admin, |client| client.admin);
        let now = self.clock.now();
        let secret = Secret::random()?;
        let invite = Invite {
            id: hex::encode(units::random::<6>()?),
            hash: secret.hash(),
            name: name.clone(),
            admin,
            client: client.map(|client| client.id),
            created_by: by.name.clone(),
            created_at: now,
            expires_at: now.after(ttl),
            used_at: None,
            withdrawn_at: None,
        };
        let made = MadeInvite { id: invite.id.clone(), secret, name, admin, expires_at: invite.expires_at };
        let details = vec![("invite", made.id.clone()), ("name", made.name.clone()), ("admin", admin.to_string())];
        self.record(by, "invite", details).await?;
        self.trust.invite(invite).await?;
        Ok(made)
    }

    /// All invites, newest first.
    ///
    /// # Errors
    /// When the rows cannot be read.
    pub async fn invites(&self) -> Result<Vec<Invite>, Error> {
        Ok(self.trust.invites().await?)
    }

    /// Withdraws an invite; false if there is none with this id or it was used.
    ///
    /// # Errors
    /// When the rows cannot be written.
    pub async fn withdraw_invite(&self, by: &Actor, id: &str) -> Result<bool, Error> {
        let withdrawn = self.trust.withdraw_invite(id, self.clock.now()).await?;
        if withdrawn {
            self.record(by, "withdraw-invite", vec![("invite", id.to_owned())]).await?;
        }
        Ok(withdrawn)
    }

    /// Enrols the holder of an invite: PEM signing request in, certificate out, one use.
    ///
    /// # Errors
    /// When the invite or the request will not do; a request that will not do does not use up the invite.
    pub async fn enroll(&self, from: &Actor, secret: &Secret, csr_pem: &str) -> Result<Issued, Error> {
        let result = self.try_enroll(from, secret, csr_pem).await;
        self.refused(from, "enroll", result).await
    }

    async fn try_enroll(&self, from: &Actor, secret: &Secret, csr_pem: &str) -> Result<Issued, Error> {
        let now = self.clock.now();
        let invite = self.trust.invite_by_hash(secret.hash()).await?.ok_or(Error::InviteUnknown)?;
        still_open(&invite, now)?;
        let request = Request::from_pem(csr_pem)?;
        let (client, new) = self.invited(&invite, now).await?;
        let deed = Deed { what: "enroll", invite: Some(invite.id.clone()), new, lifetime: self.config.client_lifetime };
        match self.certify(from, deed, client, request.key()).await {
            // Somebody was faster since it was looked at: say what became of it.
            Err(Error::InviteUsed) => {
                let invite = self.trust.invite_by_hash(secret.hash()).await?.ok_or(Error::InviteUnknown)?;
                still_open(&invite, self.clock.now())?;
                Err(Error::InviteUsed)
            }
            other => other,
        }
    }

    /// The client an invite is for, and whether it is to be made.
    async fn invited(&self, invite: &Invite, now: Timestamp) -> Result<(Client, bool), Error> {
        let named = self.trust.client_named(&invite.name).await?;
        match (&invite.client, named) {
            (Some(id), Some(client)) if client.id == *id => Ok((client, false)),
            (Some(_), _) => Err(Error::NoSuchClient(invite.name.clone())),
            (None, Some(_)) => Err(Error::NameTaken(invite.name.clone())),
            (None, None) => Ok((new_client(&invite.name, invite.admin, now)?, true)),
        }
    }

    /// A new certificate for a client that has one. The old one stays good until it ends.
    ///
    /// # Errors
    /// When there is no such client or the request will not do.
    pub async fn renew(&self, by: &Actor, client: &ClientId, csr_pem: &str) -> Result<Issued, Error> {
        let result = self.try_renew(by, client, csr_pem).await;
        self.refused(by, "renew", result).await
    }

    async fn try_renew(&self, by: &Actor, id: &ClientId, csr_pem: &str) -> Result<Issued, Error> {
        let clients = self.trust.clients().await?;
        let client = clients.into_iter().find(|client| client.id == *id);
        let client = client.ok_or_else(|| Error::NoSuchClient(by.name.clone()))?;
        let request = Request::from_pem(csr_pem)?;
        let deed = Deed { what: "renew", invite: None, new: false, lifetime: self.config.client_lifetime };
        self.certify(by, deed, client, request.key()).await
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
        check_name(name)?;
        let lifetime = lifetime(days, self.config.client_lifetime)?;
        if self.trust.client_named(name).await?.is_some() {
            return Err(Error::NameTaken(name.to_owned()));
        }
        let client = new_client(name, admin, self.clock.now())?;
        let deed = Deed { what: "issue", invite: None, new: true, lifetime };
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
        let enrolment = Enrolment { invite: None, client: new.then(|| client.clone()), certificate };
        match self.trust.enroll(enrolment).await? {
            Enrolled::Done => Ok(client),
            Enrolled::NameTaken => Err(Error::NameTaken(client.name)),
            Enrolled::InviteSpent => Err(Error::InviteUsed),
        }
    }

    /// Signs, records, keeps; then answers. A certificate without a line in the log or a row never leaves.
    async fn certify(&self, by: &Actor, deed: Deed, client: Client, key: &PublicKey) -> Result<Issued, Error> {
        let now = self.clock.now();
        let publication = self.publication().await?;
        let ca = &self.issuing.ca;
        let certificate = ca.client(key, &client.name, deed.lifetime, &publication, now.to_offset())?;
        let row = row(&certificate, "client", Some(client.id.clone()), Some(self.issuing.sha256), now)?;
        let issued = self.issued(&certificate, &row, client);
        self.record(by, deed.what, deed.details(&issued)).await?;
        let enrolment = Enrolment {
            invite: deed.invite.map(|id| (id, now)),
            client: deed.new.then(|| issued.client.clone()),
            certificate: row,
        };
        match self.trust.enroll(enrolment).await? {
            Enrolled::Done => Ok(issued),
            Enrolled::InviteSpent => Err(Error::InviteUsed),
            Enrolled::NameTaken => Err(Error::NameTaken(issued.client.name)),
        }
    }

    fn issued(&self, certificate: &Certificate, row: &trust::Certificate, client: Client) -> Issued {
        Issued {
            chain_pem: format!("{}{}", certificate.to_pem(), self.issuing.ca.certificate().to_pem()),
            fingerprint: row.fingerprint,
            serial: row.serial.clone(),
            not_after: row.not_after,
            client,
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
struct Deed {
    what: &'static str,
    invite: Option<String>,
    new: bool,
    lifetime: Duration,
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

fn still_open(invite: &Invite, now: Timestamp) -> Result<(), Error> {
    if invite.used_at.is_some() {
        return Err(Error::InviteUsed);
    }
    if invite.withdrawn_at.is_some() {
        return Err(Error::InviteWithdrawn);
    }
    if invite.expires_at <= now {
        return Err(Error::InviteExpired(invite.expires_at));
    }
    Ok(())
}

fn new_client(name: &str, admin: bool, now: Timestamp) -> Result<Client, Error> {
    Ok(Client { id: ClientId::random()?, name: name.to_owned(), admin, created_at: now })
}

/// Names are shown, logged, and stand in subjects and on command lines.
fn check_name(name: &str) -> Result<(), Error> {
    // Characters that change how what is around them is shown, and those that show nothing.
    let deceives = |c: char| matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}');
    let good = (1..=64).contains(&name.chars().count())
        && name.trim() == name
        && !name.chars().any(|c| c.is_control() || matches!(c, '/' | ',' | ':') || deceives(c))
        && !matches!(name, "operator" | "nobody" | "server");
    if good { Ok(()) } else { Err(Error::Name(name.chars().take(64).collect())) }
}

fn lifetime(days: Option<u32>, default: Duration) -> Result<Duration, Error> {
    match days {
        None => Ok(default),
        Some(days) if (1..=LONGEST_DAYS).contains(&days) => Ok(Duration::from_secs(u64::from(days) * 86_400)),
        Some(_) => Err(Error::Lifetime("a client certificate lives for 1 to 3650 days")),
    }
}

/// A SHA-1 that no certificate has, for one of which only the SHA-256 is known; each has its own.
fn no_sha1(sha256: Sha256) -> Sha1 {
    Sha1::of(format!("no certificate: {sha256}").as_bytes())
}
