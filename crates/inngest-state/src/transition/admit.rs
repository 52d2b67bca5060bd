//! The runs that a transition starts, and the steps that it lets wait.

use std::sync::Arc;

use inngest_core::{Event, EventId, FunctionId, Millis, Payload, RunId, StepId};
use inngest_expr::expression::Anchor;
use inngest_queue::flow::{Admission, Skip};
use inngest_queue::{JobId, QueueItem};

use super::StepRecord;

/// A run to be started by an event, if nothing forbids it.
#[derive(Clone, Debug)]
pub struct Admit {
    /// Id of the new run.
    pub run: RunId,
    /// Its function.
    pub function: FunctionId,
    /// Starts the function only once per key until the time given.
    pub idempotency: Option<(Arc<str>, Millis)>,
    /// What stands between the event and the run; `None` when nothing does but the key above.
    pub flow: Option<Box<Admission>>,
    /// Set when another run waits for this one: `<run id>.<step id>` ([`invokers`]).
    pub correlation_id: Option<Arc<str>>,
    /// Its first job.
    pub job: QueueItem,
    /// Cancels the run when its first call has not begun by then.
    pub deadline: Option<QueueItem>,
    /// Events that cancel the run; the event that starts it never does.
    pub cancel_on: Vec<EventWait>,
}

/// A new run of events that are stored.
#[derive(Clone, Debug)]
pub struct Rerun {
    /// The run to start.
    pub admit: Admit,
    /// The events it starts with, first one first.
    pub events: Vec<EventId>,
    /// Name of the first one.
    pub event_name: Arc<str>,
    /// The first run in the chain of reruns.
    pub original: RunId,
    /// Results that are known from the start, in order.
    pub steps: Vec<StepRecord>,
    /// Arguments that the user gave for one step that is not among them.
    pub input: Option<(StepId, Payload)>,
}

/// A step that waits.
#[derive(Clone, Debug)]
pub struct Await {
    /// The job that is resumed; at its due time without what it waits for.
    pub job: QueueItem,
    /// What resumes it.
    pub awaited: Awaited,
}

/// What a step waits for.
#[derive(Clone, Debug)]
pub enum Awaited {
    /// Nothing: only its time passes.
    Nothing,
    /// An event.
    Event {
        /// Of which name, under which condition.
        wait: EventWait,
        /// One that was received later than this counts too, as far as it is remembered: it came while the
        /// app was about to wait for it.
        since: Millis,
        /// Except these: they started the run.
        own: Arc<[EventId]>,
    },
    /// A signal. Whoever waited for it does so no more.
    Signal(Arc<str>),
    /// The end of a run that begins now.
    Run(Box<Invoke>),
}

/// A run that is started by another one.
#[derive(Clone, Debug)]
pub struct Invoke {
    /// Which of the runs it is.
    pub run: RunId,
    /// `inngest/function.invoked`.
    pub event: Event,
    /// The runs it starts.
    pub admits: Vec<Admit>,
    /// The value of the step when the run is not started, and will not be.
    pub refusal: fn(Skip) -> Payload,
}

/// The jobs that wait for the run of this correlation id.
#[must_use]
pub fn invokers(correlation_id: &str) -> Vec<JobId> {
    let job = |(run, step): (&str, &str)| Some(JobId::wait(run.parse().ok()?, &StepId::from(step)));
    correlation_ids(correlation_id).into_iter().filter_map(|id| id.split_once('.').and_then(job)).collect()
}

/// The parts of a correlation id: `<run id>.<step id>`, or several of them with commas between when the events of
/// several invokes were gathered. The id of a step may have commas too.
#[must_use]
pub fn correlation_ids(correlation_id: &str) -> Vec<&str> {
    let names_run = |part: &str| part.split_once('.').is_some_and(|(run, _)| run.parse::<RunId>().is_ok());
    let begins = |at: &usize| correlation_id[*at..].split(',').next().is_some_and(names_run);
    let commas = correlation_id.match_indices(',').map(|(at, _)| at + 1);
    let mut begins = std::iter::once(0).chain(commas).filter(begins).peekable();
    let mut ids = Vec::new();
    while let Some(begin) = begins.next() {
        let end = begins.peek().map_or(correlation_id.len(), |next| next - 1);
        ids.push(&correlation_id[begin..end]);
    }
    ids
}

/// Something that waits for an event.
#[derive(Clone, Debug, PartialEq)]
pub struct EventWait {
    /// The job that is resumed. For a wait that cancels, it names the wait; there is no such job.
    pub job: JobId,
    /// Function of the run.
    pub function: FunctionId,
    /// Exact name of the event.
    pub event: Arc<str>,
    /// What must hold of the event, besides its name.
    pub condition: Option<Condition>,
    /// Later events do not count.
    pub until: Millis,
    /// What happens then.
    pub effect: Effect,
}

/// A condition on an event, with everything in it that does not depend on the event replaced by its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    /// Its text.
    pub expression: Arc<str>,
    /// The values of what does not depend on the event, as `Bindings::to_json` writes them.
    pub bindings: Arc<str>,
    /// One of these must hold, so that events can be looked up; `None` when there is no such list.
    pub anchors: Option<Vec<Anchor>>,
}

/// What an event does to those that wait for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Effect {
    /// Resolves the step of the job; the wait ends.
    Resume = 1,
    /// Cancels the run.
    Cancel = 2,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_correlation_id_names_whoever_waits() {
        let (a, b) = ("01M85QRDBHC70063SSP1V76AAN", "01M85QRDBHC70063SSP1V76AAP");
        let job = |run: &str, step: &str| JobId::wait(run.parse().unwrap(), &StepId::from(step));
        for (text, expected) in [
            (format!("{a}.step"), vec![job(a, "step")]),
            (format!("{a}.s,{b}.t.u,{a}.v"), vec![job(a, "s"), job(b, "t.u"), job(a, "v")]),
            (format!("{a}.s,t,{b}."), vec![job(a, "s,t"), job(b, "")]),
            (String::new(), vec![]),
            ("elsewhere".to_owned(), vec![]),
        ] {
            assert_eq!(invokers(&text), expected, "{text}");
        }
        let ids = [format!("{a}.s,t"), format!("{b}.u")];
        assert_eq!(correlation_ids(&ids.join(",")), ids);
    }
}
