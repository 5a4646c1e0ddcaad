//! Passwords of links at a price the server can pay: hashed on a few threads of their own, and not tried without end.
//!
//! A hash takes some tenths of a second of a processor. It is made by a few threads that give way to all others, with a
//! short queue in front: what does not fit is told to come back. Before that, wrong passwords are counted by link and by
//! address, so that most guesses cost nothing at all.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::HeaderMap;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::App;
use super::problem::Problem;
use crate::abuse::{Limited, Limiter, Rate, network};
use crate::api::paste::header::PASSWORD;
use crate::identity::Principal;
use crate::link::{Link, LinkId, PasswordHash};
use crate::password;
use crate::units::Timestamp;

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

/// By how much a thread that hashes is nicer than others: those that answer requests go first, also where there is one
/// processor for all of them.
const NICENESS: i32 = 10;

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

    /// Waits until it is a caller's turn to have something hashed. Who goes away gives the place back.
    async fn turn(&self, address: IpAddr) -> Result<Turn, Problem> {
        let own = Held::take(&self.held, address).ok_or_else(busy)?;
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| busy())?;
        let turn = Arc::clone(&self.turns).acquire_owned().await.map_err(|_| busy())?;
        Ok(Turn { _holds: (own, place, turn) })
    }

    /// Whether a password is right, as far as it is looked at: not from those who were wrong too often, nor on a link
    /// on which too many were.
    async fn try_one(
        &self,
        from: IpAddr,
        link: &LinkId,
        now: impl Fn() -> Timestamp,
        is_right: impl FnOnce() -> bool + Send + 'static,
    ) -> Result<bool, Problem> {
        self.check(&from, link, now())?;
        let turn = self.turn(from).await?;
        // Those who came before may have used up what was left.
        self.check(&from, link, now())?;
        if turn.work(is_right).await? {
            return Ok(true);
        }
        // That it is one too many is for the next one to hear.
        let _ = self.by_address.count(&from, now());
        let _ = self.by_link.count(link, now());
        Ok(false)
    }

    fn check(&self, from: &IpAddr, link: &LinkId, now: Timestamp) -> Result<(), Limited> {
        self.by_address.check(from, now)?;
        self.by_link.check(link, now)
    }
}

fn busy() -> Problem {
    Problem::busy("too many passwords are looked at at once")
}

/// The right to one thread for something that takes long.
struct Turn {
    _holds: (Held, OwnedSemaphorePermit, OwnedSemaphorePermit),
}

impl Turn {
    async fn work<T: Send + 'static>(self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
        let (answer, answered) = oneshot::channel();
        // To start one costs nothing beside a hash, and nobody else is ever asked to work on one that gives way.
        let started = std::thread::Builder::new().name("password".to_owned()).spawn(move || {
            // Where it must not be nice it hashes all the same.
            let _ = rustix::process::nice(NICENESS);
            let done = work();
            // Until it is done, also when its caller goes away before.
            drop(self);
            let _ = answer.send(done);
        });
        started.map_err(|_| busy())?;
        answered.await.map_err(|error| Problem::internal(&error))
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
    let hashed = app.passwords().turn(address(who)).await?.work(move || password::hash(&password)).await?;
    Ok(hashed?)
}

