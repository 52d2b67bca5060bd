//! `GET /v1/runs`, `/v1/runs/{id}`, `/v1/runs/{id}/actions`, `/v1/runs/{id}/jobs`, `DELETE /v1/runs/{id}`.

use axum::body::Body;
use axum::extract::{RawQuery, State};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Response;
use inngest_core::event::SCHEDULED_TIMER;
use inngest_core::{FunctionId, RunId, RunStatus};
use inngest_executor::engine::Cancelled;
use inngest_queue::flow::Skip;
use inngest_queue::{Gathering, JobKind, QueueItem, WaitFor};
use inngest_state::history::{Between, RunFilter, RunRecord, RunTrace};
use inngest_state::{AttemptRecord, StepOp, StepRecord};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::functions::apps;
use super::query::Query;
use super::skips::existing_run;
use super::{ENVIRONMENT, Json, due, envelope, gatherings, paged, rfc3339};
use crate::Api;
use crate::definitions::Definitions;
use crate::error::ApiError;
use crate::paths::Path;

/// How much of a run is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    WithOutput,
    WithoutOutput,
}

pub(crate) async fn get(State(api): State<Api>, Path(id): Path<String>) -> Result<Response<Body>, ApiError> {
    let id = parse_id(&id)?;
    let found = api.engine.history().run_record(id).await?;
    let run = found.ok_or_else(|| unknown(id))?;
    let definitions = Definitions::of(&api, [run.function].into_iter()).await?;
    let mut shown = render(&run, &definitions, Shape::WithOutput);
    if let Some(schedule) = schedule(&api, &run).await? {
        shown.cron = Some(schedule);
    }
    Ok(envelope(api.engine.ids(), shown))
}

/// The schedule that started a run.
pub(super) async fn schedule(api: &Api, run: &RunRecord) -> Result<Option<String>, ApiError> {
    let Some(event) = run.event_ids.first().filter(|_| &*run.event_name == SCHEDULED_TIMER) else { return Ok(None) };
    let Some(record) = api.engine.history().event(*event).await? else { return Ok(None) };
    let event: Value = serde_json::from_slice(&record.body).unwrap_or_default();
    Ok(event["data"]["cron"].as_str().map(str::to_owned))
}

pub(crate) async fn cancel(State(api): State<Api>, Path(id): Path<String>) -> Result<(), ApiError> {
    let id = parse_id(&id)?;
    match api.engine.cancel(id).await? {
        Cancelled::Now | Cancelled::AlreadyEnded => Ok(()),
        Cancelled::Unknown => Err(unknown(id)),
    }
}

pub(crate) async fn list(State(api): State<Api>, RawQuery(query): RawQuery) -> Result<Response<Body>, ApiError> {
    let query = Query::of(query.as_deref());
    let limit = query.limit(20, 100);
    let filter = RunFilter {
        statuses: query.all("status").map(status).collect::<Result<_, _>>()?,
        functions: functions(&api, &query).await?,
        event: query.first("event_id").map(str::parse).transpose().map_err(|_| bad("event_id"))?,
        started: Between {
            after: query.time("started_after", "Invalid started_after query parameter")?,
            before: query.time("started_before", "Invalid started_before query parameter")?,
        },
        queued: Between {
            after: query.time("queued_after", "Invalid queued_after query parameter")?,
            before: query.time("queued_before", "Invalid queued_before query parameter")?,
        },
        ascending: match query.first("order").map(str::to_ascii_lowercase).as_deref() {
            None | Some("desc") => false,
            Some("asc") => true,
            Some(_) => return Err(bad("order")),
        },
        cursor: query.first("cursor").map(from_cursor).transpose()?.map(|run| (run.timestamp(), run)),
        limit: limit + 1,
        ..RunFilter::default()
    };
    let shape = if query.flag("include_output")? { Shape::WithOutput } else { Shape::WithoutOutput };
    let mut runs = api.engine.history().runs(filter).await?;
    let more = runs.len() > limit;
    runs.truncate(limit);
    let cursor = runs.last().filter(|_| more).map(|run| to_cursor(run.id));
    let definitions = Definitions::of(&api, runs.iter().map(|run| run.function)).await?;
    let data = runs.iter().map(|run| render(run, &definitions, shape)).collect();
    Ok(paged(api.engine.ids(), data, cursor, limit))
}

fn bad(parameter: &str) -> ApiError {
    ApiError::bad_request(format!("Invalid {parameter} query parameter"))
}

fn status(text: &str) -> Result<RunStatus, ApiError> {
    let found = RunStatus::ALL.into_iter().find(|status| status.as_str().eq_ignore_ascii_case(text));
    found.ok_or_else(|| ApiError::bad_request(format!("Invalid status: {text}")))
}

