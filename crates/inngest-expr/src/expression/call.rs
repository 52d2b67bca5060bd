//! Operators and functions: first the strict operation, and where it fails the tolerant one.

use std::cmp::Ordering;

use inngest_core::Millis;

use super::fuel::{Fuel, Spent};
use super::value::List;
use super::{EvalError, Value, functions};

/// Why a strict operation has no value.
pub(super) type Strict<'v> = Result<Value<'v>, EvalError>;

pub(super) const NO_OVERLOAD: EvalError = EvalError::NoOverload("the operands are of other types");

/// Applies an operator or function to its arguments; the receiver of a method is the first.
pub(super) fn call<'v>(name: &str, args: &[Value<'v>], now: Millis, fuel: &Fuel) -> Value<'v> {
    let without = args.iter().filter(|arg| matches!(arg, Value::NoValue)).count();
    if without > 0 {
        return if name == "_==_" && without == 1 { Value::Bool(false) } else { Value::NoValue };
    }
    let is_missing = |arg: &Value<'_>| matches!(arg, Value::Unknown | Value::Error(_));
    if !args.iter().any(is_missing) {
        let error = match strict(name, args, now, fuel) {
            Ok(value) => return value,
            Err(error) => error,
        };
        return match (name, args) {
            ("_+_", [a, b]) if a.type_name() != b.type_name() => {
                concatenated(a, b, fuel).unwrap_or_else(|spent| Value::Error(spent.into()))
            }
            ("_<_" | "_<=_" | "_>_" | "_>=_", [a, b]) => with_null(name, a, b, fuel).unwrap_or(Value::Error(error)),
            _ => Value::Error(error),
        };
    }
    tolerant(name, args)
}

fn concatenated<'v>(a: &Value<'v>, b: &Value<'v>, fuel: &Fuel) -> Result<Value<'v>, Spent> {
    let (a, b) = (a.text_within(fuel)?, b.text_within(fuel)?);
    fuel.bytes(a.len() + b.len())?;
    Ok(Value::String([&*a, &*b].concat().into()))
}

/// What comes of arguments of which some are missing or failed.
fn tolerant<'v>(name: &str, args: &[Value<'v>]) -> Value<'v> {
    let unknown = args.iter().any(|arg| matches!(arg, Value::Unknown));
    let undeclared = args.iter().find(|arg| matches!(arg, Value::Error(EvalError::NoAttribute(_))));
    if let Some(error) = undeclared.filter(|_| !unknown) {
        return error.clone();
    }
    let is_missing = |arg: Option<&Value<'_>>| matches!(arg, Some(Value::Unknown | Value::Error(_)));
    let is_null = args.iter().any(|arg| matches!(arg, Value::Null));
    let left = is_missing(args.first());
    match name {
        "_==_" => Value::Bool(is_null),
        "_!=_" => Value::Bool(!is_null),
        "_<_" | "_<=_" => Value::Bool(left),
        "_>_" | "_>=_" => Value::Bool(!left),
        "_+_" => {
            let present = args.iter().find(|arg| !matches!(arg, Value::Unknown));
            present.cloned().unwrap_or(Value::Bool(false))
        }
        "_[_]" => args.iter().find(|arg| matches!(arg, Value::Error(_))).cloned().unwrap_or(Value::Unknown),
        "size" => Value::Int(0),
        _ => Value::Bool(false),
    }
}

/// `null` in an order is the zero of the other side.
fn with_null<'v>(name: &str, a: &Value<'v>, b: &Value<'v>, fuel: &Fuel) -> Option<Value<'v>> {
    let zero = |of: &Value<'_>| match of {
        Value::Int(_) => Some(Value::Int(0)),
        Value::Uint(_) => Some(Value::Uint(0)),
        Value::Double(_) => Some(Value::Double(0.0)),
        Value::String(_) => Some(Value::String("".into())),
        _ => None,
    };
    let order = match (a, b) {
        (Value::Null, Value::Bool(_)) | (Value::Bool(_), Value::Null) => return Some(Value::NoValue),
        (Value::Null, b) => zero(b)?.compare(b, fuel).ok()?,
        (a, Value::Null) => a.compare(&zero(a)?, fuel).ok()?,
        _ => None,
    };
    Some(Value::Bool(holds(name, order?)))
}

fn holds(name: &str, order: Ordering) -> bool {
    match name {
        "_<_" => order.is_lt(),
        "_<=_" => order.is_le(),
        "_>_" => order.is_gt(),
        _ => order.is_ge(),
    }
}

