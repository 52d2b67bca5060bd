//! Changes that write one row and look at nothing else.

use inngest_core::{App, AppId, EventId, Function, FunctionId, Millis, Payload, RunId, StepId, limits};
use rusqlite::{Connection, params};

use super::codec;
use crate::run_state::{Defer, DeferStatus};
use crate::trace::{StepDetail, UserSpan};
use crate::transition::{Cancellation, Hold, Metadata, Tick};

pub(super) fn put_app(connection: &Connection, app: &App) -> rusqlite::Result<()> {
    let sql =
        format!("INSERT OR REPLACE INTO apps ({}) VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12)", codec::APP_COLUMNS);
    connection.execute(
        &sql,
        params![
            app.id.0.as_bytes(),
            &*app.name,
            &*app.url,
            app.sdk_language,
            app.sdk_version,
            app.framework,
            app.app_version,
            app.error,
            app.checksum,
            app.created_at.0,
            app.archived_at.map(|at| at.0),
            app.feature_observations
        ],
    )?;
    Ok(())
}

pub(super) fn archive_app(connection: &Connection, app: AppId, at: Millis) -> rusqlite::Result<()> {
    let id = app.0.as_bytes();
    connection.execute("DELETE FROM apps WHERE id = ?1 AND name = ''", [id])?;
    connection.execute("UPDATE apps SET archived_at = ?2 WHERE id = ?1 AND archived_at IS NULL", params![id, at.0])?;
    connection.execute(
        "UPDATE functions SET archived_at = ?2 WHERE app_id = ?1 AND archived_at IS NULL",
        params![id, at.0],
    )?;
    Ok(())
}

pub(super) fn put_function(connection: &Connection, function: &Function) -> rusqlite::Result<()> {
    let sql = format!(
        "INSERT OR REPLACE INTO functions ({}) VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12)",
        codec::FUNCTION_COLUMNS
    );
    connection.execute(
        &sql,
        params![
            function.id.0.as_bytes(),
            function.app.0.as_bytes(),
            &*function.slug,
            &*function.name,
            codec::triggers_text(&function.triggers),
            &*function.url,
            &*function.step_id,
            function.retries,
            function.version,
            &function.config[..],
            function.created_at.0,
            function.archived_at.map(|at| at.0)
        ],
    )?;
    Ok(())
}

pub(super) fn archive_function(connection: &Connection, function: FunctionId, at: Millis) -> rusqlite::Result<()> {
    connection.execute(
        "UPDATE functions SET archived_at = ?2 WHERE id = ?1 AND archived_at IS NULL",
        params![function.0.as_bytes(), at.0],
    )?;
    Ok(())
}

pub(super) fn put_defer(connection: &Connection, run: RunId, defer: &Defer, seq: &mut i64) -> rusqlite::Result<()> {
    *seq += 1;
    let sql = "INSERT OR IGNORE INTO defers (run_id, id, seq, function, input, meta, status, name) \
         VALUES (?1,?2,?3,?4,?5,?6,?7,?8)";
    connection.prepare_cached(sql)?.execute(params![
        run.to_bytes(),
        defer.id.as_str(),
        *seq,
        &*defer.function,
        &defer.input[..],
        defer.meta.as_deref(),
        defer.status as u8,
        &*defer.name
    ])?;
    Ok(())
}

pub(super) fn abort_defer(connection: &Connection, run: RunId, id: &StepId) -> rusqlite::Result<()> {
    let sql = "UPDATE defers SET status = ?3, input = x'' WHERE run_id = ?1 AND id = ?2 AND status = ?4";
    let (aborted, pending) = (DeferStatus::Aborted as u8, DeferStatus::AfterRun as u8);
    connection.prepare_cached(sql)?.execute(params![run.to_bytes(), id.as_str(), aborted, pending])?;
    Ok(())
}

/// Notes which event starts a deferred run.
pub(super) fn start_defer(connection: &Connection, run: RunId, id: &StepId, event: EventId) -> rusqlite::Result<()> {
    let sql = "UPDATE defers SET event_id = ?3 WHERE run_id = ?1 AND id = ?2";
    connection.prepare_cached(sql)?.execute(params![run.to_bytes(), id.as_str(), event.to_bytes()])?;
    Ok(())
}

pub(super) fn put_detail(
    connection: &Connection,
    run: RunId,
    step: &StepId,
    detail: &StepDetail,
) -> rusqlite::Result<()> {
    let sql = "INSERT OR IGNORE INTO details (run_id, step_id, detail) VALUES (?1,?2,?3)";
    let detail = codec::detail_bytes(detail);
    connection.prepare_cached(sql)?.execute(params![run.to_bytes(), step.as_str(), detail])?;
    Ok(())
}

