//! The process itself: restarts, shutdown, registration, bad surroundings.

use std::process::Stdio;
use std::time::{Duration, Instant};

use inngest_testkit::server::free_port;
use inngest_testkit::stub::op;
use inngest_testkit::{Answer, Server, StubApp, StubFunction, wait_until};
use serde_json::json;

use crate::harness::{SOON, World, options};

fn two_steps_and_a_nap() -> StubFunction {
    StubFunction::new("long", "p/long", |call| {
        if call.memo("a").is_none() {
            return Answer::step("a", &json!("a"));
        }
        if call.memo("nap").is_none() {
            return Answer::Ops(json!([op("Sleep", "nap", json!({ "name": "2s" }))]));
        }
        Answer::Return(json!("done"))
    })
}

#[tokio::test]
async fn a_sleeping_run_survives_a_kill() {
    let world = World::of(vec![two_steps_and_a_nap()]).await;
    let event = world.send("p/long", json!({})).await;
    wait_until("asleep", SOON, async || (world.app.calls().len() == 2).then_some(())).await.unwrap();
    let world = world.kill_and_restart().await;
    assert_eq!(world.ended(&event).await["output"], "done");
    let executed = world.app.calls().iter().filter(|call| call.memo("a").is_none()).count();
    assert_eq!(executed, 1, "the memoised step is not executed again");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_durable_once_it_is_acknowledged() {
    let hello = StubFunction::new("hello", "p/hello", |_| Answer::Return(json!(1)));
    let mut world = World::of(vec![hello]).await;
    for _ in 0..5 {
        let event = world.send("p/hello", json!({})).await;
        world = world.kill_and_restart().await;
        assert_eq!(world.ended(&event).await["status"], "Completed");
    }
}

#[tokio::test]
async fn a_call_in_flight_at_a_kill_is_sent_again_with_the_next_generation() {
    let world = World::of(vec![StubFunction::new("slow", "p/slow", |call| {
        let pause = if call.body["ctx"]["generation_id"] == 1 { 30 } else { 0 };
        Answer::After(Duration::from_secs(pause), Box::new(Answer::Return(json!("second"))))
    })])
    .await;
    let event = world.send("p/slow", json!({})).await;
    // The stub notes a call before it waits to answer.
    wait_until("called", SOON, async || (!world.app.calls().is_empty()).then_some(())).await.unwrap();
    let world = world.kill_and_restart().await;
    assert_eq!(world.ended(&event).await["output"], "second");
    let calls = world.app.calls();
    let seen = |n: usize| (calls[n].attempt(), calls[n].body["ctx"]["generation_id"].as_u64());
    assert_eq!((seen(0), seen(1)), ((0, Some(1)), (0, Some(2))));
}

#[tokio::test]
async fn a_restart_with_ten_thousand_pending_jobs_is_quick() {
    let world = World::of(vec![StubFunction::new("later", "p/later", |_| Answer::Return(json!(1)))]).await;
    let ts = u64::try_from(std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap() + 600_000;
    let events: Vec<_> = (0..5_000).map(|n| json!({ "name": "p/later", "ts": ts, "data": { "n": n } })).collect();
    for _ in 0..2 {
        world.client().send(&json!(events)).await.unwrap();
    }
    let world = world.kill_and_restart().await;
    println!("healthy after {:?}", world.server.healthy_after);
    assert!(world.server.healthy_after < Duration::from_secs(2), "{:?}", world.server.healthy_after);
}

#[tokio::test]
async fn sigterm_finishes_what_is_in_flight_and_exits_0() {
    let mut world = World::of(vec![StubFunction::new("half", "p/half", |_| {
        Answer::After(Duration::from_millis(500), Box::new(Answer::Return(json!(1))))
    })])
    .await;
    let event = world.send("p/half", json!({})).await;
    wait_until("called", SOON, async || (!world.app.calls().is_empty()).then_some(())).await.unwrap();
    world.server.signal("TERM").await.unwrap();
    assert!(world.server.exited(Duration::from_secs(5)).await.unwrap().success());
    let world = world.kill_and_restart().await;
    assert_eq!(world.ended(&event).await["status"], "Completed");
    assert_eq!(world.app.calls().len(), 1, "its result was stored before the exit");
}

#[tokio::test]
async fn sigterm_gives_up_on_a_long_call_in_time_and_takes_it_up_again() {
    let mut world = World::of(vec![StubFunction::new("long", "p/long", |call| {
        let pause = if call.body["ctx"]["generation_id"] == 1 { 60 } else { 0 };
        Answer::After(Duration::from_secs(pause), Box::new(Answer::Return(json!(1))))
    })])
    .await;
    let event = world.send("p/long", json!({})).await;
    wait_until("called", SOON, async || (!world.app.calls().is_empty()).then_some(())).await.unwrap();
    let began = Instant::now();
    world.server.signal("TERM").await.unwrap();
    assert!(world.server.exited(Duration::from_secs(10)).await.unwrap().success());
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    let world = world.kill_and_restart().await;
    assert_eq!(world.ended(&event).await["status"], "Completed");
}

#[tokio::test]
async fn apps_named_by_url_are_pulled_when_they_appear() {
    let dir = tempfile::tempdir().unwrap();
    let app =
        StubApp::serve("pulled", vec![StubFunction::new("f", "u/a", |_| Answer::Return(json!(1)))]).await.unwrap();
    let mut options = options(dir.path());
    options.args.extend(["-u".to_owned(), app.url.replace("localhost", "127.0.0.1")]);
    let server = Server::start(options).await.unwrap();
    wait_until("registered in-band", SOON, async || {
        let functions = server.client().get("/api/v1/functions").await.ok()?;
        (functions["data"][0]["id"] == "pulled-f").then_some(())
    })
    .await
    .unwrap();
    let ping = &app.pings()[0];
    assert_eq!(ping.body, json!({ "url": app.url }));
    assert_eq!(ping.headers["x-inngest-server-kind"], "dev");
    let event = server.client().send(&json!({ "name": "u/a" })).await.unwrap().remove(0);
    server.client().ended_runs(&event, 1, SOON).await.unwrap();
}

#[tokio::test]
async fn registration_is_idempotent_and_archives_what_is_gone() {
    let world = World::of(vec![
        StubFunction::new("stay", "r/a", |_| Answer::Return(json!(1))),
        StubFunction::new("go", "r/a", |_| Answer::Return(json!(1))),
    ])
    .await;
    let mut body = world.app.registration();
    body["functions"].as_array_mut().unwrap().reverse();
    let again = world.client().post("/fn/register", &body).await.unwrap().json();
    assert_eq!((&again["ok"], &again["modified"]), (&json!(true), &json!(false)), "order does not matter");
    body["functions"].as_array_mut().unwrap().retain(|function| function["id"] == "app-stay");
    let less = world.client().post("/fn/register", &body).await.unwrap().json();
    assert_eq!(less["modified"], true);
    assert_eq!(world.run("r/a", json!({})).await["function_slug"], "app-stay");
}

/// Starts the binary and returns its exit code and everything it said.
async fn fails(args: &[&str]) -> (Option<i32>, String) {
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_inngest")).args(args).stdin(Stdio::null()).output();
    let output = tokio::time::timeout(SOON, output).await.expect("exits by itself").unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.code(), said)
}

#[tokio::test]
async fn bad_surroundings_are_named_and_exit_1() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::of(Vec::new()).await;
    let taken = world.server.options().port.to_string();
    let locked = world.server.options().dir.join("data").display().to_string();
    std::fs::write(dir.path().join("main.db"), "no database ".repeat(1000)).unwrap();
    let corrupt = dir.path().display().to_string();
    let file = dir.path().join("main.db").display().to_string();
    let port = free_port().unwrap().to_string();
    let table: [(&[&str], &str); 5] = [
        (&["--strict-port", "--port", &taken], &taken),
        (&["--port", &port, "--persist", "--sqlite-dir", &locked], "main.lock is locked"),
        (&["--port", &port, "--persist", "--sqlite-dir", &corrupt], "the database is damaged"),
        (&["--port", &port, "--persist", "--sqlite-dir", &file], "data directory"),
        // Nobody can write there, whatever the user.
        (&["--port", &port, "--persist", "--sqlite-dir", "/proc/inngest"], "check the permissions"),
    ];
    for (args, text) in table {
        let all: Vec<&str> = ["dev", "--no-discovery", "--host", "127.0.0.1"].iter().chain(args).copied().collect();
        let (code, said) = fails(&all).await;
        assert_eq!(code, Some(1), "{args:?}: {said}");
        assert!(said.contains(text), "{args:?}: {said}");
    }
}

