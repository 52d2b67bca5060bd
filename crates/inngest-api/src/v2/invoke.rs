//! Functions are invoked.

use http::Method;
use inngest_core::{Payload, canonical, limits};
use inngest_executor::engine::Invoked;
use inngest_executor::plan::internal_event::Invocation;
use inngest_queue::flow::Skip;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::definitions::existing;
use super::endpoint::{Call, Endpoint};
use super::error::Error;
use super::functions::Named;
use super::runs::change::RunId;
use super::wire::One;
use crate::events;

/// What a request may have around the data of its event.
const AROUND_BYTES_MAX: usize = 4 * 1024;

pub(super) fn endpoints() -> Vec<Endpoint> {
    let path = "/apps/{appId}/functions/{functionId}/invoke";
    let endpoint = Endpoint::send("InvokeFunction", Method::POST, path, "Invokes a function", invoke)
        .group("Functions")
        .describe(
            "Starts a run of a function with this data, whatever its triggers. A function that gathers events in \
             batches runs at once with this one.",
        )
        .error(404, "There is no such function.")
        .also::<One<RunId>>(409, "This key has started a run in the last 24 hours: the one that is named.")
        .error(422, "It starts no run: there were too many, or the function is paused, debounced or runs already.")
        .body_bytes_max(|api| api.limits.event_bytes_max + AROUND_BYTES_MAX)
        .cli("invoke-function")
        .tool("invoke_function", "Invoke function");
    vec![endpoint]
}

/// What a function is invoked with.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct Invoke {
    /// The data of its event, an object.
    #[schemars(required, with = "Map<String, Value>")]
    data: Option<Box<RawValue>>,
    /// Within 24 hours, a function is invoked once with the same key.
    #[serde(alias = "idempotency_key")]
    idempotency_key: Option<String>,
}

async fn invoke(Call { api, parameters, body, .. }: Call<Named, Invoke>) -> Result<One<RunId>, Error> {
    let data = body.data.filter(|data| data.get() != "null").ok_or_else(|| Error::missing("Input data is required"))?;
    if !data.get().starts_with('{') {
        return Err(Error::bad_field("Input data must be an object"));
    }
    let key = body.idempotency_key.filter(|key| !key.is_empty());
    if key.as_ref().is_some_and(|key| key.len() > limits::EVENT_NAME_BYTES_MAX) {
        let max = limits::EVENT_NAME_BYTES_MAX;
        return Err(Error::bad_field(format!("Idempotency key cannot exceed {max} bytes")));
    }
    let data = canonical::canonicalise(data.get().as_bytes(), canonical::Numbers::Exact);
    let data = data.map_err(|error| Error::unreadable(error.to_string()))?;
    if data.len() > api.limits.event_bytes_max {
        return Err(events::EventError::TooLarge { max: api.limits.event_bytes_max, size: data.len() }.into());
    }
    let (_, function) = existing(&api, &parameters.app_id, &parameters.function_id).await?;
    let invocation = Invocation { data: Some(Payload::from(data)), external_id: key, ..Invocation::default() };
    let reply = |run: inngest_core::RunId| One::of(&api, RunId { run_id: run.to_string() });
    match api.engine.invoke_alone(function.id, &invocation).await? {
        Invoked::Started(run) => Ok(reply(run)),
        Invoked::Before(Some(run)) => Ok(reply(run).with_status(409)),
        Invoked::Before(None) => {
            Err(Error::new(409, "idempotency_conflict", "An event with this id has started the function already"))
        }
        Invoked::Debounced => {
            Err(refused("function_debounced", "The function is debounced: its run starts when no other event comes"))
        }
        Invoked::Skipped(Skip::RateLimited) => Err(refused("rate_limited", "The function is rate limited")),
        Invoked::Skipped(Skip::Singleton(run)) => {
            Err(refused("function_skipped", &format!("The function is a singleton, and run {run} goes on")))
        }
        Invoked::Skipped(Skip::Draining) => Err(refused("function_skipped", "The function is draining")),
        Invoked::Skipped(_) => Err(refused("function_skipped", "The function is paused")),
    }
}

fn refused(code: &'static str, message: &str) -> Error {
    Error::new(422, code, message)
}
