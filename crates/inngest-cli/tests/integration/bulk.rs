//! Work on many runs at once: it is done to its end, and it means what was written.

use std::time::Duration;

use inngest_testkit::stub::op;
use inngest_testkit::{Answer, StubFunction, wait_until};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::ends::time_text;
use crate::harness::{SOON, World};

/// More than are worked on before a closed connection is noticed.
const MANY: usize = 400;

/// Sends a request and goes away without waiting for the answer.
async fn post_and_leave(world: &World, path: &str, body: &Value) {
    let host = world.client().base().trim_start_matches("http://").to_owned();
    let body = body.to_string();
    let request = format!("POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let mut stream = TcpStream::connect(&host).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
}

async fn send_many(world: &World, name: &str) {
    let events: Vec<Value> = (0..MANY).map(|n| json!({ "name": name, "data": { "n": n } })).collect();
    world.client().send(&json!(events)).await.unwrap();
}

/// Runs of the one function with this status.
async fn count(world: &World, status: &str) -> usize {
    let mut path = format!("/v1/runs?status={status}&limit=100");
    let mut count = 0;
    loop {
        let page = world.client().get(&path).await.unwrap();
        count += page["data"].as_array().unwrap().len();
        match page["page"]["cursor"].as_str() {
            Some(cursor) => path = format!("/v1/runs?status={status}&limit=100&cursor={cursor}"),
            None => return count,
        }
    }
}

async fn until(world: &World, status: &str, expected: usize) {
    let what = format!("{expected} runs that are {status}");
    wait_until(&what, SOON, async || (count(world, status).await == expected).then_some(())).await.unwrap();
}

fn napping() -> StubFunction {
    StubFunction::new("nap", "b/nap", |_| Answer::Ops(json!([op("Sleep", "nap", json!({ "name": "1h" }))])))
}

#[tokio::test(flavor = "multi_thread")]
async fn reruns_go_on_when_the_client_goes_away() {
    let world = World::of(vec![StubFunction::new("once", "b/once", |_| Answer::Return(json!(1)))]).await;
    send_many(&world, "b/once").await;
    until(&world, "Completed", MANY).await;
    post_and_leave(&world, "/v1/reruns", &json!({ "function_id": "app-once" })).await;
    until(&world, "Completed", 2 * MANY).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cancellations_go_on_when_the_client_goes_away() {
    let world = World::of(vec![napping()]).await;
    send_many(&world, "b/nap").await;
    until(&world, "Running", MANY).await;
    let before = time_text(Duration::from_secs(1));
    let body = json!({ "app_id": "app", "function_id": "nap", "started_before": before });
    post_and_leave(&world, "/v1/cancellations", &body).await;
    until(&world, "Cancelled", MANY).await;
}

#[tokio::test]
async fn runs_of_the_near_future_are_cancelled_too_if_they_are_meant() {
    let world = World::of(vec![napping()]).await;
    let body = json!({ "app_id": "app", "function_id": "nap", "started_before": time_text(Duration::from_secs(4)) });
    let reply = world.client().post("/v1/cancellations", &body).await.unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
    let event = world.send("b/nap", json!({})).await;
    assert_eq!(world.ended(&event).await["status"], "Cancelled");
}

#[tokio::test]
async fn what_is_misspelt_is_refused_and_not_taken_for_everything() {
    let world = World::of(vec![napping()]).await;
    let before = time_text(Duration::ZERO);
    for (path, body, error) in [
        (
            "/v1/cancellations",
            json!({ "app_id": "app", "function_id": "nap", "started_before": before, "startedAfter": "2026-01-01T00:00:00Z" }),
            "Invalid cancellation request",
        ),
        (
            "/v1/cancellations",
            json!({ "app_id": "app", "function_id": "nap", "started_before": before, "if": "" }),
            "invalid expression: ",
        ),
        ("/v1/reruns", json!({ "function_id": "app-nap", "queued_befor": before }), "Invalid rerun request: "),
    ] {
        let reply = world.client().post(path, &body).await.unwrap();
        let text = reply.json()["error"].as_str().unwrap_or_default().to_owned();
        assert_eq!(reply.status, 400, "{body}: {text}");
        assert!(text.starts_with(error), "{body}: {text}");
    }
    assert_eq!(world.client().get("/v1/cancellations").await.unwrap()["data"], json!([]));
}

#[tokio::test]
async fn reruns_of_a_singleton_are_counted_as_they_start() {
    let world = World::of(vec![napping().config(json!({ "singleton": { "mode": "skip" } }))]).await;
    for _ in 0..2 {
        let event = world.send("b/nap", json!({})).await;
        let run = world.pending(&event, "Sleeping").await;
        let reply = world.client().request("DELETE", &format!("/v1/runs/{run}"), &[], "").await.unwrap();
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert_eq!(world.ended(&event).await["status"], "Cancelled");
    }
    let reply = world.client().post("/v1/reruns", &json!({ "function_id": "app-nap" })).await.unwrap().json();
    assert_eq!((&reply["data"]["count"], &reply["data"]["skipped"]), (&json!(1), &json!(1)), "{reply}");
}
