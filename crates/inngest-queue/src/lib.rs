//! What must happen next, and in which order.
//!
//! Jobs are rows of the store; the queue is an index over those that are near. It orders them, holds
//! leases and dispatch-time limits such as concurrency and throttle. It may forget everything
//! at any moment and be refilled from the store: nothing durable lives here.

pub mod admission;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod flow;
pub mod gcra;
pub mod item;
pub mod memory;
mod scheduler;

pub use item::{Deadline, Gathering, JobId, JobKind, QueueItem, Resolution, StepRef, WaitFor, Work};

use async_trait::async_trait;
use inngest_core::{FunctionId, Millis, RunId};

use flow::{Bucket, Concurrency, Dispatch, KeyValue, Keys};

/// The right to work on one job. Held by exactly one worker until it is settled.
#[derive(Debug)]
pub struct Lease {
    /// The job, as last offered.
    pub item: QueueItem,
    /// What to do with it.
    pub errand: Errand,
}

/// What a lease is for.
#[derive(Debug, PartialEq, Eq)]
pub enum Errand {
    /// To do the job. Before a call is made, these must be stored: they say what its throttles count now.
    Work(Vec<Token>),
    /// The keys of its run are not those that its function has now: to find the new ones out, and offer the job
    /// with them as a newer generation. Leased as [`Work::Own`].
    Rekey,
}

/// What a bucket of a throttle, or of a rate limit, counts: durable, so that a limit holds over restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// Of which limit.
    pub bucket: Bucket,
    /// For which value of its key.
    pub key: KeyValue,
    /// The theoretical arrival time, in nanoseconds since 1970 ([`gcra`]).
    pub tat: i64,
}

/// How a lease ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// The transition that ends the job, or puts it off, is committed.
    Done,
    /// As done; and the app answered, not that it was too much.
    Answered,
    /// As done; and the app answered that it was too much, until this time if it said so.
    Overloaded(Option<Millis>),
    /// Not worked on, or the work could not be committed: may be leased again at once.
    GivenBack,
}

/// An index over job rows.
///
/// One job is leased at most once at a time, and never before it is due. Due jobs of one kind of work take turns: first
/// apps, then functions, then, within a function, the keys by which it is limited; under one key the oldest run goes
/// first. What is held up by a limit holds up nobody whom the limit does not concern. The two kinds of work do not
/// wait for each other, and flow control concerns calls only.
#[async_trait]
pub trait Queue: Send + Sync + 'static {
    /// The functions there are now, with their flow control. It counts at once, also for what waits and runs.
    /// Functions that are not named have no limits.
    async fn configure(&self, functions: Vec<(FunctionId, Dispatch)>);

    /// What throttles count, as stored by an earlier process.
    async fn restore(&self, tokens: Vec<Token>);

    /// Runs that have started and not ended: they count where runs are limited. To be told at the start, and when a
    /// function begins to limit its runs, or does so by another key. A run whose keys lack that key is ignored. What
    /// calls are leased for while runs are limited, or are in flight when that begins, counts without being told.
    async fn occupy(&self, runs: Vec<StartedRun>);

    /// Runs that have ended.
    async fn ended(&self, runs: &[RunId]);

    /// Makes committed jobs known. A job that is known already is replaced when the offered generation is
    /// newer and ignored otherwise; one that is leased is kept aside until the lease is settled.
    async fn offer(&self, items: Vec<QueueItem>);

    /// Drops jobs that no longer exist in the store. Leases on them stay valid until settled.
    async fn withdraw(&self, jobs: &[JobId]);

    /// Takes up to `max` due jobs of one kind of work; waits until there is at least one. Cancel safe: a job is
    /// leased only when it is returned.
    async fn lease(&self, work: Work, max: usize) -> Vec<Lease>;

    /// Ends a lease, and makes the jobs known that follow from it, as one step: what the lease held goes to whoever
    /// comes first, and the next call of an older run comes before a newer run.
    async fn settle(&self, lease: Lease, outcome: Settled, next: Vec<QueueItem>);

    /// Jobs known and not leased, and jobs leased.
    async fn depth(&self) -> Depth;

    /// What these jobs wait for, as far as they are known here: those that are far away are not.
    async fn explain(&self, jobs: &[JobId]) -> Vec<Explanation>;
}

/// A run that has started and not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartedRun {
    /// Which run.
    pub run: RunId,
    /// Its function.
    pub function: FunctionId,
    /// The keys by which it is limited.
    pub keys: Keys,
}

/// Why a job does not run, or that it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The job.
    pub item: QueueItem,
    /// What it waits for now. There may be more causes behind it.
    pub cause: Cause,
    /// When it should run, as far as that can be told: not when jobs with other keys wait for the same.
    pub expected: Option<Millis>,
}

/// What a job waits for. The jobs before it are those of its function and key; others that wait for the same take turns
/// with them and are not counted. No more than 10,000 are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Nothing: it is worked on.
    Running,
    /// Its time.
    Later,
    /// A free worker, and its turn; so many of its function and key go before it.
    Turn {
        /// Jobs before it.
        ahead: usize,
    },
    /// One of those that run must end: a call, or a run where runs are limited.
    Concurrency {
        /// Which limit.
        limit: Concurrency,
        /// Whether it limits runs instead of calls.
        of_runs: bool,
        /// How many run.
        in_use: u32,
        /// Some of the runs that run.
        holders: Vec<RunId>,
        /// Jobs before it.
        ahead: usize,
    },
    /// The time at which one more may start.
    Throttle {
        /// What counts.
        bucket: Bucket,
        /// When the next one may.
        next: Millis,
        /// Jobs before it.
        ahead: usize,
    },
    /// Its app answered that it was too much.
    Overload {
        /// The end of the rest.
        until: Millis,
        /// Jobs before it.
        ahead: usize,
    },
    /// Its function is paused.
    Paused,
    /// The keys of its run are being found out anew.
    Keys,
}

/// Size of the index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depth {
    /// Known, not leased: due now or later.
    pub waiting: usize,
    /// Leased.
    pub leased: usize,
}
