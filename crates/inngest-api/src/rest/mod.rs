//! REST v1: what happened, as JSON.

pub(crate) mod cancellations;
pub(crate) mod events;
pub(crate) mod explain;
pub(crate) mod explain_event;
pub(crate) mod flow_control;
pub(crate) mod functions;
pub(crate) mod gatherings;
pub(crate) mod metadata;
mod query;
pub(crate) mod reruns;
pub(crate) mod runs;
pub(crate) mod signals;
pub(crate) mod skips;

use axum::body::Body;
use http::Response;
use inngest_core::{Ids, Millis, limits};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::error::{ApiError, json_reply};

/// The one account and environment there is.
pub(crate) const ENVIRONMENT: &str = "00000000-0000-4000-b000-000000000000";
pub(crate) const ACCOUNT: &str = "00000000-0000-4000-a000-000000000000";

/// `{"data":..,"metadata":{"fetched_at":..}}`.
pub(crate) fn envelope(ids: &Ids, data: &Value) -> Response<Body> {
    json_reply(200, &json!({ "data": data, "metadata": { "fetched_at": rfc3339(ids.now()) } }))
}

/// As [`envelope`], with a page.
pub(crate) fn paged(ids: &Ids, data: &[Value], cursor: Option<String>, limit: usize) -> Response<Body> {
    let mut page = json!({ "has_more": cursor.is_some(), "limit": limit });
    if let Some(cursor) = cursor {
        page["cursor"] = cursor.into();
    }
    json_reply(200, &json!({ "data": data, "metadata": { "fetched_at": rfc3339(ids.now()) }, "page": page }))
}

/// What Inngest Cloud makes of requests of others.
pub(crate) async fn webhooks() -> ApiError {
    ApiError::new(501, "Webhooks are not available in this server")
}

/// A time as RFC 3339 in UTC, without trailing zeros.
pub(crate) fn rfc3339(at: Millis) -> String {
    let nanos = i128::from(at.0) * 1_000_000;
    let date = OffsetDateTime::from_unix_timestamp_nanos(nanos).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    date.format(&Rfc3339).unwrap_or_default()
}

pub(crate) fn rfc3339_or_null(at: Option<Millis>) -> Value {
    at.map_or(Value::Null, |at| rfc3339(at).into())
}

/// When a job is due; `null` when the end of another run makes it so.
pub(crate) fn due(at: Millis) -> Value {
    rfc3339_or_null(Some(at).filter(|at| !is_after_another(*at)))
}

/// Whether a job of this due time is the first one of a run that takes the place of another: no event puts off its run
/// so far.
pub(crate) fn is_after_another(due: Millis) -> bool {
    due.0 > limits::EVENT_TS_MAX
}

/// What Go prints for a time that is not set.
pub(crate) const ZERO_TIME: &str = "0001-01-01T00:00:00Z";

/// Stored JSON as a value, without touching its numbers. What cannot be read is shown as text.
pub(crate) fn payload(json: &[u8]) -> Value {
    match std::str::from_utf8(json).ok().and_then(|text| RawValue::from_string(text.to_owned()).ok()) {
        Some(raw) => serde_json::to_value(&raw).unwrap_or_default(),
        None => String::from_utf8_lossy(json).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_utc_without_trailing_zeros() {
        let table = [
            (1_700_000_000_000, "2023-11-14T22:13:20Z"),
            (1_700_000_000_500, "2023-11-14T22:13:20.5Z"),
            (1_700_000_000_036, "2023-11-14T22:13:20.036Z"),
        ];
        for (at, text) in table {
            assert_eq!(rfc3339(Millis(at)), text);
        }
    }
}
