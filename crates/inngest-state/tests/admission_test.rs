//! Random events under random flow control: the store against a model that is slow and obvious.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use inngest_core::event::EventBody;
use inngest_core::{Clock, Event, EventId, FunctionId, Ids, Millis, Payload, RunId, RunStatus, SystemEntropy};
use inngest_queue::admission::{AFTER_ANOTHER, DEBOUNCE_GRACE};
use inngest_queue::flow::{
    Admission, Batch, Bucket, Closed, Debounce, KeyValue, RateLimit, Singleton, SingletonMode, Skip,
};
use inngest_queue::gcra::Rate;
use inngest_queue::{Gathering, JobId, JobKind, QueueItem};
use inngest_state::conformance::HandClock;
use inngest_state::history::{RunFilter, SkipFilter};
use inngest_state::sqlite::{Options, SqliteStore};
use inngest_state::{Admit, Change, Committed, FinishRun, History, Requirement, Store, Transition};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

/// How often a rate allows an event.
const EMISSION_MS: i64 = 1_000;

/// How long a key of idempotency is taken.
const KEY_MS: u64 = 3_000;

const EVERYTHING: usize = 100_000;

/// What happens to a store.
#[derive(Clone, Debug)]
enum Op {
    /// These events come at once.
    Send(Vec<Sent>),
    /// Time passes.
    Pass(u64),
    /// Up to so many of the jobs of gatherings that are due are done.
    Work(usize, Flow),
    /// What has been gathered for the longest time is dropped.
    Drop,
    /// One of the runs that are open ends.
    End(prop::sample::Index),
    /// The process ends, and another one begins.
    Reopen,
}

/// An event that matches one or two functions.
#[derive(Clone, Debug)]
struct Sent {
    functions: Vec<(usize, Flow)>,
    id: Option<u8>,
    ts: i64,
    invoked: bool,
}

/// Flow control by small numbers.
#[derive(Clone, Debug)]
struct Flow {
    key: u8,
    batch: Option<u32>,
    rates: Vec<(bool, u32)>,
    debounce: Option<(u64, Option<u64>)>,
    singleton: Option<SingletonMode>,
    closed: Option<Closed>,
}

impl Flow {
    fn admission(&self, function: FunctionId) -> Option<Box<Admission>> {
        let key = KeyValue::of(&self.key.to_string());
        let rate = |(shared, limit): &(bool, u32)| RateLimit {
            bucket: if *shared { Bucket::shared("all") } else { Bucket::of_function(function) },
            key,
            rate: Rate::lossy(*limit, Duration::from_secs(u64::from(*limit))),
        };
        let ms = Duration::from_millis;
        let admission = Admission {
            batch: self.batch.map(|size| Batch { key, size, timeout: ms(2_000) }),
            rates: self.rates.iter().map(rate).collect(),
            debounce: self.debounce.map(|(period, timeout)| Debounce {
                key,
                period: ms(period),
                timeout: timeout.map(ms),
            }),
            singleton: self.singleton.map(|mode| Singleton { key, mode }),
            closed: self.closed,
        };
        (admission != Admission::default()).then(|| Box::new(admission))
    }
}

fn flow() -> impl Strategy<Value = Flow> {
    let mode = prop::sample::select(vec![SingletonMode::Skip, SingletonMode::Cancel]);
    let closed = prop::sample::select(vec![Closed::Paused, Closed::Draining]);
    let rates = prop_oneof![
        4 => Just(Vec::new()),
        2 => Just(vec![(false, 1)]),
        1 => Just(vec![(false, 20)]),
        1 => Just(vec![(true, 1), (false, 20)]),
    ];
    let timeout = prop::option::of(prop::sample::select(vec![700_u64, 2_500]));
    (
        0..2_u8,
        prop::option::weighted(0.25, 2..4_u32),
        rates,
        prop::option::weighted(0.3, (prop::sample::select(vec![1_000_u64, 1_500]), timeout)),
        prop::option::weighted(0.5, mode),
        prop::option::weighted(0.1, closed),
    )
        .prop_map(|(key, batch, rates, debounce, singleton, closed)| Flow {
            key,
            batch,
            rates,
            debounce,
            singleton,
            closed,
        })
}

