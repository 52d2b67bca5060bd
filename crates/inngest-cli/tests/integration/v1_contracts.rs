//! The contracts of v0, the event API and v1.

use inngest_testkit::stub::op;
use inngest_testkit::{Answer, Call, StubFunction};
use serde_json::json;

use crate::contracts::{Known, replay};
use crate::harness::World;

fn waiting(_: &Call) -> Answer {
    Answer::Ops(json!([op("WaitForSignal", "w", json!({ "opts": { "signal": "go", "timeout": "1h" } }))]))
}

fn sleeping(call: &Call) -> Answer {
    match call.memo("a") {
        None => Answer::step("a", &json!({ "v": 1 })),
        Some(_) => Answer::Ops(json!([op("Sleep", "nap", json!({ "name": "1h" }))])),
    }
}

fn two_steps(call: &Call) -> Answer {
    match call.memo("a") {
        None => Answer::step("a", &json!(1)),
        Some(_) => Answer::Return(json!({ "done": true })),
    }
}

/// A server with a run of each kind.
pub(crate) async fn world() -> (World, Known) {
    let world = World::of(vec![
        StubFunction::new("hello", "c/hello", |_| Answer::Return(json!({ "hi": "bo" }))),
        StubFunction::new("scalar", "c/scalar", |_| Answer::Return(json!(42))),
        StubFunction::new("fail", "c/fail", |_| Answer::error("no luck")).retries(0),
        StubFunction::new("steps", "c/steps", two_steps),
        StubFunction::new("slow", "c/slow", sleeping),
        StubFunction::new("signal", "c/signal", waiting),
        StubFunction::new("quiet", "c/quiet", |_| Answer::Return(json!(1))),
    ])
    .await;
    let mut known = Known::new();
    for name in ["hello", "scalar", "fail", "steps"] {
        let run = world.run(&format!("c/{name}"), json!({ "who": "bo" })).await;
        known.insert(name, run["run_id"].as_str().unwrap().to_owned());
        if name == "hello" {
            known.insert("event", run["event_id"].as_str().unwrap().to_owned());
        }
    }
    for name in ["slow", "doomed", "gone"] {
        let event = world.send("c/slow", json!({})).await;
        known.insert(name, world.pending(&event, "Sleeping").await);
    }
    let event = world.send("c/signal", json!({})).await;
    known.insert("waiting", world.pending(&event, "Waiting").await);
    (world, known)
}

#[tokio::test]
async fn v0_keeps_its_contracts() {
    let (world, known) = world().await;
    replay(world.client(), "v0", &known).await;
}

#[tokio::test]
async fn v1_keeps_its_contracts() {
    let (world, known) = world().await;
    replay(world.client(), "v1", &known).await;
}
