//! The store: the one truth.
//!
//! Every change of durable state is a [`Transition`]: a list of [`Change`]s with [`Requirement`]s, applied
//! whole or not at all. [`Store`] is the write side and the hot reads, [`History`] the reads of the APIs.
//! Backends: [`sqlite`].

#[cfg(feature = "conformance")]
pub mod conformance;
pub mod history;
pub mod lifecycle;
pub mod run_state;
pub mod sqlite;
pub mod trace;
pub mod transition;

use std::sync::Arc;

use async_trait::async_trait;
use inngest_core::{App, Event, Function, FunctionId, Millis, Payload, RunId};
use inngest_queue::{JobId, QueueItem, StartedRun, Token};

pub use history::History;
pub use run_state::{Defer, DeferStatus, RunState, StepMemo};
pub use transition::{
    Admit, AttemptRecord, Await, Awaited, Cancellation, Change, Committed, Condition, Effect, EventWait, FinishRun,
    Hold, Invoke, Metadata, Rejected, Requirement, Rerun, StepOp, StepRecord, Tick, Transition, When, invokers,
};

/// Why the store could not do its work. Says nothing about the transition itself: it may be tried again.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// No space left where the database lives.
    #[error("the disk that holds the database is full: {0}; free some space, work goes on by itself")]
    DiskFull(String),
    /// The directory or file cannot be written.
    #[error("the database cannot be written: {0}; check the permissions of the data directory")]
    ReadOnly(String),
    /// The file is no database, or a damaged one.
    #[error("the database is damaged: {0}; restore a backup or start with an empty data directory")]
    Corrupt(String),
    /// Another process has the database open.
    #[error("another process uses this database: {0}")]
    Locked(String),
    /// Made by a newer release than this one.
    #[error(
        "the database was written by a newer release (schema {found}, this one knows {known}); use that release or a newer one"
    )]
    TooNew {
        /// Schema version in the file.
        found: i64,
        /// Newest schema version this release knows.
        known: i64,
    },
    /// The store is shutting down.
    #[error("the store is closed")]
    Closed,
    /// Anything else, with its cause.
    #[error("the database failed: {0}")]
    Other(String),
}

/// Why a commit did not happen.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CommitError {
    /// A requirement of the transition does not hold: it is out of date and must not be tried again.
    #[error(transparent)]
    Rejected(#[from] Rejected),
    /// The store failed; nothing of the transition was applied.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Events that are gathered to start a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Gathered {
    /// Of which function.
    pub function: FunctionId,
    /// The one from which keys are evaluated: the only one, or the first of a batch. With its content, also when that is
    /// derived from a run.
    pub event: Event,
    /// How many there are.
    pub count: usize,
    /// The jobs that wait for the run: to be resumed if it is never to be.
    pub invokers: Vec<JobId>,
}

/// The write side, and the reads of the hot path.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Applies a transition atomically and resolves when it is on disk. If the caller stops waiting, the
    /// transition may still be applied. It is shared, so that a caller can try it again after a failure.
    async fn commit(&self, transition: Arc<Transition>) -> Result<Committed, CommitError>;

    /// A run that has not ended, with its events and memoised steps; `None` when unknown or ended. Sees
    /// every commit that was acknowledged before the call.
    async fn run(&self, id: RunId) -> Result<Option<Arc<RunState>>, StoreError>;

    /// Jobs that were due when they were made, in order of their ids, after `after`.
    async fn jobs_ready(&self, after: Option<JobId>, limit: usize) -> Result<Vec<QueueItem>, StoreError>;

    /// Jobs made for later whose due time is at most `before`, in order of (due, id), after `after`.
    async fn jobs_due(
        &self,
        before: Millis,
        after: Option<(Millis, JobId)>,
        limit: usize,
    ) -> Result<Vec<QueueItem>, StoreError>;

    /// Due time of the first job made for later that is due after `after`.
    async fn next_due(&self, after: Millis) -> Result<Option<Millis>, StoreError>;

    /// How many jobs there are, whatever they wait for. Costs nothing, however many there are.
    async fn job_count(&self) -> Result<u64, StoreError>;

    /// To be called once, before jobs are read, by a process that owns the store alone: any lease of an
    /// earlier process is void, so each job that may have been dispatched before `now` gets a new generation.
    async fn void_leases(&self, now: Millis) -> Result<(), StoreError>;

    /// Every app and function that is not archived, and the archived functions that still have runs to finish.
    async fn definitions(&self) -> Result<(Vec<App>, Vec<Function>), StoreError>;

    /// The last time each schedule has fired for.
    async fn ticks(&self) -> Result<Vec<Tick>, StoreError>;

    /// What throttles count, as far as it matters still.
    async fn tokens(&self) -> Result<Vec<Token>, StoreError>;

    /// The runs of these functions that have started and not ended.
    async fn started_runs(&self, functions: Vec<FunctionId>) -> Result<Vec<StartedRun>, StoreError>;

    /// What an operator has stopped.
    async fn holds(&self) -> Result<Vec<(FunctionId, Hold)>, StoreError>;

    /// A document that the server keeps for its operator.
    async fn document(&self, name: &str) -> Result<Option<Payload>, StoreError>;

    /// What is gathered under this job; `None` when it is gone.
    async fn gathered(&self, job: JobId) -> Result<Option<Gathered>, StoreError>;

    /// Waits for what is being written and closes the store; later calls get [`StoreError::Closed`].
    async fn close(&self);
}
