//! The body of a call to an app, put together from stored bytes.
//!
//! Events and step values are stored in canonical form, so the canonical body is a concatenation with the keys
//! written in order; nothing is parsed.

use std::borrow::Cow;
use std::io::Write as _;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use inngest_core::{App, Function, RequestId, StepId, canonical};
use inngest_queue::{JobId, JobKind, QueueItem};
use inngest_state::{Defer, DeferStatus, RunState, StepMemo};

/// What one request may carry besides the state of the run.
const ENVELOPE_BYTES: usize = 1024;
/// A stack entry and the punctuation of a step.
const STEP_ENTRY_BYTES: usize = 8;

/// Whether the SDK of this app fetches the state of a large run through the API. Those of Go and Kotlin do not:
/// they would run without memory of what was done, so they get the whole state whatever its size.
#[must_use]
pub fn can_fetch_state(app: &App) -> bool {
    matches!(app.sdk_language.as_str(), "js" | "inngest-js" | "py" | "inngest-py")
}

/// The body of a call. A state that does not fit into `max` bytes is left out, and `use_api` tells the SDK to
/// fetch it. The first event is always there.
#[must_use]
pub fn assemble(run: &RunState, item: &QueueItem, function: &Function, request: RequestId, max: usize) -> Bytes {
    let event = run.events.first().map_or(&b"{}"[..], |event| event);
    let event_bytes: usize = run.events.iter().map(|event| event.len() + 1).sum();
    let envelope_bytes =
        ENVELOPE_BYTES + run.steps.iter().map(|step| 2 * step.id.as_str().len() + STEP_ENTRY_BYTES).sum::<usize>();
    let state_bytes = run.state_bytes();
    let whole_bytes = envelope_bytes + event.len() + state_bytes;
    let use_api = state_bytes > max.saturating_sub(ENVELOPE_BYTES) || whole_bytes > max;
    let small_bytes = envelope_bytes + event.len() + event_bytes;
    let with_events = !use_api || small_bytes <= max;
    let steps: &[Arc<StepMemo>] = if use_api { &[] } else { &run.steps };

    let mut out = Vec::with_capacity(if use_api { small_bytes } else { whole_bytes });
    out.extend_from_slice(b"{\"ctx\":");
    write_context(&mut out, run, item, function, request, use_api);
    out.extend_from_slice(b",\"defers\":");
    write_defers(&mut out, &run.defers);
    out.extend_from_slice(b",\"event\":");
    out.extend_from_slice(event);
    out.extend_from_slice(b",\"events\":[");
    if with_events {
        write_list(&mut out, run.events.iter(), |out, event| out.extend_from_slice(event));
    }
    out.extend_from_slice(b"],\"steps\":");
    write_steps(&mut out, steps, input(run).as_ref());
    out.extend_from_slice(b",\"use_api\":");
    write_bool(&mut out, use_api);
    out.extend_from_slice(b",\"version\":");
    write_number(&mut out, item.version);
    out.push(b'}');
    out.into()
}

fn write_context(
    out: &mut Vec<u8>,
    run: &RunState,
    item: &QueueItem,
    function: &Function,
    request: RequestId,
    use_api: bool,
) {
    let current = match item.kind {
        JobKind::Step(_) => item.stack_current as usize,
        _ => run.steps.len(),
    };
    out.extend_from_slice(b"{\"attempt\":");
    write_number(out, item.attempt);
    out.extend_from_slice(b",\"disable_immediate_execution\":");
    write_bool(out, item.plan_only);
    out.extend_from_slice(b",\"env\":\"\",\"fn_id\":\"");
    out.extend_from_slice(function.id.0.as_hyphenated().encode_lower(&mut uuid::Uuid::encode_buffer()).as_bytes());
    out.extend_from_slice(b"\",\"generation_id\":");
    write_number(out, item.generation);
    write(out, format_args!(",\"job_id\":\"{}\",\"max_attempts\":{},\"qi_id\":\"", item.id, function.attempts_max()));
    write_qi_id(out, item);
    out.extend_from_slice(b"\",\"request_id\":\"");
    out.extend_from_slice(request.encode(&mut [0; 26]).as_bytes());
    out.extend_from_slice(b"\",\"run_id\":\"");
    out.extend_from_slice(run.id.encode(&mut [0; 26]).as_bytes());
    out.extend_from_slice(b"\",\"stack\":{\"current\":");
    write_number(out, current);
    out.extend_from_slice(b",\"stack\":[");
    write_list(out, run.steps.iter(), |out, step| canonical::write_string(out, step.id.as_str()));
    out.extend_from_slice(b"]},\"step_id\":");
    canonical::write_string(out, &function.step_id);
    out.extend_from_slice(b",\"use_api\":");
    write_bool(out, use_api);
    out.push(b'}');
}

