//! One step after the other.

use inngest_core::{Millis, RunStatus};
use inngest_queue::{JobId, JobKind};
use inngest_state::{Change, Requirement, StepOp};

use super::model::*;
use crate::plan;
use crate::response::{Op, OpReport};

/// Steps a, b and c inline, then the result.
fn three_steps(call: &Call) -> Answer {
    let next = ["a", "b", "c"].into_iter().find(|step| !call.has(step));
    Ok(next.map_or_else(|| returned("\"done\""), |step| ops(vec![ran(step)])))
}

#[test]
fn a_function_without_steps_ends_with_its_first_call() {
    let mut model = Model::new();
    model.drive(|_| Ok(returned(r#"{"ok":true}"#)));
    assert_eq!((model.status(), model.output(), model.calls.len()), (Some(RunStatus::Completed), r#"{"ok":true}"#, 1));
    let finish = model.finished.as_ref().unwrap();
    assert_eq!((finish.started_at, finish.ended_at, &finish.error), (Some(START), START, &None));
}

#[test]
fn the_end_of_a_simple_run_takes_no_more_changes_than_needed() {
    let model = Model::new();
    let item = model.next().unwrap();
    let transition = model.with_planning(&item, START, |planning| plan::plan(planning, &Ok(returned("1"))));
    assert_eq!(transition.require, [Requirement::Generation(item.id, 1)]);
    assert!(
        matches!(&transition.changes[..], [Change::FinishRun(_), Change::PutEvent(_, admits)] if admits.is_empty()),
        "{:?}",
        transition.changes
    );
}

#[test]
fn each_step_is_followed_by_one_discovery() {
    let mut model = Model::new();
    model.drive(three_steps);
    assert_eq!(model.calls.len(), 4);
    assert_eq!(model.output(), "\"done\"");
    let seen: Vec<_> = model.calls.iter().map(|call| (call.item.version, call.item.stack_current)).collect();
    assert_eq!(seen, [(-1, 0), (2, 1), (2, 2), (2, 3)]);
    assert!(model.calls.iter().all(|call| !call.item.plan_only && call.item.group.is_none()));
    assert_eq!(model.calls[3].value("c"), r#"{"data":"c"}"#);
    assert_eq!(model.run.started_at, Some(START));
}

#[test]
fn a_step_costs_four_changes_at_first_and_three_later() {
    let mut model = Model::new();
    let start = model.next().unwrap();
    let transition = model.with_planning(&start, START, |planning| plan::plan(planning, &Ok(ops(vec![ran("a")]))));
    assert!(matches!(
        &transition.changes[..],
        [Change::RemoveJob(_), Change::RecordStep(_), Change::PutJob(..), Change::StartRun { .. }]
    ));
    model.commit(transition).unwrap();
    let next = model.next().unwrap();
    let transition = model.with_planning(&next, START, |planning| plan::plan(planning, &Ok(ops(vec![ran("b")]))));
    assert_eq!(transition.changes.len(), 3);
}

#[test]
fn the_first_version_stays_for_the_life_of_the_run() {
    let mut model = Model::new();
    model.drive(
        |call| if call.has("a") { Ok(version(2, three_steps(call)?)) } else { Ok(version(1, three_steps(call)?)) },
    );
    let versions: Vec<_> = model.calls.iter().map(|call| call.item.version).collect();
    assert_eq!(versions, [-1, 1, 1, 1]);
}

#[test]
fn values_stand_in_the_memo_as_sdks_read_them() {
    let cases = [
        (OpReport { data: Some(json("null")), ..op(Op::StepRun, "a") }, r#"{"data":null}"#),
        (op(Op::StepRun, "a"), r#"{"data":null}"#),
        (OpReport { data: Some(json(r#"{"k":null}"#)), ..op(Op::StepRun, "a") }, r#"{"data":{"k":null}}"#),
        (OpReport { data: Some(json(r#"{"event_ids":[]}"#)), ..op(Op::Step, "a") }, r#"{"event_ids":[]}"#),
        (op(Op::Step, "a"), "null"),
        (failing(Op::Step, "a"), r#"{"error":{"message":"a broke","name":"Boom"}}"#),
        (failing(Op::StepRun, "a"), r#"{"error":{"message":"a broke","name":"Boom"}}"#),
    ];
    for (report, expected) in cases {
        let mut model = Model::new();
        model.drive(|call| Ok(if call.has("a") { returned("1") } else { ops(vec![report.clone()]) }));
        assert_eq!(model.calls[1].value("a"), expected, "{report:?}");
        assert_eq!(model.calls.len(), 2);
    }
}

#[test]
fn a_record_tells_when_the_step_ran() {
    let mut model = Model::new();
    let start = model.next().unwrap();
    let call = model.dispatch(&start);
    model.now = START.plus(std::time::Duration::from_secs(1));
    let began = (START.0 + 300) * 1_000_000;
    let measured = OpReport { timing: Some((began, 200_000_000)), input: Some(json("[1]")), ..ran("a") };
    let ahead = OpReport { timing: Some((i64::MAX, i64::MAX)), ..ran("b") };
    model.answer(&call, Ok(ops(vec![measured, ahead, ran("c")]))).unwrap();
    let spans: Vec<_> = model.records.iter().map(|r| (r.queued_at, r.started_at, r.ended_at)).collect();
    let at = |ms| Millis(START.0 + ms);
    assert_eq!(spans, [(START, at(300), at(500)), (at(1000), at(1000), at(1000)), (START, START, at(1000))]);
    assert_eq!(model.records[0].input, Some(json("[1]")));
    assert_eq!((model.records[0].op, model.records[0].attempt), (StepOp::Run, 0));
}

#[test]
fn several_results_in_one_answer_are_followed_by_one_discovery() {
    let mut model = Model::new();
    model.drive(|call| Ok(if call.has("b") { returned("1") } else { ops(vec![ran("a"), ran("b"), ran("a")]) }));
    assert_eq!(model.calls.len(), 2);
    assert_eq!(model.calls[1].item.stack_current, 2);
    assert!(!model.calls[1].item.plan_only, "no plan is open");
}

#[test]
fn an_answer_counts_once() {
    let mut model = Model::new();
    let start = model.next().unwrap();
    let call = model.dispatch(&start);
    model.answer(&call, Ok(ops(vec![ran("a")]))).unwrap();
    assert!(model.answer(&call, Ok(ops(vec![ran("a")]))).is_err());
    assert!(model.answer(&call, Ok(returned("1"))).is_err());
    assert_eq!((model.run.steps.len(), model.jobs.len()), (1, 1));
}

#[test]
fn an_answer_to_an_earlier_dispatch_is_dropped() {
    let mut model = Model::new();
    let start = model.next().unwrap();
    let call = model.dispatch(&start);
    model.jobs.get_mut(&start.id).unwrap().generation = 2;
    assert!(model.answer(&call, Ok(returned("1"))).is_err());
}

#[test]
fn run_complete_ends_the_run_with_its_data_and_keeps_the_steps_that_came_with_it() {
    let mut model = Model::new();
    let complete = OpReport { data: Some(json(r#"{"r":1}"#)), ..op(Op::RunComplete, "x") };
    model.drive(|_| Ok(ops(vec![ran("a"), complete.clone()])));
    assert_eq!((model.output(), model.records.len(), model.calls.len()), (r#"{"r":1}"#, 1, 1));
    assert_eq!(model.status(), Some(RunStatus::Completed));
}

#[test]
fn a_requested_discovery_follows_at_once() {
    let mut model = Model::new();
    model.drive(|call| {
        Ok(if call.item.kind == JobKind::Start { ops(vec![op(Op::DiscoveryRequest, "")]) } else { returned("1") })
    });
    assert_eq!(model.calls.len(), 2);
    assert_eq!(model.calls[1].at, START);
}

#[test]
fn discoveries_requested_without_progress_end() {
    let mut model = Model::with_retries(2);
    model.drive(|_| Ok(ops(vec![op(Op::DiscoveryRequest, "")])));
    assert_eq!((model.status(), model.calls.len()), (Some(RunStatus::Failed), 4));
    assert!(model.error().contains("NoProgress"));
}

#[test]
fn a_step_with_a_requested_discovery_needs_one_call() {
    let mut model = Model::new();
    model.drive(|call| {
        Ok(if call.has("a") { returned("1") } else { ops(vec![ran("a"), op(Op::DiscoveryRequest, "")]) })
    });
    assert_eq!(model.calls.len(), 2);
    assert_eq!(model.calls[1].item.id, JobId::discovery(model.run.id, &["a"]));
}
