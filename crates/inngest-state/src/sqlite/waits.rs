//! Who waits for an event or a signal, inside the writer's open transaction.
//!
//! An event is looked up, not compared: each wait is listed under tests of which one must hold
//! ([`super::wait_tests`]), and the whole condition is evaluated only for those that the event finds there. So the
//! cost of an event grows with the number of those who may match it, not with the number of those who wait.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use inngest_core::{Event, EventId, FunctionId, Millis, RunId};
use inngest_expr::event as content;
use inngest_expr::expression::{Anchor, Bindings, Cache, Roots};
use inngest_queue::JobId;
use rusqlite::{Connection, OptionalExtension as _, Row, Statement, params};
use serde_json::Value;

use super::wait_tests::{ANY, Lookup, encode, job_id};
use super::{codec, render};
use crate::transition::{Condition, Effect, EventWait};

/// How far a step that begins to wait looks back, and how many events are remembered for it: under a load that
/// brings more than that in this time it looks back less far.
const RECENT: Duration = Duration::from_secs(5);
const RECENT_MAX: usize = 16_384;

/// Distinct conditions that are kept compiled.
const COMPILED_MAX: usize = 1_024;

/// An event of the last moments.
struct Recent {
    at: Millis,
    id: EventId,
    name: Arc<str>,
}

/// Someone for whom an event counts.
pub(super) struct Matched {
    pub(super) job: JobId,
    pub(super) function: FunctionId,
    pub(super) effect: Effect,
}

pub(super) struct Waits<'c> {
    connection: &'c Connection,
    /// Names for which somebody may wait: most events are done with a look here.
    names: HashSet<Arc<str>>,
    /// Whether a signal may be waited for.
    signals: bool,
    conditions: Cache,
    /// Events of the last moments, oldest first.
    recent: VecDeque<Recent>,
    put: Statement<'c>,
    put_test: Statement<'c>,
    get: Statement<'c>,
    remove: Statement<'c>,
    remove_tests: Statement<'c>,
    remove_run: Statement<'c>,
    remove_tests_of_run: Statement<'c>,
    lookup: Lookup<'c>,
    put_signal: Statement<'c>,
    signal: Statement<'c>,
    remove_signal: Statement<'c>,
    remove_signals_of_run: Statement<'c>,
}

impl<'c> Waits<'c> {
    pub(super) fn prepare(connection: &'c Connection) -> rusqlite::Result<Self> {
        let sql = |text: &str| connection.prepare(text);
        let mut waits = Self {
            connection,
            names: HashSet::new(),
            signals: true,
            conditions: Cache::new(COMPILED_MAX),
            recent: VecDeque::new(),
            put: sql(
                "INSERT OR REPLACE INTO waits (run_id, key, function_id, event, expression, bindings, until, effect) \
                 VALUES (?1,?2,?3,?4,?5,?6,?7,?8)",
            )?,
            put_test: sql("INSERT OR IGNORE INTO wait_tests (event, path, test, value, run_id, key) \
                 VALUES (?1,?2,?3,?4,?5,?6)")?,
            get: sql(
                "SELECT function_id, expression, bindings, until, effect FROM waits WHERE run_id = ?1 AND key = ?2",
            )?,
            remove: sql("DELETE FROM waits WHERE run_id = ?1 AND key = ?2")?,
            remove_tests: sql("DELETE FROM wait_tests WHERE run_id = ?1 AND key = ?2")?,
            remove_run: sql("DELETE FROM waits WHERE run_id = ?1")?,
            remove_tests_of_run: sql("DELETE FROM wait_tests WHERE run_id = ?1")?,
            lookup: Lookup::prepare(connection)?,
            put_signal: sql("INSERT OR REPLACE INTO signals (name, run_id, key) VALUES (?1,?2,?3)")?,
            signal: sql("SELECT run_id, key FROM signals WHERE name = ?1")?,
            remove_signal: sql("DELETE FROM signals WHERE run_id = ?1 AND key = ?2")?,
            remove_signals_of_run: sql("DELETE FROM signals WHERE run_id = ?1")?,
        };
        waits.load()?;
        Ok(waits)
    }

