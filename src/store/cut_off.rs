//! What callers that go away in the middle leave behind.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use bytes::Bytes;
use futures_util::TryStreamExt as _;

use super::ledger::Phase;
use super::tests::{alice, begin, files, fresh, settled, until, upload, used};
use super::{Lookup, Store};
use crate::access::{self, Policy};
use crate::link::{Change, FileName, Link};

/// Polls until it is ready or was pending so many times, and drops it then.
pub(super) async fn cut_off<F: Future>(after: usize, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut polls = 0;
    poll_fn(|cx| {
        polls += 1;
        match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if polls >= after => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

async fn manage(store: &Store, link: &Link) -> access::Permit<access::Manage> {
    let Lookup::Live(link) = store.find(&link.id).await.expect("read") else { panic!("it lives") };
    access::manage(&alice(), *link, Policy::default()).expect("allowed")
}

#[tokio::test]
async fn an_upload_cut_off_at_its_end_is_whole_or_not_there() {
    for (after, warm) in (1..6).flat_map(|after| [(after, false), (after, true)]) {
        let (folder, _, store) = fresh().await;
        if warm {
            // Those that come later have a row made for them.
            let first = upload(&store, 1, false).await.expect("made");
            store.expire(manage(&store, &first).await).await.expect("ended");
            settled(&store).await;
        }
        let mut going = begin(&store, false, None).await.expect("begun");
        going.write(Bytes::from(vec![1; 300])).await.expect("taken");
        let id = going.id().clone();
        cut_off(after, going.finish()).await;
        until(async || store.inner.with_running(|running| running.is_empty())).await;
        match store.find(&id).await.expect("read") {
            Lookup::Live(link) => {
                let content = store.read(access::read(*link), None).await.expect("its bytes").expect("live");
                let pieces: Vec<Bytes> = content.try_collect().await.expect("whole");
                assert_eq!(pieces.concat(), [1; 300], "cut off after {after}");
            }
            _ => until(async || files(folder.path()).is_empty()).await,
        }
        until(async || store.inner.budget.used() == files(folder.path()).iter().sum::<u64>()).await;
        assert_eq!(store.inner.budget.used(), files(folder.path()).iter().sum::<u64>(), "cut off after {after}");
        assert_eq!(used(&store).await, store.inner.budget.used());
    }
}

#[tokio::test]
async fn an_end_cut_off_is_an_end() {
    for after in 1..4 {
        let (folder, _, store) = fresh().await;
        let link = upload(&store, 5, false).await.expect("made");
        let permit = manage(&store, &link).await;
        cut_off(after, store.expire(permit)).await;
        until(async || store.find(&link.id).await.expect("read") == Lookup::Gone).await;
        until(async || files(folder.path()).is_empty()).await;
    }
}

#[tokio::test]
async fn a_change_cut_off_is_seen_by_everyone_or_by_no_one() {
    let (_folder, _, store) = fresh().await;
    let link = upload(&store, 5, false).await.expect("made");
    let permit = manage(&store, &link).await;
    let name = FileName::clean("new");
    cut_off(1, store.change(permit, Change { name: Some(name.clone()), ..Change::default() })).await;
    until(async || {
        let kept = store.inner.links.find(&link.id).await.expect("read").expect("a row");
        let Lookup::Live(seen) = store.find(&link.id).await.expect("read") else { panic!("it lives") };
        kept.link.name == name && seen.name == name
    })
    .await;
}

#[tokio::test]
async fn a_claim_cut_off_burns_the_link() {
    let (folder, _, store) = fresh().await;
    let link = upload(&store, 5, true).await.expect("made");
    let Lookup::Live(seen) = store.find(&link.id).await.expect("read") else { panic!("it lives") };
    cut_off(1, store.read(access::read(*seen), None)).await;
    until(async || store.find(&link.id).await.expect("read") == Lookup::Gone).await;
    until(async || files(folder.path()).is_empty()).await;
}

#[tokio::test]
async fn the_one_reader_of_a_link_is_not_robbed_by_a_sweep() {
    let (_folder, _, store) = fresh().await;
    let link = upload(&store, 5, true).await.expect("made");
    let read = store.read(access::read(link.clone()), None);
    let mut read = pin!(read);
    // The claim is made, and the sweeper is here before the reader.
    let first = poll_fn(|cx| Poll::Ready(read.as_mut().poll(cx))).await;
    assert!(first.is_pending());
    until(async || store.inner.links.find(&link.id).await.expect("read").is_some_and(|row| row.phase == Phase::Doomed))
        .await;
    store.sweep().await.expect("swept");
    let content = read.await.expect("read").expect("the one reader");
    let pieces: Vec<Bytes> = content.try_collect().await.expect("whole");
    assert_eq!(pieces.concat(), [7; 5]);
}
