//! The shape that the dashboard and most clients know: a root, a span a step, and the end of the run.
//!
//! What was tried once is one span. What was tried several times is a span that sums them up, with a child for each.

use std::collections::HashSet;

use inngest_core::{Millis, RunId};
use inngest_queue::{JobId, JobKind};
use inngest_state::trace::ResponseHead;

use super::metadata::{self, Notes, Of};
use super::names::span_id;
use super::units::{Try, Unit, is_copied, units};
use super::user_spans::UserSpans;
use super::{OutputOf, OutputRef, RunView, Span, SpanMetadata, SpanSkip, SpanStatus};

/// The type of the span of the end of a run.
const FINALIZATION: &str = "FINALIZATION";

/// The trace of a run.
pub(crate) fn tree(view: &RunView) -> Span {
    let notes = Notes::of(&view.metadata);
    let mut builder = Builder { run: view.run.id, users: UserSpans::of(view, &notes), notes, timed: HashSet::new() };
    let mut root = root(view);
    root.name = "Run".into();
    root.metadata = builder.notes.of_run();
    root.response = last_response(view);
    root.output = Some(OutputRef { run: view.run.id, of: OutputOf::Run });
    root.scheduled_at = Some(earliest_start(view));
    root.children = units(view).iter().map(|unit| builder.span(unit)).collect();
    // The end of the run comes last: clients tell by that whose attempts it shows.
    let end = root.children.pop_if(|child| child.step_type == FINALIZATION);
    root.children.extend(builder.users.rest());
    root.children.extend(end);
    link(&mut root);
    root
}

/// Tells the children of a span, and theirs, where they lie.
fn link(span: &mut Span) {
    for child in &mut span.children {
        child.parent = Some(span.id.clone());
        link(child);
    }
}

/// What both shapes have in common.
pub(super) fn root(view: &RunView) -> Span {
    let run = &view.run;
    let mut root = Span::new(span_id(run.id, &["run"]), "", SpanStatus::of_run(run.status), run.queued_at);
    root.attempts = Some(0);
    root.times(run.started_at, run.ended_at.filter(|_| run.status.is_final()));
    root.skip = run.skip.map(SpanSkip::of);
    root.is_root = true;
    root
}

/// The id of the span of a unit.
pub(super) fn unit_id(run: RunId, unit: &Unit) -> String {
    match &unit.step {
        Some(step) => span_id(run, &["step", step.step.id.as_str()]),
        None => span_id(run, &["end"]),
    }
}

/// The id of the span of one of its attempts.
pub(super) fn try_id(run: RunId, unit: &Unit, number: usize) -> String {
    span_id(run, &["attempt", &unit_id(run, unit), &number.to_string()])
}

pub(super) fn attempt_number(number: usize) -> Option<u32> {
    u32::try_from(number).ok()
}

/// When the first call may begin at the earliest.
fn earliest_start(view: &RunView) -> Millis {
    let start = view.trace.jobs.iter().find(|job| matches!(job.kind, JobKind::Start) && job.attempt == 0);
    start.map_or(view.run.queued_at, |job| job.due.max(view.run.queued_at))
}

fn last_response(view: &RunView) -> Option<ResponseHead> {
    let trace = &view.trace;
    if let Some(call) = &trace.last_call {
        return call.response.clone();
    }
    let steps = trace.steps.iter().filter(|step| !is_copied(view, step)).map(|step| (step.ended_at, &step.response));
    let attempts = trace.attempts.iter().map(|attempt| (attempt.ended_at, &attempt.response));
    let responses = steps.chain(attempts).filter_map(|(at, response)| Some((at, response.as_ref()?)));
    responses.max_by_key(|(at, _)| *at).map(|(_, response)| response.clone())
}

struct Builder<'a> {
    run: RunId,
    notes: Notes<'a>,
    users: UserSpans,
    /// Calls whose times were shown: of several steps of one call only the first one shows them.
    timed: HashSet<(u64, u32)>,
}

