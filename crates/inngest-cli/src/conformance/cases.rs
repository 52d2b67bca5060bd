//! The cases of suite `core`: what is sent, and what server and app must say to one another then. What is compared is
//! the structure, so that SDKs of any language and any of their versions can be tried.

use std::time::Duration;

use inngest_core::StepId;
use serde_json::{Value, json};

use super::recorder::Exchange;
use super::runner::Session;

/// The first call follows an event within this.
const FIRST: Duration = Duration::from_secs(5);
/// A retry follows a failure within this.
const RETRY: Duration = Duration::from_secs(45);
/// What was cancelled sleeps for ten seconds, and must not be called after them.
const SILENCE: Duration = Duration::from_secs(11);
/// The sleep of the fixture takes two seconds; clocks and timers are not exact.
const SLEEP_MIN: Duration = Duration::from_millis(1_900);

pub(super) async fn run(id: &str, session: &Session) -> Result<(), String> {
    match id {
        "basic-invoke" => basic_invoke(session).await,
        "steps-serial" => steps_serial(session).await,
        "retry-basic" => retry_basic(session).await,
        "cancel-basic" => cancel_basic(session).await,
        "wait-for-event-basic" => wait_for_event(session).await,
        other => Err(format!("there is no case {other}")),
    }
}

async fn basic_invoke(session: &Session) -> Result<(), String> {
    let run = Run::start(session, "test-suite-simple-fn", "tests/function.test").await?;
    let first = run.first().await?;
    expect(first.request["steps"] == json!({}), "the first call has no steps", &first.request["steps"])?;
    expect(
        first.request["ctx"]["stack"]["stack"] == json!([]),
        "the first call has an empty stack",
        &first.request["ctx"]["stack"],
    )?;
    run.until_done(FIRST).await.map(drop)
}

async fn steps_serial(session: &Session) -> Result<(), String> {
    let run = Run::start(session, "test-suite-step-test", "tests/step.test").await?;
    let all = run.until_done(RETRY).await?;
    let last = all.last().map_or(&Value::Null, |exchange| &exchange.request);
    let (first, sleep) = (hash("first step"), hash("sleep"));
    let steps = &last["steps"];
    expect(
        steps[&first].get("data").is_some(),
        "the result of \"first step\" is {\"data\":..} under the SHA-1 of its id",
        steps,
    )?;
    expect(steps.get(&sleep).is_some_and(Value::is_null), "the result of \"sleep\" is null", steps)?;
    let stack = &last["ctx"]["stack"]["stack"];
    expect(stack[0] == first && stack[1] == sleep, "the stack has the steps in their order", stack)?;
    let slept = all.iter().position(|exchange| exchange.op("Sleep").is_some()).ok_or("no answer has an op Sleep")?;
    let pause = all.get(slept + 1).map(|next| next.began.saturating_duration_since(all[slept].ended));
    let pause = pause.ok_or("no call follows the sleep")?;
    if pause < SLEEP_MIN { Err(format!("the sleep of 2 s took {pause:?}")) } else { Ok(()) }
}

async fn retry_basic(session: &Session) -> Result<(), String> {
    let run = Run::start(session, "test-suite-retry-test", "tests/retry.test").await?;
    let all = run.until_done(4 * RETRY).await?;
    let has_result = |exchange: &Exchange| {
        let steps = exchange.request["steps"].as_object();
        steps.is_some_and(|steps| steps.values().any(|step| step["data"] == json!({ "yes": 2 })))
    };
    let is_retry = |exchange: &&Exchange| exchange.attempt().is_some_and(|attempt| attempt > 0);
    expect(
        all.iter().filter(is_retry).any(|exchange| !has_result(exchange)),
        "the step is tried again, with attempt 1",
        &Value::Null,
    )?;
    let broken = all.iter().position(|exchange| exchange.response.to_string().contains("broken func"));
    let broken = broken.ok_or("no answer has the error \"broken func\"")?;
    let after = all.get(broken + 1).filter(|next| is_retry(next) && has_result(next));
    let after = after.ok_or("the function is not tried again with attempt 1 and the result of its step")?;
    let pause = after.began.saturating_duration_since(all[broken].ended);
    if pause > RETRY { Err(format!("the retry came after {pause:?}")) } else { Ok(()) }
}

