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

/// Times it is tried to register: each costs the work once more.
const ATTEMPTS: u32 = 3;

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

    let chain_pem = signed(&client, &request, &*progress).await?;
    let chain = certificate::check_issued(&chain_pem, &request, root.as_ref(), clock.now())?;
    staged.add(CERTIFICATE, chain_pem.as_bytes(), Readable::All)?;
    staged.commit()?;
    enrolled(&chain, what.folder)
}

/// Sends the request until it is answered, each time with new work. An answer that was lost on its way is no loss: the
/// server gives the same certificate to the same key again, and nobody else gets the name meanwhile.
async fn signed(client: &Client, request: &str, progress: &dyn Progress) -> Result<String, Error> {
    let mut left = ATTEMPTS;
    loop {
        left -= 1;
        let ask = async || client.challenge().await;
        let sign = async |work: Option<&Work>| client.sign_for_work(request, work).await;
        match for_work(true, progress, ask, sign).await {
            Err(error) if error.may_pass() && left > 0 => tracing::debug!(%error, "registering again"),
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::client::test::{answer, http};
    use crate::client::transfer::Silent;
    use crate::clock::System;

    /// A server that loses its first answers, and what it was asked.
    async fn losing(answers: usize) -> (Client, Arc<Mutex<usize>>) {
        let asked = Arc::new(Mutex::new(0));
        let count = Arc::clone(&asked);
        let server = http(move |request| {
            if request.uri().path().starts_with("/register/challenge") {
                return answer(200, r#"{"enabled":false,"difficulty":0}"#);
            }
            let mut asked = count.lock().expect("whole");
            *asked += 1;
            if *asked <= answers { answer(503, "{}") } else { answer(200, "a chain") }
        });
        let client = Client::anonymous(server.await, Anchors::System, Arc::new(System)).expect("a client");
        (client, asked)
    }

    #[tokio::test]
    async fn an_answer_that_was_lost_is_asked_for_again_but_not_for_ever() {
        let (client, asked) = losing(2).await;
        assert_eq!(signed(&client, "a request", &Silent).await.expect("signed"), "a chain");
        assert_eq!(*asked.lock().expect("whole"), 3);
        let (client, asked) = losing(9).await;
        assert!(signed(&client, "a request", &Silent).await.is_err());
        assert_eq!(*asked.lock().expect("whole"), 3);
    }
}
