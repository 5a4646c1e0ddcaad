//! SQLite: one writer thread that commits what has queued up in one transaction, and readers apart.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use tokio::sync::Semaphore;

use crate::store::Error;

mod checkpoint;
mod epoch;
mod links;
mod lists;
mod rows;
mod schema;
mod search;
pub(in crate::store) mod snapshot;
mod spent;
mod trust;
mod writer;
pub(in crate::store) mod writers;

use checkpoint::Checkpoints;
use epoch::Epoch;
pub(crate) use schema::APPLICATION;
use writer::Queue;
use writers::Writers;

/// The rows of one storage folder.
pub(in crate::store) struct Sqlite {
    path: PathBuf,
    queue: Queue,
    /// Connections nobody is reading with. There are never more than there are threads of the runtime, which read
    /// quickly, and [`LONG_READS`].
    idle: Arc<Mutex<Vec<Connection>>>,
    long_reads: Arc<Semaphore>,
    epoch: Arc<Epoch>,
    writers: Writers,
}

/// Another process may be writing: how long to wait for it.
const BUSY: Duration = Duration::from_secs(10);

/// Reads at once that may take longer; more wait. Each has a connection: three open files and up to 4 MiB.
const LONG_READS: usize = 8;

/// Statements kept prepared per connection.
const PREPARED: usize = 64;

impl Sqlite {
    /// Opens `links.db` in a folder, making it if it is missing.
    pub(in crate::store) fn open(folder: &Path) -> Result<Self, Error> {
        let path = folder.join("links.db");
        make_private(&path)?;
        let mut connection = connect(&path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        schema::migrate(&mut connection, &path)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        let epoch = Arc::new(Epoch::open(folder)?);
        let writers = Writers::open(folder)?;
        let checkpoints = Checkpoints::start(&connection, connect(&path, OpenFlags::SQLITE_OPEN_READ_WRITE)?)?;
        let (queue, long_reads) = (Queue::start(connection, checkpoints)?, Arc::new(Semaphore::new(LONG_READS)));
        Ok(Self { path, queue, idle: Arc::default(), long_reads, epoch, writers })
    }

    fn reader(&self) -> Result<Connection, Error> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        idle.map_or_else(|| connect(&self.path, OpenFlags::SQLITE_OPEN_READ_ONLY), Ok)
    }

    /// Reads by an index: a few microseconds, less than a trip to another thread and back.
    fn read<T>(&self, f: impl FnOnce(&Connection) -> Result<T, Error>) -> Result<T, Error> {
        if self.queue.is_closed() {
            return Err(Error::Closed);
        }
        let connection = self.reader()?;
        let answer = f(&connection);
        if answer.is_ok() {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        }
        answer
    }

    /// Reads what may take longer, on a thread where that holds nobody up.
    async fn read_much<T: Send + 'static>(
        &self,
        f: impl FnOnce(&Connection) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        if self.queue.is_closed() {
            return Err(Error::Closed);
        }
        let turn = Arc::clone(&self.long_reads).acquire_owned().await.map_err(|_| Error::Closed)?;
        let connection = self.reader()?;
        let idle = Arc::clone(&self.idle);
        let reading = tokio::task::spawn_blocking(move || {
            // Until it is done, also when its caller goes away before.
            let _turn = turn;
            let answer = f(&connection);
            if answer.is_ok() {
                idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
            }
            answer
        });
        reading.await.map_err(|_| Error::Closed)?
    }
}

/// The file, readable by its owner alone from its first moment; SQLite gives its companions the same mode.
fn make_private(path: &Path) -> Result<(), Error> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let opened = std::fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
    opened.map(drop).map_err(|source| Error::io("open", path, source))
}

fn connect(path: &Path, flags: OpenFlags) -> Result<Connection, Error> {
    let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY)?;
    connection.set_prepared_statement_cache_capacity(PREPARED);
    // Once a table was analysed, SQLite would plan a statement anew for every value that is bound to it, which takes many
    // times as long as to read a row by its key.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.pragma_update(None, "cache_size", -4096)?;
    Ok(connection)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_planned_once_whatever_is_bound_to_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("links.db");
        let sqlite = Sqlite::open(folder.path()).expect("opened");
        let writer = Connection::open(&path).expect("opened");
        for n in 0..100 {
            let values = rusqlite::params![n.to_string(), format!("name {n}"), n];
            writer.execute("INSERT INTO clients VALUES (?1, ?2, 0, ?3)", values).expect("written");
        }
        // As when a server ends.
        writer.execute_batch("ANALYZE").expect("looked at");
        let planned = |connection: &Connection| {
            let sql = "SELECT name FROM clients WHERE id = ?1 AND created_at >= ?2 LIMIT ?3";
            let mut statement = connection.prepare_cached(sql).expect("SQL");
            for n in 0..10 {
                assert!(statement.exists(rusqlite::params![n.to_string(), n, n + 1]).expect("read"));
            }
            statement.get_status(rusqlite::StatementStatus::RePrepare)
        };
        assert_eq!(planned(&sqlite.reader().expect("a connection")), 0);
        assert!(planned(&Connection::open(&path).expect("opened")) >= 9, "as SQLite does by itself");
    }

    #[tokio::test]
    async fn however_many_read_at_once_connections_are_few() {
        let folder = tempfile::tempdir().expect("a folder");
        let sqlite = Sqlite::open(folder.path()).expect("opened");
        let count = |connection: &Connection| {
            Ok(connection.query_row("SELECT count(*) FROM links", [], |row| row.get::<_, i64>(0))?)
        };
        let reads = futures_util::future::join_all((0..200).map(|_| sqlite.read_much(count))).await;
        assert!(reads.into_iter().all(|read| matches!(read, Ok(0))));
        assert!(sqlite.idle.lock().expect("whole").len() <= LONG_READS);
    }

    #[tokio::test]
    async fn a_writer_that_has_died_is_noticed() {
        let folder = tempfile::tempdir().expect("a folder");
        let sqlite = Sqlite::open(folder.path()).expect("opened");
        let links: &dyn crate::store::ledger::Links = &sqlite;
        links.writable().await.expect("it lives");
        let died = sqlite.queue.write(|_| -> Result<(), Error> { panic!("for the test") }).await;
        assert!(died.is_err());
        assert!(sqlite.read(|_| Ok(())).is_ok(), "reading does not tell");
        assert!(links.writable().await.is_err());
    }
}
