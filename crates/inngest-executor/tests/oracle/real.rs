//! The real engine on the real store and queue, in virtual time.
//!
//! Time is tokio's paused clock: it moves to the next timer when the runtime has nothing left to do and no blocking
//! work is under way. The store's writer is a thread that tokio knows nothing of, so [`Patient`] waits for it on a
//! blocking thread. Thereby time stands still as long as anything is read, committed, or about to follow from
//! a commit; and everything that is due at an instant has happened before the next one.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use inngest_core::event::{Content, EventBody};
use inngest_core::{App, Clock, Entropy, Event, EventId, Function, FunctionId, Ids, Millis, Payload, RunId, RunStatus};
use inngest_executor::apps::Registration;
use inngest_executor::driver::http::HttpReply;
use inngest_executor::driver::{CallError, CallRequest, Executor, Fetcher};
use inngest_executor::engine::{Cancelled, CheckpointSource, Engine, FromStep, Options, Parts};
use inngest_executor::gateway::FetchRequest;
use inngest_executor::response::{RawReply, ReplyHeaders, SdkResponse, read_ops, understand};
use inngest_queue::memory::MemoryQueue;
use inngest_queue::{JobId, JobKind, QueueItem, StartedRun, Token};
use inngest_state::history::{EventFilter, RunFilter, RunRecord};
use inngest_state::sqlite::{self, SqliteStore};
use inngest_state::{CommitError, Committed, Gathered, History, Hold, RunState, Store, StoreError, Tick, Transition};
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep_until};

use crate::app::{Act, Answer, Seen, slug};
use crate::model::Decided;
use crate::record::{self, BEGIN, plain};
use crate::scenario::{Config, Scenario, Sent};

/// A first call that takes longer than this makes its run `Running` at once (`engine/work.rs`).
const START_AFTER: i64 = 100;

/// Plays the decided operations on the engine and tells what was seen.
pub(crate) async fn play(scenario: &Scenario, salt: u64, operations: &[(i64, Decided)], dir: &Path) -> Vec<String> {
    let clock = Arc::new(VirtualClock { handle: Handle::current(), begin: Instant::now() });
    let entropy = Arc::new(Steady { state: AtomicU64::new(scenario.seed), jitter: scenario.jitter.unsigned_abs() });
    let world = Arc::new(World {
        programs: scenario.clone(),
        salt,
        ids: Ids::new(Arc::clone(&clock) as Arc<dyn Clock>, entropy),
        clock,
        process: Mutex::default(),
        labels: Mutex::default(),
        lines: Mutex::default(),
        first_calls: Mutex::default(),
        crashes: Mutex::default(),
        sends: Mutex::default(),
        naming: AtomicBool::new(false),
    });
    let mut configs: Vec<Config> = scenario.functions.iter().map(|function| function.config.clone()).collect();
    let mut working = world.start(dir).await;
    world.sync(&configs).await;
    for (at, operation) in operations {
        sleep_until(world.instant(*at)).await;
        match operation {
            Decided::Crash { downtime } => {
                working = world.crash(working, *downtime, dir).await;
            }
            Decided::Sync { function, config } => {
                configs[*function] = config.clone();
                world.sync(&configs).await;
            }
            other => world.operate(*at, other).await,
        }
    }
    sleep_until(world.instant(scenario.end)).await;
    let record = world.record().await;
    world.stop(working).await;
    record
}

/// The engine of one process, and its store.
#[derive(Clone)]
struct Process {
    engine: Engine,
    store: SqliteStore,
}

type Working = tokio::task::JoinHandle<Result<(), StoreError>>;

struct World {
    programs: Scenario,
    salt: u64,
    ids: Ids,
    clock: Arc<VirtualClock>,
    process: Mutex<Option<Process>>,
    /// What runs and events are called in the records: names that do not depend on random ids.
    labels: Mutex<HashMap<String, String>>,
    /// Calls and the answers to operations, with ids in them.
    lines: Mutex<Vec<String>>,
    first_calls: Mutex<HashMap<RunId, i64>>,
    crashes: Mutex<Vec<i64>>,
    /// Ids of events that steps sent; one that is sent again has the same.
    sends: Mutex<HashMap<String, EventId>>,
    /// A rerun was asked for, and has no label yet.
    naming: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    fn now(&self) -> i64 {
        self.clock.now().0 - BEGIN
    }

