//! PKCS#7 (CMS, RFC 5652) with certificates and nothing else, as EST answers them (RFC 7030 section 4.1.3).

use yasna::Tag;

use crate::encode;

/// `SignedData` without a signer around certificates in DER.
pub fn certificates<T: AsRef<[u8]>>(certificates: &[T]) -> Vec<u8> {
    const SIGNED_DATA: &[u64] = &[1, 2, 840, 113_549, 1, 7, 2];
    const DATA: &[u64] = &[1, 2, 840, 113_549, 1, 7, 1];

    yasna::construct_der(|writer| {
        writer.write_sequence(|writer| {
            writer.next().write_oid(&encode::oid(SIGNED_DATA));
            writer.next().write_tagged(Tag::context(0), |writer| {
                writer.write_sequence(|writer| {
                    writer.next().write_u8(1);
                    writer.next().write_set_of(|_| {});
                    writer.next().write_sequence(|writer| writer.next().write_oid(&encode::oid(DATA)));
                    writer.next().write_tagged_implicit(Tag::context(0), |writer| {
                        writer.write_set_of(|writer| {
                            for certificate in certificates {
                                writer.next().write_der(certificate.as_ref());
                            }
                        });
                    });
                    writer.next().write_set_of(|_| {});
                });
            });
        });
    })
}
