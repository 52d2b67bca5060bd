//! Due calls: which one is made next.
//!
//! A line is looked at when its turn comes: then its head is leased, or the line waits at the first gate that is
//! closed for it. What holds up first calls of runs only has a line of its own in each lane, so that runs that have
//! started pass those that have not.

use std::collections::BTreeSet;

use inngest_core::{FunctionId, Millis, RunId};

use super::ADVANCE_MAX;
use super::arena::{Arena, Map};
use super::functions::{Function, FunctionNo, Turns};
use super::gates::{GateNo, Gates, Next, Rule};
use super::jobs::{At, Jobs, Leased, Place, Waiting, place};
use super::lanes::{Lane, LaneNo, Side, Spot, Stand};
use crate::flow::{KeyValue, Keys};
use crate::{Errand, Lease, QueueItem};

/// The due calls, and what limits them.
#[derive(Debug, Default)]
pub(super) struct Calls {
    pub(super) numbers: Map<FunctionId, FunctionNo>,
    pub(super) functions: Arena<Function>,
    pub(super) lanes: Arena<Lane>,
    pub(super) gates: Gates,
    /// Runs that have started and not ended, of functions that limit them.
    pub(super) holders: Map<RunId, Holder>,
    pub(super) turns: Turns,
    /// What is looked at again at a time.
    pub(super) timers: BTreeSet<(Millis, Timer)>,
    /// What may be forgotten at a time: each once.
    pub(super) fading: BTreeSet<(Millis, Timer)>,
    /// How often a line was looked at.
    #[cfg(test)]
    pub(super) looks: usize,
}

/// A run that counts where runs are limited.
#[derive(Debug)]
pub(super) struct Holder {
    pub(super) function: FunctionId,
    pub(super) keys: Keys,
    pub(super) gate: GateNo,
    /// When it started, if it did so in this process.
    pub(super) since: Option<Millis>,
}

/// What has a time. What is gone by then is left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    Gate(GateNo),
    Lane(LaneNo),
}

/// Why a line must wait.
pub(super) enum Obstacle {
    /// Its lane rests until then.
    Rest(Millis),
    /// The gate of this rule is closed.
    Gate(usize),
}

impl Calls {
    pub(super) fn number(&mut self, function: FunctionId) -> FunctionNo {
        *self.numbers.entry(function).or_insert_with(|| self.functions.insert(Function::new(function)))
    }

    /// Where a due call belongs; `None` when its keys are not those that its function has.
    pub(super) fn find(&mut self, item: &QueueItem, paid: bool) -> Option<(LaneNo, Side)> {
        let number = self.number(item.function);
        let function = &self.functions[number];
        let key = function.key(&item.keys)?;
        let starts = item.starts && !paid;
        let starts = starts && function.limits_starts() && !self.holders.contains_key(&item.id.run);
        Some((self.lane(number, key), if starts { Side::Starts } else { Side::Rest }))
    }

    /// The lane of this key: a new one, if there is none.
    pub(super) fn lane(&mut self, number: FunctionNo, key: Vec<KeyValue>) -> LaneNo {
        if let Some(lane) = self.functions[number].lanes.get(key.as_slice()) {
            return *lane;
        }
        let gates = self.gates_of(number, &key);
        let key = key.into_boxed_slice();
        let lane = self.lanes.insert(Lane::new(number, key.clone(), gates));
        self.functions[number].lanes.insert(key, lane);
        lane
    }

    /// The gates that the jobs of a lane must pass, one for each rule.
    pub(super) fn gates_of(&mut self, number: FunctionNo, key: &[KeyValue]) -> Box<[GateNo]> {
        let function = &self.functions[number];
        let value = |rule: &Rule| {
            let position = rule.key().and_then(|expression| function.keys.binary_search(&expression).ok());
            position.map_or(KeyValue::NONE, |position| key[position])
        };
        let mut gates = Vec::with_capacity(function.rules.len());
        for rule in &function.rules {
            let gate = self.gates.of(rule.gate(function.id, value(rule)));
            self.gates.all[gate].lanes += 1;
            gates.push(gate);
        }
        gates.into()
    }

    /// A job was added to a line.
    pub(super) fn arrived(&mut self, lane: LaneNo, side: Side, place: Place, jobs: &Jobs, now: Millis) {
        self.lanes[lane].line_mut(side).push(place);
        self.refresh(lane, side, jobs, now);
    }

    /// A job has left a line without being leased.
    pub(super) fn left(&mut self, lane: LaneNo, side: Side, jobs: &Jobs, now: Millis) {
        self.lanes[lane].line_mut(side).left();
        self.refresh(lane, side, jobs, now);
        self.close(lane, now);
    }

