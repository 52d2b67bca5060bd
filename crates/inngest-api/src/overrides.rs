//! `/fn/step-limit` and `/fn/state-size-limit`: other limits for one function, for tests of SDKs and servers.

use axum::body::Body;
use axum::extract::{RawQuery, State};
use http::HeaderMap;
use inngest_core::FunctionId;
use inngest_core::limits::RunLimits;

use crate::error::ApiError;
use crate::{Api, body};

const BODY_BYTES_MAX: usize = 4 * 1024;

/// Which limit a route is about.
#[derive(Clone, Copy)]
pub(crate) enum Limit {
    Steps,
    StateBytes,
}

pub(crate) async fn set_steps(
    api: State<Api>,
    query: RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<(), ApiError> {
    set(Limit::Steps, api, query, headers, body).await
}

pub(crate) async fn set_state(
    api: State<Api>,
    query: RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<(), ApiError> {
    set(Limit::StateBytes, api, query, headers, body).await
}

pub(crate) async fn reset_steps(
    api: State<Api>,
    query: RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<(), ApiError> {
    reset(Limit::Steps, api, query, headers, body).await
}

pub(crate) async fn reset_state(
    api: State<Api>,
    query: RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<(), ApiError> {
    reset(Limit::StateBytes, api, query, headers, body).await
}

async fn set(
    which: Limit,
    State(api): State<Api>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<(), ApiError> {
    let fields = Fields::read(query, &headers, body).await?;
    let function = fields.function()?;
    let text = fields.get("limit");
    let limit: usize = text.parse().map_err(|_| ApiError::bad_request(format!("Invalid limit: {text}")))?;
    api.engine.override_limits(function, Some(with(which, api.engine.limits(function), limit)));
    Ok(())
}

async fn reset(
    which: Limit,
    State(api): State<Api>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<(), ApiError> {
    let fields = Fields::read(query, &headers, body).await?;
    let function = fields.function()?;
    let (now, usual) = (api.engine.limits(function), api.engine.usual_limits());
    let (of_now, of_usual, name) = match which {
        Limit::Steps => (now.steps, usual.steps, "step"),
        Limit::StateBytes => (now.state_bytes, usual.state_bytes, "state size"),
    };
    if of_now == of_usual {
        return Err(ApiError::not_found(format!("No {name} limit set for function: {function}")));
    }
    let left = with(which, now, of_usual);
    api.engine.override_limits(function, (left != usual).then_some(left));
    Ok(())
}

const fn with(which: Limit, limits: RunLimits, limit: usize) -> RunLimits {
    match which {
        Limit::Steps => RunLimits { steps: limit, ..limits },
        Limit::StateBytes => RunLimits { state_bytes: limit, ..limits },
    }
}

/// Fields of the query or of a form; the query goes first.
struct Fields(Vec<(String, String)>);

impl Fields {
    async fn read(query: Option<String>, headers: &HeaderMap, body: Body) -> Result<Self, ApiError> {
        let body = body::read_whole(headers, body, BODY_BYTES_MAX).await?;
        let mut fields: Vec<(String, String)> =
            form_urlencoded::parse(query.unwrap_or_default().as_bytes()).into_owned().collect();
        fields.extend(form_urlencoded::parse(&body).into_owned());
        Ok(Self(fields))
    }

    fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }

    fn function(&self) -> Result<FunctionId, ApiError> {
        let text = self.get("functionId");
        text.parse().map_err(|_| ApiError::bad_request(format!("Invalid function ID: {text}")))
    }
}
