//! Flow control as every SDK writes it, and what it comes to for an event.

use std::collections::HashMap;

use inngest_core::event::SCHEDULED_TIMER;
use inngest_core::{AppId, FunctionId, Millis, Payload};
use inngest_queue::flow::{Admission, Closed, KeyValue};
use serde_json::{Value, json};

use super::*;
use crate::registry::Settings;
use crate::routing::Subject;
use crate::rules::Rules;

const NOW: Millis = Millis(1_800_000_000_000);
const SECOND: Duration = Duration::from_secs(1);

/// `shop-f`, with this configuration.
pub(crate) fn function(config: &Value) -> Function {
    Function {
        id: FunctionId::of_definition("f", "u"),
        app: AppId::of_name("shop"),
        slug: "shop-f".into(),
        name: "f".into(),
        triggers: Vec::new(),
        url: "u".into(),
        step_id: "step".into(),
        retries: 0,
        version: 1,
        config: config.to_string().into(),
        created_at: NOW,
        archived_at: None,
    }
}

fn flow(config: &Value) -> Flow {
    Rules::of(&function(config), &Settings::default()).flow
}

fn name(key: &str) -> Option<KeyExpression> {
    Some(KeyExpression::of(key))
}

/// What an event with this data meets.
fn admission(config: &Value, data: &Value) -> Admission {
    let (function, body) = (function(config), json!({ "data": data, "name": "e" }).to_string());
    let subject = Subject::stored(body.as_bytes(), NOW);
    flow(config).admission(&function, None, "e", &subject).map_or_else(Admission::default, |admission| *admission)
}

#[test]
fn concurrency_is_read_in_every_form() {
    let of = |limit, scope, key: Option<&str>| flow::Concurrency { limit, scope, key: key.and_then(name) };
    let plain = |limit| vec![of(limit, Scope::Function, None)];
    let table = [
        (json!(5), plain(5), None),
        (json!({ "limit": 5 }), plain(5), None),
        (json!(5.0), plain(5), None),
        (json!({ "limit": 5.0 }), plain(5), None),
        (json!(1e300), vec![], None),
        (json!([{ "limit": 5 }]), plain(5), None),
        (json!({ "step": [{ "limit": 5 }] }), plain(5), None),
        (json!({ "Step": [{ "Limit": 5, "Scope": "Fn", "hash": "" }], "fn": null }), plain(5), None),
        (json!({ "fn": [{ "limit": 4, "hash": "" }], "step": [] }), vec![], Some(of(4, Scope::Function, None))),
        (
            json!({ "fn": [{ "limit": 4, "key": "event.data.a", "scope": "FN" }], "step": [{ "limit": 3 }] }),
            plain(3),
            Some(of(4, Scope::Function, Some("event.data.a"))),
        ),
        (
            json!([{ "limit": 20 }, { "limit": 2, "key": "event.data.a", "scope": "Env" }]),
            vec![of(20, Scope::Function, None), of(2, Scope::Environment, Some("event.data.a"))],
            None,
        ),
        (json!({ "limit": 1, "key": "'all'", "scope": "ACCOUNT" }), vec![of(1, Scope::Account, Some("'all'"))], None),
        (
            json!({ "limit": 1, "key": "event.data.a", "scope": null }),
            vec![of(1, Scope::Function, Some("event.data.a"))],
            None,
        ),
        (json!([{ "limit": 1, "key": null, "scope": "" }]), plain(1), None),
        (json!({ "fn": [], "step": null, "limit": 7 }), plain(7), None),
        (json!(5_000_000_000_i64), plain(u32::MAX), None),
        // None at all.
        (json!(0), vec![], None),
        (json!(-1), vec![], None),
        (json!("5"), vec![], None),
        (json!(true), vec![], None),
        (json!(null), vec![], None),
        (json!([{ "limit": -3 }, { "limit": 0 }, {}]), vec![], None),
    ];
    for (concurrency, steps, runs) in table {
        let config = json!({ "concurrency": concurrency });
        let dispatch = flow(&config).dispatch(&function(&config), None);
        assert_eq!((dispatch.steps, dispatch.runs), (steps, runs), "{concurrency}");
    }
}

