//! REST v2: its contracts, what it describes of itself, and what takes more than one exchange.

use std::collections::BTreeSet;

use inngest_testkit::stub::op;
use inngest_testkit::{Answer, StubApp, StubFunction};
use serde_json::{Value, json};

use crate::contracts::{self, Exchanged, Known};
use crate::harness::World;

fn returns(id: &str, output: Value) -> StubFunction {
    StubFunction::new(id, &format!("v2/{id}"), move |_| Answer::Return(output.clone()))
}

fn sleeps(id: &str) -> StubFunction {
    StubFunction::new(id, &format!("v2/{id}"), |_| Answer::Ops(json!([op("Sleep", "nap", json!({ "name": "1h" }))])))
}

fn steps(id: &str) -> StubFunction {
    StubFunction::new(id, &format!("v2/{id}"), |call| {
        if call.memo("a").is_none() {
            return Answer::step("a", &json!("done"));
        }
        Answer::Return(json!({ "ok": true }))
    })
}

fn functions() -> Vec<StubFunction> {
    let limit = json!({ "rateLimit": { "limit": 1, "period": "1h" } });
    let config = json!({
        "concurrency": [{ "limit": 5 }, { "limit": 7, "key": "event.data.u", "scope": "account" }],
        "throttle": { "limit": 2, "burst": 1, "period": "60s" }, "priority": { "run": "event.data.p" },
        "cancel": [{ "event": "v2/stop", "if": "async.data.u == event.data.u", "timeout": "1h" }],
    });
    vec![
        returns("hello", json!({ "greeting": "hello" })),
        returns("scalar", json!(42)),
        StubFunction::new("fail", "v2/fail", |_| Answer::fatal("no way")).retries(0),
        steps("steps"),
        steps("again"),
        sleeps("sleeps"),
        sleeps("cancelled"),
        returns("invoked", json!(1)),
        returns("limited", json!(1)).config(limit),
        returns("debounced", json!(1)).config(json!({ "debounce": { "period": "1h" } })),
        returns("configured", json!(1)).config(config).retries(2).triggers(json!([
            { "event": "v2/configured", "expression": "event.data.n > 0" }, { "cron": "0 0 1 1 *" },
        ])),
    ]
}

/// A server on which something happened, and the names of it.
async fn world() -> (World, Known, StubApp) {
    let world = World::of(functions()).await;
    let solo = StubApp::serve("solo", vec![returns("only", json!(1))]).await.unwrap();
    solo.register(world.client()).await.unwrap();
    let mut known = Known::new();
    for (name, event_name) in [
        ("hello", "hello_event"),
        ("scalar", "scalar_event"),
        ("fail", "fail_event"),
        ("steps", "steps_event"),
        ("again", "again_event"),
    ] {
        let event = world.send(&format!("v2/{name}"), json!({ "n": 1 })).await;
        known.insert(name, world.ended(&event).await["run_id"].as_str().unwrap().to_owned());
        known.insert(event_name, event);
    }
    for (name, event_name) in [("sleeps", "sleeps_event"), ("cancelled", "cancelled_event")] {
        let event = world.send(&format!("v2/{name}"), json!({})).await;
        known.insert(name, world.pending(&event, "Sleeping").await);
        known.insert(event_name, event);
    }
    known.insert("url", world.app.url.clone());
    known.insert("solo_url", solo.url.clone());
    (world, known, solo)
}

#[tokio::test]
async fn replies_are_those_of_the_contracts_and_every_operation_has_one() {
    let (world, known, _solo) = world().await;
    let exchanged = contracts::replay(world.client(), "v2", &known).await;
    let document = world.client().get("/v2/openapi.json").await.unwrap();
    let mut missing = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let statuses: Vec<&str> = operation["responses"].as_object().unwrap().keys().map(String::as_str).collect();
            let told = exchanged.iter().filter(|one| is_of(one, method, path)).collect::<Vec<_>>();
            for one in &told {
                assert!(
                    statuses.contains(&&*one.status.to_string()),
                    "{method} {path}: {} is not described",
                    one.status
                );
            }
            if told.is_empty() {
                missing.insert(operation["operationId"].as_str().unwrap());
            }
        }
    }
    assert!(missing.is_empty(), "operations without a contract: {missing:?}");
}

