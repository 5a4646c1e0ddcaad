//! The rows of links in SQL.

use std::collections::HashSet;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};
use rusqlite::{Connection, OptionalExtension as _, Row as SqlRow, params};

use super::Sqlite;
use super::lists::{count, list, totals};
use super::rows::{all, find};
use super::search::search;
use crate::identity::Owner;
use crate::link::{Change, FileName, Link, LinkId, PasswordHash};
use crate::store::ledger::{Doomed, Links, Pending, Phase, Query, Replacement, Reservation, Row, Totals};
use crate::store::{Error, Filter, millis};
use crate::units::Timestamp;

fn doomed(row: &SqlRow<'_>) -> Result<Doomed, Error> {
    let id: String = row.get(0)?;
    let (blob, kind): (String, String) = (row.get(1)?, row.get(2)?);
    let damaged = |what: &str| Error::Damaged(format!("the row of link {id} has no usable {what}"));
    Ok(Doomed { id: id.parse().map_err(|_| damaged("id"))?, kind: kind.parse().map_err(|_| damaged("kind"))?, blob })
}

fn change(connection: &Connection, id: &str, change: &Change, now: Timestamp) -> Result<Option<Link>, Error> {
    let Some(row) = find(connection, id)? else { return Ok(None) };
    if row.phase != Phase::Ready || row.link.has_expired(now) {
        return Ok(None);
    }
    let mut link = row.link;
    if let Some(ttl) = change.ttl {
        link.expires_at = ttl.from(now);
        link.idle = None;
    }
    if let Some(name) = &change.name {
        link.name.clone_from(name);
    }
    if let Some(password) = &change.password {
        link.password.clone_from(password);
    }
    let sql = "UPDATE links SET expires_at = ?2, name = ?3, idle_millis = ?4, password = ?5 WHERE id = ?1";
    connection.prepare_cached(sql)?.execute(params![
        id,
        link.expires_at.map(millis),
        link.name.as_ref().map(FileName::as_str),
        link.idle.map(span),
        link.password.as_ref().map(PasswordHash::as_str),
    ])?;
    Ok(Some(link))
}

