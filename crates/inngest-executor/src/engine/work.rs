//! From a leased job to a committed transition.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use inngest_core::{Function, Millis, RunId, crash};
use inngest_queue::{Errand, JobKind, Lease, QueueItem, Resolution, Settled, Token, Work};
use inngest_state::{Change, CommitError, Committed, Rejected, Requirement, RunState, StoreError, Transition, When};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::calls::Dispatch;
use super::{Engine, Stage};
use crate::driver::{CallError, CallRequest};
use crate::gateway::{Exchange, Fetched};
use crate::plan::{self, Known, Planning, Resolved};
use crate::registry::Registry;
use crate::response::{OpReport, SdkResponse};
use crate::{gateway, request, routing};

/// A first call that takes longer than this makes its run `Running` at once; the answer of a faster one
/// does so in its own transition, which saves a commit.
const START_AFTER: Duration = Duration::from_millis(100);

/// Pauses between attempts to commit while the store fails (disk full, for example).
const COMMIT_RETRY_MIN: Duration = Duration::from_millis(100);
const COMMIT_RETRY_MAX: Duration = Duration::from_secs(5);

/// The beginning of a call.
#[derive(Clone, Copy)]
pub(super) struct Dispatched {
    pub(super) at: Millis,
    /// How many steps of the run were recorded then.
    pub(super) steps: usize,
}

/// The engine went down meanwhile.
struct Abandoned;

/// What became of a job.
pub(super) enum Done {
    /// Its transition is committed.
    Committed(Committed),
    /// As committed; and the app answered, not that it was too much.
    Answered(Committed),
    /// As committed; and the app answered that it was too much, until this time if it said so.
    Overloaded(Committed, Option<Millis>),
    /// Somebody else has ended it, or its run.
    Stale,
    /// The store refused it for a reason to plan anew with.
    Rejected(Rejected),
    /// The engine is going down.
    Abandoned,
}

impl Engine {
    /// Leases jobs of one kind while there is a place for them, and works on each in a task of its own.
    pub(super) async fn dispatch(&self, work: Work, places: &Arc<Semaphore>, mut stage: watch::Receiver<Stage>) {
        let closed = stage.clone();
        loop {
            let next = async {
                let place = Arc::clone(places).acquire_owned().await.expect("the engine never closes its places");
                let more = places.available_permits();
                (place, self.inner.parts.queue.lease(work, 1 + more).await)
            };
            let (place, leases) = tokio::select! {
                // What is abandoned goes back into the queue, and must not be taken from there again.
                biased;
                _ = stage.wait_for(|stage| *stage > Stage::Open) => return,
                leased = next => leased,
            };
            let mut place = Some(place);
            for lease in leases {
                // Only this loop takes places, so those counted above are still free.
                let place = place.take().or_else(|| Arc::clone(places).try_acquire_owned().ok());
                tokio::spawn(self.clone().work(lease, place, closed.clone()));
            }
        }
    }

    async fn work(self, lease: Lease, place: Option<OwnedSemaphorePermit>, stage: watch::Receiver<Stage>) {
        let outcome = AssertUnwindSafe(self.run_errand(&lease, stage)).catch_unwind().await;
        drop(place);
        let run = lease.item.id.run;
        let (settled, committed) = match outcome {
            Ok(Ok(Done::Committed(committed))) => (Settled::Done, committed),
            Ok(Ok(Done::Answered(committed))) => (Settled::Answered, committed),
            Ok(Ok(Done::Overloaded(committed, until))) => (Settled::Overloaded(until), committed),
            Ok(Ok(Done::Stale | Done::Rejected(_))) => {
                // The job may have been offered after the queue heard that its run has ended.
                let over = matches!(self.run(run).await, Ok(None));
                (Settled::Done, Committed { ended: over.then_some(run).into_iter().collect(), ..Committed::default() })
            }
            Ok(Ok(Done::Abandoned)) => (Settled::GivenBack, Committed::default()),
            Ok(Err(error)) => {
                tracing::error!(run_id = %run, %error, "a job could not be worked on; trying again");
                tokio::time::sleep(COMMIT_RETRY_MAX).await;
                (Settled::GivenBack, Committed::default())
            }
            // The panic itself was logged by the hook. The run is put aside: its job stays in the store and
            // is taken up again by the next process, all other runs go on.
            Err(_panic) => {
                tracing::error!(run_id = %run, job = ?lease.item.id, "a job panicked; its run is put aside until the next start");
                (Settled::Done, Committed { ended: vec![run], ..Committed::default() })
            }
        };
        let again = committed.jobs.iter().any(|job| job.id == lease.item.id);
        if matches!(lease.item.kind, JobKind::Gateway(_)) && settled != Settled::GivenBack && !again {
            self.inner.gateways.forget(&[lease.item.id]);
        }
        let (jobs, ended) = self.take_in(committed).await;
        self.inner.parts.queue.settle(lease, settled, jobs).await;
        crash::point("engine.after_settle");
        self.release(&ended).await;
    }

