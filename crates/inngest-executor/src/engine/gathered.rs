//! The time of a debounce or a batch has come: its events start a run.

use std::time::Duration;

use inngest_core::Millis;
use inngest_queue::{Gathering, JobId, QueueItem, Resolution};
use inngest_state::{Change, Requirement, StoreError, Transition, When};
use tokio::sync::watch;

use super::work::Done;
use super::{Engine, Stage};
use crate::plan;
use crate::routing;

/// What was gathered for a function that is not registered waits for it so often, so long; then it is dropped.
const LOOKS: u32 = 20;
const LOOK: Duration = Duration::from_secs(30);

impl Engine {
    /// Starts the run of the events that were gathered under a job. One that came in the meantime and put the time off
    /// has made a newer generation of the job: then nothing happens here.
    pub(super) async fn start_gathered(
        &self,
        item: &QueueItem,
        how: Gathering,
        stage: watch::Receiver<Stage>,
    ) -> Result<Done, StoreError> {
        let Some(gathered) = self.inner.parts.store.gathered(item.id).await? else { return Ok(Done::Stale) };
        let registry = self.registry();
        let now = self.ids().now();
        let function = registry.function(&gathered.function).filter(|function| registry.is_active(function));
        let mut changes = Vec::new();
        let change = match function {
            Some(function) => {
                // Later than the last event that may have joined.
                let after = Millis(now.0 + 1);
                let admit = routing::gathered(&registry, function, how, &gathered.event, after, self.ids());
                Change::StartGathered(item.id, Box::new(admit), plan::refused)
            }
            None if item.attempt < LOOKS => {
                let (generation, attempt) = (item.generation + 1, item.attempt + 1);
                Change::PutJob(QueueItem { due: now.plus(LOOK), generation, attempt, ..item.clone() }, When::Always)
            }
            None => {
                tracing::warn!(
                    function = %gathered.function, events = gathered.count, event_id = %gathered.event.id,
                    "events that were gathered for a function are dropped: it is not registered any more"
                );
                let value = plan::function_unknown(&gathered.function.to_string());
                let told = |job: &JobId| Change::Resume(*job, Resolution::Value(value.clone()));
                changes.extend(gathered.invokers.iter().map(told));
                Change::DropGathered(item.id)
            }
        };
        changes.push(change);
        let require = vec![Requirement::Generation(item.id, item.generation)];
        self.commit(Transition { require, changes }, stage).await
    }
}
