//! Reads of the APIs: what happened, newest first.

use std::sync::Arc;

use async_trait::async_trait;
use inngest_core::event::{DEFERRED_SCHEDULE, SCHEDULED_TIMER};
use inngest_core::{App, Event, EventId, Function, FunctionId, Millis, Payload, RunId, RunStatus, StepId};
use inngest_queue::flow::Skip;
use inngest_queue::{Gathering, QueueItem};

use crate::trace::{CutOff, LastCall, StepDetail, UserSpan};
use crate::{AttemptRecord, Cancellation, Defer, Metadata, StepRecord, StoreError};

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
    /// `inngest/function.finished` of its end.
    pub finished: Option<EventId>,
}

impl RunRecord {
    /// Whether it was deferred by another run.
    #[must_use]
    pub fn is_deferred(&self) -> bool {
        &*self.event_name == DEFERRED_SCHEDULE
    }

    /// Whether a schedule started it.
    #[must_use]
    pub fn is_scheduled(&self) -> bool {
        &*self.event_name == SCHEDULED_TIMER
    }

    /// Its time of this kind.
    #[must_use]
    pub fn time(&self, time: RunTime) -> Option<Millis> {
        match time {
            RunTime::Queued => Some(self.queued_at),
            RunTime::Started => self.started_at,
            RunTime::Ended => self.ended_at,
        }
    }
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
    /// Only these names; empty = all.
    pub names: Vec<String>,
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

/// A time of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RunTime {
    /// When it was scheduled.
    #[default]
    Queued,
    /// When its first call was dispatched.
    Started,
    /// When it ended.
    Ended,
}

/// An interval, bounds included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Between {
    /// At or after.
    pub after: Option<Millis>,
    /// At or before.
    pub before: Option<Millis>,
}

impl Between {
    /// Whether a time lies in it; one that is not there lies only in an interval without bounds.
    #[must_use]
    pub fn holds(self, at: Option<Millis>) -> bool {
        self.after.is_none_or(|after| at.is_some_and(|at| at >= after))
            && self.before.is_none_or(|before| at.is_some_and(|at| at <= before))
    }
}

/// A run to be started when another one ends, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeferRecord {
    /// What was asked for.
    pub defer: Defer,
    /// The event that starts it, once the run has ended.
    pub event: Option<EventId>,
    /// The run, once there is one.
    pub run: Option<RunId>,
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
    /// When they were scheduled (time of the run's id).
    pub queued: Between,
    /// When they started (first call dispatched).
    pub started: Between,
    /// When they ended.
    pub ended: Between,
    /// Only those that were deferred by another run, or only those that were not.
    pub deferred: Option<bool>,
    /// By which time they are ordered; runs that have no such time are not among them.
    pub order: RunTime,
    /// Oldest first instead of newest first.
    pub ascending: bool,
    /// Only runs beyond this one in the order asked for: its time of that kind, and its id.
    pub cursor: Option<(Millis, RunId)>,
    /// At most so many.
    pub limit: usize,
}

impl RunFilter {
    /// The interval of this time.
    #[must_use]
    pub fn time(&self, time: RunTime) -> Between {
        match time {
            RunTime::Queued => self.queued,
            RunTime::Started => self.started,
            RunTime::Ended => self.ended,
        }
    }

    /// The interval of this time, to be changed.
    pub fn time_mut(&mut self, time: RunTime) -> &mut Between {
        match time {
            RunTime::Queued => &mut self.queued,
            RunTime::Started => &mut self.started,
            RunTime::Ended => &mut self.ended,
        }
    }
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
    /// Steps that had a job when the run ended, in the order in which they were planned. One may be recorded besides.
    pub cut_off: Vec<CutOff>,
    /// What steps are about, recorded ones and those that are waiting now.
    pub details: Vec<(StepId, StepDetail)>,
    /// Spans of the user's own code, by start.
    pub spans: Vec<UserSpan>,
    /// The call with which the run ended.
    pub last_call: Option<LastCall>,
}

/// Rows that are looked at one by one for one part of a count: of the hours in which an interval begins and ends, or of
/// intervals that no counter tells. What is beyond is not counted.
pub const COUNT_ROWS_MAX: u32 = 200_000;

/// The reads of the APIs. Sees every commit that was acknowledged before the call.
#[async_trait]
pub trait History: Send + Sync + 'static {
    /// One event.
    async fn event(&self, id: EventId) -> Result<Option<EventRecord>, StoreError>;
    /// These events, as far as they are there, in no particular order.
    async fn event_records(&self, ids: Vec<EventId>) -> Result<Vec<EventRecord>, StoreError>;
    /// How many events fit, whatever the cursor and the limit.
    async fn count_events(&self, filter: EventFilter) -> Result<u64, StoreError>;
    /// Events, newest first.
    async fn events(&self, filter: EventFilter) -> Result<Vec<EventRecord>, StoreError>;
    /// One run, ended or not.
    async fn run_record(&self, id: RunId) -> Result<Option<RunRecord>, StoreError>;
    /// These runs, as far as they are there, in no particular order.
    async fn run_records(&self, ids: Vec<RunId>) -> Result<Vec<RunRecord>, StoreError>;
    /// All runs of each of these events, also those that were skipped, oldest first.
    async fn runs_of_events(&self, ids: Vec<EventId>) -> Result<Vec<(EventId, Vec<RunRecord>)>, StoreError>;
    /// How many runs fit, whatever the cursor and the limit. Exact when the interval is of one time, and that time or
    /// `Queued` is the order; else no more than [`COUNT_ROWS_MAX`] runs are looked at, and it counts those of them.
    async fn count_runs(&self, filter: RunFilter) -> Result<u64, StoreError>;
    /// Those of these runs that have used a model: a step of it, or a note of kind `inngest.ai`.
    async fn runs_with_ai(&self, ids: Vec<RunId>) -> Result<Vec<RunId>, StoreError>;
    /// The runs that this one has deferred, in order.
    async fn defers(&self, run: RunId) -> Result<Vec<DeferRecord>, StoreError>;
    /// Runs, newest first unless asked otherwise.
    async fn runs(&self, filter: RunFilter) -> Result<Vec<RunRecord>, StoreError>;
    /// Steps, attempts and jobs of one run.
    async fn trace(&self, id: RunId) -> Result<RunTrace, StoreError>;
    /// Notes about one run and its steps, in the order in which they were reported.
    async fn metadata(&self, run: RunId) -> Result<Vec<Metadata>, StoreError>;
    /// The event that has taken a key of idempotency of a function, as long as the key counts.
    async fn keyed_event(&self, function: FunctionId, key: String) -> Result<Option<EventId>, StoreError>;
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
