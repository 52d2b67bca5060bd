//! What must be so once all runs have ended.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::{Duration, Instant};

use inngest_core::Millis;
use serde_json::Value;

use super::memory::{Memory, Run, Sent, by_key, lateness, too_early};
use super::{BATCH, BURST_WITHIN, DEBOUNCE, HELD_PER_KEY, LIMITED, LIMITED_PER_KEY, RATE, SHARED, THROTTLE, Verdict};
use crate::client::is_final;
use crate::crash::{END_WITHIN, ends, events, milliseconds, received_at};
use crate::stub::most_at_a_time;
use crate::{Client, wait_until};

/// A start may be noted so much later than it was decided on; and a call that comes so soon after the end of another one
/// has waited for it.
const AT_ONCE: Duration = Duration::from_millis(80);

/// Waits for the end of all runs, and compares.
pub(super) async fn judge(client: &Client, memory: &Memory, verdict: &mut Verdict) -> anyhow::Result<()> {
    let deadline = tokio::time::Instant::now() + END_WITHIN;
    for (event, functions, reason) in [
        ("limited", 1, None),
        ("shared", 2, None),
        ("held", 1, None),
        ("throttled", 1, None),
        ("rated", 1, Some("RateLimited")),
        ("single", 1, Some("Singleton")),
        ("latest", 1, None),
    ] {
        for sent in memory.sent(event) {
            let Some(id) = &sent.id else { continue };
            let outcome = outcome(client, id, deadline).await?;
            outcome.compare(event, id, functions, reason, &mut verdict.problems);
        }
    }
    gathered(client, memory, deadline, verdict).await?;
    let ends = ends(client).await?;
    let doubled = ends.iter().filter(|(_, ends)| ends.len() > 1);
    verdict.problems.extend(doubled.map(|(run, ends)| format!("run {run} ended {} times", ends.len())));
    concurrency(memory, verdict);
    throttled(client, memory, verdict).await?;
    verdict.problems.extend(latest(memory, &ends));
    verdict.problems.extend(rated(client, memory).await?);
    let names = ["limited", "shared", "held", "throttled", "rated", "debounced", "batched", "single", "latest"];
    let acknowledged = names.iter().flat_map(|event| memory.sent(event)).filter(|sent| sent.id.is_some());
    verdict.events = acknowledged.count();
    verdict.runs = ends.len();
    Ok(())
}

/// What became of an event.
struct Outcome {
    /// Statuses of its runs, those that were skipped left out.
    runs: Vec<String>,
    /// Why it started none.
    skips: Vec<String>,
}

/// What became of an event, once its runs have ended.
async fn outcome(client: &Client, event: &str, deadline: tokio::time::Instant) -> anyhow::Result<Outcome> {
    let texts = |list: &Value, member: &str| -> Vec<String> {
        let items = list["data"].as_array().map(Vec::as_slice).unwrap_or_default();
        items.iter().filter_map(|item| item[member].as_str().map(str::to_owned)).collect()
    };
    let look = async || {
        let runs = client.get(&format!("/v1/events/{event}/runs")).await?;
        let skips = client.get(&format!("/v1/events/{event}/skips")).await?;
        let mut runs = texts(&runs, "status");
        runs.retain(|status| status != "Skipped");
        anyhow::Ok(Outcome { runs, skips: texts(&skips, "reason") })
    };
    let left = deadline.saturating_duration_since(tokio::time::Instant::now());
    let ended = wait_until("ended", left, async || {
        look().await.ok().filter(|outcome| outcome.runs.iter().all(|status| is_final(Some(status))))
    });
    match ended.await {
        Ok(outcome) => Ok(outcome),
        Err(_) => look().await,
    }
}

