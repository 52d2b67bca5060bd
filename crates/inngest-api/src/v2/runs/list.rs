//! Which runs there are: of all functions, of one function, of one event.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use inngest_core::{FunctionId, Millis, RunId};
use inngest_state::history::{Between, RunFilter, RunRecord, RunTime};
use schemars::JsonSchema;
use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{FunctionRun, Status, show};
use crate::Api;
use crate::v2::definitions::{self, existing};
use crate::v2::endpoint::{Call, Endpoint};
use crate::v2::error::Error;
use crate::v2::events::parse_id;
use crate::v2::wire::{Limit, Many, Part, TimeRange, Timestamp};

const LIMIT_OF_EVENT: Limit = Limit { default: 20, max: 40 };

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("ListRuns", "/runs", "Lists runs", all)
            .describe("Lists the runs of all functions, or of some of them. Runs that were skipped are listed only if that status is asked for.")
            .cli("get-function-runs")
            .tool("list_runs", "List runs"),
        Endpoint::get("ListFunctionRuns", "/apps/{appId}/functions/{functionId}/runs", "Lists the runs of a function", of_function)
            .error(404, "There is no such function.")
            .tool("list_function_runs", "List runs of a function"),
        Endpoint::get("GetEventRuns", "/events/{eventId}/runs", "Lists the runs that an event has started", of_event)
            .cli("get-event-runs")
            .tool("get_event_runs", "Get runs of an event"),
    ]
}

/// A time of a run.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its schema is looked at")]
enum TimeField {
    #[serde(rename = "queuedAt")]
    Queued,
    #[serde(rename = "startedAt")]
    Started,
    #[serde(rename = "endedAt")]
    Ended,
}

/// An order of runs.
#[derive(JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[expect(dead_code, reason = "only its schema is looked at")]
enum Order {
    Asc,
    Desc,
}

/// What of the runs is wanted.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Filter {
    /// Only runs that stand here.
    #[serde(default)]
    #[schemars(with = "Vec<Status>")]
    status: Vec<String>,
    /// Only runs of this time or later.
    #[schemars(extend("format" = "date-time"))]
    from: Option<String>,
    /// Only runs of this time or earlier.
    #[schemars(extend("format" = "date-time"))]
    until: Option<String>,
    /// Which time of a run is meant, by which they are also ordered: `queuedAt` unless said otherwise. Runs that have no
    /// such time are not listed.
    #[schemars(with = "Option<TimeField>")]
    time_field: Option<String>,
    /// Newest first (`DESC`) unless said otherwise.
    #[schemars(with = "Option<Order>")]
    order: Option<String>,
    /// Only runs that another run has deferred, or only those that none has.
    is_deferred: Option<bool>,
    /// Whether the outputs of the runs are wanted.
    #[serde(default)]
    include_output: bool,
    #[serde(flatten)]
    part: Part,
}

/// Which runs.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct All {
    /// Only runs of these apps.
    #[serde(default)]
    app_id: Vec<String>,
    /// Only runs of these functions of the apps.
    #[serde(default)]
    function_id: Vec<String>,
    #[serde(flatten)]
    filter: Filter,
}

/// Which runs of a function.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct OfFunction {
    /// The app that the function is of.
    app_id: String,
    /// Its id in the app.
    function_id: String,
    #[serde(flatten)]
    filter: Filter,
}

/// Which runs of an event.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct OfEvent {
    /// ULID of the event, as the event API returned it.
    event_id: String,
    /// Whether the outputs of the runs are wanted.
    #[serde(default)]
    include_output: bool,
    /// From where the list goes on: `page.cursor` of the reply before.
    cursor: Option<String>,
    /// How many runs at most: 20 unless said otherwise.
    #[schemars(range(min = 0, max = 40))]
    limit: Option<i32>,
}

async fn all(Call { api, parameters, .. }: Call<All>) -> Result<Many<FunctionRun>, Error> {
    let All { app_id, function_id, filter } = parameters;
    if app_id.is_empty() && !function_id.is_empty() {
        return Err(Error::invalid("appId is required when filtering by functionId"));
    }
    let functions = if app_id.is_empty() { None } else { Some(functions(&api, &app_id, &function_id).await?) };
    list(&api, functions, filter).await
}

async fn of_function(Call { api, parameters, .. }: Call<OfFunction>) -> Result<Many<FunctionRun>, Error> {
    let (_, function) = existing(&api, &parameters.app_id, &parameters.function_id).await?;
    list(&api, Some(vec![function.id]), parameters.filter).await
}

async fn of_event(Call { api, parameters, .. }: Call<OfEvent>) -> Result<Many<FunctionRun>, Error> {
    let event = parse_id(&parameters.event_id)?;
    let limit = LIMIT_OF_EVENT.of(parameters.limit)?;
    let cursor = parameters.cursor.as_deref().map(|text| from_cursor(text, RunTime::Queued)).transpose()?;
    let filter = RunFilter { event: Some(event), cursor, limit: limit + 1, ..RunFilter::default() };
    page(&api, filter, limit, parameters.include_output).await
}

