//! How strangers become clients without an invite, where the operator allows that.

use pki::request::Request;

use super::{Actor, Authority, Bundle, Error, Issued};
use crate::units;

impl Authority {
    /// Makes a client of someone nobody vouches for: of this name, else of the one in the signing request, else of one
    /// that is made up. The very first client is an admin. Without a signing request a key is made too, and comes back
    /// in a [`Bundle`].
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
        let wished =
            csr.map(Request::from_pem).transpose()?.and_then(|request| request.common_name().map(str::to_owned));
        let name = match name.map(str::to_owned).or(wished) {
            Some(name) => name,
            None => format!("client-{}", hex::encode(units::random::<6>()?)),
        };
        // One after the other: of those who race to be the first, one is.
        let _turn = self.registering.lock().await;
        let first = !self.has_clients().await?;
        self.make_client(from, "register", &name, self.config.client_lifetime, first, csr).await
    }
}
