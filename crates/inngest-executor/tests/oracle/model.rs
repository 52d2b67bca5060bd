//! The oracle: what the server must do, written down as simply as possible.
//!
//! One agenda of things that happen at known times; runs as plain data; every rule stands once, where it is needed, in
//! the words of the specification. It shares nothing with the engine, is slow, and cannot be interrupted.
//!
//! Where two things happen to the same run in the same millisecond, and neither follows from the other, their order
//! is nobody's business. The model notices that ([`Model::ambiguous`]), and the scenario is tried again with
//! other durations of the app's calls.

#![expect(clippy::needless_pass_by_value, reason = "the model is simple before it is fast: values are handed over")]

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::{Value, json};

use crate::app::{Act, Answer, Condition, Kind, Op, Said, Seen, Step, slug};
use crate::record::{self, BEGIN, Record, plain};
use crate::scenario::{Config, HOUR, MINUTE, Operation, SECOND, Scenario, Sent, TriggerCondition};

const FINISHED: &str = "inngest/function.finished";
const FAILED: &str = "inngest/function.failed";
const CANCELLED: &str = "inngest/function.cancelled";
const INVOKED: &str = "inngest/function.invoked";
const DEFERRED: &str = "inngest/deferred.schedule";

const YEAR: i64 = 366 * 24 * HOUR;
const DAY: i64 = 24 * HOUR;
const BACK_OFF: [i64; 4] = [15 * SECOND, 30 * SECOND, MINUTE, 2 * MINUTE];

/// An operation with everything in it decided.
#[derive(Clone, Debug)]
pub(crate) enum Decided {
    Send(Vec<Sent>),
    Signal { name: String, k: i64 },
    Cancel(String),
    Rerun { run: String, from: Option<(String, Option<String>)>, label: String },
    Sync { function: usize, config: Config },
    Crash { downtime: i64 },
}

/// What happens next.
#[derive(Debug)]
enum Happening {
    Operation(usize),
    /// The time of a job has come.
    Due {
        run: String,
        job: Key,
        serial: u32,
    },
    /// The app does something while its call goes on.
    Acts {
        call: InFlight,
        act: Act,
    },
    Answers {
        call: InFlight,
        said: Said,
    },
}

/// A call that is under way.
#[derive(Clone, Debug)]
struct InFlight {
    run: String,
    job: Key,
    serial: u32,
    /// Of the process that waits for the answer.
    epoch: u32,
    begun: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Start,
    Discovery(String),
    Step(String),
    Sleep(String),
    Wait(String),
    StartDeadline,
    FinishDeadline,
    Cancel,
}

#[derive(Clone, Debug)]
struct Job {
    due: i64,
    /// When it was made; stays over retries.
    made: i64,
    /// When the call began that is under way for it.
    called: Option<i64>,
    attempt: u32,
    generation: u32,
    /// Changes whenever the job does, so that what was planned for its former state is void.
    serial: u32,
    version: i32,
    plan_only: bool,
    /// Recorded steps when the job was made.
    stack: usize,
    /// The parallel plan it belongs to.
    plan: Option<Plan>,
    /// The value of the step that waits, once it is there.
    resolution: Option<Value>,
}

/// How a parallel plan goes on when one of its steps is resolved. A step that an earlier plan has made stays with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plan {
    /// A discovery follows each.
    Race,
    /// One follows the last of them; they are in [`Run::joined`].
    Joined(usize),
}

#[derive(Debug)]
struct Run {
    function: usize,
    event: Value,
    event_name: String,
    /// The run and the step that wait for this one.
    correlation: Option<(String, String)>,
    original: Option<String>,
    input: Option<(String, Value)>,
    queued: i64,
    status: &'static str,
    started: Option<i64>,
    ended: Option<i64>,
    output: Option<Value>,
    error: Option<Value>,
    /// In the order of their recording: id, value, kind.
    steps: Vec<Memo>,
    jobs: BTreeMap<Key, Job>,
    defers: Vec<(String, usize, Defer)>,
    /// For each joined plan what is not resolved.
    joined: Vec<BTreeSet<String>>,
}

#[derive(Clone, Debug)]
struct Memo {
    id: String,
    value: Value,
    op: &'static str,
    attempt: u32,
    at: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Defer {
    AfterRun,
    Aborted,
    Refused,
}

#[derive(Debug)]
struct Wait {
    run: String,
    /// `None`: the event cancels the run.
    step: Option<String>,
    event: String,
    condition: Condition,
    until: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Touch {
    /// Any number of these may meet.
    Reads,
    /// An event that nobody waits for: so may these.
    PassesBy,
    Writes,
}

pub(crate) struct Model<'s> {
    scenario: &'s Scenario,
    salt: u64,
    now: i64,
    configs: Vec<Config>,
    runs: BTreeMap<String, Run>,
    /// In the order of their creation.
    created: Vec<String>,
    events: BTreeMap<String, (Value, Vec<String>)>,
    keys: HashMap<(usize, String), i64>,
    waits: Vec<Wait>,
    /// Events with the time of their receipt: label, name, body.
    received: Vec<(i64, String, String, Value)>,
    signals: BTreeMap<String, (String, String)>,
    agenda: BTreeMap<(i64, u64), (Option<u64>, Happening)>,
    serial: u32,
    next: u64,
    /// What happens now.
    current: u64,
    /// What happened in this instant, and what it follows from in this instant.
    causes: HashMap<u64, Option<u64>>,
    touched: HashMap<String, Vec<(u64, Touch)>>,
    operates: bool,
    epoch: u32,
    record: Record,
    pub(crate) decided: Vec<(i64, Decided)>,
    pub(crate) ambiguous: Option<String>,
}

impl<'s> Model<'s> {
    /// Plays the whole scenario. `salt` decides how long the calls take.
    pub(crate) fn play(scenario: &'s Scenario, salt: u64) -> Self {
        let mut model = Self {
            scenario,
            salt,
            now: 0,
            configs: scenario.functions.iter().map(|function| function.config.clone()).collect(),
            runs: BTreeMap::new(),
            created: Vec::new(),
            events: BTreeMap::new(),
            keys: HashMap::new(),
            waits: Vec::new(),
            received: Vec::new(),
            signals: BTreeMap::new(),
            agenda: BTreeMap::new(),
            serial: 0,
            next: 0,
            current: 0,
            causes: HashMap::new(),
            touched: HashMap::new(),
            operates: false,
            epoch: 0,
            record: Record::default(),
            decided: Vec::new(),
            ambiguous: None,
        };
        for (index, (at, _)) in scenario.operations.iter().enumerate() {
            model.put(*at, None, Happening::Operation(index));
        }
        while let Some(entry) = model.agenda.first_entry() {
            let (at, number) = *entry.key();
            if at > scenario.end || model.ambiguous.is_some() {
                break;
            }
            let (cause, happening) = entry.remove();
            model.begin(at, number, cause, matches!(happening, Happening::Operation(_)));
            model.happen(happening);
        }
        model
    }

