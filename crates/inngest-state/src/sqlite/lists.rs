//! Lists of runs and of events: which index each is read along.
//!
//! First the ids of a page are found, where possible in an index alone, then its rows are read one by one. A list may be
//! read along several parts of an index (an app's functions, two statuses); each is looked at only beyond the worst that
//! is on the page so far.

use std::sync::Arc;

use inngest_core::event::{DEFERRED_SCHEDULE, FUNCTION_FINISHED, INTERNAL_PREFIX};
use inngest_core::{EventId, FunctionId, RunId, RunStatus};
use rusqlite::types::Value;
use rusqlite::{Row, params_from_iter};

use super::query::Query;
use super::read::Reader;
use super::{codec, render};
use crate::StoreError;
use crate::history::{Between, EventFilter, EventRecord, RunFilter, RunRecord, RunTime};

/// Newest events that are looked at one by one for a page of those that are not the server's own.
const EVENTS_LOOKED_AT_MAX: usize = 20_000;

/// Names that are not the server's own: those before and those after. Each is one part of the index by name.
const EXTERNAL: [&str; 2] = ["name < 'inngest/'", "name >= 'inngest0'"];

/// Rows that are read in the order of one index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    All,
    Function(FunctionId),
    /// Failed, cancelled or skipped runs.
    Unusual(RunStatus),
    UnusualOf(FunctionId, RunStatus),
    /// Runs that have not ended: each has a job.
    Open,
    Deferred,
    Started,
    Ended,
}

/// What of a list is left to be read: nothing that was shown before, nothing that would not fit on the page any more.
#[derive(Clone, Copy, Default)]
struct Left {
    /// Beyond this one.
    after: Option<(i64, RunId)>,
    /// Before this one.
    until: Option<(i64, RunId)>,
}

impl Reader<'_> {
    pub(super) fn runs(&self, filter: &RunFilter) -> Result<Vec<RunRecord>, StoreError> {
        if let Some(event) = filter.event {
            return self.runs_of_event(event, filter);
        }
        let mut left = Left { after: filter.cursor.map(|(at, id)| (at.0, id)), until: None };
        let mut page: Vec<(i64, RunId)> = Vec::new();
        let sources = self.cheapest(filter)?;
        for source in sources.into_iter().filter(|source| !source.has_none(filter)) {
            let query = ids(source, filter, left);
            let mut statement = self.db.prepare_cached(&query.text)?;
            let found = |row: &Row<'_>| Ok((row.get(0)?, codec::run_id(row, 1)?));
            for found in statement.query_map(params_from_iter(query.values), found)? {
                page.push(found?);
            }
            page.sort_unstable_by(|one, other| if filter.ascending { one.cmp(other) } else { other.cmp(one) });
            page.truncate(filter.limit);
            if page.len() == filter.limit {
                left.until = page.last().copied();
            }
        }
        page.into_iter().filter_map(|(_, id)| self.run_record(id).transpose()).collect()
    }

    /// An event names the runs it started, so they are looked up one by one and filtered here. Those that were skipped
    /// are not among them.
    fn runs_of_event(&self, event: EventId, filter: &RunFilter) -> Result<Vec<RunRecord>, StoreError> {
        let Some((_, ids)) = render::find(self.db, event)? else { return Ok(Vec::new()) };
        let mut runs = self.run_records(&ids)?;
        let place = |run: &RunRecord| (run.time(filter.order), run.id);
        let cursor =
            filter.cursor.map(|(at, id)| (Some(if filter.order == RunTime::Queued { id.timestamp() } else { at }), id));
        runs.retain(|run| {
            let beyond = |cursor| if filter.ascending { place(run) > cursor } else { place(run) < cursor };
            wanted(run, filter) && cursor.is_none_or(beyond)
        });
        runs.sort_unstable_by_key(place);
        if !filter.ascending {
            runs.reverse();
        }
        runs.truncate(filter.limit);
        Ok(runs)
    }

    pub(super) fn events(&self, filter: &EventFilter) -> Result<Vec<EventRecord>, StoreError> {
        let page = if filter.names.is_empty() {
            match self.newest(filter)? {
                Some(page) => page,
                None => self.along_names(filter, &EXTERNAL.map(|part| (part, None)))?,
            }
        } else {
            let mut names: Vec<&str> = filter.names.iter().map(String::as_str).collect();
            names.sort_unstable();
            names.dedup();
            names.retain(|name| filter.include_internal || !name.starts_with(INTERNAL_PREFIX));
            let parts: Vec<_> = names.into_iter().map(|name| ("name = ?", Some(name))).collect();
            self.along_names(filter, &parts)?
        };
        self.event_records(&page)
    }

    /// The newest events, without those of the server itself if they are not wanted; `None` when among many there are too
    /// few others to fill the page.
    fn newest(&self, filter: &EventFilter) -> Result<Option<Vec<EventId>>, StoreError> {
        let looked_at_max = if filter.include_internal { filter.limit } else { EVENTS_LOOKED_AT_MAX };
        let query = received("SELECT id, name FROM events WHERE 1", None, filter, None, looked_at_max);
        let mut statement = self.db.prepare_cached(&query.text)?;
        let mut rows = statement.query(params_from_iter(&query.values))?;
        let (mut page, mut looked_at) = (Vec::new(), 0);
        while page.len() < filter.limit {
            let Some(row) = rows.next()? else { break };
            looked_at += 1;
            if filter.include_internal || !row.get::<_, Arc<str>>(1)?.starts_with(INTERNAL_PREFIX) {
                page.push(codec::event_id(row, 0)?);
            }
        }
        Ok((page.len() == filter.limit || looked_at < looked_at_max).then_some(page))
    }

    /// The newest events of these names, or of these parts of all names.
    fn along_names(&self, filter: &EventFilter, parts: &[(&str, Option<&str>)]) -> Result<Vec<EventId>, StoreError> {
        let mut page: Vec<EventId> = Vec::new();
        for (part, name) in parts {
            let oldest = page.last().copied().filter(|_| page.len() == filter.limit);
            let text = if *name == Some(FUNCTION_FINISHED) {
                format!("SELECT id FROM events WHERE {part}")
            } else {
                format!("SELECT id FROM events INDEXED BY events_named WHERE name <> '{FUNCTION_FINISHED}' AND {part}")
            };
            let query = received(&text, *name, filter, oldest, filter.limit);
            let mut statement = self.db.prepare_cached(&query.text)?;
            for id in statement.query_map(params_from_iter(&query.values), |row| codec::event_id(row, 0))? {
                page.push(id?);
            }
            page.sort_unstable_by_key(|id| std::cmp::Reverse(*id));
            page.truncate(filter.limit);
        }
        Ok(page)
    }
}

