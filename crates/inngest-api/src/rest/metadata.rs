//! `POST /v1/runs/{id}/metadata`: notes about a run or one of its steps.

use axum::body::Body;
use axum::extract::{Path, State};
use http::HeaderMap;
use inngest_core::{StepId, limits};
use inngest_executor::response::metadata::{MetadataError, Reported};
use serde::Deserialize;
use sha1::{Digest as _, Sha1};

use super::runs::parse_id;
use crate::error::ApiError;
use crate::{Api, body};

#[derive(Deserialize)]
struct Request<'b> {
    #[serde(default)]
    target: Option<Target>,
    #[serde(borrow, default)]
    metadata: Option<Vec<Reported<'b>>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Target {
    step_id: Option<String>,
    step_index: Option<u64>,
    step_attempt: Option<i64>,
    span_id: Option<String>,
}

pub(crate) async fn add(
    State(api): State<Api>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<(), ApiError> {
    let run = parse_id(&id)?;
    let body = body::read_whole(&headers, body, 2 * limits::METADATA_OF_RUN_BYTES_MAX).await?;
    let request: Request<'_> = body::object(&body).map_err(|_| refused(MetadataError::Shape))?;
    let step = request.target.unwrap_or_default().step().map_err(refused)?;
    let scope = if step.is_some() { "step" } else { "run" };
    let notes = request.metadata.iter().flatten();
    let notes = notes.map(|note| note.check(scope)).collect::<Result<Vec<_>, _>>().map_err(refused)?;
    if api.engine.history().run_record(run).await?.is_none() {
        return Err(ApiError::not_found("Unable to find metadata target"));
    }
    if notes.is_empty() {
        return Ok(());
    }
    let added: usize = notes.iter().map(|note| note.values.len()).sum();
    if api.engine.noted_bytes(run).await? + added > limits::METADATA_OF_RUN_BYTES_MAX {
        return Err(ApiError::new(413, "Cumulative metadata size exceeds limit"));
    }
    Ok(api.engine.note(run, step, notes).await?)
}

impl Target {
    /// The hashed id of the step that is meant; `None` means the run.
    fn step(&self) -> Result<Option<StepId>, MetadataError> {
        let Some(id) = &self.step_id else {
            let of_a_step = self.step_index.is_some() || self.step_attempt.is_some() || self.span_id.is_some();
            return if of_a_step { Err(MetadataError::Shape) } else { Ok(None) };
        };
        let text = match self.step_index.unwrap_or(0) {
            0 => id.clone(),
            index => format!("{id}:{index}"),
        };
        let hash: String = Sha1::digest(text).iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Some(StepId::from(hash.as_str())))
    }
}

fn refused(error: MetadataError) -> ApiError {
    let status = if error == MetadataError::TooLarge { 413 } else { 400 };
    ApiError::new(status, error.to_string())
}
