//! The OpenAPI document of v1 is what is served: every operation of it answers, in the form that it says.

use std::collections::BTreeSet;

use inngest_testkit::stub::op;
use inngest_testkit::{Answer, StubFunction};
use serde_json::{Value, json};

use crate::harness::World;

/// Why a value is not what a schema says. Stricter than JSON Schema: members that are not named are wrong, unless
/// any member may be there.
fn violation(document: &Value, schema: &Value, value: &Value, at: &str) -> Option<String> {
    if let Some(path) = schema["$ref"].as_str() {
        return violation(document, document.pointer(&path[1..]).expect("the reference leads somewhere"), value, at);
    }
    if let Some(choices) = schema["anyOf"].as_array() {
        let mut violations = choices.iter().map(|choice| violation(document, choice, value, at));
        return if violations.any(|violation| violation.is_none()) { None } else { Some(format!("{at}: {value}")) };
    }
    let kinds = match &schema["type"] {
        Value::Array(kinds) => kinds.clone(),
        Value::Null => return (*schema == Value::Bool(false)).then(|| format!("{at}: there must be nothing")),
        kind => vec![kind.clone()],
    };
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    if !kinds.iter().any(|known| known == kind) {
        return Some(format!("{at}: {value} is no {kinds:?}"));
    }
    if let Some(items) = value.as_array() {
        let items = items.iter().enumerate();
        return items.filter_map(|(n, item)| violation(document, &schema["items"], item, &format!("{at}[{n}]"))).next();
    }
    let members = value.as_object()?;
    let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    if let Some(missing) = required.into_iter().find(|name| !members.contains_key(*name)) {
        return Some(format!("{at}.{missing} is missing"));
    }
    members.iter().find_map(|(name, member)| match schema["properties"].get(name) {
        Some(schema) => violation(document, schema, member, &format!("{at}.{name}")),
        None if schema["additionalProperties"] == true => None,
        None => Some(format!("{at}.{name} is not documented")),
    })
}

