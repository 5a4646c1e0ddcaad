//! What was signed, read back by another parser and held against what was meant, before it leaves.

use rcgen::{CertificateParams, CidrSubnet, ExtendedKeyUsagePurpose, GeneralSubtree, KeyUsagePurpose, SanType};
use ring::digest::SHA512;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{ExtendedKeyUsage, GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer as _;
use x509_parser::x509::X509Version;

use crate::certificate::{names, parse};
use crate::ecdsa521;
use crate::key::{Algorithm, PublicKey};
use crate::profile::Profile;

/// Checks a certificate signed by a CA, whose certificate is `issuer`.
pub(crate) fn signed(
    der: &[u8],
    profile: Profile,
    params: &CertificateParams,
    subject: &PublicKey,
    issuer: &[u8],
) -> Result<(), Mismatch> {
    let certificate = parse(der).map_err(|_| Mismatch("encoding"))?;
    let issuer = parse(issuer).map_err(|_| Mismatch("issuer"))?;
    common(&certificate, profile, params, subject)?;
    ensure(certificate.issuer().as_raw() == issuer.subject().as_raw(), "issuer")?;
    ensure(certificate.validity().not_after <= issuer.validity().not_after, "validity beyond the issuer's")?;
    ensure(
        authority_key(&certificate).is_some() && authority_key(&certificate) == subject_key(&issuer),
        "authority key",
    )?;
    let key = PublicKey::from_spki(issuer.public_key().raw).map_err(|_| Mismatch("issuer's key"))?;
    ensure(signature_holds(&certificate, &key), "signature")
}

/// Checks a self-signed certificate.
pub(crate) fn self_signed(
    der: &[u8],
    profile: Profile,
    params: &CertificateParams,
    subject: &PublicKey,
) -> Result<(), Mismatch> {
    let certificate = parse(der).map_err(|_| Mismatch("encoding"))?;
    common(&certificate, profile, params, subject)?;
    ensure(certificate.issuer().as_raw() == certificate.subject().as_raw(), "issuer")?;
    ensure(signature_holds(&certificate, subject), "signature")
}

fn common(
    certificate: &X509Certificate<'_>,
    profile: Profile,
    params: &CertificateParams,
    subject: &PublicKey,
) -> Result<(), Mismatch> {
    let serial = params.serial_number.as_ref().map(rcgen::SerialNumber::to_bytes);
    ensure(certificate.version() == X509Version::V3, "version")?;
    ensure(serial.as_deref() == Some(certificate.raw_serial()), "serial number")?;
    ensure(certificate.validity().not_before.to_datetime() == params.not_before, "start")?;
    ensure(certificate.validity().not_after.to_datetime() == params.not_after, "end")?;
    ensure(params.not_before < params.not_after, "validity")?;
    ensure(certificate.public_key().raw == subject.spki(), "public key")?;
    ensure(common_name(certificate) == wanted_name(params), "subject")?;
    ensure(names(certificate) == wanted_names(params), "names")?;
    constraints(certificate, profile)?;
    name_constraints(certificate, params)?;
    usages(certificate, profile)?;
    ensure(subject_key(certificate) == Some(subject.identifier()), "subject key")?;
    known_extensions_once(certificate)
}

fn constraints(certificate: &X509Certificate<'_>, profile: Profile) -> Result<(), Mismatch> {
    let found = certificate.basic_constraints().ok().flatten().ok_or(Mismatch("basic constraints"))?;
    let length = profile.path_length().map(u32::from);
    ensure(found.critical, "basic constraints not critical")?;
    ensure(found.value.ca == length.is_some() && found.value.path_len_constraint == length, "basic constraints")
}

/// Domains as they are, networks as an address and a mask.
type Subtrees = Vec<Vec<u8>>;

fn name_constraints(certificate: &X509Certificate<'_>, params: &CertificateParams) -> Result<(), Mismatch> {
    let found = certificate.name_constraints().map_err(|_| Mismatch("name constraints"))?;
    ensure(found.as_ref().is_none_or(|found| found.critical), "name constraints not critical")?;
    let subtrees = |found: Option<&Vec<x509_parser::extensions::GeneralSubtree<'_>>>| -> Subtrees {
        found.into_iter().flatten().map(|subtree| base(&subtree.base)).collect()
    };
    let found = found.map(|found| found.value);
    let found = [
        subtrees(found.and_then(|found| found.permitted_subtrees.as_ref())),
        subtrees(found.and_then(|found| found.excluded_subtrees.as_ref())),
    ];
    let wanted = params.name_constraints.as_ref().map(|wanted| {
        [&wanted.permitted_subtrees, &wanted.excluded_subtrees]
            .map(|all| all.iter().map(wanted_base).collect::<Subtrees>())
    });
    ensure(found == wanted.unwrap_or_default(), "name constraints")
}

