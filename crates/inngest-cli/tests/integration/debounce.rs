//! `debounce`: of events that come shortly after one another the last one starts the run.

use std::time::{Duration, Instant, SystemTime};

use inngest_testkit::{Call, StubFunction};
use serde_json::{Value, json};

use crate::harness::{World, data_of, p50_and_p99, takes};

/// A run starts at most so much later than its time on a loaded machine.
const LATE: Duration = Duration::from_millis(400);

fn debounced(config: &Value) -> StubFunction {
    takes("f", 0, json!({ "debounce": config }))
}

/// Sends an event at each of these milliseconds; when each of them was sent, and acknowledged.
async fn send_at(world: &World, times: &[u64], data: impl Fn(usize) -> Value) -> Vec<(Instant, Instant)> {
    let began = tokio::time::Instant::now();
    let mut sent = Vec::new();
    for (n, at) in times.iter().enumerate() {
        tokio::time::sleep_until(began + Duration::from_millis(*at)).await;
        let before = Instant::now();
        world.send("t/f", data(n)).await;
        sent.push((before, Instant::now()));
    }
    sent
}

/// Fails unless a call came so long after an event.
fn assert_after(call: &Call, (sent, acknowledged): (Instant, Instant), pause: Duration) {
    let (most, least) = (call.span.from - sent, call.span.from.saturating_duration_since(acknowledged));
    assert!(most >= pause && least < pause + LATE, "{least:?} to {most:?}, and not {pause:?}");
}

/// Fails when a function was called more often than so, at a time when whatever is due has come.
async fn assert_no_more(world: &World, calls: usize) {
    tokio::time::sleep(Duration::from_millis(1_500)).await; // A period in which nothing may come.
    assert_eq!(world.app.calls_of("f").len(), calls);
}

#[tokio::test]
async fn the_last_event_starts_the_run_when_no_other_came_for_the_period() {
    let world = World::of(vec![debounced(&json!({ "period": "1s" }))]).await;
    let sent = send_at(&world, &[0, 500, 800], |n| json!({ "n": n })).await;
    let calls = world.calls("f", 1).await;
    assert_eq!(data_of(&calls, "n"), [2]);
    assert_after(&calls[0], sent[2], Duration::from_secs(1));
    assert_no_more(&world, 1).await;
    // What comes afterwards begins anew.
    let sent = send_at(&world, &[0], |_| json!({ "n": "later" })).await;
    let calls = world.calls("f", 2).await;
    assert_eq!(calls[1].body["event"]["data"]["n"], "later");
    assert_after(&calls[1], sent[0], Duration::from_secs(1));
}

#[tokio::test]
async fn the_run_is_that_of_the_last_event_and_the_others_have_a_reason() {
    let world = World::of(vec![debounced(&json!({ "period": "1s" }))]).await;
    let events = world.send_all("t/f", (0..3).map(|n| json!({ "n": n }))).await;
    assert_eq!(world.started(&events).await, [0, 0, 0], "not yet");
    let run = world.ended(&events[2]).await;
    assert_eq!((&run["status"], &run["output"]), (&json!("Completed"), &json!({ "n": 2 })));
    assert_eq!(world.started(&events).await, [0, 0, 1]);
    for event in &events[..2] {
        let skips = world.skips(event).await;
        assert_eq!((skips.len(), &skips[0]["reason"]), (1, &json!("Debounced")), "{skips:?}");
    }
    assert_eq!(world.skips(&events[2]).await, Vec::<Value>::new());
}

#[tokio::test]
async fn the_run_starts_at_the_timeout_at_the_latest() {
    let world = World::of(vec![debounced(&json!({ "period": "1s", "timeout": "1500ms" }))]).await;
    let times = [0, 400, 800, 1_200, 1_700, 2_100, 2_500, 2_900];
    let sent = send_at(&world, &times, |n| json!({ "n": n })).await;
    let calls = world.calls("f", 2).await;
    assert_eq!(data_of(&calls, "n"), [3, 7]);
    assert_after(&calls[0], sent[0], Duration::from_millis(1_500));
    assert_after(&calls[1], sent[4], Duration::from_millis(1_500));
    assert_no_more(&world, 2).await;
}

