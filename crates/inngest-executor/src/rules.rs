//! What a function's configuration asks of the engine, read once per sync.
//!
//! A sync checks the configuration (`apps/config.rs`); what is unreadable here comes from an older release and
//! counts as absent.

use std::sync::Arc;
use std::time::Duration;

use inngest_core::function::Trigger;
use inngest_core::{Function, Millis};
use inngest_expr::cron::Schedule;
use inngest_expr::expression::{Expression, Roots};
use inngest_expr::{duration, time_spec};
use serde::Deserialize;

/// The rules of one function.
#[derive(Debug, Default)]
pub struct Rules {
    /// `cancel`.
    pub cancel_on: Vec<CancelOn>,
    /// `timeouts.start`: from scheduling to the first call.
    pub start_within: Option<Duration>,
    /// `timeouts.finish`: from the first call to the end.
    pub finish_within: Option<Duration>,
    /// Schedules among its triggers, in declared order.
    pub schedules: Vec<CronTrigger>,
}

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

/// A schedule that starts runs.
#[derive(Clone, Debug)]
pub struct CronTrigger {
    /// As registered.
    pub text: Arc<str>,
    /// Parsed.
    pub schedule: Schedule,
    /// Spread after the tick.
    pub jitter: Option<Duration>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Config {
    cancel: Option<Vec<Cancel>>,
    timeouts: Option<Timeouts>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Cancel {
    event: String,
    #[serde(rename = "if")]
    condition: Option<String>,
    timeout: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Timeouts {
    start: Option<String>,
    finish: Option<String>,
}

impl Rules {
    /// Reads the configuration of a function.
    #[must_use]
    pub fn of(function: &Function, default_zone: &str) -> Self {
        let config: Config = serde_json::from_slice(&function.config).unwrap_or_default();
        let timeouts = config.timeouts.unwrap_or_default();
        Self {
            cancel_on: config.cancel.unwrap_or_default().into_iter().filter_map(CancelOn::of).collect(),
            start_within: timeouts.start.as_deref().and_then(span),
            finish_within: timeouts.finish.as_deref().and_then(span),
            schedules: function.triggers.iter().filter_map(|trigger| CronTrigger::of(trigger, default_zone)).collect(),
        }
    }
}

impl CancelOn {
    fn of(cancel: Cancel) -> Option<Self> {
        if cancel.event.is_empty() {
            return None;
        }
        let condition = match cancel.condition.filter(|text| !text.is_empty()) {
            // One that cannot be read must not cancel everything.
            Some(text) => Some(Arc::new(Expression::compile(&text, Roots::EventAndAsync).ok()?)),
            None => None,
        };
        let timeout = cancel.timeout.filter(|text| !text.is_empty()).map(|text| unquoted(&text).into());
        Some(Self { event: cancel.event.into(), condition, timeout })
    }

    /// Until when the event cancels a run that is scheduled now.
    #[must_use]
    pub fn until(&self, now: Millis) -> Millis {
        let year = || now.plus(inngest_core::limits::SLEEP_MAX);
        self.timeout.as_deref().map_or_else(year, |text| time_spec::until(text, now).unwrap_or_else(|_| year()))
    }
}

impl CronTrigger {
    fn of(trigger: &Trigger, default_zone: &str) -> Option<Self> {
        let Trigger::Cron { schedule: text, jitter } = trigger else { return None };
        let schedule = Schedule::parse_in(text, default_zone).ok()?;
        Some(Self { text: Arc::clone(text), schedule, jitter: jitter.as_deref().and_then(span) })
    }
}

/// The Kotlin SDK sends a duration within quotes of its own.
fn unquoted(text: &str) -> &str {
    text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text)
}

/// A duration that is not nothing.
fn span(text: &str) -> Option<Duration> {
    let span = duration::parse(unquoted(text)).ok()?;
    u64::try_from(span.millis()).ok().filter(|millis| *millis > 0).map(Duration::from_millis)
}
