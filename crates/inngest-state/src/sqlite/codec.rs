//! Rows to types and back.

use std::sync::Arc;

use inngest_core::function::Trigger;
use inngest_core::{App, AppId, Event, EventId, Function, FunctionId, Millis, Payload, RunId, RunStatus, StepId};
use inngest_queue::flow::{Keys, Skip};
use inngest_queue::{Deadline, Gathering, JobId, JobKind, QueueItem, Resolution, StepRef, WaitFor};
use rusqlite::Row;
use serde_json::{Value, json};
use uuid::Uuid;

use inngest_core::event::EventBody;

use crate::run_state::{Defer, DeferStatus};
use crate::trace::{CutOff, Headers, LastCall, ResponseHead, StepDetail, UserSpan};
use crate::transition::{AttemptRecord, Cancellation, Metadata, StepOp, StepRecord};

pub(super) type Result<T> = rusqlite::Result<T>;

/// Columns of `jobs`, in the order of [`job`].
pub(super) const JOB_COLUMNS: &str = "run_id, key, function_id, kind, step_id, step_name, due, attempt, generation, \
     version, plan_only, stack_current, plan_group, queued_at, priority, resolution, keys, starts";

/// Columns of `events`, in the order of [`event`].
pub(super) const EVENT_COLUMNS: &str = "id, name, external_id, ts, about_run, body, runs";

/// Columns of `apps`, in the order of [`app`].
pub(super) const APP_COLUMNS: &str = "id, name, url, sdk_language, sdk_version, framework, app_version, error, checksum, created_at, archived_at, \
     feature_observations";

/// Columns of `functions`, in the order of [`function`].
pub(super) const FUNCTION_COLUMNS: &str =
    "id, app_id, slug, name, triggers, url, step_id, retries, version, config, created_at, archived_at";

pub(super) fn kind_code(kind: &JobKind) -> u8 {
    match kind {
        JobKind::Start => 1,
        JobKind::Discovery => 2,
        JobKind::Step(_) => 3,
        JobKind::Sleep(_) => 4,
        JobKind::Wait(_, WaitFor::Event) => 5,
        JobKind::Wait(_, WaitFor::Invoke) => 6,
        JobKind::Wait(_, WaitFor::Signal) => 7,
        JobKind::Gateway(_) => 8,
        JobKind::Deadline(Deadline::Start) => 9,
        JobKind::Deadline(Deadline::Finish) => 10,
        JobKind::Cancel => 11,
        JobKind::Gathered(Gathering::Debounce) => 12,
        JobKind::Gathered(Gathering::Batch) => 13,
    }
}

pub(super) fn keys(row: &Row<'_>, column: usize) -> Result<Keys> {
    Ok(row.get_ref(column)?.as_blob_or_null()?.map(Keys::from_bytes).unwrap_or_default())
}

pub(super) fn gathering_code(gathering: Gathering) -> u8 {
    match gathering {
        Gathering::Debounce => 1,
        Gathering::Batch => 2,
    }
}

pub(super) fn gathering(row: &Row<'_>, column: usize) -> Result<Gathering> {
    match row.get(column)? {
        1_u8 => Ok(Gathering::Debounce),
        2 => Ok(Gathering::Batch),
        _ => Err(corrupt(column, "unknown kind of gathering")),
    }
}

/// The code of a skip, and the run that was in the way.
pub(super) fn skip_codes(skip: Skip) -> (u8, Option<[u8; 16]>) {
    let existing = match skip {
        Skip::Singleton(run) => Some(run.to_bytes()),
        Skip::Duplicate | Skip::RateLimited | Skip::Debounced | Skip::Paused | Skip::Draining => None,
    };
    (skip.code(), existing)
}

/// A skip, from the columns of its code and of the run that was in the way.
pub(super) fn skip(row: &Row<'_>, code: usize, existing: usize) -> Result<Option<Skip>> {
    let Some(found) = row.get::<_, Option<u8>>(code)? else { return Ok(None) };
    let existing = row.get::<_, Option<[u8; 16]>>(existing)?.map(RunId::from_bytes);
    Skip::from_code(found, existing).map(Some).ok_or_else(|| corrupt(code, "unknown reason of a skip"))
}

