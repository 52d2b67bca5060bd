//! `concurrency`: how many calls are in flight at a time, and who goes next.

use std::sync::Arc;
use std::time::{Duration, Instant};

use inngest_testkit::stub::op;
use inngest_testkit::{Answer, Call, StubFunction, wait_until};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::harness::{SOON, World, data_of, most_in_flight, p50_and_p99, takes};

/// The calls of those events that have this value.
fn with<'a>(calls: &'a [Call], member: &'a str, value: &'a Value) -> impl Iterator<Item = &'a Call> {
    calls.iter().filter(move |call| call.body["event"]["data"][member] == *value)
}

#[tokio::test]
async fn every_form_of_a_limit_limits() {
    let forms = [
        ("number", json!(2)),
        ("object", json!({ "limit": 2 })),
        ("array", json!([{ "limit": 2 }])),
        ("steps", json!({ "step": [{ "limit": 2 }] })),
        ("account", json!([{ "limit": 2, "key": "'shared'", "scope": "Account" }])),
        ("two", json!([{ "limit": 5 }, { "limit": 2 }])),
    ];
    let functions = forms.iter().map(|(id, form)| takes(id, 100, json!({ "concurrency": form }))).collect();
    let world = World::of(functions).await;
    for (id, _) in &forms {
        let events = world.send_all(&format!("t/{id}"), (0..8).map(|n| json!({ "n": n }))).await;
        world.all_ended(&events).await;
        let calls = world.calls(id, 8).await;
        assert_eq!((calls.len(), most_in_flight(&calls)), (8, 2), "{id}");
    }
}

#[tokio::test]
async fn all_of_a_limit_is_used() {
    let world = World::of(vec![takes("f", 300, json!({ "concurrency": 2 }))]).await;
    let began = Instant::now();
    let events = world.send_all("t/f", (0..8).map(|n| json!({ "n": n }))).await;
    world.all_ended(&events).await;
    let took = began.elapsed().as_secs_f64();
    assert!((1.2..2.4).contains(&took), "8 of 0.3 s, two at a time, take 1.2 s: {took}");
}

#[tokio::test]
async fn each_value_of_a_key_has_a_limit_of_its_own() {
    let world = World::of(vec![takes("f", 300, json!({ "concurrency": { "limit": 1, "key": "event.data.u" } }))]).await;
    let began = Instant::now();
    let users = ["a", "b", "c"];
    let events = world.send_all("t/f", (0..9).map(|n| json!({ "u": users[n % 3] }))).await;
    world.all_ended(&events).await;
    let took = began.elapsed().as_secs_f64();
    let calls = world.calls("f", 9).await;
    assert_eq!(most_in_flight(&calls), 3);
    for user in users {
        assert_eq!(most_in_flight(with(&calls, "u", &json!(user))), 1, "{user}");
    }
    assert!(took < 2.0, "three times 0.3 s: {took}");
}

#[tokio::test]
async fn events_without_the_key_share_one_value() {
    let world = World::of(vec![takes("f", 100, json!({ "concurrency": { "limit": 1, "key": "event.data.u" } }))]).await;
    // 5 and "5" are the same key, `false` is the same as none.
    let data = [json!({}), json!({}), json!({ "u": false }), json!({ "u": 5 }), json!({ "u": "5" })];
    let events = world.send_all("t/f", data).await;
    world.all_ended(&events).await;
    let calls = world.calls("f", 5).await;
    assert_eq!(most_in_flight(&calls), 2);
    let five = |call: &&Call| !matches!(call.body["event"]["data"]["u"], Value::Null | Value::Bool(_));
    assert_eq!(most_in_flight(calls.iter().filter(five)), 1);
    assert_eq!(most_in_flight(calls.iter().filter(|call| !five(call))), 1);
}

#[tokio::test]
async fn two_limits_hold_both() {
    let limits = json!({ "concurrency": [{ "limit": 2 }, { "limit": 1, "key": "event.data.u" }] });
    let world = World::of(vec![takes("f", 150, limits)]).await;
    let users = ["a", "a", "a", "b", "c", "a", "d", "b"];
    let events = world.send_all("t/f", users.map(|user| json!({ "u": user }))).await;
    world.all_ended(&events).await;
    let calls = world.calls("f", users.len()).await;
    assert_eq!(most_in_flight(&calls), 2);
    for user in ["a", "b"] {
        assert_eq!(most_in_flight(with(&calls, "u", &json!(user))), 1, "{user}");
    }
    // The first two are those of two users: what is held up by its key is passed.
    let mut first = data_of(&calls[..2], "u");
    first.sort_by_key(ToString::to_string);
    assert_eq!(first, ["a", "b"]);
}

