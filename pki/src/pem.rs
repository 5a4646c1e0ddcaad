//! PEM (RFC 7468): blocks of base64 with a label around them.

use ::pem::{EncodeConfig, LineEnding, Pem};

/// Every certificate of a text in DER, in their order; other blocks are passed over.
///
/// # Errors
/// When the text is damaged or has no certificate.
pub fn certificates(text: &str) -> Result<Vec<Vec<u8>>, Error> {
    let found = blocks(text, &["CERTIFICATE"])?;
    if found.is_empty() { Err(Error::Missing("CERTIFICATE")) } else { Ok(found) }
}

/// Every revocation list of a text in DER, in their order.
///
/// # Errors
/// When the text is damaged or has no list.
pub fn lists(text: &str) -> Result<Vec<Vec<u8>>, Error> {
    let found = blocks(text, &["X509 CRL"])?;
    if found.is_empty() { Err(Error::Missing("X509 CRL")) } else { Ok(found) }
}

/// DER as a PEM block.
pub fn encode(label: &str, der: &[u8]) -> String {
    ::pem::encode_config(&Pem::new(label, der), EncodeConfig::new().set_line_ending(LineEnding::LF))
}

/// The contents of every block with one of the labels.
pub(crate) fn blocks(text: &str, labels: &[&str]) -> Result<Vec<Vec<u8>>, Error> {
    let parsed = ::pem::parse_many(text)?;
    Ok(parsed.into_iter().filter(|block| labels.contains(&block.tag())).map(Pem::into_contents).collect())
}

/// Why a text is no PEM of the kind asked for.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The blocks cannot be read.
    #[error("damaged PEM")]
    Damaged(#[from] ::pem::PemError),
    /// There is no such block.
    #[error("no PEM block '{0}'")]
    Missing(&'static str),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_certificate_is_found_and_nothing_else() {
        let text = format!(
            "# a comment\n{}{}{}",
            encode("CERTIFICATE", b"one"),
            encode("X509 CRL", b"no"),
            encode("CERTIFICATE", b"two")
        );
        assert_eq!(certificates(&text).expect("two"), [b"one".to_vec(), b"two".to_vec()]);
    }

    #[test]
    fn a_text_without_certificates_is_an_error() {
        assert!(matches!(certificates("hello"), Err(Error::Missing(_))));
        assert!(matches!(lists(&encode("CERTIFICATE", b"one")), Err(Error::Missing("X509 CRL"))));
        assert!(certificates(&encode("CERTIFICATE", b"one").replace("-----END", "----END")).is_err());
        let torn = encode("CERTIFICATE", b"one").replacen('\n', "\n!", 1);
        assert!(matches!(certificates(&torn), Err(Error::Damaged(_))));
    }
}
