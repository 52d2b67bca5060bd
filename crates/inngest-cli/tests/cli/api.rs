//! `inngest api`.

use inngest_testkit::server::free_port;
use inngest_testkit::{Answer, StubApp, StubFunction};
use serde_json::{Value, json};

use crate::place::{Ended, Place, SOON};

#[tokio::test]
async fn an_endpoint_is_asked_as_its_command_says() {
    let place = Place::new();
    let dev = place.dev(&format!("--no-discovery --port {}", free_port().unwrap()), &[]).await;
    let good = StubFunction::new("good", "shop/good", |call| Answer::Return(call.body["event"]["data"].clone()));
    let app = StubApp::serve("shop", vec![good]).await.unwrap();
    app.register(&dev.client()).await.unwrap();
    let port = dev.port.to_string();
    let api = async |arguments: &[&str]| -> Ended {
        place.run([&["api", "--api-port", &port], arguments].concat(), &[]).await
    };
    let ok = async |arguments: &[&str]| -> String {
        let ended = api(arguments).await;
        assert_eq!((ended.code, &*ended.err), (Some(0), ""), "{arguments:?}");
        ended.out
    };
    let health = ok(&["health"]).await;
    assert!(health.starts_with("{\n  \"data\": {\n    \"status\": \"ok\"\n  }"), "{health}");
    let raw = ok(&["health", "--raw"]).await;
    assert!(raw.starts_with("{\"data\":{\"status\":\"ok\"}"), "{raw}");
    // What the path names is given by flags or by position; the body by flags, which replace members of a whole one.
    let mut runs = Vec::new();
    for arguments in [
        &["invoke-function", "shop", "good", "--data", r#"{"n":7}"#][..],
        &["invoke-function", "--app-id", "shop", "good", "--body", r#"{"data":{"n":7},"idempotencyKey":"b"}"#],
        &["invoke-function", "shop", "--function-id=good", "--body", r#"{"data":{"n":1}}"#, "--data", r#"{"n":7}"#],
    ] {
        let told: Value = serde_json::from_str(&ok(arguments).await).unwrap();
        runs.push(told["data"]["runId"].as_str().unwrap().to_owned());
    }
    place.write("a/b/c/body.json", r#"{"name":"shop/good","data":{"n":7}}"#);
    let sent: Value = serde_json::from_str(&ok(&["send-event", "--body-file", "body.json"]).await).unwrap();
    let event = sent["data"]["eventId"].as_str().unwrap();
    dev.client().ended_runs(event, 1, SOON).await.unwrap();
    let run: Value = serde_json::from_str(&ok(&["get-event-runs", event, "--include-output"]).await).unwrap();
    assert_eq!(run["data"][0]["output"], json!({ "n": 7 }));
    let run: Value = serde_json::from_str(&ok(&["get-function-run", "--run-id", &runs[2]]).await).unwrap();
    assert_eq!(run["data"]["id"], runs[2]);
    let listed: Value =
        serde_json::from_str(&ok(&["get-function-runs", "--app-id", "shop", "--limit", "2"]).await).unwrap();
    assert_eq!(listed["data"].as_array().map(Vec::len), Some(2));
    let rerun: Value = serde_json::from_str(&ok(&["rerun", &runs[0]]).await).unwrap();
    assert_ne!(rerun["data"]["runId"], runs[0]);

    for (arguments, problem) in [
        (&["invoke-function"][..], "Error: missing required --app-id or positional argument <app-id>\n"),
        (&["invoke-function", "shop"], "Error: missing required --function-id or positional argument <function-id>\n"),
        (&["get-function-run", &runs[0], "x", "y"], "Error: unexpected positional argument(s): x, y\n"),
        (&["get-function-run", "x"], "Error: 400 Bad Request: {\"errors\":["),
        (&["get-function-runs", "--limit", "many"], "Error: "),
        (&["invoke-function", "shop", "good", "--data", "[1"], "Error: --data is no JSON: "),
        (
            &["invoke-function", "shop", "good", "--data", "7"],
            "Error: invalid value \"7\" for --data: it must be of type object",
        ),
        (&["send-event", "--body", "{}", "--body-file", "x"], "cannot be used with '--body-file <FILE>'"),
        (&["rerun", &runs[0], "--input", "[1]"], "Error: --input requires --from-step\n"),
        (&["rerun", &runs[0], "--from-step", "none"], "Step not found in original run"),
        (&["get-insights-tables"], "Error: get-insights-tables: not supported by this server\n"),
        (&["exec-sandbox", "x"], "Error: exec-sandbox: not supported by this server\n"),
        (&["bogus"], "No help topic for 'bogus'"),
    ] {
        let ended = api(arguments).await;
        assert!(ended.code != Some(0) && ended.out.is_empty(), "{arguments:?}: {}", ended.out);
        assert!(ended.err.contains(problem), "{arguments:?}: {}", ended.err);
    }
    dev.stop().await;
}

#[tokio::test]
async fn keys_and_servers_come_from_where_they_should() {
    let place = Place::new();
    let ended = place.line("api --api-host http://example.test --api-key x health").await;
    let refused = "Error: refusing to send credentials over plaintext HTTP to example.test; use an https:// target\n";
    assert_eq!((ended.code, &*ended.err), (Some(1), refused));
    let key = [("INNGEST_SIGNING_KEY", "x")];
    assert_eq!(place.run(["api", "--api-host", "http://example.test", "health"], &key).await.err, refused);
    let closed = free_port().unwrap();
    let ended = place.line(&format!("api health --api-port {closed}")).await;
    assert!(ended.err.starts_with(&format!("Error: no server answers at http://localhost:{closed}/api/v2 (")));
    assert!(!ended.err.contains("inngest dev"), "{}", ended.err);
    let dev = place.dev(&format!("--no-discovery --port {}", free_port().unwrap()), &[]).await;
    let file = place.write("a/b/c/inngest.yaml", &format!("api-port: {}\n", dev.port));
    assert_eq!(place.line("api health").await.code, Some(0), "a file names the port");
    let named = place.line(&format!("api health --config {file} --api-host 127.0.0.1:{}", dev.port)).await;
    assert_eq!((named.code, &*named.err), (Some(0), ""));
    let ended = place.run(["api", "health"], &[("INNGEST_API_PORT", "x")]).await;
    assert!(ended.err.contains("invalid value \"x\" for api-port (INNGEST_API_PORT)"), "{}", ended.err);
    dev.stop().await;
}
