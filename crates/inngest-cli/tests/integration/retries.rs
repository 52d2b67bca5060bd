//! Attempts: how many, when, and of what.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use inngest_testkit::stub::op;
use inngest_testkit::{Answer, Call, StubFunction};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::{Rfc2822, Rfc3339};

use crate::harness::{World, attempts};

fn with(status: u16, headers: &[(&str, &str)], body: &Value) -> Answer {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Answer::Sdk { status, headers, body: body.to_string().into() }
}

fn failing(kind: &str, name: &str) -> Value {
    json!([op(kind, name, json!({ "error": { "name": "E", "message": "m", "cause": { "k": null }, "data": [1] } }))])
}

/// RFC 3339 and RFC 1123 of a time so much later than now.
fn dates(ahead: Duration) -> (String, String) {
    let at = OffsetDateTime::now_utc() + ahead;
    (at.format(&Rfc3339).unwrap(), at.format(&Rfc2822).unwrap().replace("+0000", "GMT"))
}

#[tokio::test]
async fn apps_say_when_to_come_back_in_seconds_or_as_a_date() {
    let (iso, http) = dates(Duration::from_secs(6));
    // What cannot be used leaves the interval of the server, which is a second here.
    let (own, four, six) = (0.9..2.9, 2.9..5.5, 4.5..8.5);
    let table = [
        ("seconds", "4", &four),
        ("iso", &*iso, &six),
        ("http", &*http, &six),
        ("zero", "0", &own),
        ("negative", "-5", &own),
        ("junk", "junk", &own),
    ];
    let times: Arc<Mutex<HashMap<String, Vec<Instant>>>> = Arc::default();
    let mut functions = Vec::new();
    for (id, retry_after, _) in &table {
        for status in [500, 206] {
            let (times, retry_after) = (Arc::clone(&times), (*retry_after).to_owned());
            functions.push(StubFunction::new(&format!("{id}{status}"), "t/all", move |call| {
                times.lock().unwrap().entry(call.function.clone()).or_default().push(Instant::now());
                if call.attempt() > 0 || call.memo("a").is_some() {
                    return Answer::Return(json!(1));
                }
                let headers = [("retry-after", &*retry_after)];
                let body = if status == 206 { failing("StepError", "a") } else { json!({ "message": "later" }) };
                with(status, &headers, &body)
            }));
        }
    }
    let count = functions.len();
    let world = World::of(functions).await;
    let event = world.send("t/all", json!({})).await;
    let runs = world.client().ended_runs(&event, count, crate::harness::SOON).await.unwrap();
    assert!(runs.iter().all(|run| run["status"] == "Completed"), "{runs:?}");
    let times = times.lock().unwrap();
    for (id, retry_after, expected) in &table {
        for status in [500, 206] {
            let times = &times[&format!("app-{id}{status}")];
            let gap = (times[1] - times[0]).as_secs_f64();
            assert!(times.len() == 2 && expected.contains(&gap), "{status} {retry_after}: {gap} in {expected:?}");
        }
    }
}

#[tokio::test]
async fn a_step_and_the_code_after_it_have_all_their_attempts_each() {
    let world = World::of(vec![
        StubFunction::new("both", "t/both", |call| match call.memo("a") {
            None => with(206, &[], &failing("StepError", "a")),
            Some(memo) => with(500, &[], &json!({ "name": "Late", "message": memo["error"]["message"] })),
        })
        .retries(2),
    ])
    .await;
    let run = world.run("t/both", json!({})).await;
    assert_eq!((&run["status"], &run["output"]["name"]), (&json!("Failed"), &json!("Late")));
    assert_eq!(attempts(&world.app, "both"), [0, 1, 2, 0, 1, 2]);
    let known = json!({ "error": { "cause": { "k": null }, "data": [1], "message": "m", "name": "E" } });
    let calls = world.app.calls();
    assert_eq!(calls[3].memo("a"), Some(&known), "as it was reported");
    let jobs: Vec<&Value> = calls.iter().map(|call| &call.body["ctx"]["job_id"]).collect();
    assert!(jobs[0] == jobs[2] && jobs[3] == jobs[5] && jobs[2] != jobs[3], "{jobs:?}");
    let generations: Vec<Option<u64>> = calls.iter().map(|call| call.body["ctx"]["generation_id"].as_u64()).collect();
    assert_eq!(generations, [1, 2, 3, 1, 2, 3].map(Some));
}

