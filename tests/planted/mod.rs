//! Secrets that tests use, and logs none of them may be in, in whatever form it would have got there.
//!
//! A secret that a test makes up has [`MARK`] in it and needs no more than that; one that the program makes is planted
//! where a test gets hold of it, or found in the storage when its server has ended.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part of it")]
#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::Path;
use std::sync::{LazyLock, Mutex, PoisonError};

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD};
use rusqlite::OpenFlags;

/// What every secret has in it that a test makes up.
pub const MARK: &str = "planted-";
/// What servers are told to log: all they have to say, but not of every frame of HTTP/2, which for a few hundred MiB is as
/// much work as moving them.
pub const EVERYTHING: &str = "trace,h2=info";
/// Bytes a secret has at least: fewer could be anything's.
const SHORTEST: usize = 8;
/// Bytes of a long one that are looked for, at its beginning and in its middle: a log may show a part of it.
const PIECE: usize = 16;
/// Bytes by which a form is found.
const START: usize = 6;

static ALL: LazyLock<Mutex<Planted>> = LazyLock::new(|| {
    let mut all = Planted::default();
    all.plant("something a test made up", MARK.as_bytes());
    Mutex::new(all)
});

/// From now on this may be in no log.
pub fn plant(what: &'static str, secret: impl AsRef<[u8]>) {
    ALL.lock().unwrap_or_else(PoisonError::into_inner).plant(what, secret.as_ref());
}

/// Fails if a log has a planted secret, or a field that is not in the README's table.
pub fn check(log: &[u8]) {
    let found = ALL.lock().unwrap_or_else(PoisonError::into_inner).find(log);
    assert!(found.is_empty(), "secrets are in the log:\n{}", found.join("\n"));
    let unknown = unknown_fields(&String::from_utf8_lossy(log), &documented_fields());
    assert!(unknown.is_empty(), "fields of the log that README.md has not in its table: {unknown:?}");
}

/// The invites in a text: `ddrop://SECRET.ROOT@HOST`.
pub fn plant_invites(text: &str) {
    for secret in text.split("ddrop://").skip(1).filter_map(|rest| rest.split(['.', '@', '\n']).next()) {
        if secret.len() >= SHORTEST && secret.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        {
            plant("an invite", secret);
        }
    }
}

/// The ids in the links of a text.
pub fn plant_links(text: &str) {
    for rest in text.split("https://").skip(1).filter_map(|rest| rest.split_once('/')) {
        let id = rest.1.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
        if id.len() == 16 {
            plant("the id of a link", id);
        }
    }
}

/// Plants what a server keeps in its storage and may tell nobody: ids of links, content, keys, and what it signs
/// challenges with.
pub fn plant_storage(folder: &Path) {
    if let Ok(rows) = rusqlite::Connection::open_with_flags(folder.join("links.db"), OpenFlags::SQLITE_OPEN_READ_WRITE)
    {
        for (what, query) in [
            ("the id of a link", "SELECT id FROM links WHERE length(id) >= 8"),
            ("a secret of the server", "SELECT value FROM kept WHERE length(value) >= 32"),
        ] {
            let Ok(mut statement) = rows.prepare(query) else { continue };
            let values = statement.query_map([], |row| row.get::<_, String>(0)).expect("rows");
            values.for_each(|value| plant(what, value.expect("text")));
        }
    }
    plant_files(&folder.join("files"));
    plant_keys(&folder.join("pki"));
}

fn plant_files(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            plant_files(&entry.path());
        } else if let Ok(mut file) = std::fs::File::open(entry.path()) {
            let mut begin = Vec::new();
            std::io::Read::read_to_end(&mut std::io::Read::take(&mut file, 64), &mut begin).expect("readable");
            plant_content(&begin);
        }
    }
}

/// Content, if there is more of it than a word, which may be in a log for reasons of its own, and it is not the same all
/// over.
pub fn plant_content(content: &[u8]) {
    if content.len() >= PIECE && content.iter().any(|byte| Some(byte) != content.first()) {
        plant("content", content);
    }
}

