//! Steps that wait for something else: events, other functions, signals, HTTP requests of the server.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use inngest_testkit::stub::{op, step_id};
use inngest_testkit::{Answer, Call, StubFunction, wait_until};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::harness::{SOON, World};

/// A function whose only step is this op; it returns the value of the step.
fn one(id: &str, kind: &'static str, more: Value) -> StubFunction {
    StubFunction::new(id, &format!("t/{id}"), move |call| match call.memo("w") {
        None => Answer::Ops(json!([op(kind, "w", more.clone())])),
        Some(value) => Answer::Return(json!({ "value": value })),
    })
    .retries(1)
}

/// Waits until the run of an event waits for something.
async fn waiting(world: &World, event: &str) -> String {
    let client = world.client();
    let found = wait_until("a waiting step", SOON, async || {
        let runs = client.runs_of(event).await.ok()?;
        let id = runs.first()?["run_id"].as_str()?.to_owned();
        let actions = client.get(&format!("/v1/runs/{id}/actions")).await.ok()?;
        let pending = actions["data"]
            .as_array()?
            .iter()
            .any(|step| matches!(step["status"].as_str(), Some("Waiting" | "Invoking" | "Sleeping")));
        pending.then_some(id)
    });
    found.await.unwrap_or_else(|error| panic!("{error:#}\n{}", world.server.log()))
}

#[tokio::test]
async fn an_event_resumes_every_run_whose_condition_it_satisfies() {
    let opts = json!({ "name": "t/paid", "opts": { "timeout": "1h", "if": "event.data.id == async.data.id" } });
    let world = World::of(vec![one("order", "WaitForEvent", opts)]).await;
    let mut events = Vec::new();
    for id in [json!(7), json!(7), json!("a\"b\\c\n"), json!(8)] {
        let event = world.send("t/order", json!({ "id": id })).await;
        waiting(&world, &event).await;
        events.push(event);
    }
    world.send("t/paid", json!({ "id": 9 })).await;
    let paid = world.send("t/paid", json!({ "id": 7, "by": "card" })).await;
    for event in &events[..2] {
        let run = world.ended(event).await;
        let value = &run["output"]["value"];
        assert_eq!(
            (&value["name"], &value["id"], &value["data"]["by"]),
            (&json!("t/paid"), &json!(paid), &json!("card"))
        );
        assert_eq!(value["user"], json!({}), "the event itself, not wrapped: {value}");
    }
    world.send("t/paid", json!({ "id": "a\"b\\c\n" })).await;
    assert_eq!(world.ended(&events[2]).await["status"], "Completed");
    assert_eq!(world.client().runs_of(&events[3]).await.unwrap()[0]["status"], "Running");
}

#[tokio::test]
async fn a_wait_times_out_with_null_and_survives_a_crash() {
    let opts = |timeout: &str| json!({ "opts": { "event": "t/never", "timeout": timeout } });
    let world = World::of(vec![
        one("short", "WaitForEvent", opts("2s")),
        one("none", "WaitForEvent", opts("")),
        one("long", "WaitForEvent", opts("1h")),
        one("wild", "WaitForEvent", json!({ "opts": { "event": "t/*", "timeout": "1s" } })),
    ])
    .await;
    let began = Instant::now();
    assert_eq!(world.run("t/none", json!({})).await["output"], json!({ "value": null }));
    let short = world.send("t/short", json!({})).await;
    let long = world.send("t/long", json!({})).await;
    waiting(&world, &long).await;
    let world = world.kill_and_restart().await;
    assert_eq!(world.ended(&short).await["output"], json!({ "value": null }));
    assert!(began.elapsed() >= Duration::from_secs(2), "never early: {:?}", began.elapsed());
    world.send("t/never", json!({ "n": 1 })).await;
    assert_eq!(world.ended(&long).await["output"]["value"]["data"], json!({ "n": 1 }));
    // No pattern is a name.
    let wild = world.send("t/wild", json!({})).await;
    world.send("t/anything", json!({})).await;
    assert_eq!(world.ended(&wild).await["output"], json!({ "value": null }));
}

