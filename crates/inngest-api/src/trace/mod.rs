//! The trace of a run: a tree of spans, derived from its rows at read time.
//!
//! [`load`] reads what a trace is made of. From that [`units`] makes the steps and the end of the run with everything
//! that was tried for them; [`tree()`] and [`legacy()`] show these in the two shapes that clients know. [`output()`]
//! tells what a span took in and gave out. All but the first are pure.

mod info;
mod legacy;
mod metadata;
mod names;
mod output;
#[cfg(test)]
mod tests;
mod tree;
mod units;
mod user_spans;

use std::collections::HashMap;
use std::sync::Arc;

use inngest_core::{EventId, Function, Millis, Payload, RunId, RunStatus, StepId};
use inngest_queue::JobId;
use inngest_queue::flow::Skip;
use inngest_state::history::{EventRecord, RunRecord, RunTrace};
use inngest_state::trace::{ResponseHead, StepDetail, UserSpan};
use inngest_state::{Metadata, StoreError};

use crate::Api;
use crate::definitions::Definitions;
pub(crate) use inngest_executor::spans::trace_id;
pub(crate) use legacy::legacy;
pub(crate) use output::output;
pub(crate) use tree::tree;

/// Everything a trace is made of.
#[derive(Clone, Debug)]
pub(crate) struct RunView {
    pub(crate) run: RunRecord,
    /// `None` when nobody knows the function any more.
    pub(crate) function: Option<Arc<Function>>,
    pub(crate) trace: RunTrace,
    pub(crate) metadata: Vec<Metadata>,
    /// The events that started it, in order.
    pub(crate) events: Vec<EventRecord>,
    /// The runs it has invoked, as far as they exist.
    pub(crate) invoked: HashMap<RunId, RunRecord>,
    /// Now, for what is not over.
    pub(crate) now: Millis,
}

/// A span: the run, a step, an attempt, the end of the run, or one of the user's own.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Span {
    /// Unique in the whole server, but for the placeholders of the legacy shape.
    pub(crate) id: String,
    pub(crate) parent: Option<String>,
    pub(crate) name: Arc<str>,
    pub(crate) status: SpanStatus,
    /// Zero-based number of this, or of the last, attempt.
    pub(crate) attempts: Option<u32>,
    pub(crate) queued_at: Millis,
    pub(crate) scheduled_at: Option<Millis>,
    pub(crate) started_at: Option<Millis>,
    pub(crate) ended_at: Option<Millis>,
    /// In milliseconds.
    pub(crate) duration: Option<i64>,
    pub(crate) output: Option<OutputRef>,
    pub(crate) op: Option<SpanOp>,
    pub(crate) step: Option<StepId>,
    /// `FINALIZATION`, the name of the op, or empty.
    pub(crate) step_type: &'static str,
    pub(crate) info: Option<StepInfo>,
    pub(crate) response: Option<ResponseHead>,
    /// Sorted by scope, then kind.
    pub(crate) metadata: Vec<SpanMetadata>,
    /// The job whose calls it belongs to.
    pub(crate) group: Option<JobId>,
    pub(crate) is_root: bool,
    /// Of a root whose run was skipped.
    pub(crate) skip: Option<SpanSkip>,
    /// What a span of the user's own code tells besides.
    pub(crate) user: Option<Arc<UserSpan>>,
    pub(crate) children: Vec<Span>,
}

/// Where a span stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SpanStatus {
    Queued,
    Running,
    Waiting,
    Completed,
    Failed,
    Cancelled,
    Skipped,
}

/// What a step does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SpanOp {
    Run,
    Sleep,
    WaitForEvent,
    WaitForSignal,
    Invoke,
    AiGateway,
}

/// What a step is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StepInfo {
    Run {
        sdk_type: Option<Arc<str>>,
    },
    Sleep {
        until: Millis,
    },
    Event {
        name: Arc<str>,
        expression: Option<Arc<str>>,
        until: Millis,
        found: Option<EventId>,
        timed_out: Option<bool>,
    },
    Signal {
        name: Arc<str>,
        until: Millis,
        timed_out: Option<bool>,
    },
    Invoke {
        function: Arc<str>,
        event: EventId,
        until: Millis,
        run: Option<RunId>,
        returned: Option<EventId>,
        timed_out: Option<bool>,
    },
}

/// A note as it stands after everything that was reported.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SpanMetadata {
    /// `run`, `step`, `step_attempt`, `extended_trace` or `request`.
    pub(crate) scope: Arc<str>,
    pub(crate) kind: Arc<str>,
    /// An object.
    pub(crate) values: serde_json::Map<String, serde_json::Value>,
    pub(crate) updated_at: Millis,
}

