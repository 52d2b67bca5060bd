//! Every situation that older clients rely on.

use inngest_core::{RunStatus, StepId};
use inngest_queue::{JobId, JobKind, Resolution, WaitFor};
use inngest_state::StepOp;
use inngest_state::trace::StepDetail;

use super::*;

fn failed_once(rows: Rows) -> Rows {
    rows.attempt(start(), None, 0, (0, 10, 20), 500, Some(80))
}

#[test]
fn a_run_that_finished() {
    let rows = Rows::ended(RunStatus::Completed, 10, 100)
        .run("1", start(), (0, 10, 20))
        .run("2", after("1"), (20, 21, 30))
        .last_call(after("2"), 0, 30, 31, 200);
    check(
        &rows.legacy(),
        "shop-order COMPLETED att0 q0 s10 e100 dur90 out(run)
           1 COMPLETED RUN att0 q0 s10 e20 dur10 out(1)
           2 COMPLETED RUN att0 q20 s21 e30 dur9 out(2)
           function success COMPLETED att0 q30 s31 e100 dur69 out(run)",
    );
}

#[test]
fn a_step_with_retries() {
    let rows = Rows::ended(RunStatus::Completed, 10, 120)
        .attempt(start(), Some("flaky"), 0, (0, 10, 20), 206, Some(80))
        .step("flaky", StepOp::Run, start(), 1, (0, 81, 95))
        .last_call(after("flaky"), 0, 95, 100, 200);
    check(
        &rows.legacy(),
        "shop-order COMPLETED att0 q0 s10 e120 dur110 out(run)
           flaky COMPLETED RUN att1 q0 s10 e95 dur85 out(flaky)
             Attempt 0 FAILED RUN att0 q0 s10 e20 dur10 out(call 1)
             Attempt 1 COMPLETED RUN att1 q81 s81 e95 dur14 out(flaky)
           function success COMPLETED att0 q95 s100 e120 dur20 out(run)",
    );
}

#[test]
fn a_step_whose_retry_is_pending() {
    let rows = Rows::running(10).attempt(start(), Some("flaky"), 0, (0, 10, 20), 206, Some(90_000));
    let legacy = rows.job(start(), JobKind::Start, 1, 0, 90_000).legacy();
    check(
        &legacy,
        "shop-order RUNNING att0 q0 s10 dur59990
           flaky RUNNING RUN att0 q0 s10 dur59990
             Attempt 0 FAILED RUN att0 q0 s10 e20 dur10 out(call 1)
             Attempt 1 QUEUED att1 q20 dur0",
    );
    let attempts = &legacy.children[0].children;
    assert_eq!((&*attempts[1].id, attempts[1].parent.as_ref()), ("queued", Some(&attempts[0].id)));
    assert_eq!(attempts[0].parent, Some(legacy.id), "attempts lie in the root");
}

#[test]
fn a_function_that_fails() {
    let rows = failed_once(Rows::running(10)).job(start(), JobKind::Start, 1, 0, 80);
    check(
        &rows.legacy(),
        "shop-order RUNNING att0 q0 s10 dur59990
           execute RUNNING att0 q0 s10 dur59990
             Attempt 0 FAILED att0 q0 s10 e20 dur10 out(call 1)
             Attempt 1 QUEUED att1 q20 dur0",
    );
    let rows = failed_once(Rows::ended(RunStatus::Failed, 10, 110))
        .attempt(start(), None, 1, (0, 81, 110), 400, None)
        .last_call(start(), 1, 0, 81, 400);
    check(
        &rows.legacy(),
        "shop-order FAILED att0 q0 s10 e110 dur100 out(run)
           execute FAILED att2 q0 s10 e110 dur100 out(run)
             Attempt 0 FAILED att0 q0 s10 e20 dur10 out(call 1)
             Attempt 1 FAILED att1 q81 s81 e110 dur29 out(call 2)",
    );
    let rows = Rows::ended(RunStatus::Failed, 10, 20).attempt(start(), None, 0, (0, 10, 20), 400, None).last_call(
        start(),
        0,
        0,
        10,
        400,
    );
    check(
        &rows.legacy(),
        "shop-order FAILED att0 q0 s10 e20 dur10 out(run)
           function error FAILED att1 q0 s10 e20 dur10 out(run)
             Attempt 0 FAILED att0 q0 s10 e20 dur10 out(call 1)",
    );
    let rows = failed_once(Rows::ended(RunStatus::Completed, 10, 110)).last_call(start(), 1, 0, 81, 200);
    check(
        &rows.legacy(),
        "shop-order COMPLETED att0 q0 s10 e110 dur100 out(run)
           function success COMPLETED att1 q0 s10 e110 dur100 out(run)
             Attempt 0 FAILED att0 q0 s10 e20 dur10 out(call 1)
             Attempt 1 COMPLETED att1 q81 s81 e110 dur29 out(run)",
    );
}

