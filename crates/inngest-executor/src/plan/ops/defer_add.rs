//! `DeferAdd`: another function is to run when this run has ended. Lazy: it rides along with other ops.

use std::sync::Arc;

use inngest_core::{Payload, limits, sessions};
use inngest_state::{Change, Defer, DeferStatus};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::opts;
use crate::plan::draft::Draft;
use crate::response::OpReport;

#[derive(Deserialize, Default)]
#[serde(default)]
struct Opts<'a> {
    fn_slug: Option<String>,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
    #[serde(borrow)]
    meta: Option<&'a RawValue>,
}

/// Keeps what is asked for. What is not acceptable is kept as refused and never fails the run.
pub(in crate::plan) fn add(draft: &mut Draft<'_>, report: &OpReport) {
    let known = draft.defers();
    if known.iter().any(|defer| defer.id == report.id) || known.len() >= limits::DEFERS_PER_RUN_MAX {
        return;
    }
    let opts: Opts<'_> = opts(report).unwrap_or_default();
    let input = opts.input.map_or("{}", RawValue::get);
    let meta = opts.meta.map(RawValue::get).filter(|meta| *meta != "null");
    // What is stored is what the event will have: the sessions of the input, filled up with those of the run.
    let sessions = meta.map_or(Ok(None), |meta| sessions::merge(meta.as_bytes()));
    let total: usize = known.iter().map(|defer| defer.input.len()).sum();
    let function = opts.fn_slug.filter(|slug| !slug.is_empty());
    let acceptable = function.is_some()
        && input.starts_with('{')
        && total + input.len() <= limits::DEFER_INPUT_BYTES_MAX
        && meta.is_none_or(|meta| meta.starts_with('{') && meta.len() <= limits::DEFER_META_BYTES_MAX)
        && sessions.is_ok();
    let keep = |text: &str| Payload::copy_from_slice(text.as_bytes());
    let defer = Defer {
        id: report.id.clone(),
        name: Arc::clone(&report.display_name),
        function: function.unwrap_or_default().into(),
        input: if acceptable { keep(input) } else { Payload::new() },
        meta: sessions.ok().flatten().filter(|_| acceptable).map(Payload::from),
        status: if acceptable { DeferStatus::AfterRun } else { DeferStatus::Rejected },
    };
    draft.changes.push(Change::PutDefer(draft.planning.run.id, Box::new(defer)));
}
