//! A server and a stub app for one test.

use std::path::Path;
use std::time::Duration;

use inngest_testkit::server::Options;
use inngest_testkit::{Call, Client, Server, StubApp, StubFunction, wait_until};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Generous for a loaded CI machine; every wait ends as soon as its condition holds.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// A server with one registered app, in a directory of its own.
pub(crate) struct World {
    pub(crate) server: Server,
    pub(crate) app: StubApp,
    _dir: TempDir,
}

pub(crate) fn options(dir: &Path) -> Options {
    Options::new(env!("CARGO_BIN_EXE_inngest"), dir).unwrap()
}

impl World {
    /// A server with an app `app` of these functions.
    pub(crate) async fn of(functions: Vec<StubFunction>) -> Self {
        Self::with(&[], functions).await
    }

    /// As [`World::of`], with more arguments of the server.
    pub(crate) async fn with(args: &[&str], functions: Vec<StubFunction>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut options = options(dir.path());
        options.args.extend(args.iter().copied().map(str::to_owned));
        let server = Server::start(options).await.unwrap();
        let app = StubApp::serve("app", functions).await.unwrap();
        app.register(server.client()).await.unwrap();
        Self { server, app, _dir: dir }
    }

    pub(crate) fn client(&self) -> &Client {
        self.server.client()
    }

    /// Sends one event.
    pub(crate) async fn send(&self, name: &str, data: Value) -> String {
        self.client().send(&json!({ "name": name, "data": data })).await.unwrap().remove(0)
    }

    /// Sends one event and waits for the end of the one run it starts.
    pub(crate) async fn run(&self, name: &str, data: Value) -> Value {
        let event = self.send(name, data).await;
        self.ended(&event).await
    }

    /// The one run of an event, once it has ended.
    pub(crate) async fn ended(&self, event: &str) -> Value {
        match self.client().ended_runs(event, 1, SOON).await {
            Ok(mut runs) => runs.remove(0),
            Err(error) => {
                let runs = self.client().runs_of(event).await;
                panic!("{error:#}\n{runs:?}\n{}", self.server.log())
            }
        }
    }

    /// The call of this number to a function, counted from 0, once it is there.
    pub(crate) async fn call(&self, function: &str, number: usize) -> Call {
        let call = wait_until("a call", SOON, async || self.app.calls_of(function).get(number).cloned()).await;
        call.unwrap_or_else(|error| panic!("{error:#}\n{}", self.server.log()))
    }

    /// The one run of an event, as soon as it shows.
    pub(crate) async fn run_of(&self, event: &str) -> String {
        let found = wait_until("a run", SOON, async || {
            let runs = self.client().runs_of(event).await.ok()?;
            Some(runs.first()?["run_id"].as_str()?.to_owned())
        });
        found.await.unwrap_or_else(|error| panic!("{error:#}\n{}", self.server.log()))
    }

    /// Waits until a step of the run of an event has this status, and returns the id of the run.
    pub(crate) async fn pending(&self, event: &str, status: &str) -> String {
        let id = self.run_of(event).await;
        let path = format!("/v1/runs/{id}/actions");
        let found = wait_until(status, SOON, async || {
            let actions = self.client().get(&path).await.ok()?;
            actions["data"].as_array()?.iter().any(|step| step["status"] == status).then_some(())
        });
        found.await.unwrap_or_else(|error| panic!("{error:#}\n{}", self.server.log()));
        id
    }

    /// SIGKILL and start again.
    pub(crate) async fn kill_and_restart(mut self) -> Self {
        self.server = self.server.kill_and_restart(Vec::new()).await.unwrap();
        self
    }
}

/// Times of the calls, as attempt numbers.
pub(crate) fn attempts(app: &StubApp, function: &str) -> Vec<u64> {
    app.calls_of(function).iter().map(inngest_testkit::Call::attempt).collect()
}
