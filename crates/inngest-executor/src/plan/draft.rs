//! A transition in the making.

use std::sync::Arc;

use inngest_core::{Millis, Payload, RunStatus, StepId, limits};
use inngest_expr::duration::DurationError;
use inngest_expr::time_spec::{self, TimeError};
use inngest_queue::{JobId, JobKind, QueueItem, Resolution, StepRef};
use inngest_state::trace::{LastCall, ResponseHead, StepDetail};
use inngest_state::{Await, Change, Defer, FinishRun, Requirement, StepOp, StepRecord, Transition, When};

use super::Planning;
use super::block::Block;
use super::finish;
use super::retry::Failure;
use super::server_error::ServerError;
use crate::response::{FunctionError, OpReport};

/// What an answer says besides its ops.
#[derive(Clone, Debug, Default)]
pub(super) struct Answer {
    /// The app was called, or at least that was tried.
    pub(super) of_call: bool,
    /// Status and headers, when there was a reply.
    pub(super) response: Option<ResponseHead>,
    /// The app forbids another attempt.
    pub(super) no_retry: bool,
    /// The app says when to try again.
    pub(super) retry_at: Option<Millis>,
}

/// The result of a step, as an op reports it.
pub(super) struct Result<'a> {
    pub(super) step: StepRef,
    pub(super) op: StepOp,
    pub(super) value: Payload,
    pub(super) failed: bool,
    pub(super) input: Option<Payload>,
    pub(super) timing: Option<&'a (i64, i64)>,
}

/// Collects what the ops of an answer ask for, and then decides once.
pub(super) struct Draft<'a> {
    pub(super) planning: &'a Planning<'a>,
    pub(super) answer: Answer,
    pub(super) block: Block,
    /// The first change is about the job itself: it is removed, unless it is tried again.
    pub(super) changes: Vec<Change>,
    /// Results added that were not known before.
    pub(super) recorded: usize,
    /// Whether a step was reported that has its result already.
    pub(super) repeated: bool,
    /// Jobs added.
    pub(super) jobs: usize,
    /// The app asks to be called again from the top.
    pub(super) discovery: bool,
    /// The job goes on as it is, at once: its answer was only what it lacked.
    pub(super) again_at_once: bool,
    /// What the store must confirm, besides the generation of the job.
    pub(super) require: Vec<Requirement>,
    value_bytes: usize,
    failure: Option<Failure>,
    ending: Option<Ending>,
}

/// How a run ends with this answer.
enum Ending {
    Completed(Option<Payload>),
    Failed(FunctionError),
}

impl<'a> Draft<'a> {
    pub(super) fn new(planning: &'a Planning<'a>, answer: Answer, block: Block) -> Self {
        let mut changes = Vec::with_capacity(6);
        changes.push(Change::RemoveJob(planning.item.id));
        Self {
            planning,
            answer,
            block,
            changes,
            recorded: 0,
            repeated: false,
            jobs: 0,
            discovery: false,
            again_at_once: false,
            require: Vec::new(),
            value_bytes: 0,
            failure: None,
            ending: None,
        }
    }

    /// Whether a result of this step is known, from earlier or from this very answer.
    pub(super) fn is_recorded(&self, id: &StepId) -> bool {
        let here = |change: &Change| matches!(change, Change::RecordStep(record) if record.step.id == *id);
        self.planning.run.has_step(id) || (self.recorded > 0 && self.changes.iter().any(here))
    }

    /// Adds the result of a step. One that has a result keeps it.
    pub(super) fn record(&mut self, result: Result<'_>) {
        if self.is_recorded(&result.step.id) {
            self.repeated = true;
            return;
        }
        let planning = self.planning;
        let (started_at, ended_at) = match &planning.item.kind {
            // Nobody worked on a sleep or a wait: it lasted from its report to now.
            JobKind::Sleep(_) | JobKind::Wait(..) => (planning.item.queued_at, planning.now),
            _ => span(planning, result.timing),
        };
        let queued_at = if self.recorded == 0 && !planning.has_checkpointed() {
            planning.item.queued_at.min(started_at)
        } else {
            // Of several steps of one call only the first one has waited for it.
            started_at
        };
        self.recorded += 1;
        self.value_bytes += result.value.len();
        self.changes.push(Change::RecordStep(Box::new(StepRecord {
            run: planning.run.id,
            step: result.step,
            op: result.op,
            value: result.value,
            failed: result.failed,
            attempt: planning.item.attempt,
            input: result.input,
            queued_at,
            started_at,
            ended_at,
            job: planning.item.id.key,
            resolution: planning.item.resolution.as_deref().map(without_value),
            response: self.answer.response.clone(),
        })));
    }