/// An id carries the time of receipt, so the window is a range of ids.
fn received(text: &str, name: Option<&str>, filter: &EventFilter, oldest: Option<EventId>, limit: usize) -> Query {
    let mut query = Query::new(text.to_owned());
    query.values.extend(name.map(|name| Value::Text(name.to_owned())));
    let (low, high) = id_range(Between { after: filter.received_after, before: filter.received_before });
    let low = low.max(oldest.map_or(0, |id| id.0.0.saturating_add(1)));
    let high = filter.cursor.map_or(high, |id| high.min(id.0.0.saturating_sub(1)));
    query.range("id", id_value(low), id_value(high));
    query.text.push_str(" ORDER BY id DESC");
    query.limit(limit);
    query
}

/// The sources that hold every run of a list, whatever its order, and as few others as can be told.
pub(super) fn narrow(filter: &RunFilter) -> Vec<Source> {
    let mut functions = filter.functions.clone();
    if let Some(functions) = &mut functions {
        functions.sort_unstable();
        functions.dedup();
    }
    if functions.as_ref().is_some_and(Vec::is_empty) {
        return Vec::new();
    }
    let statuses = statuses(filter);
    if statuses.contains(&RunStatus::Completed) {
        return match functions {
            _ if filter.deferred == Some(true) => vec![Source::Deferred],
            Some(functions) => functions.into_iter().map(Source::Function).collect(),
            None => vec![Source::All],
        };
    }
    let mut sources = Vec::new();
    if statuses.iter().any(|status| !status.is_final()) {
        sources.push(Source::Open);
    }
    for status in statuses.into_iter().filter(|status| status.is_final()) {
        match &functions {
            Some(functions) => sources.extend(functions.iter().map(|id| Source::UnusualOf(*id, status))),
            None => sources.push(Source::Unusual(status)),
        }
    }
    sources
}