    async fn run_errand(&self, lease: &Lease, stage: watch::Receiver<Stage>) -> Result<Done, StoreError> {
        match (&lease.errand, &lease.item.kind) {
            (Errand::Rekey, _) => self.rekey(&lease.item, stage).await,
            (Errand::Work(_), JobKind::Gathered(how)) => self.start_gathered(&lease.item, *how, stage).await,
            (Errand::Work(tokens), _) => self.work_on(&lease.item, tokens, stage).await,
        }
    }

    /// Finds out the keys by which a run is limited, after its function was registered with others.
    async fn rekey(&self, item: &QueueItem, stage: watch::Receiver<Stage>) -> Result<Done, StoreError> {
        let Some(run) = self.run(item.id.run).await? else { return Ok(Done::Stale) };
        let keys = routing::keys(&self.registry(), &run, self.ids().now());
        let rekeyed = QueueItem { keys, generation: item.generation + 1, ..item.clone() };
        let transition = Transition {
            require: vec![Requirement::Generation(item.id, item.generation)],
            changes: vec![Change::PutJob(rekeyed, When::Always)],
        };
        self.commit(transition, stage).await
    }

    async fn work_on(
        &self,
        item: &QueueItem,
        tokens: &[Token],
        stage: watch::Receiver<Stage>,
    ) -> Result<Done, StoreError> {
        let Some(mut run) = self.run(item.id.run).await? else { return Ok(Done::Stale) };
        let mut registry = self.registry();
        if registry.function(&item.function).is_none() {
            // Archived, and started anew since the functions were read.
            self.reload_definitions().await?;
            registry = self.registry();
        }
        let Some(function) = registry.function(&item.function) else {
            let transition = plan::without_function(&run, item, &registry, self.ids(), self.ids().now());
            return self.commit_of(item, transition, stage).await;
        };
        let (dispatched, known) = (Dispatched { at: self.ids().now(), steps: run.steps.len() }, Known::default());
        let ready = self.planning(&run, item, function, &registry, dispatched, &known);
        let without_call = match &item.kind {
            JobKind::Sleep(_) => Some(plan::wake(&ready)),
            JobKind::Wait(..) => Some(plan::resolve(&ready, self.resolved(item).await?)),
            JobKind::Deadline(deadline) => Some(plan::deadline(&ready, *deadline)),
            JobKind::Cancel => Some(plan::cancel_by_job(&ready)),
            JobKind::Start | JobKind::Discovery | JobKind::Step(_) | JobKind::Gateway(_) => plan::before_call(&ready),
            JobKind::Gathered(_) => unreachable!("started with what was gathered"),
        };
        if let Some(transition) = without_call {
            return self.commit_of(item, transition, stage).await;
        }
        if let JobKind::Gateway(_) = item.kind
            && let Some(report) = self.inner.gateways.get(item.id)
        {
            return self.fetch(item, &report, dispatched, stage).await;
        }
        if let Some(transition) = plan::before_dispatch(&ready, tokens) {
            match self.commit(transition, stage.clone()).await? {
                Done::Committed(committed) => self.publish(committed).await,
                done => return Ok(done),
            }
            let Some(started) = self.run(item.id.run).await? else { return Ok(Done::Stale) };
            run = started;
        }
        let Some(outcome) = self.call(&run, item, function, &registry, dispatched.at, stage.clone()).await else {
            return Ok(Done::Abandoned);
        };
        crash::point("engine.after_reply");
        let done = self.conclude(item, dispatched, stage, |planning| plan::plan(planning, &outcome)).await?;
        let Done::Committed(committed) = done else { return Ok(done) };
        let is_tried_again = committed.jobs.iter().any(|job| job.id == item.id && job.attempt > item.attempt);
        self.inner.meters.answered(item.function, &registry, &outcome, is_tried_again);
        let Ok(response) = outcome else { return Ok(Done::Committed(committed)) };
        self.keep_ops(item, &response, &committed.jobs).await;
        Ok(match response.overload() {
            Some(until) => Done::Overloaded(committed, until),
            None => Done::Answered(committed),
        })
    }