    pub(crate) fn record(mut self) -> Record {
        for (label, run) in &self.runs {
            self.record.lines.push(
                record::Run {
                    run: label,
                    status: run.status,
                    queued: run.queued,
                    started: run.started,
                    ended: run.ended,
                    output: run.output.as_ref(),
                    error: run.error.as_ref(),
                    original: run.original.as_deref(),
                }
                .line(),
            );
            for (place, step) in run.steps.iter().enumerate() {
                let Memo { id, value, op, attempt, at } = step;
                self.record.lines.push(record::step_line(label, place, id, op, *attempt, *at, value));
            }
            for (key, job) in &run.jobs {
                if let Some(kind) = key.name() {
                    self.record.lines.push(record::job_line(label, &kind, job.due, job.attempt));
                }
            }
        }
        for (label, (body, starts)) in &self.events {
            self.record.lines.push(record::event_line(label, body, starts));
        }
        self.record
    }

    // Time.

    fn put(&mut self, at: i64, cause: Option<u64>, happening: Happening) {
        self.next += 1;
        self.agenda.insert((at, self.next), (cause, happening));
    }

    fn later(&mut self, at: i64, happening: Happening) {
        let cause = (at <= self.now).then_some(self.current);
        self.put(at.max(self.now), cause, happening);
    }

    fn begin(&mut self, at: i64, number: u64, cause: Option<u64>, operates: bool) {
        if at > self.now {
            self.now = at;
            self.causes.clear();
            self.touched.clear();
            self.operates = false;
        }
        if cause.is_none() && (self.operates || (operates && !self.causes.is_empty())) {
            self.ambiguous = Some(format!("@{at}: something else happens at the time of an operation"));
        }
        self.operates |= operates;
        self.causes.insert(number, cause);
        self.current = number;
    }

    fn touch(&mut self, what: &str, how: Touch) {
        let before = self.touched.entry(what.to_owned()).or_default();
        for (number, touch) in before.iter() {
            let together = *touch == how && how != Touch::Writes;
            let mut cause = Some(self.current);
            while let Some(here) = cause.filter(|here| here != number) {
                cause = self.causes.get(&here).copied().flatten();
            }
            if !together && cause.is_none() {
                self.ambiguous = Some(format!("@{}: two things happen to {what}", self.now));
            }
        }
        before.push((self.current, how));
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Operation(index) => self.operate(index),
            Happening::Due { run, job, serial } => self.due(&run, &job, serial),
            Happening::Acts { call, act } if call.epoch == self.epoch => self.act(&call, act),
            Happening::Answers { call, said } if call.epoch == self.epoch => self.answer(&call, &said),
            // The process that made the call is gone.
            Happening::Acts { .. } | Happening::Answers { .. } => {}
        }
    }

    // What the outside does.

    fn operate(&mut self, index: usize) {
        let (at, operation) = &self.scenario.operations[index];
        let step = match operation.clone() {
            Operation::Send(events) => Decided::Send(events),
            Operation::Signal { name, k } => Decided::Signal { name, k },
            Operation::Sync { function, config } => Decided::Sync { function, config },
            Operation::Crash { downtime } => Decided::Crash { downtime },
            Operation::Cancel(place) => match self.created.get(place % self.created.len().max(1)) {
                Some(run) => Decided::Cancel(run.clone()),
                None => return,
            },
            Operation::Rerun { run, from, input } => {
                let Some(run) = self.created.get(run % self.created.len().max(1)).cloned() else { return };
                let steps = &self.runs[&run].steps;
                let from = from.filter(|_| !steps.is_empty()).map(|place| {
                    let step = steps[place % steps.len()].id.clone();
                    (step, input.then(|| "[7]".to_owned()))
                });
                Decided::Rerun { run, from, label: format!("rerun{index}") }
            }
        };
        self.record.operations += 1;
        self.decided.push((*at, step.clone()));
        match step {
            Decided::Send(events) => {
                for event in events {
                    let ts = self.now + event.delay;
                    let body = user_event(&event.tag, &event.name, event.k, event.n, event.id.as_deref(), ts);
                    self.accept(&event.tag, body, event.id, ts, None);
                }
            }
            Decided::Signal { name, k } => {
                self.touch(&format!("signal {name}"), Touch::Writes);
                let waiter = self.signals.remove(&name);
                let resumed = waiter.as_ref().map(|(run, _)| run.clone());
                if let Some((run, step)) = waiter {
                    let value = json!({ "data": { "signal": name, "data": { "k": k } } });
                    self.resume(&run, &step, value);
                }
                self.record.lines.push(format!("signal @{} {name} {resumed:?}", self.now));
            }
            Decided::Cancel(run) => {
                let open = self.runs[&run].ended.is_none();
                if open {
                    self.touch(&run, Touch::Writes);
                    self.finish(&run, None, "Cancelled", None, None);
                }
                self.record.lines.push(format!("cancel @{} {run} {open}", self.now));
            }
            Decided::Rerun { run, from, label } => self.rerun(&run, from, label),
            Decided::Sync { function, config } if config.active => self.configs[function] = config,
            // One that is not registered any more goes on with what it was last.
            Decided::Sync { function, .. } => self.configs[function].active = false,
            Decided::Crash { downtime } => self.crash(downtime),
        }
    }