fn base(found: &GeneralName<'_>) -> Vec<u8> {
    match found {
        GeneralName::DNSName(domain) => domain.as_bytes().to_vec(),
        GeneralName::IPAddress(network) => network.to_vec(),
        _ => vec![0xff],
    }
}

fn wanted_base(wanted: &GeneralSubtree) -> Vec<u8> {
    match wanted {
        GeneralSubtree::DnsName(domain) => domain.as_bytes().to_vec(),
        GeneralSubtree::IpAddress(CidrSubnet::V4(address, mask)) => [*address, *mask].concat(),
        GeneralSubtree::IpAddress(CidrSubnet::V6(address, mask)) => [*address, *mask].concat(),
        // None of ours has one of another kind, and neither is the same as the other.
        _ => vec![0],
    }
}

fn usages(certificate: &X509Certificate<'_>, profile: Profile) -> Result<(), Mismatch> {
    let found = certificate.key_usage().ok().flatten().ok_or(Mismatch("key usage"))?;
    let wanted = profile.key_usages().iter().fold(0, |bits, usage| bits | bit(*usage));
    ensure(found.critical && found.value.flags == wanted, "key usage")?;
    let found = certificate.extended_key_usage().ok().flatten().map(|usage| purposes(usage.value));
    let wanted = profile.extended_key_usages();
    ensure(found.unwrap_or_default() == wanted, "extended key usage")
}

/// As RFC 5280 section 4.2.1.3 numbers them, from the lowest bit, which is how the parser has them.
fn bit(usage: KeyUsagePurpose) -> u16 {
    match usage {
        KeyUsagePurpose::DigitalSignature => 1,
        KeyUsagePurpose::ContentCommitment => 1 << 1,
        KeyUsagePurpose::KeyEncipherment => 1 << 2,
        KeyUsagePurpose::DataEncipherment => 1 << 3,
        KeyUsagePurpose::KeyAgreement => 1 << 4,
        KeyUsagePurpose::KeyCertSign => 1 << 5,
        KeyUsagePurpose::CrlSign => 1 << 6,
        KeyUsagePurpose::EncipherOnly => 1 << 7,
        KeyUsagePurpose::DecipherOnly => 1 << 8,
    }
}

fn purposes(found: &ExtendedKeyUsage<'_>) -> Vec<ExtendedKeyUsagePurpose> {
    let others = found.other.iter().filter_map(|id| id.iter().map(Iterator::collect));
    [
        (found.any, ExtendedKeyUsagePurpose::Any),
        (found.server_auth, ExtendedKeyUsagePurpose::ServerAuth),
        (found.client_auth, ExtendedKeyUsagePurpose::ClientAuth),
        (found.code_signing, ExtendedKeyUsagePurpose::CodeSigning),
        (found.email_protection, ExtendedKeyUsagePurpose::EmailProtection),
        (found.time_stamping, ExtendedKeyUsagePurpose::TimeStamping),
        (found.ocsp_signing, ExtendedKeyUsagePurpose::OcspSigning),
    ]
    .into_iter()
    .filter_map(|(has, purpose)| has.then_some(purpose))
    .chain(others.map(ExtendedKeyUsagePurpose::Other))
    .collect()
}

