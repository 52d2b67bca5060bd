//! From a leased job to a committed transition.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use inngest_core::{Function, Millis, crash};
use inngest_queue::{JobKind, Lease, QueueItem, Settled};
use inngest_state::{Change, CommitError, Committed, Requirement, RunState, StoreError, Transition};
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::{Engine, Stage};
use crate::driver::{CallError, CallRequest};
use crate::plan::{self, Planning};
use crate::registry::Registry;
use crate::request;
use crate::response::SdkResponse;

/// A first call that takes longer than this makes its run `Running` at once; the answer of a faster one
/// does so in its own transition, which saves a commit.
const START_AFTER: Duration = Duration::from_millis(100);

/// Pauses between attempts to commit while the store fails (disk full, for example).
const COMMIT_RETRY_MIN: Duration = Duration::from_millis(100);
const COMMIT_RETRY_MAX: Duration = Duration::from_secs(5);

/// What became of a job.
enum Done {
    /// Its transition is committed.
    Committed(Committed),
    /// Somebody else has ended it, or its run.
    Stale,
    /// The engine is going down.
    Abandoned,
}

impl Engine {
    /// Leases jobs while there is a place for them, and works on each in a task of its own.
    pub(super) async fn dispatch(&self, mut stage: watch::Receiver<Stage>) {
        let closed = stage.clone();
        loop {
            let next = async {
                let places = Arc::clone(&self.inner.places);
                let place = places.acquire_owned().await.expect("the engine never closes its places");
                let more = self.inner.places.available_permits();
                (place, self.inner.parts.queue.lease(1 + more).await)
            };
            let (place, leases) = tokio::select! {
                leased = next => leased,
                _ = stage.wait_for(|stage| *stage > Stage::Open) => return,
            };
            let mut place = Some(place);
            for lease in leases {
                // Only this loop takes places, so those counted above are still free.
                let place = place.take().or_else(|| Arc::clone(&self.inner.places).try_acquire_owned().ok());
                tokio::spawn(self.clone().work(lease, place, closed.clone()));
            }
        }
    }

    async fn work(self, lease: Lease, place: Option<OwnedSemaphorePermit>, stage: watch::Receiver<Stage>) {
        let outcome = AssertUnwindSafe(self.work_on(&lease.item, stage)).catch_unwind().await;
        drop(place);
        let (settled, committed) = match outcome {
            Ok(Ok(Done::Committed(committed))) => (Settled::Done, Some(committed)),
            Ok(Ok(Done::Stale)) => (Settled::Done, None),
            Ok(Ok(Done::Abandoned)) => (Settled::GivenBack, None),
            Ok(Err(error)) => {
                tracing::error!(run_id = %lease.item.id.run, %error, "a job could not be worked on; trying again");
                tokio::time::sleep(COMMIT_RETRY_MAX).await;
                (Settled::GivenBack, None)
            }
            // The panic itself was logged by the hook. The run is put aside: its job stays in the store and
            // is taken up again by the next process, all other runs go on.
            Err(_panic) => {
                tracing::error!(run_id = %lease.item.id.run, job = ?lease.item.id, "a job panicked; its run is put aside until the next start");
                (Settled::Done, None)
            }
        };
        self.inner.parts.queue.settle(lease, settled).await;
        crash::point("engine.after_settle");
        if let Some(committed) = committed {
            self.publish(committed).await;
        }
    }

    async fn work_on(&self, item: &QueueItem, stage: watch::Receiver<Stage>) -> Result<Done, StoreError> {
        let Some(run) = self.run(item.id.run).await? else { return Ok(Done::Stale) };
        let registry = self.registry();
        let Some(function) = registry.function(&item.function) else {
            return self.commit(plan::without_function(&run, item, self.ids(), self.ids().now()), stage).await;
        };
        let dispatched_at = self.ids().now();
        let ready = self.planning(&run, item, function, &registry, dispatched_at);
        if let JobKind::Sleep(_) = item.kind {
            return self.commit(plan::wake(&ready), stage).await;
        }
        if let Some(transition) = plan::before_call(&ready) {
            return self.commit(transition, stage).await;
        }
        let Some(outcome) = self.call(&run, item, function, &registry, dispatched_at, stage.clone()).await else {
            return Ok(Done::Abandoned);
        };
        crash::point("engine.after_reply");
        // Siblings may have recorded steps meanwhile.
        let Some(run) = self.run(item.id.run).await? else { return Ok(Done::Stale) };
        let registry = self.registry();
        let function = registry.function(&item.function).unwrap_or(function);
        let planning = self.planning(&run, item, function, &registry, dispatched_at);
        self.commit(plan::plan(&planning, outcome), stage).await
    }

