//! Real apps on unmodified SDK packages, run through the same scenarios on a real server process.
//!
//! Every app serves the same functions (`sdk-tests/`) and keeps a journal of what it executed, so that a step
//! that ran twice is seen. Scenarios of one app run side by side; then the server is killed under the app.
//!
//! `INNGEST_SDK_APP=js_v4` runs one app only, `INNGEST_SDK_SCENARIO=sleep` one scenario. `INNGEST_SDK_SERVER=PATH` tests
//! another binary that takes the flags of the Go server's `dev`: it is given no data directory, so the crashes are left
//! out.

mod cases;
mod install;
mod tested;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::process::{self, command, wait_for};
use crate::test::Totals;
use tested::{Binary, Tested};

/// A program in a directory of `sdk-tests`, built on one SDK.
struct App {
    name: &'static str,
    dir: &'static str,
    /// Makes the app in a directory ready; the command that starts it there.
    prepare: fn(&Path) -> anyhow::Result<Command>,
    /// Scenarios that this SDK cannot express; `sdk-tests/README.md` has the reasons.
    lacks: &'static [&'static str],
    /// Its SDK tells the cause of an error.
    has_causes: bool,
    /// Its SDK reports steps by checkpoints unless told otherwise.
    has_checkpoints: bool,
}

impl App {
    fn directory(&self) -> PathBuf {
        Path::new("sdk-tests").join(self.dir)
    }
}

const APPS: [App; 4] = [
    App {
        name: "js_v4",
        dir: "js-v4",
        prepare: install::javascript,
        lacks: &[],
        has_causes: true,
        has_checkpoints: true,
    },
    App {
        name: "js_v3",
        dir: "js-v3",
        prepare: install::javascript,
        lacks: &[],
        has_causes: true,
        has_checkpoints: false,
    },
    App {
        name: "python_fastapi",
        dir: "python",
        prepare: install::fastapi,
        lacks: &[],
        has_causes: false,
        has_checkpoints: false,
    },
    App {
        name: "python_flask",
        dir: "python",
        prepare: install::flask,
        lacks: &[],
        has_causes: false,
        has_checkpoints: false,
    },
];

/// One event, and what must come of it.
struct Scenario {
    name: &'static str,
    event: &'static str,
    data: Value,
    status: &'static str,
    /// The output, or the part of it that is the same for all SDKs.
    output: Value,
    /// How often each part of the function must have been executed.
    executed: &'static [(&'static str, usize)],
}

fn scenarios() -> Vec<Scenario> {
    let scenario =
        |name, event, data, output, executed| Scenario { name, event, data, status: "Completed", output, executed };
    let failing = |name, event, message: &str, executed| Scenario {
        name,
        event,
        data: json!({}),
        status: "Failed",
        output: json!({ "message": message }),
        executed,
    };
    vec![
        scenario("hello", "sdk/hello", json!({ "name": "ana" }), json!({ "greeting": "hello ana" }), &[("body", 1)]),
        scenario("wildcard", "sdk/wild.x", json!({}), json!({ "name": "sdk/wild.x" }), &[]),
        scenario("second_trigger", "sdk/second", json!({}), json!({ "name": "sdk/second" }), &[]),
        scenario(
            "steps",
            "sdk/steps",
            json!({ "n": 1 }),
            json!({ "one": 2, "two": { "doubled": 4 }, "three": [2, 4] }),
            &[("one", 1), ("two", 1), ("three", 1)],
        ),
        scenario(
            "parallel",
            "sdk/parallel",
            json!({}),
            json!({ "values": [1, 2, 3], "sum": 6 }),
            &[("left", 1), ("middle", 1), ("right", 1), ("join", 1)],
        ),
        scenario("sleep", "sdk/sleep", json!({}), json!({ "slept": true }), &[("before", 1), ("after", 1)]),
        scenario("retry", "sdk/retry", json!({}), json!({ "tries": 3 }), &[("first", 1), ("flaky", 3), ("last", 1)]),
        scenario("retry_after", "sdk/retry-after", json!({}), json!({ "tries": 2 }), &[("late", 2)]),
        scenario(
            "step_error",
            "sdk/step-error",
            json!({}),
            json!({ "caught": "card refused" }),
            &[("refused", 2), ("recover", 1)],
        ),
        failing(
            "failure",
            "sdk/failure",
            "cannot go on",
            &[("before", 1), ("body", 1), ("onFailure: cannot go on", 1)],
        ),
        failing("exhausted", "sdk/exhausted", "never works", &[("hopeless", 2), ("onFailure: never works", 1)]),
        scenario("function_error", "sdk/function-error", json!({}), json!({}), &[("before", 1), ("body", 2)]),
        failing("error_cause", "sdk/error-cause", "outer", &[]),
        scenario("fan_out", "sdk/fan-out", json!({}), json!({}), &[]),
        scenario("big_output", "sdk/big-output", json!({ "size": 200_000 }), json!({ "bytes": 200_000 }), &[]),
    ]
}

