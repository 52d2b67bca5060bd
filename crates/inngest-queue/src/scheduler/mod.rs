//! Which job is worked on next: a pure structure. Time is a parameter; who waits for it is not known here.
//!
//! Jobs for later wait in one set, by time. The server's own due work has a queue for each function (`jobs`). Due
//! calls wait in lanes, one for each combination of the keys by which their function is limited (`lanes`); lanes,
//! functions and apps take turns (`functions`). What may not go on because of a limit waits at the gate of that limit
//! (`gates`), which wakes it. So nothing looks at what cannot run: each operation costs the logarithm of what waits.

mod arena;
mod calls;
mod configure;
mod counts;
mod explain;
mod forget;
mod functions;
mod gates;
mod jobs;
mod lanes;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use inngest_core::{Millis, RunId};

use crate::{Depth, Errand, JobId, Lease, QueueItem, Settled, Token, Work};
use arena::shrink;
use calls::{Calls, line_of};
use jobs::{At, Jobs, Leased, Own, Waiting, place};

/// At most so much that has come due gets its place at once: others wait for the lock meanwhile.
const ADVANCE_MAX: usize = 1_000;

/// The index over all jobs.
#[derive(Debug, Default)]
pub(crate) struct Scheduler {
    jobs: Jobs,
    /// Jobs that are not due yet.
    later: BTreeSet<(Millis, JobId)>,
    own: Own,
    calls: Calls,
}

impl Scheduler {
    /// Adds a job, or replaces it if this is a newer generation.
    pub(crate) fn offer(&mut self, item: QueueItem, now: Millis) {
        if let Some(leased) = self.jobs.leased.get_mut(&item.id) {
            let newest = leased.next.as_ref().map_or(leased.item.generation, |next| next.generation);
            if item.generation > newest {
                leased.next = Some(Box::new(item));
            }
            return;
        }
        match self.jobs.waiting.get(&item.id) {
            Some(known) if known.item.generation >= item.generation => return,
            Some(_) => drop(self.remove(item.id, now)),
            None => {}
        }
        self.add(item, false, now);
    }

    fn add(&mut self, item: QueueItem, paid: bool, now: Millis) {
        let mut job = Waiting { item, at: At::Later, paid };
        let id = job.item.id;
        if job.item.due > now {
            self.later.insert((job.item.due, id));
            self.jobs.waiting.insert(id, job);
            return;
        }
        job.at = place_due(&job, &mut self.own, &mut self.calls);
        let line = line_of(&job);
        self.jobs.waiting.insert(id, job);
        if let Some((lane, side, place)) = line {
            self.calls.arrived(lane, side, place, &self.jobs, now);
        }
    }

    /// Takes a job away that is not leased.
    fn remove(&mut self, id: JobId, now: Millis) -> Option<QueueItem> {
        let Waiting { item, at, .. } = self.jobs.waiting.remove(&id)?;
        match at {
            At::Later => {
                self.later.remove(&(item.due, id));
            }
            At::Lane(lane, side) => self.calls.left(lane, side, &self.jobs, now),
            At::Own | At::Keys => {}
        }
        Some(item)
    }

    /// Drops a job. A lease on it stays valid.
    pub(crate) fn withdraw(&mut self, id: JobId, now: Millis) {
        if let Some(leased) = self.jobs.leased.get_mut(&id) {
            (leased.next, leased.withdrawn) = (None, true);
        } else {
            self.remove(id, now);
            shrink(&mut self.jobs.waiting);
        }
    }

    /// Takes up to `max` due jobs of one kind of work.
    pub(crate) fn lease(&mut self, work: Work, max: usize, now: Millis) -> Vec<Lease> {
        self.advance(now);
        let mut leases = Vec::new();
        while leases.len() < max {
            let lease = match work {
                Work::Calls => self.calls.next(&mut self.jobs, now),
                Work::Own => self.next_own(now),
            };
            match lease {
                Some(lease) => leases.push(lease),
                None => break,
            }
        }
        leases
    }

