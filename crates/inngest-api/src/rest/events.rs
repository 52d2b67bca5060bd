//! `GET /v1/events`, `/v1/events/{id}`, `/v1/events/{id}/runs`.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{RawQuery, State};
use http::Response;
use inngest_core::{EventId, Millis, canonical, event};
use inngest_state::history::{EventFilter, EventRecord, RunFilter};
use schemars::JsonSchema;
use serde::Serialize;

use super::query::Query;
use super::runs::{Run, Shape, render as render_run, schedule};
use super::{ACCOUNT, ENVIRONMENT, Json, envelope, rfc3339};
use crate::Api;
use crate::definitions::Definitions;
use crate::error::ApiError;
use crate::paths::Path;

/// Events are looked for in the last hour unless the caller says otherwise.
const WINDOW: Duration = Duration::from_secs(3_600);

pub(crate) async fn list(State(api): State<Api>, RawQuery(query): RawQuery) -> Result<Response<Body>, ApiError> {
    let query = Query::of(query.as_deref());
    let now = api.engine.ids().now();
    let bad_time = "Invalid received_after query parameter";
    let name = query.first("name").map(str::to_owned);
    let cursor = query.first("cursor").map(str::parse).transpose();
    let filter = EventFilter {
        // Internal events are noise in a list, but not to somebody who asks for one by name.
        include_internal: query.flag("include_internal")? || name.as_deref().is_some_and(event::is_internal),
        names: name.into_iter().collect(),
        received_after: query.time("received_after", bad_time)?.or_else(|| Some(Millis(now.0 - hour_ms()))),
        received_before: query.time("received_before", bad_time)?,
        cursor: cursor.map_err(|_| ApiError::bad_request("Invalid cursor query parameter"))?,
        limit: query.limit(20, 100),
    };
    let events = api.engine.history().events(filter).await?;
    Ok(envelope(api.engine.ids(), events.iter().map(render).collect::<Vec<_>>()))
}

fn hour_ms() -> i64 {
    i64::try_from(WINDOW.as_millis()).unwrap_or(i64::MAX)
}

pub(crate) async fn get(State(api): State<Api>, Path(id): Path<String>) -> Result<Response<Body>, ApiError> {
    let found = api.engine.history().event(parse_id(&id)?).await?;
    let event = found.ok_or_else(|| ApiError::not_found("Event not found"))?;
    Ok(envelope(api.engine.ids(), render(&event)))
}

pub(crate) async fn runs(State(api): State<Api>, Path(id): Path<String>) -> Result<Response<Body>, ApiError> {
    let filter = RunFilter { event: Some(parse_id(&id)?), ascending: true, limit: 1_000, ..RunFilter::default() };
    let runs = api.engine.history().runs(filter).await?;
    let definitions = Definitions::of(&api, runs.iter().map(|run| run.function)).await?;
    let mut data: Vec<Run> = runs.iter().map(|run| render_run(run, &definitions, Shape::WithOutput)).collect();
    // All of them were started by one event.
    if let Some(first) = runs.first()
        && let Some(schedule) = schedule(&api, first).await?
    {
        data.iter_mut().for_each(|run| run.cron = Some(schedule.clone()));
    }
    Ok(envelope(api.engine.ids(), data))
}

pub(super) fn parse_id(text: &str) -> Result<EventId, ApiError> {
    text.parse().map_err(|_| ApiError::bad_request(format!("Invalid event ID: {text}")))
}

/// An event.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Event {
    /// The ULID that the server gave it.
    internal_id: String,
    account_id: &'static str,
    environment_id: &'static str,
    source: &'static str,
    source_id: Option<String>,
    /// When the server took it.
    received_at: String,
    /// The id that its sender gave it, else its ULID.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<Json>,
    name: String,
    data: Json,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<Json>,
    /// When it happened, in milliseconds since 1970.
    ts: i64,
    /// The version of its form.
    #[serde(skip_serializing_if = "Option::is_none")]
    v: Option<Json>,
}

fn render(record: &EventRecord) -> Event {
    let event = &record.event;
    let mut shown = Event {
        internal_id: event.id.to_string(),
        account_id: ACCOUNT,
        environment_id: ENVIRONMENT,
        source: "",
        source_id: None,
        received_at: rfc3339(event.id.timestamp()),
        id: None,
        name: event.name.to_string(),
        data: Json::empty(),
        user: None,
        ts: event.ts.0,
        v: None,
    };
    for (key, value) in canonical::fields(&record.body) {
        match key.as_ref() {
            "id" => shown.id = Some(Json::of(value)),
            "data" => shown.data = Json::of(value),
            "user" if value != b"{}" => shown.user = Some(Json::of(value)),
            "v" => shown.v = Some(Json::of(value)),
            _ => {}
        }
    }
    shown
}
