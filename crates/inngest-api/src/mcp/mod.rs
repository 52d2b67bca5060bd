//! `/mcp`: what coding assistants ask of this server, through the Model Context Protocol over streamable HTTP.
//!
//! Every answer is plain JSON, and the server never speaks first: there is no stream to listen to. That, and the texts
//! and codes that clients know, are the reason for a JSON-RPC of our own ([`rpc`], a page) in place of the crate `rmcp`,
//! whose transport answers with event streams and keeps a task and a queue for each session. Clients that prefer the
//! protocol without sessions (2026) ask for it first, and fall back to the handshake that is spoken here.
//!
//! The tools are those operations of REST v2 that name one, and the [`Native`] ones.

mod docs;
mod invoke;
mod native;
mod operate;
mod rpc;
mod send;
mod sessions;
mod status;
#[cfg(test)]
mod tests;
mod tools;
mod wait;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::IntoResponse as _;
use axum::routing::get;
use axum::{Extension, Router};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use crate::body::BodyError;
use crate::error::{method_not_allowed, raw_json};
use crate::{Api, body};
pub(crate) use native::{Native, natives};
use rpc::{Error, Message, Request};
use sessions::Sessions;
use wait::Waits;

/// Versions of the protocol that are spoken, newest first.
const VERSIONS: [&str; 4] = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];

const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");

/// What a message may have around the largest arguments of a tool.
const AROUND_BYTES_MAX: usize = 16 * 1024;

/// What is known of clients. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Mcp {
    sessions: Arc<Sessions>,
    waits: Waits,
}

/// `/mcp`.
pub(crate) fn router() -> Router<Api> {
    Router::new().route("/mcp", get(listen).post(post).delete(close)).layer(Extension(Mcp::default()))
}

/// Why a request is not even looked into; answered in plain text.
struct Refused(u16, String);

impl Refused {
    fn render(self) -> Response<Body> {
        let status = StatusCode::from_u16(self.0).unwrap_or(StatusCode::BAD_REQUEST);
        (status, [(header::CACHE_CONTROL, "no-store")], self.1).into_response()
    }
}

impl From<BodyError> for Refused {
    fn from(error: BodyError) -> Self {
        Self(error.status(), error.to_string())
    }
}

async fn post(
    State(api): State<Api>,
    Extension(mcp): Extension<Mcp>,
    headers: HeaderMap,
    body: Body,
) -> Response<Body> {
    Box::pin(exchange(&api, &mcp, &headers, body)).await.unwrap_or_else(Refused::render)
}

/// A stream for what the server says unasked. It says nothing; clients know by 405 that there is none.
async fn listen(State(api): State<Api>, Extension(mcp): Extension<Mcp>, headers: HeaderMap) -> Response<Body> {
    match existing_session(&api, &mcp, &headers, "GET") {
        Ok(_) => method_not_allowed("POST, DELETE"),
        Err(refused) => refused.render(),
    }
}

async fn close(State(api): State<Api>, Extension(mcp): Extension<Mcp>, headers: HeaderMap) -> Response<Body> {
    match existing_session(&api, &mcp, &headers, "DELETE") {
        Ok(session) => {
            mcp.sessions.close(session);
            StatusCode::NO_CONTENT.into_response()
        }
        Err(refused) => refused.render(),
    }
}

/// The session that a request belongs to, which must be there if it is named.
fn session<'h>(api: &Api, mcp: &Mcp, headers: &'h HeaderMap) -> Result<Option<&'h str>, Refused> {
    let Some(named) = headers.get(SESSION) else { return Ok(None) };
    let id = named.to_str().ok().filter(|id| mcp.sessions.touch(id, api.engine.ids().now()));
    id.map(Some).ok_or_else(|| Refused(404, "session not found".to_owned()))
}

fn existing_session<'h>(api: &Api, mcp: &Mcp, headers: &'h HeaderMap, method: &str) -> Result<&'h str, Refused> {
    session(api, mcp, headers)?
        .ok_or_else(|| Refused(400, format!("Bad Request: {method} requires an Mcp-Session-Id header")))
}

