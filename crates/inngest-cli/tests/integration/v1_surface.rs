//! Routes, origins and the small endpoints outside of REST v2 and GraphQL.

use inngest_testkit::client::Reply;
use inngest_testkit::stub::op;
use inngest_testkit::{Answer, StubFunction, wait_until};
use serde_json::{Value, json};

use crate::harness::{SOON, World};

fn hello() -> StubFunction {
    StubFunction::new("hello", "s/hello", |_| Answer::Return(json!(1)))
}

fn nap() -> StubFunction {
    StubFunction::new("nap", "s/nap", |_| Answer::Ops(json!([op("Sleep", "nap", json!({ "name": "1h" }))])))
}

async fn ask(world: &World, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
    world.client().request(method, path, headers, body.to_owned()).await.unwrap()
}

fn header<'r>(reply: &'r Reply, name: &str) -> &'r str {
    reply.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

#[tokio::test]
async fn what_no_route_is_for_is_a_page_or_nothing() {
    let world = World::of(Vec::new()).await;
    for (method, path, status, kind) in [
        ("GET", "/", 200, "text/html"),
        ("HEAD", "/", 200, "text/html"),
        ("GET", "/runs", 200, "text/html"),
        ("GET", "/events", 200, "text/html"),
        ("GET", "/mcp/setup", 200, "text/html"),
        ("POST", "/anything", 404, "application/json"),
        ("DELETE", "/anything", 404, "application/json"),
        ("GET", "/v1/nope", 404, "application/json"),
        ("GET", "/v0/nope", 404, "application/json"),
        ("GET", "/debug/pprof/cmdline", 404, "application/json"),
        ("GET", "/test", 404, "application/json"),
        ("GET", "/logo.svg", 404, "application/json"),
        ("GET", "//evil.example/", 404, "application/json"),
        ("POST", "/e", 401, "application/json"),
        ("POST", "/e/", 401, "application/json"),
        ("HEAD", "/health", 200, "application/json"),
        ("HEAD", "/v1/events", 200, "application/json"),
    ] {
        let reply = ask(&world, method, path, &[], "").await;
        assert_eq!(reply.status, status, "{method} {path}: {}", reply.text());
        assert!(header(&reply, "content-type").starts_with(kind), "{method} {path}: {:?}", reply.headers);
        assert_eq!((header(&reply, "vary"), header(&reply, "x-inngest-server-kind")), ("Origin", "dev"), "{path}");
        if status == 404 {
            assert_eq!(reply.json(), json!({ "error": "Not found", "data": null, "status": 404 }), "{path}");
        }
    }
    let moved = ask(&world, "GET", "/runs/?a=1", &[], "").await;
    assert_eq!((moved.status, header(&moved, "location")), (303, "/runs?a=1"));
    for (method, path, allowed) in
        [("GET", "/e/x", "POST"), ("DELETE", "/health", "GET"), ("PATCH", "/v1/runs/x", "DELETE")]
    {
        let reply = ask(&world, method, path, &[], "").await;
        assert_eq!((reply.status, reply.json()["status"].as_u64()), (405, Some(405)), "{method} {path}");
        assert!(header(&reply, "allow").contains(allowed), "{method} {path}: {:?}", reply.headers);
    }
}

#[tokio::test]
async fn pages_of_other_sites_are_granted_only_what_is_meant_for_them() {
    let world = World::of(Vec::new()).await;
    for (path, origin, granted) in [
        ("/e/key", "https://any.example", true),
        ("/dev", "http://localhost:3000", true),
        ("/v0/gql", "https://app.inngest.com", true),
        ("/v0/gql", "https://evil.example", false),
        ("/v1/runs", "https://evil.example", false),
        ("/v1/runs", "http://localhost:3000", false),
    ] {
        let asks =
            [("origin", origin), ("access-control-request-method", "POST"), ("access-control-request-headers", "x-a")];
        let reply = ask(&world, "OPTIONS", path, &asks, "").await;
        let told = ["origin", "methods", "headers"].map(|name| header(&reply, &format!("access-control-allow-{name}")));
        assert_eq!(
            (reply.status, reply.text().as_str(), header(&reply, "vary")),
            (200, "", "Origin"),
            "{path} {origin}"
        );
        assert_eq!(told, if granted { [origin, "POST", "x-a"] } else { [""; 3] }, "{path} {origin}");
    }
    let patch = ask(
        &world,
        "OPTIONS",
        "/e/k",
        &[("origin", "https://a.example"), ("access-control-request-method", "PATCH")],
        "",
    );
    assert_eq!(header(&patch.await, "access-control-allow-methods"), "");
    let read = ask(&world, "GET", "/dev", &[("origin", "http://localhost:3000")], "").await;
    assert_eq!(header(&read, "access-control-allow-origin"), "http://localhost:3000");
    assert_eq!(header(&read, "access-control-expose-headers"), "Link, Mcp-Session-Id");
}

