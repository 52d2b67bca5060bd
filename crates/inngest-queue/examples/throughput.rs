//! What one job costs in the in-memory index, from offer to settled, and how much memory waiting jobs take:
//! `cargo run --release -p inngest-queue --example throughput -- [jobs]`.

use std::sync::Arc;
use std::time::Instant;

use inngest_core::{Clock as _, FunctionId, Millis, RunId, StepId, SystemClock};
use inngest_queue::memory::MemoryQueue;
use inngest_queue::{JobId, JobKind, Queue as _, QueueItem, Settled, StepRef, Work};

/// Functions that the jobs are spread over.
const FUNCTIONS: usize = 16;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let jobs = std::env::args().nth(1).map_or(Ok(1_000_000), |text| text.parse::<u128>())?;
    let functions = (0..FUNCTIONS).map(|number| FunctionId::of_definition(&number.to_string(), "")).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    runtime.block_on(measure(jobs, functions));
    Ok(())
}

async fn measure(jobs: u128, functions: Vec<FunctionId>) {
    let queue = MemoryQueue::new(Arc::new(SystemClock));
    let (step, name) = (StepId::from("86f7e437faa5a7fce15d1ddcb9eaeaea377667b8"), Arc::<str>::from("step"));
    let item = |number: u128, due: Millis| {
        let id = JobId::step(RunId::from_bytes(number.to_be_bytes()), &step);
        let kind = JobKind::Step(StepRef { id: step.clone(), name: Arc::clone(&name) });
        QueueItem::new(id, functions[number as usize % FUNCTIONS], kind, due)
    };
    let now = SystemClock.now();

    let began = Instant::now();
    for number in 0..jobs {
        queue.offer(vec![item(number, now)]).await;
        for lease in queue.lease(Work::Calls, 1).await {
            queue.settle(lease, Settled::Done, Vec::new()).await;
        }
    }
    report("one at a time", began, jobs);

    let began = Instant::now();
    queue.offer((0..jobs).map(|number| item(number, now)).collect()).await;
    for _ in 0..jobs.div_ceil(64) {
        for lease in queue.lease(Work::Calls, 64).await {
            queue.settle(lease, Settled::Done, Vec::new()).await;
        }
    }
    report("all at once, leased by 64", began, jobs);

    let before = resident_kib();
    queue.offer((0..jobs).map(|number| item(number, Millis(i64::MAX))).collect()).await;
    let full = resident_kib();
    queue.withdraw(&(0..jobs).map(|number| item(number, now).id).collect::<Vec<_>>()).await;
    println!("later jobs: {} bytes each", (full - before) * 1_024 / i64::try_from(jobs).unwrap_or(i64::MAX));
    println!("an item: {} bytes; after they are withdrawn: {:?}", size_of::<QueueItem>(), queue.depth().await);
}

fn report(what: &str, began: Instant, jobs: u128) {
    println!("{what}: {} ns a job", began.elapsed().as_nanos() / jobs);
}

fn resident_kib() -> i64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0)
}
