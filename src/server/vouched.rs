//! What the certificates that proxies name were last found to be worth, so that their requests cost no query.

use std::sync::Arc;

use quick_cache::sync::Cache;

use crate::authority::{Authority, Error, Name, Standing, has_sha1};
use crate::identity::Sha256;
use crate::tls::PeerCertificate;

/// Certificates remembered at most; each takes some 400 bytes.
const CERTIFICATES: usize = 4096;

/// The last answers, each good for as long as trust has not changed since.
pub(super) struct Vouched(Cache<Key, Arc<Found>>);

/// How a proxy named it. One that came whole may have had links handed over to it, which one that was told of had not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Key {
    Whole(Sha256),
    Told(Name),
}

struct Found {
    /// When trust was as it was then.
    epoch: u64,
    answer: Answer,
}

/// The certificate as it is known here and what it is worth; `None` when nobody here knows it.
type Answer = Option<(PeerCertificate, Standing)>;

impl Vouched {
    pub(super) fn new() -> Self {
        Self(Cache::new(CERTIFICATES))
    }

    /// What a certificate is worth that a proxy handed on whole. Its dates are for the caller to compare with the time
    /// of the request.
    pub(super) async fn whole(&self, authority: &Authority, certificate: &PeerCertificate) -> Result<Standing, Error> {
        let name = certificate.fingerprint.sha256;
        let question = async || {
            let standing = authority.standing(Name::Sha256(name)).await?;
            authority.hand_over(certificate.fingerprint, &standing).await?;
            Ok::<_, Error>(Some((certificate.clone(), standing)))
        };
        // Read before the question is asked: a change in between makes the answer stale, never wrongly fresh.
        let found = self.ask(Key::Whole(name), authority.epoch(), question).await?;
        Ok(found.answer.as_ref().map_or(Standing::Unknown, |(_, standing)| standing.clone()))
    }

    /// The certificate of which a proxy told one name, and what it is worth; `None` when nobody here knows it. Its dates
    /// are for the caller to compare with the time of the request.
    pub(super) async fn told(&self, authority: &Authority, name: Name) -> Result<Answer, Error> {
        let question = async || {
            let known = authority.named(name).await?;
            // Both names of a client's certificate are in the records here, so that links by either are that client's.
            // Of one that is known by a single name, or by nobody, the other name is hearsay.
            if let Some((certificate, standing @ Standing::Good { .. })) = &known
                && has_sha1(&certificate.fingerprint)
            {
                authority.hand_over(certificate.fingerprint, standing).await?;
            }
            Ok::<_, Error>(known)
        };
        let found = self.ask(Key::Told(name), authority.epoch(), question).await?;
        Ok(found.answer.clone())
    }

    async fn ask<E>(
        &self,
        key: Key,
        epoch: u64,
        question: impl AsyncFnOnce() -> Result<Answer, E>,
    ) -> Result<Arc<Found>, E> {
        if let Some(found) = self.0.get(&key)
            && found.epoch == epoch
        {
            return Ok(found);
        }
        let found = Arc::new(Found { epoch, answer: question().await? });
        if found.answer.as_ref().is_none_or(|(_, standing)| standing.is_lasting()) {
            self.0.insert(key, Arc::clone(&found));
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::convert::Infallible;

    use super::*;
    use crate::identity::Fingerprint;
    use crate::units::Timestamp;

    fn certificate(number: usize) -> PeerCertificate {
        PeerCertificate {
            fingerprint: Fingerprint::of(&number.to_be_bytes()),
            not_before: Timestamp::from_secs(1),
            not_after: Timestamp::from_secs(2),
        }
    }

    fn told(number: usize) -> Key {
        Key::Told(Name::Sha1(certificate(number).fingerprint.sha1))
    }

    /// Asks, and answers whether that took a query.
    async fn took_a_query(vouched: &Vouched, key: Key, epoch: u64, answer: Answer) -> bool {
        let asked = Cell::new(false);
        let question = async || {
            asked.set(true);
            Ok::<_, Infallible>(answer)
        };
        vouched.ask(key, epoch, question).await.expect("an answer");
        asked.get()
    }

    #[tokio::test]
    async fn an_answer_holds_until_trust_changes_and_for_one_way_of_naming() {
        let vouched = Vouched::new();
        let revoked = || Some((certificate(1), Standing::Revoked { at: Timestamp::from_secs(1) }));
        assert!(took_a_query(&vouched, told(1), 7, None).await);
        assert!(!took_a_query(&vouched, told(1), 7, None).await);
        assert!(took_a_query(&vouched, told(2), 7, None).await, "somebody else");
        assert!(took_a_query(&vouched, Key::Whole(certificate(1).fingerprint.sha256), 7, None).await);
        assert!(took_a_query(&vouched, told(1), 8, revoked()).await, "trust has changed");
        assert!(!took_a_query(&vouched, told(1), 8, None).await);
        assert!(took_a_query(&vouched, told(1), 7, None).await, "an epoch is only ever the same or another one");
    }

    #[tokio::test]
    async fn what_time_alone_can_change_is_asked_again() {
        let vouched = Vouched::new();
        for standing in [
            Standing::Expired { not_after: Timestamp::from_secs(2) },
            Standing::NotYet { not_before: Timestamp::from_secs(1) },
        ] {
            for _ in 0..2 {
                assert!(took_a_query(&vouched, told(1), 7, Some((certificate(1), standing.clone()))).await);
            }
        }
    }

    #[tokio::test]
    async fn it_remembers_no_more_than_it_has_room_for() {
        let vouched = Vouched::new();
        for number in 0..3 * CERTIFICATES {
            assert!(took_a_query(&vouched, told(number), 7, None).await);
        }
        assert!(vouched.0.len() <= CERTIFICATES, "{}", vouched.0.len());
        assert!(vouched.0.len() > CERTIFICATES / 2, "there was room for {}", vouched.0.len());
    }
}
