//! GraphQL on a server with apps: runs that end, are searched, run again, and apps that come and go.

use inngest_testkit::{Answer, StubApp, StubFunction, wait_until};
use serde_json::{Value, json};

use crate::harness::{SOON, World};

/// The whole answer to a document.
async fn answer(world: &World, query: &str, variables: Value) -> Value {
    let reply = world.client().post("/v0/gql", &json!({ "query": query, "variables": variables })).await.unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()
}

/// The data of an answer without errors.
async fn ask(world: &World, query: &str, variables: Value) -> Value {
    let mut answer = answer(world, query, variables).await;
    assert_eq!(answer.get("errors"), None, "{answer:#}\n{}", world.server.log());
    answer["data"].take()
}

/// Message and code of the first error.
async fn fail(world: &World, query: &str, variables: Value) -> (String, String) {
    let answer = answer(world, query, variables).await;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (text(&answer["errors"][0]["message"]), text(&answer["errors"][0]["extensions"]["code"]))
}

fn functions() -> Vec<StubFunction> {
    vec![
        StubFunction::new("double", "t/double", |call| {
            let n = call.body["event"]["data"]["n"].as_i64().unwrap_or_default();
            match call.memo("add") {
                None => Answer::step("add", &json!(n + n)),
                Some(_) => Answer::Return(json!({ "num": n + n, "text": n.to_string() })),
            }
        }),
        StubFunction::new("fail", "t/fail", |_| Answer::fatal("no luck")).retries(0),
    ]
}

const RUNS: &str = "query($filter: RunsFilterV2!, $order: [RunsV2OrderBy!]!, $first: Int = 100, $after: String) {
    runs(first: $first, after: $after, filter: $filter, orderBy: $order, preview: true) {
        edges { cursor node { id status startedAt endedAt output } } pageInfo { hasNextPage endCursor } totalCount(preview: true) } }";

#[tokio::test]
async fn ended_runs_are_found_by_what_they_gave() {
    let world = World::of(functions()).await;
    let mut runs = Vec::new();
    for n in 0..5 {
        runs.push(world.run("t/double", json!({ "n": n })).await["run_id"].clone());
    }
    let failed = world.run("t/fail", json!({ "n": 9 })).await["run_id"].clone();
    let count = async |query: &str| {
        let filter = json!({ "from": "2020-01-01T00:00:00Z", "query": query });
        ask(&world, RUNS, json!({ "filter": filter, "order": [] })).await["runs"].take()
    };
    for (query, expected) in [
        ("output.num > 5", 2),
        ("event.name == 't/double'\nevent.data.n >= 1\noutput.text != '4'", 3),
        ("error.message == 'no luck'", 1),
        ("event.data.n == 9 && run.status == 'FAILED'", 1),
        ("output.num == 'six'", 0),
        ("duration_ms >= 0", 6),
    ] {
        assert_eq!(count(query).await["totalCount"], expected, "{query}");
    }
    let found = count("output.num == 8").await;
    assert_eq!(found["edges"][0]["node"]["id"], runs[4]);
    assert_eq!(found["edges"][0]["node"]["output"], r#"{"num":8,"text":"4"}"#);

    // Oldest end first, three to a page.
    let (mut after, mut ids) = (Value::Null, Vec::new());
    let order = json!([{ "field": "ENDED_AT", "direction": "ASC" }]);
    let filter = json!({ "from": "2020-01-01T00:00:00Z", "timeField": "ENDED_AT" });
    loop {
        let variables = json!({ "filter": filter, "order": order, "first": 3, "after": after });
        let mut page = ask(&world, RUNS, variables).await["runs"].take();
        ids.extend(page["edges"].as_array().unwrap().iter().map(|edge| edge["node"]["id"].clone()));
        after = page["pageInfo"]["endCursor"].take();
        if page["pageInfo"]["hasNextPage"] == false {
            break;
        }
    }
    runs.push(failed);
    assert_eq!(ids, runs);
}

#[tokio::test]
async fn a_run_is_shown_whole_and_runs_again() {
    let world = World::of(functions()).await;
    let ended = world.run("t/double", json!({ "n": 4 })).await;
    let run = ended["run_id"].clone();
    let document = "query($run: String!, $id: ID!) {
        run(runID: $run) { status output eventName hasAI isBatch traceID trace(preview: true) { name status isRoot outputID childrenSpans { name } } old: trace { name status isRoot } }
        runTrigger(runID: $run) { eventName IDs payloads timestamp isBatch batchID cron }
        functionRun(query: {functionRunId: $id}) { status output startedAt finishedAt function { slug } } }";
    let shown = ask(&world, document, json!({ "run": run, "id": run })).await;
    let output = r#"{"num":8,"text":"4"}"#;
    assert_eq!((&shown["run"]["status"], &shown["run"]["output"]), (&json!("COMPLETED"), &json!(output)));
    assert_eq!(shown["run"]["trace"]["status"], "COMPLETED");
    assert_eq!(shown["run"]["old"]["name"], "app-double");
    assert_eq!(
        (&shown["functionRun"]["status"], &shown["functionRun"]["output"]),
        (&json!("COMPLETED"), &json!(output))
    );
    let trigger = &shown["runTrigger"];
    assert_eq!(
        (&trigger["eventName"], &trigger["cron"], &trigger["batchID"]),
        (&json!("t/double"), &Value::Null, &Value::Null)
    );
    let payload: Value = serde_json::from_str(trigger["payloads"][0].as_str().unwrap()).unwrap();
    assert_eq!((&payload["name"], &payload["data"]), (&json!("t/double"), &json!({ "n": 4 })));
    let output_of = "query($id: String!) { runTraceSpanOutputByID(outputID: $id) { data error { message } } }";
    let whole = ask(&world, output_of, json!({ "id": shown["run"]["trace"]["outputID"] })).await;
    assert_eq!(whole["runTraceSpanOutputByID"], json!({ "data": output, "error": null }));

    let ended = "cannot cancel an ended run".to_owned();
    let cancel = "mutation($run: ULID!) { cancelRun(runID: $run) { status } }";
    assert_eq!(fail(&world, cancel, json!({ "run": run })).await, (ended, "conflict".to_owned()));
    let rerun = "mutation($run: ULID!, $from: RerunFromStepInput) { rerun(runID: $run, fromStep: $from) }";
    let new = ask(&world, rerun, json!({ "run": run })).await["rerun"].take();
    assert_ne!(new, run);
    // It is there at once.
    ask(&world, document, json!({ "run": new, "id": new })).await;
    let unknown = fail(&world, rerun, json!({ "run": run, "from": { "stepID": "nope" } })).await;
    assert_eq!(unknown, ("error reconstructing input state: rerun step not found".to_owned(), "not_found".to_owned()));
    let bad = fail(&world, rerun, json!({ "run": run, "from": { "stepID": "add", "input": "{}" } })).await;
    assert_eq!(bad, ("input is not a valid JSON array".to_owned(), "invalid_argument".to_owned()));
}