#[tokio::test]
async fn a_run_that_waits_holds_no_slot() {
    let sleep = |time: &str| json!([op("Sleep", "w", json!({ "name": time }))]);
    let event = json!([op("WaitForEvent", "w", json!({ "name": "t/never", "opts": { "timeout": "1h" } }))]);
    let child = json!([op("InvokeFunction", "w", json!({ "opts": { "function_id": "app-child" } }))]);
    let again = Answer::Sdk { status: 500, headers: vec![("retry-after".into(), "3600".into())], body: "{}".into() };
    let ways = [
        ("long", Answer::Ops(sleep("14s"))),
        ("short", Answer::Ops(sleep("1s"))),
        ("event", Answer::Ops(event)),
        ("invoke", Answer::Ops(child)),
        ("retry", again),
    ];
    let mut functions: Vec<StubFunction> = ways
        .into_iter()
        .map(|(id, first)| {
            StubFunction::new(id, &format!("t/{id}"), move |call| match call.memo("w") {
                None => Answer::After(Duration::from_millis(100), Box::new(first.clone())),
                Some(_) => Answer::Return(json!("done")),
            })
            .config(json!({ "concurrency": 1 }))
        })
        .collect();
    let nap = |_: &Call| Answer::Ops(json!([op("Sleep", "nap", json!({ "name": "1h" }))]));
    functions.push(StubFunction::new("child", "t/child", nap));
    let world = World::of(functions).await;
    for id in ["long", "short", "event", "invoke", "retry"] {
        world.send_all(&format!("t/{id}"), [json!({}), json!({}), json!({})]).await;
        let calls = world.calls(id, 3).await;
        let spread = calls[2].span.from - calls[0].span.from;
        assert!(spread < Duration::from_millis(900), "{id}: the third one begins after 0.2 s: {spread:?}");
        assert_eq!(most_in_flight(&calls), 1, "{id}");
    }
}

/// Two calls with a sleep between them.
fn napping(call: &Call) -> Answer {
    match call.memo("nap") {
        None => Answer::Ops(json!([op("Sleep", "nap", json!({ "name": "500ms" }))])),
        Some(_) => Answer::After(Duration::from_millis(50), Box::new(Answer::Return(json!("done")))),
    }
}

/// Ids of runs in the order of calls, without repetitions.
fn turns(calls: &[Call]) -> Vec<&str> {
    let mut runs: Vec<&str> = calls.iter().map(Call::run).collect();
    runs.dedup();
    runs
}

#[tokio::test]
async fn a_limit_of_runs_counts_those_that_wait_too() {
    let one = json!({ "concurrency": { "fn": [{ "limit": 1 }] } });
    let each = json!({ "concurrency": { "fn": [{ "limit": 1, "key": "event.data.u" }] } });
    let world = World::of(vec![
        StubFunction::new("one", "t/one", napping).config(one),
        StubFunction::new("each", "t/each", napping).config(each),
    ])
    .await;
    let events = world.send_all("t/one", [json!({}), json!({}), json!({})]).await;
    world.all_ended(&events).await;
    assert_eq!(turns(&world.calls("one", 6).await).len(), 3, "one run after the other");
    let events = world.send_all("t/each", ["a", "a", "b"].map(|user| json!({ "u": user }))).await;
    world.all_ended(&events).await;
    let calls = world.calls("each", 6).await;
    let of_a: Vec<Call> = with(&calls, "u", &json!("a")).cloned().collect();
    assert_eq!(turns(&of_a).len(), 2, "one run of a key after the other");
    let b = calls.iter().find(|call| call.body["event"]["data"]["u"] == "b").unwrap();
    assert!(b.span.from < of_a[1].span.from, "another key does not wait");
}

