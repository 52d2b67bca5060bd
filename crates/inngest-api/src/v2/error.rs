//! Errors of REST v2: `{"errors":[{"code":"..","message":".."}]}`.

use axum::body::Body;
use axum::response::IntoResponse;
use http::{HeaderMap, Response, header};
use inngest_executor::engine::{InvokeError, RerunError};
use inngest_state::StoreError;
use schemars::JsonSchema;
use serde::Serialize;

use crate::body::BodyError;
use crate::error::raw_json;

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Error {
    status: u16,
    body: Errors,
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub(super) struct Errors {
    /// At least one.
    errors: Vec<Problem>,
}

/// One thing that went wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "Error")]
struct Problem {
    /// Names the kind of problem, and does not change.
    code: &'static str,
    /// For people.
    message: String,
}

impl Error {
    pub(super) fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, body: Errors { errors: vec![Problem { code, message: message.into() }] } }
    }

    /// A request without a signing key that is known.
    pub(crate) fn unauthorised(headers: &HeaderMap) -> Self {
        let given = headers.contains_key(header::AUTHORIZATION);
        let code = if given { "invalid_signing_key" } else { "authorization_header_missing" };
        Self::new(401, code, "Authentication failed")
    }

    /// A request from where none may come.
    pub(crate) fn forbidden(message: impl Into<String>) -> Self {
        Self::new(403, "access_denied", message)
    }

    /// A path or a method that does not exist.
    pub(crate) fn no_route(status: u16, message: &str) -> Self {
        Self::new(status, "api_error", message)
    }

    /// What cannot be read.
    pub(super) fn unreadable(message: impl Into<String>) -> Self {
        Self::new(400, "api_error", message)
    }

    /// Something that is there, but says what it cannot.
    pub(super) fn bad_field(message: impl Into<String>) -> Self {
        Self::new(400, "invalid_field_format", message)
    }

    /// Something that must be there.
    pub(super) fn missing(message: impl Into<String>) -> Self {
        Self::new(400, "missing_field", message)
    }

    /// A request that is well formed and cannot be meant.
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(400, "invalid_request", message)
    }

    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self::new(404, "not_found", message)
    }

    pub(super) fn not_implemented(message: impl Into<String>) -> Self {
        Self::new(501, "not_implemented", message)
    }

    /// With one problem more.
    pub(super) fn and(mut self, other: Self) -> Self {
        self.body.errors.extend(other.body.errors);
        self
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response<Body> {
        raw_json(self.status, serde_json::to_string(&self.body).unwrap_or_default())
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "a request failed in the store");
        Self::new(503, "internal_error", error.to_string())
    }
}

impl From<BodyError> for Error {
    fn from(error: BodyError) -> Self {
        let text = match error {
            BodyError::TooLarge(max) => format!("Request body cannot exceed {max} bytes"),
            _ => error.to_string(),
        };
        Self::new(error.status(), "invalid_request", text)
    }
}

impl From<RerunError> for Error {
    fn from(error: RerunError) -> Self {
        match error {
            RerunError::UnknownRun(_) => Self::not_found("Run not found"),
            RerunError::UnknownFunction(_) => Self::not_found("Function not found"),
            RerunError::UnknownStep => Self::invalid("Step not found in original run"),
            RerunError::AmbiguousStep => Self::invalid("Step name matches multiple steps in original run"),
            RerunError::BadInput => Self::invalid(error.to_string()),
            RerunError::Store(error) => error.into(),
        }
    }
}

impl From<InvokeError> for Error {
    fn from(error: InvokeError) -> Self {
        match error {
            InvokeError::NotFound(_) => Self::not_found("Function not found"),
            InvokeError::Store(error) => error.into(),
        }
    }
}
