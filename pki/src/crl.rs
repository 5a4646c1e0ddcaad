//! Revocation lists (RFC 5280 section 5), whole ones of one CA.

use time::OffsetDateTime;
use x509_parser::prelude::FromDer as _;
use x509_parser::revocation_list::CertificateRevocationList;
use yasna::{DERWriter, DERWriterSeq, Tag};

use crate::ca::Ca;
use crate::{certificate, encode, key};

/// One revoked certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Serial number in hex.
    pub serial_hex: String,
    /// Revoked when.
    pub revoked_at: OffsetDateTime,
    /// Why (RFC 5280 section 5.3.1); 0, unspecified, is left out as the RFC wishes.
    pub reason: u8,
}

/// What a list says besides its entries.
#[derive(Clone, Debug)]
pub struct Header {
    /// Greater than that of every list before.
    pub number: u64,
    /// When it was made.
    pub this_update: OffsetDateTime,
    /// By when there will be a new one.
    pub next_update: OffsetDateTime,
    /// The places this list is found at, as the certificates name them; empty if any of them names none.
    pub places: Vec<String>,
}

/// Signs a list; DER.
///
/// # Errors
/// When a serial number is none, the times are the wrong way round, or it cannot be signed.
pub fn build(ca: &Ca, header: &Header, entries: &[Entry]) -> Result<Vec<u8>, Error> {
    if header.next_update <= header.this_update {
        return Err(Error::Times);
    }
    let serials: Vec<Vec<u8>> = entries.iter().map(|entry| serial(&entry.serial_hex)).collect::<Result<_, _>>()?;
    let parsed = certificate::parse(ca.certificate().der())?;
    let issuer = parsed.subject().as_raw();
    let tbs = yasna::construct_der(|writer| {
        writer.write_sequence(|writer| {
            writer.next().write_u8(1);
            writer.next().write_der(&encode::signature_algorithm(ca.key().algorithm()));
            writer.next().write_der(issuer);
            encode::write_time(writer.next(), header.this_update);
            encode::write_time(writer.next(), header.next_update);
            // Without entries the field must be absent (RFC 5280 section 5.1.2.6).
            if !entries.is_empty() {
                writer.next().write_sequence(|writer| {
                    for (serial, entry) in serials.iter().zip(entries) {
                        write_entry(writer.next(), serial, entry);
                    }
                });
            }
            writer.next().write_tagged(Tag::context(0), |writer| {
                writer.write_sequence(|writer| write_extensions(writer, ca, header));
            });
        });
    });
    let der = encode::signed(&tbs, ca.key())?;
    read_back(&der, ca, entries.len())?;
    Ok(der)
}

/// When a list says the next one will be there.
///
/// # Errors
/// When it cannot be read.
pub fn next_update(der: &[u8]) -> Result<OffsetDateTime, Error> {
    let (_, list) = CertificateRevocationList::from_der(der).map_err(|_| Error::Damaged)?;
    Ok(list.next_update().ok_or(Error::Damaged)?.to_datetime())
}

pub(crate) fn serial(hex: &str) -> Result<Vec<u8>, Error> {
    let wrong = || Error::Serial(hex.to_owned());
    if hex.is_empty() || hex.len() > 40 || !hex.len().is_multiple_of(2) || !hex.is_ascii() {
        return Err(wrong());
    }
    hex.as_bytes()
        .chunks_exact(2)
        .map(|pair| str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok()).ok_or_else(wrong))
        .collect()
}

fn write_entry(writer: DERWriter<'_>, serial: &[u8], entry: &Entry) {
    writer.write_sequence(|writer| {
        writer.next().write_bigint_bytes(serial, true);
        encode::write_time(writer.next(), entry.revoked_at);
        if entry.reason != 0 {
            let reason = yasna::construct_der(|writer| writer.write_enum(i64::from(entry.reason)));
            writer.next().write_sequence(|writer| {
                encode::write_extension(writer.next(), &[2, 5, 29, 21], false, &reason);
            });
        }
    });
}

fn write_extensions(writer: &mut DERWriterSeq<'_>, ca: &Ca, header: &Header) {
    let authority = yasna::construct_der(|writer| {
        writer.write_sequence(|writer| {
            let id = ca.key().public().identifier();
            writer.next().write_tagged_implicit(Tag::context(0), |writer| writer.write_bytes(&id));
        });
    });
    let number = yasna::construct_der(|writer| writer.write_u64(header.number));
    encode::write_extension(writer.next(), &[2, 5, 29, 35], false, &authority);
    encode::write_extension(writer.next(), &[2, 5, 29, 20], false, &number);
    if !header.places.is_empty() {
        encode::write_extension(writer.next(), &[2, 5, 29, 28], true, &issuing_distribution_point(&header.places));
    }
}

