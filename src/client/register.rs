//! Becoming a client without an invite, where a server takes anyone for work.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use pki::key::Algorithm;
use url::Url;

use super::enroll::{Configure, Enrolled, enrolled, key_and_request, settings, vacant};
use super::folder::{Readable, Staged};
use super::profile::{CA, CERTIFICATE, FILE, KEY};
use super::tls::Anchors;
use super::transfer::Progress;
use super::{Client, Error, certificate};
use crate::abuse::Puzzle;
use crate::api;
use crate::clock::Clock;

/// More is no price but a trap: 32 bits take a machine of eight cores some minutes.
const HARDEST: u8 = 32;

/// Numbers tried between two looks at whether another core has found one.
const CHUNK: u64 = 1 << 15;

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

    let work = work(client.challenge().await?, progress).await?;
    let chain_pem = client.sign_for_work(&request, work.as_ref()).await?;
    let chain = certificate::check_issued(&chain_pem, &request, root.as_ref(), clock.now())?;
    staged.add(CERTIFICATE, chain_pem.as_bytes(), Readable::All)?;
    staged.commit()?;
    enrolled(&chain, what.folder)
}

/// A challenge's token and its solution; `None` when nothing is asked for.
async fn work(challenge: api::Challenge, progress: Arc<dyn Progress>) -> Result<Option<(String, u64)>, Error> {
    if !challenge.enabled {
        return Ok(None);
    }
    let (Some(nonce), Some(token)) = (challenge.nonce, challenge.token) else {
        return Err(Error::Failed("the server's challenge has nothing to solve".to_owned()));
    };
    if challenge.difficulty > HARDEST {
        return Err(Error::Failed(format!(
            "the server asks for {} bits of work, which is too much",
            challenge.difficulty
        )));
    }
    let puzzle = Puzzle::new(&nonce, challenge.difficulty);
    progress.begin(None, 0);
    let solved = tokio::task::spawn_blocking(move || solve(&puzzle, &*progress)).await;
    let solution = solved.ok().flatten().ok_or_else(|| Error::Failed("the work could not be done".to_owned()))?;
    Ok(Some((token, solution)))
}

/// On every core, each its own share of the numbers.
fn solve(puzzle: &Puzzle, progress: &dyn Progress) -> Option<u64> {
    let cores = thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
    let found = AtomicBool::new(false);
    let search = |share: u64| {
        let mut first = share;
        while !found.load(Ordering::Relaxed) {
            if let Some(solution) = puzzle.search(first, cores, CHUNK) {
                found.store(true, Ordering::Relaxed);
                return Some(solution);
            }
            progress.advance(CHUNK);
            first = first.checked_add(CHUNK.checked_mul(cores)?)?;
        }
        None
    };
    thread::scope(|scope| {
        let search = &search;
        let searching: Vec<_> = (0..cores).map(|share| scope.spawn(move || search(share))).collect();
        searching.into_iter().filter_map(|one| one.join().ok().flatten()).next()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::transfer::Silent;

    fn challenge(difficulty: u8) -> api::Challenge {
        api::Challenge {
            enabled: true,
            difficulty,
            nonce: Some("00".repeat(16)),
            token: Some("token".to_owned()),
            ..api::Challenge::default()
        }
    }

    #[tokio::test]
    async fn all_cores_find_what_one_would() {
        let (token, solution) = work(challenge(12), Arc::new(Silent)).await.expect("solved").expect("some");
        assert_eq!(token, "token");
        assert!(Puzzle::new(&"00".repeat(16), 12).is_solved_by(solution));
    }

    #[tokio::test]
    async fn a_server_cannot_have_us_work_for_ever_or_for_nothing() {
        assert!(work(challenge(33), Arc::new(Silent)).await.is_err());
        assert!(work(api::Challenge { nonce: None, ..challenge(1) }, Arc::new(Silent)).await.is_err());
        assert_eq!(work(api::Challenge::default(), Arc::new(Silent)).await.expect("nothing"), None);
    }
}
