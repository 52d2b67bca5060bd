//! The trace of a run, as a tree of spans.

use std::collections::BTreeMap;

use inngest_core::canonical;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::{as_object, parse_id};
use crate::trace::{self, RunView, SpanOp, SpanOutput, SpanStatus};
use crate::v2::endpoint::{Call, Endpoint};
use crate::v2::error::Error;
use crate::v2::wire::{Int64, One, Timestamp, raw};

pub(super) fn endpoint() -> Endpoint {
    Endpoint::get("GetFunctionTrace", "/runs/{runId}/trace", "Gets the trace of a run", get)
        .error(404, "There is no such run.")
        .cli("get-function-trace")
        .tool("get_run_trace", "Get trace of a run")
}

/// Which trace.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Get {
    /// ULID of the run.
    run_id: String,
    /// Whether the inputs and outputs of the spans are wanted.
    #[serde(default)]
    include_output: bool,
}

/// What a run did, and when.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Trace {
    /// ULID of the run.
    run_id: String,
    /// The run as a whole.
    root_span: Span,
}

/// A run, a step of it, an attempt of a step, or a span of the user's own code.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Span")]
struct Span {
    /// Unique on this server.
    id: String,
    /// For people.
    name: String,
    /// Where it stands.
    status: Status,
    /// What a step does.
    #[serde(skip_serializing_if = "Option::is_none")]
    step_op: Option<Op>,
    /// Hashed id of a step.
    #[serde(skip_serializing_if = "Option::is_none")]
    step_id: Option<String>,
    /// From its start to its end, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_ms: Option<Int64>,
    /// When it could have begun.
    queued_at: Timestamp,
    /// When it began.
    #[serde(skip_serializing_if = "Option::is_none")]
    started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_at: Option<Timestamp>,
    /// What it took in; of a run: its events. What is no object is the member `data` of one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Map<String, Value>>")]
    input: Option<Box<RawValue>>,
    /// What it gave out, or the error with which it failed. What is no object is the member `data` of one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Map<String, Value>>")]
    output: Option<Box<RawValue>>,
    /// Notes about it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    metadata: Vec<Note>,
    /// The spans within it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    children: Vec<Self>,
}

/// A note about a span.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "SpanMetadata")]
struct Note {
    /// About what.
    scope: String,
    /// What it says.
    kind: String,
    /// Its members; those that are no texts are JSON.
    values: BTreeMap<String, String>,
    /// When it was said.
    updated_at: Timestamp,
}

/// Where a span stands.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[schemars(rename = "SpanStatus")]
enum Status {
    Queued,
    Running,
    Completed,
    Failed,
    Waiting,
    Cancelled,
    Skipped,
}

/// What a step does.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[schemars(rename = "StepOp")]
enum Op {
    Run,
    Sleep,
    WaitForEvent,
    Invoke,
    AiGateway,
    WaitForSignal,
}

async fn get(Call { api, parameters, .. }: Call<Get>) -> Result<One<Trace>, Error> {
    let id = parse_id(&parameters.run_id)?;
    let view = trace::load(&api, id).await?.ok_or_else(|| Error::not_found("Trace not found"))?;
    let mut root_span = render(&view, trace::tree(&view), parameters.include_output);
    if parameters.include_output {
        root_span.input = events(&view);
    }
    Ok(One::of(&api, Trace { run_id: id.to_string(), root_span }))
}

fn render(view: &RunView, span: trace::Span, include_output: bool) -> Span {
    let exchanged = span.output.as_ref().filter(|_| include_output).and_then(|output| trace::output(view, &output.of));
    let exchanged = exchanged.unwrap_or_default();
    let duration = span.started_at.zip(span.ended_at).map(|(from, until)| (until.0 - from.0).max(0));
    Span {
        id: span.id,
        name: span.name.to_string(),
        status: status(span.status),
        step_op: span.op.map(op),
        step_id: span.step.map(|step| step.to_string()),
        duration_ms: span.duration.or(duration).map(Int64),
        queued_at: Timestamp(span.queued_at),
        started_at: span.started_at.map(Timestamp),
        ended_at: span.ended_at.map(Timestamp),
        input: exchanged.input.as_ref().and_then(|input| as_object(raw(input))),
        output: output(&exchanged),
        metadata: span.metadata.into_iter().map(note).collect(),
        children: span.children.into_iter().map(|child| render(view, child, include_output)).collect(),
    }
}

fn output(exchanged: &SpanOutput) -> Option<Box<RawValue>> {
    if let Some(error) = &exchanged.error {
        let mut members = Map::new();
        members.insert("message".into(), error.message.clone().into());
        members.extend(error.name.clone().map(|name| ("name".into(), name.into())));
        members.extend(error.stack.clone().map(|stack| ("stack".into(), stack.into())));
        return RawValue::from_string(Value::Object(members).to_string()).ok();
    }
    as_object(raw(exchanged.data.as_ref()?))
}

/// The events of a run, as its input.
fn events(view: &RunView) -> Option<Box<RawValue>> {
    let bodies: Vec<_> = view.events.iter().map(|record| String::from_utf8_lossy(&record.body)).collect();
    RawValue::from_string(format!("{{\"data\":[{}]}}", bodies.join(","))).ok()
}

fn note(note: trace::SpanMetadata) -> Note {
    let text = |value: Value| match value {
        Value::String(text) => text,
        other => {
            let json = other.to_string();
            let sorted = canonical::canonicalise(json.as_bytes(), canonical::Numbers::Exact).ok();
            sorted.and_then(|sorted| String::from_utf8(sorted).ok()).unwrap_or(json)
        }
    };
    Note {
        scope: note.scope.to_string(),
        kind: note.kind.to_string(),
        values: note.values.into_iter().map(|(key, value)| (key, text(value))).collect(),
        updated_at: Timestamp(note.updated_at),
    }
}

fn status(status: SpanStatus) -> Status {
    match status {
        SpanStatus::Queued => Status::Queued,
        SpanStatus::Running => Status::Running,
        SpanStatus::Waiting => Status::Waiting,
        SpanStatus::Completed => Status::Completed,
        SpanStatus::Failed => Status::Failed,
        SpanStatus::Cancelled => Status::Cancelled,
        SpanStatus::Skipped => Status::Skipped,
    }
}

fn op(op: SpanOp) -> Op {
    match op {
        SpanOp::Run => Op::Run,
        SpanOp::Sleep => Op::Sleep,
        SpanOp::WaitForEvent => Op::WaitForEvent,
        SpanOp::WaitForSignal => Op::WaitForSignal,
        SpanOp::Invoke => Op::Invoke,
        SpanOp::AiGateway => Op::AiGateway,
    }
}
