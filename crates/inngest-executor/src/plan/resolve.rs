//! What follows when a step that waits gets what it waits for, or when its time is over.

use inngest_core::{Payload, RunId, RunStatus};
use inngest_queue::{JobKind, WaitFor};
use inngest_state::Transition;

use super::block::Block;
use super::draft::{Answer, Draft};
use super::{Planning, ops};

/// What a step waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolved {
    /// Nothing came in time.
    TimedOut,
    /// An event, as SDKs receive it.
    Event(Payload),
    /// The end of a run.
    Run {
        /// Which run.
        id: RunId,
        /// How it ended.
        status: RunStatus,
        /// What it returned.
        output: Option<Payload>,
        /// Normalised error, if it failed.
        error: Option<Payload>,
    },
    /// The value of the step itself.
    Value(Payload),
}

/// Records what the step waited for, and goes on.
#[must_use]
pub fn resolve(planning: &Planning<'_>, with: Resolved) -> Transition {
    let mut draft = Draft::new(planning, Answer::default(), Block::inherited(planning));
    match &planning.item.kind {
        JobKind::Wait(_, WaitFor::Event) => ops::wait_for_event::resolve(&mut draft, with),
        JobKind::Wait(_, WaitFor::Invoke) => ops::invoke_function::resolve(&mut draft, with),
        JobKind::Wait(_, WaitFor::Signal) => ops::wait_for_signal::resolve(&mut draft, with),
        kind => unreachable!("{kind:?} waits for nothing"),
    }
    draft.conclude()
}
