//! Jobs that are far away stay on disk; here they are loaded as they come near.
//!
//! Everything due within [`WINDOW`] is in the queue. The first job beyond it sets the one timer there is, so
//! an engine without such jobs sleeps for good.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use inngest_core::{Ids, Millis, RunId};
use inngest_queue::{JobId, QueueItem};
use inngest_state::StoreError;
use tokio::sync::{Notify, watch};

use super::{Engine, Parts, Stage};

/// How far ahead jobs are kept in memory.
const WINDOW: Duration = Duration::from_secs(30);

/// A far job is loaded this long before it is due: late enough to keep memory small, early enough that a
/// slow load does not delay it.
const AHEAD: Duration = Duration::from_secs(15);

/// The wall clock is looked at this often while something sleeps: it may be set, and a machine may sleep itself.
const LOOK: Duration = Duration::from_secs(60);

/// Jobs read from the store at a time.
const PAGE: usize = 1_000;

/// Larger than every job id: a position after all jobs of one time.
const LAST_ID: JobId = JobId { run: RunId::MAX, key: i64::MAX.cast_unsigned() };

/// Pause after a failed load.
const RETRY: Duration = Duration::from_secs(1);

pub(super) struct Timers {
    /// All jobs of the store that are due by then are in the queue.
    loaded_until: AtomicI64,
    /// Due time of the first job beyond, as far as known.
    next_far: AtomicI64,
    earlier: Notify,
}

impl Timers {
    pub(super) fn new(now: Millis) -> Self {
        Self { loaded_until: AtomicI64::new(now.0), next_far: AtomicI64::new(i64::MAX), earlier: Notify::new() }
    }

    /// Leaves the jobs that belong into the queue now; remembers when the first of the others must be loaded.
    pub(super) fn keep_near(&self, jobs: &mut Vec<QueueItem>, ids: &Ids) {
        let loaded_until = self.loaded_until.load(Ordering::Acquire);
        if jobs.iter().all(|job| job.due.0 <= loaded_until) {
            return;
        }
        let near = ids.now().plus(WINDOW).0.max(loaded_until);
        jobs.retain(|job| {
            let keep = job.due.0 <= near;
            if !keep && job.due.0 < self.next_far.fetch_min(job.due.0, Ordering::AcqRel) {
                self.earlier.notify_one();
            }
            keep
        });
    }
}

impl Engine {
    /// Brings what an earlier process left into the queue. Nothing is dispatched before that is done, so a
    /// job read here cannot have been finished meanwhile.
    pub(super) async fn load_pending(&self) -> Result<(), StoreError> {
        let parts = &self.inner.parts;
        self.load_limits().await?;
        let mut after = None;
        let mut count = 0;
        loop {
            let page = parts.store.jobs_ready(after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.id);
            count += page.len();
            parts.queue.offer(page).await;
        }
        count += self.load_far(Millis(i64::MIN)).await?.1;
        if count > 0 {
            tracing::info!(jobs = count, "picked up the jobs of an earlier process");
        }
        Ok(())
    }

    /// Tells the queue which limits there are, and what counts for them.
    async fn load_limits(&self) -> Result<(), StoreError> {
        let Parts { store, queue, .. } = &self.inner.parts;
        let registry = self.registry();
        queue.configure(registry.dispatch().collect()).await;
        queue.restore(store.tokens().await?).await;
        self.occupy(&registry, |_, _| true).await
    }

    /// Loads far jobs as they come near, until the engine drains.
    pub(super) async fn keep_time(self, mut stage: watch::Receiver<Stage>) {
        let timers = &self.inner.timers;
        let mut loaded = Millis(timers.loaded_until.load(Ordering::Acquire));
        loop {
            let next = Millis(timers.next_far.load(Ordering::Acquire));
            let wait = next.since(self.ids().now()).saturating_sub(AHEAD).min(LOOK);
            tokio::select! {
                () = tokio::time::sleep(wait), if next.0 < i64::MAX && wait == LOOK => {}
                () = tokio::time::sleep(wait), if next.0 < i64::MAX && wait < LOOK => match self.load_far(loaded).await {
                    Ok((until, _)) => loaded = until,
                    Err(error) => {
                        tracing::warn!(%error, "sleeping jobs could not be loaded; trying again");
                        timers.next_far.fetch_min(loaded.0, Ordering::AcqRel);
                        tokio::time::sleep(RETRY).await;
                    }
                },
                () = timers.earlier.notified() => {}
                () = async { stage.wait_for(|stage| *stage > Stage::Open).await.map(drop).unwrap_or_default() } => return,
            }
        }
    }

    /// Offers the jobs due after `from` and within the window, and finds out when the next ones come near.
    /// Returns how far the queue knows all jobs now, and how many were read.
    async fn load_far(&self, from: Millis) -> Result<(Millis, usize), StoreError> {
        let (parts, timers) = (&self.inner.parts, &self.inner.timers);
        let until = self.ids().now().plus(WINDOW);
        // From here on, committed jobs up to `until` are offered directly; those committed before are on disk
        // and are read below. Some are seen twice, which the queue ignores.
        timers.next_far.store(i64::MAX, Ordering::Release);
        timers.loaded_until.fetch_max(until.0, Ordering::AcqRel);
        let mut after = (from, LAST_ID);
        let mut count = 0;
        loop {
            let page = parts.store.jobs_due(until, Some(after), PAGE).await?;
            let Some(last) = page.last() else { break };
            after = (last.due, last.id);
            count += page.len();
            parts.queue.offer(page).await;
        }
        if let Some(next) = parts.store.next_due(until).await? {
            timers.next_far.fetch_min(next.0, Ordering::AcqRel);
        }
        Ok((until, count))
    }
}
