//! Runs under flow control that do not begin with an event of their sender, or do not end by themselves: schedules,
//! invokes, reruns, cancellations.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use inngest_testkit::stub::{Posting, op, step_id};
use inngest_testkit::{Answer, Call, Client, StubFunction, wait_until};
use serde_json::{Value, json};

use crate::harness::{SOON, World, takes};

#[tokio::test]
async fn what_is_queued_is_cancelled_by_events() {
    let cancel = json!([{ "event": "t/stop", "if": "event.data.u == async.data.u" }]);
    let world = World::of(vec![
        takes("throttled", 0, json!({ "throttle": { "limit": 1, "period": "1h" }, "cancel": cancel })),
        takes("limited", 30_000, json!({ "concurrency": 1, "cancel": cancel })),
        takes(
            "single",
            0,
            json!({ "throttle": { "limit": 1, "period": "1h" }, "cancel": cancel, "singleton": { "key": "event.data.u" } }),
        ),
    ])
    .await;
    for id in ["throttled", "limited", "single"] {
        let events = world.send_all(&format!("t/{id}"), ["first", "x", "y"].map(|user| json!({ "u": user }))).await;
        world.calls(id, 1).await;
        world.send("t/stop", json!({ "u": "x" })).await;
        assert_eq!(world.ended(&events[1]).await["status"], "Cancelled", "{id}");
        assert_eq!(world.client().runs_of(&events[2]).await.unwrap()[0]["status"], "Scheduled", "{id}");
        assert_eq!(world.app.calls_of(id).len(), 1, "{id}");
    }
    let again = world.send("t/single", json!({ "u": "x" })).await;
    assert_eq!(world.started(&[again]).await, [1], "what is cancelled is out of the way");
}

#[tokio::test]
async fn a_tick_of_a_schedule_has_one_outcome() {
    let function =
        |id: &str, millis: u64, config: Value| takes(id, millis, config).triggers(json!([{ "cron": "*/2 * * * * *" }]));
    let world = World::of(vec![
        function("debounce", 0, json!({ "debounce": { "period": "1s" } })),
        // Every other tick comes while a run goes on.
        function("singleton", 3_000, json!({ "singleton": { "mode": "skip" } })),
        function("rate", 0, json!({ "rateLimit": { "limit": 1, "period": "1h" } })),
        function("throttle", 0, json!({ "throttle": { "limit": 1, "period": "100ms" } })),
        function("concurrency", 0, json!({ "concurrency": 1 })),
    ])
    .await;
    world.calls("singleton", 3).await;
    let ticks = |id: &str| -> Vec<i64> {
        let time = |call: &Call| {
            let at =
                call.body["event"]["id"].as_str().unwrap().split_once('T').unwrap().1.trim_end_matches('Z').to_owned();
            at.split(':').fold(0, |sum, part| sum * 60 + part.parse::<i64>().unwrap())
        };
        world.app.calls_of(id).iter().map(time).collect()
    };
    let gaps =
        |id: &str| -> Vec<i64> { ticks(id).windows(2).map(|pair| (pair[1] - pair[0]).rem_euclid(86_400)).collect() };
    assert_eq!(gaps("singleton"), [4, 4], "the tick between them is skipped, the next one is on time");
    for id in ["debounce", "throttle", "concurrency"] {
        let gaps = gaps(id);
        assert!(gaps.len() >= 2 && gaps.iter().all(|gap| *gap == 2), "{id}: one run for each tick: {gaps:?}");
    }
    assert_eq!(ticks("rate").len(), 1);
}

/// A function that invokes another one with these data.
fn parent(id: &str, child: &str) -> StubFunction {
    let child = format!("app-{child}");
    StubFunction::new(id, &format!("t/{id}"), move |call| match call.memo("child") {
        None => {
            let opts = json!({ "function_id": child, "payload": { "data": call.body["event"]["data"] } });
            Answer::Ops(json!([op("InvokeFunction", "child", json!({ "opts": opts }))]))
        }
        Some(value) => Answer::Return(value.clone()),
    })
}

