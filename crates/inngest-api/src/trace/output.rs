//! What a span took in and gave out.

use std::borrow::Cow;

use inngest_core::{Payload, RunStatus, StepId};
use inngest_state::trace::StepDetail;
use inngest_state::{StepOp, StepRecord};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{OutputOf, RunView, SpanError, SpanOutput};

/// What a span took in and gave out; `None` when the run has no such span.
pub(crate) fn output(view: &RunView, of: &OutputOf) -> Option<SpanOutput> {
    match of {
        OutputOf::Run => Some(of_run(view)),
        OutputOf::Step(id) => of_step(view, id),
        OutputOf::Attempt { job, generation } => {
            let attempts = &view.trace.attempts;
            let attempt = attempts.iter().find(|it| it.job.key == *job && it.generation == *generation)?;
            let input = attempt.step.as_ref().and_then(|step| input(view, &step.id));
            Some(SpanOutput { input, data: None, error: Some(SpanError::read(&attempt.error)) })
        }
    }
}

fn of_run(view: &RunView) -> SpanOutput {
    let run = &view.run;
    let mut result = SpanOutput { input: Some(events(view)), ..SpanOutput::default() };
    match run.status {
        RunStatus::Completed => {
            result.data = Some(run.output.clone().unwrap_or(Payload::from_static(b"null")));
        }
        RunStatus::Failed => {
            // As the app said it, if that is an error; else as the server understood it.
            let said = run.output.as_deref().filter(|output| Reported::of(output).is_some());
            result.error = said.or(run.error.as_deref()).or(run.output.as_deref()).map(SpanError::read);
        }
        RunStatus::Running | RunStatus::Cancelled | RunStatus::Scheduled | RunStatus::Skipped => {}
    }
    result
}

/// The events that started the run, as a JSON array.
fn events(view: &RunView) -> Payload {
    let mut json = vec![b'['];
    for event in &view.events {
        if json.len() > 1 {
            json.push(b',');
        }
        json.extend_from_slice(&event.body);
    }
    json.push(b']');
    json.into()
}

fn of_step(view: &RunView, id: &StepId) -> Option<SpanOutput> {
    let mut result = SpanOutput { input: input(view, id), ..SpanOutput::default() };
    let Some(record) = view.trace.steps.iter().find(|record| record.step.id == *id) else {
        // What it is asked can be seen while it runs.
        return result.input.is_some().then_some(result);
    };
    if record.failed {
        let error = Wrapped::of(&record.value).error.map_or(&record.value[..], |error| error.get().as_bytes());
        result.error = Some(SpanError::read(error));
    } else {
        result.data = data(record);
    }
    Some(result)
}

/// The result of a step, out of the form in which it stands in requests.
fn data(record: &StepRecord) -> Option<Payload> {
    match record.op {
        StepOp::Sleep => None,
        StepOp::WaitForEvent | StepOp::WaitForSignal => record.resolution.as_ref().map(|_| record.value.clone()),
        StepOp::Legacy => Some(record.value.clone()),
        StepOp::Run | StepOp::Invoke | StepOp::Gateway | StepOp::AiGateway => {
            let data = Wrapped::of(&record.value).data.map(|data| record.value.slice_ref(data.get().as_bytes()));
            Some(data.unwrap_or_else(|| record.value.clone()))
        }
    }
}

fn input(view: &RunView, id: &StepId) -> Option<Payload> {
    let record = view.trace.steps.iter().find(|record| record.step.id == *id);
    if let Some(input) = record.and_then(|record| record.input.clone()) {
        return Some(input);
    }
    view.trace.details.iter().find_map(|(step, detail)| match detail {
        StepDetail::Gateway { request } if step == id => Some(request.clone()),
        _ => None,
    })
}

/// `{"data":..}` or `{"error":..}`.
#[derive(Deserialize, Default)]
struct Wrapped<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    data: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

/// Also `null` is a result.
fn present<'de, D: serde::Deserializer<'de>>(value: D) -> Result<Option<&'de RawValue>, D::Error> {
    Deserialize::deserialize(value).map(Some)
}

impl<'a> Wrapped<'a> {
    fn of(value: &'a [u8]) -> Self {
        let object = Some(value).filter(|value| value.starts_with(b"{"));
        object.and_then(|value| serde_json::from_slice(value).ok()).unwrap_or_default()
    }
}

/// An error as SDKs report it, and as the server keeps it.
#[derive(Deserialize)]
struct Reported<'a> {
    #[serde(borrow)]
    message: Cow<'a, str>,
    #[serde(borrow, default)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    stack: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    cause: Option<&'a RawValue>,
    /// The code of an error that the server made.
    #[serde(borrow, default)]
    error: Option<Cow<'a, str>>,
}

impl<'a> Reported<'a> {
    fn of(error: &'a [u8]) -> Option<Self> {
        // An array would be read as the members in their order.
        Some(error).filter(|error| error.starts_with(b"{")).and_then(|error| serde_json::from_slice(error).ok())
    }

    /// Whether the server has made it, and named what went wrong by a code.
    fn has_code(&self) -> bool {
        self.error.is_some() && self.error == self.name
    }
}

impl SpanError {
    fn read(error: &[u8]) -> Self {
        let whole = || String::from_utf8_lossy(error).into_owned();
        let Some(reported) = Reported::of(error) else { return Self { stack: Some(whole()), ..Self::default() } };
        // What has no stack but a code shows the code where clients look for it.
        let code = reported.has_code().then(whole);
        Self {
            message: reported.message.into_owned(),
            name: reported.name.map(Cow::into_owned),
            stack: reported.stack.map(Cow::into_owned).or(code),
            cause: reported.cause.map(|cause| Payload::copy_from_slice(cause.get().as_bytes())),
        }
    }
}