impl Outcome {
    fn compare(&self, name: &str, id: &str, functions: usize, reason: Option<&str>, problems: &mut Vec<String>) {
        let Self { runs, skips } = self;
        let all = runs.len() + skips.len();
        if all != functions || skips.iter().any(|skip| Some(skip.as_str()) != reason) {
            problems.push(format!("{name}: event {id} has runs {runs:?} and skips {skips:?}"));
        }
        let is_so = |status: &&String| *status == "Completed" || (name == "latest" && *status == "Cancelled");
        if let Some(status) = runs.iter().find(|status| !is_so(status)) {
            problems.push(format!("{name}: a run of event {id} is {status}"));
        }
    }
}

/// Debounces and batches: waits until what must come has come.
async fn gathered(
    client: &Client,
    memory: &Memory,
    deadline: tokio::time::Instant,
    verdict: &mut Verdict,
) -> anyhow::Result<()> {
    let bursts = by_key(memory.sent("debounced"), |sent| &sent.key);
    let batched = memory.sent("batched");
    let due: BTreeSet<u64> = batched.iter().filter(|sent| sent.id.is_some()).map(|sent| sent.number).collect();
    let missing = || {
        let runs = memory.runs("debounced");
        let fired: HashSet<&str> = runs.iter().map(|run| run.key.as_str()).collect();
        let silent = bursts
            .iter()
            .filter(|(key, sent)| sent.iter().any(|sent| sent.id.is_some()) && !fired.contains(key.as_str()));
        let seen: HashSet<u64> = memory.runs("batched").into_iter().flat_map(|run| run.numbers).collect();
        let lost = due.iter().filter(|number| !seen.contains(*number));
        let silent = silent.map(|(key, _)| format!("debounced: {key} has not fired"));
        silent.chain(lost.map(|number| format!("batched: event {number} is in no batch"))).collect::<Vec<_>>()
    };
    let left = deadline.saturating_duration_since(tokio::time::Instant::now());
    if wait_until("all has come", left, async || missing().is_empty().then_some(())).await.is_err() {
        verdict.problems.extend(missing());
    }
    // What comes twice comes soon after.
    tokio::time::sleep(DEBOUNCE * 2).await;
    let mut late = Vec::new();
    let mut fired = by_key(memory.runs("debounced"), |run| &run.key);
    for (key, sent) in &bursts {
        verdict.problems.extend(burst(key, sent, &fired.remove(key).unwrap_or_default(), memory, &mut late));
    }
    verdict.debounces = lateness(late);
    verdict.problems.extend(batches(&memory.runs("batched")));
    for function in ["debounced", "batched"] {
        for run in memory.runs(function) {
            let shown = client.get(&format!("/v1/runs/{}", run.id)).await?;
            if shown["data"]["status"] != "Completed" {
                verdict.problems.push(format!("{function}: run {} is {}", run.id, shown["data"]["status"]));
            }
        }
    }
    Ok(())
}

/// A burst fires once, with the last of its events that was acknowledged, or with one that was sent afterwards and may
/// have been accepted.
fn burst(key: &str, sent: &[Sent], runs: &[Run], memory: &Memory, late: &mut Vec<Duration>) -> Option<String> {
    let (first, last) = (sent.first()?, sent.last()?);
    let quick = last.ended - first.began < BURST_WITHIN;
    let acknowledged = sent.iter().rposition(|sent| sent.id.is_some());
    let may_win: Vec<u64> = sent[acknowledged.unwrap_or(0)..].iter().map(|sent| sent.number).collect();
    let fired: Vec<u64> = runs.iter().flat_map(|run| run.numbers.iter().copied()).collect();
    let is_so = match (acknowledged, fired.as_slice()) {
        (None, []) => true,
        (_, [.., winner]) => may_win.contains(winner) && (!quick || fired.len() == 1),
        (Some(_), []) => return None, // Told already.
    };
    if let (true, Some(at), [run]) = (quick && is_so, acknowledged, runs)
        && at + 1 == sent.len()
        && memory.lives(last.ended + DEBOUNCE / 2, run.from)
    {
        late.push(run.from.saturating_duration_since(last.ended + DEBOUNCE));
        if run.from < last.began + DEBOUNCE {
            return Some(format!("debounced: {key} fired early"));
        }
    }
    (!is_so).then(|| format!("debounced: {key} fired with {fired:?} and not with one of {may_win:?}"))
}

