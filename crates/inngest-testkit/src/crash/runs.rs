//! Runs of every kind under kills: every acknowledged event ends in exactly its runs, no memoised step is forgotten, no
//! run hangs, no timer is early, and each time of a schedule starts one run.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{END_WITHIN, Plan, ends, kill_again_and_again, milliseconds};
use crate::client::is_final;
use crate::server::Options;
use crate::stub::{Posting, op, step_id};
use crate::{Answer, Call, Client, Server, StubApp, StubFunction, wait_until};

/// Senders at a time.
const SENDERS: usize = 8;

/// Pause of a sender between two requests.
const PAUSE: Duration = Duration::from_millis(25);

/// What came of it. All counts but the first three should be zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Acknowledged events.
    pub events: usize,
    /// Runs they started.
    pub runs: usize,
    /// How often the server died.
    pub kills: u32,
    /// Acknowledged events that are gone, or that miss a run.
    pub lost: Vec<String>,
    /// Events with too many runs, and runs with more than one end.
    pub doubled: Vec<String>,
    /// Runs whose app was called without a memo that an earlier call had, or with another value.
    pub forgotten: Vec<String>,
    /// Runs that did not end, or ended with another status than they must.
    pub hanging: Vec<String>,
    /// Longest time from a restart to healthy.
    pub healthy_after_max: Duration,
    /// Timers that went off before their time, and times of a schedule that were passed over or fired twice.
    pub mistimed: Vec<String>,
    /// Timers looked at, and how much later than due half, 99 % and all of them went off while the server was up.
    pub timers: usize,
    /// See `timers`.
    pub late: [Duration; 3],
}

impl Verdict {
    /// Whether nothing was lost, doubled, forgotten or left hanging.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        let problems = [&self.lost, &self.doubled, &self.forgotten, &self.hanging, &self.mistimed];
        problems.into_iter().all(Vec::is_empty)
    }
}

/// The events of the load, each with the functions it starts and how their runs must end.
const EVENTS: [(&str, &[(&str, &str)]); 10] = [
    ("crash/hello", &[("hello", "Completed")]),
    ("crash/steps", &[("steps", "Completed")]),
    ("crash/retry", &[("retry", "Completed")]),
    ("crash/parallel", &[("parallel", "Completed")]),
    ("crash/fail", &[("fail", "Failed")]),
    ("crash/both", &[("both-a", "Completed"), ("both-b", "Completed")]),
    ("crash/wait", &[("wait", "Completed")]),
    ("crash/timeout", &[("timeout", "Completed")]),
    ("crash/invoke", &[("invoke", "Completed")]),
    ("crash/checkpoint", &[("checkpoint", "Completed")]),
];

/// Resumes those who wait for it; sent again and again until all runs have ended.
const TICK: &str = "crash/tick";
const TICK_EVERY: Duration = Duration::from_millis(200);

/// Length of the sleeps and timeouts whose punctuality is looked at.
const NAP: Duration = Duration::from_millis(300);

/// Runs the plan.
pub async fn run(plan: &Plan) -> anyhow::Result<Verdict> {
    let dir = tempfile::tempdir()?;
    let memory = Arc::new(Memory::default());
    let server = Server::start(Options::new(&plan.binary, dir.path())?).await?;
    let app = StubApp::serve_with("crash", functions(&memory, server.client()), false).await?;
    app.register(server.client()).await?;
    let load = Load::start(server.client());
    let ticking = tokio::spawn(tick(server.client().clone()));
    let survivor = kill_again_and_again(plan, server, || {
        memory.lives.fetch_add(1, Ordering::Relaxed);
    })
    .await?;
    let mut verdict =
        Verdict { kills: plan.kills, healthy_after_max: survivor.healthy_after_max, ..Verdict::default() };
    let server = survivor.server;
    let acknowledged = load.stop().await;
    judge(server.client(), &acknowledged, &mut verdict).await?;
    ticking.abort();
    memory.report(&mut verdict);
    Ok(verdict)
}

async fn tick(client: Client) {
    loop {
        tokio::time::sleep(TICK_EVERY).await;
        // One that is not accepted is followed by another.
        let _not_up = client.send(&json!({ "name": TICK, "data": { "n": 1 } })).await;
    }
}

