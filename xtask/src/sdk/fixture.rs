//! An app and its server, and the questions the scenarios ask them.

use std::fs::{self, File, OpenOptions};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Binary, app::App, scenario};
use crate::process::{Running, command, free_port, get, post, wait_for};

/// A run ends, or an app answers, within this time, or the scenario fails.
const LIMIT: Duration = Duration::from_secs(60);

/// Lines of each log that a failed test shows.
const LOG_TAIL: usize = 60;

/// A running app with a running server; both are killed when this value goes.
pub(super) struct Fixture {
    pub(super) app: &'static App,
    app_url: String,
    server_url: String,
    server: Running,
    binary: Binary,
    dir: TempDir,
    _app: Running,
}

impl Fixture {
    pub(super) fn start(app: &'static App, binary: &Binary) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let (app_port, server_port) = (free_port()?, free_port()?);
        let (app_url, server_url) = (format!("http://127.0.0.1:{app_port}"), format!("http://127.0.0.1:{server_port}"));
        let log = File::create(dir.path().join("app.log"))?;
        let mut command = app.command(app_port, &server_url)?;
        let process = Running::start(command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log))?;
        wait_for("the app answers", LIMIT, || get(&format!("{app_url}/log/none")))
            .with_context(|| fs::read_to_string(dir.path().join("app.log")).unwrap_or_default())?;
        let server = start_server(binary, &dir, server_port, &app_url)?;
        let fixture = Self { app, app_url, server_url, server, binary: binary.clone(), dir, _app: process };
        fixture.wait_until_registered().with_context(|| fixture.logs())?;
        Ok(fixture)
    }

    fn wait_until_registered(&self) -> anyhow::Result<()> {
        let slug = format!("{}-{}", self.app.id, scenario::LAST_FUNCTION);
        wait_for("the app is registered", LIMIT, || {
            let known = get(&format!("{}/dev", self.server_url))?;
            known["functions"].as_array()?.iter().any(|function| function["slug"] == slug.as_str()).then_some(())
        })
    }

    /// SIGKILL to the server, and a new one on the same data and port.
    pub(super) fn crash(&mut self) -> anyhow::Result<()> {
        self.server.kill()?;
        let port = self.server_url.rsplit(':').next().context("the URL has a port")?.parse()?;
        self.server = start_server(&self.binary, &self.dir, port, &self.app_url)?;
        wait_for("healthy after the crash", LIMIT, || get(&format!("{}/health", self.server_url)))?;
        Ok(())
    }

    /// The ends of both logs.
    pub(super) fn logs(&self) -> String {
        let tail = |name: &str| {
            let text = fs::read_to_string(self.dir.path().join(name)).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            format!("--- {name}\n{}\n", lines[lines.len().saturating_sub(LOG_TAIL)..].join("\n"))
        };
        tail("server.log") + &tail("app.log")
    }

    /// Sends an event to the event API and returns its id.
    pub(super) fn send(&self, event: &Value) -> anyhow::Result<String> {
        one_id(&post(&format!("{}/e/key", self.server_url), event)?)
    }

    /// Lets the app send an event with its SDK.
    pub(super) fn send_by_sdk(&self, name: &str, data: &Value) -> anyhow::Result<String> {
        one_id(&post(&format!("{}/send", self.app_url), &json!({ "name": name, "data": data }))?)
    }

    /// The runs of an event as they are now.
    pub(super) fn runs(&self, event: &str) -> anyhow::Result<Vec<Value>> {
        let answer = get(&format!("{}/v1/events/{event}/runs", self.server_url)).context("the runs of an event")?;
        Ok(answer["data"].as_array().cloned().unwrap_or_default())
    }

    /// The only run of an event, once it has ended.
    pub(super) fn ended(&self, event: &str) -> anyhow::Result<Run> {
        wait_for("the run has ended", LIMIT, || {
            let runs = self.runs(event).ok()?;
            let [run] = runs.as_slice() else { return None };
            let status = run["status"].as_str()?.to_owned();
            let is_final = matches!(status.as_str(), "Completed" | "Failed" | "Cancelled");
            is_final.then(|| Run { id: run["run_id"].as_str().unwrap_or_default().to_owned(), status, output: run["output"].clone() })
        })
        .with_context(|| format!("its runs: {:?}", self.runs(event)))
    }

    /// The id of the only run of an event, once there is one.
    pub(super) fn begun(&self, event: &str) -> anyhow::Result<String> {
        wait_for("the run has begun", LIMIT, || Some(self.runs(event).ok()?.first()?["run_id"].as_str()?.to_owned()))
    }

    /// Sends an event and returns its run once it has completed.
    pub(super) fn completes(&self, name: &str, data: &Value) -> anyhow::Result<Run> {
        self.ended(&self.send(&json!({ "name": name, "data": data }))?)?.with_status("Completed")
    }

    /// What the app executed of a run.
    pub(super) fn journal(&self, run: &str) -> anyhow::Result<Journal> {
        let answer = get(&format!("{}/log/{run}", self.app_url)).context("the journal")?;
        let entries = answer["entries"].as_array().context("entries")?.iter();
        Ok(Journal(entries.map(|entry| (entry["step"].as_str().unwrap_or_default().to_owned(), entry["at"].as_i64().unwrap_or(0))).collect()))
    }

    /// Waits until the app has executed `step` of a run.
    pub(super) fn until_executed(&self, run: &str, step: &str) -> anyhow::Result<Journal> {
        wait_for(&format!("{step:?} is executed"), LIMIT, || self.journal(run).ok().filter(|journal| journal.count(step) > 0))
    }

    /// The app's clock, in milliseconds: its journal is compared with it.
    pub(super) fn now(&self) -> anyhow::Result<i64> {
        get(&format!("{}/log/none", self.app_url)).and_then(|answer| answer["now"].as_i64()).context("the app's clock")
    }
}

