//! The scalars of the schema: how values are written, and what is taken for them.

use async_graphql::{InputType, InputValueError, InputValueResult, Scalar, ScalarType, Value};
use inngest_core::{EventId, Millis, Payload, RunId};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use ulid::Ulid;
use uuid::Uuid;

const NANOS_PER_MS: i128 = 1_000_000;

/// A time, in nanoseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Time(i128);

impl Time {
    pub(super) fn of_nanos(nanos: i64) -> Self {
        Self(i128::from(nanos))
    }

    pub(super) fn millis(self) -> Millis {
        let ms = self.0.div_euclid(NANOS_PER_MS);
        Millis(i64::try_from(ms).unwrap_or(if ms < 0 { i64::MIN } else { i64::MAX }))
    }
}

impl From<Millis> for Time {
    fn from(at: Millis) -> Self {
        Self(i128::from(at.0) * NANOS_PER_MS)
    }
}

/// RFC 3339.
#[Scalar(name = "Time")]
impl ScalarType for Time {
    fn parse(value: Value) -> InputValueResult<Self> {
        let Value::String(text) = &value else { return Err(InputValueError::expected_type(value)) };
        let date = OffsetDateTime::parse(text, &Rfc3339);
        let date = date.map_err(|_| format!("not an RFC 3339 time: {text:?}"))?;
        Ok(Self(date.unix_timestamp_nanos()))
    }

    fn to_value(&self) -> Value {
        let date = OffsetDateTime::from_unix_timestamp_nanos(self.0).ok();
        date.and_then(|date| date.format(&Rfc3339).ok()).map_or(Value::Null, Value::String)
    }
}

/// 26 characters of Crockford base32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct UlidText(pub(super) Ulid);

/// What is said of a text that has not the length of a ULID.
pub(super) const BAD_ULID_LENGTH: &str = "ulid: bad data size when unmarshaling";

impl UlidText {
    pub(super) fn read(text: &str) -> Result<Self, &'static str> {
        if text.len() != ulid::ULID_LEN {
            return Err(BAD_ULID_LENGTH);
        }
        if text.as_bytes()[0] > b'7' {
            return Err("ulid: overflow when unmarshaling");
        }
        Ulid::from_string(text).map(Self).map_err(|_| "ulid: bad data characters when unmarshaling")
    }
}

impl From<RunId> for UlidText {
    fn from(id: RunId) -> Self {
        Self(id.0)
    }
}

impl From<EventId> for UlidText {
    fn from(id: EventId) -> Self {
        Self(id.0)
    }
}

/// 26 characters of Crockford base32.
#[Scalar(name = "ULID")]
impl ScalarType for UlidText {
    fn parse(value: Value) -> InputValueResult<Self> {
        let Value::String(text) = &value else { return Err(InputValueError::expected_type(value)) };
        Ok(Self::read(text)?)
    }

    fn to_value(&self) -> Value {
        Value::String(self.0.to_string())
    }
}

/// Hexadecimal, 8-4-4-4-12.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct UuidText(pub(super) Uuid);

impl UuidText {
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let is_length = matches!(text.len(), 32 | 36 | 38 | 45);
        let read =
            is_length.then(|| text.parse().ok()).ok_or_else(|| format!("invalid UUID length: {}", text.len()))?;
        read.map(Self).ok_or_else(|| "invalid UUID format".to_owned())
    }
}

/// Hexadecimal, 8-4-4-4-12.
#[Scalar(name = "UUID")]
impl ScalarType for UuidText {
    fn parse(value: Value) -> InputValueResult<Self> {
        let Value::String(text) = &value else { return Err(InputValueError::expected_type(value)) };
        Ok(Self::read(text)?)
    }

    fn to_value(&self) -> Value {
        Value::String(self.0.to_string())
    }
}

/// A text as it is, mostly JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Raw(pub(super) Payload);

/// A text as it is, mostly JSON.
#[Scalar(name = "Bytes")]
impl ScalarType for Raw {
    fn parse(value: Value) -> InputValueResult<Self> {
        match value {
            Value::String(text) => Ok(Self(text.into())),
            value => Err(InputValueError::expected_type(value)),
        }
    }

    fn to_value(&self) -> Value {
        Value::String(text(&self.0))
    }
}

/// Stored JSON as text.
pub(super) fn text(json: &[u8]) -> String {
    String::from_utf8_lossy(json).into_owned()
}

/// An object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Map(pub(super) serde_json::Value);

