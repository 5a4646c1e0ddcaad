//! How many links there may be: one without bytes costs a row all the same, and so does the memory of one that ended.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use super::{Error, Inner, Store};
use crate::identity::Owner;
use crate::link::LinkId;
use crate::units::Timestamp;

/// Bytes of the storage's capacity that stand for one link. A row with its indexes takes some 400.
const LINK: u64 = 1024;

/// Links there may be even where there is hardly room for bytes.
const LEAST: u64 = 1024;

/// As many links as the capacity has KiB.
pub(super) fn most(capacity: u64) -> u64 {
    (capacity / LINK).max(LEAST)
}

/// Counts as a link on its way for as long as it is held.
pub(super) struct Counted<'a> {
    inner: &'a Inner,
    id: LinkId,
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.inner.with_running(|running| running.remove(&self.id));
    }
}

fn own(running: &HashMap<LinkId, Owner>, owner: &Owner) -> usize {
    running.values().filter(|other| *other == owner).count()
}

impl Inner {
    /// One that is not an upload counts too while it comes to be.
    pub(super) fn counted(&self, id: &LinkId, owner: &Owner) -> Counted<'_> {
        self.with_running(|running| running.insert(id.clone(), owner.clone()));
        Counted { inner: self, id: id.clone() }
    }

    /// Refuses one link too many; the one that is asked for is among the running ones already.
    ///
    /// Those that are running are counted before those that are there, so that none is not counted at all: racing ones
    /// are never more than there may be. One that is finished in between would count twice, and is looked for where that
    /// makes the difference.
    pub(super) async fn one_more(&self, owner: &Owner) -> Result<(), Error> {
        let coming = self.with_running(|running| (running.len(), own(running, owner)));
        let ready = self.links.ready(owner, Vec::new()).await?;
        let room = self.is_room(owner, coming, ready);
        // This one is among them.
        if room.is_ok() || coming.0 <= 1 {
            return room;
        }
        let (ids, coming) = self.with_running(|running| {
            (running.keys().cloned().collect::<Vec<_>>(), (running.len(), own(running, owner)))
        });
        let ready = self.links.ready(owner, ids).await?;
        self.is_room(owner, coming, ready)
    }

    /// For so many in all and of an owner.
    fn is_room(&self, owner: &Owner, coming: (usize, usize), ready: (u64, u64)) -> Result<(), Error> {
        if ready.0.saturating_add(coming.0 as u64) > self.most_links {
            return Err(Error::Full { capacity: self.budget.capacity() });
        }
        let most = self.most_each.load(Ordering::Relaxed);
        // The bearer of the token is the operator, or stands for many.
        if *owner != Owner::Token && ready.1.saturating_add(coming.1 as u64) > most {
            return Err(Error::TooMany { most });
        }
        Ok(())
    }
}

impl Store {
    /// From now on one owner may have so many links: all strangers together, each certificate nobody vouched for, each
    /// client. The bearer of the token may have any number.
    pub fn limit_links(&self, most_each: u64) {
        self.inner.most_each.store(most_each, Ordering::Relaxed);
    }

