//! Work for a server that asks for it: solved on every core, and anew when the server has changed its mind meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use reqwest::RequestBuilder;

use super::Error;
use super::transfer::Progress;
use crate::abuse::Puzzle;
use crate::api;

/// More is no price but a trap: 32 bits take a machine of eight cores some minutes.
const HARDEST: u8 = 32;

/// Numbers tried between two looks at whether another core has found one.
const CHUNK: u64 = 1 << 15;

/// How often something is solved for one deed: a server that is never content must not have us work for ever.
const ATTEMPTS: u32 = 5;

/// A challenge's token and its solution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Work {
    token: String,
    solution: u64,
}

impl Work {
    /// A request that shows it.
    pub(super) fn shown_in(&self, request: RequestBuilder) -> RequestBuilder {
        request.header(api::header::POW_TOKEN, &self.token).header(api::header::POW_SOLUTION, self.solution)
    }
}

/// Attempts a deed that may cost work. `first`: the price is asked before the first attempt, rather than when one was
/// refused for want of it. What was solved may not be enough by the time it is shown: the challenge has expired, or more
/// is asked for now. Then it is asked and solved again.
///
/// # Errors
/// Those of the deed; also when the server asks for too much, or is not content with several solutions.
pub(super) async fn for_work<T>(
    first: bool,
    progress: &dyn Progress,
    ask: impl AsyncFn() -> Result<api::Challenge, Error>,
    attempt: impl AsyncFn(Option<&Work>) -> Result<T, Error>,
) -> Result<T, Error> {
    let mut work = if first { solved(ask().await?, progress).await? } else { None };
    for _ in 0..ATTEMPTS {
        let refused = match attempt(work.as_ref()).await {
            Err(error) if wants_work(&error) => error,
            other => return other,
        };
        if work.is_some() {
            progress.retry(&reason(&refused));
        }
        // Asked for by one route and by the other not: there is nothing to solve, so the refusal stands.
        let Some(more) = solved(ask().await?, progress).await? else { return Err(refused) };
        work = Some(more);
    }
    attempt(work.as_ref()).await
}

/// Whether a deed was refused for want of work that is good now.
fn wants_work(error: &Error) -> bool {
    let Error::Answer(answer) = error else { return false };
    let code = answer.problem.as_ref().map(|problem| problem.code.as_str());
    matches!(code, Some("pow_required" | "pow_failed"))
}

fn reason(error: &Error) -> String {
    error.hint().unwrap_or_else(|| error.to_string())
}

