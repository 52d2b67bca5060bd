//! Steps recorded while a call goes on.

use inngest_core::{RunStatus, limits};
use inngest_queue::QueueItem;

use super::model::*;
use crate::plan::{self, CheckpointProblem};
use crate::response::{Op, OpReport};

impl Model {
    fn checkpoint(&mut self, call: &Call, reports: Vec<OpReport>) -> Result<(), CheckpointProblem> {
        let transition = self.with_planning(&call.item, call.at, |planning| plan::checkpoint(planning, reports))?;
        self.commit(transition).expect("the call is current");
        Ok(())
    }
}

#[test]
fn checkpointed_steps_are_recorded_and_the_job_stays_with_its_call() {
    let mut model = Model::new();
    let start = model.next().unwrap();
    let call = model.dispatch(&start);
    model.checkpoint(&call, vec![ran("a"), planned("x"), op(Op::Step, "b")]).unwrap();
    model.checkpoint(&call, vec![OpReport { data: Some(json("2")), ..ran("a") }]).unwrap();
    let kept = QueueItem { stack_current: 2, ..start };
    assert_eq!((model.run.steps.len(), model.jobs.len(), model.next()), (2, 1, Some(kept)));
    assert_eq!(&model.run.steps[0].value[..], br#"{"data":"a"}"#, "the first value stays");
    assert_eq!(model.run.started_at, None, "a checkpoint does not know when its call began");
    let complete = OpReport { data: Some(json("7")), ..op(Op::RunComplete, "x") };
    model.answer(&call, Ok(ops(vec![complete]))).unwrap();
    assert_eq!(model.output(), "7");
}

#[test]
fn attempts_start_anew_after_a_checkpoint() {
    let mut model = Model::with_retries(2);
    let app = |call: &Call| if call.item.attempt == 0 || call.has("b") { failed("no") } else { unreachable!() };
    let start = model.next().unwrap();
    let call = model.dispatch(&start);
    model.checkpoint(&call, vec![ran("a"), ran("b")]).unwrap();
    model.answer(&call, Ok(failed("crash"))).unwrap();
    let next = model.next().unwrap();
    assert_eq!((next.attempt, next.generation, next.stack_current), (0, 2, 2));
    model.drive(|call| Ok(app(call)));
    assert_eq!(model.attempts_of(""), [0, 0, 1, 2]);
    assert!(model.calls[1].has("a") && model.calls[1].has("b"));
}

#[test]
fn a_step_that_fails_after_a_checkpoint_has_used_its_first_attempt() {
    let mut model = Model::with_retries(2);
    let start = model.next().unwrap();
    let call = model.dispatch(&start);
    model.checkpoint(&call, vec![ran("a")]).unwrap();
    model.answer(&call, Ok(ops(vec![failing(Op::StepError, "b")]))).unwrap();
    assert_eq!(model.next().unwrap().attempt, 1);
}

#[test]
fn without_retries_a_checkpoint_gives_no_further_attempt() {
    let mut model = Model::with_retries(0);
    let start = model.next().unwrap();
    let call = model.dispatch(&start);
    model.checkpoint(&call, vec![ran("a")]).unwrap();
    model.answer(&call, Ok(failed("no"))).unwrap();
    assert_eq!(model.status(), Some(RunStatus::Failed));
}

#[test]
fn an_answer_that_only_repeats_its_checkpoint_goes_on() {
    for reports in [vec![ran("a")], vec![], vec![op(Op::DiscoveryRequest, "")]] {
        let mut model = Model::new();
        let start = model.next().unwrap();
        let call = model.dispatch(&start);
        model.checkpoint(&call, vec![ran("a")]).unwrap();
        model.answer(&call, Ok(ops(reports))).unwrap();
        let next = model.next().unwrap();
        assert_eq!((next.attempt, next.generation, next.due), (0, 1, START));
        model.drive(|call| Ok(if call.has("a") { returned("1") } else { failed("forgotten") }));
        assert_eq!((model.status(), model.calls.len()), (Some(RunStatus::Completed), 2));
    }
}

#[test]
fn a_plan_after_a_checkpoint_needs_no_further_discovery() {
    let mut model = Model::new();
    let start = model.next().unwrap();
    let call = model.dispatch(&start);
    model.checkpoint(&call, vec![ran("a")]).unwrap();
    model.answer(&call, Ok(ops(vec![planned("p"), planned("q")]))).unwrap();
    assert_eq!(model.jobs.len(), 2);
    assert!(model.jobs.values().all(|job| job.stack_current == 1 && job.plan_only));
}

#[test]
fn what_cannot_be_checkpointed_is_refused_as_a_whole() {
    let big = json(&format!("\"{}\"", "x".repeat(limits::STEP_OUTPUT_BYTES_MAX)));
    let bad = |text: &str| CheckpointProblem::BadOp(text.into());
    let cases = [
        (failing(Op::StepError, "x"), bad("cannot checkpoint async steps")),
        (sleeping("x", "1s"), bad("cannot checkpoint async steps")),
        (op(Op::Gateway, "x"), bad("cannot checkpoint async steps")),
        (op(Op::RunComplete, "x"), bad("cannot checkpoint opcode: RunComplete")),
        (op(Op::DiscoveryRequest, "x"), bad("cannot checkpoint opcode: DiscoveryRequest")),
        (
            OpReport { data: Some(big), ..ran("x") },
            CheckpointProblem::TooLarge("step x output too large: 4194306 bytes, at most 4194304".into()),
        ),
    ];
    for (report, expected) in cases {
        let mut model = Model::new();
        let start = model.next().unwrap();
        let call = model.dispatch(&start);
        assert_eq!(model.checkpoint(&call, vec![ran("a"), report]), Err(expected));
        assert!(model.run.steps.is_empty());
    }
}

#[test]
fn a_crash_after_a_checkpoint_leaves_all_attempts() {
    let mut model = Model::with_retries(2);
    for _ in 0..2 {
        let job = model.next().unwrap();
        let call = model.dispatch(&job);
        model.answer(&call, Ok(failed("no"))).unwrap();
    }
    let last = model.next().unwrap();
    let call = model.dispatch(&last);
    assert_eq!(call.item.attempt, 2);
    model.checkpoint(&call, vec![ran("a")]).unwrap();
    // What the next process finds in the store.
    let found = model.next().unwrap();
    assert_eq!((found.attempt, found.stack_current, found.generation), (0, 1, last.generation));
    model.checkpoint(&call, vec![ran("a")]).unwrap();
    assert_eq!(model.next(), Some(found), "a repeated checkpoint changes nothing");
}

#[test]
fn a_checkpoint_may_not_exceed_the_steps_of_a_run() {
    let mut model = Model::new();
    let start = model.next().unwrap();
    let call = model.dispatch(&start);
    let names: Vec<String> = (0..limits::STEPS_PER_RUN_MAX).map(|n| n.to_string()).collect();
    model.checkpoint(&call, names.iter().map(|name| ran(name)).collect()).unwrap();
    let message = "The function run exceeded the step limit of 1000 steps.";
    assert_eq!(model.checkpoint(&call, vec![ran("more")]), Err(CheckpointProblem::TooLarge(message.into())));
}