/// Spans that do not fit are dropped: they never fail anything.
pub(super) fn put_spans(connection: &Connection, spans: &[UserSpan]) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(
        "INSERT OR REPLACE INTO user_spans (run_id, id, parent, step_id, attempt, name, started_ns, ended_ns, failed, \
         content) VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10)",
    )?;
    let mut count = connection.prepare_cached("SELECT count(*) FROM user_spans WHERE run_id = ?1")?;
    for spans in spans.chunk_by(|a, b| a.run == b.run) {
        let run = spans[0].run;
        let stored: i64 = count.query_row([run.to_bytes()], |row| row.get(0))?;
        let room = limits::SPANS_PER_RUN_MAX.saturating_sub(usize::try_from(stored).unwrap_or(usize::MAX));
        if room < spans.len() {
            let dropped = spans.len() - room;
            tracing::warn!(run_id = %run, dropped, "the run has all spans of user code that it may have");
        }
        for span in spans.iter().take(room) {
            statement.execute(params![
                run.to_bytes(),
                span.id,
                span.parent,
                span.step.as_ref().map(StepId::as_str),
                span.attempt,
                &*span.name,
                span.started_ns,
                span.ended_ns,
                span.failed,
                &span.content[..]
            ])?;
        }
    }
    Ok(())
}

/// A note that does not fit is dropped: notes never fail a run.
pub(super) fn put_metadata(connection: &Connection, metadata: &Metadata, seq: &mut i64) -> rusqlite::Result<()> {
    *seq += 1;
    let sql = "INSERT INTO metadata (run_id, seq, step_id, scope, kind, op, \"values\", at, attempt, span) \
               SELECT ?1,?2,?3,?4,?5,?6,?7,?8,?10,?11 WHERE length(?7) + \
               (SELECT coalesce(sum(length(\"values\")), 0) FROM metadata WHERE run_id = ?1) <= ?9";
    let added = connection.prepare_cached(sql)?.execute(params![
        metadata.run.to_bytes(),
        *seq,
        metadata.step.as_ref().map(StepId::as_str),
        &*metadata.scope,
        &*metadata.kind,
        &*metadata.op,
        &metadata.values[..],
        metadata.at.0,
        i64::try_from(limits::METADATA_OF_RUN_BYTES_MAX).unwrap_or(i64::MAX),
        metadata.attempt,
        metadata.span
    ])?;
    if added == 0 {
        tracing::warn!(run_id = %metadata.run, kind = %metadata.kind, "the run has all notes it may have; one is dropped");
    }
    Ok(())
}

pub(super) fn put_tick(connection: &Connection, tick: &Tick) -> rusqlite::Result<()> {
    let sql = "INSERT INTO ticks (function_id, schedule, at) VALUES (?1,?2,?3) \
               ON CONFLICT (function_id, schedule) DO UPDATE SET at = max(at, ?3)";
    connection.prepare_cached(sql)?.execute(params![tick.function.0.as_bytes(), &*tick.schedule, tick.at.0])?;
    Ok(())
}

pub(super) fn remove_tick(connection: &Connection, function: FunctionId, schedule: &str) -> rusqlite::Result<()> {
    let sql = "DELETE FROM ticks WHERE function_id = ?1 AND schedule = ?2";
    connection.execute(sql, params![function.0.as_bytes(), schedule])?;
    Ok(())
}

pub(super) fn put_cancellation(connection: &Connection, cancellation: &Cancellation) -> rusqlite::Result<()> {
    let sql = format!(
        "INSERT OR REPLACE INTO cancellations ({}) VALUES (?1,?2,?3,?4,?5,?6,?7,?8)",
        codec::CANCELLATION_COLUMNS
    );
    connection.execute(
        &sql,
        params![
            cancellation.id,
            cancellation.function.0.as_bytes(),
            cancellation.started_after.map(|at| at.0),
            cancellation.started_before.0,
            cancellation.condition,
            cancellation.created_at.0,
            cancellation.cursor.map(RunId::to_bytes),
            cancellation.done_at.map(|at| at.0)
        ],
    )?;
    Ok(())
}

/// A function that is registered anew keeps what an operator has stopped.
pub(super) fn put_hold(connection: &Connection, function: FunctionId, hold: Option<Hold>) -> rusqlite::Result<()> {
    let id = function.0.as_bytes();
    match hold {
        Some(hold) => {
            let sql = "INSERT OR REPLACE INTO holds (function_id, hold) VALUES (?1,?2)";
            connection.execute(sql, params![id, hold as u8])?;
        }
        None => {
            connection.execute("DELETE FROM holds WHERE function_id = ?1", [id])?;
        }
    }
    Ok(())
}

pub(super) fn put_document(connection: &Connection, name: &str, body: Option<&Payload>) -> rusqlite::Result<()> {
    match body {
        Some(body) => {
            connection
                .execute("INSERT OR REPLACE INTO documents (name, body) VALUES (?1,?2)", params![name, &body[..]])?;
        }
        None => {
            connection.execute("DELETE FROM documents WHERE name = ?1", [name])?;
        }
    }
    Ok(())
}
