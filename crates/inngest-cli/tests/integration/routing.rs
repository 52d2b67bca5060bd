//! Which events start which functions.

use std::time::{Duration, Instant};

use inngest_testkit::{Answer, StubFunction};
use serde_json::{Value, json};

use crate::harness::{SOON, World};

fn returns(id: &str, triggers: Value) -> StubFunction {
    StubFunction::new(id, "", |call| Answer::Return(call.body["event"]["name"].clone())).triggers(triggers)
}

/// Ids of the functions whose runs an event has started, once there are `count` of them.
async fn started(world: &World, name: &str, count: usize) -> Vec<String> {
    let event = world.send(name, json!({})).await;
    let runs = world.client().ended_runs(&event, count, SOON).await.unwrap();
    let mut slugs: Vec<String> = runs.iter().map(|run| run["function_slug"].as_str().unwrap().to_owned()).collect();
    slugs.sort();
    slugs
}

#[tokio::test]
async fn exact_names_and_patterns_match_and_a_function_runs_once() {
    let world = World::of(vec![
        returns("many", json!([{ "event": "a/user.created" }, { "event": "a/*" }, { "event": "a/user.*" }])),
        returns("slash", json!([{ "event": "w/*" }])),
        returns("dot", json!([{ "event": "w/user.*" }])),
        returns("never", json!([{ "event": "*" }, { "event": "w/us*" }])),
    ])
    .await;
    assert_eq!(started(&world, "a/user.created", 1).await, ["app-many"]);
    assert_eq!(started(&world, "w/x", 1).await, ["app-slash"]);
    assert_eq!(started(&world, "w/a/b", 1).await, ["app-slash"]);
    assert_eq!(started(&world, "w/user.a.b", 2).await, ["app-dot", "app-slash"]);
    assert!(started(&world, "nobody/listens", 0).await.is_empty());
}

#[tokio::test]
async fn the_same_event_id_starts_a_function_once() {
    let world = World::of(vec![
        returns("one", json!([{ "event": "i/a" }, { "event": "i/b" }])),
        returns("two", json!([{ "event": "i/b" }])),
    ])
    .await;
    let send = async |name: &str| {
        world.client().send(&json!({ "name": name, "id": "same", "data": {} })).await.unwrap().remove(0)
    };
    let (first, again, other) = (send("i/a").await, send("i/a").await, send("i/b").await);
    assert_eq!(world.client().ended_runs(&first, 1, SOON).await.unwrap().len(), 1);
    assert_eq!(world.client().runs_of(&again).await.unwrap().len(), 0);
    let runs = world.client().ended_runs(&other, 1, SOON).await.unwrap();
    assert_eq!(runs[0]["function_slug"], "app-two");
    assert_ne!(first, again, "each gets an internal id of its own");
}

#[tokio::test]
async fn a_repeated_request_with_the_same_seed_is_one_event() {
    let world = World::of(vec![returns("seeded", json!([{ "event": "s/a" }]))]).await;
    let send = async || {
        let headers = [("x-inngest-event-id-seed", "1743130137367,eii2YKXRVTJPuA==")];
        let body = json!([{ "name": "s/a", "data": {} }, { "name": "s/none", "data": {} }]).to_string();
        let reply = world.client().request("POST", "/e/k", &headers, body).await.unwrap();
        assert_eq!(reply.status, 200, "{}", reply.text());
        reply.json()["ids"].clone()
    };
    let first = send().await;
    assert_eq!(first, json!(["01JQDAE4RQF8MBCR55T5AK4KXS", "01JQDAE4RQF8MBCR55T5AK4KXT"]));
    assert_eq!(send().await, first);
    world.client().ended_runs("01JQDAE4RQF8MBCR55T5AK4KXS", 1, SOON).await.unwrap();
    assert_eq!(world.app.calls().len(), 1);
    let found = world.client().get("/v1/events?name=s/a&received_after=2020-01-01").await.unwrap();
    assert_eq!(found["data"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn a_future_ts_starts_the_run_then() {
    let world = World::of(vec![returns("later", json!([{ "event": "f/a" }]))]).await;
    let at = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap() + Duration::from_secs(3);
    let ts = u64::try_from(at.as_millis()).unwrap();
    let began = Instant::now();
    let event = world.client().send(&json!({ "name": "f/a", "ts": ts, "data": {} })).await.unwrap().remove(0);
    let runs = world.client().runs_of(&event).await.unwrap();
    assert_eq!(runs[0]["status"], "Scheduled", "listed at once");
    world.ended(&event).await;
    assert!((2.8..6.0).contains(&began.elapsed().as_secs_f64()), "{:?}", began.elapsed());
}

#[tokio::test]
async fn the_end_of_a_run_is_an_event_that_does_not_recurse() {
    let world = World::of(vec![
        returns("work", json!([{ "event": "l/a" }])),
        returns("watch", json!([{ "event": "inngest/function.finished" }])),
    ])
    .await;
    let run = world.run("l/a", json!({ "n": 1 })).await;
    let watched =
        inngest_testkit::wait_until("the watcher's call", SOON, async || world.app.calls_of("watch").first().cloned())
            .await
            .unwrap();
    let event = &watched.body["event"];
    assert_eq!(event["name"], "inngest/function.finished");
    let data = &event["data"];
    assert_eq!(data["_inngest"], json!({ "status": "Completed" }));
    assert_eq!((&data["function_id"], &data["run_id"]), (&json!("app-work"), &run["run_id"]));
    assert_eq!((&data["result"], &data["event"]["data"]), (&json!("l/a"), &json!({ "n": 1 })));
    // Another run ends after the watcher's; had that emitted an event, the watcher would run a third time.
    world.run("l/a", json!({})).await;
    inngest_testkit::wait_until("two calls", SOON, async || (world.app.calls_of("watch").len() == 2).then_some(()))
        .await
        .unwrap();
    let events = "/v1/events?include_internal=true&name=inngest/function.finished";
    assert_eq!(world.client().get(events).await.unwrap()["data"].as_array().map(Vec::len), Some(2));
}

#[tokio::test]
async fn on_failure_companions_hear_of_their_function_only() {
    let fails = |id: &str, event: &str| StubFunction::new(id, event, |_| Answer::fatal("broken")).retries(0);
    let world = World::of(vec![
        fails("main", "o/a"),
        fails("other", "o/b"),
        returns(
            "main-failure",
            json!([{ "event": "inngest/function.failed", "expression": "event.data.function_id == 'app-main'" }]),
        ),
    ])
    .await;
    world.run("o/b", json!({})).await;
    let failed = world.run("o/a", json!({ "k": 1 })).await;
    let call = inngest_testkit::wait_until("the companion", SOON, async || {
        world.app.calls_of("main-failure").first().cloned()
    })
    .await
    .unwrap();
    let event = &call.body["event"];
    assert_eq!((&event["id"], &event["data"]["run_id"]), (&failed["run_id"], &failed["run_id"]));
    let error = &event["data"]["error"];
    assert_eq!(
        (&error["name"], &error["message"], &error["stack"]),
        (&json!("Error"), &json!("broken"), &json!("at stub"))
    );
    assert_eq!(event["data"]["event"]["data"], json!({ "k": 1 }));
    assert_eq!(world.app.calls_of("main-failure").len(), 1);
}
