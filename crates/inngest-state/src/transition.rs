//! The only way durable state changes.

mod admit;

use std::sync::Arc;

use inngest_core::{App, AppId, Event, EventId, Function, FunctionId, Millis, Payload, RunId, RunStatus, StepId};
use inngest_queue::flow::Skip;
use inngest_queue::{JobId, QueueItem, Resolution, StepRef, Token};

pub use admit::{Admit, Await, Awaited, Condition, Effect, EventWait, Invoke, Rerun, correlation_ids, invokers};

use crate::run_state::Defer;
use crate::trace::{LastCall, ResponseHead, StepDetail, UserSpan};

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
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Requirement {
    /// The job exists and has this generation: nobody else has finished or taken over its work.
    Generation(JobId, u32),
    /// The run exists and has not ended.
    RunOpen(RunId),
    /// The run has another job that can carry it on.
    Siblings(JobId),
    /// Nobody else waits for this signal, or the job exists already and does not begin to wait now.
    SignalFree(Arc<str>, JobId),
    /// There is no such job: its step was not planned before.
    Unplanned(JobId),
    /// The function is registered in this version, and not archived.
    Active(FunctionId, u32),
}

/// Why a transition was refused. Nothing of it was applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// The job is gone, or was dispatched again and has another generation now: this answer comes too late.
    #[error("job {0:?} is gone or was dispatched again (as generation {1:?})")]
    StaleJob(JobId, Option<u32>),
    /// The run is unknown or has ended.
    #[error("run {0} is unknown or has ended")]
    RunEnded(RunId),
    /// The job is the only one of its run.
    #[error("job {0:?} is the only one of its run")]
    NoSiblings(JobId),
    /// Another step waits for this signal.
    #[error("signal {0} is waited for already")]
    SignalTaken(Arc<str>),
    /// The function is unknown or archived, or has another version.
    #[error("function {0} is not active in this version")]
    Inactive(FunctionId),
    /// The job exists.
    #[error("job {0:?} exists")]
    Planned(JobId),
}

/// One change of durable state.
#[derive(Clone, Debug)]
pub enum Change {
    /// Adds an event and the runs it starts, and resumes or cancels the runs that wait for it. An event whose id
    /// is stored already changes nothing.
    PutEvent(Box<Event>, Vec<Admit>),
    /// Runs the events of an ended run anew.
    Rerun(Box<Rerun>),
    /// The first call to the app was dispatched at `at`. Later ones change nothing.
    StartRun {
        /// Which run.
        run: RunId,
        /// When.
        at: Millis,
        /// The job of the first call, if it is not ended with this transition: it starts the run no more.
        job: Option<JobId>,
    },
    /// Adds the result of a step. The first result of a step wins; a later one changes nothing.
    RecordStep(Box<StepRecord>),
    /// Adds a failed attempt.
    RecordAttempt(Box<AttemptRecord>),
    /// Adds a job, or replaces the one of the same id when the generation is newer.
    PutJob(QueueItem, When),
    /// Removes a job.
    RemoveJob(JobId),
    /// Adds a job that waits, and what it waits for. Nothing happens when its step is recorded or the job exists:
    /// a step that is reported again has begun to wait before.
    Await(Box<Await>),
    /// The call of a job recorded steps while it goes on, and the stack is so long now: should the job be
    /// dispatched again, it starts with its first attempt.
    RestartAttempts(JobId, u32),
    /// Resolves the step of a job that waits, once: the job is due now. Nothing happens when it is gone or
    /// resolved already.
    Resume(JobId, Resolution),
    /// Ends waiting for an event or a signal.
    RemoveWait(JobId),
    /// Resumes who waits for this signal with the value given.
    Signal(Arc<str>, Payload),
    /// Adds a run to be started when this one ends. One of the same id changes nothing.
    PutDefer(RunId, Box<Defer>),
    /// The run of this id is not to be started.
    AbortDefer(RunId, StepId),
    /// The event that starts the deferred run.
    StartDefer(RunId, StepId, EventId),
    /// What a step is about. The first one wins.
    PutDetail(RunId, StepId, Box<StepDetail>),
    /// Adds spans of the user's own code. One of the same run and id is replaced.
    PutSpans(Vec<UserSpan>),
    /// Adds a note about a run or one of its steps, unless the run has as many as it may have.
    PutMetadata(Box<Metadata>),
    /// The schedule of a function has fired for this time.
    PutTick(Tick),
    /// A schedule does not exist any more.
    RemoveTick(FunctionId, Arc<str>),
    /// Adds or replaces a request to cancel many runs.
    PutCancellation(Box<Cancellation>),
    /// Removes such a request.
    RemoveCancellation(String),
    /// Ends a run, and removes all its jobs. Of those that are about a step, and are not what it ended with, the trace
    /// is told.
    FinishRun(Box<FinishRun>),
    /// Adds or replaces an app by id.
    PutApp(Box<App>),
    /// Removes a placeholder for good, or marks an app and all its functions archived.
    ArchiveApp(AppId, Millis),
    /// Adds or replaces a function by id.
    PutFunction(Box<Function>),
    /// Marks a function archived: no new runs; those that exist go on.
    ArchiveFunction(FunctionId, Millis),
    /// Starts the run of events that were gathered, and forgets them. The job of the gathering is gone with it. Of the
    /// flow control of the run only what follows on the gathering is looked at. If it forbids the run, those who wait
    /// for it get this value for their step.
    StartGathered(JobId, Box<Admit>, fn(Skip) -> Payload),
    /// Forgets what was gathered, and its job: its function is gone.
    DropGathered(JobId),
    /// What throttles count now; an earlier time never replaces a later one.
    PutTokens(Vec<Token>),
    /// A function makes no calls, or starts no new runs; or does so again.
    PutHold(FunctionId, Option<Hold>),
    /// Adds, replaces or removes a document that the server keeps for its operator.
    PutDocument(Arc<str>, Option<Payload>),
}