/// Private keys in the files of a folder.
pub fn plant_keys(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            plant_keys(&entry.path());
        } else if entry.metadata().is_ok_and(|file| file.len() < 64 * 1024)
            && let Ok(text) = std::fs::read_to_string(entry.path())
        {
            plant_key(&text);
        }
    }
}

/// The private key in a PEM text, if there is one.
pub fn plant_key(pem: &str) {
    let Some((_, rest)) = pem.split_once("PRIVATE KEY-----\n") else { return };
    let base64: String = rest.lines().take_while(|line| !line.starts_with('-')).collect();
    let Ok(der) = base64::prelude::BASE64_STANDARD.decode(base64) else { return };
    // Before that it says what kind of key it is, which is the same for many. PEM breaks its lines after 48 bytes.
    plant("a private key", der.get(36..48).expect("a key is longer"));
    plant("a private key", der.get(48..64).unwrap_or(&der));
}

#[derive(Default)]
struct Planted {
    /// The forms in which each may be found, by their first bytes.
    forms: HashMap<[u8; START], Vec<Form>>,
    /// Which pairs of bytes any form begins with: few places of a log are looked at twice.
    begins: HashSet<[u8; 2]>,
    known: HashSet<Vec<u8>>,
}

struct Form {
    what: &'static str,
    bytes: Vec<u8>,
}

impl Planted {
    fn plant(&mut self, what: &'static str, secret: &[u8]) {
        assert!(secret.len() >= SHORTEST, "{what} is too short to be looked for: '{}'", secret.escape_ascii());
        let pieces = match secret.len() {
            0..=32 => vec![secret],
            long => vec![&secret[..PIECE], &secret[long / 2..long / 2 + PIECE]],
        };
        for piece in pieces {
            if self.known.insert(piece.to_vec()) {
                for bytes in forms(piece) {
                    let start = *bytes.first_chunk::<START>().expect("no form is shorter");
                    self.begins.insert([start[0], start[1]]);
                    self.forms.entry(start).or_default().push(Form { what, bytes });
                }
            }
        }
    }

    /// What is in a log, and on which lines. What a starting server prints for its operator is no log.
    fn find(&self, log: &[u8]) -> Vec<String> {
        let mut found = Vec::new();
        for line in log.split(|byte| *byte == b'\n').filter(|line| !is_greeting(line)) {
            for (at, start) in line.windows(START).enumerate() {
                if !self.begins.contains(&start[..2]) {
                    continue;
                }
                let start: &[u8; START] = start.try_into().expect("so long");
                let forms = self.forms.get(start).into_iter().flatten();
                found.extend(
                    forms
                        .filter(|form| line[at..].starts_with(&form.bytes))
                        .map(|form| format!("{} in {}", form.what, String::from_utf8_lossy(line))),
                );
            }
        }
        found.dedup();
        found
    }
}

fn is_greeting(line: &[u8]) -> bool {
    line.trim_ascii_start().starts_with(b"ddrop cert --configure ddrop://")
}

/// A secret as it may be written: as it is, escaped, in base64 at any place of a longer text, in hex, in percent, as
/// numbers.
fn forms(secret: &[u8]) -> BTreeSet<Vec<u8>> {
    let mut all = BTreeSet::from([secret.to_vec()]);
    let escaped = secret.escape_ascii().to_string();
    let json = |text: &str| serde_json::to_string(text).expect("JSON").trim_matches('"').as_bytes().to_vec();
    all.extend([json(&escaped), json(&String::from_utf8_lossy(secret)), escaped.into_bytes()]);
    all.extend([hex::encode(secret).into_bytes(), hex::encode_upper(secret).into_bytes()]);
    let percent = percent_encoding::percent_encode(secret, percent_encoding::NON_ALPHANUMERIC).to_string();
    all.extend([percent.to_lowercase().into_bytes(), percent.into_bytes()]);
    let numbers: Vec<String> = secret.iter().map(u8::to_string).collect();
    all.extend([numbers.join(", ").into_bytes(), numbers.join(",").into_bytes()]);
    for (before, skip) in [(0, 0), (1, 2), (2, 3)] {
        let mut text = vec![0; before];
        text.extend_from_slice(secret);
        for base64 in [BASE64_STANDARD_NO_PAD.encode(&text), BASE64_URL_SAFE_NO_PAD.encode(&text)] {
            // Of the characters at its ends a part says what stands beside it.
            let whole = text.len() * 8 / 6;
            all.insert(base64.as_bytes()[skip..whole].to_vec());
        }
    }
    all.retain(|form| form.len() >= SHORTEST);
    all
}

