//! What is compared: one line of text for everything that can be seen from outside. Model and engine each write theirs.

use serde_json::{Map, Value};

/// The instant at which virtual time begins.
pub(crate) const BEGIN: i64 = 1_800_000_000_000;

/// What was seen, in any order.
#[derive(Debug, Default)]
pub(crate) struct Record {
    pub(crate) lines: Vec<String>,
    /// Events, calls, timers, signals, cancellations, syncs, crashes.
    pub(crate) operations: usize,
}

/// One call to the app.
pub(crate) struct Call<'a> {
    pub(crate) run: &'a str,
    pub(crate) at: i64,
    pub(crate) target: Option<&'a str>,
    pub(crate) attempt: u32,
    pub(crate) attempts: u32,
    pub(crate) generation: u32,
    pub(crate) version: i32,
    pub(crate) plan_only: bool,
    pub(crate) current: usize,
    pub(crate) stack: &'a [String],
    pub(crate) steps: &'a Value,
    pub(crate) defers: &'a Value,
    pub(crate) event: &'a Value,
}

impl Call<'_> {
    pub(crate) fn line(&self) -> String {
        let Call { run, at, attempt, attempts, generation, version, plan_only, current, stack, .. } = self;
        let target = self.target.unwrap_or("step");
        let (steps, defers) = (self.steps, self.defers);
        let event = event_name(self.event);
        format!(
            "call {run} @{at} {target} attempt {attempt} of {attempts} generation {generation} version {version} \
             plan {plan_only} stack {current} [{}] {steps} defers {defers} event {event}",
            stack.join(",")
        )
    }
}

fn event_name(event: &Value) -> String {
    format!("{} {}", event["name"].as_str().unwrap_or_default(), event["id"])
}

/// A recorded step.
pub(crate) fn step_line(run: &str, place: usize, id: &str, op: &str, attempt: u32, at: i64, value: &Value) -> String {
    format!("step {run} {place} {id} {op} attempt {attempt} @{at} {value}")
}

/// A failed attempt.
pub(crate) fn attempt_line(
    run: &str,
    step: Option<&str>,
    (attempt, generation): (u32, u32),
    (start, end): (i64, i64),
    status: Option<u16>,
    error: &Value,
    again: Option<i64>,
) -> String {
    let step = step.unwrap_or("-");
    format!("attempt {run} {step} {attempt} generation {generation} @{start}-{end} {status:?} {error} again {again:?}")
}

pub(crate) struct Run<'a> {
    pub(crate) run: &'a str,
    pub(crate) status: &'a str,
    pub(crate) queued: i64,
    pub(crate) started: Option<i64>,
    pub(crate) ended: Option<i64>,
    pub(crate) output: Option<&'a Value>,
    pub(crate) error: Option<&'a Value>,
    pub(crate) original: Option<&'a str>,
}

impl Run<'_> {
    pub(crate) fn line(&self) -> String {
        let Run { run, status, queued, started, ended, output, error, original } = self;
        let text = |value: &Option<&Value>| value.map_or_else(|| "none".to_owned(), Value::to_string);
        format!(
            "run {run} {status} queued {queued} started {started:?} ended {ended:?} of {original:?} output {} error {}",
            text(output),
            text(error)
        )
    }
}

/// What a run that goes on has to do.
pub(crate) fn job_line(run: &str, kind: &str, due: i64, attempt: u32) -> String {
    format!("job {run} {kind} due {due} attempt {attempt}")
}

/// A step that the end of its run cut off.
pub(crate) fn cut_off_line(run: &str, kind: &str, attempt: u32, made: i64, called: Option<i64>) -> String {
    format!("cut off {run} {kind} attempt {attempt} made @{made} called {called:?}")
}

pub(crate) fn event_line(label: &str, body: &Value, starts: &[String]) -> String {
    let mut starts = starts.to_vec();
    starts.sort_unstable();
    format!("event {label} {body} starts [{}]", starts.join(","))
}

/// Takes out what is not fixed: texts of the server's own errors, stacks, members that only tracing needs.
pub(crate) fn plain(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(plain).collect(),
        Value::Object(members) => {
            let mut plain: Map<String, Value> =
                members.iter().map(|(key, value)| (key.clone(), self::plain(value))).collect();
            if plain.contains_key("message") {
                plain.remove("stack");
                if plain.get("name").is_some_and(|name| name == "NoProgress") {
                    plain.insert("message".into(), "*".into());
                    plain.insert("error".into(), "*".into());
                }
            }
            if let Some(Value::Object(own)) = plain.get_mut("_inngest") {
                own.retain(|key, _| {
                    matches!(
                        key.as_str(),
                        "fn_id" | "fn_slug" | "correlation_id" | "expire" | "parent_run_id" | "status"
                    )
                });
            }
            plain.into()
        }
        other => other.clone(),
    }
}