    fn next_own(&mut self, now: Millis) -> Option<Lease> {
        let id = self.own.next(&self.jobs)?;
        let Waiting { item, at, .. } = self.jobs.waiting.remove(&id)?;
        let rekey = at == At::Keys;
        let errand = if rekey { Errand::Rekey } else { Errand::Work(Vec::new()) };
        let leased = Leased { item: item.clone(), since: now, gates: vec![], rekey, next: None, withdrawn: false };
        self.jobs.leased.insert(id, leased);
        Some(Lease { item, errand })
    }

    /// What has come due gets its place among the due jobs: a part of it, if it is much. Then [`Scheduler::next`] stays
    /// in the past.
    fn advance(&mut self, now: Millis) {
        for _ in 0..ADVANCE_MAX {
            let Some((due, id)) = self.later.first().copied().filter(|(due, _)| *due <= now) else { break };
            self.later.remove(&(due, id));
            let Some(job) = self.jobs.waiting.get_mut(&id) else { continue };
            job.at = place_due(job, &mut self.own, &mut self.calls);
            if let Some((lane, side, place)) = line_of(job) {
                self.calls.arrived(lane, side, place, &self.jobs, now);
            }
        }
        self.calls.advance(now);
    }

    /// Ends a lease.
    pub(crate) fn settle(&mut self, lease: &Lease, outcome: Settled, now: Millis) {
        let Some(leased) = self.jobs.leased.remove(&lease.item.id) else {
            debug_assert!(false, "{:?} was settled without being leased", lease.item.id);
            return;
        };
        if leased.is_call() {
            self.calls.answered(&leased.item, outcome, now);
        }
        // What comes next waits already when what the lease held is passed on.
        match leased.next {
            Some(next) => self.add(*next, false, now),
            None if outcome == Settled::GivenBack && !leased.withdrawn => self.add(leased.item, !leased.rekey, now),
            None => {}
        }
        for gate in leased.gates {
            self.calls.release(gate, Some(leased.since), now);
        }
        shrink(&mut self.jobs.waiting);
        shrink(&mut self.jobs.leased);
    }

    /// Runs that have ended hold nothing.
    pub(crate) fn ended(&mut self, runs: &[RunId], now: Millis) {
        for run in runs {
            self.calls.end(*run, now);
        }
    }

    /// What throttles count, from an earlier process.
    pub(crate) fn restore(&mut self, tokens: Vec<Token>, now: Millis) {
        for token in tokens {
            self.calls.restore(token, now);
        }
    }

    /// Whether there may be something to lease.
    pub(crate) fn has_due(&self, work: Work) -> bool {
        match work {
            Work::Calls => !self.calls.turns.is_empty(),
            Work::Own => !self.own.is_empty(),
        }
    }

    /// The earliest time at which something comes due without anybody doing anything.
    pub(crate) fn next(&self) -> Option<Millis> {
        let later = self.later.first().map(|(due, _)| *due);
        later.into_iter().chain(self.calls.timers.first().map(|(at, _)| *at)).min()
    }

    /// Jobs known and not leased, and jobs leased.
    pub(crate) fn depth(&self) -> Depth {
        Depth { waiting: self.jobs.waiting.len(), leased: self.jobs.leased.len() }
    }
}

/// Where a due job waits. A call must be added to its line then.
fn place_due(job: &Waiting, own: &mut Own, calls: &mut Calls) -> At {
    let at = match job.item.work() {
        Work::Own => At::Own,
        Work::Calls => calls.find(&job.item, job.paid).map_or(At::Keys, |(lane, side)| At::Lane(lane, side)),
    };
    match at {
        At::Own => own.due.push(job.item.function, place(&job.item)),
        At::Keys => own.lacking.push(job.item.function, place(&job.item)),
        At::Later | At::Lane(..) => {}
    }
    at
}