fn start_server(binary: &Binary, dir: &TempDir, port: u16, app_url: &str) -> anyhow::Result<Running> {
    let log = OpenOptions::new().create(true).append(true).open(dir.path().join("server.log"))?;
    let path = binary.path.display().to_string();
    let url = format!("{app_url}/api/inngest");
    let port = port.to_string();
    let mut server =
        command(&path, ["dev", "--no-discovery", "--no-poll", "--retry-interval", "1", "--port", &port, "-u", &url]);
    if binary.ours {
        server.args(["--host", "127.0.0.1", "--strict-port", "--persist", "--sqlite-dir"]).arg(dir.path().join("data"));
    }
    Running::start(server.current_dir(dir.path()).stdout(log.try_clone()?).stderr(log))
}

fn one_id(answer: &Value) -> anyhow::Result<String> {
    Ok(answer["ids"][0].as_str().with_context(|| format!("no id in {answer}"))?.to_owned())
}

/// A run that has ended.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) id: String,
    status: String,
    pub(super) output: Value,
}

impl Run {
    pub(super) fn with_status(self, wanted: &str) -> anyhow::Result<Self> {
        anyhow::ensure!(self.status == wanted, "{} and not {wanted}: {}", self.status, self.output);
        Ok(self)
    }

    pub(super) fn with_output(self, wanted: &Value) -> anyhow::Result<Self> {
        anyhow::ensure!(self.output == *wanted, "output {} and not {wanted}", self.output);
        Ok(self)
    }
}

/// What an app executed of one run, with its times in milliseconds, in order.
#[derive(Debug)]
pub(super) struct Journal(Vec<(String, i64)>);

impl Journal {
    pub(super) fn count(&self, step: &str) -> usize {
        self.times(step).len()
    }

    pub(super) fn times(&self, step: &str) -> Vec<i64> {
        self.0.iter().filter(|(name, _)| name == step).map(|(_, at)| *at).collect()
    }

    /// Fails unless each step was executed as often as said, and nothing else was.
    pub(super) fn must_be(&self, wanted: &[(&str, usize)]) -> anyhow::Result<()> {
        for (step, times) in wanted {
            anyhow::ensure!(self.count(step) == *times, "{step:?} was executed {} times and not {times}: {self:?}", self.count(step));
        }
        let total: usize = wanted.iter().map(|(_, times)| times).sum();
        anyhow::ensure!(total == self.0.len(), "more was executed than {wanted:?}: {self:?}");
        Ok(())
    }
}
