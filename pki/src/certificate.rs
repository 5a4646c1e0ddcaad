//! Certificates: read, shown, and self-signed ones made.

use std::net::IpAddr;

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyIdMethod, SerialNumber};
use ring::rand::{SecureRandom as _, SystemRandom};
use time::{Duration, OffsetDateTime};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer as _;

use crate::key::{Key, PublicKey};
use crate::profile::{Profile, Validity};
use crate::{check, sign};

/// A certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate(Vec<u8>);

impl Certificate {
    /// One from DER.
    ///
    /// # Errors
    /// When it cannot be read, or something follows it.
    pub fn from_der(der: &[u8]) -> Result<Self, Error> {
        parse(der)?;
        Ok(Self(der.to_vec()))
    }

    /// The one certificate of a PEM text.
    ///
    /// # Errors
    /// When there is none or more than one, or it cannot be read.
    pub fn from_pem(text: &str) -> Result<Self, Error> {
        let found = crate::pem::certificates(text)?;
        let [der] = found.as_slice() else { return Err(Error::Several(found.len())) };
        Self::from_der(der)
    }

    pub(crate) fn signed(der: Vec<u8>) -> Self {
        Self(der)
    }

    /// In DER.
    pub fn der(&self) -> &[u8] {
        &self.0
    }

    /// As a PEM block.
    pub fn to_pem(&self) -> String {
        crate::pem::encode("CERTIFICATE", &self.0)
    }

    /// What it says.
    ///
    /// # Errors
    /// As [`inspect`].
    pub fn facts(&self) -> Result<Facts, Error> {
        inspect(&self.0)
    }
}

/// What a certificate says about itself; nothing of it is proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Serial number in lower-case hex, as it stands there without the sign octet.
    pub serial_hex: String,
    /// The first common name of the subject.
    pub common_name: Option<String>,
    /// The whole subject.
    pub subject: String,
    /// The whole issuer.
    pub issuer: String,
    /// Valid from.
    pub not_before: OffsetDateTime,
    /// Valid until and including.
    pub not_after: OffsetDateTime,
    /// Whether it may sign certificates.
    pub is_ca: bool,
    /// Whether it names itself as its issuer.
    pub is_self_issued: bool,
    /// Whether a TLS client may use it: clientAuth, any purpose, or no restriction.
    pub for_clients: bool,
    /// Whether a TLS server may use it.
    pub for_servers: bool,
    /// Names and addresses it is for, in their order.
    pub names: Vec<String>,
    /// What kind of key it has; an object identifier if it is none of ours.
    pub key: String,
}

/// Reads a certificate of any origin and version.
///
/// # Errors
/// When it cannot be read, or something follows it.
pub fn inspect(der: &[u8]) -> Result<Facts, Error> {
    let parsed = parse(der)?;
    let common_name = parsed.subject().iter_common_name().find_map(|name| name.as_str().ok()).map(str::to_owned);
    let purposes = parsed.extended_key_usage().ok().flatten().map(|usage| usage.value);
    let any = purposes.is_none_or(|usage| usage.any);
    Ok(Facts {
        serial_hex: hex(parsed.raw_serial()),
        common_name,
        subject: parsed.subject().to_string(),
        issuer: parsed.issuer().to_string(),
        not_before: parsed.validity().not_before.to_datetime(),
        not_after: parsed.validity().not_after.to_datetime(),
        is_ca: parsed.is_ca(),
        is_self_issued: parsed.subject().as_raw() == parsed.issuer().as_raw(),
        for_clients: any || purposes.is_some_and(|usage| usage.client_auth),
        for_servers: any || purposes.is_some_and(|usage| usage.server_auth),
        names: names(&parsed),
        key: PublicKey::from_spki(parsed.public_key().raw)
            .map_or_else(|_| parsed.public_key().algorithm.algorithm.to_id_string(), |key| key.algorithm().to_string()),
    })
}

/// A self-signed client certificate for `days` days.
///
/// # Errors
/// When the name is empty, longer than 64 characters or has control characters, or `days` is 0 or beyond the calendar.
pub fn self_signed_client(key: &Key, common_name: &str, now: OffsetDateTime, days: u32) -> Result<Certificate, Error> {
    let validity = Validity::starting(now, Duration::days(i64::from(days))).filter(|_| days > 0);
    let validity = validity.ok_or(Error::Lifetime)?;
    let mut params = params(Profile::Client, common_name, validity, key.public())?;
    // RFC 5280 section 4.2.1.1 lets only CAs leave it out of what they sign for themselves.
    params.use_authority_key_identifier_extension = true;
    let der = sign::self_signed(&params, key)?;
    check::self_signed(&der, Profile::Client, &params, key.public())?;
    Ok(Certificate(der))
}

/// Whether a certificate is for this key.
pub fn is_for_key(certificate: &Certificate, key: &PublicKey) -> bool {
    parse(certificate.der()).is_ok_and(|parsed| parsed.public_key().raw == key.spki())
}

/// Whether a certificate was signed by the key of another.
pub fn signed_by(certificate: &Certificate, issuer: &Certificate) -> bool {
    let (Ok(certificate), Ok(issuer)) = (parse(certificate.der()), parse(issuer.der())) else { return false };
    let Ok(key) = PublicKey::from_spki(issuer.public_key().raw) else { return false };
    certificate.issuer().as_raw() == issuer.subject().as_raw() && check::signature_holds(&certificate, &key)
}

