//! Steps that an app finished while its call goes on.

use inngest_core::Payload;
use inngest_state::{Change, Transition};

use super::block::Block;
use super::draft::{Answer, Draft};
use super::server_error::ServerError;
use super::{Planning, ops};
use crate::response::{Op, OpReport};

/// Why a checkpoint is refused; nothing of it is recorded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointProblem {
    /// An op that cannot be checkpointed (400).
    #[error("{0}")]
    BadOp(String),
    /// A step or the state of the run is over its limit (413).
    #[error("{0}")]
    TooLarge(String),
}

/// Records steps of a call that is still in flight. The job stays with the call, and no discovery follows: the
/// call's own answer decides how the run goes on. Attempts start anew at the next failure, because the run has
/// more steps then than when the job was made.
pub fn checkpoint(planning: &Planning<'_>, ops: Vec<OpReport>) -> Result<Transition, CheckpointProblem> {
    let mut draft = Draft::new(planning, Answer::default(), Block::inherited(planning));
    if ops.len() > planning.limits.ops_per_response() {
        return Err(CheckpointProblem::TooLarge(
            ServerError::too_many_steps(planning.limits.steps).message().to_owned(),
        ));
    }
    for report in ops {
        if let Some(error) = ServerError::of_size(&report, &planning.limits) {
            return Err(CheckpointProblem::TooLarge(too_large(&report, &error, planning)));
        }
        ops::notes::add(&mut draft, &report);
        ops::detail::add(&mut draft, &report);
        match report.op {
            Op::StepRun => ops::step_run::add(&mut draft, report),
            Op::Step => ops::step::add(&mut draft, report),
            // Opens a running step in the trace, nothing else.
            Op::StepPlanned => {}
            Op::StepError
            | Op::StepFailed
            | Op::Sleep
            | Op::WaitForEvent
            | Op::WaitForSignal
            | Op::InvokeFunction
            | Op::AiGateway
            | Op::Gateway => return Err(CheckpointProblem::BadOp("cannot checkpoint async steps".into())),
            Op::DeferAdd => ops::defer_add::add(&mut draft, &report),
            Op::DeferAbort => ops::defer_abort::add(&mut draft, &report),
            op @ (Op::None | Op::RunComplete | Op::SyncRunComplete | Op::DiscoveryRequest) => {
                return Err(CheckpointProblem::BadOp(format!("cannot checkpoint opcode: {}", op.as_str())));
            }
        }
    }
    if planning.run.steps.len() + draft.recorded > planning.limits.steps {
        return Err(CheckpointProblem::TooLarge(
            ServerError::too_many_steps(planning.limits.steps).message().to_owned(),
        ));
    }
    if draft.overflows() {
        let max = planning.limits.state_bytes;
        return Err(CheckpointProblem::TooLarge(format!("run state size limit exceeded: at most {max} bytes")));
    }
    draft.changes.retain(|change| !matches!(change, Change::RemoveJob(_)));
    if draft.recorded > 0 {
        // Also after a crash the steps that follow have all their attempts.
        draft.changes.push(Change::RestartAttempts(planning.item.id, draft.stack()));
    }
    // When the call began is known to the one who made it, who also notes it.
    Ok(draft.go_on_as_is())
}

fn too_large(report: &OpReport, error: &ServerError, planning: &Planning<'_>) -> String {
    let (output, max) = (report.data.as_ref().map_or(0, Payload::len), planning.limits.step_output_bytes);
    if output > max {
        format!("step {} output too large: {output} bytes, at most {max}", report.id)
    } else {
        error.message().to_owned()
    }
}
