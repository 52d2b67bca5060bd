//! `timeouts.start` and `timeouts.finish`: a run that is too late is cancelled.
//!
//! The timers are jobs. What they find is held against the configuration of that moment: a timeout that was
//! taken out does nothing, one that was extended is waited for anew.

use inngest_core::Millis;
use inngest_queue::{Deadline, JobId, JobKind, QueueItem, Token};
use inngest_state::{Change, Requirement, Transition, When};

use super::{Planning, cancel_by_job};
use crate::rules::Rules;

/// Decides about a deadline whose time has come: it was missed, was extended, or does not count any more.
#[must_use]
pub fn deadline(planning: &Planning<'_>, deadline: Deadline) -> Transition {
    let item = planning.item;
    let change = match at(planning, deadline) {
        Some(at) if at <= planning.now => return cancel_by_job(planning),
        Some(at) => {
            let later = QueueItem { due: at, generation: item.generation + 1, ..item.clone() };
            Change::PutJob(later, When::Always)
        }
        None => Change::RemoveJob(item.id),
    };
    Transition { require: vec![Requirement::Generation(item.id, item.generation)], changes: vec![change] }
}

/// Whether the run has missed one of its deadlines already.
pub(super) fn is_missed(planning: &Planning<'_>) -> bool {
    [Deadline::Start, Deadline::Finish]
        .into_iter()
        .any(|deadline| at(planning, deadline).is_some_and(|at| at <= planning.now))
}

/// What must be stored before a call: that a run has started which must start or finish in time, or whose start counts
/// for throttles, which it then does once, and what these count. `None` when nothing must.
#[must_use]
pub fn before_dispatch(planning: &Planning<'_>, tokens: &[Token]) -> Option<Transition> {
    let Planning { run, item, now, .. } = *planning;
    let timed = rules(planning).filter(|rules| rules.start_within.is_some() || rules.finish_within.is_some());
    let mut changes = Vec::new();
    if run.started_at.is_none() && (timed.is_some() || !tokens.is_empty()) {
        changes.push(Change::StartRun { run: run.id, at: now, job: Some(item.id) });
    }
    if let Some(rules) = timed.filter(|_| run.started_at.is_none()) {
        changes.push(Change::RemoveJob(JobId::deadline(run.id, Deadline::Start)));
        if let Some(within) = rules.finish_within {
            let (id, kind) = (JobId::deadline(run.id, Deadline::Finish), JobKind::Deadline(Deadline::Finish));
            let job = QueueItem { due: now.plus(within), ..QueueItem::new(id, item.function, kind, now) };
            changes.push(Change::PutJob(job, When::Always));
        }
    }
    if !tokens.is_empty() {
        changes.push(Change::PutTokens(tokens.to_vec()));
    }
    let require = vec![Requirement::Generation(item.id, item.generation)];
    (!changes.is_empty()).then_some(Transition { require, changes })
}

/// When the run must have got there; `None` when it did, or need not.
fn at(planning: &Planning<'_>, deadline: Deadline) -> Option<Millis> {
    let (run, rules) = (planning.run, rules(planning)?);
    match deadline {
        Deadline::Start if run.started_at.is_none() => Some(run.id.timestamp().plus(rules.start_within?)),
        Deadline::Start => None,
        Deadline::Finish => Some(run.started_at?.plus(rules.finish_within?)),
    }
}

fn rules<'p>(planning: &'p Planning<'_>) -> Option<&'p Rules> {
    planning.registry.rules(&planning.item.function)
}