#[test]
fn rates_are_read_exactly() {
    let own = |key: Option<&str>, rate| {
        let bucket = Bucket::of_function(FunctionId::of_definition("f", "u"));
        flow::Throttle { bucket, key: key.and_then(name), rate }
    };
    let table = [
        (json!({ "limit": 10, "period": "1m" }), own(None, Rate::lossless(10, 60 * SECOND, 0))),
        // What the Python and the Go SDK send.
        (json!({ "limit": 1, "period": "3s", "burst": 1, "key": null }), own(None, Rate::lossless(1, 3 * SECOND, 1))),
        (json!({ "burst": 0, "limit": 3, "period": "6s", "key": "" }), own(None, Rate::lossless(3, 6 * SECOND, 0))),
        (json!({ "period": "1500ms" }), own(None, Rate::lossless(1, Duration::from_millis(1_500), 0))),
        (json!({ "limit": 0, "period": "250us" }), own(None, Rate::lossless(1, Duration::from_micros(250), 0))),
        // What the Kotlin SDK sends, and its demo registers.
        (
            json!({ "limit": 1, "period": "\"10s\"", "key": "throttled" }),
            own(Some("throttled"), Rate::lossless(1, 10 * SECOND, 0)),
        ),
    ];
    for (throttle, expected) in table {
        let config = json!({ "Throttle": throttle });
        assert_eq!(flow(&config).dispatch(&function(&config), None).throttles, [expected], "{throttle}");
    }
    let day = 24 * 60 * 60 * SECOND;
    let table = [
        (json!({ "rateLimit": { "limit": 5, "period": "60s" } }), None, Rate::lossy(5, 60 * SECOND)),
        (
            json!({ "RateLimit": { "limit": 1, "period": "100ms", "key": "event.data.u" } }),
            Some("event.data.u"),
            Rate::lossy(1, Duration::from_millis(100)),
        ),
        (json!({ "idempotency": "event.data.k" }), Some("event.data.k"), Rate::lossy(1, day)),
        (
            json!({ "idempotency": "event.data.k", "rateLimit": { "limit": 0 } }),
            Some("event.data.k"),
            Rate::lossy(1, day),
        ),
    ];
    for (config, key, rate) in table {
        let rates = flow(&config).rates;
        let found = rates.iter().map(|limit| (limit.key.as_ref().map(|key| &*key.text), limit.rate));
        assert_eq!(found.collect::<Vec<_>>(), [(key, rate)], "{config}");
    }
}

#[test]
fn what_gathers_events_is_read() {
    let batch = flow(&json!({ "batchEvents": { "maxSize": 50, "timeout": "1d", "other": 1 } })).batch.unwrap();
    assert_eq!((batch.size, batch.timeout, batch.key.is_none()), (50, 24 * 60 * 60 * SECOND, true));
    let debounce = flow(&json!({ "debounce": { "period": "30s", "timeout": "5m", "key": "" } })).debounce.unwrap();
    assert_eq!((debounce.period, debounce.timeout), (30 * SECOND, Some(300 * SECOND)));
    assert!(debounce.key.is_none());
    for timeout in ["0s", "-1s", ""] {
        let debounce = flow(&json!({ "debounce": { "period": "30s", "timeout": timeout } })).debounce.unwrap();
        assert_eq!(debounce.timeout, None, "{timeout}");
    }
    for (singleton, mode) in [
        (json!({}), SingletonMode::Skip),
        (json!({ "mode": "SKIP" }), SingletonMode::Skip),
        (json!({ "Mode": "Cancel" }), SingletonMode::Cancel),
    ] {
        assert_eq!(flow(&json!({ "singleton": singleton })).singleton.unwrap().mode, mode, "{singleton}");
    }
}

#[test]
fn what_an_older_release_let_pass_is_left_out() {
    let broken = flow(&json!({
        "concurrency": { "fn": [{ "limit": 0 }], "step": [{ "limit": 1, "key": "(" }, { "limit": 2 }] },
        "throttle": { "limit": 1, "period": "x" }, "rateLimit": { "limit": 1, "period": "1m", "key": "unknown" },
        "batchEvents": { "maxSize": 2, "timeout": "1s", "if": "(" }, "priority": { "run": "(" },
        "debounce": { "period": "1s", "key": "(" }, "singleton": { "mode": "other" },
    }));
    assert_eq!((broken.steps.len(), broken.steps[0].limit), (1, 2));
    assert!(broken.runs.is_none() && broken.throttles.is_empty() && broken.rates.is_empty() && broken.batch.is_none());
    assert!(broken.priority.is_none() && broken.debounce.is_none() && broken.singleton.is_none());
}

