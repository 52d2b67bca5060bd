//! The scenarios: what each function of the apps must come to, whichever SDK runs it.

use std::thread;
use std::time::Duration;

use serde_json::json;

use super::fixture::{Fixture, Run};

/// A named test. `F` is how it uses the fixture: crashes change it.
pub(super) struct Scenario<F> {
    pub(super) name: &'static str,
    pub(super) run: F,
}

type Result = anyhow::Result<()>;

/// A function that every app has; when the server knows it, it knows the app.
pub(super) const LAST_FUNCTION: &str = "crash-awake";

/// Scenarios that run side by side.
pub(super) const ALL: [Scenario<fn(&Fixture) -> Result>; 18] = [
    Scenario { name: "hello", run: hello },
    Scenario { name: "sdk_sends_event", run: sdk_sends_event },
    Scenario { name: "wildcard_trigger", run: wildcard_trigger },
    Scenario { name: "event_id_is_idempotent", run: event_id_is_idempotent },
    Scenario { name: "future_event_waits", run: future_event_waits },
    Scenario { name: "steps", run: steps },
    Scenario { name: "parallel_steps", run: parallel_steps },
    Scenario { name: "sleep", run: sleep },
    Scenario { name: "step_is_retried", run: step_is_retried },
    Scenario { name: "retry_after", run: retry_after },
    Scenario { name: "step_error_is_caught", run: step_error_is_caught },
    Scenario { name: "non_retriable_error", run: non_retriable_error },
    Scenario { name: "retries_run_out", run: retries_run_out },
    Scenario { name: "function_is_retried", run: function_is_retried },
    Scenario { name: "error_has_its_cause", run: error_has_its_cause },
    Scenario { name: "fan_out", run: fan_out },
    Scenario { name: "big_output", run: big_output },
    Scenario { name: "many_runs_at_once", run: many_runs_at_once },
];

/// Scenarios in which the server is killed; one at a time, after the others.
pub(super) const CRASHES: [Scenario<fn(&mut Fixture) -> Result>; 2] = [
    Scenario { name: "crash_during_sleep", run: crash_during_sleep },
    Scenario { name: "crash_during_step", run: crash_during_step },
];

/// Runs that a crash meets at a time.
const CRASHED_RUNS: usize = 5;

fn hello(on: &Fixture) -> Result {
    let run = on.completes("sdk/hello", &json!({ "name": "Ada" }))?.with_output(&json!({ "greeting": "hello Ada" }))?;
    on.journal(&run.id)?.must_be(&[("body", 1)])
}

fn sdk_sends_event(on: &Fixture) -> Result {
    let event = on.send_by_sdk("sdk/hello", &json!({ "name": "SDK" }))?;
    on.ended(&event)?.with_status("Completed")?.with_output(&json!({ "greeting": "hello SDK" }))?;
    Ok(())
}

fn wildcard_trigger(on: &Fixture) -> Result {
    for name in ["sdk/wild.one", "sdk/wild.two.three", "sdk/second"] {
        on.completes(name, &json!({}))?.with_output(&json!({ "name": name }))?;
    }
    Ok(())
}

fn event_id_is_idempotent(on: &Fixture) -> Result {
    // The app is in the id: a server shared by several test runs would know it otherwise.
    let event = json!({ "name": "sdk/hello", "id": format!("once-{}", on.now()?), "data": { "name": "once" } });
    let first = on.send(&event)?;
    on.ended(&first)?.with_status("Completed")?;
    let second = on.send(&event)?;
    on.completes("sdk/hello", &json!({ "name": "later" }))?;
    let runs = on.runs(&second)?.len() + on.runs(&first)?.len();
    anyhow::ensure!(if first == second { runs == 2 } else { runs == 1 }, "{runs} runs of two equal events");
    Ok(())
}

fn future_event_waits(on: &Fixture) -> Result {
    let due = on.now()? + 2_000;
    let event = on.send(&json!({ "name": "sdk/hello", "ts": due, "data": { "name": "later" } }))?;
    let run = on.ended(&event)?.with_status("Completed")?;
    let times = on.journal(&run.id)?.times("body");
    anyhow::ensure!(times.iter().all(|at| *at >= due), "called at {times:?}, due at {due}");
    Ok(())
}

fn steps(on: &Fixture) -> Result {
    let wanted = json!({ "one": 2, "two": { "doubled": 4 }, "three": [2, 4] });
    let run = on.completes("sdk/steps", &json!({ "n": 1 }))?.with_output(&wanted)?;
    on.journal(&run.id)?.must_be(&[("one", 1), ("two", 1), ("three", 1)])
}

fn parallel_steps(on: &Fixture) -> Result {
    let run = on.completes("sdk/parallel", &json!({}))?.with_output(&json!({ "values": [1, 2, 3], "sum": 6 }))?;
    on.journal(&run.id)?.must_be(&[("left", 1), ("middle", 1), ("right", 1), ("join", 1)])
}

fn sleep(on: &Fixture) -> Result {
    let run = on.completes("sdk/sleep", &json!({}))?.with_output(&json!({ "slept": true }))?;
    let journal = on.journal(&run.id)?;
    journal.must_be(&[("before", 1), ("after", 1)])?;
    let slept_ms = journal.times("after")[0] - journal.times("before")[0];
    anyhow::ensure!((1_000..5_000).contains(&slept_ms), "slept {slept_ms} ms and not 1 s");
    Ok(())
}

fn step_is_retried(on: &Fixture) -> Result {
    let run = on.completes("sdk/retry", &json!({}))?.with_output(&json!({ "tries": 3 }))?;
    on.journal(&run.id)?.must_be(&[("first", 1), ("flaky", 3), ("last", 1)])
}