    fn instant(&self, at: i64) -> Instant {
        self.clock.begin + Duration::from_millis(at.unsigned_abs())
    }

    fn process(&self) -> Process {
        lock(&self.process).clone().expect("there is a process while operations go on")
    }

    // Processes.

    async fn start(self: &Arc<Self>, dir: &Path) -> Working {
        let clock = Arc::clone(&self.clock) as Arc<dyn Clock>;
        // The thread of an earlier process gives the directory free a moment after its last answer.
        let store = loop {
            let options = sqlite::Options { has_onlookers: false, ..sqlite::Options::new(dir) };
            match SqliteStore::open(&options, Arc::clone(&clock)) {
                Ok(store) => break store,
                Err(StoreError::Locked(_)) => tokio::task::yield_now().await,
                Err(error) => panic!("the store does not open: {error}"),
            }
        };
        let parts = Parts {
            store: Arc::new(Patient(store.clone())),
            history: Arc::new(store.clone()),
            queue: Arc::new(MemoryQueue::new(clock)),
            executor: Arc::new(Apps(Arc::clone(self))),
            fetcher: Arc::new(Nowhere),
            ids: self.ids.clone(),
            options: Options {
                retry_interval: self.programs.retry_interval.map(|ms| Duration::from_millis(ms.unsigned_abs())),
                ..Options::default()
            },
        };
        let engine = Engine::open(parts).await.expect("the engine opens");
        *lock(&self.process) = Some(Process { engine: engine.clone(), store });
        tokio::spawn(async move { engine.run_jobs().await })
    }

    async fn stop(&self, working: Working) {
        let process = lock(&self.process).take().expect("there is a process");
        process.engine.shutdown(Duration::ZERO).await;
        working.await.expect("the dispatcher ends").expect("the store works");
        while process.engine.depth().await.expect("counts").leased > 0 {
            tokio::task::yield_now().await;
        }
        Patient(process.store).close().await;
    }

    /// What is in memory is lost, calls in flight are broken off.
    async fn crash(self: &Arc<Self>, working: Working, downtime: i64, dir: &Path) -> Working {
        let at = self.now();
        lock(&self.crashes).push(at);
        self.stop(working).await;
        sleep_until(self.instant(at + downtime)).await;
        assert_eq!(self.now(), at + downtime, "stopping takes no time");
        self.start(dir).await
    }

    // Operations.

    async fn sync(&self, configs: &[Config]) {
        let active = configs.iter().enumerate().filter(|(_, config)| config.active);
        let functions: Vec<Value> = active.map(|(index, config)| config.to_json(index)).collect();
        let body = json!({
            "url": "http://app.test/api", "deployType": "ping", "sdk": "inngest-js:v4.0.0", "v": "0.1",
            "appName": "app", "framework": "test", "functions": functions,
        });
        let registration = Registration::parse(body.to_string().as_bytes()).expect("a valid sync");
        self.process().engine.register(registration).await.expect("the sync is accepted");
    }

    async fn operate(&self, at: i64, operation: &Decided) {
        let engine = self.process().engine;
        match operation {
            Decided::Send(events) => {
                let events = events.iter().map(|sent| self.event(sent)).collect();
                engine.accept(events).await.expect("the events are stored");
            }
            Decided::Signal { name, k } => {
                let data = json!({ "k": k }).to_string();
                let run = engine.signal(name, data.as_bytes()).await.expect("the store works");
                let run = run.map(|run| run.to_string());
                self.say(format!("signal @{at} {name} {run:?}"));
            }
            Decided::Cancel(label) => {
                let Some(run) = self.find(label).await else { return self.say(format!("no run {label}")) };
                let now = engine.cancel(run).await.expect("the store works") == Cancelled::Now;
                self.say(format!("cancel @{at} {label} {now}"));
            }
            Decided::Rerun { run, from, label } => {
                let Some(run) = self.find(run).await else { return self.say(format!("no run {run}")) };
                let from = from.clone().map(|(step, input)| FromStep { step, input: input.map(Bytes::from) });
                self.naming.store(true, Ordering::Relaxed);
                match engine.rerun(run, from.as_ref()).await {
                    Ok(run) => drop(lock(&self.labels).insert(run.to_string(), label.clone())),
                    Err(error) => self.say(format!("no rerun: {error}")),
                }
                self.naming.store(false, Ordering::Relaxed);
            }
            Decided::Sync { .. } | Decided::Crash { .. } => unreachable!("handled before"),
        }
    }

