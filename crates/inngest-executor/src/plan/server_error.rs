//! Errors that the server itself makes, in the two forms in which they are shown.

use std::borrow::Cow;
use std::time::Duration;

use inngest_core::limits::{self, RunLimits};

use crate::driver::CallError;
use crate::response::{FunctionError, Op, OpReport};

/// An error made by the server, not by the user's function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ServerError {
    /// Stable code; users match on it.
    name: Cow<'static, str>,
    message: String,
    /// Cause, as far as it is known.
    stack: Option<String>,
    /// `error` of the run's output where it is not `<name>: <message>`.
    summary: Option<&'static str>,
}

impl ServerError {
    pub(super) fn new(name: &'static str, message: impl Into<String>) -> Self {
        Self { name: name.into(), message: message.into(), stack: None, summary: None }
    }

    pub(super) fn too_many_steps(max: usize) -> Self {
        let message = format!("The function run exceeded the step limit of {max} steps.");
        Self { summary: Some("function has too many steps"), ..Self::new("InngestErrFunctionOverflowed", message) }
    }

    pub(super) fn state_too_large(max: usize) -> Self {
        Self::new(
            "InngestErrStateOverflowed",
            format!("The function run exceeded the state size limit of {max} bytes."),
        )
    }

    pub(super) fn sleep_too_long(text: &str) -> Self {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        const { assert!(limits::SLEEP_MAX.as_secs() == 366 * DAY.as_secs(), "the text says one year") };
        let message =
            format!("The sleep \"{text}\" ends more than one year in the future; sleeps may last at most one year.");
        Self::new("InngestErrTimeoutTooLong", message)
    }

    pub(super) fn wait_too_long(text: &str) -> Self {
        let message =
            format!("The timeout \"{text}\" ends more than one year in the future; waits may last at most one year.");
        Self::new("InngestErrTimeoutTooLong", message)
    }

    pub(super) fn invalid_condition(compiler: String) -> Self {
        let message = "Wait for event If expression failed to compile";
        Self { stack: Some(compiler), ..Self::new("InvalidExpression", message) }
    }

    pub(super) fn signal_taken() -> Self {
        Self::new("Error", "Signal conflict; signal wait already exists for another run")
    }

    pub(super) fn no_ops() -> Self {
        Self::new("NoProgress", "The SDK answered with status 206 but reported no steps.")
    }

    pub(super) fn no_progress() -> Self {
        Self::new(
            "NoProgress",
            "The SDK reported nothing that is not known already, and nothing else of the run is pending.",
        )
    }

    pub(super) fn no_step_result(step: &str) -> Self {
        Self::new(
            "NoProgress",
            format!("The SDK was asked to run the step \"{step}\" and answered without its result."),
        )
    }

    pub(super) fn function_unknown(id: &str) -> Self {
        Self::new("Error", format!("could not find function with ID: {id}"))
    }

    /// An op over its limits, which fails the whole answer.
    pub(super) fn of_size(report: &OpReport, limits: &RunLimits) -> Option<Self> {
        // What is deferred has limits of its own, and never fails the run.
        if report.op == Op::DeferAdd {
            return None;
        }
        let problem = if report.data.as_ref().is_some_and(|data| data.len() > limits.step_output_bytes) {
            "step output size is greater than the limit"
        } else if report.input.as_ref().is_some_and(|input| input.len() > limits.step_input_bytes) {
            "step input size is greater than the limit"
        } else if report.input.as_ref().is_some_and(|input| !input.starts_with(b"[")) {
            "step input must be an array"
        } else {
            return None;
        };
        Some(Self::new("Error", format!("error validating generator opcode {}: {problem}", report.id)))
    }

    /// A call that brought no answer. What a user can compare is short; the details are in the stack.
    pub(super) fn of_call(error: &CallError) -> Self {
        let text = error.to_string();
        let message = match error {
            CallError::Unreachable(_) | CallError::Reset(..) | CallError::Redirect(_) | CallError::BadUrl(_) => {
                text.split(": ").next().unwrap_or(&text).to_owned()
            }
            CallError::TimedOut => text.clone(),
        };
        Self { stack: Some(text), ..Self::new("Error", message) }
    }

    pub(super) fn message(&self) -> &str {
        &self.message
    }

    pub(super) fn into_function_error(self) -> FunctionError {
        let summary = match self.summary {
            Some(summary) => summary.to_owned(),
            None => format!("{}: {}", self.name, self.message),
        };
        // What an event names as `error` is the code; an error without one of its own says what happened.
        let code = if self.name == "Error" { &self.message } else { &*self.name };
        FunctionError::server_made(code, &self.name, &self.message, self.stack.as_deref(), &summary)
    }
}
