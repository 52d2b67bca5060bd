//! Gates: what counts, and who waits for it.
//!
//! A gate counts calls, runs or starts for one value of a key. Lines that it holds up wait here and nowhere else, those
//! of each function by turn; the functions take turns. When one more may pass, the gate wakes one line, which goes back
//! to its function and keeps its right at the gate until it is looked at; then the gate wakes the next one, if there is
//! still room. So at any time:
//!
//! *A gate at which a line waits that could pass it has woken a line, or the line's queue is stalled.*
//!
//! A queue of one function is stalled when the line that was woken met another closed gate, one that all lines of the
//! queue must pass as well, further on ([`Rule::stands_behind`]): that line waits there for all of them, and as soon as
//! it is looked at again, the queue is not stalled any more. Otherwise all lines of a long queue would move from gate to
//! gate and back, whenever one gate opens and the other one closes. Stalled queues wait for gates further on only, so
//! they cannot wait for each other.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use inngest_core::{FunctionId, Millis};

use super::arena::{Arena, Map, shrink};
use super::functions::FunctionNo;
use super::lanes::{LaneNo, Side, Spot};
use crate::flow::{Bucket, Concurrency, KeyExpression, KeyValue, Scope, Throttle};
use crate::gcra::Rate;

/// Names a gate.
pub(super) type GateNo = u32;

/// What a gate counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum GateKey {
    /// Starts in a time.
    Rate(Bucket, KeyValue),
    /// What goes on at a time.
    Count { of_runs: bool, scope: Scope, function: Option<FunctionId>, key: Option<KeyExpression>, value: KeyValue },
}

/// A limit of a function: for each value of its key a gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    Throttle(Throttle),
    Steps(Concurrency),
    Runs(Concurrency),
}

impl Rule {
    pub(super) const fn key(&self) -> Option<KeyExpression> {
        match self {
            Self::Throttle(throttle) => throttle.key,
            Self::Steps(limit) | Self::Runs(limit) => limit.key,
        }
    }

    /// Whether it holds up lines of this side.
    pub(super) const fn concerns(&self, side: Side) -> bool {
        matches!((self, side), (Self::Steps(_), _) | (_, Side::Starts))
    }

    pub(super) const fn bound(&self) -> Bound {
        match self {
            Self::Throttle(throttle) => Bound::Rate(throttle.rate),
            Self::Steps(limit) | Self::Runs(limit) => Bound::Count(limit.limit),
        }
    }

    pub(super) fn gate(&self, function: FunctionId, value: KeyValue) -> GateKey {
        let count = |limit: &Concurrency, of_runs| GateKey::Count {
            of_runs,
            scope: limit.scope,
            function: (limit.scope == Scope::Function).then_some(function),
            key: limit.key,
            value,
        };
        match self {
            Self::Throttle(throttle) => GateKey::Rate(throttle.bucket, value),
            Self::Steps(limit) => count(limit, false),
            Self::Runs(limit) => count(limit, true),
        }
    }

    /// Whether whoever passes the gate of the earlier rule must also pass the gate of the later one, which is further on
    /// than it: first come those with a key, in the order of the rules, then those without.
    pub(super) fn stands_behind(later: (usize, &Self), earlier: (usize, &Self)) -> bool {
        let order = |(index, rule): (usize, &Self)| (rule.key().is_none(), index);
        (later.1.key().is_none() || later.1.key() == earlier.1.key()) && order(later) > order(earlier)
    }
}

/// How much a gate lets pass, as one function declares it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bound {
    Count(u32),
    Rate(Rate),
}

impl Bound {
    /// The one of two bounds of a gate that lets pass what the other one does, and maybe more.
    fn looser(self, other: Self) -> Self {
        let room = |bound: &Self| match bound {
            Self::Count(limit) => i64::from(*limit),
            Self::Rate(rate) => rate.tolerance(),
        };
        std::cmp::max_by_key(self, other, room)
    }
}

