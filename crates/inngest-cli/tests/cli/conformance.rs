//! `inngest conformance`, against an app with the functions of its suites.

use std::time::Duration;

use inngest_testkit::server::free_port;
use inngest_testkit::stub::op;
use inngest_testkit::{Answer, Call, StubApp, StubFunction};
use serde_json::{Value, json};

use crate::place::{Place, entries};

/// The functions that the suites call.
pub(crate) fn fixture() -> Vec<StubFunction> {
    let named = |id: &str, event: &str, script: fn(&Call) -> Answer| StubFunction::new(id, event, script);
    let cancel = json!([{ "event": "cancel/please", "if": "async.data.request_id == event.data.request_id" }]);
    vec![
        named("test-suite-simple-fn", "tests/function.test", |_| Answer::Return(json!("ok"))),
        named("test-suite-step-test", "tests/step.test", |call| {
            if call.memo("first step").is_none() {
                Answer::step("first step", &json!("first"))
            } else if call.memo("sleep").is_none() {
                Answer::Ops(json!([op("Sleep", "sleep", json!({ "name": "2s" }))]))
            } else if call.memo("second step").is_none() {
                Answer::step("second step", &json!("second"))
            } else {
                Answer::Return(json!("done"))
            }
        }),
        named("test-suite-retry-test", "tests/retry.test", |call| match (call.memo("once"), call.attempt()) {
            (None, 0) => {
                Answer::Ops(json!([op("StepError", "once", json!({ "error": { "name": "Error", "message": "no" } }))]))
            }
            (None, _) => Answer::step("once", &json!({ "yes": 2 })),
            (Some(_), 0) => Answer::error("broken func"),
            (Some(_), _) => Answer::Return(json!("done")),
        }),
        named("test-suite-cancel-test", "tests/cancel.test", |call| match call.memo("nap") {
            None => Answer::Ops(json!([op("Sleep", "nap", json!({ "name": "10s" }))])),
            Some(_) => Answer::Return(json!("awake")),
        })
        .config(json!({ "cancel": cancel })),
        named("test-suite-wait-for-event", "tests/wait.test", |call| match call.memo("resume") {
            None => Answer::Ops(json!([op(
                "WaitForEvent",
                "resume",
                json!({ "name": "test/resume", "opts": {
                    "event": "test/resume", "timeout": "10s",
                    "if": "async.data.resume == true && async.data.id == event.data.id",
                } })
            )])),
            Some(_) => Answer::Return(json!("resumed")),
        }),
    ]
}

#[tokio::test]
async fn the_core_suite_passes_on_our_server() {
    let place = Place::new();
    let line = format!("--no-discovery --retry-interval 1 --port {}", free_port().unwrap());
    let dev = place.dev(&line, &[]).await;
    let app = StubApp::serve("fixture", fixture()).await.unwrap();
    let urls = format!("--sdk-url {} --dev-url {}", app.url, dev.client().base());
    let doctor = place.line(&format!("conformance doctor {urls}")).await;
    assert_eq!((doctor.code, &*doctor.out), (Some(0), "• app ... OK\n• server ... OK\n"), "{}", doctor.err);
    let line = format!("conformance run {urls} --report-format json --report-out report.json");
    let mut command = place.command();
    let output = command.args(line.split(' ')).output();
    let output = tokio::time::timeout(Duration::from_secs(60), output).await.expect("it ends").unwrap();
    let text = std::fs::read_to_string(place.path("a/b/c/report.json")).unwrap();
    let report: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((output.status.code(), &report["compatibility"]), (Some(0), &json!("full")), "{text}");
    assert_eq!(report["cases"].as_array().map(Vec::len), Some(5));
    for (format, part) in
        [("junit", "failures=\"0\""), ("markdown", "| basic-invoke | core | passed | - |"), ("pretty", "CASE")]
    {
        let shown = place.line(&format!("conformance report --path report.json --report-format {format}")).await;
        assert!(shown.code == Some(0) && shown.out.contains(part), "{format}: {}", shown.out);
    }
    dev.stop().await;
}

#[tokio::test]
async fn what_is_broken_fails_its_case_alone() {
    let place = Place::new();
    let dev = place.dev(&format!("--no-discovery --port {}", free_port().unwrap()), &[]).await;
    let mut functions = fixture();
    functions.retain(|function| function.id != "test-suite-step-test");
    functions.push(StubFunction::new("test-suite-step-test", "tests/step.test", |_| Answer::Return(json!("no steps"))));
    let app = StubApp::serve("fixture", functions).await.unwrap();
    let line = format!("alpha cft run --sdk-url {} --dev-url {}", app.url, dev.client().base());
    let ended = place.line(&format!("{line} --case basic-invoke,steps-serial,connect-ready --json")).await;
    let report: Value = serde_json::from_str(&ended.out).unwrap();
    let status = |index: usize| report["cases"][index]["status"].as_str().unwrap();
    assert_eq!((ended.code, status(0), status(1), status(2)), (Some(1), "passed", "failed", "not_implemented"));
    let reason = report["cases"][1]["reason"].as_str().unwrap();
    assert!(reason.starts_with("the result of \"first step\" is {\"data\":..}"), "{reason}");
    // Nobody is there.
    let closed = free_port().unwrap();
    let line = format!("conformance run --case basic-invoke --dev-url {}", dev.client().base());
    let ended = place.line(&format!("{line} --sdk-url http://localhost:{closed}/api/inngest")).await;
    assert!(ended.code == Some(1) && ended.out.contains("not_evaluable") && ended.out.contains("cannot be reached"));
    for (line, code, problem) in [
        ("conformance run", 1, "--sdk-url is required"),
        ("conformance run --transport connect", 2, "connect conformance is not implemented yet"),
        ("conformance run --sdk-url http://x --transport connect", 2, "connect conformance is not implemented yet"),
        ("conformance run --sdk-url http://x --transport mail", 1, "there is no transport \"mail\"; serve is one"),
        ("conformance run --sdk-url http://x --suite cor", 1, "there is no suite \"cor\"; inngest conformance list"),
        ("conformance report --path none.json", 1, "none.json cannot be read"),
    ] {
        let ended = place.line(line).await;
        assert!(ended.code == Some(code) && ended.err.contains(problem), "{line}: {}", ended.err);
    }
    place.write("a/b/c/conformance.yaml", &format!("cases: [basic-invoke]\nsdk: {{url: \"{}\"}}\ndev: {{url: \"{}\"}}\nreport: {{format: junit, output: out.xml}}\n", app.url, dev.client().base()));
    let ended = place.line("conformance run --config conformance.yaml").await;
    assert_eq!((ended.code, &*ended.err), (Some(0), ""));
    assert!(entries(&place.path("a/b/c")).iter().any(|name| name == "out.xml"));
    assert!(place.line("conformance list").await.out.contains("basic-invoke"));
    dev.stop().await;
}
