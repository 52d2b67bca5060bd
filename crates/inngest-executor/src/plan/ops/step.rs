//! `Step`: a step of an old SDK, or Kotlin's `sendEvent`, returned. Its data stands in `steps` as it is.

use inngest_queue::StepRef;
use inngest_state::StepOp;

use super::NULL;
use super::step_failed::memo;
use crate::plan::draft::{Draft, Result};
use crate::response::OpReport;

pub(in crate::plan) fn add(draft: &mut Draft<'_>, report: OpReport) {
    let (value, failed) = match (report.data, &report.error) {
        (None, Some(error)) => (memo(Some(error), false), true),
        (data, _) => (data.unwrap_or(NULL), false),
    };
    draft.record(Result {
        step: StepRef { id: report.id, name: report.display_name },
        op: StepOp::Legacy,
        value,
        failed,
        input: report.input,
        timing: report.timing.as_ref(),
    });
}
