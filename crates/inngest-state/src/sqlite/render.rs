//! The content of events: stored, or derived from a run.

use inngest_core::event::EventBody;
use inngest_core::{Event, Payload, RunId};
use rusqlite::{Connection, OptionalExtension as _};

use super::codec;
use crate::lifecycle::{self, Ended};

/// Lifecycle events tell of runs that were started by events, which may be lifecycle events themselves
/// (only `inngest/function.cancelled` and `.invoked` can begin such a chain, so it is short).
const DEPTH_MAX: u32 = 16;

/// The event object as SDKs receive it.
pub(super) fn body(db: &Connection, event: &Event) -> rusqlite::Result<Payload> {
    at_depth(db, event, 0)
}

fn at_depth(db: &Connection, event: &Event, depth: u32) -> rusqlite::Result<Payload> {
    match &event.body {
        EventBody::Stored(body) => Ok(body.clone()),
        EventBody::Lifecycle(run) => lifecycle_body(db, event, *run, depth),
    }
}

fn lifecycle_body(db: &Connection, event: &Event, run: RunId, depth: u32) -> rusqlite::Result<Payload> {
    let mut statement = db.prepare_cached(
        "SELECT r.status, r.output, r.error, r.correlation_id, r.event_ids, f.slug \
         FROM runs r LEFT JOIN functions f ON f.id = r.function_id WHERE r.id = ?1",
    )?;
    let row = statement
        .query_row([run.to_bytes()], |row| {
            Ok((
                codec::status(row, 0)?,
                codec::payload(row, 1)?,
                codec::payload(row, 2)?,
                row.get::<_, Option<String>>(3)?,
                codec::event_ids(row, 4)?,
                row.get::<_, Option<String>>(5)?,
            ))
        })
        .optional()?;
    // A run that was removed by retention leaves an event that tells nothing but its name.
    let Some((status, output, error, correlation_id, event_ids, slug)) = row else { return Ok(Payload::from("{}")) };
    let mut events = Vec::with_capacity(event_ids.len());
    for id in event_ids.into_iter().filter(|_| depth < DEPTH_MAX) {
        if let Some((trigger, _)) = find(db, id)? {
            events.push(at_depth(db, &trigger, depth + 1)?);
        }
    }
    let ended = Ended {
        run,
        function_slug: slug.as_deref().unwrap_or_default(),
        status,
        output: output.as_ref(),
        error: error.as_ref(),
        events: &events,
        correlation_id: correlation_id.as_deref(),
    };
    Ok(lifecycle::body(event, &ended))
}

/// One event and the runs it started.
pub(super) fn find(db: &Connection, id: inngest_core::EventId) -> rusqlite::Result<Option<(Event, Vec<RunId>)>> {
    let sql = format!("SELECT {} FROM events WHERE id = ?1", codec::EVENT_COLUMNS);
    db.prepare_cached(&sql)?.query_row([id.to_bytes()], codec::event).optional()
}
