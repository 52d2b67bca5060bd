//! Runs are cancelled, and run again.

use http::Method;
use inngest_core::{Payload, RunStatus, limits};
use inngest_executor::engine::{Cancelled, FromStep};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::{parse_id, unknown};
use crate::v2::endpoint::{Call, Endpoint};
use crate::v2::error::Error;
use crate::v2::wire::{Nothing, Object, One};

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::send("CancelRun", Method::POST, "/runs/{runId}/cancel", "Cancels a run", cancel)
            .error(404, "There is no such run.")
            .error(409, "The run has ended.")
            .cli("cancel-run")
            .tool("cancel_run", "Cancel run"),
        Endpoint::send("Rerun", Method::POST, "/runs/{runId}/rerun", "Runs the events of a run anew", rerun)
            .describe(
                "Starts a new run with the events of this one, from its start or from one of its steps, with the \
                 function as it is registered now. Limits in time do not count.",
            )
            .error(404, "There is no such run, or its function is not known any more.")
            .body_bytes_max(|_| limits::STEP_INPUT_BYTES_MAX)
            .cli("rerun")
            .tool("rerun", "Rerun"),
    ]
}

/// Which run.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct OfRun {
    /// ULID of the run.
    pub(super) run_id: String,
}

/// A run.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::v2) struct RunId {
    /// Its ULID.
    pub(in crate::v2) run_id: String,
}

/// From where a run is to run again.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct Rerun {
    /// A step; from the start if there is none.
    #[serde(alias = "from_step")]
    from_step: Option<Object<Step>>,
}

/// A step of a run.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
#[schemars(rename = "RerunStep")]
struct Step {
    /// Its name, or its hashed id.
    #[serde(alias = "step_id")]
    #[schemars(required)]
    step_id: String,
    /// Arguments for it instead of those of the run.
    #[schemars(with = "Option<Vec<Value>>")]
    input: Option<Box<RawValue>>,
}

async fn cancel(Call { api, parameters, .. }: Call<OfRun, Nothing>) -> Result<One<RunId>, Error> {
    let id = parse_id(&parameters.run_id)?;
    match api.engine.cancel(id).await? {
        Cancelled::Now => Ok(One::of(&api, RunId { run_id: id.to_string() })),
        Cancelled::Unknown => Err(unknown()),
        Cancelled::AlreadyEnded => {
            let run = api.engine.history().run_record(id).await?.ok_or_else(unknown)?;
            Err(match run.status {
                RunStatus::Cancelled => Error::new(409, "run_already_cancelled", "Run is already cancelled"),
                _ => Error::new(409, "run_already_ended", "Cannot cancel an ended run"),
            })
        }
    }
}

async fn rerun(Call { api, parameters, body, .. }: Call<OfRun, Rerun>) -> Result<One<RunId>, Error> {
    let id = parse_id(&parameters.run_id)?;
    let from = match body.from_step {
        None => None,
        Some(Object(step)) if step.step_id.is_empty() => return Err(Error::missing("Step ID is required")),
        Some(Object(Step { step_id, input })) => {
            let input = input.map(|input| Payload::copy_from_slice(input.get().as_bytes()));
            Some(FromStep { step: step_id, input })
        }
    };
    let new = api.engine.rerun(id, from.as_ref()).await?;
    Ok(One::of(&api, RunId { run_id: new.to_string() }))
}
