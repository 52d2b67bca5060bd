//! What SDKs fetch while they work on a run whose state is too large for a request.

use axum::body::Body;
use axum::extract::{Path, State};
use http::Response;
use inngest_core::RunId;
use inngest_executor::request;
use inngest_state::RunState;
use std::sync::Arc;

use crate::Api;
use crate::error::{ApiError, raw_json};

async fn run(api: &Api, id: &str) -> Result<Arc<RunState>, ApiError> {
    let id: RunId = id.parse().map_err(|_| ApiError::bad_request("The run ID specified is invalid"))?;
    let gone = || ApiError::new(410, format!("runtime state is no longer available for runID: {id}"));
    api.engine.run(id).await?.ok_or_else(gone)
}

pub(crate) async fn actions(State(api): State<Api>, Path(id): Path<String>) -> Result<Response<Body>, ApiError> {
    Ok(raw_json(200, request::actions_json(&*run(&api, &id).await?)))
}

pub(crate) async fn batch(State(api): State<Api>, Path(id): Path<String>) -> Result<Response<Body>, ApiError> {
    Ok(raw_json(200, request::batch_json(&*run(&api, &id).await?)))
}

/// Accepted and dropped: nothing leaves this host.
pub(crate) async fn telemetry() {}
