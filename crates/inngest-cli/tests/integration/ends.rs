//! How runs end from outside, and how they run again: cancellation, timeouts, reruns.

use std::time::{Duration, Instant};

use inngest_testkit::stub::{op, step_id};
use inngest_testkit::{Answer, StubFunction, wait_until};
use serde_json::{Value, json};

use crate::harness::{SOON, World};

fn sleeper(id: &str) -> StubFunction {
    StubFunction::new(id, &format!("t/{id}"), |call| match call.memo("nap") {
        None => Answer::Ops(json!([op("Sleep", "nap", json!({ "name": "1h" }))])),
        Some(_) => Answer::Return(json!("awake")),
    })
}

/// Waits until the run of an event has made its first call and is asleep.
async fn asleep(world: &World, event: &str) -> String {
    world.pending(event, "Sleeping").await
}

async fn status(world: &World, event: &str) -> Value {
    world.client().runs_of(event).await.unwrap()[0]["status"].clone()
}

#[tokio::test]
async fn an_event_cancels_the_runs_it_matches() {
    let world = World::of(vec![
        sleeper("nap").config(json!({ "cancel": [
            { "event": "t/stop", "if": "event.data.u == async.data.u" },
            { "event": "t/nap", "if": "event.data.u == async.data.u" },
            { "event": "t/soon", "timeout": "1s" },
        ] })),
        StubFunction::new("mourner", "inngest/function.cancelled", |call| {
            Answer::Return(json!({ "id": call.body["event"]["id"], "run": call.body["event"]["data"]["run_id"] }))
        }),
    ])
    .await;
    let x = world.send("t/nap", json!({ "u": "x" })).await;
    let y = world.send("t/nap", json!({ "u": "y" })).await;
    let later = world
        .client()
        .send(&json!({ "name": "t/nap", "data": { "u": "z" }, "ts": 4_000_000_000_000_i64 }))
        .await
        .unwrap()
        .remove(0);
    let (x_run, _) = (asleep(&world, &x).await, asleep(&world, &y).await);
    tokio::time::sleep(Duration::from_millis(1_100)).await; // The time after which `t/soon` cancels no more.
    world.send("t/soon", json!({})).await;
    world.send("t/stop", json!({ "u": "nobody" })).await;
    assert_eq!((status(&world, &x).await, status(&world, &y).await), (json!("Running"), json!("Running")));
    world.send("t/stop", json!({ "u": "x" })).await;
    assert_eq!(world.ended(&x).await["status"], "Cancelled");
    assert_eq!(status(&world, &y).await, "Running");
    // A run that has not begun can be cancelled too; and survives a crash uncancelled.
    let world = world.kill_and_restart().await;
    world.send("t/stop", json!({ "u": "z" })).await;
    let run = world.ended(&later).await;
    assert_eq!(run["status"], "Cancelled");
    let client = world.client();
    let told = wait_until("the handlers", SOON, async || {
        let runs =
            client.get("/v1/runs?function=app-mourner&include_output=true").await.ok()?["data"].as_array()?.clone();
        (runs.iter().filter(|run| run["status"] == "Completed").count() == 2).then_some(runs)
    })
    .await
    .unwrap();
    assert!(told.iter().any(|run| run["output"] == json!({ "id": x_run, "run": x_run })), "{told:?}");
}

#[tokio::test]
async fn a_result_that_comes_after_the_cancellation_is_dropped() {
    let world = World::of(vec![
        StubFunction::new("slow", "t/slow", |_| {
            Answer::After(Duration::from_secs(2), Box::new(Answer::step("a", &json!(1))))
        })
        .config(json!({ "cancel": [{ "event": "t/stop" }] })),
    ])
    .await;
    let event = world.send("t/slow", json!({})).await;
    let app = &world.app;
    wait_until("the call", SOON, async || (!app.calls().is_empty()).then_some(())).await.unwrap();
    let began = Instant::now();
    world.send("t/stop", json!({})).await;
    let run = world.ended(&event).await;
    assert_eq!(run["status"], "Cancelled");
    assert!(began.elapsed() < Duration::from_millis(1_500), "not only when the call ends: {:?}", began.elapsed());
    tokio::time::sleep(Duration::from_millis(2_500)).await; // The answer arrives meanwhile.
    assert_eq!(world.app.calls().len(), 1, "nothing follows from it");
    let id = run["run_id"].as_str().unwrap();
    let actions = world.client().get(&format!("/v1/runs/{id}/actions")).await.unwrap();
    assert_eq!(actions["data"], json!([]));
}

