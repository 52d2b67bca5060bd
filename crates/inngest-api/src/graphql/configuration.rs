//! The configuration of a function: as text, and member by member.

use std::time::Duration;

use async_graphql::{Enum, SimpleObject};
use inngest_core::{Function, limits};
use inngest_executor::flow_control::{Concurrency, Key};
use inngest_executor::registry::Settings;
use inngest_executor::rules::Rules;
use inngest_queue::flow::Scope;
use serde_json::{Map, Value};

use crate::dev;

/// Members of a registered configuration that are shown as they are.
const SHOWN: [&str; 10] = [
    "batchEvents",
    "cancel",
    "checkpoint",
    "concurrency",
    "debounce",
    "idempotency",
    "priority",
    "rateLimit",
    "singleton",
    "throttle",
];

/// The definition of a function as JSON text.
pub(super) fn as_text(function: &Function) -> String {
    let mut shown = dev::describe(function);
    let registered = registered(function);
    for name in SHOWN.into_iter().chain(["timeouts"]) {
        if let Some(value) = member(&registered, name).filter(|value| !value.is_null()) {
            shown[name] = value.clone();
        }
    }
    let rules = Rules::of(function, &Settings::default());
    let limits = concurrencies(&rules);
    if !limits.is_empty() {
        let limit = |limit: &&Concurrency| {
            let mut shown = serde_json::json!({ "limit": limit.limit, "scope": scope_text(limit.scope) });
            if let Some(key) = &limit.key {
                shown["key"] = (*key.text).into();
            }
            shown
        };
        shown["concurrency"] = limits.iter().map(limit).collect();
    }
    shown.to_string()
}

/// The limit of all calls of a function together; 0 when there is none.
pub(super) fn concurrency(function: &Function) -> i64 {
    let rules = Rules::of(function, &Settings::default());
    let limits = concurrencies(&rules);
    let of_function = limits.iter().find(|limit| limit.scope == Scope::Function && limit.key.is_none());
    of_function.map_or(0, |limit| limit.limit.into())
}

/// Limits with a key, or of more than the function, come first.
fn concurrencies(rules: &Rules) -> Vec<&Concurrency> {
    let mut limits: Vec<&Concurrency> = rules.flow.steps.iter().chain(&rules.flow.runs).collect();
    limits.sort_by_key(|limit| limit.scope == Scope::Function && limit.key.is_none());
    limits
}

fn scope_text(scope: Scope) -> &'static str {
    match scope {
        Scope::Function => "fn",
        Scope::Environment => "env",
        Scope::Account => "account",
    }
}

fn registered(function: &Function) -> Map<String, Value> {
    serde_json::from_slice(&function.config).unwrap_or_default()
}

/// A member by its name, whatever the case of its letters: SDKs do not agree on it.
fn member<'o>(object: &'o Map<String, Value>, name: &str) -> Option<&'o Value> {
    object.get(name).or_else(|| object.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value))
}

fn object<'o>(of: &'o Map<String, Value>, name: &str) -> Option<&'o Map<String, Value>> {
    member(of, name).and_then(Value::as_object)
}

fn text(of: &Map<String, Value>, name: &str) -> Option<String> {
    member(of, name).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
}

fn number(of: &Map<String, Value>, name: &str) -> i64 {
    #[expect(clippy::cast_possible_truncation, reason = "saturates")]
    let number = member(of, name).and_then(Value::as_f64).map_or(0, |number| number as i64);
    number
}

/// A duration as Go writes it.
fn go_duration(length: Duration) -> String {
    let seconds = length.as_secs();
    let (hours, minutes) = (seconds / 3_600, seconds / 60 % 60);
    let rest = format!("{}s", (length - Duration::from_secs(seconds / 60 * 60)).as_secs_f64());
    match (hours, minutes) {
        (0, 0) if !length.is_zero() && length < Duration::from_secs(1) => format!("{}ms", length.as_secs_f64() * 1e3),
        (0, 0) => rest,
        (0, minutes) => format!("{minutes}m{rest}"),
        (hours, minutes) => format!("{hours}h{minutes}m{rest}"),
    }
}

fn key_text(key: Option<&Key>) -> Option<String> {
    key.map(|key| key.text.to_string())
}

/// What a function asks of the engine.
#[derive(Debug, PartialEq, SimpleObject)]
pub(super) struct FunctionConfiguration {
    cancellations: Vec<CancellationConfiguration>,
    retries: RetryConfiguration,
    priority: Option<String>,
    events_batch: Option<EventsBatchConfiguration>,
    concurrency: Vec<ConcurrencyConfiguration>,
    rate_limit: Option<RateLimitConfiguration>,
    debounce: Option<DebounceConfiguration>,
    throttle: Option<ThrottleConfiguration>,
    singleton: Option<SingletonConfiguration>,
}

/// An event that cancels runs.
#[derive(Debug, PartialEq, SimpleObject)]
struct CancellationConfiguration {
    event: String,
    timeout: Option<String>,
    condition: Option<String>,
}

/// Retries after the first attempt.
#[derive(Debug, PartialEq, SimpleObject)]
struct RetryConfiguration {
    value: i64,
    is_default: Option<bool>,
}

/// Events that start one run together.
#[derive(Debug, PartialEq, SimpleObject)]
struct EventsBatchConfiguration {
    max_size: i64,
    timeout: String,
    key: Option<String>,
}

/// Among whom a limit counts.
#[derive(Clone, Copy, Debug, Enum, PartialEq, Eq)]
enum ConcurrencyScope {
    Account,
    Environment,
    Function,
}