#[test]
fn keys_that_count_everything_have_a_value_for_every_event() {
    let config = json!({
        "concurrency": { "fn": [{ "limit": 1, "key": "event.data.u" }], "step": [{ "limit": 1, "key": "event.data.u" }] },
        "throttle": { "limit": 1, "period": "1s", "key": "event.data.t" },
    });
    let flow = flow(&config);
    let keys = |data: Value| {
        let body = json!({ "data": data }).to_string();
        flow.keys(&Subject::stored(body.as_bytes(), NOW))
    };
    let table = [
        (json!({ "u": 5, "t": "x" }), "5", "x"),
        (json!({ "u": 5.0, "t": true }), "5", "true"),
        (json!({ "u": "5", "t": null }), "5", "NULL_VALUE"),
        (json!({ "u": [1, "a"], "t": { "b": 1, "a": null } }), "[1 a]", "map[a:<nil> b:1]"),
        (json!({}), "false", "false"),
    ];
    for (data, u, t) in table {
        let keys = keys(data.clone());
        assert_eq!(keys.as_slice().len(), 2, "each expression once");
        assert_eq!(keys.get(KeyExpression::of("event.data.u")), Some(KeyValue::of(u)), "{data}");
        assert_eq!(keys.get(KeyExpression::of("event.data.t")), Some(KeyValue::of(t)), "{data}");
    }
    let unreadable = flow.keys(&Subject::stored(b"not json", NOW));
    assert_eq!(unreadable.get(KeyExpression::of("event.data.u")), Some(KeyValue::of("false")));
    let bare_word = self::flow(&json!({ "throttle": { "limit": 1, "period": "1s", "key": "not an expression" } }));
    let keys = bare_word.keys(&Subject::stored(b"{}", NOW));
    assert_eq!(keys.get(KeyExpression::of("not an expression")), Some(KeyValue::of("false")));
}

#[test]
fn what_lacks_the_key_of_a_rate_or_a_singleton_is_not_limited() {
    let table = [
        (json!({ "u": "a" }), Some("a")),
        (json!({ "u": 5 }), Some("5")),
        (json!({ "u": "5" }), Some("5")),
        (json!({ "u": null }), Some("NULL_VALUE")),
        (json!({ "u": true }), Some("true")),
        (json!({ "u": "false" }), Some("false")),
        (json!({ "u": false }), None),
        (json!({}), None),
    ];
    for (data, key) in table {
        let value = key.map(KeyValue::of);
        let rate = admission(&json!({ "rateLimit": { "limit": 1, "period": "1m", "key": "event.data.u" } }), &data);
        assert_eq!(rate.rates.first().map(|rate| rate.key), value, "{data}");
        let idempotency = admission(&json!({ "idempotency": "event.data.u" }), &data);
        assert_eq!(idempotency.rates.first().map(|rate| rate.key), value, "{data}");
        let singleton = admission(&json!({ "singleton": { "key": "event.data.u" } }), &data);
        assert_eq!(singleton.singleton.map(|singleton| singleton.key), value, "{data}");
    }
    // Keys that fail.
    for config in [
        json!({ "rateLimit": { "limit": 1, "period": "1m", "key": "event.data.n * 2" } }),
        json!({ "singleton": { "key": "event.data.n * 2" } }),
        json!({ "singleton": { "key": "not an expression" } }),
        json!({ "singleton": { "key": "throttled" } }),
    ] {
        assert_eq!(admission(&config, &json!({ "n": 1 })), Admission::default(), "{config}");
    }
    let keyless = admission(&json!({ "singleton": { "key": "" } }), &json!({})).singleton.unwrap();
    assert_eq!(keyless.key, KeyValue::NONE);
}

#[test]
fn what_cannot_be_keyed_is_gathered_with_its_likes() {
    let debounce = json!({ "debounce": { "period": "1s", "key": "event.data.n * 2.0" } });
    let batch = json!({ "batchEvents": { "maxSize": 2, "timeout": "1s", "key": "event.data.n * 2.0" } });
    for (data, key) in [(json!({ "n": 2 }), "4"), (json!({}), "false"), (json!({ "n": "x" }), "<invalid>")] {
        let value = KeyValue::of(key);
        assert_eq!(admission(&debounce, &data).debounce.map(|debounce| debounce.key), Some(value), "{data}");
        assert_eq!(admission(&batch, &data).batch.map(|batch| batch.key), Some(value), "{data}");
    }
    let keyless = admission(&json!({ "debounce": { "period": "1s" } }), &json!({})).debounce.unwrap();
    assert_eq!((keyless.key, keyless.period, keyless.timeout), (KeyValue::NONE, SECOND, None));
}