    fn planning<'a>(
        &'a self,
        run: &'a RunState,
        item: &'a QueueItem,
        function: &'a Arc<Function>,
        registry: &'a Registry,
        dispatched_at: Millis,
    ) -> Planning<'a> {
        Planning {
            run,
            item,
            function,
            registry,
            ids: self.ids(),
            now: self.ids().now(),
            dispatched_at,
            retry_interval: self.inner.parts.options.retry_interval,
        }
    }

    /// Calls the app; `None` when the engine goes down before it answers.
    async fn call(
        &self,
        run: &RunState,
        item: &QueueItem,
        function: &Function,
        registry: &Registry,
        dispatched_at: Millis,
        mut stage: watch::Receiver<Stage>,
    ) -> Option<Result<SdkResponse, CallError>> {
        let request = self.ids().request(dispatched_at);
        let full_state = registry.app(&function.app).is_some_and(|app| !request::can_fetch_state(app));
        let request = CallRequest {
            url: Arc::clone(&function.url),
            step_id: item.step().map_or_else(|| Arc::clone(&function.step_id), |step| Arc::clone(&step.id.0)),
            run: run.id,
            function: function.id,
            app: function.app,
            job: item.id,
            generation: item.generation,
            request,
            version: item.version,
            body: request::assemble(run, item, function, request, full_state),
        };
        crash::point("engine.before_call");
        let mut call = self.inner.parts.executor.execute(request);
        let answered = async {
            if run.started_at.is_none() {
                if let Ok(outcome) = tokio::time::timeout(START_AFTER, &mut call).await {
                    return outcome;
                }
                self.start(item, dispatched_at).await;
            }
            call.await
        };
        tokio::select! {
            biased;
            outcome = answered => Some(outcome),
            _ = stage.wait_for(|stage| *stage == Stage::Abandoned) => None,
        }
    }

    /// Marks the run as started while its first call is still under way.
    async fn start(&self, item: &QueueItem, at: Millis) {
        let transition = Transition {
            require: vec![Requirement::Generation(item.id, item.generation)],
            changes: vec![Change::StartRun { run: item.id.run, at }],
        };
        if let Err(error) = self.inner.parts.store.commit(transition.into()).await {
            tracing::debug!(run_id = %item.id.run, %error, "the run could not be marked as started yet");
        }
    }

    /// Commits what follows from a job. While the store fails the answer of the app is kept and tried again,
    /// so that no work is repeated when the store comes back.
    async fn commit(&self, transition: Transition, mut stage: watch::Receiver<Stage>) -> Result<Done, StoreError> {
        let mut pause = COMMIT_RETRY_MIN;
        let transition = Arc::new(transition);
        let mut result = self.inner.parts.store.commit(Arc::clone(&transition)).await;
        loop {
            match result {
                Ok(committed) => return Ok(Done::Committed(committed)),
                Err(CommitError::Rejected(reason)) => {
                    tracing::debug!(%reason, "an answer came too late and is dropped");
                    return Ok(Done::Stale);
                }
                Err(CommitError::Store(StoreError::Closed)) => return Ok(Done::Abandoned),
                Err(CommitError::Store(error)) => {
                    tracing::error!(%error, "a result could not be stored; it is kept and tried again");
                }
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = stage.wait_for(|stage| *stage == Stage::Abandoned) => return Ok(Done::Abandoned),
            }
            pause = (pause * 2).min(COMMIT_RETRY_MAX);
            result = self.inner.parts.store.commit(Arc::clone(&transition)).await;
        }
    }
}