/// Whether an exchange is one of an operation.
fn is_of(exchanged: &Exchanged, method: &str, path: &str) -> bool {
    let asked = exchanged.path.split('?').next().unwrap_or_default().trim_start_matches("/api");
    let Some(asked) = asked.strip_prefix("/v2/") else { return false };
    let segments = |path: &str| path.split('/').map(str::to_owned).collect::<Vec<_>>();
    let (asked, path) = (segments(asked), segments(&path[1..]));
    exchanged.method.eq_ignore_ascii_case(method)
        && asked.len() == path.len()
        && asked.iter().zip(&path).all(|(asked, path)| path.starts_with('{') || asked == path)
}

#[tokio::test]
async fn it_describes_itself_to_programs_and_people() {
    let world = World::of(vec![returns("hello", json!(1))]).await;
    for root in ["/v2", "/api/v2"] {
        let document = world.client().get(&format!("{root}/openapi.json")).await.unwrap();
        assert_eq!(document["openapi"], "3.1.0");
        let get = &document["paths"]["/runs/{runId}"]["get"];
        assert_eq!(get["operationId"], "GetFunctionRun");
        assert_eq!(
            get["responses"]["200"]["content"]["application/json"]["schema"]["$ref"],
            "#/components/schemas/FunctionRunReply"
        );
        let names: Vec<_> =
            get["parameters"].as_array().unwrap().iter().map(|one| (one["name"].clone(), one["in"].clone())).collect();
        assert_eq!(names, [(json!("runId"), json!("path")), (json!("includeOutput"), json!("query"))]);
        let page = world.client().request("GET", &format!("{root}/docs"), &[], "").await.unwrap();
        assert_eq!((page.status, page.headers["content-type"].to_str().unwrap()), (200, "text/html; charset=utf-8"));
        assert!(page.text().contains("/v2/runs/{runId}") && !page.text().contains("<script"), "{}", page.text());
    }
    let reply = world.client().request("GET", "/v2/operations", &[], "").await.unwrap();
    assert_eq!(reply.headers["cache-control"], "public, max-age=300, stale-while-revalidate=3600");
    let operations = reply.json()["data"]["operations"].as_array().unwrap().clone();
    let tools: BTreeSet<&str> = operations.iter().filter_map(|operation| operation["mcp"]["name"].as_str()).collect();
    for tool in [
        "health",
        "get_apps",
        "get_app",
        "list_functions",
        "get_function",
        "list_runs",
        "list_function_runs",
        "get_run",
        "get_run_trace",
        "get_event_runs",
        "invoke_function",
        "rerun",
        "cancel_run",
    ] {
        assert!(tools.contains(tool), "{tool}");
    }
    let list = operations.iter().find(|operation| operation["id"] == "ListRuns").unwrap();
    assert_eq!(
        (&list["http"], &list["cli"]["command"]),
        (&json!({ "method": "GET", "path": "/runs" }), &json!("get-function-runs"))
    );
    assert_eq!(list["mcp"]["inputSchema"]["properties"]["status"]["type"], "array");
    assert_eq!(list["mcp"]["annotations"]["readOnlyHint"], true);
    assert_eq!(
        world.client().request("GET", "/v2/operations/x", &[], "").await.unwrap().json()["data"]["operations"],
        json!(operations)
    );
    assert_eq!(world.client().request("POST", "/v2/operations", &[], "").await.unwrap().status, 405);
}

#[tokio::test]
async fn pages_of_runs_have_each_run_once() {
    let world = World::of(vec![returns("hello", json!(1))]).await;
    let events = world.send_all("v2/hello", (0..25).map(|n| json!({ "n": n }))).await;
    let expected: BTreeSet<String> =
        world.all_ended(&events).await.iter().map(|run| run["run_id"].as_str().unwrap().to_owned()).collect();
    for order in ["timeField=queuedAt", "time_field=STARTED_AT&order=asc", "timeField=endedAt&order=DESC&limit=7"] {
        let (mut seen, mut cursor, mut pages) = (Vec::new(), String::new(), 0);
        loop {
            let page = world.client().get(&format!("/v2/runs?limit=7&{order}&cursor={cursor}")).await.unwrap();
            seen.extend(page["data"].as_array().unwrap().iter().map(|run| run["id"].as_str().unwrap().to_owned()));
            pages += 1;
            if page["page"]["hasMore"] == false {
                assert!(page["page"].get("cursor").is_none(), "{page}");
                break;
            }
            cursor = page["page"]["cursor"].as_str().unwrap().to_owned();
        }
        assert_eq!((pages, seen.len()), (4, 25), "{order}");
        assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), expected, "{order}");
    }
}

