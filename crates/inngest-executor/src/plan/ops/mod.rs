//! The ops of the protocol, one file each. An op adds to the draft what it asks for; it decides nothing else.

mod discovery_request;
mod none;
mod run_complete;
pub(super) mod sleep;
pub(super) mod step;
mod step_error;
mod step_failed;
mod step_planned;
pub(super) mod step_run;
mod unsupported;

use inngest_core::Payload;

use super::draft::Draft;
use crate::response::{Op, OpReport};

/// Adds what `report` asks for.
pub(super) fn add(draft: &mut Draft<'_>, report: OpReport) {
    match report.op {
        Op::None => none::add(draft, &report),
        Op::Step => step::add(draft, report),
        Op::StepRun => step_run::add(draft, report),
        Op::StepError => step_error::add(draft, report),
        Op::StepFailed => step_failed::add(draft, report),
        Op::StepPlanned => step_planned::add(draft, report),
        Op::Sleep => sleep::add(draft, &report),
        Op::RunComplete => run_complete::add(draft, report),
        Op::DiscoveryRequest => discovery_request::add(draft, &report),
        Op::WaitForEvent
        | Op::WaitForSignal
        | Op::InvokeFunction
        | Op::AiGateway
        | Op::Gateway
        | Op::SyncRunComplete
        | Op::DeferAdd
        | Op::DeferAbort => unsupported::add(draft, &report),
    }
}

/// JSON `null`.
const NULL: Payload = Payload::from_static(b"null");

/// `{"<key>":<value>}`, the form in which results stand in `steps`.
fn wrap(key: &str, value: &[u8]) -> Payload {
    let mut out = Vec::with_capacity(key.len() + value.len() + 5);
    out.extend_from_slice(b"{\"");
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(b"\":");
    out.extend_from_slice(value);
    out.push(b'}');
    out.into()
}