#[tokio::test]
async fn what_may_not_be_retried_is_not() {
    let step = |id: &str, kind: &'static str, no_retry: Option<&'static str>| {
        StubFunction::new(id, &format!("t/{id}"), move |call: &Call| match call.memo("a") {
            None => {
                let headers: Vec<_> = no_retry.map(|value| ("x-inngest-no-retry", value)).into_iter().collect();
                with(206, &headers, &failing(kind, "a"))
            }
            Some(memo) => Answer::Return(memo["error"]["noRetry"].clone()),
        })
        .retries(1)
    };
    let status = |id: &str, status: u16, headers: &'static [(&'static str, &'static str)]| {
        StubFunction::new(id, &format!("t/{id}"), move |_: &Call| with(status, headers, &json!({ "message": "no" })))
            .retries(1)
    };
    let world = World::of(vec![
        step("final", "StepError", Some("true")),
        step("soft", "StepError", Some("false")),
        step("failed", "StepFailed", None),
        step("loud", "StepFailed", Some("true")),
        status("plain400", 400, &[]),
        status("final400", 400, &[("x-inngest-no-retry", "true")]),
        status("final500", 500, &[("x-inngest-no-retry", "true")]),
        status("other500", 500, &[("x-inngest-no-retry", "yes")]),
        status("old400", 400, &[("x-inngest-sdk", "inngest-js:v2.4.0")]),
        status("old500", 500, &[("x-inngest-sdk", "inngest-js:v2.4.0")]),
        status("new400", 400, &[("x-inngest-sdk", "inngest-js:v2.4.1")]),
    ])
    .await;
    for (id, no_retry, tries) in [
        ("final", json!(true), vec![0, 0]),
        ("soft", json!(null), vec![0, 1, 0]),
        ("failed", json!(null), vec![0, 0]),
        ("loud", json!(null), vec![0, 0]),
    ] {
        assert_eq!(world.run(&format!("t/{id}"), json!({})).await["output"], no_retry, "{id}");
        assert_eq!(attempts(&world.app, id), tries, "{id}");
    }
    for (id, calls) in [
        ("plain400", 2),
        ("final400", 1),
        ("final500", 1),
        ("other500", 2),
        ("old400", 1),
        ("old500", 2),
        ("new400", 2),
    ] {
        assert_eq!(world.run(&format!("t/{id}"), json!({})).await["status"], "Failed", "{id}");
        assert_eq!(world.app.calls_of(id).len(), calls, "{id}");
    }
}

#[tokio::test]
async fn the_number_of_attempts_is_what_the_function_says_within_bounds() {
    let world = World::of(vec![StubFunction::new("f", "t/f", |_| Answer::error("no"))]).await;
    for (retries, most) in [
        (json!({ "attempts": 0 }), 1),
        (json!({ "attempts": -3 }), 1),
        (json!({ "attempts": 99 }), 21),
        (json!(null), 5),
    ] {
        let mut body = world.app.registration();
        body["functions"][0]["steps"]["step"]["retries"] = retries.clone();
        assert_eq!(world.client().post("/fn/register", &body).await.unwrap().status, 200);
        let before = world.app.calls().len();
        let event = world.send("t/f", json!({})).await;
        let call = world.call("f", before).await;
        assert_eq!(call.body["ctx"]["max_attempts"], most, "{retries}");
        if most == 1 {
            assert_eq!(world.ended(&event).await["status"], "Failed");
            assert_eq!(world.app.calls().len(), before + 1);
        } else {
            let path = format!("/v1/runs/{}", call.run());
            assert_eq!(world.client().request("DELETE", &path, &[], "").await.unwrap().status, 200);
            world.ended(&event).await;
        }
    }
}

#[tokio::test]
async fn an_answer_without_progress_is_bounded() {
    let nothing = |id: &str, body: Value| {
        StubFunction::new(id, &format!("t/{id}"), move |_: &Call| with(206, &[], &body)).retries(1)
    };
    let world = World::of(vec![
        nothing("empty", json!([])),
        nothing("none", json!([{ "op": "None", "id": "" }])),
        nothing("sleep", json!([op("Sleep", "s", json!({ "name": "nope" }))])),
        nothing("wait", json!([op("WaitForEvent", "w", json!({ "opts": { "event": "x", "timeout": "xyz" } }))])),
        nothing("signal", json!([op("WaitForSignal", "w", json!({ "opts": { "signal": "x", "conflict": "?" } }))])),
        nothing("invoke", json!([op("InvokeFunction", "i", json!({ "opts": { "timeout": "xyz" } }))])),
        nothing("discovery", json!([{ "op": "DiscoveryRequest", "id": "d" }])),
    ])
    .await;
    for id in ["empty", "none", "sleep", "wait", "signal", "invoke", "discovery"] {
        let run = world.run(&format!("t/{id}"), json!({})).await;
        assert_eq!(run["status"], "Failed", "{id}");
        let name = if matches!(id, "empty" | "none" | "discovery") { "NoProgress" } else { "InvalidStepOptions" };
        assert_eq!(run["error"]["name"], name, "{id}: {run}");
        // A discovery that was asked for is another job: it has its attempts too.
        let calls = if id == "discovery" { 3 } else { 2 };
        assert_eq!(world.app.calls_of(id).len(), calls, "{id}");
    }
}
