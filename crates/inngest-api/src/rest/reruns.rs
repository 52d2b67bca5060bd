//! `POST /v1/runs/{id}/rerun` and `POST /v1/reruns`: runs once more.

use axum::body::Body;
use axum::extract::State;
use bytes::Bytes;
use http::{HeaderMap, Response};
use inngest_core::{Millis, Payload, RunStatus, limits};
use inngest_executor::engine::{FromStep, RerunError};
use inngest_expr::date;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::runs::parse_id;
use super::{Json, bare, envelope};
use crate::error::ApiError;
use crate::paths::Path;
use crate::{Api, body};

/// Runs that one request starts at most, unless it says less.
const MANY_MAX: usize = 10_000;

/// In both spellings. A field that is not known is refused: a rerun from a step must not become one from the start.
#[derive(Deserialize, Default, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
#[schemars(rename = "Rerun")]
pub(super) struct One<'b> {
    #[serde(borrow, alias = "from_step")]
    from_step: Option<Step<'b>>,
}

#[derive(Deserialize, Default, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
#[schemars(rename = "FromStep")]
struct Step<'b> {
    /// The step's name, as the user wrote it.
    #[serde(alias = "step_id")]
    step_id: String,
    /// Instead of what the step was given before.
    #[serde(borrow)]
    #[schemars(with = "Json")]
    input: Option<&'b RawValue>,
}

/// Why the body of a rerun cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadRerun {
    #[error("{0}")]
    Json(String),
    #[error("Step ID is required")]
    NoStep,
}

pub(crate) async fn body_of_one(headers: &HeaderMap, body: Body) -> Result<Bytes, ApiError> {
    body::read_whole(headers, body, limits::STEP_INPUT_BYTES_MAX).await
}

