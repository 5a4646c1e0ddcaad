//! FlaskPaste's database: pastes, short URLs, and the certificates its owners are known by.

use std::collections::{HashMap, HashSet};
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::types::Value;
use url::Url;

use super::foreign::{Foreign, Table, flag, instant, media_type, quoted, text};
use super::{Error, Found, Known, Source};
use crate::identity::{Owner, Sha1};
use crate::link::{FileName, Kind, PasswordHash};
use crate::password;
use crate::units::Timestamp;

const PASTES: &[&str] = &["pastes", "paste"];
const URLS: &[&str] = &["short_urls", "urls", "shorturls", "short_url"];
const CERTIFICATES: &[&str] = &["issued_certificates", "certificates", "client_certificates", "pki_certificates"];
const REVOKED: &[&str] = &["revoked_certificates", "certificate_revocations", "revocations"];

const ID: &[&str] = &["id", "paste_id", "short_id", "code"];
const CONTENT: &[&str] = &["content", "data", "body"];
const MIME: &[&str] = &["mime_type", "content_type", "mimetype"];
const OWNER: &[&str] = &["owner", "owner_fingerprint", "fingerprint", "owner_sha1"];
const CREATED: &[&str] = &["created_at", "created"];
const ACCESSED: &[&str] = &["last_accessed", "last_accessed_at", "accessed_at", "last_access"];
const EXPIRES: &[&str] = &["expires_at", "expires", "expiry"];
const BURN: &[&str] = &["burn_after_read", "burn"];
const PASSWORD: &[&str] = &["password_hash", "password"];
const NAME: &[&str] = &["display_name", "name"];
const TARGET: &[&str] = &["target_url", "url", "target"];
const SHA1: &[&str] = &["fingerprint_sha1", "fingerprint", "sha1"];
const SERIAL: &[&str] = &["serial", "serial_number"];
const COMMON_NAME: &[&str] = &["common_name", "cn", "subject"];

const DAY: Duration = Duration::from_secs(24 * 3600);

/// An installation of FlaskPaste.
pub struct FlaskPaste {
    database: Foreign,
    pastes: Table,
    issued: HashMap<Sha1, Issued>,
    /// Whose links are to be whose, as the operator says.
    owners: HashMap<Sha1, Owner>,
}

/// A certificate of FlaskPaste's CA.
struct Issued {
    name: Option<String>,
    revoked: bool,
}

impl FlaskPaste {
    /// Opens its database. `owners`: who among ours the holder of a certificate is, as far as that is known.
    ///
    /// # Errors
    /// When it is none.
    pub fn open(path: &Path, owners: HashMap<Sha1, Owner>) -> Result<Self, Error> {
        if let Err(source) = std::fs::metadata(path) {
            return Err(Error::Folder { path: path.to_owned(), source });
        }
        let database = Foreign::open(path)?;
        let pastes = database.need_table("pastes", PASTES)?;
        let issued = issued(&database)?;
        Ok(Self { database, pastes, issued, owners })
    }

    fn found(&self, kind: Kind, row: Vec<Value>, now: Timestamp) -> Found {
        let mut values = row.into_iter();
        let mut next = || values.next().unwrap_or(Value::Null);
        let Some(id) = text(&next()) else {
            return Found::Unusable { id: String::new(), why: "it has no id".to_owned() };
        };
        let row = Row {
            id,
            owner: text(&next()),
            created: next(),
            accessed: next(),
            expires: next(),
            mime: text(&next()),
            burn: flag(&next()),
            password: text(&next()),
            name: text(&next()),
            target: text(&next()),
        };
        match self.link(kind, &row, now) {
            Ok(Some(known)) => Found::Link(Box::new(known)),
            Ok(None) => Found::Ended,
            Err(why) => Found::Unusable { id: row.id, why },
        }
    }

