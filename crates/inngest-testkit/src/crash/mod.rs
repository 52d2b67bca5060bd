//! The crash runner: kills the real server again and again under a load, then checks what came of it. [`runs`] is the
//! load of runs of every kind, [`flow`] that of every control of flow.

pub mod flow;
pub mod runs;

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use inngest_core::{EventId, Millis, crash};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::Value;

use crate::server::Options;
use crate::{Client, Server};

/// All runs have ended so long after the last restart, or they hang.
const END_WITHIN: Duration = Duration::from_secs(90);

/// What to do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The `inngest` binary.
    pub binary: PathBuf,
    /// How often the server dies.
    pub kills: u32,
    /// Chooses moments and points; the same seed chooses the same.
    pub seed: u64,
}

/// What is there after the last kill.
struct Survivor {
    server: Server,
    /// Longest time from a restart to healthy.
    healthy_after_max: Duration,
}

/// Kills the server as planned. `between` is called each time it is dead, before it is started again.
async fn kill_again_and_again(plan: &Plan, mut server: Server, mut between: impl FnMut()) -> anyhow::Result<Survivor> {
    let mut random = StdRng::seed_from_u64(plan.seed);
    let mut healthy_after_max = Duration::ZERO;
    for kill in 0..plan.kills {
        // Every other death comes at a named point, armed at the restart before it.
        if kill.is_multiple_of(2) {
            tokio::time::sleep(Duration::from_millis(random.random_range(20..400))).await;
        } else if server.exited(Duration::from_secs(2)).await.is_err() {
            eprintln!("kill {kill}: the armed point was not passed, SIGKILL instead");
        }
        let options = server.kill().await?;
        between();
        let armed = Options { env: crash_env(kill + 1, plan.kills, &mut random), ..options.clone() };
        server = match Server::start(armed).await {
            Ok(server) => server,
            // The armed point was passed before anybody could ask whether the server is healthy.
            Err(_) => Server::start(Options { env: Vec::new(), ..options }).await?,
        };
        healthy_after_max = healthy_after_max.max(server.healthy_after);
    }
    Ok(Survivor { server, healthy_after_max })
}

/// Arms a point for the odd kills that are still to come.
fn crash_env(next_kill: u32, kills: u32, random: &mut StdRng) -> Vec<(String, String)> {
    if next_kill.is_multiple_of(2) || next_kill >= kills {
        return Vec::new();
    }
    let point = crash::POINTS[random.random_range(0..crash::POINTS.len())];
    vec![(crash::VARIABLE.to_owned(), format!("{point}:{}", random.random_range(1..120)))]
}

/// All events of a name, the newest first.
async fn events(client: &Client, name: &str) -> anyhow::Result<Vec<Value>> {
    let mut events: Vec<Value> = Vec::new();
    loop {
        let cursor = events
            .last()
            .map_or_else(String::new, |last| format!("&cursor={}", last["internal_id"].as_str().unwrap_or_default()));
        let query = format!("limit=100&name={name}&include_internal=true&received_after=2020-01-01{cursor}");
        let page = client.get(&format!("/v1/events?{query}")).await?;
        match page["data"].as_array() {
            Some(page) if !page.is_empty() => events.extend_from_slice(page),
            _ => return Ok(events),
        }
    }
}

/// When each run ended, as often as it did.
async fn ends(client: &Client) -> anyhow::Result<HashMap<String, Vec<Millis>>> {
    let mut ends: HashMap<String, Vec<Millis>> = HashMap::new();
    for event in events(client, "inngest/function.finished").await? {
        let run = event["data"]["run_id"].as_str().unwrap_or_default().to_owned();
        ends.entry(run).or_default().push(received_at(&event)?);
    }
    Ok(ends)
}

/// When a listed event was received.
fn received_at(event: &Value) -> anyhow::Result<Millis> {
    Ok(event["internal_id"].as_str().unwrap_or_default().parse::<EventId>()?.timestamp())
}

/// The milliseconds of the day in a time such as `2026-11-27T09:52:39.478Z`.
fn milliseconds(time: &str) -> i64 {
    let clock = time.split_once('T').map_or("", |(_, clock)| clock).trim_end_matches('Z');
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, ""));
    let seconds = clock.split(':').fold(0, |sum, part| sum * 60 + part.parse::<i64>().unwrap_or(0));
    seconds * 1_000 + format!("{fraction:0<3}")[..3].parse::<i64>().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::milliseconds;

    #[test]
    fn times_are_read() {
        for (time, expected) in [("2026-11-27T00:01:02Z", 62_000), ("2026-11-27T01:00:00.5Z", 3_600_500)] {
            assert_eq!(milliseconds(time), expected);
        }
        assert_eq!(milliseconds("2026-11-27T00:00:00.042Z"), 42);
    }
}
