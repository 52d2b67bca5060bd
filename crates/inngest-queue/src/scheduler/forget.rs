//! What nobody needs to know of any more.

use inngest_core::Millis;

use super::ADVANCE_MAX;
use super::arena::shrink;
use super::calls::{Calls, Timer};
use super::functions::{Function, FunctionNo};
use super::gates::GateNo;
use super::lanes::{Lane, LaneNo, Rest};

impl Calls {
    /// What may be forgotten by now is; what counts for longer by now is looked at again.
    pub(super) fn fade(&mut self, now: Millis) {
        for _ in 0..ADVANCE_MAX {
            let Some((at, timer)) = self.fading.first().copied().filter(|(at, _)| *at <= now) else { break };
            self.fading.pop_first();
            match timer {
                Timer::Gate(number) => {
                    if let Some(gate) = self.gates.all.get_mut(number).filter(|gate| gate.fades == Some(at)) {
                        gate.fades = None;
                        self.retire(number, now);
                    }
                }
                Timer::Lane(number) => {
                    if let Some(lane) = self.lanes.get_mut(number).filter(|lane| lane.fades == Some(at)) {
                        lane.fades = None;
                        self.close(number, now);
                    }
                }
            }
        }
    }

    /// Forgets a lane that has no jobs, as soon as nothing of its rest needs to be known.
    pub(super) fn close(&mut self, number: LaneNo, now: Millis) {
        let Some(lane) = self.lanes.get_mut(number).filter(|lane| lane.is_empty()) else { return };
        match lane.rest.map(Rest::forgotten) {
            Some(at) if at > now => {
                if lane.fades.is_none() {
                    lane.fades = Some(at);
                    self.fading.insert((at, Timer::Lane(number)));
                }
            }
            _ if self.functions[lane.function].keeps_its_lane() => lane.rest = None,
            _ => self.forget_lane(number, now),
        }
    }

    pub(super) fn forget_lane(&mut self, number: LaneNo, now: Millis) {
        let Some(Lane { function, key, gates, .. }) = self.lanes.remove(number) else { return };
        for gate in gates {
            self.gates.all[gate].lanes -= 1;
            self.retire(gate, now);
        }
        self.functions[function].lanes.remove(&key);
        shrink(&mut self.functions[function].lanes);
        self.forget_function(function);
    }

    pub(super) fn forget_function(&mut self, number: FunctionNo) {
        if self.functions.get(number).is_some_and(Function::is_forgotten)
            && let Some(function) = self.functions.remove(number)
        {
            self.numbers.remove(&function.id);
            shrink(&mut self.numbers);
        }
    }

    /// Forgets a gate that counts nothing, now or as soon as it does.
    pub(super) fn retire(&mut self, number: GateNo, now: Millis) {
        let Some(at) = self.gates.retire(number, now) else { return };
        let gate = &mut self.gates.all[number];
        if gate.fades.is_none() {
            gate.fades = Some(at);
            self.fading.insert((at, Timer::Gate(number)));
        }
    }
}
