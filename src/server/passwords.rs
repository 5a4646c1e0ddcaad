//! Passwords of links at a price the server can pay: hashed on a few threads of their own, and not tried without end.
//!
//! A hash takes some tenths of a second of a processor. It is made on a small pool, off the threads that answer
//! requests, with a short queue in front: what does not fit is told to come back. Before that, wrong passwords are
//! counted by link and by address, so that most guesses cost nothing at all.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::HeaderMap;
use tokio::sync::Semaphore;

use super::App;
use super::problem::Problem;
use crate::abuse::{Limited, Limiter, Rate, network};
use crate::api::paste::header::PASSWORD;
use crate::identity::Principal;
use crate::link::{Link, LinkId, PasswordHash};
use crate::password;

/// Wrong passwords one address may try.
const BY_ADDRESS: Rate = Rate { most: 10, per: Duration::from_secs(60) };
/// Wrong passwords that may be tried on one link, by whomever. It is more, since who knows the password has to wait
/// for those who do not.
const BY_LINK: Rate = Rate { most: 30, per: Duration::from_secs(60) };
/// Addresses and links of which that is remembered.
const PARTIES: usize = 10_000;
/// Passwords that wait for their turn; each is at most [`password::LONGEST`] bytes.
const WAITING: usize = 32;
/// How many of those may be from one address: nobody takes all the places.
const WAITING_PER_ADDRESS: usize = 4;

/// How many places in the queue each address has.
type Shares = Arc<Mutex<HashMap<IpAddr, usize>>>;

/// Hashes and compares passwords.
#[derive(Debug)]
pub(super) struct Passwords {
    /// Hashes made at once: half the processors, so that what else there is to do has the other half.
    turns: Arc<Semaphore>,
    /// Places in the queue, those that have their turn included.
    places: Arc<Semaphore>,
    /// Who has how many of them.
    held: Shares,
    by_address: Limiter<IpAddr>,
    by_link: Limiter<LinkId>,
}

impl Passwords {
    pub(super) fn new() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
        let turns = (processors / 2).max(1);
        Self {
            turns: Arc::new(Semaphore::new(turns)),
            places: Arc::new(Semaphore::new(turns + WAITING)),
            held: Arc::default(),
            by_address: Limiter::new(BY_ADDRESS, PARTIES),
            by_link: Limiter::new(BY_LINK, PARTIES),
        }
    }

    /// Does what takes long, when it is its turn. A caller that goes away gives its place back.
    async fn work<T: Send + 'static>(
        &self,
        address: IpAddr,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let busy = || Problem::busy("too many passwords are looked at at once");
        let own = Held::take(&self.held, address).ok_or_else(busy)?;
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| busy())?;
        let turn = Arc::clone(&self.turns).acquire_owned().await.map_err(|_| busy())?;
        let working = tokio::task::spawn_blocking(move || {
            // Until it is done, also when its caller goes away before.
            let _holds = (own, place, turn);
            work()
        });
        working.await.map_err(|error| Problem::internal(&error))
    }
}

/// One place more of an address, until it is dropped.
struct Held {
    all: Shares,
    address: IpAddr,
}

impl Held {
    fn take(all: &Shares, address: IpAddr) -> Option<Self> {
        let mut held = all.lock().unwrap_or_else(PoisonError::into_inner);
        let count = held.entry(address).or_default();
        if *count >= WAITING_PER_ADDRESS {
            return None;
        }
        *count += 1;
        Some(Self { all: Arc::clone(all), address })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut held = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = held.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.address);
            }
        }
    }
}

/// The password a request says, if it says one.
pub(super) fn said(headers: &HeaderMap) -> Result<Option<&[u8]>, Problem> {
    let mut all = headers.get_all(PASSWORD).iter();
    let said = all.next().map(axum::http::HeaderValue::as_bytes).filter(|password| !password.is_empty());
    if all.next().is_some() {
        return Err(Problem::bad_request("there are two headers X-Paste-Password"));
    }
    if said.is_some_and(|password| password.len() > password::LONGEST) {
        return Err(Problem::bad_request(format!("a password has at most {} bytes", password::LONGEST)));
    }
    Ok(said)
}

