//! Which server names the issuing CA may sign for, so that whoever steals its key cannot be any server in the world.

use std::net::IpAddr;
use std::sync::Arc;

use super::issuers::Issuer;
use super::{Actor, Authority, Error};

/// The name constraints (RFC 5280 section 4.2.1.10) of an issuing CA.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Permitted {
    /// Private names and networks, and the names this server was given.
    #[default]
    Needed,
    /// Any name.
    Any,
    /// These domains, with what is below them, and these networks (`10.0.0.0/8`).
    These(Vec<String>),
}

/// Domains and networks that mean something only where they are used (RFC 6761, 6762, 8375; RFC 1918, 4193, 6598).
const PRIVATE: [&str; 15] = [
    "localhost",
    "local",
    "internal",
    "lan",
    "home.arpa",
    "test",
    "127.0.0.0/8",
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "100.64.0.0/10",
    "169.254.0.0/16",
    "::1/128",
    "fc00::/7",
    "fe80::/10",
];

impl Permitted {
    /// As a CA has them; nothing is any.
    pub(super) fn subtrees(&self, names: impl IntoIterator<Item = String>) -> Vec<String> {
        match self {
            Self::Any => Vec::new(),
            Self::These(these) => these.clone(),
            Self::Needed => {
                let mut all: Vec<String> = PRIVATE.map(str::to_owned).into();
                for name in names.into_iter().map(|name| subtree(&name)) {
                    // What is no name is refused when a certificate is to have it.
                    let good = name.contains('/') || pki::ca::is_server_name(&name);
                    if good && !all.contains(&name) {
                        all.push(name);
                    }
                }
                all
            }
        }
    }
}

/// The names that were asked for a new issuing CA, as [`Authority::rotate`] takes them: none is those of the one before
/// it, `any` alone is any.
///
/// # Errors
/// When there is more beside `any`.
pub fn permitted(asked: &[String]) -> Result<Option<&[String]>, Error> {
    match asked {
        [] => Ok(None),
        [any] if any == ANY => Ok(Some(&[])),
        names if names.iter().any(|name| name == ANY) => Err(Error::AnyAndMore),
        names => Ok(Some(names)),
    }
}

/// All names there are.
const ANY: &str = "any";

/// A name as a domain or network of its own.
fn subtree(name: &str) -> String {
    match name.parse::<IpAddr>() {
        Ok(address) if address.is_ipv4() => format!("{address}/32"),
        Ok(address) => format!("{address}/128"),
        Err(_) => name.strip_prefix("*.").unwrap_or(name).to_ascii_lowercase(),
    }
}

/// A name as a certificate has it.
fn written(name: &str) -> String {
    name.parse::<IpAddr>().map_or_else(|_| name.to_ascii_lowercase(), |address| address.to_string())
}

impl Authority {
    /// The names for the server's certificate, each once: those it must have, and of the others those the CA may
    /// sign for.
    pub(super) fn server_names(&self, issuing: &Issuer) -> Vec<String> {
        let must = self.config.server_names.iter().map(|name| written(name));
        let may = self.config.optional_names.iter().map(|name| written(name)).filter(|name| issuing.ca.permits(name));
        let mut names = Vec::new();
        for name in must.chain(may) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        if names.is_empty() {
            names.push("localhost".into());
        }
        names
    }

    /// The CA that issues; a new one, if the server was given names that the one there is may not sign for.
    pub(super) async fn issuing_for_names(&self) -> Result<Arc<Issuer>, Error> {
        let issuing = Arc::clone(&self.issuers().await?.issuing);
        let must: Vec<String> = self.config.server_names.iter().map(|name| written(name)).collect();
        let Some(outside) = must.iter().find(|name| pki::ca::is_server_name(name) && !issuing.ca.permits(name)) else {
            return Ok(issuing);
        };
        if let Permitted::These(_) = self.config.permitted_names {
            return Err(Error::NotPermitted(outside.clone()));
        }
        tracing::warn!(name = outside, "making a new issuing CA: the one there is may not sign for this name");
        let given = self.config.server_names.iter().chain(&self.config.optional_names);
        let by = Actor { name: "server".into(), address: None };
        self.rotate(&by, Some(&self.config.permitted_names.subtrees(given.cloned()))).await?;
        Ok(Arc::clone(&self.issuers().await?.issuing))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_needed_is_private_and_given() {
        let names = ["drop.example.org", "192.0.2.7", "2001:db8::1", "*.example.net", "localhost"].map(str::to_owned);
        let all = Permitted::Needed.subtrees(names);
        for name in ["local", "10.0.0.0/8", "drop.example.org", "192.0.2.7/32", "2001:db8::1/128", "example.net"] {
            assert!(all.iter().any(|one| one == name), "{name}");
        }
        assert_eq!(all.iter().filter(|name| *name == "localhost").count(), 1);
        assert!(Permitted::Any.subtrees(["x".to_owned()]).is_empty());
        assert_eq!(Permitted::These(vec!["y".into()]).subtrees(["x".to_owned()]), ["y"]);
    }
}
