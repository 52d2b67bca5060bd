//! Real apps on unmodified SDK packages, run through the same scenarios on a real server process.
//!
//! Every app serves the same functions (`sdk-tests/`) and keeps a journal of what it executed, so that a step
//! that ran twice is seen. Scenarios of one app run side by side; then the server is killed under the app.
//!
//! `INNGEST_SDK_APP=js_v4` runs one app only. `INNGEST_SDK_SERVER=PATH` tests another binary that takes the flags of the
//! Go server's `dev`: it is given no data directory, so the crashes are left out.

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

/// Runs that a crash meets at a time.
const CRASHED_RUNS: usize = 5;

/// The server under test.
#[derive(Clone)]
struct Binary {
    path: PathBuf,
    /// It takes the Go server's flags, and forgets everything when it is killed.
    is_foreign: bool,
}

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

/// Runs every scenario on every app.
pub(crate) fn run() -> anyhow::Result<Totals> {
    let only = std::env::var("INNGEST_SDK_APP").ok();
    let apps: Vec<App> = APPS.into_iter().filter(|app| only.as_deref().is_none_or(|only| only == app.name)).collect();
    anyhow::ensure!(!apps.is_empty(), "INNGEST_SDK_APP names none of {:?}", APPS.map(|app| app.name));
    let binary = binary()?;
    let python = install()?;
    let mut totals = Totals::default();
    for app in apps {
        let results = Tested::start(app, &python, &binary).and_then(Tested::run);
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

fn binary() -> anyhow::Result<Binary> {
    if let Some(path) = std::env::var_os("INNGEST_SDK_SERVER") {
        return Ok(Binary { path: path.into(), is_foreign: true });
    }
    let built = process::succeeds(&mut command("cargo", ["build", "--release", "-p", "inngest-cli"]))?;
    anyhow::ensure!(built, "no server");
    Ok(Binary { path: "target/release/inngest".into(), is_foreign: false })
}

/// Installs the packages of all apps; returns the Python to use.
fn install() -> anyhow::Result<PathBuf> {
    for dir in ["js-v4", "js-v3"] {
        let dir = Path::new("sdk-tests").join(dir);
        once(&dir.join("package-lock.json"), &dir.join("node_modules"), || {
            let mut npm = command("npm", ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]);
            anyhow::ensure!(process::succeeds(npm.current_dir(&dir))?, "npm ci failed in {}", dir.display());
            Ok(())
        })?;
    }
    let venv = std::env::current_dir()?.join("target/sdk-tests/python");
    let python = venv.join("bin/python");
    let pins = Path::new("sdk-tests/python/requirements.txt");
    once(pins, &venv, || {
        let mut make = command("python3", ["-m", "venv", "--clear"]);
        anyhow::ensure!(process::succeeds(make.arg(&venv))?, "python3 -m venv failed");
        let mut pip =
            command(&python.display().to_string(), ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
        anyhow::ensure!(process::succeeds(pip.arg("-r").arg(pins))?, "pip install failed");
        Ok(())
    })?;
    Ok(python)
}

/// Installs into a directory unless that was done with the same pins before.
fn once(pins: &Path, directory: &Path, install: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
    let wanted = std::fs::read_to_string(pins).with_context(|| pins.display().to_string())?;
    let stamp = directory.join(".installed");
    if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    install()?;
    Ok(std::fs::write(stamp, wanted)?)
}

/// An app and the server it works with.
struct Tested {
    app: App,
    binary: Binary,
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
    fn start(app: App, python: &Path, binary: &Binary) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let (server_port, app_port) = (free_port()?, free_port()?);
        let server = start_server(binary, dir.path(), server_port, app_port)?;
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
        let tested = Self { app, binary: binary.clone(), dir, server_port, app_port, server, _process: process };
        wait_for("the app's functions are registered", Duration::from_secs(30), || {
            let known = get(&tested.url("/dev"))?;
            known["functions"].as_array().filter(|functions| !functions.is_empty()).map(drop)
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
        let named: [(&str, Test); 7] = [
            ("client_send", Self::client_send),
            ("fan_out_children", Self::fan_out_children),
            ("future_event", Self::future_event),
            ("same_event_id", Self::same_event_id),
            ("many_runs", Self::many_runs),
            ("crash_asleep", |tested| tested.crash("sdk/crash-asleep", &["a", "b", "c"], "c", &["d", "e", "f"])),
            ("crash_awake", |tested| tested.crash("sdk/crash-awake", &["before"], "slow", &["after"])),
        ];
        for (name, test) in named {
            if self.binary.is_foreign && name.starts_with("crash") {
                continue;
            }
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
        self.post_event(&json!({ "name": name, "data": data }))
    }

    fn post_event(&self, event: &Value) -> anyhow::Result<String> {
        let reply = post(&self.url("/e/test"), event)?;
        Ok(reply["ids"][0].as_str().context("no id in the reply")?.to_owned())
    }

    /// The app's clock, in milliseconds: its journal is compared with it.
    fn now(&self) -> anyhow::Result<i64> {
        get(&self.app_url("/log/none")).and_then(|journal| journal["now"].as_i64()).context("the app's clock")
    }

    /// When a part of a run was executed, each time, in milliseconds.
    fn times(&self, run: &str, part: &str) -> anyhow::Result<Vec<i64>> {
        let journal = get(&self.app_url(&format!("/log/{run}"))).context("the app has no journal")?;
        let entries = journal["entries"].as_array().context("entries")?.iter().filter(|entry| entry["step"] == part);
        entries.map(|entry| entry["at"].as_i64().context("the time of an entry")).collect()
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
        self.details(scenario.name, &run["output"], id)
    }

    /// What a table of outputs and counts cannot say.
    fn details(&self, scenario: &str, output: &Value, run: &str) -> anyhow::Result<()> {
        match scenario {
            // Python names the moment of waking, some milliseconds before the server hears of it.
            "sleep" => self.must_pass(run, "before", "after", 990..6_000),
            // The server's own interval is 1 s. `Retry-After` is in whole seconds, hence less than 3 s.
            "retry_after" => self.must_pass(run, "late", "late", 2_000..9_000),
            "function_error" => {
                // A checkpoint makes attempts start anew; only JS v4 checkpoints by itself.
                let attempt = if self.app.name == "js_v4" { 0 } else { 1 };
                anyhow::ensure!(output["attempt"] == attempt, "attempt {} and not {attempt}", output["attempt"]);
                Ok(())
            }
            "error_cause" => {
                let cause = &output["cause"]["message"];
                anyhow::ensure!(!self.app.javascript || cause == "inner", "the cause is {cause}");
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

    /// Milliseconds between the first execution of one part of a run and the last one of another.
    fn must_pass(&self, run: &str, first: &str, last: &str, wanted: std::ops::Range<i64>) -> anyhow::Result<()> {
        let began = *self.times(run, first)?.first().with_context(|| format!("{first} was not executed"))?;
        let ended = *self.times(run, last)?.last().with_context(|| format!("{last} was not executed"))?;
        let passed = ended - began;
        anyhow::ensure!(wanted.contains(&passed), "{passed} ms passed between {first} and {last}, not {wanted:?}");
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

    /// A time in the future, told by the event, is when its run starts.
    fn future_event(&mut self) -> anyhow::Result<()> {
        let due = self.now()? + 2_000;
        let event = json!({ "name": "sdk/hello", "ts": due, "data": { "name": "later" } });
        let run = self.ended(&self.post_event(&event)?)?;
        let began = self.times(run["run_id"].as_str().context("run_id")?, "body")?;
        anyhow::ensure!(began.len() == 1 && began[0] >= due, "called at {began:?}, due at {due}");
        Ok(())
    }

    /// Two events with the same id are one run.
    fn same_event_id(&mut self) -> anyhow::Result<()> {
        let event = json!({ "name": "sdk/hello", "id": format!("same-{}", self.now()?), "data": { "name": "once" } });
        let first = self.post_event(&event)?;
        self.ended(&first)?;
        let second = self.post_event(&event)?;
        // A later run has ended: the second event would have had its own by now.
        self.ended(&self.send("sdk/hello", &json!({ "name": "later" }))?)?;
        let runs = get(&self.url(&format!("/v1/events/{second}/runs"))).context("its runs")?;
        let count = runs["data"].as_array().map_or(0, Vec::len);
        anyhow::ensure!(first == second || count == 0, "the second event has {count} runs");
        Ok(())
    }

    /// Runs do not get into each other's way.
    fn many_runs(&mut self) -> anyhow::Result<()> {
        let send = |n: i64| Ok((n, self.send("sdk/steps", &json!({ "n": n }))?));
        let events = (0..30).map(send).collect::<anyhow::Result<Vec<_>>>()?;
        for (n, event) in events {
            let run = self.ended(&event)?;
            anyhow::ensure!(run["output"]["one"] == n + 1, "run {n} returned {}", run["output"]);
            let executed = self.executed(run["run_id"].as_str().context("run_id")?)?;
            anyhow::ensure!(executed.len() == 3 && executed.values().all(|count| *count == 1), "{executed:?}");
        }
        Ok(())
    }

    /// Kills the server once `until` was executed; what was memoised before must not be executed again.
    fn crash(&mut self, event: &str, memoised: &[&str], until: &str, after: &[&str]) -> anyhow::Result<()> {
        let send = |_| self.send(event, &json!({}));
        let events = (0..CRASHED_RUNS).map(send).collect::<anyhow::Result<Vec<_>>>()?;
        let runs = events.iter().map(|event| self.stopped_at(event, until, memoised.len()));
        let runs = runs.collect::<anyhow::Result<Vec<_>>>()?;
        self.server.kill()?;
        self.server = start_server(&self.binary, self.dir.path(), self.server_port, self.app_port)?;
        for (event, run) in events.iter().zip(&runs) {
            let ended = self.ended(event)?;
            anyhow::ensure!(ended["status"] == "Completed", "the run is {}: {}", ended["status"], ended["output"]);
            let executed = self.executed(run)?;
            for part in memoised.iter().chain(after) {
                anyhow::ensure!(executed.get(*part) == Some(&1), "{part} was not executed exactly once: {executed:?}");
            }
        }
        Ok(())
    }

    /// The run of an event, once it has executed `part` and the steps before are recorded.
    fn stopped_at(&self, event: &str, part: &str, recorded: usize) -> anyhow::Result<String> {
        let run = wait_for("the run is listed", END_WITHIN, || {
            let runs = get(&self.url(&format!("/v1/events/{event}/runs")))?;
            Some(runs["data"].get(0)?["run_id"].as_str()?.to_owned())
        })?;
        wait_for(&format!("{part} is executed"), END_WITHIN, || self.executed(&run).ok()?.get(part).map(drop))?;
        // Where the run sleeps, its last step must be on disk first: that is what the test is about.
        wait_for("the steps before are recorded", END_WITHIN, || {
            let actions = get(&self.url(&format!("/v1/runs/{run}/actions")))?;
            let steps = actions["data"].as_array()?.iter().filter(|action| action["op"] == "StepRun").count();
            (steps >= recorded).then_some(())
        })?;
        Ok(run)
    }

    fn logs(&self) -> String {
        let read = |name: &str| {
            let text = std::fs::read_to_string(self.dir.path().join(name)).unwrap_or_default();
            text.lines().rev().take(15).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("\n")
        };
        format!("{}: server:\n{}\napp:\n{}", self.app.name, read("server.log"), read("app.log"))
    }
}

fn start_server(binary: &Binary, dir: &Path, port: u16, app_port: u16) -> anyhow::Result<Running> {
    let log = std::fs::OpenOptions::new().create(true).append(true).open(dir.join("server.log"))?;
    let url = format!("http://127.0.0.1:{app_port}/api/inngest");
    let mut server = command(&binary.path.display().to_string(), ["dev", "--no-discovery", "--retry-interval", "1"]);
    server.args(["--port", &port.to_string(), "-u", &url]);
    if !binary.is_foreign {
        server.args(["--host", "127.0.0.1", "--strict-port", "--persist", "--sqlite-dir"]).arg(dir.join("data"));
    }
    let began = Instant::now();
    let server = Running::start(server.stdout(log.try_clone()?).stderr(log))?;
    wait_for("healthy", Duration::from_secs(10), || get(&format!("http://127.0.0.1:{port}/health")))?;
    let took = began.elapsed();
    anyhow::ensure!(binary.is_foreign || took < Duration::from_secs(3), "the start took {took:?}");
    Ok(server)
}