    /// All calls in flight are lost. Whatever may have been dispatched is dispatched anew when the process is back.
    fn crash(&mut self, downtime: i64) {
        self.epoch += 1;
        let back = self.now + downtime;
        let mut again = Vec::new();
        for (label, run) in &mut self.runs {
            for (key, job) in run.jobs.iter_mut().filter(|(_, job)| job.due <= back) {
                job.called = None;
                job.generation += 1;
                self.serial += 1;
                job.serial = self.serial;
                again.push((label.clone(), key.clone(), job.serial));
            }
        }
        for (run, job, serial) in again {
            // Each on its own: at start they come in any order.
            let cause = (downtime == 0).then_some(self.current);
            self.put(back, cause, Happening::Due { run, job, serial });
        }
    }

    /// The same events again; from a step: with everything known that was recorded before it.
    fn rerun(&mut self, original: &str, from: Option<(String, Option<String>)>, label: String) {
        let run = &self.runs[original];
        let (function, event, name) = (run.function, run.event.clone(), run.event_name.clone());
        let first = run.original.clone().unwrap_or_else(|| original.to_owned());
        let ts = event["ts"].as_i64().expect("events have times") - BEGIN;
        let known: Vec<Memo> = match &from {
            Some((step, _)) => run.steps.iter().take_while(|memo| memo.id != *step).cloned().collect(),
            None => Vec::new(),
        };
        let event_label = self.created_by(original);
        let (event_at, stack) = (self.event_time(original), known.len());
        self.touch(original, Touch::Reads);
        self.create(&label, function, event, &name, ts, event_at, None);
        self.events.get_mut(&event_label).expect("it started a run").1.push(label.clone());
        let now = self.now;
        let runs_in_app = |step: &str| {
            let program = &self.scenario.functions[function].program;
            program.step(step).is_some_and(|step| matches!(step.kind, Kind::Run { .. }))
        };
        let target = from.as_ref().map(|(step, _)| step.clone()).filter(|step| runs_in_app(step));
        let run = self.runs.get_mut(&label).expect("just made");
        run.original = Some(first);
        run.steps = known;
        run.input = from.and_then(|(step, input)| Some((step, serde_json::from_str(&input?).expect("a list"))));
        let mut job = run.jobs.remove(&Key::Start).expect("just made");
        job.stack = stack;
        let (due, serial) = (job.due, job.serial);
        let key = target.map_or(Key::Start, Key::Step);
        run.jobs.insert(key.clone(), job);
        self.later(due.max(now), Happening::Due { run: label, job: key, serial });
    }

    // Events.

    /// Label of the event that started a run, which a rerun shares with its original.
    fn created_by(&self, run: &str) -> String {
        let root = self.runs[run].original.as_deref().unwrap_or(run);
        root.split_once('(').expect("f0(event)").1.strip_suffix(')').expect("f0(event)").to_owned()
    }

    /// When the event that started a run was received.
    fn event_time(&self, run: &str) -> i64 {
        let root = self.runs[run].original.as_deref().unwrap_or(run);
        self.runs[root].queued - 1
    }

    /// `invoked`: the function it starts whatever its triggers, and who waits for that.
    fn accept(
        &mut self,
        label: &str,
        body: Value,
        id: Option<String>,
        ts: i64,
        invoked: Option<(usize, (String, String))>,
    ) {
        if self.events.contains_key(label) {
            return;
        }
        self.record.operations += 1;
        let name = body["name"].as_str().expect("a name").to_owned();
        let awaited = self.waits.iter().any(|wait| wait.event == name);
        self.touch(&format!("event {name}"), if awaited { Touch::Writes } else { Touch::PassesBy });
        let mut starts = Vec::new();
        for (function, config) in self.configs.iter().enumerate() {
            let forced = invoked.as_ref().is_some_and(|(target, _)| *target == function);
            let triggered = config.triggers.iter().any(|trigger| {
                let pattern = trigger.event.strip_suffix('*').filter(|prefix| prefix.ends_with('/'));
                let named = pattern.map_or(trigger.event == name, |prefix| name.starts_with(prefix));
                named && trigger.condition.holds(&body)
            });
            if !config.active || !(forced || triggered) {
                continue;
            }
            // The sender's id starts a function once in 24 hours.
            if let Some(id) = &id {
                let until = self.keys.entry((function, id.clone())).or_insert(i64::MIN);
                if *until > self.now + 1 {
                    continue;
                }
                *until = self.now + DAY;
            }
            starts.push((function, forced));
        }
        let labels = starts.iter().map(|(function, _)| format!("f{function}({label})")).collect();
        self.events.insert(label.to_owned(), (plain(&body), labels));
        self.received.push((self.now, label.to_owned(), name.clone(), body.clone()));
        self.resume_waits(&name, &body);
        for (function, forced) in starts {
            let correlation = invoked.as_ref().filter(|_| forced).map(|(_, waiter)| waiter.clone());
            let run = format!("f{function}({label})");
            self.create(&run, function, body.clone(), &name, ts, self.now, correlation);
            let job = &self.runs[&run].jobs[&Key::Start];
            let (due, serial) = (job.due, job.serial);
            self.later(due, Happening::Due { run, job: Key::Start, serial });
        }
    }

    /// The first event that came while the wait was on its way resumes it, unless it started the run.
    fn look_back(&mut self, label: &str, step: &str, event: &str, condition: &Condition, since: i64) {
        let run = &self.runs[label];
        let first = run.original.as_deref().unwrap_or(label);
        let found = self.received.iter().find(|(at, of, name, body)| {
            let starts_it = first == format!("f{}({of})", run.function);
            *at > since && name == event && !starts_it && condition.holds(&run.event, body)
        });
        if let Some(body) = found.map(|(.., body)| plain(body)) {
            self.waits.retain(|wait| wait.run != label || wait.step.as_deref() != Some(step));
            self.resume(label, step, body);
        }
    }

