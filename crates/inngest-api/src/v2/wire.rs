//! How values stand in requests and replies of v2.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use axum::body::Body;
use http::Response;
use inngest_core::{Millis, canonical};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor, value::MapAccessDeserializer};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use time::OffsetDateTime;
use time::macros::format_description;

use super::error::Error;
use crate::Api;
use crate::error::raw_json;

/// The body of a reply that is no error.
pub(super) trait Success: Serialize + JsonSchema + Sized + 'static {
    /// HTTP status.
    fn status(&self) -> u16 {
        200
    }

    /// Compact JSON with sorted keys.
    fn respond(&self) -> Response<Body> {
        let json = serde_json::to_vec(self).unwrap_or_default();
        match canonical::canonicalise(&json, canonical::Numbers::Exact) {
            Ok(sorted) => raw_json(self.status(), sorted),
            // Stored JSON may be older than the rules it is held against.
            Err(_) => raw_json(self.status(), json),
        }
    }
}

/// One thing.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "{T}Reply")]
pub(super) struct One<T> {
    /// What was asked for, or what was done.
    data: T,
    metadata: Metadata,
    #[serde(skip)]
    status: u16,
}

/// A page of things.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "{T}ListReply")]
pub(super) struct Many<T> {
    /// The things, in order.
    data: Vec<T>,
    metadata: Metadata,
    page: Page,
}

/// About a reply.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    /// When it was made.
    fetched_at: Timestamp,
    /// Which time was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    time_range: Option<TimeRange>,
}

/// A time from one moment to another.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
pub(super) struct TimeRange {
    pub(super) from: Timestamp,
    pub(super) until: Timestamp,
}

/// Where a page ends.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Page {
    /// Asks for the next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<String>,
    /// Whether there is a next page.
    has_more: bool,
    /// How many things a page has at most.
    limit: usize,
}

impl<T> One<T> {
    pub(super) fn of(api: &Api, data: T) -> Self {
        Self { data, metadata: Metadata::now(api), status: 200 }
    }

    /// With another status.
    pub(super) fn with_status(self, status: u16) -> Self {
        Self { status, ..self }
    }
}

impl<T> Many<T> {
    /// A page of at most `limit` things; `cursor` asks for the next one, if there is one.
    pub(super) fn page(api: &Api, data: Vec<T>, limit: usize, cursor: Option<String>) -> Self {
        let page = Page { has_more: cursor.is_some(), cursor, limit };
        Self { data, metadata: Metadata::now(api), page }
    }

    /// Of a time that was asked for.
    pub(super) fn within(mut self, range: Option<TimeRange>) -> Self {
        self.metadata.time_range = range;
        self
    }
}

impl Metadata {
    fn now(api: &Api) -> Self {
        Self { fetched_at: Timestamp(api.engine.ids().now()), time_range: None }
    }
}

impl<T: Serialize + JsonSchema + 'static> Success for One<T> {
    fn status(&self) -> u16 {
        self.status
    }
}

impl<T: Serialize + JsonSchema + 'static> Success for Many<T> {}

/// How long a page may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit {
    pub(super) default: usize,
    pub(super) max: usize,
}

impl Limit {
    /// What was asked for; 0 is the default.
    pub(super) fn of(self, asked: Option<i32>) -> Result<usize, Error> {
        match asked.map(usize::try_from) {
            None | Some(Ok(0)) => Ok(self.default),
            Some(Err(_)) => Err(Error::bad_field("Limit must be at least 1")),
            Some(Ok(limit)) if limit > self.max => Err(Error::bad_field(format!("Limit cannot exceed {}", self.max))),
            Some(Ok(limit)) => Ok(limit),
        }
    }
}

/// Which part of a list is wanted.
#[derive(Debug, Default, serde::Deserialize, JsonSchema)]
pub(super) struct Part {
    /// From where the list goes on: `page.cursor` of the reply before.
    pub(super) cursor: Option<String>,
    /// How many at most: 20 unless said otherwise.
    #[schemars(range(min = 0, max = 100))]
    limit: Option<i32>,
}

impl Part {
    pub(super) fn limit(&self) -> Result<usize, Error> {
        Limit { default: 20, max: 100 }.of(self.limit)
    }

