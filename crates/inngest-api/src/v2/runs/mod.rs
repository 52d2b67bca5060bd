//! Runs: what they are, and which there are.

pub(super) mod change;
pub(super) mod list;
mod scores;
mod trace;

use std::collections::HashMap;

use inngest_core::{EventId, RunId, RunStatus};
use inngest_queue::Gathering;
use inngest_state::StoreError;
use inngest_state::history::RunRecord;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::definitions::short;
use super::endpoint::{Call, Endpoint};
use super::error::Error;
use super::wire::{Int64, One, Timestamp, raw};
use crate::Api;
use crate::definitions::Definitions;

pub(super) fn endpoints() -> Vec<Endpoint> {
    let mut endpoints = vec![
        Endpoint::get("GetFunctionRun", "/runs/{runId}", "Gets a run", get)
            .error(404, "There is no such run.")
            .cli("get-function-run")
            .tool("get_run", "Get run"),
    ];
    endpoints.extend(list::endpoints());
    endpoints.extend(change::endpoints());
    endpoints.extend([trace::endpoint(), scores::endpoint()]);
    endpoints.into_iter().map(|endpoint| endpoint.group("Runs")).collect()
}

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[schemars(rename = "RunStatus")]
enum Status {
    Queued,
    Running,
    Completed,
    Failed,
    Cancelled,
    Skipped,
}

impl Status {
    const ALL: [(Self, RunStatus, &'static str); 6] = [
        (Self::Queued, RunStatus::Scheduled, "QUEUED"),
        (Self::Running, RunStatus::Running, "RUNNING"),
        (Self::Completed, RunStatus::Completed, "COMPLETED"),
        (Self::Failed, RunStatus::Failed, "FAILED"),
        (Self::Cancelled, RunStatus::Cancelled, "CANCELLED"),
        (Self::Skipped, RunStatus::Skipped, "SKIPPED"),
    ];

    fn of(status: RunStatus) -> Self {
        Self::ALL.into_iter().find(|(_, known, _)| *known == status).map_or(Self::Queued, |(shown, ..)| shown)
    }

    fn parse(text: &str) -> Option<RunStatus> {
        Self::ALL.into_iter().find(|(.., name)| name.eq_ignore_ascii_case(text)).map(|(_, status, _)| status)
    }
}

/// One execution of a function.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct FunctionRun {
    /// A ULID.
    id: String,
    /// Of which function.
    function: RunFunction,
    /// Of which app.
    app: AppName,
    /// Where it stands.
    status: Status,
    /// When it was scheduled.
    queued_at: Timestamp,
    /// When its function was called for the first time.
    #[serde(skip_serializing_if = "Option::is_none")]
    started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_at: Option<Timestamp>,
    /// From its start to its end, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_ms: Option<Int64>,
    /// What started it.
    trigger: RunTrigger,
    /// The first run in the chain of reruns that led to this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    original_run_id: Option<String>,
    /// What its function returned, or the error with which it failed. What is no object is the member `data` of one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Map<String, Value>>")]
    output: Option<Box<RawValue>>,
}

/// The function of a run.
#[derive(Debug, Serialize, JsonSchema)]
struct RunFunction {
    /// Its id in its app.
    id: String,
    /// For people.
    name: String,
}

/// An app.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct AppName {
    /// The id that its SDK has for it.
    pub(super) id: String,
}

/// What started a run.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct RunTrigger {
    /// The events that it was started with.
    event_ids: Vec<String>,
    /// Name of the first one.
    event_name: String,
    /// Whether its events were gathered in a batch.
    is_batch: bool,
    /// The schedule, if one started it.
    #[serde(skip_serializing_if = "Option::is_none")]
    cron_schedule: Option<String>,
}

/// Which run.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Get {
    /// ULID of the run.
    run_id: String,
    /// Whether the output of the run is wanted.
    #[serde(default)]
    include_output: bool,
}

