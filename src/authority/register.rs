//! How strangers become clients without an invite, where the operator allows that.

use pki::certificate::Certificate;
use pki::key::PublicKey;
use pki::request::Request;

use super::issue::{Deed, New, issued};
use super::{Actor, Authority, Bundle, Error, Issued, Standing, standing};
use crate::units;

impl Authority {
    /// Makes a client of someone nobody vouches for: of this name, else of the one in the signing request, else of one
    /// that is made up. The very first client is an admin. Without a signing request a key is made too, and comes back
    /// in a [`Bundle`]. A signing request whose answer was lost can be sent again: it gets the same certificate.
    ///
    /// # Errors
    /// When the name will not do or is taken, or the request will not do.
    pub async fn register(
        &self,
        from: &Actor,
        name: Option<&str>,
        csr: Option<&str>,
    ) -> Result<(Issued, Option<Bundle>), Error> {
        let result = self.try_register(from, name, csr).await;
        self.refused(from, "register", result).await
    }

    async fn try_register(
        &self,
        from: &Actor,
        name: Option<&str>,
        csr: Option<&str>,
    ) -> Result<(Issued, Option<Bundle>), Error> {
        let request = csr.map(Request::from_pem).transpose()?;
        let wished = request.as_ref().and_then(|request| request.common_name().map(str::to_owned));
        let name = match name.map(str::to_owned).or(wished) {
            Some(name) => name,
            None => format!("client-{}", hex::encode(units::random::<6>()?)),
        };
        let made = self.make_first_or_another(from, &name, csr).await;
        if let (Err(Error::NameTaken(_)), Some(request)) = (&made, &request)
            && let Some(before) = self.issued_before(&name, request.key()).await?
        {
            return Ok((before, None));
        }
        made
    }

    async fn make_first_or_another(
        &self,
        from: &Actor,
        name: &str,
        csr: Option<&str>,
    ) -> Result<(Issued, Option<Bundle>), Error> {
        let deed = |new| Deed { what: "register", invite: None, new, lifetime: self.config.client_lifetime };
        if !self.has_clients().await? {
            let made = self.make_client(from, deed(New::First), name, true, csr).await;
            // Its line in the log says that it is an admin, so another one says that it came to nothing.
            match self.refused(from, "register", made).await {
                Err(Error::NotFirst) => {}
                other => return other,
            }
        }
        self.make_client(from, deed(New::Client), name, false, csr).await
    }

    /// The answer to a signing request may get lost, and then the name would be taken by whoever asks for it again.
    /// Who holds the key of a good certificate of the client of this name is that client, and gets that certificate.
    async fn issued_before(&self, name: &str, key: &PublicKey) -> Result<Option<Issued>, Error> {
        let Some(client) = self.trust.client_named(name).await? else { return Ok(None) };
        let issuers = self.issuers().await?;
        for known in self.certificates(Some(&client.id)).await? {
            let sha256 = known.certificate.fingerprint.sha256;
            let issuer = issuers.all().find(|issuer| Some(issuer.sha256) == known.certificate.issuer);
            let (Some(issuer), Some(der)) = (issuer, self.trust.der(sha256).await?) else { continue };
            let certificate = Certificate::from_der(&der)?;
            let row = known.certificate.clone();
            let good = matches!(standing(known, self.clock.now()), Standing::Good { .. });
            if good && pki::certificate::is_for_key(&certificate, key) {
                return Ok(Some(issued(&certificate, &row, issuer, client)));
            }
        }
        Ok(None)
    }
}
