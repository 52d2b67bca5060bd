//! Traces over hand-made rows. Times are milliseconds since the run was scheduled.

mod legacy;
mod metadata;
mod names;
mod output;
mod properties;
mod tree;
mod user_spans;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use inngest_core::event::EventBody;
use inngest_core::{AppId, Event, EventId, Function, FunctionId, Millis, Payload, RunId, RunStatus, StepId};
use inngest_queue::{JobId, JobKind, QueueItem, Resolution, StepRef};
use inngest_state::history::{EventRecord, RunRecord, RunTrace};
use inngest_state::trace::{CutOff, LastCall, ResponseHead, StepDetail};
use inngest_state::{AttemptRecord, StepOp, StepRecord};

use super::{OutputOf, RunView, Span, StepInfo};

/// When the run was scheduled.
const QUEUED: i64 = 1_700_000_000_000;

/// Queued, started, ended.
type Times = (i64, i64, i64);

fn at(offset: i64) -> Millis {
    Millis(QUEUED + offset)
}

fn run_id(number: u128) -> RunId {
    RunId::from_bytes(((1_700_000_000_000_u128 << 80) | number).to_be_bytes())
}

fn event_id(number: u128) -> EventId {
    EventId::from_bytes(((1_699_999_999_999_u128 << 80) | number).to_be_bytes())
}

fn this() -> RunId {
    run_id(1)
}

fn step_ref(name: &str) -> StepRef {
    StepRef { id: StepId::from(name), name: name.into() }
}

fn payload(json: &str) -> Payload {
    Payload::copy_from_slice(json.as_bytes())
}

