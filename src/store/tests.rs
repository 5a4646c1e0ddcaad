//! The order of effects: what is left after an end in the middle, and who wins a race.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use tempfile::TempDir;

use super::blobs::PIECE;
use super::{Config, Error, Lookup, Store, Upload};
use crate::abuse::Admitted;
use crate::access::{self, Policy};
use crate::clock::{Clock, Manual};
use crate::identity::{ClientId, Owner, Principal, Proof, Sha256, Tier};
use crate::link::{Draft, Kind, Link};
use crate::units::{Timestamp, Ttl};

pub(super) fn alice() -> Principal {
    let owner = Owner::Client(ClientId::from_kept("alice".into()));
    Principal { tier: Tier::Trusted, owner, name: None, proof: Proof::Nothing, address: None }
}

pub(super) fn draft(burn: bool) -> Draft {
    Draft {
        kind: Kind::File,
        name: None,
        mime: "text/plain".into(),
        ttl: Ttl::For(Duration::from_secs(3600)),
        idle: false,
        burn,
        password: None,
        most: None,
    }
}

pub(super) async fn open(folder: &Path, clock: &Manual) -> Store {
    open_with(folder, clock, 100_000).await
}

async fn open_with(folder: &Path, clock: &Manual, max_file_size: u64) -> Store {
    let config = Config { path: folder.to_owned(), max_file_size, max_storage: max_file_size + 50_000 };
    Store::open(config, Arc::new(clock.clone())).await.expect("opened")
}

pub(super) async fn fresh() -> (TempDir, Manual, Store) {
    let folder = tempfile::tempdir().expect("a folder");
    let clock = Manual::at(Timestamp::from_secs(1_800_000_000));
    let store = open(folder.path(), &clock).await;
    (folder, clock, store)
}

pub(super) async fn begin(store: &Store, burn: bool, declared: Option<u64>) -> Result<Upload, Error> {
    let permit = access::create(&alice(), Policy::default(), Admitted::untested()).expect("allowed");
    store.begin(permit, draft(burn), declared).await
}

pub(super) async fn upload(store: &Store, size: usize, burn: bool) -> Result<Link, Error> {
    let mut upload = begin(store, burn, None).await?;
    upload.write(Bytes::from(vec![7; size])).await?;
    upload.finish().await
}

pub(super) fn files(folder: &Path) -> Vec<u64> {
    let mut sizes = Vec::new();
    let mut folders = vec![folder.join("files")];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).expect("a folder").flatten() {
            if entry.path().is_dir() {
                folders.push(entry.path());
            } else {
                sizes.push(entry.metadata().expect("facts").len());
            }
        }
    }
    sizes
}

/// Waits for what a drop has set going.
pub(super) async fn until(mut so: impl AsyncFnMut() -> bool) {
    let begun = std::time::Instant::now();
    // A machine that is busy syncs slowly; that it never comes is told all the same.
    while begun.elapsed() < Duration::from_secs(60) {
        if so().await {
            return;
        }
        tokio::task::yield_now().await;
        tokio::task::spawn_blocking(|| ()).await.expect("no panic");
    }
    panic!("it never came to be");
}

/// Waits until rows are reserved ahead, as they are after the first upload.
pub(super) async fn settled(store: &Store) {
    until(async || store.inner.ahead.is_settled()).await;
}

pub(super) async fn used(store: &Store) -> u64 {
    let permit = access::list(&alice(), Policy::default()).expect("allowed");
    store.stats(&permit).await.expect("counted").bytes
}

#[tokio::test]
async fn a_dropped_upload_leaves_nothing() {
    let (folder, _, store) = fresh().await;
    let mut half = begin(&store, false, Some(90_000)).await.expect("begun");
    half.write(Bytes::from(vec![1; 50_000])).await.expect("taken");
    let id = half.id().clone();
    assert_eq!(store.find(&id).await.expect("read"), Lookup::Unknown, "not before it is whole");
    drop(half);
    until(async || files(folder.path()).is_empty() && used(&store).await == 0).await;
    assert!(upload(&store, 100_000, false).await.is_ok(), "its room is free again");
}

