//! Rows of certificates that were issued and revoked long ago, written beside the running server.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use ddrop::clock::{Clock as _, System};
use ddrop::identity::{ClientId, Fingerprint, Sha1, Sha256};
use ddrop::store::trust::{Certificate, Client, Enrolled, Enrolment, Revoked};
use ddrop::store::{Config, Store};
use ddrop::units::{Timestamp, random};
use futures_util::{StreamExt as _, TryStreamExt as _};

/// Certificates each of the clients had.
const EACH: usize = 100;
/// Bytes of a certificate of ours.
const DER: usize = 640;

/// Issues and revokes `count` certificates.
pub(crate) async fn revoke(storage: &Path, count: usize) -> Result<()> {
    let config = Config { path: storage.to_owned(), max_file_size: 1 << 20, max_storage: 1 << 30 };
    let store = Store::open(config, Arc::new(System)).await?;
    let trust = store.trust();
    let issuing = pki::certificate::Certificate::from_pem(&std::fs::read_to_string(storage.join("pki/issuing.crt"))?)?;
    let (issuer, now) = (Sha256::of(issuing.der()), System.now());
    let mut clients = Vec::new();
    for n in 0..count.div_ceil(EACH) {
        clients.push(Client { id: ClientId::random()?, name: format!("gone {n}"), admin: false, created_at: now });
    }
    let enrolments = (0..count).map(|n| {
        let client = clients.get(n / EACH).context("too few clients")?;
        let certificate = certificate(client, issuer, now)?;
        Ok::<_, anyhow::Error>(Enrolment { invite: None, first: false, client: Some(client.clone()), certificate })
    });
    let writing = futures_util::stream::iter(enrolments).map(|enrolment| {
        let trust = &trust;
        async move {
            let enrolment = enrolment?;
            let sha256 = enrolment.certificate.fingerprint.sha256;
            ensure!(trust.enroll(enrolment).await? == Enrolled::Done, "an enrolment was refused");
            Ok(sha256)
        }
    });
    let all: Vec<Sha256> = writing.buffer_unordered(512).try_collect().await?;
    for some in all.chunks(1000) {
        trust.revoke(some.to_vec(), Revoked { at: now, reason: 1 }).await?;
    }
    store.close().await;
    Ok(())
}

fn certificate(client: &Client, issuer: Sha256, now: Timestamp) -> Result<Certificate> {
    let serial = random::<16>()?.map(|byte| format!("{byte:02x}")).concat();
    let (sha256, sha1, der) = (Sha256(random()?), Sha1(random()?), random::<DER>()?);
    Ok(Certificate {
        fingerprint: Fingerprint { sha256, sha1 },
        // As a certificate has it: never negative, never with a zero before it.
        serial: format!("4{}", serial.get(1..).context("a serial number")?),
        client: Some(client.id.clone()),
        profile: "client".to_owned(),
        subject: format!("CN={}", client.name),
        issuer: Some(issuer),
        not_before: now,
        not_after: now.after(Duration::from_secs(365 * 86_400)),
        created_at: now,
        revoked: None,
        der: Some(der.to_vec()),
    })
}
