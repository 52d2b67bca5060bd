//! An accepted event.

use std::sync::Arc;

use crate::{EventId, Millis, Payload, RunId, canonical};

/// An accepted event: what the store keeps and what functions receive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Internal id, returned by the event API.
    pub id: EventId,
    /// Event name, matched against triggers.
    pub name: Arc<str>,
    /// `id` as the sender gave it; the idempotency key. `None` when it gave none.
    pub external_id: Option<Arc<str>>,
    /// Event time in milliseconds; starts a run later when it lies in the future.
    pub ts: Millis,
    /// What the event says.
    pub body: EventBody,
}

/// Where the content of an event is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventBody {
    /// The event object exactly as SDKs receive it, canonical:
    /// `{"data":{},"id":"..","name":"..","ts":0,"user":{}}` and, when set, `meta` and `v`.
    Stored(Payload),
    /// A lifecycle event (`inngest/function.finished`, `.failed`, `.cancelled`): its content is
    /// derived from this run's row at read time, so that outputs are stored once.
    Lifecycle(RunId),
}

/// The members of an event object, each but the names canonical JSON.
#[derive(Clone, Copy, Debug)]
pub struct Content<'a> {
    /// `data`, an object.
    pub data: &'a [u8],
    /// `id`, the sender's or our own.
    pub id: &'a str,
    /// `meta`, an object.
    pub meta: Option<&'a [u8]>,
    /// `name`.
    pub name: &'a str,
    /// `ts`.
    pub ts: Millis,
    /// `user`, an object.
    pub user: &'a [u8],
    /// `v`, a string.
    pub v: Option<&'a [u8]>,
}

impl Content<'_> {
    /// The event object as SDKs receive it (canonical).
    #[must_use]
    pub fn render(&self) -> Payload {
        let mut out = Vec::with_capacity(self.data.len() + self.user.len() + self.name.len() + 128);
        out.extend_from_slice(b"{\"data\":");
        out.extend_from_slice(self.data);
        out.extend_from_slice(b",\"id\":");
        canonical::write_string(&mut out, self.id);
        if let Some(meta) = self.meta {
            out.extend_from_slice(b",\"meta\":");
            out.extend_from_slice(meta);
        }
        out.extend_from_slice(b",\"name\":");
        canonical::write_string(&mut out, self.name);
        out.extend_from_slice(b",\"ts\":");
        out.extend_from_slice(self.ts.0.to_string().as_bytes());
        out.extend_from_slice(b",\"user\":");
        out.extend_from_slice(self.user);
        if let Some(v) = self.v {
            out.extend_from_slice(b",\"v\":");
            out.extend_from_slice(v);
        }
        out.push(b'}');
        out.into()
    }
}

/// Names of the events the server itself makes start with this, and senders may not use it.
pub const INTERNAL_PREFIX: &str = "inngest/";
/// Every run end.
pub const FUNCTION_FINISHED: &str = "inngest/function.finished";
/// A run that failed.
pub const FUNCTION_FAILED: &str = "inngest/function.failed";
/// A run that was cancelled.
pub const FUNCTION_CANCELLED: &str = "inngest/function.cancelled";
/// One function calls another.
pub const FUNCTION_INVOKED: &str = "inngest/function.invoked";
/// A schedule fires.
pub const SCHEDULED_TIMER: &str = "inngest/scheduled.timer";
/// A run that another one asked for before it ended.
pub const DEFERRED_SCHEDULE: &str = "inngest/deferred.schedule";

/// Whether `name` is reserved for events of the server; letter case does not matter.
#[must_use]
pub fn is_internal(name: &str) -> bool {
    name.len() >= INTERNAL_PREFIX.len()
        && name.as_bytes()[..INTERNAL_PREFIX.len()].eq_ignore_ascii_case(INTERNAL_PREFIX.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::is_internal;

    #[test]
    fn reserved_names_are_found_in_any_letter_case() {
        for (name, internal) in
            [("inngest/x", true), ("INNGEST/x", true), ("inngestx/y", false), ("inngest", false), ("é/x", false)]
        {
            assert_eq!(is_internal(name), internal, "{name}");
        }
    }
}