    /// Puts a line where its head belongs.
    fn refresh(&mut self, lane: LaneNo, side: Side, jobs: &Jobs, now: Millis) {
        let line = self.lanes[lane].line_mut(side);
        line.tidy(jobs, At::Lane(lane, side));
        match (line.head(), line.stand) {
            (None, _) => {
                for gate in self.leave(lane, side) {
                    self.touch(gate, now);
                }
            }
            (Some(_), Stand::Idle) => self.make_ready(lane, side),
            (Some((rank, ..)), Stand::Ready | Stand::At(_)) if rank != line.spot.rank => self.replace(lane, side),
            (Some(_), Stand::Ready | Stand::At(_) | Stand::Resting) => {}
        }
    }

    /// A line with jobs that waits nowhere is looked at when its turn comes.
    pub(super) fn make_ready(&mut self, lane: LaneNo, side: Side) {
        let number = self.lanes[lane].function;
        let round = self.functions[number].round.number;
        if self.lanes[lane].tag < round {
            self.retag(lane, round);
        }
        self.lanes[lane].line_mut(side).stand = Stand::Ready;
        self.put(lane, side);
        self.list(number);
    }

    /// The function takes turns if it has something to look at.
    pub(super) fn list(&mut self, number: FunctionNo) {
        let function = &mut self.functions[number];
        if !function.listed && !function.paused() && !function.ready.is_empty() {
            function.listed = true;
            self.turns.push(function.app(), number);
        }
    }

    /// Gives a lane another tag.
    fn retag(&mut self, lane: LaneNo, tag: u64) {
        self.lanes[lane].tag = tag;
        for side in Side::BOTH {
            self.replace(lane, side);
        }
    }

    fn replace(&mut self, lane: LaneNo, side: Side) {
        if matches!(self.lanes[lane].line(side).stand, Stand::Ready | Stand::At(_)) {
            self.take_out(lane, side);
            self.put(lane, side);
        }
    }

    /// Puts a line where it stands, by its tag and its head.
    fn put(&mut self, lane: LaneNo, side: Side) {
        let Lane { function, tag, .. } = self.lanes[lane];
        let line = self.lanes[lane].line_mut(side);
        let Some((rank, ..)) = line.head() else { return };
        line.spot = Spot { tag, rank, lane, side };
        match line.stand {
            Stand::Ready => {
                self.functions[function].ready.insert(line.spot);
            }
            Stand::At(gate) => {
                let rules = self.functions[function].rules.iter();
                let rule = rules.zip(&self.lanes[lane].gates).find(|(_, passed)| **passed == gate);
                let bound = rule.expect("lines wait at gates of their lane").0.bound();
                let spot = self.lanes[lane].line(side).spot;
                self.gates.all[gate].wait(function, bound, spot);
            }
            Stand::Idle | Stand::Resting => {}
        }
    }

    fn take_out(&mut self, lane: LaneNo, side: Side) {
        let function = self.lanes[lane].function;
        let line = self.lanes[lane].line(side);
        match line.stand {
            Stand::Ready => {
                self.functions[function].ready.remove(&line.spot);
            }
            Stand::At(gate) => self.gates.all[gate].leave(function, line.spot),
            Stand::Idle | Stand::Resting => {}
        }
    }

    /// Takes a line away from where it stands. The gates that must be touched then: the one that has woken it, and the
    /// one at which others were stalled for it.
    pub(super) fn leave(&mut self, lane: LaneNo, side: Side) -> impl Iterator<Item = GateNo> + use<> {
        self.take_out(lane, side);
        let function = self.lanes[lane].function;
        let line = self.lanes[lane].line_mut(side);
        line.stand = Stand::Idle;
        let (woken_by, stands_for) = (line.woken_by.take(), line.stands_for.take());
        if let Some(gate) = woken_by {
            self.gates.all[gate].woken = None;
        }
        if let Some(gate) = stands_for {
            self.gates.all[gate].stall(function, side, false);
        }
        woken_by.into_iter().chain(stands_for)
    }

    /// Lets a gate wake the next one, if it has none and there is room; see the invariant of gates.
    pub(super) fn touch(&mut self, number: GateNo, now: Millis) {
        let Some(gate) = self.gates.all.get_mut(number) else { return };
        match gate.next(now) {
            Next::Wake(spot) => {
                let line = self.lanes[spot.lane].line_mut(spot.side);
                (line.stand, line.woken_by) = (Stand::Idle, Some(number));
                self.make_ready(spot.lane, spot.side);
            }
            Next::At(at) if gate.timer.is_none_or(|timer| at < timer) => {
                gate.timer = Some(at);
                self.timers.insert((at, Timer::Gate(number)));
            }
            Next::At(_) | Next::Nothing => {}
        }
    }

    /// What holds up the head of a line. `entitled`: whether it may go before those whom a gate has woken. A line that
    /// was woken itself may, at all its gates: if it had to wait for those that other gates have woken, and they for
    /// it, they would move from gate to gate in a circle, and none would be leased though all gates are open.
    pub(super) fn obstacle(&self, lane: LaneNo, side: Side, entitled: bool, now: Millis) -> Option<Obstacle> {
        let lane = &self.lanes[lane];
        if let Some(rest) = lane.rest.filter(|rest| rest.until > now) {
            return Some(Obstacle::Rest(rest.until));
        }
        let rules = &self.functions[lane.function].rules;
        let closed = rules.iter().zip(&lane.gates).position(|(rule, gate)| {
            let gate = &self.gates.all[*gate];
            let reserved = || !entitled && gate.woken.is_some_and(|woken| woken.function != lane.function);
            rule.concerns(side) && (gate.pass(rule.bound(), now).is_err() || reserved())
        });
        closed.map(Obstacle::Gate)
    }