    /// One event resumes every wait that it satisfies, and each wait once; and cancels runs.
    fn resume_waits(&mut self, name: &str, body: &Value) {
        let waits = std::mem::take(&mut self.waits);
        for wait in waits {
            let trigger = &self.runs[&wait.run].event;
            if wait.event != name || wait.until < self.now || !wait.condition.holds(trigger, body) {
                self.waits.push(wait);
                continue;
            }
            match &wait.step {
                Some(step) => self.resume(&wait.run, step, plain(body)),
                None => {
                    self.add(&wait.run, Key::Cancel, self.now);
                    self.waits.push(wait);
                }
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "what a run is made of")]
    fn create(
        &mut self,
        label: &str,
        function: usize,
        event: Value,
        event_name: &str,
        ts: i64,
        event_at: i64,
        correlation: Option<(String, String)>,
    ) {
        let now = self.now;
        // A run is later than its event.
        let queued = now.max(event_at + 1);
        let config = self.configs[function].clone();
        self.created.push(label.to_owned());
        self.serial += 1;
        let start = Job { due: now.max(ts), serial: self.serial, ..Job::new(now) };
        let run = Run {
            function,
            event: plain(&event),
            event_name: event_name.to_owned(),
            correlation,
            original: None,
            input: None,
            queued,
            status: "Scheduled",
            started: None,
            ended: None,
            output: None,
            error: None,
            steps: Vec::new(),
            jobs: BTreeMap::from([(Key::Start, start)]),
            defers: Vec::new(),
            joined: Vec::new(),
        };
        self.runs.insert(label.to_owned(), run);
        if let Some(within) = config.start_within {
            self.add(label, Key::StartDeadline, queued + within);
        }
        for cancel in config.cancels {
            self.touch(&format!("event {}", cancel.event), Touch::Reads);
            self.waits.push(Wait {
                run: label.to_owned(),
                step: None,
                event: cancel.event,
                condition: cancel.condition,
                until: now + cancel.timeout.unwrap_or(YEAR),
            });
        }
    }

    // Jobs.

    /// Adds a job that is not there yet, with what every new unit of work begins with.
    fn add(&mut self, run: &str, key: Key, due: i64) {
        let job = Job::new(due);
        self.add_job(run, key, job);
    }

    fn add_job(&mut self, run: &str, key: Key, mut job: Job) {
        self.serial += 1;
        job.serial = self.serial;
        let jobs = &mut self.runs.get_mut(run).expect("known").jobs;
        if jobs.contains_key(&key) {
            return;
        }
        let (due, serial) = (job.due, job.serial);
        let (plan, step) = (job.plan, key.step().map(str::to_owned));
        jobs.insert(key.clone(), job);
        if let (Some(Plan::Joined(number)), Some(step)) = (plan, step) {
            self.runs.get_mut(run).expect("known").joined[number].insert(step);
        }
        self.later(due, Happening::Due { run: run.to_owned(), job: key, serial });
    }

    /// A waiting step gets its value now. What has one already, or has timed out, is left alone.
    fn resume(&mut self, run: &str, step: &str, resolution: Value) {
        let key = Key::Wait(step.to_owned());
        let now = self.now;
        let Some(job) = self.runs.get_mut(run).expect("known").jobs.get_mut(&key) else { return };
        if job.resolution.is_some() {
            return;
        }
        self.serial += 1;
        job.resolution = Some(resolution);
        job.due = now;
        job.serial = self.serial;
        let serial = job.serial;
        self.touch(run, Touch::Writes);
        self.later(now, Happening::Due { run: run.to_owned(), job: key, serial });
    }

    fn due(&mut self, label: &str, key: &Key, serial: u32) {
        let run = &self.runs[label];
        let Some(job) = run.jobs.get(key).filter(|job| job.serial == serial).cloned() else { return };
        match key {
            Key::Start | Key::Discovery(_) | Key::Step(_) => {
                let missed = [self.deadline(label, true), self.deadline(label, false)];
                if missed.into_iter().flatten().any(|at| at <= self.now) {
                    self.touch(label, Touch::Writes);
                    return self.finish(label, None, "Cancelled", None, None);
                }
                self.call(label, key, &job);
            }
            Key::Sleep(step) => self.resolve(label, key, &job, step, "Sleep", Value::Null),
            Key::Wait(step) => {
                let function = run.function;
                let waits = self.scenario.functions[function].program.step(step).expect("a step of the program");
                let (op, late) = match &waits.kind {
                    Kind::Wait { .. } => ("WaitForEvent", Value::Null),
                    Kind::Signal { .. } => ("WaitForSignal", Value::Null),
                    Kind::Invoke { .. } => {
                        let message = "Timed out waiting for invoked function to complete";
                        let error = format!("InngestInvokeTimeoutError: {message}");
                        let error = json!({ "error": error, "message": message, "name": "InngestInvokeTimeoutError" });
                        ("Invoke", json!({ "error": error }))
                    }
                    Kind::Run { .. } | Kind::Sleep(_) => unreachable!("{step} does not wait"),
                };
                let value = match &job.resolution {
                    Some(value) => value.clone(),
                    None => late,
                };
                let step = step.clone();
                self.waits.retain(|wait| wait.run != label || wait.step.as_deref() != Some(&step));
                self.signals.retain(|_, (run, waiter)| run != label || *waiter != step);
                self.resolve(label, key, &job, &step, op, value);
            }
            Key::StartDeadline | Key::FinishDeadline => {
                let at = self.deadline(label, *key == Key::StartDeadline);
                self.runs.get_mut(label).expect("known").jobs.remove(key);
                match at {
                    Some(at) if at <= self.now => {
                        self.record.operations += 1;
                        self.touch(label, Touch::Writes);
                        self.finish(label, None, "Cancelled", None, None);
                    }
                    Some(at) => self.add(label, key.clone(), at),
                    None => {}
                }
            }
            Key::Cancel => {
                self.record.operations += 1;
                self.touch(label, Touch::Writes);
                self.finish(label, None, "Cancelled", None, None);
            }
        }
    }

    /// When a run must have started, or finished, by the configuration of now.
    fn deadline(&self, label: &str, start: bool) -> Option<i64> {
        let run = &self.runs[label];
        let config = &self.configs[run.function];
        match (start, run.started) {
            (true, None) => Some(run.queued + config.start_within?),
            (true, Some(_)) => None,
            (false, started) => Some(started? + config.finish_within?),
        }
    }

    /// Something other than a call gives a step its value.
    fn resolve(&mut self, label: &str, key: &Key, job: &Job, step: &str, op: &'static str, value: Value) {
        self.record.operations += 1;
        self.touch(label, Touch::Writes);
        self.runs.get_mut(label).expect("known").jobs.remove(key);
        self.memoise(label, step, op, job.attempt, value);
        self.go_on(label, job, &[step.to_owned()]);
    }

    // Calls.

    fn call(&mut self, label: &str, key: &Key, job: &Job) {
        self.touch(label, Touch::Reads);
        self.record.operations += 1;
        let now = self.now;
        let run = self.runs.get_mut(label).expect("known");
        let config = &self.configs[run.function];
        let first = run.started.is_none();
        if first {
            run.started = Some(now);
            run.status = "Running";
        }
        run.jobs.get_mut(key).expect("due").called = Some(now);
        let mut steps: BTreeMap<String, Value> =
            run.steps.iter().map(|memo| (memo.id.clone(), memo.value.clone())).collect();
        let stack: Vec<String> = run.steps.iter().map(|memo| memo.id.clone()).collect();
        let known = steps.clone();
        if let Some((step, input)) = &run.input
            && !steps.contains_key(step)
        {
            steps.insert(step.clone(), json!({ "input": input }));
        }
        let target = match key {
            Key::Step(step) => Some(step.as_str()),
            _ => None,
        };
        let defers: BTreeMap<String, bool> =
            run.defers.iter().map(|(id, _, state)| (id.clone(), *state == Defer::AfterRun)).collect();
        let line = record::Call {
            run: label,
            at: now,
            target,
            attempt: job.attempt,
            attempts: config.retries + 1,
            generation: job.generation,
            version: job.version,
            plan_only: job.plan_only,
            current: if target.is_some() { job.stack } else { stack.len() },
            stack: &stack,
            steps: &json!(steps),
            defers: &json!(defers),
            event: &run.event,
        }
        .line();
        self.record.lines.push(line);
        let seen = Seen {
            run: label,
            target,
            attempt: job.attempt,
            generation: job.generation,
            plan_only: job.plan_only,
            steps: &known,
            defers: &defers,
        };
        let mut said = self.scenario.functions[run.function].program.answer(self.salt, &seen);
        let finish = config.finish_within.filter(|_| first);
        let call =
            InFlight { run: label.to_owned(), job: key.clone(), serial: job.serial, epoch: self.epoch, begun: now };
        for (after, act) in said.acts.drain(..) {
            self.put(now + after, None, Happening::Acts { call: call.clone(), act });
        }
        self.put(now + said.after, None, Happening::Answers { call, said });
        if let Some(within) = finish {
            self.add(label, Key::FinishDeadline, now + within);
        }
    }

    fn act(&mut self, call: &InFlight, act: Act) {
        match act {
            // Nobody stops an app: its step does what it does, also when the run has ended.
            Act::Send { step, event: (name, k, n) } => {
                let label = format!("{}.{step}", call.run);
                let body = user_event(&label, &name, k, n, None, self.now);
                self.accept(&label, body, None, self.now, None);
            }
            Act::Checkpoint(op) => {
                self.record.operations += 1;
                let Some(job) = self.current_job(call) else { return };
                self.touch(&call.run, Touch::Writes);
                let Op::Ran { id, data } = op else { unreachable!("only results are checkpointed") };
                self.memoise(&call.run, &id, "Run", job.attempt, json!({ "data": data }));
            }
        }
    }

    /// The job of a call, if the call still counts.
    fn current_job(&self, call: &InFlight) -> Option<Job> {
        let job = self.runs[&call.run].jobs.get(&call.job)?;
        (job.serial == call.serial).then(|| job.clone())
    }

    fn answer(&mut self, call: &InFlight, said: &Said) {
        let Some(job) = self.current_job(call) else { return };
        let label = call.run.as_str();
        self.touch(label, Touch::Writes);
        match &said.answer {
            Answer::Returned(output) => self.finish(label, Some(&call.job), "Completed", output.clone(), None),
            Answer::Threw { status, name, message } => {
                let code = if said.no_retry {
                    "NonRetriableError".to_owned()
                } else {
                    format!("invalid status code: {status}")
                };
                let failure = Failure {
                    step: None,
                    error: json!({ "error": code, "message": message, "name": name }),
                    output: Some(json!({ "message": message, "name": name })),
                    status: Some(*status),
                    final_: said.no_retry,
                };
                self.attempt_failed(call, job, said, failure);
            }
            Answer::Unreachable => {
                let failure = Failure { status: None, ..Failure::of_server("Error", "Unable to reach SDK URL") };
                self.attempt_failed(call, job, said, failure);
            }
            Answer::Ops(ops) => self.report(call, job, said, ops),
        }
    }

    /// A 206.
    fn report(&mut self, call: &InFlight, mut job: Job, said: &Said, ops: &[Op]) {
        let label = call.run.as_str();
        // The first answer with ops fixes the version for the life of the run.
        if job.version < 0 {
            job.version = said.version;
        }
        let begin = self.runs[label].steps.len();
        let ids: Vec<&str> = ops.iter().filter_map(Op::step).collect();
        let open = |model: &Self, op: &Op| {
            let later = matches!(op, Op::Planned { .. } | Op::Later { .. });
            later && op.step().is_some_and(|id| !model.has(label, id))
        };
        let any_open = ops.iter().any(|op| open(self, op));
        // A parallel plan: from here on the SDK must plan. Since version 2 the plan is joined, unless it is a race.
        let plan_only = job.plan_only || (ids.len() > 1 && (job.version < 2 || any_open));
        if ids.len() > 1 && job.version >= 2 && any_open {
            let joined = &mut self.runs.get_mut(label).expect("known").joined;
            joined.push(BTreeSet::new());
            job.plan = Some(if ops.iter().any(Op::is_race) { Plan::Race } else { Plan::Joined(joined.len() - 1) });
        }
        job.plan_only = plan_only;
        if let Some(failure) = ops.iter().find_map(|op| self.fails_run(label, op)) {
            // What can be answered at once is, whatever else the answer says.
            let at_once = |op: &&Op| {
                let missing = |function: &Option<usize>| function.is_none_or(|function| !self.configs[function].active);
                match op {
                    Op::Later { step: Step { kind: Kind::Invoke { function, .. }, .. }, .. } => missing(function),
                    Op::Planned { .. } | Op::Later { .. } => false,
                    _ => true,
                }
            };
            for op in ops.iter().filter(at_once).collect::<Vec<_>>() {
                self.add_op(label, &job, op, begin, &mut Outcome::default());
            }
            return self.finish(label, Some(&call.job), "Failed", failure.output, Some(failure.error));
        }
        // A wait looks back to when the app may have been about to report it.
        let since = if job.attempt == 0 { job.made.max(call.begun - 1_000) } else { call.begun };
        let mut outcome = Outcome { since: since.max(self.now - 5_001), ..Outcome::default() };
        let first = |op: &&Op| {
            let waits = matches!(op, Op::Later { step: Step { kind: Kind::Wait { .. }, .. }, .. });
            waits || matches!(op, Op::DeferAdd { .. } | Op::DeferAbort { .. })
        };
        let attempts = self.configs[self.runs[label].function].retries + 1;
        let may_retry = !said.no_retry && self.next_attempt(call, &job, true) < attempts;
        let order: Vec<&Op> = ops.iter().filter(first).chain(ops.iter().filter(|op| !first(op))).collect();
        for op in order {
            match op {
                Op::Error { id, message } if may_retry => {
                    let error = json!({ "error": message, "message": message, "name": "Boom" });
                    let status = Some(206);
                    let step = Some(id.clone());
                    outcome.failure = Some(Failure { step, error, output: None, status, final_: false });
                }
                Op::Error { id, message } => {
                    let mut error = json!({ "message": message, "name": "Boom" });
                    if said.no_retry {
                        error["noRetry"] = true.into();
                    }
                    self.memoise(label, id, "Run", job.attempt, json!({ "error": error }));
                    outcome.recorded.push(id.clone());
                }
                op => self.add_op(label, &job, op, begin, &mut outcome),
            }
        }
        let Outcome { recorded, planned, failure, complete, discover, .. } = outcome;
        if let Some(result) = complete {
            return self.finish(label, Some(&call.job), "Completed", Some(result), None);
        }
        if let Some(failure) = failure {
            return self.attempt_failed(call, job, said, failure);
        }
        let others = self.others(label, &call.job);
        if recorded.is_empty() && !discover && planned == 0 && !others {
            // Nothing new, and nothing else would carry the run on.
            let failure = Failure { status: Some(206), ..Failure::of_server("NoProgress", "*") };
            return self.attempt_failed(call, job, said, failure);
        }
        self.runs.get_mut(label).expect("known").jobs.remove(&call.job);
        if !recorded.is_empty() {
            self.go_on(label, &job, &recorded);
        } else if discover {
            let key = Key::Discovery(format!("asked after {begin}"));
            self.add_job(label, key, Job { stack: begin, ..job.next(self.now) });
        }
    }

    /// An op that ends the run at once.
    fn fails_run(&self, label: &str, op: &Op) -> Option<Failure> {
        let Op::Later { step, .. } = op else { return None };
        if self.has(label, &step.id) || self.runs[label].jobs.contains_key(&Key::Wait(step.id.clone())) {
            return None;
        }
        match &step.kind {
            Kind::Wait { condition: Condition::Broken, .. } => {
                Some(Failure::of_server("InvalidExpression", "Wait for event If expression failed to compile"))
            }
            Kind::Signal { name, replace: false, .. } if self.signals.contains_key(name) => {
                Some(Failure::of_server("Error", "Signal conflict; signal wait already exists for another run"))
            }
            _ => None,
        }
    }

    fn add_op(&mut self, label: &str, job: &Job, op: &Op, stack: usize, outcome: &mut Outcome) {
        let known = op.step().is_some_and(|id| self.has(label, id));
        match op {
            _ if known => {}
            Op::Ran { id, data } => {
                self.memoise(label, id, "Run", job.attempt, json!({ "data": data }));
                outcome.recorded.push(id.clone());
            }
            Op::Failed { id, message } => {
                let error = json!({ "message": message, "name": "Boom" });
                self.memoise(label, id, "Run", job.attempt, json!({ "error": error }));
                outcome.recorded.push(id.clone());
            }
            Op::Error { .. } => {}
            Op::Planned { id, .. } => {
                outcome.planned += 1;
                self.add_job(label, Key::Step(id.clone()), Job { stack, ..job.next(self.now) });
            }
            Op::Later { step, .. } => self.add_later(label, job, step, outcome),
            Op::Complete(result) => outcome.complete = Some(result.clone()),
            Op::Discover => outcome.discover = true,
            Op::DeferAdd { id, function, refused } => {
                let defers = &mut self.runs.get_mut(label).expect("known").defers;
                if !defers.iter().any(|(known, ..)| known == id) {
                    let state = if *refused { Defer::Refused } else { Defer::AfterRun };
                    defers.push((id.clone(), *function, state));
                }
            }
            Op::DeferAbort { target, .. } => {
                let defers = &mut self.runs.get_mut(label).expect("known").defers;
                if let Some(defer) = defers.iter_mut().find(|(id, _, state)| id == target && *state == Defer::AfterRun)
                {
                    defer.2 = Defer::Aborted;
                }
            }
        }
    }

    /// A step that the server resolves. Planned once; a second report of it changes nothing.
    fn add_later(&mut self, label: &str, job: &Job, step: &Step, outcome: &mut Outcome) {
        let (id, now) = (&step.id, self.now);
        let work = job.next(now);
        let key = Key::Wait(id.clone());
        let is_new = !self.runs[label].jobs.contains_key(&key);
        match &step.kind {
            Kind::Run { .. } => unreachable!("{id} runs in the app"),
            Kind::Sleep(ms) => self.add_job(label, Key::Sleep(id.clone()), Job { due: now + ms, ..work }),
            Kind::Wait { event, condition, timeout } => {
                if is_new {
                    self.touch(&format!("event {event}"), Touch::Reads);
                    self.waits.push(Wait {
                        run: label.to_owned(),
                        step: Some(id.clone()),
                        event: event.clone(),
                        condition: condition.clone(),
                        until: now + timeout,
                    });
                }
                self.add_job(label, key, Job { due: now + timeout, ..work });
                if is_new && *timeout > 0 {
                    self.look_back(label, id, event, condition, outcome.since);
                }
            }
            Kind::Signal { name, timeout, .. } => {
                if is_new {
                    self.touch(&format!("signal {name}"), Touch::Writes);
                    self.signals.insert(name.clone(), (label.to_owned(), id.clone()));
                }
                self.add_job(label, key, Job { due: now + timeout, ..work });
            }
            Kind::Invoke { function, timeout, k } => {
                let due = now + timeout.unwrap_or(YEAR);
                let target = function.filter(|function| self.configs[*function].active);
                let name = function.map_or("app-none".to_owned(), slug);
                let correlation = format!("{label}.{id}");
                let own = json!({ "fn_id": name, "correlation_id": correlation, "expire": BEGIN + due });
                let data = json!({ "k": k, "n": 5, "tag": "invoked", "_inngest": own });
                let event = format!("inv:{label}.{id}");
                let body = event_body(INVOKED, &data, &event, now);
                match target {
                    Some(target) if is_new => {
                        self.add_job(label, key, Job { due, ..work });
                        self.accept(&event, body, None, now, Some((target, (label.to_owned(), id.clone()))));
                    }
                    Some(_) => {}
                    None if is_new => {
                        self.accept(&event, body, None, now, None);
                        let message = format!("could not find function with ID: {name}");
                        let error = json!({ "message": message, "name": "Error" });
                        let data = json!({
                            "correlation_id": correlation, "error": error, "function_id": "", "run_id": "",
                        });
                        let event = format!("none:{label}.{id}");
                        let body = event_body(FINISHED, &data, &event, now);
                        self.accept(&event, body, None, now, None);
                        self.memoise(label, id, "Invoke", job.attempt, json!({ "error": error }));
                        outcome.recorded.push(id.clone());
                        return;
                    }
                    None => {}
                }
            }
        }
        outcome.planned += 1;
    }

    // How runs go on.

    fn has(&self, label: &str, step: &str) -> bool {
        self.runs[label].steps.iter().any(|memo| memo.id == step)
    }

    /// The first result of a step counts.
    fn memoise(&mut self, label: &str, step: &str, op: &'static str, attempt: u32, value: Value) {
        if !self.has(label, step) {
            let memo = Memo { id: step.to_owned(), value, op, attempt, at: self.now };
            self.runs.get_mut(label).expect("known").steps.push(memo);
        }
    }

    /// Whether the run has a job besides this one that will carry it on.
    fn others(&self, label: &str, own: &Key) -> bool {
        let carries = |key: &&Key| *key != own && !matches!(key, Key::StartDeadline | Key::FinishDeadline);
        self.runs[label].jobs.keys().any(|key| carries(&key))
    }

    /// A job has resolved steps: one discovery follows, for a joined plan when all of it is resolved.
    fn go_on(&mut self, label: &str, job: &Job, resolved: &[String]) {
        let run = self.runs.get_mut(label).expect("known");
        if let Some(Plan::Joined(number)) = job.plan {
            run.joined[number].retain(|id| !resolved.contains(id));
            if !run.joined[number].is_empty() {
                return;
            }
        }
        let stack = run.steps.len();
        let key = Key::Discovery(resolved.join(" "));
        // While anything else may still run, the SDK must plan; old versions plan for ever.
        let beside = self.others(label, &Key::Cancel);
        let plan_only = if job.version < 2 { job.plan_only } else { beside };
        let plan = (job.version >= 2 && beside).then_some(Plan::Race);
        self.add_job(label, key, Job { stack, plan_only, plan, ..job.next(self.now) });
    }

    /// Number of the attempt that follows a failure. Checkpointed steps begin a new count.
    fn next_attempt(&self, call: &InFlight, job: &Job, of_step: bool) -> u32 {
        let from_the_top = !matches!(call.job, Key::Step(_)) && !job.plan_only;
        match (from_the_top && self.runs[&call.run].steps.len() > job.stack, of_step) {
            (false, _) => job.attempt + 1,
            (true, true) => 1,
            (true, false) => 0,
        }
    }

    fn attempt_failed(&mut self, call: &InFlight, mut job: Job, said: &Said, failure: Failure) {
        let label = call.run.as_str();
        let now = self.now;
        let attempts = self.configs[self.runs[label].function].retries + 1;
        let next = self.next_attempt(call, &job, failure.step.is_some());
        // A number of attempts of one means one, checkpoints or not.
        let again = !failure.final_ && attempts > 1 && next < attempts;
        let due = again.then(|| match said.retry_after {
            Some(seconds) => ((now / SECOND + i64::from(seconds)) * SECOND).clamp(now + SECOND, now + DAY),
            None => {
                let back_off = BACK_OFF[job.attempt as usize] + self.scenario.jitter;
                now + self.scenario.retry_interval.unwrap_or(back_off)
            }
        });
        let own = match &call.job {
            Key::Step(step) => Some(step.clone()),
            _ => None,
        };
        let step = failure.step.clone().or(own);
        self.record.lines.push(record::attempt_line(
            label,
            step.as_deref(),
            (job.attempt, job.generation),
            (call.begun, now),
            failure.status,
            &plain(&failure.error),
            due,
        ));
        let Some(due) = due else {
            return self.finish(label, Some(&call.job), "Failed", failure.output, Some(failure.error));
        };
        self.serial += 1;
        let stack = self.runs[label].steps.len();
        let generation = job.generation + 1;
        job = Job { attempt: next, generation, due, serial: self.serial, called: None, ..job };
        if !matches!(call.job, Key::Step(_)) {
            job.stack = stack;
        }
        let serial = job.serial;
        self.runs.get_mut(label).expect("known").jobs.insert(call.job.clone(), job);
        self.later(due, Happening::Due { run: label.to_owned(), job: call.job.clone(), serial });
    }

    /// A run ends, once, be it with the call of a job: everything it has to do is gone, and whom it concerns hears of it.
    fn finish(
        &mut self,
        label: &str,
        own: Option<&Key>,
        status: &'static str,
        output: Option<Value>,
        error: Option<Value>,
    ) {
        let now = self.now;
        let run = self.runs.get_mut(label).expect("known");
        run.status = status;
        run.ended = Some(now);
        run.output = output.as_ref().map(plain);
        run.error = error.as_ref().map(plain);
        for (key, job) in std::mem::take(&mut run.jobs) {
            if let Some(kind) = key.name().filter(|_| key.step().is_some() && own != Some(&key)) {
                self.record.lines.push(record::cut_off_line(label, &kind, job.attempt, job.made, job.called));
            }
        }
        let slug = slug(run.function);
        let mut data = json!({
            "_inngest": { "status": status },
            "event": run.event, "events": [run.event],
            "function_id": slug, "run_id": label,
        });
        let correlation = run.correlation.clone();
        if let Some((parent, step)) = &correlation {
            data["correlation_id"] = format!("{parent}.{step}").into();
        }
        if let Some(result) = &run.output {
            data["result"] = result.clone();
        }
        if let Some(error) = &run.error {
            data["error"] = error.clone();
        }
        let defers = run.defers.clone();
        let emits = run.event_name != FINISHED && run.event_name != FAILED;
        let (output, error) = (run.output.clone(), run.error.clone());
        self.waits.retain(|wait| wait.run != label);
        self.signals.retain(|_, (run, _)| run != label);
        if emits {
            let event = format!("fin:{label}");
            self.accept(&event, event_body(FINISHED, &data, &event, now), None, now, None);
            let second = match status {
                "Failed" => Some(("fail", FAILED)),
                "Cancelled" => Some(("cancel", CANCELLED)),
                _ => None,
            };
            if let Some((prefix, name)) = second {
                let event = format!("{prefix}:{label}");
                let body = event_body(name, &data, label, now);
                self.accept(&event, body, None, now, None);
            }
        }
        for (id, function, _) in defers.iter().filter(|(.., state)| *state == Defer::AfterRun) {
            let own = json!({ "fn_slug": self::slug(*function), "parent_run_id": label });
            let data = json!({ "k": 1, "n": 5, "tag": id, "_inngest": own });
            let event = format!("def:{label}.{id}");
            self.accept(&event, event_body(DEFERRED, &data, &event, now), None, now, None);
        }
        if let Some((parent, step)) = correlation {
            let value = match (status, error) {
                ("Completed", _) => json!({ "data": output }),
                (_, Some(error)) => json!({ "error": error }),
                _ => {
                    let message = format!("The invoked run {label} was cancelled");
                    json!({ "error": { "message": message, "name": "InngestInvokeError" } })
                }
            };
            self.resume(&parent, &step, value);
        }
    }
}

/// What the ops of an answer came to.
#[derive(Default)]
struct Outcome {
    /// Waits look back to then.
    since: i64,
    recorded: Vec<String>,
    planned: usize,
    failure: Option<Failure>,
    complete: Option<Value>,
    discover: bool,
}

struct Failure {
    step: Option<String>,
    error: Value,
    output: Option<Value>,
    status: Option<u16>,
    final_: bool,
}

impl Failure {
    fn of_server(name: &str, message: &str) -> Self {
        let code = if name == "Error" { message } else { name };
        let summary = format!("{name}: {message}");
        Self {
            step: None,
            error: json!({ "error": code, "message": message, "name": name }),
            output: Some(json!({ "error": { "error": summary, "message": message, "name": name } })),
            status: None,
            final_: false,
        }
    }
}

impl Job {
    fn new(due: i64) -> Self {
        Self {
            due,
            made: due,
            called: None,
            attempt: 0,
            generation: 1,
            serial: 0,
            version: -1,
            plan_only: false,
            stack: 0,
            plan: None,
            resolution: None,
        }
    }
}

impl Job {
    /// A job that follows from this one.
    fn next(&self, due: i64) -> Self {
        Self { version: self.version, plan_only: self.plan_only, plan: self.plan, ..Self::new(due) }
    }
}

impl Key {
    fn step(&self) -> Option<&str> {
        match self {
            Self::Step(step) | Self::Sleep(step) | Self::Wait(step) => Some(step),
            Self::Start | Self::Discovery(_) | Self::StartDeadline | Self::FinishDeadline | Self::Cancel => None,
        }
    }

