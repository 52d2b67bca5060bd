//! Steps that an app reports while its call goes on.

use std::sync::Arc;

use inngest_testkit::client::Reply;
use inngest_testkit::stub::{op, step_id};
use inngest_testkit::{Answer, Call, StubFunction};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::harness::{World, attempts};

/// Never dispatched.
const OTHER_REQUEST: &str = "01M85QRDG76TT6R1ZPYX6N9XV1";

/// A function whose calls fail when they are let go, until step `done` is known.
fn held(id: &str, go: &Arc<Notify>) -> StubFunction {
    let go = Arc::clone(go);
    StubFunction::new(id, &format!("t/{id}"), move |call| match call.memo("done") {
        None => Answer::Until(Arc::clone(&go), Box::new(Answer::error("not yet"))),
        Some(memo) => Answer::Return(memo.clone()),
    })
}

fn ran(name: &str, data: impl Into<Value>) -> Value {
    op("StepRun", name, json!({ "data": data.into() }))
}

/// What every SDK says of its call, with members replaced or added by `more`, and removed where `more` has null.
fn body(call: &Call, steps: Value, more: Value) -> Value {
    let context = &call.body["ctx"];
    let mut body = json!({
        "run_id": call.run(), "fn_id": context["fn_id"], "qi_id": context["qi_id"],
        "request_id": context["request_id"], "generation_id": context["generation_id"], "ts": 1_795_489_128_018_i64,
    });
    body["steps"] = steps;
    if let (Some(fields), Value::Object(more)) = (body.as_object_mut(), more) {
        fields.extend(more);
        fields.retain(|_, value| !value.is_null());
    }
    body
}

async fn post(world: &World, call: &Call, body: &Value) -> Reply {
    world.client().post(&format!("/v1/checkpoint/{}/async", call.run()), body).await.unwrap()
}

/// What Go's SDK says of its call: neither a generation nor a request.
fn as_go() -> Value {
    json!({ "generation_id": null, "request_id": null })
}