/// What every certificate of ours has in common.
pub(crate) fn params(
    profile: Profile,
    common_name: &str,
    validity: Validity,
    subject: &PublicKey,
) -> Result<CertificateParams, Error> {
    let mut params = CertificateParams::default();
    params.serial_number = Some(serial()?);
    params.distinguished_name = distinguished_name(common_name)?;
    params.not_before = validity.not_before;
    params.not_after = validity.not_after;
    params.is_ca = profile.basic_constraints();
    params.key_usages = profile.key_usages();
    params.extended_key_usages = profile.extended_key_usages();
    params.key_identifier_method = KeyIdMethod::PreSpecified(subject.identifier());
    Ok(params)
}

/// A subject that is a common name alone.
pub(crate) fn distinguished_name(common_name: &str) -> Result<DistinguishedName, Error> {
    let length = common_name.chars().count();
    if length == 0 || length > 64 || common_name.trim() != common_name || common_name.chars().any(char::is_control) {
        return Err(Error::Name);
    }
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    Ok(name)
}

pub(crate) fn parse(der: &[u8]) -> Result<X509Certificate<'_>, Error> {
    let (rest, parsed) = X509Certificate::from_der(der).map_err(|_| Error::Damaged)?;
    if rest.is_empty() { Ok(parsed) } else { Err(Error::Damaged) }
}

/// 126 random bits in 16 octets: never zero, never negative, always as long.
fn serial() -> Result<SerialNumber, Error> {
    let mut bytes = [0; 16];
    SystemRandom::new().fill(&mut bytes).map_err(|_| Error::Random)?;
    if let Some(top) = bytes.first_mut() {
        *top = *top & 0x3f | 0x40;
    }
    Ok(SerialNumber::from_slice(&bytes))
}

pub(crate) fn names(parsed: &X509Certificate<'_>) -> Vec<String> {
    let extension = parsed.iter_extensions().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectAlternativeName(names) => Some(names),
        _ => None,
    });
    let Some(extension) = extension else { return Vec::new() };
    extension.general_names.iter().filter_map(general_name).collect()
}

fn general_name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) | GeneralName::RFC822Name(name) | GeneralName::URI(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => {
            let address = <[u8; 4]>::try_from(*bytes)
                .map(IpAddr::from)
                .or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from));
            address.ok().map(|address| address.to_string())
        }
        _ => None,
    }
}

pub(crate) fn hex(serial: &[u8]) -> String {
    let unsigned = match serial {
        [0, rest @ ..] if !rest.is_empty() => rest,
        all => all,
    };
    unsigned.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What is wrong with a certificate, or why none was made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be read.
    #[error("damaged certificate")]
    Damaged,
    /// The PEM around it cannot be read.
    #[error(transparent)]
    Pem(#[from] crate::pem::Error),
    /// One was expected.
    #[error("{0} certificates where one was expected")]
    Several(usize),
    /// The subject's name will not do.
    #[error("a common name has 1 to 64 characters, no control characters, and no space at its ends")]
    Name,
    /// The lifetime will not do.
    #[error("a certificate lives at least a day and ends before the year 10000")]
    Lifetime,
    /// It could not be signed.
    #[error("could not sign the certificate")]
    Sign(#[from] sign::Error),
    /// What was signed is not what was meant.
    #[error("the signed certificate is not what was asked for")]
    Check(#[from] check::Mismatch),
    /// The operating system's generator failed.
    #[error("the random number generator failed")]
    Random,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Algorithm;

    fn key() -> Key {
        Key::generate(Algorithm::P256).expect("a key")
    }

    fn now() -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(1_800_000_000).expect("a time")
    }

    #[test]
    fn what_is_no_certificate_is_refused() {
        let good = self_signed_client(&key(), "me", now(), 1).expect("a certificate");
        for end in 0..good.der().len() {
            assert!(matches!(Certificate::from_der(&good.der()[..end]), Err(Error::Damaged)), "cut at {end}");
        }
        let longer = [good.der(), &[0]].concat();
        assert!(matches!(Certificate::from_der(&longer), Err(Error::Damaged)));
        assert!(matches!(inspect(b"hello"), Err(Error::Damaged)));
        assert!(matches!(Certificate::from_pem("hello"), Err(Error::Pem(crate::pem::Error::Missing("CERTIFICATE")))));
        let torn = good.to_pem().replacen('\n', "\n!", 1);
        assert!(matches!(Certificate::from_pem(&torn), Err(Error::Pem(crate::pem::Error::Damaged(_)))));
        assert!(matches!(Certificate::from_pem(&good.to_pem().repeat(2)), Err(Error::Several(2))));
    }

    #[test]
    fn names_and_lifetimes_that_will_not_do_are_refused() {
        for name in ["", " me", "me ", "m\0e", "m\u{7f}e", &"x".repeat(65)] {
            assert!(matches!(self_signed_client(&key(), name, now(), 1), Err(Error::Name)), "{name:?}");
        }
        for days in [0, 3_000_000, u32::MAX] {
            assert!(matches!(self_signed_client(&key(), "me", now(), days), Err(Error::Lifetime)), "{days}");
        }
    }

    #[test]
    fn nobody_signed_for_another_key_or_name() {
        let [own, other] = [key(), key()];
        let [one, two] = [&own, &other].map(|key| self_signed_client(key, "me", now(), 1).expect("a certificate"));
        let named = self_signed_client(&own, "you", now(), 1).expect("a certificate");
        assert!(signed_by(&one, &one) && is_for_key(&one, own.public()));
        assert!(!signed_by(&one, &two), "the same name, another key");
        assert!(!signed_by(&one, &named), "the same key, another name");
        assert!(!is_for_key(&one, other.public()));
    }
}