#[tokio::test]
async fn an_event_of_a_sibling_step_is_not_missed() {
    // The wait and the step that leads to the event are reported together, the wait last.
    let world = World::of(vec![
        StubFunction::new("pair", "t/pair", |call| {
            if call.step == step_id("send") {
                return Answer::step("send", &json!(1));
            }
            match call.memo("w") {
                None => Answer::Ops(json!([
                    op(
                        "InvokeFunction",
                        "i",
                        json!({ "opts": { "function_id": "app-echo", "payload": { "data": {} } } })
                    ),
                    op("WaitForEvent", "w", json!({ "name": "inngest/function.invoked", "opts": { "timeout": "3s" } })),
                ])),
                Some(value) => Answer::Return(json!({ "value": value })),
            }
        }),
        StubFunction::new("echo", "t/echo", |_| Answer::Return(json!(1))),
    ])
    .await;
    let run = world.run("t/pair", json!({})).await;
    assert_eq!(run["output"]["value"]["name"], "inngest/function.invoked", "{run}");
}

fn invoke(function: &str, more: Value) -> Value {
    let mut opts = json!({ "function_id": function, "payload": { "data": { "n": 2 }, "user": { "u": 1 } } });
    if let (Some(fields), Value::Object(more)) = (opts.as_object_mut(), more) {
        fields.extend(more);
    }
    json!({ "opts": opts })
}

#[tokio::test]
async fn an_invoked_function_gives_its_result_its_error_or_why_there_is_none() {
    let world = World::of(vec![
        one("good", "InvokeFunction", invoke("app-child", json!({}))),
        one("bad", "InvokeFunction", invoke("app-broken", json!({}))),
        one("late", "InvokeFunction", invoke("app-slow", json!({ "timeout": "1s" }))),
        one("nobody", "InvokeFunction", invoke("app-nowhere", json!({}))),
        one("stopped", "InvokeFunction", invoke("app-sleeper", json!({}))),
        one("bare", "InvokeFunction", json!({ "opts": { "function_id": "app-child" } })),
        StubFunction::new("child", "x/child", |call| {
            Answer::Return(json!({ "got": call.body["event"]["data"]["n"], "name": call.body["event"]["name"] }))
        }),
        StubFunction::new("broken", "x/broken", |_| Answer::fatal("child broke")),
        StubFunction::new("slow", "x/slow", |_| {
            Answer::After(Duration::from_secs(3), Box::new(Answer::Return(json!("late"))))
        }),
        StubFunction::new("sleeper", "x/sleeper", |_| Answer::Ops(json!([op("Sleep", "s", json!({ "name": "1h" }))]))),
    ])
    .await;
    let good = world.run("t/good", json!({})).await;
    assert_eq!(good["output"], json!({ "value": { "data": { "got": 2, "name": "inngest/function.invoked" } } }));
    let error = &world.run("t/bad", json!({})).await["output"]["value"]["error"];
    assert_eq!((&error["message"], &error["name"]), (&json!("child broke"), &json!("Error")), "{error}");
    assert_eq!(
        world.run("t/nobody", json!({})).await["output"]["value"],
        json!({ "error": { "name": "Error", "message": "could not find function with ID: app-nowhere" } })
    );
    assert_eq!(world.run("t/bare", json!({})).await["output"]["value"]["data"]["got"], Value::Null);
    let late = world.run("t/late", json!({})).await;
    assert_eq!(late["output"]["value"]["error"]["name"], "InngestInvokeTimeoutError");
    // The child goes on, and its result is nobody's.
    let client = world.client();
    wait_until("the late child", SOON, async || {
        let runs = client.get("/v1/runs?function=app-slow").await.ok()?;
        (runs["data"][0]["status"] == "Completed").then_some(())
    })
    .await
    .unwrap();
    // A cancelled child is an error for its parent.
    let parent = world.send("t/stopped", json!({})).await;
    waiting(&world, &parent).await;
    let child = wait_until("the child", SOON, async || {
        let runs = client.get("/v1/runs?function=app-sleeper").await.ok()?;
        runs["data"][0]["run_id"].as_str().map(str::to_owned)
    })
    .await
    .unwrap();
    let cancelled = client.request("DELETE", &format!("/v1/runs/{child}"), &[], "").await.unwrap();
    assert_eq!(cancelled.status, 200);
    let error = world.ended(&parent).await["output"]["value"]["error"].clone();
    assert_eq!(error["name"], "InngestInvokeError");
    assert!(
        error["message"].as_str().is_some_and(|text| text.contains("cancelled") && text.contains(&child)),
        "{error}"
    );
}