    /// The next call, if one may be made.
    pub(super) fn next(&mut self, jobs: &mut Jobs, now: Millis) -> Option<Lease> {
        while let Some(number) = self.turns.current() {
            let mut lease = None;
            while lease.is_none()
                && let Some(spot) = self.functions[number].ready.first().copied()
            {
                lease = self.look(spot, jobs, now);
            }
            let more = !self.functions[number].ready.is_empty();
            self.functions[number].listed = more;
            self.turns.pass(more);
            self.forget_function(number);
            if lease.is_some() {
                return lease;
            }
        }
        None
    }

    /// Leases the head of a line, or lets it wait where it is held up.
    fn look(&mut self, Spot { lane, side, .. }: Spot, jobs: &mut Jobs, now: Millis) -> Option<Lease> {
        #[cfg(test)]
        {
            self.looks += 1;
        }
        let woken_by = self.lanes[lane].line(side).woken_by;
        let touched = self.leave(lane, side);
        let lease = match self.obstacle(lane, side, woken_by.is_some(), now) {
            None => Some(self.take(lane, side, jobs, now)),
            Some(Obstacle::Rest(until)) => {
                self.lanes[lane].line_mut(side).stand = Stand::Resting;
                self.timers.insert((until, Timer::Lane(lane)));
                None
            }
            Some(Obstacle::Gate(rule)) => {
                self.wait(lane, side, rule, woken_by);
                // Who waits for a time needs a timer.
                self.touch(self.lanes[lane].gates[rule], now);
                None
            }
        };
        for gate in touched {
            self.touch(gate, now);
        }
        if lease.is_some() {
            self.close(lane, now);
        }
        lease
    }

    /// A line waits at the gate of this rule: also for those who wait where it was woken, if they must pass here too.
    fn wait(&mut self, lane: LaneNo, side: Side, rule: usize, woken_by: Option<GateNo>) {
        let Lane { function, ref gates, .. } = self.lanes[lane];
        let rules = &self.functions[function].rules;
        let before = woken_by.filter(|gate| {
            let before = gates.iter().position(|passed| passed == gate);
            before.is_some_and(|before| Rule::stands_behind((rule, &rules[rule]), (before, &rules[before])))
        });
        let gate = gates[rule];
        let stands_for = before.filter(|gate| self.gates.all[*gate].stall(function, side, true));
        let line = self.lanes[lane].line_mut(side);
        (line.stand, line.stands_for) = (Stand::At(gate), stands_for);
        self.put(lane, side);
    }

    /// Leases the head of a line. All its gates count it.
    fn take(&mut self, lane: LaneNo, side: Side, jobs: &mut Jobs, now: Millis) -> Lease {
        let (_, id, _) = self.lanes[lane].line_mut(side).pop().expect("only lines with jobs are looked at");
        let Waiting { item, .. } = jobs.waiting.remove(&id).expect("the head of a line waits");
        let (tokens, gates) = self.pass(lane, side, &item, now);
        let function = &mut self.functions[self.lanes[lane].function];
        let tag = self.lanes[lane].tag;
        function.round.serve(tag, function.lanes.len());
        self.retag(lane, tag + 1);
        self.refresh(lane, side, jobs, now);
        let leased = Leased { item: item.clone(), since: now, gates, rekey: false, next: None, withdrawn: false };
        jobs.leased.insert(id, leased);
        Lease { item, errand: Errand::Work(tokens) }
    }

    /// What has a time by now is looked at.
    pub(super) fn advance(&mut self, now: Millis) {
        for _ in 0..ADVANCE_MAX {
            let Some((at, timer)) = self.timers.first().copied().filter(|(at, _)| *at <= now) else { break };
            self.timers.pop_first();
            match timer {
                Timer::Gate(number) => {
                    let Some(gate) = self.gates.all.get_mut(number) else { continue };
                    if gate.timer == Some(at) {
                        gate.timer = None;
                        self.touch(number, now);
                    }
                }
                Timer::Lane(lane) => {
                    for side in Side::BOTH {
                        if self.lanes.get(lane).is_some_and(|lane| lane.line(side).stand == Stand::Resting) {
                            self.make_ready(lane, side);
                        }
                    }
                }
            }
        }
        self.fade(now);
    }
}

/// The place of a waiting job and its line, when it waits among the calls.
pub(super) fn line_of(job: &Waiting) -> Option<(LaneNo, Side, Place)> {
    match job.at {
        At::Lane(lane, side) => Some((lane, side, place(&job.item))),
        At::Later | At::Own | At::Keys => None,
    }
}
