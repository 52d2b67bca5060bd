//! The readers: a small pool of read-only connections, used from blocking threads.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use inngest_core::event::DEFERRED_SCHEDULE;
use inngest_core::{App, EventId, Function, FunctionId, Millis, RunId, RunStatus, StepId};
use inngest_queue::admission::AFTER_ANOTHER;
use inngest_queue::{JobId, QueueItem};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension as _, params, params_from_iter};
use tokio::sync::Semaphore;

use super::{codec, open, render};
use crate::StoreError;
use crate::history::{Between, DeferRecord, EventFilter, EventRecord, RunFilter, RunRecord, RunTime, RunTrace};
use crate::run_state::{RunState, StepMemo};
use crate::transition::{Cancellation, Metadata, Tick};

/// Reads at a time; more callers wait.
const READERS_MAX: usize = 4;

#[derive(Clone)]
pub(super) struct Readers {
    shared: Arc<Shared>,
}

struct Shared {
    file: PathBuf,
    places: Semaphore,
    idle: Mutex<Vec<Connection>>,
}

impl Readers {
    pub(super) fn new(file: PathBuf) -> Self {
        Self { shared: Arc::new(Shared { file, places: Semaphore::new(READERS_MAX), idle: Mutex::default() }) }
    }

    /// Runs `query` on a thread that may block, on one snapshot of the database.
    pub(super) async fn read<T, Q>(&self, query: Q) -> Result<T, StoreError>
    where
        T: Send + 'static,
        Q: FnOnce(&Reader<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        let _place = self.shared.places.acquire().await.map_err(|_| StoreError::Closed)?;
        let shared = Arc::clone(&self.shared);
        let work = move || {
            let idle = shared.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let connection = idle.map_or_else(|| open::open_reader(&shared.file), Ok)?;
            let result = {
                let snapshot = connection.unchecked_transaction()?;
                query(&Reader { db: &snapshot })
            };
            shared.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
            result
        };
        tokio::task::spawn_blocking(work).await.map_err(|error| StoreError::Other(error.to_string()))?
    }

    pub(super) fn close(&self) {
        self.shared.places.close();
        self.shared.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// Queries on one snapshot.
pub(super) struct Reader<'c> {
    pub(super) db: &'c Connection,
}

impl Reader<'_> {
    pub(super) fn run_state(&self, id: RunId) -> Result<Option<RunState>, StoreError> {
        let mut statement = self.db.prepare_cached(
            "SELECT function_id, status, event_ids, started_at, correlation_id, input_step, input FROM runs WHERE id = ?1",
        )?;
        let run = statement
            .query_row([id.to_bytes()], |row| {
                Ok(RunState {
                    id,
                    function: codec::function_id(row, 0)?,
                    status: codec::status(row, 1)?,
                    event_ids: codec::event_ids(row, 2)?.into(),
                    event_names: Arc::from([]),
                    events: Arc::from([]),
                    steps: Vec::new(),
                    started_at: row.get::<_, Option<i64>>(3)?.map(Millis),
                    correlation_id: row.get(4)?,
                    defers: Vec::new(),
                    input: match (row.get::<_, Option<Arc<str>>>(5)?, codec::payload(row, 6)?) {
                        (Some(step), Some(input)) => Some(Arc::new((StepId(step), input))),
                        _ => None,
                    },
                })
            })
            .optional()?;
        let Some(mut run) = run.filter(|run| !run.status.is_final()) else { return Ok(None) };
        let (mut names, mut bodies) = (Vec::new(), Vec::new());
        for id in run.event_ids.iter() {
            if let Some((event, _)) = render::find(self.db, *id)? {
                bodies.push(render::body(self.db, &event)?);
                names.push(event.name);
            }
        }
        run.event_names = names.into();
        run.events = bodies.into();
        let mut statement =
            self.db.prepare_cached("SELECT step_id, value FROM steps WHERE run_id = ?1 ORDER BY seq")?;
        let steps = statement.query_map([id.to_bytes()], |row| {
            let value = codec::payload(row, 1)?.unwrap_or_default();
            Ok(Arc::new(StepMemo { id: StepId(row.get(0)?), value }))
        })?;
        run.steps = steps.collect::<Result<_, _>>()?;
        let mut statement = self
            .db
            .prepare_cached("SELECT id, function, input, meta, status FROM defers WHERE run_id = ?1 ORDER BY seq")?;
        let defers = statement.query_map([id.to_bytes()], |row| codec::defer(row).map(Arc::new))?;
        run.defers = defers.collect::<Result<_, _>>()?;
        Ok(Some(run))
    }

