//! Which functions an event starts.
//!
//! The name of an event fits a handful of patterns; each is looked up in the registry's index. The event itself
//! is parsed only when a candidate has an expression, and then once.

mod subject;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use inngest_core::event::EventBody;
use inngest_core::{Event, Function, FunctionId, Ids, Millis, Payload, RunId, limits};
use inngest_expr::expression::{Anchors, BindError, Expression};
use inngest_expr::trigger;
use inngest_queue::flow::Keys;
use inngest_queue::{Deadline, Gathering, JobId, JobKind, QueueItem};
use inngest_state::{Admit, Condition, Effect, EventWait, RunState};
use serde_json::Value;

use crate::flow_control::after_batch;
use crate::registry::Registry;
use crate::rules::{CancelOn, Rules};
pub use subject::Subject;

/// The functions that an event matches.
#[derive(Debug, Default)]
pub struct Matches {
    /// Each at most once, in the order of the registry.
    pub functions: Vec<Arc<Function>>,
    /// Triggers whose expression failed on this event, which therefore did not match: function and reason.
    pub failed: Vec<(Arc<Function>, String)>,
}

/// The runs that an accepted event starts. Content that is derived from a run is empty here: see [`admit_with`].
#[must_use]
pub fn admit(registry: &Registry, event: &Event, now: Millis, ids: &Ids) -> Vec<Admit> {
    admit_about(registry, event, &Subject::stored(stored(event), now), now, ids)
}

/// As [`admit`], for an event whose content is rendered only if an expression asks for it.
#[must_use]
pub fn admit_with(
    registry: &Registry,
    event: &Event,
    body: impl Fn() -> Payload,
    now: Millis,
    ids: &Ids,
) -> Vec<Admit> {
    admit_about(registry, event, &Subject::rendered(&body, now), now, ids)
}

fn admit_about(registry: &Registry, event: &Event, subject: &Subject<'_>, now: Millis, ids: &Ids) -> Vec<Admit> {
    let found = matches(registry, &event.name, subject);
    for (function, reason) in &found.failed {
        tracing::debug!(event_id = %event.id, function = %function.slug, %reason, "a trigger's expression failed; it does not match");
    }
    found.functions.iter().map(|function| admission_about(registry, function, event, subject, now, ids)).collect()
}

/// As [`admit`], of an event that is meant for one function: that one is started once, whatever its triggers. Returns
/// its run, too, and `correlation_id` is that of its run alone.
#[must_use]
pub fn admit_for(
    registry: &Registry,
    function: &Function,
    correlation_id: Option<Arc<str>>,
    event: &Event,
    now: Millis,
    ids: &Ids,
) -> (RunId, Vec<Admit>) {
    let subject = Subject::stored(stored(event), now);
    let mut admits = admit_about(registry, event, &subject, now, ids);
    admits.retain(|admit| admit.function != function.id);
    let own = admission_about(registry, function, event, &subject, now, ids);
    let run = own.run;
    admits.push(Admit { correlation_id, ..own });
    (run, admits)
}

fn stored(event: &Event) -> &[u8] {
    match &event.body {
        EventBody::Stored(body) => body,
        EventBody::Lifecycle(_) => &[],
    }
}

/// The run of one function that an event starts.
fn admission_about(
    registry: &Registry,
    function: &Function,
    event: &Event,
    subject: &Subject<'_>,
    now: Millis,
    ids: &Ids,
) -> Admit {
    let run = ids.run(event.id, now);
    let idempotency = idempotency(event, now);
    let rules = registry.rules(&function.id);
    let flow = rules.and_then(|rules| rules.flow.admission(function, rules.hold, &event.name, subject));
    let admit = match &flow {
        // The first event of a batch says how its run is limited, the last one starts it.
        Some(flow) if flow.batch.is_some() => of_batch(rules, function.id, run, subject, now),
        // All else is found out when later events have come, or not.
        Some(flow) if flow.debounce.is_some() => bare(function.id, run, now),
        _ => {
            let mut admit = started(rules, function.id, run, subject, now);
            admit.job.due = now.max(event.ts);
            admit
        }
    };
    Admit { flow, idempotency, ..admit }
}

/// The run of events that were gathered, of which `event` is the only or the first one: nothing of flow control is left
/// but what comes after the gathering. `now` must be later than the last of them was received.
#[must_use]
pub fn gathered(
    registry: &Registry,
    function: &Function,
    how: Gathering,
    event: &Event,
    now: Millis,
    ids: &Ids,
) -> Admit {
    let run = ids.run(event.id, now);
    let rules = registry.rules(&function.id);
    let hold = rules.and_then(|rules| rules.hold);
    let subject = Subject::stored(stored(event), now);
    match how {
        Gathering::Debounce => {
            let flow = rules.and_then(|rules| rules.flow.after_debounce(function, hold, &subject));
            let mut admit = started(rules, function.id, run, &subject, now);
            admit.job.due = now.max(event.ts);
            Admit { flow, idempotency: idempotency(event, now), ..admit }
        }
        Gathering::Batch => Admit { flow: after_batch(hold), ..of_batch(rules, function.id, run, &subject, now) },
    }
}

/// The run of events that have started one before, of which `body` is the first. What is to happen once more is not
/// limited in time; but one that must be alone is.
pub fn rerun<'b>(
    registry: &Registry,
    function: &Function,
    run: RunId,
    body: impl FnOnce() -> &'b [u8],
    now: Millis,
) -> Admit {
    let rules = registry.rules(&function.id);
    let subject = Subject::stored(body(), now);
    let flow = rules.and_then(|rules| rules.flow.after_debounce(function, None, &subject));
    Admit { flow, ..started(rules, function.id, run, &subject, now) }
}

