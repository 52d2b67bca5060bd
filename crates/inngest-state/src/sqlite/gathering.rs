//! Events that are gathered before they start a run: debounces and batches.
//!
//! Each gathering has a job that is due at its deadline, and belongs to no run. Events join the newest gathering of their
//! key as long as its deadline has not come, whether its job is worked on in time or not.

use std::sync::Arc;

use inngest_core::{Event, EventId, FunctionId, Millis, Payload, RunId};
use inngest_queue::admission::{Join, Pending, Start};
use inngest_queue::flow::{Batch, Debounce, KeyValue, Keys, Skip};
use inngest_queue::{Gathering, JobId, JobKind, QueueItem, Resolution};
use rusqlite::{Connection, OptionalExtension as _, Row, Statement, params};

use super::apply::Statements;
use super::{codec, render};
use crate::transition::{Admit, Committed, invokers};

pub(super) struct Gatherings<'c> {
    newest: Statement<'c>,
    open: Statement<'c>,
    update: Statement<'c>,
    put_member: Statement<'c>,
    winner: Statement<'c>,
    replace_winner: Statement<'c>,
    members: Statement<'c>,
    remove: Statement<'c>,
    remove_members: Statement<'c>,
}

/// A gathering that events may join.
struct Open {
    job: JobId,
    first_at: Millis,
    deadline: Millis,
    ts: Millis,
    members: u32,
    bytes: u64,
}

/// What was gathered.
pub(super) struct Gathered {
    function: FunctionId,
    kind: Gathering,
    keys: Keys,
    events: Vec<EventId>,
    /// Of those who wait for the run, with commas between.
    correlation_ids: Option<Arc<str>>,
}

impl<'c> Gatherings<'c> {
    pub(super) fn prepare(connection: &'c Connection) -> rusqlite::Result<Self> {
        let sql = |text: &str| connection.prepare(text);
        Ok(Self {
            newest: sql("SELECT id, first_at, deadline, ts, members, bytes FROM gatherings \
                 WHERE function_id = ?1 AND kind = ?2 AND key = ?3 ORDER BY deadline DESC LIMIT 1")?,
            open: sql(
                "INSERT INTO gatherings (id, function_id, kind, key, first_at, deadline, ts, members, bytes, keys) \
                 VALUES (?1,?2,?3,?4,?5,?6,?7,1,?8,?9)",
            )?,
            update: sql("UPDATE gatherings SET deadline = ?2, ts = ?3, members = ?4, bytes = ?5 WHERE id = ?1")?,
            put_member: sql("INSERT INTO gathered (gathering, seq, event_id, correlation_id) VALUES (?1,?2,?3,?4)")?,
            winner: sql("SELECT event_id FROM gathered WHERE gathering = ?1 AND seq = 0")?,
            replace_winner: sql("UPDATE gathered SET event_id = ?2 WHERE gathering = ?1 AND seq = 0")?,
            members: sql("SELECT event_id, correlation_id FROM gathered WHERE gathering = ?1 ORDER BY seq")?,
            remove: sql("DELETE FROM gatherings WHERE id = ?1 RETURNING function_id, kind, keys")?,
            remove_members: sql("DELETE FROM gathered WHERE gathering = ?1")?,
        })
    }

    fn newest(&mut self, function: FunctionId, kind: Gathering, key: KeyValue) -> rusqlite::Result<Option<Open>> {
        let of = params![function.0.as_bytes(), codec::gathering_code(kind), key.0.to_be_bytes()];
        let open = |row: &Row<'_>| {
            Ok(Open {
                job: JobId::gathered(codec::run_id(row, 0)?),
                first_at: Millis(row.get(1)?),
                deadline: Millis(row.get(2)?),
                ts: Millis(row.get(3)?),
                members: row.get(4)?,
                bytes: row.get::<_, i64>(5)?.unsigned_abs(),
            })
        };
        self.newest.query_row(of, open).optional()
    }

    fn update(&mut self, open: &Open) -> rusqlite::Result<()> {
        let (id, bytes) = (open.job.run.to_bytes(), open.bytes.cast_signed());
        self.update.execute(params![id, open.deadline.0, open.ts.0, open.members, bytes])?;
        Ok(())
    }

    fn put_member(&mut self, open: &mut Open, event: Option<EventId>, admit: &Admit) -> rusqlite::Result<()> {
        let (id, event) = (open.job.run.to_bytes(), event.map(EventId::to_bytes));
        self.put_member.execute(params![id, open.members, event, admit.correlation_id.as_deref()])?;
        open.members += 1;
        Ok(())
    }

    /// Keeps who waits for the run, although his event does not start it.
    fn keep_invoker(&mut self, open: &mut Open, admit: &Admit) -> rusqlite::Result<()> {
        if admit.correlation_id.is_some() { self.put_member(open, None, admit) } else { Ok(()) }
    }

    /// Puts an event in the place of the one that would have started the run, which is returned.
    fn replace_winner(&mut self, open: &Open, event: EventId) -> rusqlite::Result<EventId> {
        let id = open.job.run.to_bytes();
        let before = self.winner.query_row([id], |row| codec::event_id(row, 0))?;
        self.replace_winner.execute(params![id, event.to_bytes()])?;
        Ok(before)
    }

    fn remove(&mut self, job: JobId) -> rusqlite::Result<Option<Gathered>> {
        let id = job.run.to_bytes();
        let removed = self
            .remove
            .query_row([id], |row| Ok((codec::function_id(row, 0)?, codec::gathering(row, 1)?, codec::keys(row, 2)?)));
        let Some((function, kind, keys)) = removed.optional()? else { return Ok(None) };
        let (mut events, mut invokers) = (Vec::new(), Vec::new());
        let mut rows = self.members.query([id])?;
        while let Some(row) = rows.next()? {
            events.extend(row.get::<_, Option<[u8; 16]>>(0)?.map(EventId::from_bytes));
            invokers.extend(row.get::<_, Option<String>>(1)?);
        }
        drop(rows);
        self.remove_members.execute([id])?;
        let correlation_ids = (!invokers.is_empty()).then(|| invokers.join(",").into());
        Ok(Some(Gathered { function, kind, keys, events, correlation_ids }))
    }
}

