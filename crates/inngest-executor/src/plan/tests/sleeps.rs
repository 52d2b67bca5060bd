//! Sleeps.

use inngest_core::{Millis, RunStatus};
use inngest_state::StepOp;

use super::model::*;
use crate::response::OpReport;

/// Sleeps once, then returns.
fn nap(report: OpReport) -> impl FnMut(&Call) -> Answer {
    move |call| Ok(if call.has("s") { returned("1") } else { ops(vec![report.clone()]) })
}

#[test]
fn a_sleep_ends_with_null_at_its_time() {
    let opts = OpReport { opts: Some(json(r#"{"duration":"2s"}"#)), ..sleeping("s", "9s") };
    let cases = [(sleeping("s", "1s"), 1_000), (sleeping("s", "500ms"), 500), (sleeping("s", ""), 0), (opts, 2_000)];
    for (report, ms) in cases {
        let mut model = Model::new();
        model.drive(nap(report.clone()));
        assert_eq!(model.calls.len(), 2, "{report:?}");
        assert_eq!(model.calls[1].at, Millis(START.0 + ms), "{report:?}");
        assert_eq!(model.calls[1].value("s"), "null");
        assert_eq!((model.calls[1].item.version, model.calls[1].item.stack_current), (2, 1));
        assert_eq!((model.records[0].op, model.records[0].failed), (StepOp::Sleep, false));
    }
}

#[test]
fn a_sleep_in_the_past_ends_at_once() {
    let mut model = Model::new();
    model.drive(nap(sleeping("s", "-5s")));
    assert_eq!(model.calls[1].at, START);
}

#[test]
fn a_sleep_of_more_than_a_year_fails_the_run_at_once() {
    let mut model = Model::new();
    model.drive(nap(sleeping("s", "400d")));
    assert_eq!((model.status(), model.calls.len()), (Some(RunStatus::Failed), 1));
    let message = r#"The sleep \"400d\" ends more than one year in the future; sleeps may last at most one year."#;
    let expected = format!(
        r#"{{"error":{{"error":"InngestErrTimeoutTooLong: {message}","name":"InngestErrTimeoutTooLong","message":"{message}"}}}}"#
    );
    assert_eq!(model.output(), expected);
    let expected =
        format!(r#"{{"error":"InngestErrTimeoutTooLong","message":"{message}","name":"InngestErrTimeoutTooLong"}}"#);
    assert_eq!(model.error(), expected);
}

#[test]
fn a_sleep_longer_than_any_duration_fails_the_same_way() {
    let mut model = Model::new();
    model.drive(nap(sleeping("s", "9999999999w")));
    assert_eq!((model.status(), model.calls.len()), (Some(RunStatus::Failed), 1));
    assert!(model.error().contains("InngestErrTimeoutTooLong"));
}

#[test]
fn the_longest_sleep_is_366_days() {
    let mut model = Model::new();
    model.drive(nap(sleeping("s", "366d")));
    assert_eq!(model.status(), Some(RunStatus::Completed));
}

#[test]
fn a_sleep_that_cannot_be_understood_is_an_ordinary_failed_attempt() {
    let mut model = Model::with_retries(1);
    model.drive(nap(sleeping("s", "nope")));
    assert_eq!((model.status(), model.calls.len(), model.attempts.len()), (Some(RunStatus::Failed), 2, 2));
    assert!(
        model.output().starts_with(r#"{"error":{"error":"InvalidStepOptions: The sleep \"nope\" cannot be understood"#)
    );
    assert_eq!(model.now, Millis(START.0 + 1_000));
}

#[test]
fn a_sleep_reported_again_keeps_its_time() {
    let mut model = Model::new();
    let start = model.next().unwrap();
    let call = model.dispatch(&start);
    model.answer(&call, Ok(ops(vec![sleeping("s", "5s"), planned("p")]))).unwrap();
    model.now = Millis(START.0 + 1_000);
    let step = model.job("p");
    let call = model.dispatch(&step);
    model.answer(&call, Ok(ops(vec![ran("p"), sleeping("s", "60s")]))).unwrap();
    assert_eq!(model.job("s").due, Millis(START.0 + 5_000));
}

#[test]
fn retry_headers_do_not_matter_to_a_sleep() {
    let mut model = Model::new();
    let mut app = nap(sleeping("s", "1s"));
    model.drive(|call| app(call).map(no_retry));
    assert_eq!((model.status(), model.calls.len()), (Some(RunStatus::Completed), 2));
}
