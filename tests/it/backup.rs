//! A backup made while others upload, read and end links, and the server that is restored from it.

use std::io::{Cursor, Read as _, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ddrop::backup::{self, Error};
use ddrop::clock::{Clock as _, Manual};
use ddrop::units::Timestamp;
use ddrop::{api, authority, store};
use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::app::{Setup, TestApp};
use crate::caller::{Caller, expect_problem};

async fn made(app: &TestApp) -> Vec<u8> {
    let (storage, now) = (app.folder().to_owned(), app.clock.now());
    let work = move || {
        let scratch = tempfile::tempdir().expect("a folder");
        let mut file = Vec::new();
        backup::write(&storage, scratch.path(), now, &mut file).expect("a backup");
        assert_eq!(std::fs::read_dir(scratch.path()).expect("a folder").count(), 0, "the copy of the rows is left");
        file
    };
    tokio::task::spawn_blocking(work).await.expect("made")
}

fn restored(file: &[u8], clock: &Manual) -> (tempfile::TempDir, backup::Restored) {
    let folder = tempfile::tempdir().expect("a folder");
    let restored = backup::read(file, folder.path(), false, clock.now()).expect("restored");
    (folder, restored)
}

/// The same person, with the certificate they have, at another server.
fn at(other: &TestApp, who: &Caller) -> Caller {
    Caller::new(other, who.credentials.clone())
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("a folder").flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_restored_server_serves_every_link_and_knows_every_revocation() {
    let app = TestApp::start().await;
    let (admin, alice, mallory) = (app.admin().await, app.client("alice").await, app.client("mallory").await);
    let (kept, once) = (alice.upload("kept").await, alice.upload_with("?burn=true", "once").await);
    let ended = alice.upload("ended").await;
    assert_eq!(alice.status(Method::DELETE, &format!("/api/links/{}", ended.id)).await, StatusCode::OK);
    let revoke = json!({"name": "mallory"});
    let revoked = admin.request(Method::POST, "/pki/revoke").json(&revoke).send().await.expect("answered");
    assert_eq!(revoked.status(), StatusCode::OK);
    let list_before = app.app.authority.crl().await.expect("a list");
    let file = made(&app).await;
    let (folder, said) = restored(&file, &app.clock);
    assert_eq!((said.links, said.bytes, said.aside), (2, 8, None));
    let other = TestApp::on(folder, app.clock.clone(), Setup::default()).await;
    assert_eq!(other.root_pem(), app.root_pem());
    let (admin, alice, mallory) = (at(&other, &admin), at(&other, &alice), at(&other, &mallory));
    for (link, bytes) in [(&kept, "kept"), (&once, "once")] {
        assert_eq!(alice.get(&format!("/{}", link.id)).await.text().await.expect("bytes"), bytes);
    }
    assert_eq!(alice.get(&format!("/{}", once.id)).await.status(), StatusCode::GONE);
    assert_eq!(alice.get(&format!("/{}", ended.id)).await.status(), StatusCode::GONE);
    assert_eq!(mallory.get("/api/links").await.status(), StatusCode::FORBIDDEN);
    let verified: api::Verified = admin.get("/pki/audit/verify").await.json().await.expect("an answer");
    assert!(verified.intact, "{verified:?}");
    let record: api::Audit = admin.get("/pki/audit?last=1").await.json().await.expect("the record");
    assert_eq!(record.events[0]["what"], "restore");
    let list_after = other.app.authority.crl().await.expect("a list");
    assert!(
        number(&list_after.bytes) > number(&list_before.bytes) + 1000,
        "lists made since the backup had those numbers"
    );
    let stats: api::Stats = alice.get("/api/stats").await.json().await.expect("stats");
    assert_eq!((stats.links, stats.bytes), (1, 4));
    other.close().await;
    app.close().await;
}

fn number(list: &[u8]) -> u64 {
    use x509_parser::prelude::FromDer as _;
    let (_, list) = x509_parser::revocation_list::CertificateRevocationList::from_der(list).expect("a list");
    let number = list.crl_number().expect("a number");
    number.iter_u64_digits().next().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_and_ends_that_race_a_backup_leave_it_consistent() {
    let mut setup = Setup::default();
    // However many they are: the clock stands still.
    setup.settings.abuse.gate.rate = None;
    let app = TestApp::with(setup).await;
    let alice = app.client("alice").await;
    let done = Arc::new(AtomicBool::new(false));
    let restless: Vec<_> = (0..4)
        .map(|number| {
            let (alice, done) = (alice.clone(), Arc::clone(&done));
            tokio::spawn(async move {
                let mut count = 0;
                while !done.load(Ordering::SeqCst) {
                    let link = alice.upload(format!("{number} {count} {}", "x".repeat(100 * (count % 50)))).await;
                    if count % 3 != 0 {
                        let path = format!("/api/links/{}", link.id);
                        assert_eq!(alice.status(Method::DELETE, &path).await, StatusCode::OK);
                    }
                    count += 1;
                }
                count
            })
        })
        .collect();
    let steady = alice.upload("there all the time").await;
    let mut backups = Vec::new();
    for _ in 0..25 {
        backups.push(made(&app).await);
    }
    done.store(true, Ordering::SeqCst);
    for task in restless {
        assert!(task.await.expect("no upload failed") > 0);
    }
    let mut sizes = std::collections::HashSet::new();
    for file in &backups {
        let (folder, said) = restored(file, &app.clock);
        sizes.insert(said.links);
        // Every row that is live has its bytes, there are none besides, and what is counted is what is there.
        let config = store::Config { path: folder.path().to_owned(), max_file_size: 1 << 20, max_storage: 1 << 30 };
        let store = store::Store::open(config, Arc::new(app.clock.clone())).await.expect("opened");
        let trust: Arc<dyn ddrop::clock::Clock> = Arc::new(app.clock.clone());
        let settings = crate::app::authority_config(folder.path());
        authority::Authority::open(settings, store.trust(), trust).await.expect("the same CA");
        let swept = store.sweep().await.expect("swept");
        assert_eq!(swept.bytes, 0, "{swept:?}");
        let rows = rusqlite::Connection::open(folder.path().join("links.db")).expect("opened");
        let sums = |sql| {
            let pair = rows.query_row(sql, [], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))).expect("sums");
            (pair.0.unsigned_abs(), pair.1.unsigned_abs())
        };
        let counted = sums("SELECT links, bytes FROM totals WHERE owner = ''");
        assert_eq!(counted, sums("SELECT count(*), sum(size) FROM links WHERE phase = 1"));
        assert_eq!(counted, (said.links, said.bytes));
        store.close().await;
    }
    assert!(sizes.len() > 1, "nothing went on meanwhile");
    let (folder, _) = restored(backups.last().expect("a backup"), &app.clock);
    let other = TestApp::on(folder, app.clock.clone(), Setup::default()).await;
    let again = at(&other, &alice);
    assert_eq!(again.get(&format!("/{}", steady.id)).await.text().await.expect("bytes"), "there all the time");
    other.close().await;
    app.close().await;
}

/// A small backup, and when it was made.
async fn small() -> (Vec<u8>, Timestamp) {
    let app = TestApp::start().await;
    let alice = app.client("alice").await;
    alice.upload("content").await;
    let file = made(&app).await;
    let now = app.clock.now();
    app.close().await;
    (file, now)
}

/// The error of restoring these bytes, after which there must be no trace of it.
fn refused(file: &[u8], now: Timestamp) -> Error {
    let outer = tempfile::tempdir().expect("a folder");
    let storage = outer.path().join("storage");
    let error = backup::read(file, &storage, false, now).expect_err("refused");
    assert_eq!(names(outer.path()), Vec::<String>::new(), "after {error}");
    std::fs::create_dir(&storage).expect("made");
    let again = backup::read(file, &storage, false, now).expect_err("refused");
    assert_eq!(names(&storage), Vec::<String>::new(), "after {again}");
    error
}

#[tokio::test]
async fn a_backup_that_was_cut_off_or_altered_is_not_restored() {
    let (file, now) = small().await;
    for length in [0, 1, 511] {
        assert!(matches!(refused(&file[..length], now), Error::NotABackup), "{length}");
    }
    // Every block of the beginning and the end, and some between; a cut within a block, too.
    let blocks = file.len() / 512 - 2;
    for block in (1..blocks).filter(|block| *block < 12 || *block + 6 > blocks || block % 37 == 0) {
        for length in [block * 512, block * 512 + 100] {
            let error = refused(&file[..length], now);
            assert!(matches!(error, Error::CutOff | Error::NotABackup), "{length}: {error}");
        }
        let mut altered = file.clone();
        altered[block * 512 + 7] ^= 1;
        let error = refused(&altered, now);
        assert!(matches!(error, Error::Damaged(_) | Error::NotABackup | Error::CutOff), "{block}: {error}");
    }
    let mut longer = file.clone();
    longer.extend_from_slice(b"more");
    assert!(matches!(refused(&longer, now), Error::Damaged(_)));
    let mut padded = file;
    padded.resize(padded.len().next_multiple_of(10_240), 0);
    let folder = tempfile::tempdir().expect("a folder");
    backup::read(padded.as_slice(), folder.path(), false, now).expect("tar fills archives up with zeros");
}

/// The entries of an archive.
fn entries(file: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut archive = tar::Archive::new(Cursor::new(file));
    let mut all = Vec::new();
    for entry in archive.entries().expect("an archive") {
        let mut entry = entry.expect("an entry");
        let name = entry.path().expect("a path").to_string_lossy().into_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).expect("read");
        all.push((name, bytes));
    }
    all
}

