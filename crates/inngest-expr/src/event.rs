//! Events as expressions see them.

use inngest_core::canonical::write_string;
use serde_json::Value as Json;

/// Levels of nested lists and maps that expressions look into.
const LEVELS_MAX: usize = 100;

/// Reads the content of an event. Every content that is JSON can be read: lists and maps below [100 levels](LEVELS_MAX)
/// are texts (their own JSON), which are equal only to their likes, so that whatever walks a value needs a bounded
/// stack; a number beyond all doubles is the largest one.
///
/// An error means that it is no JSON. Then nothing is known of the event, and no condition holds for it: it must
/// not be taken for an event that lacks everything, since two of those agree in all they lack.
pub fn parse(json: &[u8]) -> serde_json::Result<Json> {
    match serde_json::from_slice(json) {
        Ok(value) if fits(&value, LEVELS_MAX) => Ok(value),
        _ => serde_json::from_slice(&tamed(json)),
    }
}

fn fits(value: &Json, levels: usize) -> bool {
    match value {
        Json::Array(items) => levels > 0 && items.iter().all(|item| fits(item, levels - 1)),
        Json::Object(entries) => levels > 0 && entries.values().all(|value| fits(value, levels - 1)),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => true,
    }
}

/// The same text with what is too deep or too large replaced. What is no JSON stays so.
fn tamed(json: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(json.len());
    let (mut at, mut level) = (0, 0);
    while let Some(first) = json.get(at) {
        let mut end = at + 1;
        match first {
            b'"' => end = end_of_string(json, at),
            b'[' | b'{' if level == LEVELS_MAX => {
                end = end_of_brackets(json, at);
                write_string(&mut out, &String::from_utf8_lossy(&json[at..end]));
                at = end;
                continue;
            }
            b'[' | b'{' => level += 1,
            b']' | b'}' => level = level.saturating_sub(1),
            b'-' | b'0'..=b'9' => {
                let is_part = |byte: &&u8| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
                end = at + json[at..].iter().take_while(is_part).count();
                let number = std::str::from_utf8(&json[at..end]).ok().and_then(|text| text.parse::<f64>().ok());
                if let Some(number) = number.filter(|number| number.is_infinite()) {
                    out.extend_from_slice(format!("{:e}", f64::MAX.copysign(number)).as_bytes());
                    at = end;
                    continue;
                }
            }
            _ => {}
        }
        out.extend_from_slice(&json[at..end]);
        at = end;
    }
    out
}

/// Where the string that begins at `start` has ended.
fn end_of_string(json: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(byte) = json.get(at) {
        match byte {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    json.len()
}

/// Where the list or map that begins at `start` has ended.
fn end_of_brackets(json: &[u8], start: usize) -> usize {
    let (mut at, mut open) = (start, 0_usize);
    while let Some(byte) = json.get(at) {
        match byte {
            b'"' => {
                at = end_of_string(json, at);
                continue;
            }
            b'[' | b'{' => open += 1,
            b']' | b'}' if open == 1 => return at + 1,
            b']' | b'}' => open -= 1,
            _ => {}
        }
        at += 1;
    }
    json.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(json: &str) -> Json {
        parse(json.as_bytes()).unwrap_or_else(|error| panic!("{error}: {json:.80}"))
    }

    #[test]
    fn an_event_of_any_depth_can_be_read() {
        for (levels, close) in [(99, "]"), (100, "]"), (101, "]"), (127, "]"), (128, "]"), (10_000, "]")] {
            let deep = |inner: &str| format!(r#"{{"a":{}{inner}{}}}"#, "[".repeat(levels), close.repeat(levels));
            let value = read(&deep(r#""]\"""#));
            assert!(fits(&value, LEVELS_MAX));
            assert_eq!(value, read(&deep(r#""]\"""#)));
            assert_ne!(value, read(&deep("2")), "what differs is not equal, however deep");
        }
        let deep = format!("{}{{\"b\":1}}{}", "[".repeat(100), "]".repeat(100));
        let shown = (0..100).fold(read(&deep), |value, _| value[0].clone());
        assert_eq!(shown, r#"{"b":1}"#, "a text");
    }

    #[test]
    fn a_number_beyond_all_doubles_is_the_largest() {
        let digits = "9".repeat(400);
        let event = read(&format!(r#"{{"a":1e999,"b":-1e999,"c":{digits},"d":"1e999","e":[1e-999,12,1.5e3]}}"#));
        let expected =
            serde_json::json!({ "a": f64::MAX, "b": f64::MIN, "c": f64::MAX, "d": "1e999", "e": [0.0, 12, 1.5e3] });
        assert_eq!(event, expected);
    }

    #[test]
    fn what_is_no_json_is_no_event() {
        for text in ["", "{", "[1e999", "\"", "{\"a\":1e999}}", "not json", &"[".repeat(200), &"]".repeat(200)] {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in "[\\[\\]{}\",:\\\\e019+.-]{0,40}", deep in 90_usize..110) {
            let _any_outcome = parse(text.as_bytes());
            let _any_outcome = parse(format!("{}{text}", "[".repeat(deep)).as_bytes());
        }

        /// Printed and read again it is the same: what a run keeps of its event equals what a later event has.
        #[test]
        fn numbers_survive_being_printed(bits in any::<u64>(), digits in "-?(0|[1-9][0-9]{0,25})(\\.[0-9]{1,25})?([eE][+-]?[0-9]{1,3})?") {
            let double = f64::from_bits(bits);
            let printed = if double.is_finite() { format!("{double:e}") } else { "0".to_owned() };
            for text in [digits, printed] {
                let value = read(&text);
                let expected: f64 = text.parse().unwrap();
                prop_assert_eq!(value.as_f64(), Some(expected.clamp(f64::MIN, f64::MAX)), "{}", text);
                prop_assert_eq!(&read(&value.to_string()), &value, "{}", text);
            }
        }
    }
}
