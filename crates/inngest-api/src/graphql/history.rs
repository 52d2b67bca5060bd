//! What happened in a run, as older clients know it: a list, derived from its rows.

use async_graphql::{Enum, SimpleObject};
use inngest_core::{Millis, Payload, RunStatus, StepId};
use inngest_state::trace::StepDetail;
use inngest_state::{AttemptRecord, StepOp, StepRecord};
use ulid::Ulid;
use uuid::Uuid;

use super::runs;
use super::scalars::{Time, UlidText, UuidText, text};
use crate::trace::RunView;

/// What happened.
#[derive(Clone, Copy, Debug, Enum, PartialEq, Eq)]
#[graphql(rename_items = "PascalCase")]
pub(super) enum HistoryType {
    FunctionCancelled,
    FunctionCompleted,
    FunctionFailed,
    FunctionScheduled,
    FunctionStarted,
    FunctionStatusUpdated,
    None,
    StepCompleted,
    StepErrored,
    StepFailed,
    StepScheduled,
    StepSleeping,
    StepStarted,
    StepWaiting,
}

/// To what kind of step.
#[derive(Clone, Copy, Debug, Enum, PartialEq, Eq)]
#[graphql(rename_items = "PascalCase")]
pub(super) enum HistoryStepType {
    Run,
    Send,
    Sleep,
    Wait,
}

/// One thing that happened.
#[derive(Clone, SimpleObject)]
pub(super) struct RunHistoryItem {
    attempt: i64,
    cancel: Option<RunHistoryCancel>,
    created_at: Time,
    function_version: i64,
    #[graphql(name = "groupID")]
    group_id: Option<UuidText>,
    id: UlidText,
    result: Option<RunHistoryResult>,
    sleep: Option<RunHistorySleep>,
    step_name: Option<String>,
    step_type: Option<HistoryStepType>,
    r#type: HistoryType,
    url: Option<String>,
    wait_for_event: Option<RunHistoryWaitForEvent>,
    wait_result: Option<RunHistoryWaitResult>,
    invoke_function: Option<RunHistoryInvokeFunction>,
    invoke_function_result: Option<RunHistoryInvokeFunctionResult>,
    #[graphql(skip)]
    output: Option<Payload>,
}

/// What cancelled a run.
#[derive(Clone, SimpleObject)]
pub(super) struct RunHistoryCancel {
    #[graphql(name = "eventID")]
    event_id: Option<UlidText>,
    expression: Option<String>,
    #[graphql(name = "userID")]
    user_id: Option<UuidText>,
}

/// What came of a call.
#[derive(Clone, SimpleObject)]
pub(super) struct RunHistoryResult {
    #[graphql(name = "durationMS")]
    duration_ms: i64,
    error_code: Option<String>,
    framework: Option<String>,
    platform: Option<String>,
    sdk_language: String,
    sdk_version: String,
    size_bytes: i64,
}

/// A sleep.
#[derive(Clone, SimpleObject)]
pub(super) struct RunHistorySleep {
    until: Time,
}

/// A wait for an event.
#[derive(Clone, SimpleObject)]
pub(super) struct RunHistoryWaitForEvent {
    event_name: String,
    expression: Option<String>,
    timeout: Time,
}

/// What came of a wait.
#[derive(Clone, SimpleObject)]
pub(super) struct RunHistoryWaitResult {
    #[graphql(name = "eventID")]
    event_id: Option<UlidText>,
    timeout: bool,
}

/// The invocation of another function.
#[derive(Clone, SimpleObject)]
pub(super) struct RunHistoryInvokeFunction {
    #[graphql(name = "eventID")]
    event_id: UlidText,
    #[graphql(name = "functionID")]
    function_id: String,
    #[graphql(name = "correlationID")]
    correlation_id: String,
    timeout: Time,
}

/// What came of an invocation.
#[derive(Clone, SimpleObject)]
pub(super) struct RunHistoryInvokeFunctionResult {
    #[graphql(name = "eventID")]
    event_id: Option<UlidText>,
    timeout: bool,
    #[graphql(name = "runID")]
    run_id: Option<UlidText>,
}

