//! The configuration of a function as the APIs show it: what its app registered, in one shape whatever the SDK.
//!
//! It is read from what was registered rather than from the rules that the engine made of it, since lengths of time are
//! shown in the words of the app.

use inngest_core::{Function, limits};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

/// The configuration of a function.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "FunctionConfiguration")]
pub(crate) struct FunctionConfig {
    /// How often a step that fails is tried again.
    pub(crate) retries: Retries,
    /// How many calls of the function there may be at a time.
    pub(crate) concurrency: Vec<Concurrency>,
    /// Events that cancel its runs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) cancellations: Vec<Cancellation>,
    /// By how many seconds a run goes before others: an expression.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) priority: Option<String>,
    /// Events that come together start one run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) events_batch: Option<EventsBatch>,
    /// So many runs in a time; events beyond start none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rate_limit: Option<RateLimit>,
    /// Only the last of several events starts a run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) debounce: Option<Debounce>,
    /// So many starts in a time; more wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) throttle: Option<Throttle>,
    /// One run at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) singleton: Option<Singleton>,
}

/// How often a step that fails is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Retries {
    /// Tries after the first one.
    pub(crate) value: u32,
    /// Whether it is so many as when nothing is said.
    pub(crate) is_default: bool,
}

/// So many at a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Concurrency {
    /// Among whom.
    pub(crate) scope: ConcurrencyScope,
    /// For each value of this expression, or for all together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<String>,
    /// How many.
    pub(crate) limit: ConcurrencyLimit,
}

/// Among whom a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum ConcurrencyScope {
    /// The runs of the function.
    Function,
    /// Those of all functions of the environment.
    Environment,
    /// Those of all functions.
    Account,
}

/// How many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ConcurrencyLimit {
    /// -1 when there is no limit.
    pub(crate) value: i32,
    /// Whether the function says nothing about it.
    pub(crate) is_plan_limit: bool,
}

/// An event that cancels runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Cancellation {
    /// Its name.
    pub(crate) event: String,
    /// How long it counts, as registered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) timeout: Option<String>,
    /// What must hold of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) condition: Option<String>,
}

/// Events that come together start one run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EventsBatch {
    /// A batch starts with so many.
    pub(crate) max_size: i32,
    /// It starts so long after its first event, as registered.
    pub(crate) timeout: String,
    /// Which events come together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<String>,
}

/// So many in a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct RateLimit {
    /// How many.
    pub(crate) limit: i32,
    /// In which time, as registered.
    pub(crate) period: String,
    /// For each value of this expression, or for all together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<String>,
}

/// Only the last of several events starts a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Debounce {
    /// The run starts when none has come for so long, as registered.
    pub(crate) period: String,
    /// Which events replace one another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<String>,
}

/// So many starts in a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Throttle {
    /// How many.
    pub(crate) limit: i32,
    /// How many more at once.
    pub(crate) burst: i32,
    /// In which time: `1m0s`.
    pub(crate) period: String,
    /// For each value of this expression, or for all together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<String>,
}

/// One run at a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Singleton {
    /// What happens when there is a run already.
    pub(crate) mode: SingletonMode,
    /// Which runs exclude one another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<String>,
}

/// What happens when there is a run already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum SingletonMode {
    /// The new one is not started.
    Skip,
    /// The old one is cancelled.
    Cancel,
}

impl FunctionConfig {
    /// What was registered.
    pub(crate) fn of(function: &Function) -> Self {
        let config: Map<String, Value> = serde_json::from_slice(&function.config).unwrap_or_default();
        let object = |name: &str| member(&config, name).and_then(Value::as_object);
        let rate = object("rateLimit").map(|rate| RateLimit {
            limit: number(rate, "limit"),
            period: text(rate, "period").unwrap_or_default(),
            key: text(rate, "key"),
        });
        // A key of idempotency takes the place of a rate limit, whatever that says.
        let once = |key| RateLimit { limit: 1, period: "24h0m0s".to_owned(), key: Some(key) };
        Self {
            retries: Retries { value: function.retries, is_default: function.retries == limits::RETRIES_DEFAULT },
            concurrency: concurrency(&config),
            cancellations: cancellations(&config),
            priority: object("priority").and_then(|priority| text(priority, "run")),
            events_batch: object("batchEvents").map(|batch| EventsBatch {
                max_size: number(batch, "maxSize"),
                timeout: text(batch, "timeout").unwrap_or_default(),
                key: text(batch, "key"),
            }),
            rate_limit: text(&config, "idempotency").map(once).or(rate),
            debounce: object("debounce").map(|debounce| Debounce {
                period: text(debounce, "period").unwrap_or_default(),
                key: text(debounce, "key"),
            }),
            throttle: object("throttle").map(|throttle| Throttle {
                limit: number(throttle, "limit"),
                burst: number(throttle, "burst"),
                period: text(throttle, "period").map(|period| go_duration(&period)).unwrap_or_default(),
                key: text(throttle, "key"),
            }),
            singleton: object("singleton").map(|singleton| Singleton {
                mode: match text(singleton, "mode") {
                    Some(mode) if mode.eq_ignore_ascii_case("cancel") => SingletonMode::Cancel,
                    _ => SingletonMode::Skip,
                },
                key: text(singleton, "key"),
            }),
        }
    }
}

