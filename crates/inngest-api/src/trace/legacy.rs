//! The shape that older clients know: a root, a span a step by its name, and `function success`, `function error` or
//! `execute` for the end of the run. No metadata, no spans of the user's own.

use super::tree::{attempt_number, root, try_id, unit_id};
use super::units::{Try, Unit, units};
use super::{OutputOf, OutputRef, RunView, Span, SpanOp, SpanStatus, StepInfo};

/// The id of a span that stands for what has yet to begin.
const QUEUED: &str = "queued";

/// The trace of a run.
pub(crate) fn legacy(view: &RunView) -> Span {
    let run = &view.run;
    let mut span = root(view);
    span.name = view.function.as_ref().map_or_else(|| "".into(), |function| function.slug.clone());
    if matches!(span.status, SpanStatus::Completed | SpanStatus::Failed) {
        span.output = Some(OutputRef { run: run.id, of: OutputOf::Run });
    }
    lasts(&mut span, view);
    span.children = units(view).iter().map(|unit| of_unit(view, &span.id, unit)).collect();
    let is_between = span.status == SpanStatus::Running && span.children.iter().all(|child| child.ended_at.is_some());
    if let Some(last) = span.children.last().filter(|_| is_between) {
        let queued_at = last.ended_at.unwrap_or(view.now);
        let parent = span.id.clone();
        span.children.push(placeholder("Queued step", parent, queued_at));
    }
    span
}

fn of_unit(view: &RunView, root: &str, unit: &Unit) -> Span {
    let run = view.run.id;
    let (first, last) = (unit.first(), unit.last());
    let waits = unit.op().is_some_and(SpanOp::waits);
    // What failed for good shows how, even if it was tried once.
    let failed = unit.status == SpanStatus::Failed && !waits;
    let mut span = Span::new(unit_id(run, unit), name(unit), status(unit, unit.status), first.queued_at);
    dress(&mut span, view, root, unit, last);
    span.times(first.started_at, if unit.awaits_retry() { None } else { last.ended_at });
    lasts(&mut span, view);
    span.attempts = if waits {
        Some(last.attempt)
    } else {
        let last = unit.tries.len() - if unit.awaits_retry() { 2 } else { 1 };
        attempt_number(last + usize::from(failed))
    };
    if unit.step.is_none() {
        let ended = matches!(unit.status, SpanStatus::Completed | SpanStatus::Failed);
        span.output = ended.then_some(OutputRef { run, of: OutputOf::Run });
    }
    if unit.tries.len() > 1 || failed {
        span.children = attempts(view, root, unit);
    }
    span
}

fn name(unit: &Unit) -> &str {
    match &unit.step {
        Some(step) => &step.step.name,
        None if unit.status == SpanStatus::Completed => "function success",
        None if unit.status == SpanStatus::Failed && unit.tries.len() == 1 => "function error",
        None => "execute",
    }
}

fn attempts(view: &RunView, root: &str, unit: &Unit) -> Vec<Span> {
    let mut attempts: Vec<Span> = Vec::with_capacity(unit.tries.len());
    for (number, tried) in unit.tries.iter().enumerate() {
        let name = format!("Attempt {number}");
        if let Some(previous) = attempts.last().filter(|_| unit.awaits_retry() && number + 1 == unit.tries.len()) {
            let mut next = placeholder(&name, previous.id.clone(), tried.queued_at);
            next.attempts = attempt_number(number);
            attempts.push(next);
            continue;
        }
        let id = try_id(view.run.id, unit, number);
        let queued_at = tried.started_at.filter(|_| number > 0).unwrap_or(tried.queued_at);
        let mut span = Span::new(id, name, status(unit, tried.status), queued_at);
        dress(&mut span, view, root, unit, tried);
        span.times(tried.started_at, tried.ended_at);
        lasts(&mut span, view);
        span.attempts = attempt_number(number);
        attempts.push(span);
    }
    attempts
}

/// A sleep is no waiting here.
fn status(unit: &Unit, status: SpanStatus) -> SpanStatus {
    match status {
        SpanStatus::Waiting if unit.op() == Some(SpanOp::Sleep) => SpanStatus::Running,
        status => status,
    }
}

/// What the span of a unit and those of its attempts have in common.
fn dress(span: &mut Span, view: &RunView, root: &str, unit: &Unit, tried: &Try) {
    span.parent = Some(root.to_owned());
    let Some(step) = &unit.step else {
        span.output = tried.output.clone().map(|of| OutputRef { run: view.run.id, of });
        return;
    };
    let id = &step.step.id;
    // A signal that did not come has an output, too.
    let of_signal = step.op == SpanOp::WaitForSignal && tried.status == SpanStatus::Completed;
    let output = tried.output.clone().or_else(|| of_signal.then(|| OutputOf::Step(id.clone())));
    span.output = output.filter(|_| tried.ended_at.is_some()).map(|of| OutputRef { run: view.run.id, of });
    span.op = Some(step.op);
    span.step = Some(id.clone());
    span.info = match step.info.clone() {
        Some(StepInfo::Run { sdk_type: None }) => None,
        // Who waited no longer names no run.
        Some(StepInfo::Invoke { function, event, until, returned, timed_out: timed_out @ Some(true), .. }) => {
            Some(StepInfo::Invoke { function, event, until, run: None, returned, timed_out })
        }
        info => info,
    };
}

/// A span always lasts: what goes on, until now; what has not begun, not at all.
fn lasts(span: &mut Span, view: &RunView) {
    let until = span.ended_at.unwrap_or(view.now);
    span.duration = Some(span.started_at.map_or(0, |started| (until.0 - started.0).max(0)));
}

fn placeholder(name: &str, parent: String, queued_at: inngest_core::Millis) -> Span {
    let mut span = Span::new(QUEUED.to_owned(), name, SpanStatus::Queued, queued_at);
    span.parent = Some(parent);
    span.attempts = Some(0);
    span.duration = Some(0);
    span
}
