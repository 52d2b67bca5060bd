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

#[cfg(test)]
mod tests {
    use http::Method;
    use schemars::JsonSchema;

    use super::*;

    /// A request.
    #[derive(Debug, PartialEq, Deserialize, JsonSchema)]
    #[serde(rename_all = "camelCase")]
    struct Find {
        thing_id: String,
        #[serde(default)]
        colour: Vec<String>,
        #[serde(default)]
        is_new: bool,
        limit: Option<i32>,
    }

    /// A body.
    #[derive(Debug, PartialEq, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    struct Change {
        data: Option<i32>,
    }

    fn operation() -> Operation {
        Operation::new("Find", Method::POST, "/things/{thingId}", "Finds").parameters::<Find>().body::<Change>()
    }

    fn pairs(said: &[(&str, &str)]) -> Vec<(String, String)> {
        said.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn find(query: &[(&str, &str)]) -> Result<Find, Error> {
        read(&operation().parameters, pairs(&[("thingId", "x")]), pairs(query))
    }

    #[test]
    fn queries_are_read_in_both_spellings_and_by_their_types() {
        let query =
            [("colour", "red"), ("colour", "a,b"), ("is_new", "t"), ("limit", "-3"), ("other", "x"), ("thingId", "y")];
        let colour = vec!["red".to_owned(), "a,b".to_owned()];
        assert_eq!(find(&query), Ok(Find { thing_id: "x".into(), colour, is_new: true, limit: Some(-3) }));
        let nothing = Find { thing_id: "x".into(), colour: Vec::new(), is_new: false, limit: None };
        assert_eq!(find(&[("limit", ""), ("isNew", "")]), Ok(nothing));
        for (name, value, problem) in [
            ("limit", "x", "parameter \"limit\": a whole number is expected, not \"x\""),
            ("isNew", "maybe", "parameter \"isNew\": true or false is expected, not \"maybe\""),
        ] {
            assert_eq!(find(&[(name, value)]), Err(Error::unreadable(problem)));
        }
    }

    #[test]
    fn an_empty_body_says_nothing_and_a_list_is_no_object() {
        assert_eq!(read_body(&operation(), b" "), Ok(Change { data: None }));
        assert!(read_body::<Change>(&operation(), b"[1]").is_err());
        let unknown = Error::unreadable("unknown field \"x\", expected \"data\" at line 1 column 4");
        assert_eq!(read_body::<Change>(&operation(), br#"{"x":1}"#), Err(unknown));
    }

    #[test]
    fn the_members_of_one_object_go_where_they_belong() {
        let arguments =
            r#"{"thing_id":"a/b","colour":["red","blue"],"isNew":true,"limit":null,"data":{"n":9007199254740993}}"#;
        let parts = Parts::of(&operation(), &RawValue::from_string(arguments.into()).unwrap()).unwrap();
        assert_eq!(parts.path, pairs(&[("thing_id", "a/b")]));
        assert_eq!(parts.query, pairs(&[("colour", "red"), ("colour", "blue"), ("isNew", "true")]));
        assert_eq!(parts.body, r#"{"data":{"n":9007199254740993}}"#);
        let unknown = RawValue::from_string(r#"{"other":1}"#.into()).unwrap();
        assert_eq!(Parts::of(&operation(), &unknown).err(), Some(Error::unreadable("unknown argument \"other\"")));
    }
}
