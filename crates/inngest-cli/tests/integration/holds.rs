//! Functions that are paused, drained and resumed.

use std::sync::Arc;
use std::time::Duration;

use inngest_testkit::stub::op;
use inngest_testkit::{Answer, Call, StubFunction, wait_until};
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::sync::Notify;

use crate::harness::{SOON, World, data_of, takes};

/// Tells the server to pause, drain or resume a function.
async fn hold(world: &World, function: &str, verb: &str, body: Value) {
    let reply = world.client().post(&format!("/v1/functions/app-{function}/{verb}"), &body).await.unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
}

fn queue() -> Value {
    json!({ "new_runs": "queue" })
}

fn skip() -> Value {
    json!({ "new_runs": "skip" })
}

/// The one reason why an event has started no run.
async fn reason(world: &World, event: &str) -> Value {
    let skips = world.skips(event).await;
    assert_eq!(skips.len(), 1, "{skips:?}");
    skips[0]["reason"].clone()
}

#[tokio::test]
async fn new_runs_of_a_paused_function_wait_until_it_is_resumed() {
    let world = World::of(vec![takes("f", 0, json!({})), takes("other", 0, json!({}))]).await;
    // Without a choice new runs wait.
    for body in [json!({}), queue()] {
        hold(&world, "f", "pause", body).await;
        let before = world.app.calls_of("f").len();
        let events = world.send_all("t/f", [json!({ "n": 1 }), json!({ "n": 2 })]).await;
        world.run("t/other", json!({})).await;
        for event in &events {
            assert_eq!(world.client().runs_of(event).await.unwrap()[0]["status"], "Scheduled");
        }
        assert_eq!(world.app.calls_of("f").len(), before);
        hold(&world, "f", "resume", json!({})).await;
        world.all_ended(&events).await;
    }
}

#[tokio::test]
async fn new_runs_of_a_paused_function_are_skipped_if_so_chosen() {
    let world = World::of(vec![takes("f", 0, json!({}))]).await;
    hold(&world, "f", "pause", queue()).await;
    let queued = world.send("t/f", json!({})).await;
    hold(&world, "f", "pause", skip()).await;
    let skipped = world.send("t/f", json!({})).await;
    assert_eq!(reason(&world, &skipped).await, "FunctionPaused");
    let listed = world.client().get("/v1/runs?status=Skipped").await.unwrap();
    assert_eq!(listed["data"].as_array().map(Vec::len), Some(1), "{listed}");
    hold(&world, "f", "resume", json!({})).await;
    world.ended(&queued).await;
    assert_eq!(world.app.calls().len(), 1);
    world.run("t/f", json!({})).await;
}

#[tokio::test]
async fn a_call_in_flight_counts_and_nothing_follows_until_the_function_is_resumed() {
    let go = Arc::new(Notify::new());
    let release = Arc::clone(&go);
    let script = move |call: &Call| match call.memo("one") {
        None => Answer::Until(Arc::clone(&release), Box::new(Answer::step("one", &json!(1)))),
        Some(_) => Answer::Return(json!("done")),
    };
    let nap = |call: &Call| match call.memo("nap") {
        None => Answer::Ops(json!([op("Sleep", "nap", json!({ "name": "500ms" }))])),
        Some(_) => Answer::Return(json!("awake")),
    };
    let world = World::of(vec![StubFunction::new("f", "t/f", script), StubFunction::new("nap", "t/nap", nap)]).await;
    let (event, asleep) = (world.send("t/f", json!({})).await, world.send("t/nap", json!({})).await);
    world.pending(&asleep, "Sleeping").await;
    let run = world.run_of(&event).await;
    world.call("f", 0).await;
    for function in ["f", "nap"] {
        hold(&world, function, "pause", queue()).await;
    }
    go.notify_one();
    let path = format!("/v1/runs/{run}/actions");
    wait_until("the step is kept", SOON, async || {
        let actions = world.client().get(&path).await.ok()?;
        actions["data"].as_array()?.iter().any(|step| step["status"] == "Completed").then_some(())
    })
    .await
    .unwrap();
    tokio::time::sleep(Duration::from_millis(800)).await; // The sleep ends, and nobody is called.
    assert_eq!(world.app.calls().len(), 2);
    for function in ["f", "nap"] {
        hold(&world, function, "resume", json!({})).await;
    }
    assert_eq!(world.ended(&event).await["output"], "done");
    assert_eq!(world.ended(&asleep).await["output"], "awake");
}

#[tokio::test]
async fn a_draining_function_finishes_what_it_has() {
    let script = |call: &Call| match call.memo("nap") {
        None => Answer::Ops(json!([op("Sleep", "nap", json!({ "name": "500ms" }))])),
        Some(_) => Answer::Return(json!("awake")),
    };
    let world = World::of(vec![StubFunction::new("f", "t/f", script)]).await;
    let before = world.send("t/f", json!({})).await;
    world.pending(&before, "Sleeping").await;
    hold(&world, "f", "drain", json!({})).await;
    let skipped = world.send("t/f", json!({})).await;
    assert_eq!(reason(&world, &skipped).await, "FunctionDrained");
    assert_eq!(world.ended(&before).await["output"], "awake");
    hold(&world, "f", "resume", json!({})).await;
    world.run("t/f", json!({})).await;
}

