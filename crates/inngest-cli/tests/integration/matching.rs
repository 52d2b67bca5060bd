//! Waits: times of sleeps, the order of events, and conditions that mean the same for one wait and for many.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use inngest_testkit::stub::op;
use inngest_testkit::{Answer, Call, StubFunction, wait_until};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::harness::{SOON, World};

fn from_now(seconds: i64) -> String {
    (OffsetDateTime::now_utc() + time::Duration::seconds(seconds)).format(&Rfc3339).unwrap()
}

#[tokio::test]
async fn sleeps_end_at_their_time_however_it_is_said() {
    let table = [
        ("name", json!({ "name": "1s" }), 1.0..2.5),
        ("half", json!({ "name": "500ms" }), 0.5..2.0),
        ("opts", json!({ "name": "nap", "opts": { "duration": "1s" } }), 1.0..2.5),
        ("negative", json!({ "name": "-5s" }), 0.0..1.0),
        ("nothing", json!({ "name": "" }), 0.0..1.0),
        ("past", json!({ "name": "2020-01-01T00:00:00Z" }), 0.0..1.0),
        ("date", json!({ "name": from_now(5) }), 0.0..5.5),
        ("day", json!({ "name": "2020-01-01" }), 0.0..1.0),
    ];
    let times: Arc<Mutex<HashMap<String, Vec<Instant>>>> = Arc::default();
    let functions = table.iter().map(|(id, more, _)| {
        let (times, more) = (Arc::clone(&times), more.clone());
        StubFunction::new(id, "t/all", move |call: &Call| {
            times.lock().unwrap().entry(call.function.clone()).or_default().push(Instant::now());
            match call.memo("s") {
                None => Answer::Ops(json!([op("Sleep", "s", more.clone())])),
                Some(memo) => Answer::Return(json!([memo])),
            }
        })
    });
    let world = World::of(functions.collect()).await;
    let event = world.send("t/all", json!({})).await;
    let runs = world.client().ended_runs(&event, table.len(), SOON).await.unwrap();
    assert!(runs.iter().all(|run| run["output"] == json!([null])), "{runs:?}");
    let times = times.lock().unwrap();
    for (id, more, expected) in &table {
        let times = &times[&format!("app-{id}")];
        let gap = (times[1] - times[0]).as_secs_f64();
        assert!(times.len() == 2 && expected.contains(&gap), "{more}: {gap}");
    }
    // The server may have started late, but a date is a date.
    assert!(runs.iter().all(|run| run["status"] == "Completed"));
}

fn waits(id: &str, event: &str, opts: &Value) -> StubFunction {
    let more = json!({ "name": event, "opts": opts });
    StubFunction::new(id, &format!("t/{id}"), move |call: &Call| match call.memo("w") {
        None => Answer::Ops(json!([op("WaitForEvent", "w", more.clone())])),
        Some(memo) => Answer::Return(json!({ "got": memo["data"] })),
    })
}

#[tokio::test]
async fn timeouts_of_waits_may_be_dates_and_the_first_event_counts() {
    let world = World::of(vec![
        waits("date", "x/never", &json!({ "timeout": from_now(5) })),
        waits("first", "x/k", &json!({ "timeout": "1h" })),
    ])
    .await;
    let began = Instant::now();
    let dated = world.send("t/date", json!({})).await;
    let mut events = Vec::new();
    for _ in 0..3 {
        let event = world.send("t/first", json!({})).await;
        world.pending(&event, "Waiting").await;
        events.push(event);
    }
    let both = json!([{ "name": "x/k", "data": { "k": 1 } }, { "name": "x/k", "data": { "k": 2 } }]);
    world.client().send(&both).await.unwrap();
    for event in &events {
        assert_eq!(world.ended(event).await["output"], json!({ "got": { "k": 1 } }));
    }
    assert_eq!(world.ended(&dated).await["output"], json!({ "got": null }));
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
}

/// Starts so many runs of a function, and returns their events once all wait.
async fn waiting(world: &World, function: &str, data: &Value, count: usize) -> Vec<String> {
    let event = json!({ "name": format!("t/{function}"), "data": data });
    let events = world.client().send(&json!(vec![event; count])).await.unwrap();
    for event in &events {
        world.pending(event, "Waiting").await;
    }
    events
}

#[tokio::test]
async fn conditions_mean_the_same_for_one_wait_and_for_many() {
    let with = |condition: &str| json!({ "timeout": "1h", "if": condition });
    let table = [
        ("literal", with("5 < async.data.n"), json!({}), json!({ "n": 1 }), json!({ "n": 10 })),
        (
            "negated",
            with("async.data.a == 'zz' || !(async.data.n == 99)"),
            json!({}),
            json!({ "n": 99 }),
            json!({ "n": 98 }),
        ),
        (
            "quoted",
            with("event.data.m == async.data.m"),
            json!({ "m": "a\"b\\c" }),
            json!({ "m": "a" }),
            json!({ "m": "a\"b\\c" }),
        ),
        ("absent", with("event.data.m == async.data.m"), json!({}), json!({ "m": 1 }), json!({ "m": null })),
        ("mirrored", with("async.data.m == event.data.m"), json!({}), json!({ "m": 1 }), json!({})),
    ];
    let functions = table.iter().map(|(id, opts, ..)| waits(id, &format!("x/{id}"), opts));
    let world = World::of(functions.collect()).await;
    for count in [1, 60] {
        for (id, opts, data, misses, hits) in &table {
            let events = waiting(&world, id, data, count).await;
            let name = format!("x/{id}");
            world.send(&name, misses.clone()).await;
            world.send(&name, hits.clone()).await;
            for event in &events {
                let run = world.ended(event).await;
                assert_eq!(run["output"], json!({ "got": hits }), "{count} waits for {opts}");
            }
        }
    }
}