    fn link(&self, kind: Kind, row: &Row, now: Timestamp) -> Result<Option<Known>, String> {
        let time = |what: &str, value: &Value| {
            instant(value).map_err(|text| format!("the time of its {what} is '{text}', which is no time"))
        };
        let (created_at, accessed_at) = (time("making", &row.created)?, time("last reading", &row.accessed)?);
        let (owner, idle) = self.owner(row.owner.as_deref())?;
        let fixed = time("end", &row.expires)?;
        // One without a fixed end is kept alive by its readers; a short URL is for ever.
        let idle = (fixed.is_none() && kind == Kind::Paste).then_some(idle);
        let expires_at = fixed.or_else(|| Some(accessed_at.or(created_at).unwrap_or(now).after(idle?)));
        if expires_at.is_some_and(|end| end <= now) {
            return Ok(None);
        }
        Ok(Some(Known {
            id: row.id.parse().map_err(|error: crate::link::Error| error.to_string())?,
            kind,
            owner,
            name: row.name.as_deref().and_then(FileName::clean),
            mime: media_type(row.mime.as_deref()),
            created_at,
            expires_at,
            idle,
            accessed_at,
            burn: row.burn,
            password: row.password.as_deref().map(password_hash).transpose()?,
            target: (kind == Kind::Url).then(|| target(row.target.as_deref())).transpose()?,
            place: PathBuf::new(),
        }))
    }

    /// Whose it will be, and how long it lives unread there: a day for nobody's, a week for a stranger's, thirty days for
    /// those of a certificate that FlaskPaste has issued.
    fn owner(&self, text: Option<&str>) -> Result<(Owner, Duration), String> {
        let Some(text) = text else { return Ok((Owner::Anonymous, DAY)) };
        let sha1: Sha1 = text
            .to_ascii_lowercase()
            .parse()
            .map_err(|_| format!("its owner is '{text}', which is no SHA-1 fingerprint"))?;
        let issued = self.issued.get(&sha1);
        let idle = if issued.is_some_and(|issued| !issued.revoked) { DAY * 30 } else { DAY * 7 };
        let owner = match self.owners.get(&sha1) {
            Some(owner) => owner.clone(),
            // Whoever holds a key that was revoked is not who the links are for: they are the operator's to give.
            None if issued.is_some_and(|issued| issued.revoked) => Owner::Token,
            None => Owner::Sha1(sha1),
        };
        Ok((owner, idle))
    }
}

/// What is read of a row.
struct Row {
    id: String,
    owner: Option<String>,
    created: Value,
    accessed: Value,
    expires: Value,
    mime: Option<String>,
    burn: bool,
    password: Option<String>,
    name: Option<String>,
    target: Option<String>,
}

/// Certificates of FlaskPaste's CA by SHA-1; none where it has none.
fn issued(database: &Foreign) -> Result<HashMap<Sha1, Issued>, Error> {
    let Some(table) = database.table(CERTIFICATES)? else { return Ok(HashMap::new()) };
    let Some(sha1) = table.column(SHA1) else { return Ok(HashMap::new()) };
    let serials = revoked_serials(database)?;
    let columns = [
        Some(sha1),
        table.column(COMMON_NAME),
        table.column(SERIAL),
        table.column(&["revoked", "is_revoked"]),
        table.column(&["revoked_at"]),
        table.column(&["status"]),
    ];
    let mut issued = HashMap::new();
    for row in database.rows(&table, &columns)? {
        let mut values = row.into_iter();
        let mut next = || values.next().unwrap_or(Value::Null);
        let sha1 = text(&next()).and_then(|text| text.to_ascii_lowercase().parse().ok());
        let (name, serial) = (text(&next()), text(&next()));
        let (revoked, at, status) = (next(), next(), text(&next()));
        let revoked = flag(&revoked)
            || !matches!(at, Value::Null)
            || status.is_some_and(|status| status.eq_ignore_ascii_case("revoked"))
            || serial.is_some_and(|serial| serials.contains(&serial.to_ascii_lowercase()));
        if let Some(sha1) = sha1 {
            issued.insert(sha1, Issued { name, revoked });
        }
    }
    Ok(issued)
}