#[tokio::test]
async fn an_invocation_with_a_key_starts_one_run_also_over_a_restart() {
    let world = World::of(vec![returns("invoked", json!(1))]).await;
    let path = "/v2/apps/app/functions/invoked/invoke";
    let body = json!({ "data": { "n": 9_007_199_254_740_993_u64 }, "idempotencyKey": "k" });
    let first = world.client().post(path, &body).await.unwrap();
    assert_eq!(first.status, 200, "{}", first.text());
    let run = first.json()["data"]["runId"].as_str().unwrap().to_owned();
    let call = world.call("invoked", 0).await;
    assert_eq!((call.run(), &call.body["event"]["data"]["n"]), (&*run, &json!(9_007_199_254_740_993_u64)));
    assert_eq!(call.body["event"]["data"]["_inngest"]["type"], "api");
    let world = world.kill_and_restart().await;
    let again = world.client().post(path, &body).await.unwrap();
    assert_eq!((again.status, &again.json()["data"]["runId"]), (409, &json!(run)), "{}", again.text());
    let other = world.client().post(path, &json!({ "data": {}, "idempotency_key": "other" })).await.unwrap();
    assert_eq!(other.status, 200, "{}", other.text());
    world.call("invoked", 1).await;
    let runs = world.client().get("/v2/runs?appId=app&functionId=invoked").await.unwrap();
    assert_eq!(runs["data"].as_array().unwrap().len(), 2, "{runs}");
}

#[tokio::test]
async fn a_function_that_gathers_events_is_invoked_at_once_with_one() {
    let batch = json!({ "batchEvents": { "maxSize": 10, "timeout": "60s" } });
    let world = World::of(vec![returns("batch", json!(1)).config(batch)]).await;
    let reply = world.client().post("/v2/apps/app/functions/app-batch/invoke", &json!({ "data": {} })).await.unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
    let call = world.call("batch", 0).await;
    assert_eq!(call.body["events"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn names_in_paths_are_decoded_once_or_twice() {
    let world = World::of(vec![returns("hello", json!(1))]).await;
    let app = StubApp::serve("a/b c", vec![returns("x", json!(1))]).await.unwrap();
    app.register(world.client()).await.unwrap();
    for name in ["a%2Fb%20c", "a%252Fb%20c"] {
        let found = world.client().get(&format!("/v2/apps/{name}")).await.unwrap();
        assert_eq!(found["data"]["id"], "a/b c");
        let function = world.client().get(&format!("/v2/apps/{name}/functions/x")).await.unwrap();
        assert_eq!(function["data"]["id"], "x");
    }
    let reply = world.client().request("GET", "/v2/apps/%FF", &[], "").await.unwrap();
    assert_eq!((reply.status, &reply.json()["errors"][0]["code"]), (400, &json!("invalid_field_format")));
}

#[tokio::test]
async fn events_of_v2_start_functions_once_per_seed() {
    let world = World::of(vec![returns("hello", json!(1))]).await;
    let millis = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis();
    let seed = format!("{millis},AAAAAAAAAAAAAA==");
    let body = json!({ "name": "v2/hello", "data": { "n": 1 } }).to_string();
    let send = async || {
        let headers = [("x-inngest-event-id-seed", &*seed)];
        let reply = world.client().request("POST", "/v2/events", &headers, body.clone()).await.unwrap();
        assert_eq!(reply.status, 200, "{}", reply.text());
        reply.json()["data"]["eventId"].as_str().unwrap().to_owned()
    };
    let (first, second) = (send().await, send().await);
    assert_eq!(first, second);
    world.ended(&first).await;
    let large = json!({ "name": "v2/hello", "data": { "x": "x".repeat(3 * 1024 * 1024) } });
    let reply = world.client().post("/v2/events", &large).await.unwrap();
    assert_eq!(reply.status, 413);
    assert_eq!(reply.json()["errors"][0]["message"], "Request body cannot exceed 3145728 bytes");
    let runs = world.client().get(&format!("/v2/events/{first}/runs")).await.unwrap();
    assert_eq!((runs["data"].as_array().unwrap().len(), world.app.calls().len()), (1, 1), "{runs}");
}
