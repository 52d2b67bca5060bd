//! Values of expressions.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::ops::Deref;
use std::sync::Arc;

use serde_json::Value as Json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::EvalError;
use super::fuel::{Fuel, Spent};

/// A value. All are cheap to clone: what belongs to an event is borrowed from it, the rest is shared.
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
    String(Text<'v>),
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

/// A text.
#[derive(Clone, Debug)]
pub enum Text<'v> {
    /// Of an event.
    Borrowed(&'v str),
    /// Made by the expression, or part of it.
    Shared(Arc<str>),
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Borrowed(text) => text,
            Self::Shared(text) => text,
        }
    }
}

impl<'v> From<&'v str> for Text<'v> {
    fn from(text: &'v str) -> Self {
        Self::Borrowed(text)
    }
}

impl From<String> for Text<'_> {
    fn from(text: String) -> Self {
        Self::Shared(text.into())
    }
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
    Parsed(Arc<BTreeMap<Arc<str>, Value<'static>>>),
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
            Json::String(text) => Self::String(Text::Borrowed(text)),
            Json::Array(items) => Self::List(List::Json(items)),
            Json::Object(entries) => Self::Map(Map::Json(entries)),
        }
    }

    /// As [`Value::of`], of JSON that does not live as long.
    pub(super) fn owned(json: Json) -> Self {
        match json {
            Json::Null => Self::Null,
            Json::Bool(value) => Self::Bool(value),
            Json::Number(number) => Self::Double(number.as_f64().unwrap_or(f64::NAN)),
            Json::String(text) => Self::String(text.into()),
            Json::Array(items) => Self::List(List::Made(items.into_iter().map(Self::owned).collect())),
            Json::Object(entries) => Self::Map(Map::parsed(entries)),
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

    /// Whether two values are equal: numbers of all types are compared by value, other values of different types are
    /// unequal.
    pub(super) fn equals(&self, other: &Value<'_>, fuel: &Fuel) -> Result<bool, Spent> {
        Ok(match (self, other) {
            (Self::Null, Value::Null) => true,
            (Self::Bool(a), Value::Bool(b)) => a == b,
            (Self::String(a), Value::String(b)) => {
                a.len() == b.len() && {
                    fuel.bytes(a.len())?;
                    **a == **b
                }
            }
            (Self::Bytes(a), Value::Bytes(b)) => {
                fuel.bytes(a.len().min(b.len()))?;
                a == b
            }
            (Self::Timestamp(a), Value::Timestamp(b)) => a == b,
            (Self::Duration(a), Value::Duration(b)) => a == b,
            (Self::Type(a), Value::Type(b)) => a == b,
            (Self::List(a), Value::List(b)) => return a.equals(b, fuel),
            (Self::Map(a), Value::Map(b)) => return a.equals(b, fuel),
            (a, b) => a.compare_numbers(b) == Some(Ordering::Equal),
        })
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
    pub(super) fn compare(&self, other: &Value<'_>, fuel: &Fuel) -> Result<Option<Ordering>, Spent> {
        Ok(match (self, other) {
            (Self::String(a), Value::String(b)) => {
                fuel.bytes(a.len().min(b.len()))?;
                Some((**a).cmp(&**b))
            }
            (Self::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
            (Self::Bytes(a), Value::Bytes(b)) => {
                fuel.bytes(a.len().min(b.len()))?;
                Some(a.cmp(b))
            }
            (Self::Timestamp(a), Value::Timestamp(b)) => Some(a.cmp(b)),
            (Self::Duration(a), Value::Duration(b)) => Some(a.cmp(b)),
            (a, b) => a.compare_numbers(b),
        })
    }

    /// Its text, as it is a key: 5, 5.0 and "5" have the same.
    pub fn text(&self) -> Result<Text<'v>, EvalError> {
        Ok(self.text_within(&Fuel::full())?)
    }

    /// Its text, as it is concatenated.
    pub(super) fn text_within(&self, fuel: &Fuel) -> Result<Text<'v>, Spent> {
        if let Self::String(text) = self {
            return Ok(text.clone());
        }
        let mut out = String::new();
        self.write(&mut out, fuel)?;
        Ok(out.into())
    }

    /// Appends its text. Lists may hold one another many times over, so that a small one can have a long text.
    fn write(&self, out: &mut String, fuel: &Fuel) -> Result<(), Spent> {
        let start = out.len();
        // Writing to a string does not fail.
        let _written = match self {
            Self::Null => out.write_str("NULL_VALUE"),
            Self::Bool(value) => write!(out, "{value}"),
            Self::Int(value) => write!(out, "{value}"),
            Self::Uint(value) => write!(out, "{value}"),
            Self::Double(value) => out.write_str(&double_text(*value)),
            Self::String(text) => {
                fuel.bytes(text.len())?;
                out.push_str(text);
                return Ok(());
            }
            Self::Bytes(bytes) => {
                fuel.bytes(bytes.len())?;
                out.write_str(&String::from_utf8_lossy(bytes))
            }
            Self::List(list) => return list.write(out, fuel),
            Self::Map(map) => return map.write(out, fuel),
            Self::Timestamp(nanos) => out.write_str(&timestamp_text(*nanos)),
            Self::Duration(nanos) => write!(out, "{}s", seconds_text(*nanos)),
            Self::Type(name) => out.write_str(name),
            Self::Unknown => out.write_str("false"),
            Self::Error(error) => write!(out, "{error}"),
            Self::NoValue => write!(out, "{}", EvalError::NoResult),
        };
        fuel.bytes(out.len() - start)
    }

    /// As [`Value::write`], within a list or map.
    fn write_inner(&self, out: &mut String, fuel: &Fuel) -> Result<(), Spent> {
        /// What it takes to find the digits of a number.
        const UNITS: usize = 4;
        fuel.take(UNITS)?;
        if matches!(self, Self::Null) {
            out.push_str("<nil>");
            return Ok(());
        }
        self.write(out, fuel)
    }
}

/// For people: a text without end is cut off.
impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        let whole = self.write(&mut text, &Fuel::full());
        f.write_str(&text)?;
        if whole.is_err() { f.write_str("...") } else { Ok(()) }
    }
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

    pub(super) fn contains(&self, wanted: &Value<'_>, fuel: &Fuel) -> Result<bool, Spent> {
        for item in self.iter() {
            fuel.take(1)?;
            if item.equals(wanted, fuel)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn equals(&self, other: &List<'_>, fuel: &Fuel) -> Result<bool, Spent> {
        if self.len() != other.len() {
            return Ok(false);
        }
        for (a, b) in self.iter().zip(other.iter()) {
            fuel.take(1)?;
            if !a.equals(&b, fuel)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn write(&self, out: &mut String, fuel: &Fuel) -> Result<(), Spent> {
        out.push('[');
        for (index, item) in self.iter().enumerate() {
            if index > 0 {
                out.push(' ');
            }
            item.write_inner(out, fuel)?;
        }
        out.push(']');
        Ok(())
    }
}

impl<'v> Map<'v> {
    pub(super) fn parsed(entries: serde_json::Map<String, Json>) -> Self {
        Self::Parsed(Arc::new(entries.into_iter().map(|(key, value)| (key.into(), Value::owned(value))).collect()))
    }

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
    pub(super) fn get(&self, key: &Value<'_>, fuel: &Fuel) -> Result<Option<Value<'v>>, Spent> {
        match (self, key) {
            (Self::Made(entries), key) => {
                for (known, value) in entries.iter() {
                    fuel.take(1)?;
                    if known.equals(key, fuel)? {
                        return Ok(Some(value.clone()));
                    }
                }
                Ok(None)
            }
            (map, Value::String(key)) => map.field(key, fuel),
            _ => Ok(None),
        }
    }

    /// The value of a key that is text.
    pub(super) fn field(&self, key: &str, fuel: &Fuel) -> Result<Option<Value<'v>>, Spent> {
        Ok(match self {
            Self::Json(entries) => entries.get(key).map(Value::of),
            Self::Parsed(entries) => entries.get(key).cloned(),
            Self::Made(_) => return self.get(&Value::String(key.into()), fuel),
        })
    }

    /// All entries.
    pub fn entries(&self) -> Box<dyn Iterator<Item = (Value<'v>, Value<'v>)> + '_> {
        match self {
            Self::Json(entries) => {
                Box::new(entries.iter().map(|(key, value)| (Value::String(Text::Borrowed(key)), Value::of(value))))
            }
            Self::Parsed(entries) => Box::new(
                entries.iter().map(|(key, value)| (Value::String(Text::Shared(Arc::clone(key))), value.clone())),
            ),
            Self::Made(entries) => Box::new(entries.iter().cloned()),
        }
    }

    fn equals(&self, other: &Map<'_>, fuel: &Fuel) -> Result<bool, Spent> {
        if self.len() != other.len() {
            return Ok(false);
        }
        for (key, value) in self.entries() {
            fuel.take(1)?;
            match other.get(&key, fuel)? {
                Some(other) if value.equals(&other, fuel)? => {}
                _ => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Sorted by key.
    fn write(&self, out: &mut String, fuel: &Fuel) -> Result<(), Spent> {
        let mut entries = Vec::with_capacity(self.len());
        for (key, value) in self.entries() {
            fuel.take(1)?;
            entries.push((key.text_within(fuel)?, value));
        }
        entries.sort_by(|(a, _), (b, _)| str::cmp(a, b));
        out.push_str("map[");
        for (index, (key, value)) in entries.iter().enumerate() {
            if index > 0 {
                out.push(' ');
            }
            fuel.bytes(key.len())?;
            out.push_str(key);
            out.push(':');
            value.write_inner(out, fuel)?;
        }
        out.push(']');
        Ok(())
    }
}
