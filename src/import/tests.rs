//! Installations of other programs, made as their documents describe them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt as _;
use tempfile::TempDir;

use super::deaddrop::DeadDrop;
use super::{Error, Outcome, Source, import};
use crate::access;
use crate::clock::{Clock as _, Manual};
use crate::identity::Owner;
use crate::link::Link;
use crate::store::{Config, Lookup, Store};
use crate::units::Timestamp;

/// 2027-01-15T08:00:00Z.
pub(super) const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

pub(super) struct Here {
    folder: TempDir,
    pub(super) clock: Manual,
    pub(super) store: Store,
}

impl Here {
    pub(super) async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let clock = Manual::at(NOW);
        let store = open(folder.path(), &clock).await;
        Self { folder, clock, store }
    }

    pub(super) async fn import(&self, source: &dyn Source) -> Result<Outcome, Error> {
        let permit = access::adopt();
        import(source, Some((&self.store, Some(&permit))), self.clock.now()).await
    }

    pub(super) async fn link(&self, id: &str) -> Option<Link> {
        match self.store.find(&id.parse().expect("an id")).await.expect("read") {
            Lookup::Live(link) => Some(*link),
            _ => None,
        }
    }

    pub(super) async fn content(&self, id: &str) -> String {
        let link = self.link(id).await.expect("a link");
        let content = self.store.read(access::read(link), None).await.expect("read").expect("live");
        let bytes: Vec<_> = content.try_collect().await.expect("bytes");
        String::from_utf8(bytes.concat()).expect("text")
    }
}

async fn open(folder: &Path, clock: &Manual) -> Store {
    let config = Config { path: folder.to_owned(), max_file_size: u64::MAX, max_storage: u64::MAX };
    Store::open(config, Arc::new(clock.clone())).await.expect("opened")
}

/// A storage folder with this in its `links.db`, and these files.
fn deaddrop(sql: &str, files: &[(&str, &str)]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let storage = folder.path().join("storage");
    std::fs::create_dir_all(storage.join("files")).expect("made");
    for (name, content) in files {
        let path = storage.join("files").join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, content).expect("written");
    }
    let database = rusqlite::Connection::open(storage.join("links.db")).expect("opened");
    database.execute_batch(sql).expect("made");
    (folder, storage)
}

const LINKS: &str = "CREATE TABLE links (id INTEGER PRIMARY KEY, short_id TEXT UNIQUE, filename TEXT, path TEXT,
    size INTEGER, content_type TEXT, created_at TEXT, expires_at TEXT);";

fn rows(rows: &str) -> String {
    format!(
        "{LINKS} INSERT INTO links (short_id, filename, path, size, content_type, created_at, expires_at) VALUES {rows};"
    )
}

pub(super) fn failures(outcome: &Outcome) -> Vec<(&str, &str)> {
    outcome.failed.iter().map(|failure| (failure.id.as_str(), failure.why.as_str())).collect()
}

#[tokio::test]
async fn deaddrops_links_keep_what_they_had() {
    let sql = rows(
        "('abc123', 'build.tar.gz', '/data/files/f1', 5, 'application/gzip', '2027-01-15 07:00:00.5', '2027-01-15 09:00:00'),
         ('forever', '../../näme.txt', 'files/f2', NULL, NULL, NULL, NULL),
         ('over00', 'x', 'f3', 1, NULL, '2027-01-15 06:00:00', '2027-01-15 07:00:00'),
         ('by-own-id', 'x', NULL, 3, NULL, '2027-01-15T07:00:00+00:00', '2027-01-15T11:00:00+02:00'),
         ('with-name', 'x', NULL, 4, NULL, '1799999000', '1800003600')",
    );
    let files = [("f1", "12345"), ("f2", ""), ("f3", "x"), ("by-own-id", "own"), ("with-name_x", "four")];
    let (_folder, storage) = deaddrop(&sql, &files);
    let here = Here::new().await;
    let source = DeadDrop::open(&storage).expect("opened");
    let outcome = here.import(&source).await.expect("imported");
    assert_eq!((outcome.imported, outcome.bytes, outcome.expired, outcome.there), (4, 12, 1, 0));
    assert_eq!(failures(&outcome), []);
    assert_eq!(outcome.owners.into_iter().collect::<Vec<_>>(), [("token".to_owned(), 4)]);
    let link = here.link("abc123").await.expect("there");
    assert_eq!((link.owner, link.mime.as_str(), link.size), (Owner::Token, "application/gzip", 5));
    assert_eq!(link.name.expect("a name").as_str(), "build.tar.gz");
    assert_eq!(link.created_at, Timestamp::from_millis(1_799_996_400_500));
    assert_eq!(link.expires_at, Some(Timestamp::from_secs(1_800_003_600)));
    assert_eq!(here.content("abc123").await, "12345");
    let link = here.link("forever").await.expect("there");
    assert_eq!((link.expires_at, link.name.expect("a name").as_str()), (None, "näme.txt"));
    assert_eq!(here.link("by-own-id").await.expect("there").expires_at, Some(Timestamp::from_secs(1_800_003_600)));
    assert_eq!((here.content("by-own-id").await, here.content("with-name").await), ("own".into(), "four".into()));
    assert!(here.link("over00").await.is_none());
    here.clock.advance(Duration::from_secs(2 * 3600));
    assert!(here.link("abc123").await.is_none(), "it ends when it was to end");
}

