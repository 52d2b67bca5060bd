//! Commands that ask a server, against the demo app and a stub.

use std::time::Duration;

use inngest_testkit::server::free_port;
use inngest_testkit::{Answer, StubApp, StubFunction, wait_until};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::place::{Dev, Ended, Place, SOON};

/// A server, an app, and the binary that asks it.
struct Asked {
    place: Place,
    dev: Dev,
    app: StubApp,
}

impl Asked {
    /// The app has a function that returns, one that fails for good, and one that never ends.
    async fn new() -> Self {
        let place = Place::new();
        let dev = place.dev(&format!("--no-discovery --port {}", free_port().unwrap()), &[]).await;
        let hang = |_: &_| Answer::After(Duration::from_secs(600), Box::new(Answer::Return(json!(1))));
        let functions = vec![
            StubFunction::new("good", "shop/good", |call| match call.memo("add\u{1b}[2J") {
                None => Answer::step("add\u{1b}[2J", &json!(2)),
                Some(_) => Answer::Return(call.body["event"]["data"].clone()),
            }),
            StubFunction::new("bad", "shop/bad", |_| Answer::fatal("it is broken")),
            StubFunction::new("slow", "shop/slow", hang),
        ];
        let app = StubApp::serve("shop", functions).await.unwrap();
        app.register(&dev.client()).await.unwrap();
        Self { place, dev, app }
    }

    async fn run(&self, arguments: &[&str]) -> Ended {
        let url = self.dev.client().base().to_owned();
        self.place.run(arguments.iter().copied(), &[("INNGEST_BASE_URL", &url)]).await
    }

    /// What a command tells people.
    async fn told(&self, arguments: &[&str]) -> String {
        let ended = self.run(arguments).await;
        assert_eq!((ended.code, &*ended.err), (Some(0), ""), "{arguments:?}: {}", ended.out);
        ended.out
    }

    /// What a command tells programs.
    async fn json(&self, arguments: &[&str]) -> Value {
        let told = self.told(&[arguments, &["--json"]].concat()).await;
        serde_json::from_str(&told).unwrap()
    }

    /// Sends an event and waits for its run, which has this status then.
    async fn run_of(&self, name: &str, status: &str) -> String {
        let sent = self.json(&["events", "send", name]).await;
        let event = sent["ids"][0].as_str().unwrap().to_owned();
        let run = wait_until("its run", SOON, async || {
            let runs = self.dev.client().runs_of(&event).await.ok()?;
            let run = runs.into_iter().find(|run| run["status"] == status)?;
            Some(run["run_id"].as_str()?.to_owned())
        });
        run.await.unwrap()
    }
}