#[tokio::test]
async fn an_operator_says_whom_to_trust() {
    let trusting = ["--allowed-host", "dev.corp.example", "--cors-origin", "https://ops.example"];
    let world = World::with(&trusting, Vec::new()).await;
    for (host, origin, status, granted) in [
        ("dev.corp.example:8288", "https://ops.example", 200, "https://ops.example"),
        ("other.corp.example", "https://ops.example", 403, "https://ops.example"),
        ("localhost", "https://evil.example", 200, ""),
    ] {
        let reply = ask(&world, "GET", "/dev", &[("host", host), ("origin", origin)], "").await;
        let told = (reply.status, header(&reply, "access-control-allow-origin"));
        assert_eq!(told, (status, granted), "{host} {origin}: {}", reply.text());
    }
}

#[tokio::test]
async fn a_run_is_cancelled_by_v0() {
    let world = World::of(vec![nap(), hello()]).await;
    let event = world.send("s/nap", json!({})).await;
    let run = world.pending(&event, "Sleeping").await;
    let cancel = async |id: &str| ask(&world, "DELETE", &format!("/v0/runs/{id}"), &[], "").await;
    let reply = cancel(&run).await;
    assert_eq!((reply.status, reply.text().as_str()), (204, ""));
    assert_eq!(world.ended(&event).await["status"], "Cancelled");
    assert_eq!(cancel(&run).await.status, 204, "it is cancelled already");
    let done = world.run("s/hello", json!({})).await["run_id"].as_str().unwrap().to_owned();
    for (id, status, text) in [
        (&*done, 409, "This function has already completed"),
        ("01M85QRDBHC70063SSP1V76AAN", 404, "A function run with the given ID could not be found"),
        ("x", 400, "The run ID specified is invalid"),
    ] {
        let reply = cancel(id).await;
        assert_eq!((reply.status, &reply.json()["error"]), (status, &json!(text)), "{id}");
    }
}

