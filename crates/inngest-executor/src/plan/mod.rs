//! The planner: what an app answered becomes one transition.
//!
//! Pure: run state, job, answer and time go in, a [`Transition`] comes out; the same inputs give the same
//! transition. Each op of the protocol has one file under [`ops`], which adds to a [`draft::Draft`]; when all ops
//! of an answer are in, the draft decides how the run goes on ([`follow_up`]), is tried again ([`retry`]) or
//! ends ([`finish`]).
//!
//! Every transition requires that the job still has the generation that was dispatched, so of two answers to
//! the same job only the first counts.

mod block;
mod checkpoint;
mod deadline;
mod draft;
mod fetched;
mod finish;
mod follow_up;
pub mod internal_event;
mod ops;
mod resolve;
mod retry;
mod server_error;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use inngest_core::limits::RunLimits;
use inngest_core::{Function, Ids, Millis};
use inngest_expr::expression::Cache;
use inngest_queue::{JobId, QueueItem};
use inngest_state::{Rejected, RunState, Transition};

use crate::driver::CallError;
use crate::registry::Registry;
use crate::response::{OpReport, Reply, SdkResponse};
use block::{Block, is_alone};
pub use checkpoint::{CheckpointProblem, checkpoint};
pub use deadline::{before_dispatch, deadline};
use draft::{Answer, Draft};
pub use fetched::fetched;
pub use finish::{cancel, cancel_by_job, without_function};
pub use ops::invoke_function::{function_unknown, refused};
pub use resolve::{Resolved, resolve};
use retry::Failure;
use server_error::ServerError;

/// What the planner knows.
#[derive(Clone, Copy, Debug)]
pub struct Planning<'a> {
    /// The run as it is now, not as it was when the call began: the call may have checkpointed steps, and
    /// siblings may have recorded theirs.
    pub run: &'a RunState,
    /// The job that was worked on, as dispatched.
    pub item: &'a QueueItem,
    /// The function of the run, as registered now.
    pub function: &'a Function,
    /// Whom lifecycle events start.
    pub registry: &'a Registry,
    /// Ids of events and runs, and the jitter of retries.
    pub ids: &'a Ids,
    /// When the answer was complete.
    pub now: Millis,
    /// When the call began.
    pub dispatched_at: Millis,
    /// How many steps were recorded then.
    pub dispatched_steps: usize,
    /// A fixed wait between attempts instead of the back-off table.
    pub retry_interval: Option<Duration>,
    /// How much a run of this function may be.
    pub limits: RunLimits,
    /// Conditions compiled before.
    pub expressions: &'a Cache,
    /// What the store said to an earlier plan for the same answer.
    pub known: &'a Known,
}

/// What only the store knows, and says when it rejects a transition that assumed otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// The job is the only one of its run.
    pub alone: bool,
    /// Signals that other steps wait for.
    pub taken_signals: Vec<Arc<str>>,
    /// Jobs that exist already.
    pub planned: Vec<JobId>,
}

impl Known {
    /// Takes a rejection into account; false when there is nothing to plan anew.
    pub fn learn(&mut self, rejected: &Rejected) -> bool {
        match rejected {
            Rejected::NoSiblings(_) => !std::mem::replace(&mut self.alone, true),
            Rejected::SignalTaken(name) if !self.taken_signals.contains(name) => {
                self.taken_signals.push(Arc::clone(name));
                true
            }
            Rejected::Planned(job) if !self.planned.contains(job) => {
                self.planned.push(*job);
                true
            }
            Rejected::Planned(_)
            | Rejected::SignalTaken(_)
            | Rejected::StaleJob(..)
            | Rejected::RunEnded(_)
            | Rejected::Inactive(_) => false,
        }
    }
}

/// What follows from a call.
#[must_use]
pub fn plan(planning: &Planning<'_>, outcome: &Result<SdkResponse, CallError>) -> Transition {
    let response = match outcome {
        Ok(response) => response,
        Err(error) => {
            let answer = Answer { of_call: true, response: error.response().cloned(), ..Answer::default() };
            let error = ServerError::of_call(error).into_function_error();
            return Draft::new(planning, answer, Block::inherited(planning)).attempt_failed(Failure::new(error));
        }
    };
    let answer = Answer {
        of_call: true,
        response: Some(response.head()),
        no_retry: response.no_retry,
        retry_at: response.retry_at,
    };
    match &response.reply {
        Reply::Ops(ops) => plan_ops(planning, answer, response.version, ops),
        Reply::Returned(output) => {
            let mut draft = Draft::new(planning, answer, Block::inherited(planning));
            draft.complete(output.clone());
            draft.conclude()
        }
        Reply::Failed(error) => {
            let failure = Failure { retry: !answer.no_retry, ..Failure::new(error.clone()) };
            Draft::new(planning, answer, Block::inherited(planning)).attempt_failed(failure)
        }
    }
}

/// What follows when the time of a sleep has come: its value is `null`, and the run goes on.
#[must_use]
pub fn wake(planning: &Planning<'_>) -> Transition {
    let mut draft = Draft::new(planning, Answer::default(), Block::inherited(planning));
    ops::sleep::wake(&mut draft);
    draft.conclude()
}

/// What must happen instead of the next call: the end of a run that has more steps than a run may have, or that
/// is too late. A run may use all its steps and then return.
#[must_use]
pub fn before_call(planning: &Planning<'_>) -> Option<Transition> {
    if deadline::is_missed(planning) {
        return Some(cancel_by_job(planning));
    }
    (planning.run.steps.len() > planning.limits.steps).then(|| {
        let mut draft = Draft::new(planning, Answer::default(), Block::inherited(planning));
        draft.fail_run(ServerError::too_many_steps(planning.limits.steps));
        draft.conclude()
    })
}

fn plan_ops(planning: &Planning<'_>, answer: Answer, version: i32, ops: &[OpReport]) -> Transition {
    // The first answer with ops fixes the version for the life of the run.
    let version = if planning.item.version < 0 { version } else { planning.item.version };
    let block = Block::of(planning, version, ops);
    let mut draft = Draft::new(planning, answer, block);
    if ops.len() > planning.limits.ops_per_response() {
        draft.fail_run(ServerError::too_many_steps(planning.limits.steps));
        return draft.conclude();
    }
    if let Some(error) = ops.iter().find_map(|report| ServerError::of_size(report, &planning.limits)) {
        return draft.attempt_failed(Failure::new(error.into_function_error()));
    }
    // What waits for an event must be there before an op of the same answer makes one, and what is deferred
    // before the run ends.
    let (first, rest): (Vec<&OpReport>, Vec<&OpReport>) = ops.iter().partition(|report| ops::goes_first(report.op));
    for report in first.into_iter().chain(rest) {
        ops::add(&mut draft, report.clone());
    }
    draft.conclude()
}

impl Planning<'_> {
    /// Whether the step this job is about has its result already, by another way than this answer.
    fn own_step_is_recorded(&self) -> bool {
        self.item.step().is_some_and(|step| self.run.has_step(&step.id))
    }

    /// Whether the call recorded steps by checkpoints: nobody else can have done so while a job was alone in its
    /// run.
    fn has_checkpointed(&self) -> bool {
        let alone = is_alone(self.item) && self.item.step().is_none();
        alone && self.run.steps.len() > self.dispatched_steps
    }
}
