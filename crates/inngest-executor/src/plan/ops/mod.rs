//! The ops of the protocol, one file each. An op adds to the draft what it asks for; it decides nothing else.

pub(super) mod defer_abort;
pub(super) mod defer_add;
pub(super) mod detail;
mod discovery_request;
mod gateway;
pub(super) mod invoke_function;
mod none;
pub(super) mod notes;
mod run_complete;
pub(super) mod sleep;
pub(super) mod step;
mod step_error;
mod step_failed;
mod step_planned;
pub(super) mod step_run;
pub(super) mod wait_for_event;
pub(super) mod wait_for_signal;

use inngest_core::Payload;
use inngest_queue::StepRef;
use serde::Deserialize;

use super::draft::Draft;
use crate::response::{Op, OpReport};

/// Adds what `report` asks for.
pub(super) fn add(draft: &mut Draft<'_>, report: OpReport) {
    notes::add(draft, &report);
    detail::add(draft, &report);
    match report.op {
        Op::None => none::add(draft, &report),
        Op::Step => step::add(draft, report),
        Op::StepRun => step_run::add(draft, report),
        Op::StepError => step_error::add(draft, report),
        Op::StepFailed => step_failed::add(draft, report),
        Op::StepPlanned => step_planned::add(draft, report),
        Op::Sleep => sleep::add(draft, &report),
        Op::WaitForEvent => wait_for_event::add(draft, &report),
        Op::WaitForSignal => wait_for_signal::add(draft, &report),
        Op::InvokeFunction => invoke_function::add(draft, &report),
        Op::Gateway | Op::AiGateway => gateway::add(draft, &report),
        Op::DeferAdd => defer_add::add(draft, &report),
        Op::DeferAbort => defer_abort::add(draft, &report),
        Op::RunComplete | Op::SyncRunComplete => run_complete::add(draft, report),
        Op::DiscoveryRequest => discovery_request::add(draft, &report),
    }
}

/// Whether an op is to be worked on before the others of its answer.
pub(super) const fn goes_first(op: Op) -> bool {
    matches!(op, Op::WaitForEvent | Op::DeferAdd | Op::DeferAbort)
}

/// The options of an op. The error is for the user.
fn opts<'r, T: Deserialize<'r> + Default>(report: &'r OpReport) -> Result<T, String> {
    let Some(opts) = &report.opts else { return Ok(T::default()) };
    serde_json::from_slice(opts)
        .map_err(|error| format!("the options of {} cannot be used: {error}", report.op.as_str()))
}

/// JSON `null`.
const NULL: Payload = Payload::from_static(b"null");

/// `{"<key>":<value>}`, the form in which results stand in `steps`.
pub(super) fn wrap(key: &str, value: &[u8]) -> Payload {
    let mut out = Vec::with_capacity(key.len() + value.len() + 5);
    out.extend_from_slice(b"{\"");
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(b"\":");
    out.extend_from_slice(value);
    out.push(b'}');
    out.into()
}

impl From<&OpReport> for StepRef {
    fn from(report: &OpReport) -> Self {
        Self { id: report.id.clone(), name: report.display_name.clone() }
    }
}