    pub(super) fn jobs_ready(&self, after: Option<JobId>, limit: usize) -> Result<Vec<QueueItem>, StoreError> {
        let sql = format!(
            "SELECT {} FROM jobs WHERE timer IS NULL AND (run_id, key) > (?1, ?2) ORDER BY run_id, key LIMIT ?3",
            codec::JOB_COLUMNS
        );
        let (run, key) = after.map_or(([0; 16], i64::MIN), |job| (job.run.to_bytes(), job.key.cast_signed()));
        let mut statement = self.db.prepare_cached(&sql)?;
        let jobs = statement.query_map(params![run, key, limit_of(limit)], codec::job)?;
        Ok(jobs.collect::<Result<_, _>>()?)
    }

    pub(super) fn jobs_due(
        &self,
        before: Millis,
        after: Option<(Millis, JobId)>,
        limit: usize,
    ) -> Result<Vec<QueueItem>, StoreError> {
        let sql = format!(
            "SELECT {} FROM jobs WHERE timer IS NOT NULL AND timer <= ?1 AND timer >= ?2 \
             AND (timer, run_id, key) > (?2, ?3, ?4) ORDER BY timer, run_id, key LIMIT ?5",
            codec::JOB_COLUMNS
        );
        let (due, run, key) = after
            .map_or((i64::MIN, [0; 16], i64::MIN), |(due, job)| (due.0, job.run.to_bytes(), job.key.cast_signed()));
        let mut statement = self.db.prepare_cached(&sql)?;
        let jobs = statement.query_map(params![before.0, due, run, key, limit_of(limit)], codec::job)?;
        Ok(jobs.collect::<Result<_, _>>()?)
    }

    pub(super) fn next_due(&self, after: Millis) -> Result<Option<Millis>, StoreError> {
        let mut statement = self
            .db
            .prepare_cached("SELECT timer FROM jobs WHERE timer IS NOT NULL AND timer > ?1 ORDER BY timer LIMIT 1")?;
        let next = statement.query_row([after.0], |row| row.get(0)).optional()?.map(Millis);
        Ok(next.filter(|due| *due < AFTER_ANOTHER))
    }

    pub(super) fn event(&self, id: EventId) -> Result<Option<EventRecord>, StoreError> {
        let Some((event, runs)) = render::find(self.db, id)? else { return Ok(None) };
        let body = render::body(self.db, &event)?;
        Ok(Some(EventRecord { event, body, runs }))
    }

    pub(super) fn events(&self, filter: &EventFilter) -> Result<Vec<EventRecord>, StoreError> {
        // An id carries the time of receipt, so the window is a range of ids.
        let mut query = Query::new(format!("SELECT {} FROM events WHERE 1", codec::EVENT_COLUMNS));
        if let Some(after) = filter.received_after {
            query.and("id >= ?", ulid_floor(after));
        }
        if let Some(before) = filter.received_before {
            query.and("id < ?", ulid_floor(Millis(before.0.saturating_add(1))));
        }
        if let Some(cursor) = filter.cursor {
            query.and("id < ?", Value::Blob(cursor.to_bytes().to_vec()));
        }
        if !filter.names.is_empty() {
            query.any("name", filter.names.iter().cloned().map(Value::Text).collect());
        }
        if !filter.include_internal {
            query.text.push_str(" AND name NOT LIKE 'inngest/%'");
        }
        query.text.push_str(" ORDER BY id DESC");
        query.limit(filter.limit);
        let mut statement = self.db.prepare_cached(&query.text)?;
        let found =
            statement.query_map(params_from_iter(query.values), codec::event)?.collect::<Result<Vec<_>, _>>()?;
        found
            .into_iter()
            .map(|(event, runs)| Ok(EventRecord { body: render::body(self.db, &event)?, event, runs }))
            .collect()
    }

