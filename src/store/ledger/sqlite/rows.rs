//! Rows as they are read.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _, Row as SqlRow};

use crate::identity::Sha256;
use crate::link::{FileName, Link, PasswordHash};
use crate::store::Error;
use crate::store::ledger::{Phase, Row};
use crate::units::Timestamp;

pub(super) const COLUMNS: &str =
    "id, phase, kind, owner, name, mime, size, sha256, blob, created_at, expires_at, ended_at, burn,
    idle_millis, accessed_at, password, target";

fn phase(number: i64) -> Option<Phase> {
    match number {
        0 => Some(Phase::Pending),
        1 => Some(Phase::Ready),
        2 => Some(Phase::Doomed),
        3 => Some(Phase::Buried),
        _ => None,
    }
}

/// Reads a row of [`COLUMNS`].
pub(super) fn read(row: &SqlRow<'_>) -> Result<Row, Error> {
    let id: String = row.get(0)?;
    let damaged = |what: &str| Error::Damaged(format!("the row of link {id} has no usable {what}"));
    let kind: String = row.get(2)?;
    let owner: String = row.get(3)?;
    let name: Option<String> = row.get(4)?;
    let digest: Vec<u8> = row.get(7)?;
    let sha256 = if digest.is_empty() { [0; 32] } else { digest.try_into().map_err(|_| damaged("digest"))? };
    let time = |column: usize| Ok::<_, Error>(row.get::<_, Option<i64>>(column)?.map(Timestamp::from_millis));
    Ok(Row {
        phase: phase(row.get(1)?).ok_or_else(|| damaged("phase"))?,
        ended_at: time(11)?,
        link: Link {
            id: id.parse().map_err(|_| damaged("id"))?,
            kind: kind.parse().map_err(|_| damaged("kind"))?,
            owner: owner.parse().map_err(|_| damaged("owner"))?,
            name: name.as_deref().and_then(FileName::clean),
            mime: row.get(5)?,
            size: row.get::<_, i64>(6)?.unsigned_abs(),
            sha256: Sha256(sha256),
            blob: row.get(8)?,
            created_at: time(9)?.ok_or_else(|| damaged("time"))?,
            expires_at: time(10)?,
            burn: row.get(12)?,
            idle: row.get::<_, Option<i64>>(13)?.map(|millis| Duration::from_millis(millis.unsigned_abs())),
            accessed_at: time(14)?,
            password: row.get::<_, Option<String>>(15)?.map(PasswordHash::from_kept),
            target: row.get(16)?,
        },
    })
}

pub(super) fn find(connection: &Connection, id: &str) -> Result<Option<Row>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM links WHERE id = ?1");
    connection.prepare_cached(&sql)?.query_row([id], |row| Ok(read(row))).optional()?.transpose()
}

pub(super) fn all<T>(
    connection: &Connection,
    sql: &str,
    params: impl rusqlite::Params,
    read: impl Fn(&SqlRow<'_>) -> Result<T, Error>,
) -> Result<Vec<T>, Error> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(read(row)?);
    }
    Ok(found)
}
