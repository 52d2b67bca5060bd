//! Errors outside of steps, in the two forms in which users meet them: the run's output and its error.

use std::borrow::Cow;

use inngest_core::canonical::{self, Numbers};
use inngest_core::{Payload, limits};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{FunctionError, output};

/// The name of an error that has none.
const NAME: &str = "Error";
/// Of a reply that is not an SDK's, its error quotes so much.
const EXCERPT_BYTES_MAX: usize = 8192;
/// A body that is the message of its error is cut here; the output keeps the whole.
const MESSAGE_BYTES_MAX: usize = 32 * 1024;
/// An error encoded as a string inside the body is decoded up to this size.
const INNER_BYTES_MAX: usize = 32 * 1024;

const NOT_SDK: &str = "The response did not come from an Inngest SDK";
const UPSTREAM_NAME: &str = "Server returned a fatal error";
const UPSTREAM_EXPLANATION: &str = "The app's SDK did not get to answer, so no step has a result: either a proxy, load \
    balancer or platform in front of the app answered in its place, or the app failed before its SDK was reached.";

impl FunctionError {
    /// An error that the server itself makes. The output is `{"error":{"error","name","message","stack"?}}` in
    /// this order and with markup escaped, because clients compare it as text. `summary` is the output's
    /// `error`, normally `<name>: <message>`; the `error` of events is the name, as far as there is one.
    #[must_use]
    pub fn server(name: &str, message: &str, stack: Option<&str>, summary: &str) -> Self {
        let code = if name == NAME { summary } else { name };
        Self::server_made(code, name, message, stack, summary)
    }

    /// As [`FunctionError::server`], with the `error` of events given as `code`.
    pub(crate) fn server_made(code: &str, name: &str, message: &str, stack: Option<&str>, summary: &str) -> Self {
        let inner = shown(summary, name, message, stack);
        let mut output = Vec::with_capacity(inner.len() + 10);
        output.extend_from_slice(b"{\"error\":");
        output.extend_from_slice(&inner);
        output.push(b'}');
        let error = Parts { error: code, name, message, stack, cause: None }.normalised();
        Self { output: Some(output.into()), error }
    }

    /// An error of the server that is nothing but its text.
    #[must_use]
    pub fn plain(text: &str) -> Self {
        Self::server(NAME, text, None, text)
    }

    /// More bytes than [`limits::RESPONSE_BODY_BYTES_MAX`].
    #[must_use]
    pub fn output_too_large() -> Self {
        let message = "Your function's response body exceeds the maximum size limit";
        Self::server("output_too_large", message, None, &format!("output_too_large: {message}"))
    }

    /// A success that no SDK reported. For status 206 the output says why the body is no list of ops.
    pub(super) fn not_sdk(unreadable: Option<&str>, body: &[u8]) -> Self {
        let error = Parts { error: "not_sdk", name: NAME, message: NOT_SDK, stack: None, cause: None }.normalised();
        let output = match unreadable {
            Some(text) => Self::plain(text).output,
            None => output::read(body),
        };
        Self { output, error }
    }

    /// An error status without an SDK behind it. What stood in front of the app is what a user must find, so
    /// the error quotes the beginning of its answer.
    pub(super) fn upstream(status: u16, content_type: Option<&str>, body: &[u8]) -> Self {
        let message = format!("Your server returned HTTP {status} before the SDK responded.");
        let mut stack = UPSTREAM_EXPLANATION.to_owned();
        if !body.is_empty() {
            let excerpt = &body[..body.len().min(EXCERPT_BYTES_MAX)];
            let cut = if excerpt.len() < body.len() { "\n… (truncated)" } else { "" };
            let content_type = content_type.unwrap_or("unknown content-type");
            let text = String::from_utf8_lossy(excerpt);
            stack.push_str(&format!("\n\nUpstream response ({content_type}):\n{text}{cut}"));
        }
        let output = shown(&message, UPSTREAM_NAME, &message, Some(&stack));
        let parts = Parts { error: &message, name: UPSTREAM_NAME, message: &message, stack: Some(&stack), cause: None };
        Self { output: Some(output.into()), error: parts.normalised() }
    }

