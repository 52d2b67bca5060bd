//! What one job costs in the queue alone, from its offer to the end of its lease, with so many others queued:
//! `cargo run --release -p inngest-queue --example schedule -- [cycles] [most queued] [limits]`. It must not depend on how many there are.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use inngest_core::{AppId, Clock, FunctionId, Millis, RunId, SystemClock};
use inngest_queue::flow::{Bucket, Concurrency, Dispatch, KeyExpression, KeyValue, Keys, Scope, Throttle};
use inngest_queue::gcra::Rate;
use inngest_queue::memory::MemoryQueue;
use inngest_queue::{JobId, JobKind, Queue, QueueItem, Settled, Work};

/// Jobs in flight while it is measured.
const IN_FLIGHT: usize = 64;
/// Different values of the key.
const KEYS: u128 = 5_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let cycles: u128 = args.next().map(|arg| arg.parse()).transpose()?.unwrap_or(300_000);
    let most: u128 = args.next().map(|arg| arg.parse()).transpose()?.unwrap_or(1_000_000);
    let only = args.next().unwrap_or_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    runtime.block_on(async {
        let load = Load { function: FunctionId::of_definition("f", "u"), key: KeyExpression::of("event.data.user") };
        for (name, dispatch) in load.limits().into_iter().filter(|(name, _)| name.contains(&only)) {
            for backlog in [0, 1_000, 100_000, 1_000_000].into_iter().filter(|backlog| *backlog <= most) {
                let (job, explained) = load.measure(dispatch.clone(), backlog, cycles).await;
                println!("{name:<28} {backlog:>9} queued: {job:>6.0} ns CPU a job, {explained:>6.0} us to explain one");
            }
        }
    });
    Ok(())
}

/// The jobs of one function.
struct Load {
    function: FunctionId,
    key: KeyExpression,
}

impl Load {
    fn limits(&self) -> [(&'static str, Dispatch); 4] {
        let plain = Dispatch::unlimited(AppId::of_name("app"));
        let per_key = Concurrency { limit: 2, scope: Scope::Function, key: Some(self.key) };
        let in_all = Concurrency { limit: 64, scope: Scope::Function, key: None };
        let throttle = Throttle {
            bucket: Bucket::of_function(self.function),
            key: Some(self.key),
            rate: Rate::lossless(1_000_000, Duration::from_secs(1), 0),
        };
        [
            ("no limit", plain.clone()),
            ("2 a key", Dispatch { steps: vec![per_key], ..plain.clone() }),
            ("2 a key and 64 in all", Dispatch { steps: vec![in_all, per_key], ..plain.clone() }),
            (
                "throttled by key, 8 in all",
                Dispatch { steps: vec![Concurrency { limit: 8, ..in_all }], throttles: vec![throttle], ..plain },
            ),
        ]
    }

    async fn measure(&self, dispatch: Dispatch, backlog: u128, cycles: u128) -> (f64, f64) {
        let clock = Arc::new(SystemClock);
        let queue = MemoryQueue::new(clock.clone());
        queue.configure(vec![(self.function, dispatch)]).await;
        let now = clock.now();
        let queued = backlog + IN_FLIGHT as u128;
        queue.offer((0..queued).map(|number| self.job(number, now)).collect()).await;
        let mut held = VecDeque::new();
        let mut done = 0;
        let before = cpu_nanos();
        for number in 0..cycles {
            queue.offer(vec![self.job(queued + number, now)]).await;
            if let Ok(leases) = tokio::time::timeout(Duration::ZERO, queue.lease(Work::Calls, 1)).await {
                held.extend(leases);
                done += 1;
            }
            if (held.len() > IN_FLIGHT / 2 || done < number)
                && let Some(lease) = held.pop_front()
            {
                queue.settle(lease, Settled::Done, Vec::new()).await;
            }
        }
        let a_job = (cpu_nanos() - before) / done as f64;
        let before = cpu_nanos();
        queue.explain(&[self.job(queued + cycles - 1, now).id]).await;
        (a_job, (cpu_nanos() - before) / 1_000.0)
    }

    fn job(&self, number: u128, now: Millis) -> QueueItem {
        let run = RunId::from_bytes((((now.0 as u128) << 80) | number).to_be_bytes());
        let keys = Keys::of(vec![(self.key, KeyValue(number % KEYS + 1))]);
        QueueItem { keys, ..QueueItem::new(JobId::start(run), self.function, JobKind::Start, now) }
    }
}

/// CPU time of this thread: others on the machine count less than by the clock.
fn cpu_nanos() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    stat.split(' ').next().and_then(|nanos| nanos.parse().ok()).unwrap_or_default()
}
