//! OCSP (RFC 6960): requests read, responses signed by the CA that issued what is asked about.

use ring::digest::{self, digest};
use time::OffsetDateTime;
use yasna::models::{GeneralizedTime, ObjectIdentifier};
use yasna::{ASN1Error, ASN1ErrorKind, ASN1Result, BERReader, DERWriter, Tag};

use crate::ca::Ca;
use crate::certificate::{self, hex};
use crate::{encode, key};

/// The longest request that is read, in bytes.
pub const LONGEST: usize = 4096;
/// How many certificates one request may ask about.
pub const MOST: usize = 16;

const BASIC: &[u64] = &[1, 3, 6, 1, 5, 5, 7, 48, 1, 1];
const NONCE: &[u64] = &[1, 3, 6, 1, 5, 5, 7, 48, 1, 2];

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    asked: Vec<Asked>,
    nonce: Option<Vec<u8>>,
}

/// A certificate that is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    id: Vec<u8>,
    hash: ObjectIdentifier,
    issuer_name: Vec<u8>,
    issuer_key: Vec<u8>,
    serial_hex: String,
}

/// What became of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Issued, and not revoked.
    Good,
    /// Revoked.
    Revoked {
        /// When.
        at: OffsetDateTime,
        /// Why (RFC 5280 section 5.3.1).
        reason: u8,
    },
    /// Never issued by this CA.
    Unknown,
}

/// An answer that says no more than what is wrong; it is not signed (RFC 6960 section 2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The request cannot be read.
    Malformed = 1,
    /// The responder failed.
    Internal = 2,
    /// About a CA that this is no responder for.
    Unauthorized = 6,
}

impl Request {
    /// Reads a request. A signature on it is not looked at (RFC 6960 section 4.1.2 leaves that to the responder).
    ///
    /// # Errors
    /// When it cannot be read, asks about nothing or about too much, or has a nonce of a wrong size (RFC 9654).
    pub fn from_der(der: &[u8]) -> Result<Self, Error> {
        if der.len() > LONGEST {
            return Err(Error::Malformed);
        }
        let (asked, nonce) = yasna::parse_der(der, read_request).map_err(|_| Error::Malformed)?;
        let nonce_fits = nonce.as_ref().is_none_or(|nonce| (3..=131).contains(&nonce.len()));
        if !(1..=MOST).contains(&asked.len()) || !nonce_fits {
            return Err(Error::Malformed);
        }
        Ok(Self { asked, nonce })
    }

    /// A request about one certificate of a CA's, by its serial number in hex, without a nonce.
    ///
    /// # Errors
    /// When that is no serial number.
    pub fn about(ca: &Ca, serial_hex: &str) -> Result<Self, Error> {
        let parsed = certificate::parse(ca.certificate().der()).map_err(|_| Error::Malformed)?;
        let serial = crate::crl::serial(serial_hex).map_err(|_| Error::Malformed)?;
        let sha1 = |bytes: &[u8]| digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, bytes).as_ref().to_vec();
        let (name, key) = (sha1(parsed.subject().as_raw()), sha1(ca.key().public().raw()));
        let der = yasna::construct_der(|writer| {
            writer.write_sequence(|writer| {
                writer.next().write_sequence(|writer| {
                    writer.next().write_sequence(|writer| {
                        writer.next().write_sequence(|writer| {
                            writer.next().write_sequence(|writer| {
                                writer.next().write_sequence(|writer| {
                                    writer.next().write_oid(&encode::oid(&[1, 3, 14, 3, 2, 26]));
                                    writer.next().write_null();
                                });
                                writer.next().write_bytes(&name);
                                writer.next().write_bytes(&key);
                                writer.next().write_bigint_bytes(&serial, true);
                            });
                        });
                    });
                });
            });
        });
        Self::from_der(&der)
    }

    /// The certificates asked about, in their order.
    pub fn asked(&self) -> &[Asked] {
        &self.asked
    }
}

impl Asked {
    /// Whether it is one of this CA's, by the hashes of the CA's name and key.
    pub fn is_of(&self, ca: &Ca) -> bool {
        let algorithm = match self.hash.components().as_slice() {
            [1, 3, 14, 3, 2, 26] => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            [2, 16, 840, 1, 101, 3, 4, 2, 1] => &digest::SHA256,
            [2, 16, 840, 1, 101, 3, 4, 2, 2] => &digest::SHA384,
            [2, 16, 840, 1, 101, 3, 4, 2, 3] => &digest::SHA512,
            _ => return false,
        };
        let Ok(parsed) = certificate::parse(ca.certificate().der()) else { return false };
        digest(algorithm, parsed.subject().as_raw()).as_ref() == self.issuer_name
            && digest(algorithm, ca.key().public().raw()).as_ref() == self.issuer_key
    }

