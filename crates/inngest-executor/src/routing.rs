//! Which functions an event starts.
//!
//! The name of an event fits a handful of patterns; each is looked up in the registry's index. The event itself
//! is parsed only when a candidate has an expression, and then once.

use std::sync::Arc;

use inngest_core::event::EventBody;
use inngest_core::{Event, Function, FunctionId, Ids, Millis, Payload, RunId, limits};
use inngest_expr::expression::{Anchors, BindError, Expression};
use inngest_expr::{event as content, trigger};
use inngest_queue::{Deadline, JobId, JobKind, QueueItem};
use inngest_state::{Admit, Condition, Effect, EventWait};
use serde_json::Value;

use crate::registry::Registry;
use crate::rules::{CancelOn, Rules};

/// The functions that an event matches.
#[derive(Debug, Default)]
pub struct Matches {
    /// Each at most once, in the order of the registry.
    pub functions: Vec<Arc<Function>>,
    /// Triggers whose expression failed on this event, which therefore did not match: function and reason.
    pub failed: Vec<(Arc<Function>, String)>,
}

/// Finds the functions that an event of this name and content starts.
#[must_use]
pub fn matches(registry: &Registry, name: &str, body: &[u8], now: Millis) -> Matches {
    matches_with(registry, name, || body, now)
}

/// The runs that an accepted event starts. Content that is derived from a run is empty here: see [`admit_with`].
#[must_use]
pub fn admit(registry: &Registry, event: &Event, now: Millis, ids: &Ids) -> Vec<Admit> {
    let body = || match &event.body {
        EventBody::Stored(body) => body.clone(),
        EventBody::Lifecycle(_) => Payload::new(),
    };
    admit_with(registry, event, body, now, ids)
}

/// As [`admit`], for an event whose content is rendered only if an expression asks for it.
#[must_use]
pub fn admit_with(
    registry: &Registry,
    event: &Event,
    body: impl FnOnce() -> Payload,
    now: Millis,
    ids: &Ids,
) -> Vec<Admit> {
    let body = std::cell::LazyCell::new(body);
    let found = matches_with(registry, &event.name, || &**body, now);
    for (function, reason) in &found.failed {
        tracing::debug!(event_id = %event.id, function = %function.slug, %reason, "a trigger's expression failed; it does not match");
    }
    found.functions.iter().map(|function| admission(registry, function, event, || &**body, now, ids)).collect()
}

/// The run of one function that an event starts, whatever its triggers.
pub fn admission<'b>(
    registry: &Registry,
    function: &Function,
    event: &Event,
    body: impl FnOnce() -> &'b [u8],
    now: Millis,
    ids: &Ids,
) -> Admit {
    let run = ids.run(event.id, now);
    let until = now.plus(limits::IDEMPOTENCY_PERIOD);
    let due = now.max(event.ts);
    Admit {
        job: QueueItem { due, ..QueueItem::new(JobId::start(run), function.id, JobKind::Start, now) },
        ..admission_of(registry, function, run, body, now, event.external_id.as_ref().map(|id| (Arc::clone(id), until)))
    }
}

/// A run that may be cancelled as its function says; its first job is due now.
pub fn admission_of<'b>(
    registry: &Registry,
    function: &Function,
    run: RunId,
    body: impl FnOnce() -> &'b [u8],
    now: Millis,
    idempotency: Option<(Arc<str>, Millis)>,
) -> Admit {
    let rules = registry.rules(&function.id);
    let deadline = rules.and_then(|rules| rules.start_within).map(|within| QueueItem {
        due: run.timestamp().plus(within),
        ..QueueItem::new(JobId::deadline(run, Deadline::Start), function.id, JobKind::Deadline(Deadline::Start), now)
    });
    Admit {
        run,
        function: function.id,
        idempotency,
        flow: None,
        correlation_id: None,
        job: QueueItem::new(JobId::start(run), function.id, JobKind::Start, now),
        deadline,
        cancel_on: rules.map_or_else(Vec::new, |rules| cancel_on(rules, run, function.id, body, now)),
    }
}