#[tokio::test]
async fn what_is_announced_must_come() {
    let (folder, _, store) = fresh().await;
    let mut short = begin(&store, false, Some(10)).await.expect("begun");
    short.write(Bytes::from_static(b"123")).await.expect("taken");
    assert!(matches!(short.finish().await, Err(Error::Length { declared: 10, came: 3 })));
    let mut long = begin(&store, false, Some(2)).await.expect("begun");
    assert!(matches!(long.write(Bytes::from_static(b"123")).await, Err(Error::Length { .. })));
    drop(long);
    until(async || files(folder.path()).is_empty()).await;
}

#[tokio::test]
async fn limits_hold_before_and_while_bytes_come() {
    let (_folder, _, store) = fresh().await;
    assert!(matches!(begin(&store, false, Some(100_001)).await, Err(Error::TooLarge { limit: 100_000 })));
    assert!(matches!(upload(&store, 100_001, false).await, Err(Error::TooLarge { .. })));
    upload(&store, 100_000, false).await.expect("just right");
    assert!(matches!(begin(&store, false, Some(50_001)).await, Err(Error::Full { capacity: 150_000 })));
    assert!(matches!(upload(&store, 50_001, false).await, Err(Error::Full { .. })));
    upload(&store, 50_000, false).await.expect("just right");
    assert_eq!(used(&store).await, 150_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn racing_uploads_never_exceed_the_quota() {
    let (folder, _, store) = fresh().await;
    let racers: Vec<_> = (0..20)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move { upload(&store, 20_000, false).await.is_ok() })
        })
        .collect();
    let mut won = 0;
    for racer in racers {
        won += usize::from(racer.await.expect("no panic"));
    }
    assert!((1..=7).contains(&won), "{won}");
    until(async || files(folder.path()).len() == won).await;
    assert_eq!(used(&store).await, won as u64 * 20_000);
}

#[tokio::test]
async fn one_reader_burns_it_and_the_bytes_go_when_it_is_done() {
    let (folder, _, store) = fresh().await;
    let link = upload(&store, 5, true).await.expect("made");
    let first = store.read(access::read(link.clone()), None).await.expect("read").expect("the first");
    assert!(store.read(access::read(link.clone()), None).await.expect("read").is_none(), "the second");
    assert_eq!(store.find(&link.id).await.expect("read"), Lookup::Gone);
    let pieces: Vec<Bytes> = first.try_collect().await.expect("whole");
    assert_eq!(pieces.concat(), [7; 5]);
    until(async || files(folder.path()).is_empty()).await;
}

#[tokio::test]
async fn a_crash_in_the_middle_is_cleaned_up_by_the_next_process() {
    let folder = tempfile::tempdir().expect("a folder");
    let clock = Manual::at(Timestamp::from_secs(1_800_000_000));
    let store = open_with(folder.path(), &clock, 1_000_000).await;
    let whole = upload(&store, 10, false).await.expect("made");
    let burnt = upload(&store, 20, true).await.expect("made");
    let mut half = begin(&store, false, None).await.expect("begun");
    half.write(Bytes::from(vec![1; PIECE])).await.expect("taken");
    until(async || files(folder.path()).contains(&(PIECE as u64))).await;
    // And one that has left nothing but its row.
    let mut other = begin(&store, false, None).await.expect("begun");
    other.write(Bytes::from(vec![1; 300])).await.expect("taken");
    let reading = store.read(access::read(burnt), None).await.expect("read").expect("the first");
    settled(&store).await;
    // A crash is that nothing is dropped: the process's lock goes, its rows and bytes stay.
    std::mem::forget((half, other, reading));
    std::fs::write(folder.path().join("files/stray"), b"stray").expect("written");
    let writer = std::fs::read_dir(folder.path().join("writers")).expect("a folder").next().expect("one").expect("one");
    std::fs::remove_file(writer.path()).expect("deleted");
    let next = open(folder.path(), &clock).await;
    let swept = next.sweep().await.expect("swept");
    assert_eq!((swept.abandoned, swept.orphans), (1, 1), "{swept:?}");
    assert_eq!(next.inner.links.pending().await.expect("read"), []);
    assert_eq!(files(folder.path()), [10]);
    assert!(matches!(next.find(&whole.id).await.expect("read"), Lookup::Live(_)));
    assert_eq!(next.sweep().await.expect("swept"), super::Swept::default(), "nothing is left to do");
}