fn op() -> impl Strategy<Value = Op> {
    let functions = prop_oneof![
        4 => (0..2_usize, flow()).prop_map(|one| vec![one]),
        1 => (flow(), flow()).prop_map(|(one, other)| vec![(0, one), (1, other)]),
    ];
    let id = prop::option::weighted(0.3, 0..4_u8);
    let sent = (functions, id, -2..3_i64, any::<bool>()).prop_map(|(functions, id, ts, invoked)| Sent {
        functions,
        id,
        ts: ts * 400,
        invoked,
    });
    prop_oneof![
        10 => prop::collection::vec(sent, 1..5).prop_map(Op::Send),
        6 => prop::sample::select(vec![1_u64, 300, 992, 1_008, 2_000, 3_000]).prop_map(Op::Pass),
        4 => (1..4_usize, flow()).prop_map(|(max, flow)| Op::Work(max, flow)),
        1 => Just(Op::Drop),
        5 => any::<prop::sample::Index>().prop_map(Op::End),
        1 => Just(Op::Reopen),
    ]
}

/// What must become of all events.
#[derive(Default)]
struct Model {
    keys: HashMap<(FunctionId, Arc<str>), Millis>,
    /// Events that each rate has let through, and when.
    passed: HashMap<(Bucket, KeyValue), (i64, Millis)>,
    gatherings: Vec<Gathered>,
    /// Open runs of each singleton, oldest first: only that one may be worked on.
    chains: HashMap<(FunctionId, KeyValue), Vec<RunId>>,
    runs: BTreeMap<RunId, Run>,
    skips: BTreeMap<(EventId, FunctionId), Skip>,
    matched: Vec<(EventId, FunctionId)>,
}

/// Events that are gathered.
struct Gathered {
    id: RunId,
    function: FunctionId,
    kind: Gathering,
    key: KeyValue,
    first_at: Millis,
    deadline: Millis,
    events: Vec<(EventId, Millis)>,
    /// Keys of idempotency that its events have taken.
    taken: Vec<Arc<str>>,
    invokers: Vec<Arc<str>>,
}

#[derive(Debug)]
struct Run {
    function: FunctionId,
    events: Vec<EventId>,
    invokers: Vec<Arc<str>>,
    due: Millis,
    status: RunStatus,
    skip: Option<Skip>,
    gathering: Option<Gathering>,
    /// A later one takes its place.
    cancelled: bool,
}

impl Model {
    fn send(&mut self, event: &Event, admit: &Admit, now: Millis) {
        self.matched.push((event.id, admit.function));
        let flow = admit.flow.as_deref().cloned().unwrap_or_default();
        if self.is_taken(admit) {
            return self.skip(admit, &[event.id], Skip::Duplicate);
        }
        if let Some(batch) = flow.batch {
            self.take(admit);
            let at = self.gathering(Gathering::Batch, batch.key, admit, now, now.plus(batch.timeout));
            let gathered = &mut self.gatherings[at];
            gathered.events.push((event.id, event.ts));
            gathered.taken.extend(admit.idempotency.clone().map(|(key, _)| key));
            gathered.invokers.extend(admit.correlation_id.clone());
            if gathered.events.len() >= batch.size as usize {
                gathered.deadline = now;
                if flow.closed.is_none() && self.holder(admit).is_none() {
                    let gathered = self.gatherings.remove(at);
                    self.start(&Admit { job: due(&admit.job, now), ..admit.clone() }, gathered);
                }
            }
            return;
        }
        if !flow.rates.iter().all(|limit| self.allows(limit, now)) {
            return self.skip(admit, &[event.id], Skip::RateLimited);
        }
        if flow.debounce.is_some() || self.forbids(admit).is_none() {
            for limit in &flow.rates {
                self.pass(limit, now);
            }
        }
        if let Some(debounce) = flow.debounce {
            let at = self.gathering(Gathering::Debounce, debounce.key, admit, now, now);
            let gathered = &mut self.gatherings[at];
            gathered.invokers.extend(admit.correlation_id.clone());
            let loser = match gathered.events.first().copied() {
                Some((_, ts)) if event.ts < ts => Some(event.id),
                winner => {
                    gathered.events = vec![(event.id, event.ts)];
                    gathered.deadline = now.plus(debounce.period).plus(DEBOUNCE_GRACE);
                    if let Some(timeout) = debounce.timeout {
                        gathered.deadline = gathered.deadline.min(gathered.first_at.plus(timeout));
                    }
                    winner.map(|(winner, _)| winner)
                }
            };
            if let Some(loser) = loser {
                self.skip(admit, &[loser], Skip::Debounced);
            }
            return;
        }
        if let Some(skip) = self.forbids(admit) {
            return self.skip(admit, &[event.id], skip);
        }
        self.take(admit);
        self.run(admit, vec![event.id], admit.correlation_id.iter().cloned().collect(), None);
    }

