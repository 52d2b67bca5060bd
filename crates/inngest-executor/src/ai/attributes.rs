//! From the attributes of a span, in OpenTelemetry's conventions for generative AI. Nothing else of them is read: others
//! hold prompts and answers.

use serde_json::{Map, Number, Value};

/// Key of the note, and the attributes that give it, the first one that is there.
const NUMBERS: [(&str, &[&str]); 12] = [
    ("input_tokens", &["gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens"]),
    ("output_tokens", &["gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens"]),
    ("total_tokens", &["gen_ai.usage.total_tokens", "llm.usage.total_tokens"]),
    ("cache_read_tokens", &["gen_ai.usage.cache_read.input_tokens", "gen_ai.usage.cache_read_input_tokens"]),
    (
        "cache_creation_tokens",
        &["gen_ai.usage.cache_creation.input_tokens", "gen_ai.usage.cache_creation_input_tokens"],
    ),
    ("reasoning_tokens", &["gen_ai.usage.reasoning.output_tokens"]),
    ("temperature", &["gen_ai.request.temperature"]),
    ("top_p", &["gen_ai.request.top_p"]),
    ("max_tokens", &["gen_ai.request.max_tokens"]),
    ("frequency_penalty", &["gen_ai.request.frequency_penalty"]),
    ("presence_penalty", &["gen_ai.request.presence_penalty"]),
    ("seed", &["gen_ai.request.seed"]),
];
const TEXTS: [(&str, &[&str]); 5] = [
    ("request_model", &["gen_ai.request.model"]),
    ("response_model", &["gen_ai.response.model"]),
    ("provider", &["gen_ai.provider.name", "gen_ai.system"]),
    ("operation_name", &["gen_ai.operation.name"]),
    ("response_id", &["gen_ai.response.id"]),
];
const FINISH_REASONS: &str = "gen_ai.response.finish_reasons";

/// The values of `inngest.ai`; `None` when the span is not about a model.
pub(crate) fn of_attributes(attributes: &Map<String, Value>, latency_ms: f64) -> Option<Map<String, Value>> {
    let mut values = Map::new();
    for (key, names) in TEXTS {
        let text = names.iter().find_map(|name| attributes.get(*name)?.as_str().filter(|text| !text.is_empty()));
        values.extend(text.map(|text| (key.to_owned(), text.into())));
    }
    for (key, names) in NUMBERS {
        let number = names.iter().find_map(|name| number(attributes.get(*name)?));
        values.extend(number.map(|number| (key.to_owned(), Value::Number(number))));
    }
    let reasons: Vec<Value> = match attributes.get(FINISH_REASONS) {
        Some(Value::Array(reasons)) => reasons.iter().filter(|reason| reason.is_string()).cloned().collect(),
        Some(Value::String(reason)) => vec![reason.as_str().into()],
        _ => Vec::new(),
    };
    if !reasons.is_empty() {
        values.insert("finish_reasons".into(), reasons.into());
    }
    if values.is_empty() {
        return None;
    }
    values.insert("latency_ms".into(), latency_ms.into());
    Some(values)
}

/// Some exporters write numbers as text.
fn number(value: &Value) -> Option<Number> {
    match value {
        Value::Number(number) => Some(number.clone()),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_is_known_is_read() {
        let attributes = json!({ "gen_ai.request.model": "gpt-4o", "gen_ai.system": "openai", "gen_ai.usage.input_tokens": "5",
            "gen_ai.usage.output_tokens": 7, "gen_ai.response.finish_reasons": ["stop", 1], "gen_ai.prompt": "SECRET",
            "gen_ai.request.temperature": "hot" });
        let values = of_attributes(attributes.as_object().unwrap(), 1.5).unwrap();
        let expected = json!({ "request_model": "gpt-4o", "provider": "openai", "input_tokens": 5, "output_tokens": 7,
            "finish_reasons": ["stop"], "latency_ms": 1.5 });
        assert_eq!(Value::Object(values), expected);
        assert_eq!(of_attributes(json!({ "http.request.method": "GET" }).as_object().unwrap(), 1.0), None);
    }
}
