//! How many runs and events there are, kept by the writer: what a batch changes is summed up in memory and noted as one
//! row, in its transaction. What was noted goes into the counts when there is enough of it.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use inngest_core::event::{DEFERRED_SCHEDULE, INTERNAL_PREFIX};
use inngest_core::{Event, EventId, FunctionId, Millis, RunId, RunStatus};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension as _, Row, Statement, params};
use uuid::Uuid;

use super::codec;
use crate::history::RunTime;

pub(super) const HOUR_MS: i64 = 60 * 60 * 1_000;
pub(super) const DAY_MS: i64 = 24 * HOUR_MS;

/// The latest time that a ULID can have; later times count as this one.
const TIME_MAX: i64 = (1 << 48) - 1;

/// Name under which all events are counted that are not the server's own; those that are, are under their prefix.
pub(super) const ALL_EXTERNAL: &str = "";

/// Rows that are counted between two writes when all are counted anew.
const RECOUNTED_AT_ONCE: usize = 100_000;

/// Changes that are noted before they go into the counts together; whoever counts reads as many, and those of a batch.
const NOTED_MAX: usize = 512;

/// Runs that are remembered until they end; when there are more, all are read again.
const OPEN_MAX: usize = 16_384;

/// The bucket of the hour that a time is in.
pub(super) fn hour_bucket(at: Millis) -> i64 {
    let hours = at.0.clamp(0, TIME_MAX) / HOUR_MS;
    hours / 24 * 25 + hours % 24
}

/// The bucket of the day that an hour is in.
pub(super) fn day_bucket(hour_bucket: i64) -> i64 {
    hour_bucket / 25 * 25 + 24
}

/// The statuses in the order of the columns of `run_counts`.
pub(super) const STATUSES: [RunStatus; 6] = [
    RunStatus::Running,
    RunStatus::Completed,
    RunStatus::Failed,
    RunStatus::Cancelled,
    RunStatus::Scheduled,
    RunStatus::Skipped,
];

/// The code of a time in `run_counts`.
pub(super) const fn time_code(time: RunTime) -> u8 {
    match time {
        RunTime::Queued => 0,
        RunTime::Started => 1,
        RunTime::Ended => 2,
    }
}

/// What is counted of a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct CountedRun {
    pub(super) function: FunctionId,
    pub(super) deferred: bool,
    pub(super) status: RunStatus,
    pub(super) started_at: Option<Millis>,
    pub(super) ended_at: Option<Millis>,
}

impl CountedRun {
    /// A run that is new, started by an event of this name.
    pub(super) fn new(function: FunctionId, event_name: &str) -> Self {
        let deferred = event_name == DEFERRED_SCHEDULE;
        Self { function, deferred, status: RunStatus::Scheduled, started_at: None, ended_at: None }
    }

    /// Columns of `runs`, in the order of [`CountedRun::read`].
    pub(super) const COLUMNS: &str = "function_id, event_name, status, started_at, ended_at";

    pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            status: codec::status(row, 2)?,
            started_at: row.get::<_, Option<i64>>(3)?.map(Millis),
            ended_at: row.get::<_, Option<i64>>(4)?.map(Millis),
            ..Self::new(codec::function_id(row, 0)?, row.get_ref(1)?.as_str()?)
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct RunKey {
    /// Of an hour.
    pub(super) bucket: i64,
    pub(super) time: u8,
    pub(super) function: FunctionId,
    pub(super) deferred: bool,
}

/// The members of a [`RunKey`], the id of the function in halves, and the counts.
type NotedRuns = (i64, u8, (u64, u64), bool, [i64; STATUSES.len()]);
/// Hour, name, and count.
type NotedEvents<'n> = (i64, Cow<'n, str>, i64);

/// By how much counts change.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) runs: HashMap<RunKey, [i64; STATUSES.len()]>,
    /// By hour and name.
    pub(super) events: HashMap<(i64, Arc<str>), i64>,
}

