//! The server's authority: what an admin does with it, and what anyone may know of it.

use reqwest::Method;

use super::{Client, Error};
use crate::api;

impl Client {
    /// The state of the server's CA.
    ///
    /// # Errors
    /// As for every deed.
    pub async fn pki_status(&self) -> Result<api::PkiStatus, Error> {
        self.json(self.get(&["pki", "status"])).await
    }

    /// The root of the server's CA, in PEM.
    ///
    /// # Errors
    /// As for every deed.
    pub async fn ca(&self) -> Result<String, Error> {
        self.text(self.get(&["pki", "ca.crt"])).await
    }

    /// The issuing CA and the root, in PEM.
    ///
    /// # Errors
    /// As for every deed.
    pub async fn ca_chain(&self) -> Result<String, Error> {
        self.text(self.get(&["pki", "chain.crt"])).await
    }

    /// Certificates, newest first: own ones; an admin's: all.
    ///
    /// # Errors
    /// As for every deed.
    pub async fn certificates(&self) -> Result<api::Certificates, Error> {
        let mut all = api::Certificates::default();
        loop {
            let request = self.get(&["pki", "certs"]).query(&[("after", &all.next)]);
            let page: api::Certificates = self.json(request).await?;
            let is_last = page.certs.is_empty() || page.next.is_none();
            all.certs.extend(page.certs);
            all.next = page.next;
            if is_last {
                return Ok(api::Certificates { next: None, ..all });
            }
        }
    }

    /// Issues a certificate to someone.
    ///
    /// # Errors
    /// As for every deed.
    pub async fn issue(&self, wish: &api::Issue) -> Result<api::Issued, Error> {
        self.json(self.post(&["pki", "issue"]).json(wish)).await
    }

    /// Revokes certificates.
    ///
    /// # Errors
    /// As for every deed.
    pub async fn revoke(&self, wish: &api::Revoke) -> Result<api::Revoked, Error> {
        self.json(self.post(&["pki", "revoke"]).json(wish)).await
    }

    /// The revocation lists of every CA of the server, in PEM.
    ///
    /// # Errors
    /// As for every deed.
    pub async fn crl_pem(&self) -> Result<String, Error> {
        self.text(self.get(&["pki", "crl.pem"])).await
    }

    /// Makes a new issuing CA for these server names; none said: those of the one before it.
    ///
    /// # Errors
    /// As for every deed.
    pub async fn rotate(&self, permit: &[String]) -> Result<api::Rotated, Error> {
        let wish = api::Rotate { permit: permit.to_vec() };
        match self.json(self.post(&["pki", "ca", "rotate"]).json(&wish)).await {
            // No such path, rather than no such link.
            Err(Error::Answer(answer)) if matches!(answer.status.as_u16(), 404 | 405) => Err(Error::Failed(
                "this server takes that from its operator only: add -s STORAGE, on the server's machine".to_owned(),
            )),
            other => other,
        }
    }

    /// Makes an invite.
    ///
    /// # Errors
    /// As for every deed.
    pub async fn invite(&self, wish: &api::NewInvite) -> Result<api::MadeInvite, Error> {
        self.json(self.post(&["pki", "invites"]).json(wish)).await
    }

    /// All invites, newest first.
    ///
    /// # Errors
    /// As for every deed.
    pub async fn invites(&self) -> Result<Vec<api::Invite>, Error> {
        let mut all = api::Invites::default();
        loop {
            let page: api::Invites = self.json(self.get(&["pki", "invites"]).query(&[("after", &all.next)])).await?;
            let is_last = page.invites.is_empty() || page.next.is_none();
            all.invites.extend(page.invites);
            all.next = page.next;
            if is_last {
                return Ok(all.invites);
            }
        }
    }

    /// Takes an invite back.
    ///
    /// # Errors
    /// As for every deed.
    pub async fn withdraw_invite(&self, id: &str) -> Result<(), Error> {
        self.done(self.request(Method::DELETE, &["pki", "invites", id])).await
    }

    /// Makes the holder of a certificate that was not issued by the server a known client.
    ///
    /// # Errors
    /// As for every deed.
    pub async fn trust(&self, fingerprint: &str, name: &str) -> Result<(), Error> {
        let wish = serde_json::json!({ "fingerprint": fingerprint, "name": name });
        match self.done(self.post(&["pki", "trust"]).json(&wish)).await {
            // No such path, rather than no such link.
            Err(Error::Answer(answer)) if matches!(answer.status.as_u16(), 404 | 405) => Err(Error::Failed(
                "this server takes that from its operator only: add -s STORAGE, on the server's machine".to_owned(),
            )),
            other => other,
        }
    }

    /// The last changes of trust, oldest first.
    ///
    /// # Errors
    /// As for every deed.
    pub async fn audit(&self, last: usize) -> Result<api::Audit, Error> {
        self.json(self.get(&["pki", "audit"]).query(&[("last", last)])).await
    }

    /// Whether the whole record of changes of trust is as it was written.
    ///
    /// # Errors
    /// As for every deed.
    pub async fn verify_audit(&self) -> Result<api::Verified, Error> {
        self.json(self.get(&["pki", "audit", "verify"])).await
    }
}
