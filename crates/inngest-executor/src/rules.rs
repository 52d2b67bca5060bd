//! What a function's configuration asks of the engine, read once per sync.
//!
//! A sync refuses what is wrong in it; what is wrong here comes from an older release and counts as absent.

use std::sync::Arc;
use std::time::Duration;

use inngest_core::Function;
use inngest_core::function::Trigger;
use inngest_expr::cron::{Schedule, Zone};
use inngest_queue::flow::Dispatch;
use inngest_state::Hold;
use serde_json::{Map, Value};

pub use crate::config::CancelOn;
use crate::config::{Config, Problems, nanos};
use crate::flow_control::Flow;
use crate::registry::Settings;

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
    /// What limits when its runs start and go on; with what an operator adds.
    pub flow: Flow,
    /// What an operator has stopped of it.
    pub hold: Option<Hold>,
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

impl Rules {
    /// Reads the configuration of a function.
    #[must_use]
    pub fn of(function: &Function, settings: &Settings) -> Self {
        let object: Map<String, Value> = serde_json::from_slice(&function.config).unwrap_or_default();
        let Config { mut flow, cancel_on, start_within, finish_within } =
            Config::read(&object, &mut Problems::default());
        settings.flow_control.add_to(&mut flow, &function.slug);
        let schedule = |trigger| CronTrigger::of(trigger, &settings.zone);
        let schedules = function.triggers.iter().filter_map(schedule).collect();
        let hold = settings.holds.get(&function.id).copied();
        Self { cancel_on, start_within, finish_within, schedules, flow, hold }
    }

    /// What the queue must know of their function.
    #[must_use]
    pub fn dispatch(&self, function: &Function) -> Dispatch {
        self.flow.dispatch(function, self.hold)
    }
}

impl CronTrigger {
    fn of(trigger: &Trigger, default_zone: &Zone) -> Option<Self> {
        let Trigger::Cron { schedule: text, jitter } = trigger else { return None };
        let schedule = Schedule::parse_in(text, default_zone).ok()?;
        let jitter = jitter.as_deref().and_then(|text| u64::try_from(nanos(text).ok()?).ok()).map(Duration::from_nanos);
        Some(Self { text: Arc::clone(text), schedule, jitter: jitter.filter(|jitter| !jitter.is_zero()) })
    }
}

#[cfg(test)]
mod tests {
    use inngest_core::{AppId, FunctionId, Millis};

    use super::*;

    fn rules(config: &str, triggers: Vec<Trigger>) -> Rules {
        let function = Function {
            id: FunctionId::of_definition("f", "u"),
            app: AppId::of_name("shop"),
            slug: "shop-f".into(),
            name: "f".into(),
            triggers,
            url: "u".into(),
            step_id: "step".into(),
            retries: 0,
            version: 1,
            config: config.to_owned().into(),
            created_at: Millis(0),
            archived_at: None,
        };
        Rules::of(&function, &Settings::default())
    }

    #[test]
    fn names_are_read_in_any_letter_case() {
        let rules = rules(
            r#"{"Cancel":[{"Event":"a/b","IF":"async.data.x == 1","Timeout":"\"30s\""}],"TIMEOUTS":{"Start":"1h","finish":"2h"}}"#,
            Vec::new(),
        );
        assert_eq!(rules.cancel_on.len(), 1);
        assert_eq!(&*rules.cancel_on[0].event, "a/b");
        assert!(rules.cancel_on[0].condition.is_some());
        assert_eq!(rules.cancel_on[0].until(Millis(0)), Millis(30_000));
        assert_eq!(rules.start_within, Some(Duration::from_secs(3_600)));
        assert_eq!(rules.finish_within, Some(Duration::from_secs(7_200)));
    }

    #[test]
    fn one_bad_entry_costs_only_itself() {
        let rules = rules(
            r#"{"cancel":[7,{"event":"bad","if":"async.data.x =="},{"event":"bad","if":7},{"event":"bad","if":""},{"event":"good"}],
                "timeouts":{"start":"soon","finish":"2h"},"throttle":"x"}"#,
            Vec::new(),
        );
        let events: Vec<&str> = rules.cancel_on.iter().map(|cancel| &*cancel.event).collect();
        assert_eq!(events, ["good"], "one that cannot be read must not cancel everything");
        assert_eq!((rules.start_within, rules.finish_within), (None, Some(Duration::from_secs(7_200))));
    }
}
