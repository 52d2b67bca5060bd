//! Expressions and what the Inngest servers make of them: the cases that this build evaluates, with their
//! answers, and texts that are no CEL at all.

use inngest_expr::expression::Expression;
use serde_json::Value;

#[test]
fn every_case_gives_its_answer() {
    let data: Value = serde_json::from_str(include_str!("data/cel_cases.json")).unwrap();
    let list = |name: &str| data[name].as_array().unwrap().as_slice();
    assert!(list("cases").len() >= 47 && list("refused").len() >= 13);
    for case in list("cases") {
        let text = case["expr"].as_str().unwrap();
        let event = &list("events")[usize::try_from(case["event"].as_u64().unwrap()).unwrap()];
        let expression = Expression::compile(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(expression.matches(event).ok(), case["result"].as_bool(), "{text}");
    }
    for text in list("refused") {
        assert!(Expression::compile(text.as_str().unwrap()).is_err(), "{text}");
    }
}
