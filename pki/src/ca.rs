//! A CA key with its certificate: what it signs is read back and checked before it leaves.

use std::net::IpAddr;

use rcgen::{
    CertificateParams, CidrSubnet, CrlDistributionPoint, CustomExtension, GeneralSubtree, NameConstraints, SanType,
};
use time::{Duration, OffsetDateTime};
use x509_parser::prelude::{GeneralName, X509Certificate};

use crate::certificate::{self, Certificate, Facts, params};
use crate::key::{Key, PublicKey};
use crate::profile::{Profile, Validity};
use crate::{check, encode, sign};

/// A CA: its key and its certificate.
#[derive(Debug)]
pub struct Ca {
    key: Key,
    certificate: Certificate,
    facts: Facts,
}

/// Where verifiers find out about revocation; written into what a CA signs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Publication {
    /// The revocation list (RFC 5280 section 4.2.1.13).
    pub crl: Option<String>,
    /// The OCSP responder (RFC 5280 section 4.2.2.1).
    pub ocsp: Option<String>,
}

impl Ca {
    /// A new root, which signs itself, for ten years. Its name ends in a part of its key's identifier, so that no two
    /// installations have CAs of the same name.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn root(key: Key, name: &str, now: OffsetDateTime) -> Result<Self, Error> {
        let validity = Validity::starting(now, Profile::Root.longest()).ok_or(Error::Ended)?;
        let params = params(Profile::Root, &distinct(name, key.public()), validity, key.public())?;
        let der = sign::self_signed(&params, &key)?;
        check::self_signed(&der, Profile::Root, &params, key.public())?;
        Self::load(key, Certificate::signed(der))
    }

    /// A CA from its parts.
    ///
    /// # Errors
    /// When the certificate is no CA's, or the key is not its own.
    pub fn load(key: Key, certificate: Certificate) -> Result<Self, Error> {
        let parsed = certificate::parse(certificate.der())?;
        if parsed.public_key().raw != key.public().spki() {
            return Err(Error::OtherKey);
        }
        let facts = certificate.facts()?;
        if facts.is_ca { Ok(Self { key, certificate, facts }) } else { Err(Error::NoCa) }
    }

    /// Its certificate.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// What its certificate says.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Its key.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// Signs an issuing CA below this one, for five years or until this one ends. `permitted`: the server names it may
    /// issue for, as domains and networks (`10.0.0.0/8`); empty: any. Where there are domains alone it may issue for no
    /// address, and where there are networks alone for no domain.
    ///
    /// # Errors
    /// When this CA is over, a permitted name is none, or it cannot be signed.
    pub fn issuing(
        &self,
        key: Key,
        name: &str,
        permitted: &[String],
        publication: &Publication,
        now: OffsetDateTime,
    ) -> Result<Self, Error> {
        let validity = self.validity(now, Profile::Issuing.longest())?;
        let mut params = params(Profile::Issuing, &distinct(name, key.public()), validity, key.public())?;
        if !permitted.is_empty() {
            let permitted_subtrees: Vec<GeneralSubtree> =
                permitted.iter().map(|name| subtree(name)).collect::<Result<_, _>>()?;
            let excluded_subtrees = kinds_left_out(&permitted_subtrees);
            params.name_constraints = Some(NameConstraints { permitted_subtrees, excluded_subtrees });
        }
        let certificate = self.sign(Profile::Issuing, params, key.public(), publication)?;
        Self::load(key, certificate)
    }

    /// Signs a server certificate for names and addresses, for `lifetime`, at most 398 days or until this CA ends.
    ///
    /// # Errors
    /// When this CA is over, there is no name or one that is none, or it cannot be signed.
    pub fn server(
        &self,
        subject: &PublicKey,
        names: &[String],
        lifetime: std::time::Duration,
        publication: &Publication,
        now: OffsetDateTime,
    ) -> Result<Certificate, Error> {
        let first = names.first().ok_or_else(|| Error::ServerName(String::new()))?;
        let alternatives = names.iter().map(|name| alternative(name)).collect::<Result<_, _>>()?;
        let validity = self.validity(now, span(lifetime).min(Profile::Server.longest()))?;
        let mut params = params(Profile::Server, &server_subject(names, first), validity, subject)?;
        params.subject_alt_names = alternatives;
        self.sign(Profile::Server, params, subject, publication)
    }

    /// Signs a client certificate, for `lifetime`, at most ten years or until this CA ends.
    ///
    /// # Errors
    /// When this CA is over, the name will not do, or it cannot be signed.
    pub fn client(
        &self,
        subject: &PublicKey,
        common_name: &str,
        lifetime: std::time::Duration,
        publication: &Publication,
        now: OffsetDateTime,
    ) -> Result<Certificate, Error> {
        let validity = self.validity(now, span(lifetime).min(Profile::Client.longest()))?;
        let params = params(Profile::Client, &no_domain(common_name), validity, subject)?;
        self.sign(Profile::Client, params, subject, publication)
    }

    /// Whether it may sign server certificates for a name or address (RFC 5280 section 4.2.1.10).
    pub fn permits(&self, name: &str) -> bool {
        certificate::parse(self.certificate.der()).is_ok_and(|own| permits(&own, name))
    }

    /// The server names it may issue for, as [`Ca::issuing`] takes them; empty: any.
    pub fn permitted(&self) -> Vec<String> {
        let Ok(own) = certificate::parse(self.certificate.der()) else { return Vec::new() };
        let constraints = own.name_constraints().ok().flatten();
        let permitted = constraints.and_then(|found| found.value.permitted_subtrees.as_ref());
        permitted.into_iter().flatten().filter_map(|subtree| domain_or_network(&subtree.base)).collect()
    }

    fn sign(
        &self,
        profile: Profile,
        mut params: CertificateParams,
        subject: &PublicKey,
        publication: &Publication,
    ) -> Result<Certificate, Error> {
        params.use_authority_key_identifier_extension = true;
        if let Some(url) = &publication.crl {
            params.crl_distribution_points = vec![CrlDistributionPoint { uris: vec![url.clone()] }];
        }
        if let Some(url) = &publication.ocsp {
            params.custom_extensions = vec![authority_information(url)];
        }
        let der = sign::certificate(&params, subject, self.certificate.der(), &self.key)?;
        check::signed(&der, profile, &params, subject, self.certificate.der())?;
        Ok(Certificate::signed(der))
    }

    fn validity(&self, now: OffsetDateTime, lifetime: Duration) -> Result<Validity, Error> {
        let own = Validity { not_before: self.facts.not_before, not_after: self.facts.not_after };
        let validity = Validity::starting(now, lifetime).ok_or(Error::Ended)?.within(own);
        if now < own.not_before || now >= own.not_after || validity.not_before >= validity.not_after {
            return Err(Error::Ended);
        }
        Ok(validity)
    }
}

