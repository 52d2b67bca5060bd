//! `/v1/cancellations`: many runs of a function are cancelled at once.

use axum::body::Body;
use axum::extract::State;
use http::{HeaderMap, Response};
use inngest_core::{Function, Millis};
use inngest_executor::engine::{CancellationError, NewCancellation};
use inngest_executor::registry::Registry;
use inngest_expr::date;
use inngest_state::Cancellation;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

use super::{ACCOUNT, ENVIRONMENT, envelope, rfc3339};
use crate::definitions::Definitions;
use crate::error::ApiError;
use crate::paths::Path;
use crate::{Api, body};

/// Clocks of callers may be ahead of ours by so much.
const TOLERANCE: Duration = Duration::from_secs(5);
const BODY_BYTES_MAX: usize = 64 * 1024;

/// A misspelt bound must not become none.
#[derive(Deserialize, Default, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "NewCancellation")]
pub(super) struct Request {
    /// Name or id of the app.
    #[schemars(required)]
    app_id: String,
    /// Id of the function, with or without the name of its app in front.
    #[schemars(required)]
    function_id: String,
    started_after: Option<String>,
    /// Not in the future.
    #[schemars(required)]
    started_before: Option<String>,
    /// Only runs whose event satisfies this expression.
    #[serde(rename = "if")]
    condition: Option<String>,
}

pub(crate) async fn create(State(api): State<Api>, headers: HeaderMap, body: Body) -> Result<Response<Body>, ApiError> {
    let body = body::read_whole(&headers, body, BODY_BYTES_MAX).await?;
    let invalid = |cause: String| ApiError::bad_request(format!("Invalid cancellation request: {cause}"));
    let request: Request = body::object(&body).map_err(|error| invalid(error.to_string()))?;
    let time = |name: &str, text: &Option<String>| match text.as_deref().filter(|text| !text.is_empty()) {
        None => Ok(None),
        Some(text) => date::parse(text).map(Some).ok_or_else(|| invalid(format!("{name} must be a date"))),
    };
    let after = time("started_after", &request.started_after)?;
    let before = time("started_before", &request.started_before)?;
    let before = check(&request, after, before, api.engine.ids().now())?;
    let registry = api.engine.registry();
    let function = function(&registry, &request).ok_or_else(|| ApiError::not_found("function not found"))?;
    let new = NewCancellation {
        function: function.id,
        started_after: after,
        started_before: before,
        condition: request.condition,
    };
    let done = api.engine.cancel_many(new).await.map_err(|error| match error {
        CancellationError::Store(error) => error.into(),
        error => ApiError::bad_request(error.to_string()),
    })?;
    Ok(envelope(api.engine.ids(), render(&done, Some(function))))
}

fn check(request: &Request, after: Option<Millis>, before: Option<Millis>, now: Millis) -> Result<Millis, ApiError> {
    let rules = [
        (request.app_id.is_empty(), "app_id is required"),
        (request.function_id.is_empty(), "function_id is required"),
        (before.is_none(), "started_before is required"),
        (before.is_some_and(|before| before > now.plus(TOLERANCE)), "started_before must be in the past"),
        (
            after.zip(before).is_some_and(|(after, before)| after >= before),
            "started_after must be before started_before",
        ),
    ];
    let problems: Vec<&str> = rules.into_iter().filter(|(broken, _)| *broken).map(|(_, text)| text).collect();
    match before {
        Some(before) if problems.is_empty() => Ok(before),
        _ => Err(ApiError::bad_request(problems.join("\n"))),
    }
}

/// By slug, with or without the name of the app in front.
fn function<'r>(registry: &'r Registry, request: &Request) -> Option<&'r Arc<Function>> {
    let whole = format!("{}-{}", request.app_id, request.function_id);
    [&*request.function_id, &whole].into_iter().filter_map(|slug| registry.by_slug(slug)).find(|function| {
        registry
            .app(&function.app)
            .is_some_and(|app| *app.name == *request.app_id || app.id.to_string() == request.app_id)
    })
}

/// Those that count: not deleted, and not too old.
pub(crate) async fn list(State(api): State<Api>) -> Result<Response<Body>, ApiError> {
    let all = api.engine.active_cancellations().await?;
    let definitions = Definitions::of(&api, all.iter().map(|cancellation| cancellation.function)).await?;
    let shown = all.iter().map(|cancellation| render(cancellation, definitions.function(cancellation.function)));
    Ok(envelope(api.engine.ids(), shown.collect::<Vec<_>>()))
}

pub(crate) async fn remove(State(api): State<Api>, Path(id): Path<String>) -> Result<Response<Body>, ApiError> {
    if id.parse::<ulid::Ulid>().is_err() {
        return Err(ApiError::bad_request("Invalid cancellation ID"));
    }
    if api.engine.forget_cancellation(&id).await? {
        Ok(envelope(api.engine.ids(), Removed { ok: true }))
    } else {
        Err(ApiError::not_found("Cancellation not found"))
    }
}

/// A cancellation is not carried on.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Removed {
    ok: bool,
}

/// Runs of a function that are cancelled together.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Cancellation")]
pub(super) struct Shown {
    id: String,
    name: Option<String>,
    kind: &'static str,
    cause: &'static str,
    account_id: &'static str,
    environment_id: &'static str,
    app_id: Option<String>,
    function_internal_id: String,
    function_id: Option<String>,
    started_after: Option<String>,
    started_before: String,
    #[serde(rename = "if")]
    condition: Option<String>,
    created_at: String,
    /// When all runs that it means had been looked at.
    done_at: Option<String>,
}

fn render(cancellation: &Cancellation, function: Option<&Arc<Function>>) -> Shown {
    Shown {
        id: cancellation.id.clone(),
        name: None,
        kind: "bulk_run",
        cause: "API",
        account_id: ACCOUNT,
        environment_id: ENVIRONMENT,
        app_id: function.map(|function| function.app.to_string()),
        function_internal_id: cancellation.function.to_string(),
        function_id: function.map(|function| function.slug.to_string()),
        started_after: cancellation.started_after.map(rfc3339),
        started_before: rfc3339(cancellation.started_before),
        condition: cancellation.condition.clone(),
        created_at: rfc3339(cancellation.created_at),
        done_at: cancellation.done_at.map(rfc3339),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::testing::World;

    #[tokio::test]
    async fn a_cancellation_keeps_the_name_of_a_removed_function() {
        let world = World::new().await;
        world.register(&[("hello", json!({ "event": "a" }), json!({}))]).await;
        let body = json!({ "app_id": "app", "function_id": "hello", "started_before": "2026-01-01" });
        assert_eq!(world.request("POST", "/v1/cancellations", &[], &body.to_string()).await.status, 200);
        let remove = "/fn/remove?url=http://localhost:3000/api/inngest";
        assert_eq!(world.request("DELETE", remove, &[], "").await.status, 200);
        let listed = world.request("GET", "/v1/cancellations", &[], "").await.json();
        assert_eq!(listed["data"][0]["function_id"], "app-hello", "{listed}");
    }
}
