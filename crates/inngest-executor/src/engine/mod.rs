//! The engine: the parts put together, and the handle that everyone else holds.
//!
//! What may happen here is a short list: an event is accepted, a job is worked on ([`work`]), a timer comes
//! near ([`timers`]), an app registers ([`definitions`]), a run is cancelled or checkpointed. Each ends in one
//! transition, and only after its commit are jobs offered to the queue.

mod calls;
mod cancellations;
mod checkpoint;
mod cron;
mod definitions;
mod flow_control;
mod gateways;
mod gathered;
mod invoke;
mod meters;
mod outside;
mod rerun;
mod spans;
mod test_mode;
mod timers;
#[cfg(test)]
mod trace_tests;
mod work;

use std::collections::HashMap;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures_util::FutureExt as _;
use inngest_core::limits::RunLimits;
use inngest_core::{Event, FunctionId, Ids, RunId};
use inngest_expr::cron::Zone;
use inngest_expr::expression::Cache;
use inngest_queue::{Queue, QueueItem, Work};
use inngest_state::{Change, CommitError, Committed, History, RunState, Store, StoreError, Transition};
use tokio::sync::{Mutex, Notify, Semaphore, watch};

use crate::driver::{Executor, Fetcher};
use crate::flow_control::document::Document;
use crate::registry::Registry;
use crate::routing;
use calls::Calls;
pub use cancellations::{CancellationError, NewCancellation};
pub use checkpoint::{CheckpointError, CheckpointSource};
pub use cron::CronCatchup;
pub use flow_control::{Explained, ExplainedJob, ExplainedKey, FlowControlError};
use gateways::Gateways;
pub use invoke::Invoked;
use meters::Meters;
pub use outside::{Cancelled, InvokeError, NoteTarget};
pub use rerun::{FromStep, RerunError, Reruns};
use timers::Timers;

/// Jobs that the server does alone, at a time: enough to fill a commit.
const OWN_WORK_MAX: usize = 256;

/// Pause after a panic in one of the engine's own loops.
const AFTER_PANIC: Duration = Duration::from_secs(1);

/// Conditions of waits that are kept compiled.
const EXPRESSIONS_MAX: usize = 4_096;

/// What the engine is made of.
pub struct Parts {
    /// The truth.
    pub store: Arc<dyn Store>,
    /// The same, for the reads of the APIs.
    pub history: Arc<dyn History>,
    /// The index over its jobs.
    pub queue: Arc<dyn Queue>,
    /// Calls apps.
    pub executor: Arc<dyn Executor>,
    /// Makes requests in place of apps.
    pub fetcher: Arc<dyn Fetcher>,
    /// Makes ids and tells the time.
    pub ids: Ids,
    /// Behaviour.
    pub options: Options,
}

/// Behaviour of the engine.
#[derive(Clone, Debug)]
pub struct Options {
    /// Calls to apps in flight at a time (`--queue-workers`); more jobs wait in the queue.
    pub workers_max: usize,
    /// A fixed wait between attempts instead of the back-off table (`--retry-interval`).
    pub retry_interval: Option<Duration>,
    /// What becomes of the times of schedules that passed while the server was down.
    pub cron_catchup: CronCatchup,
    /// Time zone of schedules that name none.
    pub zone: Zone,
    /// How much a run may be.
    pub limits: RunLimits,
    /// Flow control that functions share (`--flow-control`); `None`: whatever the API has stored.
    pub flow_control: Option<Document>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            workers_max: 100,
            retry_interval: None,
            cron_catchup: CronCatchup::default(),
            zone: Zone::utc(),
            limits: RunLimits::default(),
            flow_control: None,
        }
    }
}

/// Handle to the engine; cheap to clone.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    parts: Parts,
    registry: RwLock<Arc<Registry>>,
    /// One sync at a time: it reads what is registered and writes what follows from it.
    registering: Mutex<()>,
    /// A sync changed the functions.
    registered: Notify,
    timers: Timers,
    gateways: Gateways,
    calls: Calls,
    meters: Meters,
    /// Other limits for single functions, for tests.
    overrides: RwLock<HashMap<FunctionId, RunLimits>>,
    expressions: Cache,
    /// For calls (`workers_max`), and for the server's own work (`OWN_WORK_MAX`).
    places: Arc<Semaphore>,
    own_places: Arc<Semaphore>,
    stage: watch::Sender<Stage>,
    /// Counts commits while somebody listens.
    changes: watch::Sender<u64>,
}

