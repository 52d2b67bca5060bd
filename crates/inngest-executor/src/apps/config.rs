//! One function of a sync: what starts it, where it is called, and its configuration, checked rule by rule.

use std::sync::Arc;
use std::time::Duration;

use inngest_core::function::Trigger;
use inngest_core::limits;
use inngest_expr::cron::Schedule;
use serde_json::{Map, Value};

use super::wire::canonical;
use super::{FunctionDefinition, url};
use crate::config::{Checked, Config, Problems, compile, field, integral, nanos, optional, text};

/// Spread of a schedule.
const JITTER_MIN: Duration = Duration::from_secs(1);
const JITTER_MAX: Duration = Duration::from_secs(300);

/// Reads one element of `functions`; what is wrong with it is among `problems` afterwards.
pub(super) fn function(value: &Value, problems: &mut Problems) -> Option<FunctionDefinition> {
    let Value::Object(object) = value else {
        problems.kind("a function", "an object", value);
        return None;
    };
    let name = text(object, "name", problems).unwrap_or_default();
    let slug = match optional(object, "id", problems) {
        Some(id) => id.to_owned(),
        None => slug_of(name),
    };
    problems.of(&slug);
    if name.trim().is_empty() {
        problems.rule("A function name is required");
    }
    let triggers = triggers(object, problems);
    Config::read(object, problems);
    let step = step(object, problems)?;
    Some(FunctionDefinition {
        slug: slug.into(),
        name: name.into(),
        triggers,
        url: step.url.into(),
        step_id: step.id.into(),
        retries: step.retries,
        config: step.config.into(),
    })
}

fn slug_of(name: &str) -> String {
    let words = name.split(|character: char| !character.is_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_lowercase).collect::<Vec<_>>().join("-")
}

fn triggers(object: &Map<String, Value>, problems: &mut Problems) -> Vec<Trigger> {
    let items = match field(object, "triggers") {
        None | Some(Value::Null) => return Vec::new(),
        Some(Value::Array(items)) => items,
        Some(value) => {
            problems.kind("triggers", "an array", value);
            return Vec::new();
        }
    };
    if items.len() > limits::TRIGGERS_PER_FUNCTION_MAX {
        let max = limits::TRIGGERS_PER_FUNCTION_MAX;
        problems.rule(format!("This function exceeds the max number of triggers: {max}"));
    }
    let mut triggers: Vec<Trigger> = Vec::with_capacity(items.len().min(limits::TRIGGERS_PER_FUNCTION_MAX));
    for item in items {
        let Value::Object(item) = item else {
            problems.kind("a trigger", "an object", item);
            continue;
        };
        let Some(trigger) = trigger(item, problems) else { continue };
        let twice = triggers.iter().find_map(|other| match (other, &trigger) {
            (Trigger::Cron { schedule: a, .. }, Trigger::Cron { schedule: b, .. }) if a == b => {
                Some(format!("duplicate cron expression: {a}"))
            }
            (Trigger::Event { name, .. }, b) if other == b => Some(format!("duplicate trigger event: {name}")),
            _ => None,
        });
        match twice {
            Some(text) => problems.rule(text),
            None => triggers.push(trigger),
        }
    }
    triggers
}

fn trigger(item: &Map<String, Value>, problems: &mut Problems) -> Option<Trigger> {
    match (optional(item, "triggers.event", problems), optional(item, "triggers.cron", problems)) {
        (Some(_), Some(_)) => problems.rule("A trigger cannot have both an event and a cron trigger"),
        (None, None) => problems.rule("A trigger must supply an event name or a cron schedule"),
        (Some(name), None) => {
            if name.len() > limits::TRIGGER_BYTES_MAX {
                let max = limits::TRIGGER_BYTES_MAX;
                problems.rule(format!("event name is too long. maximum length is {max} characters"));
            }
            let expression = text(item, "triggers.expression", problems);
            if let Some(expression) = expression {
                let refusal = |error: &_| format!("invalid trigger expression on '{name}': {error}");
                compile(expression, Checked::Types, problems, refusal);
            }
            return Some(Trigger::Event { name: name.into(), expression: expression.map(Arc::from) });
        }
        (None, Some(schedule)) => {
            check_cron(schedule, problems);
            let jitter = optional(item, "triggers.jitter", problems);
            if let Some(jitter) = jitter {
                check_jitter(jitter, problems);
            }
            return Some(Trigger::Cron { schedule: schedule.into(), jitter: jitter.map(Arc::from) });
        }
    }
    None
}

