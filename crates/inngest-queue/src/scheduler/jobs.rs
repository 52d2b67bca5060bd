//! The jobs that are known: each of them once.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use inngest_core::{FunctionId, Millis};

use super::arena::Map;
use super::gates::GateNo;
use super::lanes::{LaneNo, Side};
use crate::{JobId, QueueItem, Work};

/// Where a due job stands among those it is compared with: by rank, then by run; with its generation.
pub(super) type Place = (i64, JobId, u32);

/// The place of a job.
pub(super) fn place(item: &QueueItem) -> Place {
    (item.rank(), item.id, item.generation)
}

/// All jobs.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    pub(super) waiting: Map<JobId, Waiting>,
    pub(super) leased: Map<JobId, Leased>,
}

/// A job that is not worked on.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) item: QueueItem,
    pub(super) at: At,
    /// It was leased before and given back: what its throttles took for it counts for the next lease.
    pub(super) paid: bool,
}

/// Where a job waits. Due stays due, also when the clock is set back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum At {
    /// For its time.
    Later,
    /// Among the server's own work.
    Own,
    /// There too, behind it, because the keys of its run are not those that its function has now.
    Keys,
    /// Among the calls.
    Lane(LaneNo, Side),
}

/// A job that is worked on.
#[derive(Debug)]
pub(super) struct Leased {
    pub(super) item: QueueItem,
    pub(super) since: Millis,
    /// The gates that count it.
    pub(super) gates: Vec<GateNo>,
    /// Its keys are found out, nothing else.
    pub(super) rekey: bool,
    /// A newer generation that was offered meanwhile.
    pub(super) next: Option<Box<QueueItem>>,
    pub(super) withdrawn: bool,
}

impl Leased {
    /// Whether it is a call, which limits count.
    pub(super) const fn is_call(&self) -> bool {
        matches!(self.item.work(), Work::Calls) && !self.rekey
    }
}

impl Jobs {
    /// Whether the job still waits where this place of it was made.
    pub(super) fn waits_at(&self, known: Place, at: impl FnOnce(At) -> bool) -> bool {
        self.waiting.get(&known.1).is_some_and(|job| place(&job.item) == known && at(job.at))
    }
}

/// The server's own due work, which nothing limits.
#[derive(Debug, Default)]
pub(super) struct Own {
    pub(super) due: Rota,
    /// Calls that lack keys: only when nothing else is due, because there may be many of them at once.
    pub(super) lacking: Rota,
}

impl Own {
    /// The job whose turn it is.
    pub(super) fn next(&mut self, jobs: &Jobs) -> Option<JobId> {
        self.due.next(jobs, At::Own).or_else(|| self.lacking.next(jobs, At::Keys))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.due.turns.is_empty() && self.lacking.turns.is_empty()
    }
}

/// Jobs whose functions take turns.
#[derive(Debug, Default)]
pub(super) struct Rota {
    /// The jobs of each function. Places of jobs that are gone or were replaced are skipped when they come up.
    pub(super) places: Map<FunctionId, BinaryHeap<Reverse<Place>>>,
    /// Functions that may have due jobs, in the order in which they take turns.
    pub(super) turns: VecDeque<FunctionId>,
}

impl Rota {
    pub(super) fn push(&mut self, function: FunctionId, place: Place) {
        let places = self.places.entry(function).or_default();
        if places.is_empty() {
            self.turns.push_back(function);
        }
        places.push(Reverse(place));
    }

    /// Takes out the jobs of a function.
    pub(super) fn take(&mut self, function: FunctionId, jobs: &Jobs, at: At) -> Vec<JobId> {
        let Some(places) = self.places.remove(&function) else { return Vec::new() };
        self.turns.retain(|other| *other != function);
        let waits = places.into_iter().filter(|Reverse(place)| jobs.waits_at(*place, |known| known == at));
        waits.map(|Reverse((_, id, _))| id).collect()
    }

    fn next(&mut self, jobs: &Jobs, at: At) -> Option<JobId> {
        while let Some(function) = self.turns.pop_front() {
            let Some(places) = self.places.get_mut(&function) else { continue };
            let waits = |place| jobs.waits_at(place, |known| known == at);
            let next = std::iter::from_fn(|| places.pop()).find(|Reverse(place)| waits(*place));
            if places.is_empty() {
                self.places.remove(&function);
            } else {
                self.turns.push_back(function);
            }
            if let Some(Reverse((_, id, _))) = next {
                return Some(id);
            }
        }
        None
    }
}