    /// Adds the job of a step, unless the step has a result. One that is planned already stays as it is. False
    /// when nothing was added.
    pub(super) fn put(&mut self, job: QueueItem) -> bool {
        let wanted = self.wants(&job);
        if wanted {
            self.jobs += 1;
            self.changes.push(Change::PutJob(job, When::Unrecorded));
        }
        wanted
    }

    /// As [`Self::put`], for a step that waits.
    pub(super) fn wait(&mut self, waiting: Await) -> bool {
        let wanted = self.wants(&waiting.job);
        if wanted {
            self.jobs += 1;
            self.changes.push(Change::Await(Box::new(waiting)));
        }
        wanted
    }

    /// Notes what a step is about.
    pub(super) fn detail(&mut self, step: &StepId, detail: StepDetail) {
        self.changes.push(Change::PutDetail(self.planning.run.id, step.clone(), Box::new(detail)));
    }

    /// Whether a job is about a step that has no result. (The answer to a targeted call that plans its own step
    /// again is no progress.)
    pub(super) fn wants(&mut self, job: &QueueItem) -> bool {
        let recorded = job.step().is_some_and(|step| self.is_recorded(&step.id));
        self.repeated |= recorded;
        !recorded && job.id != self.planning.item.id
    }

    /// Until when a step waits, as an op says it; a year when it says nothing. `None` when the text cannot be
    /// used: what follows is in the draft then.
    pub(super) fn deadline(&mut self, report: &OpReport, timeout: Option<&str>) -> Option<Millis> {
        let now = self.planning.now;
        let Some(text) = timeout else { return Some(now.plus(limits::SLEEP_MAX)) };
        match time_spec::until(text, now) {
            Ok(until) => return Some(until.max(now)),
            Err(TimeError::Duration(DurationError::TooLong)) => self.fail_run(ServerError::wait_too_long(text)),
            Err(error) => self.fail_options(report, &format!("The timeout \"{text}\" cannot be understood: {error}")),
        }
        None
    }

    /// Counts the answer as a failed attempt, because an op says something that cannot be done.
    pub(super) fn fail_options(&mut self, report: &OpReport, message: &str) {
        let error = ServerError::new("InvalidStepOptions", message).into_function_error();
        self.fail_attempt(Failure { step: Some(StepRef::from(report)), ..Failure::new(error) });
    }

    /// Counts the answer as a failed attempt of the job, although the rest of it is kept.
    pub(super) fn fail_attempt(&mut self, failure: Failure) {
        self.failure.get_or_insert(failure);
    }

    /// Ends the run with what the function returned. What ends a run first, counts.
    pub(super) fn complete(&mut self, output: Option<Payload>) {
        self.ending.get_or_insert(Ending::Completed(output));
    }

    /// Ends the run with an error.
    pub(super) fn fail_run(&mut self, error: ServerError) {
        self.ending.get_or_insert_with(|| Ending::Failed(error.into_function_error()));
    }

    /// A job that follows, with everything it has from this answer.
    pub(super) fn job(&self, id: JobId, kind: JobKind, due: Millis) -> QueueItem {
        QueueItem {
            version: self.block.version,
            plan_only: self.block.plan_only,
            group: self.block.group,
            stack_current: u32::try_from(self.planning.run.steps.len()).unwrap_or(u32::MAX),
            due,
            priority: self.planning.item.priority,
            keys: self.planning.item.keys.clone(),
            ..QueueItem::new(id, self.planning.item.function, kind, self.planning.now)
        }
    }

    /// Length of the stack once this answer is recorded.
    pub(super) fn stack(&self) -> u32 {
        u32::try_from(self.planning.run.steps.len() + self.recorded).unwrap_or(u32::MAX)
    }

    /// All ops are in: what comes next?
    pub(super) fn conclude(mut self) -> Transition {
        match self.ending.take() {
            Some(Ending::Completed(output)) => return self.finish(RunStatus::Completed, output, None),
            Some(Ending::Failed(error)) => return self.finish_failed(error),
            None => {}
        }
        if self.overflows() {
            // What does not fit is not stored.
            self.changes.retain(|change| !matches!(change, Change::RecordStep(_)));
            let error = ServerError::state_too_large(self.planning.limits.state_bytes);
            return self.finish_failed(error.into_function_error());
        }
        if let Some(failure) = self.failure.take() {
            return self.attempt_failed(failure);
        }
        self.follow_up()
    }

