//! The one thread that writes: it takes what has queued up, commits it in one transaction, and then answers.

use std::future::Future;
use std::sync::Mutex;
use std::thread::JoinHandle;

use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

use super::checkpoint::Checkpoints;
use crate::store::Error;

/// Writes that may wait; whoever brings one more waits for room.
const WAITING: usize = 1024;

/// Writes in one transaction at most.
const GROUP: usize = 256;

/// Answers its caller once the transaction it was part of is committed, or is not.
type Answer = Box<dyn FnOnce(Result<(), Error>) + Send>;

/// Something to write.
struct Job {
    /// Does its work inside the transaction; what it changes is undone if it fails.
    work: Box<dyn FnOnce(&Connection) -> Answer + Send>,
    /// Whether it is answered only when it outlasts a loss of power.
    durable: bool,
}

pub(super) struct Queue {
    sender: Mutex<Option<mpsc::Sender<Job>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Queue {
    pub(super) fn start(connection: Connection, checkpoints: Checkpoints) -> Result<Self, Error> {
        let (sender, receiver) = mpsc::channel(WAITING);
        let thread = std::thread::Builder::new().name("ledger".to_owned());
        let thread = thread.spawn(move || run(connection, checkpoints, receiver));
        let thread = thread.map_err(|source| Error::io("start the thread that writes", "links.db", source))?;
        Ok(Self { sender: Mutex::new(Some(sender)), thread: Mutex::new(Some(thread)) })
    }

    fn sender(&self) -> Option<mpsc::Sender<Job>> {
        self.sender.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.sender().is_none()
    }

    /// Does `work` in a transaction; ready when that is durable. It is on its way when this returns, and done also if
    /// nobody waits for it; unless too many are waiting already, then only when it is polled.
    pub(super) fn write<T, W>(&self, work: W) -> impl Future<Output = Result<T, Error>> + Send + use<T, W>
    where
        T: Send + 'static,
        W: FnOnce(&Connection) -> Result<T, Error> + Send + 'static,
    {
        self.bring(true, work, || Ok(()))
    }

    /// As [`Queue::write`], but ready when it is done: durable it is with the next write that has to be. Not for what
    /// may not be lost with the power.
    pub(super) fn write_for_now<T, W>(&self, work: W) -> impl Future<Output = Result<T, Error>> + Send + use<T, W>
    where
        T: Send + 'static,
        W: FnOnce(&Connection) -> Result<T, Error> + Send + 'static,
    {
        self.bring(false, work, || Ok(()))
    }

    /// As [`Queue::write`], and does `then` once it is durable: also for a caller that has gone away by then.
    pub(super) fn write_then<T, W, A>(
        &self,
        work: W,
        then: A,
    ) -> impl Future<Output = Result<T, Error>> + Send + use<T, W, A>
    where
        T: Send + 'static,
        W: FnOnce(&Connection) -> Result<T, Error> + Send + 'static,
        A: FnOnce() -> Result<(), Error> + Send + 'static,
    {
        self.bring(true, work, then)
    }

    fn bring<T, W, A>(
        &self,
        durable: bool,
        work: W,
        then: A,
    ) -> impl Future<Output = Result<T, Error>> + Send + use<T, W, A>
    where
        T: Send + 'static,
        W: FnOnce(&Connection) -> Result<T, Error> + Send + 'static,
        A: FnOnce() -> Result<(), Error> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let work = Box::new(move |connection: &Connection| -> Answer {
            let done = within_savepoint(connection, work);
            Box::new(move |committed| {
                let done = committed.and(done).and_then(|done| then().map(|()| done));
                // A caller that went away does not want its answer.
                drop(answer.send(done));
            })
        });
        let job = Job { work, durable };
        let brought = self.sender().ok_or(Error::Closed).and_then(|sender| match sender.try_send(job) {
            Ok(()) => Ok(None),
            Err(TrySendError::Full(job)) => Ok(Some((sender, job))),
            Err(TrySendError::Closed(_)) => Err(Error::Closed),
        });
        async move {
            if let Some((sender, job)) = brought? {
                sender.send(job).await.map_err(|_| Error::Closed)?;
            }
            answered.await.map_err(|_| Error::NotWritten)?
        }
    }

