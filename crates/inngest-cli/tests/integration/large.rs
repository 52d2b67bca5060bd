//! Limits of runs: what happens at each, and how an operator raises it.

use std::sync::Arc;

use inngest_testkit::stub::{op, step_id};
use inngest_testkit::{Answer, Call, StubFunction, wait_until};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::harness::{SOON, World, attempts};

const MEGABYTE: usize = 1 << 20;

/// A function of these steps, each of which returns as many bytes; it returns when it knows all, or is told to
/// fetch them.
fn steps(id: &str, names: &'static [&'static str], bytes: usize) -> StubFunction {
    StubFunction::new(id, &format!("t/{id}"), move |call| {
        if call.body["use_api"] == true {
            return Answer::Return(json!("fetched"));
        }
        match names.iter().find(|name| call.memo(name).is_none()) {
            Some(name) => Answer::step(name, &json!("x".repeat(bytes))),
            None => Answer::Return(json!("complete")),
        }
    })
}

/// Registers the app of the world anew, as one of this SDK.
async fn speak(world: &World, sdk: &str) {
    let mut registration = world.app.registration();
    registration["sdk"] = json!(sdk);
    let reply = world.client().post("/fn/register", &registration).await.unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
}

#[tokio::test]
async fn sdks_that_cannot_fetch_the_state_get_all_of_it() {
    let world = World::of(vec![steps("three", &["a", "b", "c"], 2 * MEGABYTE)]).await;
    for (sdk, output) in [
        ("js:v4.24.0", "fetched"),
        ("py:v0.5.19", "fetched"),
        ("go:v0.16.0", "complete"),
        ("inngest-kt:0.2.0", "complete"),
    ] {
        speak(&world, sdk).await;
        let run = world.run("t/three", json!({})).await;
        assert_eq!(run["output"], output, "{sdk}");
        let last = world.app.calls().pop().unwrap();
        let fetches = output == "fetched";
        assert_eq!((&last.body["use_api"], &last.body["ctx"]["use_api"]), (&json!(fetches), &json!(fetches)), "{sdk}");
        assert_eq!(last.raw.len() > 6 * MEGABYTE, !fetches, "{sdk}: {}", last.raw.len());
        assert_eq!(last.body["steps"].as_object().map(serde_json::Map::len), Some(if fetches { 0 } else { 3 }));
        assert_eq!(last.body["events"].as_array().map(Vec::len), Some(1), "the event is there all the same");
    }
}

#[tokio::test]
async fn a_state_is_fetched_in_the_order_of_completion_and_only_while_the_run_goes_on() {
    // Their ids are not in the order of the steps.
    const NAMES: [&str; 4] = ["c", "a", "b", "e"];
    let go = Arc::new(Notify::new());
    let release = Arc::clone(&go);
    let world = World::of(vec![StubFunction::new("four", "t/four", move |call| {
        match NAMES.iter().find(|name| call.memo(name).is_none()) {
            Some(name) => Answer::step(name, &json!(name)),
            None => Answer::Until(Arc::clone(&release), Box::new(Answer::Return(json!(1)))),
        }
    })])
    .await;
    let event = world.send("t/four", json!({ "k": 1 })).await;
    let call = world.call("four", 4).await;
    let get = async |path: &str| {
        let path = format!("/v0/runs/{path}");
        world.client().request("GET", &path, &[("authorization", "Bearer ")], "").await.unwrap()
    };
    let actions = get(&format!("{}/actions", call.run())).await;
    let at: Vec<usize> = NAMES.iter().map(|name| actions.text().find(&step_id(name)).unwrap()).collect();
    assert!(at.is_sorted() && !NAMES.map(step_id).is_sorted(), "{}", actions.text());
    assert_eq!(actions.json()[step_id("b")], json!({ "data": "b" }));
    let stack: Vec<String> = NAMES.iter().map(|name| step_id(name)).collect();
    assert_eq!(call.body["ctx"]["stack"]["stack"], json!(stack));
    let batch = get(&format!("{}/batch", call.run())).await;
    assert_eq!(batch.json(), call.body["events"]);
    go.notify_one();
    world.ended(&event).await;
    for what in ["actions", "batch"] {
        let gone = get(&format!("{}/{what}", call.run())).await;
        let error = format!("runtime state is no longer available for runID: {}", call.run());
        assert_eq!((gone.status, gone.json()), (410, json!({ "error": error, "data": null, "status": 410 })));
        let bad = get(&format!("x/{what}")).await;
        let error = "The run ID specified is invalid";
        assert_eq!((bad.status, bad.json()), (400, json!({ "error": error, "data": null, "status": 400 })));
    }
}

