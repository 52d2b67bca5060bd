//! What an op says about its run or step besides its result: `metadata`, and the experiment it belongs to.

use std::borrow::Cow;

use inngest_core::{Payload, canonical};
use inngest_state::{Change, Metadata};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::plan::draft::Draft;
use crate::response::{MetadataReport, OpReport};

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Opts<'a> {
    #[serde(borrow)]
    experiment_name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    variant: Option<Cow<'a, str>>,
    #[serde(borrow)]
    selection_strategy: Option<Cow<'a, str>>,
}

pub(in crate::plan) fn add(draft: &mut Draft<'_>, report: &OpReport) {
    if report.metadata.is_empty() && !names_an_experiment(report) || draft.is_recorded(&report.id) {
        return;
    }
    for note in report.metadata.iter().cloned().chain(experiment(report)) {
        let of_run = &*note.scope == "run" || report.id.as_str().is_empty();
        draft.changes.push(Change::PutMetadata(Box::new(Metadata {
            run: draft.planning.run.id,
            step: (!of_run).then(|| report.id.clone()),
            attempt: (&*note.scope == "step_attempt").then_some(draft.planning.item.attempt),
            span: None,
            scope: note.scope,
            kind: note.kind,
            op: note.op,
            values: note.values,
            at: draft.planning.now,
        })));
    }
}

fn names_an_experiment(report: &OpReport) -> bool {
    const NAME: &[u8] = b"\"experimentName\"";
    report.opts.as_ref().is_some_and(|opts| memchr::memmem::find(opts, NAME).is_some())
}

fn experiment(report: &OpReport) -> Option<MetadataReport> {
    if !names_an_experiment(report) {
        return None;
    }
    let opts: Opts<'_> = serde_json::from_slice(report.opts.as_deref()?).ok()?;
    let members = [
        ("name", Some(opts.experiment_name?)),
        ("selection_strategy", opts.selection_strategy),
        ("variant", opts.variant),
    ];
    let values: Map<String, Value> =
        members.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?.into()))).collect();
    let values = Value::Object(values);
    let values = canonical::canonicalise(values.to_string().as_bytes(), canonical::Numbers::Exact).ok()?;
    Some(MetadataReport {
        scope: "step".into(),
        kind: "inngest.experiment".into(),
        op: "merge".into(),
        values: Payload::from(values),
    })
}