/// A number, a limit, a list of limits, or `{"fn":[..],"step":[..]}`. Those with a key or a wider scope come first.
fn concurrency(config: &Map<String, Value>) -> Vec<Concurrency> {
    let mut found = Vec::new();
    match member(config, "concurrency") {
        Some(number @ Value::Number(_)) => found.extend(plain(whole(number))),
        Some(Value::Array(entries)) => found.extend(entries.iter().filter_map(limited)),
        Some(Value::Object(split)) => {
            let part = |name| member(split, name).and_then(Value::as_array).into_iter().flatten();
            found.extend(part("step").chain(part("fn")).filter_map(limited));
            if found.is_empty() {
                found.extend(limit_of(split));
            }
        }
        _ => {}
    }
    found.sort_by_key(|limit| limit.key.is_none() && limit.scope == ConcurrencyScope::Function);
    if found.is_empty() {
        let limit = ConcurrencyLimit { value: -1, is_plan_limit: true };
        found.push(Concurrency { scope: ConcurrencyScope::Account, key: None, limit });
    }
    found
}

fn limited(entry: &Value) -> Option<Concurrency> {
    match entry {
        Value::Object(entry) => limit_of(entry),
        other => plain(whole(other)),
    }
}

fn limit_of(entry: &Map<String, Value>) -> Option<Concurrency> {
    let scope = match text(entry, "scope").unwrap_or_default().to_ascii_lowercase().as_str() {
        "env" => ConcurrencyScope::Environment,
        "account" => ConcurrencyScope::Account,
        _ => ConcurrencyScope::Function,
    };
    Some(Concurrency { scope, key: text(entry, "key"), ..plain(number(entry, "limit"))? })
}

/// A limit of a function without a key; 0 is none.
fn plain(value: i32) -> Option<Concurrency> {
    let limit = ConcurrencyLimit { value, is_plan_limit: false };
    (value > 0).then_some(Concurrency { scope: ConcurrencyScope::Function, key: None, limit })
}

fn cancellations(config: &Map<String, Value>) -> Vec<Cancellation> {
    let entries = member(config, "cancel").and_then(Value::as_array).into_iter().flatten();
    let one = |entry: &Map<String, Value>| {
        let timeout = text(entry, "timeout").map(|text| text.trim_matches('"').to_owned());
        Some(Cancellation { event: text(entry, "event")?, timeout, condition: text(entry, "if") })
    };
    entries.filter_map(|entry| one(entry.as_object()?)).collect()
}

/// A member by its name, whatever the case of its letters: SDKs do not agree on it.
fn member<'o>(object: &'o Map<String, Value>, name: &str) -> Option<&'o Value> {
    object.get(name).or_else(|| object.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value))
}

/// A text that is not empty.
fn text(object: &Map<String, Value>, name: &str) -> Option<String> {
    member(object, name).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
}

fn number(object: &Map<String, Value>, name: &str) -> i32 {
    member(object, name).map_or(0, whole)
}

/// SDKs whose numbers are all doubles send `10.0`.
fn whole(value: &Value) -> i32 {
    #[expect(clippy::cast_possible_truncation, reason = "a cast of a double saturates")]
    value.as_f64().map_or(0, |number| number as i32)
}

