//! Every limit by name, with what happens when it is reached.

use std::time::Duration;

/// One event of a request, in bytes of its JSON text; a larger one fails the request (400).
pub const EVENT_BYTES_MAX: usize = 3 * 1024 * 1024;
/// Events of one request; more fail the request (400).
pub const EVENTS_PER_REQUEST_MAX: usize = 5_000;
/// Decoded body of a request to the event API; a larger one is refused (413).
pub const REQUEST_BODY_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Name of an event in bytes; a longer one fails the request (400).
pub const EVENT_NAME_BYTES_MAX: usize = 512;
/// Depth of nested arrays and objects in any JSON we read; deeper is refused.
pub const JSON_DEPTH_MAX: usize = 10_000;
/// Output of one step; a larger one fails the attempt.
pub const STEP_OUTPUT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// What is kept of the reply that made a request to an AI provider fail, in the error's `data` and again in its
/// `stack`; the rest is cut off.
pub const FAILED_REPLY_BYTES_MAX: usize = 64 * 1024;
/// Input (`opts.input`) of one step; a larger one fails the attempt.
pub const STEP_INPUT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Events and step values of one run; more fail the run (`InngestErrStateOverflowed`).
pub const RUN_STATE_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Steps of one run; more fail the run (`InngestErrFunctionOverflowed`).
pub const STEPS_PER_RUN_MAX: usize = 1_000;
/// Ops of one response; more fail the run (`InngestErrFunctionOverflowed`).
pub const OPS_PER_RESPONSE_MAX: usize = 1_000;
/// Body of an app's response; a larger one fails the attempt (`output_too_large`).
pub const RESPONSE_BODY_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Body of a request to an app; a larger one sends `use_api` and leaves steps out.
pub const SDK_REQUEST_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Retries of one step or of a function; higher numbers are clamped.
pub const RETRIES_MAX: u32 = 20;
/// Retries when the function says nothing.
pub const RETRIES_DEFAULT: u32 = 4;
/// One call to an app from start to end of the reply; a longer one fails the attempt.
pub const SDK_REQUEST_TIMEOUT: Duration = Duration::from_secs(2 * 60 * 60);
/// A sleep or wait; a longer one fails the run (`InngestErrTimeoutTooLong`).
pub const SLEEP_MAX: Duration = Duration::from_secs(366 * 24 * 60 * 60);
/// How long one `event.id` starts a function only once.
pub const IDEMPOTENCY_PERIOD: Duration = Duration::from_secs(24 * 60 * 60);
/// Bounds of `Retry-After`; values outside are clamped.
pub const RETRY_AFTER_MIN: Duration = Duration::from_secs(1);
/// See [`RETRY_AFTER_MIN`].
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// Runs that one run may ask for to be started when it ends (`DeferAdd`); more are ignored.
pub const DEFERS_PER_RUN_MAX: usize = 20;
/// Inputs of all defers of one run together; a defer that does not fit is refused, the run goes on.
pub const DEFER_INPUT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// `meta` of one defer; a larger one is refused, the run goes on.
pub const DEFER_META_BYTES_MAX: usize = 32 * 1024;
/// One note about a run or a step; a larger one is dropped, or refused by the API (413).
pub const METADATA_BYTES_MAX: usize = 64 * 1024;
/// All notes about one run; more are dropped, or refused by the API (413).
pub const METADATA_OF_RUN_BYTES_MAX: usize = 1024 * 1024;
/// Spans that the user's own code reports of one run; more are dropped.
pub const SPANS_PER_RUN_MAX: usize = 2_000;
/// Redirects followed in one call; more fail the attempt.
pub const REDIRECTS_MAX: usize = 60;
/// Redirects followed in one request of a step (`step.fetch`, `step.ai.infer`); more fail the attempt.
pub const FETCH_REDIRECTS_MAX: usize = 10;
/// Triggers of one function; more fail the sync.
pub const TRIGGERS_PER_FUNCTION_MAX: usize = 10;
/// `cancelOn` entries of one function; more fail the sync.
pub const CANCELS_PER_FUNCTION_MAX: usize = 5;
/// Event name of a trigger, or a cron text, in bytes; longer ones fail the sync.
pub const TRIGGER_BYTES_MAX: usize = 255;
/// Earliest and latest `ts` of an event: 1980-01-01 and 2100-01-01, inclusive; others fail the request.
pub const EVENT_TS_MIN: i64 = 315_532_800_000;
/// See [`EVENT_TS_MIN`].
pub const EVENT_TS_MAX: i64 = 4_102_444_800_000;

/// The limits of a run that an operator may raise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunLimits {
    /// See [`STEPS_PER_RUN_MAX`].
    pub steps: usize,
    /// See [`RUN_STATE_BYTES_MAX`].
    pub state_bytes: usize,
    /// See [`STEP_OUTPUT_BYTES_MAX`].
    pub step_output_bytes: usize,
    /// See [`STEP_INPUT_BYTES_MAX`].
    pub step_input_bytes: usize,
    /// See [`SDK_REQUEST_BYTES_MAX`].
    pub request_bytes: usize,
}

impl RunLimits {
    /// See [`OPS_PER_RESPONSE_MAX`]; a run that may have more steps may also plan them at once.
    #[must_use]
    pub fn ops_per_response(&self) -> usize {
        OPS_PER_RESPONSE_MAX.max(self.steps)
    }
}

impl Default for RunLimits {
    fn default() -> Self {
        Self {
            steps: STEPS_PER_RUN_MAX,
            state_bytes: RUN_STATE_BYTES_MAX,
            step_output_bytes: STEP_OUTPUT_BYTES_MAX,
            step_input_bytes: STEP_INPUT_BYTES_MAX,
            request_bytes: SDK_REQUEST_BYTES_MAX,
        }
    }
}

const _: () = assert!(STEP_OUTPUT_BYTES_MAX < RESPONSE_BODY_BYTES_MAX);
const _: () = assert!(RESPONSE_BODY_BYTES_MAX < RUN_STATE_BYTES_MAX);
const _: () = assert!(EVENT_BYTES_MAX < SDK_REQUEST_BYTES_MAX);
