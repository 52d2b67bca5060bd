//! `None`: nothing new on this branch.

use crate::plan::draft::Draft;
use crate::response::OpReport;

pub(super) fn add(_draft: &mut Draft<'_>, _report: &OpReport) {}