fn header(name: &str, kind: tar::EntryType, size: usize) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    // Written as it is: the library would not write a name that leads out.
    header.as_mut_bytes().split_at_mut(name.len()).0.copy_from_slice(name.as_bytes());
    header.set_entry_type(kind);
    header.set_size(size as u64);
    header.set_mode(0o600);
    header.set_cksum();
    header
}

/// An archive of these entries with a true digest at its end: what someone would make who wants it believed.
fn forged(entries: &[(String, tar::EntryType, Vec<u8>)]) -> Vec<u8> {
    let mut file = Vec::new();
    let put = |file: &mut Vec<u8>, name: &str, kind, bytes: &[u8]| {
        file.extend_from_slice(header(name, kind, bytes.len()).as_bytes());
        file.extend_from_slice(bytes);
        file.resize(file.len().next_multiple_of(512), 0);
    };
    for (name, kind, bytes) in entries {
        if name == "ddrop-backup.end" {
            let sha256 = ddrop::identity::Sha256::of(&file).to_string();
            put(&mut file, name, *kind, json!({ "sha256": sha256 }).to_string().as_bytes());
        } else {
            put(&mut file, name, *kind, bytes);
        }
    }
    file.extend_from_slice(&[0; 1024]);
    file
}

#[tokio::test]
async fn nothing_in_an_archive_leads_out_of_the_folder() {
    use tar::EntryType;
    let (file, now) = small().await;
    let regular = |(name, bytes): (String, Vec<u8>)| (name, EntryType::Regular, bytes);
    let whole: Vec<_> = entries(&file).into_iter().map(regular).collect();
    let folder = tempfile::tempdir().expect("a folder");
    backup::read(forged(&whole).as_slice(), folder.path(), false, now).expect("made like this it is believed");
    let blob = whole.iter().find(|entry| entry.0.starts_with("files/")).expect("bytes").0.clone();
    let stem = blob.rsplit('/').next().expect("a name");
    let names = [
        "../outside".to_owned(),
        "/tmp/outside".to_owned(),
        "pki/../outside".to_owned(),
        "pki/.lock".to_owned(),
        "pki/sub/root.key".to_owned(),
        "pki".to_owned(),
        "./links.db".to_owned(),
        "links.db-wal".to_owned(),
        "trust-epoch".to_owned(),
        format!("files/{stem}"),
        format!("files/00/00/{stem}"),
        format!("files//{}", &blob["files/".len()..]),
        format!("{blob}.part"),
        String::new(),
    ];
    for name in names {
        let mut more = whole.clone();
        more.insert(1, (name.clone(), EntryType::Regular, b"planted".to_vec()));
        let error = refused(&forged(&more), now);
        assert!(matches!(error, Error::Damaged(_)), "{name}: {error}");
    }
    for kind in [
        EntryType::Symlink,
        EntryType::Link,
        EntryType::Directory,
        EntryType::Fifo,
        EntryType::Char,
        EntryType::XHeader,
        EntryType::XGlobalHeader,
        EntryType::GNULongName,
        EntryType::GNUSparse,
    ] {
        let mut more = whole.clone();
        more.insert(1, ("pki/planted.key".to_owned(), kind, Vec::new()));
        let error = refused(&forged(&more), now);
        assert!(matches!(error, Error::Damaged(_)), "{kind:?}: {error}");
    }
}

