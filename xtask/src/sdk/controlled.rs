//! Scenarios of flow control, each on functions that have one option. A function notes when it begins and, 300 ms later,
//! when it ends.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::{Value, json};

use super::cases::run_id;
use super::tested::{END_WITHIN, Tested};
use crate::process::wait_for;

/// How much later than due something may come on a loaded machine, in milliseconds.
const LATE: i64 = 1_500;

/// A key of its own for each scenario: limits outlive it.
fn key(tested: &Tested, name: &str) -> anyhow::Result<String> {
    Ok(format!("{name}-{}", tested.now()?))
}

/// Sends an event for each user.
fn send(tested: &Tested, function: &str, users: &[&str]) -> anyhow::Result<Vec<String>> {
    users.iter().map(|user| tested.send(&format!("sdk/{function}"), &json!({ "u": user }))).collect()
}

/// When the run of each event began and ended, once all have.
fn spans(tested: &Tested, events: &[String]) -> anyhow::Result<Vec<(i64, i64)>> {
    let span = |event: &String| {
        let run = tested.ended(event)?;
        anyhow::ensure!(run["status"] == "Completed", "the run is {}: {}", run["status"], run["output"]);
        let time =
            |part| anyhow::Ok(*tested.times(run_id(&run)?, part)?.first().with_context(|| format!("no {part}"))?);
        anyhow::Ok((time("begin")?, time("end")?))
    };
    events.iter().map(span).collect()
}

/// How many of these overlap at most.
fn most_at_a_time(spans: &[(i64, i64)]) -> usize {
    let at = |begin: i64| spans.iter().filter(|(from, to)| (*from..*to).contains(&begin)).count();
    spans.iter().map(|(begin, _)| at(*begin)).max().unwrap_or(0)
}

fn ensure_most(spans: &[(i64, i64)], expected: usize) -> anyhow::Result<()> {
    let most = most_at_a_time(spans);
    anyhow::ensure!(most == expected, "{most} at a time, and not {expected}: {spans:?}");
    Ok(())
}

/// An event that started no run: to be asked when one that came after it has ended.
fn ensure_none(tested: &Tested, event: &str) -> anyhow::Result<()> {
    let runs = tested.runs_of(event).context("its runs")?;
    anyhow::ensure!(runs.iter().all(|run| run["status"] == "Skipped"), "it has started {runs:?}");
    Ok(())
}

/// A limit that is written as a number, where the SDK has that form.
pub(crate) fn limit_number(tested: &mut Tested) -> anyhow::Result<()> {
    let events = send(tested, "limit-number", &["a", "a", "b", "b", "c", "c"])?;
    ensure_most(&spans(tested, &events)?, 2)
}

pub(crate) fn limit_key(tested: &mut Tested) -> anyhow::Result<()> {
    let events = send(tested, "limit-key", &["a", "a", "a", "b", "b", "c"])?;
    let spans = spans(tested, &events)?;
    ensure_most(&spans, 3)?;
    ensure_most(&spans[..3], 1)?;
    ensure_most(&spans[3..5], 1)
}

pub(crate) fn limit_both(tested: &mut Tested) -> anyhow::Result<()> {
    let events = send(tested, "limit-both", &["a", "a", "b", "c", "d", "e"])?;
    let spans = spans(tested, &events)?;
    ensure_most(&spans, 3)?;
    ensure_most(&spans[..2], 1)
}

/// A limit of runs holds while they sleep.
pub(crate) fn limit_runs(tested: &mut Tested) -> anyhow::Result<()> {
    let events = send(tested, "limit-runs", &["a", "a"])?;
    ensure_most(&spans(tested, &events)?, 1)
}

/// The limit and the burst at once, then one a second.
pub(crate) fn throttle(tested: &mut Tested) -> anyhow::Result<()> {
    let sent = tested.now()?;
    let events = send(tested, "throttled", &["a"; 4])?;
    let mut begins: Vec<i64> = spans(tested, &events)?.into_iter().map(|(begin, _)| begin - sent).collect();
    begins.sort_unstable();
    let is_so = begins.iter().zip([0, 0, 1_000, 2_000]).all(|(begin, due)| (due..due + LATE).contains(begin));
    anyhow::ensure!(is_so && begins[1] < 900, "begun after {begins:?} ms");
    Ok(())
}

