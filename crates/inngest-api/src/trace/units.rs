//! What a run is made of: its steps and its end, each with everything that was tried for it.
//!
//! A request to the app that fails before it is known what it would do belongs to what its job does in the end: to the
//! first step that comes of it, or to the end of the run.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use inngest_core::{Millis, RunStatus, StepId};
use inngest_queue::{JobId, JobKind, QueueItem, StepRef, WaitFor};
use inngest_state::trace::{CutOff, ResponseHead, StepDetail};
use inngest_state::{AttemptRecord, StepRecord};

use super::info::info;
use super::{OutputOf, RunView, SpanOp, SpanStatus, StepInfo};

/// A step, or the end of the run.
pub(super) struct Unit {
    /// `None`: the end of the run.
    pub(super) step: Option<Step>,
    pub(super) status: SpanStatus,
    /// At least one.
    pub(super) tries: Vec<Try>,
}

pub(super) struct Step {
    pub(super) step: StepRef,
    pub(super) op: SpanOp,
    pub(super) info: Option<StepInfo>,
}

/// One attempt at a unit.
pub(super) struct Try {
    pub(super) status: SpanStatus,
    /// Key of the job.
    pub(super) job: u64,
    /// The number of the attempt at this job. (The attempts at a unit may be those at several jobs.)
    pub(super) attempt: u32,
    pub(super) queued_at: Millis,
    pub(super) scheduled_at: Millis,
    pub(super) started_at: Option<Millis>,
    pub(super) ended_at: Option<Millis>,
    pub(super) output: Option<OutputOf>,
    pub(super) response: Option<ResponseHead>,
    /// Whether the app was called.
    pub(super) is_call: bool,
    /// Whether it was known which step it was about.
    pub(super) is_of_step: bool,
    retry_at: Option<Millis>,
}

impl Unit {
    pub(super) fn first(&self) -> &Try {
        &self.tries[0]
    }

    pub(super) fn last(&self) -> &Try {
        &self.tries[self.tries.len() - 1]
    }

    pub(super) fn op(&self) -> Option<SpanOp> {
        self.step.as_ref().map(|step| step.op)
    }

    /// Whether the last attempt is one that has yet to be made, after others that failed.
    pub(super) fn awaits_retry(&self) -> bool {
        self.tries.len() > 1 && self.last().started_at.is_none() && self.last().ended_at.is_none()
    }

    fn begins(&self) -> Millis {
        let first = self.first();
        first.started_at.unwrap_or(first.queued_at)
    }
}

/// Steps by their start, and the end of the run behind them.
pub(super) fn units(view: &RunView) -> Vec<Unit> {
    if view.run.status == RunStatus::Skipped {
        return Vec::new();
    }
    let mut steps = known_steps(view);
    let mut of_end = Vec::new();
    let reported = reported(&steps);
    let places: HashMap<StepId, usize> =
        steps.iter().enumerate().map(|(place, step)| (step.step.id.clone(), place)).collect();
    for attempt in &view.trace.attempts {
        let place = match &attempt.step {
            Some(step) => places.get(&step.id).copied(),
            None => what_came_of(view, &steps, &reported, attempt),
        };
        match place {
            Some(place) => steps[place].failed.push(attempt),
            None => of_end.push(attempt),
        }
    }
    let mut units: Vec<Unit> = steps.into_iter().map(|step| step.unit(view)).collect();
    units.sort_by_key(Unit::begins);
    units.extend(end(view, &of_end));
    units
}

/// A step with what is known of it.
struct Known<'a> {
    step: StepRef,
    from: Source<'a>,
    detail: Option<&'a StepDetail>,
    failed: Vec<&'a AttemptRecord>,
}

