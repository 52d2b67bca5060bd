//! Why a run waits: through the API and on the command line.

use std::sync::Arc;

use inngest_testkit::stub::op;
use inngest_testkit::{Answer, StubFunction, wait_until};
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::sync::Notify;

use crate::harness::{SOON, World, takes};

async fn explained(world: &World, run: &str) -> Value {
    world.client().get(&format!("/v1/runs/{run}/explain")).await.unwrap()["data"].clone()
}

/// What the run of an event waits for, once that is of this kind.
async fn cause(world: &World, event: &str, kind: &str) -> Value {
    let run = world.run_of(event).await;
    let found = wait_until(kind, SOON, async || {
        let jobs = explained(world, &run).await["jobs"].as_array().cloned().unwrap_or_default();
        jobs.into_iter().map(|job| job["cause"].clone()).find(|cause| cause["kind"] == kind)
    });
    match found.await {
        Ok(cause) => cause,
        Err(error) => panic!("{error:#}\n{}\n{}", explained(world, &run).await, world.server.log()),
    }
}

/// Answers when it is let go.
fn held(id: &str, go: &Arc<Notify>, config: Value) -> StubFunction {
    let go = Arc::clone(go);
    StubFunction::new(id, &format!("t/{id}"), move |_| {
        Answer::Until(Arc::clone(&go), Box::new(Answer::Return(json!("done"))))
    })
    .config(config)
}

#[tokio::test]
async fn a_limit_tells_who_holds_it_and_who_goes_before() {
    let go = Arc::new(Notify::new());
    let key = "event.data.u";
    let world = World::of(vec![
        held("calls", &go, json!({ "concurrency": { "limit": 1, "key": key } })),
        held("runs", &go, json!({ "concurrency": { "fn": [{ "limit": 1 }] } })),
        held("shared", &go, json!({ "concurrency": [{ "limit": 1, "key": "'all'", "scope": "env" }] })),
    ])
    .await;
    for (id, of, scope, keyed) in [
        ("calls", "calls", "fn", json!({ "expression": key, "value": "a" })),
        ("runs", "runs", "fn", json!(null)),
        ("shared", "calls", "env", json!({ "expression": "'all'", "value": "all" })),
    ] {
        let events = world.send_all(&format!("t/{id}"), vec![json!({ "u": "a" }); 3]).await;
        let holder = world.call(id, 0).await.run().to_owned();
        assert_eq!(cause(&world, &events[0], "running").await["kind"], "running");
        for (event, position) in [(&events[1], 1), (&events[2], 2)] {
            let cause = cause(&world, event, "concurrency").await;
            assert_eq!(
                (&cause["of"], &cause["scope"], &cause["limit"], &cause["in_use"]),
                (&json!(of), &json!(scope), &json!(1), &json!(1)),
                "{cause}"
            );
            assert_eq!((&cause["holders"], &cause["key"]), (&json!([holder]), &keyed), "{cause}");
            assert_eq!(cause["position"], position, "{cause}");
        }
    }
}

#[tokio::test]
async fn a_throttle_tells_when_the_next_run_starts() {
    let world = World::of(vec![takes("f", 0, json!({ "throttle": { "limit": 1, "period": "1h" } }))]).await;
    let events = world.send_all("t/f", vec![json!({}); 3]).await;
    world.ended(&events[0]).await;
    let (second, third) = (cause(&world, &events[1], "throttle").await, cause(&world, &events[2], "throttle").await);
    assert_eq!((&second["position"], &third["position"]), (&json!(1), &json!(2)));
    assert_eq!((&second["next_at"], &second["expected_at"]), (&third["next_at"], &second["next_at"]));
    assert!(third["expected_at"].as_str() > second["expected_at"].as_str(), "{third} an hour after {second}");
}

