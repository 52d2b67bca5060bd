//! Apps that misbehave: each way has a clear message and the run ends.

use std::time::Duration;

use inngest_testkit::stub::op;
use inngest_testkit::{Answer, StubApp, StubFunction};
use serde_json::{Value, json};

use crate::harness::{World, attempts};

fn raw(status: u16, content_type: &str, body: impl Into<bytes::Bytes>) -> Answer {
    Answer::Raw { status, headers: vec![("content-type".into(), content_type.into())], body: body.into() }
}

fn sdk(status: u16, body: &str) -> Answer {
    Answer::Sdk { status, headers: Vec::new(), body: body.to_owned().into() }
}

/// A misbehaviour, its answer, and a text that the error of the failed run contains.
fn misbehaviours() -> Vec<(&'static str, Answer, &'static str)> {
    let html = "<html><body>Bad gateway</body></html>";
    let ops = |value: Value| Answer::Ops(value);
    vec![
        ("html-200", raw(200, "text/html", html), "The response did not come from an Inngest SDK"),
        ("html-404", raw(404, "text/html", html), "Your server returned HTTP 404 before the SDK responded."),
        ("html-500", raw(500, "text/html", html), "Your server returned HTTP 500 before the SDK responded."),
        ("html-502", raw(502, "text/html", html), "Bad gateway"),
        ("nothing", Answer::Nothing, "Unable to reach SDK URL"),
        ("ten-megabytes", sdk(200, &format!("\"{}\"", "x".repeat(10 << 20))), "exceeds the maximum size limit"),
        ("broken-206", sdk(206, "{bad"), "error reading generator opcode response"),
        ("empty-206", sdk(206, ""), "no response data"),
        ("text-206", sdk(206, "\"text\""), "expected JSON object or array"),
        ("null-op", ops(json!([null])), "error reading generator opcode response"),
        ("unknown-op", ops(json!([op("Nope", "a", json!({}))])), "Nope does not belong to Opcode values"),
        ("bad-wait", ops(json!([op("WaitForEvent", "w", json!({ "opts": { "timeout": "soon" } }))])), "soon"),
        ("error-without-error", ops(json!([op("StepError", "a", json!({}))])), "error"),
        ("bad-sleep", ops(json!([op("Sleep", "a", json!({ "name": "nope" }))])), "nope"),
        ("no-ops", ops(json!([])), ""),
        (
            "stream-error",
            sdk(201, "  {\"status\":200,\"body\":\"1\",\"headers\":{},\"error\":\"boom\"}"),
            "error parsing stream: boom",
        ),
        (
            "deflate",
            Answer::Sdk {
                status: 200,
                headers: vec![("content-encoding".into(), "deflate".into())],
                body: "xx".into(),
            },
            "unsupported content encoding",
        ),
        ("function-error", Answer::error("it broke"), "it broke"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_misbehaviour_ends_in_a_clear_error_after_its_retries() {
    let functions = misbehaviours()
        .into_iter()
        .map(|(id, answer, _)| StubFunction::new(id, &format!("m/{id}"), move |_| answer.clone()).retries(1));
    let world = World::of(functions.collect()).await;
    let mut events = Vec::new();
    for (id, _, text) in misbehaviours() {
        events.push((id, text, world.send(&format!("m/{id}"), json!({})).await));
    }
    for (id, text, event) in events {
        let run = world.ended(&event).await;
        assert_eq!(run["status"], "Failed", "{id}: {run}");
        let shown = run.to_string();
        assert!(shown.contains(text), "{id}: {shown} does not contain {text:?}");
        let run_id = run["run_id"].as_str().unwrap();
        let trace = world.client().get(&format!("/v1/runs/{run_id}/actions")).await.unwrap();
        assert!(trace.to_string().len() > 10, "{id}: {trace}");
        if !matches!(id, "unsupported-op" | "no-ops" | "nothing") {
            assert_eq!(attempts(&world.app, id), [0, 1], "{id}");
        }
    }
}

#[tokio::test]
async fn replies_with_other_statuses_complete_the_run() {
    let table = [
        ("no-content", sdk(204, ""), json!(null)),
        ("accepted", sdk(202, "{\"a\":1}"), json!({ "a": 1 })),
        ("text", sdk(200, "plain words"), json!("plain words")),
        ("quoted-object", sdk(200, "\"{\\\"a\\\":1}\""), json!({ "a": 1 })),
        ("stream", sdk(201, "   {\"status\":200,\"body\":\"{\\\"a\\\":2}\",\"headers\":{}}"), json!({ "a": 2 })),
        ("seven-megabytes", sdk(200, &format!("\"{}\"", "x".repeat(7 << 20))), json!("x".repeat(7 << 20))),
    ];
    let functions =
        table.iter().cloned().map(|(id, answer, _)| StubFunction::new(id, &format!("c/{id}"), move |_| answer.clone()));
    let world = World::of(functions.collect()).await;
    for (id, _, output) in table {
        let run = world.run(&format!("c/{id}"), json!({})).await;
        assert_eq!(run["status"], "Completed", "{id}");
        assert!(run["output"] == output, "{id}");
    }
}

#[tokio::test]
async fn no_retry_ends_the_run_at_once() {
    let world = World::of(vec![StubFunction::new("fatal", "n/fatal", |_| Answer::fatal("never again"))]).await;
    let run = world.run("n/fatal", json!({})).await;
    assert_eq!(run["status"], "Failed");
    assert_eq!((&run["output"]["name"], &run["output"]["message"]), (&json!("Error"), &json!("never again")));
    assert_eq!(world.app.calls().len(), 1);
}

#[tokio::test]
async fn an_app_that_is_down_is_tried_again_and_then_named() {
    let world = World::of(Vec::new()).await;
    let gone =
        StubApp::serve("gone", vec![StubFunction::new("f", "d/a", |_| Answer::Nothing).retries(1)]).await.unwrap();
    gone.register(world.client()).await.unwrap();
    drop(gone);
    let run = world.run("d/a", json!({})).await;
    assert_eq!(run["status"], "Failed");
    assert!(run.to_string().contains("Unable to reach SDK URL"), "{run}");
}

#[tokio::test]
async fn a_cancelled_run_gets_no_further_call() {
    let world = World::of(vec![StubFunction::new("slow", "x/slow", |call| match call.memo("a") {
        None => Answer::After(Duration::from_secs(1), Box::new(Answer::step("a", &json!(1)))),
        Some(_) => Answer::Return(json!(1)),
    })])
    .await;
    let event = world.send("x/slow", json!({})).await;
    let id = inngest_testkit::wait_until("a run", crate::harness::SOON, async || {
        let runs = world.client().runs_of(&event).await.ok()?;
        Some(runs.first()?["run_id"].as_str()?.to_owned())
    })
    .await
    .unwrap();
    let path = format!("/v1/runs/{id}");
    for _ in 0..2 {
        let reply = world.client().request("DELETE", &path, &[], "").await.unwrap();
        assert_eq!((reply.status, reply.text().as_str()), (200, ""));
    }
    assert_eq!(world.ended(&event).await["status"], "Cancelled");
    let unknown = world.client().request("DELETE", "/v1/runs/01M85QRDBHC70063SSP1V76AAN", &[], "").await.unwrap();
    assert_eq!(unknown.status, 404);
    // The step's answer arrives after the end; nothing may follow from it.
    let other = world.run("x/slow", json!({})).await;
    assert_eq!(other["status"], "Completed");
    assert_eq!(world.app.calls().len(), 3, "one call of the cancelled run, two of the other");
}