/// A duration as Go prints it: `1m0s`. What is none stays as it is.
fn go_duration(text: &str) -> String {
    let Ok(span) = inngest_expr::duration::parse(text) else { return text.to_owned() };
    let (nanos, second) = (span.nanos.unsigned_abs(), 1_000_000_000);
    let fraction = |nanos: u64, unit: u64| {
        let digits = format!("{}.{:09}", nanos / unit, nanos % unit * (second / unit));
        digits.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    let sign = if span.nanos < 0 { "-" } else { "" };
    let (hours, minutes, seconds) = (nanos / second / 3_600, nanos / second / 60 % 60, nanos % (60 * second));
    match nanos {
        0 => "0s".to_owned(),
        1..1_000 => format!("{sign}{nanos}ns"),
        1_000..1_000_000 => format!("{sign}{}µs", fraction(nanos, 1_000)),
        1_000_000..1_000_000_000 => format!("{sign}{}ms", fraction(nanos, 1_000_000)),
        1_000_000_000..60_000_000_000 => format!("{sign}{}s", fraction(seconds, second)),
        60_000_000_000..3_600_000_000_000 => format!("{sign}{minutes}m{}s", fraction(seconds, second)),
        _ => format!("{sign}{hours}h{minutes}m{}s", fraction(seconds, second)),
    }
}

#[cfg(test)]
mod tests {
    use inngest_core::{AppId, FunctionId, Millis};
    use serde_json::json;

    use super::*;

    fn shown(config: &Value) -> Value {
        let function = Function {
            id: FunctionId::of_definition("f", "u"),
            app: AppId::of_name("shop"),
            slug: "shop-f".into(),
            name: "f".into(),
            triggers: Vec::new(),
            url: "u".into(),
            step_id: "step".into(),
            retries: 2,
            version: 1,
            config: config.to_string().into(),
            created_at: Millis(0),
            archived_at: None,
        };
        serde_json::to_value(FunctionConfig::of(&function)).unwrap()
    }

    #[test]
    fn what_is_not_registered_is_absent() {
        let unlimited = json!([{ "scope": "ACCOUNT", "limit": { "value": -1, "isPlanLimit": true } }]);
        let retries = json!({ "value": 2, "isDefault": false });
        assert_eq!(shown(&json!({})), json!({ "retries": retries, "concurrency": unlimited }));
    }

    #[test]
    fn concurrency_has_one_form() {
        let plain = |limit: i32| json!({ "scope": "FUNCTION", "limit": { "value": limit, "isPlanLimit": false } });
        let keyed =
            json!({ "scope": "ENVIRONMENT", "key": "event.data.u", "limit": { "value": 3, "isPlanLimit": false } });
        let entry = json!({ "limit": 3, "key": "event.data.u", "scope": "env" });
        for (registered, expected) in [
            (json!(5), json!([plain(5)])),
            (json!(5.0), json!([plain(5)])),
            (json!({ "limit": 5 }), json!([plain(5)])),
            (json!([{ "Limit": 5 }, entry]), json!([keyed, plain(5)])),
            (json!({ "step": [entry], "fn": [{ "limit": 7 }] }), json!([keyed, plain(7)])),
        ] {
            assert_eq!(shown(&json!({ "concurrency": registered }))["concurrency"], expected, "{registered}");
        }
    }

    #[test]
    fn the_rest_is_as_registered_but_for_periods_of_throttles() {
        let shown = shown(&json!({
            "rateLimit": { "limit": 1, "period": "60s" }, "throttle": { "limit": 2, "burst": 1, "period": "60s" },
            "debounce": { "period": "2s", "key": "" }, "batchEvents": { "maxSize": 3, "timeout": "5s", "key": "event.data.k" },
            "cancel": [{ "event": "a/b", "if": "async.data.x == 1", "timeout": "\"1h\"" }], "priority": { "run": "100" },
            "singleton": { "mode": "cancel", "key": "event.data.u" },
        }));
        assert_eq!(shown["rateLimit"], json!({ "limit": 1, "period": "60s" }));
        assert_eq!(shown["throttle"], json!({ "limit": 2, "burst": 1, "period": "1m0s" }));
        assert_eq!(shown["debounce"], json!({ "period": "2s" }));
        assert_eq!(shown["eventsBatch"], json!({ "maxSize": 3, "timeout": "5s", "key": "event.data.k" }));
        assert_eq!(
            shown["cancellations"],
            json!([{ "event": "a/b", "condition": "async.data.x == 1", "timeout": "1h" }])
        );
        assert_eq!((&shown["priority"], &shown["singleton"]["mode"]), (&json!("100"), &json!("CANCEL")));
    }

    #[test]
    fn a_key_of_idempotency_is_a_rate_limit() {
        let shown = shown(&json!({ "idempotency": "event.data.id", "rateLimit": { "limit": 5, "period": "1h" } }));
        assert_eq!(shown["rateLimit"], json!({ "limit": 1, "period": "24h0m0s", "key": "event.data.id" }));
    }

    #[test]
    fn durations_are_printed_as_go_does() {
        for (text, printed) in [
            ("60s", "1m0s"),
            ("90m", "1h30m0s"),
            ("1500ms", "1.5s"),
            ("2ms", "2ms"),
            ("1d", "24h0m0s"),
            ("0s", "0s"),
            ("soon", "soon"),
        ] {
            assert_eq!(go_duration(text), printed);
        }
    }
}
