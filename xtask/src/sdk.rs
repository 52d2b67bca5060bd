//! Real apps on unmodified SDK packages, run through the same scenarios on a real server process.
//!
//! Every app serves the same functions (`sdk-tests/`) and keeps a journal of what it executed, so that a step
//! that ran twice is seen. Apps and their scenarios run side by side; then the server is killed under each app.
//!
//! `INNGEST_SDK_APP=js_v4` runs one app only, `INNGEST_SDK_SCENARIO=sleep` one scenario. `INNGEST_SDK_SERVER=PATH` tests
//! another binary that takes the flags of the Go server's `dev`: it is given no data directory, so the crashes are left
//! out.

mod cases;
mod controlled;
pub(crate) mod install;
mod provider;
mod scenario;
mod tested;

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::process::{self, command};
use crate::test::Totals;
use scenario::Scenario;
use tested::{Binary, Tested};

/// A program in a directory of `sdk-tests`, built on one SDK.
struct App {
    name: &'static str,
    dir: &'static str,
    /// Makes the app in a directory ready; the command that starts it there.
    prepare: fn(&Path) -> anyhow::Result<Command>,
    /// Why scenarios cannot be run on its SDK, and which.
    lacks: &'static [(&'static str, &'static [&'static str])],
    /// Its SDK tells the cause of an error.
    has_causes: bool,
    /// Its SDK reports steps by checkpoints unless told otherwise.
    has_checkpoints: bool,
    /// Its SDK knows `onFailure`.
    has_failure_handlers: bool,
}

impl App {
    fn directory(&self) -> PathBuf {
        Path::new("sdk-tests").join(self.dir)
    }

    /// Why a scenario cannot be run on this app, if that is so.
    fn lack(&self, scenario: &str) -> Option<&'static str> {
        self.lacks.iter().find(|(_, scenarios)| scenarios.contains(&scenario)).map(|(reason, _)| *reason)
    }
}

/// What the SDK for Python has neither in its asynchronous nor in its synchronous form.
const PYTHON_LACKS: &[(&str, &[&str])] = &[
    ("no step can be left behind unfinished in this SDK", &["promise_race"]),
    ("no checkpoints in this SDK", &["checkpointed", "checkpointed_batch"]),
    ("no signals in this SDK", &["signal", "signal_sent", "signal_timeout"]),
    ("no step.fetch in this SDK", &["fetch", "fetch_not_found", "fetch_refused"]),
    NO_LIMIT_OF_RUNS,
];

/// What only the SDK for Go has.
const NO_LIMIT_OF_RUNS: (&str, &[&str]) = ("no limits of runs in this SDK", &["limit_runs"]);

const APPS: [App; 5] = [
    App {
        name: "js_v4",
        dir: "js-v4",
        prepare: install::javascript,
        lacks: &[NO_LIMIT_OF_RUNS],
        has_causes: true,
        has_checkpoints: true,
        has_failure_handlers: true,
    },
    App {
        name: "js_v3",
        dir: "js-v3",
        prepare: install::javascript,
        lacks: &[NO_LIMIT_OF_RUNS],
        has_causes: true,
        has_checkpoints: false,
        has_failure_handlers: true,
    },
    App {
        name: "python_fastapi",
        dir: "python",
        prepare: install::fastapi,
        lacks: PYTHON_LACKS,
        has_causes: false,
        has_checkpoints: false,
        has_failure_handlers: true,
    },
    App {
        name: "python_flask",
        dir: "python",
        prepare: install::flask,
        lacks: PYTHON_LACKS,
        has_causes: false,
        has_checkpoints: false,
        has_failure_handlers: true,
    },
    App {
        name: "go",
        dir: "go",
        prepare: install::go,
        lacks: &[
            ("no step can be left behind unfinished in this SDK", &["promise_race"]),
            ("this SDK cannot send signals", &["signal_sent"]),
        ],
        has_causes: false,
        has_checkpoints: false,
        has_failure_handlers: false,
    },
];