    /// The time of a gathering has come.
    fn work(&mut self, job: JobId, admit: &Admit) {
        let at = self.gatherings.iter().position(|gathered| gathered.id == job.run).expect("it is known");
        let gathered = self.gatherings.remove(at);
        let events: Vec<EventId> = gathered.events.iter().map(|(event, _)| *event).collect();
        let debounced = gathered.kind == Gathering::Debounce;
        if debounced && self.is_taken(admit) {
            return self.skip(admit, &events, Skip::Duplicate);
        }
        if let Some(skip) = self.forbids(admit) {
            self.give_keys_back(&gathered);
            return self.skip(admit, &events, skip);
        }
        if debounced {
            self.take(admit);
        }
        self.start(admit, gathered);
    }

    fn end(&mut self, run: RunId) {
        self.runs.get_mut(&run).expect("it is known").status = RunStatus::Completed;
        for chain in self.chains.values_mut() {
            chain.retain(|other| *other != run);
        }
    }

    fn is_taken(&self, admit: &Admit) -> bool {
        let Some((key, _)) = &admit.idempotency else { return false };
        let until = self.keys.get(&(admit.function, key.clone()));
        until.is_some_and(|until| *until > admit.run.timestamp())
    }

    fn take(&mut self, admit: &Admit) {
        if let Some((key, until)) = &admit.idempotency {
            self.keys.insert((admit.function, key.clone()), *until);
        }
    }

    /// The events of a batch may come again when they start no run.
    fn give_keys_back(&mut self, gathered: &Gathered) {
        for key in &gathered.taken {
            self.keys.remove(&(gathered.function, key.clone()));
        }
    }

    /// A bucket that holds what may come at once, and is filled evenly.
    fn room(&self, limit: &RateLimit, now: Millis) -> (i64, i64) {
        let limit_of = |burst: i64| (burst + 1) * EMISSION_MS;
        let size = if limit.rate == Rate::lossy(20, Duration::from_secs(20)) { limit_of(2) } else { limit_of(0) };
        let (used, at) = self.passed.get(&(limit.bucket, limit.key)).copied().unwrap_or_default();
        let elapsed = i64::try_from(now.since(at).as_millis()).expect("short");
        (size, (used - elapsed).max(0))
    }

    fn allows(&self, limit: &RateLimit, now: Millis) -> bool {
        let (size, used) = self.room(limit, now);
        used + EMISSION_MS <= size
    }

    fn pass(&mut self, limit: &RateLimit, now: Millis) {
        let (_, used) = self.room(limit, now);
        self.passed.insert((limit.bucket, limit.key), (used + EMISSION_MS, now));
    }

    /// The gathering that an event joins.
    fn gathering(&mut self, kind: Gathering, key: KeyValue, admit: &Admit, now: Millis, deadline: Millis) -> usize {
        let open = |one: &Gathered| one.kind == kind && one.key == key && one.function == admit.function;
        let open = |one: &Gathered| open(one) && now < one.deadline;
        if let Some(at) = self.gatherings.iter().position(open) {
            return at;
        }
        let (id, function) = (admit.run, admit.function);
        let (events, taken, invokers) = (Vec::new(), Vec::new(), Vec::new());
        self.gatherings.push(Gathered { id, function, kind, key, first_at: now, deadline, events, taken, invokers });
        self.gatherings.len() - 1
    }

    /// The newest run of the admitted one's singleton.
    fn holder(&self, admit: &Admit) -> Option<RunId> {
        let singleton = admit.flow.as_ref()?.singleton?;
        self.chains.get(&(admit.function, singleton.key))?.last().copied()
    }

    fn forbids(&self, admit: &Admit) -> Option<Skip> {
        let flow = admit.flow.as_ref()?;
        let skips = flow.singleton.is_some_and(|singleton| singleton.mode == SingletonMode::Skip);
        match (self.holder(admit), flow.closed) {
            (Some(holder), _) if skips => Some(Skip::Singleton(holder)),
            (_, Some(Closed::Paused)) => Some(Skip::Paused),
            (_, Some(Closed::Draining)) => Some(Skip::Draining),
            (_, None) => None,
        }
    }

