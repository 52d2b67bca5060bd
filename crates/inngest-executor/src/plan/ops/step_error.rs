//! `StepError`: a step failed, and the SDK would try it again. The server counts: while attempts are left the
//! whole job is tried again, after that the error becomes the value of the step.

use inngest_queue::StepRef;

use super::step_failed;
use crate::plan::draft::Draft;
use crate::plan::retry::Failure;
use crate::response::{FunctionError, OpReport};

pub(super) fn add(draft: &mut Draft<'_>, report: OpReport) {
    if draft.is_recorded(&report.id) {
        draft.repeated = true;
        return;
    }
    if !draft.may_retry_step() {
        let no_retry = draft.answer.no_retry;
        return step_failed::record(draft, report, no_retry);
    }
    let error = FunctionError { output: None, error: step_failed::attempt_error(report.error.as_ref()) };
    let step = StepRef { id: report.id, name: report.display_name };
    draft.fail_attempt(Failure { step: Some(step), error, retry: true });
}
