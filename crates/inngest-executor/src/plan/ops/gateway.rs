//! `Gateway` (`step.fetch`) and `AIGateway` (`step.ai.infer`): the server makes an HTTP request in place of the app.
//!
//! The op is not stored, since it may carry the key of a provider: the engine keeps it in memory. After a crash the
//! app is asked for it again, with a discovery call of the very job that lacks it.

use inngest_queue::{JobId, JobKind, StepRef};
use inngest_state::trace::StepDetail;

use crate::gateway;
use crate::plan::draft::Draft;
use crate::response::OpReport;

pub(super) fn add(draft: &mut Draft<'_>, report: &OpReport) {
    let planning = draft.planning;
    let id = JobId::gateway(planning.run.id, &report.id);
    if id == planning.item.id && !draft.is_recorded(&report.id) {
        draft.again_at_once = true;
        return;
    }
    if draft.put(draft.job(id, JobKind::Gateway(StepRef::from(report)), planning.now))
        && let Some(request) = gateway::shown(report).filter(|body| body.len() <= planning.limits.step_input_bytes)
    {
        draft.detail(&report.id, StepDetail::Gateway { request });
    }
}
