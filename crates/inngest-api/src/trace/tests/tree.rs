//! The worked examples, one a test.

use inngest_core::{Payload, RunStatus, StepId};
use inngest_queue::flow::Skip;
use inngest_queue::{JobId, JobKind, Resolution, WaitFor};
use inngest_state::StepOp;
use inngest_state::trace::StepDetail;

use super::*;

#[test]
fn a_simple_run() {
    let rows = Rows::ended(RunStatus::Completed, 10, 30).last_call(start(), 0, 0, 10, 200);
    check(
        &rows.tree(),
        "Run COMPLETED att0 q0 s10 e30 dur20 out(run) resp200
           Finalization COMPLETED FINALIZATION att0 q0 s10 e30 dur20 out(run) resp200",
    );
}

#[test]
fn a_run_that_has_not_started_tells_when_it_may() {
    let rows = Rows::of(RunStatus::Scheduled).job(start(), JobKind::Start, 0, 0, 90_000);
    check(&rows.tree(), "Run QUEUED att0 q0 sched90000 out(run)");
}

#[test]
fn a_step_with_one_retry() {
    let rows = Rows::ended(RunStatus::Completed, 10, 120)
        .attempt(start(), Some("flaky"), 0, (0, 10, 20), 206, Some(80))
        .step("flaky", StepOp::Run, start(), 1, (0, 81, 95))
        .last_call(after("flaky"), 0, 95, 100, 200);
    check(
        &rows.tree(),
        "Run COMPLETED att0 q0 s10 e120 dur110 out(run) resp200
           flaky COMPLETED RUN att1 q0 s10 e95 dur85 out(flaky) resp206
             Attempt 0 FAILED RUN att0 q0 s10 e20 dur10 out(call 1) resp206
             Attempt 1 COMPLETED RUN att1 q20 sched80 s81 e95 dur14 out(flaky) resp206
           Finalization COMPLETED FINALIZATION att0 q95 s100 e120 dur20 out(run) resp200",
    );
}

#[test]
fn a_step_whose_retry_is_pending() {
    let rows = Rows::running(10).attempt(start(), Some("flaky"), 0, (0, 10, 20), 206, Some(90_000));
    let rows = rows.job(start(), JobKind::Start, 1, 0, 90_000);
    check(
        &rows.tree(),
        "Run RUNNING att0 q0 s10 out(run) resp206
           flaky RUNNING RUN att1 q0 s10
             Attempt 0 FAILED RUN att0 q0 s10 e20 dur10 out(call 1) resp206
             Attempt 1 QUEUED RUN att1 q20 sched90000",
    );
}

