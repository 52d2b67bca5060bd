//! What SDKs fetch while they work on a run whose state is too large for a request, and the oldest way to cancel one.

use axum::body::Body;
use axum::extract::State;
use http::{Response, StatusCode};
use inngest_core::{RunId, RunStatus};
use inngest_executor::engine::Cancelled;
use inngest_executor::request;
use inngest_state::RunState;
use std::sync::Arc;

use crate::error::{ApiError, raw_json};
use crate::paths::Path;
use crate::{Api, body};

fn parse_id(id: &str) -> Result<RunId, ApiError> {
    id.parse().map_err(|_| ApiError::bad_request("The run ID specified is invalid"))
}

async fn run(api: &Api, id: &str) -> Result<Arc<RunState>, ApiError> {
    let id = parse_id(id)?;
    let gone = || ApiError::new(410, format!("runtime state is no longer available for runID: {id}"));
    api.engine.run(id).await?.ok_or_else(gone)
}

pub(crate) async fn actions(State(api): State<Api>, Path(id): Path<String>) -> Result<Response<Body>, ApiError> {
    Ok(raw_json(200, request::actions_json(&*run(&api, &id).await?)))
}

pub(crate) async fn batch(State(api): State<Api>, Path(id): Path<String>) -> Result<Response<Body>, ApiError> {
    Ok(raw_json(200, request::batch_json(&*run(&api, &id).await?)))
}

/// `DELETE /v0/runs/{id}`.
pub(crate) async fn cancel(State(api): State<Api>, Path(id): Path<String>) -> Result<StatusCode, ApiError> {
    let id = parse_id(&id)?;
    let unknown = || ApiError::not_found("A function run with the given ID could not be found");
    match api.engine.cancel(id).await? {
        Cancelled::Now => Ok(StatusCode::NO_CONTENT),
        Cancelled::Unknown => Err(unknown()),
        Cancelled::AlreadyEnded => match api.engine.history().run_record(id).await?.ok_or_else(unknown)?.status {
            RunStatus::Cancelled => Ok(StatusCode::NO_CONTENT),
            _ => Err(ApiError::new(409, "This function has already completed")),
        },
    }
}

/// Accepted and dropped: nothing leaves this host.
pub(crate) async fn telemetry(body: Body) {
    body::discard(body).await;
}
