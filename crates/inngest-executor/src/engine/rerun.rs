//! Runs once more: the events of an ended or running run, from the start or from one of its steps.

use std::sync::Arc;

use inngest_core::{Function, FunctionId, Millis, Payload, RunId, RunStatus, StepId};
use inngest_queue::{JobId, JobKind, QueueItem};
use inngest_state::history::{Between, RunFilter, RunRecord};
use inngest_state::{Change, Rerun, StepOp, StepRecord, StoreError};

use super::{Engine, definitions};
use crate::registry::Registry;
use crate::routing;

/// Runs read at a time when many are run again.
const PAGE: usize = 100;

/// Where a rerun begins.
#[derive(Clone, Debug)]
pub struct FromStep {
    /// Hashed id of the step, or its name.
    pub step: String,
    /// Arguments for it instead of those of the original: the text of a JSON array.
    pub input: Option<Payload>,
}

/// What became of many reruns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reruns {
    /// New runs that start.
    pub started: usize,
    /// New runs that do not: another run of a singleton goes on.
    pub skipped: usize,
}

/// Why there is no rerun.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RerunError {
    /// There is no such run (404).
    #[error("Unable to load function run: {0}")]
    UnknownRun(RunId),
    /// Its function is not known any more (404).
    #[error("could not find function with ID: {0}")]
    UnknownFunction(FunctionId),
    /// The original has no such step (400).
    #[error("rerun step not found")]
    UnknownStep,
    /// Several steps have this name (400).
    #[error("rerun step name is ambiguous")]
    AmbiguousStep,
    /// The input is no array (400).
    #[error("input is not a valid JSON array")]
    BadInput,
    /// The store failed (503).
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Engine {
    /// Runs the events of `id` anew, with the function as it is registered now, and returns the new run. It is one of
    /// status `Skipped` when another run of a singleton goes on.
    pub async fn rerun(&self, id: RunId, from: Option<&FromStep>) -> Result<RunId, RerunError> {
        self.rerun_unless_skipped(id, from).await.map(|(run, _)| run)
    }

    /// As [`Engine::rerun`]; also whether the new run starts.
    async fn rerun_unless_skipped(&self, id: RunId, from: Option<&FromStep>) -> Result<(RunId, bool), RerunError> {
        let original = self.history().run_record(id).await?.ok_or(RerunError::UnknownRun(id))?;
        let mut registry = self.registry();
        let is_known = registry.function(&original.function).is_some();
        if !is_known {
            // Archived, and nothing of it was left to do at the last sync or start. Its own rules count all the same.
            let functions = self.history().functions().await?;
            let found = functions.into_iter().find(|function| function.id == original.function);
            let settings = definitions::read_settings(&self.inner.parts).await?;
            registry = Arc::new(Registry::build_in(Vec::new(), found.into_iter().collect(), &settings));
        }
        let unknown = RerunError::UnknownFunction(original.function);
        let function = registry.function(&original.function).ok_or(unknown)?;
        let start = match from {
            None => None,
            Some(from) => Some(Start::at(from, self.history().trace(id).await?.steps)?),
        };
        let mut bodies = Vec::new();
        for event in &original.event_ids {
            bodies.extend(self.history().event(*event).await?);
        }
        let trigger = bodies.first().map_or(&b"{}"[..], |record| &record.body);
        let starts_at = bodies.iter().map(|record| record.event.ts).max().unwrap_or_default();
        let rerun = self.plan_rerun(&original, function, &registry, start, trigger, starts_at);
        let run = rerun.admit.run;
        let committed = self.commit_freely(vec![Change::Rerun(Box::new(rerun))]).await?;
        if !is_known {
            // It has a run to finish again.
            self.reload_definitions().await?;
        }
        // A run that is skipped has no job.
        let starts = committed.jobs.iter().any(|job| job.id.run == run);
        self.publish(committed).await;
        Ok((run, starts))
    }

    fn plan_rerun(
        &self,
        original: &RunRecord,
        function: &Function,
        registry: &Registry,
        start: Option<Start>,
        trigger: &[u8],
        starts_at: Millis,
    ) -> Rerun {
        let now = self.ids().now();
        let newest = original.event_ids.iter().max().copied().unwrap_or_else(|| self.ids().event(now));
        let run = self.ids().run(newest, now);
        let mut admit = routing::rerun(registry, function, run, || trigger, now);
        let (steps, input, target) = match start {
            Some(start) => (start.steps, start.input, start.target),
            None => (Vec::new(), None, None),
        };
        let known = u32::try_from(steps.len()).unwrap_or(u32::MAX);
        let (id, kind) = match target {
            Some(step) => (JobId::step(run, &step.id), JobKind::Step(step)),
            None => (JobId::start(run), JobKind::Start),
        };
        admit.job = QueueItem { id, kind, due: now.max(starts_at), stack_current: known, ..admit.job };
        Rerun {
            admit,
            events: original.event_ids.clone(),
            event_name: Arc::clone(&original.event_name),
            original: original.original_run.unwrap_or(original.id),
            steps: steps.into_iter().map(|step| StepRecord { run, ..step }).collect(),
            input,
        }
    }

    /// Runs again what a function ran between two times, as far as it ended with one of these statuses: at most
    /// `max` of them.
    pub async fn rerun_many(
        &self,
        function: FunctionId,
        statuses: Vec<RunStatus>,
        from: Option<Millis>,
        until: Millis,
        max: usize,
    ) -> Result<Reruns, RerunError> {
        let (mut cursor, mut reruns) = (None, Reruns::default());
        loop {
            let filter = RunFilter {
                statuses: statuses.clone(),
                functions: Some(vec![function]),
                queued: Between { after: from, before: Some(until) },
                ascending: true,
                cursor,
                limit: PAGE,
                ..RunFilter::default()
            };
            let page = self.history().runs(filter).await?;
            let Some(last) = page.last() else { return Ok(reruns) };
            cursor = Some((last.queued_at, last.id));
            for run in &page {
                if reruns.started + reruns.skipped == max {
                    return Ok(reruns);
                }
                match self.rerun_unless_skipped(run.id, None).await? {
                    (_, true) => reruns.started += 1,
                    (_, false) => reruns.skipped += 1,
                }
            }
        }
    }
}

