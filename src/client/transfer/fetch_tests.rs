use std::collections::VecDeque;
use std::fs;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::Response;

use super::*;
use crate::client::test::{self, Asked, Body, full};
use crate::client::tls::Anchors;
use crate::client::transfer::Silent;

const CONTENT: &[u8] = b"0123456789abcdef";

const AT_ONCE: Patience = Patience { attempts: 3, pause: Duration::ZERO, stall: Duration::from_secs(20) };

/// How the next request is answered.
#[derive(Clone, Copy)]
enum Turn {
    /// Rightly, range or not.
    Right,
    /// So many bytes of what was asked for, then the connection breaks.
    Cut(usize),
    /// The whole, whatever was asked for, as another version.
    Changed,
    /// With this status.
    Status(u16),
    /// Rightly, but for one bit.
    Damaged,
}

struct Served {
    url: Url,
    asked: Arc<Mutex<Vec<Option<String>>>>,
}

impl Served {
    /// The `Range` of every request so far.
    fn ranges(&self) -> Vec<Option<String>> {
        self.asked.lock().expect("no panic").clone()
    }
}

async fn serve(turns: &[Turn]) -> Served {
    let turns = Mutex::new(VecDeque::from(turns.to_vec()));
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked);
    let url = test::http(move |request: Asked| {
        let range = request.headers().get("range").map(|value| value.to_str().expect("text").to_owned());
        assert_eq!(range.is_some(), request.headers().contains_key("if-range"));
        seen.lock().expect("no panic").push(range.clone());
        let turn = turns.lock().expect("no panic").pop_front().unwrap_or(Turn::Right);
        let start = range.and_then(|r| r.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()).unwrap_or(0);
        respond(turn, start)
    })
    .await;
    Served { url: url.join("abcd1234").expect("a URL"), asked }
}

fn respond(turn: Turn, start: usize) -> Response<Body> {
    let changed: Vec<u8> = CONTENT.iter().rev().copied().collect();
    let (content, etag, start) = match turn {
        Turn::Status(status) => return test::answer(status, ""),
        Turn::Changed => (changed.as_slice(), "\"2\"", 0),
        _ => (CONTENT, "\"1\"", start),
    };
    if start >= content.len() {
        return test::answer(416, "");
    }
    let digest = BASE64_STANDARD.encode(Sha256::of(content).0);
    let mut response = Response::builder()
        .header("etag", etag)
        .header("content-length", content.len() - start)
        .header("content-disposition", "attachment; filename=\"build.tar.gz\"")
        .header("repr-digest", format!("sha-256=:{digest}:"));
    if start > 0 {
        let range = format!("bytes {start}-{}/{}", content.len() - 1, content.len());
        response = response.status(206).header("content-range", range);
    }
    let mut bytes = content[start..].to_vec();
    let body = match turn {
        Turn::Cut(length) => cut(&bytes[..length]),
        Turn::Damaged => {
            bytes[0] ^= 1;
            full(bytes)
        }
        _ => full(bytes),
    };
    response.body(body).expect("a response")
}

fn cut(bytes: &[u8]) -> Body {
    let first = stream::iter([Ok(Frame::data(Bytes::copy_from_slice(bytes)))]);
    let then = stream::once(async {
        // Lets the server send what it has before it learns of the end.
        tokio::task::yield_now().await;
        Err(std::io::Error::other("the test breaks the connection"))
    });
    BodyExt::boxed(StreamBody::new(first.chain(then)))
}

fn client(served: &Served) -> Client {
    let mut base = served.url.clone();
    base.set_path("/");
    Client::anonymous(base, Anchors::Anyone, Arc::new(crate::clock::System)).expect("a client")
}