/// The functions that `app` and `function` name, also those that were removed; `None` when neither is given.
async fn functions(api: &Api, query: &Query) -> Result<Option<Vec<FunctionId>>, ApiError> {
    let (app, function) = (query.first("app"), query.first("function"));
    if app.is_none() && function.is_none() {
        return Ok(None);
    }
    let (apps, all) = (apps(api).await?, api.engine.history().functions().await?);
    let matches = all.iter().filter(|candidate| {
        let app_name = apps.get(&candidate.app).map_or("", |app| &*app.name);
        let short = candidate.slug.strip_prefix(app_name).and_then(|rest| rest.strip_prefix('-'));
        app.is_none_or(|app| app == app_name)
            && function.is_none_or(|function| {
                *candidate.slug == *function || short == Some(function) || candidate.id.to_string() == function
            })
    });
    Ok(Some(matches.map(|function| function.id).collect()))
}

fn to_cursor(run: RunId) -> String {
    URL_SAFE_NO_PAD.encode(run.to_bytes())
}

fn from_cursor(text: &str) -> Result<RunId, ApiError> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| bytes.try_into().ok());
    bytes.map(RunId::from_bytes).ok_or_else(|| bad("cursor"))
}

pub(crate) async fn actions(State(api): State<Api>, Path(id): Path<String>) -> Result<Response<Body>, ApiError> {
    let trace = trace(&api, &id).await?;
    let mut actions: Vec<(i64, Action)> = Vec::new();
    actions.extend(trace.steps.iter().map(|step| (step.ended_at.0, step_action(step))));
    actions.extend(trace.attempts.iter().map(|attempt| (attempt.ended_at.0, attempt_action(attempt))));
    actions.sort_by_key(|(at, _)| *at);
    let pending = trace.jobs.iter().map(|job| (job.due.0, pending_action(job)));
    let data: Vec<Action> = actions.into_iter().chain(pending).map(|(_, action)| action).collect();
    Ok(envelope(api.engine.ids(), data))
}

pub(crate) async fn jobs(State(api): State<Api>, Path(id): Path<String>) -> Result<Response<Body>, ApiError> {
    let trace = trace(&api, &id).await?;
    let shown = trace.jobs.iter().take(JOBS_MAX).enumerate().map(|(position, job)| Job {
        job_id: job.id.to_string(),
        id: job.id.to_string(),
        at: due(job.due),
        position,
        kind: job_kind(job),
        attempt: job.attempt,
    });
    Ok(envelope(api.engine.ids(), shown.collect::<Vec<_>>()))
}

/// Jobs of a run that are listed.
const JOBS_MAX: usize = 10;

/// What must happen next for a run, and when.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Job {
    #[serde(rename = "JobID")]
    job_id: String,
    id: String,
    /// `null`: when another run ends.
    at: Option<String>,
    position: usize,
    /// `start`, `edge`, `sleep`, `pause` or `cancel`.
    kind: &'static str,
    /// Counted from 0.
    attempt: u32,
}

/// Something that a run has done, is doing or will do.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub(super) struct Action {
    /// The hashed id of the step; `null` outside of steps.
    id: Option<String>,
    name: Option<String>,
    /// The op of a step, `Attempt`, or the kind of a job.
    op: &'static str,
    status: &'static str,
    attempt: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    queued_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    started_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_at: Option<String>,
    /// When the next attempt is due, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    due_at: Option<String>,
    /// Of the reply to an attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    http_status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    input: Option<Json>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<Json>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Json>,
}

async fn trace(api: &Api, id: &str) -> Result<RunTrace, ApiError> {
    let id = parse_id(id)?;
    if api.engine.history().run_record(id).await?.is_none() {
        return Err(unknown(id));
    }
    Ok(api.engine.history().trace(id).await?)
}

fn step_action(step: &StepRecord) -> Action {
    let op = match step.op {
        StepOp::Run => "StepRun",
        StepOp::Legacy => "Step",
        StepOp::Sleep => "Sleep",
        StepOp::WaitForEvent => "WaitForEvent",
        StepOp::Invoke => "InvokeFunction",
        StepOp::WaitForSignal => "WaitForSignal",
        StepOp::Gateway => "Gateway",
        StepOp::AiGateway => "AIGateway",
    };
    Action {
        id: Some(step.step.id.to_string()),
        name: Some(step.step.name.to_string()),
        op,
        status: if step.failed { "Failed" } else { "Completed" },
        attempt: step.attempt,
        queued_at: Some(rfc3339(step.queued_at)),
        started_at: Some(rfc3339(step.started_at)),
        ended_at: Some(rfc3339(step.ended_at)),
        input: step.input.as_deref().map(Json::of),
        output: Some(Json::of(&step.value)),
        ..Action::default()
    }
}

