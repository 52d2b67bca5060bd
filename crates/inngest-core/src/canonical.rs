//! Canonical JSON (RFC 8785): sorted keys, no white space, one spelling for every value.
//!
//! Payloads are brought into this form once, at intake, and from then on they are only copied. The work is
//! one pass without recursion: members of an object are written in the order in which they come, and only an
//! object that was not sorted is put in order afterwards.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::ops::Range;

use crate::limits;

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
    /// Where, counted in bytes from 0.
    pub at: usize,
}

/// The canonical form of one JSON text. Bytes that are no UTF-8, and escapes of lone surrogates, become
/// U+FFFD; of equal keys the last one wins.
pub fn canonicalise(json: &[u8], numbers: Numbers) -> Result<Vec<u8>, JsonError> {
    let text = String::from_utf8_lossy(json);
    Writer::new(text.as_bytes(), numbers).write(None)
}

/// As [`canonicalise`] for an object, leaving out the member `drop` of the outermost level. `None` when the
/// text is JSON, but no object.
pub fn canonical_object(json: &[u8], numbers: Numbers, drop: Option<&str>) -> Result<Option<Vec<u8>>, JsonError> {
    let text = String::from_utf8_lossy(json);
    let written = Writer::new(text.as_bytes(), numbers).write(drop)?;
    Ok((written.first() == Some(&b'{')).then_some(written))
}

/// Appends `text` as a JSON string.
pub fn write_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut from = 0;
    for (at, byte) in bytes.iter().enumerate() {
        if *byte < 0x20 || *byte == b'"' || *byte == b'\\' {
            out.extend_from_slice(&bytes[from..at]);
            write_escaped(out, *byte);
            from = at + 1;
        }
    }
    out.extend_from_slice(&bytes[from..]);
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

/// One member of an object being written: where its key and all of it stand in the output.
#[derive(Clone)]
struct Member {
    key: Range<usize>,
    end: usize,
}

/// An array or object that is open.
struct Frame {
    object: bool,
    /// Where its content begins in the output.
    start: usize,
    /// Where its members begin in the list of members.
    members: usize,
    sorted: bool,
}

struct Writer<'a> {
    json: &'a [u8],
    at: usize,
    numbers: Numbers,
    out: Vec<u8>,
    frames: Vec<Frame>,
    members: Vec<Member>,
}

impl<'a> Writer<'a> {
    fn new(json: &'a [u8], numbers: Numbers) -> Self {
        Self { json, at: 0, numbers, out: Vec::with_capacity(json.len()), frames: Vec::new(), members: Vec::new() }
    }

    fn write(mut self, drop: Option<&str>) -> Result<Vec<u8>, JsonError> {
        loop {
            // A value, or the end of an empty array or object.
            self.skip_space();
            match self.peek() {
                Some(b'{') => {
                    if self.open(true)? {
                        continue;
                    }
                }
                Some(b'[') => {
                    if self.open(false)? {
                        continue;
                    }
                }
                _ => self.scalar()?,
            }
            // After a value: close what ends here, then go on with the next member or element.
            loop {
                let Some(frame) = self.frames.last() else { return self.finish() };
                let object = frame.object;
                self.skip_space();
                match (self.peek(), object) {
                    (Some(b','), _) => {
                        self.at += 1;
                        if object {
                            self.end_member();
                            self.key()?;
                        } else {
                            self.out.push(b',');
                        }
                        break;
                    }
                    (Some(b'}'), true) => {
                        self.end_member();
                        self.close_object(drop);
                    }
                    (Some(b']'), false) => {
                        self.out.push(b']');
                        self.frames.pop();
                    }
                    (Some(_), true) => return Err(self.wrong("expected ',' or '}'")),
                    (Some(_), false) => return Err(self.wrong("expected ',' or ']'")),
                    (None, _) => return Err(self.wrong("unexpected end of JSON input")),
                }
                self.at += 1;
            }
        }
    }

