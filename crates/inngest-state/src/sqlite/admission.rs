//! Whether an event starts a run: the rules of [`inngest_queue::admission`] on the rows of the store.

use inngest_core::{Event, EventId, FunctionId, Millis, RunId, RunStatus};
use inngest_queue::admission::{self, Outcome, Rows, Start};
use inngest_queue::flow::{Bucket, KeyValue, RateLimit, Singleton, Skip};
use inngest_queue::{Gathering, Token};
use rusqlite::{Connection, OptionalExtension as _, Statement, params};

use super::apply::Statements;
use super::codec;
use super::counters::{CountedRun, Counters};
use super::events::Begins;
use crate::transition::{Admit, Committed};

/// Whose TATs they are.
#[derive(Clone, Copy)]
pub(super) enum Counts {
    /// Limits that refuse what is beyond them.
    Rates = 1,
    /// Limits that let it wait.
    Throttles = 2,
}

pub(super) struct Admissions<'c> {
    is_taken: Statement<'c>,
    take: Statement<'c>,
    tat: Statement<'c>,
    put_tat: Statement<'c>,
    free: Statement<'c>,
    put_skip: Statement<'c>,
    put_skipped_run: Statement<'c>,
}

impl<'c> Admissions<'c> {
    pub(super) fn prepare(connection: &'c Connection) -> rusqlite::Result<Self> {
        let sql = |text: &str| connection.prepare(text);
        Ok(Self {
            is_taken: sql("SELECT 1 FROM idempotency WHERE function_id = ?1 AND key = ?2 AND expires_at > ?3")?,
            take: sql("INSERT INTO idempotency (function_id, key, expires_at) VALUES (?1,?2,?3) \
                 ON CONFLICT (function_id, key) DO UPDATE SET expires_at = ?3 WHERE expires_at <= ?4")?,
            free: sql("DELETE FROM idempotency WHERE function_id = ?1 \
                 AND key = (SELECT external_id FROM events WHERE id = ?2)")?,
            tat: sql("SELECT tat FROM tats WHERE kind = ?1 AND bucket = ?2 AND key = ?3")?,
            put_tat: sql("INSERT INTO tats (kind, bucket, key, tat) VALUES (?1,?2,?3,?4) \
                 ON CONFLICT (kind, bucket, key) DO UPDATE SET tat = ?4 WHERE tat < ?4")?,
            put_skip: sql("INSERT OR REPLACE INTO skips (event_id, function_id, reason, existing_run, run_id) \
                 VALUES (?1,?2,?3,?4,?5)")?,
            put_skipped_run: sql("INSERT INTO runs (id, function_id, status, event_ids, event_name, correlation_id, \
                 ended_at, skip, skip_run) VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9)")?,
        })
    }

    /// Takes the key of a run's event; false when an earlier one has it.
    pub(super) fn take_key(&mut self, admit: &Admit) -> rusqlite::Result<bool> {
        let Some((key, until)) = &admit.idempotency else { return Ok(true) };
        let now = admit.run.timestamp();
        Ok(self.take.execute(params![admit.function.0.as_bytes(), &**key, until.0, now.0])? == 1)
    }

    /// Gives the keys back that these events have taken: they start no run.
    pub(super) fn free_keys(&mut self, function: FunctionId, events: &[EventId]) -> rusqlite::Result<()> {
        for event in events {
            self.free.execute(params![function.0.as_bytes(), event.to_bytes()])?;
        }
        Ok(())
    }

    fn is_duplicate(&mut self, admit: &Admit) -> rusqlite::Result<bool> {
        let Some((key, _)) = &admit.idempotency else { return Ok(false) };
        self.is_taken.exists(params![admit.function.0.as_bytes(), &**key, admit.run.timestamp().0])
    }

    fn tat(&mut self, bucket: Bucket, key: KeyValue) -> rusqlite::Result<i64> {
        let of = params![Counts::Rates as u8, bucket.0.to_be_bytes(), key.0.to_be_bytes()];
        Ok(self.tat.query_row(of, |row| row.get(0)).optional()?.unwrap_or(0))
    }

    /// An earlier time never replaces a later one.
    pub(super) fn put_tat(&mut self, counts: Counts, token: Token) -> rusqlite::Result<()> {
        let (bucket, key) = (token.bucket.0.to_be_bytes(), token.key.0.to_be_bytes());
        self.put_tat.execute(params![counts as u8, bucket, key, token.tat])?;
        Ok(())
    }

