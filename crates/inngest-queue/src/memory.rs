//! The in-memory index: for one process that owns its store.
//!
//! Due jobs wait in one heap a function, oldest run first; functions with due jobs take turns. Jobs for later
//! wait in one ordered set. Whoever leases waits on a signal and on the one timer of the earliest later job,
//! so an index with nothing due costs nothing. The lock guards short, synchronous work only.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap, VecDeque};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use inngest_core::{Clock, FunctionId, Millis, RunId};
use tokio::sync::Notify;

use crate::flow::Dispatch;
use crate::{Depth, Errand, Explanation, JobId, Lease, Queue, QueueItem, Settled, StartedRun, Token, Work};

/// The index of one process.
pub struct MemoryQueue {
    clock: Arc<dyn Clock>,
    inner: Mutex<Inner>,
    changed: Notify,
}

impl std::fmt::Debug for MemoryQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MemoryQueue")
    }
}

#[derive(Default)]
struct Inner {
    entries: HashMap<JobId, Entry>,
    /// Jobs that are not due yet, by time.
    later: BTreeSet<(Millis, JobId)>,
    calls: Ready,
    own: Ready,
    leased: usize,
    /// Somebody waits in `lease`.
    waiting: usize,
}

/// The due jobs of one kind of work.
#[derive(Default)]
struct Ready {
    /// Those of each function. Entries that are gone or were replaced are skipped when they come up.
    jobs: HashMap<FunctionId, BinaryHeap<Reverse<Place>>>,
    /// Functions that may have due jobs, in the order in which they take turns.
    turns: VecDeque<FunctionId>,
}

/// Where a due job stands among those of its function: by rank, then by run; with its generation.
type Place = (i64, JobId, u32);

/// What is known about one job.
enum Entry {
    /// In `later`, or once its time has come in `ready`. Due stays due, also when the clock is set back.
    Waiting { item: QueueItem, ready: bool },
    /// With a worker; a newer generation that was offered meanwhile is kept for afterwards.
    Leased { generation: u32, next: Option<QueueItem>, withdrawn: bool },
}

impl MemoryQueue {
    /// An empty index.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, inner: Mutex::default(), changed: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Queue for MemoryQueue {
    async fn configure(&self, _functions: Vec<(FunctionId, Dispatch)>) {}

    async fn restore(&self, _tokens: Vec<Token>) {}

    async fn occupy(&self, _runs: Vec<StartedRun>) {}

    async fn ended(&self, _runs: &[RunId]) {}

    async fn explain(&self, _run: RunId) -> Vec<Explanation> {
        Vec::new()
    }

    async fn offer(&self, items: Vec<QueueItem>) {
        let now = self.clock.now();
        let mut inner = self.lock();
        for item in items {
            inner.offer(item, now);
        }
        if inner.waiting > 0 {
            drop(inner);
            self.changed.notify_waiters();
        }
    }

    async fn withdraw(&self, jobs: &[JobId]) {
        let mut inner = self.lock();
        for job in jobs {
            inner.withdraw(*job);
        }
    }

    async fn lease(&self, work: Work, max: usize) -> Vec<Lease> {
        loop {
            let (leases, _) = self.lock().lease(work, max, self.clock.now());
            if !leases.is_empty() {
                return leases;
            }
            // From here on every change is heard; one that was made since the look above is seen by the next.
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            let _waiting = Waiting::begin(self);
            let (leases, next) = self.lock().lease(work, max, self.clock.now());
            if !leases.is_empty() {
                return leases;
            }
            match next {
                Some(due) => {
                    let pause = due.since(self.clock.now());
                    tokio::select! {
                        () = changed => {}
                        () = tokio::time::sleep(pause) => {}
                    }
                }
                None => changed.await,
            }
        }
    }

    async fn settle(&self, lease: Lease, outcome: Settled) {
        let now = self.clock.now();
        let mut inner = self.lock();
        let runs_again = inner.settle(lease, outcome, now);
        if runs_again && inner.waiting > 0 {
            drop(inner);
            self.changed.notify_waiters();
        }
    }

    async fn depth(&self) -> Depth {
        let inner = self.lock();
        Depth { waiting: inner.entries.len() - inner.leased, leased: inner.leased }
    }
}

/// Counts one caller that waits, also when it is dropped while it waits.
struct Waiting<'q>(&'q MemoryQueue);

impl<'q> Waiting<'q> {
    fn begin(queue: &'q MemoryQueue) -> Self {
        queue.lock().waiting += 1;
        Self(queue)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.lock().waiting -= 1;
    }
}

