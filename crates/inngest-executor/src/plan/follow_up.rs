//! How a run goes on after an answer that neither failed nor ended it.
//!
//! Three rules keep a run both alive and single-minded. A job that is alone in its run always makes the
//! discovery that follows it. Where siblings exist, whoever records a step first makes it. And an answer that
//! brings nothing new is a failed attempt, unless it only repeats what siblings have planned or recorded.

use inngest_queue::{JobId, JobKind, QueueItem};
use inngest_state::{Change, Requirement, Transition, When};

use super::block::{Group, is_alone, race_after};
use super::draft::Draft;
use super::retry::Failure;
use super::server_error::ServerError;

impl Draft<'_> {
    /// Decides what comes next.
    pub(super) fn follow_up(mut self) -> Transition {
        if self.again_at_once {
            let item = self.planning.item;
            let again = QueueItem { due: self.planning.now, generation: item.generation + 1, ..item.clone() };
            self.changes[0] = Change::PutJob(again, When::Always);
            return self.go_on();
        }
        if let Some(error) = self.standstill() {
            if !self.may_rest() {
                return self.attempt_failed(Failure::new(error.into_function_error()));
            }
            self.require.push(Requirement::Siblings(self.planning.item.id));
            return self.go_on();
        }
        if self.recorded > 0 {
            self.discover();
        } else if self.discovery || self.has_only_deferred() {
            let job = self.requested_discovery();
            self.changes.push(Change::PutJob(job, When::Always));
        } else if self.jobs == 0 {
            self.discover_anew();
        }
        self.go_on()
    }

    /// Why this answer leads nowhere, if it does.
    fn standstill(&self) -> Option<ServerError> {
        let planning = self.planning;
        if self.has_only_deferred()
            || self.recorded > 0
            || planning.own_step_is_recorded()
            || planning.has_checkpointed()
        {
            return None;
        }
        if let JobKind::Step(step) = &planning.item.kind {
            // Other steps may be planned by the answer to a targeted call, but they do not replace its result.
            return (!self.waits()).then(|| ServerError::no_step_result(&step.name));
        }
        if self.discovery {
            // Asked for again, and no step further.
            return (self.requested_discovery().id == planning.item.id).then(ServerError::no_progress);
        }
        // A planned step without a result has a job, and a step that siblings recorded has a discovery. In a
        // joined block that may be missing: the siblings waited for this very job. Everything else leaves the
        // run with nothing to do.
        let siblings_go_on = !is_alone(planning.item) && !self.is_joined() && !planning.known.alone;
        let pending = self.jobs > 0 || (self.repeated && siblings_go_on);
        if pending {
            return None;
        }
        Some(if self.repeated { ServerError::no_progress() } else { ServerError::no_ops() })
    }

    /// Whether the answer adds runs for later, and nothing that carries this one on.
    fn has_only_deferred(&self) -> bool {
        self.jobs == 0 && self.changes.iter().any(|change| matches!(change, Change::PutDefer(..)))
    }

    /// Whether nothing new is no failure, as long as something else of the run is pending: the store knows.
    fn may_rest(&self) -> bool {
        let planning = self.planning;
        planning.item.step().is_none() && !is_alone(planning.item) && !planning.known.alone
    }

    /// Whether the answer made a job that resolves its step without a further call.
    fn waits(&self) -> bool {
        self.changes.iter().any(|change| match change {
            Change::PutJob(job, _) => !matches!(job.kind, JobKind::Step(_)),
            Change::Await(_) => true,
            _ => false,
        })
    }

    /// The call an app asked for. Its id tells how much was known, so that asking again without anything new
    /// is noticed.
    fn requested_discovery(&self) -> QueueItem {
        let run = self.planning.run;
        let known = run.steps.len() + self.defers().len();
        let id = JobId::discovery(run.id, &["", &known.to_string()]);
        self.job(id, JobKind::Discovery, self.planning.now)
    }

    /// Results were added: calls the app from the top, at once or when the whole block is resolved.
    fn discover(&mut self) {
        let mut ids: Vec<&str> = Vec::with_capacity(self.recorded);
        ids.extend(self.changes.iter().filter_map(|change| match change {
            Change::RecordStep(record) => Some(record.step.id.as_str()),
            _ => None,
        }));
        ids.sort_unstable();
        let next = self.discovery_after(&ids);
        // After the block the app may run steps itself again, except that old versions never may.
        let plan_only = self.block.plan_only && self.block.plans_for_ever();
        let after = QueueItem { plan_only, group: None, ..next.clone() };
        match self.block.group() {
            None => {
                let when = if is_alone(self.planning.item) { When::Always } else { When::Recorded };
                self.changes.push(Change::PutJob(after, when));
            }
            Some(Group::Joined(group)) => {
                // One for the whole block, whoever is last. (An answer that opens a block leaves it open.)
                let id = JobId { run: self.planning.run.id, key: group };
                self.changes.push(Change::PutJob(QueueItem { id, ..after }, When::Last));
                // The losers of an earlier race may still run: then it goes on as one.
                let beside = QueueItem { id, group: Some(race_after(group)), ..next };
                self.changes.push(Change::PutJob(beside, When::GroupDone(group)));
            }
            Some(Group::Race) => {
                // While anything else may still run the app must plan, or two calls would run the same step. That may
                // be a job of another group: the answer to each discovery of a race opens one.
                self.changes.push(Change::PutJob(after, When::Last));
                self.changes.push(Change::PutJob(next, When::Recorded));
            }
        }
    }

    /// The answer added nothing, because its step was recorded in another way, by a checkpoint for example.
    /// Who did that may not have called the app from the top.
    fn discover_anew(&mut self) {
        let planning = self.planning;
        let first_recorder_goes_on = !is_alone(planning.item) && !self.is_joined();
        if first_recorder_goes_on && !planning.known.alone {
            // Its discovery may have come to nothing and relied on this job.
            self.require.push(Requirement::Siblings(planning.item.id));
            return;
        }
        let own = planning.item.step().map(|step| &step.id);
        let Some(step) = own.or_else(|| planning.run.steps.last().map(|step| &step.id)) else { return };
        // In a joined block this is one call too many, and harmless: it stays in the group and may only plan.
        let next = self.discovery_after(&[step.as_str()]);
        self.changes.push(Change::PutJob(next, When::Always));
    }

    fn is_joined(&self) -> bool {
        matches!(self.block.group(), Some(Group::Joined(_)))
    }

    fn discovery_after(&self, ids: &[&str]) -> QueueItem {
        let run = self.planning.run;
        let job = self.job(JobId::discovery(run.id, ids), JobKind::Discovery, self.planning.now);
        QueueItem { stack_current: self.stack(), ..job }
    }
}
