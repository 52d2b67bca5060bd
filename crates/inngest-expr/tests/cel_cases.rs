//! Every case of `cel_cases.json`: what the Go server makes of an expression, or what it should make of it.

use inngest_expr::cases::{Verdict, check_expression};
use serde_json::{Value, json};

#[test]
fn every_case_has_its_answer() {
    let cases: Vec<Value> = serde_json::from_str(include_str!("data/cel_cases.json")).unwrap();
    let count = |wanted: fn(&Verdict) -> bool| cases.iter().map(check_expression).filter(wanted).count();
    let problems: Vec<String> = cases
        .iter()
        .filter_map(|case| match check_expression(case) {
            Verdict::Differs(problem) => Some(format!("{}: {problem}", case["expr"])),
            _ => None,
        })
        .collect();
    assert!(problems.is_empty(), "{}\n{}", problems.len(), problems.join("\n"));
    assert_eq!((cases.len(), count(|verdict| matches!(verdict, Verdict::Deviates(_)))), (488, 2));
}

#[test]
fn a_wrong_case_differs() {
    let event = json!({ "data": { "a": 1, "b": "x" } });
    let table = [
        (json!({ "expr": "event.data.a", "event": event, "result": 2 }), "expected 2 (any type), found 1.0 (double)"),
        (json!({ "expr": "event.data.a", "event": event, "result": 1, "type": "string" }), "found 1.0 (double)"),
        (json!({ "expr": "event.data.a", "event": event, "error": "x" }), "expected the error \"x\", found 1.0"),
        (json!({ "expr": "event.data.a ==", "event": event, "result": true }), "found an error of kind compile"),
        (
            json!({ "expr": "event.data.a ==", "event": event, "error": "x", "error_kind": "eval" }),
            "expected an error of kind \"eval\", found compile",
        ),
        (json!({ "expr": "x", "typechecks": true }), "type check: expected true, but error compiling"),
        (json!({ "expr": "event.data.b.size() == 1", "restrictive_ok": true }), "policy of cancellations"),
        (json!({}), "the case has no `expr`"),
        (json!(7), "the case has no `expr`"),
    ];
    for (case, problem) in table {
        let verdict = check_expression(&case);
        assert!(matches!(&verdict, Verdict::Differs(text) if text.contains(problem)), "{case}: {verdict:?}");
    }
}