#[tokio::test]
async fn the_slot_of_a_run_is_free_however_it_ends() {
    let ends = |call: &Call| match call.body["event"]["data"]["end"].as_str() {
        Some("fails") => Answer::fatal("on purpose"),
        Some("sleeps") => Answer::Ops(json!([op("Sleep", "nap", json!({ "name": "1h" }))])),
        _ => Answer::Return(json!("done")),
    };
    let limits = json!({ "concurrency": { "fn": [{ "limit": 1 }] }, "timeouts": { "finish": "1s" } });
    let world = World::of(vec![StubFunction::new("f", "t/f", ends).config(limits)]).await;
    let kinds = ["fails", "sleeps", "returns", "sleeps", "returns"].map(|end| json!({ "end": end }));
    let events = world.send_all("t/f", kinds).await;
    // The second one runs out of time, the fourth is cancelled before that.
    world.pending(&events[3], "Sleeping").await;
    assert_eq!(world.started(&events).await, [1; 5]);
    let cancelled = world.run_of(&events[3]).await;
    world.client().request("DELETE", &format!("/v1/runs/{cancelled}"), &[], "").await.unwrap();
    let statuses = world.all_ended(&events).await.into_iter().map(|run| run["status"].clone());
    assert_eq!(
        statuses.collect::<Vec<_>>(),
        ["Failed", "Cancelled", "Completed", "Cancelled", "Completed"].map(|status| json!(status))
    );
}

#[tokio::test]
async fn functions_that_share_a_key_take_turns() {
    for scope in ["env", "account"] {
        let limit = json!({ "concurrency": [{ "limit": 1, "key": "'shared'", "scope": scope }] });
        let function = |id: &str| takes(id, 100, limit.clone()).triggers(json!([{ "event": "t/both" }]));
        let world = World::of(vec![function("a"), function("b")]).await;
        let events = world.send_all("t/both", (0..4).map(|n| json!({ "n": n }))).await;
        for event in &events {
            world.client().ended_runs(event, 2, SOON).await.unwrap();
        }
        let mut calls = world.app.calls();
        calls.sort_by_key(|call| call.span.from);
        assert_eq!(most_in_flight(&calls), 1, "{scope}");
        let gaps = calls.windows(2).map(|pair| (pair[1].span.from - pair[0].span.to().unwrap()).as_secs_f64());
        let (half, most) = p50_and_p99(gaps.collect());
        assert!(half < 0.25 && most < 1.0, "{scope}: half of the gaps {half} s, nearly all {most} s");
        let functions: Vec<&str> = calls.iter().map(|call| call.function.as_str()).collect();
        // Who has been served first may be next at the gate as well, once.
        let again = functions.windows(2).filter(|pair| pair[0] == pair[1]).count();
        assert!(
            again <= 2 && functions[1..].windows(3).all(|three| three[1] != three[0] || three[2] != three[1]),
            "{scope}: in turns: {functions:?}"
        );
    }
}

#[tokio::test]
async fn functions_that_declare_other_keys_do_not_share() {
    let limit = |key: &str| json!({ "concurrency": [{ "limit": 1, "key": key, "scope": "env" }] });
    let world = World::of(vec![takes("a", 300, limit("'x'")), takes("b", 300, limit("\"x\""))]).await;
    let mut events = world.send_all("t/a", [json!({}), json!({})]).await;
    events.extend(world.send_all("t/b", [json!({}), json!({})]).await);
    world.all_ended(&events).await;
    assert_eq!(most_in_flight(&world.app.calls()), 2, "the text of a key tells limits apart, not its value");
}

#[tokio::test]
async fn an_older_run_ends_before_a_newer_one_starts() {
    let script = |call: &Call| {
        let missing = ["one", "two", "three"].into_iter().find(|name| call.memo(name).is_none());
        missing.map_or_else(|| Answer::Return(json!("done")), |name| Answer::step(name, &json!(1)))
    };
    let world = World::of(vec![StubFunction::new("f", "t/f", script).config(json!({ "concurrency": 1 }))]).await;
    let events = world.send_all("t/f", (0..3).map(|n| json!({ "n": n }))).await;
    world.all_ended(&events).await;
    let calls = world.calls("f", 12).await;
    let expected: Vec<Value> = (0..12).map(|call| json!(call / 4)).collect();
    assert_eq!(data_of(&calls, "n"), expected);
}

/// Answers when it is let go.
fn held(go: &Arc<Notify>, config: Value) -> StubFunction {
    let go = Arc::clone(go);
    StubFunction::new("f", "t/f", move |_| Answer::Until(Arc::clone(&go), Box::new(Answer::Return(json!("done")))))
        .config(config)
}