/// What an operator has stopped of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Hold {
    /// Makes no calls; new runs wait.
    PausedQueue = 1,
    /// Makes no calls; new runs are skipped.
    PausedSkip = 2,
    /// Starts no new runs; those that exist go on.
    Draining = 3,
}

impl Hold {
    /// The hold of a stored code.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        [Self::PausedQueue, Self::PausedSkip, Self::Draining].into_iter().find(|hold| *hold as u8 == code)
    }
}

/// The end of one interval of a schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tick {
    /// Whose schedule.
    pub function: FunctionId,
    /// The schedule as registered.
    pub schedule: Arc<str>,
    /// The time it fired for, without jitter.
    pub at: Millis,
}

/// A note about a run or one of its steps (`opts.metadata`, `POST /v1/runs/{id}/metadata`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// About which run.
    pub run: RunId,
    /// About which of its steps.
    pub step: Option<StepId>,
    /// About which attempt of the step; `None`: the step as a whole, or its last attempt.
    pub attempt: Option<u32>,
    /// About which span of the user's own code.
    pub span: Option<[u8; 8]>,
    /// `run`, `step`, `step_attempt`, `extended_trace` or `request`.
    pub scope: Arc<str>,
    /// `userland.*` or a known kind of `inngest.*`.
    pub kind: Arc<str>,
    /// `merge`, `set`, `delete` or `add`.
    pub op: Arc<str>,
    /// A JSON object.
    pub values: Payload,
    /// When it was reported.
    pub at: Millis,
}

/// A request to cancel the runs of a function that were scheduled in an interval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cancellation {
    /// Its ULID.
    pub id: String,
    /// Which function.
    pub function: FunctionId,
    /// Runs scheduled at or after.
    pub started_after: Option<Millis>,
    /// Runs scheduled at or before.
    pub started_before: Millis,
    /// Only runs whose first event satisfies this.
    pub condition: Option<String>,
    /// When it was asked for.
    pub created_at: Millis,
    /// Runs up to this one have been looked at.
    pub cursor: Option<RunId>,
    /// When all runs had been looked at.
    pub done_at: Option<Millis>,
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
    /// Only if no job of this plan is left: the last one of a parallel block continues the run, also when its own
    /// step was recorded by another.
    GroupDone(u64),
    /// Only if nothing else of the run is pending but its deadlines: whatever follows is the only job that carries the
    /// run on.
    Last,
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
    /// `WaitForEvent`.
    WaitForEvent = 4,
    /// `InvokeFunction`.
    Invoke = 5,
    /// `WaitForSignal`.
    WaitForSignal = 6,
    /// `Gateway`.
    Gateway = 7,
    /// `AIGateway`.
    AiGateway = 8,
}

impl StepOp {
    /// The op of a stored code.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        const ALL: [StepOp; 8] = [
            StepOp::Run,
            StepOp::Legacy,
            StepOp::Sleep,
            StepOp::WaitForEvent,
            StepOp::Invoke,
            StepOp::WaitForSignal,
            StepOp::Gateway,
            StepOp::AiGateway,
        ];
        ALL.into_iter().find(|op| *op as u8 == code)
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
    /// Key of the job that gave the result.
    pub job: u64,
    /// What a step that waited was resolved with; of a value only that there was one. `None` when nothing came in time,
    /// and for steps that do not wait.
    pub resolution: Option<Resolution>,
    /// The reply that reported the result.
    pub response: Option<ResponseHead>,
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
    /// When the job was made.
    pub queued_at: Millis,
    /// When the call began.
    pub started_at: Millis,
    /// When it ended.
    pub ended_at: Millis,
    /// The reply; `None` when there was none.
    pub response: Option<ResponseHead>,
    /// `{"error","name","message","stack"}`.
    pub error: Payload,
    /// When the next attempt is due; `None` after the last one.
    pub retry_at: Option<Millis>,
}

impl AttemptRecord {
    /// HTTP status of the reply; `None` when there was none.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        self.response.as_ref().map(|response| response.status)
    }
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
    /// The call with which it ended, if it ended with one.
    pub last_call: Option<LastCall>,
    /// Calls of the run that are in flight, and when they began: for the trace, of the steps that its end cuts off.
    pub in_flight: Vec<(JobId, Millis)>,
    /// `inngest/function.finished`, if it was emitted: what whoever invoked the run is told.
    pub finished: Option<EventId>,
}

/// What a committed transition did.
#[derive(Clone, Debug, Default)]
pub struct Committed {
    /// Jobs that exist now because of it: to be offered to the queue.
    pub jobs: Vec<QueueItem>,
    /// Jobs that were removed without being named: to be withdrawn from the queue.
    pub removed: Vec<JobId>,
    /// Runs that were started, each with the event that did so; those of gathered events are not among them.
    pub admitted: Vec<(EventId, RunId)>,
    /// Runs that ended.
    pub ended: Vec<RunId>,
    /// Events that started no run of a function that they matched.
    pub skipped: Vec<(EventId, FunctionId, Skip)>,
}
