//! What an expression may cost: stack, time and memory, whatever its text and the events.

use inngest_core::Millis;
use inngest_expr::expression::{Expression, Roots};
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
