//! The configuration of a function, as its SDK registered it.
//!
//! It is read here and nowhere else, member by member and whatever the letter case of their names. What is wrong is
//! noted ([`Problems`]), and the rest is read all the same: a sync is refused if there is any problem, while a
//! configuration that an older release let pass loses no more than what is wrong in it.

mod cancel;
mod fields;
mod flow;

use std::time::Duration;

use serde_json::{Map, Value};

pub use cancel::CancelOn;
pub(crate) use fields::{Checked, Problems, compiles, field, nanos, optional, text};
use fields::{duration_of, is_set, length, object_at};

/// What a configuration asks of the engine. Flow control is checked, but not acted on yet.
#[derive(Debug, Default)]
pub(crate) struct Config {
    /// `cancel`.
    pub(crate) cancel_on: Vec<CancelOn>,
    /// `timeouts.start`: from scheduling to the first call.
    pub(crate) start_within: Option<Duration>,
    /// `timeouts.finish`: from the first call to the end.
    pub(crate) finish_within: Option<Duration>,
}

impl Config {
    /// Reads a configuration.
    pub(crate) fn read(object: &Map<String, Value>, problems: &mut Problems) -> Self {
        flow::concurrency(object, problems);
        flow::batch(object, problems);
        flow::priority(object, problems);
        let cancel_on = cancel::read(object, problems);
        flow::debounce(object, problems);
        flow::rate_limit(object, problems);
        flow::throttle(object, problems);
        flow::singleton(object, problems);
        checkpoint(object, problems);
        let timeouts = object_at(object, "timeouts", problems);
        let mut within = |key: &str| {
            let length = length(timeouts?, key, problems, |text, problem| {
                format!("timeouts.{key} of '{text}' is invalid: {problem}")
            });
            if length.is_some_and(|nanos| nanos < 0) {
                problems.rule(format!("timeouts.{key} must not be negative"));
            }
            // A deadline after no time at all is none.
            length.filter(|nanos| *nanos >= 1_000_000).map(duration_of)
        };
        Self { cancel_on, start_within: within("start"), finish_within: within("finish") }
    }
}

/// Options of flow control that are set.
pub(crate) fn not_acted_on(object: &Map<String, Value>) -> Vec<&'static str> {
    flow::OPTIONS.into_iter().filter(|option| is_set(object, option)).collect()
}

fn checkpoint(object: &Map<String, Value>, problems: &mut Problems) {
    let Some(checkpoint) = object_at(object, "checkpoint", problems) else { return };
    fields::whole(checkpoint, "batch_steps", problems);
    for key in ["batch_interval", "max_runtime"] {
        match field(checkpoint, key) {
            Some(Value::String(text)) if !text.is_empty() && nanos(text).is_err() => {
                problems.shape(format!("checkpoint.{key} {text:?} is not a duration"));
            }
            None | Some(Value::String(_) | Value::Number(_) | Value::Null) => {}
            Some(_) => problems.shape(format!("checkpoint.{key} must be a duration")),
        }
    }
}
