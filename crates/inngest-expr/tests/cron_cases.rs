//! Every case of `cron_cases.json`: what the Go server makes of a schedule, or what it should make of it.

use inngest_expr::cases::{Verdict, check_schedule};
use serde_json::{Value, json};

#[test]
fn every_case_has_its_times() {
    let cases: Vec<Value> = serde_json::from_str(include_str!("data/cron_cases.json")).unwrap();
    let (mut accepted, mut problems) = (0, Vec::new());
    for case in &cases {
        match check_schedule(case) {
            Verdict::Same => {}
            Verdict::Deviates(_) => accepted += 1,
            Verdict::Differs(problem) => problems.push(format!("{} from {}: {problem}", case["spec"], case["from"])),
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    assert_eq!((cases.len(), accepted), (95, 11));
}

#[test]
fn a_wrong_case_differs() {
    let from = "2024-02-27T22:58:30Z";
    let table = [
        (json!({ "spec": "* * * * *", "from": from, "next": ["2024-02-27T23:59:00Z"] }), "expected [Millis("),
        (json!({ "spec": "* * * * *", "from": from, "registrable": false }), "expected to be refused"),
        (json!({ "spec": "61 * * * *", "from": from, "next": [] }), "61"),
        (json!({ "spec": "* * * * *", "from": "soon", "next": [] }), "no `from`"),
        (json!({ "spec": "* * * * *", "from": from }), "no `next`"),
        (json!({}), "no `spec`"),
    ];
    for (case, problem) in table {
        let verdict = check_schedule(&case);
        assert!(matches!(&verdict, Verdict::Differs(text) if text.contains(problem)), "{case}: {verdict:?}");
    }
}
