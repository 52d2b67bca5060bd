//! Every control of flow under kills: no limit is exceeded, no event is lost on its way to a run, and none starts two.
//!
//! The app notes each call with its time; what it has seen is compared with what was sent. A call ends with its answer,
//! with its connection, or with the server that made it.

mod judge;
mod memory;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{Plan, kill_again_and_again};
use crate::server::Options;
use crate::stub::op;
use crate::{Answer, Call, Client, Server, StubApp, StubFunction};
use memory::{Memory, Sent};

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// How often the server died.
    pub kills: u32,
    /// Acknowledged events.
    pub events: usize,
    /// Runs that the app has seen.
    pub runs: usize,
    /// What was wrong; there should be nothing.
    pub problems: Vec<String>,
    /// Longest time from a restart to healthy.
    pub healthy_after_max: Duration,
    /// From the end of a debounce to the call.
    pub debounces: Lateness,
    /// From the time of a throttled start to the call.
    pub throttled: Lateness,
    /// From the end of a call to the next one that waited for its slot.
    pub slots: Lateness,
}

/// How late something was, where no kill came between.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lateness {
    /// How often it was looked at.
    pub count: usize,
    /// Half of them, and 99 %, were no later than this.
    pub late: [Duration; 2],
}

/// Keys of a control.
const KEYS: u64 = 3;

/// Calls in flight at a time: of `limited`, for each of its keys, and of both that share a limit.
const LIMITED: usize = 3;
const LIMITED_PER_KEY: usize = 1;
const SHARED: usize = 2;

/// Runs of a key of `held` that have begun and not ended.
const HELD_PER_KEY: usize = 2;

/// From one start of `throttled` to the next.
const THROTTLE: Duration = Duration::from_millis(125);

/// `throttled` has at most so many events that have not started, so that all end in time.
const BACKLOG: usize = 40;

/// From one run of a key of `rated` to the next, of which two may come at once: ten in two seconds.
const RATE: Duration = Duration::from_millis(200);

/// `debounced` waits so long.
const DEBOUNCE: Duration = Duration::from_secs(1);

/// The events of a burst are sent within this time, or nothing is expected of it.
const BURST_WITHIN: Duration = Duration::from_millis(800);

/// Size of a batch.
const BATCH: usize = 5;

/// Runs the plan.
pub async fn run(plan: &Plan) -> anyhow::Result<Verdict> {
    let dir = tempfile::tempdir()?;
    let memory = Arc::new(Memory::default());
    let server = Server::start(Options::new(&plan.binary, dir.path())?).await?;
    let app = StubApp::serve_with("flow", functions(&memory), false).await?;
    app.register(server.client()).await?;
    let load = Load { client: server.client().clone(), memory: Arc::clone(&memory), stop: Arc::default() };
    let senders = load.start();
    let survivor = kill_again_and_again(plan, server, || memory.dies()).await?;
    load.stop.store(true, Ordering::Relaxed);
    senders.join_all().await;
    let mut verdict =
        Verdict { kills: plan.kills, healthy_after_max: survivor.healthy_after_max, ..Verdict::default() };
    judge::judge(survivor.server.client(), &memory, &mut verdict).await?;
    Ok(verdict)
}

fn functions(memory: &Arc<Memory>) -> Vec<StubFunction> {
    let function = |id: &'static str, config: Value, script: fn(&Call) -> Answer| {
        let memory = Arc::clone(memory);
        StubFunction::new(id, &format!("flow/{id}"), move |call| {
            memory.sees(id, call);
            script(call)
        })
        .config(config)
    };
    let key = "event.data.k";
    let shared = json!({ "concurrency": [{ "limit": SHARED, "key": "'flow'", "scope": "env" }] });
    let both = json!([{ "event": "flow/shared" }]);
    let limits = json!([{ "limit": LIMITED }, { "limit": LIMITED_PER_KEY, "key": key }]);
    vec![
        function(
            "limited",
            json!({ "concurrency": limits, "priority": { "run": "int(event.data.n) % 100" } }),
            two_calls,
        ),
        function("shared-a", shared.clone(), works).triggers(both.clone()),
        function("shared-b", shared, works).triggers(both),
        function("held", json!({ "concurrency": { "fn": [{ "limit": HELD_PER_KEY, "key": key }] } }), naps),
        function(
            "throttled",
            json!({ "throttle": { "limit": 1, "period": "125ms" }, "timeouts": { "finish": "1h" } }),
            returns,
        ),
        function("rated", json!({ "rateLimit": { "limit": 10, "period": "2s", "key": key } }), returns),
        function("debounced", json!({ "debounce": { "period": "1s", "timeout": "1m", "key": key } }), returns),
        function("batched", json!({ "batchEvents": { "maxSize": BATCH, "timeout": "1s", "key": key } }), returns),
        function("single", json!({ "singleton": { "mode": "skip", "key": key } }), naps),
        function("latest", json!({ "singleton": { "mode": "cancel", "key": key } }), naps),
    ]
}

fn returns(_: &Call) -> Answer {
    Answer::Return(json!("done"))
}

fn works(call: &Call) -> Answer {
    Answer::After(Duration::from_millis(15), Box::new(returns(call)))
}

fn two_calls(call: &Call) -> Answer {
    match call.memo("one") {
        None => Answer::After(Duration::from_millis(15), Box::new(Answer::step("one", &json!(1)))),
        Some(_) => works(call),
    }
}

fn naps(call: &Call) -> Answer {
    match call.memo("nap") {
        None => Answer::Ops(json!([op("Sleep", "nap", json!({ "name": "200ms" }))])),
        Some(_) => returns(call),
    }
}

/// Sends events until it is stopped.
#[derive(Clone)]
struct Load {
    client: Client,
    memory: Arc<Memory>,
    stop: Arc<AtomicBool>,
}

impl Load {
    fn start(&self) -> JoinSet<()> {
        let mut senders = JoinSet::new();
        for (event, pause) in [
            ("limited", 25),
            ("shared", 40),
            ("held", 45),
            ("throttled", 50),
            ("rated", 40),
            ("batched", 50),
            ("batched", 70),
            ("single", 50),
            ("latest", 50),
        ] {
            let load = self.clone();
            senders.spawn(async move { load.send(event, Duration::from_millis(pause)).await });
        }
        for _ in 0..4 {
            let load = self.clone();
            senders.spawn(async move { load.send_bursts().await });
        }
        senders
    }

    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    async fn send(&self, event: &'static str, pause: Duration) {
        while self.goes_on() {
            if event != "throttled" || self.memory.backlog(event) < BACKLOG {
                let number = next();
                self.send_one(event, number, &format!("k{}", number % KEYS)).await;
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// Three events of a key that nobody else uses.
    async fn send_bursts(&self) {
        while self.goes_on() {
            let key = format!("burst {}", next());
            for _ in 0..3 {
                self.send_one("debounced", next(), &key).await;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }

    /// A request that fails may or may not have been accepted.
    async fn send_one(&self, event: &'static str, number: u64, key: &str) {
        let began = Instant::now();
        let body = json!({ "name": format!("flow/{event}"), "data": { "n": number, "k": key } });
        let id = self.client.send(&body).await.ok().map(|mut ids| ids.remove(0));
        self.memory.sends(event, Sent { number, key: key.to_owned(), id, began, ended: Instant::now() });
    }
}

/// Numbers of events, and of keys.
fn next() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