/// What is kept of the password that a request to make a link says, if it says one.
pub(super) async fn asked(app: &App, who: &Principal, headers: &HeaderMap) -> Result<Option<PasswordHash>, Problem> {
    match said(headers)? {
        None => Ok(None),
        Some(password) => hash(app, who, password).await.map(Some),
    }
}

fn address(who: &Principal) -> IpAddr {
    network(who.address.unwrap_or(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED)))
}

/// What is kept of a new password.
pub(super) async fn hash(app: &App, who: &Principal, password: &[u8]) -> Result<PasswordHash, Problem> {
    if password.is_empty() || password.len() > password::LONGEST {
        return Err(Problem::bad_request(format!("a password has 1 to {} bytes", password::LONGEST)));
    }
    let password = zeroize::Zeroizing::new(password.to_vec());
    let hashed = app.passwords().work(address(who), move || password::hash(&password)).await?;
    Ok(hashed?)
}

/// Whether a request may see what a link leads to: without a password all may, else those who say it.
pub(super) async fn unlock(app: &App, who: &Principal, link: &Link, headers: &HeaderMap) -> Result<(), Problem> {
    let Some(kept) = &link.password else { return Ok(()) };
    let Some(password) = said(headers)? else { return Err(Problem::password_required()) };
    let Passwords { by_address, by_link, .. } = app.passwords();
    let (from, now) = (address(who), app.clock.now());
    let limited = |limited: Limited| Problem::from(limited);
    by_address.check(&from, now).map_err(limited)?;
    by_link.check(&link.id, now).map_err(limited)?;
    let (kept, password) = (kept.clone(), zeroize::Zeroizing::new(password.to_vec()));
    if app.passwords().work(from, move || password::verify(&kept, &password)).await? {
        return Ok(());
    }
    // That it is one too many is for the next one to hear.
    let now = app.clock.now();
    let _ = by_address.count(&from, now);
    let _ = by_link.count(&link.id, now);
    Err(Problem::password_wrong())
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::Barrier;

    use super::*;

    fn address(last: usize) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(192, 0, 2, u8::try_from(last).expect("small")))
    }

    #[tokio::test]
    async fn the_queue_has_so_many_places_and_no_one_has_them_all() {
        let passwords = Arc::new(Passwords::new());
        let turns = passwords.turns.available_permits();
        let gate = Arc::new(Barrier::new(turns + 1));
        let mut waiting = tokio::task::JoinSet::new();
        for n in 0..turns + WAITING {
            let (own, gate) = (Arc::clone(&passwords), Arc::clone(&gate));
            waiting.spawn(async move {
                let work = move || {
                    if n < turns {
                        gate.wait();
                    }
                };
                own.work(address(n / WAITING_PER_ADDRESS), work).await.is_ok()
            });
            // One after the other, so that the first have the turns.
            while passwords.places.available_permits() > turns + WAITING - n - 1 {
                tokio::task::yield_now().await;
            }
        }
        assert_eq!(passwords.work(address(200), || ()).await.expect_err("full").code(), "busy");
        let one_too_many = passwords.work(address(0), || ()).await;
        assert_eq!(one_too_many.expect_err("has its share").code(), "busy");
        assert!(passwords.held.lock().expect("whole").len() <= turns + WAITING);
        tokio::task::spawn_blocking(move || gate.wait()).await.expect("no panic");
        assert!(waiting.join_all().await.into_iter().all(|done| done));
        assert_eq!(passwords.places.available_permits(), turns + WAITING);
        assert!(passwords.held.lock().expect("whole").is_empty(), "nobody is remembered who has no place");
    }
}
