//! Schedules of a whole engine, whose clock the test sets.

use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use inngest_core::{Clock, Ids, Millis, SystemEntropy};
use inngest_queue::memory::MemoryQueue;
use inngest_state::History;
use inngest_state::history::EventFilter;
use inngest_state::sqlite::{Options as StoreOptions, SqliteStore};
use serde_json::{Value, json};

use super::*;
use crate::SdkResponse;
use crate::apps::Registration;
use crate::driver::http::HttpReply;
use crate::driver::{CallError, CallRequest, Executor, Fetcher};
use crate::engine::{Options, Parts};
use crate::gateway::FetchRequest;

const START: i64 = 1_700_000_000_000;
const SECOND: i64 = 1_000;
const MINUTE: i64 = 60 * SECOND;

#[derive(Default)]
struct HandSet(AtomicI64);

impl Clock for HandSet {
    fn now(&self) -> Millis {
        Millis(self.0.load(Ordering::Relaxed))
    }
}

/// No run is worked on here.
struct Nobody;

#[async_trait]
impl Executor for Nobody {
    async fn execute(&self, _: CallRequest) -> Result<SdkResponse, CallError> {
        Err(CallError::TimedOut)
    }
}

#[async_trait]
impl Fetcher for Nobody {
    async fn fetch(&self, _: FetchRequest) -> Result<HttpReply, CallError> {
        Err(CallError::TimedOut)
    }
}

struct World {
    clock: Arc<HandSet>,
    store: SqliteStore,
    engine: Engine,
    schedules: Schedules,
    policy: CronCatchup,
    _dir: tempfile::TempDir,
}

impl World {
    async fn new(policy: CronCatchup) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(HandSet(AtomicI64::new(START)));
        let store = SqliteStore::open(&StoreOptions::new(dir.path()), clock.clone()).unwrap();
        let engine = engine(&store, &clock, policy).await;
        Self { schedules: Schedules::new(Millis(START)), clock, store, engine, policy, _dir: dir }
    }

    async fn register(&mut self, functions: &[(&str, Value)]) {
        let function = |(id, triggers): &(&str, Value)| {
            json!({ "id": id, "name": id, "triggers": triggers,
                "steps": { "step": { "id": "step", "name": "step", "runtime": { "url": "http://localhost:1/x" } } } })
        };
        let functions: Vec<Value> = functions.iter().map(function).collect();
        let body = json!({ "appName": "app", "url": "http://localhost:1/x", "sdk": "js:v4", "functions": functions });
        let registration = Registration::parse(body.to_string().as_bytes()).unwrap();
        self.engine.register(registration).await.unwrap();
        self.schedules.stale = true;
    }

    /// The server is there until then.
    async fn watch_until(&mut self, until: i64) {
        loop {
            let next = self.engine.look(&mut self.schedules).await.unwrap();
            let now = self.clock.now();
            let next = next.unwrap_or(Millis(until)).max(now);
            if next.0 >= until && now.0 >= until {
                return;
            }
            let next = next.min(Millis(until)).min(now.plus(LOOK));
            self.schedules.presence.sleep(now, next.since(now));
            self.clock.0.store(next.0, Ordering::Relaxed);
        }
    }

    /// The server is down until then.
    async fn restart_at(&mut self, at: i64) {
        self.clock.0.store(at, Ordering::Relaxed);
        self.engine = engine(&self.store, &self.clock, self.policy).await;
        self.schedules = Schedules::new(Millis(at));
    }

    /// What has fired so far: (text, seconds after the start of the test, seconds late), in order.
    async fn fired(&self) -> Vec<(String, i64, i64)> {
        let filter = EventFilter {
            include_internal: true,
            names: vec!["inngest/scheduled.timer".into()],
            received_after: None,
            received_before: None,
            cursor: None,
            limit: 10_000,
        };
        let mut fired = Vec::new();
        for record in self.store.events(filter).await.unwrap() {
            let body: Value = serde_json::from_slice(&record.body).unwrap();
            let at = inngest_expr::date::parse(body["data"]["scheduledAt"].as_str().unwrap()).unwrap();
            let when = record.event.ts;
            let text = body["data"]["cron"].as_str().unwrap().to_owned();
            fired.push((when, text, (at.0 - START) / SECOND, (when.0 - at.0) / SECOND));
        }
        fired.sort();
        fired.into_iter().map(|(_, text, at, late)| (text, at, late)).collect()
    }
}

async fn engine(store: &SqliteStore, clock: &Arc<HandSet>, policy: CronCatchup) -> Engine {
    Engine::open(Parts {
        store: Arc::new(store.clone()),
        history: Arc::new(store.clone()),
        queue: Arc::new(MemoryQueue::new(clock.clone())),
        executor: Arc::new(Nobody),
        fetcher: Arc::new(Nobody),
        ids: Ids::new(clock.clone(), Arc::new(SystemEntropy)),
        options: Options { cron_catchup: policy, ..Options::default() },
    })
    .await
    .unwrap()
}

