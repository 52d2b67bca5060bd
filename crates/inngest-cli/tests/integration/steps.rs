//! Steps: memos, order, parallel plans, sleeps, retries.

use std::time::{Duration, Instant};

use inngest_testkit::stub::{op, step_id};
use inngest_testkit::{Answer, Call, StubFunction};
use serde_json::{Value, json};

use crate::harness::{World, attempts};

fn sequence(call: &Call) -> Answer {
    for name in ["a", "b", "c"] {
        if call.memo(name).is_none() {
            return Answer::step(name, &json!({ "step": name }));
        }
    }
    Answer::Return(json!({ "sum": 3 }))
}

#[tokio::test]
async fn a_function_without_steps_returns() {
    let world = World::of(vec![StubFunction::new("hello", "t/hello", |call| {
        Answer::Return(json!({ "hi": call.body["event"]["data"]["who"] }))
    })])
    .await;
    let run = world.run("t/hello", json!({ "who": "ana" })).await;
    assert_eq!((&run["status"], &run["output"]), (&json!("Completed"), &json!({ "hi": "ana" })));
    let calls = world.app.calls();
    assert_eq!(calls.len(), 1);
    let call = &calls[0];
    assert_eq!(call.target, "/api/inngest?fnId=app-hello&stepId=step");
    let header = |name: &str| call.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    assert_eq!(header("x-inngest-req-version").as_deref(), Some("-1"));
    assert_eq!(header("x-inngest-generation-id").as_deref(), Some("1"));
    assert_eq!(header("x-run-id").as_deref(), run["run_id"].as_str());
    assert_eq!(header("user-agent").as_deref(), Some("Inngest"));
    let body = &call.body;
    assert_eq!(body["ctx"]["max_attempts"], 5);
    assert_eq!(body["event"]["user"], json!({}));
    assert_eq!(body["events"][0], body["event"]);
    assert_eq!((&body["version"], &body["use_api"], &body["steps"]), (&json!(-1), &json!(false), &json!({})));
    assert_eq!(serde_json::to_string(body).unwrap().as_bytes(), &call.raw[..], "canonical on the wire");
}

#[tokio::test]
async fn sequential_steps_are_memoised_in_order() {
    let world = World::of(vec![StubFunction::new("steps", "t/steps", sequence)]).await;
    let run = world.run("t/steps", json!({})).await;
    assert_eq!(run["output"], json!({ "sum": 3 }));
    let calls = world.app.calls();
    assert_eq!(calls.len(), 4);
    let last = &calls[3].body;
    assert_eq!(last["steps"][step_id("b")], json!({ "data": { "step": "b" } }));
    assert_eq!(last["ctx"]["stack"], json!({ "current": 3, "stack": [step_id("a"), step_id("b"), step_id("c")] }));
    assert_eq!(last["version"], 2);
    let id = run["run_id"].as_str().unwrap();
    let actions = world.client().get(&format!("/v1/runs/{id}/actions")).await.unwrap();
    assert_eq!(actions["data"].as_array().map(Vec::len), Some(3), "{actions}");
}

