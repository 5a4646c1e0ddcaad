//! Readings of links that end by idleness, gathered and written together: a read costs no write.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::{Error, Store};
use crate::link::{Link, LinkId};
use crate::units::Timestamp;

/// Links whose readings may wait to be written; those of more are not noted, and the next reading tries again.
const WAITING: usize = 16 * 1024;

/// The last reading of each link that has not been written yet.
#[derive(Debug, Default)]
pub(super) struct Touches(Mutex<HashMap<LinkId, Timestamp>>);

impl Touches {
    fn with<T>(&self, f: impl FnOnce(&mut HashMap<LinkId, Timestamp>) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn note(&self, id: &LinkId, at: Timestamp) {
        self.with(|waiting| {
            if let Some(last) = waiting.get_mut(id) {
                *last = at.max(*last);
            } else if waiting.len() < WAITING {
                waiting.insert(id.clone(), at);
            }
        });
    }

    /// A link as it is once its reading is written.
    pub(super) fn apply(&self, link: Link) -> Link {
        if link.idle.is_none() {
            return link;
        }
        match self.with(|waiting| waiting.get(&link.id).copied()) {
            Some(at) if link.accessed_at.is_none_or(|written| written < at) => link.touched(at),
            _ => link,
        }
    }

    fn is_waiting(&self, id: &LinkId) -> bool {
        self.with(|waiting| waiting.contains_key(id))
    }

    fn all(&self) -> Vec<(LinkId, Timestamp)> {
        self.with(|waiting| waiting.iter().map(|(id, at)| (id.clone(), *at)).collect())
    }

    fn written(&self, readings: &[(LinkId, Timestamp)]) {
        self.with(|waiting| {
            for (id, at) in readings {
                if waiting.get(id) == Some(at) {
                    waiting.remove(id);
                }
            }
        });
    }
}

impl Store {
    /// Writes down which links were read, in one transaction; answers how many. After a crash the readings since the
    /// last time are forgotten.
    ///
    /// # Errors
    /// When the database cannot be written; the readings wait for the next time.
    pub async fn write_touches(&self) -> Result<usize, Error> {
        let inner = &self.inner;
        let readings = inner.touches.all();
        if readings.is_empty() {
            return Ok(0);
        }
        inner.links.touch(readings.clone()).await?;
        for (id, _) in &readings {
            inner.cache.forget(id);
        }
        // Only now: until the row says it, they do.
        inner.touches.written(&readings);
        Ok(readings.len())
    }

    /// Writes them down if this link is among them, before something depends on its row.
    pub(super) async fn settle_touches(&self, id: &LinkId) -> Result<(), Error> {
        if self.inner.touches.is_waiting(id) { self.write_touches().await.map(drop) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;

    use super::*;
    use crate::abuse::Admitted;
    use crate::access::{self, Policy};
    use crate::link::{Draft, Kind};
    use crate::store::Lookup;
    use crate::store::tests::{alice, fresh, settled};
    use crate::units::Ttl;

    async fn idle_link(store: &Store) -> Link {
        let permit = access::create(&alice(), Policy::default(), Admitted::untested()).expect("allowed");
        let ttl = Ttl::For(Duration::from_secs(1000));
        let mime = "text/plain".to_owned();
        let draft =
            Draft { kind: Kind::Paste, name: None, mime, ttl, idle: true, burn: false, password: None, most: None };
        let mut upload = store.begin(permit, draft, None).await.expect("begun");
        upload.write(Bytes::from_static(b"x")).await.expect("taken");
        upload.finish().await.expect("made")
    }

    async fn live(store: &Store, id: &LinkId) -> Option<Link> {
        match store.find(id).await.expect("read") {
            Lookup::Live(link) => Some(*link),
            Lookup::Gone | Lookup::Unknown => None,
        }
    }

    #[tokio::test]
    async fn readings_keep_a_link_alive_and_are_written_together() {
        let (folder, clock, store) = fresh().await;
        let (read, unread) = (idle_link(&store).await, idle_link(&store).await);
        settled(&store).await;
        let written = || std::fs::metadata(folder.path().join("links.db-wal")).expect("a file").len();
        let before = written();
        for _ in 0..100 {
            clock.advance(Duration::from_secs(9));
            let link = live(&store, &read.id).await.expect("it lives");
            store.touch(&link);
        }
        assert_eq!(written(), before, "a hundred readings are no write");
        clock.advance(Duration::from_secs(100));
        assert!(live(&store, &unread.id).await.is_none(), "1000 s after it was made");
        let link = live(&store, &read.id).await.expect("it was read 100 s ago");
        assert!(link.expires_at.is_some_and(|end| end > clock_now(&store)));
        assert_eq!(store.write_touches().await.expect("written"), 1);
        assert!(written() > before);
        assert_eq!(live(&store, &read.id).await, Some(link.clone()), "the row says the same");
        assert_eq!(store.write_touches().await.expect("written"), 0, "once");
        store.touch(&live(&store, &read.id).await.expect("it lives"));
        store.sweep().await.expect("swept");
        assert!(live(&store, &read.id).await.is_some());
        clock.advance(Duration::from_secs(1001));
        assert!(live(&store, &read.id).await.is_none());
        store.sweep().await.expect("swept");
        assert_eq!(crate::store::tests::files(folder.path()), Vec::<u64>::new());
    }

    fn clock_now(store: &Store) -> Timestamp {
        store.inner.clock.now()
    }

    #[tokio::test]
    async fn a_sweep_spares_what_was_read_a_moment_ago() {
        let (_folder, clock, store) = fresh().await;
        let link = idle_link(&store).await;
        clock.advance(Duration::from_secs(999));
        store.touch(&link);
        clock.advance(Duration::from_secs(500));
        store.sweep().await.expect("swept");
        assert!(live(&store, &link.id).await.is_some());
    }

    #[tokio::test]
    async fn readings_are_written_when_the_store_is_closed() {
        let (folder, clock, store) = fresh().await;
        let link = idle_link(&store).await;
        clock.advance(Duration::from_secs(999));
        store.touch(&link);
        store.close().await;
        clock.advance(Duration::from_secs(500));
        let config = crate::store::Config { path: folder.path().to_owned(), max_file_size: 1, max_storage: 1 };
        let again = Store::open(config, std::sync::Arc::new(clock)).await.expect("opened");
        assert!(live(&again, &link.id).await.is_some());
    }

    #[test]
    fn however_many_links_are_read_few_wait() {
        let touches = Touches::default();
        let id = |n: usize| format!("id{n:08}").parse::<LinkId>().expect("an id");
        for n in 0..WAITING + 10 {
            touches.note(&id(n), Timestamp::from_secs(1));
        }
        touches.note(&id(0), Timestamp::from_secs(2));
        assert_eq!(touches.all().len(), WAITING);
        assert!(touches.is_waiting(&id(0)) && !touches.is_waiting(&id(WAITING)));
        touches.written(&[(id(0), Timestamp::from_secs(1)), (id(1), Timestamp::from_secs(1))]);
        assert!(touches.is_waiting(&id(0)), "it was read again meanwhile");
        assert_eq!(touches.all().len(), WAITING - 1);
    }
}
