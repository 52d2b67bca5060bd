//! What a whole engine leaves in the store for traces.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use inngest_core::event::{Content, EventBody};
use inngest_core::{Event, Ids, RunStatus, StepId, SystemClock, SystemEntropy};
use inngest_queue::JobId;
use inngest_queue::memory::MemoryQueue;
use inngest_state::Metadata;
use inngest_state::history::{RunFilter, RunRecord};
use inngest_state::sqlite::{Options as StoreOptions, SqliteStore};
use inngest_state::trace::{Headers, StepDetail};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use serde_json::{Value, json};

use super::*;
use crate::apps::Registration;
use crate::driver::http::HttpReply;
use crate::driver::{CallError, CallRequest};
use crate::gateway::FetchRequest;
use crate::response::{MetadataReport, Reply, read_ops};
use crate::{SdkResponse, spans};

/// Asks a model once, and then returns.
struct App;

#[async_trait]
impl Executor for App {
    async fn execute(&self, request: CallRequest) -> Result<SdkResponse, CallError> {
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        let done = body["steps"].as_object().is_some_and(|steps| steps.contains_key("ask"));
        let opts = json!({ "url": "https://api.openai.com/v1/chat/completions?key=SECRET", "format": "openai-chat",
            "auth_key": "SECRET", "body": { "model": "gpt-4o-mini", "messages": [] } });
        let ops = json!([{ "op": "AIGateway", "id": "ask", "displayName": "ask", "opts": opts }]);
        let (status, reply) = match done {
            true => (200, Reply::Returned(Some("1".into()))),
            false => (206, Reply::Ops(read_ops(ops.to_string().as_bytes()).unwrap())),
        };
        let headers = Arc::new(Headers { hash: 5, json: r#"{"X-Inngest-Sdk":"js"}"#.into() });
        Ok(SdkResponse { status, headers, version: 2, no_retry: false, retry_at: None, reply })
    }
}

/// Is too busy at first.
#[derive(Default)]
struct Model(std::sync::atomic::AtomicU32);

#[async_trait]
impl Fetcher for Model {
    async fn fetch(&self, _: FetchRequest) -> Result<HttpReply, CallError> {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_static("application/json"));
        let is_first = self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0;
        let body =
            json!({ "model": "gpt-4o-mini-2024-07-18", "usage": { "prompt_tokens": 1000, "completion_tokens": 500 } });
        Ok(HttpReply { status: if is_first { 429 } else { 200 }, headers, body: Bytes::from(body.to_string()) })
    }
}

struct World {
    engine: Engine,
    run: RunRecord,
    _dir: tempfile::TempDir,
}

/// A run of one step that has ended.
async fn world() -> World {
    let dir = tempfile::tempdir().unwrap();
    let ids = Ids::new(Arc::new(SystemClock), Arc::new(SystemEntropy));
    let store = SqliteStore::open(&StoreOptions::new(dir.path()), Arc::new(SystemClock)).unwrap();
    let engine = Engine::open(Parts {
        store: Arc::new(store.clone()),
        history: Arc::new(store),
        queue: Arc::new(MemoryQueue::new(Arc::new(SystemClock))),
        executor: Arc::new(App),
        fetcher: Arc::new(Model::default()),
        ids,
        options: Options { retry_interval: Some(Duration::ZERO), ..Options::default() },
    })
    .await
    .unwrap();
    let body = json!({ "appName": "app", "url": "http://localhost:1/x", "sdk": "js:v4", "functions": [{
        "id": "fn", "name": "fn", "triggers": [{ "event": "a/b" }],
        "steps": { "step": { "id": "step", "name": "step", "runtime": { "url": "http://localhost:1/x" } } } }] });
    engine.register(Registration::parse(body.to_string().as_bytes()).unwrap()).await.unwrap();
    let working = engine.clone();
    tokio::spawn(async move { working.run_jobs().await });
    let now = engine.ids().now();
    let id = engine.ids().event(now);
    let text = id.to_string();
    let content = Content { data: b"{}", id: &text, meta: None, name: "a/b", ts: now, user: b"{}", v: None };
    let body = EventBody::Stored(content.render());
    engine.accept(vec![Event { id, name: "a/b".into(), external_id: None, ts: now, body }]).await.unwrap();
    let ended = async {
        loop {
            let filter = RunFilter { statuses: vec![RunStatus::Completed], limit: 1, ..RunFilter::default() };
            if let Some(run) = engine.history().runs(filter).await.unwrap().pop() {
                return run;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let run = tokio::time::timeout(Duration::from_secs(60), ended).await.expect("the run ends");
    World { engine, run, _dir: dir }
}

fn values(note: &Metadata) -> Value {
    serde_json::from_slice(&note.values).unwrap()
}

#[tokio::test]
async fn a_step_that_asks_a_model_tells_what_it_did() {
    let World { engine, run, _dir } = world().await;
    let trace = engine.history().trace(run.id).await.unwrap();
    let request = r#"{"messages":[],"model":"gpt-4o-mini"}"#.into();
    assert_eq!(trace.details, [(StepId::from("ask"), StepDetail::Gateway { request })]);
    let job = JobId::gateway(run.id, &StepId::from("ask"));
    let (step, attempt) = (&trace.steps[0], &trace.attempts[0]);
    assert_eq!((step.job, step.response.as_ref().map(|head| head.status)), (job.key, Some(200)));
    assert_eq!((attempt.job, attempt.status()), (job, Some(429)));
    let last = trace.last_call.expect("it ended with a call");
    let head = last.response.expect("which was answered");
    assert_eq!((head.status, &head.headers.json[..]), (200, &br#"{"X-Inngest-Sdk":"js"}"#[..]));
    let finished = run.finished.expect("it told of its end");
    let event = engine.history().event(finished).await.unwrap().unwrap();
    assert_eq!(&*event.event.name, "inngest/function.finished");

    let notes = engine.history().metadata(run.id).await.unwrap();
    let kinds: Vec<(&str, &str, Option<u32>)> =
        notes.iter().map(|note| (&*note.kind, &*note.scope, note.attempt)).collect();
    let scope = "step_attempt";
    assert_eq!(
        kinds,
        [("inngest.http", scope, Some(0)), ("inngest.http", scope, Some(1)), ("inngest.ai", scope, Some(1))]
    );
    assert!(notes.iter().all(|note| note.step == Some(StepId::from("ask"))));
    let http = json!({ "method": "POST", "domain": "api.openai.com", "path": "/v1/chat/completions",
        "request_size": 39, "request_content_type": "application/json", "response_status": 429,
        "response_size": 85, "response_content_type": "application/json" });
    let mut told = values(&notes[0]);
    told["response_size"] = 85.into();
    told["request_size"] = 39.into();
    assert_eq!(told, http);
    let ai = values(&notes[2]);
    assert_eq!((&ai["provider"], &ai["request_model"]), (&json!("openai"), &json!("gpt-4o-mini")));
    assert!(ai["latency_ms"].is_number(), "{ai}");
    let cost = crate::ai::estimated_cost(ai.as_object().unwrap());
    assert_eq!(cost, Some((1000.0 * 0.15 + 500.0 * 0.6) / 1e6));
    let everything = format!("{trace:?} {notes:?}", trace = trace.details);
    assert!(!everything.contains("SECRET"), "{everything}");
}

fn export(run: inngest_core::RunId, function: &str, ids: &[u64]) -> ExportTraceServiceRequest {
    let reference = json!({ "tp": spans::traceparent(JobId::start(run), 0), "ts": "" }).to_string();
    let reference: String = form_urlencoded::byte_serialize(reference.as_bytes()).collect();
    let attributes: Vec<Value> = [
        ("sdk.run.id", run.to_string().as_str()),
        ("sys.function.id", function),
        ("inngest.traceref", &reference),
        ("inngest.step.hash", "ask"),
        ("inngest.step.attempt", "1"),
        ("gen_ai.request.model", "gpt-4o"),
    ]
    .into_iter()
    .map(|(key, value)| json!({ "key": key, "value": { "stringValue": value } }))
    .collect();
    let span = |id: &u64| {
        json!({ "traceId": "0123456789abcdef0123456789abcdef", "spanId": format!("{id:016x}"), "name": "work", "kind": 1,
            "startTimeUnixNano": "1000", "endTimeUnixNano": "2000", "attributes": attributes })
    };
    let spans: Vec<Value> = ids.iter().map(span).collect();
    serde_json::from_value(json!({ "resourceSpans": [{ "scopeSpans": [{ "spans": spans }] }] })).unwrap()
}

#[tokio::test]
async fn spans_of_known_runs_are_stored_with_what_they_tell() {
    let World { engine, run, _dir } = world().await;
    let function = run.function.to_string();
    assert_eq!(engine.take_spans(export(run.id, &function, &[1, 2])).await.unwrap(), 0);
    // Exported again, as exporters do that had no answer.
    assert_eq!(engine.take_spans(export(run.id, &function, &[2])).await.unwrap(), 0);
    let other = inngest_core::FunctionId::of_definition("other", "u").to_string();
    assert_eq!(engine.take_spans(export(run.id, &other, &[3])).await.unwrap(), 1);
    let unknown = engine.ids().run(engine.ids().event(run.queued_at), run.queued_at);
    assert_eq!(engine.take_spans(export(unknown, &function, &[4])).await.unwrap(), 1);
    let spans = engine.history().trace(run.id).await.unwrap().spans;
    let shown: Vec<(u64, Option<&str>, Option<u32>)> = spans
        .iter()
        .map(|span| (u64::from_be_bytes(span.id), span.step.as_ref().map(StepId::as_str), span.attempt))
        .collect();
    assert_eq!(shown, [(1, Some("ask"), Some(1)), (2, Some("ask"), Some(1))]);
    let notes = engine.history().metadata(run.id).await.unwrap();
    let of_spans: Vec<(&str, &str, u64)> =
        notes.iter().filter_map(|note| Some((&*note.scope, &*note.op, u64::from_be_bytes(note.span?)))).collect();
    assert_eq!(of_spans, [("extended_trace", "set", 1), ("extended_trace", "set", 2), ("extended_trace", "set", 2)]);
    let ids: Vec<u64> = (10..2_500).collect();
    engine.take_spans(export(run.id, &function, &ids)).await.unwrap();
    let stored = engine.history().trace(run.id).await.unwrap().spans.len();
    assert_eq!(stored, inngest_core::limits::SPANS_PER_RUN_MAX);
}

#[tokio::test]
async fn a_note_may_be_about_an_attempt_or_a_span() {
    let World { engine, run, _dir } = world().await;
    let note = || {
        vec![MetadataReport {
            scope: "step_attempt".into(),
            kind: "userland.x".into(),
            op: "set".into(),
            values: "{}".into(),
        }]
    };
    let step = Some(StepId::from("ask"));
    engine.note(run.id, step.clone(), note()).await.unwrap();
    engine.note(run.id, NoteTarget { step: step.clone(), attempt: Some(1), span: Some([7; 8]) }, note()).await.unwrap();
    let notes = engine.history().metadata(run.id).await.unwrap();
    let targets: Vec<_> = notes
        .iter()
        .filter(|note| &*note.kind == "userland.x")
        .map(|note| (note.step.clone(), note.attempt, note.span))
        .collect();
    assert_eq!(targets, [(step.clone(), None, None), (step, Some(1), Some([7; 8]))]);
}