fn span(lifetime: std::time::Duration) -> Duration {
    Duration::try_from(lifetime).unwrap_or(Duration::MAX)
}

fn distinct(name: &str, key: &PublicKey) -> String {
    format!("{name} {}", certificate::hex(&key.identifier()).chars().take(8).collect::<String>())
}

/// A client's name as its certificate has it. Where a CA is constrained to some domains, OpenSSL takes a common name
/// that looks like one for one; with a space in it, it does not.
fn no_domain(name: &str) -> String {
    if name.contains('.') && is_domain(name) { format!("client {name}") } else { name.to_owned() }
}

/// A server's common name: for programs of before 2017 its first domain. An address stands beside a word: alone it
/// looks like a domain to OpenSSL, which holds it against the CA's constraints as one.
fn server_subject(names: &[String], first: &str) -> String {
    let domain = names.iter().find(|name| name.parse::<IpAddr>().is_err());
    let shown = domain.map_or_else(|| format!("server {first}"), |domain| domain.to_owned());
    if shown.chars().count() <= 64 { shown } else { "server".to_owned() }
}

/// A form of name that no permitted subtree is of is not constrained (RFC 5280 section 4.2.1.10): a CA for some domains
/// could sign for every address there is. What is left out is excluded whole.
fn kinds_left_out(permitted: &[GeneralSubtree]) -> Vec<GeneralSubtree> {
    let has_networks = permitted.iter().any(|one| matches!(one, GeneralSubtree::IpAddress(_)));
    let has_domains = permitted.iter().any(|one| matches!(one, GeneralSubtree::DnsName(_)));
    let mut left_out = Vec::new();
    if !has_networks {
        let every = [CidrSubnet::V4([0; 4], [0; 4]), CidrSubnet::V6([0; 16], [0; 16])];
        left_out.extend(every.map(GeneralSubtree::IpAddress));
    }
    if !has_domains {
        left_out.push(GeneralSubtree::DnsName(String::new()));
    }
    left_out
}