/// Arguments that a user gave for a step that has no result yet, as it stands in `steps`.
fn input(run: &RunState) -> Option<(&StepId, Vec<u8>)> {
    let (id, input) = &**run.input.as_ref()?;
    (!run.has_step(id)).then(|| (id, [b"{\"input\":", &input[..], b"}"].concat()))
}

/// The `steps` object. Keys are in canonical order, which is that of UTF-16.
fn write_steps(out: &mut Vec<u8>, steps: &[Arc<StepMemo>], input: Option<&(&StepId, Vec<u8>)>) {
    let mut sorted: Vec<(&StepId, &[u8])> = steps.iter().map(|step| (&step.id, &step.value[..])).collect();
    sorted.extend(input.map(|(id, input)| (*id, &input[..])));
    sorted.sort_unstable_by(|(a, _), (b, _)| canonical_order(a, b));
    out.push(b'{');
    write_list(out, sorted.into_iter(), |out, (id, value)| write_step(out, id, value));
    out.push(b'}');
}

fn canonical_order(a: &StepId, b: &StepId) -> std::cmp::Ordering {
    let (a, b) = (a.as_str(), b.as_str());
    if a.is_ascii() && b.is_ascii() { a.cmp(b) } else { a.encode_utf16().cmp(b.encode_utf16()) }
}

fn write_step(out: &mut Vec<u8>, id: &StepId, value: &[u8]) {
    canonical::write_string(out, id.as_str());
    out.push(b':');
    out.extend_from_slice(value);
}

/// The `defers` object: which of them may still be aborted.
fn write_defers(out: &mut Vec<u8>, defers: &[Arc<Defer>]) {
    let mut sorted: Vec<&Defer> = defers.iter().map(|defer| &**defer).collect();
    sorted.sort_unstable_by(|a, b| canonical_order(&a.id, &b.id));
    out.push(b'{');
    write_list(out, sorted.into_iter(), |out, defer| {
        canonical::write_string(out, defer.id.as_str());
        out.extend_from_slice(b":{\"abortable\":");
        write_bool(out, defer.status == DeferStatus::AfterRun);
        out.push(b'}');
    });
    out.push(b'}');
}

/// Base64 of `<run>:<key>:<generation>`: what a checkpoint gives back to say which dispatch it belongs to.
fn write_qi_id(out: &mut Vec<u8>, item: &QueueItem) {
    let mut plain = Vec::with_capacity(64);
    write(&mut plain, format_args!("{}:{:016x}:{}", item.id.run, item.id.key, item.generation));
    let start = out.len();
    out.resize(start + plain.len().div_ceil(3) * 4, b'=');
    let written = STANDARD.encode_slice(&plain, &mut out[start..]).expect("four bytes for each three are reserved");
    out.truncate(start + written);
}

/// The job and its dispatch that a `qi_id` names. `None` for a text that we have not made.
#[must_use]
pub fn parse_qi_id(text: &str) -> Option<(JobId, u32)> {
    let plain = String::from_utf8(STANDARD.decode(text).ok()?).ok()?;
    let mut parts = plain.split(':');
    let (run, key, generation) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || key.len() != 16 || key.starts_with('+') || generation.starts_with('+') {
        return None;
    }
    let job = JobId { run: run.parse().ok()?, key: u64::from_str_radix(key, 16).ok()? };
    Some((job, generation.parse().ok()?))
}

/// Body of `GET /v0/runs/{id}/actions`: the recorded steps as an object. Its keys are in the order of the
/// stack, not sorted: SDKs that get no stack take it from here.
#[must_use]
pub fn actions_json(run: &RunState) -> Bytes {
    let mut out = Vec::with_capacity(run.state_bytes() + 64 * run.steps.len() + 2);
    let steps = run.steps.iter().map(|step| (&step.id, Cow::Borrowed(&step.value[..])));
    let input = input(run).map(|(id, input)| (id, Cow::Owned(input)));
    out.push(b'{');
    write_list(&mut out, steps.chain(input), |out, (id, value)| write_step(out, id, &value));
    out.push(b'}');
    out.into()
}

/// Body of `GET /v0/runs/{id}/batch`: the events of the run.
#[must_use]
pub fn batch_json(run: &RunState) -> Bytes {
    let mut out = Vec::with_capacity(run.events.iter().map(|event| event.len() + 1).sum::<usize>() + 2);
    out.push(b'[');
    write_list(&mut out, run.events.iter(), |out, event| out.extend_from_slice(event));
    out.push(b']');
    out.into()
}

fn write_list<T>(out: &mut Vec<u8>, items: impl Iterator<Item = T>, mut write: impl FnMut(&mut Vec<u8>, T)) {
    for (index, item) in items.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write(out, item);
    }
}

fn write_bool(out: &mut Vec<u8>, value: bool) {
    out.extend_from_slice(if value { b"true" } else { b"false" });
}

fn write_number(out: &mut Vec<u8>, value: impl std::fmt::Display) {
    write(out, format_args!("{value}"));
}

fn write(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("writing to memory does not fail");
}

#[cfg(test)]
mod tests;
