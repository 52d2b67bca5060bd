//! What every store must do, as cases that run on any backend: `exercise(open)`.
//!
//! A backend is done when all cases pass. Each case makes its own ids, so that they can share one database.

mod admission;
mod lists;
mod waits;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use inngest_core::event::{EventBody, FUNCTION_FAILED, FUNCTION_FINISHED};
use inngest_core::function::Trigger;
use inngest_core::{
    App, AppId, Clock, Event, EventId, Function, FunctionId, Ids, Millis, Payload, RunId, RunStatus, StepId,
    SystemEntropy,
};
use inngest_queue::{Deadline, JobId, JobKind, QueueItem, StepRef, WaitFor};

use crate::history::{Between, EventFilter, RunFilter};
use crate::trace::{CutOff, LastCall, ResponseHead};
use crate::{
    Admit, AttemptRecord, Change, CommitError, Committed, FinishRun, History, Rejected, Requirement, StepOp,
    StepRecord, Store, StoreError, Transition, When,
};

/// A backend under test.
pub trait Backend: Store + History {}

impl<T: Store + History> Backend for T {}

/// A clock that is set by hand.
#[derive(Debug)]
pub struct HandClock(AtomicI64);

impl Default for HandClock {
    fn default() -> Self {
        Self(AtomicI64::new(1_700_000_000_000))
    }
}

impl HandClock {
    /// Lets time pass.
    pub fn pass(&self, time: Duration) {
        self.0.store(self.now().plus(time).0, Ordering::Relaxed);
    }
}

impl Clock for HandClock {
    fn now(&self) -> Millis {
        Millis(self.0.load(Ordering::Relaxed))
    }
}

/// Runs every case on a store that is opened empty and tells the time by the clock given. Panics at the first that
/// fails, naming it.
pub async fn exercise<B: Backend>(open: impl FnOnce(Arc<dyn Clock>) -> B) {
    let clock = Arc::new(HandClock::default());
    let store = open(clock.clone());
    let case = Case { store: &store, ids: Ids::new(clock.clone(), Arc::new(SystemEntropy)), clock };
    case.an_event_starts_its_runs().await;
    case.a_repeated_event_changes_nothing().await;
    case.an_idempotency_key_starts_a_function_once().await;
    case.an_expired_idempotency_key_is_free_again().await;
    case.a_stale_generation_is_rejected_whole().await;
    case.the_first_result_of_a_step_wins().await;
    case.steps_are_read_in_the_order_they_were_recorded().await;
    case.the_last_job_of_a_group_joins_it().await;
    case.only_the_last_job_of_a_run_is_followed_by_one_that_is_alone().await;
    case.parallel_commits_join_exactly_once().await;
    case.a_recorded_step_is_not_planned_again().await;
    case.a_job_is_replaced_by_a_newer_generation_only().await;
    case.a_job_may_start_its_attempts_anew().await;
    case.the_end_of_a_run_removes_its_jobs().await;
    case.what_the_end_of_a_run_cuts_off_is_kept().await;
    case.jobs_are_counted().await;
    case.an_ended_run_is_closed().await;
    case.a_run_is_started_once().await;
    case.the_first_call_starts_its_run_once().await;
    case.attempts_and_steps_make_the_trace().await;
    case.lifecycle_events_are_derived_from_the_run().await;
    case.jobs_are_found_by_time().await;
    case.void_leases_raise_generations_of_due_jobs().await;
    case.events_are_listed_newest_first().await;
    case.runs_are_filtered_and_paged().await;
    case.definitions_are_kept().await;
    case.odd_text_survives().await;
    case.large_values_survive().await;
    case.waits().await;
    case.admissions().await;
    case.lists().await;
}

struct Case<'s> {
    store: &'s dyn Backend,
    ids: Ids,
    clock: Arc<HandClock>,
}