    /// Its serial number in lower-case hex.
    pub fn serial_hex(&self) -> &str {
        &self.serial_hex
    }
}

/// Signs the response to a request: a status for each certificate asked about, in their order; the ones that are left
/// out are unknown. It holds from `this_update` to `next_update`.
///
/// # Errors
/// When it cannot be signed.
pub fn respond(
    ca: &Ca,
    request: &Request,
    statuses: &[Status],
    this_update: OffsetDateTime,
    next_update: OffsetDateTime,
    now: OffsetDateTime,
) -> Result<Vec<u8>, Error> {
    let data = yasna::construct_der(|writer| {
        writer.write_sequence(|writer| {
            // The responder by the SHA-1 of its key, which the RFC fixes.
            let own = digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, ca.key().public().raw());
            writer.next().write_tagged(Tag::context(2), |writer| writer.write_bytes(own.as_ref()));
            write_time(writer.next(), now);
            writer.next().write_sequence(|writer| {
                let statuses = statuses.iter().copied().chain(std::iter::repeat(Status::Unknown));
                for (asked, status) in request.asked.iter().zip(statuses) {
                    write_single(writer.next(), asked, status, this_update, next_update);
                }
            });
            if let Some(nonce) = &request.nonce {
                writer.next().write_tagged(Tag::context(1), |writer| {
                    writer.write_sequence(|writer| encode::write_extension(writer.next(), NONCE, false, nonce));
                });
            }
        });
    });
    let signed = encode::signed(&data, ca.key())?;
    Ok(yasna::construct_der(|writer| {
        writer.write_sequence(|writer| {
            writer.next().write_enum(0);
            writer.next().write_tagged(Tag::context(0), |writer| {
                writer.write_sequence(|writer| {
                    writer.next().write_oid(&encode::oid(BASIC));
                    writer.next().write_bytes(&signed);
                });
            });
        });
    }))
}

/// A response that says what is wrong.
pub fn failure(what: Failure) -> Vec<u8> {
    yasna::construct_der(|writer| writer.write_sequence(|writer| writer.next().write_enum(what as i64)))
}

type Read = (Vec<Asked>, Option<Vec<u8>>);

fn read_request(reader: BERReader<'_, '_>) -> ASN1Result<Read> {
    reader.read_sequence(|reader| {
        let read = reader.next().read_sequence(|reader| {
            for tag in [0, 1] {
                reader.read_optional(|reader| reader.read_tagged(Tag::context(tag), |reader| reader.read_der()))?;
            }
            let mut asked = Vec::new();
            reader.next().read_sequence_of(|reader| {
                asked.push(read_asked(reader)?);
                Ok(())
            })?;
            let nonce = reader.read_optional(|reader| reader.read_tagged(Tag::context(2), read_nonce))?;
            Ok((asked, nonce.flatten()))
        })?;
        reader.read_optional(|reader| reader.read_tagged(Tag::context(0), |reader| reader.read_der()))?;
        Ok(read)
    })
}

fn read_asked(reader: BERReader<'_, '_>) -> ASN1Result<Asked> {
    let id = reader.read_sequence(|reader| {
        let id = reader.next().read_der()?;
        reader.read_optional(|reader| reader.read_tagged(Tag::context(0), |reader| reader.read_der()))?;
        Ok(id)
    })?;
    let (hash, issuer_name, issuer_key, serial_hex) = yasna::parse_der(&id, |reader| {
        reader.read_sequence(|reader| {
            let hash = reader.next().read_sequence(|reader| {
                let hash = reader.next().read_oid()?;
                reader.read_optional(|reader| reader.read_null())?;
                Ok(hash)
            })?;
            let (name, key) = (reader.next().read_bytes()?, reader.next().read_bytes()?);
            let (serial, positive) = reader.next().read_bigint_bytes()?;
            if !positive || serial.len() > 21 {
                return Err(ASN1Error::new(ASN1ErrorKind::Invalid));
            }
            Ok((hash, name, key, hex(&serial)))
        })
    })?;
    Ok(Asked { id, hash, issuer_name, issuer_key, serial_hex })
}

