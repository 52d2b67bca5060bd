//! `send_event`: an event, and the runs it has started.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::native::{Call, Done, Native, Problem};
use crate::events;

const SEED: &str = "x-inngest-event-id-seed";

pub(super) fn tools() -> Vec<Native> {
    vec![Native::write(
        "send_event",
        "Send event",
        "Sends an event and returns its id and the runs that it has started. Functions that gather events, by debounce or \
         in batches, start later: ask get_event_runs.",
        send,
    )]
}

/// An event.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SendEvent {
    /// What happened: which functions it starts.
    name: String,
    /// What functions receive. What is no object becomes the member `value` of one.
    #[schemars(with = "Option<Value>")]
    data: Option<Box<RawValue>>,
    /// Whom it is about. What is no object becomes the member `id` of one.
    #[schemars(with = "Option<Value>")]
    user: Option<Box<RawValue>>,
    /// What the id of the event is made from, `<milliseconds>,<10 bytes in base64>`: the same seed stores one event once.
    event_id_seed: Option<String>,
}

/// What came of an event.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Sent {
    event_id: String,
    run_ids: Vec<String>,
    status: &'static str,
    message: String,
}

async fn send(Call { api, arguments, .. }: Call<SendEvent>) -> Result<Done, Problem> {
    let SendEvent { name, data, user, event_id_seed } = arguments;
    let mut headers = HeaderMap::new();
    if let Some(seed) = event_id_seed.filter(|seed| !seed.is_empty()) {
        headers.extend(HeaderValue::from_str(&seed).ok().map(|seed| (http::HeaderName::from_static(SEED), seed)));
        if events::seeded_id(&headers).is_none() {
            return Err(Problem::new("eventIdSeed must be \"<milliseconds>,<10 bytes in base64>\", or left out"));
        }
    }
    let mut json = format!("{{\"name\":{}", Value::from(name));
    for (key, value, member) in [("data", data, "value"), ("user", user, "id")] {
        if let Some(value) = value {
            json.push_str(&format!(",\"{key}\":{}", as_object(&value, member)));
        }
    }
    json.push('}');
    let refused = |refused: events::Refused| Problem::new(refused.to_string());
    let parsed = events::parse_body(&api, &headers, &Bytes::from(json)).map_err(refused)?.pop();
    let event = parsed.ok_or_else(|| Problem::new(events::EventError::NotEvents.to_string()))?;
    let (id, message) = (event.id, format!("Event '{}' sent successfully", event.name));
    // Whoever may start a run does so in the commit that stores the event: there is nothing to wait for.
    api.engine.accept(vec![event]).await?;
    let runs = api.engine.history().runs_of_events(vec![id]).await?;
    let run_ids = runs.iter().flat_map(|(_, runs)| runs).map(|run| run.id.to_string()).collect();
    Done::of(&Sent { event_id: id.to_string(), run_ids, status: "accepted", message })
}

/// An object, also one that stands in a text, as models often write it; anything else as a member of one.
pub(super) fn as_object(value: &RawValue, member: &str) -> String {
    let json = value.get();
    if json.starts_with('{') {
        return json.to_owned();
    }
    let text: Option<String> = serde_json::from_str(json).ok();
    let inner = text.as_deref().and_then(|text| serde_json::from_str::<&RawValue>(text).ok());
    match inner.filter(|inner| inner.get().starts_with('{')) {
        Some(object) => object.get().to_owned(),
        None => format!("{{\"{member}\":{json}}}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_given_becomes_an_object() {
        for (given, object) in [
            (r#"{"n":9007199254740993}"#, r#"{"n":9007199254740993}"#),
            (r#""{\"n\":1}""#, r#"{"n":1}"#),
            (r#"" {\"n\":1} ""#, r#"{"n":1}"#),
            (r#""{n}""#, r#"{"value":"{n}"}"#),
            (r#""text""#, r#"{"value":"text"}"#),
            ("[1]", r#"{"value":[1]}"#),
            ("5", r#"{"value":5}"#),
        ] {
            assert_eq!(as_object(&RawValue::from_string(given.to_owned()).unwrap(), "value"), object);
        }
    }
}
