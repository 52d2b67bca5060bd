//! Spans of the user's own code, as SDKs export them in OTLP (extended traces).
//!
//! Each says in its attributes where it belongs. The SDK repeats what the call to the app has told it: the run
//! (`sdk.run.id`), the function (`sys.function.id`) and the call (`inngest.traceref`); and adds the step that runs
//! (`inngest.step.hash`, `inngest.step.attempt`) where it runs several in one call. Without that, a span belongs to the
//! step that came of the attempt whose [`call_span`] it names.

mod attributes;

use inngest_core::canonical::{self, Numbers};
use inngest_core::{FunctionId, Payload, RunId, StepId};
use inngest_queue::JobId;
use inngest_state::trace::UserSpan;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::{ScopeSpans, Span, span::SpanKind, status::StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::ai;
use crate::response::MetadataReport;
use attributes::Attributes;

/// The span that the SDK puts around a whole call. It is stored because others lie in it, and never shown.
pub const WRAPPER: &str = "inngest.execution";

/// A longer name is cut off.
const NAME_BYTES_MAX: usize = 256;
/// A longer id is none.
const STEP_ID_BYTES_MAX: usize = 128;

/// The span of an attempt, as the app is told it (`traceparent`). The same for every dispatch of the attempt.
#[must_use]
pub fn call_span(job: JobId, attempt: u32) -> [u8; 8] {
    // An id of zeros is none.
    job.key.wrapping_add(u64::from(attempt)).max(1).to_be_bytes()
}

/// The id of the trace of a run: 32 hex digits.
#[must_use]
pub fn trace_id(run: RunId) -> String {
    format!("{:032x}", run.0.0)
}

/// The `traceparent` of a call to an app. Its trace is named after the run.
pub(crate) fn traceparent(job: JobId, attempt: u32) -> String {
    let span = u64::from_be_bytes(call_span(job, attempt));
    format!("00-{}-{span:016x}-01", trace_id(job.run))
}

/// A span that could be read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Found {
    /// Whose run it says it belongs to, if it says so.
    pub(crate) function: Option<FunctionId>,
    pub(crate) span: UserSpan,
    /// What its attributes tell of models and requests.
    pub(crate) notes: Vec<MetadataReport>,
}

/// The spans of an export that say where they belong, and how many do not.
pub(crate) fn read(export: ExportTraceServiceRequest) -> (Vec<Found>, usize) {
    let (mut found, mut rejected) = (Vec::new(), 0);
    for of_resource in export.resource_spans {
        let attributes = of_resource.resource.map(|resource| resource.attributes).unwrap_or_default();
        let resource = Attributes::of_resource(attributes);
        for ScopeSpans { scope, spans, .. } in of_resource.scope_spans {
            let scope = scope.unwrap_or_default();
            let maker = Maker { resource: &resource, scope: cut(&scope.name), version: cut(&scope.version) };
            for span in spans {
                match maker.found(span) {
                    Some(span) => found.push(span),
                    None => rejected += 1,
                }
            }
        }
    }
    (found, rejected)
}

/// What all spans of one library in one process have in common.
struct Maker<'a> {
    resource: &'a Attributes,
    scope: &'a str,
    version: &'a str,
}

