//! The trace of a run: a tree of spans, derived from its rows at read time.
//!
//! [`load`] reads what a trace is made of, [`tree`] and [`legacy`] make the two shapes of it that clients know, and
//! [`output`] tells what a span took in and gave out. All but the first are pure.

#![allow(dead_code, reason = "read by GraphQL, REST v2 and MCP, which are under way")]

use std::collections::HashMap;
use std::sync::Arc;

use inngest_core::{EventId, Function, Millis, Payload, RunId, RunStatus, StepId};
use inngest_queue::JobId;
use inngest_state::history::{EventRecord, RunRecord, RunTrace};
use inngest_state::trace::{ResponseHead, UserSpan};
use inngest_state::{Metadata, StoreError};

use crate::Api;

/// Everything a trace is made of.
#[derive(Clone, Debug)]
pub(crate) struct RunView {
    pub(crate) run: RunRecord,
    /// `None` when the function is not known any more.
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

/// Reads what the trace of a run is made of; `None` when there is no such run.
pub(crate) async fn load(api: &Api, id: RunId) -> Result<Option<RunView>, StoreError> {
    let history = api.engine.history();
    let Some(run) = history.run_record(id).await? else { return Ok(None) };
    let trace = history.trace(id).await?;
    let metadata = history.metadata(id).await?;
    let events = history.event_records(run.event_ids.clone()).await?;
    let function = api.engine.registry().function(&run.function).cloned();
    let now = api.engine.ids().now();
    Ok(Some(RunView { run, function, trace, metadata, events, invoked: HashMap::new(), now }))
}

/// The trace as the dashboard and most clients know it: a root, a span a step, and the end of the run.
pub(crate) fn tree(view: &RunView) -> Span {
    root(view, "Run")
}

/// The trace as older clients know it.
pub(crate) fn legacy(view: &RunView) -> Span {
    root(view, view.function.as_ref().map_or("", |function| &*function.slug))
}

/// What a span took in and gave out; `None` when the run has no such span.
pub(crate) fn output(view: &RunView, of: &OutputOf) -> Option<SpanOutput> {
    match of {
        OutputOf::Run => Some(SpanOutput { data: view.run.output.clone(), ..SpanOutput::default() }),
        OutputOf::Step(_) | OutputOf::Attempt { .. } => None,
    }
}

fn root(view: &RunView, name: &str) -> Span {
    let run = &view.run;
    Span {
        id: run.id.to_string(),
        parent: None,
        name: name.into(),
        status: match run.status {
            RunStatus::Scheduled => SpanStatus::Queued,
            RunStatus::Completed => SpanStatus::Completed,
            RunStatus::Failed => SpanStatus::Failed,
            RunStatus::Cancelled => SpanStatus::Cancelled,
            RunStatus::Skipped => SpanStatus::Skipped,
            _ => SpanStatus::Running,
        },
        attempts: Some(0),
        queued_at: run.queued_at,
        scheduled_at: None,
        started_at: run.started_at,
        ended_at: run.ended_at,
        duration: None,
        output: Some(OutputRef { run: run.id, of: OutputOf::Run }),
        op: None,
        step: None,
        step_type: "",
        info: None,
        response: None,
        metadata: Vec::new(),
        group: None,
        is_root: true,
        skip: None,
        user: None,
        children: Vec::new(),
    }
}