fn known_extensions_once(certificate: &X509Certificate<'_>) -> Result<(), Mismatch> {
    certificate.extensions_map().map_err(|_| Mismatch("extensions twice"))?;
    let known = certificate.iter_extensions().all(|extension| {
        matches!(
            extension.parsed_extension(),
            ParsedExtension::AuthorityKeyIdentifier(_)
                | ParsedExtension::SubjectKeyIdentifier(_)
                | ParsedExtension::KeyUsage(_)
                | ParsedExtension::ExtendedKeyUsage(_)
                | ParsedExtension::BasicConstraints(_)
                | ParsedExtension::SubjectAlternativeName(_)
                | ParsedExtension::NameConstraints(_)
                | ParsedExtension::CRLDistributionPoints(_)
                | ParsedExtension::AuthorityInfoAccess(_)
        )
    });
    ensure(known, "extensions")
}

fn common_name(certificate: &X509Certificate<'_>) -> Option<String> {
    let mut attributes = certificate.subject().iter_attributes();
    let first = attributes.next()?;
    (attributes.next().is_none()).then(|| first.as_str().ok().map(str::to_owned)).flatten()
}

fn wanted_name(params: &CertificateParams) -> Option<String> {
    match params.distinguished_name.get(&rcgen::DnType::CommonName)? {
        rcgen::DnValue::Utf8String(name) => Some(name.clone()),
        _ => None,
    }
}

fn wanted_names(params: &CertificateParams) -> Vec<String> {
    let name = |name: &SanType| match name {
        SanType::DnsName(name) => name.as_str().to_owned(),
        SanType::IpAddress(address) => address.to_string(),
        _ => String::new(),
    };
    params.subject_alt_names.iter().map(name).collect()
}

fn subject_key(certificate: &X509Certificate<'_>) -> Option<Vec<u8>> {
    certificate.iter_extensions().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
        _ => None,
    })
}

fn authority_key(certificate: &X509Certificate<'_>) -> Option<Vec<u8>> {
    certificate.iter_extensions().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(id) => id.key_identifier.as_ref().map(|id| id.0.to_vec()),
        _ => None,
    })
}

/// Whether a certificate's signature is by this key.
pub(crate) fn signature_holds(certificate: &X509Certificate<'_>, key: &PublicKey) -> bool {
    if key.algorithm() == Algorithm::P521 {
        let tbs = certificate.tbs_certificate.as_ref();
        return ecdsa521::verify(key.raw(), &SHA512, tbs, &certificate.signature_value.data);
    }
    let Ok((_, spki)) = x509_parser::x509::SubjectPublicKeyInfo::from_der(key.spki()) else { return false };
    certificate.verify_signature(Some(&spki)).is_ok()
}

fn ensure(holds: bool, what: &'static str) -> Result<(), Mismatch> {
    if holds { Ok(()) } else { Err(Mismatch(what)) }
}

