//! The embedded backend: SQLite in WAL mode, one writer with group commit, a pool of readers.
//!
//! The writer is a thread of its own. It takes whatever transitions are waiting, applies them in one
//! database transaction, and answers all of them after the one `fsync`. Reads never wait for it.
//! Runs that are being worked on are kept in a bounded cache ([`hot_runs`]) that follows each commit.

mod admission;
mod apply;
#[cfg(feature = "bulk")]
pub mod bulk;
mod codec;
mod count;
mod counters;
mod detail;
mod events;
mod gathering;
mod hot_runs;
mod lists;
mod open;
mod query;
mod read;
mod read_flow;
mod read_keys;
mod readers;
mod records;
mod render;
mod singletons;
mod wait_tests;
mod waits;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use inngest_core::{App, Clock, Event, EventId, Function, FunctionId, Millis, Payload, RunId};
use inngest_queue::{JobId, QueueItem, StartedRun, Token};

use crate::history::{
    DeferRecord, EventFilter, EventRecord, GatheringFilter, GatheringRecord, History, RunFilter, RunRecord, RunTrace,
    SkipFilter, SkipRecord,
};
use crate::{
    Awaited, Cancellation, Change, CommitError, Committed, Gathered, Hold, Metadata, RunState, Store, StoreError, Tick,
    Transition,
};
use hot_runs::HotRuns;
use read::Reader;
use readers::{Onlookers, Readers};
use writer::Writer;

/// Where the database lives, and its bounds.
#[derive(Clone, Debug)]
pub struct Options {
    /// Directory of `main.db`; made when it does not exist.
    pub dir: PathBuf,
    /// Bytes of hot run states kept in memory; older ones are read again when needed.
    pub hot_bytes_max: usize,
    /// The database never grows beyond this; commits then fail as on a full disk. `None`: the disk is the limit.
    pub size_bytes_max: Option<u64>,
    /// Whether lists, counts and traces are read by threads of their own, of low priority. A test in virtual time does
    /// without: its clock would run on while they read.
    pub has_onlookers: bool,
}

impl Options {
    /// The defaults for a database in `dir`.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), hot_bytes_max: 16 * 1024 * 1024, size_bytes_max: None, has_onlookers: true }
    }

    fn file(&self) -> PathBuf {
        self.dir.join("main.db")
    }
}

/// The embedded store. Cheap to clone.
#[derive(Clone)]
pub struct SqliteStore {
    writer: Arc<Writer>,
    readers: Readers,
    onlookers: Option<Onlookers>,
    hot: Arc<HotRuns>,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SqliteStore")
    }
}

impl SqliteStore {
    /// Opens the database in `options.dir`, makes it when missing, and brings its schema up to date.
    /// Blocks; takes the directory's lock until the store is closed or dropped.
    pub fn open(options: &Options, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        let (connection, lock) = open::open(options)?;
        let hot = Arc::new(HotRuns::new(options.hot_bytes_max));
        let readers = Readers::new(options.file());
        let onlookers = options.has_onlookers.then(|| Onlookers::spawn(&options.file())).transpose()?;
        let writer = Writer::spawn(connection, lock, Arc::clone(&hot), Arc::clone(&clock))?;
        Ok(Self { writer: Arc::new(writer), readers, onlookers, hot, clock })
    }

    /// What people look at: `query`, once for all who ask for `what` before it begins.
    async fn look<T, Q>(&self, what: String, query: Q) -> Result<T, StoreError>
    where
        T: Clone + Send + 'static,
        Q: FnOnce(&Reader<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        match &self.onlookers {
            Some(onlookers) => onlookers.read(what, query).await,
            None => self.readers.read(query).await,
        }
    }