/// The value of the nonce among the extensions, still in DER.
fn read_nonce(reader: BERReader<'_, '_>) -> ASN1Result<Option<Vec<u8>>> {
    let mut nonce = None;
    reader.read_sequence_of(|reader| {
        reader.read_sequence(|reader| {
            let id = reader.next().read_oid()?;
            reader.read_optional(|reader| reader.read_bool())?;
            let value = reader.next().read_bytes()?;
            if id.components().as_slice() == NONCE {
                nonce = Some(value);
            }
            Ok(())
        })
    })?;
    Ok(nonce)
}

fn write_single(
    writer: DERWriter<'_>,
    asked: &Asked,
    status: Status,
    this_update: OffsetDateTime,
    next_update: OffsetDateTime,
) {
    writer.write_sequence(|writer| {
        writer.next().write_der(&asked.id);
        write_status(writer.next(), status);
        write_time(writer.next(), this_update);
        writer.next().write_tagged(Tag::context(0), |writer| write_time(writer, next_update));
    });
}

fn write_status(writer: DERWriter<'_>, status: Status) {
    match status {
        Status::Good => writer.write_tagged_implicit(Tag::context(0), |writer| writer.write_null()),
        Status::Unknown => writer.write_tagged_implicit(Tag::context(2), |writer| writer.write_null()),
        Status::Revoked { at, reason } => writer.write_tagged_implicit(Tag::context(1), |writer| {
            writer.write_sequence(|writer| {
                write_time(writer.next(), at);
                if reason != 0 {
                    let tag = Tag::context(0);
                    writer.next().write_tagged(tag, |writer| writer.write_enum(i64::from(reason)));
                }
            });
        }),
    }
}

fn write_time(writer: DERWriter<'_>, at: OffsetDateTime) {
    let at = at.replace_nanosecond(0).unwrap_or(at);
    writer.write_generalized_time(&GeneralizedTime::from_datetime(at));
}

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request cannot be read.
    #[error("malformed OCSP request")]
    Malformed,
    /// The response could not be signed.
    #[error("could not sign the OCSP response")]
    Key(#[from] key::Error),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{Algorithm, Key};

    fn ca() -> Ca {
        let now = OffsetDateTime::from_unix_timestamp(1_800_000_000).expect("a time");
        Ca::root(Key::generate(Algorithm::P256).expect("a key"), "root", now).expect("a root")
    }

    /// A request about so many certificates, with a nonce of so many bytes.
    fn request(asked: usize, nonce: Option<usize>) -> Vec<u8> {
        let one = Request::about(&ca(), "0102").expect("a request");
        let id = one.asked().first().expect("one").id.clone();
        yasna::construct_der(|writer| {
            writer.write_sequence(|writer| {
                writer.next().write_sequence(|writer| {
                    writer.next().write_sequence_of(|writer| {
                        for _ in 0..asked {
                            writer.next().write_sequence(|writer| writer.next().write_der(&id));
                        }
                    });
                    if let Some(length) = nonce {
                        let value = yasna::construct_der(|writer| writer.write_bytes(&vec![7; length]));
                        writer.next().write_tagged(Tag::context(2), |writer| {
                            writer.write_sequence(|writer| {
                                encode::write_extension(writer.next(), NONCE, false, &value);
                            });
                        });
                    }
                });
            });
        })
    }

    #[test]
    fn a_request_asks_about_something_and_not_about_too_much() {
        for (asked, good) in [(0, false), (1, true), (MOST, true), (MOST + 1, false)] {
            let read = Request::from_der(&request(asked, None));
            assert_eq!(read.as_ref().map(|read| read.asked().len()).ok(), good.then_some(asked), "{read:?}");
            assert!(good || matches!(read, Err(Error::Malformed)), "{asked}");
        }
    }

    #[test]
    fn a_nonce_has_a_size() {
        for (length, good) in [(0, false), (1, true), (32, true), (128, true), (129, false), (1000, false)] {
            let read = Request::from_der(&request(1, Some(length)));
            assert!(if good { read.is_ok() } else { matches!(read, Err(Error::Malformed)) }, "{length}: {read:?}");
        }
    }

    #[test]
    fn nobody_is_asked_about_what_is_no_serial_number() {
        for serial in ["", "xyz", &"12".repeat(21)] {
            assert!(matches!(Request::about(&ca(), serial), Err(Error::Malformed)), "{serial:?}");
        }
    }
}
