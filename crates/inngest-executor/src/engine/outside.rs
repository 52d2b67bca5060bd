//! What others ask of single runs and functions: cancel, invoke, signal, note.

use std::sync::Arc;

use inngest_core::{EventId, RunId, StepId};
use inngest_state::{Change, CommitError, Committed, Metadata, StoreError, Transition};
use serde_json::json;

use super::Engine;
use crate::plan;
use crate::plan::internal_event::{self, Invocation};
use crate::response::MetadataReport;
use crate::routing;

/// What became of a request to cancel a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancelled {
    /// It is cancelled now.
    Now,
    /// It had ended before.
    AlreadyEnded,
    /// There is no such run.
    Unknown,
}

/// What of a run a note is about; with nothing given, the run itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NoteTarget {
    /// This step.
    pub step: Option<StepId>,
    /// This attempt of the step, counted from 0; `None`: the step as a whole, or its last attempt.
    pub attempt: Option<u32>,
    /// This span of the user's own code.
    pub span: Option<[u8; 8]>,
}

impl From<Option<StepId>> for NoteTarget {
    fn from(step: Option<StepId>) -> Self {
        Self { step, ..Self::default() }
    }
}

/// Why a function was not invoked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum InvokeError {
    /// No active function has this slug or id (404).
    #[error("Function not found: {0}")]
    NotFound(String),
    /// The store failed (503).
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Engine {
    /// Ends a run from outside.
    pub async fn cancel(&self, id: RunId) -> Result<Cancelled, StoreError> {
        let Some(run) = self.run(id).await? else {
            let known = self.history().run_record(id).await?.is_some();
            return Ok(if known { Cancelled::AlreadyEnded } else { Cancelled::Unknown });
        };
        let registry = self.registry();
        let function = registry.function(&run.function);
        let mut transition = plan::cancel(&run, function, &registry, self.ids(), self.ids().now());
        self.note_calls(&mut transition);
        let transition = Arc::new(transition);
        match self.inner.parts.store.commit(Arc::clone(&transition)).await {
            Ok(committed) => {
                self.inner.meters.committed(run.function, &registry, &transition);
                self.publish(committed).await;
                Ok(Cancelled::Now)
            }
            Err(CommitError::Rejected(_)) => Ok(Cancelled::AlreadyEnded),
            Err(CommitError::Store(error)) => Err(error),
        }
    }

    /// Starts a function whatever its triggers. Returns the event, whose id is `seeded` if given, and the run; no
    /// run when the same invocation was seen before.
    pub async fn invoke(
        &self,
        function: &str,
        invocation: &Invocation,
        seeded: Option<EventId>,
    ) -> Result<(EventId, Option<RunId>), InvokeError> {
        let registry = self.registry();
        let found = registry.invocable(function).ok_or_else(|| InvokeError::NotFound(function.to_owned()))?;
        let now = self.ids().now();
        let own = json!({ "fn_id": function, "name": "", "source_app_id": "", "source_fn_id": "", "source_fn_v": 0 });
        let id = seeded.unwrap_or_else(|| self.ids().event(now));
        let event = internal_event::invoked(id, invocation, &own, now);
        let (run, admits) = routing::admit_for(&registry, found, None, &event, now, self.ids());
        let committed = self.commit_freely(vec![Change::PutEvent(Box::new(event), admits)]).await?;
        let started = committed.admitted.iter().any(|(_, admitted)| *admitted == run);
        self.publish(committed).await;
        Ok((id, started.then_some(run)))
    }

    /// Resumes the run that waits for a signal, and returns it; `None` when none does.
    pub async fn signal(&self, name: &str, data: &[u8]) -> Result<Option<RunId>, StoreError> {
        let mut value = b"{\"data\":{\"data\":".to_vec();
        value.extend_from_slice(data);
        value.extend_from_slice(b",\"signal\":");
        inngest_core::canonical::write_string(&mut value, name);
        value.extend_from_slice(b"}}");
        let committed = self.commit_freely(vec![Change::Signal(name.into(), value.into())]).await?;
        let run = committed.jobs.first().map(|job| job.id.run);
        self.publish(committed).await;
        Ok(run)
    }

    /// Adds notes about a run, or what is meant of it.
    pub async fn note(
        &self,
        run: RunId,
        target: impl Into<NoteTarget>,
        notes: Vec<MetadataReport>,
    ) -> Result<(), StoreError> {
        let NoteTarget { step, attempt, span } = target.into();
        let at = self.ids().now();
        let change = |note: MetadataReport| {
            let MetadataReport { scope, kind, op, values } = note;
            Change::PutMetadata(Box::new(Metadata {
                run,
                step: step.clone(),
                attempt,
                span,
                scope,
                kind,
                op,
                values,
                at,
            }))
        };
        self.commit_freely(notes.into_iter().map(change).collect()).await?;
        self.changed();
        Ok(())
    }

    /// Bytes of all notes about a run.
    pub async fn noted_bytes(&self, run: RunId) -> Result<usize, StoreError> {
        let notes = self.history().metadata(run).await?;
        Ok(notes.iter().map(|note| note.values.len()).sum())
    }

    /// Commits changes that require nothing.
    pub(super) async fn commit_freely(&self, changes: Vec<Change>) -> Result<Committed, StoreError> {
        match self.inner.parts.store.commit(Arc::new(Transition::of(changes))).await {
            Ok(committed) => Ok(committed),
            Err(CommitError::Store(error)) => Err(error),
            Err(CommitError::Rejected(rejected)) => unreachable!("nothing was required, yet: {rejected}"),
        }
    }
}