impl Case<'_> {
    async fn an_event_starts_its_runs(&self) {
        let (event, admits) = (self.event("case/start"), [self.function("start-a"), self.function("start-b")]);
        let (committed, runs) = self.admit(&event, &admits).await;
        assert_eq!(
            committed.jobs.iter().map(|job| job.id).collect::<Vec<_>>(),
            runs.iter().map(|run| JobId::start(*run)).collect::<Vec<_>>()
        );
        for (run, function) in runs.iter().zip(admits) {
            let state = self.store.run(*run).await.expect("reads").expect("open");
            assert_eq!(
                (state.function, state.status, &*state.event_ids),
                (function, RunStatus::Scheduled, &[event.id][..])
            );
            assert_eq!(EventBody::Stored(state.events[0].clone()), event.body);
            assert_eq!(&*state.event_names[0], "case/start");
        }
        let record = self.store.event(event.id).await.expect("reads").expect("stored");
        assert_eq!((&record.event, &record.runs), (&event, &runs));
        assert!(self.store.event(self.ids.event(Millis(1))).await.expect("reads").is_none());
    }

    async fn a_repeated_event_changes_nothing(&self) {
        let (event, function) = (self.event("case/repeat"), self.function("repeat"));
        let (_, first) = self.admit(&event, &[function]).await;
        let (second, _) = self.admit(&event, &[function]).await;
        assert!(second.jobs.is_empty() && second.admitted.is_empty());
        assert_eq!(self.store.event(event.id).await.expect("reads").expect("stored").runs, first);
    }

    async fn an_idempotency_key_starts_a_function_once(&self) {
        let (one, other) = (self.function("once-a"), self.function("once-b"));
        let later = self.ids.now().plus(std::time::Duration::from_secs(60));
        let first = self.put_keyed("k", later, one).await;
        let again = self.put_keyed("k", later, one).await;
        let elsewhere = self.put_keyed("k", later, other).await;
        let another = self.put_keyed("l", later, one).await;
        assert_eq!([first, again, elsewhere, another], [1, 0, 1, 1]);
    }

    async fn an_expired_idempotency_key_is_free_again(&self) {
        let function = self.function("expired");
        let past = Millis(self.ids.now().0 - 1);
        assert_eq!([self.put_keyed("k", past, function).await, self.put_keyed("k", past, function).await], [1, 1]);
    }

    async fn a_stale_generation_is_rejected_whole(&self) {
        let (run, job) = self.run("stale").await;
        let step = self.step(run, "a", "1");
        let changes = vec![Change::RecordStep(Box::new(step)), Change::RemoveJob(job)];
        let stale = Transition { require: vec![Requirement::Generation(job, 2)], changes: changes.clone() };
        let rejected = self.store.commit(stale.into()).await;
        assert!(matches!(rejected, Err(CommitError::Rejected(Rejected::StaleJob(id, _))) if id == job));
        assert!(self.steps_of(run).await.is_empty());
        self.fenced(job, 1, changes.clone()).await.expect("current");
        let gone = self.fenced(job, 1, changes).await;
        assert!(matches!(gone, Err(CommitError::Rejected(Rejected::StaleJob(..)))));
    }

    async fn the_first_result_of_a_step_wins(&self) {
        let (run, job) = self.run("first").await;
        let next = self.item(JobId::discovery(run, &["a"]), JobKind::Discovery);
        let first =
            vec![Change::RecordStep(Box::new(self.step(run, "a", "1"))), Change::PutJob(next.clone(), When::Recorded)];
        let committed = self.fenced(job, 1, first).await.expect("commits");
        assert_eq!(committed.jobs, std::slice::from_ref(&next));
        let other = self.item(JobId::discovery(run, &["other"]), JobKind::Discovery);
        let second =
            vec![Change::RecordStep(Box::new(self.step(run, "a", "2"))), Change::PutJob(other, When::Recorded)];
        let committed = self.fenced(job, 1, second).await.expect("commits");
        assert!(committed.jobs.is_empty(), "whoever recorded the step has made the job that follows");
        assert_eq!(self.steps_of(run).await, [("a".to_owned(), Payload::from("1"))]);
    }

    async fn steps_are_read_in_the_order_they_were_recorded(&self) {
        let (run, job) = self.run("order").await;
        let names = ["m", "z", "a", "k", "b"];
        for name in names {
            self.fenced(job, 1, vec![Change::RecordStep(Box::new(self.step(run, name, "null")))])
                .await
                .expect("commits");
        }
        let found: Vec<String> = self.steps_of(run).await.into_iter().map(|(name, _)| name).collect();
        assert_eq!(found, names);
        let trace = self.store.trace(run).await.expect("reads");
        assert_eq!(trace.steps.iter().map(|step| step.step.id.as_str()).collect::<Vec<_>>(), names);
    }

    async fn the_last_job_of_a_group_joins_it(&self) {
        let (run, start) = self.run("group").await;
        let jobs = self.plan(run, start, 7, &["p", "q"]).await;
        let join = self.item(JobId::discovery(run, &["p", "q"]), JobKind::Discovery);
        let first = self.finish_planned(&jobs[0], "p", &join, 7).await;
        assert!(first.jobs.is_empty());
        let last = self.finish_planned(&jobs[1], "q", &join, 7).await;
        assert_eq!(last.jobs, [join]);
    }

    async fn only_the_last_job_of_a_run_is_followed_by_one_that_is_alone(&self) {
        let (run, start) = self.run("last").await;
        let first = self.plan(run, start, 7, &["p"]).await;
        let other = self.planned(run, "q", Some(8));
        let deadline = JobId::deadline(run, Deadline::Finish);
        let deadline = self.item(deadline, JobKind::Deadline(Deadline::Finish));
        self.commit(vec![Change::PutJob(other.clone(), When::Always), Change::PutJob(deadline, When::Always)]).await;
        let follow = |job: &QueueItem, step: &str| {
            let next = self.item(JobId::discovery(run, &[step]), JobKind::Discovery);
            let record = Change::RecordStep(Box::new(self.step(run, step, "null")));
            (next.clone(), vec![Change::RemoveJob(job.id), record, Change::PutJob(next, When::Last)])
        };
        let (_, changes) = follow(&first[0], "p");
        let committed = self.fenced(first[0].id, 1, changes).await.expect("commits");
        assert!(committed.jobs.is_empty(), "a job of another group is left");
        let (next, changes) = follow(&other, "q");
        assert_eq!(self.fenced(other.id, 1, changes).await.expect("commits").jobs, [next], "only a deadline is");
    }

    async fn parallel_commits_join_exactly_once(&self) {
        let (run, start) = self.run("parallel").await;
        let names: Vec<String> = (0..20).map(|n| format!("s{n:02}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let jobs = self.plan(run, start, 9, &names).await;
        let join = self.item(JobId::discovery(run, &["all"]), JobKind::Discovery);
        let all = jobs.iter().zip(&names).map(|(job, name)| self.finish_planned(job, name, &join, 9));
        let committed = futures(all).await;
        assert_eq!(committed.iter().filter(|committed| committed.jobs == [join.clone()]).count(), 1);
        assert_eq!(self.steps_of(run).await.len(), 20);
    }

    async fn a_recorded_step_is_not_planned_again(&self) {
        let (run, job) = self.run("replan").await;
        let (done, open) = (self.planned(run, "done", None), self.planned(run, "open", None));
        let changes = vec![
            Change::RecordStep(Box::new(self.step(run, "done", "null"))),
            Change::PutJob(done, When::Unrecorded),
            Change::PutJob(open.clone(), When::Unrecorded),
            Change::PutJob(open.clone(), When::Unrecorded),
        ];
        assert_eq!(self.fenced(job, 1, changes).await.expect("commits").jobs, [open]);
    }

    async fn a_job_is_replaced_by_a_newer_generation_only(&self) {
        let (run, job) = self.run("retry").await;
        let mut retry = self.item(job, JobKind::Start);
        (retry.generation, retry.attempt, retry.version, retry.plan_only, retry.priority) = (2, 1, 2, true, -7);
        let put = |item: &QueueItem| vec![Change::PutJob(item.clone(), When::Always)];
        assert_eq!(self.fenced(job, 1, put(&retry)).await.expect("commits").jobs, [retry.clone()]);
        assert!(self.fenced(job, 2, put(&retry)).await.expect("commits").jobs.is_empty());
        assert_eq!(self.store.trace(run).await.expect("reads").jobs, [retry]);
    }

    async fn the_end_of_a_run_removes_its_jobs(&self) {
        let (run, start) = self.run("end").await;
        let jobs = self.plan(run, start, 3, &["x", "y"]).await;
        let committed = self
            .fenced(jobs[0].id, 1, vec![finish(run, RunStatus::Completed, Some("1"), None)])
            .await
            .expect("commits");
        assert_eq!(committed.removed, [jobs[1].id], "the caller's own job is settled by the caller");
        assert!(self.store.trace(run).await.expect("reads").jobs.is_empty());
        let record = self.store.run_record(run).await.expect("reads").expect("kept");
        assert_eq!((record.status, record.output), (RunStatus::Completed, Some(Payload::from("1"))));
        assert!(record.ended_at.is_some());
    }

    async fn what_the_end_of_a_run_cuts_off_is_kept(&self) {
        let (run, start) = self.run("cut off").await;
        let planned = self.plan(run, start, 3, &["last", "called", "queued"]).await;
        let (id, name) = (StepId::from("s"), Arc::from("nap"));
        let sleep = self.item(JobId::sleep(run, &id), JobKind::Sleep(StepRef { id, name }));
        let (id, name) = (StepId::from("w"), Arc::from("wait"));
        let wait = self.item(JobId::wait(run, &id), JobKind::Wait(StepRef { id, name }, WaitFor::Signal));
        let again = QueueItem { attempt: 2, generation: 3, ..planned[2].clone() };
        let discovery = self.item(JobId::discovery(run, &["last"]), JobKind::Discovery);
        let others = [&sleep, &wait, &again, &discovery];
        self.commit(others.map(|job| Change::PutJob(job.clone(), When::Always)).into()).await;
        assert_eq!(self.store.trace(run).await.expect("reads").cut_off, [], "as long as the run goes on");
        let Change::FinishRun(mut end) = finish(run, RunStatus::Cancelled, None, None) else { unreachable!() };
        end.last_call = Some(LastCall {
            job: planned[0].id,
            queued_at: Millis(1),
            started_at: Millis(2),
            attempt: 0,
            response: None,
        });
        end.in_flight = vec![(planned[1].id, Millis(12)), (start, Millis(13))];
        self.fenced(planned[0].id, 1, vec![Change::FinishRun(end)]).await.expect("commits");
        let trace = self.store.trace(run).await.expect("reads");
        let cut_off = |job: &QueueItem, called_at: Option<i64>| CutOff {
            job: job.id.key,
            kind: job.kind.clone(),
            queued_at: job.queued_at,
            called_at: called_at.map(Millis),
            attempt: job.attempt,
        };
        let expected =
            [cut_off(&planned[1], Some(12)), cut_off(&sleep, None), cut_off(&again, None), cut_off(&wait, None)];
        assert_eq!(trace.cut_off, expected, "those that are about steps, but for the one it ended with");
        let (usual, start) = self.run("not cut off").await;
        let deadline = self.item(JobId::deadline(usual, Deadline::Finish), JobKind::Deadline(Deadline::Finish));
        self.commit(vec![Change::PutJob(deadline, When::Always)]).await;
        self.fenced(start, 1, vec![finish(usual, RunStatus::Completed, None, None)]).await.expect("commits");
        assert_eq!(self.store.trace(usual).await.expect("reads").cut_off, [], "most runs leave none");
    }

    async fn jobs_are_counted(&self) {
        let before = self.store.job_count().await.expect("reads");
        let added = async || self.store.job_count().await.expect("reads") - before;
        let (run, start) = self.run("counted").await;
        assert_eq!(added().await, 1);
        let planned = self.plan(run, start, 3, &["x", "y"]).await;
        assert_eq!(added().await, 2, "two in the place of one");
        let (x, again) = (planned[0].clone(), |generation| QueueItem { generation, ..planned[0].clone() });
        for job in [x, again(2), again(2)] {
            self.commit(vec![Change::PutJob(job, When::Always)]).await;
            assert_eq!(added().await, 2, "it is there, in this or another generation");
        }
        let stale = self.fenced(planned[0].id, 1, vec![Change::RemoveJob(planned[0].id)]).await;
        assert!(stale.is_err() && added().await == 2, "what is refused changes nothing");
        let far = QueueItem { generation: 5, due: Millis(i64::MAX / 2), ..self.planned(run, "far", None) };
        self.commit(vec![Change::PutJob(far, When::Always), Change::RemoveJob(planned[1].id)]).await;
        assert_eq!(added().await, 2, "one more, and one less");
        self.commit(vec![Change::RemoveJob(planned[1].id)]).await;
        assert_eq!(added().await, 2, "which is gone already");
        self.commit(vec![finish(run, RunStatus::Cancelled, None, None)]).await;
        assert_eq!(added().await, 0);
    }

    async fn a_job_may_start_its_attempts_anew(&self) {
        let (run, job) = self.run("anew").await;
        let known = self.store.trace(run).await.expect("reads").jobs.remove(0);
        let retry = QueueItem { generation: 2, attempt: 3, ..known };
        self.fenced(job, 1, vec![Change::PutJob(retry.clone(), When::Always)]).await.expect("commits");
        let committed = self.fenced(job, 2, vec![Change::RestartAttempts(job, 7)]).await.expect("commits");
        assert!(committed.jobs.is_empty(), "the job stays with the call that is in flight");
        let jobs = self.store.trace(run).await.expect("reads").jobs;
        assert_eq!(jobs, [QueueItem { attempt: 0, stack_current: 7, ..retry }]);
        let stale = self.fenced(job, 1, Vec::new()).await;
        assert!(
            matches!(stale, Err(CommitError::Rejected(Rejected::StaleJob(_, Some(2))))),
            "it says which is current"
        );
    }

    async fn an_ended_run_is_closed(&self) {
        let (run, job) = self.run("closed").await;
        let open = |changes| Transition { require: vec![Requirement::RunOpen(run)], changes };
        let end = vec![finish(run, RunStatus::Cancelled, None, None)];
        self.store.commit(open(end.clone()).into()).await.expect("open");
        assert!(self.store.run(run).await.expect("reads").is_none());
        let again = self.store.commit(open(end).into()).await;
        assert!(matches!(again, Err(CommitError::Rejected(Rejected::RunEnded(id))) if id == run));
        assert!(matches!(self.fenced(job, 1, Vec::new()).await, Err(CommitError::Rejected(Rejected::StaleJob(..)))));
        let unknown = self.ids.run(self.ids.event(Millis(1)), Millis(1));
        let nobody = Transition { require: vec![Requirement::RunOpen(unknown)], changes: Vec::new() };
        assert!(matches!(self.store.commit(nobody.into()).await, Err(CommitError::Rejected(_))));
    }

    async fn a_run_is_started_once(&self) {
        let (run, job) = self.run("started").await;
        for at in [5, 9] {
            self.fenced(job, 1, vec![start(run, at)]).await.expect("commits");
        }
        let state = self.store.run(run).await.expect("reads").expect("open");
        assert_eq!((state.status, state.started_at), (RunStatus::Running, Some(Millis(5))));
        let record = self.store.run_record(run).await.expect("reads").expect("kept");
        assert_eq!((record.status, record.started_at), (RunStatus::Running, Some(Millis(5))));
    }

    async fn the_first_call_starts_its_run_once(&self) {
        let ((run, job), (other, _)) = (self.run("starts").await, self.run("starts").await);
        let jobs_of = async |run| self.store.trace(run).await.expect("reads").jobs;
        assert!(jobs_of(run).await[0].starts);
        self.commit(vec![start(run, 5)]).await;
        assert!(jobs_of(run).await[0].starts, "its job is not among what is changed");
        let committed = self.commit(vec![Change::StartRun { run, at: Millis(5), job: Some(job) }]).await;
        assert!(committed.jobs.is_empty(), "whoever holds it goes on");
        let called = QueueItem { starts: false, ..jobs_of(other).await.remove(0) };
        let called =
            QueueItem { id: job, queued_at: jobs_of(run).await[0].queued_at, due: jobs_of(run).await[0].due, ..called };
        assert_eq!(jobs_of(run).await, std::slice::from_ref(&called), "nothing else of it has changed");
        assert!(self.all_ready().await.contains(&called), "a process that comes later is told, too");
        assert!(jobs_of(other).await[0].starts);
        let retry = QueueItem { generation: 2, attempt: 1, ..called };
        assert_eq!(
            self.commit(vec![Change::PutJob(retry.clone(), When::Always)]).await.jobs,
            std::slice::from_ref(&retry)
        );
        assert_eq!(jobs_of(run).await, [retry]);
        // One that did not get as far as its call is dispatched again as the first.
        let again = QueueItem { generation: 2, ..jobs_of(other).await.remove(0) };
        self.commit(vec![Change::PutJob(again.clone(), When::Always)]).await;
        assert_eq!(jobs_of(other).await, [again]);
    }

    async fn attempts_and_steps_make_the_trace(&self) {
        let (run, job) = self.run("trace").await;
        let attempt = AttemptRecord {
            job,
            step: Some(StepRef { id: "a".into(), name: "Step A".into() }),
            attempt: 0,
            generation: 1,
            queued_at: Millis(9),
            started_at: Millis(10),
            ended_at: Millis(20),
            response: Some(ResponseHead::bare(500)),
            error: Payload::from(r#"{"error":"x","message":"m","name":"Error"}"#),
            retry_at: Some(Millis(99)),
        };
        let mut step = self.step(run, "a", r#"{"data":1}"#);
        (step.input, step.failed, step.attempt, step.op) = (Some(Payload::from("[1]")), true, 1, StepOp::Legacy);
        let changes =
            vec![Change::RecordAttempt(Box::new(attempt.clone())), Change::RecordStep(Box::new(step.clone()))];
        self.fenced(job, 1, changes).await.expect("commits");
        let trace = self.store.trace(run).await.expect("reads");
        assert_eq!((trace.attempts, trace.steps), (vec![attempt], vec![step]));
        assert_eq!(trace.jobs.len(), 1);
    }

    async fn lifecycle_events_are_derived_from_the_run(&self) {
        let function = self.function("derived");
        self.commit(vec![Change::PutFunction(Box::new(self.definition(function, "app-derived")))]).await;
        let event = self.event("case/derived");
        let (_, runs) = self.admit(&event, &[function]).await;
        let now = self.ids.now();
        let told = |name: &str, external: Option<String>| Event {
            id: self.ids.event(now),
            name: name.into(),
            external_id: external.map(Arc::from),
            ts: now,
            body: EventBody::Lifecycle(runs[0]),
        };
        let (finished, failed) = (told(FUNCTION_FINISHED, None), told(FUNCTION_FAILED, Some(runs[0].to_string())));
        let error = r#"{"error":"e","message":"m","name":"n"}"#;
        let changes = vec![
            finish(runs[0], RunStatus::Failed, Some(r#"{"m":1}"#), Some(error)),
            Change::PutEvent(Box::new(finished.clone()), Vec::new()),
            Change::PutEvent(Box::new(failed.clone()), Vec::new()),
        ];
        self.fenced(JobId::start(runs[0]), 1, changes).await.expect("commits");
        let EventBody::Stored(trigger) = &event.body else { unreachable!("made by this case") };
        let trigger = std::str::from_utf8(trigger).expect("text");
        let run = runs[0];
        for (event, id, name) in
            [(&finished, finished.id.to_string(), FUNCTION_FINISHED), (&failed, run.to_string(), FUNCTION_FAILED)]
        {
            let body = self.store.event(event.id).await.expect("reads").expect("stored").body;
            let expected = format!(
                r#"{{"data":{{"_inngest":{{"status":"Failed"}},"error":{error},"event":{trigger},"events":[{trigger}],"function_id":"app-derived","result":{{"m":1}},"run_id":"{run}"}},"id":"{id}","name":"{name}","ts":{now},"user":{{}}}}"#
            );
            assert_eq!(std::str::from_utf8(&body), Ok(&*expected));
        }
    }

    async fn jobs_are_found_by_time(&self) {
        let (run, start) = self.run("times").await;
        let base = self.ids.now().plus(std::time::Duration::from_secs(1_000_000));
        let mut jobs = Vec::new();
        for (name, after) in [("c", 3), ("a", 1), ("b", 2)] {
            let mut job = self.planned(run, name, None);
            job.due = Millis(base.0 + after);
            jobs.push(job);
        }
        let put = jobs.iter().map(|job| Change::PutJob(job.clone(), When::Always)).collect();
        self.fenced(start, 1, put).await.expect("commits");
        jobs.sort_by_key(|job| job.due);
        let due = |before: i64, after, limit| self.store.jobs_due(Millis(base.0 + before), after, limit);
        assert_eq!(due(2, None, 10).await.expect("reads"), jobs[..2]);
        assert_eq!(due(9, None, 1).await.expect("reads"), jobs[..1]);
        assert_eq!(due(9, Some((jobs[0].due, jobs[0].id)), 10).await.expect("reads"), jobs[1..]);
        assert_eq!(self.store.next_due(jobs[0].due).await.expect("reads"), Some(jobs[1].due));
        assert_eq!(self.store.next_due(jobs[2].due).await.expect("reads"), None);
        let ready = self.all_ready().await;
        assert!(ready.iter().any(|job| job.id == start) && !ready.iter().any(|job| job.id == jobs[0].id));
        self.fenced(start, 1, vec![finish(run, RunStatus::Completed, None, None)]).await.expect("commits");
    }

    async fn void_leases_raise_generations_of_due_jobs(&self) {
        let (run, start) = self.run("void").await;
        let mut later = self.planned(run, "later", None);
        later.due = self.ids.now().plus(std::time::Duration::from_secs(1_000));
        self.fenced(start, 1, vec![Change::PutJob(later.clone(), When::Always)]).await.expect("commits");
        self.store.void_leases(self.ids.now()).await.expect("writes");
        let late = self.fenced(start, 1, Vec::new()).await;
        assert!(matches!(late, Err(CommitError::Rejected(Rejected::StaleJob(..)))), "an earlier process's answer");
        self.fenced(start, 2, Vec::new()).await.expect("the next dispatch");
        self.fenced(later.id, 1, Vec::new()).await.expect("not dispatched yet");
    }

    async fn events_are_listed_newest_first(&self) {
        let mut events = Vec::new();
        for n in 0..4 {
            let mut event = self.event(if n == 2 { "inngest/case.list" } else { "case/list" });
            event.id = self.ids.event(Millis(1_000 + n));
            self.commit(vec![Change::PutEvent(Box::new(event.clone()), Vec::new())]).await;
            events.push(event.id);
        }
        let list = async |filter: EventFilter| -> Vec<EventId> {
            let window = EventFilter { received_before: filter.received_before.or(Some(Millis(5_000))), ..filter };
            self.store.events(window).await.expect("reads").iter().map(|record| record.event.id).collect()
        };
        let all = EventFilter { limit: 10, ..EventFilter::default() };
        assert_eq!(list(all.clone()).await, [events[3], events[1], events[0]]);
        assert_eq!(list(EventFilter { include_internal: true, limit: 2, ..all.clone() }).await, [events[3], events[2]]);
        assert_eq!(list(EventFilter { cursor: Some(events[3]), ..all.clone() }).await, [events[1], events[0]]);
        assert_eq!(
            list(EventFilter { received_after: Some(Millis(1_001)), ..all.clone() }).await,
            [events[3], events[1]]
        );
        assert_eq!(
            list(EventFilter { received_before: Some(Millis(1_001)), ..all.clone() }).await,
            [events[1], events[0]]
        );
        assert!(list(EventFilter { names: vec!["case/none".into()], ..all }).await.is_empty());
    }

    async fn runs_are_filtered_and_paged(&self) {
        let function = self.function("listed");
        let mut runs = Vec::new();
        for n in 0..5 {
            let event = self.event("case/listed");
            let run = self.admit(&event, &[function]).await.1[0];
            if n % 2 == 0 {
                let end = vec![start(run, n), finish(run, RunStatus::Completed, None, None)];
                self.fenced(JobId::start(run), 1, end).await.expect("commits");
            }
            runs.push((run, event.id));
        }
        runs.sort_unstable();
        let mine = RunFilter { functions: Some(vec![function]), limit: 10, ..RunFilter::default() };
        let list = async |filter: RunFilter| -> Vec<RunId> {
            self.store.runs(filter).await.expect("reads").iter().map(|record| record.id).collect()
        };
        let ids: Vec<RunId> = runs.iter().map(|(run, _)| *run).collect();
        let newest: Vec<RunId> = ids.iter().rev().copied().collect();
        assert_eq!(list(mine.clone()).await, newest);
        assert_eq!(list(RunFilter { ascending: true, ..mine.clone() }).await, ids);
        assert_eq!(
            list(RunFilter { cursor: Some((Millis(0), newest[1])), limit: 2, ..mine.clone() }).await,
            newest[2..4]
        );
        assert_eq!(list(RunFilter { statuses: vec![RunStatus::Completed], ..mine.clone() }).await.len(), 3);
        assert_eq!(
            list(RunFilter { started: Between { after: Some(Millis(2)), before: None }, ..mine.clone() }).await.len(),
            2
        );
        assert_eq!(
            list(RunFilter { started: Between { after: None, before: Some(Millis(2)) }, ..mine.clone() }).await.len(),
            2
        );
        assert!(list(RunFilter { functions: Some(Vec::new()), ..mine.clone() }).await.is_empty());
        let (run, event) = runs[3];
        assert_eq!(list(RunFilter { event: Some(event), ..mine.clone() }).await, [run]);
        assert!(list(RunFilter { event: Some(event), statuses: vec![RunStatus::Failed], ..mine }).await.is_empty());
    }

    async fn definitions_are_kept(&self) {
        let id = self.function("kept");
        let mut function = self.definition(id, "defs-kept");
        function.triggers = vec![
            Trigger::Event { name: "a/*".into(), expression: Some("event.data.x == 'ä\"'".into()) },
            Trigger::Cron { schedule: "* * * * *".into(), jitter: None },
        ];
        let app = App {
            id: function.app,
            name: "defs".into(),
            url: "http://localhost:1/api/inngest".into(),
            sdk_language: "js".into(),
            sdk_version: "v4".into(),
            framework: String::new(),
            app_version: Some("1".into()),
            feature_observations: Some("{}".into()),
            error: None,
            checksum: "c".into(),
            created_at: Millis(1),
            archived_at: None,
        };
        let put = vec![Change::PutApp(Box::new(app.clone())), Change::PutFunction(Box::new(function.clone()))];
        self.commit(put.clone()).await;
        self.commit(put).await;
        let (apps, functions) = self.store.definitions().await.expect("reads");
        assert!(apps.contains(&app) && functions.contains(&function));
        self.commit(vec![Change::ArchiveApp(app.id, Millis(7))]).await;
        let (apps, functions) = self.store.definitions().await.expect("reads");
        assert!(!apps.iter().any(|other| other.id == app.id) && !functions.iter().any(|other| other.id == id));
        let archived = self.store.functions().await.expect("reads").into_iter().find(|other| other.id == id);
        assert_eq!(archived.and_then(|function| function.archived_at), Some(Millis(7)));

        let with_jobs = self.function("archived-with-jobs");
        self.commit(vec![Change::PutFunction(Box::new(self.definition(with_jobs, "defs-jobs")))]).await;
        self.admit(&self.event("case/defs"), &[with_jobs]).await;
        self.commit(vec![Change::ArchiveFunction(with_jobs, Millis(8))]).await;
        let (_, functions) = self.store.definitions().await.expect("reads");
        assert!(functions.iter().any(|function| function.id == with_jobs), "its runs go on to the end");
    }

    async fn odd_text_survives(&self) {
        let (run, job) = self.run("odd").await;
        let name = "nul \u{0} quote ' \" \u{1F980} back\\slash";
        let mut step = self.step(run, name, "null");
        step.step.name = name.into();
        step.value = Payload::from(serde_json::json!({ "data": name }).to_string());
        self.fenced(job, 1, vec![Change::RecordStep(Box::new(step.clone()))]).await.expect("commits");
        assert_eq!(self.store.trace(run).await.expect("reads").steps, [step]);
    }

    async fn large_values_survive(&self) {
        let (run, job) = self.run("large").await;
        let mut step = self.step(run, "large", "null");
        step.value = Payload::from(format!("\"{}\"", "x".repeat(4 * 1024 * 1024)));
        self.fenced(job, 1, vec![Change::RecordStep(Box::new(step.clone()))]).await.expect("commits");
        assert_eq!(self.store.trace(run).await.expect("reads").steps, [step]);
    }

    // What the cases are made of.

    fn function(&self, name: &str) -> FunctionId {
        FunctionId::of_definition(name, "conformance")
    }

    fn event(&self, name: &str) -> Event {
        let now = self.ids.now();
        let id = self.ids.event(now);
        let body = format!(r#"{{"data":{{}},"id":"{id}","name":"{name}","ts":{now},"user":{{}}}}"#);
        Event { id, name: name.into(), external_id: None, ts: now, body: EventBody::Stored(body.into()) }
    }

    fn definition(&self, id: FunctionId, slug: &str) -> Function {
        Function {
            id,
            app: AppId::of_name("defs"),
            slug: slug.into(),
            name: "Name".into(),
            triggers: Vec::new(),
            url: "http://localhost:1/api/inngest".into(),
            step_id: "step".into(),
            retries: 4,
            version: 1,
            config: Payload::from("{}"),
            created_at: Millis(1),
            archived_at: None,
        }
    }

    fn item(&self, id: JobId, kind: JobKind) -> QueueItem {
        QueueItem::new(id, self.function("item"), kind, self.ids.now())
    }

    fn planned(&self, run: RunId, name: &str, group: Option<u64>) -> QueueItem {
        let id = StepId::from(name);
        let mut item = self.item(JobId::step(run, &id), JobKind::Step(StepRef { id, name: name.into() }));
        item.group = group;
        item
    }

    fn step(&self, run: RunId, name: &str, value: &str) -> StepRecord {
        StepRecord {
            run,
            step: StepRef { id: name.into(), name: name.into() },
            op: StepOp::Run,
            value: Payload::copy_from_slice(value.as_bytes()),
            failed: false,
            attempt: 0,
            input: None,
            queued_at: Millis(1),
            started_at: Millis(2),
            ended_at: Millis(3),
            job: 0,
            resolution: None,
            response: None,
        }
    }

    async fn commit(&self, changes: Vec<Change>) -> Committed {
        self.store.commit(Transition::of(changes).into()).await.expect("commits")
    }

    async fn fenced(&self, job: JobId, generation: u32, changes: Vec<Change>) -> Result<Committed, CommitError> {
        let require = vec![Requirement::Generation(job, generation)];
        self.store.commit(Transition { require, changes }.into()).await
    }

    async fn admit(&self, event: &Event, functions: &[FunctionId]) -> (Committed, Vec<RunId>) {
        let admits: Vec<Admit> = functions.iter().map(|function| self.admission(event, *function, None)).collect();
        let runs = admits.iter().map(|admit| admit.run).collect();
        (self.commit(vec![Change::PutEvent(Box::new(event.clone()), admits)]).await, runs)
    }

    fn admission(&self, event: &Event, function: FunctionId, idempotency: Option<(Arc<str>, Millis)>) -> Admit {
        let run = self.ids.run(event.id, self.ids.now());
        let job = QueueItem::new(JobId::start(run), function, JobKind::Start, self.ids.now());
        Admit {
            run,
            function,
            idempotency,
            flow: None,
            correlation_id: None,
            job,
            deadline: None,
            cancel_on: Vec::new(),
        }
    }

    async fn put_keyed(&self, key: &str, until: Millis, function: FunctionId) -> usize {
        let event = self.event("case/keyed");
        let admit = self.admission(&event, function, Some((key.into(), until)));
        self.commit(vec![Change::PutEvent(Box::new(event), vec![admit])]).await.admitted.len()
    }

    /// A run with its first job.
    async fn run(&self, name: &str) -> (RunId, JobId) {
        let (_, runs) = self.admit(&self.event("case/run"), &[self.function(name)]).await;
        (runs[0], JobId::start(runs[0]))
    }

    /// Replaces the first job by planned steps of one group.
    async fn plan(&self, run: RunId, start: JobId, group: u64, names: &[&str]) -> Vec<QueueItem> {
        let jobs: Vec<QueueItem> = names.iter().map(|name| self.planned(run, name, Some(group))).collect();
        let puts = jobs.iter().map(|job| Change::PutJob(job.clone(), When::Unrecorded));
        let changes = std::iter::once(Change::RemoveJob(start)).chain(puts).collect();
        assert_eq!(self.fenced(start, 1, changes).await.expect("commits").jobs, jobs);
        jobs
    }

    async fn finish_planned(&self, job: &QueueItem, name: &str, join: &QueueItem, group: u64) -> Committed {
        let changes = vec![
            Change::RemoveJob(job.id),
            Change::RecordStep(Box::new(self.step(job.id.run, name, "null"))),
            Change::PutJob(join.clone(), When::GroupDone(group)),
        ];
        self.fenced(job.id, 1, changes).await.expect("commits")
    }

    async fn steps_of(&self, run: RunId) -> Vec<(String, Payload)> {
        let state = self.store.run(run).await.expect("reads").expect("open");
        state.steps.iter().map(|step| (step.id.to_string(), step.value.clone())).collect()
    }

    async fn all_ready(&self) -> Vec<QueueItem> {
        let mut all: Vec<QueueItem> = Vec::new();
        loop {
            let page: Result<_, StoreError> = self.store.jobs_ready(all.last().map(|job| job.id), 3).await;
            let page = page.expect("reads");
            if page.is_empty() {
                return all;
            }
            all.extend(page);
        }
    }
}

fn start(run: RunId, at: i64) -> Change {
    Change::StartRun { run, at: Millis(at), job: None }
}

fn finish(run: RunId, status: RunStatus, output: Option<&str>, error: Option<&str>) -> Change {
    let payload = |text: &str| Payload::copy_from_slice(text.as_bytes());
    let (output, error) = (output.map(payload), error.map(payload));
    Change::FinishRun(Box::new(FinishRun {
        run,
        status,
        output,
        error,
        started_at: None,
        ended_at: Millis(50),
        last_call: None,
        in_flight: Vec::new(),
        finished: None,
    }))
}

/// Drives all futures at the same time.
async fn futures<T>(all: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    use std::pin::Pin;
    use std::task::Poll;
    let mut pending: Vec<_> = all.map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(|context| {
        for (future, done) in pending.iter_mut().filter(|(_, done)| done.is_none()) {
            if let Poll::Ready(value) = Pin::as_mut(future).poll(context) {
                *done = Some(value);
            }
        }
        if pending.iter().all(|(_, done)| done.is_some()) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    pending.into_iter().filter_map(|(_, done)| done).collect()
}
