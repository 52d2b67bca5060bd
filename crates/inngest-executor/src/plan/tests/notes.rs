//! What ops say about their run and step besides results.

use inngest_core::Payload;
use inngest_state::{Change, Metadata};

use super::model::*;
use crate::plan;
use crate::response::{MetadataReport, OpReport};

fn notes(reports: Vec<OpReport>) -> Vec<Metadata> {
    let mut model = Model::new();
    let start = model.next().unwrap();
    let call = model.dispatch(&start);
    let transition = model.with_planning(&call.item, call.at, |planning| plan::plan(planning, &Ok(ops(reports))));
    let note = |change| match change {
        Change::PutMetadata(note) => Some(*note),
        _ => None,
    };
    transition.changes.into_iter().filter_map(note).collect()
}

#[test]
fn notes_and_experiments_go_to_their_step_or_their_run() {
    let note = |scope: &str, values: &str| MetadataReport {
        scope: scope.into(),
        kind: "userland.x".into(),
        op: "merge".into(),
        values: Payload::copy_from_slice(values.as_bytes()),
    };
    let opts = r#"{"experimentName":"e","selectionStrategy":"weighted","type":"group.experiment","variant":"v"}"#;
    let found = notes(vec![
        OpReport { metadata: vec![note("step", r#"{"a":1}"#), note("run", r#"{"b":2}"#)], ..ran("a") },
        OpReport { opts: Some(json(opts)), ..ran("b") },
        OpReport { opts: Some(json(r#"{"type":"experimentName"}"#)), ..ran("c") },
    ]);
    let shown: Vec<(Option<&str>, &str, &str)> = found
        .iter()
        .map(|note| {
            let values = std::str::from_utf8(&note.values).unwrap();
            (note.step.as_ref().map(inngest_core::StepId::as_str), &*note.kind, values)
        })
        .collect();
    assert_eq!(
        shown,
        [
            (Some("a"), "userland.x", r#"{"a":1}"#),
            (None, "userland.x", r#"{"b":2}"#),
            (Some("b"), "inngest.experiment", r#"{"name":"e","selection_strategy":"weighted","variant":"v"}"#),
        ]
    );
}
