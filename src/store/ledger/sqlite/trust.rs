//! The rows of the authority in SQL.

use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};
use rusqlite::{Connection, OptionalExtension as _, Row as SqlRow, params};

use super::Sqlite;
use super::rows::all;
use crate::identity::{ClientId, Fingerprint, Owner, Sha1, Sha256};
use crate::store::trust::{
    Certificate, Certificates, Client, Enrolled, Enrolment, Invite, Key, Known, Listed, Part, Revoked, Trust,
};
use crate::store::{Error, millis};
use crate::units::Timestamp;

const CERTIFICATE: &str =
    "c.sha256, c.sha1, c.serial, c.client, c.profile, c.subject, c.issuer, c.not_before, c.not_after,
    c.created_at, c.revoked_at, c.reason, k.id, k.name, k.admin, k.created_at
    FROM certificates c LEFT JOIN clients k ON k.id = c.client";

const INVITE: &str =
    "id, hash, name, admin, client, created_by, created_at, expires_at, used_at, withdrawn_at FROM invites";

fn digest<const N: usize>(bytes: Vec<u8>) -> Result<[u8; N], Error> {
    bytes.try_into().map_err(|_| Error::Damaged("a fingerprint in the database has the wrong length".to_owned()))
}

fn time(row: &SqlRow<'_>, column: usize) -> rusqlite::Result<Option<Timestamp>> {
    Ok(row.get::<_, Option<i64>>(column)?.map(Timestamp::from_millis))
}

fn instant(row: &SqlRow<'_>, column: usize) -> rusqlite::Result<Timestamp> {
    row.get(column).map(Timestamp::from_millis)
}

fn client(row: &SqlRow<'_>, first: usize) -> rusqlite::Result<Client> {
    Ok(Client {
        id: ClientId::from_kept(row.get(first)?),
        name: row.get(first + 1)?,
        admin: row.get(first + 2)?,
        created_at: instant(row, first + 3)?,
    })
}

fn known(row: &SqlRow<'_>) -> Result<Known, Error> {
    let issuer: Option<Vec<u8>> = row.get(6)?;
    let revoked = match (time(row, 10)?, row.get::<_, Option<u8>>(11)?) {
        (Some(at), reason) => Some(Revoked { at, reason: reason.unwrap_or(0) }),
        (None, _) => None,
    };
    let certificate = Certificate {
        fingerprint: Fingerprint { sha256: Sha256(digest(row.get(0)?)?), sha1: Sha1(digest(row.get(1)?)?) },
        serial: row.get(2)?,
        client: row.get::<_, Option<String>>(3)?.map(ClientId::from_kept),
        profile: row.get(4)?,
        subject: row.get(5)?,
        issuer: issuer.map(digest).transpose()?.map(Sha256),
        not_before: instant(row, 7)?,
        not_after: instant(row, 8)?,
        created_at: instant(row, 9)?,
        revoked,
        der: None,
    };
    let client = if row.get::<_, Option<String>>(12)?.is_some() { Some(client(row, 12)?) } else { None };
    Ok(Known { certificate, client })
}

fn invite(row: &SqlRow<'_>) -> Result<Invite, Error> {
    Ok(Invite {
        id: row.get(0)?,
        hash: Sha256(digest(row.get(1)?)?),
        name: row.get(2)?,
        admin: row.get(3)?,
        client: row.get::<_, Option<String>>(4)?.map(ClientId::from_kept),
        created_by: row.get(5)?,
        created_at: instant(row, 6)?,
        expires_at: instant(row, 7)?,
        used_at: time(row, 8)?,
        withdrawn_at: time(row, 9)?,
    })
}

