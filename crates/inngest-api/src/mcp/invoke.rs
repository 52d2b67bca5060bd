//! `invoke_function_sync`: a function is run, and its result waited for.

use std::sync::Arc;

use inngest_core::{Function, Payload, canonical};
use inngest_executor::engine::{InvokeError, Invoked};
use inngest_executor::plan::internal_event::Invocation;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::native::{Call, Done, Native, Problem};
use super::send::as_object;
use super::status::RunShown;
use super::wait::timeout;
use crate::events::EventError;
use crate::rest::explain::skipped;
use crate::{Api, trace};

pub(super) fn tools() -> Vec<Native> {
    vec![Native::write(
        "invoke_function_sync",
        "Invoke function and wait",
        "Runs a function, whatever its triggers, and waits for what it returns. If the time is over before, the run goes \
         on, and poll_run_status tells what became of it.",
        invoke,
    )]
}

/// What a function is run with.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Invoke {
    /// Its UUID, its slug (`<app>-<function>`) or its name.
    function_id: String,
    /// The data of its event. What is no object becomes the member `value` of one.
    #[schemars(with = "Option<Value>")]
    data: Option<Box<RawValue>>,
    /// The user of its event. What is no object becomes the member `id` of one.
    #[schemars(with = "Option<Value>")]
    user: Option<Box<RawValue>>,
    /// How many seconds to wait: 30 unless said otherwise, 600 at most.
    #[schemars(range(min = 0, max = 600))]
    timeout: Option<u32>,
}

/// What became of a run.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Outcome {
    run_id: String,
    function_name: String,
    status: &'static str,
    output: Option<Box<RawValue>>,
    /// In milliseconds.
    duration: Option<i64>,
    event_id: Option<String>,
    error: Option<String>,
}

async fn invoke(Call { api, waits, arguments, .. }: Call<Invoke>) -> Result<Done, Problem> {
    let Invoke { function_id, data, user, timeout: seconds } = arguments;
    let timeout = timeout(seconds)?;
    let function = function(&api, &function_id)?;
    let data = data.map(|data| payload(&api, &data, "value")).transpose()?;
    let user = user.map(|user| payload(&api, &user, "id")).transpose()?;
    let invocation = Invocation { data, user, ..Invocation::default() };
    let run = match api.engine.invoke_alone(function.id, &invocation).await {
        Ok(Invoked::Started(run) | Invoked::Before(Some(run))) => run,
        Ok(Invoked::Before(None)) => return Err(Problem::new("The same invocation has come before")),
        Ok(Invoked::Debounced) => {
            return Err(Problem::new("The function is debounced: its run starts when no other event comes"));
        }
        Ok(Invoked::Skipped(skip)) => return Err(Problem::new(skipped(skip))),
        Err(InvokeError::Store(error)) => return Err(error.into()),
        Err(error @ InvokeError::NotFound(_)) => return Err(Problem::new(error.to_string())),
    };
    waits.until_ended(&api, vec![run], timeout).await?;
    let view = trace::load(&api, run).await?.ok_or_else(|| Problem::new(format!("Run not found: {run}")))?;
    let duration = view.run.started_at.zip(view.run.ended_at).map(|(from, until)| (until.0 - from.0).max(0));
    let is_open = !view.run.status.is_final();
    let shown = RunShown::of(&view);
    let late = || format!("the run goes on after {} s: ask poll_run_status for it", timeout.as_secs());
    Done::of(&Outcome {
        run_id: shown.run_id,
        function_name: shown.function_name,
        status: shown.status,
        output: shown.output,
        duration,
        event_id: shown.event_id,
        error: if is_open { Some(late()) } else { shown.error },
    })
}

fn payload(api: &Api, value: &RawValue, member: &str) -> Result<Payload, Problem> {
    let object = as_object(value, member);
    let json = canonical::canonicalise(object.as_bytes(), canonical::Numbers::Exact);
    let json = json.map_err(|error| Problem::new(error.to_string()))?;
    let (size, max) = (json.len(), api.limits.event_bytes_max);
    if size > max {
        return Err(Problem::new(EventError::TooLarge { max, size }.to_string()));
    }
    Ok(json.into())
}

/// An active function by its UUID, its slug or its name, which must be that of one function only.
pub(super) fn function(api: &Api, name: &str) -> Result<Arc<Function>, Problem> {
    let registry = api.engine.registry();
    if let Some(function) = registry.invocable(name) {
        return Ok(Arc::clone(function));
    }
    let named: Vec<_> =
        registry.active().map(|(function, _)| function).filter(|function| *function.name == *name).collect();
    match &named[..] {
        [function] => Ok(Arc::clone(function)),
        [] => Err(Problem::new(format!("Function not found: {name}"))),
        several => {
            let slugs: Vec<&str> = several.iter().map(|function| &*function.slug).collect();
            Err(Problem::new(format!("Several functions are named {name:?}: use one of {}", slugs.join(", "))))
        }
    }
}
