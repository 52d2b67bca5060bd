//! Functions and methods.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use inngest_core::Millis;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::call::{NO_OVERLOAD, Strict};
use super::fuel::Fuel;
use super::value::{Map, double_text, timestamp_text};
use super::{EvalError, Value, pattern};
use crate::{date, duration};

const NANOS_PER_MS: i128 = 1_000_000;
const NANOS_PER_SECOND: i64 = 1_000_000_000;

pub(super) fn call<'v>(name: &str, args: &[Value<'v>], now: Millis, fuel: &Fuel) -> Strict<'v> {
    // Character by character, and into a new text.
    let passes = if matches!(name, "lowercase" | "uppercase" | "b64decode") { 4 } else { 1 };
    for arg in args {
        match arg {
            Value::String(text) => fuel.bytes(passes * text.len())?,
            Value::Bytes(bytes) => fuel.bytes(bytes.len())?,
            _ => {}
        }
    }
    match (name, args) {
        ("size", [value]) => size(value),
        ("contains", [Value::String(text), Value::String(part)]) => Ok(Value::Bool(text.contains(&**part))),
        ("startsWith", [Value::String(text), Value::String(part)]) => Ok(Value::Bool(text.starts_with(&**part))),
        ("endsWith", [Value::String(text), Value::String(part)]) => Ok(Value::Bool(text.ends_with(&**part))),
        ("matches", [Value::String(text), Value::String(pattern)]) => {
            Ok(Value::Bool(pattern::is_match(pattern, text, fuel)?))
        }
        ("int", [value]) => int(value),
        ("uint", [value]) => uint(value),
        ("double", [value]) => double(value),
        ("string", [value]) => string(value),
        ("bool", [value]) => boolean(value),
        ("bytes", [Value::String(text)]) => Ok(Value::Bytes(Arc::from(text.as_bytes()))),
        ("bytes", [Value::Bytes(bytes)]) => Ok(Value::Bytes(Arc::clone(bytes))),
        ("dyn", [value]) => Ok(value.clone()),
        ("type", [value]) => Ok(Value::Type(value.type_name())),
        ("timestamp", [value]) => timestamp(value),
        ("duration", [value]) => length(value),
        ("lowercase", [value]) => Ok(mapped_case(value, |c| simple(c.to_lowercase(), c))),
        ("uppercase", [value]) => Ok(mapped_case(value, |c| simple(c.to_uppercase(), c))),
        ("b64decode", [Value::String(text)]) => Ok(Value::String(b64decode(text).into())),
        ("b64decode", [_]) => Ok(Value::String("".into())),
        ("json_parse", [value]) => json_parse(value, fuel),
        ("date", [value]) => Ok(date_of(value)),
        ("now", []) => Ok(Value::Timestamp(i128::from(now.0) * NANOS_PER_MS)),
        ("now_plus", [value]) => Ok(shifted(now, value, 1)),
        ("now_minus", [value]) => Ok(shifted(now, value, -1)),
        (name, [Value::Timestamp(at), zone @ ..]) if zone.len() <= 1 => getter(name, *at, zone.first()),
        (name, [Value::Duration(span)]) => part_of_duration(name, *span),
        _ => Err(NO_OVERLOAD),
    }
}

fn size<'v>(value: &Value<'v>) -> Strict<'v> {
    let size = match value {
        Value::String(text) => text.chars().count(),
        Value::Bytes(bytes) => bytes.len(),
        Value::List(list) => list.len(),
        Value::Map(map) => map.len(),
        _ => return Err(NO_OVERLOAD),
    };
    Ok(Value::Int(i64::try_from(size).unwrap_or(i64::MAX)))
}

/// One more than the largest `i64`, exactly.
const TWO_TO_63: f64 = 9_223_372_036_854_775_808.0;

fn conversion(to: &str) -> EvalError {
    EvalError::Other(format!("type conversion error to '{to}'"))
}

fn int<'v>(value: &Value<'v>) -> Strict<'v> {
    let converted = match value {
        Value::Int(value) => Some(*value),
        Value::Uint(value) => i64::try_from(*value).ok(),
        #[expect(clippy::cast_possible_truncation, reason = "within the range")]
        Value::Double(value) => (*value >= -TWO_TO_63 && *value < TWO_TO_63).then_some(*value as i64),
        Value::String(text) => text.parse().ok(),
        Value::Timestamp(nanos) => i64::try_from(nanos.div_euclid(i128::from(NANOS_PER_SECOND))).ok(),
        _ => return Err(NO_OVERLOAD),
    };
    converted.map(Value::Int).ok_or_else(|| conversion("int"))
}