/// So many at a time.
#[derive(Debug, PartialEq, SimpleObject)]
struct ConcurrencyConfiguration {
    scope: ConcurrencyScope,
    limit: ConcurrencyLimitConfiguration,
    key: Option<String>,
}

/// How many.
#[derive(Debug, PartialEq, SimpleObject)]
struct ConcurrencyLimitConfiguration {
    value: i64,
    is_plan_limit: Option<bool>,
}

/// So many runs in a time; more are skipped.
#[derive(Debug, PartialEq, SimpleObject)]
struct RateLimitConfiguration {
    limit: i64,
    period: String,
    key: Option<String>,
}

/// The last of several events starts the run.
#[derive(Debug, PartialEq, SimpleObject)]
struct DebounceConfiguration {
    period: String,
    key: Option<String>,
}

/// So many starts in a time; more wait.
#[derive(Debug, PartialEq, SimpleObject)]
struct ThrottleConfiguration {
    burst: i64,
    key: Option<String>,
    limit: i64,
    period: String,
}

/// What happens to a run while another one goes on.
#[derive(Clone, Copy, Debug, Enum, PartialEq, Eq)]
enum SingletonMode {
    Skip,
    Cancel,
}

/// One run at a time.
#[derive(Debug, PartialEq, SimpleObject)]
struct SingletonConfiguration {
    mode: SingletonMode,
    key: Option<String>,
}

impl FunctionConfiguration {
    /// Texts are those that were registered; the rest is as the engine understands it.
    pub(super) fn of(function: &Function) -> Self {
        let config = registered(function);
        let rules = Rules::of(function, &Settings::default());
        let retries = function.retries;
        Self {
            cancellations: cancellations(&config),
            retries: RetryConfiguration { value: retries.into(), is_default: Some(retries == limits::RETRIES_DEFAULT) },
            priority: object(&config, "priority").and_then(|priority| text(priority, "run")),
            events_batch: object(&config, "batchEvents").map(|batch| EventsBatchConfiguration {
                max_size: number(batch, "maxSize"),
                timeout: text(batch, "timeout").unwrap_or_default(),
                key: text(batch, "key"),
            }),
            concurrency: concurrency_of(&rules),
            rate_limit: rate_limit(&config),
            debounce: object(&config, "debounce").map(|debounce| DebounceConfiguration {
                period: text(debounce, "period").unwrap_or_default(),
                key: text(debounce, "key"),
            }),
            throttle: rules.flow.throttles.first().zip(object(&config, "throttle")).map(|(limit, throttle)| {
                ThrottleConfiguration {
                    burst: number(throttle, "burst"),
                    key: key_text(limit.key.as_ref()),
                    limit: number(throttle, "limit"),
                    period: go_duration(period(throttle)),
                }
            }),
            singleton: rules.flow.singleton.as_ref().map(|singleton| SingletonConfiguration {
                mode: match singleton.mode {
                    inngest_queue::flow::SingletonMode::Skip => SingletonMode::Skip,
                    inngest_queue::flow::SingletonMode::Cancel => SingletonMode::Cancel,
                },
                key: key_text(singleton.key.as_ref()),
            }),
        }
    }
}

fn period(of: &Map<String, Value>) -> Duration {
    let text = text(of, "period").unwrap_or_default();
    let nanos = inngest_expr::duration::parse(text.trim_matches('"')).map_or(0, |span| span.nanos);
    Duration::from_nanos(nanos.max(0).unsigned_abs())
}

fn cancellations(config: &Map<String, Value>) -> Vec<CancellationConfiguration> {
    let entries = member(config, "cancel").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let shown = entries.iter().filter_map(Value::as_object).map(|entry| CancellationConfiguration {
        event: text(entry, "event").unwrap_or_default(),
        timeout: text(entry, "timeout"),
        condition: text(entry, "if"),
    });
    shown.collect()
}

fn concurrency_of(rules: &Rules) -> Vec<ConcurrencyConfiguration> {
    let limits = concurrencies(rules);
    if limits.is_empty() {
        let limit = ConcurrencyLimitConfiguration { value: -1, is_plan_limit: Some(true) };
        return vec![ConcurrencyConfiguration { scope: ConcurrencyScope::Account, limit, key: None }];
    }
    let shown = limits.into_iter().map(|limit| ConcurrencyConfiguration {
        scope: match limit.scope {
            Scope::Function => ConcurrencyScope::Function,
            Scope::Environment => ConcurrencyScope::Environment,
            Scope::Account => ConcurrencyScope::Account,
        },
        limit: ConcurrencyLimitConfiguration { value: limit.limit.into(), is_plan_limit: Some(false) },
        key: key_text(limit.key.as_ref()),
    });
    shown.collect()
}

/// An idempotency key is a rate limit, and counts in place of any other.
fn rate_limit(config: &Map<String, Value>) -> Option<RateLimitConfiguration> {
    if let Some(key) = text(config, "idempotency") {
        return Some(RateLimitConfiguration { limit: 1, period: "24h0m0s".to_owned(), key: Some(key) });
    }
    let limit = object(config, "rateLimit")?;
    let period = text(limit, "period").unwrap_or_default();
    Some(RateLimitConfiguration { limit: number(limit, "limit"), period, key: text(limit, "key") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_in_go() {
        for (ms, text) in [
            (0, "0s"),
            (500, "500ms"),
            (1_500, "1.5s"),
            (60_000, "1m0s"),
            (3_600_000, "1h0m0s"),
            (90_061_000, "25h1m1s"),
        ] {
            assert_eq!(go_duration(Duration::from_millis(ms)), text);
        }
    }
}
