//! GraphQL on a server with apps: runs that end, are searched, run again, and apps that come and go.

use inngest_testkit::stub::{op, step_id};
use inngest_testkit::{Answer, Call, StubApp, StubFunction, wait_until};
use serde_json::{Value, json};

use crate::contracts::replay;
use crate::harness::{SOON, World};
use crate::v1_contracts;

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

#[tokio::test]
async fn graphql_keeps_its_contracts() {
    let (world, mut known) = v1_contracts::world().await;
    let other =
        StubApp::serve("other", vec![StubFunction::new("f", "t/f", |_| Answer::Return(json!(1)))]).await.unwrap();
    let document = "query($hello: String!, $steps: String!, $fail: String!) {
        hello: run(runID: $hello) { functionID appID } fail: run(runID: $fail) { trace { outputID } }
        steps: run(runID: $steps) { trace(preview: true) { outputID childrenSpans { outputID stepID } } } }";
    let shown =
        ask(&world, document, json!({ "hello": known["hello"], "steps": known["steps"], "fail": known["fail"] })).await;
    for (name, at) in [
        ("hello_id", "/hello/functionID"),
        ("app_id", "/hello/appID"),
        ("fail_output", "/fail/trace/outputID"),
        ("steps_output", "/steps/trace/outputID"),
        ("step_output", "/steps/trace/childrenSpans/0/outputID"),
        ("step_id", "/steps/trace/childrenSpans/0/stepID"),
    ] {
        known.insert(name, shown.pointer(at).unwrap().as_str().unwrap().to_owned());
    }
    known.insert("url", world.app.url.clone());
    known.insert("other_url", other.url.clone());
    // Of a run that is not there: {"run":"01M85QRDBHC70063SSP1V76AAN"}.
    known.insert("unknown_output", "eyJydW4iOiIwMU04NVFSREJIQzcwMDYzU1NQMVY3NkFBTiJ9".to_owned());
    replay(world.client(), "graphql", &known).await;
}

/// Defers `later` twice, and ends.
fn deferring(call: &Call) -> Answer {
    if call.memo("a").is_some() {
        return Answer::Return(json!(1));
    }
    let defer = |id: &str| {
        let opts = json!({ "fn_slug": "app-later", "input": { "of": id } });
        op("DeferAdd", id, json!({ "opts": opts, "userland": { "id": id }, "data": null }))
    };
    Answer::Ops(json!([defer("d1"), defer("d2"), op("StepRun", "a", json!({ "data": 1 }))]))
}

#[tokio::test]
async fn deferred_runs_are_told_by_those_who_deferred_them_and_the_other_way_round() {
    let trigger = json!({
        "event": "inngest/deferred.schedule", "expression": "event.data._inngest.fn_slug == 'app-later'",
    });
    let world = World::of(vec![
        StubFunction::new("parent", "t/parent", deferring),
        StubFunction::new("later", "x", |_| Answer::Return(json!(1))).triggers(json!([trigger])),
    ])
    .await;
    let parent = world.run("t/parent", json!({})).await["run_id"].clone();
    let defers = "query($run: String!) { run(runID: $run) { isDeferred
        defers { hashedDeferID userlandDeferID fnSlug status function { slug } runID run { id } } siblingDefers { hashedDeferID runID }
        deferredFrom { runID function { slug } run { id } } } }";
    let started = wait_until("two deferred runs", SOON, async || {
        let run = ask(&world, defers, json!({ "run": parent })).await["run"].take();
        run["defers"].as_array()?.iter().all(|defer| defer["runID"].is_string()).then_some(run)
    });
    let shown = started.await.unwrap();
    let (first, second) = (&shown["defers"][0]["runID"], &shown["defers"][1]["runID"]);
    let told = |id: &str, run: &Value| {
        json!({
            "hashedDeferID": step_id(id), "userlandDeferID": id, "fnSlug": "app-later", "status": "SCHEDULED", "function": { "slug": "app-later" },
            "runID": run, "run": { "id": run },
        })
    };
    let expected = json!({
        "isDeferred": false, "defers": [told("d1", first), told("d2", second)], "siblingDefers": [], "deferredFrom": [],
    });
    assert_eq!(shown, expected);
    let child = ask(&world, defers, json!({ "run": first })).await["run"].take();
    let from = json!([{ "runID": parent, "function": { "slug": "app-parent" }, "run": { "id": parent } }]);
    let sibling = json!([{ "hashedDeferID": step_id("d2"), "runID": second }]);
    let expected = json!({ "isDeferred": true, "defers": [], "siblingDefers": sibling, "deferredFrom": from });
    assert_eq!(child, expected);
    for (deferred, count) in [(json!(true), 2), (json!(false), 1), (Value::Null, 3)] {
        let filter = json!({ "from": "2020-01-01T00:00:00Z", "isDeferred": deferred });
        let page = ask(&world, RUNS, json!({ "filter": filter, "order": [] })).await;
        assert_eq!(page["runs"]["totalCount"], count, "{deferred}");
    }
}

#[tokio::test]
async fn a_scheduled_run_tells_its_schedule() {
    let cron = "* * * * * *";
    let every = StubFunction::new("every", "x", |_| Answer::Return(json!(1))).triggers(json!([{ "cron": cron }]));
    let world = World::of(vec![every]).await;
    let run = world.call("every", 0).await.body["ctx"]["run_id"].clone();
    let document = "query($run: String!) { run(runID: $run) { cronSchedule eventName isBatch }
        runTrigger(runID: $run) { eventName IDs payloads timestamp isBatch batchID cron } }";
    let shown = ask(&world, document, json!({ "run": run })).await;
    assert_eq!(shown["run"], json!({ "cronSchedule": cron, "eventName": null, "isBatch": false }));
    let trigger = &shown["runTrigger"];
    assert_eq!(
        (&trigger["cron"], &trigger["eventName"], &trigger["batchID"], &trigger["isBatch"]),
        (&json!(cron), &Value::Null, &Value::Null, &json!(false))
    );
    let payload: Value = serde_json::from_str(trigger["payloads"][0].as_str().unwrap()).unwrap();
    assert_eq!((&payload["name"], &payload["data"]["cron"]), (&json!("inngest/scheduled.timer"), &json!(cron)));
    assert_eq!(payload["id"], payload["data"]["scheduledAt"]);
    assert!(payload["ts"].is_i64(), "{payload}");
}