fn one<T>(
    connection: &Connection,
    sql: &str,
    params: impl rusqlite::Params,
    read: impl Fn(&SqlRow<'_>) -> Result<T, Error>,
) -> Result<Option<T>, Error> {
    connection.prepare_cached(sql)?.query_row(params, |row| Ok(read(row))).optional()?.transpose()
}

/// As SQLite has it: a negative number is any.
fn limit(most: Option<u32>) -> i64 {
    most.map_or(-1, i64::from)
}

fn enroll(connection: &Connection, enrolment: Enrolment) -> Result<Enrolled, Error> {
    if enrolment.first && has_clients(connection)? {
        return Ok(Enrolled::NotFirst);
    }
    if let Some((id, now)) = &enrolment.invite {
        let sql = "UPDATE invites SET used_at = ?2
                   WHERE id = ?1 AND used_at IS NULL AND withdrawn_at IS NULL AND expires_at > ?2";
        if connection.prepare_cached(sql)?.execute(params![id, millis(*now)])? == 0 {
            return Ok(Enrolled::InviteSpent);
        }
    }
    if let Some(client) = &enrolment.client {
        let sql = "INSERT INTO clients (id, name, admin, created_at) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING";
        connection.prepare_cached(sql)?.execute(params![
            client.id.as_str(),
            client.name,
            client.admin,
            millis(client.created_at)
        ])?;
        let holder = one(connection, "SELECT id FROM clients WHERE name = ?1", [&client.name], |row| {
            Ok(row.get::<_, String>(0)?)
        })?;
        let existing = one(connection, "SELECT 1 FROM clients WHERE id = ?1", [client.id.as_str()], |_| Ok(()))?;
        if existing.is_none() && holder.is_some() {
            return Ok(Enrolled::NameTaken);
        }
    }
    let certificate = enrolment.certificate;
    if let Some(client) = &certificate.client {
        let to = Owner::Client(client.clone());
        bring_links(connection, &Owner::Certificate(certificate.fingerprint.sha256), &to)?;
        bring_links(connection, &Owner::Sha1(certificate.fingerprint.sha1), &to)?;
    }
    let sql = "INSERT INTO certificates (sha256, sha1, serial, client, profile, subject, issuer, not_before, not_after,
               created_at, revoked_at, reason, der) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)
               ON CONFLICT (sha256) DO UPDATE SET client = excluded.client, profile = excluded.profile";
    connection.prepare_cached(sql)?.execute(params![
        certificate.fingerprint.sha256.0,
        certificate.fingerprint.sha1.0,
        certificate.serial,
        certificate.client.as_ref().map(ClientId::as_str),
        certificate.profile,
        certificate.subject,
        certificate.issuer.map(|issuer| issuer.0),
        millis(certificate.not_before),
        millis(certificate.not_after),
        millis(certificate.created_at),
        certificate.revoked.map(|revoked| millis(revoked.at)),
        certificate.revoked.map(|revoked| revoked.reason),
        certificate.der,
    ])?;
    Ok(Enrolled::Done)
}

fn has_clients(connection: &Connection) -> Result<bool, Error> {
    Ok(one(connection, "SELECT 1 FROM clients LIMIT 1", [], |_| Ok(()))?.is_some())
}

/// The name under which it is counted how often something was revoked.
const REVOCATIONS: &str = "revocations";

fn next_number(connection: &Connection, name: &str) -> Result<u64, Error> {
    let sql = "INSERT INTO kept VALUES (?1, '1') ON CONFLICT (name) DO UPDATE SET value = CAST(value AS INTEGER) + 1
               RETURNING CAST(value AS INTEGER)";
    let number: i64 = connection.prepare_cached(sql)?.query_row([name], |row| row.get(0))?;
    Ok(number.unsigned_abs())
}

/// What someone uploaded with a certificate nobody knew is the client's, once it is known whose that is.
fn bring_links(connection: &Connection, from: &Owner, to: &Owner) -> Result<(), Error> {
    let (from, to) = (from.to_string(), to.to_string());
    for sql in [
        "INSERT INTO totals SELECT ?2, links, bytes FROM totals WHERE owner = ?1
         ON CONFLICT (owner) DO UPDATE SET links = links + excluded.links, bytes = bytes + excluded.bytes",
        "UPDATE links SET owner = ?2 WHERE phase = 1 AND owner = ?1",
        "UPDATE links SET owner = ?2 WHERE phase = 0 AND owner = ?1",
    ] {
        connection.prepare_cached(sql)?.execute([&from, &to])?;
    }
    connection.prepare_cached("DELETE FROM totals WHERE owner = ?1")?.execute([&from])?;
    Ok(())
}

impl Sqlite {
    /// Changes trust, and tells that it has changed as soon as that is durable, whether or not the caller still waits.
    async fn change_trust<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let epoch = Arc::clone(&self.epoch);
        self.queue.write_then(work, move || epoch.tell()).await
    }
}

impl Trust for Sqlite {
    fn epoch(&self) -> u64 {
        self.epoch.current()
    }

