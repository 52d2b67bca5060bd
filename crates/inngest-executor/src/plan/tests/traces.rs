//! What is kept for the trace of a run, besides results.

use std::sync::Arc;

use inngest_core::{Millis, Payload, RunStatus, StepId};
use inngest_queue::{QueueItem, Resolution};
use inngest_state::Change;
use inngest_state::trace::{Headers, ResponseHead, StepDetail};

use super::model::*;
use crate::driver::CallError;
use crate::plan;
use crate::response::{Op, OpReport};

fn detailed(report: &OpReport) -> Vec<(String, StepDetail)> {
    let mut model = Model::of(function("app-fn", &[("a/b", None)]), vec![function("app-other", &[])], "a/b");
    let start = model.next().unwrap();
    model.work(&start, &mut |_| Ok(ops(vec![report.clone()])));
    model.details.into_iter().map(|(step, detail)| (step.to_string(), detail)).collect()
}

fn with(opts: &str, report: OpReport) -> OpReport {
    OpReport { opts: Some(json(opts)), ..report }
}

fn only(report: &OpReport) -> StepDetail {
    let mut details = detailed(report);
    assert_eq!(details.len(), 1, "{details:?}");
    let (step, detail) = details.remove(0);
    assert_eq!(step, "s");
    detail
}

