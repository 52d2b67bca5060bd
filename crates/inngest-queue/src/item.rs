//! One job: a unit of work of one run.

use std::fmt;
use std::sync::Arc;

use inngest_core::{EventId, FunctionId, Millis, Payload, RunId, StepId};

use crate::flow::Keys;

/// Names a job: its run, and a hash of what it does there. The same work has the same id, so that
/// planning it twice makes one job. Stable over retries.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId {
    /// The run the job belongs to.
    pub run: RunId,
    /// Hash of the unit of work, unique within the run.
    pub key: u64,
}

impl JobId {
    /// The first job of a run.
    #[must_use]
    pub fn start(run: RunId) -> Self {
        Self { run, key: hash("start", &[]) }
    }

    /// The discovery call that follows the recording of `steps`.
    #[must_use]
    pub fn discovery(run: RunId, steps: &[&str]) -> Self {
        Self { run, key: hash("discovery", steps) }
    }

    /// The targeted call of a planned step.
    #[must_use]
    pub fn step(run: RunId, step: &StepId) -> Self {
        Self { run, key: hash("step", &[step.as_str()]) }
    }

    /// The wake-up of a sleep.
    #[must_use]
    pub fn sleep(run: RunId, step: &StepId) -> Self {
        Self { run, key: hash("sleep", &[step.as_str()]) }
    }

    /// What resolves a step that waits for something else: an event, a signal, the end of another run.
    #[must_use]
    pub fn wait(run: RunId, step: &StepId) -> Self {
        Self { run, key: hash("wait", &[step.as_str()]) }
    }

    /// The request that the server itself makes for a step.
    #[must_use]
    pub fn gateway(run: RunId, step: &StepId) -> Self {
        Self { run, key: hash("gateway", &[step.as_str()]) }
    }

    /// The deadline of a run.
    #[must_use]
    pub fn deadline(run: RunId, deadline: Deadline) -> Self {
        let name = match deadline {
            Deadline::Start => "start",
            Deadline::Finish => "finish",
        };
        Self { run, key: hash("deadline", &[name]) }
    }

    /// The waiting for one of the events that cancel a run. Names a wait; there is no such job.
    #[must_use]
    pub fn cancel_on(run: RunId, index: usize) -> Self {
        Self { run, key: hash("cancel on", &[&index.to_string()]) }
    }

    /// The start of a run by events that were gathered under the id `gathering`.
    #[must_use]
    pub fn gathered(gathering: RunId) -> Self {
        Self { run: gathering, key: hash("gathered", &[]) }
    }

    /// The cancellation of a run by an event.
    #[must_use]
    pub fn cancel(run: RunId) -> Self {
        Self { run, key: hash("cancel", &[]) }
    }
}

impl fmt::Display for JobId {
    /// The short text SDKs get as `ctx.job_id`: unique for run and unit, stable over retries.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let run = self.run.0.0;
        let folded = (run as u64) ^ ((run >> 64) as u64).rotate_left(32);
        write!(f, "{:016x}", folded ^ self.key)
    }
}

impl fmt::Debug for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{:016x}", self.run, self.key)
    }
}

/// FNV-1a over the parts, each ended by a zero byte: fixed for ever, since the result is stored.
fn hash(kind: &str, parts: &[&str]) -> u64 {
    let mut state = 0xcbf2_9ce4_8422_2325_u64;
    for part in std::iter::once(&kind).chain(parts) {
        for byte in part.bytes().chain([0]) {
            state = (state ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    state
}

/// The step a job is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepRef {
    /// Hashed id, as in `steps`.
    pub id: StepId,
    /// Display name, for the trace.
    pub name: Arc<str>,
}

/// What a job does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobKind {
    /// First call of the run.
    Start,
    /// Runs the user's function from the top.
    Discovery,
    /// Calls the app for one planned step.
    Step(StepRef),
    /// Ends a sleep at its due time.
    Sleep(StepRef),
    /// Resolves a step with what it waits for ([`QueueItem::resolution`]); at its due time without.
    Wait(StepRef, WaitFor),
    /// Makes the HTTP request of a step (`step.fetch`, `step.ai.infer`).
    Gateway(StepRef),
    /// Cancels the run, if it still is too late then.
    Deadline(Deadline),
    /// Cancels the run, because an event said so.
    Cancel,
    /// Starts a run with the events that were gathered by then. The job belongs to no run: its id is that of what is
    /// gathered.
    Gathered(Gathering),
}

impl JobKind {
    /// The step it is about, if it is about one.
    #[must_use]
    pub fn step(&self) -> Option<&StepRef> {
        match self {
            Self::Step(step) | Self::Sleep(step) | Self::Wait(step, _) | Self::Gateway(step) => Some(step),
            Self::Start | Self::Discovery | Self::Deadline(_) | Self::Cancel | Self::Gathered(_) => None,
        }
    }
}

/// Why events are gathered before they start a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gathering {
    /// The last one starts it (`debounce`).
    Debounce,
    /// All of them start it (`batchEvents`).
    Batch,
}

