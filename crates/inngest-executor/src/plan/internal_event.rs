//! The events that the server itself makes, besides those that tell of the end of a run.

use inngest_core::event::{
    Content, DEFERRED_SCHEDULE, EventBody, FUNCTION_FINISHED, FUNCTION_INVOKED, SCHEDULED_TIMER,
};
use inngest_core::{Event, EventId, Function, Ids, Millis, Payload, canonical};
use inngest_state::{Defer, RunState};
use serde_json::{Value, json};

/// What an invocation passes on to the function it starts; each member canonical JSON.
#[derive(Clone, Debug, Default)]
pub struct Invocation {
    /// `data`, an object; `None` for none.
    pub data: Option<Payload>,
    /// `user`, an object.
    pub user: Option<Payload>,
    /// `meta`, an object.
    pub meta: Option<Payload>,
    /// `v`, a string.
    pub v: Option<Payload>,
    /// `id` as the caller gave it.
    pub external_id: Option<String>,
    /// `ts` as the caller gave it.
    pub ts: Option<Millis>,
}

/// `inngest/function.invoked`. `own` becomes `data._inngest`.
#[must_use]
pub fn invoked(id: EventId, invocation: &Invocation, own: &Value, now: Millis) -> Event {
    let data = with_own(invocation.data.as_deref().unwrap_or(b"{}"), own);
    let external_id = invocation.external_id.clone();
    let ts = invocation.ts.unwrap_or(now);
    let own_id = id.to_string();
    let content = Content {
        data: &data,
        id: external_id.as_deref().unwrap_or(&own_id),
        meta: invocation.meta.as_deref(),
        name: FUNCTION_INVOKED,
        ts,
        user: invocation.user.as_deref().unwrap_or(b"{}"),
        v: invocation.v.as_deref(),
    };
    let body = EventBody::Stored(content.render());
    Event { id, name: FUNCTION_INVOKED.into(), external_id: external_id.map(Into::into), ts, body }
}

/// `inngest/function.finished` for a function that could not be started.
#[must_use]
pub fn not_started(message: &str, correlation_id: Option<&str>, ids: &Ids, now: Millis) -> Event {
    let mut data = json!({ "error": { "message": message, "name": "Error" }, "function_id": "", "run_id": "" });
    if let Some(id) = correlation_id {
        data["correlation_id"] = id.into();
    }
    event(FUNCTION_FINISHED, None, &canonical_of(&data), None, ids, now)
}

/// `inngest/scheduled.timer`: a schedule fires at `now` for the time `at`.
#[must_use]
pub fn scheduled(schedule: &str, at: Millis, ids: &Ids, now: Millis) -> Event {
    let data = json!({ "cron": schedule, "fireAt": rfc3339(now), "scheduledAt": rfc3339(at) });
    event(SCHEDULED_TIMER, Some(rfc3339(at)), &canonical_of(&data), None, ids, now)
}

/// `inngest/deferred.schedule`: a run has ended that asked for another one.
#[must_use]
pub fn deferred(defer: &Defer, parent: &RunState, function: Option<&Function>, ids: &Ids, now: Millis) -> Event {
    let own = json!({
        "fn_slug": *defer.function,
        "parent_app_id": function.map_or_else(String::new, |function| function.app.to_string()),
        "parent_defer_span": { "dsid": "", "dstp": "", "tp": "", "ts": "" },
        "parent_fn_id": parent.function.to_string(),
        "parent_fn_slug": function.map_or("", |function| &*function.slug),
        "parent_run_id": parent.id.to_string(),
    });
    let data = with_own(&defer.input, &own);
    event(DEFERRED_SCHEDULE, None, &data, defer.meta.as_deref(), ids, now)
}

fn event(name: &str, external_id: Option<String>, data: &[u8], meta: Option<&[u8]>, ids: &Ids, now: Millis) -> Event {
    let id = ids.event(now);
    let own_id = id.to_string();
    let id_text = external_id.as_deref().unwrap_or(&own_id);
    let content = Content { data, id: id_text, meta, name, ts: now, user: b"{}", v: None };
    let body = EventBody::Stored(content.render());
    Event { id, name: name.into(), external_id: external_id.map(Into::into), ts: now, body }
}

/// The object with the member `_inngest`; what a sender gave under that name is dropped.
fn with_own(data: &[u8], own: &Value) -> Vec<u8> {
    const OWN: &str = "_inngest";
    let mut members: Vec<(String, &[u8])> =
        canonical::fields(data).map(|(key, value)| (key.into_owned(), value)).filter(|(key, _)| key != OWN).collect();
    let own = canonical_of(own);
    members.push((OWN.to_owned(), &own));
    members.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
    let mut out = Vec::with_capacity(data.len() + own.len() + 16);
    out.push(b'{');
    for (index, (key, value)) in members.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        canonical::write_string(&mut out, key);
        out.push(b':');
        out.extend_from_slice(value);
    }
    out.push(b'}');
    out
}

fn canonical_of(value: &Value) -> Vec<u8> {
    canonical::canonicalise(value.to_string().as_bytes(), canonical::Numbers::Exact).expect("serde_json writes JSON")
}

/// A time in whole seconds, as Go prints it.
fn rfc3339(at: Millis) -> String {
    use time::format_description::well_known::Rfc3339;
    let date = time::OffsetDateTime::from_unix_timestamp(at.0.div_euclid(1_000));
    date.ok().and_then(|date| date.format(&Rfc3339).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_keeps_what_the_caller_gave_except_our_own_member() {
        let data = with_own(br#"{"Z":1,"_inngest":{"fn_id":"forged"},"a":[]}"#, &json!({ "fn_id": "x" }));
        assert_eq!(String::from_utf8(data).unwrap(), r#"{"Z":1,"_inngest":{"fn_id":"x"},"a":[]}"#);
    }

    #[test]
    fn ticks_are_named_by_their_whole_second() {
        assert_eq!(rfc3339(Millis(1_700_000_000_999)), "2023-11-14T22:13:20Z");
    }
}