/// What a job was resolved with, as stored.
pub(super) fn resolution_bytes(resolution: &Resolution) -> Vec<u8> {
    let (tag, content) = match resolution {
        Resolution::Event(event) => (1, &event.to_bytes()[..]),
        Resolution::Run(run) => (2, &run.to_bytes()[..]),
        Resolution::Value(value) => (3, &value[..]),
    };
    let mut bytes = Vec::with_capacity(1 + content.len());
    bytes.push(tag);
    bytes.extend_from_slice(content);
    bytes
}

fn resolution(row: &Row<'_>, column: usize) -> Result<Option<Arc<Resolution>>> {
    let Some(bytes) = row.get_ref(column)?.as_blob_or_null()? else { return Ok(None) };
    let id = || <[u8; 16]>::try_from(&bytes[1..]).map_err(|_| corrupt(column, "unreadable resolution"));
    Ok(Some(Arc::new(match bytes.first() {
        Some(1) => Resolution::Event(EventId::from_bytes(id()?)),
        Some(2) => Resolution::Run(RunId::from_bytes(id()?)),
        Some(3) => Resolution::Value(Payload::copy_from_slice(&bytes[1..])),
        _ => return Err(corrupt(column, "unreadable resolution")),
    })))
}

/// A row that this release cannot have written.
pub(super) fn corrupt(column: usize, what: &str) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Blob, what.into())
}

pub(super) fn run_id(row: &Row<'_>, column: usize) -> Result<RunId> {
    row.get(column).map(RunId::from_bytes)
}

pub(super) fn event_id(row: &Row<'_>, column: usize) -> Result<EventId> {
    row.get(column).map(EventId::from_bytes)
}

pub(super) fn function_id(row: &Row<'_>, column: usize) -> Result<FunctionId> {
    row.get(column).map(|bytes| FunctionId(Uuid::from_bytes(bytes)))
}

pub(super) fn payload(row: &Row<'_>, column: usize) -> Result<Option<Payload>> {
    Ok(row.get::<_, Option<Vec<u8>>>(column)?.map(Payload::from))
}

pub(super) fn status(row: &Row<'_>, column: usize) -> Result<RunStatus> {
    RunStatus::from_code(row.get(column)?).ok_or_else(|| corrupt(column, "unknown run status"))
}

/// Ids that were stored one after the other in one blob.
pub(super) fn ulids<T>(bytes: &[u8], of: impl Fn([u8; 16]) -> T) -> Vec<T> {
    bytes.chunks_exact(16).map(|chunk| of(chunk.try_into().expect("chunks of 16"))).collect()
}

/// The ids of events as stored: one after the other.
pub(super) fn event_id_bytes(events: &[EventId]) -> Vec<u8> {
    events.iter().flat_map(|event| event.to_bytes()).collect()
}

pub(super) fn event_ids(row: &Row<'_>, column: usize) -> Result<Vec<EventId>> {
    Ok(ulids(row.get_ref(column)?.as_blob()?, EventId::from_bytes))
}

fn step_ref(row: &Row<'_>, id: usize, name: usize) -> Result<Option<StepRef>> {
    let Some(id) = row.get::<_, Option<String>>(id)? else { return Ok(None) };
    Ok(Some(StepRef { id: StepId::from(id.as_str()), name: row.get::<_, Option<Arc<str>>>(name)?.unwrap_or_default() }))
}

/// Columns of what a job does: its kind, and the id and the name of its step.
fn kind(row: &Row<'_>, first: usize) -> Result<JobKind> {
    Ok(match (row.get::<_, u8>(first)?, step_ref(row, first + 1, first + 2)?) {
        (1, None) => JobKind::Start,
        (2, None) => JobKind::Discovery,
        (3, Some(step)) => JobKind::Step(step),
        (4, Some(step)) => JobKind::Sleep(step),
        (5, Some(step)) => JobKind::Wait(step, WaitFor::Event),
        (6, Some(step)) => JobKind::Wait(step, WaitFor::Invoke),
        (7, Some(step)) => JobKind::Wait(step, WaitFor::Signal),
        (8, Some(step)) => JobKind::Gateway(step),
        (9, None) => JobKind::Deadline(Deadline::Start),
        (10, None) => JobKind::Deadline(Deadline::Finish),
        (11, None) => JobKind::Cancel,
        (12, None) => JobKind::Gathered(Gathering::Debounce),
        (13, None) => JobKind::Gathered(Gathering::Batch),
        _ => return Err(corrupt(first, "unknown kind of job")),
    })
}

