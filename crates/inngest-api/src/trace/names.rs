//! Ids of spans and traces, and the text that names what a span took in and gave out.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use inngest_core::{RunId, StepId};
use serde::{Deserialize, Serialize};
use sha1::{Digest as _, Sha1};

use super::{OutputOf, OutputRef};

/// The id of a span: the same for the same part of the same run, and for no other; 16 hex digits.
pub(super) fn span_id(run: RunId, part: &[&str]) -> String {
    let mut hash = Sha1::new().chain_update(run.to_bytes());
    for text in part {
        hash = hash.chain_update(text.as_bytes()).chain_update([0]);
    }
    hex(&hash.finalize()[..8])
}

/// Bytes as hex digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Why a text names no output.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OutputRefError {
    /// It is not one of ours.
    #[error("error parsing span identifier: {0}; pass the outputID of a span as it is")]
    Unreadable(String),
    /// It names no run.
    #[error("run ID is required to retrieve output; pass the outputID of a span as it is")]
    NoRun,
    /// It names a part of a run incompletely.
    #[error("span ID or input span ID is required to retrieve output; pass the outputID of a span as it is")]
    NoSpan,
}

/// The text of a reference, before it is encoded.
#[derive(Serialize, Deserialize)]
struct Text {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    run: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    step: Option<String>,
    /// Hexadecimal: as a number it would be too large for some readers of JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    job: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    generation: Option<u32>,
}

impl OutputRef {
    /// The text that clients get and give back.
    pub(crate) fn to_text(&self) -> String {
        let mut text = Text { run: Some(self.run.to_string()), step: None, job: None, generation: None };
        match &self.of {
            OutputOf::Run => {}
            OutputOf::Step(step) => text.step = Some(step.to_string()),
            OutputOf::Attempt { job, generation } => {
                (text.job, text.generation) = (Some(format!("{job:016x}")), Some(*generation));
            }
        }
        URL_SAFE_NO_PAD.encode(serde_json::json!(text).to_string())
    }

    /// What a client gave back.
    pub(crate) fn from_text(text: &str) -> Result<Self, OutputRefError> {
        let unreadable = |error: &dyn std::fmt::Display| OutputRefError::Unreadable(error.to_string());
        let json = URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).map_err(|error| unreadable(&error))?;
        let Text { run, step, job, generation } = serde_json::from_slice(&json).map_err(|error| unreadable(&error))?;
        let run = run.ok_or(OutputRefError::NoRun)?.parse().map_err(|error| unreadable(&error))?;
        let of = match (step, job, generation) {
            (None, None, None) => OutputOf::Run,
            (Some(step), None, None) => OutputOf::Step(StepId::from(&*step)),
            (None, Some(job), Some(generation)) => {
                let job = u64::from_str_radix(&job, 16).map_err(|error| unreadable(&error))?;
                OutputOf::Attempt { job, generation }
            }
            _ => return Err(OutputRefError::NoSpan),
        };
        Ok(Self { run, of })
    }
}
