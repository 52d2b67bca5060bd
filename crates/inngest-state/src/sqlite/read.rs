//! Queries on one snapshot of the database.

use std::sync::Arc;

use inngest_core::{App, EventId, Function, Millis, RunId, StepId};
use inngest_queue::admission::AFTER_ANOTHER;
use inngest_queue::{JobId, QueueItem};
use rusqlite::{Connection, OptionalExtension as _, params};

use super::query::limit_of;
use super::{codec, render};
use crate::StoreError;
use crate::history::{EventRecord, RunRecord};
use crate::run_state::{RunState, StepMemo};
use crate::transition::{Cancellation, Tick};

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
        let sql = "SELECT id, function, input, meta, status, name FROM defers WHERE run_id = ?1 ORDER BY seq";
        let mut statement = self.db.prepare_cached(sql)?;
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

    pub(super) fn event_records(&self, ids: &[EventId]) -> Result<Vec<EventRecord>, StoreError> {
        ids.iter().filter_map(|id| self.event(*id).transpose()).collect()
    }

    pub(super) fn run_records(&self, ids: &[RunId]) -> Result<Vec<RunRecord>, StoreError> {
        ids.iter().filter_map(|id| self.run_record(*id).transpose()).collect()
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

pub(super) const RUN_COLUMNS: &str = "id, function_id, status, event_ids, event_name, started_at, ended_at, output, error, original_run, skip, skip_run, gathering, finished_event";

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
