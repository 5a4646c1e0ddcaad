//! What a client could say in the words of a proxy, to see whether that is believed.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::StatusCode;

use super::{Client, Error};
use crate::api;
use crate::identity::Fingerprint;

/// An address for documentation (RFC 5737), which nobody comes from.
const NOBODYS: &str = "192.0.2.123";

/// A header that only a proxy may say.
#[derive(Clone, Debug)]
pub struct LookAlike {
    /// Its name.
    pub name: &'static str,
    value: String,
    times: usize,
}

/// What came of saying it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// None: it was left out on the way, or not believed.
    None,
    /// The request was refused on the way.
    Refused(u16),
    /// It was believed; what the server then said.
    Believed(String),
}

/// Every way to say that one holds this certificate, or comes from elsewhere.
pub fn look_alikes(certificate: &[u8]) -> Vec<LookAlike> {
    let print = Fingerprint::of(certificate);
    let pem = pki::pem::encode("CERTIFICATE", certificate);
    let said = [
        ("Client-Cert", format!(":{}:", BASE64_STANDARD.encode(certificate))),
        ("X-SSL-Client-Cert", utf8_percent_encode(&pem, NON_ALPHANUMERIC).to_string()),
        ("X-SSL-Client-SHA256", print.sha256.to_string()),
        ("X-SSL-Client-SHA1", print.sha1.to_string()),
        ("X-Forwarded-For", NOBODYS.to_owned()),
        ("Forwarded", format!("for={NOBODYS}")),
    ];
    let times =
        |(name, value): (&'static str, String)| [1, 2].map(|times| LookAlike { name, value: value.clone(), times });
    said.into_iter().flat_map(times).collect()
}

impl Client {
    /// Asks whom the server takes us for while saying this; `before`: what it said without.
    ///
    /// # Errors
    /// When it cannot be reached or trusted.
    pub async fn try_look_alike(&self, what: &LookAlike, before: &api::Whoami) -> Result<Effect, Error> {
        let request = self.get(&["api", "whoami"]);
        let request = (0..what.times).fold(request, |request, _| request.header(what.name, &what.value));
        match self.json::<api::Whoami>(request).await {
            Ok(now) => Ok(effect(before, &now)),
            // It was read, as what a proxy said: only the way in which it was said would not do.
            Err(Error::Answer(answer)) if answer.problem.as_ref().is_some_and(|p| p.code == "identity_header") => {
                Ok(Effect::Believed("the server took it for the word of the proxy".to_owned()))
            }
            Err(Error::Answer(answer)) if answer.status != StatusCode::UNAUTHORIZED => {
                Ok(Effect::Refused(answer.status.as_u16()))
            }
            Err(error) => Err(error),
        }
    }
}

fn effect(before: &api::Whoami, now: &api::Whoami) -> Effect {
    let identity = |who: &api::Whoami| {
        (who.tier, who.name.clone(), who.proof.clone(), who.fingerprint_sha256.clone(), who.fingerprint_sha1.clone())
    };
    if identity(before) != identity(now) {
        let name = now.name.as_deref().unwrap_or("someone unknown");
        return Effect::Believed(format!("the server takes us for {name} ({})", now.tier));
    }
    if now.address != before.address {
        let address = now.address.map_or_else(|| "nowhere".to_owned(), |address| address.to_string());
        return Effect::Believed(format!("the server takes us to come from {address}"));
    }
    Effect::None
}
