//! Cases about runs that wait: for events, signals, other runs, the end of a run, a time.

use std::sync::Arc;
use std::time::Duration;

use inngest_core::event::EventBody;
use inngest_core::{Event, EventId, Function, Millis, Payload, RunId, RunStatus, StepId, limits};
use inngest_expr::event;
use inngest_expr::expression::{Anchors, Expression, Roots};
use inngest_queue::flow::Skip;
use inngest_queue::{Deadline, JobId, JobKind, QueueItem, Resolution, StepRef, WaitFor};

use super::{Case, finish};
use crate::{
    Admit, Await, Awaited, Cancellation, Change, CommitError, Committed, Condition, Defer, DeferStatus, Effect,
    EventWait, Invoke, Metadata, Rejected, Requirement, Rerun, Tick, Transition, When,
};

impl Case<'_> {
    pub(super) async fn waits(&self) {
        self.an_event_resumes_those_whose_condition_holds().await;
        self.conditions_find_what_they_describe().await;
        self.a_wait_is_resumed_once_and_not_after_its_time().await;
        self.an_event_that_came_while_a_wait_was_on_its_way_counts().await;
        self.an_event_cancels_runs_but_not_those_it_starts().await;
        self.the_end_of_a_run_ends_its_waits().await;
        self.a_signal_resumes_the_one_that_waits().await;
        self.a_run_is_invoked_once().await;
        self.an_invoke_that_starts_nothing_is_answered().await;
        self.siblings_are_looked_for().await;
        self.deadlines_come_with_the_run().await;
        self.a_rerun_starts_with_what_is_known().await;
        self.defers_and_metadata_are_kept().await;
        self.schedules_and_cancellations_are_kept().await;
    }

    /// A run of its own whose only job waits for `event`.
    async fn waiting(&self, event: &str, condition: Option<(&str, &str)>) -> JobId {
        let (run, start) = self.run("waits").await;
        let job = self.wait_job(run, WaitFor::Event);
        let wait = self.wait(job.id, event, condition, Effect::Resume);
        let awaited = Awaited::Event { wait, since: Millis(i64::MAX), own: Arc::from([]) };
        let changes = vec![Change::RemoveJob(start), Change::Await(Box::new(Await { job: job.clone(), awaited }))];
        self.fenced(start, 1, changes).await.expect("commits");
        job.id
    }

    /// A run of its own whose only job waits for a signal, taking it over from whoever waits for it.
    async fn waiting_for_signal(&self, name: &str) -> JobId {
        let (run, start) = self.run("waits").await;
        let job = self.wait_job(run, WaitFor::Signal);
        let id = job.id;
        let awaited = Awaited::Signal(name.into());
        let changes = vec![Change::RemoveJob(start), Change::Await(Box::new(Await { job, awaited }))];
        self.fenced(start, 1, changes).await.expect("commits");
        id
    }

    fn wait_job(&self, run: RunId, what: WaitFor) -> QueueItem {
        let step = StepRef { id: "w".into(), name: "w".into() };
        let job = self.item(JobId::wait(run, &step.id), JobKind::Wait(step, what));
        QueueItem { due: job.due.plus(Duration::from_secs(3600)), ..job }
    }

    fn wait(&self, job: JobId, event: &str, condition: Option<(&str, &str)>, effect: Effect) -> EventWait {
        let until = self.ids.now().plus(Duration::from_secs(3600));
        let condition = condition.map(|(text, trigger)| {
            let expression = Expression::compile(text, Roots::EventAndAsync).expect("compiles");
            let trigger = event::parse(trigger.as_bytes()).expect("JSON");
            let bindings = expression.bind(&trigger).expect("small");
            let anchors = match expression.anchors(&bindings) {
                Anchors::OneOf(anchors) => Some(anchors),
                Anchors::Any | Anchors::Never => None,
            };
            Condition { expression: text.into(), bindings: bindings.to_json().into(), anchors }
        });
        EventWait { job, function: self.function("waits"), event: event.into(), condition, until, effect }
    }

    async fn send(&self, name: &str, data: &str) -> (EventId, Committed) {
        let id = self.ids.event(self.ids.now());
        let body = format!(r#"{{"data":{data},"id":"{id}","name":"{name}","ts":1,"user":{{}}}}"#);
        let event = Event {
            id,
            name: name.into(),
            external_id: None,
            ts: Millis(1),
            body: EventBody::Stored(Payload::from(body)),
        };
        (id, self.commit(vec![Change::PutEvent(Box::new(event), Vec::new())]).await)
    }

    async fn an_event_resumes_those_whose_condition_holds(&self) {
        const MATCH: &str = "event.data.id == async.data.id";
        let any = self.waiting("waits/done", None).await;
        let seven = self.waiting("waits/done", Some((MATCH, r#"{"data":{"id":7}}"#))).await;
        let eight = self.waiting("waits/done", Some((MATCH, r#"{"data":{"id":8}}"#))).await;
        let other = self.waiting("waits/other", None).await;
        let (_, nobody) = self.send("waits/elsewhere", "{}").await;
        assert!(nobody.jobs.is_empty());
        let (event, committed) = self.send("waits/done", r#"{"id":7}"#).await;
        let mut resumed: Vec<JobId> = committed.jobs.iter().map(|job| job.id).collect();
        resumed.sort_unstable();
        let mut expected = vec![any, seven];
        expected.sort_unstable();
        assert_eq!(resumed, expected);
        for job in &committed.jobs {
            assert_eq!(job.resolution.as_deref(), Some(&Resolution::Event(event)));
            assert_eq!(job.generation, 2, "a timeout in flight is fenced off");
            assert!(job.due <= self.ids.now());
        }
        let ready = self.all_ready().await;
        assert!(committed.jobs.iter().all(|job| ready.contains(job)), "what was resumed is found after a restart");
        let (_, committed) = self.send("waits/done", r#"{"id":8}"#).await;
        assert_eq!(committed.jobs.iter().map(|job| job.id).collect::<Vec<_>>(), [eight]);
        let (_, committed) = self.send("waits/other", "{}").await;
        assert_eq!(committed.jobs.iter().map(|job| job.id).collect::<Vec<_>>(), [other]);
    }

    /// Every test that an index knows, on both sides of its bound.
    async fn conditions_find_what_they_describe(&self) {
        let table: [(&str, &[&str], &[&str]); 16] = [
            ("async.data.x == 'a\\\"b\\\\c'", &[r#"{"x":"a\"b\\c"}"#], &[r#"{"x":"a"}"#, "{}"]),
            ("async.data.x == 5", &[r#"{"x":5}"#, r#"{"x":5.0}"#], &[r#"{"x":"5"}"#, r#"{"x":4}"#]),
            ("async.data.x == true", &[r#"{"x":true}"#], &[r#"{"x":false}"#, r#"{"x":1}"#]),
            ("async.data.x == null", &["{}", r#"{"x":null}"#], &[r#"{"x":0}"#]),
            ("async.data.x in ['a', 'b']", &[r#"{"x":"b"}"#], &[r#"{"x":"c"}"#]),
            ("'a' in async.data.x", &[r#"{"x":["b","a"]}"#, r#"{"x":{"a":1}}"#], &[r#"{"x":["b"]}"#, r#"{"x":"a"}"#]),
            ("async.data.x > 5", &[r#"{"x":6}"#], &[r#"{"x":5}"#, r#"{"x":"6"}"#, "{}"]),
            ("5 < async.data.x", &[r#"{"x":5.5}"#], &[r#"{"x":5}"#]),
            ("async.data.x >= 5", &[r#"{"x":5}"#], &[r#"{"x":4.9}"#]),
            ("async.data.x < 5", &[r#"{"x":4}"#, "{}", r#"{"x":null}"#], &[r#"{"x":5}"#]),
            ("async.data.x <= 5", &[r#"{"x":5}"#], &[r#"{"x":6}"#]),
            ("async.data.x > 'm'", &[r#"{"x":"n"}"#], &[r#"{"x":"m"}"#, r#"{"x":9}"#]),
            ("async.data.x != 'a'", &[r#"{"x":"b"}"#, "{}"], &[r#"{"x":"a"}"#]),
            ("async.data.x == 1 || async.data.y == 2", &[r#"{"x":1}"#, r#"{"y":2}"#], &[r#"{"x":2,"y":1}"#]),
            ("async.data.x == 1 && async.data.y == 2", &[r#"{"x":1,"y":2}"#], &[r#"{"x":1}"#]),
            ("!(async.data.x == 1)", &[r#"{"x":2}"#], &[r#"{"x":1}"#]),
        ];
        for (index, (condition, matching, others)) in table.into_iter().enumerate() {
            let name = format!("waits/condition-{index}");
            for (data, expected) in others.iter().map(|data| (data, 0)).chain(matching.iter().map(|data| (data, 1))) {
                let job = self.waiting(&name, Some((condition, "{}"))).await;
                let (_, committed) = self.send(&name, data).await;
                assert_eq!(committed.jobs.len(), expected, "{condition} and {data}");
                self.commit(vec![finish(job.run, RunStatus::Completed, None, None)]).await;
            }
        }
    }

    async fn a_wait_is_resumed_once_and_not_after_its_time(&self) {
        let job = self.waiting("waits/once", None).await;
        assert_eq!(self.send("waits/once", "{}").await.1.jobs.len(), 1);
        assert_eq!(self.send("waits/once", "{}").await.1.jobs.len(), 0);
        let again = self.commit(vec![Change::Resume(job, Resolution::Value(Payload::from("null")))]).await;
        assert!(again.jobs.is_empty(), "it has what it waited for");
        let (run, _) = self.run("waits").await;
        let job = self.wait_job(run, WaitFor::Event);
        let wait = self.wait(job.id, "waits/late", None, Effect::Resume);
        let wait = EventWait { until: Millis(self.ids.now().0 - 1), ..wait };
        let awaited = Awaited::Event { wait, since: Millis(i64::MAX), own: Arc::from([]) };
        self.commit(vec![Change::Await(Box::new(Await { job, awaited }))]).await;
        assert_eq!(self.send("waits/late", "{}").await.1.jobs.len(), 0);
        let over = self.waiting("waits/over", None).await;
        self.commit(vec![Change::RemoveWait(over)]).await;
        assert_eq!(self.send("waits/over", "{}").await.1.jobs.len(), 0);
    }

    async fn an_event_that_came_while_a_wait_was_on_its_way_counts(&self) {
        let (event, _) = self.send("waits/early", r#"{"n":1}"#).await;
        let before = Millis(event.timestamp().0 - 1);
        let condition = |n: &str| format!("async.data.n == {n}");
        for (n, since, own, resumed) in [
            ("1", before, vec![], true),
            ("2", before, vec![], false),
            ("1", event.timestamp(), vec![], false),
            ("1", before, vec![event], false),
        ] {
            let (run, _) = self.run("waits").await;
            let job = self.wait_job(run, WaitFor::Event);
            let wait = self.wait(job.id, "waits/early", Some((&condition(n), "{}")), Effect::Resume);
            let awaited = Awaited::Event { wait, since, own: own.into() };
            let committed = self.commit(vec![Change::Await(Box::new(Await { job, awaited }))]).await;
            let resolution = committed.jobs.last().expect("the job was made").resolution.as_deref();
            assert_eq!(resolution, resumed.then_some(&Resolution::Event(event)), "{n} since {since:?}");
        }
    }

    async fn an_event_cancels_runs_but_not_those_it_starts(&self) {
        let event = self.event("waits/stop");
        let mut admit = self.admission(&event, self.function("waits"), None);
        let run = admit.run;
        admit.cancel_on = vec![self.wait(JobId::cancel_on(run, 0), "waits/stop", None, Effect::Cancel)];
        let committed = self.commit(vec![Change::PutEvent(Box::new(event), vec![admit])]).await;
        assert_eq!(committed.jobs.iter().map(|job| job.id).collect::<Vec<_>>(), [JobId::start(run)]);
        let (_, committed) = self.send("waits/stop", "{}").await;
        let cancel: Vec<_> = committed.jobs.iter().map(|job| (job.id, job.kind.clone())).collect();
        assert_eq!(cancel, [(JobId::cancel(run), JobKind::Cancel)]);
        assert!(self.send("waits/stop", "{}").await.1.jobs.is_empty(), "one cancellation is enough");
    }

    async fn the_end_of_a_run_ends_its_waits(&self) {
        for job in [self.waiting("waits/ended", None).await, self.waiting_for_signal("waits-ended").await] {
            self.commit(vec![finish(job.run, RunStatus::Cancelled, None, None)]).await;
        }
        assert!(self.send("waits/ended", "{}").await.1.jobs.is_empty());
        assert!(self.commit(vec![Change::Signal("waits-ended".into(), Payload::from("1"))]).await.jobs.is_empty());
        let (run, _) = self.run("waits").await;
        let free = Requirement::SignalFree("waits-ended".into(), JobId::wait(run, &StepId::from("w")));
        let transition = Transition { require: vec![free], changes: Vec::new() };
        self.store.commit(transition.into()).await.expect("the name is free");
    }

    async fn a_signal_resumes_the_one_that_waits(&self) {
        let name: Arc<str> = "waits-signal".into();
        let first = self.waiting_for_signal(&name).await;
        let (other, _) = self.run("waits").await;
        let second = self.wait_job(other, WaitFor::Signal).id;
        let free = |job| Transition { require: vec![Requirement::SignalFree(Arc::clone(&name), job)], changes: vec![] };
        let taken = self.store.commit(free(second).into()).await;
        assert!(matches!(taken, Err(CommitError::Rejected(Rejected::SignalTaken(taken))) if taken == name));
        self.store.commit(free(first).into()).await.expect("its own signal");
        let second = self.waiting_for_signal(&name).await;
        self.store.commit(free(first).into()).await.expect("it waits already, although for nothing now");
        let again =
            Await { job: self.wait_job(first.run, WaitFor::Signal), awaited: Awaited::Signal(Arc::clone(&name)) };
        assert!(self.commit(vec![Change::Await(Box::new(again))]).await.jobs.is_empty(), "nor does it steal it back");
        let unplanned = Transition { require: vec![Requirement::Unplanned(first)], changes: Vec::new() };
        let planned = self.store.commit(unplanned.into()).await;
        assert!(matches!(planned, Err(CommitError::Rejected(Rejected::Planned(job))) if job == first));
        let value = Payload::from(r#"{"data":{"data":1,"signal":"waits-signal"}}"#);
        let committed = self.commit(vec![Change::Signal(Arc::clone(&name), value.clone())]).await;
        assert_eq!(committed.jobs.iter().map(|job| job.id).collect::<Vec<_>>(), [second], "who came last has it");
        assert_eq!(committed.jobs[0].resolution.as_deref(), Some(&Resolution::Value(value.clone())));
        assert!(self.commit(vec![Change::Signal(name, value)]).await.jobs.is_empty());
    }

    async fn a_run_is_invoked_once(&self) {
        let (run, start) = self.run("waits").await;
        let job = self.wait_job(run, WaitFor::Invoke);
        let invoke = || {
            let event = self.event("inngest/function.invoked");
            let admits = vec![self.admission(&event, self.function("child"), None)];
            let (job, child) = (job.clone(), admits[0].run);
            let awaited = Awaited::Run(Box::new(Invoke { run: child, event, admits, refusal: refused }));
            (child, Change::Await(Box::new(Await { job, awaited })))
        };
        let (child, first) = invoke();
        let committed = self.fenced(start, 1, vec![first]).await.expect("commits");
        assert_eq!(committed.jobs.iter().map(|job| job.id).collect::<Vec<_>>(), [job.id, JobId::start(child)]);
        assert!(self.store.run(child).await.expect("reads").is_some());
        let (again, second) = invoke();
        assert!(self.commit(vec![second]).await.jobs.is_empty());
        assert!(self.store.run(again).await.expect("reads").is_none());
        let committed = self.commit(vec![Change::Resume(job.id, Resolution::Run(child))]).await;
        assert_eq!(committed.jobs[0].resolution.as_deref(), Some(&Resolution::Run(child)));
        assert_eq!(self.store.trace(run).await.expect("reads").jobs.len(), 2, "the answer waits to be taken");
    }

    /// The key of its event has started the function before.
    async fn an_invoke_that_starts_nothing_is_answered(&self) {
        for resumed in [false, true] {
            let (run, start) = self.run("waits").await;
            let job = self.wait_job(run, WaitFor::Invoke);
            let event = self.event("inngest/function.invoked");
            let until = self.ids.now().plus(Duration::from_secs(3600));
            let key = Some(("waits/invoked-twice".into(), until));
            let admit = Admit { idempotency: key, ..self.admission(&event, self.function("child"), None) };
            let child = admit.run;
            let invoke = Invoke { run: child, event, admits: vec![admit], refusal: refused };
            let awaited = Awaited::Run(Box::new(invoke));
            let waiting = Change::Await(Box::new(Await { job: job.clone(), awaited }));
            let committed = self.fenced(start, 1, vec![waiting]).await.expect("commits");
            let own = committed.jobs.iter().rfind(|made| made.id == job.id).expect("it waits");
            let expected = resumed.then(|| Resolution::Value(refused(Skip::Duplicate)));
            assert_eq!(own.resolution.as_deref(), expected.as_ref());
        }
    }

    async fn siblings_are_looked_for(&self) {
        let (run, start) = self.run("waits").await;
        let deadline = JobId::deadline(run, Deadline::Finish);
        let deadline = self.item(deadline, JobKind::Deadline(Deadline::Finish));
        self.commit(vec![Change::PutJob(deadline, When::Always)]).await;
        let siblings = || Transition { require: vec![Requirement::Siblings(start)], changes: Vec::new() };
        let alone = self.store.commit(siblings().into()).await;
        assert!(matches!(alone, Err(CommitError::Rejected(Rejected::NoSiblings(job))) if job == start));
        self.commit(vec![Change::PutJob(self.planned(run, "a", None), When::Always)]).await;
        self.store.commit(siblings().into()).await.expect("now there is one");
    }

    async fn deadlines_come_with_the_run(&self) {
        let event = self.event("waits/deadline");
        let mut admit = self.admission(&event, self.function("waits"), None);
        let id = JobId::deadline(admit.run, Deadline::Start);
        let deadline = self.item(id, JobKind::Deadline(Deadline::Start));
        admit.deadline = Some(deadline.clone());
        let jobs = vec![admit.job.clone(), deadline];
        let committed = self.commit(vec![Change::PutEvent(Box::new(event), vec![admit])]).await;
        assert_eq!(committed.jobs, jobs);
        let ready = self.all_ready().await;
        assert!(jobs.iter().all(|job| ready.contains(job)));
    }

    async fn a_rerun_starts_with_what_is_known(&self) {
        let event = self.event("waits/rerun");
        let (_, runs) = self.admit(&event, &[self.function("waits")]).await;
        let admit = Admit { cancel_on: Vec::new(), ..self.admission(&event, self.function("waits"), None) };
        let run = admit.run;
        let input = Some((StepId::from("b"), Payload::from("[1]")));
        let rerun = Rerun {
            admit,
            events: vec![event.id],
            event_name: Arc::clone(&event.name),
            original: runs[0],
            steps: vec![self.step(run, "a", r#"{"data":{"x":null}}"#)],
            input: input.clone(),
        };
        let committed = self.commit(vec![Change::Rerun(Box::new(rerun))]).await;
        assert_eq!(committed.jobs.iter().map(|job| job.id).collect::<Vec<_>>(), [JobId::start(run)]);
        let state = self.store.run(run).await.expect("reads").expect("open");
        assert_eq!(EventBody::Stored(state.events[0].clone()), event.body);
        assert_eq!(self.steps_of(run).await, [("a".to_owned(), Payload::from(r#"{"data":{"x":null}}"#))]);
        assert_eq!(state.input.as_deref(), input.as_ref());
        let record = self.store.run_record(run).await.expect("reads").expect("stored");
        assert_eq!(record.original_run, Some(runs[0]));
        assert_eq!(self.store.event(event.id).await.expect("reads").expect("stored").runs, [runs[0], run]);
    }

    async fn defers_and_metadata_are_kept(&self) {
        let (run, _) = self.run("waits").await;
        let defer = |id: &str| Defer {
            id: id.into(),
            name: "later".into(),
            function: "app-later".into(),
            input: Payload::from(r#"{"k":1}"#),
            meta: Some(Payload::from("{}")),
            status: DeferStatus::AfterRun,
        };
        let put = |id| Change::PutDefer(run, Box::new(defer(id)));
        let twice = Change::PutDefer(run, Box::new(Defer { function: "app-other".into(), ..defer("b") }));
        self.commit(vec![put("b"), put("a"), twice, Change::AbortDefer(run, "a".into())]).await;
        let aborted = Defer { status: DeferStatus::Aborted, input: Payload::new(), ..defer("a") };
        let state = self.store.run(run).await.expect("reads").expect("open");
        assert_eq!(state.defers.iter().map(|defer| Defer::clone(defer)).collect::<Vec<_>>(), [defer("b"), aborted]);
        let note = |step: Option<&str>, values: &str| Metadata {
            run,
            step: step.map(StepId::from),
            attempt: None,
            span: None,
            scope: "step".into(),
            kind: "userland.note".into(),
            op: "merge".into(),
            values: Payload::copy_from_slice(values.as_bytes()),
            at: Millis(7),
        };
        let notes = [note(None, r#"{"a":1}"#), note(Some("s"), r#"{"b":2}"#)];
        self.commit(notes.iter().map(|note| Change::PutMetadata(Box::new(note.clone()))).collect()).await;
        assert_eq!(self.store.metadata(run).await.expect("reads"), notes);
        // Those that do not fit are dropped, those that do are kept.
        let large = note(None, &format!("\"{}\"", "x".repeat(limits::METADATA_BYTES_MAX - 2)));
        let (count, fit) = (20, limits::METADATA_OF_RUN_BYTES_MAX / limits::METADATA_BYTES_MAX - 1);
        let small = note(None, r#"{"c":1}"#);
        let all = vec![large; count].into_iter().chain([small.clone()]);
        self.commit(all.map(|note| Change::PutMetadata(Box::new(note))).collect()).await;
        let kept = self.store.metadata(run).await.expect("reads");
        assert_eq!((kept.len(), kept.last()), (notes.len() + fit + 1, Some(&small)));
    }

    async fn a_schedule_belongs_to_a_version(&self) {
        let function = self.function("ticking");
        let active = async |version| {
            let require = vec![Requirement::Active(function, version)];
            match self.store.commit(Transition { require, changes: Vec::new() }.into()).await {
                Ok(_) => true,
                Err(CommitError::Rejected(Rejected::Inactive(id))) if id == function => false,
                Err(other) => panic!("{other}"),
            }
        };
        assert!(!active(1).await, "it is unknown");
        let definition = Function { version: 2, ..self.definition(function, "ticking") };
        self.commit(vec![Change::PutFunction(Box::new(definition))]).await;
        assert_eq!([active(1).await, active(2).await, active(3).await], [false, true, false]);
        self.commit(vec![Change::ArchiveFunction(function, Millis(9))]).await;
        assert!(!active(2).await, "it is archived");
    }

    async fn schedules_and_cancellations_are_kept(&self) {
        let function = self.function("cron");
        let tick = |at| Tick { function, schedule: "* * * * *".into(), at: Millis(at) };
        self.commit(vec![Change::PutTick(tick(5)), Change::PutTick(tick(9)), Change::PutTick(tick(7))]).await;
        assert_eq!(self.store.ticks().await.expect("reads"), [tick(9)], "time does not run backwards");
        self.commit(vec![Change::RemoveTick(function, "* * * * *".into())]).await;
        assert_eq!(self.store.ticks().await.expect("reads"), []);
        self.a_schedule_belongs_to_a_version().await;
        let cancellation = |id: &str| Cancellation {
            id: id.to_owned(),
            function,
            started_after: Some(Millis(1)),
            started_before: Millis(2),
            condition: Some("event.data.x == 1".to_owned()),
            created_at: Millis(3),
            cursor: None,
            done_at: None,
        };
        let done = Cancellation { cursor: Some(RunId::MAX), done_at: Some(Millis(4)), ..cancellation("A") };
        let put = |cancellation: &Cancellation| Change::PutCancellation(Box::new(cancellation.clone()));
        self.commit(vec![put(&cancellation("A")), put(&cancellation("B")), put(&done)]).await;
        assert_eq!(self.store.cancellations().await.expect("reads"), [cancellation("B"), done.clone()]);
        self.commit(vec![Change::RemoveCancellation("B".into())]).await;
        assert_eq!(self.store.cancellations().await.expect("reads"), [done]);
    }
}

fn refused(skip: Skip) -> Payload {
    format!(r#"{{"error":{{"name":"{}"}}}}"#, skip.as_str()).into()
}
