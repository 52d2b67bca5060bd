//! Limits that the server sets, for SDKs that have no option for them.

use std::time::{Duration, Instant};

use inngest_testkit::{Answer, StubFunction};
use serde_json::{Value, json};

use crate::harness::{World, seconds_from, takes};

async fn put(world: &World, document: &Value) -> (u16, Value) {
    let headers = [("content-type", "application/json")];
    let reply = world.client().request("PUT", "/v1/flow-control", &headers, document.to_string()).await.unwrap();
    (reply.status, reply.json())
}

async fn set(world: &World, document: Value) {
    let (status, reply) = put(world, &document).await;
    assert_eq!(status, 200, "{reply}");
}

#[tokio::test]
async fn functions_share_a_throttle() {
    let world = World::of(vec![takes("a", 0, json!({})), takes("b", 0, json!({})), takes("c", 0, json!({}))]).await;
    let shared = json!({ "name": "api", "limit": 1, "period": "500ms", "functions": ["app-a", "app-b"] });
    set(&world, json!({ "throttles": [shared] })).await;
    let began = Instant::now();
    for id in ["a", "b", "c"] {
        world.send_all(&format!("t/{id}"), [json!({}), json!({})]).await;
    }
    world.calls("c", 2).await;
    let mut calls = [world.calls("a", 2).await, world.calls("b", 2).await].concat();
    calls.sort_by_key(|call| call.span.from);
    for (start, due) in seconds_from(began, &calls).into_iter().zip([0.0, 0.5, 1.0, 1.5]) {
        assert!((due..due + 0.45).contains(&start), "{:?}", seconds_from(began, &calls));
    }
}

#[tokio::test]
async fn functions_share_a_throttle_for_each_value_of_its_key() {
    let world = World::of(vec![takes("a", 0, json!({})), takes("b", 0, json!({}))]).await;
    let shared =
        json!({ "name": "api", "limit": 1, "period": "1h", "key": "event.data.u", "functions": ["app-a", "app-b"] });
    set(&world, json!({ "throttles": [shared] })).await;
    world.run("t/a", json!({ "u": "x" })).await;
    world.run("t/b", json!({ "u": "y" })).await;
    for (id, user) in [("b", "x"), ("a", "y")] {
        let event = world.send(&format!("t/{id}"), json!({ "u": user })).await;
        assert_eq!(world.client().runs_of(&event).await.unwrap()[0]["status"], "Scheduled");
    }
    world.run("t/a", json!({ "u": "z" })).await;
    assert_eq!(world.app.calls().len(), 3);
}

#[tokio::test]
async fn all_throttles_of_a_function_hold() {
    let own = json!({ "throttle": { "limit": 3, "period": "900ms" } });
    let world = World::of(vec![takes("f", 0, own)]).await;
    set(
        &world,
        json!({ "throttles": [
            { "name": "slow", "limit": 1, "period": "1s", "burst": 3, "functions": ["app-f"] },
            { "name": "fast", "limit": 1, "period": "100ms", "functions": ["app-f"] },
        ] }),
    )
    .await;
    let began = Instant::now();
    world.send_all("t/f", vec![json!({}); 6]).await;
    let calls = world.calls("f", 6).await;
    // The fast one spaces the first three, the function's own one the next, the slow one the rest.
    for (start, due) in seconds_from(began, &calls).into_iter().zip([0.0, 0.1, 0.2, 0.3, 1.0, 2.0]) {
        assert!((due..due + 0.45).contains(&start), "{:?}", seconds_from(began, &calls));
    }
}

#[tokio::test]
async fn functions_share_a_rate_limit() {
    let world = World::of(vec![takes("a", 0, json!({})), takes("b", 0, json!({}))]).await;
    let shared = json!({ "name": "api", "limit": 20, "period": "1h", "functions": ["app-a", "app-b"] });
    set(&world, json!({ "rateLimits": [shared] })).await;
    let mut events = Vec::new();
    for id in ["a", "b", "a", "b"] {
        events.push(world.send(&format!("t/{id}"), json!({})).await);
    }
    assert_eq!(world.started(&events).await, [1, 1, 1, 0], "three at once, whoever they are for");
    assert_eq!(world.skips(&events[3]).await[0]["reason"], "RateLimited");
}