/// A start in the middle.
struct Start {
    /// What is known before.
    steps: Vec<StepRecord>,
    input: Option<(StepId, Payload)>,
    /// The step to be called for; `None` when the app must be called from the top to report it.
    target: Option<inngest_queue::StepRef>,
}

impl Start {
    fn at(from: &FromStep, mut steps: Vec<StepRecord>) -> Result<Self, RerunError> {
        let by_id = steps.iter().position(|step| step.step.id.as_str() == from.step);
        let position = match by_id {
            Some(position) => position,
            None => {
                let mut named = steps.iter().enumerate().filter(|(_, step)| *step.step.name == *from.step);
                let (position, _) = named.next().ok_or(RerunError::UnknownStep)?;
                if named.next().is_some() {
                    return Err(RerunError::AmbiguousStep);
                }
                position
            }
        };
        let step = steps.swap_remove(position);
        // The order of the rest is that of the original, up to the step.
        steps.truncate(position);
        let input = match &from.input {
            None => None,
            Some(input) => {
                let canonical = inngest_core::canonical::canonicalise(input, inngest_core::canonical::Numbers::Exact);
                let array = canonical.ok().filter(|json| json.first() == Some(&b'[')).ok_or(RerunError::BadInput)?;
                Some((step.step.id.clone(), Payload::from(array)))
            }
        };
        let runs_in_the_app = matches!(step.op, StepOp::Run | StepOp::Legacy);
        Ok(Self { steps, input, target: runs_in_the_app.then_some(step.step) })
    }
}
