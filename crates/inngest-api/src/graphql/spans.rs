//! Traces: spans, and what they took in and gave out.

use std::sync::Arc;

use async_graphql::{Enum, Object, SimpleObject};
use inngest_core::{Payload, StepId};
use inngest_state::history::RunRecord;
use inngest_state::trace::{ResponseHead, UserSpan};
use uuid::Uuid;

use super::problem::{Problem, Result};
use super::runs_v1::FunctionRun;
use super::scalars::{
    AnyJson, HttpHeaders, MetadataKind, MetadataScope, MetadataValues, Raw, Time, UlidText, UuidText,
};
use super::session::Session;
use super::step_info::StepInfo;
use crate::trace::{self, OutputRef, RunView, Span, SpanOp, SpanStatus, trace_id};

/// Where a span stands.
#[derive(Clone, Copy, Enum, PartialEq, Eq)]
pub(super) enum RunTraceSpanStatus {
    Failed,
    Queued,
    Running,
    Completed,
    Waiting,
    Cancelled,
    Skipped,
}

impl From<SpanStatus> for RunTraceSpanStatus {
    fn from(status: SpanStatus) -> Self {
        match status {
            SpanStatus::Queued => Self::Queued,
            SpanStatus::Running => Self::Running,
            SpanStatus::Waiting => Self::Waiting,
            SpanStatus::Completed => Self::Completed,
            SpanStatus::Failed => Self::Failed,
            SpanStatus::Cancelled => Self::Cancelled,
            SpanStatus::Skipped => Self::Skipped,
        }
    }
}

/// What a step does.
#[derive(Clone, Copy, Enum, PartialEq, Eq)]
pub(super) enum StepOp {
    Invoke,
    Run,
    Sleep,
    WaitForEvent,
    AiGateway,
    WaitForSignal,
}

impl From<SpanOp> for StepOp {
    fn from(op: SpanOp) -> Self {
        match op {
            SpanOp::Run => Self::Run,
            SpanOp::Sleep => Self::Sleep,
            SpanOp::WaitForEvent => Self::WaitForEvent,
            SpanOp::WaitForSignal => Self::WaitForSignal,
            SpanOp::Invoke => Self::Invoke,
            SpanOp::AiGateway => Self::AiGateway,
        }
    }
}

/// The reply of the app.
#[derive(SimpleObject)]
struct RunTraceSpanResponseInfo {
    status_code: i64,
    headers: HttpHeaders,
}

impl From<&ResponseHead> for RunTraceSpanResponseInfo {
    fn from(head: &ResponseHead) -> Self {
        Self { status_code: head.status.into(), headers: HttpHeaders(json(&head.headers.json)) }
    }
}

fn json(text: &[u8]) -> serde_json::Value {
    serde_json::from_slice(text).unwrap_or_default()
}

/// A note about a span.
#[derive(SimpleObject)]
struct SpanMetadata {
    scope: MetadataScope,
    kind: MetadataKind,
    values: MetadataValues,
    updated_at: Time,
}

/// What a span of the user's own code tells besides.
#[derive(SimpleObject)]
struct UserlandSpan {
    span_name: Option<String>,
    span_kind: Option<String>,
    service_name: Option<String>,
    resource_attrs: Option<Raw>,
    scope_name: Option<String>,
    scope_version: Option<String>,
    span_attrs: Option<Raw>,
}

impl From<&UserSpan> for UserlandSpan {
    fn from(span: &UserSpan) -> Self {
        let content = json(&span.content);
        let text = |name: &str| content[name].as_str().map(str::to_owned);
        let raw =
            |name: &str| content.get(name).filter(|value| !value.is_null()).map(|value| Raw(value.to_string().into()));
        Self {
            span_name: Some(span.name.to_string()),
            span_kind: text("spanKind"),
            service_name: text("serviceName"),
            resource_attrs: raw("resourceAttrs"),
            scope_name: text("scopeName"),
            scope_version: text("scopeVersion"),
            span_attrs: raw("spanAttrs"),
        }
    }
}

/// A span of a trace. Cheap to clone.
#[derive(Clone)]
pub(super) struct RunTraceSpan {
    trace: Arc<Trace>,
    index: usize,
}

/// The spans of a run, parents before their children.
struct Trace {
    view: Arc<RunView>,
    spans: Vec<Placed>,
}

/// A span, and where those below it are.
struct Placed {
    span: Span,
    children: Vec<usize>,
}

impl RunTraceSpan {
    /// The root of a trace.
    pub(super) fn of(view: &Arc<RunView>, root: Span) -> Self {
        let mut spans = Vec::new();
        let index = place(root, &mut spans);
        Self { trace: Arc::new(Trace { view: Arc::clone(view), spans }), index }
    }

    fn at(&self, index: usize) -> Self {
        Self { trace: Arc::clone(&self.trace), index }
    }

    fn run_of(&self) -> &RunRecord {
        &self.trace.view.run
    }

    fn span(&self) -> &Span {
        &self.trace.spans[self.index].span
    }
}

/// Puts a span and those below it behind the others.
fn place(mut span: Span, spans: &mut Vec<Placed>) -> usize {
    let index = spans.len();
    let below = std::mem::take(&mut span.children);
    spans.push(Placed { span, children: Vec::new() });
    let children = below.into_iter().map(|child| place(child, spans)).collect();
    spans[index].children = children;
    index
}

/// A span of a trace.
#[Object]
impl RunTraceSpan {
    #[graphql(name = "appID")]
    async fn app_id(&self) -> UuidText {
        UuidText(self.trace.view.function.as_ref().map_or_else(Uuid::nil, |function| function.app.0))
    }