/// A row of `cut_off`: job_key, kind, step_id, step_name, queued_at, called_at, attempt.
pub(super) fn cut_off(row: &Row<'_>) -> Result<CutOff> {
    Ok(CutOff {
        job: row.get::<_, i64>(0)?.cast_unsigned(),
        kind: kind(row, 1)?,
        queued_at: Millis(row.get(4)?),
        called_at: row.get::<_, Option<i64>>(5)?.map(Millis),
        attempt: row.get(6)?,
    })
}

pub(super) fn job(row: &Row<'_>) -> Result<QueueItem> {
    Ok(QueueItem {
        id: JobId { run: run_id(row, 0)?, key: row.get::<_, i64>(1)?.cast_unsigned() },
        function: function_id(row, 2)?,
        kind: kind(row, 3)?,
        queued_at: Millis(row.get(13)?),
        due: Millis(row.get(6)?),
        priority: row.get(14)?,
        keys: keys(row, 16)?,
        starts: row.get(17)?,
        attempt: row.get(7)?,
        generation: row.get(8)?,
        version: row.get(9)?,
        plan_only: row.get(10)?,
        stack_current: row.get(11)?,
        group: row.get::<_, Option<i64>>(12)?.map(i64::cast_unsigned),
        resolution: resolution(row, 15)?,
    })
}

/// An event and the runs it started.
pub(super) fn event(row: &Row<'_>) -> Result<(Event, Vec<RunId>)> {
    let about: Option<[u8; 16]> = row.get(4)?;
    let body = match (about, payload(row, 5)?) {
        (_, Some(body)) => EventBody::Stored(body),
        (Some(run), None) => EventBody::Lifecycle(RunId::from_bytes(run)),
        (None, None) => return Err(corrupt(5, "event without content")),
    };
    let event =
        Event { id: event_id(row, 0)?, name: row.get(1)?, external_id: row.get(2)?, ts: Millis(row.get(3)?), body };
    let runs = match row.get_ref(6)?.as_blob_or_null()? {
        Some(bytes) => ulids(bytes, RunId::from_bytes),
        None => Vec::new(),
    };
    Ok((event, runs))
}

pub(super) fn app(row: &Row<'_>) -> Result<App> {
    Ok(App {
        id: AppId(Uuid::from_bytes(row.get(0)?)),
        name: row.get(1)?,
        url: row.get(2)?,
        sdk_language: row.get(3)?,
        sdk_version: row.get(4)?,
        framework: row.get(5)?,
        app_version: row.get(6)?,
        error: row.get(7)?,
        checksum: row.get(8)?,
        created_at: Millis(row.get(9)?),
        archived_at: row.get::<_, Option<i64>>(10)?.map(Millis),
        feature_observations: row.get(11)?,
    })
}

pub(super) fn function(row: &Row<'_>) -> Result<Function> {
    let triggers: String = row.get(4)?;
    Ok(Function {
        id: function_id(row, 0)?,
        app: AppId(Uuid::from_bytes(row.get(1)?)),
        slug: row.get(2)?,
        name: row.get(3)?,
        triggers: triggers_from(&triggers).ok_or_else(|| corrupt(4, "unreadable triggers"))?,
        url: row.get(5)?,
        step_id: row.get(6)?,
        retries: row.get(7)?,
        version: row.get(8)?,
        config: payload(row, 9)?.unwrap_or_default(),
        created_at: Millis(row.get(10)?),
        archived_at: row.get::<_, Option<i64>>(11)?.map(Millis),
    })
}

/// The JSON text of a function's triggers.
pub(super) fn triggers_text(triggers: &[Trigger]) -> String {
    let items = triggers.iter().map(|trigger| match trigger {
        Trigger::Event { name, expression } => json!({ "event": name, "expression": expression }),
        Trigger::Cron { schedule, jitter } => json!({ "cron": schedule, "jitter": jitter }),
    });
    Value::Array(items.collect()).to_string()
}

