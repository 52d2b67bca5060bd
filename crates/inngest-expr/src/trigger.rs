//! Which trigger names an event name matches.

use std::borrow::Cow;

/// Every trigger text that an event of this name matches: the name itself, and for each `/` and `.` in it
/// what stands before, with `/*` or `.*`. A `*` anywhere else in a trigger is an ordinary character.
pub fn patterns_of(name: &str) -> impl Iterator<Item = Cow<'_, str>> {
    let prefixes = name.char_indices().filter_map(move |(at, character)| match character {
        '/' | '.' => Some(Cow::Owned(format!("{}{character}*", &name[..at]))),
        _ => None,
    });
    std::iter::once(Cow::Borrowed(name)).chain(prefixes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_below_a_separator_only() {
        let matches = |trigger: &str, name: &str| patterns_of(name).any(|pattern| pattern == trigger);
        let table = [
            ("a/*", "a/b", true),
            ("a/*", "a/b/c", true),
            ("a/*", "a/b.c", true),
            ("a/*", "ab", false),
            ("a/*", "a", false),
            ("a/user.*", "a/user.x", true),
            ("a/user.*", "a/user.x.y", true),
            ("a/user.*", "a/user", false),
            ("a/user.*", "a/users.x", false),
            ("api/v1/*", "api/v1/x", true),
            ("api/v1/*", "api/v2/x", false),
            ("*", "a", false),
            ("*", "*", true),
            ("a/us*", "a/user", false),
            ("a/*/c", "a/b/c", false),
            ("*.created", "user.created", false),
            ("A/b", "a/b", false),
            ("é/*", "é/x", true),
        ];
        for (trigger, name, expected) in table {
            assert_eq!(matches(trigger, name), expected, "{trigger} and {name}");
        }
    }
}
