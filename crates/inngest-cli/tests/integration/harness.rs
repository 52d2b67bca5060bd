//! A server and a stub app for one test.

use std::path::Path;
use std::time::Duration;

use inngest_testkit::server::Options;
use inngest_testkit::{Client, Server, StubApp, StubFunction};
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
        let dir = tempfile::tempdir().unwrap();
        let server = Server::start(options(dir.path())).await.unwrap();
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
