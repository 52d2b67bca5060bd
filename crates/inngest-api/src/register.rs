//! `POST /fn/register`: an SDK pushes what it serves.

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::response::IntoResponse as _;
use http::{HeaderMap, Response};
use inngest_core::limits;
use inngest_executor::apps::{RegisterError, Registration, normalise_url};
use serde_json::json;
use uuid::Uuid;

use crate::error::{ApiError, json_reply, raw_json};
use crate::fields::Fields;
use crate::{Api, body};

pub(crate) async fn register(State(api): State<Api>, headers: HeaderMap, body: Body) -> Response<Body> {
    let expected = headers.get("x-inngest-expected-server-kind").and_then(|value| value.to_str().ok());
    let kind = api.kind.as_str();
    if let Some(expected) = expected.filter(|expected| !expected.is_empty() && *expected != kind) {
        return ApiError::bad_request(format!("Expected server kind {kind}, got {expected}")).into_response();
    }
    let body = match body::read(&headers, body, limits::REQUEST_BODY_BYTES_MAX).await {
        Ok(body) => body,
        Err(error) => return ApiError::new(error.status(), error.to_string()).into_response(),
    };
    let outcome = match Registration::parse(&body) {
        Ok(registration) => sync(&api, registration).await,
        Err(error) => Err(error),
    };
    match outcome {
        Ok((app, modified)) => json_reply(
            200,
            &json!({ "ok": true, "modified": modified, "sync_id": Uuid::new_v4().to_string(), "app_id": app }),
        ),
        Err(error) => {
            refuse(&api, &error).await;
            raw_json(error.status(), error.body())
        }
    }
}

async fn sync(api: &Api, registration: Registration) -> Result<(String, bool), RegisterError> {
    let (name, url) = (registration.app_name.clone(), registration.url.clone());
    let count = registration.functions.len();
    let registered = api.engine.register(registration).await?;
    if registered.modified {
        tracing::info!(app = %name, %url, functions = count, "app synced");
    }
    Ok((registered.app.to_string(), registered.modified))
}

/// Keeps the reason with the app, where its owner looks for it. An app that is asked again and again repeats
/// its mistake; the log says it once.
async fn refuse(api: &Api, error: &RegisterError) {
    let problem = error.app_problem();
    let is_known = problem.as_ref().is_some_and(|(url, problem)| {
        let registry = api.engine.registry();
        let mut apps = registry.apps().filter(|app| app.archived_at.is_none() && *app.url == **url);
        apps.any(|app| app.error.as_ref() == Some(problem))
    });
    if is_known {
        tracing::debug!(%error, "a sync was refused again");
        return;
    }
    tracing::warn!(%error, "a sync was refused");
    if let Some((url, problem)) = problem
        && let Err(error) = api.engine.report_app(url, Some(problem)).await
    {
        tracing::error!(%error, "the error of an app could not be stored");
    }
}

pub(crate) async fn remove(
    State(api): State<Api>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<(), ApiError> {
    let fields = Fields::read(query, &headers, body).await?;
    let url = normalise_url(fields.get("url"));
    if api.engine.remove_app(&url).await? {
        tracing::info!(%url, "app removed");
        Ok(())
    } else {
        Err(ApiError::not_found(format!("App not found: {}", fields.get("url"))))
    }
}