fn revoked_serials(database: &Foreign) -> Result<HashSet<String>, Error> {
    let Some(table) = database.table(REVOKED)? else { return Ok(HashSet::new()) };
    let Some(serial) = table.column(SERIAL) else { return Ok(HashSet::new()) };
    let rows = database.rows(&table, &[Some(serial)])?;
    Ok(rows.iter().flatten().filter_map(text).map(|serial| serial.to_ascii_lowercase()).collect())
}

/// A hash of a password as it is kept here; written by FlaskPaste, or by the library it is made with.
fn password_hash(text: &str) -> Result<PasswordHash, String> {
    let ours = match text.strip_prefix("pbkdf2:sha256:").map(|rest| rest.split('$').collect::<Vec<_>>()) {
        Some(parts) => match parts.as_slice() {
            [rounds, salt, hash] => format!("$pbkdf2-sha256${rounds}${}${hash}", hex::encode(salt)),
            _ => String::new(),
        },
        None => text.to_owned(),
    };
    let kept = PasswordHash::from_kept(ours);
    if password::is_usable(&kept) {
        return Ok(kept);
    }
    // Without the password it would be open to everyone.
    Err("it has a password, which is kept in a way this program does not know".to_owned())
}

/// An address a short URL may lead to.
fn target(text: Option<&str>) -> Result<String, String> {
    const LONGEST: usize = 2048;
    let text = text.ok_or("it leads nowhere")?;
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    match url {
        Some(url) if text.len() <= LONGEST && !text.chars().any(char::is_control) => Ok(url.into()),
        _ => Err("it leads to something that is no address on the web".to_owned()),
    }
}

impl Source for FlaskPaste {
    fn links(&self, now: Timestamp) -> Result<Vec<Found>, Error> {
        let table = &self.pastes;
        table.need("the content", CONTENT)?;
        let columns = [
            Some(table.need("the id", ID)?),
            table.column(OWNER),
            table.column(CREATED),
            table.column(ACCESSED),
            table.column(EXPIRES),
            table.column(MIME),
            table.column(BURN),
            table.column(PASSWORD),
            table.column(NAME),
        ];
        let rows = self.database.rows(table, &columns)?;
        let mut found: Vec<Found> = rows.into_iter().map(|row| self.found(Kind::Paste, row, now)).collect();
        if let Some(table) = self.database.table(URLS)? {
            let columns = [
                Some(table.need("the id", ID)?),
                table.column(OWNER),
                table.column(CREATED),
                table.column(ACCESSED),
                table.column(EXPIRES),
                None,
                None,
                None,
                None,
                Some(table.need("the address", TARGET)?),
            ];
            let rows = self.database.rows(&table, &columns)?;
            found.extend(rows.into_iter().map(|row| self.found(Kind::Url, row, now)));
        }
        Ok(found)
    }

    fn open(&self, link: &Known) -> Result<(Box<dyn Read>, u64), Error> {
        let table = &self.pastes;
        let (id, content) = (table.need("the id", ID)?, table.need("the content", CONTENT)?);
        let (id, content, table) = (quoted(id), quoted(content), quoted(&table.name));
        let sql = format!("SELECT CAST({content} AS BLOB) FROM {table} WHERE {id} = ?1");
        let mut statement = self.database.connection.prepare_cached(&sql)?;
        let bytes: Option<Vec<u8>> = statement.query_row([link.id.as_str()], |row| row.get(0))?;
        let bytes = bytes.ok_or_else(|| Error::Missing("it has no content".to_owned()))?;
        let size = bytes.len() as u64;
        Ok((Box::new(Cursor::new(bytes)), size))
    }

