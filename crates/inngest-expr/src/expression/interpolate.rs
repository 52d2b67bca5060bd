//! How the condition of a wait is shown: `event.data.id == async.data.id` as `"w1" == async.data.id`.

use serde_json::Value as Json;

use super::eval::find;
use super::lexer::{Token, tokens};

/// A longer text is shown as it was written.
const SHOWN_BYTES_MAX: usize = 16 * 1024;

/// The text in which each chain below `event` is its value, as JSON; what is missing is `null`.
pub(super) fn interpolate(text: &str, event: &Json) -> String {
    let Ok(words) = tokens(text) else { return text.to_owned() };
    let places: Vec<usize> = text.char_indices().map(|(place, _)| place).chain([text.len()]).collect();
    let place = |index: usize| places.get(words[index].1 - 1).copied().unwrap_or(text.len());
    let (mut shown, mut done, mut index) = (String::with_capacity(text.len()), 0, 0);
    while index < words.len() {
        let Some((fields, last)) = chain(&words, index) else {
            index += 1;
            continue;
        };
        let value = find(event, &fields).unwrap_or(&Json::Null).to_string();
        shown.push_str(&text[done..place(index)]);
        shown.push_str(&value);
        done = place(last) + fields.last().map_or(0, String::len);
        if shown.len() > SHOWN_BYTES_MAX {
            return text.to_owned();
        }
        index = last + 1;
    }
    shown.push_str(&text[done..]);
    shown
}

/// The fields of the chain that begins at this word, and its last word. `event` alone is shown by its name, and so is
/// what `has` asks for.
fn chain(words: &[(Token, usize)], first: usize) -> Option<(Vec<String>, usize)> {
    let word = |index: usize| words.get(index).map(|(token, _)| token);
    let is_symbol = |index: usize, symbol| word(index) == Some(&Token::Symbol(symbol));
    if word(first) != Some(&Token::Ident("event".to_owned())) || (first > 0 && is_symbol(first - 1, ".")) {
        return None;
    }
    if first > 1 && is_symbol(first - 1, "(") && word(first - 2) == Some(&Token::Ident("has".to_owned())) {
        return None;
    }
    let (mut fields, mut last) = (Vec::new(), first);
    while let (true, Some(Token::Ident(field))) = (is_symbol(last + 1, "."), word(last + 2)) {
        // The name of a method is no field.
        if is_symbol(last + 3, "(") {
            break;
        }
        fields.push(field.clone());
        last += 2;
    }
    (!fields.is_empty()).then_some((fields, last))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_of_the_event_are_shown_as_their_values() {
        let event = json!({ "name": "a", "data": { "id": "w1", "n": 3, "list": [1, "x"], "ä": "ö" } });
        for (text, shown) in [
            ("async.data.id == event.data.id", r#"async.data.id == "w1""#),
            ("event.data.n > 1 && async.event.data.n == event.data.missing", r#"3 > 1 && async.event.data.n == null"#),
            (
                "\"ü\" == async.data.x || event.data.id.startsWith(\"w\")",
                r#""ü" == async.data.x || "w1".startsWith("w")"#,
            ),
            ("async.data.x in event.data.list", r#"async.data.x in [1,"x"]"#),
            ("has(event.data.id) && event . data . n == 3", "has(event.data.id) && 3 == 3"),
            ("\"event.data.id\" == async.data.id", r#""event.data.id" == async.data.id"#),
            ("async.data.id == \"w1\"", r#"async.data.id == "w1""#),
            ("event == async", "event == async"),
        ] {
            assert_eq!(interpolate(text, &event), shown, "{text}");
        }
    }

    #[test]
    fn what_would_be_too_long_is_shown_as_written() {
        let event = json!({ "data": { "x": "x".repeat(SHOWN_BYTES_MAX) } });
        assert_eq!(interpolate("event.data.x == async.data.x", &event), "event.data.x == async.data.x");
    }
}