#[tokio::test]
async fn holds_survive_a_crash_and_a_sync() {
    let config = json!({});
    let functions = ["paused", "skipping", "draining"].map(|id| takes(id, 0, config.clone()));
    let world = World::of(functions.to_vec()).await;
    hold(&world, "paused", "pause", queue()).await;
    hold(&world, "skipping", "pause", skip()).await;
    hold(&world, "draining", "drain", json!({})).await;
    let world = world.kill_and_restart().await;
    world.reconfigure("paused", json!({ "concurrency": 3 })).await;
    let queued = world.send("t/paused", json!({})).await;
    for (id, expected) in [("skipping", "FunctionPaused"), ("draining", "FunctionDrained")] {
        assert_eq!(reason(&world, &world.send(&format!("t/{id}"), json!({})).await).await, expected);
    }
    assert_eq!(world.client().runs_of(&queued).await.unwrap()[0]["status"], "Scheduled");
    hold(&world, "paused", "resume", json!({})).await;
    world.ended(&queued).await;
}

#[tokio::test]
async fn what_is_gathered_or_throttled_waits_for_the_function_too() {
    let batch = StubFunction::new("batch", "t/batch", |call| {
        Answer::Return(json!(call.body["events"].as_array().map(Vec::len)))
    })
    .config(json!({ "batchEvents": { "maxSize": 2, "timeout": "1h" } }));
    let limited = json!({ "concurrency": 1, "priority": { "run": "int(event.data.n)" } });
    let world = World::of(vec![
        batch,
        takes("debounce", 0, json!({ "debounce": { "period": "1s" } })),
        takes("throttle", 0, json!({ "throttle": { "limit": 1, "period": "500ms" } })),
        takes("limited", 0, limited),
        takes("singleton", 0, json!({ "singleton": { "mode": "skip" } })),
    ])
    .await;
    let all = ["batch", "debounce", "throttle", "limited", "singleton"];
    let mut events = Vec::new();
    for id in all {
        hold(&world, id, "pause", queue()).await;
        events.push(world.send_all(&format!("t/{id}"), [json!({ "n": 1 }), json!({ "n": 2 })]).await);
    }
    tokio::time::sleep(Duration::from_millis(1_200)).await; // The debounce ends, and nobody is called.
    assert_eq!(world.app.calls().len(), 0);
    for id in all {
        hold(&world, id, "resume", json!({})).await;
    }
    assert_eq!(world.ended(&events[0][0]).await["output"], 2);
    assert_eq!(data_of(&world.calls("debounce", 1).await, "n"), [2]);
    let calls = world.calls("throttle", 2).await;
    assert!(calls[1].span.from - calls[0].span.from > Duration::from_millis(300), "the time before did not count");
    assert_eq!(data_of(&world.calls("limited", 2).await, "n"), [2, 1]);
    assert_eq!(world.started(&events[4]).await, [1, 0]);
}

#[tokio::test]
async fn an_invoke_of_a_function_that_takes_no_runs_fails_at_once() {
    let invoke = |call: &Call| match call.memo("child") {
        None => Answer::Ops(json!([op(
            "InvokeFunction",
            "child",
            json!({ "opts": { "function_id": "app-f", "payload": { "data": {} } } })
        )])),
        Some(value) => Answer::Return(value.clone()),
    };
    let world = World::of(vec![takes("f", 0, json!({})), StubFunction::new("parent", "t/parent", invoke)]).await;
    for (verb, body, expected) in [
        ("pause", skip(), "invoked function was skipped (paused)"),
        ("drain", json!({}), "invoked function was skipped (draining)"),
    ] {
        hold(&world, "f", verb, body).await;
        assert_eq!(world.run("t/parent", json!({})).await["output"]["error"]["message"], expected);
    }
}

#[tokio::test]
async fn what_cannot_be_held_is_refused() {
    let world = World::of(vec![takes("f", 0, json!({}))]).await;
    let status = async |path: &str, body: Value| world.client().post(path, &body).await.unwrap().status;
    assert_eq!(status("/v1/functions/app-unknown/pause", queue()).await, 404);
    assert_eq!(status("/v1/functions/app-f/pause", json!({ "new_runs": "burn" })).await, 400);
    assert_eq!(status("/v1/functions/app-f/pause", json!({ "new_run": "skip" })).await, 400);
    assert_eq!(status("/v1/functions/app-f/resume", json!({})).await, 200, "it is not held, and that is so already");
}

#[tokio::test]
async fn the_command_holds_functions_too() {
    let world = World::of(vec![takes("f", 0, json!({}))]).await;
    let functions = async |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_inngest"));
        command.arg("functions").args(arguments).args(["app-f", "--url", world.client().base()]);
        let output = command.output().await.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(functions(&["pause", "--new-runs", "skip"]).await, "app-f is paused; new runs are skipped.\n");
    assert_eq!(reason(&world, &world.send("t/f", json!({})).await).await, "FunctionPaused");
    assert!(functions(&["drain"]).await.starts_with("app-f is draining"));
    assert_eq!(reason(&world, &world.send("t/f", json!({})).await).await, "FunctionDrained");
    assert_eq!(functions(&["resume"]).await, "app-f goes on.\n");
    world.run("t/f", json!({})).await;
}