/// No event is in two batches or twice in one, and none is too large.
fn batches(runs: &[Run]) -> Vec<String> {
    let mut places: HashMap<u64, &str> = HashMap::new();
    let mut problems = Vec::new();
    for run in runs {
        if run.numbers.len() > BATCH {
            problems.push(format!("batched: run {} has {} events", run.id, run.numbers.len()));
        }
        for number in &run.numbers {
            if let Some(other) = places.insert(*number, &run.id) {
                problems.push(format!("batched: event {number} is in the batches of {other} and {}", run.id));
            }
        }
    }
    problems
}

/// Calls and runs at a time, and how soon a slot is used again.
fn concurrency(memory: &Memory, verdict: &mut Verdict) {
    let mut compare = |what: &str, spans: Vec<(Instant, Option<Instant>)>, limit: usize| {
        let most = most_at_a_time(spans);
        if most > limit {
            verdict.problems.push(format!("{what}: {most} at a time, and not {limit}"));
        }
    };
    let limited = memory.calls("limited");
    let spans = |calls: &[super::memory::Seen]| calls.iter().map(|call| memory.span(call)).collect::<Vec<_>>();
    compare("limited", spans(&limited), LIMITED);
    let mut slots = Vec::new();
    for (key, calls) in by_key(limited, |call| &call.key) {
        compare(&format!("limited {key}"), spans(&calls), LIMITED_PER_KEY);
        for pair in calls.windows(2) {
            let next = pair[1].span.from;
            // A call that came soon after the end of another one has waited for it.
            let gap = memory.span(&pair[0]).1.map(|end| next.saturating_duration_since(end));
            slots.extend(gap.filter(|gap| *gap < AT_ONCE && memory.lives(pair[0].span.from, next)));
        }
    }
    verdict.slots = lateness(slots);
    compare("shared", spans(&[memory.calls("shared-a"), memory.calls("shared-b")].concat()), SHARED);
    for (function, limit) in [("held", HELD_PER_KEY), ("single", 1)] {
        for (key, runs) in by_key(memory.runs(function), |run| &run.key) {
            let spans = runs.iter().map(|run| (run.from, run.to)).collect();
            compare(&format!("runs of {function} {key}"), spans, limit);
        }
    }
}

/// The server notes when a run starts together with what its throttle counts then.
async fn throttled(client: &Client, memory: &Memory, verdict: &mut Verdict) -> anyhow::Result<()> {
    let runs = memory.runs("throttled");
    let mut starts = Vec::new();
    for run in &runs {
        let shown = client.get(&format!("/v1/runs/{}", run.id)).await?;
        starts.push(milliseconds(shown["data"]["run_started_at"].as_str().unwrap_or_default()));
    }
    starts.sort_unstable();
    let (spacing, slack) = (in_milliseconds(THROTTLE), in_milliseconds(AT_ONCE));
    if let Some(at) = too_early(&starts, 1, spacing, slack) {
        let gap = starts[at] - starts[at - 1];
        verdict.problems.push(format!("throttled: start {at} came {gap} ms after the one before it"));
    }
    // The next one waits already when one starts, but at the end.
    let gaps = runs.windows(2).filter(|pair| memory.lives(pair[0].from, pair[1].from));
    let gaps = gaps.map(|pair| pair[1].from - pair[0].from).filter(|gap| *gap < 2 * THROTTLE);
    verdict.throttled = lateness(gaps.map(|gap| gap.abs_diff(THROTTLE)).collect());
    Ok(())
}