/// What calls to the app have shown so far: the memos of each run.
#[derive(Default)]
struct Memory {
    runs: Mutex<HashMap<String, HashMap<String, Value>>>,
    problems: Mutex<Vec<String>>,
    /// How often the server has died.
    lives: AtomicU64,
    /// When each run asked for its timer, and in which life of the server.
    asked: Mutex<HashMap<String, (Instant, u64)>>,
    /// How long after its time each timer went off in the life in which it was asked for; negative: early.
    lateness: Mutex<Vec<f64>>,
    early: Mutex<Vec<String>>,
    /// The runs of each time of the schedule.
    scheduled: Mutex<BTreeMap<String, HashSet<String>>>,
}

impl Memory {
    /// The run asks for a timer of [`NAP`]; asked again after a crash, the first time counts.
    fn asks(&self, call: &Call) {
        let life = self.lives.load(Ordering::Relaxed);
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        // What is asked for may be lost with its server and asked for again: the last one counts.
        asked.insert(call.run().to_owned(), (Instant::now(), life));
    }

    /// The timer of the run has gone off.
    fn wakes(&self, call: &Call) {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner).remove(call.run());
        let Some((at, life)) = asked else { return };
        let late = at.elapsed().as_secs_f64() - NAP.as_secs_f64();
        // The server counts from the moment it reads the answer, in whole milliseconds.
        if late < -0.002 {
            let text = format!("run {}: a timer was {:.1} ms early", call.run(), -late * 1e3);
            self.early.lock().unwrap_or_else(PoisonError::into_inner).push(text);
        }
        if life == self.lives.load(Ordering::Relaxed) {
            self.lateness.lock().unwrap_or_else(PoisonError::into_inner).push(late);
        }
    }

    fn fires(&self, call: &Call) {
        let at = call.body["event"]["data"]["scheduledAt"].as_str().unwrap_or_default().to_owned();
        let mut scheduled = self.scheduled.lock().unwrap_or_else(PoisonError::into_inner);
        scheduled.entry(at).or_default().insert(call.run().to_owned());
    }

    fn report(&self, verdict: &mut Verdict) {
        verdict.forgotten = self.forgotten();
        verdict.mistimed.clone_from(&self.early.lock().unwrap_or_else(PoisonError::into_inner));
        let mut lateness = self.lateness.lock().unwrap_or_else(PoisonError::into_inner).clone();
        lateness.sort_by(f64::total_cmp);
        verdict.timers = lateness.len();
        if let Some(last) = lateness.len().checked_sub(1) {
            let at = |share: usize| Duration::from_secs_f64(lateness[last * share / 100].max(0.0));
            verdict.late = [at(50), at(99), at(100)];
        }
        let scheduled = self.scheduled.lock().unwrap_or_else(PoisonError::into_inner);
        for (at, runs) in scheduled.iter().filter(|(_, runs)| runs.len() > 1) {
            verdict.mistimed.push(format!("{at} has {} runs", runs.len()));
        }
        let seconds: Vec<i64> = scheduled.keys().map(|at| milliseconds(at) / 1_000).collect();
        for pair in seconds.windows(2).filter(|pair| (pair[1] - pair[0]).rem_euclid(86_400) != 1) {
            verdict.mistimed.push(format!("nothing fired between second {} and {} of the day", pair[0], pair[1]));
        }
    }

    /// Compares a call with what earlier calls of its run had. Calls of one run come one after the other,
    /// except those for planned steps, which are not checked for what they miss.
    fn check(&self, call: &Call) {
        let Some(steps) = call.body["steps"].as_object() else { return };
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        let known = runs.entry(call.run().to_owned()).or_default();
        let discovery = call.step == "step";
        for (id, value) in known.iter() {
            let problem = match steps.get(id) {
                None if discovery => "is forgotten",
                Some(now) if now != value => "has another value",
                _ => continue,
            };
            let text = format!("run {}: step {id} {problem}", call.run());
            self.problems.lock().unwrap_or_else(PoisonError::into_inner).push(text);
        }
        known.extend(steps.iter().map(|(id, value)| (id.clone(), value.clone())));
    }

    fn forgotten(&self) -> Vec<String> {
        self.problems.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

type Script = fn(&Memory, &Client, &Call) -> Answer;

fn functions(memory: &Arc<Memory>, client: &Client) -> Vec<StubFunction> {
    let function = |id: &str, event: &str, script: Script| {
        let (memory, client) = (Arc::clone(memory), client.clone());
        StubFunction::new(id, event, move |call| {
            memory.check(call);
            script(&memory, &client, call)
        })
    };
    let hello: Script = |_, _, _| Answer::Return(json!({ "hello": true }));
    let every_second = json!([{ "cron": "* * * * * *" }]);
    vec![
        function("hello", "crash/hello", hello),
        function("steps", "crash/steps", steps),
        function("retry", "crash/retry", retry),
        function("parallel", "crash/parallel", parallel),
        function("fail", "crash/fail", |_, _, _| Answer::fatal("on purpose")),
        function("both-a", "crash/both", hello),
        function("both-b", "crash/both", steps),
        function("wait", "crash/wait", wait),
        function("timeout", "crash/timeout", timeout),
        function("invoke", "crash/invoke", invoke),
        function("child", "crash/nobody-sends-this", child),
        function("checkpoint", "crash/checkpoint", checkpoint),
        function("cron", "", |memory, _, call| {
            memory.fires(call);
            Answer::Return(json!(1))
        })
        .triggers(every_second),
    ]
}

/// A step, then an event that will come, then a step.
fn wait(_: &Memory, _: &Client, call: &Call) -> Answer {
    if call.memo("first").is_none() {
        return Answer::step("first", &unique());
    }
    if call.memo("tick").is_none() {
        let opts = json!({ "timeout": "1h", "if": "async.data.n == 1" });
        return Answer::Ops(json!([op("WaitForEvent", "tick", json!({ "name": TICK, "opts": opts }))]));
    }
    if call.memo("last").is_none() {
        return Answer::step("last", &unique());
    }
    Answer::Return(json!("done"))
}

/// An event that never comes.
fn timeout(memory: &Memory, _: &Client, call: &Call) -> Answer {
    if call.memo("never").is_none() {
        memory.asks(call);
        let opts = json!({ "timeout": "300ms", "if": "async.data.n == event.data.n" });
        return Answer::Ops(json!([op("WaitForEvent", "never", json!({ "name": "crash/never", "opts": opts }))]));
    }
    memory.wakes(call);
    Answer::Return(json!("done"))
}

fn invoke(_: &Memory, _: &Client, call: &Call) -> Answer {
    match call.memo("child") {
        None => {
            let opts = json!({ "function_id": "crash-child", "payload": { "data": { "n": 1 } } });
            Answer::Ops(json!([op("InvokeFunction", "child", json!({ "opts": opts }))]))
        }
        Some(value) if value["data"]["n"] == 1 => Answer::Return(json!("done")),
        Some(value) => Answer::fatal(&format!("not the result of the child: {value}")),
    }
}

fn child(_: &Memory, _: &Client, call: &Call) -> Answer {
    if call.memo("one").is_none() {
        return Answer::step("one", &unique());
    }
    Answer::Return(call.body["event"]["data"].clone())
}

/// Three steps in one call, each checkpointed before the next, as JS v4 does it.
fn checkpoint(_: &Memory, client: &Client, call: &Call) -> Answer {
    let missing: Vec<&str> = ["one", "two", "three"].into_iter().filter(|name| call.memo(name).is_none()).collect();
    let context = &call.body["ctx"];
    let posting = |then: Answer, name: &&str| {
        let step = op("StepRun", name, json!({ "data": unique() }));
        let body = json!({
            "run_id": call.run(), "fn_id": context["fn_id"], "qi_id": context["qi_id"],
            "request_id": context["request_id"], "generation_id": context["generation_id"], "steps": [step],
        });
        let path = format!("/v1/checkpoint/{}/async", call.run());
        Answer::Posting(Box::new(Posting { client: client.clone(), path, body, then }))
    };
    let last = Answer::Ops(json!([op("RunComplete", "", json!({ "data": "done" }))]));
    missing.iter().rev().fold(last, posting)
}

/// Two steps, a sleep, one more step. Every execution of a step has a value of its own, so that a step that
/// was executed again after it was memoised is seen as a changed value.
fn steps(memory: &Memory, _: &Client, call: &Call) -> Answer {
    for name in ["one", "two"] {
        if call.memo(name).is_none() {
            return Answer::step(name, &unique());
        }
    }
    if call.memo("nap").is_none() {
        memory.asks(call);
        return Answer::Ops(json!([op("Sleep", "nap", json!({ "name": "300ms" }))]));
    }
    if call.memo("three").is_none() {
        memory.wakes(call);
        return Answer::step("three", &unique());
    }
    Answer::Return(json!("done"))
}

/// A step that fails at its first attempt.
fn retry(_: &Memory, _: &Client, call: &Call) -> Answer {
    match call.memo("flaky") {
        Some(_) => Answer::Return(json!("done")),
        None if call.attempt() == 0 => Answer::Ops(json!([op(
            "StepError",
            "flaky",
            json!({ "error": { "name": "Error", "message": "not yet" } })
        )])),
        None => Answer::step("flaky", &unique()),
    }
}

/// Three planned steps and a join.
fn parallel(_: &Memory, _: &Client, call: &Call) -> Answer {
    let names = ["p", "q", "r"];
    if let Some(name) = names.into_iter().find(|name| call.step == step_id(name)) {
        return Answer::step(name, &unique());
    }
    let missing: Vec<Value> = names
        .into_iter()
        .filter(|name| call.memo(name).is_none())
        .map(|name| op("StepPlanned", name, json!({})))
        .collect();
    if missing.is_empty() { Answer::Return(json!("joined")) } else { Answer::Ops(Value::Array(missing)) }
}

fn unique() -> Value {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    json!(NEXT.fetch_add(1, Ordering::Relaxed))
}

/// An acknowledged event: its id and its kind.
type Acknowledged = (String, usize);

struct Load {
    stop: Arc<AtomicBool>,
    senders: Vec<tokio::task::JoinHandle<Vec<Acknowledged>>>,
}

impl Load {
    fn start(client: &Client) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let sender = |index: usize| {
            let (client, stop) = (client.clone(), Arc::clone(&stop));
            tokio::spawn(async move { send_until(&client, &stop, index).await })
        };
        Self { senders: (0..SENDERS).map(sender).collect(), stop: Arc::clone(&stop) }
    }

    async fn stop(self) -> Vec<Acknowledged> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Vec::new();
        for sender in self.senders {
            all.extend(sender.await.unwrap_or_default());
        }
        all
    }
}