fn retry_after(on: &Fixture) -> Result {
    let run = on.completes("sdk/retry-after", &json!({}))?.with_output(&json!({ "tries": 2 }))?;
    let times = on.journal(&run.id)?.times("late");
    let waited_ms = times[1] - times[0];
    // The server's own interval is 1 s, so 3 s can only come from the error. Whole seconds, hence the margin.
    anyhow::ensure!((2_000..8_000).contains(&waited_ms), "waited {waited_ms} ms and not 3 s");
    Ok(())
}

fn step_error_is_caught(on: &Fixture) -> Result {
    let run = on.completes("sdk/step-error", &json!({}))?.with_output(&json!({ "caught": "card refused" }))?;
    on.journal(&run.id)?.must_be(&[("refused", 2), ("recover", 1)])
}

fn non_retriable_error(on: &Fixture) -> Result {
    let run = failed(on, "sdk/failure", "cannot go on")?;
    let handler = "onFailure: cannot go on";
    on.until_executed(&run.id, handler)?.must_be(&[("before", 1), ("body", 1), (handler, 1)])
}

fn retries_run_out(on: &Fixture) -> Result {
    let run = failed(on, "sdk/exhausted", "never works")?;
    let handler = "onFailure: never works";
    on.until_executed(&run.id, handler)?.must_be(&[("hopeless", 2), (handler, 1)])
}

fn function_is_retried(on: &Fixture) -> Result {
    let run = on.completes("sdk/function-error", &json!({}))?.with_output(&json!({ "attempt": 1 }))?;
    on.journal(&run.id)?.must_be(&[("before", 1), ("body", 2)])
}

fn error_has_its_cause(on: &Fixture) -> Result {
    let run = failed(on, "sdk/error-cause", "outer")?;
    let cause = &run.output["cause"]["message"];
    anyhow::ensure!(!on.app.sends_causes() || cause == "inner", "the cause is {cause}");
    Ok(())
}

fn fan_out(on: &Fixture) -> Result {
    let run = on.completes("sdk/fan-out", &json!({}))?;
    let ids: Vec<&str> = run.output["ids"].as_array().into_iter().flatten().filter_map(|id| id.as_str()).collect();
    anyhow::ensure!(ids.len() == 3, "not three events: {}", run.output);
    for (id, wanted) in ids.iter().zip([10, 20, 30]) {
        on.ended(id)?.with_status("Completed")?.with_output(&json!(wanted))?;
    }
    Ok(())
}

fn big_output(on: &Fixture) -> Result {
    let size = 200_000;
    let run = on.completes("sdk/big-output", &json!({ "size": size }))?;
    let text = run.output["text"].as_str().unwrap_or_default();
    anyhow::ensure!(run.output["bytes"] == size, "the next step saw {} bytes", run.output["bytes"]);
    anyhow::ensure!(text.len() == size && text.chars().all(|letter| letter == 'é'), "{} bytes came back", text.len());
    Ok(())
}

fn many_runs_at_once(on: &Fixture) -> Result {
    let send = |n: i32| on.send(&json!({ "name": "sdk/steps", "data": { "n": n } }));
    let events = (0..30).map(|n| Ok((n, send(n)?))).collect::<anyhow::Result<Vec<_>>>()?;
    for (n, event) in events {
        let run = on.ended(&event)?.with_status("Completed")?;
        anyhow::ensure!(run.output["one"] == n + 1, "run {n} returned {}", run.output);
        on.journal(&run.id)?.must_be(&[("one", 1), ("two", 1), ("three", 1)])?;
    }
    Ok(())
}

fn crash_during_sleep(on: &mut Fixture) -> Result {
    let events = begin(on, "sdk/crash-asleep", "c")?;
    // The reply to the last step before the sleep has arrived by then.
    thread::park_timeout(Duration::from_millis(700));
    on.crash()?;
    for event in events {
        let run = on.ended(&event)?.with_status("Completed")?.with_output(&json!({ "done": true }))?;
        on.journal(&run.id)?.must_be(&["a", "b", "c", "d", "e", "f"].map(|step| (step, 1)))?;
    }
    Ok(())
}

fn crash_during_step(on: &mut Fixture) -> Result {
    let events = begin(on, "sdk/crash-awake", "slow")?;
    on.crash()?;
    for event in events {
        let run = on.ended(&event)?.with_status("Completed")?.with_output(&json!({ "done": true }))?;
        let journal = on.journal(&run.id)?;
        // Nobody knew yet how the step in flight would end, so it may be executed a second time; the memoised one not.
        let slow = journal.count("slow").clamp(1, 2);
        journal.must_be(&[("before", 1), ("slow", slow), ("after", 1)])?;
    }
    Ok(())
}

/// Starts runs and waits until each has executed `step`.
fn begin(on: &Fixture, name: &str, step: &str) -> anyhow::Result<Vec<String>> {
    let events = (0..CRASHED_RUNS).map(|_| on.send(&json!({ "name": name, "data": {} }))).collect::<anyhow::Result<Vec<_>>>()?;
    for event in &events {
        on.until_executed(&on.begun(event)?, step)?;
    }
    Ok(events)
}

/// Sends an event whose run must fail with this message.
fn failed(on: &Fixture, name: &str, message: &str) -> anyhow::Result<Run> {
    let run = on.ended(&on.send(&json!({ "name": name, "data": {} }))?)?.with_status("Failed")?;
    anyhow::ensure!(run.output["message"] == message, "the run failed with {} and not {message:?}", run.output);
    Ok(run)
}
