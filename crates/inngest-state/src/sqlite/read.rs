//! Queries on one snapshot of the database.

use std::sync::Arc;

use inngest_core::{App, EventId, Function, Millis, RunId, StepId};
use inngest_queue::admission::AFTER_ANOTHER;
use inngest_queue::{JobId, QueueItem};
use rusqlite::{Connection, OptionalExtension as _, params};

use super::query::limit_of;
use super::{codec, render};
use crate::StoreError;
use crate::history::{DeferRecord, EventRecord, RunRecord, RunTrace};
use crate::run_state::{RunState, StepMemo};
use crate::transition::{Cancellation, Metadata, Tick};

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

    pub(super) fn run_record(&self, id: RunId) -> Result<Option<RunRecord>, StoreError> {
        let sql = format!("SELECT {RUN_COLUMNS} FROM runs WHERE id = ?1");
        Ok(self.db.prepare_cached(&sql)?.query_row([id.to_bytes()], run_record).optional()?)
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
