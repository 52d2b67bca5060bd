//! The one writer: a thread that commits whatever is waiting, many transitions to one `fsync`.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::thread::{Builder, JoinHandle};

use inngest_core::{Clock, Millis, crash};
use inngest_queue::admission;
use rusqlite::{CachedStatement, Connection, params};
use tokio::sync::{mpsc, oneshot};

use super::apply::{Applied, Statements};
use super::follow;
use super::hot_runs::HotRuns;
use crate::{CommitError, Committed, StoreError, Transition};

/// Transitions that may wait for the writer; more callers wait for a place.
const WAITING_MAX: usize = 16_384;

/// Transitions of one database transaction; the rest waits for the next.
const BATCH_MAX: usize = 1_024;

/// Idempotency keys and counts of limits that have expired are removed in passing after every such number of batches:
/// of each as many as full batches of events with one key add, so that what expires never piles up.
const EXPIRE_EVERY: u32 = 4;
const EXPIRE_ROWS: u32 = EXPIRE_EVERY * BATCH_MAX as u32;

type Answer = oneshot::Sender<Result<Committed, CommitError>>;

/// A transition whose caller waits.
type Pending = (Arc<Transition>, Answer);

enum Command {
    Commit(Pending),
    VoidLeases(Millis, oneshot::Sender<Result<(), StoreError>>),
    Close(oneshot::Sender<()>),
}

