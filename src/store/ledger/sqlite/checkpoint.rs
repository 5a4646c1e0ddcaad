//! Copies what was committed from the write-ahead log into the database, on a thread of its own: that takes the disk's
//! time, and the one that writes has callers waiting.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use rusqlite::Connection;

use crate::store::Error;

/// Pages in the log that are worth copying: SQLite's own measure.
const WORTH: i64 = 1000;

/// Pages in the log from which on the writer copies them itself and lets its callers wait: 64 MiB. So much comes
/// together only where the disk does not keep up.
const CEILING: i64 = 16 * 1024;

/// The thread that copies; it ends when this is dropped.
pub(super) struct Checkpoints {
    wake: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Checkpoints {
    /// For what `writer` commits; `own` is a second connection to the same database.
    pub(super) fn start(writer: &Connection, own: Connection) -> Result<Self, Error> {
        writer.pragma_update(None, "wal_autocheckpoint", CEILING)?;
        let (wake, woken) = sync_channel(1);
        let thread = std::thread::Builder::new().name("checkpoints".to_owned()).spawn(move || run(&own, &woken));
        let thread = thread.map_err(|source| Error::io("start the thread that copies", "links.db-wal", source))?;
        Ok(Self { wake: Some(wake), thread: Some(thread) })
    }

    /// To be called after a commit.
    pub(super) fn committed(&self, writer: &Connection) {
        // What cannot be asked is not known to be little.
        if waiting(writer).unwrap_or(WORTH) >= WORTH
            && let Some(wake) = &self.wake
        {
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

/// Pages in the log that are not in the database yet.
fn waiting(connection: &Connection) -> Result<i64, rusqlite::Error> {
    let mut asking = connection.prepare_cached("PRAGMA wal_checkpoint(NOOP)")?;
    asking.query_row([], |row| Ok(row.get::<_, i64>(1)? - row.get::<_, i64>(2)?))
}

fn run(own: &Connection, woken: &Receiver<()>) {
    while woken.recv().is_ok() {
        // Passive: it waits for nobody and nobody waits for it. What it leaves, the next one takes.
        if let Err(error) = own.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())) {
            tracing::warn!(%error, "what was committed stays in the write-ahead log for now");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use rusqlite::OpenFlags;

    use super::super::connect;
    use super::*;

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
        assert!(waiting(&writer).expect("asked") >= WORTH, "the writer itself copies nothing");
        checkpoints.committed(&writer);
        let begun = Instant::now();
        while waiting(&writer).expect("asked") > 0 {
            assert!(begun.elapsed() < Duration::from_secs(60), "nobody copies");
            std::thread::yield_now();
        }
        drop(checkpoints);
        writer.execute("INSERT INTO t VALUES (zeroblob(5000000))", []).expect("still written");
    }
}
