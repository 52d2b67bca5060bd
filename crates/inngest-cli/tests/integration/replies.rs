//! How apps answer: streams, redirects, connections that break, and what a run shows of errors.

use std::time::{Duration, Instant};

use inngest_testkit::stub::op;
use inngest_testkit::{Answer, Call, StubFunction};
use serde_json::{Value, json};

use crate::harness::{World, attempts};

/// A streamed answer: white space first, then the wrapper in two pieces.
fn streamed(wrapper: &Value) -> Answer {
    let text = wrapper.to_string();
    let (first, second) = text.split_at(text.len() / 2);
    let pause = Duration::from_millis(30);
    let pieces = [" ", "\n  ", first, second].map(|piece| (pause, piece.to_owned().into()));
    Answer::Pieces { status: 201, pieces: pieces.to_vec(), cut: false }
}

#[tokio::test]
async fn the_status_and_headers_inside_a_stream_count() {
    let once = |id: &str, wrapper: fn() -> Value| {
        StubFunction::new(id, &format!("t/{id}"), move |call: &Call| match call.memo("a") {
            None => streamed(&json!({
                "status": 206, "headers": { "X-Inngest-Req-Version": "1" }, "error": null, "body": wrapper(),
            })),
            Some(memo) => streamed(&json!({ "status": 200, "body": memo["data"], "headers": {} })),
        })
    };
    let as_text = || json!(json!([op("StepRun", "a", json!({ "data": { "x": null } }))]).to_string());
    let as_json = || json!([op("StepRun", "a", json!({ "data": { "x": null } }))]);
    let world = World::of(vec![
        // JS and Python put the body in as text, Go as JSON.
        once("text", as_text),
        once("json", as_json),
        StubFunction::new("later", "t/later", |call| match call.attempt() {
            0 => streamed(&json!({ "status": 500, "headers": { "retry-after": "4" }, "body": "{}" })),
            _ => streamed(&json!({ "status": 202, "headers": null, "body": "done" })),
        }),
        StubFunction::new("final", "t/final", |_| {
            streamed(
                &json!({ "status": 500, "headers": { "x-inngest-no-retry": "true" }, "body": "{\"message\":\"no\"}" }),
            )
        }),
        // Go's wrapper says it beside the headers.
        StubFunction::new("gofinal", "t/gofinal", |_| {
            streamed(&json!({ "status": 500, "noRetry": true, "body": "error calling function: no" }))
        }),
        StubFunction::new("golater", "t/golater", |call| {
            let at = (std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap() + Duration::from_secs(5)).as_secs();
            let at = time::OffsetDateTime::from_unix_timestamp(at.cast_signed()).unwrap();
            let at = at.format(&time::format_description::well_known::Rfc3339).unwrap();
            match call.attempt() {
                0 => streamed(&json!({ "Status": 500, "RetryAt": at, "Body": "error calling function: no" })),
                _ => Answer::Return(json!("done")),
            }
        }),
        StubFunction::new("error", "t/error", |_| streamed(&json!({ "status": 200, "body": "1", "error": "boom" })))
            .retries(1),
    ])
    .await;
    let began = Instant::now();
    let late = [world.send("t/later", json!({})).await, world.send("t/golater", json!({})).await];
    for id in ["text", "json"] {
        assert_eq!(world.run(&format!("t/{id}"), json!({})).await["output"], json!({ "x": null }), "{id}");
        assert_eq!(world.app.calls_of(id)[1].body["version"], 1, "{id}: the header inside wins");
    }
    for (id, message) in [("final", "no"), ("gofinal", "error calling function: no")] {
        let run = world.run(&format!("t/{id}"), json!({})).await;
        assert_eq!((&run["status"], &run["error"]["message"]), (&json!("Failed"), &json!(message)), "{id}");
        assert_eq!(attempts(&world.app, id), [0], "{id}");
    }
    let run = world.run("t/error", json!({})).await;
    assert_eq!((&run["status"], &run["error"]["message"]), (&json!("Failed"), &json!("error parsing stream: boom")));
    assert_eq!(attempts(&world.app, "error"), [0, 1]);
    for event in late {
        assert_eq!(world.ended(&event).await["output"], "done");
        let after = began.elapsed().as_secs_f64();
        assert!((2.9..9.0).contains(&after), "later than the interval of the server: {after}");
    }
}

#[tokio::test]
async fn a_reply_that_breaks_off_is_told_from_an_app_that_is_not_there() {
    let world = World::of(vec![
        StubFunction::new("cut", "t/cut", |_| Answer::Pieces {
            status: 201,
            pieces: vec![(Duration::from_millis(50), " ".into())],
            cut: true,
        })
        .retries(1),
        StubFunction::new("closed", "t/closed", |_| Answer::Nothing).retries(1),
    ])
    .await;
    for (id, message) in [
        ("cut", "Your server reset the connection while we were reading the reply"),
        ("closed", "Unable to reach SDK URL"),
    ] {
        let run = world.run(&format!("t/{id}"), json!({})).await;
        assert_eq!((&run["status"], &run["error"]["message"]), (&json!("Failed"), &json!(message)), "{run}");
        let stack = run["output"]["error"]["stack"].as_str().unwrap();
        assert!(stack.contains(message), "{stack}");
        assert_eq!(run["output"]["error"]["name"], "Error");
    }
    assert_eq!(attempts(&world.app, "cut"), [0, 1]);
}

