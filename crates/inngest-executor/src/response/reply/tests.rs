//! What a reply to a call is read as.

use inngest_core::Payload;
use proptest::prelude::*;

use super::*;
use crate::response::Op;

const NOW: Millis = Millis(1_795_489_019_000);

fn raw(status: u16, headers: &[(&str, &str)], body: &[u8]) -> RawReply {
    let headers =
        ReplyHeaders::read(|wanted| headers.iter().find(|(name, _)| *name == wanted).map(|(_, value)| *value));
    RawReply { status, headers, kept: Arc::default(), body: Bytes::copy_from_slice(body) }
}

const SDK: (&str, &str) = ("x-inngest-sdk", "inngest-js:v4.24.0");
const NO_RETRY: (&str, &str) = ("x-inngest-no-retry", "true");

/// Status, headers, body, and what they say.
type Row<'a> = (u16, &'a [(&'a str, &'a str)], &'a str, &'a str);

/// What a row of the table says, in short.
fn summary(response: &SdkResponse) -> String {
    let said = match &response.reply {
        Reply::Ops(ops) => format!("ops {}", ops.len()),
        Reply::Returned(None) => "returned nothing".to_owned(),
        Reply::Returned(Some(output)) => format!("returned {}", text(output)),
        Reply::Failed(error) => {
            let error: serde_json::Value = serde_json::from_slice(&error.error).unwrap();
            format!("failed {} / {}", error["error"].as_str().unwrap(), error["message"].as_str().unwrap())
        }
    };
    if response.no_retry { format!("final: {said}") } else { said }
}

fn text(payload: &Payload) -> &str {
    std::str::from_utf8(payload).unwrap()
}