#[tokio::test]
async fn a_taken_port_moves_the_dev_server_to_the_next_one() {
    let world = World::of(Vec::new()).await;
    let dir = tempfile::tempdir().unwrap();
    let taken = world.server.options().port;
    let log = dir.path().join("log");
    let child = tokio::process::Command::new(env!("CARGO_BIN_EXE_inngest"))
        .args(["dev", "--no-discovery", "--host", "127.0.0.1", "--port", &taken.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(&log).unwrap())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    wait_until("the new port in the log", SOON, async || {
        let text = std::fs::read_to_string(&log).ok()?;
        (text.contains("Port conflict, using new port") && text.contains("starting server")).then_some(())
    })
    .await
    .unwrap();
    drop(child);
}

#[tokio::test]
async fn a_full_store_refuses_events_with_503_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path());
    options.args.extend(["--max-store-size".to_owned(), "1000000".to_owned()]);
    let server = Server::start(options).await.unwrap();
    let event = json!({ "name": "full/a", "data": { "pad": "x".repeat(100_000) } });
    let mut accepted = Vec::new();
    let refused = loop {
        let reply = server.client().post("/e/k", &event).await.unwrap();
        match reply.status {
            200 => accepted.push(reply.json()["ids"][0].as_str().unwrap().to_owned()),
            _ => break reply,
        }
        assert!(accepted.len() < 100, "a megabyte holds no hundred of them");
    };
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert!(refused.text().contains("full"), "{}", refused.text());
    for id in accepted {
        server.client().get(&format!("/v1/events/{id}")).await.unwrap();
    }
}

