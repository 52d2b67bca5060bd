//! `POST /v1/checkpoint/{run}/async`: steps that an SDK finished while its call goes on.

use axum::body::Body;
use axum::extract::State;
use http::HeaderMap;
use inngest_core::{RunId, limits};
use inngest_executor::engine::{CheckpointError, CheckpointSource};
use inngest_executor::response::read_ops;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use crate::error::ApiError;
use crate::paths::Path;
use crate::{Api, body};

#[derive(Deserialize)]
struct Checkpoint<'b> {
    #[serde(default)]
    run_id: Option<String>,
    #[serde(default)]
    qi_id: Option<String>,
    #[serde(default)]
    request_id: Option<String>,
    #[serde(default)]
    generation_id: Option<u32>,
    #[serde(borrow, default)]
    steps: Option<&'b RawValue>,
}

pub(crate) async fn asynchronous(
    State(api): State<Api>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<(), ApiError> {
    let run: RunId = id.parse().map_err(|_| ApiError::bad_request("The run ID specified is invalid"))?;
    // Whatever the state of a run may hold can be sent at once.
    let bytes_max = limits::RUN_STATE_BYTES_MAX.max(api.engine.usual_limits().state_bytes);
    let body = body::read(&headers, body, bytes_max)
        .await
        .map_err(|error| ApiError::new(error.status(), error.to_string()))?;
    let unreadable =
        |problem: &dyn std::fmt::Display| ApiError::bad_request(format!("invalid request body: {problem}"));
    let checkpoint: Checkpoint<'_> = serde_json::from_slice(&body).map_err(|error| unreadable(&error))?;
    if checkpoint.run_id.as_deref().is_some_and(|named| !named.is_empty() && named != id) {
        return Err(ApiError::bad_request("run_id in the body is not the run of the URL"));
    }
    let steps = checkpoint.steps.map(RawValue::get).filter(|steps| *steps != "null").unwrap_or("[]");
    let steps = read_ops(steps.as_bytes()).map_err(|problem| unreadable(&problem))?;
    let source = CheckpointSource {
        queue_item: checkpoint.qi_id.as_deref().unwrap_or_default(),
        generation: checkpoint.generation_id,
        request: checkpoint.request_id.as_deref().unwrap_or_default(),
    };
    let outcome = api.engine.checkpoint(run, &source, steps).await;
    outcome.map_err(|error| match error {
        CheckpointError::Stale(_) => ApiError::new(409, error.to_string()),
        CheckpointError::TooLarge(text) => ApiError::new(413, text),
        CheckpointError::Store(error) => error.into(),
        error => ApiError { data: json!({ "run_id": id }), ..ApiError::bad_request(error.to_string()) },
    })
}
