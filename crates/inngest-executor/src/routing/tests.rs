//! Which functions an event starts, and how.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use inngest_core::function::Trigger;
use inngest_core::{App, AppId, Clock, Entropy, EventId, FunctionId, RunStatus};
use inngest_queue::flow::{Closed, KeyExpression, KeyValue};
use inngest_state::Hold;

use super::*;
use crate::registry::Settings;

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
    let found = matches(&registry, name, &Subject::stored(body.as_bytes(), NOW));
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
    let unreadable = matches(&Registry::build(Vec::new(), functions()), "e", &Subject::stored(b"not json", NOW));
    let found: Vec<_> = unreadable.functions.iter().map(|function| &*function.slug).collect();
    assert_eq!(found, ["pattern", "half"]);
    let failed: Vec<_> = unreadable.failed.iter().map(|(function, _)| &*function.slug).collect();
    assert_eq!(failed, ["no", "yes", "second", "second"]);
}

#[test]
fn the_event_is_rendered_only_for_an_expression() {
    let plain = Registry::build(Vec::new(), vec![function("a", &[("e", None)])]);
    let rendered = std::cell::Cell::new(0);
    let body = || {
        rendered.set(rendered.get() + 1);
        Payload::from_static(br#"{"data":{"id":"x"}}"#)
    };
    let count = |registry: &Registry, name| matches(registry, name, &Subject::rendered(&body, NOW)).functions.len();
    assert_eq!((count(&plain, "e"), count(&plain, "f"), rendered.get()), (1, 0, 0));
    let both = [("e", None), ("e", Some("event.data.id == 'x'"))];
    let narrowed = Registry::build(Vec::new(), vec![function("a", &both), function("b", &both[1..])]);
    assert_eq!((count(&narrowed, "e"), rendered.get()), (2, 1));
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
        feature_observations: None,
        error: None,
        checksum: String::new(),
        created_at: NOW,
        archived_at: Some(NOW),
    };
    let active = App { archived_at: None, id: AppId::of_name("new"), name: "new".into(), ..app.clone() };
    let revived = function("old", &[]);
    let id = archived.id;
    let registry =
        Registry::build(vec![active.clone(), app.clone()], vec![revived.clone(), archived, of_archived_app.clone()]);
    assert!(matches(&registry, "e", &Subject::stored(b"{}", NOW)).functions.is_empty());
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

/// An event `e` of this content that starts the function `f` of this configuration.
fn routed(config: &str, body: &'static str, external_id: Option<&str>, ts: Millis) -> (Registry, Event) {
    let f = Function { config: Payload::from(config.to_owned()), ..function("f", &[("e", None)]) };
    let event = Event { body: EventBody::Stored(Payload::from_static(body.as_bytes())), ..event(external_id, ts) };
    (Registry::build(Vec::new(), vec![f]), event)
}

#[test]
fn the_first_job_carries_keys_and_priority() {
    let config = r#"{"concurrency":{"limit":1,"key":"event.data.u"},"priority":{"run":"event.data.p"}}"#;
    let (registry, event) = routed(config, r#"{"data":{"u":"a","p":30}}"#, None, NOW);
    let admit = admit(&registry, &event, NOW, &ids()).remove(0);
    let expected = [(KeyExpression::of("event.data.u"), KeyValue::of("a"))];
    assert_eq!((admit.job.keys.as_slice(), admit.job.priority), (&expected[..], 30));
    assert_eq!(admit.flow, None, "nothing stands in its way");
    let function = registry.by_slug("f").unwrap();
    let run = RunState {
        id: admit.run,
        function: function.id,
        status: RunStatus::Scheduled,
        event_ids: Arc::from([event.id]),
        event_names: Arc::from([Arc::clone(&event.name)]),
        events: Arc::from([Payload::copy_from_slice(stored(&event))]),
        steps: Vec::new(),
        started_at: None,
        correlation_id: None,
        defers: Vec::new(),
        input: None,
    };
    assert_eq!(keys(&registry, &run, NOW), admit.job.keys);
    let again = rerun(&registry, function, admit.run, || stored(&event), NOW);
    assert_eq!((again.job.keys, again.job.priority, again.idempotency), (admit.job.keys, 30, None));
}

#[test]
fn a_debounced_run_is_made_when_its_event_is_known() {
    let config = r#"{"debounce":{"period":"1s"},"rateLimit":{"limit":1,"period":"1s"},"singleton":{},"timeouts":{"start":"1m"},
        "concurrency":{"limit":1,"key":"event.data.u"},"cancel":[{"event":"stop"}]}"#;
    let later = Millis(NOW.0 + 5_000);
    let (registry, event) = routed(config, r#"{"data":{"u":"a"}}"#, Some("x"), later);
    let first = admit(&registry, &event, NOW, &ids()).remove(0);
    assert!(first.flow.as_ref().is_some_and(|flow| flow.debounce.is_some() && flow.singleton.is_none()));
    assert!(first.idempotency.is_some() && first.cancel_on.is_empty() && first.deadline.is_none());

    let function = registry.by_slug("f").unwrap();
    let made = gathered(&registry, function, Gathering::Debounce, &event, NOW, &ids());
    let flow = made.flow.unwrap();
    assert!(flow.singleton.is_some() && flow.debounce.is_none() && flow.rates.is_empty());
    assert_eq!(made.idempotency, first.idempotency);
    assert_eq!((made.job.due, made.job.keys.as_slice().len()), (later, 1));
    assert_eq!(made.deadline.map(|job| job.due), Some(made.run.timestamp().plus(Duration::from_secs(60))));
    assert_eq!(made.cancel_on.len(), 1);
}

#[test]
fn a_batch_starts_at_once_and_meets_nothing_more() {
    let config = r#"{"batchEvents":{"maxSize":2,"timeout":"1s"},"idempotency":"event.data.u","timeouts":{"start":"1m"},
        "concurrency":{"limit":1,"key":"event.data.u"}}"#;
    let later = Millis(NOW.0 + 5_000);
    let (registry, event) = routed(config, r#"{"data":{"u":"a"}}"#, Some("x"), later);
    let joins = admit(&registry, &event, NOW, &ids()).remove(0);
    assert!(joins.flow.is_some_and(|flow| flow.batch.is_some() && flow.rates.is_empty()));
    assert!(joins.idempotency.is_some() && joins.deadline.is_none());
    assert_eq!((joins.job.due, joins.job.keys.as_slice().len()), (NOW, 1));

    let function = registry.by_slug("f").unwrap();
    let made = gathered(&registry, function, Gathering::Batch, &event, later, &ids());
    assert_eq!((made.flow, made.idempotency, made.deadline), (None, None, None));
    assert!(made.run.timestamp() >= later && made.job.due == later && made.cancel_on.is_empty());
    assert_eq!(made.job.keys.get(KeyExpression::of("event.data.u")), Some(KeyValue::of("a")));

    let holds = [(function.id, Hold::Draining)].into();
    let settings = Settings { holds, ..Settings::default() };
    let held = Registry::build_in(Vec::new(), vec![Function::clone(function)], &settings);
    assert_eq!(held.hold(&function.id), Some(Hold::Draining));
    let made = gathered(&held, function, Gathering::Batch, &event, later, &ids());
    assert_eq!(made.flow.and_then(|flow| flow.closed), Some(Closed::Draining));
    let joins = admit(&held, &event, NOW, &ids()).remove(0).flow.unwrap();
    assert!(joins.batch.is_some() && joins.closed == Some(Closed::Draining));
    let again = rerun(&held, function, made.run, || stored(&event), NOW);
    assert_eq!(again.flow, None, "who asks for one more run gets it");
}

#[test]
fn an_event_is_read_once_for_all_functions_it_starts() {
    let rendered = std::cell::Cell::new(0);
    let body = || {
        rendered.set(rendered.get() + 1);
        Payload::from_static(br#"{"data":{"id":"x"}}"#)
    };
    let config = r#"{"idempotency":"event.data.id","concurrency":{"limit":1,"key":"event.data.id"},
        "cancel":[{"event":"stop","if":"event.data.id == async.data.id"}]}"#;
    let of = |slug| Function {
        config: Payload::from(config.to_owned()),
        ..function(slug, &[("e", Some("event.data.id == 'x'"))])
    };
    let registry = Registry::build(Vec::new(), vec![of("a"), of("b")]);
    let admits = admit_with(&registry, &event(None, NOW), body, NOW, &ids());
    assert_eq!((admits.len(), rendered.get()), (2, 1));
}
