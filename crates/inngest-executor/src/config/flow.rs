//! Flow control: checked at sync, so that a mistake is told when it is made. The texts are those of the Go server
//! where it has one.

use serde_json::{Map, Value};

use super::fields::{Checked, Problems, compiles, field, is_set, nanos, object_at, optional, text, whole};

type Object = Map<String, Value>;

/// The options, which this version does not act on yet.
pub(super) const OPTIONS: [&str; 8] =
    ["concurrency", "throttle", "rateLimit", "idempotency", "debounce", "batchEvents", "priority", "singleton"];

const SECOND: i64 = 1_000_000_000;
const DAY: i64 = 24 * 60 * 60 * SECOND;
const LIMITS_MAX: usize = 2;

pub(super) fn concurrency(object: &Object, problems: &mut Problems) {
    let entries: Vec<&Value> = match field(object, "concurrency") {
        None | Some(Value::Null | Value::String(_) | Value::Number(_)) => return,
        Some(Value::Array(entries)) => entries.iter().collect(),
        Some(Value::Object(split)) if is_set(split, "fn") || is_set(split, "step") => {
            let part = |name| field(split, name).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
            of_runs(part("fn"), problems);
            part("step").iter().collect()
        }
        Some(value @ Value::Object(_)) => vec![value],
        Some(Value::Bool(_)) => return problems.shape("concurrency must be a number, an object or an array"),
    };
    if entries.len() > LIMITS_MAX {
        let text = "There are more concurrency limits specified than the allowed max of";
        problems.rule(format!("{text}: {LIMITS_MAX}"));
    }
    for entry in entries {
        let Some((limit, scope, key)) = limit_of(entry, problems) else { continue };
        match (scope.as_str(), key) {
            ("fn", _) | ("env" | "account", Some(_)) => {}
            ("env", None) => problems.rule("A concurrency key must be specified for Env scoped limits"),
            ("account", None) => problems.rule("A concurrency key must be specified for Account scoped limits"),
            _ => problems.shape(unknown_scope(&scope)),
        }
        let Some(key) = key else { continue };
        compiles(key, Checked::Form, problems, |error| format!("Invalid concurrency key '{key}': {error}"));
        if limit <= 0 {
            problems.rule("concurrency limit must be > 0 when a key is set");
        }
    }
}

/// Limits of whole runs.
fn of_runs(entries: &[Value], problems: &mut Problems) {
    if entries.len() > 1 {
        problems.rule("Only one function concurrency limit is allowed");
    }
    for entry in entries {
        let Some((limit, scope, key)) = limit_of(entry, problems) else { continue };
        if limit <= 0 {
            problems.rule("function concurrency limit must be > 0");
        }
        match scope.as_str() {
            "fn" => {}
            "app" => problems.rule("app-scoped function concurrency cannot be set by users"),
            "env" | "account" => problems.rule(format!("invalid function concurrency scope: {scope}")),
            _ => problems.shape(unknown_scope(&scope)),
        }
        if let Some(key) = key {
            compiles(key, Checked::Form, problems, |error| {
                format!("invalid function concurrency key '{key}': {error}")
            });
        }
    }
}

fn limit_of<'o>(entry: &'o Value, problems: &mut Problems) -> Option<(i64, String, Option<&'o str>)> {
    let Value::Object(entry) = entry else {
        problems.shape("a concurrency limit must be an object");
        return None;
    };
    let key = text(entry, "key", problems);
    let limit = whole(entry, "limit", problems).unwrap_or(0);
    match field(entry, "scope") {
        None => Some((limit, "fn".to_owned(), key)),
        Some(Value::String(scope)) => Some((limit, scope.to_ascii_lowercase(), key)),
        Some(_) => {
            problems.shape("concurrency.scope must be fn, env or account");
            None
        }
    }
}

fn unknown_scope(scope: &str) -> String {
    format!("concurrency.scope {scope:?} is unknown: fn, env or account is expected")
}