/// The line that a gate has woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Woken {
    pub(super) function: FunctionNo,
    pub(super) lane: LaneNo,
    pub(super) side: Side,
}

/// One gate.
#[derive(Debug)]
pub(super) struct Gate {
    pub(super) key: GateKey,
    /// How many go on.
    pub(super) count: u32,
    /// The theoretical arrival time.
    pub(super) tat: i64,
    /// The lanes whose jobs must pass it.
    pub(super) lanes: u32,
    pub(super) woken: Option<Woken>,
    /// Boxed, because most gates have one, and a map has room for several.
    pub(super) queues: BTreeMap<FunctionNo, Box<Queue>>,
    /// What is closed for this bound is closed for all who wait.
    loosest: Option<Bound>,
    /// The function whose turn was last.
    last: FunctionNo,
    /// When it will be looked at again.
    pub(super) timer: Option<Millis>,
    /// When it is looked at again whether it may be forgotten.
    pub(super) fades: Option<Millis>,
    /// How long one goes on, about, in milliseconds.
    pub(super) held: Option<f64>,
    /// How many functions were looked at to find the next line.
    #[cfg(test)]
    pub(super) looks: usize,
}

/// The lines of one function that wait at a gate.
#[derive(Debug)]
pub(super) struct Queue {
    pub(super) bound: Bound,
    pub(super) lines: [BTreeSet<Spot>; 2],
    pub(super) stalled: [bool; 2],
}

impl Queue {
    /// The next line that could pass.
    fn first(&self) -> Option<Spot> {
        let lines = self.lines.iter().zip(self.stalled);
        lines.filter_map(|(lines, stalled)| lines.first().filter(|_| !stalled).copied()).min()
    }
}

/// What a gate does next.
pub(super) enum Next {
    /// This line goes back to its function: it does not wait here any more.
    Wake(Spot),
    /// One may pass at this time.
    At(Millis),
    /// It waits for one that goes on, or nobody waits.
    Nothing,
}

impl Gate {
    fn new(key: GateKey) -> Self {
        Self {
            key,
            count: 0,
            tat: 0,
            lanes: 0,
            woken: None,
            queues: BTreeMap::new(),
            loosest: None,
            last: 0,
            timer: None,
            fades: None,
            held: None,
            #[cfg(test)]
            looks: 0,
        }
    }

    /// Whether one more may pass; if not, when that is by time alone.
    pub(super) fn pass(&self, bound: Bound, now: Millis) -> Result<(), Option<Millis>> {
        match bound {
            Bound::Count(limit) => (self.count < limit.max(1)).then_some(()).ok_or(None),
            Bound::Rate(rate) => rate.take(self.tat, nanos(now)).map(drop).map_err(|at| Some(millis(at))),
        }
    }

    /// One more has passed, of this function.
    pub(super) fn take(&mut self, function: FunctionNo, bound: Bound, now: Millis) {
        self.last = function;
        match bound {
            Bound::Count(_) => self.count += 1,
            Bound::Rate(rate) => self.tat = rate.take(self.tat, nanos(now)).unwrap_or(self.tat),
        }
    }

    /// One has ended that went on for so long.
    pub(super) fn release(&mut self, held: Option<Duration>) {
        debug_assert!(self.count > 0);
        self.count = self.count.saturating_sub(1);
        if let Some(held) = held {
            let held = held.as_secs_f64() * 1_000.0;
            self.held = Some(self.held.map_or(held, |known| known + (held - known) / 8.0));
        }
    }

    pub(super) fn wait(&mut self, function: FunctionNo, bound: Bound, spot: Spot) {
        let queue = self
            .queues
            .entry(function)
            .or_insert_with(|| Box::new(Queue { bound, lines: Default::default(), stalled: [false; 2] }));
        queue.lines[spot.side as usize].insert(spot);
        self.loosen(bound);
    }

    fn loosen(&mut self, bound: Bound) {
        self.loosest = Some(self.loosest.map_or(bound, |known| known.looser(bound)));
    }