/// A scenario that is more than one event and its run.
type Case = (&'static str, fn(&mut Tested) -> anyhow::Result<()>);

/// In this order, the crashes last: they take the server from under everything else.
const CASES: [Case; 7] = [
    ("client_send", cases::client_send),
    ("fan_out_children", cases::fan_out_children),
    ("future_event", cases::future_event),
    ("same_event_id", cases::same_event_id),
    ("many_runs", cases::many_runs),
    ("crash_asleep", cases::crash_asleep),
    ("crash_awake", cases::crash_awake),
];

/// The name of a scenario, and what was wrong.
type Outcome = (&'static str, Option<String>);

/// Runs every scenario on every app.
pub(crate) fn run() -> anyhow::Result<Totals> {
    let only = std::env::var("INNGEST_SDK_APP").ok();
    let apps: Vec<&App> = APPS.iter().filter(|app| only.as_deref().is_none_or(|only| only == app.name)).collect();
    anyhow::ensure!(!apps.is_empty(), "INNGEST_SDK_APP names none of {:?}", APPS.map(|app| app.name));
    let binary = binary()?;
    let mut totals = Totals::default();
    for app in apps {
        match outcomes(app, &binary) {
            Ok(outcomes) => outcomes.iter().for_each(|outcome| totals.add(report(app, outcome))),
            Err(error) => {
                println!("test sdk::{} ... FAILED\n    {error:#}", app.name);
                totals.add(Totals::of(false));
            }
        }
    }
    Ok(totals)
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

fn report(app: &App, (name, problem): &Outcome) -> Totals {
    let result = problem.as_ref().map_or("ok", |_| "FAILED");
    println!("test sdk::{}::{name} ... {result}", app.name);
    if let Some(problem) = problem {
        println!("    {problem}");
    }
    Totals::of(problem.is_none())
}

/// Starts an app and runs its scenarios.
fn outcomes(app: &'static App, binary: &Binary) -> anyhow::Result<Vec<Outcome>> {
    let only = std::env::var("INNGEST_SDK_SCENARIO").ok();
    let runs = |name: &str| !app.lacks.contains(&name) && only.as_deref().is_none_or(|only| only == name);
    let mut tested = Tested::start(app, (app.prepare)(&app.directory())?, binary)?;
    let scenarios: Vec<Scenario> = scenarios().into_iter().filter(|scenario| runs(scenario.name)).collect();
    let events = scenarios.iter().map(|scenario| tested.send(scenario.event, &scenario.data));
    let events = events.collect::<anyhow::Result<Vec<_>>>()?;
    let mut outcomes: Vec<Outcome> = Vec::new();
    for (scenario, event) in scenarios.iter().zip(&events) {
        outcomes.push((scenario.name, problem(scenario.check(&tested, event))));
    }
    for (name, case) in CASES.into_iter().filter(|(name, _)| runs(name)) {
        if !(binary.is_foreign && name.starts_with("crash")) {
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

impl Scenario {
    /// Waits for the run of the scenario's event, and compares.
    fn check(&self, tested: &Tested, event: &str) -> anyhow::Result<()> {
        let run = tested.ended(event)?;
        anyhow::ensure!(run["status"] == self.status, "the run is {}: {}", run["status"], run["output"]);
        for (key, value) in self.output.as_object().context("expected outputs are objects")? {
            anyhow::ensure!(run["output"][key] == *value, "output {key} is {}, not {value}", run["output"][key]);
        }
        let id = run["run_id"].as_str().context("run_id")?;
        for (part, count) in self.executed {
            // A failure handler runs after the run has ended.
            let what = format!("{part} is executed {count} times");
            wait_for(&what, Duration::from_secs(5), || {
                let executed = tested.executed(id).ok()?.get(*part).copied().unwrap_or(0);
                (executed == *count).then_some(())
            })
            .with_context(|| format!("executed: {:?}", tested.executed(id)))?;
        }
        self.details(tested, &run["output"], id)
    }

    /// What a table of outputs and counts cannot say.
    fn details(&self, tested: &Tested, output: &Value, run: &str) -> anyhow::Result<()> {
        match self.name {
            // Python names the moment of waking, some milliseconds before the server hears of it.
            "sleep" => tested.must_pass(run, "before", "after", 990..6_000),
            // The server's own interval is 1 s. `Retry-After` is in whole seconds, hence less than 3 s.
            "retry_after" => tested.must_pass(run, "late", "late", 2_000..9_000),
            "function_error" => {
                // A checkpoint makes attempts start anew.
                let attempt = i32::from(!tested.app.has_checkpoints);
                anyhow::ensure!(output["attempt"] == attempt, "attempt {} and not {attempt}", output["attempt"]);
                Ok(())
            }
            "error_cause" => {
                let cause = &output["cause"]["message"];
                anyhow::ensure!(!tested.app.has_causes || cause == "inner", "the cause is {cause}");
                Ok(())
            }
            "big_output" => {
                let text = output["text"].as_str().unwrap_or_default();
                anyhow::ensure!(text == "é".repeat(100_000), "{} other bytes came back", text.len());
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
