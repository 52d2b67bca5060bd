//! `GET /v1/events`, `/v1/events/{id}`, `/v1/events/{id}/runs`.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use http::Response;
use inngest_core::{EventId, Millis, canonical, event};
use inngest_state::history::{EventFilter, EventRecord, RunFilter};
use serde_json::{Value, json};

use super::query::Query;
use super::runs::{Shape, render as render_run, schedule};
use super::{ACCOUNT, ENVIRONMENT, envelope, payload, rfc3339};
use crate::Api;
use crate::error::ApiError;

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
        include_internal: query.flag("include_internal") || name.as_deref().is_some_and(event::is_internal),
        names: name.into_iter().collect(),
        received_after: query.time("received_after", bad_time)?.or_else(|| Some(Millis(now.0 - hour_ms()))),
        received_before: query.time("received_before", bad_time)?,
        cursor: cursor.map_err(|_| ApiError::bad_request("Invalid cursor query parameter"))?,
        limit: query.limit(20, 100),
    };
    let events = api.engine.history().events(filter).await?;
    Ok(envelope(api.engine.ids(), &events.iter().map(render).collect::<Value>()))
}

fn hour_ms() -> i64 {
    i64::try_from(WINDOW.as_millis()).unwrap_or(i64::MAX)
}

pub(crate) async fn get(State(api): State<Api>, Path(id): Path<String>) -> Result<Response<Body>, ApiError> {
    let found = api.engine.history().event(parse_id(&id)?).await?;
    let event = found.ok_or_else(|| ApiError::not_found("Event not found"))?;
    Ok(envelope(api.engine.ids(), &render(&event)))
}

pub(crate) async fn runs(State(api): State<Api>, Path(id): Path<String>) -> Result<Response<Body>, ApiError> {
    let filter = RunFilter { event: Some(parse_id(&id)?), ascending: true, limit: 1_000, ..RunFilter::default() };
    let runs = api.engine.history().runs(filter).await?;
    let registry = api.engine.registry();
    let mut data: Vec<Value> = runs.iter().map(|run| render_run(run, &registry, Shape::WithOutput)).collect();
    // All of them were started by one event.
    if let Some(first) = runs.first()
        && let Some(schedule) = schedule(&api, first).await?
    {
        data.iter_mut().for_each(|run| run["cron"] = schedule.clone());
    }
    Ok(envelope(api.engine.ids(), &Value::Array(data)))
}

pub(super) fn parse_id(text: &str) -> Result<EventId, ApiError> {
    text.parse().map_err(|_| ApiError::bad_request(format!("Invalid event ID: {text}")))
}

fn render(record: &EventRecord) -> Value {
    let event = &record.event;
    let mut shown = json!({
        "internal_id": event.id.to_string(), "account_id": ACCOUNT, "environment_id": ENVIRONMENT, "source": "", "source_id": null,
        "received_at": rfc3339(event.id.timestamp()), "name": event.name, "ts": event.ts.0, "data": {},
    });
    for (key, value) in canonical::fields(&record.body) {
        match key.as_ref() {
            "id" | "data" | "v" => shown[key.as_ref()] = payload(value),
            "user" if value != b"{}" => shown["user"] = payload(value),
            _ => {}
        }
    }
    shown
}
