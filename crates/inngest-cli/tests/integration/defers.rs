//! What a run leaves to others: deferred functions, sessions, notes, its last words.

use inngest_testkit::stub::{op, step_id};
use inngest_testkit::{Answer, Call, StubFunction, wait_until};
use serde_json::{Value, json};

use crate::harness::{SOON, World};

fn defer(id: &str, opts: impl Into<Value>) -> Value {
    let opts = opts.into();
    op("DeferAdd", id, json!({ "opts": opts, "userland": { "id": id }, "data": null }))
}

/// Runs whenever something was deferred to it; returns what it was sent.
fn later() -> StubFunction {
    let trigger = json!({
        "event": "inngest/deferred.schedule", "expression": "event.data._inngest.fn_slug == 'app-later'",
    });
    StubFunction::new("later", "x", |call| Answer::Return(call.body["event"].clone())).triggers(json!([trigger]))
}

/// Outputs of all runs of `later`, once there are so many.
async fn deferred(world: &World, count: usize) -> Vec<Value> {
    wait_until(&format!("{count} deferred runs"), SOON, async || {
        let path = "/v1/runs?function=app-later&include_output=true&limit=100";
        let runs = world.client().get(path).await.ok()?["data"].as_array()?.clone();
        let done = runs.len() == count && runs.iter().all(|run| run["status"] == "Completed");
        done.then(|| runs.iter().map(|run| run["output"].clone()).collect())
    })
    .await
    .unwrap_or_else(|error| panic!("{error:#}\n{}", world.server.log()))
}

#[tokio::test]
async fn a_cancelled_run_starts_what_it_deferred_and_no_more_than_twenty() {
    let world = World::of(vec![
        later(),
        StubFunction::new("parent", "t/parent", |call| {
            if call.memo("a").is_none() {
                let mut ops: Vec<Value> = (0..25)
                    .map(|n| defer(&format!("d{n}"), json!({ "fn_slug": "app-later", "input": { "n": n } })))
                    .collect();
                ops.push(op("StepRun", "a", json!({ "data": 1 })));
                return Answer::Ops(json!(ops));
            }
            Answer::Ops(json!([
                op("DeferAbort", "x", json!({ "opts": { "target_hashed_id": step_id("d3") } })),
                // One that is known already changes nothing, also when it was aborted.
                defer("d3", json!({ "fn_slug": "app-later", "input": { "n": "again" } })),
                op("Sleep", "nap", json!({ "name": "1h" })),
            ]))
        }),
    ])
    .await;
    let event = world.send("t/parent", json!({})).await;
    let run = world.pending(&event, "Sleeping").await;
    let known = world.app.calls_of("parent")[1].body["defers"].clone();
    assert_eq!(known.as_object().map(serde_json::Map::len), Some(20));
    assert_eq!((&known[step_id("d19")], known.get(step_id("d20"))), (&json!({ "abortable": true }), None));
    assert_eq!(world.client().request("DELETE", &format!("/v1/runs/{run}"), &[], "").await.unwrap().status, 200);
    let outputs = deferred(&world, 19).await;
    let mut numbers: Vec<i64> = outputs.iter().map(|event| event["data"]["n"].as_i64().unwrap()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..20).filter(|n| *n != 3).collect::<Vec<_>>());
    let own = &outputs[0]["data"]["_inngest"];
    assert_eq!(
        (&own["fn_slug"], &own["parent_run_id"], &own["parent_fn_slug"]),
        (&json!("app-later"), &json!(run), &json!("app-parent"))
    );
    assert!(own["parent_fn_id"].is_string() && own["parent_app_id"].is_string(), "{own}");
    let mut ids: Vec<&str> = outputs.iter().map(|event| event["id"].as_str().unwrap()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 19, "each event has an id of its own");
}