/// Who does the work of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// A request to somebody else, which may take hours.
    Calls,
    /// The server alone, in no time: whatever is called meanwhile, a sleep ends and a run is cancelled.
    Own,
}

/// What a step waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitFor {
    /// An event (`step.waitForEvent`).
    Event,
    /// The end of another run (`step.invoke`).
    Invoke,
    /// A signal (`step.waitForSignal`).
    Signal,
}

/// How long something of a run may take (`timeouts`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deadline {
    /// From scheduling to the first call.
    Start,
    /// From the first call to the end.
    Finish,
}

/// What a step waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// This event.
    Event(EventId),
    /// The end of this run.
    Run(RunId),
    /// The value of the step itself.
    Value(Payload),
}

/// One job: a row of the store, and an entry of the queue while it is near.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueItem {
    /// Which job.
    pub id: JobId,
    /// Function of the run; fairness and limits go by it.
    pub function: FunctionId,
    /// What it does.
    pub kind: JobKind,
    /// When the job was made; kept over retries.
    pub queued_at: Millis,
    /// Not before this time.
    pub due: Millis,
    /// Seconds by which the job goes before others of its function, as if its run were so much older;
    /// negative: after them.
    pub priority: i32,
    /// Whether its call starts the run, which throttles and limits of runs count. Not so once it was made, even if it
    /// must be made again.
    pub starts: bool,
    /// The keys by which its run is limited.
    pub keys: Keys,
    /// Zero-based attempt of this job.
    pub attempt: u32,
    /// From 1; +1 at each dispatch after the first. Fences late responses.
    pub generation: u32,
    /// Request version to send: -1 until the SDK answered with ops, then what it said.
    pub version: i32,
    /// `disable_immediate_execution`: the SDK must plan steps instead of running them.
    pub plan_only: bool,
    /// `ctx.stack.current` of a planned step: length of the stack when it was planned.
    pub stack_current: u32,
    /// The plan this job belongs to: the discovery that joins the plan waits for all jobs of the group.
    pub group: Option<u64>,
    /// What the step of a [`JobKind::Wait`] waited for; `None` as long as that has not come.
    pub resolution: Option<Arc<Resolution>>,
}

impl QueueItem {
    /// A new job made at `queued_at` and due then, with everything else as on a fresh run.
    #[must_use]
    pub fn new(id: JobId, function: FunctionId, kind: JobKind, queued_at: Millis) -> Self {
        Self {
            id,
            function,
            starts: matches!(kind, JobKind::Start),
            kind,
            queued_at,
            due: queued_at,
            priority: 0,
            keys: Keys::default(),
            attempt: 0,
            generation: 1,
            version: -1,
            plan_only: false,
            stack_current: 0,
            group: None,
            resolution: None,
        }
    }

    /// The place of the job among due jobs of its function: smaller goes first.
    #[must_use]
    pub fn rank(&self) -> i64 {
        self.id.run.timestamp().0.saturating_sub(i64::from(self.priority) * 1_000)
    }

    /// Who does it.
    #[must_use]
    pub const fn work(&self) -> Work {
        match self.kind {
            JobKind::Start | JobKind::Discovery | JobKind::Step(_) | JobKind::Gateway(_) => Work::Calls,
            JobKind::Sleep(_) | JobKind::Wait(..) | JobKind::Deadline(_) | JobKind::Cancel | JobKind::Gathered(_) => {
                Work::Own
            }
        }
    }

    /// The step this job is about, if it is about one.
    #[must_use]
    pub fn step(&self) -> Option<&StepRef> {
        self.kind.step()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_work_has_the_same_id_and_other_work_another() {
        let run: RunId = "01M85QRDBHC70063SSP1V76AAN".parse().unwrap();
        let step = StepId::from("86f7e437faa5a7fce15d1ddcb9eaeaea377667b8");
        assert_eq!(JobId::step(run, &step), JobId::step(run, &step));
        let ids = [
            JobId::start(run),
            JobId::discovery(run, &["a", "b"]),
            JobId::discovery(run, &["ab"]),
            JobId::step(run, &step),
            JobId::sleep(run, &step),
            JobId::wait(run, &step),
            JobId::gateway(run, &step),
            JobId::deadline(run, Deadline::Start),
            JobId::deadline(run, Deadline::Finish),
            JobId::cancel(run),
            JobId::gathered(run),
        ];
        for (i, a) in ids.iter().enumerate() {
            assert!(ids[i + 1..].iter().all(|b| a != b && a.to_string() != b.to_string()));
        }
    }

    #[test]
    fn stored_keys_never_change() {
        let run: RunId = "01M85QRDBHC70063SSP1V76AAN".parse().unwrap();
        assert_eq!(JobId::start(run).key, 0xb62d_da6d_6536_13ad);
    }
}