impl Changes {
    fn add_run(&mut self, id: RunId, run: CountedRun, by: i64) {
        let times = [
            (RunTime::Queued, Some(id.timestamp())),
            (RunTime::Started, run.started_at),
            (RunTime::Ended, run.ended_at),
        ];
        for (time, at) in times {
            let Some(at) = at else { continue };
            let (bucket, time) = (hour_bucket(at), time_code(time));
            let key = RunKey { bucket, time, function: run.function, deferred: run.deferred };
            let counts = self.runs.entry(key).or_default();
            for (count, _) in counts.iter_mut().zip(STATUSES).filter(|(_, status)| *status == run.status) {
                *count += by;
            }
        }
    }

    fn add_event(&mut self, id: EventId, name: &Arc<str>) {
        *self.events.entry((hour_bucket(id.timestamp()), Arc::clone(name))).or_default() += 1;
    }

    /// As a row of `count_changes`; none if nothing changes.
    fn note(&self) -> Option<Vec<u8>> {
        let runs: Vec<NotedRuns> = self
            .runs
            .iter()
            .filter(|(_, counts)| counts.iter().any(|count| *count != 0))
            .map(|(key, counts)| (key.bucket, key.time, key.function.0.as_u64_pair(), key.deferred, *counts))
            .collect();
        let events: Vec<NotedEvents<'_>> =
            self.events.iter().map(|((hour, name), count)| (*hour, Cow::Borrowed(&**name), *count)).collect();
        let changes = !runs.is_empty() || !events.is_empty();
        changes.then(|| serde_json::to_vec(&(runs, events)).unwrap_or_default())
    }

    /// Adds a row of `count_changes`.
    fn add_noted(&mut self, row: &Row<'_>) -> rusqlite::Result<()> {
        let (runs, events): (Vec<NotedRuns>, Vec<NotedEvents<'_>>) = serde_json::from_slice(row.get_ref(0)?.as_blob()?)
            .map_err(|error| rusqlite::Error::FromSqlConversionFailure(0, Type::Blob, error.into()))?;
        for (bucket, time, (high, low), deferred, more) in runs {
            let key = RunKey { bucket, time, function: FunctionId(Uuid::from_u64_pair(high, low)), deferred };
            for (count, more) in self.runs.entry(key).or_default().iter_mut().zip(more) {
                *count += more;
            }
        }
        for (hour, name, more) in events {
            *self.events.entry((hour, name.into())).or_default() += more;
        }
        Ok(())
    }

    /// What is noted, and not in the counts yet.
    pub(super) fn noted(connection: &Connection) -> rusqlite::Result<Self> {
        let mut changes = Self::default();
        let mut noted = connection.prepare_cached("SELECT changes FROM count_changes")?;
        let mut rows = noted.query([])?;
        while let Some(row) = rows.next()? {
            changes.add_noted(row)?;
        }
        Ok(changes)
    }

    fn clear(&mut self) {
        self.runs.clear();
        self.events.clear();
    }
}

/// What has changed since the last write.
pub(super) struct Counters<'c> {
    connection: &'c Connection,
    changes: Changes,
    /// Changes in `count_changes`; before the first write there may be some of an earlier process.
    noted: usize,
    /// Runs that have not ended, as they are counted.
    open: HashMap<RunId, CountedRun>,
    read_run: Statement<'c>,
    note: Statement<'c>,
    add_runs: Statement<'c>,
    add_events: Statement<'c>,
}

impl<'c> Counters<'c> {
    pub(super) fn prepare(connection: &'c Connection) -> rusqlite::Result<Self> {
        Ok(Self {
            connection,
            changes: Changes::default(),
            noted: NOTED_MAX,
            open: HashMap::new(),
            read_run: connection.prepare(&format!("SELECT {} FROM runs WHERE id = ?1", CountedRun::COLUMNS))?,
            note: connection.prepare("INSERT INTO count_changes (changes) VALUES (?1)")?,
            add_runs: connection.prepare(
                "INSERT INTO run_counts (bucket, time, function_id, deferred, running, completed, failed, cancelled, \
                 scheduled, skipped) VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10) \
                 ON CONFLICT (bucket, time, function_id, deferred) DO UPDATE SET running = running + ?5, \
                 completed = completed + ?6, failed = failed + ?7, cancelled = cancelled + ?8, \
                 scheduled = scheduled + ?9, skipped = skipped + ?10",
            )?,
            add_events: connection.prepare(
                "INSERT INTO event_counts (bucket, name, events) VALUES (?1,?2,?3) \
                 ON CONFLICT (bucket, name) DO UPDATE SET events = events + ?3",
            )?,
        })
    }

