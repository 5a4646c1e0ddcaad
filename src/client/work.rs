//! Work that a server asks for: solved on every core.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::Error;
use super::transfer::Progress;
use crate::abuse::Puzzle;
use crate::api;

/// More is no price but a trap: 32 bits take a machine of eight cores some minutes.
const HARDEST: u8 = 32;

/// Numbers tried between two looks at whether another core has found one.
const CHUNK: u64 = 1 << 15;

/// Solves a challenge on all cores: its token and its solution; `None` when nothing is asked for. `progress` is told of
/// every number that was tried.
///
/// # Errors
/// For a challenge without anything to solve, or one that asks for more than is reasonable.
pub async fn work(challenge: api::Challenge, progress: Arc<dyn Progress>) -> Result<Option<(String, u64)>, Error> {
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
