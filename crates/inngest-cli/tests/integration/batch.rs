//! `batchEvents`: events that come together start one run.

use std::time::{Duration, Instant};

use inngest_testkit::{Answer, Call, StubFunction};
use serde_json::{Value, json};

use crate::harness::{World, seconds_from};

/// A run starts at most so much later than its time on a loaded machine.
const LATE: f64 = 0.5;

/// Members `n` of the events of each call.
fn batches(calls: &[Call]) -> Vec<Vec<Value>> {
    let of_call =
        |call: &Call| call.body["events"].as_array().unwrap().iter().map(|event| event["data"]["n"].clone()).collect();
    calls.iter().map(of_call).collect()
}

fn batched(config: &Value) -> StubFunction {
    StubFunction::new("f", "t/f", |call| Answer::Return(json!(call.body["events"].as_array().map(Vec::len))))
        .config(json!({ "batchEvents": config }))
}

async fn world_of(config: Value) -> World {
    World::of(vec![batched(&config)]).await
}

fn numbered(numbers: std::ops::Range<u32>) -> impl Iterator<Item = Value> {
    numbers.map(|n| json!({ "n": n }))
}

#[tokio::test]
async fn a_batch_that_is_not_full_starts_at_its_timeout() {
    let world = world_of(json!({ "maxSize": 3, "timeout": "1s" })).await;
    let began = Instant::now();
    let mut events = world.send_all("t/f", numbered(0..1)).await;
    let acknowledged = began.elapsed().as_secs_f64();
    tokio::time::sleep(Duration::from_millis(400)).await;
    events.extend(world.send_all("t/f", numbered(1..2)).await);
    let calls = world.calls("f", 1).await;
    assert_eq!(batches(&calls), [[0, 1]]);
    let at = seconds_from(began, &calls)[0];
    assert!((1.0..acknowledged + 1.0 + LATE).contains(&at), "counted from the first event: {at}");
    let call = &calls[0].body;
    assert_eq!(call["event"], call["events"][0], "the event of the run is its first one");
    let run = world.ended(&events[0]).await;
    assert_eq!((&run["output"], &run["run_id"]), (&json!(2), &call["ctx"]["run_id"]));
}

#[tokio::test]
async fn a_full_batch_starts_at_once_and_the_rest_begins_another() {
    let world = world_of(json!({ "maxSize": 3, "timeout": "1s" })).await;
    let began = Instant::now();
    world.send_all("t/f", numbered(0..7)).await;
    let calls = world.calls("f", 3).await;
    let mut found = batches(&calls);
    // The two that are full start together.
    found[..2].sort_by_key(|batch| batch[0].as_u64());
    assert_eq!(found, [vec![0, 1, 2], vec![3, 4, 5], vec![6]]);
    let at = seconds_from(began, &calls);
    assert!(at[1] < 0.9 && (1.0..1.5 + LATE).contains(&at[2]), "{at:?}");
}

#[tokio::test]
async fn a_condition_that_does_not_hold_starts_a_run_of_one() {
    let world = world_of(json!({ "maxSize": 5, "timeout": "1s", "if": "event.data.b == true" })).await;
    let data =
        [json!({ "n": 0, "b": true }), json!({ "n": 1, "b": false }), json!({ "n": 2 }), json!({ "n": 3, "b": true })];
    let began = Instant::now();
    world.send_all("t/f", data).await;
    let calls = world.calls("f", 3).await;
    let mut found = batches(&calls);
    found[..2].sort_by_key(|batch| batch[0].as_u64());
    assert_eq!(found, [vec![1], vec![2], vec![0, 3]]);
    let at = seconds_from(began, &calls);
    assert!(at[1] < 0.9 && at[2] >= 1.0, "{at:?}");
}

#[tokio::test]
async fn each_value_of_a_key_is_a_batch_of_its_own() {
    let world = world_of(json!({ "maxSize": 2, "timeout": "1s", "key": "event.data.u" })).await;
    let users = [json!("a"), json!("b"), json!(null), json!("a"), json!(5), json!("5")];
    let mut data: Vec<Value> = users.iter().enumerate().map(|(n, user)| json!({ "n": n, "u": user })).collect();
    data.extend([json!({ "n": 6 }), json!({ "n": 7 })]);
    let began = Instant::now();
    world.send_all("t/f", data).await;
    let calls = world.calls("f", 5).await;
    let at = seconds_from(began, &calls);
    assert!(at[2] < 0.9 && at[3] >= 1.0, "three are full: {at:?}");
    let mut found = batches(&calls);
    found.sort_by_key(|batch| batch[0].as_u64());
    assert_eq!(found, [vec![0, 3], vec![1], vec![2], vec![4, 5], vec![6, 7]]);
}

