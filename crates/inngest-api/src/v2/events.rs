//! Events: one is sent, and those that came are looked at.

use http::Method;
use inngest_core::{EventId, canonical};
use inngest_state::StoreError;
use inngest_state::history::{EventFilter, EventRecord};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::endpoint::{Call, Endpoint};
use super::error::Error;
use super::runs::list::time;
use super::wire::{Int64, Many, Nothing, One, Part, Timestamp, raw};
use crate::events::{self, EventError, Refused};

pub(super) fn endpoints() -> Vec<Endpoint> {
    let endpoints = [
        Endpoint::send("SendEvent", Method::POST, "/events", "Sends an event", send)
            .header(
                "X-Inngest-Event-Id-Seed",
                "What the id of the event is made from; the same seed stores one event once.",
            )
            .body_bytes_max(|api| api.limits.event_bytes_max)
            .cli("send-event"),
        Endpoint::get("ListEvents", "/events", "Lists events, newest first", list)
            .cli("get-events")
            .tool("list_events", "List events"),
        Endpoint::get("GetEvent", "/events/{eventId}", "Gets an event", get)
            .error(404, "There is no such event.")
            .cli("get-event")
            .tool("get_event", "Get event"),
    ];
    endpoints.into_iter().map(|endpoint| endpoint.group("Events")).collect()
}

/// An event to be sent.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct NewEvent {
    /// What happened: which functions it starts.
    #[schemars(required, with = "String")]
    name: Option<Box<RawValue>>,
    /// What functions receive, an object.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Map<String, Value>>")]
    data: Option<Box<RawValue>>,
    /// Whom it is about, an object.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Map<String, Value>>")]
    user: Option<Box<RawValue>>,
    /// Within 24 hours, a function is started once by events with the same id.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    id: Option<Box<RawValue>>,
    /// When it happened: milliseconds since 1970 as number or text, or RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Ts>")]
    ts: Option<Box<RawValue>>,
}

/// A time.
#[derive(JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
#[expect(dead_code, reason = "only its schema is looked at")]
enum Ts {
    Number(i64),
    Text(String),
}

/// An event that was stored.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "EventId")]
struct Sent {
    /// Its ULID.
    event_id: String,
}

/// An event.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Event {
    /// Its ULID.
    id: String,
    /// What happened.
    name: String,
    /// What functions receive.
    #[schemars(with = "Map<String, Value>")]
    data: Box<RawValue>,
    /// Whom it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Map<String, Value>>")]
    user: Option<Box<RawValue>>,
    /// When it happened, in milliseconds since 1970.
    ts: Int64,
    /// When it was received.
    received_at: Timestamp,
    /// Its id as its sender gave it.
    #[serde(skip_serializing_if = "Option::is_none")]
    idempotency_key: Option<String>,
    /// Version of its data.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    v: Option<Box<RawValue>>,
}

/// Which events.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct List {
    /// Only events of these names.
    #[serde(default)]
    name: Vec<String>,
    /// Only events that were received then or later.
    #[schemars(extend("format" = "date-time"))]
    from: Option<String>,
    /// Only events that were received then or earlier.
    #[schemars(extend("format" = "date-time"))]
    until: Option<String>,
    /// Also the events that the server itself makes.
    #[serde(default)]
    include_internal: bool,
    #[serde(flatten)]
    part: Part,
}

/// Which event.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Get {
    /// Its ULID, as the event API returned it.
    event_id: String,
}

async fn send(Call { api, headers, body, .. }: Call<Nothing, NewEvent>) -> Result<One<Sent>, Error> {
    let json = serde_json::to_vec(&body).map_err(|error| Error::unreadable(error.to_string()))?;
    let mut events = events::parse_body(&api, &headers, &json.into()).map_err(|Refused { error, .. }| error)?;
    let event = events.pop().ok_or(EventError::NotEvents)?;
    let id = event.id;
    api.engine.accept(vec![event]).await?;
    Ok(One::of(&api, Sent { event_id: id.to_string() }))
}

async fn list(Call { api, parameters, .. }: Call<List>) -> Result<Many<Event>, Error> {
    let limit = parameters.part.limit()?;
    let names_internal = parameters.name.iter().any(|name| inngest_core::event::is_internal(name));
    let cursor = parameters.part.cursor.as_deref().map(str::parse).transpose();
    let filter = EventFilter {
        names: parameters.name,
        received_after: time("from", parameters.from.as_deref())?,
        received_before: time("until", parameters.until.as_deref())?,
        include_internal: parameters.include_internal || names_internal,
        cursor: cursor.map_err(|_| Error::bad_field("Cursor is invalid"))?,
        limit: limit + 1,
    };
    let mut events = api.engine.history().events(filter).await?;
    let more = events.len() > limit;
    events.truncate(limit);
    let cursor = events.last().filter(|_| more).map(|record| record.event.id.to_string());
    Ok(Many::page(&api, events.iter().map(render).collect(), limit, cursor))
}

async fn get(Call { api, parameters, .. }: Call<Get>) -> Result<One<Event>, Error> {
    let id = parse_id(&parameters.event_id)?;
    let record = api.engine.history().event(id).await?.ok_or_else(|| Error::not_found("Event not found"))?;
    Ok(One::of(&api, render(&record)))
}

pub(super) fn parse_id(text: &str) -> Result<EventId, Error> {
    text.parse().map_err(|_| Error::bad_field("Event ID must be a valid ULID"))
}

fn render(record: &EventRecord) -> Event {
    let event = &record.event;
    let mut shown = Event {
        id: event.id.to_string(),
        name: event.name.to_string(),
        data: raw(b"{}"),
        user: None,
        ts: Int64(event.ts.0),
        received_at: Timestamp(event.id.timestamp()),
        idempotency_key: event.external_id.as_deref().map(str::to_owned),
        v: None,
    };
    for (key, value) in canonical::fields(&record.body) {
        match key.as_ref() {
            "data" => shown.data = raw(value),
            "user" if value != b"{}" => shown.user = Some(raw(value)),
            "v" => shown.v = Some(raw(value)),
            _ => {}
        }
    }
    shown
}

impl From<EventError> for Error {
    fn from(error: EventError) -> Self {
        let text = error.to_string();
        match error {
            EventError::NoName => Self::missing("Event name is required"),
            EventError::TooEarly | EventError::TooLate | EventError::TooLarge { .. } => {
                Self::new(400, "validation_error", text)
            }
            EventError::Reserved(_) | EventError::LongName | EventError::Type { .. } | EventError::BadTs => {
                Self::bad_field(text)
            }
            EventError::Body(error) => error.into(),
            EventError::Store(text) => StoreError::Other(text).into(),
            _ => Self::invalid(text),
        }
    }
}