    /// The run as it is counted, unless it is unknown.
    pub(super) fn run(&mut self, id: RunId) -> rusqlite::Result<Option<CountedRun>> {
        match self.open.get(&id) {
            Some(run) => Ok(Some(*run)),
            None => self.read_run.query_row([id.to_bytes()], CountedRun::read).optional(),
        }
    }

    pub(super) fn add_run(&mut self, id: RunId, run: CountedRun) {
        self.changes.add_run(id, run, 1);
        self.remember(id, run);
    }

    pub(super) fn change_run(&mut self, id: RunId, before: CountedRun, after: CountedRun) {
        self.changes.add_run(id, before, -1);
        self.changes.add_run(id, after, 1);
        self.remember(id, after);
    }

    fn remember(&mut self, id: RunId, run: CountedRun) {
        if run.status.is_final() {
            self.open.remove(&id);
            return;
        }
        if self.open.len() >= OPEN_MAX {
            self.open.clear();
        }
        self.open.insert(id, run);
    }

    pub(super) fn add_event(&mut self, event: &Event) {
        self.changes.add_event(event.id, &event.name);
    }

    /// Writes what has changed.
    pub(super) fn write(&mut self) -> rusqlite::Result<()> {
        let Some(note) = self.changes.note() else {
            self.changes.clear();
            return Ok(());
        };
        self.note.execute([note])?;
        self.noted += self.changes.runs.len() + self.changes.events.len();
        self.changes.clear();
        if self.noted > NOTED_MAX {
            self.changes = Changes::noted(self.connection)?;
            self.connection.prepare_cached("DELETE FROM count_changes")?.execute([])?;
            self.write_counts()?;
            self.noted = 0;
        }
        Ok(())
    }

    fn write_counts(&mut self) -> rusqlite::Result<()> {
        for (key, counts) in self.changes.runs.drain() {
            let [running, completed, failed, cancelled, scheduled, skipped] = counts;
            for bucket in [key.bucket, day_bucket(key.bucket)] {
                let (function, deferred) = (key.function.0.as_bytes(), key.deferred);
                self.add_runs.execute(params![
                    bucket, key.time, function, deferred, running, completed, failed, cancelled, scheduled, skipped
                ])?;
            }
        }
        for ((hour, name), count) in self.changes.events.drain() {
            let all = if name.starts_with(INTERNAL_PREFIX) { INTERNAL_PREFIX } else { ALL_EXTERNAL };
            for bucket in [hour, day_bucket(hour)] {
                self.add_events.execute(params![bucket, &*name, count])?;
                self.add_events.execute(params![bucket, all, count])?;
            }
        }
        Ok(())
    }

    /// What has changed did not happen.
    pub(super) fn forget(&mut self) {
        self.changes.clear();
        self.open.clear();
    }
}

/// Counts everything that is stored, in a database where nothing was counted so far.
pub(super) fn count_all(connection: &Connection) -> rusqlite::Result<()> {
    let mut counters = Counters::prepare(connection)?;
    let mut counted = 0;
    let mut runs = connection.prepare(&format!("SELECT {}, id FROM runs", CountedRun::COLUMNS))?;
    let mut rows = runs.query([])?;
    while let Some(row) = rows.next()? {
        counters.changes.add_run(codec::run_id(row, 5)?, CountedRun::read(row)?, 1);
        counted += 1;
        if counted % RECOUNTED_AT_ONCE == 0 {
            counters.write_counts()?;
        }
    }
    let mut events = connection.prepare("SELECT id, name FROM events")?;
    let mut rows = events.query([])?;
    while let Some(row) = rows.next()? {
        counters.changes.add_event(codec::event_id(row, 0)?, &row.get(1)?);
        counted += 1;
        if counted % RECOUNTED_AT_ONCE == 0 {
            counters.write_counts()?;
        }
    }
    counters.write_counts()
}
