//! Steps that an app finished while its call goes on.

use inngest_core::limits;
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
    if ops.len() > limits::OPS_PER_RESPONSE_MAX {
        return Err(CheckpointProblem::TooLarge(
            ServerError::too_many_steps(planning.limits.steps).message().to_owned(),
        ));
    }
    for report in ops {
        if let Some(error) = ServerError::of_size(&report, planning.limits.step_output_bytes) {
            return Err(CheckpointProblem::TooLarge(error.message().to_owned()));
        }
        ops::notes::add(&mut draft, &report);
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
    if draft.overflows() {
        return Err(CheckpointProblem::TooLarge(
            ServerError::state_too_large(planning.limits.state_bytes).message().to_owned(),
        ));
    }
    draft.changes.retain(|change| !matches!(change, Change::RemoveJob(_)));
    Ok(draft.go_on())
}