    fn start(&mut self, admit: &Admit, gathered: Gathered) {
        let events = gathered.events.into_iter().map(|(event, _)| event).collect();
        self.run(admit, events, gathered.invokers, Some(gathered.kind));
    }

    fn run(&mut self, admit: &Admit, events: Vec<EventId>, invokers: Vec<Arc<str>>, gathering: Option<Gathering>) {
        if let Some(holder) = self.holder(admit) {
            self.runs.get_mut(&holder).expect("it is open").cancelled = true;
        }
        if let Some(singleton) = admit.flow.as_ref().and_then(|flow| flow.singleton) {
            self.chains.entry((admit.function, singleton.key)).or_default().push(admit.run);
        }
        let (function, due) = (admit.function, admit.job.due);
        let (status, skip) = (RunStatus::Scheduled, None);
        let run = Run { function, events, invokers, due, status, skip, gathering, cancelled: false };
        self.runs.insert(admit.run, run);
    }

    fn skip(&mut self, admit: &Admit, events: &[EventId], skip: Skip) {
        for event in events {
            assert_eq!(self.skips.insert((*event, admit.function), skip), None, "once");
        }
        if skip.leaves_run() {
            self.run(&Admit { flow: None, ..admit.clone() }, events.to_vec(), Vec::new(), None);
            let run = self.runs.get_mut(&admit.run).expect("it was just made");
            (run.status, run.skip) = (RunStatus::Skipped, Some(skip));
        }
    }

    fn is_open(&self, run: RunId) -> bool {
        self.runs[&run].status == RunStatus::Scheduled
    }

    /// The jobs there must be, and when they are due.
    fn jobs(&self) -> BTreeMap<JobId, Millis> {
        let mut jobs = BTreeMap::new();
        for gathered in &self.gatherings {
            jobs.insert(JobId::gathered(gathered.id), gathered.deadline);
        }
        for (id, run) in self.runs.iter().filter(|(id, _)| self.is_open(**id)) {
            let behind = |chain: &&Vec<RunId>| chain.contains(id) && chain[0] != *id;
            let waits = self.chains.values().find(behind).is_some();
            jobs.insert(JobId::start(*id), if waits { AFTER_ANOTHER } else { run.due });
        }
        jobs
    }
}

fn due(job: &QueueItem, due: Millis) -> QueueItem {
    QueueItem { due, ..job.clone() }
}

