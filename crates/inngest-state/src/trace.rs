//! What is kept of a run for its trace, besides steps and attempts.

use std::sync::Arc;

use inngest_core::{EventId, Millis, Payload, RunId, StepId};
use inngest_queue::{JobId, JobKind};

/// What a step is about, as far as its kind and its value do not tell. Written when the step is first reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepDetail {
    /// A step of the app that has a type of its own (`step.sendEvent`, `step.ai.wrap`, ..).
    Run {
        /// The type, as the SDK calls it.
        sdk_type: Arc<str>,
    },
    /// A sleep.
    Sleep {
        /// When it ends.
        until: Millis,
    },
    /// A wait for an event.
    Event {
        /// Name of the event.
        name: Arc<str>,
        /// The condition, with the values of the run's event put in.
        expression: Option<Arc<str>>,
        /// When it ends without.
        until: Millis,
    },
    /// A wait for a signal.
    Signal {
        /// Name of the signal.
        name: Arc<str>,
        /// When it ends without.
        until: Millis,
    },
    /// The invocation of another function.
    Invoke {
        /// Slug of the function.
        function: Arc<str>,
        /// The event that invokes it.
        event: EventId,
        /// The run that was to start; whether it exists, its row says. Events that are gathered start another one.
        run: Option<RunId>,
        /// When waiting for it ends.
        until: Millis,
    },
    /// A request that the server makes for a step.
    Gateway {
        /// The request's body, which is JSON, shown as the input of the step.
        request: Payload,
    },
}

/// The headers of a reply. The same headers are stored once, however many replies have them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Headers {
    /// Hash of `json`: its key in the store.
    pub hash: u64,
    /// A JSON object: canonical name to value, or to the list of values. Without those that differ from reply to reply
    /// by their nature (`Date`, `Content-Length`) or speak of the connection only.
    pub json: Payload,
}

impl Default for Headers {
    fn default() -> Self {
        Self { hash: 0, json: Payload::from_static(b"{}") }
    }
}

impl Headers {
    /// Whether there is a header of this canonical name.
    #[must_use]
    pub fn names(&self, name: &str) -> bool {
        let json: serde_json::Value = serde_json::from_slice(&self.json).unwrap_or_default();
        json.get(name).is_some()
    }
}

/// Status and headers of a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResponseHead {
    /// HTTP status.
    pub status: u16,
    /// Its headers.
    pub headers: Arc<Headers>,
}

impl ResponseHead {
    /// A reply of which no headers are known.
    #[must_use]
    pub fn bare(status: u16) -> Self {
        Self { status, headers: Arc::default() }
    }
}

/// The call with which a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastCall {
    /// Which job.
    pub job: JobId,
    /// When the job was made.
    pub queued_at: Millis,
    /// When the call began. It ended with the run.
    pub started_at: Millis,
    /// Zero-based attempt.
    pub attempt: u32,
    /// What came back, if anything did.
    pub response: Option<ResponseHead>,
}

/// A step that the end of its run cut off: what its job told of it, which is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CutOff {
    /// Key of the job.
    pub job: u64,
    /// What the job did; it is about a step.
    pub kind: JobKind,
    /// When the job was made.
    pub queued_at: Millis,
    /// When its call to the app began, if one was in flight.
    pub called_at: Option<Millis>,
    /// Zero-based attempt that was under way, or next.
    pub attempt: u32,
}

/// A span that the user's own code has reported (`POST /v1/traces/userland`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserSpan {
    /// In which run.
    pub run: RunId,
    /// Its id.
    pub id: [u8; 8],
    /// The span in which it lies.
    pub parent: Option<[u8; 8]>,
    /// In which step, if in one.
    pub step: Option<StepId>,
    /// In which attempt.
    pub attempt: Option<u32>,
    /// Its name.
    pub name: Arc<str>,
    /// When it began, in nanoseconds since 1970.
    pub started_ns: i64,
    /// When it ended.
    pub ended_ns: i64,
    /// Whether it says that it failed.
    pub failed: bool,
    /// `{"call","spanKind","serviceName","scopeName","scopeVersion","spanAttrs":{..},"resourceAttrs":{..}}`; `call` is the
    /// span of the call to the app in which it was made, in hex.
    pub content: Payload,
}
