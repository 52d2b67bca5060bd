//! The request of an endpoint: path, query and body from the arguments of its command.

use std::collections::BTreeMap;

use clap::ArgMatches;
use inngest_api::operation::{Parameter, Place};
use serde_json::Value;
use serde_json::value::RawValue;
use ureq::http::Method;

use super::command::FROM_STEP;
use super::{Endpoint, Field};
use crate::client::encoded;
use crate::{flags, input};

/// What is asked for.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) method: Method,
    /// With the query.
    pub(super) path: String,
    pub(super) body: Option<String>,
}

pub(super) fn of(endpoint: &Endpoint, matches: &ArgMatches) -> Result<Asked, String> {
    let method = endpoint.operation.method.clone();
    Ok(Asked {
        path: format!("{}{}", path(endpoint, matches)?, query(endpoint, matches)?),
        body: if method == Method::GET { None } else { body(endpoint, matches)? },
        method,
    })
}

/// The path; what it names comes from flags, and from positional arguments in order.
fn path(endpoint: &Endpoint, matches: &ArgMatches) -> Result<String, String> {
    let mut positional = matches.get_many::<String>("").into_iter().flatten();
    let mut path = endpoint.operation.path.to_owned();
    for field in endpoint.positional() {
        let Field { parameter, flag } = field;
        let value = flags::text(matches, &parameter.name).or_else(|| positional.next().map(String::as_str));
        let value = value.filter(|value| !value.is_empty() && !value.chars().all(|letter| letter == '.'));
        let value = value.ok_or_else(|| format!("missing required --{flag} or positional argument <{flag}>"))?;
        path = path.replace(&format!("{{{}}}", parameter.name), &encoded(value));
    }
    let rest: Vec<&str> = positional.map(String::as_str).collect();
    if rest.is_empty() { Ok(path) } else { Err(format!("unexpected positional argument(s): {}", rest.join(", "))) }
}

/// The query, with its question mark if it is not empty.
fn query(endpoint: &Endpoint, matches: &ArgMatches) -> Result<String, String> {
    let mut pairs = Vec::new();
    for Field { parameter, flag } in endpoint.fields.iter().filter(|field| field.parameter.place == Place::Query) {
        for value in matches.get_many::<String>(&parameter.name).into_iter().flatten() {
            if !parameter.is_repeated {
                json(parameter, flag, value)?;
            }
            pairs.push(format!("{}={}", parameter.name, encoded(value)));
        }
    }
    Ok(if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) })
}

/// The body: the whole one with the members that flags replace.
fn body(endpoint: &Endpoint, matches: &ArgMatches) -> Result<Option<String>, String> {
    if endpoint.operation.body.is_none() {
        return Ok(None);
    }
    let whole = match (flags::text(matches, "body"), flags::text(matches, "body-file")) {
        (Some(text), _) => Some(raw("--body", text)?),
        (None, Some(file)) => Some(raw("--body-file", &input::file(file)?)?),
        (None, None) => None,
    };
    let mut members: BTreeMap<String, Box<RawValue>> = BTreeMap::new();
    for Field { parameter, flag } in endpoint.fields.iter().filter(|field| field.parameter.place == Place::Body) {
        if let Some(text) = flags::text(matches, &parameter.name) {
            let value =
                if parameter.name == FROM_STEP { from_step(matches, text)? } else { json(parameter, flag, text)? };
            members.insert(parameter.name.clone(), value);
        } else if parameter.name == FROM_STEP && flags::text(matches, "input").is_some() {
            return Err("--input requires --from-step".to_owned());
        }
    }
    let Some(whole) = whole else {
        return if members.is_empty()
            && endpoint.operation.body.as_ref().is_some_and(|body| body.schema["type"] != "object")
        {
            Err("missing required --body or --body-file".to_owned())
        } else {
            text(&members).map(Some)
        };
    };
    if members.is_empty() {
        return Ok(Some(whole.get().to_owned()));
    }
    let given: Result<BTreeMap<String, Box<RawValue>>, _> = serde_json::from_str(whole.get());
    let mut given = given.map_err(|_| "the body is no object, whose members flags could replace".to_owned())?;
    given.append(&mut members);
    text(&given).map(Some)
}

fn text(members: &BTreeMap<String, Box<RawValue>>) -> Result<String, String> {
    serde_json::to_string(members).map_err(|error| error.to_string())
}

/// `{"stepId":NAME,"input":..}`
fn from_step(matches: &ArgMatches, name: &str) -> Result<Box<RawValue>, String> {
    let mut step = format!("{{\"stepId\":{}", Value::from(name));
    if let Some(given) = flags::text(matches, "input") {
        step.push_str(&format!(",\"input\":{}", raw("--input", given)?));
    }
    raw("--from-step", &format!("{step}}}"))
}

/// The value of a flag as its schema wants it.
fn json(parameter: &Parameter, flag: &str, text: &str) -> Result<Box<RawValue>, String> {
    let kinds: Vec<&str> = match &parameter.schema["type"] {
        Value::String(kind) => vec![kind],
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let is = |kind: &str| kinds.contains(&kind);
    if is("string") || (kinds.is_empty() && serde_json::from_str::<&RawValue>(text).is_err()) {
        return raw(flag, &Value::from(text).to_string());
    }
    let value = raw(&format!("--{flag}"), text)?;
    let begins = value.get().chars().next().unwrap_or_default();
    let fits = kinds.is_empty()
        || (is("object") && begins == '{')
        || (is("array") && begins == '[')
        || (is("boolean") && matches!(value.get(), "true" | "false"))
        || ((is("integer") || is("number")) && (begins == '-' || begins.is_ascii_digit()));
    if fits {
        Ok(value)
    } else {
        Err(format!("invalid value {text:?} for --{flag}: it must be of type {}", kinds.join(" or ")))
    }
}

fn raw(what: &str, text: &str) -> Result<Box<RawValue>, String> {
    serde_json::from_str(text.trim()).map_err(|error| format!("{what} is no JSON: {error}"))
}