#[tokio::test]
async fn every_documented_operation_answers_as_documented() {
    let nap = |_: &inngest_testkit::Call| Answer::Ops(json!([op("Sleep", "nap", json!({ "name": "1h" }))]));
    let wait = |_: &inngest_testkit::Call| {
        Answer::Ops(json!([op("WaitForSignal", "w", json!({ "opts": { "signal": "go", "timeout": "1h" } }))]))
    };
    let steps = |call: &inngest_testkit::Call| match (call.memo("a"), call.attempt()) {
        (None, 0) => Answer::error("once"),
        (None, _) => Answer::step("a", &json!({ "n": 1 })),
        _ => Answer::Return(json!([1, "two"])),
    };
    let world = World::of(vec![
        StubFunction::new("nap", "o/nap", nap),
        StubFunction::new("wait", "o/wait", wait),
        StubFunction::new("steps", "o/steps", steps).retries(2),
        StubFunction::new("later", "o/later", |_| Answer::Return(json!(1)))
            .config(json!({ "debounce": { "period": "1h" } })),
        StubFunction::new("paused", "o/paused", |_| Answer::Return(json!(1))),
    ])
    .await;
    let client = world.client();
    let document = client.get("/v1/openapi.json").await.unwrap();
    for other in ["/openapi.json", "/api/v1/openapi.json"] {
        assert_eq!(client.get(other).await.unwrap(), document, "{other}");
    }
    let page = client.request("GET", "/v1/docs", &[], "").await.unwrap();
    assert!(page.status == 200 && page.text().contains("id=\"CreateCancellation\""), "{}", page.text());

    let ended = world.run("o/steps", json!({})).await;
    let (event, ended) = (ended["event_id"].as_str().unwrap(), ended["run_id"].as_str().unwrap());
    let sleeping = world.send("o/nap", json!({})).await;
    let sleeping = world.pending(&sleeping, "Sleeping").await;
    let waiting = world.send("o/wait", json!({})).await;
    world.pending(&waiting, "Waiting").await;
    world.send("o/later", json!({})).await;
    let unknown = "01M85QRDBHC70063SSP1V76AAN";
    let cancellation = json!({ "app_id": "app", "function_id": "paused", "started_before": "2026-01-01T00:00:00Z" });
    let created = client.post("/v1/cancellations", &cancellation).await.unwrap().json();
    let created = created["data"]["id"].as_str().unwrap_or_default().to_owned();
    let none = Value::Null;
    let limits = json!({ "throttles": [] });

    let mut answered = BTreeSet::new();
    let requests = [
        ("SendEvents", "/e/key".to_owned(), json!([{ "name": "o/x" }]), 200),
        ("SendEvents", "/e/key".to_owned(), json!([{ "name": "o/x" }, {}]), 400),
        ("SendEventsSigned", "/v1/events".to_owned(), json!({ "name": "o/x" }), 200),
        ("SendEventsSigned", "/v1/events".to_owned(), json!(7), 400),
        ("ListEvents", "/v1/events?include_internal=true".to_owned(), none.clone(), 200),
        ("ListEvents", "/v1/events?cursor=x".to_owned(), none.clone(), 400),
        ("GetEvent", format!("/v1/events/{event}"), none.clone(), 200),
        ("GetEvent", format!("/v1/events/{unknown}"), none.clone(), 404),
        ("GetEvent", "/v1/events/%ff".to_owned(), none.clone(), 400),
        ("GetEventRuns", format!("/v1/events/{event}/runs"), none.clone(), 200),
        ("ExplainEvent", format!("/v1/events/{event}/explain"), none.clone(), 200),
        ("PauseFunction", "/v1/functions/app-paused/pause".to_owned(), json!({ "new_runs": "skip" }), 200),
        ("PauseFunction", "/v1/functions/nope/pause".to_owned(), json!({}), 404),
        ("SendEvents", "/e/key".to_owned(), json!({ "name": "o/paused", "id": "once" }), 200),
        ("GetSkips", "/v1/functions/app-paused/skips".to_owned(), none.clone(), 200),
        ("GetEventSkips", format!("/v1/events/{event}/skips"), none.clone(), 200),
        ("ListFunctions", "/v1/functions".to_owned(), none.clone(), 200),
        ("GetAppFunctions", "/v1/apps/app/functions".to_owned(), none.clone(), 200),
        ("ResumeFunction", "/v1/functions/app-paused/resume".to_owned(), none.clone(), 200),
        ("DrainFunction", "/v1/functions/app-paused/drain".to_owned(), none.clone(), 200),
        ("GetGatherings", "/v1/functions/app-later/gatherings".to_owned(), none.clone(), 200),
        ("SendSignal", "/v1/signals".to_owned(), json!({ "signal": "go", "data": 1 }), 200),
        ("SendSignal", "/v1/signals".to_owned(), json!({ "signal": "gone" }), 404),
        ("ListRuns", "/v1/runs?include_output=true&status=Completed&status=Skipped".to_owned(), none.clone(), 200),
        ("ListRuns", "/v1/runs".to_owned(), none.clone(), 200),
        ("GetRun", format!("/v1/runs/{ended}"), none.clone(), 200),
        ("GetRunActions", format!("/v1/runs/{ended}/actions"), none.clone(), 200),
        ("GetRunActions", format!("/v1/runs/{sleeping}/actions"), none.clone(), 200),
        ("ExplainRun", format!("/v1/runs/{sleeping}/explain"), none.clone(), 200),
        ("GetRunJobs", format!("/v1/runs/{sleeping}/jobs"), none.clone(), 200),
        ("AddMetadata", format!("/v1/runs/{ended}/metadata"), json!({}), 200),
        ("RerunRun", format!("/v1/runs/{ended}/rerun"), json!({}), 200),
        ("RerunRuns", "/v1/reruns".to_owned(), json!({ "function_id": "app-steps", "limit": 1 }), 200),
        ("Checkpoint", format!("/v1/checkpoint/{ended}/async"), json!({ "qi_id": "x", "steps": [] }), 400),
        ("ExportSpans", "/v1/traces/userland".to_owned(), json!({ "resourceSpans": [] }), 200),
        ("GetFlowControl", "/v1/flow-control".to_owned(), none.clone(), 200),
        ("SetFlowControl", "/v1/flow-control".to_owned(), limits, 200),
        ("RemoveFlowControl", "/v1/flow-control".to_owned(), none.clone(), 200),
        ("ListCancellations", "/v1/cancellations".to_owned(), none.clone(), 200),
        ("CreateCancellation", "/v1/cancellations".to_owned(), cancellation, 200),
        ("CreateCancellation", "/v1/cancellations".to_owned(), json!({}), 400),
        ("DeleteCancellation", format!("/v1/cancellations/{created}"), none.clone(), 200),
        ("CancelRun", format!("/v1/runs/{sleeping}"), none.clone(), 200),
        ("Health", "/health".to_owned(), none.clone(), 200),
        ("Ready", "/ready".to_owned(), none.clone(), 200),
        ("Metrics", "/v1/prom/dev".to_owned(), none, 200),
    ];
    for (id, path, body, status) in requests {
        let (method, operation) = operation(&document, id);
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let reply = client.request(&method, &path, &[("content-type", "application/json")], body).await.unwrap();
        assert_eq!(reply.status, status, "{method} {path}: {}", reply.text());
        let documented = &operation["responses"][status.to_string()];
        assert!(documented.is_object(), "{id} does not document {status}: {operation}");
        let schema = &documented["content"]["application/json"]["schema"];
        if !schema.is_null() {
            let violation = violation(&document, schema, &reply.json(), id);
            assert_eq!(violation, None, "{method} {path}: {}", reply.text());
        }
        answered.insert(id.to_owned());
    }
    assert_eq!(answered, ids(&document), "every operation is asked for");
}

fn operations(document: &Value) -> impl Iterator<Item = (&String, &Value)> {
    document["paths"].as_object().unwrap().values().flat_map(|item| item.as_object().unwrap())
}

fn ids(document: &Value) -> BTreeSet<String> {
    operations(document).map(|(_, operation)| operation["operationId"].as_str().unwrap().to_owned()).collect()
}

fn operation<'d>(document: &'d Value, id: &str) -> (String, &'d Value) {
    let found = operations(document).find(|(_, operation)| operation["operationId"] == id);
    let (method, operation) = found.unwrap_or_else(|| panic!("{id} is not documented"));
    (method.to_ascii_uppercase(), operation)
}
