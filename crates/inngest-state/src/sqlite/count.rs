//! Counts of runs and events: whole days and hours from the counters, the rest row by row.

use inngest_core::event::{FUNCTION_FINISHED, INTERNAL_PREFIX};
use inngest_core::{Millis, RunStatus};
use rusqlite::types::Value;
use rusqlite::{OptionalExtension as _, params, params_from_iter};

use super::counters::{ALL_EXTERNAL, Changes, DAY_MS, HOUR_MS, RunKey, STATUSES, day_bucket, hour_bucket, time_code};
use super::lists::{Source, function_value, id_range, id_value, narrow, statuses};
use super::query::Query;
use super::read::Reader;
use crate::StoreError;
use crate::history::{Between, COUNT_ROWS_MAX, EventFilter, RunFilter, RunTime};

/// An interval in milliseconds, the end excluded.
type Span = (i64, i64);

/// An interval as buckets and what they do not tell.
#[derive(Debug, Default, PartialEq, Eq)]
struct Parts {
    /// Hours and days whose counts are to be summed.
    buckets: Vec<i64>,
    /// Parts of hours that are to be counted and added.
    more: Vec<Span>,
    /// Parts of the hours that are to be counted and taken off.
    less: Vec<Span>,
}

impl Parts {
    /// `last` is the time after which there is nothing.
    fn of((from, to): Span, last: i64) -> Self {
        let mut parts = Self::default();
        let mut at = from;
        while at < to {
            if at % DAY_MS == 0 && at + DAY_MS <= to {
                parts.buckets.push(day_bucket(hour_bucket(Millis(at))));
                at += DAY_MS;
                continue;
            }
            let (begin, end) = (at - at % HOUR_MS, at - at % HOUR_MS + HOUR_MS);
            let until = end.min(to);
            // The smaller part of the hour is the one that is counted.
            if (until - at) * 2 > end.min(last + 1) - begin {
                parts.buckets.push(hour_bucket(Millis(at)));
                parts.less.extend([(begin, at), (until, end)].into_iter().filter(|(from, to)| from < to));
            } else {
                parts.more.push((at, until));
            }
            at = end;
        }
        parts
    }

    /// Whether an hour is summed up.
    fn contain(&self, hour: i64) -> bool {
        [hour, day_bucket(hour)].iter().any(|bucket| self.buckets.binary_search(bucket).is_ok())
    }

    fn noted_runs(&self, noted: &Changes, time: RunTime, filter: &RunFilter) -> i64 {
        let wanted = statuses(filter);
        let fits = |key: &&RunKey| {
            key.time == time_code(time)
                && filter.functions.as_ref().is_none_or(|functions| functions.contains(&key.function))
                && filter.deferred.is_none_or(|deferred| deferred == key.deferred)
                && self.contain(key.bucket)
        };
        let of_statuses = |counts: &[i64; STATUSES.len()]| -> i64 {
            counts.iter().zip(STATUSES).filter(|(_, status)| wanted.contains(status)).map(|(count, _)| count).sum()
        };
        noted.runs.iter().filter(|(key, _)| fits(key)).map(|(_, counts)| of_statuses(counts)).sum()
    }

    /// Those of a name, or all that are or are not the server's own.
    fn noted_events(&self, noted: &Changes, name: &str) -> i64 {
        let fits = |noted: &str| match name {
            ALL_EXTERNAL => !noted.starts_with(INTERNAL_PREFIX),
            INTERNAL_PREFIX => noted.starts_with(INTERNAL_PREFIX),
            name => noted == name,
        };
        let events = noted.events.iter().filter(|((hour, name), _)| fits(name) && self.contain(*hour));
        events.map(|(_, count)| count).sum()
    }
}

