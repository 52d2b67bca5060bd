//! The run states that are being worked on, bounded in bytes.
//!
//! The writer applies each committed change here before it acknowledges the commit, so a hit is never older
//! than what any caller was told. A state that was read from the database is only kept when no commit
//! touched its run since the read began ([`HotRuns::insert_unless_changed`]).

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use inngest_core::event::Event;
use inngest_core::event::EventBody;
use inngest_core::{RunId, RunStatus};

use crate::{Admit, Change, Committed, RunState};

/// Slots of the change counters. Two runs may share one, which only costs a missed chance to cache.
const VERSION_SLOTS: usize = 1024;

/// A run whose first job is further away than this is not worth memory yet.
const NEAR_MS: i64 = 2_000;

pub(super) struct HotRuns {
    bytes_max: usize,
    inner: Mutex<Inner>,
    versions: Box<[AtomicU64]>,
}

#[derive(Default)]
struct Inner {
    runs: HashMap<RunId, Entry>,
    /// Insertions in order, oldest first; an entry that was used or replaced since has another tick.
    order: VecDeque<(RunId, u64)>,
    tick: u64,
    bytes: usize,
}

struct Entry {
    run: Arc<RunState>,
    bytes: usize,
    tick: u64,
    /// Used since it was put in line: gets a second round before it is dropped.
    used: bool,
}

impl HotRuns {
    pub(super) fn new(bytes_max: usize) -> Self {
        let versions = (0..VERSION_SLOTS).map(|_| AtomicU64::new(0)).collect();
        Self { bytes_max, inner: Mutex::default(), versions }
    }

    pub(super) fn get(&self, id: RunId) -> Option<Arc<RunState>> {
        let mut inner = self.lock();
        let entry = inner.runs.get_mut(&id)?;
        entry.used = true;
        Some(Arc::clone(&entry.run))
    }

    /// How often the run was changed; to be read before the database is.
    pub(super) fn version(&self, id: RunId) -> u64 {
        self.slot(id).load(Ordering::Acquire)
    }

    pub(super) fn insert_unless_changed(&self, run: &Arc<RunState>, seen: u64) {
        let mut inner = self.lock();
        // Changes are counted under the lock, so either we see the change here or it sees our entry.
        if self.version(run.id) == seen && !inner.runs.contains_key(&run.id) {
            inner.insert(Arc::clone(run), self.bytes_max);
        }
    }

    /// New runs: what the engine needs next is known already, no need to read it back.
    pub(super) fn admit(&self, event: &Event, admits: &[Admit], committed: &Committed) {
        let EventBody::Stored(body) = &event.body else { return };
        for admit in admits {
            let wanted = committed.admitted.iter().any(|(_, run)| *run == admit.run)
                && admit.job.due.0 - admit.run.timestamp().0 <= NEAR_MS;
            if !wanted {
                continue;
            }
            let run = RunState {
                id: admit.run,
                function: admit.function,
                status: RunStatus::Scheduled,
                event_ids: Arc::from([event.id]),
                event_names: Arc::from([Arc::clone(&event.name)]),
                events: Arc::from([body.clone()]),
                steps: Vec::new(),
                started_at: None,
                correlation_id: admit.correlation_id.clone(),
                defers: Vec::new(),
                input: None,
            };
            self.lock().insert(Arc::new(run), self.bytes_max);
        }
    }

    pub(super) fn apply(&self, id: RunId, change: &Change) {
        let mut inner = self.lock();
        self.slot(id).fetch_add(1, Ordering::Release);
        let Some(entry) = inner.runs.get_mut(&id) else { return };
        Arc::make_mut(&mut entry.run).apply(change);
        if let Change::RecordStep(step) = change {
            let grown = step.value.len() + step.step.id.as_str().len();
            entry.bytes += grown;
            inner.bytes += grown;
            inner.shrink(self.bytes_max);
        }
    }

    pub(super) fn remove(&self, id: RunId) {
        let mut inner = self.lock();
        self.slot(id).fetch_add(1, Ordering::Release);
        inner.remove(id);
    }

    fn slot(&self, id: RunId) -> &AtomicU64 {
        // The low bits of a ULID are random.
        &self.versions[(id.0.0 as usize) % VERSION_SLOTS]
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn insert(&mut self, run: Arc<RunState>, bytes_max: usize) {
        self.remove(run.id);
        let bytes = run.state_bytes() + 64 * run.steps.len() + 512;
        self.tick += 1;
        let (id, tick) = (run.id, self.tick);
        self.runs.insert(id, Entry { run, bytes, tick, used: false });
        self.order.push_back((id, tick));
        self.bytes += bytes;
        self.shrink(bytes_max);
    }

    fn remove(&mut self, id: RunId) {
        if let Some(entry) = self.runs.remove(&id) {
            self.bytes -= entry.bytes;
        }
        // Most runs end in the order in which they began: drop the places they leave at the front, and
        // all others once they are the majority.
        while self.order.front().is_some_and(|(id, tick)| !self.is_current(*id, *tick)) {
            self.order.pop_front();
        }
        if self.order.len() > 2 * self.runs.len() + 64 {
            let runs = &self.runs;
            self.order.retain(|(id, tick)| runs.get(id).is_some_and(|entry| entry.tick == *tick));
        }
    }

    fn is_current(&self, id: RunId, tick: u64) -> bool {
        self.runs.get(&id).is_some_and(|entry| entry.tick == tick)
    }

    fn shrink(&mut self, bytes_max: usize) {
        while self.bytes > bytes_max {
            let Some((id, tick)) = self.order.pop_front() else { return };
            let Some(entry) = self.runs.get_mut(&id).filter(|entry| entry.tick == tick) else { continue };
            if entry.used {
                entry.used = false;
                self.tick += 1;
                entry.tick = self.tick;
                self.order.push_back((id, self.tick));
            } else if let Some(entry) = self.runs.remove(&id) {
                self.bytes -= entry.bytes;
            }
        }
    }
}
