//! Lists of links and their sums in SQL.

use rusqlite::{Connection, OptionalExtension as _, Row as SqlRow};

use super::rows::{COLUMNS, all, find, read};
use crate::identity::Owner;
use crate::link::Link;
use crate::store::ledger::{Query, Totals};
use crate::store::{Error, millis};
use crate::units::Timestamp;

/// Links that are over and not swept yet which totals are without. Those beyond count as if they lived, until they are
/// swept: to count them all would make every page of a list as slow as they are many.
const COUNTED: u32 = 10_000;

/// A pattern for `LIKE … ESCAPE '\'` that finds `text` itself.
pub(super) fn containing(text: &str) -> String {
    let mut pattern = String::from("%");
    for c in text.chars() {
        if matches!(c, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern.push('%');
    pattern
}

/// A statement and its parameters.
pub(super) type Sql = (String, Vec<Box<dyn rusqlite::ToSql>>);

/// Live links of `query`; `after`: only those that stand after this time and id.
fn listing(query: &Query, after: Option<(i64, String)>) -> Sql {
    // Found in an index alone, and only then read: many that are over and not swept yet may stand before the first.
    let index = if query.owner.is_some() { "links_of_owner" } else { "links_newest" };
    let mut sql =
        format!("SELECT id FROM links INDEXED BY {index} WHERE phase = 1 AND (expires_at IS NULL OR expires_at > ?1)");
    let mut values: Vec<Box<dyn rusqlite::ToSql>> = vec![Box::new(millis(query.now))];
    if let Some(owner) = &query.owner {
        values.push(Box::new(owner.to_string()));
        sql.push_str(&format!(" AND owner = ?{}", values.len()));
    }
    if let Some((created, id)) = after {
        values.push(Box::new(created));
        values.push(Box::new(id));
        sql.push_str(&format!(" AND (created_at, id) < (?{}, ?{})", values.len() - 1, values.len()));
    }
    if let Some(text) = &query.paging.search {
        values.push(Box::new(containing(text)));
        sql.push_str(&format!(" AND name LIKE ?{} ESCAPE '\\'", values.len()));
    }
    values.push(Box::new(i64::from(query.paging.limit) + 1));
    let order = "ORDER BY created_at DESC, id DESC";
    (format!("SELECT {COLUMNS} FROM links WHERE id IN ({sql} {order} LIMIT ?{}) {order}", values.len()), values)
}

pub(super) fn list(connection: &Connection, query: &Query) -> Result<Vec<Link>, Error> {
    // The page after one that has gone begins where it stood, which only its row could tell; that is kept a week.
    let after = match &query.paging.after {
        None => None,
        Some(id) => match find(connection, id.as_str())? {
            Some(row) => Some((millis(row.link.created_at), id.as_str().to_owned())),
            None => return Ok(Vec::new()),
        },
    };
    let (sql, values) = listing(query, after);
    let values: Vec<&dyn rusqlite::ToSql> = values.iter().map(AsRef::as_ref).collect();
    all(connection, &sql, values.as_slice(), |row| Ok(read(row)?.link))
}

/// Ready rows in all and of an owner.
pub(super) fn count(connection: &Connection, owner: &str) -> Result<(u64, u64), Error> {
    let mut statement = connection.prepare_cached("SELECT links FROM totals WHERE owner = ?1")?;
    let mut links = |owner: &str| -> Result<u64, Error> {
        let links: Option<i64> = statement.query_row([owner], |row| row.get(0)).optional()?;
        Ok(links.and_then(|links| u64::try_from(links).ok()).unwrap_or(0))
    };
    Ok((links("")?, links(owner)?))
}

/// Links whose time is over and that nobody has swept yet, counted in an index alone: [`COUNTED`] of all at most.
fn overdue(owner: Option<String>, now: Timestamp) -> Sql {
    let some = format!(
        "SELECT count(*), sum(size) FROM (SELECT owner, size FROM links INDEXED BY links_overdue
         WHERE phase = 1 AND expires_at <= ?1 LIMIT {COUNTED})"
    );
    match owner {
        None => (some, vec![Box::new(millis(now))]),
        Some(owner) => (format!("{some} WHERE owner = ?2"), vec![Box::new(millis(now)), Box::new(owner)]),
    }
}

pub(super) fn totals(connection: &Connection, owner: Option<&Owner>, now: Timestamp) -> Result<Totals, Error> {
    let pair = |row: &SqlRow<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, Option<i64>>(1)?.unwrap_or(0)));
    let owner = owner.map(ToString::to_string);
    let kept = connection
        .prepare_cached("SELECT links, bytes FROM totals WHERE owner = ?1")?
        .query_row([owner.as_deref().unwrap_or_default()], pair);
    let (links, bytes) = kept.optional()?.unwrap_or_default();
    let (sql, values) = overdue(owner, now);
    let values: Vec<&dyn rusqlite::ToSql> = values.iter().map(AsRef::as_ref).collect();
    let over = connection.prepare_cached(&sql)?.query_row(values.as_slice(), pair)?;
    let less = |all: i64, over: i64| u64::try_from(all - over).unwrap_or(0);
    Ok(Totals { links: less(links, over.0), bytes: less(bytes, over.1) })
}

