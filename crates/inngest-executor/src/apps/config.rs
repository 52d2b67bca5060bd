//! The configuration of one function, checked rule by rule.

use std::sync::Arc;
use std::time::Duration;

use inngest_core::function::Trigger;
use inngest_core::limits;
use inngest_expr::cron::Schedule;
use inngest_expr::expression::{Expression, Roots};
use inngest_expr::{date, duration};
use serde_json::{Map, Value};

use super::wire::{canonical, field};
use super::{FunctionDefinition, RegisterError, url};

/// What is wrong with a function.
#[derive(Debug)]
pub(super) enum Problem {
    /// The shape: reported as an invalid request.
    Shape(String),
    /// A rule: reported as an invalid function.
    Rule(String),
}

impl Problem {
    pub(super) fn into_error(self, url: &str) -> RegisterError {
        match self {
            Self::Shape(text) => RegisterError::Malformed(text),
            Self::Rule(reason) => RegisterError::InvalidFunction { url: url.to_owned(), reason },
        }
    }

    fn of(self, function: &str) -> Self {
        match self {
            Self::Shape(text) => Self::Shape(format!("{function}: {text}")),
            Self::Rule(text) => Self::Rule(format!("{function}: {text}")),
        }
    }
}

type Checked<T = ()> = Result<T, Problem>;

fn rule<T>(text: impl Into<String>) -> Checked<T> {
    Err(Problem::Rule(text.into()))
}

fn shape<T>(text: impl Into<String>) -> Checked<T> {
    Err(Problem::Shape(text.into()))
}

/// Options of flow control that are kept, but not acted on by this version.
const NOT_YET: [&str; 8] =
    ["concurrency", "throttle", "rateLimit", "idempotency", "debounce", "batchEvents", "priority", "singleton"];

/// Reads one element of `functions`.
pub(super) fn function(value: &Value, warnings: &mut Vec<String>) -> Checked<FunctionDefinition> {
    let Value::Object(object) = value else { return shape("a function must be an object") };
    let name = text(object, "name")?;
    let slug = match text(object, "id")? {
        id if id.is_empty() => slug_of(&name),
        id => id,
    };
    check(object, slug, name, warnings).map_err(|(slug, problem)| problem.of(&slug))
}

fn check(
    object: &Map<String, Value>,
    slug: String,
    name: String,
    warnings: &mut Vec<String>,
) -> Result<FunctionDefinition, (String, Problem)> {
    let checked = (|| {
        if name.trim().is_empty() {
            return rule("name is required");
        }
        let triggers = triggers(object)?;
        let (step_id, step_url, retries, config) = step(object)?;
        flow_control(object)?;
        Ok((triggers, step_id, step_url, retries, config))
    })();
    let (triggers, step_id, step_url, retries, config) = match checked {
        Ok(checked) => checked,
        Err(problem) => return Err((slug, problem)),
    };
    for option in NOT_YET {
        if is_set(object, option) {
            warnings.push(format!("{slug}: {option} is registered, but not acted on by this version"));
        }
    }
    Ok(FunctionDefinition {
        slug: slug.into(),
        name: name.into(),
        triggers,
        url: step_url.into(),
        step_id: step_id.into(),
        retries,
        config: config.into(),
    })
}

fn slug_of(name: &str) -> String {
    let words = name.split(|character: char| !character.is_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_lowercase).collect::<Vec<_>>().join("-")
}

fn is_set(object: &Map<String, Value>, key: &str) -> bool {
    match field(object, key) {
        None | Some(Value::Null) => false,
        Some(Value::Array(items)) => !items.is_empty(),
        Some(_) => true,
    }
}

fn text(object: &Map<String, Value>, key: &str) -> Checked<String> {
    match field(object, key) {
        None | Some(Value::Null) => Ok(String::new()),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(_) => shape(format!("{key} must be a string")),
    }
}

fn optional(object: &Map<String, Value>, key: &str) -> Checked<Option<Arc<str>>> {
    Ok(Some(text(object, key)?).filter(|text| !text.is_empty()).map(Arc::from))
}