#[tokio::test]
async fn an_invoked_run_that_survives_a_crash_still_answers() {
    let world = World::of(vec![
        one("parent", "InvokeFunction", invoke("app-child", json!({}))),
        StubFunction::new("child", "x/child", |call| match call.memo("nap") {
            None => Answer::Ops(json!([op("Sleep", "nap", json!({ "name": "2s" }))])),
            Some(_) => Answer::Return(json!("awake")),
        }),
    ])
    .await;
    let parent = world.send("t/parent", json!({})).await;
    let client = world.client();
    wait_until("a sleeping child", SOON, async || {
        let runs = client.get("/v1/runs?function=app-child").await.ok()?;
        let id = runs["data"][0]["run_id"].as_str()?.to_owned();
        let actions = client.get(&format!("/v1/runs/{id}/actions")).await.ok()?;
        actions["data"].as_array()?.iter().any(|step| step["status"] == "Sleeping").then_some(())
    })
    .await
    .unwrap();
    let world = world.kill_and_restart().await;
    assert_eq!(world.ended(&parent).await["output"], json!({ "value": { "data": "awake" } }));
    assert_eq!(world.app.calls_of("child").len(), 2);
}

#[tokio::test]
async fn a_signal_goes_to_the_one_that_waits_for_it() {
    let opts = |more: Value| {
        let mut opts = json!({ "signal": "go", "timeout": "1h" });
        if let (Some(fields), Value::Object(more)) = (opts.as_object_mut(), more) {
            fields.extend(more);
        }
        json!({ "name": "go", "opts": opts })
    };
    let world = World::of(vec![
        one("plain", "WaitForSignal", opts(json!({}))),
        one("taker", "WaitForSignal", opts(json!({ "conflict": "replace" }))),
        one("brief", "WaitForSignal", opts(json!({ "signal": "other", "timeout": "1s" }))),
    ])
    .await;
    let post = async |body: Value| world.client().post("/v1/signals", &body).await.unwrap();
    assert_eq!(post(json!({ "signal": "go", "data": 1 })).await.status, 404);
    assert_eq!(post(json!({ "signal": "" })).await.status, 400);
    assert_eq!(post(json!([1])).await.status, 400);
    let first = world.send("t/plain", json!({})).await;
    let first_run = waiting(&world, &first).await;
    // Another one may not wait for it, unless it takes it over.
    let second = world.run("t/plain", json!({})).await;
    assert_eq!(second["status"], "Failed");
    assert!(second.to_string().contains("Signal conflict; signal wait already exists for another run"), "{second}");
    let reply = post(json!({ "signal": "go", "data": { "b": 1, "a": null } })).await;
    assert_eq!((reply.status, reply.json()["data"]["run_id"].as_str()), (200, Some(&*first_run)));
    let value = json!({ "data": { "signal": "go", "data": { "b": 1, "a": null } } });
    assert_eq!(world.ended(&first).await["output"], json!({ "value": value }));
    assert_eq!(post(json!({ "signal": "go" })).await.status, 404, "it is not kept");
    let third = world.send("t/plain", json!({})).await;
    waiting(&world, &third).await;
    let fourth = world.send("t/taker", json!({})).await;
    let fourth_run = waiting(&world, &fourth).await;
    assert_eq!(post(json!({ "signal": "go" })).await.json()["data"]["run_id"].as_str(), Some(&*fourth_run));
    assert_eq!(world.ended(&fourth).await["output"]["value"]["data"]["data"], Value::Null);
    assert_eq!(world.client().runs_of(&third).await.unwrap()[0]["status"], "Running", "it runs into its timeout");
    assert_eq!(world.run("t/brief", json!({})).await["output"], json!({ "value": null }));
}

/// A server that counts requests and answers each with this status and body, or closes the connection.
async fn elsewhere(status: u16, body: &'static str) -> (String, Arc<AtomicUsize>, Arc<std::sync::Mutex<Vec<String>>>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://127.0.0.1:{}/path", listener.local_addr().unwrap().port());
    let (count, seen) = (Arc::new(AtomicUsize::new(0)), Arc::new(std::sync::Mutex::new(Vec::new())));
    let (counted, heads) = (Arc::clone(&count), Arc::clone(&seen));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = vec![0; 65_536];
            let length = stream.read(&mut head).await.unwrap_or(0);
            counted.fetch_add(1, Ordering::Relaxed);
            heads.lock().unwrap().push(String::from_utf8_lossy(&head[..length]).into_owned());
            if status > 0 {
                let reply = format!(
                    "HTTP/1.1 {status} X\r\nx-multi: a\r\nx-multi: b\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                    body.len()
                );
                let _closed = stream.write_all(reply.as_bytes()).await;
            }
        }
    });
    (url, count, seen)
}