enum Source<'a> {
    Recorded(&'a StepRecord),
    Pending(&'a QueueItem),
    /// The run ended before it was over.
    CutOff(&'a CutOff),
    /// Nothing but its failed attempts.
    Attempts,
}

fn known_steps(view: &RunView) -> Vec<Known<'_>> {
    let trace = &view.trace;
    let mut jobs: Vec<&QueueItem> = trace.jobs.iter().collect();
    // Which of several planned steps came first is not kept.
    jobs.sort_by_key(|job| (job.queued_at, job.step().map(|step| Arc::clone(&step.name))));
    let recorded = trace.steps.iter().filter(|record| !is_copied(view, record));
    let recorded = recorded.map(|record| (record.step.clone(), Source::Recorded(record)));
    let pending = jobs.into_iter().filter_map(|job| Some((job.step()?.clone(), Source::Pending(job))));
    let cut_off = trace.cut_off.iter().filter_map(|step| Some((step.kind.step()?.clone(), Source::CutOff(step))));
    let attempted = trace.attempts.iter().filter_map(|attempt| Some((attempt.step.clone()?, Source::Attempts)));
    let details: HashMap<&StepId, &StepDetail> = trace.details.iter().map(|(step, detail)| (step, detail)).collect();
    let mut seen = HashSet::new();
    let mut steps = Vec::new();
    for (step, from) in recorded.chain(pending).chain(cut_off).chain(attempted) {
        if seen.insert(step.id.clone()) {
            let detail = details.get(&step.id).copied();
            steps.push(Known { step, from, detail, failed: Vec::new() });
        }
    }
    steps
}

/// Whether a step was not run here, but is known from the run that is run again.
pub(super) fn is_copied(view: &RunView, record: &StepRecord) -> bool {
    view.run.original_run.is_some() && record.ended_at < view.run.queued_at
}

/// The step that came of the job of a request that failed; `None`: the end of the run, as far as is known.
fn what_came_of(
    view: &RunView,
    steps: &[Known<'_>],
    reported: &[(Millis, usize)],
    attempt: &AttemptRecord,
) -> Option<usize> {
    let after = attempt.ended_at;
    let of_job = steps.iter().position(|step| match step.from {
        Source::Recorded(record) => record.job == attempt.job.key && record.ended_at >= after,
        _ => false,
    });
    if of_job.is_some() {
        return of_job;
    }
    let is_last = view.trace.last_call.as_ref().is_some_and(|call| call.job == attempt.job);
    if is_last || attempt.retry_at.is_none() || view.trace.jobs.iter().any(|job| job.id == attempt.job) {
        return None;
    }
    // A step with a job of its own began when that job was made, which was with the answer to the request.
    let next = reported.partition_point(|(at, _)| *at < after);
    reported.get(next).map(|(_, place)| *place)
}

/// When steps that have a job of their own were reported, and their places; in order.
fn reported(steps: &[Known<'_>]) -> Vec<(Millis, usize)> {
    let reported = steps.iter().enumerate().filter_map(|(place, step)| Some((step.reported_at()?, place)));
    let mut reported: Vec<(Millis, usize)> = reported.collect();
    reported.sort_unstable();
    reported
}

impl Known<'_> {
    /// When a step that has a job of its own was reported.
    fn reported_at(&self) -> Option<Millis> {
        match self.from {
            Source::Recorded(record) => {
                let (run, id) = (record.run, &record.step.id);
                let own = [JobId::step(run, id), JobId::sleep(run, id), JobId::wait(run, id), JobId::gateway(run, id)];
                own.iter().any(|job| job.key == record.job).then_some(record.queued_at)
            }
            Source::Pending(job) => Some(job.queued_at),
            Source::CutOff(step) => Some(step.queued_at),
            Source::Attempts => None,
        }
    }

    fn unit(self, view: &RunView) -> Unit {
        let Self { step, from, detail, failed } = self;
        let mut tries = Try::failed(&failed);
        let op = match from {
            Source::Recorded(record) => SpanOp::of_record(record.op),
            Source::Pending(job) => SpanOp::of_job(&job.kind),
            Source::CutOff(step) => SpanOp::of_job(&step.kind),
            Source::Attempts => SpanOp::of_detail(detail),
        };
        let record = match from {
            Source::Recorded(record) => Some(record),
            _ => None,
        };
        let info = info(view, op, detail, record);
        let next = match from {
            Source::Recorded(record) => Some(Try::recorded(record, op, tries.last())),
            Source::Pending(job) => Some(Try::pending(view, job, tries.last())),
            Source::CutOff(step) => Some(Try::of_cut_off(view, step, tries.last())),
            Source::Attempts => Try::next(view, tries.last()),
        };
        tries.extend(next);
        Unit { status: status(&tries), step: Some(Step { step, op, info }), tries }
    }
}

fn status(tries: &[Try]) -> SpanStatus {
    match tries {
        [.., _, Try { status: SpanStatus::Queued, .. }] => SpanStatus::Running,
        [.., last] => last.status,
        [] => SpanStatus::Running,
    }
}

/// The end of the run, or what may become of it: requests that came to nothing yet.
fn end(view: &RunView, failed: &[&AttemptRecord]) -> Option<Unit> {
    let run = &view.run;
    let by_itself = matches!(run.status, RunStatus::Completed | RunStatus::Failed);
    let mut tries = Try::failed(failed);
    if by_itself {
        // The last failure of the function is an attempt already.
        if failed.last().is_none_or(|attempt| attempt.retry_at.is_some()) {
            tries.push(Try::ending(view, tries.last()));
        }
    } else {
        tries.extend(Try::next(view, tries.last()));
    }
    let status = if run.status.is_final() { SpanStatus::of_run(run.status) } else { SpanStatus::Running };
    (!tries.is_empty()).then_some(Unit { step: None, status, tries })
}

impl Try {
    fn failed(attempts: &[&AttemptRecord]) -> Vec<Self> {
        let mut tries: Vec<Self> = Vec::with_capacity(attempts.len() + 1);
        for attempt in attempts {
            let (queued_at, scheduled_at) = after(tries.last(), attempt.job.key, attempt.queued_at);
            tries.push(Self {
                status: SpanStatus::Failed,
                job: attempt.job.key,
                attempt: attempt.attempt,
                queued_at,
                scheduled_at,
                started_at: Some(attempt.started_at),
                ended_at: Some(attempt.ended_at),
                output: Some(OutputOf::Attempt { job: attempt.job.key, generation: attempt.generation }),
                response: attempt.response.clone(),
                is_call: true,
                is_of_step: attempt.step.is_some(),
                retry_at: attempt.retry_at,
            });
        }
        tries
    }

    fn recorded(record: &StepRecord, op: SpanOp, previous: Option<&Self>) -> Self {
        let (queued_at, scheduled_at) = after(previous, record.job, record.queued_at);
        let has_output = match op {
            SpanOp::Sleep => false,
            SpanOp::WaitForEvent | SpanOp::WaitForSignal => record.resolution.is_some(),
            SpanOp::Run | SpanOp::Invoke | SpanOp::AiGateway => true,
        };
        Self {
            status: if record.failed { SpanStatus::Failed } else { SpanStatus::Completed },
            job: record.job,
            attempt: record.attempt,
            queued_at,
            scheduled_at,
            started_at: Some(record.started_at),
            ended_at: Some(record.ended_at),
            output: has_output.then(|| OutputOf::Step(record.step.id.clone())),
            response: record.response.clone(),
            is_call: op == SpanOp::Run,
            is_of_step: true,
            retry_at: None,
        }
    }

    fn pending(view: &RunView, job: &QueueItem, previous: Option<&Self>) -> Self {
        let (queued_at, _) = after(previous, job.id.key, job.queued_at);
        let (status, started_at) = match &job.kind {
            JobKind::Wait(_, WaitFor::Invoke) => (SpanStatus::Running, Some(job.queued_at)),
            JobKind::Sleep(_) | JobKind::Wait(..) => (SpanStatus::Waiting, Some(job.queued_at)),
            // When a call began is known when it has ended. One that may begin has begun, unless flow control holds
            // it: to tell these apart is for `explain`.
            _ if job.due <= view.now => (SpanStatus::Running, None),
            _ => (SpanStatus::Queued, None),
        };
        let waits = started_at.is_some();
        Self {
            status,
            job: job.id.key,
            attempt: job.attempt,
            queued_at,
            scheduled_at: if waits { queued_at } else { job.due.max(queued_at) },
            started_at,
            ended_at: None,
            output: request_of(&job.kind),
            response: None,
            is_call: false,
            is_of_step: job.step().is_some(),
            retry_at: None,
        }
    }

    /// What was under way, or to come, at a step when the run ended.
    fn of_cut_off(view: &RunView, step: &CutOff, previous: Option<&Self>) -> Self {
        let (queued_at, scheduled_at) = after(previous, step.job, step.queued_at);
        let started_at = if waits(&step.kind) { Some(step.queued_at) } else { step.called_at };
        Self {
            job: step.job,
            attempt: step.attempt,
            scheduled_at,
            started_at,
            output: request_of(&step.kind),
            is_of_step: true,
            ..Self::cut_off(view, queued_at)
        }
    }

    /// What follows on a failed attempt, if anything does.
    fn next(view: &RunView, previous: Option<&Self>) -> Option<Self> {
        let previous = previous?;
        let (retry_at, ended_at) = (previous.retry_at?, previous.ended_at?);
        let job = view.trace.jobs.iter().find(|job| job.id.key == previous.job);
        match job {
            Some(job) => Some(Self::pending(view, job, Some(previous))),
            None => view.run.status.is_final().then(|| Self {
                job: previous.job,
                attempt: previous.attempt.saturating_add(1),
                scheduled_at: retry_at,
                ..Self::cut_off(view, ended_at)
            }),
        }
    }

    /// What the end of the run kept from happening.
    fn cut_off(view: &RunView, queued_at: Millis) -> Self {
        Self {
            status: SpanStatus::Cancelled,
            job: 0,
            attempt: 0,
            queued_at,
            scheduled_at: queued_at,
            started_at: None,
            ended_at: view.run.ended_at,
            output: None,
            response: None,
            is_call: false,
            is_of_step: false,
            retry_at: None,
        }
    }

    /// The call with which the run ended; or that it ended without one.
    fn ending(view: &RunView, previous: Option<&Self>) -> Self {
        let run = &view.run;
        let ended_at = run.ended_at.unwrap_or(view.now);
        let call = view.trace.last_call.as_ref();
        let job = call.map_or(0, |call| call.job.key);
        let (queued_at, scheduled_at) = after(previous, job, call.map_or(ended_at, |call| call.queued_at));
        Self {
            status: SpanStatus::of_run(run.status),
            job,
            attempt: call.map_or(0, |call| call.attempt),
            queued_at,
            scheduled_at,
            started_at: Some(call.map_or(ended_at, |call| call.started_at)),
            ended_at: Some(ended_at),
            output: Some(OutputOf::Run),
            response: call.and_then(|call| call.response.clone()),
            is_call: call.is_some(),
            is_of_step: false,
            retry_at: None,
        }
    }
}

/// Whether a job only waits: it begins when it is made.
fn waits(kind: &JobKind) -> bool {
    matches!(kind, JobKind::Sleep(_) | JobKind::Wait(..))
}

/// What is asked of others can be seen before the answer.
fn request_of(kind: &JobKind) -> Option<OutputOf> {
    match kind {
        JobKind::Gateway(step) => Some(OutputOf::Step(step.id.clone())),
        _ => None,
    }
}

/// When an attempt was queued, and when it could begin at the earliest: another attempt at the same job follows on the
/// one before.
fn after(previous: Option<&Try>, job: u64, queued_at: Millis) -> (Millis, Millis) {
    match previous {
        Some(previous) if previous.job == job => {
            let queued_at = previous.ended_at.unwrap_or(queued_at);
            (queued_at, previous.retry_at.unwrap_or(queued_at))
        }
        _ => (queued_at, queued_at),
    }
}