/// How far the engine is on its way down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// Takes jobs.
    Open,
    /// Takes no more jobs; those in flight go on.
    Draining,
    /// Those in flight are abandoned: their jobs are in the store, for the next process.
    Abandoned,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Engine")
    }
}

impl Engine {
    /// Opens the engine on a store that no other process works on: leases of an earlier process are void,
    /// and what it left is picked up by [`Engine::run_jobs`].
    pub async fn open(parts: Parts) -> Result<Self, StoreError> {
        let now = parts.ids.now();
        parts.store.void_leases(now).await?;
        let registry = definitions::read_registry(&parts).await?;
        let inner = Inner {
            registry: RwLock::new(Arc::new(registry)),
            registering: Mutex::new(()),
            registered: Notify::new(),
            gateways: Gateways::default(),
            calls: Calls::default(),
            meters: Meters::default(),
            overrides: RwLock::default(),
            expressions: Cache::new(EXPRESSIONS_MAX),
            timers: Timers::new(now),
            places: Arc::new(Semaphore::new(parts.options.workers_max)),
            own_places: Arc::new(Semaphore::new(OWN_WORK_MAX)),
            stage: watch::Sender::new(Stage::Open),
            changes: watch::Sender::new(0),
            parts,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Works until [`Engine::shutdown`]: loads what is pending, then hands out jobs as they come due.
    pub async fn run_jobs(&self) -> Result<(), StoreError> {
        let stage = self.inner.stage.subscribe();
        self.load_pending().await?;
        let keeping_time = tokio::spawn(self.clone().supervise("timers", Self::keep_time, stage.clone()));
        let schedules = tokio::spawn(self.clone().supervise("schedules", Self::keep_schedules, stage.clone()));
        let cancellations = tokio::spawn(self.clone().continue_cancellations());
        tokio::join!(
            self.dispatch(Work::Calls, &self.inner.places, stage.clone()),
            self.dispatch(Work::Own, &self.inner.own_places, stage),
        );
        keeping_time.abort();
        schedules.abort();
        cancellations.abort();
        Ok(())
    }

    /// Runs a loop that must not end before the engine drains: a panic in it is logged, and it begins anew.
    async fn supervise<F>(self, name: &str, task: fn(Self, watch::Receiver<Stage>) -> F, stage: watch::Receiver<Stage>)
    where
        F: Future<Output = ()>,
    {
        while AssertUnwindSafe(task(self.clone(), stage.clone())).catch_unwind().await.is_err() {
            tracing::error!("the loop of the {name} panicked; it begins anew");
            tokio::time::sleep(AFTER_PANIC).await;
        }
    }

    /// Takes no more jobs, waits for those in flight at most until `deadline` has passed, and abandons the
    /// rest to the next process. Their number is returned.
    pub async fn shutdown(&self, deadline: Duration) -> usize {
        self.inner.stage.send_replace(Stage::Draining);
        let all = u32::try_from(self.inner.parts.options.workers_max).unwrap_or(u32::MAX);
        let own = u32::try_from(OWN_WORK_MAX).unwrap_or(u32::MAX);
        let idle = async { tokio::join!(self.inner.places.acquire_many(all), self.inner.own_places.acquire_many(own)) };
        if tokio::time::timeout(deadline, idle).await.is_ok() {
            return 0;
        }
        let free = self.inner.places.available_permits() + self.inner.own_places.available_permits();
        let left = self.inner.parts.options.workers_max + OWN_WORK_MAX - free;
        self.inner.stage.send_replace(Stage::Abandoned);
        left
    }

    /// Stores events and starts the runs they trigger; resolves when all of it is on disk. All or nothing.
    pub async fn accept(&self, events: Vec<Event>) -> Result<(), StoreError> {
        let registry = self.registry();
        let now = self.ids().now();
        let changes = events.into_iter().map(|event| {
            let admits = routing::admit(&registry, &event, now, self.ids());
            Change::PutEvent(Box::new(event), admits)
        });
        let transition = Transition::of(changes.collect());
        match self.inner.parts.store.commit(transition.into()).await {
            Ok(committed) => {
                self.publish(committed).await;
                Ok(())
            }
            Err(CommitError::Store(error)) => Err(error),
            Err(CommitError::Rejected(rejected)) => unreachable!("nothing was required, yet: {rejected}"),
        }
    }

    /// The apps and functions known now.
    #[must_use]
    pub fn registry(&self) -> Arc<Registry> {
        Arc::clone(&self.inner.registry.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// How much a run of this function may be.
    #[must_use]
    pub fn limits(&self, function: FunctionId) -> RunLimits {
        let overrides = self.inner.overrides.read().unwrap_or_else(PoisonError::into_inner);
        overrides.get(&function).copied().unwrap_or(self.inner.parts.options.limits)
    }

    /// Gives a function other limits until the process ends, or its usual ones back; false when it had these.
    pub fn override_limits(&self, function: FunctionId, limits: Option<RunLimits>) -> bool {
        let mut overrides = self.inner.overrides.write().unwrap_or_else(PoisonError::into_inner);
        match limits {
            Some(limits) => overrides.insert(function, limits) != Some(limits),
            None => overrides.remove(&function).is_some(),
        }
    }

    /// The limits of functions that have no others.
    #[must_use]
    pub fn usual_limits(&self) -> RunLimits {
        self.inner.parts.options.limits
    }

    /// Reads of the APIs.
    #[must_use]
    pub fn history(&self) -> &dyn History {
        &*self.inner.parts.history
    }

    /// Wakes whoever shows what the store holds, each time that something of it has changed.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.inner.changes.subscribe()
    }

    fn changed(&self) {
        if self.inner.changes.receiver_count() > 0 {
            self.inner.changes.send_modify(|count| *count = count.wrapping_add(1));
        }
    }

    /// Makes ids and tells the time.
    #[must_use]
    pub fn ids(&self) -> &Ids {
        &self.inner.parts.ids
    }

    /// Jobs that wait, for their time, however far, or for their turn; and jobs in work.
    pub async fn depth(&self) -> Result<inngest_queue::Depth, StoreError> {
        let near = self.inner.parts.queue.depth().await;
        let all = usize::try_from(self.inner.parts.store.job_count().await?).unwrap_or(usize::MAX);
        Ok(inngest_queue::Depth { waiting: all.saturating_sub(near.leased), ..near })
    }

    /// A run that has not ended.
    pub async fn run(&self, id: RunId) -> Result<Option<Arc<RunState>>, StoreError> {
        self.inner.parts.store.run(id).await
    }

    /// Tells the queue what a commit did.
    async fn publish(&self, committed: Committed) {
        let (jobs, ended) = self.take_in(committed).await;
        if !jobs.is_empty() {
            self.inner.parts.queue.offer(jobs).await;
        }
        self.release(&ended).await;
    }

    /// Forgets the jobs that a commit removed. What is left of it: the jobs to offer, and the runs that ended. Jobs
    /// that are far away stay on disk until their time comes near.
    async fn take_in(&self, committed: Committed) -> (Vec<QueueItem>, Vec<RunId>) {
        self.changed();
        let Committed { mut jobs, removed, ended, .. } = committed;
        if !jobs.is_empty() {
            self.inner.meters.scheduled(&jobs, &self.registry());
        }
        if !removed.is_empty() {
            self.inner.gateways.forget(&removed);
            self.inner.parts.queue.withdraw(&removed).await;
        }
        self.inner.timers.keep_near(&mut jobs, self.ids());
        (jobs, ended)
    }

    /// Runs that have ended count no more where runs are limited.
    async fn release(&self, ended: &[RunId]) {
        if !ended.is_empty() {
            self.inner.parts.queue.ended(ended).await;
        }
    }
}