async fn fetch(served: &Served, to: Destination<'_>, patience: Patience, replace: bool) -> Result<Fetched, Error> {
    let client = client(served);
    let (begun, mut to) = (std::time::Instant::now(), to);
    loop {
        let again = match &to {
            Destination::Folder(path) => Some(Destination::Folder(path.clone())),
            Destination::File(path) => Some(Destination::File(path.clone())),
            Destination::Stream(_) => None,
        };
        let fetch = Fetch { client: &client, url: served.url.clone(), replace, patience, progress: &Silent };
        match (fetch.run(to).await, again) {
            // A program that a test beside this one starts has all locks of this process for a moment.
            (Err(Error::Busy(_)), Some(again)) if begun.elapsed() < Duration::from_secs(10) => to = again,
            (outcome, _) => return outcome,
        }
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    let mut names: Vec<_> =
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

const ONCE: Patience = Patience { attempts: 1, ..AT_ONCE };

#[tokio::test]
async fn it_is_saved_under_the_links_own_name() {
    let dir = tempfile::tempdir().expect("a folder");
    let served = serve(&[]).await;
    let fetched = fetch(&served, Destination::Folder(dir.path().into()), ONCE, false).await.expect("fetched");
    assert!(fetched.checked);
    assert_eq!(fetched.path, Some(dir.path().join("build.tar.gz")));
    assert_eq!(fs::read(dir.path().join("build.tar.gz")).expect("there"), CONTENT);
    assert_eq!(names(dir.path()), ["build.tar.gz"]);
}

#[tokio::test]
async fn an_interruption_is_overcome_in_the_same_fetch() {
    let dir = tempfile::tempdir().expect("a folder");
    let served = serve(&[Turn::Cut(5), Turn::Cut(3), Turn::Status(503), Turn::Right]).await;
    let place = dir.path().join("out");
    fetch(&served, Destination::File(place.clone()), AT_ONCE, false).await.expect("fetched");
    assert_eq!(fs::read(place).expect("there"), CONTENT);
    let range = |text: &str| Some(text.to_owned());
    assert_eq!(served.ranges(), [None, range("bytes=5-"), range("bytes=8-"), range("bytes=8-")]);
}

#[tokio::test]
async fn an_interrupted_fetch_is_continued_by_the_next() {
    let dir = tempfile::tempdir().expect("a folder");
    let served = serve(&[Turn::Cut(5)]).await;
    let to = || Destination::Folder(dir.path().into());
    assert!(fetch(&served, to(), ONCE, false).await.is_err());
    assert_eq!(names(dir.path()), ["abcd1234.part", "abcd1234.part.json"]);
    fetch(&served, to(), ONCE, false).await.expect("fetched");
    assert_eq!(served.ranges(), [None, Some("bytes=5-".to_owned())]);
    assert_eq!(fs::read(dir.path().join("build.tar.gz")).expect("there"), CONTENT);
    assert_eq!(names(dir.path()), ["build.tar.gz"]);
}

#[tokio::test]
async fn another_version_is_fetched_from_its_beginning() {
    let dir = tempfile::tempdir().expect("a folder");
    let served = serve(&[Turn::Cut(5), Turn::Changed]).await;
    let place = dir.path().join("out");
    fetch(&served, Destination::File(place.clone()), AT_ONCE, false).await.expect("fetched");
    let reversed: Vec<u8> = CONTENT.iter().rev().copied().collect();
    assert_eq!(fs::read(place).expect("there"), reversed);
}

#[tokio::test]
async fn damaged_content_never_appears() {
    let dir = tempfile::tempdir().expect("a folder");
    let served = serve(&[Turn::Damaged]).await;
    let outcome = fetch(&served, Destination::File(dir.path().join("out")), ONCE, false).await;
    assert!(matches!(outcome, Err(Error::Digest { .. })), "{outcome:?}");
    assert_eq!(names(dir.path()), [""; 0]);
}

#[tokio::test]
async fn a_part_that_was_damaged_on_disk_is_fetched_again() {
    let dir = tempfile::tempdir().expect("a folder");
    let served = serve(&[Turn::Cut(5)]).await;
    let place = dir.path().join("out");
    assert!(fetch(&served, Destination::File(place.clone()), ONCE, false).await.is_err());
    fs::write(dir.path().join("out.part"), "XXXXX").expect("written");
    fetch(&served, Destination::File(place.clone()), ONCE, false).await.expect("fetched");
    assert_eq!(fs::read(place).expect("there"), CONTENT);
    assert_eq!(served.ranges(), [None, Some("bytes=5-".to_owned()), None]);
}

#[tokio::test]
async fn a_part_that_is_whole_needs_no_server() {
    let dir = tempfile::tempdir().expect("a folder");
    let served = serve(&[Turn::Cut(5)]).await;
    let place = dir.path().join("out");
    assert!(fetch(&served, Destination::File(place.clone()), ONCE, false).await.is_err());
    fs::write(dir.path().join("out.part"), CONTENT).expect("written");
    fetch(&served, Destination::File(place.clone()), ONCE, false).await.expect("fetched");
    assert_eq!(fs::read(place).expect("there"), CONTENT);
    assert_eq!(served.ranges(), [None]);
}

#[tokio::test]
async fn what_is_there_is_not_asked_for() {
    let dir = tempfile::tempdir().expect("a folder");
    let served = serve(&[]).await;
    let place = dir.path().join("out");
    fs::write(&place, "old").expect("written");
    let outcome = fetch(&served, Destination::File(place.clone()), ONCE, false).await;
    assert!(matches!(outcome, Err(Error::Exists(_))));
    assert_eq!(served.ranges(), []);
    fetch(&served, Destination::File(place.clone()), ONCE, true).await.expect("replaced");
    assert_eq!(fs::read(&place).expect("there"), CONTENT);
}

#[tokio::test]
async fn the_links_own_name_replaces_nothing_either() {
    let dir = tempfile::tempdir().expect("a folder");
    let served = serve(&[]).await;
    fs::write(dir.path().join("build.tar.gz"), "old").expect("written");
    let outcome = fetch(&served, Destination::Folder(dir.path().into()), ONCE, false).await;
    assert!(matches!(outcome, Err(Error::Exists(_))));
    assert_eq!(names(dir.path()), ["build.tar.gz"]);
    assert_eq!(fs::read(dir.path().join("build.tar.gz")).expect("there"), b"old");
}

#[tokio::test]
async fn what_is_not_there_leaves_nothing_and_is_not_tried_again() {
    let dir = tempfile::tempdir().expect("a folder");
    for status in [404, 410] {
        let served = serve(&[Turn::Status(status)]).await;
        let error = fetch(&served, Destination::File(dir.path().join("out")), AT_ONCE, false).await.expect_err("gone");
        assert_eq!(error.outcome(), Outcome::Missing);
        assert_eq!(served.ranges().len(), 1);
    }
    assert_eq!(names(dir.path()), [""; 0]);
}

#[tokio::test]
async fn patience_ends() {
    let dir = tempfile::tempdir().expect("a folder");
    let served = serve(&[Turn::Cut(5), Turn::Cut(0), Turn::Cut(0), Turn::Cut(0)]).await;
    let error = fetch(&served, Destination::File(dir.path().join("out")), AT_ONCE, false).await.expect_err("broken");
    assert_eq!(error.outcome(), Outcome::Failed);
    assert_eq!(served.ranges().len(), 3);
}

#[tokio::test]
async fn a_stream_goes_on_after_an_interruption_and_is_checked() {
    let served = serve(&[Turn::Cut(5), Turn::Right]).await;
    let mut out = Vec::new();
    fetch(&served, Destination::Stream(&mut out), AT_ONCE, false).await.expect("fetched");
    assert_eq!(out, CONTENT);

    let served = serve(&[Turn::Damaged]).await;
    let outcome = fetch(&served, Destination::Stream(&mut Vec::new()), ONCE, false).await;
    assert!(matches!(outcome, Err(Error::Digest { .. })));
}

#[tokio::test]
async fn a_stream_is_never_begun_twice() {
    let served = serve(&[Turn::Cut(5), Turn::Changed]).await;
    let mut out = Vec::new();
    assert!(fetch(&served, Destination::Stream(&mut out), AT_ONCE, false).await.is_err());
    assert_eq!(out, &CONTENT[..5]);
}

#[tokio::test]
async fn a_dot_file_is_not_written_unless_that_is_said() {
    let dir = tempfile::tempdir().expect("a folder");
    let url = test::http(|_| {
        let named = Response::builder().header("content-disposition", "attachment; filename=\".bashrc\"");
        named.body(full("evil")).expect("a response")
    })
    .await;
    let served = Served { url: url.join("abcd1234").expect("a URL"), asked: Arc::default() };
    assert!(fetch(&served, Destination::Folder(dir.path().into()), ONCE, false).await.is_err());
    assert_eq!(names(dir.path()), [""; 0]);
    let fetched = fetch(&served, Destination::File(dir.path().join(".bashrc")), ONCE, false).await.expect("said");
    assert!(!fetched.checked);
}