#[test]
fn waits_behind_a_failed_request_count_no_attempts() {
    let rows = failed_once(Rows::ended(RunStatus::Completed, 10, 400))
        .wait("dummy", StepOp::WaitForEvent, (90, 300))
        .resolved(Resolution::Event(event_id(5)))
        .detail("dummy", event_detail(30_090, None))
        .last_call(after("dummy"), 0, 300, 310, 200);
    check(
        &rows.legacy(),
        "shop-order COMPLETED att0 q0 s10 e400 dur390 out(run)
           dummy COMPLETED WAIT_FOR_EVENT att0 q0 s10 e300 dur290 out(dummy) {event:ckpt/resume,if:-,until:30090,found:true,timedOut:Some(false)}
             Attempt 0 FAILED WAIT_FOR_EVENT att0 q0 s10 e20 dur10 out(call 1) {event:ckpt/resume,if:-,until:30090,found:true,timedOut:Some(false)}
             Attempt 1 COMPLETED WAIT_FOR_EVENT att1 q90 s90 e300 dur210 out(dummy) {event:ckpt/resume,if:-,until:30090,found:true,timedOut:Some(false)}
           function success COMPLETED att0 q300 s310 e400 dur90 out(run)",
    );
    let nap = JobId::sleep(this(), &StepId::from("nap"));
    let rows = failed_once(Rows::running(10))
        .job(nap, JobKind::Sleep(step_ref("nap")), 0, 90, 90_000)
        .detail("nap", StepDetail::Sleep { until: at(90_000) });
    check(
        &rows.legacy(),
        "shop-order RUNNING att0 q0 s10 dur59990
           nap RUNNING SLEEP att0 q0 s10 dur59990 {until:90000}
             Attempt 0 FAILED SLEEP att0 q0 s10 e20 dur10 out(call 1) {until:90000}
             Attempt 1 RUNNING SLEEP att1 q90 s90 dur59910 {until:90000}",
    );
}

#[test]
fn nothing_runs_between_two_calls() {
    let rows = Rows::running(10).run("a", start(), (0, 10, 20)).job(after("a"), JobKind::Discovery, 0, 20, 20);
    let legacy = rows.legacy();
    check(
        &legacy,
        "shop-order RUNNING att0 q0 s10 dur59990
           a COMPLETED RUN att0 q0 s10 e20 dur10 out(a)
           Queued step QUEUED att0 q20 dur0",
    );
    assert_eq!(legacy.children[1].id, "queued");
}

#[test]
fn steps_that_wait() {
    let job = |name: &str| JobId::wait(this(), &StepId::from(name));
    let rows = Rows::running(10)
        .job(JobId::sleep(this(), &"nap".into()), JobKind::Sleep(step_ref("nap")), 0, 20, 90_000)
        .detail("nap", StepDetail::Sleep { until: at(90_000) })
        .job(job("event"), JobKind::Wait(step_ref("event"), WaitFor::Event), 0, 21, 90_000)
        .detail("event", event_detail(90_000, None));
    check(
        &rows.legacy(),
        "shop-order RUNNING att0 q0 s10 dur59990
           nap RUNNING SLEEP att0 q20 s20 dur59980 {until:90000}
           event WAITING WAIT_FOR_EVENT att0 q21 s21 dur59979 {event:ckpt/resume,if:-,until:90000,found:false,timedOut:None}",
    );
}

#[test]
fn a_step_that_failed_and_was_caught() {
    let rows = Rows::ended(RunStatus::Completed, 10, 100).run("caught", start(), (0, 10, 20)).failed("no").last_call(
        after("caught"),
        0,
        20,
        21,
        200,
    );
    check(
        &rows.legacy(),
        "shop-order COMPLETED att0 q0 s10 e100 dur90 out(run)
           caught FAILED RUN att1 q0 s10 e20 dur10 out(caught)
             Attempt 0 FAILED RUN att0 q0 s10 e20 dur10 out(caught)
           function success COMPLETED att0 q20 s21 e100 dur79 out(run)",
    );
}

#[test]
fn invocations_and_signals_that_timed_out() {
    let rows = Rows::ended(RunStatus::Failed, 10, 2_100)
        .wait("sig", StepOp::WaitForSignal, (20, 1_000))
        .detail("sig", StepDetail::Signal { name: "go".into(), until: at(1_000) })
        .wait("invoke", StepOp::Invoke, (1_000, 2_000))
        .failed("too late")
        .detail("invoke", invoke_detail(2_000, Some(run_id(2))))
        .invoked(run_id(2), RunStatus::Running, None)
        .last_call(after("invoke"), 0, 2_000, 2_010, 500)
        .attempt(after("invoke"), None, 0, (2_000, 2_010, 2_100), 500, None);
    check(
        &rows.legacy(),
        "shop-order FAILED att0 q0 s10 e2100 dur2090 out(run)
           sig COMPLETED WAIT_FOR_SIGNAL att0 q20 s20 e1000 dur980 out(sig) {signal:go,until:1000,timedOut:Some(true)}
           invoke FAILED INVOKE att0 q1000 s1000 e2000 dur1000 out(invoke) {fn:shop-callee,until:2000,run:false,returned:false,timedOut:Some(true)}
           function error FAILED att1 q2000 s2010 e2100 dur90 out(run)
             Attempt 0 FAILED att0 q2000 s2010 e2100 dur90 out(call 1)",
    );
}

#[test]
fn a_cancelled_run() {
    let rows = Rows::ended(RunStatus::Cancelled, 10, 500)
        .run("do something", start(), (0, 10, 20))
        .cut_off(JobId::sleep(this(), &"stop".into()), JobKind::Sleep(step_ref("stop")), 0, 20, None)
        .detail("stop", StepDetail::Sleep { until: at(30_000) });
    check(
        &rows.legacy(),
        "shop-order CANCELLED att0 q0 s10 e500 dur490
           do something COMPLETED RUN att0 q0 s10 e20 dur10 out(do something)
           stop CANCELLED SLEEP att0 q20 s20 e500 dur480 {until:30000}",
    );
}

#[test]
fn a_run_that_has_not_started() {
    check(&Rows::of(RunStatus::Scheduled).legacy(), "shop-order QUEUED att0 q0 dur0");
}
