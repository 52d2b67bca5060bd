//! Events that wait for others before they start a run.

use std::time::Duration;

use inngest_core::event::{EventBody, FUNCTION_FINISHED};
use inngest_core::{Event, EventId, FunctionId, Millis, Payload, RunId, RunStatus};
use inngest_queue::admission::{BATCH_BYTES_MAX, DEBOUNCE_GRACE};
use inngest_queue::flow::{Admission, Batch, Closed, Debounce, KeyExpression, KeyValue, Keys, SingletonMode, Skip};
use inngest_queue::{Gathering, JobId, JobKind, QueueItem};

use super::super::{Case, finish};
use super::{MINUTE, Matched, SECOND, ms, rate, refused, singleton};
use crate::history::{GATHERED_LISTED_MAX, GatheringFilter, GatheringRecord};
use crate::{Admit, Change, CommitError, Rejected, Requirement, Transition};

impl Case<'_> {
    pub(super) async fn gathering(&self) {
        self.the_last_of_several_events_starts_the_run().await;
        self.an_older_event_does_not_replace_a_newer_one().await;
        self.a_debounce_ends_at_its_timeout().await;
        self.an_event_after_the_deadline_begins_anew().await;
        self.debounces_of_other_keys_are_others().await;
        self.an_event_that_a_rate_refuses_does_not_debounce().await;
        self.a_debounced_event_takes_its_key_when_its_run_starts().await;
        self.a_debounced_run_is_a_singleton_when_it_starts().await;
        self.a_batch_starts_when_it_is_full().await;
        self.a_batch_starts_at_its_timeout().await;
        self.many_events_at_once_fill_several_batches().await;
        self.a_batch_is_full_by_its_bytes().await;
        self.a_batch_takes_an_event_of_each_key_once().await;
        self.a_closed_function_gathers_but_does_not_start().await;
        self.a_full_batch_of_a_closed_function_is_dealt_with_by_its_job().await;
        self.what_was_gathered_may_be_dropped().await;
        self.events_of_a_batch_that_never_starts_may_come_again().await;
        self.what_was_gathered_is_read_with_its_content().await;
        self.what_is_gathered_is_listed_newest_first().await;
    }

    async fn the_last_of_several_events_starts_the_run(&self) {
        let function = self.function("debounce");
        let first = self.debounced(function, "a", 1).await;
        let job = JobId::gathered(first.admit.run);
        let deadline = self.ids.now().plus(SECOND).plus(DEBOUNCE_GRACE);
        let kind = JobKind::Gathered(Gathering::Debounce);
        let item = QueueItem { due: deadline, ..QueueItem::new(job, function, kind, self.ids.now()) };
        assert_eq!(first.committed.jobs, std::slice::from_ref(&item));
        assert!(first.committed.admitted.is_empty() && first.committed.skipped.is_empty());
        assert!(self.store.run_record(first.admit.run).await.expect("reads").is_none(), "there is no run yet");

        self.clock.pass(SECOND);
        let second = self.debounced(function, "a", 1).await;
        let moved = self.ids.now().plus(SECOND).plus(DEBOUNCE_GRACE);
        assert_eq!(second.committed.jobs, [QueueItem { due: moved, generation: 2, ..item }]);
        assert_eq!(second.committed.skipped, [(first.event.id, function, Skip::Debounced)]);
        let due = self.store.jobs_due(moved, None, usize::MAX).await.expect("reads");
        assert!(due.iter().any(|due| due.id == job) || self.all_ready().await.iter().any(|due| due.id == job));

        let gathered = self.store.gathered(job).await.expect("reads").expect("there");
        assert_eq!((gathered.function, &gathered.event, gathered.count), (function, &second.event, 1));
        let late = Transition {
            require: vec![Requirement::Generation(job, 1)],
            changes: vec![Change::StartGathered(job, Box::new(first.admit.clone()), refused)],
        };
        let late = self.store.commit(late.into()).await;
        assert!(matches!(late, Err(CommitError::Rejected(Rejected::StaleJob(_, Some(2))))), "it was put off");

        let (run, committed) = self.due(job, 2, function, Admission::default()).await;
        assert_eq!(committed.jobs.iter().map(|job| job.id).collect::<Vec<_>>(), [JobId::start(run)]);
        assert!(committed.admitted.is_empty() && committed.removed.is_empty());
        let state = self.store.run(run).await.expect("reads").expect("open");
        assert_eq!(&*state.event_ids, [second.event.id]);
        assert_eq!(EventBody::Stored(state.events[0].clone()), second.event.body);
        let record = self.store.run_record(run).await.expect("reads").expect("stored");
        assert_eq!((record.gathering, &*record.event_name), (Some(Gathering::Debounce), &*second.event.name));
        assert_eq!((self.runs_of(first.event.id).await, self.runs_of(second.event.id).await), (vec![], vec![run]));
        assert!(self.store.gathered(job).await.expect("reads").is_none());
        let again = self.start_gathered_late(job, &first.admit).await;
        assert!(matches!(again, Err(CommitError::Rejected(Rejected::StaleJob(_, None)))));
    }

    async fn an_older_event_does_not_replace_a_newer_one(&self) {
        let function = self.function("debounce-older");
        let first = self.debounced(function, "a", 5_000).await;
        let job = JobId::gathered(first.admit.run);
        self.clock.pass(SECOND / 2);
        let older = self.debounced(function, "a", 4_999).await;
        assert_eq!(older.skip(), Some(Skip::Debounced));
        assert!(older.committed.jobs.is_empty(), "the deadline stays");
        assert_eq!(self.store.gathered(job).await.expect("reads").expect("there").event, first.event);
        let equal = self.debounced(function, "a", 5_000).await;
        assert_eq!(equal.committed.skipped, [(first.event.id, function, Skip::Debounced)]);
        let (run, _) = self.due(job, 2, function, Admission::default()).await;
        assert_eq!(self.events_of(run).await, [equal.event.id]);
    }

    async fn a_debounce_ends_at_its_timeout(&self) {
        let function = self.function("debounce-timeout");
        let flow = || Admission {
            debounce: Some(Debounce { timeout: Some(SECOND * 5 / 2), ..debounce("a") }),
            ..Admission::default()
        };
        let began = self.ids.now();
        let mut deadlines = Vec::new();
        for _ in 0..4 {
            let event = self.matched(function, flow()).await;
            deadlines.push(event.committed.jobs[0].due.0 - began.0);
            self.clock.pass(SECOND);
        }
        assert_eq!(deadlines, [1_008, 2_008, 2_500, 4_008], "of the fourth there is a new one");
    }

    async fn an_event_after_the_deadline_begins_anew(&self) {
        let function = self.function("debounce-anew");
        let first = self.debounced(function, "a", 7).await;
        self.clock.pass(SECOND + DEBOUNCE_GRACE - Duration::from_millis(1));
        let joins = self.debounced(function, "a", 7).await;
        assert_eq!(joins.jobs(), first.jobs());
        self.clock.pass(SECOND + DEBOUNCE_GRACE);
        let second = self.debounced(function, "a", 1).await;
        assert_eq!(second.jobs(), [JobId::gathered(second.admit.run)], "although the job was not done yet");
        let third = self.debounced(function, "a", 2).await;
        assert_eq!(third.jobs(), second.jobs(), "it joins the newer one");
        let (late, _) = self.due(first.jobs()[0], 2, function, Admission::default()).await;
        let (last, _) = self.due(second.jobs()[0], 2, function, Admission::default()).await;
        assert_eq!(self.events_of(late).await, [joins.event.id]);
        assert_eq!(self.events_of(last).await, [third.event.id]);
    }

    async fn debounces_of_other_keys_are_others(&self) {
        let (function, other) = (self.function("debounce-a"), self.function("debounce-b"));
        let mut jobs = Vec::new();
        for (function, key) in [(function, "a"), (function, "b"), (other, "a")] {
            jobs.extend(self.debounced(function, key, 1).await.jobs());
        }
        jobs.extend(self.matched(function, batched("a", 2)).await.jobs());
        jobs.dedup();
        assert_eq!(jobs.len(), 4);
    }

    async fn an_event_that_a_rate_refuses_does_not_debounce(&self) {
        let function = self.function("debounce-rate");
        let flow = || Admission {
            rates: vec![rate(function, "a", 1, MINUTE)],
            debounce: Some(debounce("a")),
            ..Admission::default()
        };
        let first = self.matched(function, flow()).await;
        for _ in 0..2 {
            let event = self.matched(function, flow()).await;
            assert_eq!((event.skip(), event.jobs()), (Some(Skip::RateLimited), vec![]));
        }
        let (run, started) = self.due(first.jobs()[0], 1, function, flow()).await;
        assert_eq!(self.events_of(run).await, [first.event.id], "and is not counted again when its run starts");
        assert!(started.skipped.is_empty());
    }

    async fn a_debounced_event_takes_its_key_when_its_run_starts(&self) {
        let function = self.function("debounce-key");
        let flow = || Admission { debounce: Some(debounce("a")), ..Admission::default() };
        let first = self.keyed(function, "k", flow()).await;
        let same = self.keyed(function, "k", flow()).await;
        assert_eq!(same.committed.skipped, [(first.event.id, function, Skip::Debounced)], "it is still free");
        let job = first.jobs()[0];
        let keyed = |run: &Matched| Admit { flow: None, ..run.admit.clone() };
        let (run, _) = self.start_gathered(job, 2, keyed(&same)).await;
        assert_eq!(self.events_of(run).await, [same.event.id]);
        assert_eq!(self.keyed(function, "k", flow()).await.skip(), Some(Skip::Duplicate));

        // Somebody else takes it while the event waits.
        let waits = self.keyed(function, "l", flow()).await;
        assert!(self.keyed_plainly(function, "l").await.is_started());
        let (run, refused) = self.start_gathered(waits.jobs()[0], 1, keyed(&waits)).await;
        assert_eq!(refused.skipped, [(waits.event.id, function, Skip::Duplicate)]);
        assert!(refused.jobs.is_empty() && self.store.run_record(run).await.expect("reads").is_none());
        assert!(self.store.gathered(waits.jobs()[0]).await.expect("reads").is_none());
    }

    async fn a_debounced_run_is_a_singleton_when_it_starts(&self) {
        let function = self.function("debounce-single");
        let single = |mode| Admission { singleton: singleton("s", mode), ..Admission::default() };
        let flow = |mode| Admission { debounce: Some(debounce("a")), ..single(mode) };
        let holder = self.matched(function, single(SingletonMode::Skip)).await.admit.run;
        let skipped = self.matched(function, flow(SingletonMode::Skip)).await;
        assert_eq!(skipped.skip(), None, "it is gathered, whoever holds the singleton now");
        let (run, committed) = self.due(skipped.jobs()[0], 1, function, flow(SingletonMode::Skip)).await;
        assert_eq!(committed.skipped, [(skipped.event.id, function, Skip::Singleton(holder))]);
        let record = self.store.run_record(run).await.expect("reads").expect("it is shown");
        assert_eq!((record.status, record.event_ids), (RunStatus::Skipped, vec![skipped.event.id]));

        let cancels = self.matched(function, flow(SingletonMode::Cancel)).await;
        let (run, committed) = self.due(cancels.jobs()[0], 1, function, flow(SingletonMode::Cancel)).await;
        let jobs: Vec<JobId> = committed.jobs.iter().map(|job| job.id).collect();
        assert_eq!(jobs, [JobId::cancel(holder), JobId::start(run)]);
        assert!(!self.all_ready().await.iter().any(|job| job.id == JobId::start(run)));
        let ended = self.commit(vec![finish(holder, RunStatus::Cancelled, None, None)]).await;
        assert_eq!(ended.jobs.iter().map(|job| job.id).collect::<Vec<_>>(), [JobId::start(run)]);
    }

    async fn a_batch_starts_when_it_is_full(&self) {
        let function = self.function("batch");
        let keys = |value: &str| Keys::of(vec![(KeyExpression::of("event.data.u"), KeyValue::of(value))]);
        let mut events = Vec::new();
        for index in 0..3 {
            let event = self.event("admission/batched");
            let mut admit = self.with(&event, function, batched("a", 3));
            admit.job.keys = keys(&index.to_string());
            // A batch does not wait for the time of its events.
            admit.job.due = ms(self.ids.now(), 60_000);
            events.push(self.put(event, admit).await);
        }
        let job = JobId::gathered(events[0].admit.run);
        let kind = JobKind::Gathered(Gathering::Batch);
        let item =
            QueueItem { due: self.ids.now().plus(MINUTE), ..QueueItem::new(job, function, kind, self.ids.now()) };
        assert_eq!(events[0].committed.jobs, [item]);
        assert!(events[1].committed.jobs.is_empty());
        let full = &events[2];
        let run = full.admit.run;
        let first = QueueItem { keys: keys("0"), due: self.ids.now(), ..full.admit.job.clone() };
        assert_eq!(full.committed.jobs, [first]);
        assert_eq!((full.committed.removed.as_slice(), full.committed.admitted.as_slice()), (&[job][..], &[][..]));
        assert!(self.store.gathered(job).await.expect("reads").is_none());
        let ids: Vec<EventId> = events.iter().map(|event| event.event.id).collect();
        let state = self.store.run(run).await.expect("reads").expect("open");
        assert_eq!((&*state.event_ids, state.events.len()), (&*ids, 3));
        assert_eq!(EventBody::Stored(state.events[1].clone()), events[1].event.body);
        assert_eq!(self.store.run_record(run).await.expect("reads").expect("stored").gathering, Some(Gathering::Batch));
        for event in ids {
            assert_eq!(self.runs_of(event).await, [run]);
        }
    }

    async fn a_batch_starts_at_its_timeout(&self) {
        let function = self.function("batch-timeout");
        let first = self.matched(function, batched("a", 3)).await;
        self.clock.pass(MINUTE - Duration::from_millis(1));
        let second = self.matched(function, batched("a", 3)).await;
        assert!(second.jobs().is_empty(), "it does not put it off");
        self.clock.pass(Duration::from_millis(1));
        let third = self.matched(function, batched("a", 3)).await;
        assert_eq!(third.jobs(), [JobId::gathered(third.admit.run)], "it comes too late");
        let job = first.jobs()[0];
        let gathered = self.store.gathered(job).await.expect("reads").expect("there");
        assert_eq!((&gathered.event, gathered.count), (&first.event, 2));
        let (run, committed) = self.due(job, 1, function, batched("a", 3)).await;
        assert_eq!(committed.jobs.iter().map(|job| job.id).collect::<Vec<_>>(), [JobId::start(run)]);
        assert_eq!(self.events_of(run).await, [first.event.id, second.event.id]);
        assert_eq!(self.runs_of(second.event.id).await, [run]);
        assert_eq!(self.store.gathered(third.jobs()[0]).await.expect("reads").expect("there").count, 1);
    }

    async fn many_events_at_once_fill_several_batches(&self) {
        let function = self.function("batch-many");
        let waiting = self.matched(function, batched("a", 3)).await;
        let (mut events, mut runs, mut changes) = (vec![waiting.event.id], Vec::new(), Vec::new());
        for index in 0..9 {
            let event = self.event("admission/many");
            let admit = self.with(&event, function, batched("a", 3));
            events.push(event.id);
            runs.extend((index % 3 == 1).then_some(admit.run));
            changes.push(Change::PutEvent(Box::new(event), vec![admit]));
        }
        let committed = self.commit(changes).await;
        let (jobs, removed) = (committed.jobs, committed.removed);
        let started = jobs.iter().filter(|job| job.kind == JobKind::Start).map(|job| job.id.run);
        assert_eq!(started.collect::<Vec<RunId>>(), runs);
        for (run, events) in runs.iter().zip(events.chunks(3)) {
            assert_eq!(self.events_of(*run).await, events);
        }
        assert_eq!(removed, waiting.jobs(), "that of the second was never told to anybody");
        let open: Vec<_> = jobs.iter().filter(|job| job.kind != JobKind::Start).map(|job| job.id).collect();
        assert_eq!(open.len(), 1);
        let left = self.store.gathered(open[0]).await.expect("reads").expect("there");
        assert_eq!((left.event.id, left.count), (events[9], 1));
    }

    async fn a_batch_is_full_by_its_bytes(&self) {
        let function = self.function("batch-bytes");
        let large = async |bytes: u64| {
            let mut event = self.event("admission/large");
            let text = "x".repeat(usize::try_from(bytes).expect("small") - 2);
            event.body = EventBody::Stored(Payload::from(format!("\"{text}\"")));
            let admit = self.with(&event, function, batched("a", 100));
            self.put(event, admit).await
        };
        let first = large(BATCH_BYTES_MAX - 100).await;
        assert_eq!(first.jobs(), [JobId::gathered(first.admit.run)]);
        assert!(large(99).await.jobs().is_empty());
        let last = large(2).await;
        assert_eq!(last.jobs(), [JobId::start(last.admit.run)]);
        assert_eq!(self.events_of(last.admit.run).await.len(), 3);
    }

    async fn a_batch_takes_an_event_of_each_key_once(&self) {
        let function = self.function("batch-keys");
        let first = self.keyed(function, "a", batched("b", 3)).await;
        let again = self.keyed(function, "a", batched("b", 3)).await;
        assert_eq!((again.skip(), again.jobs()), (Some(Skip::Duplicate), vec![]));
        let other = self.keyed(function, "b", batched("b", 3)).await;
        assert_eq!(other.skip(), None);
        // The keys were taken by those who joined: the run does not look for them.
        let admit = Admit { idempotency: first.admit.idempotency.clone(), ..first.admit.clone() };
        let (run, committed) = self.start_gathered(first.jobs()[0], 1, admit).await;
        assert!(committed.skipped.is_empty());
        assert_eq!(self.events_of(run).await, [first.event.id, other.event.id]);
    }

    async fn a_closed_function_gathers_but_does_not_start(&self) {
        let function = self.function("closed-gathers");
        let closed = |flow| Admission { closed: Some(Closed::Paused), ..flow };
        let debounced = || closed(Admission { debounce: Some(debounce("a")), ..Admission::default() });
        let first = self.matched(function, debounced()).await;
        assert_eq!(first.skip(), None);
        let (run, committed) = self.due(first.jobs()[0], 1, function, debounced()).await;
        assert_eq!(committed.skipped, [(first.event.id, function, Skip::Paused)]);
        assert_eq!(self.events_of(run).await, [first.event.id]);

        let (one, other) = (
            self.matched(function, closed(batched("a", 3))).await,
            self.matched(function, closed(batched("a", 3))).await,
        );
        let (run, committed) = self.due(one.jobs()[0], 1, function, closed(batched("a", 3))).await;
        let events = [one.event.id, other.event.id];
        assert_eq!(committed.skipped, events.map(|event| (event, function, Skip::Paused)));
        let record = self.store.run_record(run).await.expect("reads").expect("one run shows them");
        assert_eq!((record.status, record.event_ids), (RunStatus::Skipped, events.to_vec()));
        assert!(committed.jobs.is_empty() && self.runs_of(events[0]).await.is_empty());

        // It was closed only for a while.
        let first = self.matched(function, debounced()).await;
        let (run, _) = self.due(first.jobs()[0], 1, function, Admission::default()).await;
        assert_eq!(self.runs_of(first.event.id).await, [run]);
    }

    async fn a_full_batch_of_a_closed_function_is_dealt_with_by_its_job(&self) {
        let function = self.function("closed-full");
        let closed = || Admission { closed: Some(Closed::Draining), ..batched("a", 2) };
        let first = self.matched(function, closed()).await;
        let second = self.matched(function, closed()).await;
        let job = &second.committed.jobs[0];
        assert_eq!((job.id, job.generation, job.due), (first.jobs()[0], 2, self.ids.now()));
        assert!(self.all_ready().await.contains(job));
        let third = self.matched(function, closed()).await;
        assert_eq!(third.jobs(), [JobId::gathered(third.admit.run)], "it takes no more events");
        let (_, committed) = self.due(job.id, 2, function, closed()).await;
        let skipped = [first.event.id, second.event.id].map(|event| (event, function, Skip::Draining));
        assert_eq!(committed.skipped, skipped);
    }

    async fn what_was_gathered_may_be_dropped(&self) {
        let function = self.function("dropped");
        let first = self.debounced(function, "a", 1).await;
        let job = first.jobs()[0];
        let drop = |generation| Transition {
            require: vec![Requirement::Generation(job, generation)],
            changes: vec![Change::DropGathered(job)],
        };
        let committed = self.store.commit(drop(1).into()).await.expect("commits");
        assert!(committed.skipped.is_empty() && committed.jobs.is_empty());
        assert!(self.store.gathered(job).await.expect("reads").is_none());
        assert!(self.store.commit(drop(1).into()).await.is_err(), "the job is gone with it");
        let again = self.debounced(function, "a", 1).await;
        assert_eq!(again.jobs(), [JobId::gathered(again.admit.run)]);
    }

    async fn events_of_a_batch_that_never_starts_may_come_again(&self) {
        let function = self.function("batch-again");
        for drops in [false, true] {
            let first = self.keyed(function, "a", batched("b", 3)).await;
            let second = self.keyed(function, "b", batched("b", 3)).await;
            assert_eq!(self.keyed(function, "a", batched("b", 3)).await.skip(), Some(Skip::Duplicate));
            let job = first.jobs()[0];
            if drops {
                self.commit(vec![Change::DropGathered(job)]).await;
            } else {
                let closed = Admission { closed: Some(Closed::Paused), ..batched("b", 3) };
                let (_, committed) = self.due(job, 1, function, closed).await;
                assert_eq!(committed.skipped.len(), 2);
            }
            let again = self.keyed(function, "b", batched("c", 3)).await;
            assert_eq!((again.skip(), second.skip()), (None, None), "dropped: {drops}");
            self.commit(vec![Change::DropGathered(again.jobs()[0])]).await;
        }
        // The key of a debounced event is somebody else's, if it is taken.
        assert!(self.keyed_plainly(function, "d").await.is_started());
        self.clock.pass(60 * MINUTE);
        let flow = || Admission { debounce: Some(debounce("d")), ..Admission::default() };
        let waits = self.keyed(function, "d", flow()).await;
        assert!(self.keyed_plainly(function, "d").await.is_started());
        self.commit(vec![Change::DropGathered(waits.jobs()[0])]).await;
        assert_eq!(self.keyed_plainly(function, "d").await.skip(), Some(Skip::Duplicate));
    }

    async fn what_was_gathered_is_read_with_its_content(&self) {
        let function = self.function("gathered-lifecycle");
        let (told, _) = self.run("gathered-told").await;
        self.commit(vec![finish(told, RunStatus::Completed, Some(r#"{"deep":1}"#), None)]).await;
        let stored = self.event(FUNCTION_FINISHED);
        let event = Event { body: EventBody::Lifecycle(told), ..stored };
        let admit = self.with(&event, function, batched("a", 3));
        let job = self.put(event.clone(), admit).await.jobs()[0];
        let gathered = self.store.gathered(job).await.expect("reads").expect("there");
        let body = self.store.event(event.id).await.expect("reads").expect("stored").body;
        assert!(body.windows(10).any(|part| part == br#"{"deep":1}"#));
        assert_eq!(gathered.event, Event { body: EventBody::Stored(body), ..event });
    }

    async fn what_is_gathered_is_listed_newest_first(&self) {
        let function = self.function("gathered-listed");
        let first = self.debounced(function, "a", 1).await;
        self.clock.pass(SECOND / 2);
        let last = self.debounced(function, "a", 1).await;
        let mut batch = Vec::new();
        for _ in 0..GATHERED_LISTED_MAX + 1 {
            batch.push(self.matched(function, batched("a", 1_000)).await);
        }
        let (now, grace) = (self.ids.now(), DEBOUNCE_GRACE);
        let debounces = GatheringRecord {
            id: first.admit.run,
            function,
            kind: Gathering::Debounce,
            first_at: Millis(now.0 - 500),
            deadline: now.plus(SECOND).plus(grace),
            count: 1,
            events: vec![last.event.id],
        };
        let batches = GatheringRecord {
            id: batch[0].admit.run,
            function,
            kind: Gathering::Batch,
            first_at: now,
            deadline: now.plus(MINUTE),
            count: GATHERED_LISTED_MAX + 1,
            events: batch[..GATHERED_LISTED_MAX].iter().map(|sent| sent.event.id).collect(),
        };
        let list = async |filter: GatheringFilter| self.store.gatherings(filter).await.expect("reads");
        let mine = GatheringFilter { function: Some(function), limit: 9, ..GatheringFilter::default() };
        assert_eq!(list(mine.clone()).await, [batches.clone(), debounces.clone()]);
        assert_eq!(list(GatheringFilter { limit: 1, ..mine.clone() }).await, std::slice::from_ref(&batches));
        let of_event = |event| GatheringFilter { event: Some(event), limit: 9, ..GatheringFilter::default() };
        assert_eq!(list(of_event(batch[GATHERED_LISTED_MAX].event.id)).await, std::slice::from_ref(&batches));
        assert_eq!(list(of_event(first.event.id)).await, [], "it has lost");
        assert_eq!(list(GatheringFilter { cursor: Some(batches.id), ..mine }).await, [debounces]);
    }

    async fn debounced(&self, function: FunctionId, key: &str, ts: i64) -> Matched {
        let mut event = self.event("admission/debounced");
        event.ts = Millis(ts);
        let admit = self.with(&event, function, Admission { debounce: Some(debounce(key)), ..Admission::default() });
        self.put(event, admit).await
    }

    async fn start_gathered_late(&self, job: JobId, admit: &Admit) -> Result<crate::Committed, CommitError> {
        let changes = vec![Change::StartGathered(job, Box::new(admit.clone()), refused)];
        let require = vec![Requirement::Generation(job, 2)];
        self.store.commit(Transition { require, changes }.into()).await
    }
}

fn debounce(key: &str) -> Debounce {
    Debounce { key: KeyValue::of(key), period: SECOND, timeout: None }
}

fn batched(key: &str, size: u32) -> Admission {
    Admission { batch: Some(Batch { key: KeyValue::of(key), size, timeout: MINUTE }), ..Admission::default() }
}