/// What differs between what was signed and what was meant. It means a mistake in this program or its parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("its {0} differs")]
pub struct Mismatch(pub(crate) &'static str);

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CustomExtension, DnType, IsCa, KeyIdMethod, SerialNumber};
    use time::{Duration, OffsetDateTime};

    use super::*;
    use crate::certificate;
    use crate::key::Key;
    use crate::profile::Validity;
    use crate::sign;

    fn key() -> Key {
        Key::generate(Algorithm::P256).expect("a key")
    }

    fn params(profile: Profile, name: &str, key: &Key, days: i64) -> CertificateParams {
        let now = OffsetDateTime::from_unix_timestamp(1_800_000_000).expect("a time");
        let validity = Validity::starting(now, Duration::days(days)).expect("a validity");
        let mut params = certificate::params(profile, name, validity, key.public()).expect("parameters");
        params.use_authority_key_identifier_extension = profile != Profile::Root;
        params
    }

    /// A CA, a key below it, and what a certificate for that is meant to say.
    struct Signing {
        ca: Key,
        issuer: Vec<u8>,
        subject: Key,
        meant: CertificateParams,
    }

    impl Signing {
        fn new() -> Self {
            let (ca, subject) = (key(), key());
            let root = params(Profile::Root, "root", &ca, 100);
            let issuer = sign::self_signed(&root, &ca).expect("signed");
            let mut meant = params(Profile::Server, "drop.example", &subject, 10);
            meant.subject_alt_names = vec![SanType::DnsName("drop.example".try_into().expect("a name"))];
            Self { ca, issuer, subject, meant }
        }

        /// What is said of a certificate that was signed otherwise than it was meant.
        fn verdict(&self, otherwise: impl FnOnce(&mut CertificateParams)) -> Result<(), Mismatch> {
            let mut params = self.meant.clone();
            otherwise(&mut params);
            let der = sign::certificate(&params, self.subject.public(), &self.issuer, &self.ca).expect("signed");
            signed(&der, Profile::Server, &self.meant, self.subject.public(), &self.issuer)
        }
    }

    #[test]
    fn whatever_differs_from_what_was_meant_is_found() {
        let signing = Signing::new();
        assert_eq!(signing.verdict(|_| ()), Ok(()));
        let differs = |what, otherwise: fn(&mut CertificateParams)| {
            assert_eq!(signing.verdict(otherwise), Err(Mismatch(what)), "{what}");
        };
        differs("serial number", |params| params.serial_number = Some(SerialNumber::from_slice(&[1, 2, 3])));
        differs("start", |params| params.not_before += Duration::SECOND);
        differs("end", |params| params.not_after += Duration::SECOND);
        differs("subject", |params| params.distinguished_name.push(DnType::OrganizationName, "Bank"));
        differs("names", |params| {
            params.subject_alt_names.push(SanType::DnsName("bank.example".try_into().expect("a name")));
        });
        differs("names", |params| params.subject_alt_names.clear());
        differs("basic constraints", |params| params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)));
        differs("basic constraints", |params| params.is_ca = IsCa::NoCa);
        let to = |domain: &str, excluded: bool| {
            let subtrees = vec![GeneralSubtree::DnsName(domain.to_owned())];
            let (permitted_subtrees, excluded_subtrees) =
                if excluded { (Vec::new(), subtrees) } else { (subtrees, Vec::new()) };
            Some(rcgen::NameConstraints { permitted_subtrees, excluded_subtrees })
        };
        let verdict = signing.verdict(|params| params.name_constraints = to("example", false));
        assert_eq!(verdict, Err(Mismatch("name constraints")));
        let mut constrained = Signing::new();
        constrained.meant.name_constraints = to("example", false);
        assert_eq!(constrained.verdict(|_| ()), Ok(()));
        for other in [None, to("example.org", false), to("example", true)] {
            let verdict = constrained.verdict(|params| params.name_constraints = other.clone());
            assert_eq!(verdict, Err(Mismatch("name constraints")), "{other:?}");
        }
        differs("name constraints not critical", |params| {
            let domain = [0x30, 0x0d, 0xa0, 0x0b, 0x30, 0x09, 0x82, 0x07, b'e', b'x', b'a', b'm', b'p', b'l', b'e'];
            params.custom_extensions = vec![CustomExtension::from_oid_content(&[2, 5, 29, 30], domain.to_vec())];
        });
        differs("basic constraints not critical", |params| {
            params.is_ca = IsCa::NoCa;
            params.custom_extensions = vec![CustomExtension::from_oid_content(&[2, 5, 29, 19], vec![0x30, 0])];
        });
        differs("key usage", |params| params.key_usages.push(KeyUsagePurpose::KeyCertSign));
        differs("key usage", |params| params.key_usages.clear());
        differs("extended key usage", |params| params.extended_key_usages.push(ExtendedKeyUsagePurpose::ClientAuth));
        differs("extended key usage", |params| params.extended_key_usages.clear());
        differs("subject key", |params| params.key_identifier_method = KeyIdMethod::PreSpecified(vec![1; 20]));
        differs("authority key", |params| params.use_authority_key_identifier_extension = false);
        differs("extensions", |params| {
            params.custom_extensions = vec![CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0])];
        });
        differs("extensions twice", |params| {
            params.custom_extensions = vec![CustomExtension::from_oid_content(&[2, 5, 29, 35], vec![0x30, 0])];
        });
    }

    #[test]
    fn what_another_signed_or_for_another_is_found() {
        let signing = Signing::new();
        let Signing { ca, issuer, subject, meant } = &signing;
        let der = sign::certificate(meant, subject.public(), issuer, ca).expect("signed");
        let judge = |der: &[u8], profile, subject: &Key, issuer: &[u8]| {
            signed(der, profile, meant, subject.public(), issuer).expect_err("differs").0
        };
        assert_eq!(judge(&der[1..], Profile::Server, subject, issuer), "encoding");
        assert_eq!(judge(&der, Profile::Server, subject, b"nobody"), "issuer");
        assert_eq!(judge(&der, Profile::Client, subject, issuer), "extended key usage");
        assert_eq!(judge(&der, Profile::Server, &key(), issuer), "public key");
        let elsewhere = Signing::new();
        assert_eq!(judge(&der, Profile::Server, subject, &elsewhere.issuer), "authority key", "of the same name");
        let named = sign::self_signed(&params(Profile::Root, "another", ca, 100), ca).expect("signed");
        assert_eq!(judge(&der, Profile::Server, subject, &named), "issuer");
        let short = sign::self_signed(&params(Profile::Root, "root", ca, 5), ca).expect("signed");
        assert_eq!(judge(&der, Profile::Server, subject, &short), "validity beyond the issuer's");
        let mut unknown = issuer.clone();
        let curve = unknown.windows(3).rposition(|part| part == [3, 1, 7]).expect("the curve of its key");
        unknown[curve + 2] = 6;
        assert_eq!(judge(&der, Profile::Server, subject, &unknown), "issuer's key");
        let mut forged = der.clone();
        if let Some(last) = forged.last_mut() {
            *last ^= 1;
        }
        assert_eq!(judge(&forged, Profile::Server, subject, issuer), "signature");
        let mut older = der;
        let version = older.windows(5).position(|part| part == [0xa0, 3, 2, 1, 2]).expect("a version");
        older[version + 4] = 1;
        assert_eq!(judge(&older, Profile::Server, subject, issuer), "version");
    }

    #[test]
    fn what_lives_backwards_is_found() {
        let signing = Signing::new();
        let mut meant = signing.meant.clone();
        std::mem::swap(&mut meant.not_before, &mut meant.not_after);
        let der = sign::certificate(&meant, signing.subject.public(), &signing.issuer, &signing.ca).expect("signed");
        let verdict = signed(&der, Profile::Server, &meant, signing.subject.public(), &signing.issuer);
        assert_eq!(verdict, Err(Mismatch("validity")));
    }

    #[test]
    fn a_certificate_that_is_its_own_issuer_is_held_against_its_own_key() {
        let (own, other) = (key(), key());
        let meant = params(Profile::Root, "root", &own, 100);
        let der = sign::self_signed(&meant, &own).expect("signed");
        assert_eq!(self_signed(&der, Profile::Root, &meant, own.public()), Ok(()));
        assert_eq!(self_signed(&der, Profile::Root, &meant, other.public()), Err(Mismatch("public key")));
        assert_eq!(self_signed(&der, Profile::Issuing, &meant, own.public()), Err(Mismatch("basic constraints")));
        let mut forged = der;
        if let Some(last) = forged.last_mut() {
            *last ^= 1;
        }
        assert_eq!(self_signed(&forged, Profile::Root, &meant, own.public()), Err(Mismatch("signature")));
    }
}
