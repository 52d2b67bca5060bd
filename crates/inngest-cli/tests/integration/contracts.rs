//! Contracts: recorded requests and replies (`tests/contracts/<api>/*.json`), replayed against the real binary.
//!
//! A file holds the exchanges of one operation, in the order in which they happen. In a request `{name}` stands for a
//! value that the test knows, such as the id of a run. In a reply it does so too, and a text that begins with `$` stands
//! for any value of a kind: `$ulid`, `$uuid`, `$time`, `$moment`, `$cursor`, `$digits`, `$text`; `$any` is any value at all.
//!
//! `INNGEST_RECORD_CONTRACTS=1` writes what the server answers into the files, to be reviewed against the
//! specification: a new exchange is a request without a reply.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use inngest_testkit::Client;
use serde_json::{Map, Value, json};

/// Headers of replies that contracts hold.
const HEADERS: [&str; 5] = ["content-type", "allow", "cache-control", "access-control-allow-origin", "location"];

/// Values by the names that they have in contracts.
pub(crate) type Known = BTreeMap<&'static str, String>;

/// An exchange that took place.
pub(crate) struct Exchanged {
    pub(crate) method: String,
    /// As it stands in the file.
    pub(crate) path: String,
    pub(crate) status: u16,
}

/// Replays the contracts of an API, and returns what was exchanged.
pub(crate) async fn replay(client: &Client, api: &str, known: &Known) -> Vec<Exchanged> {
    let records = std::env::var_os("INNGEST_RECORD_CONTRACTS").is_some();
    let (mut exchanged, mut problems) = (Vec::new(), Vec::new());
    for file in files(api) {
        let mut exchanges: Vec<Value> = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        for (index, exchange) in exchanges.iter_mut().enumerate() {
            let request = &exchange["request"];
            let (method, path) = (request["method"].as_str().unwrap(), request["path"].as_str().unwrap());
            let reply = answer(client, request, known).await;
            exchanged.push(Exchanged {
                method: method.to_owned(),
                path: path.to_owned(),
                status: u16::try_from(reply["status"].as_u64().unwrap()).unwrap(),
            });
            let expected = filled(&exchange["reply"], known);
            if let Err(problem) = fits(&expected, &reply, "reply") {
                let name = file.file_name().unwrap().display();
                problems.push(format!("{name}, exchange {index} ({method} {path}): {problem}\n  {reply}"));
                exchange["reply"] = recorded(reply, known);
            }
        }
        if records {
            std::fs::write(&file, format!("{:#}\n", Value::from(exchanges))).unwrap();
        }
    }
    assert!(records || problems.is_empty(), "{}", problems.join("\n"));
    exchanged
}

fn files(api: &str) -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/contracts").join(api);
    let mut files: Vec<PathBuf> = directory.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

async fn answer(client: &Client, request: &Value, known: &Known) -> Value {
    let text = |value: &Value| value.as_str().map(|text| fill(text, known));
    let method = text(&request["method"]).unwrap();
    let path = text(&request["path"]).unwrap();
    let headers: Vec<(&str, &str)> = request["headers"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| (&**name, value.as_str().unwrap()))
        .collect();
    let body = match (&request["body"], text(&request["text"])) {
        (Value::Null, Some(text)) => text,
        (Value::Null, None) => String::new(),
        (body, _) => filled(body, known).to_string(),
    };
    let reply = client.request(&method, &path, &headers, body).await.unwrap();
    let header = |name: &&str| Some(((*name).to_owned(), reply.headers.get(*name)?.to_str().ok()?.into()));
    let headers: Map<String, Value> = HEADERS.iter().filter_map(header).collect();
    let body = serde_json::from_slice(&reply.body).unwrap_or_else(|_| Value::from(reply.text()));
    json!({ "status": reply.status, "headers": headers, "body": body })
}

/// A text with the known values in their places.
fn fill(text: &str, known: &Known) -> String {
    known.iter().fold(text.to_owned(), |text, (name, value)| text.replace(&format!("{{{name}}}"), value))
}

fn filled(value: &Value, known: &Known) -> Value {
    match value {
        Value::String(text) => fill(text, known).into(),
        Value::Array(items) => items.iter().map(|item| filled(item, known)).collect(),
        Value::Object(members) => {
            members.iter().map(|(name, value)| (name.clone(), filled(value, known))).collect::<Map<_, _>>().into()
        }
        other => other.clone(),
    }
}