pub(crate) fn rate_limit(tested: &mut Tested) -> anyhow::Result<()> {
    let (one, other) = (key(tested, "one")?, key(tested, "other")?);
    let events = send(tested, "rate-limited", &[&one, &one, &other])?;
    spans(tested, &[events[0].clone(), events[2].clone()])?;
    ensure_none(tested, &events[1])
}

/// The last event starts the run, a second later.
pub(crate) fn debounce(tested: &mut Tested) -> anyhow::Result<()> {
    let key = key(tested, "burst")?;
    let mut events = send(tested, "debounced", &[&key, &key])?;
    let sent = tested.now()?;
    events.extend(send(tested, "debounced", &[&key])?);
    let begun = spans(tested, &events[2..])?[0].0 - sent;
    anyhow::ensure!((1_000..1_000 + LATE).contains(&begun), "begun after {begun} ms");
    ensure_none(tested, &events[0])?;
    ensure_none(tested, &events[1])
}

/// Three events at once, and the fourth by itself.
pub(crate) fn batch(tested: &mut Tested) -> anyhow::Result<()> {
    let key = key(tested, "batch")?;
    let sent = tested.now()?;
    let events = send(tested, "batched", &[key.as_str(); 4])?;
    for (event, count, due) in [(&events[0], 3, 0), (&events[3], 1, 2_000)] {
        let run = tested.ended(event)?;
        anyhow::ensure!(run["output"]["count"] == count, "a batch of {} and not of {count}", run["output"]);
        let begun = tested.times(run_id(&run)?, "begin")?[0] - sent;
        anyhow::ensure!((due..due + LATE).contains(&begun), "the batch of {count} began after {begun} ms");
    }
    Ok(())
}

pub(crate) fn priority(tested: &mut Tested) -> anyhow::Result<()> {
    let first = tested.send("sdk/urgent", &json!({ "u": "first" }))?;
    begun(tested, &first)?;
    let events = send(tested, "urgent", &["plain", "plain", "gold"])?;
    let begins: Vec<i64> = spans(tested, &events)?.into_iter().map(|(begin, _)| begin).collect();
    anyhow::ensure!(begins[2] < begins[0] && begins[0] < begins[1], "begun at {begins:?}");
    Ok(())
}

pub(crate) fn singleton_skip(tested: &mut Tested) -> anyhow::Result<()> {
    let (one, other) = (key(tested, "one")?, key(tested, "other")?);
    let first = tested.send("sdk/single-skip", &json!({ "u": one }))?;
    begun(tested, &first)?;
    let events = send(tested, "single-skip", &[&one, &other])?;
    spans(tested, &[first, events[1].clone()])?;
    ensure_none(tested, &events[0])
}

pub(crate) fn singleton_cancel(tested: &mut Tested) -> anyhow::Result<()> {
    let key = key(tested, "one")?;
    let first = tested.send("sdk/single-cancel", &json!({ "u": key }))?;
    begun(tested, &first)?;
    let second = send(tested, "single-cancel", &[&key])?;
    spans(tested, &second)?;
    let run = tested.ended(&first)?;
    anyhow::ensure!(run["status"] == "Cancelled", "the first run is {}", run["status"]);
    Ok(())
}

pub(crate) fn idempotency(tested: &mut Tested) -> anyhow::Result<()> {
    let (one, other) = (key(tested, "one")?, key(tested, "other")?);
    let events = send(tested, "idempotent", &[&one, &other])?;
    spans(tested, &events)?;
    let again = send(tested, "idempotent", &[&one])?;
    spans(tested, &send(tested, "idempotent", &[&key(tested, "last")?])?)?;
    ensure_none(tested, &again[0])
}

/// Waits until the run of an event has begun.
fn begun(tested: &Tested, event: &str) -> anyhow::Result<()> {
    let began = Instant::now();
    wait_for("the run has begun", END_WITHIN, || {
        let run: Value = tested.runs_of(event)?.first()?.clone();
        let times = tested.times(run["run_id"].as_str()?, "begin").ok()?;
        (!times.is_empty()).then_some(())
    })?;
    anyhow::ensure!(began.elapsed() < Duration::from_secs(5), "begun after {:?}", began.elapsed());
    Ok(())
}