    /// Waits for everything that was brought so far, and takes no more.
    pub(super) async fn close(&self) {
        self.sender.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        let thread = self.thread.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // It ends by itself once the last sender is gone; a panic in it was reported to those who waited.
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}

fn within_savepoint<T>(
    connection: &Connection,
    work: impl FnOnce(&Connection) -> Result<T, Error>,
) -> Result<T, Error> {
    let step = |sql: &str| connection.prepare_cached(sql)?.execute([]).map(drop);
    step("SAVEPOINT job")?;
    let done = work(connection);
    if done.is_err() {
        step("ROLLBACK TO job")?;
    }
    step("RELEASE job")?;
    done
}

fn run(mut connection: Connection, checkpoints: Checkpoints, mut jobs: mpsc::Receiver<Job>) {
    // As it was opened.
    let mut syncs = true;
    while let Some(first) = jobs.blocking_recv() {
        let mut group = vec![first];
        while group.len() < GROUP {
            let Ok(next) = jobs.try_recv() else { break };
            group.push(next);
        }
        let durable = group.iter().any(|job| job.durable);
        if syncs != durable {
            match sync_commits(&connection, durable) {
                Ok(()) => syncs = durable,
                // Dropped, its callers are told that nothing was written.
                Err(error) if durable => {
                    tracing::error!(%error, "cannot make what is written durable");
                    continue;
                }
                Err(_) => {}
            }
        }
        commit(&mut connection, group);
        checkpoints.committed(&connection);
    }
    drop(checkpoints);
    // Leaves one file instead of three behind; a failure leaves them for the next start to use.
    let _ = connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE); PRAGMA optimize;");
}

/// Whether a commit waits until the log is on the disk, with all that was committed before it.
fn sync_commits(connection: &Connection, wait: bool) -> Result<(), rusqlite::Error> {
    connection.pragma_update(None, "synchronous", if wait { "FULL" } else { "NORMAL" })
}

fn commit(connection: &mut Connection, group: Vec<Job>) {
    let transaction = match connection.transaction_with_behavior(TransactionBehavior::Immediate) {
        Ok(transaction) => transaction,
        Err(error) => {
            // The jobs never ran: dropping them tells their callers no more than that, so the cause is logged here.
            tracing::error!(%error, "cannot begin to write to the database");
            return;
        }
    };
    let mut answers: Vec<Answer> = Vec::with_capacity(group.len());
    for job in group {
        // A full disk makes SQLite roll all of it back at once. What came later would be committed by itself, and its
        // caller told that it was not; dropped, its caller is told that it never ran.
        if !transaction.is_autocommit() {
            answers.push((job.work)(&transaction));
        }
    }
    let committed = transaction.commit().map_err(Error::from);
    let failure = committed.as_ref().err().map(ToString::to_string);
    let mut committed = Some(committed);
    for answer in answers {
        // The first gets the error itself, the others its words.
        let result = match (&failure, committed.take()) {
            (None, _) => Ok(()),
            (Some(_), Some(first)) => first,
            (Some(words), None) => Err(Error::Damaged(format!("the transaction was not committed: {words}"))),
        };
        answer(result);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_what_has_to_be_durable_waits_for_the_disk() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("t.db");
        let connect = || Connection::open(&path).expect("opened");
        connect().execute_batch("PRAGMA journal_mode = WAL").expect("set");
        let queue =
            Queue::start(connect(), Checkpoints::start(&connect(), connect()).expect("started")).expect("started");
        let synchronous =
            |connection: &Connection| Ok(connection.query_row("PRAGMA synchronous", [], |row| row.get::<_, i64>(0))?);
        let (normal, full) = (1, 2);
        for _ in 0..2 {
            assert_eq!(queue.write_for_now(synchronous).await.expect("written"), normal);
            assert_eq!(queue.write(synchronous).await.expect("written"), full);
        }
        queue.close().await;
    }

    #[tokio::test]
    async fn what_comes_after_a_transaction_that_sqlite_gave_up_is_not_done_outside_it() {
        let connection = Connection::open_in_memory().expect("opened");
        connection.execute_batch("CREATE TABLE t (x)").expect("made");
        let insert = |x: i64| move |connection: &Connection| Ok(connection.execute("INSERT INTO t VALUES (?1)", [x])?);
        // Three jobs of one group, which no thread has taken yet. SQLite ends a transaction by itself when the disk is
        // full.
        let (sender, receiver) = mpsc::channel(WAITING);
        let queue = Queue { sender: Mutex::new(Some(sender)), thread: Mutex::new(None) };
        let group = async {
            tokio::join!(
                queue.write(insert(1)),
                queue.write(|connection| Ok(connection.execute_batch("ROLLBACK")?)),
                queue.write(insert(3)),
                async { queue.close().await },
            )
        };
        let thread = std::thread::spawn(move || {
            let mut connection = connection;
            let mut receiver = receiver;
            let mut group = Vec::new();
            while let Some(job) = receiver.blocking_recv() {
                group.push(job);
            }
            commit(&mut connection, group);
            connection
        });
        let (first, _, third, ()) = group.await;
        assert!(first.is_err() && third.is_err());
        let connection = thread.join().expect("no panic");
        let rows: i64 = connection.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).expect("read");
        assert_eq!(rows, 0, "what was answered as not written is not there");
    }
}
