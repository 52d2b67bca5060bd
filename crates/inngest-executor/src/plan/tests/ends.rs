//! The end of a run, and what it tells others.

use inngest_core::RunStatus;
use inngest_core::event::{FUNCTION_CANCELLED, FUNCTION_FAILED, FUNCTION_FINISHED};
use inngest_queue::JobKind;
use inngest_state::{Rejected, Requirement};

use super::model::*;
use crate::plan;

fn names(model: &Model) -> Vec<&str> {
    model.events.iter().map(|(event, _)| &*event.name).collect()
}

fn companion() -> inngest_core::Function {
    function("app-fn-failure", &[(FUNCTION_FAILED, Some("event.data.function_id == 'app-fn'"))])
}

#[test]
fn a_completed_run_tells_that_it_finished() {
    let mut model = Model::new();
    model.drive(|_| Ok(returned("1")));
    assert_eq!(names(&model), [FUNCTION_FINISHED]);
    let (event, admits) = &model.events[0];
    assert_eq!((&event.external_id, event.ts, admits.len()), (&None, START, 0));
}

#[test]
fn a_failed_run_starts_its_companion_once() {
    let mut model = Model::of(function("app-fn", &[("a/b", None)]), vec![companion()], "a/b");
    model.drive(|_| Ok(no_retry(failed("no"))));
    assert_eq!(names(&model), [FUNCTION_FINISHED, FUNCTION_FAILED]);
    let (event, admits) = &model.events[1];
    let [admit] = &admits[..] else { panic!("one companion: {admits:?}") };
    assert_eq!(event.external_id.as_deref(), Some(&*model.run.id.to_string()));
    assert_eq!(admit.function, companion().id);
    assert!(admit.run.timestamp() > event.id.timestamp(), "a run is later than its event");
    assert_eq!(admit.idempotency.as_ref().unwrap().0, *event.external_id.as_ref().unwrap());
    assert_eq!((&admit.job.kind, admit.job.due), (&JobKind::Start, START));
    assert!(model.events[0].1.is_empty());
}

#[test]
fn the_companion_of_another_function_is_not_started() {
    let mut model = Model::of(function("app-other", &[("a/b", None)]), vec![companion()], "a/b");
    model.drive(|_| Ok(no_retry(failed("no"))));
    assert!(model.events.iter().all(|(_, admits)| admits.is_empty()));
}

#[test]
fn runs_started_by_an_end_tell_nobody() {
    for trigger in [FUNCTION_FINISHED, FUNCTION_FAILED] {
        for answer in [returned("1"), no_retry(failed("no"))] {
            let mut model = Model::of(function("app-fn", &[("inngest/*", None)]), vec![companion()], trigger);
            model.drive(|_| Ok(answer.clone()));
            assert!(model.finished.is_some() && model.events.is_empty());
        }
    }
    let mut model = Model::of(function("app-fn", &[(FUNCTION_CANCELLED, None)]), vec![], FUNCTION_CANCELLED);
    model.drive(|_| Ok(returned("1")));
    assert_eq!(names(&model), [FUNCTION_FINISHED]);
}

#[test]
fn patterns_match_lifecycle_events() {
    let watcher = function("app-watch", &[("inngest/function.*", None)]);
    let mut model = Model::of(function("app-fn", &[("a/b", None)]), vec![watcher.clone()], "a/b");
    model.drive(|_| Ok(returned("1")));
    assert_eq!(model.events[0].1[0].function, watcher.id);
}

#[test]
fn cancelling_ends_the_run_with_its_own_event() {
    let mut model = Model::new();
    let cancel = |model: &Model| {
        plan::cancel(&model.run, model.registry.function(&model.run.function), &model.registry, &model.ids, model.now)
    };
    let transition = cancel(&model);
    assert_eq!(transition.require, [Requirement::RunOpen(model.run.id)]);
    let start = model.next().unwrap();
    let call = model.dispatch(&start);
    model.commit(transition).unwrap();
    assert_eq!(names(&model), [FUNCTION_FINISHED, FUNCTION_CANCELLED]);
    assert_eq!(model.events[1].0.external_id.as_deref(), Some(&*model.run.id.to_string()));
    let finish = model.finished.as_ref().unwrap();
    assert_eq!((finish.status, &finish.output, finish.started_at), (RunStatus::Cancelled, &None, None));
    assert_eq!(model.answer(&call, Ok(returned("1"))), Err(Rejected::StaleJob(start.id, None)));
    assert_eq!(model.commit(cancel(&model)), Err(Rejected::RunEnded(model.run.id)));
}

#[test]
fn of_many_returning_calls_one_ends_the_run() {
    let mut model = Model::new();
    model.drive_in_waves(|call| {
        Ok(version(
            1,
            match call.target() {
                "" if call.steps.is_empty() => ops((0..10).map(|n| planned(&format!("p{n}"))).collect()),
                "" => returned("1"),
                step => ops(vec![ran(step)]),
            },
        ))
    });
    assert_eq!((model.calls.len(), names(&model)), (21, vec![FUNCTION_FINISHED]));
}

#[test]
fn a_run_whose_function_is_gone_fails() {
    let mut model = Model::new();
    let item = model.next().unwrap();
    let transition = plan::without_function(&model.run, &item, &model.registry, &model.ids, model.now);
    model.commit(transition).unwrap();
    assert_eq!(model.status(), Some(RunStatus::Failed));
    assert!(model.error().contains("could not find function with ID: "));
    assert_eq!(names(&model), [FUNCTION_FINISHED, FUNCTION_FAILED]);
}
