//! A store small enough to be obviously right, and apps that answer as SDKs do.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use inngest_core::function::Trigger;
use inngest_core::limits::RunLimits;
use inngest_core::{AppId, Clock, Entropy, Event, Function, FunctionId, Ids, Millis, Payload, RunStatus, StepId};
use inngest_expr::expression::Cache;
use inngest_queue::{JobId, JobKind, QueueItem, Resolution};
use inngest_state::trace::StepDetail;
use inngest_state::{
    Admit, AttemptRecord, Await, Awaited, Change, EventWait, FinishRun, Invoke, Rejected, Requirement, RunState,
    StepRecord, Transition, When,
};

use crate::driver::CallError;
use crate::plan::{self, Known, Planning, Resolved};
use crate::registry::Registry;
use crate::response::{FunctionError, Op, OpReport, Reply, SdkResponse};

pub(super) const START: Millis = Millis(1_800_000_000_000);
/// Calls after which a run that does not end counts as one that never will.
const CALLS_MAX: usize = 5_000;

/// A clock that is set by hand.
pub(super) struct Hand(pub(super) AtomicI64);

impl Clock for Hand {
    fn now(&self) -> Millis {
        Millis(self.0.load(Ordering::Relaxed))
    }
}

/// Counts, so that ids differ and runs are repeatable.
struct Counting(AtomicU64);

impl Entropy for Counting {
    fn next_u64(&self) -> u64 {
        self.0.fetch_add(7_919, Ordering::Relaxed)
    }
}

pub(super) fn ids() -> Ids {
    Ids::new(Arc::new(Hand(AtomicI64::new(START.0))), Arc::new(Counting(AtomicU64::new(1))))
}

/// A function of the app `app` with these event triggers.
pub(super) fn function(slug: &str, triggers: &[(&str, Option<&str>)]) -> Function {
    let trigger = |(name, expression): &(&str, Option<&str>)| Trigger::Event {
        name: Arc::from(*name),
        expression: expression.map(Arc::from),
    };
    Function {
        id: FunctionId::of_definition(slug, "http://app"),
        app: AppId::of_name("app"),
        slug: slug.into(),
        name: slug.into(),
        triggers: triggers.iter().map(trigger).collect(),
        url: "http://app".into(),
        step_id: "step".into(),
        retries: 4,
        version: 1,
        config: Payload::from_static(b"{}"),
        created_at: START,
        archived_at: None,
    }
}

/// One call as the app sees it.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) item: QueueItem,
    /// Known steps, in order.
    pub(super) steps: Vec<(String, String)>,
    pub(super) at: Millis,
}

impl Call {
    pub(super) fn has(&self, step: &str) -> bool {
        self.steps.iter().any(|(id, _)| id == step)
    }

    pub(super) fn value(&self, step: &str) -> &str {
        &self.steps.iter().find(|(id, _)| id == step).expect("the step is known").1
    }

    /// The step that is asked for; empty on a discovery.
    pub(super) fn target(&self) -> &str {
        self.item.step().map_or("", |step| step.id.as_str())
    }
}

pub(super) type Answer = Result<SdkResponse, CallError>;

/// One run and its store.
#[derive(Clone)]
pub(super) struct Model {
    pub(super) run: RunState,
    pub(super) function: Function,
    pub(super) registry: Arc<Registry>,
    pub(super) ids: Ids,
    pub(super) now: Millis,
    pub(super) retry_interval: Option<Duration>,
    pub(super) jobs: BTreeMap<JobId, QueueItem>,
    pub(super) calls: Vec<Call>,
    pub(super) records: Vec<StepRecord>,
    pub(super) attempts: Vec<AttemptRecord>,
    pub(super) details: Vec<(StepId, StepDetail)>,
    pub(super) events: Vec<(Event, Vec<Admit>)>,
    pub(super) finished: Option<FinishRun>,
    pub(super) expressions: Arc<Cache>,
    pub(super) waits: BTreeMap<JobId, EventWait>,
    pub(super) signals: BTreeMap<Arc<str>, JobId>,
    pub(super) invokes: Vec<Invoke>,
    /// Signals that other runs wait for.
    pub(super) taken_signals: Vec<Arc<str>>,
}

impl Model {
    pub(super) fn new() -> Self {
        Self::of(function("app-fn", &[("a/b", None)]), Vec::new(), "a/b")
    }

    pub(super) fn with_retries(retries: u32) -> Self {
        let mut model = Self::new();
        model.function.retries = retries;
        model.retry_interval = Some(Duration::from_secs(1));
        model
    }