#[tokio::test]
async fn a_second_import_adds_nothing_and_brings_nothing_back() {
    let (_folder, storage) =
        deaddrop(&rows("('first1', 'a', 'a', 1, NULL, 1799999000, NULL)"), &[("a", "a"), ("b", "b")]);
    let here = Here::new().await;
    let source = DeadDrop::open(&storage).expect("opened");
    assert_eq!(here.import(&source).await.expect("imported").imported, 1);
    let database = rusqlite::Connection::open(storage.join("links.db")).expect("opened");
    let more = "INSERT INTO links (short_id, path, expires_at) VALUES ('second', 'b', NULL)";
    database.execute_batch(more).expect("one more");
    let again = here.import(&source).await.expect("imported");
    assert_eq!((again.imported, again.there, again.failed.len()), (1, 1, 0));
    // Ended by its owner, and forgotten since.
    let principal = crate::identity::Principal {
        tier: crate::identity::Tier::Admin,
        owner: Owner::Token,
        name: None,
        proof: crate::identity::Proof::Token,
        address: None,
    };
    let link = here.link("first1").await.expect("there");
    let permit = access::manage(&principal, link, access::Policy::default()).expect("allowed");
    here.store.expire(permit).await.expect("expired");
    here.clock.advance(Duration::from_secs(8 * 24 * 3600));
    here.store.sweep().await.expect("swept");
    let last = here.import(&source).await.expect("imported");
    assert_eq!((last.imported, last.there), (0, 2));
    assert!(here.link("first1").await.is_none());
}

#[tokio::test]
async fn an_import_that_was_broken_off_goes_on() {
    let (_folder, storage) = deaddrop(&rows("('first1', 'a', 'a', 1, NULL, 1799999000, NULL)"), &[("a", "a")]);
    let here = Here::new().await;
    let source = DeadDrop::open(&storage).expect("opened");
    here.import(&source).await.expect("imported");
    // As if it had ended between the link and the note that it was taken over.
    let database = rusqlite::Connection::open(here.folder.path().join("links.db")).expect("opened");
    assert_eq!(database.execute("DELETE FROM kept WHERE name = 'imported:first1'", []).expect("deleted"), 1);
    let again = here.import(&source).await.expect("imported");
    assert_eq!((again.imported, again.there, again.failed.len()), (0, 1, 0));
}

