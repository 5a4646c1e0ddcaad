//! What the database looks like, and how an older one becomes a newer one.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use crate::store::Error;

/// `ddrp`: says whose file this is (SQLite's `application_id`).
pub(crate) const APPLICATION: i64 = 0x6464_7270;

/// One step each; the schema's number is how many were taken. A step that was released is never changed.
const STEPS: &[&str] = &[
    r"
    CREATE TABLE links (
        id            TEXT PRIMARY KEY NOT NULL,
        phase         INTEGER NOT NULL,           -- 0 pending, 1 ready, 2 doomed, 3 buried
        kind          TEXT NOT NULL,
        owner         TEXT NOT NULL,
        name          TEXT,
        mime          TEXT NOT NULL DEFAULT '',
        size          INTEGER NOT NULL DEFAULT 0,
        sha256        BLOB NOT NULL DEFAULT x'',
        blob          TEXT NOT NULL,              -- where the bytes are; '' once they are gone
        writer        TEXT,                       -- who reserved a pending row
        created_at    INTEGER NOT NULL,           -- times are milliseconds since 1970
        expires_at    INTEGER,                    -- NULL is never
        ended_at      INTEGER,
        burn          INTEGER NOT NULL DEFAULT 0,
        idle_millis   INTEGER,                    -- expires when not read for so long
        accessed_at   INTEGER,
        password      TEXT,                       -- a salted hash
        target        TEXT                        -- where a link of kind url leads
    ) WITHOUT ROWID;
    CREATE INDEX links_newest ON links (created_at DESC, id DESC) WHERE phase = 1;
    CREATE INDEX links_of_owner ON links (owner, created_at DESC, id DESC) WHERE phase = 1;
    CREATE INDEX links_overdue ON links (expires_at, owner, size) WHERE phase = 1 AND expires_at IS NOT NULL;
    CREATE INDEX links_pending ON links (id) WHERE phase = 0;
    CREATE INDEX links_doomed ON links (ended_at) WHERE phase = 2;
    CREATE INDEX links_buried ON links (ended_at) WHERE phase = 3;
    CREATE INDEX links_blob ON links (blob) WHERE phase < 3;

    -- Live links and their bytes by owner, so that counting them costs the same however many there are.
    CREATE TABLE totals (owner TEXT PRIMARY KEY NOT NULL, links INTEGER NOT NULL, bytes INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TRIGGER links_begin AFTER UPDATE OF phase ON links WHEN old.phase <> 1 AND new.phase = 1 BEGIN
        INSERT INTO totals VALUES (new.owner, 1, new.size)
            ON CONFLICT (owner) DO UPDATE SET links = links + 1, bytes = bytes + new.size;
        INSERT INTO totals VALUES ('', 1, new.size)
            ON CONFLICT (owner) DO UPDATE SET links = links + 1, bytes = bytes + new.size;
    END;
    CREATE TRIGGER links_end AFTER UPDATE OF phase ON links WHEN old.phase = 1 AND new.phase <> 1 BEGIN
        UPDATE totals SET links = links - 1, bytes = bytes - old.size WHERE owner IN (old.owner, '');
        DELETE FROM totals WHERE owner = old.owner AND links <= 0;
    END;

    CREATE TABLE clients (
        id            TEXT PRIMARY KEY NOT NULL,
        name          TEXT NOT NULL UNIQUE,
        admin         INTEGER NOT NULL,
        created_at    INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE certificates (
        sha256        BLOB PRIMARY KEY NOT NULL,
        sha1          BLOB NOT NULL,
        serial        TEXT NOT NULL,
        client        TEXT REFERENCES clients (id),
        profile       TEXT NOT NULL,
        subject       TEXT NOT NULL,
        issuer        BLOB,
        not_before    INTEGER NOT NULL,
        not_after     INTEGER NOT NULL,
        created_at    INTEGER NOT NULL,
        revoked_at    INTEGER,
        reason        INTEGER,
        der           BLOB
    ) WITHOUT ROWID;
    CREATE INDEX certificates_sha1 ON certificates (sha1);
    CREATE INDEX certificates_serial ON certificates (serial);
    CREATE INDEX certificates_client ON certificates (client, created_at DESC);
    CREATE INDEX certificates_newest ON certificates (created_at DESC, sha256);
    CREATE INDEX certificates_revoked ON certificates (issuer, not_after) WHERE revoked_at IS NOT NULL;
    CREATE TABLE invites (
        id            TEXT PRIMARY KEY NOT NULL,
        hash          BLOB NOT NULL UNIQUE,
        name          TEXT NOT NULL,
        admin         INTEGER NOT NULL,
        client        TEXT REFERENCES clients (id),
        created_by    TEXT NOT NULL,
        created_at    INTEGER NOT NULL,
        expires_at    INTEGER NOT NULL,
        used_at       INTEGER,
        withdrawn_at  INTEGER
    ) WITHOUT ROWID;
    CREATE TABLE kept (name TEXT PRIMARY KEY NOT NULL, value TEXT NOT NULL) WITHOUT ROWID;
    ",
    r"
    -- Tokens that were used and have not expired; and how many, and what expires no later counts as used too.
    CREATE TABLE spent (token BLOB PRIMARY KEY NOT NULL, expires_at INTEGER NOT NULL) WITHOUT ROWID;
    CREATE INDEX spent_first ON spent (expires_at);
    CREATE TABLE spent_sum (tokens INTEGER NOT NULL, up_to INTEGER NOT NULL);
    INSERT INTO spent_sum VALUES (0, 0);
    CREATE TRIGGER spent_more AFTER INSERT ON spent BEGIN UPDATE spent_sum SET tokens = tokens + 1; END;
    CREATE TRIGGER spent_less AFTER DELETE ON spent BEGIN UPDATE spent_sum SET tokens = tokens - 1; END;
    ",
    r"
    -- With all a query asks of a row in them (the phase too, or SQLite looks it up), lists skip and totals count what is
    -- over without reading the rows.
    DROP INDEX links_newest;
    DROP INDEX links_of_owner;
    DROP INDEX links_overdue;
    CREATE INDEX links_newest ON links (created_at DESC, id DESC, expires_at, phase) WHERE phase = 1;
    CREATE INDEX links_of_owner ON links (owner, created_at DESC, id DESC, expires_at, phase) WHERE phase = 1;
    CREATE INDEX links_overdue ON links (expires_at, owner, size, phase) WHERE phase = 1 AND expires_at IS NOT NULL;
    ",
    r"
    -- A link that lives can be given other bytes.
    CREATE TRIGGER links_resize AFTER UPDATE OF size ON links WHEN old.phase = 1 AND new.phase = 1 BEGIN
        UPDATE totals SET bytes = bytes + new.size - old.size WHERE owner IN (new.owner, '');
    END;
    ",
    r"
    -- In the order of the rows themselves: those that are buried together are on few pages then.
    DROP INDEX links_doomed;
    CREATE INDEX links_doomed ON links (id, ended_at) WHERE phase = 2;
    ",
    r"
    -- Not by the phase, which changes more often: with each change of it the entry would be written again.
    DROP INDEX links_blob;
    CREATE INDEX links_blob ON links (blob) WHERE blob <> '';
    ",
];

/// Whether the database is ours and not newer than this program.
pub(super) fn check(connection: &Connection, path: &Path) -> Result<(), Error> {
    let known = i64::try_from(STEPS.len()).unwrap_or(i64::MAX);
    let (application, version) = (number(connection, "application_id")?, number(connection, "user_version")?);
    if application != APPLICATION {
        return Err(Error::NotOurs { path: path.to_owned() });
    }
    if version > known {
        return Err(Error::Newer { path: path.to_owned(), found: version, known });
    }
    Ok(())
}

/// Whether SQLite finds every page, index and reference as it has to be.
pub(super) fn integrity(connection: &Connection) -> Result<(), Error> {
    let found: String = connection.query_row("PRAGMA main.integrity_check(1)", [], |row| row.get(0))?;
    if found != "ok" {
        return Err(Error::Damaged(found));
    }
    let lost = connection.prepare("PRAGMA main.foreign_key_check")?.exists([])?;
    if lost { Err(Error::Damaged("a row refers to one that is not there".to_owned())) } else { Ok(()) }
}

fn number(connection: &Connection, name: &str) -> Result<i64, rusqlite::Error> {
    connection.query_row(&format!("PRAGMA main.{name}"), [], |row| row.get(0))
}

/// Makes the database what this program needs, in one transaction per step; two processes may try at once.
pub(super) fn migrate(connection: &mut Connection, path: &Path) -> Result<(), Error> {
    let known = i64::try_from(STEPS.len()).unwrap_or(i64::MAX);
    loop {
        let step = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let (application, version) = (number(&step, "application_id")?, number(&step, "user_version")?);
        let tables: i64 = step.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        if application != APPLICATION && (application != 0 || version != 0 || tables != 0) {
            return Err(Error::NotOurs { path: path.to_owned() });
        }
        if version > known {
            return Err(Error::Newer { path: path.to_owned(), found: version, known });
        }
        let next = usize::try_from(version).ok().and_then(|taken| STEPS.get(taken));
        let Some(sql) = next else { return Ok(()) };
        step.execute_batch(sql)?;
        step.pragma_update(None, "application_id", APPLICATION)?;
        step.pragma_update(None, "user_version", version + 1)?;
        step.commit()?;
    }
}