    fn name_of(&self, owner: &Owner) -> Result<Option<String>, Error> {
        let Owner::Sha1(sha1) = owner else { return Ok(None) };
        Ok(self.issued.get(sha1).and_then(|issued| issued.name.clone()))
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::identity::ClientId;
    use crate::import::tests::{Here, NOW, failures};

    const ALICE: &str = "000102030405060708090a0b0c0d0e0f10111213";
    const MALLORY: &str = "ffffffffffffffffffffffffffffffffffffffff";
    const STRANGER: &str = "1111111111111111111111111111111111111111";

    fn database(rows: &str) -> (TempDir, PathBuf) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("pastes.db");
        let schema = format!(
            "CREATE TABLE pastes (id TEXT PRIMARY KEY, content BLOB NOT NULL, mime_type TEXT NOT NULL, owner TEXT,
                 created_at INTEGER NOT NULL, last_accessed INTEGER NOT NULL, burn_after_read INTEGER NOT NULL DEFAULT 0,
                 expires_at INTEGER, password_hash TEXT, display_name TEXT);
             CREATE TABLE short_urls (id TEXT PRIMARY KEY, target_url TEXT NOT NULL, owner TEXT, created_at INTEGER,
                 expires_at INTEGER);
             CREATE TABLE issued_certificates (serial TEXT PRIMARY KEY, common_name TEXT, fingerprint_sha1 TEXT,
                 revoked_at INTEGER);
             INSERT INTO issued_certificates VALUES ('01', 'alice', '{ALICE}', NULL), ('02', 'mallory', '{MALLORY}', 1);
             {rows}"
        );
        rusqlite::Connection::open(&path).expect("opened").execute_batch(&schema).expect("made");
        (folder, path)
    }

    fn open(path: &Path) -> FlaskPaste {
        FlaskPaste::open(path, HashMap::new()).expect("opened")
    }

    fn secs(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    #[tokio::test]
    async fn pastes_keep_what_they_had() {
        let hash = password::hash(b"hunter2").expect("random bytes");
        let rows = format!(
            "INSERT INTO pastes VALUES
                ('abcdef012345', 'hello', 'text/plain', '{ALICE}', 1799990000, 1799999000, 0, NULL, NULL, 'notes.txt'),
                ('abcdef012346', x'00ff', 'image/png', NULL, 1799990000, 1799999000, 1, 1800000600, NULL, NULL),
                ('abcdef012347', 'secret', 'text/plain', '{STRANGER}', 1799990000, 1799999000, 0, NULL, '{}', NULL),
                ('abcdef012348', 'stale', 'text/plain', NULL, 1799900000, 1799900001, 0, NULL, NULL, NULL),
                ('abcdef012349', 'over', 'text/plain', NULL, 1799900000, 1799999999, 0, 1799999999, NULL, NULL);
             INSERT INTO short_urls VALUES ('Ab3dEf12', 'https://example.org/a?b=c', '{ALICE}', 1799990000, NULL),
                ('Ab3dEf13', 'javascript:alert(1)', NULL, 1799990000, NULL);",
            hash.as_str()
        );
        let (_folder, path) = database(&rows);
        let here = Here::new().await;
        let outcome = here.import(&open(&path)).await.expect("imported");
        assert_eq!((outcome.imported, outcome.expired, outcome.bytes), (4, 2, 13));
        assert_eq!(failures(&outcome), [("Ab3dEf13", "it leads to something that is no address on the web")]);
        let alice = format!("sha1:{ALICE}");
        assert_eq!(
            (outcome.owners.get(&alice), outcome.names.get(&alice).map(String::as_str)),
            (Some(&2), Some("alice"))
        );
        let link = here.link("abcdef012345").await.expect("there");
        assert_eq!((link.kind, link.owner.to_string(), link.mime.as_str()), (Kind::Paste, alice, "text/plain"));
        assert_eq!((link.created_at, link.accessed_at), (secs(1_799_990_000), Some(secs(1_799_999_000))));
        assert_eq!((link.idle, link.expires_at), (Some(DAY * 30), Some(secs(1_799_999_000).after(DAY * 30))));
        assert_eq!(link.name.expect("a name").as_str(), "notes.txt");
        assert_eq!(here.content("abcdef012345").await, "hello");
        let once = here.link("abcdef012346").await.expect("there");
        assert_eq!((once.burn, once.owner, once.idle), (true, Owner::Anonymous, None));
        assert_eq!(once.expires_at, Some(secs(1_800_000_600)));
        let locked = here.link("abcdef012347").await.expect("there");
        assert_eq!(locked.idle, Some(DAY * 7));
        let kept = locked.password.expect("a password");
        assert!(password::verify(&kept, b"hunter2") && !password::verify(&kept, b"hunter3"));
        let url = here.link("Ab3dEf12").await.expect("there");
        assert_eq!((url.kind, url.target.as_deref()), (Kind::Url, Some("https://example.org/a?b=c")));
        let again = here.import(&open(&path)).await.expect("imported");
        assert_eq!((again.imported, again.there, again.expired), (0, 4, 2));
    }

    #[test]
    fn hashes_of_the_library_it_is_made_with_are_understood_and_no_others() {
        // Python: hashlib.pbkdf2_hmac("sha256", b"password", b"saltsalt", 1000).hex()
        let hash = "135f7a66144fcf0fb003ce048f31f024ed5cbff30525d3ba0bfb3199479362a6";
        let kept = password_hash(&format!("pbkdf2:sha256:1000$saltsalt${hash}")).expect("understood");
        assert!(password::verify(&kept, b"password"));
        for unknown in ["hunter2", "scrypt:32768:8:1$salt$00", "$argon2id$v=19$m=1$x$y", "pbkdf2:sha256:x$y$z"] {
            assert!(password_hash(unknown).is_err(), "{unknown}");
        }
    }

    #[tokio::test]
    async fn a_paste_whose_password_is_not_understood_is_not_opened_to_everyone() {
        let rows = "INSERT INTO pastes VALUES
            ('abcdef012345', 'secret', 'text/plain', NULL, 1799990000, 1799999000, 0, NULL, 'scrypt$x', NULL)";
        let (_folder, path) = database(rows);
        let here = Here::new().await;
        let outcome = here.import(&open(&path)).await.expect("imported");
        assert_eq!(
            failures(&outcome),
            [("abcdef012345", "it has a password, which is kept in a way this program does not know")]
        );
        assert!(here.link("abcdef012345").await.is_none());
    }

    #[tokio::test]
    async fn owners_are_whom_the_operator_names_and_a_revoked_key_owns_nothing() {
        let rows = format!(
            "INSERT INTO pastes VALUES
                ('abcdef012345', 'a', 'text/plain', '{ALICE}', 1799990000, 1799999000, 0, NULL, NULL, NULL),
                ('abcdef012346', 'm', 'text/plain', '{}', 1799990000, 1799999000, 0, NULL, NULL, NULL),
                ('abcdef012347', 's', 'text/plain', 'bob', 1799990000, 1799999000, 0, NULL, NULL, NULL)",
            MALLORY.to_ascii_uppercase()
        );
        let (_folder, path) = database(&rows);
        let here = Here::new().await;
        let alice = Owner::Client(ClientId::from_kept("a1".to_owned()));
        let owners = HashMap::from([(ALICE.parse().expect("a fingerprint"), alice.clone())]);
        let source = FlaskPaste::open(&path, owners).expect("opened");
        let outcome = here.import(&source).await.expect("imported");
        assert_eq!(failures(&outcome), [("abcdef012347", "its owner is 'bob', which is no SHA-1 fingerprint")]);
        assert_eq!(here.link("abcdef012345").await.expect("there").owner, alice);
        assert_eq!(here.link("abcdef012346").await.expect("there").owner, Owner::Token);
    }

    #[test]
    fn an_unknown_schema_is_told_as_such() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("pastes.db");
        let database = rusqlite::Connection::open(&path).expect("opened");
        let refused = || {
            let opened = FlaskPaste::open(&path, HashMap::new()).and_then(|source| source.links(NOW).map(drop));
            opened.expect_err("refused").to_string()
        };
        assert!(refused().contains("no tables at all"));
        database.execute_batch("CREATE TABLE pastes (id, text)").expect("made");
        assert!(refused().contains("no column for the content (content, data, body); it has id, text"));
        assert!(FlaskPaste::open(&folder.path().join("none.db"), HashMap::new()).is_err());
    }
}
