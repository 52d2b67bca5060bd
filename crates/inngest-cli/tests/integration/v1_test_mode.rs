//! `/test/..` with `TEST_MODE=true`.

use inngest_testkit::stub::op;
use inngest_testkit::{Answer, Server, StubApp, StubFunction, wait_until};
use serde_json::json;

use crate::harness::{SOON, options};

const ACCOUNT: &str = "00000000-0000-4000-a000-000000000000";

#[tokio::test]
async fn tests_of_servers_count_pause_cancel_and_reset() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path());
    options.env.push(("TEST_MODE".to_owned(), "true".to_owned()));
    let server = Server::start(options).await.unwrap();
    let nap = |_: &inngest_testkit::Call| Answer::Ops(json!([op("Sleep", "nap", json!({ "name": "1h" }))]));
    let held = StubFunction::new("held", "m/held", |_| Answer::Return(json!(1)));
    let held = held.config(json!({ "debounce": { "period": "1h" } }));
    let app = StubApp::serve("app", vec![StubFunction::new("nap", "m/nap", nap), held]).await.unwrap();
    app.register(server.client()).await.unwrap();
    let functions = server.client().get("/v1/functions").await.unwrap()["data"].clone();
    let id = |slug: &str| {
        let found = functions.as_array().unwrap().iter().find(|function| function["id"] == slug);
        found.unwrap()["internal_id"].as_str().unwrap().to_owned()
    };
    let (nap, held) = (id("app-nap"), id("app-held"));
    let ask = async |method: &str, path: String| {
        let reply = server.client().request(method, &path, &[], "").await.unwrap();
        (reply.status, reply.text())
    };
    let count = async |function: &str| {
        let path = format!("/test/queue/function-queue-size?accountId={ACCOUNT}&fnId={function}");
        let reply = server.client().get(&path).await.unwrap();
        reply["count"].as_u64().unwrap()
    };
    let until = async |function: &str, expected: u64| {
        let what = format!("{expected} jobs");
        wait_until(&what, SOON, async || (count(function).await == expected).then_some(())).await.unwrap();
    };
    let sleeping = async || {
        let event = server.client().send(&json!({ "name": "m/nap" })).await.unwrap().remove(0);
        wait_until("a sleep", SOON, async || {
            let run = server.client().runs_of(&event).await.ok()?.first()?["run_id"].as_str()?.to_owned();
            let jobs = server.client().get(&format!("/v1/runs/{run}/jobs")).await.ok()?;
            (jobs["data"][0]["kind"] == "sleep").then_some(run)
        })
        .await
        .unwrap()
    };

    assert_eq!(ask("GET", "/test".into()).await, (200, "OK".into()));
    assert_eq!(ask("GET", "/test/".into()).await, (200, "OK".into()));
    let run = sleeping().await;
    assert_eq!(count(&nap).await, 1);
    assert_eq!(ask("POST", format!("/test/function/pause?fnId={nap}")).await, (200, "OK".into()));
    let cancel = format!("/test/function/runs/cancel?accountId={ACCOUNT}&fnId={nap}&runId={run}");
    assert_eq!(ask("POST", cancel).await, (200, "OK".into()));
    until(&nap, 0).await;
    let event = server.client().send(&json!({ "name": "m/nap" })).await.unwrap().remove(0);
    let runs = server.client().runs_of(&event).await.unwrap();
    assert!(runs.iter().all(|run| run["status"] == "Skipped"), "a paused function starts nothing: {runs:?}");

    let resumed = server.client().post("/v1/functions/app-nap/resume", &json!({})).await.unwrap();
    assert_eq!(resumed.status, 200, "{}", resumed.text());
    sleeping().await;
    server.client().send(&json!({ "name": "m/held" })).await.unwrap();
    assert_eq!((count(&nap).await, count(&held).await), (1, 1));
    assert_eq!(ask("POST", "/test/reset".into()).await, (200, "ok".into()));
    assert_eq!((count(&nap).await, count(&held).await), (0, 0));

    for (method, path, text) in [
        ("POST", "/test/function/pause?fnId=x".to_owned(), "Invalid fnId"),
        ("GET", format!("/test/queue/function-queue-size?accountId=x&fnId={nap}"), "Invalid accountId"),
        ("POST", format!("/test/function/runs/cancel?accountId={ACCOUNT}&fnId={nap}&runId=x"), "Invalid runId"),
    ] {
        assert_eq!(ask(method, path).await, (400, text.into()));
    }
}