    #[graphql(name = "functionID")]
    async fn function_id(&self) -> UuidText {
        UuidText(self.run_of().function.0)
    }

    #[graphql(name = "runID")]
    async fn run_id(&self) -> UlidText {
        self.run_of().id.into()
    }

    async fn run(&self) -> FunctionRun {
        FunctionRun(self.run_of().clone())
    }

    #[graphql(name = "spanID")]
    async fn span_id(&self) -> &str {
        &self.span().id
    }

    #[graphql(name = "traceID")]
    async fn trace_id(&self) -> String {
        trace_id(self.run_of().id)
    }

    #[graphql(name = "groupID")]
    async fn group_id(&self) -> Option<String> {
        self.span().group.map(|job| job.to_string())
    }

    async fn name(&self) -> &str {
        &self.span().name
    }

    async fn status(&self) -> RunTraceSpanStatus {
        self.span().status.into()
    }

    async fn attempts(&self) -> Option<i64> {
        self.span().attempts.map(i64::from)
    }

    async fn duration(&self) -> Option<i64> {
        self.span().duration
    }

    #[graphql(name = "outputID")]
    async fn output_id(&self) -> Option<String> {
        self.span().output.as_ref().map(OutputRef::to_text)
    }

    async fn queued_at(&self) -> Time {
        self.span().queued_at.into()
    }

    async fn scheduled_at(&self) -> Option<Time> {
        self.span().scheduled_at.map(Time::from)
    }

    async fn started_at(&self) -> Option<Time> {
        match &self.span().user {
            Some(user) => Some(Time::of_nanos(user.started_ns)),
            None => self.span().started_at.map(Time::from),
        }
    }

    async fn ended_at(&self) -> Option<Time> {
        match &self.span().user {
            Some(user) => Some(Time::of_nanos(user.ended_ns)),
            None => self.span().ended_at.map(Time::from),
        }
    }

    async fn children_spans(&self) -> Vec<RunTraceSpan> {
        self.trace.spans[self.index].children.iter().map(|child| self.at(*child)).collect()
    }

    async fn step_op(&self) -> Option<StepOp> {
        self.span().op.map(StepOp::from)
    }

    #[graphql(name = "stepID")]
    async fn step_id(&self) -> Option<&str> {
        self.span().step.as_ref().map(StepId::as_str)
    }

    async fn step_info(&self) -> Option<StepInfo> {
        self.span().info.clone().map(StepInfo::from)
    }

    async fn step_type(&self) -> &str {
        self.span().step_type
    }

    async fn is_root(&self) -> bool {
        self.span().is_root
    }

    #[graphql(name = "parentSpanID")]
    async fn parent_span_id(&self) -> Option<&str> {
        self.span().parent.as_deref()
    }

    async fn parent_span(&self) -> Option<RunTraceSpan> {
        let parent = self.span().parent.as_deref()?;
        self.trace.spans.iter().position(|placed| placed.span.id == parent).map(|index| self.at(index))
    }

    async fn is_userland(&self) -> bool {
        self.span().user.is_some()
    }

    async fn userland_span(&self) -> Option<UserlandSpan> {
        self.span().user.as_deref().map(UserlandSpan::from)
    }

    #[graphql(name = "debugRunID")]
    async fn debug_run_id(&self) -> Option<UlidText> {
        None
    }

    #[graphql(name = "debugSessionID")]
    async fn debug_session_id(&self) -> Option<UlidText> {
        None
    }

    async fn debug_paused(&self) -> bool {
        false
    }

    async fn skip_reason(&self) -> Option<&str> {
        self.span().skip.as_ref().map(|skip| skip.reason)
    }

    #[graphql(name = "skipExistingRunID")]
    async fn skip_existing_run_id(&self) -> Option<String> {
        self.span().skip.as_ref()?.existing.map(|run| run.to_string())
    }

    async fn metadata(&self) -> Vec<SpanMetadata> {
        let shown = self.span().metadata.iter().map(|note| SpanMetadata {
            scope: MetadataScope((*note.scope).into()),
            kind: MetadataKind((*note.kind).into()),
            values: MetadataValues(note.values.clone().into()),
            updated_at: note.updated_at.into(),
        });
        shown.collect()
    }

    async fn response(&self) -> Option<RunTraceSpanResponseInfo> {
        self.span().response.as_ref().map(RunTraceSpanResponseInfo::from)
    }
}

/// An error as its SDK told it.
#[derive(SimpleObject)]
struct StepError {
    message: String,
    name: Option<String>,
    stack: Option<String>,
    cause: Option<AnyJson>,
}

/// What a span took in and gave out.
#[derive(SimpleObject)]
pub(super) struct RunTraceSpanOutput {
    input: Option<Raw>,
    data: Option<Raw>,
    error: Option<StepError>,
}

/// The output of the span that an `outputID` names.
pub(super) async fn output(session: &Session, id: &str) -> Result<RunTraceSpanOutput> {
    let of = OutputRef::from_text(id).map_err(|error| Problem::InvalidArgument(error.to_string()))?;
    let unknown = || Problem::NotFound("no output found".to_owned());
    let view = session.trace(of.run).await?.ok_or_else(unknown)?;
    let output = trace::output(&view, &of.of).ok_or_else(unknown)?;
    Ok(RunTraceSpanOutput {
        input: output.input.map(Raw),
        data: output.data.map(Raw),
        error: output.error.map(|error| StepError {
            message: error.message,
            name: error.name,
            stack: error.stack,
            cause: error.cause.map(|cause: Payload| AnyJson(json(&cause))),
        }),
    })
}
