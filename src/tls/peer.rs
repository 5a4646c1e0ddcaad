//! The other end of a connection, read once, right after the handshake.

use std::net::IpAddr;

use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::identity::Fingerprint;
use crate::units::Timestamp;

/// The other end of a connection.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Where it is; `None` on a Unix socket.
    pub address: Option<IpAddr>,
    /// The certificate it showed and proved to hold the key of.
    pub certificate: Option<PeerCertificate>,
}

/// A certificate whose key the peer holds.
#[derive(Clone, Debug)]
pub struct PeerCertificate {
    /// What it is known by.
    pub fingerprint: Fingerprint,
    /// When it begins.
    pub not_before: Timestamp,
    /// When it ends.
    pub not_after: Timestamp,
}

impl PeerCertificate {
    /// Reads a certificate; `None` if it is not one, which the handshake would have refused.
    pub fn read(der: &CertificateDer<'_>) -> Option<Self> {
        let (rest, parsed) = X509Certificate::from_der(der).ok()?;
        if !rest.is_empty() {
            return None;
        }
        let validity = parsed.validity();
        Some(Self {
            fingerprint: Fingerprint::of(der),
            not_before: Timestamp::from_secs(validity.not_before.timestamp()),
            not_after: Timestamp::from_secs(validity.not_after.timestamp()),
        })
    }
}