#[tokio::test]
async fn the_server_fetches_in_place_of_the_app() {
    let (text, _, seen) = elsewhere(500, "not json").await;
    let (closed, attempts, _) = elsewhere(0, "").await;
    let world = World::of(vec![
        one(
            "fetch",
            "Gateway",
            json!({ "opts": { "url": text, "method": "PUT", "headers": { "x-a": "1" }, "body": "te\"xt" } }),
        ),
        one("dead", "Gateway", json!({ "opts": { "url": closed, "method": "GET" } })),
    ])
    .await;
    let value = world.run("t/fetch", json!({})).await["output"]["value"]["data"].clone();
    assert_eq!((&value["status_code"], &value["body"], &value["url"]), (&json!(500), &json!("not json"), &json!(text)));
    assert_eq!(value["headers"]["X-Multi"], "a,b");
    let request = seen.lock().unwrap()[0].clone();
    assert!(
        request.starts_with("PUT /path HTTP/1.1") && request.contains("X-A: 1") && request.ends_with("te\"xt"),
        "{request}"
    );
    let error = world.run("t/dead", json!({})).await["output"]["value"]["error"].clone();
    assert_eq!(error["name"], "GatewayError");
    assert!(
        error["message"].as_str().is_some_and(|text| text.starts_with("Error making gateway request: ")),
        "{error}"
    );
    assert_eq!(attempts.load(Ordering::Relaxed), 2, "one retry");
    assert_eq!(world.app.calls_of("dead").len(), 2, "the app is not called for the retry");
}