#[cfg(test)]
mod tests {
    use super::super::Sqlite;
    use super::super::links::KNOWN_BLOB;
    use super::*;
    use crate::identity::ClientId;
    use crate::store::Paging;
    use crate::store::ledger::Links;

    #[tokio::test]
    async fn lists_and_totals_skip_what_is_over_without_reading_rows() {
        let folder = tempfile::tempdir().expect("a folder");
        let sqlite = Sqlite::open(folder.path()).expect("opened");
        let now = Timestamp::from_secs(5);
        let plan = |(sql, values): Sql| {
            sqlite.read(move |connection| {
                let values: Vec<&dyn rusqlite::ToSql> = values.iter().map(AsRef::as_ref).collect();
                all(connection, &format!("EXPLAIN QUERY PLAN {sql}"), values.as_slice(), |row| {
                    Ok(row.get::<_, String>(3)?)
                })
            })
        };
        for owner in [None, Some(Owner::Client(ClientId::from_kept("a".into())))] {
            for after in [None, Some((4, "x".to_owned()))] {
                let paging = Paging { limit: 10, after: None, search: None };
                let query = Query { owner: owner.clone(), paging, now };
                let steps = plan(listing(&query, after)).expect("planned").join("\n");
                assert!(steps.contains("USING COVERING INDEX links_"), "{steps}");
                assert_eq!(steps.matches("TEMP B-TREE").count(), 1, "only the page itself is sorted: {steps}");
            }
            let steps = plan(overdue(owner.map(|owner| owner.to_string()), now)).expect("planned").join("\n");
            assert!(steps.contains("USING COVERING INDEX links_overdue (expires_at<?)"), "{steps}");
        }
        let blob: Box<dyn rusqlite::ToSql> = Box::new("x");
        let steps = plan((KNOWN_BLOB.to_owned(), vec![blob])).expect("planned").join("\n");
        assert!(steps.contains("USING INDEX links_blob (blob=?)"), "{steps}");
    }

    #[tokio::test]
    async fn totals_are_without_so_many_that_are_over_and_take_the_others_for_living() {
        let folder = tempfile::tempdir().expect("a folder");
        let sqlite = Sqlite::open(folder.path()).expect("opened");
        let alice = Owner::Client(ClientId::from_kept("alice".into()));
        let make = |owner: Owner, first: u32, count: u32, expires_at: u32| {
            let sql = format!(
                "WITH RECURSIVE n (n) AS (VALUES ({first}) UNION ALL SELECT n + 1 FROM n WHERE n < {first} + {count} - 1)
                 INSERT INTO links (id, phase, kind, owner, blob, size, created_at, expires_at)
                 SELECT printf('n%011d', n), 0, 'file', '{owner}', '', 10, n, {expires_at} FROM n;
                 UPDATE links SET phase = 1 WHERE phase = 0;"
            );
            sqlite.queue.write(move |connection| Ok(connection.execute_batch(&sql)?))
        };
        make(alice.clone(), 0, COUNTED, 5_000).await.expect("written");
        make(Owner::Anonymous, COUNTED, 3, 5_001).await.expect("written");
        let totals = async |owner, seconds| {
            let totals = Links::totals(&sqlite, owner, Timestamp::from_secs(seconds)).await.expect("read");
            assert_eq!(totals.bytes, totals.links * 10);
            totals.links
        };
        assert_eq!((totals(None, 4).await, totals(None, 5).await), (u64::from(COUNTED) + 3, 3));
        assert_eq!((totals(Some(alice.clone()), 5).await, totals(Some(Owner::Anonymous), 5).await), (0, 3));
        assert_eq!((totals(None, 6).await, totals(Some(Owner::Anonymous), 6).await), (3, 3), "these are not looked at");
        while !sqlite.doom_overdue(Timestamp::from_secs(6), 1000).await.expect("written").is_empty() {}
        assert_eq!((totals(None, 6).await, totals(Some(Owner::Anonymous), 6).await), (0, 0));
    }
}
