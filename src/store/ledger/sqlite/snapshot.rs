//! The rows as they were at one instant, in a file of their own: what a backup keeps.

use std::path::Path;

use rusqlite::{Connection, OpenFlags, OptionalExtension as _, params};

use super::{connect, schema};
use crate::identity::Sha256;
use crate::store::{Challenges, Error, millis};
use crate::units::Timestamp;

/// A copy of the rows.
pub struct Snapshot {
    connection: Connection,
}

/// A link with bytes, as its row has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its id.
    pub id: String,
    /// The name of its bytes.
    pub blob: String,
    /// How many they are.
    pub size: u64,
    /// Their digest.
    pub sha256: Sha256,
}

/// What there is to know of all rows together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Clients that were ever made.
    pub clients: u64,
    /// Admins with a certificate that can be used.
    pub admins: u64,
    /// When the newest row was made.
    pub newest: Option<Timestamp>,
}

/// Rows read at a time.
const PAGE: u32 = 500;

impl Snapshot {
    /// Copies the rows of a storage folder to a new file, whoever else reads and writes them meanwhile.
    ///
    /// # Errors
    /// When they are not ours or newer than this program, or cannot be copied.
    pub fn take(storage: &Path, into: &Path) -> Result<Self, Error> {
        let path = storage.join("links.db");
        std::fs::metadata(&path).map_err(|source| Error::io("open", &path, source))?;
        let live = connect(&path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        schema::check(&live, &path)?;
        live.execute("VACUUM INTO ?1", [text(into)?])?;
        let snapshot = Self::open(into)?;
        snapshot.connection.execute("ATTACH DATABASE ?1 AS live", [text(&path)?])?;
        Ok(snapshot)
    }

    /// Opens a copy.
    ///
    /// # Errors
    /// When it is not ours, newer than this program, or damaged.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        schema::check(&connection, path)?;
        // One file, with nothing beside it; whoever asked for it syncs it.
        connection.query_row("PRAGMA journal_mode = DELETE", [], |_| Ok(()))?;
        connection.pragma_update(None, "synchronous", "OFF")?;
        Ok(Self { connection })
    }

    /// Opens the rows of a storage folder themselves, to be looked at and not changed, also while a server runs.
    ///
    /// # Errors
    /// When they are not ours or newer than this program.
    pub fn look(storage: &Path) -> Result<Self, Error> {
        let path = storage.join("links.db");
        std::fs::metadata(&path).map_err(|source| Error::io("open", &path, source))?;
        let connection = connect(&path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        schema::check(&connection, &path)?;
        Ok(Self { connection })
    }

    /// Whether a link still leads to these bytes.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn still(&self, kept: &Kept) -> Result<bool, Error> {
        let sql = "SELECT 1 FROM main.links WHERE phase = 1 AND id = ?1 AND blob = ?2";
        Ok(self.connection.prepare_cached(sql)?.exists([&kept.id, &kept.blob])?)
    }

