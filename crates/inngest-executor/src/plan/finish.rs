//! The end of a run, and what it tells others.

use std::sync::Arc;

use inngest_core::event::{EventBody, FUNCTION_FINISHED};
use inngest_core::{Event, Function, Ids, Millis, RunStatus};
use inngest_queue::{QueueItem, Resolution};
use inngest_state::lifecycle::{self, Ended};
use inngest_state::{Change, Defer, DeferStatus, FinishRun, Requirement, RunState, Transition, invokers};

use super::server_error::ServerError;
use super::{Planning, internal_event};
use crate::registry::Registry;
use crate::routing;

/// Ends a run from outside.
#[must_use]
pub fn cancel(
    run: &RunState,
    function: Option<&Arc<Function>>,
    registry: &Registry,
    ids: &Ids,
    now: Millis,
) -> Transition {
    cancelled(run, function.map(|function| &**function), registry, ids, now, Requirement::RunOpen(run.id))
}

/// Ends the run of a job, because an event or a deadline said so.
#[must_use]
pub fn cancel_by_job(planning: &Planning<'_>) -> Transition {
    let Planning { run, item, registry, ids, now, .. } = *planning;
    let fence = Requirement::Generation(item.id, item.generation);
    cancelled(run, Some(planning.function), registry, ids, now, fence)
}

fn cancelled(
    run: &RunState,
    function: Option<&Function>,
    registry: &Registry,
    ids: &Ids,
    now: Millis,
    require: Requirement,
) -> Transition {
    let finish = FinishRun {
        run: run.id,
        status: RunStatus::Cancelled,
        output: None,
        error: None,
        started_at: None,
        ended_at: now,
        last_call: None,
        in_flight: Vec::new(),
        finished: None,
    };
    let mut changes = Vec::with_capacity(3);
    end(&mut changes, finish, run, function, &run.defers, registry, ids);
    Transition { require: vec![require], changes }
}

/// Ends a run whose function is nowhere to be found: it can never be called again.
#[must_use]
pub fn without_function(run: &RunState, item: &QueueItem, registry: &Registry, ids: &Ids, now: Millis) -> Transition {
    let error = ServerError::function_unknown(&item.function.to_string()).into_function_error();
    let finish = FinishRun {
        run: run.id,
        status: RunStatus::Failed,
        output: error.output,
        error: Some(error.error),
        started_at: None,
        ended_at: now,
        last_call: None,
        in_flight: Vec::new(),
        finished: None,
    };
    let mut changes = Vec::with_capacity(3);
    end(&mut changes, finish, run, None, &run.defers, registry, ids);
    Transition { require: vec![Requirement::Generation(item.id, item.generation)], changes }
}

/// Adds the end of a run: its lifecycle events and deferred runs, with the runs that these start; and resumes
/// the run that waits for it.
pub(super) fn end(
    changes: &mut Vec<Change>,
    mut finish: FinishRun,
    run: &RunState,
    function: Option<&Function>,
    defers: &[Arc<Defer>],
    registry: &Registry,
    ids: &Ids,
) {
    // A run that was started by the end of another tells nobody of its own: handlers would call each other for ever.
    let emits = run.event_names.first().is_none_or(|name| lifecycle::emits(name));
    let now = finish.ended_at;
    let at = changes.len();
    let slug = function.map_or("", |function| &function.slug);
    if emits {
        let names = [Some(FUNCTION_FINISHED), lifecycle::second_event(finish.status)];
        for name in names.into_iter().flatten() {
            let event = lifecycle_event(name, run, ids, now);
            let body = || lifecycle::body(&event, &ended(&finish, run, slug));
            let admits = routing::admit_with(registry, &event, body, now, ids);
            if name == FUNCTION_FINISHED {
                finish.finished = Some(event.id);
            }
            changes.push(Change::PutEvent(Box::new(event), admits));
        }
    }
    for defer in defers.iter().filter(|defer| defer.status == DeferStatus::AfterRun) {
        let event = internal_event::deferred(defer, run, function, ids, now);
        let admits = routing::admit(registry, &event, now, ids);
        changes.push(Change::StartDefer(run.id, defer.id.clone(), event.id));
        changes.push(Change::PutEvent(Box::new(event), admits));
    }
    for job in run.correlation_id.as_deref().map_or_else(Vec::new, invokers) {
        changes.push(Change::Resume(job, Resolution::Run(run.id)));
    }
    changes.insert(at, Change::FinishRun(Box::new(finish)));
}

fn lifecycle_event(name: &str, run: &RunState, ids: &Ids, now: Millis) -> Event {
    // The id of the run makes sure that its failure is handled once; every run finishes, so that event has its own.
    let external_id = (name != FUNCTION_FINISHED).then(|| Arc::from(run.id.to_string()));
    Event { id: ids.event(now), name: name.into(), external_id, ts: now, body: EventBody::Lifecycle(run.id) }
}

fn ended<'a>(finish: &'a FinishRun, run: &'a RunState, function_slug: &'a str) -> Ended<'a> {
    Ended {
        run: run.id,
        function_slug,
        status: finish.status,
        output: finish.output.as_ref(),
        error: finish.error.as_ref(),
        events: &run.events,
        correlation_id: run.correlation_id.as_deref(),
    }
}
