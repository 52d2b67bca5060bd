//! A server in the process of a test: a real store, a real engine, and nobody else.

use std::sync::Arc;

use async_trait::async_trait;
use axum::body::Body;
use http::{HeaderName, Request};
use http_body_util::BodyExt as _;
use inngest_core::signing::SigningKey;
use inngest_core::{Clock, Ids, SystemClock, SystemEntropy};
use inngest_executor::apps::Registration;
use inngest_executor::driver::http::{HttpClient, HttpExecutor};
use inngest_executor::driver::{CallError, CallRequest, Executor};
use inngest_executor::engine::{Engine, Options, Parts};
use inngest_executor::response::read_ops;
use inngest_executor::{FunctionError, Reply as AppReply, SdkResponse};
use inngest_queue::memory::MemoryQueue;
use inngest_state::History;
use inngest_state::sqlite::{Options as StoreOptions, SqliteStore};
use inngest_state::trace::Headers;
use serde_json::{Value, json};

use crate::{Api, Apps, Auth, DevInfo, Handler, Limits, Readiness, ServerKind};

/// A server. Unless it works ([`World::working`]), runs stay as they were scheduled.
pub(crate) struct World {
    pub(crate) handler: Handler,
    pub(crate) engine: Engine,
    api: Api,
    _dir: tempfile::TempDir,
}

/// A reply.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) text: String,
    pub(crate) headers: http::HeaderMap,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }
}

/// An app whose functions return the data of their event; but `fails` does the step `one`, and then fails.
struct Echo;

#[async_trait]
impl Executor for Echo {
    async fn execute(&self, request: CallRequest) -> Result<SdkResponse, CallError> {
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        let does_fail = request.url.contains("fnId=app-fails");
        let (status, reply) = match (does_fail, body["steps"].get("one")) {
            (false, _) => {
                let echo = json!({ "echo": body["event"]["data"] });
                (200, AppReply::Returned(Some(echo.to_string().into())))
            }
            (true, None) => {
                let ops = json!([{ "op": "StepRun", "id": "one", "displayName": "one", "data": 1 }]);
                (206, AppReply::Ops(read_ops(ops.to_string().as_bytes()).unwrap()))
            }
            (true, Some(_)) => {
                let error = json!({ "error": "no way", "message": "no way", "name": "Error" }).to_string();
                (500, AppReply::Failed(FunctionError { output: Some(error.clone().into()), error: error.into() }))
            }
        };
        let headers = Arc::new(Headers { hash: 1, json: "{}".into() });
        Ok(SdkResponse { status, headers, version: 2, no_retry: status == 500, retry_at: None, reply })
    }
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(|store| Arc::new(store)).await
    }

    /// What the APIs read goes through this.
    pub(crate) async fn with(history: impl FnOnce(SqliteStore) -> Arc<dyn History>) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        Self::build(history, Arc::new(HttpExecutor::new(HttpClient::new(), clock, None))).await
    }

    /// Runs are worked on; every function returns `{"echo":..}` with the data of its event, but `fails`, which fails
    /// after a step.
    pub(crate) async fn working() -> Self {
        let world = Self::build(|store| Arc::new(store), Arc::new(Echo)).await;
        let engine = world.engine.clone();
        tokio::spawn(async move { engine.run_jobs().await });
        world
    }

    /// As `inngest start` with this signing key.
    pub(crate) fn locked(mut self, key: &str) -> Self {
        self.api.kind = ServerKind::Cloud;
        self.api.auth = Arc::new(Auth::keys(vec!["event-key".to_owned()], vec![SigningKey::parse(key).unwrap()]));
        self.handler = Handler::new(self.api.clone());
        self
    }

    async fn build(history: impl FnOnce(SqliteStore) -> Arc<dyn History>, executor: Arc<dyn Executor>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let store = SqliteStore::open(&StoreOptions::new(dir.path()), Arc::clone(&clock)).unwrap();
        let parts = Parts {
            store: Arc::new(store.clone()),
            history: history(store),
            queue: Arc::new(MemoryQueue::new(Arc::clone(&clock))),
            executor,
            fetcher: Arc::new(HttpClient::new()),
            ids: Ids::new(clock, Arc::new(SystemEntropy)),
            options: Options { workers_max: 1, ..Options::default() },
        };
        let engine = Engine::open(parts).await.unwrap();
        let api = Api {
            engine: engine.clone(),
            kind: ServerKind::Dev,
            auth: Arc::new(Auth::open()),
            limits: Limits::default(),
            info: Arc::new(DevInfo::default()),
            apps: Apps::channel().0,
            readiness: Readiness::default(),
            metrics: crate::Metrics::install(),
            trusted: Arc::default(),
        };
        Self { handler: Handler::new(api.clone()), engine, api, _dir: dir }
    }

    /// An app `app` of these functions: id, trigger, other options.
    pub(crate) async fn register(&self, functions: &[(&str, Value, Value)]) {
        let functions = functions.iter().map(|(id, trigger, config)| {
            let url = format!("http://localhost:3000/api/inngest?fnId=app-{id}&stepId=step");
            let mut function = json!({
                "id": format!("app-{id}"), "name": id, "triggers": [trigger],
                "steps": { "step": { "id": "step", "name": "step", "runtime": { "type": "http", "url": url } } },
            });
            function.as_object_mut().unwrap().extend(config.as_object().unwrap().clone());
            function
        });
        let body = json!({
            "appName": "app", "url": "http://localhost:3000/api/inngest", "sdk": "js:v4.0.0", "framework": "x",
            "featureObservations": { "extendedTraces": { "readinessReason": "EXTENDED_TRACES_READINESS_REASON_READY" } },
            "functions": functions.collect::<Vec<_>>(),
        });
        self.engine.register(Registration::parse(body.to_string().as_bytes()).unwrap()).await.unwrap();
    }

    pub(crate) async fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        let body = Body::from(body.to_owned());
        let mut request =
            Request::builder().method(method).uri(path).header("host", "localhost:8288").body(body).unwrap();
        for (name, value) in headers {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        let response = self.handler.respond(request).await;
        let (head, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        Reply { status: head.status.as_u16(), headers: head.headers, text }
    }

    pub(crate) async fn send(&self, events: Value) -> Vec<String> {
        let reply = self.request("POST", "/e/key", &[], &events.to_string()).await.json();
        reply["ids"].as_array().unwrap().iter().map(|id| id.as_str().unwrap().to_owned()).collect()
    }
}
