//! How often an app is called for a parallel block, by request version and mode.

use std::time::Duration;

use inngest_testkit::stub::{op, step_id};
use inngest_testkit::{Answer, Call, StubFunction};
use serde_json::{Value, json};

use crate::harness::{World, attempts};

/// Ops, reported with this request version.
fn ops(version: &str, ops: &Value) -> Answer {
    let headers = vec![("x-inngest-req-version".to_owned(), version.to_owned())];
    Answer::Sdk { status: 206, headers, body: ops.to_string().into() }
}

fn ran(version: &str, name: &str) -> Answer {
    ops(version, &json!([op("StepRun", name, json!({ "data": name }))]))
}

/// Plans three steps, which end one after the other; runs `z` when all are known; returns.
fn three(id: &str, version: &'static str, opts: Value) -> StubFunction {
    StubFunction::new(id, &format!("t/{id}"), move |call| {
        for (n, name) in [(0, "a"), (1, "b"), (2, "c")] {
            if call.step == step_id(name) {
                return Answer::After(Duration::from_millis(400 * n), Box::new(ran(version, name)));
            }
        }
        let missing = ["a", "b", "c"].into_iter().filter(|name| call.memo(name).is_none());
        let missing: Vec<Value> = missing.map(|name| op("StepPlanned", name, json!({ "opts": opts }))).collect();
        match (missing.is_empty(), call.memo("z")) {
            (false, _) => ops(version, &json!(missing)),
            (true, None) => ran(version, "z"),
            (true, Some(_)) => Answer::Return(json!("done")),
        }
    })
}

/// Steps known and whether steps must be planned, of each call from the top.
fn discoveries(calls: &[Call]) -> Vec<(usize, bool)> {
    let discoveries = calls.iter().filter(|call| call.step == "step");
    discoveries
        .map(|call| {
            let known = call.body["steps"].as_object().map_or(0, serde_json::Map::len);
            (known, call.body["ctx"]["disable_immediate_execution"] == true)
        })
        .collect()
}

#[tokio::test]
async fn a_block_takes_six_calls_when_joined_and_eight_when_not() {
    let wait = json!({ "parallelMode": "wait" });
    let race = json!({ "parallelMode": "race" });
    // A version that cannot be read counts as 0.
    let table = [
        ("two", "2", json!({})),
        ("waiting", "2", wait),
        ("one", "1", json!({})),
        ("zero", "0", json!({})),
        ("none", "", json!({})),
        ("minus", "-1", json!({})),
        ("race", "2", race.clone()),
        ("raceone", "1", race),
    ];
    let functions = table.iter().cloned().map(|(id, version, opts)| three(id, version, opts));
    let world = World::of(functions.collect()).await;
    let mut events = Vec::new();
    for (id, ..) in &table {
        events.push(world.send(&format!("t/{id}"), json!({})).await);
    }
    for ((id, version, _), event) in table.iter().zip(events) {
        assert_eq!(world.ended(&event).await["output"], "done", "{id}");
        let calls = world.app.calls_of(id);
        let found = discoveries(&calls);
        let joined = matches!(*id, "two" | "waiting");
        let expected = match *id {
            _ if joined => vec![(0, false), (3, false), (4, false)],
            // While siblings run the app must plan; afterwards it need not.
            "race" => vec![(0, false), (1, true), (2, true), (3, false), (4, false)],
            _ => vec![(0, false), (1, true), (2, true), (3, true), (4, true)],
        };
        assert_eq!((calls.len(), found), (expected.len() + 3, expected), "{id}");
        let targeted = calls.iter().filter(|call| call.step != "step");
        for call in targeted {
            assert_eq!(call.body["ctx"]["disable_immediate_execution"], true, "{id}");
            assert_eq!(
                (&call.body["ctx"]["step_id"], &call.body["ctx"]["stack"]["current"]),
                (&json!("step"), &json!(0))
            );
            assert_eq!(call.headers["x-inngest-step-id"], call.step);
        }
        // -1 until an answer with steps has told the version, which then stays.
        let versions: Vec<i64> = calls.iter().map(|call| call.body["version"].as_i64().unwrap()).collect();
        let told = version.parse().unwrap_or(0);
        assert_eq!((versions[0], &versions[1..]), (-1, &*vec![told; calls.len() - 1]), "{id}");
        assert!(calls.iter().all(|call| call.headers["x-inngest-req-version"] == call.body["version"].to_string()));
    }
}

