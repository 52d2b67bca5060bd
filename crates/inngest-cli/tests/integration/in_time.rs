//! What must not wait: for the calls of others, or for the report of a step.

use std::time::{Duration, Instant};

use inngest_testkit::stub::{Posting, op};
use inngest_testkit::{Answer, Server, StubApp, StubFunction, wait_until};
use serde_json::{Value, json};

use crate::harness::{SOON, World, options};

/// Waits for `t/reply`, and returns it.
fn waits_for_reply(call: &inngest_testkit::Call) -> Answer {
    match call.memo("w") {
        None => {
            Answer::Ops(json!([op("WaitForEvent", "w", json!({ "opts": { "event": "t/reply", "timeout": "5s" } }))]))
        }
        Some(value) => Answer::Return(json!({ "reply": value["data"] })),
    }
}

#[tokio::test]
async fn calls_in_flight_hold_up_neither_sleeps_nor_cancellations() {
    let dir = tempfile::tempdir().unwrap();
    let mut one_call = options(dir.path());
    one_call.env.push(("INNGEST_QUEUE_WORKERS".into(), "1".into()));
    let server = Server::start(one_call).await.unwrap();
    let long = Duration::from_secs(30);
    let functions = vec![
        StubFunction::new("busy", "t/busy", move |_| Answer::After(long, Box::new(Answer::Return(Value::Null)))),
        StubFunction::new("sleeper", "t/sleep", |_| Answer::Ops(json!([op("Sleep", "nap", json!({ "name": "1h" }))])))
            .config(json!({ "cancel": [{ "event": "t/stop" }] })),
    ];
    let app = StubApp::serve("app", functions).await.unwrap();
    app.register(server.client()).await.unwrap();
    let client = server.client();
    let send = async |name: &str| client.send(&json!({ "name": name })).await.unwrap().remove(0);
    let sleeper = send("t/sleep").await;
    let asleep = async || {
        let runs = client.runs_of(&sleeper).await.ok()?;
        (runs.first()?["status"] == "Running" && app.calls_of("sleeper").len() == 1).then_some(())
    };
    wait_until("asleep", SOON, asleep).await.unwrap();
    send("t/busy").await;
    wait_until("busy", SOON, async || (app.calls_of("busy").len() == 1).then_some(())).await.unwrap();
    let began = Instant::now();
    send("t/stop").await;
    let runs = client.ended_runs(&sleeper, 1, SOON).await.unwrap();
    assert_eq!(runs[0]["status"], "Cancelled");
    assert!(began.elapsed() < long / 2, "{:?}", began.elapsed());
}

/// A reply may be quicker than the report that somebody waits for it: apps send a question and then wait.
#[tokio::test]
async fn an_event_that_comes_during_the_call_that_waits_for_it_counts() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(options(dir.path())).await.unwrap();
    let client = server.client().clone();
    let asks = StubFunction::new("asks", "t/ask", move |call| match call.memo("w") {
        None => Answer::Posting(Box::new(Posting {
            client: client.clone(),
            path: "/e/key".into(),
            body: json!({ "name": "t/reply", "data": { "n": 7 } }),
            then: waits_for_reply(call),
        })),
        Some(_) => waits_for_reply(call),
    });
    let app = StubApp::serve("app", vec![asks]).await.unwrap();
    app.register(server.client()).await.unwrap();
    let event = server.client().send(&json!({ "name": "t/ask" })).await.unwrap().remove(0);
    let runs = server.client().ended_runs(&event, 1, SOON).await.unwrap();
    assert_eq!(runs[0]["output"], json!({ "reply": { "n": 7 } }));
}

#[tokio::test]
async fn an_event_from_before_the_run_does_not_count() {
    let world = World::of(vec![StubFunction::new("late", "t/late", waits_for_reply)]).await;
    world.send("t/reply", json!({ "n": 1 })).await;
    let run = world.run("t/late", json!({})).await;
    assert_eq!(run["output"], json!({ "reply": null }));
}

#[tokio::test]
async fn a_run_whose_first_call_has_begun_has_started_in_time() {
    let slow = StubFunction::new("slow", "t/slow", |_| {
        Answer::After(Duration::from_millis(1_500), Box::new(Answer::Return(json!("done"))))
    })
    .config(json!({ "timeouts": { "start": "1s" } }));
    let world = World::of(vec![slow]).await;
    assert_eq!(world.run("t/slow", json!({})).await["status"], "Completed");
}

#[tokio::test]
async fn a_run_of_an_archived_function_runs_again() {
    let world = World::of(vec![StubFunction::new("old", "t/old", |_| Answer::Return(json!("again")))]).await;
    let first = world.run("t/old", json!({})).await;
    let mut none = world.app.registration();
    none["functions"] = json!([]);
    assert_eq!(world.client().post("/fn/register", &none).await.unwrap().status, 200);
    let world = world.kill_and_restart().await;
    let path = format!("/v2/runs/{}/rerun", first["run_id"].as_str().unwrap());
    let reply = world.client().post(&path, &json!({})).await.unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
    let event = first["event_id"].as_str().unwrap();
    let runs = world.client().ended_runs(event, 2, SOON).await.unwrap();
    assert!(runs.iter().all(|run| run["output"] == "again"), "{runs:?}");
}
