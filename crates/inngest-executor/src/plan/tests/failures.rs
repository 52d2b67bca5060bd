//! Failed attempts of functions and steps.

use std::time::Duration;

use inngest_core::{Millis, RunStatus};

use super::model::*;
use crate::driver::CallError;
use crate::response::{Op, OpReport};

#[test]
fn attempts_follow_the_back_off_table_and_keep_their_job() {
    let mut model = Model::new();
    model.function.retries = 20;
    model.drive(|_| Ok(failed("no")));
    assert_eq!(model.status(), Some(RunStatus::Failed));
    assert_eq!(model.attempts_of(""), (0..21).collect::<Vec<_>>());
    let generations: Vec<_> = model.calls.iter().map(|call| call.item.generation).collect();
    assert_eq!(generations, (1..22).collect::<Vec<_>>());
    assert!(model.calls.iter().all(|call| call.item.id == model.calls[0].item.id && call.item.version == -1));
    let base = [15, 30, 60, 120, 300, 600, 1_200, 2_400, 3_600, 7_200, 7_200, 7_200];
    for (gap, base) in model.calls.windows(2).zip(base) {
        let ms = gap[1].at.0 - gap[0].at.0;
        assert!((base * 1_000..(base + 30) * 1_000).contains(&ms), "{ms} after {base} s");
    }
    assert_eq!(model.attempts.len(), 21);
    assert_eq!(model.attempts[0].retry_at, Some(model.calls[1].at));
    assert_eq!((model.attempts[20].retry_at, model.attempts[20].status()), (None, Some(500)));
}