fn uint<'v>(value: &Value<'v>) -> Strict<'v> {
    let converted = match value {
        Value::Uint(value) => Some(*value),
        Value::Int(value) => u64::try_from(*value).ok(),
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within the range")]
        Value::Double(value) => (*value >= 0.0 && *value < 2.0 * TWO_TO_63).then_some(*value as u64),
        Value::String(text) => text.parse().ok(),
        _ => return Err(NO_OVERLOAD),
    };
    converted.map(Value::Uint).ok_or_else(|| conversion("uint"))
}

#[expect(clippy::cast_precision_loss, reason = "that is what the function does")]
fn double<'v>(value: &Value<'v>) -> Strict<'v> {
    match value {
        Value::Double(value) => Ok(Value::Double(*value)),
        Value::Int(value) => Ok(Value::Double(*value as f64)),
        Value::Uint(value) => Ok(Value::Double(*value as f64)),
        Value::String(text) => text.parse().map(Value::Double).map_err(|_| conversion("double")),
        _ => Err(NO_OVERLOAD),
    }
}

fn string<'v>(value: &Value<'v>) -> Strict<'v> {
    let text = match value {
        Value::String(text) => return Ok(Value::String(text.clone())),
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Uint(value) => value.to_string(),
        Value::Double(value) => double_text(*value),
        Value::Bytes(bytes) => String::from_utf8(bytes.to_vec()).map_err(|_| conversion("string"))?,
        Value::Timestamp(nanos) => timestamp_text(*nanos),
        Value::Duration(_) => value.to_string(),
        _ => return Err(NO_OVERLOAD),
    };
    Ok(Value::String(text.into()))
}

fn boolean<'v>(value: &Value<'v>) -> Strict<'v> {
    match value {
        Value::Bool(value) => Ok(Value::Bool(*value)),
        Value::String(text) => match &**text {
            "true" | "TRUE" | "True" | "t" | "T" | "1" => Ok(Value::Bool(true)),
            "false" | "FALSE" | "False" | "f" | "F" | "0" => Ok(Value::Bool(false)),
            _ => Err(conversion("bool")),
        },
        _ => Err(NO_OVERLOAD),
    }
}

fn timestamp<'v>(value: &Value<'v>) -> Strict<'v> {
    match value {
        Value::Timestamp(nanos) => Ok(Value::Timestamp(*nanos)),
        Value::Int(seconds) => Ok(Value::Timestamp(i128::from(*seconds) * i128::from(NANOS_PER_SECOND))),
        Value::String(text) => {
            use time::format_description::well_known::Rfc3339;
            let parsed = time::OffsetDateTime::parse(text, &Rfc3339).map_err(|_| conversion("timestamp"))?;
            Ok(Value::Timestamp(parsed.unix_timestamp_nanos()))
        }
        _ => Err(NO_OVERLOAD),
    }
}

/// Without days and weeks, unlike everywhere else.
fn length<'v>(value: &Value<'v>) -> Strict<'v> {
    match value {
        Value::Duration(nanos) => Ok(Value::Duration(*nanos)),
        Value::Int(seconds) => {
            seconds.checked_mul(NANOS_PER_SECOND).map(Value::Duration).ok_or_else(|| conversion("duration"))
        }
        Value::String(text) if !text.contains(['d', 'w']) => {
            duration::parse(text).map(|span| Value::Duration(span.nanos)).map_err(|_| conversion("duration"))
        }
        Value::String(_) => Err(conversion("duration")),
        _ => Err(NO_OVERLOAD),
    }
}

/// A character that would become several stays as it is.
fn simple(mut mapped: impl Iterator<Item = char>, original: char) -> char {
    match (mapped.next(), mapped.next()) {
        (Some(one), None) => one,
        _ => original,
    }
}

fn mapped_case<'v>(value: &Value<'v>, map: impl Fn(char) -> char) -> Value<'v> {
    let Value::String(text) = value else { return Value::String("".into()) };
    Value::String(text.chars().map(map).collect::<String>().into())
}

/// What cannot be decoded is left out, from there on.
fn b64decode(text: &str) -> String {
    let whole = STANDARD.decode(text);
    let bytes = whole.unwrap_or_else(|_| {
        let good = text.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/')).count();
        STANDARD.decode(&text[..good / 4 * 4]).unwrap_or_default()
    });
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A map is read; anything else is an empty one.
fn json_parse<'v>(value: &Value<'v>, fuel: &Fuel) -> Strict<'v> {
    // What is read takes several times the memory of its text.
    const BYTES_PER_UNIT: usize = 2;
    let parsed = match value {
        Value::String(text) => {
            fuel.take(text.len() / BYTES_PER_UNIT)?;
            serde_json::from_str(text).ok()
        }
        _ => None,
    };
    Ok(Value::Map(Map::parsed(parsed.unwrap_or_default())))
}

