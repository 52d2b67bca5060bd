//! `POST /v1/signals`: a signal for the run that waits for it.

use axum::body::Body;
use axum::extract::State;
use http::{HeaderMap, Response};
use inngest_core::limits;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::envelope;
use crate::error::ApiError;
use crate::{Api, body};

#[derive(Deserialize)]
struct Signal<'b> {
    #[serde(default)]
    signal: String,
    #[serde(borrow, default)]
    data: Option<&'b RawValue>,
}

pub(crate) async fn send(State(api): State<Api>, headers: HeaderMap, body: Body) -> Result<Response<Body>, ApiError> {
    let body = body::read_whole(&headers, body, limits::STEP_OUTPUT_BYTES_MAX).await?;
    let canonical = body::canonical(&body).ok_or_else(invalid)?;
    let signal: Signal<'_> = serde_json::from_slice(&canonical).map_err(|_| invalid())?;
    if signal.signal.is_empty() {
        return Err(ApiError::bad_request("signal is required"));
    }
    let data = signal.data.map_or("null", RawValue::get);
    match api.engine.signal(&signal.signal, data.as_bytes()).await? {
        Some(run) => Ok(envelope(api.engine.ids(), &json!({ "run_id": run.to_string() }))),
        None => Err(ApiError::not_found("No signal found")),
    }
}

fn invalid() -> ApiError {
    ApiError::bad_request("Invalid signal data")
}