#[tokio::test]
async fn a_backup_that_does_not_hold_what_its_rows_name_is_not_restored() {
    use tar::EntryType;
    let (file, now) = small().await;
    let regular = |(name, bytes): (String, Vec<u8>)| (name, EntryType::Regular, bytes);
    let whole: Vec<_> = entries(&file).into_iter().map(regular).collect();
    type Entries = Vec<(String, EntryType, Vec<u8>)>;
    let blob = |entries: &Entries| entries.iter().position(|entry| entry.0.starts_with("files/")).expect("bytes");
    let without = |name: &str| whole.iter().filter(|entry| entry.0 != name).cloned().collect::<Entries>();
    let mut other_bytes = whole.clone();
    let at = blob(&other_bytes);
    other_bytes[at].2 = b"CONTENT".to_vec();
    let mut stray = whole.clone();
    let name = format!("files/00/00/{}", "0".repeat(32));
    stray.insert(2, (name, EntryType::Regular, b"stray".to_vec()));
    let mut no_bytes = whole.clone();
    no_bytes.remove(at);
    let mut twice = whole.clone();
    twice.insert(at, whole[at].clone());
    let mut not_a_database = whole.clone();
    let rows = whole.iter().position(|entry| entry.0 == "links.db").expect("rows");
    not_a_database[rows].2[..100].fill(7);
    let mut rewritten = whole.clone();
    let record = whole.iter().position(|entry| entry.0 == "pki/audit.log").expect("the record");
    rewritten[record].2.truncate(0);
    for (what, entries) in [
        ("other bytes", other_bytes),
        ("a stray file", stray),
        ("no bytes", no_bytes),
        ("bytes twice", twice),
        ("rows that are none", not_a_database),
        ("a record cut short", rewritten),
        ("no rows", without("links.db")),
        ("no root", without("pki/root.crt")),
        ("no issuing CA", without("pki/issuing.crt")),
        ("no key", without("pki/issuing.key")),
        ("no head", without("ddrop-backup.json")),
    ] {
        let error = refused(&forged(&entries), now);
        assert!(!matches!(error, Error::Storage { .. } | Error::Read(_)), "{what}: {error:?}");
    }
    let mut newer = whole;
    newer[0].2 = json!({"format": 2, "version": "9", "made_at": "2030-01-01T00:00:00Z"}).to_string().into_bytes();
    assert!(matches!(refused(&forged(&newer), now), Error::Newer(2)));
}