    fn tell(&self) -> BoxFuture<'_, Result<(), Error>> {
        ready(self.epoch.tell()).boxed()
    }

    fn known(&self, key: Key) -> BoxFuture<'_, Result<Option<Known>, Error>> {
        let found = self.read(|connection| {
            let by = |column: &str| format!("SELECT {CERTIFICATE} WHERE c.{column} = ?1");
            match &key {
                Key::Sha256(sha256) => one(connection, &by("sha256"), [sha256.0], known),
                Key::Sha1(sha1) => one(connection, &by("sha1"), [sha1.0], known),
                Key::Serial(serial) => one(connection, &by("serial"), [serial], known),
            }
        });
        ready(found).boxed()
    }

    fn awaited(&self, sha1: Sha1) -> BoxFuture<'_, Result<bool, Error>> {
        let owner = Owner::Sha1(sha1).to_string();
        let found =
            self.read(|connection| one(connection, "SELECT 1 FROM totals WHERE owner = ?1", [&owner], |_| Ok(())));
        ready(found.map(|found| found.is_some())).boxed()
    }

    fn hand_over(&self, sha1: Sha1, to: Owner) -> BoxFuture<'_, Result<(), Error>> {
        self.queue.write(move |connection| bring_links(connection, &Owner::Sha1(sha1), &to)).boxed()
    }

    fn enroll(&self, enrolment: Enrolment) -> BoxFuture<'_, Result<Enrolled, Error>> {
        let work = move |connection: &Connection| {
            // What a refused enrolment has written so far is undone with the savepoint around it.
            match enroll(connection, enrolment)? {
                Enrolled::Done => Ok(Enrolled::Done),
                refused => Err(Error::Refused(refused)),
            }
        };
        async move {
            match self.change_trust(work).await {
                Err(Error::Refused(refused)) => Ok(refused),
                other => other,
            }
        }
        .boxed()
    }

    fn revoke(&self, which: Vec<Sha256>, how: Revoked) -> BoxFuture<'_, Result<Vec<Sha256>, Error>> {
        let work = move |connection: &Connection| {
            let sql = "UPDATE certificates SET revoked_at = ?2, reason = ?3 WHERE sha256 = ?1 AND revoked_at IS NULL";
            let mut statement = connection.prepare_cached(sql)?;
            let mut changed = Vec::new();
            for sha256 in which {
                if statement.execute(params![sha256.0, millis(how.at), how.reason])? == 1 {
                    changed.push(sha256);
                }
            }
            if !changed.is_empty() {
                next_number(connection, REVOCATIONS)?;
            }
            Ok(changed)
        };
        self.change_trust(work).boxed()
    }

    fn revocations(&self) -> BoxFuture<'_, Result<u64, Error>> {
        let sql = "SELECT CAST(value AS INTEGER) FROM kept WHERE name = ?1";
        let read = |row: &SqlRow<'_>| Ok(row.get::<_, i64>(0)?.unsigned_abs());
        ready(self.read(|connection| Ok(one(connection, sql, [REVOCATIONS], read)?.unwrap_or(0)))).boxed()
    }

    fn revoked(&self, issuer: Sha256, not_after: Timestamp) -> BoxFuture<'_, Result<Vec<Listed>, Error>> {
        let read = |row: &SqlRow<'_>| {
            let revoked = Revoked { at: instant(row, 1)?, reason: row.get::<_, Option<u8>>(2)?.unwrap_or(0) };
            Ok(Listed { serial: row.get(0)?, revoked })
        };
        let work = move |connection: &Connection| {
            let sql = "SELECT serial, revoked_at, reason FROM certificates
                       WHERE revoked_at IS NOT NULL AND issuer = ?1 AND not_after > ?2 ORDER BY not_after, sha256";
            all(connection, sql, params![issuer.0, millis(not_after)], read)
        };
        self.read_much(work).boxed()
    }

    fn client_named(&self, name: &str) -> BoxFuture<'_, Result<Option<Client>, Error>> {
        let sql = "SELECT id, name, admin, created_at FROM clients WHERE name = ?1";
        ready(self.read(|connection| one(connection, sql, [name], |row| Ok(client(row, 0)?)))).boxed()
    }

    fn client(&self, id: &ClientId) -> BoxFuture<'_, Result<Option<Client>, Error>> {
        let sql = "SELECT id, name, admin, created_at FROM clients WHERE id = ?1";
        ready(self.read(|connection| one(connection, sql, [id.as_str()], |row| Ok(client(row, 0)?)))).boxed()
    }

    fn has_clients(&self) -> BoxFuture<'_, Result<bool, Error>> {
        ready(self.read(has_clients)).boxed()
    }

    fn clients(&self) -> BoxFuture<'_, Result<Vec<Client>, Error>> {
        let sql = "SELECT id, name, admin, created_at FROM clients ORDER BY name";
        self.read_much(move |connection| all(connection, sql, [], |row| Ok(client(row, 0)?))).boxed()
    }

    fn certificates(&self, which: Certificates) -> BoxFuture<'_, Result<Vec<Known>, Error>> {
        let work = move |connection: &Connection| {
            let Certificates { client, part } = &which;
            let own = "(?1 IS NULL OR c.client = ?1)";
            // What is not in the list has no place in it: the query finds nothing after it.
            let after = "(?2 IS NULL OR c.created_at < (SELECT c.created_at FROM certificates c WHERE c.sha256 = ?2 AND OWN)
                OR c.sha256 > ?2 AND c.created_at = (SELECT c.created_at FROM certificates c WHERE c.sha256 = ?2 AND OWN))";
            let after = after.replace("OWN", own);
            let sql =
                format!("SELECT {CERTIFICATE} WHERE {own} AND {after} ORDER BY c.created_at DESC, c.sha256 LIMIT ?3");
            let after = part.after.map(|sha256| sha256.0);
            all(connection, &sql, params![client.as_ref().map(ClientId::as_str), after, limit(part.limit)], known)
        };
        self.read_much(work).boxed()
    }

    fn der(&self, sha256: Sha256) -> BoxFuture<'_, Result<Option<Vec<u8>>, Error>> {
        let sql = "SELECT der FROM certificates WHERE sha256 = ?1";
        let read = |row: &SqlRow<'_>| Ok(row.get::<_, Option<Vec<u8>>>(0)?);
        ready(self.read(|connection| Ok(one(connection, sql, [sha256.0], read)?.flatten()))).boxed()
    }

    fn invite(&self, invite: Invite) -> BoxFuture<'_, Result<(), Error>> {
        let work = move |connection: &Connection| {
            let sql = "INSERT INTO invites (id, hash, name, admin, client, created_by, created_at, expires_at, used_at,
                       withdrawn_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
            connection.prepare_cached(sql)?.execute(params![
                invite.id,
                invite.hash.0,
                invite.name,
                invite.admin,
                invite.client.as_ref().map(ClientId::as_str),
                invite.created_by,
                millis(invite.created_at),
                millis(invite.expires_at),
                invite.used_at.map(millis),
                invite.withdrawn_at.map(millis),
            ])?;
            Ok(())
        };
        self.queue.write(work).boxed()
    }

    fn invite_by_hash(&self, hash: Sha256) -> BoxFuture<'_, Result<Option<Invite>, Error>> {
        let sql = format!("SELECT {INVITE} WHERE hash = ?1");
        ready(self.read(|connection| one(connection, &sql, [hash.0], invite))).boxed()
    }

    fn invites(&self, part: Part<String>) -> BoxFuture<'_, Result<Vec<Invite>, Error>> {
        let sql = format!(
            "SELECT {INVITE} WHERE ?1 IS NULL OR created_at < (SELECT created_at FROM invites WHERE id = ?1)
             OR id > ?1 AND created_at = (SELECT created_at FROM invites WHERE id = ?1)
             ORDER BY created_at DESC, id LIMIT ?2"
        );
        self.read_much(move |connection| all(connection, &sql, params![part.after, limit(part.limit)], invite)).boxed()
    }

    fn withdraw_invite(&self, id: &str, now: Timestamp) -> BoxFuture<'_, Result<bool, Error>> {
        let id = id.to_owned();
        let work = move |connection: &Connection| {
            let sql = "UPDATE invites SET withdrawn_at = coalesce(withdrawn_at, ?2) WHERE id = ?1 AND used_at IS NULL";
            Ok(connection.prepare_cached(sql)?.execute(params![id, millis(now)])? == 1)
        };
        self.queue.write(work).boxed()
    }

    fn value(&self, name: &str) -> BoxFuture<'_, Result<Option<String>, Error>> {
        let sql = "SELECT value FROM kept WHERE name = ?1";
        ready(self.read(|connection| one(connection, sql, [name], |row| Ok(row.get(0)?)))).boxed()
    }

    fn set_value(&self, name: &str, value: &str) -> BoxFuture<'_, Result<(), Error>> {
        let (name, value) = (name.to_owned(), value.to_owned());
        let work = move |connection: &Connection| {
            let sql = "INSERT INTO kept VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = excluded.value";
            connection.prepare_cached(sql)?.execute([name, value])?;
            Ok(())
        };
        self.queue.write(work).boxed()
    }

    fn settle_value(&self, name: &str, value: &str) -> BoxFuture<'_, Result<String, Error>> {
        let (name, value) = (name.to_owned(), value.to_owned());
        let work = move |connection: &Connection| {
            let sql = "INSERT INTO kept VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = value
                       RETURNING value";
            Ok(connection.prepare_cached(sql)?.query_row([name, value], |row| row.get(0))?)
        };
        self.queue.write(work).boxed()
    }

    fn next_number(&self, name: &str) -> BoxFuture<'_, Result<u64, Error>> {
        let name = name.to_owned();
        self.queue.write(move |connection| next_number(connection, &name)).boxed()
    }
}