/// The statuses asked for.
pub(super) fn statuses(filter: &RunFilter) -> Vec<RunStatus> {
    let asked = |status: &RunStatus| match filter.statuses[..] {
        [] => *status != RunStatus::Skipped,
        _ => filter.statuses.contains(status),
    };
    RunStatus::ALL.into_iter().filter(asked).collect()
}

/// Time and id of runs of a source, in the order asked for.
fn ids(source: Source, filter: &RunFilter, left: Left) -> Query {
    let column = column(filter.order);
    let distinct = if source == Source::Open { "DISTINCT " } else { "" };
    let mut query = source.rows(&format!("{distinct}{}, id", column.unwrap_or("0")), filter, left);
    source.others(&mut query, filter);
    let (beyond, before, direction) = if filter.ascending { (">", "<", "") } else { ("<", ">", " DESC") };
    if let Some(column) = column {
        query.text.push_str(&format!(" AND {column} IS NOT NULL"));
        for (place, test) in [(left.after, beyond), (left.until, before)] {
            if let Some((at, id)) = place {
                query.and(&format!("({column}, id) {test} (?, ?)"), Value::Integer(at));
                query.values.push(id_value(id.0.0));
            }
        }
        query.text.push_str(&format!(" ORDER BY {column}{direction}, id{direction}"));
    } else {
        query.text.push_str(&format!(" ORDER BY {}{direction}", source.id()));
    }
    query.limit(filter.limit);
    query
}

impl Source {
    /// The source that is in this order by itself.
    pub(super) const fn ordered_by(time: RunTime) -> Self {
        match time {
            RunTime::Queued => Self::All,
            RunTime::Started => Self::Started,
            RunTime::Ended => Self::Ended,
        }
    }

