//! How links come to be, and to new bytes.

use std::sync::Arc;

use super::{Error, Store, Upload};
use crate::access::{Create, Manage, Permit};
use crate::identity::Sha256;
use crate::link::{Draft, Kind, Link, LinkId};
use crate::units::Ttl;

/// How many short ids are tried: that even the second is taken happens once in a million with a hundred million links.
const TRIES: usize = 8;

impl Store {
    /// Reserves room and an id. `declared`: the length, when it is known; room for it is reserved at once.
    ///
    /// # Errors
    /// [`Error::TooLarge`] and [`Error::Full`] when it is known now that the bytes cannot be kept.
    pub async fn begin(&self, permit: Permit<Create>, draft: Draft, declared: Option<u64>) -> Result<Upload, Error> {
        Upload::begin(Arc::clone(&self.inner), permit.into_inner().owner, draft, declared, None).await
    }

    /// Begins to take other bytes for a link: those who read it get the old ones or the new ones whole, and the old
    /// ones are there until the new ones are. Room is needed for both. `most`: bytes it may have.
    ///
    /// # Errors
    /// As [`Store::begin`]; the upload's end is [`Error::Ended`] when the link has ended by then, or burns.
    pub async fn begin_replacement(
        &self,
        permit: Permit<Manage>,
        mime: String,
        most: Option<u64>,
        declared: Option<u64>,
    ) -> Result<Upload, Error> {
        let link = permit.into_inner().link;
        self.settle_touches(&link.id).await?;
        let (ttl, idle) = (Ttl::Forever, false);
        let draft = Draft { kind: link.kind, name: None, mime, ttl, idle, burn: false, password: None, most };
        Upload::begin(Arc::clone(&self.inner), link.owner, draft, declared, Some(link.id)).await
    }

