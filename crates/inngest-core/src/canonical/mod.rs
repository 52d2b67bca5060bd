//! Canonical JSON (RFC 8785): sorted keys, no white space, one spelling for every value.
//!
//! Payloads are brought into this form once, at intake, and from then on they are only copied. The work is
//! one pass without recursion: members of an object are written in the order in which they come, and only an
//! object that was not sorted is put in order afterwards.

mod fields;
mod number;
mod order;
mod writer;

pub use fields::fields;

use std::borrow::Cow;

use writer::{Writer, plain_length};

/// How numbers are spelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbers {
    /// As ES6 prints them, but a number that a double cannot hold keeps its text: `12345678901234567890` stays.
    Exact,
    /// As ES6 prints them, always: what RFC 8785 says, and what signatures are made over.
    Double,
}

/// Why a text is not JSON that we accept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem} at byte {at}")]
pub struct JsonError {
    /// What is wrong.
    pub problem: &'static str,
    /// Where, counted in bytes from 0; what was replaced by U+FFFD before counts as its three bytes.
    pub at: usize,
}

/// The canonical form of one JSON text. Bytes that are no UTF-8, and escapes of lone surrogates, become
/// U+FFFD; of equal keys the last one wins.
pub fn canonicalise(json: &[u8], numbers: Numbers) -> Result<Vec<u8>, JsonError> {
    let text = as_utf8(json);
    Writer::new(text.as_bytes(), numbers, None).write()
}

/// As [`canonicalise`] for an object, leaving out the member `drop` of the outermost level. `None` when the
/// text is JSON, but no object.
pub fn canonical_object(json: &[u8], numbers: Numbers, drop: Option<&str>) -> Result<Option<Vec<u8>>, JsonError> {
    let text = as_utf8(json);
    let written = Writer::new(text.as_bytes(), numbers, drop).write()?;
    Ok((written.first() == Some(&b'{')).then_some(written))
}

/// `String::from_utf8_lossy`, but quick when there is nothing to replace.
fn as_utf8(json: &[u8]) -> Cow<'_, str> {
    std::str::from_utf8(json).map_or_else(|_| String::from_utf8_lossy(json), Cow::Borrowed)
}

