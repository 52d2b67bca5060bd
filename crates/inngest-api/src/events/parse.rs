//! From the body of a request to events that can be stored.
//!
//! The whole body is brought into canonical form first; after that every part of it is valid, sorted and
//! free of duplicates, and the stored event is put together from slices of it.

use std::borrow::Cow;
use std::sync::Arc;

use inngest_core::canonical::{self, Numbers};
use inngest_core::event::{self, Content, EventBody};
use inngest_core::{Event, EventId, Ids, Millis, limits, sessions};
use serde_json::value::RawValue;

use super::seed::Seed;
use super::{EventError, Limits, Refused, ts};

/// What the body is, apart from its text.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Form<'h> {
    /// One event a line (`application/x-ndjson`).
    pub(super) lines: bool,
    /// The seed header.
    pub(super) seed: Option<&'h str>,
}

/// The events of a request, with their ids, in order. Everything is checked before anything is accepted.
pub(super) fn events(body: &[u8], form: Form<'_>, limits: Limits, ids: &Ids) -> Result<Vec<Event>, Refused> {
    let text = if form.lines { Cow::Owned(lines_as_array(body)) } else { Cow::Borrowed(body) };
    let first = text.iter().find(|byte| !byte.is_ascii_whitespace());
    let array = match first {
        Some(b'{') => false,
        Some(b'[') => true,
        _ => return Err(EventError::NotEvents.into()),
    };
    let canonical = canonical::canonicalise(&text, Numbers::Exact).map_err(EventError::Json)?;
    let parts: Vec<&[u8]> = if array { elements(&canonical) } else { vec![&canonical] };
    if parts.len() > limits.events_max {
        return Err(EventError::TooMany(limits.events_max).into());
    }
    if text.len() > limits.event_bytes_max {
        check_sizes(&text, array, limits.event_bytes_max)?;
    }
    let seed = form.seed.and_then(Seed::parse);
    let now = ids.now();
    let several = parts.len() > 1;
    let mut events: Vec<Event> = Vec::with_capacity(parts.len());
    for (index, part) in parts.into_iter().enumerate() {
        let position = u32::try_from(index + 1).unwrap_or(u32::MAX);
        let id = seed.map_or_else(|| ids.event(now), |seed| seed.id(position));
        // Ids of one request ascend, so that lists show its events in their order.
        let id = events.last().filter(|last| seed.is_none() && last.id >= id).map_or(id, |last| following(last.id));
        events.push(event(part, id, now).map_err(|error| Refused { error, index: several.then_some(index) })?);
    }
    Ok(events)
}

fn following(id: EventId) -> EventId {
    EventId(ulid::Ulid(id.0.0.wrapping_add(1)))
}

fn lines_as_array(body: &[u8]) -> Vec<u8> {
    let lines = body.split(|byte| *byte == b'\n').filter(|line| !line.iter().all(u8::is_ascii_whitespace));
    let mut array = vec![b'['];
    for (index, line) in lines.enumerate() {
        if index > 0 {
            array.push(b',');
        }
        array.extend_from_slice(line);
    }
    array.push(b']');
    array
}