#[tokio::test]
async fn every_event_is_in_one_batch_however_they_are_sent() {
    let world = world_of(json!({ "maxSize": 7, "timeout": "1s" })).await;
    let mut sending = Vec::new();
    for sender in 0..8 {
        let client = world.client().clone();
        sending.push(tokio::spawn(async move {
            for n in 0..25 {
                client.send(&json!({ "name": "t/f", "data": { "n": sender * 25 + n } })).await.unwrap();
            }
        }));
    }
    for sender in sending {
        sender.await.unwrap();
    }
    // 200 events: 28 full batches and one of four.
    let calls = world.calls("f", 29).await;
    let found = batches(&calls);
    let mut all: Vec<u64> = found.iter().flatten().filter_map(Value::as_u64).collect();
    for sender in 0..8 {
        let of_sender: Vec<u64> = all.iter().copied().filter(|n| n / 25 == sender).collect();
        assert_eq!(of_sender.len(), 25);
    }
    all.sort_unstable();
    assert_eq!(all, (0..200).collect::<Vec<_>>());
    let mut sizes: Vec<usize> = found.iter().map(Vec::len).collect();
    sizes.sort_unstable();
    assert_eq!((sizes[0], sizes[1], sizes[28]), (4, 7, 7));
}

#[tokio::test]
async fn an_event_that_is_sent_again_is_in_no_batch_again() {
    let world = world_of(json!({ "maxSize": 2, "timeout": "1s" })).await;
    for (n, id) in ["same", "same", "other"].into_iter().enumerate() {
        world.client().send(&json!({ "name": "t/f", "id": id, "data": { "n": n } })).await.unwrap();
    }
    world.client().send(&json!({ "name": "t/f", "id": "same", "data": { "n": 3 } })).await.unwrap();
    world.client().send(&json!({ "name": "t/f", "data": { "n": 4 } })).await.unwrap();
    assert_eq!(batches(&world.calls("f", 2).await), [vec![0, 2], vec![4]]);
}

#[tokio::test]
async fn a_batch_of_large_events_is_full_by_its_size() {
    let world = world_of(json!({ "maxSize": 100, "timeout": "1h" })).await;
    let pad = "x".repeat(1_000_000);
    // 10 MiB are full.
    for n in 0..12 {
        world.send("t/f", json!({ "n": n, "pad": pad })).await;
    }
    let call = world.calls("f", 1).await.remove(0);
    assert_eq!(call.body["ctx"]["use_api"], true, "it is sent by reference");
}

#[tokio::test]
async fn ticks_of_a_schedule_are_not_gathered() {
    let triggers = json!([{ "event": "t/f" }, { "cron": "* * * * * *" }]);
    let world = World::of(vec![batched(&json!({ "maxSize": 10, "timeout": "1h" })).triggers(triggers)]).await;
    for call in world.calls("f", 2).await {
        let events = call.body["events"].as_array().unwrap();
        assert_eq!((events.len(), &events[0]["name"]), (1, &json!("inngest/scheduled.timer")));
    }
}

#[tokio::test]
async fn what_is_gathered_goes_on_without_the_option_and_ends_with_its_function() {
    let world = world_of(json!({ "maxSize": 3, "timeout": "1s" })).await;
    let mut plain = world.app.registration()["functions"].clone();
    plain[0].as_object_mut().unwrap().remove("batchEvents");
    world.send_all("t/f", numbered(0..2)).await;
    world.sync(&plain).await;
    world.send_all("t/f", numbered(2..3)).await;
    assert_eq!(batches(&world.calls("f", 2).await), [vec![2], vec![0, 1]]);
    world.sync(&world.app.registration()["functions"]).await;
    world.send_all("t/f", numbered(3..4)).await;
    world.sync(&json!([])).await;
    tokio::time::sleep(Duration::from_millis(1_500)).await; // Past the time of a batch that must not come.
    assert_eq!(world.app.calls_of("f").len(), 2);
}
