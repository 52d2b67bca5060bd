//! The content of `inngest/function.finished`, `.failed` and `.cancelled`, derived from a run.

use inngest_core::{Event, Payload, RunId, RunStatus, canonical, event};

use crate::transition::correlation_ids;

/// What a lifecycle event tells about a run.
#[derive(Clone, Copy, Debug)]
pub struct Ended<'a> {
    /// Which run.
    pub run: RunId,
    /// Slug of its function.
    pub function_slug: &'a str,
    /// A final status.
    pub status: RunStatus,
    /// What it returned, or the raw error body.
    pub output: Option<&'a Payload>,
    /// Normalised error.
    pub error: Option<&'a Payload>,
    /// The events that started it, as SDKs receive them.
    pub events: &'a [Payload],
    /// Set when another run waits for it.
    pub correlation_id: Option<&'a str>,
}

/// The event object of a lifecycle event as SDKs receive it (canonical).
#[must_use]
pub fn body(event: &Event, ended: &Ended<'_>) -> Payload {
    let room: usize = ended.events.iter().map(Payload::len).sum();
    let mut out = Vec::with_capacity(384 + 2 * room + ended.output.map_or(0, Payload::len));
    out.extend_from_slice(b"{\"data\":{\"_inngest\":{\"status\":\"");
    out.extend_from_slice(ended.status.as_str().as_bytes());
    out.extend_from_slice(b"\"}");
    if let Some(id) = ended.correlation_id.and_then(|ids| correlation_ids(ids).into_iter().next()) {
        out.extend_from_slice(b",\"correlation_id\":");
        canonical::write_string(&mut out, id);
    }
    let failed = ended.status == RunStatus::Failed;
    if let Some(error) = ended.error.filter(|_| failed) {
        out.extend_from_slice(b",\"error\":");
        out.extend_from_slice(error);
    }
    if let Some(first) = ended.events.first() {
        out.extend_from_slice(b",\"event\":");
        out.extend_from_slice(first);
    }
    out.extend_from_slice(b",\"events\":[");
    for (index, event) in ended.events.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(event);
    }
    out.extend_from_slice(b"],\"function_id\":");
    canonical::write_string(&mut out, ended.function_slug);
    if let Some(output) = ended.output.filter(|_| ended.status != RunStatus::Cancelled) {
        out.extend_from_slice(b",\"result\":");
        out.extend_from_slice(output);
    }
    out.extend_from_slice(b",\"run_id\":\"");
    push_display(&mut out, &ended.run);
    out.extend_from_slice(b"\"},\"id\":");
    match &event.external_id {
        Some(id) => canonical::write_string(&mut out, id),
        None => canonical::write_string(&mut out, &event.id.to_string()),
    }
    // Sessions go from event to event.
    if let Some(meta) = ended.events.first().and_then(|first| member(first, "meta")) {
        out.extend_from_slice(b",\"meta\":");
        out.extend_from_slice(meta);
    }
    out.extend_from_slice(b",\"name\":");
    canonical::write_string(&mut out, &event.name);
    out.extend_from_slice(b",\"ts\":");
    push_display(&mut out, &event.ts);
    out.extend_from_slice(b",\"user\":{}}");
    out.into()
}

fn member<'e>(object: &'e [u8], name: &str) -> Option<&'e [u8]> {
    canonical::fields(object).find(|(key, _)| key == name).map(|(_, value)| value)
}

/// The lifecycle event that goes with every status, next to `inngest/function.finished`.
#[must_use]
pub fn second_event(status: RunStatus) -> Option<&'static str> {
    match status {
        RunStatus::Failed => Some(event::FUNCTION_FAILED),
        RunStatus::Cancelled => Some(event::FUNCTION_CANCELLED),
        RunStatus::Running | RunStatus::Completed | RunStatus::Scheduled | RunStatus::Skipped => None,
    }
}

/// Whether a run started by an event of this name emits lifecycle events: not one that itself tells of an end.
#[must_use]
pub fn emits(trigger_event: &str) -> bool {
    trigger_event != event::FUNCTION_FINISHED && trigger_event != event::FUNCTION_FAILED
}

fn push_display(out: &mut Vec<u8>, value: &dyn std::fmt::Display) {
    use std::io::Write as _;
    write!(out, "{value}").expect("writing to a Vec cannot fail");
}

#[cfg(test)]
mod tests {
    use inngest_core::event::EventBody;
    use inngest_core::{EventId, Millis};

    use super::*;

    #[test]
    fn the_first_of_those_who_wait_is_told_whole() {
        let run = RunId::from_bytes([1; 16]);
        let event = Event {
            id: EventId::from_bytes([2; 16]),
            name: event::FUNCTION_FINISHED.into(),
            external_id: None,
            ts: Millis(3),
            body: EventBody::Lifecycle(run),
        };
        let first = format!("{run}.a,b");
        let ids = format!("{first},{run}.c");
        let ended = Ended {
            run,
            function_slug: "app-f",
            status: RunStatus::Completed,
            output: None,
            error: None,
            events: &[],
            correlation_id: Some(&ids),
        };
        let body: serde_json::Value = serde_json::from_slice(&body(&event, &ended)).unwrap();
        assert_eq!(body["data"]["correlation_id"], first);
    }
}