    /// This part of a list in the order of its ids, how long it may be, and the cursor of the next part.
    pub(super) fn by_id<T, I: Ord + FromStr + ToString>(
        &self,
        mut all: Vec<T>,
        id: impl Fn(&T) -> I,
    ) -> Result<(Vec<T>, usize, Option<String>), Error> {
        let limit = self.limit()?;
        let after = self.cursor.as_deref().map(I::from_str).transpose();
        let after = after.map_err(|_| Error::bad_field("Cursor is invalid"))?;
        all.retain(|one| after.as_ref().is_none_or(|after| id(one) > *after));
        all.sort_unstable_by_key(&id);
        let more = all.len() > limit;
        all.truncate(limit);
        let cursor = all.last().filter(|_| more).map(|last| id(last).to_string());
        Ok((all, limit, cursor))
    }
}

/// A time: RFC 3339 in UTC, with no digits of a fraction or with three.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Timestamp(pub(super) Millis);

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(Millis(at)) = *self;
        let date = OffsetDateTime::from_unix_timestamp(at.div_euclid(1_000)).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let seconds = date.format(format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]"));
        f.write_str(&seconds.map_err(|_| fmt::Error)?)?;
        match at.rem_euclid(1_000) {
            0 => f.write_str("Z"),
            millis => write!(f, ".{millis:03}Z"),
        }
    }
}

impl JsonSchema for Timestamp {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Timestamp".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "date-time" })
    }
}

/// A number of 64 bits, which JSON has as a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Int64(pub(super) i64);

impl Serialize for Int64 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl JsonSchema for Int64 {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Int64".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "int64", "pattern": "^-?[0-9]+$" })
    }
}

/// A type that stands as a JSON object. Left to itself, serde reads a list too, as the members in their order.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Object<T>(pub(super) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfMap<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for OfMap<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map))
            }
        }
        deserializer.deserialize_map(OfMap(PhantomData)).map(Self)
    }
}

impl<T: JsonSchema> JsonSchema for Object<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// What there is no reply of.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) enum Never {}

/// No parameters, or a body that says nothing.
#[derive(Clone, Copy, Debug, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

/// Stored JSON as it stands; what is none is shown as text.
pub(crate) fn raw(json: &[u8]) -> Box<RawValue> {
    let text = String::from_utf8_lossy(json).into_owned();
    RawValue::from_string(text.clone()).unwrap_or_else(|_| {
        RawValue::from_string(serde_json::Value::from(text).to_string()).unwrap_or_else(|_| RawValue::NULL.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_no_fraction_or_milliseconds() {
        let table = [
            (1_700_000_000_000, "2023-11-14T22:13:20Z"),
            (1_700_000_000_500, "2023-11-14T22:13:20.500Z"),
            (1_700_000_000_036, "2023-11-14T22:13:20.036Z"),
        ];
        for (at, text) in table {
            assert_eq!(Timestamp(Millis(at)).to_string(), text);
        }
    }

    #[test]
    fn the_parts_of_a_list_are_the_whole() {
        let part = |cursor: Option<String>, limit| Part { cursor, limit: Some(limit) };
        let (mut found, mut cursor) = (Vec::new(), None);
        while found.len() < 10 {
            let (next, limit, more) = part(cursor, 2).by_id(vec![5_u32, 1, 4, 2, 3], |one| *one).unwrap();
            assert_eq!(limit, 2);
            found.extend(next);
            match more {
                Some(more) => cursor = Some(more),
                None => break,
            }
        }
        assert_eq!(found, [1, 2, 3, 4, 5]);
        let (all, _, more) = part(None, 5).by_id(found, |one| *one).unwrap();
        assert_eq!((all.len(), more), (5, None), "nothing follows a page that just fits");
        for (cursor, limit) in [(Some("x"), 1), (None, 101), (None, -1)] {
            assert!(part(cursor.map(str::to_owned), limit).by_id(vec![1], |one| *one).is_err(), "{cursor:?} {limit}");
        }
    }

    #[test]
    fn a_list_is_no_object() {
        assert_eq!(serde_json::from_str::<Object<(i32,)>>("[1]").map(|object| object.0).ok(), None);
    }
}
