//! `DiscoveryRequest`: the SDK wants to be called again from the top, for example because its call takes too long.

use crate::plan::draft::Draft;
use crate::response::OpReport;

pub(super) fn add(draft: &mut Draft<'_>, _report: &OpReport) {
    draft.discovery = true;
}