#[tokio::test]
async fn waits_and_sleeps_are_branches_too() {
    let mixed = |id: &str, version: &'static str| {
        StubFunction::new(id, &format!("t/{id}"), move |call: &Call| {
            if call.step == step_id("p") {
                return ran(version, "p");
            }
            let wait = json!({ "name": "t/never", "opts": { "timeout": "2s" } });
            let all = [
                ("p", op("StepPlanned", "p", json!({}))),
                ("s", op("Sleep", "s", json!({ "name": "1s" }))),
                ("w", op("WaitForEvent", "w", wait)),
            ];
            // A memo of null is one, and `memo` tells it from none.
            let missing: Vec<Value> =
                all.into_iter().filter(|(name, _)| call.memo(name).is_none()).map(|(_, op)| op).collect();
            if missing.is_empty() { Answer::Return(json!("done")) } else { ops(version, &json!(missing)) }
        })
    };
    let world = World::of(vec![mixed("two", "2"), mixed("one", "1")]).await;
    let (two, one) = (world.send("t/two", json!({})).await, world.send("t/one", json!({})).await);
    for (event, id, known) in [(two, "two", vec![0, 3]), (one, "one", vec![0, 1, 2, 3])] {
        assert_eq!(world.ended(&event).await["output"], "done");
        let calls = world.app.calls_of(id);
        let found: Vec<usize> = discoveries(&calls).into_iter().map(|(known, _)| known).collect();
        assert_eq!((found, calls.len()), (known.clone(), known.len() + 1), "{id}");
    }
}

#[tokio::test]
async fn ten_steps_at_once_take_twelve_calls() {
    let world = World::of(vec![StubFunction::new("ten", "t/ten", |call| {
        if call.step != "step" {
            return Answer::Ops(json!([{ "op": "StepRun", "id": call.step, "data": 1 }]));
        }
        let missing = (0..10).map(|n| n.to_string()).filter(|name| call.memo(name).is_none());
        let missing: Vec<Value> = missing.map(|name| op("StepPlanned", &name, json!({}))).collect();
        if missing.is_empty() { Answer::Return(json!(1)) } else { Answer::Ops(json!(missing)) }
    })])
    .await;
    assert_eq!(world.run("t/ten", json!({})).await["status"], "Completed");
    assert_eq!(world.app.calls().len(), 12);
}

/// A block of `bad`, which always fails, and `slow`; returns what is known when both are, or when `early`.
fn half_bad(id: &str, version: &'static str, early: bool, slow: Duration) -> StubFunction {
    StubFunction::new(id, &format!("t/{id}"), move |call| {
        if call.step == step_id("bad") {
            let error = json!({ "error": { "name": "Bad", "message": format!("attempt {}", call.attempt()) } });
            return ops(version, &json!([op("StepError", "bad", error)]));
        }
        if call.step == step_id("slow") {
            return Answer::After(slow, Box::new(ran(version, "slow")));
        }
        match (call.memo("bad"), call.memo("slow")) {
            (Some(bad), slow) if early || slow.is_some() => {
                Answer::Return(json!({ "bad": bad["error"]["message"], "slow": slow.is_some() }))
            }
            _ => ops(version, &json!([op("StepPlanned", "bad", json!({})), op("StepPlanned", "slow", json!({}))])),
        }
    })
}

#[tokio::test]
async fn a_branch_that_fails_for_good_is_told_with_the_block_or_at_once() {
    let second = Duration::from_secs(1);
    let world = World::of(vec![
        half_bad("two", "2", true, second).retries(0),
        half_bad("one", "1", true, second).retries(0),
        half_bad("again", "2", true, Duration::ZERO).retries(2),
    ])
    .await;
    let two = world.run("t/two", json!({})).await;
    assert_eq!(two["output"], json!({ "bad": "attempt 0", "slow": true }), "when both are done");
    assert_eq!(world.app.calls_of("two").len(), 4);
    let one = world.run("t/one", json!({})).await;
    assert_eq!(one["output"], json!({ "bad": "attempt 0", "slow": false }), "while the other goes on");
    // The run has ended; what comes in afterwards is nobody's.
    let again = world.run("t/again", json!({})).await;
    assert_eq!(again["output"], json!({ "bad": "attempt 2", "slow": true }), "once, after the last attempt");
    let mut tries = attempts(&world.app, "again");
    tries.sort_unstable();
    assert_eq!(tries, [0, 0, 0, 0, 1, 2]);
    assert_eq!(world.app.calls_of("one").len(), 4, "nothing follows the late answer");
}

#[tokio::test]
async fn many_calls_that_return_end_the_run_once() {
    let world = World::of(vec![
        StubFunction::new("race", "t/race", |call| {
            if call.step != "step" {
                return ops("1", &json!([{ "op": "StepRun", "id": call.step, "data": 1 }]));
            }
            let known = call.body["steps"].as_object().is_some_and(|steps| !steps.is_empty());
            if known {
                return Answer::Return(json!("done"));
            }
            ops("1", &(0..10).map(|n| op("StepPlanned", &n.to_string(), json!({}))).collect())
        }),
        StubFunction::new("watch", "inngest/function.finished", |_| Answer::Return(json!(1))),
    ])
    .await;
    for _ in 0..3 {
        assert_eq!(world.run("t/race", json!({})).await["output"], "done");
    }
    let finished = "/v1/events?include_internal=true&name=inngest/function.finished";
    assert_eq!(world.client().get(finished).await.unwrap()["data"].as_array().map(Vec::len), Some(3));
}