#[tokio::test]
async fn a_run_that_takes_too_long_is_cancelled() {
    let slow = |call: &inngest_testkit::Call| match call.memo("a") {
        None => Answer::After(Duration::from_secs(5), Box::new(Answer::step("a", &json!(1)))),
        Some(_) => Answer::Return(json!(1)),
    };
    let world = World::of(vec![
        sleeper("nap").config(json!({ "timeouts": { "finish": "2s" } })),
        StubFunction::new("slow", "t/slow", slow).config(json!({ "timeouts": { "finish": "1s" } })),
        StubFunction::new("broken", "t/broken", |_| Answer::error("again"))
            .config(json!({ "timeouts": { "finish": "1s" } })),
        sleeper("late").config(json!({ "timeouts": { "start": "1s" } })),
        StubFunction::new("fine", "t/fine", |_| Answer::Return(json!(1)))
            .config(json!({ "timeouts": { "start": "1s", "finish": "1s" } })),
    ])
    .await;
    let began = Instant::now();
    let (nap, slow) = (world.send("t/nap", json!({})).await, world.send("t/slow", json!({})).await);
    let broken = world.send("t/broken", json!({})).await;
    // Its time to begin runs from its scheduling, although it is to begin only later.
    let ts = i64::try_from(std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap() + 60_000;
    let late = world.client().send(&json!({ "name": "t/late", "ts": ts })).await.unwrap().remove(0);
    assert_eq!(world.ended(&slow).await["status"], "Cancelled");
    assert!((0.9..3.0).contains(&began.elapsed().as_secs_f64()), "{:?}", began.elapsed());
    assert_eq!(world.ended(&broken).await["status"], "Cancelled");
    assert_eq!(world.ended(&late).await["status"], "Cancelled");
    assert_eq!(world.app.calls_of("late").len(), 0);
    assert_eq!(world.ended(&nap).await["status"], "Cancelled");
    assert!((1.9..5.0).contains(&began.elapsed().as_secs_f64()), "{:?}", began.elapsed());
    assert_eq!(world.run("t/fine", json!({})).await["status"], "Completed");
}

#[tokio::test]
async fn many_runs_are_cancelled_at_once() {
    let world = World::of(vec![sleeper("nap"), sleeper("other")]).await;
    let mut events = Vec::new();
    for n in 0..5 {
        events.push(world.send("t/nap", json!({ "n": n })).await);
    }
    let other = world.send("t/other", json!({})).await;
    for event in events.iter().chain([&other]) {
        asleep(&world, event).await;
    }
    let post = async |body: Value| world.client().post("/v1/cancellations", &body).await.unwrap();
    let now = || "2026-01-01T00:00:00Z";
    for (body, status, text) in [
        (json!({}), 400, "app_id is required\nfunction_id is required\nstarted_before is required"),
        (
            json!({ "app_id": "app", "function_id": "nap", "started_before": "2099-01-01T00:00:00Z" }),
            400,
            "started_before must be in the past",
        ),
        (
            json!({ "app_id": "app", "function_id": "nap", "started_before": now(), "started_after": "2027-01-01T00:00:00Z" }),
            400,
            "started_after must be before started_before",
        ),
        (json!({ "app_id": "app", "function_id": "nope", "started_before": now() }), 404, "function not found"),
        (
            json!({ "app_id": "app", "function_id": "nap", "started_before": now(), "if": "event.data.n ==" }),
            400,
            "invalid expression: ",
        ),
        (json!("x"), 400, "Invalid cancellation request"),
    ] {
        let reply = post(body.clone()).await;
        let error = reply.json()["error"].as_str().unwrap_or_default().to_owned();
        assert_eq!(reply.status, status, "{body}: {}", reply.text());
        assert!(error.starts_with(text), "{body}: {error}");
    }
    let before = time_text(Duration::from_secs(1));
    let reply =
        post(json!({ "app_id": "app", "function_id": "nap", "started_before": before, "if": "event.data.n < 3" }))
            .await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let id = reply.json()["data"]["id"].as_str().unwrap().to_owned();
    for (n, event) in events.iter().enumerate() {
        assert_eq!(status(&world, event).await, if n < 3 { "Cancelled" } else { "Running" }, "{n}");
    }
    assert_eq!(status(&world, &other).await, "Running");
    let listed = world.client().get("/v1/cancellations").await.unwrap()["data"].clone();
    assert_eq!((listed.as_array().map(Vec::len), listed[0]["id"].as_str()), (Some(1), Some(&*id)));
    let delete = async |id: &str| {
        world.client().request("DELETE", &format!("/v1/cancellations/{id}"), &[], "").await.unwrap().status
    };
    assert_eq!([delete("x").await, delete(&id).await, delete(&id).await], [400, 200, 404]);
}

/// A time so much later than now, as RFC 3339.
pub(crate) fn time_text(ahead: Duration) -> String {
    let at = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap() + ahead;
    let days = at.as_secs() / 86_400;
    // Civil date of a day number (Hinnant), enough for this century.
    let z = days + 719_468;
    let (era, doe) = (z / 146_097, z % 146_097);
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let (mp, rest) = ((5 * doy + 2) / 153, at.as_secs() % 86_400);
    let (day, month) = (doy - (153 * mp + 2) / 5 + 1, if mp < 10 { mp + 3 } else { mp - 9 });
    let year = yoe + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

#[tokio::test]
async fn a_run_runs_again_with_its_event() {
    let world = World::of(vec![StubFunction::new("steps", "t/steps", |call| {
        if call.step == step_id("b") {
            let input = call.body["steps"][step_id("b")]["input"].clone();
            return Answer::step("b", &json!({ "n": null, "input": input }));
        }
        for name in ["a", "b", "c"] {
            match call.memo(name) {
                Some(memo) if memo.get("input").is_none() => {}
                _ => return Answer::step(name, &json!({ "n": null, "name": name })),
            }
        }
        Answer::Return(call.body["steps"].clone())
    })])
    .await;
    let first = world.run("t/steps", json!({ "k": null })).await;
    let id = first["run_id"].as_str().unwrap().to_owned();
    let rerun =
        async |id: &str, body: Value| world.client().post(&format!("/v2/runs/{id}/rerun"), &body).await.unwrap();
    let ended = async |id: &str| {
        let client = world.client();
        wait_until("the rerun", SOON, async || {
            let run = client.get(&format!("/v1/runs/{id}")).await.ok()?["data"].clone();
            (run["status"] == "Completed").then_some(run)
        })
        .await
        .unwrap()
    };
    let second = rerun(&id, json!({})).await.json()["data"]["runId"].as_str().unwrap().to_owned();
    let run = ended(&second).await;
    assert_eq!((&run["event_id"], &run["original_run_id"]), (&first["event_id"], &json!(id)));
    assert_ne!(second, id);
    let third = rerun(&second, json!({})).await.json()["data"]["runId"].as_str().unwrap().to_owned();
    assert_eq!(ended(&third).await["original_run_id"], json!(id), "of the first in the chain");
    let event = first["event_id"].as_str().unwrap();
    assert_eq!(world.client().runs_of(event).await.unwrap().len(), 3);

    let before = world.app.calls().len();
    let body = json!({ "fromStep": { "stepId": "b", "input": [{ "x": null, "a": 1 }] } });
    let fourth = rerun(&id, body).await.json()["data"]["runId"].as_str().unwrap().to_owned();
    let run = ended(&fourth).await;
    let calls = world.app.calls().split_off(before);
    let call = &calls[0];
    assert_eq!(call.step, step_id("b"), "straight to the step");
    assert_eq!(
        call.body["steps"],
        json!({
            step_id("a"): { "data": { "n": null, "name": "a" } },
            step_id("b"): { "input": [{ "x": null, "a": 1 }] },
        })
    );
    assert_eq!(call.body["ctx"]["stack"], json!({ "current": 1, "stack": [step_id("a")] }));
    assert_eq!(run["output"][step_id("b")], json!({ "data": { "n": null, "input": [{ "x": null, "a": 1 }] } }));
    assert_eq!(calls.len(), 3, "b, c, and the return");

    for (id, body, status) in [
        (&*id, json!({ "fromStep": { "stepId": "nope" } }), 400),
        (&*id, json!({ "fromStep": {} }), 400),
        (&*id, json!({ "fromStep": { "stepId": "b", "input": { "x": 1 } } }), 400),
        ("01M85QRDBHC70063SSP1V76AAN", json!({}), 404),
        ("x", json!({}), 400),
    ] {
        let reply = rerun(id, body.clone()).await;
        assert_eq!(reply.status, status, "{body}: {}", reply.text());
    }
}

#[tokio::test]
async fn what_failed_runs_again_by_filter() {
    let world = World::of(vec![StubFunction::new("fix", "t/fix", |call| {
        if call.body["event"]["data"]["ok"] == true { Answer::Return(json!(1)) } else { Answer::fatal("no") }
    })])
    .await;
    for ok in [true, false, false] {
        world.run("t/fix", json!({ "ok": ok })).await;
    }
    let post = async |body: Value| world.client().post("/v1/reruns", &body).await.unwrap();
    assert_eq!(post(json!({ "function_id": "app-nope" })).await.status, 404);
    assert_eq!(post(json!({ "function_id": "app-fix", "status": ["Running"] })).await.status, 400);
    let reply = post(json!({ "function_id": "app-fix", "status": ["Failed"] })).await;
    assert_eq!((reply.status, &reply.json()["data"]["count"]), (200, &json!(2)), "{}", reply.text());
    assert_eq!(post(json!({ "function_id": "app-fix", "limit": 1 })).await.json()["data"]["count"], 1);
}

#[tokio::test]
async fn a_function_is_invoked_by_its_slug() {
    let world = World::of(vec![
        StubFunction::new("quiet", "x", |call| Answer::Return(call.body["event"].clone())).triggers(json!([])),
    ])
    .await;
    let post = async |slug: &str, body: &str| {
        world
            .client()
            .request("POST", &format!("/invoke/{slug}"), &[("content-type", "application/json")], body.to_owned())
            .await
            .unwrap()
    };
    let reply = post("app-quiet", r#"{"data":{"z":1,"a":2},"user":{"u":1},"name":"ignored"}"#).await;
    assert_eq!((reply.status, &reply.json()["status"]), (200, &json!(200)), "{}", reply.text());
    let run = world.ended(reply.json()["id"].as_str().unwrap()).await;
    assert_eq!(reply.json()["run_ids"], json!([run["run_id"]]));
    let event = &run["output"];
    assert_eq!(
        (&event["name"], &event["data"]["z"], &event["user"]["u"]),
        (&json!("inngest/function.invoked"), &json!(1), &json!(1))
    );
    assert_eq!(event["data"]["_inngest"]["fn_id"], "app-quiet");
    assert_eq!(post("app-quiet", "{}").await.status, 200);
    for (slug, body, status) in [
        ("app-nope", "{}", 404),
        ("app-quiet", "", 400),
        ("app-quiet", "[]", 400),
        ("app-quiet", r#"{"data":[]}"#, 400),
        ("app-quiet", r#"{"ts":"x"}"#, 400),
    ] {
        assert_eq!(post(slug, body).await.status, status, "{slug} {body}");
    }
}
