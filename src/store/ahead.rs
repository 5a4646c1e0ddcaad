//! Rows reserved ahead, each with the folder for its file: an upload that finds one waits for neither.

use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::join_all;
use tracing::Instrument as _;

use super::ledger::Reservation;
use super::{Error, Inner};
use crate::identity::Owner;
use crate::link::{Kind, LinkId};
use crate::units;

/// An id and a name for bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) id: LinkId,
    pub(super) blob: String,
    /// Whether there is a row for it.
    pub(super) is_reserved: bool,
}

impl Place {
    fn random() -> Result<Self, units::Error> {
        LinkId::random().and_then(Self::with)
    }

    fn with(id: LinkId) -> Result<Self, units::Error> {
        let blob = hex::encode(units::random::<16>()?);
        Ok(Self { id, blob, is_reserved: false })
    }

    /// So many whose bytes will be in one folder, which is then made once for all of them.
    fn beside_each_other(count: usize) -> Result<Vec<Self>, units::Error> {
        let folder = hex::encode(units::random::<2>()?);
        let mut places = (0..count).map(|_| Self::random()).collect::<Result<Vec<_>, _>>()?;
        for place in &mut places {
            place.blob.replace_range(..folder.len(), &folder);
        }
        Ok(places)
    }
}

/// So many are ahead at most; when half of them are gone, others are made. Uploads that are more at once reserve their
/// own.
const MOST: usize = 16;

/// Places that are nobody's yet.
#[derive(Default)]
pub(super) struct Ahead(Mutex<State>);

#[derive(Default)]
struct State {
    free: Vec<Place>,
    /// Those that have no rows yet.
    coming: Vec<Place>,
    /// Whether others are being made, or none are to be.
    is_busy: bool,
}

impl Ahead {
    fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether there are some, and no others are on their way.
    #[cfg(test)]
    pub(super) fn is_settled(&self) -> bool {
        self.with(|state| !state.free.is_empty() && !state.is_busy)
    }
}

/// Whether a row that is reserved as nobody's can become one of theirs. Of those whose owner may become another one while
/// their bytes come, the row has to say whose it is.
fn can_wait(owner: &Owner) -> bool {
    match owner {
        Owner::Client(_) | Owner::Token | Owner::Anonymous => true,
        Owner::Certificate(_) | Owner::Sha1(_) => false,
    }
}

impl Inner {
    /// A place for an upload of `owner`, which is among the running ones from now on; reserved, if there is one and its
    /// id does not matter.
    pub(super) fn place(self: &Arc<Self>, owner: &Owner, id: Option<LinkId>) -> Result<Place, units::Error> {
        let ready = if id.is_none() && can_wait(owner) { self.take_ahead(owner) } else { None };
        if let Some(place) = ready {
            return Ok(place);
        }
        let place = id.map_or_else(Place::random, Place::with)?;
        self.with_running(|running| running.insert(place.id.clone(), owner.clone()));
        Ok(place)
    }

    fn take_ahead(self: &Arc<Self>, owner: &Owner) -> Option<Place> {
        let (place, few) = self.ahead.with(|state| {
            let place = state.free.pop();
            if let Some(place) = &place {
                // Before others can see that it is not ahead any more: a sweep would take it for given up.
                self.with_running(|running| running.insert(place.id.clone(), owner.clone()));
            }
            let few = state.free.len() <= MOST / 2 && !state.is_busy;
            state.is_busy |= few;
            (place, few)
        });
        if few {
            self.cleaning.spawn(Arc::clone(self).reserve_ahead().in_current_span());
        }
        place
    }

    /// Takes back a place under which nothing was begun; false, and no change, if there are enough.
    pub(super) fn give_back(&self, place: Place) -> bool {
        // As of one moment: the next upload that takes it is among the running ones, and stays there.
        self.ahead.with(|state| {
            if place.is_reserved && state.free.len() >= MOST {
                return false;
            }
            self.with_running(|running| running.remove(&place.id));
            if place.is_reserved {
                state.free.push(place);
            }
            true
        })
    }

    /// Whether a pending row of this process has an upload, or waits for one.
    pub(super) fn is_in_use(&self, id: &LinkId) -> bool {
        // Both as of one moment: places go from one to the other, and back.
        self.ahead.with(|state| {
            state.free.iter().chain(&state.coming).any(|place| place.id == *id)
                || self.with_running(|running| running.contains_key(id))
        })
    }

    /// That it fails is no harm: uploads then reserve their own places, and say why they cannot.
    async fn reserve_ahead(self: Arc<Self>) {
        if let Err(error) = self.make().await {
            tracing::debug!(%error, "no rows are reserved ahead");
        }
        self.ahead.with(|state| {
            state.coming.clear();
            state.is_busy = false;
        });
    }

