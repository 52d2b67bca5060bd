//! `POST /e/{key}`: events come in, and are on disk when the answer goes out.
//!
//! All of a request is checked before any of it is accepted, and all of it is committed at once.

mod parse;
mod seed;
mod ts;

use std::fmt;

use axum::body::Body;
use axum::extract::State;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use inngest_core::canonical::JsonError;
use inngest_core::{Event, EventId, limits};
use inngest_state::StoreError;

use crate::Api;
use crate::body::{self, BodyError};

/// A body larger than this is parsed on a thread that may take its time.
const INLINE_BYTES_MAX: usize = 256 * 1024;

/// Bounds of one request.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// One event, in bytes of its JSON text.
    pub event_bytes_max: usize,
    /// Events of one request.
    pub events_max: usize,
    /// The decoded body.
    pub body_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            event_bytes_max: limits::EVENT_BYTES_MAX,
            events_max: limits::EVENTS_PER_REQUEST_MAX,
            body_bytes_max: limits::REQUEST_BODY_BYTES_MAX,
        }
    }
}

/// Why a request to the event API is refused. The texts are those SDKs and their tests compare.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EventError {
    #[error("Request body must contain an event object or an array of event objects")]
    NotEvents,
    #[error("{0}")]
    Json(JsonError),
    #[error("an event must be a JSON object")]
    NotAnObject,
    #[error("Cannot have more than {0} events in a batch")]
    TooMany(usize),
    #[error("Event is over the max size: Max {max} bytes / Size {size} bytes")]
    TooLarge { max: usize, size: usize },
    #[error("event name is empty")]
    NoName,
    #[error("event name is reserved for internal use: {0}")]
    Reserved(String),
    #[error("Event name cannot exceed {} characters", limits::EVENT_NAME_BYTES_MAX)]
    LongName,
    #[error("event {field} must be {expected}")]
    Type { field: &'static str, expected: &'static str },
    #[error("event ts must be Unix milliseconds or an RFC 3339 timestamp")]
    BadTs,
    #[error("timestamp is before Jan 1, 1980")]
    TooEarly,
    #[error("timestamp is after Jan 1, 2100")]
    TooLate,
    #[error("{0}")]
    Session(String),
    #[error("{0}")]
    Body(BodyError),
    #[error("Event key is required")]
    NoKey,
    #[error("Event key not found")]
    UnknownKey,
    #[error("{0}")]
    Store(String),
}

/// A refusal, and which event of several it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) error: EventError,
    pub(crate) index: Option<usize>,
}

impl From<EventError> for Refused {
    fn from(error: EventError) -> Self {
        Self { error, index: None }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl Refused {
    pub(crate) fn status(&self) -> u16 {
        match &self.error {
            EventError::Body(error) => error.status(),
            EventError::NoKey | EventError::UnknownKey => 401,
            EventError::Store(_) => 503,
            _ => 400,
        }
    }

    fn response(&self) -> Response<Body> {
        let text = serde_json::Value::from(self.to_string());
        // The text is the Go server's, which SDKs hand on to their users; which event it is about stands beside it.
        let event = self.index.map_or_else(String::new, |index| format!(",\"event\":{index}"));
        let json = format!("{{\"ids\":[],\"status\":{},\"error\":{text}{event}}}", self.status());
        let mut response = reply(self.status(), json);
        if let EventError::Store(_) = self.error {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

/// Whether a path belongs to the event API; the key is what follows.
pub(crate) fn key_of(path: &str) -> Option<&str> {
    if path == "/e" { Some("") } else { path.strip_prefix("/e/") }
}

/// Answers any request under `/e`.
pub(crate) async fn respond(api: &Api, key: &str, request: Request<Body>) -> Response<Body> {
    let (head, body) = request.into_parts();
    match (head.method, key) {
        (Method::POST, "") => Refused::from(EventError::NoKey).response(),
        (Method::POST, key) if !api.auth.accepts_event_key(key) => Refused::from(EventError::UnknownKey).response(),
        (Method::POST, _) => accepted(api, &head.headers, body).await,
        _ => crate::error::method_not_allowed("POST, OPTIONS"),
    }
}

/// `POST /v1/events`: as `/e/{key}`, with a signing key in place of an event key.
pub(crate) async fn post(State(api): State<Api>, headers: HeaderMap, body: Body) -> Response<Body> {
    accepted(&api, &headers, body).await
}

async fn accepted(api: &Api, headers: &HeaderMap, body: Body) -> Response<Body> {
    match accept(api, headers, body).await {
        Ok(ids) => reply(200, ids),
        Err(refused) => refused.response(),
    }
}

async fn accept(api: &Api, headers: &HeaderMap, body: Body) -> Result<String, Refused> {
    let limits = api.limits;
    let body = body::read(headers, body, limits.body_bytes_max).await.map_err(EventError::Body)?;
    let events = if body.len() <= INLINE_BYTES_MAX {
        parse_body(api, headers, &body)?
    } else {
        let (api, headers) = (api.clone(), headers.clone());
        let parsing = tokio::task::spawn_blocking(move || parse_body(&api, &headers, &body));
        parsing.await.map_err(|error| EventError::Store(error.to_string()))??
    };
    let ids = render_ids(&events);
    if !events.is_empty() {
        api.engine.accept(events).await.map_err(|error| store_error(&error))?;
    }
    Ok(ids)
}

/// The events of a body, checked and with their ids.
pub(crate) fn parse_body(api: &Api, headers: &HeaderMap, body: &Bytes) -> Result<Vec<Event>, Refused> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let form = parse::Form {
        lines: text("content-type").is_some_and(|kind| kind.starts_with("application/x-ndjson")),
        seed: text("x-inngest-event-id-seed"),
    };
    parse::events(body, form, api.limits, api.engine.ids())
}

/// One event as an object, checked as any other. The error is for the user.
pub(crate) fn one(api: &Api, body: &[u8]) -> Result<Event, String> {
    let events = parse::events(body, parse::Form::default(), api.limits, api.engine.ids());
    events.map_err(|refused| refused.to_string())?.pop().ok_or_else(|| EventError::NotEvents.to_string())
}

/// The id that the seed header gives to the only event of a request.
pub(crate) fn seeded_id(headers: &HeaderMap) -> Option<EventId> {
    let header = headers.get("x-inngest-event-id-seed").and_then(|value| value.to_str().ok())?;
    Some(seed::Seed::parse(header)?.id(0))
}

fn store_error(error: &StoreError) -> EventError {
    tracing::error!(%error, "events were refused because they could not be stored");
    EventError::Store(format!("events could not be stored: {error}"))
}

fn render_ids(events: &[Event]) -> String {
    let mut json = String::with_capacity(32 + 29 * events.len());
    json.push_str("{\"ids\":[");
    for (index, event) in events.iter().enumerate() {
        json.push_str(if index == 0 { "\"" } else { ",\"" });
        json.push_str(event.id.encode(&mut [0; ulid::ULID_LEN]));
        json.push('"');
    }
    json.push_str("],\"status\":200}");
    json
}

fn reply(status: u16, json: String) -> Response<Body> {
    let mut response = Response::new(Body::from(json));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
