//! The body of a reply as one JSON value.

use inngest_core::Payload;
use inngest_core::canonical::{self, Numbers};

/// What a function returned, or the body of its error, canonical. `None` when the body is empty.
///
/// Text that is no JSON becomes a JSON string, and an object that was encoded twice is taken out of its
/// string, because serverless platforms wrap bodies this way.
pub(super) fn read(body: &[u8]) -> Option<Payload> {
    if body.trim_ascii().is_empty() {
        return None;
    }
    let Ok(value) = canonical::canonicalise(body, Numbers::Exact) else { return Some(text(body)) };
    let unwrapped = if value.first() == Some(&b'"') { object_within(&value) } else { None };
    Some(unwrapped.unwrap_or(value).into())
}

/// A text as a JSON string.
pub(super) fn text(body: &[u8]) -> Payload {
    let mut out = Vec::with_capacity(body.len() + 2);
    canonical::write_string(&mut out, &String::from_utf8_lossy(body));
    out.into()
}

fn object_within(string: &[u8]) -> Option<Vec<u8>> {
    let text: String = serde_json::from_slice(string).ok()?;
    let is_object = text.trim_ascii_start().starts_with('{');
    is_object.then(|| canonical::canonicalise(text.as_bytes(), Numbers::Exact).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn a_body_is_one_json_value() {
        for (body, expected) in [
            ("", None),
            (" \n", None),
            ("null", Some("null")),
            (r#"{"b":1, "a":2}"#, Some(r#"{"a":2,"b":1}"#)),
            (r#""{\"b\":1, \"a\":2}""#, Some(r#"{"a":2,"b":1}"#)),
            (r#""[1]""#, Some(r#""[1]""#)),
            (r#""{oh""#, Some(r#""{oh""#)),
            ("[1, 2]", Some("[1,2]")),
            ("12345678901234567890", Some("12345678901234567890")),
            ("<html>hi</html>", Some(r#""<html>hi</html>""#)),
            ("{\"a\":", Some(r#""{\"a\":""#)),
        ] {
            assert_eq!(read(body.as_bytes()).as_deref(), expected.map(str::as_bytes), "{body}");
        }
        assert_eq!(read(b"\xff").as_deref(), Some("\"\u{fffd}\"".as_bytes()));
    }
}