/// The waits of the events that cancel a run. One that can never match is left out, and one whose condition cannot be
/// kept: an event that cancels runs it was not meant for would be worse than one that does not.
fn cancel_on<'b>(
    rules: &Rules,
    run: RunId,
    function: FunctionId,
    body: impl FnOnce() -> &'b [u8],
    now: Millis,
) -> Vec<EventWait> {
    if rules.cancel_on.is_empty() {
        return Vec::new();
    }
    let event = std::cell::LazyCell::new(|| content::parse(body()).map_err(|error| error.to_string()));
    let bound = |expression: &Expression| {
        let event = event.as_ref().map_err(Clone::clone)?;
        condition(expression, event).map_err(|error| error.to_string())
    };
    let wait = |(index, cancel): (usize, &CancelOn)| {
        let condition = match cancel.condition.as_deref().map(bound).transpose() {
            Ok(Some(None)) => return None,
            Ok(condition) => condition.flatten(),
            Err(reason) => {
                tracing::warn!(run_id = %run, event = %cancel.event, %reason, "an event cannot cancel this run: its condition cannot be kept");
                return None;
            }
        };
        Some(EventWait {
            job: JobId::cancel_on(run, index),
            function,
            event: Arc::clone(&cancel.event),
            condition,
            until: cancel.until(now),
            effect: Effect::Cancel,
        })
    };
    rules.cancel_on.iter().enumerate().filter_map(wait).collect()
}

/// A condition on an event to come, with the event of the run put in; `None` when it can never hold.
pub(crate) fn condition(expression: &Expression, event: &Value) -> Result<Option<Condition>, BindError> {
    let bindings = expression.bind(event)?;
    let anchors = match expression.anchors(&bindings) {
        Anchors::Never => return Ok(None),
        Anchors::Any => None,
        Anchors::OneOf(anchors) => Some(anchors),
    };
    Ok(Some(Condition { expression: expression.text().into(), bindings: bindings.to_json().into(), anchors }))
}

