//! The server's own certificate.

use std::time::Duration;

use pki::certificate::{Certificate, signed_by};
use pki::key::{Algorithm, Key};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::task::spawn_blocking;

use super::folder::{Lock, New};
use super::issuers::Issuer;
use super::{Actor, Authority, Error, ServerIdentity, keep};
use crate::identity::Sha256;
use crate::store::trust;
use crate::units::Timestamp;

const KEY: &str = "server.key";
const CERTIFICATE: &str = "server.crt";
/// It renews itself, so it need not live long; 398 days would be the most.
const LIFETIME: Duration = Duration::from_secs(90 * 86_400);

impl Authority {
    /// The server's own certificate, made anew when it is missing, due, or has other names than configured.
    ///
    /// # Errors
    /// When a name is none or not permitted, or it cannot be signed or written.
    pub async fn server_identity(&self) -> Result<ServerIdentity, Error> {
        // Before the lock: another process's new CA is read under the same one.
        let issuing = self.issuing_for_names().await?;
        let folder = self.folder.clone();
        let lock = spawn_blocking(move || folder.lock()).await??;
        let (found, lock) = self.read_server(lock).await?;
        if let Some((key, certificate)) = found
            && self.still_serves(&key, &certificate, &issuing).await?
        {
            self.keep_row(&certificate, "server", issuing.sha256).await?;
            return self.identity(&key, &certificate, &issuing).await;
        }
        self.make_server(lock, &issuing).await
    }

    async fn read_server(&self, lock: Lock) -> Result<(Option<(Key, Certificate)>, Lock), Error> {
        let (folder, passphrase) = (self.folder.clone(), self.passphrase.clone());
        spawn_blocking(move || {
            if !folder.path(KEY).exists() || !folder.path(CERTIFICATE).exists() {
                return Ok((None, lock));
            }
            let read = keep::certificate(&folder, CERTIFICATE)
                .and_then(|certificate| Ok((keep::key(&folder, &lock, &passphrase, KEY)?, certificate)));
            match read {
                Ok(pair) => Ok((Some(pair), lock)),
                // It can be made anew, so what is damaged need not stop the server.
                Err(error @ Error::File { .. }) => {
                    tracing::warn!(%error, "making a new server certificate");
                    Ok((None, lock))
                }
                Err(error) => Err(error),
            }
        })
        .await?
    }

    async fn still_serves(&self, key: &Key, certificate: &Certificate, issuing: &Issuer) -> Result<bool, Error> {
        let facts = certificate.facts()?;
        let now = self.clock.now();
        let own =
            pki::certificate::is_for_key(certificate, key.public()) && signed_by(certificate, issuing.ca.certificate());
        let due = now < facts.not_before.into() || now >= renew_at(certificate)?;
        let known = self.trust.known(trust::Key::Sha256(Sha256::of(certificate.der()))).await?;
        let revoked = known.is_some_and(|known| known.certificate.revoked.is_some());
        Ok(own && !due && !revoked && facts.names == self.server_names(issuing))
    }

    async fn make_server(&self, lock: Lock, issuing: &Issuer) -> Result<ServerIdentity, Error> {
        let now = self.clock.now();
        let (names, publication) = (self.server_names(issuing), self.publication().await?);
        let key = Key::generate(Algorithm::P256)?;
        let certificate = issuing.ca.server(key.public(), &names, LIFETIME, &publication, now.to_offset())?;
        let by = Actor { name: "server".into(), address: None };
        let details = vec![
            ("names", names.join(" ")),
            ("serial", certificate.facts()?.serial_hex),
            ("fingerprint", Sha256::of(certificate.der()).to_string()),
        ];
        self.record(&by, "server-certificate", details).await?;
        self.keep_row(&certificate, "server", issuing.sha256).await?;
        let identity = self.identity(&key, &certificate, issuing).await?;
        let (folder, passphrase) = (self.folder.clone(), self.passphrase.clone());
        spawn_blocking(move || {
            let (key, certificate) = (keep::sealed(&key, &passphrase)?, certificate.to_pem());
            let new = |name, content, secret| New { name, content, secret };
            folder.install(&lock, &[new(KEY, key.as_bytes(), true), new(CERTIFICATE, certificate.as_bytes(), false)])
        })
        .await??;
        Ok(identity)
    }

    async fn identity(&self, key: &Key, certificate: &Certificate, issuing: &Issuer) -> Result<ServerIdentity, Error> {
        let der = |certificate: &Certificate| CertificateDer::from(certificate.der().to_vec());
        let (ocsp, until) = self.ocsp_about(issuing, &certificate.facts()?.serial_hex).await?;
        Ok(ServerIdentity {
            chain: vec![der(certificate), der(issuing.ca.certificate())],
            key: PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.pkcs8().to_vec())),
            ocsp,
            renew_at: renew_at(certificate)?.min(until),
        })
    }
}

/// When two thirds of its life are over.
fn renew_at(certificate: &Certificate) -> Result<Timestamp, Error> {
    let facts = certificate.facts()?;
    let (from, until) = (Timestamp::from(facts.not_before), Timestamp::from(facts.not_after));
    Ok(from.after(until.since(from) / 3 * 2))
}