impl Maker<'_> {
    fn found(&self, span: Span) -> Option<Found> {
        let id = <[u8; 8]>::try_from(span.span_id.as_slice()).ok().filter(|id| *id != [0; 8])?;
        let mut attributes = Attributes::of_span(span.attributes);
        let run: RunId = attributes.text("sdk.run.id")?.parse().ok()?;
        let call = call(attributes.text("inngest.traceref")?, run)?;
        let function = attributes.text("sys.function.id").map(|id| id.parse().ok());
        let step = attributes.text("inngest.step.hash").filter(|id| !id.is_empty() && id.len() <= STEP_ID_BYTES_MAX);
        let step = step.map(StepId::from);
        let attempt = attributes.number("inngest.step.attempt").and_then(|attempt| u32::try_from(attempt).ok());
        let (started_ns, ended_ns) = (nanos(span.start_time_unix_nano), nanos(span.end_time_unix_nano));
        let ended_ns = ended_ns.max(started_ns);
        let is_wrapper = span.name == WRAPPER;
        if is_wrapper {
            // All that the process knows of itself, for nobody to see.
            attributes.clear();
        }
        let shown = attributes.shown();
        let notes = notes(&shown, started_ns, ended_ns);
        let content = json!({
            "call": hex(call),
            "spanKind": kind(span.kind),
            "serviceName": self.resource.text("service.name").unwrap_or_default(),
            "scopeName": self.scope,
            "scopeVersion": self.version,
            "spanAttrs": shown,
            "resourceAttrs": if is_wrapper { Map::new() } else { self.resource.shown() },
        });
        let span = UserSpan {
            run,
            id,
            // What the SDK's own span lies in, if anything, is not known here.
            parent: if is_wrapper { None } else { span.parent_span_id.as_slice().try_into().ok() },
            attempt: attempt.filter(|_| step.is_some()),
            step,
            name: cut(&span.name).into(),
            started_ns,
            ended_ns,
            failed: span.status.is_some_and(|status| status.code == StatusCode::Error as i32),
            content: payload(&content),
        };
        // A function that cannot be read is an unknown one.
        match function {
            None => Some(Found { function: None, span, notes }),
            Some(function) => Some(Found { function: Some(function?), span, notes }),
        }
    }
}

/// The span of the call that a reference names, if it is one of the run.
fn call(reference: &str, run: RunId) -> Option<[u8; 8]> {
    #[derive(Deserialize)]
    struct Reference {
        tp: String,
    }
    let decoded = percent_encoding::percent_decode_str(reference).decode_utf8().ok()?;
    let Reference { tp } = serde_json::from_str(&decoded).ok()?;
    let mut parts = tp.split('-').skip(1);
    let (trace, span) = (parts.next()?, parts.next()?);
    if u128::from_str_radix(trace, 16) != Ok(run.0.0) || span.len() != 16 {
        return None;
    }
    u64::from_str_radix(span, 16).ok().map(u64::to_be_bytes)
}

/// What the attributes tell that has a kind of its own. A span that is exported again is noted anew, not twice.
fn notes(attributes: &Map<String, Value>, started_ns: i64, ended_ns: i64) -> Vec<MetadataReport> {
    #[expect(clippy::cast_precision_loss, reason = "a length of time, not a time")]
    let latency_ms = (ended_ns - started_ns) as f64 / 1e6;
    let of_model = ai::of_attributes(attributes, latency_ms).map(|values| ("inngest.ai", values));
    let of_request = attributes::http(attributes).map(|values| ("inngest.http", values));
    let note = |(kind, values): (&str, Map<String, Value>)| MetadataReport {
        scope: "extended_trace".into(),
        kind: kind.into(),
        op: "set".into(),
        values: payload(&Value::Object(values)),
    };
    of_model.into_iter().chain(of_request).map(note).collect()
}

fn payload(value: &Value) -> Payload {
    let text = value.to_string();
    canonical::canonicalise(text.as_bytes(), Numbers::Exact).map_or_else(|_| text.into(), Payload::from)
}

fn kind(kind: i32) -> &'static str {
    match SpanKind::try_from(kind) {
        Ok(SpanKind::Internal) => "internal",
        Ok(SpanKind::Server) => "server",
        Ok(SpanKind::Client) => "client",
        Ok(SpanKind::Producer) => "producer",
        Ok(SpanKind::Consumer) => "consumer",
        Ok(SpanKind::Unspecified) | Err(_) => "unspecified",
    }
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(NAME_BYTES_MAX)]
}

fn nanos(nanos: u64) -> i64 {
    i64::try_from(nanos).unwrap_or(i64::MAX)
}

fn hex(id: [u8; 8]) -> String {
    format!("{:016x}", u64::from_be_bytes(id))
}

#[cfg(test)]
mod tests;
