//! What must happen next, and in which order.
//!
//! Jobs are rows of the store; the queue is an index over those that are near. It orders them, holds
//! leases and (later) dispatch-time limits such as concurrency and throttle. It may forget everything
//! at any moment and be refilled from the store: nothing durable lives here.

#[cfg(feature = "conformance")]
pub mod conformance;
pub mod item;
pub mod memory;

pub use item::{Deadline, JobId, JobKind, QueueItem, Resolution, StepRef, WaitFor, Work};

use async_trait::async_trait;

/// The right to work on one job. Held by exactly one worker until it is settled.
#[derive(Debug)]
pub struct Lease {
    /// The job, as last offered.
    pub item: QueueItem,
}

/// How a lease ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// The transition that ends the job, or puts it off, is committed.
    Done,
    /// Not worked on, or the work could not be committed: may be leased again at once.
    GivenBack,
}

/// An index over job rows.
///
/// One job is leased at most once at a time, and never before it is due. Among due jobs, functions take
/// turns; within a function the oldest run goes first. The two kinds of work do not wait for each other.
#[async_trait]
pub trait Queue: Send + Sync + 'static {
    /// Makes committed jobs known. A job that is known already is replaced when the offered generation is
    /// newer and ignored otherwise; one that is leased is kept aside until the lease is settled.
    async fn offer(&self, items: Vec<QueueItem>);

    /// Drops jobs that no longer exist in the store. Leases on them stay valid until settled.
    async fn withdraw(&self, jobs: &[JobId]);

    /// Takes up to `max` due jobs of one kind of work; waits until there is at least one. Cancel safe: a job is
    /// leased only when it is returned.
    async fn lease(&self, work: Work, max: usize) -> Vec<Lease>;

    /// Ends a lease.
    async fn settle(&self, lease: Lease, outcome: Settled);

    /// Jobs known and not leased, and jobs leased.
    async fn depth(&self) -> Depth;
}

/// Size of the index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depth {
    /// Known, not leased: due now or later.
    pub waiting: usize,
    /// Leased.
    pub leased: usize,
}