/// RFC 5280 section 5.2.5: where this list is found; nothing else narrows it.
fn issuing_distribution_point(places: &[String]) -> Vec<u8> {
    yasna::construct_der(|writer| {
        writer.write_sequence(|writer| {
            writer.next().write_tagged(Tag::context(0), |writer| {
                writer.write_tagged_implicit(Tag::context(0), |writer| {
                    writer.write_sequence(|writer| {
                        for place in places {
                            let uri = Tag::context(6);
                            writer.next().write_tagged_implicit(uri, |writer| writer.write_ia5_string(place));
                        }
                    });
                });
            });
        });
    })
}

fn read_back(der: &[u8], ca: &Ca, entries: usize) -> Result<(), Error> {
    let (rest, list) = CertificateRevocationList::from_der(der).map_err(|_| Error::Damaged)?;
    let parsed = certificate::parse(ca.certificate().der())?;
    let whole = rest.is_empty() && list.iter_revoked_certificates().count() == entries;
    let named = list.issuer().as_raw() == parsed.subject().as_raw();
    if whole && named && list.verify_signature(parsed.public_key()).is_ok() { Ok(()) } else { Err(Error::Damaged) }
}

/// Why there is no list.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not a serial number.
    #[error("'{0}' is not a serial number in hex")]
    Serial(String),
    /// The next list would be due before this one.
    #[error("the next update of a revocation list must be after this one")]
    Times,
    /// It cannot be read.
    #[error("damaged revocation list")]
    Damaged,
    /// The CA's certificate cannot be read.
    #[error(transparent)]
    Certificate(#[from] certificate::Error),
    /// It could not be signed.
    #[error("could not sign the revocation list")]
    Key(#[from] key::Error),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{Algorithm, Key};
    use time::Duration;

    fn header(next: Duration) -> Header {
        let now = OffsetDateTime::from_unix_timestamp(1_800_000_000).expect("a time");
        Header { number: 1, this_update: now, next_update: now + next, places: Vec::new() }
    }

    fn ca(algorithm: Algorithm) -> Ca {
        Ca::root(Key::generate(algorithm).expect("a key"), "root", header(Duration::DAY).this_update).expect("a root")
    }

    #[test]
    fn a_list_that_would_say_nothing_true_is_not_made() {
        let ca = ca(Algorithm::P256);
        let entry = |serial: &str| Entry {
            serial_hex: serial.to_owned(),
            revoked_at: header(Duration::DAY).this_update,
            reason: 0,
        };
        for serial in ["", "1", "zz", "0x12", "\u{e9}", &"12".repeat(21)] {
            let refused = build(&ca, &header(Duration::DAY), &[entry("12"), entry(serial)]);
            assert!(matches!(refused, Err(Error::Serial(said)) if said == serial), "{serial:?}");
        }
        for next in [Duration::ZERO, -Duration::SECOND] {
            assert!(matches!(build(&ca, &header(next), &[]), Err(Error::Times)), "{next}");
        }
        let list = build(&ca, &header(Duration::DAY), &[entry("12")]).expect("a list");
        assert_eq!(next_update(&list).expect("a time"), header(Duration::DAY).next_update);
        for end in [0, 1, list.len() / 2, list.len() - 1] {
            assert!(matches!(next_update(&list[..end]), Err(Error::Damaged)), "cut at {end}");
        }
    }

    #[test]
    fn a_list_that_is_not_as_it_was_meant_does_not_leave() {
        let (one, other) = (ca(Algorithm::P256), ca(Algorithm::P256));
        let list = build(&one, &header(Duration::DAY), &[]).expect("a list");
        read_back(&list, &one, 0).expect("as it was made");
        assert!(matches!(read_back(&list, &one, 1), Err(Error::Damaged)), "an entry is missing");
        assert!(matches!(read_back(&list, &other, 0), Err(Error::Damaged)), "another CA's");
        assert!(matches!(read_back(&[&list[..], &[0]].concat(), &one, 0), Err(Error::Damaged)), "something follows");
        let mut altered = list;
        if let Some(last) = altered.last_mut() {
            *last ^= 1;
        }
        assert!(matches!(read_back(&altered, &one, 0), Err(Error::Damaged)), "the signature does not hold");
    }
}