#[tokio::test]
async fn what_another_living_process_writes_is_left_alone() {
    let (folder, clock, store) = fresh().await;
    let mut theirs = begin(&store, false, None).await.expect("begun");
    theirs.write(Bytes::from(vec![1; 300])).await.expect("taken");
    let other = open(folder.path(), &clock).await;
    assert_eq!(other.sweep().await.expect("swept"), super::Swept::default());
    let link = theirs.finish().await.expect("made");
    assert!(matches!(other.find(&link.id).await.expect("read"), Lookup::Live(_)));
}

#[tokio::test]
async fn expiry_holds_whether_or_not_anyone_swept() {
    let (folder, clock, store) = fresh().await;
    let link = upload(&store, 5, false).await.expect("made");
    clock.advance(Duration::from_secs(3600));
    assert_eq!(store.find(&link.id).await.expect("read"), Lookup::Gone);
    let swept = store.sweep().await.expect("swept");
    assert_eq!((swept.expired, swept.bytes), (1, 5));
    assert!(files(folder.path()).is_empty());
    assert_eq!(store.find(&link.id).await.expect("read"), Lookup::Gone);
    clock.advance(super::REMEMBERED);
    assert_eq!(store.find(&link.id).await.expect("read"), Lookup::Unknown);
    clock.advance(Duration::from_secs(1));
    assert_eq!(store.sweep().await.expect("swept").forgotten, 1);
}

#[tokio::test]
async fn files_that_cannot_be_deleted_do_not_keep_the_others() {
    const STUCK: usize = 40;
    let (folder, clock, store) = fresh().await;
    let mut stuck = Vec::new();
    for _ in 0..STUCK {
        let link = upload(&store, 5, false).await.expect("made");
        let path = folder.path().join("files").join(&link.blob[..2]).join(&link.blob[2..4]).join(&link.blob);
        std::fs::remove_file(&path).expect("deleted");
        std::fs::create_dir(&path).expect("in the way");
        stuck.push((link.id, path));
    }
    clock.advance(Duration::from_secs(1));
    let last = upload(&store, 5, false).await.expect("made");
    std::fs::write(folder.path().join("files/stray"), b"stray").expect("written");
    clock.advance(Duration::from_secs(3601));
    let swept = store.sweep().await.expect("swept");
    assert_eq!((swept.expired, swept.bytes, swept.orphans), (STUCK as u64 + 1, 10, 1));
    let phase = async |id| store.inner.links.find(id).await.expect("read").expect("a row").phase;
    assert_eq!(phase(&last.id).await, super::ledger::Phase::Buried);
    for (id, path) in &stuck {
        assert_eq!(phase(id).await, super::ledger::Phase::Doomed);
        std::fs::remove_dir(path).expect("out of the way");
    }
    store.sweep().await.expect("swept");
    for (id, _) in &stuck {
        assert_eq!(phase(id).await, super::ledger::Phase::Buried);
    }
}

#[tokio::test]
async fn a_sweep_takes_as_many_batches_as_it_needs() {
    const LINKS: usize = 450;
    let (folder, clock, store) = fresh().await;
    let first = upload(&store, 5, false).await.expect("made");
    // As quickly as a database can be filled: the same row under other names, each with bytes of its own.
    let mut rows = rusqlite::Connection::open(folder.path().join("links.db")).expect("opened");
    let filling = rows.transaction().expect("begun");
    for n in 1..LINKS {
        let (id, blob) = (format!("{n:012}"), format!("{n:032x}"));
        let sql = "INSERT INTO links (id, phase, kind, owner, mime, size, sha256, blob, created_at, expires_at)
                   SELECT ?1, phase, kind, owner, mime, size, sha256, ?2, created_at, expires_at FROM links WHERE id = ?3";
        filling.execute(sql, [&id, &blob, first.id.as_str()]).expect("inserted");
        let at = folder.path().join("files").join(&blob[..2]).join(&blob[2..4]);
        std::fs::create_dir_all(&at).expect("a folder");
        std::fs::write(at.join(&blob), [7; 5]).expect("written");
    }
    filling.commit().expect("committed");
    clock.advance(Duration::from_secs(3600));
    let swept = store.sweep().await.expect("swept");
    assert_eq!((swept.expired, swept.bytes, swept.orphans), (LINKS as u64, 5 * LINKS as u64, 0));
    assert_eq!(files(folder.path()), [0; 0]);
    let buried = "SELECT count(*) FROM links WHERE phase = 3 AND blob = ''";
    let buried: i64 = rows.query_row(buried, [], |row| row.get(0)).expect("counted");
    assert_eq!(buried, LINKS as i64);
}