#[test]
fn steps_that_have_more_to_tell_are_noted_when_they_are_reported() {
    let hour = Millis(START.0 + 3_600_000);
    assert_eq!(only(&sleeping("s", "1h")), StepDetail::Sleep { until: hour });
    let wait = OpReport { name: Some("a/done".into()), ..op(Op::WaitForEvent, "s") };
    let event = |expression: Option<&str>| StepDetail::Event {
        name: "a/done".into(),
        expression: expression.map(Into::into),
        until: hour,
    };
    assert_eq!(only(&with(r#"{"timeout":"1h"}"#, wait.clone())), event(None));
    let condition = r#"{"if":"async.data.id == event.data.n","timeout":"1h"}"#;
    assert_eq!(only(&with(condition, wait.clone())), event(Some("async.data.id == 1")));
    // It can never hold, and only times out.
    let never = r#"{"if":"event.data.n == 2","timeout":"1h"}"#;
    assert_eq!(only(&with(never, wait)), event(Some("1 == 2")));
    let signal = with(r#"{"signal":"go","timeout":"1h"}"#, op(Op::WaitForSignal, "s"));
    assert_eq!(only(&signal), StepDetail::Signal { name: "go".into(), until: hour });
    for kind in [Op::StepRun, Op::StepPlanned, Op::StepError, Op::StepFailed, Op::Step] {
        let typed = with(r#"{"type":"step.ai.wrap"}"#, op(kind, "s"));
        assert_eq!(only(&typed), StepDetail::Run { sdk_type: "step.ai.wrap".into() });
    }
}

#[test]
fn plain_steps_leave_no_detail() {
    for report in [
        ran("s"),
        planned("s"),
        with("{}", ran("s")),
        with(r#"{"input":["\"type\":\"x\""]}"#, ran("s")),
        with(r#"{"type":1}"#, ran("s")),
        with(&format!(r#"{{"type":"{}"}}"#, "x".repeat(1_000)), ran("s")),
    ] {
        assert_eq!(detailed(&report), []);
    }
}

#[test]
fn an_invocation_tells_which_event_and_run_it_makes() {
    let invoke = |function: &str| with(&format!(r#"{{"function_id":"{function}"}}"#), op(Op::InvokeFunction, "s"));
    let mut model = Model::of(function("app-fn", &[("a/b", None)]), vec![function("app-other", &[])], "a/b");
    let start = model.next().unwrap();
    model.work(&start, &mut |_| Ok(ops(vec![invoke("app-other")])));
    let made = &model.invokes[0];
    let StepDetail::Invoke { function: slug, event, run, until } = &model.details[0].1 else { panic!() };
    assert_eq!((&**slug, *event, *run, *until), ("app-other", made.event.id, Some(made.run), model.job("s").due));
    let StepDetail::Invoke { function: slug, run, .. } = only(&invoke("app-nobody")) else { panic!() };
    assert_eq!((&*slug, run), ("app-nobody", None));
}

#[test]
fn a_request_is_shown_without_what_is_secret() {
    let request = |kind, opts: &str| detailed(&with(opts, op(kind, "s"))).pop().map(|(_, detail)| detail);
    let shown = |text: &str| Some(StepDetail::Gateway { request: json(text) });
    let ai = r#"{"auth_key":"SECRET","body":{"model":"m"},"headers":{"x":"SECRET"},"url":"http://h/?key=SECRET"}"#;
    assert_eq!(request(Op::AiGateway, ai), shown(r#"{"model":"m"}"#));
    let fetch = |body: &str| format!(r#"{{"body":{body},"url":"http://h"}}"#);
    assert_eq!(request(Op::Gateway, &fetch(r#""{\"a\": 1}""#)), shown(r#"{"a":1}"#));
    assert_eq!(request(Op::Gateway, &fetch(r#""client_secret=SECRET""#)), None);
    assert_eq!(request(Op::Gateway, r#"{"url":"http://h"}"#), None);
    let in_data =
        OpReport { data: Some(json(r#"{"model":"m"}"#)), ..with(r#"{"url":"http://h"}"#, op(Op::AiGateway, "s")) };
    assert_eq!(only(&in_data), StepDetail::Gateway { request: json(r#"{"model":"m"}"#) });
}

#[test]
fn waits_that_never_begin_leave_no_detail() {
    let mut model = Model::new();
    let complete = OpReport { data: Some(json("1")), ..op(Op::RunComplete, "x") };
    let typed = with(r#"{"type":"step.sendEvent"}"#, ran("b"));
    model.drive(|_| Ok(ops(vec![sleeping("a", "1h"), typed.clone(), complete.clone()])));
    assert_eq!(model.status(), Some(RunStatus::Completed));
    assert_eq!(model.details, [(StepId::from("b"), StepDetail::Run { sdk_type: "step.sendEvent".into() })]);
}

fn head(status: u16) -> ResponseHead {
    ResponseHead { status, headers: Arc::new(Headers { hash: 7, json: Payload::from_static(b"{\"A\":\"b\"}") }) }
}

fn from(head: &ResponseHead, answer: Answer) -> Answer {
    answer.map(|response| crate::SdkResponse { headers: Arc::clone(&head.headers), ..response })
}

#[test]
fn steps_attempts_and_the_last_call_keep_their_reply() {
    let mut model = Model::with_retries(1);
    let reply = head(0);
    model.drive(|call| {
        let answer = match (call.has("a"), call.item.attempt) {
            (false, _) => Ok(ops(vec![ran("a")])),
            (true, 0) => Ok(failed("no")),
            (true, _) => Ok(returned("1")),
        };
        from(&reply, answer)
    });
    let (step, attempt) = (&model.records[0], &model.attempts[0]);
    assert_eq!((step.response.clone(), step.job), (Some(head(206)), model.calls[0].item.id.key));
    assert_eq!((attempt.response.clone(), attempt.queued_at), (Some(head(500)), model.calls[1].item.queued_at));
    let last = model.finished.as_ref().and_then(|finish| finish.last_call.clone()).unwrap();
    let call = &model.calls[2];
    assert_eq!((last.job, last.attempt, last.response), (call.item.id, 1, Some(head(200))));
    assert_eq!((last.queued_at, last.started_at), (call.item.queued_at, call.at));
}

#[test]
fn a_call_that_brought_no_reply_may_be_the_last_one() {
    let mut model = Model::with_retries(0);
    model.drive(|_| Err(CallError::TimedOut));
    let last = model.finished.as_ref().and_then(|finish| finish.last_call.clone()).unwrap();
    assert_eq!((last.attempt, last.response), (0, None));

    let mut model = Model::with_retries(0);
    model.drive(|_| Err(CallError::Reset("eof".into(), Some(head(200)))));
    assert_eq!(model.attempts[0].response, Some(head(200)));
    assert_eq!(model.finished.unwrap().last_call.unwrap().response, Some(head(200)));
}

#[test]
fn a_run_that_ends_without_a_call_has_no_last_one() {
    let model = Model::new();
    let start = model.next().unwrap();
    let transition = model.with_planning(&start, START, plan::cancel_by_job);
    let Some(Change::FinishRun(finish)) = transition.changes.first() else { panic!("{transition:?}") };
    assert_eq!(finish.last_call, None);
    let finished = transition.changes.iter().find_map(|change| match change {
        Change::PutEvent(event, _) if &*event.name == "inngest/function.finished" => Some(event.id),
        _ => None,
    });
    assert!(finished.is_some());
    assert_eq!(finish.finished, finished);
}

#[test]
fn a_run_that_tells_nobody_of_its_end_has_no_event_of_it() {
    let mut model = Model::of(function("app-fn", &[]), Vec::new(), "inngest/function.failed");
    model.drive(|_| Ok(returned("1")));
    assert_eq!(model.finished.unwrap().finished, None);
}

#[test]
fn deferred_runs_are_told_their_event() {
    let mut model = Model::new();
    let start = model.next().unwrap();
    let call = model.dispatch(&start);
    let defer = with(r#"{"fn_slug":"app-fn","input":{}}"#, op(Op::DeferAdd, "d"));
    let complete = OpReport { data: Some(json("1")), ..op(Op::RunComplete, "x") };
    let answer = Ok(ops(vec![defer, complete]));
    let transition = model.with_planning(&call.item, call.at, |planning| plan::plan(planning, &answer));
    let made = transition.changes.iter().find_map(|change| match change {
        Change::PutEvent(event, _) if &*event.name == "inngest/deferred.schedule" => Some(event.id),
        _ => None,
    });
    let told = transition.changes.iter().find_map(|change| match change {
        Change::StartDefer(run, id, event) => Some((*run, id.to_string(), *event)),
        _ => None,
    });
    assert_eq!(told, Some((model.run.id, "d".to_owned(), made.unwrap())));
}

#[test]
fn a_wait_keeps_with_what_it_was_resolved() {
    for (resolution, kept) in
        [(None, None), (Some(Resolution::Value(json("[1]"))), Some(Resolution::Value(Payload::new())))]
    {
        let mut model = Model::new();
        let start = model.next().unwrap();
        let signal = with(r#"{"signal":"go","timeout":"1h"}"#, op(Op::WaitForSignal, "s"));
        model.work(&start, &mut |_| Ok(ops(vec![signal.clone()])));
        let job = model.job("s");
        let resolved = QueueItem { resolution: resolution.map(Arc::new), generation: job.generation + 1, ..job };
        model.jobs.insert(resolved.id, resolved.clone());
        model.work(&resolved, &mut |_| unreachable!());
        let record = &model.records[0];
        assert_eq!((record.resolution.clone(), record.job, record.response.clone()), (kept, resolved.id.key, None));
    }
}

#[test]
fn of_several_steps_of_one_call_only_the_first_has_waited_for_it() {
    let mut model = Model::new();
    let start = model.next().unwrap();
    model.now = Millis(START.0 + 100);
    let call = model.dispatch(&start);
    model.now = Millis(START.0 + 1_000);
    let at = |ms: i64| Some(((START.0 + ms) * 1_000_000, 50_000_000));
    let timed = |id, ms| OpReport { timing: at(ms), ..ran(id) };
    model.answer(&call, Ok(ops(vec![timed("a", 200), timed("b", 400)]))).unwrap();
    let times: Vec<(i64, i64)> =
        model.records.iter().map(|record| (record.queued_at.0 - START.0, record.started_at.0 - START.0)).collect();
    assert_eq!(times, [(0, 200), (400, 400)]);
}

#[test]
fn notes_about_an_attempt_name_it() {
    let mut model = Model::with_retries(3);
    let start = model.next().unwrap();
    let item = QueueItem { attempt: 2, ..start };
    let note = |scope: &str| crate::response::MetadataReport {
        scope: scope.into(),
        kind: "userland.x".into(),
        op: "set".into(),
        values: json("{}"),
    };
    model.jobs.insert(item.id, item.clone());
    let report = OpReport { metadata: vec![note("step_attempt"), note("step")], ..ran("a") };
    let answer = Ok(ops(vec![report]));
    let transition = model.with_planning(&item, START, |planning| plan::plan(planning, &answer));
    let attempts: Vec<Option<u32>> = transition
        .changes
        .iter()
        .filter_map(|change| match change {
            Change::PutMetadata(note) => Some(note.attempt),
            _ => None,
        })
        .collect();
    assert_eq!(attempts, [Some(2), None]);
}