#[test]
fn every_status_means_what_the_protocol_says() {
    let old = ("x-inngest-sdk", "inngest-js:v2.3.0");
    let op = r#"[{"op":"StepRun","id":"x","data":1}]"#;
    let not_sdk = "failed not_sdk / The response did not come from an Inngest SDK";
    let upstream = |status: u16| {
        let message = format!("Your server returned HTTP {status} before the SDK responded.");
        format!("failed {message} / {message}")
    };
    let cases: &[Row<'_>] = &[
        (206, &[SDK], op, "ops 1"),
        (206, &[SDK], "[]", "ops 0"),
        (206, &[SDK, NO_RETRY], op, "final: ops 1"),
        (206, &[SDK], "", "failed no response data / no response data"),
        (206, &[SDK, NO_RETRY], "", "failed no response data / no response data"),
        (206, &[], op, not_sdk),
        (206, &[], "<html>", not_sdk),
        (200, &[SDK], "", "returned nothing"),
        (200, &[SDK], "null", "returned null"),
        (200, &[SDK], r#""{\"a\":1}""#, r#"returned {"a":1}"#),
        (200, &[SDK], "<html>", r#"returned "<html>""#),
        (202, &[SDK], "1", "returned 1"),
        (204, &[SDK], "", "returned nothing"),
        (299, &[SDK], "1", "returned 1"),
        (200, &[SDK, NO_RETRY], "1", "returned 1"),
        (200, &[], r#"{"a":1}"#, not_sdk),
        (201, &[], r#"{"status":200}"#, not_sdk),
        (204, &[], "", not_sdk),
        (201, &[SDK], r#"  {"status":200,"body":"1"}"#, "returned 1"),
        (201, &[SDK], r#"{"status":201,"body":"1"}"#, "returned 1"),
        (
            201,
            &[SDK],
            "junk",
            "failed error parsing stream: expected value at line 1 column 1 / error parsing stream: expected value at line 1 column 1",
        ),
        (201, &[SDK], r#"{"status":500,"body":{"message":"m"},"noRetry":true}"#, "final: failed NonRetriableError / m"),
        (201, &[SDK], r#"{"status":206,"body":[],"headers":{"x-inngest-no-retry":"true"}}"#, "final: ops 0"),
        (304, &[SDK], "", "failed invalid status code: 304 / invalid status code: 304"),
        (400, &[SDK], r#"{"message":"m"}"#, "failed invalid status code: 400 / m"),
        (400, &[SDK, NO_RETRY], r#"{"message":"m"}"#, "final: failed NonRetriableError / m"),
        (400, &[old], r#"{"message":"m"}"#, "final: failed NonRetriableError / m"),
        (500, &[old], r#"{"message":"m"}"#, "failed invalid status code: 500 / m"),
        (500, &[SDK, ("x-inngest-no-retry", "false")], r#"{"message":"m"}"#, "failed invalid status code: 500 / m"),
        (302, &[], "", &upstream(302)),
        (404, &[], "nope", &upstream(404)),
        (500, &[], r#"{"message":"m"}"#, &upstream(500)),
        (503, &[NO_RETRY], "", &format!("final: {}", upstream(503))),
    ];
    for (status, headers, body, expected) in cases {
        let response = understand(&raw(*status, headers, body.as_bytes()), NOW);
        assert_eq!(summary(&response), *expected, "{status} {headers:?} {body}");
    }
}

#[test]
fn the_status_inside_a_stream_counts() {
    let response =
        understand(&raw(201, &[SDK], br#"{"status":206,"body":"[]","headers":{"x-inngest-req-version":"2"}}"#), NOW);
    assert_eq!((response.status, response.version, response.reply), (206, 2, Reply::Ops(vec![])));
}

#[test]
fn the_time_of_the_next_attempt_is_heeded_for_ops_and_errors() {
    let later = ("retry-after", "10");
    let error = br#"[{"op":"StepError","id":"x","error":{}}]"#;
    for (status, headers, body, heeded) in [
        (206, [SDK, later], error.as_slice(), true),
        (500, [SDK, later], b"", true),
        (503, [later, later], b"", true),
        (206, [SDK, later], b"junk", false),
        (200, [SDK, later], b"1", false),
        (500, [SDK, ("retry-after", "0")], b"", false),
    ] {
        let response = understand(&raw(status, &headers, body), NOW);
        assert_eq!(response.retry_at, heeded.then_some(Millis(NOW.0 + 10_000)), "{status} {headers:?}");
    }
    let streamed = understand(&raw(201, &[SDK], br#"{"status":500,"body":"x","retryAt":"10"}"#), NOW);
    assert_eq!(streamed.retry_at, Some(Millis(NOW.0 + 10_000)));
}

#[test]
fn a_206_from_nowhere_shows_why_it_is_unreadable() {
    let Reply::Failed(error) = understand(&raw(206, &[], b"<html>hi</html>"), NOW).reply else { panic!() };
    assert!(text(error.output.as_ref().unwrap()).contains("error reading generator opcode response"));
    let Reply::Failed(error) = understand(&raw(200, &[], b"<html>hi</html>"), NOW).reply else { panic!() };
    assert_eq!(text(error.output.as_ref().unwrap()), r#""<html>hi</html>""#);
}

#[test]
fn the_ops_of_a_reply_are_in_order() {
    let body = br#"[{"op":"WaitForEvent","id":"a"},{"op":"Sleep","id":"b"}]"#;
    let Reply::Ops(ops) = understand(&raw(206, &[SDK], body), NOW).reply else { panic!() };
    assert_eq!(ops.iter().map(|op| op.op).collect::<Vec<_>>(), [Op::WaitForEvent, Op::Sleep]);
}

/// Replies that are almost right find more than noise does.
fn almost_json() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop::sample::select(vec![
        "[",
        "]",
        "{",
        "}",
        ",",
        ":",
        "null",
        "\"op\"",
        "\"StepRun\"",
        "\"id\"",
        "\"data\"",
        "\"error\"",
        "\"opts\"",
        "\"input\"",
        "\"status\"",
        "201",
        "206",
        "\"body\"",
        "\"headers\"",
        "\"\\ud800\"",
        "\"x\"",
        " ",
        "-",
        "1e999",
        "\"[{\\\"op\\\":\\\"StepError\\\"}]\"",
        "\u{fffd}",
        "\"timing\"",
        "\"a\"",
        "\"noRetry\"",
        "true",
    ]);
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat().into_bytes())
}

proptest! {
    #[test]
    fn every_reply_is_understood_somehow(
        status in prop::sample::select(vec![100_u16, 200, 201, 204, 206, 302, 400, 500, 999]),
        sdk in prop::sample::select(vec!["", "inngest-js:v2.0.0", "go:v1"]),
        retry_after in ".{0,30}",
        body in prop_oneof![prop::collection::vec(any::<u8>(), 0..300), almost_json()],
    ) {
        let response = understand(&raw(status, &[("x-inngest-sdk", sdk), ("retry-after", &retry_after)], &body), NOW);
        let is_json = |payload: &Payload| serde_json::from_slice::<serde::de::IgnoredAny>(payload).is_ok();
        match response.reply {
            Reply::Failed(error) => prop_assert!(is_json(&error.error) && error.output.as_ref().is_none_or(is_json)),
            Reply::Returned(output) => prop_assert!(output.as_ref().is_none_or(is_json)),
            Reply::Ops(ops) => for op in ops {
                prop_assert!(op.data.iter().chain(&op.opts).chain(&op.error).all(is_json));
            },
        }
    }
}
