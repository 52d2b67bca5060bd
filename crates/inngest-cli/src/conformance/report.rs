//! What a run of the suites found, in the forms that people and machines read.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::catalogue::{CASES, Case};
use crate::output::{Table, list, plain, text};

/// The version of the JSON.
const SCHEMA: &str = "v1alpha1";

/// What became of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Passed,
    /// Why it did not.
    Failed(String),
    NotImplemented,
    /// Why it could not be tried.
    NotEvaluable(String),
}

impl Outcome {
    /// Status, reason code and reason.
    fn parts(&self) -> (&'static str, Option<&'static str>, Option<&str>) {
        match self {
            Self::Passed => ("passed", None, None),
            Self::Failed(why) => ("failed", Some("behavior_mismatch"), Some(why)),
            Self::NotImplemented => ("not_implemented", Some("not_implemented"), Some("there is no test of it yet")),
            Self::NotEvaluable(why) => ("not_evaluable", Some("transport_setup_failed"), Some(why)),
        }
    }
}

/// The report in JSON, of which the other forms are made.
pub(super) fn json(outcomes: &[(Case, Outcome)]) -> Value {
    let cases: Vec<Value> = outcomes
        .iter()
        .map(|(case, outcome)| {
            let (status, code, reason) = outcome.parts();
            json!({
                "case_id": case.id, "suite_id": case.suite, "status": status, "reason_code": code, "reason": reason,
                "artifact_ref": null,
            })
        })
        .collect();
    let mut features: Vec<&str> = CASES.iter().flat_map(|case| case.features).copied().collect();
    features.sort_unstable();
    let of =
        |feature: &str| outcomes.iter().filter(move |(case, _)| case.features.contains(&feature)).collect::<Vec<_>>();
    let features = features.into_iter().filter(|feature| !of(feature).is_empty()).map(|feature| {
        let backing = of(feature);
        let worst = backing.iter().map(|(_, outcome)| outcome.parts()).find(|(_, code, _)| code.is_some());
        let (_, code, reason) = worst.unwrap_or(("passed", None, None));
        json!({
            "feature_id": feature, "compatibility": compatibility(backing.iter().map(|(_, outcome)| outcome)),
            "reason_code": code, "reason": reason,
            "backing_case_ids": backing.iter().map(|(case, _)| case.id).collect::<Vec<_>>(),
        })
    });
    json!({
        "schema_version": SCHEMA, "transport": "serve",
        "compatibility": compatibility(outcomes.iter().map(|(_, outcome)| outcome)),
        "features": features.collect::<Vec<_>>(), "cases": cases,
    })
}

/// What was tried decides; what was not does not count against it.
fn compatibility<'o>(outcomes: impl Iterator<Item = &'o Outcome>) -> &'static str {
    let (mut passed, mut failed) = (0, 0);
    for outcome in outcomes {
        passed += usize::from(*outcome == Outcome::Passed);
        failed += usize::from(matches!(outcome, Outcome::Failed(_)));
    }
    match (passed, failed) {
        (0, 0) => "unknown",
        (_, 0) => "full",
        (0, _) => "incompatible",
        _ => "partial",
    }
}

/// Whether a case failed, or could not be tried.
pub(super) fn has_failed(report: &Value) -> bool {
    list(&report["cases"]).iter().any(|case| matches!(case["status"].as_str(), Some("failed" | "not_evaluable")))
}

/// The report as `pretty`, `json`, `junit` or `markdown`.
pub(super) fn render(report: &Value, format: &str) -> String {
    match format {
        "json" => format!("{report:#}\n"),
        "junit" => junit(report),
        "markdown" => markdown(report),
        _ => pretty(report),
    }
}

fn pretty(report: &Value) -> String {
    let mut table = Table::new(["CASE", "SUITE", "STATUS", "REASON"]);
    for case in list(&report["cases"]) {
        table.push([text(&case["case_id"]), text(&case["suite_id"]), text(&case["status"]), text(&case["reason"])]);
    }
    format!("{}\nCompatibility: {}\n", table.print(), text(&report["compatibility"]))
}