impl Statements<'_> {
    /// An event joins the debounce of its key, or begins one.
    pub(super) fn join_debounce(
        &mut self,
        debounce: Debounce,
        admit: &Admit,
        event: &Event,
        now: Millis,
        committed: &mut Committed,
    ) -> rusqlite::Result<()> {
        let newest = self.gatherings.newest(admit.function, Gathering::Debounce, debounce.key)?;
        let pending = newest.as_ref().map(|open| Pending { ts: open.ts, deadline: open.deadline });
        let join = Debounce::join(pending, event.ts, now);
        let Some(mut open) = newest.filter(|_| join != Join::Opens) else {
            let deadline = debounce.deadline(now, now);
            self.open((Gathering::Debounce, debounce.key), admit, event, 0, (now, deadline), committed)?;
            return Ok(());
        };
        self.gatherings.keep_invoker(&mut open, admit)?;
        let mut loser = event.id;
        if join == Join::Replaces {
            loser = self.gatherings.replace_winner(&open, event.id)?;
            open.ts = event.ts;
            open.deadline = debounce.deadline(open.first_at, now);
            self.move_job(open.job, open.deadline, now, committed)?;
        }
        self.gatherings.update(&open)?;
        self.admissions.skip(loser, admit.function, Skip::Debounced, None, committed)
    }

    /// An event joins the batch of its key, or begins one. Returns the job of the batch when it is full and its run
    /// begins with this event.
    pub(super) fn join_batch(
        &mut self,
        batch: Batch,
        admit: &Admit,
        event: &Event,
        now: Millis,
        committed: &mut Committed,
    ) -> rusqlite::Result<Option<JobId>> {
        let bytes = render::body(self.connection, event)?.len() as u64;
        let newest = self.gatherings.newest(admit.function, Gathering::Batch, batch.key)?;
        let mut open = match newest.filter(|open| now < open.deadline) {
            Some(mut open) => {
                open.bytes += bytes;
                self.gatherings.put_member(&mut open, Some(event.id), admit)?;
                self.gatherings.update(&open)?;
                open
            }
            None => {
                let times = (now, now.plus(batch.timeout));
                self.open((Gathering::Batch, batch.key), admit, event, bytes, times, committed)?
            }
        };
        if !batch.is_full(open.members, open.bytes) {
            return Ok(None);
        }
        if self.admit_gathered(Gathering::Batch, admit)? == Start::Now {
            return Ok(Some(open.job));
        }
        // What forbids the run is dealt with when it is due, which it is now.
        open.deadline = now;
        self.gatherings.update(&open)?;
        self.move_job(open.job, now, now, committed)?;
        Ok(None)
    }

    /// Begins a gathering with its first event, and with the job that will start its run.
    fn open(
        &mut self,
        (kind, key): (Gathering, KeyValue),
        admit: &Admit,
        event: &Event,
        bytes: u64,
        (now, deadline): (Millis, Millis),
        committed: &mut Committed,
    ) -> rusqlite::Result<Open> {
        let job = JobId::gathered(admit.run);
        self.gatherings.open.execute(params![
            admit.run.to_bytes(),
            admit.function.0.as_bytes(),
            codec::gathering_code(kind),
            key.0.to_be_bytes(),
            now.0,
            deadline.0,
            event.ts.0,
            bytes.cast_signed(),
            admit.job.keys.to_bytes()
        ])?;
        let mut open = Open { job, first_at: now, deadline, ts: event.ts, members: 0, bytes };
        self.gatherings.put_member(&mut open, Some(event.id), admit)?;
        let item = QueueItem { due: deadline, ..QueueItem::new(job, admit.function, JobKind::Gathered(kind), now) };
        self.put_job(&item, now)?;
        committed.jobs.push(item);
        Ok(open)
    }

    /// The event of `admit` has filled a batch: its run starts now, limited by the keys of its first event.
    pub(super) fn start_full_batch(
        &mut self,
        job: JobId,
        admit: &Admit,
        now: Millis,
        committed: &mut Committed,
    ) -> rusqlite::Result<()> {
        let Some(gathered) = self.forget(job)? else { return Ok(()) };
        match committed.jobs.iter().rposition(|known| known.id == job) {
            // The batch began in this transition, and nobody has heard of it.
            Some(at) => drop(committed.jobs.remove(at)),
            None => committed.removed.push(job),
        }
        let first = QueueItem { keys: gathered.keys.clone(), due: admit.job.queued_at, ..admit.job.clone() };
        self.start_with(gathered, &Admit { job: first, ..admit.clone() }, None, now, committed)
    }

    /// The time of what was gathered has come.
    pub(super) fn start_gathered(
        &mut self,
        job: JobId,
        admit: &Admit,
        refusal: fn(Skip) -> Payload,
        now: Millis,
        committed: &mut Committed,
    ) -> rusqlite::Result<()> {
        let Some(gathered) = self.forget(job)? else { return Ok(()) };
        let after = match self.admit_gathered(gathered.kind, admit)? {
            Start::Now => None,
            Start::After(run) => Some(run),
            Start::Never(reason) => {
                let name = self.name_of_first(&gathered)?;
                self.free_keys(&gathered)?;
                self.admissions.skip_all(
                    admit,
                    (&gathered.events, &name),
                    reason,
                    now,
                    &mut self.counters,
                    committed,
                )?;
                for invoker in invokers(gathered.correlation_ids.as_deref().unwrap_or_default()) {
                    self.resume(invoker, &Resolution::Value(refusal(reason)), now, committed)?;
                }
                return Ok(());
            }
        };
        if gathered.kind == Gathering::Debounce {
            self.admissions.take_key(admit)?;
        }
        self.start_with(gathered, admit, after, now, committed)
    }

    /// The function is gone, and nothing starts.
    pub(super) fn drop_gathered(&mut self, job: JobId) -> rusqlite::Result<()> {
        self.forget(job)?.map_or(Ok(()), |gathered| self.free_keys(&gathered))
    }

    /// The events of a batch have taken their keys when they joined it; those of a debounce have taken none.
    fn free_keys(&mut self, gathered: &Gathered) -> rusqlite::Result<()> {
        match gathered.kind {
            Gathering::Batch => self.admissions.free_keys(gathered.function, &gathered.events),
            Gathering::Debounce => Ok(()),
        }
    }

    /// Removes what was gathered, and its job.
    fn forget(&mut self, job: JobId) -> rusqlite::Result<Option<Gathered>> {
        let gathered = self.gatherings.remove(job)?;
        if gathered.is_some() {
            self.remove_job(job)?;
        }
        Ok(gathered)
    }

    fn start_with(
        &mut self,
        gathered: Gathered,
        admit: &Admit,
        after: Option<RunId>,
        now: Millis,
        committed: &mut Committed,
    ) -> rusqlite::Result<()> {
        let name = self.name_of_first(&gathered)?;
        let events = codec::event_id_bytes(&gathered.events);
        let admit = Admit { correlation_id: gathered.correlation_ids, ..admit.clone() };
        self.start(&admit, after, &events, &name, now, committed)?;
        let sql = "UPDATE runs SET gathering = ?2 WHERE id = ?1";
        let kind = codec::gathering_code(gathered.kind);
        self.connection.prepare_cached(sql)?.execute(params![admit.run.to_bytes(), kind])?;
        for event in gathered.events {
            self.add_run_of_event(event, admit.run)?;
        }
        Ok(())
    }

    fn name_of_first(&self, gathered: &Gathered) -> rusqlite::Result<Arc<str>> {
        let first = gathered.events.first().map(|event| event.to_bytes());
        let mut name = self.connection.prepare_cached("SELECT name FROM events WHERE id = ?1")?;
        Ok(name.query_row([first], |row| row.get(0)).optional()?.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::super::open::{database, plan};
    use super::*;

    #[test]
    fn every_statement_is_a_search() {
        let db = database();
        let Gatherings { newest, update, winner, replace_winner, members, remove, remove_members, .. } =
            Gatherings::prepare(&db).expect("prepares");
        for statement in [newest, update, winner, replace_winner, members, remove, remove_members] {
            let plan = plan(&db, &statement.expanded_sql().expect("a text"));
            assert!(plan.starts_with("SEARCH") && !plan.contains("TEMP B-TREE"), "{plan}");
        }
    }
}
