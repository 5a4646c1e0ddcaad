//! A database whose schema is known from documents only: tables and columns are looked for by the names they may have.

use std::path::{Path, PathBuf};

use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags};

use super::Error;
use crate::store::APPLICATION;
use crate::units::Timestamp;

/// A database of another program. It is only read.
pub(super) struct Foreign {
    path: PathBuf,
    pub(super) connection: Connection,
}

impl Foreign {
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let failed = |source| Error::Open { path: path.to_owned(), source };
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
        // What the file itself says is to be run is not.
        connection.pragma_update(None, "trusted_schema", false).map_err(failed)?;
        let application: i64 = connection.query_row("PRAGMA application_id", [], |row| row.get(0)).map_err(failed)?;
        if application == APPLICATION {
            return Err(Error::Ours(path.to_owned()));
        }
        Ok(Self { path: path.to_owned(), connection })
    }

    fn tables(&self) -> Result<Vec<String>, Error> {
        let sql = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name";
        let mut statement = self.connection.prepare(sql)?;
        let names = statement.query_map([], |row| row.get(0))?;
        Ok(names.collect::<Result<_, _>>()?)
    }

    /// The first table that has one of these names; `None` if there is none.
    pub(super) fn table(&self, names: &[&str]) -> Result<Option<Table>, Error> {
        let tables = self.tables()?;
        let named = |name: &&str| tables.iter().find(|table| table.eq_ignore_ascii_case(name)).cloned();
        let Some(name) = names.iter().find_map(named) else { return Ok(None) };
        let mut statement = self.connection.prepare("SELECT name FROM pragma_table_info(?1)")?;
        let columns = statement.query_map([&name], |row| row.get(0))?.collect::<Result<_, _>>()?;
        Ok(Some(Table { path: self.path.clone(), name, columns }))
    }

    /// The same where it has to be.
    pub(super) fn need_table(&self, what: &str, names: &[&str]) -> Result<Table, Error> {
        if let Some(table) = self.table(names)? {
            return Ok(table);
        }
        let tables = self.tables()?;
        let there = if tables.is_empty() { "no tables at all".to_owned() } else { tables.join(", ") };
        let what = format!("it has no table of {what} ({}); there is {there}", names.join(", "));
        Err(Error::Schema { path: self.path.clone(), what })
    }

    /// All rows of these columns; one that is not there is NULL in each.
    pub(super) fn rows(&self, table: &Table, columns: &[Option<&str>]) -> Result<Vec<Vec<Value>>, Error> {
        let list: Vec<String> = columns.iter().map(|name| name.map_or("NULL".to_owned(), quoted)).collect();
        let sql = format!("SELECT {} FROM {}", list.join(", "), quoted(&table.name));
        let mut statement = self.connection.prepare(&sql)?;
        let rows = statement.query_map([], |row| (0..columns.len()).map(|at| row.get(at)).collect())?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

/// A table and what its columns are called.
pub(super) struct Table {
    path: PathBuf,
    pub(super) name: String,
    columns: Vec<String>,
}

impl Table {
    /// The column that has the first of these names that is there.
    pub(super) fn column(&self, names: &[&str]) -> Option<&str> {
        let named = |name: &&str| self.columns.iter().find(|column| column.eq_ignore_ascii_case(name));
        names.iter().find_map(named).map(String::as_str)
    }

    /// The same where it has to be.
    pub(super) fn need(&self, what: &str, names: &[&str]) -> Result<&str, Error> {
        self.column(names).ok_or_else(|| Error::Schema {
            path: self.path.clone(),
            what: format!(
                "the table {} has no column for {what} ({}); it has {}",
                self.name,
                names.join(", "),
                self.columns.join(", ")
            ),
        })
    }
}

/// A name as SQL has it.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text, or a number as one; `None` when there is nothing.
pub(super) fn text(value: &Value) -> Option<String> {
    match value {
        Value::Text(text) if !text.trim().is_empty() => Some(text.trim().to_owned()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Blob(bytes) => String::from_utf8(bytes.clone()).ok().filter(|text| !text.is_empty()),
        _ => None,
    }
}

/// A media type that can stand in a header; whatever else there is, is just bytes.
pub(super) fn media_type(text: Option<&str>) -> String {
    let usable =
        |text: &&str| text.len() <= 255 && text.contains('/') && text.bytes().all(|b| (b' '..=b'~').contains(&b));
    text.filter(usable).unwrap_or("application/octet-stream").to_owned()
}

/// Whether something is so: any number but 0, and `true`, `yes`, `t`.
pub(super) fn flag(value: &Value) -> bool {
    match value {
        Value::Integer(number) => *number != 0,
        Value::Real(number) => *number != 0.0,
        Value::Text(text) => matches!(text.trim().to_ascii_lowercase().as_str(), "1" | "true" | "yes" | "t" | "y"),
        _ => false,
    }
}

/// Numbers from here on are milliseconds: as seconds this is the year 5138.
const MILLIS: i64 = 100_000_000_000;

/// An instant: seconds or milliseconds since 1970, or ISO 8601, which is UTC where it does not say. `Ok(None)` when there
/// is nothing, `Err` with the text when there is something else.
pub(super) fn instant(value: &Value) -> Result<Option<Timestamp>, String> {
    match value {
        Value::Null => Ok(None),
        Value::Integer(number) => Ok(Some(number_of(*number))),
        #[expect(clippy::cast_possible_truncation, reason = "fractions of a millisecond are of no interest")]
        Value::Real(number) if number.abs() < MILLIS as f64 => {
            Ok(Some(Timestamp::from_millis((number * 1000.0) as i64)))
        }
        #[expect(clippy::cast_possible_truncation, reason = "the same")]
        Value::Real(number) => Ok(Some(Timestamp::from_millis(*number as i64))),
        Value::Text(text) => written(text.trim()),
        Value::Blob(_) => Err("bytes".to_owned()),
    }
}

fn number_of(number: i64) -> Timestamp {
    if number.abs() < MILLIS { Timestamp::from_secs(number) } else { Timestamp::from_millis(number) }
}

fn written(text: &str) -> Result<Option<Timestamp>, String> {
    if matches!(text.to_ascii_lowercase().as_str(), "" | "inf" | "never" | "none" | "null") {
        return Ok(None);
    }
    if let Ok(number) = text.parse::<i64>() {
        return Ok(Some(number_of(number)));
    }
    if let Ok(number) = text.parse::<f64>() {
        return instant(&Value::Real(number));
    }
    let joined = text.replacen(' ', "T", 1);
    let whole = if joined.len() == 10 { format!("{joined}T00:00:00") } else { joined };
    let clock = whole.get(10..).unwrap_or_default();
    let zoned = clock.ends_with(['Z', 'z']) || clock.contains(['+', '-']);
    let zoned = if zoned { whole } else { format!("{whole}Z") };
    zoned.parse().map(Some).map_err(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_read_as_other_programs_write_them() {
        let at = |secs| Ok(Some(Timestamp::from_secs(secs)));
        let of = |text: &str| instant(&Value::Text(text.to_owned()));
        for text in [
            "2023-11-14T22:13:20+00:00",
            "2023-11-14 22:13:20",
            "2023-11-14T22:13:20Z",
            "2023-11-15 00:13:20+02:00",
            "1700000000",
            "1700000000.0",
            "1700000000000",
        ] {
            assert_eq!(of(text), at(1_700_000_000), "{text}");
        }
        assert_eq!(of("2023-11-14 22:13:20.123456"), Ok(Some(Timestamp::from_millis(1_700_000_000_123))));
        assert_eq!(of("2023-11-14"), at(1_699_920_000));
        assert_eq!(instant(&Value::Integer(1_700_000_000)), at(1_700_000_000));
        assert_eq!(instant(&Value::Real(1_700_000_000.5)), Ok(Some(Timestamp::from_millis(1_700_000_000_500))));
        for nothing in ["", "inf", "never", "None"] {
            assert_eq!(of(nothing), Ok(None));
        }
        for nonsense in ["tomorrow", "2023-14-44", "22:13"] {
            assert!(of(nonsense).is_err(), "{nonsense}");
        }
    }

    #[test]
    fn what_is_so_is_told_in_many_ways() {
        assert!(flag(&Value::Integer(1)) && flag(&Value::Text("True".into())));
        assert!(!flag(&Value::Null) && !flag(&Value::Integer(0)) && !flag(&Value::Text("false".into())));
    }

    #[test]
    fn a_name_cannot_leave_its_quotes() {
        assert_eq!(quoted("a\" FROM b; --"), "\"a\"\" FROM b; --\"");
    }
}
