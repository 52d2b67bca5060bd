//! `StepRun`: a step returned. Its value is wrapped, so that `null` and an error can be told apart.

use inngest_queue::StepRef;
use inngest_state::StepOp;

use super::step_failed::memo;
use super::wrap;
use crate::plan::draft::{Draft, Result};
use crate::response::OpReport;

pub(in crate::plan) fn add(draft: &mut Draft<'_>, report: OpReport) {
    let (value, failed) = match (&report.data, &report.error) {
        (None, Some(error)) => (memo(Some(error), false), true),
        (data, _) => (wrap("data", data.as_deref().unwrap_or(b"null")), false),
    };
    draft.record(Result {
        step: StepRef { id: report.id, name: report.display_name },
        op: StepOp::Run,
        value,
        failed,
        input: report.input,
        timing: report.timing.as_ref(),
    });
}
