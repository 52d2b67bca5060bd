//! What is noted about calls to AI models (`inngest.ai`), and what they cost.
//!
//! Prices are data: `prices.json`, US dollars for a million tokens by the name of the model, as its provider lists them
//! for requests that are neither batched nor cached, nor so long that they cost more, at the busiest time of the day.
//! They were compared with what was published up to November 2026; what Gemini 3.6 to 3.8 Flash cost doubles with 2027.
//! A model is added or changed there and nowhere else. The name is the part that all versions have in common: `gpt-4o` is
//! also the price of `gpt-4o-2024-08-06`, unless that has its own; but a small number that follows makes another model.

mod attributes;
mod exchange;

use std::collections::HashMap;
use std::sync::LazyLock;

use serde::Deserialize;
use serde_json::{Map, Value};

pub(crate) use attributes::of_attributes;
pub(crate) use exchange::{answered, asked};

/// Dollars for a million tokens.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Price {
    input: f64,
    output: f64,
}

static PRICES: LazyLock<HashMap<String, Price>> =
    LazyLock::new(|| serde_json::from_str(include_str!("prices.json")).expect("a test reads the prices"));

/// What a call has cost, in US dollars, by the values of its `inngest.ai`: the model that answered counts, or else the
/// one that was asked. `None` when the price of neither is known, or no tokens were counted.
#[must_use]
pub fn estimated_cost(values: &Map<String, Value>) -> Option<f64> {
    const TOKENS_OF_A_PRICE: f64 = 1_000_000.0;
    let model = |key: &str| values.get(key).and_then(Value::as_str).and_then(price);
    let Price { input, output } = model("response_model").or_else(|| model("request_model"))?;
    let tokens = |key: &str| values.get(key).and_then(Value::as_f64).filter(|tokens| *tokens >= 0.0);
    let (asked, answered) = (tokens("input_tokens"), tokens("output_tokens"));
    asked.or(answered)?;
    Some((asked.unwrap_or(0.0) * input + answered.unwrap_or(0.0) * output) / TOKENS_OF_A_PRICE)
}

/// The price of a model: that of the longest name with which its own begins.
fn price(model: &str) -> Option<Price> {
    let model = model.to_ascii_lowercase();
    // Providers of many models put other names before: `models/`, `openai/`, `us.anthropic.`.
    let model = model.rsplit('/').next().unwrap_or_default();
    let model = model.rsplit_once("anthropic.").map_or(model, |(_, model)| model);
    let mut end = model.len();
    loop {
        if let Some(price) = PRICES.get(&model[..end]) {
            return Some(*price).filter(|_| !is_another(&model[end..]));
        }
        end = model[..end].rfind(['-', '@', ':'])?;
    }
}

/// Whether what follows on the name of a model makes another one of it: `-7` does, `-2024-08-06` does not.
fn is_another(rest: &str) -> bool {
    let number = rest.split(['-', '@', ':']).nth(1).unwrap_or_default();
    (1..=2).contains(&number.len()) && number.bytes().all(|digit| digit.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn cost(values: &Value) -> Option<f64> {
        estimated_cost(values.as_object().unwrap())
    }

    #[test]
    fn versions_and_detours_have_the_price_of_their_model() {
        for (model, like) in [
            ("gpt-4o-2024-08-06", "gpt-4o"),
            ("openai/gpt-4o-mini-2024-07-18", "gpt-4o-mini"),
            ("gpt-5.4-nano-2026-03-17", "gpt-5.4-nano"),
            ("claude-sonnet-4-5-20250929", "claude-sonnet-4-5"),
            ("us.anthropic.claude-3-5-sonnet-20241022-v2:0", "claude-3-5-sonnet"),
            ("claude-opus-4@20250514", "claude-opus-4"),
            ("models/gemini-2.5-flash-lite-preview", "gemini-2.5-flash-lite"),
            ("GPT-4.1-Mini", "gpt-4.1-mini"),
            ("claude-opus-4-8-20260528", "claude-opus-4-8"),
            ("eu.anthropic.claude-opus-5-5-v1:0", "claude-opus-5-5"),
            ("o3-2025-04-16", "o3"),
        ] {
            assert_eq!(price(model), Some(PRICES[like]), "{model}");
        }
        for unknown in
            ["", "gpt", "gpt-4ox", "gpt-9", "my-own-model", "-", "ä-ö", "claude-opus-4-9", "claude-opus-6-20270101"]
        {
            assert_eq!(price(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn the_model_that_answered_counts() {
        let both = json!({ "request_model": "gpt-4o", "response_model": "gpt-4o-mini-2024-07-18",
            "input_tokens": 1_000_000, "output_tokens": 2_000_000 });
        assert_eq!(cost(&both), Some(1.35));
        let asked = json!({ "request_model": "gpt-4o", "response_model": "mine", "output_tokens": 1000 });
        assert_eq!(cost(&asked), Some(0.01));
        assert_eq!(cost(&json!({ "request_model": "mine", "input_tokens": 1 })), None);
        assert_eq!(cost(&json!({ "request_model": "gpt-4o" })), None);
    }

    #[test]
    fn prices_are_positive_and_output_is_never_cheaper_than_free() {
        assert!(PRICES.values().all(|price| price.input > 0.0 && price.output >= 0.0));
    }
}
