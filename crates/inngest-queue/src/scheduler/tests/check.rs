//! Everything that is counted or cached, counted anew.

use std::collections::{BTreeMap, HashMap};

use inngest_core::Millis;

use crate::scheduler::Scheduler;
use crate::scheduler::calls::Timer;
use crate::scheduler::gates::GateNo;
use crate::scheduler::jobs::{At, place};
use crate::scheduler::lanes::{Side, Spot, Stand};

impl Scheduler {
    /// Panics when something is not as it must be after each operation.
    pub(super) fn check(&self, now: Millis) {
        self.check_jobs();
        self.check_lanes();
        self.check_gates(now);
        self.check_functions();
    }

    /// True when nothing is left of anything.
    pub(super) fn is_empty(&self) -> bool {
        let calls = &self.calls;
        self.jobs.waiting.is_empty()
            && self.jobs.leased.is_empty()
            && self.later.is_empty()
            && calls.lanes.iter().next().is_none()
            && calls.gates.all.iter().next().is_none()
            && calls.gates.by_key.is_empty()
            && calls.holders.is_empty()
            && calls.turns.is_empty()
            && calls.fading.is_empty()
            && calls.functions.iter().all(|(_, function)| function.dispatch.is_some())
    }

    fn check_jobs(&self) {
        let later = self.jobs.waiting.values().filter(|job| job.at == At::Later);
        assert_eq!(later.clone().count(), self.later.len());
        assert!(later.clone().all(|job| self.later.contains(&(job.item.due, job.item.id))));
        assert!(self.jobs.leased.keys().all(|id| !self.jobs.waiting.contains_key(id)));
        for (rota, at) in [(&self.own.due, At::Own), (&self.own.lacking, At::Keys)] {
            for job in self.jobs.waiting.values().filter(|job| job.at == at) {
                let places = &rota.places[&job.item.function];
                assert!(places.iter().any(|known| known.0 == place(&job.item)));
                assert!(rota.turns.contains(&job.item.function));
            }
        }
    }

    fn check_lanes(&self) {
        let mut lines: HashMap<At, Vec<_>> = HashMap::new();
        for job in self.jobs.waiting.values() {
            lines.entry(job.at).or_default().push(place(&job.item));
        }
        for (number, lane) in self.calls.lanes.iter() {
            let function = &self.calls.functions[lane.function];
            assert_eq!(function.lanes.get(&lane.key), Some(&number));
            let stays = lane.rest.is_some() || function.keeps_its_lane();
            assert!(!lane.is_empty() || stays, "an empty lane is forgotten");
            for side in Side::BOTH {
                let line = lane.line(side);
                let at = At::Lane(number, side);
                let jobs = lines.remove(&at).unwrap_or_default();
                assert_eq!(line.len(), jobs.len());
                assert_eq!(line.head(), jobs.iter().min().copied(), "the head is the best that waits");
                let mut listed: Vec<_> = line.waiting(&self.jobs, at).collect();
                listed.sort_unstable();
                listed.dedup();
                assert_eq!(listed.len(), jobs.len());
                assert_eq!(line.stand == Stand::Idle, jobs.is_empty());
                let Some((rank, ..)) = line.head() else { continue };
                let spot = Spot { tag: lane.tag, rank, lane: number, side };
                if matches!(line.stand, Stand::Ready | Stand::At(_)) {
                    assert_eq!(line.spot, spot);
                }
                assert_eq!(function.ready.contains(&spot), line.stand == Stand::Ready);
                for (gate, known) in self.calls.gates.all.iter() {
                    let waits = known
                        .queues
                        .get(&lane.function)
                        .is_some_and(|queue| queue.lines[side as usize].contains(&spot));
                    assert_eq!(waits, line.stand == Stand::At(gate));
                }
                if line.stand == Stand::Resting {
                    let timers = self.calls.timers.iter();
                    let until = lane.rest.map(|rest| rest.until);
                    assert!(
                        timers.filter(|(_, timer)| *timer == Timer::Lane(number)).any(|(at, _)| Some(*at) <= until)
                    );
                }
            }
        }
        assert!(lines.keys().all(|at| !matches!(at, At::Lane(..))), "a job in a line that is not there");
    }

    fn check_gates(&self, now: Millis) {
        let mut counts: BTreeMap<GateNo, u32> = BTreeMap::new();
        let holders = self.calls.holders.values().map(|holder| holder.gate);
        for gate in self.jobs.leased.values().flat_map(|job| job.gates.iter().copied()).chain(holders) {
            *counts.entry(gate).or_default() += 1;
        }
        for (number, gate) in self.calls.gates.all.iter() {
            assert_eq!(self.calls.gates.by_key.get(&gate.key), Some(&number));
            assert_eq!(gate.count, counts.remove(&number).unwrap_or(0), "a count drifts");
            let lanes = self.calls.lanes.iter().filter(|(_, lane)| lane.gates.contains(&number)).count();
            assert_eq!(gate.lanes as usize, lanes);
            if gate.lanes == 0 && gate.count == 0 {
                let at = gate.forgotten().unwrap();
                assert!(self.calls.fading.iter().any(|(known, timer)| *timer == Timer::Gate(number) && *known <= at));
            }
            if let Some(woken) = gate.woken {
                let line = self.calls.lanes[woken.lane].line(woken.side);
                assert_eq!((line.stand, line.woken_by), (Stand::Ready, Some(number)));
            }
            self.check_queues(number, now);
        }
        assert!(counts.is_empty(), "something counts at a gate that is not there");
    }

    fn check_queues(&self, number: GateNo, now: Millis) {
        let gate = &self.calls.gates.all[number];
        for (function, queue) in &gate.queues {
            assert!(queue.lines.iter().any(|lines| !lines.is_empty()));
            for side in Side::BOTH {
                let lines = &queue.lines[side as usize];
                if queue.stalled[side as usize] {
                    let mut lanes = self.calls.functions[*function].lanes.values();
                    let one = lanes.any(|lane| self.calls.lanes[*lane].line(side).stands_for == Some(number));
                    assert!(one, "a stalled queue has a line that stands for it");
                } else if !lines.is_empty() {
                    match gate.pass(queue.bound, now) {
                        Ok(()) => assert!(gate.woken.is_some(), "nobody was woken at an open gate"),
                        Err(Some(at)) => assert!(
                            gate.woken.is_some() || gate.timer.is_some_and(|timer| timer <= at),
                            "nobody will wake those who wait for a time"
                        ),
                        Err(None) => {}
                    }
                }
            }
        }
        if let Some(at) = gate.timer {
            assert!(self.calls.timers.contains(&(at, Timer::Gate(number))));
        }
    }

    fn check_functions(&self) {
        assert_eq!(self.calls.numbers.len(), self.calls.functions.iter().count());
        for (number, function) in self.calls.functions.iter() {
            assert_eq!(self.calls.numbers[&function.id], number);
            assert!(function.listed || function.paused() || function.ready.is_empty());
            assert!(function.ready.iter().all(|spot| self.calls.lanes[spot.lane].function == number));
            assert!(function.dispatch.is_some() || function.listed || !function.lanes.is_empty());
        }
    }
}