impl Inner {
    fn offer(&mut self, item: QueueItem, now: Millis) {
        match self.entries.get_mut(&item.id) {
            None => self.add(item, now),
            Some(Entry::Waiting { item: known, .. }) if known.generation < item.generation => {
                let known = (known.due, known.id);
                self.later.remove(&known);
                self.add(item, now);
            }
            Some(Entry::Waiting { .. }) => {}
            Some(Entry::Leased { generation, next, .. }) => {
                let newest = next.as_ref().map_or(*generation, |next| next.generation);
                if item.generation > newest {
                    *next = Some(item);
                }
            }
        }
    }

    fn add(&mut self, item: QueueItem, now: Millis) {
        let ready = item.due <= now;
        if ready {
            self.make_ready(&item);
        } else {
            self.later.insert((item.due, item.id));
        }
        self.entries.insert(item.id, Entry::Waiting { item, ready });
    }

    fn make_ready(&mut self, item: &QueueItem) {
        let ready = self.ready(item.work());
        let jobs = ready.jobs.entry(item.function).or_default();
        if jobs.is_empty() {
            ready.turns.push_back(item.function);
        }
        jobs.push(Reverse((item.rank(), item.id, item.generation)));
    }

    fn ready(&mut self, work: Work) -> &mut Ready {
        match work {
            Work::Calls => &mut self.calls,
            Work::Own => &mut self.own,
        }
    }

    fn withdraw(&mut self, job: JobId) {
        match self.entries.get_mut(&job) {
            Some(Entry::Leased { next, withdrawn, .. }) => {
                *next = None;
                *withdrawn = true;
            }
            Some(Entry::Waiting { item, .. }) => {
                let at = (item.due, job);
                self.later.remove(&at);
                self.entries.remove(&job);
                self.shrink();
            }
            None => {}
        }
    }

    /// Takes up to `max` due jobs, one function after the other; and the time of the next later job.
    fn lease(&mut self, work: Work, max: usize, now: Millis) -> (Vec<Lease>, Option<Millis>) {
        self.promote(now);
        let ready = match work {
            Work::Calls => &mut self.calls,
            Work::Own => &mut self.own,
        };
        let mut leases = Vec::new();
        while leases.len() < max {
            let Some(function) = ready.turns.pop_front() else { break };
            let Some(jobs) = ready.jobs.get_mut(&function) else { continue };
            let item = Self::next_of(jobs, &self.entries).cloned();
            if jobs.is_empty() {
                ready.jobs.remove(&function);
            } else {
                ready.turns.push_back(function);
            }
            let Some(item) = item else { continue };
            let entry = Entry::Leased { generation: item.generation, next: None, withdrawn: false };
            self.entries.insert(item.id, entry);
            self.leased += 1;
            leases.push(Lease { item, errand: Errand::Work(Vec::new()) });
        }
        (leases, self.later.first().map(|(due, _)| *due))
    }

    /// The first job of a heap that still waits there. What was withdrawn or replaced since is skipped, also
    /// when it was offered anew for later.
    fn next_of<'e>(jobs: &mut BinaryHeap<Reverse<Place>>, entries: &'e HashMap<JobId, Entry>) -> Option<&'e QueueItem> {
        while let Some(Reverse((_, id, generation))) = jobs.pop() {
            if let Some(Entry::Waiting { item, ready: true }) = entries.get(&id)
                && item.generation == generation
            {
                return Some(item);
            }
        }
        None
    }

    /// Later jobs whose time has come get their place among the due ones.
    fn promote(&mut self, now: Millis) {
        while let Some((due, id)) = self.later.first().copied() {
            if due > now {
                return;
            }
            self.later.pop_first();
            if let Some(Entry::Waiting { item, ready }) = self.entries.get_mut(&id) {
                *ready = true;
                let item = item.clone();
                self.make_ready(&item);
            }
        }
    }

    /// Ends a lease; true when the job waits again, now or for later.
    fn settle(&mut self, lease: Lease, outcome: Settled, now: Millis) -> bool {
        let id = lease.item.id;
        let Some(Entry::Leased { next, withdrawn, .. }) = self.entries.remove(&id) else {
            debug_assert!(false, "{id:?} was settled without being leased");
            return false;
        };
        self.leased -= 1;
        let again = match (next, outcome) {
            (Some(next), _) => Some(next),
            (None, Settled::GivenBack) if !withdrawn => Some(lease.item),
            (None, _) => None,
        };
        let Some(item) = again else {
            self.shrink();
            return false;
        };
        self.add(item, now);
        true
    }

    /// Gives memory back after a burst.
    fn shrink(&mut self) {
        const KEEP: usize = 1_024;
        if self.entries.capacity() > KEEP && self.entries.len() < self.entries.capacity() / 8 {
            let room = (self.entries.len() * 2).max(KEEP / 2);
            self.entries.shrink_to(room);
        }
    }
}
