//! Limits that change while jobs wait and run.

use std::collections::BTreeMap;

use inngest_core::{FunctionId, Millis};

use super::calls::{Calls, Holder, line_of};
use super::gates::{GateNo, Rule};
use super::jobs::{At, Jobs};
use super::lanes::Side;
use super::{Scheduler, place_due};
use crate::flow::{Dispatch, KeyValue, Keys};
use crate::{JobId, QueueItem, StartedRun};

impl Scheduler {
    /// These are the functions, and no others have limits.
    pub(crate) fn configure(&mut self, functions: Vec<(FunctionId, Dispatch)>, now: Millis) {
        let named: BTreeMap<FunctionId, Dispatch> = functions.into_iter().collect();
        let mut others: Vec<FunctionId> =
            self.calls.numbers.keys().filter(|known| !named.contains_key(known)).copied().collect();
        others.sort_unstable();
        for function in others {
            self.change(function, None, now);
        }
        for (function, dispatch) in named {
            self.change(function, Some(dispatch), now);
        }
        self.calls.list_anew();
    }

    /// Gives a function other limits. Its lines leave where they wait and are looked at anew; only when its lanes are
    /// other ones, each of its jobs is.
    fn change(&mut self, id: FunctionId, dispatch: Option<Dispatch>, now: Millis) {
        let number = self.calls.number(id);
        if self.calls.functions[number].dispatch == dispatch {
            return;
        }
        // The turns begin anew below; until then it is not forgotten, whatever it loses.
        self.calls.functions[number].listed = true;
        let lanes: Vec<_> = self.calls.functions[number].lanes.values().copied().collect();
        let mut touched: Vec<GateNo> = Vec::new();
        for lane in &lanes {
            for side in Side::BOTH {
                touched.extend(self.calls.leave(*lane, side));
            }
        }
        for job in self.jobs.leased.values_mut().filter(|job| job.item.function == id) {
            for gate in job.gates.drain(..) {
                self.calls.gates.all[gate].release(None);
                touched.push(gate);
            }
        }
        let runs = self.calls.functions[number].runs().copied();
        let divided = self.calls.functions[number].configure(dispatch);
        let mut homeless = self.own.lacking.take(id, &self.jobs, At::Keys);
        for lane in lanes {
            if divided {
                homeless.extend(self.calls.jobs_of(lane, &self.jobs));
                self.calls.forget_lane(lane, now);
            } else {
                self.calls.reopen(lane, now);
            }
        }
        self.calls.recount_leased(id, &mut self.jobs);
        if self.calls.functions[number].runs() != runs.as_ref() {
            self.calls.recount_runs(id, &self.jobs, now);
        }
        homeless.sort_unstable();
        homeless.dedup();
        for job in homeless {
            let Some(job) = self.jobs.waiting.get_mut(&job) else { continue };
            job.at = place_due(job, &mut self.own, &mut self.calls);
            if let Some((lane, side, place)) = line_of(job) {
                self.calls.arrived(lane, side, place, &self.jobs, now);
            }
        }
        for gate in touched {
            self.calls.touch(gate, now);
            self.calls.retire(gate, now);
        }
    }

    /// These runs have started, and count where runs are limited, if their keys tell where that is.
    pub(crate) fn occupy(&mut self, runs: Vec<StartedRun>, now: Millis) {
        for StartedRun { run, function, keys } in runs {
            let Some(gate) = self.calls.gate_of_runs(function, &keys) else { continue };
            self.calls.hold(run, Holder { function, keys, gate, since: None }, now);
            // Its first call is made again, and is not the start of a run.
            let Some(job) = self.jobs.waiting.get_mut(&JobId::start(run)) else { continue };
            let Some((lane, Side::Starts, place)) = line_of(job) else { continue };
            job.at = At::Lane(lane, Side::Rest);
            self.calls.arrived(lane, Side::Rest, place, &self.jobs, now);
            self.calls.left(lane, Side::Starts, &self.jobs, now);
        }
    }
}

impl Calls {
    /// The jobs that wait in a lane.
    fn jobs_of(&self, number: u32, jobs: &Jobs) -> Vec<JobId> {
        let lane = &self.lanes[number];
        let lines = Side::BOTH.into_iter().flat_map(|side| lane.line(side).waiting(jobs, At::Lane(number, side)));
        lines.map(|(_, id, _)| id).collect()
    }

    /// The limits of a lane are other ones, its jobs are the same.
    fn reopen(&mut self, number: u32, now: Millis) {
        let (function, key) = (self.lanes[number].function, self.lanes[number].key.clone());
        let gates = self.gates_of(function, &key);
        for gate in std::mem::replace(&mut self.lanes[number].gates, gates) {
            self.gates.all[gate].lanes -= 1;
            self.retire(gate, now);
        }
        if !self.functions[function].adaptive() {
            self.lanes[number].rest = None;
        }
        for side in Side::BOTH {
            if self.lanes[number].line(side).len() > 0 {
                self.make_ready(number, side);
            }
        }
        self.close(number, now);
    }

    /// Calls in flight count where the function counts them now, if their keys tell where that is.
    fn recount_leased(&mut self, id: FunctionId, jobs: &mut Jobs) {
        let function = &self.functions[self.numbers[&id]];
        let steps: Vec<Rule> = function.rules.iter().filter(|rule| matches!(rule, Rule::Steps(_))).copied().collect();
        let calls = jobs.leased.values_mut().filter(|job| job.item.function == id && job.is_call());
        for job in calls {
            for rule in &steps {
                let Some(value) = value_of(rule, &job.item.keys) else { continue };
                let gate = self.gates.of(rule.gate(id, value));
                self.gates.all[gate].count += 1;
                job.gates.push(gate);
            }
        }
    }

    /// Runs count where the function counts them now, also those of calls in flight. Those whose keys do not tell where
    /// that is count no longer.
    fn recount_runs(&mut self, id: FunctionId, jobs: &Jobs, now: Millis) {
        let runs: Vec<_> =
            self.holders.iter().filter(|(_, holder)| holder.function == id).map(|(run, _)| *run).collect();
        for run in runs {
            let keys = self.holders[&run].keys.clone();
            match self.gate_of_runs(id, &keys) {
                Some(gate) => self.hold(run, Holder { function: id, keys, gate, since: None }, now),
                None => self.end(run, now),
            }
        }
        let calls = jobs.leased.values().filter(|job| job.item.function == id && job.is_call() && !job.withdrawn);
        for job in calls {
            let QueueItem { id: JobId { run, .. }, ref keys, .. } = job.item;
            if let Some(gate) = self.gate_of_runs(id, keys) {
                self.hold(run, Holder { function: id, keys: keys.clone(), gate, since: None }, now);
            }
        }
    }

    /// The gate that counts a run with these keys.
    fn gate_of_runs(&mut self, id: FunctionId, keys: &Keys) -> Option<GateNo> {
        let rule = self.functions[*self.numbers.get(&id)?].runs()?;
        let value = value_of(rule, keys)?;
        Some(self.gates.of(rule.gate(id, value)))
    }

    /// The turns begin anew.
    fn list_anew(&mut self) {
        self.turns.clear();
        let numbers: Vec<_> = self.functions.iter().map(|(number, _)| number).collect();
        for number in numbers {
            self.functions[number].listed = false;
            self.list(number);
            self.forget_function(number);
        }
    }
}

/// The value of the key of a rule.
fn value_of(rule: &Rule, keys: &Keys) -> Option<KeyValue> {
    rule.key().map_or(Some(KeyValue::NONE), |expression| keys.get(expression))
}
