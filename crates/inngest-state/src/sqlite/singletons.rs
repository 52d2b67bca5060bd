//! Which run holds a singleton, and which runs wait until another has ended.
//!
//! A run that takes the place of another holds the singleton at once, so that the next one finds it; but its first job
//! is due only when the other has ended, and everything that that one waited for itself. So of all runs of a key one at
//! most can be worked on.

use std::collections::HashSet;

use inngest_core::{FunctionId, Millis, RunId};
use inngest_queue::flow::KeyValue;
use inngest_queue::{JobId, QueueItem};
use rusqlite::{Connection, OptionalExtension as _, Statement, params};

use super::codec;

pub(super) struct Singletons<'c> {
    connection: &'c Connection,
    /// The runs named by any row: the end of every other one is done with a look here.
    runs: HashSet<RunId>,
    holder: Statement<'c>,
    lock: Statement<'c>,
    unlock: Statement<'c>,
    hand_back: Statement<'c>,
    follow: Statement<'c>,
    predecessor: Statement<'c>,
    pass_on: Statement<'c>,
    successor: Statement<'c>,
}

impl<'c> Singletons<'c> {
    pub(super) fn prepare(connection: &'c Connection) -> rusqlite::Result<Self> {
        let sql = |text: &str| connection.prepare(text);
        let mut singletons = Self {
            connection,
            runs: HashSet::new(),
            holder: sql("SELECT run_id FROM singletons WHERE function_id = ?1 AND key = ?2")?,
            lock: sql("INSERT OR REPLACE INTO singletons (function_id, key, run_id) VALUES (?1,?2,?3)")?,
            unlock: sql("DELETE FROM singletons WHERE run_id = ?1")?,
            hand_back: sql("UPDATE singletons SET run_id = ?2 WHERE run_id = ?1")?,
            follow: sql("INSERT INTO successors (run_id, after_run, key, due) VALUES (?1,?2,?3,?4)")?,
            predecessor: sql("DELETE FROM successors WHERE run_id = ?1 RETURNING after_run")?,
            pass_on: sql("UPDATE successors SET after_run = ?2 WHERE after_run = ?1")?,
            successor: sql("DELETE FROM successors WHERE after_run = ?1 RETURNING run_id, key, due")?,
        };
        singletons.load()?;
        Ok(singletons)
    }

    /// What is known of the database may be wrong: it was undone.
    pub(super) fn reload(&mut self) {
        if let Err(error) = self.load() {
            // Then the database is unusable, and every commit says so.
            tracing::error!(%error, "the runs of singletons could not be read");
        }
    }

    fn load(&mut self) -> rusqlite::Result<()> {
        let sql = "SELECT run_id FROM singletons UNION ALL SELECT run_id FROM successors \
                   UNION ALL SELECT after_run FROM successors";
        let mut named = self.connection.prepare(sql)?;
        self.runs = named.query_map([], |row| codec::run_id(row, 0))?.collect::<Result<_, _>>()?;
        Ok(())
    }

    pub(super) fn holder(&mut self, function: FunctionId, key: KeyValue) -> rusqlite::Result<Option<RunId>> {
        let of = params![function.0.as_bytes(), key.0.to_be_bytes()];
        self.holder.query_row(of, |row| codec::run_id(row, 0)).optional()
    }

    pub(super) fn lock(&mut self, function: FunctionId, key: KeyValue, run: RunId) -> rusqlite::Result<()> {
        self.runs.insert(run);
        self.lock.execute(params![function.0.as_bytes(), key.0.to_be_bytes(), run.to_bytes()])?;
        Ok(())
    }

    /// The first job of a run becomes due when another run has ended.
    pub(super) fn follow(&mut self, first: &QueueItem, after: RunId) -> rusqlite::Result<()> {
        let JobId { run, key } = first.id;
        self.runs.extend([run, after]);
        self.follow.execute(params![run.to_bytes(), after.to_bytes(), key.cast_signed(), first.due.0])?;
        Ok(())
    }

    /// A run has ended. Returns the job that waited for that, and when it is due.
    pub(super) fn ended(&mut self, run: RunId) -> rusqlite::Result<Option<(JobId, Millis)>> {
        if !self.runs.remove(&run) {
            return Ok(None);
        }
        let ended = run.to_bytes();
        if let Some(before) = self.predecessor.query_row([ended], |row| codec::run_id(row, 0)).optional()? {
            // It never began. The other one has not ended: whoever comes next waits for that.
            let before = before.to_bytes();
            self.hand_back.execute([ended, before])?;
            self.pass_on.execute([ended, before])?;
            return Ok(None);
        }
        self.unlock.execute([ended])?;
        let job = |row: &rusqlite::Row<'_>| {
            let id = JobId { run: codec::run_id(row, 0)?, key: row.get::<_, i64>(1)?.cast_unsigned() };
            Ok((id, Millis(row.get(2)?)))
        };
        self.successor.query_row([ended], job).optional()
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::StatementStatus;

    use super::super::open::{database, plan};
    use super::*;

    #[test]
    fn every_statement_is_a_search() {
        let db = database();
        let Singletons { holder, unlock, hand_back, predecessor, pass_on, successor, .. } =
            Singletons::prepare(&db).expect("prepares");
        for statement in [holder, unlock, hand_back, predecessor, pass_on, successor] {
            let plan = plan(&db, &statement.expanded_sql().expect("a text"));
            assert!(plan.starts_with("SEARCH") && !plan.contains("SCAN"), "{plan}");
        }
    }

    #[test]
    fn the_end_of_a_run_that_is_no_singleton_reads_nothing() {
        let db = database();
        let (function, key) = (FunctionId::of_definition("f", "u"), KeyValue::of("k"));
        let run = |number: u8| RunId::from_bytes([number; 16]);
        let mut singletons = Singletons::prepare(&db).expect("prepares");
        singletons.lock(function, key, run(1)).expect("writes");
        let searches = |singletons: &Singletons<'_>| singletons.predecessor.get_status(StatementStatus::Run);
        assert_eq!(singletons.ended(run(2)).expect("reads"), None);
        assert_eq!(searches(&singletons), 0);
        let mut again = Singletons::prepare(&db).expect("prepares");
        singletons.ended(run(1)).expect("reads");
        assert_eq!((searches(&singletons), singletons.runs.len()), (1, 0));
        assert_eq!(again.runs, HashSet::from([run(1)]), "it was read by whoever came after");
        again.reload();
        assert!(again.runs.is_empty());
    }
}
