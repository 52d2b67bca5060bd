//! The index by which an event finds those that wait for it.
//!
//! Each wait has rows in `wait_tests`, of which one must hold for the event. The event looks up its own values, under
//! the few pairs of path and test that exist for its name.

use std::collections::HashSet;

use inngest_expr::expression::{Scalar, Test};
use inngest_queue::JobId;
use rusqlite::types::{ToSqlOutput, Value as Sql, ValueRef};
use rusqlite::{Connection, OptionalExtension as _, Row, Statement, ToSql, params};
use serde_json::Value;

use super::codec;

/// Codes of tests, as stored.
pub(super) const ANY: i64 = 0;
const EQUAL: i64 = 1;
const MISSING: i64 = 2;
const MEMBER: i64 = 3;
const BELOW: i64 = 4;
const BELOW_OR_EQUAL: i64 = 5;
const ABOVE: i64 = 6;
const ABOVE_OR_EQUAL: i64 = 7;

/// Items of a list that are looked up one by one. Of a longer list it is quicker to go through all that is stored.
const PROBES_MAX: usize = 256;

/// A test as it is stored: its code and value.
pub(super) fn encode(test: &Test) -> (i64, Sql) {
    match test {
        Test::Equal(value) => (EQUAL, scalar(value)),
        Test::Missing => (MISSING, Sql::Integer(0)),
        Test::Member(value) => (MEMBER, scalar(value)),
        Test::Below(value, false) => (BELOW, scalar(value)),
        Test::Below(value, true) => (BELOW_OR_EQUAL, scalar(value)),
        Test::Above(value, false) => (ABOVE, scalar(value)),
        Test::Above(value, true) => (ABOVE_OR_EQUAL, scalar(value)),
    }
}

fn scalar(value: &Scalar) -> Sql {
    match value {
        Scalar::Number(number) => Sql::Real(*number),
        Scalar::Text(text) => Sql::Text(text.clone()),
        Scalar::Bool(value) => Sql::Blob(vec![u8::from(*value)]),
    }
}

/// A value of an event, as values of tests are stored.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Key<'e> {
    /// The bits of a number; zero has one sign.
    Number(u64),
    Text(&'e [u8]),
    Bool(bool),
}

impl<'e> Key<'e> {
    fn of(value: &'e Value) -> Option<Self> {
        match value {
            Value::Number(number) => number.as_f64().map(Self::number),
            Value::String(text) => Some(Self::Text(text.as_bytes())),
            Value::Bool(value) => Some(Self::Bool(*value)),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        }
    }

    fn of_column(value: ValueRef<'e>) -> Option<Self> {
        match value {
            ValueRef::Real(number) => Some(Self::number(number)),
            ValueRef::Text(text) => Some(Self::Text(text)),
            ValueRef::Blob(value) => Some(Self::Bool(value == [1])),
            ValueRef::Integer(_) | ValueRef::Null => None,
        }
    }

    fn number(number: f64) -> Self {
        Self::Number((number + 0.0).to_bits())
    }

    const fn column(self) -> ValueRef<'e> {
        match self {
            Self::Number(bits) => ValueRef::Real(f64::from_bits(bits)),
            Self::Text(text) => ValueRef::Text(text),
            Self::Bool(false) => ValueRef::Blob(&[0]),
            Self::Bool(true) => ValueRef::Blob(&[1]),
        }
    }

    /// The first value of its type. Types are stored apart: numbers first, then texts, then booleans.
    const fn first(self) -> ValueRef<'static> {
        match self {
            Self::Number(_) => ValueRef::Real(f64::NEG_INFINITY),
            Self::Text(_) => ValueRef::Text(b""),
            Self::Bool(_) => ValueRef::Blob(b""),
        }
    }

    /// What comes after the last value of its type.
    const fn end(self) -> ValueRef<'static> {
        match self {
            Self::Number(_) => ValueRef::Text(b""),
            Self::Text(_) => ValueRef::Blob(b""),
            Self::Bool(_) => ValueRef::Blob(&[2]),
        }
    }
}

struct Bound<'e>(ValueRef<'e>);

impl ToSql for Bound<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(self.0))
    }
}

/// What is prepared to look events up.
pub(super) struct Lookup<'c> {
    /// The test after another of the same path, and the first one of the path after another: each is a jump within
    /// the primary key. (One query for the pair after another would go through every row of the path.)
    next_test: Statement<'c>,
    next_path: Statement<'c>,
    all: Statement<'c>,
    equal: Statement<'c>,
    /// For each of the four codes from [`BELOW`] on.
    ranges: [Statement<'c>; 4],
}

impl<'c> Lookup<'c> {
    pub(super) fn prepare(connection: &'c Connection) -> rusqlite::Result<Self> {
        let rows = |condition: &str| {
            connection.prepare(&format!(
                "SELECT run_id, key, value FROM wait_tests WHERE event = ?1 AND path = ?2 AND test = ?3{condition}"
            ))
        };
        Ok(Self {
            next_test: connection.prepare(
                "SELECT path, test FROM wait_tests WHERE event = ?1 AND path = ?2 AND test > ?3 ORDER BY test LIMIT 1",
            )?,
            next_path: connection.prepare(
                "SELECT path, test FROM wait_tests WHERE event = ?1 AND path > ?2 ORDER BY path, test LIMIT 1",
            )?,
            all: rows("")?,
            equal: rows(" AND value = ?4")?,
            // The event's value must be below the stored one, so the stored one is above it.
            ranges: [
                rows(" AND value > ?4 AND value < ?5")?,
                rows(" AND value >= ?4 AND value < ?5")?,
                rows(" AND value < ?4 AND value >= ?5")?,
                rows(" AND value <= ?4 AND value >= ?5")?,
            ],
        })
    }

