//! What a proven proxy says its client showed in the handshake: a whole certificate, or what it is known by.

use axum::http::HeaderMap;
use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use percent_encoding::percent_decode_str;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use crate::identity::{Sha1, Sha256};
use crate::tls::PeerCertificate;

/// The certificate as RFC 9440 has it: `:base64:`.
const CERTIFICATE: &str = "client-cert";
/// The certificate as nginx has it: PEM, percent-encoded.
const PEM: &str = "x-ssl-client-cert";
/// What it is known by.
const SHA256: &str = "x-ssl-client-sha256";
/// What it was known by.
const SHA1: &str = "x-ssl-client-sha1";
/// Characters of a value: a certificate of 16 KiB, percent-encoded at its worst, has no more.
const LONGEST: usize = 48 * 1024;

/// RFC 8941 lets padding be left out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What a proxy says its client showed.
#[derive(Clone, Debug)]
pub(in crate::server) enum Shown {
    /// Nothing.
    Nothing,
    /// A certificate, whole.
    Certificate(PeerCertificate),
    /// What a certificate is known by; at least one of both.
    Fingerprint(Option<Sha256>, Option<Sha1>),
    /// Something that is not believed, and why: neither in part nor in favour of something else.
    Unreadable(&'static str),
}

impl Shown {
    /// Reads what a proven proxy said.
    pub(super) fn read(headers: &HeaderMap) -> Self {
        try_read(headers).unwrap_or_else(Self::Unreadable)
    }
}

fn try_read(headers: &HeaderMap) -> Result<Shown, &'static str> {
    let rfc = one(headers, CERTIFICATE)?.map(binary_item).transpose()?;
    let pem = one(headers, PEM)?.map(escaped_pem).transpose()?;
    let sha256 = one(headers, SHA256)?.map(hex_digits).transpose()?.map(Sha256);
    let sha1 = one(headers, SHA1)?.map(hex_digits).transpose()?.map(Sha1);
    let whole = match (rfc, pem) {
        (Some(one), Some(other)) if one != other => return Err(DISAGREE),
        (one, other) => one.or(other),
    };
    let Some(der) = whole else {
        return Ok(if sha256.is_none() && sha1.is_none() { Shown::Nothing } else { Shown::Fingerprint(sha256, sha1) });
    };
    let certificate = PeerCertificate::read(&CertificateDer::from(der)).ok_or("a proxy sent what is no certificate")?;
    let own = certificate.fingerprint;
    if sha256.is_some_and(|said| said != own.sha256) || sha1.is_some_and(|said| said != own.sha1) {
        return Err(DISAGREE);
    }
    Ok(Shown::Certificate(certificate))
}

/// What came in two headers is of two certificates: one of them may be from someone else than the proxy.
pub(in crate::server) const DISAGREE: &str = "a proxy named two certificates at once";

/// A header that is there once. Without a certificate some proxies send it empty.
fn one<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, &'static str> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) if value.is_empty() => Ok(None),
        (Some(value), None) if value.len() <= LONGEST => {
            value.to_str().map(Some).map_err(|_| "a proxy sent an identity that is no text")
        }
        (Some(_), None) => Err("a proxy sent an identity that is too long"),
        (Some(_), Some(_)) => Err("a proxy sent an identity twice"),
    }
}

/// RFC 8941 section 3.3.5, without parameters, of which RFC 9440 has none.
fn binary_item(text: &str) -> Result<Vec<u8>, &'static str> {
    let inner = text.strip_prefix(':').and_then(|rest| rest.strip_suffix(':'));
    inner
        .and_then(|encoded| BASE64.decode(encoded).ok())
        .ok_or("a proxy sent a Client-Cert that is not one (RFC 9440: base64 between two colons)")
}

fn escaped_pem(text: &str) -> Result<Vec<u8>, &'static str> {
    const WRONG: &str = "a proxy sent an X-SSL-Client-Cert that is not one (one certificate in PEM, percent-encoded)";
    let pem: Vec<u8> = percent_decode_str(text).collect();
    let mut found = CertificateDer::pem_slice_iter(&pem);
    match (found.next(), found.next()) {
        (Some(Ok(certificate)), None) => Ok(certificate.to_vec()),
        _ => Err(WRONG),
    }
}

