//! Scenarios that are more than one event and what must come of it.

use std::collections::BTreeSet;
use std::process::Output;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};

use super::install;
use super::tested::{END_WITHIN, Tested};
use crate::process::{command, get, post, wait_for};

/// Runs that a crash meets at a time.
const CRASHED_RUNS: usize = 5;

/// An event sent through the SDK's own client.
pub(crate) fn client_send(tested: &mut Tested) -> anyhow::Result<()> {
    let event = json!({ "name": "sdk/hello", "data": { "name": "client" } });
    let reply = post(&tested.app_url("/send"), &event)?;
    let id = reply["ids"][0].as_str().with_context(|| format!("no id in {reply}"))?;
    let run = tested.ended(id)?;
    anyhow::ensure!(run["output"]["greeting"] == "hello client", "{run}");
    Ok(())
}

/// What a coding assistant does through `/mcp`.
pub(crate) fn mcp(tested: &mut Tested) -> anyhow::Result<()> {
    let mut client = command(&install::mcp()?, ["sdk-tests/mcp/client.py", &tested.url("/mcp")]);
    let Output { status, stderr, .. } = client.output()?;
    anyhow::ensure!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    Ok(())
}

/// Each event that a step sends starts a run of its own, once.
pub(crate) fn fan_out_children(tested: &mut Tested) -> anyhow::Result<()> {
    let event = tested.send("sdk/fan-out", &json!({}))?;
    let run = tested.ended(&event)?;
    let ids = run["output"]["ids"].as_array().with_context(|| format!("no ids in {run}"))?.clone();
    let mut products = Vec::new();
    for id in &ids {
        products.push(tested.ended(id.as_str().context("id")?)?["output"].as_i64());
    }
    anyhow::ensure!(products == [Some(10), Some(20), Some(30)], "{products:?}");
    Ok(())
}

/// A time in the future, told by the event, is when its run starts.
pub(crate) fn future_event(tested: &mut Tested) -> anyhow::Result<()> {
    let due = tested.now()? + 2_000;
    let event = json!({ "name": "sdk/hello", "ts": due, "data": { "name": "later" } });
    let run = tested.ended(&tested.post_event(&event)?)?;
    let began = tested.times(run_id(&run)?, "body")?;
    anyhow::ensure!(began.len() == 1 && began[0] >= due, "called at {began:?}, due at {due}");
    Ok(())
}

/// Two events with the same id are one run.
pub(crate) fn same_event_id(tested: &mut Tested) -> anyhow::Result<()> {
    let event = json!({ "name": "sdk/hello", "id": format!("same-{}", tested.now()?), "data": { "name": "once" } });
    let first = tested.post_event(&event)?;
    tested.ended(&first)?;
    let second = tested.post_event(&event)?;
    // A later run has ended: the second event would have had its own by now.
    tested.ended(&tested.send("sdk/hello", &json!({ "name": "later" }))?)?;
    let count = tested.runs_of(&second).context("its runs")?.len();
    anyhow::ensure!(first == second || count == 0, "the second event has {count} runs");
    Ok(())
}

/// Runs do not get into each other's way.
pub(crate) fn many_runs(tested: &mut Tested) -> anyhow::Result<()> {
    let send = |n: i64| Ok((n, tested.send("sdk/steps", &json!({ "n": n }))?));
    let events = (0..30).map(send).collect::<anyhow::Result<Vec<_>>>()?;
    for (n, event) in events {
        let run = tested.ended(&event)?;
        anyhow::ensure!(run["output"]["one"] == n + 1, "run {n} returned {}", run["output"]);
        let executed = tested.executed(run_id(&run)?)?;
        anyhow::ensure!(executed.len() == 3 && executed.values().all(|count| *count == 1), "{executed:?}");
    }
    Ok(())
}