#[tokio::test]
async fn a_redirected_call_arrives_whole() {
    let redirect = |status: u16, to: &str| Answer::Raw {
        status,
        headers: vec![("location".into(), to.into())],
        body: bytes::Bytes::new(),
    };
    let moved = move |id: &str, status: u16| {
        StubFunction::new(id, &format!("t/{id}"), move |call: &Call| {
            if call.target.starts_with("/moved") {
                Answer::Return(json!({ "target": call.target, "run": call.run() }))
            } else {
                redirect(status, "/moved?z=1&fnId=other")
            }
        })
        .retries(0)
    };
    let world = World::of(vec![
        moved("s301", 301),
        moved("s302", 302),
        moved("s303", 303),
        moved("s307", 307),
        moved("s308", 308),
        StubFunction::new("circle", "t/circle", move |_| redirect(307, "/api/inngest")).retries(0),
        StubFunction::new("nowhere", "t/nowhere", move |_| redirect(302, "ftp://x/")).retries(0),
    ])
    .await;
    for id in ["s301", "s302", "s303", "s307", "s308"] {
        let run = world.run(&format!("t/{id}"), json!({})).await;
        let target = format!("/moved?fnId=app-{id}&stepId=step&z=1");
        assert_eq!(run["output"], json!({ "target": target, "run": run["run_id"] }), "{id}");
    }
    let circle = world.run("t/circle", json!({})).await;
    assert!(circle["error"]["message"].as_str().unwrap().contains("redirects lead nowhere"), "{circle}");
    assert_eq!(world.app.calls_of("circle").len(), 61, "60 redirects are followed");
    let nowhere = world.run("t/nowhere", json!({})).await;
    assert!(nowhere["error"]["message"].as_str().unwrap().contains("redirects lead nowhere"), "{nowhere}");
}

#[tokio::test]
async fn a_slow_app_holds_up_no_other() {
    let slow = Duration::from_secs(3);
    let world = World::with(
        &["--queue-workers=50"],
        vec![
            StubFunction::new("slow", "t/slow", move |_| Answer::After(slow, Box::new(Answer::Return(json!(1))))),
            StubFunction::new("quick", "t/quick", |_| Answer::Return(json!(1))),
        ],
    )
    .await;
    let events: Vec<Value> = (0..20).map(|_| json!({ "name": "t/slow" })).collect();
    let events = world.client().send(&json!(events)).await.unwrap();
    world.call("slow", 19).await;
    let began = Instant::now();
    world.run("t/quick", json!({})).await;
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    for event in events {
        assert_eq!(world.ended(&event).await["status"], "Completed");
    }
    assert_eq!(world.app.calls_of("slow").len(), 20, "each once");
}

#[tokio::test]
async fn what_a_failed_run_shows_is_what_clients_compare() {
    let raw = |status: u16, body: &'static str| Answer::Raw {
        status,
        headers: vec![("content-type".into(), "text/html".into())],
        body: body.into(),
    };
    let wait = json!({ "name": "t/x", "opts": { "timeout": "1h", "if": "async.data.a ==" } });
    let world = World::of(vec![
        StubFunction::new("html", "t/html", move |_| raw(200, "<html>hi</html>")).retries(0),
        StubFunction::new("gone", "t/gone", move |_| raw(404, "<p>&</p>")).retries(0),
        StubFunction::new("expression", "t/expression", move |_| {
            Answer::Ops(json!([op("WaitForEvent", "w", wait.clone())]))
        }),
        StubFunction::new("long", "t/long", |_| Answer::Ops(json!([op("Sleep", "s", json!({ "name": "400d" }))]))),
        StubFunction::new("longwait", "t/longwait", |_| {
            Answer::Ops(json!([op("WaitForEvent", "w", json!({ "name": "x", "opts": { "timeout": "400d" } }))]))
        }),
        StubFunction::new("notsdk206", "t/notsdk206", move |_| raw(206, "[]")).retries(0),
    ])
    .await;
    let html = world.run("t/html", json!({})).await;
    assert_eq!(html["output"], "<html>hi</html>", "the body itself");
    assert_eq!(
        (&html["error"]["error"], &html["error"]["message"]),
        (&json!("not_sdk"), &json!("The response did not come from an Inngest SDK"))
    );
    let gone = world.run("t/gone", json!({})).await;
    let message = "Your server returned HTTP 404 before the SDK responded.";
    let shown = &gone["output"];
    assert_eq!(
        (&shown["error"], &shown["name"], &shown["message"]),
        (&json!(message), &json!("Server returned a fatal error"), &json!(message)),
        "without an outer `error`"
    );
    assert!(shown["stack"].as_str().unwrap().ends_with("\n\nUpstream response (text/html):\n<p>&</p>"), "{shown}");
    let expression = world.run("t/expression", json!({})).await;
    let error = &expression["output"]["error"];
    let message = "Wait for event If expression failed to compile";
    assert_eq!(
        (&error["error"], &error["name"], &error["message"]),
        (&json!(format!("InvalidExpression: {message}")), &json!("InvalidExpression"), &json!(message))
    );
    assert!(error["stack"].as_str().is_some_and(|text| !text.is_empty()), "{error}");
    assert_eq!(world.app.calls_of("expression").len(), 1);
    for id in ["long", "longwait"] {
        let run = world.run(&format!("t/{id}"), json!({})).await;
        assert_eq!(run["output"]["error"]["name"], "InngestErrTimeoutTooLong", "{id}");
        assert_eq!(world.app.calls_of(id).len(), 1, "{id}");
    }
    let not_sdk = world.run("t/notsdk206", json!({})).await;
    assert_eq!(not_sdk["error"]["error"], "not_sdk");
    assert_eq!(world.app.calls_of("notsdk206").len(), 1);
}
