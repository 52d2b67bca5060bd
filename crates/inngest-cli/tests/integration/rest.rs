//! What single endpoints of REST answer.

use inngest_testkit::{Answer, StubFunction, wait_until};
use serde_json::{Value, json};

use crate::harness::{SOON, World};

fn hello() -> StubFunction {
    StubFunction::new("hello", "r/hello", |_| Answer::Return(json!(1)))
}

#[tokio::test]
async fn a_rerun_is_refused_in_the_form_of_its_version() {
    let world = World::of(vec![hello()]).await;
    let run = world.run("r/hello", json!({})).await["run_id"].as_str().unwrap().to_owned();
    let unknown = "01M85QRDBHC70063SSP1V76AAN";
    for (id, body, status, code, message) in [
        (&*run, json!({ "from_step": { "step_id": "b" } }), 400, "invalid_request", "Step not found in original run"),
        (&*run, json!({ "fromStep": {} }), 400, "missing_field", "Step ID is required"),
        (&*run, json!({ "fromstep": { "stepId": "b" } }), 400, "api_error", "unknown field \"fromstep\""),
        (&*run, json!({ "fromStep": { "step": "b" } }), 400, "api_error", "unknown field \"step\""),
        (&*run, json!([]), 400, "api_error", "invalid"),
        (unknown, json!({}), 404, "not_found", "Run not found"),
        ("x", json!({}), 400, "invalid_field_format", "Run ID must be a valid ULID"),
    ] {
        for root in ["/v2", "/api/v2"] {
            let reply = world.client().post(&format!("{root}/runs/{id}/rerun"), &body).await.unwrap();
            let error = reply.json()["errors"][0].clone();
            assert_eq!((reply.status, &error["code"]), (status, &json!(code)), "{body}: {}", reply.text());
            let text = error["message"].as_str().unwrap_or_default();
            assert!(text.starts_with(message), "{body}: {text}");
        }
    }
    let reply = world.client().post(&format!("/v1/runs/{run}/rerun"), &json!({ "from": "b" })).await.unwrap();
    assert_eq!((reply.status, &reply.json()["status"]), (400, &json!(400)), "{}", reply.text());
    assert_eq!(world.app.calls().len(), 1, "nothing was run again");
}

#[tokio::test]
async fn a_run_tells_the_schedule_that_started_it() {
    let world = World::of(vec![
        StubFunction::new("tick", "x", |_| Answer::Return(json!(1))).triggers(json!([{ "cron": "* * * * * *" }])),
        hello(),
    ])
    .await;
    let run = wait_until("a tick", SOON, async || {
        let runs = world.client().get("/v1/runs?function=app-tick").await.ok()?;
        runs["data"][0]["run_id"].as_str().map(str::to_owned)
    })
    .await
    .unwrap();
    let run = world.client().get(&format!("/v1/runs/{run}")).await.unwrap()["data"].clone();
    assert_eq!(run["cron"], "* * * * * *");
    let event = run["event_id"].as_str().unwrap();
    assert_eq!(world.client().runs_of(event).await.unwrap()[0]["cron"], "* * * * * *");
    let other = world.run("r/hello", json!({})).await;
    assert!(other.get("cron").is_none(), "{other}");
}

#[tokio::test]
async fn null_is_absent_in_notes() {
    let world = World::of(vec![hello()]).await;
    let run = world.run("r/hello", json!({})).await["run_id"].as_str().unwrap().to_owned();
    let note = json!([{ "kind": "userland.note", "op": "merge", "values": { "k": 1 } }]);
    for body in [json!({ "target": null, "metadata": note }), json!({ "target": null, "metadata": null }), json!({})] {
        let reply = world.client().post(&format!("/v1/runs/{run}/metadata"), &body).await.unwrap();
        assert_eq!(reply.status, 200, "{body}: {}", reply.text());
    }
}

#[tokio::test]
async fn other_limits_are_bounded_and_unknown_functions_have_none() {
    let world = World::of(vec![hello()]).await;
    let functions = world.client().get("/v1/functions").await.unwrap();
    let id = functions["data"][0]["internal_id"].as_str().unwrap().to_owned();
    let ask = async |method: &str, rest: String| -> (u16, Value) {
        let reply =
            world.client().request(method, &format!("/fn/step-limit?functionId={rest}"), &[], "").await.unwrap();
        (reply.status, reply.json()["error"].clone())
    };
    assert_eq!(ask("POST", format!("{id}&limit=10000")).await.0, 200);
    let (status, error) = ask("POST", format!("{id}&limit=10001")).await;
    assert_eq!((status, error.as_str().map(|text| text.starts_with("Invalid limit: 10001"))), (400, Some(true)));
    assert_eq!(ask("DELETE", id.clone()).await.0, 200);
    for unknown in [&*id, "no-uuid"] {
        let text = format!("No step limit set for function: {unknown}");
        assert_eq!(ask("DELETE", unknown.to_owned()).await, (404, json!(text)));
    }
}