    /// Makes a link to another address, under a short id.
    ///
    /// # Errors
    /// [`Error::Full`] and [`Error::TooMany`] when there are as many links as there may be; or the database cannot be written.
    pub async fn shorten(&self, permit: Permit<Create>, target: String, ttl: Ttl, idle: bool) -> Result<Link, Error> {
        let owner = permit.into_inner().owner;
        let now = self.inner.clock.now();
        let mut link = Link {
            id: LinkId::random_short()?,
            kind: Kind::Url,
            owner: owner.clone(),
            name: None,
            mime: String::new(),
            size: 0,
            sha256: Sha256::of(target.as_bytes()),
            blob: String::new(),
            created_at: now,
            expires_at: ttl.from(now),
            burn: false,
            idle: match ttl {
                Ttl::For(span) if idle => Some(span),
                _ => None,
            },
            accessed_at: None,
            password: None,
            target: Some(target),
        };
        for _ in 0..TRIES {
            let _counted = self.inner.counted(&link.id, &owner);
            self.inner.one_more(&owner).await?;
            if self.inner.links.insert(&link).await? {
                self.inner.cache.forget(&link.id);
                return Ok(link);
            }
            link.id = LinkId::random_short()?;
        }
        Err(Error::NoId)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures_util::TryStreamExt as _;

    use super::*;
    use crate::abuse::Admitted;
    use crate::access::{self, Policy};
    use crate::store::Lookup;
    use crate::store::cut_off::cut_off;
    use crate::store::tests::{alice, files, fresh, until, upload, used};

    async fn find(store: &Store, id: &LinkId) -> Link {
        let Lookup::Live(link) = store.find(id).await.expect("read") else { panic!("it lives") };
        *link
    }

    async fn replacement(store: &Store, link: &Link, bytes: &'static [u8]) -> Upload {
        let permit = access::manage(&alice(), find(store, &link.id).await, Policy::default()).expect("allowed");
        let mut upload = store.begin_replacement(permit, "image/png".into(), None, None).await.expect("begun");
        upload.write(Bytes::from_static(bytes)).await.expect("taken");
        upload
    }

    async fn content(store: &Store, link: Link) -> Vec<u8> {
        let content = store.read(access::read(link), None).await.expect("its bytes").expect("live");
        content.try_collect::<Vec<Bytes>>().await.expect("whole").concat()
    }

    #[tokio::test]
    async fn readers_get_the_old_bytes_or_the_new_ones() {
        let (folder, _, store) = fresh().await;
        let old = upload(&store, 300, false).await.expect("made");
        let reading = store.read(access::read(old.clone()), None).await.expect("read").expect("live");
        let new = replacement(&store, &old, b"new").await;
        assert_eq!(content(&store, find(&store, &old.id).await).await, [7; 300], "until the new ones are whole");
        let new = new.finish().await.expect("replaced");
        assert_eq!((&new.id, new.size, new.mime.as_str(), new.created_at), (&old.id, 3, "image/png", old.created_at));
        assert_eq!(reading.try_collect::<Vec<Bytes>>().await.expect("whole").concat(), [7; 300]);
        assert_eq!(find(&store, &old.id).await, new);
        assert_eq!(content(&store, new.clone()).await, b"new");
        assert!(matches!(store.read(access::read(old), None).await, Err(Error::Replaced)), "who looked before is told");
        assert_eq!(files(folder.path()), [3]);
        assert_eq!((used(&store).await, store.inner.budget.used()), (3, 3));
    }

    #[tokio::test]
    async fn a_replacement_that_fails_leaves_the_old_bytes() {
        let (folder, _, store) = fresh().await;
        let link = upload(&store, 300, false).await.expect("made");
        drop(replacement(&store, &link, b"new").await);
        let mut large = replacement(&store, &link, b"new").await;
        assert!(matches!(large.write(Bytes::from(vec![0; 100_000])).await, Err(Error::TooLarge { .. })));
        drop(large);
        let late = replacement(&store, &link, b"new").await;
        let permit = access::manage(&alice(), link.clone(), Policy::default()).expect("allowed");
        assert_eq!(content(&store, find(&store, &link.id).await).await, [7; 300]);
        store.expire(permit).await.expect("ended");
        assert!(matches!(late.finish().await, Err(Error::Ended)));
        until(async || files(folder.path()).is_empty()).await;
        until(async || store.inner.budget.used() == 0).await;
        let once = upload(&store, 300, true).await.expect("made");
        assert!(matches!(replacement(&store, &once, b"new").await.finish().await, Err(Error::Ended)), "it burns");
    }

    #[tokio::test]
    async fn a_link_that_ends_while_new_bytes_are_written_stays_ended() {
        let (folder, clock, store) = fresh().await;
        let link = upload(&store, 300, false).await.expect("made");
        let finishing = replacement(&store, &link, b"new").await.finish();
        let mut finishing = std::pin::pin!(finishing);
        assert!(futures_util::poll!(finishing.as_mut()).is_pending());
        // Whoever writes them has begun, and cannot be noticed to have ended before this one waits again.
        tokio::task::yield_now().await;
        clock.advance(std::time::Duration::from_secs(3600));
        assert!(matches!(finishing.await, Err(Error::Ended)));
        assert_eq!(store.find(&link.id).await.expect("read"), Lookup::Gone);
        store.sweep().await.expect("swept");
        until(async || files(folder.path()).is_empty()).await;
    }

    #[tokio::test]
    async fn a_replacement_cut_off_at_its_end_is_whole_or_not_there() {
        for after in 1..6 {
            let (folder, _, store) = fresh().await;
            let link = upload(&store, 300, false).await.expect("made");
            cut_off(after, replacement(&store, &link, b"new").await.finish()).await;
            until(async || store.inner.with_running(|running| running.is_empty())).await;
            let found = find(&store, &link.id).await;
            let bytes = content(&store, found.clone()).await;
            assert!(bytes == [7; 300] || bytes == b"new", "cut off after {after}");
            assert_eq!(found.size, bytes.len() as u64);
            until(async || files(folder.path()) == [found.size] && store.inner.budget.used() == found.size).await;
        }
    }

    #[tokio::test]
    async fn a_link_to_another_address_has_a_short_id() {
        let (folder, _, store) = fresh().await;
        let permit = access::create(&alice(), Policy::default(), Admitted::untested()).expect("allowed");
        let link = store.shorten(permit, "https://example.org/".into(), Ttl::Forever, false).await.expect("made");
        assert_eq!((link.id.as_str().len(), link.kind), (LinkId::SHORT, Kind::Url));
        assert_eq!(find(&store, &link.id).await, link);
        let permit = access::manage(&alice(), link.clone(), Policy::default()).expect("allowed");
        store.expire(permit).await.expect("ended");
        assert_eq!(store.find(&link.id).await.expect("read"), Lookup::Gone);
        assert_eq!(files(folder.path()), Vec::<u64>::new());
        store.sweep().await.expect("swept");
    }
}
