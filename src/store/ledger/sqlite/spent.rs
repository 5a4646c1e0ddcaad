//! Tokens that work once, in SQL.

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use rusqlite::{Connection, params};

use super::Sqlite;
use crate::identity::Sha256;
use crate::store::ledger::Spent;
use crate::store::{Error, millis};
use crate::units::Timestamp;

/// Expired tokens that each new one takes along: more than come, and few enough that nobody waits for it.
const TAKEN_ALONG: u32 = 64;

impl Spent for Sqlite {
    fn spend(
        &self,
        token: Sha256,
        expires: Timestamp,
        most: u32,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<bool, Error>> {
        let work = move |connection: &Connection| {
            let sql = "DELETE FROM spent WHERE token IN
                       (SELECT token FROM spent WHERE expires_at <= ?1 ORDER BY expires_at LIMIT ?2)";
            connection.prepare_cached(sql)?.execute(params![millis(now), TAKEN_ALONG])?;
            let sql = "INSERT INTO spent SELECT ?1, ?2 FROM spent_sum WHERE up_to < ?2 ON CONFLICT DO NOTHING";
            let new = connection.prepare_cached(sql)?.execute(params![token.0, millis(expires)])? == 1;
            if new {
                forget_first(connection, most)?;
            }
            Ok(new)
        };
        self.queue.write(work).boxed()
    }
}

/// Forgets the first to expire when there is no room for all, and remembers up to where.
fn forget_first(connection: &Connection, most: u32) -> Result<(), Error> {
    let sql = "UPDATE spent_sum SET up_to = (SELECT min(expires_at) FROM spent) WHERE tokens > ?1";
    if connection.prepare_cached(sql)?.execute([most])? == 1 {
        let sql = "DELETE FROM spent WHERE expires_at <= (SELECT up_to FROM spent_sum)";
        connection.prepare_cached(sql)?.execute([])?;
    }
    Ok(())
}