fn markdown(report: &Value) -> String {
    let mut out = format!(
        "# Conformance: {}\n\n| Case | Suite | Status | Reason |\n|---|---|---|---|\n",
        text(&report["compatibility"])
    );
    let cell = |value: &Value| text(value).replace('|', "\\|");
    for case in list(&report["cases"]) {
        let cells = ["case_id", "suite_id", "status", "reason"].map(|member| cell(&case[member]));
        // Writing to a string does not fail.
        let _written = writeln!(out, "| {} |", cells.join(" | "));
    }
    out
}

fn junit(report: &Value) -> String {
    let cases = list(&report["cases"]);
    let count = |statuses: &[&str]| {
        cases.iter().filter(|case| case["status"].as_str().is_some_and(|status| statuses.contains(&status))).count()
    };
    let (failures, skipped) = (count(&["failed", "not_evaluable"]), count(&["not_implemented", "skipped"]));
    let mut out = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n".to_owned();
    // Writing to a string does not fail.
    let _written = writeln!(
        out,
        "<testsuite name=\"inngest-conformance\" tests=\"{}\" failures=\"{failures}\" skipped=\"{skipped}\">",
        cases.len()
    );
    for case in cases {
        let xml = |member: &str| escaped(&text(&case[member]));
        let inner = match case["status"].as_str() {
            Some("passed") => String::new(),
            Some("failed" | "not_evaluable") => {
                format!("<failure type=\"{}\" message=\"{}\"/>", xml("reason_code"), xml("reason"))
            }
            _ => format!("<skipped message=\"{}\"/>", xml("reason")),
        };
        let (suite, id) = (xml("suite_id"), xml("case_id"));
        let _written = writeln!(out, "  <testcase classname=\"{suite}\" name=\"{id}\">{inner}</testcase>");
    }
    out.push_str("</testsuite>\n");
    out
}

fn escaped(text: &str) -> String {
    plain(text).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Value {
        json(&[
            (CASES[0], Outcome::Passed),
            (CASES[1], Outcome::Failed("a <b> | \"c\"".to_owned())),
            (CASES[5], Outcome::NotImplemented),
        ])
    }

    #[test]
    fn a_report_counts_what_was_tried() {
        let report = report();
        assert_eq!((&report["compatibility"], has_failed(&report)), (&json!("partial"), true));
        let feature = |id: &str| list(&report["features"]).iter().find(|one| one["feature_id"] == id).cloned().unwrap();
        assert_eq!(feature("invocation")["compatibility"], "full");
        assert_eq!(feature("steps")["compatibility"], "incompatible");
        assert_eq!((&feature("malformed-input")["compatibility"]), &json!("unknown"));
        assert_eq!(report["cases"][1]["reason_code"], "behavior_mismatch");
        let passed = json(&[(CASES[0], Outcome::Passed), (CASES[5], Outcome::NotImplemented)]);
        assert_eq!((&passed["compatibility"], has_failed(&passed)), (&json!("full"), false));
        assert!(has_failed(&json(&[(CASES[0], Outcome::NotEvaluable("x".to_owned()))])));
    }

    #[test]
    fn a_report_has_forms_for_machines_and_people() {
        let junit = render(&report(), "junit");
        assert!(junit.contains("tests=\"3\" failures=\"1\" skipped=\"1\""), "{junit}");
        let failure = "<failure type=\"behavior_mismatch\" message=\"a &lt;b&gt; | &quot;c&quot;\"/></testcase>";
        assert!(junit.contains(&format!("<testcase classname=\"core\" name=\"steps-serial\">{failure}")), "{junit}");
        let markdown = render(&report(), "markdown");
        assert!(markdown.contains("| steps-serial | core | failed | a <b> \\| \"c\" |\n"), "{markdown}");
        assert!(render(&report(), "pretty").contains("steps-serial       core      failed           a <b>"));
        assert_eq!(serde_json::from_str::<Value>(&render(&report(), "json")).unwrap(), report());
    }
}