#[tokio::test]
async fn a_checkpoint_is_accepted_from_the_call_in_flight_only() {
    let go = Arc::new(Notify::new());
    let world = World::of(vec![held("one", &go), held("two", &go)]).await;
    let (event, _) = (world.send("t/one", json!({})).await, world.send("t/two", json!({})).await);
    let (first, other) = (world.call("one", 0).await, world.call("two", 0).await);
    let foreign = &other.body["ctx"]["qi_id"];
    let accepted = [
        json!({}),
        as_go(),
        json!({ "generation_id": null }),
        json!({ "generation_id": 0 }),
        // An id that is none is ignored; the rest tells enough.
        json!({ "qi_id": null }),
        json!({ "qi_id": "no base64!" }),
        json!({ "qi_id": "", "request_id": null }),
        json!({ "qi_id": "", "generation_id": null }),
    ];
    for more in &accepted {
        let reply = post(&world, &first, &body(&first, json!([ran("a", 1)]), more.clone())).await;
        assert_eq!((reply.status, &*reply.text()), (200, ""), "{more}");
    }
    let not_found = "stale dispatch: queue item not found";
    let refused = [
        (json!({ "generation_id": 7 }), "stale dispatch: dispatch generation 7 does not match queue item generation 1"),
        (json!({ "qi_id": foreign }), not_found),
        (json!({ "qi_id": "am9iMTIzOjpkZWZhdWx0" }), not_found),
        (json!({ "qi_id": "", "generation_id": null, "request_id": OTHER_REQUEST }), not_found),
        (json!({ "qi_id": "", "generation_id": null, "request_id": other.body["ctx"]["request_id"] }), not_found),
        (json!({ "qi_id": "", "generation_id": 7, "request_id": null }), not_found),
        (
            json!({ "generation_id": null, "request_id": OTHER_REQUEST }),
            "stale dispatch: the queue item was handed to another request",
        ),
    ];
    for (more, text) in &refused {
        let reply = post(&world, &first, &body(&first, json!([ran("stale", 1)]), more.clone())).await;
        assert_eq!((reply.status, reply.json()["error"].as_str()), (409, Some(*text)), "{more}");
    }

    // The next dispatch of the job makes the first one stale, whatever of it is named.
    go.notify_waiters();
    let second = world.call("one", 1).await;
    assert_eq!(second.memo("a"), Some(&json!({ "data": 1 })));
    assert_eq!(second.memo("stale"), None, "nothing of a refused checkpoint is kept");
    let generation = "stale dispatch: dispatch generation 1 does not match queue item generation 2";
    for (more, text) in [
        (json!({}), generation),
        (as_go(), generation),
        (json!({ "generation_id": null }), "stale dispatch: the queue item was handed to another request"),
        (json!({ "qi_id": "", "request_id": null }), not_found),
    ] {
        let reply = post(&world, &second, &body(&first, json!([ran("done", 0)]), more.clone())).await;
        assert_eq!((reply.status, reply.json()["error"].as_str()), (409, Some(text)), "{more}");
    }
    // The other prefix is the same; the first value of a step stays.
    for n in [1, 2] {
        let path = format!("/v1/http/runs/{}/async", second.run());
        let reply = world.client().post(&path, &body(&second, json!([ran("done", n)]), as_go())).await.unwrap();
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    go.notify_waiters();
    assert_eq!(world.ended(&event).await["output"], json!({ "data": 1 }));

    let reply = post(&world, &second, &body(&second, json!([ran("late", 1)]), json!({}))).await;
    let gone = json!({ "error": "run not found in state store", "data": { "run_id": second.run() }, "status": 400 });
    assert_eq!((reply.status, reply.json()), (400, gone));
}

#[tokio::test]
async fn a_checkpoint_holds_what_is_done_and_is_taken_whole_or_not_at_all() {
    let go = Arc::new(Notify::new());
    let world = World::of(vec![held("one", &go)]).await;
    let event = world.send("t/one", json!({})).await;
    let call = world.call("one", 0).await;
    let defer = |id: &str| op("DeferAdd", id, json!({ "opts": { "fn_slug": "app-x", "input": {} } }));
    let steps = json!([
        ran("a", Value::Null),
        op("Step", "legacy", json!({ "data": { "event_ids": [] } })),
        op("StepPlanned", "planned", json!({})),
        defer("d1"),
        defer("d2"),
        op("DeferAbort", "no", json!({ "opts": { "target_hashed_id": step_id("d2") } })),
    ]);
    // JS adds members of its own, and Go nulls.
    let extra = json!({ "request_started_at": 1_795_489_127_984_i64, "mode": "x", "rawArgs": [] });
    assert_eq!(post(&world, &call, &body(&call, steps, extra)).await.status, 200);
    let null = json!([{ "op": "StepRun", "id": step_id("go"), "name": "go", "data": 7, "opts": null, "error": null, "displayName": null }]);
    assert_eq!(post(&world, &call, &body(&call, null, json!({}))).await.status, 200);
    let path = format!("/v0/runs/{}/actions", call.run());
    let actions = world.client().get(&path).await.unwrap();
    let known = json!({
        step_id("a"): { "data": null },
        step_id("legacy"): { "event_ids": [] },
        step_id("go"): { "data": 7 },
    });
    assert_eq!(actions, known);

    let big = json!("x".repeat(4 << 20));
    let limit = 4 << 20;
    for (bad, status, text) in [
        (op("Sleep", "nap", json!({ "name": "1s" })), 400, "cannot checkpoint async steps".to_owned()),
        (op("StepError", "e", json!({ "error": {} })), 400, "cannot checkpoint async steps".to_owned()),
        (op("InvokeFunction", "i", json!({})), 400, "cannot checkpoint async steps".to_owned()),
        (op("RunComplete", "r", json!({})), 400, "cannot checkpoint opcode: RunComplete".to_owned()),
        (op("Nope", "n", json!({})), 400, "invalid request body: ".to_owned()),
        (json!(7), 400, "invalid request body: ".to_owned()),
        (
            ran("big", big),
            413,
            format!("step {} output too large: {} bytes, at most {limit}", step_id("big"), limit + 2),
        ),
    ] {
        let steps = json!([ran("beside", 1), bad]);
        let reply = post(&world, &call, &body(&call, steps, json!({}))).await;
        let error = reply.json()["error"].as_str().unwrap_or_default().to_owned();
        assert_eq!(reply.status, status, "{text}: {}", reply.text());
        assert!(error.starts_with(&text), "{error}");
        assert_eq!(reply.json()["status"], status);
    }
    let checkpoint = format!("/v1/checkpoint/{}/async", call.run());
    let reply = world.client().request("POST", &checkpoint, &[], "{\"steps\":").await.unwrap();
    assert!(reply.status == 400 && reply.text().contains("invalid request body: "), "{}", reply.text());
    let reply = post(&world, &call, &body(&call, json!([]), json!({ "run_id": OTHER_REQUEST }))).await;
    assert_eq!(reply.status, 400, "the run of the body is not that of the URL");
    let unknown = format!("/v1/checkpoint/{OTHER_REQUEST}/async");
    let reply = world.client().post(&unknown, &json!({ "steps": [ran("a", 1)] })).await.unwrap();
    assert_eq!((reply.status, &reply.json()["error"]), (400, &json!("run not found in state store")));
    let function = call.body["ctx"]["fn_id"].as_str().unwrap();
    let tight = format!("/fn/state-size-limit?functionId={function}&limit=60");
    assert_eq!(world.client().post(&tight, &json!({})).await.unwrap().status, 200);
    let reply = post(&world, &call, &body(&call, json!([ran("beside", 1)]), json!({}))).await;
    assert!(
        reply.status == 413 && reply.text().contains("run state size limit exceeded: at most 60 bytes"),
        "{}",
        reply.text()
    );
    assert_eq!(world.client().get(&path).await.unwrap(), known, "nothing of the refused ones was kept");

    // They count like any other step: the call fails, and the next one has them.
    world.client().request("DELETE", &tight, &[], "").await.unwrap();
    assert_eq!(post(&world, &call, &body(&call, json!([ran("done", 1)]), json!({}))).await.status, 200);
    go.notify_one();
    world.ended(&event).await;
    let next = world.call("one", 1).await;
    assert_eq!(next.body["steps"].as_object().map(serde_json::Map::len), Some(4));
    assert_eq!(
        next.body["defers"],
        json!({ step_id("d1"): { "abortable": true }, step_id("d2"): { "abortable": false } })
    );
}

#[tokio::test]
async fn what_follows_a_checkpoint_has_all_its_attempts_also_after_a_crash() {
    let go = Arc::new(Notify::new());
    let release = Arc::clone(&go);
    let failing = |call: &Call| {
        let error = json!({ "error": { "name": "E", "message": format!("attempt {}", call.attempt()) } });
        Answer::Ops(json!([op("StepError", "b", error)]))
    };
    let world = World::of(vec![
        StubFunction::new("budget", "t/budget", move |call| match (call.memo("a"), call.memo("b")) {
            (None, _) if call.attempt() == 0 => Answer::error("first"),
            (None, _) => Answer::Until(Arc::clone(&release), Box::new(Answer::error("never said"))),
            (Some(_), None) => failing(call),
            (Some(_), Some(b)) => Answer::Return(b["error"]["message"].clone()),
        })
        .retries(1),
    ])
    .await;
    let event = world.send("t/budget", json!({})).await;
    let last = world.call("budget", 1).await;
    assert_eq!(last.attempt(), 1, "the last one it has");
    let reply = post(&world, &last, &body(&last, json!([ran("a", 1)]), json!({}))).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let world = world.kill_and_restart().await;
    let run = world.ended(&event).await;
    assert_eq!(run["output"], "attempt 1", "b failed twice before its error was its value");
    assert_eq!(attempts(&world.app, "budget"), [0, 1, 0, 1, 0]);
    let generations: Vec<_> =
        world.app.calls().iter().map(|call| call.body["ctx"]["generation_id"].as_u64().unwrap()).collect();
    assert_eq!(generations, [1, 2, 3, 4, 1]);
}

#[tokio::test]
async fn a_function_that_checkpoints_every_step_is_called_once() {
    let go = Arc::new(Notify::new());
    let release = Arc::clone(&go);
    let world = World::of(vec![StubFunction::new("ten", "t/ten", move |_| {
        let end = json!([ran("s9", 9), op("RunComplete", "end", json!({ "data": { "done": true } }))]);
        Answer::Until(Arc::clone(&release), Box::new(Answer::Ops(end)))
    })])
    .await;
    let event = world.send("t/ten", json!({})).await;
    let call = world.call("ten", 0).await;
    for n in 0..10 {
        let steps = json!([ran(&format!("s{n}"), n)]);
        assert_eq!(post(&world, &call, &body(&call, steps, json!({}))).await.status, 200);
    }
    go.notify_one();
    let run = world.ended(&event).await;
    assert_eq!((&run["status"], &run["output"]), (&json!("Completed"), &json!({ "done": true })));
    assert_eq!(world.app.calls().len(), 1);
    let actions = world.client().get(&format!("/v1/runs/{}/actions", call.run())).await.unwrap();
    assert_eq!(actions["data"].as_array().map(Vec::len), Some(10));
}