    /// The column of a run's id by which it is found.
    const fn id(self) -> &'static str {
        if matches!(self, Self::Open) { "run_id" } else { "id" }
    }

    /// The part of the index that a list is about.
    fn rows(self, columns: &str, filter: &RunFilter, left: Left) -> Query {
        let (from, part) = match self {
            Self::All => ("runs INDEXED BY sqlite_autoindex_runs_1", "1".to_owned()),
            Self::Function(_) => ("runs INDEXED BY runs_of_function", "function_id = ?".to_owned()),
            Self::Unusual(status) => ("runs INDEXED BY runs_unusual", format!("status = {}", status as u8)),
            Self::UnusualOf(_, status) => {
                ("runs INDEXED BY runs_unusual_of_function", format!("function_id = ? AND status = {}", status as u8))
            }
            Self::Open => ("jobs CROSS JOIN runs ON id = run_id", "1".to_owned()),
            Self::Deferred => ("runs INDEXED BY runs_deferred", format!("event_name = '{DEFERRED_SCHEDULE}'")),
            Self::Started => ("runs INDEXED BY runs_started", "started_at IS NOT NULL".to_owned()),
            Self::Ended => ("runs INDEXED BY runs_ended", "ended_at IS NOT NULL".to_owned()),
        };
        let mut query = Query::new(format!("SELECT {columns} FROM {from} WHERE {part}"));
        if let Self::Function(function) | Self::UnusualOf(function, _) = self {
            query.values.push(function_value(function));
        }
        if let (Self::Open, Some(functions)) = (self, &filter.functions) {
            // A job is of the function of its run.
            query.any("jobs.function_id", functions.iter().copied().map(function_value).collect());
        }
        for (time, between) in [(RunTime::Started, filter.started), (RunTime::Ended, filter.ended)] {
            let (mut low, mut high) =
                (between.after.map_or(i64::MIN, |at| at.0), between.before.map_or(i64::MAX, |at| at.0));
            if filter.order == time {
                let (least, most) = if filter.ascending { (left.after, left.until) } else { (left.until, left.after) };
                low = low.max(least.map_or(i64::MIN, |(at, _)| at));
                high = high.min(most.map_or(i64::MAX, |(at, _)| at));
            }
            if (low, high) != (i64::MIN, i64::MAX) {
                query.range(column(time).unwrap_or_default(), Value::Integer(low), Value::Integer(high));
            }
        }
        let (low, high) = queued_range(filter, left);
        query.range(self.id(), id_value(low), id_value(high));
        query
    }

    /// What is asked of a run besides.
    fn others(self, query: &mut Query, filter: &RunFilter) {
        if let Some(statuses) = self.others_of(filter) {
            let codes: Vec<String> = statuses.into_iter().map(|status| (status as u8).to_string()).collect();
            query.text.push_str(&format!(" AND status IN ({})", codes.join(",")));
        }
        if let Some(functions) = &filter.functions
            && !matches!(self, Self::Function(_) | Self::UnusualOf(..) | Self::Open)
        {
            query.any("function_id", functions.iter().copied().map(function_value).collect());
        }
        match filter.deferred {
            Some(true) if self != Self::Deferred => {
                query.text.push_str(&format!(" AND event_name = '{DEFERRED_SCHEDULE}'"));
            }
            Some(false) => query.text.push_str(&format!(" AND event_name <> '{DEFERRED_SCHEDULE}'")),
            _ => {}
        }
    }

    /// The statuses asked for, unless all runs of the source have one of them.
    fn others_of(self, filter: &RunFilter) -> Option<Vec<RunStatus>> {
        let possible = |status: &RunStatus| match self {
            Self::Unusual(_) | Self::UnusualOf(..) => false,
            Self::Open => !status.is_final(),
            Self::Started => *status != RunStatus::Skipped,
            Self::Ended => status.is_final(),
            Self::All | Self::Function(_) | Self::Deferred => true,
        };
        let mut asked = statuses(filter);
        asked.retain(possible);
        (asked.len() < RunStatus::ALL.iter().filter(|status| possible(status)).count()).then_some(asked)
    }

    /// Whether no run of the source can have a status that is asked for.
    pub(super) fn has_none(self, filter: &RunFilter) -> bool {
        self.others_of(filter).is_some_and(|statuses| statuses.is_empty())
    }

    /// What it costs to look at one of its rows, in look-ups of a row by its id.
    pub(super) fn row_cost(self, filter: &RunFilter) -> f64 {
        match self {
            // One after the other, or in the index alone.
            Self::All => 0.1,
            Self::Started if filter.deferred.is_none() && self.others_of(filter).is_none() => 0.05,
            Self::Ended if filter.deferred.is_none() => 0.05,
            _ => 1.0,
        }
    }

    /// Counts the runs of a source that fit, of so many rows of it at most.
    pub(super) fn count(self, filter: &RunFilter, rows_max: u32) -> Query {
        let distinct = if self == Self::Open { "DISTINCT " } else { "" };
        let mut columns = format!("{distinct}id");
        for (column, needed) in [
            ("status", self.others_of(filter).is_some()),
            ("runs.function_id", filter.functions.is_some()),
            ("event_name", filter.deferred.is_some()),
            (column(filter.order).unwrap_or_default(), filter.order != RunTime::Queued),
        ] {
            if needed {
                columns.push_str(&format!(", {column}"));
            }
        }
        let mut inner = self.rows(&columns, filter, Left::default());
        inner.limit(rows_max as usize);
        let mut query = Query { text: format!("SELECT count(*) FROM ({}) WHERE 1", inner.text), values: inner.values };
        self.others(&mut query, filter);
        if let Some(column) = column(filter.order) {
            query.text.push_str(&format!(" AND {column} IS NOT NULL"));
        }
        query
    }
}

const fn column(time: RunTime) -> Option<&'static str> {
    match time {
        RunTime::Queued => None,
        RunTime::Started => Some("started_at"),
        RunTime::Ended => Some("ended_at"),
    }
}

/// The ids, first and last, of runs that were scheduled in the interval, as far as they are left.
fn queued_range(filter: &RunFilter, left: Left) -> (u128, u128) {
    let (mut low, mut high) = id_range(filter.queued);
    if filter.order == RunTime::Queued {
        let (least, most) = if filter.ascending { (left.after, left.until) } else { (left.until, left.after) };
        low = low.max(least.map_or(0, |(_, id)| id.0.0.saturating_add(1)));
        high = high.min(most.map_or(u128::MAX, |(_, id)| id.0.0.saturating_sub(1)));
    }
    (low, high)
}

/// The latest time that a ULID can have.
const ULID_MS_MAX: i64 = (1 << 48) - 1;

