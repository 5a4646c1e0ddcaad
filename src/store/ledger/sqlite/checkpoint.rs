//! Copies what was committed from the write-ahead log into the database, on a thread of its own: that takes the disk's
//! time, and the one that writes has callers waiting.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use rusqlite::Connection;

use crate::store::Error;

/// Pages in the log that are worth copying. Half of SQLite's own measure: they are written down all over the database,
/// and meanwhile whoever else waits for the disk waits longer.
const WORTH: i64 = 500;

/// Pages the log may have before all of it is copied: only from then on does it begin anew instead of growing.
const LONG: i64 = 8 * WORTH;

/// Pages in the log from which on the writer copies them itself and lets its callers wait: 64 MiB. So much comes
/// together only where the disk does not keep up.
const CEILING: i64 = 16 * 1024;

/// The thread that copies; it ends when this is dropped.
pub(super) struct Checkpoints {
    wake: Option<SyncSender<()>>,
    copying: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Checkpoints {
    /// For what `writer` commits; `own` is a second connection to the same database.
    pub(super) fn start(writer: &Connection, own: Connection) -> Result<Self, Error> {
        writer.pragma_update(None, "wal_autocheckpoint", CEILING)?;
        let (wake, woken) = sync_channel(1);
        let copying = Arc::new(AtomicBool::new(false));
        let busy = Arc::clone(&copying);
        let thread = std::thread::Builder::new().name("checkpoints".to_owned());
        let thread = thread.spawn(move || run(&own, &woken, &busy));
        let thread = thread.map_err(|source| Error::io("start the thread that copies", "links.db-wal", source))?;
        Ok(Self { wake: Some(wake), copying, thread: Some(thread) })
    }

    /// To be called after a commit.
    pub(super) fn committed(&self, writer: &Connection) {
        let due = match log(writer) {
            // While others copy, more is committed, and a log of which not all is copied cannot begin anew. The little
            // that is left the writer copies itself: nothing comes in between then.
            Ok(log) if log.pages >= LONG && log.waiting <= WORTH => {
                if log.waiting > 0 && !self.copying.load(Ordering::Acquire) {
                    copy(writer);
                }
                false
            }
            Ok(log) => log.waiting >= WORTH,
            // What cannot be asked is not known to be little.
            Err(_) => true,
        };
        if let Some(wake) = self.wake.as_ref().filter(|_| due) {
            self.copying.store(true, Ordering::Release);
            // Full: it has been told already.
            let _ = wake.try_send(());
        }
    }
}

impl Drop for Checkpoints {
    fn drop(&mut self) {
        self.wake.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The write-ahead log.
struct Log {
    pages: i64,
    /// Those of them that are not in the database yet.
    waiting: i64,
}

fn log(connection: &Connection) -> Result<Log, rusqlite::Error> {
    checkpoint(connection, "PRAGMA wal_checkpoint(NOOP)")
}

fn checkpoint(connection: &Connection, sql: &str) -> Result<Log, rusqlite::Error> {
    connection.prepare_cached(sql)?.query_row([], |row| {
        let (pages, copied) = (row.get::<_, i64>(1)?, row.get::<_, i64>(2)?);
        Ok(Log { pages, waiting: pages - copied })
    })
}

fn run(own: &Connection, woken: &Receiver<()>, copying: &AtomicBool) {
    while woken.recv().is_ok() {
        copy(own);
        copying.store(false, Ordering::Release);
    }
}

/// As much as can be without waiting for anybody, or anybody waiting for it.
fn copy(connection: &Connection) {
    if let Err(error) = checkpoint(connection, "PRAGMA wal_checkpoint(PASSIVE)") {
        tracing::warn!(%error, "what was committed stays in the write-ahead log for now");
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use rusqlite::OpenFlags;

    use super::super::connect;
    use super::*;

    fn waiting(connection: &Connection) -> i64 {
        log(connection).expect("asked").waiting
    }

    #[test]
    fn what_was_committed_is_copied_by_another_thread() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("t.db");
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
        let writer = connect(&path, flags).expect("opened");
        writer.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (x)").expect("made");
        let checkpoints = Checkpoints::start(&writer, connect(&path, flags).expect("opened")).expect("started");
        checkpoints.committed(&writer);
        writer.execute("INSERT INTO t VALUES (zeroblob(5000000))", []).expect("written");
        assert!(waiting(&writer) >= WORTH, "the writer itself copies nothing");
        checkpoints.committed(&writer);
        let begun = Instant::now();
        while waiting(&writer) > 0 {
            assert!(begun.elapsed() < Duration::from_secs(60), "nobody copies");
            std::thread::yield_now();
        }
        drop(checkpoints);
        writer.execute("INSERT INTO t VALUES (zeroblob(5000000))", []).expect("still written");
    }

    #[test]
    fn a_log_under_steady_writing_begins_anew() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("t.db");
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
        let writer = connect(&path, flags).expect("opened");
        writer.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (x)").expect("made");
        let checkpoints = Checkpoints::start(&writer, connect(&path, flags).expect("opened")).expect("started");
        let begun = Instant::now();
        let (mut before, mut anew) = (0, false);
        while !anew {
            assert!(begun.elapsed() < Duration::from_secs(60), "{before} pages, and it grows");
            writer.execute("INSERT INTO t VALUES (zeroblob(400000))", []).expect("written");
            checkpoints.committed(&writer);
            let pages = log(&writer).expect("asked").pages;
            anew = pages < before;
            before = pages;
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(before < CEILING, "and the writer did not have to see to it itself");
    }
}
