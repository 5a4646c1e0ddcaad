//! Live links of a kind by what is known of them, a page at a time and counted.

use rusqlite::Connection;

use super::lists::{Sql, containing};
use super::rows::{COLUMNS, all, read};
use crate::identity::Owner;
use crate::link::Link;
use crate::store::{Error, Filter, millis};
use crate::units::Timestamp;

/// What `filter` asks for, as a condition.
fn condition(owner: Option<&Owner>, filter: &Filter, now: Timestamp) -> Sql {
    let mut sql = "phase = 1 AND (expires_at IS NULL OR expires_at > ?1) AND kind = ?2".to_owned();
    let mut values: Vec<Box<dyn rusqlite::ToSql>> = vec![Box::new(millis(now)), Box::new(filter.kind.as_str())];
    let mut and = |condition: &str, value: Box<dyn rusqlite::ToSql>| {
        values.push(value);
        sql.push_str(&condition.replace('#', &format!("?{}", values.len())));
    };
    if let Some(owner) = owner {
        and(" AND owner = #", Box::new(owner.to_string()));
    }
    if let Some(mime) = &filter.mime {
        // The rest after the type or the subtype: nothing, parameters, or a subtype.
        and(
            " AND substr(mime, 1, length(#)) = # AND substr(mime, length(#) + 1, 1) IN ('', '/', ';')",
            Box::new(mime.clone()),
        );
    }
    if let Some(since) = filter.since {
        and(" AND created_at >= #", Box::new(millis(since)));
    }
    if let Some(until) = filter.until {
        // Whole seconds are said, and all of that second is meant.
        and(" AND created_at < #", Box::new(millis(until).saturating_add(1000)));
    }
    if let Some(text) = &filter.search {
        and(" AND name LIKE # ESCAPE '\\'", Box::new(containing(text)));
    }
    (sql, values)
}

/// Values as SQLite takes them.
fn bound(values: &[Box<dyn rusqlite::ToSql>]) -> Vec<&dyn rusqlite::ToSql> {
    values.iter().map(AsRef::as_ref).collect()
}

pub(super) fn search(
    connection: &Connection,
    owner: Option<&Owner>,
    filter: &Filter,
    now: Timestamp,
) -> Result<(Vec<Link>, u64), Error> {
    let (condition, mut values) = condition(owner, filter, now);
    let count = format!("SELECT count(*) FROM links WHERE {condition}");
    let total: i64 = connection.prepare_cached(&count)?.query_row(bound(&values).as_slice(), |row| row.get(0))?;
    values.push(Box::new(filter.limit));
    values.push(Box::new(filter.offset));
    let (limit, offset) = (values.len() - 1, values.len());
    let sql = format!(
        "SELECT {COLUMNS} FROM links WHERE {condition}
         ORDER BY created_at DESC, id DESC LIMIT ?{limit} OFFSET ?{offset}"
    );
    let links = all(connection, &sql, bound(&values).as_slice(), |row| Ok(read(row)?.link))?;
    Ok((links, u64::try_from(total).unwrap_or_default()))
}