/// What solves a challenge; `None` when nothing is asked for.
async fn solved(challenge: api::Challenge, progress: &dyn Progress) -> Result<Option<Work>, Error> {
    if !challenge.enabled || challenge.difficulty == 0 && challenge.token.is_none() {
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
    progress.begin(None, 0);
    let search = Search::start(&Puzzle::new(&nonce, challenge.difficulty));
    let solution = search.found(progress).await;
    progress.finish();
    let solution = solution.ok_or_else(|| Error::Failed("the work could not be done".to_owned()))?;
    Ok(Some(Work { token, solution }))
}

/// Threads that look for a solution, each among its own share of the numbers. They stop when this is dropped.
struct Search {
    over: Arc<AtomicBool>,
    /// `Ok` is a solution, `Err` so many numbers that are none.
    told: tokio::sync::mpsc::Receiver<Result<u64, u64>>,
}

impl Search {
    fn start(puzzle: &Puzzle) -> Self {
        let cores = thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
        let over = Arc::new(AtomicBool::new(false));
        let (tell, told) = tokio::sync::mpsc::channel(16);
        for share in 0..cores {
            let (puzzle, over, tell) = (puzzle.clone(), Arc::clone(&over), tell.clone());
            thread::spawn(move || {
                let mut first = share;
                while !over.load(Ordering::Relaxed) {
                    let found = puzzle.search(first, cores, CHUNK);
                    if tell.blocking_send(found.ok_or(CHUNK)).is_err() || found.is_some() {
                        return;
                    }
                    let Some(next) = CHUNK.checked_mul(cores).and_then(|step| first.checked_add(step)) else { return };
                    first = next;
                }
            });
        }
        Self { over, told }
    }

    async fn found(mut self, progress: &dyn Progress) -> Option<u64> {
        loop {
            match self.told.recv().await? {
                Ok(solution) => return Some(solution),
                Err(tried) => progress.advance(tried),
            }
        }
    }
}

impl Drop for Search {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use reqwest::StatusCode;

    use super::*;
    use crate::client::Answer;
    use crate::client::transfer::Silent;

    fn challenge(difficulty: u8) -> api::Challenge {
        api::Challenge {
            enabled: true,
            difficulty,
            nonce: Some("00".repeat(16)),
            token: Some(format!("token of {difficulty}")),
            ..api::Challenge::default()
        }
    }

    fn refused(code: &str, hint: &str) -> Error {
        let text = format!(
            r#"{{"type":"x","title":"x","status":400,"detail":"Proof-of-work failed","error":"x","code":"{code}","hint":"{hint}"}}"#
        );
        let problem = serde_json::from_str(&text).expect("a problem");
        Error::Answer(Box::new(Answer {
            status: StatusCode::BAD_REQUEST,
            problem: Some(problem),
            location: None,
            skew: None,
        }))
    }

    /// A server that asks for more each time, until it has what it wants.
    struct Rising {
        asked: Mutex<u8>,
        enough: u8,
        attempts: Mutex<u32>,
    }

    impl Rising {
        fn until(enough: u8) -> Self {
            Self { asked: Mutex::new(2), enough, attempts: Mutex::new(0) }
        }

        async fn run(&self, first: bool, told: &dyn Progress) -> Result<u8, Error> {
            let ask = async || {
                let mut asked = self.asked.lock().expect("whole");
                *asked += 2;
                Ok(challenge(*asked))
            };
            let attempt = async |work: Option<&Work>| {
                *self.attempts.lock().expect("whole") += 1;
                let Some(work) = work else { return Err(refused("pow_required", "")) };
                let difficulty: u8 = work.token.trim_start_matches("token of ").parse().expect("a number");
                assert!(Puzzle::new(&"00".repeat(16), difficulty).is_solved_by(work.solution));
                if difficulty >= self.enough {
                    Ok(difficulty)
                } else {
                    Err(refused("pow_failed", "it is easier than what is asked for now"))
                }
            };
            for_work(first, told, ask, attempt).await
        }
    }

    /// What a user is told.
    #[derive(Default)]
    struct Told(Mutex<Vec<String>>);

    impl Progress for Told {
        fn begin(&self, _: Option<u64>, _: u64) {}
        fn advance(&self, _: u64) {}
        fn retry(&self, why: &str) {
            self.0.lock().expect("whole").push(why.to_owned());
        }
    }

    #[tokio::test]
    async fn a_difficulty_that_rises_is_followed() {
        for (first, attempts) in [(true, 3), (false, 4)] {
            let (server, told) = (Rising::until(8), Told::default());
            assert_eq!(server.run(first, &told).await.expect("done"), 8);
            assert_eq!(*server.attempts.lock().expect("whole"), attempts);
            assert_eq!(told.0.into_inner().expect("whole"), ["it is easier than what is asked for now"; 2]);
        }
    }

    #[tokio::test]
    async fn a_server_that_is_never_content_is_given_up() {
        let server = Rising::until(u8::MAX);
        let error = server.run(true, &Silent).await.expect_err("given up");
        assert!(wants_work(&error), "{error}");
        assert_eq!(*server.attempts.lock().expect("whole"), ATTEMPTS + 1);
    }

    #[tokio::test]
    async fn other_refusals_are_nobodys_to_work_for() {
        let ask = async || -> Result<api::Challenge, Error> { panic!("asked") };
        let done: Result<(), Error> = for_work(false, &Silent, ask, async |_| Err(refused("rate_limited", ""))).await;
        assert!(done.is_err());
        let ask = async || Ok(api::Challenge::default());
        let done: Result<(), Error> = for_work(true, &Silent, ask, async |_| Err(refused("pow_required", ""))).await;
        assert!(done.is_err_and(|error| wants_work(&error)), "nothing to solve");
    }

    #[tokio::test]
    async fn a_server_cannot_have_us_work_for_ever_or_for_nothing() {
        assert!(solved(challenge(33), &Silent).await.is_err());
        assert!(solved(api::Challenge { nonce: None, ..challenge(1) }, &Silent).await.is_err());
        assert_eq!(solved(api::Challenge::default(), &Silent).await.expect("nothing"), None);
        let work = solved(challenge(12), &Silent).await.expect("solved").expect("some");
        assert!(Puzzle::new(&"00".repeat(16), 12).is_solved_by(work.solution));
    }
}