    /// What there is to know of all rows together.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn facts(&self, now: Timestamp) -> Result<Facts, Error> {
        let one = |sql: &str| self.connection.query_row(sql, [], |row| row.get::<_, Option<i64>>(0));
        let admins = "SELECT count(DISTINCT clients.id) FROM main.clients
                      JOIN main.certificates ON certificates.client = clients.id
                      WHERE clients.admin = 1 AND certificates.revoked_at IS NULL AND certificates.not_after > ?1";
        let count = |number: Option<i64>| number.unwrap_or_default().unsigned_abs();
        Ok(Facts {
            clients: count(one("SELECT count(*) FROM main.clients")?),
            admins: count(self.connection.query_row(admins, [millis(now)], |row| row.get(0))?),
            newest: one("SELECT max(created_at) FROM main.links WHERE phase = 1")?
                .max(one("SELECT max(created_at) FROM main.certificates")?)
                .map(Timestamp::from_millis),
        })
    }

    /// Whether SQLite finds every page, index and row as it has to be.
    ///
    /// # Errors
    /// With what is wrong.
    pub fn check(&self) -> Result<(), Error> {
        schema::integrity(&self.connection)
    }

    /// The links with bytes, by id, after this one; none: that was all.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn after(&self, id: &str) -> Result<Vec<Kept>, Error> {
        let sql = "SELECT id, blob, size, sha256 FROM main.links
                   WHERE phase = 1 AND blob <> '' AND id > ?1 ORDER BY id LIMIT ?2";
        let mut statement = self.connection.prepare_cached(sql)?;
        let rows = statement.query_map(params![id, PAGE], kept)?;
        rows.map(|row| row?).collect()
    }

    /// Takes one row over again, whose bytes are not there any more: the link has ended since the copy was taken, or
    /// leads to other bytes now, which are answered.
    ///
    /// # Errors
    /// [`Error::Damaged`] if its row says that nothing has changed.
    pub fn again(&self, was: &Kept) -> Result<Option<Kept>, Error> {
        let step = self.connection.unchecked_transaction()?;
        step.execute_batch("DROP TABLE IF EXISTS temp.fresh")?;
        step.execute("CREATE TEMP TABLE fresh AS SELECT * FROM live.links WHERE id = ?1", [&was.id])?;
        let phase = step.query_row("SELECT phase FROM temp.fresh", [], |row| row.get::<_, i64>(0)).optional()?;
        // What is counted per owner hangs on the changes of phase: out, and in again as what it is now.
        step.execute("UPDATE main.links SET phase = 2 WHERE id = ?1", [&was.id])?;
        step.execute("DELETE FROM main.links WHERE id = ?1", [&was.id])?;
        step.execute("UPDATE temp.fresh SET phase = 0", [])?;
        step.execute("INSERT INTO main.links SELECT * FROM temp.fresh", [])?;
        step.execute("UPDATE main.links SET phase = ?2 WHERE id = ?1", params![was.id, phase.unwrap_or_default()])?;
        step.commit()?;
        let sql = "SELECT id, blob, size, sha256 FROM main.links WHERE phase = 1 AND blob <> '' AND id = ?1";
        let now = self.connection.prepare_cached(sql)?.query_row([&was.id], kept).optional()?.transpose()?;
        if now.as_ref().is_some_and(|now| now.blob == was.blob) {
            return Err(Error::Damaged(format!("the bytes of link {} are not there", was.id)));
        }
        Ok(now)
    }

    /// A value the authority keeps.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn value(&self, name: &str) -> Result<Option<String>, Error> {
        let sql = "SELECT value FROM main.kept WHERE name = ?1";
        Ok(self.connection.query_row(sql, [name], |row| row.get(0)).optional()?)
    }

    /// Keeps a value.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn set_value(&self, name: &str, value: &str) -> Result<(), Error> {
        let sql = "INSERT INTO main.kept VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = excluded.value";
        self.connection.execute(sql, [name, value])?;
        Ok(())
    }

    /// Raises every kept number whose name begins with `prefix`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn raise_numbers(&self, prefix: &str, by: u32) -> Result<(), Error> {
        let sql = "UPDATE main.kept SET value = CAST(value AS INTEGER) + ?2 WHERE substr(name, 1, length(?1)) = ?1";
        self.connection.execute(sql, params![prefix, by])?;
        Ok(())
    }

    /// Ends what works once and may have worked after the copy was made: invites nobody had used, of which it answers
    /// how many there were, and challenges that were handed out.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn end_what_works_once(&self, now: Timestamp) -> Result<u64, Error> {
        let sql = "UPDATE main.invites SET withdrawn_at = ?1
                   WHERE used_at IS NULL AND withdrawn_at IS NULL AND expires_at > ?1";
        let ended = self.connection.execute(sql, [millis(now)])?;
        for challenges in Challenges::ALL {
            self.connection.execute("DELETE FROM main.kept WHERE name = ?1", [challenges.name()])?;
        }
        Ok(ended as u64)
    }

    /// Ends with all of it in the file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn close(self) -> Result<(), Error> {
        self.connection.close().map_err(|(_, error)| error.into())
    }
}

fn text(path: &Path) -> Result<&str, Error> {
    let odd = || std::io::Error::new(std::io::ErrorKind::InvalidInput, "the path is not UTF-8");
    path.to_str().ok_or_else(|| Error::io("open", path, odd()))
}

