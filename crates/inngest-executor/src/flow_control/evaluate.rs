//! Flow control of a function for one event: keys become values, conditions become decisions.

use inngest_core::Function;
use inngest_core::event::SCHEDULED_TIMER;
use inngest_expr::expression::{Text, Value};
use inngest_queue::flow::{self, Admission, Closed, KeyValue, Keys};
use inngest_state::Hold;

use super::{Batch, Debounce, Flow, Key, Limit, Singleton};
use crate::routing::Subject;

/// Seconds by which a run may go before or after others; more count as so many.
const PRIORITY_MAX: i64 = 600;

/// The text that counts as the value of a key when the event does not have it.
const MISSING: &str = "false";

/// The same where events are gathered, when the key cannot be evaluated.
const INVALID: &str = "<invalid>";

/// What a key comes to.
enum Outcome<'v> {
    Text(Text<'v>),
    /// What it names is missing, or it is `false` itself.
    False,
    Failed(String),
}

impl Key {
    fn evaluate<'v>(&'v self, subject: &'v Subject<'_>) -> Outcome<'v> {
        let Some(expression) = &self.expression else { return Outcome::Failed("it is no expression".to_owned()) };
        match subject.value(expression) {
            Ok(Value::Bool(false)) => Outcome::False,
            Ok(value) => value.text().map_or_else(|error| Outcome::Failed(error.to_string()), Outcome::Text),
            Err(reason) => Outcome::Failed(reason),
        }
    }

    /// The text of its value where everything counts, also what lacks it.
    #[must_use]
    pub fn text_for<'v>(&'v self, subject: &'v Subject<'_>) -> Text<'v> {
        match self.evaluate(subject) {
            Outcome::Text(text) => text,
            Outcome::False | Outcome::Failed(_) => Text::Borrowed(MISSING),
        }
    }

    /// Its value where events are gathered.
    fn gathering(&self, subject: &Subject<'_>) -> KeyValue {
        KeyValue::of(match &self.evaluate(subject) {
            Outcome::Text(text) => text,
            Outcome::False => MISSING,
            Outcome::Failed(_) => INVALID,
        })
    }

    /// Its value where nothing happens to what lacks it.
    fn selecting(&self, subject: &Subject<'_>, function: &Function) -> Option<KeyValue> {
        match self.evaluate(subject) {
            Outcome::Text(text) => Some(KeyValue::of(&text)),
            Outcome::False => None,
            Outcome::Failed(reason) => {
                tracing::debug!(function = %function.slug, key = %self.text, %reason, "an event is not limited by this key");
                None
            }
        }
    }
}

/// The value of a key that may be absent: then all share one.
fn gathered(key: Option<&Key>, subject: &Subject<'_>) -> KeyValue {
    key.map_or(KeyValue::NONE, |key| key.gathering(subject))
}

/// As [`gathered`]; `None` when nothing happens to the event.
fn selected(key: Option<&Key>, subject: &Subject<'_>, function: &Function) -> Option<KeyValue> {
    key.map_or(Some(KeyValue::NONE), |key| key.selecting(subject, function))
}

impl Flow {
    /// What stands between an event and a run; `None` when nothing does. What waits for later events meets the rest when
    /// they have come.
    #[must_use]
    pub fn admission(
        &self,
        function: &Function,
        hold: Option<Hold>,
        event_name: &str,
        subject: &Subject<'_>,
    ) -> Option<Box<Admission>> {
        // A tick of a schedule starts its own run.
        let batch = self.batch.as_ref().filter(|_| event_name != SCHEDULED_TIMER);
        if let Some(batch) = batch.and_then(|batch| batch.of(subject)) {
            return boxed(Admission { batch: Some(batch), closed: closed(hold), ..Admission::default() });
        }
        let rate = |limit: &Limit| {
            let key = selected(limit.key.as_ref(), subject, function)?;
            Some(flow::RateLimit { bucket: limit.bucket(function), key, rate: limit.rate })
        };
        let rates = self.rates.iter().filter_map(rate).collect();
        if let Some(Debounce { key, period, timeout }) = &self.debounce {
            let key = gathered(key.as_ref(), subject);
            let debounce = Some(flow::Debounce { key, period: *period, timeout: *timeout });
            return boxed(Admission { rates, debounce, ..Admission::default() });
        }
        let singleton = self.singleton(function, subject);
        boxed(Admission { rates, singleton, closed: closed(hold), ..Admission::default() })
    }

    /// What stands between a run and the event that was left of a debounce.
    #[must_use]
    pub fn after_debounce(
        &self,
        function: &Function,
        hold: Option<Hold>,
        subject: &Subject<'_>,
    ) -> Option<Box<Admission>> {
        let singleton = self.singleton(function, subject);
        boxed(Admission { singleton, closed: closed(hold), ..Admission::default() })
    }

    fn singleton(&self, function: &Function, subject: &Subject<'_>) -> Option<flow::Singleton> {
        let Singleton { key, mode } = self.singleton.as_ref()?;
        Some(flow::Singleton { key: selected(key.as_ref(), subject, function)?, mode: *mode })
    }

    /// The values of the keys that the jobs of a run carry.
    #[must_use]
    pub fn keys(&self, subject: &Subject<'_>) -> Keys {
        let mut keys = Vec::new();
        for key in self.dispatch_keys() {
            if keys.iter().all(|(name, _)| *name != key.name) {
                keys.push((key.name, KeyValue::of(&key.text_for(subject))));
            }
        }
        Keys::of(keys)
    }

    /// Seconds by which a run goes before others.
    #[must_use]
    pub fn priority(&self, subject: &Subject<'_>) -> i32 {
        let Some(expression) = &self.priority else { return 0 };
        let seconds = match subject.value(expression) {
            Ok(Value::Int(seconds)) => seconds,
            #[expect(clippy::cast_possible_truncation, reason = "too large ones are cut to the largest anyway")]
            Ok(Value::Double(seconds)) if seconds.fract() == 0.0 => seconds as i64,
            _ => 0,
        };
        i32::try_from(seconds.clamp(-PRIORITY_MAX, PRIORITY_MAX)).unwrap_or(0)
    }
}

impl Batch {
    /// The batch of an event; `None` when it starts a run of its own.
    fn of(&self, subject: &Subject<'_>) -> Option<flow::Batch> {
        let joins = self.condition.as_ref().is_none_or(|condition| subject.holds(condition) == Ok(true));
        let batch =
            || flow::Batch { key: gathered(self.key.as_ref(), subject), size: self.size, timeout: self.timeout };
        joins.then(batch)
    }
}

/// What stands between a run and the events of a batch.
pub(crate) fn after_batch(hold: Option<Hold>) -> Option<Box<Admission>> {
    boxed(Admission { closed: closed(hold), ..Admission::default() })
}

fn boxed(admission: Admission) -> Option<Box<Admission>> {
    (admission != Admission::default()).then(|| Box::new(admission))
}

/// Why a function that is held starts no new runs, if that is so.
fn closed(hold: Option<Hold>) -> Option<Closed> {
    match hold? {
        Hold::PausedQueue => None,
        Hold::PausedSkip => Some(Closed::Paused),
        Hold::Draining => Some(Closed::Draining),
    }
}