#[tokio::test]
async fn a_sleep_wakes_at_its_time() {
    let world = World::of(vec![StubFunction::new("nap", "t/nap", |call| match call.memo("nap") {
        None => Answer::Ops(json!([op("Sleep", "nap", json!({ "name": "1s" }))])),
        Some(value) => Answer::Return(json!({ "value": value })),
    })])
    .await;
    let began = Instant::now();
    let run = world.run("t/nap", json!({})).await;
    assert_eq!(run["output"], json!({ "value": null }));
    assert!((1.0..3.0).contains(&began.elapsed().as_secs_f64()), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_sleep_longer_than_a_year_fails_the_run_by_name() {
    let world = World::of(vec![StubFunction::new("nap", "t/nap", |_| {
        Answer::Ops(json!([op("Sleep", "nap", json!({ "name": "400d" }))]))
    })])
    .await;
    let run = world.run("t/nap", json!({})).await;
    assert_eq!(run["status"], "Failed");
    assert!(run.to_string().contains("InngestErrTimeoutTooLong"), "{run}");
}

fn fan_in(call: &Call) -> Answer {
    for name in ["p", "q", "r"] {
        if call.step == step_id(name) {
            return Answer::step(name, &json!(name));
        }
    }
    let missing: Vec<Value> = ["p", "q", "r"]
        .into_iter()
        .filter(|name| call.memo(name).is_none())
        .map(|name| op("StepPlanned", name, json!({})))
        .collect();
    if !missing.is_empty() {
        return Answer::Ops(Value::Array(missing));
    }
    match call.memo("z") {
        None => Answer::step("z", &json!("z")),
        Some(_) => Answer::Return(json!("joined")),
    }
}

#[tokio::test]
async fn planned_steps_run_side_by_side_and_join_once() {
    let world = World::of(vec![StubFunction::new("par", "t/par", fan_in)]).await;
    assert_eq!(world.run("t/par", json!({})).await["output"], "joined");
    let calls = world.app.calls();
    assert_eq!(calls.len(), 6, "plan, three steps, z, return");
    for call in calls.iter().filter(|call| call.step != "step") {
        assert_eq!(call.body["ctx"]["disable_immediate_execution"], true);
        assert_eq!(call.body["ctx"]["step_id"], "step");
    }
    let join = calls.iter().rfind(|call| call.step == "step" && call.memo("z").is_none()).unwrap();
    assert_eq!(join.body["ctx"]["disable_immediate_execution"], false);
    assert_eq!(join.body["steps"].as_object().map(serde_json::Map::len), Some(3));
}

#[tokio::test]
async fn a_failing_step_is_retried_and_then_handed_to_the_function() {
    let world = World::of(vec![
        StubFunction::new("caught", "t/caught", |call| match call.memo("bad") {
            None => Answer::Ops(json!([op(
                "StepError",
                "bad",
                json!({ "error": { "name": "TypeError", "message": "bad", "data": { "k": 1 } } })
            )])),
            Some(memo) => Answer::Return(memo["error"].clone()),
        })
        .retries(2),
    ])
    .await;
    let run = world.run("t/caught", json!({})).await;
    assert_eq!(run["status"], "Completed");
    assert_eq!((&run["output"]["name"], &run["output"]["data"]), (&json!("TypeError"), &json!({ "k": 1 })));
    assert_eq!(attempts(&world.app, "caught"), [0, 1, 2, 0]);
    let calls = world.app.calls();
    assert_eq!(calls[0].body["ctx"]["job_id"], calls[1].body["ctx"]["job_id"], "stable over retries");
    assert_eq!(calls[1].body["ctx"]["generation_id"], 2);
    assert_ne!(calls[0].body["ctx"]["request_id"], calls[1].body["ctx"]["request_id"]);
}

#[tokio::test]
async fn retry_after_sets_the_next_attempt() {
    let world = World::of(vec![StubFunction::new("later", "t/later", |call| {
        if call.attempt() > 0 {
            return Answer::Return(json!("ok"));
        }
        let headers = vec![("retry-after".to_owned(), "3".to_owned())];
        Answer::Sdk { status: 500, headers, body: "{\"message\":\"later\"}".into() }
    })])
    .await;
    let began = Instant::now();
    assert_eq!(world.run("t/later", json!({})).await["output"], "ok");
    assert!((1.9..5.0).contains(&began.elapsed().as_secs_f64()), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_long_first_call_shows_as_running() {
    let world = World::of(vec![StubFunction::new("slow", "t/slow", |_| {
        Answer::After(Duration::from_secs(2), Box::new(Answer::Return(json!(1))))
    })])
    .await;
    let event = world.send("t/slow", json!({})).await;
    let client = world.client();
    inngest_testkit::wait_until("Running", crate::harness::SOON, async || {
        let runs = client.runs_of(&event).await.ok()?;
        (runs.first()?["status"] == "Running").then_some(())
    })
    .await
    .unwrap();
    assert_eq!(world.ended(&event).await["status"], "Completed");
}

/// The stub answers only when it is done, so the checkpoint is sent from inside its script.
#[tokio::test(flavor = "multi_thread")]
async fn checkpointed_steps_are_memoised_while_the_call_goes_on() {
    let (sender, receiver) = std::sync::mpsc::channel::<Call>();
    let world = World::of(vec![StubFunction::new("cp", "t/cp", move |call| {
        if let Some(memo) = call.memo("late") {
            return Answer::Return(memo["data"].clone());
        }
        sender.send(call.clone()).unwrap();
        Answer::After(Duration::from_secs(1), Box::new(Answer::error("after the checkpoint")))
    })])
    .await;
    let event = world.send("t/cp", json!({})).await;
    let call = tokio::task::spawn_blocking(move || receiver.recv_timeout(crate::harness::SOON).unwrap()).await.unwrap();
    let checkpoint = |generation: u64, step: Value| {
        json!({
            "run_id": call.run(), "fn_id": call.body["ctx"]["fn_id"], "qi_id": call.body["ctx"]["qi_id"],
            "request_id": call.body["ctx"]["request_id"], "generation_id": generation, "steps": [step],
        })
    };
    let path = format!("/v1/checkpoint/{}/async", call.run());
    let done = op("StepRun", "late", json!({ "data": "kept" }));
    let stale = world.client().post(&path, &checkpoint(7, done.clone())).await.unwrap();
    assert_eq!(stale.status, 409, "{}", stale.text());
    let sleeping = op("Sleep", "nap", json!({ "name": "1s" }));
    let refused = world.client().post(&path, &checkpoint(1, sleeping)).await.unwrap();
    assert_eq!(refused.status, 400, "{}", refused.text());
    for _ in 0..2 {
        let kept = world.client().post(&path, &checkpoint(1, done.clone())).await.unwrap();
        assert_eq!(kept.status, 200, "{}", kept.text());
    }
    let run = world.ended(&event).await;
    assert_eq!((&run["status"], &run["output"]), (&json!("Completed"), &json!("kept")));
}
