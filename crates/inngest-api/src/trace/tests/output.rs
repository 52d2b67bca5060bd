use inngest_core::RunStatus;
use inngest_queue::JobId;
use inngest_state::StepOp;
use inngest_state::trace::StepDetail;

use super::super::{SpanError, SpanOutput, output};
use super::*;

fn of_step(rows: &Rows, step: &str) -> SpanOutput {
    output(&rows.0, &OutputOf::Step(StepId::from(step))).unwrap()
}

fn text(payload: Option<Payload>) -> Option<String> {
    payload.map(|payload| String::from_utf8(payload.to_vec()).unwrap())
}

#[track_caller]
fn check_data(rows: Rows, value: &str, expected: Option<&str>) {
    let rows = rows.with(|step| step.value = payload(value));
    let name = rows.0.trace.steps[0].step.name.to_string();
    let output = of_step(&rows, &name);
    assert_eq!((text(output.data).as_deref(), output.error), (expected, None), "{value}");
}

#[test]
fn results_of_steps_are_unwrapped_once() {
    let run = || Rows::running(1).run("a", start(), (0, 1, 2));
    check_data(run(), r#"{"data":3}"#, Some("3"));
    check_data(run(), r#"{"data":null}"#, Some("null"));
    check_data(run(), r#"{"data":"done"}"#, Some(r#""done""#));
    check_data(run(), r#"{"data":{"data":1}}"#, Some(r#"{"data":1}"#));
    check_data(run(), r#"{"data":{"error":"x"}}"#, Some(r#"{"error":"x"}"#));
    let legacy = Rows::running(1).step("a", StepOp::Legacy, start(), 0, (0, 1, 2));
    check_data(legacy, r#"{"data":3}"#, Some(r#"{"data":3}"#));
    let wait = || Rows::running(1).wait("a", StepOp::WaitForEvent, (0, 1));
    let event = r#"{"data":{},"id":"e","name":"n","ts":1,"user":{}}"#;
    check_data(wait().resolved(Resolution::Event(event_id(1))), event, Some(event));
    check_data(wait(), "null", None);
    check_data(Rows::running(1).sleep("a", (0, 1)), "null", None);
}

#[test]
fn errors_are_taken_apart() {
    let rows = |value: &str| {
        let value = payload(value);
        Rows::running(1).run("a", start(), (0, 1, 2)).with(|step| (step.failed, step.value) = (true, value))
    };
    let whole = r#"{"error":{"cause":{"a":1},"message":"m","name":"N","stack":"s"}}"#;
    let output = of_step(&rows(whole), "a");
    let error = SpanError {
        message: "m".into(),
        name: Some("N".into()),
        stack: Some("s".into()),
        cause: Some(payload(r#"{"a":1}"#)),
    };
    assert_eq!((output.data, output.error), (None, Some(error)));
    let error = |value: &str| of_step(&rows(value), "a").error.unwrap();
    assert_eq!(error(r#"{"error":{"message":"m","name":"N"}}"#).stack, None);
    let no_error = SpanError { stack: Some(r#""boom""#.into()), ..SpanError::default() };
    assert_eq!(error(r#"{"error":"boom"}"#), no_error);
}

#[test]
fn what_a_run_took_in_and_gave_out() {
    let output_of = |rows: &Rows| output(&rows.0, &OutputOf::Run).unwrap();
    let mut rows = Rows::ended(RunStatus::Completed, 1, 2);
    let event = r#"{"data":{"n":1},"id":"e1","name":"shop/order","ts":1}"#;
    let second = rows.0.events[0].clone();
    rows.0.events.push(second);
    rows.0.run.output = Some(payload(r#"{"data":1}"#));
    let output = output_of(&rows);
    assert_eq!(text(output.input), Some(format!("[{event},{event}]")));
    assert_eq!(text(output.data).as_deref(), Some(r#"{"data":1}"#), "what a function returns stays as it is");
    rows.0.run.output = None;
    assert_eq!(text(output_of(&rows).data).as_deref(), Some("null"));
    for status in [RunStatus::Running, RunStatus::Cancelled, RunStatus::Scheduled, RunStatus::Skipped] {
        let output = output_of(&Rows::of(status));
        assert!(output.input.is_some() && output.data.is_none() && output.error.is_none(), "{status:?}");
    }
}

#[test]
fn why_a_run_failed() {
    let error = |output: Option<&str>, error: &str| {
        let mut rows = Rows::ended(RunStatus::Failed, 1, 2);
        (rows.0.run.output, rows.0.run.error) = (output.map(payload), Some(payload(error)));
        let output = super::super::output(&rows.0, &OutputOf::Run).unwrap();
        assert_eq!(output.data, None);
        output.error.unwrap()
    };
    let normalised = r#"{"error":"m","message":"m","name":"Error"}"#;
    let said = error(Some(r#"{"__serialized":true,"cause":"c","message":"n","name":"N","stack":"s"}"#), normalised);
    assert_eq!((&*said.message, said.cause), ("n", Some(payload(r#""c""#))));
    assert_eq!(error(Some("<html>"), normalised).message, "m");
    assert_eq!(error(None, normalised).stack, None);
    // Clients look for the code of what the server refused in the stack.
    let code = r#"{"error":"output_too_large","message":"m","name":"output_too_large"}"#;
    let refused = error(Some(&format!(r#"{{"error":{code}}}"#)), code);
    assert_eq!(refused.message, "m");
    assert!(refused.stack.unwrap().contains(r#""output_too_large""#));
}

#[test]
fn failed_attempts_and_what_steps_were_given() {
    let job = JobId::gateway(this(), &"ask".into());
    let rows = Rows::running(1)
        .run("a", start(), (0, 1, 2))
        .with(|step| step.input = Some(payload(r#"["hello"]"#)))
        .attempt(after("a"), None, 0, (2, 3, 4), 500, Some(5))
        .job(job, JobKind::Gateway(step_ref("ask")), 0, 6, 6)
        .detail("ask", StepDetail::Gateway { request: payload(r#"{"model":"m"}"#) });
    assert_eq!(text(of_step(&rows, "a").input).as_deref(), Some(r#"["hello"]"#));
    let asked = of_step(&rows, "ask");
    assert_eq!((text(asked.input).as_deref(), asked.data), (Some(r#"{"model":"m"}"#), None));
    let attempt = |generation| output(&rows.0, &OutputOf::Attempt { job: after("a").key, generation });
    assert_eq!(attempt(1).unwrap().error.unwrap().message, "failed 0");
    assert_eq!(attempt(2), None);
    assert_eq!(output(&rows.0, &OutputOf::Step("nobody".into())), None);
}
