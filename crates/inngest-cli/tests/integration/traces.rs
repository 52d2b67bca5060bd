//! What GraphQL tells of the steps of a run that did not get to its end.

use std::sync::Arc;

use inngest_testkit::stub::{op, step_id};
use inngest_testkit::{Answer, StubFunction, wait_until};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::harness::{SOON, World};

const TRACE: &str = "query($run: String!) { runTrace(runID: $run) { status endedAt childrenSpans {
    name status stepOp attempts queuedAt startedAt endedAt outputID childrenSpans { name status }
    stepInfo { ... on SleepStepInfo { sleepUntil } ... on WaitForEventStepInfo { eventName timedOut } } } } }";

async fn trace(world: &World, run: &str) -> Value {
    let asked = json!({ "query": TRACE, "variables": { "run": run } });
    let mut answer = world.client().post("/v0/gql", &asked).await.unwrap().json();
    assert_eq!(answer.get("errors"), None, "{answer:#}");
    answer["data"]["runTrace"].take()
}

fn child<'a>(trace: &'a Value, name: &str) -> &'a Value {
    let spans = trace["childrenSpans"].as_array().unwrap();
    spans.iter().find(|span| span["name"] == name).unwrap_or_else(|| panic!("no {name} in {trace:#}"))
}

/// A time without its zone: of such texts the smaller one is earlier.
fn time(at: &Value) -> &str {
    at.as_str().and_then(|at| at.strip_suffix('Z')).unwrap_or_else(|| panic!("no time: {at}"))
}

/// A function that runs one step and then answers with these ops; the calls of what it plans are never answered, but
/// for that of `again`, which fails.
fn then(id: &str, ops: Value) -> StubFunction {
    StubFunction::new(id, &format!("t/{id}"), move |call| {
        if call.step == step_id("again") {
            let headers = vec![("retry-after".into(), "3600".into())];
            return Answer::Sdk { status: 500, headers, body: "{}".into() };
        }
        match call.memo("before") {
            _ if call.step != "step" => Answer::Until(Arc::new(Notify::new()), Box::new(Answer::Nothing)),
            None => Answer::step("before", &json!(1)),
            Some(_) => Answer::Ops(ops.clone()),
        }
    })
}

#[tokio::test]
async fn a_cancelled_run_tells_what_it_was_at() {
    let nap = op("Sleep", "s", json!({ "name": "1h", "displayName": "a nap" }));
    let asked =
        op("WaitForEvent", "w", json!({ "name": "t/go", "displayName": "an event", "opts": { "timeout": "1h" } }));
    let planned = |id: &str, name: &str| op("StepPlanned", id, json!({ "displayName": name }));
    let functions = [
        ("step", json!([planned("p", "a step")])),
        ("sleep", json!([nap])),
        ("wait", json!([asked])),
        ("block", json!([planned("p", "a step"), planned("again", "a retry"), nap, asked])),
    ];
    let shown = [("a step", "RUN"), ("a nap", "SLEEP"), ("an event", "WAIT_FOR_EVENT")];
    let world = World::of(functions.iter().map(|(id, ops)| then(id, ops.clone())).collect()).await;
    for (id, ops) in &functions {
        let run = world.run_of(&world.send(&format!("t/{id}"), json!({})).await).await;
        let ops = ops.as_array().unwrap();
        let is_called = ops.iter().any(|op| op["displayName"] == "a step");
        // The step that finished, and those that did not.
        let live = wait_until("all steps", SOON, async || {
            let trace = trace(&world, &run).await;
            let spans = trace["childrenSpans"].as_array().unwrap();
            let is_failing = |span: &Value| span["name"] != "a retry" || span["childrenSpans"][0]["status"] == "FAILED";
            let called = world.app.calls_of(id).iter().any(|call| call.step == step_id("p"));
            (called == is_called && spans.len() == 1 + ops.len() && spans.iter().all(is_failing)).then_some(trace)
        });
        let live = live.await.unwrap_or_else(|error| panic!("{id}: {error:#}\n{}", world.server.log()));
        let cancelled = world.client().request("DELETE", &format!("/v1/runs/{run}"), &[], "").await.unwrap();
        assert_eq!(cancelled.status, 200);
        let trace = trace(&world, &run).await;
        assert_eq!(trace["status"], "CANCELLED");
        assert_eq!(trace["childrenSpans"].as_array().unwrap().len(), 1 + ops.len(), "{id}: {trace:#}");
        assert_eq!(child(&trace, "before"), child(&live, "before"), "{id}");
        for (name, op) in shown.iter().filter(|(name, _)| ops.iter().any(|op| op["displayName"] == *name)) {
            let (span, before) = (child(&trace, name), child(&live, name));
            assert_eq!((&span["status"], &span["stepOp"]), (&json!("CANCELLED"), &json!(op)), "{id}: {trace:#}");
            assert_eq!(span["endedAt"], trace["endedAt"], "{id}: {trace:#}");
            assert_eq!((&span["queuedAt"], &span["attempts"]), (&before["queuedAt"], &json!(0)), "{id}: {trace:#}");
            assert!(time(&span["queuedAt"]) <= time(&span["startedAt"]), "{id}: {trace:#}");
            assert!(time(&span["startedAt"]) <= time(&trace["endedAt"]), "{id}: {trace:#}");
            assert_eq!(span["stepInfo"], before["stepInfo"], "{id}: {trace:#}");
        }
        if *id == "block" {
            let retry = child(&trace, "a retry");
            assert_eq!((&retry["status"], &retry["attempts"]), (&json!("CANCELLED"), &json!(1)), "{trace:#}");
            let attempts =
                json!([{ "name": "Attempt 0", "status": "FAILED" }, { "name": "Attempt 1", "status": "CANCELLED" }]);
            assert_eq!(retry["childrenSpans"], attempts);
        }
    }
}
