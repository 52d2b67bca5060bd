//! What holds for every trace, over random rows.

use std::collections::HashSet;

use inngest_core::RunStatus;
use inngest_state::StepOp;
use inngest_state::trace::StepDetail;
use proptest::prelude::*;

use super::super::SpanStatus;
use super::*;

/// How one step of the run went.
#[derive(Clone, Copy, Debug)]
struct Went {
    kind: u8,
    failures: u32,
    known: bool,
}

fn went() -> impl Strategy<Value = Went> {
    (0..4_u8, 0..3_u32, any::<bool>()).prop_map(|(kind, failures, known)| Went { kind, failures, known })
}

fn statuses() -> impl Strategy<Value = RunStatus> {
    prop::sample::select(vec![RunStatus::Running, RunStatus::Completed, RunStatus::Failed, RunStatus::Cancelled])
}

/// A run of these steps, one after the other; `failures` of the function itself at the end.
fn rows(status: RunStatus, steps: &[Went], failures: u32) -> Rows {
    let mut now = 10;
    let mut rows = if status.is_final() { Rows::ended(status, 10, 0) } else { Rows::running(10) };
    let mut job = start();
    let fail = |mut rows: Rows, job: JobId, step: Option<&str>, failures: u32, now: &mut i64| {
        let queued = *now;
        for attempt in 0..failures {
            rows = rows.attempt(job, step, attempt, (queued, *now, *now + 5), 500, Some(*now + 8));
            *now += 8;
        }
        rows
    };
    for (number, step) in steps.iter().enumerate() {
        let name = format!("s{number}");
        rows = fail(rows, job, Some(&*name).filter(|_| step.known && step.kind == 0), step.failures, &mut now);
        rows = match step.kind {
            0 => rows.step(&name, StepOp::Run, job, step.failures, (now, now, now + 5)),
            1 => rows.sleep(&name, (now + 1, now + 5)),
            2 => rows.wait(&name, StepOp::WaitForEvent, (now + 1, now + 5)).detail(&name, event_detail(now + 5, None)),
            _ => rows
                .wait(&name, StepOp::Invoke, (now + 1, now + 5))
                .failed("late")
                .detail(&name, invoke_detail(now, None)),
        };
        now += 6;
        job = after(&name);
    }
    rows = fail(rows, job, None, failures, &mut now);
    match status {
        RunStatus::Running if failures > 0 => rows = rows.job(job, JobKind::Discovery, failures, now, now),
        RunStatus::Completed | RunStatus::Failed => rows = rows.last_call(job, failures, now, now, 200),
        RunStatus::Cancelled => {
            let id = JobId::sleep(this(), &"cut off".into());
            rows = rows
                .cut_off(id, JobKind::Sleep(step_ref("cut off")), 0, 10, None)
                .detail("cut off", StepDetail::Sleep { until: at(now + 99) });
        }
        _ => {}
    }
    if status.is_final() {
        rows.0.run.ended_at = Some(at(now + 5));
    }
    rows
}

fn all<'a>(span: &'a Span, into: &mut Vec<&'a Span>) {
    into.push(span);
    span.children.iter().for_each(|child| all(child, into));
}

proptest! {
    #[test]
    fn every_trace_is_sound(status in statuses(), steps in prop::collection::vec(went(), 0..5), failures in 0..3_u32) {
        let rows = rows(status, &steps, failures);
        let tree = rows.tree();
        let mut spans = Vec::new();
        all(&tree, &mut spans);

        let ids: HashSet<&str> = spans.iter().map(|span| &*span.id).collect();
        prop_assert_eq!(ids.len(), spans.len(), "ids are unique");
        let children = &tree.children;
        let steps_shown = children.iter().filter(|span| span.step.is_some()).count();
        prop_assert_eq!(steps_shown, steps.len() + usize::from(status == RunStatus::Cancelled));
        let ends = children.iter().filter(|span| span.step_type == "FINALIZATION").count();
        if matches!(status, RunStatus::Completed | RunStatus::Failed) {
            prop_assert_eq!(ends, 1);
        } else {
            prop_assert_eq!(ends, usize::from(failures > 0));
        }
        for span in &spans {
            let attempts: HashSet<_> = span.children.iter().map(|child| (&child.step, child.attempts, &child.name)).collect();
            prop_assert_eq!(attempts.len(), span.children.len(), "no two children are the same");
            let is_open = matches!(span.status, SpanStatus::Queued | SpanStatus::Running | SpanStatus::Waiting);
            prop_assert!(!(status.is_final() && is_open), "{} is open", span.name);
            prop_assert!(span.ended_at.is_some() || is_open || span.is_root);
            for child in &span.children {
                prop_assert_eq!(child.parent.as_ref(), Some(&span.id));
                prop_assert!(child.queued_at >= span.queued_at, "{} begins within {}", child.name, span.name);
                prop_assert!(span.ended_at.is_none() || child.ended_at <= span.ended_at, "{} ends within {}", child.name, span.name);
            }
        }
        prop_assert!(children.iter().rev().skip(1).all(|span| span.step_type != "FINALIZATION"), "the end comes last");

        let legacy = rows.legacy();
        prop_assert_eq!(legacy.status, tree.status);
        prop_assert_eq!(legacy.children.iter().filter(|span| span.step.is_some()).count(), steps_shown);
        let mut spans = Vec::new();
        all(&legacy, &mut spans);
        prop_assert!(spans.iter().all(|span| span.duration.is_some() && span.metadata.is_empty()));
        prop_assert_eq!(rows.tree(), tree, "the same rows make the same ids");
    }
}
