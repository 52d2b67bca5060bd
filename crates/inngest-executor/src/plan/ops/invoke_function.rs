//! `InvokeFunction`: another function runs, and its result is that of the step.

use inngest_core::sessions::{self, SessionError};
use inngest_core::{Millis, Payload, RunStatus, canonical, limits};
use inngest_queue::flow::Skip;
use inngest_queue::{JobId, JobKind, StepRef, WaitFor};
use inngest_state::trace::StepDetail;
use inngest_state::{Await, Awaited, Change, Invoke, Requirement, StepOp};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::{opts, wrap};
use crate::plan::draft::{Draft, Result};
use crate::plan::internal_event::{self, Invocation};
use crate::plan::resolve::Resolved;
use crate::response::OpReport;
use crate::routing;

/// `InngestInvokeTimeoutError`, as SDKs compare it.
const TIMED_OUT: &[u8] = br#"{"error":{"error":"InngestInvokeTimeoutError: Timed out waiting for invoked function to complete","message":"Timed out waiting for invoked function to complete","name":"InngestInvokeTimeoutError"}}"#;

#[derive(Deserialize, Default)]
#[serde(default)]
struct Opts<'a> {
    function_id: Option<String>,
    #[serde(borrow)]
    payload: Option<&'a RawValue>,
    timeout: Option<String>,
}

pub(super) fn add(draft: &mut Draft<'_>, report: &OpReport) {
    let planning = draft.planning;
    let opts: Opts<'_> = match opts(report) {
        Ok(opts) => opts,
        Err(problem) => return draft.fail_options(report, &problem),
    };
    let timeout = opts.timeout.as_deref().filter(|text| !text.is_empty());
    let Some(until) = draft.deadline(report, timeout) else { return };
    let name = opts.function_id.unwrap_or_default();
    let invocation = match invocation(opts.payload.map_or("", RawValue::get)) {
        Ok(invocation) => invocation,
        Err(problem) => return draft.fail_options(report, &problem.to_string()),
    };
    let correlation_id = format!("{}.{}", planning.run.id, report.id);
    let own = json!({
        "correlation_id": correlation_id,
        "expire": until.0,
        "fn_id": name,
        "name": *report.display_name,
        "source_app_id": planning.function.app.to_string(),
        "source_fn_id": planning.function.id.to_string(),
        "source_fn_v": planning.function.version,
    });
    let (ids, now, registry) = (planning.ids, planning.now, planning.registry);
    let event = internal_event::invoked(ids.event(now), &invocation, &own, now);
    let detail = |function: &str, run| StepDetail::Invoke { function: function.into(), event: event.id, run, until };
    let Some(function) = registry.invocable(&name) else {
        draft.detail(&report.id, detail(&name, None));
        let admits = routing::admit(registry, &event, now, ids);
        return not_found(draft, report, &name, &correlation_id, Change::PutEvent(Box::new(event), admits));
    };
    // The function may also be triggered by such events: it starts once.
    let (run, admits) = routing::admit_for(registry, function, Some(correlation_id.into()), &event, now, ids);
    let id = JobId::wait(planning.run.id, &report.id);
    let job = draft.job(id, JobKind::Wait(StepRef::from(report), WaitFor::Invoke), until);
    let detail = detail(&function.slug, Some(run));
    if draft.wait(Await { job, awaited: Awaited::Run(Box::new(Invoke { run, event, admits, refusal: refused })) }) {
        draft.detail(&report.id, detail);
    }
}

/// The value of the step when the function is not started.
#[must_use]
pub fn refused(skip: Skip) -> Payload {
    match skip {
        Skip::RateLimited => error("Error", "invoked function is rate limited"),
        Skip::Singleton(_) => error("Error", "invoked function was skipped (singleton)"),
        Skip::Paused => error("Error", "invoked function was skipped (paused)"),
        Skip::Draining => error("Error", "invoked function was skipped (draining)"),
        Skip::Duplicate | Skip::Debounced => {
            error("InngestInvokeError", "The function was not started: an event of the same id has done so before")
        }
    }
}

