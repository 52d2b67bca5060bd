//! Requests of every form, and what is answered.

use serde_json::{Value, json};

use super::World;

type Headers<'h> = &'h [(&'h str, &'h str)];

const FROM: &str = "2020-01-01T00:00:00Z";

#[tokio::test]
async fn every_fault_has_its_status_and_form() {
    let world = World::new().await;
    let json = [("content-type", "application/json; charset=utf-8")];
    let text = [("content-type", "text/plain")];
    let deep = format!(
        "{{\"query\":\"{{__type(name:\\\"Query\\\"){}{}}}\"}}",
        "{fields{type".repeat(8),
        "{name}".to_owned() + &"}".repeat(16)
    );
    let two = r#"{"query":"query a{apps{id}} query b{apps{id}}"}"#;
    let table: [(Headers<'_>, &str, u16, &str); 19] = [
        (&json, r#"{"query":"{apps{id}}"}"#, 200, ""),
        (&json, r#"{"query":"{apps{id}}","variables":null,"operationName":"","extensions":{}}"#, 200, ""),
        (&json, r#"{"query":"{apps{id}}","variables":{"unknown":1}}"#, 200, ""),
        (&json, r#"{"query":"query a{apps{id}} query b{apps{id}}","operationName":"b"}"#, 200, ""),
        (&text, r#"{"query":"{apps{id}}"}"#, 400, "invalid_argument"),
        (&[], r#"{"query":"{apps{id}}"}"#, 400, "invalid_argument"),
        (&json, "{", 400, "invalid_argument"),
        (&json, r#"[{"query":"{apps{id}}"}]"#, 400, "invalid_argument"),
        (&json, r#"{"query":"{apps{id}}","variables":[]}"#, 400, "invalid_argument"),
        (&json, r#"{"query":"{apps{"}"#, 422, "GRAPHQL_PARSE_FAILED"),
        (&json, r#"{"query":""}"#, 422, "GRAPHQL_VALIDATION_FAILED"),
        (&json, "{}", 422, "GRAPHQL_VALIDATION_FAILED"),
        (&json, r#"{"query":"{apps{nope}}"}"#, 422, "GRAPHQL_VALIDATION_FAILED"),
        (&json, two, 422, "GRAPHQL_VALIDATION_FAILED"),
        (&json, r#"{"query":"query a{apps{id}}","operationName":"c"}"#, 422, "GRAPHQL_VALIDATION_FAILED"),
        (&json, r#"{"query":"query($id:ULID!){eventV2(id:$id){id}}"}"#, 422, "GRAPHQL_VALIDATION_FAILED"),
        (
            &json,
            r#"{"query":"query($id:ULID!){eventV2(id:$id){id}}","variables":{"id":null}}"#,
            422,
            "GRAPHQL_VALIDATION_FAILED",
        ),
        (&json, r#"{"query":"subscription{apps{id}}"}"#, 422, "GRAPHQL_VALIDATION_FAILED"),
        (&json, &deep, 422, "GRAPHQL_VALIDATION_FAILED"),
    ];
    for path in ["/v0/gql", "/graphql"] {
        for (headers, body, status, code) in table {
            let reply = world.request("POST", path, headers, body).await;
            assert_eq!(reply.status, status, "{body}: {}", reply.text);
            assert_eq!(reply.headers["content-type"], "application/json");
            assert_eq!(reply.headers["x-inngest-server-kind"], "dev");
            if !code.is_empty() {
                let answer = reply.json();
                assert!(reply.text.starts_with("{\"errors\":[{\"message\":\""), "{}", reply.text);
                assert_eq!(answer["data"], Value::Null);
                let found = answer["errors"][0]["extensions"]["code"].as_str().unwrap_or("-");
                assert_eq!(found, code, "{body}: {}", reply.text);
            }
        }
    }
    let large = format!(r#"{{"query":"{{apps{{id}}}}{}"}}"#, " ".repeat(1024 * 1024));
    assert_eq!(world.request("POST", "/graphql", &json, &large).await.status, 413);
    let complex = format!(
        "{{ {} }}",
        (0..20).map(|n| format!("a{n}: runs(first: 400, orderBy: [], filter: {{from: \"{FROM}\"}}) {{ edges {{ node {{ id status queuedAt startedAt endedAt output traceID eventName hasAI isBatch }} }} }}")).collect::<String>()
    );
    let reply = world.post(json!({ "query": complex })).await;
    assert_eq!(reply.status, 422, "{}", reply.text);
}

#[tokio::test]
async fn queries_may_come_in_an_address_and_mutations_may_not() {
    let world = World::new().await;
    let reply = world
        .request(
            "GET",
            "/graphql?query=query(%24n:ULID!)%7BeventV2(id:%24n)%7Bid%7D%7D&variables=%7B%22n%22:%22x%22%7D",
            &[],
            "",
        )
        .await;
    assert_eq!(
        (reply.status, reply.json()["errors"][0]["message"].as_str()),
        (200, Some("ulid: bad data size when unmarshaling"))
    );
    let reply = world.request("GET", "/v0/gql?query=mutation%7BdeleteAppByName(name:%22x%22)%7D", &[], "").await;
    assert_eq!(
        (reply.status, reply.json()["errors"][0]["message"].as_str()),
        (406, Some("GET requests only allow query operations"))
    );
    assert_eq!(world.request("GET", "/graphql?variables=%7B", &[], "").await.status, 400);
    assert_eq!(world.request("GET", "/graphql", &[], "").await.status, 422);
    assert_eq!(world.request("PUT", "/graphql", &[], "").await.status, 405);
    assert_eq!(world.request("GET", "/v0/gql/", &[], "").await.status, 404);
}

#[tokio::test]
async fn pages_of_this_machine_may_read_answers_and_foreign_ones_may_not() {
    let world = World::new().await;
    for (origin, allowed) in [("http://localhost:3000", true), ("https://evil.example", false)] {
        let preflight = [("origin", origin), ("access-control-request-method", "POST")];
        for (method, headers) in [("OPTIONS", &preflight[..]), ("GET", &preflight[..1])] {
            let reply = world.request(method, "/graphql?query=%7Bapps%7Bid%7D%7D", headers, "").await;
            assert_eq!(reply.headers.contains_key("access-control-allow-origin"), allowed, "{method} {origin}");
        }
        let headers = [("origin", origin), ("content-type", "application/json")];
        let reply = world.request("POST", "/graphql", &headers, r#"{"query":"{apps{id}}"}"#).await;
        assert_eq!(reply.status, if allowed { 200 } else { 403 });
    }
}

#[tokio::test]
async fn values_are_taken_in_more_forms_than_one() {
    let world = World::new().await;
    world.register(&[("a", json!({ "event": "t/a" }), json!({}))]).await;
    let statuses = "query($s: [FunctionRunStatus!], $i: [UUID!]) { runs(orderBy: {field: QUEUED_AT, direction: ASC}, filter: {from: \"2020-01-01T00:00:00+02:00\", status: $s, functionIDs: $i}) { totalCount } }";
    let data = world.ask(statuses, json!({ "s": "QUEUED", "i": null })).await;
    assert_eq!(data["runs"]["totalCount"], 0);
    let (message, code, data) =
        world.fail("query($q: EventQuery!) { event(query: $q) { id } }", json!({ "q": { "eventId": 7 } })).await;
    assert_eq!((&*message, &*code, data), ("event not found: 7", "not_found", json!({ "event": null })));
    let (message, _, _) =
        world.fail("query($s: String!) { functionBySlug(query: {functionSlug: $s}) { id } }", json!({ "s": 12 })).await;
    assert_eq!(message, "function not found: 12");
    let limited = "query($first: Int = 1, $internal: Boolean = true) { eventsV2(first: $first, filter: {from: \"2020-01-01T00:00:00Z\", includeInternalEvents: $internal}) { totalCount } }";
    world.ask(limited, json!({})).await;
    world.ask("{ apps { ... @defer { id } } }", json!({})).await;
    let (message, code, data) =
        world.fail("mutation { invokeFunction(functionSlug: \"app-a\", data: []) }", json!({})).await;
    assert_eq!((&*message, &*code, data), ("[]interface {} is not a map", "invalid_argument", Value::Null));
}

#[tokio::test]
async fn what_is_not_there_is_told_in_the_words_that_clients_know() {
    let world = World::new().await;
    let id = "01M85QG3Q1DH641JJ6C83V6CS8";
    let table = [
        (
            "{ run(runID: \"ID\") { id } }",
            "error retrieving run: run not found: ID",
            "not_found",
            json!({ "run": null }),
        ),
        (
            "{ run(runID: \"x\") { id } }",
            "error parsing runID: ulid: bad data size when unmarshaling",
            "invalid_argument",
            json!({ "run": null }),
        ),
        ("{ runTrace(runID: \"ID\") { name } }", "trace run not found: ID", "not_found", Value::Null),
        ("{ runTrigger(runID: \"ID\") { IDs } }", "error retrieving run: run not found: ID", "not_found", Value::Null),
        (
            "{ functionRun(query: {functionRunId: \"ID\"}) { id } }",
            "not found",
            "not_found",
            json!({ "functionRun": null }),
        ),
        (
            "{ functionRun(query: {functionRunId: \"\"}) { id } }",
            "function run id is required",
            "invalid_argument",
            json!({ "functionRun": null }),
        ),
        ("{ eventV2(id: \"ID\") { id } }", "event not found: ID", "not_found", Value::Null),
        ("{ eventV2(id: \"x\") { id } }", "ulid: bad data size when unmarshaling", "invalid_argument", Value::Null),
        (
            "{ app(id: \"00000000-0000-4000-8000-000000000000\") { id } }",
            "app not found",
            "not_found",
            json!({ "app": null }),
        ),
        ("{ app(id: \"7\") { id } }", "invalid UUID length: 1", "invalid_argument", Value::Null),
        (
            "{ runTraceSpanOutputByID(outputID: \"!\") { data } }",
            "error parsing span identifier: Invalid symbol 33, offset 0.; pass the outputID of a span as it is",
            "invalid_argument",
            Value::Null,
        ),
        (
            "{ debugSession(query: {functionSlug: \"x\"}) { debugRuns { status } } }",
            "debug session not found",
            "not_found",
            json!({ "debugSession": null }),
        ),
        ("mutation { cancelRun(runID: \"ID\") { id } }", "not found", "not_found", Value::Null),
        ("mutation { rerun(runID: \"ID\") }", "run not found: ID", "not_found", Value::Null),
        ("mutation { deleteApp(id: \"7\") }", "invalid UUID length: 1", "invalid_argument", Value::Null),
        (
            "mutation { updateApp(input: {id: \"7\", url: \"http://x\"}) { id } }",
            "invalid UUID length: 1",
            "invalid_argument",
            Value::Null,
        ),
        (
            "mutation { createApp(input: {url: \"ftp://x\"}) { id } }",
            "not an http or https URL: \"ftp://x\"",
            "invalid_argument",
            Value::Null,
        ),
        (
            "mutation { createApp(input: {url: \"localhost:99999/x\"}) { id } }",
            "not an http or https URL: \"localhost:99999/x\"",
            "invalid_argument",
            Value::Null,
        ),
        (
            "mutation { invokeFunction(functionSlug: \"x\") }",
            "function not found: x",
            "not_found",
            json!({ "invokeFunction": null }),
        ),
        (
            "{ stream(query: {after: \"x\"}) { id } }",
            "ulid: bad data size when unmarshaling",
            "invalid_argument",
            Value::Null,
        ),
        (
            "{ eventsV2(after: \"!\", filter: {from: \"2020-01-01T00:00:00Z\"}) { totalCount } }",
            "error decoding eventsv2 cursor: invalid cursor",
            "invalid_argument",
            Value::Null,
        ),
        (
            "{ runs(after: \"!\", orderBy: [], filter: {from: \"2020-01-01T00:00:00Z\"}) { totalCount } }",
            "invalid cursor",
            "invalid_argument",
            Value::Null,
        ),
    ];
    for (query, message, code, data) in table {
        let found = world.fail(&query.replace("ID\"", &format!("{id}\"")), json!({})).await;
        assert_eq!(found, (message.replace(": ID", &format!(": {id}")), code.to_owned(), data), "{query}");
    }
    let data = world.ask("{ debugRun(query: {functionSlug: \"x\"}) { debugTraces { name } } workerConnections(orderBy: [], filter: {}) { totalCount edges { cursor } pageInfo { hasNextPage } } }", json!({})).await;
    let workers = json!({ "totalCount": 0, "edges": [], "pageInfo": { "hasNextPage": false } });
    assert_eq!(data, json!({ "debugRun": { "debugTraces": null }, "workerConnections": workers }));
}

#[tokio::test]
async fn runs_come_in_pages_and_each_one_once() {
    let world = World::new().await;
    world.register(&[("a", json!({ "event": "t/a" }), json!({})), ("b", json!({ "event": "t/b" }), json!({}))]).await;
    world.send((0..5).map(|n| json!({ "name": "t/a", "data": { "n": n, "s": n.to_string() } })).collect()).await;
    world.send(json!({ "name": "t/b" })).await;
    let document = "query($after: String, $filter: RunsFilterV2!, $order: [RunsV2OrderBy!]!) { runs(first: 2, after: $after, filter: $filter, orderBy: $order) {
        edges { cursor node { id status startedAt output app { externalID } function { slug } } } pageInfo { hasNextPage startCursor endCursor hasPreviousPage } totalCount(preview: true) } }";
    for direction in ["ASC", "DESC"] {
        let (mut after, mut ids) = (Value::Null, Vec::new());
        loop {
            let order = json!([{ "field": "QUEUED_AT", "direction": direction }]);
            let data = world.ask(document, json!({ "after": after, "filter": { "from": FROM }, "order": order })).await;
            let (edges, page) = (&data["runs"]["edges"], &data["runs"]["pageInfo"]);
            assert_eq!(data["runs"]["totalCount"], 6);
            ids.extend(edges.as_array().unwrap().iter().map(|edge| edge["node"]["id"].as_str().unwrap().to_owned()));
            assert_eq!(page["hasPreviousPage"], false);
            assert_eq!(page["hasNextPage"], ids.len() < 6, "{direction}");
            assert_eq!(page["endCursor"], edges[edges.as_array().unwrap().len() - 1]["cursor"]);
            after = page["endCursor"].clone();
            if page["hasNextPage"] == false {
                break;
            }
        }
        let mut sorted = ids.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), 6);
        if direction == "DESC" {
            sorted.reverse();
        }
        assert_eq!(ids, sorted);
    }
    for (filter, expected) in [
        (json!({ "status": ["QUEUED"] }), 6),
        (json!({ "status": ["RUNNING", "COMPLETED"] }), 0),
        (json!({ "status": ["SKIPPED"] }), 0),
        (json!({ "isDeferred": true }), 0),
        (json!({ "isDeferred": false }), 6),
        (json!({ "timeField": "ENDED_AT" }), 0),
        (json!({ "until": FROM }), 0),
        (json!({ "appIDs": [inngest_core::AppId::of_name("app").to_string()] }), 6),
        (json!({ "appIDs": [inngest_core::AppId::of_name("other").to_string()] }), 0),
        (json!({ "functionIDs": [], "appIDs": [] }), 6),
        (json!({ "query": "event.name == 't/b'" }), 1),
        (json!({ "query": "\nevent.data.n > 1\n\nevent.data.s != '4'\n" }), 2),
        (json!({ "query": "event.data.n > 1 && output.x == 1" }), 0),
        (json!({ "query": "function.slug == 'app-a' && run.status == 'QUEUED'" }), 5),
        (json!({ "query": "app.name == 'app'" }), 6),
        (json!({ "query": "app.name == 'other'" }), 0),
        (json!({ "query": "run.status == 'COMPLETED'" }), 0),
        (json!({ "query": "run.status in ['COMPLETED', 'QUEUED'] && event.data.n == 0" }), 1),
    ] {
        let mut whole = json!({ "from": FROM });
        whole.as_object_mut().unwrap().extend(filter.as_object().unwrap().clone());
        let data = world.ask(document, json!({ "filter": whole, "order": [] })).await;
        assert_eq!(data["runs"]["totalCount"], expected, "{filter}");
        assert_eq!(data["runs"]["edges"].as_array().unwrap().len(), expected.min(2), "{filter}");
        assert_eq!(data["runs"]["pageInfo"]["hasNextPage"], expected > 2, "{filter}");
    }
    for query in ["event.name ==", "name", "foo(event.name)"] {
        let filter = json!({ "from": FROM, "query": query });
        let (message, code, _) = world.fail(document, json!({ "filter": filter, "order": [] })).await;
        assert_eq!(code, "expression_invalid", "{message}");
        let events =
            "query($q: String) { eventsV2(filter: {from: \"2020-01-01T00:00:00Z\", query: $q}) { totalCount } }";
        assert_eq!(world.fail(events, json!({ "q": query })).await.1, "expression_invalid");
    }
}

#[tokio::test]
async fn events_are_shown_as_they_came() {
    let world = World::new().await;
    world.register(&[("a", json!({ "event": "t/a" }), json!({}))]).await;
    let sent = json!([
        { "name": "t/a", "id": "mine", "data": { "b": 1, "a": [2.5] }, "user": { "id": 7 }, "ts": 1_790_000_000_000_i64, "v": "2" },
        { "name": "t/other" },
    ]);
    let ids = world.send(sent).await;
    let document = "query($id: ULID!) { eventV2(id: $id) { envID id idempotencyKey name occurredAt raw source { id } version runs { status function { name } triggerIDs } } }";
    let event = world.ask(document, json!({ "id": ids[0].to_lowercase() })).await["eventV2"].take();
    assert_eq!(
        (&event["id"], &event["idempotencyKey"], &event["version"]),
        (&json!(ids[0]), &json!("mine"), &json!("2"))
    );
    assert_eq!(
        event["raw"],
        r#"{"data":{"a":[2.5],"b":1},"id":"mine","name":"t/a","ts":1790000000000,"user":{"id":7},"v":"2"}"#
    );
    assert_eq!(event["occurredAt"], "2026-09-21T14:13:20Z");
    assert_eq!(event["runs"], json!([{ "status": "QUEUED", "function": { "name": "a" }, "triggerIDs": [ids[0]] }]));
    let other = world.ask(document, json!({ "id": ids[1] })).await["eventV2"].take();
    let ts = other["raw"].as_str().unwrap().split("\"ts\":").nth(1).unwrap().split(',').next().unwrap().to_owned();
    assert_eq!(other["raw"], format!(r#"{{"data":{{}},"id":"{}","name":"t/other","ts":{ts},"v":null}}"#, ids[1]));
    assert_eq!((&other["version"], &other["idempotencyKey"]), (&json!(""), &json!(ids[1])));
    let old = world.ask("query($id: ID!) { event(query: {eventId: $id}) { externalID payload raw status totalRuns pendingRuns functionRuns { id status event { id } events { name } batchID } } }", json!({ "id": ids[0] })).await["event"].take();
    assert_eq!(old["payload"], r#"{"a":[2.5],"b":1}"#);
    assert_eq!((&old["status"], &old["totalRuns"], &old["pendingRuns"]), (&json!("RUNNING"), &json!(1), &json!(1)));
    assert_eq!(old["functionRuns"][0]["status"], "RUNNING");
    assert_eq!(old["functionRuns"][0]["events"], json!([{ "name": "t/a" }]));
    let none = world
        .ask("query($id: ID!) { event(query: {eventId: $id}) { status functionRuns { id } } }", json!({ "id": ids[1] }))
        .await;
    assert_eq!(none["event"], json!({ "status": "NO_FUNCTIONS", "functionRuns": null }));

    let run = world.ask(document, json!({ "id": ids[0] })).await;
    assert_eq!(run["eventV2"]["runs"].as_array().unwrap().len(), 1);
    let listed = world.ask("{ events(query: {}) { id name externalID } stream(query: {limit: 999}) { id trigger type inBatch runs { id function { name } } } }", json!({})).await;
    assert_eq!(listed["events"].as_array().unwrap().len(), 2);
    assert_eq!(listed["stream"][1]["runs"][0]["function"]["name"], "a");
    assert_eq!(listed["stream"][0]["runs"], json!([]));
    let bounded = "query($q: StreamQuery!) { stream(query: $q) { id } }";
    assert_eq!(world.ask(bounded, json!({ "q": { "before": ids[1] } })).await["stream"], json!([{ "id": ids[0] }]));
    assert_eq!(world.ask(bounded, json!({ "q": { "after": ids[0] } })).await["stream"], json!([{ "id": ids[1] }]));
    assert_eq!(world.ask(bounded, json!({ "q": { "limit": 1 } })).await["stream"], json!([{ "id": ids[1] }]));

    let page = "query($f: EventsFilter!, $after: String) { eventsV2(first: 1, filter: $f, after: $after) { edges { cursor node { id } } totalCount pageInfo { hasNextPage hasPreviousPage } } }";
    let first = world.ask(page, json!({ "f": { "from": FROM } })).await["eventsV2"].take();
    assert_eq!(
        (&first["totalCount"], &first["pageInfo"]),
        (&json!(2), &json!({ "hasNextPage": true, "hasPreviousPage": false }))
    );
    let second =
        world.ask(page, json!({ "f": { "from": FROM }, "after": first["edges"][0]["cursor"] })).await["eventsV2"]
            .take();
    assert_eq!(second["edges"][0]["node"]["id"], json!(ids[0]));
    assert_eq!(second["pageInfo"], json!({ "hasNextPage": false, "hasPreviousPage": true }));
    for (filter, expected) in [
        (json!({ "eventNames": ["t/a"] }), 1),
        (json!({ "query": "event.data.b == 1" }), 1),
        (json!({ "query": "event.name == 't/other'" }), 1),
        (json!({ "query": "event.name == 't/other'", "eventNames": ["t/a"] }), 0),
        (json!({ "query": "event.id == 'mine'" }), 1),
        (json!({ "until": FROM }), 0),
    ] {
        let mut whole = json!({ "from": FROM });
        whole.as_object_mut().unwrap().extend(filter.as_object().unwrap().clone());
        assert_eq!(world.ask(page, json!({ "f": whole })).await["eventsV2"]["totalCount"], expected, "{filter}");
    }
}

#[tokio::test]
async fn functions_tell_their_configuration() {
    let world = World::new().await;
    let all = json!({
        "concurrency": [{ "limit": 5 }, { "limit": 2, "key": "event.data.u", "scope": "env" }], "idempotency": "event.data.k",
        "rateLimit": { "limit": 3, "period": "1h" }, "throttle": { "limit": 2, "period": "60s", "burst": 1 },
        "debounce": { "period": "2s", "key": "event.data.d" }, "priority": { "run": "100" },
        "cancel": [{ "event": "t/stop", "if": "async.data.x == event.data.x", "timeout": "1h" }],
    });
    let url = "http://localhost:3000/api/inngest?fnId=app-single&stepId=step";
    let twice = json!({ "step": { "id": "step", "name": "step", "runtime": { "type": "http", "url": url }, "retries": { "attempts": 2 } } });
    world
        .register(&[
            ("all", json!({ "event": "t/a", "expression": "event.data.go == true" }), all),
            ("none", json!({ "cron": "0 0 1 1 *" }), json!({})),
            (
                "batched",
                json!({ "event": "t/a" }),
                json!({ "batchEvents": { "maxSize": 9, "timeout": "5s", "key": "event.data.b" } }),
            ),
            (
                "single",
                json!({ "event": "t/a" }),
                json!({ "singleton": { "mode": "cancel", "key": "event.data.s" }, "steps": twice }),
            ),
            ("all-failure", json!({ "event": "inngest/function.failed" }), json!({})),
        ])
        .await;
    let document = "query($s: String!) { functionBySlug(query: {functionSlug: $s}) { slug concurrency config url failureHandler { slug } triggers { type value condition } app { name method connected functionCount functions { slug } sdkFeatureReadiness { aiMetadataExtraction { ready } extendedTraces { ready reason } } }
        configuration { cancellations { event timeout condition } retries { value isDefault } priority eventsBatch { maxSize timeout key } concurrency { scope limit { value isPlanLimit } key } rateLimit { limit period key } debounce { period key } throttle { burst key limit period } singleton { mode key } } } }";
    let mut all = world.ask(document, json!({ "s": "app-all" })).await["functionBySlug"].take();
    assert_eq!(
        all["configuration"],
        json!({
            "cancellations": [{ "event": "t/stop", "timeout": "1h", "condition": "async.data.x == event.data.x" }],
            "retries": { "value": 4, "isDefault": true }, "priority": "100", "eventsBatch": null,
            "concurrency": [
                { "scope": "ENVIRONMENT", "limit": { "value": 2, "isPlanLimit": false }, "key": "event.data.u" },
                { "scope": "FUNCTION", "limit": { "value": 5, "isPlanLimit": false }, "key": null },
            ],
            "rateLimit": { "limit": 1, "period": "24h0m0s", "key": "event.data.k" },
            "debounce": { "period": "2s", "key": "event.data.d" },
            "throttle": { "burst": 1, "key": null, "limit": 2, "period": "1m0s" }, "singleton": null,
        })
    );
    assert_eq!((&all["concurrency"], &all["failureHandler"]), (&json!(5), &json!({ "slug": "app-all-failure" })));
    assert_eq!(all["triggers"], json!([{ "type": "EVENT", "value": "t/a", "condition": "event.data.go == true" }]));
    assert_eq!(
        all["app"]["functions"],
        json!(
            ["app-all", "app-all-failure", "app-batched", "app-none", "app-single"].map(|slug| json!({ "slug": slug }))
        )
    );
    assert_eq!((&all["app"]["functionCount"], &all["app"]["method"]), (&json!(5), &json!("SERVE")));
    let traces = json!({ "ready": true, "reason": 1 });
    assert_eq!(all["app"]["sdkFeatureReadiness"], json!({ "aiMetadataExtraction": null, "extendedTraces": traces }));
    let config: Value = serde_json::from_str(all["config"].take().as_str().unwrap()).unwrap();
    assert_eq!(
        (&config["slug"], &config["debounce"]["period"], &config["concurrency"][0]["scope"]),
        (&json!("app-all"), &json!("2s"), &json!("env"))
    );
    let batched = world.ask(document, json!({ "s": "app-batched" })).await["functionBySlug"].take();
    let batch = json!({ "maxSize": 9, "timeout": "5s", "key": "event.data.b" });
    assert_eq!(batched["configuration"]["eventsBatch"], batch);
    let single = world.ask(document, json!({ "s": "app-single" })).await["functionBySlug"].take();
    assert_eq!(single["configuration"]["singleton"], json!({ "mode": "CANCEL", "key": "event.data.s" }));
    assert_eq!(single["configuration"]["retries"], json!({ "value": 2, "isDefault": false }));
    let none = world.ask(document, json!({ "s": "app-none" })).await["functionBySlug"].take();
    assert_eq!(
        none["configuration"]["concurrency"],
        json!([{ "scope": "ACCOUNT", "limit": { "value": -1, "isPlanLimit": true }, "key": null }])
    );
    assert_eq!(none["configuration"]["cancellations"], json!([]));
    assert_eq!(none["triggers"], json!([{ "type": "CRON", "value": "0 0 1 1 *", "condition": null }]));
}

#[tokio::test]
async fn what_is_archived_is_still_shown_with_its_runs() {
    let world = World::new().await;
    world.register(&[("a", json!({ "event": "t/a" }), json!({}))]).await;
    let event = world.send(json!({ "name": "t/a" })).await.remove(0);
    let run = world.ask("query($id: ULID!) { eventV2(id: $id) { runs { id } } }", json!({ "id": event })).await["eventV2"]["runs"][0]["id"].take();
    let cancel = "mutation($id: ULID!) { cancelRun(runID: $id) { status finishedAt output } }";
    for _twice in 0..2 {
        let cancelled = world.ask(cancel, json!({ "id": run })).await["cancelRun"].take();
        assert_eq!((&cancelled["status"], &cancelled["output"]), (&json!("CANCELLED"), &json!("{}")));
        assert!(cancelled["finishedAt"].is_string());
    }
    let deleted =
        world.ask("mutation { deleteAppByName(name: \"app\") again: deleteAppByName(name: \"app\") }", json!({})).await;
    assert_eq!(deleted, json!({ "deleteAppByName": true, "again": false }));
    let shown = world.ask("query($run: String!) { apps { id } functions { id } run(runID: $run) { status output function { slug app { name } } app { externalID } defers { runID } siblingDefers { runID } } }", json!({ "run": run })).await;
    assert_eq!((&shown["apps"], &shown["functions"]), (&json!([]), &json!([])));
    assert_eq!(
        shown["run"],
        json!({ "status": "CANCELLED", "output": null, "function": { "slug": "app-a", "app": { "name": "app" } }, "app": { "externalID": "app" }, "defers": [], "siblingDefers": [] })
    );
    let history = world
        .ask(
            "query($run: ID!) { functionRun(query: {functionRunId: $run}) { history { type id } pendingSteps } }",
            json!({ "run": run }),
        )
        .await;
    let types: Vec<&Value> =
        history["functionRun"]["history"].as_array().unwrap().iter().map(|item| &item["type"]).collect();
    assert_eq!(types, ["FunctionScheduled", "FunctionCancelled"]);
}