fn error(message: &str) -> Payload {
    payload(&format!(r#"{{"error":"{message}","message":"{message}","name":"Error"}}"#))
}

fn start() -> JobId {
    JobId::start(this())
}

/// The discovery that follows a step.
fn after(step: &str) -> JobId {
    JobId::discovery(this(), &[step])
}

fn function() -> FunctionId {
    FunctionId(uuid::Uuid::nil())
}

/// Rows of a run in the making.
struct Rows(RunView);

impl Rows {
    fn of(status: RunStatus) -> Self {
        let id = event_id(1);
        let run = RunRecord {
            id: this(),
            function: function(),
            status,
            event_ids: vec![id],
            event_name: "shop/order".into(),
            queued_at: at(0),
            started_at: None,
            ended_at: None,
            output: None,
            error: None,
            original_run: None,
            skip: None,
            gathering: None,
            finished: None,
        };
        let event = Event {
            id,
            name: "shop/order".into(),
            external_id: None,
            ts: at(-1),
            body: EventBody::Stored(payload(r#"{"data":{"n":1},"name":"shop/order"}"#)),
        };
        let body = payload(r#"{"data":{"n":1},"id":"e1","name":"shop/order","ts":1}"#);
        let function = Function {
            id: function(),
            app: AppId(uuid::Uuid::nil()),
            slug: "shop-order".into(),
            name: "Order".into(),
            triggers: Vec::new(),
            url: "http://localhost/api".into(),
            step_id: "step".into(),
            retries: 1,
            version: 1,
            config: payload("{}"),
            created_at: at(-10),
            archived_at: None,
        };
        Self(RunView {
            run,
            function: Some(Arc::new(function)),
            trace: RunTrace::default(),
            metadata: Vec::new(),
            events: vec![EventRecord { event, body, runs: vec![this()] }],
            invoked: HashMap::new(),
            now: at(60_000),
        })
    }

    /// A run that goes on.
    fn running(started_at: i64) -> Self {
        let mut rows = Self::of(RunStatus::Running);
        rows.0.run.started_at = Some(at(started_at));
        rows
    }

    /// A run that is over.
    fn ended(status: RunStatus, started_at: i64, ended_at: i64) -> Self {
        let mut rows = Self::of(status);
        rows.0.run.started_at = Some(at(started_at));
        rows.0.run.ended_at = Some(at(ended_at));
        match status {
            RunStatus::Completed => rows.0.run.output = Some(payload(r#""done""#)),
            RunStatus::Failed => rows.0.run.error = Some(error("boom")),
            _ => {}
        }
        rows
    }

    /// The call with which the run ended.
    fn last_call(mut self, job: JobId, attempt: u32, queued_at: i64, started_at: i64, status: u16) -> Self {
        self.0.trace.last_call = Some(LastCall {
            job,
            queued_at: at(queued_at),
            started_at: at(started_at),
            attempt,
            response: Some(ResponseHead::bare(status)),
        });
        self
    }

    /// A step that gave its result to `job`.
    fn step(mut self, name: &str, op: StepOp, job: JobId, attempt: u32, times: Times) -> Self {
        let is_call = matches!(op, StepOp::Run);
        let value = match op {
            StepOp::Sleep => "null".to_owned(),
            _ => format!(r#"{{"data":"{name} done"}}"#),
        };
        self.0.trace.steps.push(StepRecord {
            run: this(),
            step: step_ref(name),
            op,
            value: payload(&value),
            failed: false,
            attempt,
            input: None,
            queued_at: at(times.0),
            started_at: at(times.1),
            ended_at: at(times.2),
            job: job.key,
            resolution: None,
            response: is_call.then(|| ResponseHead::bare(206)),
        });
        self
    }

    /// A step that was run once.
    fn run(self, name: &str, job: JobId, times: Times) -> Self {
        self.step(name, StepOp::Run, job, 0, times)
    }

    fn sleep(self, name: &str, times: (i64, i64)) -> Self {
        let job = JobId::sleep(this(), &StepId::from(name));
        self.step(name, StepOp::Sleep, job, 0, (times.0, times.0, times.1))
            .detail(name, StepDetail::Sleep { until: at(times.1) })
    }

    fn wait(self, name: &str, op: StepOp, times: (i64, i64)) -> Self {
        let job = JobId::wait(this(), &StepId::from(name));
        self.step(name, op, job, 0, (times.0, times.0, times.1))
    }

    /// Changes the last step.
    fn with(mut self, change: impl FnOnce(&mut StepRecord)) -> Self {
        change(self.0.trace.steps.last_mut().unwrap());
        self
    }

    fn resolved(self, resolution: Resolution) -> Self {
        self.with(|step| step.resolution = Some(resolution))
    }

    fn failed(self, message: &str) -> Self {
        let value = payload(&format!(r#"{{"error":{{"message":"{message}","name":"Error"}}}}"#));
        self.with(|step| (step.failed, step.value) = (true, value))
    }

    fn detail(mut self, step: &str, detail: StepDetail) -> Self {
        self.0.trace.details.push((StepId::from(step), detail));
        self
    }

    /// A failed attempt; `retry_at` is when the next one is due.
    fn attempt(
        mut self,
        job: JobId,
        step: Option<&str>,
        attempt: u32,
        times: Times,
        status: u16,
        retry_at: Option<i64>,
    ) -> Self {
        self.0.trace.attempts.push(AttemptRecord {
            job,
            step: step.map(step_ref),
            attempt,
            generation: attempt + 1,
            queued_at: at(times.0),
            started_at: at(times.1),
            ended_at: at(times.2),
            response: Some(ResponseHead::bare(status)),
            error: error(&format!("failed {attempt}")),
            retry_at: retry_at.map(at),
        });
        self
    }

    fn job(mut self, id: JobId, kind: JobKind, attempt: u32, queued_at: i64, due: i64) -> Self {
        let item = QueueItem::new(id, function(), kind, at(queued_at));
        self.0.trace.jobs.push(QueueItem { attempt, due: at(due), ..item });
        self
    }

    /// A step that was not over when the run ended.
    fn cut_off(mut self, id: JobId, kind: JobKind, attempt: u32, queued_at: i64, called_at: Option<i64>) -> Self {
        let (queued_at, called_at) = (at(queued_at), called_at.map(at));
        self.0.trace.cut_off.push(CutOff { job: id.key, kind, queued_at, called_at, attempt });
        self
    }

    fn invoked(mut self, id: RunId, status: RunStatus, finished: Option<EventId>) -> Self {
        let run = RunRecord { id, status, finished, ..self.0.run.clone() };
        self.0.invoked.insert(id, run);
        self
    }

    fn tree(&self) -> Span {
        super::tree(&self.0)
    }

    fn legacy(&self) -> Span {
        super::legacy(&self.0)
    }
}

/// Compares a trace with its text: the root, and below it the rest with an indent of its own.
#[track_caller]
fn check(span: &Span, expected: &str) {
    let (root, rest) = expected.split_once('\n').unwrap_or((expected, ""));
    let indent = rest.lines().map(|line| line.len() - line.trim_start().len()).min().unwrap_or(0);
    let rest: String = rest.lines().map(|line| format!("  {}\n", &line[indent..])).collect();
    let shown = render(span);
    assert!(shown == format!("{root}\n{rest}"), "\n--- shown\n{shown}--- expected\n{root}\n{rest}");
}

/// `name STATUS op att q.. sched.. s.. e.. dur.. out(..) resp.. {..}`, a line a span.
fn render(span: &Span) -> String {
    let mut out = String::new();
    line(&mut out, span, 0);
    out
}

fn line(out: &mut String, span: &Span, depth: usize) {
    let time = |name: &str, at: Option<Millis>| at.map(|at| format!(" {name}{}", at.0 - QUEUED)).unwrap_or_default();
    let _ = write!(out, "{}{} {}", "  ".repeat(depth), span.name, status(span.status));
    if let Some(op) = span.op {
        let _ = write!(out, " {}", op.as_str());
    }
    if span.step_type == "FINALIZATION" {
        out.push_str(" FINALIZATION");
    }
    if span.user.is_some() {
        out.push_str(" userland");
    }
    if let Some(attempts) = span.attempts {
        let _ = write!(out, " att{attempts}");
    }
    out.push_str(&time("q", Some(span.queued_at)));
    out.push_str(&time("sched", span.scheduled_at.filter(|at| *at != span.queued_at)));
    out.push_str(&time("s", span.started_at));
    out.push_str(&time("e", span.ended_at));
    if let Some(duration) = span.duration {
        let _ = write!(out, " dur{duration}");
    }
    match span.output.as_ref().map(|output| &output.of) {
        Some(OutputOf::Run) => out.push_str(" out(run)"),
        Some(OutputOf::Step(step)) => drop(write!(out, " out({step})")),
        Some(OutputOf::Attempt { generation, .. }) => drop(write!(out, " out(call {generation})")),
        None => {}
    }
    if let Some(response) = &span.response {
        let _ = write!(out, " resp{}", response.status);
    }
    if let Some(info) = span.info.as_ref().and_then(info) {
        let _ = write!(out, " {{{info}}}");
    }
    out.push('\n');
    for child in &span.children {
        line(out, child, depth + 1);
    }
}

/// Nothing for a plain step.
fn info(info: &StepInfo) -> Option<String> {
    let until = |until: &Millis| until.0 - QUEUED;
    Some(match info {
        StepInfo::Run { sdk_type } => format!("type:{}", sdk_type.as_deref()?),
        StepInfo::Sleep { until: at } => format!("until:{}", until(at)),
        StepInfo::Event { name, expression, until: at, found, timed_out } => format!(
            "event:{name},if:{},until:{},found:{},timedOut:{timed_out:?}",
            expression.as_deref().unwrap_or("-"),
            until(at),
            found.is_some()
        ),
        StepInfo::Signal { name, until: at, timed_out } => {
            format!("signal:{name},until:{},timedOut:{timed_out:?}", until(at))
        }
        StepInfo::Invoke { function, until: at, run, returned, timed_out, .. } => format!(
            "fn:{function},until:{},run:{},returned:{},timedOut:{timed_out:?}",
            until(at),
            run.is_some(),
            returned.is_some()
        ),
    })
}

fn event_detail(until: i64, expression: Option<&str>) -> StepDetail {
    StepDetail::Event { name: "ckpt/resume".into(), expression: expression.map(Into::into), until: at(until) }
}

fn invoke_detail(until: i64, run: Option<RunId>) -> StepDetail {
    StepDetail::Invoke { function: "shop-callee".into(), event: event_id(7), run, until: at(until) }
}

/// How the specification writes a status.
fn status(status: super::SpanStatus) -> String {
    format!("{status:?}").to_uppercase()
}
