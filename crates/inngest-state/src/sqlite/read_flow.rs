//! Reads about flow control.

use inngest_core::event::EventBody;
use inngest_core::{Event, EventId, FunctionId, Millis, Payload, RunId};
use inngest_queue::admission;
use inngest_queue::flow::{Bucket, KeyValue};
use inngest_queue::{JobId, StartedRun, Token};
use rusqlite::types::Value;
use rusqlite::{OptionalExtension as _, Row, params, params_from_iter};

use super::admission::Counts;
use super::read::{Query, Reader};
use super::{codec, render};
use crate::history::{SkipFilter, SkipRecord};
use crate::transition::{Hold, invokers};
use crate::{Gathered, StoreError};

impl Reader<'_> {
    pub(super) fn skips(&self, filter: &SkipFilter) -> Result<Vec<SkipRecord>, StoreError> {
        let columns = "event_id, function_id, reason, existing_run, run_id";
        let mut query = Query::new(format!("SELECT {columns} FROM skips WHERE 1"));
        if let Some(event) = filter.event {
            query.and("event_id = ?", Value::Blob(event.to_bytes().to_vec()));
        }
        if let Some(function) = filter.function {
            query.and("function_id = ?", Value::Blob(function.0.as_bytes().to_vec()));
        }
        if let Some((event, function)) = filter.cursor {
            query.and("(event_id, function_id) < (?", Value::Blob(event.to_bytes().to_vec()));
            query.text.push_str(", ?)");
            query.values.push(Value::Blob(function.0.as_bytes().to_vec()));
        }
        query.text.push_str(" ORDER BY event_id DESC, function_id DESC");
        query.limit(filter.limit);
        let mut statement = self.db.prepare_cached(&query.text)?;
        let skips = statement.query_map(params_from_iter(query.values), |row| {
            Ok(SkipRecord {
                event: codec::event_id(row, 0)?,
                function: codec::function_id(row, 1)?,
                reason: codec::skip(row, 2, 3)?.ok_or_else(|| codec::corrupt(2, "a skip without a reason"))?,
                run: row.get::<_, Option<[u8; 16]>>(4)?.map(RunId::from_bytes),
            })
        })?;
        Ok(skips.collect::<Result<_, _>>()?)
    }

    /// What throttles count at a later time than `now`.
    pub(super) fn tokens(&self, now: Millis) -> Result<Vec<Token>, StoreError> {
        let mut statement = self.db.prepare("SELECT bucket, key, tat FROM tats WHERE kind = ?1 AND tat > ?2")?;
        let number = |row: &Row<'_>, column| row.get(column).map(u128::from_be_bytes);
        let tokens = statement.query_map(params![Counts::Throttles as u8, admission::nanoseconds(now)], |row| {
            Ok(Token { bucket: Bucket(number(row, 0)?), key: KeyValue(number(row, 1)?), tat: row.get(2)? })
        })?;
        Ok(tokens.collect::<Result<_, _>>()?)
    }

    /// A run that is open has a job, so the jobs tell which there are.
    pub(super) fn started_runs(&self, functions: &[FunctionId]) -> Result<Vec<StartedRun>, StoreError> {
        let mut query = Query::new(
            "SELECT run_id, jobs.function_id, max(keys) FROM jobs JOIN runs ON runs.id = run_id \
             WHERE started_at IS NOT NULL"
                .to_owned(),
        );
        let ids = functions.iter().map(|FunctionId(id)| Value::Blob(id.as_bytes().to_vec())).collect();
        query.any("jobs.function_id", ids);
        query.text.push_str(" GROUP BY run_id");
        let mut statement = self.db.prepare(&query.text)?;
        let runs = statement.query_map(params_from_iter(query.values), |row| {
            let (run, function) = (codec::run_id(row, 0)?, codec::function_id(row, 1)?);
            Ok(StartedRun { run, function, keys: codec::keys(row, 2)? })
        })?;
        Ok(runs.collect::<Result<_, _>>()?)
    }

    pub(super) fn holds(&self) -> Result<Vec<(FunctionId, Hold)>, StoreError> {
        let mut statement = self.db.prepare("SELECT function_id, hold FROM holds ORDER BY function_id")?;
        let holds = statement.query_map([], |row| {
            let hold = Hold::from_code(row.get(1)?).ok_or_else(|| codec::corrupt(1, "unknown hold"))?;
            Ok((codec::function_id(row, 0)?, hold))
        })?;
        Ok(holds.collect::<Result<_, _>>()?)
    }

    pub(super) fn document(&self, name: &str) -> Result<Option<Payload>, StoreError> {
        let mut statement = self.db.prepare("SELECT body FROM documents WHERE name = ?1")?;
        Ok(statement.query_row([name], |row| codec::payload(row, 0)).optional()?.flatten())
    }

    pub(super) fn gathered(&self, job: JobId) -> Result<Option<Gathered>, StoreError> {
        let id = job.run.to_bytes();
        let mut statement = self.db.prepare_cached("SELECT function_id FROM gatherings WHERE id = ?1")?;
        let Some(function) = statement.query_row([id], |row| codec::function_id(row, 0)).optional()? else {
            return Ok(None);
        };
        let mut statement = self
            .db
            .prepare_cached("SELECT event_id, correlation_id FROM gathered WHERE gathering = ?1 ORDER BY seq")?;
        let (mut first, mut count, mut waiting) = (None, 0, Vec::new());
        let mut rows = statement.query([id])?;
        while let Some(row) = rows.next()? {
            if let Some(event) = row.get::<_, Option<[u8; 16]>>(0)? {
                first = first.or_else(|| Some(EventId::from_bytes(event)));
                count += 1;
            }
            waiting.extend(invokers(&row.get::<_, Option<String>>(1)?.unwrap_or_default()));
        }
        let Some(first) = first else { return Ok(None) };
        let Some((event, _)) = render::find(self.db, first)? else { return Ok(None) };
        let body = EventBody::Stored(render::body(self.db, &event)?);
        Ok(Some(Gathered { function, event: Event { body, ..event }, count, invokers: waiting }))
    }
}