fn kept(row: &rusqlite::Row<'_>) -> Result<Result<Kept, Error>, rusqlite::Error> {
    let id: String = row.get(0)?;
    let digest: Vec<u8> = row.get(3)?;
    let Ok(sha256) = digest.try_into() else {
        return Ok(Err(Error::Damaged(format!("the row of link {id} has no usable digest"))));
    };
    Ok(Ok(Kept { id, blob: row.get(1)?, size: row.get::<_, i64>(2)?.unsigned_abs(), sha256: Sha256(sha256) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A database as the server makes it.
    fn live(folder: &Path) -> Connection {
        let path = folder.join("links.db");
        let mut live = Connection::open(&path).expect("made");
        schema::migrate(&mut live, &path).expect("ours");
        live.pragma_update(None, "journal_mode", "WAL").expect("set");
        live
    }

    const LINK: &str = "INSERT INTO links (id, phase, kind, owner, blob, size, sha256, created_at)
                        VALUES (?1, 0, 'file', ?2, ?3, ?4, zeroblob(32), 1)";

    fn totals(connection: &Connection) -> Vec<(String, i64, i64)> {
        let mut statement =
            connection.prepare("SELECT owner, links, bytes FROM main.totals ORDER BY owner").expect("sql");
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).expect("rows");
        rows.collect::<Result<_, _>>().expect("read")
    }

    #[test]
    fn a_row_that_changed_meanwhile_is_taken_again_and_counted_rightly() {
        let folder = tempfile::tempdir().expect("a folder");
        let live = live(folder.path());
        for (id, blob, size) in [("a", "1", 10), ("b", "2", 20), ("c", "3", 30)] {
            live.execute(LINK, params![id, "anonymous", blob, size]).expect("made");
            live.execute("UPDATE links SET phase = 1 WHERE id = ?1", [id]).expect("sealed");
        }
        let copy = folder.path().join("copy.db");
        let snapshot = Snapshot::take(folder.path(), &copy).expect("taken");
        let before = snapshot.after("").expect("read");
        assert_eq!(before.iter().map(|kept| kept.size).collect::<Vec<_>>(), [10, 20, 30]);
        assert!(matches!(snapshot.again(&before[0]), Err(Error::Damaged(_))), "nothing has changed");
        live.execute("UPDATE links SET phase = 3, blob = '' WHERE id = 'a'", []).expect("ended");
        live.execute("UPDATE links SET phase = 2 WHERE id = 'b'", []).expect("replaced");
        live.execute("UPDATE links SET phase = 1, blob = '4', size = 44 WHERE id = 'b'", []).expect("replaced");
        live.execute("DELETE FROM links WHERE id = 'c'", []).expect("forgotten");
        assert_eq!(snapshot.again(&before[0]).expect("taken again"), None);
        let replaced = snapshot.again(&before[1]).expect("taken again").expect("there");
        assert_eq!((replaced.blob.as_str(), replaced.size), ("4", 44));
        assert_eq!(snapshot.again(&before[2]).expect("taken again"), None);
        assert_eq!(snapshot.after("").expect("read"), [replaced]);
        assert_eq!(totals(&snapshot.connection), [(String::new(), 1, 44), ("anonymous".to_owned(), 1, 44)]);
        snapshot.check().expect("whole");
        snapshot.close().expect("closed");
        let beside = std::fs::read_dir(folder.path()).expect("a folder").flatten();
        let copies = beside.filter(|entry| entry.file_name().to_string_lossy().starts_with("copy.db")).count();
        assert_eq!(copies, 1, "one file and nothing beside it");
    }

    #[test]
    fn numbers_are_raised_by_their_names() {
        let folder = tempfile::tempdir().expect("a folder");
        drop(live(folder.path()));
        let snapshot = Snapshot::take(folder.path(), &folder.path().join("copy.db")).expect("taken");
        snapshot.set_value("list-a", "7").expect("kept");
        snapshot.set_value("other", "7").expect("kept");
        snapshot.raise_numbers("list-", 1000).expect("raised");
        assert_eq!(snapshot.value("list-a").expect("read").as_deref(), Some("1007"));
        assert_eq!(snapshot.value("other").expect("read").as_deref(), Some("7"));
        assert_eq!(snapshot.value("none").expect("read"), None);
    }

    #[test]
    fn what_is_not_ours_is_not_copied() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(matches!(Snapshot::take(folder.path(), &folder.path().join("c")), Err(Error::Storage { .. })));
        let other = Connection::open(folder.path().join("links.db")).expect("made");
        other.execute_batch("CREATE TABLE links (id)").expect("made");
        assert!(matches!(Snapshot::take(folder.path(), &folder.path().join("c")), Err(Error::NotOurs { .. })));
    }
}