#[test]
fn sleeps_and_waits_that_are_over() {
    let rows = Rows::ended(RunStatus::Completed, 10, 9_000)
        .sleep("nap", (20, 2_020))
        .wait("match", StepOp::WaitForEvent, (2_030, 3_000))
        .resolved(Resolution::Event(event_id(5)))
        .detail("match", event_detail(32_030, Some(r#"async.data.id == "w1""#)))
        .wait("none", StepOp::WaitForEvent, (3_010, 5_010))
        .detail("none", event_detail(5_010, None))
        .wait("sig", StepOp::WaitForSignal, (5_020, 6_000))
        .resolved(Resolution::Value(Payload::new()))
        .detail("sig", StepDetail::Signal { name: "go".into(), until: at(7_020) })
        .wait("no sig", StepOp::WaitForSignal, (6_010, 8_010))
        .detail("no sig", StepDetail::Signal { name: "go".into(), until: at(8_010) })
        .last_call(after("no sig"), 0, 8_010, 8_020, 200);
    check(
        &rows.tree(),
        r#"Run COMPLETED att0 q0 s10 e9000 dur8990 out(run) resp200
             nap COMPLETED SLEEP att0 q20 s20 e2020 dur2000 {until:2020}
             match COMPLETED WAIT_FOR_EVENT att0 q2030 s2030 e3000 dur970 out(match) {event:ckpt/resume,if:async.data.id == "w1",until:32030,found:true,timedOut:Some(false)}
             none COMPLETED WAIT_FOR_EVENT att0 q3010 s3010 e5010 dur2000 {event:ckpt/resume,if:-,until:5010,found:false,timedOut:Some(true)}
             sig COMPLETED WAIT_FOR_SIGNAL att0 q5020 s5020 e6000 dur980 out(sig) {signal:go,until:7020,timedOut:Some(false)}
             no sig COMPLETED WAIT_FOR_SIGNAL att0 q6010 s6010 e8010 dur2000 {signal:go,until:8010,timedOut:Some(true)}
             Finalization COMPLETED FINALIZATION att0 q8010 s8020 e9000 dur980 out(run) resp200"#,
    );
}

#[test]
fn steps_that_wait() {
    let job = |name: &str| JobId::wait(this(), &StepId::from(name));
    let kind = |name: &str, what| JobKind::Wait(step_ref(name), what);
    let rows = Rows::running(10)
        .job(JobId::sleep(this(), &"nap".into()), JobKind::Sleep(step_ref("nap")), 0, 20, 90_000)
        .detail("nap", StepDetail::Sleep { until: at(90_000) })
        .job(job("event"), kind("event", WaitFor::Event), 0, 21, 90_000)
        .detail("event", event_detail(90_000, None))
        .job(job("call"), kind("call", WaitFor::Invoke), 0, 22, 90_000)
        .detail("call", invoke_detail(90_000, Some(run_id(2))))
        .invoked(run_id(2), RunStatus::Running, None)
        .job(job("sig"), kind("sig", WaitFor::Signal), 0, 23, 90_000)
        .detail("sig", StepDetail::Signal { name: "go".into(), until: at(90_000) });
    check(
        &rows.tree(),
        "Run RUNNING att0 q0 s10 out(run)
           nap WAITING SLEEP att0 q20 s20 {until:90000}
           event WAITING WAIT_FOR_EVENT att0 q21 s21 {event:ckpt/resume,if:-,until:90000,found:false,timedOut:None}
           call RUNNING INVOKE att0 q22 s22 {fn:shop-callee,until:90000,run:true,returned:false,timedOut:None}
           sig WAITING WAIT_FOR_SIGNAL att0 q23 s23 {signal:go,until:90000,timedOut:None}",
    );
}

#[test]
fn invocations() {
    let rows = Rows::ended(RunStatus::Failed, 10, 9_000)
        .wait("call it", StepOp::Invoke, (20, 837))
        .resolved(Resolution::Run(run_id(2)))
        .detail("call it", invoke_detail(99_000, Some(run_id(2))))
        .invoked(run_id(2), RunStatus::Completed, Some(event_id(3)))
        .wait("late", StepOp::Invoke, (900, 1_900))
        .failed("too late")
        .detail("late", invoke_detail(1_900, Some(run_id(3))))
        .invoked(run_id(3), RunStatus::Running, None)
        .wait("limited", StepOp::Invoke, (2_000, 2_001))
        .resolved(Resolution::Value(Payload::new()))
        .failed("rate limited")
        .detail("limited", invoke_detail(99_000, Some(run_id(4))))
        .step("nobody", StepOp::Invoke, after("limited"), 0, (2_005, 2_010, 2_020))
        .failed("no such function")
        .detail("nobody", invoke_detail(99_000, None))
        .last_call(after("nobody"), 0, 2_020, 2_030, 400);
    check(
        &rows.tree(),
        "Run FAILED att0 q0 s10 e9000 dur8990 out(run) resp400
           call it COMPLETED INVOKE att0 q20 s20 e837 dur817 out(call it) {fn:shop-callee,until:99000,run:true,returned:true,timedOut:Some(false)}
           late FAILED INVOKE att0 q900 s900 e1900 dur1000 out(late) {fn:shop-callee,until:1900,run:true,returned:false,timedOut:Some(true)}
           limited FAILED INVOKE att0 q2000 s2000 e2001 dur1 out(limited) {fn:shop-callee,until:99000,run:false,returned:false,timedOut:Some(false)}
           nobody FAILED INVOKE att0 q2005 s2010 e2020 dur10 out(nobody) {fn:shop-callee,until:99000,run:false,returned:false,timedOut:Some(false)}
           Finalization FAILED FINALIZATION att0 q2020 s2030 e9000 dur6970 out(run) resp400",
    );
}

#[test]
fn parallel_steps() {
    let targeted = |name: &str| JobId::step(this(), &StepId::from(name));
    let rows = Rows::running(10)
        .run("b", targeted("b"), (20, 21, 40))
        .run("a", targeted("a"), (20, 21, 50))
        .job(targeted("c"), JobKind::Step(step_ref("c")), 0, 20, 20)
        .job(targeted("d"), JobKind::Step(step_ref("d")), 0, 20, 90_000);
    check(
        &rows.tree(),
        "Run RUNNING att0 q0 s10 out(run) resp206
           c RUNNING RUN att0 q20
           d QUEUED RUN att0 q20 sched90000
           b COMPLETED RUN att0 q20 s21 e40 dur19 out(b) resp206
           a COMPLETED RUN att0 q20 s21 e50 dur29 out(a) resp206",
    );
}

#[test]
fn a_function_that_fails() {
    let rows = Rows::ended(RunStatus::Failed, 10, 110)
        .attempt(start(), None, 0, (0, 10, 20), 500, Some(80))
        .attempt(start(), None, 1, (0, 81, 110), 400, None)
        .last_call(start(), 1, 0, 81, 400);
    check(
        &rows.tree(),
        "Run FAILED att0 q0 s10 e110 dur100 out(run) resp400
           Finalization FAILED FINALIZATION att1 q0 s10 e110 dur100 out(run) resp400
             Attempt 0 FAILED FINALIZATION att0 q0 s10 e20 dur10 out(call 1) resp500
             Attempt 1 FAILED FINALIZATION att1 q20 sched80 s81 e110 dur29 out(call 2) resp400",
    );
}

#[test]
fn a_function_that_is_failing_shows_how() {
    let rows = Rows::running(10).attempt(start(), None, 0, (0, 10, 20), 500, Some(90_000));
    check(
        &rows.job(start(), JobKind::Start, 1, 0, 90_000).tree(),
        "Run RUNNING att0 q0 s10 out(run) resp500
           Finalization RUNNING FINALIZATION att1 q0 s10 out(call 1)
             Attempt 0 FAILED FINALIZATION att0 q0 s10 e20 dur10 out(call 1) resp500
             Attempt 1 QUEUED FINALIZATION att1 q20 sched90000",
    );
}

#[test]
fn a_function_that_fails_once_and_then_returns() {
    let rows = Rows::ended(RunStatus::Completed, 10, 110)
        .attempt(start(), None, 0, (0, 10, 20), 500, Some(80))
        .last_call(start(), 1, 0, 81, 200);
    check(
        &rows.tree(),
        "Run COMPLETED att0 q0 s10 e110 dur100 out(run) resp200
           Finalization COMPLETED FINALIZATION att1 q0 s10 e110 dur100 out(run) resp200
             Attempt 0 FAILED FINALIZATION att0 q0 s10 e20 dur10 out(call 1) resp500
             Attempt 1 COMPLETED FINALIZATION att1 q20 sched80 s81 e110 dur29 out(run) resp200",
    );
}

#[test]
fn steps_that_fail() {
    let rows = Rows::ended(RunStatus::Failed, 10, 200)
        .run("caught", start(), (0, 10, 20))
        .failed("caught")
        .attempt(after("caught"), Some("bad step"), 0, (20, 21, 30), 206, Some(90))
        .step("bad step", StepOp::Run, after("caught"), 1, (20, 91, 100))
        .failed("bad")
        .last_call(after("bad step"), 0, 100, 101, 400)
        .attempt(after("bad step"), None, 0, (100, 101, 200), 400, None);
    check(
        &rows.tree(),
        "Run FAILED att0 q0 s10 e200 dur190 out(run) resp400
           caught FAILED RUN att0 q0 s10 e20 dur10 out(caught) resp206
           bad step FAILED RUN att1 q20 s21 e100 dur79 out(bad step) resp206
             Attempt 0 FAILED RUN att0 q20 s21 e30 dur9 out(call 1) resp206
             Attempt 1 FAILED RUN att1 q30 sched90 s91 e100 dur9 out(bad step) resp206
           Finalization FAILED FINALIZATION att0 q100 s101 e200 dur99 out(run) resp400",
    );
}

#[test]
fn a_planned_step_whose_calls_fail_ends_the_run() {
    let job = JobId::step(this(), &"a".into());
    let rows = Rows::ended(RunStatus::Failed, 10, 200)
        .attempt(job, Some("a"), 0, (20, 21, 30), 500, Some(100))
        .attempt(job, Some("a"), 1, (20, 101, 200), 500, None)
        .last_call(job, 1, 20, 101, 500);
    check(
        &rows.tree(),
        "Run FAILED att0 q0 s10 e200 dur190 out(run) resp500
           a FAILED RUN att1 q20 s21 e200 dur179 out(call 2) resp500
             Attempt 0 FAILED RUN att0 q20 s21 e30 dur9 out(call 1) resp500
             Attempt 1 FAILED RUN att1 q30 sched100 s101 e200 dur99 out(call 2) resp500
           Finalization FAILED FINALIZATION att0 q20 s101 e200 dur99 out(run) resp500",
    );
}

#[test]
fn requests_that_failed_belong_to_what_came_of_their_job() {
    let failed = |rows: Rows| rows.attempt(start(), None, 0, (0, 10, 20), 500, Some(80));
    let rows = failed(Rows::ended(RunStatus::Completed, 10, 400))
        .step("a", StepOp::Run, start(), 1, (0, 81, 95))
        .attempt(after("a"), None, 0, (95, 100, 110), 500, Some(150))
        .sleep("nap", (160, 300))
        .attempt(after("nap"), None, 0, (300, 310, 320), 500, Some(350))
        .last_call(after("nap"), 1, 300, 351, 200);
    check(
        &rows.tree(),
        "Run COMPLETED att0 q0 s10 e400 dur390 out(run) resp200
           a COMPLETED RUN att1 q0 s10 e95 dur85 out(a) resp206
             Attempt 0 FAILED RUN att0 q0 s10 e20 dur10 out(call 1) resp500
             Attempt 1 COMPLETED RUN att1 q20 sched80 s81 e95 dur14 out(a) resp206
           nap COMPLETED SLEEP att1 q95 s100 e300 dur200 {until:300}
             Attempt 0 FAILED SLEEP att0 q95 s100 e110 dur10 out(call 1) resp500 {until:300}
             Attempt 1 COMPLETED SLEEP att1 q160 s160 e300 dur140 {until:300}
           Finalization COMPLETED FINALIZATION att1 q300 s310 e400 dur90 out(run) resp200
             Attempt 0 FAILED FINALIZATION att0 q300 s310 e320 dur10 out(call 1) resp500
             Attempt 1 COMPLETED FINALIZATION att1 q320 sched350 s351 e400 dur49 out(run) resp200",
    );
    let job = JobId::wait(this(), &"w".into());
    let rows = failed(Rows::running(10))
        .job(job, JobKind::Wait(step_ref("w"), WaitFor::Event), 0, 90, 90_000)
        .detail("w", event_detail(90_000, None));
    check(
        &rows.tree(),
        "Run RUNNING att0 q0 s10 out(run) resp500
           w WAITING WAIT_FOR_EVENT att1 q0 s10 {event:ckpt/resume,if:-,until:90000,found:false,timedOut:None}
             Attempt 0 FAILED WAIT_FOR_EVENT att0 q0 s10 e20 dur10 out(call 1) resp500 {event:ckpt/resume,if:-,until:90000,found:false,timedOut:None}
             Attempt 1 WAITING WAIT_FOR_EVENT att1 q90 s90 {event:ckpt/resume,if:-,until:90000,found:false,timedOut:None}",
    );
}

#[test]
fn a_cancelled_run_leaves_nothing_open() {
    let planned = |name: &str| (JobId::step(this(), &name.into()), JobKind::Step(step_ref(name)));
    let cut_off = |rows: Rows, (job, kind), attempt, called_at| rows.cut_off(job, kind, attempt, 20, called_at);
    let (nap, wait, ask) = (JobId::sleep(this(), &"nap".into()), JobId::wait(this(), &"w".into()), JobId::gateway);
    let rows = Rows::ended(RunStatus::Cancelled, 10, 500)
        .run("before", start(), (0, 10, 20))
        .cut_off(nap, JobKind::Sleep(step_ref("nap")), 0, 20, None)
        .detail("nap", StepDetail::Sleep { until: at(90_000) })
        .cut_off(wait, JobKind::Wait(step_ref("w"), WaitFor::Event), 0, 20, None)
        .detail("w", event_detail(70_000, None))
        .cut_off(ask(this(), &"ask".into()), JobKind::Gateway(step_ref("ask")), 0, 20, None)
        .attempt(planned("again").0, Some("again"), 0, (20, 21, 30), 500, Some(900));
    let rows = cut_off(
        cut_off(cut_off(rows, planned("again"), 1, None), planned("called"), 0, Some(25)),
        planned("queued"),
        0,
        None,
    );
    check(
        &rows.tree(),
        "Run CANCELLED att0 q0 s10 e500 dur490 out(run) resp500
           before COMPLETED RUN att0 q0 s10 e20 dur10 out(before) resp206
           nap CANCELLED SLEEP att0 q20 s20 e500 dur480 {until:90000}
           w CANCELLED WAIT_FOR_EVENT att0 q20 s20 e500 dur480 {event:ckpt/resume,if:-,until:70000,found:false,timedOut:None}
           ask CANCELLED AI_GATEWAY att0 q20 e500 out(ask)
           queued CANCELLED RUN att0 q20 e500
           again CANCELLED RUN att1 q20 s21 e500 dur479
             Attempt 0 FAILED RUN att0 q20 s21 e30 dur9 out(call 1) resp500
             Attempt 1 CANCELLED RUN att1 q30 sched900 e500
           called CANCELLED RUN att0 q20 s25 e500 dur475",
    );
    let rows = Rows::ended(RunStatus::Cancelled, 10, 500);
    check(
        &rows.attempt(start(), None, 0, (0, 10, 20), 500, Some(900)).tree(),
        "Run CANCELLED att0 q0 s10 e500 dur490 out(run) resp500
           Finalization CANCELLED FINALIZATION att1 q0 s10 e500 dur490 out(call 1)
             Attempt 0 FAILED FINALIZATION att0 q0 s10 e20 dur10 out(call 1) resp500
             Attempt 1 CANCELLED FINALIZATION att1 q20 sched900 e500",
    );
}

#[test]
fn steps_by_their_types() {
    let of_type = |sdk_type: &str| StepDetail::Run { sdk_type: sdk_type.into() };
    let request = StepDetail::Gateway { request: payload(r#"{"model":"m"}"#) };
    let gateway = |name: &str| JobId::gateway(this(), &StepId::from(name));
    let rows = Rows::running(10)
        .run("wrap it", start(), (0, 10, 20))
        .detail("wrap it", of_type("step.ai.wrap"))
        .run("send it", after("wrap it"), (20, 21, 30))
        .detail("send it", of_type("step.sendEvent"))
        .step("ask model", StepOp::AiGateway, gateway("ask model"), 0, (31, 32, 111))
        .detail("ask model", request.clone())
        .step("fetch", StepOp::Gateway, gateway("fetch"), 0, (112, 113, 120))
        .job(gateway("ask again"), JobKind::Gateway(step_ref("ask again")), 0, 121, 121)
        .detail("ask again", request);
    check(
        &rows.tree(),
        "Run RUNNING att0 q0 s10 out(run) resp206
           wrap it COMPLETED RUN att0 q0 s10 e20 dur10 out(wrap it) resp206 {type:step.ai.wrap}
           send it COMPLETED RUN att0 q20 s21 e30 dur9 out(send it) resp206 {type:step.sendEvent}
           ask model COMPLETED AI_GATEWAY att0 q31 s32 e111 dur79 out(ask model)
           fetch COMPLETED RUN att0 q112 s113 e120 dur7 out(fetch) {type:step.fetch}
           ask again RUNNING AI_GATEWAY att0 q121 out(ask again)",
    );
}

#[test]
fn a_checkpointed_run() {
    let rows = Rows::ended(RunStatus::Completed, 10, 200)
        .run("loop", start(), (0, 10, 61))
        .run("loop 1", start(), (61, 61, 132))
        .last_call(start(), 0, 0, 10, 206);
    let tree = rows.tree();
    check(
        &tree,
        "Run COMPLETED att0 q0 s10 e200 dur190 out(run) resp206
           loop COMPLETED RUN att0 q0 s10 e61 dur51 out(loop) resp206
           loop 1 COMPLETED RUN att0 q61 s61 e132 dur71 out(loop 1) resp206
           Finalization COMPLETED FINALIZATION att0 q0 s10 e200 dur190 out(run) resp206",
    );
    let timed = |span: &Span| span.metadata.iter().any(|note| &*note.kind == "inngest.timing");
    assert_eq!(tree.children.iter().map(timed).collect::<Vec<_>>(), [true, false, false], "one call, timed once");
}

#[test]
fn a_failure_after_a_checkpoint_belongs_to_what_follows() {
    let rows = Rows::ended(RunStatus::Completed, 10, 200)
        .run("a", start(), (0, 10, 20))
        .attempt(start(), None, 0, (0, 10, 30), 500, Some(50))
        .step("b", StepOp::Run, start(), 0, (50, 51, 60))
        .last_call(start(), 0, 0, 51, 206);
    check(
        &rows.tree(),
        "Run COMPLETED att0 q0 s10 e200 dur190 out(run) resp206
           a COMPLETED RUN att0 q0 s10 e20 dur10 out(a) resp206
           b COMPLETED RUN att1 q0 s10 e60 dur50 out(b) resp206
             Attempt 0 FAILED RUN att0 q0 s10 e30 dur20 out(call 1) resp500
             Attempt 1 COMPLETED RUN att1 q30 sched50 s51 e60 dur9 out(b) resp206
           Finalization COMPLETED FINALIZATION att0 q0 s51 e200 dur149 out(run) resp206",
    );
}

#[test]
fn a_rerun_from_a_step_shows_what_it_ran() {
    let mut rows = Rows::ended(RunStatus::Completed, 10, 200)
        .run("copied", start(), (-500, -490, -480))
        .run("again", JobId::step(this(), &"again".into()), (0, 10, 20))
        .last_call(after("again"), 0, 20, 21, 200);
    let shown = |rows: &Rows| rows.tree().children.iter().map(|span| span.name.to_string()).collect::<Vec<_>>();
    assert_eq!(shown(&rows), ["copied", "again", "Finalization"]);
    rows.0.run.original_run = Some(run_id(9));
    assert_eq!(shown(&rows), ["again", "Finalization"]);
    let mut rows = Rows::of(RunStatus::Scheduled).run("copied", start(), (-500, -490, -480));
    rows.0.run.original_run = Some(run_id(9));
    check(&rows.tree(), "Run QUEUED att0 q0 out(run)");
}

#[test]
fn a_skipped_run_is_its_root_alone() {
    let mut rows = Rows::of(RunStatus::Skipped);
    rows.0.run.ended_at = Some(at(0));
    for (skip, reason, existing) in [
        (Skip::Singleton(run_id(5)), "Singleton", Some(run_id(5))),
        (Skip::Paused, "FunctionPaused", None),
        (Skip::Draining, "FunctionDrained", None),
    ] {
        rows.0.run.skip = Some(skip);
        let root = rows.tree();
        check(&root, "Run SKIPPED att0 q0 e0 out(run)");
        let skip = root.skip.unwrap();
        assert_eq!((skip.reason, skip.existing), (reason, existing));
    }
}

#[test]
fn a_run_that_the_server_ends_without_a_call_has_an_end() {
    check(
        &Rows::ended(RunStatus::Failed, 10, 200).tree(),
        "Run FAILED att0 q0 s10 e200 dur190 out(run)
           Finalization FAILED FINALIZATION att0 q200 s200 e200 dur0 out(run)",
    );
}
