//! What is read of one run, or of the few on a page.

use inngest_core::{EventId, RunId, StepId};
use rusqlite::OptionalExtension as _;

use super::read::Reader;
use super::{codec, render};
use crate::StoreError;
use crate::history::{DeferRecord, RunRecord, RunTrace};
use crate::transition::Metadata;

const STEPS: &str = "SELECT step_id, op, name, failed, attempt, queued_at, started_at, ended_at, input, value, job_key, \
             resolution, status, headers, json FROM steps LEFT JOIN headers ON hash = headers \
             WHERE run_id = ?1 ORDER BY seq";
const ATTEMPTS: &str = "SELECT job_key, generation, step_id, step_name, attempt, started_at, ended_at, error, retry_at, queued_at, \
             status, headers, json FROM attempts LEFT JOIN headers ON hash = headers WHERE run_id = ?1 ORDER BY ended_at, generation";
const CUT_OFF: &str = "SELECT job_key, kind, step_id, step_name, queued_at, called_at, attempt FROM cut_off \
             WHERE run_id = ?1 ORDER BY queued_at, step_name";
const DETAILS: &str = "SELECT step_id, detail FROM details WHERE run_id = ?1";
const SPANS: &str = "SELECT id, parent, step_id, attempt, name, started_ns, ended_ns, failed, content \
             FROM user_spans WHERE run_id = ?1 ORDER BY started_ns, id";
const LAST_CALL: &str = "SELECT last_job, last_queued_at, last_started_at, last_attempt, last_status, last_headers, json \
             FROM runs LEFT JOIN headers ON hash = last_headers WHERE id = ?1";
const SKIPPED_RUNS: &str = "SELECT run_id FROM skips WHERE event_id = ?1 AND run_id IS NOT NULL";
const WITH_AI: &str = "SELECT EXISTS (SELECT 1 FROM steps WHERE run_id = ?1 AND op = 8) \
             OR EXISTS (SELECT 1 FROM metadata WHERE run_id = ?1 AND kind = 'inngest.ai')";
const DEFERS: &str = "SELECT d.id, d.function, d.input, d.meta, d.status, d.name, d.event_id, e.runs FROM defers d \
             LEFT JOIN events e ON e.id = d.event_id WHERE d.run_id = ?1 ORDER BY d.seq";
const METADATA: &str =
    "SELECT step_id, scope, kind, op, \"values\", at, attempt, span FROM metadata WHERE run_id = ?1 ORDER BY seq";

impl Reader<'_> {
    pub(super) fn trace(&self, id: RunId) -> Result<RunTrace, StoreError> {
        let key = id.to_bytes();
        let mut steps = self.db.prepare_cached(STEPS)?;
        let mut attempts = self.db.prepare_cached(ATTEMPTS)?;
        let mut jobs = self
            .db
            .prepare_cached(&format!("SELECT {} FROM jobs WHERE run_id = ?1 ORDER BY due", codec::JOB_COLUMNS))?;
        let mut cut_off = self.db.prepare_cached(CUT_OFF)?;
        let mut details = self.db.prepare_cached(DETAILS)?;
        let mut spans = self.db.prepare_cached(SPANS)?;
        let mut last = self.db.prepare_cached(LAST_CALL)?;
        let trace = RunTrace {
            steps: steps.query_map([key], |row| codec::step(id, row))?.collect::<Result<_, _>>()?,
            attempts: attempts.query_map([key], |row| codec::attempt(id, row))?.collect::<Result<_, _>>()?,
            jobs: jobs.query_map([key], codec::job)?.collect::<Result<_, _>>()?,
            cut_off: cut_off.query_map([key], codec::cut_off)?.collect::<Result<_, _>>()?,
            details: details
                .query_map([key], |row| Ok((StepId(row.get(0)?), codec::detail(row, 1)?)))?
                .collect::<Result<_, _>>()?,
            spans: spans.query_map([key], |row| codec::user_span(id, row))?.collect::<Result<_, _>>()?,
            last_call: last.query_row([key], |row| codec::last_call(id, row)).optional()?.flatten(),
        };
        Ok(trace)
    }

    pub(super) fn runs_of_events(&self, ids: &[EventId]) -> Result<Vec<(EventId, Vec<RunRecord>)>, StoreError> {
        let mut skipped = self.db.prepare_cached(SKIPPED_RUNS)?;
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
        let mut statement = self.db.prepare_cached(WITH_AI)?;
        let mut with = Vec::new();
        for id in ids {
            if statement.query_row([id.to_bytes()], |row| row.get(0))? {
                with.push(*id);
            }
        }
        Ok(with)
    }

    pub(super) fn defers(&self, run: RunId) -> Result<Vec<DeferRecord>, StoreError> {
        let mut statement = self.db.prepare_cached(DEFERS)?;
        let defers = statement.query_map([run.to_bytes()], |row| {
            let runs: Option<Vec<u8>> = row.get(7)?;
            Ok(DeferRecord {
                defer: codec::defer(row)?,
                event: row.get::<_, Option<[u8; 16]>>(6)?.map(EventId::from_bytes),
                run: runs.as_deref().and_then(<[u8]>::first_chunk).copied().map(RunId::from_bytes),
            })
        })?;
        Ok(defers.collect::<Result<_, _>>()?)
    }

    pub(super) fn metadata(&self, run: RunId) -> Result<Vec<Metadata>, StoreError> {
        let mut statement = self.db.prepare_cached(METADATA)?;
        let metadata = statement.query_map([run.to_bytes()], |row| codec::metadata(run, row))?;
        Ok(metadata.collect::<Result<_, _>>()?)
    }
}

#[cfg(test)]
mod tests {
    use super::super::open::{database, plan};
    use super::*;

    #[test]
    fn nothing_is_read_but_what_belongs_to_the_run() {
        let db = database();
        let jobs = format!("SELECT {} FROM jobs WHERE run_id = ?1 ORDER BY due", codec::JOB_COLUMNS);
        let event = format!("SELECT {} FROM events WHERE id = ?1", codec::EVENT_COLUMNS);
        let run = format!("SELECT {} FROM runs WHERE id = ?1", super::super::read::RUN_COLUMNS);
        let statements =
            [STEPS, ATTEMPTS, &jobs, CUT_OFF, DETAILS, SPANS, LAST_CALL, SKIPPED_RUNS, WITH_AI, DEFERS, METADATA];
        for sql in statements.into_iter().chain([&*event, &*run]) {
            let plan = plan(&db, sql).replace("SCAN CONSTANT ROW", "");
            assert!(plan.contains("SEARCH") && !plan.contains("SCAN"), "{sql}: {plan}");
        }
    }
}
