//! `POST /v1/runs/{id}/metadata`: notes about a run or one of its steps.

use axum::body::Body;
use axum::extract::State;
use http::HeaderMap;
use inngest_core::{StepId, limits};
use inngest_executor::engine::NoteTarget;
use inngest_executor::response::metadata::{MetadataError, Reported};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::runs::parse_id;
use crate::error::ApiError;
use crate::paths::Path;
use crate::{Api, body};

#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "Notes")]
pub(super) struct Request<'b> {
    /// The run as a whole if it is left out.
    #[serde(default)]
    target: Option<Target>,
    /// `{"kind":"userland.note","op":"merge","values":{..}}`; `op` is `merge`, `set`, `delete` or `add`.
    #[serde(borrow, default)]
    #[schemars(with = "Option<Vec<Map<String, Value>>>")]
    metadata: Option<Vec<Reported<'b>>>,
}

#[derive(Deserialize, Default, JsonSchema)]
#[serde(default)]
#[schemars(rename = "NoteTarget")]
struct Target {
    /// The step's id, as the user wrote it.
    step_id: Option<String>,
    /// Which one of the steps of this id.
    step_index: Option<u64>,
    /// Counted from 0; -1 is the last one.
    step_attempt: Option<i64>,
    /// 16 hexadecimal digits.
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
    let target = request.target.unwrap_or_default().meant().map_err(refused)?;
    let scope = match &target {
        NoteTarget { span: Some(_), .. } => "extended_trace",
        NoteTarget { attempt: Some(_), .. } => "step_attempt",
        NoteTarget { step: Some(_), .. } => "step",
        NoteTarget { .. } => "run",
    };
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
    Ok(api.engine.note(run, target, notes).await?)
}

impl Target {
    /// What of the run is meant; nothing of it means the run itself.
    fn meant(&self) -> Result<NoteTarget, MetadataError> {
        let Self { step_id, step_index, step_attempt, span_id } = self;
        let Some(id) = step_id else {
            let of_a_step = step_index.is_some() || step_attempt.is_some() || span_id.is_some();
            return if of_a_step { Err(MetadataError::Shape) } else { Ok(NoteTarget::default()) };
        };
        // -1 means the last attempt, as if none were named.
        let attempt = step_attempt.filter(|attempt| *attempt != -1).map(u32::try_from).transpose();
        let span = span_id.as_deref().map(span).transpose()?;
        Ok(NoteTarget {
            step: Some(StepId::hashed(id, step_index.unwrap_or(0))),
            attempt: attempt.map_err(|_| MetadataError::Shape)?,
            span,
        })
    }
}

/// The id of a span, 16 hexadecimal digits.
fn span(text: &str) -> Result<[u8; 8], MetadataError> {
    let is_id = text.len() == 16 && text.bytes().all(|digit| digit.is_ascii_hexdigit());
    let id = u64::from_str_radix(text, 16).ok().filter(|_| is_id);
    id.map(u64::to_be_bytes).ok_or(MetadataError::Shape)
}

fn refused(error: MetadataError) -> ApiError {
    let status = if error == MetadataError::TooLarge { 413 } else { 400 };
    ApiError::new(status, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meant(target: &str) -> Result<NoteTarget, MetadataError> {
        serde_json::from_str::<Target>(target).map_err(|_| MetadataError::Shape)?.meant()
    }

    #[test]
    fn a_target_is_a_run_a_step_an_attempt_or_a_span() {
        let of = |step: &str, attempt, span| {
            Ok(NoteTarget { step: Some(step).filter(|step| !step.is_empty()).map(StepId::from), attempt, span })
        };
        let (a, a_1) = ("86f7e437faa5a7fce15d1ddcb9eaeaea377667b8", "de89bfaf06245091a7873290a793604612302247");
        assert_eq!(meant("{}"), of("", None, None));
        assert_eq!(meant(r#"{"step_id":"a","step_index":0,"step_attempt":-1}"#), of(a, None, None));
        assert_eq!(meant(r#"{"step_id":"a","step_attempt":2}"#), of(a, Some(2), None));
        let span = meant(r#"{"step_id":"a","step_attempt":0,"span_id":"00f067aa0ba902b7"}"#);
        assert_eq!(span, of(a, Some(0), Some([0, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7])));
        assert_eq!(meant(r#"{"step_id":"a","step_index":1}"#), of(a_1, None, None));
        for bad in [
            r#"{"step_index":0}"#,
            r#"{"step_attempt":0}"#,
            r#"{"span_id":"00f067aa0ba902b7"}"#,
            r#"{"step_id":"a","step_attempt":-2}"#,
            r#"{"step_id":"a","span_id":"f0"}"#,
            r#"{"step_id":"a","span_id":"+0f067aa0ba902b7"}"#,
            r#"{"step_id":7}"#,
        ] {
            assert_eq!(meant(bad), Err(MetadataError::Shape), "{bad}");
        }
    }
}