/// `provider` is the URL of what steps let the server call.
fn scenarios(provider: &str) -> Vec<Scenario> {
    let batch = |id: &str, n| json!({ "name": "sdk/reply", "data": { "id": id, "n": n } });
    vec![
        Scenario::new("hello", "sdk/hello")
            .data(json!({ "name": "ana" }))
            .returns(json!({ "greeting": "hello ana" }))
            .executes(&[("body", 1)]),
        Scenario::new("wildcard", "sdk/wild.x").returns(json!({ "name": "sdk/wild.x" })),
        Scenario::new("second_trigger", "sdk/second").returns(json!({ "name": "sdk/second" })),
        Scenario::new("steps", "sdk/steps")
            .data(json!({ "n": 1 }))
            .returns(json!({ "one": 2, "two": { "doubled": 4 }, "three": [2, 4] }))
            .executes(&[("one", 1), ("two", 1), ("three", 1)]),
        Scenario::new("parallel", "sdk/parallel").returns(json!({ "values": [1, 2, 3], "sum": 6 })).executes(&[
            ("left", 1),
            ("middle", 1),
            ("right", 1),
            ("join", 1),
        ]),
        Scenario::new("parallel_mixed", "sdk/parallel-mixed")
            .returns(json!({ "values": [1, null, null, { "doubled": 10 }] }))
            .executes(&[("ran", 1), ("after", 1)]),
        Scenario::new("parallel_race", "sdk/parallel-race")
            .returns(json!({ "values": ["fast next", "slow"] }))
            .executes(&[("fast", 1), ("fast next", 1), ("slow done", 1)]),
        Scenario::new("promise_race", "sdk/promise-race")
            .returns(json!({ "winner": "fast" }))
            .executes(&[("fast", 1), ("after", 1)]),
        Scenario::new("sleep", "sdk/sleep").returns(json!({ "slept": true })).executes(&[("before", 1), ("after", 1)]),
        Scenario::new("retry", "sdk/retry").returns(json!({ "tries": 3 })).executes(&[
            ("first", 1),
            ("flaky", 3),
            ("last", 1),
        ]),
        Scenario::new("retry_after", "sdk/retry-after").returns(json!({ "tries": 2 })).executes(&[("late", 2)]),
        Scenario::new("step_error", "sdk/step-error")
            .returns(json!({ "caught": "card refused" }))
            .executes(&[("refused", 2), ("recover", 1)]),
        Scenario::new("failure", "sdk/failure").fails("cannot go on").executes(&[
            ("before", 1),
            ("body", 1),
            ("onFailure: cannot go on", 1),
        ]),
        Scenario::new("exhausted", "sdk/exhausted")
            .fails("never works")
            .executes(&[("hopeless", 2), ("onFailure: never works", 1)]),
        Scenario::new("function_error", "sdk/function-error").executes(&[("before", 1), ("body", 2)]),
        Scenario::new("error_cause", "sdk/error-cause").fails("outer"),
        Scenario::new("fan_out", "sdk/fan-out"),
        Scenario::new("big_output", "sdk/big-output")
            .data(json!({ "size": 200_000 }))
            .returns(json!({ "bytes": 200_000 })),
        Scenario::new("checkpointed", "sdk/checkpointed")
            .returns(json!({ "values": ["a", "b", "c", "flaky", "d"] }))
            .executes(&[("a", 1), ("b", 1), ("c", 1), ("flaky", 2), ("d", 1)]),
        Scenario::new("checkpointed_batch", "sdk/checkpointed-batch")
            .returns(json!({ "values": ["a", "b", "c", "flaky", "d"] }))
            .executes(&[("a", 1), ("b", 1), ("flaky", 2), ("d", 1)]),
        Scenario::new("wait_matched", "sdk/wait")
            .data(json!({ "id": "mine", "seconds": 60 }))
            .meanwhile("/e/test", json!([batch("other", 1), batch("mine", 2)]))
            .returns(json!({ "name": "sdk/reply", "n": 2 }))
            .executes(&[("before", 1), ("after", 1)]),
        Scenario::new("wait_timeout", "sdk/wait")
            .data(json!({ "id": "nobody", "seconds": 1 }))
            .returns(json!({ "name": null, "n": null }))
            .executes(&[("before", 1), ("after", 1)]),
        Scenario::new("signal", "sdk/signal")
            .data(json!({ "signal": "posted", "seconds": 60 }))
            .meanwhile("/v1/signals", json!({ "signal": "posted", "data": { "n": 7 } }))
            .returns(json!({ "signal": "posted", "data": { "n": 7 } }))
            .executes(&[("before", 1), ("after", 1)]),
        Scenario::new("signal_sent", "sdk/signal")
            .data(json!({ "signal": "sent", "seconds": 60 }))
            .meanwhile("/e/test", json!({ "name": "sdk/signal-send", "data": { "signal": "sent", "n": 8 } }))
            .returns(json!({ "signal": "sent", "data": { "n": 8 } }))
            .executes(&[("before", 1), ("after", 1)]),
        Scenario::new("signal_timeout", "sdk/signal")
            .data(json!({ "signal": "never", "seconds": 1 }))
            .returns(json!({ "signal": null, "data": null }))
            .executes(&[("before", 1), ("after", 1)]),
        Scenario::new("invoke", "sdk/invoke")
            .data(json!({ "n": 4 }))
            .returns(json!({ "doubled": 8, "name": "inngest/function.invoked" }))
            .executes(&[("before", 1), ("after", 1)]),
        Scenario::new("invoke_failed", "sdk/invoke-failed")
            .returns(json!({ "caught": "child refused" }))
            .executes(&[("recover", 1)]),
        Scenario::new("invoke_unknown", "sdk/invoke-unknown").executes(&[("recover", 1)]),
        Scenario::new("invoke_timeout", "sdk/invoke-timeout").executes(&[("recover", 1)]),
        Scenario::new("fetch", "sdk/fetch")
            .data(json!({ "url": format!("{provider}/echo") }))
            .returns(json!({ "status": 200, "echo": { "method": "PUT", "header": "yes", "body": "{\"n\":1}" } }))
            .executes(&[("after", 1)]),
        Scenario::new("fetch_not_found", "sdk/fetch")
            .data(json!({ "url": format!("{provider}/nothing") }))
            .returns(json!({ "status": 404, "echo": { "path": "/nothing" } }))
            .executes(&[("after", 1)]),
        // Nobody listens on port 1.
        Scenario::new("fetch_refused", "sdk/fetch-refused")
            .data(json!({ "url": "http://127.0.0.1:1/" }))
            .returns(json!({ "caught": true }))
            .executes(&[("recover", 1)]),
        Scenario::new("ai_infer", "sdk/ai-infer")
            .data(json!({ "url": provider }))
            .returns(json!({ "model": "gpt-4o-mini", "answer": "Bearer sk-test: hello" }))
            .executes(&[("after", 1)]),
        Scenario::new("finish_timeout", "sdk/finish-timeout").cancelled().executes(&[("before", 1), ("after", 0)]),
    ]
}