/// A form of name that no permitted subtree is of is not constrained, unless it is excluded.
fn permits(ca: &X509Certificate<'_>, name: &str) -> bool {
    let Ok(constraints) = ca.name_constraints() else { return false };
    let Some(constraints) = constraints.map(|found| found.value) else { return true };
    let held_against = |subtrees: &Option<Vec<x509_parser::extensions::GeneralSubtree<'_>>>| {
        let found: Vec<bool> = subtrees.iter().flatten().filter_map(|subtree| covers(&subtree.base, name)).collect();
        (!found.is_empty()).then(|| found.contains(&true))
    };
    held_against(&constraints.permitted_subtrees) != Some(false)
        && held_against(&constraints.excluded_subtrees) != Some(true)
}

/// Whether a name is within a domain or network; `None` when it is of another form.
fn covers(base: &GeneralName<'_>, name: &str) -> Option<bool> {
    match (base, name.parse::<IpAddr>()) {
        (GeneralName::IPAddress(network), Ok(address)) => Some(is_within(address, network)),
        (GeneralName::DNSName(domain), Err(_)) => Some(is_below(name.strip_prefix("*.").unwrap_or(name), domain)),
        _ => None,
    }
}

fn domain_or_network(base: &GeneralName<'_>) -> Option<String> {
    match base {
        GeneralName::DNSName(domain) => Some((*domain).to_owned()),
        GeneralName::IPAddress(network) => {
            let (base, mask) = network.split_at(network.len() / 2);
            let v4 = <[u8; 4]>::try_from(base).map(IpAddr::from);
            let address = v4.or_else(|_| <[u8; 16]>::try_from(base).map(IpAddr::from)).ok()?;
            Some(format!("{address}/{}", mask.iter().map(|byte| byte.count_ones()).sum::<u32>()))
        }
        _ => None,
    }
}

fn is_below(name: &str, domain: &str) -> bool {
    let (name, domain) = (name.to_ascii_lowercase(), domain.to_ascii_lowercase());
    let rest = name.strip_suffix(domain.as_str());
    rest.is_some_and(|rest| domain.is_empty() || rest.is_empty() || rest.ends_with('.'))
}

/// A network is an address and a mask, one after the other.
fn is_within(address: IpAddr, network: &[u8]) -> bool {
    let octets = match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let (base, mask) = network.split_at(network.len() / 2);
    base.len() == octets.len() && octets.iter().zip(base).zip(mask).all(|((own, base), mask)| own & mask == base & mask)
}

/// Whether a server certificate can be for this name: a host name, a wildcard below one, or an address.
pub fn is_server_name(name: &str) -> bool {
    name.parse::<IpAddr>().is_ok() || is_domain(name.strip_prefix("*.").unwrap_or(name))
}

fn is_domain(name: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    // A last label of digits alone would be taken for part of an address.
    name.len() <= 253
        && name.split('.').all(label)
        && !name.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()))
}

fn alternative(name: &str) -> Result<SanType, Error> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    let wrong = || Error::ServerName(name.to_owned());
    if !is_server_name(name) {
        return Err(wrong());
    }
    Ok(SanType::DnsName(name.to_ascii_lowercase().try_into().map_err(|_| wrong())?))
}

fn subtree(name: &str) -> Result<GeneralSubtree, Error> {
    let wrong = || Error::ServerName(name.to_owned());
    if let Some((network, bits)) = name.split_once('/') {
        let address: IpAddr = network.parse().map_err(|_| wrong())?;
        let bits: u8 = bits.parse().map_err(|_| wrong())?;
        if bits > if address.is_ipv4() { 32 } else { 128 } {
            return Err(wrong());
        }
        return Ok(GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(address, bits)));
    }
    if !is_domain(name) {
        return Err(wrong());
    }
    Ok(GeneralSubtree::DnsName(name.to_ascii_lowercase()))
}