    /// A run of `function`, started by an event of this name, beside `others`.
    pub(super) fn of(function: Function, others: Vec<Function>, event: &str) -> Self {
        let ids = ids();
        let event_id = ids.event(START);
        let body = format!(r#"{{"data":{{"n":1}},"id":"e","name":"{event}","ts":0,"user":{{}}}}"#);
        let run = RunState {
            id: ids.run(event_id, START),
            function: function.id,
            status: RunStatus::Scheduled,
            event_ids: Arc::from([event_id]),
            event_names: Arc::from([Arc::from(event)]),
            events: Arc::from([Payload::from(body)]),
            steps: Vec::new(),
            started_at: None,
            correlation_id: None,
            defers: Vec::new(),
            input: None,
        };
        let start = QueueItem::new(JobId::start(run.id), function.id, JobKind::Start, START);
        Self {
            jobs: BTreeMap::from([(start.id, start)]),
            registry: Arc::new(Registry::build(Vec::new(), others.into_iter().chain([function.clone()]).collect())),
            run,
            function,
            ids,
            now: START,
            retry_interval: None,
            calls: Vec::new(),
            records: Vec::new(),
            attempts: Vec::new(),
            details: Vec::new(),
            events: Vec::new(),
            finished: None,
            expressions: Arc::new(Cache::new(16)),
            waits: BTreeMap::new(),
            signals: BTreeMap::new(),
            invokes: Vec::new(),
            taken_signals: Vec::new(),
        }
    }

    /// The job that is due first; of several, the one with the smallest id.
    pub(super) fn next(&self) -> Option<QueueItem> {
        self.jobs.values().min_by_key(|job| (job.due, job.id)).cloned()
    }

    pub(super) fn job(&self, step: &str) -> QueueItem {
        let about = |job: &&QueueItem| job.step().map_or("", |step| step.id.as_str()) == step;
        self.jobs.values().find(about).unwrap_or_else(|| panic!("no job for {step:?} in {:?}", self.jobs)).clone()
    }

    /// Sends the call of a job; the app sees the run as it is now.
    pub(super) fn dispatch(&mut self, item: &QueueItem) -> Call {
        self.now = self.now.max(item.due);
        let text = |bytes: &Payload| String::from_utf8_lossy(bytes).into_owned();
        let steps = self.run.steps.iter().map(|step| (step.id.to_string(), text(&step.value))).collect();
        let call = Call { item: item.clone(), steps, at: self.now };
        self.calls.push(call.clone());
        assert!(self.calls.len() < CALLS_MAX, "this run never ends");
        call
    }

    /// The answer to a call arrives.
    #[expect(clippy::needless_pass_by_value, reason = "scripts answer with what they make")]
    pub(super) fn answer(&mut self, call: &Call, answer: Answer) -> Result<(), Rejected> {
        let mut known = Known::default();
        loop {
            let plan = |planning: &Planning<'_>| plan::plan(planning, &answer);
            let transition = self.with_knowledge(&call.item, (call.at, call.steps.len()), &known, plan);
            match self.commit(transition) {
                Err(rejected) if known.learn(&rejected) => {}
                committed => return committed,
            }
        }
    }

    pub(super) fn with_planning<T>(&self, item: &QueueItem, at: Millis, f: impl FnOnce(&Planning<'_>) -> T) -> T {
        self.with_knowledge(item, (at, self.run.steps.len()), &Known::default(), f)
    }

    /// `dispatched`: when the call began, and with how many steps.
    fn with_knowledge<T>(
        &self,
        item: &QueueItem,
        dispatched: (Millis, usize),
        known: &Known,
        f: impl FnOnce(&Planning<'_>) -> T,
    ) -> T {
        let (at, steps) = dispatched;
        f(&Planning {
            limits: RunLimits::default(),
            expressions: &self.expressions,
            known,
            run: &self.run,
            item,
            function: &self.function,
            registry: &self.registry,
            ids: &self.ids,
            now: self.now,
            dispatched_at: at,
            dispatched_steps: steps,
            retry_interval: self.retry_interval,
        })
    }

    /// What the engine does with one job when the app answers at once.
    pub(super) fn work(&mut self, item: &QueueItem, app: &mut impl FnMut(&Call) -> Answer) {
        self.now = self.now.max(item.due);
        if let Some(transition) = self.without_call(item) {
            return self.commit(transition).expect("the job is current");
        }
        let call = self.dispatch(item);
        self.answer(&call, app(&call)).expect("the job is current");
    }

    pub(super) fn without_call(&self, item: &QueueItem) -> Option<Transition> {
        self.with_planning(item, self.now, |planning| match item.kind {
            JobKind::Sleep(_) => Some(plan::wake(planning)),
            JobKind::Wait(..) => Some(plan::resolve(planning, resolved(item))),
            JobKind::Deadline(deadline) => Some(plan::deadline(planning, deadline)),
            JobKind::Cancel => Some(plan::cancel_by_job(planning)),
            JobKind::Gathered(_) => unreachable!("the job of no run"),
            JobKind::Start | JobKind::Discovery | JobKind::Step(_) | JobKind::Gateway(_) => plan::before_call(planning),
        })
    }

    /// One job after the other, until the run ends or has nothing to do.
    pub(super) fn drive(&mut self, mut app: impl FnMut(&Call) -> Answer) {
        while let Some(item) = self.next() {
            self.work(&item, &mut app);
        }
    }

    /// All jobs that are due at once: every app call sees the run as it was before any of the answers.
    pub(super) fn drive_in_waves(&mut self, mut app: impl FnMut(&Call) -> Answer) {
        while let Some(first) = self.next() {
            let due = first.due.max(self.now);
            let wave: Vec<QueueItem> = self.jobs.values().filter(|job| job.due <= due).cloned().collect();
            self.now = due;
            let mut calls = Vec::new();
            for item in &wave {
                match self.without_call(item) {
                    Some(transition) => self.commit(transition).expect("the job is current"),
                    None => calls.push(self.dispatch(item)),
                }
            }
            for call in calls {
                let answered = self.answer(&call, app(&call));
                assert!(answered.is_ok() || self.finished.is_some(), "only the end of the run makes answers late");
            }
        }
    }

    pub(super) fn status(&self) -> Option<RunStatus> {
        self.finished.as_ref().map(|finish| finish.status)
    }

    /// What the run ended with.
    pub(super) fn output(&self) -> &str {
        let output = self.finished.as_ref().expect("the run has ended").output.as_deref();
        std::str::from_utf8(output.unwrap_or_default()).expect("output is text")
    }

    pub(super) fn error(&self) -> &str {
        let error = self.finished.as_ref().expect("the run has ended").error.as_deref();
        std::str::from_utf8(error.unwrap_or_default()).expect("errors are text")
    }

    /// Attempts of the calls, in order, for the step asked for (empty: discoveries).
    pub(super) fn attempts_of(&self, target: &str) -> Vec<u32> {
        self.calls.iter().filter(|call| call.target() == target).map(|call| call.item.attempt).collect()
    }

    pub(super) fn commit(&mut self, transition: Transition) -> Result<(), Rejected> {
        for requirement in &transition.require {
            match requirement {
                &Requirement::Siblings(id) => {
                    let carries_on = |job: &QueueItem| job.id != id && !matches!(job.kind, JobKind::Deadline(_));
                    if !self.jobs.values().any(carries_on) {
                        return Err(Rejected::NoSiblings(id));
                    }
                }
                Requirement::SignalFree(name, job) => {
                    if self.taken_signals.contains(name) && !self.jobs.contains_key(job) {
                        return Err(Rejected::SignalTaken(name.clone()));
                    }
                }
                &Requirement::Unplanned(job) => {
                    if self.jobs.contains_key(&job) {
                        return Err(Rejected::Planned(job));
                    }
                }
                Requirement::Active(function, _) => panic!("the planner asked about {function}"),
                &Requirement::Generation(id, generation) => {
                    let found = self.jobs.get(&id).map(|job| job.generation);
                    if found != Some(generation) {
                        return Err(Rejected::StaleJob(id, found));
                    }
                }
                &Requirement::RunOpen(run) => {
                    if self.finished.is_some() {
                        return Err(Rejected::RunEnded(run));
                    }
                }
            }
        }
        let before = self.run.steps.len();
        for change in transition.changes {
            self.run.apply(&change);
            let recorded = self.run.steps.len() > before;
            self.apply(change, recorded);
        }
        assert_eq!(self.finished.is_some(), self.jobs.is_empty(), "a run that is open has something to do");
        Ok(())
    }

    fn apply(&mut self, change: Change, recorded: bool) {
        match change {
            Change::PutJob(job, when) => {
                if self.holds(&job, when, recorded) {
                    let known = self.jobs.get(&job.id);
                    if known.is_none_or(|known| known.generation < job.generation) {
                        self.jobs.insert(job.id, job);
                    }
                }
            }
            Change::RemoveJob(id) => {
                self.jobs.remove(&id);
            }
            Change::RestartAttempts(id, stack) => {
                let job = self.jobs.get_mut(&id).expect("a call in flight has a job");
                (job.attempt, job.stack_current) = (0, stack);
            }
            Change::FinishRun(finish) => {
                assert!(self.finished.is_none(), "a run ends once");
                self.jobs.clear();
                self.waits.clear();
                self.signals.clear();
                self.finished = Some(*finish);
            }
            Change::RecordStep(record) => self.records.push(*record),
            Change::RecordAttempt(record) => self.attempts.push(*record),
            Change::PutDetail(_, step, detail) => self.details.push((step, *detail)),
            Change::PutEvent(event, admits) => self.events.push((*event, admits)),
            Change::RemoveWait(job) => {
                self.waits.remove(&job);
                self.signals.retain(|_, waiting| *waiting != job);
            }
            Change::Await(waiting) => {
                let Await { job, awaited } = *waiting;
                if self.holds(&job, When::Unrecorded, recorded) && !self.jobs.contains_key(&job.id) {
                    match awaited {
                        Awaited::Nothing => {}
                        Awaited::Event { wait, .. } => drop(self.waits.insert(wait.job, wait)),
                        Awaited::Signal(name) => drop(self.signals.insert(name, job.id)),
                        Awaited::Run(invoke) => self.invokes.push(*invoke),
                    }
                    self.jobs.insert(job.id, job);
                }
            }
            Change::StartRun { .. }
            | Change::PutDefer(..)
            | Change::AbortDefer(..)
            | Change::PutMetadata(_)
            | Change::StartDefer(..)
            | Change::Resume(..) => {}
            other => panic!("the planner has no business with {other:?}"),
        }
    }

    fn holds(&self, job: &QueueItem, when: When, recorded: bool) -> bool {
        match when {
            When::Always => true,
            When::Unrecorded => job.step().is_none_or(|step| !self.run.has_step(&step.id)),
            When::Recorded => recorded,
            When::Last => {
                let carries_on = |job: &&QueueItem| !matches!(job.kind, JobKind::Deadline(_));
                self.jobs.values().filter(carries_on).all(|other| other.id == job.id)
            }
            When::GroupDone(group) => self.jobs.values().all(|job| job.group != Some(group)),
        }
    }
}

/// What the engine hands over for a job that waits.
fn resolved(item: &QueueItem) -> Resolved {
    match item.resolution.as_deref() {
        None => Resolved::TimedOut,
        Some(Resolution::Value(value)) => Resolved::Value(value.clone()),
        Some(other) => panic!("{other:?} is read from the store"),
    }
}

pub(super) fn op(op: Op, id: &str) -> OpReport {
    OpReport {
        op,
        id: StepId::from(id),
        display_name: id.into(),
        name: None,
        opts: None,
        input: None,
        data: None,
        error: None,
        metadata: Vec::new(),
        timing: None,
    }
}

pub(super) fn json(text: &str) -> Payload {
    Payload::copy_from_slice(text.as_bytes())
}

/// A step that ran and returned its own name.
pub(super) fn ran(id: &str) -> OpReport {
    OpReport { data: Some(json(&format!("\"{id}\""))), ..op(Op::StepRun, id) }
}

pub(super) fn planned(id: &str) -> OpReport {
    op(Op::StepPlanned, id)
}

pub(super) fn racing(report: OpReport) -> OpReport {
    OpReport { opts: Some(json(r#"{"parallelMode":"race"}"#)), ..report }
}

pub(super) fn sleeping(id: &str, text: &str) -> OpReport {
    OpReport { name: Some(text.into()), ..op(Op::Sleep, id) }
}

pub(super) fn failing(kind: Op, id: &str) -> OpReport {
    OpReport { error: Some(json(&format!(r#"{{"message":"{id} broke","name":"Boom"}}"#))), ..op(kind, id) }
}

/// A 206 of request version 2.
pub(super) fn ops(reports: Vec<OpReport>) -> SdkResponse {
    SdkResponse {
        status: 206,
        headers: Arc::default(),
        version: 2,
        no_retry: false,
        retry_at: None,
        reply: Reply::Ops(reports),
    }
}

pub(super) fn version(version: i32, response: SdkResponse) -> SdkResponse {
    SdkResponse { version, ..response }
}

pub(super) fn returned(text: &str) -> SdkResponse {
    SdkResponse { status: 200, reply: Reply::Returned(Some(json(text))), ..ops(Vec::new()) }
}

pub(super) fn failed(message: &str) -> SdkResponse {
    let error = format!(r#"{{"error":"invalid status code: 500","message":"{message}","name":"Error"}}"#);
    let output = format!(r#"{{"message":"{message}"}}"#);
    let error = FunctionError { output: Some(json(&output)), error: json(&error) };
    SdkResponse { status: 500, reply: Reply::Failed(error), ..ops(Vec::new()) }
}

pub(super) fn no_retry(response: SdkResponse) -> SdkResponse {
    SdkResponse { no_retry: true, ..response }
}