/// The value of the step when there is no such function.
#[must_use]
pub fn function_unknown(name: &str) -> Payload {
    error("Error", &not_found_message(name))
}

fn not_found_message(name: &str) -> String {
    format!("could not find function with ID: {name}")
}

/// The step fails at once; who listens for the end of the invoked function hears of it.
fn not_found(draft: &mut Draft<'_>, report: &OpReport, name: &str, correlation_id: &str, invoked: Change) {
    if draft.is_recorded(&report.id) {
        draft.repeated = true;
        return;
    }
    let job = JobId::wait(draft.planning.run.id, &report.id);
    if draft.planning.known.planned.contains(&job) {
        // It was known when the step was first reported, and runs.
        draft.jobs += 1;
        return;
    }
    draft.require.push(Requirement::Unplanned(job));
    let (ids, now, registry) = (draft.planning.ids, draft.planning.now, draft.planning.registry);
    let finished = internal_event::not_started(&not_found_message(name), Some(correlation_id), ids, now);
    let admits = routing::admit(registry, &finished, now, ids);
    draft.changes.push(invoked);
    draft.changes.push(Change::PutEvent(Box::new(finished), admits));
    record(draft, StepRef::from(report), function_unknown(name), true);
}

pub(in crate::plan) fn resolve(draft: &mut Draft<'_>, with: Resolved) {
    let Some(step) = draft.planning.item.step().cloned() else { return };
    let (value, failed) = match with {
        Resolved::Run { status: RunStatus::Completed, output, .. } => {
            (wrap("data", output.as_deref().unwrap_or(b"null")), false)
        }
        Resolved::Run { status: RunStatus::Failed, error: Some(error), .. } => (wrap("error", &error), true),
        Resolved::Run { id, status, .. } => {
            let what = status.as_str().to_lowercase();
            (error("InngestInvokeError", &format!("The invoked run {id} was {what}")), true)
        }
        // The run was not started.
        Resolved::Value(value) | Resolved::Event(value) => (value, true),
        Resolved::TimedOut => (Payload::from_static(TIMED_OUT), true),
    };
    record(draft, step, value, failed);
}

fn record(draft: &mut Draft<'_>, step: StepRef, value: Payload, failed: bool) {
    draft.record(Result { step, op: StepOp::Invoke, value, failed, input: None, timing: None });
}

fn error(name: &str, message: &str) -> Payload {
    let mut inner = b"{\"message\":".to_vec();
    canonical::write_string(&mut inner, message);
    inner.extend_from_slice(b",\"name\":");
    canonical::write_string(&mut inner, name);
    inner.push(b'}');
    wrap("error", &inner)
}

/// What is passed on. Members of an unexpected type are left out; sessions are those of any event.
fn invocation(payload: &str) -> std::result::Result<Invocation, SessionError> {
    let payload = payload.as_bytes();
    let mut invocation = Invocation::default();
    if payload.first() != Some(&b'{') {
        return Ok(invocation);
    }
    for (key, value) in canonical::fields(payload) {
        let copy = || Some(Payload::copy_from_slice(value));
        match (key.as_ref(), value.first()) {
            ("data", Some(b'{')) => invocation.data = copy(),
            ("user", Some(b'{')) => invocation.user = copy(),
            ("meta", Some(b'{')) => invocation.meta = sessions::merge(value)?.map(Payload::from),
            ("v", Some(b'"')) if value.len() > 2 => invocation.v = copy(),
            ("id", Some(b'"')) => {
                invocation.external_id = serde_json::from_slice(value).ok().filter(|id: &String| !id.is_empty());
            }
            ("ts", Some(_)) => {
                let ts: Option<i64> = serde_json::from_slice(value).ok();
                let possible = limits::EVENT_TS_MIN..=limits::EVENT_TS_MAX;
                invocation.ts = ts.filter(|ts| possible.contains(ts)).map(Millis);
            }
            _ => {}
        }
    }
    Ok(invocation)
}