    fn say(&self, line: String) {
        lock(&self.lines).push(line);
    }

    fn event(&self, sent: &Sent) -> Event {
        let now = self.clock.now();
        let data = json!({ "k": sent.k, "n": sent.n, "tag": sent.tag }).to_string();
        let id = self.ids.event(now);
        make_event(id, &sent.name, &data, sent.id.as_deref(), Millis(now.0 + sent.delay))
    }

    // Names of runs and events.

    async fn find(&self, label: &str) -> Option<RunId> {
        let runs = self.process().store.runs(all_runs()).await.expect("the store works");
        for run in &runs {
            if self.label(run.id).await == label {
                return Some(run.id);
            }
        }
        None
    }

    /// What a run is called: by its function and the event that started it, or as the rerun that it is.
    async fn label(&self, run: RunId) -> String {
        loop {
            if let Some(label) = lock(&self.labels).get(&run.to_string()) {
                return label.clone();
            }
            let store = self.process().store;
            let record = store.run_record(run).await.expect("the store works").expect("the run is stored");
            if record.original_run.is_none() {
                let event =
                    store.event(record.event_ids[0]).await.expect("the store works").expect("its event is stored");
                let body = serde_json::from_slice(&event.body).expect("events are JSON");
                let functions = store.functions().await.expect("the store works");
                let function = functions.iter().find(|function| function.id == record.function).expect("known");
                let name = function.slug.strip_prefix("app-").expect("a function of the app");
                let label = format!("{name}({})", Box::pin(self.event_label(&body)).await);
                lock(&self.labels).insert(run.to_string(), label.clone());
                return label;
            }
            assert!(self.naming.load(Ordering::Relaxed), "a rerun that nobody asked for: {run}");
            tokio::task::yield_now().await;
        }
    }

    async fn event_label(&self, body: &Value) -> String {
        let data = &body["data"];
        let run_named = async |text: &Value| {
            let run = text.as_str().unwrap_or_default().parse().expect("the id of a run");
            self.label(run).await
        };
        let step_named = async |text: &Value| {
            let (run, step) = text.as_str().and_then(|text| text.split_once('.')).expect("<run>.<step>");
            format!("{}.{step}", self.label(run.parse().expect("the id of a run")).await)
        };
        match body["name"].as_str().expect("events have names") {
            "inngest/function.finished" if data["run_id"] == "" => {
                format!("none:{}", step_named(&data["correlation_id"]).await)
            }
            "inngest/function.finished" => format!("fin:{}", run_named(&data["run_id"]).await),
            "inngest/function.failed" => format!("fail:{}", run_named(&data["run_id"]).await),
            "inngest/function.cancelled" => format!("cancel:{}", run_named(&data["run_id"]).await),
            "inngest/function.invoked" => format!("inv:{}", step_named(&data["_inngest"]["correlation_id"]).await),
            "inngest/deferred.schedule" => {
                let tag = data["tag"].as_str().expect("the id of the defer");
                format!("def:{}.{tag}", run_named(&data["_inngest"]["parent_run_id"]).await)
            }
            _ => data["tag"].as_str().expect("events of the scenario have labels").to_owned(),
        }
    }

    // What was seen.

    async fn record(&self) -> Vec<String> {
        let store = self.process().store;
        let mut lines = std::mem::take(&mut *lock(&self.lines));
        let events = store.events(EventFilter { include_internal: true, limit: 100_000, ..EventFilter::default() });
        for event in events.await.expect("the store works") {
            let body: Value = serde_json::from_slice(&event.body).expect("events are JSON");
            let label = self.event_label(&body).await;
            lock(&self.labels).insert(event.event.id.to_string(), label.clone());
            let mut named = Vec::new();
            for run in &event.runs {
                named.push(self.label(*run).await);
            }
            lines.push(record::event_line(&label, &plain(&body), &named));
        }
        for run in store.runs(all_runs()).await.expect("the store works") {
            self.record_run(&store, &run, &mut lines).await;
        }
        let labels = lock(&self.labels);
        lines.into_iter().map(|line| named(&line, &labels)).collect()
    }

