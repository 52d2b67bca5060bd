//! Reads about flow control.

use inngest_core::event::EventBody;
use inngest_core::{Event, EventId, FunctionId, Millis, Payload, RunId};
use inngest_queue::admission;
use inngest_queue::flow::{Bucket, KeyValue};
use inngest_queue::{Gathering, JobId, StartedRun, Token};
use rusqlite::types::Value;
use rusqlite::{OptionalExtension as _, Row, params, params_from_iter};

use super::admission::Counts;
use super::query::{Query, limit_of};
use super::read::Reader;
use super::{codec, render};
use crate::history::{GATHERED_LISTED_MAX, GatheringFilter, GatheringRecord, SkipFilter, SkipRecord};
use crate::transition::{Hold, invokers};
use crate::{Gathered, StoreError};

impl Reader<'_> {
    pub(super) fn skips(&self, filter: &SkipFilter) -> Result<Vec<SkipRecord>, StoreError> {
        let query = skips(filter);
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

    pub(super) fn gatherings(&self, filter: &GatheringFilter) -> Result<Vec<GatheringRecord>, StoreError> {
        let query = gatherings(filter);
        let mut statement = self.db.prepare_cached(&query.text)?;
        let mut rows = statement.query(params_from_iter(query.values))?;
        let mut records = Vec::new();
        while let Some(row) = rows.next()? {
            let (id, kind) = (codec::run_id(row, 0)?, codec::gathering(row, 2)?);
            // All rows of a batch are events; of those of a debounce only the first.
            let count = match kind {
                Gathering::Batch => row.get::<_, u32>(5)? as usize,
                Gathering::Debounce => 1,
            };
            records.push(GatheringRecord {
                id,
                function: codec::function_id(row, 1)?,
                kind,
                first_at: Millis(row.get(3)?),
                deadline: Millis(row.get(4)?),
                count,
                events: self.first_events(id, count.min(GATHERED_LISTED_MAX))?,
            });
        }
        Ok(records)
    }

    fn first_events(&self, gathering: RunId, limit: usize) -> Result<Vec<EventId>, StoreError> {
        let sql = "SELECT event_id FROM gathered WHERE gathering = ?1 ORDER BY seq LIMIT ?2";
        let mut statement = self.db.prepare_cached(sql)?;
        let events =
            statement.query_map(params![gathering.to_bytes(), limit_of(limit)], |row| codec::event_id(row, 0))?;
        Ok(events.collect::<Result<_, _>>()?)
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

fn skips(filter: &SkipFilter) -> Query {
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
    query
}

fn gatherings(filter: &GatheringFilter) -> Query {
    let columns = "id, function_id, kind, first_at, deadline, members";
    let mut query = Query::new(format!("SELECT {columns} FROM gatherings WHERE 1"));
    if let Some(event) = filter.event {
        let own = "id IN (SELECT gathering FROM gathered WHERE event_id = ?)";
        query.and(own, Value::Blob(event.to_bytes().to_vec()));
    }
    if let Some(function) = filter.function {
        query.and("function_id = ?", Value::Blob(function.0.as_bytes().to_vec()));
    }
    if let Some(cursor) = filter.cursor {
        query.and("id < ?", Value::Blob(cursor.to_bytes().to_vec()));
    }
    query.text.push_str(" ORDER BY id DESC");
    query.limit(filter.limit);
    query
}

#[cfg(test)]
mod tests {
    use super::super::open::{database, plan};
    use super::*;

    #[test]
    fn lists_are_read_along_an_index() {
        let db = database();
        let (event, function) = (Some(EventId::from_bytes([1; 16])), Some(FunctionId::of_definition("f", "u")));
        let cursor = event.zip(function);
        for (filter, index) in [
            (SkipFilter { cursor, ..SkipFilter::default() }, "USING PRIMARY KEY ((event_id,function_id)<"),
            (SkipFilter { event, ..SkipFilter::default() }, "USING PRIMARY KEY (event_id=?)"),
            (
                SkipFilter { function, cursor, ..SkipFilter::default() },
                "skips_of_function (function_id=? AND event_id<?)",
            ),
        ] {
            let plan = plan(&db, &skips(&filter).text);
            assert!(plan.contains(index) && !plan.contains("TEMP B-TREE"), "{filter:?}: {plan}");
        }
        let cursor = Some(RunId::MAX);
        for (filter, index) in [
            (GatheringFilter { cursor, ..GatheringFilter::default() }, "USING PRIMARY KEY (id<?)"),
            (GatheringFilter { event, ..GatheringFilter::default() }, "gathered_of_event (event_id=?)"),
            (
                GatheringFilter { function, cursor, ..GatheringFilter::default() },
                "gatherings_of_function (function_id=? AND id<?)",
            ),
        ] {
            let plan = plan(&db, &gatherings(&filter).text);
            assert!(plan.contains(index) && !plan.contains("TEMP B-TREE"), "{filter:?}: {plan}");
        }
    }
}