    pub(super) fn run_record(&self, id: RunId) -> Result<Option<RunRecord>, StoreError> {
        let sql = format!("SELECT {RUN_COLUMNS} FROM runs WHERE id = ?1");
        Ok(self.db.prepare_cached(&sql)?.query_row([id.to_bytes()], run_record).optional()?)
    }

    pub(super) fn runs(&self, filter: &RunFilter) -> Result<Vec<RunRecord>, StoreError> {
        if let Some(event) = filter.event {
            return self.runs_of_event(event, filter);
        }
        let query = runs(filter);
        let mut statement = self.db.prepare_cached(&query.text)?;
        let runs = statement.query_map(params_from_iter(query.values), run_record)?;
        Ok(runs.collect::<Result<_, _>>()?)
    }

    /// An event names the runs it started, so they are looked up one by one and filtered here. Those that were skipped
    /// are not among them.
    fn runs_of_event(&self, event: EventId, filter: &RunFilter) -> Result<Vec<RunRecord>, StoreError> {
        let Some((_, mut ids)) = render::find(self.db, event)? else { return Ok(Vec::new()) };
        ids.sort_unstable();
        if !filter.ascending {
            ids.reverse();
        }
        let beyond = |id: &RunId| {
            filter.cursor.is_none_or(|(_, cursor)| if filter.ascending { *id > cursor } else { *id < cursor })
        };
        let mut runs = Vec::new();
        for id in ids.into_iter().filter(beyond) {
            if runs.len() == filter.limit {
                break;
            }
            runs.extend(self.run_record(id)?.filter(|run| wanted(run, filter)));
        }
        Ok(runs)
    }

    pub(super) fn trace(&self, id: RunId) -> Result<RunTrace, StoreError> {
        let key = id.to_bytes();
        let mut steps = self.db.prepare_cached(
            "SELECT step_id, op, name, failed, attempt, queued_at, started_at, ended_at, input, value, job_key, \
             resolution, status, headers, json FROM steps LEFT JOIN headers ON hash = headers \
             WHERE run_id = ?1 ORDER BY seq",
        )?;
        let mut attempts = self.db.prepare_cached(
            "SELECT job_key, generation, step_id, step_name, attempt, started_at, ended_at, error, retry_at, queued_at, \
             status, headers, json FROM attempts LEFT JOIN headers ON hash = headers WHERE run_id = ?1 ORDER BY ended_at, generation",
        )?;
        let mut jobs = self
            .db
            .prepare_cached(&format!("SELECT {} FROM jobs WHERE run_id = ?1 ORDER BY due", codec::JOB_COLUMNS))?;
        let mut details = self.db.prepare_cached("SELECT step_id, detail FROM details WHERE run_id = ?1")?;
        let mut spans = self.db.prepare_cached(
            "SELECT id, parent, step_id, attempt, name, started_ns, ended_ns, failed, content \
             FROM user_spans WHERE run_id = ?1 ORDER BY started_ns, id",
        )?;
        let mut last = self.db.prepare_cached(
            "SELECT last_job, last_queued_at, last_started_at, last_attempt, last_status, last_headers, json \
             FROM runs LEFT JOIN headers ON hash = last_headers WHERE id = ?1",
        )?;
        let trace = RunTrace {
            steps: steps.query_map([key], |row| codec::step(id, row))?.collect::<Result<_, _>>()?,
            attempts: attempts.query_map([key], |row| codec::attempt(id, row))?.collect::<Result<_, _>>()?,
            jobs: jobs.query_map([key], codec::job)?.collect::<Result<_, _>>()?,
            details: details
                .query_map([key], |row| Ok((StepId(row.get(0)?), codec::detail(row, 1)?)))?
                .collect::<Result<_, _>>()?,
            spans: spans.query_map([key], |row| codec::user_span(id, row))?.collect::<Result<_, _>>()?,
            last_call: last.query_row([key], |row| codec::last_call(id, row)).optional()?.flatten(),
        };
        Ok(trace)
    }

