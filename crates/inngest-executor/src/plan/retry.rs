//! Failed attempts: the next one, or the end of the run.

use std::time::Duration;

use inngest_core::{Ids, Millis};
use inngest_queue::{QueueItem, StepRef};
use inngest_state::{AttemptRecord, Change, Transition, When};

use super::Planning;
use super::draft::{Answer, Draft};
use crate::response::FunctionError;

/// Wait after the failed attempt of this number; the last entry serves all later ones.
const BACKOFF: [Duration; 10] = [
    Duration::from_secs(15),
    Duration::from_secs(30),
    Duration::from_secs(60),
    Duration::from_secs(2 * 60),
    Duration::from_secs(5 * 60),
    Duration::from_secs(10 * 60),
    Duration::from_secs(20 * 60),
    Duration::from_secs(40 * 60),
    Duration::from_secs(60 * 60),
    Duration::from_secs(2 * 60 * 60),
];
/// Up to this much is added, so that jobs that failed together do not come back together.
const JITTER: Duration = Duration::from_secs(30);

/// Why an attempt counts as failed.
pub(super) struct Failure {
    /// The step that failed; `None` when it was the function or the answer as a whole.
    pub(super) step: Option<StepRef>,
    /// What went wrong; the end of the run if there is no other attempt.
    pub(super) error: FunctionError,
    /// Whether the app allows another attempt.
    pub(super) retry: bool,
}

impl Failure {
    /// A failure that may be tried again.
    pub(super) fn new(error: FunctionError) -> Self {
        Self { step: None, error, retry: true }
    }
}

/// When to try again after the failed attempt of this number.
fn due(planning: &Planning<'_>, answer: &Answer) -> Millis {
    answer.retry_at.unwrap_or_else(|| {
        let wait = planning.retry_interval.unwrap_or_else(|| backoff(planning.item.attempt, planning.ids));
        planning.now.plus(wait)
    })
}

fn backoff(attempt: u32, ids: &Ids) -> Duration {
    let base = BACKOFF[(attempt as usize).min(BACKOFF.len() - 1)];
    let jitter_ms = u64::try_from(JITTER.as_millis()).expect("half a minute in milliseconds");
    base + Duration::from_millis(ids.random() % jitter_ms)
}

/// The number of the attempt that follows a failure of a step, or of the function; `None` when there is none.
///
/// Checkpointed steps begin a new unit of work: the steps after them have all their attempts.
pub(super) fn next_attempt(planning: &Planning<'_>, of_step: bool) -> Option<u32> {
    let max = planning.function.attempts_max();
    let next = match (planning.has_checkpointed(), of_step) {
        (false, _) => planning.item.attempt.saturating_add(1),
        (true, true) => 1,
        (true, false) => 0,
    };
    (max > 1 && next < max).then_some(next)
}

impl Draft<'_> {
    /// Whether a step that failed here may be tried again.
    pub(super) fn may_retry_step(&self) -> bool {
        !self.answer.no_retry && next_attempt(self.planning, true).is_some()
    }

    /// The job once more, as the attempt of this number.
    pub(super) fn again(&self, attempt: u32) -> QueueItem {
        let item = self.planning.item;
        let targeted = item.step().is_some();
        QueueItem {
            due: due(self.planning, &self.answer),
            attempt,
            starts: false,
            generation: item.generation.saturating_add(1),
            version: self.block.version,
            plan_only: self.block.plan_only,
            group: self.block.group,
            stack_current: if targeted { item.stack_current } else { self.stack() },
            ..item.clone()
        }
    }

    /// Tries the job again, or ends the run. Results of the same answer stay.
    pub(super) fn attempt_failed(mut self, failure: Failure) -> Transition {
        let item = self.planning.item;
        let next = next_attempt(self.planning, failure.step.is_some()).filter(|_| failure.retry);
        let again = next.map(|attempt| self.again(attempt));
        self.changes.push(Change::RecordAttempt(Box::new(AttemptRecord {
            job: item.id,
            step: failure.step.or_else(|| item.step().cloned()),
            attempt: item.attempt,
            generation: item.generation,
            queued_at: item.queued_at,
            started_at: self.planning.dispatched_at,
            ended_at: self.planning.now,
            response: self.answer.response.clone(),
            error: failure.error.error.clone(),
            retry_at: again.as_ref().map(|job| job.due),
        })));
        match again {
            Some(job) => {
                // Replaced in place: its group, if it has one, stays open.
                self.changes[0] = Change::PutJob(job, When::Always);
                self.go_on()
            }
            None => self.finish_failed(failure.error),
        }
    }
}
