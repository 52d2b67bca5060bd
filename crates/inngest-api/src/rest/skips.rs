//! `GET /v1/events/{id}/skips` and `/v1/functions/{id}/skips`: events that started no run of a function they matched.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{RawQuery, State};
use http::Response;
use inngest_core::{EventId, FunctionId};
use inngest_queue::flow::Skip;
use inngest_state::history::{SkipFilter, SkipRecord};
use schemars::JsonSchema;
use serde::Serialize;

use super::functions::{find, slugs};
use super::query::Query;
use super::{events, paged};
use crate::Api;
use crate::error::ApiError;
use crate::paths::Path;

pub(crate) async fn of_event(
    State(api): State<Api>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response<Body>, ApiError> {
    let filter = SkipFilter { event: Some(events::parse_id(&id)?), ..SkipFilter::default() };
    list(&api, filter, query.as_deref()).await
}

pub(crate) async fn of_function(
    State(api): State<Api>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response<Body>, ApiError> {
    let function = find(&api, &name).await?.id;
    list(&api, SkipFilter { function: Some(function), ..SkipFilter::default() }, query.as_deref()).await
}

async fn list(api: &Api, filter: SkipFilter, query: Option<&str>) -> Result<Response<Body>, ApiError> {
    let query = Query::of(query);
    let limit = query.limit(20, 100);
    let cursor = query.first("cursor").map(from_cursor).transpose()?;
    let mut skips = api.engine.history().skips(SkipFilter { cursor, limit: limit + 1, ..filter }).await?;
    let more = skips.len() > limit;
    skips.truncate(limit);
    let cursor = skips.last().filter(|_| more).map(|skip| format!("{}.{}", skip.event, skip.function));
    let slugs = slugs(api, skips.iter().map(|skip| skip.function)).await?;
    let data = skips.iter().map(|skip| render(skip, slugs.get(&skip.function))).collect();
    Ok(paged(api.engine.ids(), data, cursor, limit))
}

/// `<event id>.<function id>`, the last ones of a page.
fn from_cursor(text: &str) -> Result<(EventId, FunctionId), ApiError> {
    let ids = text.split_once('.').and_then(|(event, function)| Some((event.parse().ok()?, function.parse().ok()?)));
    ids.ok_or_else(|| ApiError::bad_request("Invalid cursor query parameter"))
}

/// An event that started no run of a function that it matched.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Skipped {
    event_id: String,
    function_id: String,
    function_slug: Option<String>,
    reason: &'static str,
    /// The run that was in the way.
    existing_run_id: Option<String>,
    /// The run of status `Skipped` that shows it, if the reason leaves one.
    run_id: Option<String>,
}

fn render(skip: &SkipRecord, slug: Option<&Arc<str>>) -> Skipped {
    Skipped {
        event_id: skip.event.to_string(),
        function_id: skip.function.to_string(),
        function_slug: slug.map(ToString::to_string),
        reason: skip.reason.as_str(),
        existing_run_id: existing_run(skip.reason),
        run_id: skip.run.map(|run| run.to_string()),
    }
}

/// The run that was in the way.
pub(super) fn existing_run(skip: Skip) -> Option<String> {
    match skip {
        Skip::Singleton(run) => Some(run.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_the_last_of_a_page() {
        let (event, function) = ("01M85QRDBHC70063SSP1V76AAN", FunctionId::of_definition("f", "u"));
        let read = from_cursor(&format!("{event}.{function}")).unwrap();
        assert_eq!((read.0.to_string(), read.1), (event.to_owned(), function));
        for text in ["", event, "x.y", &format!("{event}.x")] {
            assert!(from_cursor(text).is_err(), "{text}");
        }
    }
}
