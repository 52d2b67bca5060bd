//! A run as the engine sees it.

use std::sync::Arc;

use inngest_core::{EventId, FunctionId, Millis, Payload, RunId, RunStatus, StepId};

use crate::transition::Change;

/// A run that has not ended: what is needed to call its app and to plan what comes next.
#[derive(Clone, Debug)]
pub struct RunState {
    /// Which run.
    pub id: RunId,
    /// Its function.
    pub function: FunctionId,
    /// [`RunStatus::Scheduled`] or [`RunStatus::Running`].
    pub status: RunStatus,
    /// The events that started it, first one first.
    pub event_ids: Arc<[EventId]>,
    /// Their names, in the same order.
    pub event_names: Arc<[Arc<str>]>,
    /// The event objects as SDKs receive them, in the same order.
    pub events: Arc<[Payload]>,
    /// Recorded steps, in the order in which they were recorded: the stack.
    pub steps: Vec<Arc<StepMemo>>,
    /// When the first call to the app was dispatched.
    pub started_at: Option<Millis>,
    /// Set when another run waits for this one: `<run id>.<step id>`.
    pub correlation_id: Option<Arc<str>>,
    /// Runs to be started when this one ends, in the order in which they were asked for.
    pub defers: Vec<Arc<Defer>>,
    /// Arguments that a user gave for one step of a rerun.
    pub input: Option<Arc<(StepId, Payload)>>,
}

/// A run to be started when another one ends (`DeferAdd`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Defer {
    /// Hashed id.
    pub id: StepId,
    /// The id as the user wrote it; empty when the SDK did not tell.
    pub name: Arc<str>,
    /// Slug of the function.
    pub function: Arc<str>,
    /// The event's `data`, an object; empty when the defer was refused or aborted.
    pub input: Payload,
    /// `meta` of the event, an object.
    pub meta: Option<Payload>,
    /// Whether it will be started.
    pub status: DeferStatus,
}

/// What becomes of a [`Defer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum DeferStatus {
    /// Starts when the run ends, unless it is aborted before.
    AfterRun = 1,
    /// Withdrawn by the app.
    Aborted = 2,
    /// Not acceptable: its input is no object or too large.
    Rejected = 3,
}

impl DeferStatus {
    /// The status of a stored code.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        [Self::AfterRun, Self::Aborted, Self::Rejected].into_iter().find(|status| *status as u8 == code)
    }
}

/// The value of a recorded step, as it stands in `steps` of the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepMemo {
    /// Hashed id.
    pub id: StepId,
    /// Canonical JSON: `{"data":..}`, `{"error":..}`, `null`, or an event.
    pub value: Payload,
}

impl RunState {
    /// Whether a result of this step is recorded.
    #[must_use]
    pub fn has_step(&self, id: &StepId) -> bool {
        self.steps.iter().any(|step| step.id == *id)
    }

    /// Bytes of events and step values together.
    #[must_use]
    pub fn state_bytes(&self) -> usize {
        let events: usize = self.events.iter().map(Payload::len).sum();
        let steps: usize = self.steps.iter().map(|step| step.value.len()).sum();
        events + steps
    }

    /// Follows a committed change of this run. Changes of other runs and of jobs are ignored.
    pub fn apply(&mut self, change: &Change) {
        match change {
            Change::StartRun { run, at, .. } if *run == self.id => {
                self.status = RunStatus::Running;
                self.started_at.get_or_insert(*at);
            }
            Change::RecordStep(step) if step.run == self.id && !self.has_step(&step.step.id) => {
                self.steps.push(Arc::new(StepMemo { id: step.step.id.clone(), value: step.value.clone() }));
            }
            Change::PutDefer(run, _) | Change::AbortDefer(run, _) if *run == self.id => {
                Defer::follow(&mut self.defers, change);
            }
            _ => {}
        }
    }
}

impl Defer {
    /// Follows a change of the defers of one run.
    pub fn follow(defers: &mut Vec<Arc<Self>>, change: &Change) {
        match change {
            Change::PutDefer(_, defer) if !defers.iter().any(|known| known.id == defer.id) => {
                defers.push(Arc::new(Self::clone(defer)));
            }
            Change::AbortDefer(_, id) => {
                let pending = |defer: &&mut Arc<Self>| defer.id == *id && defer.status == DeferStatus::AfterRun;
                if let Some(defer) = defers.iter_mut().find(pending) {
                    let defer = Arc::make_mut(defer);
                    defer.status = DeferStatus::Aborted;
                    defer.input = Payload::new();
                }
            }
            _ => {}
        }
    }
}