    /// What the history calls it, if it carries its run on.
    fn name(&self) -> Option<String> {
        Some(match self {
            Self::Start => "start".to_owned(),
            Self::Discovery(_) => "discovery".to_owned(),
            Self::Step(step) => format!("step {step}"),
            Self::Sleep(step) => format!("sleep {step}"),
            Self::Wait(step) => format!("wait {step}"),
            Self::StartDeadline | Self::FinishDeadline | Self::Cancel => return None,
        })
    }
}

impl Condition {
    fn holds(&self, own: &Value, event: &Value) -> bool {
        let same_k = || own["data"]["k"].is_number() && own["data"]["k"] == event["data"]["k"];
        let big_n = || event["data"]["n"].as_i64().is_some_and(|n| n > 3);
        match self {
            Self::None => true,
            Self::SameK => same_k(),
            Self::BigN => big_n(),
            Self::Both => same_k() && big_n(),
            Self::Of(function) => event["data"]["function_id"] == slug(*function),
            Self::Broken => false,
        }
    }
}

impl TriggerCondition {
    fn holds(&self, event: &Value) -> bool {
        match self {
            Self::None => true,
            Self::BigN => event["data"]["n"].as_i64().is_some_and(|n| n > 3),
            Self::Of(function) => event["data"]["function_id"] == slug(*function),
            Self::Named(function) => event["data"]["_inngest"]["fn_slug"] == slug(*function),
        }
    }
}

fn user_event(label: &str, name: &str, k: i64, n: i64, id: Option<&str>, ts: i64) -> Value {
    event_body(name, &json!({ "k": k, "n": n, "tag": label }), id.unwrap_or(label), ts)
}

fn event_body(name: &str, data: &Value, id: &str, ts: i64) -> Value {
    json!({ "data": data, "id": id, "name": name, "ts": BEGIN + ts, "user": {} })
}