/// Why a run was skipped: `Singleton`, `FunctionPaused`, ..
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SpanSkip {
    pub(crate) reason: &'static str,
    pub(crate) existing: Option<RunId>,
}

/// Names what a span took in and gave out; its text is opaque to clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OutputRef {
    pub(crate) run: RunId,
    pub(crate) of: OutputOf,
}

/// Of which span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum OutputOf {
    /// The run; also its end.
    Run,
    /// A step; its last attempt.
    Step(StepId),
    /// A failed attempt.
    Attempt {
        /// Key of the job.
        job: u64,
        generation: u32,
    },
}

/// What a span took in and gave out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SpanOutput {
    /// JSON text.
    pub(crate) input: Option<Payload>,
    /// JSON text of the unwrapped result; `None` when there is none, or an error.
    pub(crate) data: Option<Payload>,
    pub(crate) error: Option<SpanError>,
}

/// An error as the SDK reported it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SpanError {
    pub(crate) message: String,
    pub(crate) name: Option<String>,
    pub(crate) stack: Option<String>,
    /// JSON text.
    pub(crate) cause: Option<Payload>,
}

impl Span {
    /// A span of which nothing else is known yet.
    fn new(id: String, name: impl Into<Arc<str>>, status: SpanStatus, queued_at: Millis) -> Self {
        Self {
            id,
            parent: None,
            name: name.into(),
            status,
            attempts: None,
            queued_at,
            scheduled_at: None,
            started_at: None,
            ended_at: None,
            duration: None,
            output: None,
            op: None,
            step: None,
            step_type: "",
            info: None,
            response: None,
            metadata: Vec::new(),
            group: None,
            is_root: false,
            skip: None,
            user: None,
            children: Vec::new(),
        }
    }

    /// Puts the time in that it took, or has taken.
    fn times(&mut self, started_at: Option<Millis>, ended_at: Option<Millis>) {
        (self.started_at, self.ended_at) = (started_at, ended_at);
        self.duration = started_at.zip(ended_at).map(|(started, ended)| (ended.0 - started.0).max(0));
    }
}

impl SpanStatus {
    const fn of_run(status: RunStatus) -> Self {
        match status {
            RunStatus::Scheduled => Self::Queued,
            RunStatus::Running => Self::Running,
            RunStatus::Completed => Self::Completed,
            RunStatus::Failed => Self::Failed,
            RunStatus::Cancelled => Self::Cancelled,
            RunStatus::Skipped => Self::Skipped,
        }
    }
}

impl SpanOp {
    /// Its name in GraphQL.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Run => "RUN",
            Self::Sleep => "SLEEP",
            Self::WaitForEvent => "WAIT_FOR_EVENT",
            Self::WaitForSignal => "WAIT_FOR_SIGNAL",
            Self::Invoke => "INVOKE",
            Self::AiGateway => "AI_GATEWAY",
        }
    }

    /// Whether nobody works on such a step: it waits for something else.
    const fn waits(self) -> bool {
        !matches!(self, Self::Run | Self::AiGateway)
    }
}

impl SpanSkip {
    fn of(skip: Skip) -> Self {
        let reason = match skip {
            Skip::Singleton(_) => "Singleton",
            Skip::Paused => "FunctionPaused",
            Skip::Draining => "FunctionDrained",
            Skip::Duplicate | Skip::RateLimited | Skip::Debounced => skip.as_str(),
        };
        let existing = match skip {
            Skip::Singleton(run) => Some(run),
            _ => None,
        };
        Self { reason, existing }
    }
}

/// Reads what the trace of a run is made of; `None` when there is no such run.
pub(crate) async fn load(api: &Api, id: RunId) -> Result<Option<RunView>, StoreError> {
    let history = api.engine.history();
    let Some(run) = history.run_record(id).await? else { return Ok(None) };
    let trace = history.trace(id).await?;
    let metadata = history.metadata(id).await?;
    let mut events = history.event_records(run.event_ids.clone()).await?;
    events.sort_by_key(|record| run.event_ids.iter().position(|id| *id == record.event.id));
    let invoked = trace.details.iter().filter_map(|(_, detail)| match detail {
        StepDetail::Invoke { run, .. } => *run,
        _ => None,
    });
    let invoked: Vec<RunId> = invoked.collect();
    let invoked = if invoked.is_empty() { Vec::new() } else { history.run_records(invoked).await? };
    let invoked = invoked.into_iter().map(|run| (run.id, run)).collect();
    let definitions = Definitions::of(api, [run.function].into_iter()).await?;
    let function = definitions.function(run.function).cloned();
    let now = api.engine.ids().now();
    Ok(Some(RunView { run, function, trace, metadata, events, invoked, now }))
}