    pub(super) fn event_records(&self, ids: &[EventId]) -> Result<Vec<EventRecord>, StoreError> {
        ids.iter().filter_map(|id| self.event(*id).transpose()).collect()
    }

    pub(super) fn run_records(&self, ids: &[RunId]) -> Result<Vec<RunRecord>, StoreError> {
        ids.iter().filter_map(|id| self.run_record(*id).transpose()).collect()
    }

    pub(super) fn count_events(&self, filter: EventFilter) -> Result<u64, StoreError> {
        let all = EventFilter { cursor: None, limit: usize::MAX, ..filter };
        Ok(self.events(&all)?.len() as u64)
    }

    pub(super) fn count_runs(&self, filter: RunFilter) -> Result<u64, StoreError> {
        let all = RunFilter { cursor: None, limit: usize::MAX, ..filter };
        Ok(self.runs(&all)?.len() as u64)
    }

    pub(super) fn runs_of_events(&self, ids: &[EventId]) -> Result<Vec<(EventId, Vec<RunRecord>)>, StoreError> {
        let mut skipped =
            self.db.prepare_cached("SELECT run_id FROM skips WHERE event_id = ?1 AND run_id IS NOT NULL")?;
        ids.iter()
            .map(|id| {
                let mut runs = render::find(self.db, *id)?.map(|(_, runs)| runs).unwrap_or_default();
                for run in skipped.query_map([id.to_bytes()], |row| codec::run_id(row, 0))? {
                    runs.push(run?);
                }
                runs.sort_unstable();
                Ok((*id, self.run_records(&runs)?))
            })
            .collect()
    }

    pub(super) fn runs_with_ai(&self, ids: &[RunId]) -> Result<Vec<RunId>, StoreError> {
        let mut statement = self.db.prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM steps WHERE run_id = ?1 AND op = 8) \
             OR EXISTS (SELECT 1 FROM metadata WHERE run_id = ?1 AND kind = 'inngest.ai')",
        )?;
        let mut with = Vec::new();
        for id in ids {
            if statement.query_row([id.to_bytes()], |row| row.get(0))? {
                with.push(*id);
            }
        }
        Ok(with)
    }

    pub(super) fn defers(&self, run: RunId) -> Result<Vec<DeferRecord>, StoreError> {
        let mut statement = self.db.prepare_cached(
            "SELECT d.id, d.function, d.input, d.meta, d.status, d.event_id, e.runs FROM defers d \
             LEFT JOIN events e ON e.id = d.event_id WHERE d.run_id = ?1 ORDER BY d.seq",
        )?;
        let defers = statement.query_map([run.to_bytes()], |row| {
            let runs: Option<Vec<u8>> = row.get(6)?;
            Ok(DeferRecord {
                defer: codec::defer(row)?,
                event: row.get::<_, Option<[u8; 16]>>(5)?.map(EventId::from_bytes),
                run: runs.as_deref().and_then(<[u8]>::first_chunk).copied().map(RunId::from_bytes),
            })
        })?;
        Ok(defers.collect::<Result<_, _>>()?)
    }

    pub(super) fn metadata(&self, run: RunId) -> Result<Vec<Metadata>, StoreError> {
        let mut statement = self.db.prepare_cached(
            "SELECT step_id, scope, kind, op, \"values\", at, attempt, span FROM metadata WHERE run_id = ?1 ORDER BY seq",
        )?;
        let metadata = statement.query_map([run.to_bytes()], |row| codec::metadata(run, row))?;
        Ok(metadata.collect::<Result<_, _>>()?)
    }

    pub(super) fn cancellations(&self) -> Result<Vec<Cancellation>, StoreError> {
        let sql = format!("SELECT {} FROM cancellations ORDER BY id DESC", codec::CANCELLATION_COLUMNS);
        Ok(self.db.prepare(&sql)?.query_map([], codec::cancellation)?.collect::<Result<_, _>>()?)
    }

    pub(super) fn ticks(&self) -> Result<Vec<Tick>, StoreError> {
        let mut statement = self.db.prepare("SELECT function_id, schedule, at FROM ticks")?;
        let ticks = statement.query_map([], |row| {
            Ok(Tick { function: codec::function_id(row, 0)?, schedule: row.get(1)?, at: Millis(row.get(2)?) })
        })?;
        Ok(ticks.collect::<Result<_, _>>()?)
    }

    pub(super) fn apps(&self, archived: bool) -> Result<Vec<App>, StoreError> {
        let only = if archived { "" } else { "WHERE archived_at IS NULL" };
        let sql = format!("SELECT {} FROM apps {only} ORDER BY id", codec::APP_COLUMNS);
        Ok(self.db.prepare(&sql)?.query_map([], codec::app)?.collect::<Result<_, _>>()?)
    }

    /// Functions by id; without `archived`, those that are active or have jobs left.
    pub(super) fn functions(&self, archived: bool) -> Result<Vec<Function>, StoreError> {
        let only = if archived { "" } else { "WHERE archived_at IS NULL OR id IN (SELECT function_id FROM jobs)" };
        let sql = format!("SELECT {} FROM functions {only} ORDER BY id", codec::FUNCTION_COLUMNS);
        Ok(self.db.prepare(&sql)?.query_map([], codec::function)?.collect::<Result<_, _>>()?)
    }
}