fn in_milliseconds(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

/// A run of `latest` begins when the one before it has ended.
fn latest(memory: &Memory, ends: &HashMap<String, Vec<Millis>>) -> Vec<String> {
    let mut problems = Vec::new();
    for (key, mut runs) in by_key(memory.runs("latest"), |run| &run.key) {
        // In the order in which they came to be.
        runs.sort_by(|a, b| a.id.cmp(&b.id));
        for pair in runs.windows(2) {
            let end = ends.get(&pair[0].id).and_then(|ends| ends.first()).map_or(0, |end| end.0);
            if i64::try_from(pair[1].wall).is_ok_and(|begin| begin < end) {
                problems.push(format!("latest {key}: run {} began before {} had ended", pair[1].id, pair[0].id));
            }
        }
    }
    problems
}

/// An event, decided on between two times, in milliseconds.
struct Decided {
    from: i64,
    to: i64,
    admitted: bool,
}

/// Runs as many as the rate allows and no fewer, over the whole time, whether the sender knows of the event or not.
async fn rated(client: &Client, memory: &Memory) -> anyhow::Result<Vec<String>> {
    let took: HashMap<u64, Duration> =
        memory.sent("rated").iter().map(|sent| (sent.number, sent.ended - sent.began)).collect();
    let mut keys: BTreeMap<String, Vec<Decided>> = BTreeMap::new();
    for event in events(client, "flow/rated").await?.iter().rev() {
        let id = event["internal_id"].as_str().unwrap_or_default();
        let admitted = !client.runs_of(id).await?.is_empty();
        let from = received_at(event)?.0;
        // Decided on after it was received, and before its request had ended.
        let took = event["data"]["n"].as_u64().and_then(|number| took.get(&number)).copied().unwrap_or_default();
        let key = event["data"]["k"].as_str().unwrap_or_default().to_owned();
        keys.entry(key).or_default().push(Decided { from, to: from + in_milliseconds(took) + 1, admitted });
    }
    let problems = keys.iter().filter_map(|(key, decided)| {
        let at = misjudged(decided, in_milliseconds(RATE))?;
        let Decided { from, admitted, .. } = decided[at];
        Some(format!("rated {key}: event {at} at {from} was {}", if admitted { "one too many" } else { "refused" }))
    });
    Ok(problems.collect())
}

/// The first event that was admitted when it must not have been, or the other way round; two may come at once.
fn misjudged(decided: &[Decided], emission: i64) -> Option<usize> {
    // The theoretical arrival time is between these.
    let (mut from, mut to) = (i64::MIN, i64::MIN);
    for (n, event) in decided.iter().enumerate() {
        let wrong = if event.admitted { from > event.to + emission } else { to <= event.from + emission };
        if wrong {
            return Some(n);
        }
        if event.admitted {
            (from, to) = (from.max(event.from) + emission, to.max(event.to) + emission);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_that_admits_too_many_or_too_few_is_found() {
        let judge = |decided: &[(i64, bool)]| {
            let decided = decided.iter().map(|(at, admitted)| Decided { from: *at, to: at + 9, admitted: *admitted });
            misjudged(&decided.collect::<Vec<_>>(), 200)
        };
        assert_eq!(judge(&[(0, true), (1, true), (2, false), (210, true), (220, false)]), None);
        assert_eq!(judge(&[(0, true), (1, true), (2, true)]), Some(2));
        assert_eq!(judge(&[(0, true), (50, false)]), Some(1));
        assert_eq!(judge(&[(0, true), (5, false)]), None, "it may have been decided on so soon");
        assert_eq!(judge(&[(0, true), (1, true), (195, true)]), None, "or so late");
    }

    #[test]
    fn events_in_two_batches_are_found() {
        let run = |id: &str, numbers: &[u64]| Run {
            id: id.to_owned(),
            key: String::new(),
            numbers: numbers.to_vec(),
            from: Instant::now(),
            wall: 0,
            to: None,
        };
        assert_eq!(batches(&[run("a", &[1, 2]), run("b", &[3])]).len(), 0);
        assert_eq!(batches(&[run("a", &[1, 2]), run("b", &[2])]).len(), 1);
        assert_eq!(batches(&[run("a", &[1, 1])]).len(), 1);
        assert_eq!(batches(&[run("a", &[1, 2, 3, 4, 5, 6])]).len(), 1);
    }
}