/// Handle of the writer thread.
pub(super) struct Writer {
    commands: mpsc::Sender<Command>,
    /// How many jobs there are.
    jobs: Arc<AtomicI64>,
    /// Joined when the last handle goes, so that the lock is free when the store is dropped.
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(super) fn spawn(
        connection: Connection,
        lock: File,
        hot: Arc<HotRuns>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StoreError> {
        let (commands, inbox) = mpsc::channel(WAITING_MAX);
        let jobs = connection.query_row("SELECT count(*) FROM jobs", [], |row| row.get(0)).map(AtomicI64::new)?;
        let jobs = Arc::new(jobs);
        let count = Arc::clone(&jobs);
        let thread = Builder::new()
            .name("store-writer".into())
            .spawn(move || {
                run(&connection, inbox, &hot, &*clock, count);
                drop(connection);
                drop(lock);
            })
            .map_err(|error| StoreError::Other(format!("no thread for the writer: {error}")))?;
        Ok(Self { commands, jobs, thread: Some(thread) })
    }

    pub(super) async fn commit(&self, transition: Arc<Transition>) -> Result<Committed, CommitError> {
        let (answer, answered) = oneshot::channel();
        let command = Command::Commit((transition, answer));
        self.commands.send(command).await.map_err(|_| StoreError::Closed)?;
        answered.await.map_err(|_| StoreError::Closed)?
    }

    /// How many jobs there are, after every commit that was acknowledged.
    pub(super) fn jobs(&self) -> u64 {
        self.jobs.load(Ordering::Acquire).unsigned_abs()
    }

    pub(super) async fn void_leases(&self, now: Millis) -> Result<(), StoreError> {
        let (answer, answered) = oneshot::channel();
        self.commands.send(Command::VoidLeases(now, answer)).await.map_err(|_| StoreError::Closed)?;
        answered.await.map_err(|_| StoreError::Closed)?
    }

    pub(super) async fn close(&self) {
        let (answer, answered) = oneshot::channel();
        if self.commands.send(Command::Close(answer)).await.is_ok() {
            // An error means that the thread is gone, which is what was asked for.
            let _gone = answered.await;
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let (dummy, _) = mpsc::channel(1);
        drop(std::mem::replace(&mut self.commands, dummy));
        if let Some(thread) = self.thread.take() {
            // A panic of the writer was logged by the panic hook; every commit since failed as Closed.
            let _panicked = thread.join();
        }
    }
}

fn run(
    connection: &Connection,
    mut inbox: mpsc::Receiver<Command>,
    hot: &HotRuns,
    clock: &dyn Clock,
    jobs: Arc<AtomicI64>,
) {
    let mut statements = match Statements::prepare(connection, jobs) {
        Ok(statements) => statements,
        Err(error) => {
            tracing::error!(%error, "the store's statements do not fit its schema");
            return;
        }
    };
    // Larger than any number given before, also by an earlier process.
    let mut seq = clock.now().0.saturating_mul(1_000);
    let mut batches = 0_u32;
    let mut batch: Vec<Pending> = Vec::new();
    while let Some(first) = inbox.blocking_recv() {
        let mut next = Some(first);
        let mut other = None;
        while let Some(command) = next {
            match command {
                Command::Commit(commit) => batch.push(commit),
                command => {
                    other = Some(command);
                    break;
                }
            }
            next = if batch.len() < BATCH_MAX { inbox.try_recv().ok() } else { None };
        }
        if !batch.is_empty() {
            commit_batch(connection, &mut statements, hot, clock.now(), &mut seq, &mut batch);
            batches = batches.wrapping_add(1);
        }
        if batches % EXPIRE_EVERY == 1 {
            expire(connection, clock.now());
        }
        match other {
            Some(Command::VoidLeases(now, answer)) => {
                // The caller may have stopped waiting.
                let _unheard = answer.send(void_leases(connection, now).map_err(StoreError::from));
            }
            Some(Command::Close(answer)) => {
                inbox.close();
                let _unheard = answer.send(());
                return;
            }
            Some(Command::Commit(_)) | None => {}
        }
    }
}

/// Commits the batch. When the database refuses one transaction, each transition gets a transaction of its
/// own, so that one that cannot be stored does not fail its neighbours.
fn commit_batch(
    connection: &Connection,
    statements: &mut Statements<'_>,
    hot: &HotRuns,
    now: Millis,
    seq: &mut i64,
    batch: &mut Vec<Pending>,
) {
    let together = commit_all(connection, statements, now, seq, batch.iter().map(|commit| &*commit.0));
    match together {
        Ok(applied) => {
            for (commit, applied) in batch.drain(..).zip(applied) {
                answer(hot, commit, Ok(applied));
            }
        }
        Err(error) if batch.len() == 1 => {
            statements.undone();
            let commit = batch.pop().expect("there is one");
            answer(hot, commit, Err(StoreError::of(&error)));
        }
        Err(_) => {
            statements.undone();
            for commit in batch.drain(..) {
                let alone = commit_all(connection, statements, now, seq, std::iter::once(&*commit.0));
                if alone.is_err() {
                    statements.undone();
                }
                let result = alone.map(|mut applied| applied.pop().expect("one in, one out"));
                answer(hot, commit, result.map_err(|error| StoreError::of(&error)));
            }
        }
    }
}

fn commit_all<'t>(
    connection: &Connection,
    statements: &mut Statements<'_>,
    now: Millis,
    seq: &mut i64,
    transitions: impl Iterator<Item = &'t Transition>,
) -> rusqlite::Result<Vec<Applied>> {
    let database = connection.unchecked_transaction()?;
    let applied = transitions.map(|transition| statements.apply(transition, now, seq)).collect::<Result<_, _>>()?;
    statements.counters.write()?;
    crash::point("store.before_commit");
    database.commit()?;
    crash::point("store.after_commit");
    statements.committed();
    Ok(applied)
}

fn answer(hot: &HotRuns, (transition, answer): Pending, result: Result<Applied, StoreError>) {
    let result = match result {
        Ok(Ok(committed)) => {
            follow(hot, &transition, &committed);
            Ok(committed)
        }
        Ok(Err(rejected)) => Err(CommitError::Rejected(rejected)),
        Err(error) => Err(CommitError::Store(error)),
    };
    // The caller may have stopped waiting; what is committed stays committed.
    let _unheard = answer.send(result);
}

fn void_leases(connection: &Connection, now: Millis) -> rusqlite::Result<()> {
    connection.execute("UPDATE jobs SET generation = generation + 1 WHERE due <= ?1", [now.0])?;
    Ok(())
}

fn expire(connection: &Connection, now: Millis) {
    let keys = "DELETE FROM idempotency WHERE (function_id, key) IN \
                (SELECT function_id, key FROM idempotency WHERE expires_at <= ?1 LIMIT ?2)";
    let tats = "DELETE FROM tats WHERE (kind, bucket, key) IN \
                (SELECT kind, bucket, key FROM tats WHERE tat <= ?1 LIMIT ?2)";
    for (sql, until) in [(keys, now.0), (tats, admission::nanoseconds(now))] {
        let remove = |mut statement: CachedStatement<'_>| statement.execute(params![until, EXPIRE_ROWS]);
        if let Err(error) = connection.prepare_cached(sql).and_then(remove) {
            tracing::warn!(%error, "what has expired could not be removed");
        }
    }
}