fn runs(filter: &RunFilter) -> Query {
    let mut query = Query::new(format!("SELECT {RUN_COLUMNS} FROM runs WHERE 1"));
    match filter.statuses[..] {
        [] => query.and("status <> ?", Value::Integer(RunStatus::Skipped as i64)),
        // Told literally, because these have an index of their own.
        [RunStatus::Skipped] => query.text.push_str(&format!(" AND status = {}", RunStatus::Skipped as i64)),
        _ => query.any("status", filter.statuses.iter().map(|status| Value::Integer(*status as i64)).collect()),
    }
    if let Some(functions) = &filter.functions {
        let ids = functions.iter().map(|FunctionId(id)| Value::Blob(id.as_bytes().to_vec())).collect();
        query.any("function_id", ids);
    }
    between(&mut query, "started_at", filter.started);
    between(&mut query, "ended_at", filter.ended);
    if let Some(after) = filter.queued.after {
        query.and("id >= ?", ulid_floor(after));
    }
    if let Some(before) = filter.queued.before {
        query.and("id < ?", ulid_floor(Millis(before.0.saturating_add(1))));
    }
    if let Some(deferred) = filter.deferred {
        let test = if deferred { "event_name = ?" } else { "event_name <> ?" };
        query.and(test, Value::Text(DEFERRED_SCHEDULE.to_owned()));
    }
    let column = match filter.order {
        RunTime::Queued => None,
        RunTime::Started => Some("started_at"),
        RunTime::Ended => Some("ended_at"),
    };
    if let Some(column) = column {
        query.text.push_str(&format!(" AND {column} IS NOT NULL"));
    }
    let (beyond, direction) = if filter.ascending { (">", "") } else { ("<", " DESC") };
    if let Some((at, id)) = filter.cursor {
        let id = Value::Blob(id.to_bytes().to_vec());
        match column {
            None => query.and(&format!("id {beyond} ?"), id),
            Some(column) => {
                query.and(&format!("({column}, id) {beyond} (?, ?)"), Value::Integer(at.0));
                query.values.push(id);
            }
        }
    }
    let first = column.map_or_else(String::new, |column| format!("{column}{direction}, "));
    query.text.push_str(&format!(" ORDER BY {first}id{direction}"));
    query.limit(filter.limit);
    query
}