/// Lets all go until all have ended.
async fn end_all(world: &World, go: &Notify, events: &[String]) {
    wait_until("the ends", SOON, async || {
        go.notify_waiters();
        let runs = world.client().get("/v1/runs?status=Completed&limit=100").await.ok()?;
        (runs["data"].as_array()?.len() == events.len()).then_some(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_limit_that_is_raised_counts_at_once_and_one_that_is_lowered_interrupts_nobody() {
    let go = Arc::new(Notify::new());
    let world = World::of(vec![held(&go, json!({ "concurrency": 1 }))]).await;
    let events = world.send_all("t/f", (0..9).map(|n| json!({ "n": n }))).await;
    world.calls("f", 1).await;
    let began = Instant::now();
    world.reconfigure("f", json!({ "concurrency": 4 })).await;
    world.calls("f", 4).await;
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    world.reconfigure("f", json!({ "concurrency": 2 })).await;
    for ended in 1..=2 {
        go.notify_one();
        wait_until("an end", SOON, async || {
            let ends = world.app.calls_of("f").iter().filter(|call| call.span.to().is_some()).count();
            (ends == ended).then_some(())
        })
        .await
        .unwrap();
        assert_eq!(world.app.calls_of("f").len(), 4, "two more have to end before the next one");
    }
    go.notify_one();
    world.calls("f", 5).await;
    for calls in 6..=9 {
        go.notify_one();
        world.calls("f", calls).await;
    }
    assert_eq!(most_in_flight(&world.calls("f", 9).await[4..]), 2);
    end_all(&world, &go, &events).await;
}

#[tokio::test]
async fn a_key_that_is_changed_counts_for_what_waits_already() {
    let go = Arc::new(Notify::new());
    let world = World::of(vec![held(&go, json!({ "concurrency": { "limit": 1, "key": "event.data.u" } }))]).await;
    let data = |u: &str, v: u64| json!({ "u": u, "v": v });
    let mut events = world.send_all("t/f", [data("a", 0)]).await;
    world.calls("f", 1).await;
    events.extend(world.send_all("t/f", [1, 1, 2, 2].map(|v| data("a", v))).await);
    world.reconfigure("f", json!({ "concurrency": { "limit": 1, "key": "event.data.v" } })).await;
    let mut values = data_of(&world.calls("f", 3).await, "v");
    values.sort_by_key(Value::as_u64);
    assert_eq!(values, [0, 1, 2], "one of each new value");
    end_all(&world, &go, &events).await;
    let calls = world.calls("f", 5).await;
    for v in 1..=2 {
        assert_eq!(most_in_flight(with(&calls, "v", &json!(v))), 1, "{v}");
    }
}

#[tokio::test]
async fn one_who_sends_very_much_delays_nobody_else() {
    let limits = json!({ "concurrency": [{ "limit": 4 }, { "limit": 2, "key": "event.data.tenant" }] });
    let world = World::of(vec![takes("f", 20, limits)]).await;
    world.send_all("t/f", (0..400).map(|_| json!({ "tenant": "hot" }))).await;
    world.calls("f", 8).await;
    let began = Instant::now();
    let quiet = world.send_all("t/f", (0..20).map(|n| json!({ "tenant": format!("quiet-{n}") }))).await;
    world.all_ended(&quiet).await;
    let hot = world.app.calls_of("f");
    let meanwhile = with(&hot, "tenant", &json!("hot")).filter(|call| call.span.from > began).count();
    assert!(meanwhile < 100, "20 quiet ones and {meanwhile} hot ones were called in {:?}", began.elapsed());
}

#[tokio::test]
async fn a_slot_that_is_free_is_used_at_once() {
    let world = World::of(vec![takes("f", 5, json!({ "concurrency": 1 }))]).await;
    let events = world.send_all("t/f", (0..100).map(|n| json!({ "n": n }))).await;
    world.all_ended(&events).await;
    let calls = world.calls("f", 100).await;
    let expected: Vec<Value> = (0..100).map(|n| json!(n)).collect();
    assert_eq!(data_of(&calls, "n"), expected, "first come, first served");
    let gaps = calls.windows(2).map(|pair| (pair[1].span.from - pair[0].span.to().unwrap()).as_secs_f64());
    let (half, most) = p50_and_p99(gaps.collect());
    println!("from an answer to the next call: p50 {:.2} ms, p99 {:.2} ms", half * 1e3, most * 1e3);
    // A busy machine is no fault of the server; the crash runner prints this too.
    assert!(half < 0.25, "{half} s");
}
