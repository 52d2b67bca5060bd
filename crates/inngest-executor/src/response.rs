//! What an app answered, understood: [`SdkResponse`].

mod errors;
mod headers;
pub mod metadata;
mod ops;
mod output;
mod reply;
mod stream;

use std::fmt;
use std::sync::Arc;

use inngest_core::{Millis, Payload, StepId};
use inngest_state::trace::{Headers, ResponseHead};

pub use headers::{ReplyHeaders, Sdk};
pub use ops::read as read_ops;
pub use reply::{RawReply, understand};

/// A complete reply of an app.
#[derive(Clone, Debug, PartialEq)]
pub struct SdkResponse {
    /// HTTP status, after redirects and after unwrapping a 201 stream.
    pub status: u16,
    /// Its headers, as far as they are kept.
    pub headers: Arc<Headers>,
    /// `x-inngest-req-version`; 0 when missing or unreadable.
    pub version: i32,
    /// `x-inngest-no-retry: true`, or a reply that is final by itself.
    pub no_retry: bool,
    /// `retry-after`, already resolved and clamped.
    pub retry_at: Option<Millis>,
    /// What it says.
    pub reply: Reply,
}

impl SdkResponse {
    /// What is kept of it with the steps and attempts that it tells of.
    #[must_use]
    pub fn head(&self) -> ResponseHead {
        ResponseHead { status: self.status, headers: Arc::clone(&self.headers) }
    }

    /// Whether the app says that it is too much for it, and until when if it says that.
    #[must_use]
    pub fn overload(&self) -> Option<Option<Millis>> {
        const TOO_MANY_REQUESTS: u16 = 429;
        (self.status == TOO_MANY_REQUESTS || self.retry_at.is_some()).then_some(self.retry_at)
    }
}

/// What a reply says.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// 206: reports of steps, in the order sent. May be empty.
    Ops(Vec<OpReport>),
    /// The function returned; `None` when the body was empty.
    Returned(Option<Payload>),
    /// The function failed, or the reply is not one of an SDK, or cannot be understood.
    Failed(FunctionError),
}

/// An error outside of any step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionError {
    /// Output of the run if this ends it: the raw error body as JSON (text that is no JSON as a JSON string).
    pub output: Option<Payload>,
    /// Normalised: canonical `{"cause"?,"error","message","name","stack"?}`.
    pub error: Payload,
}

/// The ops of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the protocol's own words, explained where each is planned (plan/ops)")]
pub enum Op {
    None,
    Step,
    StepRun,
    StepError,
    StepFailed,
    StepPlanned,
    Sleep,
    WaitForEvent,
    WaitForSignal,
    InvokeFunction,
    AiGateway,
    Gateway,
    RunComplete,
    SyncRunComplete,
    DiscoveryRequest,
    DeferAdd,
    DeferAbort,
}

/// One op as reported; payloads are canonical JSON.
#[derive(Clone, PartialEq)]
pub struct OpReport {
    /// Which op.
    pub op: Op,
    /// Hashed step id; may be empty for `None` and `DiscoveryRequest`.
    pub id: StepId,
    /// `displayName`, else `name`, else `userland.id`.
    pub display_name: Arc<str>,
    /// Op-specific text: duration, event name, ..
    pub name: Option<Arc<str>>,
    /// `opts` when it is an object.
    pub opts: Option<Payload>,
    /// `opts.input` when present.
    pub input: Option<Payload>,
    /// `data`; `None` when absent (JSON `null` is `Some("null")`).
    pub data: Option<Payload>,
    /// `error` when it is not null.
    pub error: Option<Payload>,
    /// Notes about the run or the step; those that cannot be used are left out.
    pub metadata: Vec<MetadataReport>,
    /// Start and duration in nanoseconds, when the SDK measured them.
    pub timing: Option<(i64, i64)>,
}

/// Without what an op asks the server to send somewhere, which may be a key.
impl fmt::Debug for OpReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { op, id, display_name, name, opts, input, data, error, metadata, timing } = self;
        let secret = matches!(op, Op::Gateway | Op::AiGateway);
        let shown = |payload| if secret { &None } else { payload };
        f.debug_struct("OpReport")
            .field("op", op)
            .field("id", id)
            .field("display_name", display_name)
            .field("name", name)
            .field("opts", shown(opts))
            .field("input", input)
            .field("data", shown(data))
            .field("error", error)
            .field("metadata", metadata)
            .field("timing", timing)
            .finish()
    }
}

/// A note about a run or a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetadataReport {
    /// `run`, `step`, `step_attempt`, `extended_trace` or `request`.
    pub scope: Arc<str>,
    /// `userland.*` or a known kind of `inngest.*`.
    pub kind: Arc<str>,
    /// `merge`, `set`, `delete` or `add`.
    pub op: Arc<str>,
    /// A JSON object, canonical.
    pub values: Payload,
}
