//! An app that speaks the SDK protocol, in plain JSON, and misbehaves on demand.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use serde_json::{Value, json};
use sha1::{Digest as _, Sha1};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::Client;

/// The id an SDK sends for a step: lower-case SHA-1 of the user's id.
#[must_use]
pub fn step_id(name: &str) -> String {
    Sha1::digest(name.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// One call of the server.
#[derive(Clone, Debug)]
pub struct Call {
    /// `fnId` of the query.
    pub function: String,
    /// `stepId` of the query.
    pub step: String,
    /// Request headers.
    pub headers: http::HeaderMap,
    /// Path and query.
    pub target: String,
    /// The body as received.
    pub raw: Bytes,
    /// The body, parsed.
    pub body: Value,
    /// When it was in flight.
    pub span: Span,
}

/// The time of a call, from its arrival to its answer.
#[derive(Clone, Debug)]
pub struct Span {
    /// When it was received.
    pub from: Instant,
    to: Arc<OnceLock<Instant>>,
}

impl Span {
    pub(crate) fn since(from: Instant) -> Self {
        Self { from, to: Arc::default() }
    }

    /// When it was answered, or its connection was closed; `None` while it is in flight.
    #[must_use]
    pub fn to(&self) -> Option<Instant> {
        self.to.get().copied()
    }
}

impl Call {
    /// `ctx.run_id`.
    #[must_use]
    pub fn run(&self) -> &str {
        self.body["ctx"]["run_id"].as_str().unwrap_or_default()
    }

    /// `ctx.attempt`.
    #[must_use]
    pub fn attempt(&self) -> u64 {
        self.body["ctx"]["attempt"].as_u64().unwrap_or_default()
    }

    /// The memoised value of a step, by the user's name for it.
    #[must_use]
    pub fn memo(&self, name: &str) -> Option<&Value> {
        self.body["steps"].get(step_id(name))
    }
}

/// The most of these times that overlap; those without an end go on.
#[must_use]
pub fn most_at_a_time(spans: impl IntoIterator<Item = (Instant, Option<Instant>)>) -> usize {
    let mut turns: Vec<(Instant, bool)> = Vec::new();
    for (from, to) in spans.into_iter().filter(|(from, to)| *to != Some(*from)) {
        turns.push((from, true));
        turns.extend(to.map(|to| (to, false)));
    }
    // Of two at one instant the end comes first.
    turns.sort_unstable();
    let (mut now, mut most) = (0_usize, 0);
    for (_, begins) in turns {
        now = if begins { now + 1 } else { now - 1 };
        most = most.max(now);
    }
    most
}

/// What the app answers.
#[derive(Clone, Debug)]
pub enum Answer {
    /// 206 with these ops.
    Ops(Value),
    /// 200 with this result.
    Return(Value),
    /// Any HTTP reply; SDK headers are not added.
    Raw {
        /// Status.
        status: u16,
        /// All headers.
        headers: Vec<(String, String)>,
        /// Body.
        body: Bytes,
    },
    /// As an SDK: status and body, with `x-inngest-sdk` and these headers, which may replace the usual ones.
    Sdk {
        /// Status.
        status: u16,
        /// More headers.
        headers: Vec<(String, String)>,
        /// Body.
        body: Bytes,
    },
    /// As an SDK, the body in pieces; the connection breaks after the last one if `cut`.
    Pieces {
        /// Status.
        status: u16,
        /// The pieces, each after a pause.
        pieces: Vec<(Duration, Bytes)>,
        /// Whether the end is missing.
        cut: bool,
    },
    /// Closes the connection without a reply.
    Nothing,
    /// Waits, then answers.
    After(Duration, Box<Answer>),
    /// Waits until it is let go, then answers. Each notification lets one answer go.
    Until(Arc<Notify>, Box<Answer>),
    /// Posts JSON to the server first, as SDKs do that checkpoint; closes the connection when that is refused.
    Posting(Box<Posting>),
}

/// A request that an app makes before it answers.
#[derive(Clone, Debug)]
pub struct Posting {
    /// Talks to the server.
    pub client: Client,
    /// Where.
    pub path: String,
    /// What.
    pub body: Value,
    /// The answer then.
    pub then: Answer,
}

impl Answer {
    /// A finished step.
    #[must_use]
    pub fn step(name: &str, data: &Value) -> Self {
        Self::Ops(json!([op("StepRun", name, json!({ "data": data }))]))
    }

    /// A function error that may be retried.
    #[must_use]
    pub fn error(message: &str) -> Self {
        let body = json!({ "name": "Error", "message": message, "stack": "at stub" }).to_string();
        Self::Sdk { status: 500, headers: vec![("x-inngest-no-retry".into(), "false".into())], body: body.into() }
    }

    /// A function error that may not be retried.
    #[must_use]
    pub fn fatal(message: &str) -> Self {
        let body = json!({ "name": "Error", "message": message, "stack": "at stub" }).to_string();
        Self::Sdk { status: 400, headers: vec![("x-inngest-no-retry".into(), "true".into())], body: body.into() }
    }
}

/// One op; `more` is merged into it.
#[must_use]
pub fn op(op: &str, name: &str, more: Value) -> Value {
    let mut value = json!({ "op": op, "id": step_id(name), "name": name, "displayName": name, "opts": {} });
    if let (Some(fields), Value::Object(more)) = (value.as_object_mut(), more) {
        fields.extend(more);
    }
    value
}

type Script = Arc<dyn Fn(&Call) -> Answer + Send + Sync>;

/// One function of the app.
#[derive(Clone)]
pub struct StubFunction {
    /// Id without the app's name.
    pub id: String,
    /// Triggers, as registered.
    pub triggers: Value,
    /// Retries after the first attempt.
    pub retries: u32,
    /// More of its configuration: `cancel`, `timeouts`, ..
    pub config: Value,
    script: Script,
}

impl StubFunction {
    /// A function started by `event`.
    pub fn new(id: &str, event: &str, script: impl Fn(&Call) -> Answer + Send + Sync + 'static) -> Self {
        Self {
            id: id.into(),
            triggers: json!([{ "event": event }]),
            retries: 4,
            config: json!({}),
            script: Arc::new(script),
        }
    }

    /// With this number of retries.
    #[must_use]
    pub fn retries(self, retries: u32) -> Self {
        Self { retries, ..self }
    }

    /// With more configuration, an object that is merged into the definition.
    #[must_use]
    pub fn config(self, config: Value) -> Self {
        Self { config, ..self }
    }

    /// With these triggers.
    #[must_use]
    pub fn triggers(self, triggers: Value) -> Self {
        Self { triggers, ..self }
    }
}

/// A served app. Stops when dropped.
pub struct StubApp {
    /// App id.
    pub name: String,
    /// Serve URL.
    pub url: String,
    functions: Vec<StubFunction>,
    state: Arc<State>,
    serving: JoinHandle<()>,
}

struct State {
    scripts: HashMap<String, Script>,
    registration: Value,
    calls: Mutex<Vec<Call>>,
    pings: Mutex<Vec<Call>>,
    keep_calls: bool,
}

impl Drop for StubApp {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl StubApp {
    /// Serves an app on a free port.
    pub async fn serve(name: &str, functions: Vec<StubFunction>) -> anyhow::Result<Self> {
        Self::serve_with(name, functions, true).await
    }

    /// As [`StubApp::serve`]; without `keep_calls`, received calls are not remembered.
    pub async fn serve_with(name: &str, functions: Vec<StubFunction>, keep_calls: bool) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let url = format!("http://localhost:{}/api/inngest", listener.local_addr()?.port());
        let scripts =
            functions.iter().map(|function| (format!("{name}-{}", function.id), Arc::clone(&function.script)));
        let state = Arc::new(State {
            scripts: scripts.collect(),
            registration: registration(name, &url, &functions),
            calls: Mutex::default(),
            pings: Mutex::default(),
            keep_calls,
        });
        let serving = tokio::spawn(accept(listener, Arc::clone(&state)));
        Ok(Self { name: name.into(), url, functions, state, serving })
    }

    /// The register body.
    #[must_use]
    pub fn registration(&self) -> Value {
        self.state.registration.clone()
    }

    /// Pushes the registration to a server, as an SDK does.
    pub async fn register(&self, client: &Client) -> anyhow::Result<()> {
        let reply = client.post("/fn/register", &self.registration()).await?;
        anyhow::ensure!(reply.status == 200, "registration refused: {} {}", reply.status, reply.text());
        Ok(())
    }

    /// Calls received so far.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.state.calls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Calls of one function, by its id without the app's name.
    #[must_use]
    pub fn calls_of(&self, function: &str) -> Vec<Call> {
        let id = format!("{}-{function}", self.name);
        self.calls().into_iter().filter(|call| call.function == id).collect()
    }

    /// `PUT` requests received so far.
    #[must_use]
    pub fn pings(&self) -> Vec<Call> {
        self.state.pings.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Its functions.
    #[must_use]
    pub fn functions(&self) -> &[StubFunction] {
        &self.functions
    }
}

fn registration(name: &str, url: &str, functions: &[StubFunction]) -> Value {
    let functions: Vec<Value> = functions
        .iter()
        .map(|function| {
            let id = format!("{name}-{}", function.id);
            let mut definition = json!({
                "id": id,
                "name": function.id,
                "triggers": function.triggers,
                "steps": { "step": {
                    "id": "step",
                    "name": "step",
                    "runtime": { "type": "http", "url": format!("{url}?fnId={id}&stepId=step") },
                    "retries": { "attempts": function.retries },
                } },
            });
            if let (Some(fields), Value::Object(config)) = (definition.as_object_mut(), &function.config) {
                fields.extend(config.clone());
            }
            definition
        })
        .collect();
    json!({
        "url": url, "deployType": "ping", "framework": "stub", "appName": name, "functions": functions,
        "sdk": "js:v4.24.0", "v": "0.1", "capabilities": { "in_band_sync": "v1", "trust_probe": "v1", "connect": "v1" },
    })
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    while let Ok((stream, _)) = listener.accept().await {
        // Small replies must not wait for acknowledgements.
        let _delayed_at_worst = stream.set_nodelay(true);
        let state = Arc::clone(&state);
        tokio::spawn(async move {
            let service = service_fn(move |request| respond(request, Arc::clone(&state)));
            // A connection that ends early is what some scripts are for.
            let _closed = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// An error closes the connection without a reply.
#[derive(Debug)]
struct Closed;

impl std::fmt::Display for Closed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("closed on purpose")
    }
}

impl std::error::Error for Closed {}

impl From<Infallible> for Closed {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

type Body = UnsyncBoxBody<Bytes, Closed>;

/// Notes the end of a call when it is dropped: with the answer, or with its connection.
struct InFlight(Arc<OnceLock<Instant>>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.get_or_init(Instant::now);
    }
}

async fn respond(request: Request<Incoming>, state: Arc<State>) -> Result<Response<Body>, Closed> {
    let span = Span::since(Instant::now());
    let _in_flight = InFlight(Arc::clone(&span.to));
    let (head, body) = request.into_parts();
    let raw = body.collect().await.map_err(|_| Closed)?.to_bytes();
    let query = |key: &str| {
        let pairs = head.uri.query().unwrap_or_default().split('&');
        pairs.filter_map(|pair| pair.split_once('=')).find(|(name, _)| *name == key).map(|(_, value)| value.to_owned())
    };
    let call = Call {
        function: query("fnId").unwrap_or_default(),
        step: query("stepId").unwrap_or_default(),
        target: head.uri.to_string(),
        headers: head.headers.clone(),
        body: serde_json::from_slice(&raw).unwrap_or(Value::Null),
        raw,
        span,
    };
    let answer = match head.method.as_str() {
        "POST" => {
            let script = state.scripts.get(&call.function).cloned();
            let answer = script.map_or_else(|| Answer::error("Function was not found"), |script| script(&call));
            if state.keep_calls {
                state.calls.lock().unwrap_or_else(PoisonError::into_inner).push(call);
            }
            answer
        }
        "PUT" => {
            state.pings.lock().unwrap_or_else(PoisonError::into_inner).push(call);
            in_band(&state.registration)
        }
        _ => Answer::Sdk { status: 200, headers: Vec::new(), body: json!({ "mode": "dev" }).to_string().into() },
    };
    reply(answer).await
}

/// The reply to a sync request, with the functions in it.
fn in_band(registration: &Value) -> Answer {
    let body = json!({
        "app_id": registration["appName"], "functions": registration["functions"], "url": registration["url"],
        "sdk_language": "js", "sdk_version": "4.24.0", "framework": "stub", "env": null, "platform": null,
        "sdk_author": "inngest", "inspection": {},
    });
    let headers = vec![("x-inngest-sync-kind".to_owned(), "in_band".to_owned())];
    Answer::Sdk { status: 200, headers, body: body.to_string().into() }
}

async fn reply(answer: Answer) -> Result<Response<Body>, Closed> {
    let mut answer = answer;
    loop {
        answer = match answer {
            Answer::After(pause, then) => {
                tokio::time::sleep(pause).await;
                *then
            }
            Answer::Until(go, then) => {
                go.notified().await;
                *then
            }
            Answer::Posting(posting) => match posting.client.post(&posting.path, &posting.body).await {
                Ok(reply) if reply.status == 200 => posting.then,
                _ => Answer::Nothing,
            },
            answer => break reply_now(answer),
        }
    }
}

fn reply_now(answer: Answer) -> Result<Response<Body>, Closed> {
    let whole = |body: Bytes| Full::new(body).map_err(Closed::from).boxed_unsync();
    let (status, headers, body, sdk) = match answer {
        Answer::Ops(ops) => (206, Vec::new(), whole(ops.to_string().into()), true),
        Answer::Return(value) => (200, Vec::new(), whole(value.to_string().into()), true),
        Answer::Sdk { status, headers, body } => (status, headers, whole(body), true),
        Answer::Raw { status, headers, body } => (status, headers, whole(body), false),
        Answer::Pieces { status, pieces, cut } => (status, Vec::new(), in_pieces(pieces, cut), true),
        Answer::Nothing | Answer::After(..) | Answer::Until(..) | Answer::Posting(_) => return Err(Closed),
    };
    let mut response = Response::builder().status(status);
    let usual =
        [("content-type", "application/json"), ("x-inngest-sdk", "inngest-js:v4.24.0"), ("x-inngest-req-version", "2")];
    for (name, value) in usual {
        if sdk && !headers.iter().any(|(given, _)| given.eq_ignore_ascii_case(name)) {
            response = response.header(name, value);
        }
    }
    for (name, value) in headers {
        response = response.header(name, value);
    }
    response.body(body).map_err(|_| Closed)
}

fn in_pieces(pieces: Vec<(Duration, Bytes)>, cut: bool) -> Body {
    let pieces = pieces.into_iter().map(|(pause, piece)| Ok((pause, Frame::data(piece))));
    let end = cut.then_some(Err(Closed));
    let frames = stream::iter(pieces.chain(end)).then(async |frame: Result<_, Closed>| {
        let (pause, frame) = frame?;
        tokio::time::sleep(pause).await;
        Ok(frame)
    });
    StreamBody::new(frames).boxed_unsync()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_overlaps_is_counted() {
        let origin = Instant::now();
        let most = |spans: &[(u64, Option<u64>)]| {
            let at = |ms| origin + Duration::from_millis(ms);
            most_at_a_time(spans.iter().map(|(from, to)| (at(*from), to.map(at))))
        };
        assert_eq!(most(&[]), 0);
        assert_eq!(most(&[(0, Some(5)), (5, Some(9)), (9, None)]), 1, "one after the other");
        assert_eq!(most(&[(4, Some(9)), (0, Some(5)), (6, Some(7))]), 2);
        assert_eq!(most(&[(0, None), (1, None), (2, Some(3)), (3, Some(3))]), 3);
    }

    #[tokio::test]
    async fn a_call_ends_with_its_answer_or_with_its_connection() {
        let slow = |_: &Call| Answer::After(Duration::from_secs(3_600), Box::new(Answer::Return(Value::Null)));
        let functions =
            vec![StubFunction::new("now", "e", |_| Answer::Return(Value::Null)), StubFunction::new("slow", "e", slow)];
        let app = StubApp::serve("app", functions).await.unwrap();
        let base = app.url.strip_suffix("/api/inngest").unwrap().replace("localhost", "127.0.0.1");
        let path = |function: &str| format!("/api/inngest?fnId=app-{function}&stepId=step");
        Client::new(&base).post(&path("now"), &json!({})).await.unwrap();
        assert!(app.calls_of("now")[0].span.to().is_some());
        let asking = {
            let (client, path) = (Client::new(&base), path("slow"));
            tokio::spawn(async move { client.post(&path, &json!({})).await })
        };
        let limit = Duration::from_secs(10);
        crate::wait_until("the call", limit, async || app.calls_of("slow").first().cloned()).await.unwrap();
        assert_eq!(app.calls_of("slow")[0].span.to(), None);
        asking.abort();
        crate::wait_until("its end", limit, async || app.calls_of("slow")[0].span.to()).await.unwrap();
    }
}