#[tokio::test]
async fn events_are_sent_listed_and_shown() {
    let asked = Asked::new().await;
    let data = r#"{"n":12345678901234567890}"#;
    let send = ["events", "send", "shop/good", "--data", data, "--id", "order-7", "--ts", "2026-01-02T03:04:05Z"];
    let id = asked.told(&send).await.trim_end().to_owned();
    asked.dev.client().ended_runs(&id, 1, SOON).await.unwrap();
    let told = asked.told(&["events", "get", &id]).await;
    for text in
        [&*format!("Event     {id}\n"), "Id        order-7\n", &format!("Data      {data}\n"), "Completed  shop-good"]
    {
        assert!(told.contains(text), "{text}: {told}");
    }
    let shown = asked.json(&["events", "get", &id]).await;
    assert_eq!((&shown["ts"], &shown["runs"][0]["status"]), (&json!(1_767_323_045_000_i64), &json!("Completed")));
    // What stdin and files hold is sent as it is.
    asked.place.write("a/b/c/events.json", r#"[{"name":"shop/other"},{"name":"shop/third","data":{"a":"ü"}}]"#);
    let sent = asked.json(&["events", "send", "--file", "events.json"]).await;
    assert_eq!(sent["ids"].as_array().map(Vec::len), Some(2));
    asked.place.write("a/b/c/bad.json", r#"[{"name":"shop/other"},{"name":""}]"#);
    for (arguments, problem) in [
        (&["events", "send", "--file", "bad.json"][..], "Error: event name is empty (event 1, counted from 0)\n"),
        (&["events", "send", "x", "--ts", "2h"], "Error: --ts: \"2h\" is no date; one is 2026-01-31T10:00:00Z\n"),
    ] {
        let ended = asked.run(arguments).await;
        assert_eq!((ended.code, &*ended.err), (Some(1), problem));
    }
    let told = asked.told(&["events", "get", sent["ids"][1].as_str().unwrap()]).await;
    assert!(told.contains("It has started no run."), "{told}");
    let names = async |arguments: &[&str]| {
        let listed = asked.json(&[&["events", "list"], arguments].concat()).await;
        let names = listed["data"].as_array().unwrap().iter().map(|event| event["name"].as_str().unwrap().to_owned());
        (names.collect::<Vec<_>>(), listed["cursor"].as_str().map(str::to_owned))
    };
    assert_eq!(names(&[]).await, (["shop/third", "shop/other", "shop/good"].map(str::to_owned).to_vec(), None));
    assert_eq!(names(&["--name", "shop/other"]).await.0, ["shop/other"]);
    assert_eq!(names(&["--until", "1h"]).await, (Vec::new(), None));
    assert!(names(&["--internal"]).await.0.contains(&"inngest/function.finished".to_owned()));
    let (first, cursor) = names(&["--limit", "2"]).await;
    let (rest, _) = names(&["--limit", "2", "--cursor", &cursor.unwrap()]).await;
    assert_eq!([first, rest].concat(), ["shop/third", "shop/other", "shop/good"]);
    let told = asked.told(&["events", "list", "--limit", "1"]).await;
    assert!(told.starts_with("EVENT") && told.contains("There are more: --cursor "), "{told}");
    asked.dev.stop().await;
}

#[tokio::test]
async fn payloads_are_shown_however_deep_and_large_they_are() {
    let asked = Asked::new().await;
    let deep = format!("{}{}", "[".repeat(9_000), "]".repeat(9_000));
    asked.place.write("a/b/c/deep.json", &format!(r#"[{{"name":"shop/deep","data":{{"a":{deep}}}}}]"#));
    let sent = asked.json(&["events", "send", "--file", "deep.json"]).await;
    let event = sent["ids"][0].as_str().unwrap();
    assert!(asked.told(&["events", "get", event]).await.contains(&deep));
    let large = json!({ "name": "shop/large", "data": { "text": "x".repeat(3_000_000) } });
    asked.place.write("a/b/c/large.json", &json!([large, large, large, large]).to_string());
    asked.json(&["events", "send", "--file", "large.json"]).await;
    for arguments in [&["events", "list"][..], &["events", "list", "--json"]] {
        let listed = asked.told(arguments).await;
        assert!(listed.len() > 12_000_000 && listed.contains(&deep), "{arguments:?}");
    }
    asked.dev.stop().await;
}

#[tokio::test]
async fn runs_are_listed_by_filters_and_shown_with_their_steps() {
    let asked = Asked::new().await;
    let good = asked.run_of("shop/good", "Completed").await;
    let bad = asked.run_of("shop/bad", "Failed").await;
    let slow = asked.run_of("shop/slow", "Running").await;
    let ids = async |arguments: &[&str]| {
        let listed = asked.json(&[&["runs", "list"], arguments].concat()).await;
        let ids = listed["data"].as_array().unwrap().iter().map(|run| run["run_id"].as_str().unwrap().to_owned());
        ids.collect::<Vec<_>>()
    };
    assert_eq!(ids(&[]).await, [&*slow, &bad, &good]);
    assert_eq!(ids(&["--status", "FAILED,running"]).await, [&*slow, &bad]);
    assert_eq!(ids(&["--function", "shop-good", "--since", "1h"]).await, [&*good]);
    assert_eq!(ids(&["--fn", "good", "--app", "shop"]).await, [&*good]);
    assert_eq!(ids(&["--app", "other"]).await, [""; 0]);
    assert_eq!(ids(&["--until", "1h"]).await, [""; 0]);
    let first = asked.json(&["runs", "ls", "--limit", "2"]).await;
    assert_eq!(ids(&["--cursor", first["cursor"].as_str().unwrap()]).await, [&*good]);
    let told = asked.told(&["runs", "list", "--status", "failed"]).await;
    assert!(told.starts_with("RUN ") && told.contains(&format!("\n{bad}  Failed  shop-bad  shop/bad  ")), "{told}");
    assert_eq!(asked.told(&["runs", "list", "--app", "other"]).await, "There are none.\n");

    let told = asked.told(&["runs", "get", &good]).await;
    for text in ["Status    Completed\n", "Output    {}\n", "\nSteps\n└─ add\\u{1b}[2J  Completed  "] {
        assert!(told.contains(text), "{text}: {told}");
    }
    let told = asked.told(&["runs", "get", &bad]).await;
    for text in ["Error     it is broken\n", "└─ (function)  Errored\n   └─ attempt 0  it is broken\n"] {
        assert!(told.contains(text), "{text}: {told}");
    }
    assert_eq!(asked.json(&["runs", "get", &good]).await["actions"][0]["op"], "StepRun");
    for (arguments, problem) in [
        (&["runs", "list", "--status", "faild"][..], "a similar value exists: 'failed'"),
        (&["runs", "list", "--since", "soon"], "Error: --since: \"soon\" is no time; one is 2h30m or "),
        (&["runs", "list", "--limit", "0"], "invalid value '0' for '--limit <N>'"),
        (&["runs", "list", "--limit", "-1"], "invalid value '-1' for '--limit <N>'"),
        (&["runs", "list", "--cursor", "?"], "Error: Invalid cursor query parameter"),
        (&["runs", "get", "../x"], "Error: \"../x\" is no id of a run"),
        (
            &["runs", "get", "01KB1Q2M7V4T0R4Y7Z0QJ5X3CD"],
            "Error: Unable to load function run: 01KB1Q2M7V4T0R4Y7Z0QJ5X3CD",
        ),
        (&["runs", "lst"], "Did you mean 'list'?"),
        (&["run", "list"], "Did you mean 'runs'?"),
    ] {
        let ended = asked.run(arguments).await;
        assert!(ended.code != Some(0) && ended.err.contains(problem), "{arguments:?}: {}", ended.err);
    }
    asked.dev.stop().await;
}

#[tokio::test]
async fn runs_are_cancelled_by_id_or_by_filter() {
    let asked = Asked::new().await;
    let status = async |run: &str| asked.json(&["runs", "get", run]).await["status"].clone();
    let one = asked.run_of("shop/slow", "Running").await;
    assert_eq!(asked.told(&["runs", "cancel", &one]).await, format!("{one} does not go on.\n"));
    assert_eq!(status(&one).await, "Cancelled");
    let two = asked.run_of("shop/slow", "Running").await;
    let three = asked.run_of("shop/slow", "Running").await;
    let dry = ["runs", "cancel", "--function", "shop-slow", "--since", "1h", "--dry-run"];
    assert_eq!(asked.told(&dry).await, "2 runs of shop-slow would be cancelled.\n");
    assert_eq!(asked.json(&dry).await, json!({ "count": 2 }));
    assert_eq!(status(&two).await, "Running");
    let told = asked.told(&["runs", "cancel", "--function", "shop-slow", "--if", "event.data.x == 1"]).await;
    assert!(told.starts_with("Runs of shop-slow that started before "), "{told}");
    assert_eq!(status(&two).await, "Running");
    asked.told(&["runs", "cancel", "--function", "shop-slow"]).await;
    for run in [&two, &three] {
        wait_until("cancelled", SOON, async || (status(run).await == "Cancelled").then_some(())).await.unwrap();
    }
    for (arguments, problem) in [
        (&["runs", "cancel"][..], "required arguments were not provided"),
        (&["runs", "cancel", &one, "--dry-run"], "cannot be used with"),
        (&["runs", "cancel", &one, "--since", "1h"], "cannot be used with"),
        (&["runs", "cancel", "--function", "shop-none"], "Error: Function not found: shop-none. "),
        (&["runs", "cancel", "--function", "shop-none", "--dry-run"], "Error: Function not found: shop-none. "),
        (&["runs", "cancel", "--function", "shop-slow", "--if", "event.data ="], "Error: "),
    ] {
        let ended = asked.run(arguments).await;
        assert!(ended.code == Some(1) && ended.err.contains(problem), "{arguments:?}: {}", ended.err);
    }
    asked.dev.stop().await;
}

#[tokio::test]
async fn runs_run_again_one_or_many() {
    let asked = Asked::new().await;
    let good = asked.run_of("shop/good", "Completed").await;
    let again = asked.told(&["runs", "rerun", &good]).await;
    let shown = asked.json(&["runs", "get", again.trim_end()]).await;
    assert_eq!(shown["original_run_id"], good);
    let step = ["runs", "rerun", &good, "--from-step", "add\u{1b}[2J", "--input", "[1]"];
    assert_eq!(asked.json(&step).await["runId"].as_str().map(str::len), Some(26));
    let ended = asked.run(&["runs", "rerun", &good, "--from-step", "none"]).await;
    assert!(ended.code == Some(1) && ended.err.starts_with("Error: "), "{}", ended.err);
    asked.run_of("shop/bad", "Failed").await;
    asked.run_of("shop/bad", "Failed").await;
    let dry = ["runs", "replay", "--function", "shop-bad", "--dry-run"];
    assert_eq!(asked.told(&dry).await, "2 runs of shop-bad would run again.\n");
    let replay = ["runs", "replay", "--function", "shop-bad", "--status", "failed", "--since", "1h", "--limit", "1"];
    assert_eq!(asked.told(&[&replay[..], &["--dry-run"]].concat()).await, "1 run of shop-bad would run again.\n");
    assert_eq!(asked.told(&replay).await, "1 run of shop-bad runs again.\n");
    let ended = asked.run(&["runs", "replay", "--function", "shop-none", "--dry-run"]).await;
    assert!(ended.code == Some(1) && ended.err.starts_with("Error: Function not found: shop-none. "), "{}", ended.err);
    wait_until("a third run", SOON, async || (asked.app.calls_of("bad").len() == 3).then_some(())).await.unwrap();
    asked.dev.stop().await;
}

#[tokio::test]
async fn servers_of_another_version_are_told_from_strangers() {
    let place = Place::new();
    for (header, problem) in [
        (
            "x-inngest-server-kind: dev",
            "is an Inngest server, but answers /v1/runs with status 404; is it of another version?",
        ),
        ("server: x", "answered with status 404, and not as an Inngest server"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let serving = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 4_096];
            assert!(stream.read(&mut request).await.unwrap() > 0);
            let reply = format!("HTTP/1.1 404 Not Found\r\n{header}\r\ncontent-length: 4\r\n\r\nnone");
            stream.write_all(reply.as_bytes()).await.unwrap();
        });
        let ended = place.run(["runs", "list", "--url", &url], &[]).await;
        serving.await.unwrap();
        assert_eq!((ended.code, ended.err), (Some(1), format!("Error: {url} {problem}\n")));
    }
}

#[tokio::test]
async fn functions_are_listed_and_invoked() {
    let asked = Asked::new().await;
    let told = asked.told(&["functions", "list"]).await;
    assert!(told.starts_with("FUNCTION") && told.contains("shop-good  good  shop  shop/good  -\n"), "{told}");
    let listed = asked.json(&["functions", "list", "--app", "shop", "--limit", "2"]).await;
    assert_eq!(listed["data"].as_array().map(Vec::len), Some(2));
    assert!(listed["cursor"].is_string(), "{listed}");
    assert_eq!(asked.told(&["functions", "list", "--archived"]).await, "There are none.\n");
    let done = asked.json(&["functions", "invoke", "shop-good", "--data", r#"{"n":7}"#]).await;
    let runs = asked.dev.client().ended_runs(done["id"].as_str().unwrap(), 1, SOON).await.unwrap();
    assert_eq!((&runs[0]["run_id"], &runs[0]["output"]["n"]), (&done["run_ids"][0], &json!(7)));
    for (arguments, problem) in [
        (&["functions", "invoke", "shop-none"][..], "Error: Function not found: shop-none"),
        (&["functions", "invoke", "shop-good", "--data", "[1]"], "Error: Unable to read post data request"),
        (&["functions", "invoke", ".."], "Error: \"..\" is no id of a function"),
    ] {
        let ended = asked.run(arguments).await;
        assert!(ended.code == Some(1) && ended.err.contains(problem), "{arguments:?}: {}", ended.err);
    }
    asked.dev.stop().await;
}

#[tokio::test]
async fn apps_are_listed() {
    let asked = Asked::new().await;
    let told = asked.told(&["apps", "list"]).await;
    assert!(told.starts_with("APP ") && told.contains("\nshop  3          js v4.24.0  2"), "{told}");
    let listed = asked.json(&["apps", "ls"]).await;
    assert_eq!((&listed["data"][0]["id"], &listed["cursor"]), (&json!("shop"), &Value::Null));
    assert_eq!(asked.told(&["apps", "list", "--archived"]).await, "There are none.\n");
    asked.dev.stop().await;
}
