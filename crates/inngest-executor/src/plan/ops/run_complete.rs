//! `RunComplete`: the function returned, reported as an op because steps go with it.

use crate::plan::draft::Draft;
use crate::response::OpReport;

pub(super) fn add(draft: &mut Draft<'_>, report: OpReport) {
    draft.complete(report.data);
}