    /// The lock file that tells other processes to keep away from `dir`.
    #[must_use]
    pub fn lock_file(dir: &Path) -> PathBuf {
        dir.join("main.lock")
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn commit(&self, transition: Arc<Transition>) -> Result<Committed, CommitError> {
        self.writer.commit(transition).await
    }

    async fn run(&self, id: RunId) -> Result<Option<Arc<RunState>>, StoreError> {
        if let Some(run) = self.hot.get(id) {
            return Ok(Some(run));
        }
        let seen = self.hot.version(id);
        let Some(run) = self.readers.read(move |db| db.run_state(id)).await? else { return Ok(None) };
        let run = Arc::new(run);
        self.hot.insert_unless_changed(&run, seen);
        Ok(Some(run))
    }

    async fn jobs_ready(&self, after: Option<JobId>, limit: usize) -> Result<Vec<QueueItem>, StoreError> {
        self.readers.read(move |db| db.jobs_ready(after, limit)).await
    }

    async fn jobs_due(
        &self,
        before: Millis,
        after: Option<(Millis, JobId)>,
        limit: usize,
    ) -> Result<Vec<QueueItem>, StoreError> {
        self.readers.read(move |db| db.jobs_due(before, after, limit)).await
    }

    async fn next_due(&self, after: Millis) -> Result<Option<Millis>, StoreError> {
        self.readers.read(move |db| db.next_due(after)).await
    }

    async fn job_count(&self) -> Result<u64, StoreError> {
        Ok(self.writer.jobs())
    }

    async fn void_leases(&self, now: Millis) -> Result<(), StoreError> {
        self.writer.void_leases(now).await
    }

    async fn definitions(&self) -> Result<(Vec<App>, Vec<Function>), StoreError> {
        self.readers.read(|db| Ok((db.apps(false)?, db.functions(false)?))).await
    }

    async fn ticks(&self) -> Result<Vec<Tick>, StoreError> {
        self.readers.read(|db| db.ticks()).await
    }

    async fn tokens(&self) -> Result<Vec<Token>, StoreError> {
        let now = self.clock.now();
        self.readers.read(move |db| db.tokens(now)).await
    }

    async fn started_runs(&self, functions: Vec<FunctionId>) -> Result<Vec<StartedRun>, StoreError> {
        self.readers.read(move |db| db.started_runs(&functions)).await
    }

    async fn holds(&self) -> Result<Vec<(FunctionId, Hold)>, StoreError> {
        self.readers.read(|db| db.holds()).await
    }

    async fn document(&self, name: &str) -> Result<Option<Payload>, StoreError> {
        let name = name.to_owned();
        self.readers.read(move |db| db.document(&name)).await
    }

    async fn gathered(&self, job: JobId) -> Result<Option<Gathered>, StoreError> {
        self.readers.read(move |db| db.gathered(job)).await
    }

    async fn close(&self) {
        self.writer.close().await;
        self.readers.close();
        self.onlookers.iter().for_each(Onlookers::close);
    }
}

#[async_trait]
impl History for SqliteStore {
    // What is read by one id, and small tables: execution needs them too.

    async fn event(&self, id: EventId) -> Result<Option<EventRecord>, StoreError> {
        self.readers.read(move |db| db.event(id)).await
    }

    async fn run_record(&self, id: RunId) -> Result<Option<RunRecord>, StoreError> {
        self.readers.read(move |db| db.run_record(id)).await
    }

    async fn keyed_event(&self, function: FunctionId, key: String) -> Result<Option<EventId>, StoreError> {
        let now = self.clock.now();
        self.readers.read(move |db| db.keyed_event(function, &key, now)).await
    }

    async fn cancellations(&self) -> Result<Vec<Cancellation>, StoreError> {
        self.readers.read(|db| db.cancellations()).await
    }

    async fn apps(&self) -> Result<Vec<App>, StoreError> {
        self.readers.read(|db| db.apps(true)).await
    }

    async fn functions(&self) -> Result<Vec<Function>, StoreError> {
        self.readers.read(|db| db.functions(true)).await
    }

    // What people look at.

    async fn runs(&self, filter: RunFilter) -> Result<Vec<RunRecord>, StoreError> {
        self.look(format!("runs {filter:?}"), move |db| db.runs(&filter)).await
    }

    async fn count_runs(&self, filter: RunFilter) -> Result<u64, StoreError> {
        self.look(format!("count_runs {filter:?}"), move |db| db.count_runs(filter)).await
    }

    async fn events(&self, filter: EventFilter) -> Result<Vec<EventRecord>, StoreError> {
        self.look(format!("events {filter:?}"), move |db| db.events(&filter)).await
    }

    async fn count_events(&self, filter: EventFilter) -> Result<u64, StoreError> {
        self.look(format!("count_events {filter:?}"), move |db| db.count_events(&filter)).await
    }

