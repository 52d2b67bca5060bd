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

use crate::flow_control::Flow;
pub use cancel::CancelOn;
pub(crate) use fields::duration_of;
pub(crate) use fields::{Checked, Problems, compile, field, integral, nanos, optional, text};
use fields::{length, object_at};

/// What a configuration asks of the engine.
#[derive(Debug, Default)]
pub(crate) struct Config {
    /// All that limits when runs start and go on.
    pub(crate) flow: Flow,
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
        // The order is that in which the Go server tells problems.
        let (steps, runs) = flow::concurrency(object, problems);
        let batch = flow::batch(object, problems);
        let priority = flow::priority(object, problems);
        let cancel_on = cancel::read(object, problems);
        let debounce = flow::debounce(object, problems);
        let rates = flow::rate_limit(object, problems).into_iter().collect();
        let throttles = flow::throttle(object, problems).into_iter().collect();
        let singleton = flow::singleton(object, problems);
        let flow = Flow { steps, runs, throttles, rates, batch, debounce, priority, singleton, adaptive: false };
        checkpoint(object, problems);
        let timeouts = object_at(object, "timeouts", problems);
        let mut within = |path: &str| {
            let refusal = |text: &str, problem: &str| format!("{path} of '{text}' is invalid: {problem}");
            let length = length(timeouts?, path, problems, refusal);
            if length.is_some_and(|nanos| nanos < 0) {
                problems.rule(format!("{path} must not be negative"));
            }
            // A deadline after no time at all is none.
            length.filter(|nanos| *nanos >= 1_000_000).map(duration_of)
        };
        let (start_within, finish_within) = (within("timeouts.start"), within("timeouts.finish"));
        Self { flow, cancel_on, start_within, finish_within }
    }
}

fn checkpoint(object: &Map<String, Value>, problems: &mut Problems) {
    let Some(checkpoint) = object_at(object, "checkpoint", problems) else { return };
    fields::whole(checkpoint, "checkpoint.batch_steps", problems);
    for path in ["checkpoint.batch_interval", "checkpoint.max_runtime"] {
        match field(checkpoint, path) {
            Some(value @ Value::String(text)) if !text.is_empty() && nanos(text).is_err() => {
                problems.kind(path, "a duration", value);
            }
            None | Some(Value::String(_) | Value::Number(_) | Value::Null) => {}
            Some(value) => problems.kind(path, "a duration", value),
        }
    }
}
