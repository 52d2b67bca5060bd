//! How things stand in replies of v1.

use std::borrow::Cow;

use axum::body::Body;
use http::Response;
use inngest_core::{Ids, Millis};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use serde_json::value::RawValue;

use super::rfc3339;
use crate::error::raw_json;

/// Something, and when it was read.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "{T}Reply")]
pub(super) struct One<T> {
    /// What was asked for, or what was done.
    data: T,
    metadata: Metadata,
}

/// A page of things.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "{T}Page")]
pub(super) struct Many<T> {
    /// The things, in order.
    data: Vec<T>,
    metadata: Metadata,
    page: Page,
}

/// About a reply.
#[derive(Debug, Serialize, JsonSchema)]
struct Metadata {
    /// When it was made.
    fetched_at: String,
}

/// Where a page ends.
#[derive(Debug, Serialize, JsonSchema)]
struct Page {
    /// Whether there is a next page.
    has_more: bool,
    /// How many things a page has at most.
    limit: usize,
    /// Asks for the next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<String>,
}

/// An error.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its schema is looked at; `ApiError` writes it")]
pub(super) struct Error {
    /// What is wrong, for people.
    error: String,
    /// More about it; mostly `null`.
    data: Json,
    /// HTTP status.
    status: u16,
}

/// Any JSON, as it is stored: its numbers are not touched.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(crate) struct Json(Box<RawValue>);

impl Json {
    /// Stored JSON. What cannot be read is shown as text.
    pub(super) fn of(stored: &[u8]) -> Self {
        let raw = std::str::from_utf8(stored).ok().and_then(|text| RawValue::from_string(text.to_owned()).ok());
        Self(raw.unwrap_or_else(|| {
            let text = serde_json::Value::from(String::from_utf8_lossy(stored)).to_string();
            RawValue::from_string(text).unwrap_or_else(|_| RawValue::NULL.to_owned())
        }))
    }

    /// `{}`.
    pub(super) fn empty() -> Self {
        Self::of(b"{}")
    }
}

impl JsonSchema for Json {
    fn schema_name() -> Cow<'static, str> {
        "Json".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        Schema::default()
    }
}

/// `{"data":..,"metadata":{"fetched_at":..}}`.
pub(super) fn envelope<T: Serialize>(ids: &Ids, data: T) -> Response<Body> {
    bare(&One { data, metadata: Metadata::at(ids.now()) })
}

/// As [`envelope`], with a page.
pub(super) fn paged<T: Serialize>(ids: &Ids, data: Vec<T>, cursor: Option<String>, limit: usize) -> Response<Body> {
    let page = Page { has_more: cursor.is_some(), limit, cursor };
    bare(&Many { data, metadata: Metadata::at(ids.now()), page })
}

/// Nothing around it.
pub(super) fn bare<T: Serialize>(reply: &T) -> Response<Body> {
    raw_json(200, serde_json::to_vec(reply).unwrap_or_default())
}

impl Metadata {
    fn at(now: Millis) -> Self {
        Self { fetched_at: rfc3339(now) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_json_is_shown_as_it_is() {
        let shown = |stored: &[u8]| serde_json::to_string(&Json::of(stored)).unwrap();
        let long = r#"{"n":123456789012345678901234567890.0}"#;
        assert_eq!(shown(long.as_bytes()), long);
        assert_eq!(shown(b"no json"), "\"no json\"");
    }
}