#[tokio::test]
async fn the_event_of_the_highest_time_wins_and_lower_ones_do_not_delay_it() {
    let world = World::of(vec![debounced(&json!({ "period": "1s" }))]).await;
    let now = u64::try_from(SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
    let mut sent = Vec::new();
    for (n, ts) in [now, now - 5_000, now - 1].into_iter().enumerate() {
        let before = Instant::now();
        world.client().send(&json!({ "name": "t/f", "data": { "n": n }, "ts": ts })).await.unwrap();
        sent.push((before, Instant::now()));
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let calls = world.calls("f", 1).await;
    assert_eq!(data_of(&calls, "n"), [0]);
    assert_eq!(calls[0].body["event"]["ts"], now);
    assert_after(&calls[0], sent[0], Duration::from_secs(1));
}

#[tokio::test]
async fn of_equal_times_the_last_one_to_come_wins() {
    let world = World::of(vec![debounced(&json!({ "period": "1s" }))]).await;
    let now = u64::try_from(SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
    for n in 0..3 {
        world.client().send(&json!({ "name": "t/f", "data": { "n": n }, "ts": now })).await.unwrap();
    }
    assert_eq!(data_of(&world.calls("f", 1).await, "n"), [2]);
}

#[tokio::test]
async fn the_event_arrives_as_it_was_sent() {
    let world = World::of(vec![debounced(&json!({ "period": "1s", "timeout": "5s" }))]).await;
    let data = json!({ "o": {}, "n": null, "a": [], "big": 9_007_199_254_740_993_u64, "t": "é\u{1f600}\\\"" });
    world.send("t/f", json!({ "first": true })).await;
    let body = json!({ "name": "t/f", "id": "mine", "data": data, "user": { "id": 1 }, "v": "2" });
    world.client().send(&body).await.unwrap();
    let call = world.calls("f", 1).await.remove(0);
    let event = &call.body["event"];
    assert_eq!((&event["data"], &event["id"], &event["v"]), (&data, &json!("mine"), &json!("2")));
    assert_eq!(event["user"], json!({ "id": 1 }));
    assert_eq!(call.body["events"], json!([event]));
}

#[tokio::test]
async fn each_value_of_a_key_is_debounced_by_itself() {
    let world = World::of(vec![debounced(&json!({ "period": "1s", "key": "event.data.u" }))]).await;
    let users = [json!("a"), json!("b"), json!("a"), json!(true), json!(false), json!("true")];
    let mut data: Vec<Value> = users.iter().enumerate().map(|(n, user)| json!({ "u": user, "n": n })).collect();
    data.push(json!({ "n": 6 }));
    world.send_all("t/f", data).await;
    let mut last = data_of(&world.calls("f", 4).await, "n");
    last.sort_by_key(Value::as_u64);
    assert_eq!(last, [1, 2, 5, 6], "b, a, true and \"true\", false and none");
    assert_no_more(&world, 4).await;
}

#[tokio::test]
async fn an_event_of_the_future_starts_the_run_then() {
    let world = World::of(vec![debounced(&json!({ "period": "1s" }))]).await;
    let began = Instant::now();
    let at = SystemTime::UNIX_EPOCH.elapsed().unwrap() + Duration::from_secs(3);
    let ts = u64::try_from(at.as_millis()).unwrap();
    world.client().send(&json!({ "name": "t/f", "ts": ts })).await.unwrap();
    let after = world.calls("f", 1).await[0].span.from - began;
    assert!((2.9..5.0).contains(&after.as_secs_f64()), "{after:?}");
}

#[tokio::test]
async fn what_is_pending_goes_on_without_the_option_and_ends_with_its_function() {
    let world = World::of(vec![debounced(&json!({ "period": "1s" })), takes("other", 0, json!({}))]).await;
    let (mut plain, gone) = (world.app.registration()["functions"].clone(), json!([]));
    plain[0].as_object_mut().unwrap().remove("debounce");
    let pending = world.send("t/f", json!({ "n": "pending" })).await;
    world.sync(&plain).await;
    let event = world.send("t/f", json!({ "n": "at once" })).await;
    world.ended(&event).await;
    world.ended(&pending).await;
    world.sync(&world.app.registration()["functions"]).await;
    world.send("t/f", json!({ "n": "dropped" })).await;
    world.sync(&gone).await;
    assert_no_more(&world, 2).await;
    assert_eq!(data_of(&world.calls("f", 2).await, "n"), ["at once", "pending"]);
}

#[tokio::test]
async fn runs_start_at_their_time_while_others_are_busy() {
    let world =
        World::of(vec![debounced(&json!({ "period": "1s", "key": "event.data.u" })), takes("load", 0, json!({}))])
            .await;
    let sent = send_at(&world, &[0; 50], |n| json!({ "u": n })).await;
    world.busy_until("f", 50).await;
    let period = Duration::from_secs(1);
    let late = world.calls("f", 50).await.into_iter().map(|call| {
        let (sent, acknowledged) = sent[usize::try_from(call.body["event"]["data"]["u"].as_u64().unwrap()).unwrap()];
        assert!(call.span.from >= sent + period, "early");
        call.span.from.saturating_duration_since(acknowledged + period).as_secs_f64()
    });
    let (half, most) = p50_and_p99(late.collect());
    println!("debounced runs under load: p50 {:.2} ms, p99 {:.2} ms after their period", half * 1e3, most * 1e3);
    // A busy machine is no fault of the server; its precision is what the crash runner prints.
    assert!(half < 0.5, "{half} s");
}