    /// The error an SDK answered with. `transport` is what the status says about it.
    pub(super) fn of_body(body: &[u8], transport: &str) -> Self {
        let text = String::from_utf8_lossy(body);
        let reported = Reported::of(&text);
        let inner = reported.error.and_then(object_text).or_else(|| reported.body.and_then(object_text));
        let reported = inner.as_deref().map_or(reported, Reported::of);
        let fields = [reported.error, reported.name, reported.message, reported.stack].map(string);
        let said_nothing = fields.iter().all(Option::is_none);
        let [error, name, message, stack] = fields;
        let message = match message {
            Some(message) => message,
            None if said_nothing && !text.trim().is_empty() => raw_message(&text),
            None => transport.to_owned(),
        };
        let parts = Parts {
            error: error.as_deref().unwrap_or(transport),
            name: name.as_deref().unwrap_or(NAME),
            message: &message,
            stack: stack.as_deref(),
            cause: reported
                .cause
                .and_then(|cause| canonical::canonicalise(cause.get().as_bytes(), Numbers::Exact).ok()),
        };
        Self { output: output::read(body), error: parts.normalised() }
    }
}

/// The members of an error body that have a meaning.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(default)]
struct Reported<'a> {
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    #[serde(borrow)]
    body: Option<&'a RawValue>,
    #[serde(borrow)]
    name: Option<&'a RawValue>,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    #[serde(borrow)]
    stack: Option<&'a RawValue>,
    #[serde(borrow)]
    cause: Option<&'a RawValue>,
}

impl<'a> Reported<'a> {
    /// Nothing, when `json` is no object.
    fn of(json: &'a str) -> Self {
        // A sequence would be read as the members in order.
        let is_object = json.trim_ascii_start().starts_with('{');
        is_object.then(|| serde_json::from_str(json).ok()).flatten().unwrap_or_default()
    }
}

/// The text of an object, which may itself be encoded as a string.
fn object_text(value: &RawValue) -> Option<Cow<'_, str>> {
    let json = value.get();
    if json.starts_with('{') {
        return Some(Cow::Borrowed(json));
    }
    let text: String = (json.len() <= INNER_BYTES_MAX).then(|| serde_json::from_str(json).ok()).flatten()?;
    let is_object = text.trim_ascii_start().starts_with('{') && serde_json::from_str::<&RawValue>(&text).is_ok();
    is_object.then_some(Cow::Owned(text))
}

/// The content of a JSON string that is not empty.
fn string(value: Option<&RawValue>) -> Option<String> {
    serde_json::from_str(value?.get()).ok().filter(|text: &String| !text.is_empty())
}

/// A body that names no error is its own message.
fn raw_message(text: &str) -> String {
    let text = serde_json::from_str::<String>(text).map_or(Cow::Borrowed(text), Cow::Owned);
    if text.len() <= MESSAGE_BYTES_MAX {
        return text.into_owned();
    }
    format!("{}… (truncated)", &text[..text.floor_char_boundary(MESSAGE_BYTES_MAX)])
}

struct Parts<'a> {
    error: &'a str,
    name: &'a str,
    message: &'a str,
    stack: Option<&'a str>,
    cause: Option<Vec<u8>>,
}

impl Parts<'_> {
    /// As the error of the run: canonical.
    fn normalised(&self) -> Payload {
        let mut out = vec![b'{'];
        if let Some(cause) = &self.cause {
            out.extend_from_slice(b"\"cause\":");
            out.extend_from_slice(cause);
            out.push(b',');
        }
        out.extend_from_slice(b"\"error\":");
        canonical::write_string(&mut out, self.error);
        out.extend_from_slice(b",\"message\":");
        canonical::write_string(&mut out, self.message);
        out.extend_from_slice(b",\"name\":");
        canonical::write_string(&mut out, self.name);
        if let Some(stack) = self.stack {
            out.extend_from_slice(b",\"stack\":");
            canonical::write_string(&mut out, stack);
        }
        out.push(b'}');
        out.into()
    }
}

