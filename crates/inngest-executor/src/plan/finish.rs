//! The end of a run, and what it tells others.

use std::sync::Arc;

use inngest_core::event::{EventBody, FUNCTION_FINISHED};
use inngest_core::{Event, Function, Ids, Millis, RunStatus};
use inngest_queue::QueueItem;
use inngest_state::lifecycle::{self, Ended};
use inngest_state::{Change, FinishRun, Requirement, RunState, Transition};

use super::server_error::ServerError;
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
    let finish = FinishRun {
        run: run.id,
        status: RunStatus::Cancelled,
        output: None,
        error: None,
        started_at: None,
        ended_at: now,
    };
    let slug = function.map_or("", |function| &function.slug);
    let mut changes = Vec::with_capacity(3);
    end(&mut changes, finish, run, slug, registry, ids);
    Transition { require: vec![Requirement::RunOpen(run.id)], changes }
}

/// Ends a run whose function is nowhere to be found: it can never be called again.
#[must_use]
pub fn without_function(run: &RunState, item: &QueueItem, ids: &Ids, now: Millis) -> Transition {
    let error = ServerError::function_unknown(&item.function.to_string()).into_function_error();
    let finish = FinishRun {
        run: run.id,
        status: RunStatus::Failed,
        output: error.output,
        error: Some(error.error),
        started_at: None,
        ended_at: now,
    };
    let mut changes = Vec::with_capacity(3);
    end(&mut changes, finish, run, "", &Registry::default(), ids);
    Transition { require: vec![Requirement::Generation(item.id, item.generation)], changes }
}

/// Adds the end of a run and its lifecycle events, with the runs that these start.
pub(super) fn end(
    changes: &mut Vec<Change>,
    finish: FinishRun,
    run: &RunState,
    function_slug: &str,
    registry: &Registry,
    ids: &Ids,
) {
    // A run that was started by the end of another tells nobody of its own: handlers would call each other for ever.
    let emits = run.event_names.first().is_none_or(|name| lifecycle::emits(name));
    let first = changes.len();
    if emits {
        let names = [Some(FUNCTION_FINISHED), lifecycle::second_event(finish.status)];
        for name in names.into_iter().flatten() {
            let event = lifecycle_event(name, run, ids, finish.ended_at);
            let body = || lifecycle::body(&event, &ended(&finish, run, function_slug));
            let admits = routing::admit_with(registry, &event, body, finish.ended_at, ids);
            changes.push(Change::PutEvent(Box::new(event), admits));
        }
    }
    changes.insert(first, Change::FinishRun(Box::new(finish)));
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
