//! The top level of an object, split without parsing what is below.

use std::borrow::Cow;

use super::order::{decoded, inside};

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