#[tokio::test]
async fn an_invoke_obeys_the_controls_of_the_function() {
    let counted = StubFunction::new("batched", "t/batched", |call| {
        Answer::Return(json!(call.body["events"].as_array().map(Vec::len)))
    });
    let world = World::of(vec![
        takes("debounced", 0, json!({ "debounce": { "period": "1s", "key": "event.data.u" } })),
        counted.config(json!({ "batchEvents": { "maxSize": 2, "timeout": "1s" } })),
        takes("throttled", 0, json!({ "throttle": { "limit": 1, "period": "1s" } })),
        takes("limited", 500, json!({ "concurrency": 1 })),
        parent("debounce", "debounced"),
        parent("batch", "batched"),
        parent("throttle", "throttled"),
        parent("limit", "limited"),
    ])
    .await;
    for (id, least, output) in
        [("debounce", 1.0, [0, 1]), ("batch", 0.0, [2, 2]), ("throttle", 1.0, [0, 1]), ("limit", 1.0, [0, 1])]
    {
        let began = Instant::now();
        let events = world.send_all(&format!("t/{id}"), [json!({ "u": 0 }), json!({ "u": 1 })]).await;
        let outputs = world.all_ended(&events).await.into_iter().map(|run| {
            let data = &run["output"]["data"];
            data.get("u").unwrap_or(data).clone()
        });
        assert_eq!(outputs.collect::<Vec<_>>(), output, "{id}");
        assert!(began.elapsed().as_secs_f64() >= least, "{id}: {:?}", began.elapsed());
    }
}

#[tokio::test]
async fn an_invoke_whose_event_is_debounced_away_gets_the_result_of_the_run() {
    let world = World::of(vec![
        takes("debounced", 0, json!({ "debounce": { "period": "1s" } })),
        parent("parent", "debounced"),
    ])
    .await;
    let events = world.send_all("t/parent", [json!({ "u": 0 }), json!({ "u": 1 })]).await;
    let runs = world.all_ended(&events).await;
    let last = world.calls("debounced", 1).await[0].body["event"]["data"]["u"].clone();
    for run in runs {
        assert_eq!(run["output"]["data"]["u"], last, "{run}");
    }
}

#[tokio::test]
async fn a_rerun_waits_for_its_start_like_any_other() {
    let world = World::of(vec![takes("f", 0, json!({ "throttle": { "limit": 1, "period": "1s" } }))]).await;
    let run = world.run("t/f", json!({})).await;
    rerun(&world, &run).await;
    let calls = world.calls("f", 2).await;
    let gap = calls[1].span.from - calls[0].span.from;
    // The first call may have been on its way for some time.
    assert!((0.8..2.0).contains(&gap.as_secs_f64()), "{gap:?}");
}

#[tokio::test]
async fn a_rerun_takes_a_slot_with_the_key_of_its_event() {
    let limit = json!({ "concurrency": { "limit": 1, "key": "event.data.u" } });
    let world = World::of(vec![takes("f", 400, limit)]).await;
    let run = world.run("t/f", json!({ "u": "a" })).await;
    let other = world.send("t/f", json!({ "u": "a" })).await;
    world.calls("f", 2).await;
    rerun(&world, &run).await;
    world.ended(&other).await;
    let calls = world.calls("f", 3).await;
    assert!(calls[2].span.from >= calls[1].span.to().unwrap(), "one after the other");
}