    /// Reads anew what is known in memory.
    pub(super) fn reload(&mut self) {
        if let Err(error) = self.load() {
            // Then the database is unusable, and every commit says so.
            tracing::error!(%error, "the names of awaited events could not be read");
        }
    }

    fn load(&mut self) -> rusqlite::Result<()> {
        self.signals = self.connection.prepare("SELECT 1 FROM signals LIMIT 1")?.exists([])?;
        self.load_recent()?;
        self.load_names()
    }

    fn load_recent(&mut self) -> rusqlite::Result<()> {
        self.recent.clear();
        let mut newest = self.connection.prepare("SELECT id, name FROM events ORDER BY id DESC LIMIT ?1")?;
        let mut rows = newest.query([RECENT_MAX as i64])?;
        let mut until = None;
        while let Some(row) = rows.next()? {
            let id = codec::event_id(row, 0)?;
            let at = id.timestamp();
            if until.get_or_insert(at).since(at) > RECENT {
                break;
            }
            self.recent.push_front(Recent { at, id, name: row.get(1)? });
        }
        Ok(())
    }

    /// Remembers an event for those who begin to wait for it while it is processed.
    pub(super) fn received(&mut self, event: &Event, now: Millis) {
        // An id may tell the time of a sender whose clock is ahead.
        let at = event.id.timestamp().min(now);
        let is_over = |recent: &Recent| now.since(recent.at) > RECENT;
        while self.recent.len() >= RECENT_MAX || self.recent.front().is_some_and(is_over) {
            self.recent.pop_front();
        }
        self.recent.push_back(Recent { at, id: event.id, name: Arc::clone(&event.name) });
    }

    /// The first event that was received after `since`, before the wait was there, and that it would have been
    /// resumed by; the wait ends with it. The events that started its run do not count.
    pub(super) fn missed(
        &mut self,
        wait: &EventWait,
        since: Millis,
        own: &[EventId],
        now: Millis,
    ) -> rusqlite::Result<Option<EventId>> {
        let is_recent = |recent: &&Recent| recent.at > since && now.since(recent.at) <= RECENT;
        let candidates = self.recent.iter().filter(is_recent).filter(|recent| recent.name == wait.event);
        let candidates: Vec<EventId> = candidates.map(|recent| recent.id).filter(|id| !own.contains(id)).collect();
        for id in candidates {
            let Some((event, _)) = render::find(self.connection, id)? else { continue };
            let body = render::body(self.connection, &event)?;
            let Ok(body) = content::parse(&body) else { continue };
            if wait.condition.as_ref().is_none_or(|condition| self.holds(condition, &body, now)) {
                self.remove(wait.job)?;
                return Ok(Some(id));
            }
        }
        Ok(None)
    }

    /// Jumps from name to name, so that many waits of one name cost one step.
    fn load_names(&mut self) -> rusqlite::Result<()> {
        let mut next =
            self.connection.prepare("SELECT event FROM wait_tests WHERE event > ?1 ORDER BY event LIMIT 1")?;
        let mut after = String::new();
        // An empty name is a name too.
        if self.connection.prepare("SELECT 1 FROM wait_tests WHERE event = '' LIMIT 1")?.exists([])? {
            self.names.insert("".into());
        }
        while let Some(name) = next.query_row([&after], |row| row.get::<_, String>(0)).optional()? {
            self.names.insert(name.as_str().into());
            after = name;
        }
        Ok(())
    }

    pub(super) fn put(&mut self, wait: &EventWait) -> rusqlite::Result<()> {
        let (run, key) = (wait.job.run.to_bytes(), wait.job.key.cast_signed());
        let condition = wait.condition.as_ref();
        self.remove_tests.execute(params![run, key])?;
        self.put.execute(params![
            run,
            key,
            wait.function.0.as_bytes(),
            &*wait.event,
            condition.map(|condition| &*condition.expression),
            condition.map(|condition| &*condition.bindings),
            wait.until.0,
            wait.effect as u8
        ])?;
        match condition.and_then(|condition| condition.anchors.as_deref()) {
            None => {
                self.put_test.execute(params![&*wait.event, "", ANY, 0, run, key])?;
            }
            Some(anchors) => {
                for Anchor { path, test } in anchors {
                    let (code, value) = encode(test);
                    self.put_test.execute(params![&*wait.event, path, code, value, run, key])?;
                }
            }
        }
        if !self.names.contains(&wait.event) {
            self.names.insert(Arc::clone(&wait.event));
        }
        Ok(())
    }