    /// Whether the results added here are too much for the state of the run.
    pub(super) fn overflows(&self) -> bool {
        self.value_bytes > 0 && self.planning.run.state_bytes() + self.value_bytes > self.planning.limits.state_bytes
    }

    /// Ends the run in this transition.
    pub(super) fn finish_failed(self, error: FunctionError) -> Transition {
        self.finish(RunStatus::Failed, error.output, Some(error.error))
    }

    fn finish(mut self, status: RunStatus, output: Option<Payload>, error: Option<Payload>) -> Transition {
        let planning = self.planning;
        // The end of a run removes all its jobs and waits: none is worth making, and our own need not be named.
        let recorded = |change: &Change| match change {
            Change::RecordStep(record) => Some(record.step.id.clone()),
            _ => None,
        };
        let recorded: Vec<StepId> = self.changes.iter().filter_map(recorded).collect();
        let outlives = |change: &Change| match change {
            Change::PutJob(..) | Change::RemoveJob(_) | Change::Await(_) | Change::RemoveWait(_) => false,
            Change::PutDetail(_, step, _) => recorded.contains(step),
            _ => true,
        };
        self.changes.retain(outlives);
        let finish = FinishRun {
            run: planning.run.id,
            status,
            output,
            error,
            started_at: self.first_call(),
            ended_at: planning.now,
            last_call: self.last_call(),
            in_flight: Vec::new(),
            finished: None,
        };
        let defers = self.defers();
        let function = Some(planning.function);
        finish::end(&mut self.changes, finish, planning.run, function, &defers, planning.registry, planning.ids);
        Transition { require: self.fence(), changes: self.changes }
    }

    /// The transition of a run that goes on.
    pub(super) fn go_on(mut self) -> Transition {
        if let Some(at) = self.first_call() {
            self.changes.push(Change::StartRun { run: self.planning.run.id, at, job: None });
        }
        self.go_on_as_is()
    }

    /// The same, without noting that the run has started.
    pub(super) fn go_on_as_is(mut self) -> Transition {
        Transition { require: self.fence(), changes: self.changes }
    }

    /// The runs to be started when this one ends, as this answer leaves them.
    pub(super) fn defers(&self) -> Vec<Arc<Defer>> {
        let mut defers = self.planning.run.defers.clone();
        for change in &self.changes {
            Defer::follow(&mut defers, change);
        }
        defers
    }

    /// When the run started, if it did so with the call that is answered here.
    fn first_call(&self) -> Option<Millis> {
        self.planning.run.started_at.is_none().then_some(self.planning.dispatched_at)
    }

    fn last_call(&self) -> Option<LastCall> {
        let Planning { item, dispatched_at, .. } = *self.planning;
        self.answer.of_call.then(|| LastCall {
            job: item.id,
            queued_at: item.queued_at,
            started_at: dispatched_at,
            attempt: item.attempt,
            response: self.answer.response.clone(),
        })
    }

    fn fence(&mut self) -> Vec<Requirement> {
        let mut require = vec![Requirement::Generation(self.planning.item.id, self.planning.item.generation)];
        require.append(&mut self.require);
        require
    }
}

/// A value stands in the record of the step itself.
fn without_value(resolution: &Resolution) -> Resolution {
    match resolution {
        &Resolution::Event(event) => Resolution::Event(event),
        &Resolution::Run(run) => Resolution::Run(run),
        Resolution::Value(_) => Resolution::Value(Payload::new()),
    }
}

/// Start and end of a step: as the app measured them if that is plausible, else the whole call.
fn span(planning: &Planning<'_>, timing: Option<&(i64, i64)>) -> (Millis, Millis) {
    const NANOS_PER_MS: i64 = 1_000_000;
    match timing {
        Some((start, length)) if *start > 0 => {
            let earliest = planning.run.id.timestamp().min(planning.now);
            let started = Millis(start / NANOS_PER_MS).clamp(earliest, planning.now);
            let ended = Millis(started.0.saturating_add(length.max(&0) / NANOS_PER_MS)).min(planning.now);
            (started, ended)
        }
        _ => (planning.dispatched_at.min(planning.now), planning.now),
    }
}