    fn finish(mut self) -> Result<Vec<u8>, JsonError> {
        self.skip_space();
        match self.peek() {
            None => Ok(self.out),
            Some(_) => Err(self.wrong("unexpected text after the value")),
        }
    }

    /// Opens an array or object; false when it was empty and is closed already.
    fn open(&mut self, object: bool) -> Result<bool, JsonError> {
        if self.frames.len() >= limits::JSON_DEPTH_MAX {
            return Err(self.wrong("nested too deeply"));
        }
        self.at += 1;
        self.skip_space();
        if self.peek() == Some(if object { b'}' } else { b']' }) {
            self.at += 1;
            self.out.extend_from_slice(if object { b"{}" } else { b"[]" });
            return Ok(false);
        }
        self.out.push(if object { b'{' } else { b'[' });
        self.frames.push(Frame { object, start: self.out.len(), members: self.members.len(), sorted: true });
        if object {
            self.key()?;
        }
        Ok(true)
    }

    /// A key and its colon.
    fn key(&mut self) -> Result<(), JsonError> {
        self.skip_space();
        if self.peek() != Some(b'"') {
            return Err(self.wrong("expected a key in double quotes"));
        }
        let first = self.frames.last().is_some_and(|frame| frame.members == self.members.len());
        if !first {
            self.out.push(b',');
        }
        let start = self.out.len();
        self.string()?;
        let key = start..self.out.len();
        if !first {
            let before = self.members.last().map_or(0..0, |member| member.key.clone());
            if compare_keys(&self.out[before], &self.out[key.clone()]) != Ordering::Less {
                self.frames.last_mut().expect("inside an object").sorted = false;
            }
        }
        self.skip_space();
        if self.peek() != Some(b':') {
            return Err(self.wrong("expected ':' after a key"));
        }
        self.at += 1;
        self.out.push(b':');
        self.members.push(Member { key, end: start });
        Ok(())
    }

    fn end_member(&mut self) {
        self.members.last_mut().expect("inside an object").end = self.out.len();
    }

    fn close_object(&mut self, drop: Option<&str>) {
        let frame = self.frames.pop().expect("inside an object");
        let outermost = self.frames.is_empty();
        let mut dropped = Vec::new();
        if let (true, Some(drop)) = (outermost, drop) {
            write_string(&mut dropped, drop);
        }
        let named = |out: &[u8], member: &Member| !dropped.is_empty() && out[member.key.clone()] == dropped[..];
        let members = &mut self.members[frame.members..];
        if !frame.sorted || members.iter().any(|member| named(&self.out, member)) {
            members.sort_by(|a, b| compare_keys(&self.out[a.key.clone()], &self.out[b.key.clone()]));
            let mut ordered = Vec::with_capacity(self.out.len() - frame.start);
            for (index, member) in members.iter().enumerate() {
                let again = members.get(index + 1);
                if again.is_some_and(|next| self.out[next.key.clone()] == self.out[member.key.clone()])
                    || named(&self.out, member)
                {
                    continue;
                }
                if !ordered.is_empty() {
                    ordered.push(b',');
                }
                ordered.extend_from_slice(&self.out[member.key.start..member.end]);
            }
            self.out.truncate(frame.start);
            self.out.extend_from_slice(&ordered);
        }
        self.members.truncate(frame.members);
        self.out.push(b'}');
    }

    fn scalar(&mut self) -> Result<(), JsonError> {
        match self.peek() {
            Some(b'"') => self.string(),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word(b"true"),
            Some(b'f') => self.word(b"false"),
            Some(b'n') => self.word(b"null"),
            Some(_) => Err(self.wrong("expected a value")),
            None => Err(self.wrong("unexpected end of JSON input")),
        }
    }

    fn word(&mut self, word: &[u8]) -> Result<(), JsonError> {
        if !self.json[self.at..].starts_with(word) {
            return Err(self.wrong("expected a value"));
        }
        self.at += word.len();
        self.out.extend_from_slice(word);
        Ok(())
    }