    /// Keeps what the requests need that an answer asks for, before the queue hears of their jobs.
    async fn keep_ops(&self, item: &QueueItem, response: &SdkResponse, jobs: &[QueueItem]) {
        let kept = self.inner.gateways.keep(response, jobs);
        // Whoever ended the run since the commit may have come too early to forget them.
        if !kept.is_empty() && matches!(self.run(item.id.run).await, Ok(None)) {
            self.inner.gateways.forget(&kept);
        }
    }

    /// Makes the request of a step in place of the app.
    async fn fetch(
        &self,
        item: &QueueItem,
        report: &OpReport,
        dispatched: Dispatched,
        mut stage: watch::Receiver<Stage>,
    ) -> Result<Done, StoreError> {
        let fetched = match gateway::request(report) {
            Ok(request) => {
                let mut exchange = Exchange::of(report, &request);
                let outcome = tokio::select! {
                    biased;
                    outcome = self.inner.parts.fetcher.fetch(request) => outcome,
                    _ = stage.wait_for(|stage| *stage == Stage::Abandoned) => return Ok(Done::Abandoned),
                };
                exchange.replied(&outcome);
                let result = gateway::result(report, outcome, self.limits(item.function).step_output_bytes);
                Fetched { result, exchange }
            }
            Err(problem) => Fetched { result: Err(problem), exchange: Exchange::default() },
        };
        self.conclude(item, dispatched, stage, |planning| plan::fetched(planning, report, fetched.clone())).await
    }

