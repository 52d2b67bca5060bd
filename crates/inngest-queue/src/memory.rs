//! The in-memory index: for one process that owns its store.
//!
//! What is decided is decided by the pure scheduler; this is the lock around it, the signal for those who wait, and
//! the one timer of the earliest time at which something changes, so that an index with nothing due costs nothing. The
//! lock guards short, synchronous work only.

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use inngest_core::{Clock, FunctionId, Millis, RunId};
use tokio::sync::Notify;

use crate::flow::Dispatch;
use crate::scheduler::Scheduler;
use crate::{Depth, Explanation, JobId, Lease, Queue, QueueItem, Settled, StartedRun, Token, Work};

/// Nobody waits for longer without a look at the clock: it may have been set, or the machine may have slept.
const LOOK: Duration = Duration::from_secs(60);

/// The index of one process.
pub struct MemoryQueue {
    clock: Arc<dyn Clock>,
    inner: Mutex<Inner>,
    changed: [Notify; 2],
}

impl std::fmt::Debug for MemoryQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MemoryQueue")
    }
}

#[derive(Default)]
struct Inner {
    scheduler: Scheduler,
    /// How many wait for each kind of work.
    waiting: [usize; 2],
}

impl MemoryQueue {
    /// An empty index.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, inner: Mutex::default(), changed: Default::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes those who wait for work that there is now, or who would wait for too long, when something changes before
    /// the time that they know of.
    fn wake(&self, inner: MutexGuard<'_, Inner>, before: Option<Millis>) {
        let Inner { scheduler, waiting } = &*inner;
        let sooner = scheduler.next().is_some_and(|next| before.is_none_or(|before| next < before));
        let wakes =
            [Work::Calls, Work::Own].map(|work| waiting[work as usize] > 0 && (sooner || scheduler.has_due(work)));
        drop(inner);
        for (changed, _) in self.changed.iter().zip(wakes).filter(|(_, wakes)| *wakes) {
            changed.notify_waiters();
        }
    }

    /// Changes something.
    fn change<T>(&self, change: impl FnOnce(&mut Scheduler, Millis) -> T) -> T {
        let now = self.clock.now();
        let mut inner = self.lock();
        let scheduler = &mut inner.scheduler;
        let before = scheduler.next();
        let result = change(scheduler, now);
        self.wake(inner, before);
        result
    }

    /// What can be leased now; and when there may be more.
    fn take(&self, work: Work, max: usize) -> (Vec<Lease>, Option<Millis>) {
        let now = self.clock.now();
        let mut inner = self.lock();
        let scheduler = &mut inner.scheduler;
        let before = scheduler.next();
        let leases = scheduler.lease(work, max, now);
        let next = scheduler.next();
        self.wake(inner, before);
        (leases, next)
    }
}

#[async_trait]
impl Queue for MemoryQueue {
    async fn configure(&self, functions: Vec<(FunctionId, Dispatch)>) {
        self.change(|scheduler, now| scheduler.configure(functions, now));
    }

    async fn restore(&self, tokens: Vec<Token>) {
        self.change(|scheduler, now| scheduler.restore(tokens, now));
    }

    async fn occupy(&self, runs: Vec<StartedRun>) {
        self.change(|scheduler, now| scheduler.occupy(runs, now));
    }

    async fn ended(&self, runs: &[RunId]) {
        self.change(|scheduler, now| scheduler.ended(runs, now));
    }

    async fn offer(&self, items: Vec<QueueItem>) {
        self.change(|scheduler, now| {
            for item in items {
                scheduler.offer(item, now);
            }
        });
    }

    async fn withdraw(&self, jobs: &[JobId]) {
        self.change(|scheduler, now| {
            for job in jobs {
                scheduler.withdraw(*job, now);
            }
        });
    }

    async fn lease(&self, work: Work, max: usize) -> Vec<Lease> {
        loop {
            let (leases, _) = self.take(work, max);
            if !leases.is_empty() {
                return leases;
            }
            // From here on every change is heard; one that was made since the look above is seen by the next.
            let mut changed = pin!(self.changed[work as usize].notified());
            changed.as_mut().enable();
            let _waiting = Waiting::begin(self, work);
            let (leases, next) = self.take(work, max);
            if !leases.is_empty() {
                return leases;
            }
            match next {
                // More has come due than was looked at.
                Some(due) if due <= self.clock.now() => tokio::task::yield_now().await,
                Some(due) => {
                    let pause = due.since(self.clock.now()).min(LOOK);
                    tokio::select! {
                        () = changed => {}
                        () = tokio::time::sleep(pause) => {}
                    }
                }
                None => changed.await,
            }
        }
    }

    async fn settle(&self, lease: Lease, outcome: Settled, next: Vec<QueueItem>) {
        self.change(|scheduler, now| {
            for item in next {
                scheduler.offer(item, now);
            }
            scheduler.settle(&lease, outcome, now);
        });
    }

    async fn depth(&self) -> Depth {
        self.lock().scheduler.depth()
    }

    async fn explain(&self, jobs: &[JobId]) -> Vec<Explanation> {
        let now = self.clock.now();
        self.lock().scheduler.explain(jobs, now)
    }
}

/// Counts one caller that waits, also when it is dropped while it waits.
struct Waiting<'q>(&'q MemoryQueue, Work);

impl<'q> Waiting<'q> {
    fn begin(queue: &'q MemoryQueue, work: Work) -> Self {
        queue.lock().waiting[work as usize] += 1;
        Self(queue, work)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.lock().waiting[self.1 as usize] -= 1;
    }
}
