//! Real apps on unmodified SDK packages, run through the same scenarios on a real server process.
//!
//! Every app serves the same functions (`sdk-tests/`) and keeps a journal of what it executed, so that a step
//! that ran twice is seen. Scenarios of one app run side by side; then the server is killed under the app.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::process::{self, Running, command, free_port, get, post, wait_for};
use crate::test::Totals;

/// A scenario ends within this time, retries included.
const END_WITHIN: Duration = Duration::from_secs(40);

/// How an app is started: its directory under `sdk-tests`, the program, and whether it is JavaScript.
#[derive(Clone, Copy)]
struct App {
    name: &'static str,
    dir: &'static str,
    entry: &'static str,
    javascript: bool,
}

const APPS: [App; 4] = [
    App { name: "js_v4", dir: "js-v4", entry: "app.mjs", javascript: true },
    App { name: "js_v3", dir: "js-v3", entry: "app.mjs", javascript: true },
    App { name: "python_fastapi", dir: "python", entry: "fastapi_app.py", javascript: false },
    App { name: "python_flask", dir: "python", entry: "flask_app.py", javascript: false },
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
        failing("failure", "sdk/failure", "cannot go on", &[("before", 1), ("onFailure: cannot go on", 1)]),
        failing("exhausted", "sdk/exhausted", "never works", &[("hopeless", 2), ("onFailure: never works", 1)]),
        scenario("function_error", "sdk/function-error", json!({}), json!({}), &[("before", 1), ("body", 2)]),
        failing("error_cause", "sdk/error-cause", "outer", &[]),
        scenario("fan_out", "sdk/fan-out", json!({}), json!({}), &[]),
        scenario("big_output", "sdk/big-output", json!({ "size": 200_000 }), json!({ "bytes": 200_000 }), &[]),
    ]
}

/// Runs every scenario on every app.
pub(crate) fn run() -> anyhow::Result<Totals> {
    anyhow::ensure!(
        process::succeeds(&mut command("cargo", ["build", "--release", "-p", "inngest-cli"]))?,
        "no server"
    );
    let python = install()?;
    let mut totals = Totals::default();
    for app in APPS {
        let results = Tested::start(app, &python).and_then(Tested::run);
        match results {
            Ok(results) => {
                for (name, problem) in results {
                    let result = problem.as_ref().map_or("ok", |_| "FAILED");
                    println!("test sdk::{}::{name} ... {result}", app.name);
                    if let Some(problem) = &problem {
                        println!("    {problem}");
                    }
                    totals.add(Totals::of(problem.is_none()));
                }
            }
            Err(error) => {
                println!("test sdk::{} ... FAILED\n    {error:#}", app.name);
                totals.add(Totals::of(false));
            }
        }
    }
    Ok(totals)
}

/// Installs the packages of all apps; returns the Python to use.
fn install() -> anyhow::Result<PathBuf> {
    for dir in ["js-v4", "js-v3"] {
        let mut npm = command("npm", ["ci", "--no-audit", "--no-fund", "--loglevel=error"]);
        anyhow::ensure!(
            process::succeeds(npm.current_dir(Path::new("sdk-tests").join(dir)))?,
            "npm ci failed in {dir}"
        );
    }
    let venv = std::env::current_dir()?.join("target/sdk-tests/python");
    let python = venv.join("bin/python");
    if !python.exists() {
        anyhow::ensure!(process::succeeds(command("python3", ["-m", "venv"]).arg(&venv))?, "python3 -m venv failed");
    }
    let program = python.display().to_string();
    let pip =
        ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", "sdk-tests/python/requirements.txt"];
    anyhow::ensure!(process::succeeds(&mut command(&program, pip))?, "pip install failed");
    Ok(python)
}

/// An app and the server it works with.
struct Tested {
    app: App,
    dir: tempfile::TempDir,
    server_port: u16,
    app_port: u16,
    server: Running,
    _process: Running,
}

/// A test that is more than one event and its run.
type Test = fn(&mut Tested) -> anyhow::Result<()>;

/// The name of a scenario, and what was wrong.
type Outcome = (String, Option<String>);