fn attempt_action(attempt: &AttemptRecord) -> Action {
    Action {
        id: attempt.step.as_ref().map(|step| step.id.to_string()),
        name: attempt.step.as_ref().map(|step| step.name.to_string()),
        op: "Attempt",
        status: "Errored",
        attempt: attempt.attempt,
        http_status: attempt.status(),
        started_at: Some(rfc3339(attempt.started_at)),
        ended_at: Some(rfc3339(attempt.ended_at)),
        retry_at: attempt.retry_at.map(rfc3339),
        error: Some(Json::of(&attempt.error)),
        ..Action::default()
    }
}

fn pending_action(job: &QueueItem) -> Action {
    let status = match job.kind {
        JobKind::Sleep(_) => "Sleeping",
        JobKind::Wait(_, WaitFor::Invoke) => "Invoking",
        JobKind::Wait(..) => "Waiting",
        _ => "Scheduled",
    };
    Action {
        id: job.step().map(|step| step.id.to_string()),
        name: job.step().map(|step| step.name.to_string()),
        op: job_kind(job),
        status,
        attempt: job.attempt,
        due_at: due(job.due),
        ..Action::default()
    }
}

pub(super) fn job_kind(job: &QueueItem) -> &'static str {
    match job.kind {
        JobKind::Start | JobKind::Gathered(_) => "start",
        JobKind::Discovery | JobKind::Step(_) | JobKind::Gateway(_) => "edge",
        JobKind::Sleep(_) => "sleep",
        JobKind::Wait(..) => "pause",
        JobKind::Deadline(_) | JobKind::Cancel => "cancel",
    }
}

pub(super) fn parse_id(text: &str) -> Result<RunId, ApiError> {
    text.parse().map_err(|_| ApiError::bad_request(format!("Invalid run ID: {text}")))
}

pub(super) fn unknown(id: RunId) -> ApiError {
    ApiError::not_found(format!("Unable to load function run: {id}"))
}

/// One execution of a function.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Run {
    run_id: String,
    /// When its function was called for the first time; until then, when it was scheduled.
    run_started_at: String,
    queued_at: String,
    function_id: String,
    function_slug: Option<String>,
    function_version: u32,
    app_id: Option<String>,
    app_name: Option<String>,
    environment_id: &'static str,
    /// The first of its events.
    event_id: Option<String>,
    event_ids: Vec<String>,
    event_name: String,
    /// `Scheduled`, `Running`, `Completed`, `Failed`, `Cancelled` or `Skipped`.
    status: &'static str,
    ended_at: Option<String>,
    /// The first run in the chain of reruns that led to this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    original_run_id: Option<String>,
    /// The schedule that started it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cron: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    skip_reason: Option<&'static str>,
    /// The run that was in the way of one that was skipped.
    #[serde(skip_serializing_if = "Option::is_none")]
    skip_existing_run_id: Option<String>,
    /// `debounce` or `batch`.
    #[serde(skip_serializing_if = "Option::is_none")]
    gathered_by: Option<&'static str>,
    /// A batch starts one run, whose id names both.
    #[serde(skip_serializing_if = "Option::is_none")]
    batch_id: Option<String>,
    /// What the function returned, or what its app answered as it failed; `{}` of a cancelled run.
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<Json>,
    /// What the output of a failed run means, whatever its app answered: name, message, stack.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Json>,
}

pub(super) fn render(run: &RunRecord, definitions: &Definitions, shape: Shape) -> Run {
    let function = definitions.function(run.function);
    let app = function.and_then(|function| definitions.app(function.app));
    let with_output = shape == Shape::WithOutput;
    let output = match (run.status, &run.output, &run.error) {
        (RunStatus::Cancelled, ..) => Some(Json::empty()),
        (_, Some(output), _) | (_, None, Some(output)) => Some(Json::of(output)),
        (_, None, None) => None,
    };
    Run {
        run_id: run.id.to_string(),
        run_started_at: rfc3339(run.started_at.unwrap_or(run.queued_at)),
        queued_at: rfc3339(run.queued_at),
        function_id: run.function.to_string(),
        function_slug: function.map(|function| function.slug.to_string()),
        function_version: function.map_or(0, |function| function.version),
        app_id: function.map(|function| function.app.to_string()),
        app_name: app.map(|app| app.name.to_string()),
        environment_id: ENVIRONMENT,
        event_id: run.event_ids.first().map(ToString::to_string),
        event_ids: run.event_ids.iter().map(ToString::to_string).collect(),
        event_name: run.event_name.to_string(),
        status: run.status.as_str(),
        ended_at: run.ended_at.map(rfc3339),
        original_run_id: run.original_run.map(|original| original.to_string()),
        cron: None,
        skip_reason: run.skip.map(Skip::as_str),
        skip_existing_run_id: run.skip.and_then(existing_run),
        gathered_by: run.gathering.map(gatherings::kind),
        batch_id: (run.gathering == Some(Gathering::Batch)).then(|| run.id.to_string()),
        output: output.filter(|_| with_output),
        error: run.error.as_deref().filter(|_| with_output).map(Json::of),
    }
}

