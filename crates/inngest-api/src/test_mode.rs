//! `/test/..` with `TEST_MODE=true`: what the Go server's own end-to-end tests ask of a server.

use axum::Router;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use http::{HeaderMap, Response, StatusCode};
use inngest_core::{FunctionId, RunId};
use inngest_state::{Hold, StoreError};
use serde_json::json;
use uuid::Uuid;

use crate::Api;
use crate::error::{ApiError, json_reply};
use crate::fields::Fields;

pub(crate) fn router() -> Router<Api> {
    Router::new()
        .route("/test", get("OK"))
        .route("/test/", get("OK"))
        .route("/test/reset", post(reset))
        .route("/test/function/pause", post(pause))
        .route("/test/function/runs/cancel", post(cancel))
        .route("/test/queue/function-queue-size", get(queue_size))
}

/// Errors are plain text here.
struct Problem(StatusCode, String);

impl IntoResponse for Problem {
    fn into_response(self) -> Response<Body> {
        (self.0, self.1).into_response()
    }
}

impl From<ApiError> for Problem {
    fn from(error: ApiError) -> Self {
        Self(StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), error.text)
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        ApiError::from(error).into()
    }
}

fn id<T: std::str::FromStr>(fields: &Fields, name: &str) -> Result<T, Problem> {
    fields.get(name).parse().map_err(|_| Problem(StatusCode::BAD_REQUEST, format!("Invalid {name}")))
}

/// Ends all runs, and forgets what waits to start one.
async fn reset(State(api): State<Api>) -> Result<&'static str, Problem> {
    api.engine.reset().await?;
    Ok("ok")
}

/// As the Go server pauses: new runs are skipped.
async fn pause(
    State(api): State<Api>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<&'static str, Problem> {
    let fields = Fields::read(query, &headers, body).await?;
    let function: FunctionId = id(&fields, "fnId")?;
    api.engine.hold(function, Some(Hold::PausedSkip)).await?;
    Ok("OK")
}

async fn cancel(
    State(api): State<Api>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<&'static str, Problem> {
    let fields = Fields::read(query, &headers, body).await?;
    id::<Uuid>(&fields, "accountId")?;
    id::<FunctionId>(&fields, "fnId")?;
    let run: RunId = id(&fields, "runId")?;
    api.engine.cancel(run).await?;
    Ok("OK")
}

/// Every job of a function counts: those that are due, sleep, are tried again or only watch the time.
async fn queue_size(State(api): State<Api>, RawQuery(query): RawQuery) -> Result<Response<Body>, Problem> {
    let fields = Fields::read(query, &HeaderMap::new(), Body::empty()).await?;
    id::<Uuid>(&fields, "accountId")?;
    let function: FunctionId = id(&fields, "fnId")?;
    Ok(json_reply(200, &json!({ "count": api.engine.count_jobs(function).await? })))
}