pub(super) fn batch(object: &Object, problems: &mut Problems) {
    let Some(batch) = object_at(object, "batchEvents", problems) else { return };
    let size = whole(batch, "maxSize", problems).unwrap_or(0);
    if size < 2 {
        problems.rule(format!("batch size cannot be smaller than 2: {size}"));
    }
    match nanos(text(batch, "timeout", problems).unwrap_or_default()) {
        Err(problem) => problems.rule(format!("failed to parse time duration: {problem}")),
        Ok(timeout) if timeout < SECOND => problems.rule("batch timeout should be more than 1s"),
        Ok(_) => {}
    }
    if let Some(key) = text(batch, "key", problems) {
        compiles(key, Checked::Types, problems, |error| format!("batch key expression is invalid: {error}"));
    }
    if let Some(condition) = text(batch, "if", problems) {
        let refusal = |error: &_| format!("conditional batch expression is invalid {error}");
        compiles(condition, Checked::Types, problems, refusal);
    }
    for (other, name) in [("cancel", "cancellation"), ("debounce", "debouncing"), ("singleton", "singletons")] {
        if is_set(object, other) {
            problems.rule(format!("Batching and {name} are mutually exclusive"));
        }
    }
    let priority = field(object, "priority").and_then(Value::as_object);
    if priority.is_some_and(|priority| is_set(priority, "run")) {
        problems.rule("A function cannot specify Priority.Run and Batch together");
    }
}

pub(super) fn priority(object: &Object, problems: &mut Problems) {
    let Some(priority) = object_at(object, "priority", problems) else { return };
    if let Some(run) = text(priority, "run", problems) {
        compiles(run, Checked::Form, problems, |error| format!("Priority.Run expression is invalid: {error}"));
    }
}

pub(super) fn debounce(object: &Object, problems: &mut Problems) {
    let Some(debounce) = object_at(object, "debounce", problems) else { return };
    // SDKs send an empty key when there is none.
    if let Some(key) = optional(debounce, "key", problems) {
        compiles(key, Checked::Types, problems, |error| format!("Debounce expression is invalid: {error}"));
    }
    let period = text(debounce, "period", problems).unwrap_or_default();
    match nanos(period) {
        Err(problem) => problems.rule(format!("The debounce period of '{period}' is invalid: {problem}")),
        Ok(length) if length < SECOND => {
            problems.rule(format!("The debounce period of '{period}' is less than the min of: 1s"));
        }
        Ok(length) if length > 7 * DAY => {
            problems.rule(format!("The debounce period of '{period}' is greater than the max of: 168h0m0s"));
        }
        Ok(_) => {}
    }
    if let Some(timeout) = optional(debounce, "timeout", problems) {
        match nanos(timeout) {
            Err(problem) => problems.rule(format!("The debounce timeout of '{timeout}' is invalid: {problem}")),
            Ok(length) if length <= 0 => {
                problems.rule(format!("The debounce timeout of '{timeout}' must be greater than 0s"));
            }
            Ok(_) => {}
        }
    }
}

/// `idempotency` takes the place of `rateLimit`, whatever that says.
pub(super) fn rate_limit(object: &Object, problems: &mut Problems) {
    if let Some(key) = text(object, "idempotency", problems) {
        return compiles(key, Checked::Types, problems, |error| format!("key is invalid: {error}"));
    }
    let Some(limit) = object_at(object, "rateLimit", problems) else { return };
    if whole(limit, "limit", problems).unwrap_or(0) <= 0 {
        problems.rule("limit must be greater than 0");
    }
    if let Some(key) = text(limit, "key", problems) {
        compiles(key, Checked::Types, problems, |error| format!("key is invalid: {error}"));
    }
    let Some(period) = optional(limit, "period", problems) else { return problems.rule("period must be specified") };
    match nanos(period) {
        Err(problem) => problems.rule(format!("failed to parse time duration: {problem}")),
        Ok(length) if length <= 0 => problems.rule("period must be greater than 0s"),
        Ok(length) if length > DAY => problems.rule("period must be less than 24h0m0s"),
        Ok(_) => {}
    }
}

/// The key is not checked: users have registered bare words.
pub(super) fn throttle(object: &Object, problems: &mut Problems) {
    let Some(throttle) = object_at(object, "throttle", problems) else { return };
    for key in ["limit", "burst"] {
        if whole(throttle, key, problems).is_some_and(|number| number < 0) {
            problems.shape(format!("throttle.{key} must not be negative"));
        }
    }
    text(throttle, "key", problems);
    let period = text(throttle, "period", problems).unwrap_or_default();
    match nanos(period) {
        Err(problem) => problems.shape(format!("throttle.period: {problem}")),
        Ok(length) if length <= 0 => problems.shape(format!("throttle.period {period:?} must be greater than 0s")),
        Ok(_) => {}
    }
}

pub(super) fn singleton(object: &Object, problems: &mut Problems) {
    let Some(singleton) = object_at(object, "singleton", problems) else { return };
    text(singleton, "key", problems);
    let mode = text(singleton, "mode", problems).unwrap_or_default();
    if !["", "skip", "cancel"].iter().any(|known| mode.eq_ignore_ascii_case(known)) {
        problems.shape(format!("singleton.mode {mode:?} is unknown: skip or cancel is expected"));
    }
}
