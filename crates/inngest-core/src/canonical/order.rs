//! The order of members: by the UTF-16 code units of their keys; of equal keys the last one stays.
//!
//! A small object is put in order where it stands. A large one is only noted, and written in order when all
//! is read: so no byte is moved more than a few dozen times, however deep it is nested.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::ops::Range;

/// Content of an object in bytes up to which it is put in order at once.
const AT_ONCE_BYTES_MAX: usize = 512;

/// One member of an object: where its key and all of it stand in the output.
#[derive(Clone)]
pub(super) struct Member {
    pub(super) key: Range<usize>,
    pub(super) end: usize,
}

/// What still stands in the wrong order in the output.
#[derive(Default)]
pub(super) struct Disorder {
    objects: Vec<Object>,
    /// The members of these objects, in the right order.
    members: Vec<Range<usize>>,
    scratch: Vec<u8>,
}

struct Object {
    content: Range<usize>,
    members: Range<usize>,
}

/// A part of the output that remains to be copied.
enum Part {
    Member(Range<usize>),
    Rest(Range<usize>),
}

impl Disorder {
    /// Orders the object whose content is the end of `out`, and leaves out the member with the key `drop`.
    pub(super) fn order(&mut self, out: &mut Vec<u8>, start: usize, members: &mut [Member], drop: Option<&[u8]>) {
        members.sort_by(|a, b| compare_keys(&out[a.key.clone()], &out[b.key.clone()]));
        let key = |member: &Member| &out[member.key.clone()];
        let kept = members.iter().enumerate().filter(|(index, member)| {
            let again = members.get(index + 1).is_some_and(|next| key(next) == key(member));
            !again && drop != Some(key(member))
        });
        let kept = kept.map(|(_, member)| member.key.start..member.end);
        if out.len() - start > AT_ONCE_BYTES_MAX {
            let first = self.members.len();
            self.members.extend(kept);
            self.objects.push(Object { content: start..out.len(), members: first..self.members.len() });
            return;
        }
        self.scratch.clear();
        for member in kept {
            if !self.scratch.is_empty() {
                self.scratch.push(b',');
            }
            self.scratch.extend_from_slice(&out[member]);
        }
        out.truncate(start);
        out.extend_from_slice(&self.scratch);
    }

    /// The output with everything in its place.
    pub(super) fn settle(mut self, out: Vec<u8>) -> Vec<u8> {
        if self.objects.is_empty() {
            return out;
        }
        self.objects.sort_unstable_by_key(|object| object.content.start);
        let mut ordered = Vec::with_capacity(out.len());
        let mut parts = vec![Part::Rest(0..out.len())];
        while let Some(part) = parts.pop() {
            let range = match part {
                Part::Rest(range) => range,
                Part::Member(range) => {
                    // No member ends with a brace that opens, so there is one only before the first member.
                    if ordered.last() != Some(&b'{') {
                        ordered.push(b',');
                    }
                    range
                }
            };
            // A part begins with a key or a closing brace: an object that begins with it is the one around it.
            let next = self.objects.partition_point(|object| object.content.start <= range.start);
            match self.objects.get(next).filter(|object| object.content.start < range.end) {
                None => ordered.extend_from_slice(&out[range]),
                Some(Object { content, members }) => {
                    ordered.extend_from_slice(&out[range.start..content.start]);
                    parts.push(Part::Rest(content.end..range.end));
                    parts.extend(self.members[members.clone()].iter().rev().cloned().map(Part::Member));
                }
            }
        }
        ordered
    }
}

/// Orders two keys, both written as canonical strings with their quotes.
pub(super) fn compare_keys(a: &[u8], b: &[u8]) -> Ordering {
    // Nearly always a difference between plain ASCII characters, or the end of one key, decides.
    for (a, b) in a.iter().zip(b).skip(1) {
        match (a, b) {
            (b'\\', _) | (_, b'\\') => break,
            _ if a == b => {}
            (b'"', _) => return Ordering::Less,
            (_, b'"') => return Ordering::Greater,
            _ if a.is_ascii() && b.is_ascii() => return a.cmp(b),
            _ => break,
        }
    }
    decoded(inside(a)).encode_utf16().cmp(decoded(inside(b)).encode_utf16())
}

/// A JSON string without its quotes.
pub(super) fn inside(string: &[u8]) -> &[u8] {
    string.get(1..string.len().saturating_sub(1)).unwrap_or_default()
}

/// The text of a JSON string, given without its quotes.
pub(super) fn decoded(string: &[u8]) -> Cow<'_, str> {
    if !string.contains(&b'\\') {
        return String::from_utf8_lossy(string);
    }
    let quoted = [b"\"", string, b"\""].concat();
    serde_json::from_slice(&quoted).map_or_else(|_| String::from_utf8_lossy(string), Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(out: &str) -> Vec<Member> {
        // Every member is of the form `"b":..,`, with a key of one character.
        let key = |at: usize| (at..at + 3, out[at..].find(',').map_or(out.len(), |length| at + length));
        let starts = out.match_indices('"').step_by(2).map(|(at, _)| at);
        starts.map(key).map(|(key, end)| Member { key, end }).collect()
    }

    #[test]
    fn a_large_object_is_not_moved_before_the_end() {
        let long = "1".repeat(AT_ONCE_BYTES_MAX);
        for (value, moved_at_once) in [("1", true), (&*long, false)] {
            let written = format!("{{\"b\":{value},\"a\":2");
            let ordered = format!("{{\"a\":2,\"b\":{value}");
            let (mut out, mut disorder) = (written.clone().into_bytes(), Disorder::default());
            disorder.order(&mut out, 1, &mut members(&written), None);
            assert_eq!(out == written.as_bytes(), !moved_at_once, "{value}");
            assert_eq!(disorder.settle(out), ordered.as_bytes(), "{value}");
        }
    }

    #[test]
    fn keys_are_ordered_by_their_utf16_units() {
        let ascending = [
            r#""""#,
            r#""\u0000""#,
            r#""\t""#,
            r#"" ""#,
            r#""!""#,
            r#""\"""#,
            r#""a""#,
            r#""a!""#,
            r#""a\\""#,
            r#""aa""#,
        ];
        let ascending = ascending.into_iter().chain(["\"aé\"", "\"b\"", "\"é\"", "\"€\"", "\"😀\"", "\"\u{fb33}\""]);
        let ascending: Vec<&str> = ascending.collect();
        for (i, a) in ascending.iter().enumerate() {
            for (j, b) in ascending.iter().enumerate() {
                assert_eq!(compare_keys(a.as_bytes(), b.as_bytes()), i.cmp(&j), "{a} and {b}");
            }
        }
    }
}