fn times(fired: &[(String, i64, i64)]) -> Vec<i64> {
    fired.iter().map(|(_, at, _)| *at).collect()
}

#[tokio::test]
async fn a_jitter_longer_than_the_period_loses_no_time_under_any_policy() {
    for policy in [CronCatchup::None, CronCatchup::Latest, CronCatchup::All] {
        let mut world = World::new(policy).await;
        world.register(&[("f", json!([{ "cron": "* * * * *", "jitter": "5m" }]))]).await;
        world.watch_until(START + 30 * MINUTE).await;
        let fired = world.fired().await;
        // 22:13:20 is the start, so the first full minute is 40 seconds later.
        let expected: Vec<i64> = (0..).map(|n| 40 + n * 60).take(fired.len()).collect();
        assert!(fired.len() >= 24, "{policy:?}: {fired:?}");
        assert_eq!(times(&fired), expected, "{policy:?}");
        assert!(fired.iter().all(|(_, _, late)| (1..300).contains(late)), "{policy:?}: {fired:?}");
    }
}

#[tokio::test]
async fn after_downtime_each_policy_does_what_it_says() {
    for (policy, expected) in [
        (CronCatchup::None, vec![40, 640]),
        (CronCatchup::Latest, vec![40, 580, 640]),
        (CronCatchup::All, vec![40, 100, 160, 220, 280, 340, 400, 460, 520, 580, 640]),
    ] {
        let mut world = World::new(policy).await;
        world.register(&[("f", json!([{ "cron": "* * * * *" }]))]).await;
        world.watch_until(START + MINUTE).await;
        world.restart_at(START + 10 * MINUTE).await;
        world.watch_until(START + 11 * MINUTE).await;
        assert_eq!(times(&world.fired().await), expected, "{policy:?}");
        // It is not made up for twice.
        world.restart_at(START + 11 * MINUTE + SECOND).await;
        world.watch_until(START + 11 * MINUTE + SECOND).await;
        assert_eq!(times(&world.fired().await), expected, "{policy:?}");
    }
}

#[tokio::test]
async fn a_machine_that_slept_has_missed_what_a_busy_one_has_not() {
    let mut world = World::new(CronCatchup::None).await;
    world.register(&[("f", json!([{ "cron": "* * * * *" }]))]).await;
    world.watch_until(START + MINUTE).await;
    // Busy: it wakes up when it meant to, but what it does then takes long.
    let now = world.clock.now();
    world.schedules.presence.sleep(now.plus(3 * LOOK), Duration::ZERO);
    world.clock.0.store(now.plus(3 * LOOK).0, Ordering::Relaxed);
    world.engine.look(&mut world.schedules).await.unwrap();
    assert_eq!(times(&world.fired().await), [40, 100, 160, 220]);
    // Asleep: it wakes up later than it meant to.
    world.schedules.presence.sleep(world.clock.now(), LOOK);
    world.clock.0.store(START + 10 * MINUTE, Ordering::Relaxed);
    world.engine.look(&mut world.schedules).await.unwrap();
    assert_eq!(times(&world.fired().await), [40, 100, 160, 220]);
}

#[tokio::test]
async fn much_to_make_up_for_keeps_no_other_schedule_waiting() {
    let mut world = World::new(CronCatchup::All).await;
    let busy = json!([{ "cron": "* * * * * *" }]);
    world.register(&[("busy", busy), ("calm", json!([{ "cron": "* * * * *" }]))]).await;
    world.engine.look(&mut world.schedules).await.unwrap();
    world.restart_at(START + 10 * MINUTE).await;
    // One turn each.
    let next = world.engine.look(&mut world.schedules).await.unwrap();
    assert_eq!(next, Some(Millis(START + 10 * MINUTE)), "there is more to do");
    let fired = world.fired().await;
    let of = |text: &str| fired.iter().filter(|(cron, ..)| cron == text).count();
    assert_eq!((of("* * * * * *"), of("* * * * *")), (TURN, 10));
}

#[tokio::test]
async fn a_sync_keeps_the_phase_takes_the_new_jitter_and_stops_what_is_gone() {
    let mut world = World::new(CronCatchup::Latest).await;
    let jittered = json!([{ "cron": "* * * * *", "jitter": "5m" }]);
    world.register(&[("f", jittered), ("g", json!([{ "cron": "*/2 * * * *" }]))]).await;
    world.watch_until(START + SECOND).await;
    world.register(&[("f", json!([{ "cron": "* * * * *" }])), ("g", json!([{ "event": "a/b" }]))]).await;
    world.watch_until(START + 2 * MINUTE).await;
    let expected = [("* * * * *".to_owned(), 40, 0), ("* * * * *".to_owned(), 100, 0)];
    assert_eq!(world.fired().await, expected);
}