#[tokio::test]
async fn what_waits_for_its_time_or_for_its_operator_says_so() {
    let nap = |_: &inngest_testkit::Call| Answer::Ops(json!([op("Sleep", "nap", json!({ "name": "1h" }))]));
    let busy = |_: &inngest_testkit::Call| Answer::Sdk {
        status: 429,
        headers: vec![("retry-after".into(), "3600".into())],
        body: "{}".into(),
    };
    let world = World::of(vec![
        StubFunction::new("nap", "t/nap", nap),
        StubFunction::new("busy", "t/busy", busy),
        takes("paused", 0, json!({})),
    ])
    .await;
    let adaptive = json!({ "adaptive": ["app-busy"] }).to_string();
    let headers = [("content-type", "application/json")];
    assert_eq!(world.client().request("PUT", "/v1/flow-control", &headers, adaptive).await.unwrap().status, 200);
    let pause = "/v1/functions/app-paused/pause";
    assert_eq!(world.client().post(pause, &json!({})).await.unwrap().status, 200);
    let asleep = world.send("t/nap", json!({})).await;
    assert!(cause(&world, &asleep, "later").await["expected_at"].is_string());
    let paused = world.send("t/paused", json!({})).await;
    cause(&world, &paused, "paused").await;
    world.pending(&world.send("t/busy", json!({})).await, "Errored").await;
    let second = world.send("t/busy", json!({})).await;
    assert!(cause(&world, &second, "overload").await["until"].is_string());
}

#[tokio::test]
async fn the_command_tells_the_same_in_words() {
    let go = Arc::new(Notify::new());
    let world = World::of(vec![held("f", &go, json!({ "concurrency": { "limit": 1, "key": "event.data.u" } }))]).await;
    let events = world.send_all("t/f", vec![json!({ "u": "a" }); 2]).await;
    let holder = world.call("f", 0).await.run().to_owned();
    cause(&world, &events[1], "concurrency").await;
    let run = world.run_of(&events[1]).await;
    let explain = async |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_inngest"));
        command.args(["explain", "--url", world.client().base()]).args(arguments);
        let output = command.output().await.unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, text, _) = explain(&[&run]).await;
    assert_eq!(code, Some(0), "{text}");
    for part in ["app-f", "1 of 1 calls for event.data.u = \"a\" are in use", &holder] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    let (code, text, _) = explain(&["--json", &run]).await;
    let told: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &told["run_id"]), (Some(0), &json!(run)));
    assert_eq!(told, explained(&world, &run).await);
    go.notify_waiters();
    world.ended(&events[0]).await;
    assert_eq!(explained(&world, &holder).await["jobs"], json!([]));
    let (code, _, problem) = explain(&["01JQDAE4RQF8MBCR55T5AK4KXS"]).await;
    assert_eq!(code, Some(1), "{problem}");
}

#[tokio::test]
async fn an_event_tells_what_became_of_it() {
    let also = |id: &str, config| takes(id, 0, config).triggers(json!([{ "event": "t/all" }]));
    let world = World::of(vec![
        also("plain", json!({})),
        also("batch", json!({ "batchEvents": { "maxSize": 3, "timeout": "1h" } })),
        also("debounce", json!({ "debounce": { "period": "1h" } })),
        also("rate", json!({ "rateLimit": { "limit": 1, "period": "1h" } })),
    ])
    .await;
    let events = world.send_all("t/all", vec![json!({}); 2]).await;
    world.calls("plain", 2).await;
    world.calls("rate", 1).await;
    let reply = world.client().get(&format!("/v1/events/{}/explain", events[1])).await.unwrap();
    let told = reply["data"]["functions"].as_array().unwrap();
    let of = |slug: &str| told.iter().find(|function| function["function_slug"] == slug).unwrap();
    assert_eq!((told.len(), of("app-plain")["runs"].as_array().unwrap().len()), (4, 1), "{reply}");
    assert_eq!(of("app-rate")["skips"][0]["reason"], "RateLimited");
    let batch = &of("app-batch")["gatherings"][0];
    assert_eq!((&batch["kind"], &batch["count"], &batch["event_ids"]), (&json!("batch"), &json!(2), &json!(events)));
    assert!(batch["starts_at"].as_str() > batch["first_at"].as_str(), "{batch}");
    assert_eq!(of("app-debounce")["gatherings"][0]["kind"], "debounce");
    let listed = world.client().get("/v1/functions/app-batch/gatherings?limit=1").await.unwrap();
    assert_eq!((&listed["data"], &listed["page"]["has_more"]), (&json!([batch]), &json!(false)));
    let output = Command::new(env!("CARGO_BIN_EXE_inngest"))
        .args(["explain", "--url", world.client().base(), &events[1]])
        .output()
        .await
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && text.contains("It waits in a batch of 2 events so far"), "{text}");
}
