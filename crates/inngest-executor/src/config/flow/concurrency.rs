//! `concurrency`: a number, one limit, a list of them, or `{fn: [..], step: [..]}`.

use std::slice;

use inngest_queue::flow::Scope;
use serde_json::Value;

use super::{Object, count};
use crate::config::fields::{Checked, Problems, compile, expression, field, integral, text, whole};
use crate::flow_control::{Concurrency, Key};

const LIMITS_MAX: usize = 2;

/// The limits of calls, and that of runs.
pub(crate) fn concurrency(object: &Object, problems: &mut Problems) -> (Vec<Concurrency>, Option<Concurrency>) {
    let (runs, steps): (&[Value], &[Value]) = match field(object, "concurrency") {
        // A text or a choice is ignored, as the Go server does.
        None | Some(Value::Null | Value::String(_) | Value::Bool(_)) => (&[], &[]),
        Some(number @ Value::Number(_)) => {
            let limit = unkeyed(integral(number).unwrap_or(0));
            return (limit.into_iter().collect(), None);
        }
        Some(Value::Array(entries)) => (&[], entries),
        Some(value @ Value::Object(split)) => match (part(split, "fn"), part(split, "step")) {
            ([], []) => (&[], slice::from_ref(value)),
            parts => parts,
        },
    };
    if runs.len() > 1 {
        problems.rule(format!("concurrency.fn: Only one function concurrency limit is allowed, not {}", runs.len()));
    }
    let runs: Vec<Concurrency> = runs.iter().filter_map(|entry| of_runs(entry, problems)).collect();
    if steps.len() > LIMITS_MAX {
        let text = "concurrency: There are more concurrency limits specified than the allowed max of";
        problems.rule(format!("{text}: {LIMITS_MAX}, not {}", steps.len()));
    }
    let steps = steps.iter().filter_map(|entry| of_steps(entry, problems)).collect();
    (steps, runs.into_iter().next())
}

fn part<'o>(split: &'o Object, name: &str) -> &'o [Value] {
    field(split, name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// No limit when it is not positive: the Go server takes it for none.
fn unkeyed(limit: i64) -> Option<Concurrency> {
    (limit > 0).then(|| Concurrency { limit: count(limit), scope: Scope::Function, key: None })
}

fn of_steps(entry: &Value, problems: &mut Problems) -> Option<Concurrency> {
    let (limit, scope, key) = members(entry, "concurrency", problems)?;
    let scope = match (scope.as_str(), key) {
        ("fn", _) => Scope::Function,
        ("env", Some(_)) => Scope::Environment,
        ("account", Some(_)) => Scope::Account,
        ("env", None) => {
            return problems.refuse("concurrency.key: A concurrency key must be specified for Env scoped limits");
        }
        ("account", None) => {
            return problems.refuse("concurrency.key: A concurrency key must be specified for Account scoped limits");
        }
        _ => return unknown_scope(&scope, "concurrency", problems),
    };
    let Some(key) = key else { return unkeyed(limit) };
    let refusal = |error: &_| format!("concurrency.key: Invalid concurrency key '{key}': {error}");
    let expression = compile(key, Checked::Form, problems, refusal);
    if limit <= 0 {
        return problems.refuse(format!(
            "concurrency.limit: concurrency limit must be > 0 when a key is set, not {limit} for '{key}'"
        ));
    }
    Some(Concurrency { limit: count(limit), scope, key: Some(Key::of(expression?)) })
}

fn of_runs(entry: &Value, problems: &mut Problems) -> Option<Concurrency> {
    let (limit, scope, key) = members(entry, "concurrency.fn", problems)?;
    if limit <= 0 {
        problems.rule(format!("concurrency.fn.limit: function concurrency limit must be > 0, not {limit}"));
    }
    match scope.as_str() {
        "fn" => {}
        "app" => problems.rule("concurrency.fn.scope: app-scoped function concurrency cannot be set by users"),
        "env" | "account" => {
            problems.rule(format!("concurrency.fn.scope: invalid function concurrency scope: {scope}"));
        }
        _ => return unknown_scope(&scope, "concurrency.fn", problems),
    }
    let refusal =
        |key: &str, error: &_| format!("concurrency.fn.key: invalid function concurrency key '{key}': {error}");
    let key = expression(key, Checked::Form, problems, refusal)?.map(Key::of);
    (limit > 0 && scope == "fn").then(|| Concurrency { limit: count(limit), scope: Scope::Function, key })
}

/// Limit, scope and key of one limit.
fn members<'o>(entry: &'o Value, path: &str, problems: &mut Problems) -> Option<(i64, String, Option<&'o str>)> {
    let Value::Object(entry) = entry else {
        problems.kind(&format!("{path}: a concurrency limit"), "an object", entry);
        return None;
    };
    let key = text(entry, &format!("{path}.key"), problems);
    let limit = whole(entry, &format!("{path}.limit"), problems).unwrap_or(0);
    match field(entry, "scope") {
        None | Some(Value::Null) => Some((limit, "fn".to_owned(), key)),
        Some(Value::String(scope)) if scope.is_empty() => Some((limit, "fn".to_owned(), key)),
        Some(Value::String(scope)) => Some((limit, scope.to_ascii_lowercase(), key)),
        Some(value) => {
            problems.kind(&format!("{path}.scope"), "fn, env or account", value);
            None
        }
    }
}

fn unknown_scope(scope: &str, path: &str, problems: &mut Problems) -> Option<Concurrency> {
    problems.shape(format!("{path}.scope {scope:?} is unknown: fn, env or account is expected"));
    None
}
