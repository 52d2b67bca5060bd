//! `StepPlanned`: a step of a parallel block, to be run by a call of its own.

use inngest_queue::{JobId, JobKind, StepRef};

use crate::plan::draft::Draft;
use crate::response::OpReport;

pub(super) fn add(draft: &mut Draft<'_>, report: OpReport) {
    let planning = draft.planning;
    let id = JobId::step(planning.run.id, &report.id);
    let step = StepRef { id: report.id, name: report.display_name };
    draft.put(draft.job(id, JobKind::Step(step), planning.now));
}
