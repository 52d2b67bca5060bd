//! Flow control, read and checked. A mistake is told at the sync that makes it; the texts are those of the Go server
//! where it has one, after the field where they do not name it.

mod concurrency;
mod gathering;
mod rates;

use inngest_expr::expression::Expression;
use inngest_queue::flow::SingletonMode;
use serde_json::{Map, Value};

use super::fields::{Checked, Problems, compile, object_at, optional, text};
use crate::flow_control::{Key, Singleton};

pub(super) use concurrency::concurrency;
pub(super) use gathering::{batch, debounce};
pub(super) use rates::{rate_limit, throttle};

type Object = Map<String, Value>;

const SECOND: i64 = 1_000_000_000;
const DAY: i64 = 24 * 60 * 60 * SECOND;

pub(super) fn priority(object: &Object, problems: &mut Problems) -> Option<Expression> {
    let run = text(object_at(object, "priority", problems)?, "priority.run", problems)?;
    compile(run, Checked::Form, problems, |error| format!("priority.run: Priority.Run expression is invalid: {error}"))
}

/// The key is not checked: users have registered bare words.
pub(super) fn singleton(object: &Object, problems: &mut Problems) -> Option<Singleton> {
    let singleton = object_at(object, "singleton", problems)?;
    let key = optional(singleton, "singleton.key", problems).map(Key::unchecked);
    let mode = text(singleton, "singleton.mode", problems).unwrap_or_default();
    let mode = match mode.to_ascii_lowercase().as_str() {
        "" | "skip" => SingletonMode::Skip,
        "cancel" => SingletonMode::Cancel,
        _ => {
            problems.shape(format!("singleton.mode {mode:?} is unknown: skip or cancel is expected"));
            return None;
        }
    };
    Some(Singleton { key, mode })
}

/// A number that is too large for what counts it is the largest.
fn count(number: i64) -> u32 {
    u32::try_from(number.max(0)).unwrap_or(u32::MAX)
}
