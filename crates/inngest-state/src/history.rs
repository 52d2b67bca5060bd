//! Reads of the APIs: what happened, newest first.

use std::sync::Arc;

use async_trait::async_trait;
use inngest_core::{App, Event, EventId, Function, FunctionId, Millis, Payload, RunId, RunStatus};
use inngest_queue::flow::Skip;
use inngest_queue::{Gathering, QueueItem};

use crate::{AttemptRecord, Cancellation, Metadata, StepRecord, StoreError};

/// A stored event and the runs it started.
#[derive(Clone, Debug)]
pub struct EventRecord {
    /// The event.
    pub event: Event,
    /// The event object as SDKs receive it, also for lifecycle events.
    pub body: Payload,
    /// Runs it started, oldest first.
    pub runs: Vec<RunId>,
}

/// A run as the APIs show it.
#[derive(Clone, Debug)]
pub struct RunRecord {
    /// Which run.
    pub id: RunId,
    /// Its function.
    pub function: FunctionId,
    /// Where it stands.
    pub status: RunStatus,
    /// The events that started it.
    pub event_ids: Vec<EventId>,
    /// Name of the first one.
    pub event_name: Arc<str>,
    /// When it was created.
    pub queued_at: Millis,
    /// When the first call was dispatched.
    pub started_at: Option<Millis>,
    /// When it ended.
    pub ended_at: Option<Millis>,
    /// What the function returned, or the raw error body.
    pub output: Option<Payload>,
    /// Normalised error of a failed run.
    pub error: Option<Payload>,
    /// The first run in the chain of reruns that led to this one.
    pub original_run: Option<RunId>,
    /// Why it never started.
    pub skip: Option<Skip>,
    /// How its events were gathered, if they were.
    pub gathering: Option<Gathering>,
}

/// An event that started no run of a function that it matched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SkipRecord {
    /// Which event.
    pub event: EventId,
    /// Of which function.
    pub function: FunctionId,
    /// Why.
    pub reason: Skip,
    /// The run of status `Skipped` that shows it, if the reason leaves one.
    pub run: Option<RunId>,
}

/// Which skips to list.
#[derive(Clone, Debug, Default)]
pub struct SkipFilter {
    /// Only those of this event.
    pub event: Option<EventId>,
    /// Only those of this function.
    pub function: Option<FunctionId>,
    /// Only those beyond this one, newest event first.
    pub cursor: Option<(EventId, FunctionId)>,
    /// At most so many.
    pub limit: usize,
}

/// Events that are gathered, and whose run has not started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatheringRecord {
    /// Its job is that of this "run" ([`inngest_queue::JobId::gathered`]); there is no such run.
    pub id: RunId,
    /// Of which function.
    pub function: FunctionId,
    /// How they are gathered.
    pub kind: Gathering,
    /// When the first one was stored.
    pub first_at: Millis,
    /// When the run starts at the latest.
    pub deadline: Millis,
    /// How many there are: of a debounce, the one that will start the run.
    pub count: usize,
    /// The first of them, [`GATHERED_LISTED_MAX`] at most.
    pub events: Vec<EventId>,
}

/// Events of one gathering that are listed with it.
pub const GATHERED_LISTED_MAX: usize = 100;

/// Which gatherings to list.
#[derive(Clone, Debug, Default)]
pub struct GatheringFilter {
    /// Only those of this event.
    pub event: Option<EventId>,
    /// Only those of this function.
    pub function: Option<FunctionId>,
    /// Only those beyond this one, newest first.
    pub cursor: Option<RunId>,
    /// At most so many.
    pub limit: usize,
}

/// Which events to list.
#[derive(Clone, Debug, Default)]
pub struct EventFilter {
    /// Only this name.
    pub name: Option<String>,
    /// Received at or after.
    pub received_after: Option<Millis>,
    /// Received at or before.
    pub received_before: Option<Millis>,
    /// Also the server's own events (`inngest/..`).
    pub include_internal: bool,
    /// Only events older than this one.
    pub cursor: Option<EventId>,
    /// At most so many.
    pub limit: usize,
}

/// Which runs to list.
#[derive(Clone, Debug, Default)]
pub struct RunFilter {
    /// Only these statuses; empty = all but `Skipped`.
    pub statuses: Vec<RunStatus>,
    /// Only these functions; `None` = all.
    pub functions: Option<Vec<FunctionId>>,
    /// Only runs started by this event.
    pub event: Option<EventId>,
    /// Started (first call dispatched) at or after.
    pub started_after: Option<Millis>,
    /// Started at or before.
    pub started_before: Option<Millis>,
    /// Scheduled (time of the run's id) at or after.
    pub queued_after: Option<Millis>,
    /// Scheduled at or before.
    pub queued_before: Option<Millis>,
    /// Oldest first instead of newest first.
    pub ascending: bool,
    /// Only runs beyond this one in the order asked for.
    pub cursor: Option<RunId>,
    /// At most so many.
    pub limit: usize,
}

/// The trace of one run.
#[derive(Clone, Debug, Default)]
pub struct RunTrace {
    /// Recorded steps in order.
    pub steps: Vec<StepRecord>,
    /// Failed attempts in order.
    pub attempts: Vec<AttemptRecord>,
    /// Jobs that exist now.
    pub jobs: Vec<QueueItem>,
}

/// The reads of the APIs. Sees every commit that was acknowledged before the call.
#[async_trait]
pub trait History: Send + Sync + 'static {
    /// One event.
    async fn event(&self, id: EventId) -> Result<Option<EventRecord>, StoreError>;
    /// Events, newest first.
    async fn events(&self, filter: EventFilter) -> Result<Vec<EventRecord>, StoreError>;
    /// One run, ended or not.
    async fn run_record(&self, id: RunId) -> Result<Option<RunRecord>, StoreError>;
    /// Runs, newest first unless asked otherwise.
    async fn runs(&self, filter: RunFilter) -> Result<Vec<RunRecord>, StoreError>;
    /// Steps, attempts and jobs of one run.
    async fn trace(&self, id: RunId) -> Result<RunTrace, StoreError>;
    /// Notes about one run and its steps, in the order in which they were reported.
    async fn metadata(&self, run: RunId) -> Result<Vec<Metadata>, StoreError>;
    /// Events that started no run, newest first.
    async fn skips(&self, filter: SkipFilter) -> Result<Vec<SkipRecord>, StoreError>;
    /// Events that wait for others before they start a run, newest first.
    async fn gatherings(&self, filter: GatheringFilter) -> Result<Vec<GatheringRecord>, StoreError>;
    /// Requests to cancel many runs, newest first.
    async fn cancellations(&self) -> Result<Vec<Cancellation>, StoreError>;
    /// Apps, archived ones too, by id.
    async fn apps(&self) -> Result<Vec<App>, StoreError>;
    /// Functions, archived ones too, by id.
    async fn functions(&self) -> Result<Vec<Function>, StoreError>;
}
