//! Limits of a run.

use inngest_core::{RunStatus, limits};

use super::model::*;
use crate::response::OpReport;

const TOO_MANY: &str = r#"{"error":{"error":"function has too many steps","name":"InngestErrFunctionOverflowed","message":"The function run exceeded the step limit of 1000 steps."}}"#;

/// Runs this many steps, one per call, then returns.
fn steps(count: usize) -> impl FnMut(&Call) -> Answer {
    move |call| {
        let next = call.steps.len();
        Ok(if next < count { ops(vec![ran(&format!("s{next}"))]) } else { returned("1") })
    }
}

#[test]
fn a_run_may_use_all_its_steps_and_then_return() {
    let mut model = Model::new();
    model.drive(steps(limits::STEPS_PER_RUN_MAX));
    assert_eq!((model.status(), model.calls.len()), (Some(RunStatus::Completed), limits::STEPS_PER_RUN_MAX + 1));
}

#[test]
fn one_step_more_fails_the_run_before_the_next_call() {
    let mut model = Model::new();
    model.drive(steps(limits::STEPS_PER_RUN_MAX + 1));
    assert_eq!((model.status(), model.calls.len()), (Some(RunStatus::Failed), limits::STEPS_PER_RUN_MAX + 1));
    assert_eq!(model.output(), TOO_MANY);
}

#[test]
fn too_many_ops_in_one_answer_fail_the_run_at_once() {
    let mut model = Model::new();
    model.drive(|_| Ok(ops((0..=limits::OPS_PER_RESPONSE_MAX).map(|n| planned(&format!("p{n}"))).collect())));
    assert_eq!((model.status(), model.calls.len(), model.output()), (Some(RunStatus::Failed), 1, TOO_MANY));
    assert_eq!(
        model.error(),
        r#"{"error":"InngestErrFunctionOverflowed","message":"The function run exceeded the step limit of 1000 steps.","name":"InngestErrFunctionOverflowed"}"#
    );
}

#[test]
fn a_thousand_planned_steps_are_allowed() {
    let mut model = Model::new();
    let plan = || ops((0..limits::OPS_PER_RESPONSE_MAX).map(|n| planned(&format!("p{n}"))).collect());
    model.drive(|call| {
        Ok(match call.target() {
            "" if call.steps.is_empty() => plan(),
            "" => returned("1"),
            step => ops(vec![ran(step)]),
        })
    });
    assert_eq!((model.status(), model.calls.len()), (Some(RunStatus::Completed), limits::OPS_PER_RESPONSE_MAX + 2));
}

#[test]
fn more_state_than_a_run_may_have_fails_it_at_once() {
    let size = 3 * 1024 * 1024;
    let value = json(&format!("\"{}\"", "x".repeat(size)));
    let mut model = Model::new();
    model.drive(|call| {
        let report = OpReport { data: Some(value.clone()), ..ran(&format!("s{}", call.steps.len())) };
        Ok(ops(vec![report]))
    });
    let fit = limits::RUN_STATE_BYTES_MAX / size;
    assert_eq!((model.status(), model.calls.len(), model.records.len()), (Some(RunStatus::Failed), fit + 1, fit));
    let expected = r#"{"error":{"error":"InngestErrStateOverflowed: The function run exceeded the state size limit of 33554432 bytes.","name":"InngestErrStateOverflowed","message":"The function run exceeded the state size limit of 33554432 bytes."}}"#;
    assert_eq!(model.output(), expected);
}