    /// What ended earlier than this is to be forgotten: what `due` says, and more when there is too much to remember.
    pub(super) async fn forgotten_before(&self, due: Timestamp) -> Result<Timestamp, Error> {
        let beyond = self.inner.links.buried_beyond(self.inner.most_links).await?;
        Ok(beyond.map_or(due, |ended| due.max(Timestamp::from_millis(ended.as_millis().saturating_add(1)))))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use futures_util::future::join_all;

    use super::*;
    use crate::abuse::Admitted;
    use crate::access::{self, Policy};
    use crate::clock::{Clock as _, Manual};
    use crate::store::tests::{alice, upload};
    use crate::store::{Config, Lookup};
    use crate::units::Ttl;

    async fn open() -> (tempfile::TempDir, Manual, Store) {
        let folder = tempfile::tempdir().expect("a folder");
        let clock = Manual::at(Timestamp::from_secs(1_000_000));
        let config = Config { path: folder.path().to_owned(), max_file_size: 100, max_storage: 100 };
        let store = Store::open(config, Arc::new(clock.clone())).await.expect("opened");
        (folder, clock, store)
    }

    async fn shorten(store: &Store) -> Result<LinkId, Error> {
        let permit = access::create(&alice(), Policy::default(), Admitted::untested()).expect("allowed");
        let ttl = Ttl::For(Duration::from_secs(3600));
        store.shorten(permit, "https://example.org/".to_owned(), ttl, false).await.map(|link| link.id)
    }

    async fn ready(store: &Store) -> u64 {
        store.inner.links.ready(&alice().owner, Vec::new()).await.expect("counted").0
    }

    #[test]
    fn a_link_takes_a_share_of_the_room() {
        assert_eq!((most(0), most(1024 * 1024 * 1024)), (LEAST, 1024 * 1024));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn links_without_bytes_are_not_without_number() {
        let (_folder, clock, store) = open().await;
        let racing = join_all((0..LEAST + 200).map(|_| {
            let store = store.clone();
            tokio::spawn(async move { shorten(&store).await.is_ok() })
        }));
        let won = racing.await.into_iter().filter(|one| *one.as_ref().expect("no panic")).count() as u64;
        assert!(won <= LEAST && won == ready(&store).await, "{won}");
        for _ in won..LEAST {
            shorten(&store).await.expect("one more");
        }
        assert_eq!(ready(&store).await, LEAST);
        assert!(matches!(shorten(&store).await, Err(Error::Full { .. })));
        assert!(matches!(upload(&store, 0, false).await, Err(Error::Full { .. })), "a file without bytes is one too");
        clock.advance(Duration::from_secs(3600));
        store.sweep().await.expect("swept");
        upload(&store, 0, false).await.expect("there is room again");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn one_owner_has_so_many_links_however_they_race_and_others_have_theirs() {
        let (_folder, clock, store) = open().await;
        store.limit_links(10);
        let racing = join_all((0..60).map(|n| {
            let store = store.clone();
            tokio::spawn(async move {
                match n % 2 {
                    0 => shorten(&store).await.is_ok(),
                    _ => upload(&store, 0, false).await.is_ok(),
                }
            })
        }));
        let won = racing.await.into_iter().filter(|one| *one.as_ref().expect("no panic")).count() as u64;
        assert!(won <= 10 && won == ready(&store).await, "{won}");
        for _ in won..10 {
            upload(&store, 0, false).await.expect("one more");
        }
        assert!(matches!(shorten(&store).await, Err(Error::TooMany { most: 10 })));
        assert!(matches!(upload(&store, 0, false).await, Err(Error::TooMany { most: 10 })));
        for owner in [Owner::Anonymous, Owner::Token] {
            let bob = crate::identity::Principal { owner: owner.clone(), ..alice() };
            for n in 0..12 {
                let permit = access::create(&bob, Policy::default(), Admitted::untested()).expect("allowed");
                let made = store.shorten(permit, "https://example.org/".to_owned(), Ttl::Forever, false).await;
                assert_eq!(made.is_ok(), n < 10 || owner == Owner::Token, "{owner:?}, {n}");
            }
        }
        clock.advance(Duration::from_secs(3600));
        store.sweep().await.expect("swept");
        upload(&store, 0, false).await.expect("there is room again");
    }

    #[tokio::test]
    async fn ended_links_are_remembered_for_a_week_or_less_if_they_are_many() {
        let (_folder, clock, store) = open().await;
        let mut ids = Vec::new();
        for _ in 0..3 {
            let round: Vec<LinkId> =
                join_all((0..600).map(|_| shorten(&store))).await.into_iter().map(|id| id.expect("made")).collect();
            ids.extend(round.first().cloned());
            clock.advance(Duration::from_secs(3600));
            store.sweep().await.expect("swept");
        }
        let mut known = Vec::new();
        for id in &ids {
            known.push(store.find(id).await.expect("read"));
        }
        // Of 1800 no more than 1024: the last round is whole, of those before each that ended at the same time goes.
        assert_eq!(known, [Lookup::Unknown, Lookup::Unknown, Lookup::Gone]);
        assert_eq!(store.inner.links.buried_beyond(LEAST).await.expect("read"), None);
        assert!(clock.now() > Timestamp::from_secs(1_000_000));
    }
}