/// The smallest and the largest ULID of an interval.
pub(super) fn id_range(between: Between) -> (u128, u128) {
    let floor = |at: i64| u128::from(at.clamp(0, ULID_MS_MAX).cast_unsigned()) << 80;
    let low = between.after.map_or(0, |at| floor(at.0));
    let high = match between.before {
        // There is nothing before 1970.
        Some(at) if at.0 < 0 => return (1, 0),
        Some(at) if at.0 < ULID_MS_MAX => floor(at.0 + 1) - 1,
        _ => u128::MAX,
    };
    (low, high)
}

pub(super) fn id_value(id: u128) -> Value {
    Value::Blob(id.to_be_bytes().to_vec())
}

pub(super) fn function_value(FunctionId(id): FunctionId) -> Value {
    Value::Blob(id.as_bytes().to_vec())
}

pub(super) fn wanted(run: &RunRecord, filter: &RunFilter) -> bool {
    (filter.statuses.is_empty() || filter.statuses.contains(&run.status))
        && filter.functions.as_ref().is_none_or(|functions| functions.contains(&run.function))
        && filter.queued.holds(Some(run.queued_at))
        && filter.started.holds(run.started_at)
        && filter.ended.holds(run.ended_at)
        && filter.deferred.is_none_or(|deferred| run.is_deferred() == deferred)
        && run.time(filter.order).is_some()
}

#[cfg(test)]
mod tests {
    use inngest_core::Millis;

    use super::super::open::{database, plan};
    use super::*;

    /// How a list is read along the only source it has.
    fn planned(source: Source, filter: &RunFilter) -> String {
        let left = Left { after: Some((0, RunId::MAX)), until: Some((0, RunId::MAX)) };
        plan(&database(), &ids(source, filter, left).text)
    }

    #[test]
    fn lists_are_read_along_an_index() {
        let function = FunctionId::of_definition("f", "u");
        let any = || RunFilter { functions: Some(vec![function]), deferred: Some(false), ..RunFilter::default() };
        for (source, index) in [
            (Source::All, "USING PRIMARY KEY (id>? AND id<?)"),
            (Source::Function(function), "runs_of_function (function_id=? AND id>? AND id<?)"),
            (Source::Unusual(RunStatus::Failed), "runs_unusual (status=? AND id>? AND id<?)"),
            (
                Source::UnusualOf(function, RunStatus::Skipped),
                "runs_unusual_of_function (function_id=? AND status=? AND id>? AND id<?)",
            ),
            (
                Source::Open,
                "SEARCH jobs USING PRIMARY KEY (run_id>? AND run_id<?); SEARCH runs USING PRIMARY KEY (id=?)",
            ),
            (Source::Deferred, "runs_deferred (id>? AND id<?)"),
        ] {
            let plan = planned(source, &any());
            assert!(plan.contains(index) && !plan.contains("ORDER BY"), "{source:?}: {plan}");
        }
        for (order, index) in [
            (RunTime::Started, "runs_started (started_at>? AND started_at<?)"),
            (RunTime::Ended, "runs_ended (ended_at>? AND ended_at<?)"),
        ] {
            let mut filter = RunFilter { order, ..any() };
            *filter.time_mut(order) = Between { after: Some(Millis(1)), before: None };
            let plan = planned(Source::ordered_by(order), &filter);
            assert!(plan.contains(index) && !plan.contains("TEMP B-TREE"), "{order:?}: {plan}");
        }
    }

    #[test]
    fn runs_that_ended_are_found_in_the_index_alone() {
        let functions = Some(vec![FunctionId::of_definition("f", "u")]);
        let filter = RunFilter { functions, order: RunTime::Ended, ..RunFilter::default() };
        for filter in [RunFilter { statuses: vec![RunStatus::Failed], ..filter.clone() }, filter] {
            let plan = planned(Source::Ended, &filter);
            assert!(plan.contains("COVERING INDEX runs_ended"), "{plan}");
        }
    }

    #[test]
    fn events_are_read_along_their_names() {
        let filter = EventFilter { cursor: Some(EventId::MAX), ..EventFilter::default() };
        let text =
            "SELECT id FROM events INDEXED BY events_named WHERE name <> 'inngest/function.finished' AND name = ?";
        let plan = plan(&database(), &received(text, Some("a"), &filter, None, 9).text);
        assert!(plan.contains("COVERING INDEX events_named (name=? AND id>? AND id<?)"), "{plan}");
        assert!(!plan.contains("TEMP B-TREE"), "{plan}");
    }
}