#[tokio::test]
async fn a_key_rests_when_its_function_says_that_it_is_too_much() {
    let busy = |id: &str| {
        StubFunction::new(id, &format!("t/{id}"), |call| {
            let first = call.attempt() == 0 && call.body["event"]["data"]["busy"] == true;
            // To the second: the time that is meant is two to three seconds away.
            let headers = vec![("retry-after".into(), "3".into())];
            if first { Answer::Sdk { status: 429, headers, body: "{}".into() } } else { Answer::Return(json!("done")) }
        })
        .config(json!({ "concurrency": { "limit": 5, "key": "event.data.u" } }))
    };
    let world = World::of(vec![busy("adaptive"), busy("plain")]).await;
    set(&world, json!({ "adaptive": ["app-adaptive"] })).await;
    for (id, rests) in [("adaptive", true), ("plain", false)] {
        let name = format!("t/{id}");
        let began = Instant::now();
        world.send(&name, json!({ "u": "a", "busy": true })).await;
        world.calls(id, 1).await;
        tokio::time::sleep(Duration::from_millis(300)).await; // Until its answer is known.
        let other = world.send(&name, json!({ "u": "b" })).await;
        world.ended(&other).await;
        assert!(began.elapsed() < Duration::from_millis(1_800), "{id}: another key goes on");
        let same = world.send(&name, json!({ "u": "a" })).await;
        world.ended(&same).await;
        let rested = began.elapsed() >= Duration::from_secs(2);
        assert_eq!(rested, rests, "{id}: {:?}", began.elapsed());
    }
}

#[tokio::test]
async fn what_was_set_is_shown_and_survives_a_crash() {
    let world = World::of(vec![takes("f", 0, json!({}))]).await;
    let document = json!({ "throttles": [{ "name": "api", "limit": 1, "period": "1h", "functions": ["app-f"] }] });
    set(&world, document.clone()).await;
    world.run("t/f", json!({})).await;
    let world = world.kill_and_restart().await;
    let shown = world.client().get("/v1/flow-control").await.unwrap();
    assert_eq!(shown["data"]["throttles"][0]["name"], "api", "{shown}");
    let event = world.send("t/f", json!({})).await;
    assert_eq!(world.client().runs_of(&event).await.unwrap()[0]["status"], "Scheduled");
    set(&world, json!({})).await;
    world.ended(&event).await;
}

#[tokio::test]
async fn limits_that_make_no_sense_are_refused_by_name() {
    let world = World::of(vec![takes("f", 0, json!({}))]).await;
    let one = |change: Value| {
        let mut throttle = json!({ "name": "api", "limit": 1, "period": "1s", "functions": ["app-f"] });
        throttle.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        json!({ "throttles": [throttle] })
    };
    for (document, named) in [
        (one(json!({ "period": "soon" })), "period"),
        (one(json!({ "period": "0s" })), "period"),
        (one(json!({ "limit": "many" })), "limit"),
        (one(json!({ "key": "event.data." })), "key"),
        (one(json!({ "nmae": "api" })), "nmae"),
        (json!({ "throttle": [] }), "throttle"),
    ] {
        let (status, reply) = put(&world, &document).await;
        assert_eq!(status, 400, "{document}: {reply}");
        assert!(reply.to_string().contains(named), "{document}: {reply}");
    }
}

#[tokio::test]
async fn limits_of_a_file_count_from_the_start_and_stay() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("limits.json");
    let document = json!({ "throttles": [{ "name": "api", "limit": 1, "period": "1h", "functions": ["app-*"] }] });
    std::fs::write(&path, document.to_string()).unwrap();
    let functions = vec![takes("a", 0, json!({})), takes("b", 0, json!({}))];
    let world = World::with(&["--flow-control", path.to_str().unwrap()], functions).await;
    world.run("t/a", json!({})).await;
    let event = world.send("t/b", json!({})).await;
    assert_eq!(world.client().runs_of(&event).await.unwrap()[0]["status"], "Scheduled");
    let (status, reply) = put(&world, &json!({})).await;
    assert_eq!(status, 409, "{reply}");
}

#[tokio::test]
async fn other_sites_cannot_set_limits() {
    let world = World::of(vec![takes("f", 0, json!({}))]).await;
    let headers = [("content-type", "application/json"), ("origin", "https://any.site")];
    let document = json!({ "adaptive": ["app-f"] }).to_string();
    let reply = world.client().request("PUT", "/v1/flow-control", &headers, document).await.unwrap();
    assert_eq!(reply.status, 403, "{}", reply.text());
    assert_eq!(world.client().get("/v1/flow-control").await.unwrap()["data"], json!({}));
}

#[tokio::test]
async fn the_skips_of_a_function_that_is_gone_are_told_with_its_name() {
    let config = json!({ "rateLimit": { "limit": 1, "period": "1h" } });
    let world = World::of(vec![takes("f", 0, config)]).await;
    let events = world.send_all("t/f", [json!({}), json!({})]).await;
    world.ended(&events[0]).await;
    world.sync(&json!([])).await;
    // The registry forgets it at the next start.
    let world = world.kill_and_restart().await;
    assert_eq!(world.skips(&events[1]).await[0]["function_slug"], "app-f");
    let listed = world.client().get("/v1/functions/app-f/skips").await.unwrap();
    assert_eq!(listed["data"][0]["event_id"], json!(events[1]), "{listed}");
}