fn triggers(object: &Map<String, Value>) -> Checked<Vec<Trigger>> {
    let items = match field(object, "triggers") {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(items)) => items,
        Some(_) => return shape("triggers must be an array"),
    };
    if items.len() > limits::TRIGGERS_PER_FUNCTION_MAX {
        return rule(format!("a function may have at most {} triggers", limits::TRIGGERS_PER_FUNCTION_MAX));
    }
    let mut triggers: Vec<Trigger> = Vec::with_capacity(items.len());
    for item in items {
        let Value::Object(item) = item else { return shape("a trigger must be an object") };
        let trigger = trigger(item)?;
        let twice = triggers.iter().any(|other| match (other, &trigger) {
            (Trigger::Cron { schedule: a, .. }, Trigger::Cron { schedule: b, .. }) => a == b,
            (a, b) => a == b,
        });
        if twice {
            return rule("the same trigger is declared twice");
        }
        triggers.push(trigger);
    }
    Ok(triggers)
}

fn trigger(item: &Map<String, Value>) -> Checked<Trigger> {
    match (optional(item, "event")?, optional(item, "cron")?) {
        (Some(_), Some(_)) => rule("a trigger is either an event or a cron schedule, not both"),
        (None, None) => rule("a trigger needs an event or a cron schedule"),
        (Some(name), None) => {
            if name.len() > limits::TRIGGER_BYTES_MAX {
                return rule(format!("the event name of a trigger is longer than {} bytes", limits::TRIGGER_BYTES_MAX));
            }
            let expression = optional(item, "expression")?;
            if let Some(Err(error)) = expression.as_deref().map(|text| Expression::compile(text, Roots::Event)) {
                return rule(format!("invalid trigger expression on '{name}': {error}"));
            }
            Ok(Trigger::Event { name, expression })
        }
        (None, Some(schedule)) => {
            check_cron(&schedule)?;
            let jitter = optional(item, "jitter")?;
            if let Some(jitter) = &jitter {
                within(jitter, "jitter", Duration::from_secs(1), Duration::from_secs(300))?;
            }
            Ok(Trigger::Cron { schedule, jitter })
        }
    }
}

fn check_cron(schedule: &str) -> Checked {
    if schedule.len() > limits::TRIGGER_BYTES_MAX {
        return rule(format!("cron is too long. maximum length is {} characters", limits::TRIGGER_BYTES_MAX));
    }
    match Schedule::parse(schedule) {
        Ok(_) => Ok(()),
        Err(error) => rule(format!("'{schedule}' isn't a valid cron schedule: {error}")),
    }
}

/// The one step: its id, its normalised URL, the retries, and the whole definition with that URL in it.
fn step(object: &Map<String, Value>) -> Checked<(String, String, u32, Vec<u8>)> {
    let Some(Value::Object(steps)) = field(object, "steps") else {
        return rule("steps must hold exactly one step");
    };
    let mut entries = steps.iter();
    let (Some((key, Value::Object(step))), None) = (entries.next(), entries.next()) else {
        return rule("steps must hold exactly one step");
    };
    if text(step, "name")?.is_empty() {
        return rule("the step's name is required");
    }
    let Some(Value::Object(runtime)) = field(step, "runtime") else { return rule("the step's runtime is required") };
    let kind = text(runtime, "type")?;
    if !["", "http", "ws"].iter().any(|known| kind.eq_ignore_ascii_case(known)) {
        return rule(format!("runtime type {kind:?} is unknown: http or ws is expected"));
    }
    let url = url::normalise(&text(runtime, "url")?);
    let parsed = ::url::Url::parse(&url).ok().filter(|url| url.has_host());
    match parsed.as_ref().map(::url::Url::scheme) {
        Some("http" | "https" | "ws" | "wss") => {}
        _ => return rule(format!("the step's url {url:?} must be a full http, https, ws or wss URL")),
    }
    let retries = match field(step, "retries") {
        Some(Value::Object(retries)) => field(retries, "attempts").filter(|attempts| !attempts.is_null()).cloned(),
        _ => None,
    };
    let retries = match retries.as_ref().or_else(|| field(object, "retries")) {
        None | Some(Value::Null) => limits::RETRIES_DEFAULT,
        Some(value) => match value.as_i64() {
            Some(number) => u32::try_from(number.max(0)).unwrap_or(u32::MAX).min(limits::RETRIES_MAX),
            None => return shape("retries must be a whole number"),
        },
    };
    let mut config = object.clone();
    let place = config.iter_mut().find(|(name, _)| name.eq_ignore_ascii_case("steps")).map(|(_, steps)| steps);
    if let Some(runtime) = place.and_then(|steps| steps.get_mut(key)?.get_mut("runtime")?.as_object_mut()) {
        runtime.insert("url".into(), Value::String(url.clone()));
    }
    Ok((text(step, "id")?, url, retries, canonical(&Value::Object(config))))
}

