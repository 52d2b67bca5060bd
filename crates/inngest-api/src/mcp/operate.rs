//! What operators ask: why a run does not go on, how much waits, what failed, and that it runs again. (The server's log
//! is on its standard error and is not kept, so there is no tool that reads it.)

use inngest_core::{Millis, RunStatus};
use inngest_executor::engine::RerunError;
use inngest_expr::date;
use inngest_state::Hold;
use inngest_state::history::{Between, RunFilter};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::invoke::function;
use super::native::{Call, Done, Native, Problem};
use super::status::parse_id;
use super::{rpc, tools};
use crate::rest::{explain, rfc3339};

/// Runs that one call runs again, unless it says otherwise, and at most.
const REPLAYS: usize = 100;
const REPLAYS_MAX: usize = 1_000;

pub(super) fn tools() -> Vec<Native> {
    vec![
        Native::read(
            "explain_run",
            "Explain run",
            "Tells what a run waits for: its time, its turn, a limit that is used up, or nothing.",
            explain_run,
        ),
        Native::read(
            "queue_status",
            "Queue status",
            "Tells how many jobs wait and are worked on, how many runs are open, and which functions are paused.",
            queue_status,
        ),
        Native::read(
            "list_failed_runs",
            "List failed runs",
            "Lists the runs that failed, the last one first, with their errors.",
            list_failed_runs,
        ),
        Native::write(
            "replay_runs",
            "Replay runs",
            "Runs again what a function has run, oldest first. Unless dryRun is false, it only tells which runs these are.",
            replay_runs,
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

async fn explain_run(Call { api, arguments, .. }: Call<OfRun>) -> Result<Done, Problem> {
    let id = parse_id(&arguments.run_id)?;
    let explained = explain::explained(&api, id).await?;
    Done::of(&explained.ok_or_else(|| Problem::new(format!("Run not found: {id}")))?)
}

/// Nothing needs to be said.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// How much there is to do.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct QueueStatus {
    /// Jobs that wait for their time, however far, or for their turn.
    jobs_waiting: usize,
    /// Jobs that are worked on.
    jobs_in_work: usize,
    /// Runs that have not started.
    runs_queued: u64,
    /// Runs that have started and not ended.
    runs_running: u64,
    held_functions: Vec<Held>,
}

/// A function that an operator has stopped.
#[derive(Debug, Serialize)]
struct Held {
    slug: String,
    hold: &'static str,
}

async fn queue_status(Call { api, .. }: Call<Nothing>) -> Result<Done, Problem> {
    let depth = api.engine.depth().await?;
    let count = async |status| {
        api.engine.history().count_runs(RunFilter { statuses: vec![status], ..RunFilter::default() }).await
    };
    let registry = api.engine.registry();
    let held = registry.functions().filter_map(|function| {
        let hold = match registry.hold(&function.id)? {
            Hold::PausedQueue => "paused, new runs wait",
            Hold::PausedSkip => "paused, new runs are skipped",
            Hold::Draining => "draining, new runs are skipped",
        };
        Some(Held { slug: function.slug.to_string(), hold })
    });
    Done::of(&QueueStatus {
        jobs_waiting: depth.waiting,
        jobs_in_work: depth.leased,
        runs_queued: count(RunStatus::Scheduled).await?,
        runs_running: count(RunStatus::Running).await?,
        held_functions: held.collect(),
    })
}

/// Which failed runs.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct FailedRuns {
    /// Only runs of these apps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    app_id: Vec<String>,
    /// Only runs of these functions of the apps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    function_id: Vec<String>,
    /// Only runs that failed then or later.
    #[schemars(extend("format" = "date-time"))]
    from: Option<String>,
    /// Only runs that failed then or earlier.
    #[schemars(extend("format" = "date-time"))]
    until: Option<String>,
    /// From where the list goes on: `page.cursor` of the result before.
    cursor: Option<String>,
    /// How many runs at most: 20 unless said otherwise.
    #[schemars(range(min = 0, max = 100))]
    limit: Option<i32>,
}

async fn list_failed_runs(Call { api, headers, arguments, .. }: Call<FailedRuns>) -> Result<Done, Problem> {
    let mut asked: Map<String, Value> = json!({ "status": ["FAILED"], "timeField": "endedAt", "includeOutput": true })
        .as_object()
        .cloned()
        .unwrap_or_default();
    let also = serde_json::to_value(&arguments).map_err(|error| Problem::new(error.to_string()))?;
    asked.extend(also.as_object().cloned().unwrap_or_default());
    let asked = rpc::result(&asked).map_err(|error| Problem::new(error.to_string()))?;
    tools::call_v2(&api, &headers, "ListRuns", &asked).await
}

/// How a run ended that is to run again.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum Ended {
    Completed,
    Failed,
    Cancelled,
}

