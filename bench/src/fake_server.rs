//! Test equipment: a server just faithful enough to end runs, and able to misbehave on demand.
//!
//! One thread per connection, blocking, no queue and no store: an accepted event is run to its end by the thread that
//! accepted it. Tests use it to see what the generator reports about servers that lose, repeat or refuse things.

use crate::driver::{Generator, Keys};
use crate::http::{self, Kind};
use crate::net::Target;
use crate::pace::{Limit, Plan};
use crate::session::{Job, Outcome};
use crate::workload::Workload;
use serde_json::{Map, Value, json};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    Faithful,
    /// Replies in chunks and closes after each exchange, as the Go server does when it calls.
    Chunked,
    /// Acknowledges every event and never runs the one whose number ends in 7.
    Losing,
    /// Makes the final call of every run twice.
    Repeating,
    /// Answers 503 to every third event.
    Refusing,
}

#[derive(Clone)]
pub(crate) struct FakeServer {
    manner: Manner,
    functions: Arc<Mutex<Vec<Value>>>,
}

impl FakeServer {
    pub(crate) fn start(manner: Manner) -> Target {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let url = format!("http://{}", listener.local_addr().expect("address"));
        let server = FakeServer { manner, functions: Arc::default() };
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let server = server.clone();
                std::thread::spawn(move || server.serve(stream));
            }
        });
        Target::parse(&url).expect("target")
    }

    fn serve(&self, mut stream: TcpStream) {
        let mut buffer = Vec::new();
        while let Some((line, body)) = receive(&mut stream, &mut buffer, Kind::Request) {
            let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
            let sequence = body["data"]["bench_seq"].as_u64().unwrap_or(0);
            if line.starts_with("POST /fn/register ") {
                *self.functions.lock().expect("lock") = body["functions"].as_array().expect("functions").clone();
            }
            let status = match self.manner {
                Manner::Refusing if sequence % 3 == 1 => "503 Service Unavailable",
                _ => "200 OK",
            };
            let reply = match self.manner {
                Manner::Chunked => {
                    format!("HTTP/1.1 {status}\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n")
                }
                _ => format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\n\r\n{{}}"),
            };
            if stream.write_all(reply.as_bytes()).is_err() {
                return;
            }
            if line.starts_with("POST /e/")
                && status == "200 OK"
                && !(self.manner == Manner::Losing && sequence % 10 == 7)
            {
                self.run_event(&body);
            }
        }
    }

    fn run_event(&self, event: &Value) {
        let functions = self.functions.lock().expect("lock").clone();
        for function in functions.iter().filter(|function| function["triggers"][0]["event"] == event["name"]) {
            let url = function["steps"]["step"]["runtime"]["url"].as_str().expect("url");
            let (host, target) = url.strip_prefix("http://").and_then(|url| url.split_once('/')).expect("url");
            let mut steps = Map::new();
            loop {
                let ops = self.call(host, target, event, &steps);
                let Some(ops) = ops.as_array() else { break };
                for op in ops {
                    let id = op["id"].as_str().expect("id");
                    if op["op"] == "StepPlanned" {
                        let target = target.replace("stepId=step", &format!("stepId={id}"));
                        let ran = self.call(host, &target, event, &steps);
                        steps.insert(id.to_owned(), json!({ "data": ran[0]["data"] }));
                    } else {
                        steps.insert(id.to_owned(), json!({ "data": op["data"] }));
                    }
                }
            }
            if self.manner == Manner::Repeating {
                self.call(host, target, event, &steps);
            }
        }
    }

    fn call(&self, host: &str, target: &str, event: &Value, steps: &Map<String, Value>) -> Value {
        let body = json!({ "ctx": { "run_id": "r" }, "event": event, "events": [event], "steps": steps }).to_string();
        let close = if self.manner == Manner::Chunked { "connection: close\r\n" } else { "" };
        let length = body.len();
        let request =
            format!("POST /{target} HTTP/1.1\r\nhost: {host}\r\n{close}content-length: {length}\r\n\r\n{body}");
        let mut stream = TcpStream::connect(host).expect("connect to the app");
        stream.write_all(request.as_bytes()).expect("call");
        let reply = receive(&mut stream, &mut Vec::new(), Kind::Response { at_end: false });
        serde_json::from_slice(&reply.expect("reply").1).expect("JSON")
    }
}

fn receive(stream: &mut TcpStream, buffer: &mut Vec<u8>, kind: Kind) -> Option<(String, Vec<u8>)> {
    loop {
        if let Some(message) = http::parse(buffer, kind).expect("HTTP") {
            let (line, body) = (String::from_utf8_lossy(message.start_line).into_owned(), message.body.into_owned());
            let len = message.len;
            buffer.drain(..len);
            return Some((line, body));
        }
        let mut chunk = [0; 4096];
        let read = stream.read(&mut chunk).ok().filter(|read| *read > 0)?;
        buffer.extend_from_slice(&chunk[..read]);
    }
}

fn run(manner: Manner, workload: Workload, rate: Option<f64>) -> Outcome {
    let keys = Keys { event: "key".to_owned(), signing: None };
    let mut generator = Generator::start(FakeServer::start(manner), keys).expect("register");
    let plan = Plan { rate, limit: Limit::Count(30), warm_up: Duration::ZERO, deadline: Duration::from_millis(500) };
    let job = Job { workload, concurrency: 4, plan, padding: 10, observed: None, sample_every: None };
    generator.run(&job).expect("run")
}

#[test]
fn every_workload_ends_and_is_measured_in_both_loops() {
    for workload in Workload::ALL {
        for (manner, rate) in [(Manner::Faithful, None), (Manner::Chunked, None), (Manner::Faithful, Some(1_000.0))] {
            let context = format!("{workload:?} {manner:?} {rate:?}");
            let outcome = run(manner, workload, rate);
            let runs = 30 * u64::from(workload.runs_per_event());
            assert_eq!(outcome.failures.samples, Vec::<String>::new(), "{context}");
            assert_eq!((outcome.totals.events_ended, outcome.totals.runs_ended), (30, runs), "{context}");
            assert_eq!((outcome.totals.duplicate_steps, outcome.totals.duplicate_runs), (0, 0), "{context}");
            assert_eq!((outcome.lost_runs, outcome.unsent, outcome.totals.strangers), (0, 0, 0), "{context}");
            assert_eq!(outcome.accept.percentiles().map(|figures| figures.count), Some(30), "{context}");
            let ended = outcome.end.percentiles().map(|figures| figures.count);
            assert_eq!(ended, (runs > 0).then_some(30), "{context}");
            assert_eq!(outcome.first_call.percentiles().map(|figures| figures.count), ended, "{context}");
        }
    }
}

#[test]
fn lost_runs_are_reported_after_the_deadline() {
    let outcome = run(Manner::Losing, Workload::Hello, None);
    assert_eq!((outcome.lost_runs, outcome.totals.runs_ended), (3, 27));
}

#[test]
fn runs_that_end_twice_are_reported() {
    let outcome = run(Manner::Repeating, Workload::Steps3, None);
    assert_eq!((outcome.totals.runs_ended, outcome.lost_runs), (30, 0));
    assert!(outcome.totals.duplicate_runs >= 26, "the last repeats may come after the end");
    assert_eq!(outcome.totals.duplicate_steps, 0);
}

#[test]
fn refused_events_are_errors_and_not_losses() {
    let outcome = run(Manner::Refusing, Workload::Hello, None);
    assert_eq!((outcome.failures.count, outcome.totals.runs_ended, outcome.lost_runs), (10, 20, 0));
    assert_eq!(outcome.failures.samples, ["status 503: {}"]);
}