/// A store, and the model of it.
struct World {
    dir: tempfile::TempDir,
    clock: Arc<HandClock>,
    ids: Ids,
    store: SqliteStore,
    model: Model,
    functions: [FunctionId; 2],
    invokers: usize,
    counts: BTreeMap<&'static str, usize>,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let clock = Arc::new(HandClock::default());
        Self {
            store: SqliteStore::open(&Options::new(dir.path()), clock.clone()).expect("opens"),
            dir,
            ids: Ids::new(clock.clone(), Arc::new(SystemEntropy)),
            clock,
            model: Model::default(),
            functions: ["a", "b"].map(|name| FunctionId::of_definition(name, "u")),
            invokers: 0,
            counts: BTreeMap::new(),
        }
    }

    async fn apply(&mut self, op: Op) {
        match op {
            Op::Send(events) => self.send(events).await,
            Op::Pass(ms) => self.clock.pass(Duration::from_millis(ms)),
            Op::Work(max, flow) => self.work(max, &flow).await,
            Op::Drop => self.drop_first().await,
            Op::End(index) => self.end(index).await,
            Op::Reopen => {
                self.store.close().await;
                // The old one must be gone before its lock can be taken.
                let spare = tempfile::tempdir().expect("a directory");
                let open = |dir: &std::path::Path| SqliteStore::open(&Options::new(dir), self.clock.clone());
                self.store = open(spare.path()).expect("opens");
                self.store = open(self.dir.path()).expect("opens");
            }
        }
        self.check().await;
    }

    async fn commit(&self, require: Vec<Requirement>, changes: Vec<Change>) -> Committed {
        self.store.commit(Transition { require, changes }.into()).await.expect("commits")
    }

    fn admit(&self, event: &Event, function: FunctionId, flow: &Flow) -> Admit {
        let (run, now) = (self.ids.run(event.id, self.clock.now()), self.clock.now());
        let until = now.plus(Duration::from_millis(KEY_MS));
        Admit {
            run,
            function,
            idempotency: event.external_id.clone().map(|id| (id, until)),
            flow: flow.admission(function),
            correlation_id: None,
            job: QueueItem::new(JobId::start(run), function, JobKind::Start, now),
            deadline: None,
            cancel_on: Vec::new(),
        }
    }

    async fn send(&mut self, events: Vec<Sent>) {
        let now = self.clock.now();
        let mut changes = Vec::new();
        for sent in events {
            let event = Event {
                id: self.ids.event(now),
                name: "e".into(),
                external_id: sent.id.map(|id| id.to_string().into()),
                ts: Millis(now.0 + sent.ts),
                body: EventBody::Stored(Payload::from("{}")),
            };
            let mut admits = Vec::new();
            for (function, flow) in &sent.functions {
                let mut admit = self.admit(&event, self.functions[*function], flow);
                if sent.invoked {
                    self.invokers += 1;
                    admit.correlation_id = Some(format!("{}.{}", admit.run, self.invokers).into());
                }
                self.model.send(&event, &admit, now);
                admits.push(admit);
            }
            changes.push(Change::PutEvent(Box::new(event), admits));
        }
        let before = self.model.jobs();
        let committed = self.commit(Vec::new(), changes).await;
        for (event, run) in committed.admitted {
            assert_eq!(self.model.runs[&run].events, [event]);
        }
        for (event, function, skip) in committed.skipped {
            assert_eq!(self.model.skips.get(&(event, function)), Some(&skip));
        }
        assert!(committed.removed.iter().all(|job| !before.contains_key(job)), "{:?}", committed.removed);
    }

    async fn work(&mut self, max: usize, flow: &Flow) {
        let now = self.clock.now();
        let due = self.model.gatherings.iter().filter(|gathered| gathered.deadline <= now);
        let due: Vec<JobId> = due.map(|gathered| JobId::gathered(gathered.id)).take(max).collect();
        for job in due {
            let gathered = self.store.gathered(job).await.expect("reads").expect("it is there");
            let admit = self.admit(&gathered.event, gathered.function, flow);
            self.model.work(job, &admit);
            let generation = self.jobs().await[&job].generation;
            let start = Change::StartGathered(job, Box::new(admit), |_| Payload::from("null"));
            self.commit(vec![Requirement::Generation(job, generation)], vec![start]).await;
        }
    }

    async fn drop_first(&mut self) {
        if self.model.gatherings.is_empty() {
            return;
        }
        let gathered = self.model.gatherings.remove(0);
        self.model.give_keys_back(&gathered);
        let gone = |(event, _): &(EventId, FunctionId)| gathered.events.iter().any(|(known, _)| known == event);
        self.model.matched.retain(|matched| matched.1 != gathered.function || !gone(matched));
        self.commit(Vec::new(), vec![Change::DropGathered(JobId::gathered(gathered.id))]).await;
    }

    async fn end(&mut self, index: prop::sample::Index) {
        let open: Vec<RunId> = self.model.runs.keys().copied().filter(|run| self.model.is_open(*run)).collect();
        if open.is_empty() {
            return;
        }
        let run = *index.get(&open);
        let before = self.model.jobs();
        self.model.end(run);
        let finish = FinishRun {
            run,
            status: RunStatus::Completed,
            output: None,
            error: None,
            started_at: None,
            ended_at: self.clock.now(),
            last_call: None,
            in_flight: Vec::new(),
            finished: None,
        };
        let committed = self.commit(Vec::new(), vec![Change::FinishRun(Box::new(finish))]).await;
        assert_eq!(committed.ended, [run]);
        let begins = self.model.jobs().into_iter().filter(|(job, due)| before[job] != *due);
        let told = committed.jobs.into_iter().map(|job| (job.id, job.due));
        assert_eq!(told.collect::<Vec<_>>(), begins.collect::<Vec<_>>());
    }

    async fn jobs(&self) -> BTreeMap<JobId, QueueItem> {
        let mut jobs = self.store.jobs_ready(None, EVERYTHING).await.expect("reads");
        jobs.extend(self.store.jobs_due(Millis(i64::MAX), None, EVERYTHING).await.expect("reads"));
        jobs.into_iter().map(|job| (job.id, job)).collect()
    }

    /// The store has what the model has.
    async fn check(&mut self) {
        let model = &self.model;
        let mut jobs = self.jobs().await;
        jobs.retain(|_, job| job.kind != JobKind::Cancel || !model.runs[&job.id.run].cancelled);
        let due: BTreeMap<JobId, Millis> = jobs.iter().map(|(id, job)| (*id, job.due)).collect();
        assert_eq!(due, model.jobs());

        let filter = RunFilter { statuses: RunStatus::ALL.to_vec(), limit: EVERYTHING, ..RunFilter::default() };
        let runs = self.store.runs(filter).await.expect("reads");
        assert_eq!(runs.len(), model.runs.len());
        let mut starts: Vec<(EventId, FunctionId)> = Vec::new();
        for record in runs {
            let run = &model.runs[&record.id];
            assert_eq!((record.function, &record.event_ids), (run.function, &run.events));
            assert_eq!((record.status, record.skip, record.gathering), (run.status, run.skip, run.gathering));
            let state = self.store.run(record.id).await.expect("reads");
            assert_eq!(state.is_some(), model.is_open(record.id));
            if let Some(state) = state {
                let correlation_id = state.correlation_id.as_deref().unwrap_or_default().to_owned();
                assert_eq!(correlation_id, run.invokers.join(","));
                assert_eq!(state.events.len(), run.events.len());
            }
            for event in record.event_ids {
                let named = self.store.event(event).await.expect("reads").expect("stored").runs.contains(&record.id);
                assert_eq!(named, record.skip.is_none());
                starts.extend(record.skip.is_none().then_some((event, record.function)));
            }
            let name = match (record.skip, record.gathering) {
                (Some(_), _) => "skipped",
                (None, None) => "plain",
                (None, Some(Gathering::Debounce)) => "debounced",
                (None, Some(Gathering::Batch)) => "batched",
            };
            *self.counts.entry(name).or_default() += 1;
        }
        let filter = SkipFilter { limit: EVERYTHING, ..SkipFilter::default() };
        let skips = self.store.skips(filter).await.expect("reads");
        let found = skips.iter().map(|skip| ((skip.event, skip.function), skip.reason));
        assert_eq!(found.collect::<BTreeMap<_, _>>(), model.skips);
        for chain in model.chains.values().filter(|chain| chain.len() > 1) {
            let begun = chain.iter().filter(|run| jobs[&JobId::start(**run)].due != AFTER_ANOTHER);
            assert_eq!(begun.count(), 1, "of all runs of a singleton one may be worked on");
            *self.counts.entry("replaced").or_default() += 1;
        }
        // Each event that a function has matched starts one run, waits in one gathering, or starts none.
        let mut known = starts;
        known.extend(skips.iter().map(|skip| (skip.event, skip.function)));
        for gathered in &model.gatherings {
            let job = JobId::gathered(gathered.id);
            let stored = self.store.gathered(job).await.expect("reads").expect("it is there");
            assert_eq!((stored.event.id, stored.count), (gathered.events[0].0, gathered.events.len()));
            known.extend(gathered.events.iter().map(|(event, _)| (*event, gathered.function)));
        }
        known.sort_unstable();
        let mut matched = model.matched.clone();
        matched.sort_unstable();
        assert_eq!(known, matched);
    }
}

#[test]
fn the_store_does_what_the_model_does() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let counts = std::cell::RefCell::new(BTreeMap::<&str, usize>::new());
    let config = ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() };
    TestRunner::new(config)
        .run(&prop::collection::vec(op(), 1..40), |ops| {
            runtime.block_on(async {
                let mut world = World::new();
                for op in ops {
                    world.apply(op).await;
                }
                for (name, count) in world.counts {
                    *counts.borrow_mut().entry(name).or_default() += count;
                }
                Ok(())
            })
        })
        .unwrap_or_else(|error| panic!("{error}"));
    let counts = counts.into_inner();
    println!("{counts:?}");
    for name in ["skipped", "plain", "debounced", "batched", "replaced"] {
        assert!(counts.get(name).is_some_and(|count| *count > 50), "too few are {name}: {counts:?}");
    }
}