/// The elements of a canonical array.
fn elements(array: &[u8]) -> Vec<&[u8]> {
    let inner = &array[1..array.len() - 1];
    let (mut parts, mut start, mut depth, mut in_string, mut escaped) = (Vec::new(), 0, 0_usize, false, false);
    for (at, byte) in inner.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            b',' if depth == 0 => {
                parts.push(&inner[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    if !inner.is_empty() {
        parts.push(&inner[start..]);
    }
    parts
}

/// The size of an event is that of its text as sent.
fn check_sizes(text: &[u8], array: bool, max: usize) -> Result<(), Refused> {
    let text = String::from_utf8_lossy(text);
    let sizes: Vec<usize> = if array {
        let parts: Vec<&RawValue> = serde_json::from_str(&text).unwrap_or_default();
        parts.iter().map(|part| part.get().len()).collect()
    } else {
        vec![text.trim().len()]
    };
    let several = sizes.len() > 1;
    match sizes.iter().position(|size| *size > max) {
        Some(index) => {
            let error = EventError::TooLarge { max, size: sizes[index] };
            Err(Refused { error, index: several.then_some(index) })
        }
        None => Ok(()),
    }
}

/// The fields of one event, as canonical JSON.
#[derive(Default)]
struct Fields<'e> {
    name: Option<&'e [u8]>,
    data: Option<&'e [u8]>,
    user: Option<&'e [u8]>,
    id: Option<&'e [u8]>,
    ts: Option<&'e [u8]>,
    v: Option<&'e [u8]>,
    meta: Option<&'e [u8]>,
}

fn event(part: &[u8], id: EventId, now: Millis) -> Result<Event, EventError> {
    if part == b"null" {
        return Err(EventError::NoName);
    }
    if part.first() != Some(&b'{') {
        return Err(EventError::NotAnObject);
    }
    let fields = split(part);
    let name = text(fields.name, "name")?.filter(|name| !name.is_empty()).ok_or(EventError::NoName)?;
    if event::is_internal(&name) {
        return Err(EventError::Reserved(name.into_owned()));
    }
    if name.len() > limits::EVENT_NAME_BYTES_MAX {
        return Err(EventError::LongName);
    }
    let external_id: Option<Arc<str>> = text(fields.id, "id")?.filter(|id| !id.is_empty()).map(Arc::from);
    let ts = fields.ts.map_or(Ok(None), ts::read)?.unwrap_or(now);
    text(fields.v, "v")?;
    let user = object(fields.user, "user")?;
    let meta = match fields.meta {
        None | Some(b"null") => None,
        Some(meta) if meta.first() == Some(&b'{') => {
            sessions::merge(meta).map_err(|error| EventError::Session(error.0))?
        }
        Some(_) => return Err(EventError::Type { field: "meta", expected: "an object" }),
    };
    let data = data(object(fields.data, "data")?);

    let own_id = id.to_string();
    let content = Content {
        data: &data,
        id: external_id.as_deref().unwrap_or(&own_id),
        meta: meta.as_deref(),
        name: &name,
        ts,
        user,
        v: fields.v.filter(|v| *v != b"null" && *v != b"\"\""),
    };
    let body = content.render();
    Ok(Event { id, name: name.into(), external_id, ts, body: EventBody::Stored(body) })
}

fn split(part: &[u8]) -> Fields<'_> {
    let mut fields = Fields::default();
    for (key, value) in canonical::fields(part) {
        let place = match key.as_ref() {
            "name" => &mut fields.name,
            "data" => &mut fields.data,
            "user" => &mut fields.user,
            "id" => &mut fields.id,
            "ts" => &mut fields.ts,
            "v" => &mut fields.v,
            "meta" => &mut fields.meta,
            _ => continue,
        };
        *place = Some(value);
    }
    fields
}

fn text<'e>(json: Option<&'e [u8]>, field: &'static str) -> Result<Option<Cow<'e, str>>, EventError> {
    match json {
        None | Some(b"null") => Ok(None),
        Some(json) if json.first() == Some(&b'"') => {
            let inner = &json[1..json.len() - 1];
            if inner.contains(&b'\\') {
                return Ok(serde_json::from_slice::<String>(json).ok().map(Cow::Owned));
            }
            Ok(std::str::from_utf8(inner).ok().map(Cow::Borrowed))
        }
        Some(_) => Err(EventError::Type { field, expected: "a string" }),
    }
}

fn object<'e>(json: Option<&'e [u8]>, field: &'static str) -> Result<&'e [u8], EventError> {
    match json {
        None | Some(b"null") => Ok(b"{}"),
        Some(json) if json.first() == Some(&b'{') => Ok(json),
        Some(_) => Err(EventError::Type { field, expected: "an object" }),
    }
}

/// The data without `_inngest`, which is the server's own.
fn data(json: &[u8]) -> Cow<'_, [u8]> {
    const OWN: &str = "_inngest";
    if !canonical::fields(json).any(|(key, _)| key == OWN) {
        return Cow::Borrowed(json);
    }
    let without = canonical::canonical_object(json, Numbers::Exact, Some(OWN)).ok().flatten();
    without.map_or(Cow::Borrowed(b"{}"), Cow::Owned)
}

#[cfg(test)]
mod tests {
    use inngest_core::{SystemClock, SystemEntropy};
    use proptest::prelude::*;

    use super::*;

    fn ids() -> Ids {
        Ids::new(Arc::new(SystemClock), Arc::new(SystemEntropy))
    }

    fn parse(body: &str) -> Result<Vec<Event>, Refused> {
        events(body.as_bytes(), Form::default(), Limits::default(), &ids())
    }

    fn body(event: &Event) -> serde_json::Value {
        let EventBody::Stored(body) = &event.body else { panic!("events of senders are stored") };
        assert_eq!(canonical::canonicalise(body, Numbers::Exact).as_deref(), Ok(&body[..]), "canonical");
        serde_json::from_slice(body).unwrap()
    }