#[test]
fn the_number_of_attempts_is_one_more_than_the_retries() {
    for (retries, calls) in [(0, 1), (1, 2), (4, 5), (20, 21), (99, 21)] {
        let mut model = Model::with_retries(retries);
        model.drive(|_| Ok(failed("no")));
        assert_eq!((model.calls.len(), model.status()), (calls, Some(RunStatus::Failed)), "{retries}");
        assert_eq!(model.output(), r#"{"message":"no"}"#);
        assert_eq!(model.error(), r#"{"error":"invalid status code: 500","message":"no","name":"Error"}"#);
    }
}

#[test]
fn a_fixed_interval_has_no_jitter() {
    let mut model = Model::with_retries(2);
    model.drive(|_| Ok(failed("no")));
    let at: Vec<_> = model.calls.iter().map(|call| call.at.0 - START.0).collect();
    assert_eq!(at, [0, 1_000, 2_000]);
}

#[test]
fn the_app_may_say_when_to_come_back() {
    let at = START.plus(Duration::from_secs(77));
    for broken in [failed("later"), ops(vec![failing(Op::StepError, "a")])] {
        let mut model = Model::with_retries(1);
        model.drive(|call| {
            let first = call.item.attempt == 0 && call.item.generation == 1;
            Ok(if first { crate::SdkResponse { retry_at: Some(at), ..broken.clone() } } else { returned("1") })
        });
        assert_eq!((model.calls[1].at, model.calls[1].item.attempt), (at, 1));
    }
}

#[test]
fn an_error_that_forbids_retries_ends_the_run() {
    let mut model = Model::new();
    model.drive(|_| Ok(no_retry(failed("final"))));
    assert_eq!((model.calls.len(), model.status()), (1, Some(RunStatus::Failed)));
    assert_eq!(model.attempts.len(), 1);
}

#[test]
fn a_call_without_an_answer_is_an_attempt() {
    let cases = [
        (
            CallError::Unreachable("connection refused".into()),
            "Unable to reach SDK URL",
            Some("Unable to reach SDK URL: connection refused"),
        ),
        (
            CallError::Reset("eof".into(), None),
            "Your server reset the connection while we were reading the reply",
            Some("Your server reset the connection while we were reading the reply: eof"),
        ),
        (CallError::TimedOut, "The app did not answer within 2 hours", None),
    ];
    for (error, message, stack) in cases {
        let mut model = Model::with_retries(1);
        model.drive(|_| Err(error.clone()));
        assert_eq!((model.calls.len(), model.status()), (2, Some(RunStatus::Failed)));
        let stack = stack.unwrap_or(message);
        let expected = format!(
            r#"{{"error":{{"error":"Error: {message}","name":"Error","message":"{message}","stack":"{stack}"}}}}"#
        );
        assert_eq!(model.output(), expected);
        let expected = format!(r#"{{"error":"{message}","message":"{message}","name":"Error","stack":"{stack}"}}"#);
        assert_eq!(model.error(), expected);
        assert_eq!(model.attempts[0].status(), None);
    }
}

#[test]
fn a_run_recovers_after_failed_attempts() {
    let mut model = Model::with_retries(3);
    model.drive(|call| Ok(if call.item.attempt < 2 { failed("not yet") } else { returned("1") }));
    assert_eq!((model.status(), model.calls.len(), model.attempts.len()), (Some(RunStatus::Completed), 3, 2));
    assert_eq!(model.run.started_at, Some(START));
}

#[test]
fn a_step_that_fails_for_good_is_caught_and_the_function_has_all_its_attempts() {
    let mut model = Model::with_retries(2);
    model.drive(|call| Ok(if call.has("a") { failed("uncaught") } else { ops(vec![failing(Op::StepError, "a")]) }));
    assert_eq!(model.attempts_of(""), [0, 1, 2, 0, 1, 2]);
    assert_eq!(model.calls[3].value("a"), r#"{"error":{"message":"a broke","name":"Boom"}}"#);
    assert_eq!(model.calls[3].at, model.calls[2].at, "the discovery follows at once");
    assert_eq!(model.status(), Some(RunStatus::Failed));
    // The last attempt of the step is its record; the others are attempts.
    assert_eq!((model.records.len(), model.records[0].failed, model.records[0].attempt), (1, true, 2));
    assert_eq!(model.attempts.len(), 2 + 3);
    assert_eq!(model.attempts[0].step.as_ref().unwrap().id.as_str(), "a");
    assert_eq!(model.attempts[0].error, json(r#"{"error":"a broke","message":"a broke","name":"Boom"}"#));
    assert_eq!(model.calls[1].item.version, 2, "a step error tells the version");
}

#[test]
fn a_step_error_that_forbids_retries_is_marked() {
    let cases = [
        (
            no_retry(ops(vec![failing(Op::StepError, "a")])),
            r#"{"error":{"message":"a broke","name":"Boom","noRetry":true}}"#,
        ),
        (ops(vec![failing(Op::StepFailed, "a")]), r#"{"error":{"message":"a broke","name":"Boom"}}"#),
        (no_retry(ops(vec![failing(Op::StepFailed, "a")])), r#"{"error":{"message":"a broke","name":"Boom"}}"#),
    ];
    for (answer, expected) in cases {
        let mut model = Model::new();
        model.drive(|call| Ok(if call.has("a") { returned("1") } else { answer.clone() }));
        assert_eq!((model.calls.len(), model.calls[1].item.attempt), (2, 0));
        assert_eq!(model.calls[1].value("a"), expected);
        assert!(model.attempts.is_empty());
    }
}

#[test]
fn results_beside_a_failed_step_are_kept() {
    let mut model = Model::with_retries(3);
    model.drive(|call| {
        Ok(match (call.has("a"), call.item.attempt) {
            (false, _) => ops(vec![ran("a"), failing(Op::StepError, "b")]),
            (true, attempt) if !call.has("b") && attempt < 2 => ops(vec![failing(Op::StepError, "b")]),
            (true, _) if !call.has("b") => ops(vec![ran("b")]),
            (true, _) => returned("1"),
        })
    });
    assert_eq!(model.attempts_of(""), [0, 1, 2, 0]);
    assert_eq!(model.calls[1].at, Millis(START.0 + 1_000), "the error decides when to go on");
    assert!(model.calls[1].has("a"));
    assert_eq!(model.calls[1].item.stack_current, 1);
}

#[test]
fn lowering_the_retries_takes_effect_at_the_next_attempt() {
    let mut model = Model::with_retries(9);
    for _ in 0..4 {
        let item = model.next().unwrap();
        model.work(&item, &mut |_: &Call| Ok(failed("no")));
    }
    model.function.retries = 1;
    model.drive(|_| Ok(failed("no")));
    assert_eq!((model.calls.len(), model.status()), (5, Some(RunStatus::Failed)));
}

#[test]
fn what_an_error_says_about_its_data_stays_also_if_it_is_null() {
    for (error, kept) in [
        (r#"{"data":null,"message":"no","name":"E"}"#, r#"{"error":{"data":null,"message":"no","name":"E"}}"#),
        (
            r#"{"data":{"n":null},"message":"no","name":"E"}"#,
            r#"{"error":{"data":{"n":null},"message":"no","name":"E"}}"#,
        ),
        (r#"{"message":"no","name":"E"}"#, r#"{"error":{"message":"no","name":"E"}}"#),
    ] {
        let mut model = Model::new();
        model.drive(|call| {
            if call.has("a") {
                assert_eq!(call.value("a"), kept);
                return Ok(returned("1"));
            }
            Ok(ops(vec![OpReport { error: Some(json(error)), ..op(Op::StepFailed, "a") }]))
        });
        assert_eq!(model.status(), Some(RunStatus::Completed));
    }
}

#[test]
fn a_function_that_throws_after_a_parallel_block_has_its_attempts_and_no_more() {
    let mut model = Model::with_retries(2);
    model.drive_in_waves(|call| {
        if !call.target().is_empty() {
            return Ok(ops(vec![ran(call.target())]));
        }
        Ok(if call.has("a") { failed("no") } else { ops(vec![planned("a"), planned("b"), planned("c")]) })
    });
    assert_eq!(model.attempts_of(""), [0, 0, 1, 2]);
}

#[test]
fn an_answer_that_only_defers_is_followed_by_a_discovery_once() {
    let mut model = Model::with_retries(1);
    let defer = || OpReport { opts: Some(json(r#"{"fn_slug":"app-other","input":{}}"#)), ..op(Op::DeferAdd, "d") };
    model.drive(|_| Ok(ops(vec![defer()])));
    // The second discovery brings nothing new, and has one retry.
    assert_eq!((model.calls.len(), model.status()), (3, Some(RunStatus::Failed)));
}

#[test]
fn answers_that_say_nothing_are_failed_attempts() {
    let nothing = [Vec::new(), vec![op(Op::None, "")], vec![op(Op::None, ""), op(Op::None, "x")]];
    for reports in nothing {
        for steps in [0, 1] {
            let mut model = Model::with_retries(2);
            model.drive(|call| Ok(if call.steps.len() < steps { ops(vec![ran("a")]) } else { ops(reports.clone()) }));
            assert_eq!((model.calls.len(), model.status()), (steps + 3, Some(RunStatus::Failed)));
            assert!(model.error().contains("reported no steps"), "{}", model.error());
            assert_eq!(model.attempts.len(), 3);
        }
    }
}

#[test]
fn an_app_that_forgets_its_memo_is_stopped() {
    let mut model = Model::with_retries(2);
    model.drive(|_| Ok(ops(vec![ran("a")])));
    assert_eq!((model.calls.len(), model.status()), (4, Some(RunStatus::Failed)));
    assert!(model.error().contains("nothing that is not known already"));
}

#[test]
fn a_planned_step_without_a_result_is_a_failed_attempt() {
    for reports in [
        vec![],
        vec![planned("p")],
        vec![planned("x")],
        vec![op(Op::DiscoveryRequest, "")],
        vec![planned("p"), planned("q")],
    ] {
        let mut model = Model::with_retries(1);
        model.drive(|call| {
            Ok(if call.target() == "p" {
                ops(reports.clone())
            } else if call.target().is_empty() {
                ops(vec![planned("p"), planned("q")])
            } else {
                ops(vec![ran(call.target())])
            })
        });
        assert_eq!((model.attempts_of("p"), model.status()), (vec![0, 1], Some(RunStatus::Failed)), "{reports:?}");
        assert!(model.error().contains(r#"asked to run the step \"p\""#), "{}", model.error());
    }
}

#[test]
fn a_function_error_in_a_planned_step_ends_the_run() {
    let mut model = Model::with_retries(1);
    model.drive(|call| Ok(if call.target() == "p" { failed("no") } else { ops(vec![planned("p")]) }));
    assert_eq!((model.attempts_of("p"), model.status()), (vec![0, 1], Some(RunStatus::Failed)));
    assert_eq!(model.attempts[0].step.as_ref().unwrap().id.as_str(), "p");
}

#[test]
fn a_step_error_of_a_known_step_changes_nothing() {
    let mut model = Model::with_retries(2);
    let start = model.next().unwrap();
    let call = model.dispatch(&start);
    model.answer(&call, Ok(version(1, ops(vec![planned("a"), planned("b")])))).unwrap();
    for step in ["a", "b"] {
        let job = model.job(step);
        model.work(&job, &mut |_: &Call| Ok(version(1, ops(vec![ran(step)]))));
    }
    let discoveries: Vec<_> = model.jobs.values().cloned().collect();
    let calls: Vec<_> = discoveries.iter().map(|job| model.dispatch(job)).collect();
    model.answer(&calls[0], Ok(version(1, ops(vec![ran("z")])))).unwrap();
    model.answer(&calls[1], Ok(version(1, ops(vec![failing(Op::StepError, "z")])))).unwrap();
    assert_eq!((model.attempts.len(), model.jobs.len()), (0, 1));
}

#[test]
fn steps_over_their_size_fail_the_attempt_as_a_whole() {
    let big = json(&format!("\"{}\"", "x".repeat(inngest_core::limits::STEP_OUTPUT_BYTES_MAX - 1)));
    let input = json(&format!("[\"{}\"]", "x".repeat(inngest_core::limits::STEP_INPUT_BYTES_MAX)));
    let cases = [
        (OpReport { data: Some(big), ..ran("b") }, "step output size is greater than the limit"),
        (OpReport { input: Some(input), ..ran("b") }, "step input size is greater than the limit"),
        (OpReport { input: Some(json("{}")), ..ran("b") }, "step input must be an array"),
    ];
    for (report, text) in cases {
        let mut model = Model::with_retries(1);
        model.drive(|_| Ok(ops(vec![ran("a"), report.clone()])));
        assert_eq!((model.calls.len(), model.records.len()), (2, 0));
        assert!(model.error().contains(&format!("error validating generator opcode b: {text}")), "{}", model.error());
    }
}
