//! The pass over a JSON text that checks it and writes it anew.

use std::cmp::Ordering;

use super::order::{Disorder, Member, compare_keys};
use super::{JsonError, Numbers, number, write_escaped, write_string};
use crate::limits;

/// An array or object that is open.
struct Frame {
    object: bool,
    /// Where its content begins in the output.
    start: usize,
    /// Where its members begin in the list of members.
    members: usize,
    sorted: bool,
}

pub(super) struct Writer<'a> {
    json: &'a [u8],
    at: usize,
    numbers: Numbers,
    /// The key to leave out of the outermost object, as it is written.
    drop: Option<Vec<u8>>,
    out: Vec<u8>,
    frames: Vec<Frame>,
    /// The members of all open objects.
    members: Vec<Member>,
    disorder: Disorder,
}

impl<'a> Writer<'a> {
    /// `json` is UTF-8.
    pub(super) fn new(json: &'a [u8], numbers: Numbers, drop: Option<&str>) -> Self {
        let drop = drop.map(|key| {
            let mut written = Vec::new();
            write_string(&mut written, key);
            written
        });
        let out = Vec::with_capacity(json.len());
        Self {
            json,
            at: 0,
            numbers,
            drop,
            out,
            frames: Vec::new(),
            members: Vec::with_capacity(16),
            disorder: Disorder::default(),
        }
    }

    pub(super) fn write(mut self) -> Result<Vec<u8>, JsonError> {
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
                        self.close_object();
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
            None => Ok(self.disorder.settle(self.out)),
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

    fn close_object(&mut self) {
        let frame = self.frames.pop().expect("inside an object");
        let drop = self.drop.as_deref().filter(|_| self.frames.is_empty());
        let members = &mut self.members[frame.members..];
        if !frame.sorted || drop.is_some_and(|key| members.iter().any(|member| self.out[member.key.clone()] == *key)) {
            self.disorder.order(&mut self.out, frame.start, members, drop);
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
        // Up to the first escape the text is copied as it stands, its quotes with it.
        let mut start = self.at;
        self.at += 1;
        loop {
            let Some(plain) = plain_length(&self.json[self.at..]) else {
                self.at = self.json.len();
                return Err(self.wrong("unexpected end of JSON input"));
            };
            self.at += plain;
            match self.json[self.at] {
                b'"' => {
                    self.at += 1;
                    self.out.extend_from_slice(&self.json[start..self.at]);
                    return Ok(());
                }
                b'\\' => {
                    self.out.extend_from_slice(&self.json[start..self.at]);
                    self.escape()?;
                    start = self.at;
                }
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
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.required_digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            self.at += usize::from(matches!(self.peek(), Some(b'+' | b'-')));
            self.required_digits()?;
        }
        if number::write(&mut self.out, &self.json[start..self.at], self.numbers) {
            return Ok(());
        }
        Err(JsonError { problem: "number out of range", at: start })
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

/// How many bytes of `text` stand before the first that ends a string, begins an escape or is a control
/// character; `None` when there is no such byte. Eight at a time: the sum of the tests marks, in the highest
/// bit of each byte, what is found, and the lowest mark is always right.
pub(super) fn plain_length(text: &[u8]) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let zero = |word: u64| word.wrapping_sub(ONES) & !word;
    let (words, rest) = text.as_chunks::<8>();
    for (index, bytes) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*bytes);
        let control = word.wrapping_sub(ONES * 0x20) & !word;
        let quote = zero(word ^ (ONES * u64::from(b'"')));
        let backslash = zero(word ^ (ONES * u64::from(b'\\')));
        let found = (control | quote | backslash) & HIGH;
        if found != 0 {
            return Some(index * 8 + found.trailing_zeros() as usize / 8);
        }
    }
    let special = |byte: &u8| *byte < 0x20 || *byte == b'"' || *byte == b'\\';
    rest.iter().position(special).map(|at| words.len() * 8 + at)
}