#[tokio::test]
async fn unknown_paths_and_methods_are_named() {
    let world = World::of(Vec::new()).await;
    let table = [
        ("GET", "/health", 200, "{\"status\":200,\"message\":\"OK\"}\n"),
        ("HEAD", "/health", 200, ""),
        ("GET", "/ready", 200, "\"store\":\"ok\""),
        ("GET", "/", 200, "<!doctype html>"),
        ("GET", "/dev", 200, "\"startOpts\""),
        ("GET", "/v1/nope", 404, "\"error\":\"Not found\""),
        ("POST", "/anything", 404, "\"error\":\"Not found\""),
        ("DELETE", "/x/y", 404, "\"status\":404"),
        ("GET", "/e/key", 405, "Method not allowed"),
        ("POST", "/health", 405, "Method not allowed"),
        ("POST", "/e", 401, "{\"ids\":[],\"status\":401,\"error\":\"Event key is required\"}"),
        ("POST", "/e/", 401, "Event key is required"),
        ("GET", "/v1/events/bad", 400, "Invalid event ID: bad"),
        ("GET", "/v1/events/01M85QRDBHC70063SSP1V76AAN", 404, "Event not found"),
        ("GET", "/v1/events/01M85QRDBHC70063SSP1V76AAN/runs", 200, "\"data\":[]"),
        ("GET", "/v1/events?cursor=x", 400, "Invalid cursor query parameter"),
        ("GET", "/v1/events?received_after=x", 400, "Invalid received_after query parameter"),
        ("GET", "/v1/runs/bad", 400, "Invalid run ID: bad"),
        ("GET", "/v1/runs/01M85QRDBHC70063SSP1V76AAN", 404, "Unable to load function run: 01M85QRDBHC70063SSP1V76AAN"),
        ("GET", "/api/v1/runs?status=nope", 400, "Invalid status: nope"),
        ("GET", "/api/v1/runs?cursor=!", 400, "Invalid cursor query parameter"),
        ("GET", "/api/v1/functions?cursor=x", 400, "Invalid cursor query parameter"),
        ("GET", "/v1/apps/none/functions", 200, "[]"),
        ("GET", "/v0/runs/bad/actions", 400, "The run ID specified is invalid"),
        ("GET", "/v0/runs/01M85QRDBHC70063SSP1V76AAN/batch", 410, "runtime state is no longer available for runID"),
        ("DELETE", "/fn/remove?url=http://localhost:1/x", 404, "App not found: http://localhost:1/x"),
        ("POST", "/v0/telemetry", 200, ""),
    ];
    for (method, path, status, part) in table {
        let reply = world.client().request(method, path, &[], "").await.unwrap();
        assert_eq!(reply.status, status, "{method} {path}: {}", reply.text());
        assert!(reply.text().contains(part), "{method} {path}: {}", reply.text());
        assert_eq!(reply.headers["x-inngest-server-kind"], "dev", "{method} {path}");
        if status == 405 {
            assert!(reply.headers.contains_key("allow"), "{method} {path}");
        }
    }
    let preflight = [("origin", "https://any.site"), ("access-control-request-method", "POST")];
    let reply = world.client().request("OPTIONS", "/e/key", &preflight, "").await.unwrap();
    assert_eq!(
        (reply.status, &reply.headers["access-control-allow-origin"]),
        (200, &"https://any.site".parse().unwrap())
    );
    let foreign = world.client().request("GET", "/dev", &[("host", "evil.example")], "").await.unwrap();
    assert_eq!(foreign.status, 403, "{}", foreign.text());
}