    async fn make(&self) -> Result<(), Error> {
        let wanted = self.ahead.with(|state| MOST.saturating_sub(state.free.len()));
        let places = Place::beside_each_other(wanted)?;
        // Before there are rows, so that no sweep takes them for given up.
        self.ahead.with(|state| state.coming.clone_from(&places));
        self.reserve_all(&places).await?;
        self.ahead.with(|state| {
            state.coming.clear();
            state.free.extend(places.into_iter().map(|place| Place { is_reserved: true, ..place }));
        });
        Ok(())
    }

    async fn reserve_all(&self, places: &[Place]) -> Result<(), Error> {
        self.blobs.prepare(places.iter().map(|place| place.blob.clone()).collect()).await?;
        let now = self.clock.now();
        // Whose they are and what is said when they are sealed.
        let row = |place: &Place| Reservation {
            id: place.id.clone(),
            kind: Kind::File,
            owner: Owner::Anonymous,
            blob: place.blob.clone(),
            now,
        };
        self.links.reserve(places.iter().map(row).collect()).await
    }

    /// Gives back what nobody came for; from now on none are made. What a process leaves that ends without this, a
    /// later sweep finds.
    pub(super) async fn reserve_no_more(&self) {
        let places = self.ahead.with(|state| {
            state.is_busy = true;
            std::mem::take(&mut state.free)
        });
        for released in join_all(places.iter().map(|place| self.links.release(&place.id))).await {
            if let Err(error) = released {
                tracing::debug!(%error, "a row that was reserved ahead is still there");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::atomic::{AtomicBool, Ordering};

    use bytes::Bytes;

    use super::*;
    use crate::abuse::Admitted;
    use crate::access::{self, Policy};
    use crate::clock::Manual;
    use crate::identity::Principal;
    use crate::store::tests::{alice, begin, draft, fresh, open, settled, until, upload};
    use crate::store::{Lookup, Store, ledger::Phase};

    async fn rows(store: &Store) -> usize {
        store.inner.links.pending().await.expect("read").len()
    }

    fn free(store: &Store) -> usize {
        store.inner.ahead.with(|state| state.free.len())
    }

    /// With places ahead.
    async fn warm() -> (tempfile::TempDir, Manual, Store) {
        let (folder, clock, store) = fresh().await;
        upload(&store, 1, false).await.expect("made");
        settled(&store).await;
        assert_eq!((rows(&store).await, free(&store)), (MOST, MOST));
        (folder, clock, store)
    }

    async fn begin_as(store: &Store, owner: Owner, kind: Kind) -> Result<crate::store::Upload, Error> {
        let who = Principal { owner, ..alice() };
        let permit = access::create(&who, Policy { allow_untrusted: true, ..Policy::default() }, Admitted::untested());
        store.begin(permit.expect("allowed"), crate::link::Draft { kind, ..draft(false) }, None).await
    }

    #[test]
    fn those_that_are_made_together_share_a_folder_and_nothing_else() {
        let places = Place::beside_each_other(MOST).expect("random bytes");
        let folders: HashSet<_> = places.iter().map(|place| place.blob[..4].to_owned()).collect();
        let rest: HashSet<_> = places.iter().map(|place| place.blob[4..6].to_owned()).collect();
        assert!(places.iter().all(|place| place.blob.len() == 32));
        assert!((folders.len(), places.len()) == (1, MOST) && rest.len() > MOST / 2, "{places:?}");
    }

    #[tokio::test]
    async fn places_are_made_when_half_of_them_are_gone_and_given_back_at_the_end() {
        let (folder, clock, store) = warm().await;
        for _ in 0..5 * MOST {
            let link = upload(&store, 3, false).await.expect("made");
            assert_eq!((&link.owner, free(&store) <= MOST), (&alice().owner, true));
            assert_eq!(store.find(&link.id).await.expect("read"), Lookup::Live(Box::new(link)));
        }
        settled(&store).await;
        assert!(free(&store) > MOST / 2);
        let uploads = join_all((0..3 * MOST).map(|_| begin(&store, false, None))).await;
        assert!(uploads.iter().all(Result::is_ok), "more at once than there are ahead");
        drop(uploads);
        store.close().await;
        let next = open(folder.path(), &clock).await;
        assert_eq!(rows(&next).await, 0, "without a sweep");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn uploads_that_are_refused_and_sweeps_take_no_place_from_those_that_are_not() {
        let (_folder, _, store) = warm().await;
        store.limit_links(1);
        let done = Arc::new(AtomicBool::new(false));
        let going = |deed: fn(Store) -> futures_util::future::BoxFuture<'static, ()>| {
            let (store, done) = (store.clone(), Arc::clone(&done));
            tokio::spawn(async move {
                while !done.load(Ordering::Relaxed) {
                    deed(store.clone()).await;
                    tokio::task::yield_now().await;
                }
            })
        };
        let refused = |store: Store| -> futures_util::future::BoxFuture<'static, ()> {
            Box::pin(async move { assert!(begin(&store, false, None).await.is_err()) })
        };
        let swept = |store: Store| -> futures_util::future::BoxFuture<'static, ()> {
            Box::pin(async move { store.sweep().await.map(drop).expect("swept") })
        };
        let others = [going(refused), going(refused), going(swept)];
        for _ in 0..200 {
            let mut upload = begin_as(&store, Owner::Token, Kind::File).await.expect("begun");
            upload.write(Bytes::from_static(b"x")).await.expect("taken");
            let link = upload.finish().await.expect("made");
            assert!(store.inner.blobs.remove(&link.blob).await.is_ok_and(|freed| freed == 1), "its bytes are there");
        }
        done.store(true, Ordering::Relaxed);
        for other in others {
            other.await.expect("no panic");
        }
        assert!(store.inner.with_running(|running| running.is_empty()));
    }

    #[tokio::test]
    async fn a_sweep_leaves_those_that_wait_alone_and_those_that_are_in_use() {
        let (_folder, _, store) = warm().await;
        let mut going = begin(&store, false, None).await.expect("begun");
        store.sweep().await.expect("swept");
        assert_eq!((rows(&store).await, free(&store)), (MOST, MOST - 1));
        going.write(Bytes::from_static(b"x")).await.expect("taken");
        going.finish().await.expect("made");
    }

    #[tokio::test]
    async fn an_upload_that_is_refused_leaves_its_place_to_the_next() {
        let (_folder, _, store) = warm().await;
        store.limit_links(1);
        for _ in 0..2 * MOST {
            assert!(matches!(begin(&store, false, Some(10)).await, Err(Error::TooMany { .. })));
        }
        assert_eq!((free(&store), store.inner.with_running(|running| running.len())), (MOST, 0));
        assert_eq!(rows(&store).await, MOST, "and nothing was written");
        assert_eq!(store.inner.budget.used(), 1);
        let refused = join_all((0..4 * MOST).map(|_| begin(&store, false, None))).await;
        assert!(refused.iter().all(Result::is_err));
        settled(&store).await;
        assert!(free(&store) <= MOST, "however many are given back at once");
        until(async || rows(&store).await == free(&store)).await;
    }

    #[tokio::test]
    async fn whoever_takes_a_place_makes_it_what_it_is_to_be() {
        let (_folder, _, store) = warm().await;
        for owner in [Owner::Token, Owner::Anonymous, Owner::Certificate(crate::identity::Sha256([1; 32]))] {
            let upload = begin_as(&store, owner.clone(), Kind::Paste).await.expect("begun");
            let link = upload.finish().await.expect("made");
            let row = store.inner.links.find(&link.id).await.expect("read").expect("a row");
            assert_eq!((row.phase, &row.link.owner, row.link.kind), (Phase::Ready, &owner, Kind::Paste));
            assert_eq!(store.inner.links.totals(Some(owner), link.created_at).await.expect("read").links, 1);
        }
    }

    #[tokio::test]
    async fn what_a_stranger_uploads_says_whose_it_is_while_it_comes() {
        let (_folder, _, store) = warm().await;
        let stranger = Owner::Certificate(crate::identity::Sha256([1; 32]));
        let mut upload = begin_as(&store, stranger.clone(), Kind::File).await.expect("begun");
        upload.write(Bytes::from_static(b"x")).await.expect("taken");
        let row = async || store.inner.links.find(upload.id()).await.expect("read");
        until(async || row().await.is_some()).await;
        assert!(row().await.is_some_and(|row| (row.phase, &row.link.owner) == (Phase::Pending, &stranger)));
    }

    #[tokio::test]
    async fn places_of_a_process_that_died_are_swept_by_the_next() {
        let (folder, clock, store) = warm().await;
        // Without its end.
        drop(store);
        let next = open(folder.path(), &clock).await;
        assert_eq!(rows(&next).await, MOST);
        let swept = next.sweep().await.expect("swept");
        assert_eq!((swept.abandoned, rows(&next).await), (0, 0), "nobody gave up an upload");
    }
}