    /// The first pair of path and test of this name after another.
    fn next(&mut self, name: &str, (path, test): &(String, i64)) -> rusqlite::Result<Option<(String, i64)>> {
        let pair = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
        match self.next_test.query_row(params![name, path, test], pair).optional()? {
            Some(next) => Ok(Some(next)),
            None => self.next_path.query_row(params![name, path], pair).optional(),
        }
    }

    /// Jobs one of whose tests holds for the event, each once, in order; `None` when nobody waits for the name.
    pub(super) fn candidates(&mut self, name: &str, body: &Value) -> rusqlite::Result<Option<Vec<JobId>>> {
        let mut found = Vec::new();
        // Before the first of all tests, which has no path.
        let mut after = (String::new(), -1);
        let mut any = false;
        while let Some((path, test)) = self.next(name, &after)? {
            any = true;
            self.find((name, &path, test), body.pointer(&path), &mut found)?;
            after = (path, test);
        }
        found.sort_unstable();
        found.dedup();
        Ok(any.then_some(found))
    }

    /// Those one of whose tests of this kind holds for what the event has there.
    fn find(
        &mut self,
        (name, path, test): (&str, &str, i64),
        at: Option<&Value>,
        found: &mut Vec<JobId>,
    ) -> rusqlite::Result<()> {
        let at = at.filter(|at| !at.is_null());
        let key = at.and_then(Key::of);
        match (test, at, key) {
            (ANY, ..) | (MISSING, None, _) => collect(&mut self.all, params![name, path, test], found),
            (EQUAL, _, Some(key)) => collect(&mut self.equal, params![name, path, test, Bound(key.column())], found),
            (MEMBER, Some(Value::Array(items)), _) => {
                self.members((name, path), &items.iter().filter_map(Key::of).collect(), found)
            }
            (MEMBER, Some(Value::Object(entries)), _) => {
                self.members((name, path), &entries.keys().map(|key| Key::Text(key.as_bytes())).collect(), found)
            }
            (BELOW | BELOW_OR_EQUAL | ABOVE | ABOVE_OR_EQUAL, _, Some(key)) => {
                let limit = if test <= BELOW_OR_EQUAL { key.end() } else { key.first() };
                let statement = usize::try_from(test - BELOW).ok().and_then(|index| self.ranges.get_mut(index));
                let Some(statement) = statement else { return Ok(()) };
                collect(statement, params![name, path, test, Bound(key.column()), Bound(limit)], found)
            }
            _ => Ok(()),
        }
    }

    fn members(
        &mut self,
        (name, path): (&str, &str),
        keys: &HashSet<Key<'_>>,
        found: &mut Vec<JobId>,
    ) -> rusqlite::Result<()> {
        if keys.len() <= PROBES_MAX {
            for key in keys {
                collect(&mut self.equal, params![name, path, MEMBER, Bound(key.column())], found)?;
            }
            return Ok(());
        }
        let mut rows = self.all.query(params![name, path, MEMBER])?;
        while let Some(row) = rows.next()? {
            if Key::of_column(row.get_ref(2)?).is_some_and(|stored| keys.contains(&stored)) {
                found.push(job_id(row)?);
            }
        }
        Ok(())
    }
}

fn collect(
    statement: &mut Statement<'_>,
    parameters: impl rusqlite::Params,
    found: &mut Vec<JobId>,
) -> rusqlite::Result<()> {
    for job in statement.query_map(parameters, job_id)? {
        found.push(job?);
    }
    Ok(())
}

/// The first two columns of a row.
pub(super) fn job_id(row: &Row<'_>) -> rusqlite::Result<JobId> {
    Ok(JobId { run: codec::run_id(row, 0)?, key: row.get::<_, i64>(1)?.cast_unsigned() })
}

#[cfg(test)]
mod tests {
    use rusqlite::StatementStatus;
    use serde_json::json;

    use super::*;

    /// Steps of SQLite's machine for one event when so many others wait.
    fn steps(waits: u32) -> i32 {
        let db = Connection::open_in_memory().expect("opens");
        db.execute_batch(include_str!("migrations/0001_initial.sql")).expect("migrates");
        db.execute_batch(include_str!("migrations/0002_waits.sql")).expect("migrates");
        let mut put = db.prepare("INSERT INTO wait_tests VALUES ('e', ?1, ?2, ?3, ?4, 0)").expect("prepares");
        for index in 0..waits {
            let (number, text) = (f64::from(index) + 10.0, format!("x{index}"));
            let run = u128::from(index).to_be_bytes();
            for (path, test) in [("/data/id", EQUAL), ("/data/l", MEMBER)] {
                put.execute(params![path, test, text, run]).expect("inserts");
            }
            for test in [EQUAL, BELOW_OR_EQUAL, ABOVE] {
                let number = if test == BELOW_OR_EQUAL { -number } else { number };
                put.execute(params!["/data/n", test, number, run]).expect("inserts");
            }
        }
        let mut lookup = Lookup::prepare(&db).expect("prepares");
        let event = json!({ "data": { "id": "x7", "n": 3, "l": ["x7", "x8", "y"] } });
        let found = lookup.candidates("e", &event).expect("reads").expect("somebody waits");
        assert_eq!(found.len(), 2);
        let Lookup { next_test, next_path, all, equal, ranges } = &lookup;
        let all = [next_test, next_path, all, equal].into_iter().chain(ranges);
        all.map(|statement| statement.get_status(StatementStatus::VmStep)).sum()
    }

    #[test]
    fn an_event_costs_the_same_however_many_wait() {
        let (few, many) = (steps(10), steps(5_000));
        assert!(many <= few + few / 10, "{few} steps with 10 that wait, {many} with 5000");
    }
}
