//! Errors of everything but the event API: `{"error":"..","data":null,"status":404}`.

use axum::body::Body;
use axum::response::IntoResponse;
use http::{HeaderValue, Response, StatusCode, header};
use inngest_state::StoreError;
use serde_json::{Value, json};

/// An error reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ApiError {
    pub(crate) status: u16,
    pub(crate) text: String,
    pub(crate) data: Value,
}

impl ApiError {
    pub(crate) fn new(status: u16, text: impl Into<String>) -> Self {
        Self { status, text: text.into(), data: Value::Null }
    }

    pub(crate) fn bad_request(text: impl Into<String>) -> Self {
        Self::new(400, text)
    }

    pub(crate) fn not_found(text: impl Into<String>) -> Self {
        Self::new(404, text)
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "a request failed in the store");
        Self::new(503, error.to_string())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response<Body> {
        json_reply(self.status, &json!({ "error": self.text, "data": self.data, "status": self.status }))
    }
}

/// A JSON reply that nobody may cache.
pub(crate) fn json_reply(status: u16, value: &Value) -> Response<Body> {
    raw_json(status, value.to_string())
}

/// As [`json_reply`], of text that is JSON already.
pub(crate) fn raw_json(status: u16, json: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(json.into());
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// 405 with the methods that exist.
pub(crate) fn method_not_allowed(allow: &'static str) -> Response<Body> {
    let mut response = ApiError::new(405, "Method not allowed").into_response();
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
    response
}
