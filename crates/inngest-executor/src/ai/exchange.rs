//! From the bodies of a request to a model and its reply, in the forms of OpenAI, Anthropic and Gemini.

use std::collections::HashMap;

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serde_json::{Map, Number, Value};

/// A longer text is no name.
const TEXT_BYTES_MAX: usize = 256;

/// The members of an object, of which only those that matter are read.
#[derive(Default)]
struct Members<'a>(HashMap<String, &'a RawValue>);

impl<'a> Members<'a> {
    fn of(json: &'a [u8]) -> Self {
        Self(serde_json::from_slice(json).unwrap_or_default())
    }

    fn get<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        serde_json::from_str(self.0.get(name)?.get()).ok()
    }

    fn number(&self, names: &[&str]) -> Option<Number> {
        names.iter().find_map(|name| self.get(name))
    }

    fn text(&self, names: &[&str]) -> Option<String> {
        let usable = |text: &String| !text.is_empty() && text.len() <= TEXT_BYTES_MAX;
        names.iter().find_map(|name| self.get(name).filter(usable))
    }

    fn object(&self, names: &[&str]) -> Self {
        let found = names.iter().find_map(|name| self.0.get(*name));
        found.map(|json| Members::of(json.get().as_bytes())).unwrap_or_default()
    }

    /// The text of one member of each object in a list.
    fn texts(&self, list: &str, name: &str) -> Vec<String> {
        let items: Vec<&RawValue> =
            self.0.get(list).and_then(|json| serde_json::from_str(json.get()).ok()).unwrap_or_default();
        items.iter().filter_map(|item| Members::of(item.get().as_bytes()).text(&[name])).collect()
    }
}

/// What a request says of itself. `path` is that of its URL, in which some providers name the model.
pub(crate) fn asked(provider: &str, path: &str, body: &[u8]) -> Map<String, Value> {
    let body = Members::of(body);
    let config = body.object(&["generationConfig", "generation_config", "inferenceConfig"]);
    let model = body.text(&["model"]).or_else(|| of_path(path)).unwrap_or_default();
    let mut values = Map::new();
    values.insert("provider".into(), provider.into());
    values.insert("operation_name".into(), operation(path).into());
    values.insert("request_model".into(), model.into());
    for (key, names) in [
        ("temperature", &["temperature"][..]),
        ("top_p", &["top_p", "topP"]),
        ("max_tokens", &["max_tokens", "max_completion_tokens", "max_output_tokens", "maxOutputTokens", "maxTokens"]),
        ("frequency_penalty", &["frequency_penalty", "frequencyPenalty"]),
        ("presence_penalty", &["presence_penalty", "presencePenalty"]),
        ("seed", &["seed"]),
    ] {
        put(&mut values, key, body.number(names).or_else(|| config.number(names)));
    }
    values
}

/// Adds what a reply says.
pub(crate) fn answered(values: &mut Map<String, Value>, body: &[u8]) {
    let body = Members::of(body);
    let usage = body.object(&["usage", "usageMetadata"]);
    let input = usage.object(&["prompt_tokens_details", "input_tokens_details"]);
    let output = usage.object(&["completion_tokens_details", "output_tokens_details"]);
    let tokens = |names: &[&str]| usage.number(names);
    let none = || Some(Number::from(0));
    let asked = tokens(&["input_tokens", "prompt_tokens", "promptTokenCount", "inputTokens"]).or_else(none);
    let answered =
        tokens(&["output_tokens", "completion_tokens", "candidatesTokenCount", "outputTokens"]).or_else(none);
    let read = tokens(&["cache_read_input_tokens", "cachedContentTokenCount", "cacheReadInputTokens"]);
    let reasoning = tokens(&["thoughtsTokenCount"]).or_else(|| output.number(&["reasoning_tokens"]));
    put(values, "input_tokens", asked);
    put(values, "output_tokens", answered);
    put(values, "total_tokens", tokens(&["total_tokens", "totalTokenCount", "totalTokens"]));
    put(values, "cache_read_tokens", read.or_else(|| input.number(&["cached_tokens"])));
    put(values, "cache_creation_tokens", tokens(&["cache_creation_input_tokens", "cacheWriteInputTokens"]));
    put(values, "reasoning_tokens", reasoning);
    put(values, "response_model", body.text(&["model", "modelVersion"]));
    put(values, "response_id", body.text(&["id", "responseId"]));
    let mut reasons = body.texts("choices", "finish_reason");
    reasons.extend(body.texts("candidates", "finishReason"));
    reasons.extend(body.text(&["stop_reason", "stopReason"]));
    put(values, "finish_reasons", (!reasons.is_empty()).then_some(reasons));
}

