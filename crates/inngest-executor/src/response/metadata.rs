//! Notes about runs and steps (`metadata` of an op, `POST /v1/runs/{id}/metadata`), as far as they can be used.

use inngest_core::canonical::{self, Numbers};
use inngest_core::{Payload, limits};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::MetadataReport;

/// Kinds of `inngest.*` that SDKs may report.
const KNOWN_KINDS: [&str; 7] = [
    "inngest.ai",
    "inngest.http",
    "inngest.http.timing",
    "inngest.response_headers",
    "inngest.warnings",
    "inngest.experiment",
    "inngest.score",
];
const KIND_BYTES_MAX: usize = 128;
const SCOPES: [&str; 5] = ["run", "step", "step_attempt", "extended_trace", "request"];
const OPS: [&str; 4] = ["merge", "set", "delete", "add"];

/// Why a note cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// Its kind is too long, or an unknown one of `inngest.*`.
    #[error("Invalid metadata")]
    Kind,
    /// Its op or its scope is unknown, or its values are no object.
    #[error("Invalid metadata target")]
    Shape,
    /// It is over [`limits::METADATA_BYTES_MAX`].
    #[error("Metadata span exceeds maximum size of 64KB")]
    TooLarge,
}

/// One note as SDKs send it.
#[derive(Clone, Debug, Deserialize)]
pub struct Reported<'a> {
    #[serde(default)]
    scope: String,
    kind: String,
    op: String,
    #[serde(borrow, default)]
    values: Option<&'a RawValue>,
}

impl Reported<'_> {
    /// Checks it; `scope` is what it is about when it does not say so itself.
    pub fn check(&self, scope: &str) -> Result<MetadataReport, MetadataError> {
        let own = !self.kind.starts_with("inngest.");
        if self.kind.is_empty() || self.kind.len() > KIND_BYTES_MAX || !(own || KNOWN_KINDS.contains(&&*self.kind)) {
            return Err(MetadataError::Kind);
        }
        let scope = if self.scope.is_empty() { scope } else { &self.scope };
        let values = self.values.map_or("{}", RawValue::get);
        if !SCOPES.contains(&scope) || !OPS.contains(&&*self.op) {
            return Err(MetadataError::Shape);
        }
        if values.len() > limits::METADATA_BYTES_MAX {
            return Err(MetadataError::TooLarge);
        }
        let canonical = canonical::canonicalise(values.as_bytes(), Numbers::Exact).map_err(|_| MetadataError::Shape)?;
        // `delete` names its keys in a list.
        if !(canonical.starts_with(b"{") || self.op == "delete" && canonical.starts_with(b"[")) {
            return Err(MetadataError::Shape);
        }
        Ok(MetadataReport {
            scope: scope.into(),
            kind: self.kind.as_str().into(),
            op: self.op.as_str().into(),
            values: Payload::from(canonical),
        })
    }
}

/// The notes of an op. What cannot be used is dropped with a warning: a note never fails a run.
pub(super) fn of_op(notes: &RawValue) -> Vec<MetadataReport> {
    let notes: Vec<&RawValue> = serde_json::from_str(notes.get()).unwrap_or_default();
    let read = |note: &RawValue| {
        let reported = serde_json::from_str::<Reported<'_>>(note.get()).map_err(|_| MetadataError::Shape);
        reported.and_then(|reported| reported.check("step"))
    };
    let usable = notes
        .into_iter()
        .map(read)
        .filter_map(|note| note.inspect_err(|problem| tracing::warn!(%problem, "a note of an SDK was dropped")).ok());
    usable.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_usable_notes_are_kept() {
        let large = "x".repeat(limits::METADATA_BYTES_MAX);
        let notes = format!(
            r#"[{{"scope":"run","kind":"userland.note","op":"merge","values":{{"b":1,"a":2}}}},
                {{"kind":"inngest.score","op":"set","values":{{}}}},
                {{"kind":"inngest.secret","op":"set","values":{{}}}},
                {{"kind":"userland.x","op":"explode","values":{{}}}},
                {{"kind":"userland.x","op":"set","values":[]}},
                {{"kind":"userland.x","op":"set","values":{{"x":"{large}"}}}},
                {{"scope":"galaxy","kind":"userland.x","op":"set","values":{{}}}},
                7, {{}}]"#
        );
        let notes = of_op(&RawValue::from_string(notes).unwrap());
        let shown: Vec<_> = notes.iter().map(|note| (&*note.scope, &*note.kind, &*note.op, &note.values[..])).collect();
        assert_eq!(
            shown,
            [("run", "userland.note", "merge", &br#"{"a":2,"b":1}"#[..]), ("step", "inngest.score", "set", &b"{}"[..])]
        );
        assert_eq!(of_op(&RawValue::from_string("7".into()).unwrap()), []);
    }
}
