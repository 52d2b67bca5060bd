//! Ops that this version does not know how to work on: the run fails at once and says so, because no number
//! of attempts would help.

use crate::plan::draft::Draft;
use crate::plan::server_error::ServerError;
use crate::response::OpReport;

pub(super) fn add(draft: &mut Draft<'_>, report: &OpReport) {
    draft.fail_run(ServerError::unsupported(report.op));
}
