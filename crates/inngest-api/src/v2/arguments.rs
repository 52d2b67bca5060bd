//! From the text of a request to typed values.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::error::Error;
use crate::body;
use crate::operation::{Operation, Parameter, Place};

/// What the path and the query of a request say. What no parameter is known for is ignored, and so is an empty value.
pub(super) fn read<P: DeserializeOwned>(
    parameters: &[Parameter],
    path: Vec<(String, String)>,
    query: Vec<(String, String)>,
) -> Result<P, Error> {
    let mut values = Map::new();
    let path = path.into_iter().map(|said| (Place::Path, said));
    let query = query.into_iter().map(|said| (Place::Query, said));
    for (place, (name, text)) in path.chain(query) {
        let known = parameters.iter().find(|known| known.place == place && is_called(known, &name));
        let Some(known) = known.filter(|_| place == Place::Path || !text.is_empty()) else { continue };
        if known.is_repeated {
            let value = value(known, &known.schema["items"], text)?;
            if let Value::Array(all) = values.entry(&*known.name).or_insert_with(|| Value::Array(Vec::new())) {
                all.push(value);
            }
        } else if !values.contains_key(&known.name) {
            values.insert(known.name.clone(), value(known, &known.schema, text)?);
        }
    }
    serde_json::from_value(Value::Object(values)).map_err(|error| Error::unreadable(quoted(&error)))
}

/// Whether a parameter is meant: `runId` is also called `run_id`.
fn is_called(parameter: &Parameter, name: &str) -> bool {
    let mut camel = String::with_capacity(name.len());
    let mut parts = name.split('_');
    camel.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let mut letters = part.chars();
        camel.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        camel.push_str(letters.as_str());
    }
    parameter.name == camel
}

/// A text as the type that the schema of a parameter asks for.
fn value(parameter: &Parameter, schema: &Value, text: String) -> Result<Value, Error> {
    let refused = |expected: &str| {
        Error::unreadable(format!("parameter \"{}\": {expected} is expected, not {text:?}", parameter.name))
    };
    match schema["type"].as_str() {
        Some("boolean") => match &*text.to_ascii_lowercase() {
            "true" | "t" | "1" => Ok(true.into()),
            "false" | "f" | "0" => Ok(false.into()),
            _ => Err(refused("true or false")),
        },
        Some("integer") => match text.parse::<i32>() {
            Ok(number) => Ok(number.into()),
            Err(_) => Err(refused("a whole number")),
        },
        _ => Ok(text.into()),
    }
}

/// The body of a request; an empty one is that which says nothing.
pub(super) fn read_body<B: DeserializeOwned>(operation: &Operation, bytes: &[u8]) -> Result<B, Error> {
    let is_object = operation.body.as_ref().is_none_or(|body| body.schema["type"] == "object");
    let nothing: &[u8] = if is_object { b"{}" } else { b"[]" };
    let bytes = if bytes.iter().all(u8::is_ascii_whitespace) { nothing } else { bytes };
    let read = if is_object { body::object(bytes) } else { serde_json::from_slice(bytes) };
    read.map_err(|error| Error::unreadable(quoted(&error)))
}

/// The text of an error, with names in the quotes that v2 has.
fn quoted(error: &serde_json::Error) -> String {
    error.to_string().replace('`', "\"")
}

/// The parts of a request that says this with one object.
#[derive(Debug, Default)]
pub(super) struct Parts {
    pub(super) path: Vec<(String, String)>,
    pub(super) query: Vec<(String, String)>,
    pub(super) body: String,
}

impl Parts {
    /// Shares the members of an object out. None may be left over.
    pub(super) fn of(operation: &Operation, arguments: &RawValue) -> Result<Self, Error> {
        let members: Members<'_> =
            body::object(arguments.get().as_bytes()).map_err(|error| Error::unreadable(quoted(&error)))?;
        let mut parts = Self::default();
        for (name, value) in members.0 {
            let known = operation.arguments().find(|known| is_called(known, &name));
            let known = known.ok_or_else(|| Error::unreadable(format!("unknown argument \"{name}\"")))?;
            if known.place == Place::Body {
                parts.body.push_str(if parts.body.is_empty() { "{" } else { "," });
                parts.body.push_str(&format!("{}:{value}", Value::from(name)));
                continue;
            }
            let place = if known.place == Place::Path { &mut parts.path } else { &mut parts.query };
            match serde_json::from_str(value.get()) {
                Ok(Value::Array(values)) => place.extend(values.into_iter().map(|value| (name.clone(), text(value)))),
                Ok(Value::Null) | Err(_) => {}
                Ok(value) => place.push((name, text(value))),
            }
        }
        if !parts.body.is_empty() {
            parts.body.push('}');
        }
        Ok(parts)
    }
}

/// The members of an object, in their order, as they stand there.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

fn text(value: Value) -> String {
    match value {
        Value::String(text) => text,
        other => other.to_string(),
    }
}
