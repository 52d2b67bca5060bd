//! Steps that wait for a run which flow control holds up or forbids.

use std::sync::Arc;
use std::time::Duration;

use inngest_core::{FunctionId, RunId, StepId};
use inngest_queue::flow::{Admission, Batch, Closed, Debounce, KeyValue, SingletonMode, Skip};
use inngest_queue::{JobId, JobKind, QueueItem, Resolution, StepRef, WaitFor};

use super::super::Case;
use super::{MINUTE, SECOND, rate, refused, singleton};
use crate::{Admit, Await, Awaited, Change, Committed, Invoke};

/// A step that invokes a function.
struct Invoking {
    job: JobId,
    child: RunId,
    committed: Committed,
}

impl Invoking {
    /// What the step was resolved with, if it was.
    fn resolution(&self) -> Option<Resolution> {
        let known = self.committed.jobs.iter().rfind(|job| job.id == self.job)?;
        known.resolution.as_deref().cloned()
    }

    /// How the run names it.
    fn correlation_id(&self) -> String {
        format!("{}.w", self.job.run)
    }
}

impl Case<'_> {
    pub(super) async fn invokes(&self) {
        self.an_invoke_that_is_refused_is_answered_at_once().await;
        self.invokes_that_are_debounced_wait_for_the_same_run().await;
        self.invokes_that_are_batched_wait_for_the_same_run().await;
        self.invokes_are_answered_when_what_was_gathered_does_not_start().await;
    }

    async fn an_invoke_that_is_refused_is_answered_at_once(&self) {
        let function = self.function("invoked");
        let limited = || Admission { rates: vec![rate(function, "i", 1, MINUTE)], ..Admission::default() };
        let single = || Admission { singleton: singleton("i", SingletonMode::Skip), ..Admission::default() };
        let closed = |closed| Admission { closed: Some(closed), ..Admission::default() };
        let started = self.invoking(function, limited()).await;
        assert_eq!(started.resolution(), None);
        assert!(started.committed.jobs.iter().any(|job| job.id == JobId::start(started.child)));
        let holder = self.invoking(function, single()).await.child;
        for (flow, skip) in [
            (limited(), Skip::RateLimited),
            (single(), Skip::Singleton(holder)),
            (closed(Closed::Paused), Skip::Paused),
            (closed(Closed::Draining), Skip::Draining),
        ] {
            let invoking = self.invoking(function, flow).await;
            assert_eq!(invoking.resolution(), Some(Resolution::Value(refused(skip))), "{skip:?}");
            assert!(invoking.committed.admitted.is_empty());
        }
        // What becomes of other functions that its event matches is not its concern.
        let event = self.event("inngest/function.invoked");
        let own = self.with(&event, function, Admission::default());
        let child = own.run;
        let other = self.with(&event, self.function("invoked-other"), closed(Closed::Paused));
        let (job, what) = self.invoke(child, event, vec![other, own]).await;
        let committed = self.commit(vec![what]).await;
        assert!(committed.jobs.iter().all(|known| known.id != job || known.resolution.is_none()));
        assert_eq!(committed.skipped.len(), 1);
    }

    async fn invokes_that_are_debounced_wait_for_the_same_run(&self) {
        let function = self.function("invoked-debounce");
        let first = self.invoking(function, debounced()).await;
        self.clock.pass(SECOND / 2);
        let winner = self.matched(function, debounced()).await;
        let mut older = self.event("inngest/function.invoked");
        older.ts.0 -= 10;
        let admit = self.with(&older, function, debounced());
        let (late, what) = self.invoke(admit.run, older, vec![admit]).await;
        let committed = self.commit(vec![what]).await;
        assert_eq!(committed.skipped.iter().map(|(_, _, skip)| *skip).collect::<Vec<_>>(), [Skip::Debounced]);
        let lost = Invoking { job: late, child: winner.admit.run, committed };
        assert_eq!((first.resolution(), lost.resolution()), (None, None));

        let job = JobId::gathered(first.child);
        let gathered = self.store.gathered(job).await.expect("reads").expect("there");
        assert_eq!((gathered.count, gathered.invokers), (1, vec![first.job, late]));
        let (run, committed) = self.due(job, 2, function, debounced()).await;
        assert_eq!(self.events_of(run).await, [winner.event.id]);
        assert!(committed.jobs.iter().all(|job| job.id.run == run), "they wait for its end");
        let both = format!("{},{}", first.correlation_id(), lost.correlation_id());
        let state = self.store.run(run).await.expect("reads").expect("open");
        assert_eq!(state.correlation_id.as_deref(), Some(&*both));
        assert_eq!(crate::invokers(&both), [first.job, late]);
    }

    async fn invokes_that_are_batched_wait_for_the_same_run(&self) {
        let function = self.function("invoked-batch");
        let first = self.invoking(function, batched(3)).await;
        self.matched(function, batched(3)).await;
        let last = self.invoking(function, batched(3)).await;
        assert_eq!((first.resolution(), last.resolution()), (None, None));
        let state = self.store.run(last.child).await.expect("reads").expect("the batch is full");
        let both = format!("{},{}", first.correlation_id(), last.correlation_id());
        assert_eq!((state.correlation_id.as_deref(), state.events.len()), (Some(&*both), 3));
    }

    async fn invokes_are_answered_when_what_was_gathered_does_not_start(&self) {
        let function = self.function("invoked-closed");
        for flow in [debounced(), batched(3)] {
            let closed = || Admission { closed: Some(Closed::Paused), ..flow.clone() };
            let (one, other) = (self.invoking(function, closed()).await, self.invoking(function, closed()).await);
            assert_eq!((one.resolution(), other.resolution()), (None, None));
            let job = JobId::gathered(one.child);
            let generation = if flow.batch.is_some() { 1 } else { 2 };
            let (_, committed) = self.due(job, generation, function, closed()).await;
            let answered: Vec<_> = committed.jobs.iter().map(|job| (job.id, job.resolution.as_deref())).collect();
            let refusal = Resolution::Value(refused(Skip::Paused));
            assert_eq!(answered, [(one.job, Some(&refusal)), (other.job, Some(&refusal))]);
        }
    }

    /// A run of its own whose step `w` invokes the function.
    async fn invoking(&self, function: FunctionId, flow: Admission) -> Invoking {
        let event = self.event("inngest/function.invoked");
        let admit = self.with(&event, function, flow);
        let child = admit.run;
        let (job, what) = self.invoke(child, event, vec![admit]).await;
        Invoking { job, child, committed: self.commit(vec![what]).await }
    }

    async fn invoke(&self, child: RunId, event: inngest_core::Event, admits: Vec<Admit>) -> (JobId, Change) {
        let (run, _) = self.run("invoker").await;
        let step = StepRef { id: StepId::from("w"), name: "w".into() };
        let id = JobId::wait(run, &step.id);
        let due = self.ids.now().plus(60 * MINUTE);
        let job = QueueItem { due, ..self.item(id, JobKind::Wait(step, WaitFor::Invoke)) };
        let correlation_id: Arc<str> = format!("{run}.w").into();
        let correlated = |admit: Admit| {
            let correlation_id = (admit.run == child).then(|| Arc::clone(&correlation_id));
            Admit { correlation_id, ..admit }
        };
        let admits = admits.into_iter().map(correlated).collect();
        let awaited = Awaited::Run(Box::new(Invoke { run: child, event, admits, refusal: refused }));
        (id, Change::Await(Box::new(Await { job, awaited })))
    }
}

fn debounced() -> Admission {
    let debounce = Debounce { key: KeyValue::of("i"), period: Duration::from_secs(1), timeout: None };
    Admission { debounce: Some(debounce), ..Admission::default() }
}

fn batched(size: u32) -> Admission {
    Admission { batch: Some(Batch { key: KeyValue::of("i"), size, timeout: MINUTE }), ..Admission::default() }
}
