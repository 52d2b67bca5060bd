//! What is read in the course of one request: each thing once, and many of a kind together.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_graphql::Context;
use async_graphql::dataloader::{DataLoader, HashMapCache, Loader};
use inngest_core::{App, AppId, EventId, Function, FunctionId, Millis, RunId};
use inngest_executor::registry::Registry;
use inngest_state::StoreError;
use inngest_state::history::{DeferRecord, EventRecord, History, RunRecord};
use tokio::sync::OnceCell;

use super::limits::ANSWER_BYTES_MAX;
use super::problem::{Problem, Result};
use crate::Api;
use crate::trace::{self, RunView};

/// One request.
pub(super) struct Session {
    pub(super) api: Api,
    loader: DataLoader<Reads, HashMapCache>,
    /// Everything that ever was registered; read when something is not in the registry any more.
    all: OnceCell<Definitions>,
    traces: Mutex<HashMap<RunId, Arc<OnceCell<Trace>>>>,
    truncated: AtomicBool,
    /// Length of the answer so far.
    spent: AtomicUsize,
}

/// What a trace is made of, if there is such a run.
type Trace = Option<Arc<RunView>>;

struct Definitions {
    apps: HashMap<AppId, Arc<App>>,
    functions: HashMap<FunctionId, Arc<Function>>,
}

impl Session {
    pub(super) fn new(api: Api) -> Self {
        let reads = Reads(api.clone());
        Self {
            loader: DataLoader::with_cache(reads, tokio::spawn, HashMapCache::default()),
            all: OnceCell::new(),
            traces: Mutex::default(),
            truncated: AtomicBool::new(false),
            spent: AtomicUsize::new(0),
            api,
        }
    }

    /// The session of a request that is being answered.
    pub(super) fn of<'c>(ctx: &Context<'c>) -> &'c Self {
        ctx.data_unchecked::<Arc<Self>>()
    }

    /// What is registered now: a mutation of this very request may have changed it.
    pub(super) fn registry(&self) -> Arc<Registry> {
        self.api.engine.registry()
    }

    pub(super) fn history(&self) -> &dyn History {
        self.api.engine.history()
    }

    pub(super) fn now(&self) -> Millis {
        self.api.engine.ids().now()
    }

    /// Says in the response that not everything was looked at.
    pub(super) fn truncate(&self) {
        self.truncated.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_truncated(&self) -> bool {
        self.truncated.load(Ordering::Relaxed)
    }

    /// Counts what becomes part of the answer, and tells whether it may.
    pub(super) fn spend(&self, bytes: usize) -> bool {
        self.spent.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes) <= ANSWER_BYTES_MAX
    }

    async fn all(&self) -> Result<&Definitions> {
        let read = async || {
            let (apps, functions) = (self.history().apps().await?, self.history().functions().await?);
            Ok::<_, StoreError>(Definitions {
                apps: apps.into_iter().map(|app| (app.id, Arc::new(app))).collect(),
                functions: functions.into_iter().map(|function| (function.id, Arc::new(function))).collect(),
            })
        };
        Ok(self.all.get_or_try_init(read).await?)
    }

    /// A function, also one that is archived.
    pub(super) async fn function(&self, id: FunctionId) -> Result<Arc<Function>> {
        if let Some(known) = self.registry().function(&id) {
            return Ok(Arc::clone(known));
        }
        let found = self.all().await?.functions.get(&id).cloned();
        found.ok_or_else(|| Problem::NotFound(format!("function not found: {id}")))
    }

    /// An app, also one that is archived.
    pub(super) async fn app(&self, id: AppId) -> Result<Arc<App>> {
        if let Some(known) = self.registry().app(&id) {
            return Ok(Arc::clone(known));
        }
        let found = self.all().await?.apps.get(&id).cloned();
        found.ok_or_else(|| Problem::NotFound(format!("app not found: {id}")))
    }

    /// Every function that ever was registered, with the name of its app.
    pub(super) async fn functions(&self) -> Result<impl Iterator<Item = (&Arc<Function>, &str)>> {
        let all = self.all().await?;
        Ok(all.functions.values().map(|function| {
            let app = all.apps.get(&function.app).map_or("", |app| &*app.name);
            (function, app)
        }))
    }

    pub(super) async fn run(&self, id: RunId) -> Result<Option<RunRecord>> {
        Ok(self.loader.load_one(id).await?)
    }

    pub(super) async fn event(&self, id: EventId) -> Result<Option<EventRecord>> {
        Ok(self.loader.load_one(id).await?)
    }

    /// These events in their order, as far as they are there.
    pub(super) async fn events(&self, ids: &[EventId]) -> Result<Vec<EventRecord>> {
        let mut found = self.loader.load_many(ids.iter().copied()).await?;
        Ok(ids.iter().filter_map(|id| found.remove(id)).collect())
    }

    /// All runs of an event, oldest first.
    pub(super) async fn runs_of(&self, event: EventId) -> Result<Vec<RunRecord>> {
        Ok(self.loader.load_one(RunsOf(event)).await?.unwrap_or_default())
    }

    pub(super) async fn has_ai(&self, run: RunId) -> Result<bool> {
        Ok(self.loader.load_one(HasAi(run)).await?.is_some())
    }

    pub(super) async fn defers(&self, run: RunId) -> Result<Vec<DeferRecord>> {
        Ok(self.loader.load_one(DefersOf(run)).await?.unwrap_or_default())
    }

    /// What the trace of a run is made of, read once however many ask for it at a time.
    pub(super) async fn trace(&self, run: RunId) -> Result<Trace> {
        let place = {
            let mut traces = self.traces.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(traces.entry(run).or_default())
        };
        let read = async || Ok::<_, StoreError>(trace::load(&self.api, run).await?.map(Arc::new));
        Ok(place.get_or_try_init(read).await?.clone())
    }
}