fn flow_control(object: &Map<String, Value>) -> Checked {
    concurrency(object)?;
    if let Some(throttle) = object_at(object, "throttle")? {
        whole(throttle, "limit")?;
        whole(throttle, "burst")?;
        required_duration(throttle, "throttle")?;
    }
    if let Some(limit) = object_at(object, "rateLimit")? {
        if whole(limit, "limit")?.unwrap_or(0) <= 0 {
            return rule("rateLimit.limit must be greater than 0");
        }
        required_duration(limit, "rateLimit")?;
        within(&text(limit, "period")?, "rateLimit.period", Duration::ZERO, Duration::from_secs(86_400))?;
    }
    match field(object, "idempotency") {
        Some(Value::String(key)) if key.is_empty() => return rule("idempotency must not be empty"),
        None | Some(Value::Null | Value::String(_)) => {}
        Some(_) => return shape("idempotency must be a string"),
    }
    if let Some(priority) = object_at(object, "priority")? {
        text(priority, "run")?;
    }
    if let Some(timeouts) = object_at(object, "timeouts")? {
        for key in ["start", "finish"] {
            if let Some(period) = optional(timeouts, key)? {
                within(&period, &format!("timeouts.{key}"), Duration::ZERO, Duration::MAX)?;
            }
        }
    }
    if let Some(debounce) = object_at(object, "debounce")? {
        let week = Duration::from_secs(7 * 86_400);
        within(&text(debounce, "period")?, "debounce.period", Duration::from_secs(1), week)?;
    }
    batch(object)?;
    if let Some(singleton) = object_at(object, "singleton")? {
        let mode = text(singleton, "mode")?;
        if !["", "skip", "cancel"].iter().any(|known| mode.eq_ignore_ascii_case(known)) {
            return shape(format!("singleton.mode {mode:?} is unknown: skip or cancel is expected"));
        }
    }
    cancel(object)?;
    checkpoint(object)
}

fn concurrency(object: &Map<String, Value>) -> Checked {
    let entries: Vec<&Value> = match field(object, "concurrency") {
        None | Some(Value::Null | Value::String(_)) => return Ok(()),
        Some(Value::Number(_)) => return Ok(()),
        Some(Value::Array(entries)) => entries.iter().collect(),
        Some(Value::Object(split)) if is_set(split, "fn") || is_set(split, "step") => {
            let part = |name| field(split, name).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
            let (runs, steps) = (part("fn"), part("step"));
            if runs.len() > 1 {
                return rule("a function may have at most one concurrency limit for whole runs (fn)");
            }
            limits_of(&runs.iter().collect::<Vec<_>>())?;
            steps.iter().collect()
        }
        Some(value @ Value::Object(_)) => vec![value],
        Some(Value::Bool(_)) => return shape("concurrency must be a number, an object or an array"),
    };
    if entries.len() > 2 {
        return rule("a function may have at most two concurrency limits");
    }
    limits_of(&entries)
}

fn limits_of(entries: &[&Value]) -> Checked {
    for entry in entries {
        let Value::Object(entry) = entry else { return shape("a concurrency limit must be an object") };
        let key = text(entry, "key")?;
        let limit = whole(entry, "limit")?.unwrap_or(0);
        let scope = match field(entry, "scope") {
            None => "fn".to_owned(),
            Some(Value::String(scope)) => scope.to_ascii_lowercase(),
            Some(_) => return shape("concurrency.scope must be fn, env or account"),
        };
        match scope.as_str() {
            "fn" => {}
            "env" | "account" if key.is_empty() => {
                return rule(format!("a concurrency limit of scope {scope} needs a key"));
            }
            "env" | "account" => {}
            _ => return shape(format!("concurrency.scope {scope:?} is unknown: fn, env or account is expected")),
        }
        if !key.is_empty() && limit <= 0 {
            return rule("a concurrency limit with a key must be greater than 0");
        }
    }
    Ok(())
}