/// Which zone a schedule is in that names none does not matter here: any of them can be looked up.
fn check_cron(schedule: &str, problems: &mut Problems) {
    if schedule.len() > limits::TRIGGER_BYTES_MAX {
        let max = limits::TRIGGER_BYTES_MAX;
        return problems.rule(format!("cron is too long. maximum length is {max} characters"));
    }
    if let Err(error) = Schedule::parse(schedule) {
        problems.rule(format!("'{schedule}' isn't a valid cron schedule: {error}"));
    }
}

fn check_jitter(jitter: &str, problems: &mut Problems) {
    let Ok(nanos) = nanos(jitter) else { return problems.rule(format!("'{jitter}' isn't a valid jitter duration")) };
    match u64::try_from(nanos).map(Duration::from_nanos) {
        Err(_) => problems.rule("cron jitter must be greater than or equal to zero"),
        Ok(Duration::ZERO) => {}
        Ok(length) if length < JITTER_MIN => problems.rule("cron jitter must be at least 1s"),
        Ok(length) if length > JITTER_MAX => problems.rule("cron jitter must be less than or equal to 5m0s"),
        Ok(_) => {}
    }
}

/// The one step of a function.
struct Step {
    id: String,
    /// Normalised.
    url: String,
    retries: u32,
    /// The whole definition, canonical, with that URL in it.
    config: Vec<u8>,
}

fn step(object: &Map<String, Value>, problems: &mut Problems) -> Option<Step> {
    const ONE: &str = "Functions must contain one step";
    let Some(Value::Object(steps)) = field(object, "steps") else {
        problems.rule(ONE);
        return None;
    };
    let mut entries = steps.iter();
    let (Some((key, Value::Object(step))), None) = (entries.next(), entries.next()) else {
        problems.rule(ONE);
        return None;
    };
    if optional(step, "steps.name", problems).is_none() {
        problems.rule("the step's name is required");
    }
    let Some(Value::Object(runtime)) = field(step, "runtime") else {
        problems.rule("the step's runtime is required");
        return None;
    };
    let kind = text(runtime, "steps.runtime.type", problems).unwrap_or_default();
    if !["", "http", "ws"].iter().any(|known| kind.eq_ignore_ascii_case(known)) {
        problems.rule(format!("runtime type {kind:?} is unknown: http or ws is expected"));
    }
    let url = step_url(text(runtime, "steps.runtime.url", problems).unwrap_or_default(), problems);
    let retries = match field(step, "retries") {
        Some(Value::Object(retries)) => field(retries, "attempts").filter(|attempts| !attempts.is_null()),
        _ => None,
    };
    let retries = match retries.or_else(|| field(object, "retries")) {
        None | Some(Value::Null) => limits::RETRIES_DEFAULT,
        Some(value) => match integral(value) {
            Some(number) => u32::try_from(number.max(0)).unwrap_or(u32::MAX).min(limits::RETRIES_MAX),
            None => {
                problems.kind("retries", "a whole number", value);
                limits::RETRIES_DEFAULT
            }
        },
    };
    let mut config = object.clone();
    let place = config.iter_mut().find(|(name, _)| name.eq_ignore_ascii_case("steps")).map(|(_, steps)| steps);
    if let Some(runtime) = place.and_then(|steps| steps.get_mut(key)?.get_mut("runtime")?.as_object_mut()) {
        runtime.insert("url".into(), Value::String(url.clone()));
    }
    let id = text(step, "steps.id", problems).unwrap_or_default().to_owned();
    Some(Step { id, url, retries, config: canonical(&Value::Object(config)) })
}

fn step_url(text: &str, problems: &mut Problems) -> String {
    let url = url::normalise(text);
    match ::url::Url::parse(&url) {
        Ok(parsed) if !matches!(parsed.scheme(), "http" | "https" | "ws" | "wss") => {
            problems.rule(format!("Non-supported step schema: {}", parsed.scheme()));
        }
        Ok(parsed) if parsed.has_host() => {}
        _ => problems.rule(format!("the step's url {url:?} must be a full http, https, ws or wss URL")),
    }
    url
}