/// As the output of the run, in the order and with the escapes that clients compare.
fn shown(error: &str, name: &str, message: &str, stack: Option<&str>) -> Vec<u8> {
    let mut out = b"{\"error\":".to_vec();
    canonical::write_string(&mut out, error);
    out.extend_from_slice(b",\"name\":");
    canonical::write_string(&mut out, name);
    out.extend_from_slice(b",\"message\":");
    canonical::write_string(&mut out, message);
    if let Some(stack) = stack {
        out.extend_from_slice(b",\"stack\":");
        canonical::write_string(&mut out, stack);
    }
    out.push(b'}');
    escape_markup(&out)
}

/// In JSON text these characters stand only inside strings, so they may be replaced wherever they are.
fn escape_markup(json: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(json.len());
    for byte in json {
        match byte {
            b'<' => out.extend_from_slice(b"\\u003c"),
            b'>' => out.extend_from_slice(b"\\u003e"),
            b'&' => out.extend_from_slice(b"\\u0026"),
            byte => out.push(*byte),
        }
    }
    out
}

const _: () = assert!(MESSAGE_BYTES_MAX < limits::RESPONSE_BODY_BYTES_MAX);

#[cfg(test)]
mod tests {
    use super::*;

    fn text(payload: &Payload) -> &str {
        std::str::from_utf8(payload).unwrap()
    }

