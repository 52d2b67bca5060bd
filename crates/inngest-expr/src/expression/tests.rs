//! Properties of all expressions, and what the case files do not show.

use proptest::prelude::*;
use serde_json::json;

use super::*;

const NOW: Millis = Millis(1_800_000_000_000);

fn condition(text: &str) -> Expression {
    Expression::compile(text, Roots::EventAndAsync).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn three_equals_signs_are_answered_as_by_the_go_server() {
    let error = Expression::compile("event.data.userId === async.data.userId", Roots::EventAndAsync).unwrap_err();
    let expected = "error compiling expression: ERROR: <input>:1:21: Syntax error: token recognition error at: '= '\n | event.data.userId === async.data.userId\n | ....................^";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn only_declared_variables_may_be_named() {
    assert!(Expression::compile("async.data.x == 1", Roots::Event).is_err());
    assert!(Expression::compile("invalid", Roots::EventAndAsync).is_err());
    assert!(Expression::parse("throttled").is_ok(), "a key may be any word");
}

#[test]
fn what_is_too_long_or_too_deep_is_refused() {
    for text in [
        format!("event.data.x == '{}'", "x".repeat(TEXT_BYTES_MAX)),
        format!("{}1{}", "(".repeat(200), ")".repeat(200)),
        format!("{}true", "!".repeat(200)),
        format!("{}1", "-".repeat(200)),
        format!("event{}", "[0]".repeat(200)),
        format!("event{}", ".a(1)".repeat(200)),
    ] {
        assert!(Expression::parse(&text).is_err(), "{}", &text[..40]);
    }
}

#[test]
fn loops_in_loops_are_bounded() {
    let list: Vec<u32> = (0..2_000).collect();
    let event = json!({ "data": { "l": list } });
    let text = "event.data.l.exists(a, event.data.l.exists(b, event.data.l.exists(c, false)))";
    let error = Expression::compile(text, Roots::Event).unwrap().matches(&event, NOW);
    assert!(error.is_err_and(|error| error == EvalError::TooCostly));
}

#[test]
fn anchors_are_the_most_selective_part() {
    let event = json!({ "data": { "id": "x", "n": 1 } });
    let table = [
        ("event.data.id == async.data.id", r#"[("/data/id", Equal(Text("x")))]"#),
        ("async.data.n > 5 && async.data.id == event.data.id", r#"[("/data/id", Equal(Text("x")))]"#),
        (
            "async.data.a == 1 || async.data.b == true",
            r#"[("/data/a", Equal(Number(1.0))), ("/data/b", Equal(Bool(true)))]"#,
        ),
        ("!(async.data.a != 'z')", r#"[("/data/a", Equal(Text("z")))]"#),
        ("5 < async.data.n", r#"[("/data/n", Above(Number(5.0), false))]"#),
        ("async.data.n < 5", r#"[("/data/n", Below(Number(5.0), false)), ("/data/n", Missing)]"#),
        ("async.data.n >= 0", r#"[("/data/n", Above(Number(0.0), true)), ("/data/n", Missing)]"#),
        ("event.data.gone == async.data.gone", r#"[("/data/gone", Missing)]"#),
        ("async.data.ok", r#"[("/data/ok", Equal(Bool(true)))]"#),
        ("async.data.s in ['a', 2]", r#"[("/data/s", Equal(Text("a"))), ("/data/s", Equal(Number(2.0)))]"#),
        ("'a' in async.data.s", r#"[("/data/s", Member(Text("a")))]"#),
        ("event.data.n == 1 && async.data.id == 'y'", r#"[("/data/id", Equal(Text("y")))]"#),
    ];
    for (text, expected) in table {
        let expression = condition(text);
        let Anchors::OneOf(anchors) = expression.anchors(&expression.bind(&event).unwrap()) else { panic!("{text}") };
        let shown: Vec<_> = anchors.into_iter().map(|anchor| (anchor.path, anchor.test)).collect();
        assert_eq!(format!("{shown:?}"), expected, "{text}");
    }
    for (text, expected) in [
        ("event.data.n == 2 && async.data.id == 'y'", Anchors::Never),
        ("false", Anchors::Never),
        ("1", Anchors::Never),
        ("true", Anchors::Any),
        ("async.data.a != 1", Anchors::Any),
        ("async.data.a == async.data.b", Anchors::Any),
        ("async.data.l.exists(x, x == 1)", Anchors::Any),
        ("now() > date('2020-01-01')", Anchors::Any),
    ] {
        let expression = condition(text);
        assert_eq!(expression.anchors(&expression.bind(&event).unwrap()), expected, "{text}");
    }
}

#[test]
fn numbers_beyond_an_integer_are_no_integers() {
    let table = [
        ("int(9.25e18)", None),
        ("int(9223372036854775808.0)", None),
        ("int(9223372036854774784.0)", Some("9223372036854774784")),
        ("int(-9223372036854775808.0)", Some("-9223372036854775808")),
        ("int(-9.25e18)", None),
        ("int(1.0/0.0)", None),
        ("int(0.0/0.0)", None),
        ("uint(1.88e19)", None),
        ("uint(18446744073709551616.0)", None),
        ("uint(18446744073709549568.0)", Some("18446744073709549568")),
        ("uint(-0.5)", None),
    ];
    for (text, expected) in table {
        let value = Expression::parse(text).unwrap().evaluate(&json!({}), None, NOW).map(|value| value.to_string());
        assert_eq!(value.ok().as_deref(), expected, "{text}");
    }
}

#[test]
fn date_reads_every_form_of_the_go_server() {
    let table = [
        ("'2006-01-02T15:04:05Z'", "2006-01-02T15:04:05Z"),
        ("'2006-01-02T15:04:05.123456789+07:00'", "2006-01-02T08:04:05.123456789Z"),
        ("'2006-01-02T15:04:05'", "2006-01-02T15:04:05Z"),
        ("'Mon, 02 Jan 2006 15:04:05 GMT'", "2006-01-02T15:04:05Z"),
        ("'02 Jan 06 15:04 UTC'", "2006-01-02T15:04:00Z"),
        ("'02 Jan 06 15:04 -0700'", "2006-01-02T22:04:00Z"),
        ("'Monday, 02-Jan-06 15:04:05 UTC'", "2006-01-02T15:04:05Z"),
        ("'Mon Jan 02 15:04:05 -0700 2006'", "2006-01-02T22:04:05Z"),
        ("'Mon Jan  2 15:04:05 UTC 2006'", "2006-01-02T15:04:05Z"),
        ("'Mon Jan  2 15:04:05 2006'", "2006-01-02T15:04:05Z"),
        ("'Jan  2 15:04:05'", "0000-01-02T15:04:05Z"),
        ("'Jan 12 15:04:05.250'", "0000-01-12T15:04:05.25Z"),
        ("'2006-01-02'", "2006-01-02T00:00:00Z"),
        ("'2006-01-02 15:04:05.999999999 -0700 MST'", "2006-01-02T22:04:05.999999999Z"),
        ("'2006-01-02 15:04:05 +0000 UTC'", "2006-01-02T15:04:05Z"),
        ("946684800", "2000-01-01T00:00:00Z"),
        ("9999999998", "2286-11-20T17:46:38Z"),
        ("9999999999", "1970-04-26T17:46:39.999Z"),
        ("9999999999998", "2286-11-20T17:46:39.998Z"),
        ("9999999999999", "1970-01-01T02:46:39.999999999Z"),
    ];
    for (argument, expected) in table {
        let expression = Expression::compile(&format!("date({argument})"), Roots::Event).unwrap();
        let value = expression.evaluate(&json!({}), None, NOW).map(|value| value.to_string());
        assert_eq!(value.as_deref(), Ok(expected), "{argument}");
    }
    for argument in ["946684799", "'Jan 32 15:04:05'", "'15:04:05'"] {
        let outcome = Expression::parse(&format!("date({argument})")).unwrap().matches(&json!({}), NOW);
        assert_eq!(outcome, Err(EvalError::NoResult), "{argument}");
    }
}

/// The Go server binds what is missing as `null` on the left side only, so that the order matters.
#[test]
fn what_the_event_of_a_run_lacks_is_null_in_either_order() {
    let run = json!({ "data": { "id": 1 } });
    for text in ["event.data.gone == async.data.gone", "async.data.gone == event.data.gone"] {
        let expression = condition(text);
        let bindings = expression.bind(&run).unwrap();
        for (later, expected) in [(json!({}), true), (json!({ "gone": null }), true), (json!({ "gone": 1 }), false)] {
            let later = json!({ "data": later });
            assert_eq!(expression.matches_bound(&bindings, &later, NOW), Ok(expected), "{text} {later}");
        }
    }
}

/// The Go server concatenates the text of the error with what stands beside it.
#[test]
fn an_error_stays_an_error() {
    let event = json!({ "data": { "l": [{}] } });
    for text in ["event.data.l.map(x, x.price)", "event.data.l[7] + 'x'", "event.data.l[0].price"] {
        let outcome = Expression::parse(text).unwrap().evaluate(&event, None, NOW).map(drop);
        assert!(matches!(outcome, Err(EvalError::NoKey(_) | EvalError::OutOfBounds(_))), "{text}: {outcome:?}");
    }
}

#[test]
fn what_a_condition_keeps_of_an_event_is_bounded() {
    let event = |length| json!({ "data": { "a": "x".repeat(length), "b": 1, "c": "x".repeat(1 << 20) } });
    let expression = condition("event.data.a == async.data.a && event.data.a != 'y' && event.data.b == 1");
    assert!(expression.bind(&event(BINDINGS_BYTES_MAX - 3)).is_ok(), "each value counts once, others do not");
    let error = expression.bind(&event(BINDINGS_BYTES_MAX - 2)).unwrap_err();
    assert!(error.to_string().contains("65536 bytes"), "{error}");
    let deep = serde_json::from_str(&format!("{}{}", "[".repeat(100), "]".repeat(100))).unwrap();
    let bindings = condition("event == async").bind(&deep).unwrap();
    assert_eq!(Bindings::from_json(&bindings.to_json()), Some(bindings), "the deepest event can be read again");
}

fn scalar() -> impl Strategy<Value = Json> {
    prop_oneof![
        Just(json!(null)),
        Just(json!(0)),
        Just(json!(1)),
        Just(json!(-1.5)),
        Just(json!(7)),
        Just(json!("")),
        Just(json!("a")),
        Just(json!("b")),
        Just(json!(true)),
        Just(json!(false)),
        Just(json!([1, "a", null])),
        Just(json!({ "a": 1 })),
    ]
}

fn event() -> impl Strategy<Value = Json> {
    proptest::collection::btree_map(prop_oneof![Just("x"), Just("y"), Just("z")], scalar(), 0..3)
        .prop_map(|data| json!({ "name": "e", "data": data, "user": {} }))
}

fn part() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("async.data.x"),
        Just("async.data.y"),
        Just("event.data.x"),
        Just("event.data.y"),
        Just("1"),
        Just("0"),
        Just("-1"),
        Just("'a'"),
        Just("''"),
        Just("true"),
        Just("false"),
        Just("null"),
        Just("1.5"),
        Just("async.data.x.q"),
    ]
    .prop_map(str::to_owned)
}

fn expression() -> impl Strategy<Value = String> {
    let comparison =
        (part(), prop_oneof![Just("=="), Just("!="), Just("<"), Just("<="), Just(">"), Just(">=")], part())
            .prop_map(|(a, op, b)| format!("({a} {op} {b})"));
    let member = (part(), part()).prop_map(|(a, b)| format!("({a} in [{b}, 'b'])"));
    let within = part().prop_map(|a| format!("({a} in async.data.x)"));
    let plain = prop_oneof![Just("(async.data.x)".to_owned()), Just("(event.data.y)".to_owned())];
    let leaf = prop_oneof![4 => comparison, 1 => member, 1 => within, 1 => plain];
    leaf.prop_recursive(3, 12, 2, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} && {b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} || {b})")),
            inner.clone().prop_map(|a| format!("!{a}")),
            (inner.clone(), inner.clone(), inner).prop_map(|(a, b, c)| format!("({a} ? {b} : {c})")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    /// The same answer with and without an index.
    #[test]
    fn whatever_matches_has_an_anchor(text in expression(), trigger in event(), later in event()) {
        let Ok(expression) = Expression::compile(&text, Roots::EventAndAsync) else { return Ok(()) };
        let bindings = expression.bind(&trigger).unwrap();
        let stored = Bindings::from_json(&bindings.to_json()).unwrap();
        prop_assert_eq!(&stored, &bindings);
        if expression.matches_bound(&stored, &later, NOW) == Ok(true) {
            match expression.anchors(&stored) {
                Anchors::Any => {}
                Anchors::Never => prop_assert!(false, "{} matches {}", text, later),
                Anchors::OneOf(anchors) => {
                    prop_assert!(anchors.iter().any(|anchor| anchor.holds(&later)), "{} {:?} {}", text, anchors, later);
                }
            }
        }
    }

    #[test]
    fn no_text_is_too_odd(text in "[a-z0-9 .,:?!=<>&|+*/%()\\[\\]{}'\"\\\\-]{0,60}", data in event()) {
        if let Ok(expression) = Expression::parse(&text) {
            let _any_outcome = expression.evaluate(&data, Some(&data), NOW);
            let bindings = expression.bind(&data).unwrap();
            let _any_outcome = expression.matches_bound(&bindings, &data, NOW);
            let _any_anchors = expression.anchors(&bindings);
        }
        let _any_outcome = Expression::compile(&text, Roots::Event);
    }
}

#[test]
fn a_search_names_what_is_known_of_a_run() {
    let roots = serde_json::json!({
        "event": { "name": "a", "data": { "n": 1 } }, "output": { "num": 12 }, "error": null,
        "run": { "status": "COMPLETED" }, "function": { "slug": "app-f" }, "app": { "name": "app" }, "duration_ms": 5,
    });
    for (text, expected) in [
        ("event.name == 'a' && output.num > 11", true),
        ("error.message == 'fail'", false),
        ("output.num == 'twelve'", false),
        ("run.status == \"COMPLETED\" && function.slug == 'app-f' && app.name == 'app'", true),
        ("duration_ms > 4 && duration_ms < 6", true),
        ("output == 3", false),
    ] {
        let expression = Expression::compile(text, Roots::Run).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(expression.matches_roots(&roots, Millis(0)), Ok(expected), "{text}");
    }
    for text in ["status == 'x'", "async.data.x == 1", "event.", "runs()"] {
        assert!(Expression::compile(text, Roots::Run).is_err(), "{text}");
    }
    assert!(Expression::compile("output.x == 1", Roots::Event).is_err(), "only a search has outputs");
}

#[test]
fn texts_that_a_value_must_be_one_of_are_found() {
    let table: [(&str, Option<&[&str]>); 9] = [
        ("event.name == 'a'", Some(&["a"])),
        ("'a' == event.name && event.data.x == 1", Some(&["a"])),
        (
            "event.name in ['a', 'b'] && (event.name == 'a' || event.name == 'b' || event.name == 'c')",
            Some(&["a", "b"]),
        ),
        ("event.name == 'a' || event.name == 'b'", Some(&["a", "b"])),
        ("event.name == 'a' || event.data.x == 1", None),
        ("event.name != 'a'", None),
        ("!(event.name == 'a')", None),
        ("event.data.name == 'a'", None),
        ("event.name == event.data.x", None),
    ];
    for (text, expected) in table {
        let expression = Expression::compile(text, Roots::Run).unwrap();
        assert_eq!(expression.texts_at("event", "name").as_deref(), expected, "{text}");
    }
}
