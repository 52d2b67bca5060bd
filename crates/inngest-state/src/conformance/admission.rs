//! Cases about what stands between an event and a run.

mod gathering;
mod invokes;
mod singletons;

use std::time::Duration;

use inngest_core::{Event, EventId, FunctionId, Millis, Payload, RunId, RunStatus};
use inngest_queue::flow::{
    Admission, Batch, Bucket, Closed, Debounce, KeyExpression, KeyValue, Keys, RateLimit, Singleton, SingletonMode,
    Skip,
};
use inngest_queue::gcra::Rate;
use inngest_queue::{JobId, StartedRun, Token};

use super::{Case, finish};
use crate::history::{RunFilter, SkipFilter, SkipRecord};
use crate::{Admit, Change, Committed, Hold, Requirement, Transition};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

impl Case<'_> {
    pub(super) async fn admissions(&self) {
        self.a_rate_refuses_what_is_beyond_it().await;
        self.all_rates_allow_an_event_or_none_counts_it().await;
        self.functions_may_share_a_rate().await;
        self.a_duplicate_touches_nothing().await;
        self.what_starts_nothing_takes_no_key().await;
        self.a_closed_function_starts_nothing().await;
        self.a_repeated_event_is_decided_once().await;
        self.skips_are_listed_newest_first().await;
        self.skipped_runs_are_listed_when_asked_for().await;
        self.throttles_are_kept_and_never_go_back().await;
        self.started_runs_are_told_with_their_keys().await;
        self.holds_and_documents_are_kept().await;
        self.gathering().await;
        self.singletons().await;
        self.invokes().await;
    }

    async fn a_rate_refuses_what_is_beyond_it(&self) {
        let function = self.function("rate");
        let flow = |key| Admission { rates: vec![rate(function, key, 1, MINUTE)], ..Admission::default() };
        let first = self.matched(function, flow("a")).await;
        let second = self.matched(function, flow("a")).await;
        let other = self.matched(function, flow("b")).await;
        assert!(first.is_started() && other.is_started());
        assert_eq!(second.skip(), Some(Skip::RateLimited));
        assert!(self.store.run_record(second.admit.run).await.expect("reads").is_none(), "it leaves no run");
        assert!(self.store.event(second.event.id).await.expect("reads").expect("stored").runs.is_empty());
        self.clock.pass(MINUTE - Duration::from_millis(1));
        assert_eq!(self.matched(function, flow("a")).await.skip(), Some(Skip::RateLimited));
        self.clock.pass(Duration::from_millis(1));
        assert!(self.matched(function, flow("a")).await.is_started());
    }

    async fn all_rates_allow_an_event_or_none_counts_it(&self) {
        let function = self.function("rates");
        let (slow, fast) = (rate(function, "slow", 1, MINUTE), rate(function, "fast", 1, SECOND));
        let flow = |rates: &[RateLimit]| Admission { rates: rates.to_vec(), ..Admission::default() };
        for order in [[fast, slow], [slow, fast]] {
            self.clock.pass(MINUTE);
            assert!(self.matched(function, flow(&order)).await.is_started());
            self.clock.pass(SECOND);
            assert_eq!(self.matched(function, flow(&order)).await.skip(), Some(Skip::RateLimited));
            assert!(self.matched(function, flow(&[fast])).await.is_started(), "what was refused did not count");
        }
    }

    async fn functions_may_share_a_rate(&self) {
        let (one, other) = (self.function("shared-a"), self.function("shared-b"));
        let shared = RateLimit { bucket: Bucket::shared("conformance"), ..rate(one, "", 1, MINUTE) };
        let flow = || Admission { rates: vec![shared], ..Admission::default() };
        let event = self.event("admission/shared");
        let admits = vec![self.with(&event, one, flow()), self.with(&event, other, flow())];
        let (first, second) = (admits[0].run, admits[1].function);
        let committed = self.commit(vec![Change::PutEvent(Box::new(event.clone()), admits)]).await;
        assert_eq!(committed.admitted, [(event.id, first)]);
        assert_eq!(committed.skipped, [(event.id, second, Skip::RateLimited)]);
    }

    async fn a_duplicate_touches_nothing(&self) {
        let function = self.function("duplicate");
        let everything = |batch| Admission {
            batch: Some(Batch { key: KeyValue::of("d"), size: 2, timeout: MINUTE }).filter(|_| batch),
            rates: vec![rate(function, "d", 1, MINUTE)],
            debounce: Some(Debounce { key: KeyValue::of("d"), period: SECOND, timeout: None }),
            singleton: singleton("d", SingletonMode::Cancel),
            closed: Some(Closed::Paused),
        };
        let holder = self
            .keyed(
                function,
                "k",
                Admission { singleton: singleton("d", SingletonMode::Cancel), ..Admission::default() },
            )
            .await;
        assert!(holder.is_started());
        for batch in [true, false] {
            let again = self.keyed(function, "k", everything(batch)).await;
            assert_eq!(again.skip(), Some(Skip::Duplicate));
            assert!(again.committed.jobs.is_empty(), "nobody is cancelled, nothing is gathered");
        }
        let rates = Admission { rates: vec![rate(function, "d", 1, MINUTE)], ..Admission::default() };
        assert!(self.matched(function, rates).await.is_started(), "nor counted");
        let plain = self.keyed_plainly(function, "k").await;
        assert_eq!(plain.skip(), Some(Skip::Duplicate), "it is told where nothing else is in the way, too");
    }

    async fn what_starts_nothing_takes_no_key(&self) {
        let function = self.function("no-key");
        let limited = || Admission { rates: vec![rate(function, "n", 1, MINUTE)], ..Admission::default() };
        let held = |mode| Admission { singleton: singleton("n", mode), ..Admission::default() };
        assert!(self.matched(function, limited()).await.is_started());
        assert_eq!(self.keyed(function, "n", limited()).await.skip(), Some(Skip::RateLimited));
        let closed = Admission { closed: Some(Closed::Draining), ..Admission::default() };
        assert_eq!(self.keyed(function, "n", closed).await.skip(), Some(Skip::Draining));
        let holder = self.matched(function, held(SingletonMode::Skip)).await.admit.run;
        let refused = self.keyed(function, "n", held(SingletonMode::Skip)).await;
        assert_eq!(refused.skip(), Some(Skip::Singleton(holder)));
        let debounce = Debounce { key: KeyValue::of("n"), period: SECOND, timeout: None };
        let debounced = self.keyed(function, "n", Admission { debounce: Some(debounce), ..Admission::default() }).await;
        assert_eq!(debounced.skip(), None);
        assert!(self.keyed_plainly(function, "n").await.is_started());
        assert_eq!(self.keyed_plainly(function, "n").await.skip(), Some(Skip::Duplicate));
    }

    async fn a_closed_function_starts_nothing(&self) {
        let function = self.function("closed");
        for (closed, skip) in [(Closed::Paused, Skip::Paused), (Closed::Draining, Skip::Draining)] {
            let sent = self.matched(function, Admission { closed: Some(closed), ..Admission::default() }).await;
            assert_eq!(sent.skip(), Some(skip));
            assert!(sent.committed.jobs.is_empty() && self.store.run(sent.admit.run).await.expect("reads").is_none());
            let record = self.store.run_record(sent.admit.run).await.expect("reads").expect("it is shown");
            assert_eq!((record.status, record.skip), (RunStatus::Skipped, Some(skip)));
            assert_eq!((record.event_ids, &*record.event_name), (vec![sent.event.id], &*sent.event.name));
            assert_eq!(record.ended_at, Some(self.ids.now()));
            assert!(self.store.event(sent.event.id).await.expect("reads").expect("stored").runs.is_empty());
        }
        // It has no effect on others: a rate does not count it, a holder is not cancelled.
        let limits = vec![rate(function, "c", 1, MINUTE)];
        let closed = || Admission {
            rates: limits.clone(),
            singleton: singleton("c", SingletonMode::Cancel),
            closed: Some(Closed::Paused),
            ..Admission::default()
        };
        let holder = self.matched(function, Admission { rates: Vec::new(), closed: None, ..closed() }).await;
        assert!(holder.is_started());
        let paused = self.matched(function, closed()).await;
        assert_eq!(paused.skip(), Some(Skip::Paused));
        assert!(paused.committed.jobs.is_empty());
        let open = || Admission { rates: limits.clone(), ..Admission::default() };
        assert!(self.matched(function, open()).await.is_started());
        assert_eq!(self.matched(function, closed()).await.skip(), Some(Skip::RateLimited), "which comes first");
    }

    async fn a_repeated_event_is_decided_once(&self) {
        let function = self.function("repeated");
        let flow = || Admission { rates: vec![rate(function, "r", 1, SECOND)], ..Admission::default() };
        let event = self.event("admission/repeated");
        let admits = vec![self.with(&event, function, flow())];
        let put = || vec![Change::PutEvent(Box::new(event.clone()), admits.clone())];
        assert_eq!(self.commit(put()).await.admitted.len(), 1);
        self.clock.pass(SECOND);
        let again = self.commit(put()).await;
        assert!(again.admitted.is_empty() && again.skipped.is_empty());
        assert!(self.matched(function, flow()).await.is_started(), "it is not counted again");
    }

    async fn skips_are_listed_newest_first(&self) {
        let (one, other) = (self.function("skips-a"), self.function("skips-b"));
        let mut expected = Vec::new();
        for _ in 0..3 {
            self.clock.pass(SECOND);
            let event = self.event("admission/skips");
            let closed = || Admission { closed: Some(Closed::Paused), ..Admission::default() };
            let admits = vec![self.with(&event, one, closed()), self.with(&event, other, closed())];
            for admit in &admits {
                let (function, run) = (admit.function, Some(admit.run));
                expected.push(SkipRecord { event: event.id, function, reason: Skip::Paused, run });
            }
            self.commit(vec![Change::PutEvent(Box::new(event), admits)]).await;
        }
        expected.sort_by_key(|skip| std::cmp::Reverse((skip.event, skip.function)));
        let list = async |filter: SkipFilter| self.store.skips(filter).await.expect("reads");
        let all = SkipFilter { limit: 6, ..SkipFilter::default() };
        assert_eq!(list(all.clone()).await, expected);
        let cursor = Some((expected[2].event, expected[2].function));
        assert_eq!(list(SkipFilter { cursor, limit: 2, ..all.clone() }).await, expected[3..5]);
        let event = expected[2].event;
        assert_eq!(list(SkipFilter { event: Some(event), ..all.clone() }).await, expected[2..4]);
        let mine: Vec<_> = expected.iter().filter(|skip| skip.function == one).cloned().collect();
        assert_eq!(list(SkipFilter { function: Some(one), ..all.clone() }).await, mine);
        let cursor = Some((mine[0].event, mine[0].function));
        assert_eq!(list(SkipFilter { function: Some(one), cursor, ..all }).await, mine[1..]);
    }

    async fn skipped_runs_are_listed_when_asked_for(&self) {
        let function = self.function("skipped");
        let skipped = self.matched(function, Admission { closed: Some(Closed::Paused), ..Admission::default() }).await;
        let started = self.matched(function, Admission::default()).await;
        let mine = RunFilter { functions: Some(vec![function]), limit: 10, ..RunFilter::default() };
        let list = async |filter: RunFilter| -> Vec<RunId> {
            self.store.runs(filter).await.expect("reads").iter().map(|record| record.id).collect()
        };
        assert_eq!(list(mine.clone()).await, [started.admit.run]);
        assert_eq!(list(RunFilter { event: Some(skipped.event.id), ..mine.clone() }).await, []);
        assert_eq!(list(RunFilter { statuses: vec![RunStatus::Skipped], ..mine }).await, [skipped.admit.run]);
    }

    async fn throttles_are_kept_and_never_go_back(&self) {
        let now = self.ids.now().0 * 1_000_000;
        let token = |name: &str, tat| Token { bucket: Bucket::shared(name), key: KeyValue::of("t"), tat };
        let put = async |tokens: &[Token]| self.commit(vec![Change::PutTokens(tokens.to_vec())]).await;
        put(&[token("throttle-a", now + 5), token("throttle-b", now), token("throttle-c", now + 9)]).await;
        put(&[token("throttle-a", now + 7), token("throttle-c", now + 1)]).await;
        let mut tokens = self.store.tokens().await.expect("reads");
        tokens.sort_by_key(|token| token.tat);
        assert_eq!(tokens, [token("throttle-a", now + 7), token("throttle-c", now + 9)], "only what matters still");
        // A rate limit of the same name counts for itself.
        let function = self.function("throttles");
        let limit = RateLimit { bucket: Bucket::shared("throttle-a"), ..rate(function, "t", 1, MINUTE) };
        let limited = self.matched(function, Admission { rates: vec![limit], ..Admission::default() }).await;
        assert!(limited.is_started());
        assert_eq!(self.store.tokens().await.expect("reads").len(), 2);
        self.clock.pass(SECOND);
        assert_eq!(self.store.tokens().await.expect("reads"), []);
    }

    async fn started_runs_are_told_with_their_keys(&self) {
        let (function, other) = (self.function("started-a"), self.function("started-b"));
        let keys = Keys::of(vec![(KeyExpression::of("event.data.u"), KeyValue::of("u"))]);
        let mut runs = Vec::new();
        for function in [function, function, other, function] {
            let event = self.event("admission/started");
            let mut admit = self.admission(&event, function, None);
            admit.job.keys = keys.clone();
            runs.push(admit.run);
            let put = Change::PutEvent(Box::new(event), vec![admit]);
            assert_eq!(self.commit(vec![put]).await.jobs[0].keys, keys);
        }
        assert_eq!(self.store.trace(runs[0]).await.expect("reads").jobs[0].keys, keys);
        for run in &runs[1..] {
            self.commit(vec![Change::StartRun { run: *run, at: self.ids.now(), job: None }]).await;
        }
        let ended = self.commit(vec![finish(runs[3], RunStatus::Completed, None, None)]).await;
        assert_eq!(ended.ended, [runs[3]]);
        let started = |run: RunId, function| StartedRun { run, function, keys: keys.clone() };
        let list = async |functions| self.store.started_runs(functions).await.expect("reads");
        assert_eq!(list(vec![function]).await, [started(runs[1], function)]);
        let mut both = vec![started(runs[1], function), started(runs[2], other)];
        both.sort_by_key(|started| started.run);
        assert_eq!(list(vec![other, function]).await, both);
        assert_eq!(list(Vec::new()).await, []);
    }

    async fn holds_and_documents_are_kept(&self) {
        let function = self.function("held");
        let put = async |hold| self.commit(vec![Change::PutHold(function, hold)]).await;
        for hold in [Hold::PausedQueue, Hold::PausedSkip, Hold::Draining] {
            put(Some(hold)).await;
            self.commit(vec![Change::PutFunction(Box::new(self.definition(function, "held")))]).await;
            assert_eq!(self.store.holds().await.expect("reads"), [(function, hold)]);
        }
        put(None).await;
        assert_eq!(self.store.holds().await.expect("reads"), []);

        let put = async |body: Option<&str>| {
            let body = body.map(|body| Payload::from(body.to_owned()));
            self.commit(vec![Change::PutDocument("limits".into(), body)]).await;
        };
        let read = async |name: &str| self.store.document(name).await.expect("reads");
        assert_eq!(read("limits").await, None);
        put(Some("{}")).await;
        put(Some(r#"{"a":1}"#)).await;
        assert_eq!((read("limits").await, read("other").await), (Some(Payload::from(r#"{"a":1}"#)), None));
        put(None).await;
        assert_eq!(read("limits").await, None);
    }

    // What the cases are made of.

    fn with(&self, event: &Event, function: FunctionId, flow: Admission) -> Admit {
        Admit { flow: Some(Box::new(flow)), ..self.admission(event, function, None) }
    }

    /// An event that one function matches.
    async fn matched(&self, function: FunctionId, flow: Admission) -> Matched {
        let event = self.event("admission/matched");
        let admit = self.with(&event, function, flow);
        self.put(event, admit).await
    }

    /// One with a key of idempotency.
    async fn keyed(&self, function: FunctionId, key: &str, flow: Admission) -> Matched {
        let event = Event { external_id: Some(key.into()), ..self.event("admission/keyed") };
        let idempotency = Some((key.into(), self.ids.now().plus(60 * MINUTE)));
        let admit = Admit { idempotency, ..self.with(&event, function, flow) };
        self.put(event, admit).await
    }

    /// The same without flow control.
    async fn keyed_plainly(&self, function: FunctionId, key: &str) -> Matched {
        let event = Event { external_id: Some(key.into()), ..self.event("admission/keyed") };
        let admit = self.admission(&event, function, Some((key.into(), self.ids.now().plus(60 * MINUTE))));
        self.put(event, admit).await
    }

    async fn put(&self, event: Event, admit: Admit) -> Matched {
        let put = Change::PutEvent(Box::new(event.clone()), vec![admit.clone()]);
        Matched { committed: self.commit(vec![put]).await, event, admit }
    }

    /// Does the job of what was gathered, with this flow control.
    async fn due(&self, job: JobId, generation: u32, function: FunctionId, flow: Admission) -> (RunId, Committed) {
        let gathered = self.store.gathered(job).await.expect("reads").expect("there");
        assert_eq!(gathered.function, function);
        let admit = self.with(&gathered.event, function, flow);
        self.start_gathered(job, generation, admit).await
    }

    async fn start_gathered(&self, job: JobId, generation: u32, admit: Admit) -> (RunId, Committed) {
        let run = admit.run;
        let changes = vec![Change::StartGathered(job, Box::new(admit), refused)];
        let transition = Transition { require: vec![Requirement::Generation(job, generation)], changes };
        (run, self.store.commit(transition.into()).await.expect("commits"))
    }

    async fn runs_of(&self, event: EventId) -> Vec<RunId> {
        self.store.event(event).await.expect("reads").expect("stored").runs
    }

    async fn events_of(&self, run: RunId) -> Vec<EventId> {
        self.store.run_record(run).await.expect("reads").expect("stored").event_ids
    }
}

/// An event, the run it would have started, and what became of it.
struct Matched {
    event: Event,
    admit: Admit,
    committed: Committed,
}

impl Matched {
    fn is_started(&self) -> bool {
        self.committed.admitted == [(self.event.id, self.admit.run)]
    }

    fn skip(&self) -> Option<Skip> {
        let own = |(event, _, _): &&(EventId, FunctionId, Skip)| *event == self.event.id;
        self.committed.skipped.iter().find(own).map(|(_, _, skip)| *skip)
    }

    fn jobs(&self) -> Vec<JobId> {
        self.committed.jobs.iter().map(|job| job.id).collect()
    }
}

fn rate(function: FunctionId, key: &str, limit: u32, period: Duration) -> RateLimit {
    RateLimit { bucket: Bucket::of_function(function), key: KeyValue::of(key), rate: Rate::lossy(limit, period) }
}

fn singleton(key: &str, mode: SingletonMode) -> Option<Singleton> {
    Some(Singleton { key: KeyValue::of(key), mode })
}

fn refused(skip: Skip) -> Payload {
    Payload::from(format!(r#"{{"error":"{}"}}"#, skip.as_str()))
}

fn ms(at: Millis, later: u64) -> Millis {
    at.plus(Duration::from_millis(later))
}
