//! Branches of steps in any order of answers: whatever happens first, every run ends, and never stands still
//! (the model checks the latter at each commit).

use proptest::prelude::*;

use inngest_core::RunStatus;

use super::model::*;
use crate::plan;
use crate::response::{Op, OpReport};

/// What a user's function does: branches side by side, each a chain of steps; one step after all of them.
#[derive(Clone, Debug)]
struct Script {
    version: i32,
    race: bool,
    /// For each branch the kinds of its steps.
    branches: Vec<Vec<Kind>>,
    /// Which of the things that could happen next does.
    choices: Vec<u8>,
    checkpoints: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Run,
    Sleep,
    /// Fails on its first attempt.
    Flaky,
    /// Fails for good.
    Fails,
}

fn script() -> impl Strategy<Value = Script> {
    let kind =
        prop_oneof![4 => Just(Kind::Run), 1 => Just(Kind::Sleep), 1 => Just(Kind::Flaky), 1 => Just(Kind::Fails)];
    let branches = prop::collection::vec(prop::collection::vec(kind, 1..4), 1..5);
    let choices = prop::collection::vec(any::<u8>(), 1..60);
    (0..3_i32, any::<bool>(), branches, choices, any::<bool>()).prop_map(
        |(version, race, branches, choices, checkpoints)| Script { version, race, branches, choices, checkpoints },
    )
}

impl Script {
    fn kind(&self, step: &str) -> Kind {
        let mut numbers = step[1..].split('.').map(|number| number.parse::<usize>().expect("a number"));
        match (step.as_bytes()[0], numbers.next(), numbers.next()) {
            (b's', Some(branch), Some(step)) => self.branches[branch][step],
            _ => Kind::Run,
        }
    }

    /// The steps that could run now.
    fn open(&self, call: &Call) -> Vec<String> {
        let first_open = |(branch, kinds): (usize, &Vec<Kind>)| {
            (0..kinds.len()).map(|step| format!("s{branch}.{step}")).find(|step| !call.has(step))
        };
        let open: Vec<_> = self.branches.iter().enumerate().filter_map(first_open).collect();
        let last = "z0".to_owned();
        if open.is_empty() && !call.has(&last) { vec![last] } else { open }
    }

    fn mode(&self, report: OpReport) -> OpReport {
        if self.race { racing(report) } else { report }
    }

    fn executed(&self, step: &str, call: &Call) -> OpReport {
        match self.kind(step) {
            Kind::Sleep => sleeping(step, "1s"),
            Kind::Flaky if call.item.attempt == 0 => failing(Op::StepError, step),
            Kind::Fails => failing(Op::StepFailed, step),
            Kind::Run | Kind::Flaky => ran(step),
        }
    }

    fn reported(&self, step: &str) -> OpReport {
        self.mode(if self.kind(step) == Kind::Sleep { sleeping(step, "1s") } else { planned(step) })
    }

    fn answer(&self, call: &Call) -> Answer {
        let open = self.open(call);
        let reports = match call.target() {
            "" if open.is_empty() => return Ok(returned("1")),
            "" if open.len() == 1 && !call.item.plan_only => vec![self.executed(&open[0], call)],
            "" => open.iter().map(|step| self.reported(step)).collect(),
            step => vec![self.executed(step, call)],
        };
        Ok(version(self.version, ops(reports)))
    }

    /// The step that the app executes at a call, if it executes one.
    fn executes(&self, call: &Call) -> Option<String> {
        let open = self.open(call);
        match call.target() {
            "" if open.len() == 1 && !call.item.plan_only => open.into_iter().next(),
            "" => None,
            step => Some(step.to_owned()),
        }
    }

    /// Lets jobs be dispatched and answers arrive in the order that the choices say.
    fn play(&self) -> Model {
        let mut model = Model::with_retries(3);
        let mut in_flight: Vec<Call> = Vec::new();
        let mut choices = self.choices.iter().cycle().map(|choice| usize::from(*choice));
        while model.finished.is_none() {
            let choice = choices.next().expect("a cycle has no end");
            let waiting: Vec<_> = model
                .jobs
                .values()
                .filter(|job| in_flight.iter().all(|call| call.item.id != job.id))
                .cloned()
                .collect();
            let pick = choice % (waiting.len() + in_flight.len());
            if let Some(item) = waiting.get(pick) {
                model.now = model.now.max(item.due);
                match model.without_call(item) {
                    Some(transition) => model.commit(transition).expect("the job is current"),
                    None => in_flight.push(model.dispatch(item)),
                }
            } else {
                let call = in_flight.swap_remove(pick - waiting.len());
                self.checkpoint(&mut model, &call);
                model.answer(&call, self.answer(&call)).expect("its job is current until the run ends");
            }
        }
        model
    }

    /// A call that may run steps may report one before it answers.
    fn checkpoint(&self, model: &mut Model, call: &Call) {
        let open = self.open(call);
        let may = self.checkpoints && call.target().is_empty() && !call.item.plan_only && open.len() == 1;
        if may && self.kind(&open[0]) == Kind::Run {
            let transition =
                model.with_planning(&call.item, call.at, |planning| plan::checkpoint(planning, vec![ran(&open[0])]));
            model.commit(transition.expect("a step may be checkpointed")).expect("the call is current");
        }
    }
}

proptest! {
    #[test]
    fn every_run_ends_with_all_its_steps(script in script()) {
        let model = script.play();
        prop_assert_eq!(model.status(), Some(RunStatus::Completed), "{}", model.error());
        let steps: usize = script.branches.iter().map(Vec::len).sum();
        prop_assert_eq!(model.run.steps.len(), steps + 1);
        // Each step causes at most its own call, some retries and a discovery.
        prop_assert!(model.calls.len() <= 3 + 4 * (steps + 1), "{} calls for {} steps", model.calls.len(), steps);
    }

    #[test]
    fn no_step_is_executed_twice_but_for_retries(script in script()) {
        let model = script.play();
        let executed: Vec<String> = model.calls.iter().filter_map(|call| script.executes(call)).collect();
        for record in &model.records {
            let step = record.step.id.as_str();
            let times = executed.iter().filter(|executed| *executed == step).count();
            let expected = match script.kind(step) {
                Kind::Run | Kind::Fails => 1,
                // Who finds it reports it, which starts one timer.
                Kind::Sleep => continue,
                Kind::Flaky => 2,
            };
            prop_assert_eq!(times, expected, "{}", step);
        }
    }

    #[test]
    fn no_planned_step_is_called_twice_but_for_retries(script in script()) {
        let model = script.play();
        for record in &model.records {
            let attempts = model.attempts_of(record.step.id.as_str());
            let expected: Vec<u32> = (0..u32::try_from(attempts.len()).expect("few")).collect();
            prop_assert_eq!(&attempts, &expected, "{}", record.step.id);
        }
    }
}
