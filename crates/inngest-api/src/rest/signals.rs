//! `POST /v1/signals`: a signal for the run that waits for it.

use axum::body::Body;
use axum::extract::State;
use http::{HeaderMap, Response};
use inngest_core::limits;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{Json, envelope};
use crate::error::ApiError;
use crate::{Api, body};

#[derive(Deserialize, JsonSchema)]
pub(super) struct Signal<'b> {
    /// Its name.
    #[serde(default)]
    #[schemars(required)]
    signal: String,
    /// Any JSON.
    #[serde(borrow, default)]
    #[schemars(with = "Json")]
    data: Option<&'b RawValue>,
}

pub(crate) async fn send(State(api): State<Api>, headers: HeaderMap, body: Body) -> Result<Response<Body>, ApiError> {
    let body = body::read_whole(&headers, body, limits::STEP_OUTPUT_BYTES_MAX).await?;
    let canonical = body::canonical(&body).ok_or_else(invalid)?;
    let signal: Signal<'_> = body::object(&canonical).map_err(|_| invalid())?;
    if signal.signal.is_empty() {
        return Err(ApiError::bad_request("signal is required"));
    }
    let data = signal.data.map_or("null", RawValue::get);
    match api.engine.signal(&signal.signal, data.as_bytes()).await? {
        Some(run) => Ok(envelope(api.engine.ids(), Resumed { run_id: run.to_string() })),
        None => Err(ApiError::not_found("No signal found")),
    }
}

/// The run that waited for a signal.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Resumed {
    run_id: String,
}

fn invalid() -> ApiError {
    ApiError::bad_request("Invalid signal data")
}