    fn string(&mut self) -> Result<(), JsonError> {
        self.out.push(b'"');
        self.at += 1;
        loop {
            let rest = &self.json[self.at..];
            let plain = rest.iter().position(|byte| *byte == b'"' || *byte == b'\\' || *byte < 0x20);
            let Some(plain) = plain else {
                self.at = self.json.len();
                return Err(self.wrong("unexpected end of JSON input"));
            };
            self.out.extend_from_slice(&rest[..plain]);
            self.at += plain;
            match rest[plain] {
                b'"' => {
                    self.out.push(b'"');
                    self.at += 1;
                    return Ok(());
                }
                b'\\' => self.escape()?,
                _ => return Err(self.wrong("control character in a string")),
            }
        }
    }

    fn escape(&mut self) -> Result<(), JsonError> {
        let byte = match self.json.get(self.at + 1) {
            Some(b'u') => return self.unicode_escape(),
            Some(b'/') => {
                self.out.push(b'/');
                self.at += 2;
                return Ok(());
            }
            Some(b'b') => 0x08,
            Some(b'f') => 0x0c,
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(byte @ (b'"' | b'\\')) => *byte,
            Some(_) => return Err(self.wrong("unknown escape in a string")),
            None => return Err(self.wrong("unexpected end of JSON input")),
        };
        write_escaped(&mut self.out, byte);
        self.at += 2;
        Ok(())
    }

    fn unicode_escape(&mut self) -> Result<(), JsonError> {
        let unit = self.hex_unit(self.at)?;
        self.at += 6;
        let mut code = u32::from(unit);
        if (0xd800..0xdc00).contains(&unit) && self.json[self.at..].starts_with(b"\\u") {
            let low = self.hex_unit(self.at)?;
            if (0xdc00..0xe000).contains(&low) {
                self.at += 6;
                code = 0x1_0000 + ((u32::from(unit) - 0xd800) << 10) + (u32::from(low) - 0xdc00);
            }
        }
        let character = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
        match u8::try_from(character) {
            Ok(byte) if byte < 0x20 || byte == b'"' || byte == b'\\' => write_escaped(&mut self.out, byte),
            _ => self.out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
        }
        Ok(())
    }

    fn hex_unit(&self, at: usize) -> Result<u16, JsonError> {
        let digits = self.json.get(at + 2..at + 6).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        let text = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        let unit = text.and_then(|text| u16::from_str_radix(text, 16).ok());
        unit.ok_or_else(|| self.wrong("unknown escape in a string"))
    }

    fn number(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        self.at += usize::from(self.json[start] == b'-');
        match self.peek() {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits(),
            _ => return Err(self.wrong("expected a digit")),
        }
        let whole = self.at;
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.required_digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            self.at += usize::from(matches!(self.peek(), Some(b'+' | b'-')));
            self.required_digits()?;
        }
        let text = &self.json[start..self.at];
        // Every integer of so few digits is its own ES6 form, but for minus zero.
        if whole == self.at && text.len() <= 15 && text != b"-0" {
            self.out.extend_from_slice(text);
            return Ok(());
        }
        self.write_number(start)
    }

    fn write_number(&mut self, start: usize) -> Result<(), JsonError> {
        let text = std::str::from_utf8(&self.json[start..self.at]).unwrap_or_default();
        let value: f64 = text.parse().unwrap_or(f64::INFINITY);
        if !value.is_finite() {
            if self.numbers == Numbers::Double {
                return Err(JsonError { problem: "number out of range", at: start });
            }
            self.out.extend_from_slice(text.as_bytes());
            return Ok(());
        }
        let mut buffer = ryu_js::Buffer::new();
        let printed = buffer.format_finite(value);
        let lossless = self.numbers == Numbers::Double || decimal(printed) == decimal(text);
        self.out.extend_from_slice(if lossless { printed } else { text }.as_bytes());
        Ok(())
    }

    fn digits(&mut self) {
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
    }

    fn required_digits(&mut self) -> Result<(), JsonError> {
        if !matches!(self.peek(), Some(b'0'..=b'9')) {
            return Err(self.wrong("expected a digit"));
        }
        self.digits();
        Ok(())
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.json.get(self.at).copied()
    }

    fn wrong(&self, problem: &'static str) -> JsonError {
        JsonError { problem, at: self.at }
    }
}

