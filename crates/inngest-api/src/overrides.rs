//! `/fn/step-limit` and `/fn/state-size-limit`: other limits for one function, for tests of SDKs and servers.

use axum::body::Body;
use axum::extract::{RawQuery, State};
use http::HeaderMap;
use inngest_core::FunctionId;
use inngest_core::limits::RunLimits;

use crate::Api;
use crate::error::ApiError;
use crate::fields::Fields;

/// Which limit a route is about.
pub(crate) trait Limit {
    /// In the texts of errors.
    const NAME: &'static str;
    /// What may be asked for at most.
    const MAX: usize;
    fn of(limits: RunLimits) -> usize;
    fn with(limits: RunLimits, limit: usize) -> RunLimits;
}

/// Steps of a run.
pub(crate) struct Steps;

impl Limit for Steps {
    const NAME: &'static str = "step";
    const MAX: usize = 10_000;

    fn of(limits: RunLimits) -> usize {
        limits.steps
    }

    fn with(limits: RunLimits, steps: usize) -> RunLimits {
        RunLimits { steps, ..limits }
    }
}

/// Bytes of a run's state.
pub(crate) struct StateBytes;

impl Limit for StateBytes {
    const NAME: &'static str = "state size";
    /// As `--max-run-state`.
    const MAX: usize = 1 << 30;

    fn of(limits: RunLimits) -> usize {
        limits.state_bytes
    }

    fn with(limits: RunLimits, state_bytes: usize) -> RunLimits {
        RunLimits { state_bytes, ..limits }
    }
}

pub(crate) async fn set<L: Limit>(
    State(api): State<Api>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<(), ApiError> {
    let fields = Fields::read(query, &headers, body).await?;
    let text = fields.get("functionId");
    let function = text.parse().map_err(|_| ApiError::bad_request(format!("Invalid function ID: {text}")))?;
    let limit = limit(fields.get("limit"), L::MAX)?;
    api.engine.override_limits(function, Some(L::with(api.engine.limits(function), limit)));
    Ok(())
}

pub(crate) async fn reset<L: Limit>(
    State(api): State<Api>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<(), ApiError> {
    let fields = Fields::read(query, &headers, body).await?;
    let text = fields.get("functionId");
    let unset = || ApiError::not_found(format!("No {} limit set for function: {text}", L::NAME));
    // What is no id is the id of no function.
    let function: FunctionId = text.parse().map_err(|_| unset())?;
    let (now, usual) = (api.engine.limits(function), api.engine.usual_limits());
    if L::of(now) == L::of(usual) {
        return Err(unset());
    }
    let left = L::with(now, L::of(usual));
    api.engine.override_limits(function, (left != usual).then_some(left));
    Ok(())
}

fn limit(text: &str, max: usize) -> Result<usize, ApiError> {
    let invalid = || ApiError::bad_request(format!("Invalid limit: {text}"));
    let limit: usize = text.parse().map_err(|_| invalid())?;
    if limit > max {
        return Err(ApiError::bad_request(format!("Invalid limit: {text}; at most {max} is possible")));
    }
    Ok(limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_a_number_within_bounds() {
        assert_eq!(limit("10000", Steps::MAX), Ok(10_000));
        for text in ["10001", "-1", "x", "", "1.5", "99999999999999999999999"] {
            let error = limit(text, Steps::MAX).unwrap_err();
            assert!(error.status == 400 && error.text.starts_with(&format!("Invalid limit: {text}")), "{error:?}");
        }
    }
}
