//! Registrations as SDKs send them, and every way in which one can be wrong.

use inngest_core::function::Trigger;
use inngest_core::{App, AppId, Function, Millis};
use inngest_state::Change;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn function(more: &Value) -> Value {
    let mut function = json!({
        "id": "shop-order", "name": "Order", "triggers": [{ "event": "order/created" }],
        "steps": { "step": { "id": "step", "name": "step", "retries": { "attempts": 2 },
            "runtime": { "type": "http", "url": "http://127.0.0.1:3000/api/inngest?fnId=shop-order&stepId=step" } } },
    });
    if let (Some(fields), Value::Object(more)) = (function.as_object_mut(), more) {
        fields.extend(more.clone());
    }
    function
}

fn body(functions: &Value) -> Value {
    json!({ "url": "http://localhost:3000/api/inngest", "deployType": "ping", "framework": "express", "appName": "shop",
            "functions": functions, "sdk": "js:v4.24.0", "v": "0.1" })
}

fn parse(body: &Value) -> Result<Registration, RegisterError> {
    Registration::parse(body.to_string().as_bytes())
}

fn with(more: &Value) -> Result<Registration, RegisterError> {
    parse(&body(&json!([function(more)])))
}

#[test]
fn a_registration_of_every_sdk_is_read() {
    let js = json!({
        "url": "http://localhost:3000/api/inngest", "deployType": "ping", "framework": "nodejs", "appName": "shop",
        "functions": [function(&json!({
            "triggers": [{ "event": "order/created", "expression": "event.data.x == 1" }, { "cron": "TZ=Europe/Paris 0 9 * * 1", "jitter": "30s" }],
            "throttle": { "limit": 10, "period": "1m", "burst": 2, "key": "event.data.x" },
            "concurrency": [{ "limit": 5, "key": "event.data.x", "scope": "env" }, { "limit": 2 }],
            "priority": { "run": "100" }, "timeouts": { "start": "1h", "finish": "2h" },
            "cancel": [{ "event": "order/cancel", "timeout": "1d", "if": "event.data.id == async.data.id" }],
        }))],
        "sdk": "js:v4.24.0", "v": "0.1", "capabilities": { "trust_probe": "v1" }, "appVersion": "1.2.3", "featureObservations": { "x": 1 },
    });
    let read = parse(&js).unwrap();
    assert_eq!((&*read.app_name, read.sdk_language.as_str(), read.sdk_version.as_str()), ("shop", "js", "v4.24.0"));
    assert_eq!(read.feature_observations.as_deref(), Some(r#"{"x":1}"#));
    let function = &read.functions[0];
    assert_eq!((&*function.slug, &*function.step_id, function.retries), ("shop-order", "step", 2));
    assert_eq!(&*function.url, "http://localhost:3000/api/inngest?fnId=shop-order&stepId=step");
    assert!(matches!(&function.triggers[1], Trigger::Cron { jitter: Some(jitter), .. } if &**jitter == "30s"));

    let go = json!({ "name": "Go Seq", "id": "go-seq", "triggers": [{ "event": "g/a" }],
        "concurrency": { "fn": [{ "limit": 4, "hash": "" }], "step": [{ "limit": 3, "key": "event.data.x", "scope": "Fn", "hash": "" }] },
        "priority": { "run": "1" }, "throttle": { "burst": 2, "limit": 10, "period": "1m" }, "retries": 1, "Singleton": null,
        "steps": { "step": { "id": "step", "name": "Go Seq", "runtime": { "url": "http://localhost:3001/x?fnId=go-seq&step=step" }, "retries": null } } });
    let python = json!({ "appname": "py", "deploy_type": "ping", "url": "http://localhost:8000/api/inngest", "sdk": "py:v0.5.19",
                         "framework": "flask", "functions": [go] });
    let read = parse(&python).unwrap();
    assert_eq!(
        (&*read.app_name, read.functions[0].retries, &*read.functions[0].url),
        ("py", 1, "http://localhost:3001/x?fnId=go-seq&step=step")
    );

    let in_band = json!({ "app_id": "shop", "functions": [], "url": "https://shop.example/api/inngest", "sdk_language": "go", "sdk_version": "0.16.0" });
    let read = Registration::parse_in_band(in_band.to_string().as_bytes()).unwrap();
    assert_eq!((&*read.app_name, read.sdk_language.as_str(), read.sdk_version.as_str()), ("shop", "go", "v0.16.0"));
}

#[test]
fn odd_but_legal_definitions_are_accepted() {
    let odd = [
        json!({ "triggers": null }),
        json!({ "triggers": [] }),
        json!({ "concurrency": 5 }),
        json!({ "concurrency": "5" }),
        json!({ "concurrency": { "limit": 0 } }),
        json!({ "concurrency": [] }),
        json!({ "concurrency": 5.5 }),
        json!({ "concurrency": true }),
        json!({ "concurrency": { "limit": 10.0 }, "retries": 3.0, "throttle": { "limit": 1.0, "period": "1s", "burst": 0.0 } }),
        json!({ "batchEvents": { "maxSize": 2.0, "timeout": "1s" }, "rateLimit": { "limit": 1.0, "period": "1m" } }),
        json!({ "debounce": { "period": "1s", "timeout": "0s" } }),
        json!({ "debounce": { "period": "1s", "timeout": "-1s" } }),
        json!({ "concurrency": { "limit": 1, "scope": null } }),
        json!({ "concurrency": [{ "limit": 1, "scope": "" }, { "limit": -1 }] }),
        json!({ "concurrency": { "fn": [{ "limit": 1, "scope": null, "key": "event.data.x" }] } }),
        json!({ "throttle": { "limit": 1, "period": "1s", "key": "" }, "singleton": { "key": "not an expression" } }),
        json!({ "concurrency": { "fn": [{ "limit": 4 }], "step": [{ "limit": 3 }, { "limit": 2, "key": "event.data.x" }] } }),
        json!({ "concurrency": { "fn": null, "step": [], "limit": 5 } }),
        json!({ "timeouts": { "start": "10m", "finish": null } }),
        json!({ "cancel": [{ "event": "x", "timeout": "\"30s\"" }, { "event": "y", "timeout": "2027-01-01T00:00:00Z" }] }),
        json!({ "idempotency": "event.data.x" }),
        json!({ "steps": { "step": { "name": "s", "runtime": { "type": "HTTP", "url": "https://a.b/x" } } } }),
        json!({ "cancel": [], "unknown": { "a": [1] } }),
        json!({ "singleton": null, "priority": { "run": null }, "rateLimit": null, "timeouts": { "start": "0s" } }),
        json!({ "idempotency": "event.data.x", "rateLimit": { "limit": 0 } }),
        json!({ "throttle": { "limit": 1, "period": "500ms", "key": "throttled" }, "debounce": { "period": "\"7d\"" } }),
        json!({ "concurrency": { "limit": 1, "key": "throttled" }, "priority": { "run": "anything" } }),
        json!({ "triggers": [{ "event": "a", "expression": null }, { "cron": "* * * * *", "jitter": "0s" }] }),
        json!({ "cancel": [{ "event": "a", "if": null, "timeout": null }, { "event": "" }] }),
        json!({ "debounce": { "period": "1s", "key": "" } }),
        json!({ "batchEvents": { "maxSize": 2, "timeout": "1d" }, "rateLimit": { "limit": 1, "period": "24h" } }),
        json!({ "checkpoint": { "batch_steps": 3, "batch_interval": "1s", "max_runtime": 5_000_000_000_i64 } }),
        json!({ "triggers": [{ "cron": "CRON_TZ=UTC */5 0-6 ? JAN MON,TUE" }] }),
    ];
    for more in odd {
        with(&more).unwrap_or_else(|error| panic!("{more}: {error}"));
    }
    let negative = json!({ "steps": { "step-1": { "id": "", "name": "s", "retries": { "attempts": -1 }, "runtime": { "url": "https://a.b/x" } } } });
    assert_eq!(with(&negative).unwrap().functions[0].retries, 0);
    let many = json!({ "steps": { "step": { "name": "s", "retries": { "attempts": 99 }, "runtime": { "url": "https://a.b/x" } } } });
    assert_eq!(with(&many).unwrap().functions[0].retries, 20);
    let top_level = json!({ "retries": 7, "steps": { "step": { "name": "s", "retries": { "attempts": null }, "runtime": { "url": "https://a.b/x" } } } });
    assert_eq!(with(&top_level).unwrap().functions[0].retries, 7);
    let no_id = with(&json!({ "id": "", "name": "My Function!" })).unwrap();
    assert_eq!(&*no_id.functions[0].slug, "my-function");
}

#[test]
fn malformed_registrations_are_refused_by_name() {
    let triggers = |count: usize| -> Vec<Value> { (0..count).map(|n| json!({ "event": format!("e/{n}") })).collect() };
    let runtime = |url: &str| json!({ "steps": { "step": { "name": "s", "runtime": { "url": url } } } });
    let long = "x".repeat(256);
    // What is wrong, and a part of the reply that says so.
    let rules: Vec<(Value, &str)> = vec![
        (json!({ "name": "" }), "name is required"),
        (json!({ "name": " " }), "name is required"),
        (json!({ "triggers": triggers(11) }), "This function exceeds the max number of triggers: 10"),
        (json!({ "triggers": [{}] }), "A trigger must supply an event name or a cron schedule"),
        (
            json!({ "triggers": [{ "event": "a", "cron": "* * * * *" }] }),
            "A trigger cannot have both an event and a cron trigger",
        ),
        (json!({ "triggers": [{ "event": "a" }, { "event": "a" }] }), "duplicate trigger event: a"),
        (
            json!({ "triggers": [{ "cron": "* * * * *" }, { "cron": "* * * * *", "jitter": "2s" }] }),
            "duplicate cron expression: * * * * *",
        ),
        (json!({ "triggers": [{ "event": long }] }), "event name is too long. maximum length is 255 characters"),
        (json!({ "triggers": [{ "cron": long }] }), "cron is too long"),
        (json!({ "triggers": [{ "cron": "@often" }] }), "'@often' isn't a valid cron schedule"),
        (json!({ "triggers": [{ "cron": "@every 1ms" }] }), "at least 1s"),
        (json!({ "triggers": [{ "cron": "* * * * * * *" }] }), "it has 7 fields"),
        (json!({ "triggers": [{ "cron": "61 * * * *" }] }), "minute \"61\": values are 0 to 59"),
        (
            json!({ "cancel": [{ "event": "a", "if": "event.data.x ==" }] }),
            "cancel.if: Cancellation expression is invalid",
        ),
        (
            json!({ "cancel": [{ "event": "a", "if": "size(async.data.x) == 1" }] }),
            "function calls are disallowed (uses 'size')",
        ),
        (json!({ "triggers": [{ "cron": "TZ=UTC" }] }), "unknown time zone"),
        (
            json!({ "triggers": [{ "cron": "* * * * *", "jitter": "10m" }] }),
            "cron jitter must be less than or equal to 5m0s",
        ),
        (json!({ "triggers": [{ "cron": "* * * * *", "jitter": "x" }] }), "'x' isn't a valid jitter duration"),
        (
            json!({ "triggers": [{ "cron": "* * * * *", "jitter": "-1s" }] }),
            "cron jitter must be greater than or equal to zero",
        ),
        (json!({ "triggers": [{ "cron": "* * * * *", "jitter": "5ms" }] }), "cron jitter must be at least 1s"),
        (
            json!({ "triggers": [{ "event": "a", "expression": "event.data.n >" }] }),
            "invalid trigger expression on 'a': error compiling",
        ),
        (
            json!({ "triggers": [{ "event": "a", "expression": "async.data.n == 1" }] }),
            "undeclared reference to 'async'",
        ),
        (json!({ "steps": {} }), "Functions must contain one step"),
        (json!({ "steps": null }), "Functions must contain one step"),
        (json!({ "steps": [] }), "Functions must contain one step"),
        (json!({ "steps": { "a": {}, "b": {} } }), "Functions must contain one step"),
        (json!({ "steps": { "a": 1 } }), "Functions must contain one step"),
        (json!({ "steps": { "step": { "name": "" } } }), "step's name is required"),
        (json!({ "steps": { "step": { "name": "s" } } }), "runtime is required"),
        (
            json!({ "steps": { "step": { "name": "s", "runtime": { "type": "grpc", "url": "http://a/x" } } } }),
            "runtime type",
        ),
        (runtime(""), "must be a full http"),
        (runtime("localhost:3000"), "Non-supported step schema: localhost"),
        (runtime("file:///etc/passwd"), "Non-supported step schema: file"),
        (runtime("javascript:alert(1)"), "Non-supported step schema: javascript"),
        (
            json!({ "concurrency": [{ "limit": 1 }, { "limit": 2 }, { "limit": 3 }] }),
            "concurrency: There are more concurrency limits specified than the allowed max of: 2",
        ),
        (
            json!({ "concurrency": { "fn": [{ "limit": 1 }, { "limit": 2 }] } }),
            "Only one function concurrency limit is allowed",
        ),
        (
            json!({ "concurrency": { "fn": [{ "limit": 0, "key": "event.data.x" }] } }),
            "function concurrency limit must be > 0",
        ),
        (json!({ "timeouts": { "start": "soon" } }), "timeouts.start"),
        (json!({ "timeouts": { "finish": "-1s" } }), "timeouts.finish"),
        (
            json!({ "concurrency": { "limit": 1, "scope": "env" } }),
            "concurrency.key: A concurrency key must be specified for Env scoped limits",
        ),
        (
            json!({ "concurrency": { "limit": 1, "scope": "account" } }),
            "concurrency.key: A concurrency key must be specified for Account scoped limits",
        ),
        (
            json!({ "concurrency": { "limit": 0, "key": "event.data.x" } }),
            "concurrency.limit: concurrency limit must be > 0 when a key is set, not 0 for 'event.data.x'",
        ),
        (
            json!({ "rateLimit": { "limit": 0, "period": "1m" } }),
            "shop-order: rateLimit.limit: limit must be greater than 0, not 0",
        ),
        (
            json!({ "rateLimit": { "limit": 1, "period": "25h" } }),
            "rateLimit.period: period must be less than 24h0m0s, not 25h",
        ),
        (json!({ "idempotency": "" }), "idempotency: key is invalid: error compiling expression: ERROR: <input>:1:"),
        (
            json!({ "debounce": { "period": "0.5s" } }),
            "debounce.period: The debounce period of '0.5s' is less than the min of: 1s",
        ),
        (
            json!({ "debounce": { "period": "8d" } }),
            "debounce.period: The debounce period of '8d' is greater than the max of: 168h0m0s",
        ),
        (
            json!({ "debounce": {} }),
            "debounce.period: The debounce period of '' is invalid: time: invalid duration \"\"",
        ),
        (
            json!({ "batchEvents": { "maxSize": 1, "timeout": "1s" } }),
            "batchEvents.maxSize: batch size cannot be smaller than 2: 1",
        ),
        (
            json!({ "batchEvents": { "maxSize": 2, "timeout": "10ms" } }),
            "batchEvents.timeout: batch timeout should be more than 1s, not 10ms",
        ),
        (
            json!({ "batchEvents": { "maxSize": 2, "timeout": "1s" }, "cancel": [{ "event": "x" }] }),
            "batchEvents: Batching and cancellation are mutually exclusive",
        ),
        (
            json!({ "batchEvents": { "maxSize": 2, "timeout": "1s" }, "debounce": { "period": "1s" } }),
            "batchEvents: Batching and debouncing are mutually exclusive",
        ),
        (
            json!({ "batchEvents": { "maxSize": 2, "timeout": "1s" }, "priority": { "run": "1" } }),
            "batchEvents: A function cannot specify Priority.Run and Batch together",
        ),
        (
            json!({ "cancel": [{ "event": "a" }, { "event": "b" }, { "event": "c" }, { "event": "d" }, { "event": "e" }, { "event": "f" }] }),
            "cancel: This function exceeds the max number of cancellation events: 5",
        ),
        (
            json!({ "cancel": [{ "event": "a", "timeout": "soon" }] }),
            "cancel.timeout: The cancellation timeout of 'soon' is neither",
        ),
        (json!({ "batchEvents": { "maxSize": 2 } }), "failed to parse time duration: time: invalid duration \"\""),
        (
            json!({ "batchEvents": { "maxSize": 2, "timeout": "1s" }, "singleton": { "mode": "skip" } }),
            "batchEvents: Batching and singletons are mutually exclusive",
        ),
        (json!({ "rateLimit": { "limit": 1 } }), "rateLimit.period: period must be specified"),
        (
            json!({ "rateLimit": { "limit": 1, "period": "x" } }),
            "failed to parse time duration: time: invalid duration",
        ),
        (json!({ "rateLimit": { "limit": 1, "period": "0s" } }), "period must be greater than 0s"),
        (json!({ "rateLimit": { "limit": 1, "period": "-1m" } }), "period must be greater than 0s"),
        (
            json!({ "debounce": { "period": "1s", "timeout": "soon" } }),
            "debounce.timeout: The debounce timeout of 'soon' is invalid",
        ),
        (
            json!({ "concurrency": { "fn": [{ "limit": 1, "scope": "app" }] } }),
            "app-scoped function concurrency cannot be set by users",
        ),
        (
            json!({ "concurrency": { "fn": [{ "limit": 1, "scope": "Env" }] } }),
            "invalid function concurrency scope: env",
        ),
        // Expressions that cannot be read.
        (
            json!({ "concurrency": { "limit": 1, "key": "event.data.x +" } }),
            "concurrency.key: Invalid concurrency key 'event.data.x +': error compiling expression: ",
        ),
        (
            json!({ "concurrency": { "fn": [{ "limit": 1, "key": "a b" }] } }),
            "concurrency.fn.key: invalid function concurrency key 'a b': error compiling expression: ",
        ),
        (
            json!({ "rateLimit": { "limit": 1, "period": "1m", "key": "unknown.x" } }),
            "key is invalid: error compiling expression: ",
        ),
        (json!({ "idempotency": "unknown" }), "key is invalid: error compiling expression: "),
        (
            json!({ "debounce": { "period": "1s", "key": "event.data.x ==" } }),
            "debounce.key: Debounce expression is invalid: error compiling expression: ",
        ),
        (
            json!({ "batchEvents": { "maxSize": 2, "timeout": "1s", "key": "unknown" } }),
            "batchEvents.key: batch key expression is invalid: error compiling expression: ",
        ),
        (
            json!({ "batchEvents": { "maxSize": 2, "timeout": "1s", "if": "1 +" } }),
            "batchEvents.if: conditional batch expression is invalid error compiling expression: ",
        ),
        (
            json!({ "priority": { "run": "1 +" } }),
            "priority.run: Priority.Run expression is invalid: error compiling expression: ",
        ),
        // Empty ones would hold for everything.
        (json!({ "triggers": [{ "event": "a", "expression": "" }] }), "invalid trigger expression on 'a'"),
        (json!({ "cancel": [{ "event": "a", "if": "" }] }), "cancel.if: Cancellation expression is invalid"),
        (json!({ "concurrency": { "limit": 1, "key": "" } }), "concurrency.key: Invalid concurrency key ''"),
        (json!({ "rateLimit": { "limit": 1, "period": "1m", "key": "" } }), "key is invalid"),
        (
            json!({ "batchEvents": { "maxSize": 2, "timeout": "1s", "key": "" } }),
            "batchEvents.key: batch key expression is invalid",
        ),
        (
            json!({ "batchEvents": { "maxSize": 2, "timeout": "1s", "if": "" } }),
            "batchEvents.if: conditional batch expression",
        ),
    ];
    for (more, part) in &rules {
        let error = with(more).unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("At least one function is invalid: ") && text.contains(part), "{more}: {text}");
        assert!(error.app_problem().is_some_and(|(url, _)| url == "http://localhost:3000/api/inngest"));
    }
    let shapes = vec![
        (json!({ "name": 1 }), "name must be a string"),
        (json!({ "triggers": {} }), "triggers must be an array"),
        (json!({ "triggers": ["a"] }), "a trigger must be an object"),
        (json!({ "triggers": [{ "event": 1 }] }), "event must be a string"),
        (json!({ "throttle": { "limit": 1, "period": "x" } }), "throttle.period"),
        (json!({ "throttle": { "limit": 1 } }), "throttle.period"),
        (json!({ "throttle": { "limit": 1, "period": "0s" } }), "throttle.period \"0s\" must be greater than 0s"),
        (json!({ "throttle": { "limit": -1, "period": "1s" } }), "throttle.limit must be zero or more, not -1"),
        (json!({ "throttle": { "limit": "1", "period": "1s" } }), "throttle.limit must be a whole number, not \"1\""),
        (json!({ "throttle": 1 }), "throttle must be an object"),
        (json!({ "singleton": { "mode": "zz" } }), "singleton.mode"),
        (json!({ "idempotency": 5 }), "idempotency must be a string"),
        (json!({ "priority": { "run": 100 } }), "run must be a string"),
        (json!({ "timeouts": { "start": 5 } }), "start must be a string"),
        (json!({ "concurrency": [1] }), "a concurrency limit must be an object"),
        (json!({ "concurrency": { "limit": 1, "scope": "zz" } }), "concurrency.scope"),
        (json!({ "concurrency": { "limit": 1, "scope": 1 } }), "concurrency.scope must be fn, env or account, not 1"),
        (json!({ "concurrency": { "fn": [{ "limit": 1, "scope": "zz" }] } }), "concurrency.fn.scope \"zz\" is unknown"),
        (json!({ "concurrency": { "fn": [7] } }), "concurrency.fn: a concurrency limit must be an object, not 7"),
        (json!({ "singleton": { "mode": 1 } }), "singleton.mode must be a string, not 1"),
        (json!({ "rateLimit": { "limit": 1.5, "period": "1s" } }), "rateLimit.limit must be a whole number, not 1.5"),
        (json!({ "batchEvents": { "maxSize": "9", "timeout": "1s" } }), "batchEvents.maxSize must be a whole number"),
        (json!({ "cancel": {} }), "cancel must be an array"),
        (json!({ "cancel": ["x"] }), "a cancel event must be an object"),
        (json!({ "checkpoint": { "batch_interval": "zz" } }), "checkpoint.batch_interval"),
        (json!({ "checkpoint": { "max_runtime": [] } }), "checkpoint.max_runtime"),
    ];
    for (more, part) in &shapes {
        let error = with(more).unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("Invalid request: ") && text.contains(part), "{more}: {text}");
    }
    assert!(rules.len() + shapes.len() >= 60);
}

