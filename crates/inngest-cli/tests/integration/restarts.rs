//! SIGKILL in the middle of each control.

use std::sync::Arc;
use std::time::{Duration, Instant};

use inngest_testkit::stub::op;
use inngest_testkit::{Answer, Call, StubFunction};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::harness::{World, data_of, most_in_flight, seconds_from, takes};

/// Something comes at most so much later than its time on a loaded machine.
const LATE: f64 = 0.8;

fn numbered(count: u32) -> impl Iterator<Item = Value> {
    (0..count).map(|n| json!({ "n": n }))
}

#[tokio::test]
async fn a_throttle_keeps_its_distance() {
    let world = World::of(vec![takes("f", 0, json!({ "throttle": { "limit": 1, "period": "1s" } }))]).await;
    let began = Instant::now();
    let events = world.send_all("t/f", numbered(4)).await;
    world.ended(&events[0]).await;
    let world = world.kill_and_restart().await;
    world.ended(&events[1]).await;
    let world = world.kill_and_restart().await;
    world.all_ended(&events).await;
    let calls = world.calls("f", 4).await;
    assert_eq!(data_of(&calls, "n"), [0, 1, 2, 3]);
    for (start, due) in seconds_from(began, &calls).into_iter().zip([0.0, 1.0, 2.0, 3.0]) {
        assert!((due..due + LATE).contains(&start), "{:?}", seconds_from(began, &calls));
    }
}

/// Its token is spent, but its run has not been called in vain: it need not wait for another one.
#[tokio::test]
async fn a_start_that_was_let_through_is_called_again_at_once() {
    let go = Arc::new(Notify::new());
    let release = Arc::clone(&go);
    let script = move |_: &Call| Answer::Until(Arc::clone(&release), Box::new(Answer::Return(json!("done"))));
    let config = json!({ "throttle": { "limit": 1, "period": "1h" }, "concurrency": { "fn": [{ "limit": 5 }] } });
    let world = World::of(vec![StubFunction::new("f", "t/f", script).config(config)]).await;
    let events = world.send_all("t/f", numbered(2)).await;
    world.calls("f", 1).await;
    let world = world.kill_and_restart().await;
    let calls = world.calls("f", 2).await;
    assert_eq!(calls[0].run(), calls[1].run());
    go.notify_one();
    go.notify_one();
    world.ended(&events[0]).await;
    assert_eq!(world.client().runs_of(&events[1]).await.unwrap()[0]["status"], "Scheduled", "in an hour");
}

#[tokio::test]
async fn a_rate_limit_stays_used_up() {
    let limits = json!({ "rateLimit": { "limit": 10, "period": "1h", "key": "event.data.u" } });
    let once = json!({ "idempotency": "event.data.u" });
    let world = World::of(vec![takes("rate", 0, limits), takes("once", 0, once)]).await;
    for id in ["rate", "once"] {
        world.run(&format!("t/{id}"), json!({ "u": "a" })).await;
    }
    let world = world.kill_and_restart().await;
    let mut events = Vec::new();
    for (id, user) in [("rate", "a"), ("rate", "a"), ("rate", "b"), ("once", "a"), ("once", "b")] {
        events.push(world.send(&format!("t/{id}"), json!({ "u": user })).await);
    }
    assert_eq!(world.started(&events).await, [1, 0, 1, 0, 1]);
}

#[tokio::test]
async fn a_debounce_fires_once_with_its_last_event() {
    let world = World::of(vec![takes("f", 0, json!({ "debounce": { "period": "1500ms", "timeout": "10s" } }))]).await;
    world.send("t/f", json!({ "n": 0 })).await;
    let world = world.kill_and_restart().await;
    let sent = Instant::now();
    let last = world.send("t/f", json!({ "n": 1 })).await;
    let world = world.kill_and_restart().await;
    world.ended(&last).await;
    let calls = world.calls("f", 1).await;
    assert_eq!(data_of(&calls, "n"), [1]);
    let at = seconds_from(sent, &calls)[0];
    assert!((1.5..1.5 + LATE).contains(&at), "{at}");
    let world = world.kill_and_restart().await;
    tokio::time::sleep(Duration::from_secs(1)).await; // It would fire again now.
    assert_eq!(world.app.calls().len(), 1);
}

