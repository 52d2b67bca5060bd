//! Reads of keys of idempotency.

use inngest_core::limits::IDEMPOTENCY_PERIOD;
use inngest_core::{EventId, FunctionId, Millis};
use rusqlite::OptionalExtension as _;

use super::lists::{id_range, id_value};
use super::read::Reader;
use crate::StoreError;
use crate::history::Between;

impl Reader<'_> {
    /// The event that has taken a key of a function.
    pub(super) fn keyed_event(
        &self,
        function: FunctionId,
        key: &str,
        now: Millis,
    ) -> Result<Option<EventId>, StoreError> {
        let sql = "SELECT expires_at FROM idempotency WHERE function_id = ?1 AND key = ?2 AND expires_at > ?3";
        let mut statement = self.db.prepare_cached(sql)?;
        let expires_at = statement.query_row((function.0.as_bytes(), key, now.0), |row| row.get(0)).optional()?;
        let Some(expires_at) = expires_at.map(|at: i64| at) else { return Ok(None) };
        // The key does not name its event, but tells when it was received.
        let period = i64::try_from(IDEMPOTENCY_PERIOD.as_millis()).unwrap_or(i64::MAX);
        let received = Millis(expires_at.saturating_sub(period));
        let sql = "SELECT id FROM events WHERE id BETWEEN ?1 AND ?2 AND external_id = ?3 ORDER BY id LIMIT 1";
        let mut statement = self.db.prepare_cached(sql)?;
        let (first, last) = id_range(Between { after: Some(received), before: Some(received) });
        let within = (id_value(first), id_value(last), key);
        Ok(statement.query_row(within, |row| row.get(0)).optional()?.map(EventId::from_bytes))
    }
}
