//! REST v2, as far as it is there: the form of its errors, and reruns.

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::IntoResponse;
use http::{HeaderMap, Response, header};
use inngest_core::RunId;
use inngest_executor::engine::RerunError;
use serde_json::json;

use crate::Api;
use crate::error::{ApiError, json_reply};
use crate::rest::reruns::{self, BadRerun};

/// `{"errors":[{"code":"..","message":".."}]}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Error {
    status: u16,
    code: &'static str,
    message: String,
}

impl Error {
    fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }

    /// A request without a signing key that is known.
    pub(crate) fn unauthorised(headers: &HeaderMap) -> Self {
        let given = headers.contains_key(header::AUTHORIZATION);
        let code = if given { "invalid_signing_key" } else { "authorization_header_missing" };
        Self::new(401, code, "Authentication failed")
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response<Body> {
        json_reply(self.status, &json!({ "errors": [{ "code": self.code, "message": self.message }] }))
    }
}

impl From<ApiError> for Error {
    fn from(error: ApiError) -> Self {
        let code = match error.status {
            400 | 413 => "invalid_request",
            404 => "not_found",
            _ => "internal_error",
        };
        Self::new(error.status, code, error.text)
    }
}

impl From<BadRerun> for Error {
    fn from(problem: BadRerun) -> Self {
        let code = match problem {
            BadRerun::Json(_) => "api_error",
            BadRerun::NoStep => "missing_field",
        };
        Self::new(400, code, problem.to_string())
    }
}

impl From<RerunError> for Error {
    fn from(error: RerunError) -> Self {
        match error {
            RerunError::UnknownRun(_) => Self::new(404, "not_found", "Run not found"),
            RerunError::UnknownFunction(_) => Self::new(404, "not_found", "Function not found"),
            RerunError::UnknownStep => Self::new(400, "invalid_request", "Step not found in original run"),
            RerunError::AmbiguousStep => {
                Self::new(400, "invalid_request", "Step name matches multiple steps in original run")
            }
            RerunError::BadInput => Self::new(400, "invalid_request", error.to_string()),
            RerunError::Store(error) => ApiError::from(error).into(),
        }
    }
}

/// Whether a path is one of v2.
pub(crate) fn has(path: &str) -> bool {
    path.starts_with("/v2/") || path.starts_with("/api/v2/")
}

/// `POST /v2/runs/{id}/rerun`.
pub(crate) async fn rerun(
    State(api): State<Api>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response<Body>, Error> {
    let id: RunId = id.parse().map_err(|_| Error::new(400, "invalid_field_format", "Run ID must be a valid ULID"))?;
    let body = reruns::body_of_one(&headers, body).await?;
    let from = reruns::from_step(&body)?;
    let new = api.engine.rerun(id, from.as_ref()).await?;
    Ok(json_reply(200, &json!({ "data": { "runId": new.to_string() } })))
}