/// Sends one to three events a request. A request that fails may or may not have been accepted: nothing was
/// promised, so nothing is expected of it.
async fn send_until(client: &Client, stop: &AtomicBool, first: usize) -> Vec<Acknowledged> {
    let mut acknowledged = Vec::new();
    let mut turn = first;
    while !stop.load(Ordering::Relaxed) {
        let kinds: Vec<usize> = (0..=turn % 3).map(|more| (turn + more) % EVENTS.len()).collect();
        let events: Vec<Value> =
            kinds.iter().map(|kind| json!({ "name": EVENTS[*kind].0, "data": { "pad": "x".repeat(100) } })).collect();
        if let Ok(ids) = client.send(&Value::Array(events)).await {
            acknowledged.extend(ids.into_iter().zip(kinds));
        }
        turn += 1;
        tokio::time::sleep(PAUSE).await;
    }
    acknowledged
}

async fn judge(client: &Client, acknowledged: &[Acknowledged], verdict: &mut Verdict) -> anyhow::Result<()> {
    verdict.events = acknowledged.len();
    let deadline = tokio::time::Instant::now() + END_WITHIN;
    for (event, kind) in acknowledged {
        let expected = EVENTS[*kind].1;
        let left = deadline.saturating_duration_since(tokio::time::Instant::now());
        let ended = wait_until("ended", left, async || {
            let runs = client.runs_of(event).await.ok()?;
            (runs.len() >= expected.len() && runs.iter().all(|run| is_final(run["status"].as_str()))).then_some(runs)
        })
        .await;
        let runs = match ended {
            Ok(runs) => runs,
            Err(_) => client.runs_of(event).await?,
        };
        verdict.runs += runs.len();
        compare(event, expected, &runs, verdict);
    }
    for (run, ends) in ends(client).await?.into_iter().filter(|(_, ends)| ends.len() > 1) {
        verdict.doubled.push(format!("run {run} ended {} times", ends.len()));
    }
    Ok(())
}

fn compare(event: &str, expected: &[(&str, &str)], runs: &[Value], verdict: &mut Verdict) {
    let slug = |run: &Value| run["function_slug"].as_str().unwrap_or_default().to_owned();
    for (function, status) in expected {
        let of_function: Vec<&Value> = runs.iter().filter(|run| slug(run) == format!("crash-{function}")).collect();
        match of_function[..] {
            [] => verdict.lost.push(format!("event {event} has no run of {function}")),
            [run] if run["status"] == *status => {}
            [run] => {
                verdict.hanging.push(format!("run {} of {function} is {}, not {status}", run["run_id"], run["status"]))
            }
            _ => verdict.doubled.push(format!("event {event} has {} runs of {function}", of_function.len())),
        }
    }
    let known: HashSet<String> = expected.iter().map(|(function, _)| format!("crash-{function}")).collect();
    if let Some(run) = runs.iter().find(|run| !known.contains(&slug(run))) {
        verdict.doubled.push(format!("event {event} has a run of {}", slug(run)));
    }
}