/// An object.
#[Scalar(name = "Map")]
impl ScalarType for Map {
    fn parse(value: Value) -> InputValueResult<Self> {
        let found = match value {
            Value::Object(_) => return Ok(Self(value.into_json()?)),
            Value::List(_) => "[]interface {}",
            Value::String(_) | Value::Enum(_) => "string",
            Value::Boolean(_) => "bool",
            _ => "json.Number",
        };
        Err(InputValueError::custom(format!("{found} is not a map")))
    }

    fn to_value(&self) -> Value {
        Value::from_json(self.0.clone()).unwrap_or_default()
    }
}

/// A text or a whole number: where the schema says `String`, clients may write numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Text(pub(super) String);

impl InputType for Text {
    type RawValueType = Self;

    fn type_name() -> std::borrow::Cow<'static, str> {
        <String as InputType>::type_name()
    }

    fn create_type_info(registry: &mut async_graphql::registry::Registry) -> String {
        <String as InputType>::create_type_info(registry)
    }

    fn parse(value: Option<Value>) -> InputValueResult<Self> {
        match value.unwrap_or_default() {
            Value::String(text) => Ok(Self(text)),
            Value::Number(number) => Ok(Self(number.to_string())),
            value => Err(InputValueError::expected_type(value)),
        }
    }

    fn to_value(&self) -> Value {
        Value::String(self.0.clone())
    }

    fn as_raw_value(&self) -> Option<&Self::RawValueType> {
        Some(self)
    }
}

macro_rules! json_scalars {
    ($($(#[$doc:meta])* $name:ident: $graphql:literal,)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq)]
        pub(super) struct $name(pub(super) serde_json::Value);

        $(#[$doc])*
        #[Scalar(name = $graphql)]
        impl ScalarType for $name {
            fn parse(value: Value) -> InputValueResult<Self> {
                Ok(Self(value.into_json()?))
            }

            fn to_value(&self) -> Value {
                Value::from_json(self.0.clone()).unwrap_or_default()
            }
        }
    )*};
}

json_scalars! {
    /// Any JSON.
    AnyJson: "Unknown",
    /// Name to value, or to the list of values.
    HttpHeaders: "HTTPHeaders",
    /// What a note is about.
    MetadataKind: "SpanMetadataKind",
    /// What a note belongs to.
    MetadataScope: "SpanMetadataScope",
    /// An object.
    MetadataValues: "SpanMetadataValues",
    /// A whole number.
    Int64: "Int64",
    /// A whole number, not negative.
    Uint: "Uint",
    /// Nothing has it.
    Environment: "Environment",
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> Option<Value> {
        <Time as ScalarType>::parse(Value::from(text)).ok().map(|time| ScalarType::to_value(&time))
    }

    #[test]
    fn times_are_utc_without_trailing_zeros() {
        for (text, shown) in [
            ("2026-11-24T03:52:27.4+01:00", "2026-11-24T02:52:27.4Z"),
            ("2026-11-24T02:52:28.444516038Z", "2026-11-24T02:52:28.444516038Z"),
            ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
        ] {
            assert_eq!(time(text), Some(Value::from(shown)));
        }
        assert_eq!(time("yesterday"), None);
        assert_eq!(<Time as ScalarType>::parse(1.into()).map(|time| time.millis().0).ok(), None);
    }

    #[test]
    fn ids_are_read_in_every_form_and_written_in_one() {
        let id = "01M85QG3Q1DH641JJ6C83V6CS8";
        assert_eq!(UlidText::read(&id.to_lowercase()).map(|id| id.0.to_string()).as_deref(), Ok(id));
        assert_eq!(UlidText::read("x"), Err(BAD_ULID_LENGTH));
        assert!(UlidText::read(&"u".repeat(26)).is_err());
        let uuid = "6f0c5a2e-0000-4000-8000-000000000000";
        for text in [
            uuid.to_owned(),
            uuid.to_uppercase(),
            uuid.replace('-', ""),
            format!("{{{uuid}}}"),
            format!("urn:uuid:{uuid}"),
        ] {
            assert_eq!(UuidText::read(&text).map(|id| id.0.to_string()).as_deref(), Ok(uuid), "{text}");
        }
        assert_eq!(UuidText::read("7"), Err("invalid UUID length: 1".to_owned()));
        assert!(UuidText::read(&"x".repeat(36)).is_err());
    }

    #[test]
    fn a_map_is_an_object() {
        let problem = <Map as ScalarType>::parse(Value::List(Vec::new()))
            .map_err(|error| error.into_server_error(Default::default()).message);
        assert!(problem.is_err_and(|text| text.ends_with("[]interface {} is not a map")));
    }
}
