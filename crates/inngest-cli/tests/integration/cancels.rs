//! Cancellation of runs in every state, and what becomes of their relatives.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use inngest_testkit::stub::{op, step_id};
use inngest_testkit::{Answer, Call, StubFunction, wait_until};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::harness::{SOON, World};

fn now_ms() -> u64 {
    u64::try_from(SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap()
}

/// A function whose first answer is these ops; it returns when it is called again.
fn one(id: &str, ops: Value) -> StubFunction {
    StubFunction::new(id, &format!("t/{id}"), move |call: &Call| {
        let known = call.body["steps"].as_object().is_some_and(|steps| !steps.is_empty());
        if known { Answer::Return(json!("went on")) } else { Answer::Ops(ops.clone()) }
    })
}

async fn cancel(world: &World, run: &str) -> u16 {
    world.client().request("DELETE", &format!("/v1/runs/{run}"), &[], "").await.unwrap().status
}

#[tokio::test]
async fn a_run_is_cancelled_whatever_it_is_at() {
    let go = Arc::new(Notify::new());
    let release = Arc::clone(&go);
    let targeted = Arc::clone(&go);
    let invoke = json!({ "opts": { "function_id": "app-child", "payload": { "data": {} } } });
    let signal = json!({ "opts": { "signal": "s", "timeout": "1h" } });
    let world = World::of(vec![
        one("sleep", json!([op("Sleep", "a", json!({ "name": "1h" }))])),
        one("wait", json!([op("WaitForEvent", "a", json!({ "name": "t/go", "opts": { "timeout": "1h" } }))])),
        one("signal", json!([op("WaitForSignal", "a", signal)])),
        one("invoke", json!([op("InvokeFunction", "a", invoke)])),
        StubFunction::new("retry", "t/retry", |_| {
            let headers = vec![("retry-after".into(), "3600".into())];
            Answer::Sdk { status: 500, headers, body: "{}".into() }
        }),
        StubFunction::new("flight", "t/flight", move |_| {
            Answer::Until(Arc::clone(&release), Box::new(Answer::step("a", &json!(1))))
        }),
        // One branch asleep, one in flight.
        StubFunction::new("block", "t/block", move |call| {
            if call.step == step_id("p") {
                return Answer::Until(Arc::clone(&targeted), Box::new(Answer::step("p", &json!(1))));
            }
            Answer::Ops(json!([op("StepPlanned", "p", json!({})), op("Sleep", "s", json!({ "name": "1h" }))]))
        }),
        StubFunction::new("later", "t/later", |_| Answer::Return(json!("too late"))),
        one("child", json!([op("Sleep", "a", json!({ "name": "1h" }))])).triggers(json!([])),
        StubFunction::new("heard", "inngest/function.cancelled", |call| {
            Answer::Return(json!([call.body["event"]["id"], call.body["event"]["data"]]))
        }),
        StubFunction::new("failed", "inngest/function.failed", |_| Answer::Return(json!(1))),
    ])
    .await;
    let later = json!({ "name": "t/later", "ts": now_ms() + 3_600_000 });
    let mut runs = vec![world.run_of(&world.client().send(&later).await.unwrap()[0]).await];
    for (id, status) in [
        ("sleep", "Sleeping"),
        ("wait", "Waiting"),
        ("signal", "Waiting"),
        ("invoke", "Invoking"),
        ("retry", "Errored"),
        ("block", "Sleeping"),
    ] {
        runs.push(world.pending(&world.send(&format!("t/{id}"), json!({})).await, status).await);
    }
    let event = world.send("t/flight", json!({})).await;
    world.call("flight", 0).await;
    runs.push(world.run_of(&event).await);
    world.call("block", 1).await;
    world.call("child", 0).await;
    for run in &runs {
        assert_eq!([cancel(&world, run).await, cancel(&world, run).await], [200, 200], "{run}");
        let shown = world.client().get(&format!("/v1/runs/{run}")).await.unwrap()["data"].clone();
        assert_eq!((&shown["status"], &shown["output"]), (&json!("Cancelled"), &json!({})), "at once: {shown}");
        assert!(shown["ended_at"].is_string(), "{shown}");
        let actions = world.client().get(&format!("/v1/runs/{run}/jobs")).await.unwrap();
        assert_eq!(actions["data"], json!([]), "nothing is left to do: {actions}");
    }
    let before = world.app.calls().iter().filter(|call| call.function != "app-heard").count();
    // What they waited for comes; what was in flight answers; none of it is heard.
    world.send("t/go", json!({})).await;
    let nobody = world.client().post("/v1/signals", &json!({ "signal": "s", "data": 1 })).await.unwrap();
    assert_eq!(nobody.status, 404, "{}", nobody.text());
    go.notify_waiters();
    let told = wait_until("all are told", SOON, async || {
        let found = "/v1/runs?function=app-heard&include_output=true&limit=100";
        let found = world.client().get(found).await.ok()?["data"].as_array()?.clone();
        (found.iter().filter(|run| run["status"] == "Completed").count() == runs.len()).then_some(found)
    })
    .await
    .unwrap();
    let mut ids: Vec<&str> = told.iter().map(|run| run["output"][0].as_str().unwrap()).collect();
    ids.sort_unstable();
    let mut expected: Vec<&str> = runs.iter().map(String::as_str).collect();
    expected.sort_unstable();
    assert_eq!(ids, expected, "each once, with the id of its run");
    for run in &told {
        let data = &run["output"][1];
        assert_eq!(
            (&data["_inngest"], data.get("result"), data.get("error")),
            (&json!({ "status": "Cancelled" }), None, None)
        );
    }
    assert_eq!(world.app.calls_of("failed").len(), 0, "a cancelled run did not fail");
    let after = world.app.calls().iter().filter(|call| call.function != "app-heard").count();
    assert_eq!(after, before, "nobody is called for them any more");
    // The child of a cancelled parent goes on.
    let children = world.client().get("/v1/runs?function=app-child").await.unwrap();
    assert_eq!(children["data"][0]["status"], "Running");
    assert!(!world.server.log().contains("ERROR"), "{}", world.server.log());
}

#[tokio::test]
async fn a_cancelled_parent_hears_nothing_of_its_child() {
    let go = Arc::new(Notify::new());
    let release = Arc::clone(&go);
    let invoke = json!({ "opts": { "function_id": "app-child" } });
    let world = World::of(vec![
        one("parent", json!([op("InvokeFunction", "a", invoke)])),
        StubFunction::new("child", "x", move |_| {
            Answer::Until(Arc::clone(&release), Box::new(Answer::Return(json!("late"))))
        }),
    ])
    .await;
    let event = world.send("t/parent", json!({})).await;
    let parent = world.pending(&event, "Invoking").await;
    world.call("child", 0).await;
    assert_eq!(cancel(&world, &parent).await, 200);
    go.notify_one();
    wait_until("the end of the child", SOON, async || {
        let runs = world.client().get("/v1/runs?function=app-child").await.ok()?;
        (runs["data"][0]["status"] == "Completed").then_some(())
    })
    .await
    .unwrap();
    assert_eq!(world.client().runs_of(&event).await.unwrap()[0]["status"], "Cancelled");
    assert_eq!(world.app.calls_of("parent").len(), 1);
}

#[tokio::test]
async fn events_cancel_runs_whatever_they_are_at() {
    let go = Arc::new(Notify::new());
    let release = Arc::clone(&go);
    let stop = json!({ "cancel": [{ "event": "t/stop", "if": "event.data.u == async.data.u" }] });
    let world = World::of(vec![
        one("sleep", json!([op("Sleep", "a", json!({ "name": "1h" }))])).config(stop.clone()),
        one("wait", json!([op("WaitForEvent", "a", json!({ "name": "t/go", "opts": { "timeout": "1h" } }))]))
            .config(stop.clone()),
        StubFunction::new("flight", "t/flight", move |_| {
            Answer::Until(Arc::clone(&release), Box::new(Answer::step("a", &json!(1))))
        })
        .config(stop.clone()),
        StubFunction::new("later", "t/later", |_| Answer::Return(json!(1))).config(stop),
    ])
    .await;
    let mut events = Vec::new();
    for id in ["sleep", "wait", "flight", "later"] {
        let ts = if id == "later" { now_ms() + 3_600_000 } else { now_ms() };
        let body = json!({ "name": format!("t/{id}"), "data": { "u": 1 }, "ts": ts });
        events.push(world.client().send(&body).await.unwrap().remove(0));
    }
    world.pending(&events[0], "Sleeping").await;
    world.pending(&events[1], "Waiting").await;
    world.call("flight", 0).await;
    world.send("t/stop", json!({ "u": 2 })).await;
    world.send("t/stop", json!({})).await;
    for event in &events {
        let status = world.client().runs_of(event).await.unwrap()[0]["status"].clone();
        assert!(status == "Running" || status == "Scheduled", "{status}");
    }
    let began = std::time::Instant::now();
    world.send("t/stop", json!({ "u": 1 })).await;
    for event in &events {
        assert_eq!(world.ended(event).await["status"], "Cancelled");
    }
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    go.notify_waiters();
}

#[tokio::test]
async fn a_timeout_of_a_cancellation_may_be_quoted_twice() {
    // As the SDK for Kotlin sends it.
    let cancel = json!({ "cancel": [{ "event": "t/stop", "timeout": "\"1h\"" }] });
    let world = World::of(vec![one("f", json!([op("Sleep", "a", json!({ "name": "1h" }))])).config(cancel)]).await;
    let event = world.send("t/f", json!({})).await;
    world.pending(&event, "Sleeping").await;
    world.send("t/stop", json!({})).await;
    assert_eq!(world.ended(&event).await["status"], "Cancelled");
}
