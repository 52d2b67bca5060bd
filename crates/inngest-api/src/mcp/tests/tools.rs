//! Every tool that looks at runs, or makes them.

use std::collections::BTreeSet;
use std::time::Duration;

use inngest_core::{Clock as _, SystemClock};
use serde_json::{Value, json};

use super::Client;
use crate::testing::World;

const NAMES: [&str; 26] = [
    "cancel_run",
    "explain_run",
    "get_app",
    "get_apps",
    "get_event",
    "get_event_runs",
    "get_function",
    "get_run",
    "get_run_status",
    "get_run_trace",
    "grep_docs",
    "health",
    "invoke_function",
    "invoke_function_sync",
    "list_docs",
    "list_events",
    "list_failed_runs",
    "list_function_runs",
    "list_functions",
    "list_runs",
    "poll_run_status",
    "queue_status",
    "read_doc",
    "replay_runs",
    "rerun",
    "send_event",
];

fn hello() -> [(&'static str, Value, Value); 1] {
    [("hello", json!({ "event": "test/hello" }), json!({}))]
}

/// A client of a server on which runs stay as they were scheduled.
async fn idle() -> Client {
    Client::of(World::new().await, &hello()).await
}

/// A client of a server on which functions return the data of their event.
async fn working() -> Client {
    Client::of(World::working().await, &hello()).await
}

/// Sends an event that starts a run; both ids.
async fn start(client: &Client) -> (String, String) {
    let sent = client.call("send_event", json!({ "name": "test/hello", "data": { "n": 1 } })).await;
    (sent["eventId"].as_str().unwrap().to_owned(), sent["runIds"][0].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn tools_are_listed_with_all_that_clients_need() {
    let client = idle().await;
    let answer = client.ask("tools/list", &json!({})).await;
    let tools = answer["result"]["tools"].as_array().unwrap();
    let names: BTreeSet<&str> = tools.iter().map(|tool| tool["name"].as_str().unwrap()).collect();
    assert_eq!(names.into_iter().collect::<Vec<_>>(), NAMES);
    assert_eq!(tools.len(), NAMES.len());
    for tool in tools {
        let schema = &tool["inputSchema"];
        assert_eq!((&schema["type"], &schema["additionalProperties"]), (&json!("object"), &json!(false)), "{tool}");
        assert!(
            schema["properties"].is_object() && tool["title"].is_string() && tool["description"].is_string(),
            "{tool}"
        );
        for (name, property) in schema["properties"].as_object().unwrap() {
            assert!(property["description"].is_string(), "{}: {name}", tool["name"]);
        }
    }
    let of = |name: &str| tools.iter().find(|tool| tool["name"] == name).unwrap();
    let reads =
        json!({ "readOnlyHint": true, "idempotentHint": true, "destructiveHint": false, "openWorldHint": false });
    for name in ["get_run", "poll_run_status", "explain_run"] {
        assert_eq!(of(name)["annotations"], reads);
    }
    for name in ["send_event", "cancel_run", "replay_runs"] {
        assert_eq!(of(name)["annotations"], json!({ "destructiveHint": true }));
    }
    assert_eq!(of("get_function")["inputSchema"]["required"], json!(["appId", "functionId"]));
    assert_eq!(of("send_event")["inputSchema"]["required"], json!(["name"]));
    assert_eq!(of("replay_runs")["inputSchema"]["required"], json!(["functionId"]));

    let catalogue = client.world.request("GET", "/v2/operations", &[], "").await.json();
    let listed = catalogue["data"]["operations"].as_array().unwrap();
    let mut told: Vec<&Value> = listed.iter().filter_map(|operation| operation.get("mcp")).collect();
    told.sort_by_key(|tool| tools.iter().position(|listed| listed == *tool));
    assert_eq!(told, tools.iter().collect::<Vec<_>>(), "the catalogue names the same tools");
    assert!(listed.iter().any(|operation| operation["id"] == "mcp.send_event"));
}

#[tokio::test]
async fn operations_of_v2_are_done_and_refused_as_there() {
    let client = idle().await;
    let (event, run) = start(&client).await;
    let shown = client.call_plain("get_run", json!({ "runId": run })).await;
    assert_eq!((&shown["data"]["id"], &shown["data"]["status"]), (&json!(run), &json!("QUEUED")));
    assert_eq!(client.call("get_event", json!({ "eventId": event })).await["data"]["data"], json!({ "n": 1 }));
    assert_eq!(client.call("health", Value::Null).await["data"]["status"], "ok");
    assert_eq!(client.call("cancel_run", json!({ "runId": run })).await["data"]["runId"], run);
    let listed = client.call("list_runs", json!({ "status": ["CANCELLED"], "limit": 1 })).await;
    assert_eq!(listed["data"][0]["id"], run);
    for (tool, arguments, text) in [
        (
            "get_run",
            json!({ "runId": "01M85QRDBHC70063SSP1V76AAN" }),
            "REST API v2 returned HTTP 404: {\"errors\":[{\"code\":\"not_found\"",
        ),
        ("cancel_run", json!({ "runId": run }), "REST API v2 returned HTTP 409: "),
        ("get_run", json!({ "runId": "x" }), "REST API v2 returned HTTP 400: "),
        ("get_run", json!({ "runId": run, "other": 1 }), "REST API v2 returned HTTP 400: "),
        ("get_run", json!([]), "REST API v2 returned HTTP 400: "),
    ] {
        let problem = client.fail(tool, arguments).await;
        assert!(problem.starts_with(text), "{tool}: {problem}");
    }
}

#[tokio::test]
async fn an_event_is_sent_and_its_runs_are_there_at_once() {
    let client = idle().await;
    let sent = client.call_plain("send_event", json!({ "name": "test/hello", "data": "text", "user": 5 })).await;
    let (event, runs) = (sent["eventId"].as_str().unwrap(), sent["runIds"].as_array().unwrap());
    assert_eq!(runs.len(), 1);
    assert_eq!(
        (&sent["status"], &sent["message"]),
        (&json!("accepted"), &json!("Event 'test/hello' sent successfully"))
    );
    let stored = client.call("get_event", json!({ "eventId": event })).await;
    let stored = &stored["data"];
    assert_eq!((&stored["data"], &stored["user"]), (&json!({ "value": "text" }), &json!({ "id": 5 })));
    let nobody = client.call("send_event", json!({ "name": "test/nobody" })).await;
    assert_eq!(nobody["runIds"], json!([]));

    let seed = "1795488833635,AAECAwQFBgcICQ==";
    let once = json!({ "name": "test/hello", "eventIdSeed": seed });
    let (first, second) = (client.call("send_event", once.clone()).await, client.call("send_event", once).await);
    assert_eq!((&first["eventId"], &first["runIds"]), (&second["eventId"], &second["runIds"]));
    for (arguments, text) in [
        (json!({ "name": "test/hello", "eventIdSeed": "x" }), "eventIdSeed must be"),
        (json!({ "name": "" }), "event name is empty"),
        (json!({ "name": "inngest/x" }), "event name is reserved for internal use"),
        (json!({ "data": {} }), "invalid arguments: missing field `name`"),
        (json!({ "name": "a", "nmae": "b" }), "invalid arguments: unknown field `nmae`"),
    ] {
        let problem = client.fail("send_event", arguments).await;
        assert!(problem.starts_with(text), "{problem}");
    }
}

#[tokio::test]
async fn an_invoked_function_gives_what_it_returns() {
    let client = working().await;
    let id = client.world.engine.registry().by_slug("app-hello").unwrap().id.to_string();
    for name in ["app-hello", "hello", &id] {
        let done = client.call_plain("invoke_function_sync", json!({ "functionId": name, "data": { "n": 3 } })).await;
        assert_eq!((&done["status"], &done["functionName"]), (&json!("Completed"), &json!("hello")), "{done}");
        assert_eq!(done["output"]["echo"]["n"], 3);
        assert!(done["duration"].is_u64() && done["error"].is_null() && done["eventId"].is_string(), "{done}");
    }
    let done = client.call("invoke_function_sync", json!({ "functionId": "hello", "data": [1] })).await;
    assert_eq!(done["output"]["echo"]["value"], json!([1]));
}

#[tokio::test]
async fn who_does_not_want_to_wait_longer_is_told_so() {
    let client = idle().await;
    let done = client.call("invoke_function_sync", json!({ "functionId": "hello", "timeout": 0 })).await;
    assert_eq!((&done["status"], &done["output"]), (&json!("Scheduled"), &Value::Null));
    assert!(done["error"].as_str().unwrap().starts_with("the run goes on after 0 s"), "{done}");
    let (run, asked) = (done["runId"].clone(), json!({ "runIds": [done["runId"]], "timeout": 60 }));
    // Whoever waits is woken by the commit that ends the run, long before the time is over.
    let both = async {
        tokio::join!(client.call("poll_run_status", asked), client.call("cancel_run", json!({ "runId": run })))
    };
    let (polled, cancelled) = tokio::time::timeout(Duration::from_secs(30), both).await.unwrap();
    assert_eq!(cancelled["data"]["runId"], run);
    assert_eq!((&polled["failed"], &polled["runs"][0]["status"]), (&json!(1), &json!("Cancelled")));
}

#[tokio::test]
async fn a_function_that_cannot_be_invoked_says_why() {
    let single = json!({ "singleton": { "mode": "skip" } });
    let late = json!({ "debounce": { "period": "1h" } });
    let trigger = json!({ "event": "test/x" });
    let functions = [
        ("single", trigger.clone(), single),
        ("late", trigger.clone(), late),
        ("twin", trigger.clone(), json!({ "name": "late" })),
    ];
    let client = Client::of(World::new().await, &functions).await;
    client.call("invoke_function_sync", json!({ "functionId": "single", "timeout": 0 })).await;
    for (arguments, text) in [
        (json!({ "functionId": "single", "timeout": 0 }), "It was skipped: the singleton was taken by the run"),
        (json!({ "functionId": "app-late" }), "The function is debounced"),
        (json!({ "functionId": "late" }), "Several functions are named \"late\": use one of app-"),
        (json!({ "functionId": "nothing" }), "Function not found: nothing"),
        (json!({ "functionId": "single", "timeout": 601 }), "timeout cannot exceed 600 seconds"),
        (json!({ "functionId": "single", "data": { "a": "x".repeat(3 << 20) } }), "Event is over the max size"),
        (json!({}), "invalid arguments: missing field `functionId`"),
    ] {
        let problem = client.fail("invoke_function_sync", arguments).await;
        assert!(problem.starts_with(text), "{problem}");
    }
}

#[tokio::test]
async fn the_status_of_runs_is_told_when_they_have_ended() {
    let client = working().await;
    let (event, run) = start(&client).await;
    let unknown = "01M85QRDBHC70063SSP1V76AAN";
    let polled = client.call_plain("poll_run_status", json!({ "runIds": [run, unknown], "pollInterval": 1 })).await;
    assert_eq!((&polled["completed"], &polled["running"], &polled["failed"]), (&json!(1), &json!(0), &json!(0)));
    let shown = client.call_plain("get_run_status", json!({ "runId": run })).await;
    assert_eq!(polled["runs"], json!([shown]));
    assert_eq!((&shown["status"], &shown["functionName"]), (&json!("Completed"), &json!("hello")));
    assert_eq!((&shown["eventId"], &shown["eventName"]), (&json!(event), &json!("test/hello")));
    assert_eq!(
        (&shown["output"]["echo"]["n"], &shown["steps"], &shown["error"]),
        (&json!(1), &Value::Null, &Value::Null)
    );
    assert_eq!(shown["startedAt"].as_str().unwrap().len(), "2026-01-02T03:04:05Z".len());
    for (tool, arguments, text) in [
        ("get_run_status", json!({ "runId": unknown }), "Run not found: 01M85QRDBHC70063SSP1V76AAN"),
        ("get_run_status", json!({ "runId": "x" }), "\"x\" is no run ID"),
        ("poll_run_status", json!({ "runIds": [] }), "runIds array cannot be empty"),
        ("poll_run_status", json!({ "runIds": vec![unknown; 101] }), "runIds cannot name more than 100 runs"),
        ("poll_run_status", json!({ "runIds": ["x"] }), "\"x\" is no run ID"),
    ] {
        let problem = client.fail(tool, arguments).await;
        assert!(problem.starts_with(text), "{tool}: {problem}");
    }
}

#[tokio::test]
async fn what_waits_is_explained_and_counted() {
    let client = idle().await;
    let (_, run) = start(&client).await;
    let explained = client.call_plain("explain_run", json!({ "runId": run })).await;
    assert_eq!((&explained["run_id"], &explained["status"]), (&json!(run), &json!("Scheduled")));
    assert!(explained["text"].as_str().unwrap().ends_with('.'), "{explained}");
    let status = client.call_plain("queue_status", json!({})).await;
    assert_eq!(
        (&status["runsQueued"], &status["runsRunning"], &status["heldFunctions"]),
        (&json!(1), &json!(0), &json!([]))
    );
    // A run of next year waits as well, although its job is far.
    let year = SystemClock.now().0 + 365 * 86_400_000;
    client.world.send(json!({ "name": "test/hello", "ts": year })).await;
    assert_eq!(client.call("queue_status", json!({})).await["jobsWaiting"], 2);
    assert_eq!(client.world.request("POST", "/v1/functions/app-hello/pause", &[], "").await.status, 200);
    let held = client.call("queue_status", json!({})).await;
    assert_eq!(held["heldFunctions"], json!([{ "slug": "app-hello", "hold": "paused, new runs wait" }]));
    let problem = client.fail("explain_run", json!({ "runId": "01M85QRDBHC70063SSP1V76AAN" })).await;
    assert_eq!(problem, "Run not found: 01M85QRDBHC70063SSP1V76AAN");
}

#[tokio::test]
async fn runs_run_again_only_when_that_is_meant() {
    let client = idle().await;
    let (_, run) = start(&client).await;
    client.call("cancel_run", json!({ "runId": run })).await;
    let asked = |more: Value| {
        let mut asked = json!({ "functionId": "hello", "status": ["CANCELLED"] });
        asked.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        asked
    };
    let dry = client.call_plain("replay_runs", asked(json!({}))).await;
    assert_eq!((&dry["dryRun"], &dry["runIds"], &dry["started"]), (&json!(true), &json!([run]), &json!(0)));
    let count = async || client.call("list_runs", json!({})).await["data"].as_array().unwrap().len();
    assert_eq!(count().await, 1);
    let none = client.call("replay_runs", json!({ "functionId": "hello", "dryRun": false })).await;
    assert_eq!((&none["started"], count().await), (&json!(0), 1), "none has failed");
    let done = client.call("replay_runs", asked(json!({ "dryRun": false, "until": dry["until"] }))).await;
    assert_eq!((&done["dryRun"], &done["started"], &done["runIds"]), (&json!(false), &json!(1), &Value::Null));
    assert_eq!(count().await, 2);
    for (arguments, text) in [
        (json!({ "functionId": "nothing" }), "Function not found: nothing"),
        (asked(json!({ "limit": 0 })), "limit must be from 1 to 1000"),
        (asked(json!({ "limit": 1001 })), "limit must be from 1 to 1000"),
        (asked(json!({ "from": "yesterday" })), "from must be a date"),
        (asked(json!({ "status": ["RUNNING"] })), "invalid arguments: unknown variant `RUNNING`"),
        (asked(json!({ "dryrun": false })), "invalid arguments: unknown field `dryrun`"),
    ] {
        let problem = client.fail("replay_runs", arguments).await;
        assert!(problem.starts_with(text), "{problem}");
    }
}

#[tokio::test]
async fn what_fails_is_told_with_its_steps_and_runs_again() {
    let functions = [hello()[0].clone(), ("fails", json!({ "event": "test/fails" }), json!({}))];
    let client = Client::of(World::working().await, &functions).await;
    client.call("invoke_function_sync", json!({ "functionId": "hello" })).await;
    let done = client.call("invoke_function_sync", json!({ "functionId": "fails" })).await;
    assert_eq!((&done["status"], &done["error"]), (&json!("Failed"), &json!("no way")), "{done}");
    let run = &done["runId"];
    let shown = client.call("get_run_status", json!({ "runId": run })).await;
    let [step] = &shown["steps"].as_array().unwrap()[..] else { panic!("{shown}") };
    assert_eq!(
        (&step["stepName"], &step["stepId"], &step["status"]),
        (&json!("one"), &json!("one"), &json!("Completed"))
    );
    assert_eq!((&step["attempt"], &step["error"], &shown["error"]), (&json!(0), &Value::Null, &json!("no way")));
    let polled = client.call("poll_run_status", json!({ "runIds": [run] })).await;
    assert_eq!((&polled["completed"], &polled["failed"]), (&json!(0), &json!(1)));

    let listed = client.call_plain("list_failed_runs", json!({ "appId": ["app"], "limit": 5 })).await;
    let [failed] = &listed["data"].as_array().unwrap()[..] else { panic!("{listed}") };
    assert_eq!((&failed["id"], &failed["output"]["message"]), (run, &json!("no way")));
    let replayed = client.call("replay_runs", json!({ "functionId": "fails", "dryRun": false })).await;
    assert_eq!(replayed["started"], 1);
    let problem = client.fail("list_failed_runs", json!({ "from": "yesterday" })).await;
    assert!(problem.starts_with("REST API v2 returned HTTP 400: "), "{problem}");
}

#[tokio::test]
async fn a_run_of_a_removed_function_keeps_its_name() {
    let client = Client::of(World::working().await, &[("hello", json!({ "event": "a" }), json!({}))]).await;
    let done = client.call_plain("invoke_function_sync", json!({ "functionId": "app-hello" })).await;
    let remove = "/fn/remove?url=http://localhost:3000/api/inngest";
    assert_eq!(client.world.request("DELETE", remove, &[], "").await.status, 200);
    let status = client.call_plain("get_run_status", json!({ "runId": done["runId"] })).await;
    assert_eq!((&status["functionName"], &status["status"]), (&json!("hello"), &json!("Completed")));
}
