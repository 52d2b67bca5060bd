//! Values of expressions.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use serde_json::Value as Json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::EvalError;

/// A value. Lists and maps of events are borrowed from them.
#[derive(Clone, Debug)]
pub enum Value<'v> {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A signed whole number: a literal or the result of a function, never data.
    Int(i64),
    /// An unsigned whole number.
    Uint(u64),
    /// Every number of an event.
    Double(f64),
    /// Text.
    String(Cow<'v, str>),
    /// Bytes.
    Bytes(Arc<[u8]>),
    /// A list.
    List(List<'v>),
    /// A map.
    Map(Map<'v>),
    /// A time, in nanoseconds since 1970.
    Timestamp(i128),
    /// A length of time in nanoseconds.
    Duration(i64),
    /// A type, by its name.
    Type(&'static str),
    /// Missing data: no value, but tolerated.
    Unknown,
    /// No value, and why.
    Error(EvalError),
    /// What `date`, `now_plus` and `now_minus` make of a text they cannot read.
    NoValue,
}

/// A list.
#[derive(Clone, Debug)]
pub enum List<'v> {
    /// Of an event.
    Json(&'v [Json]),
    /// Made by the expression.
    Made(Arc<[Value<'v>]>),
}

/// A map.
#[derive(Clone, Debug)]
pub enum Map<'v> {
    /// Of an event.
    Json(&'v serde_json::Map<String, Json>),
    /// Read from a text.
    Parsed(Arc<serde_json::Map<String, Json>>),
    /// Made by the expression.
    Made(Arc<[(Value<'v>, Value<'v>)]>),
}

/// The type that a bare name stands for.
pub(super) fn type_named(name: &str) -> Option<&'static str> {
    const NAMES: [&str; 9] = ["bool", "int", "uint", "double", "string", "bytes", "list", "map", "type"];
    if name == "null_type" { Some("null") } else { NAMES.into_iter().find(|known| *known == name) }
}

impl<'v> Value<'v> {
    pub(super) fn of(json: &'v Json) -> Self {
        match json {
            Json::Null => Self::Null,
            Json::Bool(value) => Self::Bool(*value),
            Json::Number(number) => Self::Double(number.as_f64().unwrap_or(f64::NAN)),
            Json::String(text) => Self::String(Cow::Borrowed(text)),
            Json::Array(items) => Self::List(List::Json(items)),
            Json::Object(entries) => Self::Map(Map::Json(entries)),
        }
    }

    /// As [`Value::of`], of JSON that does not live as long.
    pub(super) fn owned(json: &Json) -> Self {
        match json {
            Json::String(text) => Self::String(Cow::Owned(text.clone())),
            Json::Array(items) => Self::List(List::Made(items.iter().map(Self::owned).collect())),
            Json::Object(entries) => Self::Map(Map::Parsed(Arc::new(entries.clone()))),
            Json::Null => Self::Null,
            Json::Bool(value) => Self::Bool(*value),
            Json::Number(number) => Self::Double(number.as_f64().unwrap_or(f64::NAN)),
        }
    }

    /// The name of its type.
    #[must_use]
    pub const fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Uint(_) => "uint",
            Self::Double(_) => "double",
            Self::String(_) => "string",
            Self::Bytes(_) => "bytes",
            Self::List(_) => "list",
            Self::Map(_) => "map",
            Self::Timestamp(_) => "timestamp",
            Self::Duration(_) => "duration",
            Self::Type(_) => "type",
            Self::Unknown => "unknown",
            Self::Error(_) => "error",
            Self::NoValue => "no value",
        }
    }

    /// Whether it counts as true. Empty lists and maps do.
    pub(super) fn is_truthy(&self) -> bool {
        match self {
            Self::Unknown | Self::Error(_) | Self::NoValue | Self::Null | Self::Bool(false) => false,
            Self::Int(0) | Self::Uint(0) => false,
            Self::Double(number) => *number != 0.0,
            Self::String(text) => !text.is_empty(),
            _ => true,
        }
    }

    /// Whether two values are equal. Never fails: numbers of all types are compared by value, other values of
    /// different types are unequal.
    pub(super) fn equals(&self, other: &Value<'_>) -> bool {
        match (self, other) {
            (Self::Null, Value::Null) => true,
            (Self::Bool(a), Value::Bool(b)) => a == b,
            (Self::String(a), Value::String(b)) => a == b,
            (Self::Bytes(a), Value::Bytes(b)) => a == b,
            (Self::Timestamp(a), Value::Timestamp(b)) => a == b,
            (Self::Duration(a), Value::Duration(b)) => a == b,
            (Self::Type(a), Value::Type(b)) => a == b,
            (Self::List(a), Value::List(b)) => a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| a.equals(&b)),
            (Self::Map(a), Value::Map(b)) => {
                a.len() == b.len()
                    && a.entries().all(|(key, value)| b.get(&key).is_some_and(|other| value.equals(&other)))
            }
            (a, b) => a.compare_numbers(b) == Some(Ordering::Equal),
        }
    }

    /// The order of two numbers of any type.
    #[expect(clippy::cast_precision_loss, reason = "as numbers of events are: doubles")]
    pub(super) fn compare_numbers(&self, other: &Value<'_>) -> Option<Ordering> {
        match (self, other) {
            (Self::Int(a), Value::Int(b)) => Some(a.cmp(b)),
            (Self::Uint(a), Value::Uint(b)) => Some(a.cmp(b)),
            (Self::Int(a), Value::Uint(b)) => Some(i128::from(*a).cmp(&i128::from(*b))),
            (Self::Uint(a), Value::Int(b)) => Some(i128::from(*a).cmp(&i128::from(*b))),
            (Self::Double(a), Value::Double(b)) => a.partial_cmp(b),
            (Self::Double(a), Value::Int(b)) => a.partial_cmp(&(*b as f64)),
            (Self::Double(a), Value::Uint(b)) => a.partial_cmp(&(*b as f64)),
            (Self::Int(a), Value::Double(b)) => (*a as f64).partial_cmp(b),
            (Self::Uint(a), Value::Double(b)) => (*a as f64).partial_cmp(b),
            _ => None,
        }
    }

    /// The order of two values that have one.
    pub(super) fn compare(&self, other: &Value<'_>) -> Option<Ordering> {
        match (self, other) {
            (Self::String(a), Value::String(b)) => Some(a.cmp(b)),
            (Self::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
            (Self::Bytes(a), Value::Bytes(b)) => Some(a.cmp(b)),
            (Self::Timestamp(a), Value::Timestamp(b)) => Some(a.cmp(b)),
            (Self::Duration(a), Value::Duration(b)) => Some(a.cmp(b)),
            (a, b) => a.compare_numbers(b),
        }
    }

    /// Its text, as it is concatenated and as it is a key: 5, 5.0 and "5" have the same.
    #[must_use]
    pub fn text(&self) -> Cow<'_, str> {
        match self {
            Self::String(text) => Cow::Borrowed(text),
            other => Cow::Owned(other.to_string()),
        }
    }
}

impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("NULL_VALUE"),
            Self::Bool(value) => value.fmt(f),
            Self::Int(value) => value.fmt(f),
            Self::Uint(value) => value.fmt(f),
            Self::Double(value) => f.write_str(&double_text(*value)),
            Self::String(text) => f.write_str(text),
            Self::Bytes(bytes) => f.write_str(&String::from_utf8_lossy(bytes)),
            Self::List(list) => {
                f.write_str("[")?;
                for (index, item) in list.iter().enumerate() {
                    write!(f, "{}{}", if index > 0 { " " } else { "" }, inner_text(&item))?;
                }
                f.write_str("]")
            }
            Self::Map(map) => {
                let mut entries: Vec<_> =
                    map.entries().map(|(key, value)| (key.to_string(), inner_text(&value))).collect();
                entries.sort();
                f.write_str("map[")?;
                for (index, (key, value)) in entries.iter().enumerate() {
                    write!(f, "{}{key}:{value}", if index > 0 { " " } else { "" })?;
                }
                f.write_str("]")
            }
            Self::Timestamp(nanos) => f.write_str(&timestamp_text(*nanos)),
            Self::Duration(nanos) => write!(f, "{}s", seconds_text(*nanos)),
            Self::Type(name) => f.write_str(name),
            Self::Unknown => f.write_str("false"),
            Self::Error(error) => error.fmt(f),
            Self::NoValue => EvalError::NoResult.fmt(f),
        }
    }
}