/// The words in the first column of the README's table of fields.
pub fn documented_fields() -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = std::fs::read_to_string(path).expect("README.md");
    let (_, rest) = readme.split_once("\n## Log\n").expect("README.md says what is logged");
    let section = rest.split("\n## ").next().unwrap_or(rest);
    let cells = section.lines().filter_map(|line| line.strip_prefix("| ")?.split(" |").next());
    cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).map(str::to_owned).collect()
}

/// Fields of our own lines that are not among these.
fn unknown_fields(log: &str, documented: &BTreeSet<String>) -> BTreeSet<String> {
    let mut unknown = BTreeSet::new();
    for line in log.lines().filter(|line| line.contains("\"target\":\"ddrop")) {
        let Ok(serde_json::Value::Object(fields)) = serde_json::from_str(line) else { continue };
        for (name, value) in &fields {
            let inner = value.as_object().filter(|_| name == "span");
            let inner = inner.into_iter().flatten().map(|(inner, _)| format!("span.{inner}"));
            let own = (name != "span").then(|| name.clone());
            unknown.extend(own.into_iter().chain(inner).filter(|name| !documented.contains(name)));
        }
    }
    unknown
}

/// That the check can fail.
#[test]
fn a_planted_secret_is_found_in_every_form_and_nothing_else_is() {
    let mut planted = Planted::default();
    let secret = b"S3cret \xff\"+ at hand";
    planted.plant("it", secret);
    let base64 = |text: &[u8]| base64::prelude::BASE64_STANDARD.encode(text);
    let logged = [
        secret.to_vec(),
        format!("{{\"cause\":\"{:?}\"}}", String::from_utf8_lossy(secret)).into_bytes(),
        serde_json::to_vec(&serde_json::json!({ "cause": format!("{:?}", bytes::Bytes::from_static(secret)) }))
            .expect("JSON"),
        format!("{secret:?}").into_bytes(),
        format!("authorization: Basic {}", base64(&[b"any:", &secret[..], b"?"].concat())).into_bytes(),
        base64(&[b"x", &secret[..]].concat()).into_bytes(),
        base64(&[b"xy", &secret[..], b"z"].concat()).into_bytes(),
        hex::encode(secret).into_bytes(),
        format!("/path?password={}", percent_encoding::percent_encode(secret, percent_encoding::NON_ALPHANUMERIC))
            .into_bytes(),
    ];
    for line in &logged {
        let log = [b"a line before\n", &line[..], b"\na line after"].concat();
        assert_eq!(planted.find(&log).len(), 1, "not found in {}", String::from_utf8_lossy(line));
    }
    assert_eq!(planted.find(b"S3cret is not at hand, it was"), Vec::<String>::new());
    planted.plant("long", &[&[b'x'; 500][..], b"the middle of it", &[b'y'; 500]].concat());
    assert_eq!(planted.find(b"a part: xxthe middle of ityyyyyyyyyy, no more").len(), 1);
    assert!(planted.find(b"    ddrop cert --configure ddrop://S3cret \xff\"+ at hand@host").is_empty());
    let fields = |line: &str| unknown_fields(line, &BTreeSet::from(["target".to_owned(), "span.id".to_owned()]));
    assert!(fields(r#"{"target":"ddrop::server","span":{"id":1}}"#).is_empty());
    assert!(fields(r#"{"target":"other","new":1}"#).is_empty());
    let unknown = fields(r#"{"target":"ddrop::server","new":1,"span":{"more":1}}"#);
    assert_eq!(unknown.into_iter().collect::<Vec<_>>(), ["new", "span.more"]);
}