/// The functions of these apps, or those of them that have these names.
async fn functions(api: &Api, apps: &[String], names: &[String]) -> Result<Vec<FunctionId>, Error> {
    let mut found = Vec::new();
    for app in apps {
        let Some(app) = definitions::app(api, app).await? else { continue };
        if names.is_empty() {
            let all = api.engine.history().functions().await?;
            found.extend(all.into_iter().filter(|function| function.app == app.id).map(|function| function.id));
        }
        for name in names {
            found.extend(definitions::function(api, &app, name).await?.map(|function| function.id));
        }
    }
    Ok(found)
}

async fn list(api: &Api, functions: Option<Vec<FunctionId>>, asked: Filter) -> Result<Many<FunctionRun>, Error> {
    let status = |text: &String| Status::parse(text).ok_or_else(|| Error::bad_field("Status is invalid"));
    let statuses = asked.status.iter().map(status).collect::<Result<_, _>>()?;
    let between =
        Between { after: time("from", asked.from.as_deref())?, before: time("until", asked.until.as_deref())? };
    let range = between.after.zip(between.before);
    if range.is_some_and(|(from, until)| from >= until) {
        return Err(Error::bad_field("from must be before until"));
    }
    let order = time_field(asked.time_field.as_deref())?;
    let ascending = match asked.order.as_deref().map(str::to_ascii_uppercase).as_deref() {
        None | Some("DESC") => false,
        Some("ASC") => true,
        Some(_) => return Err(Error::bad_field("order is invalid")),
    };
    let limit = asked.part.limit()?;
    let cursor = asked.part.cursor.as_deref().map(|text| from_cursor(text, order)).transpose()?;
    let mut filter = RunFilter {
        statuses,
        functions,
        deferred: asked.is_deferred,
        order,
        ascending,
        cursor,
        limit: limit + 1,
        ..RunFilter::default()
    };
    match order {
        RunTime::Queued => filter.queued = between,
        RunTime::Started => filter.started = between,
        RunTime::Ended => filter.ended = between,
    }
    let range = range.map(|(from, until)| TimeRange { from: Timestamp(from), until: Timestamp(until) });
    Ok(page(api, filter, limit, asked.include_output).await?.within(range))
}

async fn page(api: &Api, filter: RunFilter, limit: usize, include_output: bool) -> Result<Many<FunctionRun>, Error> {
    let order = filter.order;
    let mut runs: Vec<RunRecord> = api.engine.history().runs(filter).await?;
    let more = runs.len() > limit;
    runs.truncate(limit);
    let cursor = runs.last().filter(|_| more).map(|run| to_cursor(run, order));
    Ok(Many::page(api, show(api, runs, include_output).await?, limit, cursor))
}

/// Either spelling, in any letter case.
fn time_field(text: Option<&str>) -> Result<RunTime, Error> {
    let Some(text) = text else { return Ok(RunTime::Queued) };
    match text.replace('_', "").to_ascii_lowercase().as_str() {
        "queuedat" => Ok(RunTime::Queued),
        "startedat" => Ok(RunTime::Started),
        "endedat" => Ok(RunTime::Ended),
        _ => Err(Error::bad_field("timeField is invalid")),
    }
}

pub(in crate::v2) fn time(name: &str, text: Option<&str>) -> Result<Option<Millis>, Error> {
    let Some(text) = text else { return Ok(None) };
    let refused = |_| Error::bad_field(format!("{name} must be an RFC 3339 timestamp, such as 2026-01-02T03:04:05Z"));
    let date = OffsetDateTime::parse(text, &Rfc3339).map_err(refused)?;
    Ok(Some(Millis(i64::try_from(date.unix_timestamp_nanos().div_euclid(1_000_000)).unwrap_or(i64::MAX))))
}

/// The time by which the last run of a page is ordered, and its id.
fn to_cursor(run: &RunRecord, order: RunTime) -> String {
    let at = run.time(order).unwrap_or_default();
    let mut bytes = vec![order as u8];
    bytes.extend_from_slice(&at.0.to_be_bytes());
    bytes.extend_from_slice(&run.id.to_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A cursor of another order would go on anywhere.
fn from_cursor(text: &str, order: RunTime) -> Result<(Millis, RunId), Error> {
    let read = || {
        let bytes: [u8; 25] = URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()?;
        let (at, id) = (bytes[1..9].try_into().ok()?, bytes[9..].try_into().ok()?);
        (bytes[0] == order as u8).then(|| (Millis(i64::from_be_bytes(at)), RunId::from_bytes(id)))
    };
    read().ok_or_else(|| Error::bad_field("Cursor is invalid"))
}
