//! How many runs and events there are, kept by the writer: what a batch changes is summed up in memory and written once,
//! in its transaction.

use std::collections::HashMap;
use std::sync::Arc;

use inngest_core::event::{DEFERRED_SCHEDULE, INTERNAL_PREFIX};
use inngest_core::{Event, EventId, FunctionId, Millis, RunId, RunStatus};
use rusqlite::{Connection, Row, Statement, params};

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

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct RunKey {
    bucket: i64,
    time: u8,
    function: FunctionId,
    deferred: bool,
}

/// What has changed since the last write.
pub(super) struct Counters<'c> {
    runs: HashMap<RunKey, [i64; STATUSES.len()]>,
    events: HashMap<(i64, Arc<str>), i64>,
    add_runs: Statement<'c>,
    add_events: Statement<'c>,
}

impl<'c> Counters<'c> {
    pub(super) fn prepare(connection: &'c Connection) -> rusqlite::Result<Self> {
        Ok(Self {
            runs: HashMap::new(),
            events: HashMap::new(),
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

    pub(super) fn add_run(&mut self, id: RunId, run: CountedRun) {
        self.count(id, run, 1);
    }

    pub(super) fn change_run(&mut self, id: RunId, before: CountedRun, after: CountedRun) {
        self.count(id, before, -1);
        self.count(id, after, 1);
    }

    fn count(&mut self, id: RunId, run: CountedRun, by: i64) {
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

    pub(super) fn add_event(&mut self, event: &Event) {
        self.add_named(event.id, &event.name);
    }

    fn add_named(&mut self, id: EventId, name: &Arc<str>) {
        *self.events.entry((hour_bucket(id.timestamp()), Arc::clone(name))).or_default() += 1;
    }

    /// Writes what has changed.
    pub(super) fn write(&mut self) -> rusqlite::Result<()> {
        for (key, counts) in self.runs.drain() {
            if counts.iter().all(|count| *count == 0) {
                continue;
            }
            let [running, completed, failed, cancelled, scheduled, skipped] = counts;
            for bucket in [key.bucket, day_bucket(key.bucket)] {
                let (function, deferred) = (key.function.0.as_bytes(), key.deferred);
                self.add_runs.execute(params![
                    bucket, key.time, function, deferred, running, completed, failed, cancelled, scheduled, skipped
                ])?;
            }
        }
        let mut totals: HashMap<(i64, &str), i64> = HashMap::new();
        for ((hour, name), count) in &self.events {
            let all = if name.starts_with(INTERNAL_PREFIX) { INTERNAL_PREFIX } else { ALL_EXTERNAL };
            for bucket in [*hour, day_bucket(*hour)] {
                self.add_events.execute(params![bucket, &**name, count])?;
                *totals.entry((bucket, all)).or_default() += count;
            }
        }
        for ((bucket, all), count) in totals {
            self.add_events.execute(params![bucket, all, count])?;
        }
        self.events.clear();
        Ok(())
    }

    /// What has changed did not happen.
    pub(super) fn forget(&mut self) {
        self.runs.clear();
        self.events.clear();
    }
}

/// Counts everything that is stored, in a database where nothing was counted so far.
pub(super) fn count_all(connection: &Connection) -> rusqlite::Result<()> {
    let mut counters = Counters::prepare(connection)?;
    let mut counted = 0;
    let mut runs = connection.prepare(&format!("SELECT {}, id FROM runs", CountedRun::COLUMNS))?;
    let mut rows = runs.query([])?;
    while let Some(row) = rows.next()? {
        counters.add_run(codec::run_id(row, 5)?, CountedRun::read(row)?);
        counted += 1;
        if counted % RECOUNTED_AT_ONCE == 0 {
            counters.write()?;
        }
    }
    let mut events = connection.prepare("SELECT id, name FROM events")?;
    let mut rows = events.query([])?;
    while let Some(row) = rows.next()? {
        counters.add_named(codec::event_id(row, 0)?, &row.get(1)?);
        counted += 1;
        if counted % RECOUNTED_AT_ONCE == 0 {
            counters.write()?;
        }
    }
    counters.write()
}
