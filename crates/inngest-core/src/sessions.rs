//! `meta.sessions` and `meta.propagated_sessions` of an event: what a sender says, and what an SDK adds to it
//! because the sender is itself a run.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::canonical;

const ENTRIES_MAX: usize = 5;
const KEY_BYTES_MAX: usize = 128;
const ID_BYTES_MAX: usize = 512;

/// What is wrong with the sessions of an event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SessionError(pub String);

/// The canonical `meta` object that is stored, from the canonical one that was sent; `None` when no session
/// is left. Manual keys win; free places are filled with propagated ones in the order of their bytes.
pub fn merge(meta: &[u8]) -> Result<Option<Vec<u8>>, SessionError> {
    let (mut manual, mut propagated) = (None, None);
    for (key, value) in canonical::fields(meta) {
        match key.as_ref() {
            "sessions" => manual = Some(value),
            "propagated_sessions" => propagated = Some(value),
            _ => {}
        }
    }
    let inherit = manual != Some(b"null");
    let mut sessions: BTreeMap<String, Option<String>> = read(manual.unwrap_or(b"{}"), true)?;
    if let (true, Some(propagated)) = (inherit, propagated) {
        for (key, id) in read(propagated, false)? {
            if sessions.values().flatten().count() == ENTRIES_MAX {
                break;
            }
            sessions.entry(key).or_insert(id);
        }
    }
    let kept: Vec<(&String, &String)> =
        sessions.iter().filter_map(|(key, id)| id.as_ref().map(|id| (key, id))).collect();
    check(&kept)?;
    if kept.is_empty() {
        return Ok(None);
    }
    let mut members = String::new();
    for (key, id) in kept {
        let (key, id) = (serde_json::Value::from(key.as_str()), serde_json::Value::from(id.as_str()));
        members.push_str(if members.is_empty() { "" } else { "," });
        members.push_str(&format!("{key}:{id}"));
    }
    let json = format!("{{\"sessions\":{{{members}}}}}");
    let canonical = canonical::canonicalise(json.as_bytes(), canonical::Numbers::Exact);
    Ok(Some(canonical.expect("serde_json writes JSON")))
}

fn read(json: &[u8], manual: bool) -> Result<BTreeMap<String, Option<String>>, SessionError> {
    if json == b"null" {
        return Ok(BTreeMap::new());
    }
    if json.first() != Some(&b'{') {
        return Err(SessionError("event sessions must be an object".into()));
    }
    let mut sessions = BTreeMap::new();
    for (key, value) in canonical::fields(json) {
        let id = match value.first() {
            Some(b'"') => Some(text(value)),
            Some(b'-' | b'0'..=b'9') => Some(String::from_utf8_lossy(value).into_owned()),
            Some(b'n') if manual => None,
            _ => return Err(bad_type(&key, manual)),
        };
        sessions.insert(key.into_owned(), id);
    }
    Ok(sessions)
}

fn text(json: &[u8]) -> String {
    serde_json::from_slice::<Cow<'_, str>>(json).map(Cow::into_owned).unwrap_or_default()
}

fn bad_type(key: &str, manual: bool) -> SessionError {
    let expected = if manual { "a string, number, or null" } else { "a string or number" };
    SessionError(format!("event session \"{key}\" must be {expected}"))
}

fn check(sessions: &[(&String, &String)]) -> Result<(), SessionError> {
    let fail = |text: String| Err(SessionError(text));
    if sessions.len() > ENTRIES_MAX {
        return fail(format!("event sessions can include at most {ENTRIES_MAX} entries"));
    }
    for (key, id) in sessions {
        if key.is_empty() {
            return fail("event session keys cannot be empty".into());
        }
        if key.len() > KEY_BYTES_MAX {
            return fail(format!("event session key \"{key}\" exceeds {KEY_BYTES_MAX} bytes"));
        }
        if id.is_empty() {
            return fail(format!("event session \"{key}\" cannot have an empty ID"));
        }
        if id.len() > ID_BYTES_MAX {
            return fail(format!("event session \"{key}\" exceeds {ID_BYTES_MAX} bytes"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(meta: &str) -> Result<String, String> {
        let canonical = canonical::canonicalise(meta.as_bytes(), canonical::Numbers::Exact).unwrap();
        let meta = merge(&canonical).map_err(|error| error.to_string())?;
        Ok(meta.map(|meta| String::from_utf8(meta).unwrap()).unwrap_or_default())
    }

    #[test]
    fn manual_sessions_win_and_propagated_ones_fill_up() {
        let table = [
            (r#"{}"#, ""),
            (r#"{"other":1}"#, ""),
            (r#"{"sessions":{"a":"x","n":12.50}}"#, r#"{"sessions":{"a":"x","n":"12.5"}}"#),
            (r#"{"sessions":{"a":"x"},"propagated_sessions":{"a":"y","b":"z"}}"#, r#"{"sessions":{"a":"x","b":"z"}}"#),
            (r#"{"sessions":null,"propagated_sessions":{"b":"z"}}"#, ""),
            (r#"{"sessions":{"b":null},"propagated_sessions":{"b":"z","c":"y"}}"#, r#"{"sessions":{"c":"y"}}"#),
            (
                r#"{"sessions":{"z":"1"},"propagated_sessions":{"a":"1","b":"2","c":"3","d":"4","e":"5"}}"#,
                r#"{"sessions":{"a":"1","b":"2","c":"3","d":"4","z":"1"}}"#,
            ),
        ];
        for (meta, expected) in table {
            assert_eq!(merged(meta).as_deref(), Ok(expected), "{meta}");
        }
    }

    #[test]
    fn bad_sessions_are_named() {
        let long = "k".repeat(129);
        let table = [
            (
                r#"{"sessions":{"k":true}}"#.to_owned(),
                "event session \"k\" must be a string, number, or null".to_owned(),
            ),
            (r#"{"propagated_sessions":{"k":null}}"#.into(), "event session \"k\" must be a string or number".into()),
            (r#"{"sessions":[1]}"#.into(), "event sessions must be an object".into()),
            (r#"{"sessions":{"":"x"}}"#.into(), "event session keys cannot be empty".into()),
            (r#"{"sessions":{"k":""}}"#.into(), "event session \"k\" cannot have an empty ID".into()),
            (format!(r#"{{"sessions":{{"{long}":"x"}}}}"#), format!("event session key \"{long}\" exceeds 128 bytes")),
            (
                format!(r#"{{"sessions":{{"k":"{}"}}}}"#, "x".repeat(513)),
                "event session \"k\" exceeds 512 bytes".into(),
            ),
            (
                r#"{"sessions":{"a":1,"b":1,"c":1,"d":1,"e":1,"f":1}}"#.into(),
                "event sessions can include at most 5 entries".into(),
            ),
        ];
        for (meta, expected) in table {
            assert_eq!(merged(&meta), Err(expected), "{meta}");
        }
    }
}
