//! What an operator does about flow control: stops functions, sets limits that they share, and asks why a run waits.

use std::sync::Arc;

use inngest_core::{FunctionId, Millis, Payload, RunId};
use inngest_queue::flow::KeyExpression;
use inngest_queue::{Cause, Explanation, JobId, QueueItem};
use inngest_state::history::RunRecord;
use inngest_state::{Change, Hold, StoreError};
use serde_json::Value;

use super::{Engine, definitions};
use crate::flow_control::document::{self, Document, DocumentError};
use crate::flow_control::{Flow, Key};
use crate::registry::Registry;
use crate::routing::Subject;

/// Why a document of flow control was not taken.
#[derive(Clone, Debug, thiserror::Error)]
pub enum FlowControlError {
    /// There is one that counts more (409).
    #[error("flow control is set by the file that the server was started with (--flow-control): change it there")]
    SetByFile,
    /// It says what cannot be (400).
    #[error("Invalid flow control: {0}")]
    Invalid(#[from] DocumentError),
    /// The store failed (503).
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A run, and what its jobs wait for.
#[derive(Clone, Debug)]
pub struct Explained {
    /// The run.
    pub run: RunRecord,
    /// Its jobs by due time; none when it has ended.
    pub jobs: Vec<ExplainedJob>,
}

/// What a job waits for.
#[derive(Clone, Debug)]
pub struct ExplainedJob {
    /// The job.
    pub item: QueueItem,
    /// Why it does not run, or that it does.
    pub cause: Cause,
    /// When it should, as far as that can be told.
    pub expected: Option<Millis>,
    /// The name of the limit, if it is one that functions share.
    pub shared: Option<Arc<str>>,
    /// What the limit counts by.
    pub key: Option<ExplainedKey>,
}

/// A key of a limit, and what it is for the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExplainedKey {
    /// As registered.
    pub expression: Arc<str>,
    /// The text of its value.
    pub value: String,
}

impl Engine {
    /// Stops a function in a way, or lets it go on. It counts at once, and over restarts.
    pub async fn hold(&self, function: FunctionId, hold: Option<Hold>) -> Result<(), StoreError> {
        let _one_at_a_time = self.inner.registering.lock().await;
        if self.registry().hold(&function) == hold {
            return Ok(());
        }
        self.commit_definitions(vec![Change::PutHold(function, hold)]).await
    }

    /// The document of flow control that counts.
    pub async fn flow_control(&self) -> Result<Value, StoreError> {
        Ok(definitions::read_settings(&self.inner.parts).await?.flow_control.source().clone())
    }

    /// Replaces the document of flow control, or removes it. It counts at once, also for what waits.
    pub async fn set_flow_control(&self, document: Option<&Value>) -> Result<(), FlowControlError> {
        if self.inner.parts.options.flow_control.is_some() {
            return Err(FlowControlError::SetByFile);
        }
        document.map(Document::parse).transpose()?;
        let stored = document.map(|document| Payload::from(document.to_string()));
        let _one_at_a_time = self.inner.registering.lock().await;
        Ok(self.commit_definitions(vec![Change::PutDocument(document::NAME.into(), stored)]).await?)
    }