/// An event cancels the run whose field it matches, and no other.
pub(crate) fn cancel_on(tested: &mut Tested) -> anyhow::Result<()> {
    let send = |id: &str, seconds| tested.send("sdk/cancellable", &json!({ "id": id, "seconds": seconds }));
    let (cancelled, other) = (send("cancelled", 60)?, send("other", 4)?);
    let cancel = json!({ "name": "sdk/cancel", "data": { "id": "cancelled" } });
    for (event, status, after) in [(cancelled, "Cancelled", 0), (other, "Completed", 1)] {
        let run = tested.ended_while(&event, &[("/e/test", cancel.clone())])?;
        anyhow::ensure!(run["status"] == status, "the run is {} and not {status}", run["status"]);
        let executed = tested.executed(run_id(&run)?)?;
        anyhow::ensure!(executed.get("after").copied().unwrap_or(0) == after, "{status}: executed: {executed:?}");
    }
    Ok(())
}

/// A schedule of every minute starts a run soon after each full minute, and one only.
pub(crate) fn cron(tested: &mut Tested) -> anyhow::Result<()> {
    let ticks = wait_for("the schedule has started a run", Duration::from_secs(70), || {
        tested.times("cron", "tick * * * * *").ok().filter(|ticks| !ticks.is_empty())
    })?;
    let minutes: BTreeSet<i64> = ticks.iter().map(|at| at / 60_000).collect();
    let late = ticks.iter().find(|at| **at % 60_000 > 5_000);
    anyhow::ensure!(minutes.len() == ticks.len() && late.is_none(), "ticks at {ticks:?}");
    Ok(())
}

/// The server is killed while the runs sleep.
pub(crate) fn crash_asleep(tested: &mut Tested) -> anyhow::Result<()> {
    crash(tested, "sdk/crash-asleep", &["a", "b", "c"], "c", &["d", "e", "f"])
}

/// The server is killed while a step is executed.
pub(crate) fn crash_awake(tested: &mut Tested) -> anyhow::Result<()> {
    crash(tested, "sdk/crash-awake", &["before"], "slow", &["after"])
}

/// Kills the server once `until` was executed; what was memoised before must not be executed again.
fn crash(tested: &mut Tested, event: &str, memoised: &[&str], until: &str, after: &[&str]) -> anyhow::Result<()> {
    let send = |_| tested.send(event, &json!({}));
    let events = (0..CRASHED_RUNS).map(send).collect::<anyhow::Result<Vec<_>>>()?;
    let runs = events.iter().map(|event| stopped_at(tested, event, until, memoised.len()));
    let runs = runs.collect::<anyhow::Result<Vec<_>>>()?;
    tested.crash_server()?;
    for (event, run) in events.iter().zip(&runs) {
        let ended = tested.ended(event)?;
        anyhow::ensure!(ended["status"] == "Completed", "the run is {}: {}", ended["status"], ended["output"]);
        let executed = tested.executed(run)?;
        for part in memoised.iter().chain(after) {
            anyhow::ensure!(executed.get(*part) == Some(&1), "{part} was not executed exactly once: {executed:?}");
        }
    }
    Ok(())
}

/// The run of an event, once it has executed `part` and the steps before are recorded.
fn stopped_at(tested: &Tested, event: &str, part: &str, recorded: usize) -> anyhow::Result<String> {
    let run = wait_for("the run is listed", END_WITHIN, || {
        Some(tested.runs_of(event)?.first()?["run_id"].as_str()?.to_owned())
    })?;
    wait_for(&format!("{part} is executed"), END_WITHIN, || tested.executed(&run).ok()?.get(part).map(drop))?;
    // Where the run sleeps, its last step must be on disk first: that is what the test is about.
    wait_for("the steps before are recorded", END_WITHIN, || {
        let actions = get(&tested.url(&format!("/v1/runs/{run}/actions")))?;
        let steps = actions["data"].as_array()?.iter().filter(|action| action["op"] == "StepRun").count();
        (steps >= recorded).then_some(())
    })?;
    Ok(run)
}

pub(crate) fn run_id(run: &Value) -> anyhow::Result<&str> {
    run["run_id"].as_str().context("run_id")
}