fn triggers_from(text: &str) -> Option<Vec<Trigger>> {
    let Value::Array(items) = serde_json::from_str(text).ok()? else { return None };
    let field = |item: &Value, key: &str| item.get(key).and_then(Value::as_str).map(Arc::<str>::from);
    items
        .iter()
        .map(|item| match field(item, "event") {
            Some(name) => Some(Trigger::Event { name, expression: field(item, "expression") }),
            None => Some(Trigger::Cron { schedule: field(item, "cron")?, jitter: field(item, "jitter") }),
        })
        .collect()
}

/// Columns of a reply: status, hash and text of its headers.
pub(super) fn response(row: &Row<'_>, first: usize) -> Result<Option<ResponseHead>> {
    let Some(status) = row.get(first)? else { return Ok(None) };
    let hash = row.get::<_, Option<i64>>(first + 1)?.unwrap_or_default().cast_unsigned();
    let json = payload(row, first + 2)?.unwrap_or_else(|| Payload::from_static(b"{}"));
    Ok(Some(ResponseHead { status, headers: Arc::new(Headers { hash, json }) }))
}

/// Columns of the last call of a run: last_job, last_queued_at, last_started_at, last_attempt, and those of its reply.
pub(super) fn last_call(run: RunId, row: &Row<'_>) -> Result<Option<LastCall>> {
    let Some(key) = row.get::<_, Option<i64>>(0)? else { return Ok(None) };
    Ok(Some(LastCall {
        job: JobId { run, key: key.cast_unsigned() },
        queued_at: Millis(row.get(1)?),
        started_at: Millis(row.get(2)?),
        attempt: row.get(3)?,
        response: response(row, 4)?,
    }))
}

/// A row of `user_spans`: id, parent, step_id, attempt, name, started_ns, ended_ns, failed, content.
pub(super) fn user_span(run: RunId, row: &Row<'_>) -> Result<UserSpan> {
    Ok(UserSpan {
        run,
        id: row.get(0)?,
        parent: row.get(1)?,
        step: row.get::<_, Option<Arc<str>>>(2)?.map(StepId),
        attempt: row.get(3)?,
        name: row.get(4)?,
        started_ns: row.get(5)?,
        ended_ns: row.get(6)?,
        failed: row.get(7)?,
        content: payload(row, 8)?.unwrap_or_default(),
    })
}

/// The JSON text of what a step is about.
pub(super) fn detail_bytes(detail: &StepDetail) -> Vec<u8> {
    let text = |text: &Option<Arc<str>>| text.as_deref().map_or(Value::Null, Value::from);
    let json = match detail {
        StepDetail::Run { sdk_type } => json!({ "type": **sdk_type }),
        StepDetail::Sleep { until } => json!({ "sleep": until.0 }),
        StepDetail::Event { name, expression, until } => {
            json!({ "event": **name, "if": text(expression), "until": until.0 })
        }
        StepDetail::Signal { name, until } => json!({ "signal": **name, "until": until.0 }),
        StepDetail::Invoke { function, event, run, until } => json!({
            "function": **function, "by": event.to_string(), "run": run.map(|run| run.to_string()), "until": until.0
        }),
        StepDetail::Gateway { request } => json!({ "request": String::from_utf8_lossy(request) }),
    };
    json.to_string().into_bytes()
}

pub(super) fn detail(row: &Row<'_>, column: usize) -> Result<StepDetail> {
    let json: Value = serde_json::from_slice(row.get_ref(column)?.as_blob()?).unwrap_or_default();
    detail_from(&json).ok_or_else(|| corrupt(column, "unreadable detail of a step"))
}

fn detail_from(json: &Value) -> Option<StepDetail> {
    let text = |key: &str| json[key].as_str().map(Arc::<str>::from);
    let until = || json["until"].as_i64().map(Millis);
    if let Some(sdk_type) = text("type") {
        return Some(StepDetail::Run { sdk_type });
    }
    if let Some(until) = json["sleep"].as_i64() {
        return Some(StepDetail::Sleep { until: Millis(until) });
    }
    if let Some(name) = text("event") {
        return Some(StepDetail::Event { name, expression: text("if"), until: until()? });
    }
    if let Some(name) = text("signal") {
        return Some(StepDetail::Signal { name, until: until()? });
    }
    if let Some(function) = text("function") {
        let event = json["by"].as_str()?.parse().ok()?;
        let run = json["run"].as_str().map(str::parse).transpose().ok()?;
        return Some(StepDetail::Invoke { function, event, run, until: until()? });
    }
    Some(StepDetail::Gateway { request: Payload::copy_from_slice(json["request"].as_str()?.as_bytes()) })
}

