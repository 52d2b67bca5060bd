//! `DeferAbort`: a function that was to run when this run has ended is not to.

use inngest_core::StepId;
use inngest_state::Change;
use serde::Deserialize;

use super::opts;
use crate::plan::draft::Draft;
use crate::response::OpReport;

#[derive(Deserialize, Default)]
#[serde(default)]
struct Opts {
    target_hashed_id: Option<String>,
}

pub(in crate::plan) fn add(draft: &mut Draft<'_>, report: &OpReport) {
    let opts: Opts = opts(report).unwrap_or_default();
    let Some(target) = opts.target_hashed_id.map(|id| StepId::from(id.as_str())) else { return };
    if !draft.defers().iter().any(|defer| defer.id == target) {
        tracing::debug!(run_id = %draft.planning.run.id, %target, "a defer that is not known was aborted");
    }
    draft.changes.push(Change::AbortDefer(draft.planning.run.id, target));
}
