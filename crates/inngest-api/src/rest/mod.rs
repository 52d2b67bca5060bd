//! REST v1: what happened, as JSON.

pub(crate) mod cancellations;
pub(crate) mod describe;
pub(crate) mod events;
pub(crate) mod explain;
pub(crate) mod explain_event;
pub(crate) mod flow_control;
pub(crate) mod functions;
pub(crate) mod gatherings;
pub(crate) mod metadata;
mod query;
pub(crate) mod reruns;
pub(crate) mod runs;
pub(crate) mod signals;
pub(crate) mod skips;
pub(crate) mod table;
mod wire;

use inngest_core::{Millis, limits};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::error::ApiError;

use wire::{Json, bare, envelope, paged};

/// The one account and environment there is.
pub(crate) const ENVIRONMENT: &str = "00000000-0000-4000-b000-000000000000";
pub(crate) const ACCOUNT: &str = "00000000-0000-4000-a000-000000000000";

/// What Inngest Cloud makes of requests of others.
pub(crate) async fn webhooks() -> ApiError {
    ApiError::new(501, "Webhooks are not available in this server")
}

/// A time as RFC 3339 in UTC, without trailing zeros.
pub(crate) fn rfc3339(at: Millis) -> String {
    let nanos = i128::from(at.0) * 1_000_000;
    let date = OffsetDateTime::from_unix_timestamp_nanos(nanos).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    date.format(&Rfc3339).unwrap_or_default()
}

/// When a job is due; `None` when the end of another run makes it so.
fn due(at: Millis) -> Option<String> {
    Some(at).filter(|at| !is_after_another(*at)).map(rfc3339)
}

/// Whether a job of this due time is the first one of a run that takes the place of another: no event puts off its run
/// so far.
pub(crate) fn is_after_another(due: Millis) -> bool {
    due.0 > limits::EVENT_TS_MAX
}

/// What Go prints for a time that is not set.
pub(crate) const ZERO_TIME: &str = "0001-01-01T00:00:00Z";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_utc_without_trailing_zeros() {
        let table = [
            (1_700_000_000_000, "2023-11-14T22:13:20Z"),
            (1_700_000_000_500, "2023-11-14T22:13:20.5Z"),
            (1_700_000_000_036, "2023-11-14T22:13:20.036Z"),
        ];
        for (at, text) in table {
            assert_eq!(rfc3339(Millis(at)), text);
        }
    }
}