fn inner_text(value: &Value<'_>) -> String {
    if matches!(value, Value::Null) { "<nil>".to_owned() } else { value.to_string() }
}

/// The shortest digits that read back as the number; with an exponent only where it saves many zeros.
pub(super) fn double_text(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let magnitude = value.abs();
    if magnitude != 0.0 && !(1e-4..1e21).contains(&magnitude) {
        let text = format!("{value:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |exponent| ('-', exponent));
        return format!("{digits}e{sign}{exponent:0>2}");
    }
    format!("{value}")
}

pub(super) fn timestamp_text(nanos: i128) -> String {
    OffsetDateTime::from_unix_timestamp_nanos(nanos).ok().and_then(|at| at.format(&Rfc3339).ok()).unwrap_or_default()
}

fn seconds_text(nanos: i64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "a text for people")]
    let seconds = nanos as f64 / 1e9;
    double_text(seconds)
}

impl<'v> List<'v> {
    /// Number of items.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Json(items) => items.len(),
            Self::Made(items) => items.len(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One item.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<Value<'v>> {
        match self {
            Self::Json(items) => items.get(index).map(Value::of),
            Self::Made(items) => items.get(index).cloned(),
        }
    }

    /// All items.
    pub fn iter(&self) -> impl Iterator<Item = Value<'v>> + '_ {
        (0..self.len()).filter_map(|index| self.get(index))
    }
}

impl<'v> Map<'v> {
    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Json(entries) => entries.len(),
            Self::Parsed(entries) => entries.len(),
            Self::Made(entries) => entries.len(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One value.
    #[must_use]
    pub fn get(&self, key: &Value<'_>) -> Option<Value<'v>> {
        match (self, key) {
            (Self::Made(entries), key) => {
                entries.iter().find(|(known, _)| known.equals(key)).map(|(_, value)| value.clone())
            }
            (map, Value::String(key)) => map.field(key),
            _ => None,
        }
    }

    /// The value of a key that is text.
    #[must_use]
    pub fn field(&self, key: &str) -> Option<Value<'v>> {
        match self {
            Self::Json(entries) => entries.get(key).map(Value::of),
            Self::Parsed(entries) => entries.get(key).map(Value::owned),
            Self::Made(entries) => {
                let is_key = |known: &Value<'_>| matches!(known, Value::String(known) if known == key);
                entries.iter().find(|(known, _)| is_key(known)).map(|(_, value)| value.clone())
            }
        }
    }

    /// All entries.
    pub fn entries(&self) -> Box<dyn Iterator<Item = (Value<'v>, Value<'v>)> + '_> {
        match self {
            Self::Json(entries) => {
                Box::new(entries.iter().map(|(key, value)| (Value::String(Cow::Borrowed(key)), Value::of(value))))
            }
            Self::Parsed(entries) => Box::new(
                entries.iter().map(|(key, value)| (Value::String(Cow::Owned(key.clone())), Value::owned(value))),
            ),
            Self::Made(entries) => Box::new(entries.iter().cloned()),
        }
    }
}