#[tokio::test]
async fn a_count_of_files_does_not_count_an_upload_twice_that_begins_meanwhile() {
    let (_folder, _, store) = fresh().await;
    let inner = &store.inner;
    let counting = inner.budget.begin_recount();
    let mut going = begin(&store, false, Some(50_000)).await.expect("begun");
    going.write(Bytes::from(vec![1; 50_000])).await.expect("taken");
    // What of it is on disk by the time its folder is counted.
    inner.budget.end_recount(counting, 50_000, Duration::ZERO, Timestamp::default());
    going.finish().await.expect("made");
    assert_eq!(inner.budget.used(), 50_000);
}

#[tokio::test]
async fn bytes_that_are_not_what_their_row_says_are_never_served_short() {
    let (folder, _, store) = fresh().await;
    let link = upload(&store, 50, false).await.expect("made");
    let path = folder.path().join("files").join(&link.blob[..2]).join(&link.blob[2..4]).join(&link.blob);
    std::fs::write(&path, b"short").expect("written");
    let error = store.read(access::read(link), None).await.err().expect("damaged");
    assert!(matches!(error, Error::Damaged(_)), "{error}");
}

#[tokio::test]
async fn what_came_behind_our_back_counts() {
    let (folder, clock, store) = fresh().await;
    std::fs::write(folder.path().join("files/stray"), vec![0; 1234]).expect("written");
    // A count that took long is not made again at once, nor waited for.
    clock.advance(Duration::from_secs(600));
    until(async || used(&store).await == 1234).await;
    store.sweep().await.expect("swept");
    assert_eq!(used(&store).await, 0);
}

#[tokio::test]
async fn a_foreign_or_newer_database_is_refused() {
    let clock: Arc<dyn Clock> = Arc::new(Manual::at(Timestamp::from_secs(1)));
    let try_open = async |sql: &str| {
        let folder = tempfile::tempdir().expect("a folder");
        let database = rusqlite::Connection::open(folder.path().join("links.db")).expect("opened");
        database.execute_batch(sql).expect("made");
        drop(database);
        let config = Config { path: folder.path().to_owned(), max_file_size: 1, max_storage: 1 };
        Store::open(config, Arc::clone(&clock)).await.err().expect("refused")
    };
    assert!(matches!(try_open("CREATE TABLE links (id TEXT)").await, Error::NotOurs { .. }));
    let newer = try_open("PRAGMA application_id = 1684304496; PRAGMA user_version = 99; CREATE TABLE t (x)").await;
    assert!(matches!(newer, Error::Newer { found: 99, .. }), "{newer}");
}

#[tokio::test]
async fn secrets_are_for_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let (folder, _, store) = fresh().await;
    upload(&store, 5, false).await.expect("made");
    let mode = |path: &Path| std::fs::metadata(path).expect("facts").permissions().mode() & 0o777;
    assert_eq!(mode(&folder.path().join("links.db")), 0o600);
    assert_eq!(mode(&folder.path().join("links.db-wal")), 0o600);
    assert_eq!(mode(&folder.path().join("files")), 0o700);
}

#[tokio::test]
async fn a_folder_that_cannot_be_used_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("file");
    std::fs::write(&file, b"").expect("written");
    let config = Config { path: file.join("storage"), max_file_size: 1, max_storage: 1 };
    let error = Store::open(config, Arc::new(Manual::at(Timestamp::default()))).await.err().expect("refused");
    assert!(error.to_string().contains("file/storage"), "{error}");
}

#[tokio::test]
async fn what_turns_out_not_to_be_wanted_leaves_nothing() {
    let (folder, _, store) = fresh().await;
    let digest = Sha256::of(b"spam");
    for (content, wanted) in [(&b"spam"[..], false), (b"no spam", true)] {
        let mut upload = begin(&store, false, None).await.expect("begun");
        upload.only_if(move |sha256| sha256 != digest);
        upload.write(Bytes::from_static(content)).await.expect("written");
        let id = upload.id().clone();
        match upload.finish().await {
            Ok(_) => assert!(wanted),
            Err(error) => assert!(!wanted && matches!(error, Error::Unwanted), "{error}"),
        }
        assert_eq!(matches!(store.find(&id).await, Ok(Lookup::Live(_))), wanted);
    }
    store.close().await;
    assert_eq!(files(folder.path()), [7], "and its bytes are gone");
}
