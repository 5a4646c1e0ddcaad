//! What stands between strangers and certificates: a few wrong guesses, a few at a time, and work to register.

use std::net::IpAddr;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::App;
use super::problem::Problem;
use crate::abuse::{Limiter, Rate, Refused, Work, from};
use crate::authority::{Actor, Error, Issued};
use crate::identity::Principal;
use crate::store::{self, Challenges, Store};
use crate::token::Secret;

/// Wrong secrets one address may try.
const GUESSES: Rate = Rate { most: 5, per: Duration::from_secs(60) };
/// Addresses of which wrong guesses are remembered.
const ADDRESSES: usize = 10_000;
/// Invites that are looked at at once, so that many guesses at the same moment are still counted one by one.
const TURNS: usize = 4;
/// How long a challenge holds: at the usual difficulty a slow machine needs a minute, and may have bad luck.
const CHALLENGE: Duration = Duration::from_secs(900);

/// Counts what strangers try.
#[derive(Debug)]
pub(super) struct Admission {
    guesses: Limiter<IpAddr>,
    turns: Semaphore,
    /// What registering costs.
    pub(super) work: Work,
}

impl Admission {
    /// Challenges are good for every process on the same storage, and after a restart.
    pub(super) async fn new(store: &Store) -> Result<Self, store::Error> {
        Ok(Self {
            guesses: Limiter::new(GUESSES, ADDRESSES),
            turns: Semaphore::new(TURNS),
            work: Work::new(&store.secret(Challenges::Registering).await?, CHALLENGE),
        })
    }
}

/// Enrols the holder of an invite. A wrong secret counts against the caller's address, a right one never does, and is
/// taken from wherever it comes: nobody guesses one of 192 bits, so the limit is against the work that guessing makes,
/// and whoever shares an address with a guesser is not to be kept out by it.
pub(super) async fn enroll(app: &App, who: &Principal, secret: &Secret, csr_pem: &str) -> Result<Issued, Problem> {
    let Admission { guesses, turns, .. } = app.admission();
    // Closed it never is; without a turn it would still be right to go on.
    let _turn = turns.acquire().await;
    let now = app.clock.now();
    let address = from(who);
    if let Err(limited) = guesses.check(&address, now)
        && !app.authority.opens(secret).await?
    {
        app.metrics().limited.one("invites");
        return Err(limited.into());
    }
    let from = Actor { name: "invite".to_owned(), address: who.address };
    let result = app.authority.enroll(&from, secret, csr_pem).await;
    if result.as_ref().is_err_and(is_wrong_guess) {
        // That it is one too many is for the next one to hear.
        let _ = guesses.count(&address, now);
    }
    Ok(result?)
}

/// Takes a proof of work of so many bits, once.
pub(super) async fn worked(app: &App, token: &str, solution: &str, least: u8) -> Result<(), Problem> {
    let solved = app.admission().work.check(token, solution, least, app.clock.now())?;
    let new = app.store.spend(solved.token, solved.expires).await?;
    Ok(new.then_some(()).ok_or(Refused::Spent)?)
}

/// Whether it was the secret that would not do.
fn is_wrong_guess(error: &Error) -> bool {
    matches!(error, Error::InviteUnknown | Error::InviteUsed | Error::InviteExpired(_) | Error::InviteWithdrawn)
}
