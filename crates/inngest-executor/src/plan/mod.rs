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
mod draft;
mod finish;
mod follow_up;
mod ops;
mod retry;
mod server_error;
#[cfg(test)]
mod tests;

use std::time::Duration;

use inngest_core::{Function, Ids, Millis, limits};
use inngest_queue::QueueItem;
use inngest_state::{RunState, Transition};

use crate::driver::CallError;
use crate::registry::Registry;
use crate::response::{OpReport, Reply, SdkResponse};
use block::{Block, is_alone};
pub use checkpoint::{CheckpointProblem, checkpoint};
use draft::{Answer, Draft};
pub use finish::{cancel, without_function};
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
    /// A fixed wait between attempts instead of the back-off table.
    pub retry_interval: Option<Duration>,
}

/// What follows from a call.
#[must_use]
pub fn plan(planning: &Planning<'_>, outcome: Result<SdkResponse, CallError>) -> Transition {
    let response = match outcome {
        Ok(response) => response,
        Err(error) => {
            let error = ServerError::of_call(&error).into_function_error();
            return Draft::new(planning, Answer::default(), Block::inherited(planning))
                .attempt_failed(Failure::new(error));
        }
    };
    let answer = Answer { status: Some(response.status), no_retry: response.no_retry, retry_at: response.retry_at };
    match response.reply {
        Reply::Ops(ops) => plan_ops(planning, answer, response.version, ops),
        Reply::Returned(output) => {
            let mut draft = Draft::new(planning, answer, Block::inherited(planning));
            draft.complete(output);
            draft.conclude()
        }
        Reply::Failed(error) => {
            let failure = Failure { retry: !answer.no_retry, ..Failure::new(error) };
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

/// What must happen instead of the next call: the end of a run that has more steps than a run may have. A run
/// may use all its steps and then return.
#[must_use]
pub fn before_call(planning: &Planning<'_>) -> Option<Transition> {
    (planning.run.steps.len() > limits::STEPS_PER_RUN_MAX).then(|| {
        let mut draft = Draft::new(planning, Answer::default(), Block::inherited(planning));
        draft.fail_run(ServerError::too_many_steps());
        draft.conclude()
    })
}

fn plan_ops(planning: &Planning<'_>, answer: Answer, version: i32, ops: Vec<OpReport>) -> Transition {
    // The first answer with ops fixes the version for the life of the run.
    let version = if planning.item.version < 0 { version } else { planning.item.version };
    let block = Block::of(planning, version, &ops);
    let mut draft = Draft::new(planning, answer, block);
    if ops.len() > limits::OPS_PER_RESPONSE_MAX {
        draft.fail_run(ServerError::too_many_steps());
        return draft.conclude();
    }
    if let Some(error) = ops.iter().find_map(ServerError::of_size) {
        return draft.attempt_failed(Failure::new(error.into_function_error()));
    }
    for report in ops {
        ops::add(&mut draft, report);
    }
    draft.conclude()
}

impl Planning<'_> {
    /// Whether the step this job is about has its result already, by another way than this answer.
    fn own_step_is_recorded(&self) -> bool {
        self.item.step().is_some_and(|step| self.run.has_step(&step.id))
    }

    /// Whether the call recorded steps by checkpoints. A job that is alone in its run knows how long the stack
    /// was when it was made, and nobody else can have added to it.
    fn has_checkpointed(&self) -> bool {
        let alone = is_alone(self.item) && self.item.step().is_none();
        alone && self.run.steps.len() > self.item.stack_current as usize
    }
}
