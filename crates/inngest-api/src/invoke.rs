//! `POST /invoke/{slug}`: runs a function whatever its triggers.

use axum::body::Body;
use axum::extract::State;
use http::{HeaderMap, Response};
use inngest_core::event::EventBody;
use inngest_core::{Payload, canonical};
use inngest_executor::engine::InvokeError;
use inngest_executor::plan::internal_event::Invocation;
use serde_json::json;

use crate::error::{ApiError, json_reply};
use crate::events;
use crate::paths::Path;
use crate::{Api, body};

pub(crate) async fn invoke(
    State(api): State<Api>,
    Path(slug): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response<Body>, ApiError> {
    let body = body::read_whole(&headers, body, api.limits.event_bytes_max).await?;
    let invocation = invocation(&api, &body)?;
    let seeded = events::seeded_id(&headers);
    let (event, run) = api.engine.invoke(&slug, &invocation, seeded).await.map_err(|error| match error {
        InvokeError::NotFound(_) => ApiError::not_found(error.to_string()),
        InvokeError::Store(error) => error.into(),
    })?;
    let runs: Vec<String> = run.iter().map(ToString::to_string).collect();
    Ok(json_reply(200, &json!({ "id": event.to_string(), "status": 200, "run_ids": runs })))
}

/// The body is that of an event; its name does not matter.
fn invocation(api: &Api, body: &[u8]) -> Result<Invocation, ApiError> {
    let unreadable = || ApiError::bad_request("Unable to read post data request");
    let object = canonical::canonical_object(body, canonical::Numbers::Exact, Some("name"));
    let object = object.ok().flatten().ok_or_else(unreadable)?;
    let data = canonical::fields(&object).find(|(key, _)| key == "data").map(|(_, data)| data);
    if data.is_some_and(|data| data.first() != Some(&b'{')) {
        return Err(unreadable());
    }
    // The rest is checked as that of any event, under a name that any event may have.
    let mut named = b"{\"name\":\"invoke\",".to_vec();
    named.extend_from_slice(&object[1..]);
    let named = if object == b"{}" { b"{\"name\":\"invoke\"}".to_vec() } else { named };
    let event = events::one(api, &named).map_err(|problem| {
        ApiError::bad_request(if problem.contains(" ts ") || problem.starts_with("timestamp") {
            "Invalid invocation event".to_owned()
        } else {
            problem
        })
    })?;
    let EventBody::Stored(body) = &event.body else { unreachable!("events of senders are stored") };
    let mut invocation = Invocation {
        external_id: event.external_id.as_deref().map(str::to_owned),
        ts: canonical::fields(&object).any(|(key, ts)| key == "ts" && ts != b"null").then_some(event.ts),
        ..Invocation::default()
    };
    for (key, value) in canonical::fields(body) {
        let value = Some(Payload::copy_from_slice(value));
        match key.as_ref() {
            "data" => invocation.data = value,
            "user" => invocation.user = value,
            "meta" => invocation.meta = value,
            "v" => invocation.v = value,
            _ => {}
        }
    }
    Ok(invocation)
}