fn batch(object: &Map<String, Value>) -> Checked {
    let Some(batch) = object_at(object, "batchEvents")? else { return Ok(()) };
    if whole(batch, "maxSize")?.unwrap_or(0) < 2 {
        return rule("batchEvents.maxSize must be at least 2");
    }
    within(&text(batch, "timeout")?, "batchEvents.timeout", Duration::from_secs(1), Duration::MAX)?;
    for other in ["cancel", "debounce", "singleton", "priority"] {
        if is_set(object, other) {
            return rule(format!("batchEvents cannot be combined with {other}"));
        }
    }
    Ok(())
}

fn cancel(object: &Map<String, Value>) -> Checked {
    let entries = match field(object, "cancel") {
        None | Some(Value::Null) => return Ok(()),
        Some(Value::Array(entries)) => entries,
        Some(_) => return shape("cancel must be an array"),
    };
    if entries.len() > limits::CANCELS_PER_FUNCTION_MAX {
        return rule(format!("a function may have at most {} cancel events", limits::CANCELS_PER_FUNCTION_MAX));
    }
    for entry in entries {
        let Value::Object(entry) = entry else { return shape("a cancel event must be an object") };
        text(entry, "event")?;
        if let Some(condition) = optional(entry, "if")? {
            let compiled = Expression::compile(&condition, Roots::EventAndAsync).map_err(|error| error.to_string());
            let checked =
                compiled.and_then(|expression| expression.check_restrictive().map_err(|error| error.to_string()));
            if let Err(problem) = checked {
                return rule(format!("Cancellation expression is invalid: {problem}"));
            }
        }
        let timeout = text(entry, "timeout")?;
        // The Kotlin SDK sends the text within quotes of its own.
        let plain = timeout.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(&timeout);
        if !timeout.is_empty() && duration::parse(plain).is_err() && date::parse(plain).is_none() {
            return rule(format!("cancel.timeout {timeout:?} is neither a duration nor a date"));
        }
    }
    Ok(())
}

fn checkpoint(object: &Map<String, Value>) -> Checked {
    let Some(checkpoint) = object_at(object, "checkpoint")? else { return Ok(()) };
    whole(checkpoint, "batch_steps")?;
    for key in ["batch_interval", "max_runtime"] {
        match field(checkpoint, key) {
            Some(Value::String(text)) if !text.is_empty() && duration::parse(text).is_err() => {
                return shape(format!("checkpoint.{key} {text:?} is not a duration"));
            }
            None | Some(Value::String(_) | Value::Number(_) | Value::Null) => {}
            Some(_) => return shape(format!("checkpoint.{key} must be a duration")),
        }
    }
    Ok(())
}

fn object_at<'o>(object: &'o Map<String, Value>, key: &str) -> Checked<Option<&'o Map<String, Value>>> {
    match field(object, key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(inner)) => Ok(Some(inner)),
        Some(_) => shape(format!("{key} must be an object")),
    }
}

fn whole(object: &Map<String, Value>, key: &str) -> Checked<Option<i64>> {
    match field(object, key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_i64() {
            Some(number) => Ok(Some(number)),
            None => shape(format!("{key} must be a whole number")),
        },
    }
}

fn required_duration(object: &Map<String, Value>, option: &str) -> Checked {
    let period = text(object, "period")?;
    match duration::parse(&period) {
        Ok(_) => Ok(()),
        Err(error) => shape(format!("{option}.period {period:?}: {error}")),
    }
}

fn within(text: &str, option: &str, min: Duration, max: Duration) -> Checked {
    let nanos = match duration::parse(text) {
        Ok(span) => span.nanos,
        Err(error) => return rule(format!("{option} {text:?}: {error}")),
    };
    let length = Duration::from_nanos(u64::try_from(nanos).unwrap_or(0));
    if nanos < 0 || length < min || length > max {
        let upper = if max == Duration::MAX { "or more".to_owned() } else { format!("to {}s", max.as_secs()) };
        return rule(format!("{option} {text:?} must be {}s {upper}", min.as_secs()));
    }
    Ok(())
}