fn put(values: &mut Map<String, Value>, key: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        values.insert(key.to_owned(), value.into());
    }
}

/// Gemini's and Bedrock's requests name the model in the path: `/v1beta/models/gemini-2.5-pro:generateContent`.
fn of_path(path: &str) -> Option<String> {
    let (_, rest) = path.split_once("/models/").or_else(|| path.split_once("/model/"))?;
    let model = rest.split(['/', ':']).next()?;
    (!model.is_empty() && model.len() <= TEXT_BYTES_MAX).then(|| model.to_owned())
}

fn operation(path: &str) -> &'static str {
    if path.ends_with("/embeddings") || path.ends_with("embedContent") || path.ends_with("embedContents") {
        "embeddings"
    } else if path.ends_with("/completions") && !path.ends_with("/chat/completions") {
        "text_completion"
    } else {
        "chat"
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(path: &str, request: &Value, reply: &Value, expected: &Value) {
        let mut values = asked("p", path, request.to_string().as_bytes());
        answered(&mut values, reply.to_string().as_bytes());
        values.remove("provider");
        assert_eq!(&Value::Object(values), expected);
    }

    #[test]
    fn openai() {
        let request = json!({ "model": "gpt-4o", "messages": [{ "content": "x" }], "temperature": 0.5, "max_tokens": 10, "seed": 7 });
        let reply = json!({ "id": "chatcmpl-1", "model": "gpt-4o-2024-08-06",
            "choices": [{ "finish_reason": "stop", "message": {} }, { "finish_reason": null }],
            "usage": { "prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12,
                "prompt_tokens_details": { "cached_tokens": 2 }, "completion_tokens_details": { "reasoning_tokens": 3 } } });
        let expected = json!({ "request_model": "gpt-4o", "response_model": "gpt-4o-2024-08-06", "operation_name": "chat",
            "input_tokens": 5, "output_tokens": 7, "total_tokens": 12, "cache_read_tokens": 2, "reasoning_tokens": 3,
            "response_id": "chatcmpl-1", "finish_reasons": ["stop"], "temperature": 0.5, "max_tokens": 10, "seed": 7 });
        check("/v1/chat/completions", &request, &reply, &expected);
    }

    #[test]
    fn anthropic() {
        let request = json!({ "model": "claude-sonnet-4-5", "max_tokens": 100, "top_p": 0.9 });
        let reply = json!({ "id": "msg_1", "model": "claude-sonnet-4-5-20250929", "stop_reason": "end_turn",
            "usage": { "input_tokens": 11, "output_tokens": 4, "cache_read_input_tokens": 1, "cache_creation_input_tokens": 2 } });
        let expected = json!({ "request_model": "claude-sonnet-4-5", "response_model": "claude-sonnet-4-5-20250929",
            "operation_name": "chat", "input_tokens": 11, "output_tokens": 4, "cache_read_tokens": 1,
            "cache_creation_tokens": 2, "response_id": "msg_1", "finish_reasons": ["end_turn"], "max_tokens": 100, "top_p": 0.9 });
        check("/v1/messages", &request, &reply, &expected);
    }

    #[test]
    fn gemini() {
        let request = json!({ "contents": [], "generationConfig": { "temperature": 1, "maxOutputTokens": 5 } });
        let reply = json!({ "modelVersion": "gemini-2.5-pro", "responseId": "r", "candidates": [{ "finishReason": "STOP" }],
            "usageMetadata": { "promptTokenCount": 3, "candidatesTokenCount": 4, "totalTokenCount": 9, "thoughtsTokenCount": 2 } });
        let expected = json!({ "request_model": "gemini-2.5-pro", "response_model": "gemini-2.5-pro", "operation_name": "chat",
            "input_tokens": 3, "output_tokens": 4, "total_tokens": 9, "reasoning_tokens": 2, "response_id": "r",
            "finish_reasons": ["STOP"], "temperature": 1, "max_tokens": 5 });
        check("/v1beta/models/gemini-2.5-pro:generateContent", &request, &reply, &expected);
    }

    #[test]
    fn what_is_not_as_expected_is_left_out() {
        let expected =
            json!({ "request_model": "", "operation_name": "embeddings", "input_tokens": 0, "output_tokens": 0 });
        for odd in [json!([1]), json!("x"), json!({ "model": 1, "usage": [], "choices": { "a": 1 }, "seed": "x" })] {
            check("/v1/embeddings", &odd, &odd, &expected);
        }
        let text = asked("p", "/v1/completions", b"not json");
        assert_eq!(text["operation_name"], "text_completion");
    }
}
