//! The schema against what clients know, and requests against a store.

mod live;
mod reads;
mod requests;
mod schema;

use std::sync::Arc;

use axum::body::Body;
use http::Request;
use http_body_util::BodyExt as _;
use inngest_core::{Clock, Ids, SystemClock, SystemEntropy};
use inngest_executor::apps::Registration;
use inngest_executor::driver::http::{HttpClient, HttpExecutor};
use inngest_executor::engine::{Engine, Options, Parts};
use inngest_queue::memory::MemoryQueue;
use inngest_state::History;
use inngest_state::sqlite::{Options as StoreOptions, SqliteStore};
use serde_json::{Value, json};

use crate::{Api, Apps, Auth, DevInfo, Handler, Limits, Readiness, ServerKind};

/// A server that calls no apps: runs stay as they were scheduled.
struct World {
    handler: Handler,
    engine: Engine,
    _dir: tempfile::TempDir,
}

/// A reply.
struct Reply {
    status: u16,
    text: String,
    headers: http::HeaderMap,
}

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }
}

impl World {
    async fn new() -> Self {
        Self::with(|store| Arc::new(store)).await
    }

    /// What the APIs read goes through this.
    async fn with(history: impl FnOnce(SqliteStore) -> Arc<dyn History>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let store = SqliteStore::open(&StoreOptions::new(dir.path()), Arc::clone(&clock)).unwrap();
        let parts = Parts {
            store: Arc::new(store.clone()),
            history: history(store),
            queue: Arc::new(MemoryQueue::new(Arc::clone(&clock))),
            executor: Arc::new(HttpExecutor::new(HttpClient::new(), Arc::clone(&clock), None)),
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
        Self { handler: Handler::new(api), engine, _dir: dir }
    }

    /// An app `app` of these functions: id, trigger, other options.
    async fn register(&self, functions: &[(&str, Value, Value)]) {
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
            "functions": functions.collect::<Vec<_>>(),
        });
        self.engine.register(Registration::parse(body.to_string().as_bytes()).unwrap()).await.unwrap();
    }

    async fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        let mut request = Request::builder().method(method).uri(path).header("host", "localhost:8288");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.handler.respond(request.body(Body::from(body.to_owned())).unwrap()).await;
        let (head, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        Reply { status: head.status.as_u16(), headers: head.headers, text }
    }

    async fn send(&self, events: Value) -> Vec<String> {
        let reply = self.request("POST", "/e/key", &[], &events.to_string()).await.json();
        reply["ids"].as_array().unwrap().iter().map(|id| id.as_str().unwrap().to_owned()).collect()
    }

    async fn post(&self, body: Value) -> Reply {
        self.request("POST", "/v0/gql", &[("content-type", "application/json")], &body.to_string()).await
    }

    /// The whole answer to a document.
    async fn answer(&self, query: &str, variables: Value) -> Value {
        let reply = self.post(json!({ "query": query, "variables": variables })).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        reply.json()
    }

    /// The data of an answer without errors.
    async fn ask(&self, query: &str, variables: Value) -> Value {
        let mut answer = self.answer(query, variables).await;
        assert_eq!(answer.get("errors"), None, "{query}: {answer:#}");
        answer["data"].take()
    }

    /// Message and code of the one error of an answer, and its data.
    async fn fail(&self, query: &str, variables: Value) -> (String, String, Value) {
        let mut answer = self.answer(query, variables).await;
        let [error] = &answer["errors"].as_array().unwrap_or_else(|| panic!("{query}: {answer:#}"))[..] else {
            panic!("{answer:#}")
        };
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        assert!(error["path"].is_array(), "{error}");
        (text(&error["message"]), text(&error["extensions"]["code"]), answer["data"].take())
    }
}
