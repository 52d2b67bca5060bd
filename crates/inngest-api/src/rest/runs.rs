//! `GET /v1/runs`, `/v1/runs/{id}`, `/v1/runs/{id}/actions`, `/v1/runs/{id}/jobs`, `DELETE /v1/runs/{id}`.

use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Response;
use inngest_core::event::SCHEDULED_TIMER;
use inngest_core::{FunctionId, RunId, RunStatus};
use inngest_executor::engine::Cancelled;
use inngest_executor::registry::Registry;
use inngest_queue::{JobKind, QueueItem, WaitFor};
use inngest_state::history::{Between, RunFilter, RunRecord, RunTrace};
use inngest_state::{AttemptRecord, StepOp, StepRecord};
use serde_json::{Value, json};

use super::query::Query;
use super::skips::existing_run;
use super::{ENVIRONMENT, due, envelope, gatherings, paged, payload, rfc3339, rfc3339_or_null};
use crate::Api;
use crate::error::ApiError;

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
    let mut shown = render(&run, &api.engine.registry(), Shape::WithOutput);
    if let Some(schedule) = schedule(&api, &run).await? {
        shown["cron"] = schedule;
    }
    Ok(envelope(api.engine.ids(), &shown))
}

/// The schedule that started a run.
pub(super) async fn schedule(api: &Api, run: &RunRecord) -> Result<Option<Value>, ApiError> {
    let Some(event) = run.event_ids.first().filter(|_| &*run.event_name == SCHEDULED_TIMER) else { return Ok(None) };
    let Some(record) = api.engine.history().event(*event).await? else { return Ok(None) };
    let event: Value = serde_json::from_slice(&record.body).unwrap_or_default();
    Ok(Some(event["data"]["cron"].clone()).filter(Value::is_string))
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
    let registry = api.engine.registry();
    let limit = query.limit(20, 100);
    let filter = RunFilter {
        statuses: query.all("status").map(status).collect::<Result<_, _>>()?,
        functions: functions(&query, &registry),
        event: query.first("event_id").map(str::parse).transpose().map_err(|_| bad("event_id"))?,
        started: Between {
            after: query.time("started_after", "Invalid started_after query parameter")?,
            before: query.time("started_before", "Invalid started_before query parameter")?,
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
    let shape = if query.flag("include_output") { Shape::WithOutput } else { Shape::WithoutOutput };
    let mut runs = api.engine.history().runs(filter).await?;
    let more = runs.len() > limit;
    runs.truncate(limit);
    let cursor = runs.last().filter(|_| more).map(|run| to_cursor(run.id));
    let data: Vec<Value> = runs.iter().map(|run| render(run, &registry, shape)).collect();
    Ok(paged(api.engine.ids(), &data, cursor, limit))
}

fn bad(parameter: &str) -> ApiError {
    ApiError::bad_request(format!("Invalid {parameter} query parameter"))
}

fn status(text: &str) -> Result<RunStatus, ApiError> {
    let found = RunStatus::ALL.into_iter().find(|status| status.as_str().eq_ignore_ascii_case(text));
    found.ok_or_else(|| ApiError::bad_request(format!("Invalid status: {text}")))
}

/// The functions that `app` and `function` name; `None` when neither is given.
fn functions(query: &Query, registry: &Registry) -> Option<Vec<FunctionId>> {
    let (app, function) = (query.first("app"), query.first("function"));
    if app.is_none() && function.is_none() {
        return None;
    }
    let matches = registry.functions().filter(|candidate| {
        let app_name = registry.app(&candidate.app).map_or("", |app| &*app.name);
        let short = candidate.slug.strip_prefix(app_name).and_then(|rest| rest.strip_prefix('-'));
        app.is_none_or(|app| app == app_name)
            && function.is_none_or(|function| {
                *candidate.slug == *function || short == Some(function) || candidate.id.to_string() == function
            })
    });
    Some(matches.map(|function| function.id).collect())
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
    let mut actions: Vec<(i64, Value)> = Vec::new();
    actions.extend(trace.steps.iter().map(|step| (step.ended_at.0, step_action(step))));
    actions.extend(trace.attempts.iter().map(|attempt| (attempt.ended_at.0, attempt_action(attempt))));
    actions.sort_by_key(|(at, _)| *at);
    let pending = trace.jobs.iter().map(|job| (job.due.0, pending_action(job)));
    let data: Value = actions.into_iter().chain(pending).map(|(_, action)| action).collect();
    Ok(envelope(api.engine.ids(), &data))
}

pub(crate) async fn jobs(State(api): State<Api>, Path(id): Path<String>) -> Result<Response<Body>, ApiError> {
    let trace = trace(&api, &id).await?;
    let shown = trace.jobs.iter().take(10).enumerate().map(|(position, job)| {
        json!({
            "JobID": job.id.to_string(), "id": job.id.to_string(), "at": due(job.due), "position": position,
            "kind": job_kind(job), "attempt": job.attempt,
        })
    });
    Ok(envelope(api.engine.ids(), &shown.collect::<Value>()))
}

async fn trace(api: &Api, id: &str) -> Result<RunTrace, ApiError> {
    let id = parse_id(id)?;
    if api.engine.history().run_record(id).await?.is_none() {
        return Err(unknown(id));
    }
    Ok(api.engine.history().trace(id).await?)
}

fn step_action(step: &StepRecord) -> Value {
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
    let mut shown = json!({
        "id": step.step.id.as_str(), "name": step.step.name, "op": op, "attempt": step.attempt,
        "status": if step.failed { "Failed" } else { "Completed" },
        "queued_at": rfc3339(step.queued_at), "started_at": rfc3339(step.started_at), "ended_at": rfc3339(step.ended_at),
        "output": payload(&step.value),
    });
    if let Some(input) = &step.input {
        shown["input"] = payload(input);
    }
    shown
}

fn attempt_action(attempt: &AttemptRecord) -> Value {
    json!({
        "id": attempt.step.as_ref().map(|step| step.id.as_str()), "name": attempt.step.as_ref().map(|step| &*step.name),
        "op": "Attempt", "status": "Errored", "attempt": attempt.attempt, "http_status": attempt.status(),
        "started_at": rfc3339(attempt.started_at), "ended_at": rfc3339(attempt.ended_at),
        "retry_at": rfc3339_or_null(attempt.retry_at), "error": payload(&attempt.error),
    })
}

fn pending_action(job: &QueueItem) -> Value {
    let status = match job.kind {
        JobKind::Sleep(_) => "Sleeping",
        JobKind::Wait(_, WaitFor::Invoke) => "Invoking",
        JobKind::Wait(..) => "Waiting",
        _ => "Scheduled",
    };
    json!({
        "id": job.step().map(|step| step.id.as_str()), "name": job.step().map(|step| &*step.name), "op": job_kind(job),
        "status": status, "attempt": job.attempt, "due_at": due(job.due),
    })
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

pub(crate) fn render(run: &RunRecord, registry: &Registry, shape: Shape) -> Value {
    let function = registry.function(&run.function);
    let app = function.and_then(|function| registry.app(&function.app));
    let mut shown = json!({
        "run_id": run.id.to_string(),
        "run_started_at": rfc3339(run.started_at.unwrap_or(run.queued_at)),
        "queued_at": rfc3339(run.queued_at),
        "function_id": run.function.to_string(),
        "function_slug": function.map(|function| &*function.slug),
        "function_version": function.map_or(0, |function| function.version),
        "app_id": function.map(|function| function.app.to_string()),
        "app_name": app.map(|app| &*app.name),
        "environment_id": ENVIRONMENT,
        "event_id": run.event_ids.first().map(ToString::to_string),
        "event_ids": run.event_ids.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "event_name": run.event_name,
        "status": run.status.as_str(),
        "ended_at": rfc3339_or_null(run.ended_at),
    });
    if let Some(original) = run.original_run {
        shown["original_run_id"] = original.to_string().into();
    }
    if let Some(skip) = run.skip {
        shown["skip_reason"] = skip.as_str().into();
        shown["skip_existing_run_id"] = existing_run(skip).into();
    }
    if let Some(gathering) = run.gathering {
        shown["gathered_by"] = gatherings::kind(gathering).into();
    }
    if shape == Shape::WithOutput {
        match (run.status, &run.output, &run.error) {
            (RunStatus::Cancelled, ..) => shown["output"] = json!({}),
            (_, Some(output), _) | (_, None, Some(output)) => shown["output"] = payload(output),
            (_, None, None) => {}
        }
        // What the output of a failed run means, whatever its app answered: name, message, stack.
        if let Some(error) = &run.error {
            shown["error"] = payload(error);
        }
    }
    shown
}
