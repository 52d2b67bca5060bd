//! What a step is about.

use std::sync::Arc;

use inngest_core::{EventId, RunId, RunStatus};
use inngest_queue::{JobKind, Resolution, WaitFor};
use inngest_state::trace::StepDetail;
use inngest_state::{StepOp, StepRecord};

use super::{RunView, SpanOp, StepInfo};

impl SpanOp {
    pub(super) const fn of_record(op: StepOp) -> Self {
        match op {
            StepOp::Run | StepOp::Legacy | StepOp::Gateway => Self::Run,
            StepOp::Sleep => Self::Sleep,
            StepOp::WaitForEvent => Self::WaitForEvent,
            StepOp::WaitForSignal => Self::WaitForSignal,
            StepOp::Invoke => Self::Invoke,
            StepOp::AiGateway => Self::AiGateway,
        }
    }

    pub(super) const fn of_job(kind: &JobKind) -> Self {
        match kind {
            JobKind::Sleep(_) => Self::Sleep,
            JobKind::Wait(_, WaitFor::Event) => Self::WaitForEvent,
            JobKind::Wait(_, WaitFor::Signal) => Self::WaitForSignal,
            JobKind::Wait(_, WaitFor::Invoke) => Self::Invoke,
            JobKind::Gateway(_) => Self::AiGateway,
            _ => Self::Run,
        }
    }

    pub(super) const fn of_detail(detail: Option<&StepDetail>) -> Self {
        match detail {
            Some(StepDetail::Sleep { .. }) => Self::Sleep,
            Some(StepDetail::Event { .. }) => Self::WaitForEvent,
            Some(StepDetail::Signal { .. }) => Self::WaitForSignal,
            Some(StepDetail::Invoke { .. }) => Self::Invoke,
            Some(StepDetail::Gateway { .. }) => Self::AiGateway,
            Some(StepDetail::Run { .. }) | None => Self::Run,
        }
    }
}

/// What a step is about; `record` is there once it is over.
pub(super) fn info(
    view: &RunView,
    op: SpanOp,
    detail: Option<&StepDetail>,
    record: Option<&StepRecord>,
) -> Option<StepInfo> {
    let resolution = record.map(|record| record.resolution.as_ref());
    let timed_out = resolution.map(|resolution| resolution.is_none());
    match (op, detail) {
        (SpanOp::Run, _) => Some(StepInfo::Run { sdk_type: sdk_type(detail, record) }),
        (_, Some(StepDetail::Sleep { until })) => Some(StepInfo::Sleep { until: *until }),
        (_, Some(StepDetail::Event { name, expression, until })) => Some(StepInfo::Event {
            name: Arc::clone(name),
            expression: expression.clone(),
            until: *until,
            found: found(resolution.flatten()),
            timed_out,
        }),
        (_, Some(StepDetail::Signal { name, until })) => {
            Some(StepInfo::Signal { name: Arc::clone(name), until: *until, timed_out })
        }
        (_, Some(StepDetail::Invoke { function, event, run, until })) => Some(StepInfo::Invoke {
            function: Arc::clone(function),
            event: *event,
            until: *until,
            run: run.filter(|run| has_started(view, run)),
            returned: returned(view, resolution.flatten()),
            // Where there was nothing to wait for, nothing came too late.
            timed_out: timed_out.map(|timed_out| timed_out && run.is_some()),
        }),
        _ => None,
    }
}

fn sdk_type(detail: Option<&StepDetail>, record: Option<&StepRecord>) -> Option<Arc<str>> {
    match detail {
        Some(StepDetail::Run { sdk_type }) => Some(Arc::clone(sdk_type)),
        _ => record.filter(|record| record.op == StepOp::Gateway).map(|_| "step.fetch".into()),
    }
}

fn found(resolution: Option<&Resolution>) -> Option<EventId> {
    match resolution {
        Some(Resolution::Event(event)) => Some(*event),
        _ => None,
    }
}

fn has_started(view: &RunView, run: &RunId) -> bool {
    view.invoked.get(run).is_some_and(|run| run.status != RunStatus::Skipped)
}

fn returned(view: &RunView, resolution: Option<&Resolution>) -> Option<EventId> {
    match resolution {
        Some(Resolution::Run(run)) => view.invoked.get(run).and_then(|run| run.finished),
        _ => None,
    }
}