    /// Commits what follows from an answer, planned with what the store says.
    async fn conclude(
        &self,
        item: &QueueItem,
        dispatched: Dispatched,
        stage: watch::Receiver<Stage>,
        plan: impl Fn(&Planning<'_>) -> Transition,
    ) -> Result<Done, StoreError> {
        let mut known = Known::default();
        loop {
            // Siblings may have recorded steps meanwhile.
            let run = match self.run_however_long(item.id.run, stage.clone()).await {
                Ok(Some(run)) => run,
                Ok(None) => return Ok(Done::Stale),
                Err(Abandoned) => return Ok(Done::Abandoned),
            };
            let registry = self.registry();
            let Some(function) = registry.function(&item.function) else { return Ok(Done::Stale) };
            let transition = plan(&self.planning(&run, item, function, &registry, dispatched, &known));
            match self.commit_of(item, transition, stage.clone()).await? {
                Done::Rejected(rejected) if known.learn(&rejected) => {}
                done => return Ok(done),
            }
        }
    }

    /// What a step waited for.
    async fn resolved(&self, item: &QueueItem) -> Result<Resolved, StoreError> {
        let Some(resolution) = item.resolution.as_deref() else { return Ok(Resolved::TimedOut) };
        Ok(match resolution {
            Resolution::Value(value) => Resolved::Value(value.clone()),
            Resolution::Event(id) => match self.history().event(*id).await? {
                Some(record) => Resolved::Event(record.body),
                None => Resolved::TimedOut,
            },
            Resolution::Run(id) => match self.history().run_record(*id).await? {
                Some(run) => Resolved::Run { id: run.id, status: run.status, output: run.output, error: run.error },
                None => Resolved::TimedOut,
            },
        })
    }

    pub(super) fn planning<'a>(
        &'a self,
        run: &'a RunState,
        item: &'a QueueItem,
        function: &'a Arc<Function>,
        registry: &'a Registry,
        dispatched: Dispatched,
        known: &'a Known,
    ) -> Planning<'a> {
        Planning {
            run,
            item,
            function,
            registry,
            ids: self.ids(),
            now: self.ids().now(),
            dispatched_at: dispatched.at,
            dispatched_steps: dispatched.steps,
            retry_interval: self.inner.parts.options.retry_interval,
            limits: self.limits(item.function),
            expressions: &self.inner.expressions,
            known,
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
        let _in_flight = self
            .inner
            .calls
            .begin(request, Dispatch { job: item.id, generation: item.generation, attempt: item.attempt });
        let fetches = registry.app(&function.app).is_none_or(|app| request::can_fetch_state(app));
        let body_bytes_max = if fetches { self.limits(item.function).request_bytes } else { usize::MAX };
        let request = CallRequest {
            url: Arc::clone(&function.url),
            step_id: match &item.kind {
                JobKind::Step(step) => Arc::clone(&step.id.0),
                _ => Arc::clone(&function.step_id),
            },
            run: run.id,
            function: function.id,
            app: function.app,
            job: item.id,
            attempt: item.attempt,
            generation: item.generation,
            request,
            version: item.version,
            body: request::assemble(run, item, function, request, body_bytes_max),
        };
        crash::point("engine.before_call");
        self.inner.meters.call(function.id, registry, run.started_at.is_none());
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
            changes: vec![Change::StartRun { run: item.id.run, at, job: Some(item.id) }],
        };
        match self.inner.parts.store.commit(transition.into()).await {
            Ok(_) => self.changed(),
            Err(error) => tracing::debug!(run_id = %item.id.run, %error, "the run could not be marked as started yet"),
        }
    }

    /// Reads a run, again and again while the store fails: the answer of an app is kept meanwhile.
    async fn run_however_long(
        &self,
        id: RunId,
        mut stage: watch::Receiver<Stage>,
    ) -> Result<Option<Arc<RunState>>, Abandoned> {
        let mut pause = COMMIT_RETRY_MIN;
        loop {
            match self.run(id).await {
                Ok(run) => return Ok(run),
                Err(StoreError::Closed) => return Err(Abandoned),
                Err(error) => tracing::error!(run_id = %id, %error, "a run could not be read; trying again"),
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = stage.wait_for(|stage| *stage == Stage::Abandoned) => return Err(Abandoned),
            }
            pause = (pause * 2).min(COMMIT_RETRY_MAX);
        }
    }

    /// Commits what follows from a job, and may end its run.
    async fn commit_of(
        &self,
        item: &QueueItem,
        mut transition: Transition,
        stage: watch::Receiver<Stage>,
    ) -> Result<Done, StoreError> {
        self.note_calls(&mut transition);
        let transition = Arc::new(transition);
        let done = self.commit(Arc::clone(&transition), stage).await?;
        if let Done::Committed(_) = done {
            self.inner.meters.committed(item.function, &self.registry(), &transition);
        }
        Ok(done)
    }

    /// Tells the end of a run which of its calls are in flight.
    pub(super) fn note_calls(&self, transition: &mut Transition) {
        for change in &mut transition.changes {
            if let Change::FinishRun(finish) = change {
                finish.in_flight = self.inner.calls.of(finish.run);
            }
        }
    }

    /// Commits what follows from a job. While the store fails the answer of the app is kept and tried again,
    /// so that no work is repeated when the store comes back.
    pub(super) async fn commit(
        &self,
        transition: impl Into<Arc<Transition>>,
        mut stage: watch::Receiver<Stage>,
    ) -> Result<Done, StoreError> {
        let mut pause = COMMIT_RETRY_MIN;
        let transition = transition.into();
        let mut result = self.inner.parts.store.commit(Arc::clone(&transition)).await;
        loop {
            match result {
                Ok(committed) => {
                    self.changed();
                    return Ok(Done::Committed(committed));
                }
                Err(CommitError::Rejected(reason)) => {
                    tracing::debug!(%reason, "the store refused a transition");
                    return Ok(Done::Rejected(reason));
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
