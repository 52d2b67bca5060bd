//! Notes about a run, its steps and spans, as they stand after everything that was reported; and those that follow
//! from what is known.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use inngest_core::{Millis, StepId};
use inngest_executor::ai;
use inngest_state::Metadata;
use serde_json::{Map, Value, json};

use super::SpanMetadata;
use super::units::Try;

/// What models were asked and said.
const AI: &str = "inngest.ai";
/// What adds up when a step asks a model more than once. The rest is that of the last time.
const AI_COUNTS: [&str; 7] = [
    "cache_creation_tokens",
    "cache_read_tokens",
    "estimated_cost",
    "input_tokens",
    "output_tokens",
    "reasoning_tokens",
    "total_tokens",
];

/// The notes of a run, by what they are about.
pub(super) struct Notes<'a> {
    all: &'a [Metadata],
    steps: HashMap<&'a StepId, Vec<&'a Metadata>>,
    spans: HashMap<[u8; 8], Vec<&'a Metadata>>,
}

/// Which notes of a step.
#[derive(Clone, Copy)]
pub(super) enum Of {
    /// All: there is one span for everything.
    AllAttempts,
    /// Those of the step as a whole, and of this attempt, the last one.
    Step(u32),
    /// Those of this attempt.
    Attempt(u32),
}

impl<'a> Notes<'a> {
    pub(super) fn of(all: &'a [Metadata]) -> Self {
        let (mut steps, mut spans) = (HashMap::<_, Vec<_>>::new(), HashMap::<_, Vec<_>>::new());
        for note in all {
            match (note.span, &note.step) {
                (Some(span), _) => spans.entry(span).or_default().push(note),
                (None, Some(step)) => steps.entry(step).or_default().push(note),
                (None, None) => {}
            }
        }
        Self { all, steps, spans }
    }

    pub(super) fn of_run(&self) -> Vec<SpanMetadata> {
        let mut notes = fold(self.all.iter().filter(|note| note.span.is_none() && note.step.is_none()));
        add(&mut notes, self.usage());
        notes
    }

    pub(super) fn of_step(&self, step: Option<&StepId>, which: Of) -> Vec<SpanMetadata> {
        let notes = step.and_then(|step| self.steps.get(step)).map_or(&[][..], Vec::as_slice);
        fold(notes.iter().copied().filter(|note| match (which, note.attempt) {
            (Of::AllAttempts, _) | (Of::Step(_), None) => true,
            (Of::Step(last), Some(attempt)) => attempt == last,
            (Of::Attempt(this), attempt) => attempt == Some(this),
        }))
    }

    pub(super) fn of_span(&self, span: [u8; 8]) -> Vec<SpanMetadata> {
        fold(self.spans.get(&span).map_or(&[][..], Vec::as_slice).iter().copied())
    }

    /// How much the notes are together.
    fn usage(&self) -> Option<SpanMetadata> {
        let bytes: usize = self.all.iter().map(|note| note.values.len()).sum();
        let updated_at = self.all.iter().map(|note| note.at).max()?;
        (bytes > 0).then(|| computed("run", "inngest.usage", json!({ "metadata_bytes": bytes }), updated_at))
    }
}

/// Adds computed notes, in order. What was reported of the same kind counts.
pub(super) fn add(notes: &mut Vec<SpanMetadata>, computed: impl IntoIterator<Item = SpanMetadata>) {
    for note in computed {
        let key = |note: &SpanMetadata| (Arc::clone(&note.scope), Arc::clone(&note.kind));
        if let Err(place) = notes.binary_search_by_key(&key(&note), key) {
            notes.insert(place, note);
        }
    }
}

/// How long a call took, and what came before it. What is not measured is 0.
pub(super) fn timing(tried: &Try) -> Vec<SpanMetadata> {
    let Some((started, ended)) = tried.started_at.zip(tried.ended_at) else { return Vec::new() };
    let total = (ended.0 - started.0).max(0);
    let delay = (started.0 - tried.scheduled_at.max(tried.queued_at).0).max(0);
    let http = json!({
        "dns_lookup_ms": 0, "tcp_connection_ms": 0, "tls_handshake_ms": 0, "server_processing_ms": total,
        "content_transfer_ms": 0, "total_ms": total,
    });
    let whole = json!({
        "queue_delay_ms": delay, "system_latency_ms": 0, "total_inngest_ms": delay, "network_total_ms": total,
    });
    vec![computed("request", "inngest.http.timing", http, ended), computed("request", "inngest.timing", whole, ended)]
}

fn computed(scope: &str, kind: &str, values: Value, updated_at: Millis) -> SpanMetadata {
    let values = match values {
        Value::Object(values) => values,
        _ => Map::new(),
    };
    SpanMetadata { scope: scope.into(), kind: kind.into(), values, updated_at }
}

/// The notes as they stand after all of these, in order of scope and kind.
fn fold<'a>(notes: impl Iterator<Item = &'a Metadata>) -> Vec<SpanMetadata> {
    let mut folded: BTreeMap<(&str, &str), SpanMetadata> = BTreeMap::new();
    for note in notes {
        let folded = folded.entry((&note.scope, &note.kind)).or_insert_with(|| SpanMetadata {
            scope: Arc::clone(&note.scope),
            kind: Arc::clone(&note.kind),
            values: Map::new(),
            updated_at: note.at,
        });
        folded.updated_at = note.at;
        apply(&mut folded.values, note);
    }
    let mut folded: Vec<SpanMetadata> = folded.into_values().filter(|note| !note.values.is_empty()).collect();
    for note in folded.iter_mut().filter(|note| &*note.kind == AI && !note.values.contains_key("estimated_cost")) {
        if let Some(cost) = ai::estimated_cost(&note.values) {
            note.values.insert("estimated_cost".into(), cost.into());
        }
    }
    folded
}

fn apply(values: &mut Map<String, Value>, note: &Metadata) {
    let reported: Value = serde_json::from_slice(&note.values).unwrap_or_default();
    match (&*note.op, reported) {
        ("delete", Value::Array(keys)) => {
            keys.iter().filter_map(Value::as_str).for_each(|key| drop(values.remove(key)))
        }
        ("delete", Value::Object(keys)) => keys.keys().for_each(|key| drop(values.remove(key))),
        ("set", Value::Object(reported)) => *values = reported,
        (op, Value::Object(reported)) => {
            for (key, value) in reported {
                let adds_up = op == "add" || (&*note.kind == AI && AI_COUNTS.contains(&&*key));
                let sum = values.get(&key).filter(|_| adds_up).and_then(|known| sum(known, &value));
                values.insert(key, sum.unwrap_or(value));
            }
        }
        _ => {}
    }
}

/// The sum of two numbers; whole if both are.
fn sum(a: &Value, b: &Value) -> Option<Value> {
    let whole = a.as_i64().zip(b.as_i64()).and_then(|(a, b)| a.checked_add(b));
    match whole {
        Some(sum) => Some(sum.into()),
        None => Some((a.as_f64()? + b.as_f64()?).into()),
    }
}