#[tokio::test]
async fn functions_are_invoked_by_their_slug() {
    let world = World::of(functions()).await;
    let invoke = "mutation($data: Map, $meta: Map) { invokeFunction(functionSlug: \"app-double\", data: $data, meta: $meta, user: {id: 1}) }";
    let bad = fail(&world, invoke, json!({ "meta": { "x": 1 } })).await;
    assert_eq!(bad, ("event meta \"x\" is not supported".to_owned(), "invalid_argument".to_owned()));
    let done = ask(&world, invoke, json!({ "data": { "n": 21 }, "meta": { "sessions": { "chat": "c1" } } })).await;
    assert_eq!(done["invokeFunction"], true);
    let call = world.call("double", 0).await;
    assert_eq!(call.body["event"]["data"]["n"], 21);
    assert_eq!(call.body["event"]["user"], json!({ "id": 1 }));
}

#[tokio::test]
async fn apps_are_made_moved_and_removed() {
    let world = World::of(functions()).await;
    let other =
        StubApp::serve("other", vec![StubFunction::new("f", "t/f", |_| Answer::Return(json!(1)))]).await.unwrap();
    let create = "mutation($url: String!) { createApp(input: {url: $url}) { id url name functionCount error connected functions { slug } } }";
    let address = other.url.strip_prefix("http://").unwrap().replace("localhost", "127.0.0.1");
    let made = ask(&world, create, json!({ "url": address })).await["createApp"].take();
    assert_eq!((&made["url"], &made["name"], &made["functionCount"]), (&json!(other.url), &json!("other"), &json!(1)));
    assert_eq!((&made["error"], &made["connected"]), (&Value::Null, &json!(true)));

    let nowhere = fail(&world, create, json!({ "url": "127.0.0.1:1/api/inngest" })).await;
    assert_eq!(nowhere, ("unreachable".to_owned(), "conflict".to_owned()));
    let list = "{ apps { id url name connected error autodiscovered } }";
    let apps = ask(&world, list, json!({})).await["apps"].take();
    let find = |apps: &Value, url: &str| apps.as_array().unwrap().iter().find(|app| app["url"] == url).cloned();
    let placeholder = find(&apps, "http://localhost:1/api/inngest").expect("a placeholder stays");
    assert_eq!(
        (&placeholder["name"], &placeholder["error"], &placeholder["connected"]),
        (&json!(""), &json!("unreachable"), &json!(false))
    );

    let update = "mutation($id: String!, $url: String!) { updateApp(input: {id: $id, url: $url}) { url } }";
    let moved = ask(&world, update, json!({ "id": made["id"], "url": "http://localhost:2/api/inngest" })).await;
    assert_eq!(moved["updateApp"]["url"], "http://localhost:2/api/inngest");
    let delete = "mutation($id: String!) { deleteApp(id: $id) }";
    for id in [&made["id"], &placeholder["id"], &json!("00000000-0000-4000-8000-000000000000")] {
        assert_eq!(ask(&world, delete, json!({ "id": id })).await["deleteApp"], *id);
    }
    let gone = wait_until("apps to be gone", SOON, async || {
        let apps = ask(&world, list, json!({})).await["apps"].take();
        (apps.as_array()?.len() == 1).then_some(())
    });
    gone.await.unwrap();
}
