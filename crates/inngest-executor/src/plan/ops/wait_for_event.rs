//! `WaitForEvent`: the step is resolved by the first event of a name that satisfies a condition, or by `null` when
//! none comes in time.

use std::sync::Arc;

use inngest_core::{Millis, limits};
use inngest_expr::event as content;
use inngest_expr::expression::Roots;
use inngest_queue::{JobId, JobKind, StepRef, WaitFor};
use inngest_state::trace::StepDetail;
use inngest_state::{Await, Awaited, Change, Condition, Effect, EventWait, StepOp};
use serde::Deserialize;

use super::{NULL, opts};
use crate::plan::Planning;
use crate::plan::draft::{Draft, Result};
use crate::plan::resolve::Resolved;
use crate::plan::server_error::ServerError;
use crate::response::OpReport;
use crate::routing;

#[derive(Deserialize, Default)]
#[serde(default)]
struct Opts {
    event: Option<String>,
    timeout: Option<String>,
    #[serde(rename = "if")]
    condition: Option<String>,
}

pub(super) fn add(draft: &mut Draft<'_>, report: &OpReport) {
    let planning = draft.planning;
    let opts: Opts = match opts(report) {
        Ok(opts) => opts,
        Err(problem) => return draft.fail_options(report, &problem),
    };
    let event = opts.event.filter(|event| !event.is_empty()).or_else(|| report.name.as_deref().map(str::to_owned));
    let Some(event) = event.filter(|event| !event.is_empty()) else {
        return draft.fail_options(report, "WaitForEvent names no event");
    };
    let Some(until) = draft.deadline(report, Some(opts.timeout.as_deref().unwrap_or_default())) else { return };
    if until > planning.now.plus(limits::SLEEP_MAX) {
        let text = opts.timeout.unwrap_or_default();
        return draft.fail_run(ServerError::wait_too_long(&text));
    }
    let (condition, expression) = match opts.condition.filter(|text| !text.is_empty()) {
        None => (Some(None), None),
        Some(text) => match condition(draft, &text) {
            Ok((condition, shown)) => (condition.map(Some), Some(shown)),
            Err(problem) => return draft.fail_run(ServerError::invalid_condition(problem)),
        },
    };
    let id = JobId::wait(planning.run.id, &report.id);
    let job = draft.job(id, JobKind::Wait(StepRef::from(report), WaitFor::Event), until);
    let (function, name): (_, Arc<str>) = (job.function, event.into());
    let detail = StepDetail::Event { name: Arc::clone(&name), expression, until };
    let awaited = match condition {
        Some(condition) if until > planning.now => {
            let wait = EventWait { job: id, function, event: name, condition, until, effect: Effect::Resume };
            Awaited::Event { wait, since: about_to_wait(planning), own: Arc::clone(&planning.run.event_ids) }
        }
        // It can never hold, or has no time to: only the timeout is left.
        _ => Awaited::Nothing,
    };
    if draft.wait(Await { job, awaited }) {
        draft.detail(&report.id, detail);
    }
}

/// Since when the app may have been about to wait. What it waits for may be the answer to what its last step has
/// sent, and may come before the call that reports the wait has ended, or even begun.
fn about_to_wait(planning: &Planning<'_>) -> Millis {
    const BEFORE_THE_CALL_MS: i64 = 1_000;
    let Planning { item, dispatched_at, .. } = *planning;
    match item.attempt {
        0 => item.queued_at.max(Millis(dispatched_at.0 - BEFORE_THE_CALL_MS)),
        _ => dispatched_at,
    }
}

/// The condition with the event of the run put in, `None` when it can never hold; and how it is shown.
fn condition(draft: &Draft<'_>, text: &str) -> std::result::Result<(Option<Condition>, Arc<str>), String> {
    let planning = draft.planning;
    let expression = planning.expressions.compile(text, Roots::EventAndAsync).map_err(|error| error.to_string())?;
    let event = planning.run.events.first().map(|event| content::parse(event));
    match event {
        Some(Ok(event)) => {
            let condition = routing::condition(&expression, &event).map_err(|error| error.to_string())?;
            Ok((condition, expression.interpolated(&event).into()))
        }
        // No event is not an event that lacks everything: that would match all others that do.
        Some(Err(error)) => {
            tracing::warn!(run_id = %planning.run.id, %error, "the event of a run cannot be read; its wait only times out");
            Ok((None, text.into()))
        }
        None => {
            tracing::warn!(run_id = %planning.run.id, "a run has no event; its wait only times out");
            Ok((None, text.into()))
        }
    }
}

pub(in crate::plan) fn resolve(draft: &mut Draft<'_>, with: Resolved) {
    let Some(step) = draft.planning.item.step().cloned() else { return };
    let value = match with {
        Resolved::Event(event) | Resolved::Value(event) => event,
        Resolved::TimedOut | Resolved::Run { .. } => {
            draft.changes.push(Change::RemoveWait(draft.planning.item.id));
            NULL
        }
    };
    draft.record(Result { step, op: StepOp::WaitForEvent, value, failed: false, input: None, timing: None });
}