#[tokio::test]
async fn no_row_makes_a_link_of_another_file() {
    let sql = rows(
        "('absolute', 'x', '/etc/hostname', NULL, NULL, NULL, NULL),
         ('climbing', 'x', '../secret', NULL, NULL, NULL, NULL),
         ('symbolic', 'x', 'symlink', NULL, NULL, NULL, NULL),
         ('../secret', 'x', NULL, NULL, NULL, NULL, NULL),
         ('database', 'x', '../links.db', NULL, NULL, NULL, NULL),
         ('smaller1', 'x', 'short', 7, NULL, NULL, NULL),
         ('nonsense', 'x', 'short', 5, NULL, NULL, 'soon'),
         ('nothing1', 'x', NULL, NULL, NULL, NULL, NULL),
         (NULL, 'x', NULL, NULL, NULL, NULL, NULL)",
    );
    let (_folder, storage) = deaddrop(&sql, &[("short", "short")]);
    std::fs::write(storage.join("secret"), "secret").expect("written");
    std::os::unix::fs::symlink(storage.join("secret"), storage.join("files/symlink")).expect("linked");
    let here = Here::new().await;
    let source = DeadDrop::open(&storage).expect("opened");
    let outcome = here.import(&source).await.expect("imported");
    assert_eq!(outcome.imported, 0, "{outcome:?}");
    let why = failures(&outcome);
    assert_eq!(why.len(), 9, "{why:?}");
    for (id, words) in [
        ("absolute", "its file is not in"),
        ("climbing", "its file is not in"),
        ("symbolic", "its file is not in"),
        ("../secret", "not a link id"),
        ("database", "its file is not in"),
        ("smaller1", "should have 7"),
        ("nonsense", "'soon', which is no time"),
        ("nothing1", "its file is not in"),
        ("", "it has no id"),
    ] {
        assert!(why.iter().any(|(failed, why)| *failed == id && why.contains(words)), "{id}: {why:?}");
    }
    assert_eq!(here.store.find(&"absolute".parse().expect("an id")).await.expect("read"), Lookup::Unknown);
}

#[tokio::test]
async fn another_links_id_is_not_taken_over() {
    let (_one, first) = deaddrop(&rows("('same12', 'a', 'a', 1, NULL, 1799999000, NULL)"), &[("a", "a")]);
    let (_two, second) = deaddrop(&rows("('same12', 'b', 'b', 1, NULL, 1799990000, NULL)"), &[("b", "b")]);
    let here = Here::new().await;
    here.import(&DeadDrop::open(&first).expect("opened")).await.expect("imported");
    let outcome = here.import(&DeadDrop::open(&second).expect("opened")).await.expect("imported");
    assert_eq!(failures(&outcome), [("same12", "there is another link of that id here")]);
    assert_eq!(here.content("same12").await, "a");
}

#[tokio::test]
async fn a_dry_run_says_the_same_and_changes_nothing() {
    let sql = rows("('first1', 'a', 'a', 1, NULL, 1799999000, NULL), ('lost12', 'x', 'gone', 1, NULL, NULL, NULL)");
    let (_folder, storage) = deaddrop(&sql, &[("a", "a")]);
    let here = Here::new().await;
    let source = DeadDrop::open(&storage).expect("opened");
    for into in [None, Some((&here.store, None))] {
        let outcome = import(&source, into, NOW).await.expect("looked at");
        assert_eq!((outcome.imported, outcome.bytes, outcome.failed.len()), (1, 1, 1));
    }
    assert!(here.link("first1").await.is_none());
    here.import(&source).await.expect("imported");
    let outcome = import(&source, Some((&here.store, None)), NOW).await.expect("looked at");
    assert_eq!((outcome.imported, outcome.there), (0, 1));
}

#[test]
fn an_unknown_schema_is_told_as_such() {
    let of = |sql: &str| {
        let (_folder, storage) = deaddrop(sql, &[]);
        let opened = DeadDrop::open(&storage).and_then(|source| source.links(NOW).map(drop));
        opened.expect_err("refused").to_string()
    };
    for (sql, words) in [
        ("CREATE TABLE notes (id)", "no table of links (links, link, files, uploads); there is notes"),
        ("", "no tables at all"),
        ("CREATE TABLE links (number)", "no column for the short id"),
        ("CREATE TABLE links (short_id)", "no column for the end of a link"),
        ("PRAGMA application_id = 1684304496; CREATE TABLE links (id)", "is a database of ddrop itself"),
    ] {
        let said = of(sql);
        assert!(said.contains(words), "{said}");
    }
    let folder = tempfile::tempdir().expect("a folder");
    assert!(matches!(DeadDrop::open(folder.path()), Err(Error::Folder { .. })));
    std::fs::create_dir(folder.path().join("files")).expect("made");
    std::fs::write(folder.path().join("links.db"), "not a database at all, but long enough to look").expect("written");
    assert!(matches!(DeadDrop::open(folder.path()), Err(Error::Open { .. })));
}