/// The error of a run, and how it was called.
async fn failed(world: &World, function: &str) -> (Value, Vec<u64>) {
    let run = world.run(&format!("t/{function}"), json!({})).await;
    assert_eq!(run["status"], "Failed", "{function}: {run}");
    let id = run["run_id"].as_str().unwrap();
    (world.client().get(&format!("/v1/runs/{id}")).await.unwrap()["data"].clone(), attempts(&world.app, function))
}

#[tokio::test]
async fn what_is_too_large_or_too_much_fails_by_name() {
    let ops = |count: usize| {
        move |_: &Call| Answer::Ops((0..count).map(|n| op("StepPlanned", &n.to_string(), json!({}))).collect())
    };
    let big_input = |_: &Call| {
        let input = json!({ "opts": { "input": ["x".repeat(4 * MEGABYTE)] }, "data": 1 });
        Answer::Ops(json!([op("StepRun", "a", input)]))
    };
    let world = World::of(vec![
        steps("output", &["a"], 4 * MEGABYTE).retries(1),
        StubFunction::new("input", "t/input", big_input).retries(1),
        StubFunction::new("ops", "t/ops", ops(1_001)),
        StubFunction::new("reply", "t/reply", |_| Answer::Return(json!("x".repeat(8 * MEGABYTE)))).retries(1),
    ])
    .await;
    let validation = |text: &str| {
        format!("error validating generator opcode {}: step {text} size is greater than the limit", step_id("a"))
    };
    let (output, calls) = failed(&world, "output").await;
    assert_eq!((&output["error"]["message"], calls), (&json!(validation("output")), vec![0, 1]));
    let (input, calls) = failed(&world, "input").await;
    assert_eq!((&input["error"]["message"], calls), (&json!(validation("input")), vec![0, 1]));
    let (ops, calls) = failed(&world, "ops").await;
    assert_eq!((&ops["error"]["name"], calls), (&json!("InngestErrFunctionOverflowed"), vec![0]));
    let (reply, calls) = failed(&world, "reply").await;
    let message = "Your function's response body exceeds the maximum size limit";
    let shown = json!({ "error": {
        "error": format!("output_too_large: {message}"), "name": "output_too_large", "message": message,
    } });
    assert_eq!((&reply["output"], calls), (&shown, vec![0, 1]));
}

#[tokio::test]
async fn limits_are_raised_and_lowered_by_options() {
    let args = [
        "--max-steps=3",
        "--max-step-output=6000000",
        "--max-step-input=6000000",
        "--max-response-size=20000000",
        "--max-run-state=7000000",
        "--max-call-size=10000",
    ];
    let world = World::with(
        &args,
        vec![
            steps("three", &["a", "b", "c"], 10).retries(0),
            steps("four", &["a", "b", "c", "d"], 10).retries(0),
            StubFunction::new("step", "t/step", |call| match call.memo("a") {
                None if call.body["use_api"] == false => {
                    let input = json!(["x".repeat(5_000_000)]);
                    let more = json!({ "data": "x".repeat(5_000_000), "opts": { "input": input } });
                    Answer::Ops(json!([op("StepRun", "a", more)]))
                }
                _ => Answer::Return(json!("x".repeat(15_000_000))),
            })
            .retries(0),
            steps("state", &["a", "b"], 10),
            steps("small", &["a", "b"], 6_000),
        ],
    )
    .await;
    assert_eq!(world.run("t/three", json!({})).await["status"], "Completed", "all its steps and the final call");
    let (four, calls) = failed(&world, "four").await;
    let message = "The function run exceeded the step limit of 3 steps.";
    let shown = json!({ "error": {
        "error": "function has too many steps", "name": "InngestErrFunctionOverflowed", "message": message,
    } });
    assert_eq!((&four["output"], calls.len()), (&shown, 4), "no fifth call");
    let step = world.run("t/step", json!({})).await;
    assert_eq!((&step["status"], step["output"].as_str().map(str::len)), (&json!("Completed"), Some(15_000_000)));
    assert_eq!(world.run("t/small", json!({})).await["output"], "fetched", "because a call may be small only");
    for (option, value) in [("--max-steps", "0"), ("--max-steps", "100001"), ("--max-call-size", "7")] {
        let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_inngest")).args(["dev", option, value]).output();
        let said = String::from_utf8(output.await.unwrap().stderr).unwrap();
        assert!(said.contains(&format!("invalid value \"{value}\" for {}", &option[2..])), "{said}");
    }
}

