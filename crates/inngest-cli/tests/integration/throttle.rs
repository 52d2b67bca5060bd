//! `throttle`: how many runs start in a time; more wait.

use std::time::Instant;

use inngest_testkit::{Answer, Call, StubFunction};
use serde_json::{Value, json};

use crate::harness::{World, data_of, p50_and_p99, seconds_from, takes};

/// A start may be so much later than its time on a loaded machine.
const LATE: f64 = 0.4;

/// Fails unless each start comes at its time or little later, and never earlier.
fn assert_starts(what: &str, starts: &[f64], expected: &[f64]) {
    assert_eq!(starts.len(), expected.len(), "{what}: {starts:?}");
    for (start, due) in starts.iter().zip(expected) {
        assert!((*due..*due + LATE).contains(start), "{what}: {starts:?} and not {expected:?}");
    }
}

#[tokio::test]
async fn a_limit_and_its_burst_start_at_once_and_then_one_after_the_other() {
    let cases = [
        ("none", json!({ "limit": 1, "period": "1s" }), [0.0, 1.0, 2.0, 3.0, 4.0]),
        ("one", json!({ "limit": 1, "period": "1s", "burst": 1 }), [0.0, 0.0, 1.0, 2.0, 3.0]),
        ("three", json!({ "limit": 1, "period": "1s", "burst": 3 }), [0.0, 0.0, 0.0, 0.0, 1.0]),
        ("limit", json!({ "limit": 3, "period": "3s" }), [0.0, 0.0, 0.0, 1.0, 2.0]),
        ("short", json!({ "limit": 1, "period": "300ms" }), [0.0, 0.3, 0.6, 0.9, 1.2]),
        ("odd", json!({ "limit": 2, "period": "1500ms" }), [0.0, 0.0, 0.75, 1.5, 2.25]),
    ];
    let functions = cases.iter().map(|(id, throttle, _)| takes(id, 0, json!({ "throttle": throttle }))).collect();
    let world = World::of(functions).await;
    let mut began = Vec::new();
    for (id, ..) in &cases {
        began.push(Instant::now());
        world.send_all(&format!("t/{id}"), (0..5).map(|n| json!({ "n": n }))).await;
    }
    for ((id, _, expected), began) in cases.iter().zip(began) {
        let calls = world.calls(id, 5).await;
        assert_starts(id, &seconds_from(began, &calls), expected);
        // Those that start at once are in flight together, and may overtake each other on their way.
        let waited: Vec<Value> =
            (0..5).map(|n| json!(n)).filter(|n| expected[n.as_u64().unwrap() as usize] > 0.0).collect();
        assert_eq!(data_of(&calls, "n")[5 - waited.len()..], waited, "{id}: first come, first served");
    }
}

#[tokio::test]
async fn what_waits_is_listed_as_scheduled() {
    let world = World::of(vec![takes("f", 0, json!({ "throttle": { "limit": 1, "period": "1h" } }))]).await;
    let events = world.send_all("t/f", [json!({}), json!({})]).await;
    world.ended(&events[0]).await;
    assert_eq!(world.client().runs_of(&events[1]).await.unwrap()[0]["status"], "Scheduled");
    assert_eq!(world.app.calls().len(), 1);
}

#[tokio::test]
async fn each_value_of_a_key_has_a_throttle_of_its_own() {
    let throttle = json!({ "throttle": { "limit": 1, "period": "1s", "key": "event.data.u" } });
    let world = World::of(vec![takes("f", 0, throttle)]).await;
    let began = Instant::now();
    let users = [json!("a"), json!("a"), json!("b"), json!(null), json!(null)];
    let mut data: Vec<Value> = users.iter().map(|user| json!({ "u": user })).collect();
    data.extend([json!({}), json!({})]);
    world.send_all("t/f", data).await;
    let calls = world.calls("f", 7).await;
    let starts = seconds_from(began, &calls);
    assert_starts("keys", &starts, &[0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0]);
    for calls in [&calls[..4], &calls[4..]] {
        let users = data_of(calls, "u");
        assert_eq!(users.iter().filter(|user| *user == "a").count(), 1, "{users:?}");
    }
}

#[tokio::test]
async fn a_key_that_cannot_be_evaluated_is_one_value() {
    // Registered as it is by an app of Kotlin's examples.
    let throttle = json!({ "throttle": { "limit": 1, "period": "700ms", "key": "throttled" } });
    let world = World::of(vec![takes("f", 0, throttle)]).await;
    let began = Instant::now();
    world.send_all("t/f", [json!({}), json!({ "u": 1 })]).await;
    assert_starts("word", &seconds_from(began, &world.calls("f", 2).await), &[0.0, 0.7]);
}

#[tokio::test]
async fn a_changed_throttle_counts_from_the_old_mark_on() {
    let config = |period: &str| json!({ "throttle": { "limit": 1, "period": period } });
    let world = World::of(vec![takes("f", 0, config("2s"))]).await;
    let began = Instant::now();
    world.send_all("t/f", (0..4).map(|n| json!({ "n": n }))).await;
    world.calls("f", 1).await;
    world.reconfigure("f", config("500ms")).await;
    assert_starts("changed", &seconds_from(began, &world.calls("f", 4).await), &[0.0, 2.0, 2.5, 3.0]);
}

#[tokio::test]
async fn a_throttle_that_is_taken_away_holds_up_nobody() {
    let world = World::of(vec![takes("f", 0, json!({ "throttle": { "limit": 1, "period": "1h" } }))]).await;
    let events = world.send_all("t/f", (0..4).map(|n| json!({ "n": n }))).await;
    world.calls("f", 1).await;
    world.reconfigure("f", json!({ "throttle": null })).await;
    world.all_ended(&events).await;
}

#[tokio::test]
async fn only_starts_count() {
    let script = |call: &Call| match (call.memo("one"), call.attempt()) {
        (None, 0) => Answer::error("not yet"),
        (None, _) => Answer::step("one", &json!(1)),
        _ => Answer::Return(json!("done")),
    };
    let throttle = json!({ "throttle": { "limit": 1, "period": "1h" } });
    let world = World::of(vec![StubFunction::new("f", "t/f", script).config(throttle)]).await;
    let run = world.run("t/f", json!({})).await;
    assert_eq!(run["status"], "Completed", "neither the second attempt nor the second call is a start");
}

#[tokio::test]
async fn starts_come_at_their_time_while_others_are_busy() {
    let throttle = json!({ "throttle": { "limit": 1, "period": "50ms" } });
    let world = World::of(vec![takes("f", 0, throttle), takes("load", 0, json!({}))]).await;
    let began = Instant::now();
    world.send_all("t/f", (0..60).map(|n| json!({ "n": n }))).await;
    world.busy_until("f", 60).await;
    let starts = seconds_from(began, &world.calls("f", 60).await);
    // What is late puts off those after it, so each is measured from the one before it.
    let off = starts.windows(2).map(|pair| (pair[1] - pair[0] - 0.05).abs());
    let (half, most) = p50_and_p99(off.collect());
    println!("starts of a throttle under load: p50 {:.2} ms, p99 {:.2} ms off their time", half * 1e3, most * 1e3);
    // A busy machine is no fault of the server; its precision is measured by the benchmark.
    assert!(half < 0.2, "{half} s: {starts:?}");
}