    pub(super) fn remove(&mut self, job: JobId) -> rusqlite::Result<()> {
        let (run, key) = (job.run.to_bytes(), job.key.cast_signed());
        if !self.names.is_empty() {
            self.remove.execute(params![run, key])?;
            self.remove_tests.execute(params![run, key])?;
        }
        if self.signals {
            self.remove_signal.execute(params![run, key])?;
        }
        Ok(())
    }

    /// Everything that this run waits for.
    pub(super) fn remove_run(&mut self, run: RunId) -> rusqlite::Result<()> {
        if !self.names.is_empty() && self.remove_run.execute([run.to_bytes()])? > 0 {
            self.remove_tests_of_run.execute([run.to_bytes()])?;
        }
        if self.signals {
            self.remove_signals_of_run.execute([run.to_bytes()])?;
        }
        Ok(())
    }

    pub(super) fn put_signal(&mut self, name: &str, job: JobId) -> rusqlite::Result<()> {
        self.signals = true;
        self.put_signal.execute(params![name, job.run.to_bytes(), job.key.cast_signed()])?;
        Ok(())
    }

    /// Who waits for a signal.
    pub(super) fn signal(&mut self, name: &str) -> rusqlite::Result<Option<JobId>> {
        if !self.signals {
            return Ok(None);
        }
        self.signal.query_row([name], job_id).optional()
    }

    /// Those for whom this event counts, each once. A wait that resumes ends with it.
    pub(super) fn matching(&mut self, event: &Event, now: Millis) -> rusqlite::Result<Vec<Matched>> {
        if !self.names.contains(&event.name) {
            return Ok(Vec::new());
        }
        let body = render::body(self.connection, event)?;
        let body = match content::parse(&body) {
            Ok(body) => body,
            Err(error) => {
                tracing::warn!(event_id = %event.id, %error, "an event cannot be read; nobody who waits is told");
                return Ok(Vec::new());
            }
        };
        let Some(candidates) = self.lookup.candidates(&event.name, &body)? else {
            self.names.remove(&event.name);
            return Ok(Vec::new());
        };
        let mut matched = Vec::new();
        for job in candidates {
            let (run, key) = (job.run.to_bytes(), job.key.cast_signed());
            let Some((function, condition, until, effect)) = self.get.query_row(params![run, key], wait).optional()?
            else {
                continue;
            };
            if until < now || !condition.is_none_or(|condition| self.holds(&condition, &body, now)) {
                continue;
            }
            if effect == Effect::Resume {
                self.remove.execute(params![run, key])?;
                self.remove_tests.execute(params![run, key])?;
            }
            matched.push(Matched { job, function, effect });
        }
        Ok(matched)
    }

    /// A condition that cannot be evaluated on this event does not hold.
    fn holds(&self, condition: &Condition, body: &Value, now: Millis) -> bool {
        let compiled = self.conditions.compile(&condition.expression, Roots::EventAndAsync);
        let (Ok(expression), Some(bindings)) = (compiled, Bindings::from_json(&condition.bindings)) else {
            tracing::warn!(expression = %condition.expression, "a stored condition cannot be read; it never holds");
            return false;
        };
        expression.matches_bound(&bindings, body, now).unwrap_or(false)
    }
}

type Wait = (FunctionId, Option<Condition>, Millis, Effect);

fn wait(row: &Row<'_>) -> rusqlite::Result<Wait> {
    let condition = match (row.get::<_, Option<Arc<str>>>(1)?, row.get::<_, Option<Arc<str>>>(2)?) {
        (Some(expression), Some(bindings)) => Some(Condition { expression, bindings, anchors: None }),
        _ => None,
    };
    let effect = match row.get(4)? {
        1_u8 => Effect::Resume,
        2 => Effect::Cancel,
        _ => return Err(codec::corrupt(4, "unknown effect of a wait")),
    };
    Ok((codec::function_id(row, 0)?, condition, Millis(row.get(3)?), effect))
}
