//! Syncs: what is registered changes in the store first, then in memory.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};

use inngest_core::{App, AppId, FunctionId};
use inngest_queue::StartedRun;
use inngest_queue::flow::Dispatch;
use inngest_state::{Change, CommitError, StoreError, Transition};

use super::{Engine, Parts};
use crate::apps::{self, RegisterError, Registered, Registration};
use crate::flow_control::document::{self, Document};
use crate::registry::{Registry, Settings};

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
        let _one_at_a_time = self.inner.registering.lock().await;
        let now = self.ids().now();
        let registry = self.registry();
        let changes: Vec<Change> = registry
            .apps()
            .filter(|app| *app.url == *url && app.archived_at.is_none())
            .map(|app| Change::ArchiveApp(app.id, now))
            .collect();
        let found = !changes.is_empty();
        if found {
            self.commit_definitions(changes).await?;
        }
        Ok(found)
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
        let dispatch: Vec<_> = registry.dispatch().collect();
        let before: HashMap<_, _> = self.registry().dispatch().map(|(id, dispatch)| (id, dispatch.runs)).collect();
        let newly_limited = |(id, dispatch): &&(FunctionId, Dispatch)| {
            dispatch.runs.is_some() && before.get(id) != Some(&dispatch.runs)
        };
        let started = self.started_runs(dispatch.iter().filter(newly_limited)).await?;
        self.inner.parts.queue.configure(dispatch).await;
        self.inner.parts.queue.occupy(started).await;
        *self.inner.registry.write().unwrap_or_else(PoisonError::into_inner) = registry;
        Ok(())
    }

    /// The runs of these functions that count where runs are limited.
    pub(super) async fn started_runs<'d>(
        &self,
        functions: impl Iterator<Item = &'d (FunctionId, Dispatch)>,
    ) -> Result<Vec<StartedRun>, StoreError> {
        let functions: Vec<FunctionId> =
            functions.filter(|(_, dispatch)| dispatch.runs.is_some()).map(|(id, _)| *id).collect();
        if functions.is_empty() { Ok(Vec::new()) } else { self.inner.parts.store.started_runs(functions).await }
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