#[tokio::test]
async fn a_defer_that_cannot_be_is_refused_and_the_run_goes_on() {
    let big = "x".repeat(4 << 20);
    let half = "x".repeat(5 << 19);
    let world = World::of(vec![
        later(),
        StubFunction::new("parent", "t/parent", move |call: &Call| {
            let with = |input: Value| json!({ "fn_slug": "app-later", "input": input });
            // An answer may have eight megabytes, so they come one by one.
            let (name, opts) = match call.body["steps"].as_object().map_or(0, serde_json::Map::len) {
                0 => ("array", with(json!([1]))),
                1 => ("text", with(json!("x"))),
                2 => ("big", with(json!({ "x": big }))),
                3 => ("meta", json!({ "fn_slug": "app-later", "input": {}, "meta": { "x": "x".repeat(40_000) } })),
                4 => ("nometa", json!({ "fn_slug": "app-later", "input": {}, "meta": 7 })),
                5 => ("noslug", json!({ "input": {} })),
                6 => ("first", with(json!({ "x": half }))),
                7 => ("second", with(json!({ "x": half }))),
                8 => ("fine", with(json!({ "n": 1 }))),
                _ => return Answer::Return(json!("done")),
            };
            Answer::Ops(json!([defer(name, opts), op("StepRun", &format!("s-{name}"), json!({ "data": 1 }))]))
        }),
    ])
    .await;
    assert_eq!(world.run("t/parent", json!({})).await["output"], "done");
    let known = world.app.calls_of("parent").pop().unwrap().body["defers"].clone();
    for (name, abortable) in [
        ("array", false),
        ("text", false),
        ("big", false),
        ("meta", false),
        ("nometa", false),
        ("noslug", false),
        ("first", true),
        ("second", false),
        ("fine", true),
    ] {
        assert_eq!(known[step_id(name)]["abortable"], abortable, "{name}");
    }
    assert_eq!(deferred(&world, 2).await.len(), 2);
}

#[tokio::test]
async fn an_answer_of_nothing_but_defers_is_no_dead_end() {
    let world = World::of(vec![
        later(),
        StubFunction::new("parent", "t/parent", |call| {
            match call.body["defers"].as_object().is_some_and(|d| !d.is_empty()) {
                false => Answer::Ops(json!([defer("d", json!({ "fn_slug": "app-later", "input": {} }))])),
                true => Answer::Return(json!("done")),
            }
        }),
    ])
    .await;
    assert_eq!(world.run("t/parent", json!({})).await["output"], "done");
    assert_eq!(deferred(&world, 1).await.len(), 1);
}

#[tokio::test]
async fn sessions_go_along_with_all_that_a_run_causes() {
    let world = World::of(vec![
        later(),
        StubFunction::new("parent", "t/parent", |call| match call.memo("a") {
            None => Answer::Ops(json!([
                defer(
                    "d",
                    json!({ "fn_slug": "app-later", "input": {}, "meta": { "propagated_sessions": { "user": "u1" } } })
                ),
                defer("bad", json!({ "fn_slug": "app-later", "input": {}, "meta": { "sessions": { "user": true } } })),
                op("InvokeFunction", "a", json!({ "opts": {
                    "function_id": "app-child",
                    "payload": { "data": {}, "meta": { "sessions": { "mine": "m" }, "propagated_sessions": { "user": "u1", "mine": "other" } } },
                } })),
            ])),
            Some(memo) => Answer::Return(memo["data"].clone()),
        }),
        StubFunction::new("child", "x", |call| Answer::Return(call.body["event"]["meta"].clone())),
        StubFunction::new("watch", "inngest/function.finished", |call| Answer::Return(call.body["event"]["meta"].clone()))
            .triggers(json!([{ "event": "inngest/function.finished", "expression": "event.data.function_id == 'app-parent'" }])),
    ])
    .await;
    let body = json!({ "name": "t/parent", "data": {}, "meta": { "sessions": { "user": "u1", "n": 7 } } });
    let event = world.client().send(&body).await.unwrap().remove(0);
    let run = world.ended(&event).await;
    assert_eq!(world.call("parent", 0).await.body["event"]["meta"], json!({ "sessions": { "n": "7", "user": "u1" } }));
    assert_eq!(run["output"], json!({ "sessions": { "mine": "m", "user": "u1" } }), "what is said by hand wins");
    assert_eq!(deferred(&world, 1).await[0]["meta"], json!({ "sessions": { "user": "u1" } }));
    let finished = world.call("watch", 0).await;
    assert_eq!(finished.body["event"]["meta"], json!({ "sessions": { "n": "7", "user": "u1" } }));
    for (sessions, text) in [
        (json!({ "a": true }), "session"),
        (json!({ "a": "1", "b": "1", "c": "1", "d": "1", "e": "1", "f": "1" }), "session"),
        (json!({ "": "x" }), "session"),
        (json!({ "a": "x".repeat(513) }), "session"),
    ] {
        let body = json!({ "name": "t/parent", "meta": { "sessions": sessions } });
        let reply = world.client().post("/e/k", &body).await.unwrap();
        assert!(reply.status == 400 && reply.text().to_lowercase().contains(text), "{sessions}: {}", reply.text());
    }
}
