//! `StepFailed`: a step failed for good. The error becomes its value, for the user's code to catch.

use std::borrow::Cow;

use inngest_core::{Payload, canonical};
use inngest_queue::StepRef;
use inngest_state::StepOp;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::wrap;
use crate::plan::draft::{Draft, Result};
use crate::response::OpReport;

pub(super) fn add(draft: &mut Draft<'_>, report: OpReport) {
    record(draft, report, false);
}

/// Records the error of a step; `no_retry` when the app forbade to try again.
pub(super) fn record(draft: &mut Draft<'_>, report: OpReport, no_retry: bool) {
    draft.record(Result {
        value: memo(report.error.as_ref(), no_retry),
        step: StepRef { id: report.id, name: report.display_name },
        op: StepOp::Run,
        failed: true,
        input: report.input,
        timing: report.timing.as_ref(),
    });
}

/// An error as SDKs report it; other members are dropped, since SDKs take an object with unknown ones for a
/// value. The parts stay the JSON text they are.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Reported<'a> {
    #[serde(borrow)]
    cause: Option<&'a RawValue>,
    /// Go's SDK looks for what it has reported, also if that is `null`.
    #[serde(borrow, deserialize_with = "present")]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    #[serde(borrow)]
    name: Option<&'a RawValue>,
    #[serde(borrow)]
    no_retry: Option<&'a RawValue>,
    #[serde(borrow)]
    stack: Option<&'a RawValue>,
}

/// The value of a step that failed for good: `{"error":{..}}`.
pub(super) fn memo(error: Option<&Payload>, no_retry: bool) -> Payload {
    let reported = Reported::of(error);
    let no_retry = no_retry || reported.no_retry.is_some_and(|value| value.get() == "true");
    let members = [
        ("cause", reported.cause.map(RawValue::get)),
        ("data", reported.data.map(RawValue::get)),
        ("message", Some(&*reported.message(error))),
        ("name", Some(reported.name())),
        ("noRetry", no_retry.then_some("true")),
        ("stack", text(reported.stack)),
    ];
    wrap("error", &object(&members))
}

/// The same error as that of a failed attempt: `{"error","message","name","stack"}`.
pub(super) fn attempt_error(error: Option<&Payload>) -> Payload {
    let reported = Reported::of(error);
    let message = reported.message(error);
    let members = [
        ("cause", reported.cause.map(RawValue::get)),
        ("error", Some(&*message)),
        ("message", Some(&*message)),
        ("name", Some(reported.name())),
        ("stack", text(reported.stack)),
    ];
    object(&members).into()
}

fn present<'de, D: serde::Deserializer<'de>>(data: D) -> std::result::Result<Option<&'de RawValue>, D::Error> {
    Deserialize::deserialize(data).map(Some)
}

impl<'a> Reported<'a> {
    fn of(error: Option<&'a Payload>) -> Self {
        // An array would be read as the members in their order.
        let object = error.filter(|error| error.starts_with(b"{"));
        object.and_then(|error| serde_json::from_slice(error).ok()).unwrap_or_default()
    }

    /// Python's SDK does not accept an error without a name; Kotlin's sends none.
    fn name(&self) -> &'a str {
        text(self.name).unwrap_or("\"Error\"")
    }

    /// What the error says; an error that is no object is its own message.
    fn message(&self, error: Option<&'a Payload>) -> Cow<'a, str> {
        if let Some(message) = text(self.message) {
            return message.into();
        }
        let whole = error.and_then(|error| std::str::from_utf8(error).ok()).unwrap_or_default();
        match whole.as_bytes().first() {
            Some(b'"') => whole.into(),
            Some(b'{') | None => "\"Step failed without a message\"".into(),
            Some(_) => {
                let mut quoted = Vec::new();
                canonical::write_string(&mut quoted, whole);
                String::from_utf8(quoted).expect("a JSON string is text").into()
            }
        }
    }
}

/// The JSON text of a string that is not empty.
fn text(value: Option<&RawValue>) -> Option<&str> {
    value.map(RawValue::get).filter(|text| text.starts_with('"') && text.len() > 2)
}

/// An object of the members that are there; their order must be the canonical one.
fn object(members: &[(&str, Option<&str>)]) -> Vec<u8> {
    let mut out = vec![b'{'];
    for (key, value) in members.iter().filter_map(|(key, value)| value.map(|value| (key, value))) {
        if out.len() > 1 {
            out.push(b',');
        }
        out.push(b'"');
        out.extend_from_slice(key.as_bytes());
        out.extend_from_slice(b"\":");
        out.extend_from_slice(value.as_bytes());
    }
    out.push(b'}');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(error: &str, no_retry: bool, expected: &str) {
        let error = Payload::copy_from_slice(error.as_bytes());
        assert_eq!(memo(Some(&error), no_retry), expected.as_bytes());
    }

    #[test]
    fn an_error_keeps_the_members_that_sdks_read() {
        check(
            r#"{"__serialized":true,"cause":{"name":"C"},"code":7,"data":{"a":null},"message":"m","name":"N","stack":"s"}"#,
            false,
            r#"{"error":{"cause":{"name":"C"},"data":{"a":null},"message":"m","name":"N","stack":"s"}}"#,
        );
        check(r#"{"message":"m","name":"N"}"#, true, r#"{"error":{"message":"m","name":"N","noRetry":true}}"#);
        check(
            r#"{"message":"m","name":"N","noRetry":true}"#,
            false,
            r#"{"error":{"message":"m","name":"N","noRetry":true}}"#,
        );
    }

    #[test]
    fn name_and_message_are_always_there() {
        check(r#"{"message":"m"}"#, false, r#"{"error":{"message":"m","name":"Error"}}"#);
        check("{}", false, r#"{"error":{"message":"Step failed without a message","name":"Error"}}"#);
        check(r#""boom""#, false, r#"{"error":{"message":"boom","name":"Error"}}"#);
        check("[1]", false, r#"{"error":{"message":"[1]","name":"Error"}}"#);
        check(
            r#"{"message":3,"name":""}"#,
            false,
            r#"{"error":{"message":"Step failed without a message","name":"Error"}}"#,
        );
        assert_eq!(memo(None, false), &br#"{"error":{"message":"Step failed without a message","name":"Error"}}"#[..]);
    }

    #[test]
    fn a_failed_attempt_says_what_happened() {
        let error = Payload::from_static(br#"{"data":1,"message":"m","name":"N"}"#);
        assert_eq!(attempt_error(Some(&error)), &br#"{"error":"m","message":"m","name":"N"}"#[..]);
    }
}
