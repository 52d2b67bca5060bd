//! The only way durable state changes.

use std::sync::Arc;

use inngest_core::{App, AppId, Event, EventId, Function, FunctionId, Millis, Payload, RunId, RunStatus};
use inngest_queue::{JobId, QueueItem, StepRef};

/// A set of changes that happen together, if all requirements hold.
#[derive(Clone, Debug, Default)]
pub struct Transition {
    /// What must hold in the store at the moment of the commit.
    pub require: Vec<Requirement>,
    /// Applied in order.
    pub changes: Vec<Change>,
}

impl Transition {
    /// A transition without requirements.
    #[must_use]
    pub fn of(changes: Vec<Change>) -> Self {
        Self { require: Vec::new(), changes }
    }
}

/// A condition on the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requirement {
    /// The job exists and has this generation: nobody else has finished or taken over its work.
    Generation(JobId, u32),
    /// The run exists and has not ended.
    RunOpen(RunId),
}

/// Why a transition was refused. Nothing of it was applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// The job is gone or was dispatched again: this answer comes too late.
    #[error("job {0:?} is gone or was dispatched again")]
    StaleJob(JobId),
    /// The run is unknown or has ended.
    #[error("run {0} is unknown or has ended")]
    RunEnded(RunId),
}

/// One change of durable state.
#[derive(Clone, Debug)]
pub enum Change {
    /// Adds an event and the runs it starts. An event whose id is stored already changes nothing.
    PutEvent(Box<Event>, Vec<Admit>),
    /// The first call to the app was dispatched at `at`. Later ones change nothing.
    StartRun {
        /// Which run.
        run: RunId,
        /// When.
        at: Millis,
    },
    /// Adds the result of a step. The first result of a step wins; a later one changes nothing.
    RecordStep(Box<StepRecord>),
    /// Adds a failed attempt.
    RecordAttempt(Box<AttemptRecord>),
    /// Adds a job, or replaces the one of the same id when the generation is newer.
    PutJob(QueueItem, When),
    /// Removes a job.
    RemoveJob(JobId),
    /// Ends a run, and removes all its jobs.
    FinishRun(Box<FinishRun>),
    /// Adds or replaces an app by id.
    PutApp(Box<App>),
    /// Removes a placeholder for good, or marks an app and all its functions archived.
    ArchiveApp(AppId, Millis),
    /// Adds or replaces a function by id.
    PutFunction(Box<Function>),
    /// Marks a function archived: no new runs; those that exist go on.
    ArchiveFunction(FunctionId, Millis),
}

/// A run to be started by an event, if nothing forbids it. Flow control that must be exact across crashes
/// (rate limit, singleton, debounce, batch) joins here.
#[derive(Clone, Debug)]
pub struct Admit {
    /// Id of the new run.
    pub run: RunId,
    /// Its function.
    pub function: FunctionId,
    /// Starts the function only once per key until the time given.
    pub idempotency: Option<(Arc<str>, Millis)>,
    /// Set when another run waits for this one.
    pub correlation_id: Option<Arc<str>>,
    /// Its first job.
    pub job: QueueItem,
}

/// Under which condition a job is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Always.
    Always,
    /// Only if the step the job is about has no recorded result: it may have been planned twice.
    Unrecorded,
    /// Only if this transition recorded at least one step that had no result before: whoever recorded the
    /// step first also made the job that follows.
    Recorded,
    /// As `Recorded`, and no job of this plan is left: the last one of a parallel block continues the run.
    GroupDone(u64),
}

/// What a recorded step was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum StepOp {
    /// `StepRun`, and `StepError`/`StepFailed` when it failed for good.
    Run = 1,
    /// `Step`, whose data is stored unwrapped.
    Legacy = 2,
    /// `Sleep`.
    Sleep = 3,
}

impl StepOp {
    /// The op of a stored code.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        [Self::Run, Self::Legacy, Self::Sleep].into_iter().find(|op| *op as u8 == code)
    }
}

/// The result of a step: written once, it is the memo for the SDK and the span of the trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepRecord {
    /// Its run.
    pub run: RunId,
    /// Which step.
    pub step: StepRef,
    /// What kind of step.
    pub op: StepOp,
    /// What stands in `steps` of the request from now on.
    pub value: Payload,
    /// Whether `value` is an error.
    pub failed: bool,
    /// Zero-based attempt that gave the result.
    pub attempt: u32,
    /// `opts.input` as the SDK reported it.
    pub input: Option<Payload>,
    /// When the step could have begun.
    pub queued_at: Millis,
    /// When it began.
    pub started_at: Millis,
    /// When it ended.
    pub ended_at: Millis,
}

/// An attempt that failed and is followed by another attempt or by the end of the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptRecord {
    /// The job that was attempted.
    pub job: JobId,
    /// The step it was about, if it was a single one.
    pub step: Option<StepRef>,
    /// Zero-based attempt.
    pub attempt: u32,
    /// Generation of the dispatch.
    pub generation: u32,
    /// When the call began.
    pub started_at: Millis,
    /// When it ended.
    pub ended_at: Millis,
    /// HTTP status of the reply; `None` when there was none.
    pub status: Option<u16>,
    /// `{"error","name","message","stack"}`.
    pub error: Payload,
    /// When the next attempt is due; `None` after the last one.
    pub retry_at: Option<Millis>,
}

/// The end of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FinishRun {
    /// Which run.
    pub run: RunId,
    /// A final status.
    pub status: RunStatus,
    /// What the function returned, or the raw error body; `None` when the reply was empty.
    pub output: Option<Payload>,
    /// `{"error","name","message","stack"}` of a failed run.
    pub error: Option<Payload>,
    /// When the first call was dispatched, if the run ends with the answer to it.
    pub started_at: Option<Millis>,
    /// When it ended.
    pub ended_at: Millis,
}

/// What a committed transition did.
#[derive(Clone, Debug, Default)]
pub struct Committed {
    /// Jobs that exist now because of it: to be offered to the queue.
    pub jobs: Vec<QueueItem>,
    /// Jobs that were removed without being named: to be withdrawn from the queue.
    pub removed: Vec<JobId>,
    /// Runs that were started.
    pub admitted: Vec<(EventId, RunId)>,
}