/// Whether a value is what a contract says. The error names where it is not.
fn fits(expected: &Value, actual: &Value, at: &str) -> Result<(), String> {
    match (expected, actual) {
        (Value::String(any), _) if any == "$any" => Ok(()),
        (Value::String(kind), Value::String(text)) if kind.starts_with('$') => {
            if is_of(kind, text) {
                Ok(())
            } else {
                Err(format!("{at}: {kind} expected, not {text:?}"))
            }
        }
        (Value::Array(expected), Value::Array(actual)) if expected.len() == actual.len() => {
            let mut pairs = expected.iter().zip(actual).enumerate();
            pairs.try_for_each(|(index, (expected, actual))| fits(expected, actual, &format!("{at}[{index}]")))
        }
        (Value::Object(expected), Value::Object(actual)) => {
            if let Some(name) = actual.keys().find(|name| !expected.contains_key(*name)) {
                return Err(format!("{at}.{name} is not in the contract"));
            }
            let member = |(name, expected): (&String, &Value)| {
                let actual = actual.get(name).ok_or_else(|| format!("{at}.{name} is missing"))?;
                fits(expected, actual, &format!("{at}.{name}"))
            };
            expected.iter().try_for_each(member)
        }
        _ if expected == actual => Ok(()),
        _ => Err(format!("{at}: {expected} expected, not {actual}")),
    }
}

fn is_of(kind: &str, text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match kind {
        "$ulid" => text.len() == 26 && text.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase()),
        "$uuid" => text.len() == 36 && text.bytes().filter(|byte| *byte == b'-').count() == 4,
        // RFC 3339 in UTC, with no digits of a fraction or with three, six or nine.
        "$time" => match text.strip_suffix('Z').and_then(|text| text.split_at_checked(19)) {
            Some((seconds, rest)) => {
                let fraction = rest.strip_prefix('.').is_some_and(|rest| rest.len() % 3 == 0 && digits(rest));
                seconds.as_bytes()[10] == b'T' && (rest.is_empty() || fraction)
            }
            None => false,
        },
        // The same with any digits of a fraction, as v1 writes it.
        "$moment" => match text.strip_suffix('Z').and_then(|text| text.split_at_checked(19)) {
            Some((seconds, rest)) => {
                let fraction = rest.strip_prefix('.').is_some_and(digits);
                seconds.as_bytes()[10] == b'T' && (rest.is_empty() || fraction)
            }
            None => false,
        },
        "$digits" => digits(text),
        "$cursor" => text.len() > 8,
        "$text" => !text.is_empty(),
        _ => panic!("unknown kind {kind}"),
    }
}

/// A reply as it is written into a contract: known values by their names, others that differ each time by their kinds.
fn recorded(value: Value, known: &Known) -> Value {
    match value {
        Value::String(text) => {
            if let Some((name, _)) = known.iter().find(|(_, value)| **value == text) {
                return format!("{{{name}}}").into();
            }
            let kind = ["$ulid", "$uuid", "$time", "$moment"].into_iter().find(|kind| is_of(kind, &text));
            kind.map_or_else(|| text.clone().into(), Value::from)
        }
        Value::Array(items) => items.into_iter().map(|item| recorded(item, known)).collect(),
        Value::Object(members) => {
            let member = |(name, value): (String, Value)| match name.as_str() {
                "cursor" | "startCursor" | "endCursor" if value.is_string() => (name, "$cursor".into()),
                "durationMs" | "ts" => (name, "$digits".into()),
                _ => (name, recorded(value, known)),
            };
            members.into_iter().map(member).collect::<Map<_, _>>().into()
        }
        other => other,
    }
}

#[test]
fn a_reply_fits_a_contract_or_is_told_apart() {
    let expected = json!({ "id": "$ulid", "at": "$time", "n": [1, "$digits"] });
    let reply = |id: &str, at: &str, n: Value| json!({ "id": id, "at": at, "n": n });
    let id = "01M85QRDBHC70063SSP1V76AAN";
    assert_eq!(fits(&expected, &reply(id, "2026-01-02T03:04:05.120Z", json!([1, "7"])), "reply"), Ok(()));
    for (actual, problem) in [
        (reply("x", "2026-01-02T03:04:05Z", json!([1, "7"])), "reply.id: $ulid expected, not \"x\""),
        (
            reply(id, "2026-01-02T03:04:05.1Z", json!([1, "7"])),
            "reply.at: $time expected, not \"2026-01-02T03:04:05.1Z\"",
        ),
        (reply(id, "2026-01-02T03:04:05Z", json!([2, "7"])), "reply.n[0]: 1 expected, not 2"),
        (reply(id, "2026-01-02T03:04:05Z", json!([1])), "reply.n: [1,\"$digits\"] expected, not [1]"),
        (json!({ "id": id, "at": "2026-01-02T03:04:05Z" }), "reply.n is missing"),
        (json!({ "more": 1 }), "reply.more is not in the contract"),
    ] {
        assert_eq!(fits(&expected, &actual, "reply").unwrap_err(), problem);
    }
}