/// A row of `steps`: step_id, op, name, failed, attempt, queued_at, started_at, ended_at, input, value, job_key,
/// resolution, and the columns of the reply.
pub(super) fn step(run: RunId, row: &Row<'_>) -> Result<StepRecord> {
    Ok(StepRecord {
        run,
        step: StepRef { id: StepId(row.get(0)?), name: row.get(2)? },
        op: StepOp::from_code(row.get(1)?).ok_or_else(|| corrupt(1, "unknown op"))?,
        failed: row.get(3)?,
        attempt: row.get(4)?,
        queued_at: Millis(row.get(5)?),
        started_at: Millis(row.get(6)?),
        ended_at: Millis(row.get(7)?),
        input: payload(row, 8)?,
        value: payload(row, 9)?.unwrap_or_default(),
        job: row.get::<_, i64>(10)?.cast_unsigned(),
        resolution: resolution(row, 11)?.map(Arc::unwrap_or_clone),
        response: response(row, 12)?,
    })
}

/// A row of `attempts`: job_key, generation, step_id, step_name, attempt, started_at, ended_at, error, retry_at,
/// queued_at, and the columns of the reply.
pub(super) fn attempt(run: RunId, row: &Row<'_>) -> Result<AttemptRecord> {
    Ok(AttemptRecord {
        job: JobId { run, key: row.get::<_, i64>(0)?.cast_unsigned() },
        generation: row.get(1)?,
        step: step_ref(row, 2, 3)?,
        attempt: row.get(4)?,
        started_at: Millis(row.get(5)?),
        ended_at: Millis(row.get(6)?),
        error: payload(row, 7)?.unwrap_or_default(),
        retry_at: row.get::<_, Option<i64>>(8)?.map(Millis),
        queued_at: Millis(row.get(9)?),
        response: response(row, 10)?,
    })
}

/// Columns of `cancellations`, in the order of [`cancellation`].
pub(super) const CANCELLATION_COLUMNS: &str =
    "id, function_id, started_after, started_before, condition, created_at, cursor, done_at";

pub(super) fn cancellation(row: &Row<'_>) -> Result<Cancellation> {
    Ok(Cancellation {
        id: row.get(0)?,
        function: function_id(row, 1)?,
        started_after: row.get::<_, Option<i64>>(2)?.map(Millis),
        started_before: Millis(row.get(3)?),
        condition: row.get(4)?,
        created_at: Millis(row.get(5)?),
        cursor: row.get::<_, Option<[u8; 16]>>(6)?.map(RunId::from_bytes),
        done_at: row.get::<_, Option<i64>>(7)?.map(Millis),
    })
}

/// A row of `metadata`: step_id, scope, kind, op, values, at, attempt, span.
pub(super) fn metadata(run: RunId, row: &Row<'_>) -> Result<Metadata> {
    Ok(Metadata {
        run,
        step: row.get::<_, Option<Arc<str>>>(0)?.map(StepId),
        scope: row.get(1)?,
        kind: row.get(2)?,
        op: row.get(3)?,
        values: payload(row, 4)?.unwrap_or_default(),
        at: Millis(row.get(5)?),
        attempt: row.get(6)?,
        span: row.get(7)?,
    })
}

/// A row of `defers`: id, function, input, meta, status, name.
pub(super) fn defer(row: &Row<'_>) -> Result<Defer> {
    Ok(Defer {
        id: StepId(row.get(0)?),
        function: row.get(1)?,
        input: payload(row, 2)?.unwrap_or_default(),
        meta: payload(row, 3)?,
        status: DeferStatus::from_code(row.get(4)?).ok_or_else(|| corrupt(4, "unknown status of a defer"))?,
        name: row.get(5)?,
    })
}