    async fn event_records(&self, ids: Vec<EventId>) -> Result<Vec<EventRecord>, StoreError> {
        self.look(format!("event_records {ids:?}"), move |db| db.event_records(&ids)).await
    }

    async fn run_records(&self, ids: Vec<RunId>) -> Result<Vec<RunRecord>, StoreError> {
        self.look(format!("run_records {ids:?}"), move |db| db.run_records(&ids)).await
    }

    async fn runs_of_events(&self, ids: Vec<EventId>) -> Result<Vec<(EventId, Vec<RunRecord>)>, StoreError> {
        self.look(format!("runs_of_events {ids:?}"), move |db| db.runs_of_events(&ids)).await
    }

    async fn runs_with_ai(&self, ids: Vec<RunId>) -> Result<Vec<RunId>, StoreError> {
        self.look(format!("runs_with_ai {ids:?}"), move |db| db.runs_with_ai(&ids)).await
    }

    async fn defers(&self, run: RunId) -> Result<Vec<DeferRecord>, StoreError> {
        self.look(format!("defers {run:?}"), move |db| db.defers(run)).await
    }

    async fn trace(&self, id: RunId) -> Result<RunTrace, StoreError> {
        self.look(format!("trace {id:?}"), move |db| db.trace(id)).await
    }

    async fn metadata(&self, run: RunId) -> Result<Vec<Metadata>, StoreError> {
        self.look(format!("metadata {run:?}"), move |db| db.metadata(run)).await
    }

    async fn skips(&self, filter: SkipFilter) -> Result<Vec<SkipRecord>, StoreError> {
        self.look(format!("skips {filter:?}"), move |db| db.skips(&filter)).await
    }

    async fn gatherings(&self, filter: GatheringFilter) -> Result<Vec<GatheringRecord>, StoreError> {
        self.look(format!("gatherings {filter:?}"), move |db| db.gatherings(&filter)).await
    }
}

impl StoreError {
    /// Sorts SQLite's error codes into what a caller can do about them.
    fn of(error: &rusqlite::Error) -> Self {
        use rusqlite::ErrorCode as Code;
        let text = error.to_string();
        match error.sqlite_error_code() {
            Some(Code::DiskFull) => Self::DiskFull(text),
            Some(Code::ReadOnly | Code::CannotOpen | Code::PermissionDenied) => Self::ReadOnly(text),
            Some(Code::DatabaseCorrupt | Code::NotADatabase) => Self::Corrupt(text),
            Some(Code::DatabaseBusy | Code::DatabaseLocked) => Self::Locked(text),
            _ => Self::Other(text),
        }
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        Self::of(&error)
    }
}

/// Follows the committed changes of one transition in the cache.
fn follow(hot: &HotRuns, transition: &Transition, committed: &Committed) {
    for change in &transition.changes {
        match change {
            Change::PutEvent(event, admits) => hot.admit(event as &Event, admits, committed),
            Change::StartRun { run, .. } => hot.apply(*run, change),
            Change::RecordStep(step) => hot.apply(step.run, change),
            Change::PutDefer(run, _) | Change::AbortDefer(run, _) => hot.apply(*run, change),
            Change::Await(waiting) => {
                if let Awaited::Run(invoke) = &waiting.awaited {
                    hot.admit(&invoke.event, &invoke.admits, committed);
                }
            }
            Change::FinishRun(finish) => hot.remove(finish.run),
            Change::Rerun(_)
            | Change::Resume(..)
            | Change::RemoveWait(_)
            | Change::Signal(..)
            | Change::StartDefer(..)
            | Change::PutDetail(..)
            | Change::PutSpans(_)
            | Change::PutMetadata(_)
            | Change::PutTick(_)
            | Change::RemoveTick(..)
            | Change::PutCancellation(_)
            | Change::RemoveCancellation(_)
            | Change::RecordAttempt(_)
            | Change::PutJob(..)
            | Change::RemoveJob(_)
            | Change::RestartAttempts(..)
            | Change::PutApp(_)
            | Change::ArchiveApp(..)
            | Change::PutFunction(_)
            | Change::ArchiveFunction(..)
            // The events of its run may have come long ago: they are read when it is worked on.
            | Change::StartGathered(..)
            | Change::DropGathered(_)
            | Change::PutTokens(_)
            | Change::PutHold(..)
            | Change::PutDocument(..) => {}
        }
    }
}