/// A span as it is kept.
fn span(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

/// Pending → ready, with all that is known of the link.
fn seal(connection: &Connection, link: &Link) -> Result<(), Error> {
    let sql =
        "UPDATE links SET phase = 1, writer = NULL, name = ?2, mime = ?3, size = ?4, sha256 = ?5, created_at = ?6,
               expires_at = ?7, burn = ?8, idle_millis = ?10, accessed_at = ?11, password = ?12, target = ?13,
               kind = ?14, owner = CASE owner WHEN 'anonymous' THEN ?15 ELSE owner END
               WHERE id = ?1 AND phase = 0 AND blob = ?9";
    let sealed = connection.prepare_cached(sql)?.execute(params![
        link.id.as_str(),
        link.name.as_ref().map(FileName::as_str),
        link.mime,
        i64::try_from(link.size).unwrap_or(i64::MAX),
        link.sha256.0,
        millis(link.created_at),
        link.expires_at.map(millis),
        link.burn,
        link.blob,
        link.idle.map(span),
        link.accessed_at.map(millis),
        link.password.as_ref().map(PasswordHash::as_str),
        link.target,
        link.kind.as_str(),
        link.owner.to_string(),
    ])?;
    if sealed == 1 { Ok(()) } else { Err(Error::Damaged(format!("the reservation of link {} is gone", link.id))) }
}

fn insert(connection: &Connection, link: &Link) -> Result<bool, Error> {
    let sql = "INSERT INTO links (id, phase, kind, owner, blob, created_at) VALUES (?1, 0, ?2, ?3, '', ?4)
               ON CONFLICT (id) DO NOTHING";
    let values = params![link.id.as_str(), link.kind.as_str(), link.owner.to_string(), millis(link.created_at)];
    if connection.prepare_cached(sql)?.execute(values)? == 0 {
        return Ok(false);
    }
    // In two steps, since what counts links watches for their sealing.
    seal(connection, link).map(|()| true)
}

fn replace(connection: &Connection, with: Replacement, now: Timestamp) -> Result<Option<(Link, Doomed)>, Error> {
    let Some(row) = find(connection, with.id.as_str())? else { return Ok(None) };
    if row.phase != Phase::Ready || row.link.burn || row.link.has_expired(now) {
        return Ok(None);
    }
    let old = Doomed { id: with.pending, kind: row.link.kind, blob: row.link.blob.clone() };
    let link = Link { blob: with.blob, mime: with.mime, size: with.size, sha256: with.sha256, ..row.link }.touched(now);
    let sql = "UPDATE links SET phase = 2, writer = NULL, blob = ?3, ended_at = ?4
               WHERE id = ?1 AND phase = 0 AND blob = ?2";
    let doomed = connection.prepare_cached(sql)?.execute(params![old.id.as_str(), link.blob, old.blob, millis(now)])?;
    if doomed != 1 {
        return Err(Error::Damaged(format!("the reservation of new content for link {} is gone", link.id)));
    }
    let sql = "UPDATE links SET blob = ?2, mime = ?3, size = ?4, sha256 = ?5, expires_at = ?6, accessed_at = ?7
               WHERE id = ?1";
    connection.prepare_cached(sql)?.execute(params![
        link.id.as_str(),
        link.blob,
        link.mime,
        i64::try_from(link.size).unwrap_or(i64::MAX),
        link.sha256.0,
        link.expires_at.map(millis),
        link.accessed_at.map(millis),
    ])?;
    Ok(Some((link, old)))
}

fn touch(connection: &Connection, readings: &[(LinkId, Timestamp)]) -> Result<(), Error> {
    let sql = "UPDATE links SET accessed_at = ?2, expires_at = ?2 + idle_millis
               WHERE id = ?1 AND phase = 1 AND idle_millis IS NOT NULL AND coalesce(accessed_at, 0) < ?2";
    let mut statement = connection.prepare_cached(sql)?;
    for (id, at) in readings {
        statement.execute(params![id.as_str(), millis(*at)])?;
    }
    Ok(())
}

fn doom(connection: &Connection, id: &str, now: Timestamp) -> Result<Option<Doomed>, Error> {
    connection
        .prepare_cached(
            "UPDATE links SET phase = 2, ended_at = min(?2, coalesce(expires_at, ?2)) WHERE id = ?1 AND phase = 1",
        )?
        .execute(params![id, millis(now)])?;
    let sql = "SELECT id, blob, kind FROM links WHERE id = ?1 AND phase = 2";
    Ok(all(connection, sql, [id], doomed)?.pop())
}

fn doom_overdue(connection: &Connection, now: Timestamp, limit: u32) -> Result<Vec<Doomed>, Error> {
    let sql = "UPDATE links SET phase = 2, ended_at = expires_at WHERE id IN
               (SELECT id FROM links WHERE phase = 1 AND expires_at <= ?1 ORDER BY expires_at LIMIT ?2)
               RETURNING id, blob, kind";
    all(connection, sql, params![millis(now), limit], doomed)
}

/// Whether bytes of this name are, or may come to be, a link's.
pub(super) const KNOWN_BLOB: &str = "SELECT 1 FROM links WHERE blob = ?1 AND blob <> '' AND phase < 3";

impl Links for Sqlite {
    fn reserve(&self, rows: Vec<Reservation>) -> BoxFuture<'static, Result<(), Error>> {
        let writer = self.writers.own.clone();
        let work = move |connection: &Connection| {
            let sql = "INSERT INTO links (id, phase, kind, owner, blob, writer, created_at) VALUES (?1, 0, ?2, ?3, ?4, ?5, ?6)";
            let mut statement = connection.prepare_cached(sql)?;
            for row in rows {
                statement.execute(params![
                    row.id.as_str(),
                    row.kind.as_str(),
                    row.owner.to_string(),
                    row.blob,
                    writer,
                    millis(row.now),
                ])?;
            }
            Ok(())
        };
        self.queue.write_for_now(work).boxed()
    }

    fn seal(&self, link: &Link) -> BoxFuture<'static, Result<(), Error>> {
        let link = link.clone();
        self.queue.write(move |connection| seal(connection, &link)).boxed()
    }

    fn insert(&self, link: &Link) -> BoxFuture<'_, Result<bool, Error>> {
        let link = link.clone();
        self.queue.write(move |connection| insert(connection, &link)).boxed()
    }

    fn replace(&self, with: Replacement, now: Timestamp) -> BoxFuture<'_, Result<Option<(Link, Doomed)>, Error>> {
        self.queue.write(move |connection| replace(connection, with, now)).boxed()
    }

    fn touch(&self, readings: Vec<(LinkId, Timestamp)>) -> BoxFuture<'_, Result<(), Error>> {
        self.queue.write(move |connection| touch(connection, &readings)).boxed()
    }

    fn release(&self, id: &LinkId) -> BoxFuture<'_, Result<bool, Error>> {
        let id = id.clone();
        let work = move |connection: &Connection| {
            connection.prepare_cached("DELETE FROM links WHERE id = ?1 AND phase = 0")?.execute([id.as_str()])?;
            Ok(!connection.prepare_cached("SELECT 1 FROM links WHERE id = ?1")?.exists([id.as_str()])?)
        };
        self.queue.write(work).boxed()
    }

    fn find(&self, id: &LinkId) -> BoxFuture<'_, Result<Option<Row>, Error>> {
        ready(self.read(|connection| find(connection, id.as_str()))).boxed()
    }

    fn claim(&self, id: &LinkId, now: Timestamp) -> BoxFuture<'_, Result<bool, Error>> {
        let id = id.clone();
        let work = move |connection: &Connection| {
            let sql = "UPDATE links SET phase = 2, ended_at = ?2
                       WHERE id = ?1 AND phase = 1 AND (expires_at IS NULL OR expires_at > ?2)";
            Ok(connection.prepare_cached(sql)?.execute(params![id.as_str(), millis(now)])? == 1)
        };
        self.queue.write(work).boxed()
    }

    fn doom(&self, id: &LinkId, now: Timestamp) -> BoxFuture<'_, Result<Option<Doomed>, Error>> {
        let id = id.clone();
        self.queue.write(move |connection| doom(connection, id.as_str(), now)).boxed()
    }

    fn doom_overdue(&self, now: Timestamp, limit: u32) -> BoxFuture<'_, Result<Vec<Doomed>, Error>> {
        self.queue.write(move |connection| doom_overdue(connection, now, limit)).boxed()
    }

    fn doomed(
        &self,
        before: Timestamp,
        after: Option<LinkId>,
        limit: u32,
    ) -> BoxFuture<'_, Result<Vec<Doomed>, Error>> {
        let sql = "SELECT id, blob, kind FROM links INDEXED BY links_doomed
                   WHERE phase = 2 AND id > ?2 AND ended_at <= ?1 ORDER BY id LIMIT ?3";
        // No id is empty.
        let after = after.as_ref().map_or("", LinkId::as_str).to_owned();
        ready(self.read(|connection| all(connection, sql, params![millis(before), after, limit], doomed))).boxed()
    }

    fn bury(&self, ids: Vec<LinkId>, now: Timestamp) -> BoxFuture<'_, Result<(), Error>> {
        let work = move |connection: &Connection| {
            let sql =
                "UPDATE links SET phase = 3, blob = '', ended_at = coalesce(ended_at, ?2) WHERE id = ?1 AND phase = 2";
            let mut statement = connection.prepare_cached(sql)?;
            for id in ids {
                statement.execute(params![id.as_str(), millis(now)])?;
            }
            Ok(())
        };
        self.queue.write(work).boxed()
    }

    fn forget(&self, before: Timestamp, limit: u32) -> BoxFuture<'_, Result<u64, Error>> {
        let work = move |connection: &Connection| {
            let sql = "DELETE FROM links WHERE id IN (SELECT id FROM links WHERE phase = 3 AND ended_at < ?1 LIMIT ?2)";
            Ok(connection.prepare_cached(sql)?.execute(params![millis(before), limit])? as u64)
        };
        self.queue.write(work).boxed()
    }

    fn pending(&self) -> BoxFuture<'_, Result<Vec<Pending>, Error>> {
        let found = self.read(|connection| {
            all(connection, "SELECT id, blob, kind, writer FROM links WHERE phase = 0", [], |row| {
                let doomed = doomed(row)?;
                let writer: Option<String> = row.get(3)?;
                let writer = self.writers.of(writer.as_deref().unwrap_or_default());
                Ok(Pending { id: doomed.id, blob: doomed.blob, writer })
            })
        });
        ready(found).boxed()
    }

    fn known_blobs(&self, names: Vec<String>) -> BoxFuture<'_, Result<HashSet<String>, Error>> {
        let found = self.read(|connection| {
            let mut statement = connection.prepare_cached(KNOWN_BLOB)?;
            let mut known = HashSet::new();
            for name in names {
                if statement.exists([&name])? {
                    known.insert(name);
                }
            }
            Ok(known)
        });
        ready(found).boxed()
    }

    fn change(&self, id: &LinkId, wish: Change, now: Timestamp) -> BoxFuture<'_, Result<Option<Link>, Error>> {
        let id = id.clone();
        self.queue.write(move |connection| change(connection, id.as_str(), &wish, now)).boxed()
    }

    fn list(&self, query: Query) -> BoxFuture<'_, Result<Vec<Link>, Error>> {
        // It may have to step over many that are over and not swept yet.
        self.read_much(move |connection| list(connection, &query)).boxed()
    }

    fn search(
        &self,
        owner: Option<Owner>,
        filter: Filter,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<(Vec<Link>, u64), Error>> {
        self.read_much(move |connection| search(connection, owner.as_ref(), &filter, now)).boxed()
    }

    fn totals(&self, owner: Option<Owner>, now: Timestamp) -> BoxFuture<'_, Result<Totals, Error>> {
        self.read_much(move |connection| totals(connection, owner.as_ref(), now)).boxed()
    }

    fn ready(&self, owner: &Owner, but: Vec<LinkId>) -> BoxFuture<'_, Result<(u64, u64), Error>> {
        let owner = owner.to_string();
        if but.is_empty() {
            return ready(self.read(|connection| count(connection, &owner))).boxed();
        }
        self.read_much(move |connection| {
            // All of it as of one moment.
            let _moment = connection.unchecked_transaction()?;
            let (mut all, mut own) = count(connection, &owner)?;
            let mut owner_of = connection.prepare_cached("SELECT owner FROM links WHERE id = ?1 AND phase = 1")?;
            for id in but {
                let other: Option<String> = owner_of.query_row([id.as_str()], |row| row.get(0)).optional()?;
                all = all.saturating_sub(u64::from(other.is_some()));
                own = own.saturating_sub(u64::from(other.as_ref() == Some(&owner)));
            }
            Ok((all, own))
        })
        .boxed()
    }

    fn buried_beyond(&self, most: u64) -> BoxFuture<'_, Result<Option<Timestamp>, Error>> {
        let found = self.read_much(move |connection| {
            let sql = "SELECT ended_at FROM links WHERE phase = 3 ORDER BY ended_at DESC LIMIT 1 OFFSET ?1";
            let most = i64::try_from(most).unwrap_or(i64::MAX);
            let ended: Option<i64> = connection.prepare_cached(sql)?.query_row([most], |row| row.get(0)).optional()?;
            Ok(ended.map(Timestamp::from_millis))
        });
        found.boxed()
    }

    fn writable(&self) -> BoxFuture<'_, Result<(), Error>> {
        self.queue.write(|_| Ok(())).boxed()
    }

    fn tidy(&self) -> BoxFuture<'_, Result<(), Error>> {
        ready(self.epoch.tell().and_then(|()| self.writers.tidy())).boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        async {
            self.queue.close().await;
            self.idle.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clear();
        }
        .boxed()
    }
}