fn strict<'v>(name: &str, args: &[Value<'v>], now: Millis, fuel: &Fuel) -> Strict<'v> {
    match (name, args) {
        ("_==_", [a, b]) => Ok(Value::Bool(a.equals(b, fuel)?)),
        ("_!=_", [a, b]) => Ok(Value::Bool(!a.equals(b, fuel)?)),
        ("_<_" | "_<=_" | "_>_" | "_>=_", [a, b]) => match a.compare(b, fuel)? {
            Some(order) => Ok(Value::Bool(holds(name, order))),
            // A number that is none is in no order with any.
            None if matches!((a, b), (Value::Double(_), Value::Double(_))) => Ok(Value::Bool(false)),
            None => Err(NO_OVERLOAD),
        },
        ("@in", [item, Value::List(list)]) => Ok(Value::Bool(list.contains(item, fuel)?)),
        ("@in", [key, Value::Map(map)]) => Ok(Value::Bool(map.get(key, fuel)?.is_some())),
        ("_[_]", [of, at]) => index(of, at, fuel),
        ("!_", [Value::Bool(value)]) => Ok(Value::Bool(!value)),
        ("-_", [Value::Int(value)]) => value.checked_neg().map(Value::Int).ok_or_else(overflow),
        ("-_", [Value::Double(value)]) => Ok(Value::Double(-value)),
        ("-_", [Value::Duration(value)]) => value.checked_neg().map(Value::Duration).ok_or_else(overflow),
        ("_+_" | "_-_" | "_*_" | "_/_" | "_%_", [a, b]) => arithmetic(name, a, b, fuel),
        _ => functions::call(name, args, now, fuel),
    }
}

fn overflow() -> EvalError {
    EvalError::Other("integer overflow".to_owned())
}

fn arithmetic<'v>(name: &str, a: &Value<'v>, b: &Value<'v>, fuel: &Fuel) -> Strict<'v> {
    let zero = || EvalError::Other(if name == "_%_" { "modulus by zero" } else { "division by zero" }.to_owned());
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => {
            let value = match name {
                "_+_" => a.checked_add(*b),
                "_-_" => a.checked_sub(*b),
                "_*_" => a.checked_mul(*b),
                _ if *b == 0 => return Err(zero()),
                "_/_" => a.checked_div(*b),
                _ => a.checked_rem(*b),
            };
            value.map(Value::Int).ok_or_else(overflow)
        }
        (Value::Uint(a), Value::Uint(b)) => {
            let value = match name {
                "_+_" => a.checked_add(*b),
                "_-_" => a.checked_sub(*b),
                "_*_" => a.checked_mul(*b),
                _ if *b == 0 => return Err(zero()),
                "_/_" => a.checked_div(*b),
                _ => a.checked_rem(*b),
            };
            value.map(Value::Uint).ok_or_else(overflow)
        }
        (Value::Double(a), Value::Double(b)) => match name {
            "_+_" => Ok(Value::Double(a + b)),
            "_-_" => Ok(Value::Double(a - b)),
            "_*_" => Ok(Value::Double(a * b)),
            "_/_" => Ok(Value::Double(a / b)),
            _ => Err(NO_OVERLOAD),
        },
        (Value::String(_), Value::String(_)) if name == "_+_" => Ok(concatenated(a, b, fuel)?),
        (Value::Bytes(a), Value::Bytes(b)) if name == "_+_" => {
            fuel.bytes(a.len() + b.len())?;
            Ok(Value::Bytes([&**a, &**b].concat().into()))
        }
        (Value::List(a), Value::List(b)) if name == "_+_" => {
            fuel.take(a.len() + b.len())?;
            Ok(Value::List(List::Made(a.iter().chain(b.iter()).collect())))
        }
        (Value::Timestamp(at), Value::Duration(span)) if name == "_+_" => Ok(Value::Timestamp(at + i128::from(*span))),
        (Value::Duration(span), Value::Timestamp(at)) if name == "_+_" => Ok(Value::Timestamp(at + i128::from(*span))),
        (Value::Timestamp(at), Value::Duration(span)) if name == "_-_" => Ok(Value::Timestamp(at - i128::from(*span))),
        (Value::Timestamp(a), Value::Timestamp(b)) if name == "_-_" => {
            i64::try_from(a - b).map(Value::Duration).map_err(|_| overflow())
        }
        (Value::Duration(a), Value::Duration(b)) if name == "_+_" => {
            a.checked_add(*b).map(Value::Duration).ok_or_else(overflow)
        }
        (Value::Duration(a), Value::Duration(b)) if name == "_-_" => {
            a.checked_sub(*b).map(Value::Duration).ok_or_else(overflow)
        }
        _ => Err(NO_OVERLOAD),
    }
}

fn index<'v>(of: &Value<'v>, at: &Value<'v>, fuel: &Fuel) -> Strict<'v> {
    match of {
        Value::List(list) => {
            let place = match at {
                Value::Int(index) => Some(*index),
                Value::Uint(index) => i64::try_from(*index).ok(),
                #[expect(clippy::cast_possible_truncation, reason = "whole, and saturating beyond any list")]
                Value::Double(index) if index.fract() == 0.0 => Some(*index as i64),
                other => {
                    let text = format!("unsupported index type {} in list", other.type_name());
                    return Err(EvalError::Other(text));
                }
            };
            let found = place.and_then(|place| usize::try_from(place).ok()).and_then(|place| list.get(place));
            found.ok_or_else(|| EvalError::OutOfBounds(shown(at)))
        }
        Value::Map(map) => map.get(at, fuel)?.ok_or_else(|| EvalError::NoKey(shown(at))),
        _ => Err(NO_OVERLOAD),
    }
}

/// A key for a message, cut off if it is long.
fn shown(key: &Value<'_>) -> String {
    const CHARACTERS_MAX: usize = 64;
    match key {
        Value::String(text) => text.chars().take(CHARACTERS_MAX).collect(),
        Value::List(_) | Value::Map(_) | Value::Bytes(_) => key.type_name().to_owned(),
        other => other.to_string(),
    }
}
