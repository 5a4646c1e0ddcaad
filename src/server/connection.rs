//! What is kept for as long as a connection is open: who is at its other end and what that was last found to be worth.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use arc_swap::ArcSwapOption;

use super::outside::Proxies;
use crate::authority::{self, Authority, Name, Standing};
use crate::tls::Peer;

/// One connection, shared by its requests.
#[derive(Debug)]
pub(super) struct Connection {
    /// Who is at the other end.
    pub(super) peer: Peer,
    /// Who may speak for others on it: nobody where clients speak TLS with us.
    pub(super) proxies: Option<Arc<Proxies>>,
    /// Whether the peer may be one of them.
    pub(super) is_heard: bool,
    last: ArcSwapOption<(u64, Standing)>,
    /// Whether whoever asked last is known.
    known: AtomicBool,
    /// Steps for which a certificate counts that nobody has looked up yet.
    credit: AtomicU8,
    /// Whether a request has begun in this step.
    begun: AtomicBool,
}

/// A first request takes a few, by HTTP/2 some more.
const CREDIT: u8 = 16;

impl Connection {
    pub(super) fn new(peer: Peer, proxies: Option<Arc<Proxies>>) -> Self {
        let is_heard = proxies.as_ref().is_some_and(|proxies| proxies.may_be_at(peer.address));
        let credit = AtomicU8::new(if peer.certificate.is_some() { CREDIT } else { 0 });
        let (known, begun) = (AtomicBool::default(), AtomicBool::default());
        Self { peer, proxies, is_heard, last: ArcSwapOption::empty(), known, credit, begun }
    }

    /// A step begins: whether it has to wait for its turn. Not if the last request was from somebody known, nor, for a
    /// while, where there is a certificate to be known by. That decides whose work goes first, and nothing else.
    pub(super) fn has_to_wait(&self) -> bool {
        self.begun.store(false, Ordering::Relaxed);
        let credit = || self.credit.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        !self.known.load(Ordering::Relaxed) && credit().is_err()
    }

    /// A request begins. Whether it can wait a moment: a stranger sends many at once.
    pub(super) fn request(&self) -> bool {
        self.begun.swap(true, Ordering::Relaxed) && !self.known.load(Ordering::Relaxed)
    }

    /// A request that waited goes on, and is the one of this step.
    pub(super) fn go_on(&self) {
        self.begun.store(true, Ordering::Relaxed);
    }

    /// A request was looked at: whether it is from somebody known.
    pub(super) fn found(&self, known: bool) {
        self.credit.store(0, Ordering::Relaxed);
        self.known.store(known, Ordering::Relaxed);
    }

    /// What the peer's certificate is worth, asked again whenever trust has changed since the last request; `None`
    /// without a certificate. Its dates are for the caller to compare with the time of the request.
    pub(super) async fn standing(
        &self,
        authority: &Authority,
    ) -> Result<Option<Arc<(u64, Standing)>>, authority::Error> {
        let Some(certificate) = &self.peer.certificate else { return Ok(None) };
        // Read before the question is asked: a change in between makes the answer stale, never wrongly fresh.
        let epoch = authority.epoch();
        if let Some(last) = self.last.load_full()
            && last.0 == epoch
        {
            return Ok(Some(last));
        }
        let standing = authority.standing(Name::Sha256(certificate.fingerprint.sha256)).await?;
        authority.hand_over(certificate.fingerprint, &standing).await?;
        let fresh = Arc::new((epoch, standing));
        // What time alone can change is asked again.
        if fresh.1.is_lasting() {
            self.last.store(Some(Arc::clone(&fresh)));
        }
        Ok(Some(fresh))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Fingerprint;
    use crate::tls::PeerCertificate;
    use crate::units::Timestamp;

    fn connection(certificate: bool) -> Connection {
        let certificate = certificate.then(|| PeerCertificate {
            fingerprint: Fingerprint::of(b"certificate"),
            not_before: Timestamp::from_secs(1),
            not_after: Timestamp::from_secs(2),
        });
        Connection::new(Peer { address: None, certificate }, None)
    }

    #[test]
    fn who_asked_last_says_whether_the_next_step_has_to_wait() {
        let anonymous = connection(false);
        assert!(anonymous.has_to_wait());
        anonymous.found(true);
        assert!(!anonymous.has_to_wait(), "by a token");
        anonymous.request();
        assert!(!anonymous.has_to_wait(), "until it is known whose the next one is");
        anonymous.found(false);
        assert!(anonymous.has_to_wait(), "without it");
    }

    #[test]
    fn a_certificate_counts_for_a_few_steps_until_it_is_looked_up() {
        let shows_one = connection(true);
        assert!((0..CREDIT).all(|_| !shows_one.has_to_wait()));
        assert!(shows_one.has_to_wait(), "who never asks anything");
        let nobodys = connection(true);
        assert!(!nobodys.has_to_wait());
        nobodys.found(false);
        assert!(nobodys.has_to_wait());
    }

    #[test]
    fn of_many_requests_of_a_stranger_all_but_the_first_of_a_step_can_wait() {
        let stranger = connection(false);
        for _ in 0..2 {
            stranger.has_to_wait();
            assert_eq!([stranger.request(), stranger.request(), stranger.request()], [false, true, true]);
        }
        stranger.has_to_wait();
        stranger.go_on();
        assert!(stranger.request(), "one that had to wait is this step's");
        let known = connection(true);
        known.found(true);
        known.has_to_wait();
        assert!((0..3).all(|_| !known.request()));
    }
}
