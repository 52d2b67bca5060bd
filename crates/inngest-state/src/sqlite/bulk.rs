//! Fills a database quickly, for measurements: real transitions through the real schema, but nothing waits for the disk,
//! so that a crash on the way leaves a database that is no good.

use std::fs::File;
use std::sync::Arc;

use inngest_core::Millis;
use rusqlite::Connection;

use super::apply::Statements;
use super::{Options, open};
use crate::{StoreError, Transition};

/// Memory for pages of the database, in KiB: many places are written to between two commits.
const CACHE_KIB: i64 = 256 * 1024;

/// A database that is being filled.
pub struct Bulk {
    connection: Connection,
    _lock: File,
}

impl Bulk {
    /// Opens the database as a store does, with its lock and its schema.
    pub fn open(options: &Options) -> Result<Self, StoreError> {
        let (connection, lock) = open::open(options)?;
        connection.pragma_update(None, "synchronous", "OFF")?;
        connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
        connection.pragma_update(None, "wal_autocheckpoint", 16_384)?;
        Ok(Self { connection, _lock: lock })
    }

    /// Applies the transitions of each batch in one database transaction, as if they were committed at that time.
    pub fn fill(&self, batches: impl Iterator<Item = (Millis, Vec<Transition>)>) -> Result<(), StoreError> {
        let mut statements = Statements::prepare(&self.connection, Arc::default())?;
        for (now, transitions) in batches {
            let mut seq = now.0.saturating_mul(1_000);
            let database = self.connection.unchecked_transaction()?;
            for transition in &transitions {
                if let Err(rejected) = statements.apply(transition, now, &mut seq)? {
                    return Err(StoreError::Other(rejected.to_string()));
                }
            }
            statements.counters.write()?;
            database.commit()?;
            statements.committed();
        }
        Ok(())
    }
}
