//! Why a job waits.

use std::time::Duration;

use inngest_core::{Millis, RunId};

use super::Scheduler;
use super::calls::Obstacle;
use super::gates::{GateKey, GateNo, Rule};
use super::jobs::{At, Place, Waiting, place};
use super::lanes::{LaneNo, Side, before};
use crate::{Cause, Explanation, JobId};

/// At most so many runs are named that hold others up.
const HOLDERS_MAX: usize = 20;
/// At most so many jobs are counted that go before another one.
const AHEAD_MAX: usize = 10_000;

impl Scheduler {
    /// What these jobs wait for, in their order.
    pub(crate) fn explain(&self, jobs: &[JobId], now: Millis) -> Vec<Explanation> {
        jobs.iter().filter_map(|job| self.explain_one(*job, now)).collect()
    }

    fn explain_one(&self, job: JobId, now: Millis) -> Option<Explanation> {
        if let Some(leased) = self.jobs.leased.get(&job) {
            let cause = if leased.rekey { Cause::Keys } else { Cause::Running };
            return Some(Explanation { item: leased.item.clone(), cause, expected: None });
        }
        let waiting = self.jobs.waiting.get(&job)?;
        let (cause, expected) = self.cause(waiting, now);
        Some(Explanation { item: waiting.item.clone(), cause, expected })
    }

    fn cause(&self, job: &Waiting, now: Millis) -> (Cause, Option<Millis>) {
        match job.at {
            At::Later => (Cause::Later, Some(job.item.due)),
            At::Keys => (Cause::Keys, None),
            At::Own => {
                let mine = place(&job.item);
                let waits = |place| self.jobs.waits_at(place, |at| at == At::Own);
                let places = self.own.due.places.get(&job.item.function);
                (Cause::Turn { ahead: places.map_or(0, |places| before(places, mine, AHEAD_MAX, waits)) }, None)
            }
            At::Lane(lane, side) => self.cause_of_call(lane, side, place(&job.item), now),
        }
    }

    fn cause_of_call(&self, number: LaneNo, side: Side, mine: Place, now: Millis) -> (Cause, Option<Millis>) {
        let lane = &self.calls.lanes[number];
        let function = &self.calls.functions[lane.function];
        if function.paused() {
            return (Cause::Paused, None);
        }
        let before = |side| lane.line(side).ahead(mine, AHEAD_MAX, &self.jobs, At::Lane(number, side));
        let ahead = || Side::BOTH.into_iter().map(before).sum::<usize>().min(AHEAD_MAX);
        let index = match self.calls.obstacle(number, side, true, now) {
            None => return (Cause::Turn { ahead: ahead() }, None),
            Some(Obstacle::Rest(until)) => return (Cause::Overload { until, ahead: ahead() }, Some(until)),
            Some(Obstacle::Gate(index)) => index,
        };
        let gate = &self.calls.gates.all[lane.gates[index]];
        let alone = !gate.has_others(number);
        let (limit, of_runs) = match function.rules[index] {
            Rule::Throttle(throttle) => {
                let next = gate.pass(function.rules[index].bound(), now).err().flatten().unwrap_or(now);
                let ahead = before(side);
                let more = u64::try_from(throttle.rate.emission()).unwrap_or(0).saturating_mul(ahead as u64);
                let cause = Cause::Throttle { bucket: throttle.bucket, next, ahead };
                return (cause, alone.then(|| next.plus(Duration::from_nanos(more))));
            }
            Rule::Steps(limit) => (limit, false),
            Rule::Runs(limit) => (limit, true),
        };
        let ahead = if of_runs { before(side) } else { ahead() };
        let holders = self.holders(lane.gates[index]);
        let expected = gate.held.filter(|_| alone).map(|held| {
            let ms = held * (ahead + 1) as f64 / f64::from(limit.limit.max(1));
            now.plus(Duration::try_from_secs_f64(ms / 1_000.0).unwrap_or_default())
        });
        (Cause::Concurrency { limit, of_runs, in_use: gate.count, holders, ahead }, expected)
    }

    /// Some of the runs that a gate counts.
    fn holders(&self, number: GateNo) -> Vec<RunId> {
        let mut holders: Vec<RunId> = match self.calls.gates.all[number].key {
            GateKey::Count { of_runs: true, .. } => {
                let held = self.calls.holders.iter().filter(|(_, holder)| holder.gate == number);
                held.map(|(run, _)| *run).take(HOLDERS_MAX).collect()
            }
            GateKey::Count { .. } | GateKey::Rate(..) => {
                let held = self.jobs.leased.values().filter(|job| job.gates.contains(&number));
                held.map(|job| job.item.id.run).collect()
            }
        };
        holders.sort_unstable();
        holders.dedup();
        holders.truncate(HOLDERS_MAX);
        holders
    }
}
