//! Steps that an SDK finished while its call goes on: recorded at once, in one commit, if the call is current.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use inngest_core::{RequestId, RunId};
use inngest_queue::{JobId, JobKind, QueueItem};
use inngest_state::{CommitError, Rejected, Requirement, StoreError};

use super::Engine;
use super::calls::Dispatch;
use super::work::Dispatched;
use crate::plan::{self, CheckpointProblem, Known};
use crate::request;
use crate::response::OpReport;

/// Why a checkpoint was refused.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The run is unknown or has ended (400).
    #[error("run not found in state store")]
    UnknownRun,
    /// The job was dispatched again since, or is done (409).
    #[error("stale dispatch: {0}")]
    Stale(String),
    /// An op that cannot be checkpointed (400).
    #[error("{0}")]
    BadOp(String),
    /// A step or the state is over its limit (413).
    #[error("{0}")]
    TooLarge(String),
    /// The store failed (503).
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Which call a checkpoint belongs to, as its SDK says it; each part may be missing.
#[derive(Clone, Debug, Default)]
pub struct CheckpointSource<'a> {
    /// The `qi_id` of the call.
    pub queue_item: &'a str,
    /// Its generation.
    pub generation: Option<u32>,
    /// Its request id.
    pub request: &'a str,
}

impl Engine {
    /// Records steps that an SDK finished while its call goes on.
    pub async fn checkpoint(
        &self,
        id: RunId,
        source: &CheckpointSource<'_>,
        steps: Vec<OpReport>,
    ) -> Result<(), CheckpointError> {
        let Some(run) = self.run(id).await? else { return Err(CheckpointError::UnknownRun) };
        let registry = self.registry();
        let Some(function) = registry.function(&run.function) else { return Err(CheckpointError::UnknownRun) };
        let dispatch = self.dispatch_of(id, source)?;
        let now = self.ids().now();
        // Only the fence matters of the item; the job itself stays with the call that is in flight.
        let job = dispatch.map_or_else(|| JobId::start(id), |dispatch| dispatch.job);
        let mut item = QueueItem::new(job, run.function, JobKind::Discovery, now);
        item.generation = dispatch.map_or(0, |dispatch| dispatch.generation);
        item.attempt = dispatch.map_or(0, |dispatch| dispatch.attempt);
        let known = Known::default();
        let dispatched = Dispatched { at: now, steps: run.steps.len() };
        let planning = self.planning(&run, &item, function, &registry, dispatched, &known);
        let mut transition = plan::checkpoint(&planning, steps).map_err(|problem| match problem {
            CheckpointProblem::BadOp(text) => CheckpointError::BadOp(text),
            CheckpointProblem::TooLarge(text) => CheckpointError::TooLarge(text),
        })?;
        if dispatch.is_none() {
            // An SDK that says nothing of its call cannot be fenced.
            transition.require = vec![Requirement::RunOpen(id)];
        }
        match self.inner.parts.store.commit(transition.into()).await {
            Ok(committed) => {
                self.publish(committed).await;
                Ok(())
            }
            Err(CommitError::Rejected(Rejected::StaleJob(_, None))) => Err(CheckpointError::item_not_found()),
            Err(CommitError::Rejected(Rejected::StaleJob(_, Some(current)))) => {
                let generation = item.generation;
                Err(CheckpointError::Stale(format!(
                    "dispatch generation {generation} does not match queue item generation {current}"
                )))
            }
            Err(CommitError::Rejected(_)) => Err(CheckpointError::UnknownRun),
            Err(CommitError::Store(error)) => Err(CheckpointError::Store(error)),
        }
    }

    /// The dispatch a checkpoint belongs to; `None` when its SDK says nothing that could tell. Whether it is
    /// current is for the store to say.
    fn dispatch_of(&self, run: RunId, source: &CheckpointSource<'_>) -> Result<Option<Dispatch>, CheckpointError> {
        let calls = &self.inner.calls;
        let named = request::parse_qi_id(source.queue_item);
        let of_another = named.is_some_and(|(job, _)| job.run != run);
        // Not one of ours, although it has the form of one; what has not even that is ignored, as SDKs expect.
        let foreign = named.is_none() && !source.queue_item.is_empty() && STANDARD.decode(source.queue_item).is_ok();
        if of_another || foreign {
            return Err(CheckpointError::item_not_found());
        }
        let generation = source.generation.filter(|generation| *generation > 0);
        let request: Option<RequestId> = source.request.parse().ok();
        let requested = request.map(|request| calls.of_request(request));
        match (named, generation, requested) {
            // The generation given wins over the one that the id carries: it is what SDKs are compared by.
            (Some((job, _)), Some(generation), _) => {
                Ok(Some(Dispatch { job, generation, attempt: calls.attempt_of(job, generation) }))
            }
            (None, Some(generation), Some(Some(call))) if call.job.run == run => {
                Ok(Some(Dispatch { generation, ..call }))
            }
            (None, Some(generation), _) => {
                calls.of_run(run, generation).map(Some).ok_or_else(CheckpointError::item_not_found)
            }
            (Some((job, _)), None, Some(Some(call))) if call.job == job => Ok(Some(call)),
            (None, None, Some(Some(call))) if call.job.run == run => Ok(Some(call)),
            // The request is over, and another one works on the job.
            (Some((job, _)), None, Some(_)) if calls.works_on(job) => {
                Err(CheckpointError::Stale("the queue item was handed to another request".into()))
            }
            (None, None, Some(_)) => Err(CheckpointError::item_not_found()),
            (Some((job, generation)), None, _) => {
                Ok(Some(Dispatch { job, generation, attempt: calls.attempt_of(job, generation) }))
            }
            (None, None, None) => Ok(None),
        }
    }
}

impl CheckpointError {
    fn item_not_found() -> Self {
        Self::Stale("queue item not found".into())
    }
}