    pub(super) fn leave(&mut self, function: FunctionNo, spot: Spot) {
        let Some(queue) = self.queues.get_mut(&function) else { return };
        queue.lines[spot.side as usize].remove(&spot);
        if queue.lines.iter().all(BTreeSet::is_empty) {
            self.queues.remove(&function);
            self.loosest = self.loosest.filter(|_| !self.queues.is_empty());
        }
    }

    /// Stalls the lines of one side of a function, or ends that; whether they are stalled then: none are if none wait.
    pub(super) fn stall(&mut self, function: FunctionNo, side: Side, stalled: bool) -> bool {
        let Some(queue) = self.queues.get_mut(&function) else { return false };
        let stalled = stalled && !queue.lines[side as usize].is_empty();
        queue.stalled[side as usize] = stalled;
        let bound = queue.bound;
        self.loosen(bound);
        stalled
    }

    /// Whose turn it is of those who wait, if one may pass.
    pub(super) fn next(&mut self, now: Millis) -> Next {
        if self.woken.is_some() {
            return Next::Nothing;
        }
        let closed = |gate: &Self| match gate.loosest.map(|bound| gate.pass(bound, now)) {
            Some(Ok(())) => None,
            Some(Err(Some(at))) => Some(Next::At(at)),
            Some(Err(None)) | None => Some(Next::Nothing),
        };
        if let Some(next) = closed(self) {
            return next;
        }
        let mut loosest: Option<Bound> = None;
        let after = self.queues.range(self.last + 1..).chain(self.queues.range(..=self.last));
        for (function, queue) in after {
            #[cfg(test)]
            {
                self.looks += 1;
            }
            let Some(spot) = queue.first() else { continue };
            if self.pass(queue.bound, now).is_ok() {
                let function = *function;
                self.last = function;
                self.woken = Some(Woken { function, lane: spot.lane, side: spot.side });
                self.leave(function, spot);
                return Next::Wake(spot);
            }
            loosest = Some(loosest.map_or(queue.bound, |known| known.looser(queue.bound)));
        }
        // The loosest one has left.
        self.loosest = loosest;
        closed(self).unwrap_or(Next::Nothing)
    }

    /// Whether other lanes than this one wait here.
    pub(super) fn has_others(&self, lane: LaneNo) -> bool {
        let lines = self.queues.values().flat_map(|queue| queue.lines.iter().flatten());
        lines.map(|spot| spot.lane).chain(self.woken.map(|woken| woken.lane)).any(|other| other != lane)
    }

    /// Whether nobody needs to know of it any more; if that is only a matter of time, when.
    pub(super) fn forgotten(&self) -> Option<Millis> {
        let idle = self.lanes == 0 && self.count == 0;
        idle.then(|| millis(self.tat))
    }
}

/// All gates.
#[derive(Debug, Default)]
pub(super) struct Gates {
    pub(super) all: Arena<Gate>,
    pub(super) by_key: Map<GateKey, GateNo>,
}

impl Gates {
    /// The gate of this key: a new one, if there is none.
    pub(super) fn of(&mut self, key: GateKey) -> GateNo {
        *self.by_key.entry(key).or_insert_with(|| self.all.insert(Gate::new(key)))
    }

    /// Forgets a gate that counts nothing; when that will be, if it is only a matter of time.
    pub(super) fn retire(&mut self, gate: GateNo, now: Millis) -> Option<Millis> {
        let forgotten = self.all.get(gate)?.forgotten()?;
        if forgotten > now {
            return Some(forgotten);
        }
        if let Some(gate) = self.all.remove(gate) {
            self.by_key.remove(&gate.key);
            shrink(&mut self.by_key);
        }
        None
    }
}

/// As the algorithm counts time.
pub(super) const fn nanos(time: Millis) -> i64 {
    time.0.saturating_mul(1_000_000)
}

/// The first millisecond that is not before.
pub(super) const fn millis(nanos: i64) -> Millis {
    Millis(nanos.div_euclid(1_000_000) + (nanos.rem_euclid(1_000_000) != 0) as i64)
}