#[cfg(test)]
mod tests {
    use inngest_core::limits;
    use serde_json::json;
    use tokio::time::{Duration, Instant, sleep};

    use crate::testing::{Reply, World};

    /// The list that is asked for, once it has `count` runs.
    async fn runs(world: &World, query: &str, count: usize) -> Reply {
        let began = Instant::now();
        loop {
            let reply = world.request("GET", &format!("/v1/runs?{query}"), &[], "").await;
            if reply.json()["data"].as_array().map(Vec::len) == Some(count) {
                return reply;
            }
            assert!(began.elapsed() < Duration::from_secs(20), "{query}: {}", reply.text);
            sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn runs_of_a_removed_function_keep_its_name() {
        let world = World::working().await;
        world.register(&[("hello", json!({ "event": "a" }), json!({}))]).await;
        let event = world.send(json!({ "name": "a" })).await.remove(0);
        let found = runs(&world, "status=Completed", 1).await.json();
        let run = found["data"][0]["run_id"].as_str().unwrap().to_owned();
        let removed = world.request("DELETE", "/fn/remove?url=http://localhost:3000/api/inngest", &[], "").await;
        assert_eq!(removed.status, 200);
        for query in ["function=app-hello", "function=hello", "app=app", "function=hello&app=app", ""] {
            let shown = runs(&world, query, 1).await.json();
            assert_eq!(shown["data"][0]["function_slug"], "app-hello", "{query}");
            assert_eq!(
                (&shown["data"][0]["app_name"], &shown["data"][0]["function_version"]),
                (&json!("app"), &json!(1))
            );
        }
        // A function that runs again is known again, while its app is not.
        let again = world.request("POST", &format!("/v1/runs/{run}/rerun"), &[], "").await;
        assert_eq!(again.status, 200, "{}", again.text);
        assert_eq!(runs(&world, "app=app", 2).await.text.matches("\"app_name\":\"app\"").count(), 2);
        let shown = world.request("GET", "/v2/runs", &[], "").await.text;
        assert_eq!(shown.matches(r#""app":{"id":"app"}"#).count(), 2, "{shown}");
        for path in [format!("/v1/runs/{run}"), format!("/v1/events/{event}/runs"), format!("/v1/runs/{run}/explain")] {
            let reply = world.request("GET", &path, &[], "").await;
            assert!(reply.text.contains("\"function_slug\":\"app-hello\""), "{path}: {}", reply.text);
        }
    }

    #[tokio::test]
    async fn filters_that_cannot_be_meant_are_refused_by_name() {
        let world = World::new().await;
        world.register(&[("hello", json!({ "event": "a" }), json!({}))]).await;
        world.send(json!({ "name": "a" })).await;
        for (query, parameter) in [
            ("include_output=maybe", "include_output"),
            ("queued_after=soon", "queued_after"),
            ("queued_before=soon", "queued_before"),
            ("started_after=soon", "started_after"),
            ("order=up", "order"),
            ("cursor=x", "cursor"),
        ] {
            let reply = world.request("GET", &format!("/v1/runs?{query}"), &[], "").await;
            let error = reply.json()["error"].as_str().unwrap().to_owned();
            assert_eq!((reply.status, error.starts_with(&format!("Invalid {parameter} query parameter"))), (400, true));
        }
        for (path, status) in [
            ("/v1/functions?archived=x", 400),
            ("/v1/events?include_internal=x", 400),
            ("/v1/functions?archived=TRUE", 200),
        ] {
            assert_eq!(world.request("GET", path, &[], "").await.status, status, "{path}");
        }
        assert_eq!(world.request("GET", "/v1/functions?archived=TRUE", &[], "").await.json()["data"], json!([]));
        let past = limits::EVENT_TS_MIN;
        runs(&world, &format!("queued_after={past}&include_output=F"), 1).await;
        runs(&world, "queued_before=2020-01-01", 0).await;
    }
}
