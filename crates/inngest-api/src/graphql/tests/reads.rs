//! How often the store is read.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use inngest_core::{App, EventId, Function, FunctionId, RunId};
use inngest_state::history::{
    DeferRecord, EventFilter, EventRecord, GatheringFilter, GatheringRecord, RunFilter, RunRecord, RunTrace,
    SkipFilter, SkipRecord,
};
use inngest_state::sqlite::SqliteStore;
use inngest_state::{Cancellation, History, Metadata, StoreError};
use serde_json::json;

use super::World;

/// Counts reads.
struct Counting {
    store: SqliteStore,
    reads: Arc<AtomicUsize>,
}

macro_rules! counted {
    ($($name:ident($($argument:ident: $type:ty),*) -> $result:ty;)*) => {
        #[async_trait]
        impl History for Counting {
            $(async fn $name(&self $(, $argument: $type)*) -> Result<$result, StoreError> {
                self.reads.fetch_add(1, Ordering::Relaxed);
                History::$name(&self.store $(, $argument)*).await
            })*
        }
    };
}

counted! {
    event(id: EventId) -> Option<EventRecord>;
    event_records(ids: Vec<EventId>) -> Vec<EventRecord>;
    count_events(filter: EventFilter) -> u64;
    events(filter: EventFilter) -> Vec<EventRecord>;
    run_record(id: RunId) -> Option<RunRecord>;
    run_records(ids: Vec<RunId>) -> Vec<RunRecord>;
    runs_of_events(ids: Vec<EventId>) -> Vec<(EventId, Vec<RunRecord>)>;
    count_runs(filter: RunFilter) -> u64;
    runs_with_ai(ids: Vec<RunId>) -> Vec<RunId>;
    defers(run: RunId) -> Vec<DeferRecord>;
    runs(filter: RunFilter) -> Vec<RunRecord>;
    trace(id: RunId) -> RunTrace;
    metadata(run: RunId) -> Vec<Metadata>;
    keyed_event(function: FunctionId, key: String) -> Option<EventId>;
    skips(filter: SkipFilter) -> Vec<SkipRecord>;
    gatherings(filter: GatheringFilter) -> Vec<GatheringRecord>;
    cancellations() -> Vec<Cancellation>;
    apps() -> Vec<App>;
    functions() -> Vec<Function>;
}

#[tokio::test]
async fn a_list_is_read_at_once_however_long_it_is() {
    let reads = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&reads);
    let world = World::with(move |store| Arc::new(Counting { store, reads: counter })).await;
    world.register(&[("a", json!({ "event": "t/a" }), json!({})), ("b", json!({ "event": "t/a" }), json!({}))]).await;
    world.send((0..60).map(|n| json!({ "name": "t/a", "data": { "n": n } })).collect()).await;
    let from = "2020-01-01T00:00:00Z";
    let run = "id hasAI cronSchedule eventName function { name app { name } } deferredFrom { runID }";
    let documents = [
        (
            "runs",
            format!(
                "{{ runs(first: PAGE, orderBy: [], filter: {{from: \"{from}\"}}) {{ edges {{ node {{ {run} }} }} totalCount }} }}"
            ),
        ),
        (
            "eventsV2",
            format!(
                "{{ eventsV2(first: PAGE, filter: {{from: \"{from}\"}}) {{ edges {{ node {{ id raw runs {{ {run} }} }} }} totalCount }} }}"
            ),
        ),
        (
            "stream",
            "{ stream(query: {limit: PAGE}) { id inBatch runs { id cron function { name } event { name raw } } } }"
                .to_owned(),
        ),
    ];
    for (name, document) in documents {
        let mut counts = Vec::new();
        for page in ["2", "50"] {
            reads.store(0, Ordering::Relaxed);
            let data = world.ask(&document.replace("PAGE", page), json!({})).await;
            let rows = data[name].as_array().or_else(|| data[name]["edges"].as_array()).unwrap().len();
            assert_eq!(rows.to_string(), page, "{name}");
            counts.push(reads.load(Ordering::Relaxed));
        }
        // What is asked for within a moment is read together; a slow machine takes several moments.
        assert!(counts[0] <= 10 && counts[1] <= 25, "{name}: {counts:?} reads");
    }
}

#[tokio::test]
async fn a_trace_is_read_once_for_all_who_ask() {
    let reads = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&reads);
    let world = World::with(move |store| Arc::new(Counting { store, reads: counter })).await;
    world.register(&[("a", json!({ "event": "t/a" }), json!({}))]).await;
    let event = world.send(json!({ "name": "t/a" })).await.remove(0);
    let data = world.ask("query($id: ULID!) { eventV2(id: $id) { runs { id } } }", json!({ "id": event })).await;
    let run = data["eventV2"]["runs"][0]["id"].clone();
    let mut counts = Vec::new();
    for document in [
        "query($run: String!) { runTrace(runID: $run) { name } }",
        "query($run: String!) { runTrace(runID: $run) { name childrenSpans { name } } again: runTrace(runID: $run) { name metadata { kind } } }",
    ] {
        reads.store(0, Ordering::Relaxed);
        world.ask(document, json!({ "run": run })).await;
        counts.push(reads.load(Ordering::Relaxed));
    }
    assert_eq!(counts[0], counts[1]);
}