#[tokio::test]
async fn tests_of_sdks_may_give_a_function_limits_of_its_own() {
    let world = World::of(vec![
        steps("steps", &["a", "b", "c", "d", "e"], 10),
        steps("state", &["a", "b"], 100),
        steps("other", &["a", "b", "c", "d", "e"], 100),
    ])
    .await;
    world.run("t/steps", json!({})).await;
    let steps_id = world.app.calls_of("steps")[0].body["ctx"]["fn_id"].as_str().unwrap().to_owned();
    world.run("t/state", json!({})).await;
    let state_id = world.app.calls_of("state")[0].body["ctx"]["fn_id"].as_str().unwrap().to_owned();

    // In the query or as a form.
    let limit = format!("/fn/step-limit?functionId={steps_id}&limit=4");
    assert_eq!(world.client().request("POST", &limit, &[], "").await.unwrap().status, 200);
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let fields = format!("functionId={state_id}&limit=60");
    let reply = world.client().request("POST", "/fn/state-size-limit", &form, fields.clone()).await.unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
    let (steps, _) = failed(&world, "steps").await;
    let shown = json!({ "error": {
        "error": "function has too many steps", "name": "InngestErrFunctionOverflowed",
        "message": "The function run exceeded the step limit of 4 steps.",
    } });
    assert_eq!(steps["output"], shown);
    let (state, calls) = failed(&world, "state").await;
    let message = "The function run exceeded the state size limit of 60 bytes.";
    let shown = json!({ "error": {
        "error": format!("InngestErrStateOverflowed: {message}"), "name": "InngestErrStateOverflowed",
        "message": message,
    } });
    assert_eq!((&state["output"], calls.len()), (&shown, 4), "three calls without the limit, one with it");
    assert_eq!(world.run("t/other", json!({})).await["status"], "Completed", "of that function only");

    for (path, body, found) in [(limit.as_str(), String::new(), "step"), ("/fn/state-size-limit", fields, "state size")]
    {
        let delete = async || world.client().request("DELETE", path, &form, body.clone()).await.unwrap();
        assert_eq!(delete().await.status, 200);
        let again = delete().await;
        assert!(again.status == 404 && again.text().contains(&format!("No {found} limit set")), "{}", again.text());
    }
    assert_eq!(world.run("t/steps", json!({})).await["status"], "Completed");
    assert_eq!(world.run("t/state", json!({})).await["status"], "Completed");
    for (bad, text) in [("functionId=x&limit=1", "Invalid function ID: x"), ("limit=1", "Invalid function ID: ")] {
        let reply = world.client().request("POST", &format!("/fn/step-limit?{bad}"), &[], "").await.unwrap();
        assert!(reply.status == 400 && reply.text().contains(text), "{}", reply.text());
    }
}

#[tokio::test]
async fn a_call_that_takes_the_state_of_large_events_leaves_them_out_too() {
    let world = World::of(vec![StubFunction::new("event", "t/event", |call| match call.body["use_api"] == true {
        false => Answer::step("a", &json!("x".repeat(3 * MEGABYTE))),
        true => Answer::Return(json!(call.body["event"]["data"]["pad"].as_str().map(str::len))),
    })])
    .await;
    let event = world.send("t/event", json!({ "pad": "x".repeat(2 * MEGABYTE + MEGABYTE / 2) })).await;
    assert_eq!(world.ended(&event).await["output"], 2 * MEGABYTE + MEGABYTE / 2, "the first event is always there");
    let last = wait_until("the last call", SOON, async || world.app.calls().pop()).await.unwrap();
    assert_eq!((&last.body["events"], &last.body["steps"]), (&json!([]), &json!({})));
}