    async fn record_run(&self, store: &SqliteStore, run: &RunRecord, lines: &mut Vec<String>) {
        let label = &self.label(run.id).await;
        let trace = store.trace(run.id).await.expect("the store works");
        let json = |bytes: &Bytes| plain(&serde_json::from_slice(bytes).expect("stored values are JSON"));
        let at = |at: Millis| at.0 - BEGIN;
        // A call that has not taken long is not noted yet; it would be with its answer, or is when it is made anew.
        let first = lock(&self.first_calls).get(&run.id).copied();
        let until = run.ended_at.map_or_else(|| self.now(), at);
        let unnoted = first.filter(|first| until - first <= START_AFTER);
        let lost = first
            .filter(|first| lock(&self.crashes).iter().any(|crash| (*first..=first + START_AFTER).contains(crash)));
        let started = lost.or_else(|| run.started_at.map(at)).or(unnoted);
        let status =
            if run.status == RunStatus::Scheduled && started.is_some() { RunStatus::Running } else { run.status };
        let original = match run.original_run {
            Some(original) => Some(self.label(original).await),
            None => None,
        };
        let (output, error) = (run.output.as_ref().map(json), run.error.as_ref().map(json));
        let line = record::Run {
            run: label,
            status: status.as_str(),
            queued: at(run.queued_at),
            started,
            ended: run.ended_at.map(at),
            output: output.as_ref(),
            error: error.as_ref(),
            original: original.as_deref(),
        };
        lines.push(line.line());
        for (place, step) in trace.steps.iter().enumerate() {
            let op = format!("{:?}", step.op);
            let (ended, value) = (at(step.ended_at), json(&step.value));
            lines.push(record::step_line(label, place, step.step.id.as_str(), &op, step.attempt, ended, &value));
        }
        for attempt in &trace.attempts {
            lines.push(record::attempt_line(
                label,
                attempt.step.as_ref().map(|step| step.id.as_str()),
                (attempt.attempt, attempt.generation),
                (at(attempt.started_at), at(attempt.ended_at)),
                attempt.status(),
                &json(&attempt.error),
                attempt.retry_at.map(at),
            ));
        }
        for job in &trace.jobs {
            if let Some(kind) = kind(&job.kind) {
                lines.push(record::job_line(label, &kind, at(job.due), job.attempt));
            }
        }
        for step in &trace.cut_off {
            let kind = kind(&step.kind).expect("it is about a step");
            let (made, called) = (at(step.queued_at), step.called_at.map(at));
            lines.push(record::cut_off_line(label, &kind, step.attempt, made, called));
        }
    }
}

fn kind(kind: &JobKind) -> Option<String> {
    Some(match kind {
        JobKind::Start => "start".to_owned(),
        JobKind::Discovery => "discovery".to_owned(),
        JobKind::Step(step) => format!("step {}", step.id),
        JobKind::Sleep(step) => format!("sleep {}", step.id),
        JobKind::Wait(step, _) => format!("wait {}", step.id),
        JobKind::Gateway(step) => format!("gateway {}", step.id),
        JobKind::Deadline(_) | JobKind::Cancel | JobKind::Gathered(_) => return None,
    })
}

fn all_runs() -> RunFilter {
    RunFilter { limit: 100_000, ascending: true, ..RunFilter::default() }
}

/// Puts labels in the place of ids.
fn named(line: &str, labels: &HashMap<String, String>) -> String {
    const ULID: usize = 26;
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(start) = rest.find("01") {
        let id = rest.get(start..start + ULID);
        let label = id.and_then(|id| labels.get(id));
        let (kept, skipped) = match label {
            Some(_) => (start, start + ULID),
            None => (start + 1, start + 1),
        };
        out.push_str(&rest[..kept]);
        out.push_str(label.map_or("", String::as_str));
        rest = &rest[skipped..];
    }
    out.push_str(rest);
    out
}

fn make_event(id: EventId, name: &str, data: &str, own: Option<&str>, ts: Millis) -> Event {
    let text = id.to_string();
    let body = Content { data: data.as_bytes(), id: own.unwrap_or(&text), meta: None, name, ts, user: b"{}", v: None }
        .render();
    Event { id, name: name.into(), external_id: own.map(Into::into), ts, body: EventBody::Stored(body) }
}

/// The app that serves all functions, as an SDK in process.
struct Apps(Arc<World>);