/// What to run again.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Replay {
    /// The function: its UUID, its slug (`<app>-<function>`) or its name.
    function_id: String,
    /// Only runs that ended so: `FAILED` unless said otherwise.
    #[serde(default)]
    status: Vec<Ended>,
    /// Only runs that were scheduled then or later.
    #[schemars(extend("format" = "date-time"))]
    from: Option<String>,
    /// Only runs that were scheduled then or earlier.
    #[schemars(extend("format" = "date-time"))]
    until: Option<String>,
    /// How many runs at most: 100 unless said otherwise, 1000 at most.
    #[schemars(range(min = 1, max = 1000))]
    limit: Option<usize>,
    /// `false`: they run again.
    dry_run: Option<bool>,
}

/// What runs again.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Replayed {
    dry_run: bool,
    /// The latest time that counts: to run again what a dry run has told, and nothing else, give it with the next call.
    until: String,
    /// Of a dry run: the runs that would run again.
    #[serde(skip_serializing_if = "Option::is_none")]
    run_ids: Option<Vec<String>>,
    /// Runs that start.
    started: usize,
    /// Runs that do not: another run of a singleton goes on.
    skipped: usize,
}

async fn replay_runs(Call { api, arguments, .. }: Call<Replay>) -> Result<Done, Problem> {
    let Replay { function_id, status, from, until, limit, dry_run } = arguments;
    let function = function(&api, &function_id)?.id;
    let limit = limit.unwrap_or(REPLAYS);
    if !(1..=REPLAYS_MAX).contains(&limit) {
        return Err(Problem::new(format!("limit must be from 1 to {REPLAYS_MAX}")));
    }
    let (from, until) = (time("from", from.as_deref())?, time("until", until.as_deref())?);
    // The new runs are not among those to be run again.
    let before_now = Millis(api.engine.ids().now().0 - 1);
    let until = until.unwrap_or(before_now).min(before_now);
    let status = if status.is_empty() { vec![Ended::Failed] } else { status };
    let statuses: Vec<RunStatus> = status
        .into_iter()
        .map(|ended| match ended {
            Ended::Completed => RunStatus::Completed,
            Ended::Failed => RunStatus::Failed,
            Ended::Cancelled => RunStatus::Cancelled,
        })
        .collect();
    let mut replayed = Replayed { dry_run: true, until: rfc3339(until), run_ids: None, started: 0, skipped: 0 };
    if dry_run.unwrap_or(true) {
        let queued = Between { after: from, before: Some(until) };
        let functions = Some(vec![function]);
        let filter = RunFilter { statuses, functions, queued, ascending: true, limit, ..RunFilter::default() };
        let runs = api.engine.history().runs(filter).await?;
        replayed.run_ids = Some(runs.iter().map(|run| run.id.to_string()).collect());
    } else {
        let reruns = api.engine.rerun_many(function, statuses, from, until, limit).await.map_err(refused)?;
        (replayed.dry_run, replayed.started, replayed.skipped) = (false, reruns.started, reruns.skipped);
    }
    Done::of(&replayed)
}

fn time(name: &str, text: Option<&str>) -> Result<Option<Millis>, Problem> {
    let Some(text) = text else { return Ok(None) };
    let at = date::parse(text)
        .ok_or_else(|| Problem::new(format!("{name} must be a date, such as 2026-01-02T03:04:05Z")))?;
    Ok(Some(at))
}

fn refused(error: RerunError) -> Problem {
    match error {
        RerunError::Store(error) => error.into(),
        error => Problem::new(error.to_string()),
    }
}