/// Appends `text` as a JSON string.
pub fn write_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    while let Some(plain) = plain_length(rest) {
        out.extend_from_slice(&rest[..plain]);
        write_escaped(out, rest[plain]);
        rest = &rest[plain + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

fn write_escaped(out: &mut Vec<u8>, byte: u8) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let short = match byte {
        b'"' => b'"',
        b'\\' => b'\\',
        0x08 => b'b',
        0x09 => b't',
        0x0a => b'n',
        0x0c => b'f',
        0x0d => b'r',
        _ => {
            out.extend_from_slice(b"\\u00");
            out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::limits;

    fn text(json: &str, numbers: Numbers) -> Result<String, JsonError> {
        canonicalise(json.as_bytes(), numbers).map(|bytes| String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn one_spelling_for_every_value() {
        let table = [
            (" { } ", "{}"),
            ("[ ]", "[]"),
            ("[1 , 2,[ 3 ]]", "[1,2,[3]]"),
            (r#"{"b":1,"a":{"d":2,"c":3}}"#, r#"{"a":{"c":3,"d":2},"b":1}"#),
            (r#"{"a":1,"b":2,"a":3}"#, r#"{"a":3,"b":2}"#),
            (r#""\u0041\/\u00e9\u20ac\ud83d\ude00\b\u0000\u001f""#, "\"A/é€😀\\b\\u0000\\u001f\""),
            (r#""\ud800x\udc00""#, "\"\u{fffd}x\u{fffd}\""),
            (
                r#"{"\u20ac":1,"\r":2,"\ufb33":3,"1":4,"\ud83d\ude00":5,"\u0080":6,"ö":7}"#,
                "{\"\\r\":2,\"1\":4,\"\u{80}\":6,\"ö\":7,\"€\":1,\"😀\":5,\"\u{fb33}\":3}",
            ),
            (
                "[1.0,1.50,1e3,-0,-0.0,0.000001,1e-7,1e21,4.50,2e-3,333333333.33333329]",
                "[1,1.5,1000,0,0,0.000001,1e-7,1e+21,4.5,0.002,333333333.3333333]",
            ),
            ("[true,false,null]", "[true,false,null]"),
        ];
        for (json, canonical) in table {
            assert_eq!(text(json, Numbers::Double).as_deref(), Ok(canonical), "{json}");
            assert_eq!(text(canonical, Numbers::Double).as_deref(), Ok(canonical), "{canonical} is canonical");
        }
    }

    #[test]
    fn exact_numbers_keep_what_a_double_would_lose() {
        let table = [
            ("12345678901234567890", "12345678901234567890", Some("12345678901234567000")),
            ("9007199254740993", "9007199254740993", Some("9007199254740992")),
            ("0.1000", "0.1", Some("0.1")),
            ("1000000000000000000000", "1e+21", Some("1e+21")),
            ("0.10000000000000000001", "0.10000000000000000001", Some("0.1")),
            ("1e400", "1e400", None),
            ("-1e400", "-1e400", None),
            ("-0", "0", Some("0")),
            ("129.95", "129.95", Some("129.95")),
            ("-0.5", "-0.5", Some("-0.5")),
            ("0.0000001", "1e-7", Some("1e-7")),
            ("0.30000000000000004", "0.30000000000000004", Some("0.30000000000000004")),
            ("1.5e-9223372036854775808", "1.5e-9223372036854775808", Some("0")),
            ("1e-99999999999999999999", "1e-99999999999999999999", Some("0")),
            ("0.0e-9223372036854775808", "0", Some("0")),
            ("10.0e-9223372036854775808", "10.0e-9223372036854775808", Some("0")),
        ];
        for (json, exact, double) in table {
            assert_eq!(text(json, Numbers::Exact).as_deref(), Ok(exact), "{json}");
            assert_eq!(text(json, Numbers::Double).ok().as_deref(), double, "{json}");
        }
    }

    #[test]
    fn what_is_no_json_is_refused() {
        let bad = [
            "",
            " ",
            "{",
            "[",
            "[1",
            "[1,",
            "[1,]",
            "{\"a\"",
            "{\"a\":",
            "{\"a\":1",
            "{\"a\":1,",
            "{\"a\":1,}",
            "{a:1}",
            "{1:1}",
            "\"",
            "\"\\",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\\u+123\"",
            "\"a\nb\"",
            "01",
            "-",
            "1.",
            ".5",
            "1e",
            "1e+",
            "+1",
            "tru",
            "nul",
            "True",
            "1 2",
            "{} {}",
            "[1 2]",
            "{\"a\" 1}",
            "]",
            "}",
            ",",
            "[}",
            "{]",
            "NaN",
        ];
        for json in bad {
            assert!(text(json, Numbers::Exact).is_err(), "{json:?}");
        }
        assert_eq!(text("[1,x]", Numbers::Exact).unwrap_err().to_string(), "expected a value at byte 3");
    }

    #[test]
    fn depth_is_bounded_without_recursion() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(text(&nested(limits::JSON_DEPTH_MAX), Numbers::Exact).is_ok());
        assert!(text(&nested(limits::JSON_DEPTH_MAX + 1), Numbers::Exact).is_err());
        assert!(text(&"{\"a\":".repeat(100_000), Numbers::Exact).is_err());
    }

    /// Once, each level moved all that was inside of it: 16 MB took twelve seconds.
    #[test]
    fn deep_objects_out_of_order_are_not_moved_once_a_level() {
        let (depth, long) = (limits::JSON_DEPTH_MAX, "x".repeat(4 << 20));
        let sent = format!("{}\"{long}\"{}", "{\"b\":".repeat(depth), ",\"a\":1}".repeat(depth));
        let ordered = format!("{}\"{long}\"{}", "{\"a\":1,\"b\":".repeat(depth), "}".repeat(depth));
        assert!(text(&sent, Numbers::Exact).is_ok_and(|text| text == ordered));
    }

    #[test]
    fn the_example_of_the_rfc() {
        let sent = r#"{
            "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
            "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
            "literals": [null, true, false]
        }"#;
        let expected = "{\"literals\":[null,true,false],\"numbers\":[333333333.3333333,1e+30,4.5,0.002,1e-27],\
                        \"string\":\"€$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\"}";
        assert_eq!(text(sent, Numbers::Double).as_deref(), Ok(expected));
    }

    #[test]
    fn a_member_can_be_left_out_of_the_outermost_object() {
        let drop = |json: &str| {
            canonical_object(json.as_bytes(), Numbers::Exact, Some("_x"))
                .unwrap()
                .map(|out| String::from_utf8(out).unwrap())
        };
        assert_eq!(drop(r#"{"_x":1,"a":{"_x":2}}"#).as_deref(), Some(r#"{"a":{"_x":2}}"#));
        assert_eq!(drop(r#"{"_x":1}"#).as_deref(), Some("{}"));
        assert_eq!(drop(r#"{"z":1,"\u005fx":1,"a":0}"#).as_deref(), Some(r#"{"a":0,"z":1}"#));
        assert_eq!(drop("[1]"), None);
        assert!(canonical_object(b"{", Numbers::Exact, None).is_err());
    }

    #[test]
    fn invalid_utf8_is_replaced() {
        assert_eq!(canonicalise(b"\"a\xffb\"", Numbers::Exact).unwrap(), "\"a\u{fffd}b\"".as_bytes());
    }

    #[test]
    fn fields_are_split_without_parsing_them() {
        let json = br#"{"a":{"x":[1,"}"]},"b\"c":"\\\"","d":null,"e":-1.5}"#;
        let found: Vec<(String, &[u8])> = fields(json).map(|(key, value)| (key.into_owned(), value)).collect();
        let expected: [(&str, &[u8]); 4] =
            [("a", br#"{"x":[1,"}"]}"#), ("b\"c", br#""\\\"""#), ("d", b"null"), ("e", b"-1.5")];
        assert_eq!(found, expected.map(|(key, value)| (key.to_owned(), value)));
        assert_eq!(fields(b"{}").count() + fields(b"[1]").count() + fields(b"").count(), 0);
    }

    /// JSON as senders write it: members in any order, keys more than once, white space.
    #[derive(Clone, Debug)]
    enum Sent {
        Leaf(Value),
        Array(Vec<Sent>),
        Object(Vec<(String, Sent)>),
    }

    impl Sent {
        fn text(&self) -> String {
            let list = |parts: Vec<String>| parts.join(" ,\n");
            match self {
                Self::Leaf(value) => value.to_string(),
                Self::Array(items) => format!("[{}]", list(items.iter().map(Self::text).collect())),
                Self::Object(members) => {
                    let member = |(key, value): &(String, Self)| format!("{} : {}", json!(key), value.text());
                    format!("{{{}}}", list(members.iter().map(member).collect()))
                }
            }
        }

        fn value(&self) -> Value {
            match self {
                Self::Leaf(value) => value.clone(),
                Self::Array(items) => items.iter().map(Self::value).collect(),
                Self::Object(members) => members.iter().map(|(key, value)| (key.clone(), value.value())).collect(),
            }
        }
    }

    fn any_sent() -> impl Strategy<Value = Sent> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            (any::<i32>(), 0..20_i32).prop_map(|(digits, power)| json!(f64::from(digits) / 10_f64.powi(power))),
            any::<f64>()
                .prop_filter("JSON has no infinity", |number| number.is_finite())
                .prop_map(|number| json!(number)),
            ".*".prop_map(Value::from),
            // Long enough that the objects around are put in order at the end.
            (200..700_usize).prop_map(|length| Value::from("x".repeat(length))),
        ];
        let key = "[ab]{0,2}|\\PC{0,6}|[\u{e000}-\u{ffff}\u{10000}-\u{10100}a\"\\\\]{0,4}";
        leaf.prop_map(Sent::Leaf).prop_recursive(5, 64, 8, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(Sent::Array),
                prop::collection::vec((key, inner), 0..8).prop_map(Sent::Object),
            ]
        })
    }

    proptest! {
        #[test]
        fn agrees_with_the_reference_implementation(sent in any_sent()) {
            let expected = serde_json_canonicalizer::to_vec(&sent.value()).unwrap();
            let ours = canonicalise(sent.text().as_bytes(), Numbers::Double).unwrap();
            prop_assert_eq!(String::from_utf8(ours), String::from_utf8(expected));
        }

        #[test]
        fn drops_what_the_reference_never_saw(members in prop::collection::vec(("[ab]", any_sent()), 0..5)) {
            let sent = Sent::Object(members);
            let mut kept = sent.value();
            kept.as_object_mut().unwrap().remove("a");
            let ours = canonical_object(sent.text().as_bytes(), Numbers::Double, Some("a")).unwrap();
            prop_assert_eq!(ours, serde_json_canonicalizer::to_vec(&kept).ok());
        }

        #[test]
        fn plain_lengths_are_those_of_a_plain_search(text in "[a\"\\\\\u{0}-\u{21}é\u{7f}-\u{a3}]{0,12}|[a-zé]{0,30}\"?.{0,9}") {
            let special = |byte: u8| byte < 0x20 || byte == b'"' || byte == b'\\';
            prop_assert_eq!(plain_length(text.as_bytes()), text.bytes().position(special));
        }

        #[test]
        fn numbers_keep_their_value(text in "-?(0|[1-9][0-9]{0,18})(\\.[0-9]{1,18})?([eE][-+]?[0-9]{1,3})?|-?[0-9]\\.0{0,8}[0-9]{1,3}e-?[0-9]{17,21}") {
            let exact = canonicalise(text.as_bytes(), Numbers::Exact).unwrap();
            let number = |text: &[u8]| std::str::from_utf8(text).unwrap().parse::<f64>().unwrap();
            prop_assert_eq!(number(&exact), number(text.as_bytes()));
            if let Ok(double) = canonicalise(text.as_bytes(), Numbers::Double) {
                let mut buffer = ryu_js::Buffer::new();
                prop_assert_eq!(String::from_utf8(double).unwrap(), buffer.format(number(text.as_bytes())));
            }
        }

        #[test]
        fn never_panics_and_is_stable(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(once) = canonicalise(&bytes, Numbers::Exact) {
                prop_assert_eq!(canonicalise(&once, Numbers::Exact), Ok(once.clone()));
                fields(&once).count();
            }
            fields(&bytes).count();
        }

        #[test]
        fn json_like_text_never_panics(text in "[\\[\\]{}\",:0-9eE.+\\-tfn \\\\ud]{0,60}") {
            if let Ok(once) = canonicalise(text.as_bytes(), Numbers::Exact) {
                prop_assert!(serde_json::from_slice::<serde::de::IgnoredAny>(&once).is_ok());
            }
        }
    }
}