/// A decimal number as sign, digits without zeros at either end, and the power of ten of the last digit.
fn decimal(text: &str) -> (bool, Vec<u8>, i64) {
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    // An exponent beyond i64 belongs to zero or to a number that is kept as text anyway.
    let mut power: i64 = exponent.parse().unwrap_or(i64::MAX / 2);
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    power -= i64::try_from(fraction.len()).unwrap_or(i64::MAX / 2);
    let mut digits: Vec<u8> = whole.bytes().chain(fraction.bytes()).skip_while(|digit| *digit == b'0').collect();
    while digits.last() == Some(&b'0') {
        digits.pop();
        power += 1;
    }
    if digits.is_empty() { (false, digits, 0) } else { (negative, digits, power) }
}

/// Orders two keys, both written as canonical strings with their quotes, by their UTF-16 code units.
fn compare_keys(a: &[u8], b: &[u8]) -> Ordering {
    let simple = |key: &[u8]| key.iter().all(|byte| byte.is_ascii() && *byte != b'\\');
    let (a, b) = (inside(a), inside(b));
    if simple(a) && simple(b) {
        return a.cmp(b);
    }
    decoded(a).encode_utf16().cmp(decoded(b).encode_utf16())
}

fn inside(string: &[u8]) -> &[u8] {
    string.get(1..string.len().saturating_sub(1)).unwrap_or_default()
}

/// The text of a JSON string, given without its quotes.
fn decoded(string: &[u8]) -> Cow<'_, str> {
    if !string.contains(&b'\\') {
        return String::from_utf8_lossy(string);
    }
    let quoted = [b"\"", string, b"\""].concat();
    serde_json::from_slice(&quoted).map_or_else(|_| String::from_utf8_lossy(string), Cow::Owned)
}

/// The members of an object in canonical form, without parsing what they hold: key and value text. Anything
/// that is no such object has no members.
pub fn fields(object: &[u8]) -> impl Iterator<Item = (Cow<'_, str>, &[u8])> {
    let mut rest = object.strip_prefix(b"{").unwrap_or_default();
    std::iter::from_fn(move || {
        if rest.first() != Some(&b'"') {
            return None;
        }
        let key = value_end(rest);
        let value = rest.get(key + 1..)?;
        let end = value_end(value);
        let member = (decoded(inside(&rest[..key])), &value[..end]);
        rest = value.get(end + 1..).unwrap_or_default();
        Some(member)
    })
}

/// Where the value at the beginning of `json` ends.
fn value_end(json: &[u8]) -> usize {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for (at, byte) in json.iter().enumerate() {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => {
                    in_string = false;
                    if depth == 0 {
                        return at + 1;
                    }
                }
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth == 0 => return at,
            b'}' | b']' => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            b',' | b':' if depth == 0 => return at,
            _ => {}
        }
    }
    json.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

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
            ("-0", "0", Some("0")),
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

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            any::<f64>()
                .prop_filter("JSON has no infinity", |number| number.is_finite())
                .prop_map(|number| json!(number)),
            ".*".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 64, 8, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
                prop::collection::hash_map("\\PC{0,6}|[\u{e000}-\u{ffff}\u{10000}-\u{10100}a\"\\\\]{0,4}", inner, 0..8)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn agrees_with_the_reference_implementation(value in any_json()) {
            let expected = serde_json_canonicalizer::to_vec(&value).unwrap();
            let ours = canonicalise(value.to_string().as_bytes(), Numbers::Double).unwrap();
            prop_assert_eq!(String::from_utf8(ours), String::from_utf8(expected));
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
