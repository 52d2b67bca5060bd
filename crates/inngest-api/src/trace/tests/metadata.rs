use inngest_core::RunStatus;
use inngest_state::{Metadata, StepOp};
use serde_json::{Value, json};

use super::*;

impl Rows {
    fn note(mut self, step: Option<(&str, Option<u32>)>, kind: &str, op: &str, values: &Value) -> Self {
        let at = at(i64::try_from(self.0.metadata.len()).unwrap());
        self.0.metadata.push(Metadata {
            run: this(),
            step: step.map(|(step, _)| StepId::from(step)),
            attempt: step.and_then(|(_, attempt)| attempt),
            span: None,
            scope: if step.is_some() { "step" } else { "run" }.into(),
            kind: kind.into(),
            op: op.into(),
            values: payload(&values.to_string()),
            at,
        });
        self
    }
}

/// What is not about requests.
fn notes(span: &Span) -> Vec<(String, Value)> {
    let notes = span.metadata.iter().filter(|note| &*note.scope != "request");
    notes.map(|note| (note.kind.to_string(), Value::Object(note.values.clone()))).collect()
}

#[test]
fn notes_are_put_together_in_order() {
    let step = Some(("a", None));
    let rows = Rows::running(1)
        .run("a", start(), (0, 1, 2))
        .note(step, "userland.m", "merge", &json!({ "a": 1, "b": 1 }))
        .note(step, "userland.m", "merge", &json!({ "b": 2 }))
        .note(step, "userland.m", "delete", &json!(["a"]))
        .note(step, "userland.add", "add", &json!({ "n": 1, "x": 0.5 }))
        .note(step, "userland.add", "add", &json!({ "n": 2, "x": 1 }))
        .note(step, "userland.set", "merge", &json!({ "old": 1 }))
        .note(step, "userland.set", "set", &json!({ "new": 1 }))
        .note(step, "userland.gone", "set", &json!({ "k": 1 }))
        .note(step, "userland.gone", "delete", &json!({ "k": 0 }))
        .note(Some(("nobody", None)), "inngest.score", "merge", &json!({ "s": { "value": 1 } }));
    let tree = rows.tree();
    let expected = [
        ("userland.add".to_owned(), json!({ "n": 3, "x": 1.5 })),
        ("userland.m".to_owned(), json!({ "b": 2 })),
        ("userland.set".to_owned(), json!({ "new": 1 })),
    ];
    assert_eq!(notes(&tree.children[0]), expected);
    assert_eq!(tree.children[0].metadata[0].scope.as_ref(), "request", "by scope, then by kind");
}

#[test]
fn a_step_that_asks_twice_has_used_the_sum() {
    let step = Some(("a", None));
    let rows = Rows::running(1)
        .run("a", start(), (0, 1, 2))
        .note(step, "inngest.ai", "merge", &json!({ "input_tokens": 3, "max_tokens": 10, "request_model": "x" }))
        .note(step, "inngest.ai", "merge", &json!({ "input_tokens": 4, "max_tokens": 10, "request_model": "y" }));
    let values = json!({ "input_tokens": 7, "max_tokens": 10, "request_model": "y" });
    assert_eq!(notes(&rows.tree().children[0]), [("inngest.ai".to_owned(), values)]);
}

#[test]
fn notes_of_an_attempt_are_with_it() {
    let rows = Rows::running(1)
        .attempt(start(), Some("a"), 0, (0, 1, 2), 206, Some(3))
        .step("a", StepOp::Run, start(), 1, (0, 4, 5))
        .note(Some(("a", None)), "userland.step", "set", &json!({ "v": 0 }))
        .note(Some(("a", Some(0))), "userland.first", "set", &json!({ "v": 0 }))
        .note(Some(("a", Some(1))), "userland.second", "set", &json!({ "v": 0 }));
    let tree = rows.tree();
    let kinds = |span: &Span| notes(span).into_iter().map(|(kind, _)| kind).collect::<Vec<_>>();
    let step = &tree.children[0];
    assert_eq!(kinds(step), ["userland.second", "userland.step"], "of the step, and of its last attempt");
    assert_eq!(kinds(&step.children[0]), ["userland.first"]);
    assert_eq!(kinds(&step.children[1]), ["userland.second"]);
}

#[test]
fn a_run_tells_how_much_is_noted() {
    let rows = Rows::ended(RunStatus::Completed, 1, 2);
    assert_eq!(notes(&rows.tree()), []);
    let rows = rows.note(None, "inngest.score", "merge", &json!({ "s": { "value": true } }));
    let bytes = r#"{"s":{"value":true}}"#.len();
    let expected = [
        ("inngest.score".to_owned(), json!({ "s": { "value": true } })),
        ("inngest.usage".to_owned(), json!({ "metadata_bytes": bytes })),
    ];
    assert_eq!(notes(&rows.tree()), expected);
}

#[test]
fn calls_tell_how_long_they_took() {
    let rows = Rows::running(10).attempt(start(), Some("a"), 0, (0, 10, 30), 206, Some(100)).step(
        "a",
        StepOp::Run,
        start(),
        1,
        (0, 107, 110),
    );
    let tree = rows.tree();
    let values = |span: &Span, kind: &str, key: &str| {
        span.metadata.iter().find(|note| &*note.kind == kind).unwrap().values[key].clone()
    };
    let [first, second] = &tree.children[0].children[..] else { panic!("two attempts") };
    assert_eq!(values(first, "inngest.timing", "queue_delay_ms"), 10);
    assert_eq!(values(second, "inngest.timing", "queue_delay_ms"), 7, "from when it could begin");
    assert_eq!(values(second, "inngest.timing", "network_total_ms"), 3);
    assert_eq!(values(second, "inngest.http.timing", "total_ms"), 3);
    assert_eq!(values(&tree.children[0], "inngest.http.timing", "total_ms"), 3, "as its last attempt");
}
