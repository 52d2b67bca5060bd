//! A server and a stub app for one test.

use std::path::Path;
use std::time::{Duration, Instant};

use inngest_testkit::server::Options;
use inngest_testkit::stub::most_at_a_time;
use inngest_testkit::{Answer, Call, Client, Server, StubApp, StubFunction, wait_until};
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

    /// Sends events of one name in one request; their ids.
    pub(crate) async fn send_all(&self, name: &str, data: impl IntoIterator<Item = Value>) -> Vec<String> {
        let events: Vec<Value> = data.into_iter().map(|data| json!({ "name": name, "data": data })).collect();
        self.client().send(&Value::Array(events)).await.unwrap()
    }

    /// The runs of these events, one each, once all have ended.
    pub(crate) async fn all_ended(&self, events: &[String]) -> Vec<Value> {
        let mut runs = Vec::new();
        for event in events {
            runs.push(self.ended(event).await);
        }
        runs
    }

    /// The calls to a function in the order of their arrival, once there are so many.
    pub(crate) async fn calls(&self, function: &str, count: usize) -> Vec<Call> {
        self.call(function, count - 1).await;
        let mut calls = self.app.calls_of(function);
        calls.sort_by_key(|call| call.span.from);
        calls
    }

    /// How many runs each of these events has started, those that were skipped left out.
    pub(crate) async fn started(&self, events: &[String]) -> Vec<usize> {
        let mut counts = Vec::new();
        for event in events {
            let runs = self.client().runs_of(event).await.unwrap();
            counts.push(runs.iter().filter(|run| run["status"] != "Skipped").count());
        }
        counts
    }

    /// Why an event has started no run: reasons, and the runs that were in the way.
    pub(crate) async fn skips(&self, event: &str) -> Vec<Value> {
        let reply = self.client().get(&format!("/v1/events/{event}/skips")).await.unwrap();
        reply["data"].as_array().unwrap().clone()
    }

    /// Keeps the server busy, without taking all of the machine, until a function was called so often.
    pub(crate) async fn busy_until(&self, function: &str, calls: usize) {
        let began = Instant::now();
        let mut tick = tokio::time::interval(Duration::from_millis(20));
        while self.app.calls_of(function).len() < calls {
            tick.tick().await;
            self.send_all("t/load", (0..4).map(|n| json!({ "n": n }))).await;
            let so_far = self.app.calls_of(function).len();
            assert!(began.elapsed() < SOON * 2, "{so_far} calls\n{}", self.server.log());
        }
    }

    /// Registers these functions of the app, and no others.
    pub(crate) async fn sync(&self, functions: &Value) -> Value {
        let mut body = self.app.registration();
        body["functions"] = functions.clone();
        let reply = self.client().post("/fn/register", &body).await.unwrap();
        assert_eq!(reply.status, 200, "{}", reply.text());
        reply.json()
    }

    /// Registers the functions of the app again, this one of them with other options.
    pub(crate) async fn reconfigure(&self, function: &str, config: Value) {
        let mut functions = self.app.registration()["functions"].clone();
        let all = functions.as_array_mut().unwrap();
        let changed = all.iter_mut().find(|known| known["name"] == function).unwrap();
        changed.as_object_mut().unwrap().extend(config.as_object().unwrap().clone());
        self.sync(&functions).await;
    }

    /// SIGKILL and start again.
    pub(crate) async fn kill_and_restart(self) -> Self {
        self.killed_for(Duration::ZERO).await
    }

    /// SIGKILL and start again after some time.
    pub(crate) async fn killed_for(mut self, pause: Duration) -> Self {
        let options = self.server.kill().await.unwrap();
        tokio::time::sleep(pause).await;
        self.server = Server::start(options).await.unwrap();
        self
    }
}

/// Times of the calls, as attempt numbers.
pub(crate) fn attempts(app: &StubApp, function: &str) -> Vec<u64> {
    app.calls_of(function).iter().map(inngest_testkit::Call::attempt).collect()
}

/// A function without steps that takes so long and gives the data of its event.
pub(crate) fn takes(id: &str, millis: u64, config: Value) -> StubFunction {
    let script = move |call: &Call| {
        let data = Answer::Return(call.body["event"]["data"].clone());
        if millis == 0 { data } else { Answer::After(Duration::from_millis(millis), Box::new(data)) }
    };
    StubFunction::new(id, &format!("t/{id}"), script).config(config)
}

/// The most of these calls that were in flight at a time.
pub(crate) fn most_in_flight<'a>(calls: impl IntoIterator<Item = &'a Call>) -> usize {
    most_at_a_time(calls.into_iter().map(|call| (call.span.from, call.span.to())))
}

/// Seconds from an instant to the arrival of each call.
pub(crate) fn seconds_from(since: Instant, calls: &[Call]) -> Vec<f64> {
    calls.iter().map(|call| (call.span.from - since).as_secs_f64()).collect()
}

/// A member of the data of the event of each call.
pub(crate) fn data_of(calls: &[Call], member: &str) -> Vec<Value> {
    calls.iter().map(|call| call.body["event"]["data"][member].clone()).collect()
}

/// The middle one and the last of a hundred of these times.
pub(crate) fn p50_and_p99(mut seconds: Vec<f64>) -> (f64, f64) {
    seconds.sort_by(f64::total_cmp);
    let at = |share: usize| seconds[(seconds.len() - 1) * share / 100];
    (at(50), at(99))
}
