//! `GET /v1/functions/{id}/gatherings`: debounces and batches whose run has not started.

use axum::body::Body;
use axum::extract::{RawQuery, State};
use http::Response;
use inngest_core::RunId;
use inngest_queue::Gathering;
use inngest_state::history::{GatheringFilter, GatheringRecord};
use schemars::JsonSchema;
use serde::Serialize;

use super::functions::find;
use super::query::Query;
use super::{paged, rfc3339};
use crate::Api;
use crate::error::ApiError;
use crate::paths::Path;

pub(crate) async fn of_function(
    State(api): State<Api>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response<Body>, ApiError> {
    let function = find(&api, &name).await?;
    let query = Query::of(query.as_deref());
    let limit = query.limit(20, 100);
    let cursor: Option<RunId> = query
        .first("cursor")
        .map(str::parse)
        .transpose()
        .map_err(|_| ApiError::bad_request("Invalid cursor query parameter"))?;
    let filter = GatheringFilter { event: None, function: Some(function.id), cursor, limit: limit + 1 };
    let mut gatherings = api.engine.history().gatherings(filter).await?;
    let more = gatherings.len() > limit;
    gatherings.truncate(limit);
    let cursor = gatherings.last().filter(|_| more).map(|last| last.id.to_string());
    Ok(paged(api.engine.ids(), gatherings.iter().map(render).collect(), cursor, limit))
}

/// A debounce or a batch whose run has not started.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Gathered {
    id: String,
    /// `debounce` or `batch`.
    kind: &'static str,
    first_at: String,
    /// When its run starts at the latest.
    starts_at: String,
    count: usize,
    /// The first of its events.
    event_ids: Vec<String>,
    /// The same in a sentence.
    text: String,
}

pub(super) fn render(gathering: &GatheringRecord) -> Gathered {
    Gathered {
        id: gathering.id.to_string(),
        kind: kind(gathering.kind),
        first_at: rfc3339(gathering.first_at),
        starts_at: rfc3339(gathering.deadline),
        count: gathering.count,
        event_ids: gathering.events.iter().map(ToString::to_string).collect(),
        text: text(gathering),
    }
}

pub(super) fn kind(kind: Gathering) -> &'static str {
    match kind {
        Gathering::Debounce => "debounce",
        Gathering::Batch => "batch",
    }
}

/// One sentence for people.
pub(super) fn text(gathering: &GatheringRecord) -> String {
    let at = rfc3339(gathering.deadline);
    match (gathering.kind, gathering.count) {
        (Gathering::Debounce, _) => format!("It is debounced: its run starts at {at} if no other event comes."),
        (Gathering::Batch, 1) => format!("It waits in a batch, alone so far, that starts at {at} at the latest."),
        (Gathering::Batch, count) => {
            format!("It waits in a batch of {count} events so far that starts at {at} at the latest.")
        }
    }
}