impl Reader<'_> {
    pub(super) fn count_runs(&self, filter: RunFilter) -> Result<u64, StoreError> {
        let mut filter = RunFilter { cursor: None, limit: usize::MAX, ..filter };
        if filter.functions.as_ref().is_some_and(Vec::is_empty) {
            return Ok(0);
        }
        if filter.event.is_some() {
            return Ok(self.runs(&filter)?.len() as u64);
        }
        if filter.order == RunTime::Ended && filter.ended == Between::default() {
            // Those that have ended are told by their status.
            filter.order = RunTime::Queued;
            filter.statuses = statuses(&filter).into_iter().filter(|status| status.is_final()).collect();
            if filter.statuses.is_empty() {
                return Ok(0);
            }
        }
        let bounded = |time: &RunTime| *time == filter.order || filter.time(*time) != Between::default();
        let times: Vec<RunTime> =
            [RunTime::Started, RunTime::Ended, RunTime::Queued].into_iter().filter(bounded).collect();
        match times[..] {
            [time] => self.count_by(time, &filter),
            [time, RunTime::Queued] if filter.queued == Between::default() => self.count_by(time, &filter),
            _ => self.count_rows(&self.cheapest(&filter)?, &filter),
        }
    }

    /// Counts the runs of an interval of one time.
    fn count_by(&self, time: RunTime, filter: &RunFilter) -> Result<u64, StoreError> {
        let Some(last) = self.last(time)? else { return Ok(0) };
        let noted = Changes::noted(self.db)?;
        let first = noted.runs.keys().map(|key| key.bucket).min();
        let Some(span) = self.span("run_counts", first, filter.time(time), last)? else { return Ok(0) };
        let parts = Parts::of(span, last);
        let mut count = self.in_buckets(&parts.buckets, time, filter)? + parts.noted_runs(&noted, time, filter);
        for (spans, sign) in [(&parts.more, 1), (&parts.less, -1)] {
            for (from, to) in spans {
                let between = Between { after: Some(Millis(*from)), before: Some(Millis(*to - 1)) };
                let mut part = RunFilter { order: time, ..filter.clone() };
                *part.time_mut(time) = between;
                let sources = if time == RunTime::Queued { narrow(&part) } else { vec![Source::ordered_by(time)] };
                count += sign * i64::try_from(self.count_rows(&sources, &part)?).unwrap_or(i64::MAX);
            }
        }
        Ok(u64::try_from(count).unwrap_or_default())
    }

    fn count_rows(&self, sources: &[Source], filter: &RunFilter) -> Result<u64, StoreError> {
        let mut count = 0;
        for source in sources.iter().filter(|source| !source.has_none(filter)) {
            let query = source.count(filter, COUNT_ROWS_MAX);
            let mut statement = self.db.prepare_cached(&query.text)?;
            count += statement.query_row(params_from_iter(query.values), |row| row.get::<_, i64>(0))?;
        }
        Ok(u64::try_from(count).unwrap_or_default())
    }

    fn in_buckets(&self, buckets: &[i64], time: RunTime, filter: &RunFilter) -> Result<i64, StoreError> {
        let wanted = statuses(filter);
        let columns: Vec<String> = STATUSES
            .into_iter()
            .filter(|status| wanted.contains(status))
            .map(|status| format!("sum({})", status.as_str().to_ascii_lowercase()))
            .collect();
        let mut query = Query::new(format!("SELECT {} FROM run_counts WHERE bucket = ?", columns.join(" + ")));
        query.values.push(Value::Null);
        query.and("time = ?", Value::Integer(time_code(time).into()));
        if let Some(functions) = &filter.functions {
            query.any("function_id", functions.iter().copied().map(function_value).collect());
        }
        if let Some(deferred) = filter.deferred {
            query.and("deferred = ?", Value::Integer(deferred.into()));
        }
        let mut statement = self.db.prepare_cached(&query.text)?;
        self.sum("run_counts", buckets, |bucket| {
            query.values[0] = Value::Integer(bucket);
            statement.query_row(params_from_iter(&query.values), |row| row.get(0))
        })
    }

    /// Sums up what there is in these buckets, in their order. Where there is nothing, it goes on with the next that exists.
    fn sum(
        &self,
        table: &str,
        buckets: &[i64],
        mut count: impl FnMut(i64) -> rusqlite::Result<Option<i64>>,
    ) -> Result<i64, StoreError> {
        let next = format!("SELECT bucket FROM {table} WHERE bucket > ?1 ORDER BY bucket LIMIT 1");
        let mut next = self.db.prepare_cached(&next)?;
        let (mut sum, mut exists) = (0, i64::MIN);
        for bucket in buckets {
            if *bucket < exists {
                continue;
            }
            match count(*bucket)? {
                Some(count) => sum += count,
                None => exists = next.query_row([bucket], |row| row.get(0)).optional()?.unwrap_or(i64::MAX),
            }
        }
        Ok(sum)
    }

    /// The latest such time of a run.
    fn last(&self, time: RunTime) -> Result<Option<i64>, StoreError> {
        let (column, index) = match time {
            RunTime::Queued => return Ok(self.last_id("runs")?),
            RunTime::Started => ("started_at", "runs_started"),
            RunTime::Ended => ("ended_at", "runs_ended"),
        };
        let sql = format!(
            "SELECT {column} FROM runs INDEXED BY {index} WHERE {column} IS NOT NULL ORDER BY {column} DESC LIMIT 1"
        );
        Ok(self.db.prepare_cached(&sql)?.query_row([], |row| row.get(0)).optional()?)
    }

    /// The time of the newest id.
    fn last_id(&self, table: &str) -> rusqlite::Result<Option<i64>> {
        let sql = format!("SELECT id FROM {table} ORDER BY id DESC LIMIT 1");
        let last = self.db.prepare_cached(&sql)?.query_row([], |row| super::codec::event_id(row, 0)).optional()?;
        Ok(last.map(|id| id.timestamp().0))
    }

    /// The part of an interval in which there is something; after `last` there is nothing, so that it ends with a day.
    /// `noted` is the first hour of what is noted.
    fn span(&self, counts: &str, noted: Option<i64>, between: Between, last: i64) -> Result<Option<Span>, StoreError> {
        let sql = format!("SELECT bucket FROM {counts} ORDER BY bucket LIMIT 1");
        let first = self.db.prepare_cached(&sql)?.query_row([], |row| row.get::<_, i64>(0)).optional()?;
        let Some(first) = first.into_iter().chain(noted).min() else { return Ok(None) };
        let end = last.max(0) - last.max(0) % DAY_MS + DAY_MS;
        let from = between.after.map_or(0, |at| at.0).max(first / 25 * DAY_MS);
        let to = between.before.map_or(end, |at| if at.0 >= last { end } else { at.0 + 1 });
        Ok((from < to).then_some((from, to)))
    }

    /// About how many runs there are in an interval of one time, by what is summed up of whole hours.
    fn roughly(&self, time: RunTime, between: Between, filter: &RunFilter) -> Result<f64, StoreError> {
        let Some(last) = self.last(time)? else { return Ok(0.0) };
        let after = between.after.map(|at| Millis(at.0 - at.0.rem_euclid(HOUR_MS)));
        let before = between.before.map(|at| Millis(at.0 - at.0.rem_euclid(HOUR_MS) + HOUR_MS - 1));
        let Some(span) = self.span("run_counts", None, Between { after, before }, last)? else { return Ok(0.0) };
        Ok(self.in_buckets(&Parts::of(span, last).buckets, time, filter)? as f64)
    }

    /// The sources along which a list is read with the least work.
    pub(super) fn cheapest(&self, filter: &RunFilter) -> Result<Vec<Source>, StoreError> {
        let narrow = narrow(filter);
        let bounded = |time: RunTime| filter.time(time) != Between::default();
        let times: Vec<RunTime> = [RunTime::Started, RunTime::Ended]
            .into_iter()
            .filter(|time| *time == filter.order || bounded(*time))
            .collect();
        if times.is_empty() || narrow.is_empty() {
            return Ok(narrow);
        }
        if narrow == [Source::All] && times == [filter.order] && !bounded(RunTime::Queued) {
            return Ok(vec![Source::ordered_by(filter.order)]);
        }
        let any = RunFilter { statuses: RunStatus::ALL.to_vec(), ..RunFilter::default() };
        let all = self.roughly(RunTime::Queued, Between::default(), &any)?.max(1.0);
        // As if times, functions and statuses had nothing to do with each other.
        let mut fitting = self.roughly(RunTime::Queued, filter.queued, filter)?;
        let own = if statuses(filter).contains(&RunStatus::Completed) {
            RunFilter { functions: filter.functions.clone(), ..any.clone() }
        } else {
            filter.clone()
        };
        let mut choices = vec![(narrow, RunTime::Queued, self.roughly(RunTime::Queued, filter.queued, &own)?, own)];
        for time in times {
            let rows = self.roughly(time, filter.time(time), &any)?;
            fitting *= rows / all;
            choices.push((vec![Source::ordered_by(time)], time, rows, any.clone()));
        }
        let mut best: Option<(f64, Vec<Source>)> = None;
        for (sources, time, rows, of) in choices {
            let mut work = rows;
            if time == filter.order {
                work = filter.limit as f64 * rows / fitting.max(1.0);
                // What comes first in this order, but is outside of the intervals of other times.
                for other in [RunTime::Queued, RunTime::Started, RunTime::Ended].into_iter().filter(|at| *at != time) {
                    let Between { after, before } = filter.time(other);
                    let first = if filter.ascending {
                        after.map(|_| Between { after: None, before: after })
                    } else {
                        before.map(|_| Between { after: before, before: None })
                    };
                    work += first.map_or(Ok(0.0), |first| self.roughly(time, first, &of))?;
                }
            }
            let work = work.min(rows) * sources.first().map_or(1.0, |source| source.row_cost(filter));
            if best.as_ref().is_none_or(|(least, _)| work < *least || (work <= *least && time == filter.order)) {
                best = Some((work, sources));
            }
        }
        Ok(best.map(|(_, sources)| sources).unwrap_or_default())
    }

    pub(super) fn count_events(&self, filter: &EventFilter) -> Result<u64, StoreError> {
        let mut names: Vec<&str> = filter.names.iter().map(String::as_str).collect();
        names.sort_unstable();
        names.dedup();
        names.retain(|name| filter.include_internal || !name.starts_with(INTERNAL_PREFIX));
        if filter.names.is_empty() {
            names = if filter.include_internal { vec![ALL_EXTERNAL, INTERNAL_PREFIX] } else { vec![ALL_EXTERNAL] };
        }
        let between = Between { after: filter.received_after, before: filter.received_before };
        let Some(last) = self.last_id("events")? else { return Ok(0) };
        let noted = Changes::noted(self.db)?;
        let first = noted.events.keys().map(|(hour, _)| *hour).min();
        let Some(span) = self.span("event_counts", first, between, last)? else { return Ok(0) };
        let parts = Parts::of(span, last);
        let mut count = 0;
        let mut counted = self.db.prepare_cached("SELECT events FROM event_counts WHERE bucket = ?1 AND name = ?2")?;
        for name in names {
            let of_name = |bucket| counted.query_row(params![bucket, name], |row| row.get(0)).optional();
            count += self.sum("event_counts", &parts.buckets, of_name)? + parts.noted_events(&noted, name);
            for (spans, sign) in [(&parts.more, 1), (&parts.less, -1)] {
                for span in spans {
                    count += sign * self.count_event_rows(name, *span)?;
                }
            }
        }
        Ok(u64::try_from(count).unwrap_or_default())
    }

    /// Counts the events of a name, or all that are or are not the server's own.
    fn count_event_rows(&self, name: &str, (from, to): Span) -> Result<i64, StoreError> {
        let (inner, test, name) = match name {
            ALL_EXTERNAL => ("SELECT name FROM events WHERE 1", "NOT (name >= 'inngest/' AND name < 'inngest0')", None),
            INTERNAL_PREFIX => ("SELECT name FROM events WHERE 1", "name >= 'inngest/' AND name < 'inngest0'", None),
            FUNCTION_FINISHED => ("SELECT name FROM events WHERE 1", "name = 'inngest/function.finished'", None),
            name => (
                "SELECT 1 FROM events INDEXED BY events_named WHERE name <> 'inngest/function.finished' AND name = ?",
                "1",
                Some(name),
            ),
        };
        let mut query = Query::new(inner.to_owned());
        query.values.extend(name.map(|name| Value::Text(name.to_owned())));
        let (low, high) = id_range(Between { after: Some(Millis(from)), before: Some(Millis(to - 1)) });
        query.range("id", id_value(low), id_value(high));
        query.limit(COUNT_ROWS_MAX as usize);
        let mut statement = self.db.prepare_cached(&format!("SELECT count(*) FROM ({}) WHERE {test}", query.text))?;
        Ok(statement.query_row(params_from_iter(query.values), |row| row.get(0))?)
    }
}
