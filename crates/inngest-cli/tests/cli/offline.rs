//! Commands that ask no server: expressions, schedules, completions, manual pages.

use serde_json::{Value, json};

use crate::place::{Place, entries};

/// The files of cases that the crate of expressions is tested with.
const CEL_CASES: &str = include_str!("../../../inngest-expr/tests/data/cel_cases.json");
const CRON_CASES: &str = include_str!("../../../inngest-expr/tests/data/cron_cases.json");

#[tokio::test]
async fn an_expression_is_evaluated() {
    let place = Place::new();
    place.write("a/b/c/event.json", r#"{"data":{"amount":250,"who":"Ana"}}"#);
    let table = [
        (&["event.data.amount > 100", "--event", r#"{"data":{"amount":250}}"#][..], "true\n"),
        (&["event.data.who + '!'", "--event", "event.json"], "\"Ana!\"\n"),
        (&["-event.data.amount", "--event", "event.json"], "-250.0\n"),
        (
            &["async.data.id == event.data.id", "--event", r#"{"data":{"id":1}}"#, "--async", r#"{"data":{"id":1}}"#],
            "true\n",
        ),
    ];
    for (arguments, expected) in table {
        let ended = place.run(["expr", "eval"].iter().chain(arguments), &[]).await;
        assert_eq!((ended.code, &*ended.out), (Some(0), expected), "{arguments:?}: {}", ended.err);
    }
    let ended = place.line("expr eval event.data.amount --event event.json --json").await;
    let told: Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!(told, json!({ "result": 250.0, "type": "double" }));
    for (arguments, problem) in [
        (&["event.data ="][..], "Error: error compiling expression: ERROR: <input>:1:"),
        (&["async.data"], "async"),
        (&["true", "--event", "{"], "Error: --event is no JSON: "),
        (&["true", "--event", "nowhere.json"], "Error: nowhere.json cannot be read: "),
        (&["true", "--event", "[1]"], "Error: --event must be a JSON object"),
        (&["event.data ="], "at: '='\n | event.data =\n | "),
    ] {
        let ended = place.run(["expr", "eval"].iter().chain(arguments), &[]).await;
        assert_eq!((ended.code, &*ended.out), (Some(1), ""), "{arguments:?}");
        assert!(ended.err.contains(problem), "{arguments:?}: {}", ended.err);
    }
}

#[tokio::test]
async fn files_of_cases_are_checked() {
    let place = Place::new();
    place.write("a/b/c/cel.json", CEL_CASES);
    place.write("a/b/c/cron.json", CRON_CASES);
    let wrong = json!([{ "expr": "1 + 1", "result": 2 }, { "expr": "1 + 1", "result": 3 }, { "name": "x" }]);
    place.write("a/b/c/wrong.json", &wrong.to_string());
    place.write("a/b/c/object.json", "{}");
    let ended = place.line("expr check cel.json").await;
    assert_eq!((ended.code, &*ended.out), (Some(0), "488 cases, 0 differ, 2 deviate on purpose\n"), "{}", ended.err);
    let ended = place.line("cron check cron.json").await;
    assert_eq!((ended.code, &*ended.out), (Some(0), "95 cases, 0 differ, 11 deviate on purpose\n"), "{}", ended.err);
    let told: Value = serde_json::from_str(&place.line("cron check cron.json --json").await.out).unwrap();
    assert_eq!(told, json!({ "cases": 95, "differ": 0, "deviate": 11 }));
    let ended = place.line("expr check wrong.json").await;
    assert_eq!(ended.code, Some(1));
    assert_eq!(ended.out, "1: \"1 + 1\": expected 3 (any type), found 2 (int)\n2: null: the case has no `expr`\n");
    assert_eq!(ended.err, "Error: 3 cases, 2 differ, 0 deviate on purpose\n");
    let ended = place.line("cron check object.json").await;
    assert!(ended.code == Some(1) && ended.err.starts_with("Error: object.json is no JSON array of cases: "));
}

#[tokio::test]
async fn a_schedule_tells_its_times() {
    let place = Place::new();
    let from = ["--from", "2026-03-28T00:00:00Z", "--count", "2"];
    let table = [
        (&["0 9 * * 1-5"][..], "2026-03-30T09:00:00Z\n2026-03-31T09:00:00Z\n"),
        (&["30 2 * * *", "--tz", "Europe/Berlin"], "2026-03-28T01:30:00Z\n2026-03-30T00:30:00Z\n"),
        (&["TZ=UTC @daily", "--tz", "Europe/Berlin"], "2026-03-29T00:00:00Z\n2026-03-30T00:00:00Z\n"),
        (&["0 0 30 2 *"], "It has no time within five years.\n"),
    ];
    for (arguments, expected) in table {
        let ended = place.run(["cron", "next"].iter().chain(arguments).chain(&from), &[]).await;
        assert_eq!((ended.code, &*ended.out), (Some(0), expected), "{arguments:?}: {}", ended.err);
    }
    for (arguments, problem) in [
        (&["0 25 * * *"][..], "25"),
        (&["* * * * *", "--tz", "Nowhere"], "Error: --tz: unknown time zone \"Nowhere\"; one is such as Europe/Berlin"),
        (&["* * * * *", "--from", "soon"], "Error: --from: \"soon\" is no date; one is 2026-01-31T10:00:00Z"),
        (&["* * * * *", "--count", "0"], "invalid value '0' for '--count <N>'"),
    ] {
        let ended = place.run(["cron", "next"].iter().chain(arguments), &[]).await;
        assert!(ended.code == Some(1) && ended.err.contains(problem), "{arguments:?}: {}", ended.err);
    }
}

#[tokio::test]
async fn shells_and_manuals_know_every_command() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish", "powershell"] {
        let ended = place.line(&format!("completion {shell}")).await;
        assert_eq!((ended.code, &*ended.err), (Some(0), ""), "{shell}");
        for word in ["replay", "sdk-url", "healthcheck"] {
            assert!(ended.out.contains(word), "{word} in {shell}");
        }
    }
    let ended = place.line("completion tcsh").await;
    assert!(ended.code == Some(1) && ended.err.contains("[possible values: bash, zsh, fish, powershell]"));
    let ended = place.line("man").await;
    assert!(ended.out.contains(".TH inngest 1") && ended.out.contains("inngest\\-runs(1)"), "{}", ended.out);
    assert_eq!(place.line("man --dir pages").await.code, Some(0));
    let pages = entries(&place.path("a/b/c/pages"));
    for page in ["inngest.1", "inngest-dev.1", "inngest-runs-cancel.1"] {
        assert!(pages.iter().any(|name| name == page), "{page} in {pages:?}");
    }
}