    #[test]
    fn errors_of_the_server_are_compared_as_text() {
        let error = FunctionError::server(
            "InvalidExpression",
            "it failed",
            Some("ERROR: <input>:1 & more"),
            "InvalidExpression: it failed",
        );
        assert_eq!(
            text(error.output.as_ref().unwrap()),
            r#"{"error":{"error":"InvalidExpression: it failed","name":"InvalidExpression","message":"it failed","stack":"ERROR: \u003cinput\u003e:1 \u0026 more"}}"#
        );
        assert_eq!(
            text(&error.error),
            r#"{"error":"InvalidExpression","message":"it failed","name":"InvalidExpression","stack":"ERROR: <input>:1 & more"}"#
        );
        let error = FunctionError::output_too_large();
        assert_eq!(
            text(error.output.as_ref().unwrap()),
            r#"{"error":{"error":"output_too_large: Your function's response body exceeds the maximum size limit","name":"output_too_large","message":"Your function's response body exceeds the maximum size limit"}}"#
        );
        let error = FunctionError::plain("no response data");
        assert_eq!(text(&error.error), r#"{"error":"no response data","message":"no response data","name":"Error"}"#);
        assert_eq!(
            text(error.output.as_ref().unwrap()),
            r#"{"error":{"error":"no response data","name":"Error","message":"no response data"}}"#
        );
    }

    #[test]
    fn error_bodies_of_sdks_are_normalised() {
        let transport = "invalid status code: 500";
        for (body, expected) in [
            // JS
            (
                r#"{"name":"RangeError","message":"m","stack":"s","cause":{"z":1, "a":2},"__serialized":true}"#,
                r#"{"cause":{"a":2,"z":1},"error":"invalid status code: 500","message":"m","name":"RangeError","stack":"s"}"#,
            ),
            // Python
            (
                r#"{"code":"c","message":"m","name":"N","stack":"s"}"#,
                r#"{"error":"invalid status code: 500","message":"m","name":"N","stack":"s"}"#,
            ),
            // Go
            (r#"{"message":"m"}"#, r#"{"error":"invalid status code: 500","message":"m","name":"Error"}"#),
            // Errors inside of errors.
            (
                r#"{"error":{"name":"I","message":"inner"},"message":"outer"}"#,
                r#"{"error":"invalid status code: 500","message":"inner","name":"I"}"#,
            ),
            (
                r#"{"error":"{\"name\":\"I\",\"message\":\"inner\"}"}"#,
                r#"{"error":"invalid status code: 500","message":"inner","name":"I"}"#,
            ),
            (
                r#"{"body":"{\"name\":\"I\",\"message\":\"inner\",\"stack\":\"s\"}"}"#,
                r#"{"error":"invalid status code: 500","message":"inner","name":"I","stack":"s"}"#,
            ),
            (
                r#"{"body":{"message":"inner"}}"#,
                r#"{"error":"invalid status code: 500","message":"inner","name":"Error"}"#,
            ),
            (r#"{"error":"boom"}"#, r#"{"error":"boom","message":"invalid status code: 500","name":"Error"}"#),
            (
                r#"{"error":"boom","name":"","message":7}"#,
                r#"{"error":"boom","message":"invalid status code: 500","name":"Error"}"#,
            ),
            // Nothing of use.
            (r#"{"code":7}"#, r#"{"error":"invalid status code: 500","message":"{\"code\":7}","name":"Error"}"#),
            (r#""text""#, r#"{"error":"invalid status code: 500","message":"text","name":"Error"}"#),
            (r#"["a","b"]"#, r#"{"error":"invalid status code: 500","message":"[\"a\",\"b\"]","name":"Error"}"#),
            ("oh no", r#"{"error":"invalid status code: 500","message":"oh no","name":"Error"}"#),
            ("", r#"{"error":"invalid status code: 500","message":"invalid status code: 500","name":"Error"}"#),
        ] {
            assert_eq!(text(&FunctionError::of_body(body.as_bytes(), transport).error), expected, "{body}");
        }
    }

    #[test]
    fn a_long_body_is_cut_in_the_message_and_kept_in_the_output() {
        let body = "ä".repeat(MESSAGE_BYTES_MAX);
        let error = FunctionError::of_body(body.as_bytes(), "t");
        assert!(error.error.len() < MESSAGE_BYTES_MAX + 200);
        assert_eq!(error.output.unwrap().len(), body.len() + 2);
    }

    #[test]
    fn an_answer_from_in_front_of_the_app_is_quoted() {
        let error = FunctionError::upstream(504, Some("text/html"), b"<html>502 Bad Gateway</html>");
        let output = text(error.output.as_ref().unwrap());
        let start = r#"{"error":"Your server returned HTTP 504 before the SDK responded.","name":"Server returned a fatal error","message":"Your server returned HTTP 504 before the SDK responded.","stack":""#;
        assert!(output.starts_with(start), "{output}");
        assert!(
            output
                .ends_with(r#"\n\nUpstream response (text/html):\n\u003chtml\u003e502 Bad Gateway\u003c/html\u003e"}"#),
            "{output}"
        );
        assert!(text(&error.error).ends_with(r#"Upstream response (text/html):\n<html>502 Bad Gateway</html>"}"#));

        let long = FunctionError::upstream(500, None, &[b'a'; 9000]).error;
        assert!(text(&long).contains("(unknown content-type)") && text(&long).ends_with("a\\n… (truncated)\"}"));
        assert!(!text(&FunctionError::upstream(500, None, b"").error).contains("Upstream response"));
    }

    #[test]
    fn a_success_without_an_sdk_shows_its_body() {
        let error = FunctionError::not_sdk(None, b"<html>hi</html>");
        assert_eq!(text(error.output.as_ref().unwrap()), r#""<html>hi</html>""#);
        assert_eq!(
            text(&error.error),
            r#"{"error":"not_sdk","message":"The response did not come from an Inngest SDK","name":"Error"}"#
        );
        assert_eq!(FunctionError::not_sdk(None, b"").output, None);
    }
}
