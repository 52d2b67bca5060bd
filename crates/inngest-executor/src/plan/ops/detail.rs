//! The type of a step that is no plain `step.run`: `step.sendEvent`, `step.ai.wrap`, ..

use std::borrow::Cow;

use inngest_state::trace::StepDetail;
use serde::Deserialize;

use crate::plan::draft::Draft;
use crate::response::{Op, OpReport};

/// A longer type is none.
const TYPE_BYTES_MAX: usize = 128;

#[derive(Deserialize)]
struct Opts<'a> {
    #[serde(borrow, rename = "type")]
    sdk_type: Cow<'a, str>,
}

/// Steps without a type, nearly all, cost no more than a look at their options.
pub(in crate::plan) fn add(draft: &mut Draft<'_>, report: &OpReport) {
    if !matches!(report.op, Op::Step | Op::StepRun | Op::StepError | Op::StepFailed | Op::StepPlanned) {
        return;
    }
    if let Some(sdk_type) = sdk_type(report)
        && !draft.is_recorded(&report.id)
    {
        draft.detail(&report.id, StepDetail::Run { sdk_type: sdk_type.into() });
    }
}

fn sdk_type(report: &OpReport) -> Option<Cow<'_, str>> {
    let opts = report.opts.as_deref()?;
    memchr::memmem::find(opts, b"\"type\":\"")?;
    let Opts { sdk_type } = serde_json::from_slice(opts).ok()?;
    (!sdk_type.is_empty() && sdk_type.len() <= TYPE_BYTES_MAX).then_some(sdk_type)
}
