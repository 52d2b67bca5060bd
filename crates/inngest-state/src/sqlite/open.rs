//! Opening the database file: lock, pragmas, migrations.

use std::fs::{File, OpenOptions, TryLockError};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::{Options, SqliteStore, counters};
use crate::StoreError;

/// Numbered from 1; each brings the schema from its predecessor's version to its own.
const MIGRATIONS: [&str; 7] = [
    include_str!("migrations/0001_initial.sql"),
    include_str!("migrations/0002_waits.sql"),
    include_str!("migrations/0003_flow_control.sql"),
    include_str!("migrations/0004_traces.sql"),
    include_str!("migrations/0005_lists.sql"),
    include_str!("migrations/0006_cut_off.sql"),
    include_str!("migrations/0007_told_by_sdks.sql"),
];

/// The version that brought the counters.
const COUNTERS_SINCE: i64 = 5;

/// Size of a database page: fewer, larger pages make a group commit cheaper.
const PAGE_BYTES: u32 = 8192;

/// Opens the database for writing and takes the directory's lock, which is held as long as the file lives.
pub(super) fn open(options: &Options) -> Result<(Connection, File), StoreError> {
    let dir = options.dir.display();
    std::fs::create_dir_all(&options.dir).map_err(|error| StoreError::ReadOnly(format!("{dir}: {error}")))?;
    let lock = lock(options)?;
    let mut connection = Connection::open(options.file())?;
    configure(&connection)?;
    migrate(&mut connection)?;
    // Not before: a migration may sort more than fits into memory.
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    if let Some(bytes) = options.size_bytes_max {
        connection.pragma_update(
            None,
            "max_page_count",
            i64::try_from(bytes / u64::from(PAGE_BYTES)).unwrap_or(i64::MAX),
        )?;
    }
    Ok((connection, lock))
}

/// A connection for reads only.
pub(super) fn open_reader(file: &std::path::Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.pragma_update(None, "query_only", true)?;
    connection.pragma_update(None, "cache_size", -1024)?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(connection)
}

fn lock(options: &Options) -> Result<File, StoreError> {
    let path = SqliteStore::lock_file(&options.dir);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|error| StoreError::ReadOnly(format!("{}: {error}", path.display())))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(StoreError::Locked(format!("{} is locked; stop it or use another data directory", path.display())))
        }
        Err(TryLockError::Error(error)) => Err(StoreError::Other(format!("{}: {error}", path.display()))),
    }
}

fn configure(connection: &Connection) -> Result<(), StoreError> {
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.pragma_update(None, "page_size", PAGE_BYTES)?;
    let mode: String = connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    if mode != "wal" {
        return Err(StoreError::Other(format!("journal mode WAL is not available here (got {mode})")));
    }
    connection.set_prepared_statement_cache_capacity(32);
    // A plan does not depend on what is bound; else statements are planned again whenever that changes.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "cache_size", -4096)?;
    connection.pragma_update(None, "wal_autocheckpoint", 1000)?;
    connection.pragma_update(None, "journal_size_limit", 64 * 1024 * 1024)?;
    Ok(())
}

/// A database in memory.
#[cfg(test)]
pub(super) fn database() -> Connection {
    let mut connection = Connection::open_in_memory().expect("opens");
    migrate(&mut connection).expect("migrates");
    connection
}

/// How SQLite would answer a query.
#[cfg(test)]
pub(super) fn plan(connection: &Connection, sql: &str) -> String {
    let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).expect("prepares");
    let parameters = statement.parameter_count();
    let rows = statement.query_map(rusqlite::params_from_iter(vec![1; parameters]), |row| row.get::<_, String>(3));
    rows.expect("reads").collect::<Result<Vec<_>, _>>().expect("reads").join("; ")
}

fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    let known = i64::try_from(MIGRATIONS.len()).expect("a handful");
    let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if found > known {
        return Err(StoreError::TooNew { found, known });
    }
    for (version, sql) in (1..).zip(MIGRATIONS).filter(|(version, _)| *version > found) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(sql)?;
        if version == COUNTERS_SINCE {
            counters::count_all(&transaction)?;
        }
        transaction.pragma_update(None, "user_version", version)?;
        transaction.commit()?;
    }
    Ok(())
}
