//! `rateLimit` and `idempotency`: events beyond start nothing.

use std::time::Duration;

use inngest_testkit::stub::op;
use inngest_testkit::{Answer, StubFunction};
use serde_json::{Value, json};

use crate::harness::{World, takes};

/// How many of these events start a run, of a function with these options.
async fn admitted(config: Value, data: Vec<Value>) -> Vec<usize> {
    let world = World::of(vec![takes("f", 0, config)]).await;
    let events = world.send_all("t/f", data).await;
    world.started(&events).await
}

fn limit(limit: u32, period: &str) -> Value {
    json!({ "rateLimit": { "limit": limit, "period": period } })
}

#[tokio::test]
async fn a_tenth_of_the_limit_and_one_start_at_once() {
    for (number, expected) in [(1, 1), (5, 1), (10, 2), (25, 3)] {
        let counts = admitted(limit(number, "60s"), vec![json!({}); 12]).await;
        let first: Vec<usize> = (0..12).map(|n| usize::from(n < expected)).collect();
        assert_eq!(counts, first, "the first ones of a limit of {number}");
    }
}

#[tokio::test]
async fn each_value_of_a_key_has_a_limit_of_its_own_and_none_without_it() {
    let users = ["a", "a", "b"].map(|user| json!({ "u": user }));
    let more = [json!({}), json!({}), json!({ "u": null }), json!({ "u": null }), json!({ "u": 5 })];
    let last = [json!({ "u": "5" }), json!({ "u": false }), json!({ "u": false })];
    let config = json!({ "rateLimit": { "limit": 1, "period": "60s", "key": "event.data.u" } });
    let counts = admitted(config, users.into_iter().chain(more).chain(last).collect()).await;
    assert_eq!(counts, [1, 0, 1, 1, 1, 1, 0, 1, 0, 1, 1]);
}

#[tokio::test]
async fn events_beyond_leave_no_run_but_a_reason() {
    let world = World::of(vec![takes("f", 0, limit(1, "60s"))]).await;
    let events = world.send_all("t/f", [json!({}), json!({})]).await;
    world.ended(&events[0]).await;
    assert_eq!(world.client().runs_of(&events[1]).await.unwrap(), Vec::<Value>::new());
    assert_eq!(world.skips(&events[0]).await, Vec::<Value>::new());
    let skips = world.skips(&events[1]).await;
    assert_eq!((skips.len(), &skips[0]["reason"]), (1, &json!("RateLimited")), "{skips:?}");
    assert_eq!(world.client().get(&format!("/v1/events/{}", events[1])).await.unwrap()["data"]["name"], "t/f");
}

#[tokio::test]
async fn one_more_starts_after_each_part_of_the_period() {
    let world = World::of(vec![takes("f", 0, limit(2, "1500ms"))]).await;
    let mut counts = Vec::new();
    // One starts every 0.75 s.
    let began = tokio::time::Instant::now();
    for at in [0, 500, 1_000, 1_300, 2_000] {
        tokio::time::sleep_until(began + Duration::from_millis(at)).await;
        let event = world.send("t/f", json!({})).await;
        counts.extend(world.started(&[event]).await);
    }
    assert_eq!(counts, [1, 0, 1, 0, 1]);
}

#[tokio::test]
async fn a_limit_that_is_changed_goes_on_from_where_it_was() {
    let world = World::of(vec![takes("f", 0, limit(1, "1h"))]).await;
    world.run("t/f", json!({})).await;
    world.reconfigure("f", limit(100, "1h")).await;
    let event = world.send("t/f", json!({})).await;
    assert_eq!(world.started(&[event]).await, [0], "an hour has not passed");
    world.reconfigure("f", json!({ "rateLimit": null })).await;
    assert_eq!(world.run("t/f", json!({})).await["status"], "Completed");
}

#[tokio::test]
async fn an_invoke_of_a_limited_function_fails_at_once() {
    let invoke = |call: &inngest_testkit::Call| match call.memo("child") {
        None => Answer::Ops(json!([op(
            "InvokeFunction",
            "child",
            json!({ "opts": { "function_id": "app-f", "payload": { "data": {} } } })
        )])),
        Some(value) => Answer::Return(value.clone()),
    };
    let world = World::of(vec![takes("f", 0, limit(1, "60s")), StubFunction::new("parent", "t/parent", invoke)]).await;
    assert_eq!(world.run("t/parent", json!({})).await["output"]["data"]["_inngest"]["fn_id"], "app-f");
    let began = std::time::Instant::now();
    let refused = world.run("t/parent", json!({})).await;
    assert_eq!(refused["output"]["error"]["message"], "invoked function is rate limited", "{refused}");
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

#[tokio::test]
async fn an_idempotency_key_starts_one_run_of_each_value() {
    let data = ["a", "b", "a", "b"].map(|order| json!({ "order": order }));
    let counts = admitted(
        json!({ "idempotency": "event.data.order", "rateLimit": { "limit": 1, "period": "60s" } }),
        data.into_iter().chain([json!({}), json!({})]).collect(),
    )
    .await;
    assert_eq!(counts, [1, 1, 0, 0, 1, 1], "it takes the place of the rate limit; without a value there is none");
}

#[tokio::test]
async fn an_event_that_is_sent_again_counts_once() {
    let world = World::of(vec![takes("f", 0, limit(10, "60s"))]).await;
    let mut counts = Vec::new();
    for id in ["one", "one", "one", "two", "three"] {
        let event = world.client().send(&json!({ "name": "t/f", "id": id })).await.unwrap().remove(0);
        counts.extend(world.started(&[event]).await);
    }
    assert_eq!(counts, [1, 0, 0, 1, 0], "two may come at once");
}
