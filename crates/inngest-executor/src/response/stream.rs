//! Status 201: the app kept the connection alive with white space and put its real reply into one JSON object.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;

use super::reply::RawReply;

/// The reply inside a streamed one: its status counts, and its headers win. The error is for the user.
pub(super) fn unwrap(reply: &RawReply) -> Result<RawReply, String> {
    let problem = |text: &dyn fmt::Display| format!("error parsing stream: {text}");
    let text = String::from_utf8_lossy(&reply.body);
    let wrapper: Wrapper<'_> = serde_json::from_str(&text).map_err(|error| problem(&error))?;
    if let Some(error) = wrapper.error {
        return Err(problem(&string(error)));
    }
    let status = wrapper.status.and_then(|status| status.get().parse().ok());
    let status = status.ok_or_else(|| problem(&"the status is missing"))?;
    let mut headers = reply.headers.clone();
    let pairs: Pairs<'_> =
        wrapper.headers.and_then(|headers| serde_json::from_str(headers.get()).ok()).unwrap_or_default();
    headers.replace(|name| pairs.value(name));
    // Go's SDK says these beside the headers.
    headers.no_retry |= wrapper.no_retry.is_some_and(|value| value.get() == "true");
    if let Some(at) = wrapper.retry_at {
        headers.retry_after = Some(string(at).into());
    }
    let body = wrapper.body.map_or_else(Bytes::new, |body| Bytes::from(string(body).into_owned()));
    Ok(RawReply { status, headers, kept: Arc::clone(&reply.kept), body })
}

/// The content of a JSON string; the text of any other JSON.
fn string(value: &RawValue) -> Cow<'_, str> {
    serde_json::from_str::<String>(value.get()).map_or_else(|_| Cow::Borrowed(value.get()), Cow::Owned)
}

/// The wrapper; its keys are found in any letter case, like the SDKs that write it expect.
#[derive(Default)]
struct Wrapper<'a> {
    status: Option<&'a RawValue>,
    headers: Option<&'a RawValue>,
    body: Option<&'a RawValue>,
    error: Option<&'a RawValue>,
    no_retry: Option<&'a RawValue>,
    retry_at: Option<&'a RawValue>,
}

impl<'de> Deserialize<'de> for Wrapper<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Wrapper<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with status and body")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Wrapper<'de>, A::Error> {
                let mut wrapper = Wrapper::default();
                while let Some(key) = map.next_key::<String>()? {
                    let value: &RawValue = map.next_value()?;
                    let some = (value.get() != "null").then_some(value);
                    match key.to_ascii_lowercase().as_str() {
                        "status" => wrapper.status = some,
                        "headers" => wrapper.headers = some,
                        "body" => wrapper.body = Some(value),
                        "error" => wrapper.error = some,
                        "noretry" => wrapper.no_retry = some,
                        "retryat" => wrapper.retry_at = some,
                        _ => {}
                    }
                }
                Ok(wrapper)
            }
        }

        deserializer.deserialize_map(Members)
    }
}

/// The headers of a wrapper; those that are no text are ignored.
#[derive(Default)]
struct Pairs<'a>(Vec<(String, Cow<'a, str>)>);

impl Pairs<'_> {
    fn value(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| &**value)
    }
}

impl<'de> Deserialize<'de> for Pairs<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Pairs<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of headers")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs<'de>, A::Error> {
                let mut pairs = Vec::new();
                while let Some((key, value)) = map.next_entry::<String, &RawValue>()? {
                    pairs.push((key, string(value)));
                }
                Ok(Pairs(pairs))
            }
        }

        deserializer.deserialize_map(Members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::response::{ReplyHeaders, Sdk};

    fn streamed(body: &str) -> Result<RawReply, String> {
        let headers = ReplyHeaders { sdk: Sdk::Present, version: 1, ..ReplyHeaders::default() };
        unwrap(&RawReply { status: 201, headers, kept: Arc::default(), body: Bytes::copy_from_slice(body.as_bytes()) })
    }

    #[test]
    fn a_body_may_be_text_or_json() {
        for (wrapper, status, body) in [
            (r#"   {"status":200,"body":"{\"a\":1}","headers":{}}"#, 200, r#"{"a":1}"#),
            (r#"{"status":206,"body":[{"op":"StepRun"}]}"#, 206, r#"[{"op":"StepRun"}]"#),
            (r#"{"Status":500,"Body":"oh","error":null,"noRetry":null}"#, 500, "oh"),
            (r#"{"status":200,"body":null}"#, 200, "null"),
            (r#"{"status":204,"extra":[1]}"#, 204, ""),
        ] {
            let reply = streamed(wrapper).unwrap();
            assert_eq!((reply.status, &*reply.body), (status, body.as_bytes()), "{wrapper}");
            assert_eq!((reply.headers.version, reply.headers.no_retry), (1, false), "{wrapper}");
        }
    }

    #[test]
    fn headers_inside_win() {
        let body = r#"{"status":206,"headers":{"X-Inngest-Req-Version":"2","x-inngest-no-retry":"true","retry-after":"7"},"body":"[]"}"#;
        let headers = streamed(body).unwrap().headers;
        assert_eq!((headers.version, headers.no_retry, headers.retry_after.as_deref()), (2, true, Some("7")));
        let go = r#"{"status":500,"body":"x","NoRetry":true,"RetryAt":"2026-01-01T00:00:00Z"}"#;
        let headers = streamed(go).unwrap().headers;
        assert_eq!((headers.no_retry, headers.retry_after.as_deref()), (true, Some("2026-01-01T00:00:00Z")));
    }

    #[test]
    fn what_cannot_be_unwrapped_is_an_error_of_the_stream() {
        for (body, expected) in [
            (r#"{"status":200,"body":"","error":"x"}"#, "error parsing stream: x"),
            (r#"{"status":200,"body":"","error":""}"#, "error parsing stream: "),
            (r#"{"status":200,"error":{"a":1}}"#, r#"error parsing stream: {"a":1}"#),
            (r#"{"body":"x"}"#, "error parsing stream: the status is missing"),
            (r#"{"status":"200"}"#, "error parsing stream: the status is missing"),
            ("   ", "error parsing stream: EOF while parsing a value at line 1 column 3"),
        ] {
            assert_eq!(streamed(body).unwrap_err(), expected, "{body}");
        }
        for body in ["<html>", r#"{"status":200} x"#, r#"{"status":"#, "[]", "3"] {
            assert!(streamed(body).unwrap_err().starts_with("error parsing stream: "), "{body}");
        }
    }
}