/// The step from which a run is to run again; `None`: from the start.
pub(crate) fn from_step(body: &[u8]) -> Result<Option<FromStep>, BadRerun> {
    let text = if body.iter().all(u8::is_ascii_whitespace) { &b"{}"[..] } else { body };
    // Names stand within quotes in errors of v2.
    let request: One<'_> = body::object(text).map_err(|error| BadRerun::Json(error.to_string().replace('`', "\"")))?;
    match request.from_step {
        None => Ok(None),
        Some(step) if step.step_id.is_empty() => Err(BadRerun::NoStep),
        Some(step) => Ok(Some(FromStep {
            step: step.step_id,
            input: step.input.map(|input| Payload::copy_from_slice(input.get().as_bytes())),
        })),
    }
}

pub(crate) async fn one(
    State(api): State<Api>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response<Body>, ApiError> {
    let run = parse_id(&id)?;
    let body = body_of_one(&headers, body).await?;
    let from = from_step(&body).map_err(|problem| match problem {
        BadRerun::Json(text) => ApiError::bad_request(format!("Invalid rerun request: {text}")),
        BadRerun::NoStep => ApiError::bad_request(problem.to_string()),
    })?;
    let new = api.engine.rerun(run, from.as_ref()).await.map_err(refused)?;
    Ok(bare(&New { data: NewRun { run_id: new.to_string() } }))
}

/// A misspelt bound must not become none.
#[derive(Deserialize, Default, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Reruns")]
pub(super) struct Many {
    /// `<app>-<function>`.
    #[schemars(required)]
    function_id: String,
    /// Only runs that ended so; all but `Skipped` if none is named.
    status: Vec<String>,
    queued_after: Option<String>,
    queued_before: Option<String>,
    limit: Option<usize>,
}

/// `{"function_id":"app-fn","status":["Failed"],"queued_after":"..","queued_before":"..","limit":100}`: only ended
/// runs that were scheduled before the request; all ended ones but those that were skipped when no status is given. The
/// reply counts the runs that start, and those that are skipped since another run of their singleton goes on.
pub(crate) async fn many(State(api): State<Api>, headers: HeaderMap, body: Body) -> Result<Response<Body>, ApiError> {
    let body = body::read_whole(&headers, body, 64 * 1024).await?;
    let request: Many =
        body::object(&body).map_err(|error| ApiError::bad_request(format!("Invalid rerun request: {error}")))?;
    if request.function_id.is_empty() {
        return Err(ApiError::bad_request("function_id is required"));
    }
    let registry = api.engine.registry();
    let function = registry.by_slug(&request.function_id);
    let function = function.ok_or_else(|| ApiError::not_found("function not found"))?.id;
    let time = |name: &str, text: &Option<String>| match text.as_deref() {
        None => Ok(None),
        Some(text) => {
            let at = date::parse(text).ok_or_else(|| ApiError::bad_request(format!("{name} must be a date")))?;
            Ok::<_, ApiError>(Some(at))
        }
    };
    let final_status = |text: &String| {
        let found = RunStatus::ALL.into_iter().find(|status| status.as_str().eq_ignore_ascii_case(text));
        let found = found.filter(|status| status.is_final());
        found.ok_or_else(|| ApiError::bad_request(format!("Invalid status: {text}; a final one is expected")))
    };
    let mut statuses = request.status.iter().map(final_status).collect::<Result<Vec<_>, _>>()?;
    if statuses.is_empty() {
        let ended = |status: &RunStatus| status.is_final() && *status != RunStatus::Skipped;
        statuses = RunStatus::ALL.into_iter().filter(ended).collect();
    }
    // The new runs are not among those to be run again.
    let before_now = Millis(api.engine.ids().now().0 - 1);
    let until = time("queued_before", &request.queued_before)?.unwrap_or(before_now).min(before_now);
    let from = time("queued_after", &request.queued_after)?;
    let max = request.limit.unwrap_or(MANY_MAX).min(MANY_MAX);
    let reruns = api.engine.rerun_many(function, statuses, from, until, max).await.map_err(refused)?;
    Ok(envelope(api.engine.ids(), Counted { count: reruns.started, skipped: reruns.skipped }))
}

/// A run that was started once more.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "NewRunReply")]
pub(super) struct New {
    data: NewRun,
}

/// The new run.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct NewRun {
    run_id: String,
}

/// Runs that were started once more.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "RerunCount")]
pub(super) struct Counted {
    /// How many have started.
    count: usize,
    /// How many were skipped, since another run of their singleton goes on.
    skipped: usize,
}

fn refused(error: RerunError) -> ApiError {
    match error {
        RerunError::UnknownRun(_) | RerunError::UnknownFunction(_) => ApiError::not_found(error.to_string()),
        RerunError::UnknownStep | RerunError::AmbiguousStep | RerunError::BadInput => {
            ApiError::bad_request(error.to_string())
        }
        RerunError::Store(error) => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_named_in_either_spelling_and_nothing_else_passes() {
        for body in [
            r#"{"fromStep":{"stepId":"b","input":[1]}}"#,
            r#"{"from_step":{"step_id":"b","input":[1]}}"#,
            r#"{"from_step":{"stepId":"b","input":[1]}}"#,
        ] {
            let from = from_step(body.as_bytes()).unwrap().expect("a step");
            assert_eq!((from.step.as_str(), from.input.as_deref()), ("b", Some(&b"[1]"[..])), "{body}");
        }
        for body in ["", " ", "{}", r#"{"fromStep":null}"#] {
            assert!(from_step(body.as_bytes()).unwrap().is_none(), "{body}");
        }
        for (body, text) in [
            (r#"{"fromstep":{"stepId":"b"}}"#, "unknown field \"fromstep\""),
            (r#"{"fromStep":{"id":"b"}}"#, "unknown field \"id\""),
            (r#"{"fromStep":{"stepId":"b"},"from_step":{"stepId":"c"}}"#, "duplicate field"),
            (r#"{"fromStep":"b"}"#, "invalid type"),
            ("[]", "invalid type"),
            (r#"{"fromStep":{}}"#, "Step ID is required"),
            ("{", "EOF"),
        ] {
            let problem = from_step(body.as_bytes()).unwrap_err().to_string();
            assert!(problem.starts_with(text), "{body}: {problem}");
        }
        assert!(serde_json::from_str::<Many>(r#"{"function_id":"f","queued_befor":"x"}"#).is_err());
    }
}
