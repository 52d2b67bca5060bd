//! Two controls of one function.

use std::rc::Rc;
use std::time::{Duration, Instant};

use inngest_testkit::wait_until;
use serde_json::{Value, json};
use tokio::task::{JoinSet, LocalSet};

use crate::harness::{SOON, World, takes};

/// A call comes at most so much later than its time on a loaded machine.
const LATE: f64 = 0.6;

/// Events that are sent to a function, and what becomes of them. Each event has its number as `data.n`.
struct Case {
    id: &'static str,
    config: Value,
    /// How long a call takes, in milliseconds.
    takes: u64,
    /// When each event is sent, in milliseconds, and its data.
    events: Vec<(u64, Value)>,
    /// Seconds after which calls begin, and the numbers of the events of each of those that begin then.
    calls: Vec<(f64, Vec<Vec<u64>>)>,
    /// Numbers of events, and the status of their run or the reason why there is none.
    outcomes: Vec<(usize, &'static str)>,
}

/// Sends the events of all cases side by side, and compares.
async fn check(cases: Vec<Case>) {
    let functions = cases.iter().map(|case| takes(case.id, case.takes, case.config.clone())).collect();
    let world = Rc::new(World::of(functions).await);
    let count = |case: &Case| -> usize { case.calls.iter().map(|(_, calls)| calls.len()).sum() };
    let counts: Vec<_> = cases.iter().map(|case| (case.id, count(case))).collect();
    let mut checks = JoinSet::new();
    let local = LocalSet::new();
    for case in cases {
        let world = Rc::clone(&world);
        checks.spawn_local_on(async move { case.check(&world).await }, &local);
    }
    local.run_until(checks.join_all()).await;
    for (id, count) in counts {
        assert_eq!(world.app.calls_of(id).len(), count, "{id}");
    }
}

impl Case {
    async fn check(self, world: &World) {
        let (began, clock) = (Instant::now(), tokio::time::Instant::now());
        let mut ids = Vec::new();
        for (n, (at, data)) in self.events.iter().enumerate() {
            tokio::time::sleep_until(clock + Duration::from_millis(*at)).await;
            let mut data = data.clone();
            data["n"] = json!(n);
            ids.push(world.send(&format!("t/{}", self.id), data).await);
        }
        let count = self.calls.iter().map(|(_, calls)| calls.len()).sum();
        let mut calls = world.calls(self.id, count).await.into_iter();
        for (due, expected) in &self.calls {
            let mut found = Vec::new();
            for call in calls.by_ref().take(expected.len()) {
                let at = (call.span.from - began).as_secs_f64();
                assert!((*due..*due + LATE).contains(&at), "{}: a call at {at} and not at {due}", self.id);
                let events = call.body["events"].as_array().unwrap();
                found.push(events.iter().map(|event| event["data"]["n"].as_u64().unwrap()).collect::<Vec<_>>());
            }
            found.sort();
            assert_eq!(&found, expected, "{}: at {due}", self.id);
        }
        for (n, expected) in &self.outcomes {
            let what = format!("{}: event {n} is {expected}", self.id);
            let outcome = wait_until(&what, SOON, async || {
                let runs = world.client().runs_of(&ids[*n]).await.ok()?;
                let is_so = runs.iter().any(|run| run["status"] == *expected);
                (is_so || world.skips(&ids[*n]).await.iter().any(|skip| skip["reason"] == *expected)).then_some(())
            });
            outcome.await.unwrap();
        }
    }
}

/// Events of these data at these times.
fn at(events: &[(u64, Value)]) -> Vec<(u64, Value)> {
    events.to_vec()
}

/// So many events without data, at once.
fn plain(count: usize) -> Vec<(u64, Value)> {
    vec![(0, json!({})); count]
}

/// One event for each of these users, at once.
fn of_users(users: &[&str]) -> Vec<(u64, Value)> {
    users.iter().map(|user| (0, json!({ "u": user }))).collect()
}

/// Calls of one event each, at these times.
fn singles(calls: &[(f64, u64)]) -> Vec<(f64, Vec<Vec<u64>>)> {
    calls.iter().map(|(at, n)| (*at, vec![vec![*n]])).collect()
}

#[tokio::test]
async fn rate_limits_with_others() {
    let three = json!({ "limit": 25, "period": "60s" });
    check(vec![
        Case {
            id: "rate-debounce",
            config: json!({ "rateLimit": { "limit": 1, "period": "60s" }, "debounce": { "period": "1s" } }),
            takes: 0,
            events: at(&[(0, json!({})), (100, json!({})), (200, json!({}))]),
            calls: singles(&[(1.0, 0)]),
            outcomes: vec![(0, "Completed"), (1, "RateLimited"), (2, "RateLimited")],
        },
        Case {
            id: "rate-throttle",
            config: json!({ "rateLimit": three, "throttle": { "limit": 1, "period": "500ms" } }),
            takes: 0,
            events: plain(5),
            calls: singles(&[(0.0, 0), (0.5, 1), (1.0, 2)]),
            outcomes: vec![(3, "RateLimited"), (4, "RateLimited")],
        },
        Case {
            id: "rate-concurrency",
            config: json!({ "rateLimit": three, "concurrency": 1 }),
            takes: 300,
            events: plain(5),
            calls: singles(&[(0.0, 0), (0.3, 1), (0.6, 2)]),
            outcomes: vec![(3, "RateLimited"), (4, "RateLimited")],
        },
        Case {
            id: "rate-singleton",
            config: json!({ "rateLimit": { "limit": 10, "period": "60s" }, "singleton": { "mode": "skip" } }),
            takes: 800,
            // Two may come at once; the one that is skipped does not count.
            events: at(&[(0, json!({})), (100, json!({})), (1_300, json!({})), (2_600, json!({}))]),
            calls: singles(&[(0.0, 0), (1.3, 2)]),
            outcomes: vec![(0, "Completed"), (1, "Singleton"), (2, "Completed"), (3, "RateLimited")],
        },
        Case {
            id: "rate-priority",
            config: json!({ "rateLimit": three, "concurrency": 1, "priority": { "run": "int(event.data.p)" } }),
            takes: 300,
            events: at(&[
                (0, json!({ "p": 0 })),
                (0, json!({ "p": 0 })),
                (0, json!({ "p": 9 })),
                (0, json!({ "p": 99 })),
            ]),
            calls: singles(&[(0.0, 0), (0.3, 2), (0.6, 1)]),
            outcomes: vec![(3, "RateLimited")],
        },
        Case {
            id: "rate-batch",
            config: json!({
                "rateLimit": { "limit": 1, "period": "60s" },
                "batchEvents": { "maxSize": 2, "timeout": "1s", "if": "event.data.alone != true" },
            }),
            takes: 0,
            events: at(&[
                (0, json!({})),
                (0, json!({})),
                (300, json!({})),
                (300, json!({})),
                (600, json!({ "alone": true })),
                (600, json!({ "alone": true })),
            ]),
            calls: vec![(0.0, vec![vec![0, 1]]), (0.3, vec![vec![2, 3]]), (0.6, vec![vec![4]])],
            outcomes: vec![(5, "RateLimited")],
        },
    ])
    .await;
}

#[tokio::test]
async fn idempotency_keys_with_others() {
    let orders = |orders: &[&str]| -> Vec<(u64, Value)> {
        orders.iter().map(|order| (0, json!({ "order": order, "p": order.len() }))).collect()
    };
    let with = |mut config: Value| {
        config["idempotency"] = json!("event.data.order");
        config
    };
    check(vec![
        Case {
            id: "idempotency-debounce",
            config: with(json!({ "debounce": { "period": "1s" } })),
            takes: 0,
            events: orders(&["a", "b", "a", "b"]),
            calls: singles(&[(1.0, 1)]),
            outcomes: vec![(0, "Debounced"), (2, "RateLimited"), (3, "RateLimited")],
        },
        Case {
            id: "idempotency-throttle",
            config: with(json!({ "throttle": { "limit": 1, "period": "500ms" } })),
            takes: 0,
            events: orders(&["a", "a", "b"]),
            calls: singles(&[(0.0, 0), (0.5, 2)]),
            outcomes: vec![(1, "RateLimited")],
        },
        Case {
            id: "idempotency-concurrency",
            config: with(json!({ "concurrency": 1, "priority": { "run": "int(event.data.p)" } })),
            takes: 300,
            events: orders(&["a", "b", "ccc", "ccc", "a"]),
            calls: singles(&[(0.0, 0), (0.3, 2), (0.6, 1)]),
            outcomes: vec![(3, "RateLimited"), (4, "RateLimited")],
        },
        Case {
            id: "idempotency-singleton",
            config: with(json!({ "singleton": { "mode": "cancel" } })),
            takes: 1_500,
            events: at(&[(0, json!({ "order": "a" })), (100, json!({ "order": "a" })), (200, json!({ "order": "b" }))]),
            calls: singles(&[(0.0, 0), (0.2, 2)]),
            outcomes: vec![(0, "Cancelled"), (1, "RateLimited"), (2, "Completed")],
        },
        Case {
            id: "idempotency-batch",
            config: with(json!({ "batchEvents": { "maxSize": 2, "timeout": "1s" } })),
            takes: 0,
            events: orders(&["a", "a", "a"]),
            calls: vec![(0.0, vec![vec![0, 1]]), (1.0, vec![vec![2]])],
            outcomes: vec![],
        },
    ])
    .await;
}

#[tokio::test]
async fn debounces_with_others() {
    let debounce = json!({ "period": "1s", "key": "event.data.u" });
    check(vec![
        Case {
            id: "debounce-singleton",
            config: json!({ "debounce": { "period": "1s" }, "singleton": { "mode": "skip" } }),
            takes: 2_200,
            events: at(&[(0, json!({})), (1_300, json!({}))]),
            calls: singles(&[(1.0, 0)]),
            outcomes: vec![(0, "Completed"), (1, "Singleton")],
        },
        Case {
            id: "debounce-singleton-cancel",
            config: json!({ "debounce": { "period": "1s" }, "singleton": { "mode": "cancel" } }),
            takes: 2_000,
            events: at(&[(0, json!({})), (1_300, json!({}))]),
            calls: singles(&[(1.0, 0), (2.3, 1)]),
            outcomes: vec![(0, "Cancelled"), (1, "Completed")],
        },
        Case {
            id: "debounce-throttle",
            config: json!({ "debounce": debounce, "throttle": { "limit": 1, "period": "500ms" } }),
            takes: 0,
            events: at(&[(0, json!({ "u": "a" })), (200, json!({ "u": "b" }))]),
            calls: singles(&[(1.0, 0), (1.5, 1)]),
            outcomes: vec![],
        },
        Case {
            id: "debounce-concurrency",
            config: json!({ "debounce": debounce, "concurrency": 1 }),
            takes: 500,
            events: at(&[(0, json!({ "u": "a" })), (200, json!({ "u": "b" }))]),
            calls: singles(&[(1.0, 0), (1.5, 1)]),
            outcomes: vec![],
        },
        Case {
            id: "debounce-priority",
            config: json!({ "debounce": debounce, "concurrency": 1, "priority": { "run": "int(event.data.p)" } }),
            takes: 700,
            events: at(&[
                (0, json!({ "u": "first", "p": 0 })),
                (200, json!({ "u": "a", "p": 0 })),
                (300, json!({ "u": "b", "p": 9 })),
            ]),
            calls: singles(&[(1.0, 0), (1.7, 2), (2.4, 1)]),
            outcomes: vec![],
        },
        Case {
            id: "debounce-start",
            config: json!({ "debounce": debounce, "concurrency": 1, "timeouts": { "start": "1s" } }),
            takes: 2_500,
            events: at(&[(0, json!({ "u": "a" })), (200, json!({ "u": "b" }))]),
            // Counted from the end of the debounce, when the run begins to exist.
            calls: singles(&[(1.0, 0)]),
            outcomes: vec![(0, "Completed"), (1, "Cancelled")],
        },
        Case {
            id: "debounce-cancel",
            config: json!({ "debounce": { "period": "1s" }, "cancel": [{ "event": "t/debounce-throttle" }] }),
            takes: 0,
            events: plain(1),
            // What is debounced is no run yet, and cannot be cancelled.
            calls: singles(&[(1.0, 0)]),
            outcomes: vec![(0, "Completed")],
        },
    ])
    .await;
}

#[tokio::test]
async fn singletons_with_others() {
    let one = |mode: &str| json!({ "mode": mode, "key": "event.data.u" });
    check(vec![
        Case {
            id: "singleton-throttle",
            config: json!({ "singleton": one("skip"), "throttle": { "limit": 1, "period": "1s" } }),
            takes: 0,
            events: at(&[(0, json!({ "u": "a" })), (0, json!({ "u": "b" })), (300, json!({ "u": "b" }))]),
            calls: singles(&[(0.0, 0), (1.0, 1)]),
            outcomes: vec![(2, "Singleton")],
        },
        Case {
            id: "singleton-cancel-throttle",
            config: json!({ "singleton": one("cancel"), "throttle": { "limit": 1, "period": "1s" } }),
            takes: 0,
            events: at(&[(0, json!({ "u": "a" })), (0, json!({ "u": "b" })), (300, json!({ "u": "b" }))]),
            calls: singles(&[(0.0, 0), (1.0, 2)]),
            outcomes: vec![(1, "Cancelled"), (2, "Completed")],
        },
        Case {
            id: "singleton-concurrency",
            config: json!({ "singleton": one("skip"), "concurrency": 1 }),
            takes: 500,
            events: of_users(&["a", "b", "b"]),
            calls: singles(&[(0.0, 0), (0.5, 1)]),
            outcomes: vec![(2, "Singleton")],
        },
        Case {
            id: "singleton-cancel-concurrency",
            config: json!({ "singleton": one("cancel"), "concurrency": 1 }),
            takes: 700,
            events: at(&[(0, json!({ "u": "a" })), (200, json!({ "u": "a" }))]),
            // The call of a cancelled run goes on, and so does its slot.
            calls: singles(&[(0.0, 0), (0.7, 1)]),
            outcomes: vec![(0, "Cancelled"), (1, "Completed")],
        },
        Case {
            id: "singleton-priority",
            config: json!({
                "singleton": one("skip"), "concurrency": 1, "priority": { "run": "event.data.u == 'c' ? 9 : 0" },
            }),
            takes: 400,
            events: of_users(&["a", "b", "c", "c"]),
            calls: singles(&[(0.0, 0), (0.4, 2), (0.8, 1)]),
            outcomes: vec![(3, "Singleton")],
        },
        Case {
            id: "singleton-start",
            config: json!({
                "singleton": one("skip"), "throttle": { "limit": 1, "period": "2s" }, "timeouts": { "start": "1s" },
            }),
            takes: 0,
            // The run that is out of time is out of the way.
            events: at(&[(0, json!({ "u": "a" })), (0, json!({ "u": "b" })), (1_600, json!({ "u": "b" }))]),
            calls: singles(&[(0.0, 0), (2.0, 2)]),
            outcomes: vec![(1, "Cancelled"), (2, "Completed")],
        },
    ])
    .await;
}

#[tokio::test]
async fn throttles_and_concurrency_with_others() {
    check(vec![
        Case {
            id: "throttle-slow",
            config: json!({ "throttle": { "limit": 1, "period": "300ms" }, "concurrency": 1 }),
            takes: 600,
            events: plain(3),
            calls: singles(&[(0.0, 0), (0.6, 1), (1.2, 2)]),
            outcomes: vec![],
        },
        Case {
            id: "throttle-fast",
            config: json!({ "throttle": { "limit": 1, "period": "600ms" }, "concurrency": 1 }),
            takes: 100,
            events: plain(3),
            calls: singles(&[(0.0, 0), (0.6, 1), (1.2, 2)]),
            outcomes: vec![],
        },
        Case {
            id: "throttle-keys",
            config: json!({
                "throttle": { "limit": 1, "period": "1s", "key": "event.data.u" },
                "concurrency": { "limit": 1, "key": "event.data.v" },
            }),
            takes: 500,
            events: at(&[
                (0, json!({ "u": "a", "v": "x" })),
                (0, json!({ "u": "a", "v": "y" })),
                (0, json!({ "u": "b", "v": "x" })),
                (0, json!({ "u": "c", "v": "z" })),
            ]),
            calls: vec![(0.0, vec![vec![0], vec![3]]), (0.5, vec![vec![2]]), (1.0, vec![vec![1]])],
            outcomes: vec![],
        },
        Case {
            id: "throttle-runs",
            config: json!({
                "throttle": { "limit": 1, "period": "300ms" }, "concurrency": { "fn": [{ "limit": 1 }] },
            }),
            takes: 600,
            events: plain(2),
            calls: singles(&[(0.0, 0), (0.6, 1)]),
            outcomes: vec![],
        },
        Case {
            id: "priority-key",
            config: json!({
                "concurrency": { "limit": 1, "key": "event.data.u" }, "priority": { "run": "int(event.data.p)" },
            }),
            takes: 500,
            events: at(&[
                (0, json!({ "u": "a", "p": 0 })),
                (100, json!({ "u": "a", "p": 0 })),
                (100, json!({ "u": "a", "p": 9 })),
                (100, json!({ "u": "b", "p": 0 })),
            ]),
            calls: vec![(0.0, vec![vec![0], vec![3]]), (0.5, vec![vec![2]]), (1.0, vec![vec![1]])],
            outcomes: vec![],
        },
        Case {
            id: "start-throttle",
            config: json!({ "throttle": { "limit": 1, "period": "1h" }, "timeouts": { "start": "1s" } }),
            takes: 0,
            events: plain(2),
            calls: singles(&[(0.0, 0)]),
            outcomes: vec![(0, "Completed"), (1, "Cancelled")],
        },
        Case {
            id: "start-concurrency",
            config: json!({ "concurrency": 1, "timeouts": { "start": "1s" } }),
            takes: 2_000,
            events: plain(2),
            calls: singles(&[(0.0, 0)]),
            outcomes: vec![(0, "Completed"), (1, "Cancelled")],
        },
        Case {
            id: "finish-concurrency",
            config: json!({ "concurrency": 1, "timeouts": { "finish": "1s" } }),
            takes: 1_600,
            // A run that is out of time leaves its slot to the next one when its call ends.
            events: plain(2),
            calls: singles(&[(0.0, 0), (1.6, 1)]),
            outcomes: vec![(0, "Cancelled"), (1, "Cancelled")],
        },
    ])
    .await;
}

#[tokio::test]
async fn batches_with_others() {
    let batch = json!({ "maxSize": 2, "timeout": "1s" });
    check(vec![
        Case {
            id: "batch-throttle",
            config: json!({ "batchEvents": batch, "throttle": { "limit": 1, "period": "500ms" } }),
            takes: 0,
            events: plain(4),
            calls: vec![(0.0, vec![vec![0, 1]]), (0.5, vec![vec![2, 3]])],
            outcomes: vec![],
        },
        Case {
            id: "batch-concurrency",
            // The key is that of the first event.
            config: json!({ "batchEvents": batch, "concurrency": { "limit": 1, "key": "event.data.u" } }),
            takes: 500,
            events: of_users(&["a", "b", "a", "c", "b", "b"]),
            calls: vec![(0.0, vec![vec![0, 1], vec![4, 5]]), (0.5, vec![vec![2, 3]])],
            outcomes: vec![],
        },
        Case {
            id: "batch-throttle-key",
            config: json!({
                "batchEvents": batch, "throttle": { "limit": 1, "period": "700ms", "key": "event.data.u" },
            }),
            takes: 0,
            events: of_users(&["a", "b", "a", "b", "b", "a"]),
            calls: vec![(0.0, vec![vec![0, 1], vec![4, 5]]), (0.7, vec![vec![2, 3]])],
            outcomes: vec![],
        },
        Case {
            id: "batch-runs",
            config: json!({ "batchEvents": batch, "concurrency": { "fn": [{ "limit": 1 }] } }),
            takes: 500,
            events: plain(4),
            calls: vec![(0.0, vec![vec![0, 1]]), (0.5, vec![vec![2, 3]])],
            outcomes: vec![],
        },
        Case {
            id: "batch-finish",
            config: json!({ "batchEvents": batch, "timeouts": { "finish": "1s" } }),
            takes: 1_600,
            events: plain(2),
            calls: vec![(0.0, vec![vec![0, 1]])],
            outcomes: vec![(0, "Cancelled")],
        },
    ])
    .await;
}