#[tokio::test]
async fn an_invoked_function_that_returns_nothing_gives_null() {
    let invoke = |id: &str, child: &str| {
        let opts = json!({ "opts": { "function_id": format!("app-{child}") } });
        StubFunction::new(id, &format!("t/{id}"), move |call: &Call| match call.memo("i") {
            None => Answer::Ops(json!([op("InvokeFunction", "i", opts.clone())])),
            Some(memo) => Answer::Return(json!({ "memo": memo })),
        })
    };
    let returns = |id: &str, status: u16, body: &'static str| {
        StubFunction::new(id, "x", move |_| Answer::Sdk { status, headers: Vec::new(), body: body.into() })
            .triggers(json!([]))
    };
    let world = World::of(vec![
        invoke("null", "cnull"),
        invoke("empty", "cempty"),
        invoke("none", "cnone"),
        returns("cnull", 200, "null"),
        returns("cempty", 200, ""),
        returns("cnone", 204, ""),
    ])
    .await;
    for id in ["null", "empty", "none"] {
        assert_eq!(
            world.run(&format!("t/{id}"), json!({})).await["output"],
            json!({ "memo": { "data": null } }),
            "{id}"
        );
    }
}

#[tokio::test]
async fn a_wait_whose_signal_was_taken_over_ends_at_its_timeout() {
    let waits = |id: &str, timeout: &str, conflict: &str| {
        let more = json!({ "opts": { "signal": "s", "timeout": timeout, "conflict": conflict } });
        StubFunction::new(id, &format!("t/{id}"), move |call: &Call| match call.memo("w") {
            None => Answer::Ops(json!([op("WaitForSignal", "w", more.clone())])),
            Some(memo) => Answer::Return(json!({ "memo": memo })),
        })
    };
    let world = World::of(vec![waits("first", "3s", "fail"), waits("second", "1h", "replace")]).await;
    let first = world.send("t/first", json!({})).await;
    world.pending(&first, "Waiting").await;
    let second = world.send("t/second", json!({})).await;
    world.pending(&second, "Waiting").await;
    assert_eq!(world.ended(&first).await["output"], json!({ "memo": null }));
    // Its end has not taken the name from the other one.
    let data = json!({ "signal": "s", "data": { "x": 1 } });
    assert_eq!(world.client().post("/v1/signals", &data).await.unwrap().status, 200);
    assert_eq!(world.ended(&second).await["output"], json!({ "memo": { "data": data } }));
}

#[tokio::test]
async fn a_run_may_start_anew_from_a_sleep_or_a_failed_step() {
    let world = World::of(vec![StubFunction::new("f", "t/f", |call| {
        if call.memo("a").is_none() {
            let error = json!({ "error": { "name": "E", "message": "m" } });
            return Answer::Ops(json!([op("StepFailed", "a", error)]));
        }
        match call.memo("nap") {
            None => Answer::Ops(json!([op("Sleep", "nap", json!({ "name": "500ms" }))])),
            Some(nap) => Answer::Return(json!([call.memo("a"), nap])),
        }
    })])
    .await;
    let first = world.run("t/f", json!({})).await;
    let id = first["run_id"].as_str().unwrap();
    let path = format!("/v2/runs/{id}/rerun");
    let rerun = async |step: &str, input: Value| {
        let body = json!({ "fromStep": { "stepId": step, "input": input } });
        world.client().post(&path, &body).await.unwrap()
    };
    let before = world.app.calls().len();
    let body = json!({ "fromStep": { "stepId": "nap" } });
    let reply = world.client().post(&path, &body).await.unwrap();
    let again = reply.json()["data"]["runId"].as_str().unwrap().to_owned();
    wait_until("the rerun", SOON, async || {
        let run = world.client().get(&format!("/v1/runs/{again}")).await.ok()?["data"].clone();
        (run["output"] == first["output"]).then_some(())
    })
    .await
    .unwrap();
    let calls = world.app.calls().split_off(before);
    assert_eq!((calls.len(), &*calls[0].step), (2, "step"), "a sleep is not run by the app: a call from the top");
    assert_eq!(calls[0].memo("a"), Some(&json!({ "error": { "message": "m", "name": "E" } })), "an error stays one");
    assert_eq!(calls[0].memo("nap"), None);
    for (step, input, text) in [
        ("nope", json!([]), "Step not found in original run"),
        ("a", json!({ "x": 1 }), "input is not a valid JSON array"),
    ] {
        let reply = rerun(step, input).await;
        assert!(reply.status == 400 && reply.text().contains(text), "{step}: {}", reply.text());
    }
}
