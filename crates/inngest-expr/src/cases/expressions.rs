//! A case of an expression: `expr` and `event`, perhaps `async`, and what they give.

use inngest_core::Millis;
use serde_json::{Value as Json, json};

use super::Verdict;
use crate::expression::{EvalError, Expression, Roots, Value};

/// A time after all dates in the cases.
const NOW: Millis = Millis(1_800_000_000_000);

/// Answers of the Go server, by the `quirk` of their case, that are not followed: the member that is replaced, our
/// answer, and why.
const DEVIATIONS: [(&str, &str, &str, &str); 2] = [
    ("error-concat", "std_error", "no such key: price", "an error is an error, not a text to concatenate"),
    ("bind-order", "std_result", "true", "what is missing is null on either side"),
];

/// Compares what we make of an expression with its case. With `std_result` or `std_error` a case says what should be,
/// whatever the Go server does; with `mode: "bind"` its expression is bound to `event` and evaluated for `async`.
#[must_use]
pub fn check_expression(case: &Json) -> Verdict {
    let Some(text) = case["expr"].as_str() else { return Verdict::Differs("the case has no `expr`".to_owned()) };
    let deviation = DEVIATIONS.iter().find(|(quirk, ..)| case["quirk"] == *quirk);
    let mut case = case.clone();
    if let Some((_, member, answer, _)) = deviation {
        case[*member] = serde_json::from_str(answer).unwrap_or_else(|_| json!(answer));
    }
    match (compare(&case, text), deviation) {
        (Err(problem), _) => Verdict::Differs(problem),
        (Ok(()), Some((.., why))) => Verdict::Deviates(why),
        (Ok(()), None) => Verdict::Same,
    }
}

fn compare(case: &Json, text: &str) -> Result<(), String> {
    let compiled = Expression::compile(text, Roots::EventAndAsync);
    if let Some(expected) = case["typechecks"].as_bool()
        && compiled.is_ok() != expected
    {
        let found = compiled.map_or_else(|error| error.to_string(), |_| "it passes".to_owned());
        return Err(format!("type check: expected {expected}, but {found}"));
    }
    if let (Ok(expression), Some(expected)) = (&compiled, case["restrictive_ok"].as_bool()) {
        let allowed = expression.check_restrictive();
        if allowed.is_ok() != expected {
            let found = allowed.map_or_else(|error| error.to_string(), |()| "it passes".to_owned());
            return Err(format!("policy of cancellations: expected {expected}, but {found}"));
        }
    }
    let is_std = case.get("std_result").is_some() || case.get("std_error").is_some();
    let error = case.get(if is_std { "std_error" } else { "error" });
    match (evaluate(case, text), error) {
        (Err(kind), Some(_)) => {
            let expected = case["error_kind"].as_str().filter(|_| !is_std);
            if expected.is_none_or(|expected| expected == kind) {
                Ok(())
            } else {
                Err(format!("expected an error of kind {}, found {kind}", case["error_kind"]))
            }
        }
        (Err(kind), None) => Err(format!("expected {}, found an error of kind {kind}", case["result"])),
        (Ok((found, _)), Some(error)) => Err(format!("expected the error {error}, found {found}")),
        (Ok((found, kind)), None) => {
            let (result, named) = if is_std { ("std_result", "std_type") } else { ("result", "type") };
            let expected_kind = case[named].as_str().or_else(|| case["type"].as_str());
            if is_same(&found, &case[result]) && expected_kind.is_none_or(|expected| expected == kind) {
                Ok(())
            } else {
                let expected_kind = expected_kind.unwrap_or("any type");
                Err(format!("expected {} ({expected_kind}), found {found} ({kind})", case[result]))
            }
        }
    }
}

/// The value as JSON and its type, or the kind of the error.
fn evaluate(case: &Json, text: &str) -> Result<(Json, &'static str), &'static str> {
    let expression = Expression::parse(text).map_err(|_| "compile")?;
    let shown = |value: Result<Value<'_>, EvalError>| match value {
        Ok(value) => Ok((to_json(&value), value.type_name())),
        Err(EvalError::NoResult) => Err("no_result"),
        Err(_) => Err("eval"),
    };
    let (event, other) = (&case["event"], case.get("async"));
    if case["mode"] == "bind" {
        let bindings = expression.bind(event).map_err(|_| "bind")?;
        return shown(expression.evaluate_bound(&bindings, other.unwrap_or(&Json::Null), NOW));
    }
    shown(expression.evaluate(event, other, NOW))
}

/// A result as JSON. What JSON has no form for is text.
#[must_use]
pub fn to_json(value: &Value<'_>) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Bool(value) => json!(value),
        Value::Int(value) => json!(value),
        Value::Uint(value) => json!(value),
        Value::Double(value) if value.is_finite() => json!(value),
        Value::List(list) => list.iter().map(|item| to_json(&item)).collect(),
        Value::Map(map) => Json::Object(map.entries().map(|(key, value)| (key.to_string(), to_json(&value))).collect()),
        Value::Duration(nanos) => json!(go_duration(*nanos)),
        other => json!(other.to_string()),
    }
}

/// `1h30m0s`
fn go_duration(nanos: i64) -> String {
    let seconds = nanos / 1_000_000_000;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{seconds}s"),
        (0, _) => format!("{minutes}m{seconds}s"),
        _ => format!("{hours}h{minutes}m{seconds}s"),
    }
}

fn is_same(a: &Json, b: &Json) -> bool {
    match (a, b) {
        (Json::Number(a), Json::Number(b)) => a.as_f64() == b.as_f64(),
        (Json::Array(a), Json::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_same(a, b)),
        (Json::Object(a), Json::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, value)| b.get(key).is_some_and(|other| is_same(value, other)))
        }
        (a, b) => a == b,
    }
}