/// Reads what fields ask for.
struct Reads(Api);

impl Reads {
    fn history(&self) -> &dyn History {
        self.0.engine.history()
    }
}

impl Loader<RunId> for Reads {
    type Value = RunRecord;
    type Error = StoreError;

    async fn load(&self, ids: &[RunId]) -> std::result::Result<HashMap<RunId, RunRecord>, StoreError> {
        let runs = self.history().run_records(ids.to_vec()).await?;
        Ok(runs.into_iter().map(|run| (run.id, run)).collect())
    }
}

impl Loader<EventId> for Reads {
    type Value = EventRecord;
    type Error = StoreError;

    async fn load(&self, ids: &[EventId]) -> std::result::Result<HashMap<EventId, EventRecord>, StoreError> {
        let events = self.history().event_records(ids.to_vec()).await?;
        Ok(events.into_iter().map(|record| (record.event.id, record)).collect())
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct RunsOf(EventId);

impl Loader<RunsOf> for Reads {
    type Value = Vec<RunRecord>;
    type Error = StoreError;

    async fn load(&self, keys: &[RunsOf]) -> std::result::Result<HashMap<RunsOf, Vec<RunRecord>>, StoreError> {
        let runs = self.history().runs_of_events(keys.iter().map(|key| key.0).collect()).await?;
        Ok(runs.into_iter().map(|(event, runs)| (RunsOf(event), runs)).collect())
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct HasAi(RunId);

impl Loader<HasAi> for Reads {
    type Value = ();
    type Error = StoreError;

    async fn load(&self, keys: &[HasAi]) -> std::result::Result<HashMap<HasAi, ()>, StoreError> {
        let with = self.history().runs_with_ai(keys.iter().map(|key| key.0).collect()).await?;
        Ok(with.into_iter().map(|run| (HasAi(run), ())).collect())
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct DefersOf(RunId);

impl Loader<DefersOf> for Reads {
    type Value = Vec<DeferRecord>;
    type Error = StoreError;

    /// One read for each run: lists do not ask for them.
    async fn load(&self, keys: &[DefersOf]) -> std::result::Result<HashMap<DefersOf, Vec<DeferRecord>>, StoreError> {
        let mut defers = HashMap::new();
        for key in keys {
            defers.insert(*key, self.history().defers(key.0).await?);
        }
        Ok(defers)
    }
}