#[async_trait]
impl Executor for Apps {
    async fn execute(&self, request: CallRequest) -> Result<SdkResponse, CallError> {
        let world = &self.0;
        let begun = world.now();
        let body: Value = serde_json::from_slice(&request.body).expect("the body of a call is JSON");
        let ctx = &body["ctx"];
        let label = world.label(request.run).await;
        let index = (0..world.programs.functions.len())
            .find(|index| request.url.ends_with(&format!("fnId={}&stepId=step", slug(*index))))
            .expect("a function of the app");
        let number = |value: &Value| value.as_u64().and_then(|value| u32::try_from(value).ok()).expect("a number");
        let flag = |value: &Value| value.as_bool().expect("a flag");
        let target = (*request.step_id != *"step").then_some(&*request.step_id);
        let stack: Vec<String> = serde_json::from_value(ctx["stack"]["stack"].clone()).expect("a list of ids");
        let mut steps: BTreeMap<String, Value> = serde_json::from_value(body["steps"].clone()).expect("an object");
        let call = record::Call {
            run: &label,
            at: begun,
            target,
            attempt: number(&ctx["attempt"]),
            attempts: number(&ctx["max_attempts"]),
            generation: number(&ctx["generation_id"]),
            version: i32::try_from(body["version"].as_i64().expect("a number")).expect("small"),
            plan_only: flag(&ctx["disable_immediate_execution"]),
            current: usize::try_from(ctx["stack"]["current"].as_u64().expect("a number")).expect("small"),
            stack: &stack,
            steps: &plain(&body["steps"]),
            defers: &plain(&serde_json::from_value::<BTreeMap<String, Value>>(body["defers"].clone()).map_or_else(
                |_| json!("defers are an object"),
                |defers| defers.into_iter().map(|(id, defer)| (id, defer["abortable"].clone())).collect(),
            )),
            event: &body["event"],
        };
        world.say(call.line());
        lock(&world.first_calls).entry(request.run).or_insert(begun);
        steps.retain(|_, value| value.get("input").is_none());
        let defers = body["defers"].as_object().expect("an object");
        let defers = defers.iter().map(|(id, defer)| (id.clone(), flag(&defer["abortable"]))).collect();
        let seen = Seen {
            run: &label,
            target,
            attempt: call.attempt,
            generation: call.generation,
            plan_only: call.plan_only,
            steps: &steps,
            defers: &defers,
        };
        let said = world.programs.functions[index].program.answer(world.salt, &seen);
        let qi_id = ctx["qi_id"].as_str().expect("a text");
        for (after, act) in said.acts {
            sleep_until(world.instant(begun + after)).await;
            world.act(&request, qi_id, &label, act).await;
        }
        sleep_until(world.instant(begun + said.after)).await;
        let no_retry = said.no_retry;
        let headers = |retry_after: Option<u32>| {
            let (version, retry_after) = (said.version.to_string(), retry_after.map(|seconds| seconds.to_string()));
            ReplyHeaders::read(|name| match name {
                "x-inngest-sdk" => Some("inngest-js:v4.0.0"),
                "x-inngest-req-version" => Some(&version),
                "x-inngest-no-retry" => Some(if no_retry { "true" } else { "false" }),
                "retry-after" => retry_after.as_deref(),
                _ => None,
            })
        };
        let (status, body) = match &said.answer {
            Answer::Ops(ops) => {
                let ops: Vec<Value> = ops.iter().map(crate::app::Op::to_json).collect();
                (206, Value::from(ops).to_string())
            }
            Answer::Returned(output) => (200, output.as_ref().map(Value::to_string).unwrap_or_default()),
            Answer::Threw { status, name, message } => {
                (*status, json!({ "name": name, "message": message }).to_string())
            }
            Answer::Unreachable => return Err(CallError::Unreachable("the app is away".into())),
        };
        let reply = RawReply { status, headers: headers(said.retry_after), kept: Arc::default(), body: body.into() };
        Ok(understand(&reply, world.clock.now()))
    }
}

impl World {
    async fn act(&self, request: &CallRequest, qi_id: &str, run: &str, act: Act) {
        let engine = self.process().engine;
        match act {
            Act::Send { step, event: (name, k, n) } => {
                let label = format!("{run}.{step}");
                let data = json!({ "k": k, "n": n, "tag": label }).to_string();
                let now = self.clock.now();
                let id = *lock(&self.sends).entry(label).or_insert_with(|| self.ids.event(now));
                let event = make_event(id, &name, &data, None, now);
                engine.accept(vec![event]).await.expect("the event is stored");
            }
            Act::Checkpoint(op) => {
                let ops = read_ops(json!([op.to_json()]).to_string().as_bytes()).expect("a valid op");
                let generation = Some(request.generation);
                let source = CheckpointSource { queue_item: qi_id, generation, request: "" };
                let outcome = engine.checkpoint(request.run, &source, ops).await;
                if outcome.is_err() && engine.run(request.run).await.expect("the store works").is_some() {
                    self.say(format!("a checkpoint of {} was refused: {outcome:?}", request.run));
                }
            }
        }
    }
}