/// The keys by which a run is limited now, evaluated from its first event.
#[must_use]
pub fn keys(registry: &Registry, run: &RunState, now: Millis) -> Keys {
    let body = run.events.first().map_or(&b"{}"[..], |body| body);
    registry.rules(&run.function).map_or_else(Keys::default, |rules| rules.flow.keys(&Subject::stored(body, now)))
}

/// The id that its sender gave an event, which starts a function only once in a while.
fn idempotency(event: &Event, now: Millis) -> Option<(Arc<str>, Millis)> {
    event.external_id.as_ref().map(|id| (Arc::clone(id), now.plus(limits::IDEMPOTENCY_PERIOD)))
}

/// A run that nothing stands in the way of, and of which nothing is known.
fn bare(function: FunctionId, run: RunId, now: Millis) -> Admit {
    Admit {
        run,
        function,
        idempotency: None,
        flow: None,
        correlation_id: None,
        job: QueueItem::new(JobId::start(run), function, JobKind::Start, now),
        deadline: None,
        cancel_on: Vec::new(),
    }
}

/// As [`bare`], with what its function's rules make of its event; its first job is due now.
fn started(rules: Option<&Rules>, function: FunctionId, run: RunId, subject: &Subject<'_>, now: Millis) -> Admit {
    let job = first_job(rules, function, run, subject, now);
    let deadline = rules.and_then(|rules| rules.start_within).map(|within| QueueItem {
        due: run.timestamp().plus(within),
        ..QueueItem::new(JobId::deadline(run, Deadline::Start), function, JobKind::Deadline(Deadline::Start), now)
    });
    let cancel_on = rules.map_or_else(Vec::new, |rules| cancel_on(rules, run, function, subject, now));
    Admit { job, deadline, cancel_on, ..bare(function, run, now) }
}

/// As [`started`], of a batch: no event cancels it, and it has no deadline for its start.
fn of_batch(rules: Option<&Rules>, function: FunctionId, run: RunId, subject: &Subject<'_>, now: Millis) -> Admit {
    Admit { job: first_job(rules, function, run, subject, now), ..bare(function, run, now) }
}

fn first_job(rules: Option<&Rules>, function: FunctionId, run: RunId, subject: &Subject<'_>, now: Millis) -> QueueItem {
    let job = QueueItem::new(JobId::start(run), function, JobKind::Start, now);
    let Some(Rules { flow, .. }) = rules else { return job };
    QueueItem { priority: flow.priority(subject), keys: flow.keys(subject), ..job }
}

/// The waits of the events that cancel a run. One that can never match is left out, and one whose condition cannot be
/// kept: an event that cancels runs it was not meant for would be worse than one that does not.
fn cancel_on(rules: &Rules, run: RunId, function: FunctionId, subject: &Subject<'_>, now: Millis) -> Vec<EventWait> {
    let bound = |expression: &Expression| condition(expression, subject.event()?).map_err(|error| error.to_string());
    let wait = |(index, cancel): (usize, &CancelOn)| {
        let condition = match cancel.condition.as_deref().map(bound).transpose() {
            Ok(Some(None)) => return None,
            Ok(condition) => condition.flatten(),
            Err(reason) => {
                tracing::warn!(run_id = %run, event = %cancel.event, %reason, "an event cannot cancel this run: its condition cannot be kept");
                return None;
            }
        };
        Some(EventWait {
            job: JobId::cancel_on(run, index),
            function,
            event: Arc::clone(&cancel.event),
            condition,
            until: cancel.until(now),
            effect: Effect::Cancel,
        })
    };
    rules.cancel_on.iter().enumerate().filter_map(wait).collect()
}

/// A condition on an event to come, with the event of the run put in; `None` when it can never hold.
pub(crate) fn condition(expression: &Expression, event: &Value) -> Result<Option<Condition>, BindError> {
    let bindings = expression.bind(event)?;
    let anchors = match expression.anchors(&bindings) {
        Anchors::Never => return Ok(None),
        Anchors::Any => None,
        Anchors::OneOf(anchors) => Some(anchors),
    };
    Ok(Some(Condition { expression: expression.text().into(), bindings: bindings.to_json().into(), anchors }))
}

/// Finds the functions that an event of this name starts.
#[must_use]
pub fn matches(registry: &Registry, name: &str, subject: &Subject<'_>) -> Matches {
    let mut found: Vec<usize> = Vec::new();
    let mut conditional: Vec<(usize, &Expression)> = Vec::new();
    for pattern in trigger::patterns_of(name) {
        for trigger in registry.triggers(&pattern) {
            match &trigger.expression {
                None => found.push(trigger.function),
                Some(expression) => conditional.push((trigger.function, expression)),
            }
        }
    }
    let mut failed = Vec::new();
    for (function, expression) in conditional {
        if found.contains(&function) {
            continue;
        }
        match subject.holds(expression) {
            Ok(true) => found.push(function),
            Ok(false) => {}
            Err(reason) => failed.push((Arc::clone(registry.function_at(function)), reason)),
        }
    }
    found.sort_unstable();
    found.dedup();
    Matches { functions: found.into_iter().map(|index| Arc::clone(registry.function_at(index))).collect(), failed }
}