#[tokio::test]
async fn events_are_taken_by_v1_too() {
    let world = World::of(vec![hello()]).await;
    let reply = ask(&world, "POST", "/v1/events", &[], r#"{"name":"s/hello"}"#).await;
    assert_eq!((reply.status, &reply.json()["status"]), (200, &json!(200)), "{}", reply.text());
    let event = reply.json()["ids"][0].as_str().unwrap().to_owned();
    assert_eq!(world.ended(&event).await["status"], "Completed");
    let reply = ask(&world, "POST", "/api/v1/events", &[], "[{}]").await;
    assert_eq!(reply.json(), json!({ "ids": [], "status": 400, "error": "event name is empty" }));
}

#[tokio::test]
async fn a_batch_is_listed_under_each_of_its_events() {
    let function = hello().config(json!({ "batchEvents": { "maxSize": 3, "timeout": "30s" } }));
    let world = World::of(vec![function]).await;
    let events = world.send_all("s/hello", (0..3).map(|n| json!({ "n": n }))).await;
    let runs = world.all_ended(&events).await;
    let id = &runs[0]["run_id"];
    for run in &runs {
        assert_eq!((&run["run_id"], &run["batch_id"], &run["event_ids"]), (id, id, &json!(events)), "{run}");
    }
}

#[tokio::test]
async fn runs_and_calls_are_counted() {
    let failing = StubFunction::new("failing", "s/failing", |_| Answer::error("no")).retries(1);
    let world = World::of(vec![
        failing,
        nap(),
        StubFunction::new("steps", "s/steps", |call| match call.memo("a") {
            None => Answer::step("a", &json!(1)),
            Some(_) => Answer::Return(json!(1)),
        }),
    ])
    .await;
    world.run("s/steps", json!({})).await;
    world.run("s/failing", json!({})).await;
    let event = world.send("s/nap", json!({})).await;
    let run = world.pending(&event, "Sleeping").await;
    let shown = async || ask(&world, "GET", "/metrics", &[], "").await;
    let depth = shown().await.text();
    assert!(depth.contains("inngest_queue_depth 1\n"), "also what is due in an hour counts: {depth}");
    ask(&world, "DELETE", &format!("/v1/runs/{run}"), &[], "").await;
    for line in [
        "inngest_function_run_scheduled_total{fn=\"app-steps\"} 1",
        "inngest_function_run_started_total{fn=\"app-steps\"} 1",
        "inngest_function_run_ended_total{fn=\"app-steps\",status=\"completed\"} 1",
        "inngest_sdk_req_scheduled_total{fn=\"app-steps\"} 1",
        "inngest_sdk_req_started_total{fn=\"app-steps\"} 2",
        "inngest_sdk_req_ended_total{fn=\"app-steps\",status=\"success\"} 2",
        "inngest_function_run_ended_total{fn=\"app-failing\",status=\"failed\"} 1",
        "inngest_sdk_req_started_total{fn=\"app-failing\"} 2",
        "inngest_sdk_req_ended_total{fn=\"app-failing\",status=\"errored\"} 1",
        "inngest_sdk_req_ended_total{fn=\"app-failing\",status=\"failed\"} 1",
        "inngest_function_run_ended_total{fn=\"app-nap\",status=\"cancelled\"} 1",
        "inngest_queue_depth 0",
    ] {
        let found =
            wait_until(line, SOON, async || shown().await.text().lines().any(|shown| shown == line).then_some(()));
        assert!(found.await.is_ok(), "{line} is missing in\n{}", shown().await.text());
    }
    let reply = shown().await;
    assert_eq!(header(&reply, "content-type"), "text/plain; version=0.0.4; charset=utf-8");
    let again = ask(&world, "GET", "/v1/prom/dev", &[], "").await;
    assert!(again.status == 200 && again.text().contains("inngest_queue_depth"), "{}", again.text());
}

#[tokio::test]
async fn spans_of_user_code_are_answered_in_their_encoding() {
    let world = World::of(Vec::new()).await;
    let path = "/v1/traces/userland";
    let json_headers = [("content-type", "application/json")];
    let post = async |headers: &[(&str, &str)], body: &str| ask(&world, "POST", path, headers, body).await;
    let spans = json!({ "resourceSpans": [{ "scopeSpans": [{ "spans": [{
        "traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174", "name": "lost",
    }] }] }] });
    for (body, status, answer) in [
        (r#"{"resourceSpans":[]}"#.to_owned(), 200, json!({})),
        (spans.to_string(), 200, json!({ "partialSuccess": { "rejectedSpans": "1" } })),
        ("junk".to_owned(), 400, json!({ "message": "Invalid payload" })),
        ("x".repeat(9 << 20), 413, json!({ "message": "Request body is over the max size: Max 8388608 bytes" })),
    ] {
        let reply = post(&json_headers, &body).await;
        assert_eq!((reply.status, reply.json()), (status, answer));
        assert_eq!(header(&reply, "content-type"), "application/json");
    }
    let empty = post(&[("content-type", "application/x-protobuf")], "").await;
    assert_eq!((empty.status, empty.body.len(), header(&empty, "content-type")), (200, 0, "application/x-protobuf"));
    let zipped = post(&[json_headers[0], ("accept-encoding", "gzip")], "{}").await;
    assert_eq!((zipped.status, header(&zipped, "content-encoding"), zipped.body.first()), (200, "gzip", Some(&0x1f)));
}

#[tokio::test]
async fn small_endpoints_answer_as_documented() {
    let world = World::of(Vec::new()).await;
    for (method, path, body, status, answer) in [
        ("POST", "/v0/telemetry", "junk", 200, Value::Null),
        ("POST", "/dev/traces", "junk", 200, Value::Null),
        ("GET", "/v1/webhooks", "", 501, json!("Webhooks are not available in this server")),
        ("POST", "/api/v1/webhooks/x", "{}", 501, json!("Webhooks are not available in this server")),
        ("POST", "/invoke/nope", "{}", 404, json!("Function not found: nope")),
        ("GET", "/v1/events/bad", "", 400, json!("Invalid event ID: bad")),
        ("GET", "/v1/events/01M85QRDBHC70063SSP1V76AAN", "", 404, json!("Event not found")),
        ("DELETE", "/fn/remove", "url=http%3A%2F%2Fnowhere%2Fapi", 404, json!("App not found: http://nowhere/api")),
    ] {
        let reply = ask(&world, method, path, &[], body).await;
        assert_eq!((reply.status, &reply.json()["error"]), (status, &answer), "{method} {path}: {}", reply.text());
    }
    let removed = ask(&world, "DELETE", "/fn/remove", &[], &format!("url={}", world.app.url)).await;
    assert_eq!(removed.status, 200, "{}", removed.text());
}

#[tokio::test]
async fn events_are_listed_by_page_name_and_time() {
    let world = World::of(Vec::new()).await;
    let sent = world.send_all("s/listed", (0..5).map(|n| json!({ "n": n }))).await;
    world.send("s/other", json!({})).await;
    let ids = async |query: &str| -> Vec<String> {
        let page = world.client().get(&format!("/v1/events?{query}")).await.unwrap();
        page["data"].as_array().unwrap().iter().map(|event| event["internal_id"].as_str().unwrap().to_owned()).collect()
    };
    let newest_first: Vec<String> = sent.iter().rev().cloned().collect();
    assert_eq!(ids("name=s/listed").await, newest_first);
    assert_eq!(ids("name=s/listed&limit=2").await, newest_first[..2]);
    assert_eq!(ids(&format!("name=s/listed&limit=2&cursor={}", newest_first[1])).await, newest_first[2..4]);
    assert_eq!(ids("limit=abc").await.len(), 6);
    assert!(
        ids("received_after=2100-01-01").await.is_empty()
            && ids("received_before=2020-01-01T00:00:00Z").await.is_empty()
    );
    for (query, error) in [
        ("cursor=x", "Invalid cursor query parameter"),
        ("received_after=soon", "Invalid received_after query parameter"),
        ("received_before=7", "Invalid received_after query parameter"),
    ] {
        let reply = ask(&world, "GET", &format!("/v1/events?{query}"), &[], "").await;
        assert_eq!((reply.status, &reply.json()["error"]), (400, &json!(error)), "{query}");
    }
}

#[tokio::test]
async fn notes_name_a_run_a_step_an_attempt_or_a_span() {
    let world = World::of(vec![hello()]).await;
    let run = world.run("s/hello", json!({})).await["run_id"].as_str().unwrap().to_owned();
    let note = async |run: &str, target: Value, kind: &str, values: Value| {
        let body = json!({ "target": target, "metadata": [{ "kind": kind, "op": "merge", "values": values }] });
        let reply = world.client().post(&format!("/v1/runs/{run}/metadata"), &body).await.unwrap();
        (reply.status, reply.json()["error"].clone())
    };
    let span = json!({ "step_id": "a", "step_attempt": 0, "span_id": "00f067aa0ba902b7" });
    for target in [json!({}), json!({ "step_id": "a" }), json!({ "step_id": "a", "step_attempt": 1 }), span] {
        assert_eq!(
            note(&run, target.clone(), "userland.note", json!({ "k": 1 })).await,
            (200, Value::Null),
            "{target}"
        );
    }
    let large = json!({ "k": "x".repeat(70_000) });
    let unknown = "01M85QRDBHC70063SSP1V76AAN";
    for (run, target, kind, values, status, error) in [
        (&*run, json!({ "step_attempt": 1 }), "userland.note", json!({}), 400, "Invalid metadata target"),
        (&*run, json!({ "step_id": "a", "span_id": "x" }), "userland.note", json!({}), 400, "Invalid metadata target"),
        (&*run, json!({}), "inngest.foo", json!({}), 400, "Invalid metadata"),
        (&*run, json!({}), "userland.note", large, 413, "Metadata span exceeds maximum size of 64KB"),
        (unknown, json!({}), "userland.note", json!({}), 404, "Unable to find metadata target"),
    ] {
        assert_eq!(note(run, target, kind, values).await, (status, json!(error)));
    }
}