#[test]
fn all_problems_of_a_sync_are_told_at_once() {
    let two = json!([
        function(&json!({ "id": "shop-a", "rateLimit": { "limit": 0 }, "debounce": { "period": "1ms" } })),
        function(&json!({ "id": "shop-b", "triggers": [{}] })),
    ]);
    let error = parse(&body(&two)).unwrap_err();
    let (_, text) = error.app_problem().unwrap();
    assert_eq!(
        text,
        "4 errors occurred: * shop-a: debounce.period: The debounce period of '1ms' is less than the min of: 1s * shop-a: rateLimit.limit: \
         limit must be greater than 0, not 0 * shop-a: rateLimit.period: period must be specified * shop-b: A trigger must supply an event name or a cron schedule"
    );
    // The form goes before the rules.
    let malformed = json!([
        function(&json!({ "id": "shop-a", "rateLimit": { "limit": 0 }, "throttle": 1 })),
        function(&json!({ "id": "shop-b", "debounce": { "period": 5 } })),
    ]);
    assert_eq!(
        parse(&body(&malformed)).unwrap_err().to_string(),
        "Invalid request: shop-a: throttle must be an object, not 1; shop-b: debounce.period must be a string, not 5"
    );
}

#[test]
fn malformed_bodies_have_the_replies_sdks_read() {
    let mut app = body(&json!([]));
    let mut table = vec![
        (String::new(), "Invalid request: EOF"),
        ("  ".into(), "Invalid request: EOF"),
        ("{".into(), "Invalid request: EOF while parsing"),
        ("[]".into(), "Invalid request: a JSON object is expected"),
        ("1".into(), "Invalid request: a JSON object is expected"),
        ("{}".into(), "App ID required"),
        (r#"{"appName":" "}"#.into(), "App ID required"),
        (r#"{"appName":1}"#.into(), "Invalid request: appName must be a string"),
        (r#"{"appName":"a","functions":{}}"#.into(), "Invalid request: functions must be an array"),
        (r#"{"appName":"a","functions":[1],"url":"http://a"}"#.into(), "Invalid request: a function must be an object"),
        (r#"{"appName":"a","url":1}"#.into(), "Invalid request: url must be a string"),
        (r#"{"appName":"a"}"#.into(), "Invalid request: url must be an http or https URL"),
        (r#"{"appName":"a","url":"ftp://x/y"}"#.into(), "Invalid request: url must be an http or https URL"),
    ];
    for version in ["v3.22.0", "3.40.0", "v3.53.1"] {
        app["sdk"] = json!(format!("js:{version}"));
        table.push((app.to_string(), "App sync was blocked because"));
    }
    for (text, start) in table {
        let error = Registration::parse(text.as_bytes()).unwrap_err();
        let reply: Value = serde_json::from_str(&error.body()).unwrap();
        assert!(reply["error"].as_str().unwrap().starts_with(start), "{text}: {reply}");
        assert_eq!(
            (reply["status"].as_u64(), error.status(), &reply["data"]),
            (Some(400), 400, &Value::Null),
            "{text}"
        );
        assert_eq!(reply.get("code").is_some(), start.starts_with("App sync"), "{text}");
    }
    for version in ["v3.21.9", "v3.54.0", "v4.0.0", "v3.22"] {
        app["sdk"] = json!(format!("js:{version}"));
        assert!(parse(&app).is_ok(), "{version}");
    }
}

/// The store's rows after a sync, given those before.
fn sync(registration: &Registration, apps: &mut Vec<App>, functions: &mut Vec<Function>, now: i64) -> bool {
    let (registered, transition) = plan_registration(registration, apps, functions, Millis(now));
    for change in transition.changes {
        match change {
            Change::PutApp(app) => {
                apps.retain(|other| other.id != app.id);
                apps.push(*app);
            }
            Change::PutFunction(function) => {
                functions.retain(|other| other.id != function.id);
                functions.push(*function);
            }
            Change::ArchiveApp(id, _) => apps.retain(|app| app.id != id),
            Change::ArchiveFunction(id, at) => {
                let gone = functions.iter_mut().find(|function| function.id == id).unwrap();
                gone.archived_at = Some(at);
            }
            other => panic!("a sync makes no {other:?}"),
        }
    }
    registered.modified
}

#[test]
fn ids_and_versions_live_through_syncs() {
    let (mut apps, mut functions) = (Vec::new(), Vec::new());
    let other = json!({ "id": "shop-other", "name": "Other" });
    let both = parse(&body(&json!([function(&json!({})), function(&other)]))).unwrap();
    let reversed = parse(&body(&json!([function(&other), function(&json!({}))]))).unwrap();
    assert!(sync(&both, &mut apps, &mut functions, 1));
    assert_eq!(apps[0].id, AppId::of_name("shop"));
    assert!(!sync(&both, &mut apps, &mut functions, 2) && !sync(&reversed, &mut apps, &mut functions, 2));

    let first = functions.iter().find(|function| &*function.slug == "shop-order").unwrap().clone();
    let moved =
        json!({ "steps": { "step": { "id": "step", "name": "step", "runtime": { "url": "http://localhost:9/x" } } } });
    assert!(sync(&parse(&body(&json!([function(&moved)]))).unwrap(), &mut apps, &mut functions, 3));
    let now = functions.iter().find(|function| &*function.slug == "shop-order").unwrap();
    assert_eq!((now.id, now.version, now.created_at, &*now.url), (first.id, 2, Millis(1), "http://localhost:9/x"));
    let gone = functions.iter().find(|function| &*function.slug == "shop-other").unwrap().clone();
    assert_eq!((gone.archived_at, gone.version), (Some(Millis(3)), 1));

    assert!(sync(&both, &mut apps, &mut functions, 4));
    let back = functions.iter().find(|function| &*function.slug == "shop-other").unwrap();
    assert_eq!((back.id, back.archived_at, back.version), (gone.id, None, 1));
    assert!(sync(&parse(&body(&json!([]))).unwrap(), &mut apps, &mut functions, 5));
    assert!(functions.iter().all(|function| function.archived_at.is_some()));
}

#[test]
fn functions_of_one_name_and_url_keep_apart() {
    let (mut apps, mut functions) = (Vec::new(), Vec::new());
    let both = json!([function(&json!({ "id": "shop-a" })), function(&json!({ "id": "shop-b" }))]);
    assert!(sync(&parse(&body(&both)).unwrap(), &mut apps, &mut functions, 1));
    assert_eq!(functions.len(), 2);
    let renamed = json!([function(&json!({ "id": "shop-c" }))]);
    assert!(sync(&parse(&body(&renamed)).unwrap(), &mut apps, &mut functions, 2));
    let active = functions.iter().filter(|function| function.archived_at.is_none());
    assert_eq!(active.map(|function| &*function.slug).collect::<Vec<_>>(), ["shop-c"]);
    let mut other = body(&renamed);
    other["appName"] = json!("store");
    assert!(sync(&parse(&other).unwrap(), &mut apps, &mut functions, 3));
    assert_eq!(functions.iter().filter(|function| function.archived_at.is_none()).count(), 2);
}

#[test]
fn a_placeholder_gives_way_and_an_error_is_cleared() {
    let registration = parse(&body(&json!([]))).unwrap();
    let (_, transition) = plan_registration(&registration, &[], &[], Millis(1));
    let Some(Change::PutApp(app)) = transition.changes.into_iter().next() else { panic!("an app is made") };
    let placeholder =
        App { id: AppId::of_name("url"), name: "".into(), error: Some("unreachable".into()), ..App::clone(&app) };
    let mut apps = vec![placeholder];
    sync(&registration, &mut apps, &mut Vec::new(), 2);
    assert_eq!(apps.iter().map(|app| &*app.name).collect::<Vec<_>>(), ["shop"]);
    apps[0].error = Some("unreachable".into());
    assert!(sync(&registration, &mut apps, &mut Vec::new(), 3));
    assert_eq!(apps[0].error, None);
}

proptest! {
    #[test]
    fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _any = Registration::parse(&bytes);
    }

    #[test]
    fn changed_fields_never_panic(key in "(id|name|triggers|steps|concurrency|throttle|cancel|retries|checkpoint|debounce|batchEvents|singleton|priority)",
                                  value in "(1|-1|\"\"|\"x\"|null|true|\\[\\]|\\[1\\]|\\{\\}|\\[\\{\\}\\]|\\{\"step\":\\{\\}\\}|\\{\"limit\":1e99\\}|\\{\"period\":\"1s\"\\})") {
        let value: Value = serde_json::from_str(&value).unwrap();
        let mut more = json!({});
        more[key.as_str()] = value;
        let _any = with(&more);
    }
}