const RUN_COLUMNS: &str = "id, function_id, status, event_ids, event_name, started_at, ended_at, output, error, original_run, skip, skip_run, gathering, finished_event";

fn run_record(row: &rusqlite::Row<'_>) -> rusqlite::Result<RunRecord> {
    let id = codec::run_id(row, 0)?;
    Ok(RunRecord {
        id,
        function: codec::function_id(row, 1)?,
        status: codec::status(row, 2)?,
        event_ids: codec::event_ids(row, 3)?,
        event_name: row.get(4)?,
        queued_at: id.timestamp(),
        started_at: row.get::<_, Option<i64>>(5)?.map(Millis),
        ended_at: row.get::<_, Option<i64>>(6)?.map(Millis),
        output: codec::payload(row, 7)?,
        error: codec::payload(row, 8)?,
        original_run: row.get::<_, Option<[u8; 16]>>(9)?.map(RunId::from_bytes),
        skip: codec::skip(row, 10, 11)?,
        gathering: row.get_ref(12)?.as_i64_or_null()?.map(|_| codec::gathering(row, 12)).transpose()?,
        finished: row.get::<_, Option<[u8; 16]>>(13)?.map(EventId::from_bytes),
    })
}

fn wanted(run: &RunRecord, filter: &RunFilter) -> bool {
    (filter.statuses.is_empty() || filter.statuses.contains(&run.status))
        && filter.functions.as_ref().is_none_or(|functions| functions.contains(&run.function))
        && filter.queued.holds(Some(run.queued_at))
        && filter.started.holds(run.started_at)
        && filter.ended.holds(run.ended_at)
        && filter.deferred.is_none_or(|deferred| run.is_deferred() == deferred)
}

fn between(query: &mut Query, column: &str, between: Between) {
    for (bound, test) in [(between.after, ">="), (between.before, "<=")] {
        if let Some(at) = bound {
            query.and(&format!("{column} {test} ?"), Value::Integer(at.0));
        }
    }
}

/// The smallest ULID of a time.
fn ulid_floor(at: Millis) -> Value {
    let ms = at.0.clamp(0, (1 << 48) - 1).cast_unsigned();
    Value::Blob((u128::from(ms) << 80).to_be_bytes().to_vec())
}

pub(super) fn limit_of(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// A `WHERE` that grows.
pub(super) struct Query {
    pub(super) text: String,
    pub(super) values: Vec<Value>,
}

impl Query {
    pub(super) fn new(text: String) -> Self {
        Self { text, values: Vec::new() }
    }

    pub(super) fn and(&mut self, condition: &str, value: Value) {
        self.text.push_str(" AND ");
        self.text.push_str(condition);
        self.values.push(value);
    }

    /// `column` is one of `values`.
    pub(super) fn any(&mut self, column: &str, values: Vec<Value>) {
        if values.is_empty() {
            self.text.push_str(" AND 0");
            return;
        }
        self.text.push_str(" AND ");
        self.text.push_str(column);
        self.text.push_str(" IN (?");
        self.text.push_str(&",?".repeat(values.len() - 1));
        self.text.push(')');
        self.values.extend(values);
    }

    pub(super) fn limit(&mut self, limit: usize) {
        self.text.push_str(" LIMIT ?");
        self.values.push(Value::Integer(limit_of(limit)));
    }
}

#[cfg(test)]
mod tests {
    use super::super::open::{database, plan};
    use super::*;

    #[test]
    fn skipped_runs_are_read_along_their_index() {
        let db = database();
        for cursor in [None, Some((Millis(0), RunId::MAX))] {
            let skipped = RunFilter { statuses: vec![RunStatus::Skipped], cursor, ..RunFilter::default() };
            let plan = plan(&db, &runs(&skipped).text);
            assert!(plan.contains("runs_skipped") && !plan.contains("TEMP B-TREE"), "{plan}");
        }
    }
}
