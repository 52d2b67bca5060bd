//! `/v1/flow-control`: limits that functions share. `POST /v1/functions/{id}/pause`, `/resume`, `/drain`: functions
//! that are stopped.

use axum::body::Body;
use axum::extract::State;
use bytes::Bytes;
use http::{HeaderMap, Response};
use inngest_executor::engine::FlowControlError;
use inngest_executor::flow_control::document;
use inngest_state::Hold;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::functions::find;
use super::{Json, envelope};
use crate::error::ApiError;
use crate::paths::Path;
use crate::{Api, body};

const HOLD_BODY_BYTES_MAX: usize = 4 * 1024;

pub(crate) async fn get(State(api): State<Api>) -> Result<Response<Body>, ApiError> {
    Ok(envelope(api.engine.ids(), api.engine.flow_control().await?))
}

pub(crate) async fn put(State(api): State<Api>, headers: HeaderMap, body: Body) -> Result<Response<Body>, ApiError> {
    let body = body::read_whole(&headers, body, document::BYTES_MAX).await?;
    let document: Value =
        body::object(&body).map_err(|error| ApiError::bad_request(format!("Invalid flow control: {error}")))?;
    api.engine.set_flow_control(Some(&document)).await.map_err(refused)?;
    Ok(envelope(api.engine.ids(), document))
}

pub(crate) async fn remove(State(api): State<Api>) -> Result<Response<Body>, ApiError> {
    api.engine.set_flow_control(None).await.map_err(refused)?;
    Ok(envelope(api.engine.ids(), Json::empty()))
}

fn refused(error: FlowControlError) -> ApiError {
    match error {
        FlowControlError::SetByFile => ApiError::new(409, error.to_string()),
        FlowControlError::Invalid(_) => ApiError::bad_request(error.to_string()),
        FlowControlError::Store(error) => error.into(),
    }
}

/// What becomes of new runs while a function is paused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum NewRuns {
    #[default]
    Queue,
    Skip,
}

/// A misspelt choice must not become the other one.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Pause {
    new_runs: NewRuns,
}

pub(crate) async fn pause(
    State(api): State<Api>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response<Body>, ApiError> {
    let body = body::read_whole(&headers, body, HOLD_BODY_BYTES_MAX).await?;
    let Pause { new_runs } = pause_of(&body)?;
    let hold = match new_runs {
        NewRuns::Queue => Hold::PausedQueue,
        NewRuns::Skip => Hold::PausedSkip,
    };
    set(&api, &name, Some(hold)).await
}

fn pause_of(body: &Bytes) -> Result<Pause, ApiError> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(Pause::default());
    }
    body::object(body).map_err(|error| {
        ApiError::bad_request(format!(
            "Invalid pause request: {error}; {{\"new_runs\":\"queue\"}} or \"skip\" is expected"
        ))
    })
}

pub(crate) async fn resume(State(api): State<Api>, Path(name): Path<String>) -> Result<Response<Body>, ApiError> {
    set(&api, &name, None).await
}

pub(crate) async fn drain(State(api): State<Api>, Path(name): Path<String>) -> Result<Response<Body>, ApiError> {
    set(&api, &name, Some(Hold::Draining)).await
}

async fn set(api: &Api, name: &str, hold: Option<Hold>) -> Result<Response<Body>, ApiError> {
    let function = find(api, name).await?;
    api.engine.hold(function.id, hold).await?;
    tracing::info!(function = %function.slug, hold = ?hold, "a function is held, or goes on");
    let shown =
        HeldFunction { id: function.slug.to_string(), internal_id: function.id.to_string(), hold: hold.map(Held::of) };
    Ok(envelope(api.engine.ids(), shown))
}

/// A function, and what is stopped of it.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct HeldFunction {
    id: String,
    internal_id: String,
    hold: Option<Held>,
}

/// What an operator has stopped of a function.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Held {
    /// `paused` or `draining`.
    kind: &'static str,
    /// What becomes of new runs: `queue` or `skip`.
    new_runs: &'static str,
}

impl Held {
    pub(super) fn of(hold: Hold) -> Self {
        let (kind, new_runs) = match hold {
            Hold::PausedQueue => ("paused", "queue"),
            Hold::PausedSkip => ("paused", "skip"),
            Hold::Draining => ("draining", "skip"),
        };
        Self { kind, new_runs }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clear_choice_pauses() {
        let table = [
            ("", Some(NewRuns::Queue)),
            ("{}", Some(NewRuns::Queue)),
            (r#"{"new_runs":"queue"}"#, Some(NewRuns::Queue)),
            (r#"{"new_runs":"skip"}"#, Some(NewRuns::Skip)),
            (r#"{"new_runs":"burn"}"#, None),
            (r#"{"new_run":"skip"}"#, None),
            (r#"{"new_runs":null}"#, None),
            ("[]", None),
            ("skip", None),
        ];
        for (body, expected) in table {
            let found = pause_of(&Bytes::from_static(body.as_bytes())).ok().map(|pause| pause.new_runs);
            assert_eq!(found, expected, "{body}");
        }
    }
}