/// Runs a run again; the id of the new one.
async fn rerun(world: &World, run: &Value) -> String {
    let path = format!("/v1/runs/{}/rerun", run["run_id"].as_str().unwrap());
    let reply = world.client().post(&path, &json!({})).await.unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()["data"]["runId"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_rerun_heeds_a_singleton_and_is_not_admitted_again_otherwise() {
    let nap = |_: &Call| Answer::Ops(json!([op("Sleep", "nap", json!({ "name": "1h" }))]));
    let world = World::of(vec![
        StubFunction::new("single", "t/single", nap).config(json!({ "singleton": { "mode": "skip" } })),
        takes("rate", 0, json!({ "rateLimit": { "limit": 1, "period": "1h" } })),
        takes("debounce", 0, json!({ "debounce": { "period": "1s" } })),
        takes("batch", 0, json!({ "batchEvents": { "maxSize": 2, "timeout": "1h" } })),
    ])
    .await;
    let first = world.send("t/single", json!({})).await;
    let run = world.pending(&first, "Sleeping").await;
    let skipped = rerun(&world, &json!({ "run_id": run })).await;
    let shown = world.client().get(&format!("/v1/runs/{skipped}")).await.unwrap()["data"].clone();
    assert_eq!(
        (&shown["status"], &shown["skip_reason"], &shown["skip_existing_run_id"]),
        (&json!("Skipped"), &json!("Singleton"), &json!(run))
    );
    for (id, events) in [("rate", 1), ("debounce", 1), ("batch", 2)] {
        let sent = world.send_all(&format!("t/{id}"), vec![json!({}); events]).await;
        let run = world.ended(&sent[0]).await;
        let began = Instant::now();
        let again = rerun(&world, &run).await;
        let calls = world.calls(id, 2).await;
        assert!(began.elapsed() < Duration::from_millis(900), "{id}: at once");
        assert_eq!((calls[1].run(), &calls[1].body["events"]), (again.as_str(), &calls[0].body["events"]), "{id}");
    }
}

/// A retry after steps were checkpointed is attempt 0 again, and no new start all the same.
#[tokio::test]
async fn what_follows_a_checkpoint_is_no_start() {
    let (sent, gone) = (Arc::new(Mutex::new(None::<Client>)), Arc::new(AtomicBool::new(false)));
    let (client, failed) = (Arc::clone(&sent), Arc::clone(&gone));
    let script = move |call: &Call| {
        if call.memo("a").is_some() || failed.swap(true, Ordering::Relaxed) {
            return Answer::Return(json!("done"));
        }
        let body = json!({ "fn_id": call.body["ctx"]["fn_id"], "qi_id": call.body["ctx"]["qi_id"],
            "run_id": call.run(), "steps": [op("StepRun", "a", json!({ "data": { "data": 1 } }))] });
        let client = client.lock().unwrap().clone().unwrap();
        let path = format!("/v1/checkpoint/{}/async", call.run());
        Answer::Posting(Box::new(Posting { client, path, body, then: Answer::error("after the checkpoint") }))
    };
    let config = json!({ "throttle": { "limit": 1, "period": "1h" } });
    let world = World::of(vec![StubFunction::new("f", "t/f", script).config(config)]).await;
    *sent.lock().unwrap() = Some(world.client().clone());
    assert_eq!(world.run("t/f", json!({})).await["status"], "Completed", "within an hour");
    let calls = world.calls("f", 2).await;
    assert_eq!((calls[1].attempt(), calls[1].memo("a").is_some()), (0, true));
}

/// A rerun from a step begins with the call of that step, which starts the run like any other first call.
#[tokio::test]
async fn a_rerun_from_a_step_is_a_start() {
    let script = |call: &Call| match call.memo("a") {
        None if call.body["event"]["data"]["n"] == "held" => {
            Answer::Ops(json!([op("Sleep", "long", json!({ "name": "1h" }))]))
        }
        None => Answer::step("a", &json!(1)),
        Some(_) => Answer::Return(json!("done")),
    };
    let config = json!({ "concurrency": { "fn": [{ "limit": 1 }] } });
    let world = World::of(vec![StubFunction::new("f", "t/f", script).config(config)]).await;
    let original = world.run("t/f", json!({ "n": "first" })).await;
    let held = world.send("t/f", json!({ "n": "held" })).await;
    world.pending(&held, "Sleeping").await;
    let count = world.app.calls_of("f").len();
    let path = format!("/v2/runs/{}/rerun", original["run_id"].as_str().unwrap());
    let reply = world.client().post(&path, &json!({ "fromStep": { "stepId": step_id("a") } })).await.unwrap();
    let id = reply.json()["data"]["runId"].as_str().unwrap().to_owned();
    let waits = wait_until("it waits for the run that goes on", SOON, async || {
        let explained = world.client().get(&format!("/v1/runs/{id}/explain")).await.ok()?;
        explained["data"]["jobs"].as_array()?.iter().any(|job| job["cause"]["of"] == "runs").then_some(())
    });
    waits.await.unwrap();
    assert_eq!(world.app.calls_of("f").len(), count);
}