#[tokio::test]
async fn a_debounce_whose_time_has_passed_fires_at_once() {
    let world = World::of(vec![takes("f", 0, json!({ "debounce": { "period": "1s" } }))]).await;
    let event = world.send("t/f", json!({})).await;
    let world = world.killed_for(Duration::from_millis(1_500)).await;
    let began = Instant::now();
    world.ended(&event).await;
    assert!(began.elapsed().as_secs_f64() < LATE, "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_batch_is_complete() {
    let count =
        StubFunction::new("f", "t/f", |call| Answer::Return(json!(call.body["events"].as_array().map(Vec::len))));
    let world = World::of(vec![count.config(json!({ "batchEvents": { "maxSize": 4, "timeout": "2s" } }))]).await;
    let sent = Instant::now();
    let mut events = world.send_all("t/f", numbered(2)).await;
    let world = world.kill_and_restart().await;
    events.extend(world.send_all("t/f", (2..5).map(|n| json!({ "n": n }))).await);
    let full = world.ended(&events[0]).await;
    assert_eq!(full["output"], 4, "at once");
    assert!(sent.elapsed() < Duration::from_millis(1_900), "{:?}", sent.elapsed());
    let world = world.kill_and_restart().await;
    let rest = world.calls("f", 2).await;
    let numbers = |call: &Call| -> Vec<Value> {
        call.body["events"].as_array().unwrap().iter().map(|event| event["data"]["n"].clone()).collect()
    };
    assert_eq!((numbers(&rest[0]), numbers(&rest[1])), (vec![json!(0), json!(1), json!(2), json!(3)], vec![json!(4)]));
    let at = seconds_from(sent, &rest)[1];
    assert!((2.0..2.0 + 2.0 * LATE).contains(&at), "the second one began later: {at}");
}

fn sleeper(config: Value) -> StubFunction {
    let script = |call: &Call| match call.memo("nap") {
        None => Answer::Ops(json!([op("Sleep", "nap", json!({ "name": "1500ms" }))])),
        Some(_) => Answer::Return(json!("awake")),
    };
    StubFunction::new("f", "t/f", script).config(config)
}

#[tokio::test]
async fn a_singleton_is_still_in_the_way() {
    let world = World::of(vec![sleeper(json!({ "singleton": { "mode": "skip", "key": "event.data.u" } }))]).await;
    let event = world.send("t/f", json!({ "u": "a" })).await;
    world.pending(&event, "Sleeping").await;
    let world = world.kill_and_restart().await;
    let others = [world.send("t/f", json!({ "u": "a" })).await, world.send("t/f", json!({ "u": "b" })).await];
    assert_eq!(world.started(&others).await, [0, 1]);
    world.ended(&event).await;
    let next = world.send("t/f", json!({ "u": "a" })).await;
    assert_eq!(world.started(&[next]).await, [1], "it has ended");
}

#[tokio::test]
async fn runs_that_have_started_hold_their_slots() {
    let one = json!({ "concurrency": { "fn": [{ "limit": 1, "key": "event.data.u" }] } });
    let world = World::of(vec![sleeper(one)]).await;
    let events = world.send_all("t/f", ["a", "a", "b"].map(|user| json!({ "u": user }))).await;
    world.pending(&events[0], "Sleeping").await;
    let world = world.kill_and_restart().await;
    let runs = world.all_ended(&events).await;
    let calls = world.app.calls_of("f");
    let begins = |run: &Value| calls.iter().filter(|call| call.run() == run["run_id"]).map(|call| call.span.from).min();
    let ends = |run: &Value| calls.iter().filter(|call| call.run() == run["run_id"]).map(|call| call.span.from).max();
    assert!(begins(&runs[1]) > ends(&runs[0]), "the second run of a key begins when the first one has ended");
    assert!(begins(&runs[2]) < ends(&runs[0]), "another key does not wait");
}

#[tokio::test]
async fn calls_in_flight_leave_their_slots_to_those_who_call_again() {
    let world = World::of(vec![takes("f", 300, json!({ "concurrency": { "limit": 2, "key": "event.data.u" } }))]).await;
    let events = world.send_all("t/f", (0..12).map(|n| json!({ "n": n, "u": n % 2 }))).await;
    world.calls("f", 4).await;
    let world = world.kill_and_restart().await;
    world.all_ended(&events).await;
    let calls = world.calls("f", 16).await;
    for user in 0..2 {
        let of_user = calls.iter().filter(|call| call.body["event"]["data"]["u"] == user);
        assert_eq!(most_in_flight(of_user), 2, "all of the limit, and no more");
    }
}

#[tokio::test]
async fn what_is_queued_keeps_its_order() {
    let go = Arc::new(Notify::new());
    let release = Arc::clone(&go);
    let script = move |call: &Call| match call.body["event"]["data"]["n"].as_u64() {
        None => Answer::Until(Arc::clone(&release), Box::new(Answer::Return(json!("done")))),
        Some(_) => Answer::Return(json!("done")),
    };
    let config = json!({ "concurrency": 1, "priority": { "run": "int(event.data.p)" } });
    let world = World::of(vec![StubFunction::new("f", "t/f", script).config(config)]).await;
    world.send("t/f", json!({ "p": 600 })).await;
    world.calls("f", 1).await;
    let data = [0, 0, 100, 50, 500].into_iter().enumerate().map(|(n, p)| json!({ "n": n, "p": p }));
    world.send_all("t/f", data).await;
    let world = world.kill_and_restart().await;
    world.calls("f", 2).await; // The first one again.
    go.notify_one();
    assert_eq!(data_of(&world.calls("f", 7).await[2..], "n"), [4, 2, 3, 0, 1]);
}
