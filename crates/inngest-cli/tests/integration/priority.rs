//! `priority.run`: who goes before others of the same function.

use std::sync::Arc;

use inngest_testkit::{Answer, Call, StubFunction};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::harness::{World, data_of};

/// In which order events with these data are called, all of which were queued behind one that was called before.
async fn order(priority: &str, limits: Value, data: Vec<Value>) -> Vec<Value> {
    let go = Arc::new(Notify::new());
    let release = Arc::clone(&go);
    let script = move |call: &Call| match call.body["event"]["data"]["n"].as_str() {
        Some("first") => Answer::Until(Arc::clone(&release), Box::new(Answer::Return(json!("done")))),
        _ => Answer::Return(json!("done")),
    };
    let mut config = json!({ "concurrency": 1, "priority": { "run": priority } });
    config.as_object_mut().unwrap().extend(limits.as_object().unwrap().clone());
    let world = World::of(vec![StubFunction::new("f", "t/f", script).config(config)]).await;
    world.send("t/f", json!({ "n": "first", "p": 600 })).await;
    world.calls("f", 1).await;
    let count = data.len();
    let data = data.into_iter().enumerate().map(|(n, data)| json!({ "n": n, "p": data }));
    world.send_all("t/f", data).await;
    go.notify_one();
    data_of(&world.calls("f", count + 1).await[1..], "n")
}

#[tokio::test]
async fn the_most_urgent_goes_first_and_equal_ones_as_they_came() {
    let data = [0, 0, 0, 100, 50, 500, -100].map(|p| json!(p)).to_vec();
    assert_eq!(order("int(event.data.p)", json!({}), data.clone()).await, [5, 3, 4, 0, 1, 2, 6]);
    // Whole numbers of events count as they are.
    assert_eq!(order("event.data.p", json!({}), data).await, [5, 3, 4, 0, 1, 2, 6]);
}

#[tokio::test]
async fn what_is_no_number_is_none() {
    let data = vec![json!("high"), json!(null), json!(1.5), json!("gold")];
    let factor = "event.data.p == 'gold' ? 120 : 0";
    assert_eq!(order(factor, json!({}), data.clone()).await, [3, 0, 1, 2]);
    assert_eq!(order("event.data.p", json!({}), data).await, [0, 1, 2, 3]);
}

#[tokio::test]
async fn more_than_ten_minutes_are_ten_minutes() {
    let data = [600, 601, 43_200, -600, -43_200].map(|p| json!(p)).to_vec();
    assert_eq!(order("int(event.data.p)", json!({}), data).await, [0, 1, 2, 3, 4]);
}

#[tokio::test]
async fn urgency_counts_under_a_throttle_too() {
    let throttle = json!({ "throttle": { "limit": 1, "period": "300ms" } });
    let data = [0, 100, 50].map(|p| json!(p)).to_vec();
    assert_eq!(order("int(event.data.p)", throttle, data).await, [1, 2, 0]);
}

#[tokio::test]
async fn later_steps_of_an_urgent_run_are_urgent() {
    let go = Arc::new(Notify::new());
    let release = Arc::clone(&go);
    let script = move |call: &Call| match (call.body["event"]["data"]["n"].as_u64(), call.memo("one")) {
        (None, _) => Answer::Until(Arc::clone(&release), Box::new(Answer::Return(json!("done")))),
        (Some(_), None) => Answer::step("one", &json!(1)),
        (Some(_), Some(_)) => Answer::Return(json!("done")),
    };
    let config = json!({ "concurrency": 1, "priority": { "run": "int(event.data.p)" } });
    let world = World::of(vec![StubFunction::new("f", "t/f", script).config(config)]).await;
    world.send("t/f", json!({})).await;
    world.calls("f", 1).await;
    world.send_all("t/f", [json!({ "n": 0, "p": 0 }), json!({ "n": 1, "p": 100 })]).await;
    go.notify_one();
    assert_eq!(data_of(&world.calls("f", 5).await[1..], "n"), [1, 1, 0, 0]);
}
