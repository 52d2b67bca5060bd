//! Triggers with conditions, and what the end of a run tells.

use inngest_testkit::stub::op;
use inngest_testkit::{Answer, StubFunction, wait_until};
use serde_json::{Value, json};

use crate::harness::{SOON, World};

fn triggered(id: &str, triggers: Value) -> StubFunction {
    StubFunction::new(id, "x", |_| Answer::Return(json!(1))).triggers(triggers)
}

#[tokio::test]
async fn a_condition_that_is_not_true_is_no_match_whatever_else_it_is() {
    let on = |expression: &str| json!({ "event": "t/n", "expression": expression });
    let world = World::of(vec![
        triggered("one", json!([on("event.data.n > 5")])),
        triggered("two", json!([on("event.data.n > 5"), on("event.data.ok == true")])),
        triggered("deep", json!([on("event.data.foo.bar.baz > 5")])),
        triggered("sum", json!([on("1 + 1")])),
    ])
    .await;
    let table = [
        (json!({ "n": 10, "ok": true }), vec!["app-one", "app-two"]),
        (json!({ "n": 1 }), vec![]),
        (json!({}), vec![]),
        (json!({ "n": "str" }), vec![]),
        (json!({ "n": "str", "ok": true }), vec!["app-two"]),
        (json!({ "foo": { "bar": { "baz": 6 } } }), vec!["app-deep"]),
    ];
    for (data, expected) in &table {
        let event = world.send("t/n", data.clone()).await;
        let runs = world.client().ended_runs(&event, expected.len(), SOON).await.unwrap();
        let mut slugs: Vec<&str> = runs.iter().map(|run| run["function_slug"].as_str().unwrap()).collect();
        slugs.sort_unstable();
        assert_eq!(slugs, *expected, "{data}");
    }
    let stored = world.client().get("/v1/events?name=t/n&limit=100").await.unwrap();
    assert_eq!(stored["data"].as_array().map(Vec::len), Some(table.len()), "each once, none again and again");
    let complaints = world.server.log().lines().filter(|line| line.contains("event.data.n > 5")).count();
    assert!(complaints <= 2 * table.len(), "{}", world.server.log());
}

/// Internal events of a name about a run, once there is one.
async fn told(world: &World, name: &str, run: &Value) -> Vec<Value> {
    let path = format!("/v1/events?include_internal=true&limit=100&name=inngest/function.{name}");
    let events = world.client().get(&path).await.unwrap()["data"].as_array().cloned().unwrap();
    events.into_iter().filter(|event| event["data"]["run_id"] == run["run_id"]).collect()
}

#[tokio::test]
async fn the_end_of_a_run_is_told_with_its_result_or_its_error() {
    let body = |text: &'static str| {
        move |_: &inngest_testkit::Call| Answer::Sdk { status: 200, headers: Vec::new(), body: text.into() }
    };
    let world = World::of(vec![
        StubFunction::new("object", "t/object", body("{\"ok\":true}")),
        StubFunction::new("null", "t/null", body("null")),
        StubFunction::new("empty", "t/empty", body("")),
        StubFunction::new("failed", "t/failed", |_| Answer::fatal("no")),
        StubFunction::new("retried", "t/retried", |_| Answer::error("no")).retries(0),
        StubFunction::new("long", "t/long", |_| Answer::Ops(json!([op("Sleep", "s", json!({ "name": "400d" }))]))),
    ])
    .await;
    for (id, result) in [("object", Some(json!({ "ok": true }))), ("null", Some(json!(null))), ("empty", None)] {
        let run = world.run(&format!("t/{id}"), json!({ "n": 1 })).await;
        let finished = told(&world, "finished", &run).await;
        assert_eq!(finished.len(), 1, "{id}");
        let data = &finished[0]["data"];
        assert_eq!((data.get("result"), data.get("error")), (result.as_ref(), None), "{id}: {data}");
        assert_eq!(data["_inngest"], json!({ "status": "Completed" }));
        assert_eq!((&data["function_id"], data.get("correlation_id")), (&json!(format!("app-{id}")), None));
        assert_eq!((&data["event"]["data"], &data["event"]["user"]), (&json!({ "n": 1 }), &json!({})));
        assert_eq!(data["events"][0]["data"], json!({ "n": 1 }));
        assert_eq!(told(&world, "failed", &run).await.len() + told(&world, "cancelled", &run).await.len(), 0);
    }
    let by_sdk = json!({ "message": "no", "name": "Error", "stack": "at stub" });
    let by_server = json!({
        "error": "InngestErrTimeoutTooLong", "name": "InngestErrTimeoutTooLong",
        "message": "The sleep \"400d\" ends more than one year in the future; sleeps may last at most one year.",
    });
    let and = |mut error: Value, text: &str| {
        error["error"] = json!(text);
        error
    };
    for (id, error) in [
        ("failed", and(by_sdk.clone(), "NonRetriableError")),
        ("retried", and(by_sdk, "invalid status code: 500")),
        ("long", by_server),
    ] {
        let run = world.run(&format!("t/{id}"), json!({})).await;
        let (finished, failed) = (told(&world, "finished", &run).await, told(&world, "failed", &run).await);
        assert_eq!((finished.len(), failed.len()), (1, 1), "{id}");
        assert_eq!((&failed[0]["id"], &failed[0]["data"]["error"]), (&run["run_id"], &error), "{id}");
        assert_ne!(finished[0]["id"], run["run_id"], "{id}: an id of its own");
        assert_eq!(finished[0]["data"], failed[0]["data"], "{id}");
        assert_eq!(failed[0]["data"]["_inngest"], json!({ "status": "Failed" }));
        assert_eq!(failed[0]["data"]["result"], run["output"], "{id}: the body as it was");
    }
}

#[tokio::test]
async fn whoever_is_triggered_by_an_end_does_not_tell_of_its_own() {
    let on = |event: &str| json!([{ "event": event }]);
    let world = World::of(vec![
        StubFunction::new("bad", "t/bad", |_| Answer::fatal("no")),
        triggered("finished", on("inngest/function.finished")),
        triggered("failed", on("inngest/function.failed")),
        triggered("all", on("inngest/*")),
        triggered("cancelled", on("inngest/function.cancelled")),
    ])
    .await;
    let bad = world.run("t/bad", json!({})).await;
    // Its own two events; none of the four runs that these start says more.
    let count = async |function: &str| {
        let runs = world.client().get(&format!("/v1/runs?function=app-{function}&limit=100")).await.unwrap();
        let runs = runs["data"].as_array().cloned().unwrap();
        (runs.len(), runs.iter().all(|run| run["status"] == "Completed"))
    };
    wait_until("all handlers", SOON, async || {
        let all = [count("finished").await, count("failed").await, count("all").await];
        (all == [(1, true), (1, true), (2, true)]).then_some(())
    })
    .await
    .unwrap();
    let internal = world.client().get("/v1/events?include_internal=true&limit=100").await.unwrap();
    let lifecycle = |event: &&Value| event["name"].as_str().is_some_and(|name| name.starts_with("inngest/function."));
    let found = internal["data"].as_array().unwrap().iter().filter(lifecycle).count();
    assert_eq!(found, 2, "{internal}");
    assert_eq!(told(&world, "failed", &bad).await.len(), 1);
}