/// A text in one of many forms, or a number of seconds, milliseconds or nanoseconds, by its size.
fn date_of<'v>(value: &Value<'v>) -> Value<'v> {
    const EARLIEST: i64 = 946_684_800;
    const SECONDS_END: i64 = 9_999_999_999;
    const MILLIS_END: i64 = 9_999_999_999_999;
    let nanos = match value {
        // (Not a form of the Go server's, which has no date with a blank before the time.)
        Value::String(text) if !is_blank_separated(text) => date::parse_exactly(text)
            .or_else(|| date::parse_stamp(text))
            .map(time::OffsetDateTime::unix_timestamp_nanos),
        Value::Int(number) if *number < EARLIEST => None,
        Value::Int(number) if *number < SECONDS_END => Some(i128::from(*number) * i128::from(NANOS_PER_SECOND)),
        Value::Int(number) if *number < MILLIS_END => Some(i128::from(*number) * NANOS_PER_MS),
        Value::Int(number) => Some(i128::from(*number)),
        _ => None,
    };
    nanos.map_or(Value::NoValue, Value::Timestamp)
}

/// `2024-05-01 10:00:00`
fn is_blank_separated(text: &str) -> bool {
    text.len() == 19 && text.as_bytes()[10] == b' ' && text.as_bytes()[4] == b'-'
}

fn shifted<'v>(now: Millis, by: &Value<'v>, sign: i128) -> Value<'v> {
    let Value::String(text) = by else { return Value::NoValue };
    match duration::parse(text) {
        Ok(span) if !text.is_empty() => {
            Value::Timestamp(i128::from(now.0) * NANOS_PER_MS + sign * i128::from(span.nanos))
        }
        _ => Value::NoValue,
    }
}

fn getter<'v>(name: &str, nanos: i128, zone: Option<&Value<'v>>) -> Strict<'v> {
    const GETTERS: [&str; 10] = [
        "getFullYear",
        "getMonth",
        "getDate",
        "getDayOfMonth",
        "getDayOfWeek",
        "getDayOfYear",
        "getHours",
        "getMinutes",
        "getSeconds",
        "getMilliseconds",
    ];
    if !GETTERS.contains(&name) {
        return Err(NO_OVERLOAD);
    }
    let zone = match zone {
        None => TimeZone::UTC,
        Some(Value::String(name)) => zone_of(name)?,
        Some(_) => return Err(NO_OVERLOAD),
    };
    let at = Timestamp::from_nanosecond(nanos).map_err(|error| EvalError::Other(error.to_string()))?;
    let at = at.to_zoned(zone);
    Ok(Value::Int(match name {
        "getFullYear" => i64::from(at.year()),
        "getMonth" => i64::from(at.month()) - 1,
        "getDate" => i64::from(at.day()),
        "getDayOfMonth" => i64::from(at.day()) - 1,
        "getDayOfWeek" => i64::from(at.weekday().to_sunday_zero_offset()),
        "getDayOfYear" => i64::from(at.day_of_year()) - 1,
        "getHours" => i64::from(at.hour()),
        "getMinutes" => i64::from(at.minute()),
        "getSeconds" => i64::from(at.second()),
        _ => i64::from(at.millisecond()),
    }))
}

/// An IANA name, or an offset such as `+02:00`.
fn zone_of(name: &str) -> Result<TimeZone, EvalError> {
    let unknown = || EvalError::Other(format!("unknown time zone {name}"));
    let (sign, rest) = match name.as_bytes().first() {
        Some(b'+') => (1, &name[1..]),
        Some(b'-') => (-1, &name[1..]),
        Some(b'0'..=b'9') => (1, name),
        _ => return TimeZone::get(name).map_err(|_| unknown()),
    };
    let (hours, minutes) = rest.split_once(':').ok_or_else(unknown)?;
    let number = |text: &str| text.parse::<i32>().ok().filter(|number| (0..60).contains(number));
    let seconds = number(hours).zip(number(minutes)).map(|(hours, minutes)| sign * (hours * 3600 + minutes * 60));
    let offset = seconds.and_then(|seconds| jiff::tz::Offset::from_seconds(seconds).ok()).ok_or_else(unknown)?;
    Ok(TimeZone::fixed(offset))
}

fn part_of_duration<'v>(name: &str, nanos: i64) -> Strict<'v> {
    Ok(Value::Int(match name {
        "getHours" => nanos / (3600 * NANOS_PER_SECOND),
        "getMinutes" => nanos / (60 * NANOS_PER_SECOND),
        "getSeconds" => nanos / NANOS_PER_SECOND,
        "getMilliseconds" => nanos / 1_000_000,
        _ => return Err(NO_OVERLOAD),
    }))
}
