//! `get_run_status`, `poll_run_status`: where runs stand, in the words that older clients know.

use inngest_core::{Millis, RunId, RunStatus};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::native::{Call, Done, Native, Problem};
use super::wait::timeout;
use crate::rest::rfc3339;
use crate::trace::{self, OutputOf, RunView, Span, SpanError, SpanStatus};
use crate::v2::raw;

/// Runs that are asked for at a time, at most.
const RUNS_MAX: usize = 100;

pub(super) fn tools() -> Vec<Native> {
    vec![
        Native::read(
            "get_run_status",
            "Get run status",
            "Tells where a run stands, what its steps did, and what it returned.",
            get,
        ),
        Native::read(
            "poll_run_status",
            "Wait for runs",
            "Waits until all of these runs have ended, or the time is over, and tells where each stands.",
            poll,
        ),
    ]
}

/// Which run.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct OfRun {
    /// ULID of the run.
    run_id: String,
}

/// Which runs.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Poll {
    /// ULIDs of the runs, 100 at most. Those that do not exist are left out of the result.
    #[schemars(length(min = 1, max = 100))]
    run_ids: Vec<String>,
    /// How many seconds to wait: 30 unless said otherwise, 600 at most.
    #[schemars(range(min = 0, max = 600))]
    timeout: Option<u32>,
    /// Without effect: the server knows when a run ends.
    #[serde(rename = "pollInterval")]
    _poll_interval: Option<u32>,
}

/// Where runs stand.
#[derive(Debug, Serialize)]
struct Polled {
    runs: Vec<RunShown>,
    completed: usize,
    running: usize,
    /// Those that ended otherwise.
    failed: usize,
}

/// Where a run stands.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RunShown {
    pub(super) run_id: String,
    pub(super) function_name: String,
    pub(super) status: &'static str,
    started_at: Option<String>,
    ended_at: Option<String>,
    pub(super) event_id: Option<String>,
    event_name: String,
    steps: Option<Vec<Step>>,
    pub(super) output: Option<Box<RawValue>>,
    pub(super) error: Option<String>,
}

/// Where a step stands.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Step {
    step_name: String,
    /// Hashed.
    step_id: String,
    status: &'static str,
    started_at: Option<String>,
    /// Counted from 0.
    attempt: u32,
    error: Option<String>,
}

async fn get(Call { api, arguments, .. }: Call<OfRun>) -> Result<Done, Problem> {
    let id = parse_id(&arguments.run_id)?;
    let view = trace::load(&api, id).await?.ok_or_else(|| Problem::new(format!("Run not found: {id}")))?;
    Done::of(&RunShown::of(&view))
}

async fn poll(Call { api, waits, arguments, .. }: Call<Poll>) -> Result<Done, Problem> {
    let Poll { run_ids, timeout: seconds, .. } = arguments;
    if run_ids.is_empty() {
        return Err(Problem::new("runIds array cannot be empty"));
    }
    if run_ids.len() > RUNS_MAX {
        return Err(Problem::new(format!("runIds cannot name more than {RUNS_MAX} runs")));
    }
    let ids = run_ids.iter().map(|id| parse_id(id)).collect::<Result<Vec<_>, _>>()?;
    waits.until_ended(&api, ids.clone(), timeout(seconds)?).await?;
    let mut polled = Polled { runs: Vec::new(), completed: 0, running: 0, failed: 0 };
    for id in ids {
        let Some(view) = trace::load(&api, id).await? else { continue };
        match view.run.status {
            RunStatus::Completed => polled.completed += 1,
            status if status.is_final() => polled.failed += 1,
            _ => polled.running += 1,
        }
        polled.runs.push(RunShown::of(&view));
    }
    Done::of(&polled)
}

pub(super) fn parse_id(text: &str) -> Result<RunId, Problem> {
    text.parse().map_err(|_| Problem::new(format!("{text:?} is no run ID: a ULID is expected")))
}

impl RunShown {
    pub(super) fn of(view: &RunView) -> Self {
        let run = &view.run;
        let result = trace::output(view, &OutputOf::Run).unwrap_or_default();
        let steps: Vec<Step> = trace::tree(view).children.iter().filter_map(|span| Step::of(view, span)).collect();
        Self {
            run_id: run.id.to_string(),
            function_name: view.function.as_ref().map_or_else(String::new, |function| function.name.to_string()),
            status: run.status.as_str(),
            started_at: run.started_at.map(seconds),
            ended_at: run.ended_at.map(seconds),
            event_id: run.event_ids.first().map(ToString::to_string),
            event_name: run.event_name.to_string(),
            steps: Some(steps).filter(|steps| !steps.is_empty()),
            output: result.data.as_deref().map(raw),
            error: result.error.map(message),
        }
    }
}

impl Step {
    /// `None`: the span is not that of a step.
    fn of(view: &RunView, span: &Span) -> Option<Self> {
        let id = span.step.as_ref().filter(|_| span.user.is_none())?;
        let output = span.output.as_ref().and_then(|output| trace::output(view, &output.of));
        Some(Self {
            step_name: span.name.to_string(),
            step_id: id.to_string(),
            status: match span.status {
                SpanStatus::Queued => "Queued",
                SpanStatus::Running => "Running",
                SpanStatus::Waiting => "Waiting",
                SpanStatus::Completed => "Completed",
                SpanStatus::Failed => "Failed",
                SpanStatus::Cancelled => "Cancelled",
                SpanStatus::Skipped => "Skipped",
            },
            started_at: span.started_at.map(seconds),
            attempt: span.attempts.unwrap_or(0),
            error: output.and_then(|output| output.error).map(message),
        })
    }
}

/// What is wrong; of an error that nobody could read, all there is.
fn message(error: SpanError) -> String {
    if error.message.is_empty() { error.stack.unwrap_or_default() } else { error.message }
}

/// Without a fraction.
fn seconds(at: Millis) -> String {
    rfc3339(Millis(at.0 - at.0.rem_euclid(1_000)))
}