fn matches_with<'b>(registry: &Registry, name: &str, body: impl FnOnce() -> &'b [u8], now: Millis) -> Matches {
    let mut found: Vec<usize> = Vec::new();
    let mut conditional: Vec<(usize, &Expression)> = Vec::new();
    for pattern in trigger::patterns_of(name) {
        for trigger in registry.triggers(&pattern) {
            match &trigger.expression {
                None => found.push(trigger.function),
                Some(expression) => conditional.push((trigger.function, expression)),
            }
        }
    }
    let mut failed = Vec::new();
    if !conditional.is_empty() {
        let event = content::parse(body()).map_err(|error| error.to_string());
        for (function, expression) in conditional {
            if found.contains(&function) {
                continue;
            }
            let matches = event.as_ref().map_err(Clone::clone);
            match matches.and_then(|event| expression.matches(event, now).map_err(|error| error.to_string())) {
                Ok(true) => found.push(function),
                Ok(false) => {}
                Err(reason) => failed.push((Arc::clone(registry.function_at(function)), reason)),
            }
        }
    }
    found.sort_unstable();
    found.dedup();
    Matches { functions: found.into_iter().map(|index| Arc::clone(registry.function_at(index))).collect(), failed }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use inngest_core::function::Trigger;
    use inngest_core::{App, AppId, Clock, Entropy, EventId, FunctionId};

    use super::*;

    const NOW: Millis = Millis(1_800_000_000_000);

    struct Fixed;

    impl Clock for Fixed {
        fn now(&self) -> Millis {
            NOW
        }
    }

    struct Counting(AtomicU64);

    impl Entropy for Counting {
        fn next_u64(&self) -> u64 {
            self.0.fetch_add(1, Ordering::Relaxed)
        }
    }

    fn ids() -> Ids {
        Ids::new(Arc::new(Fixed), Arc::new(Counting(AtomicU64::new(1))))
    }

    fn function(slug: &str, triggers: &[(&str, Option<&str>)]) -> Function {
        let trigger = |(name, expression): &(&str, Option<&str>)| Trigger::Event {
            name: Arc::from(*name),
            expression: expression.map(Arc::from),
        };
        Function {
            id: FunctionId::of_definition(slug, "u"),
            app: AppId::of_name("app"),
            slug: slug.into(),
            name: slug.into(),
            triggers: triggers.iter().map(trigger).collect(),
            url: "u".into(),
            step_id: "step".into(),
            retries: 4,
            version: 1,
            config: Payload::new(),
            created_at: NOW,
            archived_at: None,
        }
    }

    #[track_caller]
    fn check(functions: Vec<Function>, name: &str, body: &str, expected: &[&str]) {
        let registry = Registry::build(Vec::new(), functions);
        let found = matches(&registry, name, body.as_bytes(), NOW);
        let slugs: Vec<_> = found.functions.iter().map(|function| &*function.slug).collect();
        assert_eq!(slugs, expected, "{name} {body}");
        assert!(found.failed.is_empty());
    }

    #[test]
    fn a_function_starts_once_however_many_triggers_match() {
        let all = || function("all", &[("a/user.created", None), ("a/*", None), ("a/user.*", None)]);
        check(vec![all()], "a/user.created", "{}", &["all"]);
        check(vec![all()], "b/user.created", "{}", &[]);
    }

    #[test]
    fn wildcards_and_exact_names() {
        let functions = || {
            vec![
                function("any", &[("w/*", None)]),
                function("user", &[("w/user.*", None)]),
                function("star", &[("*", None)]),
                function("inside", &[("w/us*", None)]),
                function("cron", &[]),
            ]
        };
        check(functions(), "w/x", "{}", &["any"]);
        check(functions(), "w/a/b", "{}", &["any"]);
        check(functions(), "w/user.a.b", "{}", &["any", "user"]);
        check(functions(), "w", "{}", &[]);
        check(functions(), "W/x", "{}", &[]);
    }

    #[test]
    fn expressions_narrow_triggers() {
        let body = r#"{"data":{"id":"x"}}"#;
        let functions = || {
            vec![
                function("no", &[("e", Some("event.data.id == 'y'"))]),
                function("yes", &[("e", Some("event.data.id == 'x'"))]),
                function("second", &[("e", Some("event.data.id == 'y'")), ("e", Some("event.data.id != 'y'"))]),
                function("pattern", &[("e", Some("event.data.id == 'y'")), ("e", None)]),
                function("broken", &[("e", Some("(("))]),
                function("half", &[("e", Some("((")), ("e", None)]),
            ]
        };
        check(functions(), "e", body, &["yes", "second", "pattern", "half"]);
        // Nothing is known of what cannot be read, not even that it is no `y`.
        let unreadable = matches(&Registry::build(Vec::new(), functions()), "e", b"not json", NOW);
        let found: Vec<_> = unreadable.functions.iter().map(|function| &*function.slug).collect();
        assert_eq!(found, ["pattern", "half"]);
        let failed: Vec<_> = unreadable.failed.iter().map(|(function, _)| &*function.slug).collect();
        assert_eq!(failed, ["no", "yes", "second", "second"]);
    }

    #[test]
    fn the_event_is_rendered_only_for_an_expression() {
        let plain = Registry::build(Vec::new(), vec![function("a", &[("e", None)])]);
        assert_eq!(matches_with(&plain, "e", || -> &[u8] { panic!("nobody asked") }, NOW).functions.len(), 1);
        assert_eq!(matches_with(&plain, "f", || -> &[u8] { panic!("nobody asked") }, NOW).functions.len(), 0);
        let both = [("e", None), ("e", Some("event.data.id == 'x'"))];
        let narrowed = Registry::build(Vec::new(), vec![function("a", &both), function("b", &both[1..])]);
        let mut rendered = 0;
        let body = || {
            rendered += 1;
            &br#"{"data":{"id":"x"}}"#[..]
        };
        assert_eq!(matches_with(&narrowed, "e", body, NOW).functions.len(), 2);
        assert_eq!(rendered, 1);
    }

    #[test]
    fn archived_functions_and_apps_are_known_but_never_matched() {
        let archived = Function { archived_at: Some(NOW), ..function("old", &[("e", None)]) };
        let of_archived_app = Function { app: AppId::of_name("gone"), ..function("orphan", &[("e", None)]) };
        let app = App {
            id: AppId::of_name("gone"),
            name: "gone".into(),
            url: "u".into(),
            sdk_language: String::new(),
            sdk_version: String::new(),
            framework: String::new(),
            app_version: None,
            error: None,
            checksum: String::new(),
            created_at: NOW,
            archived_at: Some(NOW),
        };
        let active = App { archived_at: None, id: AppId::of_name("new"), name: "new".into(), ..app.clone() };
        let revived = function("old", &[]);
        let id = archived.id;
        let registry = Registry::build(
            vec![active.clone(), app.clone()],
            vec![revived.clone(), archived, of_archived_app.clone()],
        );
        assert!(matches(&registry, "e", b"{}", NOW).functions.is_empty());
        assert!(registry.function(&id).is_some() && registry.function(&of_archived_app.id).is_some());
        assert_eq!(**registry.by_slug("old").unwrap(), revived, "the active one");
        assert!(registry.by_slug("orphan").is_some() && registry.by_slug("none").is_none());
        assert_eq!(**registry.app_by_url("u").unwrap(), active);
        assert_eq!(**registry.app_by_name("gone").unwrap(), app);
        assert_eq!(**registry.app(&app.id).unwrap(), app);
        assert_eq!((registry.apps().count(), registry.functions().count()), (2, 3));
    }

    #[test]
    fn no_event_is_taken_for_one_that_lacks_everything() {
        let deep = format!(r#"{{"data":{{"id":"x","n":1e999,"deep":{}{}}}}}"#, "[".repeat(5_000), "]".repeat(5_000));
        check(vec![function("x", &[("e", Some("event.data.id == 'x' && event.data.n > 0"))])], "e", &deep, &["x"]);
        check(vec![function("y", &[("e", Some("event.data.id != 'x' || event.data.n == null"))])], "e", &deep, &[]);
        let cancelled = |id: &str| {
            let config = r#"{"cancel":[{"event":"stop","if":"event.data.id == async.data.id"},{"event":"halt"}]}"#;
            let cancelled = Function { config: Payload::from(config), ..function("f", &[("e", None)]) };
            let registry = Registry::build(Vec::new(), vec![cancelled]);
            let event = Event { body: EventBody::Stored(Payload::from(id.to_owned())), ..event(None, NOW) };
            let waits = admit(&registry, &event, NOW, &ids()).remove(0).cancel_on;
            waits.into_iter().map(|wait| (wait.event, wait.condition.map(|c| c.bindings))).collect::<Vec<_>>()
        };
        let halt = || ("halt".into(), None);
        assert_eq!(cancelled(&deep), [("stop".into(), Some(r#"["x"]"#.into())), halt()]);
        assert_eq!(cancelled("not json"), [halt()]);
        assert_eq!(
            cancelled(&format!(r#"{{"data":{{"id":"{}"}}}}"#, "x".repeat(1 << 17))),
            [halt()],
            "too long to be kept"
        );
    }

    fn event(external_id: Option<&str>, ts: Millis) -> Event {
        Event {
            id: EventId("01M85QRDBHC70063SSP1V76AAN".parse().unwrap()),
            name: "e".into(),
            external_id: external_id.map(Arc::from),
            ts,
            body: EventBody::Stored(Payload::from_static(b"{}")),
        }
    }

    #[test]
    fn a_run_is_later_than_its_event_and_starts_when_the_event_says() {
        let registry = Registry::build(Vec::new(), vec![function("a", &[("e", None)]), function("b", &[("e", None)])]);
        let future = Millis(NOW.0 + 3_000);
        for ts in [Millis(5), NOW, future] {
            let event = event(None, ts);
            // The time of receipt may be the very millisecond in which the run is made.
            for now in [NOW, event.id.timestamp()] {
                let admits = admit(&registry, &event, now, &ids());
                assert_eq!(admits.len(), 2);
                assert_ne!(admits[0].run, admits[1].run);
                for admit in admits {
                    assert!(admit.run.timestamp() > event.id.timestamp());
                    assert_eq!((admit.idempotency, &admit.job.kind), (None, &JobKind::Start));
                    assert_eq!((admit.job.due, admit.job.id), (ts.max(now), JobId::start(admit.run)));
                    assert_eq!((admit.job.function, admit.job.version), (admit.function, -1));
                }
            }
        }
    }

    #[test]
    fn an_id_of_the_sender_starts_a_function_once_a_day() {
        let registry = Registry::build(Vec::new(), vec![function("a", &[("e", None)])]);
        let admits = admit(&registry, &event(Some("x"), NOW), NOW, &ids());
        assert_eq!(admits[0].idempotency, Some(("x".into(), Millis(NOW.0 + 24 * 60 * 60 * 1_000))));
    }
}
