//! `cancel`: events that cancel runs.

use std::sync::Arc;

use inngest_core::{Millis, limits};
use inngest_expr::expression::{Expression, Roots};
use inngest_expr::{date, time_spec};
use serde_json::{Map, Value};

use super::fields::{Problems, field, nanos, optional, text, unquoted};

/// An event that cancels runs.
#[derive(Debug)]
pub struct CancelOn {
    /// Its exact name.
    pub event: Arc<str>,
    /// What must hold of it.
    pub condition: Option<Arc<Expression>>,
    /// How long after scheduling it counts, as registered.
    timeout: Option<Box<str>>,
}

impl CancelOn {
    /// Until when the event cancels a run that is scheduled now.
    #[must_use]
    pub fn until(&self, now: Millis) -> Millis {
        let year = || now.plus(limits::SLEEP_MAX);
        self.timeout.as_deref().map_or_else(year, |text| time_spec::until(text, now).unwrap_or_else(|_| year()))
    }
}

pub(super) fn read(object: &Map<String, Value>, problems: &mut Problems) -> Vec<CancelOn> {
    let entries = match field(object, "cancel") {
        None | Some(Value::Null) => return Vec::new(),
        Some(Value::Array(entries)) => entries,
        Some(value) => {
            problems.kind("cancel", "an array", value);
            return Vec::new();
        }
    };
    if entries.len() > limits::CANCELS_PER_FUNCTION_MAX {
        let max = limits::CANCELS_PER_FUNCTION_MAX;
        problems.rule(format!("cancel: This function exceeds the max number of cancellation events: {max}"));
    }
    entries.iter().filter_map(|entry| one(entry, problems)).collect()
}

/// One that cannot be read whole is none: what is left of it might cancel more than was meant.
fn one(entry: &Value, problems: &mut Problems) -> Option<CancelOn> {
    let Value::Object(entry) = entry else {
        problems.kind("a cancel event", "an object", entry);
        return None;
    };
    let condition = match text(entry, "cancel.if", problems) {
        None if matches!(field(entry, "cancel.if"), None | Some(Value::Null)) => Some(None),
        None => None,
        Some(text) => match condition(text) {
            Ok(condition) => Some(Some(condition)),
            Err(problem) => {
                problems.rule(format!("cancel.if: Cancellation expression is invalid: {problem}"));
                None
            }
        },
    };
    let timeout = optional(entry, "cancel.timeout", problems).map(unquoted);
    if let Some(text) = timeout.filter(|text| nanos(text).is_err() && date::parse(text).is_none()) {
        problems.rule(format!("cancel.timeout: The cancellation timeout of '{text}' is neither a duration nor a date"));
    }
    // An entry without an event is accepted, and never cancels.
    let event = optional(entry, "cancel.event", problems)?;
    Some(CancelOn { event: event.into(), condition: condition?, timeout: timeout.map(Into::into) })
}

fn condition(text: &str) -> Result<Arc<Expression>, String> {
    let expression = Expression::compile(text, Roots::EventAndAsync).map_err(|error| error.to_string())?;
    expression.check_restrictive().map_err(|error| error.to_string())?;
    Ok(Arc::new(expression))
}
