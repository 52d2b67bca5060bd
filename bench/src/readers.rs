//! Dashboards: many clients that look at a server again and again while it works.
//!
//! Each reader has a connection and a thread of its own, and goes through what a dashboard shows: the list of runs, their
//! number, one run with its trace, the list of events. It waits between two looks, as somebody who has the page open
//! does; readers begin spread over that time.

use crate::http::{self, Kind};
use crate::net::Target;
use crate::stats::{Percentiles, Samples};
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// A look that takes longer than this has failed.
const LOOK_TIMEOUT: Duration = Duration::from_secs(30);
const STACK_BYTES: usize = 128 << 10;

/// How a server is looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// Readers at a time.
    pub(crate) count: u32,
    /// Between two looks of one reader.
    pub(crate) every: Duration,
    pub(crate) length: Duration,
}

/// What a dashboard shows, in the order in which it is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    Runs,
    Count,
    Run,
    Events,
}

const LOOKS: [Look; 4] = [Look::Runs, Look::Count, Look::Run, Look::Events];

/// Looks at the server until the time is over, and tells how long that took.
pub(crate) fn look(target: &Target, plan: Plan) -> Result<String> {
    let begin = Instant::now();
    let readers: Vec<_> = (0..plan.count)
        .map(|number| {
            let target = target.clone();
            let first = begin + plan.every.mul_f64(f64::from(number) / f64::from(plan.count));
            let read = move || read(&target, first, begin + plan.length, plan.every, number as usize);
            std::thread::Builder::new().stack_size(STACK_BYTES).spawn(read).context("cannot start a reader")
        })
        .collect::<Result<_>>()?;
    let mut all = LOOKS.map(|_| Samples::default());
    for reader in readers {
        let Ok(own) = reader.join() else { bail!("a reader panicked") };
        for (samples, own) in all.iter_mut().zip(own?) {
            own.into_iter().for_each(|sample| samples.record(sample));
        }
    }
    let lines = LOOKS.into_iter().zip(all).filter_map(|(look, samples)| {
        let Percentiles { count, p50, p90, p99, max, .. } = samples.percentiles()?;
        let name = format!("{look:?}").to_lowercase();
        Some(format!("{name:<8} {count:>8} looks | {p50:.2} / {p90:.2} / {p99:.2} / {max:.1} ms (p50/p90/p99/max)"))
    });
    Ok(lines.collect::<Vec<_>>().join("\n"))
}

/// One reader: for each kind of look, how long they took.
#[expect(clippy::disallowed_methods, reason = "each reader has a thread of its own")]
fn read(target: &Target, first: Instant, end: Instant, every: Duration, number: usize) -> Result<[Vec<Duration>; 4]> {
    let mut taken = LOOKS.map(|_| Vec::new());
    let mut stream = target.connect().with_context(|| format!("cannot connect to {}", target.url))?;
    stream.set_read_timeout(Some(LOOK_TIMEOUT))?;
    let mut newest = None;
    let (mut next, mut turn) = (first, number);
    while next < end {
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
        // Without a run there is none to look at.
        let index = if newest.is_none() { 0 } else { turn % LOOKS.len() };
        let asked = Instant::now();
        let answer = ask(&mut stream, target, &LOOKS[index].document(newest.as_deref()))?;
        taken[index].push(asked.elapsed());
        if LOOKS[index] == Look::Runs {
            newest = answer["data"]["runs"]["edges"][0]["node"]["id"].as_str().map(str::to_owned);
        }
        (next, turn) = (next + every, turn + 1);
    }
    Ok(taken)
}

impl Look {
    /// What the page asks for, as GraphQL.
    fn document(self, run: Option<&str>) -> Value {
        const RUNS: &str = "query($from: Time!) { runs(filter: {from: $from}, orderBy: [{field: QUEUED_AT, direction: \
            DESC}], first: 40) { edges { node { id status queuedAt startedAt endedAt eventName isBatch cronSchedule \
            function { name slug } app { externalID name } } } pageInfo { hasNextPage endCursor } } }";
        const COUNT: &str = "query($from: Time!) { runs(filter: {from: $from}, orderBy: [], first: 1) { totalCount } }";
        const RUN: &str = "query($run: String!) { run(runID: $run) { status output function { name slug } \
            trace(preview: true) { name status startedAt endedAt outputID childrenSpans { name status attempts startedAt \
            endedAt stepOp stepType outputID childrenSpans { name status } } } } }";
        const EVENTS: &str = "query($from: Time!) { eventsV2(first: 50, filter: {from: $from}) { edges { node { id name \
            receivedAt runs { id status function { name slug } } } } totalCount pageInfo { hasNextPage } } }";
        let text = match self {
            Look::Runs => RUNS,
            Look::Count => COUNT,
            Look::Run => RUN,
            Look::Events => EVENTS,
        };
        json!({ "query": text, "variables": { "from": "2020-01-01T00:00:00Z", "run": run } })
    }
}

fn ask(stream: &mut TcpStream, target: &Target, document: &Value) -> Result<Value> {
    let body = document.to_string();
    let head = format!(
        "POST /v0/gql HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        target.host,
        body.len()
    );
    stream.write_all((head + &body).as_bytes())?;
    let mut inbox = Vec::new();
    let mut chunk = [0; 16 << 10];
    loop {
        let read = stream.read(&mut chunk).context("no answer in time")?;
        inbox.extend_from_slice(&chunk[..read]);
        let reply = http::parse(&inbox, Kind::Response { at_end: read == 0 }).map_err(|why| anyhow::anyhow!(why.0))?;
        let Some(reply) = reply else {
            ensure!(read > 0, "the server closed the connection");
            continue;
        };
        let answer: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
        let refused = http::status(reply.start_line) != Some(200) || answer.get("errors").is_some();
        ensure!(!refused, "{document} was answered with {}", String::from_utf8_lossy(&reply.body));
        return Ok(answer);
    }
}
