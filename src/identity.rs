//! Who is asking, and how we know.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use crate::units::{self, Timestamp};

/// The SHA-256 of a certificate's DER: what a certificate is known by.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sha256(pub [u8; 32]);

impl Sha256 {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        let mut out = [0; 32];
        out.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, bytes).as_ref());
        Self(out)
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Sha256 {
    type Err = Error;

    /// Reads 64 hex digits of either case, with or without colons between the bytes, as OpenSSL prints them.
    fn from_str(text: &str) -> Result<Self, Error> {
        digits(text).map(Self)
    }
}

/// The SHA-1 of a certificate's DER: only for proxies that can tell no other.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sha1(pub [u8; 20]);

impl Sha1 {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        let mut out = [0; 20];
        out.copy_from_slice(ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, bytes).as_ref());
        Self(out)
    }
}

impl fmt::Display for Sha1 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Sha1 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Sha1 {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        digits(text).map(Self)
    }
}

fn digits<const N: usize>(text: &str) -> Result<[u8; N], Error> {
    let mut out = [0; N];
    let plain: String = text.chars().filter(|c| *c != ':').collect();
    hex::decode_to_slice(plain, &mut out).map_err(|_| Error::Fingerprint(text.to_owned()))?;
    Ok(out)
}

/// Both names of one certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint {
    /// What we know it by.
    pub sha256: Sha256,
    /// What old proxies call it.
    pub sha1: Sha1,
}

impl Fingerprint {
    /// The fingerprints of a certificate in DER.
    pub fn of(der: &[u8]) -> Self {
        Self { sha256: Sha256::of(der), sha1: Sha1::of(der) }
    }
}

/// A party known by one or more certificates. Random, never reused, meaningless.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClientId(String);

impl ClientId {
    /// A new one.
    ///
    /// # Errors
    /// When the operating system gives no random bytes.
    pub fn random() -> Result<Self, units::Error> {
        Ok(Self(hex::encode(units::random::<12>()?)))
    }

    /// One that was kept.
    pub fn from_kept(text: String) -> Self {
        Self(text)
    }

    /// As it is kept.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whose a link is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Owner {
    /// A client of ours, whatever certificate it uses.
    Client(ClientId),
    /// The holder of a certificate that we neither issued nor trust.
    Certificate(Sha256),
    /// The holder of a certificate of which an older program kept no more than this; until that holder comes.
    Sha1(Sha1),
    /// The operator's bearer token.
    Token,
    /// Nobody who could be known again.
    Anonymous,
}

impl fmt::Display for Owner {
    /// As it is kept: `client:ID`, `cert:SHA256`, `sha1:SHA1`, `token`, `anonymous`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client(id) => write!(f, "client:{}", id.as_str()),
            Self::Certificate(sha256) => write!(f, "cert:{sha256}"),
            Self::Sha1(sha1) => write!(f, "sha1:{sha1}"),
            Self::Token => f.write_str("token"),
            Self::Anonymous => f.write_str("anonymous"),
        }
    }
}

impl FromStr for Owner {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text.split_once(':') {
            Some(("client", id)) => Ok(Self::Client(ClientId(id.to_owned()))),
            Some(("cert", sha256)) => Ok(Self::Certificate(sha256.parse()?)),
            Some(("sha1", sha1)) => Ok(Self::Sha1(sha1.parse()?)),
            None if text == "token" => Ok(Self::Token),
            None if text == "anonymous" => Ok(Self::Anonymous),
            _ => Err(Error::Owner(text.to_owned())),
        }
    }
}

/// How far a party is trusted, least first.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// Nobody.
    Anonymous,
    /// A certificate we did not issue and nobody trusted.
    Untrusted,
    /// A certificate issued here, valid and not revoked, or trusted by its fingerprint.
    Trusted,
    /// May do everything.
    Admin,
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Anonymous => "anonymous",
            Self::Untrusted => "untrusted",
            Self::Trusted => "trusted",
            Self::Admin => "admin",
        })
    }
}

/// How we know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// We do not.
    Nothing,
    /// The operator's bearer token.
    Token,
    /// A certificate whose key the peer holds.
    Certificate {
        /// What it is known by.
        fingerprint: Fingerprint,
        /// When it ends; `None` when it could not be read.
        not_after: Option<Timestamp>,
        /// Who saw that.
        seen: Seen,
    },
    /// A proxy named a certificate that nobody here knows.
    Named {
        /// By its SHA-256.
        sha256: Option<Sha256>,
        /// By its SHA-1.
        sha1: Option<Sha1>,
    },
}

/// Who saw that a peer holds the key of its certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// We, in the handshake.
    Here,
    /// A proxy of ours, which handed the whole certificate on.
    ByProxy,
    /// A proxy of ours, which told what the certificate is known by.
    Told,
}

impl Proof {
    /// In one word: `none`, `token`, `certificate`, `proxy-certificate` or `proxy-fingerprint`.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Nothing => "none",
            Self::Token => "token",
            Self::Certificate { seen: Seen::Here, .. } => "certificate",
            Self::Certificate { seen: Seen::ByProxy, .. } => "proxy-certificate",
            Self::Certificate { seen: Seen::Told, .. } | Self::Named { .. } => "proxy-fingerprint",
        }
    }
}

/// Who is asking, for one request.
///
/// Made in one place, `server::authenticate`, from evidence; a test holds that to be so.
#[derive(Clone, Debug)]
pub struct Principal {
    /// How far it is trusted.
    pub tier: Tier,
    /// Whose its new links will be, and which existing ones are its own.
    pub owner: Owner,
    /// The client's name, if it has one.
    pub name: Option<String>,
    /// How we know.
    pub proof: Proof,
    /// Where it comes from; `None` on a Unix socket.
    pub address: Option<IpAddr>,
}

impl Principal {
    /// Whether it is a client of ours, or the operator.
    pub fn is_known(&self) -> bool {
        matches!(self.tier, Tier::Trusted | Tier::Admin)
    }
}

/// What could not be read as an identity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not a fingerprint.
    #[error("'{0}' is not a fingerprint: SHA-256 is 64 hex digits, SHA-1 is 40")]
    Fingerprint(String),
    /// Not an owner.
    #[error("'{0}' is not an owner")]
    Owner(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_is_kept_and_read_again() {
        for owner in [
            Owner::Client(ClientId("00ff".into())),
            Owner::Certificate(Sha256([7; 32])),
            Owner::Sha1(Sha1([7; 20])),
            Owner::Token,
            Owner::Anonymous,
        ] {
            assert_eq!(owner.to_string().parse(), Ok(owner));
        }
        assert!("client".parse::<Owner>().is_err());
        assert!("cert:12".parse::<Owner>().is_err());
    }

    #[test]
    fn fingerprints_are_read_as_openssl_prints_them() {
        let of_nothing = Fingerprint::of(b"");
        let colons = "E3:B0:C4:42:98:FC:1C:14:9A:FB:F4:C8:99:6F:B9:24:27:AE:41:E4:64:9B:93:4C:A4:95:99:1B:78:52:B8:55";
        assert_eq!(colons.parse(), Ok(of_nothing.sha256));
        assert_eq!(of_nothing.sha1.to_string(), "da39a3ee5e6b4b0d3255bfef95601890afd80709");
        assert!("da39".parse::<Sha1>().is_err());
    }

    #[test]
    fn tiers_are_ordered() {
        assert!(Tier::Anonymous < Tier::Untrusted && Tier::Untrusted < Tier::Trusted && Tier::Trusted < Tier::Admin);
    }
}
