//! `WaitForSignal`: the step is resolved by a signal of a name, or by `null` when none comes in time. One step waits
//! for a signal at a time.

use std::sync::Arc;

use inngest_queue::{JobId, JobKind, StepRef, WaitFor};
use inngest_state::trace::StepDetail;
use inngest_state::{Await, Awaited, Change, Requirement, StepOp};
use serde::Deserialize;

use super::{NULL, opts};
use crate::plan::draft::{Draft, Result};
use crate::plan::resolve::Resolved;
use crate::plan::server_error::ServerError;
use crate::response::OpReport;

#[derive(Deserialize, Default)]
#[serde(default)]
struct Opts {
    signal: Option<String>,
    timeout: Option<String>,
    conflict: Option<String>,
}

pub(super) fn add(draft: &mut Draft<'_>, report: &OpReport) {
    let planning = draft.planning;
    let opts: Opts = match opts(report) {
        Ok(opts) => opts,
        Err(problem) => return draft.fail_options(report, &problem),
    };
    let signal = opts.signal.or_else(|| report.name.as_deref().map(str::to_owned)).filter(|name| !name.is_empty());
    let Some(signal) = signal else { return draft.fail_options(report, "WaitForSignal names no signal") };
    let replaces = match opts.conflict.as_deref() {
        None | Some("" | "fail") => false,
        Some("replace") => true,
        Some(other) => {
            let problem = format!("WaitForSignal has conflict \"{other}\": fail or replace is expected");
            return draft.fail_options(report, &problem);
        }
    };
    let Some(until) = draft.deadline(report, opts.timeout.as_deref()) else { return };
    if planning.known.taken_signals.iter().any(|taken| **taken == *signal) {
        return draft.fail_run(ServerError::signal_taken());
    }
    let id = JobId::wait(planning.run.id, &report.id);
    let job = draft.job(id, JobKind::Wait(StepRef::from(report), WaitFor::Signal), until);
    let name: Arc<str> = signal.into();
    if !draft.wait(Await { job, awaited: Awaited::Signal(Arc::clone(&name)) }) {
        return;
    }
    draft.detail(&report.id, StepDetail::Signal { name: Arc::clone(&name), until });
    if !replaces {
        draft.require.push(Requirement::SignalFree(name, id));
    }
}

pub(in crate::plan) fn resolve(draft: &mut Draft<'_>, with: Resolved) {
    let Some(step) = draft.planning.item.step().cloned() else { return };
    let value = match with {
        Resolved::Value(value) | Resolved::Event(value) => value,
        Resolved::TimedOut | Resolved::Run { .. } => {
            draft.changes.push(Change::RemoveWait(draft.planning.item.id));
            NULL
        }
    };
    draft.record(Result { step, op: StepOp::WaitForSignal, value, failed: false, input: None, timing: None });
}