#[tokio::test]
async fn the_server_asks_an_ai_provider_in_place_of_the_app() {
    let (fine, _, seen) = elsewhere(200, r#"{"usage":{"total":3},"text":"hi"}"#).await;
    let (refusing, attempts, _) = elsewhere(405, r#"{"error":"no"}"#).await;
    let opts = |url: &str, format: &str| json!({ "opts": { "type": "step.ai.infer", "url": url, "format": format, "auth_key": "K", "body": { "m": [], "b": 1 } } });
    let world = World::of(vec![
        one("ask", "AIGateway", opts(&fine, "anthropic")),
        one("refused", "AIGateway", opts(&refusing, "openai-chat")),
    ])
    .await;
    let value = world.run("t/ask", json!({})).await["output"]["value"].clone();
    assert_eq!(value, json!({ "data": { "text": "hi", "usage": { "total": 3 } } }));
    let request = seen.lock().unwrap()[0].clone();
    assert!(request.contains("X-Api-Key: K") && request.ends_with(r#"{"b":1,"m":[]}"#), "{request}");
    let error = world.run("t/refused", json!({})).await["output"]["value"]["error"].clone();
    assert_eq!(error["message"], "Error making AI request: unsuccessful status code: 405");
    assert_eq!((&error["name"], &error["data"]), (&json!("AIGatewayError"), &json!({ "error": "no" })));
    assert_eq!(attempts.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn after_a_crash_the_app_is_asked_again_for_what_is_to_be_fetched() {
    // The first request hangs until the server dies; the second one, of the next process, is answered.
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://127.0.0.1:{}/", listener.local_addr().unwrap().port());
    let world = World::of(vec![one("fetch", "Gateway", json!({ "opts": { "url": url, "method": "GET" } }))]).await;
    let event = world.send("t/fetch", json!({})).await;
    let (first, _) = tokio::time::timeout(SOON, listener.accept()).await.unwrap().unwrap();
    let world = world.kill_and_restart().await;
    drop(first);
    let (mut second, _) = tokio::time::timeout(SOON, listener.accept()).await.unwrap().unwrap();
    let mut head = vec![0; 4096];
    assert!(second.read(&mut head).await.unwrap() > 0);
    second.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok").await.unwrap();
    assert_eq!(world.ended(&event).await["output"]["value"]["data"]["body"], "ok");
    let attempts: Vec<u64> = world.app.calls().iter().map(Call::attempt).collect();
    assert_eq!(attempts, [0, 0, 0], "plan, plan again after the crash, return");
}

#[tokio::test]
async fn a_run_starts_others_when_it_ends() {
    let defer =
        |id: &str, input: Value| op("DeferAdd", id, json!({ "opts": { "fn_slug": "app-later", "input": input } }));
    let world = World::of(vec![
        StubFunction::new("parent", "t/parent", move |call| {
            if call.memo("a").is_none() {
                return Answer::Ops(json!([
                    defer("one", json!({ "k": 1 })),
                    defer("two", json!({ "k": 2 })),
                    defer("bad", json!([1])),
                    op("StepRun", "a", json!({ "data": 1 })),
                ]));
            }
            if call.memo("b").is_none() {
                return Answer::Ops(json!([
                    op("DeferAbort", "abort", json!({ "opts": { "target_hashed_id": step_id("two") } })),
                    op("StepRun", "b", json!({ "data": 1 })),
                ]));
            }
            Answer::fatal("the end is the end, whatever it is")
        }),
        StubFunction::new("later", "x", |call| Answer::Return(call.body["event"]["data"].clone()))
            .triggers(json!([{ "event": "inngest/deferred.schedule", "expression": "event.data._inngest.fn_slug == 'app-later'" }])),
    ])
    .await;
    let event = world.send("t/parent", json!({})).await;
    let parent = world.ended(&event).await;
    let calls = world.app.calls_of("parent");
    let abortable = |call: &Call, id: &str| call.body["defers"][step_id(id)]["abortable"].clone();
    assert_eq!(calls[0].body["defers"], json!({}));
    assert_eq!(
        [abortable(&calls[1], "one"), abortable(&calls[1], "two"), abortable(&calls[1], "bad")],
        [json!(true), json!(true), json!(false)]
    );
    assert_eq!(abortable(&calls[2], "two"), json!(false));
    let client = world.client();
    let runs = wait_until("the deferred run", SOON, async || {
        let runs =
            client.get("/v1/runs?function=app-later&include_output=true").await.ok()?["data"].as_array()?.clone();
        runs.iter().all(|run| run["status"] == "Completed").then_some(runs).filter(|runs| !runs.is_empty())
    })
    .await
    .unwrap();
    assert_eq!(runs.len(), 1, "{runs:?}");
    let data = &runs[0]["output"];
    assert_eq!((&data["k"], &data["_inngest"]["parent_run_id"]), (&json!(1), &parent["run_id"]));
}

#[tokio::test]
async fn notes_about_runs_are_taken_and_checked() {
    let world = World::of(vec![StubFunction::new("noted", "t/noted", |call| match call.memo("a") {
        None => Answer::Ops(json!([op(
            "StepRun",
            "a",
            json!({
                "data": 1,
                "metadata": [{ "scope": "step", "kind": "userland.x", "op": "merge", "values": { "a": 1 } }],
                "opts": { "experimentName": "e", "variant": "v" },
            })
        )])),
        Some(_) => Answer::Return(json!(1)),
    })])
    .await;
    let run = world.run("t/noted", json!({})).await["run_id"].as_str().unwrap().to_owned();
    let path = format!("/v1/runs/{run}/metadata");
    let post = async |body: Value| world.client().post(&path, &body).await.unwrap().status;
    let note = |kind: &str, op: &str| json!({ "metadata": [{ "kind": kind, "op": op, "values": { "k": 1 } }] });
    assert_eq!(post(note("userland.note", "merge")).await, 200);
    assert_eq!(post(json!({ "metadata": [] })).await, 200);
    assert_eq!(post(json!({ "target": { "step_id": "a" }, "metadata": [{ "kind": "inngest.score", "op": "set", "values": { "s": { "value": true } } }] })).await, 200);
    for (body, status) in [
        (note("inngest.secret", "merge"), 400),
        (note("userland.note", "explode"), 400),
        (json!({ "target": { "step_index": 1 }, "metadata": [] }), 400),
        (json!({ "metadata": 7 }), 400),
        (json!({ "metadata": [{ "kind": "userland.x", "op": "set", "values": { "x": "x".repeat(70_000) } }] }), 413),
    ] {
        assert_eq!(post(body.clone()).await, status, "{body}");
    }
    let unknown =
        world.client().post("/v1/runs/01M85QRDBHC70063SSP1V76AAN/metadata", &note("userland.x", "set")).await.unwrap();
    assert_eq!(unknown.status, 404);
}
