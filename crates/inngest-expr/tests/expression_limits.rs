//! What an expression may cost: stack, time and memory, whatever its text and the events.

use inngest_core::Millis;
use inngest_expr::expression::{EvalError, Expression, Roots};
use serde_json::{Value as Json, json};

const NOW: Millis = Millis(1_800_000_000_000);

/// Everything that is done with an expression, however it ends. The number says whether it was accepted.
fn use_it(text: &str, event: &Json) -> bool {
    let _any_outcome = Expression::compile(text, Roots::EventAndAsync);
    let Ok(expression) = Expression::parse(text) else { return false };
    let _any_outcome = expression.evaluate(event, Some(event), NOW).map(|value| value.to_string());
    let _any_outcome = expression.check_restrictive();
    let bindings = expression.bind(event).expect("small");
    let _any_outcome = expression.matches_bound(&bindings, event, NOW);
    let _any_outcome = expression.anchors(&bindings);
    true
}

/// Texts that go down `levels` levels, in every way there is.
fn deep(levels: usize) -> Vec<String> {
    let around =
        |open: &str, inner: &str, close: &str| format!("{}{inner}{}", open.repeat(levels), close.repeat(levels));
    vec![
        around("", "1", "+1"),
        around("", "1", "==1"),
        around("", "true", "&&true||true"),
        around("(", "1", ")"),
        around("!", "true", ""),
        around("-", "a", ""),
        around("!(", "true", ")"),
        around("-(", "1", ")"),
        around("[", "1", "]"),
        around("{1:", "1", "}"),
        around("f(", "1", ")"),
        around("", "event", ".a"),
        around("", "f()", ".a"),
        around("", "event", "[0]"),
        around("event[", "0", "]"),
        around("", "event", ".f()"),
        around("event.f(", "1", ")"),
        around("", "l", ".map(a,a)"),
        around("[1].map(a,[a]", "", ")"),
        around("[1].all(a,", "event.data.deep == event.data.deep", ")"),
        around("true?(", "1", "):1"),
        around("true?1:", "1", ""),
        around("(true?", "1", ":1)"),
        around("1||1&&1==1+1*(", "1", ")"),
        around("event.data.x==1&&(event.data.y==2||", "true", ")"),
        around("size([", "async.data.deep", "])"),
        around("(", "event", ".a)"),
        around("(!", "true", ")"),
        around("has(f(", "event", ").a)"),
    ]
}

fn nested(levels: usize) -> Json {
    (0..levels).fold(json!(1), |inner, level| if level % 2 == 0 { json!([inner]) } else { json!({ "a": inner }) })
}

/// Runs it with the stack of a small thread.
fn on_a_small_stack(work: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().stack_size(512 * 1024).spawn(work).expect("a thread").join().expect("no panic");
}

#[test]
fn no_expression_overflows_the_stack() {
    on_a_small_stack(|| {
        let event = json!({ "name": "e", "data": { "deep": nested(95) } });
        for levels in [10, 45, 48, 49, 50, 51, 90, 95, 97, 98, 99, 100, 101, 102, 500, 1_300, 4_000] {
            for text in deep(levels) {
                let accepted = use_it(&text, &event);
                assert!(accepted || levels > 10, "{text}");
                assert!(!accepted || levels < 500 || text.contains("&&true||true"), "{levels}: {text:.60}");
            }
        }
    });
}

#[test]
fn a_long_list_of_alternatives_is_no_deep_expression() {
    let text = (0..100).map(|index| format!("event.data.id == 'x{index}'")).collect::<Vec<_>>().join(" || ");
    let all = text.replace("||", "&&").replace("==", "!=");
    let event = json!({ "data": { "id": "x99" } });
    for (text, expected) in [(text, true), (all, false)] {
        assert_eq!(Expression::compile(&text, Roots::Event).unwrap().matches(&event, NOW), Ok(expected), "{text}");
    }
}

#[test]
fn what_is_too_deep_is_told_so() {
    let error = Expression::parse(&format!("1{}", "+1".repeat(200))).unwrap_err();
    assert!(error.to_string().contains("nested deeper than 100"), "{error}");
}

/// Data that is as large as an event can be, or whose text or list is made much larger by an expression.
fn costly() -> Json {
    let list: Vec<u32> = (0..20_000).collect();
    let objects: Vec<Json> = list.iter().map(|id| json!({ "id": id })).collect();
    let texts: Vec<String> = (0..2_000).map(|index| format!("^a{index}")).collect();
    let long = "x".repeat(1 << 20);
    let json = serde_json::to_string(&list).expect("serialises");
    json!({ "data": { "l": list, "o": objects, "p": texts, "s": long, "j": format!("{{\"l\":{json}}}"), "half": "x".repeat(1 << 19) } })
}

#[test]
fn no_evaluation_goes_on_for_ever() {
    on_a_small_stack(costly_evaluations);
}

