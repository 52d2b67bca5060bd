//! Steps that wait for an event, a signal, or another run.

use std::sync::Arc;
use std::time::Duration;

use inngest_core::event::{EventBody, FUNCTION_FINISHED, FUNCTION_INVOKED};
use inngest_core::{Event, RunStatus};
use inngest_queue::{JobKind, QueueItem, Resolution, WaitFor};
use inngest_state::Effect;

use super::model::{Model, START, function, json, op, ops, planned, ran, returned, sleeping, version};
use crate::plan;
use crate::plan::Resolved;
use crate::registry::Registry;
use crate::response::{Op, OpReport};

fn waiting(id: &str, opts: &str) -> OpReport {
    OpReport { name: Some("a/done".into()), opts: Some(json(opts)), ..op(Op::WaitForEvent, id) }
}

fn signal(id: &str, opts: &str) -> OpReport {
    OpReport { opts: Some(json(opts)), ..op(Op::WaitForSignal, id) }
}

fn invoking(id: &str, function: &str, rest: &str) -> OpReport {
    OpReport { opts: Some(json(&format!(r#"{{"function_id":"{function}"{rest}}}"#))), ..op(Op::InvokeFunction, id) }
}

/// What the store does when the job of a step gets what it waits for.
fn resume(model: &mut Model, step: &str, value: &str) {
    let job = model.job(step);
    let resolution = Some(Arc::new(Resolution::Value(json(value))));
    let due = model.now;
    model.jobs.insert(job.id, QueueItem { resolution, due, generation: job.generation + 1, ..job });
}

fn body(event: &Event) -> serde_json::Value {
    let EventBody::Stored(body) = &event.body else { panic!("{event:?} is derived") };
    serde_json::from_slice(body).unwrap()
}

#[test]
fn a_wait_is_resolved_by_its_event_and_by_null_when_time_is_over() {
    for in_time in [true, false] {
        let mut model = Model::new();
        let start = model.next().unwrap();
        model.work(&start, &mut |_| Ok(ops(vec![waiting("w", r#"{"timeout":"1h"}"#)])));
        let job = model.job("w");
        assert_eq!(
            (job.kind.clone(), job.due),
            (JobKind::Wait(job.step().unwrap().clone(), WaitFor::Event), START.plus(Duration::from_secs(3600)))
        );
        let wait = model.waits[&job.id].clone();
        assert_eq!((&*wait.event, wait.until, wait.effect), ("a/done", job.due, Effect::Resume));
        assert!(wait.condition.is_none());
        if in_time {
            resume(&mut model, "w", r#"{"name":"a/done"}"#);
        }
        model.drive(|call| {
            assert_eq!(call.value("w"), if in_time { r#"{"name":"a/done"}"# } else { "null" });
            Ok(returned("1"))
        });
        assert_eq!(model.status(), Some(RunStatus::Completed));
        assert_eq!(model.calls.len(), 2);
    }
}

#[test]
fn timeouts_are_durations_dates_or_none() {
    for (opts, wait) in [
        (r#"{"timeout":""}"#, 0),
        ("{}", 0),
        (r#"{"timeout":"-5s"}"#, 0),
        (r#"{"timeout":"2027-01-15T08:00:01Z"}"#, 1_000),
        (r#"{"timeout":"1d"}"#, 86_400_000),
    ] {
        let mut model = Model::new();
        let start = model.next().unwrap();
        model.work(&start, &mut |_| Ok(ops(vec![waiting("w", opts)])));
        assert_eq!(model.job("w").due.0 - START.0, wait, "{opts}");
    }
}

#[test]
fn what_cannot_be_waited_for_ends_the_run_or_the_attempt() {
    let ends = |report: OpReport| {
        let mut model = Model::with_retries(1);
        model.drive(|_| Ok(ops(vec![report.clone()])));
        (model.calls.len(), model.error().to_owned())
    };
    let (calls, error) = ends(waiting("w", r#"{"timeout":"400d"}"#));
    assert_eq!(calls, 1);
    assert!(error.contains("InngestErrTimeoutTooLong"), "{error}");
    let (calls, error) = ends(waiting("w", r#"{"timeout":"1h","if":"event.data.n === async.data.n"}"#));
    assert_eq!(calls, 1);
    assert!(
        error.contains(r#""name":"InvalidExpression""#)
            && error.contains("Wait for event If expression failed to compile"),
        "{error}"
    );
    for report in [
        waiting("w", r#"{"timeout":"soon"}"#),
        waiting("w", r#"{"timeout":7}"#),
        OpReport { name: None, ..waiting("w", r#"{"timeout":"1h"}"#) },
        signal("s", "{}"),
        signal("s", r#"{"signal":"x","conflict":"explode"}"#),
        invoking("i", "app-fn", r#","timeout":"whenever""#),
    ] {
        let (calls, error) = ends(report.clone());
        assert_eq!(calls, 2, "one retry: {report:?}");
        assert!(error.contains("InvalidStepOptions"), "{error}");
    }
}

#[test]
fn a_condition_is_bound_to_the_event_of_the_run() {
    let mut model = Model::new();
    let start = model.next().unwrap();
    let opts = r#"{"timeout":"1h","if":"event.data.n == async.data.n"}"#;
    model.work(&start, &mut |_| Ok(ops(vec![waiting("w", opts)])));
    let wait = model.waits.values().next().unwrap();
    let condition = wait.condition.as_ref().unwrap();
    assert_eq!(&*condition.expression, "event.data.n == async.data.n");
    assert_eq!(&*condition.bindings, "[1]");
    let anchors = condition.anchors.as_ref().unwrap();
    assert_eq!((anchors.len(), &*anchors[0].path), (1, "/data/n"));
}

#[test]
fn a_condition_that_never_holds_leaves_only_the_timeout() {
    let mut model = Model::new();
    let start = model.next().unwrap();
    let opts = r#"{"timeout":"1h","if":"event.data.n == 2 && async.data.n == 1"}"#;
    model.work(&start, &mut |_| Ok(ops(vec![waiting("w", opts)])));
    assert!(model.waits.is_empty());
    assert_eq!(model.job("w").due, START.plus(Duration::from_secs(3600)));
}

#[test]
fn an_event_that_is_odd_is_not_taken_for_an_empty_one() {
    let deep = format!(r#"{{"data":{{"n":1,"deep":{}{}}}}}"#, "[".repeat(5_000), "]".repeat(5_000));
    let long = format!(r#"{{"data":{{"n":"{}"}}}}"#, "x".repeat(1 << 17));
    for (event, bindings) in [(&*deep, Some("[1]")), ("not json", None), (&*long, None)] {
        let mut model = Model::new();
        model.run.events = Arc::from([inngest_core::Payload::from(event.to_owned())]);
        let start = model.next().unwrap();
        let opts = r#"{"timeout":"1h","if":"event.data.n == async.data.n"}"#;
        model.work(&start, &mut |_| Ok(ops(vec![waiting("w", opts)])));
        let kept = model.waits.values().next().map(|wait| wait.condition.as_ref().unwrap().bindings.to_string());
        assert_eq!(kept.as_deref(), bindings, "{event:.40}");
        if event == long {
            assert!(model.error().contains("longer than 65536 bytes"), "{}", model.error());
        } else {
            assert_eq!(model.job("w").due, START.plus(Duration::from_secs(3600)));
        }
    }
}

#[test]
fn a_joined_block_waits_for_waits_too() {
    let mut model = Model::new();
    let start = model.next().unwrap();
    let block = || vec![planned("p"), sleeping("s", "1s"), waiting("w", r#"{"timeout":"2s"}"#)];
    model.work(&start, &mut |_| Ok(ops(block())));
    model.drive(|call| {
        if call.target() == "p" {
            return Ok(ops(vec![super::model::ran("p")]));
        }
        assert!(call.has("p") && call.has("s") && call.has("w"));
        Ok(returned("1"))
    });
    // The plan, the step, and one discovery when the last of them, the wait, is over.
    assert_eq!(model.calls.len(), 3);
    assert_eq!(model.now, START.plus(Duration::from_secs(2)));
}

#[test]
fn one_step_waits_for_a_signal_at_a_time() {
    let mut model = Model::new();
    model.taken_signals.push("go".into());
    let start = model.next().unwrap();
    let opts = r#"{"signal":"go","timeout":"1h"}"#;
    model.work(&start, &mut |_| Ok(ops(vec![signal("s", opts)])));
    assert_eq!(model.status(), Some(RunStatus::Failed));
    assert!(model.error().contains("Signal conflict; signal wait already exists for another run"));

    let mut model = Model::new();
    model.taken_signals.push("go".into());
    let start = model.next().unwrap();
    let opts = r#"{"signal":"go","timeout":"1h","conflict":"replace"}"#;
    model.work(&start, &mut |_| Ok(ops(vec![signal("s", opts)])));
    assert_eq!(model.signals.keys().map(|name| &**name).collect::<Vec<_>>(), ["go"]);
    resume(&mut model, "s", r#"{"data":{"data":1,"signal":"go"}}"#);
    model.drive(|call| {
        assert_eq!(call.value("s"), r#"{"data":{"data":1,"signal":"go"}}"#);
        Ok(returned("1"))
    });
}

#[test]
fn an_invoked_function_starts_once_and_gets_what_it_is_sent() {
    let child = function("app-child", &[("inngest/function.invoked", None)]);
    let mut model = Model::of(function("app-fn", &[("a/b", None)]), vec![child.clone()], "a/b");
    let start = model.next().unwrap();
    let payload = r#","payload":{"data":{"b":1,"a":[null]},"user":{"u":1},"v":"2","name":"ignored"},"timeout":"1h""#;
    model.work(&start, &mut |_| Ok(ops(vec![invoking("i", "app-child", payload)])));
    let invoke = &model.invokes[0];
    let event = body(&invoke.event);
    assert_eq!(event["name"], FUNCTION_INVOKED);
    assert_eq!(
        (&event["data"]["a"], &event["data"]["b"], &event["user"]["u"], &event["v"]),
        (&serde_json::json!([null]), &1.into(), &1.into(), &"2".into())
    );
    let own = &event["data"]["_inngest"];
    let correlation = format!("{}.i", model.run.id);
    assert_eq!((own["fn_id"].as_str(), own["correlation_id"].as_str()), (Some("app-child"), Some(&*correlation)));
    // Triggered by such events as well, it runs once all the same.
    let runs: Vec<_> = invoke.admits.iter().map(|admit| (admit.function, admit.correlation_id.as_deref())).collect();
    assert_eq!(runs, [(child.id, Some(&*correlation))]);
}

#[test]
fn the_end_of_an_invoked_run_is_the_result_of_the_step() {
    let child = || {
        let run = Model::new().run.id;
        move |status, output: Option<&str>, error: Option<&str>| Resolved::Run {
            id: run,
            status,
            output: output.map(json),
            error: error.map(json),
        }
    };
    let child = child();
    let table = [
        (child(RunStatus::Completed, Some("7"), None), r#"{"data":7}"#),
        (child(RunStatus::Completed, Some("null"), None), r#"{"data":null}"#),
        (child(RunStatus::Completed, None, None), r#"{"data":null}"#),
        (
            child(RunStatus::Failed, None, Some(r#"{"error":"e","message":"m","name":"N","stack":"s"}"#)),
            r#"{"error":{"error":"e","message":"m","name":"N","stack":"s"}}"#,
        ),
        (
            Resolved::TimedOut,
            r#"{"error":{"error":"InngestInvokeTimeoutError: Timed out waiting for invoked function to complete","message":"Timed out waiting for invoked function to complete","name":"InngestInvokeTimeoutError"}}"#,
        ),
    ];
    let cancelled = (child(RunStatus::Cancelled, None, None), "");
    for (resolved, expected) in table.into_iter().chain([cancelled]) {
        let others = vec![function("app-child", &[])];
        let mut model = Model::of(function("app-fn", &[("a/b", None)]), others, "a/b");
        let start = model.next().unwrap();
        model.work(&start, &mut |_| Ok(ops(vec![invoking("i", "app-child", "")])));
        let job = model.job("i");
        let transition = model.with_planning(&job, model.now, |planning| plan::resolve(planning, resolved.clone()));
        model.commit(transition).unwrap();
        let value = String::from_utf8(model.run.steps[0].value.to_vec()).unwrap();
        if expected.is_empty() {
            assert!(value.contains(r#""name":"InngestInvokeError""#) && value.contains("cancelled"), "{value}");
        } else {
            assert_eq!(value, expected);
        }
        model.drive(|_| Ok(returned("1")));
    }
}

#[test]
fn a_function_that_does_not_exist_fails_the_step_at_once_and_is_told_once() {
    let mut model = Model::new();
    model.drive(|call| {
        if !call.has("i") {
            return Ok(ops(vec![invoking("i", "app-nowhere", "")]));
        }
        assert_eq!(
            call.value("i"),
            r#"{"error":{"message":"could not find function with ID: app-nowhere","name":"Error"}}"#
        );
        Ok(returned("1"))
    });
    let finished: Vec<_> = model.events.iter().filter(|(event, _)| &*event.name == FUNCTION_FINISHED).collect();
    let EventBody::Stored(_) = finished[0].0.body else { panic!("the first one is about no run") };
    let told = body(&finished[0].0);
    assert_eq!(told["data"]["error"]["message"], "could not find function with ID: app-nowhere");
    assert_eq!(told["data"]["correlation_id"], format!("{}.i", model.run.id));
    assert_eq!(finished.len(), 2, "the other one is about the run itself");
}

#[test]
fn reporting_a_wait_again_changes_nothing() {
    for report in [
        waiting("w", r#"{"timeout":"1h"}"#),
        signal("w", r#"{"signal":"x","timeout":"1h"}"#),
        invoking("w", "app-fn", ""),
    ] {
        let mut model = Model::new();
        let start = model.next().unwrap();
        // Version 1: a discovery after each step reports what is pending once more.
        let both = |report: &OpReport| super::model::version(1, ops(vec![planned("p"), report.clone()]));
        model.work(&start, &mut |_| Ok(both(&report)));
        let before = model.job("w");
        for _ in 0..2 {
            let item = model.next().unwrap();
            model.work(&item, &mut |call| {
                Ok(if call.target() == "p" {
                    super::model::version(1, ops(vec![super::model::ran("p")]))
                } else {
                    super::model::version(1, ops(vec![report.clone()]))
                })
            });
        }
        assert_eq!(model.job("w"), before, "{report:?}");
        assert!(model.invokes.len() <= 1);
        assert_eq!(model.finished, None);
    }
}

#[test]
fn an_empty_answer_is_nothing_while_siblings_are_pending() {
    let mut model = Model::with_retries(1);
    let start = model.next().unwrap();
    let block = || super::model::version(1, ops(vec![planned("p"), waiting("w", r#"{"timeout":"1h"}"#)]));
    model.work(&start, &mut |_| Ok(block()));
    let item = model.job("p");
    model.work(&item, &mut |_| Ok(ops(vec![super::model::ran("p")])));
    // The discovery after `p` has nothing to say: the wait goes on.
    let item = model.next().unwrap();
    model.work(&item, &mut |_| Ok(ops(Vec::new())));
    assert_eq!((model.jobs.len(), model.attempts.len()), (1, 0));
    resume(&mut model, "w", "null");
    // Now nothing else is pending, and an empty answer counts.
    model.drive(|_| Ok(ops(Vec::new())));
    assert_eq!(model.status(), Some(RunStatus::Failed));
    assert_eq!(model.attempts.len(), 2);
}

#[test]
fn an_invoked_function_that_is_archived_meanwhile_goes_on() {
    let child = function("app-child", &[]);
    let mut model = Model::of(function("app-fn", &[("a/b", None)]), vec![child], "a/b");
    let start = model.next().unwrap();
    let block = || vec![invoking("i", "app-child", ""), planned("p")];
    model.work(&start, &mut |_| Ok(version(1, ops(block()))));
    model.registry = Arc::new(Registry::build(Vec::new(), vec![function("app-fn", &[("a/b", None)])]));
    let step = model.job("p");
    model.work(&step, &mut |_| Ok(ops(vec![ran("p")])));
    let discovery = model.job("");
    model.work(&discovery, &mut |_| Ok(version(1, ops(vec![invoking("i", "app-child", "")]))));
    assert_eq!(model.records.len(), 1, "its step waits for the run that was started");
    assert!(matches!(model.job("i").kind, JobKind::Wait(_, WaitFor::Invoke)));
}
