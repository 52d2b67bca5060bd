//! `Sleep`: the run, or a branch of it, goes on at a given time. The value of the step is `null`.

use std::borrow::Cow;

use inngest_core::limits;
use inngest_expr::duration::DurationError;
use inngest_expr::time_spec::{self, TimeError};
use inngest_queue::{JobId, JobKind, StepRef};
use inngest_state::StepOp;
use inngest_state::trace::StepDetail;
use serde::Deserialize;

use super::NULL;
use crate::plan::draft::{Draft, Result};
use crate::plan::retry::Failure;
use crate::plan::server_error::ServerError;
use crate::response::OpReport;

pub(super) fn add(draft: &mut Draft<'_>, report: &OpReport) {
    let planning = draft.planning;
    let text = duration(report);
    let until = match time_spec::until(&text, planning.now) {
        Ok(until) => until.max(planning.now),
        Err(TimeError::Duration(DurationError::TooLong)) => return draft.fail_run(ServerError::sleep_too_long(&text)),
        Err(error) => {
            let message = format!("The sleep \"{}\" cannot be understood: {error}", &*text);
            let error = ServerError::new("InvalidStepOptions", message).into_function_error();
            let step = StepRef { id: report.id.clone(), name: report.display_name.clone() };
            return draft.fail_attempt(Failure { step: Some(step), ..Failure::new(error) });
        }
    };
    if until > planning.now.plus(limits::SLEEP_MAX) {
        return draft.fail_run(ServerError::sleep_too_long(&text));
    }
    let id = JobId::sleep(planning.run.id, &report.id);
    let step = StepRef { id: report.id.clone(), name: report.display_name.clone() };
    if draft.put(draft.job(id, JobKind::Sleep(step), until)) {
        draft.detail(&report.id, StepDetail::Sleep { until });
    }
}

/// The time of the job has come: its step is resolved.
pub(in crate::plan) fn wake(draft: &mut Draft<'_>) {
    let Some(step) = draft.planning.item.step().cloned() else { return };
    draft.record(Result { step, op: StepOp::Sleep, value: NULL, failed: false, input: None, timing: None });
}

/// `opts.duration`, else the name of the op.
fn duration(report: &OpReport) -> Cow<'_, str> {
    #[derive(Deserialize)]
    struct Opts<'a> {
        #[serde(borrow, default)]
        duration: Option<Cow<'a, str>>,
    }
    let opts = report.opts.as_deref().and_then(|opts| serde_json::from_slice::<Opts<'_>>(opts).ok());
    let duration = opts.and_then(|opts| opts.duration).filter(|text| !text.is_empty());
    duration.unwrap_or_else(|| report.name.as_deref().unwrap_or_default().into())
}
