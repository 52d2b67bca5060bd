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
    let (a, b) = (inside(a), inside(b));
    let simple = |key: &[u8]| key.is_ascii() && !key.contains(&b'\\');
    if simple(a) && simple(b) {
        return a.cmp(b);
    }
    decoded(a).encode_utf16().cmp(decoded(b).encode_utf16())
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
