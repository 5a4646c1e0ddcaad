//! Becoming a client without an invite, where a server takes anyone for work.

use std::path::Path;
use std::sync::Arc;

use pki::key::Algorithm;
use url::Url;

use super::enroll::{Configure, Enrolled, enrolled, key_and_request, settings, vacant};
use super::folder::{Readable, Staged};
use super::profile::{CA, CERTIFICATE, FILE, KEY};
use super::tls::Anchors;
use super::transfer::Progress;
use super::work::{Work, for_work};
use super::{Client, Error, certificate};
use crate::clock::Clock;

/// Who registers, and where.
#[derive(Debug)]
pub struct Registration<'a> {
    /// The name of the client to be.
    pub name: &'a str,
    /// The kind of its key, which is made here.
    pub algorithm: Algorithm,
    /// Where its files go.
    pub folder: &'a Path,
    /// What its configuration says of the server.
    pub configure: Configure<'a>,
    /// Replace files that are there.
    pub replace: bool,
}

/// Registers: solves the server's proof of work on all cores, has a key of ours certified, and writes the same files as
/// an enrolment does. On failure the old files stay.
///
/// # Errors
/// When a file is there already, the server cannot be reached, asks for too much, refuses, or answers a certificate that
/// cannot be used.
pub async fn register(
    what: &Registration<'_>,
    anchors: Anchors,
    clock: Arc<dyn Clock>,
    progress: Arc<dyn Progress>,
) -> Result<Enrolled, Error> {
    let root = match &anchors {
        Anchors::Pinned(roots) => roots.first().cloned(),
        _ => None,
    };
    let server: &Url = what.configure.server;
    let client = Client::anonymous(server.clone(), anchors, Arc::clone(&clock))?;
    // Everything that may fail here comes before the work, and before the server makes a client of us.
    let staged = Staged::begin(what.folder)?;
    vacant(what.folder, what.replace)?;
    let (key, request) = key_and_request(what.algorithm, what.name)?;
    staged.add(KEY, key.to_pem().as_bytes(), Readable::Owner)?;
    if let Some(pem) = what.configure.ca_pem {
        staged.add(CA, pem, Readable::All)?;
    }
    let text = settings(server, what.configure.ca_pem.is_some());
    staged.add(FILE, text.as_bytes(), Readable::Owner)?;

    let ask = async || client.challenge().await;
    let sign = async |work: Option<&Work>| client.sign_for_work(&request, work).await;
    let chain_pem = for_work(true, &*progress, ask, sign).await?;
    let chain = certificate::check_issued(&chain_pem, &request, root.as_ref(), clock.now())?;
    staged.add(CERTIFICATE, chain_pem.as_bytes(), Readable::All)?;
    staged.commit()?;
    enrolled(&chain, what.folder)
}
