//! What stands in front of the server, and what it is believed.

use super::values::{boolean, networks};
use super::{Error, Layers};
use crate::server::Networks;

/// What stands in front.
#[derive(Clone, Debug)]
pub struct Fronts {
    /// Proxies that forward TCP and begin each connection with a PROXY header; nobody else may connect then.
    pub forwarders: Option<Networks>,
}

impl Fronts {
    pub(super) fn from_said(said: &mut Layers) -> Result<Self, Error> {
        let trusted = said.optional("trusted_proxies", networks)?;
        let forwarders = match (said.text("proxy_protocol", boolean)?, trusted) {
            (true, Some(trusted)) => Some(trusted),
            // Whoever may write such a header may say to be anyone.
            (true, None) => return Err(Error::Needs("DD_PROXY_PROTOCOL", "DD_TRUSTED_PROXIES=CIDR,...")),
            (false, _) => None,
        };
        Ok(Self { forwarders })
    }
}