/// Nothing is fetched here.
struct Nowhere;

#[async_trait]
impl Fetcher for Nowhere {
    async fn fetch(&self, request: FetchRequest) -> Result<HttpReply, CallError> {
        Err(CallError::BadUrl(request.url))
    }
}

/// Tokio's paused clock as a wall clock, for every thread.
struct VirtualClock {
    handle: Handle,
    begin: Instant,
}

impl Clock for VirtualClock {
    fn now(&self) -> Millis {
        let _paused = self.handle.enter();
        let passed = Instant::now().duration_since(self.begin);
        Millis(BEGIN + i64::try_from(passed.as_millis()).expect("a few days"))
    }
}

/// Seeded bits, all with the same remainder by the width of the back-off's random part, which is thereby fixed.
struct Steady {
    state: AtomicU64,
    jitter: u64,
}

impl Entropy for Steady {
    fn next_u64(&self) -> u64 {
        const WIDTH: u64 = 30_000;
        let number = self.state.fetch_add(1, Ordering::Relaxed);
        let bits = crate::dice::hash(number, &[]) / WIDTH;
        bits.saturating_sub(1) * WIDTH + self.jitter
    }
}

/// The store, waited for in a way that stops tokio's clock meanwhile.
#[derive(Clone)]
struct Patient(SqliteStore);

impl Patient {
    async fn wait<T: Send + 'static>(&self, work: impl AsyncFnOnce(&SqliteStore) -> T + Send + 'static) -> T {
        let (store, handle) = (self.0.clone(), Handle::current());
        tokio::task::spawn_blocking(move || handle.block_on(work(&store))).await.expect("the store does not panic")
    }
}

#[async_trait]
impl Store for Patient {
    async fn commit(&self, transition: Arc<Transition>) -> Result<Committed, CommitError> {
        self.wait(async move |store| store.commit(transition).await).await
    }

    async fn run(&self, id: RunId) -> Result<Option<Arc<RunState>>, StoreError> {
        self.0.run(id).await
    }

    async fn jobs_ready(&self, after: Option<JobId>, limit: usize) -> Result<Vec<QueueItem>, StoreError> {
        self.0.jobs_ready(after, limit).await
    }

    async fn jobs_due(
        &self,
        before: Millis,
        after: Option<(Millis, JobId)>,
        limit: usize,
    ) -> Result<Vec<QueueItem>, StoreError> {
        self.0.jobs_due(before, after, limit).await
    }

    async fn next_due(&self, after: Millis) -> Result<Option<Millis>, StoreError> {
        self.0.next_due(after).await
    }

    async fn job_count(&self) -> Result<u64, StoreError> {
        self.0.job_count().await
    }

    async fn void_leases(&self, now: Millis) -> Result<(), StoreError> {
        self.wait(async move |store| store.void_leases(now).await).await
    }

    async fn definitions(&self) -> Result<(Vec<App>, Vec<Function>), StoreError> {
        self.0.definitions().await
    }

    async fn ticks(&self) -> Result<Vec<Tick>, StoreError> {
        self.0.ticks().await
    }

    async fn tokens(&self) -> Result<Vec<Token>, StoreError> {
        self.0.tokens().await
    }

    async fn started_runs(&self, functions: Vec<FunctionId>) -> Result<Vec<StartedRun>, StoreError> {
        self.0.started_runs(functions).await
    }

    async fn holds(&self) -> Result<Vec<(FunctionId, Hold)>, StoreError> {
        self.0.holds().await
    }

    async fn document(&self, name: &str) -> Result<Option<Payload>, StoreError> {
        self.0.document(name).await
    }

    async fn gathered(&self, job: JobId) -> Result<Option<Gathered>, StoreError> {
        self.0.gathered(job).await
    }

    async fn close(&self) {
        self.wait(async move |store| store.close().await).await;
    }
}
