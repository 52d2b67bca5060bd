//! What gates and rests count: calls, runs, starts and answers.

use inngest_core::{Millis, RunId};

use super::arena::shrink;
use super::calls::{Calls, Holder};
use super::gates::{GateKey, GateNo, Rule};
use super::lanes::{Lane, LaneNo, Rest, Side};
use crate::{QueueItem, Settled, Token};

impl Calls {
    /// Counts a call at the gates of its lane: what must be stored of it, and the gates that count it until its end.
    pub(super) fn pass(
        &mut self,
        lane: LaneNo,
        side: Side,
        item: &QueueItem,
        now: Millis,
    ) -> (Vec<Token>, Vec<GateNo>) {
        let Lane { function, ref gates, .. } = self.lanes[lane];
        let (mut tokens, mut counted, mut runs) = (Vec::new(), Vec::new(), None);
        for (rule, number) in self.functions[function].rules.iter().zip(gates) {
            let gate = &mut self.gates.all[*number];
            match (rule, gate.key) {
                (Rule::Throttle(_), GateKey::Rate(bucket, key)) => {
                    if side == Side::Starts {
                        gate.take(function, rule.bound(), now);
                    }
                    if item.starts {
                        tokens.push(Token { bucket, key, tat: gate.tat });
                    }
                }
                (Rule::Runs(_), _) => runs = Some(*number),
                (Rule::Steps(_) | Rule::Throttle(_), _) => {
                    gate.take(function, rule.bound(), now);
                    counted.push(*number);
                }
            }
        }
        if let Some(gate) = runs {
            let holder = Holder { function: item.function, keys: item.keys.clone(), gate, since: Some(now) };
            self.hold(item.id.run, holder, now);
        }
        (tokens, counted)
    }

    /// A run counts where runs are limited, whatever the limit is.
    pub(super) fn hold(&mut self, run: RunId, holder: Holder, now: Millis) {
        match self.holders.get_mut(&run) {
            Some(known) if known.gate == holder.gate => known.keys = holder.keys,
            _ => {
                self.gates.all[holder.gate].count += 1;
                if let Some(old) = self.holders.insert(run, holder) {
                    self.release(old.gate, None, now);
                }
            }
        }
    }

    /// A run counts no longer.
    pub(super) fn end(&mut self, run: RunId, now: Millis) {
        if let Some(Holder { gate, since, .. }) = self.holders.remove(&run) {
            self.release(gate, since, now);
            shrink(&mut self.holders);
        }
    }

    /// One that a gate counted since then has ended.
    pub(super) fn release(&mut self, number: GateNo, since: Option<Millis>, now: Millis) {
        self.gates.all[number].release(since.map(|since| now.since(since)));
        self.touch(number, now);
        self.retire(number, now);
    }

    /// The app has answered a call.
    pub(super) fn answered(&mut self, item: &QueueItem, outcome: Settled, now: Millis) {
        let Some(number) = self.numbers.get(&item.function).copied() else { return };
        let function = &self.functions[number];
        if !function.adaptive() {
            return;
        }
        let Some(key) = function.key(&item.keys) else { return };
        match outcome {
            Settled::GivenBack | Settled::Done => {}
            Settled::Answered => {
                let Some(lane) = function.lanes.get(key.as_slice()).copied() else { return };
                self.lanes[lane].rest = self.lanes[lane].rest.and_then(|rest| rest.answered(now));
                self.close(lane, now);
            }
            Settled::Overloaded(until) => {
                let lane = self.lane(number, key);
                self.lanes[lane].rest = Some(Rest::after(self.lanes[lane].rest, until, now));
                self.close(lane, now);
            }
        }
    }

    /// What throttles count.
    pub(super) fn restore(&mut self, token: Token, now: Millis) {
        let number = self.gates.of(GateKey::Rate(token.bucket, token.key));
        let gate = &mut self.gates.all[number];
        gate.tat = gate.tat.max(token.tat);
        self.retire(number, now);
    }
}