    #[test]
    fn an_event_is_stored_as_sdks_receive_it() {
        let text = r#" {"v":"1","name":"a/b","user":{"z":1,"a":2},"ts":1700000000000,"id":"x\"y","data":{"b":1.50,"_inngest":{"x":1},"a":[]},"unknown":1,
            "meta":{"sessions":{"s":7}}} "#;
        let event = parse(text).unwrap().remove(0);
        let EventBody::Stored(stored) = &event.body else { unreachable!() };
        let expected = r#"{"data":{"a":[],"b":1.5},"id":"x\"y","meta":{"sessions":{"s":"7"}},"name":"a/b","ts":1700000000000,"user":{"a":2,"z":1},"v":"1"}"#;
        assert_eq!(std::str::from_utf8(stored), Ok(expected));
        assert_eq!(
            (&*event.name, event.external_id.as_deref(), event.ts),
            ("a/b", Some("x\"y"), Millis(1_700_000_000_000))
        );
    }

    #[test]
    fn what_is_missing_is_filled_in() {
        let event = parse(r#"{"name":"a","data":null,"user":null,"id":null,"ts":null,"v":null,"meta":null}"#)
            .unwrap()
            .remove(0);
        let id = event.id.to_string();
        assert_eq!(event.external_id, None);
        assert_eq!(
            body(&event),
            serde_json::json!({ "data": {}, "id": id, "name": "a", "ts": event.ts.0, "user": {} })
        );
        assert!(event.ts.0 - event.id.timestamp().0 < 2);
    }

    #[test]
    fn many_events_keep_their_order() {
        let text = format!("[{}]", vec![r#"{"name":"a,[\"}","data":{"x":"]"}}"#; 50].join(" , "));
        let events = parse(&text).unwrap();
        assert_eq!(events.len(), 50);
        assert!(events.windows(2).all(|pair| pair[0].id < pair[1].id));
        assert_eq!(parse("[]").unwrap(), []);
        let lines = Form { lines: true, ..Form::default() };
        assert_eq!(events_of(b"{\"name\":\"a\"}\n\n{\"name\":\"b\"}\n", lines).unwrap().len(), 2);
    }

    fn events_of(body: &[u8], form: Form<'_>) -> Result<Vec<Event>, Refused> {
        events(body, form, Limits::default(), &ids())
    }

    #[test]
    fn malformed_bodies_and_events_are_refused_by_name() {
        const NOT_EVENTS: &str = "Request body must contain an event object or an array of event objects";
        let long = format!(r#"{{"name":"{}"}}"#, "x".repeat(513));
        let many = format!("[{}]", vec![r#"{"name":"a"}"#; 5_001].join(","));
        let big = format!(r#"{{"name":"a","data":{{"x":"{}"}}}}"#, "x".repeat(limits::EVENT_BYTES_MAX - 26));
        let bigs = format!("[{},{big}]", r#"{"name":"a"}"#);
        let big_error = format!("Event is over the max size: Max 3145728 bytes / Size {} bytes", big.len());
        let table: Vec<(&str, String)> = [
            ("", NOT_EVENTS),
            ("  ", NOT_EVENTS),
            ("null", NOT_EVENTS),
            ("1", NOT_EVENTS),
            ("-1", NOT_EVENTS),
            ("\"x\"", NOT_EVENTS),
            ("true", NOT_EVENTS),
            ("garbage", NOT_EVENTS),
            ("name=a", NOT_EVENTS),
            ("\u{1f}\u{8b}", NOT_EVENTS),
            ("--boundary", NOT_EVENTS),
            ("{}", "event name is empty"),
            (r#"{"name":""}"#, "event name is empty"),
            (r#"{"name":null}"#, "event name is empty"),
            (r#"{"Name":"a"}"#, "event name is empty"),
            ("[null]", "event name is empty"),
            ("[{}]", "event name is empty"),
            (r#"[{"name":"a"},{"name":""},{"name":"a"}]"#, "event name is empty"),
            ("[1]", "an event must be a JSON object"),
            ("[[]]", "an event must be a JSON object"),
            (r#"["a"]"#, "an event must be a JSON object"),
            (r#"[{"name":"a"},1]"#, "an event must be a JSON object"),
            (r#"{"name":1}"#, "event name must be a string"),
            (r#"{"name":["a"]}"#, "event name must be a string"),
            (r#"{"name":{"a":1}}"#, "event name must be a string"),
            (r#"{"name":true}"#, "event name must be a string"),
            (r#"{"name":"inngest/x"}"#, "event name is reserved for internal use: inngest/x"),
            (r#"{"name":"INNGEST/x"}"#, "event name is reserved for internal use: INNGEST/x"),
            (&long, "Event name cannot exceed 512 characters"),
            (r#"{"name":"a","data":"x"}"#, "event data must be an object"),
            (r#"{"name":"a","data":1}"#, "event data must be an object"),
            (r#"{"name":"a","data":[]}"#, "event data must be an object"),
            (r#"{"name":"a","data":false}"#, "event data must be an object"),
            (r#"{"name":"a","user":1}"#, "event user must be an object"),
            (r#"{"name":"a","user":"u"}"#, "event user must be an object"),
            (r#"{"name":"a","id":1}"#, "event id must be a string"),
            (r#"{"name":"a","id":{}}"#, "event id must be a string"),
            (r#"{"name":"a","v":1}"#, "event v must be a string"),
            (r#"{"name":"a","meta":1}"#, "event meta must be an object"),
            (r#"{"name":"a","meta":[]}"#, "event meta must be an object"),
            (r#"{"name":"a","meta":{"sessions":{"k":true}}}"#, "event session \"k\" must be a string, number, or null"),
            (r#"{"name":"a","ts":"soon"}"#, "event ts must be Unix milliseconds or an RFC 3339 timestamp"),
            (r#"{"name":"a","ts":[]}"#, "event ts must be Unix milliseconds or an RFC 3339 timestamp"),
            (r#"{"name":"a","ts":1700000000}"#, "timestamp is before Jan 1, 1980"),
            (r#"{"name":"a","ts":4102444800001}"#, "timestamp is after Jan 1, 2100"),
            (r#"{"name":"a""#, "unexpected end of JSON input at byte 11"),
            ("{", "expected a key in double quotes at byte 1"),
            (r#"{"name":"a"}{"name":"b"}"#, "unexpected text after the value at byte 12"),
            (r#"{"name":"a"} x"#, "unexpected text after the value at byte 13"),
            (r#"[{"name":"a"}"#, "unexpected end of JSON input at byte 13"),
            (r#"[{"name":"a"},"#, "unexpected end of JSON input at byte 14"),
            (r#"[{"name":"a"}] junk"#, "unexpected text after the value at byte 15"),
            (r#"{"name":'a'}"#, "expected a value at byte 8"),
            (r#"{name:"a"}"#, "expected a key in double quotes at byte 1"),
            (r#"{"name":"a",}"#, "expected a key in double quotes at byte 12"),
            ("[,]", "expected a value at byte 1"),
            ("{\"name\":\"a\nb\"}", "control character in a string at byte 10"),
            (r#"{"name":"\x"}"#, "unknown escape in a string at byte 9"),
            (r#"{"name":"a","data":{"n":01}}"#, "expected ',' or '}' at byte 25"),
            (r#"{"name":"a","data":{"n":NaN}}"#, "expected a value at byte 24"),
            (r#"{"name":"a","data":{"n":1.}}"#, "expected a digit at byte 26"),
            (r#"{"name" "a"}"#, "expected ':' after a key at byte 8"),
            (&many, "Cannot have more than 5000 events in a batch"),
            (&big, &big_error),
            (&bigs, &big_error),
        ]
        .into_iter()
        .map(|(text, error)| (text, error.to_owned()))
        .collect();
        assert!(table.len() >= 60, "{}", table.len());
        for (text, expected) in table {
            let refused = parse(text).unwrap_err();
            let shown = &text[..text.len().min(60)];
            assert_eq!((refused.to_string(), refused.status()), (expected, 400), "{shown}");
        }
    }

    #[test]
    fn limits_are_inclusive_and_depth_is_no_problem() {
        let exact = format!(r#"{{"name":"a","data":{{"x":"{}"}}}}"#, "x".repeat(limits::EVENT_BYTES_MAX - 28));
        assert_eq!(exact.len(), limits::EVENT_BYTES_MAX);
        assert!(parse(&exact).is_ok());
        assert!(parse(&format!("[{}]", vec![r#"{"name":"a"}"#; 5_000].join(","))).is_ok());
        let deep = format!(r#"{{"name":"a","data":{{"x":{}{}}}}}"#, "[".repeat(200), "]".repeat(200));
        assert!(parse(&deep).is_ok());
        let odd = parse(r#"{"name":"a\u0000\ud83d\ude00","data":{"big":12345678901234567890}}"#).unwrap().remove(0);
        assert_eq!(&*odd.name, "a\u{0}😀");
        let EventBody::Stored(stored) = &odd.body else { unreachable!() };
        assert!(String::from_utf8_lossy(stored).contains(r#"{"big":12345678901234567890}"#));
    }

    proptest! {
        #[test]
        fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _any = events_of(&bytes, Form::default());
        }

        #[test]
        fn event_like_text_never_panics(text in "(\\[|\\]|\\{|\\}|\"name\"|\"ts\"|\"data\"|\"id\"|\"meta\"|\"sessions\"|:|,|1|\"a/b\"|null|\"2024\"){0,40}") {
            for event in parse(&text).unwrap_or_default() {
                body(&event);
            }
        }
    }
}