async fn exchange(api: &Api, mcp: &Mcp, headers: &HeaderMap, body: Body) -> Result<Response<Body>, Refused> {
    if !media_types(headers, header::CONTENT_TYPE).any(|media_type| media_type.eq_ignore_ascii_case("application/json"))
    {
        return Err(Refused(415, "Content-Type must be 'application/json'".to_owned()));
    }
    if !accepts(headers, "application/json") || !accepts(headers, "text/event-stream") {
        let text = "Accept must contain both 'application/json' and 'text/event-stream'";
        return Err(Refused(400, text.to_owned()));
    }
    let session = session(api, mcp, headers)?;
    let version = headers.get(VERSION).filter(|_| session.is_some());
    if version.is_some_and(|asked| VERSIONS.iter().all(|known| asked != known)) {
        let known = VERSIONS.join(", ");
        return Err(Refused(400, format!("Bad Request: Unsupported protocol version (supported versions: {known})")));
    }
    let body = body::read(headers, body, body_bytes_max(api)).await?;
    let request = match Message::parse(&body) {
        Ok(Message::Request(request)) => request,
        Ok(Message::Notice) => return Ok(StatusCode::ACCEPTED.into_response()),
        Err(error) => return Ok(raw_json(400, rpc::reply(None, Err(&error)))),
    };
    let (is_initialize, has_session) = (request.method == "initialize", session.is_some());
    let result = match session {
        None if is_initialize => initialize(&request),
        None if request.method != "ping" => {
            let text = format!("method {:?} is invalid during session initialization", request.method);
            Err(Error::invalid_request(text))
        }
        _ => answer(api, mcp, headers, &request).await,
    };
    let mut response = raw_json(200, rpc::reply(Some(request.id), result.as_deref()));
    if is_initialize && !has_session && result.is_ok() {
        let ids = api.engine.ids();
        let id = format!("{:016x}{:016x}", ids.random(), ids.random());
        if let Ok(value) = HeaderValue::from_str(&id) {
            response.headers_mut().insert(SESSION, value);
        }
        mcp.sessions.open(id, ids.now());
    }
    Ok(response)
}

/// The largest arguments are those of an event, and of a step that runs again.
fn body_bytes_max(api: &Api) -> usize {
    api.limits.event_bytes_max.max(inngest_core::limits::STEP_INPUT_BYTES_MAX) + AROUND_BYTES_MAX
}

/// The media types of a header, without their parameters.
fn media_types(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).filter_map(|item| item.split(';').next()).map(str::trim)
}

fn accepts(headers: &HeaderMap, wanted: &str) -> bool {
    let (kind, _) = wanted.split_once('/').unwrap_or((wanted, ""));
    media_types(headers, header::ACCEPT).any(|accepted| {
        let of_kind = || accepted.strip_suffix("/*").is_some_and(|accepted| accepted.eq_ignore_ascii_case(kind));
        accepted == "*/*" || accepted.eq_ignore_ascii_case(wanted) || of_kind()
    })
}

type Answer = Result<Box<RawValue>, Error>;

async fn answer(api: &Api, mcp: &Mcp, headers: &HeaderMap, request: &Request<'_>) -> Answer {
    match &*request.method {
        "ping" => rpc::result(&json!({})),
        "tools/list" => tools::list(),
        "tools/call" => tools::call(api, mcp, headers, request).await,
        "logging/setLevel" => set_level(request),
        "initialize" => Err(Error::invalid_request("the session is initialized already")),
        unknown => Err(Error::unknown_method(unknown)),
    }
}

/// Agrees on a version: that of the client if it is known, else the newest.
fn initialize(request: &Request<'_>) -> Answer {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Params {
        protocol_version: String,
    }
    let Params { protocol_version } = request.params()?;
    let version = VERSIONS.into_iter().find(|known| *known == protocol_version).unwrap_or(VERSIONS[0]);
    rpc::result(&json!({
        "capabilities": { "logging": {}, "tools": {} },
        "protocolVersion": version,
        "serverInfo": { "name": "inngest-dev", "title": "Inngest Dev Server MCP Tools", "version": "v1.0.0" },
    }))
}

/// No level makes the server speak; but one that does not exist is refused.
fn set_level(request: &Request<'_>) -> Answer {
    #[derive(Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Level {
        Debug,
        Info,
        Notice,
        Warning,
        Error,
        Critical,
        Alert,
        Emergency,
    }
    #[derive(Deserialize)]
    struct Params {
        #[serde(rename = "level")]
        _level: Level,
    }
    request.params::<Params>()?;
    rpc::result(&json!({}))
}