#[test]
fn only_events_of_the_condition_join_a_batch() {
    let config = json!({
        "batchEvents": { "maxSize": 2, "timeout": "1s", "if": "event.data.b" },
        "rateLimit": { "limit": 1, "period": "1m" },
    });
    for (data, joins) in
        [(json!({ "b": true }), true), (json!({ "b": false }), false), (json!({ "b": 1 }), false), (json!({}), false)]
    {
        let admission = admission(&config, &data);
        assert_eq!(admission.batch.is_some(), joins, "{data}");
        assert_eq!(admission.rates.is_empty(), joins, "what joins is not limited: {data}");
    }
    let tick = flow(&config).admission(&function(&config), None, SCHEDULED_TIMER, &Subject::stored(b"{}", NOW));
    assert!(tick.is_some_and(|admission| admission.batch.is_none() && admission.rates.len() == 1));
}

#[test]
fn a_debounce_leaves_the_rest_for_later() {
    let config = json!({
        "debounce": { "period": "1s" }, "rateLimit": { "limit": 1, "period": "1m" }, "singleton": { "mode": "cancel" },
    });
    let first = admission(&config, &json!({}));
    assert_eq!((first.rates.len(), first.debounce.is_some(), first.singleton), (1, true, None));
    let held = Some(Hold::Draining);
    let later = flow(&config).after_debounce(&function(&config), held, &Subject::stored(b"{}", NOW)).unwrap();
    let singleton = flow::Singleton { key: KeyValue::NONE, mode: SingletonMode::Cancel };
    let expected = Admission { singleton: Some(singleton), closed: Some(Closed::Draining), ..Admission::default() };
    assert_eq!(*later, expected);
}

#[test]
fn priority_is_whole_seconds_within_bounds() {
    let table = [
        ("100", 100),
        ("-5", -5),
        ("event.data.p", 120),
        ("int(event.data.p) + 1", 121),
        ("event.data.half", 0),
        ("event.data.plan == 'gold' ? 300 : 0", 300),
        ("601", 600),
        ("-43200", -600),
        ("1e300", 600),
        ("event.data.missing", 0),
        ("'100'", 0),
        ("true", 0),
        ("event.data.p * 2", 0),
        ("unknown", 0),
    ];
    let body = json!({ "data": { "p": 120, "half": 0.5, "plan": "gold" } }).to_string();
    for (run, expected) in table {
        let flow = flow(&json!({ "priority": { "run": run } }));
        assert_eq!(flow.priority(&Subject::stored(body.as_bytes(), NOW)), expected, "{run}");
    }
    let none = flow(&json!({ "priority": { "run": null } }));
    assert_eq!(none.priority(&Subject::stored(body.as_bytes(), NOW)), 0);
}

#[test]
fn a_hold_stops_calls_or_new_runs() {
    let table = [
        (None, false, None),
        (Some(Hold::PausedQueue), true, None),
        (Some(Hold::PausedSkip), true, Some(Closed::Paused)),
        (Some(Hold::Draining), false, Some(Closed::Draining)),
    ];
    let function = function(&json!({}));
    for (hold, paused, closed) in table {
        let holds: HashMap<_, _> = hold.map(|hold| (function.id, hold)).into_iter().collect();
        let rules = Rules::of(&function, &Settings { holds, ..Settings::default() });
        assert_eq!(rules.dispatch(&function).paused, paused, "{hold:?}");
        let subject = Subject::stored(b"{}", NOW);
        let admission = rules.flow.admission(&function, rules.hold, "e", &subject);
        assert_eq!(admission.and_then(|admission| admission.closed), closed, "{hold:?}");
    }
}

#[test]
fn an_event_is_not_read_for_functions_without_keys() {
    let body = || -> Payload { panic!("nobody asked") };
    let config = json!({ "concurrency": 1, "throttle": { "limit": 1, "period": "1s" }, "singleton": {},
        "rateLimit": { "limit": 1, "period": "1s" } });
    let (flow, subject) = (flow(&config), Subject::rendered(&body, NOW));
    assert_eq!((flow.keys(&subject), flow.priority(&subject)), (Default::default(), 0));
    let admission = flow.admission(&function(&config), None, "e", &subject).unwrap();
    assert_eq!((admission.rates[0].key, admission.singleton.unwrap().key), (KeyValue::NONE, KeyValue::NONE));
    assert_eq!(Flow::default().admission(&function(&json!({})), None, "e", &subject), None);
}