#[tokio::test]
async fn a_state_too_large_for_a_request_is_fetched_by_the_sdk() {
    let world = World::of(vec![StubFunction::new("large", "b/large", |call| {
        let big = json!("x".repeat(2 << 20));
        for name in ["a", "b", "c"] {
            if call.body["use_api"] == false && call.memo(name).is_none() {
                return Answer::step(name, &big);
            }
        }
        Answer::After(Duration::from_secs(2), Box::new(Answer::Return(json!("fetched"))))
    })])
    .await;
    let event = world.send("b/large", json!({})).await;
    let call = wait_until("a call that leaves the state out", SOON, async || {
        world.app.calls().into_iter().find(|call| call.body["use_api"] == true)
    })
    .await
    .unwrap();
    assert_eq!((&call.body["steps"], &call.body["ctx"]["use_api"]), (&json!({}), &json!(true)));
    let actions = world.client().get(&format!("/v0/runs/{}/actions", call.run())).await.unwrap();
    assert_eq!(actions.as_object().map(serde_json::Map::len), Some(2));
    let batch = world.client().get(&format!("/v0/runs/{}/batch", call.run())).await.unwrap();
    assert_eq!(batch[0]["name"], "b/large");
    assert_eq!(world.ended(&event).await["output"], "fetched");
}

#[tokio::test]
async fn lists_are_paged_without_holes() {
    let world = World::of(vec![StubFunction::new("page", "l/page", |_| Answer::Return(json!(1)))]).await;
    let events: Vec<_> = (0..23).map(|n| json!({ "name": "l/page", "data": { "n": n } })).collect();
    let ids = world.client().send(&json!(events)).await.unwrap();
    for id in &ids {
        world.ended(id).await;
    }
    let (mut runs, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = world.client().get(&format!("/api/v1/runs?limit=7&status=completed&app=app{cursor}")).await.unwrap();
        runs.extend(page["data"].as_array().unwrap().iter().map(|run| run["run_id"].as_str().unwrap().to_owned()));
        if page["page"]["has_more"] == false {
            break;
        }
        cursor = format!("&cursor={}", page["page"]["cursor"].as_str().unwrap());
    }
    let mut sorted = runs.clone();
    sorted.sort_unstable_by(|a, b| b.cmp(a));
    sorted.dedup();
    assert_eq!((runs.len(), &runs), (23, &sorted), "newest first, each once");
    let newest = world.client().get("/v1/events?limit=2").await.unwrap();
    assert_eq!(newest["data"][0]["internal_id"], json!(ids[22]));
    let older = world.client().get(&format!("/v1/events?limit=100&cursor={}", ids[21])).await.unwrap();
    assert_eq!(older["data"].as_array().map(Vec::len), Some(21));
    for query in ["function=page", "function=app-page", "app=app&function=page&status=Completed", "event_id="] {
        let found = world.client().get(&format!("/api/v1/runs?limit=100&{query}")).await.unwrap();
        assert_eq!(found["data"].as_array().map(Vec::len), Some(23), "{query}");
    }
    let none = world.client().get("/api/v1/runs?app=other").await.unwrap();
    assert_eq!(none["data"], json!([]));
}
