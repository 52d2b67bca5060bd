//! An app, the server it works with, and how they are spoken to.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::{Value, json};

use super::App;
use crate::process::{Running, command, free_port, get, post, wait_for};

/// A scenario ends within this time, retries included.
pub(crate) const END_WITHIN: Duration = Duration::from_secs(40);

/// The server under test.
#[derive(Clone)]
pub(crate) struct Binary {
    pub(crate) path: PathBuf,
    /// It takes the Go server's flags, and forgets everything when it is killed.
    pub(crate) is_foreign: bool,
}

/// An app and the server it works with; both end with this value.
pub(crate) struct Tested {
    pub(crate) app: &'static App,
    pub(crate) binary: Binary,
    dir: tempfile::TempDir,
    server_port: u16,
    app_port: u16,
    server: Running,
    _process: Running,
    /// How often runs were asked for.
    asked: Cell<u64>,
}

impl Tested {
    /// Starts the server and the app, and waits until the server knows the app's functions.
    pub(crate) fn start(app: &'static App, mut process: Command, binary: &Binary) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let (server_port, app_port) = (free_port()?, free_port()?);
        let server = start_server(binary, dir.path(), server_port, app_port)?;
        let log = File::create(dir.path().join("app.log"))?;
        process
            .current_dir(app.directory())
            .env("INNGEST_DEV", format!("http://127.0.0.1:{server_port}"))
            .env("PORT", app_port.to_string())
            .stdout(log.try_clone()?)
            .stderr(log);
        let process = Running::start(&mut process)?;
        let asked = Cell::new(0);
        let tested = Self { app, binary: binary.clone(), dir, server_port, app_port, server, _process: process, asked };
        wait_for("the app's functions are registered", Duration::from_secs(30), || {
            let known = get(&tested.url("/dev"))?;
            known["functions"].as_array().filter(|functions| !functions.is_empty()).map(drop)
        })
        .with_context(|| tested.logs())?;
        Ok(tested)
    }

    /// A URL of the server.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.server_port)
    }

    /// A URL of the app.
    pub(crate) fn app_url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.app_port)
    }

    /// Sends an event; its id.
    pub(crate) fn send(&self, name: &str, data: &Value) -> anyhow::Result<String> {
        self.post_event(&json!({ "name": name, "data": data }))
    }

    /// Sends an event as it is given; its id.
    pub(crate) fn post_event(&self, event: &Value) -> anyhow::Result<String> {
        let reply = post(&self.url("/e/test"), event)?;
        Ok(reply["ids"][0].as_str().context("no id in the reply")?.to_owned())
    }

    /// The app's clock, in milliseconds: its journal is compared with it.
    pub(crate) fn now(&self) -> anyhow::Result<i64> {
        get(&self.app_url("/log/none")).and_then(|journal| journal["now"].as_i64()).context("the app's clock")
    }

    /// When a part of a run was executed, each time, in milliseconds.
    pub(crate) fn times(&self, run: &str, part: &str) -> anyhow::Result<Vec<i64>> {
        let journal = get(&self.app_url(&format!("/log/{run}"))).context("the app has no journal")?;
        let entries = journal["entries"].as_array().context("entries")?.iter().filter(|entry| entry["step"] == part);
        entries.map(|entry| entry["at"].as_i64().context("the time of an entry")).collect()
    }

    /// How often each part of a run was executed.
    pub(crate) fn executed(&self, run: &str) -> anyhow::Result<BTreeMap<String, usize>> {
        let journal = get(&self.app_url(&format!("/log/{run}"))).context("the app has no journal")?;
        let mut counts = BTreeMap::new();
        for entry in journal["entries"].as_array().context("entries")? {
            *counts.entry(entry["step"].as_str().unwrap_or_default().to_owned()).or_insert(0) += 1;
        }
        Ok(counts)
    }

    /// The runs of an event.
    pub(crate) fn runs_of(&self, event: &str) -> Option<Vec<Value>> {
        // The Go server remembers its answer to a URL for 15 s.
        self.asked.set(self.asked.get() + 1);
        let runs = get(&self.url(&format!("/v1/events/{event}/runs?asked={}", self.asked.get())))?;
        runs["data"].as_array().cloned()
    }

    /// The one run of an event, once it has ended.
    pub(crate) fn ended(&self, event: &str) -> anyhow::Result<Value> {
        self.ended_while(event, &[])
    }

    /// The one run of an event, once it has ended; until then the bodies are posted to the paths, again and again.
    pub(crate) fn ended_while(&self, event: &str, posts: &[(&str, Value)]) -> anyhow::Result<Value> {
        let mut run = wait_for(&format!("the run of event {event} has ended"), END_WITHIN, || {
            let run = self.runs_of(event)?.first().filter(|run| !run["ended_at"].is_null()).cloned();
            if run.is_none() {
                for (path, body) in posts {
                    // Refused while the run does not wait yet.
                    post(&self.url(path), body).ok();
                }
            }
            run
        })?;
        if self.binary.is_foreign && run["output"] == "" {
            let output =
                wait_for("the output is listed", Duration::from_secs(5), || self.completed_output(&run["run_id"]));
            run["output"] = output.unwrap_or_default();
        }
        Ok(run)
    }

    /// The output of a run that a `RunComplete` has ended. The Go server's REST API lists it as empty.
    fn completed_output(&self, run: &Value) -> Option<Value> {
        let query = json!({ "query": format!("{{ run(runID: {run}) {{ output }} }}") });
        let reply = post(&self.url("/v0/gql"), &query).ok()?;
        let ops: Value = serde_json::from_str(reply["data"]["run"]["output"].as_str()?).ok()?;
        Some(ops[0]["data"].clone())
    }

    /// Milliseconds between the first execution of one part of a run and the last one of another.
    pub(crate) fn must_pass(
        &self,
        run: &str,
        first: &str,
        last: &str,
        wanted: std::ops::Range<i64>,
    ) -> anyhow::Result<()> {
        let began = *self.times(run, first)?.first().with_context(|| format!("{first} was not executed"))?;
        let ended = *self.times(run, last)?.last().with_context(|| format!("{last} was not executed"))?;
        let passed = ended - began;
        anyhow::ensure!(wanted.contains(&passed), "{passed} ms passed between {first} and {last}, not {wanted:?}");
        Ok(())
    }

    /// Kills the server under the app and starts it again on its data.
    pub(crate) fn crash_server(&mut self) -> anyhow::Result<()> {
        self.server.kill()?;
        self.server = start_server(&self.binary, self.dir.path(), self.server_port, self.app_port)?;
        Ok(())
    }

    /// The ends of both logs.
    pub(crate) fn logs(&self) -> String {
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