#[tokio::test]
async fn other_files_are_not_backups() {
    let (file, now) = small().await;
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(&file).expect("packed");
    let mut tar = tar::Builder::new(Vec::new());
    tar.append(&header("a.txt", tar::EntryType::Regular, 3), b"abc".as_slice()).expect("an entry");
    for other in [packed.finish().expect("packed"), tar.into_inner().expect("an archive"), vec![0; 4096], vec![7; 9000]]
    {
        assert!(matches!(refused(&other, now), Error::NotABackup));
    }
}

#[tokio::test]
async fn what_works_once_does_not_work_again_after_a_restore() {
    let open = || {
        let mut setup = Setup::default();
        setup.settings.policy.allow_anonymous = true;
        setup.settings.abuse.gate.difficulty = 4;
        setup.settings.open_registration = true;
        setup.settings.register_difficulty = 4;
        setup
    };
    let app = TestApp::with(open()).await;
    let invite = app.invite("bob", false).await;
    let alice = app.client("alice").await;
    let nobody = app.anonymous();
    let work = async |path: &str| {
        let challenge: api::Challenge = nobody.get(path).await.json().await.expect("a challenge");
        let puzzle = ddrop::abuse::Puzzle::new(&challenge.nonce.expect("a nonce"), challenge.difficulty);
        (challenge.token.expect("a token"), puzzle.search(0, 1, u64::MAX).expect("a solution").to_string())
    };
    let (link, register) = (work("/api/challenge").await, work("/register/challenge").await);
    let file = made(&app).await;
    let spend = async |app: &TestApp, path: &str, (token, solution): &(String, String)| {
        let request = app.anonymous().request(Method::POST, path).header("x-pow-token", token);
        let request = request.header("x-pow-solution", solution).json(&json!({"common_name": "carol"}));
        request.send().await.expect("answered").status()
    };
    // Each is used once after the backup was made.
    assert_eq!(spend(&app, "/", &link).await, StatusCode::CREATED);
    assert_eq!(spend(&app, "/", &link).await, StatusCode::BAD_REQUEST);
    assert_eq!(spend(&app, "/register", &register).await, StatusCode::OK);
    let bob = Caller::enroll(&app, &invite, "bob").await;
    assert_eq!(bob.get("/api/links").await.status(), StatusCode::OK);
    let (folder, said) = restored(&file, &app.clock);
    assert_eq!(said.invites, 1, "alice's was used before");
    let other = TestApp::on(folder, app.clock.clone(), open()).await;
    assert_eq!(spend(&other, "/", &link).await, StatusCode::BAD_REQUEST);
    assert_eq!(spend(&other, "/register", &register).await, StatusCode::BAD_REQUEST);
    let csr = pki::request::make(&pki::key::Key::generate(pki::key::Algorithm::P256).expect("a key"), "bob");
    let enrol = other.anonymous().request(Method::POST, "/pki/enroll");
    let enrol = enrol.header("authorization", format!("Invite {}", invite.reveal())).body(csr.expect("a request"));
    expect_problem(enrol.send().await.expect("answered"), 403, "invite_withdrawn").await;
    // Who was known is, and who was not has to be invited again.
    assert_eq!(at(&other, &alice).get("/api/links").await.status(), StatusCode::OK);
    assert_eq!(at(&other, &bob).get("/api/links").await.status(), StatusCode::FORBIDDEN);
    let anew = Caller::enroll(&other, &other.invite("bob", false).await, "bob").await;
    assert_eq!(anew.get("/api/links").await.status(), StatusCode::OK);
    other.close().await;
    app.close().await;
}

