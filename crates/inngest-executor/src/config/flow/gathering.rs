//! `batchEvents` and `debounce`: events that are gathered before they start a run.

use serde_json::Value;

use super::{DAY, Object, SECOND, count};
use crate::config::fields::{
    Checked, Problems, duration_of, expression, field, is_set, nanos, object_at, optional, text, whole,
};
use crate::flow_control::{Batch, Debounce, Key};

pub(crate) fn batch(object: &Object, problems: &mut Problems) -> Option<Batch> {
    let batch = object_at(object, "batchEvents", problems)?;
    let size = whole(batch, "batchEvents.maxSize", problems).unwrap_or(0);
    if size < 2 {
        problems.rule(format!("batchEvents.maxSize: batch size cannot be smaller than 2: {size}"));
    }
    let timeout = text(batch, "batchEvents.timeout", problems).unwrap_or_default();
    let timeout = match nanos(timeout) {
        Err(problem) => problems.refuse(format!("batchEvents.timeout: failed to parse time duration: {problem}")),
        Ok(length) if length < SECOND => {
            problems.refuse(format!("batchEvents.timeout: batch timeout should be more than 1s, not {timeout}"))
        }
        Ok(length) => Some(duration_of(length)),
    };
    let key = text(batch, "batchEvents.key", problems);
    let refusal = |_: &str, error: &_| format!("batchEvents.key: batch key expression is invalid: {error}");
    let key = expression(key, Checked::Types, problems, refusal);
    let condition = text(batch, "batchEvents.if", problems);
    let refusal = |_: &str, error: &_| format!("batchEvents.if: conditional batch expression is invalid {error}");
    let condition = expression(condition, Checked::Types, problems, refusal);
    for (other, name) in [("cancel", "cancellation"), ("debounce", "debouncing"), ("singleton", "singletons")] {
        if is_set(object, other) {
            problems.rule(format!("batchEvents: Batching and {name} are mutually exclusive"));
        }
    }
    let priority = field(object, "priority").and_then(Value::as_object);
    if priority.is_some_and(|priority| is_set(priority, "run")) {
        problems.rule("batchEvents: A function cannot specify Priority.Run and Batch together");
    }
    // What is left of one that cannot be read whole would gather other events than was meant.
    let (key, condition, timeout) = (key?.map(Key::of), condition?, timeout?);
    (size >= 2).then_some(Batch { key, condition, size: count(size), timeout })
}

pub(crate) fn debounce(object: &Object, problems: &mut Problems) -> Option<Debounce> {
    let debounce = object_at(object, "debounce", problems)?;
    // SDKs send an empty key when there is none.
    let key = optional(debounce, "debounce.key", problems);
    let refusal = |_: &str, error: &_| format!("debounce.key: Debounce expression is invalid: {error}");
    let key = expression(key, Checked::Types, problems, refusal);
    let period = text(debounce, "debounce.period", problems).unwrap_or_default();
    let period = match nanos(period) {
        Err(problem) => {
            problems.refuse(format!("debounce.period: The debounce period of '{period}' is invalid: {problem}"))
        }
        Ok(length) if length < SECOND => {
            problems.refuse(format!("debounce.period: The debounce period of '{period}' is less than the min of: 1s"))
        }
        Ok(length) if length > 7 * DAY => problems
            .refuse(format!("debounce.period: The debounce period of '{period}' is greater than the max of: 168h0m0s")),
        Ok(length) => Some(duration_of(length)),
    };
    let timeout = optional(debounce, "debounce.timeout", problems).and_then(|timeout| match nanos(timeout) {
        Err(problem) => {
            problems.refuse(format!("debounce.timeout: The debounce timeout of '{timeout}' is invalid: {problem}"))
        }
        // None, as the Go server takes it.
        Ok(length) => (length > 0).then(|| duration_of(length)),
    });
    Some(Debounce { key: key?.map(Key::of), period: period?, timeout })
}