/// Whether a request may see what a link leads to: without a password all may, else those who say it.
pub(super) async fn unlock(app: &App, who: &Principal, link: &Link, headers: &HeaderMap) -> Result<(), Problem> {
    let Some(kept) = &link.password else { return Ok(()) };
    let Some(password) = said(headers)? else { return Err(Problem::password_required()) };
    let (kept, password) = (kept.clone(), zeroize::Zeroizing::new(password.to_vec()));
    let is_right = move || password::verify(&kept, &password);
    let right = app.passwords().try_one(address(who), &link.id, || app.clock.now(), is_right).await?;
    if right { Ok(()) } else { Err(Problem::password_wrong()) }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::Barrier;

    use axum::response::IntoResponse as _;

    use super::*;

    fn address(last: usize) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(192, 0, 2, u8::try_from(last).expect("small")))
    }

    const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

    impl Passwords {
        async fn work<T: Send + 'static>(
            &self,
            address: IpAddr,
            work: impl FnOnce() -> T + Send + 'static,
        ) -> Result<T, Problem> {
            self.turn(address).await?.work(work).await
        }

        async fn guess(&self, from: IpAddr, link: &LinkId) -> Result<bool, Problem> {
            self.try_one(from, link, || NOW, || false).await
        }

        async fn never_asked(&self, from: IpAddr, link: &LinkId) -> (u16, bool) {
            let asked = self.try_one(from, link, || NOW, || panic!("it was hashed")).await;
            let answer = asked.expect_err("refused").into_response();
            let problem = answer.extensions().get::<Problem>().expect("a problem").clone().render("id");
            (problem.status().as_u16(), problem.headers().contains_key("retry-after"))
        }
    }

    #[tokio::test]
    async fn f19_a_full_queue_is_503_and_limits_are_429_before_anything_is_hashed() {
        let passwords = Passwords::new();
        let (link, other) = (LinkId::random().expect("an id"), LinkId::random().expect("an id"));
        while let Ok(false) = passwords.guess(address(1), &link).await {}
        for last in 2..=u8::try_from(BY_LINK.most / BY_ADDRESS.most).expect("few") {
            while let Ok(false) = passwords.guess(address(usize::from(last)), &link).await {}
        }
        let all = u32::try_from(passwords.places.available_permits()).expect("few");
        let _full = passwords.places.acquire_many(all).await.expect("open");
        assert_eq!(passwords.never_asked(address(9), &other).await, (503, true), "nobody has been wrong here");
        assert_eq!(passwords.never_asked(address(1), &other).await, (429, true), "an address that was");
        assert_eq!(passwords.never_asked(address(9), &link).await, (429, true), "a link on which others were");
        assert!(passwords.held.lock().expect("whole").is_empty());
    }

    #[tokio::test]
    async fn f19_guesses_that_wait_are_refused_when_those_before_have_used_up_the_limit() {
        let passwords = Arc::new(Passwords::new());
        let (link, all) = (LinkId::random().expect("an id"), passwords.turns.available_permits());
        let turns = passwords.turns.acquire_many(u32::try_from(all).expect("few")).await.expect("open");
        let waiting = {
            let (own, link) = (Arc::clone(&passwords), link.clone());
            tokio::spawn(async move { own.never_asked(address(9), &link).await })
        };
        while passwords.places.available_permits() == all + WAITING {
            tokio::task::yield_now().await;
        }
        while passwords.by_link.count(&link, NOW).is_ok() {}
        drop(turns);
        assert_eq!(waiting.await.expect("no panic"), (429, true));
    }

    #[tokio::test]
    async fn f19_what_hashes_gives_way_to_what_answers() {
        let nice = || rustix::process::getpriority_process(None).expect("known");
        let passwords = Passwords::new();
        assert_eq!(passwords.work(address(1), nice).await.map_err(|_| ()), Ok(NICENESS));
        assert!(nice() < NICENESS, "and nothing else does");
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
        assert_eq!(passwords.turns.available_permits(), 0, "no more are made at once");
        let one_too_many = passwords.work(address(0), || ()).await;
        assert_eq!(one_too_many.expect_err("has its share").code(), "busy");
        assert!(passwords.held.lock().expect("whole").len() <= turns + WAITING);
        tokio::task::spawn_blocking(move || gate.wait()).await.expect("no panic");
        assert!(waiting.join_all().await.into_iter().all(|done| done));
        assert_eq!(passwords.places.available_permits(), turns + WAITING);
        assert!(passwords.held.lock().expect("whole").is_empty(), "nobody is remembered who has no place");
    }
}