async fn get(call: Call<Get>) -> Result<One<FunctionRun>, Error> {
    let id = parse_id(&call.parameters.run_id)?;
    let run = call.api.engine.history().run_record(id).await?.ok_or_else(unknown)?;
    let shown = show(&call.api, vec![run], call.parameters.include_output).await?.pop();
    Ok(One::of(&call.api, shown.ok_or_else(unknown)?))
}

pub(super) fn parse_id(text: &str) -> Result<RunId, Error> {
    text.parse().map_err(|_| Error::bad_field("Run ID must be a valid ULID"))
}

pub(super) fn unknown() -> Error {
    Error::not_found("Run not found")
}

/// Runs as they are shown, in their order.
async fn show(api: &Api, runs: Vec<RunRecord>, include_output: bool) -> Result<Vec<FunctionRun>, StoreError> {
    let definitions = Definitions::of(api, runs.iter().map(|run| run.function)).await?;
    let schedules = schedules(api, &runs).await?;
    let shown = runs.into_iter().map(|run| {
        let schedule = run.event_ids.first().and_then(|event| schedules.get(event)).cloned();
        render(&run, &definitions, schedule, include_output)
    });
    Ok(shown.collect())
}

/// The schedules that started runs, by their events.
async fn schedules(api: &Api, runs: &[RunRecord]) -> Result<HashMap<EventId, String>, StoreError> {
    let scheduled = runs.iter().filter(|run| run.is_scheduled());
    let events: Vec<EventId> = scheduled.filter_map(|run| run.event_ids.first().copied()).collect();
    if events.is_empty() {
        return Ok(HashMap::new());
    }
    let events = api.engine.history().event_records(events).await?;
    let schedule = |body: &[u8]| {
        let event: Value = serde_json::from_slice(body).ok()?;
        event["data"]["cron"].as_str().map(str::to_owned)
    };
    Ok(events.iter().filter_map(|record| Some((record.event.id, schedule(&record.body)?))).collect())
}

fn render(
    run: &RunRecord,
    definitions: &Definitions,
    cron_schedule: Option<String>,
    include_output: bool,
) -> FunctionRun {
    let function = definitions.function(run.function);
    let app = function.and_then(|function| definitions.app(function.app));
    let duration = run.started_at.zip(run.ended_at).map(|(from, until)| Int64((until.0 - from.0).max(0)));
    FunctionRun {
        id: run.id.to_string(),
        function: RunFunction {
            id: function.map_or_else(|| run.function.to_string(), |function| short(function, app).to_owned()),
            name: function.map_or_else(String::new, |function| function.name.to_string()),
        },
        app: AppName { id: app.map_or_else(String::new, |app| app.name.to_string()) },
        status: Status::of(run.status),
        queued_at: Timestamp(run.queued_at),
        started_at: run.started_at.map(Timestamp),
        ended_at: run.ended_at.map(Timestamp),
        duration_ms: duration,
        trigger: RunTrigger {
            event_ids: run.event_ids.iter().map(ToString::to_string).collect(),
            event_name: run.event_name.to_string(),
            is_batch: run.gathering == Some(Gathering::Batch),
            cron_schedule,
        },
        original_run_id: run.original_run.map(|original| original.to_string()),
        output: if include_output { output(run) } else { None },
    }
}

/// What a run gave, as an object.
fn output(run: &RunRecord) -> Option<Box<RawValue>> {
    if let Some(error) = &run.error {
        let mut members: Map<String, Value> = serde_json::from_slice(error).unwrap_or_default();
        members.retain(|name, _| matches!(name.as_str(), "name" | "message" | "stack" | "cause"));
        return RawValue::from_string(Value::Object(members).to_string()).ok();
    }
    as_object(raw(run.output.as_ref().filter(|_| run.status != RunStatus::Cancelled)?))
}

/// What is no object is the member `data` of one.
fn as_object(json: Box<RawValue>) -> Option<Box<RawValue>> {
    if json.get().starts_with('{') {
        return Some(json);
    }
    RawValue::from_string(format!("{{\"data\":{json}}}")).ok()
}
