//! Ops as SDKs report them.
//!
//! The hot part of a reply: one pass finds the members, which stay text until the one that matters is made
//! canonical.

use std::borrow::Cow;
use std::sync::Arc;

use inngest_core::canonical::{self, Numbers};
use inngest_core::{Payload, StepId};
use serde::Deserialize;
use serde::de::Deserializer;
use serde_json::value::RawValue;

use super::{Op, OpReport, metadata};

/// Reads the body of a 206: a list of ops, or one op. The error is for the user.
pub fn read(body: &[u8]) -> Result<Vec<OpReport>, String> {
    let text = String::from_utf8_lossy(body);
    let text = text.trim_ascii();
    let ops: Vec<Reported<'_>> = match text.bytes().next() {
        None => return Err("no response data".to_owned()),
        Some(b'[') => serde_json::from_str(text).map_err(unreadable)?,
        Some(b'{') => vec![serde_json::from_str(text).map_err(unreadable)?],
        Some(_) => return Err(unreadable("expected JSON object or array")),
    };
    ops.into_iter().map(|op| op.report().map_err(unreadable)).collect()
}

fn unreadable(problem: impl std::fmt::Display) -> String {
    format!("error reading generator opcode response: {problem}")
}

/// Text that is borrowed where it has no escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[derive(Deserialize)]
#[serde(expecting = "an op")]
struct Reported<'a> {
    #[serde(borrow)]
    op: Text<'a>,
    #[serde(borrow, default)]
    id: Option<Text<'a>>,
    #[serde(borrow, default)]
    name: Option<Text<'a>>,
    #[serde(borrow, default, rename = "displayName")]
    display_name: Option<Text<'a>>,
    #[serde(borrow, default)]
    opts: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "even_null")]
    data: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
    #[serde(borrow, default)]
    userland: Option<&'a RawValue>,
    #[serde(borrow, default)]
    metadata: Option<&'a RawValue>,
    #[serde(borrow, default)]
    timing: Option<&'a RawValue>,
}

/// `null` is data too.
fn even_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

impl Reported<'_> {
    fn report(self) -> Result<OpReport, String> {
        let op = Op::parse(&self.op.0).ok_or_else(|| format!("{} does not belong to Opcode values", self.op.0))?;
        let id = self.id.map_or_else(|| StepId::from(""), |id| StepId::from(&*id.0));
        if id.as_str().is_empty() && op.names_a_step() {
            return Err(format!("{} has no id", op.as_str()));
        }
        if op == Op::StepError && self.error.is_none() {
            return Err("StepError has no error".to_owned());
        }
        let name: Option<Arc<str>> = self.name.map(|name| name.0.into());
        // One text for both if they are the same.
        let display_name = match self.display_name.filter(|text| !text.0.is_empty()) {
            Some(shown) if name.as_deref() != Some(&*shown.0) => Some(shown.0.into()),
            _ => name.clone().filter(|name| !name.is_empty()).or_else(|| self.userland.and_then(user_id)),
        };
        let opts = self.opts.filter(|opts| opts.get().starts_with('{'));
        Ok(OpReport {
            op,
            id,
            display_name: display_name.unwrap_or_default(),
            name,
            input: opts.and_then(input).map(payload).transpose()?,
            opts: opts.map(payload).transpose()?,
            data: self.data.map(payload).transpose()?,
            error: self.error.map(payload).transpose()?,
            metadata: self.metadata.map(metadata::of_op).unwrap_or_default(),
            timing: self.timing.and_then(timing),
        })
    }
}

fn payload(value: &RawValue) -> Result<Payload, String> {
    match value.get() {
        "null" => Ok(Payload::from_static(b"null")),
        "{}" => Ok(Payload::from_static(b"{}")),
        json => {
            canonical::canonicalise(json.as_bytes(), Numbers::Exact).map(Into::into).map_err(|error| error.to_string())
        }
    }
}

/// The user's own id of the step.
fn user_id(userland: &RawValue) -> Option<Arc<str>> {
    #[derive(Deserialize)]
    struct Userland<'a> {
        #[serde(borrow)]
        id: Text<'a>,
    }
    let Userland { id } = serde_json::from_str(userland.get()).ok()?;
    (!id.0.is_empty()).then(|| id.0.into())
}

/// `opts.input`; most ops have none, so the text is searched before it is parsed.
fn input(opts: &RawValue) -> Option<&RawValue> {
    #[derive(Deserialize)]
    struct Opts<'a> {
        #[serde(borrow, default)]
        input: Option<&'a RawValue>,
    }
    let may_have = opts.get().contains("\"input\"");
    may_have.then(|| serde_json::from_str::<Opts<'_>>(opts.get()).ok()).flatten()?.input
}

/// SDKs that measure send numbers; those of JS may have fractions. A step that did not run has zeros.
fn timing(timing: &RawValue) -> Option<(i64, i64)> {
    #[derive(Deserialize)]
    struct Timing {
        a: serde_json::Number,
        b: serde_json::Number,
    }
    #[expect(clippy::cast_possible_truncation, reason = "saturates, and a part of a nanosecond is nothing")]
    fn nanos(number: &serde_json::Number) -> i64 {
        number.as_i64().or_else(|| number.as_f64().map(|number| number as i64)).unwrap_or(0)
    }
    let Timing { a, b } = serde_json::from_str(timing.get()).ok()?;
    let (start, duration) = (nanos(&a), nanos(&b));
    (start > 0 && duration >= 0).then_some((start, duration))
}

impl Op {
    const ALL: [Self; 17] = [
        Self::None,
        Self::Step,
        Self::StepRun,
        Self::StepError,
        Self::StepFailed,
        Self::StepPlanned,
        Self::Sleep,
        Self::WaitForEvent,
        Self::WaitForSignal,
        Self::InvokeFunction,
        Self::AiGateway,
        Self::Gateway,
        Self::RunComplete,
        Self::SyncRunComplete,
        Self::DiscoveryRequest,
        Self::DeferAdd,
        Self::DeferAbort,
    ];

    /// The op as the protocol spells it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Step => "Step",
            Self::StepRun => "StepRun",
            Self::StepError => "StepError",
            Self::StepFailed => "StepFailed",
            Self::StepPlanned => "StepPlanned",
            Self::Sleep => "Sleep",
            Self::WaitForEvent => "WaitForEvent",
            Self::WaitForSignal => "WaitForSignal",
            Self::InvokeFunction => "InvokeFunction",
            Self::AiGateway => "AIGateway",
            Self::Gateway => "Gateway",
            Self::RunComplete => "RunComplete",
            Self::SyncRunComplete => "SyncRunComplete",
            Self::DiscoveryRequest => "DiscoveryRequest",
            Self::DeferAdd => "DeferAdd",
            Self::DeferAbort => "DeferAbort",
        }
    }

    /// The op of a name in any letter case. `StepStateFailed` is what Kotlin's SDK calls `StepFailed`.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        if name.eq_ignore_ascii_case("StepStateFailed") {
            return Some(Self::StepFailed);
        }
        Self::ALL.into_iter().find(|op| op.as_str().eq_ignore_ascii_case(name))
    }

    /// Whether the op is about one step, and means nothing without its id.
    const fn names_a_step(self) -> bool {
        !matches!(self, Self::None | Self::DiscoveryRequest | Self::RunComplete | Self::SyncRunComplete)
    }
}

#[cfg(test)]
mod tests;