    /// Notes that an event starts no run of a function.
    pub(super) fn skip(
        &mut self,
        event: EventId,
        function: FunctionId,
        reason: Skip,
        run: Option<RunId>,
        committed: &mut Committed,
    ) -> rusqlite::Result<()> {
        let (code, existing) = codec::skip_codes(reason);
        let run = run.map(RunId::to_bytes);
        self.put_skip.execute(params![event.to_bytes(), function.0.as_bytes(), code, existing, run])?;
        committed.skipped.push((event, function, reason));
        Ok(())
    }

    /// Notes that these events start no run, and leaves one in the lists if it is to be seen there.
    pub(super) fn skip_all(
        &mut self,
        admit: &Admit,
        (events, event_name): (&[EventId], &str),
        reason: Skip,
        now: Millis,
        counters: &mut Counters<'_>,
        committed: &mut Committed,
    ) -> rusqlite::Result<()> {
        let run = reason.leaves_run().then_some(admit.run);
        if run.is_some() {
            self.skip_run(admit, (events, event_name), reason, now, counters)?;
        }
        for event in events {
            self.skip(*event, admit.function, reason, run, committed)?;
        }
        Ok(())
    }

    /// Leaves the run of these events in the lists, although it does not start.
    pub(super) fn skip_run(
        &mut self,
        admit: &Admit,
        (events, event_name): (&[EventId], &str),
        reason: Skip,
        now: Millis,
        counters: &mut Counters<'_>,
    ) -> rusqlite::Result<()> {
        let run = CountedRun::new(admit.function, event_name);
        counters.add_run(admit.run, CountedRun { status: RunStatus::Skipped, ended_at: Some(now), ..run });
        let (code, existing) = codec::skip_codes(reason);
        let ids = codec::event_id_bytes(events);
        self.put_skipped_run.execute(params![
            admit.run.to_bytes(),
            admit.function.0.as_bytes(),
            RunStatus::Skipped as u8,
            ids,
            event_name,
            admit.correlation_id.as_deref(),
            now.0,
            code,
            existing
        ])?;
        Ok(())
    }
}

impl Statements<'_> {
    /// Decides what becomes of an event for one function that it has matched.
    pub(super) fn admit(
        &mut self,
        admit: &Admit,
        event: &Event,
        now: Millis,
        committed: &mut Committed,
    ) -> rusqlite::Result<Option<Begins>> {
        let outcome = match &admit.flow {
            None if self.admissions.take_key(admit)? => return Ok(Some(Begins::Run(None))),
            None => Outcome::Run(Start::Never(Skip::Duplicate)),
            Some(flow) => {
                let decision = admission::decide(flow, &mut Known { statements: self, admit }, now)?;
                for (limit, tat) in flow.rates.iter().zip(decision.counted) {
                    let token = Token { bucket: limit.bucket, key: limit.key, tat };
                    self.admissions.put_tat(Counts::Rates, token)?;
                }
                decision.outcome
            }
        };
        let after = match outcome {
            Outcome::Batch(batch) => {
                self.admissions.take_key(admit)?;
                return Ok(self.join_batch(batch, admit, event, now, committed)?.map(Begins::Batch));
            }
            Outcome::Debounce(debounce) => {
                self.join_debounce(debounce, admit, event, now, committed)?;
                return Ok(None);
            }
            Outcome::Run(Start::Never(reason)) => {
                let event = (&[event.id][..], &*event.name);
                self.admissions.skip_all(admit, event, reason, now, &mut self.counters, committed)?;
                return Ok(None);
            }
            Outcome::Run(Start::Now) => None,
            Outcome::Run(Start::After(run)) => Some(run),
        };
        self.admissions.take_key(admit)?;
        Ok(Some(Begins::Run(after)))
    }

    /// Decides what becomes of events that were gathered.
    pub(super) fn admit_gathered(&mut self, gathering: Gathering, admit: &Admit) -> rusqlite::Result<Start> {
        admission::decide_gathered(gathering, admit.flow.as_deref(), &mut Known { statements: self, admit })
    }
}

/// The rows about one event and one function.
struct Known<'s, 'c> {
    statements: &'s mut Statements<'c>,
    admit: &'s Admit,
}

impl Rows for Known<'_, '_> {
    type Error = rusqlite::Error;

    fn is_duplicate(&mut self) -> rusqlite::Result<bool> {
        self.statements.admissions.is_duplicate(self.admit)
    }

    fn tat(&mut self, limit: &RateLimit) -> rusqlite::Result<i64> {
        self.statements.admissions.tat(limit.bucket, limit.key)
    }

    fn holder(&mut self, singleton: Singleton) -> rusqlite::Result<Option<RunId>> {
        self.statements.singletons.holder(self.admit.function, singleton.key)
    }
}