fn authority_information(ocsp: &str) -> CustomExtension {
    let value = yasna::construct_der(|writer| {
        writer.write_sequence(|writer| {
            writer.next().write_sequence(|writer| {
                writer.next().write_oid(&encode::oid(&[1, 3, 6, 1, 5, 5, 7, 48, 1]));
                let uri = yasna::Tag::context(6);
                writer.next().write_tagged_implicit(uri, |writer| writer.write_ia5_string(ocsp));
            });
        });
    });
    CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 1], value)
}

/// Why a CA could not be made or did not sign.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The time is not within its own certificate's.
    #[error("the CA's own certificate is over or not valid yet")]
    Ended,
    /// Key and certificate do not belong together.
    #[error("the key is not that of the certificate")]
    OtherKey,
    /// The certificate may not sign others.
    #[error("the certificate is not a CA's")]
    NoCa,
    /// Not a name a server can have.
    #[error("'{0}' is not a name or an address of a server")]
    ServerName(String),
    /// The certificate cannot be made or read.
    #[error(transparent)]
    Certificate(#[from] certificate::Error),
    /// It could not be signed.
    #[error("could not sign")]
    Sign(#[from] sign::Error),
    /// What was signed is not what was meant.
    #[error("what was signed is not what was meant")]
    Check(#[from] check::Mismatch),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Algorithm;

    #[test]
    fn what_is_permitted_is_told() {
        let now = OffsetDateTime::from_unix_timestamp(1_800_000_000).expect("a time");
        let key = || Key::generate(Algorithm::P256).expect("a key");
        let root = Ca::root(key(), "root", now).expect("a root");
        let issuing = |permitted: &[&str]| {
            let permitted: Vec<String> = permitted.iter().map(|name| (*name).to_owned()).collect();
            root.issuing(key(), "issuing", &permitted, &Publication::default(), now).expect("a CA")
        };
        let both = issuing(&["example.org", "10.0.0.0/8", "fc00::/7"]);
        for name in ["example.org", "A.EXAMPLE.org", "*.example.org", "10.255.0.1", "fd00::1"] {
            assert!(both.permits(name), "{name}");
        }
        for name in ["notexample.org", "org", "example.com", "11.0.0.1", "2001:db8::1"] {
            assert!(!both.permits(name), "{name}");
        }
        assert_eq!(both.permitted(), ["example.org", "10.0.0.0/8", "fc00::/7"]);
        assert!(issuing(&[]).permitted().is_empty());
        let domains = issuing(&["example.org"]);
        assert!(domains.permits("a.example.org"));
        for name in ["example.com", "192.0.2.1", "0.0.0.0", "::1", "2001:db8::1"] {
            assert!(!domains.permits(name), "{name}");
        }
        let networks = issuing(&["10.0.0.0/8"]);
        assert!(networks.permits("10.1.2.3"));
        for name in ["11.0.0.1", "::1", "example.org", "localhost", "*.example.org"] {
            assert!(!networks.permits(name), "{name}");
        }
        assert_eq!(
            (domains.permitted(), networks.permitted()),
            (vec!["example.org".into()], vec!["10.0.0.0/8".into()])
        );
        assert!(issuing(&[]).permits("anything.example"));
    }

    fn at(seconds: i64) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(seconds).expect("a time")
    }

    fn root(now: OffsetDateTime) -> Ca {
        Ca::root(Key::generate(Algorithm::P256).expect("a key"), "root", now).expect("a root")
    }

    const DAY: std::time::Duration = std::time::Duration::from_secs(86_400);

    #[test]
    fn a_ca_signs_within_its_own_life_only() {
        let now = at(1_800_000_000);
        let (ca, key) = (root(now), Key::generate(Algorithm::P256).expect("a key"));
        let (from, until) = (ca.facts().not_before, ca.facts().not_after);
        let sign = |now| ca.client(key.public(), "alice", DAY, &Publication::default(), now);
        for now in [from - Duration::SECOND, until, until + Duration::DAY] {
            assert!(matches!(sign(now), Err(Error::Ended)), "{now}");
        }
        let last = sign(until - Duration::HOUR).expect("signed").facts().expect("facts");
        assert_eq!(last.not_after, until, "no longer than the CA itself");
        let end_of_time = at(253_402_300_799);
        let key = Key::generate(Algorithm::P256).expect("a key");
        assert!(matches!(Ca::root(key, "root", end_of_time), Err(Error::Ended)), "past the year 9999");
    }

    #[test]
    fn key_and_certificate_belong_together_and_are_a_cas() {
        let now = at(1_800_000_000);
        let (ca, other) = (root(now), Key::generate(Algorithm::P256).expect("a key"));
        let client = ca.client(other.public(), "alice", DAY, &Publication::default(), now).expect("signed");
        let stranger = Key::generate(Algorithm::P256).expect("a key");
        assert!(matches!(Ca::load(stranger, ca.certificate().clone()), Err(Error::OtherKey)));
        assert!(matches!(Ca::load(other, client), Err(Error::NoCa)));
    }

    #[test]
    fn names_that_are_none_are_refused() {
        let now = at(1_800_000_000);
        let (ca, key) = (root(now), Key::generate(Algorithm::P256).expect("a key"));
        let server = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            ca.server(key.public(), &names, DAY, &Publication::default(), now)
        };
        let long = format!("{}.example", "x".repeat(64));
        for name in ["", "no name", "a..b", "-a.example", "1.2.3", "*.*.example", "a/b", "b\u{fc}cher.example", &long] {
            assert!(matches!(server(&[name]), Err(Error::ServerName(said)) if said == name), "{name:?}");
            assert!(matches!(server(&["good.example", name]), Err(Error::ServerName(_))), "{name:?}");
        }
        assert!(matches!(server(&[]), Err(Error::ServerName(said)) if said.is_empty()));
        let issuing = |permitted: &str| {
            let key = Key::generate(Algorithm::P256).expect("a key");
            ca.issuing(key, "issuing", &[permitted.to_owned()], &Publication::default(), now)
        };
        for network in
            ["10.0.0.0/33", "::/129", "10.0.0/8", "10.0.0.0/x", "10.0.0.0/-1", "10.0.0.1", "no name", "*.a.b"]
        {
            assert!(matches!(issuing(network), Err(Error::ServerName(said)) if said == network), "{network}");
        }
        for name in ["", " alice", "al\nice", &"x".repeat(65)] {
            let refused = ca.client(key.public(), name, DAY, &Publication::default(), now);
            assert!(matches!(refused, Err(Error::Certificate(certificate::Error::Name))), "{name:?}");
        }
    }

    #[test]
    fn what_a_ca_without_an_identifier_signed_does_not_leave() {
        // As one that was put into the folder by hand may be.
        let now = at(1_800_000_000);
        let key = Key::generate(Algorithm::P256).expect("a key");
        let params = {
            let validity = Validity::starting(now, Duration::DAY).expect("a validity");
            let mut params = params(Profile::Issuing, "odd", validity, key.public()).expect("parameters");
            params.key_identifier_method = rcgen::KeyIdMethod::PreSpecified(b"another".to_vec());
            params
        };
        let odd = Certificate::from_der(&sign::self_signed(&params, &key).expect("signed")).expect("a certificate");
        let mut der = odd.der().to_vec();
        let id = der.windows(7).position(|part| part == b"another").expect("its identifier");
        // The identifier's type becomes one that is none.
        let oid = der.windows(3).position(|part| part == [0x55, 0x1d, 0x0e]).expect("its type");
        assert!(oid < id);
        der[oid + 2] = 0x7f;
        let ca = Ca::load(key, Certificate::from_der(&der).expect("a certificate")).expect("a CA");
        let subject = Key::generate(Algorithm::P256).expect("a key");
        let refused = ca.client(subject.public(), "alice", DAY, &Publication::default(), now);
        assert!(matches!(refused, Err(Error::Check(_))), "{refused:?}");
    }

    #[test]
    fn a_server_is_called_by_a_domain_or_by_no_name_at_all() {
        let of = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            server_subject(&names, &names[0])
        };
        assert_eq!(of(&["10.0.0.7", "drop.example"]), "drop.example");
        assert_eq!(of(&["10.0.0.7", "::1"]), "server 10.0.0.7");
        assert_eq!(of(&[&format!("{}.example", "x".repeat(60))]), "server");
    }

    #[test]
    fn a_client_is_not_called_like_a_domain() {
        assert_eq!(no_domain("alice"), "alice");
        assert_eq!(no_domain("alice@example.org"), "alice@example.org");
        assert_eq!(no_domain("ci.example.org"), "client ci.example.org");
    }
}