fn costly_evaluations() {
    let event = costly();
    let doubled = |first: &str, step: &str| format!("{first}{}", format!(".map(a,{step})").repeat(90));
    let deep = doubled("[['x']]", "[a,a]");
    for text in [
        "event.data.l.all(x, !(-1.0 - x in event.data.l))",
        "event.data.l.all(x, !(event.data.l != event.data.l))",
        "event.data.o.all(x, event.data.o == event.data.o)",
        "event.data.l.exists(a, event.data.l.exists(b, event.data.l.exists(c, false)))",
        "event.data.l.map(x, event.data.l.map(y, y)) == []",
        "event.data.l.filter(x, event.data.l.exists_one(y, y == x)) == []",
        "event.data.l.all(x, event.data.s.contains('y') == false)",
        "event.data.l.all(x, event.data.s == event.data.s)",
        "event.data.l.all(x, event.data.s <= event.data.s)",
        "event.data.l.all(x, size(event.data.s) > 0)",
        "event.data.l.all(x, lowercase(event.data.s) != '')",
        "event.data.l.all(x, b64decode(event.data.s) != '')",
        "event.data.l.all(x, bytes(event.data.s) != b'')",
        "event.data.l.all(x, json_parse(event.data.j) != {})",
        "[json_parse(event.data.j)].all(j, event.data.l.all(x, j.l == j.l))",
        "event.data.l.all(x, event.data.half + event.data.half != '')",
        "event.data.l.all(x, event.data.l + event.data.l != [])",
        "event.data.l.all(x, 'a' + event.data.l != '')",
        "event.data.l.all(x, !event.data.s.matches('y'))",
        "event.data.s.matches('(a|x)*y(a|x){200}')",
        "event.data.p.all(x, !'b'.matches(x))",
        "event.data.p.all(x, event.data.p.all(y, !'b'.matches(y)))",
        "event.data.l.all(x, event.data.l.size() > 0 && [1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31,32,33,34,35,36,37,38,39,40,41,42,43,44,45,46,47,48,49,50,51,52,53,54,55,56,57,58,59,60].size() > 0)",
        &doubled("['xxxxxxxx']", "a+a"),
        &doubled("[[1]]", "a+a"),
        &format!("{deep} == {deep}"),
        &format!("{deep} + '' == ''"),
        &format!("({deep})[0] in {{}} || [[{deep}]] + 'x' == ''"),
        // Whatever comes after, or makes something of an error.
        "event.data.l.all(x, event.data.l == event.data.l) || true",
        "!(event.data.l.exists(x, event.data.l.exists(y, x - y == 0.5))) || true",
        "(event.data.s.matches('(a|x)*y(a|x){200}') == 1) != true",
        "has({'a': event.data.l.map(x, event.data.l + event.data.l)}.a) ? true : true",
    ] {
        let expression = Expression::parse(text).unwrap_or_else(|error| panic!("{error}"));
        let began = std::time::Instant::now();
        let outcome = expression.evaluate(&event, Some(&event), NOW);
        println!("{:7.1} ms {text:.70}", began.elapsed().as_secs_f64() * 1e3);
        assert_eq!(outcome.map(|_| ()), Err(EvalError::TooCostly), "{text:.200}");
    }
}

#[test]
fn conditions_on_the_largest_events_are_not_too_costly() {
    let ids: Vec<u32> = (0..300_000).collect();
    let objects: Vec<Json> = (0..100_000).map(|id| json!({ "id": format!("x{id}") })).collect();
    let event = json!({ "data": { "l": ids, "o": objects, "s": "x".repeat(3 << 20), "id": "x99999" } });
    for (text, expected) in [
        ("299999.0 in event.data.l", true),
        ("event.data.l.exists(x, x == 299999)", true),
        ("event.data.l.all(x, x >= 0)", true),
        ("event.data.o.exists(x, x.id == event.data.id)", true),
        ("event.data.o.filter(x, x.id == event.data.id).size() == 1", true),
        ("event.data.s.contains('xy')", false),
        ("event.data.s == event.data.s && event.data.l == event.data.l", true),
        ("event.data.id.matches('^x[0-9]+$')", true),
    ] {
        let expression = Expression::compile(text, Roots::Event).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(expression.matches(&event, NOW), Ok(expected), "{text}");
    }
}

/// Finding out what an event must have is bounded too, and errs on the side of looking.
#[test]
fn constants_of_a_condition_are_bounded_together() {
    let event = costly();
    let one = "event.data.l == event.data.l + []";
    let text = vec![one; 60].join(" || ");
    let small = json!({ "data": { "l": (0..1_000).collect::<Vec<u32>>() } });
    let expression = Expression::compile(&text, Roots::EventAndAsync).expect("compiles");
    assert!(expression.bind(&event).is_err());
    let bindings = expression.bind(&small).expect("small");
    let _any = expression.anchors(&bindings);
    let costly =
        format!("async.data.x == 1 || !({})", vec!["size([event.data.l + event.data.l, 1]) == 0"; 60].join("||"));
    let large = json!({ "data": { "l": (0..10_000).collect::<Vec<u32>>() } });
    let expression = Expression::compile(&costly, Roots::EventAndAsync).expect("compiles");
    let bindings = expression.bind(&large).expect("below the limit");
    assert_eq!(expression.anchors(&bindings), inngest_expr::expression::Anchors::Any);
}
