//! Attributes of spans and resources, as JSON of a bounded size.

use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use serde_json::{Map, Value};
use url::Url;

/// All attributes of one span in bytes; those beyond are left out.
const SPAN_BYTES_MAX: usize = 8 * 1024;
/// The same for what made the span, since it is stored with each.
const RESOURCE_BYTES_MAX: usize = 2 * 1024;
/// One text in bytes; the rest is cut off.
const TEXT_BYTES_MAX: usize = 2 * 1024;
/// Depth of lists in lists; deeper ones are left out.
const DEPTH_MAX: usize = 8;

/// Attributes that say where a span belongs, besides those whose names begin with `inngest.`.
const OURS: [&str; 4] = ["sdk.run.id", "sdk.app.id", "sys.app.id", "sys.function.id"];

/// Attributes as they came, and how many bytes of them may be kept.
pub(super) struct Attributes {
    values: Vec<(String, Value)>,
    bytes_max: usize,
}

impl Attributes {
    pub(super) fn of_span(attributes: Vec<KeyValue>) -> Self {
        Self::of(attributes, SPAN_BYTES_MAX)
    }

    pub(super) fn of_resource(attributes: Vec<KeyValue>) -> Self {
        Self::of(attributes, RESOURCE_BYTES_MAX)
    }

    fn of(attributes: Vec<KeyValue>, bytes_max: usize) -> Self {
        let pair = |KeyValue { key, value, .. }: KeyValue| Some((key, json(value?, DEPTH_MAX)?));
        Self { values: attributes.into_iter().filter_map(pair).collect(), bytes_max }
    }

    pub(super) fn clear(&mut self) {
        self.values.clear();
    }

    fn get(&self, name: &str) -> Option<&Value> {
        self.values.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.get(name)?.as_str()
    }

    pub(super) fn number(&self, name: &str) -> Option<i64> {
        let value = self.get(name)?;
        value.as_i64().or_else(|| value.as_str()?.parse().ok())
    }

    /// Those of the user, as many as may be kept.
    pub(super) fn shown(&self) -> Map<String, Value> {
        let mut room = self.bytes_max;
        let mut shown = Map::new();
        for (key, value) in &self.values {
            if key.starts_with("inngest.") || OURS.contains(&&**key) {
                continue;
            }
            if let Some(left) = room.checked_sub(key.len() + value.to_string().len()) {
                room = left;
                shown.insert(key.clone(), value.clone());
            }
        }
        shown
    }
}

fn json(value: AnyValue, depth: usize) -> Option<Value> {
    Some(match value.value? {
        Any::StringValue(text) => text[..text.floor_char_boundary(TEXT_BYTES_MAX)].into(),
        Any::BoolValue(value) => value.into(),
        Any::IntValue(value) => value.into(),
        Any::DoubleValue(value) => value.into(),
        Any::ArrayValue(list) if depth > 0 => {
            list.values.into_iter().filter_map(|value| json(value, depth - 1)).collect()
        }
        Any::KvlistValue(list) if depth > 0 => {
            let pair = |KeyValue { key, value, .. }: KeyValue| Some((key, json(value?, depth - 1)?));
            Value::Object(list.values.into_iter().filter_map(pair).collect())
        }
        // Neither bytes, nor what only profiles have.
        _ => return None,
    })
}

/// The values of `inngest.http`, by the conventions of OpenTelemetry, old and new; `None` when the span is no request.
pub(super) fn http(attributes: &Map<String, Value>) -> Option<Map<String, Value>> {
    let first = |names: &[&str]| names.iter().find_map(|name| attributes.get(*name)).filter(|value| !value.is_null());
    let method = first(&["http.request.method", "http.method"])?.as_str()?;
    let url = first(&["url.full", "http.url"]).and_then(Value::as_str).and_then(|url| Url::parse(url).ok());
    let of_url = |part: fn(&Url) -> Option<&str>| url.as_ref().and_then(part).map(Value::from);
    let domain = first(&["server.address", "net.peer.name", "http.host"]).cloned().or_else(|| of_url(Url::host_str));
    let path = first(&["url.path"]).cloned().or_else(|| of_url(|url| Some(url.path())));
    let mut values = Map::new();
    values.insert("method".into(), method.into());
    values.extend(domain.map(|domain| ("domain".to_owned(), domain)));
    values.extend(path.map(|path| ("path".to_owned(), path)));
    for (key, names) in [
        ("request_size", &["http.request.body.size", "http.request_content_length"][..]),
        ("response_size", &["http.response.body.size", "http.response_content_length"]),
        ("response_status", &["http.response.status_code", "http.status_code"]),
    ] {
        let number = first(names).filter(|value| value.is_number());
        values.extend(number.map(|number| (key.to_owned(), number.clone())));
    }
    for (key, name) in [
        ("request_content_type", "http.request.header.content-type"),
        ("response_content_type", "http.response.header.content-type"),
    ] {
        let value = first(&[name]).and_then(|value| value.as_str().or_else(|| value.get(0)?.as_str()));
        values.extend(value.map(|value| (key.to_owned(), value.into())));
    }
    Some(values)
}
