//! What steps are about.

use async_graphql::{SimpleObject, Union};

use super::scalars::{Time, UlidText};
use crate::trace;

/// What a step is about.
#[derive(Clone, Union)]
pub(super) enum StepInfo {
    /// The invocation of another function.
    Invoke(InvokeStepInfo),
    /// A sleep.
    Sleep(SleepStepInfo),
    /// A wait for an event.
    WaitForEvent(WaitForEventStepInfo),
    /// A step of the app.
    Run(RunStepInfo),
    /// A wait for a signal.
    WaitForSignal(WaitForSignalStepInfo),
}

/// The invocation of another function.
#[derive(Clone, SimpleObject)]
pub(super) struct InvokeStepInfo {
    #[graphql(name = "triggeringEventID")]
    triggering_event_id: UlidText,
    #[graphql(name = "functionID")]
    function_id: String,
    timeout: Time,
    #[graphql(name = "returnEventID")]
    return_event_id: Option<UlidText>,
    #[graphql(name = "runID")]
    run_id: Option<UlidText>,
    timed_out: Option<bool>,
}

/// A sleep.
#[derive(Clone, SimpleObject)]
pub(super) struct SleepStepInfo {
    sleep_until: Time,
}

/// A wait for an event.
#[derive(Clone, SimpleObject)]
pub(super) struct WaitForEventStepInfo {
    event_name: String,
    expression: Option<String>,
    timeout: Time,
    #[graphql(name = "foundEventID")]
    found_event_id: Option<UlidText>,
    timed_out: Option<bool>,
}

/// A step of the app.
#[derive(Clone, SimpleObject)]
pub(super) struct RunStepInfo {
    r#type: Option<String>,
}

/// A wait for a signal.
#[derive(Clone, SimpleObject)]
pub(super) struct WaitForSignalStepInfo {
    signal: String,
    timeout: Time,
    timed_out: Option<bool>,
}

impl From<trace::StepInfo> for StepInfo {
    fn from(info: trace::StepInfo) -> Self {
        match info {
            trace::StepInfo::Run { sdk_type } => {
                Self::Run(RunStepInfo { r#type: sdk_type.map(|sdk_type| sdk_type.to_string()) })
            }
            trace::StepInfo::Sleep { until } => Self::Sleep(SleepStepInfo { sleep_until: until.into() }),
            trace::StepInfo::Event { name, expression, until, found, timed_out } => {
                Self::WaitForEvent(WaitForEventStepInfo {
                    event_name: name.to_string(),
                    expression: expression.map(|expression| expression.to_string()),
                    timeout: until.into(),
                    found_event_id: found.map(UlidText::from),
                    timed_out,
                })
            }
            trace::StepInfo::Signal { name, until, timed_out } => Self::WaitForSignal(WaitForSignalStepInfo {
                signal: name.to_string(),
                timeout: until.into(),
                timed_out,
            }),
            trace::StepInfo::Invoke { function, event, until, run, returned, timed_out } => {
                Self::Invoke(InvokeStepInfo {
                    triggering_event_id: event.into(),
                    function_id: function.to_string(),
                    timeout: until.into(),
                    return_event_id: returned.map(UlidText::from),
                    run_id: run.map(UlidText::from),
                    timed_out,
                })
            }
        }
    }
}
