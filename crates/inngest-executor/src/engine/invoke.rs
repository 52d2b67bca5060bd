//! A function is invoked by somebody who wants to know what became of it.

use inngest_core::{FunctionId, RunId};
use inngest_queue::flow::Skip;
use inngest_state::{Change, StoreError};
use serde_json::json;

use super::{Engine, InvokeError};
use crate::plan::internal_event::{self, Invocation};
use crate::routing;

/// What became of an invocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invoked {
    /// It started this run.
    Started(RunId),
    /// Another one of the same key came before, and started this run if it is known.
    Before(Option<RunId>),
    /// It starts no run.
    Skipped(Skip),
    /// Its run starts later, unless others come that take its place.
    Debounced,
}

impl Engine {
    /// Starts a function whatever its triggers, with this one event even if it gathers others. `external_id` of the
    /// invocation starts it only once in a while.
    pub async fn invoke_alone(&self, function: FunctionId, invocation: &Invocation) -> Result<Invoked, InvokeError> {
        let registry = self.registry();
        let found = registry.function(&function).filter(|function| registry.is_active(function));
        let found = found.ok_or_else(|| InvokeError::NotFound(function.to_string()))?;
        let now = self.ids().now();
        let own = json!({
            "fn_id": *found.slug, "name": "", "source_app_id": "", "source_fn_id": "", "source_fn_v": 0, "type": "api",
        });
        let event = internal_event::invoked(self.ids().event(now), invocation, &own, now);
        let id = event.id;
        let (run, mut admits) = routing::admit_for(&registry, found, None, &event, now, self.ids());
        for admit in admits.iter_mut().filter(|admit| admit.run == run) {
            if let Some(flow) = &mut admit.flow {
                flow.batch = None;
            }
        }
        let committed = self.commit_freely(vec![Change::PutEvent(Box::new(event), admits)]).await?;
        let is_started = committed.admitted.iter().any(|(_, admitted)| *admitted == run);
        let own = committed.skipped.iter().find(|(event, of, _)| *event == id && *of == function);
        let skip = own.map(|(.., skip)| *skip);
        self.publish(committed).await;
        Ok(match skip {
            _ if is_started => Invoked::Started(run),
            Some(Skip::Duplicate) => Invoked::Before(self.run_of_key(function, invocation).await?),
            Some(Skip::Debounced) | None => Invoked::Debounced,
            Some(skip) => Invoked::Skipped(skip),
        })
    }

    /// The run of a function that an invocation of the same key has started.
    async fn run_of_key(&self, function: FunctionId, invocation: &Invocation) -> Result<Option<RunId>, StoreError> {
        let Some(key) = invocation.external_id.clone() else { return Ok(None) };
        let Some(event) = self.history().keyed_event(function, key).await? else { return Ok(None) };
        let runs = self.history().runs_of_events(vec![event]).await?;
        let mut runs = runs.into_iter().flat_map(|(_, runs)| runs).filter(|run| run.function == function);
        Ok(runs.next().map(|run| run.id))
    }
}