/// A scenario that is more than one event and its run.
type Case = (&'static str, fn(&mut Tested) -> anyhow::Result<()>);

/// In this order: the crashes take the server from under everything else, the schedule has waited for its full minute
/// meanwhile.
const CASES: [Case; 22] = [
    ("client_send", cases::client_send),
    ("mcp", cases::mcp),
    ("fan_out_children", cases::fan_out_children),
    ("future_event", cases::future_event),
    ("same_event_id", cases::same_event_id),
    ("cancel_on", cases::cancel_on),
    ("many_runs", cases::many_runs),
    ("limit_number", controlled::limit_number),
    ("limit_key", controlled::limit_key),
    ("limit_both", controlled::limit_both),
    ("limit_runs", controlled::limit_runs),
    ("throttle", controlled::throttle),
    ("rate_limit", controlled::rate_limit),
    ("debounce", controlled::debounce),
    ("batch", controlled::batch),
    ("priority", controlled::priority),
    ("singleton_skip", controlled::singleton_skip),
    ("singleton_cancel", controlled::singleton_cancel),
    ("idempotency", controlled::idempotency),
    ("crash_asleep", cases::crash_asleep),
    ("crash_awake", cases::crash_awake),
    ("cron", cases::cron),
];

/// The name of a scenario, and what was wrong.
type Outcome = (&'static str, Option<String>);

/// Runs every scenario on every app.
pub(crate) fn run() -> anyhow::Result<Totals> {
    let only = std::env::var("INNGEST_SDK_APP").ok();
    let apps: Vec<&App> = APPS.iter().filter(|app| only.as_deref().is_none_or(|only| only == app.name)).collect();
    anyhow::ensure!(!apps.is_empty(), "INNGEST_SDK_APP names none of {:?}", APPS.map(|app| app.name));
    let binary = binary()?;
    let provider = provider::start()?;
    if is_chosen("mcp") {
        install::mcp()?;
    }
    // Before the first scenario, because compilers would take the time that the scenarios measure.
    let prepared = apps.into_iter().map(|app| (app, (app.prepare)(&app.directory()))).collect::<Vec<_>>();
    let mut totals = Totals::default();
    std::thread::scope(|scope| {
        let (binary, provider) = (&binary, &provider);
        let test = |(app, process)| scope.spawn(move || test(app, process, binary, provider));
        for tested in prepared.into_iter().map(test).collect::<Vec<_>>() {
            totals.add(tested.join().unwrap_or_else(|_| Totals::of(false)));
        }
    });
    Ok(totals)
}

/// Runs the scenarios of an app and tells what came of them.
fn test(app: &'static App, process: anyhow::Result<Command>, binary: &Binary, provider: &str) -> Totals {
    match process.and_then(|process| outcomes(app, process, binary, provider)) {
        Ok(outcomes) => report(app, &outcomes),
        Err(error) => {
            println!("test sdk::{} ... FAILED\n    {error:#}", app.name);
            Totals::of(false)
        }
    }
}

/// Whether a scenario is asked for.
fn is_chosen(scenario: &str) -> bool {
    std::env::var("INNGEST_SDK_SCENARIO").map_or(true, |chosen| chosen == scenario)
}

fn binary() -> anyhow::Result<Binary> {
    if let Some(path) = std::env::var_os("INNGEST_SDK_SERVER") {
        return Ok(Binary { path: path.into(), is_foreign: true });
    }
    let built = process::succeeds(&mut command("cargo", ["build", "--release", "-p", "inngest-cli"]))?;
    anyhow::ensure!(built, "no server");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    Ok(Binary { path: target.join("release/inngest"), is_foreign: false })
}

fn report(app: &App, outcomes: &[Outcome]) -> Totals {
    let mut totals = Totals::default();
    for (name, problem) in outcomes {
        match problem {
            None => println!("test sdk::{}::{name} ... ok", app.name),
            Some(problem) => println!("test sdk::{}::{name} ... FAILED\n    {problem}", app.name),
        }
        totals.add(Totals::of(problem.is_none()));
    }
    for (reason, scenarios) in app.lacks {
        for name in scenarios.iter().filter(|name| is_chosen(name)) {
            println!("test sdk::{}::{name} ... ignored, {reason}", app.name);
        }
    }
    totals
}

/// Starts an app and runs its scenarios.
fn outcomes(app: &'static App, process: Command, binary: &Binary, provider: &str) -> anyhow::Result<Vec<Outcome>> {
    let runs = |name: &str| is_chosen(name) && app.lack(name).is_none();
    let chosen = scenarios(provider).into_iter().filter(|scenario| runs(scenario.name)).collect::<Vec<_>>();
    let mut tested = Tested::start(app, process, binary)?;
    let events = chosen.iter().map(|scenario| scenario.begin(&tested)).collect::<anyhow::Result<Vec<_>>>()?;
    let mut outcomes: Vec<Outcome> = Vec::new();
    for (scenario, event) in chosen.iter().zip(&events) {
        outcomes.push((scenario.name, problem(scenario.check(&tested, event))));
    }
    for (name, case) in CASES.into_iter().filter(|(name, _)| runs(name)) {
        if !(tested.binary.is_foreign && name.starts_with("crash_")) {
            outcomes.push((name, problem(case(&mut tested))));
        }
    }
    if outcomes.iter().any(|(_, problem)| problem.is_some()) {
        println!("{}", tested.logs());
    }
    Ok(outcomes)
}

fn problem(result: anyhow::Result<()>) -> Option<String> {
    result.err().map(|error| format!("{error:#}"))
}