async fn cancel_basic(session: &Session) -> Result<(), String> {
    let run = Run::start(session, "test-suite-cancel-test", "tests/cancel.test").await?;
    let until_asleep =
        |all: &[Exchange]| all.iter().any(|exchange| exchange.op("Sleep").is_some()).then_some(all.len());
    let calls = run.wait(FIRST, until_asleep).await.ok_or("no answer has an op Sleep within 5 s")?;
    session.send("cancel/please", &json!({ "request_id": run.id })).await?;
    match run.wait(SILENCE, |all| (all.len() > calls).then_some(())).await {
        Some(()) => Err("a call follows the cancellation".to_owned()),
        None => Ok(()),
    }
}

async fn wait_for_event(session: &Session) -> Result<(), String> {
    let run = Run::start(session, "test-suite-wait-for-event", "tests/wait.test").await?;
    let waiting = |all: &[Exchange]| all.iter().find_map(|exchange| exchange.op("WaitForEvent").map(str::to_owned));
    let step = run.wait(FIRST, waiting).await.ok_or("no answer has an op WaitForEvent within 5 s")?;
    session.send("test/resume", &json!({ "resume": true, "id": run.id })).await?;
    let all = run.until_done(FIRST).await?;
    let steps = &all.last().map_or(&Value::Null, |exchange| &exchange.request)["steps"];
    let is_event = steps[&step]["name"] == "test/resume" && steps[&step]["data"]["id"] == run.id;
    expect(is_event, "the result of the wait is the event itself", steps)
}

/// The id that an SDK sends for a step.
fn hash(step: &str) -> String {
    StepId::hashed(step, 0).to_string()
}

fn expect(holds: bool, rule: &str, found: &Value) -> Result<(), String> {
    if holds { Ok(()) } else { Err(format!("{rule}; found {found}")) }
}

/// A run of a function of the fixture.
struct Run<'s> {
    session: &'s Session,
    function: &'static str,
    /// In the data of its event, to tell it from all others.
    id: String,
}

impl<'s> Run<'s> {
    async fn start(session: &'s Session, function: &'static str, event: &str) -> Result<Self, String> {
        let id = session.unique();
        session.send(event, &json!({ "request_id": id, "id": id })).await?;
        Ok(Self { session, function, id })
    }

    /// Waits until `find` finds something among the calls of this run.
    async fn wait<T>(&self, limit: Duration, find: impl Fn(&[Exchange]) -> Option<T>) -> Option<T> {
        self.session.recorder.wait(limit, |all| find(&self.of(all))).await
    }

    fn of(&self, all: &[Exchange]) -> Vec<Exchange> {
        let is_ours = |exchange: &&Exchange| {
            exchange.function.ends_with(self.function) && exchange.request["event"]["data"]["request_id"] == self.id
        };
        all.iter().filter(is_ours).cloned().collect()
    }

    async fn first(&self) -> Result<Exchange, String> {
        let first = self.wait(FIRST, |all| all.first().cloned()).await;
        first.ok_or_else(|| format!("{} is not called within {FIRST:?}", self.function))
    }

    /// All calls until the function has returned, each of which has the form that SDKs read.
    async fn until_done(&self, limit: Duration) -> Result<Vec<Exchange>, String> {
        self.first().await?;
        let done =
            self.wait(limit, |all| all.iter().any(|exchange| exchange.status == 200).then(|| all.to_vec())).await;
        let all = done.ok_or_else(|| format!("{} has not returned within {limit:?}", self.function))?;
        all.iter().try_for_each(has_form)?;
        Ok(all)
    }
}

fn has_form(exchange: &Exchange) -> Result<(), String> {
    let request = &exchange.request;
    let ctx = &request["ctx"];
    let stack = &ctx["stack"];
    expect(
        stack["stack"].is_array() && stack["current"].is_u64(),
        "ctx.stack is {\"stack\":[..],\"current\":n}",
        stack,
    )?;
    expect(request["steps"].is_object(), "steps is an object", &request["steps"])?;
    expect(exchange.attempt().is_some(), "ctx.attempt is a number", &ctx["attempt"])?;
    expect(ctx["run_id"].is_string(), "ctx.run_id is a text", &ctx["run_id"])?;
    expect(request["events"].is_array(), "events is a list", &request["events"])
}