impl Tested {
    fn start(app: App, python: &Path) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let (server_port, app_port) = (free_port()?, free_port()?);
        let server = start_server(dir.path(), server_port, app_port)?;
        let program = if app.javascript { "node".to_owned() } else { python.display().to_string() };
        let log = File::create(dir.path().join("app.log"))?;
        let mut process = command(&program, [app.entry]);
        process
            .current_dir(Path::new("sdk-tests").join(app.dir))
            .env("INNGEST_DEV", format!("http://127.0.0.1:{server_port}"))
            .env("PORT", app_port.to_string())
            .stdout(log.try_clone()?)
            .stderr(log);
        let process = Running::start(&mut process)?;
        let tested = Self { app, dir, server_port, app_port, server, _process: process };
        wait_for("the app's functions are registered", Duration::from_secs(30), || {
            let functions = get(&tested.url("/api/v1/functions?limit=100"))?;
            functions["data"].as_array().filter(|functions| !functions.is_empty()).map(drop)
        })
        .with_context(|| tested.logs())?;
        Ok(tested)
    }

    fn run(mut self) -> anyhow::Result<Vec<Outcome>> {
        let scenarios = scenarios();
        let mut events = Vec::new();
        for scenario in &scenarios {
            events.push(self.send(scenario.event, &scenario.data)?);
        }
        let mut outcomes: Vec<Outcome> = Vec::new();
        for (scenario, event) in scenarios.iter().zip(&events) {
            outcomes
                .push((scenario.name.to_owned(), self.check(scenario, event).err().map(|error| format!("{error:#}"))));
        }
        let named: [(&str, Test); 4] = [
            ("client_send", Self::client_send),
            ("fan_out_children", Self::fan_out_children),
            ("crash_asleep", |tested| tested.crash("sdk/crash-asleep", &["a", "b", "c"], "c", &["d", "e", "f"])),
            ("crash_awake", |tested| tested.crash("sdk/crash-awake", &["before"], "slow", &["after"])),
        ];
        for (name, test) in named {
            outcomes.push((name.to_owned(), test(&mut self).err().map(|error| format!("{error:#}"))));
        }
        if outcomes.iter().any(|(_, problem)| problem.is_some()) {
            println!("{}", self.logs());
        }
        Ok(outcomes)
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.server_port)
    }

    fn app_url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.app_port)
    }

    fn send(&self, name: &str, data: &Value) -> anyhow::Result<String> {
        let reply = post(&self.url("/e/test"), &json!({ "name": name, "data": data }))?;
        Ok(reply["ids"][0].as_str().context("no id in the reply")?.to_owned())
    }

    /// The one run of an event, once it has ended.
    fn ended(&self, event: &str) -> anyhow::Result<Value> {
        wait_for(&format!("the run of event {event} has ended"), END_WITHIN, || {
            let runs = get(&self.url(&format!("/v1/events/{event}/runs")))?;
            let run = runs["data"].get(0)?;
            (!run["ended_at"].is_null()).then(|| run.clone())
        })
    }

    /// How often each part of a run was executed.
    fn executed(&self, run: &str) -> anyhow::Result<BTreeMap<String, usize>> {
        let journal = get(&self.app_url(&format!("/log/{run}"))).context("the app has no journal")?;
        let mut counts = BTreeMap::new();
        for entry in journal["entries"].as_array().context("entries")? {
            *counts.entry(entry["step"].as_str().unwrap_or_default().to_owned()).or_insert(0) += 1;
        }
        Ok(counts)
    }

    fn check(&self, scenario: &Scenario, event: &str) -> anyhow::Result<()> {
        let run = self.ended(event)?;
        anyhow::ensure!(run["status"] == scenario.status, "the run is {}: {}", run["status"], run["output"]);
        for (key, value) in scenario.output.as_object().context("expected outputs are objects")? {
            anyhow::ensure!(run["output"][key] == *value, "output {key} is {}, not {value}", run["output"][key]);
        }
        let id = run["run_id"].as_str().context("run_id")?;
        for (part, count) in scenario.executed {
            // A failure handler runs after the run has ended.
            let what = format!("{part} is executed {count} times");
            wait_for(&what, Duration::from_secs(5), || {
                let executed = self.executed(id).ok()?.get(*part).copied().unwrap_or(0);
                (executed == *count).then_some(())
            })
            .with_context(|| format!("executed: {:?}", self.executed(id)))?;
        }
        Ok(())
    }

    /// An event sent through the SDK's own client.
    fn client_send(&mut self) -> anyhow::Result<()> {
        let event = json!({ "name": "sdk/hello", "data": { "name": "client" } });
        let reply = post(&self.app_url("/send"), &event)?;
        let id = reply["ids"][0].as_str().with_context(|| format!("no id in {reply}"))?;
        let run = self.ended(id)?;
        anyhow::ensure!(run["output"]["greeting"] == "hello client", "{run}");
        Ok(())
    }

    /// Each event that a step sends starts a run of its own, once.
    fn fan_out_children(&mut self) -> anyhow::Result<()> {
        let event = self.send("sdk/fan-out", &json!({}))?;
        let run = self.ended(&event)?;
        let ids = run["output"]["ids"].as_array().with_context(|| format!("no ids in {run}"))?.clone();
        let mut products = Vec::new();
        for id in &ids {
            products.push(self.ended(id.as_str().context("id")?)?["output"].as_i64());
        }
        anyhow::ensure!(products == [Some(10), Some(20), Some(30)], "{products:?}");
        Ok(())
    }

    /// Kills the server once `until` was executed; what was memoised before must not be executed again.
    fn crash(&mut self, event: &str, memoised: &[&str], until: &str, after: &[&str]) -> anyhow::Result<()> {
        let event = self.send(event, &json!({}))?;
        let run = wait_for("the run is listed", END_WITHIN, || {
            let runs = get(&self.url(&format!("/v1/events/{event}/runs")))?;
            Some(runs["data"].get(0)?["run_id"].as_str()?.to_owned())
        })?;
        wait_for(&format!("{until} is executed"), END_WITHIN, || self.executed(&run).ok()?.get(until).map(drop))?;
        // Where the run sleeps, its last step must be on disk first: that is what the test is about.
        wait_for("the steps before are recorded", END_WITHIN, || {
            let actions = get(&self.url(&format!("/v1/runs/{run}/actions")))?;
            let recorded = actions["data"].as_array()?.iter().filter(|action| action["op"] == "StepRun").count();
            (recorded >= memoised.len()).then_some(())
        })?;
        self.server.kill()?;
        self.server = start_server(self.dir.path(), self.server_port, self.app_port)?;
        let ended = self.ended(&event)?;
        anyhow::ensure!(ended["status"] == "Completed", "the run is {}: {}", ended["status"], ended["output"]);
        let executed = self.executed(&run)?;
        for part in memoised.iter().chain(after) {
            anyhow::ensure!(executed.get(*part) == Some(&1), "{part} was not executed exactly once: {executed:?}");
        }
        Ok(())
    }

    fn logs(&self) -> String {
        let read = |name: &str| {
            let text = std::fs::read_to_string(self.dir.path().join(name)).unwrap_or_default();
            text.lines().rev().take(15).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("\n")
        };
        format!("{}: server:\n{}\napp:\n{}", self.app.name, read("server.log"), read("app.log"))
    }
}

fn start_server(dir: &Path, port: u16, app_port: u16) -> anyhow::Result<Running> {
    let log = std::fs::OpenOptions::new().create(true).append(true).open(dir.join("server.log"))?;
    let (data, url) = (dir.join("data"), format!("http://127.0.0.1:{app_port}/api/inngest"));
    let mut server =
        command("target/release/inngest", ["dev", "--host", "127.0.0.1", "--strict-port", "--no-discovery"]);
    server
        .args(["--retry-interval", "1", "--persist", "--port", &port.to_string(), "-u", &url, "--sqlite-dir"])
        .arg(data);
    let began = Instant::now();
    let server = Running::start(server.stdout(log.try_clone()?).stderr(log))?;
    wait_for("healthy", Duration::from_secs(10), || get(&format!("http://127.0.0.1:{port}/health")))?;
    anyhow::ensure!(began.elapsed() < Duration::from_secs(3), "the start took {:?}", began.elapsed());
    Ok(server)
}
