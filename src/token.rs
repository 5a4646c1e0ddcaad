//! Bearer tokens and invites: how they are made, written down, read and hashed.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use subtle::ConstantTimeEq as _;
use url::Url;
use zeroize::Zeroizing;

use crate::identity::Sha256;
use crate::units;

/// A secret that is never shown by accident: its `Debug` is a constant, and its memory is cleared.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// A new one of 192 bits, in 32 characters that need no quoting anywhere.
    ///
    /// # Errors
    /// When the operating system gives no random bytes.
    pub fn random() -> Result<Self, units::Error> {
        Ok(Self(Zeroizing::new(BASE64_URL_SAFE_NO_PAD.encode(units::random::<24>()?))))
    }

    /// One that was given.
    pub fn from_given(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The secret itself, for the one place that must send or show it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What is kept of it. A plain hash is enough: it has too many bits to be guessed.
    pub fn hash(&self) -> Sha256 {
        Sha256::of(self.0.as_bytes())
    }

    /// Whether `given` is this secret, in a time that tells nothing about where they differ.
    pub fn matches(&self, given: &str) -> bool {
        Sha256::of(given.as_bytes()).0.ct_eq(&self.hash().0).into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// Everything that is needed to enrol, in one word that needs no quoting:
/// `ddrop://SECRET.CA@HOST:PORT/PREFIX`, CA being the SHA-256 of the root certificate's DER in base64url.
///
/// `ddrop+web://` says that the server shows a certificate from elsewhere, so that the system's roots are trusted for
/// it; `ddrop+http://` that it is reached without TLS, which the client does on loopback addresses only.
#[derive(Clone, Debug)]
pub struct Invite {
    /// Where.
    pub server: Url,
    /// Who to trust.
    pub root: Sha256,
    /// Whether certificates that chain to the system's roots are trusted too.
    pub web: bool,
    /// The right to enrol.
    pub secret: Secret,
}

impl fmt::Display for Invite {
    /// The whole invite, secret and all: it is for the one who is invited.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match (self.server.scheme(), self.web) {
            ("http", _) => "ddrop+http",
            (_, true) => "ddrop+web",
            _ => "ddrop",
        };
        let root = BASE64_URL_SAFE_NO_PAD.encode(self.root.0);
        let host = self.server.host_str().unwrap_or_default();
        write!(f, "{scheme}://{}.{root}@{host}", self.secret.reveal())?;
        if let Some(port) = self.server.port_or_known_default() {
            write!(f, ":{port}")?;
        }
        f.write_str(self.server.path().trim_end_matches('/'))
    }
}

impl FromStr for Invite {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let text = text.trim();
        let (scheme, rest) = text.split_once("://").ok_or(Error::NotAnInvite)?;
        let (scheme, web) = match scheme {
            "ddrop" => ("https", false),
            "ddrop+web" => ("https", true),
            "ddrop+http" => ("http", false),
            _ => return Err(Error::NotAnInvite),
        };
        let (right, place) = rest.split_once('@').ok_or(Error::NotAnInvite)?;
        let (secret, root) = right.split_once('.').ok_or(Error::Damaged)?;
        let root = BASE64_URL_SAFE_NO_PAD.decode(root).ok().and_then(|bytes| bytes.try_into().ok());
        let root = Sha256(root.ok_or(Error::Damaged)?);
        if secret.len() < 16 || !secret.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') {
            return Err(Error::Damaged);
        }
        let server = Url::parse(&format!("{scheme}://{place}")).map_err(|_| Error::Damaged)?;
        if server.host_str().is_none() || server.query().is_some() || server.fragment().is_some() {
            return Err(Error::Damaged);
        }
        Ok(Self { server, root, web, secret: Secret::from_given(secret.to_owned()) })
    }
}

/// Why a text is no invite. Never repeats the text, which may be a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It does not look like one at all.
    #[error("that is not an invite: an invite begins with ddrop:// and is one word")]
    NotAnInvite,
    /// It begins like one.
    #[error("that invite is damaged: copy the whole word again, from ddrop:// to its end")]
    Damaged,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invite(server: &str, web: bool) -> Invite {
        Invite {
            server: server.parse().expect("a URL"),
            root: Sha256([0xfb; 32]),
            web,
            secret: Secret::random().expect("random bytes"),
        }
    }

    #[test]
    fn an_invite_is_written_and_read_again() {
        for (server, web) in [
            ("https://host:8443/", false),
            ("https://[::1]:8443/", false),
            ("https://drop.example.org/", true),
            ("https://host/under/here", false),
            ("http://127.0.0.1:8080/", false),
        ] {
            let one = invite(server, web);
            let text = one.to_string();
            assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b":/.@[]-_+".contains(&b)), "{text}");
            let again: Invite = text.parse().expect("an invite");
            assert_eq!((again.server.as_str(), again.web, again.root), (server, web, one.root));
            assert_eq!(again.secret.reveal(), one.secret.reveal());
        }
    }

    #[test]
    fn what_is_no_invite_is_refused_without_repeating_it() {
        let whole = invite("https://host:8443/", false).to_string();
        for text in [
            "",
            "hello",
            "https://host:8443",
            "ddrop://host:8443",
            "ddrop://short.x@host",
            &whole[..40],
            &whole.replace('.', ""),
        ] {
            let error = text.parse::<Invite>().expect_err(text).to_string();
            assert!(text.is_empty() || !error.contains(text), "{error}");
        }
        for text in ["", "https://host:8443", "ddrop:host", "ddrop+ftp://s.c@host", "ddrop://host"] {
            assert_eq!(text.parse::<Invite>().expect_err(text), Error::NotAnInvite);
        }
        let query = format!("{}?query", whole.trim_end_matches('/'));
        for text in ["ddrop://secret@host", "ddrop://short.x@host", &whole.replacen(".", ".x", 1), &query] {
            assert_eq!(text.parse::<Invite>().expect_err(text), Error::Damaged);
        }
    }

    #[test]
    fn a_secret_is_compared_and_not_shown() {
        let secret = Secret::from_given("hunter22".into());
        assert!(secret.matches("hunter22") && !secret.matches("hunter2") && !secret.matches(""));
        assert_eq!(format!("{secret:?}"), "Secret");
    }
}
