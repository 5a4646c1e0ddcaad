//! The DER that is written here rather than by rcgen: keys and signatures of every kind, around what is signed.

use time::OffsetDateTime;
use yasna::models::{GeneralizedTime, ObjectIdentifier, UTCTime};
use yasna::{ASN1Error, ASN1ErrorKind, ASN1Result, DERWriter, DERWriterSeq};

use crate::key::{self, Algorithm, Key};

const EC: &[u64] = &[1, 2, 840, 10045, 2, 1];
const RSA: &[u64] = &[1, 2, 840, 113_549, 1, 1, 1];
const ED25519: &[u64] = &[1, 3, 101, 112];

/// SubjectPublicKeyInfo of a key whose BIT STRING holds `raw`.
pub(crate) fn spki(algorithm: Algorithm, raw: &[u8]) -> Vec<u8> {
    yasna::construct_der(|writer| {
        writer.write_sequence(|writer| {
            writer.next().write_sequence(|writer| write_key_algorithm(writer, algorithm));
            writer.next().write_bitvec_bytes(raw, raw.len() * 8);
        });
    })
}

fn write_key_algorithm(writer: &mut DERWriterSeq<'_>, algorithm: Algorithm) {
    let (kind, curve): (&[u64], Option<&[u64]>) = match algorithm {
        Algorithm::P256 => (EC, Some(&[1, 2, 840, 10045, 3, 1, 7])),
        Algorithm::P384 => (EC, Some(&[1, 3, 132, 0, 34])),
        Algorithm::P521 => (EC, Some(&[1, 3, 132, 0, 35])),
        Algorithm::Ed25519 => (ED25519, None),
        Algorithm::Rsa(_) => (RSA, None),
    };
    writer.next().write_oid(&oid(kind));
    match (curve, algorithm) {
        (Some(curve), _) => writer.next().write_oid(&oid(curve)),
        (None, Algorithm::Rsa(_)) => writer.next().write_null(),
        (None, _) => {}
    }
}

/// The AlgorithmIdentifier of the signatures a key of this kind makes.
pub(crate) fn signature_algorithm(algorithm: Algorithm) -> Vec<u8> {
    let signature: &[u64] = match algorithm {
        Algorithm::P256 => &[1, 2, 840, 10045, 4, 3, 2],
        Algorithm::P384 => &[1, 2, 840, 10045, 4, 3, 3],
        Algorithm::P521 => &[1, 2, 840, 10045, 4, 3, 4],
        Algorithm::Ed25519 => ED25519,
        Algorithm::Rsa(_) => &[1, 2, 840, 113_549, 1, 1, 11],
    };
    yasna::construct_der(|writer| {
        writer.write_sequence(|writer| {
            writer.next().write_oid(&oid(signature));
            if matches!(algorithm, Algorithm::Rsa(_)) {
                writer.next().write_null();
            }
        });
    })
}

/// `SEQUENCE { tbs, algorithm, signature }` as certificates, requests and revocation lists have it.
pub(crate) fn signed(tbs: &[u8], key: &Key) -> Result<Vec<u8>, key::Error> {
    let signature = key.sign(tbs)?;
    Ok(yasna::construct_der(|writer| {
        writer.write_sequence(|writer| {
            writer.next().write_der(tbs);
            writer.next().write_der(&signature_algorithm(key.algorithm()));
            writer.next().write_bitvec_bytes(&signature, signature.len() * 8);
        });
    }))
}

/// What was signed, element by element; strictly by DER, where other readers are lenient.
pub(crate) fn tbs_elements(signed: &[u8]) -> ASN1Result<Vec<Vec<u8>>> {
    let tbs = yasna::parse_der(signed, |reader| {
        reader.read_sequence(|reader| {
            let tbs = reader.next().read_der()?;
            reader.next().read_sequence(|reader| {
                reader.next().read_oid()?;
                reader.read_optional(|reader| reader.read_der())
            })?;
            let (_, bits) = reader.next().read_bitvec_bytes()?;
            if bits % 8 == 0 { Ok(tbs) } else { Err(ASN1Error::new(ASN1ErrorKind::Invalid)) }
        })
    })?;
    let mut elements = Vec::new();
    yasna::parse_der(&tbs, |reader| {
        reader.read_sequence_of(|reader| {
            elements.push(reader.read_der()?);
            Ok(())
        })
    })?;
    Ok(elements)
}

/// A SEQUENCE of elements that are DER already.
pub(crate) fn sequence(elements: &[Vec<u8>]) -> Vec<u8> {
    yasna::construct_der(|writer| {
        writer.write_sequence(|writer| {
            for element in elements {
                writer.next().write_der(element);
            }
        });
    })
}

/// One extension (RFC 5280 section 4.2) with its value in DER.
pub(crate) fn write_extension(writer: DERWriter<'_>, id: &[u64], critical: bool, value: &[u8]) {
    writer.write_sequence(|writer| {
        writer.next().write_oid(&oid(id));
        if critical {
            writer.next().write_bool(true);
        }
        writer.next().write_bytes(value);
    });
}

/// A time as RFC 5280 section 4.1.2.5 wants it: UTCTime until 2049, GeneralizedTime from then on.
pub(crate) fn write_time(writer: DERWriter<'_>, at: OffsetDateTime) {
    let at = at.replace_nanosecond(0).unwrap_or(at);
    if (1950..2050).contains(&at.year()) {
        writer.write_utctime(&UTCTime::from_datetime(at));
    } else {
        writer.write_generalized_time(&GeneralizedTime::from_datetime(at));
    }
}

/// An object identifier.
pub(crate) fn oid(components: &[u64]) -> ObjectIdentifier {
    ObjectIdentifier::from_slice(components)
}
