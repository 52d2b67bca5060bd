//! Syncs: what is registered changes in the store first, then in memory.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError};

use inngest_core::{App, AppId, FunctionId, RunId};
use inngest_queue::flow::Concurrency;
use inngest_state::{Change, CommitError, StoreError, Transition};

use super::{Engine, Parts};
use crate::apps::{self, RegisterError, Registered, Registration};
use crate::flow_control::document::{self, Document};
use crate::registry::{Registry, Settings};
use crate::routing;

impl Engine {
    /// Applies the sync of an app. Nothing is applied when anything of it is refused.
    pub async fn register(&self, registration: Registration) -> Result<Registered, RegisterError> {
        let _one_at_a_time = self.inner.registering.lock().await;
        let (apps, functions) = (self.history().apps().await?, self.history().functions().await?);
        let now = self.ids().now();
        let (registered, transition) = apps::plan_registration(&registration, &apps, &functions, now);
        if !transition.changes.is_empty() {
            self.commit_definitions(transition.changes).await?;
        }
        Ok(registered)
    }

    /// Records that the app at this normalised URL cannot be used, and why; `None`: it can again. A URL that
    /// no app is known for becomes a placeholder app.
    pub async fn report_app(&self, url: &str, error: Option<String>) -> Result<(), StoreError> {
        let _one_at_a_time = self.inner.registering.lock().await;
        let registry = self.registry();
        let known: Vec<App> = registry.apps().filter(|app| *app.url == *url).map(|app| App::clone(app)).collect();
        let apps = if known.is_empty() { vec![self.placeholder(url)] } else { known };
        let changes: Vec<Change> = apps
            .into_iter()
            .filter(|app| app.name.is_empty() || app.error != error)
            .map(|app| Change::PutApp(Box::new(App { error: error.clone(), ..app })))
            .collect();
        if changes.is_empty() { Ok(()) } else { self.commit_definitions(changes).await }
    }

    /// Archives the apps at this normalised URL with their functions; false when there is none.
    pub async fn remove_app(&self, url: &str) -> Result<bool, StoreError> {
        self.remove_apps(|app| *app.url == *url).await
    }

    /// Archives these apps with their functions; false when there is none.
    pub async fn remove_apps(&self, is_meant: impl Fn(&App) -> bool + Send) -> Result<bool, StoreError> {
        let _one_at_a_time = self.inner.registering.lock().await;
        let now = self.ids().now();
        let registry = self.registry();
        let changes: Vec<Change> = registry
            .apps()
            .filter(|app| app.archived_at.is_none() && is_meant(app))
            .map(|app| Change::ArchiveApp(app.id, now))
            .collect();
        let found = !changes.is_empty();
        if found {
            self.commit_definitions(changes).await?;
        }
        Ok(found)
    }

    /// Says where an app is served from now on, and returns it; `None` when there is no such app. Its functions follow at
    /// its next sync.
    pub async fn move_app(&self, id: AppId, url: &str) -> Result<Option<App>, StoreError> {
        let _one_at_a_time = self.inner.registering.lock().await;
        let registry = self.registry();
        let Some(app) = registry.app(&id).filter(|app| app.archived_at.is_none()) else { return Ok(None) };
        let moved = App { url: url.into(), ..App::clone(app) };
        self.commit_definitions(vec![Change::PutApp(Box::new(moved.clone()))]).await?;
        Ok(Some(moved))
    }

    fn placeholder(&self, url: &str) -> App {
        App {
            id: AppId::of_name(url),
            name: "".into(),
            url: url.into(),
            sdk_language: String::new(),
            sdk_version: String::new(),
            framework: String::new(),
            app_version: None,
            feature_observations: None,
            error: None,
            checksum: String::new(),
            created_at: self.ids().now(),
            archived_at: None,
        }
    }

    /// Commits what changes the definitions, by somebody who is registering.
    pub(super) async fn commit_definitions(&self, changes: Vec<Change>) -> Result<(), StoreError> {
        match self.inner.parts.store.commit(Transition::of(changes).into()).await {
            Ok(committed) => self.publish(committed).await,
            Err(CommitError::Store(error)) => return Err(error),
            Err(CommitError::Rejected(rejected)) => unreachable!("nothing was required, yet: {rejected}"),
        }
        self.read_definitions().await?;
        self.inner.registered.notify_one();
        Ok(())
    }

    /// As [`Self::read_definitions`], by somebody who is not registering.
    pub(super) async fn reload_definitions(&self) -> Result<(), StoreError> {
        let _one_at_a_time = self.inner.registering.lock().await;
        self.read_definitions().await
    }

    /// Brings the registry, and what the queue knows of it, up to what is stored.
    pub(super) async fn read_definitions(&self) -> Result<(), StoreError> {
        let registry = Arc::new(read_registry(&self.inner.parts).await?);
        let before: HashMap<_, _> = self.registry().dispatch().map(|(id, dispatch)| (id, dispatch.runs)).collect();
        *self.inner.registry.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&registry);
        self.inner.parts.queue.configure(registry.dispatch().collect()).await;
        self.occupy(&registry, |id, runs| before.get(id) != Some(&Some(*runs))).await
    }

    /// Tells the queue which runs have started of the functions that limit them, as far as they are `wanted`.
    pub(super) async fn occupy(
        &self,
        registry: &Registry,
        wanted: impl Fn(&FunctionId, &Concurrency) -> bool,
    ) -> Result<(), StoreError> {
        let Parts { store, queue, .. } = &self.inner.parts;
        let limits = registry.dispatch().filter_map(|(id, dispatch)| Some((id, dispatch.runs?)));
        let limits: HashMap<FunctionId, Concurrency> = limits.filter(|(id, runs)| wanted(id, runs)).collect();
        if limits.is_empty() {
            return Ok(());
        }
        let functions: Vec<FunctionId> = limits.keys().copied().collect();
        let mut started = store.started_runs(functions.clone()).await?;
        for run in &mut started {
            let key = limits.get(&run.function).and_then(|limit| limit.key);
            // It was limited by others before.
            if key.is_some_and(|key| run.keys.get(key).is_none())
                && let Some(state) = self.run(run.run).await?
            {
                run.keys = routing::keys(registry, &state, self.ids().now());
            }
        }
        let occupying: Vec<RunId> = started.iter().map(|run| run.run).collect();
        queue.occupy(started).await;
        // What ended since it was read has said so before the queue knew of it.
        let open: HashSet<RunId> = store.started_runs(functions).await?.into_iter().map(|run| run.run).collect();
        let ended: Vec<RunId> = occupying.into_iter().filter(|run| !open.contains(run)).collect();
        queue.ended(&ended).await;
        Ok(())
    }
}

/// What is registered, and what an operator has set, as stored.
pub(super) async fn read_registry(parts: &Parts) -> Result<Registry, StoreError> {
    let (apps, functions) = parts.store.definitions().await?;
    Ok(Registry::build_in(apps, functions, &read_settings(parts).await?))
}

/// What an operator has set. A document of flow control that came with the start of the server counts more than the
/// stored one.
pub(super) async fn read_settings(parts: &Parts) -> Result<Settings, StoreError> {
    let holds = parts.store.holds().await?.into_iter().collect();
    let flow_control = match &parts.options.flow_control {
        Some(document) => document.clone(),
        None => parts.store.document(document::NAME).await?.map_or_else(Document::default, |stored| {
            Document::from_json(&stored).unwrap_or_else(|error| {
                tracing::error!(%error, "the stored document of flow control cannot be used; it counts as empty");
                Document::default()
            })
        }),
    };
    Ok(Settings { zone: parts.options.zone.clone(), holds, flow_control })
}