    /// What the jobs of a run wait for; `None` when there is no such run.
    pub async fn explain(&self, id: RunId) -> Result<Option<Explained>, StoreError> {
        let Some(run) = self.history().run_record(id).await? else { return Ok(None) };
        let mut jobs = self.history().trace(id).await?.jobs;
        jobs.sort_by_key(|job| (job.due, job.id));
        let ids: Vec<JobId> = jobs.iter().map(|job| job.id).collect();
        let known = self.inner.parts.queue.explain(&ids).await;
        let body = match run.event_ids.first() {
            Some(event) => self.history().event(*event).await?.map(|record| record.body),
            None => None,
        };
        let registry = self.registry();
        let subject = Subject::stored(body.as_deref().unwrap_or(b"{}"), self.ids().now());
        let explained = jobs.into_iter().map(|item| {
            // What the queue does not know is far away, or on its way to it.
            let known = known.iter().find(|known| known.item.id == item.id).cloned();
            let unknown = Explanation { expected: Some(item.due), cause: Cause::Later, item };
            explained(known.unwrap_or(unknown), &registry, &subject)
        });
        let jobs = explained.collect();
        Ok(Some(Explained { run, jobs }))
    }
}

fn explained(explanation: Explanation, registry: &Registry, subject: &Subject<'_>) -> ExplainedJob {
    let Explanation { item, cause, expected } = explanation;
    let function = registry.function(&item.function).zip(registry.rules(&item.function));
    let (shared, key) = match (&cause, function) {
        (Cause::Concurrency { limit, .. }, Some((_, rules))) => {
            (None, limit.key.and_then(|name| key_of(&rules.flow, name)))
        }
        (Cause::Throttle { bucket, .. }, Some((function, rules))) => {
            let limit = rules.flow.throttles.iter().find(|limit| limit.bucket(function) == *bucket);
            limit.map_or((None, None), |limit| (limit.shared.clone(), limit.key.as_ref()))
        }
        _ => (None, None),
    };
    let key = key.map(|key| ExplainedKey { expression: Arc::clone(&key.text), value: shown(&key.text_for(subject)) });
    ExplainedJob { item, cause, expected, shared, key }
}

fn key_of(flow: &Flow, name: KeyExpression) -> Option<&Key> {
    flow.dispatch_keys().find(|key| key.name == name)
}

/// Texts of users may be long.
fn shown(value: &str) -> String {
    const CHARACTERS_MAX: usize = 200;
    value.chars().take(CHARACTERS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use inngest_queue::flow::{Bucket, Concurrency, Scope};
    use inngest_queue::{JobId, JobKind};
    use serde_json::json;

    use super::*;
    use crate::flow_control::tests::function;
    use crate::registry::Settings;

    const NOW: Millis = Millis(1_800_000_000_000);

    #[test]
    fn a_cause_is_told_with_the_name_of_its_limit_and_the_value_of_its_key() {
        let config =
            json!({ "concurrency": { "limit": 1, "key": "event.data.u" }, "throttle": { "limit": 1, "period": "1s" } });
        let function = function(&config);
        let document = json!({ "throttles": [
            { "name": "openai", "limit": 1, "period": "1m", "key": "event.data.long", "functions": ["shop-*"] },
        ] });
        let settings = Settings { flow_control: Document::parse(&document).unwrap(), ..Settings::default() };
        let registry = Registry::build_in(Vec::new(), vec![function.clone()], &settings);
        let body = json!({ "data": { "u": 5, "long": "x".repeat(500) } }).to_string();
        let subject = Subject::stored(body.as_bytes(), NOW);
        let told = |cause| {
            let run = "01M85QRDBHC70063SSP1V76AAN".parse().unwrap();
            let item = QueueItem::new(JobId::start(run), function.id, JobKind::Start, NOW);
            let told = explained(Explanation { item, cause, expected: None }, &registry, &subject);
            (told.shared, told.key.map(|key| (key.expression, key.value)))
        };
        let held = |key: Option<&str>| {
            let limit = Concurrency { limit: 1, scope: Scope::Function, key: key.map(KeyExpression::of) };
            Cause::Concurrency { limit, of_runs: false, in_use: 1, holders: Vec::new(), ahead: 0 }
        };
        assert_eq!(told(held(Some("event.data.u"))), (None, Some(("event.data.u".into(), "5".to_owned()))));
        assert_eq!((told(held(None)), told(held(Some("event.data.before")))), ((None, None), (None, None)));
        let throttle = |bucket| Cause::Throttle { bucket, next: NOW, ahead: 0 };
        let long = ("event.data.long".into(), "x".repeat(200));
        assert_eq!(told(throttle(Bucket::shared("openai"))), (Some("openai".into()), Some(long)));
        assert_eq!(told(throttle(Bucket::of_function(function.id))), (None, None));
        assert_eq!(told(throttle(Bucket::shared("gone"))), (None, None));
    }
}