fn hex_digits<const N: usize>(text: &str) -> Result<[u8; N], &'static str> {
    let mut out = [0; N];
    let lower = text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if !lower || hex::decode_to_slice(text, &mut out).is_err() {
        return Err("a proxy sent a fingerprint that is not one (SHA-256 is 64 lower-case hex digits, SHA-1 is 40)");
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};
    use base64::prelude::BASE64_STANDARD;
    use pki::key::{Algorithm, Key};
    use proptest::prelude::*;

    use super::*;
    use crate::identity::Fingerprint;

    fn certificate(name: &str) -> (String, String, Fingerprint) {
        let key = Key::generate(Algorithm::P256).expect("a key");
        let now = time::macros::datetime!(2026-01-01 0:00 UTC);
        let made = pki::certificate::self_signed_client(&key, name, now, 30).expect("a certificate");
        let pem = made.to_pem();
        let escaped = percent_encoding::utf8_percent_encode(&pem, percent_encoding::NON_ALPHANUMERIC);
        (format!(":{}:", BASE64_STANDARD.encode(made.der())), escaped.to_string(), Fingerprint::of(made.der()))
    }

    fn shown(said: &[(&'static str, &str)]) -> Shown {
        let mut headers = HeaderMap::new();
        for (name, value) in said {
            headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).expect("a value"));
        }
        Shown::read(&headers)
    }

    #[test]
    fn f22_a_certificate_is_known_however_the_proxy_sends_it() {
        let (rfc, pem, print) = certificate("alice");
        let (sha256, sha1) = (print.sha256.to_string(), print.sha1.to_string());
        let bare = rfc.trim_end_matches([':', '=']).to_owned() + ":";
        for said in [
            &[(CERTIFICATE, rfc.as_str())][..],
            &[(CERTIFICATE, &bare)],
            &[(PEM, &pem)],
            &[(CERTIFICATE, &rfc), (PEM, &pem), (SHA256, &sha256), (SHA1, &sha1)],
            &[(CERTIFICATE, &rfc), (SHA1, "")],
        ] {
            let shown = shown(said);
            assert!(matches!(&shown, Shown::Certificate(one) if one.fingerprint == print), "{said:?}: {shown:?}");
        }
        assert!(matches!(shown(&[(SHA256, &sha256)]), Shown::Fingerprint(Some(one), None) if one == print.sha256));
        assert!(matches!(shown(&[(SHA1, &sha1)]), Shown::Fingerprint(None, Some(one)) if one == print.sha1));
        assert!(matches!(shown(&[]), Shown::Nothing));
        assert!(matches!(shown(&[(CERTIFICATE, ""), (SHA1, "")]), Shown::Nothing));
    }

    #[test]
    fn f22_what_is_said_twice_joined_or_otherwise_than_agreed_is_nobodys() {
        let (rfc, pem, print) = certificate("alice");
        let (other, other_pem, other_print) = certificate("mallory");
        let (sha256, sha1) = (print.sha256.to_string(), print.sha1.to_string());
        let (joined, twice_pem) = (format!("{rfc}, {other}"), format!("{pem}{other_pem}"));
        let (upper, colons) = (sha1.to_ascii_uppercase(), "ab:".repeat(20));
        let (both, spaced) = (format!("{sha1},{sha1}"), format!("{} {}", &sha1[..20], &sha1[20..]));
        let (bare, trailing) = (rfc.trim_matches(':').to_owned(), format!("{rfc};a=1"));
        let long = "a".repeat(LONGEST + 1);
        let other_sha1 = other_print.sha1.to_string();
        for said in [
            &[(SHA1, sha1.as_str()), (SHA1, &sha1)][..],
            &[(SHA1, ""), (SHA1, &sha1)],
            &[(CERTIFICATE, &rfc), (CERTIFICATE, &rfc)],
            &[(CERTIFICATE, &joined)],
            &[(CERTIFICATE, &bare)],
            &[(CERTIFICATE, &trailing)],
            &[(CERTIFICATE, ":AAAA:")],
            &[(CERTIFICATE, "::")],
            &[(CERTIFICATE, ":")],
            &[(CERTIFICATE, ":{http.request.tls.client.certificate_der_base64}:")],
            &[(CERTIFICATE, &rfc), (PEM, &other_pem)],
            &[(CERTIFICATE, &rfc), (SHA1, &other_sha1)],
            &[(CERTIFICATE, &rfc), (SHA256, "00")],
            &[(PEM, &twice_pem)],
            &[(PEM, "-----BEGIN%20CERTIFICATE-----")],
            &[(SHA1, &upper)],
            &[(SHA1, &colons)],
            &[(SHA1, &both)],
            &[(SHA1, &spaced)],
            &[(SHA1, &sha256)],
            &[(SHA256, &sha1)],
            &[(SHA256, "{http.request.tls.client.fingerprint}")],
            &[(SHA1, &long)],
        ] {
            let shown = shown(said);
            assert!(matches!(shown, Shown::Unreadable(_)), "{said:?}: {shown:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_a_proxy_sends_makes_it_fall_over(
            name in prop_oneof![Just(CERTIFICATE), Just(PEM), Just(SHA256), Just(SHA1)],
            value in "[ -~]{0,200}",
        ) {
            match shown(&[(name, &value)]) {
                Shown::Nothing => prop_assert!(value.trim().is_empty(), "{value:?}"),
                Shown::Fingerprint(sha256, sha1) => {
                    let said = sha256.map(|sha256| sha256.to_string()).or(sha1.map(|sha1| sha1.to_string()));
                    prop_assert_eq!(said, Some(value));
                }
                Shown::Unreadable(why) => prop_assert!(!why.is_empty() && !why.contains(&value) || value.len() < 10),
                Shown::Certificate(found) => prop_assert!(false, "{found:?} in {value:?}"),
            }
        }
    }
}
