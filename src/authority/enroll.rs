//! How strangers become clients: invites, made, used once, withdrawn.

use std::time::Duration;

use pki::request::Request;

use super::issue::{Deed, New};
use super::{Actor, Authority, Error, InviteFor, Issued, MadeInvite, Page};
use crate::identity::ClientId;
use crate::store::trust::{Client, Invite, Part};
use crate::token::Secret;
use crate::units::{self, Timestamp};

/// The longest an invite holds.
const LONGEST_INVITE: Duration = Duration::from_secs(90 * 86_400);

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
        Ok(self.trust.invites(Part::default()).await?)
    }

    /// A page of those, and after which one the next begins.
    ///
    /// # Errors
    /// When the rows cannot be read.
    pub async fn invites_page(&self, page: Page<String>) -> Result<(Vec<Invite>, Option<String>), Error> {
        Ok(page.cut(self.trust.invites(page.part()).await?, |invite| invite.id.clone()))
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

    /// Whether this is the secret of an invite that would do now. One look into the rows, and no line in the record.
    ///
    /// # Errors
    /// When the rows cannot be read.
    pub async fn opens(&self, secret: &Secret) -> Result<bool, Error> {
        let invite = self.trust.invite_by_hash(secret.hash()).await?;
        Ok(invite.is_some_and(|invite| still_open(&invite, self.clock.now()).is_ok()))
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
        let enrolled = async {
            let (client, new) = self.invited(&invite, now).await?;
            let lifetime = self.config.client_lifetime;
            let new = if new { New::Client } else { New::No };
            let deed = Deed { what: "enroll", invite: Some(invite.id.clone()), new, lifetime };
            self.certify(from, deed, client, request.key()).await
        };
        match enrolled.await {
            // Somebody may have been faster since it was looked at, and have the name by now: say what became of it.
            Err(error @ (Error::InviteUsed | Error::NameTaken(_))) => {
                let invite = self.trust.invite_by_hash(secret.hash()).await?.ok_or(Error::InviteUnknown)?;
                still_open(&invite, self.clock.now())?;
                Err(error)
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

pub(super) fn new_client(name: &str, admin: bool, now: Timestamp) -> Result<Client, Error> {
    Ok(Client { id: ClientId::random()?, name: name.to_owned(), admin, created_at: now })
}

/// Names are shown, logged, and stand in subjects and on command lines.
pub(super) fn check_name(name: &str) -> Result<(), Error> {
    // Characters that change how what is around them is shown, and those that show nothing.
    let deceives = |c: char| matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}');
    let good = (1..=64).contains(&name.chars().count())
        && name.trim() == name
        && !name.chars().any(|c| c.is_control() || matches!(c, '/' | ',' | ':') || deceives(c))
        && !matches!(name, "operator" | "nobody" | "server" | "invite" | "token");
    if good { Ok(()) } else { Err(Error::Name(shown(name))) }
}

/// A name that was given, fit to be shown: it may hold anything.
pub(super) fn shown(name: &str) -> String {
    name.chars().take(64).flat_map(char::escape_debug).collect()
}