#[tokio::test]
async fn what_is_there_is_never_mixed_with_what_is_restored() {
    let app = TestApp::start().await;
    let alice = app.client("alice").await;
    let link = alice.upload("content").await;
    let file = made(&app).await;
    let now = app.clock.now();
    let in_use = backup::read(file.as_slice(), app.folder(), true, now);
    assert!(matches!(in_use, Err(Error::InUse(_))), "{in_use:?}");
    let later = alice.upload("later").await;
    let (folder, clock) = app.stop().await;
    let refused = backup::read(file.as_slice(), folder.path(), false, now);
    assert!(matches!(refused, Err(Error::NotEmpty(_))), "{refused:?}");
    std::fs::write(folder.path().join("notes.txt"), "the operator's own").expect("written");
    let damaged = backup::read(&file[..file.len() - 2048], folder.path(), true, now);
    assert!(damaged.is_err() && !names(folder.path()).iter().any(|name| name.starts_with("replaced-")));
    let said = backup::read(file.as_slice(), folder.path(), true, now).expect("restored");
    let aside = said.aside.expect("there was something");
    assert!(names(&aside).iter().any(|name| name == "pki") && names(&aside).iter().any(|name| name == "files"));
    assert!(folder.path().join("notes.txt").exists() && !folder.path().join(".restoring").exists());
    let app = TestApp::on(folder, clock, Setup::default()).await;
    let alice = at(&app, &alice);
    assert_eq!(alice.get(&format!("/{}", link.id)).await.text().await.expect("bytes"), "content");
    assert_eq!(alice.get(&format!("/{}", later.id)).await.status(), StatusCode::NOT_FOUND);
    let modes = |path: &str| {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::metadata(app.folder().join(path)).expect("there").permissions().mode() & 0o777
    };
    assert_eq!((modes("links.db"), modes("pki"), modes("pki/root.key"), modes("files")), (0o600, 0o700, 0o600, 0o700));
    app.close().await;
}

#[tokio::test]
async fn damaged_content_is_found_when_the_backup_is_made() {
    let app = TestApp::start().await;
    let alice = app.client("alice").await;
    let link = alice.upload("content").await;
    let path = app.files().pop().expect("a file");
    let write = |bytes: &[u8]| {
        std::fs::write(&path, bytes).expect("written");
        let scratch = tempfile::tempdir().expect("a folder");
        backup::write(app.folder(), scratch.path(), app.clock.now(), std::io::sink())
    };
    for bytes in [b"CONTENT".as_slice(), b"short", b"content and more"] {
        let error = write(bytes).expect_err("damaged");
        assert!(matches!(&error, Error::Content(id) if id == link.id.as_str()), "{error}");
    }
    std::fs::remove_file(&path).expect("removed");
    let scratch = tempfile::tempdir().expect("a folder");
    let gone = backup::write(app.folder(), scratch.path(), app.clock.now(), std::io::sink());
    assert!(matches!(&gone, Err(Error::Content(id)) if id == link.id.as_str()), "{gone:?}");
    std::fs::write(&path, "content").expect("written");
    app.close().await;
}
