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
    let function = &read.functions[0];
    assert_eq!((&*function.slug, &*function.step_id, function.retries), ("shop-order", "step", 2));
    assert_eq!(&*function.url, "http://localhost:3000/api/inngest?fnId=shop-order&stepId=step");
    assert!(matches!(&function.triggers[1], Trigger::Cron { jitter: Some(jitter), .. } if &**jitter == "30s"));
    assert_eq!(read.warnings.len(), 3, "{:?}", read.warnings);

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
        json!({ "concurrency": { "fn": [{ "limit": 4 }], "step": [{ "limit": 3 }, { "limit": 2, "key": "event.data.x" }] } }),
        json!({ "concurrency": { "fn": null, "step": [], "limit": 5 } }),
        json!({ "timeouts": { "start": "10m", "finish": null } }),
        json!({ "cancel": [{ "event": "x", "timeout": "\"30s\"" }, { "event": "y", "timeout": "2027-01-01T00:00:00Z" }] }),
        json!({ "idempotency": "event.data.x" }),
        json!({ "steps": { "step": { "name": "s", "runtime": { "type": "HTTP", "url": "https://a.b/x" } } } }),
        json!({ "cancel": [], "unknown": { "a": [1] } }),
        json!({ "singleton": null }),
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
        (json!({ "triggers": triggers(11) }), "at most 10 triggers"),
        (json!({ "triggers": [{}] }), "needs an event or a cron"),
        (json!({ "triggers": [{ "event": "a", "cron": "* * * * *" }] }), "not both"),
        (json!({ "triggers": [{ "event": "a" }, { "event": "a" }] }), "declared twice"),
        (json!({ "triggers": [{ "cron": "* * * * *" }, { "cron": "* * * * *", "jitter": "2s" }] }), "declared twice"),
        (json!({ "triggers": [{ "event": long }] }), "longer than 255 bytes"),
        (json!({ "triggers": [{ "cron": long }] }), "cron is too long"),
        (json!({ "triggers": [{ "cron": "@often" }] }), "'@often' isn't a valid cron schedule"),
        (json!({ "triggers": [{ "cron": "@every 1ms" }] }), "at least 1s"),
        (json!({ "triggers": [{ "cron": "* * * * * * *" }] }), "it has 7 fields"),
        (json!({ "triggers": [{ "cron": "61 * * * *" }] }), "minute \"61\": values are 0 to 59"),
        (json!({ "cancel": [{ "event": "a", "if": "event.data.x ==" }] }), "Cancellation expression is invalid"),
        (
            json!({ "cancel": [{ "event": "a", "if": "size(async.data.x) == 1" }] }),
            "function calls are disallowed (uses 'size')",
        ),
        (json!({ "triggers": [{ "cron": "TZ=UTC" }] }), "unknown time zone"),
        (json!({ "triggers": [{ "cron": "* * * * *", "jitter": "10m" }] }), "jitter"),
        (json!({ "triggers": [{ "cron": "* * * * *", "jitter": "x" }] }), "jitter"),
        (
            json!({ "triggers": [{ "event": "a", "expression": "event.data.n >" }] }),
            "invalid trigger expression on 'a': error compiling",
        ),
        (
            json!({ "triggers": [{ "event": "a", "expression": "async.data.n == 1" }] }),
            "undeclared reference to 'async'",
        ),
        (json!({ "steps": {} }), "exactly one step"),
        (json!({ "steps": null }), "exactly one step"),
        (json!({ "steps": [] }), "exactly one step"),
        (json!({ "steps": { "a": {}, "b": {} } }), "exactly one step"),
        (json!({ "steps": { "a": 1 } }), "exactly one step"),
        (json!({ "steps": { "step": { "name": "" } } }), "step's name is required"),
        (json!({ "steps": { "step": { "name": "s" } } }), "runtime is required"),
        (
            json!({ "steps": { "step": { "name": "s", "runtime": { "type": "grpc", "url": "http://a/x" } } } }),
            "runtime type",
        ),
        (runtime(""), "must be a full http"),
        (runtime("localhost:3000"), "must be a full http"),
        (runtime("file:///etc/passwd"), "must be a full http"),
        (runtime("javascript:alert(1)"), "must be a full http"),
        (json!({ "concurrency": [{ "limit": 1 }, { "limit": 2 }, { "limit": 3 }] }), "at most two concurrency"),
        (json!({ "concurrency": { "fn": [{ "limit": 1 }, { "limit": 2 }] } }), "at most one concurrency limit"),
        (json!({ "concurrency": { "fn": [{ "limit": 0, "key": "event.data.x" }] } }), "greater than 0"),
        (json!({ "timeouts": { "start": "soon" } }), "timeouts.start"),
        (json!({ "timeouts": { "finish": "-1s" } }), "timeouts.finish"),
        (json!({ "concurrency": { "limit": 1, "scope": "env" } }), "needs a key"),
        (json!({ "concurrency": { "limit": 1, "scope": "account" } }), "needs a key"),
        (json!({ "concurrency": { "limit": 0, "key": "event.data.x" } }), "greater than 0"),
        (json!({ "rateLimit": { "limit": 0, "period": "1m" } }), "rateLimit.limit"),
        (json!({ "rateLimit": { "limit": 1, "period": "25h" } }), "rateLimit.period"),
        (json!({ "idempotency": "" }), "idempotency must not be empty"),
        (json!({ "debounce": { "period": "0.5s" } }), "debounce.period"),
        (json!({ "debounce": { "period": "8d" } }), "debounce.period"),
        (json!({ "debounce": {} }), "debounce.period"),
        (json!({ "batchEvents": { "maxSize": 1, "timeout": "1s" } }), "maxSize"),
        (json!({ "batchEvents": { "maxSize": 2, "timeout": "10ms" } }), "batchEvents.timeout"),
        (
            json!({ "batchEvents": { "maxSize": 2, "timeout": "1s" }, "cancel": [{ "event": "x" }] }),
            "cannot be combined with cancel",
        ),
        (
            json!({ "batchEvents": { "maxSize": 2, "timeout": "1s" }, "debounce": { "period": "1s" } }),
            "cannot be combined with debounce",
        ),
        (
            json!({ "batchEvents": { "maxSize": 2, "timeout": "1s" }, "priority": { "run": "1" } }),
            "cannot be combined with priority",
        ),
        (
            json!({ "cancel": [{ "event": "a" }, { "event": "b" }, { "event": "c" }, { "event": "d" }, { "event": "e" }, { "event": "f" }] }),
            "at most 5 cancel",
        ),
        (json!({ "cancel": [{ "event": "a", "timeout": "soon" }] }), "cancel.timeout"),
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
        (json!({ "throttle": { "limit": "1", "period": "1s" } }), "limit must be a whole number"),
        (json!({ "throttle": 1 }), "throttle must be an object"),
        (json!({ "singleton": { "mode": "zz" } }), "singleton.mode"),
        (json!({ "idempotency": 5 }), "idempotency must be a string"),
        (json!({ "priority": { "run": 100 } }), "run must be a string"),
        (json!({ "timeouts": { "start": 5 } }), "start must be a string"),
        (json!({ "concurrency": true }), "concurrency must be"),
        (json!({ "concurrency": [1] }), "a concurrency limit must be an object"),
        (json!({ "concurrency": { "limit": 1, "scope": "zz" } }), "concurrency.scope"),
        (json!({ "concurrency": { "limit": 1, "scope": null } }), "concurrency.scope"),
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
