//! `singleton`: one run of a key at a time.

use std::time::Duration;

use inngest_testkit::stub::op;
use inngest_testkit::{Answer, Call, StubFunction};
use serde_json::{Value, json};

use crate::harness::{World, takes};

fn mode(mode: &str) -> Value {
    json!({ "singleton": { "mode": mode, "key": "event.data.u" } })
}

/// Sleeps until it is cancelled, unless its event says how else to end.
fn sleeper(config: Value) -> StubFunction {
    let script = |call: &Call| match call.body["event"]["data"]["end"].as_str() {
        Some("fails") => Answer::fatal("on purpose"),
        Some("returns") => Answer::Return(json!("done")),
        _ => Answer::Ops(json!([op("Sleep", "nap", json!({ "name": "1h" }))])),
    };
    StubFunction::new("f", "t/f", script).config(config)
}

#[tokio::test]
async fn a_second_run_is_skipped_while_the_first_goes_on() {
    let world = World::of(vec![takes("f", 1_500, mode("skip"))]).await;
    let mut events = Vec::new();
    for pause in [0, 200, 200] {
        tokio::time::sleep(Duration::from_millis(pause)).await;
        events.push(world.send("t/f", json!({ "u": "a" })).await);
    }
    let first = world.ended(&events[0]).await;
    assert_eq!(first["status"], "Completed");
    assert_eq!(world.started(&events).await, [1, 0, 0]);
    for event in &events[1..] {
        let skips = world.skips(event).await;
        assert_eq!(skips.len(), 1, "{skips:?}");
        assert_eq!((&skips[0]["reason"], &skips[0]["existing_run_id"]), (&json!("Singleton"), &first["run_id"]));
    }
    let listed = world.client().get("/v1/runs?status=Skipped").await.unwrap();
    assert_eq!(listed["data"].as_array().map(Vec::len), Some(2), "{listed}");
    assert_eq!(world.app.calls().len(), 1);
    assert_eq!(world.run("t/f", json!({ "u": "a" })).await["status"], "Completed", "it has ended");
}

#[tokio::test]
async fn the_run_that_goes_on_is_cancelled_for_the_next_one() {
    let world = World::of(vec![
        takes("f", 1_500, mode("cancel")),
        StubFunction::new("heard", "inngest/function.cancelled", |call| {
            Answer::Return(call.body["event"]["data"]["run_id"].clone())
        }),
    ])
    .await;
    let mut events = Vec::new();
    for pause in [0, 200, 200] {
        tokio::time::sleep(Duration::from_millis(pause)).await;
        events.push(world.send("t/f", json!({ "u": "a" })).await);
    }
    let runs = world.all_ended(&events).await;
    let statuses: Vec<&str> = runs.iter().map(|run| run["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["Cancelled", "Cancelled", "Completed"]);
    let mut heard: Vec<Value> =
        world.calls("heard", 2).await.iter().map(|call| call.body["event"]["data"]["run_id"].clone()).collect();
    heard.sort_by_key(Value::to_string);
    let mut cancelled = [runs[0]["run_id"].clone(), runs[1]["run_id"].clone()];
    cancelled.sort_by_key(Value::to_string);
    assert_eq!(heard, cancelled);
}

#[tokio::test]
async fn other_values_of_the_key_and_none_are_no_obstacle() {
    for name in ["skip", "cancel", "Skip"] {
        let world = World::of(vec![takes("f", 300, mode(name))]).await;
        let data = [json!({ "u": "a" }), json!({ "u": "b" }), json!({}), json!({}), json!({ "u": false })];
        let events = world.send_all("t/f", data).await;
        for run in world.all_ended(&events).await {
            assert_eq!(run["status"], "Completed", "{name}: {run}");
        }
    }
}

#[tokio::test]
async fn without_a_key_there_is_one_run_of_the_function() {
    for config in [json!({ "mode": "skip" }), json!({})] {
        let world = World::of(vec![takes("f", 300, json!({ "singleton": config }))]).await;
        let events = world.send_all("t/f", [json!({ "u": "a" }), json!({ "u": "b" })]).await;
        world.ended(&events[0]).await;
        assert_eq!(world.started(&events).await, [1, 0], "skip, unless another mode is named");
    }
}

#[tokio::test]
async fn a_run_that_waits_is_in_the_way_and_one_that_has_ended_is_not() {
    let world = World::of(vec![sleeper(mode("skip"))]).await;
    for end in ["fails", "returns"] {
        world.run("t/f", json!({ "u": "a", "end": end })).await;
    }
    let asleep = world.send("t/f", json!({ "u": "a" })).await;
    let run = world.pending(&asleep, "Sleeping").await;
    let second = world.send("t/f", json!({ "u": "a", "end": "returns" })).await;
    assert_eq!(world.started(&[second]).await, [0]);
    world.client().request("DELETE", &format!("/v1/runs/{run}"), &[], "").await.unwrap();
    assert_eq!(world.run("t/f", json!({ "u": "a", "end": "returns" })).await["status"], "Completed");
}

#[tokio::test]
async fn a_run_of_the_future_is_in_the_way_too() {
    let world = World::of(vec![takes("f", 0, mode("skip"))]).await;
    let at = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap() + Duration::from_secs(3_600);
    let later = json!({ "name": "t/f", "data": { "u": "a" }, "ts": u64::try_from(at.as_millis()).unwrap() });
    world.client().send(&later).await.unwrap();
    let event = world.send("t/f", json!({ "u": "a" })).await;
    assert_eq!(world.started(&[event]).await, [0]);
}

#[tokio::test]
async fn many_at_once_leave_one_run() {
    for (name, expected) in [("skip", "Skipped"), ("cancel", "Cancelled")] {
        let world = World::of(vec![sleeper(mode(name))]).await;
        let events = world.send_all("t/f", (0..20).map(|_| json!({ "u": "a" }))).await;
        let survivor = if name == "skip" { 0 } else { 19 };
        world.pending(&events[survivor], "Sleeping").await;
        let listed = world.client().get(&format!("/v1/runs?status={expected}&limit=100")).await.unwrap();
        assert_eq!(listed["data"].as_array().map(Vec::len), Some(19), "{name}");
    }
}

#[tokio::test]
async fn an_invoke_of_a_function_that_is_busy_fails_at_once() {
    let invoke = |call: &Call| match call.memo("child") {
        None => Answer::Ops(json!([op(
            "InvokeFunction",
            "child",
            json!({ "opts": { "function_id": "app-f", "payload": { "data": { "u": "a" } } } })
        )])),
        Some(value) => Answer::Return(value.clone()),
    };
    let world = World::of(vec![sleeper(mode("skip")), StubFunction::new("parent", "t/parent", invoke)]).await;
    world.pending(&world.send("t/f", json!({ "u": "a" })).await, "Sleeping").await;
    let refused = world.run("t/parent", json!({})).await;
    assert_eq!(refused["output"]["error"]["message"], "invoked function was skipped (singleton)", "{refused}");
}
