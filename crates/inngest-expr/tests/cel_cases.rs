//! Every case of `cel_cases.json`: what the Go server makes of an expression, or what it should make of it.

use inngest_core::Millis;
use inngest_expr::expression::{Expression, Roots, Value};
use serde_json::{Value as Json, json};

/// A time after all dates in the cases.
const NOW: Millis = Millis(1_800_000_000_000);

/// Go's own answers that are not followed, and ours.
const DEVIATIONS: [(&str, &str, &str); 2] = [
    // An error is an error, not a text to concatenate.
    ("error-concat", "std_error", r#""no such key: price""#),
    // What is missing is null on either side.
    ("bind-order", "std_result", "true"),
];

#[test]
fn every_case_has_its_answer() {
    let mut cases: Vec<Json> = serde_json::from_str(include_str!("data/cel_cases.json")).unwrap();
    assert_eq!(cases.len(), 488);
    let mut problems = Vec::new();
    let mut deviations = 0;
    for case in &mut cases {
        if let Some((_, field, answer)) = DEVIATIONS.iter().find(|(quirk, ..)| case["quirk"] == *quirk) {
            deviations += 1;
            case[*field] = serde_json::from_str(answer).unwrap();
        }
        let text = case["expr"].as_str().unwrap();
        if let Err(problem) = check(case, text) {
            problems.push(format!("{text}: {problem}"));
        }
    }
    println!("{} cases, {deviations} deviations, {} problems", cases.len(), problems.len());
    assert!(problems.is_empty(), "{}\n{}", problems.len(), problems.join("\n"));
    assert_eq!(deviations, DEVIATIONS.len());
}

fn check(case: &Json, text: &str) -> Result<(), String> {
    let checks = Expression::compile(text, Roots::EventAndAsync);
    if let Some(expected) = case["typechecks"].as_bool()
        && checks.is_ok() != expected
    {
        return Err(format!("type check: {:?}", checks.map(drop).map_err(|error| error.to_string())));
    }
    if let (Ok(expression), Some(expected)) = (&checks, case["restrictive_ok"].as_bool()) {
        let allowed = expression.check_restrictive();
        if allowed.is_ok() != expected {
            return Err(format!("policy: {allowed:?}"));
        }
    }
    let outcome = evaluate(case, text);
    let std = case.get("std_result").is_some() || case.get("std_error").is_some();
    let expects_error = if std { case.get("std_error").is_some() } else { case.get("error").is_some() };
    match (outcome, expects_error) {
        (Err(kind), true) => {
            let expected = case["error_kind"].as_str().filter(|_| !std);
            if expected.is_none_or(|expected| expected == kind) { Ok(()) } else { Err(format!("kind {kind}")) }
        }
        (Err(kind), false) => Err(format!("error ({kind}), not {}", case["result"])),
        (Ok(found), true) => Err(format!("{found:?} instead of {}", case["error"])),
        (Ok((found, kind)), false) => {
            let (result, kind_wanted) = if std { ("std_result", "std_type") } else { ("result", "type") };
            let wanted = &case[result];
            let same = same(&found, wanted);
            let kind_wanted = case[kind_wanted].as_str().or_else(|| case["type"].as_str());
            if same && kind_wanted.is_none_or(|wanted| wanted == kind) {
                Ok(())
            } else {
                Err(format!("{found} ({kind}) instead of {wanted} ({kind_wanted:?})"))
            }
        }
    }
}

/// The value as JSON and its type, or the kind of the error.
fn evaluate(case: &Json, text: &str) -> Result<(Json, &'static str), &'static str> {
    let expression = Expression::parse(text).map_err(|_| "compile")?;
    let (event, other) = (&case["event"], case.get("async"));
    let null = Json::Null;
    if case["mode"] == "bind" {
        let bindings = expression.bind(event).expect("small");
        let value = expression.evaluate_bound(&bindings, other.unwrap_or(&null), NOW);
        return value.map(|value| (shown(&value), value.type_name())).map_err(|error| kind(&error));
    }
    let value = expression.evaluate(event, other, NOW);
    value.map(|value| (shown(&value), value.type_name())).map_err(|error| kind(&error))
}

fn kind(error: &inngest_expr::expression::EvalError) -> &'static str {
    use inngest_expr::expression::EvalError;
    if matches!(error, EvalError::NoResult) { "no_result" } else { "eval" }
}

fn shown(value: &Value<'_>) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Bool(value) => json!(value),
        Value::Int(value) => json!(value),
        Value::Uint(value) => json!(value),
        Value::Double(value) if value.is_finite() => json!(value),
        Value::List(list) => list.iter().map(|item| shown(&item)).collect(),
        Value::Map(map) => Json::Object(map.entries().map(|(key, value)| (key.to_string(), shown(&value))).collect()),
        Value::Duration(nanos) => json!(go_duration(*nanos)),
        Value::Bytes(_) | Value::Type(_) | Value::Double(_) | Value::String(_) | Value::Timestamp(_) => {
            json!(value.to_string())
        }
        other => panic!("{other:?} is no result"),
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

fn same(a: &Json, b: &Json) -> bool {
    match (a, b) {
        (Json::Number(a), Json::Number(b)) => a.as_f64() == b.as_f64(),
        (Json::Array(a), Json::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Json::Object(a), Json::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, value)| b.get(key).is_some_and(|other| same(value, other)))
        }
        (a, b) => a == b,
    }
}