impl Builder<'_> {
    fn span(&mut self, unit: &Unit) -> Span {
        let id = unit_id(self.run, unit);
        let (first, last) = (unit.first(), unit.last());
        let is_single = unit.tries.len() == 1;
        let attempts = if is_single { Vec::new() } else { self.attempts(unit) };
        let mut span = self.dressed(unit, last, id, unit.status);
        span.name = match &unit.step {
            Some(step) => step.step.name.clone(),
            None => "Finalization".into(),
        };
        span.attempts = attempt_number(unit.tries.len() - 1);
        (span.queued_at, span.scheduled_at) = (first.queued_at, Some(first.scheduled_at));
        span.times(first.started_at, if unit.awaits_retry() { None } else { last.ended_at });
        if unit.step.is_none() {
            // While it fails, it shows how: a span without output is none to some clients.
            let last = unit.tries.iter().rev().find_map(|tried| tried.output.clone());
            let of = if matches!(unit.status, SpanStatus::Completed | SpanStatus::Failed) { None } else { last };
            span.output = Some(OutputRef { run: self.run, of: of.unwrap_or(OutputOf::Run) });
        }
        let step = unit.step.as_ref().map(|step| &step.step.id);
        if let Some(child) = attempts.last() {
            span.metadata = self.notes.of_step(step, Of::Step(last.attempt));
            let computed = child.metadata.iter().filter(|note| &*note.scope == "request").cloned();
            metadata::add(&mut span.metadata, computed);
        } else {
            span.metadata = self.notes.of_step(step, Of::AllAttempts);
            metadata::add(&mut span.metadata, self.timing(last));
        }
        span.children = attempts;
        span.children.extend(self.users.of_step(step));
        if is_single {
            span.children.extend(self.users.of_call(JobId { run: self.run, key: last.job }, last.attempt));
        }
        span
    }

    fn attempts(&mut self, unit: &Unit) -> Vec<Span> {
        let step = unit.step.as_ref().map(|step| &step.step.id);
        let mut attempts = Vec::with_capacity(unit.tries.len());
        for (number, tried) in unit.tries.iter().enumerate() {
            let mut span = self.dressed(unit, tried, try_id(self.run, unit, number), tried.status);
            span.name = format!("Attempt {number}").into();
            span.attempts = attempt_number(number);
            let step = step.filter(|_| tried.is_of_step);
            span.metadata = self.notes.of_step(step, Of::Attempt(tried.attempt));
            metadata::add(&mut span.metadata, self.timing(tried));
            span.children = self.users.of_attempt(step, tried.attempt);
            span.children.extend(self.users.of_call(JobId { run: self.run, key: tried.job }, tried.attempt));
            attempts.push(span);
        }
        attempts
    }

    /// What the span of a unit and those of its attempts have in common.
    fn dressed(&self, unit: &Unit, tried: &Try, id: String, status: SpanStatus) -> Span {
        let mut span = Span::new(id, "", status, tried.queued_at);
        span.scheduled_at = Some(tried.scheduled_at);
        span.times(tried.started_at, tried.ended_at);
        span.output = tried.output.clone().map(|of| OutputRef { run: self.run, of });
        span.response = tried.response.clone();
        span.group = (tried.job != 0).then_some(JobId { run: self.run, key: tried.job });
        span.step_type = FINALIZATION;
        if let Some(step) = &unit.step {
            span.op = Some(step.op);
            span.step = Some(step.step.id.clone());
            span.step_type = step.op.as_str();
            span.info = step.info.clone();
        }
        span
    }

    fn timing(&mut self, tried: &Try) -> Vec<SpanMetadata> {
        if tried.is_call && self.timed.insert((tried.job, tried.attempt)) {
            metadata::timing(tried)
        } else {
            Vec::new()
        }
    }
}