/// Name of a step that is not known yet.
const UNKNOWN: &str = "step";

struct Items<'v> {
    view: &'v RunView,
    items: Vec<(Millis, RunHistoryItem)>,
}

impl<'v> Items<'v> {
    fn add(&mut self, at: Millis, r#type: HistoryType) -> &mut RunHistoryItem {
        let version = self.view.function.as_ref().map_or(0, |function| function.version);
        // The same each time that it is asked for.
        let random = self.view.run.id.0.random() ^ self.items.len() as u128;
        let id = UlidText(Ulid::from_parts(at.0.max(0).unsigned_abs(), random));
        let item = RunHistoryItem {
            attempt: 0,
            cancel: None,
            created_at: at.into(),
            function_version: version.into(),
            group_id: None,
            id,
            result: None,
            sleep: None,
            step_name: None,
            step_type: None,
            r#type,
            url: None,
            wait_for_event: None,
            wait_result: None,
            invoke_function: None,
            invoke_function_result: None,
            output: None,
        };
        let index = self.items.len();
        self.items.push((at, item));
        &mut self.items[index].1
    }

    /// Something that happened in the course of a job.
    fn add_to(&mut self, job: u64, name: &str, attempt: u32, at: Millis, r#type: HistoryType) -> &mut RunHistoryItem {
        let run = (self.view.run.id.0.0 >> 64) as u64;
        let item = self.add(at, r#type);
        item.group_id = Some(UuidText(Uuid::from_u64_pair(run, job)));
        item.step_name = Some(name.to_owned());
        item.step_type = Some(HistoryStepType::Run);
        item.attempt = attempt.into();
        item
    }

    fn attempt(&mut self, attempt: &AttemptRecord) {
        let name = attempt.step.as_ref().map_or(UNKNOWN, |step| &step.name);
        let (job, number) = (attempt.job.key, attempt.attempt);
        self.add_to(job, name, number, attempt.started_at, HistoryType::StepStarted);
        let ended = if attempt.retry_at.is_some() { HistoryType::StepErrored } else { HistoryType::StepFailed };
        let item = self.add_to(job, name, number, attempt.ended_at, ended);
        item.result = Some(result(attempt.started_at, attempt.ended_at, &attempt.error));
        item.output = Some(attempt.error.clone());
        if attempt.retry_at.is_some() {
            self.add_to(job, name, number + 1, attempt.ended_at, HistoryType::StepScheduled);
        }
    }

    fn step(&mut self, step: &StepRecord) {
        let (job, name, number) = (step.job, &*step.step.name, step.attempt);
        let detail = self.view.trace.details.iter().find(|(id, _)| *id == step.step.id).map(|(_, detail)| detail);
        self.begin(job, name, number, step.started_at, detail);
        let ended = if step.failed { HistoryType::StepFailed } else { HistoryType::StepCompleted };
        let item = self.add_to(job, name, number, step.ended_at, ended);
        item.step_type = Some(step_type(step.op));
        item.result = Some(result(step.started_at, step.ended_at, &step.value));
        item.output = Some(step.value.clone());
    }

    fn begin(&mut self, job: u64, name: &str, attempt: u32, at: Millis, detail: Option<&StepDetail>) {
        match detail {
            Some(StepDetail::Sleep { until }) => {
                let item = self.add_to(job, name, attempt, at, HistoryType::StepSleeping);
                item.step_type = Some(HistoryStepType::Sleep);
                item.sleep = Some(RunHistorySleep { until: (*until).into() });
            }
            Some(StepDetail::Event { name: event, expression, until }) => {
                let item = self.add_to(job, name, attempt, at, HistoryType::StepWaiting);
                item.step_type = Some(HistoryStepType::Wait);
                item.wait_for_event = Some(RunHistoryWaitForEvent {
                    event_name: event.to_string(),
                    expression: expression.as_ref().map(ToString::to_string),
                    timeout: (*until).into(),
                });
            }
            Some(StepDetail::Signal { .. }) => {
                let item = self.add_to(job, name, attempt, at, HistoryType::StepWaiting);
                item.step_type = Some(HistoryStepType::Wait);
            }
            Some(StepDetail::Invoke { function, event, until, .. }) => {
                let correlation_id = format!("{}.{job}", self.view.run.id);
                let item = self.add_to(job, name, attempt, at, HistoryType::StepWaiting);
                item.step_type = Some(HistoryStepType::Wait);
                item.invoke_function = Some(RunHistoryInvokeFunction {
                    event_id: (*event).into(),
                    function_id: function.to_string(),
                    correlation_id,
                    timeout: (*until).into(),
                });
            }
            Some(StepDetail::Run { .. } | StepDetail::Gateway { .. }) | None => {
                self.add_to(job, name, attempt, at, HistoryType::StepStarted);
            }
        }
    }

    /// Steps that go on, and those that the end of the run cut off.
    fn waiting(&mut self) {
        let trace = &self.view.trace;
        let jobs = trace.jobs.iter().map(|job| (job.id.key, &job.kind, job.attempt, job.queued_at));
        let cut_off = trace.cut_off.iter().map(|step| (step.job, &step.kind, step.attempt, step.queued_at));
        for (job, kind, attempt, at) in jobs.chain(cut_off) {
            let Some(step) = kind.step() else { continue };
            let detail = trace.details.iter().find(|(id, _): &&(StepId, StepDetail)| *id == step.id);
            if let Some((_, detail)) = detail {
                self.begin(job, &step.name, attempt, at, Some(detail));
            }
        }
    }
}

fn step_type(op: StepOp) -> HistoryStepType {
    match op {
        StepOp::Sleep => HistoryStepType::Sleep,
        StepOp::WaitForEvent | StepOp::WaitForSignal | StepOp::Invoke => HistoryStepType::Wait,
        _ => HistoryStepType::Run,
    }
}

fn result(from: Millis, until: Millis, output: &Payload) -> RunHistoryResult {
    RunHistoryResult {
        duration_ms: i64::try_from(until.since(from).as_millis()).unwrap_or(i64::MAX),
        error_code: None,
        framework: None,
        platform: None,
        sdk_language: String::new(),
        sdk_version: String::new(),
        size_bytes: i64::try_from(output.len()).unwrap_or(i64::MAX),
    }
}

/// What happened in a run, in order.
pub(super) fn of(view: &RunView) -> Vec<RunHistoryItem> {
    let mut items = Items { view, items: Vec::new() };
    let run = &view.run;
    items.add(run.queued_at, HistoryType::FunctionScheduled);
    if let Some(at) = run.started_at {
        items.add(at, HistoryType::FunctionStarted);
    }
    view.trace.attempts.iter().for_each(|attempt| items.attempt(attempt));
    view.trace.steps.iter().for_each(|step| items.step(step));
    items.waiting();
    if let (Some(call), Some(ended)) = (&view.trace.last_call, run.ended_at) {
        let job = call.job.key;
        items.add_to(job, UNKNOWN, call.attempt, call.queued_at, HistoryType::StepScheduled);
        items.add_to(job, UNKNOWN, call.attempt, call.started_at, HistoryType::StepStarted);
        let r#type = if run.status == RunStatus::Failed { HistoryType::StepFailed } else { HistoryType::StepCompleted };
        items.add_to(job, UNKNOWN, call.attempt, ended, r#type);
    }
    let end = match run.status {
        RunStatus::Completed => Some(HistoryType::FunctionCompleted),
        RunStatus::Failed => Some(HistoryType::FunctionFailed),
        RunStatus::Cancelled => Some(HistoryType::FunctionCancelled),
        _ => None,
    };
    if let (Some(end), Some(at)) = (end, run.ended_at) {
        items.add(at, end).output = runs::output(run);
    }
    let mut items = items.items;
    // What was added first comes first of what happened at one time.
    items.sort_by_key(|(at, _)| *at);
    items.into_iter().map(|(_, item)| item).collect()
}

/// The output of one of the things that happened.
pub(super) fn output(view: &RunView, id: UlidText) -> Option<String> {
    let item = of(view).into_iter().find(|item| item.id == id)?;
    item.output.map(|output| text(&output))
}
