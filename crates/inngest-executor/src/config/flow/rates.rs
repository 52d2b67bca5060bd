//! `throttle`, `rateLimit` and `idempotency`: so many in a time.

use std::time::Duration;

use inngest_queue::gcra::Rate;
use serde_json::Value;

use super::{DAY, Object, count};
use crate::config::fields::{
    Checked, Problems, compile, duration_of, expression, nanos, object_at, optional, text, whole,
};
use crate::flow_control::{Key, Limit};

/// How long a key of `idempotency` counts.
const IDEMPOTENCY_PERIOD: Duration = Duration::from_secs(24 * 60 * 60);

/// `idempotency` takes the place of `rateLimit`, whatever that says.
pub(crate) fn rate_limit(object: &Object, problems: &mut Problems) -> Option<Limit> {
    if let Some(key) = text(object, "idempotency", problems) {
        let key = compile(key, Checked::Types, problems, |error| format!("idempotency: key is invalid: {error}"))?;
        return Some(Limit { shared: None, key: Some(Key::of(key)), rate: Rate::lossy(1, IDEMPOTENCY_PERIOD) });
    }
    let limit = object_at(object, "rateLimit", problems)?;
    let count_of = whole(limit, "rateLimit.limit", problems).unwrap_or(0);
    if count_of <= 0 {
        problems.rule(format!("rateLimit.limit: limit must be greater than 0, not {count_of}"));
    }
    let refusal = |_: &str, error: &_| format!("rateLimit.key: key is invalid: {error}");
    let key = expression(text(limit, "rateLimit.key", problems), Checked::Types, problems, refusal);
    let Some(period) = optional(limit, "rateLimit.period", problems) else {
        return problems.refuse("rateLimit.period: period must be specified");
    };
    let period = match nanos(period) {
        Err(problem) => {
            return problems.refuse(format!("rateLimit.period: failed to parse time duration: {problem}"));
        }
        Ok(length) if length <= 0 => {
            return problems.refuse(format!("rateLimit.period: period must be greater than 0s, not {period}"));
        }
        Ok(length) if length > DAY => {
            return problems.refuse(format!("rateLimit.period: period must be less than 24h0m0s, not {period}"));
        }
        Ok(length) => duration_of(length),
    };
    let key = key?.map(Key::of);
    (count_of > 0).then(|| Limit { shared: None, key, rate: Rate::lossy(count(count_of), period) })
}

/// The key is not checked: users have registered bare words.
pub(crate) fn throttle(object: &Object, problems: &mut Problems) -> Option<Limit> {
    let throttle = object_at(object, "throttle", problems)?;
    let mut number = |path| {
        let number = whole(throttle, path, problems).unwrap_or(0);
        if number < 0 {
            problems.kind(path, "zero or more", &Value::from(number));
        }
        count(number)
    };
    let (limit, burst) = (number("throttle.limit"), number("throttle.burst"));
    // An empty key is none: one for all.
    let key = optional(throttle, "throttle.key", problems).map(Key::unchecked);
    let period = text(throttle, "throttle.period", problems).unwrap_or_default();
    match nanos(period) {
        Err(problem) => problems.shape(format!("throttle.period: {problem}")),
        Ok(length) if length <= 0 => problems.shape(format!("throttle.period {period:?} must be greater than 0s")),
        Ok(length) => {
            let rate = Rate::lossless(limit, duration_of(length), burst);
            return Some(Limit { shared: None, key, rate });
        }
    }
    None
}
